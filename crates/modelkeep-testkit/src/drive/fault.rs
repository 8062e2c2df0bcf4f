//! What goes wrong on purpose, in a language of one rule each.
//!
//! `KIND[:ARGUMENT][:PROBABILITY][*TIMES][@CALL]`, for example
//!
//! | rule | meaning |
//! |---|---|
//! | `rate-limit:0.1` | one request in ten is refused: 403 or 429, with `Retry-After` now and then |
//! | `5xx:0.05` | … with 500, 502, 503 or 504, as JSON, HTML or nothing |
//! | `cut-after:1048576:0.5` | the connection breaks after so many bytes of a body, up or down, if it has more |
//! | `lost-response:0.1` | the server acts, then the connection breaks before a byte of the answer |
//! | `slow:65536` | bytes a second, up and down |
//! | `stall:0.1` | no byte ever comes again, before or after the server acted |
//! | `session-expired:0.1` | an upload session is gone when it is used |
//! | `checksum-late:2` | the first two looks at new content find no `sha256Checksum` |
//! | `listing-late:3` | what another login put somewhere is left out of the next three listings |
//! | `short-page:0.5` | a page of a listing has fewer files than it could, maybe none |
//! | `quota-full` | there is no room for a byte |
//! | `token-expired-after:50` | a token is good for fifty requests |
//!
//! `*2` ends a rule after it struck twice; `@upload.chunk` keeps it to calls whose name begins so (rules about requests
//! only; without it they strike every call of the Drive API, and never OAuth). Everything is drawn from one seed.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::call::Call;
use super::random::Random;

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    kind: Kind,
    probability: f64,
    times: Option<u32>,
    call: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    RateLimit,
    ServerError,
    CutAfter(u64),
    LostResponse,
    Slow(u64),
    Stall,
    SessionExpired,
    ChecksumLate(u32),
    ListingLate(u32),
    ShortPage,
    QuotaFull,
    TokenExpiredAfter(u64),
}

/// A rule that cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub struct BadRule(String);

impl fmt::Display for BadRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no fault rule: {:?} (try rate-limit:0.1, cut-after:65536, lost-response:0.1*1@files.create)", self.0)
    }
}

impl std::error::Error for BadRule {}

impl FromStr for Fault {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let bad = || BadRule(text.to_owned());
        let (rest, call) = text.split_once('@').map_or((text, None), |(rest, call)| (rest, Some(call.to_owned())));
        let (rest, times) = match rest.split_once('*') {
            Some((rest, times)) => (rest, Some(times.parse().map_err(|_| bad())?)),
            None => (rest, None),
        };
        let mut words = rest.split(':');
        let name = words.next().unwrap_or_default();
        let arguments: Vec<&str> = words.collect();
        let takes_number =
            ["cut-after", "slow", "checksum-late", "listing-late", "token-expired-after"].contains(&name);
        let (number, probability) = match (takes_number, &arguments[..]) {
            (true, [number]) => (number.parse().map_err(|_| bad())?, None),
            (true, [number, probability]) => (number.parse().map_err(|_| bad())?, Some(probability)),
            (false, []) => (0_u64, None),
            (false, [probability]) => (0, Some(probability)),
            _ => return Err(bad()),
        };
        let probability = probability.map_or(Ok(1.0), |text| text.parse()).map_err(|_| bad())?;
        let small = || u32::try_from(number).map_err(|_| bad());
        let kind = match name {
            "rate-limit" => Kind::RateLimit,
            "5xx" => Kind::ServerError,
            "cut-after" => Kind::CutAfter(number),
            "lost-response" => Kind::LostResponse,
            "slow" if number > 0 => Kind::Slow(number),
            "stall" => Kind::Stall,
            "session-expired" => Kind::SessionExpired,
            "checksum-late" => Kind::ChecksumLate(small()?),
            "listing-late" => Kind::ListingLate(small()?),
            "short-page" => Kind::ShortPage,
            "quota-full" => Kind::QuotaFull,
            "token-expired-after" => Kind::TokenExpiredAfter(number),
            _ => return Err(bad()),
        };
        if !(0.0..=1.0).contains(&probability) {
            return Err(bad());
        }
        Ok(Self { kind, probability, times, call })
    }
}

/// The rules in force, and their dice.
#[derive(Debug)]
pub struct Faults(Mutex<Dice>);

#[derive(Debug)]
struct Dice {
    rules: Vec<Fault>,
    random: Random,
}

