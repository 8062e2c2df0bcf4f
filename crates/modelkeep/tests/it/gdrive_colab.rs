//! In Colab: Drive itself whenever a token can be had, else the mount, under one name.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use modelkeep_testkit::drive::Server;

use crate::gdrive::{DRIVE, ME, machine};
use crate::sealed::Sealed;

/// A pretended Colab with a mounted Drive, where nobody signed in: where `MyDrive` is.
fn colab() -> (Sealed, Server, PathBuf) {
    let (sealed, server) = machine();
    let mount = sealed.root.join("content/drive");
    let drive = mount.join("MyDrive");
    fs::create_dir_all(&drive).unwrap();
    sealed.set("COLAB_RELEASE_TAG", Some("release-colab_20260210"));
    sealed.set("MODELKEEP_COLAB_MOUNT", Some(&mount.display().to_string()));
    sealed.set("MODELKEEP_WRITE_BACK", Some("1"));
    (sealed, server, drive)
}

fn token(server: &Server) -> String {
    server.token(ME, "client", DRIVE, Duration::from_secs(3600))
}

#[test]
fn with_a_token_drive_itself_comes_before_the_mount() {
    let (sealed, server, drive) = colab();
    sealed.set("MODELKEEP_GDRIVE_TOKEN", Some(&token(&server)));
    let (code, made) = sealed.json("init --remote 'gdrive:Banking LLM'");
    assert_eq!((code, made["account"].as_str()), (0, Some(ME)), "{made}");
    let (_, pushed) = sealed.json("push outputs/banking-v1 banking-v1");
    assert_eq!(pushed["confirmed"], true, "{pushed}");
    assert!(fs::read_dir(&drive).unwrap().next().is_none(), "nothing went through the mount");

    // A path on the mount is taken at its word, and the better way said.
    fs::create_dir(drive.join("By hand")).unwrap();
    let path = drive.join("By hand").display().to_string();
    let ran = sealed.ok(&format!("remote add other 'folder:{path}'"));
    assert!(ran.stderr.contains("gdrive:By hand"), "{}", ran.stderr);
}

#[test]
fn what_authenticate_user_leaves_is_a_token_too() {
    let (sealed, server, drive) = colab();
    sealed.set("GCE_METADATA_HOST", Some(server.url().trim_start_matches("http://")));
    let (code, made) = sealed.json("init --remote 'gdrive:Banking LLM'");
    assert_eq!((code, made["account"].as_str()), (0, Some(ME)), "{made}");
    assert!(fs::read_dir(&drive).unwrap().next().is_none(), "nothing went through the mount");
}

#[test]
fn credentials_of_a_service_account_are_no_way_to_somebodys_drive() {
    let (sealed, _server, drive) = colab();
    sealed.write("bucket.json", br#"{"type": "service_account", "client_email": "robot@example.com"}"#);
    let file = sealed.work().join("bucket.json").display().to_string();
    sealed.set("GOOGLE_APPLICATION_CREDENTIALS", Some(&file));
    sealed.ok("init --remote 'gdrive:Banking LLM' --name banking");
    assert!(drive.join("Banking LLM/.modelkeep/format.json").is_file(), "the mount does it");
}

#[test]
fn without_one_the_mount_does_it_unconfirmed() {
    let (sealed, server, drive) = colab();
    sealed.set("MODELKEEP_REMOTE", Some("gdrive:Banking LLM"));
    let ran = sealed.ok("init --remote 'gdrive:Banking LLM' --name banking");
    assert!(drive.join("Banking LLM/.modelkeep/format.json").is_file(), "{}{}", ran.stdout, ran.stderr);
    let ran = sealed.ok("push outputs/banking-v1 banking-v1");
    assert!(ran.stdout.contains("[not confirmed: written through a mount"), "{}", ran.stdout);
    let (_, pushed) = sealed.json("push outputs/banking-v2 banking-v2");
    assert_eq!(pushed["confirmed"], false, "{pushed}");
    assert!(drive.join("Banking LLM/models/finetuned/banking-v2/adapter_config.json").is_file());
    assert!(server.calls().is_empty(), "nobody asked Google");

    // No Drive at all.
    fs::remove_dir_all(&drive).unwrap();
    let (code, report) = sealed.json("list");
    assert_ne!(code, 0, "{report}");
    sealed.set("COLAB_RELEASE_TAG", None);
    let (code, report) = sealed.json("list");
    assert_eq!((code, report["error"]["kind"].as_str()), (6, Some("auth")), "{report}");
}
