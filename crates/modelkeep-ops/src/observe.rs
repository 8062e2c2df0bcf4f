//! The local directory that is pushed: its files, their stats, the digests that are known without reading.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ignore::overrides::OverrideBuilder;
use modelkeep_core::digest::Sha256;
use modelkeep_core::layout::{MARKER, METADATA};
use modelkeep_core::path::{ContentPath, collisions};
use modelkeep_core::registry::docs;
use modelkeep_core::{Error, Result};
use modelkeep_remote::folder::failed;
use modelkeep_remote::{Meter, PARTIAL_PREFIX};

use crate::local::{Local, Stat};

/// A file to push.
#[derive(Debug, Clone)]
pub struct LocalFile {
    /// Where it stands in the revision.
    pub path: ContentPath,
    /// Where it is.
    pub local: PathBuf,
    /// As it was when it was looked at.
    pub stat: Stat,
    /// Its digest, when the stat cache knows it.
    pub sha256: Option<Sha256>,
}

/// What is pushed.
#[derive(Debug)]
pub struct Directory {
    /// The directory, or the one file.
    pub root: PathBuf,
    /// Its files, sorted by path.
    pub files: Vec<LocalFile>,
    /// Empty folders: a revision has files only.
    pub empty_folders: usize,
}

/// Patterns of what to take, as in `.gitignore`.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only these, when there are any.
    pub include: Vec<String>,
    /// Never these.
    pub exclude: Vec<String>,
}

impl Filter {
    /// As a matcher below `root`.
    pub fn matcher(&self, root: &Path) -> Result<ignore::overrides::Override> {
        let mut builder = OverrideBuilder::new(root);
        let patterns = self.include.iter().map(String::clone).chain(self.exclude.iter().map(|glob| format!("!{glob}")));
        for pattern in patterns {
            builder.add(&pattern).map_err(|error| {
                let error = Error::usage(format!("`{}` is no pattern", pattern.trim_start_matches('!'))).because(error);
                error.hint("patterns are as in .gitignore: *.safetensors, /logs/, checkpoint-*")
            })?;
        }
        builder.build().map_err(|error| Error::usage("the patterns cannot be used").because(error))
    }
}

/// Ignore rules for pushes, in the format of `.gitignore`.
pub(crate) const IGNORE_FILE: &str = ".modelkeepignore";
/// Where a training's callback holds what is still to be stored: `python/modelkeep/integrations`.
pub(crate) const UNSENT: &str = "_modelkeep-unsent";
/// A walk waits for the kernel, not for the disk; more threads than this only wait for each other.
const THREADS: usize = 4;
/// So many names are listed in an error.
const NAMED: usize = 10;

/// Looks at what is pushed. Anything that cannot be stored is an error that names each.
pub fn directory(path: &Path, filter: &Filter, local: &Local) -> Result<Directory> {
    let metadata = fs::metadata(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            Error::not_found(format!("{} is not there", path.display())).hint("check the path to your training output")
        } else {
            failed("looking at", path, error)
        }
    })?;
    let root = path.canonicalize().map_err(|error| failed("looking at", path, error))?;
    let looked = || {
        if metadata.is_file() {
            let mut found = Found::default();
            found.add(look(&root, root.file_name().map_or(&root, Path::new)));
            return Ok(found);
        }
        walk(&root, filter)
    };
    // What is known of the files is read while they are looked at.
    let (found, known) = std::thread::scope(|scope| {
        let looking = scope.spawn(looked);
        let known = local.hashes_below(&root);
        (looking.join(), known)
    });
    let mut found = found.map_err(|_| Error::internal("looking at files ended badly"))??;
    found.files.sort_by(|a, b| a.path.cmp(&b.path));
    let paths = found.files.iter().map(|file| &file.path);
    found.faults.extend(
        collisions(paths).into_iter().map(|(one, other)| format!("`{one}` and `{other}` are one name on many systems")),
    );
    if !found.faults.is_empty() {
        return Err(refused(path, &found.faults));
    }
    let known = known?;
    let mut files = found.files;
    for file in &mut files {
        file.sha256 = known.get(&file.local).filter(|(stat, _)| *stat == file.stat).map(|(_, sha256)| *sha256);
    }
    if files.is_empty() {
        return Err(Error::usage(format!("{} holds no files to store", path.display()))
            .hint("look at --include, --exclude and .modelkeepignore"));
    }
    Ok(Directory { root, files, empty_folders: found.folders.saturating_sub(found.filled.len()) })
}

fn refused(path: &Path, faults: &[String]) -> Error {
    let more = faults.len().saturating_sub(NAMED);
    let mut text = faults.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    if more > 0 {
        let _ = write!(text, "; and {more} more");
    }
    Error::usage(format!("{} holds what cannot be stored: {text}", path.display()))
        .hint("mend them, or leave them out with --exclude or .modelkeepignore")
}

