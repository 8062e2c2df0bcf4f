//! Logs of trainings: of those that were pushed, and of those that run.

use serde_json::json;

use crate::sealed::{Sealed, assert_seen};

const TRAINER_STATE: &str = r#"{"global_step": 1000, "epoch": 2.0, "log_history": [
    {"epoch": 1.0, "step": 500, "loss": 0.9, "learning_rate": 2e-05, "grad_norm": 1.25},
    {"epoch": 1.0, "step": 500, "eval_loss": 0.4, "eval_runtime": 9.5},
    {"epoch": 2.0, "step": 1000, "loss": NaN, "learning_rate": 0.0, "grad_norm": 0.5},
    {"epoch": 2.0, "step": 1000, "eval_loss": 0.098, "eval_runtime": 9.25}
]}"#;

#[test]
fn a_push_leaves_the_log_of_its_training_and_it_is_read_again() {
    let sealed = Sealed::with_store();
    assert!(sealed.ok("log list").stderr.contains("no training has left a log yet"));
    assert_eq!(sealed.run("log show banking-v1").code, 3);
    sealed.write("outputs/banking-v1/trainer_state.json", TRAINER_STATE.as_bytes());
    sealed.ok("push outputs/llama2-7b llama2-7b --kind base");
    sealed.ok("push outputs/banking-v1 banking-v1");
    sealed.ok("push outputs/banking-v2 banking-v2");
    let at = "results/training_logs/run_banking-v1_2026-02-10.json";
    assert!(sealed.root.join("store").join(at).is_file());
    let table = std::fs::read_to_string(sealed.root.join("store/docs/training_log.md")).unwrap();
    assert!(table.contains("| banking-v1 | #1 "), "{table}");
    let (code, list) = sealed.json("log list");
    assert_eq!((code, list["logs"].as_array().unwrap().len()), (0, 2), "{list}");
    assert_eq!(list["logs"][1]["path"], at, "the newest first");
    let (code, log) = sealed.json("log show banking-v1@1 --tail 1");
    assert_eq!((code, &log["total"], &log["entries"][0]["eval_loss"]), (0, &json!(4), &json!(0.098)), "{log}");
    assert_eq!(sealed.json("log show banking-v1").1["entries"][2]["loss"], json!(null), "what is no number is null");
    assert_seen!(sealed.transcript(&[
        "log list",
        "log list banking-v2",
        "log show banking-v1",
        "log show banking-v1 -n 2",
        "log show banking-v2",
        "log show llama2-7b",
        "log list bankin-v1",
    ]));
    // A run that was removed leaves its log.
    sealed.ok("rm banking-v1 --yes");
    assert_eq!(sealed.json("log list").1["logs"][1]["removed"], true);
}

#[test]
fn a_training_that_runs_is_followed_before_there_is_a_model() {
    let sealed = Sealed::with_store();
    sealed.ok("log append banking-v3 monday step=500 loss=0.12");
    sealed.ok("log append banking-v3 monday step=1000 loss=0.05 note=slow");
    let (code, log) = sealed.json("log show banking-v3");
    assert_eq!((code, &log["run"], &log["total"]), (0, &json!("monday"), &json!(2)), "{log}");
    assert_eq!(log["entries"][1]["note"], "slow");
    let live = sealed.root.join("store/results/training_logs/run_banking-v3_monday.live.jsonl");
    let text = std::fs::read_to_string(&live).unwrap();
    std::fs::write(&live, format!("{text}half a li")).unwrap();
    assert_eq!(sealed.json("log show banking-v3 monday").1["unreadable"], 1);
    assert_eq!(sealed.run("log show banking-v3 tuesday").code, 3);
    let written = |text: String| {
        let day = |word: &str| {
            word.len() == 10 && word.as_bytes()[4] == b'-' || word.len() == 5 && word.as_bytes()[2] == b':'
        };
        let without = |line: &str| line.split_whitespace().filter(|word| !day(word)).collect::<Vec<_>>().join(" ");
        text.lines().map(|line| without(line) + "\n").collect::<String>()
    };
    assert_seen!(written(sealed.transcript(&[
        "log list",
        "log show banking-v3 monday",
        "log show banking-v3 tuesday"
    ])));
}
