//! Words that several commands share: plans, counts, metrics, times, where something was stored.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use modelkeep_core::size::ByteSize;
pub use modelkeep_core::words::count;
use modelkeep_ops::report::{Change, Spent, Step, Wrote};

use crate::style::{CARE, FAINT, STRONG, paint};
use crate::table::{Table, styled};

/// The steps of a change.
pub fn steps_of(change: &Change) -> &[Step] {
    &change.steps
}

/// The steps of a plan, one a line.
pub fn steps(steps: &[Step]) -> String {
    let mut table = Table::default().left("").left("").right("").left("");
    for step in steps {
        let bytes = if step.bytes == 0 { String::new() } else { ByteSize(step.bytes).to_string() };
        let action = styled(STRONG, format!("  {}", step.action));
        table.row([action, step.target.as_str().into(), bytes.into(), styled(FAINT, &step.reason)]);
    }
    table.render()
}

/// What is said of steps that put something into the trash: nothing of it is freed yet.
pub fn in_trash(steps: &[Step], grace_days: u32) -> String {
    let bytes: u64 = steps.iter().filter(|step| step.action == "move to trash").map(|step| step.bytes).sum();
    if bytes == 0 {
        return String::new();
    }
    let days = count(u64::from(grace_days), "day");
    let told = format!("{} wait in the trash for {days}, and count against the quota until then", ByteSize(bytes));
    format!("{}\n", paint(FAINT, told))
}

/// A plan as it is shown before it is done.
pub fn plan(planned: &[Step]) -> String {
    format!("would do:\n{}", steps(planned))
}

/// What a change did: its plan with `--dry-run`, `nothing` when there was nothing to do, else `done`.
pub fn change(change: &Change, nothing: &str, done: impl FnOnce(&Change) -> String) -> String {
    changed(&change.steps, change.changed, change.wrote, nothing, || done(change))
}

/// The same for any report with steps.
pub fn changed(planned: &[Step], changed: bool, wrote: Wrote, nothing: &str, done: impl FnOnce() -> String) -> String {
    if planned.is_empty() && !changed {
        return format!("nothing to do: {nothing}\n");
    }
    if wrote.dry_run {
        return format!("{}{}\n", plan(planned), paint(FAINT, "nothing was changed (--dry-run)"));
    }
    format!("{}{}\n", done(), where_to(wrote))
}

/// A remark on where it went, when that is not simply the store: ` [simulation]`.
pub fn where_to(wrote: Wrote) -> String {
    let remark = match (wrote.simulated, wrote.confirmed) {
        (true, _) => "simulation: only on this machine",
        (false, true) => return String::new(),
        (false, false) => "not confirmed: written through a mount, the store has not acknowledged it yet",
    };
    format!("  {}", paint(CARE, format!("[{remark}]")))
}

/// `accuracy 0.952  f1 0.95`.
pub fn metrics(metrics: &BTreeMap<String, Option<f64>>) -> String {
    let one = |(name, value): (&String, &Option<f64>)| match value {
        Some(value) => format!("{name} {}", number(*value)),
        None => format!("{name} –"),
    };
    metrics.iter().map(one).collect::<Vec<_>>().join("  ")
}

/// A figure as short as it can be said without saying something else; very small and large ones with an exponent.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if value != 0.0 && !(1e-4..1e15).contains(&size) { format!("{value:e}") } else { format!("{value}") }
}

/// `12 calls, 655 quota units`.
pub fn spent(spent: Spent) -> String {
    format!("{}, {}", count(spent.calls, "call"), count(spent.units, "quota unit"))
}

/// A name of the JSON for people: `base_models` is `base models`.
pub fn title(name: &str) -> String {
    match name {
        "huggingface" => "HF cache".to_owned(),
        "pip" => "pip cache".to_owned(),
        "git" => ".git".to_owned(),
        name => name.replace('_', " "),
    }
}

/// Whether results are looked at by a person, at a terminal.
pub fn is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stdout())
}

/// `2026-02-10 09:30`, in UTC.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

/// Each line with its end.
pub fn lines(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().fold(String::new(), |text, line| text + &line + "\n")
}

/// Lines of `  name   value`; those without a value are left out.
pub fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    facts.into_iter().filter(|(_, value)| !value.is_empty()).fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "  {} {value}", paint(FAINT, format!("{name:<11}")));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        for (value, text) in [(0.952, "0.952"), (1.0, "1"), (0.0, "0"), (0.00005, "5e-5"), (1234.5, "1234.5")] {
            assert_eq!(number(value), text);
        }
    }
}
