//! What the Hub calls content by, and how bytes are checked against it.

use std::fmt;
use std::str::FromStr;

use modelkeep_core::digest::Sha256;
use modelkeep_core::{Error, Result};
use serde::{Deserialize, Serialize};
use sha1::Digest as _;

/// Git's name for a blob: SHA-1 of `blob SIZE`, a NUL and the bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct GitSha1([u8; 20]);

impl GitSha1 {
    /// The name of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Self::hasher(bytes.len() as u64);
        hasher.update(bytes);
        Self(hasher.finalize().into())
    }

    fn hasher(size: u64) -> sha1::Sha1 {
        sha1::Sha1::new_with_prefix(format!("blob {size}\0"))
    }
}

impl fmt::Display for GitSha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for GitSha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<GitSha1> for String {
    fn from(id: GitSha1) -> Self {
        id.to_string()
    }
}

impl FromStr for GitSha1 {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = [0; 20];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) if !text.bytes().any(|byte| byte.is_ascii_uppercase()) => Ok(Self(bytes)),
            _ => Err(Error::integrity(format!("`{text}` is no git object: it is not 40 lower-case hex digits"))),
        }
    }
}

impl TryFrom<String> for GitSha1 {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// What content is called by: its `ETag`, and the name of its blob in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlobId {
    /// Large files, and on our own Hub all of them.
    Lfs(Sha256),
    /// Files that git itself holds.
    Git(GitSha1),
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lfs(sha256) => fmt::Display::fmt(sha256, f),
            Self::Git(sha1) => fmt::Display::fmt(sha1, f),
        }
    }
}

impl FromStr for BlobId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() == 40 {
            return text.parse().map(Self::Git);
        }
        let sha256 = text.parse().map_err(|error| Error::integrity("no name of a blob").because(error))?;
        Ok(Self::Lfs(sha256))
    }
}

/// The text that git holds in the place of an LFS file.
/// Source: <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>.
pub fn lfs_pointer(sha256: &Sha256, size: u64) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n")
}

/// Bytes on their way to be checked against a [`BlobId`].
#[derive(Debug, Clone)]
pub enum Check {
    /// For [`BlobId::Lfs`].
    Lfs(sha2::Sha256),
    /// For [`BlobId::Git`].
    Git(sha1::Sha1),
}

impl Check {
    /// Begins a check of content of this size.
    pub fn new(id: &BlobId, size: u64) -> Self {
        match id {
            BlobId::Lfs(_) => Self::Lfs(sha2::Sha256::new()),
            BlobId::Git(_) => Self::Git(GitSha1::hasher(size)),
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Lfs(hasher) => hasher.update(bytes),
            Self::Git(hasher) => hasher.update(bytes),
        }
    }

    /// What the bytes are called.
    pub fn finish(self) -> BlobId {
        match self {
            Self::Lfs(hasher) => BlobId::Lfs(Sha256::from_bytes(hasher.finalize().into())),
            Self::Git(hasher) => BlobId::Git(GitSha1(hasher.finalize().into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_called_as_git_calls_them() {
        // `git hash-object` of nothing, and of `hello\n`.
        assert_eq!(GitSha1::of(b"").to_string(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(GitSha1::of(b"hello\n").to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
        let id: BlobId = "ce013625030ba8dba906f756967f9e9ca394464a".parse().unwrap();
        let mut check = Check::new(&id, 6);
        check.update(b"hel");
        check.update(b"lo\n");
        assert_eq!(check.finish(), id);
        assert!("E69DE29BB2D1D6434B8B29AE775AD8C2E48C5391".parse::<GitSha1>().is_err());
        assert!("../x".parse::<BlobId>().is_err());
    }

    #[test]
    fn a_pointer_names_what_it_stands_for() {
        let pointer = lfs_pointer(&Sha256::of(b"abc"), 3);
        assert!(pointer.ends_with("ad\nsize 3\n"), "{pointer}");
    }
}
