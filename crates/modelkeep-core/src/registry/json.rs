//! `docs/model_registry.json`: the state in the shape people and their scripts know, and edits by hand read back.
//!
//! Entries carry the fields of the format they come from, always all of them, null when unknown; ours stand beside
//! under `modelkeep`. The document embeds the digest of its own rendering, so that an edit can be told from it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::state::{Model, Push, State, Status, said_by_push};
use crate::digest::Sha256;
use crate::event::{EventName, HostKind};
use crate::manifest::ModelKind;
use crate::size::{gigabytes, megabytes};

/// A rendered registry: the file's bytes and the digest that they embed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendering {
    /// The file.
    pub bytes: Vec<u8>,
    /// The digest of the document without its digest.
    pub digest: Sha256,
}

#[derive(Serialize)]
struct Document {
    models: Vec<Entry>,
    #[serde(flatten)]
    extra: BTreeMap<String, Value>,
    modelkeep: Stamp,
}

#[derive(Serialize)]
struct Stamp {
    format: u32,
    updated_at: Option<String>,
    event: Option<EventName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rendering: Option<Sha256>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Entry {
    Base(BaseEntry),
    Finetuned(FinetunedEntry),
    Foreign(Map<String, Value>),
}

#[derive(Serialize)]
struct BaseEntry {
    id: String,
    source: Option<String>,
    size_gb: f64,
    cached_in_codespaces: bool,
    cached_in_colab: bool,
    last_used: String,
    purpose: Option<String>,
    status: Status,
    #[serde(flatten)]
    extra: BTreeMap<String, Value>,
    modelkeep: Ours,
}

#[derive(Serialize)]
struct FinetunedEntry {
    id: String,
    #[serde(rename = "type")]
    model_type: Option<String>,
    size_mb: f64,
    base_model: Option<String>,
    training_date: Option<String>,
    metrics: BTreeMap<String, Value>,
    status: Status,
    deployed_at: Option<String>,
    #[serde(flatten)]
    extra: BTreeMap<String, Value>,
    modelkeep: Ours,
}

/// What the tool knows beyond the shape people know.
#[derive(Serialize)]
struct Ours {
    revision: String,
    number: u64,
    revisions: usize,
    latest: u64,
    labels: BTreeMap<String, String>,
    files: u64,
    size_bytes: u64,
    pushed_at: String,
    pushed_by: String,
    path: String,
    cached_in_codespaces: bool,
    cached_in_colab: bool,
    last_used: String,
}

/// Fields computed from the content and the log: an edit by hand does not change what is true.
const COMPUTED: [&str; 8] =
    ["id", "size_mb", "size_gb", "cached_in_codespaces", "cached_in_colab", "last_used", "deployed_at", "modelkeep"];

/// Fields that stand by name in the entries of one kind; in those of the other they are extra fields.
fn is_named(kind: ModelKind, field: &str) -> bool {
    match kind {
        ModelKind::Base => matches!(field, "source" | "purpose"),
        ModelKind::Finetuned | ModelKind::Filed => matches!(field, "type" | "base_model" | "training_date"),
    }
}

/// The object of metrics; each metric is a field of its own, `metrics.<name>`, and this is none.
pub const METRICS: &str = "metrics";

/// Whether `set` and edits may change this field.
pub fn is_computed(field: &str) -> bool {
    COMPUTED.contains(&field)
}

/// Renders the registry.
pub fn render(state: &State) -> Rendering {
    let known = state.models.values().filter(|model| model.latest().is_some());
    let mut models: Vec<Entry> = known.filter_map(|model| entry(state, model)).collect();
    // Base models first, as people list them; each half by id.
    models.sort_by_key(|entry| !matches!(entry, Entry::Base(_)));
    let mut extra = BTreeMap::new();
    for (id, fields) in &state.foreign {
        if id.is_empty() {
            let free = fields.iter().filter(|(field, _)| !matches!(field.as_str(), "models" | "modelkeep"));
            extra.extend(free.map(|(field, value)| (field.clone(), value.clone())));
        } else if state.model(id).is_err() {
            let mut object = entry_of(fields);
            object.insert("id".to_owned(), json!(id));
            models.push(Entry::Foreign(object));
        }
    }
    let mut document = Document {
        models,
        extra,
        modelkeep: Stamp {
            format: 1,
            updated_at: state.updated_at.map(|at| at.to_string()),
            event: state.last,
            rendering: None,
        },
    };
    let digest = canonical_digest(&to_value(&document));
    document.modelkeep.rendering = Some(digest);
    // Text keys and finite numbers only, so this cannot fail.
    let mut bytes = serde_json::to_vec_pretty(&document).unwrap_or_default();
    bytes.push(b'\n');
    Rendering { bytes, digest }
}

fn to_value(document: &Document) -> Value {
    serde_json::to_value(document).unwrap_or_default()
}

fn canonical_digest(document: &Value) -> Sha256 {
    // `Value` keeps keys sorted, so its compact text is canonical.
    Sha256::of(document.to_string().as_bytes())
}

fn entry(state: &State, model: &Model) -> Option<Entry> {
    let push = state.shown(model)?;
    let said = model.describe(push);
    let mut extra: BTreeMap<String, Value> = model
        .fields
        .iter()
        .filter(|(field, _)| !is_computed(field) && !is_named(model.kind, field))
        .filter(|(field, _)| *field != METRICS && *field != "status" && !field.starts_with("metrics."))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    let held_by =
        |kind: HostKind| state.hosts.values().any(|seen| seen.host_kind == kind && seen.holds.contains(&model.id));
    let last_used = state.last_used(model)?.to_string();
    let status = state.status(model);
    let modelkeep = Ours {
        revision: push.revision.to_string(),
        number: push.number,
        revisions: model.pushes.iter().filter(|push| push.removed.is_none()).count(),
        latest: model.latest().map_or(0, |push| push.number),
        labels: model.labels.iter().map(|(label, revision)| (label.to_string(), revision.to_string())).collect(),
        files: push.files,
        size_bytes: push.size_bytes,
        pushed_at: push.at.to_string(),
        pushed_by: push.by.clone(),
        path: state.shown_path(model).to_string(),
        cached_in_codespaces: held_by(HostKind::Codespaces),
        cached_in_colab: held_by(HostKind::Colab),
        last_used: last_used.clone(),
    };
    Some(match model.kind {
        ModelKind::Base => {
            // The shape people know has no metrics of base models: those that they set stand beside.
            let set: Map<String, Value> =
                model.set_metrics().map(|(name, value)| (name.to_owned(), value.clone())).collect();
            if !set.is_empty() {
                extra.insert(METRICS.to_owned(), Value::Object(set));
            }
            Entry::Base(BaseEntry {
                id: model.id.to_string(),
                source: said.source,
                size_gb: gigabytes(push.size_bytes),
                cached_in_codespaces: modelkeep.cached_in_codespaces,
                cached_in_colab: modelkeep.cached_in_colab,
                last_used,
                purpose: model.text("purpose", Some("base model")),
                status,
                extra,
                modelkeep,
            })
        }
        ModelKind::Finetuned | ModelKind::Filed => Entry::Finetuned(FinetunedEntry {
            id: model.id.to_string(),
            model_type: said.model_type,
            size_mb: megabytes(push.size_bytes),
            base_model: said.base_model.map(|name| state.base_name(&name)),
            training_date: said.training_date,
            metrics: metrics(model, push, said.metrics),
            status,
            deployed_at: state.deployment_of(&model.id).map(|deployment| deployment.at.to_string()),
            extra,
            modelkeep,
        }),
    })
}

/// The metrics of an entry: numbers, and whatever else an adopted registry had for one.
fn metrics(model: &Model, push: &Push, numbers: BTreeMap<String, Option<f64>>) -> BTreeMap<String, Value> {
    let mut metrics: BTreeMap<String, Value> = numbers.into_iter().map(|(name, value)| (name, json!(value))).collect();
    if model.is_newest(push) {
        let other = model.set_metrics().filter(|(_, value)| !value.is_number());
        metrics.extend(other.map(|(name, value)| (name.to_owned(), value.clone())));
    }
    metrics
}

/// What a registry file found on a remote is.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// One of our renderings, untouched.
    Rendering(Sha256),
    /// A rendering of ours that somebody edited; the digest is of the rendering that it was.
    Edited(Sha256, Box<Value>),
    /// A registry that never was ours.
    Foreign(Box<Value>),
    /// Not readable as a registry.
    Unreadable(String),
}

