//! The remote: models from the log, the plain folders from a listing each, the quota from the store.

use std::ops::Add;

use futures_util::future::try_join_all;
use modelkeep_core::filed::Place;
use modelkeep_core::manifest::ModelKind;
use modelkeep_core::path::RemotePath;
use modelkeep_core::registry::{Model, State};
use modelkeep_core::{Kind, Result, layout};
use modelkeep_remote::{EntryKind, Inline};

use super::{Category, Remote};
use crate::context::Context;
use crate::store::Store;
use crate::{log, tree};

/// Bytes and files.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    files: u64,
    bytes: u64,
}

impl Add for Sum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { files: self.files + other.files, bytes: self.bytes + other.bytes }
    }
}

/// Measures it; `None` when no remote is set.
pub(super) async fn remote(ctx: &Context) -> Result<Option<Remote>> {
    let store = match ctx.store().await {
        Ok(store) => store,
        // No store was ever set: that is no failure.
        Err(error) if error.kind() == Kind::Auth && is_unset(ctx) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (view, usage, trash, plain) = tokio::join!(
        log::refresh(ctx, &store),
        store.remote.usage(),
        in_trash(&store),
        try_join_all(["datasets", "notebooks", "results"].map(|name| plain(&store, name)))
    );
    let view = view?;
    let (usage, plain) = (usage?, plain?);
    let quota = usage.quota;
    let [datasets, notebooks, results] = plain.try_into().unwrap_or_default();
    let rows = [
        ("base_models", of_models(&view.state, ModelKind::Base)),
        ("finetuned", of_models(&view.state, ModelKind::Finetuned)),
        ("datasets", datasets + of_filed(&view.state, "datasets")),
        ("notebooks", notebooks + of_filed(&view.state, "notebooks")),
        ("results", results + of_filed(&view.state, "results")),
    ];
    let trashed = trash?;
    let pushes = view.state.kept().flat_map(|model| &model.pushes);
    let ours: u64 = pushes.filter(|push| trashed.contains(&push.txn.to_string())).map(|push| push.size_bytes).sum();
    #[allow(clippy::cast_precision_loss, reason = "a share")]
    let share = |bytes: u64| quota.filter(|quota| *quota > 0).map(|quota| bytes as f64 / quota as f64);
    Ok(Some(Remote {
        name: if store.name.is_empty() { store.remote.describe() } else { store.name.clone() },
        quota_bytes: quota,
        used_bytes: usage.used.unwrap_or_else(|| rows.iter().map(|(_, sum)| sum.bytes).sum::<u64>() + ours),
        trash_bytes: ours + usage.trashed.unwrap_or(0),
        categories: rows
            .into_iter()
            .map(|(name, sum)| Category {
                name: name.to_owned(),
                files: sum.files,
                size_bytes: sum.bytes,
                share: share(sum.bytes),
            })
            .collect(),
        simulated: store.simulated(),
    }))
}

fn is_unset(ctx: &Context) -> bool {
    let named = ctx.settings.remote.as_deref();
    ctx.options.remote.is_none() && named.is_none_or(|name| !ctx.settings.remotes.contains_key(name))
}

/// Every version that is not removed.
fn of_models(state: &State, kind: ModelKind) -> Sum {
    live(state.models.values().filter(|model| model.kind == kind))
}

/// The same of what is filed in a folder; what is shown there is a copy of the newest.
fn of_filed(state: &State, folder: &str) -> Sum {
    let is_there = |place: &Place| place.path().parts().next() == Some(folder);
    live(state.filed.values().filter(|item| item.place.as_ref().is_some_and(is_there)))
}

fn live<'a>(kept: impl Iterator<Item = &'a Model>) -> Sum {
    let pushes = kept.flat_map(|model| &model.pushes).filter(|push| push.removed.is_none());
    pushes.fold(Sum::default(), |sum, push| sum + Sum { files: push.files, bytes: push.size_bytes })
}

async fn plain(store: &Store, name: &str) -> Result<Sum> {
    let entries = tree::walk(store, &RemotePath::default().join(name)).await?;
    let files = entries.iter().filter(|entry| entry.kind == EntryKind::File && !entry.is_partial());
    Ok(files.fold(Sum::default(), |sum, file| sum + Sum { files: 1, bytes: file.size }))
}

/// The transactions whose folders are in our trash.
async fn in_trash(store: &Store) -> Result<Vec<String>> {
    let days = tree::trash_days(store).await?;
    let listed = try_join_all(days.iter().map(|day| store.remote.list(&day.path, Inline::No))).await?;
    let folders = listed.into_iter().flatten().filter(|entry| entry.kind == EntryKind::Dir);
    Ok(folders.map(|entry| layout::without_twin(entry.name()).to_owned()).collect())
}
