//! `modelkeep guard`: keep models out of git.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use modelkeep_core::gitrules::Finding;
use modelkeep_core::size::ByteSize;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_ops::guard::{self, History, Install, Installed, Manager, Request, Scope};

use crate::output;
use crate::session::Session;
use crate::style::{BAD, CARE, FAINT, GOOD, STRONG, paint};
use crate::table::{Table, styled};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Look at what is staged for a model, a large file, a notebook full of outputs
    Check(Check),
    /// Ask before every commit and push, by hooks
    Install(Hooks),
    /// Find what the history holds that never belonged there, and how to take it out
    History(Past),
}

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Only these files and folders
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Look at everything that git tracks
    #[arg(long)]
    pub all: bool,
    /// Look at what these commits brought, as in CI
    #[arg(long, value_name = "FROM..TO", conflicts_with = "all")]
    pub range: Option<String>,
    /// Look at what is about to be pushed to this remote: the lines on standard input are git's
    #[arg(long, value_name = "REMOTE", conflicts_with_all = ["all", "range"])]
    pub pre_push: Option<String>,
}

/// Arguments of `install`.
#[derive(Debug, clap::Args)]
pub struct Hooks {
    /// Take the hooks away again
    #[arg(long)]
    pub remove: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
pub struct Past {
    /// Print the ids of the contents alone, for git filter-repo and BFG
    #[arg(long)]
    pub ids: bool,
}

/// Runs it. A finding is an exit code, after the report.
pub fn run(session: &Session, args: &Args) -> Result<ExitCode> {
    match &args.action {
        Action::Check(args) => check(session, args),
        Action::Install(args) => install(session, args).map(|()| ExitCode::SUCCESS),
        Action::History(args) => history(session, args),
    }
}

fn found(any: bool) -> ExitCode {
    if any { ExitCode::from(Kind::CheckFailed.exit_code()) } else { ExitCode::SUCCESS }
}

fn check(session: &Session, args: &Check) -> Result<ExitCode> {
    let mut pushed = None;
    if args.pre_push.is_some() {
        let mut lines = String::new();
        std::io::stdin()
            .read_to_string(&mut lines)
            .map_err(|error| Error::local("reading what git says is pushed").because(error))?;
        pushed = Some(lines);
    }
    let request = Request {
        paths: args.paths.clone(),
        all: args.all,
        range: args.range.clone(),
        pushed,
        remote: args.pre_push.clone(),
    };
    let report = guard::check(session.context()?, &request)?;
    session.show(&report, |report| {
        let verdict = match report.findings.len() as u64 {
            0 => paint(GOOD, "nothing that does not belong in git"),
            1 => paint(BAD, "1 thing that does not belong in git"),
            n => paint(BAD, format!("{n} things that do not belong in git")),
        };
        let what = match report.scope {
            Scope::Staged => "staged",
            Scope::All => "tracked",
            Scope::Range => "brought by the commits",
        };
        let looked_at = format!("checked {} {what}", words::count(report.checked, "file"));
        format!("{}{looked_at}: {verdict}\n", findings(report.findings.iter()))
    })?;
    if !session.globals.json {
        report.notes.iter().for_each(|note| session.note(note));
    }
    if let Some(first) = report.findings.first() {
        session.next(&first.hint);
    }
    Ok(found(!report.findings.is_empty()))
}

fn findings<'a>(found: impl Iterator<Item = &'a Finding>) -> String {
    let mut table = Table::default().left("").right("").left("").wide("");
    for finding in found {
        let commit = finding.commit.as_deref().map(|commit| &commit[..commit.len().min(10)]).unwrap_or_default();
        let path = if finding.path == "." { "the repository" } else { &finding.path };
        table.row([
            styled(BAD, path),
            ByteSize(finding.size_bytes).into(),
            styled(CARE, commit),
            styled(FAINT, &finding.reason),
        ]);
    }
    table.render()
}

fn install(session: &Session, args: &Hooks) -> Result<()> {
    let request = Install { remove: args.remove, dry_run: args.dry_run };
    let report = guard::install(session.context()?, request)?;
    session.show(&report, |report| installed(report, args))
}

fn installed(report: &Installed, args: &Hooks) -> String {
    let with = match report.managed_by {
        Manager::Git => "",
        Manager::Husky => ", beside husky",
        Manager::PreCommit => ", beside pre-commit",
    };
    let hooks = format!("{}{with}", report.hooks_dir);
    if report.steps.is_empty() {
        let state = if args.remove { "there are none of ours" } else { "they ask the guard already" };
        return format!("nothing to do: {state} in {hooks}\n");
    }
    if args.dry_run {
        return format!("{}{}\n", words::plan(&report.steps), paint(FAINT, "nothing was changed (--dry-run)"));
    }
    let steps = words::steps(&report.steps);
    let state = if args.remove { "the hooks no longer ask the guard" } else { "every commit and push asks the guard" };
    format!("{steps}{}: {hooks}\n", paint(GOOD, state))
}

fn history(session: &Session, args: &Past) -> Result<ExitCode> {
    let report = guard::history(session.context()?)?;
    if args.ids && !session.globals.json {
        let ids = words::lines(report.findings.iter().map(|big| big.blob.clone()));
        output::print(&ids)?;
        return Ok(ExitCode::SUCCESS);
    }
    session.show(&report, past)?;
    Ok(found(!report.findings.is_empty()))
}

fn past(report: &History) -> String {
    let shallow = if report.shallow {
        format!(
            "{} this clone is shallow: older commits were not looked at (git fetch --unshallow)\n",
            paint(CARE, "note:")
        )
    } else {
        String::new()
    };
    let total = format!("the history takes {}", ByteSize(report.repository_bytes));
    if report.findings.is_empty() {
        let rest = if report.oversized {
            "what no commit leads to any more goes by: git reflog expire --expire=now --all && git gc --prune=now\n"
        } else {
            ""
        };
        return format!("{shallow}{total}: {}\n{rest}", paint(GOOD, "nothing in it that does not belong in git"));
    }
    let mut table = Table::default().left("PATH").right("SIZE").right("TAKES").left("COMMIT").left("").wide("WHY");
    for big in &report.findings {
        let commit = big.finding.commit.as_deref().map(|commit| &commit[..10]).unwrap_or_default();
        table.row([
            styled(BAD, &big.finding.path),
            ByteSize(big.finding.size_bytes).into(),
            ByteSize(big.stored_bytes).into(),
            styled(CARE, commit),
            if big.in_use { "still in use" } else { "" }.into(),
            styled(FAINT, &big.finding.reason),
        ]);
    }
    let commands = |commands: &[String]| words::lines(commands.iter().map(|line| format!("  {}", paint(STRONG, line))));
    let first = if report.findings.iter().any(|big| big.in_use) {
        "first take out what is still in use and commit (git rm --cached PATH); store what you need (modelkeep place PATH)\n"
    } else {
        ""
    };
    format!(
        "{shallow}{}{total}; a clean-up would save about {}\n\
         nothing was rewritten. Every clone has to be made anew after it; keep a copy before you begin:\n{first}\
         with git filter-repo:\n{}or with BFG:\n{}",
        table.render(),
        ByteSize(report.saves_bytes),
        commands(&report.filter_repo),
        commands(&report.bfg)
    )
}
