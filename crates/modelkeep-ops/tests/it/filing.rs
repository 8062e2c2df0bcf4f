//! What is filed and is no model: shown as plain files, never at the cost of anybody else's, and never only a copy.

use std::fs;
use std::path::Path;

use modelkeep_core::Kind;
use modelkeep_ops::{Context, adopt, file, prune, remove, repair, verify};

use crate::world::{Ground, Heard, files, push, refused, settled};

async fn store(ctx: &Context, path: &Path, to: &str) -> modelkeep_core::Result<file::push::Report> {
    let request = file::push::Request { path: path.to_owned(), to: Some(to.to_owned()), ..Default::default() };
    file::push::push(ctx, request).await
}

async fn fetch(ctx: &Context, place: &str, to: &Path) -> modelkeep_core::Result<file::pull::Report> {
    let request = file::pull::Request { place: place.to_owned(), to: Some(to.to_owned()), ..Default::default() };
    file::pull::pull(ctx, &request).await
}

#[tokio::test]
async fn versions_are_kept_and_the_same_content_is_never_sent_twice() {
    let ground = Ground::new().await;
    let ctx = ground.ctx();
    let folder = ground.ana.directory("data", &[("a.csv", b"one"), ("b.csv", b"one")]);
    let first = store(&ctx, &folder.join("a.csv"), "datasets").await.unwrap();
    assert_eq!((first.number, first.created, first.sent_bytes), (1, true, 3));
    let again = store(&ctx, &folder.join("a.csv"), "datasets").await.unwrap();
    assert_eq!((again.number, again.created, again.sent_bytes), (1, false, 0));
    // The same bytes under another name, and as part of a model, are copied on the store.
    assert_eq!(store(&ctx, &folder.join("b.csv"), "results/benchmarks").await.unwrap().sent_bytes, 0);
    assert_eq!(push(&ctx, &folder, "m-v1").await.unwrap().sent_bytes, 0);
    fs::write(folder.join("a.csv"), b"two!").unwrap();
    assert_eq!(store(&ctx, &folder.join("a.csv"), "datasets").await.unwrap().number, 2);
    assert_eq!(fs::read(ground.root.join("datasets/a.csv")).unwrap(), b"two!");
    assert_eq!(fs::read(ground.root.join("results/benchmarks/b.csv")).unwrap(), b"one");
    let to = ground.scratch.path().join("back.csv");
    fetch(&ctx, "datasets/a.csv@1", &to).await.unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"one");
    // What a pull wrote may be replaced by a pull; what somebody wrote may not.
    fetch(&ctx, "a.csv", &to).await.unwrap();
    fs::write(&to, b"mine").unwrap();
    refused(fetch(&ctx, "datasets/a.csv", &to).await, Kind::Conflict, &["back.csv"]);
    assert_eq!(fs::read(&to).unwrap(), b"mine");
    refused(fetch(&ctx, "datasets/c.csv", &to).await, Kind::NotFound, &["datasets/c.csv"]);
    settled(&ctx).await;
}

#[tokio::test]
async fn what_others_put_there_is_left_alone() {
    let ground = Ground::new().await;
    let mut ctx = ground.ctx();
    let heard = Heard::listen(&mut ctx);
    let theirs = ground.root.join("datasets/a.csv");
    fs::write(&theirs, b"theirs").unwrap();
    let folder = ground.ana.directory("data", &[("a.csv", b"ours"), ("A.csv", b"ours")]);
    refused(store(&ctx, &folder.join("a.csv"), "datasets").await, Kind::Conflict, &["datasets/a.csv"]);
    assert_eq!(fs::read(&theirs).unwrap(), b"theirs");
    // The very same content is no conflict.
    fs::write(&theirs, b"ours").unwrap();
    store(&ctx, &folder.join("a.csv"), "datasets").await.unwrap();
    refused(store(&ctx, &folder.join("A.csv"), "datasets").await, Kind::Conflict, &["datasets/a.csv"]);
    // An edit by hand of what is shown stays, and is told; what was filed can be had all the same.
    fs::write(&theirs, b"edited by hand").unwrap();
    fs::write(folder.join("a.csv"), b"newer").unwrap();
    store(&ctx, &folder.join("a.csv"), "datasets").await.unwrap();
    assert_eq!(fs::read(&theirs).unwrap(), b"edited by hand");
    assert!(heard.all().contains("datasets/a.csv was put there or changed by somebody"), "{}", heard.all());
    assert!(!verify::verify(&ctx, None, true).await.unwrap().problems.is_empty());
    remove::remove(&ctx, "datasets/a.csv", false).await.unwrap();
    assert_eq!(fs::read(&theirs).unwrap(), b"edited by hand");
    for wrong in ["models", "docs/../models", ".modelkeep"] {
        assert_eq!(store(&ctx, &folder.join("a.csv"), wrong).await.unwrap_err().kind(), Kind::Usage, "{wrong}");
    }
}

