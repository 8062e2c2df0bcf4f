//! Where the content of a stored file comes from: the cache, the store's own folder, else a fetch; each once, however
//! many ask at the same time, and checked before its end is given out.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use modelkeep_core::digest::{Sha256, Txn};
use modelkeep_core::manifest::FileEntry;
use modelkeep_core::path::ContentPath;
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::Object;
use modelkeep_remote::folder::failed;
use sha2::Digest as _;
use tokio::sync::watch;

use super::Counts;
use super::cache::Cache;
use super::flight::{Arriving, Flight, Flights, Progress, broken_off};
use super::pieces::{Pieces, show_all};
use super::reading::{Reading, Source};
use crate::context::Context;
use crate::local::Stat;
use crate::room::{self, Wanted};
use crate::store::Store;
use crate::{lock, tree};

/// The content of one store.
#[derive(Debug)]
pub(super) struct Contents {
    ctx: Arc<Context>,
    store: Arc<Store>,
    cache: Cache,
    pieces: Pieces,
    /// What is being brought or checked now.
    flights: Flights<Sha256>,
    /// Files that were read and found to be good since this process began.
    known: Mutex<HashMap<Sha256, Known>>,
    /// Places where content was found to be wrong; others are tried first.
    wrong: Mutex<HashSet<(Txn, ContentPath)>>,
    hits: AtomicU64,
    fetches: AtomicU64,
    fetched: AtomicU64,
    damaged: AtomicU64,
}

/// A file that was found to be good, open.
#[derive(Debug)]
struct Good {
    file: Arc<File>,
    known: Known,
}

/// What is remembered of it: no open file, which would hold its place on the disk after it was deleted.
#[derive(Debug, Clone)]
struct Known {
    stat: Stat,
    place: Place,
}

/// Where it stood then.
#[derive(Debug, Clone)]
enum Place {
    Cache,
    Store(Object),
}

/// So many are remembered.
const REMEMBERED: usize = 4096;

/// What is sought: a content, and the pushes that hold it.
#[derive(Debug)]
struct Sought {
    pushes: Vec<(Model, Push)>,
    file: FileEntry,
}

impl Contents {
    pub fn open(ctx: Arc<Context>, store: Arc<Store>) -> Result<Arc<Self>> {
        let folder = ctx.state_dir(store.id())?.join("served");
        let cache = Cache::new(folder, ctx.settings.serve_cache);
        Ok(Arc::new(Self {
            ctx,
            store,
            cache,
            pieces: Pieces::default(),
            flights: Flights::new(),
            known: Mutex::default(),
            wrong: Mutex::default(),
            hits: AtomicU64::new(0),
            fetches: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
        }))
    }

