//! Store a directory as a new revision of a model.
//!
//! Knows what a push is. Does not know terminals, HTTP, or which store it talks to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::SignedDuration;
use modelkeep_core::digest::{RevisionId, Sha256, Txn};
use modelkeep_core::event::{Body, Pushed};
use modelkeep_core::layout;
use modelkeep_core::manifest::{FORMAT, Facts, Manifest, Marker, ModelKind};
use modelkeep_core::name::{LATEST, Label, ModelId};
use modelkeep_core::path::RemotePath;
use modelkeep_core::registry::Model;
use modelkeep_core::{Error, Result};
use modelkeep_remote::Object;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::Context;
use crate::keep::{self, Act, Stored};
use crate::learn::{self, Given, Learnt, Material, Origin};
use crate::log::{self, View};
use crate::observe::{self, Directory, Filter};
use crate::report::{Step, Wrote};
use crate::staging::{self, Filled, Staging, Supply};
use crate::store::Store;
use crate::{base, lock, project, tree};

/// What to push, and what to say about it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The directory, or one file.
    pub path: PathBuf,
    /// The model id, as typed.
    pub model: String,
    /// Labels for the revision; `latest` is allowed and changes nothing.
    pub labels: Vec<String>,
    /// Base or finetuned; needed only for a new model.
    pub kind: Option<ModelKind>,
    /// The base model, over what the adapter says.
    pub base: Option<String>,
    /// Metrics, as `K=V`.
    pub metrics: Vec<String>,
    /// A file with metrics.
    pub metrics_file: Option<PathBuf>,
    /// What the model is for.
    pub purpose: Option<String>,
    /// A note on this push.
    pub note: Option<String>,
    /// Only files that match one of these, when there are any.
    pub include: Vec<String>,
    /// No file that matches one of these.
    pub exclude: Vec<String>,
    /// Push even though the model is deployed.
    pub even_if_deployed: bool,
    /// Read everything back from the remote before committing.
    pub verify: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What a push did.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// The model.
    pub model: ModelId,
    /// Its content's id.
    pub revision: RevisionId,
    /// Its number; of the push that has this content already when nothing was created.
    pub number: u64,
    /// The labels it has now, `latest` included when it is the newest.
    pub labels: Vec<String>,
    /// Whether a new push was made.
    pub created: bool,
    /// Whether it is the newest push of the model.
    pub latest: bool,
    /// How many files.
    pub files: u64,
    /// All bytes.
    pub size_bytes: u64,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Bytes that the remote had already.
    pub skipped_bytes: u64,
    /// What it was trained from.
    pub base_model: Option<String>,
    /// Its metrics.
    pub metrics: BTreeMap<String, Option<f64>>,
    /// What it is: `LoRA adapter`, `full model`…
    #[serde(rename = "type")]
    pub model_type: Option<String>,
    /// The day the training ended.
    pub training_date: Option<String>,
    /// Where it stands on the remote.
    pub path: String,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// What would be done (`--dry-run`), and what was set beside content that was there already.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Where it went.
    #[serde(flatten)]
    pub wrote: Wrote,
}

/// The request with its names parsed.
struct Asked {
    model: ModelId,
    labels: BTreeSet<Label>,
    given: Given,
    set: BTreeMap<String, Value>,
}

/// Stores a directory.
pub async fn push(ctx: &Context, request: Request) -> Result<Report> {
    push_from(ctx, request, None).await
}

