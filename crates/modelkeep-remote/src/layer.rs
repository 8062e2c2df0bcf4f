//! Layers around a remote: retry, trace, fault. Each is a [`Hook`]; the delegation is written once.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use modelkeep_core::path::RemotePath;
use modelkeep_core::{Error, Kind, Result};

use crate::remote::{
    Capabilities, Copied, Entry, Inline, Meter, Mode, Object, Remote, Source, Transferred, Usage, Written,
};

/// One call to a remote, as a layer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// What it is about.
    pub path: RemotePath,
    /// Where to, for those that have a second path.
    pub to: Option<RemotePath>,
}

impl Call {
    /// Whether doing it changes the store.
    pub fn writes(&self) -> bool {
        !matches!(self.method, "now" | "list" | "find" | "read" | "fetch" | "open_local" | "usage")
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        self.to.as_ref().map_or(Ok(()), |to| write!(f, " -> {to}"))
    }
}

/// What to do after a call.
#[derive(Debug)]
pub enum Verdict {
    /// Hand its result on.
    Return,
    /// Fail, whatever it did.
    Fail(Error),
    /// Do it again, after a while.
    Again(Duration),
}

/// What a layer does around every call.
#[async_trait]
pub trait Hook: Send + Sync + fmt::Debug {
    /// Before the call; an error keeps it from being made.
    async fn before(&self, _call: &Call) -> Result<()> {
        Ok(())
    }

    /// After the call; `attempt` counts from 1.
    fn after(&self, _call: &Call, _attempt: u32, _error: Option<&Error>) -> Verdict {
        Verdict::Return
    }
}

/// A remote with a hook around every call.
#[derive(Debug)]
pub struct Layer {
    inner: Arc<dyn Remote>,
    hook: Arc<dyn Hook>,
}

impl Layer {
    /// Puts `hook` around `inner`.
    pub fn wrap(inner: Arc<dyn Remote>, hook: Arc<dyn Hook>) -> Arc<dyn Remote> {
        Arc::new(Self { inner, hook })
    }
}

/// Runs one call through the hook, as often as the hook says.
macro_rules! through {
    ($self:ident, $method:literal, $path:expr, $to:expr, $operation:expr) => {{
        let call = Call { method: $method, path: $path, to: $to };
        let mut attempt = 0;
        loop {
            attempt += 1;
            $self.hook.before(&call).await?;
            let result = $operation.await;
            match $self.hook.after(&call, attempt, result.as_ref().err()) {
                Verdict::Return => break result,
                Verdict::Fail(error) => break Err(error),
                Verdict::Again(wait) => tokio::time::sleep(wait).await,
            }
        }
    }};
}

#[async_trait]
impl Remote for Layer {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn now(&self) -> Result<Timestamp> {
        through!(self, "now", RemotePath::root(), None, self.inner.now())
    }

    async fn list(&self, dir: &RemotePath, inline: Inline<'_>) -> Result<Vec<Entry>> {
        through!(self, "list", dir.clone(), None, self.inner.list(dir, inline))
    }

    async fn find(&self, object: &Object) -> Result<Option<Entry>> {
        through!(self, "find", object.path.clone(), None, self.inner.find(object))
    }

    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes> {
        through!(self, "read", object.path.clone(), None, self.inner.read(object, range.clone()))
    }

    async fn fetch(&self, object: &Object, to: &Path, meter: Arc<dyn Meter>) -> Result<Transferred> {
        through!(self, "fetch", object.path.clone(), None, self.inner.fetch(object, to, Arc::clone(&meter)))
    }

    async fn open_local(&self, object: &Object) -> Result<Option<File>> {
        through!(self, "open_local", object.path.clone(), None, self.inner.open_local(object))
    }

    async fn write(&self, path: &RemotePath, source: Source, mode: Mode, meter: Arc<dyn Meter>) -> Result<Written> {
        through!(self, "write", path.clone(), None, self.inner.write(path, source.clone(), mode, Arc::clone(&meter)))
    }

    async fn write_many(&self, files: Vec<(RemotePath, PathBuf)>, meter: Arc<dyn Meter>) -> Result<Vec<Written>> {
        let first = files.first().map(|(path, _)| path.clone()).unwrap_or_default();
        through!(self, "write_many", first, None, self.inner.write_many(files.clone(), Arc::clone(&meter)))
    }

