//! From the Hub to the remote with nothing kept here: for a disk that has no room for the model.
//!
//! Small files are read into memory, checked and learnt from; large ones pass through, and are checked by what the
//! remote has written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream as futures};
use modelkeep_core::digest::Sha256;
use modelkeep_core::manifest::{FileEntry, Manifest};
use modelkeep_core::name::ModelId;
use modelkeep_core::{Error, Result};
use modelkeep_hub::blob::{BlobId, Check};
use modelkeep_hub::cache::RepoDir;
use modelkeep_hub::client::{Hub, Place};
use modelkeep_hub::fetch::wrong;
use modelkeep_remote::{Entry, Far, Object, Source as Bytestream};

use super::files::Listed;
use super::{Chosen, Report, Request, Snapshot, Source, store as base};
use crate::context::{Context, Progress};
use crate::learn::{self, JSON_FILES, Material};
use crate::log::View;
use crate::report::Step;
use crate::staging::{self, Filled, Holdings, Staging, Supply};
use crate::store::Store;
use crate::{push, tree};

/// Files of this size pass through memory; those that git itself holds are never larger than ten megabytes on the Hub.
const SMALL: u64 = 16 << 20;
/// So many files pass through at once: each has several connections of its own.
const AT_ONCE: usize = 2;

/// Streams a model to the remote.
pub async fn stream(
    ctx: &Context,
    request: &Request,
    hub: &Hub,
    dir: &RepoDir,
    snapshot: &Snapshot,
    chosen: &Chosen,
    id: &ModelId,
) -> Result<Report> {
    let mut report = Report {
        repo: snapshot.asked.repo.to_string(),
        revision: snapshot.asked.revision().to_owned(),
        commit: snapshot.commit.to_string(),
        path: None,
        files: chosen.files.len() as u64,
        size_bytes: chosen.size(),
        fetched_bytes: 0,
        reused_bytes: 0,
        source: Source::Hub,
        license: snapshot.license.clone(),
        left_out: chosen.left_out.clone(),
        steps: Vec::new(),
        stored: None,
        dry_run: request.dry_run,
    };
    if request.dry_run {
        report.steps = chosen
            .files
            .iter()
            .map(|file| Step::new("stream", &file.path, "from the Hub to the store").bytes(file.size))
            .collect();
        return Ok(report);
    }
    let (supply, material) = Passing::observe(ctx, hub, dir, snapshot, chosen).await?;
    let push = base::request(id, supply.root.clone());
    let stored = push::push_supply(ctx, &push, material, base::origin(snapshot), &supply).await?;
    report.fetched_bytes = stored.sent_bytes;
    report.stored = Some(stored);
    Ok(report)
}

/// What passes through.
#[derive(Debug)]
struct Passing {
    hub: Hub,
    /// Names it in the journal.
    root: PathBuf,
    files: Vec<PassingFile>,
}

#[derive(Debug, Clone)]
struct PassingFile {
    entry: FileEntry,
    place: Place,
    /// A small one's bytes.
    content: Option<Bytes>,
    /// Where the cache has it already.
    local: Option<PathBuf>,
    blob: BlobId,
}

impl Passing {
    /// Reads what is small, so that all content is known before anything is sent.
    async fn observe(
        ctx: &Context,
        hub: &Hub,
        dir: &RepoDir,
        snapshot: &Snapshot,
        chosen: &Chosen,
    ) -> Result<(Self, Material)> {
        let small = |file: &Listed| matches!(file.blob, BlobId::Git(_)) || file.size <= SMALL;
        let total = chosen.files.iter().filter(|file| small(file)).map(|file| file.size).sum();
        ctx.observer.tell(Progress::Stage { name: "reading", bytes: Some(total) });
        let meter = ctx.meter();
        let mut files: Vec<PassingFile> = futures::iter(&chosen.files)
            .map(async |file| {
                ctx.check_stop()?;
                let (repo, commit) = (snapshot.asked.repo.clone(), snapshot.commit.clone());
                let place = Place { repo, commit, path: file.path.clone() };
                let cached = file.cached()?;
                let local = Some(dir.blob(&file.blob)).filter(|_| dir.has_blob(&cached));
                let content = if small(file) { Some(read(hub, &place, file).await?) } else { None };
                let sha256 = match (&file.blob, &content) {
                    (BlobId::Lfs(sha256), _) => *sha256,
                    (BlobId::Git(_), Some(content)) => Sha256::of(content),
                    (BlobId::Git(_), None) => return Err(Error::internal("a file of git that is not small")),
                };
                let _ = meter.advance(content.as_ref().map_or(0, |content| content.len() as u64));
                let entry = FileEntry { path: cached.path, size: file.size, sha256 };
                Ok::<_, Error>(PassingFile { entry, place, content, local, blob: file.blob })
            })
            .buffer_unordered(ctx.jobs)
            .try_collect()
            .await?;
        files.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
        let material = material(hub, &files).await?;
        let root = PathBuf::from(format!("{}@{}", snapshot.asked.repo, snapshot.commit));
        Ok((Self { hub: hub.clone(), root, files }, material))
    }

