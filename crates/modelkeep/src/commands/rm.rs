//! `modelkeep rm`: remove a model, or one revision of it; the trash keeps it for a while.

use modelkeep_core::Result;
use modelkeep_core::size::ByteSize;
use modelkeep_ops::remove::remove;

use crate::ask::{self, Ask};
use crate::session::Session;
use crate::style::{STRONG, paint};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// MODEL with all its pushes, or MODEL@REV
    pub model: String,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<()> {
    let ctx = session.context()?;
    let change = ask::confirmed(session, args.dry_run, Ask::Always, words::steps_of, |dry_run| {
        remove(ctx, &args.model, dry_run)
    })
    .await?;
    session.show(&change, |change| {
        words::change(change, "it is removed already", |change| {
            let bytes = change.steps.iter().map(|step| step.bytes).sum();
            let pushes = words::count(change.steps.len() as u64, "push");
            format!("removed {}: {pushes}, {} are in the trash", paint(STRONG, &args.model), ByteSize(bytes))
        })
    })?;
    if change.changed && change.steps.iter().any(|step| step.action == "move to trash") {
        session.next(&format!("modelkeep restore {} brings it back", args.model));
    }
    Ok(())
}
