//! The server's time, which a test can move: tokens expire and sessions die without anybody waiting.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The system's time and what a test added to it.
#[derive(Debug, Default)]
pub struct Clock {
    ahead_ms: AtomicI64,
}

impl Clock {
    /// One that says `start` now, and goes on from there.
    pub fn from(start: Timestamp) -> Self {
        Self { ahead_ms: AtomicI64::new(start.as_millisecond() - Timestamp::now().as_millisecond()) }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_millis(self.ahead_ms.load(Ordering::Relaxed))
    }

    pub fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX / 4), Ordering::Relaxed);
    }
}

/// RFC 3339 with milliseconds and `Z`, as Drive writes every time.
pub fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}
