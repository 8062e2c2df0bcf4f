//! Content that was fetched, kept on this machine up to a size; what was not used for the longest time goes first, and who
//! brings more than fits beside what others bring waits for them.
//!
//! Knows files and how full the disk is. What goes is decided in `modelkeep_core::bounded`.

use std::collections::HashMap;
use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use modelkeep_core::Result;
use modelkeep_core::bounded::{Kept, let_go};
use modelkeep_core::digest::Sha256;
use modelkeep_core::size::ByteSize;
use modelkeep_remote::folder::failed;
use tokio::sync::Notify;

use super::content::locked;
use crate::room::free_at;

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
    /// What is being brought, with the size that it will have.
    coming: Mutex<HashMap<Sha256, u64>>,
    /// Told when something of it came, or will not come.
    came: Notify,
}

/// Room for content that is being brought; it is given back when this is dropped.
#[derive(Debug)]
pub struct Slot<'a> {
    cache: &'a Cache,
    sha256: Sha256,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        locked(&self.cache.coming).remove(&self.sha256);
        self.cache.came.notify_waiters();
    }
}

impl Cache {
    /// The cache in `folder`, which is made when it is first needed.
    pub fn new(folder: PathBuf, limit: ByteSize) -> Self {
        Self { folder, limit: limit.0, used: Mutex::default(), coming: Mutex::default(), came: Notify::new() }
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

    /// Makes room for content of that size. Waits as long as it does not fit beside what others bring; what is larger than
    /// all comes alone.
    pub async fn make_room(&self, sha256: &Sha256, size: u64) -> Result<Slot<'_>> {
        fs::create_dir_all(&self.folder).map_err(|error| failed("creating", &self.folder, error))?;
        loop {
            let came = self.came.notified();
            if self.begin(sha256, size) {
                break;
            }
            came.await;
        }
        let slot = Slot { cache: self, sha256: *sha256 };
        self.touch(&format!("{sha256}{PARTIAL}"));
        let coming: HashMap<String, u64> =
            locked(&self.coming).iter().map(|(sha256, size)| (format!("{sha256}{PARTIAL}"), *size)).collect();
        let mut kept = self.kept()?;
        // Where the disk has less to give than the limit allows, that is the limit. What is missing even so others may
        // have to give up.
        let held: u64 = kept.iter().map(|one| one.size).sum();
        let room = free_at(&self.folder).map_or(u64::MAX, |free| held.saturating_add(free.saturating_sub(LEFT_FREE)));
        // What is on its way counts as all that it will be.
        kept.retain(|one| !coming.contains_key(&one.key));
        for one in let_go(kept, self.limit.min(room), coming.values().sum()) {
            // Who reads it has it open, and reads on.
            let _ = fs::remove_file(self.folder.join(&one.key));
            self.used().remove(&one.key);
        }
        Ok(slot)
    }

    /// Counts content as coming, if it fits beside what comes already.
    fn begin(&self, sha256: &Sha256, size: u64) -> bool {
        let mut coming = locked(&self.coming);
        let fits = coming.is_empty() || coming.values().sum::<u64>().saturating_add(size) <= self.limit;
        if fits {
            coming.insert(*sha256, size);
        }
        fits
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
        locked(&self.used)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn put(cache: &Cache, content: &[u8]) -> Sha256 {
        let sha256 = Sha256::of(content);
        let _slot = cache.make_room(&sha256, content.len() as u64).await.unwrap();
        fs::write(cache.partial(&sha256), content).unwrap();
        cache.keep(&sha256).unwrap();
        sha256
    }

    #[tokio::test]
    async fn what_is_on_its_way_stays_and_counts_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("cache"), ByteSize(25));
        let kept = put(&cache, &[1; 10]).await;
        let coming = Sha256::of(&[2; 15]);
        let slot = cache.make_room(&coming, 15).await.unwrap();
        fs::write(cache.partial(&coming), [2; 5]).unwrap();
        // The least recently used of all.
        cache.used().insert(format!("{coming}{PARTIAL}"), 0);
        put(&cache, &[3; 10]).await;
        assert!(cache.open(&kept).is_none() && cache.partial(&coming).exists());
        // What does not fit beside it waits for its end, and nothing goes for it before.
        let large = Sha256::of(&[4; 20]);
        let mut waiting = Box::pin(cache.make_room(&large, 20));
        let poll =
            |context: &mut std::task::Context<'_>| std::task::Poll::Ready(waiting.as_mut().poll(context).is_pending());
        assert!(std::future::poll_fn(poll).await);
        assert_eq!(cache.size(), 15);
        fs::write(cache.partial(&coming), [2; 15]).unwrap();
        cache.keep(&coming).unwrap();
        drop(slot);
        let _slot = waiting.await.unwrap();
        assert_eq!(cache.size(), 0);
    }

    #[tokio::test]
    async fn the_next_to_open_it_knows_what_was_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = || Cache::new(folder.path().join("cache"), ByteSize(25));
        let first = cache();
        let (one, two) = (put(&first, &[1; 10]).await, put(&first, &[2; 10]).await);
        let later = seconds(SystemTime::now()) + 3600;
        first.used().insert(one.to_string(), later);
        first.remember();
        let next = cache();
        put(&next, &[3; 10]).await;
        assert!(next.open(&one).is_some() && next.open(&two).is_none());
    }

    #[tokio::test]
    async fn it_stays_within_its_size_and_leaves_others_alone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("cache"), ByteSize(25));
        let (one, two) = (put(&cache, &[1; 10]).await, put(&cache, &[2; 10]).await);
        fs::write(cache.folder().join("notes.txt"), "mine").unwrap();
        // Times are told in seconds: what was used in which order is said here.
        cache.used().insert(one.to_string(), u64::MAX);
        let three = put(&cache, &[3; 10]).await;
        assert!(cache.open(&one).is_some() && cache.open(&two).is_none() && cache.open(&three).is_some());
        assert_eq!(cache.size(), 20);
        // What is larger than all drives all out, and stays until the next one comes.
        let large = put(&cache, &[4; 40]).await;
        assert!(cache.open(&one).is_none() && cache.open(&large).is_some());
        assert!(cache.folder().join("notes.txt").exists());
    }
}
