//! Take in a tree that people made by hand, where it stands: no byte moves.
//!
//! What was understood and what is doubtful is shown first, and can be corrected by a small file. This is also how
//! the log is rebuilt when it was lost: the markers say what was pushed.

mod map;
mod registry;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use modelkeep_core::digest::{RevisionId, Sha256, Txn};
use modelkeep_core::event::{Body, Pushed};
use modelkeep_core::inspect::JSON_LIMIT;
use modelkeep_core::layout::{self, MARKER, METADATA};
use modelkeep_core::manifest::{FORMAT, Facts, FileEntry, Manifest, Marker, ModelKind};
use modelkeep_core::name::{ModelId, nearest_id};
use modelkeep_core::path::{ContentPath, RemotePath};
use modelkeep_core::registry::docs;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::{Entry, EntryKind, Mode, NoMeter, Object, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::adopt::map::Map;
use crate::context::{Context, Progress};
use crate::learn::{self, Given, Material};
use crate::log::{self, View};
use crate::report::{Step, Wrote};
use crate::store::Store;
use crate::{commit, project, staging, tree};

/// What to adopt.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Corrections: which folder is which model.
    pub map: Option<PathBuf>,
    /// Do not wait until a folder was seen unchanged for an hour.
    pub now: bool,
    /// Make content that was edited under its marker a new push, in place of the one that it was.
    pub edited: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was understood, and what was adopted.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// One a folder.
    pub items: Vec<Item>,
    /// What an existing registry says, and what of it does not fit.
    pub registry: Vec<String>,
    /// What was done, or would be.
    pub steps: Vec<Step>,
    /// Where it went.
    #[serde(flatten)]
    pub wrote: Wrote,
}

/// One folder that nobody has told the registry of.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Item {
    /// The folder on the remote.
    pub folder: String,
    /// The id it gets; none while that is doubtful.
    pub id: Option<ModelId>,
    /// Base or finetuned, by where it stands.
    pub kind: ModelKind,
    /// What it is.
    #[serde(rename = "type")]
    pub model_type: Option<String>,
    /// How many files.
    pub files: u64,
    /// All bytes.
    pub size_bytes: u64,
    /// What was understood.
    pub understood: Vec<String>,
    /// What a person should look at.
    pub doubtful: Vec<String>,
    /// Whether it was adopted just now.
    pub adopted: bool,
}

/// A folder must be seen unchanged for so long, lest somebody is still writing it.
const UNCHANGED: SignedDuration = SignedDuration::from_hours(1);

/// A folder of models as it was found.
struct Candidate {
    folder: Entry,
    kind: ModelKind,
    /// Its marker, when it has one.
    marker: Option<Marker>,
    /// The marker under which it was edited.
    edited: Option<Marker>,
    /// Whether a marker stands there that gives way.
    gives_way: bool,
    /// What its marker says, or will say.
    facts: Facts,
    files: Vec<(ContentPath, Entry)>,
    item: Item,
    /// Known by a marker, or seen unchanged long enough.
    ready: bool,
}

impl Candidate {
    fn id(&self) -> Option<&ModelId> {
        self.item.id.as_ref()
    }
}

