//! The files of a repository, as they may be written here.

use modelkeep_core::path::{ContentPath, RemotePath, collisions};
use modelkeep_core::{Error, Result};
use modelkeep_hub::blob::BlobId;
use modelkeep_hub::cache::{CacheFile, RepoDir};
use modelkeep_hub::repo::RepoId;
use modelkeep_hub::wire::{EntryKind, TreeEntry};

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// As the Hub names it.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// What its content is called.
    pub blob: BlobId,
}

impl Listed {
    /// As it stands in the cache.
    pub fn cached(&self) -> Result<CacheFile> {
        let path: ContentPath = self.path.parse().map_err(|error| Error::usage("a file's name").because(error))?;
        Ok(CacheFile { path, size: self.size, blob: self.blob })
    }
}

/// The files of a tree. A name that leads out of the repository is no name that git can hold: nobody means well.
pub fn listed(tree: &[TreeEntry]) -> Result<Vec<Listed>> {
    let files = tree.iter().filter(|entry| entry.kind == EntryKind::File);
    files
        .map(|entry| {
            entry.path.parse::<RemotePath>().map_err(|error| {
                Error::integrity("the Hub's list of files is not to be trusted")
                    .because(error)
                    .hint("check HF_ENDPOINT")
            })?;
            Ok(Listed { path: entry.path.clone(), size: entry.content_size(), blob: entry.blob() })
        })
        .collect()
}

/// Names that some system cannot hold are good enough for the Hub, but not for a model that comes back everywhere.
pub fn check(repo: &RepoId, files: &[Listed]) -> Result<()> {
    let leave_out = |path: &str| format!("modelkeep fetch {repo} --exclude '{path}'");
    let mut paths = Vec::with_capacity(files.len());
    for file in files {
        let path = file.path.parse::<ContentPath>();
        paths.push(path.map_err(|error| Error::usage(format!("{repo}: {error}")).hint(leave_out(&file.path)))?);
    }
    match collisions(&paths).first() {
        None => Ok(()),
        Some((one, other)) => {
            Err(Error::usage(format!("{repo}: `{one}` and `{other}` are one name on many systems"))
                .hint(leave_out(other)))
        }
    }
}

/// Bytes that are still to come: what an earlier attempt left is not, and each content comes once.
pub fn needed(dir: &RepoDir, missing: &[&CacheFile]) -> u64 {
    let mut seen = std::collections::BTreeSet::new();
    let here = |file: &CacheFile| std::fs::metadata(dir.incomplete(&file.blob)).map_or(0, |found| found.len());
    missing.iter().filter(|file| seen.insert(file.blob)).map(|file| file.size.saturating_sub(here(file))).sum()
}
