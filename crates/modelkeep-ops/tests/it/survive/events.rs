//! The log: events that are torn, late, unknown or unreadable; snapshots; and the log built again from markers.

use std::fs;
use std::path::PathBuf;

use modelkeep_core::digest::Txn;
use modelkeep_core::event::{Body, Clock, Event, EventName, Pushed, WriterId};
use modelkeep_core::manifest::{FORMAT, Facts, FileEntry, Manifest, Marker, ModelKind};
use modelkeep_core::{Kind, digest::Sha256};
use modelkeep_ops::{adopt, deploy, history, label, list, log, prune, remove, set, show, verify};

use crate::world::{Ground, Machine, files, pull, push, refused, settled};

const V1: [(&str, &[u8]); 2] = [("weights.safetensors", b"one"), ("benchmark.json", br#"{"f1":0.5}"#)];

/// A tree with one push, and the path and bytes of the event of a second one.
async fn two_events() -> (Ground, PathBuf, Vec<u8>) {
    let ground = Ground::new().await;
    let dir = ground.ana.directory("run", &V1);
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    let before: Vec<PathBuf> = events_of(&ground);
    fs::write(dir.join("weights.safetensors"), "two").unwrap();
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    let new: Vec<PathBuf> = events_of(&ground).into_iter().filter(|path| !before.contains(path)).collect();
    assert_eq!(new.len(), 1, "{new:?}");
    let bytes = fs::read(&new[0]).unwrap();
    (ground, new[0].clone(), bytes)
}

fn events_of(ground: &Ground) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        fs::read_dir(ground.root.join(".modelkeep/log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

async fn numbers(ground: &Ground, machine: &Machine, model: &str) -> Vec<u64> {
    let mut numbers: Vec<u64> =
        show::show(&ground.of(machine), model).await.unwrap().history.iter().map(|push| push.number).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn an_event_that_has_not_arrived_whole_is_waited_for() {
    let (ground, file, bytes) = two_events().await;
    let name = file.file_stem().unwrap().to_str().unwrap();
    for torn in [&bytes[..bytes.len() / 2], b"".as_slice(), b"\0\0\0\0\0\0"] {
        fs::write(&file, torn).unwrap();
        let ben = Machine::new("ben");
        assert_eq!(numbers(&ground, &ben, "m-v1").await, [1], "what is there is read");
        let report = verify::verify(&ground.of(&ben), None, false).await.unwrap();
        assert!(report.notes.iter().any(|note| note.contains(name)), "{:?}", report.notes);
        let all = prune::Request { keep: Some(1), dry_run: false };
        let before = ground.seen();
        refused(prune::prune(&ground.of(&ben), &all).await, Kind::Conflict, &[name]);
        assert_eq!(ground.seen(), before);
        // A folder whose marker the log does not know (yet) is left alone, and can be pulled by who knows it.
        let to = ben.home.path().join("back");
        pull(&ground.of(&ben), "m-v1", &to).await.unwrap();
        assert_eq!(files(&to)["weights.safetensors"], b"one");
        fs::write(&file, &bytes).unwrap();
        assert_eq!(numbers(&ground, &ben, "m-v1").await, [1, 2], "now it has arrived");
        assert!(prune::prune(&ground.of(&ben), &prune::Request { dry_run: true, ..all }).await.is_ok());
    }
    // A machine that knows the event already does not mind, and can write it again when it is lost for good.
    fs::remove_file(&file).unwrap();
    let report = verify::verify(&ground.ctx(), None, false).await.unwrap();
    assert!(report.problems.iter().any(|problem| problem.path.contains(name)), "{:?}", report.problems);
    settled(&ground.ctx()).await;
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

#[tokio::test]
async fn a_push_beside_an_event_that_is_missing_loses_nothing() {
    let (ground, file, bytes) = two_events().await;
    // Another event that lists the second push as its parent, so that its absence shows.
    set::set(&ground.ctx(), "m-v1", &["purpose=triage".to_owned()], false).await.unwrap();
    fs::remove_file(&file).unwrap();
    let name = file.file_stem().unwrap().to_str().unwrap();
    let ben = Machine::new("ben");
    let all = prune::Request { keep: Some(1), dry_run: false };
    refused(prune::prune(&ground.of(&ben), &all).await, Kind::Conflict, &[name]);
    let dir = ben.directory("ben", &[("weights.safetensors", b"ben's")]);
    let report = push(&ground.of(&ben), &dir, "m-v1").await.unwrap();
    assert_eq!(report.number, 2, "the number that ben's view gives it");
    fs::write(&file, &bytes).unwrap();
    // Two pushes claimed a number: said, never guessed; each can be had by its revision.
    let cyd = Machine::new("cyd");
    let to = cyd.home.path().join("back");
    refused(pull(&ground.of(&cyd), "m-v1@2", &to).await, Kind::Conflict, &[&report.revision.short()]);
    pull(&ground.of(&cyd), &format!("m-v1@{}", report.revision.short()), &to).await.unwrap();
    assert_eq!(files(&to)["weights.safetensors"], b"ben's");
    settled(&ground.of(&cyd)).await;
}

fn write_event(ground: &Ground, at: u64, bytes: &[u8]) -> EventName {
    let name = EventName::new(Clock(at), WriterId(1), bytes);
    fs::write(ground.root.join(".modelkeep/log").join(name.file_name()), bytes).unwrap();
    name
}

#[tokio::test]
async fn what_a_newer_program_wrote_is_kept_and_skipped() {
    let (ground, _, _) = two_events().await;
    let at = Clock::at("2026-11-23T09:00:00Z".parse().unwrap()).0;
    let unknown = br#"{"format":1,"at":"2026-11-23T09:00:00Z","by":"a@b","parents":[],"kind":"teleported","to":"x"}"#;
    let unknown = write_event(&ground, at, unknown);
    let ben = Machine::new("ben");
    assert_eq!(numbers(&ground, &ben, "m-v1").await, [1, 2]);
    let told = history::history(&ground.of(&ben), None).await.unwrap();
    assert!(told.events.iter().any(|event| event.event == unknown.to_string() && event.kind == "unknown"));
    settled(&ground.of(&ben)).await;

    // Whole but of a newer format, or of no sense at all: reported by name, and never fatal to the rest.
    let newer = br#"{"format":9,"at":"2026-11-23T09:00:00Z","by":"a@b","parents":[],"kind":"teleported"}"#;
    for (nth, text) in [newer.as_slice(), b"{}", b"\xff\xfe"].into_iter().enumerate() {
        let name = write_event(&ground, at + 1 + nth as u64, text);
        for machine in [&ben, &ground.ana] {
            assert_eq!(numbers(&ground, machine, "m-v1").await, [1, 2]);
            let report = verify::verify(&ground.of(machine), None, false).await.unwrap();
            assert!(report.notes.iter().any(|note| note.contains(&name.to_string())), "{:?}", report.notes);
            let all = prune::Request { keep: Some(1), dry_run: false };
            assert_eq!(prune::prune(&ground.of(machine), &all).await.unwrap_err().kind(), Kind::Conflict);
        }
    }
    // What is no event by its name is nobody's business.
    fs::write(ground.root.join(".modelkeep/log/notes.json"), "{}").unwrap();
    fs::write(ground.root.join(".modelkeep/log/.DS_Store"), "\0").unwrap();
    let dir = ben.directory("more", &[("weights.safetensors", b"three")]);
    assert_eq!(push(&ground.of(&ben), &dir, "m-v1").await.unwrap().number, 3);
}

/// The event of one push of `model`, with as many bytes of facts as asked for.
fn pushed(model: &str, number: u64, padding: usize) -> Body {
    let content = format!("{model} {number}");
    let file = FileEntry {
        path: "weights.safetensors".parse().unwrap(),
        size: content.len() as u64,
        sha256: Sha256::of(content.as_bytes()),
    };
    let manifest = Manifest::new(vec![file]).unwrap();
    let mut txn = [0; 16];
    txn.copy_from_slice(&Sha256::of(content.as_bytes()).as_bytes()[..16]);
    let marker = Marker {
        format: FORMAT,
        txn: Txn::from_bytes(txn),
        model: model.parse().unwrap(),
        kind: ModelKind::Finetuned,
        revision: manifest.revision(),
        number,
        at: "2026-11-01T00:00:00Z".parse().unwrap(),
        by: "ana@here".to_owned(),
        facts: Facts { notes: vec!["x".repeat(padding)], ..Facts::default() },
        replaces: None,
        filed: None,
        ids: [].into(),
        files: manifest.clone(),
    };
    Body::Pushed(Box::new(Pushed { manifest: Some(manifest), ..Pushed::of(&marker) }))
}

/// A log of 40 models with 25 pushes each: names of files, and what is in them.
pub fn thousand_events(padding: usize) -> Vec<(String, Vec<u8>)> {
    let mut log = Vec::new();
    let begin = "2026-11-01T00:00:00Z".parse().unwrap();
    let (mut clock, mut parents) = (Clock::at(begin), [].into());
    for number in 1..=25 {
        for model in 1..=40 {
            let body = pushed(&format!("model-v{model}"), number, padding);
            let event = Event { format: FORMAT, at: begin, by: "ana@here".to_owned(), parents, body };
            let bytes = event.to_bytes();
            let name = EventName::new(clock, WriterId(7), &bytes);
            log.push((name.file_name(), bytes));
            parents = [name].into();
            clock = clock.next(begin);
        }
    }
    log
}

#[tokio::test]
async fn a_machine_with_an_empty_cache_needs_a_handful_of_calls_for_a_thousand_events() {
    // Small events come with the listing; large ones need a snapshot.
    for padding in [0, 5000] {
        let ground = Ground::new().await;
        for (name, bytes) in thousand_events(padding) {
            fs::write(ground.root.join(".modelkeep/log").join(name), bytes).unwrap();
        }
        let ctx = ground.ctx();
        let store = ctx.store().await.unwrap();
        let mut view = log::refresh(&ctx, &store).await.unwrap();
        assert_eq!((view.names.len(), view.state.models.len()), (1000, 40));
        assert_eq!(view.problems, []);
        let snapshots = ground.root.join(".modelkeep/snapshots");
        assert_eq!(fs::read_dir(&snapshots).unwrap().count(), 0, "reading writes nothing");
        let body = Body::Fields { model: "model-v1".parse().unwrap(), set: [].into() };
        log::append(&ctx, &store, &mut view, body).await.unwrap();
        assert_eq!(fs::read_dir(&snapshots).unwrap().count(), 1, "whoever commits writes it");

        let ben = Machine::new("ben");
        let ctx = ground.of(&ben);
        let models = list::list(&ctx, &list::Request::default()).await.unwrap().models;
        assert_eq!((models.len(), models[0].revisions), (40, 25));
        let calls = ctx.store().await.unwrap().trace.calls();
        assert!(calls.len() <= 6, "{} calls: {calls:?}", calls.len());
        // Warm: the listing alone.
        let ctx = ground.of(&ben);
        list::list(&ctx, &list::Request::default()).await.unwrap();
        assert_eq!(ctx.store().await.unwrap().trace.calls().len(), 1);

        // A snapshot is a short cut only: one that is torn, or lies, is passed over.
        let snapshot = fs::read_dir(&snapshots).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(&snapshot).unwrap();
        for spoilt in [&text[..text.len() / 2], &text.replace("model-v7", "model-v8")] {
            fs::write(&snapshot, spoilt).unwrap();
            let cyd = Machine::new("cyd");
            let models = list::list(&ground.of(&cyd), &list::Request::default()).await.unwrap().models;
            assert_eq!((models.len(), models[0].revisions), (40, 25));
        }
    }
}

#[tokio::test]
async fn a_deleted_modelkeep_folder_is_built_again_from_the_markers() {
    let ground = Ground::new().await;
    let ctx = ground.ctx();
    for (model, content) in [("m-v1", "one"), ("m-v2", "two"), ("m-v3", "three")] {
        let dir = ground.ana.directory(model, &[("weights.safetensors", content.as_bytes()), V1[1]]);
        push(&ctx, &dir, model).await.unwrap();
    }
    set::set(&ctx, "m-v2", &["purpose=triage".to_owned(), "team=risk".to_owned()], false).await.unwrap();
    deploy::deploy(&ctx, "m-v2", false).await.unwrap();
    modelkeep_ops::archive::archive(&ctx, "m-v1", false).await.unwrap();
    drop(ctx);
    let entry = ground.entry("m-v2");
    fs::remove_dir_all(ground.root.join(".modelkeep")).unwrap();

    let ben = Machine::new("ben");
    let format = ben.init(&ground.remote).await;
    assert_ne!(format.remote_id, ground.format.remote_id, "it is another tree now, and says so");
    let ctx = ben.context(&ground.remote, &format, None, None);
    let report = adopt::adopt(&ctx, &adopt::Request::default()).await.unwrap();
    assert_eq!(report.items.iter().filter(|item| item.adopted).count(), 3, "{report:#?}");
    let now = ground.entry("m-v2");
    for field in ["metrics", "status", "purpose", "team", "training_date", "type", "size_mb", "deployed_at"] {
        assert_eq!(now[field], entry[field], "{field}");
    }
    assert_eq!(ground.entry("m-v1")["status"], "archived");
    let current = fs::read_link(ground.root.join("models/deployed/current")).unwrap();
    assert_eq!(current.to_str().unwrap(), "../finetuned/m-v2");
    assert!(!ground.root.join("docs/model_registry.before-modelkeep.json").exists(), "it was ours");
    for (model, content) in [("m-v1", "one"), ("m-v2", "two"), ("m-v3", "three")] {
        let to = ben.home.path().join(model);
        pull(&ctx, model, &to).await.unwrap();
        assert_eq!(files(&to)["weights.safetensors"], content.as_bytes());
    }
    settled(&ctx).await;
    assert!(adopt::adopt(&ctx, &adopt::Request::default()).await.unwrap().steps.is_empty());
}

#[tokio::test]
async fn a_lost_log_comes_back_with_every_revision_and_its_number() {
    let ground = Ground::new().await;
    let ctx = ground.ctx();
    let dir = ground.ana.directory("run", &V1);
    for content in ["one", "two", "three", "four"] {
        fs::write(dir.join("weights.safetensors"), content).unwrap();
        ground.ana.clock.advance(jiff::SignedDuration::from_mins(1));
        push(&ctx, &dir, "m-v1").await.unwrap();
    }
    remove::remove(&ctx, "m-v1@3", false).await.unwrap();
    // What is deployed is not the newest.
    deploy::deploy(&ctx, "m-v1@2", false).await.unwrap();
    label::add(&ctx, "m-v1@1", "first", false).await.unwrap();
    let other = ground.ana.directory("other", &[("weights.safetensors", b"other")]);
    push(&ctx, &other, "other").await.unwrap();
    drop(ctx);
    let before = show::show(&ground.ctx(), "m-v1@2").await.unwrap();
    fs::remove_dir_all(ground.root.join(".modelkeep/log")).unwrap();

    // A machine that knew the log and one that never did.
    let ben = Machine::new("ben");
    let ctx = ground.of(&ben);
    let report = adopt::adopt(&ctx, &adopt::Request::default()).await.unwrap();
    assert_eq!(report.items.iter().filter(|item| item.adopted).count(), 4, "{report:#?}");
    assert_eq!(numbers(&ground, &ben, "m-v1").await, [1, 2, 4]);
    for (number, content) in [(1, "one"), (2, "two"), (4, "four")] {
        let to = ben.home.path().join("back");
        pull(&ctx, &format!("m-v1@{number}"), &to).await.unwrap();
        assert_eq!(files(&to)["weights.safetensors"], content.as_bytes());
    }
    let now = show::show(&ctx, "m-v1@2").await.unwrap();
    assert_eq!(now.item.revision, before.item.revision);
    assert!(now.item.deployed);
    assert_eq!(ground.entry("m-v1")["modelkeep"]["number"], 2, "the deployed revision is the one shown");
    assert_eq!(now.all_labels, before.all_labels, "labels stand in the registry");
    settled(&ctx).await;
    fs::write(dir.join("weights.safetensors"), "five").unwrap();
    refused(push(&ctx, &dir, "m-v1").await, Kind::Conflict, &["m-v1", "deployed"]);
}
