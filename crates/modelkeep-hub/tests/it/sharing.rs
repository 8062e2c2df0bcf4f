//! Several at once on one cache.

use std::fs;

use futures_util::future::join_all;
use modelkeep_hub::blob::BlobId;
use modelkeep_hub::evict;

use crate::desk::{Desk, LARGE, pattern};

const MODEL: &str = "sub/model.safetensors";

#[tokio::test(flavor = "multi_thread")]
async fn two_fetches_of_one_file_fetch_it_once() {
    let desk = Desk::new();
    let (one, other) = (desk.hub(), desk.hub());
    let both = join_all([desk.bring(&one, MODEL), desk.bring(&other, MODEL)]).await;
    let fetched: u64 = both.into_iter().map(Result::unwrap).sum();
    assert_eq!(fetched, LARGE as u64);
    assert!(desk.has(&pattern(LARGE)));
}

#[tokio::test]
async fn the_lock_is_the_one_that_others_take() {
    let desk = Desk::new();
    let hub = desk.hub();
    let (commit, tree) = desk.listed(&hub).await.unwrap();
    let (place, file) = crate::desk::place(&commit, &tree, MODEL);
    // As `filelock` does: the file, and `flock` on it.
    let locks = desk.root.join("cache/.locks/models--acme--tiny");
    fs::create_dir_all(&locks).unwrap();
    let theirs = fs::File::create(locks.join(format!("{}.lock", file.blob))).unwrap();
    theirs.lock().unwrap();
    let asked = std::sync::atomic::AtomicU32::new(0);
    let meter: std::sync::Arc<dyn modelkeep_core::meter::Meter> = std::sync::Arc::new(modelkeep_core::meter::NoMeter);
    let waiting = || {
        // Told while they have it; they are done after the second look.
        if asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1 {
            theirs.unlock().unwrap();
        }
        Ok(())
    };
    modelkeep_hub::fetch::bring(&hub, &desk.dir(), &place, &file, &meter, &waiting).await.unwrap();
    assert!(asked.load(std::sync::atomic::Ordering::SeqCst) >= 2);
    assert!(matches!(file.blob, BlobId::Lfs(_)));
}

#[tokio::test]
async fn a_repository_that_is_being_brought_is_not_evicted() {
    let desk = Desk::new();
    let hub = desk.hub();
    let (commit, tree) = desk.listed(&hub).await.unwrap();
    let (_, file) = crate::desk::place(&commit, &tree, MODEL);
    desk.bring(&hub, MODEL).await.unwrap();
    desk.dir().show(&commit, &file).unwrap();
    // Two at once, neither of which has a blob's lock just now.
    let (one, other) = (desk.dir().hold().unwrap(), desk.dir().hold().unwrap());
    let cache = desk.root.join("cache");
    let evict = || evict::remove(&cache, "models--acme--tiny", &[commit.as_str()]).unwrap();
    assert_eq!(evict(), None);
    drop(one);
    assert_eq!(evict(), None);
    assert!(desk.dir().has(&commit, &file));
    drop(other);
    assert!(evict().is_some_and(|removed| removed.whole));
}
