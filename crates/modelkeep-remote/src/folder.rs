//! A remote that is a folder: a disk, a NAS, a Drive mounted in Colab, the simulation.
//!
//! Knows paths and system calls. Never follows a symlink below its root, never replaces what it was not told to,
//! and says honestly what the file system under it can do.

pub mod copy;
mod mount;
mod names;
pub(crate) mod settle;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use modelkeep_core::digest::Sha256;
use modelkeep_core::path::RemotePath;
use modelkeep_core::{Error, Result};

use crate::remote::{
    Capabilities, Copied, Entry, EntryKind, Inline, Meter, Mode, Object, PointerKind, Remote, Source, Transferred,
    Usage, Written,
};

/// What a folder is allowed to use, and how its time is told. The default is everything the system has.
#[derive(Debug, Clone)]
pub struct FolderOptions {
    /// Symbolic links, for pointers.
    pub symlinks: bool,
    /// Hard links, to give a file its name without replacing (where the system has no such rename).
    pub hard_links: bool,
    /// Copies of large files on the store may be hard links, made read-only: no space, but an edit in place changes
    /// every one of them.
    pub link_copies: bool,
    /// The system's rename that never replaces.
    pub rename_noreplace: bool,
    /// The system's rename that swaps two folders.
    pub exchange: bool,
    /// Copies that share their blocks.
    pub reflink: bool,
    /// A fixed time to report as the store's own, for tests.
    pub now: Option<Timestamp>,
    /// Treat it as a write-back mount even where it does not look like one.
    pub write_back: bool,
    /// It is the simulation.
    pub simulated: bool,
}

impl Default for FolderOptions {
    fn default() -> Self {
        Self {
            symlinks: true,
            hard_links: true,
            link_copies: false,
            rename_noreplace: true,
            exchange: true,
            reflink: true,
            now: None,
            write_back: false,
            simulated: false,
        }
    }
}

/// A folder as a remote.
#[derive(Debug, Clone)]
pub struct FolderRemote(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    root: PathBuf,
    options: FolderOptions,
    write_back: bool,
    /// Given up at the first refusal, so that a file system without it is asked once.
    reflink: AtomicBool,
    exchange: AtomicBool,
    /// The folder that was looked at last, so that a thousand files in it do not look a thousand times.
    looked: Mutex<Option<(RemotePath, PathBuf, Instant)>>,
}

/// For so long a folder that was no link is taken for none.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Smaller files are copied rather than linked: they are what people edit.
const LINKED_FROM: u64 = 1 << 20;
/// From this many files on, one flush of the whole file system is cheaper than one for each file.
const FLUSH_ALL_FROM: usize = 16;

impl FolderRemote {
    /// Opens a folder, made if it is not there yet.
    pub fn open(root: &Path, options: FolderOptions) -> Result<Self> {
        fs::create_dir_all(root).map_err(|error| failed("creating", root, error))?;
        let root = root.canonicalize().map_err(|error| failed("opening", root, error))?;
        let write_back = options.write_back || mount::is_write_back(&root);
        Ok(Self(Arc::new(Folder {
            write_back,
            reflink: AtomicBool::new(options.reflink),
            exchange: AtomicBool::new(options.exchange && names::HAS_EXCHANGE),
            looked: Mutex::new(None),
            root,
            options,
        })))
    }

    /// The folder on the local machine.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Folder) -> Result<T> + Send + 'static) -> Result<T> {
        let folder = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&folder))
            .await
            .map_err(|error| Error::internal("a file task ended badly").because(error))?
    }
}

pub use modelkeep_core::error::failed;

