//! `modelkeep serve` as a program: its first line, its end, what it refuses to do.

#![cfg(unix)]

use std::io::{BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::gdrive::request;
use crate::sealed::{Sealed, words};

/// A server, and the lines that it prints.
fn start(sealed: &Sealed, line: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = sealed.command(&words(line)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

fn next(lines: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Asks it to stop; its exit code and what it said besides.
fn end(mut child: Child, signal: Signal) -> (Option<i32>, String) {
    kill_process(Pid::from_child(&child), signal).unwrap();
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    (child.wait().unwrap().code(), told)
}

#[test]
fn its_first_line_says_where_and_it_ends_when_asked() {
    let sealed = Sealed::with_models();
    for signal in [Signal::TERM, Signal::INT] {
        let (child, mut lines) = start(&sealed, "serve --listen 127.0.0.1:0");
        let url = next(&mut lines).strip_prefix("listening on ").unwrap().to_owned();
        let (head, body) = request("GET", &format!("{url}/banking/banking-v2/resolve/prod/eval_results.json"), "", "");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["accuracy"], 0.952);
        let (code, told) = end(child, signal);
        assert_eq!(code, Some(0), "{told}");
        assert!(
            told.contains("3 models, called banking/MODEL") && told.contains(&format!("HF_ENDPOINT={url}")),
            "{told}"
        );
    }
}

#[test]
fn with_json_every_message_is_a_line() {
    let sealed = Sealed::with_models();
    let (child, mut lines) = start(&sealed, "serve --listen 127.0.0.1:0 --json -v");
    let first: Value = serde_json::from_str(&next(&mut lines)).unwrap();
    assert_eq!((&first["event"], &first["models"]), (&"listening".into(), &3.into()));
    request("GET", &format!("{}/healthz", first["url"].as_str().unwrap()), "", "");
    let asked: Value = serde_json::from_str(&next(&mut lines)).unwrap();
    assert_eq!(
        (&asked["event"], &asked["path"], &asked["status"]),
        (&"request".into(), &"/healthz".into(), &200.into())
    );
    let (code, _) = end(child, Signal::TERM);
    assert_eq!(code, Some(0));
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("{\"event\":\"stopped\"}\n"), "{rest}");
}

#[test]
fn what_cannot_be_served_is_said_before_anything_is() {
    let sealed = Sealed::with_models();
    let open = sealed.run("serve --listen 0.0.0.0:0");
    assert_eq!(open.code, 2);
    assert!(open.stderr.contains("it needs a token") && open.stdout.is_empty(), "{}", open.stderr);
    assert_eq!(sealed.run("serve --listen nonsense").code, 2);
    assert_eq!(sealed.run("serve --listen 127.0.0.1:0 --upstream nonsense").code, 2);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = sealed.run(&format!("serve --listen {}", taken.local_addr().unwrap()));
    assert_eq!(busy.code, 8);
    assert!(busy.stderr.contains("hint: modelkeep serve --listen 127.0.0.1:0"), "{}", busy.stderr);
    assert_eq!(sealed.run("serve --remote ../nowhere --listen 127.0.0.1:0").code, 3);
}
