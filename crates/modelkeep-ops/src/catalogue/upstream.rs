//! Repositories that are not ours, passed on from the real Hub through the cache that its own programs keep.
//!
//! Knows the Hub's client and the cache's layout. What is there already is checked once before it is trusted.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use modelkeep_core::meter::Meter;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_hub::blob::Check;
use modelkeep_hub::cache::{CacheFile, RepoDir};
use modelkeep_hub::client::{Hub, Place};
use modelkeep_hub::fetch;
use modelkeep_hub::repo::{Commit, RepoId};
use modelkeep_hub::wire::{EntryKind, Gated, ModelInfo, TreeEntry};
use tokio::sync::watch;

use super::content::{land_on, locked, stat};
use super::flight::{Arriving, Flight, Flights, Progress};
use super::pieces::{Pieces, show_all};
use super::reading::{Reading, Source};
use super::{MAIN, Missing};
use crate::cache::used::Notes;
use crate::context::Context;
use crate::hub;
use crate::local::Stat;
use crate::room::{self, Wanted};

/// What a name means at the Hub is believed for so long.
const FRESH: Duration = Duration::from_secs(60);
/// So many answers are kept in memory.
const ANSWERS: usize = 256;

/// The real Hub, or whatever answers as it does.
#[derive(Debug)]
pub struct Upstream {
    ctx: Arc<Context>,
    hub: Hub,
    pieces: Pieces,
    flights: Flights<PathBuf>,
    /// Content of the cache that was found to be good.
    known: Mutex<HashMap<PathBuf, Stat>>,
    /// What was handed on counts as used.
    notes: Notes,
    infos: Mutex<HashMap<(RepoId, String), Answered>>,
    trees: Mutex<HashMap<(RepoId, Commit), Files>>,
}

/// What the Hub said, and when.
type Answered = (Duration, Arc<ModelInfo>);
type Files = Arc<Vec<TreeEntry>>;

/// A repository at a commit.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name.
    pub repo: RepoId,
    /// What is known of it; the files are in `entries`.
    pub info: Arc<ModelInfo>,
    /// Its files, by path.
    pub entries: Files,
    /// As it was asked for.
    revision: String,
}

