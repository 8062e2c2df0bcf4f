//! Put right what can be put right: finish what was begun, bring files back from where they still are, show what the
//! log says. Deletes nothing; what is damaged is kept aside.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use modelkeep_core::digest::Txn;
use modelkeep_core::event::{Body, EventName, Pushed};
use modelkeep_core::layout::{self, MARKER};
use modelkeep_core::manifest::{FORMAT, FileEntry, Marker};
use modelkeep_core::name::ModelId;
use modelkeep_core::path::{ContentPath, RemotePath};
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::{EntryKind, Inline, Mode, NoMeter, Object, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::{Context, Look};
use crate::heal::{self, From};
use crate::log::{self, View};
use crate::report::{Step, Wrote};
use crate::store::Store;
use crate::verify::{self, Damage};
use crate::{commit, project, remove, shelf, staging, tree, twins};

/// What to repair.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Commit this aborted push.
    pub commit: Option<String>,
    /// Read every byte, to find damage that no date tells of.
    pub deep: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was repaired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// What was done, or would be.
    pub steps: Vec<Step>,
    /// What could not be mended, and what to do about it.
    pub left: Vec<String>,
    /// Whether anything was done.
    pub changed: bool,
    /// Where it went.
    #[serde(flatten)]
    pub wrote: Wrote,
}

/// One thing to do.
enum Mend {
    Confirm(EventName),
    Rewrite(EventName),
    Marker { txn: Txn, folder: RemotePath },
    Heal { model: ModelId, txn: Txn, broken: BTreeMap<ContentPath, From> },
    PutBack { folder: Object, to: RemotePath, txn: Txn },
    Trash { txn: Txn },
    Commit { folder: Object, marker: Box<Marker> },
    Project,
}

/// So often folders are looked into that were made one: what is deeper is for the next repair.
const NESTED: usize = 8;

/// Repairs the remote.
pub async fn repair(ctx: &Context, request: &Request) -> Result<Report> {
    let store = ctx.store().await?;
    let mut view = log::refresh(ctx, &store).await?;
    let mut left: Vec<String> = view.problems.iter().map(ToString::to_string).collect();
    let mut plan = Vec::new();
    let commit = request
        .commit
        .as_deref()
        .map(str::parse::<Txn>)
        .transpose()
        .map_err(|error| Error::usage("--commit takes the transaction that repair listed").because(error))?;
    // First, since what waits to be seen whole, or seems lost, may stand under another's name.
    let own_names = own_names(ctx, &store, &view, request.dry_run).await?;
    plan_log(ctx, &store, &view, &mut plan, &mut left).await?;
    plan_content(ctx, &store, &view, request.deep, &mut plan, &mut left).await?;
    plan_folders(&store, &view, commit, &mut plan, &mut left).await?;
    let stale = project::stale(ctx, &store, &view).await?;
    if !stale.is_empty() || !plan.is_empty() || !own_names.is_empty() {
        let what: Vec<&str> = stale.iter().map(|(_, path)| path.as_str()).collect();
        let target = if what.is_empty() { "the visible tree".to_owned() } else { what.join(", ") };
        plan.push((Mend::Project, Step::new("show what the log says", target, "projection")));
    }
    let mut steps = own_names;
    steps.extend(plan.iter().map(|(_, step)| step.clone()));
    let mut changed = !steps.is_empty() && !request.dry_run;
    if changed {
        for (mend, step) in plan {
            ctx.check_stop()?;
            match apply(ctx, &store, &mut view, mend).await {
                // One thing that cannot be mended does not keep the others from it.
                Err(error)
                    if matches!(error.kind(), Kind::Integrity | Kind::Local | Kind::NotFound | Kind::Conflict) =>
                {
                    left.push(format!("{} {}: {}", step.action, step.target, error.full_message()));
                }
                other => other.map_err(|error| error.context(format!("{} {}", step.action, step.target)))?,
            }
        }
    }
    // After the projection, which knows best of push folders.
    let mut found = twins::find(&store).await?;
    steps.extend(found.plan.iter().map(|(_, step)| step.clone()));
    let twice = !found.plan.is_empty() && !request.dry_run;
    for _ in 0..NESTED {
        if request.dry_run || found.plan.is_empty() {
            break;
        }
        for (twin, step) in found.plan {
            ctx.check_stop()?;
            let done = twins::apply(&store, twin).await;
            done.map_err(|error| error.context(format!("{} {}", step.action, step.target)))?;
        }
        // Folders that are one now may hold two of one name.
        found = twins::find(&store).await?;
        steps.extend(found.plan.iter().map(|(_, step)| step.clone()));
    }
    left.extend(found.left);
    if twice {
        changed = true;
        // Of two documents the older one may have stayed: it is written anew.
        apply(ctx, &store, &mut view, Mend::Project).await?;
    }
    Ok(Report { steps, left, changed, wrote: Wrote::to(&store, request.dry_run) })
}

