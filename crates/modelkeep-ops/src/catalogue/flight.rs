//! Content on its way to being trusted: brought once, or read once to be checked, and followed by all who read it
//! meanwhile.
//!
//! A follower may read what is there already, but the end only when the whole was checked. Knows nothing of where it
//! comes from.

use std::collections::HashMap;
use std::fs::File;
use std::hash::Hash;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::Meter;
use tokio::sync::watch;

/// A fetch that nobody follows any more goes on for so long: a client that lost patience comes back.
const ALONE: Duration = Duration::from_secs(60);

/// How far it is.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The file to read from, once there is one.
    pub file: Option<Arc<File>>,
    /// So many of its bytes are there.
    pub there: u64,
    /// How it ended.
    pub ended: Option<Result<(), Arc<Error>>>,
}

/// All flights of one source, by what they bring.
#[derive(Debug)]
pub struct Flights<K> {
    under_way: Mutex<HashMap<K, Arc<Flight>>>,
    stop: Arc<AtomicBool>,
}

impl<K: Clone + Eq + Hash + Send + 'static> Flights<K> {
    /// None yet.
    pub fn new() -> Self {
        Self { under_way: Mutex::default(), stop: Arc::default() }
    }

    /// Follows the flight that brings this; `true` with a new one, which somebody has to fly.
    pub fn join_or_begin(&self, key: K) -> (Arc<Flight>, watch::Receiver<Progress>, bool) {
        let mut under_way = self.under_way();
        let mut is_new = false;
        let flight = under_way.entry(key).or_insert_with(|| {
            is_new = true;
            Arc::new(Flight::new(Arc::clone(&self.stop)))
        });
        (Arc::clone(flight), flight.progress.subscribe(), is_new)
    }

    /// It is over: who asks from now on begins anew, who follows is told.
    pub fn land(&self, key: &K, flight: &Flight, outcome: Result<()>) {
        self.under_way().remove(key);
        flight.progress.send_modify(|progress| progress.ended = Some(outcome.map_err(Arc::new)));
    }

    /// Ends all that is under way.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<K, Arc<Flight>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Content on its way.
#[derive(Debug)]
pub struct Flight {
    progress: watch::Sender<Progress>,
    alone: Mutex<Option<Instant>>,
    stop: Arc<AtomicBool>,
}

impl Flight {
    fn new(stop: Arc<AtomicBool>) -> Self {
        Self { progress: watch::Sender::new(Progress::default()), alone: Mutex::default(), stop }
    }

    /// The file to read from, and how much of it is there.
    pub fn offer(&self, file: &Arc<File>, there: u64) {
        self.progress.send_modify(|progress| {
            progress.file = Some(Arc::clone(file));
            progress.there = there;
        });
    }

    /// The file that somebody may have read from already.
    pub fn offered(&self) -> Option<Arc<File>> {
        self.progress.borrow().file.clone()
    }

    /// Whether it should go on.
    fn go_on(&self) -> bool {
        let mut alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        if self.progress.receiver_count() > 0 {
            *alone = None;
        } else if alone.get_or_insert_with(Instant::now).elapsed() > ALONE {
            return false;
        }
        !self.stop.load(Ordering::Relaxed)
    }
}

/// Tells a flight's followers of bytes that arrive in a file, which only ever grows.
#[derive(Debug)]
pub struct Arriving {
    flight: Arc<Flight>,
    path: PathBuf,
    size: u64,
    file: OnceLock<Option<Arc<File>>>,
}

impl Arriving {
    /// In the file at `path`, once it is there; no more than `size` bytes count.
    pub fn new(flight: &Arc<Flight>, path: PathBuf, size: u64) -> Self {
        Self { flight: Arc::clone(flight), path, size, file: OnceLock::new() }
    }
}

impl Meter for Arriving {
    fn advance(&self, _: u64) -> ControlFlow<()> {
        let file = self.file.get_or_init(|| File::open(&self.path).ok().map(Arc::new));
        // The file itself says how much of it is there, however often the fetch began again.
        if let Some(file) = file
            && let Ok(metadata) = file.metadata()
        {
            let there = metadata.len().min(self.size);
            self.flight.progress.send_if_modified(|progress| {
                let more = progress.file.is_none() || there > progress.there;
                progress.file.get_or_insert_with(|| Arc::clone(file));
                progress.there = progress.there.max(there);
                more
            });
        }
        if self.flight.go_on() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// An error that several are told.
pub fn same(error: &Error) -> Error {
    let told = Error::new(error.kind(), error.full_message());
    match error.hint_text() {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

/// The error of a flight that ended without saying how.
pub fn broken_off() -> Error {
    Error::new(Kind::Unavailable, "it was stopped before it was done")
}
