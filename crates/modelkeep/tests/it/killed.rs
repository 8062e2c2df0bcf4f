//! The real program, killed as by `kill -9` at each of its remote calls, and eight of them at once.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::sealed::{Sealed, words};

/// Runs a command that dies at its n-th remote call; true when it died.
fn killed(sealed: &Sealed, line: &str, at: &str) -> bool {
    let mut command = sealed.command(&words(line));
    command.env("MODELKEEP_KILL_AT", at).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().code().is_none()
}

/// Kills `line` at its first call, its second, and so on, before and after it is made, until it is no longer killed.
fn at_every_call(prepare: impl Fn() -> Sealed, line: &str, check: impl Fn(&Sealed)) {
    for after in ["", "+"] {
        for at in 1.. {
            let sealed = prepare();
            let died = killed(&sealed, line, &format!("{at}{after}"));
            check(&sealed);
            assert!(at < 300, "`{line}` never ends");
            if !died {
                break;
            }
        }
    }
}

fn everything_is_right(sealed: &Sealed) {
    sealed.ok("repair --yes");
    let (code, report) = sealed.json("verify --deep");
    assert_eq!((code, &report["problems"]), (0, &serde_json::json!([])));
}

#[test]
fn a_push_killed_anywhere_is_simply_run_again() {
    let prepare = || {
        let sealed = Sealed::with_store();
        sealed.ok("push outputs/banking-v1 banking-v1");
        sealed
    };
    at_every_call(prepare, "push outputs/banking-v2 banking-v1", |sealed| {
        // What was committed before is there at every moment.
        sealed.ok("pull banking-v1@1 --to old");
        assert_eq!(sealed.files("project/old").len(), 3);
        let (_, report) = sealed.json("push outputs/banking-v2 banking-v1");
        assert_eq!((&report["number"], &report["latest"]), (&2.into(), &true.into()));
        sealed.forget_outputs();
        sealed.ok("pull banking-v1 --to new");
        assert_eq!(sealed.files("project/new").len(), 3);
        everything_is_right(sealed);
    });
}

#[test]
fn a_pull_killed_anywhere_leaves_old_or_new() {
    let prepare = || {
        let sealed = Sealed::with_store();
        sealed.ok("push outputs/banking-v1 m");
        sealed.ok("push outputs/banking-v2 m");
        sealed.ok("pull m@1 --to here");
        sealed.ok("pull m@2 --to there");
        sealed.forget_outputs();
        sealed
    };
    let contents = |sealed: &Sealed, folder: &str| -> Vec<Vec<u8>> {
        sealed.files(folder).into_iter().map(|(_, bytes)| bytes).collect()
    };
    let (old, new) = {
        let sealed = prepare();
        (contents(&sealed, "project/here"), contents(&sealed, "project/there"))
    };
    at_every_call(prepare, "pull m --to here", |sealed| {
        let now = contents(sealed, "project/here");
        assert!(now == old || now == new);
        sealed.ok("pull m --to here");
        assert_eq!(contents(sealed, "project/here"), new);
    });
}

#[test]
fn deploying_and_removing_killed_anywhere() {
    at_every_call(Sealed::with_models, "deploy banking-v2 --yes", |sealed| {
        sealed.ok("deploy banking-v2 --yes");
        everything_is_right(sealed);
    });
    at_every_call(Sealed::with_models, "rm banking-v1 --yes", |sealed| {
        if sealed.run("show banking-v1").code == 0 {
            sealed.ok("rm banking-v1 --yes");
        }
        everything_is_right(sealed);
        sealed.ok("restore banking-v1");
        sealed.ok("pull banking-v1 --to back");
        everything_is_right(sealed);
    });
}

#[test]
fn a_forced_pull_killed_anywhere_keeps_what_is_somebodys_own() {
    let prepare = || {
        let sealed = Sealed::with_store();
        sealed.ok("push outputs/banking-v1 m");
        sealed.ok("pull m --to here");
        sealed.ok("push outputs/banking-v2 m");
        sealed.write("here/notes.md", b"weeks of work");
        sealed
    };
    let check = |sealed: &Sealed| {
        let kept = |sealed: &Sealed| sealed.files("project").iter().any(|(_, bytes)| bytes == b"weeks of work");
        assert!(kept(sealed));
        sealed.ok("pull m --to here --force");
        assert!(kept(sealed) && sealed.files("project/here").len() == 3);
        everything_is_right(sealed);
    };
    at_every_call(prepare, "pull m --to here --force", check);
    at_every_local_write(prepare, "pull m --to here --force", check);
}

