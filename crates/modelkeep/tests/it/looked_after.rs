//! Upkeep: what it costs, and whether all is well.

use std::fs;

use serde_json::json;

use crate::sealed::{Sealed, assert_seen};

/// What the machine that runs the test has is left out: free room, the program's own version and system.
fn on_any_machine(text: &str) -> String {
    let hidden = |line: &str| match line.split_whitespace().next() {
        Some("disk" | "versions" | "clock") => line.split_whitespace().next().unwrap_or_default().to_owned(),
        _ => without_size(line.trim_end()),
    };
    // How wide a column is depends on those lines.
    let lines = text.lines().map(|line| hidden(line) + "\n").collect::<String>();
    lines
        .split('\n')
        .map(|line| line.split("  ").filter(|part| !part.is_empty()).map(str::trim).collect::<Vec<_>>().join("  "))
        .collect::<Vec<_>>()
        .join("\n")
}

/// How much this machine holds is left out: caches of our own grow as they like.
fn without_size(line: &str) -> String {
    let Some((before, after)) =
        line.split_once(" kB").filter(|(_, after)| after.trim_start_matches(" of").trim_start().starts_with("15 GB"))
    else {
        return line.to_owned();
    };
    format!("{}… kB{after}", before.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.'))
}

#[test]
fn what_it_costs_is_measured_and_priced_by_a_table_of_ones_own() {
    let sealed = Sealed::with_models();
    assert_seen!(on_any_machine(&sealed.transcript(&["cost"])));
    let (code, report) = sealed.json("cost");
    assert_eq!((code, &report["monthly_usd"]), (0, &json!(2.99)));
    assert_eq!(report["items"][0]["included"], true);
    let settings = sealed.work().join("modelkeep.toml");
    let before = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{before}\n[prices.drive]\nmonthly_usd = 9.99\n\n[prices.nas]\nname = \"our NAS\"\n"))
        .unwrap();
    let (_, report) = sealed.json("cost");
    assert_eq!(report["monthly_usd"], 9.99);
    assert!(report["alternatives"].as_array().unwrap().iter().any(|other| other["name"] == "our NAS"));
    fs::write(&settings, format!("{before}\n[prices.drive]\nmonthly_usd = -1\n")).unwrap();
    let mistake = sealed.transcript(&["cost"]);
    fs::write(&settings, format!("{before}\n[prices.drive]\nmonthly = 1\n")).unwrap();
    assert_seen!(format!("{mistake}\n{}", sealed.transcript(&["cost"])));
}

#[test]
fn a_doctor_tells_each_criterion_with_its_evidence() {
    let sealed = Sealed::with_models();
    sealed.set("MODELKEEP_BUDGET_FREE", Some("1kB"));
    let (code, report) = sealed.json("doctor");
    assert_eq!((code, &report["ok"]), (0, &json!(true)), "{report}");
    assert_seen!(on_any_machine(&sealed.transcript(&["doctor"])));
    // A run that nobody stored, and a registry that nobody wrote again.
    sealed.adapter("outputs/banking-v3", 3, &[("accuracy", 0.96)]);
    fs::remove_file(sealed.root.join("store/docs/model_registry.json")).unwrap();
    assert_seen!(on_any_machine(&sealed.transcript(&["doctor", "doctor --fix"])));
    let (code, report) = sealed.json("doctor");
    assert_eq!(code, 9);
    let failing: Vec<_> = report["criteria"].as_array().unwrap().iter().filter(|one| one["ok"] == false).collect();
    assert_eq!(failing.iter().map(|one| &one["id"]).collect::<Vec<_>>(), ["models_on_remote"]);
}

#[test]
fn a_doctor_works_without_a_store_and_names_no_home() {
    let sealed = Sealed::new();
    sealed.set("MODELKEEP_BUDGET_FREE", Some("1kB"));
    let ran = sealed.run("doctor --offline");
    assert_eq!(ran.code, 9);
    assert!(ran.stdout.contains("no store is set"), "{}", ran.stdout);
    assert!(!ran.stdout.contains(&*sealed.root.join("home").to_string_lossy()), "{}", ran.stdout);
    sealed.ok("init --remote ../store");
    fs::remove_dir_all(sealed.root.join("store")).unwrap();
    let (code, report) = sealed.json("doctor");
    assert_eq!(code, 9, "{report}");
    assert!(report["criteria"][1]["evidence"].as_str().unwrap().starts_with("not checked: "), "{report}");
}

