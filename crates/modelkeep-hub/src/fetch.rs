//! One file from the Hub into the cache: under its lock, going on behind what is there, checked before it has its name.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use modelkeep_core::error::failed;
use modelkeep_core::meter::Meter;
use modelkeep_core::{Error, Kind, Result};

use crate::blob::{BlobId, Check};
use crate::cache::{CacheFile, RepoDir};
use crate::client::{Hub, Place};
use crate::download::Stream;

/// Told while somebody else holds a lock; an error stops waiting.
pub type Waiting<'a> = &'a (dyn Fn() -> Result<()> + Sync);

/// Brings the content of one file into the cache; the bytes that came from the Hub.
pub async fn bring(
    hub: &Hub,
    dir: &RepoDir,
    place: &Place,
    file: &CacheFile,
    meter: &Arc<dyn Meter>,
    waiting: Waiting<'_>,
) -> Result<u64> {
    if dir.has_blob(file) {
        return Ok(0);
    }
    dir.prepare()?;
    let mut held = dir.lock(&file.blob, waiting).await?;
    // Somebody may have brought it meanwhile.
    if dir.has_blob(file) {
        return Ok(0);
    }
    // Where there are no locks, two may write at once: then neither into a file that the other knows.
    let incomplete = if held.is_locked() { dir.incomplete(&file.blob) } else { dir.own_incomplete(&file.blob) };
    let blob = dir.blob(&file.blob);
    let mut fetched = 0;
    loop {
        let have = have(&incomplete, file.size)?;
        let stream = hub.stream(place.clone(), have, file.size);
        let (path, file) = (incomplete.clone(), file.clone());
        let meter = Arc::clone(meter);
        // The lock is the writer's: it writes on when nobody waits for it any more.
        let written = tokio::task::spawn_blocking(move || (write(stream, &path, have, &file, &*meter), held)).await;
        let (written, still) = written.map_err(|error| Error::internal("a file task ended badly").because(error))?;
        held = still;
        let (found, mut stream) = written?;
        stream.end().await?;
        fetched += found.came;
        if found.blob == Some(found.expected) {
            fs::rename(&incomplete, &blob).map_err(|error| failed("writing", &blob, error))?;
            return Ok(fetched);
        }
        // Wrong bytes are no beginning of the right ones.
        fs::remove_file(&incomplete).map_err(|error| failed("removing", &incomplete, error))?;
        if have == 0 {
            return Err(wrong(place, &found.expected));
        }
        // What was there before may have been wrong: once more, from nothing.
    }
}

/// What the Hub sent is not what it announced.
pub fn wrong(place: &Place, expected: &BlobId) -> Error {
    Error::new(Kind::Integrity, format!("{place}: what came is not {expected}, so it was not kept"))
        .hint("run it again; if it comes again, a proxy or a mirror (HF_ENDPOINT) changes what passes through it")
}

/// Bytes of an earlier attempt; what cannot be the beginning of this file is taken away.
fn have(incomplete: &Path, size: u64) -> Result<u64> {
    match fs::metadata(incomplete) {
        Ok(metadata) if metadata.len() <= size => Ok(metadata.len()),
        Ok(_) => fs::remove_file(incomplete).map(|()| 0).map_err(|error| failed("removing", incomplete, error)),
        Err(_) => Ok(0),
    }
}

struct Found {
    /// What the bytes are; `None` when not all came.
    blob: Option<BlobId>,
    expected: BlobId,
    came: u64,
}

/// Hashes what is there, then writes and hashes what comes.
fn write(mut stream: Stream, path: &Path, have: u64, file: &CacheFile, meter: &dyn Meter) -> Result<(Found, Stream)> {
    let opened = File::options().read(true).append(true).create(true).open(path);
    let mut open = opened.map_err(|error| failed("writing", path, error))?;
    let mut check = Check::new(&file.blob, file.size);
    let mut buffer = vec![0; 256 << 10];
    let mut at = 0;
    let advance = |bytes: u64| {
        if meter.advance(bytes).is_break() {
            Err(Error::new(Kind::Interrupted, "the transfer was stopped"))
        } else {
            Ok(())
        }
    };
    while at < have {
        let read = open.read(&mut buffer).map_err(|error| failed("reading", path, error))?;
        if read == 0 {
            break;
        }
        check.update(&buffer[..read]);
        at += read as u64;
        advance(read as u64)?;
    }
    let mut came = 0;
    while let Some(frame) = stream.blocking_next() {
        open.write_all(&frame).map_err(|error| failed("writing", path, error))?;
        check.update(&frame);
        came += frame.len() as u64;
        advance(frame.len() as u64)?;
    }
    // What was hashed is what came; that nobody else wrote into the file, its length says.
    let length = open.metadata().map_err(|error| failed("looking at", path, error))?.len();
    let blob = (at + came == file.size && length == file.size).then(|| check.finish());
    Ok((Found { blob, expected: file.blob, came }, stream))
}
