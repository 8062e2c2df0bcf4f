//! An existing registry: its entries find their models, give fields, status and dates, and keep what we do not know.

use std::collections::BTreeMap;

use modelkeep_core::digest::RevisionId;
use modelkeep_core::event::{AdoptedEntry, Body, SetStatus};
use modelkeep_core::layout::{self, POINTER_SUFFIX};
use modelkeep_core::manifest::{Facts, ModelKind};
use modelkeep_core::name::ModelId;
use modelkeep_core::path::RemotePath;
use modelkeep_core::registry::docs::PointerFile;
use modelkeep_core::registry::json::{Found, flat_fields, is_computed};
use modelkeep_core::size::{gigabytes, megabytes};
use modelkeep_core::words::count;
use modelkeep_core::{Kind, Result};
use modelkeep_remote::{EntryKind, Object};
use serde_json::{Map, Value};

use super::Candidate;
use crate::log::View;
use crate::report::Step;
use crate::store::{Pointers, Store};
use crate::{project, tree};

/// What an existing registry gives.
#[derive(Default)]
pub struct Taken {
    /// The event that takes it in.
    pub event: Option<Body>,
    /// The step that says so.
    pub step: Option<Step>,
    /// What it says and what does not fit.
    pub sentences: Vec<String>,
    /// It is taken in once more of its models are known.
    pub waits: bool,
}

/// A model that entries may belong to.
struct Known<'a> {
    id: ModelId,
    kind: ModelKind,
    /// Its pushes, oldest first.
    pushes: Vec<Learnt<'a>>,
}

/// What one push of it says itself.
struct Learnt<'a> {
    /// None while its files were not read.
    revision: Option<RevisionId>,
    facts: &'a Facts,
    size: u64,
}

impl Known<'_> {
    /// The push that an entry shows: the one it names, else the newest.
    fn shown(&self, revision: Option<RevisionId>) -> Option<&Learnt<'_>> {
        let named = self.pushes.iter().rfind(|push| revision.is_some() && push.revision == revision);
        named.or_else(|| self.pushes.last())
    }

    fn source(&self) -> Option<&str> {
        self.pushes.last()?.facts.source.as_deref()
    }
}

