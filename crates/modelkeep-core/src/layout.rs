//! Where things are on a remote. The one place that knows.

use jiff::civil::Date;

use crate::digest::{Sha256, Txn};
use crate::event::EventName;
use crate::manifest::ModelKind;
use crate::name::{Label, ModelId};
use crate::path::RemotePath;

/// The marker's name inside a push folder.
pub const MARKER: &str = ".modelkeep-push.json";
/// The projected description beside a model's files.
pub const METADATA: &str = "metadata.json";
/// Ends the name of a pointer file, where a store has neither symlinks nor shortcuts.
pub const POINTER_SUFFIX: &str = ".pointer.json";
/// The folder that holds what people need not read.
pub const INTERNAL: &str = ".modelkeep";
/// Folders that `init` makes: so that the tree explains itself before anything is in it, and so that no two clients
/// make one of them at the same time.
pub const TREE: [&str; 14] = [
    "models/base-models",
    "models/finetuned",
    "models/deployed",
    "datasets",
    "notebooks",
    "results/training_logs",
    "results/benchmarks",
    "results/inference_results",
    "docs/configs",
    ".modelkeep/log",
    ".modelkeep/snapshots",
    ".modelkeep/staging",
    ".modelkeep/trash",
    ".modelkeep/versions",
];

fn path(text: &str) -> RemotePath {
    text.parse().unwrap_or_default()
}

/// `.modelkeep/format.json`.
pub fn format() -> RemotePath {
    path(".modelkeep/format.json")
}

/// The folder of events.
pub fn log() -> RemotePath {
    path(".modelkeep/log")
}

/// An event's file.
pub fn event(name: &EventName) -> RemotePath {
    log().join(&name.file_name())
}

/// An event's file while its push is unconfirmed.
pub fn pending_event(name: &EventName) -> RemotePath {
    log().join(&name.pending_file_name())
}

/// The folder of snapshots of the log.
pub fn snapshots() -> RemotePath {
    path(".modelkeep/snapshots")
}

/// A snapshot's file.
pub fn snapshot(digest: &Sha256) -> RemotePath {
    snapshots().join(&format!("{digest}.json"))
}

/// The folder of all push folders of models that are committed and not shown.
pub fn versions() -> RemotePath {
    path(".modelkeep/versions")
}

/// The push folders of one model that are committed and not shown.
pub fn versions_of(model: &ModelId) -> RemotePath {
    versions().join(model.as_str())
}

/// A committed push that is not shown.
pub fn version(model: &ModelId, txn: &Txn) -> RemotePath {
    versions_of(model).join(&txn.to_string())
}

/// Where something goes that has to give way to something else of its own name: a name that only its id gives.
pub fn twin(path: &RemotePath, id: Option<&str>) -> RemotePath {
    path.parent().join(&format!("{}{}", path.name(), twin_suffix(id)))
}

/// What such a name ends with: the last six characters of the id, backwards.
pub fn twin_suffix(id: Option<&str>) -> String {
    let end: String = id.iter().flat_map(|id| id.chars().rev().take(6)).collect();
    format!("{TWIN}{end}")
}

/// The name that it had before.
pub fn without_twin(name: &str) -> &str {
    name.split_once(TWIN).map_or(name, |(before, _)| before)
}

/// Whether a folder gave way to `home`, which had the same name.
pub fn is_twin(folder: &RemotePath, home: &RemotePath) -> bool {
    let rest = folder.name().strip_prefix(home.name());
    folder.parent() == home.parent() && rest.is_some_and(|rest| rest.starts_with(TWIN))
}

const TWIN: &str = ".twin-";

/// The folder of pushes under way.
pub fn staging() -> RemotePath {
    path(".modelkeep/staging")
}

/// A push under way.
pub fn staged(txn: &Txn) -> RemotePath {
    staging().join(&txn.to_string())
}

/// Removed pushes, by day.
pub fn trash() -> RemotePath {
    path(".modelkeep/trash")
}

/// A removed push.
pub fn trashed(date: Date, txn: &Txn) -> RemotePath {
    trash().join(&date.to_string()).join(&txn.to_string())
}

