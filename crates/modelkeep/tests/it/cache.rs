//! The caches and the space of a machine: what a person sees, what goes, and what never does.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use modelkeep_testkit::hub::{Options, Server};
use serde_json::{Value, json};

use crate::sealed::{Sealed, assert_seen, safetensors};

/// A machine and a Hub that has two models, both of them fetched; one long ago.
pub fn machine() -> (Sealed, Server) {
    let sealed = Sealed::new();
    for (name, fill) in [("old", 1), ("new", 2)] {
        let folder = sealed.root.join("hub/acme").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.json"), b"{}").unwrap();
        fs::write(folder.join("model.safetensors"), safetensors(&[("embed", &[64, 64], fill)])).unwrap();
    }
    let server = Server::start(Options { root: sealed.root.join("hub"), ..Options::default() }).unwrap();
    sealed.set("HF_ENDPOINT", Some(server.url()));
    sealed.set("MODELKEEP_RETRY_BASE_MS", Some("1"));
    for (name, days) in [("old", 60), ("new", 2)] {
        fetched(&sealed, name, NOW.saturating_sub(Duration::from_secs(days * 24 * 3600)));
    }
    (sealed, server)
}

/// 2026-02-11 10:00 UTC: about when commands run; since 1970.
const NOW: Duration = Duration::from_secs(1_770_804_000);

/// Fetches a model at that time, and nobody has read a file of it since.
fn fetched(sealed: &Sealed, name: &str, at: Duration) {
    let mut fetch = sealed.command(&["fetch".to_owned(), format!("acme/{name}")]);
    fetch.env("MODELKEEP_NOW", Timestamp::UNIX_EPOCH.checked_add(at).unwrap().to_string());
    assert!(fetch.output().unwrap().status.success());
    let at = SystemTime::UNIX_EPOCH + at;
    for entry in fs::read_dir(cache(sealed).join(format!("models--acme--{name}/blobs"))).unwrap() {
        let times = fs::FileTimes::new().set_accessed(at).set_modified(at);
        fs::File::options().write(true).open(entry.unwrap().path()).unwrap().set_times(times).unwrap();
    }
}

fn cache(sealed: &Sealed) -> PathBuf {
    sealed.root.join("home/.cache/huggingface/hub")
}

fn repos(sealed: &Sealed) -> Vec<String> {
    let names = fs::read_dir(cache(sealed)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("models--")).collect();
    names.sort();
    names
}

#[test]
fn what_the_hub_still_has_goes_and_comes_back() {
    let (sealed, server) = machine();
    assert_seen!(sealed.transcript(&[
        "cache status",
        "cache list",
        "cache evict",
        "cache evict --to 20kB",
        "cache evict --to 20kB --dry-run",
        "cache evict --to 20kB --yes",
        "cache list",
        "cache clear --yes",
        "cache repair",
    ]));
    assert_eq!(repos(&sealed), ["models--acme--new"]);
    sealed.ok("fetch acme/old");
    assert_eq!(repos(&sealed).len(), 2);
    server.stop();
}

#[test]
fn what_nobody_vouches_for_stays() {
    let (sealed, server) = machine();
    // Gone from the Hub, changed at the Hub, made here.
    fs::remove_dir_all(sealed.root.join("hub/acme/old")).unwrap();
    server.fault("gated@acme/new").unwrap();
    assert_seen!(sealed.transcript(&["cache list", "cache evict --to 0 --yes"]));
    server.stop();
    // Who does not answer vouches for nothing.
    let (_, report) = sealed.json("cache evict --to 0 --yes");
    assert_eq!((&report["steps"], &report["changed"]), (&json!([]), &json!(false)));
    assert_eq!(repos(&sealed).len(), 2);
    let (_, report) = sealed.json("cache evict --to 0 --assume-hub --yes");
    assert_eq!((report["short_bytes"].as_u64(), repos(&sealed).len()), (Some(0), 0));
}

