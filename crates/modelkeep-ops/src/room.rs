//! Room on this machine for bytes that are to come: asked before the first of them.
//!
//! One function, asked by everything that brings bytes here (`fetch`, `pull`, `serve`). It finds that they fit, evicts
//! what is proven to be had again, puts a repository on the overflow disk, or refuses with the plan that would make room.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use modelkeep_core::budget::{Budget, Need};
use modelkeep_core::evict::Plan;
use modelkeep_core::size::ByteSize;
use modelkeep_core::{Error, Result};
use modelkeep_hub::overflow;

use crate::cache::apply::apply;
use crate::cache::evict::{report_gone, steps, used_by};
use crate::cache::places::Name;
use crate::cache::scan_hf;
use crate::cache::shelf::{self, Observed, Scope};
use crate::context::Context;
use crate::report::Step;
use crate::settings::Evict;
use crate::{hub, status};

/// What is to come, and what a person can do when it does not fit.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// What it is, as the end of `there is no room for …`.
    pub what: String,
    /// Bytes that are still to come.
    pub bytes: u64,
    /// The budget for once (`--budget`).
    pub budget: Option<ByteSize>,
    /// The folder that they come into; it may not be there yet. In the HF cache or in `models/` of the workspace they
    /// count against `budget.models`, there and anywhere in the workspace against `budget.total`, elsewhere only the disk
    /// has to hold them.
    pub into: &'a Path,
    /// What would fit instead, as hints to type.
    pub instead: Vec<String>,
}

/// Makes room, or says what would; what goes is in the steps. With `dry_run` nothing goes.
///
/// Fails with [`Kind::Local`](modelkeep_core::Kind::Local) (exit 8) when there is no room to be made, or the setting
/// `evict` does not let it be made: the error tells the plan.
pub async fn make(ctx: &Context, wanted: &Wanted<'_>, dry_run: bool) -> Result<Vec<Step>> {
    if wanted.bytes == 0 {
        return Ok(Vec::new());
    }
    let into = Into::of(ctx, wanted.into)?;
    let tight = Tight::measure(ctx, wanted, &into).await?;
    if tight.need.must == 0 {
        return Ok(Vec::new());
    }
    let keep = into.repo.clone().into_iter().collect::<Vec<_>>();
    let mut observed = shelf::observe(ctx, Scope { include: &[], keep: &keep, assume_hub: false }).await?;
    observed.only_on(tight.disk);
    let plan = observed.plan(ctx, tight.need).await;
    let steps = steps(&observed, &plan);
    if plan.short > 0 {
        if let Some(step) = overflow(ctx, wanted, &into, dry_run)? {
            return Ok(vec![step]);
        }
        return Err(Box::pin(refuse(ctx, wanted, &tight, &keep, &plan)).await);
    }
    let may = match ctx.settings.evict {
        Evict::Auto => true,
        Evict::Ask => dry_run || ctx.agreed.load(Ordering::Relaxed),
        Evict::Never => false,
    };
    if !may {
        if let Some(step) = overflow(ctx, wanted, &into, dry_run)? {
            return Ok(vec![step]);
        }
        return Err(held_back(ctx, wanted, &tight, &steps, &observed));
    }
    if dry_run {
        return Ok(steps);
    }
    let chosen: Vec<usize> = plan.chosen.iter().map(|one| one.item).collect();
    let applied = apply(ctx, &observed, &chosen, false).await?;
    let went = chosen.iter().copied().filter(|item| !applied.stayed.contains_key(item));
    report_gone(ctx, &observed, went).await?;
    // What was freed counts by its bytes; a disk may give back less.
    let full = tight.disk.is_some() && free_at(&into.path).is_some_and(|free| free < wanted.bytes);
    if full || applied.freed < tight.need.must {
        let stayed: Vec<String> = applied.stayed.values().cloned().collect();
        let why = if stayed.is_empty() { "less came free than was expected".to_owned() } else { stayed.join("; ") };
        return Err(no_room(wanted, &tight, &format!("{}; {why}", tight.why), None));
    }
    Ok(steps)
}