/// Tells what the bytes of a registry file are.
pub fn examine(bytes: &[u8]) -> Found {
    let mut document: Value = match serde_json::from_slice(bytes) {
        Ok(document) => document,
        Err(error) => return Found::Unreadable(error.to_string()),
    };
    if !document.get("models").is_some_and(Value::is_array) {
        return Found::Unreadable("it has no list `models`".to_owned());
    }
    let stamp = document.get_mut("modelkeep").and_then(Value::as_object_mut);
    let embedded = stamp
        .and_then(|stamp| stamp.remove("rendering"))
        .and_then(|digest| digest.as_str().and_then(|text| text.parse().ok()));
    match embedded {
        None => Found::Foreign(Box::new(document)),
        Some(digest) if canonical_digest(&document) == digest => Found::Rendering(digest),
        Some(digest) => Found::Edited(digest, Box::new(document)),
    }
}

/// The difference a person made: changed fields by model id (top-level fields under the empty id), null for a field
/// that was taken out; and what cannot be taken in, as sentences.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edits {
    /// What becomes an event.
    pub changes: BTreeMap<String, BTreeMap<String, Value>>,
    /// What does not.
    pub refused: Vec<String>,
    /// The newest event that the edited rendering knew.
    pub seen: Option<EventName>,
}

