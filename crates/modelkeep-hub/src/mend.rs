//! Making a cache whole again that Hugging Face's programs warn about. What is content is never deleted: what does not
//! belong into the cache is set aside, beside it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::evict::{drop_repo, gone};
use crate::in_use;
use crate::scan::{Broken, Cache, Foreign, Place, Repo};
use crate::shared;

/// One thing to mend. Folders are those of repositories; paths are below the cache, or below the folder beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mend {
    /// A ref goes: what it leads to is not here.
    DropRef {
        /// The repository's folder.
        folder: String,
        /// The ref's name.
        name: String,
        /// What it holds.
        leads_to: String,
    },
    /// A ref is written anew without what does not belong into it.
    RewriteRef {
        /// The repository's folder.
        folder: String,
        /// The ref's name.
        name: String,
        /// All that it should hold.
        commit: String,
    },
    /// A link to nowhere goes; the next load fetches that file.
    DropLink {
        /// The repository's folder.
        folder: String,
        /// Where it stands in that.
        path: String,
    },
    /// Something moves out of the cache.
    SetAside {
        /// Where it stands.
        path: PathBuf,
        /// Why it does not belong there.
        why: String,
    },
    /// A repository of which nothing can be loaded goes: it holds no snapshot.
    DropRepo {
        /// Its folder.
        folder: String,
        /// Bytes of what lies in it.
        bytes: u64,
    },
    /// A link to a disk that was emptied goes.
    DropLostRepo {
        /// Its name.
        folder: PathBuf,
    },
}

/// Everything that can be mended, and what cannot be.
pub fn plan(cache: &Cache) -> (Vec<Mend>, Vec<String>) {
    let (mut mends, mut left) = (Vec::new(), Vec::new());
    let wanted = led_into(cache);
    for foreign in &cache.foreign {
        match foreign {
            Foreign { lost_link: true, name, .. } => mends.push(Mend::DropLostRepo { folder: name.into() }),
            // transformers keeps here which layout its old cache was moved to (`utils/hub.py`); without it, it moves again.
            Foreign { name, .. } if name == "version.txt" => left.push("version.txt: transformers' own".to_owned()),
            // Of a version that is not known here: without it every file of theirs is a link to nowhere.
            Foreign { name, .. } if name == shared::FOLDER => {
                left.push(format!("{}: repositories share it, in a form that is not known here", name.display()));
            }
            Foreign { name, .. } if wanted.contains(name) => {
                left.push(format!("{}: a repository's files lead into it", name.display()));
            }
            Foreign { name, why, .. } => mends.push(Mend::SetAside { path: name.into(), why: why.clone() }),
        }
    }
    for repo in &cache.repos {
        if in_use::is_locked(&cache.hub, &repo.folder) && !repo.broken.is_empty() {
            left.push(format!("{}: something is downloading to it", repo.folder));
            continue;
        }
        for broken in &repo.broken {
            match of(repo, broken) {
                Ok(mend) => mends.push(mend),
                Err(why) => left.push(format!("{}: {why}", repo.folder)),
            }
        }
    }
    (mends, left)
}

/// What in the cache links of repositories lead into, by name.
fn led_into(cache: &Cache) -> BTreeSet<OsString> {
    let mut names = BTreeSet::new();
    if cache.foreign.is_empty() {
        return names;
    }
    let mut add = |link: &Path, says: &Path| {
        let below = shared::inside(&cache.hub, link, says);
        names.extend(below.iter().filter_map(|below| below.iter().next()).map(OsStr::to_owned));
    };
    for repo in &cache.repos {
        let blobs = cache.hub.join(&repo.folder).join("blobs");
        for entry in fs::read_dir(&blobs).into_iter().flatten().flatten() {
            if let Ok(says) = fs::read_link(entry.path()) {
                add(&entry.path(), &says);
            }
        }
        repo.blobs.iter().for_each(|blob| {
            if let Place::Elsewhere(path) = &blob.place {
                add(path, path);
            }
        });
    }
    names
}

fn of(repo: &Repo, broken: &Broken) -> Result<Mend, String> {
    let folder = repo.folder.clone();
    Ok(match broken {
        Broken::LostRef(name, holds) => {
            let commit = holds.trim();
            let (name, here) = (name.clone(), repo.revisions.iter().any(|revision| revision.commit == commit));
            if here {
                Mend::RewriteRef { folder, name, commit: commit.to_owned() }
            } else {
                Mend::DropRef { folder, name, leads_to: holds.clone() }
            }
        }
        Broken::BrokenLink(commit, path) => {
            Mend::DropLink { folder, path: format!("snapshots/{commit}/{path}").trim_end_matches('/').to_owned() }
        }
        Broken::FileInSnapshots(name) => Mend::SetAside {
            path: Path::new(&folder).join("snapshots").join(name),
            why: "a file where only snapshots are".to_owned(),
        },
        Broken::RefsIsFile => {
            Mend::SetAside { path: Path::new(&folder).join("refs"), why: "a file where a folder should be".to_owned() }
        }
        Broken::NoSnapshots => Mend::DropRepo { bytes: repo.loose_size(), folder },
        Broken::Unreadable(what, why) => return Err(format!("{what} cannot be read: {why}")),
    })
}

/// Where things are set aside: beside the cache, called as it is.
pub fn aside(hub: &Path) -> PathBuf {
    let name = hub.file_name().unwrap_or_default().to_string_lossy();
    hub.with_file_name(format!("{name}.set-aside"))
}

/// Mends one thing; looks again whether it is still as it was.
pub fn apply(hub: &Path, mend: &Mend) -> io::Result<()> {
    match mend {
        Mend::DropRef { folder, name, leads_to } => {
            let file = hub.join(folder).join("refs").join(name);
            let commit = hub.join(folder).join("snapshots").join(leads_to);
            if fs::read_to_string(&file).is_ok_and(|holds| holds == *leads_to)
                && (leads_to.is_empty() || !commit.is_dir())
            {
                gone(fs::remove_file(file))?;
            }
            Ok(())
        }
        Mend::RewriteRef { folder, name, commit } => {
            // A temporary file in refs/ would be a ref itself.
            let part = hub.join(folder).join(".modelkeep-ref");
            fs::write(&part, commit)?;
            fs::rename(part, hub.join(folder).join("refs").join(name))
        }
        Mend::DropLink { folder, path } => {
            let link = hub.join(folder).join(path);
            let lost = fs::symlink_metadata(&link).is_ok_and(|metadata| metadata.is_symlink()) && !link.exists();
            if lost { gone(fs::remove_file(link)) } else { Ok(()) }
        }
        Mend::SetAside { path, .. } => {
            let target = free_name(aside(hub).join(path));
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            gone(fs::rename(hub.join(path), target))
        }
        Mend::DropRepo { folder, .. } => {
            let Some(_alone) = in_use::alone(hub, folder)? else { return Ok(()) };
            if hub.join(folder).join("snapshots").is_dir() {
                return Ok(());
            }
            drop_repo(hub, folder)
        }
        Mend::DropLostRepo { folder } => {
            let link = hub.join(folder);
            if link.exists() { Ok(()) } else { gone(fs::remove_file(link)) }
        }
    }
}

/// The name itself, or the first `name.1`, `name.2`… that nothing has.
fn free_name(path: PathBuf) -> PathBuf {
    let numbered = |n: u32| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.with_file_name(format!("{name}.{n}"))
    };
    let taken = |path: &PathBuf| fs::symlink_metadata(path).is_ok();
    if !taken(&path) {
        return path;
    }
    (1..u32::MAX).map(numbered).find(|path| !taken(path)).unwrap_or_else(|| path.clone())
}
