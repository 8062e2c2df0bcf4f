//! Store a directory as a new revision of a model.
//!
//! Knows what a push is. Does not know terminals, HTTP, or which store it talks to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::SignedDuration;
use modelkeep_core::digest::{RevisionId, Sha256, Txn};
use modelkeep_core::event::{Body, PushIds, Pushed};
use modelkeep_core::layout::{self, MARKER};
use modelkeep_core::manifest::{FORMAT, Facts, Manifest, Marker, ModelKind};
use modelkeep_core::name::{LATEST, Label, ModelId};
use modelkeep_core::path::RemotePath;
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::Object;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::{Context, Look, Progress};
use crate::learn::{self, Given, Learnt, Material};
use crate::local::{Begun, Local};
use crate::log::{self, View};
use crate::observe::{self, Directory, Filter};
use crate::report::{Step, Wrote};
use crate::staging::{self, Filled, Staging};
use crate::store::Store;
use crate::{commit, heal, lock, project, tree};

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
    let asked = parse(ctx, &request)?;
    let store = ctx.store().await?;
    let local = store.local(ctx)?;
    let source = ctx.absolute(&request.path);
    let name = format!("push {} {} {}", store.id(), asked.model, source.display());
    let who = format!("another push of {} to `{}` is at work", request.path.display(), asked.model);
    let _alone = if request.dry_run { None } else { Some(lock::hold(ctx, local.folder(), &name, &who).await?) };
    let filter = Filter { include: request.include.clone(), exclude: request.exclude.clone() };
    let mut directory = observe::directory(&source, &filter, local)?;
    let mut learnt = learn::learn(Material::gather(&directory)?, &asked.given)?;
    if directory.empty_folders > 0 {
        let (n, s) = (directory.empty_folders, if directory.empty_folders == 1 { "" } else { "s" });
        learnt.warnings.push(format!("{n} empty folder{s} left out: a revision holds files only"));
    }
    learnt.warnings.iter().for_each(|warning| ctx.warn(warning));

    let mut view = log::refresh(ctx, &store).await?;
    let kind = kind_of(&view, &asked.model, request.kind)?;
    check_free(&store, &view, kind, &asked.model).await?;
    if request.dry_run || needs_all_digests(&view, &asked.model, &request) {
        staging::hash_all(ctx, &store, &mut directory).await?;
    }
    if let Some(manifest) = known_manifest(&directory)? {
        let revision = manifest.revision();
        if newest(&view, &asked.model).is_some_and(|push| push.revision == revision) {
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
        given: Given { base: request.base.clone(), metrics: request.metrics.clone(), metrics_file },
        set: [text("purpose", &request.purpose), text("note", &request.note)].into_iter().flatten().collect(),
    })
}

fn newest<'a>(view: &'a View, model: &ModelId) -> Option<&'a Push> {
    view.state.models.get(model)?.latest()
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
        ModelKind::Finetuned => ModelKind::Base,
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

/// Whether the content must be known before anything is sent: to tell the same content from a conflict.
fn needs_all_digests(view: &View, model: &ModelId, request: &Request) -> bool {
    !request.even_if_deployed && view.state.deployment_of(model).is_some()
}

fn refuse_deployed(view: &View, model: &ModelId, request: &Request) -> Result<()> {
    if request.even_if_deployed || view.state.deployment_of(model).is_none() {
        return Ok(());
    }
    let path = request.path.display();
    Err(Error::conflict(format!("`{model}` is deployed"))
        .hint(format!("modelkeep push {path} {} (or --even-if-deployed)", model.next())))
}

fn known_manifest(directory: &Directory) -> Result<Option<Manifest>> {
    let entries: Option<Vec<_>> = directory
        .files
        .iter()
        .map(|file| {
            Some(modelkeep_core::manifest::FileEntry {
                path: file.path.clone(),
                size: file.stat.size,
                sha256: file.sha256?,
            })
        })
        .collect();
    entries.map(Manifest::new).transpose()
}

