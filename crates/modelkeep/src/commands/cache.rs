//! `modelkeep cache`: the caches of this machine.

use clap::Subcommand;
use modelkeep_core::Result;
use modelkeep_core::evict::{Again, duration};
use modelkeep_core::size::ByteSize;
use modelkeep_ops::cache::{evict, list, repair, status};

use crate::ask::{self, Ask};
use crate::session::Session;
use crate::style::{BAD, CARE, FAINT, GOOD, STRONG, paint};
use crate::table::{Table, styled};
use crate::words;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do with them.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with caches.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Say how much each holds
    Status,
    /// List what is in the HF cache, when it was used, where it can be had again
    #[command(visible_alias = "ls")]
    List(Which),
    /// Make them smaller: what can be had again goes, least recently used first
    Evict {
        /// Down to this size [default: within budget.models]
        #[arg(long, value_name = "SIZE")]
        to: Option<ByteSize>,
        /// Which caches.
        #[command(flatten)]
        which: Which,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Make them as good as empty: below budget.caches (1 GB)
    Clear {
        /// Which caches.
        #[command(flatten)]
        which: Which,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Mend broken entries of the HF cache, remove what nothing leads to
    Repair {
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
}

/// Which caches, and whose word counts.
#[derive(Debug, Clone, clap::Args)]
pub struct Which {
    /// Another cache too: models, torch, pip, uv, conda
    #[arg(long, value_name = "NAME")]
    pub include: Vec<String>,
    /// Take for granted that the Hub has what came from it
    #[arg(long)]
    pub assume_hub: bool,
}

/// Runs it.
pub async fn run(session: &Session, args: Args) -> Result<()> {
    match args.action {
        Action::Status => show_status(session).await,
        Action::List(which) => show_list(session, which).await,
        Action::Evict { to, which, dry_run } => {
            let (include, assume_hub) = (which.include, which.assume_hub);
            smaller(session, evict::Request { to, include, assume_hub, clear: false, dry_run }).await
        }
        Action::Clear { which, dry_run } => {
            let (include, assume_hub) = (which.include, which.assume_hub);
            smaller(session, evict::Request { to: None, include, assume_hub, clear: true, dry_run }).await
        }
        Action::Repair { dry_run } => mend(session, dry_run).await,
    }
}

async fn show_status(session: &Session) -> Result<()> {
    let report = status::status(session.context()?).await?;
    session.show(&report, |report| {
        let mut table = Table::default().left("CACHE").right("SIZE").right("NOT NEEDED").right("ENTRIES").wide("PATH");
        for cache in &report.caches {
            let spare = if cache.reclaimable_bytes == 0 {
                String::new()
            } else {
                ByteSize(cache.reclaimable_bytes).to_string()
            };
            table.row([
                styled(STRONG, &cache.name),
                ByteSize(cache.size_bytes).into(),
                spare.into(),
                cache.entries.into(),
                styled(FAINT, session.path(&cache.path)),
            ]);
        }
        let (used, budget) = (report.models_bytes, report.models_budget_bytes);
        let style = if used > budget { BAD } else { GOOD };
        let verdict = paint(style, format!("{} of {}", ByteSize(used), ByteSize(budget)));
        format!("{}models in the HF cache and in models/: {verdict}\n", table.render())
    })?;
    warnings(session, &report.warnings);
    if !session.globals.json && report.models_bytes > report.models_budget_bytes {
        session.next("modelkeep cache evict --dry-run");
    }
    Ok(())
}

fn warnings(session: &Session, warnings: &[String]) {
    if session.globals.json || warnings.is_empty() {
        return;
    }
    for warning in warnings.iter().take(5) {
        session.note(&format!("broken: {warning}"));
    }
    session.next("modelkeep cache repair --dry-run");
}

async fn show_list(session: &Session, which: Which) -> Result<()> {
    let request = list::Request { include: which.include, assume_hub: which.assume_hub };
    let report = list::list(session.context()?, &request).await?;
    session.show(&report, |report| {
        let mut table = Table::default()
            .left("ENTRY")
            .right("SIZE")
            .right("FILES")
            .left("LAST USED")
            .wide("REFS")
            .left("AGAIN")
            .wide("STAYS");
        for entry in &report.entries {
            let style = if entry.again.is_proven() { GOOD } else { CARE };
            // That it cannot be had again is said once.
            let keep = entry.keep.as_deref().filter(|_| entry.again.is_proven()).unwrap_or_default();
            table.row([
                styled(STRONG, &entry.name),
                ByteSize(entry.size_bytes).into(),
                entry.files.into(),
                entry.last_used.map(words::time).unwrap_or_default().into(),
                entry.refs.join(", ").into(),
                styled(style, again(entry.again)),
                styled(FAINT, keep),
            ]);
        }
        table.render()
    })?;
    if report.entries.is_empty() && !session.globals.json {
        session.note("the HF cache is empty");
    }
    warnings(session, &report.warnings);
    Ok(())
}

fn again(again: Again) -> &'static str {
    match again {
        Again::NotNeeded => "not needed",
        Again::Remote => "remote",
        Again::Hub => "Hub",
        Again::AssumedHub => "Hub (assumed)",
        Again::Program => "its program",
        Again::Named => "its download",
        Again::Unknown => "not known",
        Again::Nowhere => "only copy",
    }
}

async fn smaller(session: &Session, request: evict::Request) -> Result<()> {
    let ctx = session.context()?;
    let report = ask::confirmed(
        session,
        request.dry_run,
        Ask::Always,
        |report: &evict::Report| &report.steps,
        |dry_run| {
            let request = evict::Request { dry_run, ..request.clone() };
            async move { evict::evict(ctx, &request).await }
        },
    )
    .await?;
    session.show(&report, |report| {
        let (used, target) = (ByteSize(report.used_bytes), ByteSize(report.target_bytes));
        let nothing = if report.short_bytes == 0 {
            format!("{used} are within {target}")
        } else {
            format!("none of the {used} may go")
        };
        let back = if report.back_seconds > 0.0 {
            let rate = ByteSize(report.rate_bytes);
            format!("; all of it is back in {} at {rate}/s", duration(report.back_seconds))
        } else {
            String::new()
        };
        let would = if report.wrote.dry_run && !report.steps.is_empty() {
            format!("{} of {used} would come free{back}\n", ByteSize(report.freed_bytes))
        } else {
            String::new()
        };
        let told = words::changed(&report.steps, report.changed, report.wrote, &nothing, || {
            format!(
                "evicted:\n{}{} of {used} came free{back}",
                words::steps(&report.steps),
                ByteSize(report.freed_bytes)
            )
        });
        format!("{would}{told}{}", short(report))
    })
}

/// What may not go, when more would have to.
fn short(report: &evict::Report) -> String {
    if report.short_bytes == 0 {
        return String::new();
    }
    let over =
        paint(CARE, format!("{} more than {} stay:", ByteSize(report.short_bytes), ByteSize(report.target_bytes)));
    format!("{over}\n{}", words::steps(&report.stays))
}

async fn mend(session: &Session, dry_run: bool) -> Result<()> {
    let ctx = session.context()?;
    let report = ask::confirmed(
        session,
        dry_run,
        Ask::Always,
        |report: &repair::Report| &report.steps,
        |dry_run| async move { repair::repair(ctx, &repair::Request { dry_run }).await },
    )
    .await?;
    session.show(&report, |report| {
        let left = words::lines(report.left.iter().map(|left| format!("{} {left}", paint(FAINT, "left as it is:"))));
        let told = words::changed(&report.steps, report.changed, report.wrote, "the cache is in order", || {
            format!("repaired:\n{}{} came free", words::steps(&report.steps), ByteSize(report.freed_bytes))
        });
        format!("{told}{left}")
    })
}
