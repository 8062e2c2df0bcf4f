//! `modelkeep place`: bring files where they belong.

use std::path::PathBuf;

use modelkeep_core::Result;
use modelkeep_ops::place::{Report, Request, place};

use crate::ask::{self, Ask};
use crate::session::Session;
use crate::style::{CARE, FAINT, paint};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and folders [default: what is in models, data, notebooks, outputs, results, configs]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Remove from here what belongs on the store alone, once it is there
    #[arg(long)]
    pub free: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<()> {
    let ctx = session.context()?;
    let report = ask::confirmed(
        session,
        args.dry_run,
        Ask::Always,
        |report: &Report| &report.steps,
        |dry_run| {
            let request = Request { paths: args.paths.clone(), free: args.free, dry_run };
            async move { place(ctx, &request).await }
        },
    )
    .await?;
    session.show(&report, |report| human(report, args))
}

fn human(report: &Report, args: &Args) -> String {
    let left = words::lines(report.left.iter().map(|left| format!("{} {left}", paint(CARE, "left:"))));
    if report.steps.is_empty() {
        return format!("{left}nothing to do: it lies where it belongs\n");
    }
    if args.dry_run {
        return format!("{left}{}{}\n", words::plan(&report.steps), paint(FAINT, "nothing was changed (--dry-run)"));
    }
    let stored = report.wrote.map(words::where_to).unwrap_or_default();
    format!(
        "placed:\n{}{left}{}",
        words::steps(&report.steps),
        if stored.is_empty() { String::new() } else { format!("{}\n", stored.trim_start()) }
    )
}
