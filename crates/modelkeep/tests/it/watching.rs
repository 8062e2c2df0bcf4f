//! `modelkeep watch`: what is finished is stored once, what is not is left alone, what is old goes.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::sealed::{Sealed, assert_seen, safetensors, words};

/// A checkpoint as the Trainer leaves it; the state, which it writes last, is left out at first.
fn save(sealed: &Sealed, step: u8) {
    let folder = format!("output/checkpoint-{step}");
    sealed.adapter(&folder, step, &[]);
    fs::remove_file(sealed.work().join(&folder).join("eval_results.json")).unwrap();
    sealed.write(&format!("{folder}/training_args.bin"), b"arguments");
    sealed.write(&format!("{folder}/optimizer.pt"), &[step; 64]);
    sealed.write(&format!("{folder}/rng_state.pth"), &[step; 16]);
}

fn finish(sealed: &Sealed, step: u8, best: u8) {
    let state = json!({
        "global_step": step, "epoch": 1.0, "best_model_checkpoint": format!("/content/output/checkpoint-{best}"),
        "log_history": [{"step": step, "loss": 1.0 / f64::from(step)}],
    });
    sealed.write(&format!("output/checkpoint-{step}/trainer_state.json"), state.to_string().as_bytes());
}

const ONCE: &str = "watch output banking-v3 --once --interval 0.01";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_finished_is_stored_once_and_the_rest_waits() {
    let sealed = Sealed::with_store();
    save(&sealed, 1);
    finish(&sealed, 1, 1);
    save(&sealed, 2);
    let stored = lines(&sealed.ok(&format!("{ONCE} --json")).stdout);
    assert_eq!(stored.len(), 1);
    assert_eq!((&stored[0]["checkpoint"], &stored[0]["step"]), (&"checkpoint-1".into(), &1.into()));
    assert_eq!((&stored[0]["created"], &stored[0]["confirmed"]), (&true.into(), &true.into()));
    assert_eq!(stored[0]["metrics"]["loss"], 1.0);
    finish(&sealed, 2, 1);
    let again = lines(&sealed.ok(&format!("{ONCE} --json")).stdout);
    let created: Vec<_> = again.iter().map(|line| (&line["checkpoint"], line["created"] == true)).collect();
    assert_eq!(created, [(&"checkpoint-1".into(), false), (&"checkpoint-2".into(), true)]);
    // The first one was seen again, and is not the newest for it.
    let (_, show) = sealed.json("show banking-v3");
    assert_eq!((&show["number"], &show["revisions"]), (&2.into(), &2.into()));
    sealed.ok("pull banking-v3@checkpoint-1 --to back");
    assert!(sealed.work().join("back/optimizer.pt").is_file());
    // Trained again under the same name: the label moves, the old content stays for retention to judge.
    save(&sealed, 2);
    sealed.write("output/checkpoint-2/optimizer.pt", &[9; 64]);
    sealed.ok(ONCE);
    let (_, show) = sealed.json("show banking-v3");
    assert_eq!((&show["number"], &show["all_labels"]["checkpoint-2"]), (&3.into(), &show["revision"]));
}

