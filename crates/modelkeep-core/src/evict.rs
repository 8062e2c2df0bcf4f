//! What leaves this machine first when there is no room, and what never does.
//!
//! A plan lets go only of what is proven to be had again, and nothing that is in use, pinned, labelled or deployed; of
//! those first what was not used for long and is cheap to bring back for its size; and no more than is needed.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::budget::Need;

/// What lies here, and may share files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shelf {
    /// What can go, each as a whole.
    pub items: Vec<Item>,
    /// Bytes that come free with each file, once no item needs it.
    pub parts: Vec<u64>,
}

/// A thing that goes or stays as a whole: a revision in the cache, a pulled folder, another program's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is called.
    pub name: String,
    /// The files that it needs, as places in [`Shelf::parts`].
    pub parts: Vec<usize>,
    /// How many files have to be brought back, and how many bytes.
    pub back: Back,
    /// When it was last used, as far as anybody knows.
    pub last_used: Option<Timestamp>,
    /// Where it can be had again.
    pub again: Again,
    /// Why it stays, whatever is needed.
    pub keep: Option<Keep>,
}

/// What bringing something back takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Back {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Where something can be had again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Again {
    /// There is nothing to bring back: an unfinished download, a file that nothing leads to.
    NotNeeded,
    /// On the remote, every file with its SHA-256.
    Remote,
    /// At the Hub, at the same commit.
    Hub,
    /// At the Hub, which could not be asked; the person vouches for it (`--assume-hub`).
    AssumedHub,
    /// Another program makes or fetches it anew.
    Program,
    /// At the place that its name stands for: its content has the digest that its name carries.
    Named,
    /// Nobody was asked, or nobody could answer.
    Unknown,
    /// Nowhere: this is the only copy.
    Nowhere,
}

impl Again {
    /// Whether it may go by this.
    pub fn is_proven(self) -> bool {
        !matches!(self, Self::Unknown | Self::Nowhere)
    }

    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotNeeded => "nothing leads to it",
            Self::Remote => "on the remote, same SHA-256",
            Self::Hub => "at the Hub, same commit",
            Self::AssumedHub => "taken to be at the Hub (--assume-hub)",
            Self::Program => "made or fetched anew by its own program",
            Self::Named => "content has the digest in its name",
            Self::Unknown => "not known to be had again",
            Self::Nowhere => "only copy",
        }
    }
}

/// Why something stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// A process has it open, or holds its lock.
    InUse(String),
    /// It is wanted by what is being done.
    Wanted,
    /// `modelkeep.lock` names it.
    Pinned(String),
    /// A label leads to it.
    Labelled(String),
    /// It is deployed.
    Deployed(String),
    /// It lies on another disk: removing it frees nothing here.
    Elsewhere,
    /// It is damaged: `cache repair` looks at it.
    Broken(String),
    /// Its own program is needed to remove it, and is not here.
    NoProgram(String),
}

impl std::fmt::Display for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InUse(by) => write!(f, "in use: {by}"),
            Self::Wanted => f.write_str("wanted right now"),
            Self::Pinned(model) => write!(f, "pinned in modelkeep.lock as {model}"),
            Self::Labelled(name) => write!(f, "labelled {name}"),
            Self::Deployed(model) => write!(f, "deployed as {model}"),
            Self::Elsewhere => f.write_str("on another disk: removing it frees nothing here"),
            Self::Broken(what) => write!(f, "broken: {what}"),
            Self::NoProgram(program) => write!(f, "only `{program}` may clean it, and it is not on PATH"),
        }
    }
}

/// How fast things come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bytes a second.
    pub bytes: u64,
}

/// What each file costs besides its bytes: two round trips and a handshake of a slow line.
const PER_FILE: f64 = 0.2;

impl Rate {
    /// Seconds until something is back.
    pub fn seconds(self, back: Back) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = back.bytes as f64 / self.bytes.max(1) as f64 + back.files as f64 * PER_FILE;
        seconds
    }
}

/// What goes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// In the order in which it goes.
    pub chosen: Vec<Chosen>,
    /// Bytes that this frees.
    pub frees: u64,
    /// Bytes that are still missing to what must go.
    pub short: u64,
}

/// One thing that goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Its place in [`Shelf::items`].
    pub item: usize,
    /// Bytes that come free with it, once those before it are gone.
    pub frees: u64,
    /// Why it may go, and why it goes before others.
    pub reason: String,
    /// Seconds until it is back.
    pub back_seconds: f64,
}

/// Why an item stays; `None` when it may go.
pub fn stays(item: &Item) -> Option<String> {
    match (&item.keep, item.again) {
        (Some(keep), _) => Some(keep.to_string()),
        (None, again) if again.is_proven() => None,
        (None, Again::Nowhere) => Some("only copy: it is neither on the remote nor at the Hub".to_owned()),
        (None, _) => Some("not proven to be had again".to_owned()),
    }
}

