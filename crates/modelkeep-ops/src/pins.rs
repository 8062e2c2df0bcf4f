//! What the code uses: pins in `modelkeep.lock`, and bringing exactly that back.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use modelkeep_core::digest::RevisionId;
use modelkeep_core::name::{ModelId, ModelRef};
use modelkeep_core::pins::{Pin, Pins};
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::folder::failed;
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::workspace::{LOCK_FILE, Workspace};
use crate::{log, pull, tree};

/// What `use` and `unuse` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// The model.
    pub model: ModelId,
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
    Ok(read(workspace)?.models.values().map(|pin| pin.revision).collect())
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

/// Pins `MODEL[@REV]`.
pub async fn pin(ctx: &Context, model: &str) -> Result<Report> {
    let workspace = ctx.workspace()?.clone();
    let reference: ModelRef = model.parse().map_err(|error: Error| {
        if workspace.root.join(model).exists() {
            Error::usage(format!("`{model}` is a path; data sets are pinned once they are stored"))
                .hint("modelkeep push PATH MODEL, then modelkeep use MODEL")
        } else {
            error
        }
    })?;
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    let (model, push) = view.state.resolve(&reference)?;
    let files = tree::manifest(ctx, &store, model, push).await?.files().to_vec();
    let requested = reference.selector.to_string();
    let path = format!("models/{}/{requested}", model.id);
    let pin = Pin { revision: push.revision, requested: requested.clone(), path: path.clone(), files };
    let mut pins = read(&workspace)?;
    if let Some(remote) = pins.remote.as_ref().filter(|remote| *remote != store.id() && !pins.models.is_empty()) {
        return Err(Error::new(
            Kind::Auth,
            format!("{LOCK_FILE} pins models of tree {remote}, and this remote is tree {}", store.id()),
        )
        .hint("modelkeep remote list"));
    }
    let changed = pins.models.get(&model.id) != Some(&pin);
    pins.version = FORMAT;
    pins.remote = Some(store.id().to_owned());
    pins.models.insert(model.id.clone(), pin);
    if changed {
        write(&workspace, &pins)?;
    }
    Ok(Report { model: model.id.clone(), revision: push.revision, requested, path, pinned: true, changed })
}

/// Takes a pin away. The files stay.
pub fn unpin(ctx: &Context, model: &str) -> Result<Report> {
    let workspace = ctx.workspace()?;
    let mut pins = read(workspace)?;
    let id: ModelId = model.split('@').next().unwrap_or(model).parse()?;
    let pin = pins
        .models
        .remove(&id)
        .ok_or_else(|| Error::not_found(format!("`{id}` is not pinned in {LOCK_FILE}")).hint("modelkeep list"))?;
    write(workspace, &pins)?;
    Ok(Report {
        model: id,
        revision: pin.revision,
        requested: pin.requested,
        path: pin.path,
        pinned: false,
        changed: true,
    })
}

/// What pulling the whole lock file did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Pulled {
    /// One a pinned model.
    pub models: Vec<pull::Report>,
}

/// Brings everything in `modelkeep.lock` here, exactly.
pub async fn pull_all(ctx: &Context, request: &pull::Request) -> Result<Pulled> {
    let workspace = ctx.workspace()?.clone();
    let pins = read(&workspace)?;
    if pins.models.is_empty() {
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
    Ok(Pulled { models })
}

/// A path of the lock file, which must stay inside the workspace.
fn relative(path: &str) -> Result<PathBuf> {
    let inside: modelkeep_core::path::ContentPath = path
        .parse()
        .map_err(|error| Error::usage(format!("{LOCK_FILE} names a path outside the workspace")).because(error))?;
    Ok(PathBuf::from(inside.as_str()))
}
