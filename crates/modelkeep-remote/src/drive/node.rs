//! An object of a tree, as it was last seen.
//!
//! Knows which of Drive's files can be called by a path, and when text that rides along is the file's content.

use bytes::Bytes;
use jiff::Timestamp;
use modelkeep_core::digest::Sha256;
use modelkeep_core::path::RemotePath;
use serde::{Deserialize, Serialize};

use super::wire::File;

/// An object of ours, as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    pub id: String,
    pub name: String,
    pub parent: String,
    pub body: Body,
    pub modified: Timestamp,
    pub version: u64,
    /// Its bytes, when they came along. Only those that were read are kept for the next process.
    #[serde(skip)]
    pub content: Option<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Body {
    Folder,
    File { size: u64, sha256: Option<Sha256> },
    Shortcut { target: Option<String> },
    Other,
}

impl Node {
    /// An object as Drive tells it; `None` for what has no place or no name that a path can have.
    pub fn of(file: &File) -> Option<Self> {
        let parent = file.parents.first()?.clone();
        let sha256 = file.sha256_checksum;
        let body = if file.is_folder() {
            Body::Folder
        } else if file.is_shortcut() {
            Body::Shortcut { target: file.shortcut_details.as_ref().and_then(|details| details.target_id.clone()) }
        } else if file.is_blob() {
            Body::File { size: file.size, sha256 }
        } else {
            Body::Other
        };
        let callable = !file.name.contains('/') && !file.name.is_empty() && file.name.parse::<RemotePath>().is_ok();
        let content = file.description.as_ref().map(|text| Bytes::from(text.clone()));
        // What is said of a file must be what is in it: somebody may have edited one and not the other.
        let content = content.filter(|content| {
            content.len() as u64 == file.size && sha256.is_none_or(|sha256| sha256 == Sha256::of(content))
        });
        callable.then(|| Self {
            id: file.id.clone(),
            name: file.name.clone(),
            parent,
            body,
            modified: file.changed(),
            version: file.version,
            content,
        })
    }

    pub fn is_folder(&self) -> bool {
        self.body == Body::Folder
    }

    pub fn is_file(&self) -> bool {
        matches!(self.body, Body::File { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_path_can_have_are_left_out() {
        let of = |name: &str| {
            let json = serde_json::json!({ "id": "f", "name": name, "mimeType": "text/plain", "parents": ["root"] });
            Node::of(&serde_json::from_value(json).unwrap())
        };
        for name in ["a/b.x", "..", ".", "", "a\0"] {
            assert!(of(name).is_none(), "{name}");
        }
        assert!(of("a b").unwrap().is_file());
    }

    #[test]
    fn what_a_file_says_of_itself_must_be_true() {
        let of = |text: &str| {
            let json = serde_json::json!({
                "id": "f", "name": "f", "mimeType": "text/plain", "parents": ["root"], "size": "2",
                "sha256Checksum": Sha256::of(b"{}").to_string(), "description": text,
            });
            Node::of(&serde_json::from_value(json).unwrap()).unwrap().content
        };
        assert_eq!(of("{}").as_deref(), Some(&b"{}"[..]));
        assert_eq!((of("[]"), of("{ }"), of("")), (None, None, None));
    }
}
