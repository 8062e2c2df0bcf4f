//! Push folders on the remote: found by marker, read by id where there are ids.

use std::collections::BTreeMap;

use modelkeep_core::digest::{Sha256, Txn};
use modelkeep_core::event::{Body, Event};
use modelkeep_core::layout::{self, MARKER, METADATA};
use modelkeep_core::manifest::{FileEntry, Manifest, Marker, ModelKind};
use modelkeep_core::path::{ContentPath, RemotePath};
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::{Entry, EntryKind, Inline, Object};

use crate::context::Context;
use crate::rule::Rule;
use crate::store::Store;

const LARGEST_MARKER: u64 = 256 << 20;

/// A push folder that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The folder.
    pub folder: Object,
    /// What its marker says.
    pub marker: Marker,
}

impl Found {
    /// A file of the push as an object to read.
    pub fn file(&self, path: &ContentPath) -> Object {
        Object { path: self.folder.path.join_content(path), id: self.marker.ids.get(path).cloned() }
    }

    /// The marker as an object.
    pub fn marker_object(&self) -> Object {
        Object::at(self.folder.path.join(MARKER))
    }
}

/// The marker in a folder; `None` when there is none.
pub async fn marker_in(store: &Store, folder: &RemotePath) -> Result<Option<Marker>> {
    read_marker(store, &Object::at(folder.join(MARKER))).await
}

