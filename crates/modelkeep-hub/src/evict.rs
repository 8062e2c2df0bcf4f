//! Taking revisions out of the cache, so that Hugging Face's programs can read it at every moment, and a run that is
//! killed anywhere is finished by the next.
//!
//! The order is theirs: refs, snapshots, blobs that nobody needs, then the whole folder. What is on its way out has one
//! name from the start: a snapshot moves to `.modelkeep-going/` beside `snapshots/`, where its links still say which
//! blobs it needed; an empty repository moves below `.locks/`. Neither is seen by their scan.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::cache::GATHERING;
use crate::in_use;
use crate::scan::{self, LOCKS, Place, Repo, Revision};
use crate::shared;

/// Where snapshots stand on their way out, in the repository's folder; begins the name of a repository on its way out,
/// below `.locks/`.
pub const GOING: &str = ".modelkeep-going";

/// What was taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Bytes that came free.
    pub bytes: u64,
    /// The whole repository is gone.
    pub whole: bool,
}

/// So many locks are held at once: far fewer than a process may have files open.
const BATCH: usize = 256;

/// Takes revisions of one repository away. `None`: somebody is downloading to it, and nothing was changed.
pub fn remove(hub: &Path, folder: &str, commits: &[&str]) -> io::Result<Option<Removed>> {
    let Some(_alone) = in_use::alone(hub, folder)? else { return Ok(None) };
    let Some(repo) = scan::scan_repo(hub, folder)? else { return Ok(Some(Removed::default())) };
    if repo.elsewhere {
        return Ok(None);
    }
    let root = hub.join(folder);
    for revision in repo.revisions.iter().filter(|revision| commits.contains(&revision.commit.as_str())) {
        send_off(&root, revision)?;
    }
    finish_alone(hub, folder)
}

/// From here on the revision is gone for everybody.
fn send_off(root: &Path, revision: &Revision) -> io::Result<()> {
    for name in &revision.refs {
        let file = root.join("refs").join(name);
        // It may lead to another commit since.
        if fs::read_to_string(&file).is_ok_and(|commit| commit == revision.commit) {
            gone(fs::remove_file(file))?;
        }
    }
    let going = root.join(GOING);
    fs::create_dir_all(&going)?;
    let target = going.join(&revision.commit);
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    gone(fs::rename(root.join("snapshots").join(&revision.commit), target))
}

/// What is not there need not be taken away.
pub(crate) fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Finishes what is on its way out of a repository. `None`: somebody is downloading to it; it waits.
pub fn finish(hub: &Path, folder: &str) -> io::Result<Option<Removed>> {
    let Some(_alone) = in_use::alone(hub, folder)? else { return Ok(None) };
    finish_alone(hub, folder)
}