#[test]
fn a_fetch_makes_room_by_itself_or_says_what_would() {
    let (sealed, server) = machine();
    let folder = sealed.root.join("hub/acme/third");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("model.safetensors"), safetensors(&[("embed", &[64, 64], 3)])).unwrap();
    sealed.ok("init --name banking --remote ../store");
    sealed.ok("config set budget.models 45kB");
    sealed.ok("config set evict never");
    let text = sealed.transcript(&["fetch acme/third", "fetch acme/third --dry-run"]);
    sealed.ok("config set evict ask");
    let asked = sealed.transcript(&["fetch acme/third", "fetch acme/third --dry-run"]);
    sealed.ok("config set evict auto");
    let auto = sealed.transcript(&["fetch acme/third", "fetch acme/third --budget 10kB"]);
    assert_seen!(format!("{text}\n{asked}\n{auto}"));
    assert_eq!(repos(&sealed), ["models--acme--new", "models--acme--third"]);
    server.stop();
}

#[test]
fn what_is_pinned_labelled_or_deployed_stays_whatever_it_costs() {
    let (sealed, server) = machine();
    sealed.ok("init --name banking --remote ../store");
    sealed.ok("push outputs/llama2-7b llama2-7b --kind base");
    sealed.ok("push outputs/banking-v1 banking-v1 --label prod");
    sealed.ok("push outputs/banking-v2 banking-v2");
    sealed.ok("push outputs/banking-v2 banking-v3");
    for model in ["llama2-7b", "banking-v1", "banking-v2"] {
        sealed.ok(&format!("pull {model} --into hf-cache"));
    }
    sealed.ok("use llama2-7b");
    sealed.ok("deploy banking-v2 --yes");
    sealed.ok("cache evict --to 0 --yes");
    let kept = ["models--banking--banking-v1", "models--banking--banking-v2", "models--banking--llama2-7b"];
    assert_eq!(repos(&sealed), kept);
    // A budget that is smaller than what stays has no room for anything, and takes nothing of it.
    sealed.ok("config set budget.models 1kB");
    let refused = sealed.run("fetch acme/new");
    assert!(refused.code == 8 && refused.stderr.contains("nothing may go by itself"), "{}", refused.stderr);
    assert_eq!(repos(&sealed), kept);
    // Nothing names it any more; the remote has it, and no Hub need be asked.
    sealed.ok("label --remove banking-v1 prod --yes");
    server.stop();
    let (_, report) = sealed.json("cache evict --to 0 --yes");
    assert_eq!(report["steps"].as_array().unwrap().len(), 1, "{report}");
    assert!(report["steps"][0]["reason"].as_str().unwrap().contains("on the remote, same SHA-256"), "{report}");
    assert_eq!(repos(&sealed), ["models--banking--banking-v2", "models--banking--llama2-7b"]);
}

