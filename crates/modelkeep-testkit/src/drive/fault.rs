//! What goes wrong on purpose: a list of rules, `NAME[=ARGUMENT][:RATE][*TIMES][@CALL]`, separated by commas.
//!
//! | rule | meaning |
//! |---|---|
//! | `429:0.1` | one request in ten is refused as one too many, with `Retry-After` now and then |
//! | `403rate:0.1` | the same as 403, `rateLimitExceeded` or `userRateLimitExceeded` |
//! | `503:0.05` | … with 503, as JSON, HTML or nothing; `5xx` draws from 500, 502, 503 and 504 |
//! | `cut:0.02` | the connection closes after a random share of the body, up or down; `cut=65536` after so many bytes, if there are more |
//! | `lost-reply:0.02` | the server acts, then closes without a byte of an answer |
//! | `expire-session:0.01` | the upload session that is used is gone: 404 |
//! | `expire-token:0.01` | this one request gets 401, and the token is good again at the next; `expire-token=50`: a token is good for fifty requests |
//! | `late-checksum:0.1` | the checksums of new content are absent for the next 1 to 3 looks; `late-checksum=2`: for two |
//! | `late-list:0.1` | a new object, or one in a new place, is left out of the next 1 to 3 listings that should have it, and read by id all the same; `late-list=2`: of two |
//! | `slow:0.05` | this answer comes with 50 KB a second; `slow=65536`: so many bytes a second, up and down |
//! | `stall:0.01` | nothing for 60 seconds: the request never arrives, or its answer comes so late |
//! | `short-page:0.5` | a page of a listing has fewer files than it could, maybe none |
//! | `full` | there is no room for a byte |
//!
//! The rate is a chance for each request, 1 without. `*2` ends a rule after it struck twice; `@upload.chunk` keeps it to
//! calls whose name begins so (rules about requests only; without it they strike every call of the Drive API, and never
//! OAuth). Everything is drawn from one seed: `seed:7` in the list.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::call::Call;
use super::random::Random;
use crate::rule::{self, Rule};

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    kind: Kind,
    rate: f64,
    times: Option<u32>,
    call: Option<String>,
}

/// A list of rules, and the seed of what they draw if one is said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spec {
    pub(super) rules: Vec<Fault>,
    pub(super) seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    TooMany,
    RateLimit,
    Unavailable,
    ServerError,
    /// After so many bytes, else after a share of the body.
    Cut(Option<u64>),
    LostReply,
    /// Bytes a second.
    Slow(Option<u64>),
    Stall,
    ExpireSession,
    /// Requests that each token is good for; else this request is refused.
    ExpireToken(Option<u64>),
    LateChecksum(Option<u32>),
    LateList(Option<u32>),
    ShortPage,
    Full,
}

/// A rule that cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub struct BadRule(String);

impl fmt::Display for BadRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no fault: `{}` (there are 429, 403rate, 503, 5xx, cut, lost-reply, expire-session, expire-token, \
             late-checksum, late-list, slow, stall, short-page, full; for example 429:0.05,cut:0.02,seed:7)",
            self.0
        )
    }
}

impl std::error::Error for BadRule {}

impl FromStr for Spec {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let (rules, seed) = rule::read(text, Fault::of).map_err(|bad| BadRule(bad.0))?;
        Ok(Self { rules, seed })
    }
}

impl Fault {
    /// The fault that a rule means; `None` when there is none of that name, or none with such an argument.
    fn of(rule: Rule) -> Option<Self> {
        let argument: Option<u64> = rule.argument.as_deref().map(str::parse).transpose().ok()?;
        let small = || argument.map(u32::try_from).transpose().ok();
        let kind = match (&*rule.name, argument) {
            ("429", None) => Kind::TooMany,
            ("403rate", None) => Kind::RateLimit,
            ("503", None) => Kind::Unavailable,
            ("5xx", None) => Kind::ServerError,
            ("cut", _) => Kind::Cut(argument),
            ("lost-reply", None) => Kind::LostReply,
            ("slow", None | Some(1..)) => Kind::Slow(argument),
            ("stall", None) => Kind::Stall,
            ("expire-session", None) => Kind::ExpireSession,
            ("expire-token", _) => Kind::ExpireToken(argument),
            ("late-checksum", _) => Kind::LateChecksum(small()?),
            ("late-list", _) => Kind::LateList(small()?),
            ("short-page", None) => Kind::ShortPage,
            ("full", None) => Kind::Full,
            _ => return None,
        };
        Some(Self { kind, rate: rule.rate, times: rule.times, call: rule.call })
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
    pub cut: Option<Cut>,
    pub slow: Option<Slow>,
    pub lost: bool,
    pub stall: Option<Stall>,
    pub end_session: bool,
    /// For the log.
    pub named: Vec<&'static str>,
}

/// Where a connection closes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cut {
    /// After so many bytes of a body, up or down, if it has more.
    After(u64),
    /// After this share of the request's body, if it has one, or of the answer's.
    Share { up: bool, share: f64 },
}

