//! A push under way: its staging folder, and the files brought into it — sent, or copied on the remote itself.
//!
//! One pass over bytes that must be sent: they are hashed as they go by. Content that the remote has is not sent.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use modelkeep_core::digest::{Sha256, Txn};
use modelkeep_core::layout;
use modelkeep_core::manifest::{FileEntry, Manifest};
use modelkeep_core::name::ModelId;
use modelkeep_core::path::{ContentPath, RemotePath};
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::size::ByteSize;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::folder::failed;
use modelkeep_remote::{Entry, EntryKind, Meter, Mode, Object, Source, Written};

use crate::context::{Context, Progress};
use crate::local::{Begun, Stat};
use crate::log::View;
use crate::observe::{self, Directory, LocalFile};
use crate::rule::Rule;
use crate::store::Store;
use crate::tree;

/// A staging folder that is this process's own.
#[derive(Debug)]
pub struct Staging {
    /// The transaction.
    pub txn: Txn,
    /// The folder.
    pub folder: Object,
    /// What an earlier attempt brought into it.
    pub arrived: BTreeMap<ContentPath, Entry>,
}

/// Files up to this size are read into memory once, so that their digest is known before anything is sent.
const SMALL: u64 = 1 << 20;
/// So many small files are sent in one call.
const BATCH: usize = 64;
/// How many candidates of equal size are sampled before a file is simply hashed first.
const SAMPLED: usize = 4;
const SAMPLES: u64 = 16;
const SAMPLE: u64 = 4096;

/// A fresh transaction.
pub fn new_txn(ctx: &Context) -> Result<Txn> {
    ctx.chance.bytes().map(Txn::from_bytes)
}

impl Staging {
    /// Makes a staging folder, or takes over the one that an earlier attempt at the same push left: with the files
    /// that arrived in it, and with the uploads that were begun into it.
    pub async fn open(ctx: &Context, store: &Store, model: &ModelId, source: &Path, left: &[Begun]) -> Result<Self> {
        let local = store.local(ctx)?;
        let mut txn = new_txn(ctx)?;
        if !store.keeps(Rule::OwnTransaction) {
            txn =
                Txn::from_bytes(Sha256::of(model.as_str().as_bytes()).as_bytes()[..16].try_into().unwrap_or_default());
        }
        let path = layout::staged(&txn);
        let place = local.place(&ctx.env.host_name());
        let (source, here) = (source.to_owned(), place.clone());
        local.begin_push(store.id(), &Begun { txn, model: model.clone(), source, moving: false, place })?;
        for begun in left.iter().rev() {
            // By id, two machines with copies of one note would both take it.
            let ours = !store.remote.capabilities().ids || begun.place == here;
            let taken = if ours { take_over(store, &layout::staged(&begun.txn), &path).await? } else { None };
            local.end_push(&begun.txn)?;
            if let Some(folder) = taken {
                let arrived = tree::walk(store, &path).await?;
                let files = arrived.into_iter().filter(|entry| entry.kind == EntryKind::File);
                let arrived = files.filter_map(|entry| Some((entry.path.below(&path)?.parse().ok()?, entry))).collect();
                return Ok(Self { txn, folder, arrived });
            }
        }
        let entry = store.remote.create_dir(&path).await?;
        Ok(Self { txn, folder: Object { path, id: entry.id }, arrived: BTreeMap::new() })
    }

    /// A new staging folder.
    pub async fn fresh(ctx: &Context, store: &Store) -> Result<Self> {
        let txn = new_txn(ctx)?;
        let path = layout::staged(&txn);
        let entry = store.remote.create_dir(&path).await?;
        Ok(Self { txn, folder: Object { path, id: entry.id }, arrived: BTreeMap::new() })
    }

    /// Whether a clean-up took the folder.
    pub async fn is_gone(&self, store: &Store) -> Result<bool> {
        let there = store.remote.find(&self.folder).await?;
        Ok(there.is_none_or(|entry| entry.path != self.folder.path))
    }

    /// Gives the folder up.
    pub async fn discard(&self, ctx: &Context, store: &Store) -> Result<()> {
        store.remote.delete(&self.folder).await?;
        store.local(ctx)?.end_push(&self.txn)
    }
}

