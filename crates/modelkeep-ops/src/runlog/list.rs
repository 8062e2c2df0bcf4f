//! Which logs of trainings the store has: one for each push of a fine-tuned model, and those of trainings that run.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use modelkeep_core::digest::RevisionId;
use modelkeep_core::layout;
use modelkeep_core::name::{Label, ModelId};
use modelkeep_core::registry::State;
use modelkeep_core::{Kind, Result};
use modelkeep_remote::{Entry, EntryKind, Inline};
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::{Context, day};
use crate::log;
use crate::store::Store;

/// The logs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// The newest first.
    pub logs: Vec<Item>,
}

/// One log.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Item {
    /// The model that was trained.
    pub model: ModelId,
    /// The push that the training ended in.
    pub number: Option<u64>,
    /// Its content.
    pub revision: Option<RevisionId>,
    /// Which training, when the log was written while it ran.
    pub run: Option<Label>,
    /// Where it is on the store.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// When the model was pushed; when the log was last written, while its training runs.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// When it was trained.
    pub training_date: Option<String>,
    /// What came of it.
    pub metrics: BTreeMap<String, Option<f64>>,
    /// The push was removed since.
    pub removed: bool,
}

/// Lists the logs, of one model or of all.
pub async fn list(ctx: &Context, model: Option<&str>) -> Result<Report> {
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    let entries = entries(&store).await?;
    let mut logs = of_pushes(&view.state, &entries);
    logs.extend(live(&view.state, &entries));
    if let Some(wanted) = model {
        let known = view.state.model(wanted).map(|model| model.id.as_str());
        let id = known.as_ref().copied().unwrap_or(wanted);
        logs.retain(|log| log.model.as_str() == id);
        if logs.is_empty() {
            known?;
        }
    }
    logs.sort_by(|one, other| (other.at, &one.path).cmp(&(one.at, &other.path)));
    Ok(Report { logs })
}

/// The files where logs are.
async fn entries(store: &Store) -> Result<Vec<Entry>> {
    match store.remote.list(&layout::run_logs(), Inline::No).await {
        Ok(entries) => Ok(entries.into_iter().filter(|entry| entry.kind == EntryKind::File).collect()),
        Err(error) if error.kind() == Kind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Those that pushes wrote.
fn of_pushes(state: &State, entries: &[Entry]) -> Vec<Item> {
    let by_path: BTreeMap<&str, &Entry> = entries.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    let pushes = state.models.values().flat_map(|model| model.pushes.iter().map(move |push| (model, push)));
    let mut seen = BTreeSet::new();
    let logs = pushes.filter_map(|(model, push)| {
        let date = push.facts.training_date.unwrap_or_else(|| day(push.at));
        let path = layout::run_log(&model.id, push.number, date);
        let entry = by_path.get(path.as_str())?;
        // A push that took a damaged one's place has its number and its log.
        if push.replaced_by.is_some() || !seen.insert(path.clone()) {
            return None;
        }
        let said = model.describe(push);
        Some(Item {
            model: model.id.clone(),
            number: Some(push.number),
            revision: Some(push.revision),
            run: None,
            path: path.to_string(),
            size_bytes: entry.size,
            at: push.at,
            training_date: said.training_date,
            metrics: said.metrics,
            removed: push.removed.is_some(),
        })
    });
    logs.collect()
}

/// Those of trainings that run, or that ended without a push.
pub(super) fn live(state: &State, entries: &[Entry]) -> Vec<Item> {
    let logs = entries.iter().filter_map(|entry| {
        let mut names = layout::live_log_of(entry.path.name());
        // The longest id that there is; of a model that was never pushed the shortest.
        let known = names.iter().rposition(|(model, _)| state.models.contains_key(model)).unwrap_or(0);
        let (model, run) = (known < names.len()).then(|| names.swap_remove(known))?;
        Some(Item {
            model,
            number: None,
            revision: None,
            run: Some(run),
            path: entry.path.to_string(),
            size_bytes: entry.size,
            at: entry.modified,
            training_date: None,
            metrics: BTreeMap::new(),
            removed: false,
        })
    });
    logs.collect()
}

/// Live logs of one model, the newest first.
pub(super) async fn live_of(store: &Store, state: &State, model: &ModelId) -> Result<Vec<Item>> {
    let mut logs = live(state, &entries(store).await?);
    logs.retain(|log| log.model == *model);
    logs.sort_by_key(|log| std::cmp::Reverse(log.at));
    Ok(logs)
}