/// How slowly bodies go, in bytes a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slow {
    pub rate: u64,
    /// The request's body too.
    pub up: bool,
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
    Token,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Says {
    Json,
    Html,
    Nothing,
}

/// How fast `slow` is.
const SLOW: u64 = 50_000;

impl Cut {
    /// After how many bytes of a request's body; one without a size counts as this many.
    pub fn up(self, size: Option<u64>) -> Option<u64> {
        const UNKNOWN: u64 = 1 << 20;
        match self {
            Self::After(bytes) => Some(bytes),
            Self::Share { up: true, share } if size != Some(0) => Some(of(size.unwrap_or(UNKNOWN), share)),
            Self::Share { .. } => None,
        }
    }

    /// After how many bytes of an answer's body, if it has more.
    pub fn down(self, size: Option<u64>, request_has_body: bool) -> Option<u64> {
        match self {
            Self::After(bytes) => Some(bytes).filter(|bytes| size.is_none_or(|size| size > *bytes)),
            Self::Share { up: true, .. } if request_has_body => None,
            Self::Share { share, .. } => Some(of(size.unwrap_or(0), share)),
        }
    }
}

/// A share of a number of bytes, all of them never.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn of(size: u64, share: f64) -> u64 {
    ((size as f64 * share) as u64).min(size.saturating_sub(1))
}

impl Faults {
    pub fn new(rules: Vec<Fault>, seed: u64) -> Self {
        Self(Mutex::new(Dice { rules, random: Random::new(seed) }))
    }

