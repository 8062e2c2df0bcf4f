//! What the Hub says, as types: read by the client, said in the same words by `serve`.
//!
//! Knows the shape of the Hub's JSON and the names of its headers. Does not know connections. Source:
//! <https://huggingface.co/docs/hub/api>, and what `huggingface_hub` 2.4 needs of it (`hf_api.py`, `utils/_http.py`).

use std::fmt;
use std::str::FromStr;

use modelkeep_core::digest::Sha256;
use serde::{Deserialize, Serialize};

use crate::blob::{BlobId, GitSha1, lfs_pointer};
use crate::repo::Commit;

/// Names of the headers that carry more than HTTP does; lower case, as HTTP/2 has them.
pub mod header {
    /// The commit an answer is of. Clients need it on every file; without it on a 404 they do not note the gap.
    pub const REPO_COMMIT: &str = "x-repo-commit";
    /// Which sort of "no" it is: an [`ErrorCode`](super::ErrorCode). The status alone is not enough for any client.
    pub const ERROR_CODE: &str = "x-error-code";
    /// The "no" for people.
    pub const ERROR_MESSAGE: &str = "x-error-message";
    /// The `ETag` of an LFS file; wins over `ETag`, which may be the storage's own.
    pub const LINKED_ETAG: &str = "x-linked-etag";
    /// The size of an LFS file; wins over `Content-Length`.
    pub const LINKED_SIZE: &str = "x-linked-size";
    /// Ours, on every answer of `modelkeep serve`: what it hands on may come from the very cache that is asked about.
    pub const SERVED: &str = "x-modelkeep-served";
}

/// Which sort of "no" it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// No such repository, or one that the token may not see. Status 404 (401 without a token).
    RepoNotFound,
    /// No such branch, tag or commit. Status 404.
    RevisionNotFound,
    /// No such file or folder in it. Status 404.
    EntryNotFound,
    /// Its conditions have to be accepted first. Status 403 (401 without a token).
    GatedRepo,
}

impl ErrorCode {
    /// As the header has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RepoNotFound => "RepoNotFound",
            Self::RevisionNotFound => "RevisionNotFound",
            Self::EntryNotFound => "EntryNotFound",
            Self::GatedRepo => "GatedRepo",
        }
    }

    /// The status it comes with.
    pub fn status(self) -> u16 {
        if self == Self::GatedRepo { 403 } else { 404 }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ErrorCode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::RepoNotFound, Self::RevisionNotFound, Self::EntryNotFound, Self::GatedRepo];
        all.into_iter().find(|code| code.as_str() == text).ok_or(())
    }
}

/// The body of a "no".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// For people.
    pub error: String,
}

/// `GET /api/models/REPO[/revision/REV]`: a repository at a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    /// `namespace/name`.
    pub id: String,
    /// The commit that the revision is now.
    pub sha: Commit,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// Seen by its owner alone.
    #[serde(default)]
    pub private: bool,
    /// Whether conditions have to be accepted.
    #[serde(default)]
    pub gated: Gated,
    /// `license:apache-2.0`, `base_model:x/y`, `transformers` and the like.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What its README says in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card_data: Option<CardData>,
    /// Its files; with `?blobs=true` all that is known of each.
    #[serde(default)]
    pub siblings: Vec<Sibling>,
}

impl ModelInfo {
    /// The licence, from the card, else from the tags.
    pub fn licence(&self) -> Option<&str> {
        let card = self.card_data.as_ref().and_then(|card| card.license.as_ref());
        card.and_then(OneOrMany::first).or_else(|| self.tags.iter().find_map(|tag| tag.strip_prefix("license:")))
    }
}

/// Whether conditions have to be accepted before files can be had: `false`, `"auto"` or `"manual"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Gated {
    /// `true` is not said by the Hub today.
    Plain(bool),
    /// Who lets people in.
    By(String),
}

impl Default for Gated {
    fn default() -> Self {
        Self::Plain(false)
    }
}

/// The front of a README, as far as it concerns us.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardData {
    /// An identifier such as `apache-2.0` or `llama2`, or several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<OneOrMany>,
    /// What it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model: Option<OneOrMany>,
}

/// A word or a list of them, as people write YAML.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
    /// Something that people wrote and nobody reads.
    Other(serde_json::Value),
}

impl OneOrMany {
    /// The only or the first one.
    pub fn first(&self) -> Option<&str> {
        match self {
            Self::One(word) => Some(word),
            Self::Many(words) => words.first().map(String::as_str),
            Self::Other(_) => None,
        }
    }
}

/// A file in [`ModelInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sibling {
    /// Its path.
    pub rfilename: String,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Git's name for what git holds: the file, or the pointer to an LFS file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob_id: Option<GitSha1>,
    /// Set for LFS files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lfs: Option<SiblingLfs>,
}

