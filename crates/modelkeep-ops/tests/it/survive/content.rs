//! Files that change, disks that are full, remotes that cannot be written, destinations that are taken.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use modelkeep_core::Kind;
use modelkeep_ops::{deploy, pull as pulling, verify};
use modelkeep_remote::memory::Profile;
use modelkeep_remote::{MemoryRemote, Remote};

use crate::world::{Ground, Heard, Machine, Once, ReadOnly, files, pull, push, refused, settled, snapshot};

const FILES: [(&str, &[u8]); 3] =
    [("adapter_model.safetensors", b"weights"), ("adapter_config.json", b"{}"), ("notes.txt", b"first")];

#[tokio::test]
async fn a_file_that_changes_while_it_is_pushed_is_a_conflict_and_not_a_mixture() {
    let ground = Ground::new().await;
    let dir = ground.ana.directory("run", &FILES);
    push(&ground.ctx(), &dir, "other").await.unwrap();
    fs::write(dir.join("notes.txt"), "one").unwrap();
    let before = ground.seen();
    // Small files are sent many at once, larger ones and those that the remote may have one by one.
    for content in [vec![b'x'; 10], vec![b'x'; 3 << 20]] {
        fs::write(dir.join("big.bin"), &content).unwrap();
        let (file, other) = (dir.join("big.bin"), content.iter().map(|_| b'y').chain([b'!']).collect::<Vec<u8>>());
        let hook = Once::before(|call| call.method.starts_with("write"), move || fs::write(&file, &other).unwrap());
        let ctx = ground.hooked(hook.clone());
        refused(push(&ctx, &dir, "m-v1").await, Kind::Conflict, &["big.bin", "changed"]);
        assert!(hook.done());
        assert_eq!(ground.seen(), before, "nothing was committed and nothing is shown");
    }
    let report = push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    assert_eq!((report.number, report.created), (1, true));
    let to = ground.ana.home.path().join("back");
    pull(&ground.ctx(), "m-v1", &to).await.unwrap();
    assert_eq!(files(&to), files(&dir));
    settled(&ground.ctx()).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_loses_another_name_while_it_is_pushed_did_not_change() {
    use std::os::unix::fs::MetadataExt as _;
    let ground = Ground::new().await;
    push(&ground.ctx(), &ground.ana.directory("run", &FILES), "other").await.unwrap();
    for (number, size) in [(1, 10), (2, 3 << 20)] {
        // As a training's callback holds a checkpoint that the Trainer then rotates away.
        let name = format!("checkpoint-{number}");
        let dir = ground.ana.directory(&name, &[("notes.txt", b"one"), ("big.bin", &vec![b'x'; size])]);
        let held = ground.ana.directory(&format!("held/{name}"), &[]);
        fs::create_dir_all(&held).unwrap();
        fs::read_dir(&dir).unwrap().map(|file| file.unwrap()).for_each(|file| {
            fs::hard_link(file.path(), held.join(file.file_name())).unwrap();
        });
        let expected = files(&dir);
        let (big, spare) = (held.join("big.bin"), held.with_extension("spare"));
        let rotate = move || {
            let changed = || fs::metadata(&big).map(|found| (found.ctime(), found.ctime_nsec())).unwrap();
            let before = changed();
            fs::remove_dir_all(&dir).unwrap();
            // The clock of the file system ticks slowly.
            while changed() == before {
                fs::hard_link(&big, &spare).unwrap();
                fs::remove_file(&spare).unwrap();
            }
        };
        let hook = Once::before(|call| call.method.starts_with("write"), rotate);
        push(&ground.hooked(hook.clone()), &held, "m-v1").await.unwrap();
        assert!(hook.done());
        let to = ground.ana.home.path().join("back");
        pull(&ground.ctx(), "m-v1", &to).await.unwrap();
        assert_eq!(files(&to), expected);
    }
    settled(&ground.ctx()).await;
}

#[tokio::test]
async fn a_file_that_goes_away_while_it_is_pushed_is_named() {
    let ground = Ground::new().await;
    let dir = ground.ana.directory("run", &FILES);
    let before = ground.seen();
    let file = dir.join("notes.txt");
    let hook = Once::before(|call| call.method.starts_with("write"), move || fs::remove_file(&file).unwrap());
    let error = push(&ground.hooked(hook), &dir, "m-v1").await.unwrap_err();
    assert!(error.full_message().contains("notes.txt"), "{}", error.full_message());
    assert_eq!(ground.seen(), before);
    assert_eq!(push(&ground.ctx(), &dir, "m-v1").await.unwrap().files, 2);
}

/// Rewrites a file in place so that size and time of writing are as they were: a clock tick is longer than that.
fn rewrite_unseen(path: &Path, content: &[u8]) {
    let before = fs::metadata(path).unwrap();
    assert_eq!(before.len(), content.len() as u64);
    fs::write(path, content).unwrap();
    let times = fs::FileTimes::new().set_modified(before.modified().unwrap());
    fs::OpenOptions::new().write(true).open(path).unwrap().set_times(times).unwrap();
}

#[tokio::test]
async fn a_file_rewritten_within_one_clock_tick_is_not_taken_for_the_old_one() {
    let ground = Ground::new().await;
    let dir = ground.ana.directory("run", &FILES);
    for (number, content) in [(1, b"weights"), (2, b"WEIGHTS"), (3, b"weighed")] {
        rewrite_unseen(&dir.join("adapter_model.safetensors"), content);
        let report = push(&ground.ctx(), &dir, "m-v1").await.unwrap();
        assert_eq!((report.number, report.created), (number, true));
        let to = ground.ana.home.path().join("back");
        pull(&ground.ctx(), "m-v1", &to).await.unwrap();
        assert_eq!(files(&to)["adapter_model.safetensors"], content);
        // And the other way: what a pull wrote and somebody then changed in the same tick is somebody's own.
        rewrite_unseen(&to.join("adapter_model.safetensors"), b"changed");
        refused(pull(&ground.ctx(), "m-v1", &to).await, Kind::Conflict, &["adapter_model.safetensors"]);
        assert_eq!(files(&to)["adapter_model.safetensors"], b"changed");
        fs::remove_dir_all(&to).unwrap();
    }
}

#[tokio::test]
async fn a_remote_that_may_only_be_read_serves_pulls_and_takes_nothing() {
    let ground = Ground::new().await;
    let dir = ground.ana.directory("run", &FILES);
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    fs::write(dir.join("notes.txt"), "second").unwrap();
    let before = ground.seen();
    let ben = Machine::new("ben");
    let mut ctx = ben.context(&ground.remote, &ground.format, Some(Arc::new(ReadOnly)), None);
    refused(push(&ctx, &dir, "m-v1").await, Kind::Auth, &["writing .modelkeep"]);
    refused(deploy::deploy(&ctx, "m-v1", false).await, Kind::Auth, &["writing"]);
    let heard = Heard::listen(&mut ctx);
    let to = ben.home.path().join("back");
    pull(&ctx, "m-v1", &to).await.unwrap();
    assert_eq!(files(&to)["notes.txt"], b"first");
    assert!(verify::verify(&ctx, None, true).await.unwrap().problems.is_empty());
    assert_eq!(heard.all(), "", "a pull from where one may only read has nothing to complain of");
    assert_eq!(ground.seen(), before);
    // A wrong clock here must not keep anybody from reading.
    ben.clock.advance(jiff::SignedDuration::from_hours(-24 * 400));
    pull(&ctx, "m-v1", &to).await.unwrap();
    assert_eq!(ground.seen(), before);
}

#[tokio::test]
async fn a_quota_stops_a_push_whole_and_room_lets_it_go_on() {
    let memory = MemoryRemote::new(Profile::folder());
    let remote: Arc<dyn Remote> = Arc::new(memory.clone());
    let ana = Machine::new("ana");
    let format = ana.init(&remote).await;
    let ctx = ana.context(&remote, &format, None, None);
    let first = ana.directory("one", &FILES);
    push(&ctx, &first, "m-v1").await.unwrap();
    let committed = |memory: &MemoryRemote| {
        let mut all = memory.snapshot();
        all.retain(|path, _| !path.starts_with(".modelkeep/staging"));
        all
    };
    let before = committed(&memory);
    let used = remote.usage().await.unwrap().used.unwrap();
    let big = vec![7; 2 << 20];
    let dir = ana.directory("two", &[("a.txt", b"small"), ("big.bin", &big)]);
    let memory = memory.with_quota(used + (1 << 20));
    refused(push(&ctx, &dir, "m-v2").await, Kind::Quota, &["big.bin"]);
    assert_eq!(committed(&memory), before, "nothing was committed");
    let memory = memory.with_quota(used + (4 << 20));
    let report = push(&ctx, &dir, "m-v2").await.unwrap();
    assert_eq!(report.sent_bytes, big.len() as u64, "what had arrived was not sent again");
    let to = ana.home.path().join("back");
    pull(&ctx, "m-v2", &to).await.unwrap();
    assert_eq!(files(&to), files(&dir));
    drop(memory);
    settled(&ctx).await;
}

/// A small disk of its own, where this user may mount one.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let done = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
        done.ok().filter(|output| output.status.success()).map(|_| Self(at.to_owned()))
    }

    fn remount(&self, options: &str) {
        let done =
            std::process::Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_at_the_destination_leaves_it_as_it_was() {
    let ground = Ground::new().await;
    let dir = ground.ana.directory("run", &FILES);
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    let Some(disk) = SmallDisk::mount(&ground.scratch.path().join("disk"), "size=4m") else { return };
    let ben = Machine::new("ben");
    let ctx = ground.of(&ben);
    let to = disk.0.join("here");
    pull(&ctx, "m-v1", &to).await.unwrap();
    fs::write(dir.join("big.bin"), vec![1; 6 << 20]).unwrap();
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    let before = snapshot(&disk.0);
    // Seen beforehand.
    refused(pull(&ctx, "m-v1", &to).await, Kind::Local, &["disk", "6.3 MB", "free"]);
    assert_eq!(snapshot(&disk.0), before);
    // And met on the way: it was free when it was looked at.
    fs::write(dir.join("big.bin"), vec![1; 2 << 20]).unwrap();
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    let filler = disk.0.join("filler");
    let fill = filler.clone();
    let hook = Once::before(
        |call| call.method == "fetch",
        move || {
            let _ = fs::write(&fill, vec![0; 8 << 20]);
        },
    );
    let hooked = ben.context(&ground.remote, &ground.format, Some(hook), None);
    refused(pull(&hooked, "m-v1", &to).await, Kind::Local, &["big.bin"]);
    assert_eq!(snapshot(&to), snapshot(&disk.0.join("here")));
    assert_eq!(files(&to)["notes.txt"], b"first");
    assert!(!files(&to).contains_key("big.bin"));
    fs::remove_file(filler).unwrap();
    pull(&ctx, "m-v1", &to).await.unwrap();
    assert_eq!(files(&to), files(&dir));
    assert_eq!(snapshot(&disk.0).len(), 4, "nothing is left beside the destination");
}

#[tokio::test]
async fn a_full_or_read_only_disk_under_the_remote_takes_nothing_half() {
    let scratch = crate::world::scratch();
    let Some(disk) = SmallDisk::mount(&scratch.path().join("disk"), "size=4m") else { return };
    let ground = Ground::on(scratch, disk.0.join("remote")).await;
    let dir = ground.ana.directory("run", &FILES);
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    let before = ground.seen();
    fs::write(dir.join("big.bin"), vec![1; 6 << 20]).unwrap();
    refused(push(&ground.ctx(), &dir, "m-v1").await, Kind::Local, &["big.bin"]);
    assert_eq!(ground.seen(), before);
    disk.remount("size=16m");
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    settled(&ground.ctx()).await;

    // The system itself says that nothing may be written.
    let before = snapshot(&ground.root);
    disk.remount("ro");
    fs::write(dir.join("notes.txt"), "third").unwrap();
    let ben = Machine::new("ben");
    let mut ctx = ground.of(&ben);
    refused(push(&ctx, &dir, "m-v1").await, Kind::Auth, &["remote/.modelkeep"]);
    let heard = Heard::listen(&mut ctx);
    let to = ben.home.path().join("back");
    pull(&ctx, "m-v1", &to).await.unwrap();
    assert_eq!(files(&to)["notes.txt"], b"first");
    assert_eq!(heard.all(), "");
    assert_eq!(snapshot(&ground.root), before);
    disk.remount("rw");
}

#[tokio::test]
async fn a_pull_into_the_folder_one_stands_in_leaves_the_whole_revision() {
    let ground = Ground::new().await;
    let dir = ground.ana.directory("run", &[("same.txt", b"same"), ("notes.txt", b"first"), ("old/gone.txt", b"gone")]);
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    let to = ground.ana.home.path().join("here");
    pull(&ground.ctx(), "m-v1", &to).await.unwrap();
    fs::write(dir.join("notes.txt"), "second").unwrap();
    fs::write(dir.join("new.txt"), "new").unwrap();
    fs::remove_dir_all(dir.join("old")).unwrap();
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    let mut ctx = ground.ctx();
    ctx.env.cwd = to.canonicalize().unwrap();
    pull(&ctx, "m-v1", &to).await.unwrap();
    assert_eq!(files(&to), files(&dir));
    assert!(!to.join("old").exists());
    // A folder in the place of a file of the revision before.
    fs::remove_file(dir.join("new.txt")).unwrap();
    fs::create_dir(dir.join("new.txt")).unwrap();
    fs::write(dir.join("new.txt/inside"), "new").unwrap();
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    pull(&ctx, "m-v1", &to).await.unwrap();
    assert_eq!(files(&to), files(&dir));
}

#[tokio::test]
async fn a_pull_never_touches_what_is_somebodys_own() {
    let ground = Ground::new().await;
    let ctx = ground.ctx();
    let dir = ground.ana.directory("run", &FILES);
    push(&ctx, &dir, "m-v1").await.unwrap();
    fs::remove_file(dir.join("notes.txt")).unwrap();
    fs::write(dir.join("adapter_model.safetensors"), "two").unwrap();
    push(&ctx, &dir, "m-v1").await.unwrap();
    let to = ground.ana.home.path().join("here");

    // Over files of his own.
    fs::create_dir_all(to.join("mine")).unwrap();
    fs::write(to.join("mine/thesis.tex"), "years of work").unwrap();
    let before = snapshot(ground.ana.home.path().join("here").as_path());
    refused(pull(&ctx, "m-v1@1", &to).await, Kind::Conflict, &["mine/thesis.tex"]);
    assert_eq!(snapshot(&to), before);
    fs::remove_dir_all(&to).unwrap();

    // Over an earlier pull: what it wrote goes, nothing else is asked.
    pull(&ctx, "m-v1@1", &to).await.unwrap();
    pull(&ctx, "m-v1@2", &to).await.unwrap();
    assert_eq!(files(&to), files(&dir));

    // Over an edit: refused, then moved aside.
    fs::write(to.join("adapter_config.json"), "{\"r\": 8}").unwrap();
    let before = snapshot(&to);
    refused(pull(&ctx, "m-v1@1", &to).await, Kind::Conflict, &["adapter_config.json"]);
    assert_eq!(snapshot(&to), before);
    let forced = pulling::Request { to: Some(to.clone()), force: true, ..Default::default() };
    let report = pulling::pull(&ctx, &forced, "m-v1@1").await.unwrap();
    assert_eq!(files(&to)["notes.txt"], b"first");
    let aside = report.moved_aside.unwrap();
    assert!(aside.file_name().unwrap().to_string_lossy().starts_with("here.before-"), "{}", aside.display());
    assert_eq!(fs::read(aside.join("adapter_config.json")).unwrap(), b"{\"r\": 8}");

    // Where a file stands in the way of the folder.
    let file = ground.ana.home.path().join("file");
    fs::write(&file, "x").unwrap();
    refused(pull(&ctx, "m-v1", &file).await, Kind::Conflict, &["file"]);
    assert_eq!(fs::read(&file).unwrap(), b"x");
}
