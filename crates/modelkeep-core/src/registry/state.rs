//! The fold: events in, state out. Any two clients with the same events have the same state.
//!
//! The reader's clock is no input. Events are applied in the order of their names, each once.

use std::collections::btree_map::Values;
use std::collections::{BTreeMap, BTreeSet};
use std::iter::Chain;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::{RevisionId, Sha256, Txn};
use crate::error::{Error, Result};
use crate::event::{AdoptedEntry, Body, Event, EventName, PushIds, Pushed, Seen, SetStatus};
use crate::filed::{Filed, Place, Shape};
use crate::layout;
use crate::maintain::Done;
use crate::manifest::{Facts, ModelKind};
use crate::name::{Label, ModelId, ModelRef, Selector};
use crate::path::RemotePath;

/// Everything the log says, folded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Every model that was ever pushed, removed ones too.
    pub models: BTreeMap<ModelId, Model>,
    /// Everything that was ever filed and is no model, by its key.
    pub filed: BTreeMap<ModelId, Model>,
    /// Other names of models (from adopted registries).
    pub aliases: BTreeMap<String, ModelId>,
    /// What was deployed, oldest first; the last one is current. A rollback takes one off.
    pub deployments: Vec<Deployment>,
    /// What each host said last.
    pub hosts: BTreeMap<String, Seen>,
    /// When each task of upkeep was done last, by task and host.
    pub maintained: Done,
    /// Registry entries and top-level fields (under the empty id) that belong to no model of ours.
    pub foreign: BTreeMap<String, BTreeMap<String, Value>>,
    /// Hand edits that were applied, as (base, found).
    edits: BTreeSet<(Sha256, Sha256)>,
    /// The newest event.
    pub last: Option<EventName>,
    /// When the newest event happened, by its writer.
    pub updated_at: Option<Timestamp>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Its id.
    pub id: ModelId,
    /// Base or finetuned; the first push decides.
    pub kind: ModelKind,
    /// Where it is shown, when it is no model; `id` is its key then.
    pub place: Option<Place>,
    /// Its pushes, oldest first.
    pub pushes: Vec<Push>,
    /// Its labels; `latest` is computed.
    pub labels: BTreeMap<Label, RevisionId>,
    /// Fields set by people, over what was learnt; a newer push takes back those that it says itself.
    pub fields: BTreeMap<String, Value>,
    /// The event that last changed each field.
    changed: BTreeMap<String, EventName>,
    /// What its status was set to.
    set_status: SetStatus,
}

/// One committed push.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Push {
    /// This act.
    pub txn: Txn,
    /// Its content.
    pub revision: RevisionId,
    /// Its number, for ever.
    pub number: u64,
    /// How many files.
    pub files: u64,
    /// All bytes.
    pub size_bytes: u64,
    /// What was learnt.
    pub facts: Facts,
    /// The event that committed it, which may carry the files.
    pub event: EventName,
    /// The store's own ids, where it has them.
    pub ids: Option<PushIds>,
    /// Found on the remote rather than sent.
    pub adopted: bool,
    /// The folder it was adopted in, when that is not named as the model.
    pub folder: Option<String>,
    /// How it is shown, when it is no model.
    pub shape: Option<Shape>,
    /// When, by its writer.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// When it was removed, if it was.
    pub removed: Option<Timestamp>,
    /// The whole push that took its place when it was found damaged.
    pub replaced_by: Option<Txn>,
}

/// One deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The model.
    pub model: ModelId,
    /// The content.
    pub revision: RevisionId,
    /// Since when.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
}

/// What a model is at now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// In use.
    Active,
    /// What `deployed/current` points to.
    Deployed,
    /// Kept, no longer in use.
    Archived,
    /// A training run that came to nothing.
    Failed,
    /// Every push was removed.
    Removed,
}

impl Status {
    /// As in JSON and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deployed => "deployed",
            Self::Archived => "archived",
            Self::Failed => "failed",
            Self::Removed => "removed",
        }
    }
}

/// What is said of a push: what it said itself, with what people set over it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Description {
    /// What it is.
    pub model_type: Option<String>,
    /// The model it was trained from, as it was named ([`State::base_name`] has the name here).
    pub base_model: Option<String>,
    /// Where a base model was taken from.
    pub source: Option<String>,
    /// The day the training ended; people may have written it in another way.
    pub training_date: Option<String>,
    /// Its metrics; null where training wrote no number.
    pub metrics: BTreeMap<String, Option<f64>>,
}

