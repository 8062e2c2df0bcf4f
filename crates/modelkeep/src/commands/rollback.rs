//! `modelkeep rollback`: go back to what was deployed before.

use modelkeep_core::Result;
use modelkeep_ops::deploy::rollback;

use crate::ask::{self, Ask};
use crate::session::Session;
use crate::style::{GOOD, STRONG, paint};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<()> {
    let ctx = session.context()?;
    let change =
        ask::confirmed(session, args.dry_run, Ask::Always, words::steps_of, |dry_run| rollback(ctx, dry_run)).await?;
    session.show(&change, |change| {
        words::change(change, "nothing was deployed before", |change| {
            let revision = change.revision.map(|revision| revision.short()).unwrap_or_default();
            format!("{} is {} again: {revision}", paint(STRONG, &change.model), paint(GOOD, "deployed"))
        })
    })
}
