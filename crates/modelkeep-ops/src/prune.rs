//! Let go of what the rules let go of: retention, our own trash past its grace, forgotten staging folders.
//!
//! Content goes only on positive evidence, through the trash, after the grace period by the store's own time, and
//! only for a client that sees the whole log.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use modelkeep_core::digest::Txn;
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
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A rendering so old is nobody's base for an edit any more.
const OUTDATED_RENDERING: SignedDuration = SignedDuration::from_hours(90 * 24);

enum Cut {
    /// The rules let these pushes go.
    Remove { model: ModelId, txns: std::collections::BTreeSet<Txn> },
    /// Removed, but not in the trash yet; or forgotten.
    ToTrash { folder: Object, txn: Txn },
    /// In the trash, but the log wants it.
    TakeOut { folder: Object, to: RemotePath, txn: Txn },
    /// In the trash with no note of its arrival.
    NoteArrival(RemotePath),
    /// A rendering of the registry that nobody edits any more.
    DropRendering(Object),
    /// In the trash past its grace.
    Delete { folder: Object, bytes: u64 },
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
    plan_retention(ctx, &view, request, &mut plan)?;
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
        report.freed_bytes += apply(ctx, &store, &mut view, cut, &look).await?;
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
    let days = store.remote.list(&layout::trash(), Inline::No).await?;
    let mut today = None;
    for folder in days.into_iter().filter(|entry| entry.kind == EntryKind::Dir) {
        if !store.remote.list(&folder.path, Inline::No).await?.is_empty() {
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
        if empty.name().ends_with(EMPTY) && store.remote.list(&empty, Inline::No).await?.is_empty() {
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
    arrived: Option<Timestamp>,
}

async fn look_at_trash(ctx: &Context, store: &Store) -> Result<(Vec<Trashed>, View, Look)> {
    let early = if store.keeps(Rule::TrashThenLog) { None } else { Some(log::refresh(ctx, store).await?) };
    let mut trash = Vec::new();
    for date in store.remote.list(&layout::trash(), Inline::No).await? {
        let entries = store.remote.list(&date.path, Inline::No).await?;
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Dir) {
            let Ok(mut txn) = entry.name().parse::<Txn>() else { continue };
            // Moved by path it may be another push than its name says; only its marker counts.
            if entry.id.is_none()
                && let Ok(Some(marker)) = tree::marker_in(store, &entry.path).await
            {
                txn = marker.txn;
            }
            let note = layout::arrival(&entry.path);
            let mut arrived = entries.iter().find(|other| other.path == note).map(|note| note.modified);
            if !store.keeps(Rule::AgeOfItem) {
                arrived = Some(date.modified);
            }
            trash.push(Trashed { folder: entry.object(), txn, arrived });
        }
    }
    let look = Look::now(ctx, store);
    let view = match early {
        Some(early) => early,
        None => log::refresh(ctx, store).await?,
    };
    Ok((trash, view, look))
}

fn plan_retention(ctx: &Context, view: &View, request: &Request, plan: &mut Vec<(Cut, Step)>) -> Result<()> {
    let mut rules: Retention = ctx.settings.retention.clone();
    rules.keep_last = request.keep.or(rules.keep_last);
    let pinned = pins::pinned(ctx)?;
    for model in view.state.models.values() {
        let expendable = retention::expendable(&view.state, model, &rules, &pinned);
        for (push, reason) in expendable {
            let target = format!("{}@{} ({})", model.id, push.number, push.revision.short());
            let step = Step::new("move to trash", target, reason).bytes(push.size_bytes);
            plan.push((Cut::Remove { model: model.id.clone(), txns: [push.txn].into() }, step));
        }
    }
    Ok(())
}

async fn plan_removed(store: &Store, view: &View, plan: &mut Vec<(Cut, Step)>) -> Result<()> {
    for (model, push) in all_pushes(view).filter(|(_, push)| push.removed.is_some()) {
        if let Some(found) = tree::find(store, model, push).await?
            && found.folder.path.below(&layout::trash()).is_none()
        {
            let target = format!("{}@{}", model.id, push.number);
            let step = Step::new("move to trash", target, "it was removed").bytes(push.size_bytes);
            plan.push((Cut::ToTrash { folder: found.folder, txn: push.txn }, step));
        }
    }
    Ok(())
}

fn all_pushes(view: &View) -> impl Iterator<Item = (&Model, &Push)> {
    view.state.models.values().flat_map(|model| model.pushes.iter().map(move |push| (model, push)))
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
        if folder.path.below(&layout::versions()).is_some() && !known.contains(&marker.txn) {
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
        if let Some((model, push)) = wanted.filter(|_| store.keeps(Rule::PositiveEvidence)) {
            let to = layout::version(&model.id, &item.txn);
            let step = Step::new("take out of the trash", place.as_str(), "the log says that it is not removed");
            plan.push((Cut::TakeOut { folder: item.folder.clone(), to, txn: item.txn }, step.bytes(push.size_bytes)));
            continue;
        }
        match item.arrived {
            None => {
                let step = Step::new("note arrival", place.as_str(), "its grace period begins now");
                plan.push((Cut::NoteArrival(place.clone()), step));
            }
            Some(arrived) if now.duration_since(arrived) >= grace || !store.keeps(Rule::Grace) => {
                let bytes = tree::walk(store, place).await?.iter().map(|entry| entry.size).sum();
                let days = now.duration_since(arrived).as_hours() / 24;
                let step = Step::new("delete", place.as_str(), format!("{days} days in the trash")).bytes(bytes);
                plan.push((Cut::Delete { folder: item.folder.clone(), bytes }, step));
            }
            Some(_) => {}
        }
    }
    Ok(())
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
async fn apply(ctx: &Context, store: &Store, view: &mut View, cut: Cut, look: &Look) -> Result<u64> {
    match cut {
        Cut::Remove { model, txns } => remove::remove_pushes(ctx, store, view, &model, txns).await?,
        Cut::ToTrash { folder, txn } => {
            remove::to_trash(store, &folder, &txn).await?;
        }
        Cut::TakeOut { folder, to, txn } => {
            store.remote.delete(&Object::at(layout::arrival(&folder.path))).await?;
            match tree::relocate(store, &folder, &txn, &to).await {
                Err(error) if !matches!(error.kind(), Kind::NotFound | Kind::Conflict) => return Err(error),
                _ => {}
            }
            let models: Vec<ModelId> = view.state.models.keys().cloned().collect();
            project::after(ctx, store, view, &models.iter().collect::<Vec<_>>()).await?;
        }
        Cut::DropRendering(object) => store.remote.delete(&object).await?,
        Cut::NoteArrival(place) => remove::note_arrival(store, &place).await?,
        Cut::Delete { folder, bytes } => {
            // What was read of trash and log may be relied on for an hour; after that the next run decides.
            if !look.is_fresh() {
                ctx.note(format!("{} is left for the next prune: this one took more than an hour", folder.path));
                return Ok(0);
            }
            store.remote.delete(&folder).await?;
            store.remote.delete(&Object::at(layout::arrival(&folder.path))).await?;
            return Ok(bytes);
        }
    }
    Ok(0)
}
