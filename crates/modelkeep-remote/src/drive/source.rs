//! Bytes on their way up: read once in order, hashed as they go by, read again where a part has to be sent again.
//!
//! Knows local files and pieces. Does not know sessions or the network.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use futures_util::stream;
use modelkeep_core::digest::Sha256;
use modelkeep_core::{Error, Kind, Result};
use sha2::Digest as _;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::gauge::Gauge;
use super::http::PIECE;
use crate::folder::failed;
use crate::remote::{Far, Source};

/// So many pieces wait between the disk and the network.
const AHEAD: usize = 8;

/// Where bytes come from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Bytes(Bytes),
    File {
        path: PathBuf,
        size: u64,
        /// Nanoseconds since 1970.
        modified: i128,
    },
    Far(Arc<dyn Far>),
}

/// The digest of what was read so far, from the beginning.
#[derive(Debug, Default)]
struct Hashing {
    hasher: sha2::Sha256,
    at: u64,
    failed: Option<Error>,
}

/// One upload's bytes.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    origin: Origin,
    hashing: Arc<Mutex<Hashing>>,
}

/// Bytes being read from some offset on.
#[derive(Debug, Clone)]
pub(super) struct Pump(Arc<tokio::sync::Mutex<Receiver<Result<Bytes, String>>>>);

impl Origin {
    /// Looks at what a write is given.
    pub async fn of(source: &Source) -> Result<Self> {
        let path = match source {
            Source::Bytes(bytes) => return Ok(Self::Bytes(bytes.clone())),
            Source::File(path) => path.clone(),
            Source::Far(far) => return Ok(Self::Far(Arc::clone(far))),
        };
        blocking(move || {
            let metadata = std::fs::metadata(&path).map_err(|error| failed("reading", &path, error))?;
            if !metadata.is_file() {
                return Err(Error::usage(format!("{} is no file", path.display())));
            }
            let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let modified = modified.and_then(|since| i128::try_from(since.as_nanos()).ok()).unwrap_or_default();
            Ok(Self::File { size: metadata.len(), path, modified })
        })
        .await
    }

    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
            Self::Far(far) => far.size(),
        }
    }

    /// All of it, in memory: for small ones.
    pub async fn bytes(&self) -> Result<Bytes> {
        match self.clone() {
            Self::Bytes(bytes) => Ok(bytes),
            Self::File { path, size, .. } => {
                blocking(move || {
                    let bytes = std::fs::read(&path).map_err(|error| failed("reading", &path, error))?;
                    if bytes.len() as u64 == size { Ok(Bytes::from(bytes)) } else { Err(changed(&path)) }
                })
                .await
            }
            Self::Far(far) => {
                blocking(move || {
                    let frames: Vec<Bytes> = far.read_from(0).collect::<Result<_>>()?;
                    Ok(Bytes::from(frames.concat()))
                })
                .await
            }
        }
    }
}

impl Feed {
    pub fn new(origin: Origin) -> Self {
        Self { origin, hashing: Arc::default() }
    }

    pub fn size(&self) -> u64 {
        self.origin.size()
    }

