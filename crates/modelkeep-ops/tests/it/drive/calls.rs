//! What operations cost in calls: round trips are what counts on Drive.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use modelkeep_core::layout;
use modelkeep_ops::list;
use modelkeep_remote::{Mode, NoMeter, Source};

use super::{Cloud, full};
use crate::survive::events::thousand_events;
use crate::world::pull;

fn directory(at: &Path, files: usize) {
    std::fs::create_dir_all(at).unwrap();
    for number in 0..files {
        std::fs::write(at.join(format!("file-{number:05}.bin")), format!("{number}").repeat(50)).unwrap();
    }
}

/// Without those that ask what changed, which a machine with much else to do asks once more.
fn besides_changes(calls: &[String]) -> usize {
    calls.iter().filter(|name| *name != "changes.list").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_push_takes_hardly_more_than_a_call_a_file_and_the_next_almost_none() {
    let (cloud, ana) = Cloud::new().await;
    let files = if full() { 5000 } else { 400 };
    let dir = ana.machine.home.path().join("dirs/m");
    directory(&dir, files);
    cloud.calls();
    let pushed = ana.push(&dir, "m-v1").await.unwrap();
    assert_eq!((pushed.files, pushed.created), (files as u64, true));
    let calls = cloud.calls();
    assert!(calls.len() * 10 <= files * 11, "{} calls for {files} files", calls.len());

    let again = ana.push(&dir, "m-v1").await.unwrap();
    assert_eq!((again.created, again.sent_bytes), (false, 0));
    let calls = cloud.calls();
    assert!(besides_changes(&calls) <= 1, "{calls:?}");
    list::list(&ana.ctx(), &list::Request::default()).await.unwrap();
    let calls = cloud.calls();
    assert!(besides_changes(&calls) <= 1, "{calls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_machine_asks_for_each_file_once() {
    let (cloud, ana) = Cloud::new().await;
    // Few enough for the units that Google gives at once.
    let files = 100;
    let dir = ana.machine.home.path().join("dirs/m");
    directory(&dir, files);
    ana.push(&dir, "m-v1").await.unwrap();
    let ben = cloud.machine("ben");
    cloud.calls();
    let to = ben.machine.home.path().join("back");
    pull(&ben.ctx(), "m-v1", &to).await.unwrap();
    let calls = cloud.calls();
    assert!(calls.len() <= files + 25, "{} calls for {files} files", calls.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_of_which_one_file_changed_sends_that_file() {
    for files in [2, 12, 60] {
        let (cloud, ana) = Cloud::new().await;
        let dir = ana.machine.home.path().join("dirs/m");
        directory(&dir, files);
        ana.push(&dir, "m-v1").await.unwrap();
        std::fs::write(dir.join("file-00001.bin"), "another content").unwrap();
        for machine in [&ana, &cloud.machine("ben")] {
            cloud.calls();
            let pushed = machine.push(&dir, "m-v1").await.unwrap();
            let calls = cloud.calls();
            assert!(calls.len() <= files + 20, "{} calls for {files} files: {calls:?}", calls.len());
            if pushed.created {
                assert_eq!((pushed.number, pushed.sent_bytes), (2, 15));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_machine_lists_a_thousand_events_in_six_calls() {
    let (cloud, ana) = Cloud::new().await;
    let remote = Arc::clone(&ana.ctx().store().await.unwrap().remote);
    for (name, bytes) in thousand_events(0) {
        let (path, source) = (layout::log().join(&name), Source::Bytes(Bytes::from(bytes)));
        remote.write(&path, source, Mode::New, Arc::new(NoMeter)).await.unwrap();
    }
    cloud.calls();
    let ben = cloud.machine("ben");
    for most in [6, 2] {
        let models = list::list(&ben.ctx(), &list::Request::default()).await.unwrap().models;
        assert_eq!((models.len(), models[0].revisions), (40, 25));
        let calls = cloud.calls();
        assert!(calls.len() <= most, "{calls:?}");
    }
}
