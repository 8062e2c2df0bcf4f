//! The way of bytes into a memory store and out of it, piece by piece, hashed and metered as they go by.
//!
//! Knows local files and content; does not know names, clients or the store.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use modelkeep_core::digest::Sha256;
use modelkeep_core::{Error, Kind, Result};
use sha2::Digest as _;

use crate::remote::{Meter, Source, Transferred};

/// Moved between two words to the meter, in bytes.
const PIECE: usize = 128 * 1024;

/// The largest file that a store which discards content still keeps, in bytes.
const KEPT: u64 = 1024 * 1024;

/// A file's bytes, or what is left of them.
#[derive(Debug, Clone)]
pub(super) struct Content {
    /// `None` when they were discarded.
    pub data: Option<Bytes>,
    pub size: u64,
    pub sha256: Sha256,
}

impl Content {
    fn data(&self) -> Result<&Bytes> {
        self.data.as_ref().ok_or_else(|| Error::internal("this memory store discards the content of large files"))
    }
}

/// Tells the meter, and stops if it says so.
pub(super) fn moved(meter: &dyn Meter, bytes: u64) -> Result<()> {
    if meter.advance(bytes).is_break() {
        return Err(Error::new(Kind::Interrupted, "the transfer was stopped"));
    }
    Ok(())
}

/// Everything from a source.
pub(super) fn take_in(source: &Source, discard: bool, meter: &dyn Meter) -> Result<Content> {
    let (data, size, sha256) = match source {
        Source::Bytes(bytes) => {
            for piece in bytes.chunks(PIECE) {
                moved(meter, piece.len() as u64)?;
            }
            (Some(bytes.clone()), bytes.len() as u64, Sha256::of(bytes))
        }
        Source::File(path) => take_in_file(path, discard, meter)
            .map_err(|error| error.context(format_args!("reading {}", path.display())))?,
        Source::Far(far) => {
            let mut bytes = Vec::new();
            for frame in far.read_from(0) {
                let frame = frame?;
                moved(meter, frame.len() as u64)?;
                bytes.extend_from_slice(&frame);
            }
            let bytes = Bytes::from(bytes);
            let (size, sha256) = (bytes.len() as u64, Sha256::of(&bytes));
            (Some(bytes), size, sha256)
        }
    };
    Ok(Content { data: data.filter(|_| !discard || size <= KEPT), size, sha256 })
}

fn take_in_file(path: &Path, discard: bool, meter: &dyn Meter) -> Result<(Option<Bytes>, u64, Sha256)> {
    let mut file = File::open(path).map_err(local)?;
    let mut kept = Some(Vec::new());
    let (size, sha256) = hash(&mut file, |piece, so_far| {
        if discard && so_far > KEPT {
            kept = None;
        }
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(piece);
        }
        moved(meter, piece.len() as u64)
    })?;
    Ok((kept.map(Bytes::from), size, sha256))
}

/// Reads to the end; `seen` is told each piece and how much there was so far, it included.
fn hash(file: &mut File, mut seen: impl FnMut(&[u8], u64) -> Result<()>) -> Result<(u64, Sha256)> {
    let mut hasher = sha2::Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; PIECE];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((size, Sha256::from_bytes(hasher.finalize().into()))),
            Ok(read) => {
                size += read as u64;
                hasher.update(&buffer[..read]);
                seen(&buffer[..read], size)?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(local(error)),
        }
    }
}

/// Some of a file's bytes; a range beyond the end is cut off.
pub(super) fn part(content: &Content, range: Range<u64>) -> Result<Bytes> {
    let data = content.data()?;
    let end = usize::try_from(range.end).unwrap_or(usize::MAX).min(data.len());
    let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(end);
    Ok(data.slice(start..end))
}

/// Everything that is not yet in the local file `to`, behind what is there.
pub(super) fn give_out(content: &Content, to: &Path, meter: &dyn Meter) -> Result<Transferred> {
    let data = content.data()?;
    let doing = |error: Error| error.context(format_args!("writing {}", to.display()));
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).open(to).map_err(|error| doing(local(error)))?;
    let (there, _) = hash(&mut file, |_, _| Ok(())).map_err(doing)?;
    if there > content.size {
        let message = format!("holds {there} bytes already, the remote file has {}", content.size);
        return Err(doing(Error::integrity(message)));
    }
    let missing = part(content, there..content.size)?;
    for piece in missing.chunks(PIECE) {
        file.write_all(piece).map_err(|error| doing(local(error)))?;
        moved(meter, piece.len() as u64)?;
    }
    let sha256 = if there == 0 { Sha256::of(data) } else { of_file(to).map_err(doing)? };
    Ok(Transferred { size: content.size, sha256, fetched: missing.len() as u64 })
}

fn of_file(path: &Path) -> Result<Sha256> {
    let mut file = File::open(path).map_err(local)?;
    hash(&mut file, |_, _| Ok(())).map(|(_, sha256)| sha256)
}

fn local(error: std::io::Error) -> Error {
    Error::local("the local file cannot be used").because(error)
}
