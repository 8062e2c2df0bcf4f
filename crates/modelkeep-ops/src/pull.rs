//! Bring a revision here, byte for byte. A pull completes, or leaves the destination as it was.
//!
//! Knows where content can come from: what is at the destination, other local copies, any push on the remote.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use modelkeep_core::digest::{RevisionId, Sha256};
use modelkeep_core::manifest::{FileEntry, Manifest};
use modelkeep_core::name::ModelId;
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::size::ByteSize;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::Object;
use modelkeep_remote::folder::failed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::{Context, Progress};
use crate::local::{Local, Stat};
use crate::log::{self, View};
use crate::observe::{Filter, blocking};
use crate::push::waits;
use crate::report::{Step, Wrote};
use crate::rule::Rule;
use crate::store::Store;
use crate::{host, lock, project, tree};

/// What to bring, and where to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// `MODEL[@REV]`; without, everything in `modelkeep.lock`.
    pub model: Option<String>,
    /// The destination folder; default `models/<id>/<label>`.
    pub to: Option<PathBuf>,
    /// Bring its base model too.
    pub with_base: bool,
    /// Move files that stand in the way aside, to `<dir>.before-<time>`.
    pub force: bool,
    /// Only files that match one of these, when there are any.
    pub include: Vec<String>,
    /// No file that matches one of these.
    pub exclude: Vec<String>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What a pull did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// The model.
    pub model: ModelId,
    /// Its content.
    pub revision: RevisionId,
    /// Where it is.
    #[schemars(with = "String")]
    pub path: PathBuf,
    /// How many files.
    pub files: u64,
    /// All bytes.
    pub size_bytes: u64,
    /// Bytes that came from the remote.
    pub fetched_bytes: u64,
    /// Bytes that were here already.
    pub reused_bytes: u64,
    /// Files that stood in the way, and where they are now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub moved_aside: Option<PathBuf>,
    /// The base model's pull, with `--with-base`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Box<Report>>,
    /// What would be done (`--dry-run`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Where it came from.
    #[serde(flatten)]
    pub wrote: Wrote,
}

/// Pulls one model.
pub async fn pull(ctx: &Context, request: &Request, model: &str) -> Result<Report> {
    let store = ctx.store().await?;
    let mut view = log::refresh(ctx, &store).await?;
    let reference: modelkeep_core::name::ModelRef = model.parse()?;
    let (found, push) = view.state.resolve(&reference)?;
    let (found, push) = (found.clone(), push.clone());
    let to = destination(ctx, request, &found, &reference.selector.to_string());
    let brought = async {
        let manifest = manifest_of(ctx, &store, &view, &found, &push).await?;
        let manifest = filtered(&manifest, request, &found.id)?;
        bring(ctx, &store, &view, &found, &push, &manifest, &to, request).await
    };
    let mut report = match brought.await {
        Err(error) if error.kind() == Kind::Integrity => {
            return Err(match tree::spoilt_marker(&store, &found, &push).await? {
                Some(marker) => error.because(marker),
                None => error,
            });
        }
        other => other?,
    };
    if !request.dry_run {
        report_use(ctx, &store, &mut view, &found.id).await?;
    }
    if request.with_base {
        let name = found.describe(&push).base_model.ok_or_else(|| {
            Error::not_found(format!("`{}` names no base model", found.id))
                .hint(format!("modelkeep set {} base_model=MODEL", found.id))
        })?;
        let base = view.state.base_name(&name);
        let model = view.state.model(&base).map_err(|error| error.hint(format!("modelkeep fetch {name} --store")))?;
        let plain = Request { model: Some(base.clone()), dry_run: request.dry_run, ..Request::default() };
        report.base = Some(Box::new(Box::pin(pull(ctx, &plain, model.id.as_str())).await?));
    }
    Ok(report)
}

