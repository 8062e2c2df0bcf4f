//! `modelkeep diff`: what changed from one revision to another.

use modelkeep_core::Result;
use modelkeep_core::inspect::tensors::{Tensor, TensorDiff};
use modelkeep_core::size::ByteSize;
use modelkeep_ops::diff::{Named, Report, diff};

use crate::session::Session;
use crate::style::{FAINT, STRONG, paint};
use crate::table::{Table, styled};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The one before: MODEL or MODEL@REV
    pub before: String,
    /// The one after: MODEL or MODEL@REV
    pub after: String,
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<()> {
    let report = diff(session.context()?, &args.before, &args.after).await?;
    session.show(&report, human)
}

fn human(report: &Report) -> String {
    let named = |named: &Named| {
        format!("{} {}", paint(STRONG, format!("{}@{}", named.model, named.number)), named.revision.short())
    };
    let heading = format!("{} → {}\n", named(&report.before), named(&report.after));
    if report.before.revision == report.after.revision {
        return heading + "the same content\n";
    }
    let sections = [
        ("metrics", metrics(report)),
        ("parameters", config(report)),
        ("files", files(report)),
        ("tensors", report.diff.tensors.as_ref().map(tensors).unwrap_or_default()),
    ];
    let told = sections.into_iter().filter(|(_, body)| !body.is_empty());
    told.fold(heading, |text, (title, body)| text + "\n" + &paint(FAINT, title) + "\n" + &body)
}

fn metrics(report: &Report) -> String {
    let mut table = Table::default().left("").right("").left("").right("").right("");
    let figure = |value: Option<f64>| value.map_or("–".to_owned(), words::number);
    for metric in &report.diff.metrics {
        let change = match metric.change {
            Some(0.0) => "=".to_owned(),
            // Floats that are near each other differ by noise; six digits are more than any metric means.
            Some(change) => format!("{:+}", (change * 1e6).round() / 1e6),
            None => String::new(),
        };
        table.row([
            format!("  {}", metric.name).into(),
            figure(metric.before).into(),
            "→".into(),
            figure(metric.after).into(),
            change.into(),
        ]);
    }
    table.render()
}

fn config(report: &Report) -> String {
    let mut table = Table::default().left("").left("").left("").left("");
    let plain = |value: &serde_json::Value| match value {
        serde_json::Value::Null => "–".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for field in &report.diff.config {
        let name = format!("  {}", field.name);
        table.row([name.into(), plain(&field.before).into(), "→".into(), plain(&field.after).into()]);
    }
    table.render()
}

fn files(report: &Report) -> String {
    let files = &report.diff.files;
    let mut table = Table::default().left("").left("").right("").left("").right("");
    for file in &files.added {
        table.row([
            styled(STRONG, "  +"),
            file.path.as_str().into(),
            "".into(),
            "".into(),
            ByteSize(file.size_bytes).into(),
        ]);
    }
    for file in &files.removed {
        table.row([styled(STRONG, "  -"), file.path.as_str().into(), ByteSize(file.size_bytes).into()]);
    }
    for file in &files.changed {
        table.row([
            styled(STRONG, "  ~"),
            file.path.as_str().into(),
            ByteSize(file.before_bytes).into(),
            "→".into(),
            ByteSize(file.after_bytes).into(),
        ]);
    }
    let same = match files.unchanged {
        0 => String::new(),
        n => format!("  {} the same\n", words::count(n, "file")),
    };
    table.render() + &same
}

fn tensors(difference: &TensorDiff) -> String {
    if difference.is_empty() {
        return "  the same names, shapes and dtypes\n".to_owned();
    }
    let shape = |tensor: &Tensor| format!("{} {:?}", tensor.dtype, tensor.shape);
    let mut table = Table::default().left("").left("").left("").left("").left("");
    for name in &difference.added {
        table.row([styled(STRONG, "  +"), name.into()]);
    }
    for name in &difference.removed {
        table.row([styled(STRONG, "  -"), name.into()]);
    }
    for tensor in &difference.changed {
        table.row([
            styled(STRONG, "  ~"),
            tensor.name.as_str().into(),
            shape(&tensor.before).into(),
            "→".into(),
            shape(&tensor.after).into(),
        ]);
    }
    table.render()
}
