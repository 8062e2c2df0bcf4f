//! Make the visible tree what the log says: at most two moves a model, then pointers, registry and documents.
//!
//! A view of the state, nothing more: it can be redone by any client at any time, deletes no content, and whatever
//! breaks here, what was committed stays committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, try_join};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use modelkeep_core::digest::Sha256;
use modelkeep_core::event::Body;
use modelkeep_core::inspect::{JSON_LIMIT, trainer};
use modelkeep_core::layout::{self, MARKER, METADATA, POINTER_SUFFIX};
use modelkeep_core::manifest::{Marker, ModelKind};
use modelkeep_core::name::ModelId;
use modelkeep_core::path::RemotePath;
use modelkeep_core::registry::docs::{self, PointerFile};
use modelkeep_core::registry::json::{self, Found};
use modelkeep_core::registry::{Model, Push, State};
use modelkeep_core::{Kind, Result};
use modelkeep_remote::{Entry, EntryKind, Inline, Mode, NoMeter, Object, Source};
use serde_json::Value;

use crate::context::{Context, day};
use crate::log::{self, View};
use crate::rule::Rule;
use crate::store::{Pointers, Store};
use crate::{shelf, tree, twins};

/// Projects after a commit: what goes wrong is said, and does not undo that it happened.
pub async fn after(ctx: &Context, store: &Store, view: &mut View, models: &[&ModelId]) -> Result<()> {
    let projected = project(ctx, store, view, models).await;
    forgive(ctx, projected)
}

/// Projects all there is, in the same way.
pub(crate) async fn everything(ctx: &Context, store: &Store, view: &mut View) -> Result<()> {
    let projected = all(ctx, store, view).await;
    forgive(ctx, projected)
}

async fn all(ctx: &Context, store: &Store, view: &mut View) -> Result<()> {
    let all = view.state.kept().map(|model| model.id.clone()).collect::<Vec<_>>();
    project(ctx, store, view, &all.iter().collect::<Vec<_>>()).await
}

/// Makes again what is shown wherever it is not what the log says; what that was.
pub(crate) async fn refresh(
    ctx: &Context,
    store: &Store,
    view: &mut View,
) -> Result<Vec<(Option<ModelId>, RemotePath)>> {
    let stale = stale(ctx, store, view).await?;
    if !stale.is_empty() {
        all(ctx, store, view).await?;
    }
    Ok(stale)
}

fn forgive(ctx: &Context, projected: Result<()>) -> Result<()> {
    match projected {
        Err(error) if error.kind() != Kind::Interrupted => {
            ctx.warn(format!("stored, but the visible tree is not up to date: {}", error.full_message()));
            ctx.warn("hint: modelkeep repair");
            Ok(())
        }
        other => other,
    }
}

/// Projects these models and every document.
pub async fn project(ctx: &Context, store: &Store, view: &mut View, models: &[&ModelId]) -> Result<()> {
    take_edits(ctx, store, view).await?;
    for id in models {
        if let Some(model) = view.state.models.get(*id) {
            show(ctx, store, view, model).await?;
        }
        if let Some(item) = view.state.filed.get(*id) {
            shelf::show(ctx, store, item).await?;
        }
    }
    // None of these shows anything of the others.
    let state = view.state.clone();
    let views: [BoxFuture<'_, Result<()>>; 3] = [
        write_run_logs(ctx, store, &state, models).boxed(),
        point(ctx, store, &state).boxed(),
        write_documents(ctx, store, view).boxed(),
    ];
    stream::iter(views).buffer_unordered(store.at_once(ctx)).try_collect().await
}

/// So often are the folders of a model looked at again when somebody else moves them at the same time.
const ROUNDS: usize = 8;

