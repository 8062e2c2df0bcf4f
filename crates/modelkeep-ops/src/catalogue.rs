//! The stored versions as a server shows them: found by name, described, opened for reading.
//!
//! Knows which names a model has, which revisions, which files. What it says comes from the log, which is read again
//! when somebody asks and the last reading is no longer fresh; content is touched by [`Catalogue::open`] alone. Does not
//! know HTTP.

mod cache;
mod content;
mod flight;
mod pieces;
pub mod reading;
pub mod upstream;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use modelkeep_core::digest::RevisionId;
use modelkeep_core::manifest::{FileEntry, Manifest, ModelKind};
use modelkeep_core::name::{LATEST, ModelRef, Selector};
use modelkeep_core::registry::{Model, Push, State, Status};
use modelkeep_core::{Error, Result};
use modelkeep_hub::repo::Commit;

use self::content::Contents;
use self::reading::Reading;
use crate::context::Context;
use crate::store::Store;
use crate::{log, tree};

/// The branch that every repository has: its newest version.
pub const MAIN: &str = "main";

/// A reading of the log is fresh for so long where reading it costs next to nothing …
const FRESH: Duration = Duration::from_secs(1);
/// … and for so long where it is a request to somebody else's server.
const FRESH_FAR: Duration = Duration::from_secs(10);
/// What a full id names never changes, but it may be removed: for so long nobody looks.
const BELIEVED: Duration = Duration::from_secs(60);
/// Whoever asks waits so long for a reading; a store that does not answer must not keep a client that would give up.
const PATIENCE: Duration = Duration::from_secs(3);
/// File lists that are kept in memory.
const LISTS: usize = 128;
/// Calls that the trace of a server keeps.
const TRACED: usize = 4096;

/// The stored versions of one store.
#[derive(Debug)]
pub struct Catalogue {
    ctx: Arc<Context>,
    store: Arc<Store>,
    seen: RwLock<Seen>,
    /// Held by whoever reads the log.
    reading: tokio::sync::Mutex<()>,
    lists: Mutex<HashMap<RevisionId, Arc<Manifest>>>,
    contents: Arc<Contents>,
}

#[derive(Debug, Clone)]
struct Seen {
    state: Arc<State>,
    at: Duration,
}

/// One stored version: a push and its files.
#[derive(Debug, Clone)]
pub struct Version {
    /// The model as it is now.
    pub model: Model,
    /// The push.
    pub push: Push,
    /// Its files.
    pub files: Arc<Manifest>,
    called: Called,
}

/// Under whose name a model was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Called {
    /// Ours.
    Ours,
    /// The Hub's, which a base model was taken from.
    Theirs,
}

/// Why there is no such version.
#[derive(Debug)]
pub enum Missing {
    /// There is no model of that name.
    Model(Error),
    /// The model has no such revision, or more than one.
    Revision(Error),
    /// It is there, but not for us.
    Refused(Error),
    /// It could not be found out.
    Unknown(Error),
}

/// How often content was there already, and how often it had to be brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Opened without a call for content: from the store's own folder, from the cache, or beside others that wait.
    pub hits: u64,
    /// Fetched from the store.
    pub fetches: u64,
    /// Bytes of those fetches.
    pub fetched_bytes: u64,
    /// Times that content was not what its checksum says.
    pub damaged: u64,
    /// Bytes in the cache.
    pub kept_bytes: u64,
}

impl Catalogue {
    /// Opens the store and reads its log.
    pub async fn open(ctx: Arc<Context>) -> Result<Arc<Self>> {
        let store = ctx.store().await?;
        store.trace.keep_last(TRACED);
        let view = log::refresh(&ctx, &store).await?;
        let contents = Contents::open(Arc::clone(&ctx), Arc::clone(&store))?;
        let seen = Seen { state: Arc::new(view.state), at: ctx.clock.monotonic() };
        let reading = tokio::sync::Mutex::default();
        Ok(Arc::new(Self { ctx, store, seen: RwLock::new(seen), reading, lists: Mutex::default(), contents }))
    }

    /// First part of the names of its models.
    pub fn namespace(&self) -> &str {
        &self.ctx.settings.namespace
    }

    /// How content was served so far.
    pub fn counts(&self) -> Counts {
        self.contents.counts()
    }

    fn seen(&self) -> Seen {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_fresh(&self, seen: &Seen) -> bool {
        let fresh = if self.store.remote.capabilities().cheap_reads { FRESH } else { FRESH_FAR };
        self.age(seen) < fresh
    }

    fn age(&self, seen: &Seen) -> Duration {
        self.ctx.clock.monotonic().saturating_sub(seen.at)
    }

    /// What the log says: read again when the last reading is no longer fresh. When the store does not answer, the last
    /// reading counts.
    pub async fn state(self: &Arc<Self>) -> Arc<State> {
        let seen = self.seen();
        if self.is_fresh(&seen) {
            return seen.state;
        }
        // It goes on when nobody waits any more.
        let catalogue = Arc::clone(self);
        let reading = tokio::spawn(async move { catalogue.read_again().await });
        if let Ok(Ok(Err(error))) = tokio::time::timeout(PATIENCE, reading).await {
            self.ctx.warn(format!("the log could not be read, what was known is served: {}", error.full_message()));
        }
        self.seen().state
    }

    async fn read_again(&self) -> Result<()> {
        let _one = self.reading.lock().await;
        if self.is_fresh(&self.seen()) {
            return Ok(());
        }
        let read = log::refresh(&self.ctx, &self.store).await;
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        // A store that fails is asked again after the same while.
        seen.at = self.ctx.clock.monotonic();
        seen.state = Arc::new(read?.state);
        Ok(())
    }

    /// The model that a repository's name means: `namespace/id`, the id alone, or the name at the Hub that a base model
    /// was taken from, since adapters call it so.
    fn named<'a>(&self, state: &'a State, repo: &str) -> Result<(&'a Model, Called)> {
        let ours = match repo.split_once('/') {
            Some((namespace, id)) if namespace == self.namespace() => Some(id),
            None => Some(repo),
            Some(_) => None,
        };
        match ours {
            Some(id) => state.model(id).map(|model| (model, Called::Ours)),
            None => state
                .models
                .values()
                .filter(|model| model.kind == ModelKind::Base)
                .find(|model| model.latest().is_some_and(|push| model.describe(push).source.as_deref() == Some(repo)))
                .map(|model| (model, Called::Theirs))
                .ok_or_else(|| {
                    Error::not_found(format!("there is no `{repo}` here; models are called `{}/…`", self.namespace()))
                        .hint("modelkeep list")
                }),
        }
    }