/// Looks at what is there and takes it in.
pub async fn adopt(ctx: &Context, request: &Request) -> Result<Report> {
    let store = ctx.store().await?;
    let mut view = log::refresh(ctx, &store).await?;
    let map = match &request.map {
        Some(file) => Map::read(&ctx.absolute(file))?,
        None => Map::default(),
    };
    ctx.observer.tell(Progress::Stage { name: "looking", bytes: None });
    let mut candidates = Vec::new();
    let log_lost = project::log_is_lost(&store, &view).await?;
    for (folder, kind) in folders(&store).await? {
        ctx.check_stop()?;
        if let Some(candidate) = examine(ctx, &store, &view, &map, (folder, kind), request, log_lost).await? {
            candidates.push(candidate);
        }
    }
    map.check_used(candidates.iter().map(|candidate| candidate.folder.name()))?;
    refuse_doubles(&view, &mut candidates);
    // The order of pushes is the order in which they were made.
    candidates.sort_by_key(|candidate| candidate.marker.as_ref().map(|marker| (marker.at, marker.number)));
    let found = registry::read(&store, &view, &candidates, log_lost).await?;
    let mut steps: Vec<Step> =
        candidates.iter().filter(|candidate| candidate.ready && candidate.id().is_some()).map(step_of).collect();
    steps.extend(found.step.clone());
    let held_no_more = if request.edited { forsaken(&store, &view).await? } else { Vec::new() };
    steps.extend(held_no_more.iter().map(|(before, now)| {
        let target = format!("{}@{}", now.0, before);
        Step::new("let go", target, "its folder was edited and adopted, which was not said to the end")
    }));
    if !request.dry_run && !steps.is_empty() {
        for candidate in &mut candidates {
            if candidate.ready && candidate.id().is_some() {
                ctx.check_stop()?;
                take_in(ctx, &store, &mut view, candidate, &map).await?;
                candidate.item.adopted = true;
            }
        }
        // Of a folder whose marker was written and not its event, only now.
        let held_no_more = if request.edited { forsaken(&store, &view).await? } else { Vec::new() };
        for (before, (model, revision)) in &held_no_more {
            let_go(ctx, &store, &mut view, (model, before), (model, revision)).await?;
        }
        if let Some(body) = found.event {
            log::append(ctx, &store, &mut view, body).await?;
        }
        if let Some(body) = registry::deployment(&store, &view).await? {
            log::append(ctx, &store, &mut view, body).await?;
        }
        if !found.waits {
            project::replace_adopted_registry(ctx, &store, &mut view, log_lost).await?;
        }
        project::everything(ctx, &store, &mut view).await?;
    }
    if candidates.is_empty() {
        store.explain_nothing(ctx);
    }
    Ok(Report {
        items: candidates.into_iter().map(|candidate| candidate.item).collect(),
        registry: found.sentences,
        steps,
        wrote: Wrote::to(&store, request.dry_run),
    })
}

fn step_of(candidate: &Candidate) -> Step {
    let id = candidate.id().map(ToString::to_string).unwrap_or_default();
    let reason = match candidate.edited {
        Some(_) => "where it stands, in place of what it was before somebody changed it",
        None => "where it stands; no byte moves",
    };
    Step::new("adopt", format!("{} as {id}", candidate.folder.path), reason).bytes(candidate.item.size_bytes)
}

/// Every folder of models, and the earlier versions that were kept: a log that was lost knew them.
async fn folders(store: &Store) -> Result<Vec<(Entry, ModelKind)>> {
    let mut folders = tree::model_folders(store).await?;
    let kept = tree::version_folders(store).await?;
    folders.extend(kept.into_iter().map(|folder| (folder, ModelKind::Finetuned)));
    Ok(folders)
}

