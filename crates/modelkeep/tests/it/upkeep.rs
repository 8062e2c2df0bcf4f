//! Care for the store: verify, repair, prune, adopt, demo.

use crate::sealed::{Sealed, assert_seen};

#[test]
fn damage_is_found_told_and_mended() {
    let sealed = Sealed::with_models();
    assert_seen!(sealed.transcript(&["verify", "verify --deep", "verify banking-v1"]));
    // The other push of the same content is where it comes back from.
    sealed.ok("push outputs/banking-v1 spare-v1");
    sealed.forget_outputs();
    let weights = sealed.root.join("store/models/finetuned/banking-v1/adapter_model.safetensors");
    let right = std::fs::read(&weights).unwrap();
    let mut wrong = right.clone();
    *wrong.last_mut().unwrap() ^= 1;
    std::fs::remove_file(&weights).unwrap();
    std::fs::write(&weights, &wrong).unwrap();
    std::fs::remove_file(sealed.root.join("store/models/finetuned/banking-v2/adapter_config.json")).unwrap();
    let (code, report) = sealed.json("verify --deep");
    assert_eq!(code, 5, "{report}");
    let mut kinds: Vec<&str> =
        report["problems"].as_array().unwrap().iter().map(|problem| problem["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["corrupt", "missing"]);
    assert_seen!(sealed.transcript(&["verify --deep", "repair", "repair --yes", "verify --deep", "repair"]));
    assert_eq!(std::fs::read(&weights).unwrap(), right);
}

#[test]
fn retention_goes_through_the_trash() {
    let sealed = Sealed::with_models();
    sealed.ok("push outputs/banking-v1 banking-v2");
    sealed.ok("push outputs/llama2-7b banking-v2");
    assert_seen!(sealed.transcript(&[
        "prune",
        "prune --keep 1 --dry-run",
        "prune --keep 1",
        "prune --keep 1 --yes",
        "show banking-v2 -q",
        "prune --keep 1",
    ]));
}

#[test]
fn a_tree_made_by_hand_is_taken_in() {
    let sealed = Sealed::with_store();
    sealed.adapter("../store/models/finetuned/support-v1", 1, &[("accuracy", 0.9)]);
    assert_seen!(sealed.transcript(&["init", "adopt", "adopt --now --dry-run", "adopt --now --yes", "list", "adopt"]));
}

#[test]
fn the_demo_goes_from_nothing_to_a_deployed_model() {
    let sealed = Sealed::new();
    let ran = sealed.ok("demo");
    for words in ["modelkeep init", "modelkeep push", "modelkeep pull", "modelkeep deploy", "What to type next"] {
        assert!(ran.stdout.contains(words), "{words}\n{}", ran.stdout);
    }
    let (_, list) = sealed.json("list --workspace modelkeep-demo");
    let deployed: Vec<&str> = list["models"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|model| model["deployed"] == true)
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(deployed, ["banking-v2"]);
    sealed.ok("demo");
    assert!(sealed.files("home").is_empty(), "the demo wrote outside its folder");
}