    pub fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            hits: of(&self.hits),
            fetches: of(&self.fetches),
            fetched_bytes: of(&self.fetched),
            damaged: of(&self.damaged),
            kept_bytes: self.cache.size(),
        }
    }

    pub fn close(&self) {
        self.flights.stop();
        self.cache.remember();
    }

    /// Opens a file that some pushes hold. Those who open the same content at the same time follow one flight.
    pub async fn open_file(self: &Arc<Self>, pushes: Vec<(Model, Push)>, file: &FileEntry) -> Reading {
        let source = match self.open_known(&file.sha256).await {
            Some(good) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                Source::Known(good.file, good.known.stat)
            }
            None => Source::Flight(self.follow(Sought { pushes, file: file.clone() })),
        };
        Reading { size: file.size, source, pieces: self.pieces.clone() }
    }

    /// A file that was found to be good, stands where it stood and was not touched since.
    async fn open_known(&self, sha256: &Sha256) -> Option<Good> {
        let known = locked(&self.known).get(sha256).cloned()?;
        let file = match &known.place {
            Place::Cache => self.cache.open(sha256)?,
            Place::Store(object) => self.store.remote.open_local(object).await.ok()??,
        };
        (stat(&file).ok()? == known.stat).then(|| Good { file: Arc::new(file), known })
    }

    fn remember(&self, sha256: Sha256, known: Known) {
        let mut all = locked(&self.known);
        if all.len() >= REMEMBERED {
            // Which one goes matters little: it is one check more for whoever asks for it next.
            let some = all.keys().next().copied();
            some.and_then(|some| all.remove(&some));
        }
        all.insert(sha256, known);
    }

    fn follow(self: &Arc<Self>, sought: Sought) -> watch::Receiver<Progress> {
        let sha256 = sought.file.sha256;
        let (flight, following, is_new) = self.flights.join_or_begin(sha256);
        if !is_new {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return following;
        }
        let contents = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = contents.bring(&sought, &flight).await;
            if let Err(error) = &outcome {
                if error.kind() == Kind::Integrity {
                    contents.damaged.fetch_add(1, Ordering::Relaxed);
                }
                if error.kind() != Kind::Interrupted {
                    contents.ctx.warn(error.full_message());
                }
            }
            // First those who ask from now on find it, then those who wait are told.
            let outcome = outcome.map(|good| contents.remember(sha256, good.known));
            contents.flights.land(&sha256, &flight, outcome);
        });
        following
    }

    /// Finds a content and has it checked.
    async fn bring(&self, sought: &Sought, flight: &Arc<Flight>) -> Result<Good> {
        let FileEntry { sha256, size, .. } = &sought.file;
        if let Some(file) = self.cache.open(sha256) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            let checked = self.check(file, Place::Cache, &sought.file, flight).await;
            if checked.as_ref().is_err_and(|error| error.kind() == Kind::Integrity) {
                self.cache.drop_one(sha256);
            }
            return checked;
        }
        let mut pushes: Vec<&(Model, Push)> = sought.pushes.iter().collect();
        pushes.sort_by_key(|(_, push)| locked(&self.wrong).contains(&(push.txn, sought.file.path.clone())));
        let mut lost = None;
        for (model, push) in pushes {
            match self.bring_from(model, push, sought, flight).await {
                Ok(Some(good)) => return Ok(good),
                Ok(None) => {
                    let what = format!("{} of {}@{}", sought.file.path, model.id, push.number);
                    let error = Error::integrity(format!("{what} ({size} bytes, {sha256}) is not on the store"));
                    lost.get_or_insert(error.hint(format!("modelkeep verify {}", model.id)));
                }
                Err(error) => {
                    if error.kind() == Kind::Integrity {
                        locked(&self.wrong).insert((push.txn, sought.file.path.clone()));
                    }
                    return Err(error.context(format_args!("{}@{}: {}", model.id, push.number, sought.file.path)));
                }
            }
        }
        Err(lost.unwrap_or_else(broken_off))
    }

    /// From one push; `None` when it is not there, and nobody was given anything yet.
    async fn bring_from(
        &self,
        model: &Model,
        push: &Push,
        sought: &Sought,
        flight: &Arc<Flight>,
    ) -> Result<Option<Good>> {
        let Some(found) = tree::find(&self.store, model, push).await? else { return Ok(None) };
        let object = found.file(&sought.file.path);
        let brought = match self.store.remote.open_local(&object).await {
            Ok(Some(file)) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                self.check(file, Place::Store(object), &sought.file, flight).await
            }
            Ok(None) => self.fetch(&object, &sought.file, flight).await,
            Err(error) => Err(error),
        };
        match brought {
            Err(error) if error.kind() == Kind::NotFound && flight.offered().is_none() => Ok(None),
            brought => brought.map(Some),
        }
    }

    /// Has a file read meanwhile, and reads all of it once, unless it was read before and only stands elsewhere now.
    async fn check(&self, file: File, place: Place, wanted: &FileEntry, flight: &Arc<Flight>) -> Result<Good> {
        let stat = stat(&file)?;
        if stat.size != wanted.size {
            return Err(wrong(&format!("it has {} bytes", stat.size), wanted));
        }
        let file = Arc::new(file);
        flight.offer(&file, wanted.size);
        let good = Good { file: Arc::clone(&file), known: Known { stat, place } };
        if locked(&self.known).get(&wanted.sha256).is_some_and(|known| known.stat == stat) {
            return Ok(good);
        }
        let sha256 = tokio::task::spawn_blocking(move || digest(&file))
            .await
            .map_err(|error| Error::internal("a file task ended badly").because(error))?
            .map_err(|error| Error::local("a stored file cannot be read").because(error))?;
        if sha256 != wanted.sha256 {
            return Err(wrong(&format!("its content has the digest {sha256}"), wanted));
        }
        if self::stat(&good.file)? != stat {
            return Err(wrong("it was changed while it was read", wanted));
        }
        Ok(good)
    }

    /// Brings a file into the cache, read meanwhile as far as it came.
    async fn fetch(&self, object: &Object, wanted: &FileEntry, flight: &Arc<Flight>) -> Result<Good> {
        let FileEntry { sha256, size, .. } = wanted;
        let name = format!("serve {sha256}");
        let _one = lock::hold(&self.ctx, self.cache.folder(), &name, "another server fetches the same file").await?;
        if let Some(file) = self.cache.open(sha256) {
            return self.check(file, Place::Cache, wanted, flight).await;
        }
        let _slot = self.cache.make_room(sha256, *size).await?;
        let partial = self.cache.partial(sha256);
        let room = Wanted {
            what: format!("a copy of {}", object.path),
            bytes: *size,
            budget: None,
            into: self.cache.folder(),
            instead: vec!["modelkeep config set serve.cache 1GB".to_owned()],
        };
        room::make(&self.ctx, &room, false).await?;
        let arriving = Arriving::new(flight, partial.clone(), *size);
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let moved = self.store.remote.fetch(object, &partial, Arc::new(arriving)).await;
        let checked = moved.and_then(|moved| {
            self.fetched.fetch_add(moved.fetched, Ordering::Relaxed);
            if moved.sha256 == *sha256 && moved.size == *size {
                return Ok(());
            }
            Err(wrong(&format!("what came has {} bytes and the digest {}", moved.size, moved.sha256), wanted))
        });
        if let Err(error) = checked {
            if error.kind() == Kind::Integrity {
                // Whatever is wrong, nothing good can be added to it.
                self.cache.drop_one(sha256);
            }
            return Err(error);
        }
        self.cache.keep(sha256)?;
        let kept = File::open(self.cache.whole(sha256)).map_err(|error| failed("reading", &partial, error))?;
        land_on(kept, *size, flight).map(|(file, stat)| Good { file, known: Known { stat, place: Place::Cache } })
    }
}

