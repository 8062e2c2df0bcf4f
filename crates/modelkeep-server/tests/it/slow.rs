//! A store whose content comes when the test says so, and is what the test says.

use std::fs::{self, File};
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use modelkeep_core::Result;
use modelkeep_core::digest::Sha256;
use modelkeep_core::path::RemotePath;
use modelkeep_remote::memory::Profile;
use modelkeep_remote::{
    Capabilities, Copied, Entry, Inline, MemoryRemote, Meter, Mode, Object, Remote, Source, Transferred, Usage, Written,
};
use tokio::sync::Semaphore;

/// A store in memory. Each fetch of a large file stops in its middle until it is let on.
#[derive(Debug)]
pub struct SlowRemote {
    inner: MemoryRemote,
    /// Fetches that may go on behind their middle.
    pub gate: Semaphore,
    /// Fetches that wait there.
    pub halfway: AtomicUsize,
    /// The last byte comes wrong.
    pub wrong: AtomicBool,
}

/// Smaller files come at once.
const LARGE: usize = 1 << 20;

impl SlowRemote {
    pub fn new() -> Arc<Self> {
        let inner = MemoryRemote::new(Profile::folder());
        let (halfway, wrong) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { inner, gate: Semaphore::new(0), halfway, wrong })
    }
}

#[async_trait]
impl Remote for SlowRemote {
    async fn fetch(&self, object: &Object, to: &Path, meter: Arc<dyn Meter>) -> Result<Transferred> {
        let mut bytes = self.inner.read(object, 0..u64::MAX).await?.to_vec();
        if self.wrong.load(Ordering::SeqCst) {
            *bytes.last_mut().unwrap() ^= 1;
        }
        let have = usize::try_from(fs::metadata(to).map_or(0, |metadata| metadata.len())).unwrap();
        let mut file = File::options().append(true).create(true).open(to).unwrap();
        let middle = if bytes.len() < LARGE { bytes.len() } else { bytes.len() / 2 };
        let mut put = |range: Range<usize>| {
            file.write_all(&bytes[range.clone()]).unwrap();
            let go_on = meter.advance(range.len() as u64);
            if go_on.is_break() {
                Err(modelkeep_core::Error::new(modelkeep_core::Kind::Interrupted, "stopped"))
            } else {
                Ok(())
            }
        };
        put(have.min(middle)..middle)?;
        if middle < bytes.len() {
            self.halfway.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
        }
        put(middle.max(have)..bytes.len())?;
        let size = bytes.len() as u64;
        Ok(Transferred { size, sha256: Sha256::of(&bytes), fetched: size - have as u64 })
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

    async fn list(&self, dir: &RemotePath, inline: Inline<'_>) -> Result<Vec<Entry>> {
        self.inner.list(dir, inline).await
    }

    async fn find(&self, object: &Object) -> Result<Option<Entry>> {
        self.inner.find(object).await
    }

    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes> {
        self.inner.read(object, range).await
    }

    async fn write(&self, path: &RemotePath, source: Source, mode: Mode, meter: Arc<dyn Meter>) -> Result<Written> {
        self.inner.write(path, source, mode, meter).await
    }

    async fn write_many(&self, files: Vec<(RemotePath, PathBuf)>, meter: Arc<dyn Meter>) -> Result<Vec<Written>> {
        self.inner.write_many(files, meter).await
    }

    async fn copy(&self, from: &Object, to: &RemotePath, meter: Arc<dyn Meter>) -> Result<Copied> {
        self.inner.copy(from, to, meter).await
    }

    async fn rename(&self, from: &Object, to: &RemotePath) -> Result<()> {
        self.inner.rename(from, to).await
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
