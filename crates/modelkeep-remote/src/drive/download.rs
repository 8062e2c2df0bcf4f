//! How content comes down: ranges, a few at once for a large file, in order into the local file.
//!
//! Knows ranges and breaks. The local file is the beginning of the remote one at any time, so that whatever stops it, the
//! next fetch goes on from there. Does not know paths.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use modelkeep_core::digest::Sha256;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_http::{content_length, range_total, silent};
use reqwest::header::{HeaderValue, RANGE};
use reqwest::{Method, StatusCode};
use sha2::Digest as _;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::client::Client;
use super::error::{Advice, Failure};
use super::gauge::Gauge;
use super::http::{Request, broken};
use super::limit::cost;
use super::source::blocking;
use crate::folder::failed;
use crate::folder::settle::{self, Pages};
use crate::remote::Transferred;

/// So many ranges of one file at once.
const AT_ONCE: usize = 4;
/// Frames that are written and still to be hashed.
const UNHASHED: usize = 4;
/// Memory is counted in so many bytes.
const UNIT: u64 = 64 << 10;
/// So many units of ranges are in memory at most, of all downloads of a remote: each from when it is asked for until its
/// turn to be written comes.
const MEMORY: u32 = 640;

/// What all downloads of a remote have to share.
#[derive(Debug)]
pub(super) struct Room(Semaphore);

impl Default for Room {
    fn default() -> Self {
        Self(Semaphore::new(MEMORY as usize))
    }
}

impl Room {
    /// Waits until so many bytes may be asked for. Whoever asks first gets it first, so the range that a file waits for
    /// never waits for a later one of the same file.
    async fn take(&self, bytes: u64) -> Result<SemaphorePermit<'_>, Failure> {
        let taken = self.0.acquire_many(units(bytes).min(MEMORY)).await;
        taken.map_err(|_| Failure::Stopped(Error::internal("the downloads were closed")))
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// Bytes of a range as they came, and the size of the whole file.
#[derive(Debug, Default)]
struct Part {
    frames: Vec<Bytes>,
    length: u64,
    total: u64,
}

/// Downloads of one file.
#[derive(Debug)]
pub(super) struct Download<'a> {
    pub client: &'a Client,
    pub room: &'a Room,
    pub id: &'a str,
    pub doing: String,
}

