//! Clients that are slow, leave, ask for what is not theirs or never end.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::slow::SlowRemote;
use crate::world::{World, noise, request};

const WEIGHTS: &str = "/banking/banking-v1/resolve/main/weights.bin";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outside_a_version_is_served() {
    let world = World::in_folder().await;
    world.push("banking-v1", &[("a/weights.bin", &noise(10, 1))], &[]).await;
    std::fs::write(world.folder.path().join("store/models/finetuned/secret"), "secret").unwrap();
    let serving = world.machine("server").serve().await;
    for path in [
        "../secret",
        "%2e%2e/secret",
        "..%2fsecret",
        "a/../../secret",
        "a/%2e%2e/%2e%2e/secret",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        ".modelkeep-push.json",
        "a\\..\\..\\secret",
        "%00",
        "a/weights.bin%00",
        "a/weights.bin/",
        "./a/weights.bin",
        "%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..%5csecret",
    ] {
        let reply = serving.get(&format!("/banking/banking-v1/resolve/main/{path}")).await;
        assert_eq!((reply.status, reply.header("x-error-code")), (404, "EntryNotFound"), "{path}");
        let tree = serving.get(&format!("/api/models/banking/banking-v1/tree/main/{path}")).await;
        assert_eq!(tree.status, 404, "{path}");
    }
    for path in [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/banking/../secret/resolve/main/x",
        "/banking/..%2fsecret/resolve/main/x",
    ] {
        assert_eq!(serving.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_of_headers_is_too_much_and_hurts_nobody() {
    let world = World::in_folder().await;
    world.push("banking-v1", &[("weights.bin", &noise(10, 1))], &[]).await;
    let serving = world.machine("server").serve().await;
    let many = format!("X-Many: {}\r\n", "x".repeat(90)).repeat(10_000);
    let one = format!("X-Long: {}\r\n", "x".repeat(1 << 20));
    for headers in [many, one] {
        let reply = serving.ask("GET", WEIGHTS, &headers).await;
        assert_eq!(reply.status, 431);
    }
    assert_eq!(serving.say(b"no http at all\r\n\r\n").await.status, 400);
    let long = format!("/{}", "x".repeat(1 << 20));
    assert!(matches!(serving.get(&long).await.status, 414 | 431));
    assert_eq!(serving.get(WEIGHTS).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_gets_all_of_it_and_holds_up_nobody() {
    let world = World::in_folder().await;
    let weights = noise(8_000_000, 1);
    world.push("banking-v1", &[("weights.bin", &weights)], &[]).await;
    let serving = world.machine("server").serve().await;
    let mut slow = serving.connect().await;
    // A head that comes byte by byte.
    for byte in request("GET", WEIGHTS, &serving.address.to_string(), "", "").as_bytes() {
        slow.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut taken = vec![0; 5000];
    slow.read_exact(&mut taken).await.unwrap();
    // While it takes its time, others are served.
    for _ in 0..5 {
        assert_eq!(serving.get(WEIGHTS).await.body, weights);
    }
    loop {
        let mut piece = [0; 3001];
        match slow.read(&mut piece).await.unwrap() {
            0 => break,
            read => taken.extend(&piece[..read]),
        }
        tokio::task::yield_now().await;
    }
    assert!(taken.ends_with(&weights));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_leave_nothing_behind() {
    let world = World::in_folder().await;
    world.push("banking-v1", &[("weights.bin", &noise(8_000_000, 1))], &[]).await;
    let serving = world.machine("server").serve().await;
    for _ in 0..50 {
        let mut client = serving.connect().await;
        client.write_all(request("GET", WEIGHTS, &serving.address.to_string(), "", "").as_bytes()).await.unwrap();
        client.read_exact(&mut [0; 1000]).await.unwrap();
    }
    loop {
        let text = serving.get("/metrics").await.text();
        if text.contains("modelkeep_sending 0\n") {
            break;
        }
    }
    assert_eq!(serving.get(WEIGHTS).await.body, noise(8_000_000, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_follow_each_other_on_one_connection() {
    let world = World::in_folder().await;
    world.push("banking-v1", &[("weights.bin", &noise(100, 1))], &[]).await;
    let serving = world.machine("server").serve().await;
    let mut client = serving.connect().await;
    let host = serving.address.to_string();
    let keep = request("GET", WEIGHTS, &host, "", "").replace("Connection: close\r\n", "");
    let both = format!("{keep}{keep}{}", request("GET", WEIGHTS, &host, "", ""));
    client.write_all(both.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    client.read_to_end(&mut answers).await.unwrap();
    assert_eq!(answers.windows(15).filter(|part| *part == b"HTTP/1.1 200 OK").count(), 3);
    assert!(answers.ends_with(&noise(100, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_sent_is_finished_at_the_end() {
    let slow = SlowRemote::new();
    let world = World::on(Arc::clone(&slow) as _).await;
    let weights = noise(4_000_000, 1);
    world.push("banking-v1", &[("weights.bin", &weights)], &[]).await;
    let serving = world.machine("server").serve().await;
    let mut busy = serving.connect().await;
    busy.write_all(request("GET", WEIGHTS, &serving.address.to_string(), "", "").as_bytes()).await.unwrap();
    let mut head = [0; 15];
    busy.read_exact(&mut head).await.unwrap();
    let idle = serving.connect().await;
    let messages = Arc::clone(&serving.messages);
    let ended = serving.stop();
    crate::world::until(|| messages.lock().unwrap().iter().any(|message| message.contains("stopping"))).await;
    slow.gate.add_permits(1);
    let mut rest = Vec::new();
    busy.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&weights));
    ended.await.unwrap();
    drop(idle);
    let told = messages.lock().unwrap().clone();
    assert!(told.first().unwrap().contains(r#"{"event":"listening","url":"http://127.0.0.1:"#), "{told:?}");
    assert_eq!(told.last().unwrap(), r#"{"event":"stopped"}"#);
}
