//! File a file or a folder on the store: a push like a model's, shown as a plain file at its place.

use std::path::{Path, PathBuf};

use modelkeep_core::digest::RevisionId;
use modelkeep_core::event::Pushed;
use modelkeep_core::filed::{self, Filed, Place, Shape};
use modelkeep_core::manifest::{FORMAT, Facts, Manifest, Marker, ModelKind};
use modelkeep_core::name::ModelId;
use modelkeep_core::placement;
use modelkeep_core::registry::Model;
use modelkeep_core::{Error, Result};
use modelkeep_remote::{EntryKind, Object};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pack;
use crate::context::Context;
use crate::keep::{self, Act, Stored};
use crate::log::{self, View};
use crate::observe::{self, Directory, Filter};
use crate::report::{Step, Wrote};
use crate::staging::{self, Filled, Staging, Supply as _};
use crate::store::Store;
use crate::{lock, project, tree};

/// What to file, and where.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The file or folder.
    pub path: PathBuf,
    /// The folder on the store: `datasets`, `notebooks`, `results/…`, `configs`, `docs`; default by the rules of placement.
    pub to: Option<String>,
    /// A folder goes as one tar.
    pub pack: bool,
    /// Read everything back before it counts.
    pub verify: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was filed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// Where it is shown on the store.
    pub place: Place,
    /// How.
    pub shape: Shape,
    /// Its content's id.
    pub revision: RevisionId,
    /// Its number; of the push that has this content already when nothing was created.
    pub number: u64,
    /// Whether a new push was made.
    pub created: bool,
    /// How many files (of a packed folder: the tar and its index).
    pub files: u64,
    /// All bytes.
    pub size_bytes: u64,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Bytes that the store had already.
    pub skipped_bytes: u64,
    /// What would be done (`--dry-run`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Where it went.
    #[serde(flatten)]
    pub wrote: Wrote,
}

/// What is filed, with its names.
struct Asked {
    key: ModelId,
    filed: Filed,
}

/// Files a file or a folder.
pub async fn push(ctx: &Context, request: Request) -> Result<Report> {
    let source = ctx.absolute(&request.path);
    let (mut directory, asked, store) = observe(ctx, &request, &source).await?;
    let local = store.local(ctx)?;
    let name = format!("file {} {}", store.id(), asked.filed.place);
    let who = format!("another push of `{}` is at work", asked.filed.place);
    let _alone = if request.dry_run { None } else { Some(lock::hold(ctx, local.folder(), &name, &who).await?) };
    if asked.filed.shape == Shape::Packed {
        let folder = local.folder().join("packed").join(asked.key.as_str());
        pack::pack(&directory, &folder, asked.filed.place.name())?;
        directory = observe::directory(&folder, &Filter::default(), local)?;
    }
    let mut view = log::refresh(ctx, &store).await?;
    refuse_collisions(&view, &asked)?;
    // What stands there already is only known to be ours, or not, by its content.
    let known = view.state.of(&asked.key).is_some();
    if request.dry_run || !known && stands_in_the_way(&store, &asked, &directory).await? {
        staging::hash_all(ctx, &store, &mut directory).await?;
        refuse_foreign(&store, &asked, &directory).await?;
    }
    if request.dry_run {
        return planned(ctx, &store, &view, &asked, &directory).await;
    }
    let stored = match directory.manifest()? {
        Some(manifest) if is_newest(&view, &asked, &manifest) => Stored::Same(manifest),
        _ => store_content(ctx, &store, &mut view, &asked, &directory, request.verify).await?,
    };
    let (txn, sent) = match stored {
        Stored::Committed(txn, sent) => (Some(txn), sent),
        Stored::Same(manifest) => {
            keep::store_again(ctx, &store, &mut view, &asked.key, &directory, &manifest).await?;
            (None, 0)
        }
    };
    let unshown = keep::unshown(ctx, &store, &view, &asked.key, &directory)?;
    project::after(ctx, &store, &mut view, &[&asked.key]).await?;
    // Only now is it over: a push that is stopped before this is shown by the next one, though nothing is sent.
    for txn in unshown {
        local.end_push(&txn)?;
    }
    if asked.filed.shape == Shape::Packed {
        let _ = std::fs::remove_dir_all(local.folder().join("packed").join(asked.key.as_str()));
    }
    let item = view.state.of(&asked.key).ok_or_else(|| Error::internal("what was filed is not in the log"))?;
    let push = match txn {
        Some(txn) => item.pushes.iter().find(|push| push.txn == txn),
        None => item.latest(),
    };
    let push = push.ok_or_else(|| Error::internal("the push is not in the log"))?;
    Ok(Report {
        place: asked.filed.place,
        shape: asked.filed.shape,
        revision: push.revision,
        number: push.number,
        created: txn.is_some(),
        files: push.files,
        size_bytes: push.size_bytes,
        sent_bytes: sent,
        skipped_bytes: push.size_bytes.saturating_sub(sent),
        steps: Vec::new(),
        wrote: Wrote::to(&store, false),
    })
}

