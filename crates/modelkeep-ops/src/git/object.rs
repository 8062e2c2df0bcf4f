//! Contents as git keeps them on disk: how one begins, and how many bytes it takes, without unpacking all of it.
//!
//! Sources: `gitformat-pack(5)`, and for loose objects `git-hash-object(1)`: zlib over `blob <size>\0<bytes>`.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::ZlibDecoder;
use gix::ObjectId;
use gix::odb::pack;
use modelkeep_core::{Error, Result};
use modelkeep_remote::folder::failed;

/// The size of a loose object and its first bytes; `None` when it is not kept so.
pub fn loose(common_dir: &Path, id: &ObjectId, bytes: usize) -> Result<Option<(u64, Vec<u8>)>> {
    let path = loose_path(common_dir, id);
    let file = match fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("reading", &path, error)),
    };
    let mut head = Vec::with_capacity(bytes + HEADER);
    // What cannot be unpacked is told as such by the header that is missing.
    let _ = ZlibDecoder::new(file).take((bytes + HEADER) as u64).read_to_end(&mut head);
    let end = head.iter().take(HEADER).position(|byte| *byte == 0);
    let size = end.and_then(|end| std::str::from_utf8(&head[..end]).ok()?.strip_prefix("blob ")?.parse().ok());
    let (Some(end), Some(size)) = (end, size) else {
        return Err(Error::local(format!("{} is no file's content", path.display())).hint("git fsck"));
    };
    head.drain(..=end);
    head.truncate(bytes);
    Ok(Some((size, head)))
}

/// `blob <size>\0` takes no more.
const HEADER: usize = 32;

fn loose_path(common_dir: &Path, id: &ObjectId) -> PathBuf {
    let hex = id.to_string();
    common_dir.join("objects").join(&hex[..2]).join(&hex[2..])
}

/// The packs of a repository, opened when one is asked for.
#[derive(Default)]
pub struct Packs(OnceCell<Vec<Pack>>);

struct Pack {
    index: pack::index::File,
    file: PathBuf,
    /// Where each object begins, and at last where the last one ends.
    offsets: Vec<u64>,
}

impl Packs {
    fn all(&self, common_dir: &Path) -> Result<&[Pack]> {
        if self.0.get().is_none() {
            let _ = self.0.set(open(&common_dir.join("objects/pack"))?);
        }
        Ok(self.0.get().map(Vec::as_slice).unwrap_or_default())
    }

    /// The first bytes of an object that a pack holds whole; `None` when none does, or as a difference alone.
    pub fn beginning(&self, common_dir: &Path, id: &ObjectId, bytes: usize) -> Result<Option<Vec<u8>>> {
        for pack in self.all(common_dir)? {
            let Some(at) = pack.index.lookup(id) else { continue };
            let offset = pack.index.pack_offset_at_index(at);
            let read = fs::File::open(&pack.file).and_then(|mut file| {
                file.seek(SeekFrom::Start(offset))?;
                let mut byte = [0];
                file.read_exact(&mut byte)?;
                let kind = byte[0] >> 4 & 7;
                while byte[0] & 0x80 != 0 {
                    file.read_exact(&mut byte)?;
                }
                if kind != BLOB {
                    return Ok(None);
                }
                let mut head = Vec::new();
                ZlibDecoder::new(file).take(bytes as u64).read_to_end(&mut head)?;
                Ok(Some(head))
            });
            return read.map_err(|error| failed("reading", &pack.file, error));
        }
        Ok(None)
    }

    /// How many bytes each object takes where it is kept.
    pub fn stored(&self, common_dir: &Path, ids: &[ObjectId]) -> Result<BTreeMap<ObjectId, u64>> {
        let packs = self.all(common_dir)?;
        let mut found = BTreeMap::new();
        for id in ids {
            let packed = packs.iter().find_map(|pack| {
                let offset = pack.index.pack_offset_at_index(pack.index.lookup(id)?);
                let next = pack.offsets.partition_point(|other| *other <= offset);
                Some(pack.offsets.get(next)?.saturating_sub(offset))
            });
            let loose = || fs::metadata(loose_path(common_dir, id)).map(|metadata| metadata.len()).ok();
            if let Some(bytes) = packed.or_else(loose) {
                found.insert(*id, bytes);
            }
        }
        Ok(found)
    }
}

/// The type of an object that is kept whole (`gitformat-pack(5)`).
const BLOB: u8 = 3;
/// A pack ends in the checksum of all before it.
const TRAILER: u64 = 20;

fn open(folder: &Path) -> Result<Vec<Pack>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("listing", folder, error)),
    };
    let mut packs = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "idx") {
            continue;
        }
        let file = path.with_extension("pack");
        let (Ok(index), Ok(metadata)) = (pack::index::File::at(&path, gix::hash::Kind::Sha1), fs::metadata(&file))
        else {
            continue;
        };
        let mut offsets = index.sorted_offsets();
        offsets.push(metadata.len().saturating_sub(TRAILER));
        packs.push(Pack { index, file, offsets });
    }
    Ok(packs)
}

/// Bytes of every file below a folder, each inode once.
pub fn all_bytes(folder: &Path) -> Result<u64> {
    let (mut sum, mut open, mut seen) = (0, vec![folder.to_owned()], HashSet::new());
    while let Some(folder) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("listing", &folder, error)),
        };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                open.push(entry.path());
            } else if seen.insert(identity(&metadata, &entry.path())) {
                sum += metadata.len();
            }
        }
    }
    Ok(sum)
}

#[cfg(unix)]
fn identity(metadata: &fs::Metadata, _: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata, path: &Path) -> PathBuf {
    path.to_owned()
}
