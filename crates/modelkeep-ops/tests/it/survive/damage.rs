//! Markers that are gone or lie, files that are gone or are others, state that was copied or deleted.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use modelkeep_core::Kind;
use modelkeep_ops::verify::ProblemKind;
use modelkeep_ops::{Context, repair, verify};
use modelkeep_remote::layer::{Fault, Strike};

use crate::world::{Ground, Machine, copy_folder, files, pull, push, refused, settled, snapshot};

const V1: [(&str, &[u8]); 2] = [("weights.safetensors", b"the same"), ("notes.txt", b"one")];
const V2: [(&str, &[u8]); 2] = [("weights.safetensors", b"the same"), ("notes.txt", b"two")];

async fn problems(ctx: &Context, deep: bool) -> Vec<(ProblemKind, String)> {
    let report = verify::verify(ctx, None, deep).await.unwrap();
    report.problems.into_iter().map(|problem| (problem.kind, problem.path)).collect()
}

/// A tree with two pushes of one model that share a file.
async fn two_pushes() -> Ground {
    let ground = Ground::new().await;
    push(&ground.ctx(), &ground.ana.directory("v1", &V1), "m-v1").await.unwrap();
    push(&ground.ctx(), &ground.ana.directory("v2", &V2), "m-v1").await.unwrap();
    ground
}

async fn both_come_back(ground: &Ground, machine: &Machine) {
    let ctx = ground.of(machine);
    for (number, content) in [(1, V1), (2, V2)] {
        let to = machine.home.path().join("back");
        pull(&ctx, &format!("m-v1@{number}"), &to).await.unwrap();
        let wanted = content.map(|(path, bytes)| (path.to_owned(), bytes.to_vec()));
        assert_eq!(files(&to), wanted.into());
        fs::remove_dir_all(to).unwrap();
    }
}

#[tokio::test]
async fn a_marker_that_is_gone_or_torn_is_named_and_written_again() {
    for torn in [None, Some("{"), Some("")] {
        let ground = two_pushes().await;
        let marker = ground.root.join("models/finetuned/m-v1/.modelkeep-push.json");
        let before = fs::read(&marker).unwrap();
        match torn {
            None => fs::remove_file(&marker).unwrap(),
            Some(text) => fs::write(&marker, text).unwrap(),
        }
        let found = problems(&ground.ctx(), false).await;
        let path = "models/finetuned/m-v1/.modelkeep-push.json".to_owned();
        let kind = if torn.is_some() { ProblemKind::Corrupt } else { ProblemKind::Missing };
        assert!(found.contains(&(kind, path)), "{torn:?}: {found:?}");
        // Another machine does not need it either: the log says what the folder holds.
        let ben = Machine::new("ben");
        repair::repair(&ground.of(&ben), &repair::Request::default()).await.unwrap();
        assert_eq!(fs::read(&marker).unwrap(), before, "{torn:?}");
        assert_eq!(problems(&ground.ctx(), true).await, []);
        both_come_back(&ground, &ben).await;
    }
}

/// Changes bytes without changing the size, and says nothing.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 0xff;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_found_brought_back_and_kept_aside() {
    let ground = two_pushes().await;
    let file = ground.root.join("models/finetuned/m-v1/weights.safetensors");
    damage(&file);
    let broken = fs::read(&file).unwrap();
    assert_eq!(
        problems(&ground.ctx(), false).await,
        [(ProblemKind::Corrupt, "models/finetuned/m-v1/weights.safetensors".to_owned())]
    );
    // A pull takes the same content from where it is whole.
    both_come_back(&ground, &Machine::new("ben")).await;
    // A plan first, that changes nothing.
    let before = ground.seen();
    let plan = repair::repair(&ground.ctx(), &repair::Request { dry_run: true, ..Default::default() }).await.unwrap();
    assert!(plan.steps.iter().any(|step| step.reason.contains("weights.safetensors is damaged")), "{:?}", plan.steps);
    assert_eq!(ground.seen(), before);
    repair::repair(&ground.ctx(), &repair::Request::default()).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"the same");
    assert!(ground.seen().values().any(|bytes| *bytes == broken), "what was damaged is kept");
    assert_eq!(problems(&ground.ctx(), true).await, []);
    assert_eq!(problems(&ground.ctx(), false).await, []);
}

