//! What changed from one revision to another: metrics, adapter parameters, files.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::inspect::tensors::TensorDiff;
use crate::manifest::{Facts, Manifest};
use crate::path::ContentPath;

/// The difference between two revisions.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Diff {
    /// Metrics that either has.
    pub metrics: Vec<MetricChange>,
    /// Adapter parameters and other facts that differ.
    pub config: Vec<FieldChange>,
    /// Files that differ.
    pub files: FileChanges,
    /// Tensors that differ by name, shape or dtype; null when neither has safetensors.
    pub tensors: Option<TensorDiff>,
}

/// One metric on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct MetricChange {
    /// Its name.
    pub name: String,
    /// On the first side.
    pub before: Option<f64>,
    /// On the second.
    pub after: Option<f64>,
    /// `after - before`.
    pub change: Option<f64>,
}

/// One parameter on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FieldChange {
    /// Its name.
    pub name: String,
    /// On the first side.
    pub before: Value,
    /// On the second.
    pub after: Value,
}

/// Files by what happened to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FileChanges {
    /// Only on the second side.
    pub added: Vec<FileSize>,
    /// Only on the first side.
    pub removed: Vec<FileSize>,
    /// On both with other content.
    pub changed: Vec<FileSizes>,
    /// The same on both.
    pub unchanged: u64,
}

/// A file and its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FileSize {
    /// Its path in the revision.
    pub path: ContentPath,
    /// Bytes.
    pub size_bytes: u64,
}

/// A file and its sizes on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FileSizes {
    /// Its path in the revision.
    pub path: ContentPath,
    /// Bytes on the first side.
    pub before_bytes: u64,
    /// Bytes on the second.
    pub after_bytes: u64,
}

/// One side of a comparison.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// Its metrics.
    pub metrics: &'a BTreeMap<String, Option<f64>>,
    /// What was learnt about it.
    pub facts: &'a Facts,
    /// Its files.
    pub files: &'a Manifest,
}

/// Compares two revisions; tensors are compared by who can read them.
pub fn diff(before: Side<'_>, after: Side<'_>, tensors: Option<TensorDiff>) -> Diff {
    let names: BTreeSet<&String> = before.metrics.keys().chain(after.metrics.keys()).collect();
    let metrics = names.into_iter().map(|name| {
        let (before, after) = (before.metrics.get(name).copied().flatten(), after.metrics.get(name).copied().flatten());
        let change = before.zip(after).map(|(before, after)| after - before);
        MetricChange { name: name.clone(), before, after, change }
    });
    Diff {
        metrics: metrics.collect(),
        config: config_changes(before.facts, after.facts),
        files: file_changes(before.files, after.files),
        tensors,
    }
}

fn config_changes(before: &Facts, after: &Facts) -> Vec<FieldChange> {
    let (before, after) = (parameters(before), parameters(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| FieldChange {
            name: name.clone(),
            before: before.get(name).cloned().unwrap_or_default(),
            after: after.get(name).cloned().unwrap_or_default(),
        })
        .collect()
}

fn parameters(facts: &Facts) -> BTreeMap<String, Value> {
    let mut all: BTreeMap<String, Value> = match serde_json::to_value(&facts.adapter) {
        Ok(Value::Object(fields)) => fields.into_iter().collect(),
        _ => BTreeMap::new(),
    };
    let text = |value: &Option<String>| value.clone().map_or(Value::Null, Value::String);
    all.insert("type".to_owned(), text(&facts.model_type));
    all.insert("base_model".to_owned(), text(&facts.base_model));
    all.retain(|_, value| !value.is_null());
    all
}

fn file_changes(before: &Manifest, after: &Manifest) -> FileChanges {
    let mut changes = FileChanges::default();
    for file in after.files() {
        match before.get(file.path.as_str()) {
            None => changes.added.push(FileSize { path: file.path.clone(), size_bytes: file.size }),
            Some(old) if old.sha256 == file.sha256 => changes.unchanged += 1,
            Some(old) => changes.changed.push(FileSizes {
                path: file.path.clone(),
                before_bytes: old.size,
                after_bytes: file.size,
            }),
        }
    }
    for file in before.files() {
        if after.get(file.path.as_str()).is_none() {
            changes.removed.push(FileSize { path: file.path.clone(), size_bytes: file.size });
        }
    }
    changes
}
