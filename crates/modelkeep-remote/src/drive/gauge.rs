//! What went by in a transfer: told to the meter, and watched for silence.
//!
//! Knows bytes and time. Does not know requests.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use modelkeep_core::{Error, Kind, Result};
use modelkeep_http::silent;

use super::error::Failure;
use crate::remote::Meter;

/// What went by in one transfer: tells the meter of each byte once, and knows when the last one moved.
pub(super) struct Gauge {
    meter: Arc<dyn Meter>,
    told: AtomicU64,
    skipped: AtomicU64,
    moved: Mutex<Instant>,
    stopped: AtomicBool,
}

impl std::fmt::Debug for Gauge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gauge").field("told", &self.told).finish_non_exhaustive()
    }
}

impl Gauge {
    pub fn new(meter: Arc<dyn Meter>) -> Arc<Self> {
        Arc::new(Self {
            meter,
            told: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            moved: Mutex::new(Instant::now()),
            stopped: AtomicBool::new(false),
        })
    }

    /// Bytes up to `offset` were moved; those that are moved again are not told again.
    pub fn reach(&self, offset: u64) -> Result<()> {
        self.touch();
        let before = self.told.fetch_max(offset, Ordering::SeqCst);
        if offset > before && self.meter.advance(offset - before).is_break() {
            self.stopped.store(true, Ordering::SeqCst);
        }
        self.check()
    }

    /// Bytes up to `offset` are there from an earlier time and count as told.
    pub fn skip(&self, offset: u64) {
        self.told.fetch_max(offset, Ordering::SeqCst);
        self.skipped.fetch_max(offset, Ordering::SeqCst);
    }

    /// What was there is lost, and goes once more.
    pub fn skip_nothing(&self) {
        self.skipped.store(0, Ordering::SeqCst);
    }

    /// Bytes that were there from an earlier time.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::SeqCst)
    }

    pub fn check(&self) -> Result<()> {
        if self.stopped.load(Ordering::SeqCst) { Err(stopped()) } else { Ok(()) }
    }

    pub fn touch(&self) {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle(&self) -> Duration {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// The result of `work`, unless no byte moves for so long.
    pub async fn watch<T>(
        &self,
        stall: Duration,
        doing: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.touch();
        let mut work = std::pin::pin!(work);
        loop {
            let left = stall.saturating_sub(self.idle());
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(left.max(Duration::from_millis(10))) => {
                    if self.idle() >= stall {
                        return Err(Failure::Broken(silent(doing, stall)));
                    }
                }
            }
        }
    }
}

fn stopped() -> Error {
    Error::new(Kind::Interrupted, "the transfer was stopped")
}
