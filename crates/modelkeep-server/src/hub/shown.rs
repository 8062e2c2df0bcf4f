//! A repository at a revision: one of ours, else one that is passed on.

use std::sync::Arc;

use modelkeep_core::Result;
use modelkeep_core::manifest::FileEntry;
use modelkeep_hub::wire::TreeEntry;
use modelkeep_ops::catalogue::reading::Reading;
use modelkeep_ops::catalogue::upstream::{Listed, Upstream};
use modelkeep_ops::catalogue::{Missing, Version};

use super::lists::CommitNote;
use crate::app::App;
use crate::problem::Problem;

/// A repository at a revision.
#[derive(Debug)]
pub enum Shown {
    /// A stored version.
    Ours(Box<Version>),
    /// A repository of the Hub that is passed on.
    Theirs(Arc<Upstream>, Listed),
}

impl Shown {
    /// Finds it. What is called as one of ours is ours.
    pub async fn find(app: &App, repo: &str, revision: &str) -> Result<Self, Problem> {
        match (app.catalogue.find(repo, revision).await, &app.upstream) {
            (Ok(version), _) => Ok(Self::Ours(Box::new(version))),
            (Err(Missing::Model(_)), Some(upstream)) => {
                let listed = upstream.find(repo, revision).await?;
                Ok(Self::Theirs(Arc::clone(upstream), listed))
            }
            (Err(missing), _) => Err(missing.into()),
        }
    }

    /// The commit, as forty hex digits.
    pub fn commit(&self) -> String {
        match self {
            Self::Ours(version) => version.commit().to_string(),
            Self::Theirs(_, listed) => listed.info.sha.to_string(),
        }
    }

    /// The file at a path.
    pub fn file(&self, path: &str) -> Option<TreeEntry> {
        match self {
            Self::Ours(version) => version.files.get(path).map(as_lfs),
            Self::Theirs(_, listed) => listed.entries.iter().find(|entry| entry.path == path).cloned(),
        }
    }

    /// Every file, by path.
    pub fn files(&self) -> Vec<TreeEntry> {
        match self {
            Self::Ours(version) => version.files.files().iter().map(as_lfs).collect(),
            Self::Theirs(_, listed) => listed.entries.to_vec(),
        }
    }

    /// Opens a file of it.
    pub async fn open(&self, app: &App, file: &TreeEntry) -> Result<Reading> {
        match self {
            Self::Ours(version) => match version.files.get(&file.path) {
                Some(entry) => Ok(app.catalogue.open_file(version, entry).await),
                None => Err(modelkeep_core::Error::not_found(format!("there is no `{}`", file.path))),
            },
            Self::Theirs(upstream, listed) => upstream.open_file(listed, file),
        }
    }

    /// What is said of the version itself.
    pub fn note(&self) -> Option<CommitNote> {
        match self {
            Self::Ours(version) => Some(CommitNote::of(version, &version.push)),
            Self::Theirs(..) => None,
        }
    }
}

/// Every file of ours is an LFS file: its SHA-256 is known, and no other digest of its content is needed.
fn as_lfs(file: &FileEntry) -> TreeEntry {
    TreeEntry::lfs(file.path.as_str(), file.sha256, file.size)
}
