//! What is filed, shown as plain files at its place: copies that the store makes of what stands in push folders.
//!
//! A view, like all of projection. It takes a file away, or puts another in its place, only when that file is a copy of a
//! push that was found standing; what anybody else put there, or changed, is left alone and told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use modelkeep_core::digest::Sha256;
use modelkeep_core::filed::Shape;
use modelkeep_core::layout;
use modelkeep_core::manifest::FileEntry;
use modelkeep_core::path::RemotePath;
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::{Entry, EntryKind, Inline, Mode, Object, Source};

use crate::context::Context;
use crate::log::View;
use crate::store::Store;
use crate::{staging, tree};

/// A file as it should be shown.
struct Wanted {
    file: FileEntry,
    /// Where its content stands.
    from: Object,
}

/// What is shown now, and what of it we put there.
struct Standing {
    /// The files at each path; several only where names are not unique.
    entries: BTreeMap<RemotePath, Vec<Entry>>,
    /// The contents that pushes which stand somewhere had at each path.
    ours: BTreeMap<RemotePath, BTreeSet<(u64, Sha256)>>,
}

/// Brings what is shown of one thing up to date.
pub async fn show(ctx: &Context, store: &Store, item: &Model) -> Result<()> {
    let mut files = BTreeMap::new();
    if let Some(push) = item.latest() {
        let Some(wanted) = wanted(store, item, push).await? else {
            // One push that is lost must not keep all others from being shown.
            ctx.warn(tree::lost(item, push).to_string());
            return Ok(());
        };
        files = wanted;
    }
    let wanted = files;
    let standing = standing(ctx, store, item, wanted.keys().cloned().collect()).await?;
    for (path, wanted) in &wanted {
        ctx.check_stop()?;
        let mut right = Vec::new();
        let mut outdated = Vec::new();
        let mut foreign = false;
        for entry in standing.entries.get(path).into_iter().flatten() {
            match judge(store, entry, Some(&wanted.file), standing.ours.get(path)).await? {
                Judged::Right => right.push(entry.object()),
                Judged::Ours => outdated.push(entry.object()),
                Judged::Foreign => foreign = true,
            }
        }
        if foreign && right.is_empty() {
            ctx.warn(format!(
                "{path} was put there or changed by somebody, and was left alone; move it aside to see what was filed"
            ));
            continue;
        }
        // Of several copies everybody keeps the same one.
        right.sort_by(|a, b| a.id.cmp(&b.id));
        if right.is_empty() {
            put(ctx, store, path, wanted, &outdated).await?;
        } else {
            outdated.extend(right.drain(1..));
            take_away(store, &outdated).await?;
        }
    }
    for (path, entries) in &standing.entries {
        if wanted.contains_key(path) {
            continue;
        }
        for entry in entries {
            if judge(store, entry, None, standing.ours.get(path)).await? == Judged::Ours {
                store.remote.delete(&entry.object()).await?;
            }
        }
    }
    Ok(())
}

/// What of what is shown is not what the log says, by names and sizes (and checksums, where the store has them).
pub async fn stale(ctx: &Context, store: &Store, view: &View) -> Result<Vec<RemotePath>> {
    let mut found = Vec::new();
    for item in view.state.filed.values() {
        let Some(push) = item.latest() else { continue };
        // A push that cannot be found is damage, which is looked for elsewhere.
        let Ok(manifest) = tree::manifest(ctx, store, item, push).await else { continue };
        let places: BTreeMap<RemotePath, &FileEntry> =
            manifest.files().iter().filter_map(|file| Some((shown_at(item, push, file)?, file))).collect();
        let there = list(store, &places.keys().cloned().collect()).await?;
        let behind = places.iter().find(|(path, file)| {
            let right =
                |entry: &Entry| entry.size == file.size && entry.sha256.is_none_or(|sha256| sha256 == file.sha256);
            !there.get(*path).is_some_and(|entries| entries.iter().any(right))
        });
        found.extend(behind.map(|(path, _)| path.clone()));
    }
    Ok(found)
}

/// Where a file of a push is shown.
pub fn shown_at(item: &Model, push: &Push, file: &FileEntry) -> Option<RemotePath> {
    let base = item.place.as_ref()?.base(push.shape.unwrap_or(Shape::File));
    Some(base.join_content(&file.path))
}

/// The files of a push with where they stand; `None` when the push stands nowhere.
async fn wanted(store: &Store, item: &Model, push: &Push) -> Result<Option<BTreeMap<RemotePath, Wanted>>> {
    let Some(found) = tree::find(store, item, push).await? else { return Ok(None) };
    let files = found.marker.files.files().iter();
    Ok(Some(
        files
            .filter_map(|file| {
                let wanted = Wanted { file: file.clone(), from: found.file(&file.path) };
                Some((shown_at(item, push, file)?, wanted))
            })
            .collect(),
    ))
}