/// An LFS file, as [`Sibling`] names its parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SiblingLfs {
    /// Of its content.
    pub sha256: Sha256,
    /// Bytes of its content.
    pub size: u64,
    /// Bytes of the pointer that git holds.
    pub pointer_size: u64,
}

/// `GET /api/models/REPO/tree/REV[/DIR]` and `POST …/paths-info/REV` answer with a list of these; long lists come in
/// pages (`Link: <…>; rel="next"`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeEntry {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EntryKind,
    /// From the repository's root.
    pub path: String,
    /// Bytes of the content; 0 for folders.
    #[serde(default)]
    pub size: u64,
    /// Git's name for what git holds.
    pub oid: GitSha1,
    /// Set for LFS files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lfs: Option<Lfs>,
}

impl TreeEntry {
    /// A file as an LFS file: with its SHA-256 and size, no other digest of its content is needed.
    pub fn lfs(path: &str, sha256: Sha256, size: u64) -> Self {
        let pointer = lfs_pointer(&sha256, size);
        Self {
            kind: EntryKind::File,
            path: path.to_owned(),
            size,
            oid: GitSha1::of(pointer.as_bytes()),
            lfs: Some(Lfs { oid: sha256, size, pointer_size: pointer.len() as u64 }),
        }
    }

    /// What its content is called and checked by: the `ETag`, and the name of its blob in the cache.
    pub fn blob(&self) -> BlobId {
        self.lfs.as_ref().map_or(BlobId::Git(self.oid), |lfs| BlobId::Lfs(lfs.oid))
    }

    /// Bytes of the content.
    pub fn content_size(&self) -> u64 {
        self.lfs.as_ref().map_or(self.size, |lfs| lfs.size)
    }
}

/// What stands in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A file.
    File,
    /// A folder.
    Directory,
    /// A submodule or whatever else git may hold.
    #[serde(other)]
    Other,
}

/// An LFS file in a [`TreeEntry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lfs {
    /// SHA-256 of its content.
    pub oid: Sha256,
    /// Bytes of its content.
    pub size: u64,
    /// Bytes of the pointer that git holds.
    pub pointer_size: u64,
}

/// `GET /api/models/REPO/refs`. Clients need all three lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refs {
    /// Branches; `main` is always there.
    pub branches: Vec<GitRef>,
    /// Made by the Hub itself.
    pub converts: Vec<GitRef>,
    /// Tags.
    pub tags: Vec<GitRef>,
    /// Only when asked for (`include_prs=1`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_requests: Option<Vec<GitRef>>,
}

/// A name for a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitRef {
    /// `main`.
    pub name: String,
    /// `refs/heads/main`.
    #[serde(rename = "ref")]
    pub full: String,
    /// Where it points.
    pub target_commit: Commit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hub_sends_is_understood_and_said_in_the_same_words() {
        let sha = "a".repeat(40);
        let text = format!(
            r#"{{"id":"a/b","sha":"{sha}","private":false,"gated":"manual","tags":["license:mit"],
                "cardData":{{"license":"llama2","base_model":["x/y"]}},"downloads":7,
                "siblings":[{{"rfilename":"w","size":3,"blobId":"{sha}",
                    "lfs":{{"sha256":"{}","size":3,"pointerSize":120}}}},{{"rfilename":"t"}}]}}"#,
            "b".repeat(64)
        );
        let info: ModelInfo = serde_json::from_str(&text).unwrap();
        assert_eq!(info.licence(), Some("llama2"));
        assert_eq!(info.gated, Gated::By("manual".into()));
        let said = serde_json::to_value(&info).unwrap();
        assert_eq!(said["siblings"][0]["lfs"]["pointerSize"], 120);
        assert_eq!(said["siblings"][0]["blobId"], *sha);
        let entry = format!(
            r#"[{{"type":"directory","path":"d","oid":"{sha}","size":0}},{{"type":"submodule","path":"s","oid":"{sha}"}},
                {{"type":"file","path":"d/w","oid":"{sha}","size":3,"xetHash":"x",
                  "lfs":{{"oid":"{}","size":3,"pointerSize":120}}}}]"#,
            "b".repeat(64)
        );
        let tree: Vec<TreeEntry> = serde_json::from_str(&entry).unwrap();
        assert_eq!(tree[1].kind, EntryKind::Other);
        assert_eq!(tree[2].blob().to_string(), "b".repeat(64));
        assert_eq!(tree[0].blob().to_string(), sha);
    }

    #[test]
    fn codes_are_the_hubs() {
        for code in [ErrorCode::RepoNotFound, ErrorCode::EntryNotFound, ErrorCode::GatedRepo] {
            assert_eq!(code.as_str().parse(), Ok(code));
        }
        assert!("NoCode".parse::<ErrorCode>().is_err());
        assert_eq!((ErrorCode::GatedRepo.status(), ErrorCode::EntryNotFound.status()), (403, 404));
    }
}
