//! Two things of one name in one folder, as a store without unique names lets them come about: found, and made one.
//!
//! Folders become the one with the smallest id, which is the one that is written to; not those that hold all models, all
//! events, or other folders that become one by themselves. Of files with equal bytes the one with the smallest id stays,
//! other files are given another name; not the files of pushes. Nothing that cannot be had again is taken away, and what
//! people put there themselves is left to them.
//!
//! Wherever it is stopped, every file stands where people see it, and the next repair goes on: a folder that is being
//! emptied stands beside the one that it goes into, under a name made of its id. Something may turn up in it late, and
//! the next repair brings that back. A folder of people's is parked in staging until then, below the path that it had,
//! and taken away when nobody wrote to it for a week. One of push folders stays where it is for ever, for whoever looks
//! for a push looks there too, and where listings are late nobody knows that it is empty.

use std::collections::BTreeMap;

use modelkeep_core::inspect::JSON_LIMIT;
use modelkeep_core::layout::{self, MARKER, METADATA};
use modelkeep_core::path::RemotePath;
use modelkeep_core::registry::docs;
use modelkeep_core::{Kind, Result};
use modelkeep_remote::{Entry, EntryKind, Inline, Object};

use crate::prune::FORGOTTEN;
use crate::report::Step;
use crate::store::Store;
use crate::tree;

/// Begins the name of a folder in staging that was merged into another.
const PARKED: &str = "emptied-";

/// What was found: steps to take, and what is the person's to decide.
#[derive(Debug, Default)]
pub struct Found {
    /// What to do, with its reasons.
    pub plan: Vec<(Twin, Step)>,
    /// Files of people that stand there twice.
    pub left: Vec<String>,
}

/// One thing to do.
#[derive(Debug)]
pub enum Twin {
    /// These folders go into the one with the smallest id.
    Merge(RemotePath, Vec<Object>),
    /// The same bytes stand beside it.
    Drop(Object),
    /// Other bytes: another name.
    Rename(Object, RemotePath),
    /// What an earlier repair was stopped at: this folder goes into the one at the path.
    Finish(Object, RemotePath),
    /// Something turned up in a folder that was parked as empty: it goes to where it was.
    Unpark(Object),
}

/// Push folders that stand under one name, where they are shown or in `versions/`: all but one, each with a name in
/// `versions/` that nothing else has. By path only one of them is found, and what has no id of a push, because it came
/// through a mount, is known by path alone.
pub(crate) async fn under_one_name(store: &Store) -> Result<Vec<(Object, RemotePath)>> {
    if store.remote.capabilities().unique_names {
        return Ok(Vec::new());
    }
    let shown = tree::model_folders(store).await?.into_iter().map(|(entry, _)| entry);
    let kept = tree::version_folders(store).await?;
    let mut by_path: BTreeMap<RemotePath, Vec<Entry>> = BTreeMap::new();
    for entry in shown.chain(kept) {
        by_path.entry(entry.path.clone()).or_default().push(entry);
    }
    let mut found = Vec::new();
    for (path, entries) in by_path.into_iter().filter(|(_, entries)| entries.len() > 1) {
        found.extend(parted(store, &path, entries).await?);
    }
    Ok(found)
}

/// The same of one place where a model is shown.
pub(crate) async fn shown_at_once(store: &Store, place: &RemotePath) -> Result<Vec<(Object, RemotePath)>> {
    let mut entries = store.remote.list(&place.parent(), Inline::No).await?;
    entries.retain(|entry| entry.path == *place && entry.kind == EntryKind::Dir);
    if entries.len() > 1 { parted(store, place, entries).await } else { Ok(Vec::new()) }
}

/// Only when each of them is a push: a folder of somebody's own stays where it is.
async fn parted(store: &Store, path: &RemotePath, mut folders: Vec<Entry>) -> Result<Vec<(Object, RemotePath)>> {
    let markers = store.remote.list(path, Inline::No).await?.iter().filter(|entry| entry.name() == MARKER).count();
    if markers < folders.len() {
        return Ok(Vec::new());
    }
    folders.sort_by(|a, b| a.id.cmp(&b.id));
    let others = folders.iter().skip(1);
    Ok(others
        .map(|other| {
            let aside = layout::twin(path, other.id.as_deref());
            let in_versions = path.below(&layout::versions()).is_some();
            let to = if in_versions { aside } else { layout::versions().join(path.name()).join(aside.name()) };
            (other.object(), to)
        })
        .collect())
}