/// Brings the right push folder to where the model is shown.
async fn show(ctx: &Context, store: &Store, view: &View, model: &Model) -> Result<()> {
    let place = layout::shown(model.kind, &model.id);
    let wanted = view.state.shown(model);
    for _ in 0..ROUNDS {
        if unshow_adopted(ctx, store, view, model, wanted).await? == Shown::Elsewhere {
            return Ok(());
        }
        let standing = standing(store, view, &place).await?;
        // What is known by path alone cannot be told from the others there.
        if standing.len() > 1 && standing.iter().any(|(folder, _)| folder.id.is_none()) {
            let parted = twins::shown_at_once(store, &place).await?;
            if !parted.is_empty() {
                for (folder, to) in parted {
                    store.remote.rename(&folder, &to).await.or_else(tree::moved_meanwhile)?;
                }
                continue;
            }
        }
        let (right, wrong): (Vec<_>, Vec<_>) =
            standing.into_iter().partition(|(_, marker)| wanted.is_some_and(|push| push.txn == marker.txn));
        match (right.first(), wanted) {
            (Some((_, marker)), Some(push)) if wrong.is_empty() => {
                match write_metadata(store, view, model, push, &place, marker).await {
                    // Somebody has just moved it.
                    Err(error) if error.kind() == Kind::NotFound => continue,
                    other => return other,
                }
            }
            (None, None) if wrong.is_empty() => return Ok(()),
            _ => {}
        }
        if wrong.iter().any(|(_, marker)| !view.has_txn(&marker.txn)) {
            ctx.note(format!("{place} shows a push that this view of the log does not know yet; left alone"));
            return Ok(());
        }
        let mut incoming = None;
        if let Some(push) = wanted {
            incoming = tree::find(store, model, push).await?;
            if incoming.is_none() {
                // One push that is lost must not keep all others from being shown.
                ctx.warn(tree::lost(model, push).to_string());
                return Ok(());
            }
        }
        let incoming = incoming.filter(|_| right.is_empty());
        let moved = match (wrong.first(), &incoming) {
            // Never swapped with the trash: what stands there may be deleted at any moment.
            (_, Some(found)) if found.folder.path.below(&layout::trash()).is_some() => {
                let kept = layout::version(&model.id, &found.marker.txn);
                tree::relocate(store, &found.folder, &found.marker.txn, &kept).await
            }
            (Some((out, marker)), Some(incoming)) if wrong.len() == 1 => swap(store, out, marker, incoming).await,
            // Several can stand there only where names are not unique; one after the other goes.
            (Some((out, marker)), _) => put_away(store, out, Some(marker)).await,
            (None, Some(found)) => tree::relocate(store, &found.folder, &found.marker.txn, &place).await,
            (None, None) => Ok(()),
        };
        match moved {
            Ok(()) => {}
            Err(error) if error.kind() == Kind::Conflict && wrong.is_empty() => {
                // A name that is taken by what has no marker is not ours; but a marker may be late.
                let late = store.remote.capabilities().late_listings;
                if !late && tree::marker_in(store, &place).await?.is_none() {
                    return Err(error.hint("modelkeep adopt"));
                }
            }
            // Somebody else is moving the same folders: look again.
            Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    ctx.note(format!("{place} is being moved by others; they bring it up to date"));
    Ok(())
}

/// The push folders that stand at a place, with their markers: one, or where names are not unique any number.
async fn standing(store: &Store, view: &View, place: &RemotePath) -> Result<Vec<(Object, Marker)>> {
    if store.remote.capabilities().unique_names {
        let marker = tree::marker_in(store, place).await?;
        return Ok(marker.into_iter().map(|marker| (Object::at(place.clone()), marker)).collect());
    }
    let mut found = Vec::new();
    for entry in store.remote.list(place, Inline::No).await? {
        if entry.name() != MARKER {
            continue;
        }
        let Some(marker) = tree::read_marker(store, &entry.object()).await? else { continue };
        let ids = view.state.push(&marker.txn).and_then(|(_, push)| push.ids.as_ref());
        found.push((Object { path: place.clone(), id: ids.map(|ids| ids.folder.clone()) }, marker));
    }
    Ok(found)
}

/// Out to `versions/` under its own name, and in; in one step where the store can.
async fn swap(store: &Store, out: &Object, marker: &Marker, found: &tree::Found) -> Result<()> {
    let (place, incoming) = (&out.path, &found.folder);
    if store.remote.capabilities().exchange && incoming.id.is_none() {
        match store.remote.exchange(place, &incoming.path).await {
            Ok(()) => return put_away(store, &Object::at(incoming.path.clone()), None).await,
            Err(error) if error.kind() == Kind::NotFound => return Err(error),
            // The file system has no such call after all.
            Err(_) => {}
        }
    }
    put_away(store, out, Some(marker)).await?;
    tree::relocate(store, incoming, &found.marker.txn, place).await
}

/// Moves the push folder that stands there now to where its own marker says that it belongs.
async fn put_away(store: &Store, out: &Object, marker: Option<&Marker>) -> Result<()> {
    let from = &out.path;
    let Some(standing) = store.remote.find(out).await?.filter(|entry| entry.path == *from) else { return Ok(()) };
    // What has an id is what it was; at a path there may be something else by now.
    let marker = match marker.filter(|_| out.id.is_some()) {
        Some(marker) => Some(marker.clone()),
        None => tree::marker_in(store, from).await?,
    };
    let Some(marker) = marker else { return Ok(()) };
    let mut to = layout::version(&marker.model, &marker.txn);
    if !store.keeps(Rule::ProjectionOnlyMoves) {
        to = layout::trashed(day(store.remote.now().await?), &marker.txn);
    }
    if *from == to {
        return Ok(());
    }
    tree::relocate(store, &standing.object(), &marker.txn, &to).await
}

#[derive(PartialEq, Eq)]
enum Shown {
    /// The wanted push stands in the folder it was adopted in.
    Elsewhere,
    /// It belongs at the model's own place.
    Here,
}

/// A folder of another name in which a push was adopted counts as shown until a newer push is; then it is put away.
async fn unshow_adopted(
    ctx: &Context,
    store: &Store,
    view: &View,
    model: &Model,
    wanted: Option<&Push>,
) -> Result<Shown> {
    for push in model.pushes.iter().filter(|push| push.folder.is_some()) {
        let Some(name) = &push.folder else { continue };
        let folder = layout::models(model.kind).join(name);
        let Some(marker) = tree::marker_in(store, &folder).await? else { continue };
        if marker.txn != push.txn {
            continue;
        }
        if wanted.is_some_and(|wanted| wanted.txn == push.txn) {
            write_metadata(store, view, model, push, &folder, &marker).await?;
            return Ok(Shown::Elsewhere);
        }
        match put_away(store, &Object::at(folder.clone()), None).await {
            Ok(()) => ctx.note(format!("{folder} moved to where earlier versions are")),
            Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Shown::Here)
}

async fn write_metadata(
    store: &Store,
    view: &View,
    model: &Model,
    push: &Push,
    folder: &RemotePath,
    marker: &Marker,
) -> Result<()> {
    // A `metadata.json` that was pushed is content and stays as it is.
    if marker.files.get(METADATA).is_some() {
        return Ok(());
    }
    let bytes = docs::metadata(&view.state, model, push, &marker.files);
    write_changed(store, &folder.join(METADATA), bytes, Mode::Refresh).await
}

/// Writes a document unless it says the same already.
async fn write_if_changed(store: &Store, path: &RemotePath, bytes: Vec<u8>) -> Result<()> {
    write_changed(store, path, bytes, Mode::Replace).await
}

async fn write_changed(store: &Store, path: &RemotePath, bytes: Vec<u8>, mode: Mode) -> Result<()> {
    match store.remote.read(&Object::at(path.clone()), 0..1 << 30).await {
        Ok(there) if there == bytes => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == Kind::NotFound => {}
        Err(error) => return Err(error),
    }
    store.remote.write(path, Source::Bytes(bytes.into()), mode, Arc::new(NoMeter)).await.map(drop)
}

async fn replace(store: &Store, path: &RemotePath, bytes: Bytes) -> Result<()> {
    store.remote.write(path, Source::Bytes(bytes), Mode::Replace, Arc::new(NoMeter)).await.map(drop)
}

/// Where a model is shown: its own place, or the folder it was adopted in.
pub fn shown_at(state: &State, model: &Model) -> RemotePath {
    state.shown_path(model)
}

/// What a pointer should become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PointerChange {
    /// The pointer, by its name without a suffix.
    pub pointer: RemotePath,
    /// What it should point to, if that is not right.
    pub target: Option<RemotePath>,
    /// What goes: it points to what is no more, or stands there a second time.
    pub surplus: Vec<Object>,
}

/// The pointers that are not as they should be.
pub(crate) async fn pointer_changes(store: &Store, state: &State) -> Result<Vec<PointerChange>> {
    let mut wanted: BTreeMap<RemotePath, RemotePath> = BTreeMap::new();
    for model in state.models.values().filter(|model| model.kind == ModelKind::Finetuned) {
        let family = model.id.family();
        if let Some(highest) = state.family_latest(family) {
            wanted.insert(layout::family_latest(family), shown_at(state, highest));
        }
    }
    if let Some(deployed) = state.deployed()
        && let Some(model) = state.models.get(&deployed.model)
    {
        wanted.insert(layout::deployed_current(), shown_at(state, model));
    }
    let mut changes = Vec::new();
    for folder in [layout::models(ModelKind::Finetuned), layout::deployed_current().parent()] {
        let is_pointer = |name: &str| name.ends_with(POINTER_SUFFIX);
        let entries = store.remote.list(&folder, Inline::UpTo(1 << 16, &is_pointer)).await?;
        let mut there: BTreeMap<RemotePath, Vec<(Object, Option<RemotePath>)>> = BTreeMap::new();
        for entry in &entries {
            if let Some((pointer, target)) = pointer_of(entry, store.format.pointers) {
                there.entry(pointer).or_default().push((entry.object(), target));
            }
        }
        for (pointer, target) in wanted.iter().filter(|(pointer, _)| pointer.parent() == folder) {
            let mut standing = there.remove(pointer).unwrap_or_default();
            // Of several with one name everybody keeps the same one.
            standing.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
            // A folder that was adopted under the pointer's own name is where that name should lead.
            let right = target == pointer || standing.first().and_then(|(_, target)| target.as_ref()) == Some(target);
            let surplus: Vec<Object> = standing.into_iter().skip(1).map(|(object, _)| object).collect();
            if !right || !surplus.is_empty() {
                let target = Some(target.clone()).filter(|_| !right);
                changes.push(PointerChange { pointer: pointer.clone(), target, surplus });
            }
        }
        let outdated = there.into_iter().filter(|(pointer, _)| is_ours(pointer));
        changes.extend(outdated.map(|(pointer, standing)| {
            let surplus = standing.into_iter().map(|(object, _)| object).collect();
            PointerChange { pointer, target: None, surplus }
        }));
    }
    Ok(changes)
}

/// Brings every pointer up to date.
async fn point(ctx: &Context, store: &Store, state: &State) -> Result<()> {
    for change in pointer_changes(store, state).await? {
        for object in &change.surplus {
            store.remote.delete(object).await?;
        }
        if let Some(target) = change.target {
            set_pointer(ctx, store, &change.pointer, &target).await?;
        }
    }
    Ok(())
}

fn pointer_file(pointer: &RemotePath) -> RemotePath {
    pointer.parent().join(&format!("{}{POINTER_SUFFIX}", pointer.name()))
}

fn is_ours(pointer: &RemotePath) -> bool {
    *pointer == layout::deployed_current() || pointer.name().ends_with("-latest")
}

/// The pointer that an entry is, by its name without a suffix, and what it points to.
fn pointer_of(entry: &Entry, pointers: Pointers) -> Option<(RemotePath, Option<RemotePath>)> {
    match (&entry.kind, pointers) {
        (EntryKind::Pointer(target), Pointers::Symlink | Pointers::Shortcut) => {
            Some((entry.path.clone(), target.clone()))
        }
        (EntryKind::File, Pointers::File) => {
            let name = entry.name().strip_suffix(POINTER_SUFFIX).filter(|name| !name.is_empty())?;
            let target = entry.content.as_ref().and_then(|bytes| serde_json::from_slice::<PointerFile>(bytes).ok());
            Some((entry.path.parent().join(name), target.map(|pointer| pointer.target)))
        }
        _ => None,
    }
}

async fn set_pointer(ctx: &Context, store: &Store, pointer: &RemotePath, target: &RemotePath) -> Result<()> {
    let set = match store.format.pointers {
        Pointers::File => {
            replace(store, &pointer_file(pointer), PointerFile { target: target.clone() }.to_bytes().into()).await
        }
        Pointers::Symlink | Pointers::Shortcut => store.remote.point(pointer, target).await,
    };
    match set {
        Err(error) if error.kind() == Kind::Conflict => {
            ctx.warn(format!("{pointer} is no pointer of ours and was left alone; move it aside to get the pointer"));
            Ok(())
        }
        other => other,
    }
}

/// Edits made by hand in the registry become an event, once; what is not ours is left where it is.
async fn take_edits(ctx: &Context, store: &Store, view: &mut View) -> Result<()> {
    let path = layout::registry();
    let Some(bytes) = read_registry(store).await? else { return Ok(()) };
    match json::examine(&bytes) {
        Found::Rendering(_) | Found::Foreign(_) => Ok(()),
        Found::Unreadable(why) => {
            let aside = set_aside(store, &bytes).await?;
            ctx.warn(format!("{path} could not be read ({why}); it was kept as {aside} and written anew"));
            Ok(())
        }
        Found::Edited(digest, _) if view.state.knows_edit(&digest, &Sha256::of(&bytes)) => Ok(()),
        Found::Edited(digest, document) => {
            let rendering = Object::at(layout::rendering(&digest));
            let base = match store.remote.read(&rendering, 0..1 << 30).await {
                Ok(base) => serde_json::from_slice::<Value>(&base).ok(),
                Err(error) if error.kind() == Kind::NotFound => None,
                Err(error) => return Err(error),
            };
            let Some(base) = base else {
                let aside = set_aside(store, &bytes).await?;
                ctx.warn(format!("{path} was edited, but not from a rendering of this tree; it was kept as {aside}"));
                return Ok(());
            };
            let edits = json::edits(&base, &document);
            for refused in &edits.refused {
                ctx.warn(format!("{path} was edited by hand; not taken in: {refused}"));
            }
            if edits.changes.is_empty() {
                return Ok(());
            }
            let what: Vec<&str> = edits.changes.keys().map(String::as_str).filter(|id| !id.is_empty()).collect();
            ctx.note(format!("{path} was edited by hand; taken in: {}", what.join(", ")));
            let body = Body::RegistryEdited {
                base: digest,
                found: Sha256::of(&bytes),
                seen: edits.seen,
                changes: edits.changes,
            };
            log::append(ctx, store, view, body).await.map(drop)
        }
    }
}

async fn read_registry(store: &Store) -> Result<Option<Bytes>> {
    match store.remote.read(&Object::at(layout::registry()), 0..1 << 30).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps a registry that cannot be taken in beside the one that will be written.
async fn set_aside(store: &Store, bytes: &Bytes) -> Result<RemotePath> {
    let now = store.remote.now().await?;
    let name = format!("model_registry.rejected-{}.json", now.strftime("%Y%m%dT%H%M%SZ"));
    let path = layout::registry().parent().join(&name);
    match store.remote.write(&path, Source::Bytes(bytes.clone()), Mode::New, Arc::new(NoMeter)).await {
        Ok(_) => {}
        // Two clients in one second keep the same file aside.
        Err(error) if error.kind() == Kind::Conflict => {}
        Err(error) => return Err(error),
    }
    Ok(path)
}

/// What of the visible tree is not what the log says, as sentences by model.
pub(crate) async fn stale(ctx: &Context, store: &Store, view: &View) -> Result<Vec<(Option<ModelId>, RemotePath)>> {
    let mut found = Vec::new();
    for model in view.state.models.values() {
        let wanted = view.state.shown(model);
        let place = shown_at(&view.state, model);
        // A marker that cannot be read is damage, which is looked for elsewhere.
        let Ok(standing) = standing(store, view, &place).await else { continue };
        let behind = standing.iter().any(|(_, marker)| !view.has_txn(&marker.txn));
        let standing: Vec<_> = standing.iter().map(|(_, marker)| marker.txn).collect();
        if !behind && standing != Vec::from_iter(wanted.map(|push| push.txn)) {
            found.push((Some(model.id.clone()), place));
        }
    }
    found.extend(shelf::stale(ctx, store, view).await?.into_iter().map(|place| (None, place)));
    found.extend(pointer_changes(store, &view.state).await?.into_iter().map(|change| (None, change.pointer)));
    let logs = missing_run_logs(store, view.state.models.values()).await?;
    found.extend(logs.into_iter().map(|(model, _, path)| (Some(model.id.clone()), path)));
    let registry = read_registry(store).await?;
    let current = Found::Rendering(json::render(&view.state).digest);
    if registry.is_none_or(|bytes| json::examine(&bytes) != current) {
        found.push((None, layout::registry()));
    }
    Ok(found)
}

/// Writes registry and training log.
async fn write_documents(ctx: &Context, store: &Store, view: &mut View) -> Result<()> {
    let mut looked_again = false;
    for _ in 0..ROUNDS {
        let rendering = json::render(&view.state);
        let before = read_registry(store).await?;
        // A rendering that knows more than this view: look again; if that does not help, the log was lost, or its
        // newest event is late, and the registry is not for us to write.
        if let Some(newest) = before.as_ref().and_then(|bytes| json::newest_event(bytes))
            && !view.names.contains(&newest)
        {
            if looked_again {
                ctx.warn(format!(
                    "{} knows of events that the log does not have; it was left alone (modelkeep adopt rebuilds a lost log)",
                    layout::registry()
                ));
                break;
            }
            looked_again = true;
            *view = log::refresh(ctx, store).await?;
            continue;
        }
        match before.as_ref().map(|bytes| json::examine(bytes)) {
            Some(Found::Foreign(_)) => {
                ctx.warn(format!(
                    "{} is not of our making and was left alone; modelkeep adopt takes it in",
                    layout::registry()
                ));
                break;
            }
            Some(Found::Rendering(digest)) if digest == rendering.digest => break,
            // An unreadable one was kept aside by `take_edits`; an edit is taken in before it is replaced.
            Some(Found::Edited(..)) if edited_from_ours(store, before.as_ref()).await? => {
                let known = view.names.len();
                take_edits(ctx, store, view).await?;
                if view.names.len() > known {
                    continue;
                }
            }
            _ => {}
        }
        let kept = layout::rendering(&rendering.digest);
        let source = Source::Bytes(rendering.bytes.clone().into());
        match store.remote.write(&kept, source, Mode::New, Arc::new(NoMeter)).await {
            Ok(_) => {}
            Err(error) if error.kind() == Kind::Conflict => {}
            Err(error) => return Err(error),
        }
        // Somebody may have saved an edit since the look above: look once more, right before.
        if read_registry(store).await? == before {
            let place = layout::registry();
            let registry = replace(store, &place, rendering.bytes.into());
            if ctx.jobs > 1 {
                return try_join(registry, write_training_log(store, &view.state)).await.map(drop);
            }
            registry.await?;
            break;
        }
    }
    write_training_log(store, &view.state).await
}

async fn write_training_log(store: &Store, state: &State) -> Result<()> {
    write_if_changed(store, &layout::training_log(), docs::training_log(state).into_bytes()).await
}

async fn edited_from_ours(store: &Store, bytes: Option<&Bytes>) -> Result<bool> {
    let Some(Found::Edited(digest, _)) = bytes.map(|bytes| json::examine(bytes)) else { return Ok(false) };
    Ok(store.remote.find(&Object::at(layout::rendering(&digest))).await?.is_some())
}

/// Whether the registry knows of events that the log does not have: then the log was lost, or there is none yet.
pub(crate) async fn log_is_lost(store: &Store, view: &View) -> Result<bool> {
    let newest = read_registry(store).await?.and_then(|bytes| json::newest_event(&bytes));
    Ok(view.names.is_empty() || newest.is_some_and(|newest| !view.names.contains(&newest)))
}

/// Puts the registry that was taken in aside, and ours in its place. One that is a rendering of a log that was lost is
/// not kept: it says nothing that the log does not say now.
pub(crate) async fn replace_adopted_registry(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    log_lost: bool,
) -> Result<()> {
    let found = read_registry(store).await?.map(|bytes| (json::examine(&bytes), bytes));
    if log_lost && matches!(found, Some((Found::Rendering(_), _))) {
        replace(store, &layout::registry(), json::render(&view.state).bytes.into()).await?;
    } else if let Some((found, bytes)) = found
        && (matches!(found, Found::Foreign(_)) || log_lost && matches!(found, Found::Edited(..)))
    {
        let path = layout::registry().parent().join("model_registry.before-modelkeep.json");
        match store.remote.write(&path, Source::Bytes(bytes), Mode::New, Arc::new(NoMeter)).await {
            Err(error) if error.kind() != Kind::Conflict => return Err(error),
            _ => {}
        }
        replace(store, &layout::registry(), json::render(&view.state).bytes.into()).await?;
    }
    write_documents(ctx, store, view).await
}

/// The registry as it is on the remote, with what it is.
pub(crate) async fn found_registry(store: &Store) -> Result<Option<Found>> {
    Ok(read_registry(store).await?.map(|bytes| json::examine(&bytes)))
}

/// Writes the logs of training runs that are not there yet.
async fn write_run_logs(ctx: &Context, store: &Store, state: &State, models: &[&ModelId]) -> Result<()> {
    let models = models.iter().filter_map(|id| state.models.get(*id));
    let missing = missing_run_logs(store, models).await?;
    for (model, push, path) in missing {
        let Some(found) = tree::find(store, model, push).await? else { continue };
        let trainer = match found.marker.files.get(trainer::FILE) {
            Some(file) if file.size <= JSON_LIMIT => {
                let bytes = store.remote.read(&found.file(&file.path), 0..JSON_LIMIT).await?;
                trainer::log_history(&bytes)
            }
            _ => None,
        };
        let source = Source::Bytes(docs::run_log(model, push, trainer.as_ref()).into());
        match store.remote.write(&path, source, Mode::New, Arc::new(NoMeter)).await {
            Err(error) if error.kind() != Kind::Conflict => return Err(error),
            _ => ctx.check_stop()?,
        }
    }
    Ok(())
}

/// Pushes of fine-tuned models that have no log of their training run, and where it belongs.
async fn missing_run_logs<'a>(
    store: &Store,
    models: impl Iterator<Item = &'a Model>,
) -> Result<Vec<(&'a Model, &'a Push, RemotePath)>> {
    let mut wanted = Vec::new();
    for model in models.filter(|model| model.kind == ModelKind::Finetuned) {
        for push in model.pushes.iter().filter(|push| push.removed.is_none()) {
            let date = push.facts.training_date.unwrap_or_else(|| day(push.at));
            wanted.push((model, push, layout::run_log(&model.id, push.number, date)));
        }
    }
    let Some((_, _, first)) = wanted.first() else { return Ok(wanted) };
    let entries = store.remote.list(&first.parent(), Inline::No).await?;
    let there: BTreeSet<&RemotePath> = entries.iter().map(|entry| &entry.path).collect();
    wanted.retain(|(_, _, path)| !there.contains(path));
    Ok(wanted)
}
