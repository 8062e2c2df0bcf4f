//! What changed from one revision to another.

use std::collections::BTreeMap;

use modelkeep_core::Result;
use modelkeep_core::diff::{Diff, Side, diff as compare};
use modelkeep_core::digest::RevisionId;
use modelkeep_core::inspect::tensors::{self, Header, Tensor};
use modelkeep_core::manifest::Manifest;
use modelkeep_core::name::{ModelId, ModelRef};
use modelkeep_core::registry::{Model, Push};
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::store::Store;
use crate::{learn, log, tree};

/// Two revisions and what differs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// The first.
    pub before: Named,
    /// The second.
    pub after: Named,
    /// What differs.
    #[serde(flatten)]
    pub diff: Diff,
}

/// A revision by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Named {
    /// The model.
    pub model: ModelId,
    /// The content.
    pub revision: RevisionId,
    /// Its number.
    pub number: u64,
}

/// Compares `MODEL[@REV]` with another. Of the files only safetensors headers are read.
pub async fn diff(ctx: &Context, before: &str, after: &str) -> Result<Report> {
    let (before, after): (ModelRef, ModelRef) = (before.parse()?, after.parse()?);
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    let (one, other) = (view.state.resolve(&before)?, view.state.resolve(&after)?);
    let files =
        (tree::manifest(ctx, &store, one.0, one.1).await?, tree::manifest(ctx, &store, other.0, other.1).await?);
    let metrics = (one.0.metrics(one.1), other.0.metrics(other.1));
    let tensors = if one.1.revision == other.1.revision {
        None
    } else {
        let before = tensors_of(ctx, &store, one.0, one.1, &files.0).await?;
        let after = tensors_of(ctx, &store, other.0, other.1, &files.1).await?;
        (!before.is_empty() || !after.is_empty()).then(|| tensors::diff(&before, &after))
    };
    let named = |(model, push): (&Model, &Push)| Named {
        model: model.id.clone(),
        revision: push.revision,
        number: push.number,
    };
    Ok(Report {
        before: named(one),
        after: named(other),
        diff: compare(
            Side { metrics: &metrics.0, facts: &one.1.facts, files: &files.0 },
            Side { metrics: &metrics.1, facts: &other.1.facts, files: &files.1 },
            tensors,
        ),
    })
}

/// Every tensor of a revision's own safetensors files (checkpoints inside a run hold the same ones again).
async fn tensors_of(
    ctx: &Context,
    store: &Store,
    model: &Model,
    push: &Push,
    files: &Manifest,
) -> Result<BTreeMap<String, Tensor>> {
    let mut all = BTreeMap::new();
    let wanted: Vec<_> = files.files().iter().filter(|file| learn::is_headed(file.path.as_str())).collect();
    if wanted.is_empty() {
        return Ok(all);
    }
    let found = tree::find(store, model, push).await?.ok_or_else(|| tree::lost(model, push))?;
    for file in wanted {
        ctx.check_stop()?;
        let object = found.file(&file.path);
        let first = store.remote.read(&object, 0..8).await?;
        let Some(length) = first.first_chunk::<8>().and_then(|first| tensors::header_len(*first).ok()) else {
            ctx.warn(format!("{}: {} has no safetensors header", model.id, file.path));
            continue;
        };
        let json = store.remote.read(&object, 8..8 + length).await?;
        match Header::parse(&json, file.size) {
            Ok(header) => all.extend(header.tensors),
            Err(error) => ctx.warn(format!("{}: {}", model.id, error.in_file(file.path.as_str()))),
        }
    }
    Ok(all)
}