    /// Brings one file into the staging folder, checked by what the remote has written.
    async fn bring(
        &self,
        ctx: &Context,
        store: &Store,
        staging: &Staging,
        there: &Holdings<'_>,
        file: &PassingFile,
    ) -> Result<(Option<String>, u64)> {
        ctx.check_stop()?;
        let entry = &file.entry;
        if let Some(arrived) = staging.arrived.get(&entry.path) {
            if arrived.size == entry.size && digest(store, arrived).await? == entry.sha256 {
                return Ok((arrived.id.clone(), 0));
            }
            store.remote.delete(&arrived.object()).await?;
        }
        let to = staging.folder.path.join_content(&entry.path);
        if let Some(id) = there.copy(ctx, store, entry.size, &entry.sha256, &to).await? {
            return Ok((id, 0));
        }
        let source = match (&file.content, &file.local) {
            (Some(content), _) => Bytestream::Bytes(content.clone()),
            (None, Some(local)) => Bytestream::File(local.clone()),
            (None, None) => Bytestream::Far(Arc::new(FromHub {
                hub: self.hub.clone(),
                place: file.place.clone(),
                size: entry.size,
            })),
        };
        let written = staging::write_own(store, &to, source, ctx.meter()).await;
        let written = written.map_err(|error| staging::not_stored(error, entry.path.as_str()))?;
        if written.sha256 != entry.sha256 || written.size != entry.size {
            store.remote.delete(&Object { path: to, id: written.id }).await?;
            return Err(wrong(&file.place, &file.blob));
        }
        Ok((written.id, written.size))
    }
}

async fn digest(store: &Store, arrived: &Entry) -> Result<Sha256> {
    match arrived.sha256 {
        Some(sha256) => Ok(sha256),
        None => tree::digest(store, &arrived.object(), arrived.size).await,
    }
}

/// All of a small file, checked.
async fn read(hub: &Hub, place: &Place, file: &Listed) -> Result<Bytes> {
    let bytes = hub.read(place.clone(), file.size).await?;
    let mut check = Check::new(&file.blob, file.size);
    check.update(&bytes);
    if check.finish() == file.blob { Ok(bytes) } else { Err(wrong(place, &file.blob)) }
}

/// What a push learns from, without a directory.
async fn material(hub: &Hub, files: &[PassingFile]) -> Result<Material> {
    let mut material = Material::default();
    for file in files {
        let path = file.entry.path.as_str();
        material.files.push((path.to_owned(), jiff::Timestamp::UNIX_EPOCH));
        if let (Some(name), Some(content)) = (JSON_FILES.into_iter().find(|name| *name == path), &file.content) {
            material.json.insert(name, content.to_vec());
        }
        if learn::is_headed(path) {
            let header = match &file.content {
                Some(content) => content.to_vec(),
                None => header(hub, file).await?,
            };
            material.headers.push((path.to_owned(), header, file.entry.size));
        }
    }
    Ok(material)
}

/// The first bytes of a safetensors file, as far as its header goes.
async fn header(hub: &Hub, file: &PassingFile) -> Result<Vec<u8>> {
    let mut stream = hub.stream(file.place.clone(), 0, file.entry.size);
    let mut first = Vec::new();
    while (first.len() as u64) < learn::header_end(&first).max(8) {
        let Some(frame) = stream.next().await? else { break };
        first.extend_from_slice(&frame);
    }
    let end = usize::try_from(learn::header_end(&first)).unwrap_or(usize::MAX);
    first.truncate(end);
    Ok(first)
}

#[async_trait(?Send)]
impl Supply for Passing {
    fn root(&self) -> &Path {
        &self.root
    }

    fn manifest(&self) -> Result<Option<Manifest>> {
        Manifest::new(self.files.iter().map(|file| file.entry.clone()).collect()).map(Some)
    }

    async fn fill(&self, ctx: &Context, store: &Store, view: &View, staging: &Staging) -> Result<Filled> {
        let there = Holdings::of(ctx, store, view).await?;
        let total = self.files.iter().map(|file| file.entry.size).sum();
        ctx.observer.tell(Progress::Stage { name: "storing", bytes: Some(total) });
        for (path, entry) in &staging.arrived {
            if !self.files.iter().any(|file| file.entry.path == *path) {
                store.remote.delete(&entry.object()).await?;
            }
        }
        let brought = futures::iter(&self.files)
            .map(async |file| Ok::<_, Error>((file, self.bring(ctx, store, staging, &there, file).await?)))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(Filled {
            sent: brought.iter().map(|(_, (_, sent))| sent).sum(),
            ids: brought.iter().filter_map(|(file, (id, _))| Some((file.entry.path.clone(), id.clone()?))).collect(),
            manifest: Manifest::new(self.files.iter().map(|file| file.entry.clone()).collect())?,
        })
    }
}

/// A file of the Hub as a remote reads it.
#[derive(Debug)]
struct FromHub {
    hub: Hub,
    place: Place,
    size: u64,
}

impl Far for FromHub {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_from(&self, offset: u64) -> Box<dyn Iterator<Item = Result<Bytes>> + Send> {
        let mut stream = self.hub.stream(self.place.clone(), offset, self.size);
        let runtime = tokio::runtime::Handle::current();
        let mut over = false;
        Box::new(std::iter::from_fn(move || {
            if over {
                return None;
            }
            let next = runtime.block_on(stream.next()).transpose();
            over = !matches!(next, Some(Ok(_)));
            next
        }))
    }
}
