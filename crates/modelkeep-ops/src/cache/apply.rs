//! Taking away what a plan chose. Each thing is looked at once more, right before it goes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use modelkeep_core::Result;
use modelkeep_hub::{evict as hub, in_use, shared};

use super::shelf::{Observed, Thing, cannot, open_in};
use super::{places, pulled};
use crate::context::Context;
use crate::observe::blocking;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Bytes that came free.
    pub freed: u64,
    /// What stayed after all, by item, and why.
    pub stayed: BTreeMap<usize, String>,
}

/// Takes these items away.
pub(crate) async fn apply(ctx: &Context, observed: &Observed, chosen: &[usize], everything: bool) -> Result<Applied> {
    let mut applied = Applied::default();
    for item in chosen {
        ctx.check_stop()?;
        match take(ctx, observed, *item, everything).await? {
            Ok(bytes) => applied.freed += bytes,
            Err(why) => drop(applied.stayed.insert(*item, why)),
        }
    }
    Ok(applied)
}

/// The bytes that came free, or why it stayed.
async fn take(ctx: &Context, observed: &Observed, item: usize, everything: bool) -> Result<Result<u64, String>> {
    let root = observed.hf.hub.clone();
    let used = || Ok(Err("it is in use since a moment ago".to_owned()));
    match observed.things[item].clone() {
        Thing::Revision { folder, commit } => {
            if observed.is_open(&folder, &commit) {
                return used();
            }
            let removed = blocking(move || {
                hub::remove(&root, &folder, &[&commit]).map_err(cannot("removing from", &root.join(&folder)))
            });
            match removed.await? {
                Some(removed) => Ok(Ok(removed.bytes)),
                None => used(),
            }
        }
        Thing::Loose { folder, blobs } => {
            let bytes = blocking(move || {
                hub::sweep_loose(&root, &folder, &blobs).map_err(cannot("removing from", &root.join(&folder)))
            });
            Ok(Ok(bytes.await?))
        }
        Thing::Payloads(paths) => {
            let sweep = |path: &Path| shared::sweep(&root, path).map_err(cannot("removing", path));
            paths.iter().try_fold(0, |bytes, path| Ok(bytes + sweep(path)?)).map(Ok)
        }
        Thing::Begun => finish(ctx, observed).map(Ok),
        Thing::Checkpoint(path) => {
            let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            if in_use::open_below(&path).is_empty() {
                gone(fs::remove_file(&path)).map_err(cannot("removing", &path))?;
                return Ok(Ok(bytes));
            }
            used()
        }
        Thing::Pulled(folder) => {
            let bytes = crate::walk::size(&folder.path).bytes;
            if pulled::remove(ctx, &folder)? { Ok(Ok(bytes)) } else { used() }
        }
        Thing::Whole(place) => {
            let before = place.size().bytes;
            match place.name.cleaner() {
                places::Cleaner::Us => {
                    if open_in(&place).is_some() {
                        return used();
                    }
                    for path in place.own() {
                        empty(&path).map_err(cannot("emptying", &path))?;
                    }
                }
                _ => places::clean(&ctx.env, &place, everything)?,
            }
            Ok(Ok(before.saturating_sub(place.size().bytes)))
        }
    }
}

/// Finishes what a run that was killed had begun; the bytes that this freed.
pub(crate) fn finish(ctx: &Context, observed: &Observed) -> Result<u64> {
    let root = &observed.hf.hub;
    let mut freed = 0;
    for repo in observed.hf.repos.iter().filter(|repo| !repo.going.is_empty()) {
        let finished = hub::finish(root, &repo.folder).map_err(cannot("removing from", &root.join(&repo.folder)))?;
        freed += finished.map_or(0, |removed| removed.bytes);
    }
    for path in hub::left_behind(root).into_iter().chain(pulled::left_behind(ctx)) {
        freed += crate::walk::size(&path).bytes;
        gone(fs::remove_dir_all(&path)).map_err(cannot("removing", &path))?;
    }
    Ok(freed)
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Empties a folder, or removes a file; the folder stays, for the program that it is of.
fn empty(path: &Path) -> io::Result<()> {
    if path.is_file() {
        return gone(fs::remove_file(path));
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            gone(fs::remove_dir_all(entry.path()))?;
        } else {
            gone(fs::remove_file(entry.path()))?;
        }
    }
    Ok(())
}
