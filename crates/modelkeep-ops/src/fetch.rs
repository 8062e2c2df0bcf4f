//! Bring a base model from the Hub into Hugging Face's cache, and with `store` on to the remote.
//!
//! Knows which files are worth bringing and where else a model may be had. Does not know HTTP or the cache's layout.

mod files;
mod store;
mod stream;

use std::collections::BTreeSet;
use std::path::PathBuf;

use futures_util::{StreamExt as _, TryStreamExt as _, stream as futures};
use modelkeep_core::choice::{LeftOut, left_out};
use modelkeep_core::name::ModelId;
use modelkeep_core::size::ByteSize;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_hub::blob::BlobId;
use modelkeep_hub::cache::{CacheFile, Held, PROBED, RepoDir};
use modelkeep_hub::client::{Hub, Place};
use modelkeep_hub::fetch;
use modelkeep_hub::repo::{Commit, RepoId};
use modelkeep_hub::wire::TreeEntry;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::files::Listed;
use crate::cache::used;
use crate::context::{Context, Progress};
use crate::observe::Filter;
use crate::report::Step;
use crate::room::{self, Wanted};
use crate::{hub, into_cache, pull, push};

/// What to bring.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// `NAMESPACE/NAME[@REVISION]`; without a revision, `main`.
    pub repo: String,
    /// The model's id on the remote; the last part of the repository's name otherwise.
    pub id: Option<String>,
    /// Put it on the remote too, as a base model.
    pub store: bool,
    /// From the Hub to the remote, with nothing kept here.
    pub stream: bool,
    /// Only files that match one of these; without, one format of weights and what belongs to it.
    pub include: Vec<String>,
    /// No file that matches one of these.
    pub exclude: Vec<String>,
    /// The budget for base models, for once.
    pub budget: Option<ByteSize>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Loaders are to find it without naming a revision, where they find nothing now: an adapter asks so for its base.
    #[serde(skip)]
    pub as_main: bool,
}

/// Where the files came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The Hub said what the revision is; what was missing came from there.
    Hub,
    /// All of it was here, and nobody was asked or could be.
    Cache,
    /// The remote's own copy.
    Remote,
}

/// What a fetch did.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// The repository.
    pub repo: String,
    /// The revision as it was asked for.
    pub revision: String,
    /// What that is.
    pub commit: String,
    /// Where it is; null when nothing is kept here.
    #[schemars(with = "Option<String>")]
    pub path: Option<PathBuf>,
    /// How many files.
    pub files: u64,
    /// All bytes of them.
    pub size_bytes: u64,
    /// Bytes that came just now.
    pub fetched_bytes: u64,
    /// Bytes that were here already.
    pub reused_bytes: u64,
    /// Where they came from.
    pub source: Source,
    /// Its licence, as its card says.
    pub license: Option<String>,
    /// Files of the repository that are not brought.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// What was done beside, or would be (`dry_run`): files that come, what goes to make room.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Its push to the remote (`store`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<push::Report>,
    /// Nothing was done, only planned.
    pub dry_run: bool,
}

/// What is asked for, parsed.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub repo: RepoId,
    /// `None`: the default branch.
    pub revision: Option<String>,
}

impl Asked {
    /// `NAMESPACE/NAME[@REVISION]`.
    pub fn parse(text: &str) -> Result<Self> {
        let (repo, revision) = text.split_once('@').map_or((text, None), |(repo, revision)| (repo, Some(revision)));
        let empty = revision.is_some_and(str::is_empty);
        if empty {
            return Err(Error::usage(format!("`{text}` names no revision")).hint(format!("modelkeep fetch {repo}")));
        }
        Ok(Self { repo: repo.parse()?, revision: revision.map(str::to_owned) })
    }

    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }
}

const MAIN: &str = "main";

/// What the Hub, or the cache in its place, says of a repository at a revision.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub asked: Asked,
    pub commit: Commit,
    /// All its files.
    pub tree: Vec<TreeEntry>,
    pub license: Option<String>,
    pub source: Source,
}

