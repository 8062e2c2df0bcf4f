//! Caches as people really have them, scanned, cleared and mended.

use std::fs;
use std::os::unix::fs::symlink;

use modelkeep_core::Error;

use super::*;
use crate::cache::RepoDir;
use crate::{evict, in_use, mend};

struct Hub(tempfile::TempDir);

impl Hub {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A revision whose files are these blobs, each with as many bytes as its name is long.
    fn revision(&self, folder: &str, commit: &str, files: &[(&str, &str)], refs: &[&str]) {
        let repo = self.path().join(folder);
        let snapshot = repo.join("snapshots").join(commit);
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(repo.join("blobs")).unwrap();
        for (path, blob) in files {
            fs::write(repo.join("blobs").join(blob), blob).unwrap();
            let link = snapshot.join(path);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            let up = "../".repeat(2 + path.matches('/').count());
            symlink(format!("{up}blobs/{blob}"), link).unwrap();
        }
        for name in refs {
            fs::create_dir_all(repo.join("refs").join(name).parent().unwrap()).unwrap();
            fs::write(repo.join("refs").join(name), commit).unwrap();
        }
    }

    fn scan(&self) -> Cache {
        scan(self.path()).unwrap()
    }

    fn whole(&self) -> Cache {
        let cache = self.scan();
        assert_eq!(cache.warnings(), [""; 0]);
        cache
    }
}

/// Two revisions that share a file.
fn shared() -> Hub {
    let hub = Hub::new();
    hub.revision("models--a--b", "one", &[("w", "shared"), ("x/y/z", "first")], &[]);
    hub.revision("models--a--b", "two", &[("w", "shared"), ("c", "second!")], &["main", "refs/pr/1"]);
    hub
}

#[test]
fn shared_files_count_once() {
    let cache = shared().whole();
    let repo = &cache.repos[0];
    assert_eq!((repo.called().as_str(), repo.size(), cache.size(), cache.takes()), ("model/a/b", 18, 18, 18));
    let sizes: Vec<u64> = repo.revisions.iter().map(|revision| repo.size_of(revision)).collect();
    assert_eq!(sizes, [11, 13]);
    assert_eq!(repo.revisions[1].refs, ["main", "refs/pr/1"]);
    assert!(scan(Path::new("/nothing/here")).unwrap().repos.is_empty());
}

#[test]
fn a_revision_takes_with_it_what_nobody_else_needs() {
    let hub = shared();
    let removed = evict::remove(hub.path(), "models--a--b", &["one"]).unwrap().unwrap();
    assert_eq!((removed.bytes, removed.whole), (5, false));
    let cache = hub.whole();
    assert_eq!((cache.size(), cache.repos[0].revisions.len(), cache.loose_size()), (13, 1, 0));
    let removed = evict::remove(hub.path(), "models--a--b", &["two"]).unwrap().unwrap();
    assert_eq!((removed.bytes, removed.whole), (13, true));
    assert!(hub.whole().repos.is_empty());
    assert!(evict::left_behind(hub.path()).is_empty());
}

#[test]
fn what_a_stopped_run_had_begun_is_seen_by_nobody_and_finished_by_the_next() {
    let hub = shared();
    let repo = hub.path().join("models--a--b");
    // Stopped after the snapshot went: its ref first, its files still there.
    fs::remove_file(repo.join("refs/main")).unwrap();
    fs::remove_file(repo.join("refs/refs/pr/1")).unwrap();
    fs::create_dir(repo.join(evict::GOING)).unwrap();
    fs::rename(repo.join("snapshots/two"), repo.join(evict::GOING).join("two")).unwrap();
    let cache = hub.whole();
    assert_eq!((cache.size(), cache.repos[0].going.as_slice()), (11, ["two".to_owned()].as_slice()));
    let removed = evict::finish(hub.path(), "models--a--b").unwrap().unwrap();
    assert_eq!(removed.bytes, 7);
    let cache = hub.whole();
    assert_eq!((cache.size(), cache.loose_size(), cache.repos[0].going.len()), (11, 0, 0));
    assert!(!repo.join(evict::GOING).exists());
}