/// Stores a directory that was just taken from the Hub.
pub(crate) async fn push_from(ctx: &Context, request: Request, origin: Option<Origin>) -> Result<Report> {
    let mut asked = parse(ctx, &request)?;
    asked.given.origin = origin;
    let store = ctx.store().await?;
    let local = store.local(ctx)?;
    let source = ctx.absolute(&request.path);
    let name = format!("push {} {} {}", store.id(), asked.model, source.display());
    let who = format!("another push of {} to `{}` is at work", request.path.display(), asked.model);
    let _alone = if request.dry_run { None } else { Some(lock::hold(ctx, local.folder(), &name, &who).await?) };
    let filter = Filter { include: request.include.clone(), exclude: request.exclude.clone() };
    let mut directory = observe::directory(&source, &filter, local)?;
    let material = Material::gather(&directory)?;
    asked.given.base_commit =
        material.adapter().filter(|_| request.base.is_none()).and_then(|adapter| base::commit_here(ctx, &adapter));
    let mut learnt = learn::learn(material, &asked.given)?;
    if directory.empty_folders > 0 {
        let (n, s) = (directory.empty_folders, if directory.empty_folders == 1 { "" } else { "s" });
        learnt.warnings.push(format!("{n} empty folder{s} left out: a revision holds files only"));
    }
    learnt.warnings.iter().for_each(|warning| ctx.warn(warning));
    let mut view = log::refresh(ctx, &store).await?;
    let kind = kind_of(&view, &asked.model, request.kind)?;
    check_free(&store, &view, kind, &asked.model).await?;
    if request.dry_run || needs_all_digests(ctx, &store, &view, &asked.model, &request, &directory).await {
        staging::hash_all(ctx, &store, &mut directory).await?;
    }
    if let Some(manifest) = directory.manifest()? {
        if keep::is_newest(&view, &asked.model, &manifest) {
            return unchanged(ctx, &store, &mut view, &asked, &request, learnt, &directory, &manifest).await;
        }
        refuse_deployed(&view, &asked.model, &request)?;
        if request.dry_run {
            let held = staging::held(ctx, &store, &view).await?;
            return Ok(planned(&store, &view, &asked, kind, learnt, &manifest, &held));
        }
    }
    let txn = match store_content(ctx, &store, &mut view, &asked, &request, kind, &learnt, &directory).await? {
        Stored::Same(manifest) => {
            return unchanged(ctx, &store, &mut view, &asked, &request, learnt, &directory, &manifest).await;
        }
        Stored::Committed(txn, sent) => (txn, sent),
    };
    finish(ctx, &store, &mut view, &asked, learnt, txn).await
}

/// Stores what comes from elsewhere, all of whose content is known.
pub(crate) async fn push_supply(
    ctx: &Context,
    request: &Request,
    material: Material,
    origin: Origin,
    supply: &dyn Supply,
) -> Result<Report> {
    let mut asked = parse(ctx, request)?;
    asked.given.origin = Some(origin);
    let store = ctx.store().await?;
    let name = format!("push {} {} {}", store.id(), asked.model, supply.root().display());
    let who = format!("another push of {} to `{}` is at work", supply.root().display(), asked.model);
    let _alone = lock::hold(ctx, store.local(ctx)?.folder(), &name, &who).await?;
    let learnt = learn::learn(material, &asked.given)?;
    learnt.warnings.iter().for_each(|warning| ctx.warn(warning));
    let mut view = log::refresh(ctx, &store).await?;
    let kind = kind_of(&view, &asked.model, request.kind)?;
    check_free(&store, &view, kind, &asked.model).await?;
    if let Some(manifest) = supply.manifest()?
        && keep::is_newest(&view, &asked.model, &manifest)
    {
        return report(&store, &view, &asked, learnt, None, 0);
    }
    refuse_deployed(&view, &asked.model, request)?;
    match store_content(ctx, &store, &mut view, &asked, request, kind, &learnt, supply).await? {
        Stored::Same(_) => report(&store, &view, &asked, learnt, None, 0),
        Stored::Committed(txn, sent) => finish(ctx, &store, &mut view, &asked, learnt, (txn, sent)).await,
    }
}

