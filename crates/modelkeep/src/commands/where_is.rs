//! `modelkeep where`: where files belong, why, and what puts them there.

use std::path::PathBuf;

use modelkeep_core::Result;
use modelkeep_core::placement::{Codespaces, Drive, Hub};
use modelkeep_core::size::ByteSize;
use modelkeep_ops::placement::{Report, locate};

use crate::session::Session;
use crate::style::{CARE, FAINT, STRONG, paint};
use crate::table::{Table, styled};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and folders
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<()> {
    let report = locate(session.context()?, &args.paths).await?;
    report.notes.iter().for_each(|note| session.note(note));
    session.show(&report, human)
}

fn human(report: &Report) -> String {
    let mut table = Table::default()
        .left("PATH")
        .right("SIZE")
        .left("IS")
        .left("HERE")
        .left("STORE")
        .left("HUB")
        .left("GIT")
        .wide("WHY");
    for item in &report.items {
        let here = match item.codespaces {
            Codespaces::Store => "yes",
            Codespaces::Temporary => "while needed",
            Codespaces::Link => "a pin",
            Codespaces::No => "no",
        };
        let hub = match item.hub {
            Hub::Preferred => "preferred",
            Hub::Optional => "optional",
            Hub::Mlflow => "MLflow",
            Hub::No => "no",
        };
        let store = match (item.drive, item.stored) {
            (Drive::Store, true) => "yes, there".into(),
            (Drive::Store, false) => styled(CARE, "yes, not there"),
            (Drive::No, _) => "no".into(),
        };
        let git = match (item.git, item.tracked) {
            (true, false) => "yes".into(),
            (true, true) => styled(CARE, "not all of it"),
            (false, true) => styled(CARE, "no, but it is"),
            (false, false) => "no".into(),
        };
        table.row([
            styled(STRONG, &item.path),
            ByteSize(item.size_bytes).into(),
            item.category.words().into(),
            here.into(),
            store,
            hub.into(),
            git,
            styled(FAINT, &item.reason),
        ]);
    }
    let todo = report.items.iter().filter(|item| !item.command.is_empty());
    let todo = words::lines(todo.map(|item| format!("  {}", paint(STRONG, &item.command))));
    if todo.is_empty() { table.render() } else { format!("{}to do:\n{todo}", table.render()) }
}