#[test]
fn upkeep_is_shown_then_done_and_told_to_the_log_for_both_machines() {
    let sealed = Sealed::with_models();
    // A run that came to nothing: another took its place within the hour.
    sealed.adapter("outputs/again", 3, &[("accuracy", 0.94)]);
    sealed.ok("push outputs/again banking-v1");
    let steps = |report: &serde_json::Value, id: &str| {
        let tasks = report["tasks"].as_array().unwrap();
        tasks.iter().find(|task| task["id"] == id).map(|task| task["steps"].clone()).unwrap_or_default()
    };
    let before = sealed.files("store");
    let (code, plan) = sealed.json("maintain quarterly --dry-run");
    assert_eq!((code, &plan["period"], &plan["applied"]), (0, &json!("quarterly"), &json!(false)), "{plan}");
    assert_eq!(steps(&plan, "failed_runs")[0]["action"], "move to trash");
    // Nobody to ask, and no --yes: nothing is changed.
    assert_eq!(sealed.run("maintain quarterly").code, 2);
    assert!(sealed.files("store") == before);
    let text = sealed.transcript(&["maintain due --yes"]);
    let (code, again) = sealed.json("maintain due");
    assert_eq!((code, &again["tasks"]), (0, &json!([])), "{again}");
    let (_, doctor) = sealed.json("doctor");
    assert_eq!(doctor["criteria"][3]["ok"], true, "upkeep leaves the registry current: {doctor}");
    // Another machine: what concerns the store is done, what concerns a machine is not.
    sealed.set("HOSTNAME", Some("laptop"));
    let (_, there) = sealed.json("maintain due --dry-run");
    let due: Vec<_> = there["tasks"].as_array().unwrap().iter().map(|task| task["id"].clone()).collect();
    assert_eq!(due, ["free_space", "hf_cache", "notebooks", "caches", "notebook_backup"]);
    assert_seen!(format!("{text}\n{}", sealed.transcript(&["show banking-v1", "restore banking-v1@1 --yes"])));
}

#[test]
fn upkeep_without_a_store_concerns_this_machine() {
    let sealed = Sealed::new();
    let (code, report) = sealed.json("maintain due --yes");
    assert_eq!(code, 0, "{report}");
    let ids: Vec<_> = report["tasks"].as_array().unwrap().iter().map(|task| task["id"].clone()).collect();
    assert_eq!(ids, ["free_space", "hf_cache", "caches"]);
}

