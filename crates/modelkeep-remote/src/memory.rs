//! A store in memory: strict, deterministic, shared by as many clients as a test wants.
//!
//! Knows how a store may behave at its worst within its [`Capabilities`]: equal names that stand together, listings
//! that come late, a quota, a clock of its own. Does not know real time, chance beyond its seed, or disks (but for the
//! local ends of a transfer). Dies with the process, and says so.

mod store;
mod stream;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use modelkeep_core::digest::Sha256;
use modelkeep_core::path::RemotePath;
use modelkeep_core::{Error, Result};

use self::store::Store;
use self::view::View;
use crate::remote::{
    Capabilities, Copied, Entry, EntryKind, Inline, Meter, Mode, Object, PointerKind, Remote, Source, Transferred,
    Usage, Written,
};

/// How a memory store behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// What it claims, and does.
    pub capabilities: Capabilities,
    /// Decides ids and how late a listing is, and nothing else does.
    pub seed: u64,
}

impl Profile {
    /// Like a local folder: unique names, listings at once, no ids, symbolic links, exchange.
    pub fn folder() -> Self {
        Self {
            capabilities: Capabilities {
                ids: false,
                unique_names: true,
                late_listings: false,
                pointers: PointerKind::Symlink,
                checksums: false,
                copies: true,
                exchange: true,
                confirms: true,
                cheap_reads: false,
                simulated: true,
            },
            seed: 0,
        }
    }

    /// Like Google Drive: ids, equal names side by side, listings that come late for other clients, shortcuts,
    /// checksums.
    pub fn drive(seed: u64) -> Self {
        Self {
            capabilities: Capabilities {
                ids: true,
                unique_names: false,
                late_listings: true,
                pointers: PointerKind::Shortcut,
                checksums: true,
                exchange: false,
                ..Self::folder().capabilities
            },
            seed,
        }
    }
}

/// One client's handle on a store in memory; clones are the same client.
///
/// Where listings are late, what another client placed is left out of this client's next one to three looks at its
/// name, by listing or by path, and is always found by id; so two clients can give one name twice. A path then means
/// all folders of that name for reading and the one with the smallest id for writing. Moving or deleting by path what
/// stands there several times is a `Conflict`: only an id says which.
#[derive(Clone)]
pub struct MemoryRemote {
    store: Arc<Mutex<Store>>,
    client: u32,
}

impl fmt::Debug for MemoryRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRemote").field("client", &self.client).finish_non_exhaustive()
    }
}

/// Everything in a store, by path; several where equal names stand together, in the order of their ids.
pub type Snapshot = BTreeMap<String, Vec<(EntryKind, Option<Sha256>)>>;

impl MemoryRemote {
    /// An empty store, and its client 0. Its clock stands at 2025-01-01 until it is told otherwise.
    pub fn new(profile: Profile) -> Self {
        Self { store: Arc::new(Mutex::new(Store::new(profile))), client: 0 }
    }

    /// Another client of the same store.
    #[must_use]
    pub fn client(&self, number: u32) -> Self {
        Self { store: Arc::clone(&self.store), client: number }
    }

    /// A store of its own with all that is in this one now, for the same client. Bytes are shared.
    #[must_use]
    pub fn fork(&self) -> Self {
        let store = self.with_store(|store| store.clone());
        Self { store: Arc::new(Mutex::new(store)), client: self.client }
    }

    /// Refuses writes and copies that would make the store hold more than `bytes`.
    #[must_use]
    pub fn with_quota(self, bytes: u64) -> Self {
        self.with_store(|store| store.quota = Some(bytes));
        self
    }

    /// Keeps only size and digest of files larger than 1 MiB: a sink for transfers that no memory would hold. Reading
    /// or fetching such a file is an error.
    #[must_use]
    pub fn discard_content(self) -> Self {
        self.with_store(|store| store.discard = true);
        self
    }