/// The files, where they go, and the store that takes them.
async fn observe(ctx: &Context, request: &Request, source: &Path) -> Result<(Directory, Asked, std::sync::Arc<Store>)> {
    let metadata = std::fs::metadata(source).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::not_found(format!("{} is not there", request.path.display())).hint("check the path")
        }
        _ => modelkeep_remote::folder::failed("looking at", source, error),
    })?;
    if request.pack && !metadata.is_dir() {
        return Err(Error::usage(format!("{} is a file: there is nothing to pack", request.path.display()))
            .hint("leave --pack out"));
    }
    let folder = match &request.to {
        Some(to) => to.clone(),
        None => by_rules(ctx, &request.path)?,
    };
    let store = ctx.store().await?;
    let directory = observe::directory(source, &Filter::default(), store.local(ctx)?)?;
    let name = directory.root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (name, shape) = match (metadata.is_dir(), request.pack) {
        (false, _) => (name, Shape::File),
        (true, false) => (name, Shape::Folder),
        (true, true) => (pack::packed_name(&name), Shape::Packed),
    };
    let place = Place::new(&filed::folder_of(&folder)?, &name)?;
    let asked = Asked { key: place.key()?, filed: Filed { place, shape } };
    Ok((directory, asked, store))
}

/// The folder that the rules of placement give it.
fn by_rules(ctx: &Context, path: &Path) -> Result<String> {
    let (seen, _) = crate::placement::judge(ctx, path)?;
    if let Some(to) = seen.to {
        return Ok(to);
    }
    let text = path.display().to_string();
    let id = placement::model_name(&text);
    Err(Error::usage(format!("{text} is a model ({}); models are pushed", seen.reason))
        .hint(format!("modelkeep push {} {id}, or --to datasets", placement::quote(&text))))
}

fn is_newest(view: &View, asked: &Asked, manifest: &Manifest) -> bool {
    let shape = view.state.of(&asked.key).and_then(|item| item.latest()?.shape);
    keep::is_newest(view, &asked.key, manifest) && shape == Some(asked.filed.shape)
}

fn refuse_collisions(view: &View, asked: &Asked) -> Result<()> {
    let place = &asked.filed.place;
    let others = view.state.filed.values().filter(|item| item.latest().is_some());
    match others.filter_map(|item| item.place.as_ref()).find(|other| other.collides(place)) {
        None => Ok(()),
        Some(other) => Err(Error::conflict(format!("`{place}` and `{other}` cannot both be on one store"))
            .hint(format!("modelkeep file rm {other}, or file it elsewhere with --to"))),
    }
}

/// Whether anything stands where a file would be shown.
async fn stands_in_the_way(store: &Store, asked: &Asked, directory: &Directory) -> Result<bool> {
    if asked.filed.shape == Shape::Folder {
        return Ok(!tree::walk(store, &asked.filed.place.path()).await?.is_empty());
    }
    let base = asked.filed.place.base(asked.filed.shape);
    for file in &directory.files {
        if store.remote.find(&Object::at(base.join_content(&file.path))).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Fails when something stands there that nobody filed, and that is not this very content.
async fn refuse_foreign(store: &Store, asked: &Asked, directory: &Directory) -> Result<()> {
    let base = asked.filed.place.base(asked.filed.shape);
    for file in &directory.files {
        let path = base.join_content(&file.path);
        let Some(entry) = store.remote.find(&Object::at(path.clone())).await? else { continue };
        let digest = match entry.sha256 {
            Some(digest) => Some(digest),
            None if entry.kind == EntryKind::File && entry.size == file.stat.size => {
                Some(tree::digest(store, &entry.object(), entry.size).await?)
            }
            None => None,
        };
        if digest.is_none() || digest != file.sha256 {
            return Err(Error::conflict(format!(
                "{path} is on the store already with another content, and nobody filed it"
            ))
            .hint("move it aside on the store, or file this one elsewhere with --to"));
        }
    }
    Ok(())
}

async fn store_content(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    asked: &Asked,
    directory: &Directory,
    verify: bool,
) -> Result<Stored> {
    let act = Act {
        key: &asked.key,
        supply: directory,
        refuse: &|view| refuse_collisions(view, asked),
        marker: &|view, staging, filled| marker(ctx, view, asked, staging, filled),
        pushed: &|marker, ids| Pushed { ids, ..Pushed::of(marker) },
        verify,
    };
    keep::store(ctx, store, view, &act).await
}

fn marker(ctx: &Context, view: &View, asked: &Asked, staging: &Staging, filled: &Filled) -> Marker {
    Marker {
        format: FORMAT,
        txn: staging.txn,
        model: asked.key.clone(),
        kind: ModelKind::Filed,
        revision: filled.manifest.revision(),
        number: view.state.of(&asked.key).map_or(1, Model::next_number),
        at: ctx.now(),
        by: ctx.env.who(),
        facts: Facts::default(),
        replaces: None,
        filed: Some(asked.filed.clone()),
        ids: filled.ids.clone(),
        files: filled.manifest.clone(),
    }
}

async fn planned(ctx: &Context, store: &Store, view: &View, asked: &Asked, directory: &Directory) -> Result<Report> {
    let manifest = directory.manifest()?.ok_or_else(|| Error::internal("every digest is known by now"))?;
    let held = staging::held(ctx, store, view).await?;
    let same = is_newest(view, asked, &manifest);
    let steps = manifest.files().iter().filter(|_| !same).map(|file| {
        let (action, reason) = if held.contains_key(&file.sha256) {
            ("copy", "the store has this content")
        } else {
            ("send", "new content")
        };
        Step::new(action, file.path.as_str(), reason).bytes(file.size)
    });
    let skipped = manifest.files().iter().filter(|file| held.contains_key(&file.sha256)).map(|file| file.size).sum();
    Ok(Report {
        place: asked.filed.place.clone(),
        shape: asked.filed.shape,
        revision: manifest.revision(),
        number: view.state.of(&asked.key).map_or(1, Model::next_number),
        created: false,
        files: manifest.files().len() as u64,
        size_bytes: manifest.size(),
        sent_bytes: 0,
        skipped_bytes: skipped,
        steps: steps.collect(),
        wrote: Wrote::to(store, true),
    })
}
