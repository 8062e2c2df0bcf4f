//! Base models from a Hub, versions in Hugging Face's cache: what a person sees, and what survives what.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use modelkeep_testkit::hub::{Options, Server};
use serde_json::json;

use crate::sealed::{Ran, Sealed, assert_seen, safetensors, words};

/// A machine and a Hub with one model: `acme/tiny`.
pub fn machine() -> (Sealed, Server) {
    let sealed = Sealed::new();
    put(&sealed, "README.md", b"---\nlicense: apache-2.0\n---\n# tiny\n");
    put(&sealed, "config.json", br#"{"model_type": "llama"}"#);
    put(&sealed, "model.safetensors", &safetensors(&[("embed", &[64, 64], 3)]));
    put(&sealed, "pytorch_model.bin", &[7; 16_000]);
    put(&sealed, "onnx/model.onnx", &[8; 9_000]);
    let server = Server::start(Options { root: sealed.root.join("hub"), ..Options::default() }).unwrap();
    sealed.set("HF_ENDPOINT", Some(server.url()));
    sealed.set("MODELKEEP_RETRY_BASE_MS", Some("1"));
    (sealed, server)
}

fn put(sealed: &Sealed, path: &str, bytes: &[u8]) {
    let path = sealed.root.join("hub/acme/tiny").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn cache(sealed: &Sealed) -> PathBuf {
    sealed.root.join("home/.cache/huggingface/hub")
}

/// The Hub's address is another at each run.
fn seen(text: &str, server: &Server) -> String {
    text.replace(server.url(), "[HUB]")
}

#[test]
fn a_model_comes_into_the_cache_and_stays() {
    let (sealed, server) = machine();
    let text = sealed.transcript(&[
        "fetch acme/tiny --dry-run",
        "fetch acme/tiny",
        "fetch acme/tiny",
        "fetch acme/tiny --offline",
        "fetch acme/tiny --include '*.onnx' --include config.json",
        "fetch acme/tiny --exclude '*.safetensors' --dry-run",
    ]);
    assert_seen!(seen(&text, &server));
    let snapshots = cache(&sealed).join("models--acme--tiny/snapshots");
    let commit = fs::read_to_string(cache(&sealed).join("models--acme--tiny/refs/main")).unwrap();
    let link = fs::read_link(snapshots.join(&commit).join("onnx/model.onnx")).unwrap();
    assert!(link.starts_with("../../../blobs"), "{}", link.display());
}

#[test]
fn what_cannot_be_had_says_what_to_do() {
    let (sealed, server) = machine();
    server.fault("gated@acme/tiny").unwrap();
    let text = sealed.transcript(&[
        "fetch acme/none",
        "fetch acme/tiny@v9",
        "fetch acme/tiny",
        "fetch 'not a repo'",
        "fetch acme/tiny@",
        "fetch acme/tiny --stream",
        "fetch acme/tiny --offline",
        "fetch acme/tiny --include '*.gguf'",
        "fetch acme/tiny --budget 10KB",
        "fetch acme/tiny --store",
    ]);
    assert_seen!(seen(&text, &server));
    server.clear_faults();
    server.fault("escape").unwrap();
    let escaped = sealed.run("fetch acme/tiny");
    assert_eq!(escaped.code, 5, "{}", escaped.stderr);
    assert!(!sealed.root.join("home/.cache/escaped").exists() && !cache(&sealed).join("escaped").exists());
    server.clear_faults();
    server.fault("wrong-bytes").unwrap();
    let wrong = sealed.run("fetch acme/tiny");
    assert_eq!(wrong.code, 5, "{}", wrong.stderr);
    assert!(!cache(&sealed).join("models--acme--tiny/refs").exists(), "what is not whole has no name");
    server.stop();
    assert_eq!(sealed.run("fetch acme/tiny").code, 7);
}

#[test]
fn a_fetched_model_is_stored_once_and_comes_back_from_either_side() {
    let (sealed, server) = machine();
    sealed.ok("init --remote ../store --name banking");
    let text = sealed.transcript(&["fetch acme/tiny --store", "fetch acme/tiny --store", "show tiny"]);
    assert_seen!(seen(&text, &server));
    let (_, shown) = sealed.json("show tiny");
    let commit = fs::read_to_string(cache(&sealed).join("models--acme--tiny/refs/main")).unwrap();
    assert_eq!((&shown["source"], &shown["source_commit"]), (&json!("acme/tiny"), &json!(commit)));
    assert_eq!(shown["license"], "apache-2.0");
    // Another model's id is another model's.
    sealed.ok("push outputs/llama2-7b other --kind base");
    let taken = sealed.run("fetch acme/tiny --store --id other");
    assert_eq!(taken.code, 4, "{}", taken.stderr);
    assert!(taken.stderr.contains("--id other-v2"), "{}", taken.stderr);
    // The Hub takes it away; the store still has it.
    fs::remove_dir_all(cache(&sealed)).unwrap();
    server.fault("gated@acme/tiny").unwrap();
    let (code, back) = sealed.json("fetch acme/tiny");
    assert_eq!((code, &back["source"], &back["commit"]), (0, &json!("remote"), &json!(commit)), "{back}");
    fs::remove_dir_all(cache(&sealed)).unwrap();
    server.stop();
    let (code, back) = sealed.json(&format!("fetch acme/tiny@{commit}"));
    assert_eq!((code, &back["source"], &back["files"]), (0, &json!("remote"), &json!(3)), "{back}");
    let place = PathBuf::from(back["path"].as_str().unwrap());
    assert_eq!(fs::read(place.join("config.json")).unwrap(), br#"{"model_type": "llama"}"#);
    // Whoever says `main` means the same as whoever says nothing.
    fs::remove_dir_all(cache(&sealed)).unwrap();
    let (code, back) = sealed.json("fetch acme/tiny@main");
    assert_eq!((code, &back["source"], &back["commit"]), (0, &json!("remote"), &json!(commit)), "{back}");
    // What is to go to the store and is there already brings nothing here.
    fs::remove_dir_all(cache(&sealed)).unwrap();
    let (code, back) = sealed.json("fetch acme/tiny --store --stream");
    assert_eq!((code, &back["source"], &back["path"]), (0, &json!("remote"), &json!(null)), "{back}");
    assert_eq!((&back["files"], &back["fetched_bytes"]), (&json!(3), &json!(0)), "{back}");
    assert!(!cache(&sealed).exists());
}

#[test]
fn what_is_stored_by_its_commit_has_its_licence_too() {
    let (sealed, server) = machine();
    sealed.ok("init --remote ../store --name banking");
    sealed.ok("fetch acme/tiny");
    let commit = fs::read_to_string(cache(&sealed).join("models--acme--tiny/refs/main")).unwrap();
    sealed.ok(&format!("fetch acme/tiny@{commit} --store"));
    assert_eq!(sealed.json("show tiny").1["license"], "apache-2.0");
    server.stop();
}

#[test]
fn a_base_that_the_store_has_lost_comes_from_the_hub() {
    let (sealed, server) = machine();
    sealed.ok("init --remote ../store --name banking");
    sealed.ok("fetch acme/tiny --store");
    let config = json!({"base_model_name_or_path": "acme/tiny", "peft_type": "LORA", "r": 8});
    sealed.write("outputs/banking-v1/adapter_config.json", config.to_string().as_bytes());
    sealed.ok("push outputs/banking-v1 banking-v1");
    fs::remove_dir_all(cache(&sealed)).unwrap();
    fs::remove_file(sealed.root.join("store/models/base-models/tiny/model.safetensors")).unwrap();
    let ran = sealed.run("pull banking-v1 --with-base --json");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &report["base_fetched"]["source"]), (0, &json!("hub")), "{report}");
    assert!(ran.stderr.contains("asking the Hub"), "{}", ran.stderr);
    assert!(cache(&sealed).join("models--acme--tiny/refs/main").exists());
    // Where the Hub does not have it either, the store's loss is what is told.
    fs::remove_dir_all(cache(&sealed)).unwrap();
    server.stop();
    let ran = sealed.run("pull banking-v1 --with-base --force");
    assert_eq!(ran.code, 5, "{}", ran.stderr);
}

#[test]
fn a_model_passes_through_to_the_store() {
    let (sealed, server) = machine();
    sealed.ok("init --remote ../store --name banking");
    // Larger than what is read into memory.
    let large = safetensors(&[("embed", &[2200, 2200], 5)]);
    put(&sealed, "model.safetensors", &large);
    server.fault("cut*2@resolve,seed:4").unwrap();
    let (code, report) = sealed.json("fetch acme/tiny --store --stream");
    assert_eq!((code, &report["path"]), (0, &json!(null)), "{report}");
    assert_eq!(report["stored"]["sent_bytes"], report["size_bytes"]);
    assert!(!cache(&sealed).exists(), "nothing is kept here");
    assert_eq!(fs::read(sealed.root.join("store/models/base-models/tiny/model.safetensors")).unwrap(), large);
    let (_, shown) = sealed.json("show tiny");
    assert_eq!((&shown["type"], &shown["license"]), (&json!("full model"), &json!("apache-2.0")));
    let (_, again) = sealed.json("fetch acme/tiny --store --stream");
    assert_eq!((&again["stored"]["created"], &again["stored"]["sent_bytes"]), (&json!(false), &json!(0)));
    let (code, report) = sealed.json("verify --deep");
    assert_eq!((code, &report["problems"]), (0, &json!([])));
    // Wrong bytes are in no version.
    put(&sealed, "model.safetensors", &safetensors(&[("embed", &[2200, 2200], 6)]));
    server.fault("wrong-bytes@resolve").unwrap();
    assert_eq!(sealed.run("fetch acme/tiny --store --stream").code, 5);
    assert_eq!(sealed.json("show tiny").1["revisions"], 1);
}

#[test]
fn where_there_are_no_links_a_version_is_its_files() {
    let (sealed, server) = machine();
    sealed.set("HF_HUB_DISABLE_SYMLINKS", Some("1"));
    put(&sealed, "again/config.json", br#"{"model_type": "llama"}"#);
    let (_, first) = sealed.json("fetch acme/tiny");
    let place = PathBuf::from(first["path"].as_str().unwrap());
    assert!(fs::symlink_metadata(place.join("model.safetensors")).unwrap().is_file());
    assert_eq!(fs::read_dir(cache(&sealed).join("models--acme--tiny/blobs")).unwrap().count(), 0);
    assert_eq!(sealed.json("fetch acme/tiny").1["fetched_bytes"], 0);
    let (_, status) = sealed.json("cache status");
    assert!(status["models_bytes"].as_u64().unwrap() > 16_000 && status["warnings"] == json!([]), "{status}");
    let (_, report) = sealed.json("cache evict --to 0 --yes");
    assert_eq!(report["short_bytes"], 0, "{report}");
    assert!(!place.exists());
    server.stop();
}

fn start(sealed: &Sealed, line: &str) -> Child {
    sealed.command(&words(line)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Bytes of whatever is on its way.
fn on_their_way(sealed: &Sealed) -> u64 {
    let blobs = fs::read_dir(cache(sealed).join("models--acme--tiny/blobs"));
    let incomplete = blobs.into_iter().flatten().flatten();
    let incomplete = incomplete.filter(|entry| entry.file_name().to_string_lossy().ends_with(".incomplete"));
    incomplete.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[test]
fn a_fetch_killed_anywhere_is_simply_run_again() {
    let (sealed, server) = machine();
    let large = safetensors(&[("embed", &[2000, 2500], 5)]);
    put(&sealed, "model.safetensors", &large);
    let mut before = 0;
    for stall in [0, 1_000_000, 3_000_000, 6_000_000] {
        // From where it went on, and no further.
        server.fault(&format!("stall={stall}@resolve")).unwrap();
        let mut child = start(&sealed, "fetch acme/tiny --exclude README.md --exclude config.json");
        while on_their_way(&sealed) < before + stall {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        server.clear_faults();
        before = on_their_way(&sealed);
        assert!(!cache(&sealed).join("models--acme--tiny/refs/main").exists());
    }
    assert!(before >= 10_000_000, "{before}");
    let (code, report) = sealed.json("fetch acme/tiny");
    assert_eq!(code, 0, "{report}");
    let fetched = report["fetched_bytes"].as_u64().unwrap();
    assert!(fetched < large.len() as u64 - 9_000_000, "{fetched} of {}: what came is not fetched again", large.len());
    let place = PathBuf::from(report["path"].as_str().unwrap());
    assert_eq!(fs::read(place.join("model.safetensors")).unwrap(), large);
}

#[test]
fn two_fetches_at_once_bring_it_once() {
    let (sealed, server) = machine();
    put(&sealed, "model.safetensors", &safetensors(&[("embed", &[2000, 2500], 5)]));
    let children = ["fetch acme/tiny --json"; 3].map(|line| start(&sealed, line));
    let reports = children.map(|child| {
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap()
    });
    let fetched: u64 = reports.iter().map(|report| report["fetched_bytes"].as_u64().unwrap()).sum();
    assert_eq!(Some(fetched), reports[0]["size_bytes"].as_u64());
    server.stop();
}

#[test]
fn a_version_and_its_base_are_entries_of_the_cache() {
    let (sealed, server) = machine();
    sealed.ok("init --remote ../store --name banking");
    sealed.ok("fetch acme/tiny");
    let config = json!({"base_model_name_or_path": "acme/tiny", "peft_type": "LORA", "r": 8});
    sealed.write("outputs/banking-v1/adapter_config.json", config.to_string().as_bytes());
    sealed.ok("push outputs/banking-v1 banking-v1 --label team/prod");
    fs::remove_dir_all(cache(&sealed)).unwrap();
    // The store does not have the base model: the Hub does.
    let text = sealed.transcript(&["pull banking-v1 --into hf-cache --with-base"]);
    assert_seen!(seen(&text, &server));
    let entry = cache(&sealed).join("models--banking--banking-v1");
    let commit = fs::read_to_string(entry.join("refs/main")).unwrap();
    for name in ["latest", "1", "team/prod"] {
        assert_eq!(fs::read_to_string(entry.join("refs").join(name)).unwrap(), commit, "{name}");
    }
    assert!(entry.join(format!(".no_exist/{commit}/config.json")).exists());
    assert!(entry.join(format!("trees/{commit}.json")).exists());
    // The adapter was trained on a commit, and that is what comes; by name too, as loaders ask for it.
    let base = fs::read_to_string(cache(&sealed).join("models--acme--tiny/refs/main")).unwrap();
    assert!(cache(&sealed).join("models--acme--tiny/snapshots").join(base).join("model.safetensors").exists());
    // A label that moves takes its name along.
    sealed.ok("push outputs/banking-v2 banking-v1");
    sealed.ok("label banking-v1@2 team/prod --yes");
    sealed.ok("pull banking-v1 --into hf-cache");
    let newer = fs::read_to_string(entry.join("refs/main")).unwrap();
    assert_eq!(fs::read_to_string(entry.join("refs/team/prod")).unwrap(), newer);
    assert_eq!(fs::read_to_string(entry.join("refs/1")).unwrap(), commit);
    // With the base model on the store nobody asks the Hub.
    sealed.ok("fetch acme/tiny --store");
    fs::remove_dir_all(cache(&sealed)).unwrap();
    server.stop();
    let (code, report) = sealed.json("pull banking-v1@1 --with-base --offline");
    assert_eq!((code, &report["base"]["repo"]), (0, &json!("acme/tiny")), "{report}");
    assert!(cache(&sealed).join("models--acme--tiny/refs/main").exists());
}
