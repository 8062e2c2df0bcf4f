//! Bring what is filed here: a file to its path, a folder as it was, a packed folder unpacked.

use std::fs;
use std::path::{Path, PathBuf};

use modelkeep_core::digest::{RevisionId, Sha256};
use modelkeep_core::filed::{Place, Shape};
use modelkeep_core::manifest::Manifest;
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::{Error, Result};
use modelkeep_remote::folder::failed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{local_path, pack};
use crate::context::Context;
use crate::local::Local;
use crate::log::{self, View};
use crate::pull::{self, destination};
use crate::report::{Step, Wrote};
use crate::store::Store;
use crate::tree;

/// What to bring, and where to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// `PLACE[@REV]`, or the last part of a place's name.
    pub place: String,
    /// The file or folder it becomes; default its path in the workspace.
    pub to: Option<PathBuf>,
    /// Move what stands in the way aside, to `<path>.before-<time>`.
    pub force: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// Where it is shown on the store.
    pub place: Place,
    /// Its content.
    pub revision: RevisionId,
    /// Where it is now.
    #[schemars(with = "String")]
    pub path: PathBuf,
    /// How many files.
    pub files: u64,
    /// All bytes.
    pub size_bytes: u64,
    /// Bytes that came from the store.
    pub fetched_bytes: u64,
    /// Bytes that were here already.
    pub reused_bytes: u64,
    /// What stood in the way, and where it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub moved_aside: Option<PathBuf>,
    /// What would be done (`--dry-run`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Where it came from.
    #[serde(flatten)]
    pub wrote: Wrote,
}

/// Brings one thing.
pub async fn pull(ctx: &Context, request: &Request) -> Result<Report> {
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    let (item, selector) = view.state.filed(&request.place)?;
    let push = item.choose(&selector)?;
    let manifest = tree::manifest(ctx, &store, item, push).await?;
    bring(ctx, &store, &view, item, push, &manifest, request).await
}

/// Brings exactly what a pin says.
pub(crate) async fn pull_pinned(
    ctx: &Context,
    request: &Request,
    revision: &RevisionId,
    manifest: &Manifest,
) -> Result<Report> {
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    let (item, _) = view.state.filed(&request.place)?;
    let of_revision = item.pushes.iter().rev().filter(|push| push.revision == *revision);
    let push = of_revision.min_by_key(|push| push.removed.is_some()).ok_or_else(|| {
        Error::not_found(format!("the pinned revision {} of `{}` is not on this remote", revision.short(), item.name()))
            .hint("modelkeep remote list: is this the store it was pinned from?")
    })?;
    bring(ctx, &store, &view, item, push, manifest, request).await
}