type Plan = Vec<(Mend, Step)>;

async fn plan_log(ctx: &Context, store: &Store, view: &View, plan: &mut Plan, left: &mut Vec<String>) -> Result<()> {
    // What only waited to be seen in the store itself was never seen there: it is not said to be so now.
    for name in log::absent(ctx, store, view).await?.into_iter().filter(|name| !view.pending.contains(name)) {
        let step = Step::new("write again", layout::event(&name).as_str(), "the remote lost it, this machine has it");
        plan.push((Mend::Rewrite(name), step));
    }
    if view.pending.is_empty() {
        return Ok(());
    }
    if !store.confirms() {
        let n = view.pending.len();
        left.push(format!("{n} event(s) wait for a client that sees the store itself, not through a mount"));
        return Ok(());
    }
    let events = log::events(ctx, store)?;
    for (name, event) in events.iter().filter(|(name, _)| view.pending.contains(name)) {
        if let Body::Pushed(pushed) | Body::Filed(pushed) = &event.body
            && let Some((model, push)) = view.state.push(&pushed.txn)
            && verify::examine(ctx, store, model, push, true).await?.any()
        {
            left.push(format!("push #{} of {} has not arrived whole yet", push.number, model.id));
            continue;
        }
        let step = Step::new("confirm", layout::event(name).as_str(), "seen whole in the store itself");
        plan.push((Mend::Confirm(*name), step));
    }
    Ok(())
}

/// Files that are missing or damaged, and where the right ones are.
async fn plan_content(
    ctx: &Context,
    store: &Store,
    view: &View,
    deep: bool,
    plan: &mut Plan,
    left: &mut Vec<String>,
) -> Result<()> {
    let rotten = verify::rotten(ctx, store)?;
    for model in view.state.kept() {
        for push in model.pushes.iter().filter(|push| push.removed.is_none()) {
            ctx.check_stop()?;
            let damage = verify::examine(ctx, store, model, push, deep || rotten.contains(&push.txn)).await?;
            let Damage { folder, marker, mut missing, corrupt, .. } = damage;
            let nowhere = folder.is_none();
            if nowhere {
                // Its files may be had from elsewhere all the same.
                match tree::manifest(ctx, store, model, push).await {
                    Ok(manifest) => missing = manifest.files().to_vec(),
                    Err(error) if error.kind() == Kind::Integrity => {}
                    Err(error) => return Err(error),
                }
            }
            let mut hopeless = nowhere && missing.is_empty();
            let folder = folder.unwrap_or_else(|| layout::version(&model.id, &push.txn));
            if marker.is_some() {
                let step = Step::new("write marker", folder.join(MARKER).as_str(), "it was lost; the log knows it");
                plan.push((Mend::Marker { txn: push.txn, folder: folder.clone() }, step));
            }
            let mut sources = BTreeMap::new();
            let mut whence = Vec::new();
            let broken = missing
                .into_iter()
                .map(|file| (file, "missing"))
                .chain(corrupt.into_iter().map(|file| (file, "damaged")));
            for (file, what) in broken {
                let place = folder.join_content(&file.path);
                if let Some((from, where_from)) = source(ctx, store, view, push, &file).await? {
                    whence.push(format!("{} is {what}; {where_from}", file.path));
                    sources.insert(file.path, from);
                } else {
                    hopeless = true;
                    if nowhere {
                        break;
                    }
                    left.push(format!(
                        "{place} is {what}; no copy of its content (SHA-256 {}) was found here or on the remote",
                        file.sha256
                    ));
                }
            }
            if nowhere && hopeless {
                let (number, revision) = (push.number, push.revision.short());
                left.push(format!(
                    "{}@{number} ({revision}) is nowhere on the remote; push it again if you have it",
                    model.name()
                ));
            }
            // A push that cannot be made whole is left as it is: the files that it still has can be pulled.
            if !sources.is_empty() && !hopeless {
                let target = format!("{}@{} ({})", model.name(), push.number, push.revision.short());
                let step = Step::new("make whole", target, whence.join("; ")).bytes(push.size_bytes);
                plan.push((Mend::Heal { model: model.id.clone(), txn: push.txn, broken: sources }, step));
            }
        }
    }
    Ok(())
}

