//! The bytes of files: small ones in memory, the others on disk, never a large one in memory.
//!
//! Knows how bytes are taken in, hashed and given out again. Does not know which file they are the content of.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::task::{JoinHandle, spawn_blocking};

/// What an interrupted upload keeps is a multiple of this, as Google's upload server stores it.
pub const GRANULE: usize = 256 * 1024;

/// Where contents are kept.
#[derive(Debug)]
pub struct Contents {
    folder: PathBuf,
    /// Removes everything when the server is gone; absent if it is to stay.
    temporary: Mutex<Option<TempDir>>,
    stays: bool,
    next: AtomicU64,
}

/// The bytes of one revision.
#[derive(Debug, Serialize, Deserialize)]
pub struct Content {
    pub size: u64,
    pub sha256: String,
    /// The file's name in the folder; without one the bytes are in memory.
    file: Option<String>,
    #[serde(skip)]
    bytes: Bytes,
    #[serde(skip)]
    older: OnceLock<(String, String)>,
    /// Removed when nobody has it any more, where nothing is meant to stay.
    #[serde(skip)]
    doomed: Option<PathBuf>,
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Some(path) = &self.doomed {
            // The folder goes as a whole in the end, so a failure here costs nothing.
            let _ = fs::remove_file(path);
        }
    }
}

impl Contents {
    pub fn temporary() -> io::Result<Self> {
        let temporary = tempfile::Builder::new().prefix("fake-drive-").tempdir()?;
        Ok(Self {
            folder: temporary.path().to_owned(),
            temporary: Mutex::new(Some(temporary)),
            stays: false,
            next: AtomicU64::new(0),
        })
    }

    /// Keeps everything in `folder`.
    pub fn lasting(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let names = fs::read_dir(folder)?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
        let next = AtomicU64::new(names.max().map_or(0, |last| last + 1));
        Ok(Self { folder: folder.to_owned(), temporary: Mutex::new(None), stays: true, next })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes what is not to stay; tasks that still know of it must not keep it.
    pub fn close(&self) {
        self.temporary.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Removes what no file has: what an interrupted upload left.
    pub fn keep_only<'a>(&self, kept: impl Iterator<Item = &'a Content>) -> io::Result<()> {
        let kept: std::collections::HashSet<_> = kept.filter_map(|content| content.file.as_deref()).collect();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|name| kept.contains(name)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    pub fn writer(self: &Arc<Self>) -> Writer {
        Writer {
            contents: Arc::clone(self),
            sink: Some(Sink { file: None, hasher: Sha256::new() }),
            running: None,
            name: None,
            handed: 0,
            waiting: BytesMut::new(),
        }
    }

    /// Bytes that are here already.
    pub async fn store(self: &Arc<Self>, bytes: Bytes) -> io::Result<Arc<Content>> {
        let mut writer = self.writer();
        writer.write(bytes).await?;
        writer.finish().await
    }

    /// MD5 and SHA-1, computed when they are first asked for: an upload is not slowed by what few look at.
    pub fn older_digests(&self, content: &Content) -> io::Result<(String, String)> {
        if let Some(known) = content.older.get() {
            return Ok(known.clone());
        }
        let (mut md5, mut sha1) = (md5::Md5::new(), sha1::Sha1::new());
        let mut reader = self.reader(content, 0..content.size)?;
        while let Some(bytes) = reader.next()? {
            md5.update(&bytes);
            sha1.update(&bytes);
        }
        let digests = (hex::encode(md5.finalize()), hex::encode(sha1.finalize()));
        Ok(content.older.get_or_init(|| digests).clone())
    }

    /// A part of the content as the body of an answer.
    pub fn body(&self, content: &Content, range: Range<u64>) -> io::Result<Body> {
        if content.file.is_none() {
            let mut reader = self.reader(content, range)?;
            return Ok(reader.next()?.map_or_else(Body::empty, Body::from));
        }
        let reader = self.reader(content, range)?;
        // The next piece is read while the one before it is sent.
        let ahead = spawn_blocking(move || step(reader));
        Ok(Body::from_stream(stream::unfold(Some(ahead), |ahead: Option<JoinHandle<Step>>| async move {
            let (piece, reader) = match ahead?.await {
                Ok(Ok(Some(step))) => step,
                Ok(Ok(None)) => return None,
                Ok(Err(error)) => return Some((Err(error), None)),
                Err(error) => return Some((Err(io::Error::other(error)), None)),
            };
            Some((Ok(piece), Some(spawn_blocking(move || step(reader)))))
        })))
    }

    fn reader(&self, content: &Content, range: Range<u64>) -> io::Result<Reader> {
        match &content.file {
            None => {
                let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(content.bytes.len());
                Ok(Reader::Memory(content.bytes.slice(at(range.start)..at(range.end))))
            }
            Some(name) => {
                let mut file = File::open(self.folder.join(name))?;
                file.seek(SeekFrom::Start(range.start))?;
                Ok(Reader::File { file, left: range.end - range.start })
            }
        }
    }
}

type Step = io::Result<Option<(Bytes, Reader)>>;

fn step(mut reader: Reader) -> Step {
    Ok(reader.next()?.map(|bytes| (bytes, reader)))
}

enum Reader {
    Memory(Bytes),
    File { file: File, left: u64 },
}

impl Reader {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Self::Memory(bytes) => Ok(Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty())),
            Self::File { left: 0, .. } => Ok(None),
            Self::File { file, left } => {
                let wanted = usize::try_from(*left).unwrap_or(GRANULE).min(GRANULE);
                let mut buffer = vec![0; wanted];
                file.read_exact(&mut buffer)?;
                *left -= wanted as u64;
                Ok(Some(buffer.into()))
            }
        }
    }
}

