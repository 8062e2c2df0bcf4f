//! Plans and questions: a dry run changes nothing; without a terminal and without `--yes` nothing is changed either.

use crate::sealed::{Sealed, assert_seen};

/// Each changes the store when it is not held back.
const ASKED: [&str; 5] =
    ["deploy banking-v1", "rollback", "archive banking-v1", "rm llama2-7b", "label banking-v2@1 moved"];

const NOT_ASKED: [&str; 5] = [
    "push outputs/banking-v1 banking-v3",
    "label banking-v2 new",
    "set banking-v1 purpose=anything",
    "restore gone-v1",
    "unarchive old-v1",
];

fn prepared() -> Sealed {
    let sealed = Sealed::with_models();
    sealed.ok("push outputs/banking-v1 banking-v2 --label moved");
    sealed.ok("deploy banking-v1 --yes");
    sealed.ok("deploy banking-v2 --yes");
    for name in ["gone-v1", "old-v1"] {
        sealed.ok(&format!("push outputs/banking-v1 {name}"));
    }
    sealed.ok("rm gone-v1 --yes");
    sealed.ok("archive old-v1 --yes");
    sealed
}

#[test]
fn a_dry_run_changes_nothing() {
    let sealed = prepared();
    let before = (sealed.files("store"), sealed.files("project/models"));
    for line in ASKED.iter().chain(&NOT_ASKED).chain(&["pull banking-v1", "repair", "prune --keep 1", "adopt"]) {
        let ran = sealed.ok(&format!("{line} --dry-run"));
        assert!(!ran.stdout.is_empty(), "{line} says nothing");
        let (_, report) = sealed.json(&format!("{line} --dry-run"));
        assert_eq!(report["dry_run"], true, "{line}: {report}");
        assert!(report["steps"].is_array(), "{line}: {report}");
        assert!(
            before == (sealed.files("store"), sealed.files("project/models")),
            "{line} --dry-run changed something"
        );
    }
}

#[test]
fn without_a_terminal_nothing_is_asked_and_nothing_is_changed() {
    let sealed = prepared();
    let before = sealed.files("store");
    for line in ASKED {
        let ran = sealed.run(line);
        assert_eq!(ran.code, 2, "{line}: {}", ran.stderr);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("--yes"), "{line}: {}{}", ran.stdout, ran.stderr);
        let (code, report) = sealed.json(line);
        assert_eq!((code, &report["error"]["kind"]), (2, &"usage".into()), "{line}");
        assert!(before == sealed.files("store"), "{line} changed something");
    }
    assert_seen!(sealed.transcript(&["deploy banking-v1", "rm banking-v1 --json"]));
}

#[test]
fn yes_is_taken_before_and_after_the_command() {
    let sealed = prepared();
    sealed.ok("--yes deploy banking-v1");
    sealed.ok("rollback -y");
    for line in ["label banking-v2@1 moved --yes", "archive banking-v1 --yes", "rm llama2-7b --yes"] {
        let (code, report) = sealed.json(line);
        assert_eq!((code, &report["changed"]), (0, &true.into()), "{line}: {report}");
    }
}

#[test]
fn what_is_so_already_needs_no_answer() {
    let sealed = prepared();
    assert_seen!(sealed.transcript(&["deploy banking-v2", "archive old-v1", "prune", "label banking-v2 moved"]));
}