fn timestamp(metadata: &fs::Metadata) -> Timestamp {
    metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Folder {
    /// The local path of `path`, having made sure that no folder on the way is a symlink.
    fn resolve(&self, path: &RemotePath) -> Result<PathBuf> {
        let folder = path.parent();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, local, at)) = &*looked
            && *known == folder
            && at.elapsed() < LOOK_AGAIN
        {
            return Ok(local.join(path.name()));
        }
        let local = self.look(path)?;
        if let Some(above) = local.parent().filter(|above| above.is_dir()) {
            *looked = Some((folder, above.to_owned(), Instant::now()));
        }
        Ok(local)
    }

    fn look(&self, path: &RemotePath) -> Result<PathBuf> {
        let mut local = self.root.clone();
        let mut parts = path.parts().peekable();
        while let Some(part) = parts.next() {
            local.push(part);
            if parts.peek().is_some()
                && let Ok(metadata) = fs::symlink_metadata(&local)
                && metadata.is_symlink()
            {
                return Err(Error::integrity(format!("{} is a link; it is not followed", local.display()))
                    .hint("look at where it points, and remove it if nobody meant it"));
            }
        }
        Ok(local)
    }

    fn entry(&self, path: RemotePath, local: &Path, metadata: &fs::Metadata) -> Entry {
        let kind = if metadata.is_symlink() {
            EntryKind::Pointer(self.link_target(&path, local))
        } else if metadata.is_dir() {
            EntryKind::Dir
        } else if metadata.is_file() {
            EntryKind::File
        } else {
            EntryKind::Other
        };
        let size = if kind == EntryKind::File { metadata.len() } else { 0 };
        Entry { path, id: None, kind, size, modified: timestamp(metadata), sha256: None, content: None }
    }

    fn link_target(&self, link: &RemotePath, local: &Path) -> Option<RemotePath> {
        let target = fs::read_link(local).ok()?;
        let target = target.to_str()?;
        let mut parts: Vec<&str> = Vec::new();
        let parent = link.parent();
        if let Some(absolute) = Path::new(target).strip_prefix(&self.root).ok().and_then(Path::to_str) {
            parts.extend(absolute.split('/'));
        } else if target.starts_with('/') {
            return None;
        } else {
            parts.extend(parent.parts());
            for part in target.split('/') {
                match part {
                    "" | "." => {}
                    ".." => {
                        parts.pop()?;
                    }
                    part => parts.push(part),
                }
            }
        }
        parts.join("/").parse().ok()
    }

    fn list(&self, dir: &RemotePath, inline: Inline<'_>) -> Result<Vec<Entry>> {
        let local = self.resolve(dir)?;
        let listing = match fs::symlink_metadata(&local) {
            Ok(metadata) if !metadata.is_dir() => return Ok(Vec::new()),
            Ok(_) => fs::read_dir(&local),
            Err(error) => Err(error),
        };
        let listing = match listing {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|error| failed("listing", &local, error))?,
        };
        let mut entries = Vec::new();
        for item in listing {
            let item = item.map_err(|error| failed("listing", &local, error))?;
            let name = item.file_name();
            // A name that is not UTF-8 is none of ours and cannot be called by anyone else.
            let Some(name) = name.to_str() else { continue };
            if let Inline::UpTo(_, wanted) = inline
                && item.file_type().is_ok_and(|kind| kind.is_file())
                && !wanted(name)
            {
                entries.push(Entry::named(dir.join(name)));
                continue;
            }
            let Ok(metadata) = item.metadata() else { continue };
            let mut entry = self.entry(dir.join(name), &item.path(), &metadata);
            if let Inline::UpTo(limit, wanted) = inline
                && entry.kind == EntryKind::File
                && entry.size <= limit
                && wanted(name)
            {
                entry.content = fs::read(item.path()).ok().map(Bytes::from);
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn open_file(&self, path: &RemotePath) -> Result<(File, PathBuf, u64)> {
        let local = self.resolve(path)?;
        let metadata = fs::symlink_metadata(&local).map_err(|error| failed("reading", &local, error))?;
        if !metadata.is_file() {
            return Err(Error::integrity(format!("{} is not a plain file", local.display())));
        }
        let file = File::open(&local).map_err(|error| failed("reading", &local, error))?;
        Ok((file, local, metadata.len()))
    }

    /// A new file of a private name in the folder of `target`; with `make` its folders are made when they are missing.
    fn partial_for(target: &Path, make: bool) -> Result<(File, PathBuf)> {
        let folder = target.parent().unwrap_or(target);
        let partial = folder.join(names::partial()?);
        let create = || OpenOptions::new().read(true).write(true).create_new(true).open(&partial);
        let file = match create() {
            Err(error) if make && error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder).map_err(|error| failed("creating", folder, error))?;
                create()
            }
            other => other,
        };
        Ok((file.map_err(|error| failed("writing in", folder, error))?, partial))
    }

    /// Writes a file under a private name and then gives it its own, whole.
    fn place<T>(&self, path: &RemotePath, mode: Mode, fill: impl FnOnce(&mut File, &Path) -> Result<T>) -> Result<T> {
        let target = self.resolve(path)?;
        let (mut new, partial) = Self::partial_for(&target, mode != Mode::Refresh)?;
        let placed = fill(&mut new, &partial).and_then(|done| {
            if let Some(now) = self.options.now {
                let time = SystemTime::try_from(now).unwrap_or(SystemTime::UNIX_EPOCH);
                let times = fs::FileTimes::new().set_modified(time);
                new.set_times(times).map_err(|error| failed("dating", &partial, error))?;
            }
            drop(new);
            match mode {
                Mode::New => names::rename_new(&partial, &target, &self.options),
                Mode::Replace | Mode::Refresh => fs::rename(&partial, &target),
            }
            .map_err(|error| failed("writing", &target, error))?;
            Ok(done)
        });
        if placed.is_err() {
            // Nothing of a failed write stays, and its own error matters more than this one.
            let _ = fs::remove_file(&partial);
        }
        placed
    }

    fn write(&self, path: &RemotePath, source: &Source, mode: Mode, meter: &dyn Meter) -> Result<Written> {
        self.place(path, mode, |file, partial| {
            let (size, sha256) = match source {
                Source::Bytes(bytes) => {
                    file.write_all(bytes).map_err(|error| failed("writing", partial, error))?;
                    copy::advance(meter, bytes.len() as u64)?;
                    (bytes.len() as u64, Sha256::of(bytes))
                }
                Source::File(from) => {
                    let source = File::open(from).map_err(|error| failed("reading", from, error))?;
                    if self.clone_blocks(&source, file) {
                        // The clone is a snapshot: what is hashed is what is stored, whatever happens to the source.
                        file.seek(SeekFrom::Start(0)).map_err(|error| failed("reading", partial, error))?;
                        copy::hash(file, partial, meter)?
                    } else {
                        copy::store_and_hash(source, from, file, partial, meter)?
                    }
                }
                Source::Far(far) => copy::take_and_hash(&**far, file, partial, meter)?,
            };
            Ok(Written { id: None, size, sha256, sent: size })
        })
    }

    fn clone_blocks(&self, from: &File, to: &File) -> bool {
        if !self.reflink.load(Ordering::Relaxed) {
            return false;
        }
        let cloned = names::clone_blocks(from, to);
        if !cloned {
            self.reflink.store(false, Ordering::Relaxed);
        }
        cloned
    }

    fn copy(&self, from: &RemotePath, to: &RemotePath, meter: &dyn Meter) -> Result<Copied> {
        let (source, from, size) = self.open_file(from)?;
        if self.options.link_copies && size >= LINKED_FROM && self.link(&from, to)? {
            copy::advance(meter, size)?;
            return Ok(Copied { id: None, size });
        }
        self.place(to, Mode::New, |file, partial| {
            if !self.clone_blocks(&source, file) {
                copy::store(source, size, file, partial)?;
            }
            let copied = file.metadata().map_err(|error| failed("copying", partial, error))?.len();
            if copied != size {
                return Err(Error::integrity(format!("{} changed while it was copied", from.display())));
            }
            copy::advance(meter, size)?;
            Ok(Copied { id: None, size })
        })
    }

    /// Gives a file a second name; false where the file system cannot.
    fn link(&self, from: &Path, to: &RemotePath) -> Result<bool> {
        let to = self.resolve(to)?;
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(|error| failed("creating", folder, error))?;
        }
        match fs::hard_link(from, &to) {
            Ok(()) => {
                if let Ok(metadata) = fs::metadata(&to) {
                    let mut permissions = metadata.permissions();
                    permissions.set_readonly(true);
                    let _ = fs::set_permissions(&to, permissions);
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(failed("copying", &to, error)),
            Err(_) => Ok(false),
        }
    }

    fn fetch(&self, path: &RemotePath, to: &Path, meter: &dyn Meter) -> Result<Transferred> {
        let (mut source, from, size) = self.open_file(path)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(to)
            .map_err(|error| failed("writing", to, error))?;
        let have = file.metadata().map_err(|error| failed("reading", to, error))?.len();
        if have > size {
            return Err(Error::integrity(format!("{} is longer than {}", to.display(), from.display())));
        }
        if have == 0 && self.clone_blocks(&source, &file) {
            let (size, sha256) = copy::hash(&mut file, to, meter)?;
            return Ok(Transferred { size, sha256, fetched: size });
        }
        if have == 0 {
            let (size, sha256) = copy::copy_and_hash(source, &from, &mut file, to, meter)?;
            return Ok(Transferred { size, sha256, fetched: size });
        }
        source.seek(SeekFrom::Start(have)).map_err(|error| failed("reading", &from, error))?;
        let (size, sha256) = copy::continue_and_hash(&mut source, &from, &mut file, to, meter)?;
        Ok(Transferred { size, sha256, fetched: size - have })
    }

    fn rename(&self, from: &RemotePath, to: &RemotePath) -> Result<()> {
        let (from, to) = (self.resolve(from)?, self.resolve(to)?);
        fs::symlink_metadata(&from).map_err(|error| failed("moving", &from, error))?;
        let moved = match names::rename_new(&from, &to, &self.options) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = to.parent() {
                    fs::create_dir_all(folder).map_err(|error| failed("creating", folder, error))?;
                }
                names::rename_new(&from, &to, &self.options)
            }
            other => other,
        };
        moved.map_err(|error| failed("moving to", &to, error))
    }

    fn delete(&self, path: &RemotePath) -> Result<()> {
        if path.as_str().is_empty() {
            return Err(Error::usage("the root of a store cannot be deleted"));
        }
        let local = self.resolve(path)?;
        let gone = match fs::symlink_metadata(&local) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&local),
            Ok(_) => fs::remove_file(&local),
            Err(error) => Err(error),
        };
        match gone {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|error| failed("deleting", &local, error)),
        }
    }

    fn flush(&self, paths: &[RemotePath]) -> Result<()> {
        if paths.len() >= FLUSH_ALL_FROM && names::flush_file_system(&self.root) {
            return Ok(());
        }
        let mut folders = std::collections::BTreeSet::new();
        for path in paths {
            let local = self.resolve(path)?;
            let synced = File::open(&local).and_then(|file| file.sync_all());
            synced.map_err(|error| failed("flushing", &local, error))?;
            let mut above = path.clone();
            while !above.as_str().is_empty() {
                above = above.parent();
                if !folders.insert(above.clone()) {
                    break;
                }
            }
        }
        for folder in folders {
            names::flush_folder(&self.resolve(&folder)?);
        }
        Ok(())
    }

    fn now(&self) -> Result<Timestamp> {
        if let Some(now) = self.options.now {
            return Ok(now);
        }
        let (file, partial) = Self::partial_for(&self.root.join("now"), true)?;
        let metadata = file.metadata();
        let _ = fs::remove_file(&partial);
        Ok(timestamp(&metadata.map_err(|error| failed("dating", &partial, error))?))
    }
}