/// Compares an edited registry with the rendering that it was.
pub fn edits(base: &Value, found: &Value) -> Edits {
    let mut edits = Edits { seen: event_of(base), ..Edits::default() };
    let (old, new) = (entries(base), entries(found));
    for (id, fields) in &new {
        let before = old.get(id);
        let mut changed = changed_fields(before.unwrap_or(&BTreeMap::new()), fields);
        changed.remove("id");
        match fields.get(METRICS) {
            Some(value) if !value.is_object() && changed.contains_key(METRICS) => {
                edits.refused.push(format!("{id}: `metrics` is an object, {{\"f1\": 0.95}}, not {value}"));
                // The metrics that it stands in place of were not taken out one by one.
                changed.retain(|field, _| field != METRICS && !field.starts_with("metrics."));
            }
            _ if before.is_some_and(|before| before.contains_key("modelkeep")) => drop(changed.remove(METRICS)),
            _ => {}
        }
        for (field, value) in changed {
            if let Some(why) = refusal(before, &field, &value) {
                edits.refused.push(format!("{id}: {why}"));
            } else {
                edits.changes.entry(id.clone()).or_default().insert(field, value);
            }
        }
    }
    for id in old.keys().filter(|id| !new.contains_key(*id)) {
        edits.refused.push(format!("{id}: an entry taken out of the file removes nothing; use modelkeep rm {id}"));
    }
    let top = |document: &Value| -> BTreeMap<String, Value> {
        let object = document.as_object().cloned().unwrap_or_default();
        object.into_iter().filter(|(key, _)| key != "models" && key != "modelkeep").collect()
    };
    let changed = changed_fields(&top(base), &top(found));
    if !changed.is_empty() {
        edits.changes.insert(String::new(), changed);
    }
    edits
}

/// Why a changed field of an entry is not taken in; `before` is the entry as it was rendered.
fn refusal(before: Option<&BTreeMap<String, Value>>, field: &str, value: &Value) -> Option<String> {
    if before.is_some() && is_computed(field) {
        return Some(format!("`{field}` is measured, not set"));
    }
    if field == "status" {
        let deployed = before.is_some_and(|before| before.get(field).and_then(Value::as_str) == Some("deployed"));
        return match value.as_str() {
            Some("active" | "archived" | "failed") if deployed => {
                Some(format!("status {value}; it is deployed: deploy another one first, with modelkeep deploy"))
            }
            Some("active" | "archived" | "failed") => None,
            _ => Some(format!("status {value}; use modelkeep deploy or modelkeep rm")),
        };
    }
    // Entries that belong to no model are kept as they are, whatever they say.
    let ours = before?.get("modelkeep")?;
    if !said_by_push(field) {
        return None;
    }
    let (number, latest) = (ours.get("number")?, ours.get("latest")?);
    if number != latest {
        return Some(format!(
            "`{field}` stands here for #{number}, which is deployed, and is set for the newest, #{latest}; \
             use modelkeep set"
        ));
    }
    if value.is_null() {
        return None;
    }
    if field.starts_with("metrics.") && !value.is_number() {
        return Some(format!("`{field}` takes a number, not {value}"));
    }
    let date = value.as_str().is_some_and(|text| text.parse::<jiff::civil::Date>().is_ok());
    (field == "training_date" && !date).then(|| format!("`training_date` is YYYY-MM-DD, not {value}"))
}

