//! `modelkeep __complete models`: model ids for completion scripts. Fails silently: it runs while somebody types.

use modelkeep_core::Result;
use modelkeep_ops::list::{Request, list};

use crate::output;
use crate::session::Session;
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is wanted
    #[arg(value_parser = ["models"])]
    pub what: String,
}

/// Runs it.
pub async fn run(session: &Session, _: &Args) -> Result<()> {
    let Ok(ctx) = session.context() else { return Ok(()) };
    let Ok(report) = list(ctx, &Request::default()).await else { return Ok(()) };
    output::print(&words::lines(report.models.iter().map(|item| item.id.to_string())))
}
