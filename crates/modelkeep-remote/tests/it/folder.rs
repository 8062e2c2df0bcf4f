//! What a folder must do beyond the conformance suite: links in it lead nowhere, and nothing is ever replaced.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use modelkeep_core::{Kind, Result};
use modelkeep_remote::folder::{FolderOptions, FolderRemote};
use modelkeep_remote::{EntryKind, Inline, Mode, NoMeter, Remote};
use tempfile::TempDir;

use crate::{kind, object, path, read, write};

/// A store with links that lead out of it, and what lies outside.
struct Yard {
    inside: TempDir,
    outside: TempDir,
    remote: FolderRemote,
}

impl Yard {
    fn new() -> Self {
        let (inside, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::write(outside.path().join("secret"), "secret").unwrap();
        fs::create_dir(outside.path().join("folder")).unwrap();
        symlink(outside.path(), inside.path().join("way-out")).unwrap();
        symlink(outside.path().join("secret"), inside.path().join("leak")).unwrap();
        fs::create_dir(inside.path().join("sub")).unwrap();
        symlink(outside.path(), inside.path().join("sub/way-out")).unwrap();
        let remote = FolderRemote::open(inside.path(), FolderOptions::default()).unwrap();
        Self { inside, outside, remote }
    }

    fn outside_is_untouched(&self) {
        let mut names: Vec<_> = self.outside.path().read_dir().unwrap().map(|item| item.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["folder", "secret"]);
        assert_eq!(fs::read_to_string(self.outside.path().join("secret")).unwrap(), "secret");
        assert_eq!(self.outside.path().join("folder").read_dir().unwrap().count(), 0);
    }
}

/// Refused, in one of the two ways that say so.
#[track_caller]
fn assert_closed<T: std::fmt::Debug>(result: Result<T>) {
    let kind = kind(result);
    assert!(matches!(kind, Kind::Integrity | Kind::NotFound), "{kind:?}");
}

#[tokio::test]
async fn a_link_out_of_the_store_is_never_read_through() {
    let yard = Yard::new();
    let fetched = yard.outside.path().join("fetched");
    for leak in ["leak", "way-out/secret", "sub/way-out/secret"] {
        assert_closed(yard.remote.read(&object(leak), 0..10).await);
        assert_closed(yard.remote.fetch(&object(leak), &fetched, Arc::new(NoMeter)).await);
        assert_closed(yard.remote.copy(&object(leak), &path("copied"), Arc::new(NoMeter)).await);
    }
    for way_out in ["way-out", "way-out/folder", "sub/way-out", "leak"] {
        let everything = Inline::UpTo(1000, &|_| true);
        if let Ok(entries) = yard.remote.list(&path(way_out), everything).await {
            assert_eq!(entries, [], "{way_out}");
        }
    }
    for hidden in ["way-out/secret", "way-out/folder", "sub/way-out/secret"] {
        assert_eq!(yard.remote.find(&object(hidden)).await.unwrap_or(None), None, "{hidden}");
    }
    assert!(!fetched.exists());
    assert!(!yard.inside.path().join("copied").exists());
    yard.outside_is_untouched();
}

#[tokio::test]
async fn a_link_out_of_the_store_is_shown_as_leading_nowhere() {
    let yard = Yard::new();
    for link in ["leak", "way-out", "sub/way-out"] {
        let entry = yard.remote.find(&object(link)).await.unwrap().unwrap();
        assert_eq!((entry.kind, entry.size), (EntryKind::Pointer(None), 0), "{link}");
    }
    symlink("../../elsewhere", yard.inside.path().join("sub/climbs")).unwrap();
    let entries = yard.remote.list(&path("sub"), Inline::UpTo(1000, &|_| true)).await.unwrap();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        assert_eq!((entry.kind, entry.content), (EntryKind::Pointer(None), None), "{}", entry.path);
    }
}

#[tokio::test]
async fn a_link_out_of_the_store_is_never_written_through() {
    let yard = Yard::new();
    write(&yard.remote, "file", b"inside", Mode::New).await.unwrap();
    for mode in [Mode::New, Mode::Replace] {
        assert_closed(write(&yard.remote, "way-out/new", b"x", mode).await);
        assert_closed(write(&yard.remote, "way-out/secret", b"x", mode).await);
        assert_closed(write(&yard.remote, "sub/way-out/folder/new", b"x", mode).await);
    }
    assert_eq!(kind(write(&yard.remote, "leak", b"x", Mode::New).await), Kind::Conflict);
    assert_closed(yard.remote.create_dir(&path("way-out/new")).await);
    assert_closed(yard.remote.copy(&object("file"), &path("way-out/new"), Arc::new(NoMeter)).await);
    assert_closed(yard.remote.point(&path("way-out/new"), &path("sub")).await);
    assert_closed(yard.remote.rename(&object("file"), &path("way-out/new")).await);
    assert_closed(yard.remote.rename(&object("file"), &path("sub/way-out/folder/new")).await);
    assert_closed(yard.remote.rename(&object("way-out/secret"), &path("stolen")).await);
    assert_closed(yard.remote.exchange(&path("sub"), &path("way-out/folder")).await);
    assert_closed(yard.remote.delete(&object("way-out/secret")).await);
    assert_eq!(read(&yard.remote, "file").await, "inside");
    yard.outside_is_untouched();
}