/// The file that content was found to be good in; whoever read while it came must have read from this very one.
pub(super) fn land_on(file: File, size: u64, flight: &Flight) -> Result<(Arc<File>, Stat)> {
    let there = stat(&file)?;
    match flight.offered() {
        Some(offered) if stat(&offered)?.inode == there.inode => Ok((offered, there)),
        Some(_) => Err(Error::new(Kind::Unavailable, "it was begun anew while it was read").hint("ask again")),
        None => {
            let file = Arc::new(file);
            flight.offer(&file, size);
            Ok((file, there))
        }
    }
}

fn wrong(what: &str, wanted: &FileEntry) -> Error {
    Error::integrity(format!("{what}, but should have {} bytes and {}", wanted.size, wanted.sha256))
        .hint("modelkeep verify --deep, then modelkeep repair --deep")
}

pub(super) fn stat(file: &File) -> Result<Stat> {
    let metadata = file.metadata().map_err(|error| Error::local("a stored file cannot be looked at").because(error))?;
    Ok(Stat::of(&metadata))
}

fn digest(file: &File) -> std::io::Result<Sha256> {
    let mut hasher = sha2::Sha256::new();
    show_all(file, |bytes| hasher.update(bytes))?;
    Ok(Sha256::from_bytes(hasher.finalize().into()))
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