    /// Begins to read at `offset`.
    pub fn pump(&self, offset: u64) -> Pump {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let feed = self.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = feed.read_from(offset, &sender) {
                let _ = sender.blocking_send(Err(error.to_string()));
                feed.hashing().failed = Some(error);
            }
        });
        Pump(Arc::new(tokio::sync::Mutex::new(receiver)))
    }

    /// What went wrong with the local file, if anything did.
    pub fn failure(&self) -> Option<Error> {
        self.hashing().failed.take()
    }

    /// The digest of all of it; what nobody read so far is read now.
    pub async fn digest(&self) -> Result<Sha256> {
        let feed = self.clone();
        blocking(move || {
            let at = feed.hashing().at;
            if at < feed.size() {
                let (sender, _) = mpsc::channel(1);
                feed.read_from(u64::MAX, &sender)?;
            }
            Ok(Sha256::from_bytes(feed.hashing().hasher.clone().finalize().into()))
        })
        .await
    }

    fn hashing(&self) -> MutexGuard<'_, Hashing> {
        self.hashing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads to the end, hashing what was not hashed before, and sends what comes from `offset` on until nobody listens.
    fn read_from(&self, offset: u64, to: &Sender<Result<Bytes, String>>) -> Result<()> {
        let size = self.size();
        let mut at = offset.min(self.hashing().at);
        let mut open = match &self.origin {
            Origin::Bytes(_) => None,
            Origin::Far(far) => return self.take_from(&**far, at, offset, to),
            Origin::File { path, .. } => {
                let mut file = File::open(path).map_err(|error| failed("reading", path, error))?;
                file.seek(SeekFrom::Start(at)).map_err(|error| failed("reading", path, error))?;
                Some((file, path))
            }
        };
        while at < size {
            // A piece begins at the offset, so that parts are made of whole pieces.
            let end = size.min(at + PIECE as u64);
            let end = if at < offset { end.min(offset) } else { end };
            let piece = match (&self.origin, &mut open) {
                (Origin::Bytes(bytes), _) => bytes.slice(narrow(at)..narrow(end)),
                (Origin::File { .. }, Some((file, path))) => {
                    let mut piece = vec![0; narrow(end - at)];
                    file.read_exact(&mut piece).map_err(|error| match error.kind() {
                        std::io::ErrorKind::UnexpectedEof => changed(path),
                        _ => failed("reading", path, error),
                    })?;
                    Bytes::from(piece)
                }
                (Origin::File { .. } | Origin::Far(_), _) => return Err(Error::internal("a file that is not open")),
            };
            self.hashing().feed(at, &piece);
            if at >= offset && to.blocking_send(Ok(piece)).is_err() {
                return Ok(());
            }
            at = end;
        }
        Ok(())
    }
}

impl Feed {
    /// The same for content from afar, whose frames come in any size.
    fn take_from(&self, far: &dyn Far, mut at: u64, offset: u64, to: &Sender<Result<Bytes, String>>) -> Result<()> {
        let (size, mut frames, mut frame) = (self.size(), far.read_from(at), Bytes::new());
        while at < size {
            let end = size.min(at + PIECE as u64);
            let wanted = narrow(if at < offset { end.min(offset) } else { end } - at);
            let mut piece = Vec::with_capacity(wanted);
            while piece.len() < wanted {
                if frame.is_empty() {
                    let early = || Error::new(Kind::Unavailable, "content from afar ended early");
                    frame = frames.next().ok_or_else(early)??;
                }
                piece.extend_from_slice(&frame.split_to(frame.len().min(wanted - piece.len())));
            }
            self.hashing().feed(at, &piece);
            if at >= offset && to.blocking_send(Ok(Bytes::from(piece))).is_err() {
                return Ok(());
            }
            at += wanted as u64;
        }
        Ok(())
    }
}

impl Hashing {
    fn feed(&mut self, at: u64, piece: &[u8]) {
        let end = at + piece.len() as u64;
        if at <= self.at && self.at < end {
            self.hasher.update(&piece[narrow(self.at - at)..]);
            self.at = end;
        }
    }
}

impl Pump {
    /// The next `length` bytes as a body; the gauge is told of each piece, and breaks the body when it is told to stop.
    pub fn body(&self, offset: u64, length: u64, gauge: Arc<Gauge>) -> reqwest::Body {
        let end = offset + length;
        let begin = (self.clone(), gauge, offset);
        reqwest::Body::wrap_stream(stream::unfold(begin, move |(pump, gauge, at)| async move {
            if at >= end {
                return None;
            }
            let read = pump.0.lock().await.recv().await;
            let piece = match read? {
                Ok(piece) => piece,
                Err(why) => return Some((Err(Error::local(why)), (pump, gauge, end))),
            };
            let at = at + piece.len() as u64;
            match gauge.reach(at) {
                Ok(()) => Some((Ok(piece), (pump, gauge, at))),
                Err(error) => Some((Err(error), (pump, gauge, end))),
            }
        }))
    }
}

fn changed(path: &std::path::Path) -> Error {
    Error::conflict(format!("{} changed while it was read", path.display()))
        .hint("wait until it is written, then run it again")
}

/// A length that fits in memory, since it is that of something in memory or of a piece.
fn narrow(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal("a file task ended badly").because(error))?
}