    async fn copy(&self, from: &Object, to: &RemotePath, meter: Arc<dyn Meter>) -> Result<Copied> {
        through!(self, "copy", from.path.clone(), Some(to.clone()), self.inner.copy(from, to, Arc::clone(&meter)))
    }

    async fn rename(&self, from: &Object, to: &RemotePath) -> Result<()> {
        through!(self, "rename", from.path.clone(), Some(to.clone()), self.inner.rename(from, to))
    }

    async fn exchange(&self, one: &RemotePath, other: &RemotePath) -> Result<()> {
        through!(self, "exchange", one.clone(), Some(other.clone()), self.inner.exchange(one, other))
    }

    async fn create_dir(&self, path: &RemotePath) -> Result<Entry> {
        through!(self, "create_dir", path.clone(), None, self.inner.create_dir(path))
    }

    async fn point(&self, path: &RemotePath, target: &RemotePath) -> Result<()> {
        through!(self, "point", path.clone(), Some(target.clone()), self.inner.point(path, target))
    }

    async fn delete(&self, object: &Object) -> Result<()> {
        through!(self, "delete", object.path.clone(), None, self.inner.delete(object))
    }

    async fn flush(&self, paths: &[RemotePath]) -> Result<()> {
        let first = paths.first().cloned().unwrap_or_default();
        through!(self, "flush", first, None, self.inner.flush(paths))
    }

    async fn usage(&self) -> Result<Usage> {
        through!(self, "usage", RemotePath::root(), None, self.inner.usage())
    }
}

/// Tries a call again while the store does not answer.
///
/// A write that was acknowledged too late meets its own name when tried again; that `Conflict` is for the operation
/// to look into, since only it knows what should be there. A store that tries its own requests again (Drive) does so
/// with these waits, and goes without this layer.
pub use modelkeep_http::Retry;

#[async_trait]
impl Hook for Retry {
    fn after(&self, _call: &Call, attempt: u32, error: Option<&Error>) -> Verdict {
        if error.is_none_or(|error| error.kind() != Kind::Unavailable) {
            return Verdict::Return;
        }
        self.wait(attempt).map_or(Verdict::Return, Verdict::Again)
    }
}

/// Counts calls and keeps them, for `-v` and for tests.
#[derive(Debug)]
pub struct Trace {
    calls: Mutex<VecDeque<Call>>,
    most: AtomicUsize,
}

impl Default for Trace {
    fn default() -> Self {
        Self { calls: Mutex::default(), most: AtomicUsize::new(usize::MAX) }
    }
}

impl Trace {
    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// From now on only the last so many are kept: for a program that runs for weeks.
    pub fn keep_last(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }
}

#[async_trait]
impl Hook for Trace {
    async fn before(&self, call: &Call) -> Result<()> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        while calls.len() >= self.most.load(Ordering::Relaxed).max(1) {
            calls.pop_front();
        }
        calls.push_back(call.clone());
        Ok(())
    }
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// The call is not made.
    Before,
    /// The call is made, its answer is lost.
    After,
}

/// Stops a client at its n-th call, for tests: that call and every later one fails, as if the process had died there.
#[derive(Debug)]
pub struct Fault {
    seen: AtomicU64,
    at: u64,
    strike: Strike,
}

impl Fault {
    /// Dies at the `at`-th call, counted from 1.
    pub fn at_call(at: u64, strike: Strike) -> Self {
        Self { seen: AtomicU64::new(0), at, strike }
    }

    /// How many calls were asked for.
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    fn death(call: &Call) -> Error {
        Error::new(Kind::Interrupted, format!("stopped at: {call}"))
    }
}

#[async_trait]
impl Hook for Fault {
    async fn before(&self, call: &Call) -> Result<()> {
        let seen = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let dead = seen > self.at || (seen == self.at && self.strike == Strike::Before);
        if dead { Err(Self::death(call)) } else { Ok(()) }
    }

    fn after(&self, call: &Call, _attempt: u32, _error: Option<&Error>) -> Verdict {
        let dead = self.seen() >= self.at && self.strike == Strike::After;
        if dead { Verdict::Fail(Self::death(call)) } else { Verdict::Return }
    }
}
