//! `modelkeep doctor`: is all well? The success criteria with evidence, and the tool's own health.

use std::process::ExitCode;

use modelkeep_core::criteria::Criterion;
use modelkeep_core::{Kind, Result};
use modelkeep_ops::doctor::{Report, Request, doctor};

use crate::session::Session;
use crate::style::{BAD, CARE, FAINT, GOOD, STRONG};
use crate::table::{Table, styled};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Mend what is safe to mend
    #[arg(long)]
    pub fix: bool,
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<ExitCode> {
    let report = doctor(session.context()?, Request { fix: args.fix }).await?;
    session.show(&report, human)?;
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::from(Kind::CheckFailed.exit_code()) })
}

fn human(report: &Report) -> String {
    let held = report.criteria.iter().filter(|criterion| criterion.ok).count();
    let fixed =
        if report.fixed.is_empty() { String::new() } else { format!("mended:\n{}\n", words::steps(&report.fixed)) };
    let wrong = (BAD, "no");
    let criteria = table("CRITERION", &report.criteria, wrong);
    let health = table("THE TOOL ITSELF", &report.health, (CARE, "look"));
    format!("{fixed}{criteria}{held} of {} hold\n\n{health}", report.criteria.len())
}

fn table(title: &'static str, criteria: &[Criterion], wrong: (anstyle::Style, &'static str)) -> String {
    let mut table = Table::default().left(title).left("").left("SEEN").left("MENDED BY");
    for criterion in criteria {
        let (style, word) = if criterion.ok { (GOOD, "ok") } else { wrong };
        table.row([
            styled(STRONG, criterion.id.replace('_', " ")),
            styled(style, word),
            criterion.evidence.as_str().into(),
            styled(FAINT, &criterion.hint),
        ]);
    }
    table.render()
}
