//! What the cache holds, counted as `huggingface_hub.scan_cache_dir()` counts it (2.4.0, `utils/_cache_manager.py`).
//!
//! A repository's size is that of the files that its snapshots link to, each once, by the first hop of the link. What
//! nothing links to (orphans, downloads that were never finished) is told apart. Nothing that is odd is fatal: what
//! theirs leaves out with a warning stands here with what is [`Broken`] about it.

mod repo;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use modelkeep_core::digest::Sha256;

use crate::folder::{Folder, Kind};
use crate::repo::RepoKind;
use crate::shared::{self, Payload};

/// The whole cache.
#[derive(Debug, Clone, Default)]
pub struct Cache {
    /// Its folder, `HF_HUB_CACHE`.
    pub hub: PathBuf,
    /// Repositories in the order of their folders' names, broken ones too.
    pub repos: Vec<Repo>,
    /// What lies in it and is no repository, by name.
    pub foreign: Vec<Foreign>,
    /// Payloads that repositories share.
    pub shared: Vec<Payload>,
}

/// Something in the cache that is no repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Its name.
    pub name: OsString,
    /// Why it is none.
    pub why: String,
    /// Whether it is a link to nowhere that is called as a repository: what is left of one on a disk that was emptied.
    pub lost_link: bool,
}

/// One repository's folder.
#[derive(Debug, Clone)]
pub struct Repo {
    /// The folder's name: `models--ns--name`.
    pub folder: String,
    /// What it holds.
    pub kind: RepoKind,
    /// Its name on the Hub, as the folder's name says it.
    pub id: String,
    /// Its revisions, by commit.
    pub revisions: Vec<Revision>,
    /// Files that revisions link to, each once.
    pub blobs: Vec<Blob>,
    /// Files in `blobs/` that nothing links to.
    pub orphans: Vec<Loose>,
    /// Downloads that were not finished.
    pub incomplete: Vec<Loose>,
    /// Folders of pulls of ours that were not finished (`.modelkeep-pull-…`).
    pub gathered: Vec<Loose>,
    /// Snapshots that an eviction of ours was taking away when it stopped (in `.modelkeep-going/`).
    pub going: Vec<String>,
    /// What is wrong with it; their scan leaves it out when there is anything.
    pub broken: Vec<Broken>,
    /// Its folder is a link: it lies somewhere else.
    pub elsewhere: bool,
    /// When the folder itself was written.
    pub modified: i64,
}

/// One revision of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The name of its folder in `snapshots/`.
    pub commit: String,
    /// Names that lead to it.
    pub refs: Vec<String>,
    /// Its files.
    pub files: Vec<CachedFile>,
    /// When its folder was written.
    pub modified: i64,
}

/// A file of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedFile {
    /// Where it stands in the revision, parts separated by `/`.
    pub path: String,
    /// Its place in [`Repo::blobs`].
    pub blob: usize,
}

/// A file that revisions link to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Where it is.
    pub place: Place,
    /// Bytes, through whatever links it is.
    pub size: u64,
    /// Bytes that come free on this disk when it is removed: none when it is a link, or has another name as well.
    pub frees: u64,
    /// The payload of the shared store that it is a link to: this comes free with the last link to it.
    pub payload: Option<PathBuf>,
    /// When it was last read, in seconds since 1970.
    pub accessed: i64,
    /// When it was last written, in seconds since 1970.
    pub modified: i64,
}

impl Blob {
    /// The digest that its name in `blobs/` says: every large file's name is its SHA-256.
    pub fn sha256(&self) -> Option<Sha256> {
        if let Place::Blobs(name) = &self.place { name.parse().ok() } else { None }
    }

    /// Where it is, given the repository's folder.
    pub fn path(&self, repo: &Path) -> PathBuf {
        match &self.place {
            Place::Blobs(name) => repo.join("blobs").join(name),
            Place::Snapshot(below) => repo.join(below),
            Place::Elsewhere(path) => path.clone(),
        }
    }
}

