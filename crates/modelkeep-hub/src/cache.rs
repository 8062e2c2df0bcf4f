//! Writing into Hugging Face's cache, so that its own programs find, check and delete what we wrote as theirs.
//!
//! Knows the layout of `huggingface_hub` 2.4 (`file_download.py`, `_tree_cache.py`): blobs by `ETag`, snapshots of relative
//! links, refs without a newline, `.no_exist`, `trees/`, `.locks/`. Nothing has its name before it is whole, and the ref
//! comes last. Does not know where bytes come from.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use modelkeep_core::error::failed;
use modelkeep_core::path::ContentPath;
use modelkeep_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::blob::{BlobId, GitSha1};
use crate::evict;
use crate::in_use::BRINGING;
use crate::repo::{Commit, RepoId, RepoKind};
use crate::wire::{EntryKind, Lfs, TreeEntry};

/// What loaders of `transformers` and `peft` ask for in any repository. Offline, a file that a version lacks has to be
/// known as missing, or they take it for one that could not be fetched.
pub const PROBED: [&str; 14] = [
    "adapter_config.json",
    "added_tokens.json",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.txt",
];

/// A repository's folder in the cache.
#[derive(Debug, Clone)]
pub struct RepoDir {
    /// `models--namespace--name`.
    root: PathBuf,
    /// `.locks/models--namespace--name`.
    locks: PathBuf,
    /// Whether snapshots are made of links into `blobs/`.
    links: bool,
}

/// A file of a version, as the cache knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFile {
    /// Its path in the repository.
    pub path: ContentPath,
    /// Bytes.
    pub size: u64,
    /// What its content is called.
    pub blob: BlobId,
}

/// A lock in `.locks/`; ends when it is dropped.
#[derive(Debug)]
pub struct Held(Option<File>);

impl Held {
    /// Whether it keeps others out: not on a file system that knows no locks.
    pub fn is_locked(&self) -> bool {
        self.0.is_some()
    }
}

/// Begins the name of a folder in which a pull gathers content, in the repository's.
pub(crate) const GATHERING: &str = ".modelkeep-pull-";

/// A part of a name that nobody else uses: neither another process nor somebody else in this one.
fn nobody_elses() -> String {
    static NTH: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NTH.fetch_add(1, Ordering::Relaxed))
}

/// So often is a lock asked for that somebody else has.
const AGAIN: Duration = Duration::from_millis(100);

/// `trees/<commit>.json`, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TreeFile {
    format_version: u32,
    files: BTreeMap<String, TreeFileEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TreeFileEntry {
    size: u64,
    blob_id: GitSha1,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lfs_sha256: Option<modelkeep_core::digest::Sha256>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lfs_size: Option<u64>,
}

const TREE_FORMAT: u32 = 1;