#[async_trait]
impl Remote for FolderRemote {
    fn capabilities(&self) -> Capabilities {
        let folder = &self.0;
        Capabilities {
            ids: false,
            unique_names: true,
            late_listings: folder.write_back,
            pointers: if folder.options.symlinks && names::HAS_SYMLINKS && !folder.write_back {
                PointerKind::Symlink
            } else {
                PointerKind::File
            },
            checksums: false,
            copies: true,
            exchange: folder.exchange.load(Ordering::Relaxed),
            confirms: !folder.write_back,
            cheap_reads: !folder.write_back,
            simulated: folder.options.simulated,
        }
    }

    fn describe(&self) -> String {
        self.0.root.display().to_string()
    }

    async fn now(&self) -> Result<Timestamp> {
        self.run(Folder::now).await
    }

    async fn list(&self, dir: &RemotePath, inline: Inline<'_>) -> Result<Vec<Entry>> {
        // The predicate borrows from the caller, so this runs here; a listing of a folder is short work.
        self.0.list(dir, inline)
    }

    async fn find(&self, object: &Object) -> Result<Option<Entry>> {
        let path = object.path.clone();
        self.run(move |folder| {
            let local = folder.resolve(&path)?;
            match fs::symlink_metadata(&local) {
                Ok(metadata) => Ok(Some(folder.entry(path, &local, &metadata))),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    Ok(None)
                }
                Err(error) => Err(failed("looking at", &local, error)),
            }
        })
        .await
    }

    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes> {
        let path = object.path.clone();
        self.run(move |folder| {
            let (mut file, local, _) = folder.open_file(&path)?;
            let mut bytes = Vec::new();
            let read = file
                .seek(SeekFrom::Start(range.start))
                .and_then(|_| file.take(range.end.saturating_sub(range.start)).read_to_end(&mut bytes));
            read.map_err(|error| failed("reading", &local, error))?;
            Ok(Bytes::from(bytes))
        })
        .await
    }

    async fn open_local(&self, object: &Object) -> Result<Option<File>> {
        // Behind a mount that fetches by itself a read may take as long as a fetch, and fail in its middle.
        if self.0.write_back {
            return Ok(None);
        }
        let path = object.path.clone();
        self.run(move |folder| folder.open_file(&path).map(|(file, _, _)| Some(file))).await
    }

    async fn fetch(&self, object: &Object, to: &Path, meter: Arc<dyn Meter>) -> Result<Transferred> {
        let (path, to) = (object.path.clone(), to.to_owned());
        self.run(move |folder| folder.fetch(&path, &to, &*meter)).await
    }

    async fn write(&self, path: &RemotePath, source: Source, mode: Mode, meter: Arc<dyn Meter>) -> Result<Written> {
        let path = path.clone();
        self.run(move |folder| folder.write(&path, &source, mode, &*meter)).await
    }

    async fn write_many(&self, files: Vec<(RemotePath, PathBuf)>, meter: Arc<dyn Meter>) -> Result<Vec<Written>> {
        self.run(move |folder| {
            let write = |(path, from)| folder.write(&path, &Source::File(from), Mode::New, &*meter);
            files.into_iter().map(write).collect()
        })
        .await
    }

    async fn copy(&self, from: &Object, to: &RemotePath, meter: Arc<dyn Meter>) -> Result<Copied> {
        let (from, to) = (from.path.clone(), to.clone());
        self.run(move |folder| folder.copy(&from, &to, &*meter)).await
    }

    async fn rename(&self, from: &Object, to: &RemotePath) -> Result<()> {
        let (from, to) = (from.path.clone(), to.clone());
        self.run(move |folder| folder.rename(&from, &to)).await
    }

    async fn exchange(&self, one: &RemotePath, other: &RemotePath) -> Result<()> {
        let (one, other) = (one.clone(), other.clone());
        self.run(move |folder| {
            let (one, other) = (folder.resolve(&one)?, folder.resolve(&other)?);
            if !folder.exchange.load(Ordering::Relaxed) {
                return Err(Error::usage("this store cannot swap folders"));
            }
            if one.starts_with(&other) || other.starts_with(&one) {
                return Err(Error::conflict(format!("{} and {} are not side by side", one.display(), other.display())));
            }
            let swapped = names::exchange(&one, &other);
            if swapped.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
                // Told once by the file system, believed from then on.
                folder.exchange.store(false, Ordering::Relaxed);
            }
            swapped.map_err(|error| failed("swapping", &one, error))
        })
        .await
    }

    async fn create_dir(&self, path: &RemotePath) -> Result<Entry> {
        let path = path.clone();
        self.run(move |folder| {
            let local = folder.resolve(&path)?;
            fs::create_dir_all(&local).map_err(|error| failed("creating", &local, error))?;
            let metadata = fs::symlink_metadata(&local).map_err(|error| failed("creating", &local, error))?;
            if !metadata.is_dir() {
                return Err(Error::integrity(format!("{} is a link; it is not followed", local.display())));
            }
            Ok(folder.entry(path, &local, &metadata))
        })
        .await
    }

    async fn point(&self, path: &RemotePath, target: &RemotePath) -> Result<()> {
        let (path, target) = (path.clone(), target.clone());
        self.run(move |folder| {
            let local = folder.resolve(&path)?;
            let relative = names::relative(&path.parent(), &target);
            names::point(&local, &relative).map_err(|error| failed("pointing", &local, error))
        })
        .await
    }

    async fn delete(&self, object: &Object) -> Result<()> {
        let path = object.path.clone();
        self.run(move |folder| folder.delete(&path)).await
    }

    async fn flush(&self, paths: &[RemotePath]) -> Result<()> {
        let paths = paths.to_vec();
        self.run(move |folder| folder.flush(&paths)).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.run(|folder| Ok(mount::usage(&folder.root))).await
    }
}
