//! The place that a pull fills: what stands there, and how it is swapped for what was gathered.
//!
//! Knows folders of this machine. Does not know stores, or where content comes from.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use modelkeep_core::digest::Sha256;
use modelkeep_core::manifest::Manifest;
use modelkeep_core::registry::Push;
use modelkeep_core::{Error, Result};
use modelkeep_remote::folder::failed;

use super::part_of;
use crate::context::Context;
use crate::local::{Local, Stat};

/// What stands at the destination.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Files that are as they should be, by path.
    pub right: BTreeMap<String, PathBuf>,
    /// Files that an earlier pull wrote and nobody changed: replaced or removed.
    pub ours: BTreeMap<String, (PathBuf, Sha256)>,
    /// Files of somebody's own, or changed since: never touched without `--force`.
    pub foreign: Vec<String>,
    /// Whether it is there at all.
    pub exists: bool,
}

/// The last part of a path, to be part of another name: one that would be too long then is told by its digest.
pub(crate) fn name_of(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.len() > LONG { Sha256::of(name.as_bytes()).to_string() } else { name }
}

/// The folder beside a destination in which content gathers that is to come there.
pub(crate) fn gathering(to: &Path, push: &Push) -> PathBuf {
    to.with_file_name(format!(".modelkeep-pull-{}-{}", name_of(to), push.revision.short()))
}

/// File systems take names of 255 bytes; ours add up to 60.
const LONG: usize = 190;

/// Notes what stands at the destination now, so that the next pull may replace it and a push need not read it.
pub(crate) fn record(local: &Local, to: &Path, manifest: &Manifest) -> Result<()> {
    local.record_pull(to, manifest.files().iter().map(|file| (file.path.as_str(), &file.sha256)), true)?;
    let hashes: Vec<_> = manifest
        .files()
        .iter()
        .filter_map(|file| {
            let path = to.join(file.path.as_str());
            let stat = Stat::of(&fs::metadata(&path).ok()?);
            Some((path.canonicalize().ok()?, stat, file.sha256))
        })
        .collect();
    local.remember_hashes(&hashes)
}

/// Looks at the destination: what is right already, what a pull wrote, what is somebody's own.
pub(crate) fn stand(ctx: &Context, local: &Local, to: &Path, manifest: &Manifest) -> Result<Standing> {
    let mut standing = Standing::default();
    match fs::symlink_metadata(to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(standing),
        Err(error) => return Err(failed("looking at", to, error)),
        Ok(metadata) if !metadata.is_dir() => {
            return Err(Error::conflict(format!("{} is no folder", to.display())).hint("--to ANOTHER-FOLDER"));
        }
        Ok(_) => standing.exists = true,
    }
    let pulled = local.pulled(to)?;
    let known = local.hashes_below(&to.canonicalize().unwrap_or_else(|_| to.to_owned()))?;
    for path in files_below(to)? {
        let below = path.strip_prefix(to).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        let metadata = fs::symlink_metadata(&path).map_err(|error| failed("looking at", &path, error))?;
        let wanted = manifest.get(&below);
        // Only what could be ours or wanted is worth hashing.
        let could_be = metadata.is_file()
            && (wanted.is_some_and(|file| file.size == metadata.len()) || pulled.contains_key(&below));
        let digest = if could_be { Some(digest_of(ctx, &path, &metadata, &known)?) } else { None };
        match (digest, wanted) {
            (Some(digest), Some(file)) if digest == file.sha256 && metadata.len() == file.size => {
                standing.right.insert(below, path);
            }
            (Some(digest), _) if pulled.get(&below) == Some(&digest) => {
                standing.ours.insert(below, (path, digest));
            }
            _ => standing.foreign.push(below),
        }
    }
    standing.foreign.sort();
    Ok(standing)
}

fn digest_of(
    ctx: &Context,
    path: &Path,
    metadata: &fs::Metadata,
    known: &HashMap<PathBuf, (Stat, Sha256)>,
) -> Result<Sha256> {
    let stat = Stat::of(metadata);
    let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if let Some((known, digest)) = known.get(&canonical)
        && *known == stat
    {
        return Ok(*digest);
    }
    let mut file = fs::File::open(path).map_err(|error| failed("reading", path, error))?;
    let (_, digest) = modelkeep_remote::folder::copy::hash(&mut file, path, &*ctx.meter())?;
    Ok(digest)
}

/// Everything below a folder that is no folder.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| failed("listing", &folder, error))? {
            let entry = entry.map_err(|error| failed("listing", &folder, error))?;
            let kind = entry.file_type().map_err(|error| failed("listing", &folder, error))?;
            if kind.is_dir() { open.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    Ok(found)
}

