//! What reports share: their fields are the JSON contract, the CLI, Python and the server hand them on as they are.

use std::collections::BTreeMap;

use jiff::Timestamp;
use modelkeep_core::digest::{RevisionId, Txn};
use modelkeep_core::filed::Place;
use modelkeep_core::manifest::{FileEntry, ModelKind};
use modelkeep_core::name::{Label, ModelId};
use modelkeep_core::registry::{Model, Push, State, Status};
use schemars::JsonSchema;
use serde::Serialize;

use crate::store::Store;

/// What every report of a write says about where it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Wrote {
    /// It went to the simulation.
    pub simulated: bool,
    /// The store itself has acknowledged it (through a mount it may still be on its way).
    pub confirmed: bool,
    /// Nothing was done, only planned (`--dry-run`).
    pub dry_run: bool,
    /// What was asked of Google for it, where the store is a Drive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent: Option<Spent>,
}

/// What was asked of Google.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Spent {
    /// Requests that went out, those that were tried again included.
    pub calls: u64,
    /// Quota units of them; a minute allows 325,000.
    pub units: u64,
}

impl Wrote {
    /// About a write to this store.
    pub fn to(store: &Store, dry_run: bool) -> Self {
        Self { simulated: store.simulated(), confirmed: store.confirms() && !dry_run, dry_run, spent: store.spent() }
    }
}

/// One step of a plan, with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Step {
    /// What is done: `deploy`, `move to trash`, `delete`…
    pub action: String,
    /// To what.
    pub target: String,
    /// How many bytes it is about.
    pub bytes: u64,
    /// Why.
    pub reason: String,
}

impl Step {
    /// A step about no bytes.
    pub fn new(action: impl Into<String>, target: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { action: action.into(), target: target.into(), bytes: 0, reason: reason.into() }
    }

    /// The same about this many bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }
}

/// What a command that changes the registry did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Change {
    /// The model it was about; the key of what is filed.
    pub model: ModelId,
    /// Where it is shown, when it was about what is filed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The revision it was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionId>,
    /// Whether anything was changed.
    pub changed: bool,
    /// What was done, or would be.
    pub steps: Vec<Step>,
    /// Where it went.
    #[serde(flatten)]
    pub wrote: Wrote,
}

/// One model, as `list` and `show` say it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ModelItem {
    /// Its id.
    pub id: ModelId,
    /// Base or finetuned.
    pub kind: ModelKind,
    /// What it is: `LoRA adapter`, `full model`…
    #[serde(rename = "type")]
    pub model_type: Option<String>,
    /// Its status.
    pub status: Status,
    /// The revision that is meant: the newest, or the one asked for.
    pub revision: Option<RevisionId>,
    /// Its number.
    pub number: Option<u64>,
    /// How many pushes it has, removed ones left out.
    pub revisions: usize,
    /// Bytes of that revision.
    pub size_bytes: u64,
    /// The model it was trained from.
    pub base_model: Option<String>,
    /// Metrics of that revision; null where training wrote no number.
    pub metrics: BTreeMap<String, Option<f64>>,
    /// Labels of that revision, `latest` included when it is the newest.
    pub labels: Vec<String>,
    /// Whether that model is deployed.
    pub deployed: bool,
    /// When the model was first pushed.
    #[schemars(with = "Option<String>")]
    pub created_at: Option<Timestamp>,
    /// When that revision was pushed.
    #[schemars(with = "Option<String>")]
    pub pushed_at: Option<Timestamp>,
    /// The day the training ended.
    pub training_date: Option<String>,
    /// Where a base model was taken from.
    pub source: Option<String>,
    /// The commit that it was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_commit: Option<String>,
    /// The licence that it has there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// What it is for.
    pub purpose: Option<String>,
}

impl ModelItem {
    /// A model with the push that is meant (its newest one, removed or not, when there is no other).
    pub fn new(state: &State, model: &Model, push: Option<&Push>) -> Self {
        let push = push.or_else(|| model.latest()).or_else(|| model.pushes.last());
        let said = push.map(|push| model.describe(push)).unwrap_or_default();
        let latest = model.latest().map(|push| push.revision);
        let mut labels: Vec<String> = Vec::new();
        if let Some(push) = push {
            if latest == Some(push.revision) {
                labels.push(modelkeep_core::name::LATEST.to_owned());
            }
            labels.extend(model.labels_of(&push.revision).into_iter().map(|label: Label| label.to_string()));
        }
        Self {
            id: model.id.clone(),
            kind: model.kind,
            model_type: said.model_type,
            status: state.status(model),
            revision: push.map(|push| push.revision),
            number: push.map(|push| push.number),
            revisions: model.pushes.iter().filter(|push| push.removed.is_none()).count(),
            size_bytes: push.map_or(0, |push| push.size_bytes),
            base_model: said.base_model.map(|name| state.base_name(&name)),
            metrics: said.metrics,
            labels,
            deployed: state.deployment_of(&model.id).is_some(),
            created_at: model.pushes.first().map(|push| push.at),
            pushed_at: push.map(|push| push.at),
            training_date: said.training_date,
            source: said.source,
            source_commit: push.and_then(|push| push.facts.source_commit.clone()),
            license: push.and_then(|push| push.facts.license.clone()),
            purpose: model.text("purpose", None),
        }
    }
}

/// One push in a model's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PushItem {
    /// Its number.
    pub number: u64,
    /// Its content.
    pub revision: RevisionId,
    /// Its transaction.
    #[schemars(with = "String")]
    pub txn: Txn,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Bytes.
    pub size_bytes: u64,
    /// Labels of its revision.
    pub labels: Vec<Label>,
    /// Whether it was removed.
    pub removed: bool,
}

impl PushItem {
    /// Of a model's push.
    pub fn new(model: &Model, push: &Push) -> Self {
        Self {
            number: push.number,
            revision: push.revision,
            txn: push.txn,
            at: push.at,
            by: push.by.clone(),
            size_bytes: push.size_bytes,
            labels: model.labels_of(&push.revision),
            removed: push.removed.is_some(),
        }
    }
}

/// A revision's file, as `show` says it.
pub type FileItem = FileEntry;