enum Stored {
    /// The content turned out to be the newest revision's.
    Same(Manifest),
    /// A push was committed, having sent so many bytes.
    Committed(Txn, u64),
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
    directory: &Directory,
) -> Result<Stored> {
    let local = store.local(ctx)?;
    let mut left = local.begun_pushes(store.id(), &asked.model, &directory.root)?;
    if let Some(done) = resume_moved(ctx, store, view, asked, directory, &mut left).await? {
        return Ok(Stored::Committed(done, 0));
    }
    // Clean-up may take a folder from a writer that slept for days; each time it begins anew.
    for _ in 0..3 {
        let staging = Staging::open(ctx, store, &asked.model, &directory.root, &left).await?;
        left.clear();
        let filled = match staging::fill(ctx, store, view, &staging, directory).await {
            Err(error) if error.kind() == Kind::NotFound && staging.is_gone(store).await? => {
                begin_again(ctx, local, &staging)?;
                continue;
            }
            filled => filled?,
        };
        // It may have taken hours, in which others pushed, deployed or removed.
        *view = log::refresh(ctx, store).await?;
        let revision = filled.manifest.revision();
        if newest(view, &asked.model).is_some_and(|push| push.revision == revision) {
            staging.discard(ctx, store).await?;
            return Ok(Stored::Same(filled.manifest));
        }
        refuse_deployed(view, &asked.model, request)?;
        let number = view.state.models.get(&asked.model).map_or(1, Model::next_number);
        let marker =
            marker(ctx, view, asked, kind, learnt, &staging, filled.manifest.clone(), filled.ids.clone(), number);
        let marker_id = commit::write_marker(store, &staging, &marker).await?;
        if request.verify {
            read_back(ctx, store, &staging, &filled).await?;
        }
        let ids = staging.folder.id.clone().zip(marker_id).map(|(folder, marker)| PushIds { folder, marker });
        let body = |view: &View| pushed(view, asked, &marker, ids.clone());
        if commit::move_and_commit(ctx, store, view, &staging, &marker, &body).await? {
            tree::remember_manifest(ctx, store, &marker.files)?;
            return Ok(Stored::Committed(staging.txn, filled.sent));
        }
        begin_again(ctx, local, &staging)?;
    }
    Err(Error::new(Kind::Unavailable, "the staging folder was taken away three times").hint("run it again"))
}

fn begin_again(ctx: &Context, local: &Local, staging: &Staging) -> Result<()> {
    ctx.warn("a clean-up took this push's staging folder; beginning again");
    local.end_push(&staging.txn)
}

#[allow(clippy::too_many_arguments)]
fn marker(
    ctx: &Context,
    view: &View,
    asked: &Asked,
    kind: ModelKind,
    learnt: &Learnt,
    staging: &Staging,
    files: Manifest,
    ids: BTreeMap<modelkeep_core::path::ContentPath, String>,
    number: u64,
) -> Marker {
    let mut facts: Facts = learnt.facts.clone();
    facts.base_model = facts.base_model.map(|name| view.state.base_name(&name));
    Marker {
        format: FORMAT,
        txn: staging.txn,
        model: asked.model.clone(),
        kind,
        revision: files.revision(),
        number,
        at: ctx.now(),
        by: ctx.env.who(),
        facts,
        replaces: None,
        ids,
        files,
    }
}

async fn read_back(ctx: &Context, store: &Store, staging: &Staging, filled: &Filled) -> Result<()> {
    ctx.observer.tell(Progress::Stage { name: "reading back", bytes: Some(filled.manifest.size()) });
    for file in filled.manifest.files() {
        let object =
            Object { path: staging.folder.path.join_content(&file.path), id: filled.ids.get(&file.path).cloned() };
        if tree::digest(store, &object, file.size).await? != file.sha256 {
            return Err(Error::integrity(format!("{} is not on the remote as it was sent", file.path))
                .hint("run it again; if it comes again, check the disk under the remote"));
        }
    }
    Ok(())
}