impl RepoDir {
    /// The place of a model in the cache at `hub`, which need not be there yet. `links`: false where the person has said
    /// so (`HF_HUB_DISABLE_SYMLINKS`).
    pub fn of_model(hub: &Path, repo: &RepoId, links: bool) -> Self {
        let folder = repo.folder(RepoKind::Model);
        Self { root: hub.join(&folder), locks: hub.join(".locks").join(&folder), links }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a version's files are.
    pub fn snapshot(&self, commit: &Commit) -> PathBuf {
        self.root.join("snapshots").join(commit.as_str())
    }

    /// Where content is, once it is whole.
    pub fn blob(&self, blob: &BlobId) -> PathBuf {
        self.root.join("blobs").join(blob.to_string())
    }

    /// Where content is while it comes; older clients of Hugging Face go on from what is there, as we do.
    pub fn incomplete(&self, blob: &BlobId) -> PathBuf {
        self.root.join("blobs").join(format!("{blob}.incomplete"))
    }

    /// The same for one writer alone; who is stopped leaves it behind as an unfinished download.
    pub(crate) fn own_incomplete(&self, blob: &BlobId) -> PathBuf {
        self.root.join("blobs").join(format!("{blob}.{}.incomplete", nobody_elses()))
    }

    /// Where a pull gathers content of a version before it gets its name here; who is stopped leaves it behind.
    pub fn gathering(&self, version: &str) -> PathBuf {
        self.root.join(format!("{GATHERING}{version}"))
    }

    /// The commit that a revision was when it was last asked for; a commit is itself.
    pub fn commit_of(&self, revision: &str) -> Option<Commit> {
        if let Ok(commit) = revision.parse() {
            return Some(commit);
        }
        let file = self.root.join("refs").join(below(revision)?);
        fs::read_to_string(file).ok()?.trim().parse().ok()
    }

    /// All files of a version, as they were listed when it was fetched.
    pub fn tree(&self, commit: &Commit) -> Option<Vec<TreeEntry>> {
        let text = fs::read(self.tree_file(commit)).ok()?;
        let file: TreeFile = serde_json::from_slice(&text).ok()?;
        if file.format_version != TREE_FORMAT {
            return None;
        }
        let entries = file.files.into_iter().map(|(path, entry)| {
            let size = entry.lfs_size.unwrap_or(entry.size);
            let lfs = entry.lfs_sha256.map(|oid| Lfs { oid, size, pointer_size: 0 });
            TreeEntry { kind: EntryKind::File, path, size: entry.size, oid: entry.blob_id, lfs }
        });
        Some(entries.collect())
    }

    /// Whether a version has this file, with its right size.
    pub fn has(&self, commit: &Commit, file: &CacheFile) -> bool {
        let place = self.snapshot(commit).join(file.path.as_str());
        fs::metadata(place).is_ok_and(|metadata| metadata.is_file() && metadata.len() == file.size)
    }

    /// Whether this content is there, with its right size.
    pub fn has_blob(&self, file: &CacheFile) -> bool {
        fs::metadata(self.blob(&file.blob)).is_ok_and(|found| found.is_file() && found.len() == file.size)
    }

    /// Waits for the lock that every program takes before it writes this content.
    pub async fn lock(&self, blob: &BlobId, waiting: impl FnMut() -> Result<()>) -> Result<Held> {
        self.hold_lock(&blob.to_string(), File::try_lock, waiting).await
    }

    /// Says that a version is being brought, to whoever would evict the repository meanwhile: between two files nobody
    /// holds the lock of a blob. Any number may say so at once; waits while somebody is evicting.
    pub async fn hold(&self, waiting: impl FnMut() -> Result<()>) -> Result<Held> {
        self.hold_lock(BRINGING, File::try_lock_shared, waiting).await
    }

    async fn hold_lock(
        &self,
        name: &str,
        take: fn(&File) -> Result<(), TryLockError>,
        mut waiting: impl FnMut() -> Result<()>,
    ) -> Result<Held> {
        make(&self.locks)?;
        let path = self.locks.join(format!("{name}.lock"));
        let file = File::options().read(true).create(true).append(true).open(&path);
        let file = file.map_err(|error| failed("opening", &path, error))?;
        loop {
            match take(&file) {
                Ok(()) => return Ok(Held(Some(file))),
                Err(TryLockError::WouldBlock) => {
                    waiting()?;
                    tokio::time::sleep(AGAIN).await;
                }
                // A file system that knows no locks; theirs go without as well.
                Err(TryLockError::Error(_)) => return Ok(Held(None)),
            }
        }
    }

    /// Makes the folder that content comes into. Without `snapshots/` theirs take it for damaged.
    pub fn prepare(&self) -> Result<()> {
        make(&self.root.join("snapshots"))?;
        make(&self.root.join("blobs"))?;
        // Theirs; marks the folder for backup programs.
        let tag = self.root.with_file_name("CACHEDIR.TAG");
        if !tag.exists() {
            // <https://bford.info/cachedir/>
            let text =
                "Signature: 8a477f597d28d172789f06886806bc55\n# Hugging Face's cache: all of it can be had again.\n";
            let _ = fs::write(tag, text);
        }
        Ok(())
    }

    /// Shows content under its path in a version. Several may show the same at once.
    pub fn show(&self, commit: &Commit, file: &CacheFile) -> Result<()> {
        if self.has(commit, file) {
            return Ok(());
        }
        if !self.has_blob(file) {
            let what = format!("{}: its content is not in the cache any more", file.path);
            return Err(Error::local(what).hint("run it again: something took it away meanwhile"));
        }
        let snapshot = self.snapshot(commit);
        let place = snapshot.join(file.path.as_str());
        make(place.parent().unwrap_or(&snapshot))?;
        let blob = self.blob(&file.blob);
        // From `snapshots/<commit>/a/b` it is three up, and one more for each folder.
        let up = "../".repeat(2 + file.path.ancestors().count());
        let link = PathBuf::from(format!("{up}blobs/{}", file.blob));
        // Where there are no links the file itself stands in the snapshot, as theirs do on such systems. It is one file
        // where the file system can, so that another path with the same content finds it again, until `settle`.
        let stand = |at: &Path| match self.links.then(|| symlink(&link, at)) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            _ => fs::hard_link(&blob, at),
        };
        if stand(&place).is_ok() || self.has(commit, file) {
            return Ok(());
        }
        // Something else has the name, or content has to be copied: then it takes the name when it is whole. Until then it
        // counts as an unfinished download, which is cleared when we are stopped here.
        let new = self.own_incomplete(&file.blob);
        let _ = fs::remove_file(&new);
        let shown = stand(&new).or_else(|_| copy_new(&blob, &new)).and_then(|()| fs::rename(&new, &place));
        match shown {
            Err(error) if !self.has(commit, file) => Err(failed("writing", &place, error)),
            _ => Ok(()),
        }
    }

