//! Upkeep that runs by itself, with a crontab and a systemctl that are recorded; what they are given is read by the real
//! programs where there are some.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::sealed::{Sealed, assert_seen, narrow};

impl Sealed {
    /// Only these programs are on the search path, each a script.
    fn with_programs(&self, programs: &[(&str, &str)]) {
        let bin = self.root.join("bin");
        let _ = fs::remove_dir_all(&bin);
        fs::create_dir_all(&bin).unwrap();
        for (name, script) in programs {
            // They find their own tools.
            let text = format!("#!/bin/sh\nPATH=/usr/bin:/bin\nROOT='{}'\n{script}", self.root.display());
            fs::write(bin.join(name), text).unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_modelkeep"), bin.join("modelkeep")).unwrap();
        self.set("PATH", Some(bin.to_str().unwrap()));
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap()
    }

    /// The hour and minute are those of the folder, which is another one in every run.
    fn seen(&self, lines: &[&str]) -> String {
        let text = self.transcript(lines);
        let digest = digest_of(&self.work());
        narrow(&text.replace(&digest, "[DIGEST]"))
    }
}

/// What tells a workspace's units from others.
fn digest_of(workspace: &Path) -> String {
    let sealed = Command::new("sh")
        .args(["-c", "printf %s \"$1\" | sha256sum | cut -c1-8", "sh", workspace.to_str().unwrap()])
        .output()
        .unwrap();
    String::from_utf8(sealed.stdout).unwrap().trim().to_owned()
}

/// Cron's program, with a file for its spool.
const CRONTAB: &str = r#"
case "$1" in
  -l) if [ -f "$ROOT/spool" ]; then cat "$ROOT/spool"; else echo "no crontab for ana" >&2; exit 1; fi ;;
  -r) rm "$ROOT/spool" ;;
  -) cat >"$ROOT/spool.new" && mv "$ROOT/spool.new" "$ROOT/spool" ;;
esac
"#;

/// systemd's, which notes how it was called.
const SYSTEMCTL: &str = r#"
[ "$1" = --user ] || exit 1
case "$2" in
  show-environment) exit 0 ;;
  is-enabled) [ -f "$ROOT/enabled" ] && grep -qx "$3" "$ROOT/enabled"; exit ;;
  enable) echo "$4" >"$ROOT/enabled" ;;
  disable) rm -f "$ROOT/enabled" ;;
esac
shift; echo "$@" >>"$ROOT/systemctl.log"
"#;