    /// More rules; with a seed, all is drawn from that from now on.
    pub fn add(&self, spec: Spec) {
        let mut dice = self.dice();
        dice.rules.extend(spec.rules);
        if let Some(seed) = spec.seed {
            dice.random = Random::new(seed);
        }
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
            if !random.chance(rule.rate) {
                continue;
            }
            let name = match rule.kind {
                Kind::TooMany => {
                    fate.refused = Some(rate_limit(random, 429));
                    "429"
                }
                Kind::RateLimit => {
                    fate.refused = Some(rate_limit(random, 403));
                    "403rate"
                }
                Kind::Unavailable => {
                    fate.refused = Some(server_error(random, &[503]));
                    "503"
                }
                Kind::ServerError => {
                    fate.refused = Some(server_error(random, &[500, 502, 503, 504]));
                    "5xx"
                }
                Kind::ExpireToken(None) => {
                    fate.refused = Some(Refusal::Token);
                    "expire-token"
                }
                Kind::Cut(bytes) => {
                    let share = || Cut::Share { up: random.chance(0.5), share: random.share() };
                    fate.cut = Some(bytes.map_or_else(share, Cut::After));
                    "cut"
                }
                Kind::LostReply => {
                    fate.lost = true;
                    "lost-reply"
                }
                Kind::Slow(rate) => {
                    fate.slow = Some(Slow { rate: rate.unwrap_or(SLOW), up: rate.is_some() });
                    "slow"
                }
                Kind::Stall => {
                    let kinds = [Stall::BeforeActing, Stall::AfterActing, Stall::InTheAnswer];
                    fate.stall = Some(kinds[random.below(kinds.len())]);
                    "stall"
                }
                Kind::ExpireSession if call.upload_id().is_some() => {
                    fate.end_session = true;
                    "expire-session"
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
        self.find(|kind, _| if let Kind::ExpireToken(Some(requests)) = kind { Some(requests) } else { None })
    }

    /// How many looks at new content find no checksum.
    pub fn checksum_late(&self) -> u32 {
        let late = self.find(|kind, random| match kind {
            Kind::LateChecksum(looks) => Some(looks.unwrap_or_else(|| one_to_three(random))),
            _ => None,
        });
        late.unwrap_or(0)
    }

    /// How many listings miss what is new.
    pub fn listing_late(&self) -> u32 {
        let late = self.find(|kind, random| match kind {
            Kind::LateList(listings) => Some(listings.unwrap_or_else(|| one_to_three(random))),
            _ => None,
        });
        late.unwrap_or(0)
    }

    pub fn full(&self) -> bool {
        self.find(|kind, _| (kind == Kind::Full).then_some(())).is_some()
    }

    /// How many files a page gets that could have `most`.
    pub fn page_size(&self, most: usize) -> usize {
        let short = self.find(|kind, _| (kind == Kind::ShortPage).then_some(())).is_some();
        // At least every other page has something, so that a listing ends.
        if short { self.dice().random.below(most + 1) } else { most }
    }

    /// What the first rule of a kind says, if it strikes.
    fn find<T>(&self, pick: impl Fn(Kind, &mut Random) -> Option<T>) -> Option<T> {
        let mut dice = self.dice();
        let Dice { rules, random } = &mut *dice;
        let (rule, value) =
            rules.iter_mut().find_map(|rule| Some((pick(rule.kind, random)?, rule))).map(|(v, r)| (r, v))?;
        if !random.chance(rule.rate) {
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

fn one_to_three(random: &mut Random) -> u32 {
    [1, 2, 3][random.below(3)]
}

fn rate_limit(random: &mut Random, status: u16) -> Refusal {
    let retry_after = random.chance(0.25).then_some(1);
    Refusal::RateLimit { status, user: status == 403 && random.chance(0.5), retry_after }
}

fn server_error(random: &mut Random, statuses: &[u16]) -> Refusal {
    let status = statuses[random.below(statuses.len())];
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

    fn rules(spec: &str) -> Faults {
        let spec: Spec = spec.parse().unwrap();
        Faults::new(spec.rules, spec.seed.unwrap_or(1))
    }

    #[test]
    fn a_list_of_rules_is_read() {
        let all = "429:0.05,403rate:0.05,503:0.05,cut:0.02,lost-reply:0.02,expire-session:0.01,expire-token:0.01,\
                   late-checksum:0.1,late-list:0.1,slow:0.05,stall:0.01,seed:7";
        let spec: Spec = all.parse().unwrap();
        assert_eq!((spec.rules.len(), spec.seed), (11, Some(7)));
        assert_eq!("".parse(), Ok(Spec::default()));
        for rule in
            ["cut=65536:0.5", "lost-reply:1*1@files.create", "slow=1000", "late-list=3", "expire-token=50", "full"]
        {
            assert_eq!(rule.parse::<Spec>().unwrap().rules.len(), 1, "{rule}");
        }
        for rule in
            ["nosuch", "nosuch:0.5", "429:2", "429:x", "429=3", "cut=x", "slow=0", "stall*x", "seed:x", "429:0.1,x"]
        {
            assert!(rule.parse::<Spec>().is_err(), "{rule}");
        }
        assert!("flood:0.1".parse::<Spec>().unwrap_err().to_string().contains("`flood:0.1`"));
    }

    #[test]
    fn the_same_seed_strikes_the_same() {
        let fates = |seed| {
            let faults = rules(&format!("5xx:0.3,lost-reply:0.3,cut:0.3,seed:{seed}"));
            (0..50).map(|_| format!("{:?}", faults.fate(&call("/drive/v3/about")))).collect::<Vec<_>>()
        };
        assert_eq!(fates(3), fates(3));
        assert_ne!(fates(3), fates(4));
    }

    #[test]
    fn rules_keep_to_their_calls_and_times() {
        let faults = rules("lost-reply:1*1@files.get");
        assert!(!faults.fate(&call("/drive/v3/files")).lost);
        assert!(faults.fate(&call("/drive/v3/files/1")).lost);
        assert!(!faults.fate(&call("/drive/v3/files/1")).lost);
        faults.add("5xx".parse().unwrap());
        assert!(faults.fate(&call("/token")).refused.is_none());
        assert!(faults.fate(&call("/drive/v3/files")).refused.is_some());
    }

    #[test]
    fn a_share_of_a_body_is_never_all_of_it() {
        let up = Cut::Share { up: true, share: 0.999_999 };
        assert_eq!(up.up(Some(10)), Some(9));
        assert_eq!((up.up(Some(0)), up.down(Some(10), true)), (None, None));
        assert_eq!(up.down(Some(10), false), Some(9), "without a body to send, the answer is cut");
        let down = Cut::Share { up: false, share: 0.5 };
        assert_eq!((down.up(Some(10)), down.down(Some(10), true)), (None, Some(5)));
        assert_eq!((Cut::After(5).down(Some(5), true), Cut::After(5).down(Some(6), true)), (None, Some(5)));
    }
}
