//! `modelkeep show`: one model and the revision asked for.

use modelkeep_core::Result;
use modelkeep_core::inspect::adapter::{Adapter, TargetModules};
use modelkeep_core::inspect::tensors::Summary;
use modelkeep_core::size::ByteSize;
use modelkeep_ops::report::{ModelItem, PushItem};
use modelkeep_ops::show::{Report, show};

use super::list::type_of;
use crate::session::Session;
use crate::style::{FAINT, STRONG, paint};
use crate::table::{Table, styled};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// MODEL, MODEL@LABEL, MODEL@3 or MODEL@REVISION
    pub model: String,
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<()> {
    let report = show(session.context()?, &args.model).await?;
    session.show(&report, human)
}

fn human(report: &Report) -> String {
    let item = &report.item;
    let number = item.number.map(|number| format!("  #{number}")).unwrap_or_default();
    let revision = item.revision.map(|revision| format!("  {}", revision.short())).unwrap_or_default();
    let heading =
        format!("{}{number}{revision}  {}  {}\n", paint(STRONG, &item.id), type_of(item), item.status.as_str());
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let fields: Vec<String> = report
        .fields
        .iter()
        .filter(|(field, _)| !field.starts_with("metrics.") && *field != "purpose")
        .map(|(field, value)| format!("{field} = {value}"))
        .collect();
    let labels: Vec<String> = report.all_labels.iter().map(|(label, to)| format!("{label} → {}", to.short())).collect();
    let size = format!("{} in {}", ByteSize(item.size_bytes), words::count(report.files.len() as u64, "file"));
    let facts = words::facts([
        ("purpose", text(&item.purpose)),
        ("size", size),
        ("base model", text(&item.base_model)),
        ("source", source(item)),
        ("licence", text(&item.license)),
        ("trained", text(&item.training_date)),
        ("pushed", item.pushed_at.map(words::time).unwrap_or_default()),
        ("metrics", words::metrics(&item.metrics)),
        ("adapter", report.adapter.as_ref().map(adapter).unwrap_or_default()),
        ("tensors", report.tensors.as_ref().map(tensors).unwrap_or_default()),
        ("labels", labels.join(", ")),
        ("set", fields.join(", ")),
        ("stored in", report.path.clone()),
    ]);
    let notes = words::lines(report.notes.iter().map(|note| format!("  {} {note}", paint(FAINT, "note:"))));
    format!("{heading}{facts}{notes}\n{}\n{}", files(report), history(&report.history))
}

/// `acme/tiny@bb9a5ba0d647`.
fn source(item: &ModelItem) -> String {
    match (&item.source, &item.source_commit) {
        (Some(source), Some(commit)) => format!("{source}@{}", commit.get(..12).unwrap_or(commit)),
        (source, _) => source.clone().unwrap_or_default(),
    }
}

fn adapter(adapter: &Adapter) -> String {
    let modules = adapter.target_modules.as_ref().map(|modules| match modules {
        TargetModules::Pattern(pattern) => format!("on {pattern}"),
        TargetModules::Names(names) => format!("on {}", names.join(" ")),
    });
    let parts = [
        adapter.r.map(|r| format!("r {r}")),
        adapter.lora_alpha.map(|alpha| format!("alpha {alpha}")),
        adapter.lora_dropout.map(|dropout| format!("dropout {dropout}")),
        adapter.task_type.clone(),
        modules,
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

fn tensors(summary: &Summary) -> String {
    let dtypes: Vec<String> = summary.dtypes.iter().map(|(dtype, n)| format!("{dtype} ×{n}")).collect();
    format!("{}, {} parameters ({})", words::count(summary.tensors, "tensor"), summary.parameters, dtypes.join(", "))
}

fn files(report: &Report) -> String {
    let mut table = Table::default().left("FILE").right("SIZE").left("SHA-256");
    for file in &report.files {
        table.row([file.path.as_str().into(), ByteSize(file.size).into(), styled(FAINT, file.sha256)]);
    }
    table.render()
}

fn history(pushes: &[PushItem]) -> String {
    let mut table = Table::default()
        .right("PUSH")
        .left("REVISION")
        .left("WHEN (UTC)")
        .left("BY")
        .right("SIZE")
        .left("LABELS")
        .left("");
    for push in pushes {
        let labels: Vec<&str> = push.labels.iter().map(modelkeep_core::name::Label::as_str).collect();
        table.row([
            format!("#{}", push.number).into(),
            push.revision.short().into(),
            words::time(push.at).into(),
            push.by.as_str().into(),
            ByteSize(push.size_bytes).into(),
            labels.join(", ").into(),
            styled(FAINT, if push.removed { "removed" } else { "" }),
        ]);
    }
    table.render()
}