#[tokio::test]
async fn a_damaged_file_that_stands_nowhere_else_comes_from_a_local_copy_or_is_named() {
    let ground = two_pushes().await;
    let file = ground.root.join("models/finetuned/m-v1/notes.txt");
    damage(&file);
    let before = ground.seen();
    let ben = Machine::new("ben");
    let report = repair::repair(&ground.of(&ben), &repair::Request::default()).await.unwrap();
    assert!(report.left.iter().any(|left| left.contains("models/finetuned/m-v1/notes.txt")), "{:?}", report.left);
    assert_eq!(ground.seen(), before, "what cannot be mended stays as it is");
    let to = ben.home.path().join("back");
    refused(pull(&ground.of(&ben), "m-v1", &to).await, Kind::Integrity, &["m-v1@2", "notes.txt"]);
    assert!(!to.exists());
    // The directory that was pushed is still here. (Digests of files that were just written are not trusted, so it is
    // read first.)
    push(&ground.ctx(), &ground.ana.home.path().join("dirs/v2"), "m-v1").await.unwrap();
    repair::repair(&ground.ctx(), &repair::Request::default()).await.unwrap();
    let mended = fs::read(&file).unwrap() == b"two";
    if !mended {
        // Too young to be trusted even then: a push of the same content to another model gives the bytes.
        push(&ground.ctx(), &ground.ana.home.path().join("dirs/v2"), "other").await.unwrap();
        repair::repair(&ground.ctx(), &repair::Request::default()).await.unwrap();
    }
    assert_eq!(fs::read(&file).unwrap(), b"two");
    assert_eq!(problems(&ground.ctx(), true).await, []);
}

#[tokio::test]
async fn rot_that_left_no_trace_is_found_by_reading_and_then_mended() {
    let ground = two_pushes().await;
    let file = ground.root.join("models/finetuned/m-v1/weights.safetensors");
    let times = fs::FileTimes::new().set_modified(fs::metadata(&file).unwrap().modified().unwrap());
    damage(&file);
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_times(times).unwrap();
    assert_eq!(problems(&ground.ctx(), false).await, []);
    let path = "models/finetuned/m-v1/weights.safetensors".to_owned();
    assert_eq!(problems(&ground.ctx(), true).await, [(ProblemKind::Corrupt, path)]);
    repair::repair(&ground.ctx(), &repair::Request::default()).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"the same", "repair does what verify said it would");
    assert_eq!(problems(&ground.ctx(), true).await, []);
}

#[tokio::test]
async fn missing_and_extra_files_are_told_apart() {
    let ground = two_pushes().await;
    let folder = ground.root.join("models/finetuned/m-v1");
    fs::remove_file(folder.join("weights.safetensors")).unwrap();
    fs::write(folder.join("scribbles.txt"), "whose?").unwrap();
    let mut found = problems(&ground.ctx(), false).await;
    found.sort_by_key(|(_, path)| path.clone());
    assert_eq!(
        found,
        [
            (ProblemKind::Extra, "models/finetuned/m-v1/scribbles.txt".to_owned()),
            (ProblemKind::Missing, "models/finetuned/m-v1/weights.safetensors".to_owned()),
        ]
    );
    repair::repair(&ground.ctx(), &repair::Request::default()).await.unwrap();
    assert_eq!(fs::read(folder.join("weights.safetensors")).unwrap(), b"the same");
    assert!(ground.seen().values().any(|bytes| bytes == b"whose?"), "an extra file is somebody's");
    // It is not pulled, and does not come along when the push moves on.
    both_come_back(&ground, &Machine::new("ben")).await;
}

#[tokio::test]
async fn a_push_folder_that_is_gone_is_named() {
    let ground = two_pushes().await;
    fs::remove_dir_all(ground.root.join("models/finetuned/m-v1")).unwrap();
    let ben = Machine::new("ben");
    let report = repair::repair(&ground.of(&ben), &repair::Request::default()).await;
    if let Ok(report) = report {
        assert!(report.left.iter().any(|left| left.contains("m-v1@2")), "{:?}", report.left);
    }
    let to = ben.home.path().join("back");
    refused(pull(&ground.of(&ben), "m-v1@2", &to).await, Kind::Integrity, &["m-v1@2"]);
    assert!(!to.exists());
    pull(&ground.of(&ben), "m-v1@1", &to).await.unwrap();
    assert!(verify::verify(&ground.of(&ben), None, false).await.unwrap().damaged());
}

