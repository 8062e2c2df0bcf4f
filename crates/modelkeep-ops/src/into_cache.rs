//! A stored version as an entry of Hugging Face's cache, so that its own libraries load it by name, with no network.
//!
//! Knows what the entry is called and which names it gets. Does not know the layout (`modelkeep_hub::cache`), nor where
//! bytes come from (`pull.rs`).

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use modelkeep_core::manifest::{FileEntry, Manifest, ModelKind};
use modelkeep_core::name::LATEST;
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::size::ByteSize;
use modelkeep_core::{Error, Result};
use modelkeep_hub::blob::BlobId;
use modelkeep_hub::cache::{CacheFile, PROBED, RepoDir};
use modelkeep_hub::repo::{Commit, RepoId};
use modelkeep_hub::wire::TreeEntry;
use modelkeep_remote::folder::failed;

use crate::cache::used;
use crate::context::Context;
use crate::local::Stat;
use crate::log::View;
use crate::observe::Filter;
use crate::report::{Step, Wrote};
use crate::room::{self, Wanted};
use crate::store::Store;
use crate::{hub, lock, pull};

/// A version that was found on the remote.
#[derive(Debug)]
pub(crate) struct Found {
    pub store: Arc<Store>,
    pub view: View,
    pub model: Model,
    pub push: Push,
}

/// How to bring it.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// What it is to be called, when that is not for us to say: an adapter asks for its base by this name.
    pub called: Option<RepoId>,
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    pub budget: Option<ByteSize>,
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Brought {
    pub repo: RepoId,
    pub commit: Commit,
    pub path: PathBuf,
    pub files: u64,
    pub size_bytes: u64,
    pub fetched_bytes: u64,
    pub steps: Vec<Step>,
}

impl Brought {
    /// As a pull's report.
    pub fn report(self, found: &Found, dry_run: bool) -> pull::Report {
        pull::Report {
            model: found.model.id.clone(),
            revision: found.push.revision,
            path: self.path,
            files: self.files,
            size_bytes: self.size_bytes,
            fetched_bytes: self.fetched_bytes,
            reused_bytes: self.size_bytes.saturating_sub(self.fetched_bytes),
            repo: Some(self.repo.to_string()),
            moved_aside: None,
            base: None,
            base_fetched: None,
            steps: self.steps,
            wrote: Wrote::to(&found.store, dry_run),
        }
    }
}

/// What an entry is called, and by which names it is asked for.
struct Entry {
    repo: RepoId,
    commit: Commit,
    /// Whether the Hub has this commit: then the list of its files is the Hub's, and we may have a part of it.
    of_hub: bool,
}

impl Entry {
    fn of(ctx: &Context, found: &Found, called: Option<&RepoId>) -> Result<Self> {
        let (model, push) = (&found.model, &found.push);
        let source = model.describe(push).source.filter(|_| model.kind == ModelKind::Base);
        let source = source.and_then(|source| source.parse::<RepoId>().ok());
        let commit = push.facts.source_commit.as_ref().and_then(|commit| commit.parse::<Commit>().ok());
        let ours = || {
            let name = format!("{}/{}", ctx.settings.namespace, model.id);
            name.parse::<RepoId>().map_err(|error| error.hint("modelkeep config set namespace NAME"))
        };
        let repo = match (called.cloned(), source.clone()) {
            (Some(called), _) => called,
            (None, Some(source)) => source,
            (None, None) => ours()?,
        };
        let of_hub = source.as_ref() == Some(&repo) && commit.is_some();
        let commit = commit.filter(|_| of_hub).unwrap_or_else(|| push.revision.into());
        Ok(Self { repo, commit, of_hub })
    }
}

impl Entry {
    /// What loaders need not ask for. Of the Hub's commit the store may have chosen a part: weights in another format are
    /// there, and a choice so narrow that it left `config.json` out says nothing of the rest.
    fn lacks(&self, whole: &Manifest) -> Vec<&'static str> {
        let told = |name: &str| !self.of_hub || whole.get("config.json").is_some() && !name.starts_with("model.");
        PROBED.into_iter().filter(|name| whole.get(name).is_none() && told(name)).collect()
    }
}

fn cached(file: &FileEntry) -> CacheFile {
    CacheFile { path: file.path.clone(), size: file.size, blob: BlobId::Lfs(file.sha256) }
}

