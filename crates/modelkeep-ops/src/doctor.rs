//! Is all well? The seven success criteria with their evidence, and the health of the tool itself.
//!
//! Looks and judges nothing itself: the rules are `core/criteria.rs`. Works offline and without a store, and says so.
//! What it prints may be pasted into a bug report: no secret is in it, and no home directory's name.

use modelkeep_core::criteria::{self, Criterion, Facts, Git, Kept, Store as Seen};
use modelkeep_core::maintain::{self, Task};
use modelkeep_core::manifest::FORMAT;
use modelkeep_core::placement::{Category, Drive};
use modelkeep_core::size::ByteSize;
use modelkeep_core::words::count;
use modelkeep_core::{Kind, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::drive::Access;
use crate::git;
use crate::report::Step;
use crate::room::free_at;
use crate::store::{Address, Location};
use crate::verify::ProblemKind;
use crate::{cost, gitignore, guard, host, log, pins, place, placement, project, status, verify};

/// What to do beside looking.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Mend what is safe to mend: what the store shows, and the block of the ignore file.
    pub fix: bool,
}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// The seven success criteria.
    pub criteria: Vec<Criterion>,
    /// The tool itself.
    pub health: Vec<Criterion>,
    /// What `--fix` mended.
    pub fixed: Vec<Step>,
    /// Whether every criterion holds.
    pub ok: bool,
}

/// Looks, mends if it is asked to, and judges.
pub async fn doctor(ctx: &Context, request: Request) -> Result<Report> {
    let fixed = if request.fix { fix(ctx).await? } else { Vec::new() };
    let facts = facts(ctx).await?;
    let mut criteria = criteria::judge(&facts);
    let mut health = health(ctx, &facts).await;
    for criterion in criteria.iter_mut().chain(&mut health) {
        criterion.evidence = without_home(ctx, &criterion.evidence);
        criterion.hint = without_home(ctx, &criterion.hint);
    }
    let ok = criteria.iter().all(|criterion| criterion.ok);
    Ok(Report { criteria, health, fixed, ok })
}

async fn facts(ctx: &Context) -> Result<Facts> {
    let measured = status::status(ctx).await?;
    let (used, budget) = (measured.local.used_bytes, measured.local.budget_bytes);
    let (loose_models, loose_experiments) = loose(ctx).await?;
    let (store, pins, lost_pins) = match kept(ctx).await {
        Ok((kept, pins, lost)) => (Seen::Seen(kept), pins, lost),
        Err(error) if error.kind() == Kind::Interrupted => return Err(error),
        Err(_) if Address::is_unset(ctx) => (Seen::Unset, 0, Vec::new()),
        Err(error) => (Seen::Silent(error.full_message()), 0, Vec::new()),
    };
    Ok(Facts {
        used,
        budget,
        store,
        loose_models,
        loose_experiments,
        pins,
        lost_pins,
        git: in_git(ctx)?,
        costs: cost::of(ctx, measured).await?.cost.items,
    })
}

/// What of the workspace belongs on the store and is not there: models, and what experiments left.
async fn loose(ctx: &Context) -> Result<(Vec<String>, Vec<String>)> {
    // Without a workspace the current folder may be anything.
    if ctx.workspace.is_none() {
        return Ok((Vec::new(), Vec::new()));
    }
    let (seen, _) = placement::look_around(ctx, &place::candidates(ctx)).await?;
    let (mut models, mut experiments) = (Vec::new(), Vec::new());
    for seen in seen.into_iter().filter(|seen| seen.verdict.row.drive == Drive::Store && !seen.standing.stored) {
        match seen.verdict.category {
            Category::BaseModel | Category::Finetuned => models.push(seen.given),
            Category::Notebooks | Category::TrainingLogs => experiments.push(seen.given),
            _ => {}
        }
    }
    Ok((models, experiments))
}

/// What the store holds, how many pins there are, and those of what it does not hold.
async fn kept(ctx: &Context) -> Result<(Kept, u64, Vec<String>)> {
    let verified = verify::verify(ctx, None, false).await?;
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    let models: Vec<_> = view.state.models.values().filter(|model| model.latest().is_some()).collect();
    let live = models.iter().flat_map(|model| &model.pushes).filter(|push| push.removed.is_none());
    let of = |wanted: fn(ProblemKind) -> bool| {
        verified
            .problems
            .iter()
            .filter(move |problem| wanted(problem.kind))
            .map(|problem| problem.path.clone())
            .collect()
    };
    let kept = Kept {
        models: models.len() as u64,
        pushes: live.clone().count() as u64,
        files: verified.checked,
        damaged: of(|kind| matches!(kind, ProblemKind::Missing | ProblemKind::Corrupt)),
        stale: of(|kind| kind == ProblemKind::StaleProjection),
        pending: view.pending.len() as u64,
    };
    let pinned = pins::pinned(ctx)?;
    let filed = |revision| view.state.filed.values().any(|item| item.push_of(revision).is_some());
    let lost =
        pinned.iter().filter(|revision| live.clone().all(|push| push.revision != **revision) && !filed(revision));
    Ok((kept, pinned.len() as u64, lost.map(modelkeep_core::digest::RevisionId::short).collect()))
}