/// Looks for things of one name, from the root down.
pub async fn find(store: &Store) -> Result<Found> {
    let mut found = Found::default();
    if store.remote.capabilities().unique_names {
        return Ok(found);
    }
    let mut open = vec![RemotePath::root()];
    while let Some(folder) = open.pop() {
        let mut by_path: BTreeMap<RemotePath, Vec<Entry>> = BTreeMap::new();
        for entry in store.remote.list(&folder, Inline::No).await? {
            by_path.entry(entry.path.clone()).or_default().push(entry);
        }
        if folder == layout::staging() {
            let parked = by_path.values().flatten().filter(|entry| is_parked(entry));
            for entry in parked {
                found.plan.extend(unpark(store, entry).await?);
            }
        }
        for entry in by_path.values().flatten() {
            let goes_into = side_of(entry).filter(|home| {
                by_path.get(home).is_some_and(|there| there.iter().any(|entry| entry.kind == EntryKind::Dir))
            });
            if let Some(home) = goes_into
                && (merging(&home) == Merging::Deep || !store.remote.list(&entry.path, Inline::No).await?.is_empty())
            {
                let step =
                    Step::new("merge", home.as_str(), "a folder of this name stepped aside, and is not done with");
                found.plan.push((Twin::Finish(entry.object(), home), step));
            }
        }
        for (path, mut entries) in by_path {
            entries.sort_by(|a, b| a.id.cmp(&b.id));
            let planned = found.plan.len();
            if entries.len() > 1 {
                twins(store, &path, &entries, &mut found).await?;
            }
            // What is in folders that are merged is looked at when they are one.
            let merged = found.plan[planned..].iter().any(|(twin, _)| matches!(twin, Twin::Merge(..)));
            if !merged && entries.iter().any(|entry| entry.kind == EntryKind::Dir) {
                open.push(path.clone());
            }
        }
    }
    Ok(found)
}

async fn twins(store: &Store, path: &RemotePath, entries: &[Entry], found: &mut Found) -> Result<()> {
    let all = |kind: fn(&EntryKind) -> bool| entries.iter().all(|entry| kind(&entry.kind));
    let Some((kept, others)) = entries.split_first() else { return Ok(()) };
    if all(|kind| *kind == EntryKind::Dir) {
        match merging(path) {
            Merging::Deep | Merging::Pushes => {
                let others = others.iter().map(Entry::object).collect();
                let reason = format!("{} folders of this name stand there", entries.len());
                found.plan.push((Twin::Merge(path.clone(), others), Step::new("merge", path.as_str(), reason)));
            }
            Merging::Apart => found.plan.extend(others.iter().map(|other| apart(other, "folder"))),
            Merging::Never => {}
        }
        return Ok(());
    }
    if all(|kind| matches!(kind, EntryKind::Pointer(_))) {
        // Where pointers lead is written anew whenever it is not right.
        let same = others.iter().filter(|other| other.kind == kept.kind);
        let drop =
            same.map(|other| (Twin::Drop(other.object()), Step::new("take away", path.as_str(), "a second pointer")));
        found.plan.extend(drop);
        return Ok(());
    }
    if is_of_a_push(path) {
        return projections(store, path, entries, found).await;
    }
    if !is_ours(path) {
        found.left.push(format!("{path} stands there {} times: give all but one another name", entries.len()));
        return Ok(());
    }
    for other in others {
        if same_bytes(kept, other) {
            let step = Step::new("take away", path.as_str(), "the same bytes stand there twice").bytes(other.size);
            found.plan.push((Twin::Drop(other.object()), step));
        } else {
            found.plan.push(apart(other, "file"));
        }
    }
    Ok(())
}

