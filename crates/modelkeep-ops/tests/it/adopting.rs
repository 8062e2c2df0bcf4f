//! A tree as people really have one, taken in where it stands.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::SignedDuration;
use modelkeep_core::Kind;
use modelkeep_ops::adopt::{self, Item, Report, Request};
use modelkeep_ops::{deploy, list, push as pushing, show};
use modelkeep_remote::layer::{Fault, Strike};
use serde_json::json;

use crate::world::{Ground, Machine, copy_folder, files, pull, push, refused, settled, snapshot};

/// A safetensors file that is one: a header of one tensor, and its bytes.
fn safetensors(seed: u8) -> Vec<u8> {
    let header = br#"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend([seed; 16]);
    bytes
}

fn put(root: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

const FINETUNED: &str = "models/finetuned";

/// The tree of a team that kept order by hand for a year.
fn grown(root: &Path) {
    for n in 0..32 {
        let folder = format!("{FINETUNED}/run-v{n}");
        put(root, &format!("{folder}/adapter_model.safetensors"), safetensors(n));
        put(
            root,
            &format!("{folder}/adapter_config.json"),
            r#"{"base_model_name_or_path":"llama2-7b-base","r":8,"peft_type":"LORA"}"#,
        );
        put(root, &format!("{folder}/benchmark.json"), format!(r#"{{"f1": 0.{n}1}}"#));
    }
    put(root, "models/base-models/llama2-7b/model.safetensors", safetensors(200));
    put(root, "models/base-models/llama2-7b/config.json", r#"{"_name_or_path":"meta-llama/Llama-2-7b-hf"}"#);
    let nested = format!("{FINETUNED}/nested");
    put(root, &format!("{nested}/checkpoint-500/adapter_model.safetensors"), safetensors(50));
    put(root, &format!("{nested}/checkpoint-1000/adapter_model.safetensors"), safetensors(51));
    put(root, &format!("{FINETUNED}/final_FINAL2/model.safetensors"), safetensors(60));
    put(root, &format!("{FINETUNED}/final_FINAL2/pytorch_model.bin"), "pickled");
    put(root, &format!("{FINETUNED}/Banking V2/adapter_model.safetensors"), safetensors(61));
    put(root, &format!("{FINETUNED}/twice/weights.gguf"), "one");
    put(root, &format!("{FINETUNED}/Twice!/weights.gguf"), "two");
    put(root, &format!("{FINETUNED}/banking-latest/adapter_model.safetensors"), safetensors(62));
    put(root, &format!("{FINETUNED}/banking-v1/adapter_model.safetensors"), safetensors(63));
    put(root, &format!("{FINETUNED}/banking-v1/metadata.json"), r#"{"owner": "eva"}"#);
    fs::create_dir_all(root.join(FINETUNED).join("empty/also empty")).unwrap();
    put(root, &format!("{FINETUNED}/notes.txt"), "a file where folders are");
    put(root, "docs/model_registry.json", serde_json::to_vec(&json!({
        "models": [
            {"id": "llama2-7b-base", "source": "meta-llama/Llama-2-7b-hf", "size_gb": 13.0, "purpose": "base of all",
             "cached_in_codespaces": true, "cached_in_colab": false, "last_used": "2026-01-01"},
            {"id": "run-v1", "type": "LoRA adapter", "size_mb": 35, "base_model": "llama2-7b-base",
             "training_date": "2026-02-03", "metrics": {"f1": 0.99}, "status": "deployed",
             "deployed_at": "2026-02-10T00:00:00Z", "approved_by": "eva"},
            {"id": "run-v2", "type": "LoRA adapter", "size_mb": 0.0, "status": "archived"},
            {"id": "gone-v1", "type": "LoRA adapter", "size_mb": 35, "status": "active"}
        ],
        "team": "risk"
    })).unwrap());
}

async fn ground() -> Ground {
    let scratch = crate::world::scratch();
    let root = scratch.path().join("remote");
    grown(&root);
    Ground::on(scratch, root).await
}

fn now() -> Request {
    Request { now: true, ..Default::default() }
}

fn item<'a>(report: &'a Report, folder: &str) -> &'a Item {
    let found = report.items.iter().find(|item| item.folder.ends_with(&format!("/{folder}")));
    found.unwrap_or_else(|| panic!("no {folder} in {report:#?}"))
}

fn doubts(report: &Report, folder: &str) -> String {
    item(report, folder).doubtful.join("; ")
}

/// Inode, time and bytes of everything that people put there.
#[cfg(unix)]
fn untouched(root: &Path) -> BTreeMap<PathBuf, (u64, std::time::SystemTime, Vec<u8>)> {
    use std::os::unix::fs::MetadataExt as _;
    let ours = |path: &str| path.ends_with(".modelkeep-push.json") || path.ends_with("/metadata.json");
    let all = snapshot(&root.join("models")).into_iter().filter(|(path, bytes)| {
        !bytes.starts_with(b"-> ") && (!ours(path) || path == "finetuned/banking-v1/metadata.json")
    });
    all.map(|(path, bytes)| {
        let path = root.join("models").join(path);
        let metadata = fs::metadata(&path).unwrap();
        (path, (metadata.ino(), metadata.modified().unwrap(), bytes))
    })
    .collect()
}

fn map(ground: &Ground, text: &str) -> PathBuf {
    let file = ground.ana.home.path().join("map.toml");
    fs::write(&file, text).unwrap();
    file
}

const MAP: &str = r#"
[folders]
"final_FINAL2" = "fraud-v2"
"Twice!" = { id = "twice-v2", purpose = "the second one", note = "from the old disk" }
"banking-latest" = { id = "banking-v3", base_model = "llama2-7b-base" }
"#;

#[cfg(unix)]
#[tokio::test]
async fn a_grown_tree_is_shown_corrected_and_taken_in_without_moving_a_byte() {
    let ground = ground().await;
    let before = (snapshot(&ground.root), untouched(&ground.root));

    // The table.
    let dry = Request { dry_run: true, ..now() };
    let report = adopt::adopt(&ground.ctx(), &dry).await.unwrap();
    assert!(snapshot(&ground.root) == before.0, "a dry run changes nothing");
    assert_eq!(report.items.len(), 40, "empty folders are nobody's loss");
    assert!(report.wrote.dry_run && report.items.iter().all(|item| !item.adopted));
    let run = item(&report, "run-v3");
    assert_eq!((run.id.as_ref().unwrap().as_str(), run.files), ("run-v3", 3));
    assert_eq!(run.model_type.as_deref(), Some("LoRA adapter"));
    assert!(run.understood.iter().any(|text| text.contains("f1")), "{run:?}");
    assert!(item(&report, "nested").understood.iter().any(|text| text.contains("2 checkpoint folders")));
    assert!(doubts(&report, "nested").contains("subfolders"));
    assert!(doubts(&report, "final_FINAL2").contains("weights twice"), "{}", doubts(&report, "final_FINAL2"));
    assert!(doubts(&report, "final_FINAL2").contains("--map"));
    assert!(doubts(&report, "Banking V2").contains("`banking-v2`"));
    for folder in ["twice", "Twice!"] {
        assert_eq!(item(&report, folder).id, None);
        assert!(doubts(&report, folder).contains("--map"), "{}", doubts(&report, folder));
    }
    let said = report.registry.join("\n");
    assert!(said.contains("is taken in once"), "{said}");

    // Corrected by a file; a slip in it is told, with the nearest name.
    let wrong = Request { map: Some(map(&ground, "[folders]\n\"final-final2\" = \"fraud-v2\"\n")), ..now() };
    let message = refused(adopt::adopt(&ground.ctx(), &wrong).await, Kind::Usage, &["`final-final2`"]);
    let hint = adopt::adopt(&ground.ctx(), &wrong).await.unwrap_err().hint_text().unwrap().to_owned();
    assert!(hint.contains("final_FINAL2"), "{message}: {hint}");
    let wrong = Request { map: Some(map(&ground, "[folders]\n\"twice\" = 3\n")), ..now() };
    refused(adopt::adopt(&ground.ctx(), &wrong).await, Kind::Usage, &["map.toml"]);
    let wrong = Request { map: Some(map(&ground, "[folders]\n\"twice\" = \"Bad Id\"\n")), ..now() };
    refused(adopt::adopt(&ground.ctx(), &wrong).await, Kind::Usage, &["map.toml"]);
    assert!(snapshot(&ground.root) == before.0);

    // Taken in.
    let corrected = Request { map: Some(map(&ground, MAP)), ..now() };
    let report = adopt::adopt(&ground.ctx(), &corrected).await.unwrap();
    let left: Vec<&Item> = report.items.iter().filter(|item| !item.adopted).collect();
    assert_eq!(left, Vec::<&Item>::new());
    assert!(untouched(&ground.root) == before.1, "inode, time and bytes of every file are as they were");
    let said = report.registry.join("\n");
    assert!(said.contains("`run-v1` says 35 MB") && said.contains("`gone-v1`"), "{said}");
    assert!(said.contains("`llama2-7b-base` says 13 GB"), "{said}");

    // The registry that was there is kept, and what it said is known.
    assert_eq!(
        fs::read(ground.root.join("docs/model_registry.before-modelkeep.json")).unwrap(),
        before.0["docs/model_registry.json"]
    );
    let entry = ground.entry("run-v1");
    assert_eq!(
        (&entry["status"], &entry["size_mb"], &entry["approved_by"]),
        (&json!("deployed"), &json!(0.0), &json!("eva"))
    );
    assert_eq!((&entry["base_model"], &entry["training_date"]), (&json!("llama2-7b"), &json!("2026-02-03")));
    assert_eq!((&entry["deployed_at"], &entry["metrics"]["f1"]), (&json!("2026-02-10T00:00:00Z"), &json!(0.99)));
    assert_eq!(ground.entry("run-v2")["status"], "archived");
    assert_eq!(ground.entry("llama2-7b")["purpose"], "base of all");
    assert_eq!(ground.entry("gone-v1")["size_mb"], 35, "an entry without a folder stays as it is");
    assert_eq!(ground.registry()["team"], "risk");
    assert_eq!(ground.entry("twice-v2")["purpose"], "the second one");
    assert_eq!(ground.entry("banking-v3")["base_model"], "llama2-7b");

    // Everything can be had, by another machine, under its id or its old name.
    let ben = Machine::new("ben");
    let ctx = ground.of(&ben);
    let models = list::list(&ctx, &list::Request::default()).await.unwrap().models;
    assert_eq!(models.len(), 40);
    for model in &models {
        let to = ben.home.path().join("back");
        pull(&ctx, model.id.as_str(), &to).await.unwrap();
        let shown = show::show(&ctx, model.id.as_str()).await.unwrap();
        let mut wanted = files(&ground.root.join(&shown.path));
        wanted.remove(".modelkeep-push.json");
        if model.id.as_str() != "banking-v1" {
            wanted.remove("metadata.json");
        }
        assert!(files(&to) == wanted, "{}", model.id);
        fs::remove_dir_all(to).unwrap();
    }
    assert_eq!(show::show(&ctx, "llama2-7b-base").await.unwrap().item.id.as_str(), "llama2-7b");
    deploy::deploy(&ctx, "fraud-v2", false).await.unwrap();
    let current = fs::read_link(ground.root.join("models/deployed/current")).unwrap();
    assert_eq!(current.to_str().unwrap(), "../finetuned/final_FINAL2", "it stays where it is until a newer push");

    // Once is enough.
    let again = adopt::adopt(&ctx, &now()).await.unwrap();
    assert_eq!((again.steps, again.items), (Vec::new(), Vec::new()));
    settled(&ctx).await;

    // A newer push of an adopted model stands under its id; the adopted one is an earlier version.
    deploy::deploy(&ctx, "run-v1", false).await.unwrap();
    let dir = ben.directory("next", &[("model.safetensors", b"newer")]);
    let request = pushing::Request { base: Some("llama2-7b-base".to_owned()), ..request(&dir, "fraud-v2") };
    let report = pushing::push(&ctx, request).await.unwrap();
    assert_eq!((report.number, report.base_model.as_deref()), (2, Some("llama2-7b")));
    assert!(!ground.root.join(FINETUNED).join("final_FINAL2").exists());
    let to = ben.home.path().join("back");
    pull(&ctx, "fraud-v2@1", &to).await.unwrap();
    assert_eq!(files(&to)["pytorch_model.bin"], b"pickled");
    settled(&ctx).await;
    // And the old name of the base model is no free id.
    let taken = push(&ctx, &dir, "llama2-7b-base").await;
    refused(taken, Kind::Conflict, &["`llama2-7b-base`", "`llama2-7b`"]);
}

fn request(path: &Path, model: &str) -> pushing::Request {
    pushing::Request { path: path.to_owned(), model: model.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn without_now_a_folder_is_adopted_once_it_was_seen_unchanged_for_an_hour() {
    let ground = ground().await;
    let request = || Request { map: Some(map(&ground, MAP)), ..Default::default() };
    let registry = fs::read(ground.root.join("docs/model_registry.json")).unwrap();
    let first = adopt::adopt(&ground.ctx(), &request()).await.unwrap();
    assert!(first.items.iter().all(|item| !item.adopted));
    assert!(doubts(&first, "run-v1").contains("--now"));
    ground.ana.clock.advance(SignedDuration::from_mins(59));
    assert!(adopt::adopt(&ground.ctx(), &request()).await.unwrap().items.iter().all(|item| !item.adopted));
    // Somebody is still writing one of them.
    put(&ground.root, "models/finetuned/run-v5/more.txt", "more");
    ground.ana.clock.advance(SignedDuration::from_mins(2));
    let then = adopt::adopt(&ground.ctx(), &request()).await.unwrap();
    let left: Vec<&str> = then.items.iter().filter(|item| !item.adopted).map(|item| item.folder.as_str()).collect();
    assert_eq!(left, ["models/finetuned/run-v5"]);
    assert_eq!(list::list(&ground.ctx(), &list::Request::default()).await.unwrap().models.len(), 39);
    // The registry waits for the last of its models, and nothing of it is lost.
    let kept = ["docs/model_registry.json", "docs/model_registry.before-modelkeep.json"];
    assert!(kept.iter().any(|path| fs::read(ground.root.join(path)).is_ok_and(|bytes| bytes == registry)));
    ground.ana.clock.advance(SignedDuration::from_mins(61));
    let rest = Request::default();
    let last = adopt::adopt(&ground.ctx(), &rest).await.unwrap();
    assert!(last.items.iter().all(|item| item.adopted), "{last:#?}");
    assert_eq!(ground.entry("run-v1")["status"], "deployed");
    assert_eq!(ground.entry("run-v1")["approved_by"], "eva");
    assert_eq!(ground.entry("run-v5")["modelkeep"]["files"], 4);
    settled(&ground.ctx()).await;
}

#[tokio::test]
async fn adopting_can_be_stopped_anywhere_and_run_again() {
    // A smaller tree of the same sort, so that every call can be the last.
    let small = |root: &Path| {
        for name in ["run-v1", "run-v2"] {
            put(root, &format!("{FINETUNED}/{name}/adapter_model.safetensors"), safetensors(1));
            put(root, &format!("{FINETUNED}/{name}/benchmark.json"), r#"{"f1": 0.5}"#);
        }
        put(root, "models/base-models/llama2-7b/model.safetensors", safetensors(2));
        put(
            root,
            "docs/model_registry.json",
            r#"{"models": [{"id": "run-v1", "status": "deployed", "by": "eva"},
            {"id": "llama2-7b-base", "purpose": "base"}], "team": "risk"}"#,
        );
    };
    let whole = async |ground: &Ground, machine: &Machine| {
        let ctx = ground.of(machine);
        adopt::adopt(&ctx, &now()).await.unwrap();
        let models = list::list(&ctx, &list::Request::default()).await.unwrap().models;
        let ids: Vec<(&str, usize)> = models.iter().map(|model| (model.id.as_str(), model.revisions)).collect();
        assert_eq!(ids, [("llama2-7b", 1), ("run-v1", 1), ("run-v2", 1)]);
        let entry = ground.entry("run-v1");
        assert_eq!((&entry["status"], &entry["by"]), (&json!("deployed"), &json!("eva")));
        assert_eq!(
            (&ground.entry("llama2-7b")["purpose"], &ground.registry()["team"]),
            (&json!("base"), &json!("risk"))
        );
        assert_eq!(show::show(&ctx, "llama2-7b-base").await.unwrap().item.id.as_str(), "llama2-7b");
        assert!(adopt::adopt(&ctx, &now()).await.unwrap().steps.is_empty());
        settled(&ctx).await;
    };
    for strike in [Strike::Before, Strike::After] {
        for at in 1.. {
            let scratch = crate::world::scratch();
            let root = scratch.path().join("remote");
            small(&root);
            let ground = Ground::on(scratch, root).await;
            let fault = Arc::new(Fault::at_call(at, strike));
            let stopped = adopt::adopt(&ground.hooked(fault.clone()), &now()).await;
            assert_eq!(stopped.is_err(), fault.seen() >= at, "{strike:?} {at}");
            // By another machine as well as by the same one.
            if at % 2 == 0 {
                whole(&ground, &ground.ana).await;
            } else {
                whole(&ground, &Machine::new("ben")).await;
            }
            if stopped.is_ok() {
                assert!(at > 20, "only {at} calls");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_lost_log_can_be_rebuilt_through_any_interruption() {
    let origin = Ground::new().await;
    let dir = origin.ana.directory("run", &[("weights.safetensors", b"")]);
    for (minute, content) in (1..).zip(["one", "two", "three"]) {
        fs::write(dir.join("weights.safetensors"), content).unwrap();
        origin.ana.clock.advance(SignedDuration::from_mins(minute));
        push(&origin.ctx(), &dir, "m-v1").await.unwrap();
    }
    modelkeep_ops::set::set(&origin.ctx(), "m-v1", &["purpose=triage".to_owned()], false).await.unwrap();
    deploy::deploy(&origin.ctx(), "m-v1@2", false).await.unwrap();
    fs::remove_dir_all(origin.root.join(".modelkeep/log")).unwrap();
    for strike in [Strike::Before, Strike::After] {
        for at in 1.. {
            let ground = Ground::new().await;
            fs::remove_dir_all(&ground.root).unwrap();
            copy_folder(&origin.root, &ground.root);
            let ground = Ground { format: origin.format.clone(), ..ground };
            let fault = Arc::new(Fault::at_call(at, strike));
            let stopped = adopt::adopt(&ground.hooked(fault), &Request::default()).await;
            let ctx = ground.of(&Machine::new("ben"));
            adopt::adopt(&ctx, &Request::default()).await.unwrap();
            let shown = show::show(&ctx, "m-v1@2").await.unwrap();
            let numbers: Vec<u64> = shown.history.iter().map(|push| push.number).collect();
            assert_eq!(numbers, [3, 2, 1], "{strike:?} {at}");
            assert!(shown.item.deployed, "{strike:?} {at}");
            assert_eq!(shown.fields["purpose"], "triage", "{strike:?} {at}");
            settled(&ctx).await;
            if stopped.is_ok() {
                break;
            }
        }
    }
}

#[tokio::test]
async fn content_edited_under_its_marker_becomes_a_push_only_when_asked() {
    let ground = Ground::new().await;
    let dir = ground.ana.directory("run", &[("weights.safetensors", b"one"), ("notes.txt", b"n")]);
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    put(&ground.root, "models/finetuned/m-v1/weights.safetensors", "edited");
    assert!(adopt::adopt(&ground.ctx(), &now()).await.unwrap().steps.is_empty());
    let edited = Request { edited: true, ..now() };
    let report = adopt::adopt(&ground.ctx(), &edited).await.unwrap();
    assert!(report.items[0].adopted, "{report:#?}");
    let to = ground.ana.home.path().join("back");
    pull(&ground.ctx(), "m-v1", &to).await.unwrap();
    assert_eq!(files(&to)["weights.safetensors"], b"edited");
    assert_eq!(show::show(&ground.ctx(), "m-v1").await.unwrap().item.number, Some(2));
    assert!(adopt::adopt(&ground.ctx(), &edited).await.unwrap().steps.is_empty());
}