impl Upstream {
    /// Passes on from `url`; `None` when nobody is to be asked (`--offline`, `HF_HUB_OFFLINE`).
    pub fn open(ctx: Arc<Context>, url: &str) -> Result<Option<Self>> {
        let url = url.trim_end_matches('/');
        if !["http://", "https://"].iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme)) {
            let error = Error::usage(format!("`{url}` is no address of a Hub"));
            return Err(error.hint("modelkeep serve --upstream https://huggingface.co"));
        }
        // Not what this machine's own programs use: that may be this very server.
        let hub = hub::open_with(&ctx, |access| url.clone_into(&mut access.endpoint))?;
        Ok(hub.map(|hub| Self {
            hub,
            pieces: Pieces::default(),
            flights: Flights::new(),
            known: Mutex::default(),
            notes: Notes::default(),
            infos: Mutex::default(),
            trees: Mutex::default(),
            ctx,
        }))
    }

    /// What may go on is stopped.
    pub fn close(&self) {
        self.flights.stop();
    }

    /// A repository at a revision. When the Hub does not answer, what was fetched before is shown.
    pub async fn find(&self, repo: &str, revision: &str) -> Result<Listed, Missing> {
        let repo: RepoId = repo.parse().map_err(Missing::Model)?;
        let dir = hub::repo_dir(&self.ctx, &repo).map_err(Missing::Unknown)?;
        let info = match self.info(&repo, revision).await {
            Ok(info) => info,
            Err(error) => match dir.commit_of(revision).filter(|_| error.kind() == Kind::Unavailable) {
                Some(commit) if dir.tree(&commit).is_some() => Arc::new(bare(&repo, commit)),
                _ => return Err(self.missing(&repo, revision, error).await),
            },
        };
        let entries = self.tree(&repo, &info.sha, &dir).await.map_err(Missing::Unknown)?;
        Ok(Listed { repo, info, entries, revision: revision.to_owned() })
    }

    async fn info(&self, repo: &RepoId, revision: &str) -> Result<Arc<ModelInfo>> {
        let key = (repo.clone(), revision.to_owned());
        let now = self.ctx.clock.monotonic();
        let known = locked(&self.infos).get(&key).cloned();
        // What a commit is never changes.
        if let Some((at, info)) = known
            && (now.saturating_sub(at) < FRESH || info.sha.as_str() == revision)
        {
            return Ok(info);
        }
        let asked = Some(revision).filter(|revision| *revision != MAIN);
        let info = Arc::new(self.hub.info(repo, asked).await?);
        keep(&self.infos, key, (now, Arc::clone(&info)));
        Ok(info)
    }

    /// Which sort of "no" the Hub's was: its client says for people that something is not there, and not what.
    async fn missing(&self, repo: &RepoId, revision: &str, error: Error) -> Missing {
        match error.kind() {
            Kind::NotFound if revision != MAIN && self.info(repo, MAIN).await.is_ok() => Missing::Revision(error),
            Kind::NotFound => Missing::Model(error),
            Kind::Auth => Missing::Refused(error),
            _ => Missing::Unknown(error),
        }
    }

    async fn tree(&self, repo: &RepoId, commit: &Commit, dir: &RepoDir) -> Result<Files> {
        let key = (repo.clone(), commit.clone());
        if let Some(entries) = locked(&self.trees).get(&key) {
            return Ok(Arc::clone(entries));
        }
        let mut entries = match dir.tree(commit) {
            Some(entries) => entries,
            None => self.hub.tree(repo, commit).await?,
        };
        // A path that no file of ours may have is none that is passed on.
        entries.retain(|entry| entry.kind == EntryKind::File && cached(entry).is_some());
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let entries = Arc::new(entries);
        keep(&self.trees, key, Arc::clone(&entries));
        Ok(entries)
    }

    /// Opens a file of a repository; fetched once into the cache, however many ask.
    pub fn open_file(self: &Arc<Self>, listed: &Listed, entry: &TreeEntry) -> Result<Reading> {
        let file = cached(entry).ok_or_else(|| Error::integrity(format!("`{}` is no path", entry.path)))?;
        let blob = hub::repo_dir(&self.ctx, &listed.repo)?.blob(&file.blob);
        let size = file.size;
        let source = match self.open_known(&blob) {
            Some((open, stat)) => {
                self.notes.note(&self.ctx, &listed.repo, &listed.info.sha);
                Source::Known(open, stat)
            }
            None => Source::Flight(self.follow(listed, file, blob)),
        };
        Ok(Reading { size, source, pieces: self.pieces.clone() })
    }

    fn follow(self: &Arc<Self>, listed: &Listed, file: CacheFile, blob: PathBuf) -> watch::Receiver<Progress> {
        let (flight, following, is_new) = self.flights.join_or_begin(blob.clone());
        if is_new {
            let (upstream, listed) = (Arc::clone(self), listed.clone());
            tokio::spawn(async move {
                let outcome = upstream.bring(&listed, &file, &flight).await;
                if let Err(error) = &outcome
                    && error.kind() != Kind::Interrupted
                {
                    upstream.ctx.warn(error.full_message());
                }
                let outcome = outcome.map(|stat| keep(&upstream.known, blob.clone(), stat));
                upstream.flights.land(&blob, &flight, outcome);
            });
        }
        following
    }

    fn open_known(&self, blob: &PathBuf) -> Option<(Arc<File>, Stat)> {
        let known = *locked(&self.known).get(blob)?;
        let file = File::open(blob).ok()?;
        (stat(&file).ok()? == known).then(|| (Arc::new(file), known))
    }

    async fn bring(&self, listed: &Listed, file: &CacheFile, flight: &Arc<Flight>) -> Result<Stat> {
        let dir = hub::repo_dir(&self.ctx, &listed.repo)?;
        let _held = dir.hold(|| self.ctx.check_stop()).await?;
        let place = Place { repo: listed.repo.clone(), commit: listed.info.sha.clone(), path: file.path.to_string() };
        let there = if dir.has_blob(file) {
            self.check(&dir, file, &place, flight).await?
        } else {
            let wanted = Wanted {
                what: place.to_string(),
                bytes: file.size,
                budget: None,
                into: dir.root(),
                instead: vec![format!("modelkeep fetch {} --store --stream", place.repo)],
            };
            room::make(&self.ctx, &wanted, false).await?;
            let meter: Arc<dyn Meter> = Arc::new(Arriving::new(flight, dir.incomplete(&file.blob), file.size));
            fetch::bring(&self.hub, &dir, &place, file, &meter, &|| self.ctx.check_stop()).await?;
            let blob = dir.blob(&file.blob);
            let open = File::open(&blob).map_err(|error| modelkeep_core::error::failed("reading", &blob, error))?;
            land_on(open, file.size, flight)?.1
        };
        dir.show(&listed.info.sha, file)?;
        if dir.tree(&listed.info.sha).is_none() {
            dir.keep_tree(&listed.info.sha, &listed.entries)?;
        }
        dir.name(&listed.revision, &listed.info.sha)?;
        self.notes.note(&self.ctx, &listed.repo, &listed.info.sha);
        Ok(there)
    }

    /// What another program left in the cache, read once; wrong content is taken away.
    async fn check(&self, dir: &RepoDir, file: &CacheFile, place: &Place, flight: &Arc<Flight>) -> Result<Stat> {
        let path = dir.blob(&file.blob);
        let open = File::open(&path).map_err(|error| modelkeep_core::error::failed("reading", &path, error))?;
        let (open, before) = land_on(open, file.size, flight)?;
        let (mut check, read) = (Check::new(&file.blob, file.size), Arc::clone(&open));
        let found = tokio::task::spawn_blocking(move || {
            show_all(&read, |bytes| check.update(bytes))?;
            std::io::Result::Ok(check.finish())
        });
        let found = found.await.map_err(|error| Error::internal("a file task ended badly").because(error))?;
        let found = found.map_err(|error| modelkeep_core::error::failed("reading", &path, error))?;
        if found == file.blob && stat(&open)? == before {
            return Ok(before);
        }
        let _ = std::fs::remove_file(&path);
        Err(fetch::wrong(place, &file.blob))
    }
}

/// An entry as a file of the cache.
fn cached(entry: &TreeEntry) -> Option<CacheFile> {
    Some(CacheFile { path: entry.path.parse().ok()?, size: entry.content_size(), blob: entry.blob() })
}

/// What is known of a repository that only the cache knows.
fn bare(repo: &RepoId, sha: Commit) -> ModelInfo {
    ModelInfo {
        id: repo.to_string(),
        sha,
        last_modified: None,
        private: false,
        gated: Gated::default(),
        tags: Vec::new(),
        card_data: None,
        siblings: Vec::new(),
    }
}

fn keep<K: Eq + std::hash::Hash, V>(answers: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut answers = locked(answers);
    if answers.len() >= ANSWERS {
        answers.clear();
    }
    answers.insert(key, value);
}
