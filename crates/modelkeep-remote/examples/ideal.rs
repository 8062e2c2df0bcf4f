//! What the benchmarks measure against: the least that storing files with their SHA-256 can be, in one thread.
//!
//! Knows files, one buffer and a hash; knows nothing of stores, logs or names. `bench/README.md` says how it is used.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::Digest as _;

const USAGE: &str = "ideal copy [--sync] [--kept DIR --changed NAME] FROM TO | ideal stat DIR";

/// As large as still fits into the CPU's cache between reading and hashing; what modelkeep uses as well.
const BUFFER: usize = 128 * 1024;

/// From this many files on, one flush of the whole file system instead of one for each file, as modelkeep does it.
const FLUSH_ALL_FROM: usize = 16;

/// What was done, printed at the end so that nothing can be left out as unused.
#[derive(Default)]
struct Done {
    files: Vec<PathBuf>,
    bytes: u64,
    /// All digests, one over the other.
    digest: [u8; 32],
}

/// What to copy and how.
struct Copy {
    sync: bool,
    /// Where the files that did not change stand already: copied from there inside the kernel, not hashed.
    kept: Option<PathBuf>,
    changed: Vec<OsString>,
}

fn main() -> io::Result<()> {
    let mut words = std::env::args_os().skip(1);
    let mode = words.next().unwrap_or_default();
    let (mut copy, mut paths) = (Copy { sync: false, kept: None, changed: Vec::new() }, Vec::new());
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--sync") => copy.sync = true,
            Some("--kept") => copy.kept = words.next().map(PathBuf::from),
            Some("--changed") => copy.changed.extend(words.next()),
            _ => paths.push(PathBuf::from(word)),
        }
    }
    let mut done = Done::default();
    match (mode.to_str(), &paths[..]) {
        (Some("stat"), [dir]) => stat(dir, &mut done)?,
        (Some("copy"), [from, to]) => {
            let mut buffer = vec![0; BUFFER];
            if from.is_dir() {
                copy.tree(from, to, &mut buffer, &mut done)?;
            } else {
                copy.file(from, to, &mut buffer, &mut done)?;
            }
            if copy.sync {
                flush(to, &done.files)?;
            }
        }
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, USAGE)),
    }
    println!("{} files, {} bytes, {}", done.files.len(), done.bytes, hex::encode(done.digest));
    Ok(())
}

fn stat(dir: &Path, done: &mut Done) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            stat(&entry.path(), done)?;
        } else {
            done.bytes += metadata.len();
            done.files.push(entry.path());
        }
    }
    Ok(())
}

impl Copy {
    fn tree(&self, from: &Path, to: &Path, buffer: &mut [u8], done: &mut Done) -> io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                self.tree(&entry.path(), &target, buffer, done)?;
            } else {
                self.file(&entry.path(), &target, buffer, done)?;
            }
        }
        Ok(())
    }

    fn file(&self, from: &Path, to: &Path, buffer: &mut [u8], done: &mut Done) -> io::Result<()> {
        let name = from.file_name().unwrap_or_default();
        let mut partial_name = OsString::from(".partial-");
        partial_name.push(name);
        let partial = to.with_file_name(partial_name);
        let mut target = File::create_new(&partial)?;
        match &self.kept {
            Some(kept) if !self.changed.iter().any(|changed| changed == name) => {
                done.bytes += io::copy(&mut File::open(kept.join(name))?, &mut target)?;
            }
            _ => {
                let mut source = File::open(from)?;
                let mut hasher = sha2::Sha256::new();
                loop {
                    let length = source.read(buffer)?;
                    if length == 0 {
                        break;
                    }
                    hasher.update(&buffer[..length]);
                    target.write_all(&buffer[..length])?;
                    done.bytes += length as u64;
                }
                let digest: [u8; 32] = hasher.finalize().into();
                done.digest.iter_mut().zip(digest).for_each(|(all, one)| *all ^= one);
            }
        }
        drop(target);
        fs::rename(&partial, to)?;
        done.files.push(to.to_owned());
        Ok(())
    }
}

fn flush(to: &Path, files: &[PathBuf]) -> io::Result<()> {
    if files.len() >= FLUSH_ALL_FROM && flush_all(to) {
        return Ok(());
    }
    for file in files {
        File::open(file)?.sync_all()?;
    }
    let folder = if to.is_dir() { Some(to) } else { to.parent() };
    // Where a folder cannot be opened, names are flushed with their files.
    if let Some(folder) = folder.and_then(|folder| File::open(folder).ok()) {
        folder.sync_all()?;
    }
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn flush_all(to: &Path) -> bool {
    File::open(to).is_ok_and(|file| rustix::fs::syncfs(file).is_ok())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn flush_all(_to: &Path) -> bool {
    false
}
