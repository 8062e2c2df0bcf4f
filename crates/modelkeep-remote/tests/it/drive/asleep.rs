//! A laptop that sleeps in the middle of a large upload: its sockets are dead when it wakes, its token has ended, and the
//! upload session still lives.

use std::fs::File;
use std::future::pending;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use modelkeep_core::Result;
use modelkeep_remote::Remote as _;
use modelkeep_remote::drive::auth::{Auth, Token, TokenSource};
use modelkeep_remote::drive::{DriveRemote, Options, Secret};
use modelkeep_testkit::drive::{Options as Fake, Server};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::{HOUR, SCOPE, options, pattern, send};
use crate::object;

/// What stands between a laptop and Google, and forgets its connections while it sleeps: nobody is told, and what is
/// sent over them goes nowhere.
struct Way {
    /// Where it leads to.
    to: OnceLock<SocketAddr>,
    /// It has slept so often.
    slept: AtomicU32,
    /// Bytes that went up.
    up: AtomicU64,
    /// It falls asleep when so many did.
    awake_until: u64,
    asleep: Box<dyn Fn() + Send + Sync>,
}

impl Way {
    async fn carry(self: Arc<Self>, listener: TcpListener) {
        while let Ok((near, _)) = listener.accept().await {
            let Some(to) = self.to.get() else { continue };
            let Ok(far) = TcpStream::connect(to).await else { continue };
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            let born = self.slept.load(Ordering::SeqCst);
            tokio::spawn(Arc::clone(&self).pass(near_in, far_out, born, true));
            tokio::spawn(Arc::clone(&self).pass(far_in, near_out, born, false));
        }
    }

    async fn pass(self: Arc<Self>, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, born: u32, up: bool) {
        let mut buffer = vec![0; 256 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let before = if up { self.up.fetch_add(length as u64, Ordering::SeqCst) } else { 0 };
            if up && before < self.awake_until && before + length as u64 >= self.awake_until {
                self.slept.fetch_add(1, Ordering::SeqCst);
                (self.asleep)();
            }
            if self.slept.load(Ordering::SeqCst) != born {
                // Open for ever, and dead.
                return pending().await;
            }
            if to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    }
}

/// A login whose tokens are good for an hour.
#[derive(Debug)]
struct Hourly(Arc<Server>, Arc<AtomicU32>);

#[async_trait]
impl TokenSource for Hourly {
    async fn token(&self) -> Result<Token> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let token = self.0.token("me@example.com", "client", SCOPE, HOUR);
        // By the laptop's clocks it is still good: they stood still, or are wrong.
        Ok(Token { secret: Secret::new(token), lifetime: None })
    }
}

/// A file of that size which hardly takes room: holes, and something in between.
fn sparse(scratch: &TempDir, size: u64) -> PathBuf {
    let path = scratch.path().join("large");
    let file = File::create(&path).unwrap();
    file.set_len(size).unwrap();
    let mark = pattern(700_001);
    (0..16).for_each(|nth| file.write_all_at(&mark, nth * size / 17).unwrap());
    path
}

fn same(one: &Path, other: &Path, size: u64) -> bool {
    let (one, other) = (File::open(one).unwrap(), File::open(other).unwrap());
    let (mut a, mut b) = (vec![0; 700_001], vec![0; 700_001]);
    (0..16).all(|nth| {
        one.read_exact_at(&mut a, nth * size / 17).unwrap();
        other.read_exact_at(&mut b, nth * size / 17).unwrap();
        a == b
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hours_in_the_middle_of_an_upload() {
    // The whole 13 GB take a minute: with `cargo xtask test --full`.
    let full = std::env::var_os("MODELKEEP_TEST_FULL").is_some();
    let size = if full { 13_000_000_000 } else { 100_000_000 };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = Arc::new(Server::start(Fake { url: Some(url), ..Fake::default() }).unwrap());
    let laptop = Arc::clone(&server);
    let way = Arc::new(Way {
        to: OnceLock::from(server.address().trim_start_matches("http://").parse::<SocketAddr>().unwrap()),
        slept: AtomicU32::new(0),
        up: AtomicU64::new(0),
        awake_until: size / 2,
        asleep: Box::new(move || laptop.advance(2 * HOUR)),
    });
    tokio::spawn(Arc::clone(&way).carry(listener));

    let asked = Arc::new(AtomicU32::new(0));
    let auth = Auth::new(Hourly(Arc::clone(&server), Arc::clone(&asked)));
    let patient = Options { stall: Duration::from_secs(3), ..options(&server) };
    let remote = DriveRemote::create(patient, auth, "Banking LLM").await.unwrap();
    let scratch = TempDir::new().unwrap();
    let from = sparse(&scratch, size);
    server.clear_calls();
    let written = send(&remote, "large", from.clone()).await.unwrap();
    assert_eq!((written.size, way.slept.load(Ordering::SeqCst)), (size, 1));

    let calls = server.calls();
    let named = |name: &str| calls.iter().filter(|call| call.name == name).count();
    assert_eq!(named("upload.create"), 1, "one session");
    assert!(named("upload.probe") > 0 && calls.iter().any(|call| call.status == 401), "{calls:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 2, "one new token");
    // What was on its way when it fell asleep, in the sockets' buffers, goes once more.
    let again = way.up.load(Ordering::SeqCst) - size;
    assert!(again < if full { 256 << 20 } else { 32 << 20 }, "{again} bytes went up twice");

    let found = remote.find(&object("large")).await.unwrap().unwrap();
    assert_eq!((found.size, found.sha256), (size, Some(written.sha256)));
    if !full {
        let to = scratch.path().join("back");
        let fetched = remote.fetch(&object("large"), &to, Arc::new(modelkeep_remote::NoMeter)).await.unwrap();
        assert_eq!(fetched.sha256, written.sha256);
        assert!(same(&from, &to, size));
    }
}