#[tokio::test]
async fn a_folder_of_small_files_goes_as_one_tar() {
    let ground = Ground::new().await;
    let ctx = ground.ctx();
    let long = format!("{}/{}.txt", "d".repeat(120), "f".repeat(120));
    let names: Vec<String> = (0..300).map(|n| format!("class-{}/{n}.txt", n % 7)).chain([long]).collect();
    let contents: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    let folder = ground.ana.directory("images", &contents);
    let request = || file::push::Request {
        path: folder.clone(),
        to: Some("datasets".to_owned()),
        pack: true,
        ..Default::default()
    };
    let report = file::push::push(&ctx, request()).await.unwrap();
    assert_eq!((report.place.as_str(), report.files), ("datasets/images.tar", 2));
    // Made again it is the same tar, so nothing is sent.
    let again = file::push::push(&ctx, request()).await.unwrap();
    assert_eq!((again.created, again.sent_bytes), (false, 0));
    // Any program unpacks what is shown.
    let plain = ground.scratch.path().join("plain");
    fs::create_dir(&plain).unwrap();
    let tar = ground.root.join("datasets/images.tar");
    let done = std::process::Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(&plain).status().unwrap();
    assert!(done.success());
    assert_eq!(files(&plain), files(&folder));
    let to = ground.scratch.path().join("back");
    let report = fetch(&ctx, "images.tar", &to).await.unwrap();
    assert_eq!((report.files, files(&to)), (301, files(&folder)));
    // A second pull finds it as it was; one that would lose somebody's file does not.
    fetch(&ctx, "images.tar", &to).await.unwrap();
    fs::write(to.join("mine.txt"), b"mine").unwrap();
    refused(fetch(&ctx, "images.tar", &to).await, Kind::Conflict, &["back"]);
    assert!(to.join("mine.txt").exists());
    settled(&ctx).await;
}

#[tokio::test]
async fn clean_up_verify_and_repair_know_it() {
    let ground = Ground::new().await;
    let ctx = ground.ctx();
    let folder = ground.ana.directory("data", &[("a.csv", b"one"), ("b.csv", b"bee")]);
    store(&ctx, &folder.join("a.csv"), "datasets").await.unwrap();
    store(&ctx, &folder.join("b.csv"), "datasets").await.unwrap();
    fs::write(folder.join("a.csv"), b"two!").unwrap();
    store(&ctx, &folder.join("a.csv"), "datasets").await.unwrap();
    // Long after, nothing of it is garbage: not even the version that is not shown.
    ground.ana.clock.advance(jiff::SignedDuration::from_hours(24 * 400));
    let pruned = prune::prune(&ctx, &prune::Request { keep: Some(1), dry_run: false }).await.unwrap();
    assert!(pruned.steps.is_empty(), "{:?}", pruned.steps);
    // A lost push comes back from the copy that is shown of it.
    fs::remove_dir_all(folder).unwrap();
    let versions = ground.root.join(".modelkeep/versions");
    let holds = |content: &[u8]| {
        let all = fs::read_dir(&versions).unwrap().flat_map(|key| fs::read_dir(key.unwrap().path()).unwrap());
        let paths: Vec<_> = all.map(|push| push.unwrap().path()).collect();
        paths.into_iter().find(|push| files(push).values().any(|bytes| bytes == content)).unwrap()
    };
    fs::remove_file(holds(b"two!").join("a.csv")).unwrap();
    let report = verify::verify(&ctx, None, false).await.unwrap();
    assert!(report.damaged());
    repair::repair(&ctx, &repair::Request::default()).await.unwrap();
    settled(&ctx).await;
    let to = ground.scratch.path().join("back.csv");
    fetch(&ctx, "a.csv", &to).await.unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"two!");
    // What is shown and went away is shown again.
    fs::remove_file(ground.root.join("datasets/b.csv")).unwrap();
    assert_eq!(verify::verify(&ctx, None, false).await.unwrap().problems.len(), 1);
    settled(&ctx).await;
    assert_eq!(fs::read(ground.root.join("datasets/b.csv")).unwrap(), b"bee");
}

#[tokio::test]
async fn a_lost_log_is_rebuilt_from_the_markers() {
    let ground = Ground::new().await;
    let ctx = ground.ctx();
    let folder = ground.ana.directory("data", &[("a.csv", b"one")]);
    store(&ctx, &folder.join("a.csv"), "datasets").await.unwrap();
    fs::write(folder.join("a.csv"), b"two!").unwrap();
    store(&ctx, &folder.join("a.csv"), "datasets").await.unwrap();
    push(&ctx, &ground.ana.directory("m", &[("model.safetensors", b"m")]), "m-v1").await.unwrap();
    drop(ctx);
    fs::remove_dir_all(ground.root.join(".modelkeep/log")).unwrap();
    let bob = crate::world::Machine::new("bob");
    let ctx = ground.of(&bob);
    adopt::adopt(&ctx, &adopt::Request { now: true, ..Default::default() }).await.unwrap();
    let listed = file::list::list(&ctx, &file::list::Request::default()).await.unwrap();
    assert_eq!((listed.files.len(), listed.files[0].revisions, listed.files[0].number), (1, 2, 2));
    let to = ground.scratch.path().join("back.csv");
    fetch(&ctx, "datasets/a.csv@1", &to).await.unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"one");
    settled(&ctx).await;
}
