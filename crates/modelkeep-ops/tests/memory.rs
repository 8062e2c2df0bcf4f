//! How much memory a push takes, in a process of its own: that of one file of any size is flat.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test, a panic is the message")]
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "the world of the other tests, of which this one needs little")]
#[path = "it/world.rs"]
mod world;

use std::fs;
use std::sync::Arc;

use modelkeep_remote::memory::Profile;
use modelkeep_remote::{MemoryRemote, Remote};

/// The most that this process ever had in memory, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// 2 GiB here; 20 GiB where the long tests run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_file_of_any_size_is_pushed_in_flat_memory() {
    let full = std::env::var_os("MODELKEEP_TEST_FULL").is_some();
    let size: u64 = if full { 20 << 30 } else { 2 << 30 };
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("run");
    fs::create_dir(&dir).unwrap();
    // Sparse: it takes no disk, and reading it is reading all of it.
    fs::File::create(dir.join("model.bin")).unwrap().set_len(size).unwrap();
    let sink: Arc<dyn Remote> = Arc::new(MemoryRemote::new(Profile::folder()).discard_content());
    let machine = world::Machine::new("ana");
    let format = machine.init(&sink).await;
    let report = world::push(&machine.context(&sink, &format, None, None), &dir, "m-v1").await.unwrap();
    assert_eq!(report.sent_bytes, size);
    let peak = peak();
    assert!(peak < 32 << 10, "{peak} KiB");
}
