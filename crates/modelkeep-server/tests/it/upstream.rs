//! Names that are not ours, passed on from a Hub: once, checked, through the cache of Hugging Face's own programs.

use std::fs;
use std::sync::Arc;

use modelkeep_ops::cache::{evict, list};
use modelkeep_server::Options;
use modelkeep_testkit::hub;

use crate::world::{Serving, World, local, noise};

const WEIGHTS: &str = "/meta/tiny/resolve/main/model.safetensors";

/// A Hub with a repository of a large and a small file, and a server with a model of its own.
async fn passing_on() -> (World, hub::Server, Arc<Serving>) {
    passing_on_with(&[]).await
}

async fn passing_on_with(vars: &[(&str, &str)]) -> (World, hub::Server, Arc<Serving>) {
    let world = World::in_folder().await;
    world.push("banking-v1", &[("config.json", b"ours")], &[]).await;
    let root = world.folder.path().join("hub");
    for (path, content) in [
        ("meta/tiny/config.json", noise(500, 1)),
        ("meta/tiny/model.safetensors", noise(3_000_000, 2)),
        ("meta/tiny/sub/notes.txt", noise(50, 3)),
        ("banking/banking-v1/config.json", b"theirs".to_vec()),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let upstream = hub::Server::start(hub::Options { root, ..hub::Options::default() }).unwrap();
    let options = Options { upstream: Some(upstream.url().to_owned()), ..local() };
    let serving = Arc::new(world.machine_with("server", vars).serve_with(options).await);
    (world, upstream, serving)
}

fn content_calls(upstream: &hub::Server) -> usize {
    upstream.calls().iter().filter(|call| call.name == "resolve" && call.method == "GET").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_do_not_have_comes_from_the_hub_once() {
    let (world, upstream, serving) = passing_on().await;
    let head = serving.ask("HEAD", WEIGHTS, "").await;
    assert_eq!((head.status, head.header("content-length")), (200, "3000000"));
    assert_eq!((head.header("x-repo-commit").len(), content_calls(&upstream)), (40, 0));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let serving = Arc::clone(&serving);
            tokio::spawn(async move { serving.get(WEIGHTS).await })
        })
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap().body, noise(3_000_000, 2));
    }
    assert_eq!(content_calls(&upstream), 1);
    let part = serving.ask("GET", WEIGHTS, "Range: bytes=10-19\r\n").await;
    assert_eq!((part.status, part.body), (206, noise(3_000_000, 2)[10..20].to_vec()));
    let config = serving.get("/meta/tiny/resolve/main/config.json").await;
    assert_eq!(config.body, noise(500, 1));
    // Git's name for a small file, in every place that a client reads it from.
    let tree = serving.json("/api/models/meta/tiny/tree/main?recursive=true").await;
    let paths: Vec<&str> = tree.as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["config.json", "model.safetensors", "sub", "sub/notes.txt"]);
    assert_eq!(config.header("etag"), format!("\"{}\"", tree[0]["oid"].as_str().unwrap()));
    assert_eq!(head.header("etag"), format!("\"{}\"", tree[1]["lfs"]["oid"].as_str().unwrap()));
    let info = serving.json("/api/models/meta/tiny?blobs=true").await;
    assert_eq!((&info["id"], &info["sha"]), (&"meta/tiny".into(), &head.header("x-repo-commit").into()));
    assert_eq!(serving.json("/api/models/meta/tiny/refs").await["branches"][0]["name"], "main");
    // It is where Hugging Face's own programs look for it.
    let cached = world.folder.path().join("server/.cache/huggingface/hub/models--meta--tiny");
    let snapshot = cached.join("snapshots").join(head.header("x-repo-commit"));
    assert_eq!(fs::read(snapshot.join("model.safetensors")).unwrap(), noise(3_000_000, 2));
    assert_eq!(fs::read_to_string(cached.join("refs/main")).unwrap(), head.header("x-repo-commit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_hub_what_was_fetched_is_served() {
    let (world, upstream, serving) = passing_on().await;
    assert!(serving.get(WEIGHTS).await.is_good());
    let options = Options { upstream: Some(upstream.url().to_owned()), ..local() };
    upstream.stop();
    // One that has asked nothing yet.
    let later = world.machine_with("server", &[("MODELKEEP_TESTING", "1"), ("MODELKEEP_RETRY_BASE_MS", "1")]);
    let later = later.serve_with(options).await;
    assert_eq!(later.get(WEIGHTS).await.body, noise(3_000_000, 2));
    let other = later.get("/meta/tiny/resolve/main/config.json").await;
    assert_eq!(other.status, 503, "{}", other.text());
    assert_eq!(later.get("/banking/banking-v1/resolve/main/config.json").await.text(), "ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_names_come_first_and_gaps_are_told_as_the_hub_does() {
    let (_world, upstream, serving) = passing_on().await;
    assert_eq!(serving.get("/banking/banking-v1/resolve/main/config.json").await.text(), "ours");
    for (path, code) in [
        ("/meta/tiny/resolve/main/no.json", "EntryNotFound"),
        ("/meta/tiny/resolve/main/..%2f..%2fetc%2fpasswd", "EntryNotFound"),
        ("/meta/tiny/resolve/no-such/config.json", "RevisionNotFound"),
        ("/meta/none/resolve/main/config.json", "RepoNotFound"),
        ("/no--name/x/resolve/main/config.json", "RepoNotFound"),
    ] {
        let reply = serving.get(path).await;
        assert_eq!((reply.status, reply.header("x-error-code")), (404, code), "{path}");
        assert_eq!(reply.header("x-repo-commit").len(), if code == "EntryNotFound" { 40 } else { 0 });
    }
    upstream.fault("gated:1").unwrap();
    let gated = serving.get("/meta/tiny/resolve/main/config.json").await;
    assert_eq!((gated.status, gated.header("x-error-code")), (403, "GatedRepo"), "{}", gated.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_of_the_hub_never_look_complete() {
    let (world, upstream, serving) = passing_on().await;
    upstream.fault("wrong-bytes:1").unwrap();
    for path in [WEIGHTS, "/meta/tiny/resolve/main/config.json"] {
        let reply = serving.get(path).await;
        assert!(!reply.is_good(), "{path}: {} {}", reply.status, reply.body.len());
    }
    let blobs = world.folder.path().join("server/.cache/huggingface/hub/models--meta--tiny/blobs");
    assert_eq!(fs::read_dir(blobs).unwrap().count(), 0);
    upstream.clear_faults();
    assert_eq!(serving.get(WEIGHTS).await.body, noise(3_000_000, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cache_holds_is_checked_too() {
    let (world, upstream, serving) = passing_on().await;
    assert!(serving.get(WEIGHTS).await.is_good());
    let sha256 = serving.ask("HEAD", WEIGHTS, "").await.header("etag").trim_matches('"').to_owned();
    let blob = world.folder.path().join("server/.cache/huggingface/hub/models--meta--tiny/blobs").join(sha256);
    let mut spoilt = noise(3_000_000, 2);
    spoilt[5] ^= 1;
    fs::write(&blob, spoilt).unwrap();
    assert!(!serving.get(WEIGHTS).await.is_good());
    assert_eq!(serving.get(WEIGHTS).await.body, noise(3_000_000, 2));
    assert_eq!(content_calls(&upstream), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_on_counts_as_used() {
    let when = "2031-05-06T07:08:09Z";
    let (world, _upstream, serving) = passing_on_with(&[("MODELKEEP_NOW", when)]).await;
    let desk = world.machine_with("server", &[("HF_HUB_OFFLINE", "1")]);
    let used = async || {
        let listed = list::list(&desk.ctx, &list::Request::default()).await.unwrap();
        listed.entries.iter().find(|entry| entry.name.starts_with("model/meta/tiny@")).and_then(|entry| entry.last_used)
    };
    assert!(serving.get(WEIGHTS).await.is_good());
    while used().await != Some(when.parse().unwrap()) {
        tokio::task::yield_now().await;
    }
    // However often it is asked for: once an hour is enough, and nobody looks for the notes meanwhile.
    let notes = world.folder.path().join("server/.cache/modelkeep/here");
    fs::remove_dir_all(&notes).unwrap();
    for _ in 0..20 {
        assert!(serving.get(WEIGHTS).await.is_good());
    }
    assert!(!notes.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_on_from_a_cache_is_no_proof_that_it_may_leave_it() {
    let (world, upstream, serving) = passing_on().await;
    assert!(serving.get(WEIGHTS).await.is_good());
    let answer = serving.get("/api/models/meta/tiny").await;
    assert_eq!(answer.header("x-modelkeep-served"), "1");
    let request = evict::Request { to: Some(modelkeep_core::size::ByteSize(0)), dry_run: true, ..Default::default() };
    for (endpoint, may) in [(format!("http://{}", serving.address), 0), (upstream.url().to_owned(), 1)] {
        let machine = world.machine_with("server", &[("HF_ENDPOINT", &endpoint)]);
        let report = evict::evict(&machine.ctx, &request).await.unwrap();
        assert_eq!(report.steps.len(), may, "{report:?}");
    }
}
