//! Two folders of one name, as two clients of a Drive make them at once, become one. Stopped at any call, nobody's file
//! is hidden, and the next repair goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use modelkeep_core::digest::RevisionId;
use modelkeep_core::layout;
use modelkeep_core::path::RemotePath;
use modelkeep_ops::store::Format;
use modelkeep_ops::{remove, repair};
use modelkeep_remote::drive::auth::{Auth, Fixed};
use modelkeep_remote::drive::{Endpoints, Options, Secret};
use modelkeep_remote::layer::{Fault, Hook, Strike};
use modelkeep_remote::memory::Profile;
use modelkeep_remote::{DriveRemote, EntryKind, Inline, MemoryRemote, Mode, NoMeter, Object, Remote, Source};
use modelkeep_testkit::drive::{Options as Fake, Server};

use crate::drive::{DRIVE, ME, full, no_two_of_one_name, tree};
use crate::world::{Machine, pull, push};

const HOUR: Duration = Duration::from_secs(3600);
const PLACE: &str = "datasets/photos";
const ONE: [(&str, &str); 5] = [
    ("a.jpg", "in both"),
    ("b.jpg", "b of one"),
    ("sub/c.jpg", "c of one"),
    ("sub/deep/e", "e of one"),
    ("one/x", "x"),
];
const TWO: [(&str, &str); 6] = [
    ("a.jpg", "in both"),
    ("b.jpg", "b of two"),
    ("sub/c.jpg", "c of two"),
    ("sub/deep/e", "e of two"),
    ("sub/d.jpg", "d"),
    ("two/y", "y"),
];

/// A store, and what of it stays after the clients.
enum Ground {
    Memory(MemoryRemote),
    Drive(Server, String),
}

impl Ground {
    async fn new(which: u64) -> Self {
        if which < 2 {
            return Self::Memory(MemoryRemote::new(Profile::drive(7 + which)));
        }
        // Midnight, and with it another day in the trash, is far away.
        let now = Some("2026-03-02T09:00:00Z".parse().unwrap());
        let server = Server::start(Fake { now, ..Fake::default() }).unwrap();
        let remote = DriveRemote::create(options(&server, Duration::ZERO), auth(&server), "Banking LLM").await.unwrap();
        let root = remote.id().to_owned();
        Self::Drive(server, root)
    }

    /// Somebody who sees all that is there now.
    async fn client(&self) -> Arc<dyn Remote> {
        match self {
            Self::Memory(memory) => {
                memory.settle();
                Arc::new(memory.clone())
            }
            Self::Drive(server, root) => self.on_drive(server, root, Duration::ZERO).await,
        }
    }

    /// Somebody who does not see yet what others do from now on.
    async fn behind(&self) -> Arc<dyn Remote> {
        match self {
            Self::Memory(memory) => {
                memory.settle();
                Arc::new(memory.client(1))
            }
            Self::Drive(server, root) => self.on_drive(server, root, HOUR).await,
        }
    }

    async fn on_drive(&self, server: &Server, root: &str, fresh: Duration) -> Arc<dyn Remote> {
        Arc::new(DriveRemote::open(options(server, fresh), auth(server), root).await.unwrap())
    }
}

fn options(server: &Server, fresh: Duration) -> Options {
    Options { endpoints: Endpoints::all_at(server.url()), settle: Duration::ZERO, fresh, ..Options::default() }
}

fn auth(server: &Server) -> Auth {
    Auth::new(Fixed(Secret::new(server.token(ME, "client", DRIVE, HOUR))))
}

async fn write(remote: &dyn Remote, path: &str, content: &str) {
    let source = Source::Bytes(Bytes::from(content.to_owned()));
    remote.write(&path.parse().unwrap(), source, Mode::New, Arc::new(NoMeter)).await.unwrap();
}