/// The newest event that a registry file of ours knew when it was rendered.
pub fn newest_event(bytes: &[u8]) -> Option<EventName> {
    event_of(&serde_json::from_slice(bytes).ok()?)
}

fn event_of(document: &Value) -> Option<EventName> {
    document.pointer("/modelkeep/event")?.as_str()?.parse().ok()
}

/// The fields of each entry; metrics are fields of their own (`metrics.<name>`).
fn entries(document: &Value) -> BTreeMap<String, BTreeMap<String, Value>> {
    let list = document.get("models").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|entry| {
        let object = entry.as_object()?;
        let id = object.get("id")?.as_str()?.to_owned();
        Some((id, flat_fields(object)))
    })
    .collect()
}

/// An entry's fields by name, each metric as `metrics.<name>`. A `metrics` that holds none stays a field.
pub fn flat_fields(entry: &Map<String, Value>) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    for (field, value) in entry {
        match (field.as_str(), value) {
            (METRICS, Value::Object(metrics)) if !metrics.is_empty() => {
                fields.extend(metrics.iter().map(|(name, value)| (format!("metrics.{name}"), value.clone())));
            }
            _ => {
                fields.insert(field.clone(), value.clone());
            }
        }
    }
    fields
}

/// The entry that these fields are: [`flat_fields`] the other way round.
fn entry_of(fields: &BTreeMap<String, Value>) -> Map<String, Value> {
    let mut entry = Map::new();
    // `metrics` comes before every `metrics.…`.
    for (field, value) in fields {
        match field.strip_prefix("metrics.") {
            Some(name) if entry.get(METRICS).is_none_or(Value::is_object) => {
                let metrics = entry.entry(METRICS).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(metrics) = metrics {
                    metrics.insert(name.to_owned(), value.clone());
                }
            }
            _ => {
                entry.insert(field.clone(), value.clone());
            }
        }
    }
    entry
}

