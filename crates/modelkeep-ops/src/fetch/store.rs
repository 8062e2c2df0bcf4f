//! A fetched base model on the remote: whether it may be there, whether it is, and putting it there.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use modelkeep_core::digest::Sha256;
use modelkeep_core::manifest::ModelKind;
use modelkeep_core::name::ModelId;
use modelkeep_core::{Error, Result};
use modelkeep_hub::blob::{BlobId, Check};
use modelkeep_hub::cache::RepoDir;
use modelkeep_hub::repo::{Commit, RepoId};
use modelkeep_remote::folder::failed;
use sha2::Digest as _;

use super::{Asked, Chosen, MAIN, Request, Snapshot, default_id};
use crate::context::{Context, Progress};
use crate::into_cache::Found;
use crate::learn::Origin;
use crate::local::{Local, Stat};
use crate::observe::blocking;
use crate::{log, push};

/// The id on the remote.
pub fn id_of(request: &Request, repo: &RepoId) -> Result<ModelId> {
    match &request.id {
        Some(id) => id.parse(),
        None => default_id(repo),
    }
}

/// Fails when the id is that of another model.
pub async fn check_free(ctx: &Context, id: &ModelId, repo: &RepoId) -> Result<()> {
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    let Some(model) = view.state.models.get(id) else { return Ok(()) };
    let source = model.latest().or_else(|| model.pushes.last()).and_then(|push| model.describe(push).source);
    if model.kind == ModelKind::Base && source.as_deref() == Some(repo.as_str()) {
        return Ok(());
    }
    let of = source.map_or_else(|| format!("a {} model", model.kind.as_str()), |source| format!("from {source}"));
    Err(Error::conflict(format!("`{id}` is on the store already, and it is {of}, not {repo}"))
        .hint(format!("modelkeep fetch {repo} --store --id {}", id.next())))
}

/// The remote's own copy of a repository: of that commit where one is asked for, of `main` the newest.
pub async fn find(ctx: &Context, asked: &Asked) -> Result<Option<Found>> {
    // Without a store, or with one that does not answer either, there is no copy to speak of.
    let Ok(store) = ctx.store().await else { return Ok(None) };
    let Ok(view) = log::refresh(ctx, &store).await else { return Ok(None) };
    let commit = asked.revision.as_ref().and_then(|revision| revision.parse::<Commit>().ok());
    let found = view.state.models.values().filter(|model| model.kind == ModelKind::Base).find_map(|model| {
        let mut pushes = model.pushes.iter().rev().filter(|push| push.removed.is_none());
        let push = pushes.find(|push| match &commit {
            Some(commit) => push.facts.source_commit.as_deref() == Some(commit.as_str()),
            None => asked.revision() == MAIN,
        })?;
        let of_repo = model.describe(push).source.as_deref() == Some(asked.repo.as_str());
        of_repo.then(|| (model.clone(), push.clone()))
    });
    Ok(found.map(|(model, push)| Found { store, view, model, push }))
}

/// Where a model comes from, for its push.
pub fn origin(snapshot: &Snapshot) -> Origin {
    Origin {
        repo: snapshot.asked.repo.to_string(),
        commit: snapshot.commit.to_string(),
        license: snapshot.license.clone(),
    }
}

/// The push of a fetched model, without its files.
pub fn request(id: &ModelId, path: PathBuf) -> push::Request {
    push::Request { path, model: id.to_string(), kind: Some(ModelKind::Base), ..push::Request::default() }
}

/// Puts it on the remote, straight from the cache.
pub async fn store(
    ctx: &Context,
    dir: &RepoDir,
    snapshot: &Snapshot,
    chosen: &Chosen,
    fresh: &BTreeSet<BlobId>,
    id: &ModelId,
) -> Result<push::Report> {
    let store = ctx.store().await?;
    let place = dir.snapshot(&snapshot.commit);
    prove(ctx, store.local(ctx)?, &place, chosen, fresh).await?;
    let include = chosen.files.iter().map(|file| exactly(&file.path)).collect();
    push::push_from(ctx, push::Request { include, ..request(id, place) }, Some(origin(snapshot))).await
}

/// A pattern that means this path alone.
fn exactly(path: &str) -> String {
    let mut pattern = String::from("/");
    for c in path.chars() {
        if "*?[]{}\\! #".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// What lies in the cache may have been written by programs that check nothing: it is read once and proven, and the
/// push need not read it again to know what it is. What came just now was checked as it came.
async fn prove(ctx: &Context, local: &Local, place: &Path, chosen: &Chosen, fresh: &BTreeSet<BlobId>) -> Result<()> {
    let root = place.canonicalize().map_err(|error| failed("looking at", place, error))?;
    let known = local.hashes_below(&root)?;
    ctx.observer.tell(Progress::Stage { name: "checking", bytes: Some(chosen.size()) });
    let mut proven = Vec::new();
    for file in &chosen.files {
        ctx.check_stop()?;
        let path = root.join(&file.path);
        let stat = Stat::of(&fs::metadata(&path).map_err(|error| failed("looking at", &path, error))?);
        let sha256 = match (&file.blob, known.get(&path)) {
            (BlobId::Lfs(sha256), _) if fresh.contains(&file.blob) => *sha256,
            (_, Some((then, sha256))) if *then == stat => *sha256,
            _ => {
                let (from, blob, size, meter) = (path.clone(), file.blob, file.size, ctx.meter());
                let (found, sha256) = blocking(move || read(&from, &blob, size, &*meter)).await?;
                if found != file.blob {
                    return Err(damaged(&path));
                }
                sha256
            }
        };
        if let BlobId::Lfs(expected) = &file.blob
            && *expected != sha256
        {
            return Err(damaged(&path));
        }
        proven.push((path, stat, sha256));
    }
    local.remember_hashes(&proven)
}

fn damaged(path: &Path) -> Error {
    let blob = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    Error::integrity(format!("{} in the cache is not what the Hub has, so it was not stored", path.display()))
        .hint(format!("rm '{}', then run it again", blob.display()))
}

/// What a file is, by the Hub's name and by ours, in one reading.
fn read(path: &Path, blob: &BlobId, size: u64, meter: &dyn modelkeep_remote::Meter) -> Result<(BlobId, Sha256)> {
    let mut file = fs::File::open(path).map_err(|error| failed("reading", path, error))?;
    let (mut check, mut hasher) = (Check::new(blob, size), sha2::Sha256::new());
    let mut buffer = vec![0; 128 << 10];
    loop {
        let length = file.read(&mut buffer).map_err(|error| failed("reading", path, error))?;
        if length == 0 {
            break;
        }
        if matches!(blob, BlobId::Git(_)) {
            check.update(&buffer[..length]);
        }
        hasher.update(&buffer[..length]);
        modelkeep_remote::folder::copy::advance(meter, length as u64)?;
    }
    let sha256 = Sha256::from_bytes(hasher.finalize().into());
    Ok((if matches!(blob, BlobId::Git(_)) { check.finish() } else { BlobId::Lfs(sha256) }, sha256))
}
