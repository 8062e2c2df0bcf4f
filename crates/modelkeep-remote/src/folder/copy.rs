//! One pass over the bytes: copying and hashing together, with flat memory whatever the size.
//!
//! A large file is read and written by one thread while another hashes, so the pass takes as long as the hashing alone.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use modelkeep_core::digest::Sha256;
use modelkeep_core::{Error, Kind, Result};
use sha2::Digest as _;

use super::failed;
use super::settle::{self, Pages};
use crate::remote::{Far, Meter};

/// Larger buffers fall out of the CPU's cache between reading and hashing: 1 MiB is about three times slower.
const BUFFER: usize = 128 * 1024;
/// In flight between the two threads.
const BUFFERS: usize = 6;
/// Below this a second thread costs more than it brings.
const TWO_THREADS_FROM: u64 = 4 << 20;

/// Tells the meter, and stops when it says so.
pub fn advance(meter: &dyn Meter, bytes: u64) -> Result<()> {
    if meter.advance(bytes).is_break() { Err(Error::new(Kind::Interrupted, "interrupted")) } else { Ok(()) }
}

/// Hashes a file from where it stands to its end.
pub fn hash(file: &mut File, path: &Path, meter: &dyn Meter) -> Result<(u64, Sha256)> {
    let size = size_of(file, path)?;
    pump(file, path, &mut io::sink(), path, meter, sha2::Sha256::new(), size)
}

/// Copies `from` into `to` and hashes what was written.
pub fn copy_and_hash(
    from: File,
    from_path: &Path,
    to: &mut File,
    to_path: &Path,
    meter: &dyn Meter,
) -> Result<(u64, Sha256)> {
    let size = size_of(&from, from_path)?;
    copy_telling(from, from_path, size, to, to_path, meter, &mut |_| {})
}

/// The same into a store: what is written settles on the disk meanwhile.
pub fn store_and_hash(
    from: File,
    from_path: &Path,
    to: &File,
    to_path: &Path,
    meter: &dyn Meter,
) -> Result<(u64, Sha256)> {
    let size = size_of(&from, from_path)?;
    settle::behind(to, to_path, size, Pages::GiveBack, |reached| {
        copy_telling(from, from_path, size, &mut &*to, to_path, meter, reached)
    })
}

fn size_of(file: &File, path: &Path) -> Result<u64> {
    Ok(file.metadata().map_err(|error| failed("reading", path, error))?.len())
}

/// The same, telling `reached` how many bytes are written.
fn copy_telling(
    mut from: File,
    from_path: &Path,
    size: u64,
    to: &mut impl Write,
    to_path: &Path,
    meter: &dyn Meter,
    reached: &mut dyn FnMut(u64),
) -> Result<(u64, Sha256)> {
    if size < TWO_THREADS_FROM {
        return pump(&mut from, from_path, to, to_path, meter, sha2::Sha256::new(), size);
    }
    let (full, to_hash) = mpsc::sync_channel::<(Vec<u8>, usize)>(BUFFERS);
    let (give_back, empty) = mpsc::channel::<Vec<u8>>();
    for _ in 0..BUFFERS {
        // Both ends are alive here.
        let _ = give_back.send(vec![0; BUFFER]);
    }
    thread::scope(|scope| {
        let hasher = scope.spawn(move || {
            let mut hasher = sha2::Sha256::new();
            for (buffer, length) in to_hash {
                hasher.update(&buffer[..length]);
                let _ = give_back.send(buffer);
            }
            hasher.finalize()
        });
        let mut total = 0;
        let copied = (|| {
            while let Ok(mut buffer) = empty.recv() {
                let length = read_full(&mut from, &mut buffer).map_err(|error| failed("reading", from_path, error))?;
                if length == 0 {
                    break;
                }
                to.write_all(&buffer[..length]).map_err(|error| failed("writing", to_path, error))?;
                total += length as u64;
                reached(total);
                advance(meter, length as u64)?;
                if full.send((buffer, length)).is_err() {
                    break;
                }
            }
            Ok(())
        })();
        drop(full);
        let digest = hasher.join().map_err(|_| Error::internal("the hashing thread ended badly"))?;
        copied.map(|()| (total, Sha256::from_bytes(digest.into())))
    })
}

/// Writes what comes from afar into a store and hashes it.
pub fn take_and_hash(from: &dyn Far, to: &File, to_path: &Path, meter: &dyn Meter) -> Result<(u64, Sha256)> {
    settle::behind(to, to_path, from.size(), Pages::GiveBack, |reached| {
        let (mut to, mut hasher, mut total) = (to, sha2::Sha256::new(), 0);
        for frame in from.read_from(0) {
            let frame = frame?;
            hasher.update(&frame);
            to.write_all(&frame).map_err(|error| failed("writing", to_path, error))?;
            total += frame.len() as u64;
            reached(total);
            advance(meter, frame.len() as u64)?;
        }
        Ok((total, Sha256::from_bytes(hasher.finalize().into())))
    })
}

/// Copies `from`, of `size` bytes, into `to` without reading it here: on Linux the bytes stay in the kernel.
pub fn store(mut from: File, size: u64, to: &File, to_path: &Path) -> Result<()> {
    settle::behind(to, to_path, size, Pages::GiveBack, |reached| {
        let mut total = 0;
        loop {
            // Between files `io::copy` is `copy_file_range`.
            let copied = io::copy(&mut (&mut from).take(settle::STEP), &mut &*to);
            let copied = copied.map_err(|error| failed("copying", to_path, error))?;
            if copied == 0 {
                return Ok(());
            }
            total += copied;
            reached(total);
        }
    })
}

/// Hashes what `to` holds, then appends the rest of `from` (which stands right behind it) and hashes that as well.
pub fn continue_and_hash(
    from: &mut File,
    from_path: &Path,
    to: &mut File,
    to_path: &Path,
    meter: &dyn Meter,
) -> Result<(u64, Sha256)> {
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut total = 0;
    loop {
        let length = to.read(&mut buffer).map_err(|error| failed("reading", to_path, error))?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
        total += length as u64;
    }
    let (rest, sha256) = pump(from, from_path, to, to_path, meter, hasher, u64::MAX)?;
    Ok((total + rest, sha256))
}

/// A buffer no larger than what goes through it: allocating 128 KiB for each of 10,000 small files shows.
fn buffer_for(size: u64) -> Vec<u8> {
    let wanted = usize::try_from(size).unwrap_or(BUFFER).saturating_add(1);
    vec![0; wanted.min(BUFFER)]
}

fn pump(
    from: &mut impl Read,
    from_path: &Path,
    to: &mut impl Write,
    to_path: &Path,
    meter: &dyn Meter,
    mut hasher: sha2::Sha256,
    size: u64,
) -> Result<(u64, Sha256)> {
    let mut buffer = buffer_for(size);
    let mut total = 0;
    loop {
        let length = from.read(&mut buffer).map_err(|error| failed("reading", from_path, error))?;
        if length == 0 {
            return Ok((total, Sha256::from_bytes(hasher.finalize().into())));
        }
        hasher.update(&buffer[..length]);
        to.write_all(&buffer[..length]).map_err(|error| failed("writing", to_path, error))?;
        total += length as u64;
        advance(meter, length as u64)?;
        // At the size it had there is nothing more to ask for; a file that grew is noticed by its stat.
        if total == size {
            return Ok((total, Sha256::from_bytes(hasher.finalize().into())));
        }
    }
}

fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            length => filled += length,
        }
    }
    Ok(filled)
}
