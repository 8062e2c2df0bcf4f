//! A repository of the cache that lies on another disk: its folder is made there, the cache holds a link to it.
//!
//! Hugging Face's programs follow the link (they ask `is_dir`). A disk that is emptied, as a Codespace's temporary one
//! is when it stops, leaves a link to nowhere, which those programs stumble over: `cache repair` takes it away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Puts a repository's folder (`models--ns--name`) on the other disk, for a repository that the cache does not have.
/// The folder, as it is called in the cache.
pub fn place(hub: &Path, folder: &str, overflow: &Path) -> io::Result<PathBuf> {
    let (link, target) = (hub.join(folder), overflow.join(folder));
    fs::create_dir_all(hub)?;
    fs::create_dir_all(&target)?;
    match fs::read_link(&link) {
        Ok(to) if to == target => return Ok(link),
        // A link to an overflow of former days that holds nothing any more.
        Ok(_) if !link.exists() => fs::remove_file(&link)?,
        _ => {}
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(&target, &link)?;
    #[cfg(windows)]
    std::os::windows::fs::symlink_dir(&target, &link)?;
    Ok(link)
}
