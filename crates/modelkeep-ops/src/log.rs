//! The log as it stands on the remote: read, folded, added to, gathered into snapshots.
//!
//! Events are cached for ever; new ones are found by the difference of names, never by position.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use modelkeep_core::digest::Sha256;
use modelkeep_core::event::{Body, Clock, Event, EventName, MAX_INLINE_EVENT};
use modelkeep_core::manifest::{FORMAT, Marker};
use modelkeep_core::registry::State;
use modelkeep_core::{Error, Kind, Result, layout};
use modelkeep_remote::{Entry, Inline, Mode, NoMeter, Object, Source};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::context::Context;
use crate::local::Local;
use crate::store::Store;

/// What one reading of the log gives.
#[derive(Debug, Clone)]
pub struct View {
    /// The events, folded.
    pub state: State,
    /// Every event that was read, by name.
    pub names: BTreeSet<EventName>,
    /// Events that no other event lists.
    pub heads: BTreeSet<EventName>,
    /// Events written through a write-back mount that nobody has seen in the store itself.
    pub pending: BTreeSet<EventName>,
    /// What is wrong with this view; while there is anything, nothing is deleted.
    pub problems: Vec<Problem>,
}

/// Why a view may be incomplete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// An event that others build on is not there (yet).
    MissingParent(EventName),
    /// An event's bytes have not arrived whole.
    Late(EventName),
    /// An event is whole but cannot be read.
    Unreadable(EventName, String),
    /// An event's clock is more than a day ahead of the store's.
    Ahead(EventName),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MissingParent(name) => write!(f, "event {name} is referred to but not there yet"),
            Self::Late(name) => write!(f, "event {name} has not arrived whole yet"),
            Self::Unreadable(name, why) => write!(f, "event {name} cannot be read: {why}"),
            Self::Ahead(name) => write!(f, "event {name} is from the future ({})", name.clock.timestamp()),
        }
    }
}

/// What is derived from a set of events, kept so that a warm start folds nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Folded {
    of: Sha256,
    state: State,
    heads: BTreeSet<EventName>,
    missing: BTreeSet<EventName>,
    unreadable: BTreeMap<EventName, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Snapshot {
    format: u32,
    events: BTreeMap<EventName, String>,
}

/// So many events outside the newest snapshot, and a committing client writes one.
const SNAPSHOT_AFTER: usize = 200;
/// So many events to read one by one, and a snapshot is looked for first.
const WORTH_A_SNAPSHOT: usize = 16;
const LARGEST_EVENT: u64 = 64 << 20;
const FOLDED: &str = "folded-2";
const COVERED: &str = "covered";
const PENDING: &str = "pending";
/// A writer further than this from the store's time uses the store's.
const DAY: SignedDuration = SignedDuration::from_hours(24);

impl View {
    /// Whether this view may be relied on for deleting.
    pub fn complete(&self) -> Result<()> {
        let Some(problem) = self.problems.first() else { return Ok(()) };
        Err(Error::conflict(format!("the log cannot be seen whole: {problem}; nothing is deleted"))
            .hint("modelkeep verify"))
    }

    /// Whether a push was made before this log begins: the log that knew it may have been lost, so it is nobody's to
    /// forget.
    pub fn begins_after(&self, marker: &Marker) -> bool {
        self.names.first().is_none_or(|first| marker.at < first.clock.timestamp())
    }

    fn clock(&self) -> Clock {
        self.names.last().map_or(Clock::default(), |name| name.clock)
    }

    /// Whether a push is in the log.
    pub fn has_txn(&self, txn: &modelkeep_core::digest::Txn) -> bool {
        self.state.push(txn).is_some()
    }
}

