//! The documents beside the registry, for people who have no tool: training log, run logs, `metadata.json`,
//! pointer files, and what each folder is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::state::{Model, Push, State};
use crate::manifest::{FORMAT, Manifest, ModelKind};
use crate::path::RemotePath;
use crate::size::ByteSize;

/// `docs/training_log.md`: one line for each push of a fine-tuned model, newest first.
pub fn training_log(state: &State) -> String {
    let mut text = String::from(
        "# Training log\n\nWritten by modelkeep from its log; edits here are not read back \
         (notes: `modelkeep set MODEL note=…`).\n\n\
         | trained | model | push | base model | metrics | size | status | pushed | by | note |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut rows: Vec<(&Model, &Push)> = state
        .models
        .values()
        .filter(|model| model.kind == ModelKind::Finetuned)
        .flat_map(|model| model.pushes.iter().map(move |push| (model, push)))
        .filter(|(_, push)| push.replaced_by.is_none())
        .collect();
    rows.sort_by(|(model, push), (other_model, other)| {
        (other.at, &other_model.id, other.number).cmp(&(push.at, &model.id, push.number))
    });
    for (model, push) in rows {
        let status =
            if push.removed.is_some() { "removed".to_owned() } else { state.status(model).as_str().to_owned() };
        let said = model.describe(push);
        let metrics: Vec<String> =
            said.metrics.iter().map(|(name, value)| format!("{name} {}", number(*value))).collect();
        let newest = model.latest().is_some_and(|latest| latest.txn == push.txn);
        let note = if newest { model.text("note", None).unwrap_or_default() } else { String::new() };
        let base = said.base_model.map(|name| state.base_name(&name)).unwrap_or_default();
        let _ = writeln!(
            text,
            "| {} | {} | #{} `{}` | {} | {} | {} | {} | {} | {} | {} |",
            cell(&said.training_date.unwrap_or_default()),
            model.id,
            push.number,
            push.revision.short(),
            cell(&base),
            cell(&metrics.join(", ")),
            ByteSize(push.size_bytes),
            status,
            push.at.strftime("%Y-%m-%d %H:%M"),
            cell(&push.by),
            cell(&note),
        );
    }
    text
}

/// A metric as people read it; a dash when it is unknown.
pub fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value != 0.0 && (value.abs() < 1e-3 || value.abs() >= 1e6) => format!("{value:.3e}"),
        Some(value) => {
            let text = format!("{value:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// `results/training_logs/run_….json` of one push. `log_history` is what the trainer wrote step by step.
pub fn run_log(model: &Model, push: &Push, log_history: Option<&Value>) -> Vec<u8> {
    let said = model.describe(push);
    let document = json!({
        "model": model.id,
        "number": push.number,
        "revision": push.revision,
        "training_date": said.training_date,
        "pushed_at": push.at,
        "pushed_by": push.by,
        "type": said.model_type,
        "base_model": said.base_model,
        "adapter": push.facts.adapter,
        "metrics": said.metrics,
        "size_bytes": push.size_bytes,
        "log_history": log_history,
    });
    pretty(&document)
}

/// `metadata.json` beside a model's files: what stands in this folder.
///
/// Its `modelkeep` key tells it from a `metadata.json` that was pushed as content.
pub fn metadata(state: &State, model: &Model, push: &Push, files: &Manifest) -> Vec<u8> {
    let said = model.describe(push);
    let document = json!({
        "modelkeep": { "format": FORMAT, "txn": push.txn },
        "id": model.id,
        "kind": model.kind,
        "type": said.model_type,
        "revision": push.revision,
        "number": push.number,
        "labels": model.labels_of(&push.revision),
        "base_model": said.base_model.map(|name| state.base_name(&name)),
        "source": said.source,
        "training_date": said.training_date,
        "metrics": said.metrics,
        "adapter": push.facts.adapter,
        "tensors": push.facts.tensors,
        "status": state.status(model),
        "deployed_at": state.deployment_of(&model.id).map(|deployment| deployment.at),
        "pushed_at": push.at,
        "pushed_by": push.by,
        "size_bytes": push.size_bytes,
        "files": files,
    });
    pretty(&document)
}

/// Whether a `metadata.json` is one of ours rather than content.
pub fn is_our_metadata(bytes: &[u8]) -> bool {
    serde_json::from_slice::<BTreeMap<String, Value>>(bytes)
        .is_ok_and(|document| document.get("modelkeep").is_some_and(|key| key.get("txn").is_some()))
}

/// A pointer file, `NAME.pointer.json`, where neither symlinks nor shortcuts are had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointerFile {
    /// What it points to, from the remote's root.
    pub target: RemotePath,
}

impl PointerFile {
    /// As the bytes of its file.
    pub fn to_bytes(&self) -> Vec<u8> {
        pretty(&json!(self))
    }
}

fn pretty(document: &Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(document).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// `docs/architecture.md` of a remote: written once, by `init`, never over what is there.
pub fn architecture(name: &str) -> String {
    format!(
        "# {name}: what is where\n\n\
This tree is kept by [modelkeep](https://github.com/modelkeep/modelkeep). Everything in it is plain files: you can read, copy and download\n\
them with any program, or in the browser, without modelkeep.\n\n\
| folder | holds |\n\
|---|---|\n\
| `models/base-models/<id>/` | base models, one folder each, as they were downloaded |\n\
| `models/finetuned/<id>/` | models trained here: adapter, config, `benchmark.json`, and `metadata.json` (base model, metrics, sizes, SHA-256 of every file) |\n\
| `models/finetuned/<family>-latest` | points to the highest version of a family |\n\
| `models/deployed/current` | points to the model in use |\n\
| `datasets/` `notebooks/` | training data and experiments |\n\
| `results/training_logs/` | one `run_<model>_<date>.json` for each training run, with its metrics step by step |\n\
| `results/benchmarks/` `results/inference_results/` | what was measured |\n\
| `docs/model_registry.json` | every model: size, base model, metrics, status. You may edit purpose, notes and metrics by hand; the next command takes the edit in |\n\
| `docs/training_log.md` | the same as a table, newest first |\n\
| `docs/configs/` | backups of configuration files |\n\
| `.modelkeep/` | the history: what happened (`log/`), earlier versions whole (`versions/<model>/<push>/`, plain files too), removed ones until their grace period ends (`trash/`) |\n\n\
## Reading it without the tool\n\n\
- A model: copy its folder from `models/`, and load it with `from_pretrained(\"<folder>\")`. A pointer is a link, a Drive shortcut, or a\n\
  file `<name>.pointer.json` that names the folder.\n\
- An earlier version: look in `.modelkeep/versions/<model>/`; the file `.modelkeep-push.json` in each folder says which revision it is,\n\
  when it was pushed and by whom.\n\
- To check a file: compare `sha256sum FILE` with its entry in `metadata.json` or `.modelkeep-push.json`.\n\n\
## What to leave alone\n\n\
Do not change or rename files inside a model's folder or under `.modelkeep/`: push a new version instead. If it happened,\n\
`modelkeep verify` names what changed and `modelkeep repair` says what can be done. This file is yours: it is never overwritten.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Body;
    use crate::registry::json;
    use crate::registry::state::tests::{event, pushed};

    #[test]
    fn every_document_says_what_the_registry_says() {
        let set = json!({"type": "merged", "base_model": "b", "training_date": "2026-01-01", "metrics.f1": 0.5});
        let set = Body::Fields { model: "m".parse().unwrap(), set: serde_json::from_value(set).unwrap() };
        let bodies = [pushed("m", 1, 1, b"a"), pushed("m", 2, 2, b"b"), set];
        let events: Vec<_> = bodies.into_iter().zip(1..).map(|(body, at)| event(at, body)).collect();
        let state = State::fold(events.iter().map(|(name, event)| (name, event)));
        let model = &state.models["m"];
        let [older, newest] = &model.pushes[..] else { panic!("two pushes") };
        let Body::Pushed(pushed) = &events[1].1.body else { panic!("a push") };
        let files = pushed.manifest.as_ref().unwrap();
        let read = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).unwrap();
        let entry = read(json::render(&state).bytes)["models"][0].clone();
        for document in [metadata(&state, model, newest, files), run_log(model, newest, None)].map(read) {
            for field in ["type", "base_model", "training_date", "metrics"] {
                assert_eq!(document[field], entry[field], "{field}");
            }
        }
        for document in [metadata(&state, model, older, files), run_log(model, older, None)].map(read) {
            assert_eq!((&document["base_model"], &document["metrics"]), (&Value::Null, &json!({"eval_loss": 0.1})));
        }
        let log = training_log(&state);
        assert!(log.contains("| 2026-01-01 | m | #2 ") && log.contains("| b | eval_loss 0.1, f1 0.5 |"), "{log}");
        assert!(log.contains("|  | m | #1 "), "{log}");
    }
}
