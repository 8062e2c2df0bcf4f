//! Bytes in and out, many at once, and what the server says of itself.

use std::io::Write as _;
use std::thread;

use modelkeep_testkit::drive::Options;
use serde_json::json;

use crate::http::{Client, connect, read_answer};

#[test]
fn a_large_file_comes_back_in_any_part() {
    let client = Client::new();
    let content: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let id = client.file(&content);
    let path = format!("/drive/v3/files/{id}?alt=media");
    assert_eq!(client.get(&path).body, content);
    for (first, last) in [(0, 0), (1, 262_144), (262_143, 262_144), (9_999_999, 19_999_999)] {
        let range = format!("bytes={first}-{last}");
        let answer = client.send("GET", &path, &[("range", &range)], b"");
        assert_eq!(answer.status, 206);
        assert_eq!(answer.header("content-range").unwrap(), format!("bytes {first}-{last}/{}", content.len()));
        assert!(answer.body == content[first..=last], "{range}");
    }
}

#[test]
fn one_id_is_won_by_one() {
    let client = Client::new();
    let ids = client.get("/drive/v3/files/generateIds?count=1").json();
    let body = json!({ "id": ids["ids"][0], "name": "a" }).to_string();
    let mut statuses: Vec<u16> = thread::scope(|scope| {
        let create = || client.send("POST", "/drive/v3/files", &[], body.as_bytes()).status;
        let racers: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);
    let list = client.get("/drive/v3/files?q=name%20%3D%20'a'").json();
    assert_eq!(list["files"].as_array().unwrap().len(), 1);
}

#[test]
fn a_name_is_won_by_everybody() {
    let client = Client::new();
    let body = json!({ "name": "models", "mimeType": "application/vnd.google-apps.folder" }).to_string();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| client.send("POST", "/drive/v3/files", &[], body.as_bytes()));
        }
    });
    let list = client.get("/drive/v3/files?q=name%20%3D%20'models'%20and%20'root'%20in%20parents").json();
    assert_eq!(list["files"].as_array().unwrap().len(), 4, "names are not unique");
}

#[test]
fn calls_are_counted() {
    let client = Client::new();
    let id = client.file(b"x");
    client.get(&format!("/drive/v3/files/{id}"));
    client.get(&format!("/drive/v3/files/{id}?alt=media"));
    client.get("/drive/v3/files?fields=");
    client.get("/drive/v3/files/nosuch");
    let calls = client.server.calls();
    let names: Vec<_> = calls.iter().map(|call| (call.name.as_str(), call.units, call.status)).collect();
    assert_eq!(
        names,
        [
            ("upload.create", 50, 200),
            ("files.get", 5, 200),
            ("files.download", 200, 200),
            ("files.list", 100, 200),
            ("files.get", 5, 404)
        ]
    );
    assert_eq!((client.server.units(), calls[0].received), (360, 1));
    client.server.clear_calls();
    assert_eq!(client.server.units(), 0);
}

#[test]
fn nothing_is_left_behind() {
    let client = Client::new();
    client.file(&vec![1; 1_000_000]);
    client.server.fault("stall:1").unwrap();
    let mut stalled = connect(client.server.url());
    stalled.write_all(b"GET /drive/v3/about HTTP/1.1\r\nhost: fake\r\n\r\n").unwrap();
    let folder = client.server.folder().to_owned();
    assert!(folder.is_dir());
    client.server.stop();
    assert!(!folder.exists());
}

#[test]
fn a_server_that_stops_breaks_its_connections() {
    let client = Client::new();
    let mut stream = connect(client.server.url());
    stream.write_all(b"GET /drive/v3/about HTTP/1.1\r\nhost: fake\r\n").unwrap();
    client.server.stop();
    assert!(read_answer(stream).is_err());
}

#[test]
fn it_can_be_reached_by_another_name() {
    let client = Client::with(Options { url: Some("https://www.googleapis.com".into()), ..Options::default() });
    assert_eq!(client.server.url(), "https://www.googleapis.com");
}

#[test]
fn the_same_seed_gives_the_same_ids() {
    let ids = |seed| {
        let client = Client::with(Options { faults: format!("seed:{seed}").parse().unwrap(), ..Options::default() });
        client.get("/drive/v3/files/generateIds?count=2").json()["ids"].clone()
    };
    assert_eq!(ids(1), ids(1));
    assert_ne!(ids(1), ids(2));
}
