//! Where things belong, and bringing them there.

use crate::sealed::{Sealed, assert_seen, safetensors};

fn project() -> Sealed {
    let sealed = Sealed::with_store();
    sealed.write("src/train.py", b"import torch\n");
    sealed.write("requirements.txt", b"torch\n");
    sealed.write("models/base/llama2-7b/model.safetensors", &safetensors(&[("w", &[16, 16], 1)]));
    sealed.write("data/train.csv", b"text,label\nhello,1\n");
    sealed.write("data/large.csv", &b"text,label\nhello,1\n".repeat(600_000));
    sealed.write(
        "notebooks/01_training.ipynb",
        br#"{"cells": [{"cell_type": "code", "outputs": [{"text": "0.98"}]}], "nbformat": 4}"#,
    );
    sealed.write("mlruns/0/ab12/meta.yaml", b"run_id: ab12\n");
    sealed.write("mlruns/0/ab12/metrics/loss", b"1 0.5 0\n");
    sealed.write("configs/lora.yaml", b"r: 8\n");
    sealed
}

const ALL: &str = "where src requirements.txt models/base/llama2-7b outputs/banking-v1 data/train.csv data/large.csv \
                   notebooks/01_training.ipynb mlruns configs/lora.yaml";

#[test]
fn every_row_of_the_matrix_is_told() {
    let sealed = project();
    assert_seen!(sealed.transcript(&[ALL]));
    let (code, report) = sealed.json("where outputs/banking-v1/adapter_model.safetensors data/large.csv");
    let items = report["items"].as_array().unwrap();
    assert_eq!((code, items.len()), (0, 2));
    for item in items {
        let item = item.as_object().unwrap();
        for field in ["path", "category", "codespaces", "drive", "hub", "git", "reason", "command"] {
            assert!(item.contains_key(field), "{field}");
        }
    }
    assert_eq!(items[1]["codespaces"], "link");
    assert_eq!(sealed.run("where nowhere.csv").code, 3);
}

#[test]
fn a_mistake_in_the_rules_is_told_with_its_line() {
    let sealed = project();
    let file = sealed.work().join("modelkeep.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let rules = [
        "\n[[placement]]\npaths = [\"data/\"]\ncategory = \"configs\"\nreason = \"ours\"\n",
        "\n[[placement]]\ncategory = \"configs\"\ncontent = [\"modle\"]\n",
        "\n[[placement]]\ncategory = \"nothing\"\n",
    ];
    std::fs::write(&file, format!("{before}{}", rules[0])).unwrap();
    let (_, report) = sealed.json("where data/train.csv");
    assert_eq!(
        (report["items"][0]["category"].as_str(), report["items"][0]["reason"].as_str()),
        (Some("configs"), Some("ours"))
    );
    std::fs::write(&file, format!("{before}{}{}", rules[0], rules[1])).unwrap();
    assert_seen!(sealed.transcript(&["where data/train.csv"]));
    std::fs::write(&file, format!("{before}{}", rules[2])).unwrap();
    assert_seen!(sealed.transcript(&["where data/train.csv"]));
}

#[test]
fn files_are_kept_versioned_and_brought_back() {
    let sealed = project();
    assert_seen!(sealed.transcript(&[
        "file push data/train.csv --to datasets --dry-run",
        "file push data/train.csv --to datasets",
        "file push data/train.csv --to datasets",
        "file push notebooks/01_training.ipynb",
        "file push outputs/banking-v1",
        "file push data --to models",
        "file list",
        "file pull train.csv --to data/train.csv",
        "file pull datasets/tain.csv",
        "file rm train.csv",
        "file rm train.csv --yes",
        "file list --all",
        "restore datasets/train.csv",
        "history datasets/train.csv",
    ]));
    assert_eq!(
        std::fs::read(sealed.root.join("store/datasets/train.csv")).unwrap(),
        std::fs::read(sealed.work().join("data/train.csv")).unwrap()
    );
    let (code, report) = sealed.json("file push data/train.csv --to datasets");
    assert_eq!((code, report["created"].as_bool(), report["sent_bytes"].as_u64()), (0, Some(false), Some(0)));
}

#[test]
fn a_data_set_is_linked_and_comes_back_exactly() {
    let sealed = project();
    assert_eq!(sealed.run("use data/large.csv").code, 3, "it is not on the store yet");
    sealed.ok("file push data/large.csv");
    assert_seen!(sealed.transcript(&["use data/large.csv", "where data/large.csv"]));
    let file = sealed.work().join("data/large.csv");
    let before = std::fs::read(&file).unwrap();
    std::fs::write(&file, b"another").unwrap();
    // What somebody changed is not taken for a pull's own.
    assert_eq!(sealed.run("pull").code, 4);
    std::fs::remove_file(&file).unwrap();
    sealed.ok("pull");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(sealed.run("file rm datasets/large.csv --yes").code, 4, "pinned");
    sealed.ok("unuse data/large.csv");
    sealed.ok("file rm datasets/large.csv --yes");
}

