//! Remove what is filed: as a model is removed, and never one by mistake.

use modelkeep_core::Result;

use crate::context::Context;
use crate::report::Change;
use crate::{log, remove};

/// Removes all versions of what is filed at `PLACE`, or with `@REV` that one. Content waits in our trash.
pub async fn remove(ctx: &Context, place: &str, dry_run: bool) -> Result<Change> {
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    let (item, _) = view.state.filed(place)?;
    // What was typed may be the last part of the place alone.
    let revision = place.rsplit_once('@').filter(|_| !item.name().ends_with(place)).map(|(_, revision)| revision);
    let named = revision.map_or_else(|| item.name().to_owned(), |revision| format!("{}@{revision}", item.name()));
    remove::remove(ctx, &named, dry_run).await
}
