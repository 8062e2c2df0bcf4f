//! `modelkeep repair`: put right what can be put right.

use modelkeep_core::Result;
use modelkeep_ops::repair::{Report, Request, repair};

use crate::ask::{self, Ask};
use crate::session::Session;
use crate::style::{CARE, paint};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Commit this push, which was stopped before it counted
    #[arg(long, value_name = "TXN")]
    pub commit: Option<String>,
    /// Read every byte, as verify --deep does
    #[arg(long)]
    pub deep: bool,
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
            let request = Request { commit: args.commit.clone(), deep: args.deep, dry_run };
            async move { repair(ctx, &request).await }
        },
    )
    .await?;
    session.show(&report, human)
}

fn human(report: &Report) -> String {
    let nothing = if report.left.is_empty() { "nothing is broken" } else { "nothing of it can be mended here" };
    let done = || format!("repaired:\n{}", words::steps(&report.steps).trim_end());
    let mended = words::changed(&report.steps, report.changed, report.wrote, nothing, done);
    mended + &words::lines(report.left.iter().map(|sentence| format!("{} {sentence}", paint(CARE, "left:"))))
}
