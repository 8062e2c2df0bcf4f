//! The log's events: what one says, how it is named, and the clock that orders them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::{RevisionId, Sha256, Txn};
use crate::filed::Filed;
use crate::manifest::{Facts, Manifest, Marker, ModelKind};
use crate::name::{Label, ModelId};

/// A hybrid logical clock: milliseconds since 1970 in the upper 48 bits, a counter in the lower 16.
///
/// Never at or below what its writer has seen, so that an event sorts after everything that led to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Clock(pub u64);

impl Clock {
    /// The clock that reads `now` and has never seen anything.
    pub fn at(now: Timestamp) -> Self {
        Self(u64::try_from(now.as_millisecond()).unwrap_or(0) << 16)
    }

    /// The next reading of a writer that has seen `self` and whose wall clock says `now`.
    #[must_use]
    pub fn next(self, now: Timestamp) -> Self {
        Self(Self::at(now).0.max(self.0.saturating_add(1)))
    }

    /// The wall-clock part.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_millisecond((self.0 >> 16).cast_signed()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// The writer part of an event's name: random for each process, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriterId(pub u64);

/// The name of an event: `<clock>-<writer>-<digest>`, 16 hex digits each. Names order events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct EventName {
    /// When, so that later sorts later.
    pub clock: Clock,
    /// Who.
    pub writer: WriterId,
    digest: u64,
}

/// Text that is no event name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an event name")]
pub struct ParseEventNameError(String);

impl EventName {
    /// The name of an event with these bytes.
    pub fn new(clock: Clock, writer: WriterId, bytes: &[u8]) -> Self {
        Self { clock, writer, digest: short_digest(bytes) }
    }

    /// Whether `bytes` are this event's; if not, they have not arrived (whole) yet.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        short_digest(bytes) == self.digest
    }

    /// The file that holds it.
    pub fn file_name(&self) -> String {
        format!("{self}.json")
    }

    /// The file that holds it while its push is unconfirmed (written through a write-back mount).
    pub fn pending_file_name(&self) -> String {
        format!("{self}.pending.json")
    }

    /// The event a file of the log holds; `true` when it is pending. `None` for anything else in the folder.
    pub fn from_file_name(name: &str) -> Option<(Self, bool)> {
        let stem = name.strip_suffix(".json")?;
        match stem.strip_suffix(".pending") {
            Some(stem) => Some((stem.parse().ok()?, true)),
            None => Some((stem.parse().ok()?, false)),
        }
    }
}

fn short_digest(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&Sha256::of(bytes).as_bytes()[..8]);
    u64::from_be_bytes(first)
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}-{:016x}", self.clock.0, self.writer.0, self.digest)
    }
}

impl FromStr for EventName {
    type Err = ParseEventNameError;

    fn from_str(text: &str) -> Result<Self, ParseEventNameError> {
        let part = |text: Option<&str>| {
            let text = text.filter(|t| t.len() == 16 && !t.bytes().any(|b| b.is_ascii_uppercase() || b == b'+'))?;
            u64::from_str_radix(text, 16).ok()
        };
        let mut parts = text.split('-');
        let parsed = (|| {
            let name = Self {
                clock: Clock(part(parts.next())?),
                writer: WriterId(part(parts.next())?),
                digest: part(parts.next())?,
            };
            parts.next().is_none().then_some(name)
        })();
        parsed.ok_or_else(|| ParseEventNameError(text.to_owned()))
    }
}

