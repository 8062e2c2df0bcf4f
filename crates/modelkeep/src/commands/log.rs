//! `modelkeep log`: the logs of trainings.

use modelkeep_core::inspect::trainer;
use modelkeep_core::registry::docs;
use modelkeep_core::size::ByteSize;
use modelkeep_core::{Error, Result};
use modelkeep_ops::runlog::{Request, append, list, show};
use serde_json::{Map, Value};

use crate::session::Session;
use crate::style::{CARE, FAINT, STRONG, paint};
use crate::table::{Cell, Table, styled};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do with logs.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the logs: one of each push, and of trainings that run
    #[command(visible_alias = "ls")]
    List(List),
    /// Show the log of a training, step by step
    Show(Show),
    /// Add an entry to the log of a training that is running
    Append(Append),
}

/// Arguments of `append`.
#[derive(Debug, clap::Args)]
pub struct Append {
    /// The model that is being trained
    pub model: String,
    /// Which training of it, such as the day it began
    pub run: String,
    /// What was measured, such as step=500 loss=0.12
    #[arg(required = true, value_name = "KEY=VALUE")]
    pub values: Vec<String>,
}

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Only this model
    pub model: Option<String>,
}

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The model that was trained
    #[arg(value_name = "MODEL[@REV]")]
    pub model: String,
    /// A training that runs [default: the one that was pushed]
    pub run: Option<String>,
    /// Only the last N entries
    #[arg(long, short = 'n', value_name = "N")]
    pub tail: Option<usize>,
}

/// Runs it.
pub async fn run(session: &Session, args: Args) -> Result<()> {
    match args.command {
        Command::List(args) => listed(session, &args).await,
        Command::Show(args) => shown(session, args).await,
        Command::Append(args) => appended(session, args).await,
    }
}

async fn listed(session: &Session, args: &List) -> Result<()> {
    let report = list::list(session.context()?, args.model.as_deref()).await?;
    session.show(&report, all)?;
    if report.logs.is_empty() {
        session.note("no training has left a log yet");
    }
    Ok(())
}

fn all(report: &list::Report) -> String {
    let mut table = Table::default().left("MODEL").left("RUN").left("TRAINED").left("WRITTEN (UTC)").right("SIZE");
    table = table.left("").wide("METRICS");
    for log in &report.logs {
        let run = log.run.as_ref().map(ToString::to_string);
        let state = match (&log.run, log.removed) {
            (Some(_), _) => "live",
            (None, true) => "removed",
            (None, false) => "",
        };
        table.row([
            styled(STRONG, &log.model),
            run.or_else(|| log.number.map(|number| format!("#{number}"))).unwrap_or_default().into(),
            log.training_date.clone().unwrap_or_default().into(),
            words::time(log.at).into(),
            ByteSize(log.size_bytes).into(),
            styled(CARE, state),
            styled(FAINT, words::metrics(&log.metrics)),
        ]);
    }
    table.render()
}

async fn shown(session: &Session, args: Show) -> Result<()> {
    let request = show::Request { model: args.model, run: args.run, tail: args.tail };
    let report = show::show(session.context()?, &request).await?;
    session.show(&report, one)?;
    if report.total == 0 {
        session.note("it has no steps: trainer_state.json was not among what was pushed");
    }
    if report.unreadable > 0 {
        session.note(&format!("left out, being no entries: {}", words::count(report.unreadable, "line")));
    }
    Ok(())
}

fn one(report: &show::Report) -> String {
    let run = report.run.as_ref().map(|run| format!("training {run}, live"));
    let what = run.or_else(|| report.number.map(|number| format!("#{number}"))).unwrap_or_default();
    let more = report.total - report.entries.len() as u64;
    let before = if more == 0 { String::new() } else { format!("{} before these\n", words::count(more, "entry")) };
    format!(
        "{} {what}\n{}{}{}",
        paint(STRONG, &report.model),
        words::facts([
            ("log", report.path.clone()),
            ("trained", report.training_date.clone().unwrap_or_default()),
            ("metrics", words::metrics(&report.metrics)),
        ]),
        paint(FAINT, before),
        steps(&report.entries)
    )
}

/// One row an entry: how far it was, then what was measured. How long it took is left to `--json`.
fn steps(entries: &[Map<String, Value>]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in entries.iter().flat_map(Map::keys) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let kept = ["learning_rate", "grad_norm"];
    names.retain(|name| !["step", "epoch"].contains(name) && (kept.contains(name) || !trainer::is_bookkeeping(name)));
    let there = |name: &&str| entries.iter().any(|entry| entry.contains_key(*name));
    let names: Vec<&str> = ["step", "epoch"].into_iter().filter(there).chain(names).collect();
    let mut table = names.iter().fold(Table::default(), |table, name| table.right(name.to_uppercase()));
    for entry in entries {
        table.row(names.iter().map(|name| entry.get(*name).map_or_else(Cell::default, cell)));
    }
    table.render()
}

fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => "–".into(),
        Value::String(text) => text.as_str().into(),
        Value::Number(number) if number.is_f64() => docs::number(number.as_f64()).into(),
        other => other.to_string().into(),
    }
}

async fn appended(session: &Session, args: Append) -> Result<()> {
    let entry = args.values.iter().map(|text| value(text)).collect::<Result<Map<String, Value>>>()?;
    let request = Request { model: args.model, run: args.run, entries: vec![entry], after: None };
    let report = append(session.context()?, &request).await?;
    session.show(&report, |report| {
        let entries = words::count(report.entries, "entry");
        format!("{}  {entries}{}\n", paint(STRONG, &report.path), words::where_to(report.wrote))
    })
}

fn value(text: &str) -> Result<(String, Value)> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| Error::usage(format!("`{text}` is not KEY=VALUE")).hint("step=500 loss=0.12"))?;
    // What is no number, null, true or false is a text.
    let value = serde_json::from_str(value).ok().filter(|value: &Value| !value.is_object() && !value.is_array());
    Ok((name.to_owned(), value.unwrap_or_else(|| Value::from(&text[name.len() + 1..]))))
}
