//! What one may not read or write: a clear error that names it, and nothing changed.
//!
//! For root nothing is forbidden, so a test run by root starts the program as nobody.

#![cfg(unix)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, lchown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sealed::{Ran, Sealed, words};

const NOBODY: u32 = 65534;

struct Denied {
    sealed: Sealed,
    /// A copy of the program that nobody may start, when this is root.
    program: Option<PathBuf>,
}

impl Denied {
    /// A workspace with a store and two models, all of it the user's own.
    fn new() -> Self {
        let sealed = Sealed::with_store();
        sealed.ok("push outputs/banking-v1 banking-v1");
        let program = rustix::process::geteuid().is_root().then(|| {
            let copy = sealed.root.join("program");
            // By another process: what a test beside this one starts must not hold it open for writing.
            let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_modelkeep")).arg(&copy).status().unwrap();
            assert!(copied.success());
            give_away(&sealed.root);
            copy
        });
        Self { sealed, program }
    }

    fn run(&self, line: &str) -> Ran {
        let own = self.sealed.command(&words(line));
        let Some(program) = &self.program else {
            let mut own = own;
            return Ran::from(own.output().unwrap());
        };
        let mut command = Command::new(program);
        command.args(own.get_args()).current_dir(self.sealed.work()).env_clear().uid(NOBODY).gid(NOBODY);
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Ran::from(command.output().unwrap())
    }

    /// Runs `line` while `path` has `mode`: it fails with `code`, names the thing, and changes nothing.
    fn refused(&self, line: &str, path: &str, mode: u32, code: i32) -> Ran {
        let path = self.sealed.root.join(path);
        let before = self.everything();
        let own = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let ran = self.run(line);
        fs::set_permissions(&path, own).unwrap();
        let said = &ran.stderr;
        assert_eq!(ran.code, code, "{line}: {}{said}", ran.stdout);
        assert!(said.contains("error: ") && said.contains("hint: "), "{line}: {said}");
        assert!(said.contains(path.file_name().unwrap().to_str().unwrap()), "{line} names nothing: {said}");
        assert!(!said.contains("panicked"), "{said}");
        assert!(self.everything() == before, "{line} changed something");
        ran
    }

    /// The store and the project, without what the program keeps for itself: its state, and what a pull that did not
    /// end has brought so far.
    fn everything(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = self.sealed.files("store");
        files.extend(self.sealed.files("project"));
        let own = |path: &Path| {
            let below = path.strip_prefix(self.sealed.work()).ok().and_then(|below| below.iter().next()?.to_str());
            below.is_some_and(|name| name == ".modelkeep" || name.starts_with(".modelkeep-pull-"))
        };
        files.retain(|(path, _)| !own(path));
        files
    }
}

fn give_away(path: &Path) {
    lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if fs::symlink_metadata(path).unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path());
        }
    }
}

#[test]
fn a_store_that_one_may_not_write() {
    let denied = Denied::new();
    for line in ["push outputs/banking-v2 banking-v2", "deploy banking-v1 --yes", "label banking-v1 good"] {
        let folder = if line.starts_with("push") { "store/.modelkeep/staging" } else { "store/.modelkeep/log" };
        denied.refused(line, folder, 0o555, 6);
    }
    // It works again as soon as one may.
    assert_eq!(denied.run("push outputs/banking-v2 banking-v2").code, 0);
}

#[test]
fn a_store_that_one_may_only_read_can_be_pulled_from() {
    let denied = Denied::new();
    fs::remove_dir_all(denied.sealed.work().join("outputs")).unwrap();
    let store = denied.sealed.root.join("store");
    let close = |mode: u32| {
        for folder in ["", ".modelkeep", ".modelkeep/log", ".modelkeep/registry", "docs", "models/finetuned"] {
            fs::set_permissions(store.join(folder), Permissions::from_mode(mode)).unwrap();
        }
    };
    close(0o555);
    let ran = denied.run("pull banking-v1 --to here");
    close(0o755);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(denied.sealed.files("project/here").len(), 3);
}

#[test]
fn a_store_that_one_may_not_read() {
    let denied = Denied::new();
    fs::remove_dir_all(denied.sealed.work().join("outputs")).unwrap();
    denied.refused("list", "store/.modelkeep", 0o000, 6);
    denied.refused("pull banking-v1 --to here", "store/models/finetuned/banking-v1/adapter_model.safetensors", 0, 6);
    assert!(!denied.sealed.work().join("here").exists());
}

#[test]
fn a_file_of_the_run_that_one_may_not_read() {
    let denied = Denied::new();
    let ran =
        denied.refused("push outputs/banking-v2 banking-v2", "project/outputs/banking-v2/eval_results.json", 0, 6);
    assert!(ran.stderr.contains("eval_results.json"), "{}", ran.stderr);
    denied.refused("push outputs/banking-v2 banking-v2", "project/outputs/banking-v2", 0, 6);
}

#[test]
fn a_folder_that_one_may_not_pull_into() {
    let denied = Denied::new();
    fs::create_dir(denied.sealed.work().join("shared")).unwrap();
    denied.refused("pull banking-v1 --to shared/here", "project/shared", 0o555, 6);
}

#[test]
fn a_workspace_whose_state_one_may_not_write() {
    let denied = Denied::new();
    let state = denied.sealed.work().join(".modelkeep");
    let ran = denied.refused("push outputs/banking-v2 banking-v2", "project/.modelkeep", 0o000, 6);
    assert!(ran.stderr.contains(state.to_str().unwrap()), "{}", ran.stderr);
}

#[test]
fn a_home_with_folders_that_one_may_not_read_and_links_that_loop_is_measured_all_the_same() {
    let denied = Denied::new();
    let root = &denied.sealed.root;
    let closed: Vec<PathBuf> = ["project/data/closed", "home/.cache/pip", "home/.cache/huggingface/hub/models--a--b"]
        .map(|path| root.join(path))
        .into();
    for folder in &closed {
        fs::create_dir_all(folder.join("inside")).unwrap();
    }
    let looping = root.join("project/data/loop");
    std::os::unix::fs::symlink(&looping, &looping).unwrap();
    std::os::unix::fs::symlink("..", root.join("project/data/up")).unwrap();
    if denied.program.is_some() {
        give_away(root);
    }
    for folder in &closed {
        fs::set_permissions(folder, Permissions::from_mode(0o0)).unwrap();
    }
    let mut said = Vec::new();
    for line in ["status", "cache status", "cache list", "doctor", "cost", "maintain due --dry-run", "place --dry-run"]
    {
        let ran = denied.run(line);
        assert!(!ran.stderr.contains("panicked"), "{line}: {}", ran.stderr);
        assert!([0, 9].contains(&ran.code), "{line}: {}{}", ran.stdout, ran.stderr);
        said.extend([ran.stdout, ran.stderr]);
    }
    for folder in &closed {
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    }
    let said = said.concat();
    assert!(said.contains("closed") && said.contains("pip"), "{said}");
}