/// Goes on with an earlier attempt that was stopped between its move and its event, if it holds this very content.
async fn resume_moved(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    asked: &Asked,
    directory: &Directory,
    left: &mut Vec<Begun>,
) -> Result<Option<Txn>> {
    let moving: Vec<Begun> = left.iter().filter(|begun| begun.moving).cloned().collect();
    for begun in moving {
        let place = layout::version(&asked.model, &begun.txn);
        let Some(marker) = tree::marker_in(store, &place).await? else { continue };
        let same = known_manifest(directory)?.is_some_and(|manifest| manifest.revision() == marker.revision);
        if !same || view.has_txn(&begun.txn) {
            continue;
        }
        let folder = store.remote.find(&Object::at(place.clone())).await?;
        let Some(folder) = folder.map(|entry| entry.object()) else { continue };
        let marker_id = store.remote.find(&Object::at(place.join(MARKER))).await?.and_then(|entry| entry.id);
        let ids = folder.id.clone().zip(marker_id).map(|(folder, marker)| PushIds { folder, marker });
        let body = |view: &View| pushed(view, asked, &marker, ids.clone());
        if commit::commit_moved(ctx, store, view, &folder, &marker, &body, Look::now(ctx, store)).await? {
            return Ok(Some(begun.txn));
        }
    }
    // A folder that was moved but holds something else is an aborted push: `repair` lists it.
    let committed: Vec<Txn> = left.iter().filter(|begun| view.has_txn(&begun.txn)).map(|begun| begun.txn).collect();
    for txn in committed {
        store.local(ctx)?.end_push(&txn)?;
        left.retain(|begun| begun.txn != txn);
    }
    Ok(None)
}

fn pushed(view: &View, asked: &Asked, marker: &Marker, ids: Option<PushIds>) -> Body {
    let pushed = Pushed { labels: asked.labels.clone(), set: asked.set.clone(), ids, ..Pushed::of(marker) };
    commit::pushed_event(view, marker, pushed)
}

/// When the newest push is nowhere on the store any more, the directory that has its content makes it whole.
async fn store_again(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    asked: &Asked,
    directory: &Directory,
    manifest: &Manifest,
) -> Result<bool> {
    let Some(model) = view.state.models.get(&asked.model) else { return Ok(false) };
    let Some(push) = model.latest().cloned() else { return Ok(false) };
    if tree::stands(store, model, &push).await? {
        return Ok(false);
    }
    tree::remember_manifest(ctx, store, manifest)?;
    let here = directory.files.iter().map(|file| (file.path.clone(), heal::From::Local(file.local.clone())));
    heal::heal(ctx, store, view, &asked.model, &push.txn, &here.collect()).await?;
    Ok(true)
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
    if !request.dry_run && store_again(ctx, store, view, asked, directory, manifest).await? {
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
    let source = ctx.absolute(&request.path);
    let source = source.canonicalize().unwrap_or(source);
    let local = store.local(ctx)?;
    let left = local.begun_pushes(store.id(), &asked.model, &source)?;
    let unshown: Vec<Txn> = left.iter().map(|begun| begun.txn).filter(|txn| view.has_txn(txn)).collect();
    if (changed || !unshown.is_empty()) && !request.dry_run {
        project::after(ctx, store, view, &[&asked.model]).await?;
        for txn in unshown {
            local.end_push(&txn)?;
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
        None => newest,
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
    held: &BTreeSet<Sha256>,
) -> Report {
    let skipped = manifest.files().iter().filter(|file| held.contains(&file.sha256)).map(|file| file.size).sum();
    let step = |file: &modelkeep_core::manifest::FileEntry| {
        let (action, reason) =
            if held.contains(&file.sha256) { ("copy", "the remote has this content") } else { ("send", "new content") };
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