/// Takes away what an earlier attempt left in the folder being built that does not belong to this revision.
pub(crate) fn clear_strangers(part: &Path, manifest: &Manifest) -> Result<()> {
    let wanted = manifest.files().iter().map(|file| part.join(file.path.as_str()));
    let known: HashSet<PathBuf> = wanted.flat_map(|path| [part_of(&path), path]).collect();
    for path in files_below(part)? {
        if !known.contains(&path) {
            fs::remove_file(&path).map_err(|error| failed("removing", &path, error))?;
        }
    }
    Ok(())
}

/// Puts the finished folder in place of the old one; where foreign files went, when they had to.
pub(crate) fn settle(ctx: &Context, part: &Path, to: &Path, standing: &Standing) -> Result<Option<PathBuf>> {
    flush(part)?;
    if !standing.exists {
        fs::rename(part, to).map_err(|error| failed("writing", to, error))?;
        return Ok(None);
    }
    if ctx.env.cwd.starts_with(to.canonicalize().unwrap_or_else(|_| to.to_owned())) {
        return settle_in_place(ctx, part, to, standing);
    }
    if standing.foreign.is_empty() {
        let old = part.with_file_name(format!("{}.old", name_of(part)));
        // All that a killed pull can have left there is what pulls wrote.
        remove_whole(&old)?;
        exchange_or_move(part, to, &old)?;
        remove_whole(&old)?;
        return Ok(None);
    }
    // What is somebody's own has its last name from the moment it is out of the way.
    let aside = aside(ctx, to);
    exchange_or_move(part, to, &aside)?;
    // Only that is kept; what pulls wrote can be had again.
    for below in standing.right.keys().chain(standing.ours.keys()) {
        let _ = fs::remove_file(aside.join(below));
    }
    remove_empty_folders(&aside);
    Ok(Some(aside))
}

/// Takes a folder of ours away.
pub(crate) fn remove_whole(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("removing", folder, error)),
        _ => Ok(()),
    }
}

/// What is called so is out of the way.
pub(crate) fn aside(ctx: &Context, to: &Path) -> PathBuf {
    to.with_file_name(format!("{}.before-{}", name_of(to), ctx.now().strftime("%Y%m%dT%H%M%SZ")))
}

/// The folder somebody stands in cannot be swapped under their feet: its files are replaced one by one.
fn settle_in_place(ctx: &Context, part: &Path, to: &Path, standing: &Standing) -> Result<Option<PathBuf>> {
    let moved = if standing.foreign.is_empty() { None } else { Some(aside(ctx, to)) };
    let place = |from: &Path, to: &Path| {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(|error| failed("creating", parent, error))?;
        }
        fs::rename(from, to).map_err(|error| failed("writing", to, error))
    };
    if let Some(moved) = &moved {
        for below in &standing.foreign {
            place(&to.join(below), &moved.join(below))?;
        }
    }
    // What the new revision does not have goes first, while the folder being built still tells what it has; the others
    // are renamed over.
    for (below, (path, _)) in &standing.ours {
        if !part.join(below).is_file() {
            fs::remove_file(path).map_err(|error| failed("removing", path, error))?;
        }
    }
    for path in files_below(part)? {
        place(&path, &to.join(path.strip_prefix(part).unwrap_or(&path)))?;
    }
    remove_empty_folders(to);
    let _ = fs::remove_dir_all(part);
    Ok(moved)
}

/// Puts `part` in the place of `to`, which becomes `old`. Where the system can, nobody ever sees the place empty.
fn exchange_or_move(part: &Path, to: &Path, old: &Path) -> Result<()> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags};
        fs::rename(part, old).map_err(|error| failed("moving", part, error))?;
        if rustix::fs::renameat_with(CWD, old, CWD, to, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
        fs::rename(old, part).map_err(|error| failed("moving", old, error))?;
    }
    fs::rename(to, old).map_err(|error| failed("moving", to, error))?;
    fs::rename(part, to).map_err(|error| failed("writing", to, error))
}

/// Takes folders away that hold nothing, below a folder.
pub(crate) fn remove_empty_folders(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty_folders(&entry.path());
            // Only an empty one goes.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// One flush for all files, so that a name never stands for bytes that a power cut would take.
fn flush(folder: &Path) -> Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Ok(open) = fs::File::open(folder)
        && rustix::fs::syncfs(open).is_ok()
    {
        return Ok(());
    }
    for path in files_below(folder)? {
        fs::File::open(&path).and_then(|file| file.sync_all()).map_err(|error| failed("flushing", &path, error))?;
    }
    Ok(())
}
