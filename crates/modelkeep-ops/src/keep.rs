//! From a directory to a committed push: staging, marker, move and event, begun again when a clean-up was faster.
//!
//! Knows how content gets into the store. Does not know what it is: a model, or a file with a place of its own.

use modelkeep_core::digest::Txn;
use modelkeep_core::event::{PushIds, Pushed};
use modelkeep_core::layout::{self, MARKER};
use modelkeep_core::manifest::{Manifest, Marker};
use modelkeep_core::name::ModelId;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::Object;

use crate::context::{Context, Look, Progress};
use crate::local::{Begun, Local};
use crate::log::{self, View};
use crate::observe::Directory;
use crate::staging::{Filled, Staging, Supply};
use crate::store::Store;
use crate::{commit, heal, tree};

/// What is stored, and what is said of it.
pub struct Act<'a> {
    /// The model, or the key of what is filed.
    pub key: &'a ModelId,
    /// Where its files come from.
    pub supply: &'a dyn Supply,
    /// Fails when the log says by now that it must not be.
    pub refuse: &'a (dyn Fn(&View) -> Result<()> + Sync),
    /// The marker of the push.
    pub marker: &'a (dyn Fn(&View, &Staging, &Filled) -> Marker + Sync),
    /// What its event says.
    pub pushed: &'a (dyn Fn(&Marker, Option<PushIds>) -> Pushed + Sync),
    /// Whether everything is read back before it counts.
    pub verify: bool,
}

/// What came of it.
pub enum Stored {
    /// The content turned out to be the newest push's.
    Same(Manifest),
    /// A push was committed, having sent so many bytes.
    Committed(Txn, u64),
}

/// Stores a directory.
pub async fn store(ctx: &Context, store: &Store, view: &mut View, act: &Act<'_>) -> Result<Stored> {
    let local = store.local(ctx)?;
    let mut left = local.begun_pushes(store.id(), act.key, act.supply.root())?;
    if let Some(done) = resume_moved(ctx, store, view, act, &mut left).await? {
        return Ok(Stored::Committed(done, 0));
    }
    // Clean-up may take a folder from a writer that slept for days; each time it begins anew.
    for _ in 0..3 {
        let staging = Staging::open(ctx, store, act.key, act.supply.root(), &left).await?;
        left.clear();
        let filled = match act.supply.fill(ctx, store, view, &staging).await {
            Err(error) if error.kind() == Kind::NotFound && staging.is_gone(store).await? => {
                begin_again(ctx, local, &staging)?;
                continue;
            }
            filled => filled?,
        };
        // It may have taken hours, in which others pushed, deployed or removed.
        *view = log::refresh(ctx, store).await?;
        if is_newest(view, act.key, &filled.manifest) {
            staging.discard(ctx, store).await?;
            return Ok(Stored::Same(filled.manifest));
        }
        (act.refuse)(view)?;
        let marker = (act.marker)(view, &staging, &filled);
        let marker_id = commit::write_marker(store, &staging, &marker).await?;
        if act.verify {
            read_back(ctx, store, &staging, &filled).await?;
        }
        let ids = staging.folder.id.clone().zip(marker_id).map(|(folder, marker)| PushIds { folder, marker });
        let body = |view: &View| commit::pushed_event(view, &marker, (act.pushed)(&marker, ids.clone()));
        if commit::move_and_commit(ctx, store, view, &staging, &marker, &body).await? {
            tree::remember_manifest(ctx, store, &marker.files)?;
            return Ok(Stored::Committed(staging.txn, filled.sent));
        }
        begin_again(ctx, local, &staging)?;
    }
    Err(Error::new(Kind::Unavailable, "the staging folder was taken away three times").hint("run it again"))
}

/// Whether the newest push has this content.
pub fn is_newest(view: &View, key: &ModelId, manifest: &Manifest) -> bool {
    let newest = view.state.of(key).and_then(|kept| kept.latest());
    newest.is_some_and(|push| push.revision == manifest.revision())
}

fn begin_again(ctx: &Context, local: &Local, staging: &Staging) -> Result<()> {
    ctx.warn("a clean-up took this push's staging folder; beginning again");
    local.end_push(&staging.txn)
}

async fn read_back(ctx: &Context, store: &Store, staging: &Staging, filled: &Filled) -> Result<()> {
    ctx.observer.tell(Progress::Stage { name: "reading back", bytes: Some(filled.manifest.size()) });
    for file in filled.manifest.files() {
        let object =
            Object { path: staging.folder.path.join_content(&file.path), id: filled.ids.get(&file.path).cloned() };
        if tree::digest(store, &object, file.size).await? != file.sha256 {
            return Err(Error::integrity(format!("{} is not on the remote as it was sent", file.path))
                .hint("run it again; if it comes again, check the disk under the remote"));
        }
    }
    Ok(())
}

/// Goes on with an earlier attempt that was stopped between its move and its event, if it holds this very content.
async fn resume_moved(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    act: &Act<'_>,
    left: &mut Vec<Begun>,
) -> Result<Option<Txn>> {
    let moving: Vec<Begun> = left.iter().filter(|begun| begun.moving).cloned().collect();
    for begun in moving {
        let place = layout::version(act.key, &begun.txn);
        let Some(marker) = tree::marker_in(store, &place).await? else { continue };
        let same = act.supply.manifest()?.is_some_and(|manifest| manifest.revision() == marker.revision);
        if !same || view.has_txn(&begun.txn) {
            continue;
        }
        let folder = store.remote.find(&Object::at(place.clone())).await?;
        let Some(folder) = folder.map(|entry| entry.object()) else { continue };
        let marker_id = store.remote.find(&Object::at(place.join(MARKER))).await?.and_then(|entry| entry.id);
        let ids = folder.id.clone().zip(marker_id).map(|(folder, marker)| PushIds { folder, marker });
        let body = |view: &View| commit::pushed_event(view, &marker, (act.pushed)(&marker, ids.clone()));
        if commit::commit_moved(ctx, store, view, &folder, &marker, &body, Look::now(ctx, store)).await? {
            return Ok(Some(begun.txn));
        }
    }
    // A folder that was moved but holds something else is an aborted push: `repair` lists it.
    let committed: Vec<Txn> = left.iter().filter(|begun| view.has_txn(&begun.txn)).map(|begun| begun.txn).collect();
    for txn in committed {
        store.local(ctx)?.end_push(&txn)?;
        left.retain(|begun| begun.txn != txn);
    }
    Ok(None)
}

/// When the newest push is nowhere on the store any more, the directory that has its content makes it whole.
pub async fn store_again(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    key: &ModelId,
    directory: &Directory,
    manifest: &Manifest,
) -> Result<bool> {
    let Some(kept) = view.state.of(key) else { return Ok(false) };
    let Some(push) = kept.latest().cloned() else { return Ok(false) };
    if tree::stands(store, kept, &push).await? {
        return Ok(false);
    }
    tree::remember_manifest(ctx, store, manifest)?;
    let here = directory.files.iter().map(|file| (file.path.clone(), heal::From::Local(file.local.clone())));
    heal::heal(ctx, store, view, key, &push.txn, &here.collect()).await?;
    Ok(true)
}

/// Pushes of this source that were committed, but not shown to the end; told once they are.
pub fn unshown(ctx: &Context, store: &Store, view: &View, key: &ModelId, directory: &Directory) -> Result<Vec<Txn>> {
    let left = store.local(ctx)?.begun_pushes(store.id(), key, &directory.root)?;
    Ok(left.iter().map(|begun| begun.txn).filter(|txn| view.has_txn(txn)).collect())
}