/// Where a file lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the repository's `blobs/`, by this name.
    Blobs(String),
    /// In the snapshot itself, no link; below the repository's folder.
    Snapshot(PathBuf),
    /// Anywhere else.
    Elsewhere(PathBuf),
}

/// A file that nothing links to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loose {
    /// Its name in `blobs/`; that of a folder beside it when a pull gathers in it.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// When it was last written, in seconds since 1970.
    pub modified: i64,
}

/// What can be wrong with a repository's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// It has no `snapshots/`.
    NoSnapshots,
    /// A file lies in `snapshots/` where only folders should.
    FileInSnapshots(String),
    /// A ref holds what is no commit that is here; its name and what it holds.
    LostRef(String, String),
    /// `refs` is no folder.
    RefsIsFile,
    /// A link in a snapshot leads nowhere; the commit and the path in it.
    BrokenLink(String, String),
    /// It cannot be read; what, and why.
    Unreadable(String, String),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSnapshots => f.write_str("it has no snapshots"),
            Self::FileInSnapshots(name) => write!(f, "snapshots/{name} is a file"),
            Self::LostRef(name, commit) => {
                write!(f, "refs/{name} leads to {:?}, which is not here", commit.chars().take(48).collect::<String>())
            }
            Self::RefsIsFile => f.write_str("refs is a file"),
            Self::BrokenLink(commit, path) => write!(f, "snapshots/{commit}/{path} leads nowhere"),
            Self::Unreadable(what, why) => write!(f, "{what} cannot be read: {why}"),
        }
    }
}

impl Repo {
    /// Bytes of what its revisions link to.
    pub fn size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }

    /// Bytes of one revision.
    pub fn size_of(&self, revision: &Revision) -> u64 {
        let blobs: HashSet<usize> = revision.files.iter().map(|file| file.blob).collect();
        blobs.into_iter().map(|blob| self.blobs[blob].size).sum()
    }

    /// Bytes of what nothing links to.
    pub fn loose_size(&self) -> u64 {
        self.orphans.iter().chain(&self.incomplete).chain(&self.gathered).map(|loose| loose.size).sum()
    }

    /// `model/ns/name`, as `hf cache ls` calls it.
    pub fn called(&self) -> String {
        format!("{}/{}", self.kind.as_str(), self.id)
    }
}

impl Cache {
    /// Bytes as `scan_cache_dir().size_on_disk` has them: whole repositories, payloads that they share once, and
    /// payloads that nobody refers to any more.
    pub fn size(&self) -> u64 {
        let known: HashSet<&Path> = self.shared.iter().map(|payload| payload.path.as_path()).collect();
        let own = self.whole().flat_map(|repo| &repo.blobs);
        let own = own.filter(|blob| !blob.payload.as_ref().is_some_and(|payload| known.contains(payload.as_path())));
        own.map(|blob| blob.size).sum::<u64>() + self.shared.iter().map(|payload| payload.size).sum::<u64>()
    }

    /// Repositories with nothing wrong.
    pub fn whole(&self) -> impl Iterator<Item = &Repo> {
        self.repos.iter().filter(|repo| repo.broken.is_empty())
    }

    /// Bytes of what nothing links to, anywhere.
    pub fn loose_size(&self) -> u64 {
        let unreferenced = self.shared.iter().filter(|payload| payload.unreferenced).map(|payload| payload.size);
        self.repos.iter().map(Repo::loose_size).sum::<u64>() + unreferenced.sum::<u64>()
    }

    /// Bytes that it takes on its own disk: without what lies elsewhere, with what is broken or linked by nobody.
    pub fn takes(&self) -> u64 {
        let shared: u64 = self.shared.iter().map(|payload| payload.size).sum();
        let repos = self.repos.iter().filter(|repo| !repo.elsewhere);
        repos.map(|repo| repo.blobs.iter().map(|blob| blob.frees).sum::<u64>() + repo.loose_size()).sum::<u64>()
            + shared
    }

    /// A sentence for everything that their scan would warn about.
    pub fn warnings(&self) -> Vec<String> {
        let broken = self.repos.iter().filter_map(|repo| Some(format!("{}: {}", repo.folder, repo.broken.first()?)));
        broken
            .chain(self.foreign.iter().map(|foreign| format!("{}: {}", foreign.name.display(), foreign.why)))
            .collect()
    }
}

