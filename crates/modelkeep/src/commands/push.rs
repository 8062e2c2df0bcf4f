//! `modelkeep push`: a directory, or one file, becomes a revision.

use std::path::PathBuf;

use modelkeep_core::Result;
use modelkeep_core::manifest::ModelKind;
use modelkeep_core::size::ByteSize;
use modelkeep_ops::push::{Report, Request, push};

use super::list::kind;
use crate::session::Session;
use crate::style::{FAINT, STRONG, paint};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory, or one file
    pub path: PathBuf,
    /// The model it is, such as banking-v2
    pub model: String,
    /// A name for this revision; may be given again
    #[arg(long = "label", value_name = "LABEL")]
    pub labels: Vec<String>,
    /// base or finetuned, for a new model [default: by content]
    #[arg(long, value_parser = kind())]
    pub kind: Option<ModelKind>,
    /// What it was trained from [default: what the adapter says]
    #[arg(long, value_name = "MODEL")]
    pub base: Option<String>,
    /// A metric; may be given again
    #[arg(long = "metric", value_name = "KEY=VALUE")]
    pub metrics: Vec<String>,
    /// A JSON file with metrics
    #[arg(long, value_name = "FILE")]
    pub metrics_file: Option<PathBuf>,
    /// What the model is for
    #[arg(long, value_name = "TEXT")]
    pub purpose: Option<String>,
    /// A note on this push
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Which files.
    #[command(flatten)]
    pub filter: Filter,
    /// Push even though the model is deployed
    #[arg(long)]
    pub even_if_deployed: bool,
    /// Read everything back before it counts
    #[arg(long)]
    pub verify: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Which files.
#[derive(Debug, clap::Args)]
pub struct Filter {
    /// Only files like this (as in .gitignore); may be given again
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// No files like this; may be given again
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
}

/// Runs it.
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let request = Request {
        path: args.path,
        model: args.model,
        labels: args.labels,
        kind: args.kind,
        base: args.base,
        metrics: args.metrics,
        metrics_file: args.metrics_file,
        purpose: args.purpose,
        note: args.note,
        include: args.filter.include,
        exclude: args.filter.exclude,
        even_if_deployed: args.even_if_deployed,
        verify: args.verify,
        dry_run: args.dry_run,
    };
    let report = push(session.context()?, request).await?;
    session.show(&report, human)?;
    if !report.wrote.dry_run {
        session.next(&format!("modelkeep pull {}", report.model));
    }
    Ok(())
}

fn human(report: &Report) -> String {
    let labels: Vec<&str> = report.labels.iter().map(String::as_str).filter(|label| *label != "latest").collect();
    let moved = match (report.created || report.wrote.dry_run, report.skipped_bytes) {
        (false, _) => "nothing was sent: the newest push has this content already".to_owned(),
        (true, 0) => format!("sent {}", ByteSize(report.sent_bytes)),
        (true, there) => {
            format!("sent {}, {} were on the store already", ByteSize(report.sent_bytes), ByteSize(there))
        }
    };
    let heading = format!(
        "{}  #{}  {}  {}  {} in {}\n",
        paint(STRONG, &report.model),
        report.number,
        report.revision.short(),
        report.model_type.as_deref().unwrap_or("files"),
        ByteSize(report.size_bytes),
        words::count(report.files, "file")
    );
    let facts = words::facts([
        ("base model", report.base_model.clone().unwrap_or_default()),
        ("trained", report.training_date.clone().unwrap_or_default()),
        ("metrics", words::metrics(&report.metrics)),
        ("labels", labels.join(", ")),
    ]);
    if report.wrote.dry_run {
        let plan = if report.steps.is_empty() {
            "nothing would be sent: the newest push has this content already\n".to_owned()
        } else {
            words::plan(&report.steps)
        };
        return format!("{heading}{facts}{plan}{}\n", paint(FAINT, "nothing was changed (--dry-run)"));
    }
    let newer = if report.latest { "" } else { "  a newer push came in meanwhile; `latest` is that one\n" };
    let stored = words::facts([("stored in", format!("{}{}", report.path, words::where_to(report.wrote)))]);
    format!("{heading}  {moved}\n{facts}{stored}{newer}")
}