/// Brings a version into the cache.
pub(crate) async fn bring(ctx: &Context, found: &Found, request: &Request) -> Result<Brought> {
    let Found { store, view, model, push } = found;
    let entry = Entry::of(ctx, found, request.called.as_ref())?;
    let dir = hub::repo_dir(ctx, &entry.repo)?;
    let whole = pull::manifest_of(ctx, store, view, model, push).await?;
    let filter = Filter { include: request.include.clone(), exclude: request.exclude.clone() };
    let manifest = pull::only(&whole, &filter, &model.id)?;
    let files: Vec<CacheFile> = manifest.files().iter().map(cached).collect();
    // Before it is looked at: what is here now is here when it is shown.
    let _held = if request.dry_run { None } else { Some(dir.hold(|| ctx.check_stop()).await?) };
    let missing: Vec<FileEntry> = manifest
        .files()
        .iter()
        .filter(|file| !dir.has(&entry.commit, &cached(file)) && !dir.has_blob(&cached(file)))
        .cloned()
        .collect();
    let needed = pull::to_come(&missing, &dir.gathering(&push.revision.short()));
    let wanted = Wanted {
        what: format!("{}@{}", model.id, push.number),
        bytes: needed,
        budget: request.budget,
        into: dir.root(),
        instead: vec![format!("modelkeep pull {} --to DIR on a larger disk", model.id)],
    };
    let steps = room::make(ctx, &wanted, request.dry_run).await?;
    let mut brought = Brought {
        path: dir.snapshot(&entry.commit),
        repo: entry.repo.clone(),
        commit: entry.commit.clone(),
        files: files.len() as u64,
        size_bytes: manifest.size(),
        fetched_bytes: 0,
        steps,
    };
    if request.dry_run {
        let fetch = |file: &FileEntry| Step::new("fetch", file.path.as_str(), "not in the cache").bytes(file.size);
        brought.steps.extend(missing.iter().map(fetch));
        return Ok(brought);
    }
    let local = store.local(ctx)?;
    let name = format!("cache {}", dir.root().display());
    let who = format!("another pull of {} into the cache is at work", entry.repo);
    let _alone = lock::hold(ctx, local.folder(), &name, &who).await?;
    dir.prepare()?;
    if !missing.is_empty() {
        brought.fetched_bytes = gather(ctx, found, &dir, &Manifest::new(missing)?).await?;
    }
    for file in &files {
        dir.show(&entry.commit, file)?;
    }
    dir.settle(&entry.commit, &files)?;
    if !entry.of_hub {
        dir.keep_tree(&entry.commit, &tree(&whole))?;
    }
    dir.note_missing(&entry.commit, entry.lacks(&whole))?;
    dir.flush()?;
    name_it(&dir, &entry, model, push)?;
    used::note(ctx, &entry.repo, &entry.commit);
    Ok(brought)
}

/// Gathers content beside the blobs and gives each its name; bytes that came from the remote.
async fn gather(ctx: &Context, found: &Found, dir: &RepoDir, missing: &Manifest) -> Result<u64> {
    let Found { store, view, model, push } = found;
    let part = dir.gathering(&push.revision.short());
    let fetched = pull::gather_in(ctx, store, view, model, push, missing, &part).await?;
    let mut known = Vec::new();
    for file in missing.files() {
        let (from, file) = (part.join(file.path.as_str()), cached(file));
        let blob = dir.blob(&file.blob);
        let _held = dir.lock(&file.blob, || ctx.check_stop()).await?;
        if !dir.has_blob(&file) {
            fs::rename(&from, &blob).map_err(|error| failed("writing", &blob, error))?;
        }
        if let (BlobId::Lfs(sha256), Ok(metadata), Ok(path)) = (file.blob, fs::metadata(&blob), blob.canonicalize()) {
            known.push((path, Stat::of(&metadata), sha256));
        }
    }
    let _ = fs::remove_dir_all(&part);
    store.local(ctx)?.remember_hashes(&known)?;
    Ok(fetched)
}

/// Our own versions list every file as a large one: no digest but SHA-256 is needed then.
fn tree(manifest: &Manifest) -> Vec<TreeEntry> {
    manifest.files().iter().map(|file| TreeEntry::lfs(file.path.as_str(), file.sha256, file.size)).collect()
}

/// The names of a version. `main` is what loaders ask for when nobody says more: the newest, or what there is.
fn name_it(dir: &RepoDir, entry: &Entry, model: &Model, push: &Push) -> Result<()> {
    const MAIN: &str = "main";
    let newest = model.latest().is_some_and(|latest| latest.revision == push.revision);
    if newest || dir.commit_of(MAIN).is_none() {
        dir.name(MAIN, &entry.commit)?;
    }
    if entry.of_hub {
        return Ok(());
    }
    if newest {
        dir.name(LATEST, &entry.commit)?;
    }
    dir.name(&push.number.to_string(), &entry.commit)?;
    for label in model.labels_of(&push.revision) {
        dir.name(label.as_str(), &entry.commit)?;
    }
    // A label that moved on names another version now; here it names what is here, or nothing.
    for (name, named) in dir.names()? {
        let Ok(label) = name.parse() else { continue };
        let should: Option<Commit> = model.labels.get(&label).map(|revision| (*revision).into());
        if should.as_ref() != Some(&named) {
            match should.filter(|should| dir.snapshot(should).exists()) {
                Some(should) => dir.name(&name, &should)?,
                None => dir.forget_name(&name)?,
            }
        }
    }
    Ok(())
}

impl Found {
    /// A version of the store.
    pub fn of(store: &Arc<Store>, view: &View, model: &Model, push: &Push) -> Self {
        Self { store: Arc::clone(store), view: view.clone(), model: model.clone(), push: push.clone() }
    }
}

/// Nothing on the remote is called so.
pub(crate) fn unknown_base(name: &str) -> Error {
    Error::not_found(format!("the base model {name} is neither on the store nor a repository of the Hub"))
        .hint("modelkeep push DIR MODEL --kind base")
}
