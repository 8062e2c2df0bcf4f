//! `modelkeep adopt`: take in what stands on a store that nobody told the registry of.

use std::path::PathBuf;

use modelkeep_core::Result;
use modelkeep_core::size::ByteSize;
use modelkeep_ops::adopt::{Item, Report, Request, adopt};

use crate::ask::{self, Ask};
use crate::session::Session;
use crate::style::{CARE, FAINT, STRONG, paint};
use crate::table::{Table, styled};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file that says what each folder is
    #[arg(long, value_name = "FILE")]
    pub map: Option<PathBuf>,
    /// Also folders that were written to lately
    #[arg(long)]
    pub now: bool,
    /// Take in files that were changed under a push's marker as a new push, in place of that one
    #[arg(long)]
    pub edited: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<()> {
    let ctx = session.context()?;
    let report = ask::confirmed(
        session,
        args.dry_run,
        Ask::Always,
        |report: &Report| &report.steps,
        |dry_run| {
            let request = Request { map: args.map.clone(), now: args.now, edited: args.edited, dry_run };
            async move { adopt(ctx, &request).await }
        },
    )
    .await?;
    session.show(&report, human)?;
    let left = || report.items.iter().filter(|item| !item.adopted && !item.doubtful.is_empty());
    if left().any(|item| item.id.is_none()) {
        session.next("modelkeep adopt --map FILE, which says what the doubtful folders are");
    } else if left().next().is_some() && !args.now {
        session.next("modelkeep adopt --now, when nobody is writing there");
    }
    Ok(())
}

fn human(report: &Report) -> String {
    let changed = !report.wrote.dry_run && !report.steps.is_empty();
    let registry = report.registry.iter().map(|sentence| format!("registry: {sentence}"));
    let nothing =
        if report.items.is_empty() { "the registry knows every folder" } else { "nothing can be taken in as it is" };
    let ended = words::changed(&report.steps, changed, report.wrote, nothing, || {
        format!("taken in: {}", words::count(report.items.iter().filter(|item| item.adopted).count() as u64, "model"))
    });
    let mut details: String = report.items.iter().map(details).collect();
    if !details.is_empty() {
        details.push('\n');
    }
    format!("{}{details}{}{ended}", folders(&report.items), words::lines(registry))
}

fn folders(items: &[Item]) -> String {
    let mut table = Table::default().left("FOLDER").left("MODEL").left("TYPE").right("FILES").right("SIZE").left("");
    for item in items {
        let state = match (item.adopted, item.doubtful.is_empty()) {
            (true, _) => styled(FAINT, "taken in"),
            (false, true) => styled(FAINT, ""),
            (false, false) => styled(CARE, "doubtful"),
        };
        table.row([
            item.folder.as_str().into(),
            styled(STRONG, item.id.as_ref().map_or("?".to_owned(), ToString::to_string)),
            item.model_type.as_deref().unwrap_or(item.kind.as_str()).into(),
            item.files.into(),
            ByteSize(item.size_bytes).into(),
            state,
        ]);
    }
    table.render()
}

/// What was understood of a folder, and what is doubtful.
fn details(item: &Item) -> String {
    let understood = item.understood.iter().map(|line| format!("  {} {line}", paint(FAINT, "understood:")));
    let doubtful = item.doubtful.iter().map(|line| format!("  {} {line}", paint(CARE, "doubtful:")));
    let lines = words::lines(understood.chain(doubtful));
    if lines.is_empty() { lines } else { format!("\n{}\n{lines}", item.folder) }
}