/// Three pushes of one model, of which the rules keep one.
fn to_be_pruned() -> Sealed {
    let sealed = Sealed::with_models();
    sealed.ok("push outputs/banking-v1 banking-v2");
    sealed.ok("push outputs/llama2-7b banking-v2");
    sealed
}

fn pruned(sealed: &Sealed) {
    sealed.ok("prune --keep 1 --yes");
    everything_is_right(sealed);
    // Nothing is gone: it waits in the trash.
    sealed.ok("restore banking-v2@2");
    sealed.ok("pull banking-v2@2 --to back");
    everything_is_right(sealed);
}

/// A damaged push, and another one of the same content.
fn damaged() -> Sealed {
    let sealed = Sealed::with_models();
    sealed.ok("push outputs/banking-v1 spare-v1");
    sealed.forget_outputs();
    let folder = sealed.root.join("store/models/finetuned/banking-v1");
    std::fs::write(folder.join("adapter_model.safetensors"), b"not these bytes").unwrap();
    std::fs::remove_file(folder.join("adapter_config.json")).unwrap();
    sealed
}

fn mended(sealed: &Sealed) {
    everything_is_right(sealed);
    sealed.ok("pull banking-v1@1 --to back");
    assert_eq!(sealed.files("project/back").len(), 3);
}

/// A tree that somebody made by hand.
fn by_hand() -> Sealed {
    let sealed = Sealed::with_store();
    sealed.adapter("../store/models/finetuned/support-v1", 1, &[("accuracy", 0.9)]);
    sealed.adapter("../store/models/finetuned/support-v2", 2, &[("accuracy", 0.95)]);
    sealed
}

fn taken_in(sealed: &Sealed) {
    sealed.ok("adopt --now --yes");
    everything_is_right(sealed);
    for model in ["support-v1", "support-v2"] {
        sealed.ok(&format!("pull {model} --to {model}"));
        assert_eq!(sealed.files(&format!("project/{model}")).len(), 3);
    }
}

#[test]
fn pruning_repairing_and_adopting_killed_anywhere() {
    at_every_call(to_be_pruned, "prune --keep 1 --yes", pruned);
    at_every_call(damaged, "repair --yes", mended);
    at_every_call(by_hand, "adopt --now --yes", taken_in);
}

/// Kills `line` at each of its writes to a file or a folder, wherever that is: `strace` sends the signal as the call
/// is made. Long, so only where the long tests run; and only where one program may trace another.
fn at_every_local_write(prepare: impl Fn() -> Sealed, line: &str, check: impl Fn(&Sealed)) {
    const WRITES: &str = "write,pwrite64,pwritev,ftruncate,copy_file_range,rename,renameat,renameat2,link,linkat,\
                          unlink,unlinkat,rmdir,mkdir,mkdirat,symlink,symlinkat,fsync,fdatasync,syncfs";
    let may_trace =
        || Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|s| s.success());
    if std::env::var_os("MODELKEEP_TEST_FULL").is_none() || !may_trace() {
        println!("left out: `{line}` killed at its local writes (MODELKEEP_TEST_FULL, and a strace that may trace)");
        return;
    }
    for at in 1.. {
        let sealed = prepare();
        let program = sealed.command(&words(line));
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={WRITES}")]);
        traced.args(["-e", &format!("inject={WRITES}:signal=SIGKILL:when={at}")]);
        traced.arg(program.get_program()).args(program.get_args());
        traced.current_dir(sealed.work()).env_clear();
        traced.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let died = !traced.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success();
        check(&sealed);
        assert!(at < 2000, "`{line}` never ends");
        if !died {
            break;
        }
    }
}

#[test]
fn a_push_killed_at_a_local_write_is_simply_run_again() {
    let prepare = || {
        let sealed = Sealed::with_store();
        sealed.ok("push outputs/banking-v1 banking-v1");
        sealed
    };
    at_every_local_write(prepare, "push outputs/banking-v2 banking-v1", |sealed| {
        sealed.ok("pull banking-v1@1 --to old");
        let (_, report) = sealed.json("push outputs/banking-v2 banking-v1");
        assert_eq!((&report["number"], &report["latest"]), (&2.into(), &true.into()));
        everything_is_right(sealed);
    });
}

