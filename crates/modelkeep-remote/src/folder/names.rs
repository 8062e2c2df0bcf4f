//! Giving names on a file system: without replacing, by swapping, as links; and flushing what names depend on.
//! Each has a portable way where the system has no call of its own.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use modelkeep_core::path::RemotePath;
use modelkeep_core::{Error, Result};

use super::FolderOptions;
use crate::remote::PARTIAL_PREFIX;

/// Whether this system has symbolic links that any user can make.
pub const HAS_SYMLINKS: bool = cfg!(unix);
/// Whether this system can swap two names in one step.
pub const HAS_EXCHANGE: bool = cfg!(any(target_os = "linux", target_os = "android", target_vendor = "apple"));

/// Where a file system can neither refuse to replace nor link: two tasks of this process must not both look before
/// one moves. Two processes on such a mount still could (ADR 0004 says why nothing depends on it).
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Moves `from` to `to` unless `to` is taken.
pub fn rename_new(from: &Path, to: &Path, options: &FolderOptions) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    if options.rename_noreplace {
        use rustix::fs::{CWD, RenameFlags};
        use rustix::io::Errno;
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // The file system under this folder (FUSE, some network mounts) has no such call.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            other => return other.map_err(io::Error::from),
        }
    }
    if fs::symlink_metadata(from)?.is_file() && options.hard_links {
        match fs::hard_link(from, to) {
            Ok(()) => return fs::remove_file(from),
            Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {}
            Err(error) => return Err(error),
        }
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // Left: looking first. A folder with something in it is never replaced by the system either; a file's name here is
    // either random, a digest, or in a folder that is its writer's own.
    match fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
        Err(error) => Err(error),
    }
}

/// Swaps two names in one step.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags};
    rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).map_err(io::Error::from)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub fn exchange(_one: &Path, _other: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes `to` share the blocks of `from`; false where the file system cannot.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn clone_blocks(from: &File, to: &File) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn clone_blocks(_from: &File, _to: &File) -> bool {
    false
}

/// Flushes everything on the file system of `root`; false where that cannot be done in one call.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn flush_file_system(root: &Path) -> bool {
    File::open(root).is_ok_and(|folder| rustix::fs::syncfs(folder).is_ok())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn flush_file_system(_root: &Path) -> bool {
    false
}

/// Flushes a folder's own entries. Systems that cannot open folders flush names with the files.
pub fn flush_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// `target` as seen from `folder`, with `..` where needed.
pub fn relative(folder: &RemotePath, target: &RemotePath) -> String {
    let (from, to): (Vec<&str>, Vec<&str>) = (folder.parts().collect(), target.parts().collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let mut parts = vec![".."; from.len() - shared];
    parts.extend(&to[shared..]);
    parts.join("/")
}

/// The name of a file that is being written: random for the process, counted within it.
pub fn partial() -> Result<String> {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let process = if let Some(process) = PROCESS.get() {
        *process
    } else {
        let random = getrandom::u64().map_err(|error| Error::internal("no randomness").because(error))?;
        *PROCESS.get_or_init(|| random)
    };
    Ok(format!("{PARTIAL_PREFIX}{process:016x}-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Makes a symbolic link, in place of one that is there; anything else of that name stays.
#[cfg(unix)]
pub fn point(link: &Path, target: &str) -> io::Result<()> {
    if fs::symlink_metadata(link).is_ok_and(|metadata| !metadata.is_symlink()) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    if let Some(folder) = link.parent() {
        fs::create_dir_all(folder)?;
    }
    let partial = link.with_file_name(partial().map_err(io::Error::other)?);
    std::os::unix::fs::symlink(target, &partial)?;
    fs::rename(&partial, link).inspect_err(|_| {
        let _ = fs::remove_file(&partial);
    })
}

#[cfg(not(unix))]
pub fn point(_link: &Path, _target: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_so_that_the_tree_can_be_moved() {
        let path = |text: &str| text.parse::<RemotePath>().unwrap();
        assert_eq!(relative(&path("models/deployed"), &path("models/finetuned/x")), "../finetuned/x");
        assert_eq!(relative(&path("models/finetuned"), &path("models/finetuned/x")), "x");
        assert_eq!(relative(&path(""), &path("a/b")), "a/b");
    }
}