/// Reads what is new and folds it.
pub async fn refresh(ctx: &Context, store: &Store) -> Result<View> {
    let local = store.local(ctx)?;
    let known: BTreeSet<EventName> = local.event_names(store.id())?.into_iter().collect();
    let is_new = |name: &str| EventName::from_file_name(name).is_some_and(|(name, _)| !known.contains(&name));
    let listing = store.remote.list(&layout::log(), Inline::UpTo(MAX_INLINE_EVENT as u64, &is_new)).await?;

    let mut pending = BTreeSet::new();
    let mut confirmed = BTreeSet::new();
    let mut files: BTreeMap<EventName, Vec<Entry>> = BTreeMap::new();
    for entry in listing {
        let Some((name, is_pending)) = EventName::from_file_name(entry.name()) else { continue };
        if is_pending {
            pending.insert(name)
        } else {
            confirmed.insert(name)
        };
        if !known.contains(&name) {
            files.entry(name).or_default().push(entry);
        }
    }
    let noted = noted_pending(store, local)?;
    pending.extend(&noted);
    pending.retain(|name| !confirmed.contains(name));
    if pending != noted {
        note_pending(store, local, &pending)?;
    }

    let (new, late) = read_events(ctx, store, local, files).await?;
    local.keep_events(store.id(), new.iter().map(|(name, bytes)| (name, &**bytes)))?;
    let mut names = known;
    names.extend(new.keys());
    let folded = fold(store, local, &names)?;
    let mut problems: Vec<Problem> = late.into_iter().map(Problem::Late).collect();
    problems.extend(folded.missing.into_iter().map(Problem::MissingParent));
    problems.extend(folded.unreadable.into_iter().map(|(name, why)| Problem::Unreadable(name, why)));
    let suspect = names.last().is_some_and(|last| last.clock.timestamp().duration_since(ctx.now()) > DAY);
    let mut view = View { state: folded.state, names, heads: folded.heads, pending, problems };
    if suspect {
        look_ahead(ctx, store, &mut view).await?;
    }
    Ok(view)
}