#[test]
fn pruning_killed_at_a_local_write() {
    at_every_local_write(to_be_pruned, "prune --keep 1 --yes", pruned);
}

#[test]
fn repairing_killed_at_a_local_write() {
    at_every_local_write(damaged, "repair --yes", mended);
}

#[test]
fn evicting_killed_at_a_local_write() {
    // The Hub is asked before anything goes; here its word is taken, so that nobody need be at the other end.
    let prepare = || crate::cache::machine().0;
    let check = |sealed: &Sealed| {
        let (_, status) = sealed.json("cache status");
        assert_eq!(status["warnings"], serde_json::json!([]), "their programs read it at every moment");
        sealed.ok("cache evict --to 20kB --assume-hub --yes");
        let (_, status) = sealed.json("cache status");
        assert_eq!(status["warnings"], serde_json::json!([]));
        assert!(status["caches"][0]["size_bytes"].as_u64().unwrap() <= 20_000, "{status}");
        assert_eq!(status["caches"][0]["reclaimable_bytes"], 0, "{status}");
        assert_eq!(sealed.json("cache repair --yes").1["steps"], serde_json::json!([]));
    };
    at_every_local_write(prepare, "cache evict --to 20kB --assume-hub --yes --offline", check);
}

/// What has a name in the cache is whole, at every moment; and the same again does all of it.
fn comes_whole(sealed: &Sealed, line: &str, repos: &[&str]) {
    let cache = sealed.root.join("home/.cache/huggingface/hub");
    let warnings = || sealed.json("cache status").1["warnings"].as_array().unwrap().clone();
    let odd = |warning: &Value| !warning.as_str().unwrap().ends_with("it has no snapshots");
    assert!(!warnings().iter().any(odd), "their programs read it at every moment: {:?}", warnings());
    sealed.ok(line);
    assert_eq!(warnings(), [Value::Null; 0]);
    for repo in repos {
        let commit = std::fs::read_to_string(cache.join(repo).join("refs/main")).unwrap();
        let snapshot = std::fs::read_dir(cache.join(repo).join("snapshots").join(commit)).unwrap();
        let names = snapshot.map(|entry| entry.unwrap().path());
        assert!(names.into_iter().all(|name| std::fs::read(&name).is_ok_and(|bytes| !bytes.is_empty())));
    }
    assert_eq!(sealed.json(line).1["fetched_bytes"], 0);
}

#[test]
fn fetching_killed_at_a_local_write() {
    let (hub, server) = crate::hub::machine();
    let machine = || {
        let sealed = Sealed::new();
        sealed.set("HF_ENDPOINT", Some(server.url()));
        sealed.set("MODELKEEP_RETRY_BASE_MS", Some("1"));
        sealed
    };
    let line = "fetch acme/tiny";
    at_every_local_write(machine, line, |sealed| comes_whole(sealed, line, &["models--acme--tiny"]));
    let stored = || {
        let sealed = machine();
        sealed.ok("init --remote ../store --name banking");
        sealed.ok("push outputs/banking-v1 banking-v1 --label prod");
        sealed
    };
    let line = "pull banking-v1 --into hf-cache";
    at_every_local_write(stored, line, |sealed| comes_whole(sealed, line, &["models--banking--banking-v1"]));
    drop((hub, server));
}

#[test]
fn adopting_killed_at_a_local_write() {
    at_every_local_write(by_hand, "adopt --now --yes", taken_in);
}

