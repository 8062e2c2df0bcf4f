//! When a request goes out again.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// How often, and with which waits: exponential backoff with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How often at most, the first time included.
    pub attempts: u32,
    /// The longest wait before the second attempt; doubles with each further one.
    pub base: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, base: Duration::from_millis(500) }
    }
}

/// No wait is longer of itself.
const LONGEST: Duration = Duration::from_secs(64);

/// A longer `Retry-After` is an error, not a wait.
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);

impl Retry {
    /// How long to wait after this attempt, counted from 1; `None` after the last one. Between nothing and twice the
    /// longest wait before (full jitter), so that clients that failed together do not come back together.
    pub fn wait(&self, attempt: u32) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let longest = self.base.saturating_mul(1 << (attempt - 1).min(10)).min(LONGEST);
        let share = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        Some(longest.mul_f64(share))
    }

    /// The same where the server may have asked for a wait of its own; `None` when it asks for too long a one.
    pub fn wait_as_asked(&self, attempt: u32, asked: Option<Duration>) -> Option<Duration> {
        let wait = self.wait(attempt)?;
        Some(asked.map_or(wait, |asked| wait.max(asked))).filter(|wait| *wait <= LONGEST_WAIT)
    }
}

/// Seconds, or a date: RFC 9110, section 10.2.3.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    SystemTime::try_from(at).ok()?.duration_since(SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |text: &str| retry_after(&[(RETRY_AFTER, text.parse().unwrap())].into_iter().collect());
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("Fri, 01 Jan 1999 00:00:00 GMT"), None);
        assert!(of("Tue, 01 Jan 2999 00:00:00 GMT").is_some());
        assert_eq!(of("soon"), None);
    }

    #[test]
    fn what_the_server_asks_for_counts_unless_it_is_too_long() {
        let retry = Retry { attempts: 3, base: Duration::ZERO };
        assert_eq!(retry.wait_as_asked(1, None), Some(Duration::ZERO));
        assert_eq!(retry.wait_as_asked(1, Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(retry.wait_as_asked(1, Some(Duration::from_secs(3600))), None);
        assert_eq!(retry.wait_as_asked(3, Some(Duration::from_secs(7))), None);
    }
}
