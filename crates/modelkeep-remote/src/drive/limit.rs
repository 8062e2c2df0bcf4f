//! How fast Google may be asked, and what was asked so far.
//!
//! Knows quota units. Does not know requests. Source:
//! <https://developers.google.com/workspace/drive/api/guides/limits> (from May 2026): 325,000 units a minute for each
//! user of a project.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What calls cost, in units. Create and copy are not named by Google and are counted like an update.
pub(super) mod cost {
    pub const GET: u32 = 5;
    pub const OTHER: u32 = 5;
    pub const LIST: u32 = 100;
    pub const DOWNLOAD: u32 = 200;
    pub const WRITE: u32 = 50;
    /// A part of an upload belongs to the call that began it.
    pub const PART: u32 = 0;
}

/// A tenth less than Google allows, since others may use the same account.
const UNITS_A_SECOND: f64 = 325_000.0 / 60.0 * 0.9;
/// So much at once after a pause: six seconds' worth.
const BURST: f64 = UNITS_A_SECOND * 6.0;

/// What was asked of Google so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Requests that went out, those that were tried again included.
    pub calls: u64,
    /// Quota units of them.
    pub units: u64,
}

/// A bucket of units that all requests take from, and one brake for all.
#[derive(Debug)]
pub(super) struct Limiter(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    units: f64,
    filled: Instant,
    /// Nobody asks before: Google said that we are too fast.
    not_before: Option<Instant>,
    spent: Spent,
}

impl Limiter {
    pub fn new() -> Self {
        Self(Mutex::new(Bucket { units: BURST, filled: Instant::now(), not_before: None, spent: Spent::default() }))
    }

    /// Returns when a request of so many units may go out, and counts it.
    pub async fn pass(&self, units: u32) {
        loop {
            let Some(wait) = self.bucket().take(units, Instant::now()) else { return };
            tokio::time::sleep(wait).await;
        }
    }

    /// Everybody waits.
    pub fn slow_down(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut bucket = self.bucket();
        bucket.not_before = Some(bucket.not_before.map_or(until, |before| before.max(until)));
    }

    pub fn spent(&self) -> Spent {
        self.bucket().spent
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    /// Takes units, or says how long to wait for them.
    fn take(&mut self, units: u32, now: Instant) -> Option<Duration> {
        if let Some(until) = self.not_before {
            if until > now {
                return Some(until - now);
            }
            self.not_before = None;
        }
        let grown = now.saturating_duration_since(self.filled).as_secs_f64() * UNITS_A_SECOND;
        self.units = (self.units + grown).min(BURST);
        self.filled = now;
        let wanted = f64::from(units);
        if self.units < wanted {
            // Timers are no finer, and a wait that rounds to nothing would never end.
            return Some(Duration::from_secs_f64((wanted - self.units) / UNITS_A_SECOND).max(Duration::from_millis(1)));
        }
        self.units -= wanted;
        self.spent.calls += 1;
        self.spent.units += u64::from(units);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_gives_no_more_units_than_google_allows() {
        let begin = Instant::now();
        let mut bucket = Bucket { units: BURST, filled: begin, not_before: None, spent: Spent::default() };
        let mut now = begin;
        while now < begin + Duration::from_secs(60) {
            if let Some(wait) = bucket.take(200, now) {
                now += wait;
            }
        }
        let units = bucket.spent.units;
        assert!((290_000..=325_000).contains(&units), "{units}");
        assert_eq!(bucket.spent.calls * 200, units);
    }

    #[test]
    fn a_brake_holds_everybody() {
        let now = Instant::now();
        let until = Some(now + Duration::from_secs(3));
        let mut bucket = Bucket { units: BURST, filled: now, not_before: until, spent: Spent::default() };
        assert_eq!(bucket.take(1, now), Some(Duration::from_secs(3)));
        assert_eq!(bucket.take(1, now + Duration::from_secs(3)), None);
    }
}