/// The files of a push; where its own folder is gone, as another push of the same content says.
async fn manifest_of(ctx: &Context, store: &Store, view: &View, model: &Model, push: &Push) -> Result<Manifest> {
    let lost = match tree::manifest(ctx, store, model, push).await {
        Err(error) if error.kind() == Kind::Integrity => error,
        other => return other,
    };
    for model in view.state.models.values() {
        for other in model.pushes.iter().filter(|other| other.revision == push.revision && other.txn != push.txn) {
            if let Ok(manifest) = tree::manifest(ctx, store, model, other).await {
                return Ok(manifest);
            }
        }
    }
    Err(lost)
}

/// Pulls exactly what a pin says: its files are checked against the lock file, not against what the remote claims.
pub(crate) async fn pull_pinned(
    ctx: &Context,
    request: &Request,
    model: &ModelId,
    revision: &RevisionId,
    manifest: &Manifest,
) -> Result<Report> {
    let store = ctx.store().await?;
    let mut view = log::refresh(ctx, &store).await?;
    let found = view.state.model(model.as_str())?.clone();
    let of_revision = found.pushes.iter().rev().filter(|push| push.revision == *revision);
    let push = of_revision.min_by_key(|push| push.removed.is_some()).cloned().ok_or_else(|| {
        Error::not_found(format!("the pinned revision {} of `{model}` is not on this remote", revision.short()))
            .hint("modelkeep remote list: is this the store it was pinned from?")
    })?;
    let to = request.to.clone().unwrap_or_else(|| destination(ctx, request, &found, "latest"));
    let manifest = filtered(manifest, request, model)?;
    let report = bring(ctx, &store, &view, &found, &push, &manifest, &to, request).await?;
    if !request.dry_run {
        report_use(ctx, &store, &mut view, model).await?;
    }
    Ok(report)
}

/// Says that this machine holds and uses the model; the registry shows it.
async fn report_use(ctx: &Context, store: &Store, view: &mut View, model: &ModelId) -> Result<()> {
    if host::used(ctx, store, view, model, Some(true)).await? {
        project::after(ctx, store, view, &[]).await?;
    }
    Ok(())
}

fn destination(ctx: &Context, request: &Request, model: &Model, label: &str) -> PathBuf {
    if let Some(to) = &request.to {
        return ctx.absolute(to);
    }
    let root = ctx.workspace.as_ref().map_or(ctx.env.cwd.as_path(), |workspace| &workspace.root);
    root.join("models").join(model.id.as_str()).join(label)
}

fn filtered(manifest: &Manifest, request: &Request, model: &ModelId) -> Result<Manifest> {
    if request.include.is_empty() && request.exclude.is_empty() {
        return Ok(manifest.clone());
    }
    let filter = Filter { include: request.include.clone(), exclude: request.exclude.clone() };
    let matcher = filter.matcher(Path::new(""))?;
    let taken = manifest.files().iter().filter(|file| !matcher.matched(file.path.as_str(), false).is_ignore());
    Manifest::new(taken.cloned().collect())
        .map_err(|_| Error::not_found("no file of it is asked for").hint(format!("modelkeep show {model}")))
}

/// What stands at the destination.
#[derive(Debug, Default)]
struct Standing {
    /// Files that are as they should be, by path.
    right: BTreeMap<String, PathBuf>,
    /// Files that an earlier pull wrote and nobody changed: replaced or removed.
    ours: BTreeMap<String, (PathBuf, Sha256)>,
    /// Files of somebody's own, or changed since: never touched without `--force`.
    foreign: Vec<String>,
    /// Whether it is there at all.
    exists: bool,
}

