//! What the code uses: pins in `modelkeep.lock`, and bringing exactly that back.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use modelkeep_core::digest::RevisionId;
use modelkeep_core::filed::{Place, Shape};
use modelkeep_core::name::{ModelId, ModelRef, Selector};
use modelkeep_core::pins::{Pin, Pins};
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::folder::failed;
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::file::{self, local_path};
use crate::placement::{self, slashed};
use crate::store::Store;
use crate::workspace::{LOCK_FILE, Workspace};
use crate::{log, pull, tree};

/// What `use` and `unuse` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// The model; the key of what is filed.
    pub model: ModelId,
    /// Where it is shown on the store, when it is no model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The revision that is (or was) pinned.
    pub revision: RevisionId,
    /// What it was asked for as.
    pub requested: String,
    /// Where `modelkeep pull` puts it.
    pub path: String,
    /// Whether it is pinned now.
    pub pinned: bool,
    /// Whether the lock file was changed.
    pub changed: bool,
}

impl Report {
    /// How people call what it is about: the model's id, or the place on the store.
    pub fn name(&self) -> &str {
        self.place.as_ref().map_or_else(|| self.model.as_str(), Place::as_str)
    }
}

const FORMAT: u32 = 1;

/// Reads the lock file; none is empty.
pub fn read(workspace: &Workspace) -> Result<Pins> {
    let file = workspace.lock_file();
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Pins { version: FORMAT, ..Pins::default() });
        }
        Err(error) => return Err(failed("reading", &file, error)),
    };
    let unreadable =
        |why: String| Error::usage(format!("{}: {why}", file.display())).hint(format!("git checkout -- {LOCK_FILE}"));
    let pins: Pins = toml::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    if pins.version > FORMAT {
        return Err(unreadable(format!("version {} is newer than this program", pins.version)));
    }
    Ok(pins)
}

/// The revisions that are pinned here; none without a workspace.
pub fn pinned(ctx: &Context) -> Result<BTreeSet<RevisionId>> {
    let Some(workspace) = &ctx.workspace else { return Ok(BTreeSet::new()) };
    let pins = read(workspace)?;
    Ok(pins.models.values().chain(pins.files.values()).map(|pin| pin.revision).collect())
}

/// Whether a pin stands for what is at this path below the workspace.
pub(crate) fn is_pinned_path(ctx: &Context, path: &str) -> Result<bool> {
    let Some(workspace) = &ctx.workspace else { return Ok(false) };
    let pins = read(workspace)?;
    Ok(pins.models.values().chain(pins.files.values()).any(|pin| pin.path == path))
}

fn write(workspace: &Workspace, pins: &Pins) -> Result<()> {
    let file = workspace.lock_file();
    let body =
        toml::to_string(pins).map_err(|error| Error::internal("the lock file cannot be written").because(error))?;
    let text = format!(
        "# What this code uses, by content. Written by `modelkeep use`; `modelkeep pull` brings it here.\n{body}"
    );
    replace_file(&file, text.as_bytes())
}

/// Replaces a file in one step.
pub(crate) fn replace_file(file: &std::path::Path, bytes: &[u8]) -> Result<()> {
    let part = file.with_extension("modelkeep-part");
    let written = fs::File::create(&part).and_then(|mut open| {
        open.write_all(bytes)?;
        open.sync_all()?;
        fs::rename(&part, file)
    });
    written.map_err(|error| {
        let _ = fs::remove_file(&part);
        failed("writing", file, error)
    })
}

/// Pins `MODEL[@REV]`, or what is filed: by its place, or by the path where it is here.
pub async fn pin(ctx: &Context, name: &str) -> Result<Report> {
    let workspace = ctx.workspace()?.clone();
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    let here = here(ctx, &workspace, name);
    let reference = name.parse::<ModelRef>();
    let is_file = here.is_some() || name.contains('/') || reference.is_err();
    let (kept, push, requested, path) = match (&here, reference) {
        (_, Ok(reference)) if !is_file || view.state.model(&reference.model).is_ok() => {
            let (model, push) = view.state.resolve(&reference)?;
            let requested = reference.selector.to_string();
            let path = format!("models/{}/{requested}", model.id);
            (model, push, requested, path)
        }
        _ => {
            let (item, selector) = filed(ctx, &view, name, here.as_deref())?;
            let push = match &here {
                Some(path) => of_content(ctx, &store, item, &workspace.root.join(path)).await?,
                None => None,
            };
            let push = push.map_or_else(|| item.choose(&selector), Ok)?;
            let place = item.place.as_ref().ok_or_else(|| Error::internal("what is filed has a place"))?;
            let path = here.clone().unwrap_or_else(|| slashed(&local_path(place, push.shape.unwrap_or(Shape::File))));
            (item, push, selector.to_string(), path)
        }
    };
    let files = tree::manifest(ctx, &store, kept, push).await?.files().to_vec();
    let pin = Pin { revision: push.revision, requested: requested.clone(), path: path.clone(), files };
    let mut pins = read(&workspace)?;
    let any = !pins.models.is_empty() || !pins.files.is_empty();
    if let Some(remote) = pins.remote.as_ref().filter(|remote| *remote != store.id() && any) {
        return Err(Error::new(
            Kind::Auth,
            format!("{LOCK_FILE} pins content of tree {remote}, and this remote is tree {}", store.id()),
        )
        .hint("modelkeep remote list"));
    }
    pins.version = FORMAT;
    pins.remote = Some(store.id().to_owned());
    let before = match &kept.place {
        Some(place) => pins.files.insert(place.clone(), pin.clone()),
        None => pins.models.insert(kept.id.clone(), pin.clone()),
    };
    let changed = before.as_ref() != Some(&pin);
    if changed {
        write(&workspace, &pins)?;
    }
    let (model, place, revision) = (kept.id.clone(), kept.place.clone(), push.revision);
    Ok(Report { model, place, revision, requested, path, pinned: true, changed })
}

