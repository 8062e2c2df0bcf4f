//! Bring a revision here, byte for byte. A pull completes, or leaves the destination as it was.
//!
//! Knows where content can come from: what is at the destination, other local copies, any push on the remote.

pub(crate) mod destination;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use modelkeep_core::digest::{RevisionId, Sha256};
use modelkeep_core::manifest::{FileEntry, Manifest};
use modelkeep_core::name::ModelId;
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::Object;
use modelkeep_remote::folder::failed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::destination::{Standing, clear_strangers, gathering, name_of, record, settle, stand};
use crate::base::{self, Base};
use crate::commit::waits;
use crate::context::{Context, Progress};
use crate::into_cache::{self, Found};
use crate::local::Local;
use crate::log::{self, View};
use crate::observe::{Filter, blocking};
use crate::report::{Step, Wrote};
use crate::room::{self, Wanted};
use crate::rule::Rule;
use crate::store::Store;
use crate::{fetch, host, lock, project, tree};

/// What to bring, and where to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// `MODEL[@REV]`; without, everything in `modelkeep.lock`.
    pub model: Option<String>,
    /// The destination folder; default `models/<id>/<label>`.
    pub to: Option<PathBuf>,
    /// Into a cache instead of a folder of its own.
    pub into: Option<Into>,
    /// Bring its base model too, so that both load with no network.
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

/// A cache that versions are loaded from by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Into {
    /// Hugging Face's: `from_pretrained("NAMESPACE/MODEL")`.
    HfCache,
}

/// What a pull did.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
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
    /// What it is loaded by, when it is in a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Files that stood in the way, and where they are now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub moved_aside: Option<PathBuf>,
    /// The base model's pull, with `--with-base`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Box<Report>>,
    /// The base model's fetch from the Hub, when the store does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_fetched: Option<Box<fetch::Report>>,
    /// What was evicted to make room; with `--dry-run` all that would be done.
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
        if request.into.is_some() {
            return bring_into_cache(ctx, request, &store, &view, &found, &push).await;
        }
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
        match base::bring(ctx, &store, &view, &found, &push, request.dry_run).await? {
            Base::Pulled(base) => report.base = Some(base),
            Base::Fetched(base) => report.base_fetched = Some(base),
        }
    }
    Ok(report)
}

async fn bring_into_cache(
    ctx: &Context,
    request: &Request,
    store: &Arc<Store>,
    view: &View,
    model: &Model,
    push: &Push,
) -> Result<Report> {
    if request.to.is_some() {
        return Err(Error::usage("--to and --into name two destinations").hint("leave one of them out"));
    }
    let found = Found::of(store, view, model, push);
    let wanted = into_cache::Request {
        include: request.include.clone(),
        exclude: request.exclude.clone(),
        dry_run: request.dry_run,
        ..into_cache::Request::default()
    };
    let brought = into_cache::bring(ctx, &found, &wanted).await?;
    Ok(brought.report(&found, request.dry_run))
}