fn finish_alone(hub: &Path, folder: &str) -> io::Result<Option<Removed>> {
    let root = hub.join(folder);
    let mut removed = Removed::default();
    let going: Vec<PathBuf> = match fs::read_dir(root.join(GOING)) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut named = BTreeSet::new();
    for snapshot in &going {
        linked_blobs(snapshot, &root, &mut named)?;
    }
    let named: Vec<String> = named.into_iter().collect();
    for batch in named.chunks(BATCH) {
        let mut locks = Vec::with_capacity(batch.len());
        for blob in batch {
            let Some(lock) = in_use::lock(hub, folder, blob)? else { return Ok(None) };
            locks.push(lock);
        }
        // Under their locks nobody links to them any more than now.
        let Some(now) = scan::scan_repo(hub, folder)? else { break };
        let needed: BTreeSet<&str> = now
            .blobs
            .iter()
            .filter_map(|blob| match &blob.place {
                Place::Blobs(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        for blob in batch.iter().filter(|blob| !needed.contains(blob.as_str())) {
            removed.bytes += drop_blob(hub, &root, blob)?;
        }
    }
    for snapshot in &going {
        if let Some(commit) = snapshot.file_name() {
            gone(fs::remove_file(root.join("trees").join(commit).with_extension("json")))?;
            gone(fs::remove_dir_all(root.join(".no_exist").join(commit)))?;
        }
        removed.bytes += own_files(snapshot)?;
        gone(fs::remove_dir_all(snapshot))?;
    }
    if !going.is_empty() {
        gone(fs::remove_dir(root.join(GOING)))?;
    }
    if let Some(now) = scan::scan_repo(hub, folder)?
        && is_empty(&now)
        && !in_use::is_downloading(hub, folder)
    {
        removed.bytes += now.loose_size();
        drop_repo(hub, folder)?;
        removed.whole = true;
    }
    Ok(Some(removed))
}

/// A repository that nobody can load anything from.
fn is_empty(repo: &Repo) -> bool {
    repo.revisions.is_empty() && repo.broken.is_empty() && !repo.elsewhere
}

/// Takes the whole folder away, in one step for everybody who looks. For who is alone with it.
pub(crate) fn drop_repo(hub: &Path, folder: &str) -> io::Result<()> {
    let root = hub.join(folder);
    let links: Vec<PathBuf> = fs::read_dir(root.join("blobs"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| shared::target(hub, &entry.path(), &fs::read_link(entry.path()).ok()?))
        .collect();
    let going = hub.join(LOCKS).join(format!("{GOING}-{folder}"));
    fs::create_dir_all(hub.join(LOCKS))?;
    gone(fs::remove_dir_all(&going))?;
    gone(fs::rename(&root, &going))?;
    gone(fs::remove_dir_all(&going))?;
    links.iter().try_for_each(|payload| shared::sweep(hub, payload).map(drop))
}

/// Repositories that were on their way out when a run was killed.
pub fn left_behind(hub: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(hub.join(LOCKS)).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| is_going(path)).collect()
}

fn is_going(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(GOING))
}

/// Removes a file of `blobs/`, and the shared payload behind it if it was the last to link to it.
pub(crate) fn drop_blob(hub: &Path, root: &Path, blob: &str) -> io::Result<u64> {
    let path = root.join("blobs").join(blob);
    let metadata = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let payload = if metadata.is_symlink() { shared::target(hub, &path, &fs::read_link(&path)?) } else { None };
    let only_name = links(&metadata) <= 1;
    gone(fs::remove_file(&path))?;
    match payload {
        Some(payload) => shared::sweep(hub, &payload),
        None => Ok(if metadata.is_file() && only_name { metadata.len() } else { 0 }),
    }
}

fn links(metadata: &fs::Metadata) -> u64 {
    #[cfg(unix)]
    {
        std::os::unix::fs::MetadataExt::nlink(metadata)
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        1
    }
}

/// The names in `blobs/` that a snapshot links to.
fn linked_blobs(snapshot: &Path, root: &Path, named: &mut BTreeSet<String>) -> io::Result<()> {
    // Where it stood, which is as deep as where it stands now.
    for (path, link) in links_below(snapshot)? {
        let below = shared::inside(&root.join("blobs"), &path, &link);
        let name = below.as_deref().and_then(Path::to_str).filter(|name| !name.is_empty() && !name.contains('/'));
        named.extend(name.map(str::to_owned));
    }
    Ok(())
}

fn links_below(folder: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_symlink() {
                found.push((entry.path(), fs::read_link(entry.path())?));
            }
        }
    }
    Ok(found)
}

/// Bytes of files that are no links.
fn own_files(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                open.push(entry.path());
            } else if metadata.is_file() && links(&metadata) <= 1 {
                bytes += metadata.len();
            }
        }
    }
    Ok(bytes)
}

fn etag_of(blob: &str) -> &str {
    blob.split('.').next().unwrap_or(blob)
}

/// Removes files of `blobs/` that nothing links to, and folders of pulls that were not finished; the bytes that this freed.
/// Nothing while somebody is bringing something to the repository: he may be about to link it.
pub fn sweep_loose(hub: &Path, folder: &str, blobs: &[String]) -> io::Result<u64> {
    match in_use::alone(hub, folder)? {
        Some(_alone) => {
            let (gathered, blobs): (Vec<_>, Vec<_>) =
                blobs.iter().cloned().partition(|name| name.starts_with(GATHERING));
            let now = scan::scan_repo(hub, folder)?.map(|repo| repo.gathered).unwrap_or_default();
            let mut freed = 0;
            for one in now.iter().filter(|one| gathered.contains(&one.name)) {
                gone(fs::remove_dir_all(hub.join(folder).join(&one.name)))?;
                freed += one.size;
            }
            Ok(freed + drop_loose(hub, folder, &blobs)?)
        }
        None => Ok(0),
    }
}

/// Removes such files for who brings something himself. Each goes under its lock; what somebody links to by now, or holds the
/// lock of, stays.
pub(crate) fn drop_loose(hub: &Path, folder: &str, blobs: &[String]) -> io::Result<u64> {
    let mut freed = 0;
    for batch in blobs.chunks(BATCH) {
        // A download's lock is that of the file which it becomes: `<etag>`, of `<etag>[.<random>].incomplete`.
        let mut locks = BTreeMap::new();
        for etag in batch.iter().map(|blob| etag_of(blob)) {
            if !locks.contains_key(etag) {
                locks.insert(etag, in_use::lock(hub, folder, etag)?);
            }
        }
        let mine = batch.iter().filter(|blob| locks.get(etag_of(blob)).is_some_and(Option::is_some));
        let Some(now) = scan::scan_repo(hub, folder)? else { break };
        let loose: BTreeSet<&str> =
            now.orphans.iter().chain(&now.incomplete).map(|loose| loose.name.as_str()).collect();
        for blob in mine.filter(|blob| loose.contains(blob.as_str())) {
            freed += drop_blob(hub, &hub.join(folder), blob)?;
        }
    }
    Ok(freed)
}