/// A tree in which two folders of one name stand; who made the second one.
async fn twice(ground: &Ground, machine: &Machine) -> (Format, Arc<dyn Remote>) {
    let one = ground.client().await;
    let format = machine.init(&one).await;
    let ctx = machine.context(&one, &format, None, None);
    push(&ctx, &machine.directory("m", &[("model.bin", b"m")]), "m-v1").await.unwrap();
    let two = ground.behind().await;
    for (path, content) in TWO {
        write(&*two, &format!("datasets/elsewhere/{path}"), content).await;
    }
    assert!(two.find(&Object::at(PLACE.parse().unwrap())).await.unwrap().is_none());
    for (path, content) in ONE {
        write(&*one, &format!("{PLACE}/{path}"), content).await;
    }
    two.rename(&Object::at("datasets/elsewhere".parse().unwrap()), &PLACE.parse().unwrap()).await.unwrap();
    (format, two)
}

/// What people see: paths by content, without our own folder; and the folders, which may stand there twice.
async fn seen(remote: &dyn Remote) -> (BTreeMap<String, Vec<String>>, Vec<String>) {
    let (mut files, mut folders): (BTreeMap<String, Vec<String>>, Vec<String>) = Default::default();
    let mut open = vec!["datasets".parse().unwrap()];
    while let Some(folder) = open.pop() {
        for entry in remote.list(&folder, Inline::No).await.unwrap() {
            if entry.kind == EntryKind::Dir {
                if !folders.contains(&entry.path.to_string()) {
                    open.push(entry.path.clone());
                }
                folders.push(entry.path.to_string());
                continue;
            }
            let content = remote.read(&entry.object(), 0..100).await.unwrap();
            files.entry(String::from_utf8(content.to_vec()).unwrap()).or_default().push(entry.path.to_string());
        }
    }
    (files, folders)
}

fn contents() -> Vec<&'static str> {
    let mut all: Vec<&str> = ONE.iter().chain(&TWO).map(|(_, content)| *content).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Everything once, in one folder.
async fn merged(ground: &Ground, what: &str) {
    let remote = ground.client().await;
    let (files, folders) = seen(&*remote).await;
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), contents(), "{what}");
    assert!(files.values().all(|paths| paths.len() == 1), "{what}: {files:?}");
    let mut names = folders.clone();
    names.sort();
    let expected = ["", "/one", "/sub", "/sub/deep", "/two"].map(|below| format!("{PLACE}{below}"));
    assert_eq!(names, expected, "{what}");
    for (path, content) in ONE.iter().chain(&TWO) {
        // One of two has the name; the other one stands beside it.
        let at = &files[*content][0];
        assert!(at.starts_with(&format!("{PLACE}/{path}")), "{what}: {content} is at {at}");
    }
}

/// What a repair by somebody who sees all that is there now comes to.
async fn repaired(ground: &Ground, machine: &Machine, format: &Format) -> repair::Report {
    let client = ground.client().await;
    repair::repair(&machine.context(&client, format, None, None), &repair::Request::default()).await.unwrap()
}