fn texts(report: &Value) -> Vec<(String, String)> {
    let files = report["files"].as_array().unwrap().iter();
    files.map(|file| (file["path"].as_str().unwrap().to_owned(), file["text"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn a_crontab_gets_its_lines_once_and_loses_them_again() {
    let sealed = Sealed::with_store();
    sealed.with_programs(&[("crontab", CRONTAB)]);
    sealed.set("HF_HOME", Some("/data/hf cache"));
    sealed.set("MODELKEEP_BUDGET_MODELS", Some("3GB"));
    sealed.set("HF_TOKEN", Some("hf_secret"));
    let theirs = "MAILTO=ana@example.com\n0 5 * * * backup # mine\n";
    fs::write(sealed.root.join("spool"), theirs).unwrap();
    // Nobody to ask, and nothing is changed by looking.
    assert_eq!(sealed.run("maintain schedule").code, 2);
    sealed.ok("maintain schedule --dry-run");
    let printed = sealed.ok("maintain schedule --print").stdout;
    assert_eq!(sealed.text("spool"), theirs);
    let (code, report) = sealed.json("maintain schedule --yes");
    assert_eq!(
        (code, report["place"].as_str(), report["changed"].as_bool()),
        (0, Some("cron"), Some(true)),
        "{report}"
    );
    let with = sealed.text("spool");
    assert!(with.starts_with(theirs), "{with}");
    let [(_, block)] = &texts(&report)[..] else { panic!("{report}") };
    assert_eq!(with, format!("{theirs}{block}"));
    assert!(printed.contains(block.as_str()) && !with.contains("hf_secret"));
    let line = block.lines().nth(1).unwrap();
    let command = line.splitn(6, ' ').nth(5).unwrap();
    assert!(command.contains("HF_HOME='/data/hf cache' MODELKEEP_BUDGET_MODELS=3GB"), "{command}");
    // A store that was named once stays named.
    let other = sealed.ok("maintain schedule --print --remote ../store").stdout;
    assert!(other.contains(&format!("MODELKEEP_REMOTE={}/store ", sealed.root.display())), "{other}");
    // Run as cron would, with nothing but a home and the shell.
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).env_clear().env("HOME", sealed.root.join("home")).current_dir("/");
    let ran = shell.output().unwrap();
    assert!(ran.status.success(), "{}", sealed.text("project/.modelkeep/upkeep.log"));
    sealed.set("PATH", Some(&std::env::var("PATH").unwrap()));
    assert!(sealed.ok("history").stdout.contains("upkeep on "), "the log was told");
    sealed.with_programs(&[("crontab", CRONTAB)]);
    // Twice is once; a program that moved is followed.
    assert!(sealed.ok("maintain schedule").stdout.contains("nothing to do: upkeep runs by itself already, by cron"));
    assert_eq!(sealed.text("spool"), with);
    fs::write(sealed.root.join("spool"), with.replace("bin/modelkeep", "old/modelkeep") + "@daily later\n").unwrap();
    sealed.ok("maintain schedule --yes");
    assert_eq!(sealed.text("spool"), format!("{with}@daily later\n"));
    sealed.ok("maintain schedule --remove --yes");
    assert_eq!(sealed.text("spool"), format!("{theirs}@daily later\n"));
    assert!(sealed.ok("maintain schedule --remove").stdout.contains("upkeep does not run by itself"));
    // One that holds nothing else goes whole.
    fs::remove_file(sealed.root.join("spool")).unwrap();
    sealed.ok("maintain schedule --cron --yes");
    sealed.ok("maintain schedule --remove --cron --yes");
    assert!(!sealed.root.join("spool").exists());
}

#[test]
fn a_crontab_that_cannot_be_read_or_kept_is_told_and_left() {
    let sealed = Sealed::with_store();
    sealed.with_programs(&[("crontab", "echo 'You (ana) are not allowed to use this program' >&2; exit 1")]);
    let refused = sealed.run("maintain schedule --yes");
    assert_eq!(refused.code, 8);
    assert!(refused.stderr.contains("not allowed"), "{}", refused.stderr);
    // One that takes the lines and keeps nothing.
    sealed.with_programs(&[("crontab", "[ \"$1\" = - ] && cat >/dev/null; exit 0")]);
    assert_eq!(sealed.run("maintain schedule --yes").code, 8);
    // A block whose end is gone is nobody's to guess.
    sealed.with_programs(&[("crontab", CRONTAB)]);
    sealed.ok("maintain schedule --yes");
    let broken: String =
        sealed.text("spool").lines().filter(|line| !line.contains("<<<")).map(|l| l.to_owned() + "\n").collect();
    fs::write(sealed.root.join("spool"), &broken).unwrap();
    assert_eq!(sealed.run("maintain schedule --yes").code, 4);
    assert_eq!(sealed.run("maintain schedule --remove --yes").code, 4);
    assert_eq!(sealed.text("spool"), broken);
}

#[test]
fn systemd_gets_a_timer_that_its_own_programs_understand() {
    let sealed = Sealed::with_store();
    sealed.with_programs(&[("systemctl", SYSTEMCTL), ("crontab", CRONTAB)]);
    sealed.set("HF_HOME", Some("/data/hf cache"));
    let shown = sealed.seen(&["maintain schedule --dry-run", "maintain schedule --yes", "maintain schedule --yes"]);
    let units = sealed.root.join("home/.config/systemd/user");
    let mut files: Vec<PathBuf> = fs::read_dir(&units).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let [service, timer] = &files[..] else { panic!("{files:?}") };
    // By the real programs, where there are some: the service, and when the timer starts it.
    let real = std::env::var_os("PATH").unwrap();
    let analyze = |args: &[&str]| {
        Command::new("systemd-analyze").args(args).env("PATH", &real).env("XDG_RUNTIME_DIR", &sealed.root).output()
    };
    if let Ok(found) = analyze(&["verify", "--user", timer.to_str().unwrap(), service.to_str().unwrap()]) {
        assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
        let when = fs::read_to_string(timer).unwrap();
        let when = when.lines().find_map(|line| line.strip_prefix("OnCalendar=")).unwrap();
        assert!(analyze(&["calendar", when]).unwrap().status.success(), "{when}");
    }
    // One that somebody changed stays, and is theirs to delete.
    let ours = fs::read_to_string(service).unwrap();
    fs::write(service, ours.replace("Nice=10", "Nice=5")).unwrap();
    let ran = sealed.ok("maintain schedule --yes");
    assert!(ran.stderr.contains("changed by hand"), "{}", ran.stderr);
    assert_eq!(sealed.run("maintain schedule --remove --yes").code, 4);
    fs::write(service, ours).unwrap();
    let removed = sealed.seen(&["maintain schedule --remove --yes", "maintain schedule --remove --yes"]);
    assert!(fs::read_dir(&units).unwrap().next().is_none());
    assert_seen!(format!(
        "{shown}\n{removed}\n{}",
        sealed.text("systemctl.log").replace(&digest_of(&sealed.work()), "[DIGEST]")
    ));
}

#[test]
fn a_development_container_keeps_what_people_wrote() {
    let sealed = Sealed::with_store();
    sealed.with_programs(&[]);
    // Nothing here runs things by itself.
    assert_eq!(sealed.run("maintain schedule --yes").code, 8);
    assert!(sealed.ok("maintain schedule --print").stdout.contains("maintain due --yes"));
    let file = sealed.work().join(".devcontainer/devcontainer.json");
    sealed.set("CODESPACES", Some("true"));
    sealed.set("CODESPACE_NAME", Some("fluffy"));
    sealed.ok("maintain schedule --yes");
    assert!(fs::read_to_string(&file).unwrap().contains("universal"));
    sealed.ok("maintain schedule --remove --yes");
    assert!(!file.exists());
    let theirs = "// Ours\n{\n    \"image\": \"python:3.12\", // pinned\n    \"postStartCommand\": \"./start.sh\", /* must stay */\n}\n";
    fs::write(&file, theirs).unwrap();
    let other = sealed.work().join(".devcontainer/gpu/devcontainer.json");
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    fs::write(&other, "{\n  \"image\": \"cuda\"\n}\n").unwrap();
    let shown = sealed.transcript(&["maintain schedule --yes", "maintain schedule --yes"]);
    let with = fs::read_to_string(&file).unwrap();
    // As a container runs it: where modelkeep is, and where it is not.
    let both = fs::read_to_string(&other).unwrap();
    let start: Value = serde_json::from_str(&both).unwrap();
    let command = start["postStartCommand"]["modelkeep"].as_str().unwrap();
    for path in ["/usr/bin:/bin".to_owned(), format!("{}:/usr/bin:/bin", sealed.root.join("bin").display())] {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", command]).current_dir(sealed.work()).env_clear().env("PATH", path);
        let output = shell.env("HOME", sealed.root.join("home")).env("HOSTNAME", "fluffy").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(sealed.ok("history").stdout.contains("upkeep on fluffy"));
    let removed = sealed.transcript(&["maintain schedule --remove --yes"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), theirs);
    assert_eq!(fs::read_to_string(&other).unwrap(), "{\n  \"image\": \"cuda\"\n}\n");
    assert_seen!(format!("{shown}\n{with}\n{both}\n{removed}"));
    fs::write(&file, "{ \"image\": ").unwrap();
    let broken = sealed.run("maintain schedule --yes");
    assert_eq!(broken.code, 2);
    assert!(broken.stderr.contains("devcontainer.json"), "{}", broken.stderr);
}

#[test]
fn a_workflow_is_for_a_store_that_github_reaches() {
    let sealed = Sealed::with_store();
    sealed.with_programs(&[]);
    assert_eq!(sealed.run("maintain schedule --github --yes").code, 3, "no repository");
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        assert!(
            git.args(args)
                .current_dir(sealed.root.join("project"))
                .env("HOME", &sealed.root)
                .output()
                .unwrap()
                .status
                .success()
        );
    };
    git(&["init", "-q"]);
    let refused = sealed.run("maintain schedule --github --yes");
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("cannot reach"), "{}", refused.stderr);
    sealed.set("MODELKEEP_REMOTE", Some("gdrive:Banking LLM"));
    let (code, report) = sealed.json("maintain schedule --github --yes");
    assert_eq!(code, 0, "{report}");
    assert!(report["notes"].to_string().contains("gh secret set MODELKEEP_CREDENTIALS"), "{report}");
    let file = sealed.work().join(".github/workflows/modelkeep-upkeep.yml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("run: modelkeep maintain due --yes\n"));
    // Two schedules are said.
    sealed.with_programs(&[("crontab", CRONTAB)]);
    let (_, both) = sealed.json("maintain schedule --cron --yes");
    assert_eq!(both["scheduled"], serde_json::json!(["cron", "github"]), "{both}");
    assert!(both["notes"].to_string().contains("--remove --github"), "{both}");
    sealed.ok("maintain schedule --remove --yes");
    assert!(!file.exists() && !sealed.root.join("spool").exists());
    // Somebody else's of that name is not ours to replace.
    fs::write(&file, "name: theirs\n").unwrap();
    assert_eq!(sealed.run("maintain schedule --github --yes").code, 4);
    sealed.ok("maintain schedule --remove --yes");
    assert_eq!(fs::read_to_string(&file).unwrap(), "name: theirs\n");
    // A workspace below the repository's top.
    fs::remove_file(&file).unwrap();
    assert!(!sealed.ok("maintain schedule --github --print").stdout.contains("working-directory"));
    sealed.ok("init llm --remote ../store");
    let below = sealed.ok("maintain schedule --github --print --workspace llm").stdout;
    assert!(below.contains("working-directory: 'llm'"), "{below}");
}