/// Brings a model.
pub async fn fetch(ctx: &Context, request: &Request) -> Result<Report> {
    let asked = Asked::parse(&request.repo)?;
    if request.stream && !request.store {
        return Err(Error::usage("--stream keeps nothing here, so the model has to be stored")
            .hint(format!("modelkeep fetch {} --store --stream", request.repo)));
    }
    if request.id.is_some() && !request.store {
        return Err(Error::usage("--id names the model on the remote, and it is not to be stored there")
            .hint(format!("modelkeep fetch {} --store --id ID", request.repo)));
    }
    let id = if request.store { Some(store::id_of(request, &asked.repo)?) } else { None };
    let dir = hub::repo_dir(ctx, &asked.repo)?;
    let opened = hub::open(ctx)?;
    let (snapshot, trouble) = match look(ctx, opened.as_ref(), &dir, &asked, request.store).await? {
        Looked::Found(snapshot) => (snapshot, None),
        Looked::Here(snapshot, trouble) => (snapshot, Some(trouble)),
        Looked::Nowhere(trouble) => return from_remote(ctx, request, &asked, trouble).await,
    };
    let chosen = choose(request, &snapshot)?;
    if let Some(id) = &id {
        // Said before gigabytes come, not after.
        store::check_free(ctx, id, &asked.repo).await?;
        if request.stream {
            let hub = opened.ok_or_else(|| hub::offline(asked.repo.as_str()))?;
            return stream::stream(ctx, request, &hub, &dir, &snapshot, &chosen, id).await;
        }
    }
    let Brought { mut report, fresh, held: _held } =
        match bring(ctx, request, opened.as_ref(), &dir, &snapshot, &chosen).await {
            Err(error) if elsewhere(&error) => return from_remote(ctx, request, &asked, error).await,
            // Not all of it is here, and nobody could be asked.
            Err(error) => return Err(trouble.unwrap_or(error)),
            Ok(done) => done,
        };
    match id {
        Some(id) if request.dry_run => {
            report.steps.push(Step::new("store", id.as_str(), "--store").bytes(report.size_bytes));
        }
        Some(id) => report.stored = Some(store::store(ctx, &dir, &snapshot, &chosen, &fresh, &id).await?),
        None => {}
    }
    Ok(report)
}

enum Looked {
    /// As the Hub says.
    Found(Snapshot),
    /// The Hub did not say; the cache knows it from an earlier time.
    Here(Snapshot, Error),
    /// Nobody here knows it.
    Nowhere(Error),
}

/// Whether it may be had from somebody else: the Hub cannot be reached, or does not give it to us.
fn elsewhere(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Auth | Kind::NotFound)
}

/// What the revision is, and which files it has; with `card` what its card says too, which the cache does not know.
async fn look(ctx: &Context, hub: Option<&Hub>, dir: &RepoDir, asked: &Asked, card: bool) -> Result<Looked> {
    let cached = |source: Source| {
        let commit = dir.commit_of(asked.revision())?;
        let tree = dir.tree(&commit)?;
        Some(Snapshot { asked: asked.clone(), commit, tree, license: None, source })
    };
    let Some(hub) = hub else {
        let trouble = hub::offline(asked.repo.as_str());
        return Ok(cached(Source::Cache)
            .map_or(Looked::Nowhere(trouble), |snapshot| Looked::Here(snapshot, hub::offline(asked.repo.as_str()))));
    };
    let commit = asked.revision.as_ref().and_then(|revision| revision.parse::<Commit>().ok());
    if !card
        && commit.is_some_and(|commit| dir.tree(&commit).is_some())
        && let Some(snapshot) = cached(Source::Cache)
    {
        // A commit never changes: nobody need be asked what it is.
        return Ok(Looked::Found(snapshot));
    }
    let asking = async {
        let info = hub.info(&asked.repo, asked.revision.as_deref()).await?;
        // A commit never changes, and neither does its list.
        let tree = match dir.tree(&info.sha) {
            Some(tree) => tree,
            None => hub.tree(&asked.repo, &info.sha).await?,
        };
        let license = info.licence().map(str::to_owned);
        Ok(Snapshot { asked: asked.clone(), commit: info.sha, tree, license, source: Source::Hub })
    };
    match asking.await {
        Ok(snapshot) => Ok(Looked::Found(snapshot)),
        Err(error) if elsewhere(&error) => Ok(match cached(Source::Cache) {
            Some(snapshot) => {
                ctx.warn(format!("{}; looking at what is here", error.full_message()));
                Looked::Here(snapshot, error)
            }
            None => Looked::Nowhere(error),
        }),
        Err(error) => Err(error),
    }
}

/// Which files are brought, and which are not.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub files: Vec<Listed>,
    pub left_out: Vec<LeftOut>,
}