#[tokio::test]
async fn a_marker_that_tries_to_escape_is_named_and_writes_nothing() {
    // So many files that the event leaves the list to the marker.
    let names: Vec<String> = (0..100).map(|n| format!("shard-{n:05}.bin")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    for (few, escape) in [(true, "../../escaped"), (false, "../../escaped"), (false, "/var/modelkeep-escaped")] {
        let ground = Ground::new().await;
        let content = if few { &many[..2] } else { &many[..] };
        push(&ground.ctx(), &ground.ana.directory("run", content), "m-v1").await.unwrap();
        let marker = ground.root.join("models/finetuned/m-v1/.modelkeep-push.json");
        let text = fs::read_to_string(&marker).unwrap();
        fs::write(&marker, text.replace("\"shard-00001.bin\"", &format!("\"{escape}\""))).unwrap();
        let ben = Machine::new("ben");
        let before = (ground.seen(), snapshot(ben.home.path()).into_keys().collect::<Vec<_>>());
        let to = ben.home.path().join("a/b/back");
        refused(
            pull(&ground.of(&ben), "m-v1", &to).await,
            Kind::Integrity,
            &["m-v1", "models/finetuned/m-v1/.modelkeep-push.json", escape],
        );
        assert!(
            !to.exists() && !ben.home.path().join("escaped").exists() && !Path::new("/var/modelkeep-escaped").exists()
        );
        assert_eq!(ground.seen(), before.0);
        let written: Vec<String> =
            snapshot(ben.home.path()).into_keys().filter(|path| !path.starts_with("state/")).collect();
        assert_eq!(written, Vec::<String>::new());
        let report = verify::verify(&ground.of(&ben), None, false).await.unwrap();
        assert!(report.problems.iter().any(|problem| problem.path.contains("m-v1")), "{:?}", report.problems);
    }
}

#[tokio::test]
async fn two_processes_with_a_copied_state_both_finish() {
    // After a stop in each phase: while sending, before the move, between move and event, after the event.
    let mut calls = 0;
    for at in 1.. {
        let ground = Ground::new().await;
        push(&ground.ctx(), &ground.ana.directory("v1", &V1), "m-v1").await.unwrap();
        let dir = ground.ana.directory("v2", &V2);
        let fault = Arc::new(Fault::at_call(at, Strike::After));
        let stopped = push(&ground.hooked(fault.clone()), &dir, "m-v1").await;
        if stopped.is_ok() {
            break;
        }
        let copy = Machine::new("copy");
        copy_folder(&ground.ana.home.path().join("state"), &copy.home.path().join("state"));
        let (one, two) = (ground.ctx(), ground.of(&copy));
        let (one, two) = tokio::join!(push(&one, &dir, "m-v1"), push(&two, &dir, "m-v1"));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one.revision, two.revision, "stopped at {at}");
        both_come_back(&ground, &Machine::new("ben")).await;
        settled(&ground.ctx()).await;
        calls = at;
    }
    assert!(calls > 10, "it was stopped {calls} times only");
}

#[tokio::test]
async fn the_local_state_can_be_deleted_or_spoiled_at_any_time() {
    let ground = two_pushes().await;
    let state = ground.ana.home.path().join("state");
    fs::remove_dir_all(&state).unwrap();
    both_come_back(&ground, &ground.ana).await;
    let dir = ground.ana.home.path().join("dirs/v2");
    assert!(!push(&ground.ctx(), &dir, "m-v1").await.unwrap().created, "the same content is known again");
    for name in ["local.db-wal", "local.db-shm"] {
        let _ = fs::remove_file(state.join(name));
    }
    fs::write(state.join("local.db"), "no database at all, but longer than a header of one").unwrap();
    both_come_back(&ground, &ground.ana).await;
    settled(&ground.ctx()).await;

    // In the middle of a push, too: what it left is nobody's, and the next one begins anew.
    fs::write(dir.join("notes.txt"), "three").unwrap();
    let fault = Arc::new(Fault::at_call(9, Strike::After));
    push(&ground.hooked(fault), &dir, "m-v1").await.unwrap_err();
    fs::remove_dir_all(&state).unwrap();
    assert_eq!(push(&ground.ctx(), &dir, "m-v1").await.unwrap().number, 3);
    both_come_back(&ground, &ground.ana).await;
    settled(&ground.ctx()).await;
}