/// Fields that a push says itself, so that an older setting by hand gives way to a newer push.
pub(super) fn said_by_push(field: &str) -> bool {
    matches!(field, "type" | "base_model" | "training_date") || field.starts_with("metrics.")
}

impl State {
    /// Folds events in the order of their names; the same name twice counts once.
    pub fn fold<'a>(events: impl IntoIterator<Item = (&'a EventName, &'a Event)>) -> Self {
        let ordered: BTreeMap<&EventName, &Event> = events.into_iter().collect();
        let mut state = Self::default();
        for (name, event) in ordered {
            state.apply(name, event);
        }
        state
    }

    fn apply(&mut self, name: &EventName, event: &Event) {
        self.last = Some(*name);
        self.updated_at = Some(event.at);
        match &event.body {
            Body::Pushed(pushed) => {
                let model = self.models.entry(pushed.model.clone());
                model
                    .or_insert_with(|| Model::new(pushed.model.clone(), pushed.model_kind, None))
                    .push(name, event, pushed);
            }
            Body::Filed(pushed) => {
                // The key follows from the place.
                let Some(Ok(key)) = pushed.filed.as_ref().map(|filed| filed.place.key()) else { return };
                let place = pushed.filed.as_ref().map(|filed| filed.place.clone());
                let item = self.filed.entry(key.clone());
                item.or_insert_with(|| Model::new(key, ModelKind::Filed, place)).push(name, event, pushed);
            }
            Body::Labelled { model, label, revision } => {
                if let Some(model) = self.models.get_mut(model) {
                    model.labels.insert(label.clone(), *revision);
                }
            }
            Body::Unlabelled { model, label } => {
                if let Some(model) = self.models.get_mut(model) {
                    model.labels.remove(label);
                }
            }
            Body::Fields { model, set } => {
                if let Some(model) = self.models.get_mut(model) {
                    for (field, value) in set {
                        model.set_field(field, value, name);
                    }
                }
            }
            Body::Status { model, status } => {
                if let Some(model) = self.models.get_mut(model) {
                    model.set_status = *status;
                    model.changed.insert("status".to_owned(), *name);
                }
            }
            Body::Deployed { model, revision, rollback } => {
                let deployment =
                    Deployment { model: model.clone(), revision: *revision, at: event.at, by: event.by.clone() };
                if *rollback {
                    self.deployments.pop();
                    // What it goes back to takes its new time; anything else in between was undone as well.
                    if self.deployments.last().is_some_and(|top| top.model == *model && top.revision == *revision) {
                        self.deployments.pop();
                    }
                }
                self.deployments.push(deployment);
                if let Some(model) = self.models.get_mut(model) {
                    model.set_status = SetStatus::Active;
                }
            }
            Body::Removed { model, txns } => self.mark(model, txns, Some(event.at)),
            Body::Restored { model, txns } => self.mark(model, txns, None),
            Body::RegistryEdited { base, found, seen, changes } => {
                if self.edits.insert((*base, *found)) {
                    self.edited(name, *seen, changes);
                }
            }
            Body::RegistryAdopted { models, others } => {
                self.foreign.extend(others.clone());
                for (id, entry) in models {
                    self.adopted(name, event, id, entry);
                }
            }
            Body::Seen(seen) => {
                self.hosts.insert(seen.host.clone(), seen.clone());
            }
            Body::Maintained { host, tasks } => {
                for task in tasks {
                    self.maintained.entry(task.clone()).or_default().insert(host.clone(), event.at);
                }
            }
            Body::Unknown => {}
        }
    }

    fn mark(&mut self, model: &ModelId, txns: &BTreeSet<Txn>, removed: Option<Timestamp>) {
        // A model may be called as a key is; a transaction is only one's own.
        let pushes = [self.models.get_mut(model), self.filed.get_mut(model)].into_iter().flatten();
        let mut txns = txns.clone();
        for push in pushes.flat_map(|model| &mut model.pushes) {
            if !txns.contains(&push.txn) {
                continue;
            }
            // What is said of a damaged push is meant for the one that took its place.
            match push.replaced_by {
                Some(whole) => drop(txns.insert(whole)),
                None => push.removed = removed,
            }
        }
    }

    fn edited(
        &mut self,
        name: &EventName,
        seen: Option<EventName>,
        changes: &BTreeMap<String, BTreeMap<String, Value>>,
    ) {
        for (id, fields) in changes {
            let model = id.parse::<ModelId>().ok().and_then(|id| self.models.get_mut(&id));
            let Some(model) = model else {
                let entry = self.foreign.entry(id.clone()).or_default();
                for (field, value) in fields {
                    set_or_remove(entry, field, value);
                }
                continue;
            };
            for (field, value) in fields {
                if model.changed.get(field).copied() <= seen {
                    model.set_field(field, value, name);
                }
            }
        }
        self.foreign.retain(|_, fields| !fields.is_empty());
    }

    fn adopted(&mut self, name: &EventName, event: &Event, id: &ModelId, entry: &AdoptedEntry) {
        let Some(model) = self.models.get_mut(id) else { return };
        for (field, value) in &entry.fields {
            model.set_field(field, value, name);
        }
        if let Some(status) = entry.status {
            model.set_status = status;
        }
        for (label, revision) in &entry.labels {
            if model.push_of(revision).is_some() {
                model.labels.insert(label.clone(), *revision);
            }
        }
        let shown = entry.revision.and_then(|revision| model.push_of(&revision));
        if entry.deployed
            && let Some(push) = shown.or_else(|| model.latest())
        {
            self.deployments.push(Deployment {
                model: id.clone(),
                revision: push.revision,
                at: entry.deployed_at.unwrap_or(event.at),
                by: event.by.clone(),
            });
        }
        if let Some(alias) = &entry.alias {
            self.aliases.insert(alias.clone(), id.clone());
        }
    }

    /// Everything that has pushes: models, and what is filed.
    pub fn kept(&self) -> Chain<Values<'_, ModelId, Model>, Values<'_, ModelId, Model>> {
        self.models.values().chain(self.filed.values())
    }

    /// The model of that id, or what is filed under that key.
    pub fn of(&self, id: &ModelId) -> Option<&Model> {
        self.models.get(id).or_else(|| self.filed.get(id))
    }

    /// The push of that transaction, and whose it is.
    pub fn push(&self, txn: &Txn) -> Option<(&Model, &Push)> {
        self.kept().find_map(|model| Some((model, model.pushes.iter().find(|push| push.txn == *txn)?)))
    }

    /// Whether an edit by hand was taken in already.
    pub fn knows_edit(&self, base: &Sha256, found: &Sha256) -> bool {
        self.edits.contains(&(*base, *found))
    }

    /// What `deployed/current` names, while its content is not removed.
    pub fn deployed(&self) -> Option<&Deployment> {
        let current = self.deployments.last()?;
        let model = self.models.get(&current.model)?;
        model.push_of(&current.revision).map(|_| current)
    }

    /// The deployment that `rollback` goes back to: the newest before the current one whose content is still there.
    pub fn before_current(&self) -> Option<&Deployment> {
        let (current, earlier) = self.deployments.split_last()?;
        earlier.iter().rev().find(|deployment| {
            (&deployment.model, deployment.revision) != (&current.model, current.revision)
                && self.models.get(&deployment.model).is_some_and(|m| m.push_of(&deployment.revision).is_some())
        })
    }

    /// The deployment of this model, if it is the deployed one.
    pub fn deployment_of(&self, model: &ModelId) -> Option<&Deployment> {
        self.deployed().filter(|deployment| deployment.model == *model)
    }

    /// The push that stands at `models/…/<id>`: the deployed revision's while there is one, else the newest.
    pub fn shown<'a>(&self, model: &'a Model) -> Option<&'a Push> {
        let revision = self.deployment_of(&model.id).map(|deployment| deployment.revision);
        revision.and_then(|revision| model.push_of(&revision)).or_else(|| model.latest())
    }

    /// Where a model is shown: its own place, or the folder of another name that the shown push was adopted in.
    pub fn shown_path(&self, model: &Model) -> RemotePath {
        let adopted = self.shown(model).and_then(|push| push.folder.as_ref());
        adopted.map_or_else(|| layout::shown(model.kind, &model.id), |name| layout::models(model.kind).join(name))
    }

    /// The day a model was last used: what hosts say, or the push that is shown, since pushing is using.
    pub fn last_used(&self, model: &Model) -> Option<Date> {
        let reported = self.hosts.values().filter_map(|seen| seen.used.get(&model.id)).max().copied();
        reported.max(self.shown(model).map(|push| TimeZone::UTC.to_datetime(push.at).date()))
    }

    /// A model's status.
    pub fn status(&self, model: &Model) -> Status {
        if model.latest().is_none() {
            return Status::Removed;
        }
        if self.deployment_of(&model.id).is_some() {
            return Status::Deployed;
        }
        match model.set_status {
            SetStatus::Active => Status::Active,
            SetStatus::Archived => Status::Archived,
            SetStatus::Failed => Status::Failed,
        }
    }

    /// The model that `<family>-latest` points to.
    pub fn family_latest(&self, family: &str) -> Option<&Model> {
        self.models
            .values()
            .filter(|model| model.kind == ModelKind::Finetuned && model.id.family() == family)
            .filter(|model| !matches!(self.status(model), Status::Removed | Status::Failed))
            .max_by(|a, b| a.id.cmp_version(&b.id))
    }

    fn named(&self, name: &str) -> Option<&Model> {
        match self.aliases.get(name) {
            Some(id) => self.models.get(id),
            None => self.models.get(name),
        }
    }

    /// The model of that id or alias, removed or not.
    pub fn model(&self, name: &str) -> Result<&Model> {
        if let Some(model) = self.named(name) {
            return Ok(model);
        }
        let error = Error::not_found(format!("there is no model `{name}`"));
        let mut near: Vec<(usize, &ModelId)> = self
            .models
            .values()
            .filter(|model| model.latest().is_some())
            .map(|model| (strsim::damerau_levenshtein(name, model.id.as_str()), &model.id))
            .filter(|(distance, id)| *distance <= 3 || id.family() == name)
            .collect();
        near.sort();
        let names: Vec<String> = near.iter().take(3).map(|(_, id)| format!("`{id}`")).collect();
        Err(error.hint(if names.is_empty() {
            "modelkeep list".to_owned()
        } else {
            format!("did you mean {}?", names.join(" or "))
        }))
    }

    /// The push that `MODEL@REV` means; removed pushes are not found.
    pub fn resolve(&self, reference: &ModelRef) -> Result<(&Model, &Push)> {
        let model = self.model(&reference.model)?;
        model.choose(&reference.selector).map(|push| (model, push))
    }

    /// What is filed at `PLACE[@REV]`, or under the last part of its name alone when that is one thing's only.
    pub fn filed(&self, text: &str) -> Result<(&Model, Selector)> {
        if let Some(item) = self.filed_at(text) {
            return Ok((item, Selector::Latest));
        }
        if let Some((place, revision)) = text.rsplit_once('@')
            && let Some(item) = self.filed_at(place)
        {
            let reference: ModelRef = format!("{}@{revision}", item.id).parse()?;
            return Ok((item, reference.selector));
        }
        let near = |item: &&Model| {
            let name = item.place.as_ref().map_or("", Place::name);
            item.latest().is_some() && (strsim::damerau_levenshtein(name, text.rsplit('/').next().unwrap_or(text)) <= 3)
        };
        let names: Vec<String> =
            self.filed.values().filter(near).take(3).map(|item| format!("`{}`", item.name())).collect();
        let error = Error::not_found(format!("nothing is filed as `{text}`"));
        Err(error.hint(if names.is_empty() {
            "modelkeep file list".to_owned()
        } else {
            format!("did you mean {}?", names.join(" or "))
        }))
    }

    fn filed_at(&self, text: &str) -> Option<&Model> {
        if let Ok(place) = text.parse::<Place>() {
            return self.filed.values().find(|item| item.place.as_ref() == Some(&place));
        }
        let mut named =
            self.filed.values().filter(|item| item.place.as_ref().is_some_and(|place| place.name() == text));
        let first = named.next()?;
        named.next().is_none().then_some(first)
    }

    /// A model, or what is filed, as `NAME[@REV]` names it; a name with `/` is a place.
    pub fn named_any(&self, text: &str) -> Result<(&Model, Selector)> {
        if text.split_once('@').map_or(text, |(name, _)| name).contains('/') {
            return self.filed(text);
        }
        let reference: ModelRef = text.parse()?;
        match self.model(&reference.model) {
            Ok(model) => Ok((model, reference.selector)),
            Err(error) => self.filed(text).map_err(|_| error),
        }
    }

    /// How a base model is called here: the id of the model with that id, alias or source, else the name itself.
    pub fn base_name(&self, name: &str) -> String {
        if let Some(model) = self.named(name) {
            return model.id.to_string();
        }
        self.models
            .values()
            .find(|model| {
                let source = model.fields.get("source").and_then(Value::as_str);
                let learnt = model.latest().and_then(|push| push.facts.source.as_deref());
                model.kind == ModelKind::Base && source.or(learnt) == Some(name)
            })
            .map_or_else(|| name.to_owned(), |model| model.id.to_string())
    }
}

