//! What goes wrong, and that nothing is lost, doubled or damaged by it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use modelkeep_core::Kind;
use modelkeep_core::digest::Sha256;
use modelkeep_remote::drive::{Kept, Options, SessionKey, Sessions};
use modelkeep_remote::layer::Retry;
use modelkeep_remote::{DriveRemote, Inline, Mode, NoMeter, Object, Remote};
use modelkeep_testkit::drive::{Options as Fake, Server};
use tempfile::TempDir;

use super::{another, auth, local, options, pattern, root, send, server};
use crate::{kind, object, path, read, write};

/// A life of a few files: every kind of call, checked at the end by a client that knows nothing.
async fn live(server: &Server, remote: &DriveRemote) {
    let scratch = TempDir::new().unwrap();
    let large = pattern(3_000_000);
    let written = send(remote, "staging/large", local(&scratch, "large", &large)).await.unwrap();
    assert_eq!(written.sha256, Sha256::of(&large));
    for number in 0..6 {
        write(remote, &format!("staging/sub/{number}"), &pattern(10_000 + number), Mode::New).await.unwrap();
    }
    remote.copy(&object("staging/sub/1"), &path("staging/copy"), Arc::new(NoMeter)).await.unwrap();
    remote.rename(&object("staging"), &path("versions/m/txn")).await.unwrap();
    write(remote, "docs/registry.json", b"{\"one\":1}", Mode::New).await.unwrap();
    write(remote, "docs/registry.json", b"{\"two\":2}", Mode::Replace).await.unwrap();
    remote.point(&path("latest"), &path("versions/m")).await.unwrap();
    remote.point(&path("latest"), &path("versions/m/txn")).await.unwrap();
    remote.delete(&object("versions/m/txn/sub/5")).await.unwrap();
    let to = scratch.path().join("to");
    let fetched = remote.fetch(&object("versions/m/txn/large"), &to, Arc::new(NoMeter)).await.unwrap();
    assert_eq!(fetched.sha256, Sha256::of(&large));
    assert!(std::fs::read(&to).unwrap() == large);

    server.clear_faults();
    let fresh = another(server, remote.id(), options(server)).await;
    let names = async |dir: &str| {
        let mut names: Vec<_> =
            fresh.list(&path(dir), Inline::No).await.unwrap().iter().map(|entry| entry.name().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names("").await, ["docs", "latest", "versions"]);
    assert_eq!(names("docs").await, ["registry.json"]);
    assert_eq!(names("versions/m/txn").await, ["copy", "large", "sub"]);
    assert_eq!(names("versions/m/txn/sub").await, ["0", "1", "2", "3", "4"]);
    assert_eq!(read(&fresh, "docs/registry.json").await, "{\"two\":2}");
    assert!(read(&fresh, "versions/m/txn/copy").await == pattern(10_001));
}

async fn survives(faults: &[&str], seed: u64) {
    let server = Server::start(Fake { faults: format!("seed:{seed}").parse().unwrap(), ..Fake::default() }).unwrap();
    let stall = Duration::from_millis(700);
    let some = Options { resumable_from: 1 << 20, piece: 400_000, stall, ..options(&server) };
    let remote = DriveRemote::create(some, auth(&server), "Banking LLM").await.unwrap();
    for fault in faults {
        server.fault(fault).unwrap();
    }
    live(&server, &remote).await;
}

macro_rules! survives {
    ($($name:ident: $($fault:literal),+;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            survives(&[$($fault),+], 7).await;
        }
    )+};
}