#[test]
fn eight_programs_push_at_once_while_one_prunes() {
    const WRITERS: u8 = 8;
    const ROUNDS: u8 = 4;
    const DAYS: [&str; 4] =
        ["2026-02-12T12:00:00Z", "2026-02-22T12:00:00Z", "2026-03-31T12:00:00Z", "2026-04-10T12:00:00Z"];
    const KEEP: usize = 2;
    let sealed = Sealed::with_store();
    for writer in 0..WRITERS {
        // Everyone is a machine of their own: a workspace beside, on the same store.
        sealed.ok(&format!("init ../machine{writer} --remote ../store"));
        for round in 0..ROUNDS {
            sealed.adapter(&format!("outputs/run{writer}-{round}"), writer * ROUNDS + round + 3, &[("f1", 0.5)]);
        }
    }
    let start = |line: String, machine: String| {
        let mut command = sealed.command(&words(&format!("{line} --workspace ../{machine} --json")));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let done = |child: Child| -> Value {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&text).unwrap()
    };
    let mut committed = Vec::new();
    let mut pruned = Vec::new();
    for round in 0..ROUNDS {
        // What the first round's clean-up put into the trash is past its 30 days in the last two.
        sealed.set("MODELKEEP_NOW", Some(DAYS[usize::from(round)]));
        let pushing: Vec<_> = (0..WRITERS)
            .map(|writer| {
                // Half of them to one model, the others to one each.
                let model = if writer % 2 == 0 { "shared".to_owned() } else { format!("own{writer}") };
                let line = format!("push outputs/run{writer}-{round} {model}");
                (model, start(line, format!("machine{writer}")))
            })
            .collect();
        let pruning = start(format!("prune --keep {KEEP} --yes"), "machine0".to_owned());
        for (model, child) in pushing {
            let report = done(child);
            assert_eq!(report["created"], true);
            committed.push((model, report["revision"].as_str().unwrap().to_owned()));
        }
        // And once more alone, so that there is something in the trash whatever came first.
        for report in [done(pruning), done(start(format!("prune --keep {KEEP} --yes"), "machine0".to_owned()))] {
            pruned.extend(report["steps"].as_array().unwrap().iter().map(|step| step["action"].clone()));
        }
    }
    for action in ["move to trash", "delete"] {
        assert!(pruned.iter().any(|done| done == action), "nothing to {action}: {pruned:?}");
    }
    everything_is_right(&sealed);
    sealed.forget_outputs();
    let models = sealed.json("list").1["models"].as_array().unwrap().clone();
    assert_eq!(models.len(), 5);
    for model in &models {
        let history = sealed.json(&format!("show {}", model["id"].as_str().unwrap())).1;
        assert_eq!(history["revisions"], KEEP, "{history}");
    }
    let mut whole = 0;
    for (nth, (model, revision)) in committed.iter().enumerate() {
        let pull = format!("pull {model}@{revision} --to back{nth}");
        if sealed.run(&pull).code != 0 {
            // The rules let it go. Until its 30 days are over it comes back whole.
            if sealed.run(&format!("restore {model}@{revision}")).code != 0 {
                continue;
            }
            sealed.ok(&pull);
        }
        assert_eq!(sealed.files(&format!("project/back{nth}")).len(), 3);
        whole += 1;
    }
    // At least what the last two rounds stored.
    assert!(whole >= usize::from(2 * WRITERS), "{whole} of {}", committed.len());
    everything_is_right(&sealed);
    // Every machine says the same.
    let said = |machine: u8| sealed.json(&format!("list --workspace ../machine{machine}")).1["models"].clone();
    assert!((1..WRITERS).all(|machine| said(machine) == said(0)));
}

/// Upkeep looks at everything, so only every few calls of it are its end here.
#[test]
fn upkeep_and_its_backup_killed_now_and_then_are_simply_run_again() {
    for at in (1..).step_by(4) {
        let sealed = Sealed::with_store();
        sealed.ok("config set maintain.backup ../disk");
        sealed.write("notebooks/one.ipynb", br#"{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}"#);
        sealed.ok("file push notebooks/one.ipynb");
        std::fs::remove_file(sealed.work().join("notebooks/one.ipynb")).unwrap();
        let died = killed(&sealed, "maintain quarterly --yes", &at.to_string());
        sealed.ok("maintain quarterly --yes");
        let mut kept: Vec<_> =
            std::fs::read_dir(sealed.root.join("disk")).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(kept.len(), 1, "{kept:?}");
        let tar = Command::new("tar").arg("-tf").arg(kept.remove(0).path()).output().unwrap();
        assert_eq!(String::from_utf8(tar.stdout).unwrap(), "manifest.json\nnotebooks/one.ipynb\n");
        everything_is_right(&sealed);
        if !died {
            break;
        }
    }
}