/// What a folder counts against.
struct Into {
    path: PathBuf,
    /// In the HF cache or in `models/`.
    models: bool,
    /// In the workspace or in a cache.
    total: bool,
    /// The repository's folder in the HF cache.
    repo: Option<String>,
    hub: PathBuf,
}

impl Into {
    fn of(ctx: &Context, path: &Path) -> Result<Self> {
        let (path, hub) = (ctx.absolute(path), hub::home(ctx)?.hub);
        let in_cache = path.strip_prefix(&hub).ok();
        let repo = in_cache.and_then(|below| below.components().next());
        let repo = repo.map(|name| name.as_os_str().to_string_lossy().into_owned());
        let root = ctx.workspace.as_ref().map(|workspace| &workspace.root);
        // A repository on the overflow disk: nothing of it lies here.
        let linked = |repo: &String| fs::read_link(hub.join(repo)).is_ok() && hub.join(repo).is_dir();
        let elsewhere = repo.as_ref().is_some_and(linked);
        let in_models = || root.is_some_and(|root| path.starts_with(root.join("models")));
        let models = !elsewhere && (in_cache.is_some() || in_models());
        // Without a workspace there is no arrangement that could be out of bounds.
        let total = !elsewhere && root.is_some_and(|root| models || path.starts_with(root));
        Ok(Self { path, models, total, repo, hub })
    }
}

/// What stands in the way, if anything does.
struct Tight {
    need: Need,
    /// What is too small, in words; empty when nothing is.
    why: String,
    /// The setting that says so, if one does.
    setting: Option<&'static str>,
    /// Whether it is the disk or the whole budget, so that any cache would help.
    anything: bool,
    /// The disk, when that is what is too small: what lies on another makes no room there.
    disk: Option<u64>,
}

impl Tight {
    async fn measure(ctx: &Context, wanted: &Wanted<'_>, into: &Into) -> Result<Self> {
        let mut tight = Self { need: Need::default(), why: String::new(), setting: None, anything: false, disk: None };
        if into.models {
            let high = wanted.budget.unwrap_or(ctx.settings.budget_models);
            let used = used_by(ctx, &[Name::Xet, Name::Models], &scan_hf(ctx).await?)?;
            let need = Budget::new(high, ctx.settings.budget_low).need(used, wanted.bytes);
            let name = if wanted.budget.is_some() { "the budget" } else { "budget.models" };
            let setting = wanted.budget.is_none().then_some("budget.models");
            tight.add(need, (setting, false), || format!("{name} is {high}, of which {} are used", ByteSize(used)));
        }
        if into.total && wanted.budget.is_none() {
            let used = status::local(ctx).await?.used_bytes;
            let high = ctx.settings.budget_total;
            // What else is in it is not for us to remove: no more goes than must.
            let need = Need::exactly(Budget::new(high, 100).need(used, wanted.bytes).must);
            tight.add(need, (Some("budget.total"), true), || {
                format!("budget.total is {high}, of which {} are used", ByteSize(used))
            });
        }
        if let Some(free) = free_at(&into.path) {
            let need = Need::exactly(wanted.bytes.saturating_sub(free));
            tight.disk = disk_of(&into.path).filter(|_| need.must > 0);
            tight.add(need, (None, true), || format!("{} are free on that disk", ByteSize(free)));
        }
        Ok(tight)
    }