/// Moves the staging folder of an earlier attempt to a transaction of our own; `None`: it is not there any more.
///
/// Of two processes that move by path, one finds the folder gone. By id both would move it: there only who began it
/// tries, under the lock of this push, and looks once more.
async fn take_over(store: &Store, old: &RemotePath, new: &RemotePath) -> Result<Option<Object>> {
    let Some(entry) = store.remote.find(&Object::at(old.clone())).await? else { return Ok(None) };
    match store.remote.rename(&entry.object(), new).await {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict) => return Ok(None),
        Err(error) => return Err(error),
    }
    let folder = Object { path: new.clone(), id: entry.id };
    if folder.id.is_some() {
        let now = store.remote.find(&folder).await?;
        return Ok(Some(folder).filter(|_| now.is_some_and(|entry| entry.path == *new)));
    }
    Ok(Some(folder))
}

/// What was brought into a staging folder.
#[derive(Debug)]
pub struct Filled {
    /// Every file, with the digest of what is there.
    pub manifest: Manifest,
    /// The files' ids, where the store has ids.
    pub ids: BTreeMap<ContentPath, String>,
    /// Bytes that were sent.
    pub sent: u64,
}

struct Brought {
    file: FileEntry,
    id: Option<String>,
    sent: u64,
}

/// Where a push's files come from.
#[async_trait(?Send)]
pub trait Supply: Sync {
    /// Names it in the journal, so that the next attempt at the same push is known as such.
    fn root(&self) -> &Path;

    /// Its content, when all of it is known before anything is sent.
    fn manifest(&self) -> Result<Option<Manifest>>;

    /// Brings every file into the staging folder.
    async fn fill(&self, ctx: &Context, store: &Store, view: &View, staging: &Staging) -> Result<Filled>;
}

#[async_trait(?Send)]
impl Supply for Directory {
    fn root(&self) -> &Path {
        &self.root
    }

    fn manifest(&self) -> Result<Option<Manifest>> {
        let entry =
            |file: &LocalFile| Some(FileEntry { path: file.path.clone(), size: file.stat.size, sha256: file.sha256? });
        self.files.iter().map(entry).collect::<Option<Vec<_>>>().map(Manifest::new).transpose()
    }

    async fn fill(&self, ctx: &Context, store: &Store, view: &View, staging: &Staging) -> Result<Filled> {
        fill(ctx, store, view, staging, self).await
    }
}

/// Brings every file of `directory` into the staging folder.
async fn fill(ctx: &Context, store: &Store, view: &View, staging: &Staging, directory: &Directory) -> Result<Filled> {
    let there = Holdings::of(ctx, store, view).await?;
    let hashed: Mutex<Vec<(std::path::PathBuf, Stat, Sha256)>> = Mutex::new(Vec::new());
    let total = directory.files.iter().map(|file| file.stat.size).sum();
    ctx.observer.tell(Progress::Stage { name: "storing", bytes: Some(total) });
    // What an earlier attempt left and this one does not have goes first, so that the folder holds the push alone.
    for (path, entry) in &staging.arrived {
        if directory.files.binary_search_by(|file| file.path.cmp(path)).is_err() {
            store.remote.delete(&entry.object()).await?;
        }
    }
    let is_small_and_new = |file: &&LocalFile| {
        file.stat.size <= SMALL && !staging.arrived.contains_key(&file.path) && there.of_size(file.stat.size).is_empty()
    };
    let (small, others): (Vec<&LocalFile>, Vec<&LocalFile>) = directory.files.iter().partition(is_small_and_new);
    let work = small.chunks(BATCH).map(<[&LocalFile]>::to_vec).chain(others.into_iter().map(|file| vec![file]));
    let brought = stream::iter(work)
        .map(async |files| {
            ctx.check_stop()?;
            let brought = match files.as_slice() {
                [file] => vec![bring(ctx, store, staging, &there, file).await?],
                files => send_small(ctx, store, staging, files).await?,
            };
            let mut hashed = hashed.lock().unwrap_or_else(PoisonError::into_inner);
            hashed.extend(files.iter().zip(&brought).map(|(f, b)| (f.local.clone(), f.stat, b.file.sha256)));
            Ok::<_, Error>(brought)
        })
        .buffer_unordered(ctx.jobs)
        .try_collect::<Vec<_>>()
        .await;
    // Also of a push that fails: the next attempt need not read these again.
    let hashed = hashed.into_inner().unwrap_or_else(PoisonError::into_inner);
    store.local(ctx)?.remember_hashes(&hashed)?;
    let brought = match brought {
        Err(error) if error.kind() == Kind::Quota => return Err(without_room(store, staging, directory, error).await),
        other => other?,
    };
    let brought: Vec<Brought> = brought.into_iter().flatten().collect();
    Ok(Filled {
        sent: brought.iter().map(|brought| brought.sent).sum(),
        ids: brought.iter().filter_map(|b| Some((b.file.path.clone(), b.id.clone()?))).collect(),
        manifest: Manifest::new(brought.into_iter().map(|brought| brought.file).collect())?,
    })
}

