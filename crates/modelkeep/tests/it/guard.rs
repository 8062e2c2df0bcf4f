//! The guard against real repositories, made and read by git itself.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::sealed::{Sealed, assert_seen, safetensors};

impl Sealed {
    /// Runs git in a folder of the project; hooks find this program.
    fn git_in(&self, folder: &str, args: &[&str]) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_modelkeep")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("git");
        command.args(args).current_dir(self.work().join(folder)).env_clear().stdin(Stdio::null());
        command.env("PATH", path).env("HOME", self.root.join("home")).env("GIT_CONFIG_NOSYSTEM", "1");
        for (name, value) in [("NAME", "ana"), ("EMAIL", "ana@example.com"), ("DATE", "2026-02-11T10:00:00Z")] {
            command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
        }
        command.output().unwrap()
    }

    fn git(&self, line: &str) -> String {
        let args = crate::sealed::words(line);
        let output = self.git_in("", &args.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(output.status.success(), "git {line}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A repository with no commit, and nothing else in the folder.
    fn with_git() -> Self {
        let sealed = Self::new();
        sealed.forget_outputs();
        sealed.git("init -q -b main");
        sealed
    }

    /// A commit of everything.
    fn commit(&self, message: &str) {
        self.git("add -A");
        self.git(&format!("commit -q --no-verify -m '{message}'"));
    }

    fn found(&self, line: &str) -> (i32, Vec<String>) {
        let (code, report) = self.json(line);
        (code, report["findings"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap().to_owned()).collect())
    }
}

fn model() -> Vec<u8> {
    safetensors(&[("w", &[64, 64], 1)])
}

fn notebook(outputs: usize) -> Vec<u8> {
    let image = "A".repeat(outputs);
    let cell = serde_json::json!({"cell_type": "code", "outputs": [{"data": {"image/png": image}}], "source": []});
    serde_json::json!({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).to_string().into_bytes()
}

/// Bytes that compress badly, so that a repository grows by them.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

#[test]
fn what_is_staged_is_judged_by_its_content() {
    let sealed = Sealed::with_git();
    sealed.write("src/train.py", b"print('hello')\n");
    sealed.write("notes.txt", &model());
    sealed.write("big.bin", &vec![1; 10_000_000]);
    sealed.write("plots.ipynb", &notebook(200_000));
    sealed.write("clean.ipynb", &notebook(10));
    sealed.write("lfs.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 900000000\n");
    // Nothing is staged yet.
    assert_eq!(sealed.found("guard check"), (0, vec![]));
    sealed.git("add -A");
    assert_eq!(sealed.found("guard check"), (9, vec!["big.bin".into(), "notes.txt".into(), "plots.ipynb".into()]));
    assert_eq!(sealed.found("guard check src notes.txt"), (9, vec!["notes.txt".into()]));
    assert_seen!(sealed.transcript(&["guard check", "guard check src"]));
    sealed.git("commit -q -m all");
    // What is committed is not staged; it is still there.
    assert_eq!(sealed.found("guard check"), (0, vec![]));
    assert_eq!(sealed.found("guard check --all").1.len(), 3);
    // A deletion is no finding, a change is.
    sealed.git("rm -q --cached notes.txt");
    sealed.write("clean.ipynb", &notebook(300_000));
    sealed.git("add clean.ipynb");
    assert_eq!(sealed.found("guard check"), (9, vec!["clean.ipynb".into()]));
    sealed.ok("init");
    sealed.ok("config set guard.allow 'clean.*, other/'");
    assert_eq!(sealed.found("guard check"), (0, vec![]));
    sealed.ok("config set guard.notebook_outputs 1MB");
    sealed.ok("config set guard.max_file 20MB");
    assert_eq!(sealed.found("guard check --all"), (0, vec![]));
}

#[test]
fn a_repository_may_not_grow_too_big() {
    let sealed = Sealed::with_git();
    sealed.write("a.dat", &noise(60_000));
    sealed.commit("one");
    sealed.ok("init");
    sealed.ok("config set guard.repository 50kB");
    let (code, report) = sealed.json("guard check --all");
    assert_eq!((code, report["findings"][0]["path"].as_str()), (9, Some(".")), "{report}");
    sealed.git("gc -q");
    assert_eq!(sealed.found("guard check --all").0, 9);
    // It is told at every commit, and stops none: the commit may be the one that mends it.
    let (code, report) = sealed.json("guard check");
    assert!(code == 0 && report["notes"][0].as_str().unwrap().contains("guard history"), "{report}");
}

#[test]
fn after_a_model_was_caught_the_next_commit_passes() {
    let sealed = Sealed::with_git();
    sealed.ok("init");
    sealed.ok("config set guard.repository 50kB");
    sealed.ok("guard install");
    sealed.write("big.dat", &[&model(), &*noise(60_000)].concat());
    sealed.git("add -f big.dat");
    assert!(!sealed.git_in("", &["commit", "-qm", "model"]).status.success());
    sealed.git("rm -q --cached big.dat");
    sealed.write("a.py", b"pass\n");
    sealed.git("add a.py");
    // What was staged still lies in the repository, though no commit has it.
    sealed.git("commit -q -m code");
    let history = sealed.ok("guard history");
    assert!(history.stdout.contains("git gc --prune=now"), "{}", history.stdout);
}

#[test]
fn what_is_large_only_where_it_is_checked_out_is_no_finding() {
    let sealed = Sealed::with_git();
    sealed.ok("init");
    sealed.ok("config set guard.repository 50kB");
    // As git-lfs does it: a small file in git stands for the large one.
    sealed.git("config filter.stand-in.clean 'head -c 40'");
    sealed.write(".gitattributes", b"*.dat filter=stand-in\n");
    sealed.write("big.dat", &noise(60_000));
    sealed.commit("one");
    assert_eq!(sealed.found("guard check --all"), (0, vec![]));
}

#[test]
fn a_repository_below_a_workspace_is_looked_at_for_itself() {
    let sealed = Sealed::with_git();
    sealed.ok("init");
    fs::create_dir_all(sealed.work().join("inner")).unwrap();
    sealed.git("-C inner init -q -b main");
    let inner = sealed.work().join("inner");
    let installed = sealed.command(&crate::sealed::words("guard install")).current_dir(&inner).output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    sealed.write("inner/m.dat", &model());
    sealed.git("-C inner add -f m.dat");
    let commit = sealed.git_in("inner", &["commit", "-qm", "model"]);
    let said = String::from_utf8_lossy(&commit.stderr) + String::from_utf8_lossy(&commit.stdout);
    assert!(!commit.status.success() && said.contains("m.dat"), "{said}");
    assert!(!sealed.work().join(".git/hooks/pre-commit").exists());
}

#[test]
fn commits_are_judged_in_ranges_and_before_a_push() {
    let sealed = Sealed::with_git();
    sealed.write("a.txt", b"a");
    sealed.commit("one");
    sealed.write("deep/er/m.bin", &model());
    sealed.commit("two");
    fs::remove_file(sealed.work().join("deep/er/m.bin")).unwrap();
    sealed.commit("three");
    let two = sealed.git("rev-parse HEAD~1");
    // It is gone from the newest commit, but it would be pushed.
    let (code, report) = sealed.json("guard check --range HEAD~2..HEAD");
    assert_eq!((code, report["findings"][0]["commit"].as_str()), (9, Some(two.trim())), "{report}");
    assert_eq!(sealed.found("guard check --range HEAD~1..HEAD").0, 0);
    assert_eq!(sealed.found(&format!("guard check --range {}..HEAD", "0".repeat(40))).0, 9);
    sealed.git("gc -q");
    assert_eq!(sealed.found("guard check --range HEAD~2..").0, 9);
    assert_eq!(sealed.run("guard check --range nowhere..HEAD").code, 3);

    sealed.git("init -q --bare ../origin.git");
    sealed.git("remote add origin ../origin.git");
    sealed.ok("guard install");
    let push = sealed.git_in("", &["push", "-q", "origin", "main"]);
    assert!(!push.status.success() && String::from_utf8_lossy(&push.stdout).contains("deep/er/m.bin"));
    sealed.git("push -q --no-verify origin main");
    sealed.git("fetch -q origin");
    // What is there already is not judged again.
    sealed.write("b.txt", b"b");
    sealed.git("add -A");
    sealed.git("commit -q -m four");
    sealed.git("push -q origin main");
    sealed.git("push -q origin main:other");
}

#[test]
fn hooks_go_beside_others_and_break_nothing() {
    let sealed = Sealed::with_git();
    let hook = sealed.work().join(".git/hooks/pre-commit");
    let theirs = "#!/bin/sh\necho theirs >> hook.log\n";
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, theirs).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    assert_seen!(sealed.transcript(&["guard install --dry-run", "guard install", "guard install"]));
    sealed.write("m.bin", &model());
    sealed.git("add -f m.bin");
    let refused = sealed.git_in("", &["commit", "-q", "-m", "m"]);
    assert!(!refused.status.success());
    assert!(!sealed.work().join("hook.log").exists(), "ours stands first");
    sealed.git("rm -q --cached m.bin");
    sealed.write("a.py", b"1\n");
    sealed.git("add a.py");
    sealed.git("commit -q -m a");
    assert_eq!(fs::read_to_string(sealed.work().join("hook.log")).unwrap(), "theirs\n");
    // A commit of some files alone has an index of its own.
    sealed.write("b.py", b"2\n");
    sealed.git("add b.py");
    sealed.git("add -f m.bin");
    sealed.git("commit -q -m b b.py");
    sealed.git("rm -q --cached m.bin");
    // Where modelkeep is missing, nothing is asked.
    let git = Command::new("sh").args(["-c", "command -v git"]).output().unwrap();
    let git = String::from_utf8(git.stdout).unwrap();
    let bin = sealed.root.join("bin");
    fs::create_dir(&bin).unwrap();
    for tool in ["sh", "cat", "env"] {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().unwrap();
        std::os::unix::fs::symlink(String::from_utf8(found.stdout).unwrap().trim(), bin.join(tool)).unwrap();
    }
    sealed.git("add -f m.bin");
    let mut without = Command::new(git.trim());
    without.args(["commit", "-q", "-m", "m"]).current_dir(sealed.work()).env_clear().env("PATH", &bin);
    without.env("HOME", sealed.root.join("home"));
    without.env("GIT_AUTHOR_NAME", "a").env("GIT_AUTHOR_EMAIL", "a").env("GIT_COMMITTER_NAME", "a");
    let output = without.env("GIT_COMMITTER_EMAIL", "a").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_seen!(sealed.transcript(&["guard install --remove", "guard install --remove"]));
    assert_eq!(fs::read_to_string(&hook).unwrap(), theirs);
    assert!(!sealed.work().join(".git/hooks/pre-push").exists());
}

#[test]
fn other_hook_managers_are_worked_with() {
    // husky: what git calls is its own, what people write is a folder above.
    let sealed = Sealed::with_git();
    sealed.git("config core.hooksPath .husky/_");
    sealed.write(".husky/_/pre-commit", b"#!/usr/bin/env sh\nsh -e \"$(dirname \"$0\")/../pre-commit\" \"$@\"\n");
    let own = sealed.work().join(".husky/_/pre-commit");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
    sealed.write(".husky/pre-commit", b"echo husky > husky.log\n");
    let (_, report) = sealed.json("guard install");
    assert_eq!(report["managed_by"], "husky", "{report}");
    sealed.write("m.bin", &model());
    sealed.git("add -f m.bin");
    assert!(!sealed.git_in("", &["commit", "-q", "-m", "m"]).status.success());
    sealed.git("rm -q --cached m.bin");
    sealed.git("add .husky/pre-commit");
    sealed.git("commit -q -m husky");
    assert!(sealed.work().join("husky.log").exists());

    // A hook that is no shell script runs after ours.
    let sealed = Sealed::with_git();
    let hook = sealed.work().join(".git/hooks/pre-commit");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    let script = "#!/usr/bin/env python3\nopen('py.log', 'w').write('ran')\n";
    fs::write(&hook, script).unwrap();
    assert_eq!(sealed.run("guard install").code, 4, "git does not run it");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    sealed.ok("guard install");
    sealed.ok("guard install");
    sealed.write("a.py", b"1\n");
    sealed.git("add a.py");
    sealed.git("commit -q -m a");
    assert!(sealed.work().join("py.log").exists());
    sealed.ok("guard install --remove");
    assert_eq!(fs::read_to_string(&hook).unwrap(), script);
    // Hooks that every repository of the user shares are not for one repository to change.
    sealed.git("config --global core.hooksPath /somewhere/else");
    assert_eq!(sealed.run("guard install").code, 4);
    sealed.git("config core.hooksPath .git/hooks");
    sealed.ok("guard install");
    // Another program puts its own there after ours: there is one place for what runs after ours, and it is taken.
    fs::write(&hook, "#!/usr/bin/env python3\n").unwrap();
    let refused = sealed.run("guard install");
    assert!(refused.code == 4 && refused.stderr.contains(".modelkeep-chained"), "{}", refused.stderr);
    let aside = sealed.work().join(".git/hooks/pre-commit.modelkeep-chained");
    assert_eq!(fs::read_to_string(&aside).unwrap(), script);
}

#[test]
fn the_history_is_read_and_the_commands_that_clean_it_are_right() {
    let sealed = Sealed::with_git();
    sealed.write("README.md", b"hello\n");
    sealed.commit("one");
    sealed.write("models/weights.bin", &noise(300_000));
    fs::write(
        sealed.work().join("models/weights.bin"),
        [&40_u64.to_le_bytes()[..], format!("{:<40}", "{}").as_bytes(), &noise(300_000)].concat(),
    )
    .unwrap();
    sealed.commit("two");
    fs::remove_dir_all(sealed.work().join("models")).unwrap();
    sealed.commit("three");
    let two = sealed.git("rev-parse HEAD~1");
    for pack in [false, true] {
        if pack {
            sealed.git("gc -q --aggressive");
        }
        let (code, report) = sealed.json("guard history");
        let big = &report["findings"][0];
        assert_eq!((code, report["findings"].as_array().unwrap().len()), (9, 1), "{report}");
        assert_eq!((big["path"].as_str(), big["commit"].as_str()), (Some("models/weights.bin"), Some(two.trim())));
        assert_eq!(big["in_use"], Value::Bool(false));
        let stored = big["stored_bytes"].as_u64().unwrap();
        assert!((290_000..310_000).contains(&stored), "{stored}");
        // What git says the object takes.
        let blob = big["blob"].as_str().unwrap();
        assert_eq!(sealed.git(&format!("cat-file -s {blob}")).trim(), big["size_bytes"].to_string());
    }
    assert_seen!(
        sealed.transcript(&["guard history"]).lines().filter(|l| !l.contains("takes")).collect::<Vec<_>>().join("\n")
    );
    assert_eq!(sealed.ok("guard history --ids").stdout.trim().len(), 40);
}

#[test]
fn every_kind_of_repository_is_survived() {
    let sealed = Sealed::new();
    // None at all.
    assert_seen!(sealed.transcript(&["guard check", "guard history", "guard install"]));
    sealed.forget_outputs();
    sealed.git("init -q -b main");
    // No commit.
    assert_eq!(sealed.found("guard check").0, 0);
    assert_eq!(sealed.found("guard check --all").0, 0);
    assert_eq!(sealed.found("guard history").0, 0);
    assert_eq!(sealed.run("guard check --range HEAD").code, 3);
    sealed.write("m.bin", &noise(200_000));
    sealed.write("w.bin", &model());
    sealed.commit("one");
    sealed.write("a.txt", b"a");
    sealed.commit("two");

    // A working tree of its own: hooks are shared, what is staged is not.
    sealed.git("worktree add -q ../tree -b side");
    sealed.write("../tree/x.bin", &model());
    sealed.git_in("../tree", &["add", "x.bin"]);
    assert_eq!(sealed.found("guard check").0, 0);
    let there = sealed.root.join("tree");
    let mut command = sealed.command(&crate::sealed::words("guard check --json"));
    let output = command.current_dir(&there).output().unwrap();
    assert_eq!(output.status.code(), Some(9));
    let mut command = sealed.command(&crate::sealed::words("guard install"));
    assert!(command.current_dir(&there).output().unwrap().status.success());
    assert!(sealed.work().join(".git/hooks/pre-commit").exists());
    assert!(!sealed.git_in("../tree", &["commit", "-q", "-m", "x"]).status.success());

    // A shallow clone.
    let url = format!("file://{}", sealed.work().display());
    sealed.git_in("..", &["clone", "-q", "--depth", "1", &url, "shallow"]);
    let shallow = sealed.root.join("shallow");
    let run = |folder: &Path, line: &str| {
        let mut command = sealed.command(&crate::sealed::words(line));
        let output = command.current_dir(folder).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run(&shallow, "guard history --json");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, report["shallow"].as_bool()), (0, Some(true)), "{report}");
    assert_eq!(run(&shallow, "guard check --all").0, 9);
    assert_eq!(run(&shallow, "guard check --range HEAD~1..HEAD --json").0, 3);

    // A bare one.
    sealed.git_in("..", &["clone", "-q", "--bare", &url, "bare.git"]);
    let bare = sealed.root.join("bare.git");
    assert_eq!(run(&bare, "guard check").0, 9);
    assert_eq!(run(&bare, "guard history").0, 0);
    assert_eq!(run(&bare, "guard install").0, 2);

    // A submodule has hooks of its own.
    sealed.git_in("..", &["init", "-q", "super"]);
    let added = sealed.git_in("../super", &["-c", "protocol.file.allow=always", "submodule", "add", "-q", &url, "sub"]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let sub = sealed.root.join("super/sub");
    assert_eq!(run(&sub, "guard check --all").0, 9);
    assert_eq!(run(&sub, "guard install").0, 0);
    assert!(sealed.root.join("super/.git/modules/sub/hooks/pre-commit").exists());
    // The repository around it is judged without it.
    assert_eq!(run(&sealed.root.join("super"), "guard check").0, 0);
}

#[test]
fn the_github_action_looks_at_what_was_pushed() {
    let sealed = Sealed::with_git();
    sealed.write("a.txt", b"a");
    sealed.commit("one");
    sealed.write("m.bin", &model());
    sealed.commit("two");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../integrations/github-action/guard.sh");
    let outputs = sealed.root.join("outputs.txt");
    let run = |variables: &[(&str, &str)]| {
        let mut command = Command::new("bash");
        command.arg(&script).current_dir(sealed.work()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", sealed.root.join("home"));
        command.env("MODELKEEP", env!("CARGO_BIN_EXE_modelkeep")).env("GITHUB_OUTPUT", &outputs);
        command.envs(variables.iter().copied()).output().unwrap()
    };
    let base = sealed.git("rev-parse HEAD~1").trim().to_owned();
    let found = run(&[("BASE", &base), ("HEAD", "HEAD")]);
    assert_eq!(found.status.code(), Some(9), "{}", String::from_utf8_lossy(&found.stderr));
    assert!(String::from_utf8_lossy(&found.stdout).contains("::error"));
    assert!(fs::read_to_string(&outputs).unwrap().starts_with("findings={"));
    assert_eq!(run(&[("RANGE", "HEAD..HEAD")]).status.code(), Some(0));
    assert_eq!(run(&[("BASE", &"0".repeat(40)), ("HEAD", "HEAD")]).status.code(), Some(9), "a new branch");
    assert_eq!(run(&[]).status.code(), Some(9), "everything that is tracked");
    let action = fs::read_to_string(script.with_file_name("action.yml")).unwrap();
    assert!(action.contains("using: composite") && action.contains("guard.sh"));
}
