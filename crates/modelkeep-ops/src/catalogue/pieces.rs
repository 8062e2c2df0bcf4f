//! Bytes of a file in pieces that go back to where they came from, so that a thousand pieces cost one allocation.
//!
//! Knows files and offsets. Does not know what is in them.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Larger pieces fall out of the CPU's cache between being read and being sent.
pub const PIECE: usize = 256 << 10;
/// Pieces that wait to be used again.
const WAITING: usize = 64;

/// Where pieces come from.
#[derive(Debug, Clone, Default)]
pub struct Pieces(Arc<Mutex<Vec<Vec<u8>>>>);

/// One of them, filled.
struct Piece {
    buffer: Vec<u8>,
    length: usize,
    home: Pieces,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.buffer));
    }
}

impl Pieces {
    fn take(&self) -> Vec<u8> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        waiting.unwrap_or_else(|| vec![0; PIECE])
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING {
            waiting.push(buffer);
        }
    }

    /// Up to `most` bytes at `at`, at least one. What the system has in memory is taken at once; a disk is waited for
    /// elsewhere, so that it holds up nobody else.
    pub async fn read(&self, file: &Arc<File>, at: u64, most: u64) -> io::Result<Bytes> {
        let most = usize::try_from(most).unwrap_or(PIECE).min(PIECE);
        let mut buffer = self.take();
        let mut length = read_at_once(file, &mut buffer[..most], at);
        if length == 0 {
            let file = Arc::clone(file);
            let waited = tokio::task::spawn_blocking(move || {
                let length = read_at(&file, &mut buffer[..most], at);
                (buffer, length)
            });
            let (filled, read) = waited.await.map_err(io::Error::other)?;
            (buffer, length) = (filled, read?);
        }
        let piece = Piece { buffer, length, home: self.clone() };
        if length == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it was"));
        }
        Ok(Bytes::from_owner(piece))
    }
}

/// Reads what needs no disk; 0 where that cannot be told or there is nothing.
#[cfg(target_os = "linux")]
fn read_at_once(file: &File, buffer: &mut [u8], at: u64) -> usize {
    use rustix::io::{ReadWriteFlags, preadv2};
    let mut one = [io::IoSliceMut::new(buffer)];
    preadv2(file, &mut one, at, ReadWriteFlags::NOWAIT).unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
fn read_at_once(_: &File, _: &mut [u8], _: u64) -> usize {
    0
}

/// Some bytes at an offset, whoever else reads the file.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(file, buffer, at);
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(file, buffer, at);
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Shows a whole file, wherever others read it.
pub fn show_all(file: &File, mut to: impl FnMut(&[u8])) -> io::Result<()> {
    // Larger buffers fall out of the CPU's cache between reading and hashing.
    let (mut buffer, mut at) = (vec![0; 128 << 10], 0);
    loop {
        let read = read_at(file, &mut buffer, at)?;
        if read == 0 {
            return Ok(());
        }
        to(&buffer[..read]);
        at += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_in_pieces_that_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..PIECE + 1000).map(|n| u8::try_from(n % 251).unwrap()).collect();
        std::fs::write(&path, &content).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        let pieces = Pieces::default();
        let mut read = Vec::new();
        while read.len() < content.len() {
            read.extend(pieces.read(&file, read.len() as u64, u64::MAX).await.unwrap());
        }
        assert_eq!(read, content);
        assert_eq!(pieces.0.lock().unwrap().len(), 1);
        assert!(pieces.read(&file, content.len() as u64, 1).await.is_err());
    }
}
