//! A folder of very many small files as one tar with an index: a store takes a few files a second, and one tar as any file.
//!
//! The tar is the same for the same files, whenever and by whomever it is made, so that it is not sent twice. Any program
//! unpacks it; the index says where each file begins in it, and its SHA-256.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use modelkeep_core::digest::Sha256;
use modelkeep_core::manifest::{FileEntry, Manifest};
use modelkeep_core::path::ContentPath;
use modelkeep_core::{Error, Result};
use modelkeep_remote::folder::failed;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::TAR;
use crate::observe::{self, Directory};

/// The index beside a tar.
#[derive(Debug, Serialize, Deserialize)]
struct Index {
    format: u32,
    files: Vec<Packed>,
}

/// One file of a tar.
#[derive(Debug, Serialize, Deserialize)]
struct Packed {
    #[serde(flatten)]
    file: FileEntry,
    /// Where its bytes begin in the tar.
    offset: u64,
}

const FORMAT: u32 = 1;
const INDEX: &str = ".index.json";
const LARGEST_INDEX: u64 = 1 << 30;
/// A tar counts in blocks of so many bytes.
const BLOCK: u64 = 512;

/// The file that is packed into, and its index, in `folder`.
fn names(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    (folder.join(name), folder.join(format!("{name}{INDEX}")))
}

/// Packs a directory into `folder`, which holds nothing else then.
pub fn pack(directory: &Directory, folder: &Path, name: &str) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed("removing", folder, error)),
        _ => {}
    }
    fs::create_dir_all(folder).map_err(|error| failed("creating", folder, error))?;
    let (tar_file, index_file) = names(folder, name);
    let writing = |error| failed("writing", &tar_file, error);
    let file = fs::File::create(&tar_file).map_err(writing)?;
    let mut tar = tar::Builder::new(std::io::BufWriter::new(file));
    let mut files = Vec::with_capacity(directory.files.len());
    for local in &directory.files {
        let reading = |error| failed("reading", &local.local, error);
        let mut header = tar::Header::new_gnu();
        header.set_size(local.stat.size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        let mut hashed = Hashed::new(fs::File::open(&local.local).map_err(reading)?);
        tar.append_data(&mut header, local.path.as_str(), (&mut hashed).take(local.stat.size)).map_err(writing)?;
        observe::unchanged(local)?;
        tar.get_mut().flush().map_err(writing)?;
        let end = tar.get_mut().get_mut().stream_position().map_err(writing)?;
        let sha256 = hashed.digest();
        let file = FileEntry { path: local.path.clone(), size: local.stat.size, sha256 };
        files.push(Packed { file, offset: end - local.stat.size.div_ceil(BLOCK) * BLOCK });
    }
    tar.into_inner().and_then(|mut writer| writer.flush()).map_err(writing)?;
    let bytes = serde_json::to_vec(&Index { format: FORMAT, files })
        .map_err(|error| Error::internal("an index cannot be written").because(error))?;
    fs::write(&index_file, bytes).map_err(|error| failed("writing", &index_file, error))
}

/// Hashes what is read through it.
pub(crate) struct Hashed<R> {
    from: R,
    hasher: sha2::Sha256,
}

impl<R> Hashed<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, hasher: sha2::Sha256::new() }
    }

    /// Of what was read.
    pub(crate) fn digest(self) -> Sha256 {
        Sha256::from_bytes(self.hasher.finalize().into())
    }
}

impl<R: std::io::Read> std::io::Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// What is in a tar that was brought into `folder`.
pub fn contents(folder: &Path, name: &str) -> Result<Manifest> {
    Manifest::new(read_index(folder, name)?.files.into_iter().map(|packed| packed.file).collect())
}

fn read_index(folder: &Path, name: &str) -> Result<Index> {
    let (_, file) = names(folder, name);
    let size = fs::metadata(&file).map_err(|error| failed("reading", &file, error))?.len();
    if size > LARGEST_INDEX {
        return Err(Error::integrity(format!("{} is too large for an index", file.display())));
    }
    let bytes = fs::read(&file).map_err(|error| failed("reading", &file, error))?;
    let index: Index = serde_json::from_slice(&bytes)
        .map_err(|error| Error::integrity(format!("{} is no index of a tar", file.display())).because(error))?;
    if index.format > FORMAT {
        return Err(Error::usage(format!("{} is of a newer format", file.display())).hint("update modelkeep"));
    }
    Ok(index)
}

/// Unpacks every file into `to`, each checked.
pub fn unpack(folder: &Path, name: &str, to: &Path) -> Result<()> {
    let (file, _) = names(folder, name);
    let reading = |error| failed("reading", &file, error);
    let mut tar = fs::File::open(&file).map_err(reading)?;
    for Packed { file: packed, offset } in read_index(folder, name)?.files {
        let place = place(to, &packed.path)?;
        tar.seek(SeekFrom::Start(offset)).map_err(reading)?;
        let writing = |error| failed("writing", &place, error);
        let mut out = fs::File::create(&place).map_err(writing)?;
        let (mut hasher, mut left, mut buffer) = (sha2::Sha256::new(), packed.size, vec![0; 64 << 10]);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = tar.read(&mut buffer[..most]).map_err(reading)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            out.write_all(&buffer[..read]).map_err(writing)?;
            left -= read as u64;
        }
        if left > 0 || Sha256::from_bytes(hasher.finalize().into()) != packed.sha256 {
            return Err(Error::integrity(format!("{} in {} is not what its index says", packed.path, file.display()))
                .hint("modelkeep verify --deep"));
        }
    }
    Ok(())
}

fn place(to: &Path, path: &ContentPath) -> Result<PathBuf> {
    let place = to.join(path.as_str());
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).map_err(|error| failed("creating", parent, error))?;
    }
    Ok(place)
}

/// What a packed folder is called on the store.
pub fn packed_name(name: &str) -> String {
    format!("{name}{TAR}")
}
