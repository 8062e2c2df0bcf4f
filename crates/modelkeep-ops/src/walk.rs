//! How much lies below some folders: a walk over the disk by several threads.
//!
//! A file with several names counts once. No link is followed. What lies on a network or in a kernel's own file system
//! is not entered, nor is any folder twice. What may not be read is told, and the rest is counted.
//!
//! Nothing is remembered from one walk to the next: a folder's own time does not tell of a file in it that grew.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use modelkeep_hub::folder::{Folder, Kind, Stat};

/// What was counted of one kind of thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Files, each once.
    pub files: u64,
    /// Their bytes as they are read.
    pub bytes: u64,
    /// Their bytes on the disk, those of folders too.
    pub allocated: u64,
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.allocated += other.allocated;
    }
}

/// Sorts what is met into kinds, by number. It may decide by names alone: it is asked for every folder, and every file.
pub trait Sorter: Sync {
    /// How many kinds there are.
    fn kinds(&self) -> usize;

    /// The kind of a folder in one of kind `parent`; `None` to leave it out.
    fn folder(&self, parent: usize, path: &Path, name: &OsStr) -> Option<usize>;

    /// The kind of a file.
    fn file(&self, parent: usize, _name: &OsStr, _size: u64) -> usize {
        parent
    }
}

/// Everything is of one kind.
#[derive(Debug, Clone, Copy)]
pub struct All;

impl Sorter for All {
    fn kinds(&self) -> usize {
        1
    }

    fn folder(&self, parent: usize, _: &Path, _: &OsStr) -> Option<usize> {
        Some(parent)
    }
}

/// What a walk found.
#[derive(Debug, Clone, Default)]
pub struct Walked {
    /// By kind.
    pub sums: Vec<Sum>,
    /// Folders that could not be read, and why; the first few.
    pub unread: Vec<(PathBuf, String)>,
    /// How many those are in all.
    pub unread_count: u64,
}

/// So many folders that cannot be read are told by name.
const TOLD: usize = 10;

/// How much lies at a path; nothing when there is nothing.
pub fn size(path: &Path) -> Sum {
    walk(&[(path.to_owned(), 0)], &All).sums.into_iter().next().unwrap_or_default()
}

/// Walks from these folders (or files), each of the kind beside it. A root that is not there counts nothing.
pub fn walk(roots: &[(PathBuf, usize)], sorter: &impl Sorter) -> Walked {
    let shared = Shared {
        queue: Mutex::new(Queue { jobs: Vec::new(), at_work: 0 }),
        changed: Condvar::new(),
        seen: Mutex::new(HashSet::new()),
    };
    let mut first = Part::new(sorter.kinds());
    for (path, kind) in roots {
        first.root(&shared, path, *kind, sorter);
    }
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    let parts: Vec<Part> = std::thread::scope(|scope| {
        let work = || {
            let mut part = Part::new(sorter.kinds());
            part.work(&shared, sorter);
            part
        };
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        others.into_iter().filter_map(|other| other.join().ok()).chain([mine]).collect()
    });
    for part in parts {
        first.sums.iter_mut().zip(part.sums).for_each(|(sum, more)| *sum += more);
        first.unread.extend(part.unread);
        first.unread_count += part.unread_count;
    }
    first.unread.sort();
    first.unread.truncate(TOLD);
    Walked { sums: first.sums, unread: first.unread, unread_count: first.unread_count }
}

/// A folder that is open, and where it is.
struct Open {
    folder: Folder,
    path: PathBuf,
    device: u64,
}

/// A folder still to be read, by its name in another.
struct Job {
    parent: Arc<Open>,
    name: OsString,
    kind: usize,
}

struct Queue {
    jobs: Vec<Job>,
    at_work: usize,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Files with several names, and folders that were entered.
    seen: Mutex<HashSet<(u64, u64)>>,
}

impl Shared {
    fn is_new(&self, stat: &Stat) -> bool {
        // Without numbers nothing can be told apart.
        stat.inode == 0 || self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert((stat.device, stat.inode))
    }

    /// The next folder; `None` when there is none and nobody can find one any more.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = queue.jobs.pop() {
                queue.at_work += 1;
                return Some(job);
            }
            if queue.at_work == 0 {
                self.changed.notify_all();
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn add(&self, jobs: impl Iterator<Item = Job>) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).jobs.extend(jobs);
        self.changed.notify_all();
    }

    fn done(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.at_work -= 1;
        if queue.at_work == 0 && queue.jobs.is_empty() {
            self.changed.notify_all();
        }
    }
}

/// What one thread counted.
struct Part {
    sums: Vec<Sum>,
    unread: Vec<(PathBuf, String)>,
    unread_count: u64,
}

impl Part {
    fn new(kinds: usize) -> Self {
        Self { sums: vec![Sum::default(); kinds], unread: Vec::new(), unread_count: 0 }
    }

    fn root(&mut self, shared: &Shared, path: &Path, kind: usize, sorter: &impl Sorter) {
        let name = path.file_name().unwrap_or_default();
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => match Folder::open(path) {
                Ok(folder) => self.read(shared, folder, path.to_owned(), None, kind, sorter),
                Err(error) => self.cannot(path.to_owned(), &error),
            },
            Ok(metadata) => {
                let kind = sorter.file(kind, name, metadata.len());
                self.sums[kind] += Sum { files: 1, bytes: metadata.len(), allocated: metadata.len() };
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.cannot(path.to_owned(), &error),
        }
    }