/// Another place with the right bytes: another push, or a file on this machine. Checked by reading it.
async fn source(
    ctx: &Context,
    store: &Store,
    view: &View,
    broken: &Push,
    file: &FileEntry,
) -> Result<Option<(From, String)>> {
    for model in view.state.kept() {
        for push in model.pushes.iter().filter(|push| push.txn != broken.txn) {
            let Ok(manifest) = tree::manifest(ctx, store, model, push).await else { continue };
            let Some(same) = manifest.files().iter().find(|other| other.sha256 == file.sha256) else { continue };
            let Some(found) = tree::find(store, model, push).await? else { continue };
            let object = found.file(&same.path);
            match tree::digest(store, &object, file.size).await {
                Ok(digest) if digest == file.sha256 => {
                    let whence = format!("the same content stands in {}@{}", model.name(), push.number);
                    return Ok(Some((From::Remote(object), whence)));
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Local | Kind::Auth) => {}
                Err(error) => return Err(error),
            }
        }
    }
    // What is shown of something filed is a copy, and may be the last one.
    for item in view.state.filed.values() {
        for push in &item.pushes {
            let Ok(manifest) = tree::manifest(ctx, store, item, push).await else { continue };
            let Some(same) = manifest.files().iter().find(|other| other.sha256 == file.sha256) else { continue };
            let Some(object) = shelf::shown_at(item, push, same).map(Object::at) else { continue };
            match tree::digest(store, &object, file.size).await {
                Ok(digest) if digest == file.sha256 => {
                    let whence = format!("the same content is shown as {}", object.path);
                    return Ok(Some((From::Remote(object), whence)));
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Local | Kind::Auth) => {}
                Err(error) => return Err(error),
            }
        }
    }
    let here = store.local(ctx)?.copies_of(&file.sha256)?;
    Ok(here.into_iter().next().map(|path| {
        let whence = format!("the same content is here: {}", path.display());
        (From::Local(path), whence)
    }))
}

