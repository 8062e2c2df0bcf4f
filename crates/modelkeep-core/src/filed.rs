//! What is kept on a store and is no model: data sets, notebooks, results, configs, documents, each at its place.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::name::ModelId;
use crate::path::{ContentPath, RemotePath};

/// Where a file or a folder stands on the store, for people: `datasets/banking77_train.csv`. It names the thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String")]
pub struct Place(ContentPath);

/// How what is filed is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// One file at its place.
    File,
    /// A folder of files.
    Folder,
    /// A folder in one tar at its place, with an index beside it.
    Packed,
}

/// Where and how a push that is no model is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Filed {
    /// Where.
    pub place: Place,
    /// How.
    pub shape: Shape,
}

/// The folders that things are filed in: as they may be typed, and as they are called on the store. The longer name
/// of two that begin alike stands first.
const FOLDERS: [(&str, &str); 6] = [
    ("datasets", "datasets"),
    ("notebooks", "notebooks"),
    ("results", "results"),
    ("configs", "docs/configs"),
    ("docs/configs", "docs/configs"),
    ("docs", "docs"),
];

/// The folder on the store that `--to` names: `datasets`, `results/benchmarks`, `configs`…
pub fn folder_of(to: &str) -> Result<RemotePath> {
    let to = to.trim_end_matches('/');
    let below = |name: &str| {
        let rest = to.strip_prefix(name)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.to_owned())
    };
    let found = FOLDERS.iter().find_map(|(typed, path)| Some(format!("{path}{}", below(typed)?)));
    let folder = found.ok_or_else(|| unknown(to))?;
    // As a content path it holds nothing that some system cannot store.
    let folder = content(&folder)?;
    folder.as_str().parse().map_err(|_| unknown(to))
}

fn content(path: &str) -> Result<ContentPath> {
    path.parse().map_err(|error: crate::path::ParsePathError| {
        Error::usage(error.to_string()).hint("give it another name on this machine first")
    })
}

fn unknown(to: &str) -> Error {
    Error::usage(format!("`{to}` is no folder that files are kept in"))
        .hint("--to datasets, notebooks, results/benchmarks, configs or docs")
}

impl Place {
    /// What is called `name` in a folder of [`folder_of`].
    pub fn new(folder: &RemotePath, name: &str) -> Result<Self> {
        let path = content(&format!("{folder}/{name}"))?;
        if let Some(why) = taken(path.as_str()) {
            return Err(
                Error::usage(format!("`{path}` {why}")).hint("give it another name, or another folder with --to")
            );
        }
        Ok(Self(path))
    }

    /// On the store.
    pub fn path(&self) -> RemotePath {
        self.0.as_str().parse().unwrap_or_default()
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The last part.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The folder under whose name its pushes are kept: `filed-` and the first 32 hex digits of the SHA-256 of the
    /// place.
    pub fn key(&self) -> Result<ModelId> {
        let digest = Sha256::of(self.as_str().as_bytes()).to_string();
        format!("{KEY}{}", &digest[..32]).parse()
    }

    /// The folder that paths of its files count from: its own for a folder, else the one it stands in.
    pub fn base(&self, shape: Shape) -> RemotePath {
        match shape {
            Shape::Folder => self.path(),
            Shape::File | Shape::Packed => self.path().parent(),
        }
    }

    /// Whether one of two places would stand inside the other, or both are one on a store that folds case.
    pub fn collides(&self, other: &Self) -> bool {
        let (one, two) = (self.as_str().to_lowercase(), other.as_str().to_lowercase());
        let inside = |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
        self != other && (one == two || inside(&one, &two) || inside(&two, &one))
    }
}

/// How a key begins.
const KEY: &str = "filed-";

/// Why a place is not to be had: something of ours stands there.
fn taken(path: &str) -> Option<&'static str> {
    let ours = ["docs/model_registry", "docs/training_log.md", "docs/architecture.md"];
    if ours.iter().any(|own| path.starts_with(own)) {
        return Some("is written by modelkeep itself");
    }
    let run = path.strip_prefix("results/training_logs/run_").and_then(|rest| rest.strip_suffix(".json"));
    if run.is_some_and(|rest| !rest.contains('/')) {
        return Some("is called like the run logs that pushes write");
    }
    if path.split('/').any(|part| part.starts_with(".modelkeep")) {
        return Some("is called like something of modelkeep's own");
    }
    None
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Place {
    type Err = Error;

    /// As it is typed: `configs/lora.yaml` stands in `docs/configs`.
    fn from_str(text: &str) -> Result<Self> {
        let (folder, name) = text.trim_end_matches('/').rsplit_once('/').ok_or_else(|| unknown(text))?;
        Self::new(&folder_of(folder)?, name)
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.0.into()
    }
}

impl TryFrom<String> for Place {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn places_are_what_people_type() {
        let cases = [
            ("datasets/a.csv", Ok("datasets/a.csv")),
            ("configs/lora.yaml", Ok("docs/configs/lora.yaml")),
            ("docs/configs/lora.yaml", Ok("docs/configs/lora.yaml")),
            ("docs/notes.md", Ok("docs/notes.md")),
            ("results/benchmarks/speed.csv", Ok("results/benchmarks/speed.csv")),
            ("results/training_logs/mlruns/", Ok("results/training_logs/mlruns")),
            ("datasets", Err(())),
            ("models/x", Err(())),
            ("datasetsx/a", Err(())),
            ("datasets/../models/x", Err(())),
            ("datasets/con", Err(())),
            ("docs/model_registry.json", Err(())),
            ("docs/training_log.md", Err(())),
            ("results/training_logs/run_x_2026-01-01.json", Err(())),
            (".modelkeep/log/x", Err(())),
            ("datasets/.modelkeep-push.json", Err(())),
        ];
        for (typed, expected) in cases {
            let place = typed.parse::<Place>();
            assert_eq!(place.as_ref().map(Place::as_str).map_err(|_| ()), expected, "{typed}");
        }
        assert_eq!(folder_of("results/inference_results").unwrap().as_str(), "results/inference_results");
        assert!(folder_of("data").is_err());
    }

    #[test]
    fn keys_are_ids_and_places_collide_as_stores_fold_them() {
        let place = |text: &str| text.parse::<Place>().unwrap();
        let key = place("datasets/a.csv").key().unwrap();
        // Fixed for ever: another implementation must come to the same key (FORMAT.md).
        assert_eq!(key.as_str(), format!("filed-{}", &Sha256::of(b"datasets/a.csv").to_string()[..32]));
        assert!(place("datasets/a").collides(&place("datasets/A")));
        assert!(place("datasets/a").collides(&place("datasets/A/b.csv")));
        assert!(!place("datasets/a").collides(&place("datasets/ab")));
        assert!(!place("datasets/a").collides(&place("datasets/a")));
    }
}