    /// Ends the showing of a version. Where there are no links its files are the content itself, as theirs are there: what
    /// stands in `blobs/` beside them would take its room twice, or be counted for nothing. What a version of former days
    /// links to stays.
    pub fn settle(&self, commit: &Commit, files: &[CacheFile]) -> Result<()> {
        let itself = |file: &&CacheFile| {
            let place = self.snapshot(commit).join(file.path.as_str());
            fs::symlink_metadata(place).is_ok_and(|metadata| metadata.is_file())
        };
        let twice: Vec<String> = files.iter().filter(itself).map(|file| file.blob.to_string()).collect();
        let folder = self.root.file_name().and_then(|name| name.to_str());
        let (Some(hub), Some(folder), false) = (self.root.parent(), folder, twice.is_empty()) else { return Ok(()) };
        let dropped = evict::drop_loose(hub, folder, &twice);
        dropped.map(drop).map_err(|error| failed("removing from", &self.root, error))
    }

    /// Notes which files this version is known to lack, so that loaders do not ask for them offline.
    pub fn note_missing<'a>(&self, commit: &Commit, missing: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let folder = self.root.join(".no_exist").join(commit.as_str());
        for name in missing {
            let Some(name) = below(name) else { continue };
            let file = folder.join(name);
            make(file.parent().unwrap_or(&folder))?;
            File::options().create(true).append(true).open(&file).map_err(|error| failed("writing", &file, error))?;
        }
        Ok(())
    }

    /// Keeps the whole list of a version's files: with it, offline, a folder that lacks some is told from a whole one.
    pub fn keep_tree(&self, commit: &Commit, entries: &[TreeEntry]) -> Result<()> {
        let files = entries.iter().filter(|entry| entry.kind == EntryKind::File).map(|entry| {
            let file = TreeFileEntry {
                size: entry.size,
                blob_id: entry.oid,
                lfs_sha256: entry.lfs.as_ref().map(|lfs| lfs.oid),
                lfs_size: entry.lfs.as_ref().map(|lfs| lfs.size),
            };
            (entry.path.clone(), file)
        });
        let tree = TreeFile { format_version: TREE_FORMAT, files: files.collect() };
        let text = serde_json::to_vec_pretty(&tree).map_err(|error| Error::internal("a tree").because(error))?;
        self.write(&self.tree_file(commit), &text)
    }

    /// Names a version; the last thing that is written of it. Everything before is durable then.
    pub fn name(&self, revision: &str, commit: &Commit) -> Result<()> {
        if revision == commit.as_str() {
            return Ok(());
        }
        let place = below(revision).ok_or_else(|| Error::usage(format!("`{revision}` is no name of a revision")))?;
        let file = self.root.join("refs").join(place);
        if fs::read_to_string(&file).is_ok_and(|text| text == commit.as_str()) {
            return Ok(());
        }
        self.write(&file, commit.as_str().as_bytes())
    }

    /// Every name of a version, with the commit it names.
    pub fn names(&self) -> Result<Vec<(String, Commit)>> {
        let root = self.root.join("refs");
        let (mut names, mut open) = (Vec::new(), vec![root.clone()]);
        while let Some(folder) = open.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(|error| failed("listing", &folder, error))?,
            };
            for entry in entries {
                let path = entry.map_err(|error| failed("listing", &folder, error))?.path();
                if path.is_dir() {
                    open.push(path);
                    continue;
                }
                let name = path.strip_prefix(&root).ok().and_then(Path::to_str).map(|name| name.replace('\\', "/"));
                if let Some((name, commit)) = name.and_then(|name| Some((name.clone(), self.commit_of(&name)?))) {
                    names.push((name, commit));
                }
            }
        }
        Ok(names)
    }

    /// Takes a name away; what it named stays.
    pub fn forget_name(&self, revision: &str) -> Result<()> {
        let Some(place) = below(revision) else { return Ok(()) };
        let file = self.root.join("refs").join(place);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("removing", &file, error)),
            _ => Ok(()),
        }
    }

    /// Returns when what was written would survive a power cut.
    pub fn flush(&self) -> Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Ok(open) = File::open(&self.root) {
            rustix::fs::syncfs(open).map_err(|error| failed("flushing", &self.root, error.into()))?;
        }
        Ok(())
    }

    fn tree_file(&self, commit: &Commit) -> PathBuf {
        self.root.join("trees").join(format!("{commit}.json"))
    }

    /// Writes a small file in one step. What is half done lies beside the folders that are scanned: a stranger in
    /// `refs/` would make the whole repository unreadable for others.
    fn write(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        make(file.parent().unwrap_or(&self.root))?;
        let part = self.root.join(format!(".modelkeep-{}", nobody_elses()));
        // Of a process that had our number, and was stopped here.
        let _ = fs::remove_file(&part);
        let new = File::options().write(true).create_new(true).open(&part);
        let written = new.and_then(|mut open| open.write_all(bytes)).and_then(|()| fs::rename(&part, file));
        written.map_err(|error| failed("writing", file, error))
    }
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| failed("creating", folder, error))
}