/// Reads the registry on the remote, unless it is one that our log accounts for.
pub async fn read(store: &Store, view: &View, candidates: &[Candidate], log_lost: bool) -> Result<Taken> {
    let mut taken = Taken::default();
    let document = match project::found_registry(store).await? {
        Some(Found::Foreign(document)) => document,
        // The log was lost: what our own registry says is all that is left of fields and status.
        Some(Found::Edited(_, document)) if log_lost => document,
        Some(Found::Rendering(_)) if log_lost => {
            match store
                .remote
                .read(&Object::at(layout::registry()), 0..1 << 30)
                .await
                .map(|b| serde_json::from_slice(&b))
            {
                Ok(Ok(document)) => document,
                _ => return Ok(taken),
            }
        }
        Some(Found::Unreadable(why)) => {
            taken.sentences.push(format!("{} cannot be read ({why}); it will be kept aside", layout::registry()));
            return Ok(taken);
        }
        _ => return Ok(taken),
    };
    let entries = document.get("models").and_then(Value::as_array).cloned().unwrap_or_default();
    let waiting = candidates.iter().filter(|candidate| !candidate.ready || candidate.id().is_none()).count();
    if waiting > 0 {
        taken.waits = true;
        if !entries.is_empty() {
            let folders = if waiting == 1 { "1 folder is".to_owned() } else { format!("{waiting} folders are") };
            let registry = layout::registry();
            taken.sentences.push(format!("{registry} is taken in once {folders} adopted too (or skipped with --map)"));
        }
        return Ok(taken);
    }
    let known = known(view, candidates);
    let mut models = BTreeMap::new();
    let mut others: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for entry in entries.iter().filter_map(Value::as_object) {
        let Some(id) = entry.get("id").and_then(Value::as_str) else {
            taken.sentences.push("an entry without an id was left out".to_owned());
            continue;
        };
        if let Some(model) = find(&known, id, entry) {
            let shown = model.shown(ours(entry, "revision").and_then(|revision| revision.as_str()?.parse().ok()));
            check_size(id, entry, shown.map_or(0, |push| push.size), &mut taken.sentences);
            let mut adopted = adopted(id, entry, model);
            let metrics = adopted.fields.remove("metrics");
            if metrics.is_some_and(|metrics| metrics.as_object().is_none_or(|metrics| !metrics.is_empty())) {
                taken.sentences.push(format!("`{id}`: its metrics are no object of names and numbers; left out"));
            }
            if let Some(push) = shown {
                adopted.fields.retain(|field, value| !is_learnt(field, value, model, push.facts, &known));
            }
            models.insert(model.id.clone(), adopted);
        } else {
            taken.sentences.push(format!("`{id}` is in the registry, but no folder is: its entry is kept as it is"));
            others.insert(id.to_owned(), flat(entry));
        }
    }
    for model in known.iter().filter(|model| !models.contains_key(&model.id)) {
        taken.sentences.push(format!("`{}` has a folder, but no entry in the registry", model.id));
    }
    let top: BTreeMap<String, Value> = document
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != "models" && *key != "modelkeep")
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if !top.is_empty() {
        others.insert(String::new(), top);
    }
    if !models.is_empty() || !others.is_empty() {
        let target = layout::registry().to_string();
        taken.step =
            Some(Step::new("take in", target, format!("{}; a copy is kept", count(entries.len() as u64, "entry"))));
        taken.event = Some(Body::RegistryAdopted { models, others });
    }
    Ok(taken)
}

fn known<'a>(view: &'a View, candidates: &'a [Candidate]) -> Vec<Known<'a>> {
    let mut all: BTreeMap<ModelId, Known<'a>> = BTreeMap::new();
    let mut add = |id: &ModelId, kind, push| {
        let model = all.entry(id.clone()).or_insert_with(|| Known { id: id.clone(), kind, pushes: Vec::new() });
        model.pushes.push(push);
    };
    for model in view.state.models.values() {
        for push in model.pushes.iter().filter(|push| push.removed.is_none()) {
            let (revision, size) = (Some(push.revision), push.size_bytes);
            add(&model.id, model.kind, Learnt { revision, facts: &push.facts, size });
        }
    }
    for candidate in candidates.iter().filter(|candidate| candidate.ready) {
        if let Some(id) = candidate.id() {
            let revision = candidate.marker.as_ref().map(|marker| marker.revision);
            add(id, candidate.kind, Learnt { revision, facts: &candidate.facts, size: candidate.item.size_bytes });
        }
    }
    all.into_values().collect()
}

/// The model an entry belongs to: by id, by id without `-base`, or by `source`.
fn find<'a>(known: &'a [Known<'a>], id: &str, entry: &Map<String, Value>) -> Option<&'a Known<'a>> {
    let by_id = |id: &str| known.iter().find(|model| model.id.as_str() == id);
    let source = entry.get("source").and_then(Value::as_str);
    by_id(id)
        .or_else(|| by_id(id.strip_suffix("-base")?))
        .or_else(|| known.iter().find(|model| source.is_some() && model.source() == source))
        .or_else(|| modelkeep_core::name::nearest_id(id).and_then(|near| by_id(near.as_str())))
}

fn check_size(id: &str, entry: &Map<String, Value>, size: u64, sentences: &mut Vec<String>) {
    for (field, unit, measured) in [("size_mb", "MB", megabytes(size)), ("size_gb", "GB", gigabytes(size))] {
        if let Some(said) = entry.get(field).and_then(Value::as_f64)
            && (said - measured).abs() > f64::max(said.abs() * 0.05, 0.5)
        {
            sentences.push(format!(
                "`{id}` says {said} {unit}; it is {measured} {unit}, which is what the registry will say"
            ));
        }
    }
}

