//! `modelkeep prune`: let go of what retention lets go of, and of what the trash has kept long enough.

use modelkeep_core::Result;
use modelkeep_core::size::ByteSize;
use modelkeep_ops::prune::{Report, Request, prune};

use crate::ask::{self, Ask};
use crate::session::Session;
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Newest pushes of each model that stay [default: as the settings say]
    #[arg(long, value_name = "N")]
    pub keep: Option<u64>,
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
            let request = Request { keep: args.keep, dry_run };
            async move { prune(ctx, &request).await }
        },
    )
    .await?;
    let grace = ctx.settings.retention.grace_days;
    session.show(&report, |report| {
        let told = words::changed(&report.steps, report.changed, report.wrote, "nothing may go yet", || {
            let steps = words::steps(&report.steps);
            format!("pruned:\n{steps}freed {} for good", ByteSize(report.freed_bytes))
        });
        told + &words::in_trash(&report.steps, grace)
    })
}
