//! Names of repositories and commits on the Hub, and what their folders in the cache are called.

use std::fmt;
use std::str::FromStr;

use modelkeep_core::digest::RevisionId;
use modelkeep_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepoKind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
    /// An app.
    Space,
    /// Compiled code that models load.
    Kernel,
}

impl RepoKind {
    /// The first part of its folder's name in the cache.
    fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
            Self::Space => "spaces",
            Self::Kernel => "kernels",
        }
    }

    /// In the singular, as the Hub's own programs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
            Self::Space => "space",
            Self::Kernel => "kernel",
        }
    }

    /// By the first part of a folder's name in the cache.
    pub fn of_plural(plural: &str) -> Option<Self> {
        [Self::Model, Self::Dataset, Self::Space, Self::Kernel].into_iter().find(|kind| kind.plural() == plural)
    }
}

/// A repository's name: `namespace/name`, or a name alone as a few old ones have it (`gpt2`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoId(String);

impl RepoId {
    /// As it is written on the Hub.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part behind the namespace.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// What its folder in the cache is called: `models--namespace--name`.
    pub fn folder(&self, kind: RepoKind) -> String {
        format!("{}--{}", kind.plural(), self.0.replace('/', "--"))
    }

    /// The repository that a folder of the cache is of. A name that holds `--` itself cannot be: the Hub forbids it.
    pub fn of_folder(folder: &str) -> Option<(RepoKind, Self)> {
        let (plural, rest) = folder.split_once("--")?;
        let kind = RepoKind::of_plural(plural)?;
        rest.replace("--", "/").parse().ok().map(|id| (kind, id))
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RepoId {
    type Err = Error;

    /// The Hub's own rule (`validate_repo_id`): letters, digits, `-`, `_`, `.`, at most 96, no `--` and no `..`, not
    /// beginning or ending in `-` or `.`, not ending in `.git`.
    fn from_str(text: &str) -> Result<Self> {
        let part = |part: &str| {
            let edge = |c: char| c == '-' || c == '.';
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
                && !part.starts_with(edge)
                && !part.ends_with(edge)
        };
        let mut parts = text.split('/');
        let good = parts.by_ref().take(2).all(part) && parts.next().is_none();
        if good
            && text.len() <= 96
            && !text.contains("--")
            && !text.contains("..")
            && text.strip_suffix(".git").is_none()
        {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::usage(format!("`{text}` is no repository of the Hub"))
            .hint("name it as the Hub does: modelkeep fetch NAMESPACE/NAME"))
    }
}

/// A commit of a repository: 40 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Commit(String);

impl Commit {
    /// As the Hub writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Commit> for String {
    fn from(commit: Commit) -> Self {
        commit.0
    }
}

impl TryFrom<String> for Commit {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<RevisionId> for Commit {
    /// A version of ours is a commit in the cache and on our Hub: its id has forty digits for that.
    fn from(revision: RevisionId) -> Self {
        Self(revision.to_string())
    }
}

impl FromStr for Commit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::integrity(format!("`{text}` is no commit: it is not 40 hex digits")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_names_are_one_to_one() {
        let id: RepoId = "meta-llama/Llama-2-7b-hf".parse().expect("a good name");
        assert_eq!(id.folder(RepoKind::Model), "models--meta-llama--Llama-2-7b-hf");
        assert_eq!(RepoId::of_folder("models--meta-llama--Llama-2-7b-hf"), Some((RepoKind::Model, id)));
        let old: RepoId = "gpt2".parse().expect("a good name");
        assert_eq!(RepoId::of_folder("datasets--gpt2"), Some((RepoKind::Dataset, old)));
        for folder in [".locks", "version.txt", "models--", "other--a--b", "models--a--b--c"] {
            assert_eq!(RepoId::of_folder(folder), None, "{folder}");
        }
    }

    #[test]
    fn what_the_hub_refuses_is_refused_here() {
        for name in ["", "a/b/c", "a--b", "a..b/c", "../x", "a/", "/a", "a/b.git", "a b", ".a", "a-", "a/-b"] {
            assert!(name.parse::<RepoId>().is_err(), "{name}");
        }
        for name in ["gpt2", "a/b", "meta-llama/Llama-2-7b-hf", "a_b/c.d"] {
            assert!(name.parse::<RepoId>().is_ok(), "{name}");
        }
    }
}