fn parse(ctx: &Context, request: &Request) -> Result<Asked> {
    let labels = request.labels.iter().filter(|label| *label != LATEST).map(|label| label.parse());
    let metrics_file = match &request.metrics_file {
        None => None,
        Some(path) => {
            let file = ctx.absolute(path);
            let bytes =
                std::fs::read(&file).map_err(|error| modelkeep_remote::folder::failed("reading", &file, error))?;
            Some((path.display().to_string(), bytes))
        }
    };
    let text = |name: &str, value: &Option<String>| Some((name.to_owned(), Value::from(value.clone()?)));
    Ok(Asked {
        model: request.model.parse()?,
        labels: labels.collect::<Result<_>>()?,
        given: Given { base: request.base.clone(), metrics: request.metrics.clone(), metrics_file, ..Given::default() },
        set: [text("purpose", &request.purpose), text("note", &request.note)].into_iter().flatten().collect(),
    })
}

/// The kind of the model: an existing one keeps its own.
fn kind_of(view: &View, model: &ModelId, asked: Option<ModelKind>) -> Result<ModelKind> {
    if let Some(alias) = view.state.aliases.get(model.as_str()).filter(|id| *id != model) {
        return Err(Error::conflict(format!("`{model}` is another name of `{alias}`"))
            .hint(format!("push to `{alias}`, or take another id")));
    }
    let Some(existing) = view.state.models.get(model) else { return Ok(asked.unwrap_or(ModelKind::Finetuned)) };
    match asked {
        Some(kind) if kind != existing.kind => {
            Err(Error::conflict(format!("`{model}` is a {} model", existing.kind.as_str()))
                .hint(format!("leave --kind out, or take another id, such as `{}`", model.next())))
        }
        _ => Ok(existing.kind),
    }
}

/// Fails when a folder that is not ours stands where this model would be shown, or under this id among models of the
/// other kind: an id is unique over both.
async fn check_free(store: &Store, view: &View, kind: ModelKind, model: &ModelId) -> Result<()> {
    if view.state.models.contains_key(model) {
        return Ok(());
    }
    let other = match kind {
        ModelKind::Base => ModelKind::Finetuned,
        ModelKind::Finetuned | ModelKind::Filed => ModelKind::Base,
    };
    for place in [layout::shown(kind, model), layout::shown(other, model)] {
        if store.remote.find(&Object::at(place.clone())).await?.is_none() {
            continue;
        }
        // A marker whose event we do not see: this view is behind; what we push gets its own folder anyhow.
        if tree::marker_in(store, &place).await?.is_none() && !may_be_late(store, &place).await? {
            return Err(Error::conflict(format!(
                "{place} is on the remote already, and nobody has told the registry of it"
            ))
            .hint("modelkeep adopt"));
        }
    }
    Ok(())
}

/// Whether what is in a folder is so young that a listing may not show all of it yet, such as its marker.
async fn may_be_late(store: &Store, folder: &RemotePath) -> Result<bool> {
    if !store.remote.capabilities().late_listings {
        return Ok(false);
    }
    let newest = tree::walk(store, folder).await?.into_iter().map(|entry| entry.modified).max();
    let now = store.remote.now().await?;
    Ok(newest.is_none_or(|newest| now.duration_since(newest) < SignedDuration::from_hours(1)))
}

/// Whether the content must be known before anything is sent: to tell the same content from a conflict, or where it
/// looks like the newest push's and finding that out on the store would cost calls.
async fn needs_all_digests(
    ctx: &Context,
    store: &Store,
    view: &View,
    model: &ModelId,
    request: &Request,
    directory: &Directory,
) -> bool {
    if !request.even_if_deployed && view.state.deployment_of(model).is_some() {
        return true;
    }
    let (Some(known), Some(newest)) =
        (view.state.models.get(model), view.state.models.get(model).and_then(Model::latest))
    else {
        return false;
    };
    if store.remote.capabilities().cheap_reads || newest.files != directory.files.len() as u64 {
        return false;
    }
    // A push that cannot be found says nothing; `verify` is who reports it.
    let Ok(manifest) = tree::manifest(ctx, store, known, newest).await else { return false };
    manifest
        .files()
        .iter()
        .zip(&directory.files)
        .all(|(there, here)| there.path == here.path && there.size == here.stat.size)
}

