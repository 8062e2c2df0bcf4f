//! `modelkeep history`: who did what when, newest first.

use modelkeep_core::Result;
use modelkeep_ops::history::{Report, history};

use crate::session::Session;
use crate::style::{CARE, STRONG};
use crate::table::{Table, styled};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this model
    pub model: Option<String>,
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<()> {
    let report = history(session.context()?, args.model.as_deref()).await?;
    session.show(&report, human)?;
    if report.events.is_empty() {
        session.note("nothing has happened yet");
    }
    Ok(())
}

fn human(report: &Report) -> String {
    let mut table = Table::default().left("WHEN (UTC)").left("BY").left("MODEL").left("WHAT").left("");
    for event in &report.events {
        let place = event.place.as_ref().map(ToString::to_string);
        let name = place.or_else(|| event.model.as_ref().map(ToString::to_string));
        table.row([
            words::time(event.at).into(),
            event.by.as_str().into(),
            styled(STRONG, name.unwrap_or_default()),
            event.what.as_str().into(),
            styled(CARE, if event.confirmed { "" } else { "not confirmed" }),
        ]);
    }
    table.render()
}