pub(crate) async fn read_marker(store: &Store, object: &Object) -> Result<Option<Marker>> {
    match store.remote.read(object, 0..LARGEST_MARKER).await {
        Ok(bytes) => Marker::parse(&bytes).map(Some).map_err(|error| error.context(&object.path)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The folder that holds a push, looked for where it may stand: shown, in `versions/`, in the trash, and at last in
/// every folder of models. Only its marker counts, never the folder's name.
pub async fn find(store: &Store, model: &Model, push: &Push) -> Result<Option<Found>> {
    if let Some(ids) = &push.ids {
        let guess = layout::version(&model.id, &push.txn);
        let by_id = Object { path: guess.clone(), id: Some(ids.folder.clone()) };
        let trash = layout::trash();
        let found = store.remote.find(&by_id).await?;
        if let Some(entry) =
            found.filter(|entry| store.keeps(Rule::PullLooksInTrash) || entry.path.below(&trash).is_none())
        {
            let marker = Object { path: entry.path.join(MARKER), id: Some(ids.marker.clone()) };
            if let Some(marker) = read_marker(store, &marker).await?
                && marker.txn == push.txn
            {
                return Ok(Some(Found { folder: entry.object(), marker }));
            }
        }
    }
    for folder in own_places(model, push) {
        if let Some(found) = holds(store, folder, &push.txn).await? {
            return Ok(Some(found));
        }
    }
    // Two clients that move by path at the same time may leave a folder under another's name; its marker still says
    // what it is, and `repair` gives it its own name again.
    let kept = layout::versions_of(&model.id);
    if let Some(found) = held_in(store, &kept, &push.txn).await? {
        return Ok(Some(found));
    }
    let mut twins = store.remote.list(&layout::versions(), Inline::No).await?;
    twins.retain(|folder| folder.kind == EntryKind::Dir && layout::is_twin(&folder.path, &kept));
    // What was looked for in vain in a twin may just have been brought home.
    let again = twins.first().map(|_| kept);
    for folder in twins.into_iter().map(|twin| twin.path).chain(again) {
        if let Some(found) = held_in(store, &folder, &push.txn).await? {
            return Ok(Some(found));
        }
    }
    let days = if store.keeps(Rule::PullLooksInTrash) { trash_days(store).await? } else { Vec::new() };
    for day in &days {
        if let Some(found) = holds(store, day.path.join(&push.txn.to_string()), &push.txn).await? {
            return Ok(Some(found));
        }
    }
    for (folder, _) in model_folders(store).await? {
        if let Some(found) = holds(store, folder.path, &push.txn).await? {
            return Ok(Some(found));
        }
    }
    for day in &days {
        if let Some(found) = held_in(store, &day.path, &push.txn).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The folder in this one that holds a push, whatever it is called.
async fn held_in(store: &Store, parent: &RemotePath, txn: &Txn) -> Result<Option<Found>> {
    for folder in store.remote.list(parent, Inline::No).await? {
        if folder.kind == EntryKind::Dir
            && let Some(found) = holds(store, folder.path, txn).await?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether a push stands somewhere: in as few bytes as tell.
pub async fn stands(store: &Store, model: &Model, push: &Push) -> Result<bool> {
    match &push.ids {
        // A marker is never changed: where it is, in its folder, the push is.
        Some(ids) => {
            let guess = layout::version(&model.id, &push.txn);
            if let Some(folder) = store.remote.find(&Object { path: guess, id: Some(ids.folder.clone()) }).await? {
                let path = folder.path.join(MARKER);
                let marker = store.remote.find(&Object { path: path.clone(), id: Some(ids.marker.clone()) }).await?;
                if marker.is_some_and(|marker| marker.path == path) {
                    return Ok(true);
                }
            }
        }
        None => {
            for place in own_places(model, push) {
                if is_of(store, &Object::at(place.join(MARKER)), &push.txn).await? == Some(true) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(find(store, model, push).await?.is_some())
}

/// Moves a push folder. What is called by id is the right one; at a path another push may stand by now: then nothing
/// is moved, or what was moved by mistake goes where its own marker says, and this push is `NotFound` there.
pub async fn relocate(store: &Store, folder: &Object, txn: &Txn, to: &RemotePath) -> Result<()> {
    if folder.id.is_some() {
        return store.remote.rename(folder, to).await;
    }
    let gone = || Error::not_found(format!("the push {txn} no longer stands at {}", folder.path));
    if other_at(store, &folder.path, txn).await?.is_some() {
        return Err(gone());
    }
    store.remote.rename(folder, to).await?;
    let Some(other) = other_at(store, to, txn).await? else { return Ok(()) };
    match store.remote.rename(&Object::at(to.clone()), &layout::version(&other.model, &other.txn)).await {
        Err(error) if !matches!(error.kind(), Kind::NotFound | Kind::Conflict) => Err(error),
        _ => Err(gone()),
    }
}

/// Nothing was moved, for somebody else was faster: what follows looks again.
pub(crate) fn moved_meanwhile(error: Error) -> Result<()> {
    if matches!(error.kind(), Kind::NotFound | Kind::Conflict) { Ok(()) } else { Err(error) }
}

/// Takes a small file of ours away, where equal names can stand together every one of it.
pub async fn delete_all(store: &Store, path: &RemotePath) -> Result<()> {
    if store.remote.capabilities().unique_names {
        return store.remote.delete(&Object::at(path.clone())).await;
    }
    for entry in store.remote.list(&path.parent(), Inline::No).await? {
        if entry.path == *path {
            store.remote.delete(&entry.object()).await?;
        }
    }
    Ok(())
}

/// Whether a marker is that of this push, by its first bytes, which say whose it is; `None`: there is none.
async fn is_of(store: &Store, marker: &Object, txn: &Txn) -> Result<Option<bool>> {
    match store.remote.read(marker, 0..256).await {
        Ok(first) => Ok(Some(String::from_utf8_lossy(&first).contains(&txn.to_string()))),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The marker of another push, if that is what stands there.
async fn other_at(store: &Store, place: &RemotePath, txn: &Txn) -> Result<Option<Marker>> {
    if is_of(store, &Object::at(place.join(MARKER)), txn).await? != Some(false) {
        return Ok(None);
    }
    match marker_in(store, place).await {
        Err(error) if error.kind() == Kind::Integrity => Ok(None),
        marker => Ok(marker?.filter(|marker| marker.txn != *txn)),
    }
}

/// Whether the push still stands where it was found.
pub async fn still_holds(store: &Store, found: &Found) -> Result<bool> {
    Ok(found.folder.id.is_some() || is_of(store, &found.marker_object(), &found.marker.txn).await? == Some(true))
}

/// Where a push belongs: shown, kept, or where it was adopted.
pub fn own_places(model: &Model, push: &Push) -> Vec<RemotePath> {
    let mut places = vec![layout::version(&model.id, &push.txn)];
    if model.place.is_none() {
        places.insert(0, layout::shown(model.kind, &model.id));
    }
    places.extend(push.folder.as_ref().map(|name| layout::models(model.kind).join(name)));
    places
}

/// What is wrong with the marker that stands where a push belongs, if it cannot be read.
pub async fn spoilt_marker(store: &Store, model: &Model, push: &Push) -> Result<Option<Error>> {
    for folder in own_places(model, push) {
        match marker_in(store, &folder).await {
            Err(error) if error.kind() == Kind::Integrity => return Ok(Some(error)),
            other => drop(other?),
        }
    }
    Ok(None)
}

async fn holds(store: &Store, folder: RemotePath, txn: &Txn) -> Result<Option<Found>> {
    // A marker that cannot be read, or is of a newer format, belongs to no push that anybody here looks for.
    let marker = match marker_in(store, &folder).await {
        Err(error) if matches!(error.kind(), Kind::Integrity | Kind::Usage) => None,
        other => other?,
    };
    Ok(marker.filter(|marker| marker.txn == *txn).map(|marker| Found { folder: Object::at(folder), marker }))
}

/// Every folder directly under `models/base-models` and `models/finetuned`.
pub async fn model_folders(store: &Store) -> Result<Vec<(Entry, ModelKind)>> {
    let mut folders = Vec::new();
    for kind in [ModelKind::Base, ModelKind::Finetuned] {
        let entries = store.remote.list(&layout::models(kind), Inline::No).await?;
        folders.extend(entries.into_iter().filter(|entry| entry.kind == EntryKind::Dir).map(|entry| (entry, kind)));
    }
    folders.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
    Ok(folders)
}

/// Every folder in `versions/`, whichever model's.
pub async fn version_folders(store: &Store) -> Result<Vec<Entry>> {
    let mut folders = Vec::new();
    for model in each_path_once(store, &layout::versions()).await? {
        folders.extend(store.remote.list(&model.path, Inline::No).await?);
    }
    folders.retain(|entry| entry.kind == EntryKind::Dir);
    Ok(folders)
}

/// The days of the trash.
pub async fn trash_days(store: &Store) -> Result<Vec<Entry>> {
    each_path_once(store, &layout::trash()).await
}

/// What stands in a folder. Where names are not unique a path is all folders of that name, and is to be listed once.
async fn each_path_once(store: &Store, folder: &RemotePath) -> Result<Vec<Entry>> {
    let mut entries = store.remote.list(folder, Inline::No).await?;
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    entries.dedup_by(|a, b| a.path == b.path);
    Ok(entries)
}

/// Everything below a folder, files and folders, in no order.
pub async fn walk(store: &Store, folder: &RemotePath) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    let mut open = vec![folder.clone()];
    while let Some(folder) = open.pop() {
        for entry in store.remote.list(&folder, Inline::No).await? {
            if entry.kind == EntryKind::Dir {
                open.push(entry.path.clone());
            }
            found.push(entry);
        }
    }
    Ok(found)
}

/// The files of a push: from its event, else from this machine's memory, else from its marker.
pub async fn manifest(ctx: &Context, store: &Store, model: &Model, push: &Push) -> Result<Manifest> {
    let local = store.local(ctx)?;
    if let Some(bytes) = local.event(store.id(), &push.event)?
        && let Ok(Event { body: Body::Pushed(pushed), .. }) = Event::parse(&bytes)
        && let Some(manifest) = pushed.manifest
    {
        return Ok(manifest);
    }
    let key = format!("manifest:{}", push.revision);
    if let Some(kept) = local.get(store.id(), &key)?
        && let Ok(manifest) = serde_json::from_slice::<Manifest>(&kept)
    {
        return Ok(manifest);
    }
    let found = find(store, model, push).await?.ok_or_else(|| lost(model, push))?;
    remember_manifest(ctx, store, &found.marker.files)?;
    Ok(found.marker.files)
}

/// Keeps a manifest, which its event may have no room for.
pub fn remember_manifest(ctx: &Context, store: &Store, manifest: &Manifest) -> Result<()> {
    let key = format!("manifest:{}", manifest.revision());
    let bytes = serde_json::to_vec(manifest).unwrap_or_default();
    store.local(ctx)?.put(store.id(), &key, &bytes)
}

/// The error for a push whose folder is nowhere.
pub fn lost(model: &Model, push: &Push) -> Error {
    Error::integrity(format!(
        "push #{} of {} ({}) is nowhere on the remote",
        push.number,
        model.name(),
        push.revision.short()
    ))
    .hint(format!("modelkeep verify {}", model.name()))
}

/// What stands in a push folder against its manifest.
#[derive(Debug, Default)]
pub struct Compared {
    /// Files of the manifest that are there with the right size (and digest, where the store has one).
    pub good: BTreeMap<ContentPath, Entry>,
    /// Files that are not there.
    pub missing: Vec<FileEntry>,
    /// Files of the wrong size or digest.
    pub wrong: Vec<FileEntry>,
    /// Paths that are in no manifest.
    pub extra: Vec<RemotePath>,
    /// The marker's entry.
    pub marker: Option<Entry>,
}

impl Compared {
    /// Whether the push is whole.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.wrong.is_empty() && self.marker.is_some()
    }
}

/// Reads a push folder's listing back and compares it with its manifest.
pub async fn compare(store: &Store, folder: &RemotePath, files: &Manifest) -> Result<Compared> {
    compare_by_id(store, folder, files, &BTreeMap::new()).await
}

/// The same where files have ids: several folders may have one name and a listing may be late, an id is neither.
pub async fn compare_by_id(
    store: &Store,
    folder: &RemotePath,
    files: &Manifest,
    ids: &BTreeMap<ContentPath, String>,
) -> Result<Compared> {
    let mut compared = Compared::default();
    let mut standing: BTreeMap<ContentPath, Vec<Entry>> = BTreeMap::new();
    for entry in walk(store, folder).await? {
        let below = entry.path.below(folder).unwrap_or_default().to_owned();
        if entry.kind == EntryKind::Dir || below == METADATA && files.get(METADATA).is_none() || entry.is_partial() {
            continue;
        }
        if below == MARKER {
            compared.marker = Some(entry);
            continue;
        }
        match files.get(&below) {
            None => compared.extra.push(entry.path),
            Some(file) => standing.entry(file.path.clone()).or_default().push(entry),
        }
    }
    for file in files.files() {
        let mut entries = standing.remove(&file.path).unwrap_or_default();
        if let Some(id) = ids.get(&file.path) {
            let own = Object { path: folder.join_content(&file.path), id: Some(id.clone()) };
            if let Some(at) = entries.iter().position(|entry| entry.id == own.id) {
                entries = vec![entries.swap_remove(at)];
            } else if let Some(entry) = store.remote.find(&own).await?
                && entry.path == own.path
            {
                entries = vec![entry];
            }
        }
        let right = |entry: &Entry| {
            entry.kind == EntryKind::File
                && entry.size == file.size
                && entry.sha256.is_none_or(|sha256| sha256 == file.sha256)
        };
        if let Some(at) = entries.iter().position(right) {
            compared.good.insert(file.path.clone(), entries.swap_remove(at));
        } else if entries.is_empty() {
            compared.missing.push(file.clone());
        } else {
            compared.wrong.push(file.clone());
        }
    }
    Ok(compared)
}

/// The digest of a remote file, by reading it.
pub async fn digest(store: &Store, object: &Object, size: u64) -> Result<Sha256> {
    use sha2::Digest as _;
    const STEP: u64 = 4 << 20;
    let mut hasher = sha2::Sha256::new();
    let mut at = 0;
    while at < size {
        let bytes = store.remote.read(object, at..size.min(at + STEP)).await?;
        if bytes.is_empty() {
            break;
        }
        at += bytes.len() as u64;
        hasher.update(&bytes);
    }
    Ok(Sha256::from_bytes(hasher.finalize().into()))
}