fn flat(entry: &Map<String, Value>) -> BTreeMap<String, Value> {
    let mut fields = flat_fields(entry);
    fields.remove("id");
    fields
}

/// What an entry of our own says beside the fields that people know.
fn ours<'a>(entry: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    entry.get("modelkeep")?.get(field)
}

/// Whether a field says only what the push says itself, so that nobody set it.
fn is_learnt(field: &str, value: &Value, model: &Known, facts: &Facts, known: &[Known]) -> bool {
    let says = |learnt: Option<&str>| learnt.is_some() && value.as_str() == learnt;
    match field {
        "type" => says(facts.model_type.as_deref()),
        "source" => says(facts.source.as_deref()),
        "training_date" => says(facts.training_date.map(|date| date.to_string()).as_deref()),
        "purpose" => model.kind == ModelKind::Base && says(Some("base model")),
        "base_model" => {
            let Some(base) = facts.base_model.as_deref() else { return false };
            // The registry calls a base model as it is called here.
            says(Some(base)) || known.iter().any(|model| model.source() == Some(base) && says(Some(model.id.as_str())))
        }
        _ => {
            let learnt = field.strip_prefix("metrics.").and_then(|name| facts.metrics.get(name).copied().flatten());
            learnt.is_some() && value.as_f64() == learnt
        }
    }
}

fn adopted(id: &str, entry: &Map<String, Value>, model: &Known) -> AdoptedEntry {
    let status = entry.get("status").and_then(Value::as_str);
    let mut fields = flat(entry);
    fields.retain(|field, value| !is_computed(field) && field != "status" && !value.is_null());
    AdoptedEntry {
        alias: (id != model.id.as_str()).then(|| id.to_owned()),
        status: match status {
            Some("archived") => Some(SetStatus::Archived),
            Some("failed") => Some(SetStatus::Failed),
            _ => None,
        },
        deployed: status == Some("deployed"),
        revision: ours(entry, "revision").and_then(|revision| revision.as_str()?.parse().ok()),
        labels: ours(entry, "labels")
            .and_then(|labels| serde_json::from_value(labels.clone()).ok())
            .unwrap_or_default(),
        deployed_at: entry.get("deployed_at").and_then(Value::as_str).and_then(|text| text.parse().ok()),
        fields,
    }
}

/// Where nothing is deployed by the log but a pointer says what is: that is taken in.
pub async fn deployment(store: &Store, view: &View) -> Result<Option<Body>> {
    if view.state.deployed().is_some() {
        return Ok(None);
    }
    let Some(target) = pointed_to(store).await? else { return Ok(None) };
    let Some(model) = view.state.models.values().find(|model| project::shown_at(&view.state, model) == target) else {
        return Ok(None);
    };
    // What stands there is what was deployed, be there a newer one or not.
    let standing = tree::marker_in(store, &target).await?.map(|marker| marker.revision);
    let push = standing.and_then(|revision| model.push_of(&revision)).or_else(|| model.latest());
    Ok(push.map(|push| Body::Deployed { model: model.id.clone(), revision: push.revision, rollback: false }))
}

/// What the pointer `deployed/current` names.
async fn pointed_to(store: &Store) -> Result<Option<RemotePath>> {
    let pointer = layout::deployed_current();
    if store.format.pointers != Pointers::File {
        let found = store.remote.find(&Object::at(pointer)).await?;
        let target = found.and_then(|entry| if let EntryKind::Pointer(target) = entry.kind { target } else { None });
        return Ok(target);
    }
    let file = pointer.parent().join(&format!("{}{POINTER_SUFFIX}", pointer.name()));
    match store.remote.read(&Object::at(file), 0..1 << 16).await {
        Ok(bytes) => Ok(serde_json::from_slice::<PointerFile>(&bytes).ok().map(|pointer| pointer.target)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
