//! Bringing files: in ranges, resumed, onto a full disk.

use std::fs;
use std::sync::{Arc, Mutex};

use modelkeep_core::Kind;
use modelkeep_hub::download::PIECE;

use crate::desk::{Desk, LARGE, Stopping, pattern};

const MODEL: &str = "sub/model.safetensors";

#[tokio::test]
async fn a_large_file_comes_in_ranges_and_a_small_one_at_once() {
    let desk = Desk::new();
    let hub = desk.hub();
    desk.bring(&hub, MODEL).await.unwrap();
    desk.bring(&hub, "config.json").await.unwrap();
    let ranges: Vec<_> =
        desk.server.calls().into_iter().filter(|call| call.name == "resolve").map(|call| call.range).collect();
    assert_eq!(ranges.iter().flatten().count(), 3, "{ranges:?}");
    assert_eq!(ranges.last(), Some(&None), "{ranges:?}");
    assert_eq!(desk.bring(&hub, MODEL).await.unwrap(), 0, "what is here is not asked for again");
}

#[tokio::test]
async fn what_came_before_an_interruption_is_not_fetched_again() {
    let desk = Desk::new();
    let hub = desk.hub();
    let stopped = desk.bring_with(&hub, MODEL, Arc::new(Stopping(Mutex::new(PIECE + 1)))).await;
    assert_eq!(stopped.unwrap_err().kind(), Kind::Interrupted);
    let left: Vec<_> = fs::read_dir(desk.dir().root().join("blobs")).unwrap().flatten().collect();
    assert_eq!(left.len(), 1);
    let have = left[0].metadata().unwrap().len();
    assert!(have > PIECE && have < LARGE as u64, "{have}");
    assert_eq!(fs::read(left[0].path()).unwrap(), pattern(LARGE)[..usize::try_from(have).unwrap()]);
    // As another process would: nothing is known but what lies there.
    assert_eq!(desk.bring(&desk.hub(), MODEL).await.unwrap(), LARGE as u64 - have);
    assert!(desk.has(&pattern(LARGE)));
}

#[tokio::test]
async fn a_wrong_beginning_is_thrown_away() {
    let desk = Desk::new();
    let hub = desk.hub();
    let (commit, tree) = desk.listed(&hub).await.unwrap();
    let (_, file) = crate::desk::place(&commit, &tree, MODEL);
    desk.dir().prepare().unwrap();
    for left in [vec![7; 100_000], vec![7; LARGE + 1], vec![7; LARGE]] {
        fs::write(desk.dir().incomplete(&file.blob), left).unwrap();
        desk.bring(&hub, MODEL).await.unwrap();
        assert!(desk.has(&pattern(LARGE)));
        fs::remove_file(desk.dir().blob(&file.blob)).unwrap();
    }
}

/// A full disk, as far as a process can have one of its own: it may write no larger files than this.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_told_and_what_came_stays() {
    let desk = Desk::new();
    let hub = desk.hub();
    let (commit, tree) = desk.listed(&hub).await.unwrap();
    let (_, file) = crate::desk::place(&commit, &tree, MODEL);
    desk.dir().prepare().unwrap();
    // The kernel's own full device, in the place where the bytes are to go.
    std::os::unix::fs::symlink("/dev/full", desk.dir().incomplete(&file.blob)).unwrap();
    let error = desk.bring(&hub, MODEL).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Local, "{error:?}");
    assert!(error.hint_text().unwrap().contains("space"), "{error:?}");
    assert!(!desk.has(&pattern(LARGE)));
    fs::remove_file(desk.dir().incomplete(&file.blob)).unwrap();
    desk.bring(&hub, MODEL).await.unwrap();
}
