//! Each fault does what its rule says.

use std::io::Write as _;
use std::time::Duration;

use modelkeep_testkit::drive::Options;
use serde_json::json;

use crate::http::{Client, connect, read_answer, write_head};

fn names(client: &Client) -> Vec<String> {
    let list = client.get("/drive/v3/files?fields=files/name&orderBy=name").json();
    list["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_lost_response_has_been_acted_upon() {
    let client = Client::new();
    client.server.fault("lost-reply:1*1@files.create").unwrap();
    assert!(client.try_send("POST", "/drive/v3/files", &[], br#"{"name":"a"}"#).is_err());
    assert_eq!(names(&client), ["a"]);
    assert_eq!(client.server.calls()[0].status, 0);
    assert_eq!(client.server.calls()[0].fault.as_deref(), Some("lost-reply"));
}

#[test]
fn refusals_are_not_acted_upon() {
    let client = Client::new();
    for (rule, possible) in
        [("429*6", &[429][..]), ("403rate*6", &[403]), ("503*6", &[503]), ("5xx*6", &[500, 502, 503, 504])]
    {
        client.server.fault(rule).unwrap();
        for _ in 0..6 {
            let answer = client.send("POST", "/drive/v3/files", &[], br#"{"name":"a"}"#);
            assert!(possible.contains(&answer.status), "{rule}: {}", answer.status);
            if answer.status < 500 {
                let reason = answer.reason().1;
                assert!(["rateLimitExceeded", "userRateLimitExceeded"].contains(&reason.as_str()), "{reason}");
                assert_eq!(answer.json()["error"]["errors"][0]["domain"], "usageLimits");
            }
        }
    }
    assert_eq!(names(&client), [""; 0]);
}

#[test]
fn bodies_are_cut_both_ways() {
    let client = Client::new();
    let content = vec![7; 600_000];
    let id = client.file(&content);
    client.server.fault("cut=300000").unwrap();
    let path = format!("/drive/v3/files/{id}?alt=media");
    assert!(client.try_send("GET", &path, &[], b"").is_err());
    let part = client.send("GET", &path, &[("range", "bytes=0-299999")], b"");
    assert_eq!((part.status, part.body.len()), (206, 300_000), "what is short enough is whole");

    let start = client.send("POST", "/upload/drive/v3/files?uploadType=resumable", &[], b"{}");
    let session = start.header("location").unwrap().to_owned();
    let put = |range: &str, body: &[u8]| client.try_send("PUT", &session, &[("content-range", range)], body);
    assert!(put("bytes 0-599999/600000", &content).is_err());
    assert_eq!(put("bytes */600000", b"").unwrap().header("range"), Some("bytes=0-262143"));
    assert!(put("bytes 262144-599999/600000", &content[262_144..]).is_err());
    assert_eq!(put("bytes */600000", b"").unwrap().header("range"), Some("bytes=0-524287"));
    assert_eq!(put("bytes 524288-599999/600000", &content[524_288..]).unwrap().status, 200);
}

#[test]
fn a_stalled_request_is_silent() {
    let client = Client::new();
    let id = client.file(&vec![7; 1000]);
    client.server.clear_calls();
    client.server.fault("stall:1*20@files.download").unwrap();
    let (mut silent, mut half) = (0, 0);
    for _ in 0..20 {
        let mut stream = connect(client.server.url());
        let bearer = format!("Bearer {}", client.token);
        let path = format!("/drive/v3/files/{id}?alt=media");
        write_head(&mut stream, "GET", &path, &[("authorization", &bearer)], 0).unwrap();
        stream.flush().unwrap();
        // It would be silent for longer; nothing depends on how long this waits.
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut bytes = Vec::new();
        let error = std::io::Read::read_to_end(&mut stream, &mut bytes).unwrap_err();
        assert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{error}");
        let kind = if bytes.is_empty() { &mut silent } else { &mut half };
        *kind += 1;
        assert!(bytes.len() < 1000);
    }
    assert!(silent > 0, "{silent} {half}");
    // One that was given up may not have come to its turn yet.
    while client.server.calls().len() < 20 {
        std::thread::yield_now();
    }
    assert_eq!(client.get(&format!("/drive/v3/files/{id}?alt=media")).body.len(), 1000);
}

#[test]
fn slow_bodies_are_whole() {
    let client = Client::new();
    client.server.fault("slow=100000000").unwrap();
    let content: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let id = client.file(&content);
    assert!(client.get(&format!("/drive/v3/files/{id}?alt=media")).body == content);
}

#[test]
fn a_token_is_good_for_so_many_requests() {
    let client = Client::new();
    client.server.fault("expire-token=2").unwrap();
    let statuses: Vec<u16> = (0..4).map(|_| client.get("/drive/v3/files").status).collect();
    assert_eq!(statuses, [200, 200, 401, 401]);
}

#[test]
fn a_session_is_gone_when_it_is_used() {
    let client = Client::new();
    let start = client.send("POST", "/upload/drive/v3/files?uploadType=resumable", &[], b"{}");
    let session = start.header("location").unwrap();
    client.server.fault("expire-session*1").unwrap();
    assert_eq!(client.send("PUT", session, &[], b"x").status, 404);
    assert_eq!(client.send("PUT", session, &[], b"x").status, 404);
}

#[test]
fn what_is_new_is_listed_late() {
    let client = Client::new();
    client.server.fault("late-list=2").unwrap();
    let id = client.send("POST", "/drive/v3/files", &[], br#"{"name":"a"}"#).json()["id"].clone();
    let seen = || names(&client).len();
    assert_eq!([seen(), seen(), seen()], [0, 0, 1]);
    client.server.fault("late-list").unwrap();
    client.server.clear_faults();
    assert_eq!(client.get(&format!("/drive/v3/files/{}", id.as_str().unwrap())).status, 200);
}

#[test]
fn one_request_is_refused_and_the_token_is_good_again() {
    let client = Client::new();
    client.server.fault("expire-token*1").unwrap();
    let answer = client.get("/drive/v3/files");
    assert_eq!(answer.reason(), (401, "authError".into()));
    assert_eq!(client.get("/drive/v3/files").status, 200);
}

#[test]
fn a_share_of_a_body_is_cut_either_way() {
    let client = Client::new();
    let content = vec![7; 100_000];
    let id = client.file(&content);
    client.server.fault("cut").unwrap();
    for _ in 0..8 {
        assert!(client.try_send("GET", &format!("/drive/v3/files/{id}?alt=media"), &[], b"").is_err());
        assert!(client.try_send("POST", "/upload/drive/v3/files?uploadType=media", &[], &content).is_err());
    }
    client.server.clear_faults();
    // Where the answer was cut, the server had acted.
    assert!((2..9).contains(&names(&client).len()), "{:?}", names(&client));
}

#[test]
fn the_same_seed_strikes_the_same_requests() {
    let run = |seed| {
        let faults = format!("429:0.2,5xx:0.2,lost-reply:0.2,seed:{seed}").parse().unwrap();
        let client = Client::with(Options { faults, ..Options::default() });
        (0..40).map(|_| client.try_send("GET", "/drive/v3/files", &[], b"").map_or(0, |answer| answer.status)).collect()
    };
    let first: Vec<u16> = run(5);
    assert_eq!(first, run(5));
    assert_ne!(first, run(6));
    assert!(first.contains(&0) && first.contains(&200));
    assert!(first.iter().any(|status| *status >= 500));
}

#[test]
fn there_is_no_room() {
    let client = Client::with(Options { quota: Some(100), ..Options::default() });
    assert_eq!(client.send("POST", "/drive/v3/files", &[], b"{}").status, 200, "an empty file needs none");
    let big = client.send("POST", "/upload/drive/v3/files?uploadType=media", &[], &[0; 101]);
    assert_eq!(big.reason(), (403, "storageQuotaExceeded".into()));
    let headers = [("x-upload-content-length", "101")];
    let start = client.send("POST", "/upload/drive/v3/files?uploadType=resumable", &headers, b"{}");
    assert_eq!(start.reason(), (403, "storageQuotaExceeded".into()));
    let id = client.file(&[0; 100]);
    let path = format!("/upload/drive/v3/files/{id}?uploadType=media&fields=size");
    assert_eq!(client.send("PATCH", &path, &[], &[1; 99]).json(), json!({ "size": "99" }), "it takes its own place");
}

#[test]
fn nonsense_is_no_rule() {
    let client = Client::new();
    let error = client.server.fault("flood:0.5").unwrap_err().to_string();
    assert!(error.contains("flood:0.5") && error.contains("lost-reply"), "{error}");
    assert!(read_answer(connect_and_ask(&client)).is_ok());
}

fn connect_and_ask(client: &Client) -> std::net::TcpStream {
    let mut stream = connect(client.server.url());
    write_head(&mut stream, "GET", "/drive/v3/about", &[], 0).unwrap();
    stream
}
