//! `modelkeep.lock`: what the code uses, by revision and SHA-256, kept in git beside it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::RevisionId;
use crate::filed::Place;
use crate::manifest::{FileEntry, Manifest};
use crate::name::ModelId;

/// The lock file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pins {
    /// Format version, 1.
    pub version: u32,
    /// The remote's own id, so that another tree of the same name is noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// The models, by id.
    #[serde(default, rename = "model", skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<ModelId, Pin>,
    /// Data sets and other files, by their place on the store.
    #[serde(default, rename = "file", skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<Place, Pin>,
}

/// One pinned model or file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Exactly this content.
    pub revision: RevisionId,
    /// What it was asked for as, for people: `latest`, `prod`, `3`.
    pub requested: String,
    /// Where `modelkeep pull` puts it, below the workspace.
    pub path: String,
    /// Every file, so that a copy can be checked with no remote.
    pub files: Vec<FileEntry>,
}

impl Pin {
    /// Its files as a manifest; fails when they are not those of its revision.
    pub fn manifest(&self) -> crate::Result<Manifest> {
        let manifest = Manifest::new(self.files.clone())?;
        if manifest.revision() == self.revision {
            return Ok(manifest);
        }
        Err(crate::Error::integrity(format!(
            "modelkeep.lock: the files listed are not those of revision {}",
            self.revision.short()
        ))
        .hint("restore modelkeep.lock from git, or pin again with modelkeep use"))
    }
}
