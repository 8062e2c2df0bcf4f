//! `modelkeep restore`: bring back what was removed.

use modelkeep_core::Result;
use modelkeep_core::size::ByteSize;
use modelkeep_ops::remove::restore;

use crate::session::Session;
use crate::style::{STRONG, paint};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// MODEL: all that its last removal took; MODEL@REV: that revision
    pub model: String,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<()> {
    let change = restore(session.context()?, &args.model, args.dry_run).await?;
    session.show(&change, |change| {
        words::change(change, "it is not removed", |change| {
            let bytes = change.steps.iter().map(|step| step.bytes).sum();
            let pushes = words::count(change.steps.len() as u64, "push");
            format!("{} is back: {pushes}, {}", paint(STRONG, &args.model), ByteSize(bytes))
        })
    })
}