/// Stops a repair at each of its calls, and over HTTP, where that takes minutes, at every so many: what stood there is
/// found by everybody then, and the next repair ends it.
async fn stopped_anywhere<T>(
    over_http: u64,
    twice: impl AsyncFn(&Ground, &Machine) -> (Format, T),
    found: impl AsyncFn(&Ground, &Format, &T, &str),
    merged: impl AsyncFn(&Ground, &Format, &T, &str),
) {
    for which in 0..3 {
        let step = if which == 2 { over_http } else { 1 };
        for strike in [Strike::Before, Strike::After] {
            let mut at = 1;
            loop {
                let what = format!("store {which}, {strike:?} call {at}");
                let ground = Ground::new(which).await;
                let machine = Machine::new("ana");
                let (format, made) = twice(&ground, &machine).await;
                let fault = Arc::new(Fault::at_call(at, strike));
                let client = ground.client().await;
                let ctx = machine.context(&client, &format, Some(Arc::clone(&fault) as Arc<dyn Hook>), None);
                let result = repair::repair(&ctx, &repair::Request::default()).await;
                let stopped = fault.seen() >= at;
                assert_eq!(result.is_err(), stopped, "{what}: {result:?}");
                drop(ctx);
                found(&ground, &format, &made, &what).await;
                let report = repaired(&ground, &machine, &format).await;
                merged(&ground, &format, &made, &format!("{what}, {:#?}", report.steps)).await;
                let again = repaired(&ground, &machine, &format).await;
                assert!(!again.changed && again.left.is_empty(), "{what}: {again:#?}");
                assert!(at < 400, "{what}: it never ends");
                if !stopped {
                    break;
                }
                at += step;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_stopped_anywhere_hides_nothing_and_is_finished_by_the_next_repair() {
    let found = async |ground: &Ground, _: &Format, _: &Arc<dyn Remote>, what: &str| {
        let (files, _) = seen(&*ground.client().await).await;
        assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), contents(), "{what}: hidden");
    };
    stopped_anywhere(if full() { 1 } else { 9 }, twice, found, async |ground, _, _, what| merged(ground, what).await)
        .await;
}

/// Pushes that stand in two folders of one name: their content's ids, and where the removed ones are.
struct Pushes {
    revisions: Vec<RevisionId>,
    removed: Vec<String>,
}

const VERSIONS: &str = ".modelkeep/versions/m-v1";
const TRASH: &str = ".modelkeep/trash";

/// A tree in which versions of a model stand in two folders of one name, and so do the removed ones of a day.
async fn pushes_twice(ground: &Ground, machine: &Machine) -> (Format, Pushes) {
    let one = ground.client().await;
    let format = machine.init(&one).await;
    let two = ground.behind().await;
    for empty in [".modelkeep/versions", TRASH] {
        assert!(two.list(&empty.parse().unwrap(), Inline::No).await.unwrap().is_empty());
    }
    let ctx = machine.context(&one, &format, None, None);
    let pushed = async |content: &'static [u8], model: &str| {
        push(&ctx, &machine.directory(model, &[("model.bin", content)]), model).await.unwrap().revision
    };
    let first = pushed(b"first", "m-v1").await;
    for model in ["n-v1", "o-v1"] {
        pushed(model.as_bytes(), model).await;
    }
    let moved = async |from: &str, to: &str| {
        one.rename(&Object::at(from.parse().unwrap()), &to.parse().unwrap()).await.unwrap();
    };
    // What is called by id tells it nothing of the folders that are there.
    let made_twice = async |from: &str, to: &str| {
        let folder = one.find(&Object::at(from.parse().unwrap())).await.unwrap().unwrap();
        two.rename(&folder.object(), &to.parse().unwrap()).await.unwrap();
        let all = tree(&*ground.client().await).await;
        assert_eq!(all.iter().filter(|path| *path == to).count(), 2, "{all:#?}");
    };
    moved("models/finetuned/m-v1", "aside/first").await;
    let revisions = vec![first, pushed(b"second", "m-v1").await, pushed(b"third", "m-v1").await];
    made_twice("aside", VERSIONS).await;

    let first_of = async |folder: &str| {
        let entries = one.list(&folder.parse().unwrap(), Inline::No).await.unwrap();
        entries.into_iter().find(|entry| entry.kind == EntryKind::Dir).unwrap().path.to_string()
    };
    remove::remove(&ctx, "n-v1", false).await.unwrap();
    let day = first_of(TRASH).await;
    moved(&first_of(&day).await, "removed/n").await;
    remove::remove(&ctx, "o-v1", false).await.unwrap();
    made_twice("removed", &day).await;
    let all = tree(&*ground.client().await).await;
    let removed: Vec<_> =
        all.into_iter().filter(|path| path.starts_with(TRASH) && path.ends_with("model.bin")).collect();
    assert_eq!(removed.len(), 2);
    (format, Pushes { revisions, removed })
}

async fn pushes_come(ground: &Ground, format: &Format, made: &Pushes, what: &str) {
    // Somebody who knows nothing yet.
    let machine = Machine::new("eva");
    let client = ground.client().await;
    let ctx = machine.context(&client, format, None, None);
    for (nth, revision) in made.revisions.iter().enumerate() {
        let to = machine.home.path().join(nth.to_string());
        let pulled = pull(&ctx, &format!("m-v1@{revision}"), &to).await;
        let pulled = pulled.unwrap_or_else(|error| panic!("{what}: {}", error.full_message()));
        assert_eq!(pulled.revision, *revision, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_of_pushes_become_one_and_every_push_comes_at_any_moment() {
    let merged = async |ground: &Ground, format: &Format, made: &Pushes, what: &str| {
        pushes_come(ground, format, made, what).await;
        let all = tree(&*ground.client().await).await;
        no_two_of_one_name(&all, what);
        assert!(made.removed.iter().all(|path| all.contains(path)), "{what}: {all:#?}");
    };
    Box::pin(stopped_anywhere(if full() { 7 } else { 29 }, pushes_twice, pushes_come, merged)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_turns_up_late_in_a_folder_that_was_merged_comes_home() {
    let ground = Ground::new(2).await;
    let machine = Machine::new("ana");
    let (format, made) = pushes_twice(&ground, &machine).await;
    let repaired = async || repaired(&ground, &machine, &format).await;
    assert!(repaired().await.changed);
    let beside = async || {
        let all = tree(&*ground.client().await).await;
        all.into_iter().filter(|path| path.starts_with(&format!("{VERSIONS}.twin-"))).collect::<Vec<_>>()
    };
    let [twin] = &beside().await[..] else { panic!("{:?}", beside().await) };
    // Whoever was about to put it away knew the folder by its id.
    let client = ground.client().await;
    let kept = client.list(&VERSIONS.parse().unwrap(), Inline::No).await.unwrap();
    let late = kept.first().unwrap();
    client.rename(&late.object(), &twin.parse::<RemotePath>().unwrap().join(late.name())).await.unwrap();
    pushes_come(&ground, &format, &made, "late").await;
    assert!(repaired().await.changed);
    assert_eq!(beside().await, std::slice::from_ref(twin));
    assert!(!repaired().await.changed);

    // It stays, for whoever was about to put something there may sleep for long.
    let Ground::Drive(server, _) = &ground else { unreachable!() };
    server.advance(8 * 24 * HOUR);
    assert!(!repaired().await.changed);
    assert_eq!(beside().await, std::slice::from_ref(twin));
}

#[tokio::test]
async fn who_has_no_ids_finds_a_push_in_a_folder_that_stepped_aside() {
    let ground = crate::world::Ground::new().await;
    let mut revisions = Vec::new();
    for content in [b"first", b"later"] {
        let dir = ground.ana.directory("m", &[("model.bin", content)]);
        revisions.push(push(&ground.ctx(), &dir, "m-v1").await.unwrap().revision);
    }
    let kept = ground.root.join(VERSIONS);
    std::fs::rename(&kept, ground.root.join(format!("{VERSIONS}.twin-c0ffee"))).unwrap();
    // Another model, whose name merely begins like that.
    std::fs::create_dir(ground.root.join(format!("{VERSIONS}.1"))).unwrap();
    let to = ground.ana.home.path().join("back");
    let pulled = pull(&ground.ctx(), &format!("m-v1@{}", revisions[0]), &to).await.unwrap();
    assert_eq!(pulled.revision, revisions[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_turns_up_late_in_a_folder_that_was_merged_comes_back() {
    let ground = Ground::new(2).await;
    let machine = Machine::new("ana");
    let (format, two) = twice(&ground, &machine).await;
    let repaired = async || repaired(&ground, &machine, &format).await;
    repaired().await;
    merged(&ground, "merged").await;
    // Whoever was in the middle of writing into it still knows it by its id. It was parked, unless its id is the smaller.
    write(&*two, &format!("{PLACE}/late.jpg"), "late").await;
    write(&*two, &format!("{PLACE}/two/late.jpg"), "late too").await;
    let late = repaired().await;
    let (files, _) = seen(&*ground.client().await).await;
    for (content, path) in [("late", "late.jpg"), ("late too", "two/late.jpg")] {
        assert_eq!(files[content], [format!("{PLACE}/{path}")], "{late:#?}");
    }
    assert_eq!(files.len(), contents().len() + 2);

    // Nothing more comes: in a week the empty folder goes.
    let parked = async || {
        let client = ground.client().await;
        client.list(&layout::staging(), Inline::No).await.unwrap().len()
    };
    let Ground::Drive(server, _) = &ground else { unreachable!() };
    assert!(parked().await > 0 && !repaired().await.changed);
    server.advance(8 * 24 * HOUR);
    assert!(repaired().await.changed);
    assert_eq!(parked().await, 0);
    assert!(!repaired().await.changed);
}
