//! Let go of what the rules let go of: retention, our own trash past its grace, forgotten staging folders.
//!
//! Content goes only on positive evidence, through the trash, after the grace period by the store's own time, and
//! only for a client that sees the whole log.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use modelkeep_core::digest::{RevisionId, Txn};
use modelkeep_core::name::ModelId;
use modelkeep_core::path::RemotePath;
use modelkeep_core::registry::{Model, Push, json};
use modelkeep_core::retention::{self, Retention};
use modelkeep_core::{Kind, Result, layout};
use modelkeep_remote::{Entry, EntryKind, Inline, Object};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::{Context, Look, day};
use crate::log::{self, View};
use crate::report::{Step, Wrote};
use crate::rule::Rule;
use crate::store::Store;
use crate::verify::known;
use crate::{pins, project, remove, repair, tree};

/// What to prune.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Keep this many newest pushes of each model, over the setting.
    pub keep: Option<u64>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was pruned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// What was done, or would be.
    pub steps: Vec<Step>,
    /// Bytes that were deleted for good (what goes to the trash is not freed yet).
    pub freed_bytes: u64,
    /// Whether anything was done.
    pub changed: bool,
    /// Where it went.
    #[serde(flatten)]
    pub wrote: Wrote,
}

/// A staging folder or an aborted push with no write for so long is forgotten.
pub(crate) const FORGOTTEN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A rendering so old is nobody's base for an edit any more.
const OUTDATED_RENDERING: SignedDuration = SignedDuration::from_hours(90 * 24);

enum Cut {
    /// The rules let these pushes go.
    Remove { model: ModelId, txn: Txn },
    /// Removed, but not in the trash yet; or forgotten.
    ToTrash { folder: Object, txn: Txn },
    /// In the trash, but the log wants it.
    TakeOut { folder: Object, note: RemotePath, to: RemotePath, txn: Txn },
    /// In the trash with no note of its arrival.
    NoteArrival(RemotePath),
    /// A rendering of the registry that nobody edits any more.
    DropRendering(Object),
    /// In the trash past its grace.
    Delete { folder: Object, note: RemotePath, txn: Txn, bytes: u64 },
}

/// Prunes the remote.
pub async fn prune(ctx: &Context, request: &Request) -> Result<Report> {
    let store = ctx.store().await?;
    // The trash is listed before the log is read: what the log does not know by then was never wanted when it was
    // listed. Deleting must follow within the hour.
    let (trash, mut view, look) = look_at_trash(ctx, &store).await?;
    log::look_ahead(ctx, &store, &mut view).await?;
    view.complete()?;
    let mut plan: Vec<(Cut, Step)> = Vec::new();
    let rules =
        Retention { keep_last: request.keep.or(ctx.settings.retention.keep_last), ..ctx.settings.retention.clone() };
    let pinned = pins::pinned(ctx)?;
    plan_retention(&view, &rules, &pinned, &mut plan);
    plan_removed(&store, &view, &mut plan).await?;
    plan_forgotten(&store, &view, &mut plan).await?;
    plan_trash(ctx, &store, &view, &trash, &mut plan).await?;
    plan_renderings(&store, &view, &mut plan).await?;
    let steps = plan.iter().map(|(_, step)| step.clone()).collect();
    let mut report = Report { steps, freed_bytes: 0, changed: false, wrote: Wrote::to(&store, request.dry_run) };
    if request.dry_run || plan.is_empty() {
        return Ok(report);
    }
    report.changed = true;
    for (cut, _) in plan {
        ctx.check_stop()?;
        report.freed_bytes += apply(ctx, &store, &mut view, cut, &look, (&rules, &pinned)).await?;
    }
    drop_empty_days(&store).await?;
    Ok(report)
}

