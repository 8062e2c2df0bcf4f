//! The trait that every store implements, and the data it speaks in.
//!
//! Small on purpose: what a store can do beyond it is said by [`Capabilities`], never by its name.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use modelkeep_core::Result;
use modelkeep_core::digest::Sha256;
pub use modelkeep_core::meter::{Meter, NoMeter};
use modelkeep_core::path::RemotePath;

/// A store of objects in folders.
///
/// Every method may be called by many tasks at once, and by other programs on the same store. Failures carry their
/// [`Kind`](modelkeep_core::Kind): `NotFound` when what is named is not there, `Conflict` when a name is taken,
/// `Unavailable` when trying again may help.
#[async_trait]
pub trait Remote: Send + Sync + fmt::Debug {
    /// What this store can do; known once it is open.
    fn capabilities(&self) -> Capabilities;

    /// How a person would name it: a path or a URL.
    fn describe(&self) -> String;

    /// The store's own time: that of an item it just wrote.
    async fn now(&self) -> Result<Timestamp>;

    /// What stands directly in a folder, in no order. A missing folder is empty.
    ///
    /// Where names are not unique this is the union over all folders of that path.
    async fn list(&self, dir: &RemotePath, inline: Inline<'_>) -> Result<Vec<Entry>>;

    /// What is there now: by id where the store has ids and the object one, else by path. The entry's path is where
    /// it stands now.
    async fn find(&self, object: &Object) -> Result<Option<Entry>>;

    /// Some bytes of a file, in memory. A range beyond the end is cut off.
    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes>;

    /// A file's bytes into the local file `to`. Bytes that are in `to` already are taken for its beginning, hashed,
    /// and not fetched again.
    async fn fetch(&self, object: &Object, to: &Path, meter: Arc<dyn Meter>) -> Result<Transferred>;

    /// The file itself, open for reading, where the store is a folder of this machine that is as quick to read as any
    /// other; it stays the same file when it is moved. `None` where content has to be fetched first.
    async fn open_local(&self, _object: &Object) -> Result<Option<File>> {
        Ok(None)
    }

    /// A new file, or with [`Mode::Replace`] another content under its name; in either case readers see all of it or
    /// nothing. Folders above it are made. Durable only after [`Remote::flush`].
    async fn write(&self, path: &RemotePath, source: Source, mode: Mode, meter: Arc<dyn Meter>) -> Result<Written>;

    /// Many new files from small local ones, in as little as the store needs for it. At an error some may be written.
    async fn write_many(&self, files: Vec<(RemotePath, PathBuf)>, meter: Arc<dyn Meter>) -> Result<Vec<Written>> {
        let mut written = Vec::with_capacity(files.len());
        for (path, from) in files {
            written.push(self.write(&path, Source::File(from), Mode::New, Arc::clone(&meter)).await?);
        }
        Ok(written)
    }

    /// A second file with the same bytes, made by the store itself. Only where [`Capabilities::copies`].
    async fn copy(&self, from: &Object, to: &RemotePath, meter: Arc<dyn Meter>) -> Result<Copied>;

    /// Moves a file or a whole folder to a free name; folders above it are made. A taken name is a `Conflict`,
    /// nothing is ever replaced. (Stores where equal names can stand together refuse what they can see.)
    async fn rename(&self, from: &Object, to: &RemotePath) -> Result<()>;

    /// Swaps two folders in one step. Only where [`Capabilities::exchange`].
    async fn exchange(&self, one: &RemotePath, other: &RemotePath) -> Result<()>;

    /// A folder, with those above it; one that is there already is fine.
    async fn create_dir(&self, path: &RemotePath) -> Result<Entry>;

    /// Makes the store's own kind of pointer at `path`, in place of one that is there.
    async fn point(&self, path: &RemotePath, target: &RemotePath) -> Result<()>;

    /// Takes a file, a pointer or a folder with all it holds away for good (to the store's own trash, where it has
    /// one). What is not there is fine.
    async fn delete(&self, object: &Object) -> Result<()>;

    /// Returns when everything written to these paths would survive a power cut.
    async fn flush(&self, paths: &[RemotePath]) -> Result<()>;

    /// How full the store is.
    async fn usage(&self) -> Result<Usage>;
}

/// What a store can do, as data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Objects have ids that stay the same when they move.
    pub ids: bool,
    /// Two objects in one folder never have one name.
    pub unique_names: bool,
    /// A listing may leave out what was just written.
    pub late_listings: bool,
    /// The kind of pointer it has itself.
    pub pointers: PointerKind,
    /// Entries carry the store's own SHA-256.
    pub checksums: bool,
    /// It can copy without sending bytes.
    pub copies: bool,
    /// It can swap two folders in one step.
    pub exchange: bool,
    /// A write that returned is in the store itself, not in a cache on its way there.
    pub confirms: bool,
    /// Reading it costs about as much as reading a local file.
    pub cheap_reads: bool,
    /// A simulation: dies with the machine, never chosen unless asked for by name.
    pub simulated: bool,
}