/// What was found so far.
#[derive(Default)]
struct Found {
    faults: Vec<String>,
    files: Vec<LocalFile>,
    folders: usize,
    /// Folders that hold something.
    filled: HashSet<PathBuf>,
}

impl Found {
    fn add(&mut self, looked: Looked) {
        match looked {
            Looked::File(file) => self.files.push(file),
            Looked::Fault(fault) => self.faults.push(fault),
            Looked::Ours => {}
        }
    }
}

/// What a look at one entry gave.
enum Looked {
    File(LocalFile),
    /// Why it cannot be stored.
    Fault(String),
    /// It is no content.
    Ours,
}

/// Looks at what is at `local` and stands at `below` in the directory.
fn look(local: &Path, below: &Path) -> Looked {
    let fault = |why: &str| Looked::Fault(format!("`{}` {why}", below.to_string_lossy().escape_debug()));
    let Ok(link) = fs::symlink_metadata(local) else { return fault("went away") };
    let metadata = if link.is_symlink() {
        match fs::metadata(local) {
            Ok(target) if target.is_dir() => return fault("is a link to a directory"),
            Ok(target) => target,
            Err(_) => return fault("is a link that points nowhere"),
        }
    } else {
        link
    };
    if !metadata.is_file() {
        return fault("is no file (a pipe, a socket or a device)");
    }
    let Some(text) = below.to_str() else { return fault("has a name that is not UTF-8") };
    let text = if cfg!(windows) { text.replace('\\', "/") } else { text.to_owned() };
    if is_ours(&text, local) {
        return Looked::Ours;
    }
    match text.parse::<ContentPath>() {
        Ok(path) => Looked::File(LocalFile { path, local: local.to_owned(), stat: Stat::of(&metadata), sha256: None }),
        Err(error) => fault(error.why),
    }
}

/// Our own traces in a folder that somebody copied by hand: never content.
fn is_ours(below: &str, local: &Path) -> bool {
    let name = below.rsplit('/').next().unwrap_or(below);
    below == MARKER
        || name.starts_with(PARTIAL_PREFIX)
        || below.split('/').any(|part| part == UNSENT)
        || (below == METADATA && fs::read(local).is_ok_and(|bytes| docs::is_our_metadata(&bytes)))
}

/// Walks a directory in as many threads as help; in no order.
fn walk(root: &Path, filter: &Filter) -> Result<Found> {
    let mut builder = ignore::WalkBuilder::new(root);
    builder
        .standard_filters(false)
        .add_custom_ignore_filename(IGNORE_FILE)
        .overrides(filter.matcher(root)?)
        .follow_links(false)
        .threads(THREADS);
    let found = Mutex::new(Found::default());
    let failed = Mutex::new(None);
    builder.build_parallel().run(|| {
        Box::new(|entry| {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return ignore::WalkState::Quit;
                }
            };
            let below = entry.path().strip_prefix(root).unwrap_or(entry.path());
            if below.as_os_str().is_empty() {
                return ignore::WalkState::Continue;
            }
            let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
            let looked = (!is_dir).then(|| look(entry.path(), below));
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(parent) = below.parent().filter(|parent| !found.filled.contains(*parent)) {
                found.filled.insert(parent.to_owned());
            }
            match looked {
                Some(looked) => found.add(looked),
                None => found.folders += 1,
            }
            ignore::WalkState::Continue
        })
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let error = error.into_io_error().unwrap_or_else(|| std::io::ErrorKind::Other.into());
        return Err(modelkeep_remote::folder::failed("reading", root, error));
    }
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.filled.remove(Path::new(""));
    found.faults.sort();
    Ok(found)
}

/// The digest of a file by reading it; an error when it changes meanwhile.
pub async fn hash(file: &LocalFile, meter: Arc<dyn Meter>) -> Result<Sha256> {
    let file = file.clone();
    blocking(move || {
        let mut open = fs::File::open(&file.local).map_err(|error| failed("reading", &file.local, error))?;
        let (_, sha256) = modelkeep_remote::folder::copy::hash(&mut open, &file.local, &*meter)?;
        unchanged(&file)?;
        Ok(sha256)
    })
    .await
}

/// Does file work away from the task that waits for it.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|error| Error::internal("a file task ended badly").because(error))?
}

/// Fails when a file is no longer as it was when it was looked at. That its inode alone changed does not count: it does
/// so with every name that the file gets or loses, and a training that rotates its checkpoints takes away one of two.
/// What is stored has the digest of the bytes that were read, whatever this says.
pub fn unchanged(file: &LocalFile) -> Result<()> {
    let now = fs::metadata(&file.local).map_err(|error| failed("reading", &file.local, error))?;
    if (Stat { changed: file.stat.changed, ..Stat::of(&now) }) == file.stat {
        return Ok(());
    }
    Err(Error::conflict(format!("{} changed while it was read", file.local.display()))
        .hint("wait until it is written, then run it again; what was sent is not sent twice"))
}