/// Brings the files of a revision to `to`.
#[allow(clippy::too_many_arguments)]
pub(crate) async fn bring(
    ctx: &Context,
    store: &Store,
    view: &View,
    model: &Model,
    push: &Push,
    manifest: &Manifest,
    to: &Path,
    request: &Request,
) -> Result<Report> {
    let local = store.local(ctx)?;
    let parent = to.parent().unwrap_or(to);
    let mut _alone = None;
    if !request.dry_run {
        fs::create_dir_all(parent).map_err(|error| failed("creating", parent, error))?;
        let place = parent.canonicalize().unwrap_or_else(|_| parent.to_owned()).join(name_of(to));
        let who = format!("another pull to {} is at work", to.display());
        _alone = Some(lock::hold(ctx, local.folder(), &format!("pull {}", place.display()), &who).await?);
    }
    let standing = stand(ctx, local, to, manifest)?;
    if !standing.foreign.is_empty() && !request.force {
        let shown = standing.foreign.iter().take(5).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let more = standing.foreign.len().saturating_sub(5);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Err(Error::conflict(format!(
            "{} holds files that no pull wrote, or that were changed since: {shown}{more}",
            to.display()
        ))
        .hint(format!("modelkeep pull {} --to ANOTHER-FOLDER, or --force to move them aside", model.id)));
    }
    let mut report = Report {
        model: model.id.clone(),
        revision: push.revision,
        path: to.to_owned(),
        files: manifest.files().len() as u64,
        size_bytes: manifest.size(),
        fetched_bytes: 0,
        reused_bytes: 0,
        moved_aside: None,
        base: None,
        steps: Vec::new(),
        wrote: Wrote::to(store, request.dry_run),
    };
    let done =
        standing.right.len() == manifest.files().len() && standing.ours.is_empty() && standing.foreign.is_empty();
    if done {
        report.reused_bytes = report.size_bytes;
        if !request.dry_run {
            record(local, to, manifest)?;
        }
        return Ok(report);
    }
    let missing: Vec<&FileEntry> =
        manifest.files().iter().filter(|file| !standing.right.contains_key(file.path.as_str())).collect();
    if request.dry_run {
        report.steps = missing
            .iter()
            .map(|file| Step::new("fetch", file.path.as_str(), "not here").bytes(file.size))
            .chain(standing.ours.keys().map(|path| Step::new("remove", path, "of an earlier pull")))
            .chain(standing.foreign.iter().map(|path| Step::new("move aside", path, "not written by a pull")))
            .collect();
        return Ok(report);
    }
    check_space(parent, missing.iter().map(|file| file.size).sum())?;
    let part = parent.join(format!(".modelkeep-pull-{}-{}", name_of(to), push.revision.short()));
    fs::create_dir_all(&part).map_err(|error| failed("creating", &part, error))?;
    clear_strangers(&part, manifest)?;
    let fetched = gather(ctx, store, view, model, push, manifest, &standing, &part).await?;
    report.fetched_bytes = fetched;
    report.reused_bytes = report.size_bytes.saturating_sub(fetched);
    report.moved_aside = settle(ctx, &part, to, &standing)?;
    record(local, to, manifest)?;
    Ok(report)
}

/// The last part of a path, to be part of another name: one that would be too long then is told by its digest.
fn name_of(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.len() > LONG { Sha256::of(name.as_bytes()).to_string() } else { name }
}

/// File systems take names of 255 bytes; ours add up to 60.
const LONG: usize = 190;

/// Notes what stands at the destination now, so that the next pull may replace it and a push need not read it.
fn record(local: &Local, to: &Path, manifest: &Manifest) -> Result<()> {
    local.record_pull(to, manifest.files().iter().map(|file| (file.path.as_str(), &file.sha256)), true)?;
    let hashes: Vec<_> = manifest
        .files()
        .iter()
        .filter_map(|file| {
            let path = to.join(file.path.as_str());
            let stat = Stat::of(&fs::metadata(&path).ok()?);
            Some((path.canonicalize().ok()?, stat, file.sha256))
        })
        .collect();
    local.remember_hashes(&hashes)
}

