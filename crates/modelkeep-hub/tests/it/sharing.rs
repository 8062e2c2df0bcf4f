//! Several at once on one cache.

use std::fs;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use modelkeep_core::Error;
use modelkeep_core::meter::{Meter, NoMeter};
use modelkeep_hub::blob::BlobId;
use modelkeep_hub::evict;
use modelkeep_hub::fetch::bring;

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
    let (one, other) = (desk.dir().hold(|| Ok(())).await.unwrap(), desk.dir().hold(|| Ok(())).await.unwrap());
    let cache = desk.root.join("cache");
    let evict = || evict::remove(&cache, "models--acme--tiny", &[commit.as_str()]).unwrap();
    assert_eq!(evict(), None);
    drop(one);
    assert_eq!(evict(), None);
    assert!(desk.dir().has(&commit, &file));
    drop(other);
    assert!(evict().is_some_and(|removed| removed.whole));
}

/// Holds the writer up after its first bytes, until it is let go.
struct HoldingUp(Mutex<(Sender<()>, Receiver<()>)>);

impl Meter for HoldingUp {
    fn advance(&self, _: u64) -> ControlFlow<()> {
        let (tell, go_on) = &*self.0.lock().unwrap();
        // Both are gone when the test is done with it.
        let _ = tell.send(());
        let _ = go_on.recv();
        ControlFlow::Continue(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_keeps_its_lock_when_nobody_waits_for_it_any_more() {
    let desk = Desk::new();
    let hub = desk.hub();
    let (commit, tree) = desk.listed(&hub).await.unwrap();
    let (place, file) = crate::desk::place(&commit, &tree, MODEL);
    let ((tell, told), (let_go, go_on)) = (channel(), channel());
    let meter: Arc<dyn Meter> = Arc::new(HoldingUp(Mutex::new((tell, go_on))));
    let dir = desk.dir();
    {
        let mut bringing = Box::pin(bring(&hub, &dir, &place, &file, &meter, &|| Ok(())));
        // As where another file of the same repository fails: all others are dropped.
        let writing = tokio::task::spawn_blocking(move || told.recv().unwrap());
        tokio::select! {
            _ = &mut bringing => panic!("it is held up"),
            writing = writing => writing.unwrap(),
        }
    }
    let impatient = || Err(Error::local("somebody has it"));
    let none: Arc<dyn Meter> = Arc::new(NoMeter);
    let other = bring(&hub, &dir, &place, &file, &none, &impatient).await;
    assert_eq!(other.unwrap_err().to_string(), "somebody has it");
    drop(let_go);
    desk.bring(&hub, MODEL).await.unwrap();
    assert!(desk.has(&pattern(LARGE)));
}

/// Writes into the file that is being brought, as a program without locks would.
struct Meddling(std::path::PathBuf);

impl Meter for Meddling {
    fn advance(&self, _: u64) -> ControlFlow<()> {
        fs::File::options().append(true).open(&self.0).unwrap().write_all(b"not yours").unwrap();
        ControlFlow::Continue(())
    }
}

#[tokio::test]
async fn what_somebody_else_writes_into_a_download_does_not_get_its_name() {
    let desk = Desk::new();
    let hub = desk.hub();
    let (commit, tree) = desk.listed(&hub).await.unwrap();
    let (_, file) = crate::desk::place(&commit, &tree, MODEL);
    let meddling = Arc::new(Meddling(desk.dir().incomplete(&file.blob)));
    assert!(desk.bring_with(&hub, MODEL, meddling).await.is_err());
    assert!(!desk.has(&pattern(LARGE)));
    desk.bring(&hub, MODEL).await.unwrap();
    assert!(desk.has(&pattern(LARGE)));
}