    /// The version that a revision of a repository means: `main`, a label, a number, the beginning of an id.
    pub async fn find(self: &Arc<Self>, repo: &str, revision: &str) -> Result<Version, Missing> {
        let seen = self.seen();
        if revision.len() == 40
            && self.age(&seen) < BELIEVED
            && let Ok(version) = self.version(&seen.state, repo, revision).await
        {
            return Ok(version);
        }
        let state = self.state().await;
        self.version(&state, repo, revision).await
    }

    async fn version(&self, state: &State, repo: &str, revision: &str) -> Result<Version, Missing> {
        let (model, called) = self.named(state, repo).map_err(Missing::Model)?;
        if model.latest().is_none() {
            let gone = Error::not_found(format!("`{}` was removed", model.id));
            return Err(Missing::Model(gone.hint(format!("modelkeep restore {}", model.id))));
        }
        let of_commit = |push: &&Push| push.facts.source_commit.as_deref() == Some(revision);
        let of_theirs = versions(model).find(of_commit).filter(|_| called == Called::Theirs);
        let push = if let Some(push) = of_theirs {
            push
        } else {
            let selector = selector(revision).map_err(Missing::Revision)?;
            let reference = ModelRef { model: model.id.to_string(), selector };
            state.resolve(&reference).map_err(Missing::Revision)?.1
        };
        let files = self.files(model, push).await.map_err(Missing::Unknown)?;
        Ok(Version { model: model.clone(), push: push.clone(), files, called })
    }

    async fn files(&self, model: &Model, push: &Push) -> Result<Arc<Manifest>> {
        if let Some(files) = self.lists().get(&push.revision) {
            return Ok(Arc::clone(files));
        }
        let files = Arc::new(tree::manifest(&self.ctx, &self.store, model, push).await?);
        let mut lists = self.lists();
        if lists.len() >= LISTS {
            lists.clear();
        }
        lists.insert(push.revision, Arc::clone(&files));
        Ok(files)
    }

    fn lists(&self) -> std::sync::MutexGuard<'_, HashMap<RevisionId, Arc<Manifest>>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a file of a version. Nothing has been read yet when this returns.
    pub async fn open_file(&self, version: &Version, file: &FileEntry) -> Reading {
        let state = self.seen().state;
        // Any push of the same content will do; the one asked for comes first.
        let mut pushes = vec![(version.model.clone(), version.push.clone())];
        for model in state.models.values() {
            let same = model.pushes.iter().filter(|push| push.revision == version.push.revision);
            pushes.extend(
                same.filter(|push| push.removed.is_none() && push.txn != version.push.txn)
                    .map(|push| (model.clone(), push.clone())),
            );
        }
        self.contents.open_file(pushes, file).await
    }

    /// What may go on is stopped; what was learnt is kept.
    pub fn close(&self) {
        self.contents.close();
    }
}

impl Version {
    /// What clients take for its commit.
    pub fn commit(&self) -> Commit {
        self.commit_of(&self.push)
    }

    /// The same of another version of its model: the revision id, or under the Hub's name the Hub's commit.
    pub fn commit_of(&self, push: &Push) -> Commit {
        let theirs = push.facts.source_commit.as_deref().filter(|_| self.called == Called::Theirs);
        theirs.and_then(|commit| commit.parse().ok()).unwrap_or_else(|| push.revision.into())
    }
}

/// The names of every version of a model, each with its push: labels (`latest` first), then numbers, newest first.
pub fn names(model: &Model) -> Vec<(String, &Push)> {
    let latest = model.latest().map(|push| (LATEST.to_owned(), push));
    let labels = model
        .labels
        .iter()
        .filter_map(|(label, revision)| model.push_of(revision).map(|push| (label.to_string(), push)));
    let numbers = versions(model).map(|push| (push.number.to_string(), push));
    latest.into_iter().chain(labels).chain(numbers).collect()
}

/// Every version of a model, newest first.
pub fn versions(model: &Model) -> impl Iterator<Item = &Push> {
    model.pushes.iter().rev().filter(|push| push.removed.is_none())
}

/// Models that can be had, by id.
pub fn models(state: &State) -> impl Iterator<Item = (&Model, &Push)> {
    state
        .models
        .values()
        .filter(|model| state.status(model) != Status::Removed)
        .filter_map(|model| model.latest().map(|push| (model, push)))
}

fn selector(revision: &str) -> Result<Selector> {
    if revision == MAIN { Ok(Selector::Latest) } else { revision.parse() }
}
