//! A large file settles on the disk while it is being written, and its pages are given back.
//!
//! What is stored is flushed before it is committed anyway: done behind the writer, the flush costs no time of its
//! own. And nobody reads what goes into a store soon, so its pages need not push other files out of memory; they are
//! used again for the next part instead. Fresh memory is what a copy mostly waits for: with this, 1 GiB took a third of
//! the time. What comes out of a store is read next, and keeps its pages.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use modelkeep_core::{Error, Result};

use super::failed;

/// Below this a flush of its own at the end is as good.
const FROM: u64 = 64 << 20;
/// Bytes between one flush and the next.
pub const STEP: u64 = 32 << 20;

/// What becomes of the pages of what is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Nobody reads them soon.
    GiveBack,
    /// Somebody does.
    Keep,
}

/// Runs `write`, which tells how far it has come, and settles behind it what it wrote into `file`.
pub fn behind<T>(
    file: &File,
    path: &Path,
    size: u64,
    pages: Pages,
    write: impl FnOnce(&mut dyn FnMut(u64)) -> Result<T>,
) -> Result<T> {
    if size < FROM {
        return write(&mut |_| {});
    }
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let settler = scope.spawn(move || follow(file, pages, &told));
        let mut last = 0;
        let written = write(&mut |reached| {
            if reached - last >= STEP {
                last = reached;
                // A settler that ended has an error, which is told below.
                let _ = tell.send(reached);
            }
        });
        drop(tell);
        let settled = settler.join().map_err(|_| Error::internal("the flushing thread ended badly"))?;
        let written = written?;
        // A failed flush is told once, to whoever asked first: the flush before the commit would not see it.
        settled.map_err(|error| failed("flushing", path, error))?;
        Ok(written)
    })
}

fn follow(file: &File, pages: Pages, told: &mpsc::Receiver<u64>) -> io::Result<()> {
    let mut settled = 0;
    while let Ok(reached) = told.recv() {
        let reached = told.try_iter().last().unwrap_or(reached);
        file.sync_data()?;
        if pages == Pages::GiveBack {
            give_back(file, settled, reached);
        }
        settled = reached;
    }
    Ok(())
}

/// Advice: whether it is taken changes nothing but speed.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn give_back(file: &File, from: u64, to: u64) {
    let _ = rustix::fs::fadvise(file, from, std::num::NonZeroU64::new(to - from), rustix::fs::Advice::DontNeed);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn give_back(_file: &File, _from: u64, _to: u64) {}