/// The files of a push; where its own folder is gone, as another push of the same content says.
pub(crate) async fn manifest_of(
    ctx: &Context,
    store: &Store,
    view: &View,
    model: &Model,
    push: &Push,
) -> Result<Manifest> {
    let lost = match tree::manifest(ctx, store, model, push).await {
        Err(error) if error.kind() == Kind::Integrity => error,
        other => return other,
    };
    for model in view.state.kept() {
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
    only(manifest, &Filter { include: request.include.clone(), exclude: request.exclude.clone() }, model)
}

/// The files that a filter takes.
pub(crate) fn only(manifest: &Manifest, filter: &Filter, model: &ModelId) -> Result<Manifest> {
    if filter.include.is_empty() && filter.exclude.is_empty() {
        return Ok(manifest.clone());
    }
    let matcher = filter.matcher(Path::new(""))?;
    let taken = manifest.files().iter().filter(|file| !matcher.matched(file.path.as_str(), false).is_ignore());
    Manifest::new(taken.cloned().collect())
        .map_err(|_| Error::not_found("no file of it is asked for").hint(format!("modelkeep show {model}")))
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
        repo: None,
        moved_aside: None,
        base: None,
        base_fetched: None,
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
    let wanted = Wanted {
        what: format!("{}@{}", model.id, push.number),
        bytes: to_come(missing.iter().copied(), &gathering(to, push)),
        budget: None,
        into: to,
        instead: vec![format!("modelkeep pull {} --to DIR on another disk", model.id)],
    };
    report.steps = room::make(ctx, &wanted, request.dry_run).await?;
    if request.dry_run {
        let fetched = missing.iter().map(|file| Step::new("fetch", file.path.as_str(), "not here").bytes(file.size));
        report.steps.extend(
            fetched
                .chain(standing.ours.keys().map(|path| Step::new("remove", path, "of an earlier pull")))
                .chain(standing.foreign.iter().map(|path| Step::new("move aside", path, "not written by a pull"))),
        );
        return Ok(report);
    }
    let part = gathering(to, push);
    fs::create_dir_all(&part).map_err(|error| failed("creating", &part, error))?;
    clear_strangers(&part, manifest)?;
    let fetched = gather(ctx, store, view, model, push, manifest, &standing, &part).await?;
    report.fetched_bytes = fetched;
    report.reused_bytes = report.size_bytes.saturating_sub(fetched);
    report.moved_aside = settle(ctx, &part, to, &standing)?;
    record(local, to, manifest)?;
    Ok(report)
}

/// Ends the name of a file that is being fetched; it is taken up again where it stopped.
const PART: &str = ".modelkeep-part";

/// Bytes of these files that an earlier attempt did not leave in `part`: it counts as used already.
pub(crate) fn to_come<'a>(files: impl IntoIterator<Item = &'a FileEntry>, part: &Path) -> u64 {
    let there = |name: String| fs::metadata(part.join(name)).map_or(0, |metadata| metadata.len());
    let left = |file: &FileEntry| {
        let name = file.path.as_str();
        file.size.saturating_sub(there(name.to_owned()).max(there(format!("{name}{PART}"))))
    };
    files.into_iter().map(left).sum()
}

/// Gathers files of a revision in a folder that nothing stands in; bytes that came from the remote.
pub(crate) async fn gather_in(
    ctx: &Context,
    store: &Store,
    view: &View,
    model: &Model,
    push: &Push,
    manifest: &Manifest,
    part: &Path,
) -> Result<u64> {
    fs::create_dir_all(part).map_err(|error| failed("creating", part, error))?;
    clear_strangers(part, manifest)?;
    gather(ctx, store, view, model, push, manifest, &Standing::default(), part).await
}

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
            .buffer_unordered(store.at_once(ctx))
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
    let same = view.state.of(&model.id).unwrap_or(model);
    let mut same_revision: Vec<&Push> = same.pushes.iter().filter(|other| other.revision == push.revision).collect();
    same_revision.sort_by_key(|other| (other.txn != push.txn, other.removed.is_some()));
    let tried: HashSet<_> = same_revision.iter().map(|other| other.txn).collect();
    for other in same_revision {
        if let Some(found) = tree::find(store, same, other).await? {
            if other.txn == push.txn && is_worth_listing(store, missing) {
                match tree::walk(store, &found.folder.path).await {
                    Err(error) if error.kind() != Kind::NotFound => return Err(error),
                    _ => {}
                }
            }
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
    for model in view.state.kept() {
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

/// Whether the store should be asked once for each folder of a push, where it would be asked once for each file else.
fn is_worth_listing(store: &Store, missing: &[&FileEntry]) -> bool {
    const FEW: usize = 20;
    let able = store.remote.capabilities();
    let folders: HashSet<&str> =
        missing.iter().map(|file| file.path.as_str().rsplit_once('/').map_or("", |(folder, _)| folder)).collect();
    able.ids && !able.cheap_reads && missing.len() > FEW && folders.len() * 4 < missing.len()
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