#[test]
fn what_somebody_deleted_on_the_store_stays_here() {
    let sealed = Sealed::with_models();
    for model in ["banking-v1", "llama2-7b"] {
        sealed.ok(&format!("pull {model} --into hf-cache"));
    }
    // The log says still that it was pushed, and nobody removed it by a command.
    fs::remove_dir_all(sealed.root.join("store/models/finetuned/banking-v1")).unwrap();
    let again = |report: &Value, name: &str| {
        let entries = report["entries"].as_array().unwrap();
        let named = entries.iter().find(|entry| entry["name"].as_str().unwrap().contains(name));
        named.map(|entry| entry["again"].clone())
    };
    let (_, report) = sealed.json("cache list");
    assert_eq!(again(&report, "banking-v1"), Some(json!("unknown")), "{report}");
    assert_eq!(again(&report, "llama2-7b"), Some(json!("remote")), "{report}");
    let (_, report) = sealed.json("cache evict --to 0 --yes");
    assert_eq!(report["steps"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(repos(&sealed), ["models--banking--banking-v1"]);
}

#[test]
fn what_stopped_runs_left_is_counted_and_goes() {
    let sealed = Sealed::with_models();
    let report = sealed.json("pull banking-v1 --into hf-cache").1;
    let (revision, weights) = (report["revision"].as_str().unwrap(), "adapter_model.safetensors");
    let repo = cache(&sealed).join("models--banking--banking-v1");
    fs::remove_dir_all(repo.join("snapshots")).unwrap();
    fs::remove_dir_all(repo.join("blobs")).unwrap();
    // A pull that was killed when it had all but little: the rest fits, though not all of it twice.
    let part = repo.join(format!(".modelkeep-pull-{}", &revision[..12]));
    fs::create_dir_all(&part).unwrap();
    fs::copy(sealed.work().join("outputs/banking-v1").join(weights), part.join(weights)).unwrap();
    sealed.ok(&format!("config set budget.models {}", report["size_bytes"].as_u64().unwrap() + 10));
    sealed.ok("pull banking-v1 --into hf-cache");
    assert!(!part.exists());
    // An eviction of pulled folders that was.
    sealed.write("models/banking-v1/.modelkeep-going-latest/model.safetensors", &[0; 1000]);
    let report = sealed.json("cache repair --yes").1;
    assert_eq!(report["freed_bytes"], 1000, "{report}");
    assert!(!sealed.work().join("models/banking-v1/.modelkeep-going-latest").exists());
}

#[test]
fn pulled_folders_go_when_they_are_asked_for_and_unchanged() {
    let sealed = Sealed::with_models();
    for model in ["llama2-7b", "banking-v1"] {
        sealed.ok(&format!("pull {model}"));
    }
    sealed.write("models/llama2-7b/latest/notes.md", b"mine");
    // What was just written may be written again within the same tick: it is not trusted at once.
    let (_, early) = sealed.json("cache evict --to 0 --yes");
    assert_eq!(early["steps"], json!([]), "not without being asked for");
    let (_, report) = sealed.json("cache list --include models");
    let again = |name: &str| {
        let entries = report["entries"].as_array().unwrap();
        entries.iter().find(|entry| entry["name"] == name).map(|entry| entry["again"].clone())
    };
    assert_eq!(again("models/llama2-7b/latest"), Some(json!("nowhere")));
    assert!(sealed.work().join("models/llama2-7b/latest/notes.md").exists());
}

#[cfg(unix)]
#[test]
fn other_programs_clean_their_own_caches() {
    use std::os::unix::fs::PermissionsExt as _;
    let sealed = Sealed::new();
    let (pip, uv) = (sealed.root.join("home/.cache/pip"), sealed.root.join("home/.cache/uv"));
    let (conda, datasets) =
        (sealed.root.join("home/miniforge3/pkgs"), sealed.root.join("home/.cache/huggingface/datasets"));
    for folder in [&pip, &uv, &conda, &datasets] {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("wheel"), [0; 1000]).unwrap();
    }
    let bin = sealed.root.join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join("pip"), "#!/bin/sh\necho \"pip $*\" >> \"$HOME/ran\"; rm \"$HOME/.cache/pip/wheel\"\n").unwrap();
    fs::write(bin.join("conda"), "#!/bin/sh\necho \"conda $*\" >> \"$HOME/ran\"; rm \"$HOME/miniforge3/pkgs/wheel\"\n")
        .unwrap();
    for program in ["pip", "conda"] {
        fs::set_permissions(bin.join(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
    sealed.set("PATH", Some(&format!("{}:/usr/bin:/bin", bin.display())));
    // Seen and counted, and left alone.
    let (_, status) = sealed.json("cache status");
    let bytes = |name: &str| {
        let caches = status["caches"].as_array().unwrap();
        caches.iter().find(|cache| cache["name"] == name).map(|cache| cache["size_bytes"].clone())
    };
    for name in ["pip", "uv", "conda", "datasets"] {
        assert_eq!(bytes(name), Some(json!(1000)), "{name}");
    }
    sealed.ok("cache evict --to 0 --yes");
    assert!(pip.join("wheel").exists());
    let (_, report) = sealed.json("cache evict --to 0 --include pip --include uv --yes");
    assert_eq!(report["freed_bytes"], 1000, "{report}");
    assert!(report["stays"][0]["reason"].as_str().unwrap().contains("`uv`"), "{report}");
    assert_eq!(fs::read_to_string(sealed.root.join("home/ran")).unwrap(), "pip cache purge\n");
    assert!(!pip.join("wheel").exists() && uv.join("wheel").exists());
    // Prepared data sets may be the only ones.
    let (_, report) = sealed.json("cache clear --include datasets --include conda --yes");
    assert_eq!(report["freed_bytes"], 0, "it is below the goal already: {report}");
    let (_, report) = sealed.json("cache evict --to 0 --include datasets --include conda --yes");
    assert_eq!((&report["freed_bytes"], &report["short_bytes"]), (&json!(1000), &json!(1000)), "{report}");
    assert!(report["stays"][0]["reason"].as_str().unwrap().contains("only copy"), "{report}");
    assert!(datasets.join("wheel").exists() && !conda.join("wheel").exists());
    let ran = fs::read_to_string(sealed.root.join("home/ran")).unwrap();
    assert_eq!(ran.lines().last(), Some("conda clean --packages --tarballs --yes"));
    assert_eq!(sealed.run("cache evict --include docker").code, 2);
}

#[test]
fn of_a_folder_that_others_use_only_what_xet_made_goes() {
    let sealed = Sealed::new();
    let scratch = sealed.root.join("scratch");
    sealed.set("HF_XET_CACHE", Some(scratch.to_str().unwrap()));
    let endpoint = "https___cas_serv-tGqkUaZf_CBPHQ6h";
    let theirs = [format!("{endpoint}/chunk-cache/ab/chunk"), "logs/xet_20260910.log".to_owned()];
    let others = ["thesis/chapter.tex", "logs/training.log", "staging/data.csv", "notes.md"];
    for file in theirs.iter().map(String::as_str).chain(others) {
        fs::create_dir_all(scratch.join(file).parent().unwrap()).unwrap();
        fs::write(scratch.join(file), [0; 1000]).unwrap();
    }
    let (_, status) = sealed.json("cache status");
    let xet = status["caches"].as_array().unwrap().iter().find(|cache| cache["name"] == "xet").unwrap();
    assert_eq!(xet["size_bytes"], 2000, "{status}");
    sealed.ok("cache evict --to 0 --yes");
    assert!(theirs.iter().all(|file| !scratch.join(file).exists()));
    assert!(others.iter().all(|file| scratch.join(file).exists()));
}

#[test]
fn checkpoints_go_by_the_digest_in_their_name() {
    let sealed = Sealed::new();
    let folder = sealed.root.join("home/.cache/torch/hub/checkpoints");
    fs::create_dir_all(&folder).unwrap();
    // `printf abc | sha256sum`
    for (name, content) in [("net-ba7816bf.pth", "abc"), ("wrong-ba7816bf.pth", "changed"), ("mine.pth", "abc")] {
        fs::write(folder.join(name), content).unwrap();
    }
    let (_, report) = sealed.json("cache evict --to 0 --include torch --yes");
    assert_eq!(report["steps"].as_array().unwrap().len(), 1, "{report}");
    assert!(!folder.join("net-ba7816bf.pth").exists());
    assert!(folder.join("wrong-ba7816bf.pth").exists() && folder.join("mine.pth").exists());
}

#[test]
fn status_measures_both_sides() {
    let sealed = Sealed::with_models();
    sealed.write("data/train.csv", &vec![0; 200_000]);
    sealed.write(".venv/lib/python3.11/site-packages/torch/x.so", &[0; 3000]);
    sealed.ok("rm banking-v1 --yes");
    sealed.ok("config set budget.data 100kB");
    let (_, report) = sealed.json("status");
    let item = |name: &str| -> Value {
        let items = report["local"]["items"].as_array().unwrap();
        items.iter().find(|item| item["name"] == name).cloned().unwrap()
    };
    let of = |name: &str| (item(name)["size_bytes"].clone(), item(name)["state"].clone());
    assert_eq!(of("data"), (json!(200_000), json!("over")));
    assert_eq!(of("dependencies"), (json!(3000), json!("ok")));
    assert_eq!(of("huggingface"), (json!(0), json!("temporary")));
    assert_eq!(item("free")["size_bytes"], report["local"]["free_bytes"]);
    let remote = &report["remote"];
    let names: Vec<&str> =
        remote["categories"].as_array().unwrap().iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["base_models", "finetuned", "datasets", "notebooks", "results"]);
    assert_eq!((&remote["categories"][0]["files"], &remote["categories"][1]["files"]), (&json!(2), &json!(3)));
    assert!(remote["trash_bytes"].as_u64().unwrap() > 0 && remote["quota_bytes"].as_u64().unwrap() > 0);
}

/// What is another on every machine: sizes of the disk, and of the workspace's own small files.
fn on_any_machine(text: &str) -> String {
    let hidden = |line: &str| match line.split_whitespace().next() {
        Some("free" | "code" | "all") => line.split("  ").next().unwrap_or_default().to_owned(),
        _ if line.contains(" used, ") => format!(
            "{} … used, {}",
            line.split(':').next().unwrap_or_default(),
            line.rsplit(", ").next().unwrap_or_default()
        ),
        _ => line.to_owned(),
    };
    // How wide a column is depends on how much is free.
    let narrow =
        |line: &str| line.split("  ").map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ");
    text.lines().map(|line| narrow(&hidden(line)) + "\n").collect()
}

#[test]
fn status_reads_at_a_glance() {
    let sealed = Sealed::with_models();
    sealed.set("MODELKEEP_BUDGET_FREE", Some("1kB"));
    sealed.write("data/train.csv", &vec![0; 200_000_000]);
    assert_seen!(on_any_machine(&sealed.transcript(&["status"])));
    // Without a store, without a workspace, offline: what is here is told all the same.
    let alone = Sealed::new();
    alone.set("MODELKEEP_BUDGET_FREE", Some("1kB"));
    assert_seen!(on_any_machine(&alone.transcript(&["status --offline"])));
    let (code, report) = alone.json("status");
    assert_eq!((code, &report["remote"]), (0, &Value::Null));
    fs::remove_dir_all(sealed.root.join("store")).unwrap();
    let (code, report) = sealed.json("status");
    assert_eq!((code, &report["remote"]), (0, &Value::Null));
    assert!(report["remote_error"].is_string());
}

#[test]
fn a_pull_that_does_not_fit_is_refused_with_what_would_make_room() {
    let sealed = Sealed::with_models();
    sealed.forget_outputs();
    sealed.ok("config set budget.models 300");
    let text = sealed.transcript(&["pull llama2-7b"]);
    sealed.ok("config set budget.models 2GB");
    sealed.ok("config set budget.total 1kB");
    let total = sealed.transcript(&["pull llama2-7b --to here"]);
    let total = total.replace(|c: char| c.is_ascii_digit(), "#");
    assert_seen!(format!("{text}\n{total}"));
    assert!(!sealed.work().join("models/llama2-7b/latest").exists());
}

#[test]
fn what_has_no_room_goes_to_the_disk_that_was_named_for_it() {
    let (sealed, server) = machine();
    sealed.ok("init --name banking --remote ../store");
    sealed.ok("config set budget.models 1kB");
    sealed.ok("config set overflow ../overflow");
    fs::remove_dir_all(cache(&sealed)).unwrap();
    let (code, report) = sealed.json("fetch acme/old");
    assert_eq!((code, &report["steps"][0]["action"]), (0, &json!("put on another disk")), "{report}");
    assert!(sealed.root.join("overflow/models--acme--old/refs/main").is_file());
    assert!(cache(&sealed).join("models--acme--old/refs/main").is_file());
    // It takes nothing here, and is not evicted for room here.
    let (_, status) = sealed.json("cache status");
    assert_eq!(status["models_bytes"], 0, "{status}");
    // So does what would have room if something went, where nothing may.
    sealed.ok("config set budget.models 20kB");
    fs::remove_dir_all(cache(&sealed)).unwrap();
    sealed.ok("fetch acme/new");
    sealed.ok("config set evict never");
    let (code, report) = sealed.json("fetch acme/old");
    assert_eq!((code, &report["steps"][0]["action"]), (0, &json!("put on another disk")), "{report}");
    assert_eq!(repos(&sealed).len(), 2);
    fs::remove_dir_all(sealed.root.join("overflow")).unwrap();
    sealed.ok("cache repair --yes");
    assert_eq!(repos(&sealed), ["models--acme--new"]);
    server.stop();
}

#[test]
fn what_comes_to_the_other_disk_pushes_nothing_out_here() {
    let (sealed, server) = machine();
    sealed.ok("init --name banking --remote ../store");
    sealed.ok("config set budget.models 1kB");
    sealed.ok("config set overflow ../overflow");
    sealed.ok("config set evict never");
    fs::remove_dir_all(cache(&sealed).join("models--acme--old")).unwrap();
    sealed.ok("fetch acme/old");
    // A new version, for which something here would go if it counted here.
    fs::write(sealed.root.join("hub/acme/old/tokenizer.json"), [b' '; 5000]).unwrap();
    sealed.ok("config set evict auto");
    let (code, report) = sealed.json("fetch acme/old");
    assert_eq!((code, &report["fetched_bytes"], report.get("steps")), (0, &json!(5000), None), "{report}");
    assert_eq!(repos(&sealed), ["models--acme--new", "models--acme--old"]);
    server.stop();
}

/// What this process, which is another one than the program, has open or is writing.
#[cfg(unix)]
#[test]
fn what_another_process_reads_or_writes_stays() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let (sealed, server) = machine();
    let blobs = |name: &str| cache(&sealed).join(format!("models--acme--{name}/blobs"));
    let first = fs::read_dir(blobs("old")).unwrap().next().unwrap().unwrap().path();
    let held = fs::File::open(first).unwrap();
    let (_, report) = sealed.json("cache evict --to 0 --dry-run");
    let targets = report["steps"].to_string();
    assert!(targets.contains("acme/new") && !targets.contains("acme/old"), "{report}");
    sealed.ok("cache evict --to 0 --yes");
    assert_eq!(repos(&sealed), ["models--acme--old"]);
    drop(held);

    // A download as huggingface_hub makes one: its lock, a growing file, its name, a link to it.
    let (stop, begun) = (AtomicBool::new(false), AtomicBool::new(false));
    let repo = cache(&sealed).join("models--acme--growing");
    let (locks, snapshot) =
        (cache(&sealed).join(".locks/models--acme--growing"), repo.join("snapshots").join("1".repeat(40)));
    for folder in [&locks, &repo.join("blobs"), &repo.join("refs"), &snapshot] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(repo.join("refs/main"), "1".repeat(40)).unwrap();
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let etag = format!("{:064x}", written.len());
                let lock = fs::File::create(locks.join(format!("{etag}.lock"))).unwrap();
                lock.lock().unwrap();
                let part = repo.join(format!("blobs/{etag}.incomplete"));
                fs::write(&part, etag.repeat(100)).unwrap();
                begun.store(true, Ordering::Relaxed);
                fs::rename(&part, repo.join("blobs").join(&etag)).unwrap();
                std::os::unix::fs::symlink(format!("../../blobs/{etag}"), snapshot.join(&etag)).unwrap();
                written.push(etag);
            }
            written
        });
        while !begun.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        for line in ["status", "cache status", "cache list", "cache repair --yes", "cache clear --yes", "doctor"] {
            let ran = sealed.run(line);
            assert!([0, 9].contains(&ran.code), "{line}: {}{}", ran.stdout, ran.stderr);
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    for etag in written {
        assert_eq!(fs::read_to_string(snapshot.join(&etag)).unwrap(), etag.repeat(100));
    }
    server.stop();
}
