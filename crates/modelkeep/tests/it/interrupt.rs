//! Ctrl-C: answered within a second, with the command that goes on.

#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::sealed::{Sealed, words};

#[test]
fn a_push_stops_and_says_how_to_go_on() {
    let sealed = Sealed::with_store();
    let file = std::fs::File::create(sealed.work().join("big.bin")).unwrap();
    // Holes cost no disk, but hashing and copying them takes many seconds.
    file.set_len(8 << 30).unwrap();
    let line = "push big.bin big-v1 --note 'a big one' --progress json";
    let mut child = sealed.command(&words(line)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains("\"bytes\",\"name\"") && !told.contains("\"done\"") {
        assert!(stderr.read_line(&mut told).unwrap() > 0, "it ended by itself: {told}");
    }
    let pressed = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = child.wait().unwrap();
    let answered = pressed.elapsed();
    stderr.read_to_string(&mut told).unwrap();
    assert_eq!(status.code(), Some(130), "{told}");
    // Within a second, on a machine with nothing else to do; by itself it would take many.
    assert!(answered < Duration::from_secs(10), "{answered:?}");
    let again = "interrupted; run the same command again to go on: modelkeep push big.bin big-v1 --note 'a big one'";
    assert!(told.contains(again), "{told}");
    let (_, list) = sealed.json("list");
    assert_eq!(list["models"].as_array().unwrap().len(), 0);
}
