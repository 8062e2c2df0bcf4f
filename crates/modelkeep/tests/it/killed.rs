//! The real program, killed as by `kill -9` at each of its remote calls, and eight of them at once.

use std::process::Stdio;

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