impl Model {
    fn new(id: ModelId, kind: ModelKind, place: Option<Place>) -> Self {
        Self {
            id,
            kind,
            place,
            pushes: Vec::new(),
            labels: BTreeMap::new(),
            fields: BTreeMap::new(),
            changed: BTreeMap::new(),
            set_status: SetStatus::Active,
        }
    }

    /// How people call it: its id, or where it is shown.
    pub fn name(&self) -> &str {
        self.place.as_ref().map_or_else(|| self.id.as_str(), Place::as_str)
    }

    /// Where and how one of its pushes is shown, when it is no model.
    pub fn filed(&self, push: &Push) -> Option<Filed> {
        let place = self.place.clone()?;
        Some(Filed { place, shape: push.shape.unwrap_or(Shape::File) })
    }

    fn push(&mut self, name: &EventName, event: &Event, pushed: &Pushed) {
        // A push resumed by two processes is told twice; the first telling counts.
        if self.pushes.iter().any(|push| push.txn == pushed.txn) {
            return;
        }
        if let Some(damaged) = pushed.replaces {
            return self.replace(&damaged, name, event, pushed);
        }
        self.pushes.push(Push {
            txn: pushed.txn,
            revision: pushed.revision,
            number: pushed.number,
            files: pushed.files,
            size_bytes: pushed.size_bytes,
            facts: pushed.facts.clone(),
            event: *name,
            ids: pushed.ids.clone(),
            adopted: pushed.adopted,
            folder: pushed.folder.clone(),
            shape: pushed.filed.as_ref().map(|filed| filed.shape),
            at: event.at,
            by: event.by.clone(),
            removed: None,
            replaced_by: None,
        });
        self.set_status = SetStatus::Active;
        self.fields.retain(|field, _| !said_by_push(field));
        for (field, changed) in &mut self.changed {
            if said_by_push(field) {
                *changed = *name;
            }
        }
        for label in &pushed.labels {
            self.labels.insert(label.clone(), pushed.revision);
        }
        for (field, value) in &pushed.set {
            self.set_field(field, value, name);
        }
    }

