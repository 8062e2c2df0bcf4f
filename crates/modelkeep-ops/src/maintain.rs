//! Upkeep: what is due by the log, as a plan with reasons; then done, and the log told.
//!
//! Each task plans and applies by the operation that does the same when it is typed. Stopped anywhere it is run again:
//! what was not told to the log is still due.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use modelkeep_core::event::Body;
use modelkeep_core::maintain::{self, Period, Scope, Task};
use modelkeep_core::registry::State;
use modelkeep_core::size::ByteSize;
use modelkeep_core::{Error, Kind, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cache::evict::{self, used_by};
use crate::cache::places::Name;
use crate::cache::{self, scan_hf};
use crate::context::{Context, day};
use crate::guard::here;
use crate::log::{self, View};
use crate::report::{Step, Wrote};
use crate::room::free_at;
use crate::store::{Address, Store};
use crate::{backup, file, host, pins, project, prune, remove};

/// What to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The tasks of this period, due or not; `None`: whatever is due.
    pub period: Option<Period>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// `daily`, `weekly`, `monthly`, `quarterly` or `due`.
    pub period: String,
    /// The tasks that were looked at.
    pub tasks: Vec<Item>,
    /// Whether it was done, and the log told.
    pub applied: bool,
    /// What could not be looked at, and why.
    pub notes: Vec<String>,
    /// Where it went; none without a store.
    #[serde(flatten)]
    pub wrote: Option<Wrote>,
    /// Every step that changes something.
    #[serde(skip)]
    pub changes: Vec<Step>,
    /// Of what kind the first error of a task was.
    #[serde(skip)]
    pub failed: Option<Kind>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Item {
    /// `free_space`, `hf_cache`…
    pub id: String,
    /// Whether it is due by the log.
    pub due: bool,
    /// What it does, or did.
    pub steps: Vec<Step>,
    /// Why it could not be done; it is still due then.
    pub error: Option<String>,
}

/// The action of a step that only tells.
const REVIEW: &str = "review";

/// Plans what is due, or the tasks of a period, and does it.
pub async fn maintain(ctx: &Context, request: &Request) -> Result<Report> {
    let mut notes = Vec::new();
    let store = match ctx.store().await {
        Ok(store) => Some(store),
        Err(error) if error.kind() == Kind::Interrupted => return Err(error),
        Err(error) if Address::is_unset(ctx) || ctx.options.offline => {
            notes.push(format!("only what concerns this machine: {}", error.full_message()));
            None
        }
        Err(error) => return Err(error),
    };
    let mut view = match &store {
        Some(store) => Some(log::refresh(ctx, store).await?),
        None => None,
    };
    let host = host::name(&ctx.env);
    // By the time that the log was written with: a machine's clock may be wrong.
    let now = match store.as_deref() {
        Some(store) => log::time(ctx, store).await?,
        None => ctx.now(),
    };
    let mut report = Report {
        period: request.period.map_or("due", Period::as_str).to_owned(),
        tasks: Vec::new(),
        applied: false,
        notes,
        wrote: store.as_deref().map(|store| Wrote::to(store, request.dry_run)),
        changes: Vec::new(),
        failed: None,
    };
    let mut done = BTreeSet::new();
    for task in Task::ALL {
        ctx.check_stop()?;
        if let (Some(store), Some(view), false) = (&store, &mut view, request.dry_run) {
            // The task before may have changed it.
            *view = log::refresh(ctx, store).await?;
        }
        let state = view.as_ref().map(|view| &view.state);
        if state.is_none() && needs_store(task) {
            continue;
        }
        let due = state.is_none_or(|state| maintain::is_due(task, &state.maintained, &host, now));
        if request.period.map_or(!due, |period| task.period() != period) {
            continue;
        }
        let mut item = Item { id: task.id().to_owned(), due, steps: Vec::new(), error: None };
        match run(ctx, task, store.as_deref(), view.as_mut(), request.dry_run).await {
            Ok(steps) => {
                report.changes.extend(steps.iter().filter(|step| step.action != REVIEW).cloned());
                item.steps = steps;
                done.insert(item.id.clone());
            }
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            // One task that cannot be done does not keep the others from it.
            Err(error) => {
                report.failed = report.failed.or(Some(error.kind()));
                item.error = Some(error.full_message());
            }
        }
        report.tasks.push(item);
    }
    if request.dry_run {
        return Ok(report);
    }
    report.applied = true;
    if let (Some(store), Some(view), false) = (&store, &mut view, done.is_empty()) {
        log::append(ctx, store, view, Body::Maintained { host, tasks: done }).await?;
        // The registry names the newest event.
        project::after(ctx, store, view, &[]).await?;
    }
    Ok(report)
}

fn needs_store(task: Task) -> bool {
    task.scope() == Scope::Store || matches!(task, Task::Notebooks | Task::NotebookBackup)
}

/// Plans one task, or does it; its steps.
async fn run(
    ctx: &Context,
    task: Task,
    store: Option<&Store>,
    view: Option<&mut View>,
    dry_run: bool,
) -> Result<Vec<Step>> {
    match (task, store, view) {
        (Task::FreeSpace, _, _) => free_space(ctx, dry_run).await,
        (Task::HfCache, _, _) => Ok(evict::evict(ctx, &evict::Request { dry_run, ..Default::default() }).await?.steps),
        (Task::Caches, _, _) => caches(ctx, dry_run).await,
        (Task::StoreReview, _, Some(view)) => Ok(review(ctx, &view.state)),
        (Task::Notebooks, Some(_), _) => notebooks(ctx, dry_run).await,
        (Task::Versions, Some(_), _) => Ok(prune::prune(ctx, &prune::Request { keep: None, dry_run }).await?.steps),
        (Task::FailedRuns, Some(store), Some(view)) => failed_runs(ctx, store, view, dry_run).await,
        (Task::Registry, Some(store), Some(view)) => registry(ctx, store, view, dry_run).await,
        (Task::NotebookBackup, Some(store), Some(view)) => backup::backup(ctx, store, view, dry_run).await,
        _ => Err(Error::internal("a task without its store")),
    }
}

/// Free space on the disk, else the cache gives what is missing: no more.
async fn free_space(ctx: &Context, dry_run: bool) -> Result<Vec<Step>> {
    let Some(free) = free_at(&here(ctx)) else { return Ok(Vec::new()) };
    let missing = ctx.settings.maintain.free.0.saturating_sub(free);
    if missing == 0 {
        return Ok(Vec::new());
    }
    let used = used_by(ctx, &[Name::Xet], &scan_hf(ctx).await?)?;
    let to = Some(ByteSize(used.saturating_sub(missing)));
    Ok(evict::evict(ctx, &evict::Request { to, dry_run, ..Default::default() }).await?.steps)
}

/// Caches over the mark are cleared, as `cache clear` does it.
async fn caches(ctx: &Context, dry_run: bool) -> Result<Vec<Step>> {
    let hf = used_by(ctx, &[Name::Xet], &scan_hf(ctx).await?)?;
    if hf <= ctx.settings.maintain.caches.0 {
        return Ok(Vec::new());
    }
    Ok(cache::evict::evict(ctx, &evict::Request { clear: true, dry_run, ..Default::default() }).await?.steps)
}

/// So long unused is worth a look.
const UNUSED_DAYS: i32 = 90;
/// How many of each are told.
const TOLD: usize = 5;

/// What grew in the last week, and what is large and was not used for long.
fn review(ctx: &Context, state: &State) -> Vec<Step> {
    let now = ctx.now();
    let week = SignedDuration::from_hours(7 * 24);
    let (mut grew, mut unused) = (Vec::new(), Vec::new());
    for model in state.kept() {
        let live = model.pushes.iter().filter(|push| push.removed.is_none());
        let all: u64 = live.clone().map(|push| push.size_bytes).sum();
        let new: u64 = live.filter(|push| now.duration_since(push.at) < week).map(|push| push.size_bytes).sum();
        if new > 0 {
            grew.push(Step::new(REVIEW, model.name(), "grew by this in the last 7 days").bytes(new));
        }
        let idle = state.last_used(model).map(|last| (day(now) - last).get_days()).filter(|days| *days > UNUSED_DAYS);
        if let Some(days) = idle.filter(|_| all > 0) {
            unused.push(Step::new(REVIEW, model.name(), format!("not used for {days} days")).bytes(all));
        }
    }
    for steps in [&mut grew, &mut unused] {
        steps.sort_by_key(|step| std::cmp::Reverse(step.bytes));
        steps.truncate(TOLD);
    }
    grew.into_iter().chain(unused).collect()
}

/// Notebooks of the workspace that nobody touched for long and the store does not have are filed there.
async fn notebooks(ctx: &Context, dry_run: bool) -> Result<Vec<Step>> {
    let Some(workspace) = &ctx.workspace else { return Ok(Vec::new()) };
    let days = ctx.settings.maintain.notebook_days;
    let old = SignedDuration::from_hours(24 * i64::from(days));
    let mut steps = Vec::new();
    let entries = std::fs::read_dir(workspace.root.join("notebooks")).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "ipynb")) {
        let Ok(metadata) = path.metadata() else { continue };
        let touched = metadata.modified().ok().and_then(|at| jiff::Timestamp::try_from(at).ok());
        if touched.is_none_or(|at| ctx.now().duration_since(at) < old) {
            continue;
        }
        let request = file::push::Request { path: path.clone(), dry_run: true, ..Default::default() };
        let planned = file::push::push(ctx, request.clone()).await?;
        if planned.steps.is_empty() {
            continue;
        }
        if !dry_run {
            file::push::push(ctx, file::push::Request { dry_run: false, ..request }).await?;
        }
        let reason = format!("not touched for {days} days; it stays here as well");
        steps.push(Step::new("archive", planned.place.as_str(), reason).bytes(planned.size_bytes));
    }
    Ok(steps)
}

