//! `modelkeep status`: where the space is, here and on the remote.

use anstyle::Style;
use modelkeep_core::Result;
use modelkeep_core::size::ByteSize;
use modelkeep_ops::status::{Item, Local, Remote, Report, State, status};

use crate::session::Session;
use crate::style::{BAD, CARE, FAINT, GOOD, STRONG, paint};
use crate::table::{Cell, Table, styled};
use crate::words;

/// Runs it.
pub async fn run(session: &Session) -> Result<()> {
    let report = status(session.context()?).await?;
    session.show(&report, |report| human(session, report))?;
    if session.globals.json {
        return Ok(());
    }
    for unread in &report.local.unread {
        session.note(&format!("not counted: {unread}"));
    }
    if let Some(why) = &report.remote_error {
        session.note(&format!("the remote could not be asked: {why}"));
    }
    if let Some(next) = next(&report) {
        session.next(next);
    }
    Ok(())
}

/// What to type when something is over its budget.
fn next(report: &Report) -> Option<&'static str> {
    let over = |name: &str| report.local.items.iter().any(|item| item.name == name && item.state == State::Over);
    if over("huggingface") || over("models") {
        Some("modelkeep cache evict --dry-run")
    } else if over("pip") || over("free") {
        Some("modelkeep cache status")
    } else if report.remote.is_none() && report.remote_error.is_none() {
        Some("modelkeep init --remote PATH-OR-URL")
    } else {
        None
    }
}

fn human(session: &Session, report: &Report) -> String {
    let remote = report.remote.as_ref().map(|remote| format!("\n{}", on_remote(remote))).unwrap_or_default();
    format!("{}{remote}", here(session, &report.local))
}

fn here(session: &Session, local: &Local) -> String {
    let mut table = Table::default().left("HERE").right("SIZE").right("BUDGET").left("").left("").wide("PATH");
    for item in &local.items {
        let budget = item.budget_bytes.map(|budget| ByteSize(budget).to_string()).unwrap_or_default();
        let (style, word) = state(item);
        let bar = if item.name == "free" { Cell::default() } else { bar(item.size_bytes, item.budget_bytes, style) };
        table.row([
            styled(STRONG, words::title(&item.name)),
            ByteSize(item.size_bytes).into(),
            budget.into(),
            bar,
            styled(style, word),
            styled(FAINT, session.path(&item.path)),
        ]);
    }
    let over = local.used_bytes > local.budget_bytes;
    let style = if over { BAD } else { GOOD };
    table.row([
        styled(STRONG, "all but free"),
        ByteSize(local.used_bytes).into(),
        ByteSize(local.budget_bytes).into(),
        bar(local.used_bytes, Some(local.budget_bytes), style),
        styled(style, if over { "over budget" } else { "ok" }),
        Cell::default(),
    ]);
    table.render()
}

fn state(item: &Item) -> (Style, &'static str) {
    match item.state {
        State::Ok => (GOOD, "ok"),
        State::Temporary => (GOOD, "ok, temporary"),
        State::Over if item.name == "free" => (CARE, "less than wanted"),
        State::Over => (BAD, "over budget"),
    }
}

const WIDTH: u64 = 16;

/// How full something is; nothing where there is no terminal to look at.
fn bar(bytes: u64, of: Option<u64>, style: Style) -> Cell {
    let Some(of) = of.filter(|of| *of > 0 && words::is_terminal()) else { return Cell::default() };
    let full = (u128::from(bytes) * u128::from(WIDTH)).div_ceil(u128::from(of)).min(u128::from(WIDTH));
    let full = usize::try_from(full).unwrap_or_default();
    let rest = usize::try_from(WIDTH).unwrap_or_default() - full;
    styled(style, format!("{}{}", "█".repeat(full), "░".repeat(rest)))
}

fn on_remote(remote: &Remote) -> String {
    let mut table = Table::default().left("REMOTE").right("FILES").right("SIZE").right("OF QUOTA").left("");
    for category in &remote.categories {
        table.row([
            styled(STRONG, words::title(&category.name)),
            category.files.into(),
            ByteSize(category.size_bytes).into(),
            category.share.map(percent).unwrap_or_default().into(),
            bar(category.size_bytes, remote.quota_bytes, GOOD),
        ]);
    }
    let used = match remote.quota_bytes {
        Some(quota) => format!("{} of {} used", ByteSize(remote.used_bytes), ByteSize(quota)),
        None => format!("{} used", ByteSize(remote.used_bytes)),
    };
    let trash = format!("{} in the trash", ByteSize(remote.trash_bytes));
    let simulated = if remote.simulated { paint(CARE, "  [simulation: only on this machine]") } else { String::new() };
    format!("{}{}: {used}, {trash}{simulated}\n", table.render(), remote.name)
}

/// A share of the quota; the smallest is still more than nothing.
fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".to_owned(),
        ..0.1 => "< 0.1 %".to_owned(),
        percent => format!("{percent:.1} %"),
    }
}
