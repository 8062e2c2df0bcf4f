//! `modelkeep pull`: bring a revision here, or everything that `modelkeep.lock` pins.

use std::path::PathBuf;

use modelkeep_core::Result;
use modelkeep_core::size::ByteSize;
use modelkeep_ops::pins::pull_all;
use modelkeep_ops::pull::{Into, Report, Request, pull};

use super::file;
use super::push::Filter;
use crate::ask;
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
    /// Into a cache that versions are loaded from by name, instead of a folder
    #[arg(long, value_name = "CACHE", requires = "model", conflicts_with = "to")]
    pub into: Option<Cache>,
    /// Its base model too, so that both load with no network
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

/// Caches that a version can be put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Cache {
    /// Hugging Face's.
    HfCache,
}

/// Runs it.
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let request = Request {
        model: args.model,
        to: args.to,
        into: args.into.map(|Cache::HfCache| Into::HfCache),
        with_base: args.with_base,
        force: args.force,
        include: args.filter.include,
        exclude: args.filter.exclude,
        dry_run: args.dry_run,
    };
    let ctx = session.context()?;
    match &request.model {
        Some(model) => {
            let report = ask::with_room(
                session,
                request.dry_run,
                |report: &Report| &report.steps,
                |dry_run| {
                    let request = Request { dry_run, ..request.clone() };
                    async move { pull(ctx, &request, model).await }
                },
            )
            .await?;
            session.show(&report, |report| human(session, report))
        }
        None => session.show(&pull_all(ctx, &request).await?, |pulled| {
            let models = pulled.models.iter().map(|report| human(session, report));
            models.chain(pulled.files.iter().map(|report| file::pulled(session, report))).collect()
        }),
    }
}

fn human(session: &Session, report: &Report) -> String {
    let heading =
        format!("{}  {}  in {}\n", paint(STRONG, &report.model), report.revision.short(), session.path(&report.path));
    let body = if report.wrote.dry_run && !report.steps.is_empty() {
        format!("{}{}\n", words::plan(&report.steps), paint(FAINT, "nothing was changed (--dry-run)"))
    } else {
        let size = ByteSize(report.size_bytes);
        let evicted = words::steps(&report.steps);
        let moved = moved(report.fetched_bytes, report.reused_bytes);
        format!("{evicted}  {}, {size}: {moved}\n", words::count(report.files, "file"))
    };
    let aside = moved_aside(session, report.moved_aside.as_deref());
    let load = report.repo.as_ref().map(|repo| format!("  load it as {}\n", paint(STRONG, repo)));
    let base = report.base.as_ref().map(|base| human(session, base));
    let fetched = report.base_fetched.as_ref().map(|base| super::fetch::human(session, base));
    [Some(heading), Some(body), load, aside, base, fetched].into_iter().flatten().collect()
}

/// Where files are now that stood in the way.
pub fn moved_aside(session: &Session, aside: Option<&std::path::Path>) -> Option<String> {
    let what = paint(CARE, "files that stood in the way are in");
    aside.map(|aside| format!("  {what} {}\n", session.path(aside)))
}

/// What came from the store, and what was here.
pub fn moved(fetched: u64, reused: u64) -> String {
    match (fetched, reused) {
        (0, _) => "everything was here already".to_owned(),
        (_, 0) => "fetched".to_owned(),
        (fetched, reused) => format!("{} fetched, {} were here already", ByteSize(fetched), ByteSize(reused)),
    }
}