    /// Puts a whole push in the place of a damaged one: same number, same time, same order.
    fn replace(&mut self, damaged: &Txn, name: &EventName, event: &Event, pushed: &Pushed) {
        let Some(at) = self.pushes.iter().position(|push| push.txn == *damaged) else { return };
        let old = &mut self.pushes[at];
        let whole = Push { txn: pushed.txn, event: *name, ids: pushed.ids.clone(), folder: None, ..old.clone() };
        // Of two that mend the same push the first one counts; the other one is removed with the damaged one.
        old.removed.get_or_insert(event.at);
        old.replaced_by.get_or_insert(pushed.txn);
        self.pushes.insert(at + 1, Push { replaced_by: None, ..whole });
    }

    /// The push that a selector means; removed pushes are not found.
    pub fn choose(&self, selector: &Selector) -> Result<&Push> {
        let (name, filed) = (self.name(), self.place.is_some());
        let Some(latest) = self.latest() else {
            let what = if filed { "" } else { "model " };
            return Err(
                Error::not_found(format!("{what}`{name}` was removed")).hint(format!("modelkeep restore {name}"))
            );
        };
        let look = if filed { "modelkeep file list".to_owned() } else { format!("modelkeep show {name}") };
        let missing = |what: String| Error::not_found(format!("`{name}` has no {what}")).hint(look.clone());
        let push = match selector {
            Selector::Latest => latest,
            Selector::Label(label) => {
                let revision = self.labels.get(label).ok_or_else(|| missing(format!("label `{label}`")))?;
                self.push_of(revision).ok_or_else(|| {
                    Error::not_found(format!("`{label}` of `{}` names a removed revision", self.name())).hint(format!(
                        "modelkeep restore {}@{}",
                        self.name(),
                        revision.short()
                    ))
                })?
            }
            selector @ (Selector::Number(..) | Selector::Prefix(_)) => {
                let candidates = self.select(selector, false);
                let one = *candidates.last().ok_or_else(|| missing(format!("revision `{selector}`")))?;
                if let Some(other) = candidates.iter().find(|push| push.revision != one.revision) {
                    return Err(Error::conflict(format!(
                        "`{}@{selector}` is ambiguous: {} or {}",
                        self.name(),
                        other.revision.short(),
                        one.revision.short()
                    ))
                    .hint(format!("modelkeep show {}@{}", self.name(), one.revision.short())));
                }
                one
            }
        };
        Ok(push)
    }

