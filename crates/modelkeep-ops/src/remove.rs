//! Remove pushes, and bring them back: an event, then a move to our own trash, where they wait for the grace period.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use modelkeep_core::digest::{RevisionId, Txn};
use modelkeep_core::event::Body;
use modelkeep_core::layout;
use modelkeep_core::name::{Label, ModelId, Selector};
use modelkeep_core::path::RemotePath;
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::{Mode, NoMeter, Object, Source};

use crate::context::{Context, Look, day};
use crate::log::{self, View};
use crate::report::{Change, Step, Wrote};
use crate::rule::Rule;
use crate::store::Store;
use crate::{pins, project, tree};

/// Removes a model, or one revision of it. Content stays in our trash for the grace period.
pub async fn remove(ctx: &Context, model: &str, dry_run: bool) -> Result<Change> {
    let whole = !model.contains('@');
    let store = ctx.store().await?;
    let mut view = log::refresh(ctx, &store).await?;
    let (model, selector) = view.state.named_any(model)?;
    let push = model.choose(&selector)?;
    let (id, name, place) = (model.id.clone(), model.name().to_owned(), model.place.clone());
    let doomed: Vec<&Push> = model
        .pushes
        .iter()
        .filter(|other| other.removed.is_none() && (whole || other.revision == push.revision))
        .collect();
    let revisions: BTreeSet<RevisionId> = doomed.iter().map(|push| push.revision).collect();
    refuse_needed(ctx, &view, model, &revisions, whole)?;
    let grace = ctx.settings.retention.grace_days;
    let mut steps = Vec::new();
    for push in &doomed {
        let target = format!("{name}@{} ({})", push.number, push.revision.short());
        steps.push(if tree::find(&store, model, push).await?.is_some() {
            let reason = format!("can be restored for {} days", grace.saturating_sub(1));
            Step::new("move to trash", target, reason).bytes(push.size_bytes)
        } else {
            Step::new("remove", target, "its content is nowhere on the remote")
        });
    }
    let revision = (!whole).then_some(push.revision);
    if !dry_run {
        let txns = doomed.iter().map(|push| push.txn).collect();
        remove_pushes(ctx, &store, &mut view, &id, txns, Vec::new()).await?;
    }
    Ok(Change { model: id, place, revision, changed: !dry_run, steps, wrote: Wrote::to(&store, dry_run) })
}

/// Never what a deployment, a label (of a revision taken alone) or the lock file needs.
fn refuse_needed(
    ctx: &Context,
    view: &View,
    model: &Model,
    revisions: &BTreeSet<RevisionId>,
    whole: bool,
) -> Result<()> {
    let (id, name) = (&model.id, model.name());
    if view.state.deployment_of(id).is_some_and(|deployed| revisions.contains(&deployed.revision)) {
        return Err(Error::conflict(format!("`{id}` is deployed"))
            .hint("modelkeep deploy ANOTHER-MODEL (or modelkeep rollback) first"));
    }
    if let Some(pinned) = pins::pinned(ctx)?.iter().find(|revision| revisions.contains(revision)) {
        return Err(Error::conflict(format!("{} of `{name}` is pinned in modelkeep.lock", pinned.short()))
            .hint(format!("modelkeep unuse {name}")));
    }
    let label = model.labels.iter().find(|(_, revision)| !whole && revisions.contains(revision));
    if let Some((label, _)) = label {
        return Err(Error::conflict(format!("label `{label}` of `{id}` names that revision"))
            .hint(format!("modelkeep label --remove {id} {label}")));
    }
    Ok(())
}

/// The events, the view of the tree after them, and the moves to the trash. `labels` name nothing any more then.
pub(crate) async fn remove_pushes(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    model: &ModelId,
    txns: BTreeSet<Txn>,
    labels: Vec<Label>,
) -> Result<()> {
    if !txns.is_empty() {
        log::append(ctx, store, view, Body::Removed { model: model.clone(), txns: txns.clone() }).await?;
    }
    for label in labels {
        log::append(ctx, store, view, Body::Unlabelled { model: model.clone(), label }).await?;
    }
    project::after(ctx, store, view, &[model]).await?;
    let Some(model) = view.state.of(model) else { return Ok(()) };
    for push in model.pushes.iter().filter(|push| txns.contains(&push.txn)) {
        trash(store, model, push).await?;
    }
    Ok(())
}

/// Moves a removed push's folder to the trash, wherever it stands.
pub(crate) async fn trash(store: &Store, model: &Model, push: &Push) -> Result<()> {
    let Some(found) = tree::find(store, model, push).await? else { return Ok(()) };
    if found.folder.path.below(&layout::trash()).is_some() {
        return Ok(());
    }
    to_trash(store, &found.folder, &push.txn).await.map(drop)
}

/// Moves a folder to the trash of the store's own day, and notes its arrival; where it is now.
pub(crate) async fn to_trash(store: &Store, folder: &Object, txn: &Txn) -> Result<RemotePath> {
    let mut place = layout::trashed(day(store.remote.now().await?), txn);
    if !store.keeps(Rule::OwnTrash) {
        store.remote.delete(folder).await?;
        return Ok(place);
    }
    // An earlier stay of the same day left its note; the grace counts from this arrival.
    tree::delete_all(store, &layout::arrival(&place)).await?;
    let mut moved = tree::relocate(store, folder, txn, &place).await;
    if moved.as_ref().is_err_and(|error| error.kind() == Kind::Conflict) && folder.id.is_some() {
        // Somebody else has moved it; or another half of what was never finished has the name, and lost its note.
        if store.remote.find(folder).await?.is_some_and(|entry| entry.path == folder.path) {
            note_arrival(store, &layout::arrival(&place)).await?;
            place = layout::twin(&place, folder.id.as_deref());
            moved = tree::relocate(store, folder, txn, &place).await;
        }
    }
    match moved {
        Ok(()) => {}
        // Somebody else was faster.
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict) => return Ok(place),
        Err(error) => return Err(error),
    }
    note_arrival(store, &layout::arrival(&place)).await?;
    Ok(place)
}

