//! The store that newer versions of `huggingface_hub` share between repositories (`utils/_shared_blobs.py`, 2.4.0):
//! `hub/blobs/<2 hex>/<xet hash>`, with a list of who links to it beside each (`.refs`).
//!
//! Their rule is kept: a payload goes only when its list can be read and nothing in it links to it any more.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

/// The folder's name in the cache.
pub const FOLDER: &str = "blobs";
const MARKER: &str = ".huggingface-shared-blobs";
const VERSION: &str = "1\n";

/// A payload of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Whether its list can be read and names nobody who still links to it.
    pub unreferenced: bool,
}

/// Whether the cache has such a store, of a version that is known.
pub fn is_store(hub: &Path) -> bool {
    let marker = hub.join(FOLDER).join(MARKER);
    let real =
        |path: &Path, folder: bool| fs::symlink_metadata(path).is_ok_and(|m| m.is_dir() == folder && !m.is_symlink());
    real(&hub.join(FOLDER), true)
        && real(&marker, false)
        && fs::read_to_string(marker).is_ok_and(|text| text == VERSION)
}

fn is_hash(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The payload that a link in a repository's `blobs/` leads to, given where the link stands and what it says; called as
/// [`payloads`] calls it.
pub fn target(hub: &Path, link: &Path, says: &Path) -> Option<PathBuf> {
    let store = hub.join(FOLDER);
    let below = inside(&store, link, says)?;
    let mut parts = below.components();
    let (Component::Normal(prefix), Component::Normal(hash), None) = (parts.next()?, parts.next()?, parts.next())
    else {
        return None;
    };
    let hash = hash.to_str()?;
    (is_hash(hash) && prefix == &hash[..2]).then(|| store.join(&below))
}

/// Where in a folder a link leads, at its first hop. One folder has many paths (a home behind a link, `..` in a variable): what
/// the text does not say, the disk does.
pub(crate) fn inside(folder: &Path, link: &Path, says: &Path) -> Option<PathBuf> {
    let leads = link.parent()?.join(says);
    if let Ok(below) = lexical(&leads).strip_prefix(lexical(folder)) {
        return Some(below.to_owned());
    }
    let real = leads.parent()?.canonicalize().ok()?.join(leads.file_name()?);
    real.strip_prefix(folder.canonicalize().ok()?).ok().map(Path::to_owned)
}

/// A path without `.` and `..`, by its text alone.
pub(crate) fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// Every payload; none when there is no store.
pub fn payloads(hub: &Path) -> Vec<Payload> {
    if !is_store(hub) {
        return Vec::new();
    }
    let folders = fs::read_dir(hub.join(FOLDER)).into_iter().flatten().flatten();
    let entries = folders
        .filter(|folder| folder.file_type().is_ok_and(|kind| kind.is_dir()) && folder.file_name().len() == 2)
        .flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_hash))
        .filter_map(|entry| {
            let metadata = fs::symlink_metadata(entry.path()).ok().filter(fs::Metadata::is_file)?;
            let unreferenced = references(hub, &entry.path()).is_some_and(|references| references.is_empty());
            Some(Payload { path: entry.path(), size: metadata.len(), unreferenced })
        })
        .collect()
}

/// Who links to a payload, of those that its list names; `None` when the list cannot be read.
fn references(hub: &Path, payload: &Path) -> Option<Vec<String>> {
    let list = list_of(payload);
    if !fs::symlink_metadata(&list).is_ok_and(|metadata| metadata.is_file()) {
        return None;
    }
    let text = fs::read_to_string(list).ok()?;
    let mut valid = Vec::new();
    for line in text.lines() {
        let below = Path::new(line);
        let three: Vec<_> = below.components().collect();
        let inside = three.iter().all(|part| matches!(part, Component::Normal(_)));
        if three.len() != 3 || !inside || three[1].as_os_str() != "blobs" {
            continue;
        }
        let link = hub.join(below);
        match fs::read_link(&link) {
            Ok(says) if target(hub, &link, &says).as_deref() == Some(payload) => valid.push(line.to_owned()),
            Ok(_) => {}
            // No link any more.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {}
            Err(_) => return None,
        }
    }
    Some(valid)
}

fn list_of(payload: &Path) -> PathBuf {
    payload.with_extension("refs")
}

/// Takes a payload away if nobody links to it, under its own lock; the bytes that this freed.
pub fn sweep(hub: &Path, payload: &Path) -> io::Result<u64> {
    let lock = payload.with_extension("lock");
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // 0666 and no link followed, as they open it: other users of a shared cache take the same lock.
        options.mode(0o666).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    }
    let held = options.open(lock)?;
    if held.try_lock().is_err() {
        return Ok(0);
    }
    if references(hub, payload).is_none_or(|references| !references.is_empty()) {
        return Ok(0);
    }
    let size = fs::symlink_metadata(payload)?.len();
    fs::remove_file(payload)?;
    match fs::remove_file(list_of(payload)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(size),
    }
}