impl Download<'_> {
    /// Some bytes, in memory. A range beyond the end is cut off.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, Failure> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let mut part = self.part(range).await?;
        if part.frames.len() == 1 {
            return Ok(part.frames.remove(0));
        }
        Ok(Bytes::from(part.frames.concat()))
    }

    /// All that is not yet in the local file, behind what is there. `size` is what the file was last known to have.
    pub async fn fetch(&self, to: &Path, size: u64, piece: u64, gauge: Arc<Gauge>) -> Result<Transferred> {
        let (have, file) = open(to.to_owned()).await?;
        gauge.skip(have);
        // The first answer tells the size, and is the only one for most files.
        let room = self.room.take(piece.min(size.saturating_sub(have))).await?;
        let first = self.part(have..have + piece).await?;
        let total = first.total;
        if have > total {
            let message = format!("{} holds {have} bytes already, the remote file has {total}", to.display());
            return Err(Error::integrity(message));
        }
        let (sender, receiver) = mpsc::channel(AT_ONCE);
        let (path, told) = (to.to_owned(), Arc::clone(&gauge));
        let writing = tokio::task::spawn_blocking(move || write(file, &path, have..total, receiver, &told));
        let next = have + first.length;
        let brought = async {
            let taken = hand_over(first, &sender).await;
            drop(room);
            if taken { self.bring(next..total, piece, &sender).await } else { Ok(()) }
        };
        let brought = brought.await;
        drop(sender);
        // A writer that stopped is why the others stopped.
        let written = writing.await.map_err(|error| Error::internal("a file task ended badly").because(error))?;
        let (size, sha256) = written?;
        brought?;
        if size != total {
            return Err(Error::new(Kind::Unavailable, format!("{}: {size} of {total} bytes came", self.doing))
                .hint("run it again: what came stays"));
        }
        Ok(Transferred { size, sha256, fetched: total - have })
    }

    /// Hands over a range that ends with the file, in order.
    async fn bring(&self, range: Range<u64>, piece: u64, to: &Sender<Bytes>) -> Result<(), Failure> {
        let total = range.end;
        let begins = range.step_by(usize::try_from(piece).unwrap_or(usize::MAX));
        let parts = stream::iter(begins).map(|begin| async move {
            let end = total.min(begin + piece);
            let room = self.room.take(end - begin).await?;
            Ok::<_, Failure>((self.part(begin..end).await?, room))
        });
        let mut parts = parts.buffered(AT_ONCE);
        while let Some(part) = parts.next().await {
            let (part, _room) = part?;
            if part.total != total {
                let message = format!("{}: the file changed while it was fetched", self.doing);
                return Err(Failure::Stopped(Error::new(Kind::Unavailable, message).hint("run it again")));
            }
            if !hand_over(part, to).await {
                break;
            }
        }
        Ok(())
    }

    /// One range, however often its connection breaks: it goes on behind what came.
    async fn part(&self, range: Range<u64>) -> Result<Part, Failure> {
        let mut part = Part::default();
        let mut attempt = 0;
        loop {
            let before = part.length;
            let failure = match self.some(range.start + part.length..range.end, &mut part).await {
                Ok(()) => return Ok(part),
                Err(failure) => failure,
            };
            attempt = if part.length > before { 1 } else { attempt + 1 };
            match self.client.http.wait_after(&failure, attempt) {
                // A login that ended was renewed below; nothing else that is final helps.
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(failure),
            }
        }
    }

    /// One request for what is missing; what came before a break is kept.
    async fn some(&self, range: Range<u64>, part: &mut Part) -> Result<(), Failure> {
        let http = &self.client.http;
        let mut request = Request::new(Method::GET, self.client.media_url(self.id)?, cost::DOWNLOAD, &*self.doing);
        request.media = true;
        let whole = range.start == 0 && range.end == u64::MAX;
        if !whole {
            let last = if range.end == u64::MAX { String::new() } else { (range.end - 1).to_string() };
            let text = format!("bytes={}-{last}", range.start);
            let value = HeaderValue::from_str(&text)
                .map_err(|error| Failure::Stopped(Error::internal("a range").because(error)))?;
            request.headers.insert(RANGE, value);
        }
        let silent = || Failure::Broken(silent(&self.doing, http.stall));
        let sent = tokio::time::timeout(http.stall, http.once(&request)).await.map_err(|_| silent())?;
        let mut response = match sent {
            Ok(response) => response,
            // Beyond the end: that is an answer, and tells the size.
            Err(Failure::Refused(refusal)) if refusal.status == 416 && refusal.advice() == Advice::Stop => {
                part.total = refusal.size.unwrap_or(0);
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        let (total, mut skip) = if response.status() == StatusCode::PARTIAL_CONTENT {
            (range_total(response.headers()), 0)
        } else {
            // The range was ignored: everything comes.
            (content_length(response.headers()), range.start)
        };
        let wanted = total.map_or(range.end, |total| total.min(range.end)).saturating_sub(range.start);
        let mut came = 0;
        while total.is_none() || came < wanted {
            let chunk = tokio::time::timeout(http.stall, response.chunk()).await.map_err(|_| silent())?;
            let Some(mut chunk) = chunk.map_err(|error| broken(&self.doing, error))? else { break };
            let skipped = skip.min(chunk.len() as u64);
            skip -= skipped;
            let _ = chunk.split_to(usize::try_from(skipped).unwrap_or(usize::MAX));
            let left = wanted - came;
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            came += chunk.len() as u64;
            part.length += chunk.len() as u64;
            if !chunk.is_empty() {
                part.frames.push(chunk);
            }
        }
        part.total = total.unwrap_or(range.start + came);
        if total.is_some() && came < wanted {
            let message = format!("{}: {came} of {wanted} bytes came", self.doing);
            return Err(Failure::Broken(Error::new(Kind::Unavailable, message)));
        }
        Ok(())
    }
}

/// False when nobody takes it any more.
async fn hand_over(part: Part, to: &Sender<Bytes>) -> bool {
    for frame in part.frames {
        if to.send(frame).await.is_err() {
            return false;
        }
    }
    true
}

async fn open(to: PathBuf) -> Result<(u64, File)> {
    blocking(move || {
        let opened = OpenOptions::new().read(true).append(true).create(true).open(&to);
        let file = opened.map_err(|error| failed("writing", &to, error))?;
        let have = file.metadata().map_err(|error| failed("reading", &to, error))?.len();
        Ok((have, file))
    })
    .await
}

/// Hashes what is there, then writes and hashes what comes; the whole file's size and digest. One thread writes while
/// another hashes, and what is written settles on the disk meanwhile: who asked for it flushes it before it counts.
fn write(
    mut file: File,
    path: &Path,
    range: Range<u64>,
    mut frames: Receiver<Bytes>,
    gauge: &Gauge,
) -> Result<(u64, Sha256)> {
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut at = 0;
    while at < range.start {
        let read = file.read(&mut buffer).map_err(|error| failed("reading", path, error))?;
        if read == 0 {
            return Err(Error::conflict(format!("{} changed while it was fetched", path.display())));
        }
        hasher.update(&buffer[..read]);
        at += read as u64;
    }
    drop(buffer);
    let (sender, unhashed) = sync_channel::<Bytes>(UNHASHED);
    std::thread::scope(|scope| {
        let hashing = scope.spawn(move || {
            for frame in unhashed {
                hasher.update(&frame);
            }
            hasher.finalize()
        });
        let written = settle::behind(&file, path, range.end - range.start, Pages::Keep, |reached| {
            while let Some(frame) = frames.blocking_recv() {
                (&file).write_all(&frame).map_err(|error| failed("writing", path, error))?;
                at += frame.len() as u64;
                reached(at);
                gauge.reach(at)?;
                // Its end is waited for below.
                let _ = sender.send(frame);
            }
            Ok(at)
        });
        drop(sender);
        let digest = hashing.join().map_err(|_| Error::internal("the hashing thread ended badly"))?;
        written.map(|size| (size, Sha256::from_bytes(digest.into())))
    })
}
