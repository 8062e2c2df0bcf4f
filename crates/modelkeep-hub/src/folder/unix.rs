//! By descriptor: `openat`, `getdents`, `fstatat`, `readlinkat`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};

use super::{Kind, Name, Stat};

/// An open folder.
pub struct Folder(Dir);

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Folder")
    }
}

impl Folder {
    /// Opens a folder by path; a link to one is followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_from(CWD, path.as_os_str(), OFlags::empty())
    }

    /// Opens a folder in this one; a link is no folder.
    pub fn open_in(&self, name: &OsStr) -> io::Result<Self> {
        Self::open_from(self.fd()?, name, OFlags::NOFOLLOW)
    }

    fn open_from(at: BorrowedFd<'_>, name: &OsStr, more: OFlags) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK | more;
        let fd: OwnedFd = rustix::fs::openat(at, name, flags, Mode::empty())?;
        Ok(Self(Dir::new(fd)?))
    }

    fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.0.fd()?)
    }

    /// The next name in it, `.` and `..` left out.
    pub fn next_name(&mut self) -> Option<io::Result<Name>> {
        loop {
            let entry = match self.0.read()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error.into())),
            };
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                let name = OsString::from_vec(name.to_vec());
                return Some(Ok(Name { name, kind: kind_of(entry.file_type()) }));
            }
        }
    }

    /// All names in it.
    pub fn names(&mut self) -> io::Result<Vec<Name>> {
        std::iter::from_fn(|| self.next_name()).collect()
    }

    /// What a name stands for.
    pub fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(stat_of(&rustix::fs::statat(self.fd()?, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// What a name leads to, through links.
    pub fn stat_through(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(stat_of(&rustix::fs::statat(self.fd()?, name, AtFlags::empty())?))
    }

    /// The folder itself.
    pub fn own_stat(&self) -> io::Result<Stat> {
        Ok(stat_of(&rustix::fs::fstat(self.fd()?.as_fd())?))
    }

    /// Where a link leads, as it is written: into `buffer`, as a scan reads very many of them. One that does not fit is
    /// an error.
    pub fn link<'a>(&self, name: &OsStr, buffer: &'a mut LinkBuffer) -> io::Result<&'a Path> {
        let length = rustix::fs::readlinkat_raw(self.fd()?, name, &mut buffer.0[..])?;
        if length == buffer.0.len() {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        Ok(Path::new(OsStr::from_bytes(&buffer.0[..length])))
    }
}

/// Room for what a link says.
#[derive(Debug)]
pub struct LinkBuffer(Box<[u8; 4096]>);

impl Default for LinkBuffer {
    fn default() -> Self {
        Self(Box::new([0; 4096]))
    }
}

fn kind_of(kind: FileType) -> Kind {
    match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Link,
        FileType::Unknown => Kind::Unknown,
        _ => Kind::Other,
    }
}

// The fields' types differ from system to system; none of these numbers is negative or too large.
#[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, clippy::cast_lossless, trivial_numeric_casts)]
fn stat_of(stat: &rustix::fs::Stat) -> Stat {
    Stat {
        kind: kind_of(FileType::from_raw_mode(stat.st_mode)),
        size: stat.st_size as u64,
        allocated: stat.st_blocks as u64 * 512,
        device: stat.st_dev as u64,
        inode: stat.st_ino as u64,
        links: stat.st_nlink as u64,
        accessed: stat.st_atime as i64,
        modified: stat.st_mtime as i64,
    }
}
