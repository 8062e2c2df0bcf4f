//! `modelkeep maintain`: upkeep that is due, as a plan, then done.

use std::process::ExitCode;

use clap::ValueEnum;
use modelkeep_core::Result;
use modelkeep_core::maintain::Period;
use modelkeep_ops::maintain::{Report, Request, maintain};

use super::schedule;
use crate::ask::{self, Ask};
use crate::session::Session;
use crate::style::{BAD, FAINT, GOOD, STRONG, paint};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Or let it run by itself
    #[command(subcommand)]
    pub action: Option<Action>,
    /// Which tasks
    #[arg(value_enum, default_value = "due")]
    pub period: Which,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// What else there is.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Let upkeep run by itself: by cron, systemd, a development container or GitHub Actions
    Schedule(schedule::Args),
}

/// Which tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// Those of every day.
    Daily,
    /// Those of every week.
    Weekly,
    /// Those of every month.
    Monthly,
    /// Those of every quarter.
    Quarterly,
    /// Whatever is due by the log.
    Due,
}

impl Which {
    fn period(self) -> Option<Period> {
        match self {
            Self::Daily => Some(Period::Daily),
            Self::Weekly => Some(Period::Weekly),
            Self::Monthly => Some(Period::Monthly),
            Self::Quarterly => Some(Period::Quarterly),
            Self::Due => None,
        }
    }
}

/// Runs it. A task that could not be done is an exit code, after the report.
pub async fn run(session: &Session, args: &Args) -> Result<ExitCode> {
    if let Some(Action::Schedule(args)) = &args.action {
        return schedule::run(session, args).await.map(|()| ExitCode::SUCCESS);
    }
    let ctx = session.context()?;
    let (period, dry_run) = (args.period.period(), args.dry_run);
    let go = |dry_run| async move { maintain(ctx, &Request { period, dry_run }).await };
    let mut report = ask::confirmed(session, dry_run, Ask::Always, |report: &Report| &report.changes, go).await?;
    // Nothing to ask about: that it was looked at is told to the log all the same.
    if !dry_run && !report.applied {
        report = go(false).await?;
    }
    session.show(&report, |report| human(report, ctx.settings.retention.grace_days))?;
    if !session.globals.json {
        report.notes.iter().for_each(|note| session.note(note));
    }
    Ok(report.failed.map_or(ExitCode::SUCCESS, |kind| ExitCode::from(kind.exit_code())))
}

fn human(report: &Report, grace_days: u32) -> String {
    if report.tasks.is_empty() {
        return "nothing is due\n".to_owned();
    }
    let tasks = report.tasks.iter().map(|task| {
        let steps = match &task.error {
            Some(error) => format!("{} {error}\n", paint(BAD, "not done:")),
            None if task.steps.is_empty() => format!("{}\n", paint(GOOD, "all is well")),
            None => format!("\n{}", words::steps(&task.steps)),
        };
        format!("{} {steps}", paint(STRONG, task.id.replace('_', " ")))
    });
    let end = if report.applied {
        let told = report.wrote.map(words::where_to).filter(|told| !told.is_empty());
        told.map(|told| told + "\n").unwrap_or_default()
    } else {
        format!("{}\n", paint(FAINT, "nothing was changed (--dry-run)"))
    };
    tasks.collect::<String>() + &words::in_trash(&report.changes, grace_days) + &end
}
