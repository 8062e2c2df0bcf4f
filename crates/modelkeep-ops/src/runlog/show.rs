//! Read the log of one training: step by step, with what came of it.

use std::collections::BTreeMap;

use modelkeep_core::digest::RevisionId;
use modelkeep_core::layout;
use modelkeep_core::manifest::ModelKind;
use modelkeep_core::name::{Label, ModelId, ModelRef};
use modelkeep_core::path::RemotePath;
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::Object;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{LIMIT, list};
use crate::context::{Context, day};
use crate::log;
use crate::store::Store;

/// Which log.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// `MODEL[@REV]`.
    pub model: String,
    /// A training that runs; without, the log of the push.
    pub run: Option<String>,
    /// Only so many entries, the last ones.
    pub tail: Option<usize>,
}

/// One log.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
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
    /// When it was trained.
    pub training_date: Option<String>,
    /// What came of it.
    pub metrics: BTreeMap<String, Option<f64>>,
    /// How many entries the log has.
    pub total: u64,
    /// The entries as they were logged, oldest first.
    pub entries: Vec<Map<String, Value>>,
    /// Lines of a live log that are no entries.
    pub unreadable: u64,
}

/// Reads a log.
pub async fn show(ctx: &Context, request: &Request) -> Result<Report> {
    let reference: ModelRef = request.model.parse()?;
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    let mut report = if let Some(run) = &request.run {
        // A live log may be there before its model is.
        let known = view.state.model(&reference.model).map(|model| model.id.clone());
        let model = known.or_else(|_| reference.model.parse())?;
        read_live(&store, model, run.parse()?).await?
    } else {
        match view.state.resolve(&reference) {
            Ok((model, push)) => of_push(&store, model, push).await?,
            Err(error) if error.kind() == Kind::NotFound => {
                let Ok(id) = reference.model.parse::<ModelId>() else { return Err(error) };
                let newest = list::live_of(&store, &view.state, &id).await?.into_iter().next();
                let Some(run) = newest.and_then(|log| log.run) else { return Err(error) };
                read_live(&store, id, run).await?
            }
            Err(error) => return Err(error),
        }
    };
    report.total = report.entries.len() as u64;
    if let Some(tail) = request.tail {
        report.entries.drain(..report.entries.len().saturating_sub(tail));
    }
    Ok(report)
}

/// What a push wrote of its training.
async fn of_push(store: &Store, model: &Model, push: &Push) -> Result<Report> {
    if model.kind == ModelKind::Base {
        return Err(Error::not_found(format!("`{}` is a base model: it was not trained here", model.id))
            .hint("modelkeep log list"));
    }
    let date = push.facts.training_date.unwrap_or_else(|| day(push.at));
    let path = layout::run_log(&model.id, push.number, date);
    let bytes = read(store, &path)
        .await?
        .ok_or_else(|| Error::not_found(format!("{path} is not there")).hint("modelkeep repair writes it again"))?;
    let document: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Error::integrity(format!("{path} is no log of a training")).because(error))?;
    let entries = document.get("log_history").and_then(Value::as_array);
    let entries = entries.into_iter().flatten().filter_map(Value::as_object).cloned().collect();
    let said = model.describe(push);
    Ok(Report {
        model: model.id.clone(),
        number: Some(push.number),
        revision: Some(push.revision),
        run: None,
        path: path.to_string(),
        training_date: said.training_date,
        metrics: said.metrics,
        total: 0,
        entries,
        unreadable: 0,
    })
}

/// What a training has logged so far.
async fn read_live(store: &Store, model: ModelId, run: Label) -> Result<Report> {
    let path = layout::live_log(&model, &run);
    let bytes = read(store, &path).await?.ok_or_else(|| {
        Error::not_found(format!("`{model}` has no log of a training called `{run}`"))
            .hint(format!("modelkeep log list {model}"))
    })?;
    let (mut entries, mut unreadable) = (Vec::new(), 0);
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(entry) => entries.push(entry),
            Err(_) => unreadable += 1,
        }
    }
    Ok(Report {
        model,
        number: None,
        revision: None,
        run: Some(run),
        path: path.to_string(),
        training_date: None,
        metrics: BTreeMap::new(),
        total: 0,
        entries,
        unreadable,
    })
}

async fn read(store: &Store, path: &RemotePath) -> Result<Option<bytes::Bytes>> {
    match store.remote.read(&Object::at(path.clone()), 0..LIMIT).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