impl From<EventName> for String {
    fn from(name: EventName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for EventName {
    type Error = ParseEventNameError;

    fn try_from(text: String) -> Result<Self, ParseEventNameError> {
        text.parse()
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Format version, 1.
    pub format: u32,
    /// When, by the writer's wall clock; for people. Order comes from the name.
    pub at: Timestamp,
    /// Who, as `user@host`.
    pub by: String,
    /// The events that its writer had seen and that no other event lists.
    pub parents: BTreeSet<EventName>,
    /// What happened.
    #[serde(flatten)]
    pub body: Body,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// A push of a model was committed.
    Pushed(Box<Pushed>),
    /// A push of what is no model was committed; `model` is its key.
    Filed(Box<Pushed>),
    /// A label now names this revision.
    Labelled {
        /// Whose.
        model: ModelId,
        /// The name.
        label: Label,
        /// What it names.
        revision: RevisionId,
    },
    /// A label was taken away.
    Unlabelled {
        /// Whose.
        model: ModelId,
        /// The name.
        label: Label,
    },
    /// Fields of a model were set (null removes one).
    Fields {
        /// Whose.
        model: ModelId,
        /// New values by field name; `metrics.<name>` sets one metric.
        set: BTreeMap<String, Value>,
    },
    /// A model was archived, brought back or marked failed.
    Status {
        /// Whose.
        model: ModelId,
        /// What it is now.
        status: SetStatus,
    },
    /// A revision became `deployed/current`.
    Deployed {
        /// Whose.
        model: ModelId,
        /// Which content.
        revision: RevisionId,
        /// Whether it goes back to the deployment before, which takes the newer one off the stack.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        rollback: bool,
    },
    /// Pushes were removed: the only reason for which content may ever be deleted.
    Removed {
        /// Whose.
        model: ModelId,
        /// Which.
        txns: BTreeSet<Txn>,
    },
    /// Removed pushes were brought back.
    Restored {
        /// Whose.
        model: ModelId,
        /// Which.
        txns: BTreeSet<Txn>,
    },
    /// The registry was edited by hand; what changed against the rendering `base`.
    RegistryEdited {
        /// The digest of the rendering that was edited.
        base: Sha256,
        /// The digest of what was found.
        found: Sha256,
        /// The newest event that the rendering knew.
        seen: Option<EventName>,
        /// Changed fields by model.
        changes: BTreeMap<String, BTreeMap<String, Value>>,
    },
    /// An existing registry was taken in: entries as they were, by id.
    RegistryAdopted {
        /// What the entries say, by the model they belong to.
        models: BTreeMap<ModelId, AdoptedEntry>,
        /// Entries of models that are not here, and top-level fields (under the empty id): kept as they are.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        others: BTreeMap<String, BTreeMap<String, Value>>,
    },
    /// A host says what it holds and used.
    Seen(Seen),
    /// Upkeep was done.
    Maintained {
        /// Where: a name that stays the same from day to day.
        host: String,
        /// Which tasks.
        tasks: BTreeSet<String>,
    },
    /// Something that a newer program wrote: kept, skipped.
    #[serde(other)]
    Unknown,
}

/// A committed push.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pushed {
    /// This act.
    pub txn: Txn,
    /// The model.
    pub model: ModelId,
    /// Base or finetuned. (`kind` is the event's own.)
    pub model_kind: ModelKind,
    /// Its content.
    pub revision: RevisionId,
    /// 1 + the highest number that the writer had seen.
    pub number: u64,
    /// How many files.
    pub files: u64,
    /// All bytes.
    pub size_bytes: u64,
    /// What was learnt.
    pub facts: Facts,
    /// The files, when they fit (see [`MAX_INLINE_EVENT`]); else the marker says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// Labels that name this revision from now on.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<Label>,
    /// Fields that were set with it: purpose, note.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Value>,
    /// The damaged push of the same content whose place it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Txn>,
    /// The store's own ids, where it has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<PushIds>,
    /// Whether it was found on the remote rather than sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// The folder beside the model's own that it was adopted in, when that is not named as its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Where it is shown, when it is no model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filed: Option<Filed>,
}

impl Pushed {
    /// The event that commits a push folder with this marker; what else it says is set after.
    pub fn of(marker: &Marker) -> Self {
        Self {
            txn: marker.txn,
            model: marker.model.clone(),
            model_kind: marker.kind,
            revision: marker.revision,
            number: marker.number,
            files: marker.files.files().len() as u64,
            size_bytes: marker.files.size(),
            facts: marker.facts.clone(),
            manifest: None,
            labels: BTreeSet::new(),
            set: BTreeMap::new(),
            replaces: marker.replaces,
            ids: None,
            adopted: false,
            folder: None,
            filed: marker.filed.clone(),
        }
    }
}

/// Where the store has ids: those of a push, so that it can be found before any listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushIds {
    /// The push folder.
    pub folder: String,
    /// The marker in it, which names the files' ids.
    pub marker: String,
}

/// A pushed event that would be larger leaves its manifest to the marker, so that a listing can carry it
/// (a Drive file's description holds about 4 KB).
pub const MAX_INLINE_EVENT: usize = 4096;

/// What a person may set a model's status to; `deployed` and `removed` come from their own events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetStatus {
    /// In use.
    Active,
    /// Kept, no longer in use.
    Archived,
    /// A training run that came to nothing.
    Failed,
}