#[test]
fn notebooks_that_nobody_touches_are_filed_and_stay() {
    let sealed = Sealed::with_models();
    sealed.write("notebooks/old.ipynb", br#"{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}"#);
    sealed.set("MODELKEEP_MAINTAIN_NOTEBOOK_DAYS", Some("30"));
    let archived = |report: &serde_json::Value| {
        let tasks = report["tasks"].as_array().unwrap();
        tasks.iter().find(|task| task["id"] == "notebooks").unwrap()["steps"].as_array().unwrap().len()
    };
    assert_eq!(archived(&sealed.json("maintain weekly --dry-run").1), 0, "a day old");
    sealed.set("MODELKEEP_MAINTAIN_NOTEBOOK_DAYS", Some("0"));
    assert_eq!(archived(&sealed.json("maintain weekly --yes").1), 1);
    assert!(
        sealed.root.join("store/notebooks/old.ipynb").is_file() && sealed.work().join("notebooks/old.ipynb").is_file()
    );
    assert_eq!(archived(&sealed.json("maintain weekly --yes").1), 0);
}

#[test]
fn one_task_that_cannot_be_done_keeps_no_other_from_it() {
    let sealed = Sealed::with_models();
    sealed.set("MODELKEEP_MAINTAIN_NOTEBOOK_DAYS", Some("0"));
    sealed.write("notebooks/a.ipynb", NOTEBOOK.as_bytes());
    sealed.write("../store/notebooks/a.ipynb", b"somebody else's");
    let (code, report) = sealed.json("maintain due --yes");
    let failed = |report: &serde_json::Value| -> Vec<serde_json::Value> {
        let tasks = report["tasks"].as_array().unwrap();
        tasks.iter().filter(|task| !task["error"].is_null()).map(|task| task["id"].clone()).collect()
    };
    assert_eq!((code, failed(&report)), (4, vec![json!("notebooks")]), "{report}");
    assert_eq!(report["tasks"].as_array().unwrap().len(), 9);
    // What was done is done; what was not is still due, and says so.
    let again = sealed.run("maintain due --yes");
    assert!(again.code == 4 && again.stdout.contains("not done:"), "{}{}", again.stdout, again.stderr);
    fs::remove_file(sealed.root.join("store/notebooks/a.ipynb")).unwrap();
    let (code, report) = sealed.json("maintain due --yes");
    assert_eq!((code, report["tasks"].as_array().unwrap().len()), (0, 1), "{report}");
}

#[test]
fn what_is_filed_is_shown_again_and_counted() {
    let sealed = Sealed::with_models();
    for number in 1..=2 {
        sealed.write("data/train.csv", format!("text,label\nhello,{number}\n").as_bytes());
        sealed.ok("file push data/train.csv");
    }
    let remote = |of: &dyn Fn(&serde_json::Value) -> serde_json::Value| of(&sealed.json("status").1["remote"]);
    let datasets = |remote: &serde_json::Value| remote["categories"][2].clone();
    // Two versions, and the copy that is shown.
    assert_eq!(remote(&datasets)["size_bytes"], json!(3 * 19), "{}", remote(&datasets));
    let shown = sealed.root.join("store/datasets/train.csv");
    fs::remove_file(&shown).unwrap();
    sealed.ok("doctor --fix -q");
    assert!(shown.exists());
    fs::remove_file(&shown).unwrap();
    sealed.ok("maintain quarterly --yes");
    assert!(shown.exists());
    let trash = |remote: &serde_json::Value| remote["trash_bytes"].clone();
    assert_eq!(remote(&trash), json!(0));
    sealed.ok("file rm datasets/train.csv --yes");
    assert_eq!(remote(&trash), json!(2 * 19));
}

const NOTEBOOK: &str = r#"{"cells": [], "metadata": {"n": 1}, "nbformat": 4, "nbformat_minor": 5}"#;

/// The archives of notebooks, oldest first, with what `tar` says is in them.
fn archives(sealed: &Sealed, folder: &str) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<_> = fs::read_dir(sealed.root.join(folder))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let tar = std::process::Command::new("tar").arg("-tf").arg(&path).output().unwrap();
            let names = String::from_utf8(tar.stdout).unwrap().lines().map(str::to_owned).collect();
            (path.file_name().unwrap().to_string_lossy().into_owned(), names)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn notebooks_are_archived_on_a_disk_of_ones_own_and_never_for_nothing() {
    let sealed = Sealed::with_models();
    sealed.ok("config set maintain.backup ../disk");
    let backed_up = |line: &str| {
        let (code, report) = sealed.json(line);
        assert_eq!(code, 0, "{report}");
        let tasks = report["tasks"].as_array().unwrap();
        tasks.iter().find(|task| task["id"] == "notebook_backup").unwrap()["steps"].as_array().unwrap().len()
    };
    assert_eq!(backed_up("maintain quarterly --yes"), 0, "there is no notebook");
    assert!(archives(&sealed, "disk").is_empty());
    sealed.write("notebooks/.ipynb_checkpoints/a.ipynb", NOTEBOOK.as_bytes());
    assert_eq!(backed_up("maintain quarterly --yes"), 0, "Jupyter's own copies are none");
    sealed.write("notebooks/stored.ipynb", NOTEBOOK.as_bytes());
    sealed.ok("file push notebooks/stored.ipynb");
    sealed.write("notebooks/deep/only here.ipynb", NOTEBOOK.replace('1', "2").as_bytes());
    sealed.write("notebooks/notes.txt", b"no notebook");
    assert_eq!(backed_up("maintain quarterly --dry-run"), 1);
    assert!(archives(&sealed, "disk").is_empty());
    // What a run that was killed had begun is no archive, and goes.
    sealed.write("../disk/notebooks-2025-11-11.tar.part", b"half");
    assert_eq!(backed_up("maintain quarterly --yes"), 1);
    let inside =
        ["manifest.json", "notebooks/stored.ipynb", "workspace/notebooks/deep/only here.ipynb"].map(str::to_owned);
    let first = "notebooks-2026-02-11.tar".to_owned();
    assert_eq!(archives(&sealed, "disk"), [(first.clone(), inside.to_vec())]);
    // Nothing new: no archive, and what was here alone and is stored now is none.
    assert_eq!(backed_up("maintain quarterly --yes"), 0);
    fs::remove_file(sealed.work().join("notebooks/deep/only here.ipynb")).unwrap();
    assert_eq!(backed_up("maintain quarterly --yes"), 0, "an archive has it");
    // A newer version, which this machine does not have: it comes from the store.
    sealed.write("notebooks/stored.ipynb", NOTEBOOK.replace('1', "3").as_bytes());
    sealed.ok("file push notebooks/stored.ipynb");
    fs::remove_file(sealed.work().join("notebooks/stored.ipynb")).unwrap();
    assert_eq!(backed_up("maintain quarterly --yes"), 1);
    let second = "notebooks-2026-02-11.2.tar".to_owned();
    let names: Vec<_> = archives(&sealed, "disk").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [second.clone(), first.clone()]);
    let out = std::process::Command::new("tar")
        .arg("-xOf")
        .arg(sealed.root.join("disk").join(&second))
        .arg("notebooks/stored.ipynb")
        .output();
    assert_eq!(String::from_utf8(out.unwrap().stdout).unwrap(), NOTEBOOK.replace('1', "3"));
    // One that was damaged does not count, and is left to its owner.
    let damaged = sealed.root.join("disk").join(&second);
    let mut bytes = fs::read(&damaged).unwrap();
    let at = bytes.windows(8).rposition(|window| window == b"nbformat").unwrap();
    bytes[at] ^= 1;
    fs::write(&damaged, &bytes).unwrap();
    assert_eq!(backed_up("maintain quarterly --yes"), 1);
    assert_eq!(archives(&sealed, "disk").len(), 3);
    assert_eq!(fs::read(&damaged).unwrap(), bytes);
    assert_eq!(backed_up("maintain quarterly --yes"), 0);
}