fn changed_fields(old: &BTreeMap<String, Value>, new: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let set = new.iter().filter(|(field, value)| old.get(*field) != Some(value));
    let gone = old.keys().filter(|field| !new.contains_key(*field) && !is_computed(field));
    set.map(|(field, value)| (field.clone(), value.clone()))
        .chain(gone.map(|field| (field.clone(), Value::Null)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::event::{Body, Event, Seen};
    use crate::registry::state::tests::{event, pushed};

    fn state(bodies: Vec<Body>) -> State {
        let events: Vec<(EventName, Event)> = bodies.into_iter().zip(1..).map(|(body, at)| event(at, body)).collect();
        State::fold(events.iter().map(|(name, event)| (name, event)))
    }

    fn base() -> Body {
        match pushed("llama2-7b", 9, 1, b"base") {
            Body::Pushed(mut push) => {
                push.model_kind = ModelKind::Base;
                push.facts.source = Some("meta-llama/Llama-2-7b-hf".to_owned());
                Body::Pushed(push)
            }
            _ => unreachable!(),
        }
    }

    fn adapter() -> Body {
        match pushed("banking-v1", 1, 1, b"a") {
            Body::Pushed(mut push) => {
                push.facts.base_model = Some("meta-llama/Llama-2-7b-hf".to_owned());
                Body::Pushed(push)
            }
            _ => unreachable!(),
        }
    }

    #[test]
    fn every_field_is_present_and_unknown_is_null() {
        let rendering = render(&state(vec![adapter(), base()]));
        let document: Value = serde_json::from_slice(&rendering.bytes).unwrap();
        let models = document["models"].as_array().unwrap();
        assert_eq!(models[0]["id"], "llama2-7b");
        for field in ["source", "size_gb", "cached_in_codespaces", "cached_in_colab", "last_used", "purpose"] {
            assert!(models[0].get(field).is_some(), "{field}");
        }
        for field in ["type", "size_mb", "base_model", "training_date", "metrics", "status", "deployed_at"] {
            assert!(models[1].get(field).is_some(), "{field}");
        }
        assert_eq!(models[1]["deployed_at"], Value::Null);
        assert_eq!(models[1]["base_model"], "llama2-7b", "a base model is called by its id here");
        assert_eq!(examine(&rendering.bytes), Found::Rendering(rendering.digest));
        assert_eq!(render(&state(vec![adapter(), base()])), rendering, "the same state renders the same bytes");
    }

    #[test]
    fn what_hosts_report_is_shown() {
        let seen = |host: &str, host_kind, day: &str| {
            Body::Seen(Seen {
                host: host.to_owned(),
                host_kind,
                holds: ["llama2-7b".parse().unwrap()].into(),
                used: [("llama2-7b".parse().unwrap(), day.parse().unwrap())].into(),
            })
        };
        let state = state(vec![
            base(),
            seen("fluffy-umbrella", HostKind::Codespaces, "2026-12-03"),
            seen("colab", HostKind::Colab, "2026-12-04"),
        ]);
        let document: Value = serde_json::from_slice(&render(&state).bytes).unwrap();
        let entry = &document["models"][0];
        assert_eq!((&entry["cached_in_codespaces"], &entry["cached_in_colab"]), (&json!(true), &json!(true)));
        assert_eq!(entry["last_used"], "2026-12-04");
    }

    #[test]
    fn an_edit_by_hand_is_the_difference_to_what_was_rendered() {
        let rendering = render(&state(vec![adapter(), base()]));
        let base: Value = serde_json::from_slice(&rendering.bytes).unwrap();
        let mut found = base.clone();
        found["models"][1]["purpose"] = json!("demo day");
        found["models"][1]["metrics"]["f1"] = json!(0.9);
        found["models"][1]["size_mb"] = json!(1);
        found["models"][1]["status"] = json!("archived");
        found["team"] = json!("risk");
        found["models"].as_array_mut().unwrap().push(json!({"id": "by-hand", "where": "a USB stick"}));
        let bytes = serde_json::to_vec(&found).unwrap();
        let Found::Edited(digest, found) = examine(&bytes) else { panic!("an edit") };
        assert_eq!(digest, rendering.digest);
        let edits = edits(&base, &found);
        assert_eq!(edits.changes["banking-v1"]["purpose"], "demo day");
        assert_eq!(edits.changes["banking-v1"]["metrics.f1"], 0.9);
        assert_eq!(edits.changes["banking-v1"]["status"], "archived");
        assert_eq!(edits.changes["by-hand"]["where"], "a USB stick");
        assert_eq!(edits.changes[""]["team"], "risk");
        assert_eq!(edits.refused, ["banking-v1: `size_mb` is measured, not set"]);
        assert!(edits.seen.is_some());
    }

    fn document(state: &State) -> Value {
        let rendering = render(state);
        let text = String::from_utf8(rendering.bytes.clone()).unwrap();
        assert_eq!(examine(&rendering.bytes), Found::Rendering(rendering.digest));
        let document: Value = serde_json::from_str(&text).unwrap();
        let length = |text: &str| text.split_whitespace().map(str::len).sum::<usize>();
        assert_eq!(length(&text), length(&document.to_string()), "every key stands once: {text}");
        document
    }

    fn fields(model: &str, set: Value) -> Body {
        Body::Fields { model: model.parse().unwrap(), set: serde_json::from_value(set).unwrap() }
    }

    fn kept_aside(others: Value) -> Body {
        Body::RegistryAdopted { models: BTreeMap::new(), others: serde_json::from_value(others).unwrap() }
    }

    fn deployed() -> Body {
        let Body::Pushed(push) = adapter() else { unreachable!() };
        Body::Deployed { model: push.model, revision: push.revision, rollback: false }
    }

    /// What an edit of the rendering of this state makes of it.
    fn edited(state: &State, change: impl FnOnce(&mut Value)) -> Edits {
        let base = document(state);
        let mut found = base.clone();
        change(&mut found);
        edits(&base, &found)
    }

    #[test]
    fn fields_of_the_other_kind_stand_beside_when_set() {
        let set = json!({"type": "full model", "base_model": "b", "training_date": "2026-01-01",
            "metrics.f1": 0.5, "source": "a Hub repository", "metrics": {"f1": 9}, "size_gb": 1});
        let state = state(vec![adapter(), base(), fields("llama2-7b", set.clone()), fields("banking-v1", set)]);
        let document = document(&state);
        let (base, adapter) = (&document["models"][0], &document["models"][1]);
        assert_eq!((&base["type"], &base["base_model"]), (&json!("full model"), &json!("b")));
        assert_eq!((&base["training_date"], &base["metrics"]), (&json!("2026-01-01"), &json!({"f1": 0.5})));
        assert_eq!((&base["source"], &base["size_gb"]), (&json!("a Hub repository"), &json!(0.0)));
        assert_eq!((&adapter["source"], &adapter["type"]), (&json!("a Hub repository"), &json!("full model")));
        assert_eq!(adapter["metrics"], json!({"eval_loss": 0.1, "f1": 0.5}));
        let text = String::from_utf8(render(&state).bytes).unwrap();
        assert_eq!(text.matches("\"metrics\"").count(), 2, "{text}");
    }

    #[test]
    fn a_metric_taken_out_by_hand_shows_what_was_learnt() {
        let set = fields("banking-v1", json!({"metrics.f1": 0.5, "metrics.eval_loss": 9.0}));
        let mut bodies = vec![adapter(), set];
        let before = state(bodies.clone());
        assert_eq!(document(&before)["models"][0]["metrics"], json!({"eval_loss": 9.0, "f1": 0.5}));
        let edits = edited(&before, |found| found["models"][0]["metrics"] = json!({"eval_loss": null}));
        assert!(edits.refused.is_empty(), "{:?}", edits.refused);
        let digest = Sha256::of(b"any");
        bodies.push(Body::RegistryEdited { base: digest, found: digest, seen: edits.seen, changes: edits.changes });
        assert_eq!(document(&state(bodies))["models"][0]["metrics"], json!({"eval_loss": 0.1}));
    }

    #[test]
    fn metrics_that_are_no_object_of_numbers_are_refused() {
        let state = state(vec![adapter(), fields("banking-v1", json!({"metrics.f1": 0.5}))]);
        for wrong in [json!("good"), json!(null), json!([1]), json!(0.5)] {
            let edits = edited(&state, |found| found["models"][0]["metrics"] = wrong.clone());
            assert_eq!(edits.refused, [format!("banking-v1: `metrics` is an object, {{\"f1\": 0.95}}, not {wrong}")]);
            assert!(edits.changes.is_empty(), "the metrics themselves stay: {:?}", edits.changes);
        }
        let edits = edited(&state, |found| found["models"][0]["metrics"]["f1"] = json!("good"));
        assert_eq!(edits.refused, ["banking-v1: `metrics.f1` takes a number, not \"good\""]);
        let edits = edited(&state, |found| found["models"][0]["training_date"] = json!("May"));
        assert_eq!(edits.refused, ["banking-v1: `training_date` is YYYY-MM-DD, not \"May\""]);
        let edits =
            edited(&state, |found| found["models"].as_array_mut().unwrap().push(json!({"id": "x", "metrics": 1})));
        assert_eq!(edits.refused, ["x: `metrics` is an object, {\"f1\": 0.95}, not 1"]);
    }

    #[test]
    fn an_adopted_metric_that_is_no_number_stays_as_it_was() {
        let state = state(vec![adapter(), fields("banking-v1", json!({"metrics.f1": "93 %"}))]);
        assert_eq!(document(&state)["models"][0]["metrics"], json!({"eval_loss": 0.1, "f1": "93 %"}));
        assert_eq!(edited(&state, |_| ()), Edits { seen: state.last, ..Edits::default() });
    }

    #[test]
    fn entries_without_a_model_keep_their_shape() {
        let whole = json!({"id": "gone", "metrics": {"f1": 0.5, "by": {"a": 1}}, "deployed_at": null, "size_mb": 3});
        let odd = json!({"id": "odd", "metrics": "none", "note": 1});
        let bare = json!({"id": "bare", "metrics": {}});
        let flat = |entry: &Value| {
            let mut fields = flat_fields(entry.as_object().unwrap());
            fields.remove("id");
            json!(fields)
        };
        let mut bodies =
            vec![adapter(), kept_aside(json!({"gone": flat(&whole), "odd": flat(&odd), "bare": flat(&bare)}))];
        let before = state(bodies.clone());
        assert_eq!(document(&before)["models"].as_array().unwrap()[1..], [bare, whole, odd]);
        let edits = edited(&before, |found| {
            found["models"][1]["metrics"]["f1"] = json!(0.75);
            found["models"][2]["metrics"]["f1"] = json!(0.75);
            found["models"][3].as_object_mut().unwrap().remove("metrics");
        });
        assert!(edits.refused.is_empty(), "{:?}", edits.refused);
        let digest = Sha256::of(b"any");
        bodies.push(Body::RegistryEdited { base: digest, found: digest, seen: edits.seen, changes: edits.changes });
        let models = &document(&state(bodies))["models"];
        assert_eq!(models[1], json!({"id": "bare", "metrics": {"f1": 0.75}}));
        assert_eq!(models[2]["metrics"], json!({"f1": 0.75, "by": {"a": 1}}));
        assert_eq!(models[2]["deployed_at"], Value::Null);
        assert_eq!(models[3], json!({"id": "odd", "note": 1}));
    }

    #[test]
    fn the_path_is_where_the_model_stands() {
        let mut body = adapter();
        let Body::Pushed(push) = &mut body else { unreachable!() };
        push.folder = Some("Banking v1 (final)".to_owned());
        let newer = pushed("banking-v1", 2, 2, b"b");
        let path = |state: &State| document(state)["models"][0]["modelkeep"]["path"].clone();
        assert_eq!(path(&state(vec![body.clone()])), "models/finetuned/Banking v1 (final)");
        assert_eq!(path(&state(vec![body, newer])), "models/finetuned/banking-v1");
    }

    #[test]
    fn the_status_of_what_is_deployed_is_not_edited() {
        let state = state(vec![adapter(), base(), deployed()]);
        for status in ["archived", "failed", "active"] {
            let edits = edited(&state, |found| found["models"][1]["status"] = json!(status));
            assert!(edits.changes.is_empty() && edits.refused[0].contains("it is deployed"), "{edits:?}");
            let edits = edited(&state, |found| found["models"][0]["status"] = json!(status));
            assert!(edits.refused.is_empty(), "{edits:?}");
        }
    }

    #[test]
    fn what_a_push_says_is_not_edited_in_the_entry_of_an_older_one() {
        let state = state(vec![adapter(), deployed(), pushed("banking-v1", 2, 2, b"b")]);
        let edits = edited(&state, |found| {
            found["models"][0]["metrics"] = json!({});
            found["models"][0]["note"] = json!("fine");
        });
        assert_eq!(
            edits.refused,
            ["banking-v1: `metrics.eval_loss` stands here for #1, which is deployed, and is set for the newest, #2; \
             use modelkeep set"]
        );
        assert_eq!(edits.changes["banking-v1"].keys().collect::<Vec<_>>(), ["note"]);
    }

    #[test]
    fn a_push_is_a_use() {
        let seen = |day: &str| {
            Body::Seen(Seen {
                host: "colab".to_owned(),
                host_kind: HostKind::Colab,
                holds: BTreeSet::new(),
                used: [("llama2-7b".parse().unwrap(), day.parse().unwrap())].into(),
            })
        };
        let used = |bodies| {
            let document = document(&state(bodies));
            assert_eq!(document["models"][0]["last_used"], document["models"][0]["modelkeep"]["last_used"]);
            document["models"][0]["last_used"].clone()
        };
        let pushed = state(vec![base()]).updated_at.unwrap().strftime("%Y-%m-%d").to_string();
        assert_eq!(used(vec![base()]), pushed.as_str());
        assert_eq!(used(vec![base(), seen("2020-01-01")]), pushed.as_str());
        assert_eq!(used(vec![base(), seen("2030-01-01")]), "2030-01-01");
    }

    #[test]
    fn a_file_that_is_no_registry_is_told_apart() {
        assert!(matches!(examine(b"{"), Found::Unreadable(_)));
        assert!(matches!(examine(b"[]"), Found::Unreadable(_)));
        assert!(matches!(examine(br#"{"models":[]}"#), Found::Foreign(_)));
    }
}