/// It gets another name.
fn apart(other: &Entry, what: &str) -> (Twin, Step) {
    let to = layout::twin(&other.path, other.id.as_deref());
    let reason = format!("another {what} of this name stands there; now {}", to.name());
    (Twin::Rename(other.object(), to), Step::new("rename", other.path.as_str(), reason))
}

/// What two clients that showed a push at once say of it. One is enough, for it is made anew from the log.
///
/// Nothing else that stands in a push folder is touched: two pushes may stand under one name, the listing may show the
/// marker of one of them alone, and each needs its own files. Who reads a push knows them by id.
async fn projections(store: &Store, path: &RemotePath, entries: &[Entry], found: &mut Found) -> Result<()> {
    if path.name() != METADATA {
        return Ok(());
    }
    let mut ours = Vec::new();
    for entry in entries {
        let bytes = store.remote.read(&entry.object(), 0..JSON_LIMIT).await;
        if bytes.is_ok_and(|bytes| docs::is_our_metadata(&bytes)) {
            ours.push(entry);
        }
    }
    for other in ours.into_iter().skip(1) {
        let step = Step::new("take away", path.as_str(), "it is made anew from the log").bytes(other.size);
        found.plan.push((Twin::Drop(other.object()), step));
    }
    Ok(())
}

/// How folders of one name become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Merging {
    /// With all folders that are in them.
    Deep,
    /// These hold push folders, which are moved whole and never made one.
    Pushes,
    /// Not at all: each gets its own name.
    Apart,
    /// Every folder of the name is read, and none moved away: listings may be late, and what looks empty may hold an
    /// event that must be seen at any time.
    Never,
}

fn merging(path: &RemotePath) -> Merging {
    let parts: Vec<&str> = path.parts().collect();
    match parts[..] {
        [layout::INTERNAL, "versions" | "trash", _] => Merging::Pushes,
        // Halves of one attempt. In `versions/` the projection, which knows pushes, sees to it.
        [layout::INTERNAL, "trash", _, _] => Merging::Apart,
        [layout::INTERNAL | "models", ..] => Merging::Never,
        _ => Merging::Deep,
    }
}

/// Whether this is, or would be, a file of a push: in a folder of a model, in `versions/`, staging or trash.
fn is_of_a_push(path: &RemotePath) -> bool {
    let parts: Vec<&str> = path.parts().collect();
    match parts[..] {
        [layout::INTERNAL, "trash", _, _] => !layout::is_arrival(path),
        ["models", _, _, _, ..] | [layout::INTERNAL, "versions" | "staging" | "trash", _, _, ..] => true,
        _ => false,
    }
}

/// Places where nobody but this program writes files.
fn is_ours(path: &RemotePath) -> bool {
    let parts: Vec<&str> = path.parts().collect();
    matches!(parts[..], [layout::INTERNAL | "models" | "docs", ..] | ["results", "training_logs", ..])
}

/// Takes one step.
pub async fn apply(store: &Store, twin: Twin) -> Result<()> {
    match twin {
        Twin::Drop(object) => store.remote.delete(&object).await,
        Twin::Rename(object, to) => go(store, &object, &to).await.map(drop),
        Twin::Merge(path, others) => merge(store, &path, &others).await,
        Twin::Finish(side, home) => empty(store, &side, &home).await,
        Twin::Unpark(folder) => bring(store, &folder.path, &RemotePath::root()).await,
    }
}

/// Moves everything into the folder that is written to. The others step aside for what is left in them.
async fn merge(store: &Store, path: &RemotePath, others: &[Object]) -> Result<()> {
    for entry in store.remote.list(path, Inline::No).await? {
        // One that is there already, or whose name is taken there, stays.
        go(store, &entry.object(), &entry.path).await?;
    }
    for other in others {
        let side = Object { path: layout::twin(path, other.id.as_deref()), id: other.id.clone() };
        if go(store, other, &side.path).await? {
            empty(store, &side, path).await?;
        }
    }
    Ok(())
}

async fn stands(store: &Store, object: &Object) -> Result<bool> {
    Ok(store.remote.find(object).await?.is_some_and(|entry| entry.path == object.path))
}

