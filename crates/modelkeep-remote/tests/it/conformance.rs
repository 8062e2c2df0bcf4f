//! The conformance suite, run on every backend of ours, and on broken ones to see that it notices.

use std::sync::Arc;

use async_trait::async_trait;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::folder::{FolderOptions, FolderRemote};
use modelkeep_remote::layer::{Call, Hook, Layer, Trace};
use modelkeep_remote::memory::{MemoryRemote, Profile};
use modelkeep_remote::{PointerKind, Remote, conformance};
use tempfile::TempDir;

use crate::path;

async fn conforms(remote: impl Remote + 'static) {
    let scratch = TempDir::new().unwrap();
    if let Err(failures) = conformance::run(Arc::new(remote), scratch.path()).await {
        panic!("{failures}");
    }
}

async fn folder_conforms(options: FolderOptions) {
    let root = TempDir::new().unwrap();
    conforms(FolderRemote::open(root.path(), options).unwrap()).await;
    let left: Vec<_> = root.path().read_dir().unwrap().map(|item| item.unwrap().file_name()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[tokio::test]
async fn memory_like_a_folder() {
    let remote = MemoryRemote::new(Profile::folder());
    conforms(remote.clone()).await;
    assert!(remote.snapshot().is_empty());
}

#[tokio::test]
async fn memory_like_drive() {
    for seed in 0..3 {
        conforms(MemoryRemote::new(Profile::drive(seed))).await;
    }
}

#[tokio::test]
async fn memory_without_anything() {
    let mut profile = Profile::folder();
    let can = &mut profile.capabilities;
    (can.copies, can.exchange, can.pointers) = (false, false, PointerKind::File);
    conforms(MemoryRemote::new(profile)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_with_all_the_system_has() {
    folder_conforms(FolderOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_with_hard_links_only() {
    folder_conforms(FolderOptions {
        rename_noreplace: false,
        exchange: false,
        reflink: false,
        ..FolderOptions::default()
    })
    .await;
}

/// As on a FUSE mount.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_with_nothing() {
    let nothing = FolderOptions {
        symlinks: false,
        hard_links: false,
        link_copies: false,
        rename_noreplace: false,
        exchange: false,
        reflink: false,
        now: None,
        write_back: true,
        simulated: true,
    };
    folder_conforms(nothing).await;
}

#[tokio::test]
async fn it_stays_in_the_folder_it_was_given() {
    let remote = MemoryRemote::new(Profile::folder());
    crate::write(&remote, "mine", b"kept", modelkeep_remote::Mode::New).await.unwrap();
    let trace = Arc::new(Trace::default());
    let layered = Layer::wrap(Arc::new(remote.clone()), Arc::<Trace>::clone(&trace));
    let scratch = TempDir::new().unwrap();
    conformance::run_below(layered, &path("test/here"), scratch.path()).await.unwrap();
    for call in trace.calls().iter().filter(|call| call.writes() && !call.path.as_str().is_empty()) {
        for path in std::iter::once(&call.path).chain(&call.to) {
            assert!(path.below(&crate::path("test/here")).is_some(), "{call}");
        }
    }
    assert_eq!(remote.snapshot().len(), 3, "mine, test, test/here");
}

/// Says no to every call of one method.
#[derive(Debug)]
struct Without(&'static str);

#[async_trait]
impl Hook for Without {
    async fn before(&self, call: &Call) -> Result<()> {
        if call.method == self.0 { Err(Error::new(Kind::Unavailable, "broken")) } else { Ok(()) }
    }
}

#[tokio::test]
async fn it_notices_a_broken_method_and_names_the_checks() {
    let methods = [
        ("now", "time_is_the_stores_own"),
        ("list", "lists_direct_children_only"),
        ("find", "reads_back_what_was_written"),
        ("read", "reads_back_what_was_written"),
        ("fetch", "fetches_all_of_it"),
        ("write", "new_never_replaces"),
        ("copy", "copies_are_files_of_their_own"),
        ("rename", "rename_never_replaces"),
        ("exchange", "exchange_swaps_two_folders"),
        ("create_dir", "folders_are_made_on_the_way"),
        ("point", "point_where_they_should"),
        ("delete", "delete_takes_all_of_it"),
        ("flush", "flushes_what_was_written"),
        ("usage", "flushes_what_was_written"),
    ];
    for (method, check) in methods {
        let memory = Arc::new(MemoryRemote::new(Profile::folder()));
        let scratch = TempDir::new().unwrap();
        let broken = Layer::wrap(memory, Arc::new(Without(method)));
        let failures = conformance::run(broken, scratch.path()).await.unwrap_err();
        assert!(failures.lines().any(|line| line.starts_with(check)), "{method}: {failures}");
        assert!(conformance::names().any(|name| name == check));
    }
}