#[test]
fn who_downloads_is_left_alone() {
    let hub = shared();
    let locks = in_use::locks_of(hub.path(), "models--a--b");
    fs::create_dir_all(&locks).unwrap();
    let lock = fs::File::create(locks.join("anything.lock")).unwrap();
    lock.lock().unwrap();
    assert!(in_use::is_locked(hub.path(), "models--a--b"));
    assert_eq!(evict::remove(hub.path(), "models--a--b", &["one"]).unwrap(), None);
    assert_eq!(hub.whole().repos[0].revisions.len(), 2);
    drop(lock);
    assert!(evict::remove(hub.path(), "models--a--b", &["one"]).unwrap().is_some());
}

#[tokio::test]
async fn who_evicts_is_alone() {
    let hub = shared();
    let dir = RepoDir::of_model(hub.path(), &"a/b".parse().unwrap(), true);
    let orphan = hub.path().join("models--a--b/blobs/orphan");
    fs::write(&orphan, "about to be linked").unwrap();
    let sweep = || evict::sweep_loose(hub.path(), "models--a--b", &["orphan".to_owned()]).unwrap();
    let held = dir.hold(|| Ok(())).await.unwrap();
    assert_eq!((sweep(), evict::finish(hub.path(), "models--a--b").unwrap()), (0, None));
    drop(held);
    let alone = in_use::alone(hub.path(), "models--a--b").unwrap().unwrap();
    assert!(dir.hold(|| Err(Error::local("somebody is evicting"))).await.is_err());
    drop(alone);
    assert_eq!(sweep(), 18);
}

#[test]
fn a_repository_elsewhere_is_counted_and_not_touched() {
    let hub = shared();
    let other = Hub::new();
    other.revision("models--big--one", "c", &[("w", "0123456789")], &["main"]);
    symlink(other.path().join("models--big--one"), hub.path().join("models--big--one")).unwrap();
    let cache = hub.whole();
    assert_eq!((cache.size(), cache.takes()), (28, 18));
    assert_eq!(evict::remove(hub.path(), "models--big--one", &["c"]).unwrap(), None);
    // The disk is emptied: what is left of it is taken away.
    fs::remove_dir_all(other.path().join("models--big--one")).unwrap();
    assert_eq!(hub.scan().warnings().len(), 1);
    let (mends, left) = mend::plan(&hub.scan());
    assert!(left.is_empty());
    for mend in &mends {
        mend::apply(hub.path(), mend).unwrap();
    }
    assert_eq!(hub.whole().repos.len(), 1);
}

#[test]
fn an_overflow_is_a_link_that_is_made_once() {
    let (hub, other) = (Hub::new(), Hub::new());
    let folder = crate::overflow::place(hub.path(), "models--a--b", other.path()).unwrap();
    assert_eq!(crate::overflow::place(hub.path(), "models--a--b", other.path()).unwrap(), folder);
    hub.revision("models--a--b", "c", &[("w", "0123")], &["main"]);
    assert!(other.path().join("models--a--b/blobs/0123").is_file());
    let cache = hub.whole();
    assert_eq!((cache.size(), cache.takes()), (4, 0));
}

/// A repository whose file is a payload that repositories share, listed as theirs list it; the payload.
fn xet(hub: &Hub, link: &Path) -> PathBuf {
    let (hash, etag) = ("ab".repeat(32), "cd".repeat(32));
    hub.revision("models--a--b", "c", &[("w", &etag)], &["main"]);
    let payload = hub.path().join("blobs/ab").join(&hash);
    fs::create_dir_all(payload.parent().unwrap()).unwrap();
    fs::write(hub.path().join("blobs/.huggingface-shared-blobs"), "1\n").unwrap();
    fs::write(&payload, "shared payload").unwrap();
    fs::write(payload.with_extension("refs"), format!("models--a--b/blobs/{etag}\n")).unwrap();
    let blob = hub.path().join("models--a--b/blobs").join(&etag);
    fs::remove_file(&blob).unwrap();
    symlink(link.join("ab").join(&hash), blob).unwrap();
    payload
}

