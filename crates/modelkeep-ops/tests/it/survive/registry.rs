//! `docs/model_registry.json` in the hands of people.

use std::fs;
use std::path::PathBuf;

use modelkeep_ops::{adopt, list, repair, set, show};
use serde_json::{Value, json};

use crate::world::{Ground, Heard, Machine, push, settled};

async fn ground() -> (Ground, PathBuf) {
    let ground = Ground::new().await;
    let dir =
        ground.ana.directory("run", &[("adapter_model.safetensors", b"one"), ("benchmark.json", br#"{"f1":0.5}"#)]);
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    let file = ground.root.join("docs/model_registry.json");
    (ground, file)
}

/// Somebody opens the registry and saves it.
fn edit(ground: &Ground, change: impl FnOnce(&mut Value)) {
    let mut registry = ground.registry();
    change(&mut registry);
    fs::write(ground.root.join("docs/model_registry.json"), serde_json::to_vec_pretty(&registry).unwrap()).unwrap();
}

fn events(ground: &Ground) -> usize {
    fs::read_dir(ground.root.join(".modelkeep/log")).unwrap().count()
}

#[tokio::test]
async fn an_edit_by_hand_is_taken_in_once() {
    let (ground, _) = ground().await;
    edit(&ground, |registry| {
        registry["models"][0]["purpose"] = json!("demo day");
        registry["models"][0]["metrics"]["f1"] = json!(0.75);
        registry["models"][0]["reviewed_by"] = json!("eva");
        registry["models"][0]["size_mb"] = json!(999);
        registry["team"] = json!("risk");
        registry["models"].as_array_mut().unwrap().push(json!({"id": "on-a-stick", "where": "drawer 3"}));
    });
    let edited = fs::read(ground.root.join("docs/model_registry.json")).unwrap();
    let before = events(&ground);
    let mut ctx = ground.ctx();
    let heard = Heard::listen(&mut ctx);
    repair::repair(&ctx, &repair::Request::default()).await.unwrap();
    assert!(heard.all().contains("size_mb"), "what is not taken in is said: {}", heard.all());
    assert_eq!(events(&ground), before + 1);
    let entry = ground.entry("m-v1");
    assert_eq!((&entry["purpose"], &entry["reviewed_by"]), (&json!("demo day"), &json!("eva")));
    assert_eq!(entry["metrics"]["f1"], 0.75);
    assert_eq!(entry["size_mb"], 0.0, "what is measured stays what it is");
    assert_eq!(ground.registry()["team"], "risk");
    assert_eq!(ground.entry("on-a-stick")["where"], "drawer 3");
    // The same edit saved again, from an editor that was still open, changes nothing.
    set::set(&ground.ctx(), "m-v1", &["purpose=production".to_owned()], false).await.unwrap();
    fs::write(ground.root.join("docs/model_registry.json"), edited).unwrap();
    for machine in [&ground.ana, &Machine::new("ben")] {
        repair::repair(&ground.of(machine), &repair::Request::default()).await.unwrap();
        assert_eq!(ground.entry("m-v1")["purpose"], "production");
        settled(&ground.of(machine)).await;
    }
}

#[tokio::test]
async fn a_newer_set_wins_over_an_older_edit() {
    let (ground, file) = ground().await;
    let old = fs::read(&file).unwrap();
    set::set(&ground.ctx(), "m-v1", &["purpose=production".to_owned()], false).await.unwrap();
    // Edited from the rendering of before that.
    fs::write(&file, old).unwrap();
    edit(&ground, |registry| {
        registry["models"][0]["purpose"] = json!("demo day");
        registry["models"][0]["note"] = json!("kept");
    });
    repair::repair(&ground.ctx(), &repair::Request::default()).await.unwrap();
    let entry = ground.entry("m-v1");
    assert_eq!((&entry["purpose"], &entry["note"]), (&json!("production"), &json!("kept")));
    // And a push takes an edit in before it writes.
    edit(&ground, |registry| registry["models"][0]["note"] = json!("again"));
    let dir = ground.ana.directory("run", &[("adapter_model.safetensors", b"two")]);
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    assert_eq!(ground.entry("m-v1")["note"], "again");
    assert_eq!(show::show(&ground.ctx(), "m-v1").await.unwrap().fields["note"], "again");
}

#[tokio::test]
async fn a_registry_that_cannot_be_read_is_kept_aside() {
    for spoilt in [b"{\"models\": [oops".as_slice(), b"", b"[]", b"\xff\xfe{}"] {
        let (ground, file) = ground().await;
        let good = fs::read(&file).unwrap();
        fs::write(&file, spoilt).unwrap();
        let mut ctx = ground.ctx();
        let heard = Heard::listen(&mut ctx);
        let dir = ground.ana.directory("more", &[("adapter_model.safetensors", b"more")]);
        push(&ctx, &dir, "more").await.unwrap();
        let aside = fs::read_dir(ground.root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let aside: Vec<PathBuf> = aside.filter(|path| path.to_string_lossy().contains(".rejected-")).collect();
        assert_eq!(aside.len(), 1);
        assert_eq!(fs::read(&aside[0]).unwrap(), spoilt);
        let name = aside[0].file_name().unwrap().to_str().unwrap();
        assert!(heard.all().contains(name), "{}", heard.all());
        assert_ne!(fs::read(&file).unwrap(), good);
        ground.entry("more");
        settled(&ground.ctx()).await;
    }
    // Deleted, it is written again.
    let (ground, file) = ground().await;
    let good = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    settled(&ground.ctx()).await;
    assert_eq!(fs::read(&file).unwrap(), good);
}

#[tokio::test]
async fn a_registry_that_never_was_ours_is_left_until_it_is_adopted() {
    let scratch = crate::world::scratch();
    let root = scratch.path().join("remote");
    fs::create_dir_all(root.join("docs")).unwrap();
    let foreign = br#"{"models": [{"id": "m-v1", "purpose": "theirs", "status": "active", "grade": 2},
        {"id": "elsewhere", "type": "LoRA adapter"}], "owner": "eva"}"#;
    let file = root.join("docs/model_registry.json");
    fs::write(&file, foreign).unwrap();
    let ground = Ground::on(scratch, root).await;
    let mut ctx = ground.ctx();
    let heard = Heard::listen(&mut ctx);
    let dir = ground.ana.directory("run", &[("adapter_model.safetensors", b"one")]);
    push(&ctx, &dir, "m-v1").await.unwrap();
    assert!(heard.all().contains("modelkeep adopt"), "{}", heard.all());
    assert_eq!(fs::read(&file).unwrap(), foreign);
    repair::repair(&ctx, &repair::Request::default()).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), foreign);
    assert_eq!(list::list(&ctx, &list::Request::default()).await.unwrap().models.len(), 1);

    adopt::adopt(&ctx, &adopt::Request { dry_run: true, ..Default::default() }).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), foreign);
    adopt::adopt(&ctx, &adopt::Request::default()).await.unwrap();
    assert_eq!(fs::read(ground.root.join("docs/model_registry.before-modelkeep.json")).unwrap(), foreign);
    let entry = ground.entry("m-v1");
    assert_eq!((&entry["purpose"], &entry["grade"]), (&json!("theirs"), &json!(2)));
    assert_eq!(ground.entry("elsewhere")["type"], "LoRA adapter");
    assert_eq!(ground.registry()["owner"], "eva");
    settled(&ctx).await;
}
