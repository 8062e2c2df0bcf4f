//! What a memory store does on top of the conformance suite: several clients, lateness, quota, clock, sinks.

use std::sync::Arc;

use bytes::Bytes;
use jiff::SignedDuration;
use modelkeep_core::Kind;
use modelkeep_core::digest::Sha256;
use modelkeep_remote::memory::{MemoryRemote, Profile};
use modelkeep_remote::{Entry, EntryKind, Inline, Mode, NoMeter, Remote, Source};
use tempfile::TempDir;

use crate::{kind, object, path, read, write};

async fn list(remote: &MemoryRemote, dir: &str) -> Vec<Entry> {
    let mut entries = remote.list(&path(dir), Inline::No).await.unwrap();
    entries.sort_by(|a, b| (&a.path, &a.id).cmp(&(&b.path, &b.id)));
    entries
}

/// How many looks of this client miss what another has just placed.
async fn looks_missed(remote: &MemoryRemote, dir: &str, count: usize) -> usize {
    let mut missed = 0;
    while list(remote, dir).await.len() < count {
        missed += 1;
        assert!(missed < 10, "it never shows");
    }
    missed
}

#[tokio::test]
async fn others_miss_what_is_new_for_one_to_three_looks_but_find_it_by_id() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let ours = MemoryRemote::new(Profile::drive(seed));
        let theirs = ours.client(1);
        write(&ours, "file", b"x", Mode::New).await.unwrap();
        let entry = list(&ours, "").await.remove(0);
        assert_eq!(theirs.find(&object("file")).await.unwrap(), None, "a look by path misses it too");
        assert_eq!(theirs.find(&entry.object()).await.unwrap().as_ref(), Some(&entry));
        seen.insert(1 + looks_missed(&theirs, "", 1).await);
        assert_eq!(list(&theirs, "").await.len(), 1, "what was seen once stays");
        theirs.rename(&entry.object(), &path("moved")).await.unwrap();
        assert_eq!(list(&theirs, "").await[0].path, path("moved"));
        assert!((1..=3).contains(&looks_missed(&ours, "", 1).await), "what moved is late for others again");
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn a_folder_store_shows_everything_at_once() {
    let ours = MemoryRemote::new(Profile::folder());
    write(&ours, "a/file", b"x", Mode::New).await.unwrap();
    let theirs = ours.client(1);
    assert_eq!(list(&theirs, "a").await.len(), 1);
    assert_eq!(kind(write(&theirs, "a/file", b"y", Mode::New).await), Kind::Conflict);
}

