//! What a push holds: the manifest of a revision, what was learnt from its files, and the marker in its folder.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::{Timestamp, civil::Date};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::{RevisionId, Sha256, Txn};
use crate::error::{Error, Result};
use crate::filed::Filed;
use crate::inspect::{adapter::Adapter, tensors::Summary};
use crate::name::ModelId;
use crate::path::{ContentPath, collisions};

/// One file of a revision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct FileEntry {
    /// Where it stands inside the revision.
    pub path: ContentPath,
    /// Bytes.
    #[serde(rename = "size_bytes")]
    pub size: u64,
    /// Of its content.
    pub sha256: Sha256,
}

/// The files of one revision, sorted by path, each path once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<FileEntry>", into = "Vec<FileEntry>")]
pub struct Manifest(Vec<FileEntry>);

impl Manifest {
    /// Checks and sorts the entries.
    ///
    /// Fails when there is none, or when two of them would be one file on a store that folds case or Unicode form.
    pub fn new(mut files: Vec<FileEntry>) -> Result<Self> {
        if files.is_empty() {
            return Err(Error::usage("there are no files to store"));
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some((one, other)) = collisions(files.iter().map(|file| &file.path)).first() {
            return Err(Error::usage(format!("`{one}` and `{other}` are one name on many systems"))
                .hint("rename one of them, or leave it out with --exclude"));
        }
        Ok(Self(files))
    }

    /// The files, sorted by path.
    pub fn files(&self) -> &[FileEntry] {
        &self.0
    }

    /// All bytes.
    pub fn size(&self) -> u64 {
        self.0.iter().map(|file| file.size).sum()
    }

    /// The entry at `path`.
    pub fn get(&self, path: &str) -> Option<&FileEntry> {
        self.0.binary_search_by(|file| file.path.as_str().cmp(path)).ok().map(|at| &self.0[at])
    }

    /// The text whose SHA-256 names the revision: a first line `modelkeep manifest 1`, then for each file in order
    /// of its path's bytes `<sha256> <size> <path>`, each line ended by one `\n`.
    pub fn canonical(&self) -> String {
        let mut text = String::from("modelkeep manifest 1\n");
        for file in &self.0 {
            let _ = writeln!(text, "{} {} {}", file.sha256, file.size, file.path);
        }
        text
    }

    /// The revision that this content is, anywhere and always.
    pub fn revision(&self) -> RevisionId {
        RevisionId::from_manifest_digest(Sha256::of(self.canonical().as_bytes()))
    }
}

impl TryFrom<Vec<FileEntry>> for Manifest {
    type Error = Error;

    fn try_from(files: Vec<FileEntry>) -> Result<Self> {
        Self::new(files)
    }
}

impl From<Manifest> for Vec<FileEntry> {
    fn from(manifest: Manifest) -> Self {
        manifest.0
    }
}

/// Which half of `models/` a model lives in; or that it is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// Taken from elsewhere, stored once: `models/base-models/`.
    Base,
    /// Trained here: `models/finetuned/`.
    Finetuned,
    /// No model: a data set, a notebook, a result, a document, filed at its own place.
    Filed,
}

impl ModelKind {
    /// As in JSON and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Finetuned => "finetuned",
            Self::Filed => "filed",
        }
    }
}

/// What was learnt about a push from its files and flags.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Facts {
    /// What it is, for people: `LoRA adapter`, `full model`, `GGUF`…
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub model_type: Option<String>,
    /// A model id of this remote, else the name that the adapter gives (a Hub repository or a path).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_model: Option<String>,
    /// The base model's revision, when the adapter says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_revision: Option<String>,
    /// Where a base model was taken from: a Hub repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The commit of that repository, 40 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_commit: Option<String>,
    /// The licence, as the repository's card names it: `apache-2.0`, `llama2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// The day the training ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub training_date: Option<Date>,
    /// Metrics by name; null where training wrote NaN or an infinity.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, Option<f64>>,
    /// LoRA parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Adapter>,
    /// What the safetensors headers say, over all files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensors: Option<Summary>,
    /// What a person should know of how this was learnt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// `.modelkeep-push.json`: says what a push folder is, wherever the folder is found.
