//! What hosts report of themselves, as the registry shows it.

use jiff::SignedDuration;
use serde_json::json;

use crate::world::{Ground, Machine, pull, push};

#[tokio::test]
async fn two_pretended_hosts_show_what_they_hold_and_used() {
    let ground = Ground::new().await;
    let dir = ground.ana.directory("base", &[("model.safetensors", b"base"), ("config.json", b"{}")]);
    let request = modelkeep_ops::push::Request {
        path: dir,
        model: "llama2-7b".to_owned(),
        kind: Some(modelkeep_core::manifest::ModelKind::Base),
        ..Default::default()
    };
    modelkeep_ops::push::push(&ground.ctx(), request).await.unwrap();
    let adapter = ground.ana.directory("adapter", &[("adapter_model.safetensors", b"a")]);
    push(&ground.ctx(), &adapter, "banking-v1").await.unwrap();
    let base = |ground: &Ground| {
        let entry = ground.entry("llama2-7b");
        (entry["cached_in_codespaces"].clone(), entry["cached_in_colab"].clone(), entry["last_used"].clone())
    };
    let (yes, no) = (json!(true), json!(false));
    let (codespaces, colab, _) = base(&ground);
    assert_eq!((codespaces, colab), (no.clone(), no.clone()), "a host of no known kind is no cache");

    let (space, colab) = (Machine::new("space"), Machine::new("colab"));
    let at_space = || {
        let mut ctx = ground.of(&space);
        ctx.env.vars.insert("CODESPACES".to_owned(), "true".to_owned());
        ctx.env.vars.insert("CODESPACE_NAME".to_owned(), "fluffy-umbrella".to_owned());
        ctx
    };
    let at_colab = || {
        let mut ctx = ground.of(&colab);
        ctx.env.vars.insert("COLAB_RELEASE_TAG".to_owned(), "release-colab_20261120".to_owned());
        ctx
    };
    space.clock.advance(SignedDuration::from_hours(24));
    pull(&at_space(), "llama2-7b", &space.home.path().join("here")).await.unwrap();
    assert_eq!(base(&ground), (yes.clone(), no, json!("2026-11-24")));
    colab.clock.advance(SignedDuration::from_hours(48));
    // More than a day from the store's time would be the store's: this store's own clock is the real one.
    pull(&at_colab(), "llama2-7b", &colab.home.path().join("here")).await.unwrap();
    assert_eq!(base(&ground), (yes.clone(), yes.clone(), json!("2026-11-25")));
    // Ours beside says the same of adapters, whose shape has no such fields.
    let entry = ground.entry("banking-v1");
    assert_eq!((&entry["modelkeep"]["cached_in_colab"], entry.get("cached_in_colab")), (&json!(false), None));
    pull(&at_colab(), "banking-v1", &colab.home.path().join("banking")).await.unwrap();
    assert_eq!(ground.entry("banking-v1")["modelkeep"]["cached_in_colab"], true);
    assert_eq!(ground.entry("banking-v1")["modelkeep"]["last_used"], "2026-11-25");

    // The same day again is no news.
    let events = || std::fs::read_dir(ground.root.join(".modelkeep/log")).unwrap().count();
    let before = events();
    pull(&at_colab(), "llama2-7b", &colab.home.path().join("here")).await.unwrap();
    pull(&at_space(), "llama2-7b", &space.home.path().join("here")).await.unwrap();
    assert_eq!(events(), before);
    // One that is asked to keep quiet says nothing.
    let dan = Machine::new("dan");
    let mut quiet = ground.of(&dan);
    quiet.options.unreported = true;
    pull(&quiet, "llama2-7b", &dan.home.path().join("here")).await.unwrap();
    assert_eq!(events(), before);
    // An older day of another host does not take the newest away.
    pull(&ground.of(&Machine::new("eva")), "llama2-7b", &dan.home.path().join("eva")).await.unwrap();
    assert_eq!(base(&ground), (yes.clone(), yes, json!("2026-11-25")));
    crate::world::settled(&ground.ctx()).await;
}