#[tokio::test]
async fn equal_names_stand_together_and_a_path_means_all_of_them() {
    let ours = MemoryRemote::new(Profile::drive(7));
    let theirs = ours.client(1);
    write(&ours, "log/one", b"1", Mode::New).await.unwrap();
    write(&theirs, "log/two", b"2", Mode::New).await.unwrap();
    write(&ours, "same", b"ours", Mode::New).await.unwrap();
    write(&theirs, "same", b"theirs", Mode::New).await.unwrap();
    let snapshot = ours.snapshot();
    assert_eq!(snapshot["log"].len(), 2);
    assert_eq!(snapshot["same"].len(), 2);
    assert_eq!(list(&ours, "log").await.len(), 1, "theirs is still late");

    ours.settle();
    let names: Vec<_> = list(&ours, "log").await.iter().map(|entry| entry.name().to_owned()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(read(&ours, "log/two").await, "2");
    let roots = list(&ours, "").await;
    let logs: Vec<_> = roots.iter().filter(|entry| entry.name() == "log").collect();
    let smallest = logs.iter().filter_map(|entry| entry.id.clone()).min();
    assert_eq!(ours.create_dir(&path("log")).await.unwrap().id, smallest);
    assert_eq!(ours.find(&object("log")).await.unwrap().unwrap().id, smallest);

    write(&theirs, "log/three", b"3", Mode::New).await.unwrap();
    let three = theirs.find(&object("log/three")).await.unwrap().unwrap();
    let into = roots.iter().find(|entry| entry.id == smallest).unwrap();
    theirs.delete(&into.object()).await.unwrap();
    assert_eq!(theirs.find(&three.object()).await.unwrap(), None, "it was written to the smallest id");
    assert_eq!(list(&theirs, "log").await.len(), 1, "the other folder of that name stays");

    assert_eq!(kind(ours.delete(&object("same")).await), Kind::Conflict, "which of them?");
    assert_eq!(kind(ours.rename(&object("same"), &path("to")).await), Kind::Conflict);
    assert_eq!(kind(write(&ours, "same", b"third", Mode::New).await), Kind::Conflict);
    let same = roots.iter().find(|entry| entry.name() == "same").unwrap();
    ours.rename(&same.object(), &path("to")).await.unwrap();
    assert_eq!(ours.snapshot()["same"].len(), 1);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_store() {
    async fn run(seed: u64) -> (Vec<Entry>, Vec<usize>) {
        let ours = MemoryRemote::new(Profile::drive(seed));
        let theirs = ours.client(1);
        let mut looks = Vec::new();
        for round in 0..20 {
            write(&ours, &format!("dir/{round}"), b"x", Mode::New).await.unwrap();
            looks.push(list(&theirs, "dir").await.len());
        }
        (list(&ours, "dir").await, looks)
    }
    assert_eq!(run(1).await, run(1).await);
    assert_ne!(run(1).await, run(2).await);
}

#[tokio::test]
async fn a_fork_goes_its_own_way() {
    let ours = MemoryRemote::new(Profile::drive(3));
    write(&ours, "file", b"x", Mode::New).await.unwrap();
    let fork = ours.fork();
    assert_eq!(fork.snapshot(), ours.snapshot());
    fork.delete(&object("file")).await.unwrap();
    assert_eq!(read(&ours, "file").await, "x");
}

#[tokio::test]
async fn the_clock_is_the_stores_and_a_rename_does_not_date() {
    let remote = MemoryRemote::new(Profile::folder());
    let beginning = remote.now().await.unwrap();
    write(&remote, "file", b"x", Mode::New).await.unwrap();
    remote.advance(SignedDuration::from_hours(24 * 40));
    remote.rename(&object("file"), &path("moved")).await.unwrap();
    assert_eq!(remote.find(&object("moved")).await.unwrap().unwrap().modified, beginning);
    write(&remote, "moved", b"y", Mode::Replace).await.unwrap();
    let modified = remote.find(&object("moved")).await.unwrap().unwrap().modified;
    assert_eq!(modified.duration_since(beginning), SignedDuration::from_hours(24 * 40));
    remote.set_now(beginning);
    assert_eq!(remote.now().await.unwrap(), beginning);
}

#[tokio::test]
async fn a_full_store_refuses_and_changes_nothing() {
    let remote = MemoryRemote::new(Profile::folder()).with_quota(10);
    write(&remote, "file", b"12345678", Mode::New).await.unwrap();
    let before = remote.snapshot();
    assert_eq!(kind(write(&remote, "new/other", b"123", Mode::New).await), Kind::Quota);
    assert_eq!(kind(write(&remote, "file", b"12345678901", Mode::Replace).await), Kind::Quota);
    assert_eq!(kind(remote.copy(&object("file"), &path("copy"), Arc::new(NoMeter)).await), Kind::Quota);
    assert_eq!(remote.snapshot(), before);
    write(&remote, "file", b"1234567890", Mode::Replace).await.unwrap();
    let usage = remote.usage().await.unwrap();
    assert_eq!((usage.quota, usage.used), (Some(10), Some(10)));
}

#[tokio::test]
async fn a_sink_keeps_the_digest_of_large_files_and_the_bytes_of_small_ones() {
    let remote = MemoryRemote::new(Profile::drive(1)).discard_content();
    let scratch = TempDir::new().unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    std::fs::write(scratch.path().join("large"), &bytes).unwrap();
    let sources = [Source::File(scratch.path().join("large")), Source::Bytes(Bytes::from(bytes.clone()))];
    for (name, source) in ["file", "bytes"].into_iter().zip(sources) {
        let written = remote.write(&path(name), source, Mode::New, Arc::new(NoMeter)).await.unwrap();
        assert_eq!((written.size, written.sha256), (3_000_000, Sha256::of(&bytes)));
        let entry = remote.find(&object(name)).await.unwrap().unwrap();
        assert_eq!((entry.size, entry.sha256), (3_000_000, Some(Sha256::of(&bytes))));
        assert!(remote.read(&object(name), 0..1).await.is_err());
        let to = scratch.path().join("to");
        assert!(remote.fetch(&object(name), &to, Arc::new(NoMeter)).await.is_err());
        assert!(!to.exists());
    }
    write(&remote, "small", &bytes[..1024 * 1024], Mode::New).await.unwrap();
    assert_eq!(read(&remote, "small").await, bytes[..1024 * 1024]);
}

#[tokio::test]
async fn a_listing_brings_small_files_along() {
    let remote = MemoryRemote::new(Profile::folder());
    write(&remote, "dir/a.json", b"{}", Mode::New).await.unwrap();
    let wants = |name: &str| name.ends_with("json");
    let entries = remote.list(&path("dir"), Inline::UpTo(2, &wants)).await.unwrap();
    assert_eq!(entries[0].content.as_deref(), Some(&b"{}"[..]));
}

#[tokio::test]
async fn a_path_does_not_go_through_a_pointer() {
    let remote = MemoryRemote::new(Profile::folder());
    write(&remote, "target/file", b"x", Mode::New).await.unwrap();
    remote.point(&path("pointer"), &path("target")).await.unwrap();
    assert_eq!(remote.find(&object("pointer/file")).await.unwrap(), None);
    assert_eq!(kind(write(&remote, "pointer/new", b"x", Mode::New).await), Kind::Conflict);
    assert_eq!(kind(remote.read(&object("pointer"), 0..1).await), Kind::Integrity);
    assert_eq!(remote.snapshot()["pointer"], [(EntryKind::Pointer(Some(path("target"))), None)]);
}

#[tokio::test]
async fn the_root_stays() {
    let remote = MemoryRemote::new(Profile::folder());
    assert_eq!(kind(remote.delete(&object("")).await), Kind::Usage);
    assert_eq!(kind(remote.rename(&object(""), &path("a")).await), Kind::Usage);
    assert_eq!(kind(write(&remote, "", b"x", Mode::Replace).await), Kind::Conflict);
    assert_eq!(remote.find(&object("")).await.unwrap().unwrap().kind, EntryKind::Dir);
}
