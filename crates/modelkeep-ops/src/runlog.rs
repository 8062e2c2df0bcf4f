//! Append to the log of a training that is running, so that it can be read from elsewhere and outlives its machine.
//!
//! Knows that one training writes one log, and that what was appended before is not appended twice. The log of a
//! training that has ended is written with its push (`project`). Both are listed and shown.

pub mod list;
pub mod show;

use std::sync::Arc;

use modelkeep_core::layout;
use modelkeep_core::name::{Label, ModelId};
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::{Mode, NoMeter, Object, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::report::Wrote;

/// What to append.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The model that is being trained.
    pub model: String,
    /// Which training of it: a word like a label, such as the time it began.
    pub run: String,
    /// What was logged, oldest first.
    pub entries: Vec<Map<String, Value>>,
    /// How many entries of this run come before these; without, they come after whatever is there. With it, a request
    /// that was answered by nobody can be made again.
    pub after: Option<u64>,
}

/// What was appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// The model.
    pub model: ModelId,
    /// Which training of it.
    pub run: Label,
    /// Where the log is on the store.
    pub path: String,
    /// Entries that were added now.
    pub added: u64,
    /// Entries in all.
    pub entries: u64,
    /// Where it went.
    #[serde(flatten)]
    pub wrote: Wrote,
}

/// The longest log that is appended to, in bytes.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Appends to a run's log.
pub async fn append(ctx: &Context, request: &Request) -> Result<Report> {
    let (model, run): (ModelId, Label) = (request.model.parse()?, request.run.parse()?);
    let store = ctx.store().await?;
    let path = layout::live_log(&model, &run);
    let object = Object::at(path.clone());
    let mut text = match store.remote.read(&object, 0..LIMIT).await {
        Ok(bytes) => bytes.to_vec(),
        Err(error) if error.kind() == Kind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    if text.len() as u64 >= LIMIT {
        return Err(Error::usage(format!("the log of run {run} is larger than {LIMIT} bytes"))
            .hint("log less often, or begin another run"));
    }
    let there = text.split(|byte| *byte == b'\n').count().saturating_sub(1) as u64;
    let after = request.after.unwrap_or(there);
    if after > there {
        return Err(Error::conflict(format!("the log of run {run} has {there} entries, not {after}"))
            .hint("append all of the run's entries, with after=0"));
    }
    let known = usize::try_from(there - after).unwrap_or(usize::MAX);
    let new: Vec<_> = request.entries.iter().skip(known).collect();
    for entry in &new {
        serde_json::to_writer(&mut text, entry).map_err(|error| Error::internal("an entry of a log").because(error))?;
        text.push(b'\n');
    }
    if !new.is_empty() {
        store.remote.write(&path, Source::Bytes(text.into()), Mode::Replace, Arc::new(NoMeter)).await?;
    }
    let added = new.len() as u64;
    Ok(Report { model, run, path: path.to_string(), added, entries: there + added, wrote: Wrote::to(&store, false) })
}
