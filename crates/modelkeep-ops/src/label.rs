//! Names for revisions: give one, move one, take one away.

use modelkeep_core::event::Body;
use modelkeep_core::name::{LATEST, Label, ModelRef};
use modelkeep_core::{Error, Result};

use crate::context::Context;
use crate::report::{Change, Step, Wrote};
use crate::{log, project};

/// Gives the revision `MODEL@REV` a label. Moving one from another revision is a change to ask about.
pub async fn add(ctx: &Context, model: &str, label: &str, dry_run: bool) -> Result<Change> {
    refuse_latest(label)?;
    let (reference, label): (ModelRef, Label) = (model.parse()?, label.parse()?);
    let store = ctx.store().await?;
    let mut view = log::refresh(ctx, &store).await?;
    let (model, push) = view.state.resolve(&reference)?;
    let (id, revision) = (model.id.clone(), push.revision);
    let before = model.labels.get(&label).copied();
    let steps = match before {
        Some(before) if before == revision => Vec::new(),
        Some(before) => vec![Step::new(
            "move label",
            format!("{id}@{label}"),
            format!("from {} to {}", before.short(), revision.short()),
        )],
        None => vec![Step::new("label", format!("{id}@{label}"), format!("names {}", revision.short()))],
    };
    let changed = !steps.is_empty() && !dry_run;
    if changed {
        log::append(ctx, &store, &mut view, Body::Labelled { model: id.clone(), label, revision }).await?;
        project::after(ctx, &store, &mut view, &[&id]).await?;
    }
    Ok(Change { model: id, place: None, revision: Some(revision), changed, steps, wrote: Wrote::to(&store, dry_run) })
}

/// Takes a label away; the revision stays.
pub async fn remove(ctx: &Context, model: &str, label: &str, dry_run: bool) -> Result<Change> {
    refuse_latest(label)?;
    let label: Label = label.parse()?;
    let store = ctx.store().await?;
    let mut view = log::refresh(ctx, &store).await?;
    let model = view.state.model(model)?;
    let id = model.id.clone();
    let revision = *model.labels.get(&label).ok_or_else(|| {
        Error::not_found(format!("`{id}` has no label `{label}`")).hint(format!("modelkeep show {id}"))
    })?;
    let steps = vec![Step::new("remove label", format!("{id}@{label}"), format!("named {}", revision.short()))];
    if !dry_run {
        log::append(ctx, &store, &mut view, Body::Unlabelled { model: id.clone(), label }).await?;
        project::after(ctx, &store, &mut view, &[&id]).await?;
    }
    Ok(Change {
        model: id,
        place: None,
        revision: Some(revision),
        changed: !dry_run,
        steps,
        wrote: Wrote::to(&store, dry_run),
    })
}

fn refuse_latest(label: &str) -> Result<()> {
    if label == LATEST {
        return Err(Error::usage("`latest` is computed: it is the newest push, and cannot be moved or removed"));
    }
    Ok(())
}