    /// The newest push that is not removed.
    pub fn latest(&self) -> Option<&Push> {
        self.pushes.iter().rev().find(|push| push.removed.is_none())
    }

    /// The newest push of this content that is not removed.
    pub fn push_of(&self, revision: &RevisionId) -> Option<&Push> {
        self.pushes.iter().rev().find(|push| push.revision == *revision && push.removed.is_none())
    }

    /// The pushes that a number or a prefix can mean, oldest first.
    pub fn select(&self, selector: &Selector, removed: bool) -> Vec<&Push> {
        let there = |push: &&Push| push.removed.is_some() == removed && push.replaced_by.is_none();
        if let Selector::Number(number, _) = selector {
            let numbered: Vec<&Push> = self.pushes.iter().filter(there).filter(|push| push.number == *number).collect();
            if !numbered.is_empty() {
                return numbered;
            }
        }
        self.pushes.iter().filter(there).filter(|push| selector.matches_prefix(&push.revision)).collect()
    }

    /// The number that the next push takes.
    pub fn next_number(&self) -> u64 {
        self.pushes.iter().map(|push| push.number).max().unwrap_or(0) + 1
    }

    /// The labels that name this revision.
    pub fn labels_of(&self, revision: &RevisionId) -> Vec<Label> {
        self.labels.iter().filter(|(_, named)| *named == revision).map(|(label, _)| label.clone()).collect()
    }

