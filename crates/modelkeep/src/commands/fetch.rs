//! `modelkeep fetch`: a base model from the Hub into Hugging Face's cache, and on to the store.

use modelkeep_core::Result;
use modelkeep_core::size::ByteSize;
use modelkeep_ops::fetch::{Report, Request, Source, fetch};

use super::push::Filter;
use crate::ask;
use crate::session::Session;
use crate::style::{FAINT, STRONG, paint};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// NAMESPACE/NAME or NAMESPACE/NAME@REVISION, as on the Hub
    #[arg(value_name = "HF_REPO[@REV]")]
    pub repo: String,
    /// Its id on the store [default: the last part of its name]
    #[arg(long)]
    pub id: Option<String>,
    /// Put it on the store too, as a base model
    #[arg(long)]
    pub store: bool,
    /// From the Hub to the store, with nothing kept here
    #[arg(long)]
    pub stream: bool,
    /// Which files [default: one format of weights, and what belongs to it].
    #[command(flatten)]
    pub filter: Filter,
    /// The budget for models, for once
    #[arg(long, value_name = "SIZE")]
    pub budget: Option<ByteSize>,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs it.
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let request = Request {
        repo: args.repo,
        id: args.id,
        store: args.store,
        stream: args.stream,
        include: args.filter.include,
        exclude: args.filter.exclude,
        budget: args.budget,
        dry_run: args.dry_run,
        ..Request::default()
    };
    let ctx = session.context()?;
    let report = ask::with_room(
        session,
        request.dry_run,
        |report: &Report| &report.steps,
        |dry_run| {
            let request = Request { dry_run, ..request.clone() };
            async move { fetch(ctx, &request).await }
        },
    )
    .await?;
    session.show(&report, |report| human(session, report))
}

/// What it came to, for a person.
pub fn human(session: &Session, report: &Report) -> String {
    let short = report.commit.get(..12).unwrap_or(&report.commit);
    let place = report.path.as_ref().map_or_else(String::new, |path| format!("  in {}", session.path(path)));
    let heading = format!("{}  {short}{place}\n", paint(STRONG, &report.repo));
    let size = format!("{}, {}", words::count(report.files, "file"), ByteSize(report.size_bytes));
    let from = match report.source {
        Source::Hub => "fetched",
        Source::Cache => "here already",
        Source::Remote => "brought from the store",
    };
    let how = match (report.fetched_bytes, report.reused_bytes) {
        _ if report.dry_run => String::new(),
        (0, _) if report.path.is_none() => ": the store had all of it".to_owned(),
        (0, _) => ": everything was here already".to_owned(),
        (_, 0) => format!(": {from}"),
        (fetched, reused) => format!(": {} {from}, {} were here already", ByteSize(fetched), ByteSize(reused)),
    };
    let left = match report.left_out.len() as u64 {
        0 => String::new(),
        n => {
            let bytes = report.left_out.iter().map(|left| left.size_bytes).sum();
            format!(
                "  {} left out, {} (--dry-run says why, --include '*' takes all)\n",
                words::count(n, "file"),
                ByteSize(bytes)
            )
        }
    };
    let facts = words::facts([("licence", report.license.clone().unwrap_or_default())]);
    let steps = if report.dry_run {
        let why = report.left_out.iter().map(|left| format!("  leave out {}: {}", left.path, left.reason));
        let end = paint(FAINT, "nothing was changed (--dry-run)");
        let plan = if report.steps.is_empty() { String::new() } else { words::plan(&report.steps) };
        format!("{plan}{}{end}\n", words::lines(why))
    } else {
        words::steps(&report.steps)
    };
    let stored = report.stored.as_ref().map_or_else(String::new, |stored| {
        let what = match (stored.created, stored.sent_bytes) {
            (false, _) => "was on the store already".to_owned(),
            (true, sent) => format!("stored, {} sent", ByteSize(sent)),
        };
        format!("  {} #{}: {what}{}\n", paint(STRONG, &stored.model), stored.number, words::where_to(stored.wrote))
    });
    format!("{heading}  {size}{how}\n{left}{facts}{steps}{stored}")
}
