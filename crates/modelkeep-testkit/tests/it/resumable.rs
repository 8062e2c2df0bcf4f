//! Upload sessions to the letter: <https://developers.google.com/workspace/drive/api/guides/manage-uploads>.

use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

use crate::http::{Answer, Client, connect, read_answer, request, write_head};

const STEP: usize = 256 * 1024;
const SHOW: &str = "id,name,size,sha256Checksum,mimeType";

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index * 7 % 251).unwrap()).collect()
}

fn start_with(client: &Client, headers: &[(&str, &str)]) -> String {
    let path = format!("/upload/drive/v3/files?uploadType=resumable&fields={SHOW}");
    let headers = [&[("content-type", "application/json; charset=UTF-8")], headers].concat();
    let answer = client.send("POST", &path, &headers, br#"{"name":"w"}"#);
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    let location = answer.header("location").unwrap().to_owned();
    assert!(location.starts_with(client.server.url()) && location.contains("upload_id="), "{location}");
    location
}

fn start(client: &Client) -> String {
    start_with(client, &[])
}

fn put(client: &Client, session: &str, range: &str, body: &[u8]) -> Answer {
    client.send("PUT", session, &[("content-range", range)], body)
}

/// Status and what is stored, as the `Range` header has it.
fn stored(answer: &Answer) -> (u16, Option<&str>) {
    assert!(answer.header("location").is_none(), "a 308 here is no redirection");
    (answer.status, answer.header("range"))
}

#[test]
fn parts_and_questions() {
    let client = Client::new();
    let session = start_with(&client, &[("x-upload-content-type", "application/x-w")]);
    let content = pattern(2 * STEP + 5);
    let total = content.len();
    assert_eq!(stored(&put(&client, &session, "bytes */*", b"")), (308, None));
    assert_eq!(stored(&put(&client, &session, &format!("bytes */{total}"), b"")), (308, None));
    let first = put(&client, &session, &format!("bytes 0-{}/{total}", STEP - 1), &content[..STEP]);
    assert_eq!(stored(&first), (308, Some("bytes=0-262143")));
    // rclone POSTs its parts.
    let range = format!("bytes {STEP}-{}/{total}", 2 * STEP - 1);
    let second = client.send("POST", &session, &[("content-range", &range)], &content[STEP..2 * STEP]);
    assert_eq!(stored(&second), (308, Some("bytes=0-524287")));
    let last = put(&client, &session, &format!("bytes {}-{}/{total}", 2 * STEP, total - 1), &content[2 * STEP..]);
    assert_eq!(last.status, 200);
    let file = last.json();
    assert_eq!(file["size"], total.to_string());
    assert_eq!((&file["name"], &file["mimeType"]), (&json!("w"), &json!("application/x-w")));
    let path = format!("/drive/v3/files/{}?alt=media", file["id"].as_str().unwrap());
    assert_eq!(client.get(&path).body, content);
    for range in [format!("bytes */{total}"), "bytes */*".into(), format!("bytes 0-{}/{total}", STEP - 1)] {
        let again = put(&client, &session, &range, if range.contains('*') { b"" } else { &content[..STEP] });
        assert_eq!((again.status, again.json()), (200, file.clone()), "asked after the end: {range}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let client = Client::new();
    let session = start_with(&client, &[("x-upload-content-length", "1000000")]);
    let content = pattern(1_000_000);
    let say = |range: &str, body: &[u8]| put(&client, &session, range, body).status;
    assert_eq!(say("bytes 0-262143/1000000", &content[..STEP]), 308);
    for (range, body, status) in [
        ("bytes 524288-786431/1000000", &content[2 * STEP..3 * STEP], 503),
        ("bytes 262144-362143/1000000", &content[STEP..STEP + 100_000], 400),
        ("bytes 262144-524287/1000000", &content[STEP..2 * STEP - 1], 400),
        ("bytes 262144-524287/999999", &content[STEP..2 * STEP], 400),
        ("bytes 262144-1000000/1000000", &content[STEP..], 400),
        ("bytes=262144-524287/1000000", &content[STEP..2 * STEP], 400),
        ("bytes */1000000", b"x", 400),
        ("bytes */5", b"", 400),
    ] {
        assert_eq!(say(range, body), status, "{range}");
        assert_eq!(stored(&put(&client, &session, "bytes */1000000", b"")), (308, Some("bytes=0-262143")), "{range}");
    }
    let gap = put(&client, &session, "bytes 524288-786431/1000000", &content[2 * STEP..3 * STEP]);
    assert_eq!(
        gap.text(),
        "Invalid request.  According to the Content-Range header, the upload offset is 524288 byte(s), which exceeds \
         already uploaded size of 262144 byte(s)."
    );
    // What is stored may be sent again; the server keeps what it has.
    assert_eq!(say("bytes 0-524287/1000000", &content[..2 * STEP]), 308);
    assert_eq!(say("bytes 262144-999999/1000000", &content[STEP..]), 200);
}

#[test]
fn the_server_may_keep_less_than_it_was_sent() {
    let client = Client::new();
    let session = start(&client);
    let content = pattern(600_000);
    let answer = put(&client, &session, "bytes 0-299999/*", &content[..300_000]);
    assert_eq!(stored(&answer), (308, Some("bytes=0-262143")));
    let answer = put(&client, &session, "bytes 262144-599999/600000", &content[STEP..]);
    assert_eq!((answer.status, &answer.json()["size"]), (200, &json!("600000")));
}

#[test]
fn the_whole_at_once_and_nothing_at_all() {
    let client = Client::new();
    for content in [pattern(0), pattern(1), pattern(STEP), pattern(3 * STEP + 1)] {
        let session = start(&client);
        // The URI is its own authorization.
        let answer = request(client.server.url(), "PUT", &session, &[], &content).unwrap();
        assert_eq!((answer.status, &answer.json()["size"]), (200, &json!(content.len().to_string())));
    }
    let session = start_with(&client, &[("x-upload-content-length", "5")]);
    assert_eq!(client.send("PUT", &session, &[], b"four").status, 400);
    assert_eq!(client.send("PUT", &session, &[], b"five!").status, 200);
}

#[test]
fn a_total_can_be_said_last() {
    let client = Client::new();
    let session = start(&client);
    let content = pattern(STEP);
    assert_eq!(put(&client, &session, "bytes 0-262143/*", &content).status, 308);
    let answer = put(&client, &session, "bytes */262144", b"");
    assert_eq!((answer.status, &answer.json()["size"]), (200, &json!("262144")));
}

#[test]
fn sessions_end() {
    let client = Client::new();
    let cancelled = start(&client);
    assert_eq!(client.send("DELETE", &cancelled, &[], b"").status, 499);
    assert_eq!(put(&client, &cancelled, "bytes */*", b"").status, 404);

    let (idle, used) = (start(&client), start(&client));
    client.server.advance(Duration::from_secs(6 * 24 * 3600));
    let ask = |session: &str| request(client.server.url(), "PUT", session, &[("content-range", "bytes */*")], b"");
    assert_eq!(ask(&used).unwrap().status, 308);
    client.server.advance(Duration::from_secs(2 * 24 * 3600));
    assert_eq!(ask(&used).unwrap().status, 308);
    assert_eq!(ask(&idle).unwrap().status, 404);
    // By now the token is old: one that is sent has to be good.
    assert_eq!(put(&client, &used, "bytes */*", b"").reason(), (401, "authError".into()));
}

#[test]
fn whole_steps_survive_a_broken_connection() {
    let client = Client::new();
    let session = start(&client);
    let content = pattern(4 * STEP);
    let path = session.strip_prefix(client.server.url()).unwrap();
    let mut stream = connect(client.server.url());
    let range = format!("bytes 0-{}/{}", content.len() - 1, content.len());
    write_head(&mut stream, "PUT", path, &[("content-range", &range)], content.len()).unwrap();
    stream.write_all(&content[..2 * STEP + 1000]).unwrap();
    drop(stream);
    // The server hears of it when it does.
    let kept = loop {
        let answer = put(&client, &session, &format!("bytes */{}", content.len()), b"");
        if answer.header("range").is_some_and(|range| range.len() > "bytes=0-262143".len() || range > "bytes=0-262143")
        {
            break answer.header("range").unwrap().to_owned();
        }
    };
    assert_eq!(kept, "bytes=0-524287");
    let rest = format!("bytes {}-{}/{}", 2 * STEP, content.len() - 1, content.len());
    let answer = put(&client, &session, &rest, &content[2 * STEP..]);
    assert_eq!((answer.status, &answer.json()["size"]), (200, &json!(content.len().to_string())));
}

#[test]
fn a_newer_request_takes_over_from_a_dead_one() {
    let client = Client::new();
    let session = start(&client);
    let content = pattern(2 * STEP);
    let path = session.strip_prefix(client.server.url()).unwrap();
    let mut dead = connect(client.server.url());
    write_head(&mut dead, "PUT", path, &[("content-range", "bytes 0-524287/524288")], content.len()).unwrap();
    dead.write_all(&content[..STEP + 10]).unwrap();
    while put(&client, &session, "bytes */*", b"").header("range").is_none() {}
    // Nobody closed the first one, and it will never say any more.
    let answer = put(&client, &session, "bytes 262144-524287/524288", &content[STEP..]);
    assert_eq!(answer.status, 200);
    assert_eq!(read_answer(dead).unwrap().status, 503);
}

#[test]
fn updates_have_sessions_too() {
    let client = Client::new();
    let file = client.file(b"old");
    let path = format!("/upload/drive/v3/files/{file}?uploadType=resumable&fields={SHOW}");
    let answer = client.send("PATCH", &path, &[("content-type", "application/json")], br#"{"name":"new"}"#);
    let session = answer.header("location").unwrap().to_owned();
    let before = client.get(&format!("/drive/v3/files/{file}?alt=media"));
    assert_eq!(before.body, b"old", "until the last byte is there");
    let answer = client.send("PUT", &session, &[], b"new bytes");
    assert_eq!((&answer.json()["id"], &answer.json()["name"]), (&json!(file), &json!("new")));
    assert_eq!(client.get(&format!("/drive/v3/files/{file}?alt=media")).body, b"new bytes");
}