survives! {
    refusals_for_speed: "429:0.1", "403rate:0.1";
    errors_of_the_server: "5xx:0.2";
    answers_that_are_lost: "lost-reply:0.2";
    cut_connections: "cut=100000:0.3";
    connections_cut_anywhere: "cut:0.1";
    tokens_that_end: "expire-token:0.2";
    dead_sockets: "stall:0.05";
    sessions_that_end: "expire-session*2";
    late_checksums: "late-checksum=2";
    short_pages: "short-page:0.5";
    all_at_once: "429:0.05", "5xx:0.05", "lost-reply:0.05", "cut=300000:0.1", "late-checksum=1", "short-page:0.3";
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixtures() {
    // More of them: MODELKEEP_SEEDS=300 cargo test -p modelkeep-remote mixtures
    let seeds = std::env::var("MODELKEEP_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    for seed in 0..seeds {
        println!("seed {seed}");
        let faults =
            ["429:0.05", "5xx:0.05", "lost-reply:0.08", "cut=200000:0.1", "expire-session:0.05*2", "stall:0.004"];
        survives(&faults, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_drive_says_so_and_nothing_half_made_stays() {
    let server = Server::start(Fake { quota: Some(1_000_000), ..Fake::default() }).unwrap();
    let remote = root(&server).await;
    let scratch = TempDir::new().unwrap();
    for size in [2_000_000, 6_000_000] {
        let error = send(&remote, "dir/large", local(&scratch, "large", &pattern(size))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Quota, "{error:?}");
        assert!(error.hint_text().is_some());
    }
    assert!(remote.list(&path("dir"), Inline::No).await.unwrap().is_empty());
    assert_eq!(remote.usage().await.unwrap().quota, Some(1_000_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_does_not_go_away_is_an_error_in_the_end() {
    let server = server();
    let few = Options { retry: Retry { attempts: 3, base: Duration::from_millis(1) }, ..options(&server) };
    let remote = DriveRemote::create(few, auth(&server), "r").await.unwrap();
    server.fault("5xx").unwrap();
    server.clear_calls();
    assert_eq!(kind(remote.usage().await), Kind::Unavailable);
    assert_eq!(server.calls().len(), 3);
}

/// Kept in memory, as the journal keeps them on disk.
#[derive(Debug, Default)]
struct Journal(Mutex<HashMap<SessionKey, Kept>>);

impl Sessions for Journal {
    fn find(&self, key: &SessionKey) -> Option<Kept> {
        self.0.lock().unwrap().get(key).cloned()
    }

    fn keep(&self, key: &SessionKey, kept: &Kept) {
        self.0.lock().unwrap().insert(key.clone(), kept.clone());
    }

    fn forget(&self, key: &SessionKey) {
        self.0.lock().unwrap().remove(key);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_goes_on_with_an_upload() {
    let server = server();
    let journal = Arc::new(Journal::default());
    let sessions: Arc<dyn Sessions> = Arc::<Journal>::clone(&journal);
    let few = Retry { attempts: 1, base: Duration::ZERO };
    let some = Options { sessions: Arc::clone(&sessions), retry: few, ..options(&server) };
    let first = DriveRemote::create(some, auth(&server), "r").await.unwrap();
    first.create_dir(&path("dir")).await.unwrap();
    let scratch = TempDir::new().unwrap();
    let bytes = pattern(20_000_000);
    let from = local(&scratch, "large", &bytes);
    server.fault("cut=5000000*1@upload.chunk").unwrap();
    assert_eq!(kind(send(&first, "dir/large", from.clone()).await), Kind::Unavailable);
    assert_eq!(journal.0.lock().unwrap().len(), 1);
    assert!(format!("{journal:?}").contains("***"), "the address is a secret");
    let second = another(&server, first.id(), Options { sessions, ..options(&server) }).await;
    server.clear_calls();
    let done = send(&second, "dir/large", from).await.unwrap();
    assert_eq!(done.sha256, Sha256::of(&bytes));
    assert!(journal.0.lock().unwrap().is_empty());
    let sent: u64 = server.calls().iter().map(|call| call.received).sum();
    assert!(sent < 17_000_000, "{sent} bytes were sent again");
    assert!(read(&second, "dir/large").await == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_goes_on_where_it_broke() {
    let server = server();
    let few = Retry { attempts: 2, base: Duration::ZERO };
    let remote = DriveRemote::create(Options { retry: few, piece: 1 << 20, ..options(&server) }, auth(&server), "r");
    let remote = remote.await.unwrap();
    let scratch = TempDir::new().unwrap();
    let bytes = pattern(10_000_000);
    send(&remote, "large", local(&scratch, "large", &bytes)).await.unwrap();
    let to = scratch.path().join("to");
    server.fault("5xx:0.4@files.download").unwrap();
    let mut rounds = 0;
    loop {
        rounds += 1;
        match remote.fetch(&object("large"), &to, Arc::new(NoMeter)).await {
            Ok(fetched) => break assert_eq!(fetched.sha256, Sha256::of(&bytes)),
            Err(error) => assert_eq!(error.kind(), Kind::Unavailable, "{error:?}"),
        }
        let have = std::fs::read(&to).unwrap();
        assert!(have == bytes[..have.len()], "the local file is a beginning of the remote one");
        assert!(rounds < 200);
    }
    assert!(std::fs::read(&to).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_listings_do_not_hide_what_is_known_by_id() {
    let server = server();
    let ours = root(&server).await;
    let theirs = another(&server, ours.id(), options(&server)).await;
    server.fault("late-list=100").unwrap();
    let written = write(&ours, "dir/file", b"x", Mode::New).await.unwrap();
    assert_eq!(ours.list(&path("dir"), Inline::No).await.unwrap().len(), 1);
    let by_id = Object { path: path("somewhere"), id: written.id };
    assert_eq!(theirs.find(&by_id).await.unwrap().unwrap().path, path("dir/file"));
}