/// The path below the workspace of something that is here; a model's id may be called as a file is.
fn here(ctx: &Context, workspace: &Workspace, name: &str) -> Option<String> {
    let path = ctx.absolute(std::path::Path::new(name)).canonicalize().ok()?;
    let root = workspace.root.canonicalize().unwrap_or_else(|_| workspace.root.clone());
    Some(slashed(path.strip_prefix(root).ok()?)).filter(|below| !below.is_empty())
}

/// What is filed under that name, or as that path.
fn filed<'a>(ctx: &Context, view: &'a log::View, name: &str, here: Option<&str>) -> Result<(&'a Model, Selector)> {
    let named = view.state.filed(name);
    let Some(here) = here.filter(|_| named.is_err()) else { return named };
    let at_path = view.state.filed.values().filter(|item| item.latest().is_some()).find(|item| {
        let shape = item.latest().and_then(|push| push.shape).unwrap_or(Shape::File);
        item.place.as_ref().is_some_and(|place| slashed(&local_path(place, shape)) == here)
    });
    if let Some(item) = at_path {
        return Ok((item, Selector::Latest));
    }
    let (verdict, _) = placement::judge(ctx, std::path::Path::new(name))?;
    let last = here.rsplit('/').next().unwrap_or(here);
    let by_rules = verdict.to.and_then(|to| view.state.filed(&format!("{to}/{last}")).ok());
    by_rules.ok_or_else(|| {
        Error::not_found(format!("`{name}` is a path, and is not on the store yet"))
            .hint(format!("modelkeep file push {name}, then modelkeep use {name}"))
    })
}

/// The push that has the content of the file that is here.
async fn of_content<'a>(
    ctx: &Context,
    store: &Store,
    item: &'a Model,
    path: &std::path::Path,
) -> Result<Option<&'a Push>> {
    if !path.is_file() {
        return Ok(None);
    }
    let mut open = fs::File::open(path).map_err(|error| failed("reading", path, error))?;
    let (_, digest) = modelkeep_remote::folder::copy::hash(&mut open, path, &*ctx.meter())?;
    for push in item.pushes.iter().rev().filter(|push| push.removed.is_none()) {
        let manifest = tree::manifest(ctx, store, item, push).await?;
        if manifest.files().len() == 1 && manifest.files()[0].sha256 == digest {
            return Ok(Some(push));
        }
    }
    ctx.warn(format!("{} is not what is on the store; the newest there is pinned", path.display()));
    Ok(None)
}

/// Takes a pin away. The files stay.
pub fn unpin(ctx: &Context, name: &str) -> Result<Report> {
    let workspace = ctx.workspace()?;
    let mut pins = read(workspace)?;
    let id = name.split('@').next().unwrap_or(name);
    let below = here(ctx, workspace, name);
    let place = pins.files.iter().find(|(place, pin)| {
        place.as_str() == id || place.name() == id || pin.path == id || Some(&pin.path) == below.as_ref()
    });
    let place = place.map(|(place, _)| place.clone());
    let of_place = place.as_ref().map(|place| Ok::<_, Error>((place.key()?, pins.files.remove(place))));
    let (model, pin) = match of_place.transpose()? {
        Some(found) => found,
        None => id.parse::<ModelId>().map(|id| (id.clone(), pins.models.remove(&id)))?,
    };
    let pin =
        pin.ok_or_else(|| Error::not_found(format!("`{id}` is not pinned in {LOCK_FILE}")).hint("modelkeep list"))?;
    write(workspace, &pins)?;
    Ok(Report {
        model,
        place,
        revision: pin.revision,
        requested: pin.requested,
        path: pin.path,
        pinned: false,
        changed: true,
    })
}

/// What pulling the whole lock file did.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Pulled {
    /// One a pinned model.
    pub models: Vec<pull::Report>,
    /// One a pinned data set, or anything else that is filed.
    pub files: Vec<file::pull::Report>,
}

/// Brings everything in `modelkeep.lock` here, exactly.
pub async fn pull_all(ctx: &Context, request: &pull::Request) -> Result<Pulled> {
    let workspace = ctx.workspace()?.clone();
    let pins = read(&workspace)?;
    if pins.models.is_empty() && pins.files.is_empty() {
        return Err(
            Error::not_found(format!("{LOCK_FILE} pins nothing")).hint("modelkeep use MODEL, or modelkeep pull MODEL")
        );
    }
    let mut models = Vec::new();
    for (id, pin) in &pins.models {
        // What is asked for is content: if the remote were to say anything else, the pull would not fit its pin.
        let manifest = pin.manifest()?;
        let mut one = request.clone();
        one.to = Some(workspace.root.join(relative(&pin.path)?));
        models.push(pull::pull_pinned(ctx, &one, id, &pin.revision, &manifest).await?);
    }
    let mut files = Vec::new();
    for (place, pin) in &pins.files {
        let manifest = pin.manifest()?;
        let one = file::pull::Request {
            place: place.to_string(),
            to: Some(workspace.root.join(relative(&pin.path)?)),
            force: request.force,
            dry_run: request.dry_run,
        };
        files.push(file::pull::pull_pinned(ctx, &one, &pin.revision, &manifest).await?);
    }
    Ok(Pulled { models, files })
}

/// A path of the lock file, which must stay inside the workspace.
fn relative(path: &str) -> Result<PathBuf> {
    let inside: modelkeep_core::path::ContentPath = path
        .parse()
        .map_err(|error| Error::usage(format!("{LOCK_FILE} names a path outside the workspace")).because(error))?;
    Ok(PathBuf::from(inside.as_str()))
}