/// Never into what stands there already: it may be a link to the content itself.
fn copy_new(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    io::copy(&mut from, &mut File::options().write(true).create_new(true).open(to)?).map(drop)
}

/// A name with `/` in it as a path that stays below where it is put.
fn below(name: &str) -> Option<&Path> {
    let path = Path::new(name);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    (inside && !name.is_empty() && !name.contains(['\\', '\0'])).then_some(path)
}

#[cfg(unix)]
fn symlink(to: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

#[cfg(not(unix))]
fn symlink(to: &Path, at: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(to, at)
}

#[cfg(test)]
mod tests {
    use modelkeep_core::digest::Sha256;

    use super::*;

    fn repo(hub: &Path, links: bool) -> (RepoDir, Commit, CacheFile) {
        let dir = RepoDir::of_model(hub, &"a/b".parse().unwrap(), links);
        dir.prepare().unwrap();
        let blob = BlobId::Lfs(Sha256::of(b"abc"));
        fs::write(dir.blob(&blob), b"abc").unwrap();
        let file = CacheFile { path: "x/y/w.bin".parse().unwrap(), size: 3, blob };
        (dir, "a".repeat(40).parse().unwrap(), file)
    }

    #[test]
    fn a_version_is_links_into_the_blobs_and_a_name_that_comes_last() {
        let hub = tempfile::tempdir().unwrap();
        let (dir, commit, file) = repo(hub.path(), true);
        assert!(!dir.has(&commit, &file));
        dir.show(&commit, &file).unwrap();
        dir.show(&commit, &file).unwrap();
        dir.settle(&commit, std::slice::from_ref(&file)).unwrap();
        assert!(dir.has(&commit, &file) && dir.has_blob(&file));
        let link = fs::read_link(dir.snapshot(&commit).join("x/y/w.bin")).unwrap();
        assert_eq!(link, Path::new(&format!("../../../../blobs/{}", file.blob)));
        dir.name("team/prod", &commit).unwrap();
        assert_eq!(fs::read(dir.root().join("refs/team/prod")).unwrap(), commit.as_str().as_bytes());
        assert_eq!(dir.commit_of("team/prod"), Some(commit.clone()));
        assert_eq!(dir.commit_of("../../refs/x"), None);
        assert!(dir.name("../x", &commit).is_err());
        dir.note_missing(&commit, ["config.json", "../../escaped"]).unwrap();
        assert!(dir.root().join(format!(".no_exist/{commit}/config.json")).exists());
        assert!(!dir.root().join("escaped").exists());
    }

    #[test]
    fn many_may_show_one_file_at_once() {
        let hub = tempfile::tempdir().unwrap();
        let (dir, commit, file) = repo(hub.path(), true);
        for round in 0..50 {
            let place = dir.snapshot(&commit).join("x/y/w.bin");
            if round % 2 == 0 {
                // Something that is not it stands there.
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                let _ = fs::remove_file(&place);
                fs::write(&place, b"what").unwrap();
            } else {
                fs::remove_file(&place).unwrap();
            }
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| dir.show(&commit, &file).unwrap());
                }
            });
            assert_eq!(
                (fs::read(&place).unwrap(), fs::read(dir.blob(&file.blob)).unwrap()),
                (b"abc".into(), b"abc".into())
            );
        }
    }

    #[test]
    fn many_may_write_small_files_at_once() {
        let hub = tempfile::tempdir().unwrap();
        let (dir, _, file) = repo(hub.path(), true);
        let commits: Vec<Commit> = (0..4).map(|nth| nth.to_string().repeat(40).parse().unwrap()).collect();
        std::thread::scope(|scope| {
            for commit in &commits {
                let dir = &dir;
                scope.spawn(move || {
                    for round in 0..200 {
                        dir.name(&format!("{commit}-{round}"), commit).unwrap();
                        assert_eq!(dir.commit_of(&format!("{commit}-{round}")).as_ref(), Some(commit));
                    }
                });
            }
        });
        // What is not there is not shown either: a link to nowhere would be a damaged version.
        fs::remove_file(dir.blob(&file.blob)).unwrap();
        assert!(dir.show(&commits[0], &file).is_err());
        assert!(!dir.snapshot(&commits[0]).exists());
    }

    #[test]
    fn where_there_are_no_links_files_stand_in_their_place() {
        let hub = tempfile::tempdir().unwrap();
        let (dir, commit, file) = repo(hub.path(), false);
        dir.show(&commit, &file).unwrap();
        let place = dir.snapshot(&commit).join("x/y/w.bin");
        assert!(fs::symlink_metadata(&place).unwrap().is_file() && dir.has(&commit, &file));
        let again = CacheFile { path: "again".parse().unwrap(), ..file.clone() };
        dir.show(&commit, &again).unwrap();
        // A version that was fetched when there were links.
        let (linked, former) =
            (RepoDir::of_model(hub.path(), &"a/b".parse().unwrap(), true), "b".repeat(40).parse().unwrap());
        linked.show(&former, &file).unwrap();
        dir.settle(&commit, &[file.clone(), again.clone()]).unwrap();
        assert!(linked.has(&former, &file));
        fs::remove_dir_all(linked.snapshot(&former)).unwrap();
        dir.settle(&commit, &[file.clone(), again.clone()]).unwrap();
        assert!(dir.has(&commit, &file) && dir.has(&commit, &again) && !dir.has_blob(&file));
        dir.show(&commit, &file).unwrap();
    }

    #[test]
    fn the_list_of_a_version_is_read_back_as_it_was() {
        let hub = tempfile::tempdir().unwrap();
        let (dir, commit, _) = repo(hub.path(), true);
        let oid = GitSha1::of(b"x");
        let lfs = Lfs { oid: Sha256::of(b"abc"), size: 3, pointer_size: 0 };
        let entries = vec![
            TreeEntry { kind: EntryKind::File, path: "a".into(), size: 1, oid, lfs: None },
            TreeEntry { kind: EntryKind::File, path: "w".into(), size: 3, oid, lfs: Some(lfs) },
        ];
        dir.keep_tree(&commit, &entries).unwrap();
        assert_eq!(dir.tree(&commit), Some(entries));
        assert_eq!(dir.tree(&"b".repeat(40).parse().unwrap()), None);
    }
}