fn refuse_deployed(view: &View, model: &ModelId, request: &Request) -> Result<()> {
    if request.even_if_deployed || view.state.deployment_of(model).is_none() {
        return Ok(());
    }
    let path = request.path.display();
    Err(Error::conflict(format!("`{model}` is deployed"))
        .hint(format!("modelkeep push {path} {} (or --even-if-deployed)", model.next())))
}

#[allow(clippy::too_many_arguments)]
async fn store_content(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    asked: &Asked,
    request: &Request,
    kind: ModelKind,
    learnt: &Learnt,
    supply: &dyn Supply,
) -> Result<Stored> {
    let act = Act {
        key: &asked.model,
        supply,
        refuse: &|view| refuse_deployed(view, &asked.model, request),
        marker: &|view, staging, filled| marker(ctx, view, asked, kind, learnt, staging, filled),
        pushed: &|marker, ids| Pushed {
            labels: asked.labels.clone(),
            set: asked.set.clone(),
            ids,
            ..Pushed::of(marker)
        },
        verify: request.verify,
    };
    keep::store(ctx, store, view, &act).await
}

fn marker(
    ctx: &Context,
    view: &View,
    asked: &Asked,
    kind: ModelKind,
    learnt: &Learnt,
    staging: &Staging,
    filled: &Filled,
) -> Marker {
    let mut facts: Facts = learnt.facts.clone();
    facts.base_model = facts.base_model.map(|name| view.state.base_name(&name));
    Marker {
        format: FORMAT,
        txn: staging.txn,
        model: asked.model.clone(),
        kind,
        revision: filled.manifest.revision(),
        number: view.state.models.get(&asked.model).map_or(1, Model::next_number),
        at: ctx.now(),
        by: ctx.env.who(),
        facts,
        replaces: None,
        filed: None,
        ids: filled.ids.clone(),
        files: filled.manifest.clone(),
    }
}

/// The same content as the newest revision: nothing is stored, what the flags say is.
#[allow(clippy::too_many_arguments)]
async fn unchanged(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    asked: &Asked,
    request: &Request,
    mut learnt: Learnt,
    directory: &Directory,
    manifest: &Manifest,
) -> Result<Report> {
    let revision = manifest.revision();
    if !request.dry_run && keep::store_again(ctx, store, view, &asked.model, directory, manifest).await? {
        learnt.warnings.push("its content was nowhere on the store; it was stored again".to_owned());
        learnt.warnings.iter().rev().take(1).for_each(|warning| ctx.warn(warning));
    }
    let mut set = asked.set.clone();
    for metric in &asked.given.metrics {
        if let Some((name, _)) = metric.split_once('=')
            && let Some(value) = learnt.facts.metrics.get(name.trim())
        {
            set.insert(format!("metrics.{}", name.trim()), Value::from(*value));
        }
    }
    if let Some(base) = &asked.given.base {
        set.insert("base_model".to_owned(), Value::from(view.state.base_name(base)));
    }
    let model = view.state.models.get(&asked.model).ok_or_else(|| Error::internal("the model is not in the log"))?;
    set.retain(|field, value| model.fields.get(field) != Some(value));
    let labels: Vec<Label> =
        asked.labels.iter().filter(|label| model.labels.get(*label) != Some(&revision)).cloned().collect();
    let changed = !set.is_empty() || !labels.is_empty();
    let named = labels.iter().map(|label| Step::new("label", label.as_str(), "of the flags"));
    let fields = set.iter().map(|(field, value)| Step::new("set", format!("{field} = {value}"), "of the flags"));
    let steps: Vec<Step> = named.chain(fields).collect();
    if changed && !request.dry_run {
        for label in labels {
            let body = Body::Labelled { model: asked.model.clone(), label, revision };
            log::append(ctx, store, view, body).await?;
        }
        if !set.is_empty() {
            log::append(ctx, store, view, Body::Fields { model: asked.model.clone(), set }).await?;
        }
    }
    let unshown = keep::unshown(ctx, store, view, &asked.model, directory)?;
    if (changed || !unshown.is_empty()) && !request.dry_run {
        project::after(ctx, store, view, &[&asked.model]).await?;
        for txn in unshown {
            store.local(ctx)?.end_push(&txn)?;
        }
    }
    let mut report = report(store, view, asked, learnt, None, 0)?;
    report.steps = steps;
    report.wrote = Wrote::to(store, request.dry_run);
    Ok(report)
}

