//! What operations cost in calls.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use modelkeep_core::Kind;
use modelkeep_remote::drive::{Options, find_folders};
use modelkeep_remote::{Inline, Mode, NoMeter, Object, Remote};
use tempfile::TempDir;

use super::{HOUR, another, auth, local, options, root, server};
use crate::{kind, path, read, write};

/// Calls of the API since the last time.
fn calls(server: &modelkeep_testkit::drive::Server) -> Vec<String> {
    let names = server.calls().into_iter().map(|call| call.name).filter(|name| !name.starts_with("oauth")).collect();
    server.clear_calls();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_small_files_take_hardly_more_than_a_call_each() {
    let server = server();
    let remote = root(&server).await;
    let scratch = TempDir::new().unwrap();
    let files: Vec<_> = (0..300)
        .map(|number| {
            let from = local(&scratch, &number.to_string(), format!("content {number}").as_bytes());
            (path(&format!(".modelkeep/staging/txn/file-{number}")), from)
        })
        .collect();
    server.clear_calls();
    remote.write_many(files, Arc::new(NoMeter)).await.unwrap();
    remote.rename(&Object::at(path(".modelkeep/staging/txn")), &path(".modelkeep/versions/m/txn")).await.unwrap();
    let made = calls(&server);
    assert!(made.len() <= 330, "{} calls", made.len());
    assert_eq!(remote.list(&path(".modelkeep/versions/m/txn"), Inline::No).await.unwrap().len(), 300);
    assert_eq!(remote.spent().calls, server.calls().len() as u64 + made.len() as u64 + 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_are_made_once_by_many_at_once() {
    let server = server();
    let remote = root(&server).await;
    let paths: Vec<_> = (0..20).map(|number| format!("a/b/c/file-{number}")).collect();
    for result in join_all(paths.iter().map(|to| write(&remote, to, b"x", Mode::New))).await {
        result.unwrap();
    }
    let made = calls(&server).iter().filter(|name| *name == "files.create").count();
    assert_eq!(made, 1 + 3, "the root and three folders");
    assert_eq!(remote.list(&path("a/b/c"), Inline::No).await.unwrap().len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_look_costs_one_call_however_large_the_tree() {
    let server = server();
    let cache = TempDir::new().unwrap();
    let with_cache = || Options { cache: Some(cache.path().join("drive.json")), fresh: HOUR, ..options(&server) };
    let first = root(&server).await;
    write(&first, ".modelkeep/format.json", b"{\"format\": 1}", Mode::New).await.unwrap();
    for number in 0..30 {
        write(&first, &format!(".modelkeep/log/{number}.json"), b"{}", Mode::New).await.unwrap();
    }
    let wanted = |_: &str| true;
    let look = async |remote: &dyn Remote| {
        assert_eq!(read(remote, ".modelkeep/format.json").await, "{\"format\": 1}");
        let entries = remote.list(&path(".modelkeep/log"), Inline::UpTo(4096, &wanted)).await.unwrap();
        assert!(entries.iter().all(|entry| entry.content.as_deref() == Some(b"{}")));
        entries.len()
    };
    server.clear_calls();
    let cold = another(&server, first.id(), with_cache()).await;
    assert_eq!(look(&cold).await, 30);
    drop(cold);
    let made = calls(&server);
    assert!(made.len() <= 6, "{made:?}");

    let warm = another(&server, first.id(), with_cache()).await;
    assert_eq!(look(&warm).await, 30);
    assert_eq!(calls(&server), ["changes.list"]);
    drop(warm);

    write(&first, ".modelkeep/log/new.json", b"{}", Mode::New).await.unwrap();
    server.clear_calls();
    let warm = another(&server, first.id(), with_cache()).await;
    assert_eq!(look(&warm).await, 31, "a change brings what is new, with its content");
    assert_eq!(calls(&server), ["changes.list"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_of_known_files_cost_a_call_each() {
    let server = server();
    let remote = root(&server).await;
    let mut objects = Vec::new();
    for number in 0..40 {
        let name = format!("from/{number}");
        let id = write(&remote, &name, name.as_bytes(), Mode::New).await.unwrap().id;
        objects.push(Object { path: path(&name), id });
    }
    server.clear_calls();
    for (number, object) in objects.iter().enumerate() {
        let entry = remote.find(object).await.unwrap().unwrap();
        remote.copy(&entry.object(), &path(&format!("to/{number}")), Arc::new(NoMeter)).await.unwrap();
    }
    let made = calls(&server);
    assert!(made.len() <= 45, "{made:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_client_does_is_seen() {
    let server = server();
    let ours = root(&server).await;
    let quick = Options { fresh: Duration::ZERO, ..options(&server) };
    let theirs = another(&server, ours.id(), quick).await;
    let written = write(&ours, "dir/file", b"one", Mode::New).await.unwrap();
    let object = Object { path: path("dir/file"), id: written.id };
    assert_eq!(read(&theirs, "dir/file").await, "one");
    write(&ours, "dir/file", b"two", Mode::Replace).await.unwrap();
    assert_eq!(read(&theirs, "dir/file").await, "two");
    ours.rename(&Object::at(path("dir")), &path("moved/dir")).await.unwrap();
    assert_eq!(theirs.find(&Object::at(path("dir"))).await.unwrap(), None);
    let found = theirs.find(&object).await.unwrap().unwrap();
    assert_eq!(found.path, path("moved/dir/file"));
    theirs.delete(&object).await.unwrap();
    let again = another(&server, ours.id(), options(&server)).await;
    assert_eq!(again.find(&object).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_names_stand_together_and_a_path_means_all_of_them() {
    let server = server();
    let ours = root(&server).await;
    let (zero, hour) = (Duration::ZERO, Duration::from_secs(3600));
    let careful = || Options { fresh: zero, settle: hour, ..options(&server) };
    let theirs = another(&server, ours.id(), careful()).await;
    server.fault("late-list=2").unwrap();
    for (remote, content) in [(&ours, "1"), (&theirs, "2")] {
        write(remote, "same", content.as_bytes(), Mode::New).await.unwrap();
        write(remote, &format!("log/{content}"), content.as_bytes(), Mode::New).await.unwrap();
    }
    let fresh = another(&server, ours.id(), careful()).await;
    let mut entries = Vec::new();
    for _ in 0..4 {
        entries = fresh.list(&path(""), Inline::No).await.unwrap();
    }
    let all = |name: &str| entries.iter().filter(|entry| entry.name() == name).cloned().collect::<Vec<_>>();
    let (same, logs) = (all("same"), all("log"));
    assert_eq!((same.len(), logs.len()), (2, 2));
    assert_eq!(kind(fresh.delete(&Object::at(path("same"))).await), Kind::Conflict, "which of them?");
    assert_eq!(kind(fresh.rename(&Object::at(path("same")), &path("to")).await), Kind::Conflict);
    assert_eq!(kind(write(&fresh, "same", b"3", Mode::New).await), Kind::Conflict);

    let mut names = BTreeSet::new();
    for _ in 0..4 {
        let listed = fresh.list(&path("log"), Inline::No).await.unwrap();
        names = listed.iter().map(|entry| entry.name().to_owned()).collect();
    }
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["1", "2"], "a path means both folders");
    assert_eq!((read(&fresh, "log/1").await, read(&fresh, "log/2").await), ("1".into(), "2".into()));
    let smallest = logs.iter().filter_map(|entry| entry.id.clone()).min();
    assert_eq!(fresh.create_dir(&path("log")).await.unwrap().id, smallest);
    fresh.rename(&same[1].object(), &path("to")).await.unwrap();
    assert_eq!(fresh.find(&same[0].object()).await.unwrap().unwrap().path, path("same"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_of_one_name_are_all_found() {
    let server = server();
    let (one, two) = (root(&server).await, root(&server).await);
    let found = find_folders(&options(&server), auth(&server), "Banking LLM").await.unwrap();
    let mut ids = vec![one.id().to_owned(), two.id().to_owned()];
    ids.sort();
    assert_eq!(found.iter().map(|folder| folder.id.clone()).collect::<Vec<_>>(), ids);
    assert!(find_folders(&options(&server), auth(&server), "it's").await.unwrap().is_empty());
    let missing = modelkeep_remote::DriveRemote::open(options(&server), auth(&server), "nothing").await;
    assert_eq!(kind(missing), Kind::NotFound);
    assert_eq!(one.account().await.unwrap(), "me@example.com");
}
