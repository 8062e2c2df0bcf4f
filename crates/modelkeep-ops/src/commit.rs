//! From a whole push folder to a committed push: marker, look, move, reading back, event.
//!
//! Look, move, reading back and event lie within one hour, or it goes on from the look again. Does not know where the
//! files came from, or what else is said of a push.

use std::sync::Arc;

use bytes::Bytes;
use modelkeep_core::event::{Body, Event, MAX_INLINE_EVENT, Pushed};
use modelkeep_core::layout::{self, MARKER};
use modelkeep_core::manifest::{FORMAT, Marker};
use modelkeep_core::path::RemotePath;
use modelkeep_core::registry::Model;
use modelkeep_core::{Kind, Result};
use modelkeep_remote::{NoMeter, Object, Source};

use crate::context::{Context, Look};
use crate::log::{self, View};
use crate::rule::Rule;
use crate::staging::{self, Staging};
use crate::store::Store;
use crate::tree;

/// Writes the marker, once every file is there.
pub async fn write_marker(store: &Store, staging: &Staging, marker: &Marker) -> Result<Option<String>> {
    let folder = &staging.folder.path;
    let path = folder.join(MARKER);
    // An attempt that was taken over left its own marker, with its own transaction.
    store.remote.delete(&Object::at(path.clone())).await?;
    let source = Source::Bytes(Bytes::from(marker.to_bytes()));
    Ok(staging::write_own(store, &path, source, Arc::new(NoMeter)).await?.id)
}

/// Look, move, reading back and event: within one hour, or from the look again. False: a clean-up was faster.
pub async fn move_and_commit(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    staging: &Staging,
    marker: &Marker,
    body: &(dyn Fn(&View) -> Body + Sync),
) -> Result<bool> {
    let (from, to) = (layout::staged(&marker.txn), layout::version(&marker.model, &marker.txn));
    let look = Look::now(ctx, store);
    match store.remote.find(&staging.folder).await? {
        Some(entry) if entry.path == from || !store.keeps(Rule::LookBeforeMove) => {}
        _ => return Ok(false),
    }
    if !store.keeps(Rule::FindableBeforeEvent) {
        let prepared = log::prepare(ctx, store, view, body(view)).await?;
        log::commit(ctx, store, view, prepared).await?;
    }
    store.local(ctx)?.mark_moving(&marker.txn)?;
    match store.remote.rename(&staging.folder, &to).await {
        Ok(()) => {}
        Err(error) if error.kind() == Kind::NotFound => return Ok(false),
        // Our own move, whose answer was lost: the reading back tells.
        Err(error) if error.kind() == Kind::Conflict => {}
        Err(error) => return Err(error),
    }
    commit_moved(ctx, store, view, &staging.folder, marker, body, look).await
}

/// Commits a push folder that was found in `versions/`, having been looked at just now.
pub async fn commit_found(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    folder: &Object,
    marker: &Marker,
    pushed: Pushed,
    look: Look,
) -> Result<bool> {
    let body = |view: &View| pushed_event(view, marker, pushed.clone());
    commit_moved(ctx, store, view, folder, marker, &body, look).await
}

/// Reads the moved folder back and writes the event, while the look at it is fresh.
pub async fn commit_moved(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    folder: &Object,
    marker: &Marker,
    body: &(dyn Fn(&View) -> Body + Sync),
    mut look: Look,
) -> Result<bool> {
    let to = layout::version(&marker.model, &marker.txn);
    // What the event depends on, files and names, is durable before it: one flush for all of it.
    let mut paths: Vec<_> = marker.files.files().iter().map(|file| to.join_content(&file.path)).collect();
    paths.push(to.join(MARKER));
    match store.remote.flush(&paths).await {
        Err(error) if error.kind() == Kind::NotFound => return Ok(false),
        other => other?,
    }
    loop {
        if store.keeps(Rule::ReadBack) && !whole(store, folder, &to, marker).await? {
            return Ok(false);
        }
        *view = log::refresh(ctx, store).await?;
        if view.has_txn(&marker.txn) {
            return Ok(true);
        }
        let prepared = log::prepare(ctx, store, view, body(view)).await?;
        if look.is_fresh() {
            log::commit(ctx, store, view, prepared).await?;
            return Ok(true);
        }
        // An hour is over: what was seen may be gone. Now `versions/` is right, the trash is not.
        look = Look::now(ctx, store);
        let now = store.remote.find(&Object { path: to.clone(), id: folder.id.clone() }).await?;
        if now.is_none_or(|entry| entry.path != to) {
            return Ok(false);
        }
    }
}

/// Whether the moved folder holds the marker and every file with its right size.
async fn whole(store: &Store, folder: &Object, place: &RemotePath, marker: &Marker) -> Result<bool> {
    let capabilities = store.remote.capabilities();
    if capabilities.ids {
        // A listing may be late; an id never is.
        let now = store.remote.find(&Object { path: place.clone(), id: folder.id.clone() }).await?;
        if now.is_none_or(|entry| entry.path != *place) {
            return Ok(false);
        }
        for file in marker.files.files() {
            let object = Object { path: place.join_content(&file.path), id: marker.ids.get(&file.path).cloned() };
            let entry = store.remote.find(&object).await?;
            if entry.is_none_or(|entry| {
                entry.size != file.size
                    || entry.path.below(place).is_none()
                    || entry.sha256.is_some_and(|sha256| sha256 != file.sha256)
            }) {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    for wait in waits(capabilities.late_listings) {
        tokio::time::sleep(wait).await;
        if tree::compare(store, place, &marker.files).await?.is_whole() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How long to wait before each look at a listing: once at once, and where listings may be late three times more.
pub fn waits(late: bool) -> impl Iterator<Item = std::time::Duration> {
    let more: &[u64] = if late { &[500, 1000, 2000] } else { &[] };
    std::iter::once(0).chain(more.iter().copied()).map(std::time::Duration::from_millis)
}

/// The event of a push: its manifest goes along while the event stays small.
pub fn pushed_event(view: &View, marker: &Marker, pushed: Pushed) -> Body {
    let mut pushed = pushed;
    let model = view.state.of(&marker.model);
    pushed.number = match pushed.replaces {
        // What takes a damaged push's place is that push again.
        Some(_) => marker.number,
        None => model.map_or(1, Model::next_number),
    };
    pushed.manifest = Some(marker.files.clone());
    let sized = Event {
        format: FORMAT,
        at: marker.at,
        by: marker.by.clone(),
        parents: view.heads.clone(),
        body: body_of(pushed.clone()),
    };
    if sized.to_bytes().len() > MAX_INLINE_EVENT {
        pushed.manifest = None;
    }
    body_of(pushed)
}

/// What is no model is filed.
pub fn body_of(pushed: Pushed) -> Body {
    if pushed.filed.is_some() { Body::Filed(Box::new(pushed)) } else { Body::Pushed(Box::new(pushed)) }
}
