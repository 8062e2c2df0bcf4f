//! `modelkeep deploy`: make a revision what `deployed/current` points to.

use modelkeep_core::Result;
use modelkeep_ops::deploy::deploy;

use crate::ask::{self, Ask};
use crate::session::Session;
use crate::style::{GOOD, STRONG, paint};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// MODEL, MODEL@LABEL, MODEL@3 or MODEL@REVISION
    pub model: String,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<()> {
    let ctx = session.context()?;
    let change = ask::confirmed(session, args.dry_run, Ask::Always, words::steps_of, |dry_run| {
        deploy(ctx, &args.model, dry_run)
    })
    .await?;
    session.show(&change, |change| {
        words::change(change, "it is deployed already", |change| {
            let revision = change.revision.map(|revision| revision.short()).unwrap_or_default();
            format!("{} is {}: {revision}", paint(STRONG, &change.model), paint(GOOD, "deployed"))
        })
    })
}
