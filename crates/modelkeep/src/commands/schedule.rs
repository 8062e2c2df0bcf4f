//! `modelkeep maintain schedule`: upkeep that runs by itself.

use modelkeep_core::Result;
use modelkeep_core::schedule::Place;
use modelkeep_ops::schedule::{Report, Request, schedule};

use crate::ask::{self, Ask};
use crate::session::Session;
use crate::style::{FAINT, GOOD, STRONG, paint};
use crate::words;

/// Arguments. Without a place: where it is already, else what fits the machine.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// By the user's crontab
    #[arg(long, group = "place")]
    pub cron: bool,
    /// By a timer of the user's systemd
    #[arg(long, group = "place")]
    pub systemd: bool,
    /// Whenever the development container starts, as in Codespaces: postStartCommand of devcontainer.json
    #[arg(long, group = "place")]
    pub codespaces: bool,
    /// By a workflow of GitHub Actions, once a day
    #[arg(long, group = "place")]
    pub github: bool,
    /// Only show what would be written
    #[arg(long, conflicts_with = "remove")]
    pub print: bool,
    /// Take it out again; without a place, wherever it is
    #[arg(long)]
    pub remove: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

impl Args {
    fn place(&self) -> Option<Place> {
        let asked = [
            (self.cron, Place::Cron),
            (self.systemd, Place::Systemd),
            (self.codespaces, Place::Codespaces),
            (self.github, Place::Github),
        ];
        asked.into_iter().find_map(|(asked, place)| asked.then_some(place))
    }
}

/// Runs it.
pub async fn run(session: &Session, args: &Args) -> Result<()> {
    let ctx = session.context()?;
    let request = Request {
        place: args.place(),
        remove: args.remove,
        print: args.print,
        dry_run: args.dry_run,
        program: std::env::current_exe().ok(),
    };
    let go = |dry_run| {
        let request = Request { dry_run, ..request.clone() };
        async move { schedule(ctx, &request) }
    };
    let only_shown = args.dry_run || args.print;
    let report = ask::confirmed(session, only_shown, Ask::Always, |report: &Report| &report.steps, go).await?;
    session.show(&report, |report| if args.print { printed(report) } else { human(report, args) })?;
    if !session.globals.json {
        report.notes.iter().for_each(|note| session.note(note));
    }
    Ok(())
}

/// What would be written, each text under its name.
fn printed(report: &Report) -> String {
    let texts = report.files.iter().map(|file| format!("{}\n{}", paint(FAINT, format!("## {}", file.path)), file.text));
    texts.collect::<Vec<_>>().join("\n")
}

fn human(report: &Report, args: &Args) -> String {
    let by = |places: &[Place]| places.iter().map(|place| words_of(*place)).collect::<Vec<_>>().join(", and ");
    if report.steps.is_empty() {
        let state = match report.scheduled.as_slice() {
            [] => "upkeep does not run by itself".to_owned(),
            places => format!("upkeep runs by itself already, {}", by(places)),
        };
        return format!("nothing to do: {state}\n");
    }
    if args.dry_run {
        return format!("{}{}\n", words::plan(&report.steps), paint(FAINT, "nothing was changed (--dry-run)"));
    }
    let steps = words::steps(&report.steps);
    match report.scheduled.as_slice() {
        [] => format!("{steps}{}\n", paint(STRONG, "upkeep does not run by itself any more")),
        places => {
            let why = if args.remove { String::new() } else { format!(" ({})", report.why) };
            format!("{steps}{}{why}\n", paint(GOOD, format!("upkeep runs by itself, {}", by(places))))
        }
    }
}

fn words_of(place: Place) -> &'static str {
    match place {
        Place::Cron => "by cron",
        Place::Systemd => "by systemd",
        Place::Codespaces => "when the development container starts",
        Place::Github => "by GitHub Actions",
    }
}
