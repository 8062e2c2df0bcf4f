//! What is said when it does not work, and which exit code comes back.

use crate::sealed::{Sealed, assert_seen};

#[test]
fn a_slip_gets_the_next_command() {
    let sealed = Sealed::with_models();
    assert_seen!(sealed.transcript(&[
        "psuh outputs/banking-v1 banking-v3",
        "frobnicate",
        "push",
        "list --jsn",
        "list --kind adapters",
        "completions tcsh",
        "show banking-v9",
        "show banking",
        "show ''",
        "show banking-v2@prodd",
        "show banking-v2@7",
        "show banking-v2@0000000",
        "push outputs/banking-v1 'Banking V2'",
        "push outputs/banking-v1 banking-v1 --label 7",
        "push outputs/banking-v1 banking-v1 --kind base",
        "push outputs/nothing banking-v3",
        "push outputs/banking-v1 banking-v3 --metric f1",
        "list --sort beauty",
        "diff banking-v1",
        "verify banking-v9",
    ]));
}

#[test]
fn without_a_workspace_or_a_store_it_says_how_to_get_one() {
    let sealed = Sealed::new();
    assert_seen!(sealed.transcript(&[
        "list",
        "push outputs/banking-v1 banking-v1",
        "use banking-v1",
        "unuse banking-v1",
        "list --workspace nowhere",
        "list --remote ../nowhere",
        "list --remote nowhere",
        "init --name banking -q",
        "push outputs/banking-v1 banking-v1",
    ]));
}

#[test]
fn every_error_is_one_json_document_too() {
    let sealed = Sealed::with_models();
    sealed.ok("deploy banking-v2 --yes");
    sealed.ok("use banking-v1");
    for (line, code, kind) in [
        ("frobnicate", 2, "usage"),
        ("push", 2, "usage"),
        ("", 2, "usage"),
        ("push outputs/banking-v1 'Banking V2'", 2, "usage"),
        ("show banking-v9", 3, "not_found"),
        ("list --workspace nowhere", 3, "not_found"),
        ("list --remote nowhere", 3, "not_found"),
        ("push outputs/nothing banking-v3", 3, "not_found"),
        ("push outputs/banking-v1 banking-v2", 4, "conflict"),
        ("push outputs/banking-v1 banking-v1 --kind base", 4, "conflict"),
        ("archive banking-v2 --yes", 4, "conflict"),
        ("rm banking-v2 --yes", 4, "conflict"),
        ("rm banking-v1 --yes", 4, "conflict"),
        ("rm llama2-7b", 2, "usage"),
    ] {
        let (found, report) = sealed.json(line);
        assert_eq!((found, &report["error"]["kind"]), (code, &kind.into()), "{line}: {report}");
        assert!(report["error"]["message"].is_string() && report["error"]["hint"].is_string(), "{line}: {report}");
    }
    let bare = Sealed::new();
    let (code, report) = bare.json("push outputs/banking-v1 banking-v1");
    assert_eq!((code, &report["error"]["kind"]), (6, &"auth".into()));
}

#[test]
fn two_pushes_of_one_number_are_ambiguous() {
    let sealed = Sealed::with_models();
    // A copy of the store from before is what a writer sees who has not heard of the other.
    let copy = |from: &str, to: &str| {
        let (from, to) = (sealed.root.join(from), sealed.root.join(to));
        assert!(std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    };
    copy("store", "before");
    sealed.ok("push outputs/banking-v1 banking-v2");
    sealed.write("outputs/third/adapter_model.safetensors", b"third");
    sealed.ok("init ../elsewhere --remote ../before -q");
    sealed.ok("push outputs/third banking-v2 --remote ../before --workspace ../elsewhere");
    copy("before/.modelkeep/.", "store/.modelkeep");
    assert_seen!(sealed.transcript(&["show banking-v2@2", "show banking-v2@1 -q"]));
}

#[test]
fn settings_that_cannot_be_read_are_named() {
    let sealed = Sealed::with_store();
    sealed.write("modelkeep.toml", b"name = banking\n");
    assert_seen!(sealed.transcript(&["list"]));
    sealed.write("modelkeep.toml", b"[retention]\ngrace_days = 1\n");
    assert_seen!(sealed.transcript(&["list", "config show"]));
}

#[test]
fn another_tree_in_the_stores_place_is_noticed() {
    let sealed = Sealed::with_models();
    std::fs::rename(sealed.root.join("store"), sealed.root.join("gone")).unwrap();
    assert_seen!(sealed.transcript(&["list"]));
    sealed.ok("init ../other --remote ../store -q");
    assert_seen!(sealed.transcript(&["list"]));
}
