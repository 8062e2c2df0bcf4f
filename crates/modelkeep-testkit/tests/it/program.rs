//! `fake-drive` as a program: what other programs rely on.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::http::request;

/// A running `fake-drive`, killed if a test forgets it.
struct Program(Child, String);

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut child =
            Command::new(env!("CARGO_BIN_EXE_fake-drive")).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let url = first.trim_end().strip_prefix("listening on ").unwrap_or_else(|| panic!("{first}")).to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        Self(child, url)
    }

    fn status(&self, token: &str, path: &str) -> u16 {
        let bearer = format!("Bearer {token}");
        request(&self.1, "GET", path, &[("authorization", &bearer)], b"").unwrap().status
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const ABOUT: &str = "/drive/v3/about?fields=user";

#[test]
fn it_accepts_one_token_unless_others_are_said() {
    let program = Program::start(&["--listen", "127.0.0.1:0"]);
    assert_eq!((program.status("valid-token", ABOUT), program.status("another", ABOUT)), (200, 401));
    let program = Program::start(&["--token", "a", "--token", "b=drive.file:app-2"]);
    assert_eq!(["a", "b", "valid-token"].map(|token| program.status(token, ABOUT)), [200, 200, 401]);
    // What one client made, another sees only with the whole scope.
    let send = |token: &str, method: &str, path: &str, body: &[u8]| {
        let bearer = format!("Bearer {token}");
        request(&program.1, method, path, &[("authorization", &bearer)], body).unwrap().json()
    };
    let id = send("a", "POST", "/drive/v3/files", br#"{"name":"x"}"#)["id"].as_str().unwrap().to_owned();
    let path = format!("/drive/v3/files/{id}");
    assert_eq!(["a", "b"].map(|token| program.status(token, &path)), [200, 404]);
}

#[test]
fn its_clock_and_its_address_are_what_it_is_told() {
    let program = Program::start(&["--now", "2026-02-11T10:00:00Z", "--public-url", "http://drive.test"]);
    let bearer = [("authorization", "Bearer valid-token")];
    let made = request(&program.1, "POST", "/drive/v3/files?fields=createdTime", &bearer, b"{}").unwrap();
    assert!(made.header("date").unwrap().starts_with("Wed, 11 Feb 2026 10:0"), "{:?}", made.headers);
    assert!(made.json()["createdTime"].as_str().unwrap().starts_with("2026-02-11T10:0"));
    let start = request(&program.1, "POST", "/upload/drive/v3/files?uploadType=resumable", &bearer, b"{}").unwrap();
    assert!(start.header("location").unwrap().starts_with("http://drive.test/upload/"));
}

#[test]
fn faults_come_as_a_list_and_nonsense_is_refused() {
    let all = "429:0,403rate:0,503:0,cut:0,lost-reply:0,expire-session:0,expire-token:1,late-checksum:0,late-list:0,slow:0,\
               stall:0,seed:7";
    let program = Program::start(&["--fault", all, "--latency", "1", "--quota", "1000"]);
    assert_eq!(program.status("valid-token", ABOUT), 401);
    for arguments in [["--fault", "flood:0.1"], ["--fault", "429:x"], ["--now", "today"], ["--listen", "here"]] {
        let ran = Command::new(env!("CARGO_BIN_EXE_fake-drive")).args(arguments).output().unwrap();
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&ran.stderr).contains(arguments[1]), "{arguments:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_polite_kill_ends_it_and_what_it_kept_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let mut program = Program::start(&["--state", state]);
    let bearer = [("authorization", "Bearer valid-token")];
    let made = request(&program.1, "POST", "/drive/v3/files", &bearer, br#"{"name":"kept"}"#).unwrap();
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let killed = Command::new("kill").arg(program.0.id().to_string()).status().unwrap();
    assert!(killed.success() && program.0.wait().unwrap().success());
    let again = Program::start(&["--state", state]);
    let path = format!("/drive/v3/files/{id}?fields=name");
    assert_eq!(request(&again.1, "GET", &path, &bearer, b"").unwrap().json(), json!({ "name": "kept" }));
}