/// The file whose time says when a removed push arrived in the trash.
pub fn arrival(trashed: &RemotePath) -> RemotePath {
    trashed.parent().join(&format!("{}{ARRIVED}", trashed.name()))
}

/// Whether a file notes an arrival.
pub fn is_arrival(path: &RemotePath) -> bool {
    path.name().ends_with(ARRIVED)
}

const ARRIVED: &str = ".arrived";

/// What was to be deleted and only its owner may: on a Drive that people share.
pub fn aside() -> RemotePath {
    path(".modelkeep/aside")
}

/// Renderings of the registry, each kept to understand edits by hand.
pub fn rendering(digest: &Sha256) -> RemotePath {
    path(".modelkeep/registry").join(&format!("{digest}.json"))
}

/// The folder of all models of one kind.
pub fn models(kind: ModelKind) -> RemotePath {
    path(match kind {
        ModelKind::Base => "models/base-models",
        ModelKind::Finetuned => "models/finetuned",
        // What is filed is shown as copies; its pushes always stand among the kept ones.
        ModelKind::Filed => ".modelkeep/versions",
    })
}

/// The shown push of a model.
pub fn shown(kind: ModelKind, model: &ModelId) -> RemotePath {
    models(kind).join(model.as_str())
}

/// The pointer to the highest version of a family.
pub fn family_latest(family: &str) -> RemotePath {
    models(ModelKind::Finetuned).join(&format!("{family}-latest"))
}

/// The pointer to what is deployed.
pub fn deployed_current() -> RemotePath {
    path("models/deployed/current")
}

/// The registry.
pub fn registry() -> RemotePath {
    path("docs/model_registry.json")
}

/// The table of training runs.
pub fn training_log() -> RemotePath {
    path("docs/training_log.md")
}

/// What each folder is, for people.
pub fn architecture() -> RemotePath {
    path("docs/architecture.md")
}

/// The folder of logs of trainings.
pub fn run_logs() -> RemotePath {
    path("results/training_logs")
}

/// The log of one training run. `number` is left out for a model's first push.
pub fn run_log(model: &ModelId, number: u64, date: Date) -> RemotePath {
    let nth = if number <= 1 { String::new() } else { format!(".{number}") };
    run_logs().join(&format!("run_{model}{nth}_{date}.json"))
}

/// What a running training has logged so far, one JSON object a line. `run` tells one training from another.
pub fn live_log(model: &ModelId, run: &Label) -> RemotePath {
    let run = run.as_str().replace('/', "-");
    run_logs().join(&format!("run_{model}_{run}.live.jsonl"))
}

/// The trainings that a live log of this file name may be of: an id may hold what divides it from the run.
pub fn live_log_of(name: &str) -> Vec<(ModelId, Label)> {
    let Some(both) = name.strip_prefix("run_").and_then(|rest| rest.strip_suffix(".live.jsonl")) else {
        return Vec::new();
    };
    let split = |(at, _)| Some((both[..at].parse().ok()?, both[at + 1..].parse().ok()?));
    both.match_indices('_').filter_map(split).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fixed_place_is_a_path() {
        for text in TREE {
            assert_eq!(path(text).as_str(), text);
        }
        let model: ModelId = "banking-v2".parse().unwrap();
        assert_eq!(
            run_log(&model, 1, jiff::civil::date(2026, 2, 10)).as_str(),
            "results/training_logs/run_banking-v2_2026-02-10.json"
        );
        let live = live_log(&model, &"a/b_c".parse().unwrap());
        let read = live_log_of(live.name());
        assert_eq!(read.first().map(|(model, run)| (model.as_str(), run.as_str())), Some(("banking-v2", "a-b_c")));
        assert_eq!(read.len(), 2, "banking-v2_a-b may be an id too");
        assert!(live_log_of("run_banking-v2_2026-02-10.json").is_empty());
        assert_eq!(family_latest(model.family()).as_str(), "models/finetuned/banking-latest");
        let trashed = trashed(jiff::civil::date(2026, 2, 10), &Txn::from_bytes([1; 16]));
        assert!(arrival(&trashed).as_str().ends_with("01.arrived"));
    }
}
