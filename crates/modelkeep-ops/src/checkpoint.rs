//! Store one finished checkpoint of a running training, and let the older ones go.
//!
//! Knows what a checkpoint's label is, that the same one is never stored twice, and that one which was let go does not
//! come back. Whether a checkpoint is finished is for whoever calls: `watch`, or a callback inside the training.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use modelkeep_core::digest::{RevisionId, Txn};
use modelkeep_core::inspect::checkpoint::{label, step};
use modelkeep_core::inspect::{metrics, trainer};
use modelkeep_core::manifest::{FileEntry, Manifest};
use modelkeep_core::name::{Label, ModelId};
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::retention::{self, Keep};
use modelkeep_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::log::View;
use crate::observe::{self, Filter};
use crate::push::{self, push};
use crate::report::{Step, Wrote};
use crate::store::Store;
use crate::{log, pins, remove, staging};

/// A checkpoint to store, and what to say about it.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The checkpoint: a directory, or one file.
    pub path: PathBuf,
    /// The model that is being trained.
    pub model: String,
    /// What it is called; the name of its directory otherwise.
    pub name: Option<String>,
    /// So many of the newest checkpoints stay on the store, and the best one; none means all.
    pub keep_last: Option<u64>,
    /// Store the optimizer's state too, without which a training can go on only roughly.
    pub optimizer: bool,
    /// Only files that match one of these, when there are any.
    pub include: Vec<String>,
    /// No file that matches one of these.
    pub exclude: Vec<String>,
    /// The base model, over what the adapter says.
    pub base: Option<String>,
    /// What the model is for.
    pub purpose: Option<String>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            model: String::new(),
            name: None,
            keep_last: None,
            optimizer: true,
            include: Vec::new(),
            exclude: Vec::new(),
            base: None,
            purpose: None,
        }
    }
}

/// What became of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// The model.
    pub model: ModelId,
    /// The checkpoint's label: `MODEL@LABEL` brings it back.
    pub checkpoint: Label,
    /// Its step, when its name says one.
    pub step: Option<u64>,
    /// Where it is here.
    #[schemars(with = "String")]
    pub path: PathBuf,
    /// Its content's id.
    pub revision: RevisionId,
    /// The number of its push.
    pub number: u64,
    /// Whether it was stored now; false when it was there, or was let go before.
    pub created: bool,
    /// How many files.
    pub files: u64,
    /// All bytes.
    pub size_bytes: u64,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// What training had measured by then.
    pub metrics: BTreeMap<String, Option<f64>>,
    /// Older checkpoints that were let go.
    pub steps: Vec<Step>,
    /// Where it went.
    #[serde(flatten)]
    pub wrote: Wrote,
}

/// A checkpoint that is on the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Item {
    /// Its label.
    pub checkpoint: Label,
    /// Its step.
    pub step: u64,
    /// Its content's id.
    pub revision: RevisionId,
    /// The number of its push.
    pub number: u64,
    /// When it was pushed.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Bytes.
    pub size_bytes: u64,
}

/// The checkpoints of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Stored {
    /// The model.
    pub model: ModelId,
    /// Its checkpoints in the order they were pushed; what was let go is left out.
    pub checkpoints: Vec<Item>,
    /// Whether this is the simulation.
    pub simulated: bool,
}

/// The checkpoints of a model; none of one that nobody pushed yet.
pub async fn stored(ctx: &Context, model: &str) -> Result<Stored> {
    let model: ModelId = model.parse()?;
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    Ok(Stored { checkpoints: items(&view, &model), model, simulated: store.simulated() })
}

/// The same before a training begins, which fails now and not at its first checkpoint when it may not write the model.
/// `again` says how the next id is asked for.
pub async fn begin(ctx: &Context, model: &str, again: impl FnOnce(&ModelId) -> String) -> Result<Stored> {
    let model: ModelId = model.parse()?;
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    if view.state.deployment_of(&model).is_some() {
        return Err(
            Error::conflict(format!("`{model}` is deployed, and a training would write it")).hint(again(&model.next()))
        );
    }
    Ok(Stored { checkpoints: items(&view, &model), model, simulated: store.simulated() })
}