/// Writes the file whose time says when an item arrived.
pub(crate) async fn note_arrival(store: &Store, note: &RemotePath) -> Result<()> {
    store.remote.write(note, Source::Bytes(Bytes::new()), Mode::Replace, Arc::new(NoMeter)).await.map(drop)
}

/// Brings back removed pushes: `MODEL` all of the last removal, `MODEL@REV` that revision's.
pub async fn restore(ctx: &Context, model: &str, dry_run: bool) -> Result<Change> {
    let whole = !model.contains('@');
    let store = ctx.store().await?;
    let mut view = log::refresh(ctx, &store).await?;
    let (model, selector) = view.state.named_any(model)?;
    let model = model.clone();
    let (id, name) = (model.id.clone(), model.name().to_owned());
    let wanted = removed(&model, &selector, whole)?;
    let mut steps = Vec::new();
    let mut folders = Vec::new();
    for push in &wanted {
        let found = tree::find(&store, &model, push).await?.ok_or_else(|| {
            Error::not_found(format!("{name}@{} is no longer in the trash", push.number)).hint("push it again")
        })?;
        let until = restorable_until(ctx, &store, &found.folder.path).await?;
        let target = format!("{name}@{} ({})", push.number, push.revision.short());
        if let Some((until, now)) = until
            && now > until
        {
            return Err(Error::conflict(format!("{target} can no longer be restored: its grace period ends"))
                .hint("copy it from .modelkeep/trash on the remote while it is there, and push it again"));
        }
        steps.push(Step::new("restore", target, "from the trash").bytes(push.size_bytes));
        folders.push((push.txn, found.folder));
    }
    if !dry_run {
        put_back(ctx, &store, &mut view, &id, folders).await?;
        project::after(ctx, &store, &mut view, &[&id]).await?;
    }
    let revision = wanted.last().map(|push| push.revision);
    Ok(Change {
        model: id,
        place: model.place.clone(),
        revision,
        changed: !dry_run,
        steps,
        wrote: Wrote::to(&store, dry_run),
    })
}

fn removed<'a>(model: &'a Model, selector: &Selector, whole: bool) -> Result<Vec<&'a Push>> {
    let id = model.name();
    let gone: Vec<&Push> =
        model.pushes.iter().filter(|push| push.removed.is_some() && push.replaced_by.is_none()).collect();
    let chosen: Vec<&Push> = if whole {
        let last = gone.iter().filter_map(|push| push.removed).max();
        gone.into_iter().filter(|push| push.removed == last).collect()
    } else {
        match selector {
            Selector::Label(label) => {
                let revision = model.labels.get(label);
                gone.into_iter().filter(|push| Some(&push.revision) == revision).collect()
            }
            Selector::Latest => gone.into_iter().next_back().into_iter().collect(),
            selector => model.select(selector, true),
        }
    };
    if chosen.is_empty() {
        return Err(
            Error::not_found(format!("`{id}` has no removed push like that")).hint(format!("modelkeep history {id}"))
        );
    }
    Ok(chosen)
}

/// Until when an item of the trash may be restored (a day before its grace ends), and the store's time now.
/// `None` when it is not in the trash, or its arrival was never noted.
async fn restorable_until(ctx: &Context, store: &Store, folder: &RemotePath) -> Result<Option<(Timestamp, Timestamp)>> {
    if folder.below(&layout::trash()).is_none() {
        return Ok(None);
    }
    let Some(arrival) = store.remote.find(&Object::at(layout::arrival(folder))).await? else { return Ok(None) };
    let days = i64::from(ctx.settings.retention.grace_days) - 1;
    let until = arrival.modified.saturating_add(SignedDuration::from_hours(24 * days)).unwrap_or(Timestamp::MAX);
    Ok(Some((until, store.remote.now().await?)))
}

/// Folders back first, then the event; both within one hour of the look.
async fn put_back(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    model: &ModelId,
    folders: Vec<(Txn, Object)>,
) -> Result<()> {
    let gone = || Error::conflict("the trash was emptied meanwhile").hint("push it again");
    let mut look = Look::now(ctx, store);
    for (txn, folder) in &folders {
        if folder.path.below(&layout::trash()).is_some() {
            tree::delete_all(store, &layout::arrival(&folder.path)).await?;
        }
        let place = layout::version(model, txn);
        if folder.path == place {
            continue;
        }
        match tree::relocate(store, folder, txn, &place).await {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    loop {
        for (txn, folder) in &folders {
            let place = layout::version(model, txn);
            let there = store.remote.find(&Object { path: place.clone(), id: folder.id.clone() }).await?;
            if there.is_none_or(|entry| entry.path != place) {
                return Err(gone());
            }
        }
        let txns = folders.iter().map(|(txn, _)| *txn).collect();
        let prepared = log::prepare(ctx, store, view, Body::Restored { model: model.clone(), txns }).await?;
        if look.is_fresh() {
            return log::commit(ctx, store, view, prepared).await.map(drop);
        }
        look = Look::now(ctx, store);
    }
}