/// Hashes what the stat cache does not know; the files' digests are all known after.
pub async fn hash_all(ctx: &Context, store: &Store, directory: &mut Directory) -> Result<()> {
    let unknown: Vec<usize> = (0..directory.files.len()).filter(|at| directory.files[*at].sha256.is_none()).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let total = unknown.iter().map(|at| directory.files[*at].stat.size).sum();
    ctx.observer.tell(Progress::Stage { name: "hashing", bytes: Some(total) });
    let digests = stream::iter(unknown)
        .map(|at| {
            let file = &directory.files[at];
            async move { Ok::<_, Error>((at, observe::hash(file, ctx.meter()).await?)) }
        })
        .buffer_unordered(ctx.jobs)
        .try_collect::<Vec<_>>()
        .await?;
    let mut hashed = Vec::new();
    for (at, sha256) in digests {
        let file = &mut directory.files[at];
        file.sha256 = Some(sha256);
        hashed.push((file.local.clone(), file.stat, sha256));
    }
    store.local(ctx)?.remember_hashes(&hashed)
}

/// The digests of everything that the remote holds, with the sizes.
pub async fn held(ctx: &Context, store: &Store, view: &View) -> Result<BTreeMap<Sha256, u64>> {
    let there = Holdings::of(ctx, store, view).await?;
    let held = there.by_size.iter().flat_map(|(size, held)| held.iter().map(|held| (held.sha256, *size)));
    Ok(held.collect())
}

/// Sends small files that the remote cannot have, many at once.
async fn send_small(ctx: &Context, store: &Store, staging: &Staging, files: &[&LocalFile]) -> Result<Vec<Brought>> {
    let pairs = files.iter().map(|file| (staging.folder.path.join_content(&file.path), file.local.clone())).collect();
    let written = match store.remote.write_many(pairs, ctx.meter()).await {
        // An attempt whose answer was lost had written some of them: each is looked at by itself.
        Err(error) if error.kind() == Kind::Conflict => {
            let mut brought = Vec::with_capacity(files.len());
            for file in files {
                brought.push(send(ctx, store, staging, file, None, None).await?);
            }
            return Ok(brought);
        }
        written => written,
    };
    let written = written.map_err(|error| {
        let names: Vec<&str> = files.iter().take(3).map(|file| file.path.as_str()).collect();
        let more = files.len().saturating_sub(3);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        not_stored(error, &format!("{}{more}", names.join(", ")))
    })?;
    let brought = files.iter().zip(written).map(|(file, written)| Brought {
        file: FileEntry { path: file.path.clone(), size: written.size, sha256: written.sha256 },
        id: written.id,
        sent: written.sent,
    });
    let brought = brought.collect();
    let files: Vec<LocalFile> = files.iter().map(|file| (*file).clone()).collect();
    observe::blocking(move || files.iter().try_for_each(observe::unchanged)).await?;
    Ok(brought)
}

/// Says how much is needed and how much is free, if the store tells.
async fn without_room(store: &Store, staging: &Staging, directory: &Directory, error: Error) -> Error {
    let size = |file: &LocalFile| if staging.arrived.contains_key(&file.path) { 0 } else { file.stat.size };
    let needed = ByteSize(directory.files.iter().map(size).sum());
    match store.remote.usage().await.ok().and_then(|usage| Some(usage.quota?.saturating_sub(usage.used?))) {
        Some(free) => error.context(format!("the push needs {needed}, and {} is free", ByteSize(free))),
        None => error.context(format!("the push needs {needed}")),
    }
}

/// Says which file could not be stored, and what to do about a store that is full.
pub fn not_stored(error: Error, file: &str) -> Error {
    match error.kind() {
        Kind::Interrupted => error,
        Kind::Quota if error.hint_text().is_none() => {
            error.context(format!("storing {file}")).hint("make room (modelkeep prune --dry-run), then run it again")
        }
        _ => error.context(format!("storing {file}")),
    }
}