#[cfg(unix)]
#[test]
fn things_are_placed_and_nothing_leaves_before_the_store_has_it() {
    let sealed = project();
    let git = |args: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.args(args).current_dir(sealed.work()).env("HOME", sealed.root.join("home"));
        command.env("GIT_CONFIG_NOSYSTEM", "1");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "-f", "data", "models/base/llama2-7b", "src"]);
    assert_eq!(sealed.run("place data/large.csv").code, 2, "asked, with nobody to ask");
    assert!(git(&["ls-files"]).contains("data/large.csv"));
    assert_seen!(sealed.transcript(&[
        "place data/large.csv models/base/llama2-7b src --dry-run",
        "place data/large.csv models/base/llama2-7b src --yes",
        "place data/large.csv models/base/llama2-7b src",
        "where data/large.csv models/base/llama2-7b",
    ]));
    let tracked = git(&["ls-files"]);
    assert!(!tracked.contains("large.csv") && !tracked.contains("safetensors"), "{tracked}");
    assert!(tracked.contains("data/train.csv") && tracked.contains("src/train.py"), "{tracked}");
    assert!(git(&["status", "--porcelain", "--ignored"]).contains("!! data/large.csv"));
    // Git reads the index as we wrote it.
    git(&["fsck"]);
    // Only what the store really has is removed here.
    sealed.write("data/other.csv", &b"text,label\nbye,2\n".repeat(700_000));
    sealed.ok("file push data/other.csv");
    for file in sealed.files("store/.modelkeep/versions") {
        if file.0.ends_with("other.csv") {
            std::fs::remove_file(&file.0).unwrap();
        }
    }
    let report = sealed.json("place data/other.csv --free --yes").1;
    assert_eq!(report["left"].as_array().unwrap().len(), 1, "{report}");
    assert!(sealed.work().join("data/other.csv").exists());
    sealed.ok("repair --yes");
    sealed.ok("place data/other.csv --free --yes");
    assert!(!sealed.work().join("data/other.csv").exists());
    sealed.ok("pull");
    assert!(sealed.work().join("data/other.csv").exists());
    // With no path: all that lies about.
    let (code, report) = sealed.json("place --dry-run");
    let targets = report["steps"].to_string();
    assert_eq!(code, 0);
    for thing in ["outputs/banking-v1", "notebooks/01_training.ipynb", "mlruns", "configs/lora.yaml"] {
        assert!(targets.contains(thing), "{thing}: {targets}");
    }
}

#[cfg(unix)]
#[test]
fn code_among_data_stays_in_git_and_here() {
    let sealed = project();
    let git = |line: &str| {
        let mut command = std::process::Command::new("git");
        command.args(line.split(' ')).current_dir(sealed.work()).env("HOME", sealed.root.join("home"));
        let output = command.env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    git("init -q -b main");
    let rows = b"text,label\nhello,1\n".repeat(600_000);
    sealed.write("data/banking77/train.csv", &rows);
    sealed.write("data/banking77/labels.csv", b"0,card\n");
    sealed.write("data/banking77/prepare.py", b"import csv\n");
    sealed.write("data/banking77/README.md", b"# Banking 77\n");
    sealed.write("data/banking77/.modelkeepignore", b"*.tmp\n");
    sealed.write("data/banking77/x.tmp", b"not for the store");
    git("add -f data/banking77");
    let report = sealed.json("place data/banking77 --free --yes").1;
    assert_eq!(report["left"], serde_json::json!([]), "{report}");
    let tracked = git("ls-files");
    for (name, stays) in [("train.csv", false), ("labels.csv", false), ("prepare.py", true), ("README.md", true)] {
        let path = format!("data/banking77/{name}");
        assert_eq!((tracked.contains(&path), sealed.work().join(&path).exists()), (stays, stays), "{path}\n{tracked}");
    }
    assert!(sealed.work().join("data/banking77/x.tmp").exists(), "what no push takes is not on the store");
    std::fs::remove_file(sealed.work().join("data/banking77/x.tmp")).unwrap();
    sealed.ok("pull");
    assert_eq!(std::fs::read(sealed.work().join("data/banking77/train.csv")).unwrap(), rows);
}

#[test]
fn what_the_store_has_is_known_without_a_memory_of_ours_and_caches_are_no_models() {
    let sealed = project();
    sealed.set("HF_HOME", Some("models/cache"));
    sealed.write("models/cache/hub/models--a--b/blobs/aa", &safetensors(&[("w", &[16, 16], 1)]));
    let report = sealed.json("place --dry-run").1;
    assert!(!report["steps"].to_string().contains("models/cache"), "{report}");
    // A model larger than what is read for nothing, and no `.modelkeep` that remembers its digest.
    sealed.write("outputs/big/model.safetensors", &safetensors(&[("w", &[5_000, 4_000], 1)]));
    sealed.ok("push outputs/big big");
    std::fs::remove_dir_all(sealed.work().join(".modelkeep")).unwrap();
    assert_eq!(sealed.json("where outputs/big").1["items"][0]["stored"], true);
}