#[test]
fn a_cache_has_many_paths_and_one_content() {
    let hub = Hub::new();
    let other = tempfile::tempdir().unwrap();
    let home = other.path().join("home");
    symlink(hub.path(), &home).unwrap();
    for link in ["../../blobs", home.join("blobs").to_str().unwrap()] {
        let payload = xet(&hub, Path::new(link));
        // As `HF_HUB_CACHE` may say it.
        fs::create_dir_all(hub.path().join("x")).unwrap();
        for path in [hub.path().to_owned(), hub.path().join("x/.."), home.clone()] {
            let cache = scan(&path).unwrap();
            assert!(!cache.shared[0].unreferenced, "{link} from {}", path.display());
            assert_eq!(cache.repos[0].blobs[0].payload.as_ref(), Some(&cache.shared[0].path));
            assert_eq!(shared::sweep(&path, &cache.shared[0].path).unwrap(), 0);
        }
        assert!(payload.exists());
        fs::remove_dir_all(hub.path().join("models--a--b")).unwrap();
    }
}

#[test]
fn a_link_by_another_path_still_leads_to_its_blob() {
    let hub = Hub::new();
    let other = tempfile::tempdir().unwrap();
    let home = other.path().join("home");
    symlink(hub.path(), &home).unwrap();
    hub.revision("models--a--b", "c", &[("w", "1234")], &["main"]);
    let link = hub.path().join("models--a--b/snapshots/c/w");
    fs::remove_file(&link).unwrap();
    symlink(home.join("models--a--b/blobs/1234"), &link).unwrap();
    let cache = hub.whole();
    assert_eq!((cache.size(), cache.loose_size()), (4, 0));
    assert_eq!(evict::sweep_loose(hub.path(), "models--a--b", &["1234".to_owned()]).unwrap(), 0);
    // It goes with its revision, by whichever path the cache is called.
    let removed = evict::remove(&home, "models--a--b", &["c"]).unwrap().unwrap();
    assert_eq!((removed.bytes, removed.whole), (4, true));
}

#[test]
fn what_repositories_lead_into_is_not_set_aside() {
    let hub = Hub::new();
    let payload = xet(&hub, Path::new("../../blobs"));
    // Of a version to come, and one that an own program made.
    fs::write(hub.path().join("blobs/.huggingface-shared-blobs"), "2\n").unwrap();
    for (folder, file) in [("pool", "1234"), ("notes", "mine")] {
        fs::create_dir_all(hub.path().join(folder)).unwrap();
        fs::write(hub.path().join(folder).join(file), file).unwrap();
    }
    symlink("../../../pool/1234", hub.path().join("models--a--b/snapshots/c/pooled")).unwrap();
    let (mends, left) = mend::plan(&hub.scan());
    assert!(mends.iter().all(|mend| matches!(mend, mend::Mend::SetAside { path, .. } if path == Path::new("notes"))));
    assert_eq!((mends.len(), left.len()), (1, 2), "{left:?}");
    assert!(payload.exists());
}

#[test]
fn what_a_stopped_pull_gathered_is_loose() {
    let hub = shared();
    let part = RepoDir::of_model(hub.path(), &"a/b".parse().unwrap(), true).gathering("0123");
    fs::create_dir_all(part.join("sub")).unwrap();
    fs::write(part.join("sub/w.modelkeep-part"), "half of it").unwrap();
    let cache = hub.whole();
    assert_eq!((cache.size(), cache.loose_size(), cache.takes()), (18, 10, 28));
    let name = cache.repos[0].gathered[0].name.clone();
    assert_eq!(evict::sweep_loose(hub.path(), "models--a--b", &[name]).unwrap(), 10);
    assert_eq!((hub.whole().takes(), part.exists()), (18, false));
}