    fn add(&mut self, need: Need, (setting, anything): (Option<&'static str>, bool), why: impl FnOnce() -> String) {
        if need.must > self.need.must {
            self.why = why();
            self.setting = setting;
            self.anything = anything;
        }
        self.need = self.need.and(need);
    }
}

/// Puts a repository that the cache does not have yet on the disk that the setting `overflow` names, if it fits there.
fn overflow(ctx: &Context, wanted: &Wanted<'_>, into: &Into, dry_run: bool) -> Result<Option<Step>> {
    let (Some(folder), Some(repo)) = (&ctx.settings.overflow, &into.repo) else { return Ok(None) };
    let (folder, link) = (ctx.absolute(folder), into.hub.join(repo));
    let is_new = std::fs::symlink_metadata(&link).is_err() || std::fs::read_link(&link).is_ok();
    if !is_new || free_at(&folder).is_some_and(|free| free < wanted.bytes) {
        return Ok(None);
    }
    if !dry_run {
        overflow::place(&into.hub, repo, &folder)
            .map_err(|error| modelkeep_remote::folder::failed("using the overflow folder", &folder, error))?;
    }
    let why = "there is no room in the cache; what lies there may be gone when the machine stops";
    Ok(Some(Step::new("put on another disk", folder.join(repo).display().to_string(), why).bytes(wanted.bytes)))
}

/// There is no room to be made by itself: says what could make it.
async fn refuse(ctx: &Context, wanted: &Wanted<'_>, tight: &Tight, keep: &[String], plan: &Plan) -> Error {
    let why = match plan.frees {
        0 => format!("{}, and nothing may go by itself", tight.why),
        frees => format!(
            "{}; what may go by itself frees {}, {} too little",
            tight.why,
            ByteSize(frees),
            ByteSize(plan.short)
        ),
    };
    let include: &[Name] =
        if tight.anything { &[Name::Models, Name::Torch, Name::Pip, Name::Uv, Name::Conda] } else { &[Name::Models] };
    let more = async {
        let mut observed = shelf::observe(ctx, Scope { include, keep, assume_hub: true }).await.ok()?;
        observed.only_on(tight.disk);
        let plan = observed.plan(ctx, Need::exactly(tight.need.must)).await;
        (plan.short == 0).then_some(())?;
        let touched = |name: &&Name| plan.chosen.iter().any(|one| observed.is_of(one.item, **name));
        let named: Vec<&str> = include.iter().filter(touched).map(|name| name.as_str()).collect();
        let flags = named.iter().fold(String::new(), |flags, name| flags + " --include " + name);
        let used = used_by(ctx, &[&[Name::Xet], include].concat(), &observed.hf).ok()?;
        let to = used.saturating_sub(tight.need.must);
        Some((told(&steps(&observed, &plan)), format!("modelkeep cache evict{flags} --assume-hub --to {to}")))
    };
    match more.await {
        Some((told, command)) => no_room(wanted, tight, &format!("{why}. This would make room:{told}"), Some(command)),
        None => no_room(wanted, tight, &why, None),
    }
}

/// The settings do not let room be made: tells what would go.
fn held_back(ctx: &Context, wanted: &Wanted<'_>, tight: &Tight, steps: &[Step], observed: &Observed) -> Error {
    let used = used_by(ctx, &[Name::Xet], &observed.hf).unwrap_or_default();
    let why = match ctx.settings.evict {
        Evict::Ask => "nobody was asked (evict = \"ask\")",
        _ => "nothing may be evicted for it (evict = \"never\")",
    };
    let command = match ctx.settings.evict {
        Evict::Ask => "add --yes to let it go".to_owned(),
        _ => format!("modelkeep cache evict --to {}", used.saturating_sub(tight.need.must)),
    };
    no_room(wanted, tight, &format!("{}, and {why}. This would make room:{}", tight.why, told(steps)), Some(command))
}

fn told(steps: &[Step]) -> String {
    let one = |step: &Step| format!("\n  {} {} ({}): {}", step.action, step.target, ByteSize(step.bytes), step.reason);
    steps.iter().map(one).collect()
}

fn no_room(wanted: &Wanted<'_>, tight: &Tight, why: &str, first: Option<String>) -> Error {
    let error = Error::local(format!("there is no room for {} ({}): {why}", wanted.what, ByteSize(wanted.bytes)));
    let more = tight.setting.map(|setting| format!("modelkeep config set {setting} SIZE"));
    let hints: Vec<String> = first.into_iter().chain(wanted.instead.clone()).chain(more).collect();
    if hints.is_empty() { error } else { error.hint(hints.join("; or ")) }
}

/// The disk that holds `folder`, or would hold it; `None` where the system does not say.
pub(crate) fn disk_of(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        folder.ancestors().find_map(|folder| fs::metadata(folder).ok()).map(|metadata| metadata.dev())
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// Free bytes for this user on the disk that holds `folder`, or would hold it; `None` where the system does not say.
pub fn free_at(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let there = folder.ancestors().find(|folder| folder.exists())?;
        let stat = rustix::fs::statvfs(there).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}
