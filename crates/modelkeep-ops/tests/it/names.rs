//! What may be pushed and what may not: names, kinds of files, patterns.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use modelkeep_core::Kind;
use modelkeep_ops::push as pushing;

use crate::world::{Ground, files, pull, push, refused, settled, snapshot};

async fn ground() -> (Ground, PathBuf) {
    let ground = Ground::new().await;
    let dir = ground.ana.directory("run", &[("good.txt", b"good")]);
    (ground, dir)
}

/// Pushing is refused with these names in the message, and nothing changes anywhere.
async fn refuses(ground: &Ground, dir: &Path, names: &[&str]) {
    let before = (snapshot(&ground.root), snapshot(dir));
    let message = refused(push(&ground.ctx(), dir, "m-v1").await, Kind::Usage, names);
    assert!(!message.contains("good.txt"), "{message}");
    assert!((snapshot(&ground.root), snapshot(dir)) == before, "something changed: {message}");
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_no_file_is_named() {
    use std::os::unix::fs::symlink;
    let (ground, dir) = ground().await;
    symlink("nowhere", dir.join("dangling")).unwrap();
    refuses(&ground, &dir, &["`dangling`", "points nowhere"]).await;
    fs::remove_file(dir.join("dangling")).unwrap();
    fs::create_dir(ground.ana.home.path().join("elsewhere")).unwrap();
    symlink(ground.ana.home.path().join("elsewhere"), dir.join("folder")).unwrap();
    refuses(&ground, &dir, &["`folder`", "link to a directory"]).await;
    fs::remove_file(dir.join("folder")).unwrap();
    symlink("loop", dir.join("loop")).unwrap();
    refuses(&ground, &dir, &["`loop`"]).await;
    fs::remove_file(dir.join("loop")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(dir.join("pipe")).status().unwrap().success());
    refuses(&ground, &dir, &["`pipe`", "no file"]).await;
    // Nor may it stand where we look by ourselves.
    fs::rename(dir.join("pipe"), dir.join("metadata.json")).unwrap();
    refuses(&ground, &dir, &["`metadata.json`", "no file"]).await;
    fs::remove_file(dir.join("metadata.json")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    refuses(&ground, &dir, &["`socket`", "no file"]).await;
    drop(socket);
    fs::remove_file(dir.join("socket")).unwrap();
    symlink("/dev/null", dir.join("device")).unwrap();
    refuses(&ground, &dir, &["`device`", "no file"]).await;
}

#[cfg(unix)]
#[tokio::test]
async fn names_that_some_system_cannot_hold_are_named() {
    use std::os::unix::ffi::OsStrExt as _;
    for (name, said) in [
        ("a\nb", r"`a\nb`"),
        ("tab\there", r"`tab\there`"),
        ("\u{1b}[31mred", r"`\u{1b}[31mred`"),
        ("dot.", "`dot.`"),
        ("space ", "`space `"),
        ("con", "`con`"),
        ("LPT1.txt", "`LPT1.txt`"),
        ("a:b", "`a:b`"),
        ("back\\slash", r"`back\\slash`"),
        ("what?", "`what?`"),
        ("sub/nul.bin", "`sub/nul.bin`"),
        ("aux/x", "`aux/x`"),
    ] {
        let (ground, dir) = ground().await;
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
        refuses(&ground, &dir, &[said]).await;
        // What the hint says helps.
        let exclude = vec![name.replace(['\n', '\t', '\u{1b}', '\\', '?', '['], "*").trim_end().to_owned() + "*"];

        let request = pushing::Request { path: dir, model: "m-v1".to_owned(), exclude, ..Default::default() };
        assert_eq!(pushing::push(&ground.ctx(), request).await.unwrap().files, 1, "{name:?}");
    }
    let (ground, dir) = ground().await;
    fs::write(dir.join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
    refuses(&ground, &dir, &["caf", "not UTF-8"]).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn names_that_are_one_on_other_systems_are_both_named() {
    for (one, other) in [
        ("README.md", "readme.md"),
        ("caf\u{e9}", "cafe\u{301}"),
        ("Data/x", "data/y"),
        ("thing", "Thing/x"),
        ("ÄÖ", "äö"),
    ] {
        let (ground, dir) = ground().await;
        for name in [one, other] {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let folder = |name: &str| name.split('/').next().unwrap().to_owned();
        refuses(&ground, &dir, &[&folder(one), &folder(other)]).await;
    }
    // Many faults are not all told, but counted.
    let (ground, dir) = ground().await;
    for n in 0..25 {
        fs::write(dir.join(format!("bad{n:02}:")), "x").unwrap();
    }
    refuses(&ground, &dir, &["`bad", "and 15 more"]).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn odd_but_possible_names_come_back_byte_for_byte() {
    let (ground, dir) = ground().await;
    let long = "n".repeat(255);
    let emoji = "🦙".repeat(63);
    let deep = vec!["d".repeat(200); 8].join("/") + "/leaf";
    for name in [
        "-rf",
        "--force/-x",
        " leading",
        "a b/c d.txt",
        "🦙 model.bin",
        "naïve.txt",
        ".hidden",
        ".git/config",
        "%2e%2e",
        "$HOME",
        "it's",
        "~",
        "empty",
        "models.safetensors.index.json",
        &long,
        &emoji,
        &deep,
    ] {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, if name == "empty" { "" } else { name }).unwrap();
    }
    fs::create_dir_all(dir.join("nothing/in/here")).unwrap();
    let target = ground.ana.home.path().join("blob");
    fs::write(&target, "what the link points to").unwrap();
    std::os::unix::fs::symlink(&target, dir.join("link.bin")).unwrap();
    std::os::unix::fs::symlink("-rf", dir.join("sibling.bin")).unwrap();

    let report = push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    assert!(report.warnings.iter().any(|warning| warning.contains("1 empty folder left out")), "{:?}", report.warnings);
    let mut wanted = files(&dir);
    wanted.retain(|path, _| !path.starts_with("nothing"));
    assert_eq!(wanted["link.bin"], b"what the link points to");
    // From the remote, with nothing here to copy from, into a folder of a long name.
    let ben = crate::world::Machine::new("ben");
    let to = ben.home.path().join("t".repeat(250));
    pull(&ground.of(&ben), "m-v1", &to).await.unwrap();
    assert!(files(&to) == wanted);
    assert!(!to.join("link.bin").is_symlink(), "content is stored, not links");
    // Again over it, from a second push.
    fs::write(dir.join(&long), "changed").unwrap();
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    pull(&ground.of(&ben), "m-v1", &to).await.unwrap();
    assert_eq!(fs::read(to.join(&long)).unwrap(), b"changed");
    assert_eq!(fs::read_dir(ben.home.path()).unwrap().count(), 2, "nothing is left beside it");
    settled(&ground.ctx()).await;
}

#[tokio::test]
async fn nothing_to_push_is_a_slip() {
    let ground = Ground::new().await;
    let before = snapshot(&ground.root);
    let dir = ground.ana.home.path().join("empty");
    fs::create_dir_all(dir.join("more/empty")).unwrap();
    refused(push(&ground.ctx(), &dir, "m-v1").await, Kind::Usage, &["empty", "no files"]);
    refused(push(&ground.ctx(), &dir.join("not-here"), "m-v1").await, Kind::NotFound, &["not-here"]);
    fs::write(dir.join("x.log"), "x").unwrap();
    fs::write(dir.join(".modelkeepignore"), "*.log\n.modelkeepignore\n").unwrap();
    refused(push(&ground.ctx(), &dir, "m-v1").await, Kind::Usage, &["empty", "no files"]);
    fs::remove_file(dir.join(".modelkeepignore")).unwrap();
    refused(push(&ground.ctx(), &dir, "Banking V2").await, Kind::Usage, &["Banking V2"]);
    assert!(snapshot(&ground.root) == before);
    // One empty file is something.
    fs::write(dir.join("x.log"), "").unwrap();
    assert_eq!(push(&ground.ctx(), &dir, "m-v1").await.unwrap().size_bytes, 0);
    let to = ground.ana.home.path().join("back");
    pull(&ground.ctx(), "m-v1", &to).await.unwrap();
    assert_eq!(files(&to), BTreeMap::from([("x.log".to_owned(), Vec::new())]));
    // And so is one file by itself.
    push(&ground.ctx(), &dir.join("x.log"), "m-v2").await.unwrap();
    settled(&ground.ctx()).await;
}

#[tokio::test]
async fn patterns_and_the_ignore_file_decide_what_is_taken() {
    let ground = Ground::new().await;
    let dir = ground.ana.directory(
        "run",
        &[
            ("model.safetensors", b"m"),
            ("optimizer.pt", b"o"),
            ("logs/events.out", b"e"),
            ("checkpoint-500/model.safetensors", b"5"),
            ("checkpoint-500/optimizer.pt", b"p"),
            ("sub/.modelkeepignore", b"secret.txt\n"),
            ("sub/secret.txt", b"s"),
            ("sub/public.txt", b"p"),
        ],
    );
    let taken = async |model: &str, include: &[&str], exclude: &[&str]| {
        let text = |patterns: &[&str]| patterns.iter().map(|text| (*text).to_owned()).collect();
        let (include, exclude) = (text(include), text(exclude));
        let request =
            pushing::Request { path: dir.clone(), model: model.to_owned(), include, exclude, ..Default::default() };
        pushing::push(&ground.ctx(), request).await.unwrap();
        let to = ground.ana.home.path().join(model);
        pull(&ground.ctx(), model, &to).await.unwrap();
        files(&to).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(taken("a", &["*.safetensors"], &[]).await, ["checkpoint-500/model.safetensors", "model.safetensors"]);
    assert_eq!(taken("b", &["*.safetensors"], &["checkpoint-*"]).await, ["model.safetensors"]);
    let some = taken("c", &[], &["*.pt", "/logs"]).await;
    assert!(
        !some
            .iter()
            .any(|path| path.ends_with("optimizer.pt") || path.starts_with("logs") || path.ends_with("secret.txt"))
    );
    assert!(some.contains(&"sub/public.txt".to_owned()), "{some:?}");
    fs::write(dir.join(".modelkeepignore"), "# heavy\noptimizer.pt\n/logs/\n!sub/**\n").unwrap();
    let some = taken("d", &[], &[]).await;
    assert!(!some.iter().any(|path| path.ends_with("optimizer.pt") || path.starts_with("logs")), "{some:?}");
    let include = vec!["{a".to_owned()];
    let request = pushing::Request { path: dir.clone(), model: "e".to_owned(), include, ..Default::default() };
    let before = snapshot(&ground.root);
    refused(pushing::push(&ground.ctx(), request).await, Kind::Usage, &["{a"]);
    assert!(snapshot(&ground.root) == before);
}

#[tokio::test]
async fn our_own_traces_are_not_content_but_a_users_metadata_is() {
    let (ground, dir) = ground().await;
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    // Somebody copies what is shown by hand and pushes the copy.
    let copy = ground.ana.home.path().join("copy");
    crate::world::copy_folder(&ground.root.join("models/finetuned/m-v1"), &copy);
    assert!(copy.join("metadata.json").exists() && copy.join(".modelkeep-push.json").exists());
    fs::write(copy.join(".modelkeep-partial-0123-4"), "half").unwrap();
    let again = push(&ground.ctx(), &copy, "m-v1").await.unwrap();
    assert!(!again.created, "it is the same content");
    assert_eq!(push(&ground.ctx(), &copy, "m-v2").await.unwrap().files, 1);

    let own = ground.ana.directory("own", &[("metadata.json", b"{\"mine\": true}"), ("x/metadata.json", b"{}")]);
    for (number, text) in [(1, "{\"mine\": true}"), (2, "not even JSON"), (3, "{\"modelkeeper\": 1}")] {
        fs::write(own.join("metadata.json"), text).unwrap();
        assert_eq!(push(&ground.ctx(), &own, "own-v1").await.unwrap().number, number);
        let shown = ground.root.join("models/finetuned/own-v1/metadata.json");
        assert_eq!(fs::read_to_string(shown).unwrap(), text);
        let to = ground.ana.home.path().join("back");
        pull(&ground.ctx(), "own-v1", &to).await.unwrap();
        assert_eq!(files(&to), files(&own));
    }
    settled(&ground.ctx()).await;
    assert_eq!(files(&own)["metadata.json"], b"{\"modelkeeper\": 1}");
}

#[tokio::test]
async fn a_directory_of_very_many_files() {
    let many = if std::env::var_os("MODELKEEP_TEST_FULL").is_some() { 100_000 } else { 5_000 };
    let ground = Ground::new().await;
    let dir = ground.ana.home.path().join("many");
    for n in 0..many {
        if n % 1000 == 0 {
            fs::create_dir_all(dir.join(format!("{}", n / 1000))).unwrap();
        }
        fs::write(dir.join(format!("{}/{n}.txt", n / 1000)), n.to_string()).unwrap();
    }
    let report = push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    assert_eq!(report.files, many);
    let ben = crate::world::Machine::new("ben");
    let to = ben.home.path().join("back");
    let report = pull(&ground.of(&ben), "m-v1", &to).await.unwrap();
    assert_eq!(report.files, many);
    assert!(files(&to) == files(&dir));
    // The list does not fit into the event: who never saw it reads it from the marker.
    assert_eq!(modelkeep_ops::show::show(&ground.of(&ben), "m-v1").await.unwrap().files.len() as u64, many);
}