fn items(view: &View, model: &ModelId) -> Vec<Item> {
    let Some(model) = view.state.models.get(model) else { return Vec::new() };
    let item = |(label, revision): (&Label, &RevisionId)| {
        let push = model.pushes.iter().rev().find(|push| push.revision == *revision && push.removed.is_none())?;
        step(label.as_str()).map(|step| Item {
            checkpoint: label.clone(),
            step,
            revision: *revision,
            number: push.number,
            at: push.at,
            size_bytes: push.size_bytes,
        })
    };
    let mut items: Vec<Item> = model.labels.iter().filter_map(item).collect();
    items.sort_by_key(|item| (item.number, item.step));
    items
}

/// What a training needs to go on exactly, and nobody else: the state of the optimizer, of its schedule and of chance.
const OPTIMIZER: [&str; 8] = [
    "/optimizer*",
    "/scheduler.pt",
    "/scheduler.bin",
    "/scaler.pt",
    "/rng_state*",
    "/random_states*",
    "/sampler*.bin",
    "/global_step*",
];

/// Stores a checkpoint.
pub async fn store(ctx: &Context, request: &Request) -> Result<Report> {
    let model: ModelId = request.model.parse()?;
    check_keep(request.keep_last)?;
    let path = ctx.absolute(&request.path);
    let name = match &request.name {
        Some(name) => name.clone(),
        None => name_of(&path)?,
    };
    let checkpoint = label(&name).ok_or_else(|| {
        Error::usage(format!("no label can be made of `{name}`")).hint("give the checkpoint's directory another name")
    })?;
    let mut exclude = request.exclude.clone();
    if !request.optimizer {
        exclude.extend(OPTIMIZER.map(str::to_owned));
    }
    let filter = Filter { include: request.include.clone(), exclude: exclude.clone() };

    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    let known = match view.state.models.get(&model) {
        Some(model) if may_be_known(model, &checkpoint) => Some(revision_of(ctx, &store, &path, &filter).await?),
        _ => None,
    };
    let mut report = if let Some(report) = known.and_then(|revision| there(&view, &model, &checkpoint, revision)) {
        report
    } else {
        let request = push::Request {
            path: path.clone(),
            model: request.model.clone(),
            labels: vec![checkpoint.to_string()],
            base: request.base.clone(),
            purpose: request.purpose.clone(),
            include: request.include.clone(),
            exclude,
            ..push::Request::default()
        };
        of_push(push(ctx, request).await?, &checkpoint)
    };
    report.path = path;
    let mut view = log::refresh(ctx, &store).await?;
    let keep = Keep { last: request.keep_last, best: best(&report.path) };
    report.steps = let_go(ctx, &store, &mut view, &model, &keep).await?;
    report.wrote = Wrote::to(&store, false);
    Ok(report)
}

/// Fails for a number of checkpoints that cannot stay: the newest always does.
pub(crate) fn check_keep(last: Option<u64>) -> Result<()> {
    if last == Some(0) {
        return Err(Error::usage("0 checkpoints cannot stay on the store: the newest always does")
            .hint("--keep-last 1 keeps that and the best one; without --keep-last all stay"));
    }
    Ok(())
}

/// The name of a checkpoint's directory or file.
pub(crate) fn name_of(path: &Path) -> Result<String> {
    let name = path.file_name().or_else(|| path.components().next_back().map(std::path::Component::as_os_str));
    let name = name.and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| Error::usage(format!("{} has no name that can be read", path.display())))
}

/// Whether its content must be known before it is pushed: what has this label already, or what was let go, comes twice
/// otherwise.
fn may_be_known(model: &Model, checkpoint: &Label) -> bool {
    model.labels.contains_key(checkpoint) || model.pushes.iter().any(|push| push.removed.is_some())
}

async fn revision_of(ctx: &Context, store: &Store, path: &Path, filter: &Filter) -> Result<RevisionId> {
    let mut directory = observe::directory(path, filter, store.local(ctx)?)?;
    staging::hash_all(ctx, store, &mut directory).await?;
    let entries = directory
        .files
        .into_iter()
        .filter_map(|file| Some(FileEntry { path: file.path, size: file.stat.size, sha256: file.sha256? }));
    Ok(Manifest::new(entries.collect())?.revision())
}

