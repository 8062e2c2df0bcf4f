//! A stored file, open for reading. No reading comes to its end before the whole content was checked against its
//! SHA-256: what is wrong breaks off, and never looks complete.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use modelkeep_core::{Error, Result};
use tokio::sync::watch;

use super::flight::{Progress, broken_off, same};
use super::pieces::{PIECE, Pieces};
use crate::local::Stat;

/// A stored file that is being read.
#[derive(Debug)]
pub struct Reading {
    pub(super) size: u64,
    pub(super) source: Source,
    pub(super) pieces: Pieces,
}

#[derive(Debug)]
pub(super) enum Source {
    /// Checked before: good as long as its stat is this one.
    Known(Arc<File>, Stat),
    /// To be looked for; followed once it was begun.
    Flight(watch::Receiver<Progress>),
}

impl Reading {
    /// Bytes of the whole file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of a range, as they come. The last of them comes when the whole file was found to be good.
    pub fn stream(self, range: Range<u64>) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        stream::try_unfold((self, range), |(mut reading, range)| async move {
            if range.start >= range.end {
                return Ok(None);
            }
            let bytes = reading.some(&range).await?;
            let rest = range.start + bytes.len() as u64..range.end;
            Ok(Some((bytes, (reading, rest))))
        })
    }

    /// The next bytes of a range that is not empty.
    async fn some(&mut self, range: &Range<u64>) -> Result<Bytes> {
        let (file, most) = match &mut self.source {
            Source::Known(file, stat) => {
                let is_last = range.end - range.start <= PIECE as u64;
                if is_last && file.metadata().ok().map(|metadata| Stat::of(&metadata)) != Some(*stat) {
                    return Err(Error::integrity("the file was changed while it was read"));
                }
                (Arc::clone(file), range.end - range.start)
            }
            Source::Flight(progress) => {
                let seen = progress.wait_for(|now| allowed(now, range) != Some(0)).await;
                let seen = seen.map_err(|_| broken_off())?;
                if let Some(Err(error)) = &seen.ended {
                    return Err(same(error));
                }
                match (&seen.file, allowed(&seen, range)) {
                    (Some(file), Some(most)) => (Arc::clone(file), most),
                    _ => return Err(broken_off()),
                }
            }
        };
        let read = self.pieces.read(&file, range.start, most).await;
        read.map_err(|error| Error::local("a file that is served cannot be read").because(error))
    }
}

/// How many bytes of a range may be read now; `None` when there will be no more.
fn allowed(progress: &Progress, range: &Range<u64>) -> Option<u64> {
    match &progress.ended {
        Some(Ok(())) if progress.file.is_some() => Some(range.end - range.start),
        Some(_) => None,
        // The last byte is what makes an answer complete.
        None => Some(progress.there.min(range.end - 1).saturating_sub(range.start)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_waits_for_the_check() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let at = |there, ended| Progress { file: Some(Arc::clone(&file)), there, ended };
        assert_eq!(allowed(&at(0, None), &(0..100)), Some(0));
        assert_eq!(allowed(&at(60, None), &(0..100)), Some(60));
        assert_eq!(allowed(&at(60, None), &(70..100)), Some(0));
        assert_eq!(allowed(&at(100, None), &(0..100)), Some(99));
        assert_eq!(allowed(&at(100, None), &(99..100)), Some(0));
        assert_eq!(allowed(&at(100, None), &(0..50)), Some(49), "of an inner range too");
        assert_eq!(allowed(&at(100, Some(Ok(()))), &(99..100)), Some(1));
        assert_eq!(allowed(&at(100, Some(Err(Arc::new(broken_off())))), &(0..100)), None);
        assert_eq!(allowed(&Progress::default(), &(0..100)), Some(0));
    }
}
