//! Which model is in use: deploy one, go back to the one before.

use modelkeep_core::event::Body;
use modelkeep_core::name::ModelRef;
use modelkeep_core::{Error, Result};

use crate::context::Context;
use crate::report::{Change, Step, Wrote};
use crate::{log, project};

/// Makes `MODEL[@REV]` what `deployed/current` points to.
pub async fn deploy(ctx: &Context, model: &str, dry_run: bool) -> Result<Change> {
    let reference: ModelRef = model.parse()?;
    let store = ctx.store().await?;
    let mut view = log::refresh(ctx, &store).await?;
    let (model, push) = view.state.resolve(&reference)?;
    let (id, revision, number) = (model.id.clone(), push.revision, push.number);
    let before = view.state.deployed().cloned();
    let mut steps = Vec::new();
    if before.as_ref().is_none_or(|before| (&before.model, before.revision) != (&id, revision)) {
        let reason = before.as_ref().map_or("nothing is deployed".to_owned(), |before| {
            format!("in place of {} ({}), which becomes active", before.model, before.revision.short())
        });
        steps.push(Step::new("deploy", format!("{id}@{number} ({})", revision.short()), reason).bytes(push.size_bytes));
    }
    let changed = !steps.is_empty() && !dry_run;
    if changed {
        let body = Body::Deployed { model: id.clone(), revision, rollback: false };
        log::append(ctx, &store, &mut view, body).await?;
        let former = before.map(|before| before.model);
        let models: Vec<_> = former.iter().chain([&id]).collect();
        project::after(ctx, &store, &mut view, &models).await?;
    }
    Ok(Change { model: id, place: None, revision: Some(revision), changed, steps, wrote: Wrote::to(&store, dry_run) })
}

/// Goes back to what was deployed before.
pub async fn rollback(ctx: &Context, dry_run: bool) -> Result<Change> {
    let store = ctx.store().await?;
    let mut view = log::refresh(ctx, &store).await?;
    let Some(current) = view.state.deployed().cloned() else {
        return Err(Error::not_found("nothing is deployed").hint("modelkeep deploy MODEL"));
    };
    let Some(target) = view.state.before_current().cloned() else {
        return Err(Error::not_found(format!("nothing was deployed before {}", current.model))
            .hint("modelkeep history, then modelkeep deploy MODEL@REV"));
    };
    let reason = format!("instead of {} ({})", current.model, current.revision.short());
    let steps = vec![Step::new("roll back", format!("to {} ({})", target.model, target.revision.short()), reason)];
    if !dry_run {
        let body = Body::Deployed { model: target.model.clone(), revision: target.revision, rollback: true };
        log::append(ctx, &store, &mut view, body).await?;
        project::after(ctx, &store, &mut view, &[&current.model, &target.model]).await?;
    }
    let wrote = Wrote::to(&store, dry_run);
    Ok(Change { model: target.model, place: None, revision: Some(target.revision), changed: !dry_run, steps, wrote })
}
