//! What file system a folder lies on: whether writes through it can be trusted to have arrived, and how full it is.

use std::path::Path;

use crate::remote::Usage;

/// Whether a folder lies on a mount that answers from its own cache and writes back later.
///
/// Colab's Drive (`fuse.drive`) is one, and so may be any other FUSE file system that stands for a server. `fuseblk`
/// is a local disk (NTFS) and is not.
#[cfg(target_os = "linux")]
pub fn is_write_back(root: &Path) -> bool {
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mounts") else { return false };
    file_system(&mounts, root).is_some_and(|kind| kind == "fuse" || kind.starts_with("fuse."))
}

#[cfg(not(target_os = "linux"))]
pub fn is_write_back(root: &Path) -> bool {
    // Google Drive for desktop: a folder of this name on macOS; on Windows a drive of its own that holds `My Drive`.
    let named = root.components().any(|part| part.as_os_str().to_string_lossy().starts_with("GoogleDrive-"));
    named || cfg!(windows) && root.ancestors().last().is_some_and(|top| top.join("My Drive").is_dir())
}

/// The type of the file system that holds `path`, by the longest mount point above it.
#[cfg(target_os = "linux")]
fn file_system<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            // The kernel writes spaces in mount points as `\040`.
            let point = fields.next()?.replace("\\040", " ");
            let kind = fields.next()?;
            path.starts_with(&point).then_some((point.len(), kind))
        })
        .max_by_key(|(length, _)| *length)
        .map(|(_, kind)| kind)
}

/// How full the file system is.
#[cfg(unix)]
pub fn usage(root: &Path) -> Usage {
    let Ok(stat) = rustix::fs::statvfs(root) else { return Usage::default() };
    let total = stat.f_blocks.saturating_mul(stat.f_frsize);
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    Usage { quota: Some(total), used: Some(total.saturating_sub(free)), trashed: None }
}

#[cfg(not(unix))]
pub fn usage(_root: &Path) -> Usage {
    Usage::default()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_decides() {
        let mounts = "/dev/vda / ext4 rw 0 0\ndrive /content/drive fuse.drive rw 0 0\n/dev/sdb /mnt/my\\040disk fuseblk rw 0 0\n";
        for (path, kind) in [
            ("/home/ana", "ext4"),
            ("/content/drive/MyDrive/Banking LLM", "fuse.drive"),
            ("/content/drives", "ext4"),
            ("/mnt/my disk/x", "fuseblk"),
        ] {
            assert_eq!(file_system(mounts, Path::new(path)), Some(kind), "{path}");
        }
    }
}