async fn bring(
    ctx: &Context,
    store: &Store,
    staging: &Staging,
    there: &Holdings<'_>,
    file: &LocalFile,
) -> Result<Brought> {
    let to = staging.folder.path.join_content(&file.path);
    if let Some(arrived) = staging.arrived.get(&file.path) {
        if let Some(brought) = keep_arrived(ctx, store, file, arrived).await? {
            return Ok(brought);
        }
        store.remote.delete(&arrived.object()).await?;
    }
    let candidates = there.of_size(file.stat.size);
    let mut content = None;
    let sha256 = match file.sha256 {
        Some(sha256) => Some(sha256),
        // Nothing on the remote can be this file: it is hashed as it is sent.
        None if candidates.is_empty() => None,
        None if file.stat.size <= SMALL => {
            let bytes = read_small(file).await?;
            let sha256 = Sha256::of(&bytes);
            content = Some(bytes);
            Some(sha256)
        }
        None if store.remote.capabilities().cheap_reads && there.differs(store, file, &candidates).await? => None,
        None => Some(observe::hash(file, ctx.silent_meter()).await?),
    };
    if let Some(sha256) = sha256
        && let Some(id) = there
            .copy(ctx, store, file.stat.size, &sha256, &to)
            .await
            .map_err(|error| not_stored(error, file.path.as_str()))?
    {
        let file = FileEntry { path: file.path.clone(), size: file.stat.size, sha256 };
        return Ok(Brought { file, id, sent: 0 });
    }
    send(ctx, store, staging, file, content, sha256).await
}

/// Writes a file into a staging folder, where nobody else writes: what is there already is of an attempt whose answer
/// was lost.
pub async fn write_own(store: &Store, to: &RemotePath, source: Source, meter: Arc<dyn Meter>) -> Result<Written> {
    match store.remote.write(to, source.clone(), Mode::New, Arc::clone(&meter)).await {
        Err(error) if error.kind() == Kind::Conflict => {
            store.remote.delete(&Object::at(to.clone())).await?;
            store.remote.write(to, source, Mode::New, meter).await
        }
        written => written,
    }
}

/// Sends one file's bytes; with `sha256` they must be those.
async fn send(
    ctx: &Context,
    store: &Store,
    staging: &Staging,
    file: &LocalFile,
    content: Option<Bytes>,
    sha256: Option<Sha256>,
) -> Result<Brought> {
    let to = staging.folder.path.join_content(&file.path);
    let source = content.map_or_else(|| Source::File(file.local.clone()), Source::Bytes);
    let written = write_own(store, &to, source, ctx.meter()).await;
    let written = written.map_err(|error| not_stored(error, file.path.as_str()))?;
    observe::unchanged(file)?;
    if let Some(expected) = sha256
        && expected != written.sha256
    {
        return Err(Error::conflict(format!("{} changed while it was sent", file.local.display()))
            .hint("wait until it is written, then run it again"));
    }
    let sent = written.sent;
    let file = FileEntry { path: file.path.clone(), size: written.size, sha256: written.sha256 };
    Ok(Brought { file, id: written.id, sent })
}

/// Keeps what an earlier attempt brought, if it is whole and still what is pushed.
async fn keep_arrived(ctx: &Context, store: &Store, file: &LocalFile, arrived: &Entry) -> Result<Option<Brought>> {
    if arrived.size != file.stat.size {
        return Ok(None);
    }
    let here = match file.sha256 {
        Some(sha256) => sha256,
        None => observe::hash(file, ctx.silent_meter()).await?,
    };
    let there = match arrived.sha256 {
        Some(sha256) => sha256,
        None => tree::digest(store, &arrived.object(), arrived.size).await?,
    };
    if here != there {
        return Ok(None);
    }
    ctx.observer.tell(Progress::Bytes(arrived.size));
    let file = FileEntry { path: file.path.clone(), size: arrived.size, sha256: here };
    Ok(Some(Brought { file, id: arrived.id.clone(), sent: 0 }))
}

async fn read_small(file: &LocalFile) -> Result<Bytes> {
    let file = file.clone();
    observe::blocking(move || {
        let bytes = fs::read(&file.local).map_err(|error| failed("reading", &file.local, error))?;
        observe::unchanged(&file)?;
        Ok(Bytes::from(bytes))
    })
    .await
}

/// What the remote holds, by size and digest.
pub struct Holdings<'a> {
    by_size: HashMap<u64, Vec<Held<'a>>>,
    /// Where each push was found, and when its marker was written: a file changed after that is not what it was.
    found: tokio::sync::Mutex<HashMap<Txn, Option<Located>>>,
}

/// A push folder, and when its marker was written.
type Located = (Arc<tree::Found>, jiff::Timestamp);

#[derive(Clone)]
struct Held<'a> {
    sha256: Sha256,
    model: &'a Model,
    push: &'a Push,
    path: ContentPath,
}