/// The push that stored this content before: as this checkpoint, or as one that was let go since.
fn there(view: &View, model: &ModelId, checkpoint: &Label, revision: RevisionId) -> Option<Report> {
    let model = view.state.models.get(model)?;
    let pushes = model.pushes.iter().rev().filter(|push| push.revision == revision);
    let push = pushes.min_by_key(|push| push.removed.is_some())?;
    let known = match push.removed {
        None => model.labels.get(checkpoint) == Some(&revision),
        Some(_) => is_overtaken(model, push),
    };
    known.then(|| Report {
        model: model.id.clone(),
        checkpoint: checkpoint.clone(),
        step: step(checkpoint.as_str()),
        path: PathBuf::new(),
        revision,
        number: push.number,
        created: false,
        files: push.files,
        size_bytes: push.size_bytes,
        sent_bytes: 0,
        metrics: push.facts.metrics.clone(),
        steps: Vec::new(),
        wrote: Wrote { simulated: false, confirmed: false, dry_run: false, spent: None },
    })
}

/// Whether a later checkpoint is on the store. Retention lets go of no other; without one, a push was removed by hand, and
/// the training that still has its content would go on from nothing. One that came back counts as when it first came.
fn is_overtaken(model: &Model, push: &Push) -> bool {
    let first = |revision: &RevisionId| model.pushes.iter().position(|other| other.revision == *revision);
    let is_checkpoint = |revision| model.labels_of(revision).iter().any(|label| step(label.as_str()).is_some());
    let mut live = model.pushes.iter().filter(|other| other.removed.is_none());
    live.any(|other| is_checkpoint(&other.revision) && first(&other.revision) > first(&push.revision))
}

fn of_push(pushed: push::Report, checkpoint: &Label) -> Report {
    Report {
        model: pushed.model,
        checkpoint: checkpoint.clone(),
        step: step(checkpoint.as_str()),
        path: PathBuf::new(),
        revision: pushed.revision,
        number: pushed.number,
        created: pushed.created,
        files: pushed.files,
        size_bytes: pushed.size_bytes,
        sent_bytes: pushed.sent_bytes,
        metrics: pushed.metrics,
        steps: Vec::new(),
        wrote: pushed.wrote,
    }
}

/// The best checkpoint so far, as the Trainer wrote it into this one: a path on the machine that trained.
fn best(path: &Path) -> Option<Label> {
    let bytes = fs::read(path.join(trainer::FILE)).ok()?;
    let found = metrics::parse(trainer::FILE, &bytes).ok()?;
    let best = found.training?.best_model_checkpoint?;
    label(best.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next()?)
}

/// Lets older checkpoints go: to the store's trash, where `restore` finds them until their time is over.
async fn let_go(ctx: &Context, store: &Store, view: &mut View, id: &ModelId, keep: &Keep) -> Result<Vec<Step>> {
    let Some(model) = view.state.models.get(id) else { return Ok(Vec::new()) };
    let pinned = pins::pinned(ctx)?;
    // With the labels of those that a run which was stopped right here let go.
    let mut labels = stale_labels(model);
    let (mut steps, mut txns): (Vec<Step>, BTreeSet<Txn>) = Default::default();
    for doomed in retention::checkpoints(&view.state, model, keep, &pinned) {
        let names: Vec<&str> = doomed.labels.iter().map(Label::as_str).collect();
        let target = format!("{id}@{} ({})", names.join(", "), doomed.push.revision.short());
        steps.push(Step::new("let go", target, doomed.reason).bytes(doomed.push.size_bytes));
        txns.insert(doomed.push.txn);
        labels.extend(doomed.labels);
    }
    if !txns.is_empty() || !labels.is_empty() {
        remove::remove_pushes(ctx, store, view, id, txns, labels).await?;
    }
    Ok(steps)
}

/// Labels of checkpoints whose every push is removed.
fn stale_labels(model: &Model) -> Vec<Label> {
    let removed = |revision: &RevisionId| {
        model.pushes.iter().filter(|push| push.revision == *revision).all(|push| push.removed.is_some())
    };
    let stale = model.labels.iter().filter(|(label, revision)| step(label.as_str()).is_some() && removed(revision));
    stale.map(|(label, _)| label.clone()).collect()
}