#[test]
fn what_a_doctor_says_can_be_shown_to_anybody() {
    let sealed = Sealed::with_models();
    let secrets = ["ya29.secret-of-drive", "hf_secretOfTheHub", "client-secret-of-login", "1//refresh-secret"];
    sealed.set("MODELKEEP_GDRIVE_TOKEN", Some(secrets[0]));
    sealed.set("HF_TOKEN", Some(secrets[1]));
    let credentials = json!({"version": 1, "accounts": {"ana@example.com": {
        "client_id": "id", "client_secret": secrets[2], "refresh_token": secrets[3], "scope": "https://www.googleapis.com/auth/drive",
    }}});
    sealed.write("credentials.json", credentials.to_string().as_bytes());
    sealed.set("MODELKEEP_CREDENTIALS", Some(&sealed.work().join("credentials.json").to_string_lossy()));
    // A folder, a Drive that refuses, one where nobody is.
    sealed.set("MODELKEEP_GDRIVE_ENDPOINT", Some("http://127.0.0.1:1"));
    sealed.set("MODELKEEP_RETRY_BASE_MS", Some("1"));
    for remote in ["default", "gdrive:Banking LLM"] {
        for line in ["doctor", "doctor -vv", "doctor --json", "doctor --fix"] {
            let ran = sealed.run(&format!("{line} --remote '{remote}'"));
            assert!([0, 9].contains(&ran.code), "{line}: {}{}", ran.stdout, ran.stderr);
            let said = format!("{}{}", ran.stdout, ran.stderr);
            for secret in secrets {
                assert!(!said.contains(secret), "{line} tells {secret}:\n{said}");
            }
        }
    }
}