/// Shows what was committed, and says how it ended.
async fn finish(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    asked: &Asked,
    learnt: Learnt,
    (txn, sent): (Txn, u64),
) -> Result<Report> {
    project::after(ctx, store, view, &[&asked.model]).await?;
    // Only now is it over: a push that is stopped before this is shown by the next one, though nothing is sent.
    store.local(ctx)?.end_push(&txn)?;
    // Somebody may have pushed meanwhile; then the newest revision is theirs, and this report says so.
    *view = log::refresh(ctx, store).await?;
    report(store, view, asked, learnt, Some(&txn), sent)
}

fn report(store: &Store, view: &View, asked: &Asked, learnt: Learnt, txn: Option<&Txn>, sent: u64) -> Result<Report> {
    let model = view.state.models.get(&asked.model).ok_or_else(|| Error::internal("the model is not in the log"))?;
    let newest = model.latest();
    let push = match txn {
        Some(txn) => model.pushes.iter().find(|push| push.txn == *txn),
        // Somebody may have removed the model just now: then it is told of what stood there.
        None => newest.or_else(|| model.pushes.iter().max_by_key(|push| push.number)),
    };
    let push = push.ok_or_else(|| Error::internal("the push is not in the log"))?;
    let latest = newest.is_some_and(|newest| newest.txn == push.txn);
    let mut labels: Vec<String> = if latest { vec![LATEST.to_owned()] } else { Vec::new() };
    labels.extend(model.labels_of(&push.revision).iter().map(ToString::to_string));
    let said = model.describe(push);
    Ok(Report {
        model: model.id.clone(),
        revision: push.revision,
        number: push.number,
        labels,
        created: txn.is_some(),
        latest,
        files: push.files,
        size_bytes: push.size_bytes,
        sent_bytes: sent,
        skipped_bytes: push.size_bytes.saturating_sub(sent),
        base_model: said.base_model.map(|name| view.state.base_name(&name)),
        metrics: said.metrics,
        model_type: said.model_type,
        training_date: said.training_date,
        path: view.state.shown_path(model).to_string(),
        warnings: learnt.warnings,
        steps: Vec::new(),
        wrote: Wrote::to(store, false),
    })
}

fn planned(
    store: &Store,
    view: &View,
    asked: &Asked,
    kind: ModelKind,
    learnt: Learnt,
    manifest: &Manifest,
    held: &BTreeMap<Sha256, u64>,
) -> Report {
    let skipped = manifest.files().iter().filter(|file| held.contains_key(&file.sha256)).map(|file| file.size).sum();
    let step = |file: &modelkeep_core::manifest::FileEntry| {
        let (action, reason) = if held.contains_key(&file.sha256) {
            ("copy", "the remote has this content")
        } else {
            ("send", "new content")
        };
        Step::new(action, file.path.as_str(), reason).bytes(file.size)
    };
    let number = view.state.models.get(&asked.model).map_or(1, Model::next_number);
    Report {
        model: asked.model.clone(),
        revision: manifest.revision(),
        number,
        labels: std::iter::once(LATEST.to_owned()).chain(asked.labels.iter().map(ToString::to_string)).collect(),
        created: false,
        latest: true,
        files: manifest.files().len() as u64,
        size_bytes: manifest.size(),
        sent_bytes: 0,
        skipped_bytes: skipped,
        base_model: learnt.facts.base_model.map(|name| view.state.base_name(&name)),
        metrics: learnt.facts.metrics,
        model_type: learnt.facts.model_type,
        training_date: learnt.facts.training_date.map(|date| date.to_string()),
        path: layout::shown(kind, &asked.model).to_string(),
        warnings: learnt.warnings,
        steps: manifest.files().iter().map(step).collect(),
        wrote: Wrote::to(store, true),
    }
}
