//! Archive a model that is no longer in use, and bring it back. Its content stays where it is.

use modelkeep_core::event::{Body, SetStatus};
use modelkeep_core::registry::Status;
use modelkeep_core::{Error, Result};

use crate::context::Context;
use crate::report::{Change, Step, Wrote};
use crate::{log, project};

/// Archives a model; the deployed one is refused.
pub async fn archive(ctx: &Context, model: &str, dry_run: bool) -> Result<Change> {
    change(ctx, model, SetStatus::Archived, dry_run).await
}

/// Makes an archived (or failed) model active again.
pub async fn unarchive(ctx: &Context, model: &str, dry_run: bool) -> Result<Change> {
    change(ctx, model, SetStatus::Active, dry_run).await
}

async fn change(ctx: &Context, model: &str, status: SetStatus, dry_run: bool) -> Result<Change> {
    let store = ctx.store().await?;
    let mut view = log::refresh(ctx, &store).await?;
    let model = view.state.model(model)?;
    let id = model.id.clone();
    let now = view.state.status(model);
    let (verb, wanted) = match status {
        SetStatus::Archived => ("archive", Status::Archived),
        SetStatus::Active => ("unarchive", Status::Active),
        SetStatus::Failed => ("mark failed", Status::Failed),
    };
    if now == Status::Removed {
        return Err(Error::not_found(format!("model `{id}` was removed")).hint(format!("modelkeep restore {id}")));
    }
    if now == Status::Deployed && status != SetStatus::Active {
        return Err(Error::conflict(format!("`{id}` is deployed"))
            .hint("modelkeep deploy ANOTHER-MODEL (or modelkeep rollback) first"));
    }
    let settled = now == wanted || (now == Status::Deployed && status == SetStatus::Active);
    let steps = if settled {
        Vec::new()
    } else {
        vec![Step::new(verb, id.as_str(), format!("it is {} now; its content stays", now.as_str()))]
    };
    let changed = !steps.is_empty() && !dry_run;
    if changed {
        log::append(ctx, &store, &mut view, Body::Status { model: id.clone(), status }).await?;
        project::after(ctx, &store, &mut view, &[&id]).await?;
    }
    Ok(Change { model: id, place: None, revision: None, changed, steps, wrote: Wrote::to(&store, dry_run) })
}