    fn work(&mut self, shared: &Shared, sorter: &impl Sorter) {
        while let Some(job) = shared.next() {
            let path = job.parent.path.join(&job.name);
            // Too many folders open at once, or a file system that cannot open by descriptor: then by path.
            let opened = job.parent.folder.open_in(&job.name).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory => Err(error),
                _ => Folder::open(&path),
            });
            match opened {
                Ok(folder) => self.read(shared, folder, path, Some(job.parent.device), job.kind, sorter),
                // It went away, or became something else, while the walk was on its way.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => self.cannot(path, &error),
            }
            shared.done();
        }
    }

    fn cannot(&mut self, path: PathBuf, error: &io::Error) {
        self.unread_count += 1;
        if self.unread.len() < TOLD {
            self.unread.push((path, error.to_string()));
        }
    }

    fn read(
        &mut self,
        shared: &Shared,
        mut folder: Folder,
        path: PathBuf,
        above: Option<u64>,
        kind: usize,
        sorter: &impl Sorter,
    ) {
        let Ok(own) = folder.own_stat() else { return };
        let other_disk = above.is_some_and(|device| device != own.device);
        if other_disk && !is_local_disk(&path) || !shared.is_new(&own) {
            return;
        }
        self.sums[kind].allocated += own.allocated;
        let mut inner: Vec<(OsString, usize)> = Vec::new();
        loop {
            let name = match folder.next_name() {
                None => break,
                Some(Ok(name)) => name,
                Some(Err(error)) => {
                    self.cannot(path.clone(), &error);
                    break;
                }
            };
            if name.kind == Kind::Folder {
                if let Some(kind) = sorter.folder(kind, &path, &name.name) {
                    inner.push((name.name, kind));
                }
                continue;
            }
            let Ok(stat) = folder.stat(&name.name) else { continue };
            match stat.kind {
                Kind::Folder => {
                    if let Some(kind) = sorter.folder(kind, &path, &name.name) {
                        inner.push((name.name, kind));
                    }
                }
                _ if stat.links > 1 && !shared.is_new(&stat) => {}
                _ => {
                    let kind = sorter.file(kind, &name.name, stat.size);
                    // What a link says is no content.
                    let bytes = if stat.kind == Kind::Link { 0 } else { stat.size };
                    self.sums[kind] += Sum { files: 1, bytes, allocated: stat.allocated };
                }
            }
        }
        if inner.is_empty() {
            return;
        }
        let parent = Arc::new(Open { folder, path, device: own.device });
        shared.add(inner.into_iter().map(|(name, kind)| Job { parent: Arc::clone(&parent), name, kind }));
    }
}

/// Whether a folder that begins another file system is worth walking: neither a server's nor the kernel's own.
#[cfg(target_os = "linux")]
fn is_local_disk(path: &Path) -> bool {
    // `linux/magic.h`, and `smb2pdu.h` for the last.
    const OTHERS: [u64; 9] = [
        0x6573_5546, // FUSE
        0x6969,      // NFS
        0x517B,      // SMB
        0xFF53_4D42, // CIFS
        0xFE53_4D42, // SMB2
        0x0102_1997, // 9P
        0x9FA0,      // proc
        0x6265_6572, // sysfs
        0x0027_E0EB, // cgroup
    ];
    rustix::fs::statfs(path).is_ok_and(|stat| {
        let kind = stat.f_type.cast_unsigned() & 0xFFFF_FFFF;
        !OTHERS.contains(&kind)
    })
}

#[cfg(not(target_os = "linux"))]
fn is_local_disk(_: &Path) -> bool {
    false
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn write(path: &Path, bytes: usize) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![1; bytes]).unwrap();
    }

    #[test]
    fn a_file_counts_once_and_links_lead_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(&at("a/one"), 100);
        write(&at("a/b/two"), 1000);
        fs::hard_link(at("a/one"), at("a/b/again")).unwrap();
        // A loop, a way out, a way nowhere.
        symlink("..", at("a/b/up")).unwrap();
        symlink("/", at("a/root")).unwrap();
        symlink("nothing", at("a/lost")).unwrap();
        let sum = size(folder.path());
        assert_eq!((sum.files, sum.bytes), (5, 1100));
        // The same folder by two ways is the same folder.
        let twice = walk(&[(at("a"), 0), (at("a/b"), 0), (at("a"), 0)], &All);
        assert_eq!(twice.sums[0].bytes, sum.bytes);
        assert_eq!(size(&at("nothing here")), Sum::default());
        assert_eq!(size(&at("a/b/two")).bytes, 1000);
    }

    struct ByName;

    impl Sorter for ByName {
        fn kinds(&self) -> usize {
            2
        }

        fn folder(&self, parent: usize, _: &Path, name: &OsStr) -> Option<usize> {
            match name.to_str() {
                Some("node_modules") => Some(1),
                Some("left out") => None,
                _ => Some(parent),
            }
        }
    }

    #[test]
    fn folders_are_sorted_by_their_names_however_many_there_are() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..600 {
            write(&folder.path().join(format!("{n}/code")), 1);
            write(&folder.path().join(format!("{n}/node_modules/x/y")), 10);
        }
        write(&folder.path().join("left out/z"), 1_000_000);
        let walked = walk(&[(folder.path().to_owned(), 0)], &ByName);
        assert_eq!((walked.sums[0].bytes, walked.sums[1].bytes), (600, 6000));
        assert_eq!((walked.sums[0].files, walked.sums[1].files), (600, 600));
    }

    #[test]
    fn what_may_not_be_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("open/a"), 5);
        write(&folder.path().join("closed/b"), 7);
        fs::set_permissions(folder.path().join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
        let walked = walk(&[(folder.path().to_owned(), 0)], &All);
        fs::set_permissions(folder.path().join("closed"), fs::Permissions::from_mode(0o755)).unwrap();
        // Who may read everything has nothing to be told.
        let all = rustix::process::geteuid().is_root();
        assert_eq!((walked.sums[0].bytes, walked.unread_count), if all { (12, 0) } else { (5, 1) });
    }
}
