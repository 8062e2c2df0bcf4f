//! Changing the registry: labels, fields, deployment, archive, removal.

use crate::sealed::{Sealed, assert_seen};

#[test]
fn labels_are_given_moved_and_taken_away() {
    let sealed = Sealed::with_models();
    sealed.ok("push outputs/banking-v1 banking-v2");
    assert_seen!(sealed.transcript(&[
        "label banking-v2 best",
        "label banking-v2 best",
        "label banking-v2@1 best --dry-run",
        "label banking-v2@1 best",
        "label banking-v2@1 best --yes",
        "label --remove banking-v2 best --dry-run",
        "label --remove banking-v2 best",
        "label --remove banking-v2 best",
        "label banking-v2 latest",
        "label banking-v2 1234567",
    ]));
}

#[test]
fn fields_are_set_and_taken_back() {
    let sealed = Sealed::with_models();
    assert_seen!(sealed.transcript(&[
        "set banking-v1 purpose='card fraud' metrics.f1=0.93 reviewed=true",
        "set banking-v1 purpose='card fraud'",
        "set banking-v1 purpose= --dry-run",
        "set banking-v1 purpose=",
        "set banking-v1 size_mb=3",
        "set banking-v1 status=archived",
        "set banking-v1 nonsense",
        "show banking-v1 -q",
    ]));
}

#[test]
fn deploy_rollback_and_back_again() {
    let sealed = Sealed::with_models();
    assert_seen!(sealed.transcript(&[
        "rollback --yes",
        "deploy banking-v1 --dry-run",
        "deploy banking-v1 --yes",
        "deploy banking-v1",
        "deploy banking-v2@prod --yes",
        "rollback --dry-run",
        "rollback --yes",
        "list",
        "push outputs/banking-v2 banking-v1",
        "push outputs/banking-v2 banking-v1 --even-if-deployed -q",
        "list -q",
    ]));
}

#[test]
fn archive_and_unarchive() {
    let sealed = Sealed::with_models();
    sealed.ok("deploy banking-v2 --yes");
    assert_seen!(sealed.transcript(&[
        "archive banking-v1 --yes",
        "archive banking-v1",
        "archive banking-v2 --yes",
        "list --status archived",
        "unarchive banking-v1 --dry-run",
        "unarchive banking-v1",
        "unarchive banking-v1",
    ]));
}

#[test]
fn what_is_removed_can_be_restored() {
    let sealed = Sealed::with_models();
    sealed.ok("push outputs/banking-v1 banking-v2");
    assert_seen!(sealed.transcript(&[
        "rm banking-v1 --dry-run",
        "rm banking-v1 --yes",
        "list",
        "list --all",
        "show banking-v1",
        "rm banking-v1 --yes",
        "restore banking-v1 --dry-run",
        "restore banking-v1",
        "restore banking-v1",
        "rm banking-v2@1 --yes",
        "rm banking-v2@2 --yes",
        "show banking-v2",
        "restore banking-v2@2",
        "pull banking-v2 -q",
    ]));
}