async fn standing(ctx: &Context, store: &Store, item: &Model, mut paths: BTreeSet<RemotePath>) -> Result<Standing> {
    let mut ours: BTreeMap<RemotePath, BTreeSet<(u64, Sha256)>> = BTreeMap::new();
    for push in &item.pushes {
        // Only a copy of what was found standing is a mere copy.
        if !tree::stands(store, item, push).await? {
            continue;
        }
        let Ok(manifest) = tree::manifest(ctx, store, item, push).await else { continue };
        for file in manifest.files() {
            let Some(path) = shown_at(item, push, file) else { continue };
            paths.insert(path.clone());
            ours.entry(path).or_default().insert((file.size, file.sha256));
        }
    }
    Ok(Standing { entries: list(store, &paths).await?, ours })
}

/// What stands at these paths: each folder is listed once.
async fn list(store: &Store, paths: &BTreeSet<RemotePath>) -> Result<BTreeMap<RemotePath, Vec<Entry>>> {
    let folders: BTreeSet<RemotePath> = paths.iter().map(RemotePath::parent).collect();
    let mut there: BTreeMap<RemotePath, Vec<Entry>> = BTreeMap::new();
    for folder in folders {
        for entry in store.remote.list(&folder, Inline::No).await? {
            if paths.contains(&entry.path) {
                there.entry(entry.path.clone()).or_default().push(entry);
            }
        }
    }
    Ok(there)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    /// It is what should be shown.
    Right,
    /// A copy of something that was filed here.
    Ours,
    /// Somebody else's.
    Foreign,
}

async fn judge(
    store: &Store,
    entry: &Entry,
    wanted: Option<&FileEntry>,
    ours: Option<&BTreeSet<(u64, Sha256)>>,
) -> Result<Judged> {
    let could_be = wanted.is_some_and(|file| file.size == entry.size)
        || ours.is_some_and(|ours| ours.iter().any(|(size, _)| *size == entry.size));
    if entry.kind != EntryKind::File || !could_be {
        return Ok(Judged::Foreign);
    }
    let digest = match entry.sha256 {
        Some(digest) => digest,
        None => match tree::digest(store, &entry.object(), entry.size).await {
            // It went away, or cannot be read: not ours to say.
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Local | Kind::Auth) => {
                return Ok(Judged::Foreign);
            }
            digest => digest?,
        },
    };
    if wanted.is_some_and(|file| file.sha256 == digest) {
        return Ok(Judged::Right);
    }
    let is_ours = ours.is_some_and(|ours| ours.contains(&(entry.size, digest)));
    Ok(if is_ours { Judged::Ours } else { Judged::Foreign })
}

async fn take_away(store: &Store, objects: &[Object]) -> Result<()> {
    for object in objects {
        store.remote.delete(object).await?;
    }
    Ok(())
}

/// Copies a file to its place. The copy is made whole elsewhere first: what people see is never half a file.
async fn put(ctx: &Context, store: &Store, path: &RemotePath, wanted: &Wanted, outdated: &[Object]) -> Result<()> {
    // A folder of its own in `staging/`, so that what is left of a copy that never ended is cleared like a push.
    let holder = layout::staged(&staging::new_txn(ctx)?);
    let made = store.remote.create_dir(&holder).await?;
    let copy = holder.join(path.name());
    let id = copied(ctx, store, wanted, &copy).await?;
    let copied = Object { path: copy, id };
    if tree_size(store, &copied).await? == Some(wanted.file.size) {
        take_away(store, outdated).await?;
        match store.remote.rename(&copied, path).await {
            Ok(()) => {}
            // Somebody else was faster; what stands there is judged the next time.
            Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
            Err(error) => return Err(error),
        }
        store.remote.flush(std::slice::from_ref(path)).await.or_else(gone)?;
    }
    store.remote.delete(&made.object()).await
}

fn gone(error: Error) -> Result<()> {
    if error.kind() == Kind::NotFound { Ok(()) } else { Err(error) }
}

async fn tree_size(store: &Store, object: &Object) -> Result<Option<u64>> {
    Ok(store.remote.find(object).await?.map(|entry| entry.size))
}

/// A copy by the store itself, or through this machine where the store makes none; its id where there are ids.
async fn copied(ctx: &Context, store: &Store, wanted: &Wanted, to: &RemotePath) -> Result<Option<String>> {
    if store.remote.capabilities().copies {
        return Ok(store.remote.copy(&wanted.from, to, ctx.meter()).await?.id);
    }
    let folder = store.local(ctx)?.folder().join("shown");
    std::fs::create_dir_all(&folder).map_err(|error| modelkeep_remote::folder::failed("creating", &folder, error))?;
    let here = folder.join(wanted.file.sha256.to_string());
    store.remote.fetch(&wanted.from, &here, ctx.meter()).await?;
    let written =
        store.remote.write(to, Source::File(here.clone()), Mode::New, Arc::new(modelkeep_remote::NoMeter)).await;
    let _ = std::fs::remove_file(here);
    Ok(written?.id)
}