/// What happens to one request.
#[derive(Debug, Default)]
pub struct Fate {
    /// Answered so, and not acted upon.
    pub refused: Option<Refusal>,
    pub cut_after: Option<u64>,
    pub bytes_per_second: Option<u64>,
    pub lost: bool,
    pub stall: Option<Stall>,
    pub end_session: bool,
    /// For the log.
    pub named: Vec<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stall {
    BeforeActing,
    AfterActing,
    InTheAnswer,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Refusal {
    RateLimit { status: u16, user: bool, retry_after: Option<u32> },
    Server { status: u16, says: Says },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Says {
    Json,
    Html,
    Nothing,
}

impl Faults {
    pub fn new(rules: Vec<Fault>, seed: u64) -> Self {
        Self(Mutex::new(Dice { rules, random: Random::new(seed) }))
    }

    pub fn add(&self, rule: Fault) {
        self.dice().rules.push(rule);
    }

    pub fn clear(&self) {
        self.dice().rules.clear();
    }

    /// Draws what happens to a request.
    pub fn fate(&self, call: &Call) -> Fate {
        let mut dice = self.dice();
        let Dice { rules, random } = &mut *dice;
        let mut fate = Fate::default();
        for rule in rules.iter_mut().filter(|rule| rule.is_about(call)) {
            if !random.chance(rule.probability) {
                continue;
            }
            let name = match rule.kind {
                Kind::RateLimit => {
                    fate.refused = Some(rate_limit(random));
                    "rate-limit"
                }
                Kind::ServerError => {
                    fate.refused = Some(server_error(random));
                    "5xx"
                }
                Kind::CutAfter(bytes) => {
                    fate.cut_after = Some(bytes);
                    "cut-after"
                }
                Kind::LostResponse => {
                    fate.lost = true;
                    "lost-response"
                }
                Kind::Slow(rate) => {
                    fate.bytes_per_second = Some(rate);
                    "slow"
                }
                Kind::Stall => {
                    let kinds = [Stall::BeforeActing, Stall::AfterActing, Stall::InTheAnswer];
                    fate.stall = Some(kinds[random.below(kinds.len())]);
                    "stall"
                }
                Kind::SessionExpired if call.upload_id().is_some() => {
                    fate.end_session = true;
                    "session-expired"
                }
                _ => continue,
            };
            fate.named.push(name);
            rule.struck();
        }
        rules.retain(|rule| rule.times != Some(0));
        fate
    }

    /// Requests that a token is good for.
    pub fn token_requests(&self) -> Option<u64> {
        self.find(|kind| if let Kind::TokenExpiredAfter(requests) = kind { Some(requests) } else { None })
    }

    pub fn checksum_late(&self) -> u32 {
        self.find(|kind| if let Kind::ChecksumLate(looks) = kind { Some(looks) } else { None }).unwrap_or(0)
    }

    pub fn listing_late(&self) -> u32 {
        self.find(|kind| if let Kind::ListingLate(listings) = kind { Some(listings) } else { None }).unwrap_or(0)
    }

    pub fn quota_full(&self) -> bool {
        self.find(|kind| (kind == Kind::QuotaFull).then_some(())).is_some()
    }

    /// How many files a page gets that could have `most`.
    pub fn page_size(&self, most: usize) -> usize {
        let short = self.find(|kind| (kind == Kind::ShortPage).then_some(())).is_some();
        // At least every other page has something, so that a listing ends.
        if short { self.dice().random.below(most + 1) } else { most }
    }

    /// What the first rule of a kind says, if it strikes.
    fn find<T>(&self, pick: impl Fn(Kind) -> Option<T>) -> Option<T> {
        let mut dice = self.dice();
        let Dice { rules, random } = &mut *dice;
        let (rule, value) = rules.iter_mut().find_map(|rule| Some((pick(rule.kind)?, rule))).map(|(v, r)| (r, v))?;
        if !random.chance(rule.probability) {
            return None;
        }
        rule.struck();
        rules.retain(|rule| rule.times != Some(0));
        Some(value)
    }

    fn dice(&self) -> MutexGuard<'_, Dice> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fault {
    fn is_about(&self, call: &Call) -> bool {
        match &self.call {
            Some(prefix) => call.name.starts_with(prefix.as_str()),
            None => !["oauth.", "fake", "unknown"].iter().any(|prefix| call.name.starts_with(prefix)),
        }
    }

    fn struck(&mut self) {
        self.times = self.times.map(|times| times.saturating_sub(1));
    }
}

fn rate_limit(random: &mut Random) -> Refusal {
    let status = if random.chance(0.5) { 403 } else { 429 };
    let retry_after = random.chance(0.25).then_some(1);
    Refusal::RateLimit { status, user: status == 403 && random.chance(0.5), retry_after }
}

fn server_error(random: &mut Random) -> Refusal {
    let status = [500, 502, 503, 504][random.below(4)];
    let says = [Says::Json, Says::Html, Says::Nothing][random.below(3)];
    Refusal::Server { status, says }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, Method};

    use super::*;

    fn call(uri: &str) -> Call {
        Call::of(&Method::GET, &uri.parse().unwrap(), &HeaderMap::new())
    }

    #[test]
    fn rules_are_read() {
        for rule in [
            "rate-limit:0.1",
            "5xx:1",
            "cut-after:65536",
            "cut-after:65536:0.5",
            "lost-response:1*1@files.create",
            "slow:1000",
            "stall:0.01",
            "session-expired:0.5",
            "checksum-late:2",
            "listing-late:3",
            "quota-full",
            "token-expired-after:50",
            "short-page:0.5",
        ] {
            assert!(rule.parse::<Fault>().is_ok(), "{rule}");
        }
        for rule in ["", "nosuch", "rate-limit:2", "rate-limit:x", "cut-after", "cut-after:x", "slow:0", "stall*x"] {
            assert!(rule.parse::<Fault>().is_err(), "{rule}");
        }
    }

    #[test]
    fn the_same_seed_strikes_the_same() {
        let fates = |seed| {
            let faults = Faults::new(vec!["5xx:0.3".parse().unwrap(), "lost-response:0.3".parse().unwrap()], seed);
            (0..50).map(|_| format!("{:?}", faults.fate(&call("/drive/v3/about")))).collect::<Vec<_>>()
        };
        assert_eq!(fates(3), fates(3));
        assert_ne!(fates(3), fates(4));
    }

    #[test]
    fn rules_keep_to_their_calls_and_times() {
        let faults = Faults::new(vec!["lost-response:1*1@files.get".parse().unwrap()], 1);
        assert!(!faults.fate(&call("/drive/v3/files")).lost);
        assert!(faults.fate(&call("/drive/v3/files/1")).lost);
        assert!(!faults.fate(&call("/drive/v3/files/1")).lost);
        faults.add("5xx:1".parse().unwrap());
        assert!(faults.fate(&call("/token")).refused.is_none());
        assert!(faults.fate(&call("/drive/v3/files")).refused.is_some());
    }
}
