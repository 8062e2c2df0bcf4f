//! Who did what when: the log, newest first.

use jiff::Timestamp;
use modelkeep_core::Result;
use modelkeep_core::event::{Body, Event};
use modelkeep_core::filed::Place;
use modelkeep_core::name::ModelId;
use modelkeep_core::words::count;
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::log;

/// The log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// Newest first.
    pub events: Vec<Item>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Item {
    /// Its name.
    pub event: String,
    /// When, by its writer.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// What kind of event.
    pub kind: String,
    /// The model it is about; the key of what is filed.
    pub model: Option<ModelId>,
    /// Where it is shown, when it is about what is filed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What happened, in words.
    pub what: String,
    /// Whether the store itself has it (false: it was written through a mount, and nobody has seen it arrive).
    pub confirmed: bool,
}

/// The log of everything, or of one model (id or alias).
pub async fn history(ctx: &Context, model: Option<&str>) -> Result<Report> {
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    let wanted = model.map(|name| view.state.named_any(name).map(|(model, _)| model.id.clone())).transpose()?;
    let events = log::events(ctx, &store)?;
    let items = events.into_iter().rev().filter(|(name, _)| view.names.contains(name)).map(|(name, event)| {
        let (model, what) = tell(&event);
        Item {
            confirmed: !view.pending.contains(&name),
            event: name.to_string(),
            at: event.at,
            by: event.by.clone(),
            kind: event.body.kind().to_owned(),
            place: model.as_ref().and_then(|key| view.state.filed.get(key)?.place.clone()),
            model,
            what,
        }
    });
    let events = items.filter(|item| match &wanted {
        // What hosts report is noise beside what people did; it is there for one who asks for a model.
        None => item.kind != "seen",
        Some(wanted) => item.model.as_ref() == Some(wanted),
    });
    Ok(Report { events: events.collect() })
}

fn tell(event: &Event) -> (Option<ModelId>, String) {
    let keys = |map: &std::collections::BTreeMap<String, serde_json::Value>| {
        map.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ")
    };
    match &event.body {
        Body::Pushed(push) => {
            let verb = match (push.replaces, push.adopted) {
                (Some(_), _) => "made whole",
                (None, true) => "adopted",
                (None, false) => "pushed",
            };
            (Some(push.model.clone()), format!("{verb} #{} {}", push.number, push.revision.short()))
        }
        Body::Filed(push) => (Some(push.model.clone()), format!("filed #{} {}", push.number, push.revision.short())),
        Body::Labelled { model, label, revision } => {
            (Some(model.clone()), format!("label `{label}` → {}", revision.short()))
        }
        Body::Unlabelled { model, label } => (Some(model.clone()), format!("label `{label}` removed")),
        Body::Fields { model, set } => (Some(model.clone()), keys(set)),
        Body::Status { model, status } => (Some(model.clone()), format!("{status:?}").to_lowercase()),
        Body::Deployed { model, revision, rollback } => {
            let verb = if *rollback { "rolled back to" } else { "deployed" };
            (Some(model.clone()), format!("{verb} {}", revision.short()))
        }
        Body::Removed { model, txns } => (Some(model.clone()), format!("removed {} push(es)", txns.len())),
        Body::Restored { model, txns } => (Some(model.clone()), format!("restored {} push(es)", txns.len())),
        Body::RegistryEdited { changes, .. } => {
            let model = changes.keys().find_map(|id| id.parse().ok());
            let what: Vec<String> = changes.iter().map(|(id, set)| format!("{id}: {}", keys(set))).collect();
            (model, format!("registry edited by hand: {}", what.join("; ")))
        }
        Body::RegistryAdopted { models, .. } => {
            (None, format!("registry taken in ({})", count(models.len() as u64, "model")))
        }
        Body::Seen(seen) => {
            let model = seen.used.iter().max_by_key(|(_, day)| **day).map(|(model, _)| model.clone());
            (model, format!("used on {}", seen.host))
        }
        Body::Maintained { host, tasks } => {
            (None, format!("upkeep on {host}: {}", tasks.iter().cloned().collect::<Vec<_>>().join(", ")))
        }
        Body::Unknown => (None, "written by a newer version of modelkeep".to_owned()),
    }
}
