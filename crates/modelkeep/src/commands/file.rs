//! `modelkeep file`: data sets, notebooks, results, configs and documents on the store.

use std::path::PathBuf;

use modelkeep_core::Result;
use modelkeep_core::filed::Shape;
use modelkeep_core::size::ByteSize;
use modelkeep_ops::file::{list, pull, push, remove};

use super::pull::{moved, moved_aside};
use crate::ask::{self, Ask};
use crate::session::Session;
use crate::style::{CARE, FAINT, STRONG, paint};
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
    /// Store a file or a folder; every version is kept
    Push(Push),
    /// Bring it here
    Pull(Pull),
    /// List what is there
    #[command(visible_alias = "ls")]
    List(List),
    /// Remove it; it can be restored for a while
    Rm(Rm),
}

/// Arguments of `push`.
#[derive(Debug, clap::Args)]
pub struct Push {
    /// The file or folder
    pub path: PathBuf,
    /// datasets, notebooks, results/benchmarks (or another in results), configs or docs [default: by what it is]
    #[arg(long, value_name = "FOLDER")]
    pub to: Option<String>,
    /// Store a folder of many small files as one tar with an index
    #[arg(long)]
    pub pack: bool,
    /// Read everything back before it counts
    #[arg(long)]
    pub verify: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `pull`.
#[derive(Debug, clap::Args)]
pub struct Pull {
    /// Where it is on the store, such as datasets/train.csv, or its name; @REV for an earlier one
    pub place: String,
    /// The path that it gets here [default: as in the workspace: data/, notebooks/, results/, configs/, docs/]
    #[arg(long, value_name = "PATH")]
    pub to: Option<PathBuf>,
    /// Move what is in the way aside
    #[arg(long)]
    pub force: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Only this folder of the store, or this file
    pub place: Option<String>,
    /// Removed ones too
    #[arg(long)]
    pub all: bool,
}

/// Arguments of `rm`.
#[derive(Debug, clap::Args)]
pub struct Rm {
    /// Where it is on the store, with all its versions; @REV for one
    pub place: String,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs it.
pub async fn run(session: &Session, args: Args) -> Result<()> {
    match args.action {
        Action::Push(args) => run_push(session, args).await,
        Action::Pull(args) => {
            let request = pull::Request { place: args.place, to: args.to, force: args.force, dry_run: args.dry_run };
            session.show(&pull::pull(session.context()?, &request).await?, |report| pulled(session, report))
        }
        Action::List(args) => {
            let request = list::Request { place: args.place, all: args.all };
            session.show(&list::list(session.context()?, &request).await?, listed)
        }
        Action::Rm(args) => run_rm(session, &args).await,
    }
}

async fn run_push(session: &Session, args: Push) -> Result<()> {
    let request =
        push::Request { path: args.path, to: args.to, pack: args.pack, verify: args.verify, dry_run: args.dry_run };
    let report = push::push(session.context()?, request).await?;
    session.show(&report, pushed)?;
    if !report.wrote.dry_run {
        session.next(&format!("modelkeep file pull {}", report.place));
    }
    Ok(())
}

fn pushed(report: &push::Report) -> String {
    let heading = format!(
        "{}  #{}  {}  {} in {}\n",
        paint(STRONG, &report.place),
        report.number,
        report.revision.short(),
        ByteSize(report.size_bytes),
        words::count(report.files, "file")
    );
    if report.wrote.dry_run {
        let plan = if report.steps.is_empty() {
            "nothing would be sent: the newest version has this content already\n".to_owned()
        } else {
            words::plan(&report.steps)
        };
        return format!("{heading}{plan}{}\n", paint(FAINT, "nothing was changed (--dry-run)"));
    }
    let moved = match (report.created, report.skipped_bytes) {
        (false, _) => "nothing was sent: the newest version has this content already".to_owned(),
        (true, 0) => format!("sent {}", ByteSize(report.sent_bytes)),
        (true, there) => {
            format!("sent {}, {} were on the store already", ByteSize(report.sent_bytes), ByteSize(there))
        }
    };
    format!("{heading}  {moved}{}\n", words::where_to(report.wrote))
}

/// What a pull of something filed says.
pub fn pulled(session: &Session, report: &pull::Report) -> String {
    let (place, revision) = (paint(STRONG, &report.place), report.revision.short());
    let heading = format!("{place}  {revision}  in {}\n", session.path(&report.path));
    let body = if report.wrote.dry_run && !report.steps.is_empty() {
        format!("{}{}\n", words::plan(&report.steps), paint(FAINT, "nothing was changed (--dry-run)"))
    } else {
        let moved = moved(report.fetched_bytes, report.reused_bytes);
        format!("  {}, {}: {moved}\n", words::count(report.files, "file"), ByteSize(report.size_bytes))
    };
    let aside = moved_aside(session, report.moved_aside.as_deref()).unwrap_or_default();
    format!("{heading}{body}{aside}")
}

fn listed(report: &list::Report) -> String {
    if report.files.is_empty() {
        return "nothing is filed yet\n".to_owned();
    }
    let mut table = Table::default()
        .left("PLACE")
        .right("SIZE")
        .left("REVISION")
        .right("VERSIONS")
        .left("FILED")
        .left("BY")
        .left("");
    for item in &report.files {
        let shape = match item.shape {
            Shape::File => String::new(),
            Shape::Folder => format!("{} ", words::count(item.files, "file")),
            Shape::Packed => "packed ".to_owned(),
        };
        let state = match (item.removed, &item.pinned) {
            (true, _) => styled(CARE, "removed"),
            (false, Some(_)) => styled(FAINT, format!("{shape}pinned")),
            (false, None) => styled(FAINT, shape.trim_end()),
        };
        table.row([
            styled(STRONG, &item.place),
            ByteSize(item.size_bytes).into(),
            item.revision.short().into(),
            item.revisions.into(),
            words::time(item.pushed_at).into(),
            styled(FAINT, &item.pushed_by),
            state,
        ]);
    }
    table.render()
}

async fn run_rm(session: &Session, args: &Rm) -> Result<()> {
    let ctx = session.context()?;
    let change = ask::confirmed(session, args.dry_run, Ask::Always, words::steps_of, |dry_run| {
        remove::remove(ctx, &args.place, dry_run)
    })
    .await?;
    let place = change.place.as_ref().map(ToString::to_string).unwrap_or_default();
    session.show(&change, |change| {
        words::change(change, "it is removed already", |change| {
            let bytes = change.steps.iter().map(|step| step.bytes).sum();
            let versions = words::count(change.steps.len() as u64, "version");
            format!("removed {}: {versions}, {} are in the trash", paint(STRONG, &place), ByteSize(bytes))
        })
    })?;
    if change.changed {
        session.next(&format!("modelkeep restore {place} brings it back"));
    }
    Ok(())
}