#[test]
fn the_last_and_the_best_stay_and_what_went_does_not_come_back() {
    let sealed = Sealed::with_store();
    for step in 1..=4 {
        save(&sealed, step);
        finish(&sealed, step, 2);
    }
    let line = format!("{ONCE} --keep-last 1 --no-optimizer");
    assert_seen!(sealed.transcript(&[&line, &line]));
    let (_, show) = sealed.json("show banking-v3");
    let labels: Vec<_> = show["all_labels"].as_object().unwrap().keys().collect();
    assert_eq!(labels, ["checkpoint-2", "checkpoint-4"]);
    let files: Vec<_> = show["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    let kept = ["adapter_config.json", "adapter_model.safetensors", "trainer_state.json", "training_args.bin"];
    assert_eq!(files, kept);
    let (_, verify) = sealed.json("verify --deep");
    assert_eq!(verify["problems"], json!([]));
}

#[test]
fn what_was_removed_by_hand_comes_back_while_no_later_one_is_stored() {
    let sealed = Sealed::with_store();
    let stored = || {
        let lines = lines(&sealed.ok(&format!("{ONCE} --json")).stdout);
        lines.iter().map(|line| line["created"] == true).collect::<Vec<_>>()
    };
    for step in 1..=2 {
        save(&sealed, step);
        finish(&sealed, step, 1);
    }
    assert_eq!(stored(), [true, true]);
    let remove = |step| {
        sealed.ok(&format!("label --remove banking-v3 checkpoint-{step} --yes"));
        sealed.ok(&format!("rm banking-v3@{step} --yes"));
    };
    remove(1);
    assert_eq!(stored(), [false, false], "a later one is there");
    remove(2);
    assert_eq!(stored(), [true, true], "a training goes on from what is stored");
    sealed.ok("pull banking-v3@checkpoint-2 --to back");
}

#[test]
fn it_watches_until_ctrl_c() {
    let sealed = Sealed::with_store();
    let line = "watch output banking-v3 --interval 0.02 --json";
    let mut child = sealed.command(&words(line)).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()
    };
    // The directory comes, a checkpoint is written file by file, then another.
    for step in 1..=2 {
        save(&sealed, step);
        finish(&sealed, step, 1);
        let mut told = next();
        // It may have been caught between two files that this test wrote later than a look; then it comes again, whole.
        while told["files"] != 6 {
            told = next();
        }
        assert_eq!(told["checkpoint"], format!("checkpoint-{step}"));
    }
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process};
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let (_, list) = sealed.json("list");
        assert_eq!(list["models"][0]["revisions"], 2);
    }
    #[cfg(not(unix))]
    child.kill().unwrap();
}

#[test]
fn shards_and_zips_are_waited_for() {
    let sealed = Sealed::with_store();
    let shard = safetensors(&[("a", &[4, 4], 1)]);
    let index = json!({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).to_string();
    sealed.write("output/final/model.safetensors.index.json", index.as_bytes());
    sealed.write("output/final/model-1.safetensors", &shard);
    sealed.write("output/final/model-2.safetensors", &shard[..shard.len() - 1]);
    sealed.write("output/torch/weights.pt", b"PK\x03\x04 half of it");
    let waiting = sealed.ok(ONCE);
    assert_eq!(waiting.stdout, "");
    for what in ["final: model-2.safetensors is not whole yet", "torch: weights.pt is not whole yet"] {
        assert!(waiting.stderr.contains(what), "{}", waiting.stderr);
    }
    sealed.write("output/final/model-2.safetensors", &shard);
    assert_eq!(lines(&sealed.ok(&format!("{ONCE} --json")).stdout).len(), 1);
}

#[test]
fn what_cannot_be_watched_is_said_first() {
    let sealed = Sealed::with_models();
    sealed.write("file", b"x");
    sealed.ok("deploy banking-v2 --yes");
    assert_seen!(sealed.transcript(&[
        "watch nowhere banking-v3 --once",
        "watch file banking-v3",
        "watch outputs banking-v2 --once",
        "watch outputs 'Banking V3' --once",
        "watch outputs banking-v3 --interval=-1 --once",
        "watch outputs banking-v3 --keep-last 0 --once",
    ]));
}

#[test]
fn a_running_training_has_a_log() {
    let sealed = Sealed::with_store();
    sealed.ok("log append banking-v3 monday step=1 loss=0.5");
    let (_, second) = sealed.json("log append banking-v3 monday step=2 loss=null note='not good'");
    assert_eq!((&second["added"], &second["entries"]), (&1.into(), &2.into()));
    let file = sealed.root.join("store").join(second["path"].as_str().unwrap());
    let text = fs::read_to_string(file).unwrap();
    assert_eq!(lines(&text), [json!({"step": 1, "loss": 0.5}), json!({"step": 2, "loss": null, "note": "not good"})]);
    let (code, _) = sealed.json("log append banking-v3 monday loss");
    assert_eq!(code, 2);
}
