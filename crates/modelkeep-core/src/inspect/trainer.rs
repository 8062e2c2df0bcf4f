//! `trainer_state.json`, which transformers' `Trainer` writes beside each checkpoint.
//!
//! Its shape is `TrainerState`: <https://huggingface.co/docs/transformers/main_classes/callback#transformers.TrainerState>;
//! `log_history` is a list of flat dictionaries, one a logging or evaluation step, oldest first. Does not know which of
//! its metrics matters, nor whether less or more is better.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::InspectError;
use super::json::{self, Number};
use super::metrics::Found;

/// The file's name.
pub const FILE: &str = "trainer_state.json";

/// Entries of the log that are bookkeeping, not results.
const BOOKKEEPING: [&str; 6] = ["learning_rate", "grad_norm", "step", "epoch", "total_flos", "num_input_tokens_seen"];

/// How far the run went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Training {
    /// Optimiser steps done.
    pub global_step: Option<u64>,
    /// Passes over the training data, with fractions.
    pub epoch: Option<f64>,
    /// The checkpoint `best_metric` was measured on: a path on the machine that trained.
    pub best_model_checkpoint: Option<String>,
}

/// Puts the last value of each metric of the log, and `best_metric`, into `found`.
///
/// A value that is NaN or infinite is null with a note that names the step.
pub(super) fn learn(found: &mut Found, bytes: &[u8]) -> Result<(), InspectError> {
    let state = json::object(&found.file, bytes)?;
    let entries = state.get("log_history").and_then(Value::as_array);
    for entry in entries.into_iter().flatten().filter_map(Value::as_object) {
        let step = entry.get("step").and_then(Value::as_u64);
        for (name, value) in entry {
            if let (false, Some(number)) = (is_bookkeeping(name), json::number(value)) {
                found.learn(name, number, step);
            }
        }
    }
    if let Some(best) = state.get("best_metric").and_then(json::number) {
        found.learn("best_metric", best, None);
    }
    found.training = Some(Training {
        global_step: state.get("global_step").and_then(Value::as_u64),
        epoch: match state.get("epoch").and_then(json::number) {
            Some(Number::Finite(epoch)) => Some(epoch),
            _ => None,
        },
        best_model_checkpoint: state.get("best_model_checkpoint").and_then(Value::as_str).map(str::to_owned),
    });
    Ok(())
}

/// The log of a `trainer_state.json`, for the run's own log: a list, with null for NaN and the infinities.
///
/// `None` if `bytes` is not such a file or has no log.
pub fn log_history(bytes: &[u8]) -> Option<Value> {
    let log = json::object(FILE, bytes).ok()?.remove("log_history")?;
    log.is_array().then(|| json::cleared(log))
}

/// Whether a name in a log stands for no result: how far the run was, how long it took.
pub fn is_bookkeeping(name: &str) -> bool {
    BOOKKEEPING.contains(&name) || name.ends_with("_runtime") || name.ends_with("_per_second")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::inspect::metrics::{Metrics, parse};

    const STATE: &[u8] = br#"{
      "best_metric": 0.098, "best_model_checkpoint": "out/checkpoint-500", "epoch": 2.5, "global_step": 1000,
      "log_history": [
        {"epoch": 1.0, "grad_norm": 1.2, "learning_rate": 2e-05, "loss": 0.9, "step": 500},
        {"epoch": 1.0, "eval_loss": 0.098, "eval_accuracy": 0.952, "eval_runtime": 9.5,
         "eval_samples_per_second": 22.6, "eval_steps_per_second": 1.4, "step": 500},
        {"epoch": 2.5, "grad_norm": NaN, "learning_rate": 0.0, "loss": NaN, "step": 1000},
        {"epoch": 2.5, "eval_loss": 0.2, "step": 1000},
        {"epoch": 2.5, "total_flos": 1e18, "train_loss": 0.5, "train_runtime": 60.0, "step": 1000}
      ]
    }"#;

    #[test]
    fn the_last_of_each_metric_and_the_best_are_learnt() {
        let found = parse("checkpoint-1000/trainer_state.json", STATE).unwrap();
        let expected = Metrics::from_iter([
            ("best_metric", Some(0.098)),
            ("eval_accuracy", Some(0.952)),
            ("eval_loss", Some(0.2)),
            ("loss", None),
            ("train_loss", Some(0.5)),
        ]);
        assert_eq!(found.metrics, expected);
        assert_eq!(found.notes.len(), 1);
        assert_eq!(found.notes["loss"], "loss is NaN at step 1000 in checkpoint-1000/trainer_state.json; kept as null");
        assert_eq!(
            found.training,
            Some(Training {
                global_step: Some(1000),
                epoch: Some(2.5),
                best_model_checkpoint: Some("out/checkpoint-500".into()),
            })
        );
    }

    #[test]
    fn a_run_that_recovers_has_no_note() {
        let state = br#"{"log_history": [{"loss": NaN, "step": 1}, {"loss": 0.5, "step": 2}, {"loss": null}, 7, "x"]}"#;
        let found = parse(FILE, state).unwrap();
        assert_eq!(found.metrics, Metrics::from_iter([("loss", Some(0.5))]));
        assert!(found.notes.is_empty());
    }

    #[test]
    fn the_log_is_kept_without_bare_words() {
        let log = log_history(STATE).unwrap();
        assert_eq!(log.as_array().unwrap().len(), 5);
        assert_eq!(log[2]["loss"], json!(null));
        assert_eq!(log[0]["loss"], json!(0.9));
        for text in ["", "[]", "{}", r#"{"log_history": {}}"#, r#"{"log_history": NaN}"#] {
            assert_eq!(log_history(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_state_without_a_log_is_no_fault() {
        for text in ["{}", r#"{"log_history": null, "best_metric": null, "epoch": NaN}"#] {
            let found = parse(FILE, text.as_bytes()).unwrap();
            assert!(found.metrics.is_empty() && found.notes.is_empty(), "{text}");
            assert_eq!(found.training, Some(Training::default()));
        }
        assert!(parse(FILE, b"[1]").is_err());
    }
}