#[tokio::test]
async fn replacing_a_link_does_not_write_where_it_leads() {
    let yard = Yard::new();
    // Either is fine: the link itself gives way, or it is refused.
    let _ = write(&yard.remote, "leak", b"x", Mode::Replace).await;
    let _ = write(&yard.remote, "way-out", b"x", Mode::Replace).await;
    yard.outside_is_untouched();
}

#[tokio::test]
async fn a_link_is_moved_and_deleted_itself_not_what_it_leads_to() {
    let yard = Yard::new();
    yard.remote.rename(&object("way-out"), &path("moved")).await.unwrap();
    for link in ["moved", "leak"] {
        yard.remote.delete(&object(link)).await.unwrap();
        assert_eq!(yard.remote.find(&object(link)).await.unwrap(), None);
    }
    yard.remote.delete(&object("sub")).await.unwrap();
    assert!(!yard.inside.path().join("sub").exists());
    yard.outside_is_untouched();
}

#[tokio::test]
async fn a_folder_is_not_made_on_a_link() {
    let yard = Yard::new();
    let made = yard.remote.create_dir(&path("way-out")).await;
    assert!(made.is_err(), "{made:?}: a folder that is no folder");
    yard.outside_is_untouched();
}

#[tokio::test]
async fn a_pointer_is_a_relative_link_that_any_program_follows() {
    let yard = Yard::new();
    write(&yard.remote, "models/finetuned/x/file", b"content", Mode::New).await.unwrap();
    yard.remote.point(&path("models/deployed/current"), &path("models/finetuned/x")).await.unwrap();
    let link = yard.inside.path().join("models/deployed/current");
    assert_eq!(fs::read_link(&link).unwrap().to_str(), Some("../finetuned/x"));
    assert_eq!(fs::read_to_string(link.join("file")).unwrap(), "content");
    yard.remote.delete(&object("models/deployed/current")).await.unwrap();
    assert_eq!(read(&yard.remote, "models/finetuned/x/file").await, "content");
}

#[tokio::test]
async fn a_taken_name_is_never_replaced_whatever_holds_it() {
    for rename_noreplace in [true, false] {
        for hard_links in [true, false] {
            let root = TempDir::new().unwrap();
            let options = FolderOptions { rename_noreplace, hard_links, ..FolderOptions::default() };
            let remote = FolderRemote::open(root.path(), options).unwrap();
            fs::create_dir_all(root.path().join("empty")).unwrap();
            fs::write(root.path().join("file"), "old").unwrap();
            symlink("nowhere", root.path().join("dangling")).unwrap();
            write(&remote, "from/file", b"new", Mode::New).await.unwrap();
            for taken in ["empty", "file", "dangling"] {
                assert_eq!(kind(write(&remote, taken, b"new", Mode::New).await), Kind::Conflict, "{taken}");
                for from in ["from", "from/file"] {
                    let renamed = remote.rename(&object(from), &path(taken)).await;
                    assert_eq!(kind(renamed), Kind::Conflict, "{from} to {taken}");
                }
            }
            assert!(root.path().join("empty").is_dir());
            assert_eq!(fs::read_to_string(root.path().join("file")).unwrap(), "old");
            assert_eq!(fs::read_link(root.path().join("dangling")).unwrap().to_str(), Some("nowhere"));
            assert_eq!(read(&remote, "from/file").await, "new");
        }
    }
}

#[tokio::test]
async fn the_root_stays() {
    let root = TempDir::new().unwrap();
    let remote = FolderRemote::open(root.path(), FolderOptions::default()).unwrap();
    write(&remote, "file", b"kept", Mode::New).await.unwrap();
    assert!(remote.delete(&object("")).await.is_err());
    assert!(remote.rename(&object(""), &path("to")).await.is_err());
    assert_eq!(read(&remote, "file").await, "kept");
}

#[tokio::test]
async fn a_fixed_time_dates_what_is_written() {
    let root = TempDir::new().unwrap();
    let now = "2031-02-03T04:05:06Z".parse().unwrap();
    let options = FolderOptions { now: Some(now), ..FolderOptions::default() };
    let remote = FolderRemote::open(root.path(), options).unwrap();
    write(&remote, "file", b"x", Mode::New).await.unwrap();
    assert_eq!(remote.now().await.unwrap(), now);
    assert_eq!(remote.find(&object("file")).await.unwrap().unwrap().modified, now);
}
