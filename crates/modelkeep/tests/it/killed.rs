//! The real program, killed as by `kill -9` at each of its remote calls, and eight of them at once.

use std::process::{Command, Stdio};

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
    let traces = || Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|s| s.success());
    if std::env::var_os("MODELKEEP_TEST_FULL").is_none() || !traces() {
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
fn adopting_killed_at_a_local_write() {
    at_every_local_write(by_hand, "adopt --now --yes", taken_in);
}

#[test]
fn eight_programs_push_at_once_while_one_prunes() {
    const WRITERS: u8 = 8;
    const EACH: u8 = 4;
    let sealed = Sealed::with_store();
    for writer in 0..WRITERS {
        // Everyone is a machine of their own: a workspace beside, on the same store.
        sealed.ok(&format!("init ../machine{writer} --remote ../store"));
        for nth in 0..EACH {
            sealed.adapter(&format!("outputs/run{writer}-{nth}"), writer * EACH + nth + 3, &[("f1", 0.5)]);
        }
    }
    let start = |line: String, machine: String| {
        let mut command = sealed.command(&words(&format!("{line} --workspace ../{machine} --json")));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut committed = Vec::new();
    for nth in 0..EACH {
        let mut running = Vec::new();
        for writer in 0..WRITERS {
            // Half of them to one model, the others to one each.
            let model = if writer % 2 == 0 { "shared".to_owned() } else { format!("own{writer}") };
            let line = format!("push outputs/run{writer}-{nth} {model}");
            running.push((model, start(line, format!("machine{writer}"))));
        }
        let pruning = start("prune --keep 100 --yes".to_owned(), "machine0".to_owned());
        for (model, child) in running {
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
            let report: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(report["created"], true);
            committed.push((model, report["revision"].as_str().unwrap().to_owned()));
        }
        assert!(pruning.wait_with_output().unwrap().status.success());
    }
    everything_is_right(&sealed);
    sealed.forget_outputs();
    for (nth, (model, revision)) in committed.iter().enumerate() {
        sealed.ok(&format!("pull {model}@{revision} --to back{nth}"));
        assert_eq!(sealed.files(&format!("project/back{nth}")).len(), 3);
    }
    // Every machine says the same.
    let said = |machine: u8| sealed.json(&format!("list --workspace ../machine{machine}")).1["models"].clone();
    assert!((1..WRITERS).all(|machine| said(machine) == said(0)));
}