fn in_git(ctx: &Context) -> Result<Option<Git>> {
    let folder = guard::here(ctx);
    if git::Git::find(&ctx.env, &folder)?.is_none() {
        return Ok(None);
    }
    let report = guard::check_at(ctx, &folder, &guard::Request { all: true, ..guard::Request::default() })?;
    let findings = report.findings.into_iter().filter(|finding| finding.path != ".").map(|finding| finding.path);
    let limit = ctx.settings.guard.repository.0;
    Ok(Some(Git { bytes: report.repository_bytes, limit, findings: findings.collect() }))
}

/// How the tool itself is.
async fn health(ctx: &Context, facts: &Facts) -> Vec<Criterion> {
    let told = |id: &str, ok: bool, evidence: String, hint: &str| Criterion {
        id: id.to_owned(),
        ok,
        evidence,
        hint: if ok { String::new() } else { hint.to_owned() },
    };
    let version = env!("CARGO_PKG_VERSION");
    let system = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    let mut health = vec![told("versions", true, format!("modelkeep {version}, format {FORMAT}, {system}"), "")];
    let unknown: Vec<&str> = ctx.settings.unknown.iter().map(|(key, _)| key.as_str()).collect();
    let settings =
        if unknown.is_empty() { "all are known".to_owned() } else { format!("unknown: {}", unknown.join(", ")) };
    health.push(told("settings", unknown.is_empty(), settings, "modelkeep config show --origin"));
    let root = guard::here(ctx);
    if let Some(free) = free_at(&root) {
        let wanted = ctx.settings.budgets.free.0;
        let evidence = format!("{} free, {} wanted", ByteSize(free), ByteSize(wanted));
        health.push(told("disk", free >= wanted, evidence, "modelkeep status"));
    }
    health.push(credentials(ctx));
    let reachable = match &facts.store {
        Seen::Unset => told("remote", false, "no store is set".to_owned(), "modelkeep init --remote PATH-OR-URL"),
        Seen::Silent(why) => told("remote", false, why.clone(), "modelkeep remote test"),
        Seen::Seen(_) => told("remote", true, "it answers".to_owned(), ""),
    };
    health.push(reachable);
    if let Ok(store) = ctx.store().await {
        let confirms = store.confirms();
        let mount = if confirms { "the store acknowledges writes itself" } else { "written through a mount (FUSE)" };
        health.push(told("mount", confirms, mount.to_owned(), "modelkeep login gdrive, and a gdrive: store"));
        if let Ok(there) = store.remote.now().await {
            let apart = ctx.now().duration_since(there).abs();
            let evidence = format!("{} s from the store's", apart.as_secs());
            health.push(told("clock", apart.as_secs() < 300, evidence, "set this machine's clock"));
        }
        if let Ok(view) = log::refresh(ctx, &store).await {
            let host = host::name(&ctx.env);
            let is_due = |task: &Task| maintain::is_due(*task, &view.state.maintained, &host, ctx.now());
            let due = Task::ALL.iter().filter(|task| is_due(task)).count() as u64;
            let evidence = if due == 0 { "nothing is due".to_owned() } else { count(due, "task") + " due" };
            health.push(told("upkeep", due == 0, evidence, "modelkeep maintain due, or modelkeep maintain schedule"));
        }
    }
    health
}

/// Whether there is a way in, where one is needed. Nothing of it is shown but where it comes from.
fn credentials(ctx: &Context) -> Criterion {
    let told = |ok: bool, evidence: String| Criterion {
        id: "credentials".to_owned(),
        ok,
        evidence,
        hint: if ok { String::new() } else { "modelkeep login gdrive".to_owned() },
    };
    match Address::resolve(ctx) {
        Ok(Address { location: Location::Drive(_), account, .. }) => match Access::find(&ctx.env, account.as_deref()) {
            Ok(access) => told(true, format!("by {}", access.by)),
            Err(error) => told(false, error.full_message()),
        },
        _ => told(true, "none are needed".to_owned()),
    }
}

fn without_home(ctx: &Context, text: &str) -> String {
    match ctx.env.home().map(|home| home.display().to_string()) {
        Some(home) if home.len() > 1 => text.replace(&home, "~"),
        _ => text.to_owned(),
    }
}

/// Mends what can be made again from what is certain: what the store shows, and the block of the ignore file.
async fn fix(ctx: &Context) -> Result<Vec<Step>> {
    let mut fixed = Vec::new();
    if let Some(workspace) = &ctx.workspace
        && gitignore::keep_block(&workspace.root)?
    {
        fixed.push(Step::new("write", ".gitignore", "its block was out of date"));
    }
    let store = match ctx.store().await {
        Ok(store) => store,
        Err(error) if error.kind() == Kind::Interrupted => return Err(error),
        // It is told among the criteria.
        Err(_) => return Ok(fixed),
    };
    let mut view = log::refresh(ctx, &store).await?;
    let stale = project::refresh(ctx, &store, &mut view).await?;
    fixed.extend(stale.iter().map(|(_, path)| Step::new("show again", path.as_str(), "it was not what the log says")));
    Ok(fixed)
}
