//! `modelkeep list`: one line a model.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use modelkeep_core::Result;
use modelkeep_core::manifest::ModelKind;
use modelkeep_core::registry::Status;
use modelkeep_core::size::ByteSize;
use modelkeep_ops::list::{Report, Request, list};
use modelkeep_ops::report::ModelItem;

use crate::session::Session;
use crate::style::{BAD, FAINT, GOOD, STRONG};
use crate::table::{Cell, Table, styled};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only base or only finetuned models
    #[arg(long, value_parser = kind())]
    pub kind: Option<ModelKind>,
    /// Only models at this status
    #[arg(long, value_parser = ["active", "deployed", "archived", "failed", "removed"])]
    pub status: Option<String>,
    /// Only versions of this: banking for banking-v1, banking-v2…
    #[arg(long)]
    pub family: Option<String>,
    /// By name, size, date or a metric [default: name]
    #[arg(long, value_name = "BY")]
    pub sort: Option<String>,
    /// Removed ones too
    #[arg(long)]
    pub all: bool,
}

/// Reads `base` or `finetuned`.
pub fn kind() -> impl TypedValueParser<Value = ModelKind> {
    let both = [ModelKind::Base, ModelKind::Finetuned];
    PossibleValuesParser::new(both.map(ModelKind::as_str))
        .map(|text| if text == ModelKind::Base.as_str() { ModelKind::Base } else { ModelKind::Finetuned })
}

/// Runs it.
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let narrowed = args.kind.is_some() || args.status.is_some() || args.family.is_some();
    let request = Request { kind: args.kind, status: args.status, family: args.family, sort: args.sort, all: args.all };
    let report = list(session.context()?, &request).await?;
    session.show(&report, human)?;
    if report.models.is_empty() && !session.globals.json {
        session.note(if narrowed { "no model is like that" } else { "there are no models yet" });
        session.next(if narrowed { "modelkeep list --all" } else { "modelkeep push DIRECTORY MODEL" });
    }
    if report.simulated && !session.globals.json {
        session.note("this is the simulation: it is only on this machine");
    }
    Ok(())
}

fn human(report: &Report) -> String {
    let mut table = Table::default()
        .left("ID")
        .left("TYPE")
        .left("STATUS")
        .right("PUSH")
        .right("SIZE")
        .wide("BASE")
        .wide("METRICS")
        .wide("LABELS")
        .left("TRAINED");
    for item in &report.models {
        // Every model has a `latest`; it says nothing here.
        let labels: Vec<&str> = item.labels.iter().map(String::as_str).filter(|label| *label != "latest").collect();
        table.row([
            styled(STRONG, &item.id),
            type_of(item).into(),
            status(item.status),
            item.number.map(|number| format!("#{number}")).unwrap_or_default().into(),
            ByteSize(item.size_bytes).into(),
            item.base_model.as_deref().unwrap_or_default().into(),
            words::metrics(&item.metrics).into(),
            labels.join(", ").into(),
            item.training_date.as_deref().unwrap_or_default().into(),
        ]);
    }
    table.render()
}

/// What it is, in words; a base model is said to be one.
pub fn type_of(item: &ModelItem) -> String {
    let known = item.model_type.as_deref().filter(|known| *known != "files");
    match (item.kind, known) {
        (ModelKind::Base, Some("full model") | None) => "base model".to_owned(),
        (ModelKind::Base, Some(known)) => format!("base, {known}"),
        (ModelKind::Finetuned | ModelKind::Filed, known) => known.unwrap_or("files").to_owned(),
    }
}

/// A status in its colour.
pub fn status(status: Status) -> Cell {
    let style = match status {
        Status::Deployed => GOOD,
        Status::Failed => BAD,
        Status::Archived | Status::Removed => FAINT,
        Status::Active => anstyle::Style::new(),
    };
    styled(style, status.as_str())
}