impl<'a> Holdings<'a> {
    /// Everything that the log says is there.
    pub async fn of(ctx: &Context, store: &Store, view: &'a View) -> Result<Self> {
        let mut by_size: HashMap<u64, Vec<Held<'a>>> = HashMap::new();
        for model in view.state.kept() {
            for push in model.pushes.iter().filter(|push| push.removed.is_none()) {
                // A push that cannot be found lends nothing; `verify` is who reports it.
                let Ok(manifest) = tree::manifest(ctx, store, model, push).await else { continue };
                for file in manifest.files().iter().filter(|file| file.size > 0) {
                    let held = Held { sha256: file.sha256, model, push, path: file.path.clone() };
                    by_size.entry(file.size).or_default().push(held);
                }
            }
        }
        Ok(Self { by_size, found: tokio::sync::Mutex::default() })
    }

    /// Files of that size, newest first, each content once.
    fn of_size(&self, size: u64) -> Vec<Held<'a>> {
        let mut seen = std::collections::HashSet::new();
        let all = self.by_size.get(&size).into_iter().flatten().rev();
        all.filter(|held| seen.insert(held.sha256)).cloned().collect()
    }

    async fn locate(&self, store: &Store, held: &Held<'_>) -> Result<Option<Located>> {
        let mut found = self.found.lock().await;
        if let Some(known) = found.get(&held.push.txn) {
            return Ok(known.clone());
        }
        let located = match tree::find(store, held.model, held.push).await? {
            None => None,
            Some(push) => {
                let marker = store.remote.find(&push.marker_object()).await?;
                marker.map(|marker| (Arc::new(push), marker.modified))
            }
        };
        found.insert(held.push.txn, located.clone());
        Ok(located)
    }

    /// Copies content that the remote has to `to`; the copy's id where the store has ids. `None`: it must be sent.
    pub async fn copy(
        &self,
        ctx: &Context,
        store: &Store,
        size: u64,
        sha256: &Sha256,
        to: &RemotePath,
    ) -> Result<Option<Option<String>>> {
        if !store.remote.capabilities().copies {
            return Ok(None);
        }
        for held in self.by_size.get(&size).into_iter().flatten().rev().filter(|held| held.sha256 == *sha256) {
            let Some((push, marked)) = self.locate(store, held).await? else { continue };
            let Some(entry) = store.remote.find(&push.file(&held.path)).await? else { continue };
            let untouched = match entry.sha256 {
                Some(there) => there == *sha256,
                None => entry.modified <= marked,
            };
            if entry.size != size || !untouched {
                continue;
            }
            match store.remote.copy(&entry.object(), to, ctx.meter()).await {
                Ok(copied) if tree::still_holds(store, &push).await? => return Ok(Some(copied.id)),
                // Another push stands there by now: what was copied may be a file of it.
                Ok(copied) => {
                    store.remote.delete(&Object { path: to.clone(), id: copied.id }).await?;
                    self.found.lock().await.remove(&held.push.txn);
                }
                // Moved or taken away since: the next one, or it is sent.
                Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Integrity) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Whether a few samples show that a file is none of the candidates, so that it need not be read twice.
    async fn differs(&self, store: &Store, file: &LocalFile, candidates: &[Held<'_>]) -> Result<bool> {
        if candidates.len() > SAMPLED {
            return Ok(false);
        }
        for held in candidates {
            let Some((push, _)) = self.locate(store, held).await? else { continue };
            if !sampled_difference(store, file, &push.file(&held.path)).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

async fn sampled_difference(store: &Store, file: &LocalFile, there: &Object) -> Result<bool> {
    let last = file.stat.size.saturating_sub(SAMPLE);
    for nth in 0..SAMPLES {
        let at = last / (SAMPLES - 1) * nth;
        let theirs = match store.remote.read(there, at..at + SAMPLE).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == Kind::NotFound => return Ok(true),
            Err(error) => return Err(error),
        };
        let local = file.local.clone();
        let ours = observe::blocking(move || {
            use std::io::{Read as _, Seek as _};
            let read = fs::File::open(&local).and_then(|mut open| {
                open.seek(std::io::SeekFrom::Start(at))?;
                let mut bytes = Vec::new();
                open.take(SAMPLE).read_to_end(&mut bytes)?;
                Ok(bytes)
            });
            read.map_err(|error| failed("reading", &local, error))
        });
        if ours.await? != theirs {
            return Ok(true);
        }
    }
    Ok(false)
}
