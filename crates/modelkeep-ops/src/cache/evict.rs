//! Make the caches smaller: what is proven to be had again goes, least recently used first.

use modelkeep_core::Result;
use modelkeep_core::budget::{Budget, Need};
use modelkeep_core::evict::{self, Plan};
use modelkeep_core::name::ModelId;
use modelkeep_core::registry::Model;
use modelkeep_core::size::ByteSize;
use modelkeep_hub::scan::Cache;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::apply::apply;
use super::places::{self, Name};
use super::shelf::{self, Observed, Scope};
use crate::context::Context;
use crate::report::{Step, Wrote};
use crate::{host, log, project};

/// What to evict.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Down to so many bytes, of the caches that are looked at; default: `budget.models`, over the HF cache and `models/`.
    pub to: Option<ByteSize>,
    /// Other caches too, by name: `pip`, `uv`, `conda`, `torch`, `models`.
    pub include: Vec<String>,
    /// Take for granted that the Hub has what was fetched from it, when it cannot be asked.
    pub assume_hub: bool,
    /// Down to below `budget.caches` (1 GB), each cache emptied rather than pruned: `cache clear`.
    pub clear: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was evicted.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// What went, or would go.
    pub steps: Vec<Step>,
    /// What stays, and why.
    pub stays: Vec<Step>,
    /// Bytes before.
    pub used_bytes: u64,
    /// Bytes that were aimed for.
    pub target_bytes: u64,
    /// Bytes that came free, or would.
    pub freed_bytes: u64,
    /// Bytes above the target that may not go.
    pub short_bytes: u64,
    /// Seconds until all of it would be back.
    pub back_seconds: f64,
    /// The rate by which that is reckoned, in bytes a second.
    pub rate_bytes: u64,
    /// Whether anything was done.
    pub changed: bool,
    /// It is about this machine; no store is written.
    #[serde(flatten)]
    pub wrote: Wrote,
}

/// Evicts.
pub async fn evict(ctx: &Context, request: &Request) -> Result<Report> {
    let include = included(request)?;
    let scope = Scope { include: &include, keep: &[], assume_hub: request.assume_hub };
    let mut observed = shelf::observe(ctx, scope).await?;
    let (used, target, need) = goal(ctx, request, &include, &observed)?;
    let plan = observed.plan(ctx, need).await;
    let mut report = Report {
        steps: steps(&observed, &plan),
        stays: stays(&observed),
        used_bytes: used,
        target_bytes: target,
        freed_bytes: plan.frees,
        short_bytes: plan.short,
        back_seconds: plan.chosen.iter().map(|one| one.back_seconds).sum(),
        rate_bytes: ctx.settings.rate.0,
        changed: false,
        wrote: Wrote { simulated: false, confirmed: !request.dry_run, dry_run: request.dry_run, spent: None },
    };
    if request.dry_run || plan.chosen.is_empty() {
        return Ok(report);
    }
    let chosen: Vec<usize> = plan.chosen.iter().map(|one| one.item).collect();
    let applied = apply(ctx, &observed, &chosen, request.clear).await?;
    for (item, why) in &applied.stayed {
        ctx.warn(format!("{} stays: {why}", observed.shelf.items[*item].name));
    }
    let went = plan.chosen.iter().filter(|one| !applied.stayed.contains_key(&one.item));
    let went: Vec<_> = went.collect();
    report_gone(ctx, &observed, went.iter().map(|one| one.item)).await?;
    report.steps = went.into_iter().map(|one| step(&observed, one)).collect();
    report.changed = !report.steps.is_empty();
    report.freed_bytes = applied.freed;
    report.short_bytes = need.must.saturating_sub(applied.freed);
    Ok(report)
}

/// Tells the registry that this machine holds these models no more, where it said before that it does.
pub(crate) async fn report_gone(ctx: &Context, observed: &Observed, items: impl Iterator<Item = usize>) -> Result<()> {
    let gone: Vec<(String, String)> = items.filter_map(|item| observed.revision(item)).collect();
    // Who has no store, or cannot reach it now, tells it with the next change.
    let Ok(store) = ctx.store().await else { return Ok(()) };
    if gone.is_empty() {
        return Ok(());
    }
    let Ok(mut view) = log::refresh(ctx, &store).await else { return Ok(()) };
    let of = |model: &&Model| {
        model.pushes.iter().any(|push| {
            let source = model.describe(push).source;
            gone.iter().any(|(id, commit)| *commit == push.revision.to_string() || Some(id) == source.as_ref())
        })
    };
    let models: Vec<ModelId> = view.state.models.values().filter(of).map(|model| model.id.clone()).collect();
    let mut told = false;
    for model in models {
        told |= host::gone(ctx, &store, &mut view, &model).await?;
    }
    if told { project::after(ctx, &store, &mut view, &[]).await.map(drop) } else { Ok(()) }
}

fn included(request: &Request) -> Result<Vec<Name>> {
    request.include.iter().map(|name| Name::parse(name)).collect()
}

/// Bytes that are there, bytes that are aimed for, and what follows.
fn goal(ctx: &Context, request: &Request, include: &[Name], observed: &Observed) -> Result<(u64, u64, Need)> {
    let to =
        if request.clear { Some(ctx.settings.budgets.caches.0.saturating_sub(1)) } else { request.to.map(|to| to.0) };
    let others = if to.is_some() { [include, &[Name::Xet]].concat() } else { vec![Name::Xet, Name::Models] };
    let used = used_by(ctx, &others, &observed.hf)?;
    if let Some(to) = to {
        return Ok((used, to, Need::exactly(used.saturating_sub(to))));
    }
    let budget = Budget::new(ctx.settings.budget_models, ctx.settings.budget_low);
    Ok((used, budget.high, budget.excess(used)))
}

/// Bytes of the HF cache and of these others.
pub(crate) fn used_by(ctx: &Context, others: &[Name], hf: &Cache) -> Result<u64> {
    let places = places::find(ctx)?.into_iter().filter(|place| others.contains(&place.name));
    Ok(hf.takes() + places.map(|place| place.size().bytes).sum::<u64>())
}

/// The steps of a plan.
pub(crate) fn steps(observed: &Observed, plan: &Plan) -> Vec<Step> {
    plan.chosen.iter().map(|one| step(observed, one)).collect()
}

fn step(observed: &Observed, one: &evict::Chosen) -> Step {
    Step::new("evict", &observed.shelf.items[one.item].name, &one.reason).bytes(one.frees)
}

/// What may not go, and why.
fn stays(observed: &Observed) -> Vec<Step> {
    let items = observed.shelf.items.iter();
    let stays =
        items.filter_map(|item| Some(Step::new("keep", &item.name, evict::stays(item)?).bytes(item.back.bytes)));
    stays.collect()
}
