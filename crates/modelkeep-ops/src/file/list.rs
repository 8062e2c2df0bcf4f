//! What is filed on the store.

use jiff::Timestamp;
use modelkeep_core::Result;
use modelkeep_core::digest::RevisionId;
use modelkeep_core::filed::{Place, Shape};
use modelkeep_core::registry::Model;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::{log, pins};

/// Which ones.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Only what stands in this folder of the store, or is this place.
    pub place: Option<String>,
    /// Removed ones too.
    pub all: bool,
}

/// What is filed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// One a place, by name.
    pub files: Vec<Item>,
    /// Whether the store is the simulation.
    pub simulated: bool,
}

/// One thing that is filed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Item {
    /// Where it is shown.
    pub place: Place,
    /// How.
    pub shape: Shape,
    /// Its newest content.
    pub revision: RevisionId,
    /// The number of that push.
    pub number: u64,
    /// How many pushes it has, removed ones left out.
    pub revisions: usize,
    /// How many files.
    pub files: u64,
    /// Bytes of the newest content.
    pub size_bytes: u64,
    /// When that was filed.
    #[schemars(with = "String")]
    pub pushed_at: Timestamp,
    /// By whom.
    pub pushed_by: String,
    /// Whether it was removed.
    pub removed: bool,
    /// The revision that `modelkeep.lock` pins, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<RevisionId>,
}

/// Lists what is filed.
pub async fn list(ctx: &Context, request: &Request) -> Result<Report> {
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    let pinned = ctx.workspace.as_ref().map(pins::read).transpose()?.map(|pins| pins.files).unwrap_or_default();
    let within = |place: &Place| {
        request.place.as_deref().is_none_or(|wanted| {
            let wanted = wanted.trim_end_matches('/');
            let folder = modelkeep_core::filed::folder_of(wanted).map(|path| path.to_string());
            let folder = folder.unwrap_or_else(|_| wanted.to_owned());
            place.as_str().strip_prefix(&*folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                || place.name() == wanted
        })
    };
    let item = |item: &Model| {
        let push = item.latest().or_else(|| item.pushes.last())?;
        let place = item.place.clone().filter(|place| within(place))?;
        let removed = item.latest().is_none();
        (request.all || !removed).then(|| Item {
            shape: push.shape.unwrap_or(Shape::File),
            revision: push.revision,
            number: push.number,
            revisions: item.pushes.iter().filter(|push| push.removed.is_none()).count(),
            files: push.files,
            size_bytes: push.size_bytes,
            pushed_at: push.at,
            pushed_by: push.by.clone(),
            removed,
            pinned: pinned.get(&place).map(|pin| pin.revision),
            place,
        })
    };
    let mut files: Vec<Item> = view.state.filed.values().filter_map(item).collect();
    files.sort_by(|a, b| a.place.cmp(&b.place));
    if files.is_empty() {
        store.explain_nothing(ctx);
    }
    Ok(Report { files, simulated: store.simulated() })
}
