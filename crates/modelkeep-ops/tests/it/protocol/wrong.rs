//! A store that does one thing wrong, to show that the tests would notice.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use modelkeep_core::Result;
use modelkeep_core::path::RemotePath;
use modelkeep_core::{event::EventName, layout};
use modelkeep_remote::{
    Capabilities, Copied, Entry, Inline, MemoryRemote, Meter, Mode, Object, Remote, Source, Transferred, Usage, Written,
};

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// A rename takes the place of what stands there.
    RenameReplaces,
    /// Events are told apart by clock and writer alone, as if names held no digest.
    NamesWithoutDigest,
}

/// A store in memory that does it wrong.
#[derive(Debug)]
pub struct WrongRemote {
    inner: MemoryRemote,
    wrong: Wrong,
}

impl WrongRemote {
    pub fn new(inner: MemoryRemote, wrong: Wrong) -> Self {
        Self { inner, wrong }
    }
}

#[async_trait]
impl Remote for WrongRemote {
    async fn list(&self, dir: &RemotePath, inline: Inline<'_>) -> Result<Vec<Entry>> {
        let mut entries = self.inner.list(dir, inline).await?;
        if self.wrong == Wrong::NamesWithoutDigest && *dir == layout::log() {
            let mut seen = BTreeSet::new();
            entries.retain(|entry| {
                EventName::from_file_name(entry.name()).is_none_or(|(name, _)| seen.insert((name.clock, name.writer)))
            });
        }
        Ok(entries)
    }

    async fn rename(&self, from: &Object, to: &RemotePath) -> Result<()> {
        if self.wrong == Wrong::RenameReplaces && self.inner.find(from).await?.is_some() {
            self.inner.delete(&Object::at(to.clone())).await?;
        }
        self.inner.rename(from, to).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn now(&self) -> Result<Timestamp> {
        self.inner.now().await
    }

    async fn find(&self, object: &Object) -> Result<Option<Entry>> {
        self.inner.find(object).await
    }

    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes> {
        self.inner.read(object, range).await
    }

    async fn fetch(&self, object: &Object, to: &Path, meter: Arc<dyn Meter>) -> Result<Transferred> {
        self.inner.fetch(object, to, meter).await
    }

    async fn write(&self, path: &RemotePath, source: Source, mode: Mode, meter: Arc<dyn Meter>) -> Result<Written> {
        self.inner.write(path, source, mode, meter).await
    }

    async fn copy(&self, from: &Object, to: &RemotePath, meter: Arc<dyn Meter>) -> Result<Copied> {
        self.inner.copy(from, to, meter).await
    }

    async fn exchange(&self, one: &RemotePath, other: &RemotePath) -> Result<()> {
        self.inner.exchange(one, other).await
    }

    async fn create_dir(&self, path: &RemotePath) -> Result<Entry> {
        self.inner.create_dir(path).await
    }

    async fn point(&self, path: &RemotePath, target: &RemotePath) -> Result<()> {
        self.inner.point(path, target).await
    }

    async fn delete(&self, object: &Object) -> Result<()> {
        self.inner.delete(object).await
    }

    async fn flush(&self, paths: &[RemotePath]) -> Result<()> {
        self.inner.flush(paths).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.inner.usage().await
    }
}
