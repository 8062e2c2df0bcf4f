//! The repositories, as folders; what git would call their content.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use sha1::Digest as _;

/// Larger ones are LFS files whatever they are called, as on the Hub.
const LARGE: u64 = 10 << 20;
/// Weights are LFS files whatever their size.
const WEIGHTS: [&str; 8] = ["safetensors", "bin", "onnx", "pt", "pth", "h5", "msgpack", "gguf"];

/// A file of a repository.
#[derive(Debug, Clone)]
pub struct File {
    pub path: String,
    pub local: PathBuf,
    pub size: u64,
    /// Git's name for what git holds.
    pub oid: String,
    /// SHA-256 of an LFS file, and bytes of its pointer.
    pub lfs: Option<(String, u64)>,
}

impl File {
    pub fn etag(&self) -> &str {
        self.lfs.as_ref().map_or(&self.oid, |(sha256, _)| sha256)
    }
}

/// A repository at a revision.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub commit: String,
    pub files: Vec<File>,
}

/// What makes a digest worth remembering.
type Stat = (u64, Option<SystemTime>);

#[derive(Debug)]
pub struct Repos {
    root: PathBuf,
    known: Mutex<BTreeMap<PathBuf, (Stat, File)>>,
}

impl Repos {
    pub fn new(root: PathBuf) -> Self {
        Self { root, known: Mutex::default() }
    }

    /// The names of all repositories.
    pub fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for namespace in folders(&self.root)? {
            for name in folders(&self.root.join(&namespace))?.into_iter().filter(|name| !name.contains('@')) {
                names.push(format!("{namespace}/{name}"));
            }
        }
        Ok(names)
    }

    /// The revisions of a repository that have names, with their commits.
    pub fn revisions(&self, repo: &str) -> io::Result<Option<Vec<(String, Snapshot)>>> {
        let Some((namespace, name)) = repo.split_once('/') else { return Ok(None) };
        let mut found = Vec::new();
        for folder in folders(&self.root.join(namespace)).unwrap_or_default() {
            let revision = match folder.strip_prefix(name) {
                Some("") => "main",
                Some(rest) => match rest.strip_prefix('@') {
                    Some(revision) => revision,
                    None => continue,
                },
                None => continue,
            };
            found.push((revision.to_owned(), self.read(&self.root.join(namespace).join(&folder))?));
        }
        Ok((!found.is_empty()).then_some(found))
    }

    /// A repository's revision by name or by a commit or its beginning.
    pub fn at(revisions: &[(String, Snapshot)], revision: &str) -> Option<Snapshot> {
        let by_name = revisions.iter().find(|(name, _)| name == revision);
        let by_commit = || revisions.iter().find(|(_, at)| revision.len() >= 7 && at.commit.starts_with(revision));
        by_name.or_else(by_commit).map(|(_, snapshot)| snapshot.clone())
    }

    fn read(&self, folder: &Path) -> io::Result<Snapshot> {
        let mut files = Vec::new();
        self.walk(folder, "", &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut hasher = sha1::Sha1::new();
        for file in &files {
            hasher.update(format!("{} {}\n", file.etag(), file.path));
        }
        Ok(Snapshot { commit: hex::encode(hasher.finalize()), files })
    }

    fn walk(&self, folder: &Path, below: &str, files: &mut Vec<File>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            let metadata = fs::metadata(entry.path())?;
            if metadata.is_dir() {
                self.walk(&entry.path(), &path, files)?;
            } else {
                let stat = (metadata.len(), metadata.modified().ok());
                let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&entry.path()).cloned();
                let file = match known {
                    Some((then, file)) if then == stat => file,
                    _ => look(&entry.path(), path, stat.0)?,
                };
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(entry.path(), (stat, file.clone()));
                files.push(file);
            }
        }
        Ok(())
    }
}

fn folders(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn look(local: &Path, path: String, size: u64) -> io::Result<File> {
    let mut file = fs::File::open(local)?;
    let mut buffer = vec![0; 256 << 10];
    let (mut sha256, mut git) = (sha2::Sha256::new(), sha1::Sha1::new_with_prefix(format!("blob {size}\0")));
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        sha256.update(&buffer[..read]);
        git.update(&buffer[..read]);
    }
    let weights = path.rsplit_once('.').is_some_and(|(_, kind)| WEIGHTS.contains(&kind));
    if size < LARGE && !weights {
        return Ok(File { path, local: local.to_owned(), size, oid: hex::encode(git.finalize()), lfs: None });
    }
    let sha256 = hex::encode(sha256.finalize());
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n");
    let oid = sha1::Sha1::new_with_prefix(format!("blob {}\0{pointer}", pointer.len())).finalize();
    let pointer_size = pointer.len() as u64;
    Ok(File { path, local: local.to_owned(), size, oid: hex::encode(oid), lfs: Some((sha256, pointer_size)) })
}