/// Events that were only pending when they were last seen: one whose file is gone since was never confirmed.
fn noted_pending(store: &Store, local: &Local) -> Result<BTreeSet<EventName>> {
    let kept = local.get(store.id(), PENDING)?;
    Ok(kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
}

fn note_pending(store: &Store, local: &Local, pending: &BTreeSet<EventName>) -> Result<()> {
    local.put(store.id(), PENDING, &serde_json::to_vec(pending).unwrap_or_default())
}

/// Reports events from the future. This machine's clock may be the wrong one; only the store's own decides.
pub async fn look_ahead(ctx: &Context, store: &Store, view: &mut View) -> Result<()> {
    let now = match store.remote.now().await {
        // A store that one may only read tells no time, and nothing of it can be deleted.
        Err(error) if error.kind() == Kind::Auth => ctx.now(),
        other => other?,
    };
    let ahead = view.names.iter().rev().take_while(|name| name.clock.timestamp().duration_since(now) > DAY);
    let ahead: Vec<Problem> = ahead.map(|name| Problem::Ahead(*name)).collect();
    view.problems.retain(|problem| !matches!(problem, Problem::Ahead(_)));
    view.problems.extend(ahead);
    Ok(())
}

/// The bytes of new events, checked against their names; and those that have not arrived whole.
async fn read_events(
    ctx: &Context,
    store: &Store,
    local: &Local,
    files: BTreeMap<EventName, Vec<Entry>>,
) -> Result<(BTreeMap<EventName, Bytes>, BTreeSet<EventName>)> {
    let mut new: BTreeMap<EventName, Bytes> = BTreeMap::new();
    let mut missing: BTreeMap<EventName, Vec<Entry>> = BTreeMap::new();
    for (name, entries) in files {
        match entries.iter().filter_map(|entry| entry.content.as_ref()).find(|content| name.matches(content)) {
            Some(content) => {
                new.insert(name, content.clone());
            }
            None => {
                missing.insert(name, entries);
            }
        }
    }
    if missing.len() > WORTH_A_SNAPSHOT
        && let Some(snapshot) = largest_snapshot(store).await?
    {
        local.put(store.id(), COVERED, snapshot.events.len().to_string().as_bytes())?;
        for (name, text) in snapshot.events {
            // One that does not match is read from its own file.
            if missing.contains_key(&name) && name.matches(text.as_bytes()) {
                missing.remove(&name);
                new.insert(name, Bytes::from(text));
            }
        }
    }
    let read = stream::iter(missing)
        .map(async |(name, entries)| {
            for entry in entries {
                match store.remote.read(&entry.object(), 0..LARGEST_EVENT).await {
                    Ok(bytes) if name.matches(&bytes) => return Ok((name, Some(bytes))),
                    Ok(_) => {}
                    Err(error) if error.kind() == Kind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok((name, None))
        })
        .buffer_unordered(ctx.jobs)
        .try_collect::<Vec<_>>()
        .await?;
    let mut late = BTreeSet::new();
    for (name, bytes) in read {
        match bytes {
            Some(bytes) => {
                new.insert(name, bytes);
            }
            None => {
                late.insert(name);
            }
        }
    }
    Ok((new, late))
}

async fn largest_snapshot(store: &Store) -> Result<Option<Snapshot>> {
    let mut snapshots = store.remote.list(&layout::snapshots(), Inline::No).await?;
    snapshots.retain(|entry| !entry.is_partial());
    snapshots.sort_by_key(|entry| std::cmp::Reverse(entry.size));
    for entry in snapshots {
        let bytes = store.remote.read(&entry.object(), 0..1 << 32).await?;
        // One that does not match its name has not arrived; it is only a short cut, so the next one will do.
        if entry.name() == format!("{}.json", Sha256::of(&bytes))
            && let Ok(snapshot) = serde_json::from_slice::<Snapshot>(&bytes)
            && snapshot.format <= FORMAT
        {
            return Ok(Some(snapshot));
        }
    }
    Ok(None)
}

fn set_digest(names: &BTreeSet<EventName>) -> Sha256 {
    let mut text = String::with_capacity(names.len() * 51);
    for name in names {
        text.push_str(&name.to_string());
    }
    Sha256::of(text.as_bytes())
}

fn fold(store: &Store, local: &Local, names: &BTreeSet<EventName>) -> Result<Folded> {
    let of = set_digest(names);
    if let Some(kept) = local.get(store.id(), FOLDED)?
        && let Ok(folded) = serde_json::from_slice::<Folded>(&kept)
        && folded.of == of
    {
        return Ok(folded);
    }
    let mut events = BTreeMap::new();
    let mut unreadable = BTreeMap::new();
    for (name, bytes) in local.events(store.id())? {
        match Event::parse(&bytes) {
            Ok(event) if event.format <= FORMAT => {
                events.insert(name, event);
            }
            Ok(event) => {
                unreadable.insert(name, format!("format {} is newer than this program", event.format));
            }
            Err(error) => {
                unreadable.insert(name, error.to_string());
            }
        }
    }
    let parents: BTreeSet<EventName> = events.values().flat_map(|event| event.parents.iter().copied()).collect();
    let folded = Folded {
        of,
        state: State::fold(&events),
        heads: names.difference(&parents).copied().collect(),
        missing: parents.difference(names).copied().collect(),
        unreadable,
    };
    if let Ok(bytes) = serde_json::to_vec(&folded) {
        local.put(store.id(), FOLDED, &bytes)?;
    }
    Ok(folded)
}

/// Every event, oldest first, with its bytes; for `history`.
pub fn events(ctx: &Context, store: &Store) -> Result<Vec<(EventName, Event)>> {
    let kept = store.local(ctx)?.events(store.id())?;
    Ok(kept.into_iter().filter_map(|(name, bytes)| Some((name, Event::parse(&bytes).ok()?))).collect())
}

/// Adds an event: the moment at which something has happened. Durable when it returns, and in the view.
pub async fn append(ctx: &Context, store: &Store, view: &mut View, body: Body) -> Result<EventName> {
    let prepared = prepare(ctx, store, view, body).await?;
    commit(ctx, store, view, prepared).await
}

/// An event with its name, not written yet.
#[derive(Debug)]
pub struct Prepared {
    name: EventName,
    event: Event,
    bytes: Bytes,
}

/// The time that events are written with: this machine's, or the store's where they are more than a day apart.
pub async fn time(ctx: &Context, store: &Store) -> Result<Timestamp> {
    let (here, there) = (ctx.now(), store.remote.now().await?);
    Ok(if here.duration_since(there).abs() > DAY { there } else { here })
}

/// Names an event, so that what must lie shortly before its writing can.
pub async fn prepare(ctx: &Context, store: &Store, view: &View, body: Body) -> Result<Prepared> {
    let at = time(ctx, store).await?;
    let event = Event { format: FORMAT, at, by: ctx.env.who(), parents: view.heads.clone(), body };
    let bytes = Bytes::from(event.to_bytes());
    let name = EventName::new(view.clock().next(at), ctx.writer, &bytes);
    Ok(Prepared { name, event, bytes })
}

/// Writes a prepared event.
pub async fn commit(ctx: &Context, store: &Store, view: &mut View, prepared: Prepared) -> Result<EventName> {
    let Prepared { name, event, bytes } = prepared;
    let confirmed = store.confirms();
    let path = if confirmed { layout::event(&name) } else { layout::pending_event(&name) };
    match store.remote.write(&path, Source::Bytes(bytes.clone()), Mode::New, Arc::new(NoMeter)).await {
        Ok(_) => {}
        // The name holds the digest: what stands there is this very event, from an attempt whose answer was lost.
        Err(error) if error.kind() == Kind::Conflict => {}
        Err(error) => return Err(error),
    }
    store.remote.flush(std::slice::from_ref(&path)).await?;

    let local = store.local(ctx)?;
    local.keep_events(store.id(), [(&name, &*bytes)])?;
    view.names.insert(name);
    view.heads.retain(|head| !event.parents.contains(head));
    view.heads.insert(name);
    if !confirmed {
        view.pending.insert(name);
        note_pending(store, local, &view.pending)?;
    }
    view.state = fold(store, local, &view.names)?.state;
    snapshot_if_due(store, local, view).await?;
    Ok(name)
}

/// Turns a pending event into an event: same name, so twice is once.
pub async fn confirm(store: &Store, view: &mut View, name: &EventName) -> Result<()> {
    let pending = Object::at(layout::pending_event(name));
    let bytes = store.remote.read(&pending, 0..LARGEST_EVENT).await?;
    if !name.matches(&bytes) {
        return Err(Error::integrity(format!("event {name} has not arrived whole yet")));
    }
    let path = layout::event(name);
    match store.remote.write(&path, Source::Bytes(bytes), Mode::New, Arc::new(NoMeter)).await {
        Ok(_) => {}
        Err(error) if error.kind() == Kind::Conflict => {}
        Err(error) => return Err(error),
    }
    store.remote.flush(&[path]).await?;
    store.remote.delete(&pending).await?;
    view.pending.remove(name);
    Ok(())
}

async fn snapshot_if_due(store: &Store, local: &Local, view: &View) -> Result<()> {
    let covered = |local: &Local| -> Result<usize> {
        let kept = local.get(store.id(), COVERED)?.unwrap_or_default();
        Ok(String::from_utf8(kept).ok().and_then(|text| text.parse().ok()).unwrap_or(0))
    };
    if view.names.len().saturating_sub(covered(local)?) <= SNAPSHOT_AFTER {
        return Ok(());
    }
    if let Some(snapshot) = largest_snapshot(store).await? {
        local.put(store.id(), COVERED, snapshot.events.len().to_string().as_bytes())?;
    }
    if view.names.len().saturating_sub(covered(local)?) <= SNAPSHOT_AFTER {
        return Ok(());
    }
    let events = local.events(store.id())?;
    let events: BTreeMap<EventName, String> = events
        .into_iter()
        .filter(|(name, _)| view.names.contains(name))
        .filter_map(|(name, bytes)| Some((name, String::from_utf8(bytes).ok()?)))
        .collect();
    let count = events.len();
    let bytes = serde_json::to_vec(&Snapshot { format: FORMAT, events })
        .map_err(|error| Error::internal("a snapshot cannot be written").because(error))?;
    let path = layout::snapshot(&Sha256::of(&bytes));
    match store.remote.write(&path, Source::Bytes(bytes.into()), Mode::New, Arc::new(NoMeter)).await {
        Ok(_) => {}
        Err(error) if error.kind() == Kind::Conflict => {}
        Err(error) => return Err(error),
    }
    local.put(store.id(), COVERED, count.to_string().as_bytes())
}

/// Events that this machine knows and the remote no longer has, or has with other bytes.
pub async fn absent(ctx: &Context, store: &Store, view: &View) -> Result<Vec<EventName>> {
    let sizes = store.local(ctx)?.event_sizes(store.id())?;
    let listing = store.remote.list(&layout::log(), Inline::No).await?;
    let whole = listing.iter().filter_map(|entry| {
        let (name, _) = EventName::from_file_name(entry.name())?;
        (sizes.get(&name) == Some(&entry.size)).then_some(name)
    });
    let there: BTreeSet<EventName> = whole.collect();
    Ok(view.names.difference(&there).copied().collect())
}

/// Writes an event again that the remote has lost, or of which only a part arrived, from this machine's memory.
pub async fn rewrite(ctx: &Context, store: &Store, name: &EventName) -> Result<()> {
    let kept = store.local(ctx)?.event(store.id(), name)?;
    let bytes: Bytes = kept.ok_or_else(|| Error::internal("the event is not in the cache"))?.into();
    let path = layout::event(name);
    let source = || Source::Bytes(bytes.clone());
    match store.remote.write(&path, source(), Mode::New, Arc::new(NoMeter)).await {
        Ok(_) => {}
        Err(error) if error.kind() == Kind::Conflict => {
            let there = store.remote.read(&Object::at(path.clone()), 0..LARGEST_EVENT).await?;
            if name.matches(&there) {
                return Ok(());
            }
            store.remote.write(&path, source(), Mode::Replace, Arc::new(NoMeter)).await?;
        }
        Err(error) => return Err(error),
    }
    store.remote.flush(&[path]).await
}
