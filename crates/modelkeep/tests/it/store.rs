//! Into the store, out of it, and looking at it.

use crate::sealed::{Ran, Sealed, assert_seen, words};

#[test]
fn init_makes_a_workspace_and_may_be_run_again() {
    let sealed = Sealed::new();
    assert_seen!(sealed.transcript(&[
        "init ../other --name other",
        "init --remote ../store --name banking",
        "init",
        "init --python",
        "init --remote ../another",
        "init ../simulated --remote sim:",
    ]));
}

#[test]
fn a_push_says_what_it_learnt_and_what_it_sent() {
    let sealed = Sealed::with_store();
    assert_seen!(sealed.transcript(&[
        "push outputs/llama2-7b llama2-7b --kind base --purpose 'for everything'",
        "push outputs/banking-v1 banking-v1 --label prod --metric f1=0.93 --note first",
        "push outputs/banking-v1 banking-v1",
        "push outputs/banking-v1 banking-v1 --label checked",
        "push outputs/banking-v1/adapter_config.json config-only -q",
        "push outputs/banking-v2 banking-v1 --verify -q",
        "push outputs/banking-v1 banking-v1 --exclude '*.json' -q",
    ]));
}

#[test]
fn a_push_to_the_simulation_or_through_a_mount_says_so() {
    let sealed = Sealed::new();
    assert_seen!(sealed.transcript(&[
        "init --remote sim: --name banking -q",
        "push outputs/banking-v1 banking-v1",
        "list",
        "deploy banking-v1 --yes",
    ]));
    let (_, report) = sealed.json("push outputs/banking-v2 banking-v2");
    assert_eq!((&report["simulated"], &report["confirmed"]), (&true.into(), &true.into()));

    let sealed = Sealed::with_store();
    let mut command = sealed.command(&words("push outputs/banking-v1 banking-v1"));
    let ran = Ran::from(command.env("MODELKEEP_WRITE_BACK", "1").output().unwrap());
    assert!(ran.stdout.contains("[not confirmed: written through a mount"), "{}", ran.stdout);
}

#[test]
fn a_pull_brings_what_is_missing_and_nothing_else() {
    let sealed = Sealed::with_models();
    let read = |path: &str| std::fs::read(sealed.work().join(path)).unwrap();
    let pushed = read("outputs/banking-v2/adapter_model.safetensors");
    sealed.forget_outputs();
    assert_seen!(sealed.transcript(&[
        "pull banking-v2@prod --to elsewhere",
        "pull banking-v2",
        "pull banking-v2",
        "pull banking-v1 --with-base",
        "pull banking-v1 --to part --include '*.json'",
    ]));
    assert_eq!(read("models/banking-v2/latest/adapter_model.safetensors"), pushed);
    assert_eq!(read("elsewhere/adapter_model.safetensors"), pushed);
    assert!(!sealed.work().join("part/adapter_model.safetensors").exists());
}

#[test]
fn a_pull_never_takes_away_what_is_somebodys_own() {
    let sealed = Sealed::with_models();
    sealed.forget_outputs();
    sealed.ok("pull banking-v2");
    sealed.write("models/banking-v2/latest/notes.txt", b"mine");
    sealed.write("models/banking-v2/latest/eval_results.json", b"{}");
    assert_seen!(sealed.transcript(&[
        "pull banking-v2",
        "pull banking-v2 --force --dry-run",
        "pull banking-v2 --force"
    ]));
    let aside = sealed.files("project/models/banking-v2");
    assert!(aside.iter().any(|(path, bytes)| path.ends_with("notes.txt") && bytes == b"mine"));
}

#[test]
fn list_and_show_read_at_a_glance() {
    let sealed = Sealed::with_models();
    sealed.ok("push outputs/banking-v1 banking-v2 --label rollback-to");
    sealed.ok("set banking-v1 purpose='card fraud' owner=ana");
    sealed.ok("deploy banking-v1 --yes");
    assert_seen!(sealed.transcript(&[
        "list",
        "list --kind base",
        "list --family banking --sort accuracy",
        "list --status archived",
        "list --sort size",
        "show banking-v1",
        "show banking-v2@prod",
        "show llama2-7b",
    ]));
}

#[test]
fn history_tells_who_did_what() {
    let sealed = Sealed::with_models();
    sealed.ok("label banking-v2 prod2");
    sealed.ok("label --remove banking-v2 prod2");
    sealed.ok("set banking-v1 purpose='card fraud'");
    sealed.ok("deploy banking-v1 --yes");
    sealed.ok("deploy banking-v2 --yes");
    sealed.ok("rollback --yes");
    sealed.ok("archive banking-v2 --yes");
    assert_seen!(sealed.transcript(&["history", "history banking-v2"]));
}

#[test]
fn diff_tells_what_changed() {
    let sealed = Sealed::with_models();
    assert_seen!(sealed.transcript(&[
        "diff banking-v1 banking-v2",
        "diff banking-v2 banking-v2@prod",
        "diff llama2-7b banking-v1",
    ]));
}
