//! How content comes down: ranges, a few at once for a large file, handed on in order.
//!
//! Knows ranges, breaks and lies about length. Does not know where the bytes go, nor what they should be.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_http::{content_length, range_total};
use reqwest::StatusCode;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedReceiver};
use tokio::task::JoinHandle;

use crate::client::{Failure, Hub, Place};

/// Bytes of one range.
pub const PIECE: u64 = 16 << 20;
/// So many ranges of one file at once.
const AT_ONCE: usize = 4;
/// So many frames wait between the network and whoever takes them.
const AHEAD: usize = 64;

/// The bytes of a file from some offset on, in order; dropped, it stops.
#[derive(Debug)]
pub struct Stream {
    frames: Receiver<Bytes>,
    work: JoinHandle<Result<()>>,
}

impl Stream {
    /// The next bytes; `None` when all came.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        match self.frames.recv().await {
            Some(frame) => Ok(Some(frame)),
            None => self.end().await.map(|()| None),
        }
    }

    /// The same for a thread that may wait. What went wrong is told by [`Stream::end`].
    pub fn blocking_next(&mut self) -> Option<Bytes> {
        self.frames.blocking_recv()
    }

    /// How it ended, once there is nothing more to take.
    pub async fn end(&mut self) -> Result<()> {
        (&mut self.work).await.map_err(|error| Error::internal("a download ended badly").because(error))?
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Hub {
    /// The bytes of a file of this `size`, from `offset` on.
    pub fn stream(&self, place: Place, offset: u64, size: u64) -> Stream {
        let (sender, frames) = mpsc::channel(AHEAD);
        let download = Arc::new(Download { hub: self.clone(), place, size });
        Stream { frames, work: tokio::spawn(download.run(offset, sender)) }
    }

    /// All bytes of a small file.
    pub async fn read(&self, place: Place, size: u64) -> Result<Bytes> {
        let mut stream = self.stream(place, 0, size);
        let mut bytes = Vec::new();
        while let Some(frame) = stream.next().await? {
            bytes.extend_from_slice(&frame);
        }
        Ok(bytes.into())
    }
}

#[derive(Debug)]
struct Download {
    hub: Hub,
    place: Place,
    size: u64,
}

/// A range under way.
struct Part {
    frames: UnboundedReceiver<Bytes>,
    work: JoinHandle<Result<(), Broken>>,
    /// Held until the last byte is handed on: what waits in memory is bounded by it.
    lane: OwnedSemaphorePermit,
}

/// Why a range did not come.
enum Broken {
    /// The server sends the whole file, whatever it is asked for.
    NoRanges,
    Failed(Error),
}

impl Download {
    async fn run(self: Arc<Self>, offset: u64, to: Sender<Bytes>) -> Result<()> {
        let mut at = offset;
        match self.in_parts(&mut at, &to).await {
            Err(Broken::NoRanges) => match self.pour(at..self.size, true, |frame| hand_over(&to, frame)).await {
                Err(Broken::Failed(error)) => Err(error),
                Err(Broken::NoRanges) | Ok(()) => Ok(()),
            },
            Err(Broken::Failed(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// Hands on everything from `at` on, which is kept where the next byte belongs.
    async fn in_parts(self: &Arc<Self>, at: &mut u64, to: &Sender<Bytes>) -> Result<(), Broken> {
        let mut next = *at;
        let mut parts: VecDeque<Part> = VecDeque::new();
        loop {
            while next < self.size && parts.len() < AT_ONCE {
                let lanes = Arc::clone(&self.hub.lanes);
                // Only who has nothing to hand on waits for a lane: so nobody waits for himself.
                let lane = if parts.is_empty() {
                    lanes.acquire_owned().await.map_err(|_| Broken::Failed(Error::internal("no lanes")))?
                } else {
                    let Ok(lane) = lanes.try_acquire_owned() else { break };
                    lane
                };
                let end = self.size.min(next + PIECE);
                parts.push_back(self.begin(next..end, lane));
                next = end;
            }
            let Some(mut part) = parts.pop_front() else { return Ok(()) };
            while let Some(frame) = part.frames.recv().await {
                *at += frame.len() as u64;
                if to.send(frame).await.is_err() {
                    parts.push_back(part);
                    stop(&parts);
                    return Ok(());
                }
            }
            let done = part.work.await.map_err(|error| Broken::Failed(Error::internal("a range").because(error)));
            if let Err(broken) = done.and_then(|done| done) {
                stop(&parts);
                return Err(broken);
            }
            drop(part.lane);
        }
    }

    fn begin(self: &Arc<Self>, range: Range<u64>, lane: OwnedSemaphorePermit) -> Part {
        let (sender, frames) = mpsc::unbounded_channel();
        let download = Arc::clone(self);
        let whole = range == (0..self.size);
        let work = tokio::spawn(async move {
            download.pour(range, whole, |frame| std::future::ready(sender.send(frame).is_ok())).await
        });
        Part { frames, work, lane }
    }

    /// Hands on a range, however often its connection breaks: it goes on behind what came.
    async fn pour<F: Future<Output = bool>>(
        &self,
        range: Range<u64>,
        whole: bool,
        mut to: impl FnMut(Bytes) -> F,
    ) -> Result<(), Broken> {
        let mut at = range.start;
        let mut attempt = 0;
        while at < range.end {
            let before = at;
            let failure = match self.some(&mut at, range.end, whole, &mut to).await {
                Ok(()) => return Ok(()),
                Err(Some(failure)) => failure,
                Err(None) => return Err(Broken::NoRanges),
            };
            attempt = if at > before { 1 } else { attempt + 1 };
            match self.hub.wait_after(&failure, attempt) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(Broken::Failed(self.hub.error(failure, &self.place.repo))),
            }
        }
        Ok(())
    }

    /// One request for what is missing; what came before a break is handed on. `Err(None)`: no ranges here.
    async fn some<F: Future<Output = bool>>(
        &self,
        at: &mut u64,
        end: u64,
        whole: bool,
        to: &mut impl FnMut(Bytes) -> F,
    ) -> Result<(), Option<Failure>> {
        let doing = format!("fetching {}", self.place);
        let asks_for_all = whole && *at == 0;
        let mut response = self.hub.open(&self.place, &(*at..end), asks_for_all).await.map_err(Some)?;
        let headers = response.headers();
        let (total, mut skip) = if response.status() == StatusCode::PARTIAL_CONTENT {
            (range_total(headers), 0)
        } else if whole {
            (content_length(headers), *at)
        } else {
            return Err(None);
        };
        if let Some(total) = total.filter(|total| *total != self.size) {
            let message = format!("{doing}: the Hub's list says {} bytes, its answer says {total}", self.size);
            return Err(Some(Failure::Stopped(Error::integrity(message))));
        }
        while *at < end {
            let Some(mut frame) = self.hub.piece(&mut response, &doing).await.map_err(Some)? else { break };
            let skipped = skip.min(frame.len() as u64);
            skip -= skipped;
            drop(frame.split_to(narrow(skipped)));
            frame.truncate(narrow(end - *at));
            if frame.is_empty() {
                continue;
            }
            *at += frame.len() as u64;
            if !to(frame).await {
                return Ok(());
            }
        }
        if *at < end {
            let message = format!("{doing}: the connection ended {} bytes early", end - *at);
            return Err(Some(Failure::Broken(
                Error::new(Kind::Unavailable, message).hint("run it again: what came stays"),
            )));
        }
        Ok(())
    }
}

async fn hand_over(to: &Sender<Bytes>, frame: Bytes) -> bool {
    to.send(frame).await.is_ok()
}

/// Nobody takes the bytes any more.
fn stop(parts: &VecDeque<Part>) {
    for part in parts {
        part.work.abort();
    }
}

/// A length that fits in memory, since it is cut to that of something in memory.
fn narrow(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
