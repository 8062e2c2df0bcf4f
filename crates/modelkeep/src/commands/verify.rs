//! `modelkeep verify`: is everything there, and is it what it should be?

use std::process::ExitCode;

use modelkeep_core::size::ByteSize;
use modelkeep_core::{Kind, Result};
use modelkeep_ops::verify::{ProblemKind, Report, verify};

use crate::session::Session;
use crate::style::{BAD, CARE, FAINT, GOOD, paint};
use crate::table::{Table, styled};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this model
    pub model: Option<String>,
    /// Read every byte
    #[arg(long)]
    pub deep: bool,
}

/// Runs it. Damage is an exit code, after the report.
pub async fn run(session: &Session, args: &Args) -> Result<ExitCode> {
    let report = verify(session.context()?, args.model.as_deref(), args.deep).await?;
    session.show(&report, human)?;
    if report.damaged() {
        // What only reading every byte found, only reading every byte can mend on another machine.
        let deep = report.problems.iter().any(|problem| problem.hint.ends_with("--deep"));
        session.next(if deep { "modelkeep repair --deep" } else { "modelkeep repair" });
        return Ok(ExitCode::from(Kind::Integrity.exit_code()));
    }
    Ok(ExitCode::SUCCESS)
}

fn human(report: &Report) -> String {
    let mut table = Table::default().left("").left("").left("").left("");
    for problem in &report.problems {
        let word = match problem.kind {
            ProblemKind::Missing => styled(BAD, "missing"),
            ProblemKind::Corrupt => styled(BAD, "corrupt"),
            ProblemKind::Extra => styled(CARE, "extra"),
            ProblemKind::StaleProjection => styled(CARE, "out of date"),
        };
        let model = problem.model.as_ref().map(ToString::to_string).unwrap_or_default();
        table.row([word, model.into(), problem.path.as_str().into(), styled(FAINT, &problem.hint)]);
    }
    let notes = words::lines(report.notes.iter().map(|note| format!("{} {note}", paint(FAINT, "note:"))));
    let looked_at = format!("{}, {}", words::count(report.checked, "file"), ByteSize(report.bytes));
    let verdict = match report.problems.len() as u64 {
        0 => paint(GOOD, "all is well"),
        n => words::count(n, "problem"),
    };
    format!("{}{notes}checked {looked_at}: {verdict}\n", table.render())
}
