//! Folders in `models/` that pulls wrote: they may go, when they are asked for, as long as nobody changed them and the
//! remote has every file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use modelkeep_core::Result;
use modelkeep_core::digest::Sha256;
use modelkeep_core::evict::{Again, Back, Item, Keep};
use modelkeep_hub::in_use;

use super::proof::Known;
use super::shelf::{Observed, Thing, cannot};
use crate::context::Context;
use crate::local::{Local, Stat};
use crate::pins;

/// A folder that a pull wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pulled {
    /// Where it is.
    pub path: PathBuf,
}

/// Begins the name of one that is on its way out.
const GOING: &str = ".modelkeep-going-";

/// Puts every such folder of the workspace on the shelf.
pub(super) fn observe(ctx: &Context, known: &Known, observed: &mut Observed) -> Result<()> {
    let Some(workspace) = &ctx.workspace else { return Ok(()) };
    let models = workspace.root.join("models");
    let local = Local::open(&workspace.state_dir())?;
    let pinned: BTreeMap<PathBuf, String> = pins::read(workspace)?
        .models
        .iter()
        .map(|(id, pin)| (workspace.root.join(&pin.path), id.to_string()))
        .collect();
    for path in local.pulled_places()?.into_iter().filter(|path| path.starts_with(&models) && path.is_dir()) {
        ctx.check_stop()?;
        let content = content(&local, &path)?;
        let digests: BTreeSet<Sha256> = content.files.iter().map(|(digest, _)| *digest).collect();
        let everything_there = content.strange.is_none() && digests.iter().all(|digest| known.has(digest));
        let open = in_use::open_below(&path).into_iter().next();
        let keep = open
            .map(|open| Keep::InUse(format!("a process has {} open", open.file_name().unwrap_or_default().display())))
            .or_else(|| pinned.get(&path).map(|id| Keep::Pinned(id.clone())))
            .or_else(|| known.keep_files(&digests));
        let bytes = content.files.iter().map(|(_, bytes)| bytes).sum();
        let item = Item {
            name: path.strip_prefix(&workspace.root).unwrap_or(&path).display().to_string(),
            parts: Vec::new(),
            back: Back { files: content.files.len() as u64, bytes },
            last_used: content.last_used,
            again: Again::Nowhere,
            keep,
        };
        let thing = Thing::Pulled(Pulled { path });
        if everything_there && !digests.is_empty() {
            observed.add_stored(digests, thing, bytes, item);
        } else {
            observed.add(thing, bytes, item);
        }
    }
    Ok(())
}

struct Content {
    files: Vec<(Sha256, u64)>,
    last_used: Option<Timestamp>,
    /// A file that no pull wrote, or that was changed since.
    strange: Option<PathBuf>,
}

fn content(local: &Local, folder: &Path) -> Result<Content> {
    let pulled = local.pulled(folder)?;
    let known = local.hashes_below(&folder.canonicalize().unwrap_or_else(|_| folder.to_owned()))?;
    let mut content = Content { files: Vec::new(), last_used: None, strange: None };
    let mut open = vec![folder.to_owned()];
    while let Some(inner) = open.pop() {
        for entry in fs::read_dir(&inner).map_err(cannot("listing", &inner))? {
            let path = entry.map_err(cannot("listing", &inner))?.path();
            let metadata = fs::symlink_metadata(&path).map_err(cannot("looking at", &path))?;
            if metadata.is_dir() {
                open.push(path);
                continue;
            }
            let used = metadata.accessed().ok().into_iter().chain(metadata.modified().ok()).max();
            content.last_used = content.last_used.max(used.and_then(|used| Timestamp::try_from(used).ok()));
            let below = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            let unchanged =
                known.get(&real).filter(|(stat, _)| *stat == Stat::of(&metadata)).map(|(_, digest)| *digest);
            match (pulled.get(&below), unchanged) {
                (Some(wrote), Some(now)) if *wrote == now => content.files.push((now, metadata.len())),
                _ => content.strange = Some(path),
            }
        }
    }
    Ok(content)
}

/// Takes such a folder away, in one step for whoever looks; what is strange in it by now stays.
pub(super) fn remove(ctx: &Context, pulled: &Pulled) -> Result<bool> {
    let workspace = ctx.workspace()?;
    let local = Local::open(&workspace.state_dir())?;
    let path = &pulled.path;
    if !path.is_dir() {
        return Ok(true);
    }
    if content(&local, path)?.strange.is_some() || !in_use::open_below(path).is_empty() {
        return Ok(false);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let going = path.with_file_name(format!("{GOING}{name}"));
    if going.exists() {
        fs::remove_dir_all(&going).map_err(cannot("removing", &going))?;
    }
    fs::rename(path, &going).map_err(cannot("moving", path))?;
    fs::remove_dir_all(&going).map_err(cannot("removing", &going))?;
    // The model's own folder goes with its last revision.
    if let Some(parent) = path.parent() {
        let _ = fs::remove_dir(parent);
    }
    local.record_pull(path, [], true)?;
    Ok(true)
}

/// Folders that were on their way out when a run was killed.
pub(super) fn left_behind(ctx: &Context) -> Vec<PathBuf> {
    let models = ctx.workspace.as_ref().map(|workspace| workspace.root.join("models"));
    let folders = models.and_then(|models| fs::read_dir(models).ok()).into_iter().flatten().flatten();
    let entries = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(GOING)).map(|entry| entry.path()).collect()
}