/// Looks at the destination: what is right already, what a pull wrote, what is somebody's own.
fn stand(ctx: &Context, local: &Local, to: &Path, manifest: &Manifest) -> Result<Standing> {
    let mut standing = Standing::default();
    match fs::symlink_metadata(to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(standing),
        Err(error) => return Err(failed("looking at", to, error)),
        Ok(metadata) if !metadata.is_dir() => {
            return Err(Error::conflict(format!("{} is no folder", to.display())).hint("--to ANOTHER-FOLDER"));
        }
        Ok(_) => standing.exists = true,
    }
    let pulled = local.pulled(to)?;
    let known = local.hashes_below(&to.canonicalize().unwrap_or_else(|_| to.to_owned()))?;
    for path in files_below(to)? {
        let below = path.strip_prefix(to).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        let metadata = fs::symlink_metadata(&path).map_err(|error| failed("looking at", &path, error))?;
        let wanted = manifest.get(&below);
        // Only what could be ours or wanted is worth hashing.
        let could_be = metadata.is_file()
            && (wanted.is_some_and(|file| file.size == metadata.len()) || pulled.contains_key(&below));
        let digest = if could_be { Some(digest_of(ctx, &path, &metadata, &known)?) } else { None };
        match (digest, wanted) {
            (Some(digest), Some(file)) if digest == file.sha256 && metadata.len() == file.size => {
                standing.right.insert(below, path);
            }
            (Some(digest), _) if pulled.get(&below) == Some(&digest) => {
                standing.ours.insert(below, (path, digest));
            }
            _ => standing.foreign.push(below),
        }
    }
    standing.foreign.sort();
    Ok(standing)
}

fn digest_of(
    ctx: &Context,
    path: &Path,
    metadata: &fs::Metadata,
    known: &HashMap<PathBuf, (Stat, Sha256)>,
) -> Result<Sha256> {
    let stat = Stat::of(metadata);
    let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if let Some((known, digest)) = known.get(&canonical)
        && *known == stat
    {
        return Ok(*digest);
    }
    let mut file = fs::File::open(path).map_err(|error| failed("reading", path, error))?;
    let (_, digest) = modelkeep_remote::folder::copy::hash(&mut file, path, &*ctx.meter())?;
    Ok(digest)
}

/// Everything below a folder that is no folder.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| failed("listing", &folder, error))? {
            let entry = entry.map_err(|error| failed("listing", &folder, error))?;
            let kind = entry.file_type().map_err(|error| failed("listing", &folder, error))?;
            if kind.is_dir() { open.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    Ok(found)
}

/// Takes away what an earlier attempt left in the folder being built that does not belong to this revision.
fn clear_strangers(part: &Path, manifest: &Manifest) -> Result<()> {
    let wanted = manifest.files().iter().map(|file| part.join(file.path.as_str()));
    let known: HashSet<PathBuf> = wanted.flat_map(|path| [part_of(&path), path]).collect();
    for path in files_below(part)? {
        if !known.contains(&path) {
            fs::remove_file(&path).map_err(|error| failed("removing", &path, error))?;
        }
    }
    Ok(())
}

fn check_space(folder: &Path, needed: u64) -> Result<()> {
    #[cfg(unix)]
    if let Ok(stat) = rustix::fs::statvfs(folder) {
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < needed {
            return Err(Error::local(format!(
                "{} has {} free, and {} are needed",
                folder.display(),
                ByteSize(free),
                ByteSize(needed)
            ))
            .hint("free some space, or pull to another disk with --to"));
        }
    }
    #[cfg(not(unix))]
    let _ = (folder, needed);
    Ok(())
}

/// Ends the name of a file that is being fetched; it is taken up again where it stopped.
const PART: &str = ".modelkeep-part";

