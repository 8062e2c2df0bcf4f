//! `modelkeep unarchive`: make an archived model active again.

use modelkeep_core::Result;
use modelkeep_ops::archive::unarchive;

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
    let change = unarchive(session.context()?, &args.model, args.dry_run).await?;
    session.show(&change, |change| {
        words::change(change, "it is not archived", |change| {
            format!("{} is active again", paint(STRONG, &change.model))
        })
    })
}