/// Push folders that are not where they belong, and aborted pushes.
async fn plan_folders(
    store: &Store,
    view: &View,
    commit: Option<Txn>,
    plan: &mut Plan,
    left: &mut Vec<String>,
) -> Result<()> {
    let known = verify::known(view);
    let mut asked = commit;
    for (folder, marker) in push_folders(store).await? {
        if known.contains(&marker.txn) {
            continue;
        }
        let txn = marker.txn;
        let replaced = marker.replaces.and_then(|damaged| view.state.push(&damaged));
        if let Some((_, damaged)) = replaced {
            // A repair was stopped before its event; one that another repair was faster with is forgotten in time.
            if damaged.replaced_by.is_none() && damaged.removed.is_none() {
                let target = format!("{}@{} ({})", marker.model, damaged.number, marker.revision.short());
                let step = Step::new("make whole", target, "an earlier repair was stopped before it said so");
                plan.push((Mend::Commit { folder, marker: Box::new(marker) }, step));
            }
            continue;
        }
        if view.begins_after(&marker) && folder.path.below(&layout::versions()).is_some() {
            left.push(format!(
                "a push of {} ({}) is older than the log: if the log was lost, modelkeep adopt takes it in",
                marker.model,
                marker.revision.short()
            ));
            if commit != Some(txn) {
                continue;
            }
        }
        let name = format!("push of {} ({})", marker.name(), marker.revision.short());
        if commit == Some(txn) {
            asked = None;
            let step = Step::new("commit", name, "asked for").bytes(marker.files.size());
            plan.push((Mend::Commit { folder, marker: Box::new(marker) }, step));
        } else {
            left.push(format!("aborted {name}, whole but never committed: modelkeep repair --commit {txn}"));
        }
    }
    if let Some(txn) = asked {
        return Err(Error::not_found(format!("there is no aborted push {txn}")).hint("modelkeep repair --dry-run"));
    }
    for model in view.state.kept() {
        for push in &model.pushes {
            let Some(found) = tree::find(store, model, push).await? else { continue };
            let in_trash = found.folder.path.below(&layout::trash()).is_some();
            let name = format!("{}@{} ({})", model.name(), push.number, push.revision.short());
            if push.removed.is_none() && in_trash {
                let to = layout::version(&model.id, &push.txn);
                let step = Step::new("take out of the trash", name, "the log says that it is not removed");
                plan.push((Mend::PutBack { folder: found.folder, to, txn: push.txn }, step));
            } else if push.removed.is_some() && !in_trash && view.problems.is_empty() {
                let step = Step::new("move to trash", name, "it was removed");
                plan.push((Mend::Trash { txn: push.txn }, step));
            }
        }
    }
    Ok(())
}

/// Every push folder in `versions/` and, when whole, in `staging/`.
pub(crate) async fn push_folders(store: &Store) -> Result<Vec<(Object, Marker)>> {
    let mut folders: Vec<_> = store.remote.list(&layout::staging(), Inline::No).await?;
    folders.extend(tree::version_folders(store).await?);
    let mut found = Vec::new();
    for entry in folders.into_iter().filter(|entry| entry.kind == EntryKind::Dir) {
        if let Ok(Some(marker)) = tree::marker_in(store, &entry.path).await {
            found.push((entry.object(), marker));
        }
    }
    Ok(found)
}

async fn apply(ctx: &Context, store: &Store, view: &mut View, mend: Mend) -> Result<()> {
    match mend {
        Mend::Confirm(name) => log::confirm(store, view, &name).await,
        Mend::Rewrite(name) => log::rewrite(ctx, store, &name).await,
        Mend::Marker { txn, folder } => {
            let (model, push) = view.state.push(&txn).ok_or_else(|| Error::internal("the push is not in the log"))?;
            write_marker(ctx, store, model, push, &folder).await
        }
        Mend::Heal { model, txn, broken } => heal::heal(ctx, store, view, &model, &txn, &broken).await,
        Mend::PutBack { folder, to, txn } => {
            tree::relocate(store, &folder, &txn, &to).await.or_else(tree::moved_meanwhile)
        }
        Mend::Trash { txn } => {
            let Some((model, push)) = view.state.push(&txn) else { return Ok(()) };
            remove::trash(store, model, push).await
        }
        Mend::Commit { folder, marker } => commit(ctx, store, view, folder, &marker).await,
        Mend::Project => {
            let all = view.state.kept().map(|model| model.id.clone()).collect::<Vec<_>>();
            project::project(ctx, store, view, &all.iter().collect::<Vec<_>>()).await
        }
    }
}

