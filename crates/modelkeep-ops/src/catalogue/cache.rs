//! Content that was fetched, kept on this machine up to a size; what was not used for the longest time goes first.
//!
//! Knows files and how full the disk is. What goes is decided in `modelkeep_core::bounded`.

use std::collections::HashMap;
use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use modelkeep_core::Result;
use modelkeep_core::bounded::{Kept, let_go};
use modelkeep_core::digest::Sha256;
use modelkeep_core::size::ByteSize;
use modelkeep_remote::folder::failed;

/// Ends the name of content that is still being fetched.
const PARTIAL: &str = ".partial";
/// So much of the disk is left to others.
const LEFT_FREE: u64 = 64 << 20;

/// A folder of files that are called by the SHA-256 of their content.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    limit: u64,
    /// When each was last used, in seconds since 1970; what this process did not use has its file's time.
    used: Mutex<HashMap<String, u64>>,
}

impl Cache {
    /// The cache in `folder`, which is made when it is first needed.
    pub fn new(folder: PathBuf, limit: ByteSize) -> Self {
        Self { folder, limit: limit.0, used: Mutex::default() }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where content is when it is whole.
    pub fn whole(&self, sha256: &Sha256) -> PathBuf {
        self.folder.join(sha256.to_string())
    }

    /// Where content is while it is fetched; what an earlier fetch left there is its beginning.
    pub fn partial(&self, sha256: &Sha256) -> PathBuf {
        self.folder.join(format!("{sha256}{PARTIAL}"))
    }

    /// Content that was kept, used now.
    pub fn open(&self, sha256: &Sha256) -> Option<File> {
        let file = File::open(self.whole(sha256)).ok()?;
        self.touch(&sha256.to_string());
        Some(file)
    }

    /// Takes content away that is not what it should be.
    pub fn drop_one(&self, sha256: &Sha256) {
        let _ = fs::remove_file(self.whole(sha256));
        let _ = fs::remove_file(self.partial(sha256));
    }

    /// Makes room for content of that size, and the file it goes to.
    pub fn make_room(&self, sha256: &Sha256, size: u64) -> Result<PathBuf> {
        fs::create_dir_all(&self.folder).map_err(|error| failed("creating", &self.folder, error))?;
        let partial = self.partial(sha256);
        let own = format!("{sha256}{PARTIAL}");
        self.touch(&own);
        let mut kept = self.kept()?;
        kept.retain(|one| one.key != own);
        let held: u64 = kept.iter().map(|one| one.size).sum();
        // Where the disk has less to give than the limit allows, that is the limit. What is missing even so others may
        // have to give up.
        let room = free(&self.folder).map_or(u64::MAX, |free| held.saturating_add(free.saturating_sub(LEFT_FREE)));
        for one in let_go(kept, self.limit.min(room), size) {
            // Who reads it has it open, and reads on.
            let _ = fs::remove_file(self.folder.join(&one.key));
            self.used().remove(&one.key);
        }
        Ok(partial)
    }

    /// Content that came whole and was found to be good gets its name.
    pub fn keep(&self, sha256: &Sha256) -> Result<()> {
        let (from, to) = (self.partial(sha256), self.whole(sha256));
        fs::rename(&from, &to).map_err(|error| failed("keeping", &to, error))?;
        self.touch(&sha256.to_string());
        Ok(())
    }

    /// Tells the files when they were last used, for whoever opens this cache next: the disk may keep no access times, or
    /// one a day. Not while it is used: it changes what a file was known by.
    pub fn remember(&self) {
        for (key, used) in &*self.used() {
            let times = FileTimes::new().set_accessed(UNIX_EPOCH + Duration::from_secs(*used));
            // What is gone or not ours is none to remember.
            let _ = File::open(self.folder.join(key)).and_then(|file| file.set_times(times));
        }
    }

    /// Bytes in it.
    pub fn size(&self) -> u64 {
        self.kept().unwrap_or_default().iter().map(|one| one.size).sum()
    }

    fn kept(&self) -> Result<Vec<Kept<String>>> {
        let listing = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            listing => listing.map_err(|error| failed("listing", &self.folder, error))?,
        };
        let used = self.used();
        let kept = listing.flatten().filter_map(|entry| {
            let key = entry.file_name().into_string().ok()?;
            // What is not called as we call it is not ours to take away.
            key.trim_end_matches(PARTIAL).parse::<Sha256>().ok()?;
            let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            let written = metadata.modified().map_or(0, seconds);
            let used = used.get(&key).copied().unwrap_or_else(|| metadata.accessed().map_or(written, seconds));
            Some(Kept { key, size: metadata.len(), used: used.max(written) })
        });
        Ok(kept.collect())
    }

    fn touch(&self, key: &str) {
        self.used().insert(key.to_owned(), seconds(SystemTime::now()));
    }

    fn used(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Bytes that this user may still write where a folder is.
#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cache: &Cache, content: &[u8]) -> Sha256 {
        let sha256 = Sha256::of(content);
        let partial = cache.make_room(&sha256, content.len() as u64).unwrap();
        fs::write(partial, content).unwrap();
        cache.keep(&sha256).unwrap();
        sha256
    }

    #[test]
    fn the_next_to_open_it_knows_what_was_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = || Cache::new(folder.path().join("cache"), ByteSize(25));
        let first = cache();
        let (one, two) = (put(&first, &[1; 10]), put(&first, &[2; 10]));
        let later = seconds(SystemTime::now()) + 3600;
        first.used().insert(one.to_string(), later);
        first.remember();
        let next = cache();
        put(&next, &[3; 10]);
        assert!(next.open(&one).is_some() && next.open(&two).is_none());
    }

    #[test]
    fn it_stays_within_its_size_and_leaves_others_alone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("cache"), ByteSize(25));
        let (one, two) = (put(&cache, &[1; 10]), put(&cache, &[2; 10]));
        fs::write(cache.folder().join("notes.txt"), "mine").unwrap();
        // Times are told in seconds: what was used in which order is said here.
        cache.used().insert(one.to_string(), u64::MAX);
        let three = put(&cache, &[3; 10]);
        assert!(cache.open(&one).is_some() && cache.open(&two).is_none() && cache.open(&three).is_some());
        assert_eq!(cache.size(), 20);
        // What is larger than all drives all out, and stays until the next one comes.
        let large = put(&cache, &[4; 40]);
        assert!(cache.open(&one).is_none() && cache.open(&large).is_some());
        assert!(cache.folder().join("notes.txt").exists());
    }
}
