//! A large upload to Drive whose program was killed: the next run sends the rest.

use std::fs;
use std::process::Stdio;

use modelkeep_testkit::drive::Server;

use crate::gdrive::{ME, with_token};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 64 * MIB;

/// Bytes that went up in parts so far.
fn sent(server: &Server) -> u64 {
    server.calls().iter().filter(|call| call.name == "upload.chunk").map(|call| call.received).sum()
}

#[test]
fn the_rest_is_sent_by_the_next_process() {
    let (sealed, server) = with_token(ME);
    let content: Vec<u8> = (0..SIZE / 8).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    sealed.write("outputs/llama2-7b/model.bin", &content);
    sealed.ok("init --remote 'gdrive:Banking LLM'");
    server.clear_calls();

    // Slow enough that there is a middle to be killed in.
    server.fault("slow=4000000@upload.chunk").unwrap();
    let line = crate::sealed::words("push outputs/llama2-7b llama2-7b --kind base");
    let mut push = sealed.command(&line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while sent(&server) < 8 * MIB {
        std::thread::yield_now();
        assert!(push.try_wait().unwrap().is_none(), "it was over before it could be killed");
    }
    push.kill().unwrap();
    push.wait().unwrap();
    server.clear_faults();

    let (code, pushed) = sealed.json("push outputs/llama2-7b llama2-7b --kind base");
    assert_eq!((code, &pushed["number"], &pushed["confirmed"]), (0, &1.into(), &true.into()), "{pushed}");
    assert!(pushed["sent_bytes"].as_u64() < Some(SIZE - 8 * MIB + MIB), "{pushed}");
    let calls = server.calls();
    let asked = calls.iter().position(|call| call.name == "upload.probe").unwrap();
    // The dead process's last part may end after the question, with an error.
    let after = calls[asked..].iter().filter(|call| call.name == "upload.chunk" && matches!(call.status, 200 | 308));
    let after: u64 = after.map(|call| call.received).sum();
    assert!((1..=SIZE - 8 * MIB).contains(&after), "{after} of {SIZE} bytes were sent by the second process");
    let begun = calls.iter().filter(|call| call.name == "upload.create" && call.query.contains("resumable"));
    assert_eq!(begun.count(), 1, "one session");

    sealed.forget_outputs();
    sealed.ok("pull llama2-7b --to back");
    assert!(fs::read(sealed.work().join("back/model.bin")).unwrap() == content);
    sealed.ok("verify --deep");
}