/// Gives each push folder a name to itself, and then its own.
async fn own_names(ctx: &Context, store: &Store, view: &View, dry_run: bool) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for (folder, to) in twins::under_one_name(store).await? {
        let reason = format!("another push stands there under this name; now {}", to.name());
        steps.push(Step::new("rename", folder.path.as_str(), reason));
        if !dry_run {
            store.remote.rename(&folder, &to).await.or_else(tree::moved_meanwhile)?;
        }
    }
    let known = verify::known(view);
    for (folder, marker) in push_folders(store).await? {
        let to = layout::version(&marker.model, &marker.txn);
        if !known.contains(&marker.txn) || folder.path.below(&layout::versions()).is_none() || folder.path == to {
            continue;
        }
        ctx.check_stop()?;
        steps.push(Step::new("move", folder.path.as_str(), format!("its marker says {to}")));
        if !dry_run {
            rename(ctx, store, &marker.txn).await?;
        }
    }
    Ok(steps)
}

/// Gives a push folder its own name; what stands under that name gets a free one, and its own turn.
async fn rename(ctx: &Context, store: &Store, txn: &Txn) -> Result<()> {
    let found = push_folders(store).await?.into_iter().find(|(_, marker)| marker.txn == *txn);
    let Some((folder, marker)) = found else { return Ok(()) };
    let to = layout::version(&marker.model, txn);
    if folder.path == to {
        return Ok(());
    }
    if let Some(other) = store.remote.find(&Object::at(to.clone())).await? {
        let free = layout::version(&marker.model, &staging::new_txn(ctx)?);
        store.remote.rename(&other.object(), &free).await.or_else(tree::moved_meanwhile)?;
    }
    tree::relocate(store, &folder, txn, &to).await.or_else(tree::moved_meanwhile)
}

async fn write_marker(ctx: &Context, store: &Store, model: &Model, push: &Push, folder: &RemotePath) -> Result<()> {
    let marker = Marker {
        format: FORMAT,
        txn: push.txn,
        model: model.id.clone(),
        kind: model.kind,
        revision: push.revision,
        number: push.number,
        at: push.at,
        by: push.by.clone(),
        facts: push.facts.clone(),
        replaces: None,
        filed: model.filed(push),
        ids: BTreeMap::new(),
        files: tree::manifest(ctx, store, model, push).await?,
    };
    let path = folder.join(MARKER);
    let now = store.remote.now().await?;
    match store.remote.rename(&Object::at(path.clone()), &aside(&path, now)).await {
        Err(error) if error.kind() != Kind::NotFound => return Err(error),
        _ => {}
    }
    store.remote.write(&path, Source::Bytes(marker.to_bytes().into()), Mode::New, Arc::new(NoMeter)).await?;
    store.remote.flush(&[path]).await
}

/// Where what is damaged is kept.
fn aside(place: &RemotePath, now: Timestamp) -> RemotePath {
    let root: RemotePath = RemotePath::root().join(layout::INTERNAL).join("damaged");
    let day = root.join(&now.strftime("%Y%m%dT%H%M%SZ").to_string());
    place.parts().fold(day, |path, part| path.join(part.trim_start_matches('.')))
}

/// Commits an aborted push: look, move if it is still in staging, read back, event — within one hour.
async fn commit(ctx: &Context, store: &Store, view: &mut View, folder: Object, marker: &Marker) -> Result<()> {
    let place = layout::version(&marker.model, &marker.txn);
    let look = Look::now(ctx, store);
    if folder.path != place {
        tree::relocate(store, &folder, &marker.txn, &place).await?;
    }
    let committed = commit::commit_found(ctx, store, view, &folder, marker, Pushed::of(marker), look).await?;
    if committed {
        return Ok(());
    }
    Err(Error::integrity(format!("the aborted push {} is not whole", marker.txn)).hint("push it again"))
}
