//! Drive against a fake one: the conformance suite, faults, calls and tokens.

#[cfg(unix)]
mod asleep;
mod calls;
mod faults;
mod logins;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use modelkeep_remote::drive::auth::{Auth, Fixed};
use modelkeep_remote::drive::{DriveRemote, Endpoints, Options, Secret};
use modelkeep_remote::layer::Retry;
use modelkeep_remote::{NoMeter, Remote, Source, conformance};
use modelkeep_testkit::drive::{Options as Fake, Server};
use tempfile::TempDir;

use crate::path;

const SCOPE: &str = "https://www.googleapis.com/auth/drive";
const HOUR: Duration = Duration::from_secs(3600);

fn server() -> Server {
    Server::start(Fake::default()).unwrap()
}

/// Quick where the real ones would wait.
fn options(server: &Server) -> Options {
    Options {
        endpoints: Endpoints::all_at(server.url()),
        retry: Retry { attempts: 12, base: Duration::from_millis(1) },
        stall: Duration::from_secs(30),
        settle: Duration::ZERO,
        ..Options::default()
    }
}

fn auth(server: &Server) -> Auth {
    Auth::new(Fixed(Secret::new(server.token("me@example.com", "client", SCOPE, HOUR))))
}

async fn root(server: &Server) -> DriveRemote {
    DriveRemote::create(options(server), auth(server), "Banking LLM").await.unwrap()
}

/// Another client on the same folder.
async fn another(server: &Server, id: &str, options: Options) -> DriveRemote {
    DriveRemote::open(options, auth(server), id).await.unwrap()
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| u32::try_from(at).unwrap().wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

fn local(scratch: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let file = scratch.path().join(name);
    std::fs::write(&file, bytes).unwrap();
    file
}

async fn send(remote: &dyn Remote, to: &str, from: PathBuf) -> modelkeep_core::Result<modelkeep_remote::Written> {
    remote.write(&path(to), Source::File(from), modelkeep_remote::Mode::New, Arc::new(NoMeter)).await
}

async fn conforms(options: Options, server: &Server) {
    let remote = DriveRemote::create(options, auth(server), "Banking LLM").await.unwrap();
    let scratch = TempDir::new().unwrap();
    if let Err(failures) = conformance::run(Arc::new(remote), scratch.path()).await {
        panic!("{failures}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drive_conforms() {
    let server = server();
    conforms(options(&server), &server).await;
}

/// Everything in sessions and small ranges, nothing relied on that was seen before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drive_conforms_in_parts_without_memory() {
    let server = server();
    let small = Options { resumable_from: 1, piece: 100_000, fresh: Duration::ZERO, settle: HOUR, ..options(&server) };
    conforms(small, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drive_conforms_in_a_shared_drive() {
    let server = server();
    let owner = auth(&server);
    let drive = server.shared_drive("Team", "me@example.com").unwrap();
    let remote = DriveRemote::open(options(&server), owner, &drive).await.unwrap();
    let scratch = TempDir::new().unwrap();
    conformance::run(Arc::new(remote), scratch.path()).await.unwrap();
}
