//! `modelkeep use`: pin a model, or what is filed, in `modelkeep.lock`.

use modelkeep_core::Result;
use modelkeep_ops::pins::pin;

use crate::session::Session;
use crate::style::{STRONG, paint};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// MODEL, MODEL@LABEL, MODEL@3 or MODEL@REVISION; a data set by its path, here or on the store
    #[arg(value_name = "MODEL|PATH")]
    pub model: String,
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<()> {
    let report = pin(session.context()?, &args.model).await?;
    session.show(&report, |report| {
        let already = if report.changed { "" } else { " already" };
        format!(
            "{} is pinned{already}: {} ({}), in {}\n",
            paint(STRONG, report.name()),
            report.revision.short(),
            report.requested,
            report.path
        )
    })?;
    session.next("modelkeep pull, and commit modelkeep.lock");
    Ok(())
}