/// Names that systems leave lying about, and what belongs to the cache but is no repository.
fn is_ignored(name: &OsStr) -> bool {
    is_litter(name) || [LOCKS, "CACHEDIR.TAG"].iter().any(|known| name == *known)
}

fn is_litter(name: &OsStr) -> bool {
    [".DS_Store", "Thumbs.db", "desktop.ini"].iter().any(|known| name == *known)
}

/// The folder of the locks that writers hold.
pub const LOCKS: &str = ".locks";

/// Reads the cache; one that is not there is empty.
pub fn scan(hub: &Path) -> io::Result<Cache> {
    let mut folder = match Folder::open(hub) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Cache { hub: hub.to_owned(), ..Cache::default() });
        }
        Err(error) => return Err(error),
    };
    let mut names = folder.names()?;
    names.sort_by(|a, b| a.name.cmp(&b.name));
    let shared = shared::payloads(hub);
    let marked = shared::is_store(hub);
    names.retain(|name| !(is_ignored(&name.name) || marked && name.name == shared::FOLDER));

    let next = AtomicUsize::new(0);
    let folder = &folder;
    let work = || {
        let mut found = Vec::new();
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            found.push(look(hub, folder, &name.name, name.kind));
        }
        found
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 8).min(names.len().max(1));
    let found: Vec<Result<Repo, Foreign>> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut found = work();
        found.extend(others.into_iter().flat_map(|other| other.join().unwrap_or_default()));
        found
    });
    let mut cache = Cache { hub: hub.to_owned(), shared, ..Cache::default() };
    for one in found {
        match one {
            Ok(repo) => cache.repos.push(repo),
            Err(foreign) => cache.foreign.push(foreign),
        }
    }
    cache.repos.sort_by(|a, b| a.folder.cmp(&b.folder));
    cache.foreign.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cache)
}

/// Reads one repository anew; `None` when it is not there.
pub fn scan_repo(hub: &Path, folder: &str) -> io::Result<Option<Repo>> {
    let open = Folder::open(hub)?;
    let name = OsStr::new(folder);
    match open.stat(name) {
        Ok(stat) => Ok(look(hub, &open, name, stat.kind).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn look(hub: &Path, folder: &Folder, name: &OsStr, kind: Kind) -> Result<Repo, Foreign> {
    let foreign = |why: &str| Foreign { name: name.to_owned(), why: why.to_owned(), lost_link: false };
    let kind = if kind == Kind::Unknown { folder.stat(name).map_or(Kind::Other, |stat| stat.kind) } else { kind };
    let elsewhere = kind == Kind::Link;
    let named = name.to_str().and_then(|name| {
        let (plural, rest) = name.split_once("--")?;
        Some((RepoKind::of_plural(plural)?, rest.replace("--", "/"), name.to_owned()))
    });
    if elsewhere && !folder.stat_through(name).is_ok_and(|stat| stat.kind == Kind::Folder) {
        return Err(Foreign { lost_link: named.is_some(), ..foreign("it is a link that leads to no folder") });
    }
    if !elsewhere && kind != Kind::Folder {
        return Err(foreign("it is no folder"));
    }
    let (kind, id, name) = named.ok_or_else(|| foreign("it is no repository's folder"))?;
    let open = if elsewhere { Folder::open(&hub.join(&name)) } else { folder.open_in(name.as_ref()) };
    let mut repo = Repo {
        folder: name.clone(),
        kind,
        id,
        revisions: Vec::new(),
        blobs: Vec::new(),
        orphans: Vec::new(),
        incomplete: Vec::new(),
        gathered: Vec::new(),
        going: Vec::new(),
        broken: Vec::new(),
        elsewhere,
        modified: 0,
    };
    match open {
        Ok(open) => repo::read(&hub.join(&name), &open, &mut repo),
        Err(error) => repo.broken.push(Broken::Unreadable(name, error.to_string())),
    }
    Ok(repo)
}

#[cfg(test)]
mod tests;