async fn bring(
    ctx: &Context,
    store: &Store,
    view: &View,
    item: &Model,
    push: &Push,
    manifest: &Manifest,
    request: &Request,
) -> Result<Report> {
    let place = item.place.clone().ok_or_else(|| Error::internal("what is filed has a place"))?;
    let shape = push.shape.unwrap_or(Shape::File);
    let to = match &request.to {
        Some(to) => ctx.absolute(to),
        None => crate::placement::workspace_root(ctx).join(local_path(&place, shape)),
    };
    let mut report = Report {
        place,
        revision: push.revision,
        path: to.clone(),
        files: manifest.files().len() as u64,
        size_bytes: manifest.size(),
        fetched_bytes: 0,
        reused_bytes: manifest.size(),
        moved_aside: None,
        steps: Vec::new(),
        wrote: Wrote::to(store, request.dry_run),
    };
    let gather = pull::Request { force: request.force, dry_run: request.dry_run, ..pull::Request::default() };
    if shape == Shape::Folder {
        let brought = pull::bring(ctx, store, view, item, push, manifest, &to, &gather).await?;
        return Ok(report.of(brought));
    }
    let local = store.local(ctx)?;
    let parent = to.parent().unwrap_or(&to).to_owned();
    // Beside where it goes, so that the last step is a rename.
    let holder = parent.join(format!(".modelkeep-file-{}-{}", destination::name_of(&to), push.revision.short()));
    if shape == Shape::File {
        let Some(file) = manifest.files().first() else { return Ok(report) };
        let standing = stand(ctx, local, &to, &file.sha256)?;
        match standing {
            Standing::Right => return Ok(report),
            Standing::Foreign if !request.force => return Err(in_the_way(&to, &report)),
            _ => {}
        }
        if request.dry_run {
            report.steps = vec![Step::new("fetch", to.display().to_string(), "not here").bytes(file.size)];
            return Ok(report);
        }
        let brought = pull::bring(ctx, store, view, item, push, manifest, &holder, &gather).await?;
        if standing == Standing::Foreign {
            report.moved_aside = Some(move_aside(ctx, &to)?);
        }
        let from = holder.join(file.path.as_str());
        fs::rename(&from, &to).map_err(|error| failed("writing", &to, error))?;
        discard(local, &holder)?;
        local.record_pull(&to, [("", &file.sha256)], true)?;
        return Ok(report.of(pull::Report { path: to, ..brought }));
    }
    // A tar is brought whole, and taken apart beside the folder that it becomes.
    if request.dry_run {
        report.steps =
            vec![Step::new("fetch and unpack", to.display().to_string(), "not here").bytes(report.size_bytes)];
        return Ok(report);
    }
    let name = report.place.name().to_owned();
    let brought = pull::bring(ctx, store, view, item, push, manifest, &holder, &gather).await?;
    let inside = pack::contents(&holder, &name)?;
    let standing = destination::stand(ctx, local, &to, &inside)?;
    if !standing.foreign.is_empty() && !request.force {
        return Err(in_the_way(&to, &report));
    }
    if standing.right.len() < inside.files().len() || !standing.ours.is_empty() || !standing.foreign.is_empty() {
        let part = destination::gathering(&to, push);
        destination::remove_whole(&part)?;
        fs::create_dir_all(&part).map_err(|error| failed("creating", &part, error))?;
        pack::unpack(&holder, &name, &part)?;
        report.moved_aside = destination::settle(ctx, &part, &to, &standing)?;
    }
    destination::record(local, &to, &inside)?;
    discard(local, &holder)?;
    report.files = inside.files().len() as u64;
    let (files, aside) = (report.files, report.moved_aside.clone());
    Ok(Report { files, moved_aside: aside, ..report.of(pull::Report { path: to, ..brought }) })
}

impl Report {
    fn of(self, brought: pull::Report) -> Self {
        Self {
            path: brought.path,
            fetched_bytes: brought.fetched_bytes,
            reused_bytes: brought.reused_bytes,
            moved_aside: self.moved_aside.clone().or(brought.moved_aside),
            steps: brought.steps,
            ..self
        }
    }
}

/// What stands where one file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing, or what an earlier pull wrote and nobody changed.
    Free,
    /// The file, as it should be.
    Right,
    /// Somebody's own, or changed since.
    Foreign,
}

fn stand(ctx: &Context, local: &Local, to: &Path, wanted: &Sha256) -> Result<Standing> {
    match fs::symlink_metadata(to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Standing::Free),
        Err(error) => return Err(failed("looking at", to, error)),
        Ok(metadata) if !metadata.is_file() => return Ok(Standing::Foreign),
        Ok(_) => {}
    }
    let mut open = fs::File::open(to).map_err(|error| failed("reading", to, error))?;
    let (_, digest) = modelkeep_remote::folder::copy::hash(&mut open, to, &*ctx.meter())?;
    let ours = local.pulled(to)?.get("").is_some_and(|known| *known == digest);
    Ok(match (digest == *wanted, ours) {
        (true, _) => Standing::Right,
        (false, true) => Standing::Free,
        (false, false) => Standing::Foreign,
    })
}

fn in_the_way(to: &Path, report: &Report) -> Error {
    Error::conflict(format!("{} is there, and no pull wrote it, or it was changed since", to.display()))
        .hint(format!("modelkeep file pull {} --to ANOTHER-PATH, or --force to move it aside", report.place))
}

fn move_aside(ctx: &Context, to: &Path) -> Result<PathBuf> {
    let aside = destination::aside(ctx, to);
    fs::rename(to, &aside).map_err(|error| failed("moving", to, error))?;
    Ok(aside)
}

/// Takes the folder away that the files were brought into.
pub(crate) fn discard(local: &Local, holder: &Path) -> Result<()> {
    destination::remove_whole(holder)?;
    local.record_pull(holder, [], true)
}