/// Gathers every file of the revision in `part`; bytes that came from the remote.
#[allow(clippy::too_many_arguments)]
async fn gather(
    ctx: &Context,
    store: &Store,
    view: &View,
    model: &Model,
    push: &Push,
    manifest: &Manifest,
    standing: &Standing,
    part: &Path,
) -> Result<u64> {
    ctx.observer.tell(Progress::Stage { name: "fetching", bytes: Some(manifest.size()) });
    let mut fetched = 0;
    let mut missing = Vec::new();
    for file in manifest.files() {
        if !here_already(ctx, store.local(ctx)?, standing, file, part).await? {
            missing.push(file);
        }
    }
    let trouble = Mutex::new(None);
    let mut rounds = waits(store.remote.capabilities().late_listings && !store.remote.capabilities().ids);
    let mut before = None;
    let mut view = view.clone();
    while !missing.is_empty() {
        ctx.check_stop()?;
        let places = places(ctx, store, &view, model, push, &missing, before.is_some()).await?;
        let results = stream::iter(&missing)
            .map(async |file| Ok::<_, Error>((*file, fetch(ctx, store, file, &places, part, &trouble).await?)))
            .buffer_unordered(ctx.jobs)
            .try_collect::<Vec<_>>()
            .await?;
        fetched += results.iter().filter_map(|(_, bytes)| *bytes).sum::<u64>();
        missing = results.iter().filter(|(_, bytes)| bytes.is_none()).map(|(file, _)| *file).collect();
        if missing.is_empty() {
            break;
        }
        // A folder may have moved between the look and the reading. Only when a whole round saw what the round before
        // saw is it damage.
        view = log::refresh(ctx, store).await?;
        let seen = (view.names.clone(), places.fingerprint());
        if !store.keeps(Rule::PullGoesRound) {
            return Err(damaged(model, push, &missing, trouble));
        }
        if before.replace(seen.clone()) == Some(seen) {
            match rounds.next() {
                Some(wait) if !wait.is_zero() => tokio::time::sleep(wait).await,
                Some(_) => {}
                None => return Err(damaged(model, push, &missing, trouble)),
            }
        }
    }
    Ok(fetched)
}

fn damaged(model: &Model, push: &Push, missing: &[&FileEntry], trouble: Mutex<Option<Error>>) -> Error {
    // It may be there, but the disk under it, or the one here, does not do its work.
    if let Some(error) = trouble.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return error;
    }
    let names: Vec<String> = missing.iter().take(5).map(|file| format!("`{}`", file.path)).collect();
    Error::integrity(format!(
        "{}@{} is damaged on the remote: {} cannot be had with the right content",
        model.id,
        push.number,
        names.join(", ")
    ))
    .hint(format!("modelkeep verify {} --deep", model.id))
}