/// Takes in the bytes of one upload, from its beginning to its end, over any number of requests.
#[derive(Debug)]
pub struct Writer {
    contents: Arc<Contents>,
    /// Absent while a task has it.
    sink: Option<Sink>,
    running: Option<JoinHandle<io::Result<Sink>>>,
    name: Option<String>,
    /// What was handed on, to be written and hashed: whole granules.
    handed: u64,
    waiting: BytesMut,
}

#[derive(Debug)]
struct Sink {
    file: Option<File>,
    hasher: Sha256,
}

impl Sink {
    fn take(mut self, bytes: &[u8]) -> io::Result<Self> {
        if let Some(file) = &mut self.file {
            if is_hole(bytes) {
                file.seek(SeekFrom::Current(i64::try_from(bytes.len()).map_err(io::Error::other)?))?;
            } else {
                file.write_all(bytes)?;
            }
        }
        self.hasher.update(bytes);
        Ok(self)
    }
}

/// Zeros are not written, so that a sparse file may be larger than the disk.
fn is_hole(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|piece| *piece == ZEROS[..piece.len()])
}

impl Writer {
    /// How many bytes are stored for good.
    pub fn stored(&self) -> u64 {
        self.handed
    }

    /// How many bytes came, of which the last may not be stored for good yet.
    pub fn received(&self) -> u64 {
        self.handed + self.waiting.len() as u64
    }