/// Runs that came to nothing, to the trash.
async fn failed_runs(ctx: &Context, store: &Store, view: &mut View, dry_run: bool) -> Result<Vec<Step>> {
    view.complete()?;
    let pinned = pins::pinned(ctx)?;
    let failed = |view: &View| -> Vec<_> {
        let failed = maintain::failed_runs(&view.state, &ctx.settings.retention, &pinned);
        failed
            .into_iter()
            .map(|(model, push, reason)| {
                let target = format!("{}@{} ({})", model.id, push.number, push.revision.short());
                let step = Step::new("move to trash", target, reason).bytes(push.size_bytes);
                (model.id.clone(), push.txn, step)
            })
            .collect()
    };
    let planned = failed(view);
    let mut steps = Vec::new();
    for (model, txn, step) in planned {
        if !dry_run {
            ctx.check_stop()?;
            // Somebody may have labelled or deployed it since.
            *view = log::refresh(ctx, store).await?;
            view.complete()?;
            if !failed(view).iter().any(|(_, still, _)| *still == txn) {
                continue;
            }
            remove::remove_pushes(ctx, store, view, &model, [txn].into(), Vec::new()).await?;
        }
        steps.push(step);
    }
    Ok(steps)
}

/// What the store shows is made again where it is not what the log says.
async fn registry(ctx: &Context, store: &Store, view: &mut View, dry_run: bool) -> Result<Vec<Step>> {
    let stale =
        if dry_run { project::stale(ctx, store, view).await? } else { project::refresh(ctx, store, view).await? };
    Ok(stale.iter().map(|(_, path)| Step::new("show again", path.as_str(), "it is not what the log says")).collect())
}