/// Moves what still stands where it was seen: by id it would be moved from wherever somebody else has put it. Whether it
/// was moved; not when the name is taken, or when somebody else was faster.
async fn go(store: &Store, object: &Object, to: &RemotePath) -> Result<bool> {
    Ok(stands(store, object).await? && moved(store.remote.rename(object, to).await)?)
}

fn moved(renamed: Result<()>) -> Result<bool> {
    match renamed {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Brings what is in a folder that stepped aside to the one that it goes into; parks it, when nothing is left in it.
async fn empty(store: &Store, side: &Object, home: &RemotePath) -> Result<()> {
    if !stands(store, side).await? {
        return Ok(());
    }
    bring(store, &side.path, home).await?;
    if merging(home) == Merging::Pushes {
        return Ok(());
    }
    let left = tree::walk(store, &side.path).await?;
    if left.iter().all(|entry| entry.kind == EntryKind::Dir) {
        let id = side.id.as_deref().unwrap_or_default();
        let parked = home.parts().fold(layout::staging().join(&format!("{PARKED}{id}")), |path, part| path.join(part));
        go(store, side, &parked).await?;
    }
    Ok(())
}

/// What to do about a parked folder: bring back what turned up in it, or take it away when nothing did for a week.
async fn unpark(store: &Store, parked: &Entry) -> Result<Option<(Twin, Step)>> {
    let inside = tree::walk(store, &parked.path).await?;
    if let Some(late) = inside.iter().find(|entry| entry.kind != EntryKind::Dir) {
        let place = late.path.below(&parked.path).unwrap_or_default();
        let step = Step::new("bring back", place, "it turned up in a folder that was merged into another");
        return Ok(Some((Twin::Unpark(parked.object()), step)));
    }
    let newest = inside.iter().map(|entry| entry.modified).chain([parked.modified]).max();
    let now = store.remote.now().await?;
    let old = newest.is_some_and(|newest| now.duration_since(newest) > FORGOTTEN);
    let step = || Step::new("take away", parked.path.as_str(), "nothing turned up in it for 7 days");
    Ok(old.then(|| (Twin::Drop(parked.object()), step())))
}

fn is_parked(entry: &Entry) -> bool {
    entry.kind == EntryKind::Dir && entry.name().starts_with(PARKED)
}

/// What a folder that stepped aside goes into.
fn side_of(entry: &Entry) -> Option<RemotePath> {
    let name = entry.name().strip_suffix(&layout::twin_suffix(entry.id.as_deref()))?;
    let home = entry.path.parent().join(name);
    let folder = entry.kind == EntryKind::Dir && entry.id.is_some() && !name.is_empty();
    (folder && matches!(merging(&home), Merging::Deep | Merging::Pushes)).then_some(home)
}

/// Brings what is left in a folder to another, where its name may be taken. Push folders are never made one.
async fn bring(store: &Store, from: &RemotePath, to: &RemotePath) -> Result<()> {
    let mut open = vec![(from.clone(), to.clone())];
    while let Some((from, to)) = open.pop() {
        for entry in store.remote.list(&from, Inline::No).await? {
            let (object, wanted) = (entry.object(), to.join(entry.name()));
            if !stands(store, &object).await? || moved(store.remote.rename(&object, &wanted).await)? {
                continue;
            }
            match store.remote.find(&Object::at(wanted.clone())).await? {
                Some(there) if both_folders(&there, &entry) && merging(&to) != Merging::Pushes => {
                    open.push((entry.path, wanted));
                }
                Some(there) if same_bytes(&there, &entry) => store.remote.delete(&object).await?,
                _ => drop(go(store, &object, &layout::twin(&wanted, entry.id.as_deref())).await?),
            }
        }
    }
    Ok(())
}

fn both_folders(one: &Entry, other: &Entry) -> bool {
    one.kind == EntryKind::Dir && other.kind == EntryKind::Dir
}

fn same_bytes(one: &Entry, other: &Entry) -> bool {
    one.kind == EntryKind::File && one.size == other.size && one.sha256.is_some() && one.sha256 == other.sha256
}
