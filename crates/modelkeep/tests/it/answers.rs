//! Questions about the program itself: help, version, completions, schemas, colours, closed pipes.

use std::process::Stdio;

use crate::sealed::{Ran, Sealed, assert_seen, words};

#[test]
fn help_and_version() {
    let sealed = Sealed::new();
    assert_eq!(sealed.ok("--version").stdout, format!("modelkeep {}\n", env!("CARGO_PKG_VERSION")));
    assert_seen!(sealed.transcript(&["--help", "push --help", "label -h"]));
}

#[test]
fn completions_for_each_shell() {
    let sealed = Sealed::with_models();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = sealed.ok(&format!("completions {shell}")).stdout;
        assert!(script.contains("modelkeep") && script.contains("rollback"), "{shell}");
    }
    assert_eq!(sealed.ok("__complete models").stdout, "llama2-7b\nbanking-v1\nbanking-v2\n");
    let bare = Sealed::new();
    let ran = bare.ok("__complete models");
    assert!(ran.stdout.is_empty() && ran.stderr.is_empty());
}

#[test]
fn bash_and_zsh_can_read_their_scripts() {
    let sealed = Sealed::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = sealed.root.join(format!("completions.{shell}"));
        std::fs::write(&script, sealed.ok(&format!("completions {shell}")).stdout).unwrap();
        // Not every machine has every shell.
        if let Ok(checked) = std::process::Command::new(shell).arg("-n").arg(&script).output() {
            assert!(checked.status.success(), "{shell}: {}", String::from_utf8_lossy(&checked.stderr));
        }
    }
}

#[test]
fn schemas_have_names() {
    let sealed = Sealed::new();
    assert_seen!(sealed.transcript(&["schema", "schema nothing", "schema --json", "schema use"]));
}

#[test]
fn colours_only_where_they_are_wanted() {
    let sealed = Sealed::with_models();
    let colourful = |text: &str| text.contains('\u{1b}');
    assert!(!colourful(&sealed.ok("list").stdout));
    assert!(colourful(&sealed.ok("list --color always").stdout));
    let with = |name: &str, line: &str| Ran::from(sealed.command(&words(line)).env(name, "1").output().unwrap());
    assert!(colourful(&with("CLICOLOR_FORCE", "list").stdout));
    assert!(!colourful(&with("CLICOLOR_FORCE", "list --color never").stdout));
    assert!(!colourful(&with("NO_COLOR", "list").stdout));
    assert!(colourful(&sealed.run("show nothing --color always").stderr));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let sealed = Sealed::new();
    // More than a pipe holds, so that the program is still writing when the pipe closes.
    let mut child =
        sealed.command(&words("completions bash")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[test]
fn verbose_counts_the_calls() {
    let sealed = Sealed::with_models();
    let ran = sealed.ok("list -v");
    assert!(ran.stderr.contains(" calls to "), "{}", ran.stderr);
    let ran = sealed.ok("list -vv");
    assert!(ran.stderr.contains("  list ") || ran.stderr.contains("  read "), "{}", ran.stderr);
    assert_eq!(sealed.ok("config show -v").stderr, "");
}
