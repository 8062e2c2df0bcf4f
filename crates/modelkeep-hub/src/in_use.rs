//! Who is using the cache right now: files that processes have open or mapped, locks that writers hold.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::scan::LOCKS;

/// Files below a folder that some process has open or mapped, by their real paths.
///
/// What other users' processes have open is hidden from an ordinary user; where there is no `/proc` nothing is seen.
pub fn open_below(folder: &Path) -> HashSet<PathBuf> {
    let mut open = HashSet::new();
    let Ok(folder) = folder.canonicalize() else { return open };
    let me = std::process::id().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.filter(|process| {
        let name = process.file_name();
        name.to_str().is_some_and(|name| name != me && name.bytes().all(|b| b.is_ascii_digit()))
    }) {
        let descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        open.extend(
            descriptors.filter_map(|fd| fs::read_link(fd.path()).ok()).filter(|path| path.starts_with(&folder)),
        );
        // A mapped file may be closed and is read all the same: `safetensors` does so.
        if let Ok(maps) = fs::read_to_string(process.path().join("maps")) {
            let paths = maps.lines().filter_map(|line| Some(Path::new(&line[line.find('/')?..])));
            open.extend(paths.filter(|path| path.starts_with(&folder)).map(Path::to_owned));
        }
    }
    open
}

/// The folder of a repository's locks.
pub fn locks_of(hub: &Path, folder: &str) -> PathBuf {
    hub.join(LOCKS).join(folder)
}

/// The lock that our own processes share as long as they bring something to a repository.
pub(crate) const BRINGING: &str = "modelkeep";

/// Whether somebody holds a lock of this repository: is downloading to it. A lock is taken for a moment to see.
pub fn is_locked(hub: &Path, folder: &str) -> bool {
    is_locked_besides(hub, folder, None)
}

/// Keeps our own processes from bringing anything to a repository until it is dropped; `None` when somebody is downloading to
/// it.
pub(crate) fn alone(hub: &Path, folder: &str) -> io::Result<Option<File>> {
    let lock = lock(hub, folder, BRINGING)?;
    Ok(lock.filter(|_| !is_downloading(hub, folder)))
}

/// Whether somebody is downloading to a repository that we are [`alone`] with: programs of others know other locks.
pub(crate) fn is_downloading(hub: &Path, folder: &str) -> bool {
    is_locked_besides(hub, folder, Some(BRINGING))
}

fn is_locked_besides(hub: &Path, folder: &str, ours: Option<&str>) -> bool {
    let locks = fs::read_dir(locks_of(hub, folder)).into_iter().flatten().flatten();
    locks.map(|lock| lock.path()).any(|path| {
        path.extension().is_some_and(|extension| extension == "lock")
            && ours.is_none_or(|ours| path.file_stem().is_some_and(|stem| stem != ours))
            && File::open(&path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    })
}

/// The lock of one file in `blobs/`, held until it is dropped; `None` when somebody else has it.
pub(crate) fn lock(hub: &Path, folder: &str, blob: &str) -> io::Result<Option<File>> {
    let locks = locks_of(hub, folder);
    fs::create_dir_all(&locks)?;
    let file = File::options().create(true).append(true).open(locks.join(format!("{blob}.lock")))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(None),
        // A file system without locks: theirs go without as well.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(file)),
    }
}