impl Chosen {
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

fn choose(request: &Request, snapshot: &Snapshot) -> Result<Chosen> {
    let listed = files::listed(&snapshot.tree)?;
    let filter = Filter { include: request.include.clone(), exclude: request.exclude.clone() };
    let matcher = filter.matcher(std::path::Path::new(""))?;
    let reason = if request.include.is_empty() { "--exclude" } else { "not asked for with --include" };
    let (unwanted, wanted): (Vec<Listed>, Vec<Listed>) =
        listed.into_iter().partition(|file| matcher.matched(file.path.as_str(), false).is_ignore());
    let unwanted =
        unwanted.into_iter().map(|file| LeftOut { path: file.path, size_bytes: file.size, reason: reason.to_owned() });
    let mut left: Vec<LeftOut> = unwanted.collect();
    // Of what is left: without safetensors, the next best format is the best one.
    if request.include.is_empty() {
        left.extend(left_out(wanted.iter().map(|file| (file.path.as_str(), file.size))));
    }
    let files: Vec<Listed> =
        wanted.into_iter().filter(|file| !left.iter().any(|left| left.path == file.path)).collect();
    left.sort_by(|a, b| a.path.cmp(&b.path));
    files::check(&snapshot.asked.repo, &files)?;
    if files.is_empty() {
        return Err(Error::not_found(format!("{} has no file that is asked for", snapshot.asked.repo))
            .hint(format!("modelkeep fetch {} --dry-run", snapshot.asked.repo)));
    }
    Ok(Chosen { files, left_out: left })
}

/// What is in the cache now.
struct Brought {
    report: Report,
    /// What came just now, and so was checked.
    fresh: BTreeSet<BlobId>,
    /// Nobody evicts it as long as this is held.
    held: Option<Held>,
}

/// Brings what is missing into the cache; the name comes last.
async fn bring(
    ctx: &Context,
    request: &Request,
    hub: Option<&Hub>,
    dir: &RepoDir,
    snapshot: &Snapshot,
    chosen: &Chosen,
) -> Result<Brought> {
    let files: Vec<CacheFile> = chosen.files.iter().map(Listed::cached).collect::<Result<_>>()?;
    let (commit, repo) = (&snapshot.commit, &snapshot.asked.repo);
    // Before it is looked at: what is here now is here when it is shown.
    let held = if request.dry_run { None } else { Some(dir.hold(|| ctx.check_stop()).await?) };
    // A program that keeps no blobs (or another name of the content) has it in the snapshot alone.
    let missing: Vec<&CacheFile> = files.iter().filter(|file| !dir.has(commit, file) && !dir.has_blob(file)).collect();
    let needed = files::needed(dir, &missing);
    let steps = room::make(ctx, &wanted(ctx, request, dir, snapshot, chosen, needed), request.dry_run).await?;
    let mut report = Report {
        repo: repo.to_string(),
        revision: snapshot.asked.revision().to_owned(),
        commit: commit.to_string(),
        path: Some(dir.snapshot(commit)),
        files: files.len() as u64,
        size_bytes: chosen.size(),
        fetched_bytes: 0,
        reused_bytes: chosen.size(),
        source: if missing.is_empty() { snapshot.source } else { Source::Hub },
        license: snapshot.license.clone(),
        left_out: chosen.left_out.clone(),
        steps,
        stored: None,
        dry_run: request.dry_run,
    };
    if request.dry_run {
        report
            .steps
            .extend(missing.iter().map(|file| Step::new("fetch", file.path.as_str(), "not here").bytes(file.size)));
        return Ok(Brought { report, fresh: BTreeSet::new(), held });
    }
    if !missing.is_empty() {
        let hub = hub.ok_or_else(|| hub::offline(repo.as_str()))?;
        report.fetched_bytes = bring_all(ctx, hub, dir, snapshot, &missing).await?;
        report.reused_bytes = report.size_bytes.saturating_sub(report.fetched_bytes);
    }
    show(dir, snapshot, &files)?;
    if request.as_main && dir.commit_of(MAIN).is_none() {
        dir.name(MAIN, commit)?;
    }
    used::note(ctx, repo, commit);
    Ok(Brought { report, fresh: missing.iter().map(|file| file.blob).collect(), held })
}

async fn bring_all(
    ctx: &Context,
    hub: &Hub,
    dir: &RepoDir,
    snapshot: &Snapshot,
    missing: &[&CacheFile],
) -> Result<u64> {
    let total = missing.iter().map(|file| file.size).sum();
    ctx.observer.tell(Progress::Stage { name: "fetching", bytes: Some(total) });
    let meter = ctx.meter();
    let waiting = || {
        ctx.note(format!("waiting: another program is fetching {}", snapshot.asked.repo));
        ctx.check_stop()
    };
    let fetched = futures::iter(missing)
        .map(async |file| {
            ctx.check_stop()?;
            let path = file.path.to_string();
            let place = Place { repo: snapshot.asked.repo.clone(), commit: snapshot.commit.clone(), path };
            fetch::bring(hub, dir, &place, file, &meter, &waiting).await
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(fetched.into_iter().sum())
}

/// So many files at once: most of a repository's files are small, and wait for an answer longer than for their bytes.
const AT_ONCE: usize = 8;

/// Makes a version of what is there: links, the list, what it is known to lack; durable, then its name.
fn show(dir: &RepoDir, snapshot: &Snapshot, files: &[CacheFile]) -> Result<()> {
    let commit = &snapshot.commit;
    dir.prepare()?;
    for file in files {
        dir.show(commit, file)?;
    }
    dir.settle(commit, files)?;
    dir.keep_tree(commit, &snapshot.tree)?;
    let lacks = PROBED.into_iter().filter(|name| !snapshot.tree.iter().any(|entry| entry.path == *name));
    dir.note_missing(commit, lacks)?;
    dir.flush()?;
    dir.name(snapshot.asked.revision(), commit)
}

/// What is to come, and what would fit instead.
fn wanted<'a>(
    ctx: &Context,
    request: &Request,
    dir: &'a RepoDir,
    snapshot: &Snapshot,
    chosen: &Chosen,
    needed: u64,
) -> Wanted<'a> {
    let mut instead = vec![format!("modelkeep fetch {} --store --stream keeps nothing here", request.repo)];
    // An overflow folder that is set was asked before, and had no room either.
    if ctx.workspace.is_some() && ctx.settings.overflow.is_none() {
        instead.push("modelkeep config set overflow DIR puts it on a larger disk".to_owned());
    }
    instead.push(format!("HF_HOME on a larger disk, with --budget {}", ByteSize(chosen.size())));
    if let Some(largest) = chosen.files.iter().max_by_key(|file| file.size) {
        instead.push(format!("fewer files: --exclude {} leaves out {}", largest.path, ByteSize(largest.size)));
    }
    Wanted {
        what: format!("{}@{}", snapshot.asked.repo, snapshot.asked.revision()),
        bytes: needed,
        budget: request.budget,
        into: dir.root(),
        instead,
    }
}

/// The remote's copy, when the Hub does not give it; else what the Hub said.
async fn from_remote(ctx: &Context, request: &Request, asked: &Asked, trouble: Error) -> Result<Report> {
    let Some(found) = store::find(ctx, asked).await? else { return Err(trouble) };
    ctx.note(format!("{}; the store has a copy: {}", trouble.full_message(), found.model.id));
    let mut report = Report {
        repo: asked.repo.to_string(),
        revision: asked.revision().to_owned(),
        commit: found.push.facts.source_commit.clone().unwrap_or_else(|| found.push.revision.to_string()),
        path: None,
        files: 0,
        size_bytes: 0,
        fetched_bytes: 0,
        reused_bytes: 0,
        source: Source::Remote,
        license: found.push.facts.license.clone(),
        left_out: Vec::new(),
        steps: Vec::new(),
        stored: None,
        dry_run: request.dry_run,
    };
    if request.stream {
        // Nothing was to be kept here, and where it was to go it is.
        let files = pull::manifest_of(ctx, &found.store, &found.view, &found.model, &found.push).await?;
        (report.files, report.size_bytes) = (files.files().len() as u64, files.size());
        report.reused_bytes = report.size_bytes;
        return Ok(report);
    }
    let plain = into_cache::Request {
        called: None,
        include: request.include.clone(),
        exclude: request.exclude.clone(),
        budget: request.budget,
        dry_run: request.dry_run,
    };
    let brought = into_cache::bring(ctx, &found, &plain).await?;
    report.commit = brought.commit.to_string();
    report.path = Some(brought.path);
    (report.files, report.size_bytes) = (brought.files, brought.size_bytes);
    report.fetched_bytes = brought.fetched_bytes;
    report.reused_bytes = brought.size_bytes.saturating_sub(brought.fetched_bytes);
    report.steps = brought.steps;
    Ok(report)
}

/// The id that a repository's model takes unless told otherwise.
pub(crate) fn default_id(repo: &RepoId) -> Result<ModelId> {
    modelkeep_core::name::nearest_id(repo.name()).ok_or_else(|| {
        Error::usage(format!("`{}` makes no model id", repo.name()))
            .hint(format!("modelkeep fetch {repo} --store --id ID"))
    })
}