    /// Sets the store's clock.
    pub fn set_now(&self, now: Timestamp) {
        self.with_store(|store| store.now = now);
    }

    /// Moves the store's clock on; it stops at the last time there is.
    pub fn advance(&self, by: SignedDuration) {
        self.with_store(|store| store.now = store.now.checked_add(by).unwrap_or(Timestamp::MAX));
    }

    /// Ends all lateness: from now on every client sees everything that stands now.
    pub fn settle(&self) {
        self.with_store(Store::settle);
    }

    /// All that is there, whoever can see it.
    pub fn snapshot(&self) -> Snapshot {
        self.with_store(|store| store.snapshot())
    }

    fn with_store<T>(&self, act: impl FnOnce(&mut Store) -> T) -> T {
        act(&mut self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn with_view<T>(&self, act: impl FnOnce(&mut View<'_>) -> T) -> T {
        self.with_store(|store| act(&mut View::new(store, self.client)))
    }

    fn claims(&self, claim: impl Fn(&Capabilities) -> bool, what: &str) -> Result<()> {
        if claim(&self.capabilities()) { Ok(()) } else { Err(Error::usage(format!("this store cannot {what}"))) }
    }
}

#[async_trait]
impl Remote for MemoryRemote {
    fn capabilities(&self) -> Capabilities {
        self.with_store(|store| store.profile.capabilities)
    }

    fn describe(&self) -> String {
        format!("memory, client {}", self.client)
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.with_store(|store| store.now))
    }

    async fn list(&self, dir: &RemotePath, inline: Inline<'_>) -> Result<Vec<Entry>> {
        Ok(self.with_view(|view| view.list(dir, inline)))
    }

    async fn find(&self, object: &Object) -> Result<Option<Entry>> {
        Ok(self.with_view(|view| view.find(object)))
    }

    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes> {
        stream::part(&self.with_view(|view| view.content(object))?, range)
    }

    async fn fetch(&self, object: &Object, to: &Path, meter: Arc<dyn Meter>) -> Result<Transferred> {
        let content = self.with_view(|view| view.content(object))?;
        stream::give_out(&content, to, &*meter)
    }

    async fn write(&self, path: &RemotePath, source: Source, mode: Mode, meter: Arc<dyn Meter>) -> Result<Written> {
        let discard = self.with_store(|store| store.discard);
        let content = stream::take_in(&source, discard, &*meter)?;
        self.with_view(|view| view.write(path, content, mode))
    }

    async fn copy(&self, from: &Object, to: &RemotePath, meter: Arc<dyn Meter>) -> Result<Copied> {
        self.claims(|can| can.copies, "copy")?;
        let content = self.with_view(|view| view.content(from))?;
        stream::moved(&*meter, content.size)?;
        let written = self.with_view(|view| view.write(to, content, Mode::New))?;
        Ok(Copied { id: written.id, size: written.size })
    }

    async fn rename(&self, from: &Object, to: &RemotePath) -> Result<()> {
        self.with_view(|view| view.rename(from, to))
    }

    async fn exchange(&self, one: &RemotePath, other: &RemotePath) -> Result<()> {
        self.claims(|can| can.exchange, "exchange two folders")?;
        self.with_view(|view| view.exchange(one, other))
    }

    async fn create_dir(&self, path: &RemotePath) -> Result<Entry> {
        self.with_view(|view| view.create_dir(path))
    }

    async fn point(&self, path: &RemotePath, target: &RemotePath) -> Result<()> {
        self.claims(|can| can.pointers != PointerKind::File, "make pointers")?;
        self.with_view(|view| view.point(path, target))
    }

    async fn delete(&self, object: &Object) -> Result<()> {
        self.with_view(|view| view.delete(object))
    }

    async fn flush(&self, _paths: &[RemotePath]) -> Result<()> {
        Ok(())
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(self.with_store(|store| Usage { quota: store.quota, used: Some(store.used()), trashed: None }))
    }
}