/// What is to be known of one folder; `None` when the registry knows it already.
async fn examine(
    ctx: &Context,
    store: &Store,
    view: &View,
    map: &Map,
    (folder, kind): (Entry, ModelKind),
    request: &Request,
    log_lost: bool,
) -> Result<Option<Candidate>> {
    let (marker, unreadable) = match tree::marker_in(store, &folder.path).await {
        Ok(marker) => (marker, false),
        Err(error) if error.kind() == Kind::Integrity => (None, true),
        Err(error) => return Err(error),
    };
    let edited = match &marker {
        Some(marker) if view.has_txn(&marker.txn) => {
            if !request.edited || !is_edited(store, &folder.path, marker).await? {
                return Ok(None);
            }
            true
        }
        _ => false,
    };
    let name = folder.name().to_owned();
    // A kept version that the log does not know is an aborted push, unless it is older than the log.
    let kept = folder.path.below(&layout::versions()).is_some();
    let of_a_lost_log = marker.as_ref().is_some_and(|marker| log_lost || view.begins_after(marker));
    if map.skips(&name) || kept && !of_a_lost_log {
        return Ok(None);
    }
    let kind = marker.as_ref().map(|marker| marker.kind).or(map.kind(&name)).unwrap_or(kind);
    let mut item = Item {
        folder: folder.path.to_string(),
        id: None,
        kind,
        model_type: None,
        files: 0,
        size_bytes: 0,
        understood: Vec::new(),
        doubtful: Vec::new(),
        adopted: false,
    };
    let files = list_files(store, &folder.path, &mut item).await?;
    if files.is_empty() {
        // An empty folder is no model, and nobody's loss.
        return Ok(None);
    }
    item.files = files.len() as u64;
    item.size_bytes = files.iter().map(|(_, entry)| entry.size).sum();
    item.id = match (&marker, map.id(&name)) {
        (_, Some(id)) => Some(id),
        (Some(marker), None) => Some(marker.model.clone()),
        (None, None) => match name.parse() {
            Ok(id) => Some(id),
            Err(_) => nearest_id(&name).inspect(|id| item.doubtful.push(format!("`{name}` is called `{id}`"))),
        },
    };
    note_oddities(&name, &files, &mut item, map.id(&name).is_some());
    let by_marker = marker.is_some() && !edited;
    if by_marker {
        item.understood.push("its marker says what it is".to_owned());
    }
    let ready = by_marker || request.now || seen_unchanged(ctx, store, &folder.path, &files)?;
    if !ready {
        item.doubtful
            .push("seen for the first time: it is adopted once it was unchanged for an hour, or with --now".to_owned());
    }
    let learnt = learn::learn(gather(store, &files).await?, &Given::default())?;
    let facts = marker.as_ref().filter(|_| by_marker).map_or(learnt.facts, |marker| marker.facts.clone());
    item.model_type.clone_from(&facts.model_type);
    understand(&facts, &mut item);
    item.doubtful.extend(learnt.warnings);
    let (marker, edited) = if edited { (None, marker) } else { (marker, None) };
    let gives_way = unreadable || edited.is_some();
    Ok(Some(Candidate { folder, kind, marker, edited, gives_way, facts, files, item, ready }))
}

async fn is_edited(store: &Store, folder: &RemotePath, marker: &Marker) -> Result<bool> {
    let compared = tree::compare(store, folder, &marker.files).await?;
    let written = compared.marker.as_ref().map(|entry| entry.modified);
    let younger = compared.good.values().filter(|entry| entry.sha256.is_none() && Some(entry.modified) > written);
    for entry in younger {
        let below = entry.path.below(folder).unwrap_or_default();
        let known = marker.files.get(below).map(|file| file.sha256);
        if Some(tree::digest(store, &entry.object(), entry.size).await?) != known {
            return Ok(true);
        }
    }
    Ok(!compared.missing.is_empty() || !compared.wrong.is_empty() || !compared.extra.is_empty())
}

