//! `modelkeep unuse`: take a pin away. The files stay.

use modelkeep_core::Result;
use modelkeep_ops::pins::unpin;

use crate::session::Session;
use crate::style::{STRONG, paint};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model, or the path of a data set
    #[arg(value_name = "MODEL|PATH")]
    pub model: String,
}

/// Runs it.
pub fn run(session: &Session, args: &Args) -> Result<()> {
    let report = unpin(session.context()?, &args.model)?;
    session.show(&report, |report| {
        let model = paint(STRONG, report.name());
        format!("{model} is no longer pinned; its files stay in {}\n", report.path)
    })
}
