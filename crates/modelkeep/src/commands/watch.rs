//! `modelkeep watch`: checkpoints are stored as soon as they are finished.

use std::path::PathBuf;

use modelkeep_core::Result;
use modelkeep_core::size::ByteSize;
use modelkeep_ops::checkpoint::Report;
use modelkeep_ops::watch::{Request, watch};

use super::push::Filter;
use crate::session::Session;
use crate::style::{FAINT, STRONG, paint};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory that training writes its checkpoints into
    pub dir: PathBuf,
    /// The model that is being trained, such as banking-v3
    pub model: String,
    /// Store what is finished, then end
    #[arg(long)]
    pub once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub interval: f64,
    /// A file that the framework writes last into each checkpoint [default: known for the usual ones]
    #[arg(long, value_name = "FILE")]
    pub last: Option<String>,
    /// Only checkpoints of later steps
    #[arg(long, value_name = "STEP")]
    pub after: Option<u64>,
    /// Checkpoints that stay on the store, beside the best one [default: all]
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u64>,
    /// Leave out what only this training needs to go on: the optimizer's state
    #[arg(long)]
    pub no_optimizer: bool,
    /// What it is trained from [default: what the adapter says]
    #[arg(long, value_name = "MODEL")]
    pub base: Option<String>,
    /// Which files.
    #[command(flatten)]
    pub filter: Filter,
}

/// Runs it.
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let request = Request {
        dir: args.dir,
        model: args.model,
        once: args.once,
        interval: args.interval,
        last: args.last,
        after: args.after,
        keep_last: args.keep_last,
        optimizer: !args.no_optimizer,
        include: args.filter.include,
        exclude: args.filter.exclude,
        base: args.base,
    };
    watch(session.context()?, &request, |report| session.show(report, human)).await
}

fn human(report: &Report) -> String {
    let named = paint(STRONG, format!("{}@{}", report.model, report.checkpoint));
    let became = if report.created {
        format!("#{}  sent {} of {}", report.number, ByteSize(report.sent_bytes), ByteSize(report.size_bytes))
    } else {
        paint(FAINT, format!("#{}  was stored before", report.number))
    };
    let metrics = words::metrics(&report.metrics);
    format!("{named}  {became}  {metrics}{}\n{}", words::where_to(report.wrote), words::steps(&report.steps))
}