/// Empty days of the trash go, each to another name first: a client that woke up may move something to that day right
/// now, and does not know that name. Where listings are late nobody knows what is empty.
async fn drop_empty_days(store: &Store) -> Result<()> {
    if store.remote.capabilities().late_listings {
        return Ok(());
    }
    let days = tree::trash_days(store).await?;
    let mut today = None;
    for folder in days.into_iter().filter(|entry| entry.kind == EntryKind::Dir) {
        let inside = store.remote.list(&folder.path, Inline::No).await?;
        if inside.iter().any(|entry| entry.kind != EntryKind::File || !layout::is_arrival(&entry.path)) {
            continue;
        }
        let mut empty = folder.path.clone();
        if let Ok(date) = folder.name().parse::<Date>() {
            let today = match today {
                Some(today) => today,
                None => *today.insert(day(store.remote.now().await?)),
            };
            if (today - date).get_days() <= 2 {
                continue;
            }
            empty = layout::trash().join(&format!("{date}{EMPTY}"));
            match store.remote.rename(&folder.object(), &empty).await {
                Ok(()) => {}
                Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict) => continue,
                Err(error) => return Err(error),
            }
        }
        // Notes of what went are all that may be left.
        let left = store.remote.list(&empty, Inline::No).await?;
        if empty.name().ends_with(EMPTY) && left.iter().all(|entry| layout::is_arrival(&entry.path)) {
            store.remote.delete(&Object { path: empty, id: folder.id }).await?;
        }
    }
    Ok(())
}

/// Ends the name of a day that nobody moves anything to any more.
const EMPTY: &str = ".empty";

/// One thing in the trash.
struct Trashed {
    folder: Object,
    txn: Txn,
    /// Where its arrival is noted.
    note: RemotePath,
    arrived: Option<Timestamp>,
}

