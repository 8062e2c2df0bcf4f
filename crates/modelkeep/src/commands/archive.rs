//! `modelkeep archive`: put a model away; its content stays.

use modelkeep_core::Result;
use modelkeep_ops::archive::archive;

use crate::ask::{self, Ask};
use crate::session::Session;
use crate::style::{STRONG, paint};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model
    pub model: String,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<()> {
    let ctx = session.context()?;
    let change = ask::confirmed(session, args.dry_run, Ask::Always, words::steps_of, |dry_run| {
        archive(ctx, &args.model, dry_run)
    })
    .await?;
    session.show(&change, |change| {
        words::change(change, "it is archived already", |change| {
            format!("{} is archived; its content stays", paint(STRONG, &change.model))
        })
    })?;
    if change.changed {
        session.next(&format!("modelkeep unarchive {} brings it back", change.model));
    }
    Ok(())
}
