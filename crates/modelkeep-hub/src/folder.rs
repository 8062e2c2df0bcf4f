//! Folders of this machine, read with few system calls: opened once, everything in them asked relative to that.
//!
//! A disk walk and a scan of the cache are made of the same four questions: what is in it, what is that, where does this
//! link lead, open the folder below. No link is ever followed unless it is asked for.

#[cfg(not(unix))]
#[path = "folder/portable.rs"]
mod system;
#[cfg(unix)]
#[path = "folder/unix.rs"]
mod system;

pub use system::{Folder, LinkBuffer};

use std::ffi::OsString;

/// What a name stands for, by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, a socket, a pipe.
    Other,
    /// The file system does not say it with the name; ask for its [`Stat`].
    Unknown,
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// As it is written.
    pub name: OsString,
    /// What it stands for.
    pub kind: Kind,
}

/// What the system knows of a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Bytes as they are read.
    pub size: u64,
    /// Bytes that it takes on the disk.
    pub allocated: u64,
    /// The file system it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// How many names it has; 1 where the system does not count them.
    pub links: u64,
    /// When it was last read, in seconds since 1970; a mount may not keep it.
    pub accessed: i64,
    /// When it was last written, in seconds since 1970.
    pub modified: i64,
}