async fn list_files(store: &Store, folder: &RemotePath, item: &mut Item) -> Result<Vec<(ContentPath, Entry)>> {
    let mut files = Vec::new();
    for entry in tree::walk(store, folder).await? {
        let below = entry.path.below(folder).unwrap_or_default().to_owned();
        if entry.kind == EntryKind::Dir || below == MARKER || entry.is_partial() {
            continue;
        }
        if entry.kind != EntryKind::File {
            item.doubtful.push(format!("`{below}` is a link or no file; it is not part of the model"));
            continue;
        }
        if below == METADATA && entry.size < 1 << 20 {
            let bytes = store.remote.read(&entry.object(), 0..1 << 20).await?;
            if docs::is_our_metadata(&bytes) {
                continue;
            }
        }
        match below.parse::<ContentPath>() {
            Ok(path) => files.push((path, entry)),
            Err(error) => {
                item.doubtful.push(error.to_string());
                item.id = None;
            }
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}

/// What people's own trees are like, said rather than guessed away.
fn note_oddities(name: &str, files: &[(ContentPath, Entry)], item: &mut Item, mapped: bool) {
    let top = files.iter().filter(|(path, _)| !path.as_str().contains('/')).count();
    if top == 0 {
        item.doubtful.push("it holds models only in subfolders: taken as one".to_owned());
    }
    let checkpoints: BTreeSet<&str> = files
        .iter()
        .filter_map(|(path, _)| path.as_str().split_once('/').map(|(folder, _)| folder))
        .filter(|folder| folder.starts_with("checkpoint-"))
        .collect();
    if !checkpoints.is_empty() {
        let n = checkpoints.len();
        item.understood.push(format!("{n} checkpoint folder{} inside", if n == 1 { "" } else { "s" }));
    }
    let stems = |end: &str| -> BTreeSet<String> {
        let ending = |(path, _): &(ContentPath, Entry)| path.as_str().strip_suffix(end).map(str::to_owned);
        files.iter().filter_map(ending).map(|stem| stem.replace("pytorch_model", "model")).collect()
    };
    if let Some(twice) = stems(".bin").intersection(&stems(".safetensors")).next() {
        item.doubtful.push(format!("weights twice: {twice}.bin beside {twice}.safetensors"));
    }
    if !mapped && ["final", "copy", "old", "tmp", "untitled"].iter().any(|word| name.to_lowercase().contains(word)) {
        item.doubtful.push("its name says little: give it an id with --map".to_owned());
    }
}

fn understand(facts: &Facts, item: &mut Item) {
    if let Some(base) = &facts.base_model {
        item.understood.push(format!("base model {base}"));
    }
    if let Some(date) = facts.training_date {
        item.understood.push(format!("trained {date}"));
    }
    if !facts.metrics.is_empty() {
        let names: Vec<&str> = facts.metrics.keys().map(String::as_str).collect();
        item.understood.push(format!("metrics {}", names.join(", ")));
    } else if item.kind == ModelKind::Finetuned {
        item.doubtful.push("no metrics found".to_owned());
    }
}

/// Remembers how a folder looks; true when it looked the same an hour ago or earlier.
fn seen_unchanged(ctx: &Context, store: &Store, folder: &RemotePath, files: &[(ContentPath, Entry)]) -> Result<bool> {
    let local = store.local(ctx)?;
    let mut text = String::new();
    for (path, entry) in files {
        let _ = writeln!(text, "{path} {} {}", entry.size, entry.modified);
    }
    let looks = Sha256::of(text.as_bytes()).to_string();
    let key = format!("adopt:{folder}");
    let kept = local.get(store.id(), &key)?.and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some((before, at)) = kept.as_deref().and_then(|kept| kept.split_once(' '))
        && before == looks
        && let Ok(at) = at.parse::<Timestamp>()
    {
        return Ok(ctx.now().duration_since(at) >= UNCHANGED);
    }
    local.put(store.id(), &key, format!("{looks} {}", ctx.now()).as_bytes())?;
    Ok(false)
}

/// Reads of the remote's files what says what they are.
async fn gather(store: &Store, files: &[(ContentPath, Entry)]) -> Result<Material> {
    let mut material = Material::default();
    for (path, entry) in files {
        let name = path.as_str();
        material.files.push((name.to_owned(), entry.modified));
        if let Some(known) = learn::JSON_FILES.into_iter().find(|known| *known == name)
            && entry.size <= JSON_LIMIT
        {
            material.json.insert(known, store.remote.read(&entry.object(), 0..JSON_LIMIT).await?.to_vec());
        }
        if learn::is_headed(name) {
            let first = store.remote.read(&entry.object(), 0..8).await?;
            let bytes = store.remote.read(&entry.object(), 0..learn::header_end(&first)).await?;
            material.headers.push((name.to_owned(), bytes.to_vec(), entry.size));
        }
    }
    Ok(material)
}

/// Two folders that would be one model are both left until somebody says which is which.
fn refuse_doubles(view: &View, candidates: &mut [Candidate]) {
    let mut folders: BTreeMap<ModelId, Vec<String>> = BTreeMap::new();
    for candidate in candidates.iter().filter(|candidate| candidate.marker.is_none()) {
        if let Some(id) = candidate.id() {
            folders.entry(id.clone()).or_default().push(candidate.item.folder.clone());
        }
    }
    for candidate in candidates.iter_mut().filter(|candidate| candidate.marker.is_none()) {
        let Some(id) = candidate.item.id.clone() else { continue };
        let known = view.state.models.get(&id);
        if let Some(others) = folders.get(&id).filter(|others| others.len() > 1) {
            candidate.item.doubtful.push(format!("`{id}` would be {}: say which with --map", others.join(" and ")));
            candidate.item.id = None;
        } else if known.is_some_and(|model| model.kind != candidate.kind) {
            candidate
                .item
                .doubtful
                .push(format!("`{id}` is a model of the other kind already: say another id with --map"));
            candidate.item.id = None;
        }
    }
}

/// Makes a folder a push where it stands: digests, marker, event.
async fn take_in(ctx: &Context, store: &Store, view: &mut View, candidate: &Candidate, map: &Map) -> Result<()> {
    let id = candidate.id().cloned().ok_or_else(|| Error::internal("a folder without an id"))?;
    let (marker, written) = match &candidate.marker {
        Some(marker) => (marker.clone(), true),
        None => (make_marker(ctx, store, view, candidate, &id).await?, false),
    };
    if !written {
        mark(store, candidate, &marker).await?;
    }
    let own_place = layout::shown(marker.kind, &marker.model);
    let below_models = candidate.folder.path.below(&layout::models(marker.kind)).map(str::to_owned);
    let folder = below_models.filter(|_| candidate.folder.path != own_place && marker.filed.is_none());
    let number = view.state.of(&marker.model).map_or(marker.number, |model| model.next_number().max(marker.number));
    // What it took the place of, a log that was lost knew; this one never will.
    let replaces = None;
    let pushed =
        Pushed { replaces, adopted: true, folder, set: map.fields(candidate.folder.name()), ..Pushed::of(&marker) };
    let mut body = commit::pushed_event(view, &marker, pushed);
    if let Body::Pushed(pushed) | Body::Filed(pushed) = &mut body {
        pushed.number = number;
    }
    log::append(ctx, store, view, body).await?;
    match &candidate.edited {
        Some(before) => let_go(ctx, store, view, (&before.model, &before.txn), (&marker.model, &marker.revision)).await,
        None => Ok(()),
    }
}

/// Writes the marker into a folder, and makes sure that it says what is there.
async fn mark(store: &Store, candidate: &Candidate, marker: &Marker) -> Result<()> {
    let folder = &candidate.folder.path;
    let path = folder.join(MARKER);
    // A marker that cannot be read, or whose content was edited away, gives way.
    let mode = if candidate.gives_way { Mode::Replace } else { Mode::New };
    let written = store.remote.write(&path, Source::Bytes(marker.to_bytes().into()), mode, Arc::new(NoMeter)).await;
    let written = written.map_err(|error| match error.kind() {
        Kind::Conflict => Error::conflict(format!("somebody else is taking {folder} in")).hint("modelkeep adopt"),
        _ => error,
    })?;
    store.remote.flush(std::slice::from_ref(&path)).await?;
    let looks = |files: &[(ContentPath, Entry)]| -> BTreeMap<ContentPath, (u64, Timestamp)> {
        files.iter().map(|(path, entry)| (path.clone(), (entry.size, entry.modified))).collect()
    };
    let again = list_files(store, folder, &mut candidate.item.clone()).await?;
    if looks(&again) != looks(&candidate.files) {
        store.remote.delete(&Object { path, id: written.id }).await?;
        return Err(Error::conflict(format!("{folder} changed while it was read"))
            .hint("wait until nobody writes there, then modelkeep adopt"));
    }
    Ok(())
}

/// Pushes that stand nowhere, of models one of whose later pushes was adopted: an earlier run ended before it let
/// them go. Each with what stands there now.
async fn forsaken(store: &Store, view: &View) -> Result<Vec<(Txn, (ModelId, RevisionId))>> {
    let mut found = Vec::new();
    for model in view.state.models.values() {
        let Some(now) = model.pushes.iter().rfind(|push| push.adopted && push.removed.is_none()) else { continue };
        let earlier = model.pushes.iter().take_while(|push| push.txn != now.txn);
        for before in earlier.filter(|push| push.removed.is_none()) {
            if tree::find(store, model, before).await?.is_none() {
                found.push((before.txn, (model.id.clone(), now.revision)));
            }
        }
    }
    Ok(found)
}

/// Lets the push go that a folder held before it was edited: its content is gone, by somebody's own hand. What was
/// deployed is then what stands there now.
async fn let_go(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    (model, before): (&ModelId, &Txn),
    (now, content): (&ModelId, &RevisionId),
) -> Result<()> {
    let Some(model) = view.state.models.get(model) else { return Ok(()) };
    let Some(push) = model.pushes.iter().find(|push| push.txn == *before && push.removed.is_none()) else {
        return Ok(());
    };
    // A copy was edited: the push itself stands where it stood.
    if tree::find(store, model, push).await?.is_some() {
        return Ok(());
    }
    let (id, revision) = (model.id.clone(), push.revision);
    let deployed = view.state.deployment_of(&id).is_some_and(|deployment| deployment.revision == revision);
    let was_shown = model.push_of(&revision).is_some_and(|shown| shown.txn == *before);
    let kept =
        model.pushes.iter().any(|other| other.txn != *before && other.revision == revision && other.removed.is_none());
    let labels = if kept { Vec::new() } else { model.labels_of(&revision) };
    if deployed && was_shown {
        let body = Body::Deployed { model: now.clone(), revision: *content, rollback: false };
        log::append(ctx, store, view, body).await?;
    }
    for label in labels {
        ctx.warn(format!("label `{label}` of `{id}` names content that is no more"));
        ctx.warn(format!("hint: modelkeep label {now}@{} {label}", content.short()));
    }
    log::append(ctx, store, view, Body::Removed { model: id, txns: [*before].into() }).await.map(drop)
}

async fn make_marker(ctx: &Context, store: &Store, view: &View, candidate: &Candidate, id: &ModelId) -> Result<Marker> {
    let total = candidate.item.size_bytes;
    ctx.observer.tell(Progress::Stage { name: "hashing", bytes: Some(total) });
    let files = stream::iter(&candidate.files)
        .map(async |(path, entry)| {
            ctx.check_stop()?;
            let sha256 = match entry.sha256 {
                Some(sha256) => sha256,
                None => tree::digest(store, &entry.object(), entry.size).await?,
            };
            ctx.observer.tell(Progress::Bytes(entry.size));
            Ok::<_, Error>(FileEntry { path: path.clone(), size: entry.size, sha256 })
        })
        .buffer_unordered(ctx.jobs)
        .try_collect::<Vec<_>>()
        .await?;
    let files = Manifest::new(files).map_err(|error| error.context(&candidate.folder.path))?;
    let learnt = learn::learn(gather(store, &candidate.files).await?, &Given::default())?;
    let newest = candidate.files.iter().map(|(_, entry)| entry.modified).max();
    Ok(Marker {
        format: FORMAT,
        txn: staging::new_txn(ctx)?,
        model: id.clone(),
        kind: candidate.kind,
        revision: files.revision(),
        number: view.state.models.get(id).map_or(1, modelkeep_core::registry::Model::next_number),
        at: newest.unwrap_or_else(|| ctx.now()),
        by: ctx.env.who(),
        facts: learnt.facts,
        replaces: None,
        filed: None,
        ids: BTreeMap::new(),
        files,
    })
}