/// Takes a file from what is on this machine, if it is.
async fn here_already(
    ctx: &Context,
    local: &Local,
    standing: &Standing,
    file: &FileEntry,
    part: &Path,
) -> Result<bool> {
    let target = part.join(file.path.as_str());
    if let Ok(metadata) = fs::symlink_metadata(&target)
        && metadata.len() == file.size
    {
        // An earlier attempt brought it; it was checked before it got this name, and is checked again.
        let digest = hash_path(ctx, &target).await?;
        if digest == file.sha256 {
            return Ok(true);
        }
        fs::remove_file(&target).map_err(|error| failed("removing", &target, error))?;
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(|error| failed("creating", parent, error))?;
    }
    // What stands at the destination is linked, not copied: the old folder goes away in a moment.
    let standing_here = standing.right.get(file.path.as_str()).into_iter().cloned();
    let moved = standing.ours.values().filter(|(_, digest)| *digest == file.sha256).map(|(path, _)| path.clone());
    for path in standing_here.chain(moved) {
        if fs::hard_link(&path, &target).is_ok() || copy_checked(ctx, &path, &target, file).await? {
            return Ok(true);
        }
    }
    if file.size == 0 {
        return Ok(false);
    }
    for path in local.copies_of(&file.sha256)? {
        if copy_checked(ctx, &path, &target, file).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn hash_path(ctx: &Context, path: &Path) -> Result<Sha256> {
    let (path, meter) = (path.to_owned(), ctx.meter());
    blocking(move || {
        let mut file = fs::File::open(&path).map_err(|error| failed("reading", &path, error))?;
        Ok(modelkeep_remote::folder::copy::hash(&mut file, &path, &*meter)?.1)
    })
    .await
}

/// Copies a local file, if it is what it should be.
async fn copy_checked(ctx: &Context, from: &Path, to: &Path, file: &FileEntry) -> Result<bool> {
    let (from, to, meter) = (from.to_owned(), to.to_owned(), ctx.meter());
    let (size, sha256) = (file.size, file.sha256);
    blocking(move || {
        let Ok(source) = fs::File::open(&from) else { return Ok(false) };
        let part = part_of(&to);
        let mut target = fs::File::create(&part).map_err(|error| failed("writing", &part, error))?;
        let copied = modelkeep_remote::folder::copy::copy_and_hash(source, &from, &mut target, &part, &*meter)?;
        if copied != (size, sha256) {
            let _ = fs::remove_file(&part);
            return Ok(false);
        }
        fs::rename(&part, &to).map_err(|error| failed("writing", &to, error))?;
        Ok(true)
    })
    .await
}

fn part_of(path: &Path) -> PathBuf {
    path.with_file_name(format!("{}{PART}", name_of(path)))
}

/// Where on the remote each missing content can be read.
struct Places(BTreeMap<Sha256, Vec<Object>>);

impl Places {
    fn fingerprint(&self) -> Vec<(Sha256, Vec<Object>)> {
        self.0.iter().map(|(digest, objects)| (*digest, objects.clone())).collect()
    }
}

/// First this model's pushes of this revision; then, for what they do not name or (`everywhere`) did not give, any
/// push that holds the content.
async fn places(
    ctx: &Context,
    store: &Store,
    view: &View,
    model: &Model,
    push: &Push,
    missing: &[&FileEntry],
    everywhere: bool,
) -> Result<Places> {
    let mut places: BTreeMap<Sha256, Vec<Object>> = missing.iter().map(|file| (file.sha256, Vec::new())).collect();
    let same = view.state.models.get(&model.id).unwrap_or(model);
    let mut same_revision: Vec<&Push> = same.pushes.iter().filter(|other| other.revision == push.revision).collect();
    same_revision.sort_by_key(|other| (other.txn != push.txn, other.removed.is_some()));
    let tried: HashSet<_> = same_revision.iter().map(|other| other.txn).collect();
    for other in same_revision {
        if let Some(found) = tree::find(store, same, other).await? {
            for file in found.marker.files.files() {
                if let Some(objects) = places.get_mut(&file.sha256) {
                    objects.push(found.file(&file.path));
                }
            }
        }
    }
    // What stands there may be damaged: from the second round on, every place counts.
    if !everywhere && places.values().all(|objects| !objects.is_empty()) {
        return Ok(Places(places));
    }
    for model in view.state.models.values() {
        for other in model.pushes.iter().filter(|other| !tried.contains(&other.txn)) {
            let Ok(manifest) = tree::manifest(ctx, store, model, other).await else { continue };
            let lacks = |objects: &Vec<Object>| everywhere || objects.is_empty();
            let holds = manifest.files().iter().any(|file| places.get(&file.sha256).is_some_and(lacks));
            if holds && let Some(found) = tree::find(store, model, other).await? {
                for file in found.marker.files.files() {
                    if let Some(objects) = places.get_mut(&file.sha256) {
                        objects.push(found.file(&file.path));
                    }
                }
            }
        }
    }
    Ok(Places(places))
}

/// Fetches one file, checked; `None` when no place has it with the right content.
async fn fetch(
    ctx: &Context,
    store: &Store,
    file: &FileEntry,
    places: &Places,
    part: &Path,
    trouble: &Mutex<Option<Error>>,
) -> Result<Option<u64>> {
    ctx.check_stop()?;
    let target = part.join(file.path.as_str());
    let partial = part_of(&target);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(|error| failed("creating", parent, error))?;
    }
    for object in places.0.get(&file.sha256).into_iter().flatten() {
        match store.remote.fetch(object, &partial, ctx.meter()).await {
            Ok(got) if got.sha256 == file.sha256 && got.size == file.size => {
                fs::rename(&partial, &target).map_err(|error| failed("writing", &target, error))?;
                return Ok(Some(got.fetched));
            }
            // Wrong bytes are no beginning of the right ones.
            Ok(_) => drop(fs::remove_file(&partial)),
            Err(error) if error.kind() == Kind::Integrity => drop(fs::remove_file(&partial)),
            Err(error) if error.kind() == Kind::NotFound => {}
            // A bad sector, a file that one may not read: another copy may do.
            Err(error) if matches!(error.kind(), Kind::Local | Kind::Auth) => {
                *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Puts the finished folder in place of the old one; where foreign files went, when they had to.
fn settle(ctx: &Context, part: &Path, to: &Path, standing: &Standing) -> Result<Option<PathBuf>> {
    flush(part)?;
    if !standing.exists {
        fs::rename(part, to).map_err(|error| failed("writing", to, error))?;
        return Ok(None);
    }
    if ctx.env.cwd.starts_with(to.canonicalize().unwrap_or_else(|_| to.to_owned())) {
        return settle_in_place(ctx, part, to, standing);
    }
    if standing.foreign.is_empty() {
        let old = part.with_file_name(format!("{}.old", name_of(part)));
        // All that a killed pull can have left there is what pulls wrote.
        remove_whole(&old)?;
        exchange_or_move(part, to, &old)?;
        remove_whole(&old)?;
        return Ok(None);
    }
    // What is somebody's own has its last name from the moment it is out of the way.
    let aside = aside(ctx, to);
    exchange_or_move(part, to, &aside)?;
    // Only that is kept; what pulls wrote can be had again.
    for below in standing.right.keys().chain(standing.ours.keys()) {
        let _ = fs::remove_file(aside.join(below));
    }
    remove_empty_folders(&aside);
    Ok(Some(aside))
}

fn remove_whole(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("removing", folder, error)),
        _ => Ok(()),
    }
}

fn aside(ctx: &Context, to: &Path) -> PathBuf {
    to.with_file_name(format!("{}.before-{}", name_of(to), ctx.now().strftime("%Y%m%dT%H%M%SZ")))
}

/// The folder somebody stands in cannot be swapped under their feet: its files are replaced one by one.
fn settle_in_place(ctx: &Context, part: &Path, to: &Path, standing: &Standing) -> Result<Option<PathBuf>> {
    let moved = if standing.foreign.is_empty() { None } else { Some(aside(ctx, to)) };
    let place = |from: &Path, to: &Path| {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(|error| failed("creating", parent, error))?;
        }
        fs::rename(from, to).map_err(|error| failed("writing", to, error))
    };
    if let Some(moved) = &moved {
        for below in &standing.foreign {
            place(&to.join(below), &moved.join(below))?;
        }
    }
    for path in files_below(part)? {
        place(&path, &to.join(path.strip_prefix(part).unwrap_or(&path)))?;
    }
    for (below, (path, _)) in &standing.ours {
        if !part.join(below).exists() && path.exists() && !standing.right.contains_key(below) {
            // Replaced ones were renamed over; only what the new revision does not have is left.
            let replaced = fs::symlink_metadata(to.join(below)).is_ok();
            if replaced && !kept(part, below) {
                let _ = fs::remove_file(path);
            }
        }
    }
    remove_empty_folders(to);
    let _ = fs::remove_dir_all(part);
    Ok(moved)
}

fn kept(part: &Path, below: &str) -> bool {
    part.join(below).exists()
}

/// Puts `part` in the place of `to`, which becomes `old`. Where the system can, nobody ever sees the place empty.
fn exchange_or_move(part: &Path, to: &Path, old: &Path) -> Result<()> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags};
        fs::rename(part, old).map_err(|error| failed("moving", part, error))?;
        if rustix::fs::renameat_with(CWD, old, CWD, to, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
        fs::rename(old, part).map_err(|error| failed("moving", old, error))?;
    }
    fs::rename(to, old).map_err(|error| failed("moving", to, error))?;
    fs::rename(part, to).map_err(|error| failed("writing", to, error))
}

fn remove_empty_folders(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty_folders(&entry.path());
            // Only an empty one goes.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// One flush for all files, so that a name never stands for bytes that a power cut would take.
fn flush(folder: &Path) -> Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Ok(open) = fs::File::open(folder)
        && rustix::fs::syncfs(open).is_ok()
    {
        return Ok(());
    }
    for path in files_below(folder)? {
        fs::File::open(&path).and_then(|file| file.sync_all()).map_err(|error| failed("flushing", &path, error))?;
    }
    Ok(())
}
