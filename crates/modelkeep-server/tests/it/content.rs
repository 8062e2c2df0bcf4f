//! Where content comes from: each once, checked before its end, kept within bounds.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::slow::SlowRemote;
use crate::world::{World, noise, request, until};

const WEIGHTS: &str = "/banking/banking-v1/resolve/main/weights.bin";

#[tokio::test(flavor = "multi_thread")]
async fn descriptions_touch_no_content() {
    let world = World::in_folder().await;
    world.push("banking-v1", &[("weights.bin", &noise(2_000_000, 1))], &[]).await;
    let serving = world.machine("server").serve().await;
    let before = serving.calls("read") + serving.calls("find") + serving.calls("open_local") + serving.calls("fetch");
    serving.ask("HEAD", WEIGHTS, "").await;
    serving.json("/api/models/banking/banking-v1?blobs=true").await;
    serving.json("/api/models/banking/banking-v1/tree/main?recursive=true").await;
    serving.json("/api/models").await;
    let after = serving.calls("read") + serving.calls("find") + serving.calls("open_local") + serving.calls("fetch");
    assert_eq!(before, after);
    assert_eq!(serving.get(WEIGHTS).await.body, noise(2_000_000, 1));
    assert_eq!((serving.calls("open_local"), serving.calls("fetch")), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_clients_are_one_fetch_and_follow_it() {
    let slow = SlowRemote::new();
    let world = World::on(Arc::clone(&slow) as _).await;
    let weights = noise(4_000_000, 1);
    world.push("banking-v1", &[("weights.bin", &weights)], &[]).await;
    let serving = Arc::new(world.machine("server").serve().await);
    let ask = || {
        let serving = Arc::clone(&serving);
        tokio::spawn(async move { serving.get(WEIGHTS).await })
    };
    // One that comes first gets what is there while the rest is still to come.
    let mut first = serving.connect().await;
    first.write_all(request("GET", WEIGHTS, &serving.address.to_string(), "", "").as_bytes()).await.unwrap();
    let mut beginning = vec![0; 1_000_000];
    first.read_exact(&mut beginning).await.unwrap();
    until(|| slow.halfway.load(Ordering::SeqCst) == 1).await;
    let clients: Vec<_> = (0..31).map(|_| ask()).collect();
    slow.gate.add_permits(1);
    for client in clients {
        assert_eq!(client.await.unwrap().body, weights);
    }
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&weights[3_000_000..]));
    assert_eq!(serving.calls("fetch"), 1);
    // From now on it is here.
    assert_eq!(serving.get(WEIGHTS).await.body, weights);
    assert_eq!(serving.calls("fetch"), 1);
    let text = serving.get("/metrics").await.text();
    assert!(
        text.contains("modelkeep_content_fetches_total 1") && text.contains("modelkeep_kept_bytes 4000000"),
        "{text}"
    );

    // Another server on this machine finds it too, and checks it first.
    let again = world.machine("server").serve().await;
    assert_eq!(again.get(WEIGHTS).await.body, weights);
    assert_eq!(again.calls("fetch"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_goes_on_when_its_client_leaves() {
    let slow = SlowRemote::new();
    let world = World::on(Arc::clone(&slow) as _).await;
    world.push("banking-v1", &[("weights.bin", &noise(4_000_000, 1))], &[]).await;
    let serving = world.machine("server").serve().await;
    let mut client = serving.connect().await;
    client.write_all(request("GET", WEIGHTS, &serving.address.to_string(), "", "").as_bytes()).await.unwrap();
    client.read_exact(&mut [0; 1000]).await.unwrap();
    drop(client);
    slow.gate.add_permits(1);
    assert_eq!(serving.get(WEIGHTS).await.body, noise(4_000_000, 1));
    assert_eq!(serving.calls("fetch"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_never_look_complete_and_are_not_kept() {
    let slow = SlowRemote::new();
    let world = World::on(Arc::clone(&slow) as _).await;
    let (weights, config) = (noise(4_000_000, 1), noise(1000, 2));
    world.push("banking-v1", &[("weights.bin", &weights), ("config.json", &config)], &[]).await;
    let serving = world.machine("server").serve().await;
    slow.wrong.store(true, Ordering::SeqCst);
    slow.gate.add_permits(1);
    let cut = serving.get(WEIGHTS).await;
    assert!(!cut.is_good(), "{} {}", cut.status, cut.body.len());
    // A range that ends before the wrong byte is no better.
    slow.gate.add_permits(1);
    let cut = serving.ask("GET", WEIGHTS, "Range: bytes=0-2999999\r\n").await;
    assert!(!cut.is_good(), "{} {}", cut.status, cut.body.len());
    // Of a small file nothing has gone out yet when it is known.
    let refused = serving.get("/banking/banking-v1/resolve/main/config.json").await;
    assert!(
        refused.status == 502 && refused.text().contains("modelkeep verify"),
        "{} {}",
        refused.status,
        refused.text()
    );

    slow.wrong.store(false, Ordering::SeqCst);
    slow.gate.add_permits(1);
    assert_eq!(serving.get(WEIGHTS).await.body, weights);
    assert_eq!(serving.get("/banking/banking-v1/resolve/main/config.json").await.body, config);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_in_a_folder_are_found_and_another_push_helps() {
    let world = World::in_folder().await;
    let weights = noise(3_000_000, 1);
    world.push("banking-v1", &[("weights.bin", &weights)], &[]).await;
    let serving = world.machine("server").serve().await;
    assert_eq!(serving.get(WEIGHTS).await.body, weights);
    // Somebody writes into it after it was found to be good.
    let mut spoilt = weights.clone();
    spoilt[2_999_999] ^= 1;
    fs::write(world.shown("banking-v1", "weights.bin"), &spoilt).unwrap();
    let cut = serving.get(WEIGHTS).await;
    assert!(!cut.is_good(), "{} {}", cut.status, cut.body.len());
    let text = serving.get("/metrics").await.text();
    assert!(text.contains("modelkeep_content_damaged_total 1"), "{text}");
    // The same content, pushed again, stands elsewhere.
    world.push("banking-v9", &[("weights.bin", &weights)], &[]).await;
    while serving.get(WEIGHTS).await.body != weights {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_is_an_error_that_names_it() {
    let world = World::in_folder().await;
    world.push("banking-v1", &[("weights.bin", &noise(2_000_000, 1))], &[]).await;
    let serving = world.machine("server").serve().await;
    fs::remove_file(world.shown("banking-v1", "weights.bin")).unwrap();
    let reply = serving.get(WEIGHTS).await;
    assert!(reply.status == 502 && reply.text().contains("weights.bin"), "{} {}", reply.status, reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_stays_within_its_size() {
    let slow = SlowRemote::new();
    slow.gate.add_permits(100);
    let world = World::on(Arc::clone(&slow) as _).await;
    for n in 1..=3 {
        world.push(&format!("banking-v{n}"), &[("weights.bin", &noise(4_000_000, n))], &[]).await;
    }
    let machine = world.machine_with("server", &[("MODELKEEP_SERVE_CACHE", "9MB")]);
    let serving = machine.serve().await;
    for n in [1, 2, 3, 3] {
        let reply = serving.get(&format!("/banking/banking-v{n}/resolve/main/weights.bin")).await;
        assert_eq!(reply.body, noise(4_000_000, n));
    }
    assert_eq!(serving.calls("fetch"), 3);
    assert!(serving.get("/metrics").await.text().contains("modelkeep_kept_bytes 8000000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_moves_is_still_served() {
    let world = World::in_folder().await;
    let weights = noise(2_000_000, 1);
    let first = world.push("banking-v1", &[("weights.bin", &weights)], &[]).await;
    let serving = world.machine("server").serve().await;
    let path = format!("/banking/banking-v1/resolve/{}/weights.bin", first.revision);
    assert_eq!(serving.get(&path).await.body, weights);
    // The next push takes its place; it goes to `.modelkeep/versions`.
    world.push("banking-v1", &[("weights.bin", &noise(2_000_000, 2))], &[]).await;
    let reply = serving.get(&path).await;
    assert_eq!(reply.body, weights);
}