    pub async fn write(&mut self, mut bytes: Bytes) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = GRANULE - self.waiting.len();
            self.waiting.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if self.waiting.len() == GRANULE {
                self.hand_on().await?;
            }
        }
        Ok(())
    }

    /// Forgets what is less than a granule: the request that brought it broke off, or was no last one.
    pub fn round_down(&mut self) {
        self.waiting.clear();
    }

    /// Everything came.
    pub async fn finish(mut self) -> io::Result<Arc<Content>> {
        let (mut file, mut bytes) = (self.name.clone(), Bytes::new());
        if self.name.is_none() && !self.contents.stays {
            bytes = self.waiting.clone().freeze();
        } else {
            file = Some(self.file_name()?);
        }
        let size = self.received();
        self.hand_on().await?;
        let sink = self.rest().await?;
        if let Some(file) = &sink.file {
            // It may end in a hole.
            file.set_len(size)?;
        }
        let doomed = file.as_ref().filter(|_| !self.contents.stays).map(|name| self.contents.folder.join(name));
        let sha256 = hex::encode(sink.hasher.finalize());
        // It has an owner now.
        self.name = None;
        Ok(Arc::new(Content { size, sha256, file, bytes, older: OnceLock::new(), doomed }))
    }

    /// One granule is written and hashed while the next one comes in.
    async fn hand_on(&mut self) -> io::Result<()> {
        if self.waiting.len() == GRANULE {
            self.file_name()?;
        }
        let sink = self.rest().await?;
        let bytes = std::mem::replace(&mut self.waiting, BytesMut::with_capacity(GRANULE)).freeze();
        self.handed += bytes.len() as u64;
        if bytes.len() == GRANULE {
            self.running = Some(spawn_blocking(move || sink.take(&bytes)));
        } else {
            self.sink = Some(sink.take(&bytes)?);
        }
        Ok(())
    }

    /// The sink, once nobody uses it. An abandoned wait loses nothing: the task stays where it is.
    async fn rest(&mut self) -> io::Result<Sink> {
        if let Some(running) = &mut self.running {
            let outcome = running.await.map_err(io::Error::other);
            self.running = None;
            self.sink = Some(outcome??);
        }
        self.sink.take().ok_or_else(|| io::Error::other("an upload that failed before cannot go on"))
    }

    /// Makes the file, the first time.
    fn file_name(&mut self) -> io::Result<String> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let name = self.contents.next.fetch_add(1, Ordering::Relaxed).to_string();
        let file = File::create_new(self.contents.folder.join(&name))?;
        if let Some(sink) = &mut self.sink {
            sink.file = Some(file);
        }
        self.name = Some(name.clone());
        Ok(name)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // What a session never finished; the folder goes as a whole in the end.
            let _ = fs::remove_file(self.contents.folder.join(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(length: usize) -> Bytes {
        (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect::<Vec<_>>().into()
    }

    async fn read(contents: &Contents, content: &Content, range: Range<u64>) -> Bytes {
        axum::body::to_bytes(contents.body(content, range).unwrap(), usize::MAX).await.unwrap()
    }

    #[tokio::test]
    async fn small_and_large_come_back() {
        let contents = Arc::new(Contents::temporary().unwrap());
        for length in [0, 1, GRANULE - 1, GRANULE, GRANULE + 1, 3 * GRANULE + 77] {
            let bytes = pattern(length);
            let content = contents.store(bytes.clone()).await.unwrap();
            assert_eq!(content.file.is_some(), length >= GRANULE);
            assert_eq!(content.size, length as u64);
            assert_eq!(content.sha256, hex::encode(Sha256::digest(&bytes)));
            assert_eq!(read(&contents, &content, 0..content.size).await, bytes);
            let (start, end) = (length / 3, length / 2);
            assert_eq!(read(&contents, &content, start as u64..end as u64).await, bytes.slice(start..end));
            assert_eq!(contents.older_digests(&content).unwrap().0, hex::encode(md5::Md5::digest(&bytes)));
        }
        assert_eq!(fs::read_dir(&contents.folder).unwrap().count(), 0, "what nobody has is gone");
    }

    #[tokio::test]
    async fn holes_are_zeros() {
        let contents = Arc::new(Contents::temporary().unwrap());
        for length in [GRANULE, 3 * GRANULE, 3 * GRANULE + 7] {
            let mut bytes = vec![0; length];
            bytes[GRANULE / 2] = 1;
            for bytes in [Bytes::from(bytes), Bytes::from(vec![0; length])] {
                let content = contents.store(bytes.clone()).await.unwrap();
                assert_eq!(content.sha256, hex::encode(Sha256::digest(&bytes)));
                assert_eq!(read(&contents, &content, 0..content.size).await, bytes);
            }
        }
    }

    #[tokio::test]
    async fn what_is_less_than_a_granule_can_be_forgotten() {
        let contents = Arc::new(Contents::temporary().unwrap());
        let bytes = pattern(2 * GRANULE + 5);
        let mut writer = contents.writer();
        writer.write(bytes.slice(..GRANULE + 100)).await.unwrap();
        writer.round_down();
        assert_eq!((writer.stored(), writer.received()), (GRANULE as u64, GRANULE as u64));
        writer.write(bytes.slice(GRANULE..)).await.unwrap();
        let content = writer.finish().await.unwrap();
        assert_eq!(content.sha256, hex::encode(Sha256::digest(&bytes)));
    }

    #[tokio::test]
    async fn what_is_to_stay_stays() {
        let folder = tempfile::tempdir().unwrap();
        let contents = Arc::new(Contents::lasting(folder.path()).unwrap());
        let content = contents.store(Bytes::from_static(b"small")).await.unwrap();
        let written = serde_json::to_string(&*content).unwrap();
        drop((contents.store(Bytes::from_static(b"left behind")).await.unwrap(), content, contents));

        let contents = Contents::lasting(folder.path()).unwrap();
        let content: Content = serde_json::from_str(&written).unwrap();
        contents.keep_only([&content].into_iter()).unwrap();
        assert_eq!(read(&contents, &content, 0..5).await, "small");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