/// What an adopted registry said of one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdoptedEntry {
    /// The entry's id, where it differs from the folder's: an alias from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Archived or active; a deployed one has `deployed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<SetStatus>,
    /// Deployed, and since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployed_at: Option<Timestamp>,
    /// Whether it was deployed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deployed: bool,
    /// Which revision was shown (of a registry of ours, whose log was lost): what is deployed need not be the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionId>,
    /// Its labels, of such a registry.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Label, RevisionId>,
    /// Every other field.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Value>,
}

/// A host's whole statement; the newest replaces the one before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Which host: a name that stays the same from day to day.
    pub host: String,
    /// What sort of host.
    pub host_kind: HostKind,
    /// The models it holds.
    pub holds: BTreeSet<ModelId>,
    /// The day each model was last used there.
    pub used: BTreeMap<ModelId, Date>,
}

/// What sort of machine a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostKind {
    /// GitHub Codespaces (`CODESPACES=true`).
    Codespaces,
    /// Google Colab (`COLAB_RELEASE_TAG`).
    Colab,
    /// Anything else.
    Other,
}

impl Event {
    /// As the bytes of its file.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Every map here has text keys and every number is finite or null, so this cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads an event; what is too new or not an event is an error for the reader to report by name.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

impl Body {
    /// The word for this kind, as in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pushed(pushed) | Self::Filed(pushed) if pushed.replaces.is_some() => "healed",
            Self::Pushed(pushed) | Self::Filed(pushed) if pushed.adopted => "adopted",
            Self::Pushed(_) => "pushed",
            Self::Filed(_) => "filed",
            Self::Labelled { .. } => "labelled",
            Self::Unlabelled { .. } => "unlabelled",
            Self::Fields { .. } => "fields",
            Self::Status { .. } => "status",
            Self::Deployed { rollback: false, .. } => "deployed",
            Self::Deployed { .. } => "rolled_back",
            Self::Removed { .. } => "removed",
            Self::Restored { .. } => "restored",
            Self::RegistryEdited { .. } => "registry_edited",
            Self::RegistryAdopted { .. } => "registry_adopted",
            Self::Seen(_) => "seen",
            Self::Maintained { .. } => "maintained",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_order_by_clock() {
        let early = EventName::new(Clock(1 << 20), WriterId(7), b"x");
        let late = EventName::new(Clock(2 << 20), WriterId(1), b"y");
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(EventName::from_file_name(&early.file_name()), Some((early, false)));
        assert_eq!(EventName::from_file_name(&early.pending_file_name()), Some((early, true)));
        assert!(EventName::from_file_name("notes.json").is_none());
        assert!(early.matches(b"x") && !early.matches(b"y"));
    }

    #[test]
    fn the_clock_never_goes_back() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let seen = Clock::at("2026-12-31T00:00:00Z".parse().unwrap());
        assert_eq!(Clock::default().next(now), Clock::at(now));
        assert_eq!(seen.next(now), Clock(seen.0 + 1));
        assert_eq!(Clock::at(now).timestamp(), now);
    }

    #[test]
    fn an_unknown_kind_is_kept_apart() {
        let text = r#"{"format":1,"at":"2026-01-01T00:00:00Z","by":"a@b","parents":[],"kind":"teleported","to":"x"}"#;
        assert_eq!(Event::parse(text.as_bytes()).unwrap().body, Body::Unknown);
        assert!(Event::parse(b"{}").is_err());
    }
}
