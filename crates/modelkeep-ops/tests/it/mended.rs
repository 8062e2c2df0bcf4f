//! What once went wrong around repair, pull, adopt and the log, and must not again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use modelkeep_core::digest::Sha256;
use modelkeep_core::event::{Body, Clock, Event, EventName, WriterId};
use modelkeep_core::manifest::{FORMAT, ModelKind};
use modelkeep_core::{Kind, layout};
use modelkeep_ops::{adopt, deploy, history, label, log, prune, push as pushing, remove, repair, set, show, verify};
use modelkeep_remote::folder::FolderOptions;
use modelkeep_remote::{FolderRemote, Remote};
use serde_json::json;

use crate::world::{Ground, Machine, copy_folder, files, pull, push, refused, settled};

const FILES: [(&str, &[u8]); 2] = [("weights.safetensors", b"the right bytes"), ("benchmark.json", br#"{"f1":0.5}"#)];

/// Other bytes of the same size, with the time that the file had.
fn rot(path: &Path) {
    let times = fs::FileTimes::new().set_modified(fs::metadata(path).unwrap().modified().unwrap());
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 0xff;
    fs::write(path, bytes).unwrap();
    fs::OpenOptions::new().write(true).open(path).unwrap().set_times(times).unwrap();
}

#[tokio::test]
async fn what_only_reading_every_byte_finds_can_be_mended_by_any_machine() {
    let ground = Ground::new().await;
    let dir = ground.ana.directory("run", &FILES);
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    push(&ground.ctx(), &dir, "spare-v1").await.unwrap();
    let weights = ground.root.join("models/finetuned/m-v1/weights.safetensors");
    rot(&weights);
    let (ben, cyd) = (Machine::new("ben"), Machine::new("cyd"));
    let shallow = verify::verify(&ground.of(&ben), None, false).await.unwrap();
    assert_eq!(shallow.problems, []);
    let deep = verify::verify(&ground.of(&ben), None, true).await.unwrap();
    let hints: Vec<&str> = deep.problems.iter().map(|problem| problem.hint.as_str()).collect();
    assert_eq!(hints, ["modelkeep repair --deep"]);
    // Another machine, which that verify told nothing.
    let plain = repair::repair(&ground.of(&cyd), &repair::Request::default()).await.unwrap();
    assert_eq!((plain.steps, plain.left), (Vec::new(), Vec::new()));
    let deep = repair::Request { deep: true, ..Default::default() };
    repair::repair(&ground.of(&cyd), &deep).await.unwrap();
    assert_eq!(fs::read(&weights).unwrap(), FILES[0].1);
    settled(&ground.of(&cyd)).await;
    // Damage that its time tells of needs no such thing.
    fs::write(&weights, b"some other bytes").unwrap();
    let found = verify::verify(&ground.of(&cyd), None, true).await.unwrap();
    assert_eq!(found.problems[0].hint, "modelkeep repair");
}

#[tokio::test]
async fn a_pull_takes_content_from_wherever_it_still_is() {
    // Many files: then the event leaves the list of them to the marker.
    for many in [1, 100] {
        let ground = Ground::new().await;
        let names: Vec<String> = (0..many).map(|n| format!("shard-{n:05}.bin")).collect();
        let content: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
        let dir = ground.ana.directory("run", &content);
        push(&ground.ctx(), &dir, "m-v1").await.unwrap();
        push(&ground.ctx(), &dir, "spare-v1").await.unwrap();
        let folder = ground.root.join("models/finetuned/m-v1");
        let whole = files(&dir);
        let comes_back = async |name: &str| {
            let machine = Machine::new(name);
            let to = machine.home.path().join("back");
            pull(&ground.of(&machine), "m-v1", &to).await.unwrap();
            assert_eq!(files(&to), whole, "{name}, {many} files");
        };
        // The push names a file that is damaged there, then missing there; then all of it is gone.
        rot(&folder.join("shard-00000.bin"));
        comes_back("damaged").await;
        fs::remove_file(folder.join("shard-00000.bin")).unwrap();
        comes_back("missing").await;
        fs::remove_dir_all(&folder).unwrap();
        comes_back("gone").await;
        // Nowhere any more.
        fs::remove_dir_all(ground.root.join("models/finetuned/spare-v1")).unwrap();
        let ben = Machine::new("ben");
        let to = ben.home.path().join("back");
        refused(pull(&ground.of(&ben), "m-v1", &to).await, Kind::Integrity, &["m-v1"]);
        assert!(!to.exists());
    }
}

fn edited() -> adopt::Request {
    adopt::Request { now: true, edited: true, ..Default::default() }
}

#[tokio::test]
async fn what_was_edited_under_its_marker_takes_the_place_of_the_push_that_it_was() {
    for deployed in [false, true] {
        let ground = Ground::new().await;
        let ctx = ground.ctx();
        push(&ctx, &ground.ana.directory("run", &FILES), "m-v1").await.unwrap();
        if deployed {
            deploy::deploy(&ctx, "m-v1", false).await.unwrap();
        }
        let weights = ground.root.join("models/finetuned/m-v1/weights.safetensors");
        fs::write(&weights, "edited in place").unwrap();
        assert!(verify::verify(&ctx, None, false).await.unwrap().damaged());
        let report = adopt::adopt(&ctx, &edited()).await.unwrap();
        assert!(report.items[0].adopted, "{report:#?}");
        // Nothing is missed any more, by anybody.
        for machine in [&ground.ana, &Machine::new("ben")] {
            let ctx = ground.of(machine);
            settled(&ctx).await;
            let shown = show::show(&ctx, "m-v1").await.unwrap();
            assert_eq!((shown.item.number, shown.item.revisions), (Some(2), 1));
            assert_eq!(shown.item.deployed, deployed);
            let to = machine.home.path().join("back");
            pull(&ctx, "m-v1", &to).await.unwrap();
            assert_eq!(files(&to)["weights.safetensors"], b"edited in place");
        }
        let told = history::history(&ctx, None).await.unwrap();
        let kinds: Vec<&str> = told.events.iter().rev().map(|event| event.kind.as_str()).collect();
        let wanted: &[&str] = if deployed {
            &["pushed", "deployed", "adopted", "deployed", "removed"]
        } else {
            &["pushed", "adopted", "removed"]
        };
        assert_eq!(kinds, wanted);
        assert!(adopt::adopt(&ctx, &edited()).await.unwrap().steps.is_empty());
    }
}

#[tokio::test]
async fn an_edited_copy_of_a_push_does_not_remove_the_push() {
    let ground = Ground::new().await;
    let ctx = ground.ctx();
    push(&ctx, &ground.ana.directory("run", &FILES), "m-v1").await.unwrap();
    let copy = ground.root.join("models/finetuned/tried-out");
    copy_folder(&ground.root.join("models/finetuned/m-v1"), &copy);
    fs::write(copy.join("weights.safetensors"), "tried out").unwrap();
    adopt::adopt(&ctx, &edited()).await.unwrap();
    let to = ground.ana.home.path().join("back");
    for (number, content) in [(1, FILES[0].1), (2, b"tried out")] {
        pull(&ctx, &format!("m-v1@{number}"), &to).await.unwrap();
        assert_eq!(files(&to)["weights.safetensors"], content);
    }
    settled(&ctx).await;
}

#[tokio::test]
async fn removing_a_push_that_is_lost_promises_nothing() {
    let ground = Ground::new().await;
    let ctx = ground.ctx();
    push(&ctx, &ground.ana.directory("run", &FILES), "m-v1").await.unwrap();
    let plan = remove::remove(&ctx, "m-v1", true).await.unwrap();
    assert_eq!((plan.steps[0].action.as_str(), plan.steps[0].reason.contains("restored")), ("move to trash", true));
    fs::remove_dir_all(ground.root.join("models/finetuned/m-v1")).unwrap();
    for dry_run in [true, false] {
        let change = remove::remove(&ctx, "m-v1", dry_run).await.unwrap();
        let step = &change.steps[0];
        assert_eq!(step.reason, "its content is nowhere on the remote");
        assert!(!step.action.contains("trash") && step.bytes == 0, "{step:?}");
    }
    settled(&ctx).await;
}

#[tokio::test]
async fn a_pointer_file_tells_what_was_deployed() {
    let scratch = crate::world::scratch();
    let root = scratch.path().join("remote");
    let options = FolderOptions { symlinks: false, ..FolderOptions::default() };
    let remote: Arc<dyn Remote> = Arc::new(FolderRemote::open(&root, options).unwrap());
    let ana = Machine::new("ana");
    let format = ana.init(&remote).await;
    let ctx = ana.context(&remote, &format, None, None);
    for model in ["m-v1", "m-v2"] {
        push(&ctx, &ana.directory(model, &[("weights.safetensors", model.as_bytes())]), model).await.unwrap();
    }
    deploy::deploy(&ctx, "m-v1", false).await.unwrap();
    assert!(root.join("models/deployed/current.pointer.json").exists());
    // Log and registry are lost; folders and pointers are left.
    fs::remove_dir_all(root.join(".modelkeep")).unwrap();
    fs::remove_file(root.join("docs/model_registry.json")).unwrap();
    let ben = Machine::new("ben");
    let format = ben.init(&remote).await;
    let ctx = ben.context(&remote, &format, None, None);
    adopt::adopt(&ctx, &adopt::Request::default()).await.unwrap();
    assert!(show::show(&ctx, "m-v1").await.unwrap().item.deployed);
    settled(&ctx).await;
}

#[tokio::test]
async fn a_rebuilt_log_knows_labels_and_what_people_set_and_no_more() {
    let ground = Ground::new().await;
    let ctx = ground.ctx();
    let base = ground.ana.directory("base", &[("weights.safetensors", b"base")]);
    let as_base = pushing::Request { kind: Some(ModelKind::Base), ..request(&base, "llama2-7b") };
    pushing::push(&ctx, as_base).await.unwrap();
    let dir = ground.ana.directory("run", &FILES);
    let mut metrics = Vec::new();
    for f1 in ["0.5", "0.75"] {
        fs::write(dir.join("benchmark.json"), format!("{{\"f1\": {f1}}}")).unwrap();
        let of_base = pushing::Request { base: Some("llama2-7b".to_owned()), ..request(&dir, "m-v1") };
        metrics.push(pushing::push(&ctx, of_base).await.unwrap().metrics);
    }
    label::add(&ctx, "m-v1@1", "first", false).await.unwrap();
    label::add(&ctx, "m-v1@2", "good/one", false).await.unwrap();
    set::set(&ctx, "m-v1", &["team=risk".to_owned()], false).await.unwrap();
    // What is shown is not the newest: its metrics are its own.
    deploy::deploy(&ctx, "m-v1@1", false).await.unwrap();
    let before = show::show(&ctx, "m-v1").await.unwrap();
    drop(ctx);
    fs::remove_dir_all(ground.root.join(".modelkeep/log")).unwrap();

    let ben = Machine::new("ben");
    let ctx = ground.of(&ben);
    adopt::adopt(&ctx, &adopt::Request::default()).await.unwrap();
    let now = show::show(&ctx, "m-v1").await.unwrap();
    assert_eq!(now.all_labels, before.all_labels);
    assert_eq!(now.fields, [("team".to_owned(), json!("risk"))].into());
    assert_eq!(show::show(&ctx, "llama2-7b").await.unwrap().fields, BTreeMap::new());
    for (number, metrics) in [(1, &metrics[0]), (2, &metrics[1])] {
        assert_eq!(show::show(&ctx, &format!("m-v1@{number}")).await.unwrap().item.metrics, *metrics);
    }
    assert_eq!(now.item.base_model, before.item.base_model);
    settled(&ctx).await;
}

fn request(path: &Path, model: &str) -> pushing::Request {
    pushing::Request { path: path.to_owned(), model: model.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn an_event_that_a_snapshot_has_wrong_is_read_from_its_own_file() {
    let ground = Ground::new().await;
    // Too large to come with the listing, and enough of them to look for a snapshot.
    let at: Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
    let (mut clock, mut parents, mut texts) = (Clock::at(at), BTreeSet::new(), BTreeMap::new());
    for nth in 0..20 {
        let set = BTreeMap::from([("note".to_owned(), json!(format!("{nth} {}", "x".repeat(5000))))]);
        let body = Body::Fields { model: "m-v1".parse().unwrap(), set };
        let event = Event { format: FORMAT, at, by: "ana@here".to_owned(), parents, body };
        let bytes = event.to_bytes();
        let name = EventName::new(clock, WriterId(7), &bytes);
        fs::write(ground.root.join(layout::event(&name).as_str()), &bytes).unwrap();
        texts.insert(name, String::from_utf8(bytes).unwrap());
        (clock, parents) = (clock.next(at), [name].into());
    }
    let last = *texts.keys().last().unwrap();
    let lie = texts.insert(last, texts[&last].replace("ana@here", "eve@here")).unwrap();
    assert_ne!(lie, texts[&last]);
    let snapshot = serde_json::to_vec(&json!({"format": 1, "events": texts})).unwrap();
    let path = ground.root.join(layout::snapshot(&Sha256::of(&snapshot)).as_str());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, snapshot).unwrap();
    let ctx = ground.ctx();
    let store = ctx.store().await.unwrap();
    let view = log::refresh(&ctx, &store).await.unwrap();
    assert_eq!((view.names.len(), view.problems.as_slice()), (20, [].as_slice()));
    assert!(view.names.contains(&last));
    // Torn in the log as well, it is reported.
    fs::write(ground.root.join(layout::event(&last).as_str()), "torn").unwrap();
    let ctx = ground.of(&Machine::new("ben"));
    let view = log::refresh(&ctx, &ctx.store().await.unwrap()).await.unwrap();
    assert_eq!(view.problems, [log::Problem::Late(last)]);
}

#[tokio::test]
async fn an_id_must_be_free_among_models_of_both_kinds() {
    for (place, kind) in [
        ("models/base-models/zed", ModelKind::Finetuned),
        ("models/finetuned/zed", ModelKind::Base),
        ("models/finetuned/zed", ModelKind::Finetuned),
    ] {
        let ground = Ground::new().await;
        fs::create_dir_all(ground.root.join(place)).unwrap();
        fs::write(ground.root.join(place).join("theirs.bin"), "theirs").unwrap();
        let before = ground.seen();
        let dir = ground.ana.directory("run", &FILES);
        let pushed = pushing::push(&ground.ctx(), pushing::Request { kind: Some(kind), ..request(&dir, "zed") }).await;
        assert_eq!(pushed.as_ref().unwrap_err().hint_text(), Some("modelkeep adopt"));
        refused(pushed, Kind::Conflict, &[place]);
        assert_eq!(ground.seen(), before);
    }
}

#[tokio::test]
async fn empty_days_of_the_trash_go() {
    let scratch = crate::world::scratch();
    let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
    let options = FolderOptions { now: Some(now), ..FolderOptions::default() };
    let remote: Arc<dyn Remote> = Arc::new(FolderRemote::open(scratch.path(), options).unwrap());
    let ana = Machine::new("ana");
    let format = ana.init(&remote).await;
    let ctx = ana.context(&remote, &format, None, None);
    let trash = scratch.path().join(".modelkeep/trash");
    for (day, file) in [
        ("2026-11-01", None),
        ("2026-11-02", Some("somebody's.txt")),
        ("2026-11-20", None),
        ("2026-11-21", None),
        ("2026-11-23", None),
        ("2026-12-24", None),
        ("no day", None),
    ] {
        fs::create_dir_all(trash.join(day)).unwrap();
        if let Some(file) = file {
            fs::write(trash.join(day).join(file), "").unwrap();
        }
    }
    let left = || -> BTreeSet<String> {
        fs::read_dir(&trash).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let dir = ana.directory("run", &FILES);
    push(&ctx, &dir, "m-v1").await.unwrap();
    fs::write(dir.join("weights.safetensors"), "two").unwrap();
    push(&ctx, &dir, "m-v1").await.unwrap();
    let all = left();
    prune::prune(&ctx, &prune::Request { keep: Some(1), dry_run: true }).await.unwrap();
    assert_eq!(left(), all);
    prune::prune(&ctx, &prune::Request { keep: Some(1), dry_run: false }).await.unwrap();
    let wanted = ["2026-11-02", "2026-11-21", "2026-11-23", "2026-12-24", "no day"];
    assert_eq!(left(), wanted.map(str::to_owned).into());
    settled(&ctx).await;
}
