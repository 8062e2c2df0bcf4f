//! Machines whose clocks disagree, and a store that has its own.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use modelkeep_core::Kind;
use modelkeep_ops::{list, log, prune, show, verify};
use modelkeep_remote::Remote;
use modelkeep_remote::folder::{FolderOptions, FolderRemote};

use crate::world::{Machine, files, pull, push, settled};

const NOON: &str = "2026-11-23T12:00:00Z";

/// The same folder at another time of its own.
fn folder_at(root: &std::path::Path, now: Timestamp) -> Arc<dyn Remote> {
    Arc::new(FolderRemote::open(root, FolderOptions { now: Some(now), ..FolderOptions::default() }).unwrap())
}

#[tokio::test]
async fn machines_whose_clocks_are_hours_or_weeks_apart_push_in_turn() {
    let noon: Timestamp = NOON.parse().unwrap();
    for apart in [5, -5, 24 * 40, -24 * 40] {
        let scratch = crate::world::scratch();
        let remote = folder_at(scratch.path(), noon);
        let (ana, ben) = (Machine::new("ana"), Machine::new("ben"));
        ana.clock.advance(noon.duration_since("2026-11-23T10:00:00Z".parse().unwrap()));
        ben.clock.advance(SignedDuration::from_hours(2 + apart));
        let format = ana.init(&remote).await;
        let mut revisions = Vec::new();
        for (nth, machine) in [&ana, &ben, &ana, &ben, &ben, &ana].into_iter().enumerate() {
            let content = format!("content {nth}");
            let dir = machine.directory(&format!("run{nth}"), &[("weights.safetensors", content.as_bytes())]);
            let report = push(&machine.context(&remote, &format, None, None), &dir, "m-v1").await.unwrap();
            assert_eq!((report.number, report.latest), (nth as u64 + 1, true), "{apart} hours");
            revisions.push(report.revision);
            machine.clock.advance(SignedDuration::from_mins(1));
        }
        for machine in [&ana, &ben, &Machine::new("cyd")] {
            let ctx = machine.context(&remote, &format, None, None);
            let shown = show::show(&ctx, "m-v1").await.unwrap();
            let order: Vec<_> = shown.history.iter().rev().map(|push| (push.number, push.revision)).collect();
            assert_eq!(order, (1..).zip(revisions.iter().copied()).collect::<Vec<_>>(), "{apart} hours");
            assert_eq!(verify::verify(&ctx, None, true).await.unwrap().notes, Vec::<String>::new(), "{apart} hours");
            let to = machine.home.path().join("back");
            pull(&ctx, "m-v1", &to).await.unwrap();
            assert_eq!(files(&to)["weights.safetensors"], b"content 5");
            settled(&ctx).await;
        }
        // Nothing counts as old because somebody's clock runs ahead: what is removed stays for its grace.
        for machine in [&ana, &ben] {
            let ctx = machine.context(&remote, &format, None, None);
            prune::prune(&ctx, &prune::Request { keep: Some(1), dry_run: false }).await.unwrap();
            let again = prune::prune(&ctx, &prune::Request { keep: Some(1), dry_run: false }).await.unwrap();
            assert_eq!(again.freed_bytes, 0, "{apart} hours");
        }
    }
}

#[tokio::test]
async fn an_event_from_the_future_is_reported_and_nothing_is_deleted() {
    let noon: Timestamp = NOON.parse().unwrap();
    let later = noon.saturating_add(SignedDuration::from_hours(24 * 40)).unwrap();
    let scratch = crate::world::scratch();
    let (present, future) = (folder_at(scratch.path(), noon), folder_at(scratch.path(), later));
    let ana = Machine::new("ana");
    let format = ana.init(&present).await;
    let dir = ana.directory("run", &[("weights.safetensors", b"one")]);
    push(&ana.context(&present, &format, None, None), &dir, "m-v1").await.unwrap();
    // A machine and a server whose clocks were both wrong for a while.
    let ben = Machine::new("ben");
    ben.clock.advance(SignedDuration::from_hours(24 * 40));
    let two = ben.directory("run", &[("weights.safetensors", b"two")]);
    push(&ben.context(&future, &format, None, None), &two, "m-v1").await.unwrap();

    for (name, ahead) in [("ana", 0), ("cyd", 0), ("dan", 24 * 40), ("eva", -24 * 40)] {
        // Whatever this machine's own clock says: the store's time decides.
        let machine = Machine::new(name);
        machine.clock.advance(SignedDuration::from_hours(ahead));
        let ctx = machine.context(&present, &format, None, None);
        let problem = prune::prune(&ctx, &prune::Request { keep: Some(1), dry_run: false }).await.unwrap_err();
        assert_eq!(problem.kind(), Kind::Conflict, "{name}");
        assert!(problem.full_message().contains("2027-01-02"), "{name}: {}", problem.full_message());
        assert!(problem.hint_text().is_some());
        let notes = verify::verify(&ctx, None, false).await.unwrap().notes;
        assert!(notes.iter().any(|note| note.contains("future")), "{name}: {notes:?}");
        list::list(&ctx, &list::Request::default()).await.unwrap();
    }
    // Later events count on from it, so that the order stays that in which things happened.
    let ctx = ana.context(&present, &format, None, None);
    let three = ana.directory("run", &[("weights.safetensors", b"three")]);
    let report = push(&ctx, &three, "m-v1").await.unwrap();
    assert_eq!((report.number, report.latest), (3, true));
    let store = ctx.store().await.unwrap();
    let view = log::refresh(&ctx, &store).await.unwrap();
    assert!(
        view.names.last().unwrap().clock.timestamp()
            > noon.saturating_add(SignedDuration::from_hours(24 * 39)).unwrap()
    );
    // When that time has come, nothing is ahead any more.
    let ctx = ben.context(&future, &format, None, None);
    assert_eq!(log::refresh(&ctx, &ctx.store().await.unwrap()).await.unwrap().problems, []);
    prune::prune(&ctx, &prune::Request { keep: Some(1), dry_run: false }).await.unwrap();
    settled(&ctx).await;
}