    /// Whether what people set is about this push: it is the newest (of a removed model, the last).
    pub(super) fn is_newest(&self, push: &Push) -> bool {
        self.latest().or_else(|| self.pushes.last()).is_some_and(|newest| newest.txn == push.txn)
    }

    /// What is said of a push. The fields that a push says itself count for the newest one as they were set by hand;
    /// the source is the model's.
    pub fn describe(&self, push: &Push) -> Description {
        let newest = self.is_newest(push);
        let said = |field: &str, learnt: Option<&str>| {
            if newest { self.text(field, learnt) } else { learnt.map(str::to_owned) }
        };
        let facts = &push.facts;
        let date = facts.training_date.map(|date| date.to_string());
        Description {
            model_type: said("type", facts.model_type.as_deref()),
            base_model: said("base_model", facts.base_model.as_deref()),
            source: self.text("source", facts.source.as_deref()),
            training_date: said("training_date", date.as_deref()),
            metrics: self.metrics(push),
        }
    }

    /// The metrics of a push, with those set by hand over them when it is the newest.
    pub fn metrics(&self, push: &Push) -> BTreeMap<String, Option<f64>> {
        let mut metrics = push.facts.metrics.clone();
        if self.is_newest(push) {
            let set = self.set_metrics().filter_map(|(name, value)| Some((name.to_owned(), Some(value.as_f64()?))));
            metrics.extend(set);
        }
        metrics
    }

    /// The metrics set by hand, as they were set.
    pub(super) fn set_metrics(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.fields.iter().filter_map(|(field, value)| Some((field.strip_prefix("metrics.")?, value)))
    }

    /// A text field set by hand, else what was learnt.
    pub fn text(&self, field: &str, learnt: Option<&str>) -> Option<String> {
        match self.fields.get(field) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(value) => Some(value.to_string()),
            None => learnt.map(str::to_owned),
        }
    }

    fn set_field(&mut self, field: &str, value: &Value, name: &EventName) {
        self.changed.insert(field.to_owned(), *name);
        if field == "status" {
            self.set_status = match value.as_str() {
                Some("archived") => SetStatus::Archived,
                Some("failed") => SetStatus::Failed,
                _ => SetStatus::Active,
            };
            return;
        }
        set_or_remove(&mut self.fields, field, value);
    }
}

fn set_or_remove(fields: &mut BTreeMap<String, Value>, field: &str, value: &Value) {
    // Null takes the setting back; a metric whose value is unknown comes from training alone.
    if value.is_null() {
        fields.remove(field);
    } else {
        fields.insert(field.to_owned(), value.clone());
    }
}

#[cfg(test)]
pub(crate) mod tests;
