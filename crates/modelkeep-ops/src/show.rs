//! One model: what it is, its files, its history.

use modelkeep_core::Result;
use modelkeep_core::inspect::adapter::Adapter;
use modelkeep_core::inspect::tensors::Summary;
use modelkeep_core::name::{Label, ModelRef};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

use crate::context::Context;
use crate::report::{FileItem, ModelItem, PushItem};
use crate::{log, project, tree};

/// One model and the revision asked for.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// As in `list`.
    #[serde(flatten)]
    pub item: ModelItem,
    /// The files of the revision.
    pub files: Vec<FileItem>,
    /// Every push, newest first.
    pub history: Vec<PushItem>,
    /// Every label and the revision it names.
    #[schemars(with = "BTreeMap<String, String>")]
    pub all_labels: BTreeMap<Label, modelkeep_core::digest::RevisionId>,
    /// LoRA parameters.
    pub adapter: Option<Adapter>,
    /// Tensors, parameters and dtypes over all safetensors files.
    pub tensors: Option<Summary>,
    /// Fields set by hand.
    pub fields: BTreeMap<String, serde_json::Value>,
    /// What a person should know of how this was learnt.
    pub notes: Vec<String>,
    /// Where the model is shown on the remote.
    pub path: String,
}

/// Shows `MODEL[@REV]`.
pub async fn show(ctx: &Context, model: &str) -> Result<Report> {
    let reference: ModelRef = model.parse()?;
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    let (model, push) = view.state.resolve(&reference)?;
    let manifest = tree::manifest(ctx, &store, model, push).await?;
    Ok(Report {
        item: ModelItem::new(&view.state, model, Some(push)),
        files: manifest.files().to_vec(),
        history: model
            .pushes
            .iter()
            .rev()
            .filter(|push| push.replaced_by.is_none())
            .map(|push| PushItem::new(model, push))
            .collect(),
        all_labels: model.labels.clone(),
        adapter: push.facts.adapter.clone(),
        tensors: push.facts.tensors.clone(),
        fields: model.fields.clone(),
        notes: push.facts.notes.clone(),
        path: project::shown_at(&view.state, model).to_string(),
    })
}