async fn look_at_trash(ctx: &Context, store: &Store) -> Result<(Vec<Trashed>, View, Look)> {
    let early = if store.keeps(Rule::TrashThenLog) { None } else { Some(log::refresh(ctx, store).await?) };
    let mut trash = Vec::new();
    for date in tree::trash_days(store).await? {
        let entries = store.remote.list(&date.path, Inline::No).await?;
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Dir) {
            let name = entry.name().strip_suffix(GOING).unwrap_or(entry.name());
            let Ok(named) = layout::without_twin(name).parse::<Txn>() else { continue };
            // Moved by path it may be another push than its name says; only its marker counts.
            let marker = match tree::marker_in(store, &entry.path).await {
                Ok(marker) => marker,
                Err(error) if error.kind() == Kind::Integrity => None,
                Err(error) if matches!(error.kind(), Kind::Local | Kind::Auth | Kind::Usage) => {
                    ctx.warn(format!("{} is left: {}", entry.path, error.full_message()));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let txn = marker.filter(|_| entry.id.is_none()).map_or(named, |marker| marker.txn);
            let note = layout::arrival(&date.path.join(name));
            let mut arrived = entries.iter().find(|other| other.path == note).map(|note| note.modified);
            if !store.keeps(Rule::AgeOfItem) {
                arrived = Some(date.modified);
            }
            trash.push(Trashed { folder: entry.object(), txn, note, arrived });
        }
    }
    let look = Look::now(ctx, store);
    let view = match early {
        Some(early) => early,
        None => log::refresh(ctx, store).await?,
    };
    Ok((trash, view, look))
}

fn plan_retention(view: &View, rules: &Retention, pinned: &BTreeSet<RevisionId>, plan: &mut Vec<(Cut, Step)>) {
    for model in view.state.models.values() {
        let expendable = retention::expendable(&view.state, model, rules, pinned);
        for (push, reason) in expendable {
            let target = format!("{}@{} ({})", model.id, push.number, push.revision.short());
            let step = Step::new("move to trash", target, reason).bytes(push.size_bytes);
            plan.push((Cut::Remove { model: model.id.clone(), txn: push.txn }, step));
        }
    }
}

async fn plan_removed(store: &Store, view: &View, plan: &mut Vec<(Cut, Step)>) -> Result<()> {
    for (model, push) in all_pushes(view).filter(|(_, push)| push.removed.is_some()) {
        if let Some(found) = tree::find(store, model, push).await?
            && found.folder.path.below(&layout::trash()).is_none()
        {
            let target = format!("{}@{}", model.name(), push.number);
            let step = Step::new("move to trash", target, "it was removed").bytes(push.size_bytes);
            plan.push((Cut::ToTrash { folder: found.folder, txn: push.txn }, step));
        }
    }
    Ok(())
}

fn all_pushes(view: &View) -> impl Iterator<Item = (&Model, &Push)> {
    view.state.kept().flat_map(|model| model.pushes.iter().map(move |push| (model, push)))
}

/// Staging folders and aborted pushes that nobody wrote to for a week.
async fn plan_forgotten(store: &Store, view: &View, plan: &mut Vec<(Cut, Step)>) -> Result<()> {
    let mut known = known(view);
    if !store.keeps(Rule::PositiveEvidence) {
        known.clear();
    }
    let mut folders = Vec::new();
    for entry in store.remote.list(&layout::staging(), Inline::No).await? {
        if entry.kind == EntryKind::Dir
            && let Ok(txn) = entry.name().parse::<Txn>()
        {
            folders.push((entry.object(), Some(entry.modified), txn, "a push that was never finished"));
        }
    }
    for (folder, marker) in repair::push_folders(store).await? {
        let kept = folder.path.below(&layout::versions()).is_some();
        if kept && !known.contains(&marker.txn) && !view.begins_after(&marker) {
            folders.push((folder, None, marker.txn, "a push that was never committed"));
        }
    }
    if folders.is_empty() {
        return Ok(());
    }
    let now = store.remote.now().await?;
    for (folder, own, txn, what) in folders.into_iter().filter(|(_, _, txn, _)| !known.contains(txn)) {
        let inside = tree::walk(store, &folder.path).await?;
        // A folder that was there a moment ago and holds nothing now was moved: it is committed, and not ours to judge.
        let newest = inside.iter().map(|entry| entry.modified).chain(own).max();
        if newest.is_some_and(|newest| now.duration_since(newest) > FORGOTTEN) {
            let bytes = inside.iter().map(|entry| entry.size).sum();
            let step = Step::new("move to trash", folder.path.as_str(), format!("{what}; no write for 7 days"));
            plan.push((Cut::ToTrash { folder, txn }, step.bytes(bytes)));
        }
    }
    Ok(())
}

async fn plan_trash(
    ctx: &Context,
    store: &Store,
    view: &View,
    trash: &[Trashed],
    plan: &mut Vec<(Cut, Step)>,
) -> Result<()> {
    if trash.is_empty() {
        return Ok(());
    }
    let now = store.remote.now().await?;
    let grace = SignedDuration::from_hours(24 * i64::from(ctx.settings.retention.grace_days));
    for item in trash {
        let place = &item.folder.path;
        let wanted = all_pushes(view).find(|(_, push)| push.txn == item.txn && push.removed.is_none());
        if let Some((model, push)) = wanted.filter(|_| store.keeps(Rule::PositiveEvidence))
            && !stands_elsewhere(store, model, push).await?
        {
            let to = layout::version(&model.id, &item.txn);
            let step = Step::new("take out of the trash", place.as_str(), "the log says that it is not removed");
            let (folder, note) = (item.folder.clone(), item.note.clone());
            plan.push((Cut::TakeOut { folder, note, to, txn: item.txn }, step.bytes(push.size_bytes)));
            continue;
        }
        match item.arrived {
            None => {
                let step = Step::new("note arrival", place.as_str(), "its grace period begins now");
                plan.push((Cut::NoteArrival(item.note.clone()), step));
            }
            Some(arrived) if now.duration_since(arrived) >= grace || !store.keeps(Rule::Grace) => {
                let bytes = tree::walk(store, place).await?.iter().map(|entry| entry.size).sum();
                let days = now.duration_since(arrived).as_hours() / 24;
                let step = Step::new("delete", place.as_str(), format!("{days} days in the trash")).bytes(bytes);
                let (folder, note) = (item.folder.clone(), item.note.clone());
                plan.push((Cut::Delete { folder, note, txn: item.txn, bytes }, step));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Whether a push stands outside the trash: then what is called so in the trash is a half of an earlier attempt.
async fn stands_elsewhere(store: &Store, model: &Model, push: &Push) -> Result<bool> {
    let found = tree::find(store, model, push).await?;
    Ok(found.is_some_and(|found| found.folder.path.below(&layout::trash()).is_none()))
}

/// Renderings of the registry are kept to understand edits by hand; after three months nobody is still editing one.
async fn plan_renderings(store: &Store, view: &View, plan: &mut Vec<(Cut, Step)>) -> Result<()> {
    let current = json::render(&view.state).digest;
    let folder = layout::rendering(&current).parent();
    let entries = store.remote.list(&folder, Inline::No).await?;
    if entries.len() < 2 {
        return Ok(());
    }
    let now = store.remote.now().await?;
    let outdated = |entry: &&Entry| {
        entry.path != layout::rendering(&current) && now.duration_since(entry.modified) > OUTDATED_RENDERING
    };
    for entry in entries.iter().filter(outdated) {
        let step = Step::new("delete", entry.path.as_str(), "a rendering of the registry older than 90 days");
        plan.push((Cut::DropRendering(entry.object()), step.bytes(entry.size)));
    }
    Ok(())
}

/// Does one thing; the bytes that it freed.
async fn apply(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    cut: Cut,
    look: &Look,
    (rules, pinned): (&Retention, &BTreeSet<RevisionId>),
) -> Result<u64> {
    match cut {
        Cut::Remove { model, txn } => {
            // Somebody may have labelled or deployed it since.
            *view = log::refresh(ctx, store).await?;
            let still = view.state.models.get(&model).is_some_and(|model| {
                retention::expendable(&view.state, model, rules, pinned).iter().any(|(push, _)| push.txn == txn)
            });
            if still {
                remove::remove_pushes(ctx, store, view, &model, [txn].into(), Vec::new()).await?;
            } else {
                ctx.note(format!("a push of {model} stays: it is needed since a moment ago"));
            }
        }
        Cut::ToTrash { folder, txn } => {
            remove::to_trash(store, &folder, &txn).await?;
        }
        Cut::TakeOut { folder, note, to, txn } => {
            tree::delete_all(store, &note).await?;
            match tree::relocate(store, &folder, &txn, &to).await {
                Err(error) if !matches!(error.kind(), Kind::NotFound | Kind::Conflict) => return Err(error),
                _ => {}
            }
            project::everything(ctx, store, view).await?;
        }
        Cut::DropRendering(object) => store.remote.delete(&object).await?,
        Cut::NoteArrival(note) => remove::note_arrival(store, &note).await?,
        Cut::Delete { folder, note, txn, bytes } => {
            let Some(going) = set_apart(store, &folder, &txn).await? else { return Ok(0) };
            // What was read of trash and log may be relied on for an hour; after that the next run decides.
            if !look.is_fresh() {
                ctx.note(format!("{} is left for the next prune: this one took more than an hour", folder.path));
                return Ok(0);
            }
            store.remote.delete(&going).await?;
            tree::delete_all(store, &note).await?;
            return Ok(bytes);
        }
    }
    Ok(0)
}

/// Gives an item that is about to be deleted a name that nobody moves anything to; `None` when it is not that push
/// any more. What is called by id needs none.
async fn set_apart(store: &Store, folder: &Object, txn: &Txn) -> Result<Option<Object>> {
    if folder.id.is_some() {
        return Ok(Some(folder.clone()));
    }
    let going = folder.path.parent().join(&format!("{txn}{GOING}"));
    if folder.path == going {
        return Ok(Some(folder.clone()));
    }
    match tree::relocate(store, folder, txn, &going).await {
        Ok(()) => Ok(Some(Object::at(going))),
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Ends the name of an item of the trash that is being deleted.
const GOING: &str = ".going";