///
/// Written into the staging folder once every file is there, before the folder moves anywhere; never changed after.
/// With the markers alone the log can be rebuilt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Marker {
    /// Format version, 1.
    pub format: u32,
    /// This act of pushing.
    pub txn: Txn,
    /// The model it belongs to.
    pub model: ModelId,
    /// Base or finetuned.
    pub kind: ModelKind,
    /// Its content.
    pub revision: RevisionId,
    /// The number expected when the marker was written; the event's number counts.
    pub number: u64,
    /// When, by the writer's clock.
    pub at: Timestamp,
    /// Who, as `user@host`.
    pub by: String,
    /// What was learnt from the files.
    pub facts: Facts,
    /// The damaged push of the same content whose place it is built to take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Txn>,
    /// Where it is shown, when it is no model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filed: Option<Filed>,
    /// The store's own ids of the files, where it has ids: a listing may be late, an id never is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ids: BTreeMap<ContentPath, String>,
    /// Every file.
    pub files: Manifest,
}

/// The format version that this program writes; a higher one is left alone.
pub const FORMAT: u32 = 1;

impl Marker {
    /// Reads a marker and checks that its revision is that of its files.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let marker: Self = serde_json::from_slice(bytes)
            .map_err(|error| Error::integrity("the marker of a push folder cannot be read").because(error))?;
        if marker.format > FORMAT {
            return Err(Error::usage(format!("this tree uses format {}, newer than this program", marker.format))
                .hint("update modelkeep"));
        }
        if marker.files.revision() != marker.revision {
            return Err(Error::integrity(format!(
                "the marker of {} names revision {} but its files are another",
                marker.model,
                marker.revision.short()
            )));
        }
        Ok(marker)
    }

    /// How people call what it belongs to: a model's id, or a place.
    pub fn name(&self) -> &str {
        self.filed.as_ref().map_or_else(|| self.model.as_str(), |filed| filed.place.as_str())
    }

    /// As bytes for the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, content: &[u8]) -> FileEntry {
        FileEntry { path: path.parse().unwrap(), size: content.len() as u64, sha256: Sha256::of(content) }
    }

    #[test]
    fn the_same_content_is_the_same_revision_in_any_order() {
        let one = Manifest::new(vec![entry("a", b"1"), entry("b/c", b"2")]).unwrap();
        let two = Manifest::new(vec![entry("b/c", b"2"), entry("a", b"1")]).unwrap();
        assert_eq!(one.revision(), two.revision());
        assert_eq!(one.get("b/c").unwrap().size, 1);
        assert!(one.get("b").is_none());
        // Fixed for ever: another implementation must come to the same id (FORMAT.md).
        assert_eq!(one.revision().to_string(), "f8fd27b4be3d116c06100f492862a84029510e38");
        assert!(Manifest::new(Vec::new()).is_err());
        assert!(Manifest::new(vec![entry("a", b""), entry("A", b"")]).is_err());
    }

    #[test]
    fn a_marker_that_escapes_is_not_read() {
        for path in ["../x", "/etc/passwd", "a/../../b"] {
            let text = format!(
                r#"{{"format":1,"txn":"{}","model":"m","kind":"base","revision":"{}","number":1,
                "at":"2026-01-01T00:00:00Z","by":"x","facts":{{}},
                "files":[{{"path":"{path}","size_bytes":1,"sha256":"{}"}}]}}"#,
                "0".repeat(32),
                "0".repeat(40),
                "0".repeat(64),
            );
            let error = Marker::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), crate::Kind::Integrity);
            assert!(error.full_message().contains(path), "{error:?}");
        }
    }
}
