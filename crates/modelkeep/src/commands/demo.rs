//! `modelkeep demo`: everything once, in a folder of its own.

use std::fmt::Write as _;
use std::path::PathBuf;

use modelkeep_core::Result;
use modelkeep_ops::demo::{Report, Request, demo};

use crate::session::Session;
use crate::style::{FAINT, GOOD, STRONG, paint};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The workspace, which holds its store too [default: ./modelkeep-demo]
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// Runs it.
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let request = Request { dir: args.dir, remote: session.globals.remote.clone() };
    let report = demo(&session.env, &session.options(), session.observer(), &request).await?;
    session.show(&report, human)
}

fn human(report: &Report) -> String {
    let mut text = String::new();
    for step in &report.steps {
        let _ = writeln!(text, "{}", paint(STRONG, &step.title));
        if !step.command.is_empty() {
            let _ = writeln!(text, "  {} {}", paint(FAINT, "$"), paint(GOOD, &step.command));
        }
        for line in &step.output {
            let _ = writeln!(text, "    {line}");
        }
        text.push('\n');
    }
    let _ = writeln!(text, "{}", paint(STRONG, "What to type next"));
    for line in &report.next {
        let _ = writeln!(text, "  {line}");
    }
    text
}