/// The kinds of pointers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointerKind {
    /// A relative symbolic link.
    Symlink,
    /// A Drive shortcut.
    Shortcut,
    /// None of its own: a small file, `NAME.pointer.json`.
    File,
}

/// How an object is called: by path, and by id where the store has ids (the id counts then).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Object {
    /// Where it is thought to be.
    pub path: RemotePath,
    /// Its id.
    pub id: Option<String>,
}

impl Object {
    /// An object known by path only.
    pub fn at(path: RemotePath) -> Self {
        Self { path, id: None }
    }
}

impl From<&RemotePath> for Object {
    fn from(path: &RemotePath) -> Self {
        Self::at(path.clone())
    }
}

/// Something in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub path: RemotePath,
    /// Its id, where the store has ids.
    pub id: Option<String>,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes; 0 for anything but a file.
    pub size: u64,
    /// The store's time of its last change.
    pub modified: Timestamp,
    /// The store's own digest, where it has one (it may come later than the file).
    pub sha256: Option<Sha256>,
    /// Its content, when the listing brought it along.
    pub content: Option<Bytes>,
}

impl Entry {
    /// A file of which nothing but its name was asked.
    pub fn named(path: RemotePath) -> Self {
        Self {
            path,
            id: None,
            kind: EntryKind::File,
            size: 0,
            modified: Timestamp::UNIX_EPOCH,
            sha256: None,
            content: None,
        }
    }

    /// This entry as an object to call.
    pub fn object(&self) -> Object {
        Object { path: self.path.clone(), id: self.id.clone() }
    }

    /// The last part of its path.
    pub fn name(&self) -> &str {
        self.path.name()
    }

    /// Whether it is a write that never ended.
    pub fn is_partial(&self) -> bool {
        self.name().starts_with(PARTIAL_PREFIX)
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A folder.
    Dir,
    /// A pointer to a place on this remote; `None` when it points out of it or nowhere.
    Pointer(Option<RemotePath>),
    /// Anything else (a device, a socket).
    Other,
}

/// Files that are being written are called so, plus something random, in the folder they are for.
pub const PARTIAL_PREFIX: &str = ".modelkeep-partial-";

/// Which small files a listing should bring the content of. A store that can do so with no further call does.
#[derive(Clone, Copy)]
pub enum Inline<'a> {
    /// None.
    No,
    /// Files up to this many bytes whose name the predicate wants. Of files that it does not want a store may tell
    /// the name alone.
    UpTo(u64, &'a (dyn Fn(&str) -> bool + Send + Sync)),
}

/// Whether a write may meet something under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The name must be free, else `Conflict`.
    New,
    /// What is there is replaced in one step.
    Replace,
    /// The same, but in a folder that is there: none is made where somebody has just moved one away (`NotFound`).
    Refresh,
}

/// What a write reads from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A local file, streamed.
    File(PathBuf),
    /// Content that is on no disk here, streamed.
    Far(Arc<dyn Far>),
}

/// Content that is on no disk of this machine, such as a file of another service.
pub trait Far: Send + Sync + fmt::Debug {
    /// Bytes.
    fn size(&self) -> u64;

    /// The bytes from `offset` on, in order, for a thread of a runtime that may wait. Asked for again where some have
    /// to be sent a second time.
    fn read_from(&self, offset: u64) -> Box<dyn Iterator<Item = Result<Bytes>> + Send>;
}

/// What a write did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its id, where the store has ids.
    pub id: Option<String>,
    /// Bytes.
    pub size: u64,
    /// The digest of the bytes that were written, as they went by.
    pub sha256: Sha256,
    /// How many of them this call sent; the others went up in an earlier attempt.
    pub sent: u64,
}

/// What a copy did. It has no digest: the store may copy without anybody reading the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Its id, where the store has ids.
    pub id: Option<String>,
    /// Bytes.
    pub size: u64,
}

/// What a fetch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transferred {
    /// The local file's size.
    pub size: u64,
    /// Of the local file.
    pub sha256: Sha256,
    /// Bytes that came from the remote just now.
    pub fetched: u64,
}

/// How full a store is; what it cannot say is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// All that one may use, in bytes.
    pub quota: Option<u64>,
    /// Used, in bytes.
    pub used: Option<u64>,
    /// Of that in the store's own trash.
    pub trashed: Option<u64>,
}
