//! Settings and stores by name.

use crate::sealed::{Sealed, assert_seen, narrow};

#[test]
fn settings_say_where_they_come_from() {
    let sealed = Sealed::with_store();
    assert_seen!(sealed.transcript(&[
        "config show",
        "config set budget.models 5GB",
        "config set budget.models lots",
        "config set colour blue",
        "config get budget.models",
        "config get colour",
        "config show --origin",
        "config path",
        "config set evict sometimes",
        "config get evict",
    ]));
    let file = std::fs::read_to_string(sealed.work().join("modelkeep.toml")).unwrap();
    assert_seen!(file.replace(&*sealed.root.to_string_lossy(), "[ROOT]"));
}

#[test]
fn without_a_workspace_settings_are_the_users_own() {
    let sealed = Sealed::new();
    assert_seen!(narrow(&sealed.transcript(&[
        "config path",
        "config set budget.models 3GB",
        "config show --origin",
        "push outputs/banking-v1 banking-v1",
        "init ../made --remote ../store -q",
        "push outputs/banking-v1 banking-v1 --remote ../store",
        "--remote folder:../store list",
        "list --remote ../store --workspace ../made",
    ])));
}

#[test]
fn stores_have_names() {
    let sealed = Sealed::with_store();
    assert_seen!(narrow(&sealed.transcript(&[
        "remote list",
        "remote add backup ../backup",
        "remote add backup ../backup",
        "remote add Back/up ../backup",
        "remote list",
        "remote show backup",
        "remote show nothing",
        "remote test",
        "remote test backup",
        "remote test ../nowhere",
        "push outputs/banking-v1 banking-v1 --remote backup -q",
        "list",
        "list --remote backup",
        "list --remote backups",
        "remote remove backup",
        "remote remove backup",
        "remote add drive gdrive:Models",
        "remote add drive gdrive:id:",
        "remote add bucket s3://models/here",
    ])));
}
