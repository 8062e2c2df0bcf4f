//! `modelkeep pull`: bring a revision here, or everything that `modelkeep.lock` pins.

use std::path::PathBuf;

use modelkeep_core::Result;
use modelkeep_core::size::ByteSize;
use modelkeep_ops::pins::pull_all;
use modelkeep_ops::pull::{Report, Request, pull};

use super::push::Filter;
use crate::session::Session;
use crate::style::{CARE, FAINT, STRONG, paint};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// MODEL, MODEL@LABEL, MODEL@3 or MODEL@REVISION [default: all that modelkeep.lock pins]
    pub model: Option<String>,
    /// Where to [default: models/MODEL/LABEL]
    #[arg(long, value_name = "DIR", requires = "model")]
    pub to: Option<PathBuf>,
    /// Its base model too
    #[arg(long, requires = "model")]
    pub with_base: bool,
    /// Move files in the way aside
    #[arg(long)]
    pub force: bool,
    /// Which files.
    #[command(flatten)]
    pub filter: Filter,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs it.
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let request = Request {
        model: args.model,
        to: args.to,
        with_base: args.with_base,
        force: args.force,
        include: args.filter.include,
        exclude: args.filter.exclude,
        dry_run: args.dry_run,
    };
    let ctx = session.context()?;
    match &request.model {
        Some(model) => session.show(&pull(ctx, &request, model).await?, |report| human(session, report)),
        None => session.show(&pull_all(ctx, &request).await?, |pulled| {
            pulled.models.iter().map(|report| human(session, report)).collect()
        }),
    }
}

fn human(session: &Session, report: &Report) -> String {
    let heading =
        format!("{}  {}  in {}\n", paint(STRONG, &report.model), report.revision.short(), session.path(&report.path));
    let body = if report.wrote.dry_run && !report.steps.is_empty() {
        format!("{}{}\n", words::plan(&report.steps), paint(FAINT, "nothing was changed (--dry-run)"))
    } else {
        format!("  {}, {}: {}\n", words::count(report.files, "file"), ByteSize(report.size_bytes), moved(report))
    };
    let aside = report
        .moved_aside
        .as_ref()
        .map(|aside| format!("  {} {}\n", paint(CARE, "files that stood in the way are in"), session.path(aside)));
    let base = report.base.as_ref().map(|base| human(session, base));
    [Some(heading), Some(body), aside, base].into_iter().flatten().collect()
}

fn moved(report: &Report) -> String {
    match (report.fetched_bytes, report.reused_bytes) {
        (0, _) => "everything was here already".to_owned(),
        (_, 0) => "fetched".to_owned(),
        (fetched, reused) => format!("{} fetched, {} were here already", ByteSize(fetched), ByteSize(reused)),
    }
}
