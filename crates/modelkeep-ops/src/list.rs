//! What is there: one line a model.

use modelkeep_core::manifest::ModelKind;
use modelkeep_core::registry::Status;
use modelkeep_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::log;
use crate::report::ModelItem;

/// What to list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Only this kind.
    pub kind: Option<ModelKind>,
    /// Only this status, by its word.
    pub status: Option<String>,
    /// Only this family.
    pub family: Option<String>,
    /// `name` (default), `size`, `date`, or a metric's name.
    pub sort: Option<String>,
    /// Removed ones too.
    pub all: bool,
}

/// The models.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// One a model.
    pub models: Vec<ModelItem>,
    /// Whether this is the simulation.
    pub simulated: bool,
}

/// Lists models.
pub async fn list(ctx: &Context, request: &Request) -> Result<Report> {
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    view.problems.iter().for_each(|problem| ctx.warn(problem.to_string()));
    if let Some(status) = &request.status
        && !["active", "deployed", "archived", "failed", "removed"].contains(&status.as_str())
    {
        return Err(Error::usage(format!("`{status}` is no status"))
            .hint("--status active, deployed, archived, failed or removed"));
    }
    let asked_removed = request.status.as_deref() == Some(Status::Removed.as_str());
    let mut models: Vec<ModelItem> = view
        .state
        .models
        .values()
        .map(|model| ModelItem::new(&view.state, model, None))
        .filter(|item| request.all || asked_removed || item.status != Status::Removed)
        .filter(|item| request.kind.is_none_or(|kind| item.kind == kind))
        .filter(|item| request.status.as_deref().is_none_or(|status| item.status.as_str() == status))
        .filter(|item| request.family.as_deref().is_none_or(|family| item.id.family() == family))
        .collect();
    match request.sort.as_deref() {
        None | Some("name") => {
            models.sort_by(|a, b| {
                (a.kind, a.id.family()).cmp(&(b.kind, b.id.family())).then_with(|| a.id.cmp_version(&b.id))
            });
        }
        Some("size") => models.sort_by_key(|item| std::cmp::Reverse(item.size_bytes)),
        Some("date") => models.sort_by_key(|item| std::cmp::Reverse(item.pushed_at)),
        Some(metric) => {
            let value = |item: &ModelItem| item.metrics.get(metric).copied().flatten();
            if !models.is_empty() && models.iter().all(|item| value(item).is_none()) {
                return Err(Error::usage(format!("no model has a metric `{metric}`"))
                    .hint("--sort name, size, date, or a metric shown by modelkeep show MODEL"));
            }
            models.sort_by(|a, b| value(b).unwrap_or(f64::MIN).total_cmp(&value(a).unwrap_or(f64::MIN)));
        }
    }
    if view.state.models.is_empty() {
        store.explain_nothing(ctx);
    }
    Ok(Report { models, simulated: store.simulated() })
}