/// Chooses what goes so that the goal is met; where it cannot be, what must go; where not even that, all that may.
pub fn plan(shelf: &Shelf, need: Need, now: Timestamp, rate: Rate) -> Plan {
    let mut holders = vec![0_u32; shelf.parts.len()];
    for part in shelf.items.iter().flat_map(|item| &item.parts) {
        holders[*part] += 1;
    }
    let mut left: Vec<usize> = (0..shelf.items.len()).filter(|item| stays(&shelf.items[*item]).is_none()).collect();
    let (mut order, mut freed) = (Vec::new(), 0);
    while freed < need.goal {
        let scores = left.iter().map(|item| score(&shelf.items[*item], shelf, &holders, now, rate));
        // Of equals the first by name goes, so that a plan is the same each time it is made.
        let best = scores.enumerate().filter(|(_, score)| *score > 0.0).max_by(|(m, a), (n, b)| {
            let (m, n) = (&shelf.items[left[*m]], &shelf.items[left[*n]]);
            let junk = |item: &Item| item.again == Again::NotNeeded;
            junk(m).cmp(&junk(n)).then(a.total_cmp(b)).then_with(|| n.name.cmp(&m.name))
        });
        let Some((at, _)) = best else { break };
        let item = left.swap_remove(at);
        freed += release(&shelf.items[item], shelf, &mut holders);
        order.push(item);
    }
    if (need.must..need.goal).contains(&freed) {
        return plan(shelf, Need::exactly(need.must), now, rate);
    }
    let chosen = without_superfluous(shelf, order, need.goal);
    let chosen = explained(shelf, &chosen, now, rate);
    let bytes = chosen.iter().map(|one| one.frees).sum();
    Plan { frees: bytes, short: need.must.saturating_sub(bytes), chosen }
}

/// How much better off without it: bytes that it holds (its share of those it holds with others), longer the longer it
/// was not used, less the longer it takes to bring back.
fn score(item: &Item, shelf: &Shelf, holders: &[u32], now: Timestamp, rate: Rate) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    let share: f64 = item.parts.iter().map(|part| shelf.parts[*part] as f64 / f64::from(holders[*part].max(1))).sum();
    idle(item, now).as_secs_f64().max(1.0) * share / (1.0 + rate.seconds(item.back))
}

/// How long something was not used; what nobody knows counts as a year.
fn idle(item: &Item, now: Timestamp) -> SignedDuration {
    let year = SignedDuration::from_hours(365 * 24);
    item.last_used.map_or(year, |used| now.duration_since(used).max(SignedDuration::ZERO))
}

/// Takes an item off the files that it needs; bytes that nobody needs any more.
fn release(item: &Item, shelf: &Shelf, holders: &mut [u32]) -> u64 {
    let mut freed = 0;
    for part in &item.parts {
        holders[*part] = holders[*part].saturating_sub(1);
        if holders[*part] == 0 {
            freed += shelf.parts[*part];
        }
    }
    freed
}

fn freed_by(shelf: &Shelf, chosen: &[usize]) -> u64 {
    let mut holders = vec![0_u32; shelf.parts.len()];
    for part in shelf.items.iter().flat_map(|item| &item.parts) {
        holders[*part] += 1;
    }
    chosen.iter().map(|item| release(&shelf.items[*item], shelf, &mut holders)).sum()
}

/// A large thing chosen late may have made small ones before it unnecessary; and what frees nothing stays.
fn without_superfluous(shelf: &Shelf, mut chosen: Vec<usize>, goal: u64) -> Vec<usize> {
    let goal = goal.min(freed_by(shelf, &chosen));
    for at in (0..chosen.len()).rev() {
        let item = chosen.remove(at);
        if freed_by(shelf, &chosen) < goal {
            chosen.insert(at, item);
        }
    }
    chosen
}

fn explained(shelf: &Shelf, chosen: &[usize], now: Timestamp, rate: Rate) -> Vec<Chosen> {
    let mut holders = vec![0_u32; shelf.parts.len()];
    for part in shelf.items.iter().flat_map(|item| &item.parts) {
        holders[*part] += 1;
    }
    let one = |item: &usize| {
        let frees = release(&shelf.items[*item], shelf, &mut holders);
        let item = (*item, &shelf.items[*item]);
        let (back_seconds, reason) = match item.1.again {
            Again::NotNeeded => (0.0, Again::NotNeeded.as_str().to_owned()),
            again => {
                let seconds = rate.seconds(item.1.back);
                (seconds, format!("{}; {}; back in {}", unused(item.1, now), again.as_str(), duration(seconds)))
            }
        };
        Chosen { item: item.0, frees, reason, back_seconds }
    };
    chosen.iter().map(one).collect()
}

fn unused(item: &Item, now: Timestamp) -> String {
    if item.last_used.is_none() {
        return "last use unknown".to_owned();
    }
    match idle(item, now).as_hours() {
        0 => "used within the hour".to_owned(),
        hours @ 1..48 => format!("not used for {hours} h"),
        hours => format!("not used for {} days", hours / 24),
    }
}

/// A time to wait, as people say it: `40 s`, `3 min`, `1.5 h`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        ..0.95 => "a second".to_owned(),
        ..99.5 => format!("{seconds:.0} s"),
        ..5400.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests;
