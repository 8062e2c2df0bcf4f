//! Mend a damaged push: a whole one of the same content is built beside it and takes its place by an event.
//!
//! No file is ever changed in a folder that others may move at the same time: what was a damaged push a moment ago may
//! be another push's place now. The damaged one goes to the trash, where it can be looked at until its grace ends.

use std::collections::BTreeMap;
use std::path::PathBuf;

use modelkeep_core::digest::Txn;
use modelkeep_core::event::{PushIds, Pushed};
use modelkeep_core::manifest::{FORMAT, FileEntry, Marker};
use modelkeep_core::name::ModelId;
use modelkeep_core::path::ContentPath;
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::{Object, Source};

use crate::context::Context;
use crate::log::View;
use crate::staging::{self, Staging};
use crate::store::Store;
use crate::{commit, project, remove, tree};

/// Where the right bytes of a file are.
#[derive(Debug, Clone)]
pub enum From {
    /// In another push.
    Remote(Object),
    /// On this machine.
    Local(PathBuf),
}

/// So often is a file brought again when what was copied was not what it should be: folders may move meanwhile.
const ATTEMPTS: usize = 3;

/// Builds the push anew, commits it in the damaged one's place, shows it, and moves the damaged one to the trash.
pub async fn heal(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    model: &ModelId,
    txn: &Txn,
    broken: &BTreeMap<ContentPath, From>,
) -> Result<()> {
    let Some((model, damaged)) = find(view, model, txn) else { return Ok(()) };
    let files = tree::manifest(ctx, store, &model, &damaged).await?;
    let staging = Staging::fresh(ctx, store).await?;
    let mut ids = BTreeMap::new();
    for file in files.files() {
        ctx.check_stop()?;
        let id = bring(ctx, store, &model, &damaged, &staging, file, broken.get(&file.path)).await?;
        ids.extend(id.map(|id| (file.path.clone(), id)));
    }
    let marker = Marker {
        format: FORMAT,
        txn: staging.txn,
        model: model.id.clone(),
        kind: model.kind,
        revision: damaged.revision,
        number: damaged.number,
        at: damaged.at,
        by: damaged.by.clone(),
        facts: damaged.facts.clone(),
        replaces: Some(*txn),
        filed: model.filed(&damaged),
        ids,
        files,
    };
    let marker_id = commit::write_marker(store, &staging, &marker).await?;
    let ids = staging.folder.id.clone().zip(marker_id).map(|(folder, marker)| PushIds { folder, marker });
    let body = |view: &View| commit::pushed_event(view, &marker, Pushed { ids: ids.clone(), ..Pushed::of(&marker) });
    if !commit::move_and_commit(ctx, store, view, &staging, &marker, &body).await? {
        return Err(Error::new(Kind::Unavailable, "a clean-up took the folder being built").hint("modelkeep repair"));
    }
    project::after(ctx, store, view, &[&model.id]).await?;
    match find(view, &model.id, txn) {
        Some((model, damaged)) => remove::trash(store, &model, &damaged).await,
        None => Ok(()),
    }
}

fn find(view: &View, model: &ModelId, txn: &Txn) -> Option<(Model, Push)> {
    let model = view.state.of(model)?;
    let push = model.pushes.iter().find(|push| push.txn == *txn)?;
    Some((model.clone(), push.clone()))
}

/// Brings one file into the new folder, checked by reading it there; its id where the store has ids.
async fn bring(
    ctx: &Context,
    store: &Store,
    model: &Model,
    damaged: &Push,
    staging: &Staging,
    file: &FileEntry,
    from: Option<&From>,
) -> Result<Option<String>> {
    let to = staging.folder.path.join_content(&file.path);
    for _ in 0..ATTEMPTS {
        let id = match from {
            Some(From::Local(path)) => {
                staging::write_own(store, &to, Source::File(path.clone()), ctx.meter()).await?.id
            }
            Some(From::Remote(object)) => match copy(ctx, store, object, &to).await? {
                Some(id) => id,
                None => continue,
            },
            None => {
                let Some(found) = tree::find(store, model, damaged).await? else { continue };
                match copy(ctx, store, &found.file(&file.path), &to).await? {
                    Some(id) => id,
                    None => continue,
                }
            }
        };
        let object = Object { path: to.clone(), id: id.clone() };
        if tree::digest(store, &object, file.size).await? == file.sha256 {
            return Ok(id);
        }
        store.remote.delete(&object).await?;
    }
    Err(Error::integrity(format!("{} of {} cannot be had with the right content any more", file.path, model.id))
        .hint(format!("modelkeep verify {} --deep", model.id)))
}

/// A copy made by the store; its id where it has ids. `None`: what was to be copied is not there now.
async fn copy(
    ctx: &Context,
    store: &Store,
    from: &Object,
    to: &modelkeep_core::path::RemotePath,
) -> Result<Option<Option<String>>> {
    match store.remote.copy(from, to, ctx.meter()).await {
        Ok(copied) => Ok(Some(copied.id)),
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Integrity) => Ok(None),
        Err(error) => Err(error),
    }
}
