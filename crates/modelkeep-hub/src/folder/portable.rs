//! By path, where the system has no descriptors of folders.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Kind, Name, Stat};

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    entries: fs::ReadDir,
}

impl Folder {
    /// Opens a folder by path; a link to one is followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), entries: fs::read_dir(path)? })
    }

    /// Opens a folder in this one; a link is no folder.
    pub fn open_in(&self, name: &OsStr) -> io::Result<Self> {
        if self.stat(name)?.kind != Kind::Folder {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Self::open(&self.path.join(name))
    }

    /// The next name in it.
    pub fn next_name(&mut self) -> Option<io::Result<Name>> {
        let entry = match self.entries.next()? {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error)),
        };
        let kind = entry.file_type().map_or(Kind::Unknown, kind_of);
        Some(Ok(Name { name: entry.file_name(), kind }))
    }

    /// All names in it.
    pub fn names(&mut self) -> io::Result<Vec<Name>> {
        std::iter::from_fn(|| self.next_name()).collect()
    }

    /// What a name stands for.
    pub fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        fs::symlink_metadata(self.path.join(name)).map(|metadata| stat_of(&metadata))
    }

    /// What a name leads to, through links.
    pub fn stat_through(&self, name: &OsStr) -> io::Result<Stat> {
        fs::metadata(self.path.join(name)).map(|metadata| stat_of(&metadata))
    }

    /// The folder itself.
    pub fn own_stat(&self) -> io::Result<Stat> {
        fs::metadata(&self.path).map(|metadata| stat_of(&metadata))
    }

    /// Where a link leads, as it is written.
    pub fn link<'a>(&self, name: &OsStr, buffer: &'a mut LinkBuffer) -> io::Result<&'a Path> {
        buffer.0 = fs::read_link(self.path.join(name))?;
        Ok(&buffer.0)
    }
}

/// Room for what a link says.
#[derive(Debug, Default)]
pub struct LinkBuffer(PathBuf);

fn kind_of(kind: fs::FileType) -> Kind {
    if kind.is_symlink() {
        Kind::Link
    } else if kind.is_dir() {
        Kind::Folder
    } else if kind.is_file() {
        Kind::File
    } else {
        Kind::Other
    }
}

fn stat_of(metadata: &fs::Metadata) -> Stat {
    let seconds = |time: io::Result<SystemTime>| {
        let since = time.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.map_or(0, |since| since.as_secs().cast_signed())
    };
    Stat {
        kind: kind_of(metadata.file_type()),
        size: metadata.len(),
        allocated: metadata.len(),
        device: 0,
        inode: 0,
        links: 1,
        accessed: seconds(metadata.accessed()),
        modified: seconds(metadata.modified()),
    }
}
