//! An operation stopped at each of its remote calls: nothing committed is lost, every shown folder is whole, and the
//! next run completes without sending again what had arrived.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use modelkeep_core::maintain::Period;
use modelkeep_core::registry::Status;
use modelkeep_ops::{deploy, file, list, maintain, prune, remove, repair, verify};
use modelkeep_remote::folder::FolderOptions;
use modelkeep_remote::layer::{Fault, Hook, Strike};
use modelkeep_remote::{DriveRemote, FolderRemote, MemoryRemote, Remote, drive, memory::Profile};
use modelkeep_testkit::drive::{Options as Fake, Server};

use crate::world::{Machine, files, pull, push};

const V1: [(&str, &[u8]); 3] =
    [("adapter_model.safetensors", b"one"), ("tok/tokenizer.json", b"{}"), ("benchmark.json", br#"{"f1":0.9}"#)];
const V2: [(&str, &[u8]); 3] =
    [("adapter_model.safetensors", b"two!"), ("tok/tokenizer.json", b"{}"), ("benchmark.json", br#"{"f1":0.95}"#)];

/// How many stores there are.
const STORES: usize = 5;

/// One of them, and the server behind it, which ends with the test. Each step is a multiple of so many calls: over
/// HTTP every call would take minutes, so only the full run (`cargo xtask test --full`) stops at each.
async fn store(which: usize, scratch: &Path) -> (&'static str, Arc<dyn Remote>, Option<Server>, u64) {
    let bare = FolderOptions {
        symlinks: false,
        hard_links: false,
        rename_noreplace: false,
        exchange: false,
        reflink: false,
        ..FolderOptions::default()
    };
    let (name, remote): (_, Arc<dyn Remote>) = match which {
        0 => ("folder", Arc::new(FolderRemote::open(&scratch.join("a"), FolderOptions::default()).unwrap())),
        1 => ("bare folder", Arc::new(FolderRemote::open(&scratch.join("b"), bare).unwrap())),
        2 => ("memory", Arc::new(MemoryRemote::new(Profile::folder()))),
        3 => ("drive", Arc::new(MemoryRemote::new(Profile::drive(7)))),
        _ => {
            let server = Server::start(Fake::default()).unwrap();
            let hour = Duration::from_secs(3600);
            let token = server.token("me@example.com", "client", "https://www.googleapis.com/auth/drive", hour);
            let options = drive::Options {
                endpoints: drive::Endpoints::all_at(server.url()),
                settle: Duration::ZERO,
                ..drive::Options::default()
            };
            let auth = drive::auth::Auth::new(drive::auth::Fixed(drive::Secret::new(token)));
            let remote = DriveRemote::create(options, auth, "Banking LLM").await.unwrap();
            return ("drive over HTTP", Arc::new(remote), Some(server), if crate::drive::full() { 1 } else { 11 });
        }
    };
    (name, remote, None, 1)
}

/// Runs `work` stopped at its first call, its second, and so on until it is no longer stopped. After each stop
/// `check` looks at what is left, and completes it.
async fn at_every_call(
    prepare: impl AsyncFn(&Machine, &Arc<dyn Remote>, &modelkeep_ops::store::Format),
    work: impl AsyncFn(&modelkeep_ops::Context) -> modelkeep_core::Result<()>,
    check: impl AsyncFn(&modelkeep_ops::Context, &Machine),
) {
    for which in 0..STORES {
        for strike in [Strike::Before, Strike::After] {
            let mut at = 1;
            loop {
                let scratch = crate::world::scratch();
                let (name, remote, _server, step) = store(which, scratch.path()).await;
                let machine = Machine::new("ana");
                let format = machine.init(&remote).await;
                prepare(&machine, &remote, &format).await;
                let fault = Arc::new(Fault::at_call(at, strike));
                let ctx = machine.context(&remote, &format, Some(Arc::clone(&fault) as Arc<dyn Hook>), None);
                let result = work(&ctx).await;
                let stopped = fault.seen() >= at;
                assert_eq!(result.is_err(), stopped, "{name}, {strike:?} call {at}: {result:?}");
                drop(ctx);
                let ctx = machine.context(&remote, &format, None, None);
                check(&ctx, &machine).await;
                assert!(at < 400, "{name}: it never ends");
                if !stopped {
                    break;
                }
                at += step;
            }
        }
    }
}

async fn settled(ctx: &modelkeep_ops::Context) {
    repair::repair(ctx, &repair::Request::default()).await.unwrap();
    let report = verify::verify(ctx, None, true).await.unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[tokio::test]
async fn push_stopped_anywhere_completes_when_run_again() {
    at_every_call(
        async |machine, remote, format| {
            let ctx = machine.context(remote, format, None, None);
            push(&ctx, &machine.directory("v1", &V1), "m-v1").await.unwrap();
            machine.directory("v2", &V2);
        },
        async |ctx| push(ctx, &ctx.env.cwd.join("dirs/v2"), "m-v1").await.map(drop),
        async |ctx, machine| {
            let v2 = machine.directory("v2", &V2);
            // What was committed can be had at any moment.
            let to = machine.home.path().join("back1");
            pull(ctx, "m-v1@1", &to).await.unwrap();
            assert_eq!(files(&to), files(&machine.directory("v1", &V1)));
            let report = push(ctx, &v2, "m-v1").await.unwrap();
            assert_eq!((report.number, report.latest), (2, true));
            let to = machine.home.path().join("back2");
            pull(ctx, "m-v1", &to).await.unwrap();
            assert_eq!(files(&to), files(&v2));
            settled(ctx).await;
        },
    )
    .await;
}

#[tokio::test]
async fn the_first_push_of_all_stopped_anywhere() {
    at_every_call(
        async |machine, _, _| drop(machine.directory("v2", &V2)),
        async |ctx| push(ctx, &ctx.env.cwd.join("dirs/v2"), "m-v1").await.map(drop),
        async |ctx, machine| {
            let v2 = machine.directory("v2", &V2);
            let report = push(ctx, &v2, "m-v1").await.unwrap();
            assert_eq!(report.number, 1);
            let to = machine.home.path().join("back");
            pull(ctx, "m-v1", &to).await.unwrap();
            assert_eq!(files(&to), files(&v2));
            settled(ctx).await;
        },
    )
    .await;
}

#[tokio::test]
async fn pull_stopped_anywhere_leaves_the_destination_as_it_was_or_new() {
    at_every_call(
        async |machine, remote, format| {
            let ctx = machine.context(remote, format, None, None);
            push(&ctx, &machine.directory("v1", &V1), "m-v1").await.unwrap();
            push(&ctx, &machine.directory("v2", &V2), "m-v1").await.unwrap();
            pull(&ctx, "m-v1@1", &machine.home.path().join("here")).await.unwrap();
            // Other local copies must not serve, or no call would be made for content.
            std::fs::remove_dir_all(machine.home.path().join("dirs")).unwrap();
        },
        async |ctx| pull(ctx, "m-v1", &ctx.env.cwd.join("here")).await.map(drop),
        async |ctx, machine| {
            let to = machine.home.path().join("here");
            let now = files(&to);
            let (one, two) = (files(&machine.directory("v1", &V1)), files(&machine.directory("v2", &V2)));
            assert!(now == one || now == two, "half: {now:?}");
            pull(ctx, "m-v1", &to).await.unwrap();
            assert_eq!(files(&to), two);
        },
    )
    .await;
}

#[tokio::test]
async fn deploy_and_remove_stopped_anywhere() {
    at_every_call(
        async |machine, remote, format| {
            let ctx = machine.context(remote, format, None, None);
            push(&ctx, &machine.directory("v1", &V1), "m-v1").await.unwrap();
            push(&ctx, &machine.directory("v2", &V2), "m-v2").await.unwrap();
            deploy::deploy(&ctx, "m-v1", false).await.unwrap();
        },
        async |ctx| {
            deploy::deploy(ctx, "m-v2", false).await?;
            remove::remove(ctx, "m-v1", false).await?;
            remove::restore(ctx, "m-v1", false).await.map(drop)
        },
        async |ctx, machine| {
            settled(ctx).await;
            deploy::deploy(ctx, "m-v2", false).await.unwrap();
            let models = list::list(ctx, &list::Request { all: true, ..Default::default() }).await.unwrap().models;
            if models.iter().any(|model| model.id.as_str() == "m-v1" && model.status == Status::Removed) {
                remove::restore(ctx, "m-v1", false).await.unwrap();
            }
            let to = machine.home.path().join("back");
            pull(ctx, "m-v1", &to).await.unwrap();
            assert_eq!(files(&to), files(&machine.directory("v1", &V1)));
            settled(ctx).await;
        },
    )
    .await;
}

#[tokio::test]
async fn prune_stopped_anywhere_deletes_nothing_that_is_wanted() {
    at_every_call(
        async |machine, remote, format| {
            let ctx = machine.context(remote, format, None, None);
            let dir = machine.directory("v1", &V1);
            for content in [b"1".as_slice(), b"2", b"3"] {
                std::fs::write(dir.join("adapter_model.safetensors"), content).unwrap();
                push(&ctx, &dir, "m-v1").await.unwrap();
            }
        },
        async |ctx| prune::prune(ctx, &prune::Request { keep: Some(1), dry_run: false }).await.map(drop),
        async |ctx, machine| {
            prune::prune(ctx, &prune::Request { keep: Some(1), dry_run: false }).await.unwrap();
            let to = machine.home.path().join("back");
            pull(ctx, "m-v1", &to).await.unwrap();
            assert_eq!(files(&to)["adapter_model.safetensors"], b"3");
            settled(ctx).await;
        },
    )
    .await;
}

#[tokio::test]
async fn upkeep_stopped_anywhere_is_still_due_and_then_done() {
    let quarterly = maintain::Request { period: Some(Period::Quarterly), dry_run: false };
    at_every_call(
        async |machine, remote, format| {
            let ctx = machine.context(remote, format, None, None);
            let dir = machine.directory("v1", &V1);
            // One after the other within the hour: all but the newest came to nothing.
            for content in [b"1".as_slice(), b"2", b"3"] {
                std::fs::write(dir.join("adapter_model.safetensors"), content).unwrap();
                push(&ctx, &dir, "m-v1").await.unwrap();
            }
        },
        async |ctx| maintain::maintain(ctx, &quarterly).await.map(drop),
        async |ctx, machine| {
            maintain::maintain(ctx, &quarterly).await.unwrap();
            let due = maintain::maintain(ctx, &maintain::Request { dry_run: true, ..quarterly }).await.unwrap();
            assert!(due.tasks.iter().all(|task| !task.due && task.steps.is_empty()), "{due:?}");
            let models = list::list(ctx, &list::Request::default()).await.unwrap().models;
            assert_eq!(models[0].revisions, 1);
            let to = machine.home.path().join("back");
            pull(ctx, "m-v1", &to).await.unwrap();
            assert_eq!(files(&to)["adapter_model.safetensors"], b"3");
            // Through the trash: it comes back.
            remove::restore(ctx, "m-v1@1", false).await.unwrap();
            settled(ctx).await;
        },
    )
    .await;
}

async fn file_push(ctx: &modelkeep_ops::Context, path: &Path) -> modelkeep_core::Result<file::push::Report> {
    let request = file::push::Request { path: path.to_owned(), to: Some("datasets".to_owned()), ..Default::default() };
    file::push::push(ctx, request).await
}

async fn file_pull(ctx: &modelkeep_ops::Context, place: &str, to: &Path) {
    let request = file::pull::Request { place: place.to_owned(), to: Some(to.to_owned()), ..Default::default() };
    file::pull::pull(ctx, &request).await.unwrap();
}

/// What a person finds at a place of the store, in its one file.
async fn shown(remote: &dyn Remote, path: &str) -> Option<Vec<u8>> {
    let object = modelkeep_remote::Object::at(path.parse().unwrap());
    remote.read(&object, 0..1 << 20).await.ok().map(|bytes| bytes.to_vec())
}

#[tokio::test]
async fn a_file_filed_again_and_stopped_anywhere_is_the_old_or_the_new_one() {
    at_every_call(
        async |machine, remote, format| {
            let ctx = machine.context(remote, format, None, None);
            let file = machine.directory("data", &[("train.csv", b"a,b\n1,2\n")]).join("train.csv");
            file_push(&ctx, &file).await.unwrap();
            std::fs::write(&file, b"a,b\n1,2\n3,4\n").unwrap();
        },
        async |ctx| file_push(ctx, &ctx.env.cwd.join("dirs/data/train.csv")).await.map(drop),
        async |ctx, machine| {
            // What was committed can be had at any moment.
            let to = machine.home.path().join("back1.csv");
            file_pull(ctx, "datasets/train.csv@1", &to).await;
            assert_eq!(std::fs::read(&to).unwrap(), b"a,b\n1,2\n");
            let report = file_push(ctx, &machine.home.path().join("dirs/data/train.csv")).await.unwrap();
            assert_eq!(report.number, 2);
            let to = machine.home.path().join("back2.csv");
            file_pull(ctx, "train.csv", &to).await;
            assert_eq!(std::fs::read(&to).unwrap(), b"a,b\n1,2\n3,4\n");
            settled(ctx).await;
            let store = ctx.store().await.unwrap();
            assert_eq!(shown(&*store.remote, "datasets/train.csv").await.unwrap(), b"a,b\n1,2\n3,4\n");
        },
    )
    .await;
}

#[tokio::test]
async fn a_filed_folder_removed_and_restored_and_stopped_anywhere() {
    at_every_call(
        async |machine, remote, format| {
            let ctx = machine.context(remote, format, None, None);
            file_push(&ctx, &machine.directory("banking77", &[("train.csv", b"1"), ("sub/test.csv", b"22")]))
                .await
                .unwrap();
        },
        async |ctx| {
            remove::remove(ctx, "datasets/banking77", false).await?;
            remove::restore(ctx, "datasets/banking77", false).await.map(drop)
        },
        async |ctx, machine| {
            settled(ctx).await;
            let all = file::list::Request { all: true, ..Default::default() };
            if file::list::list(ctx, &all).await.unwrap().files[0].removed {
                remove::restore(ctx, "datasets/banking77", false).await.unwrap();
            }
            let to = machine.home.path().join("back");
            file_pull(ctx, "datasets/banking77", &to).await;
            assert_eq!(files(&to), files(&machine.home.path().join("dirs/banking77")));
            settled(ctx).await;
            let store = ctx.store().await.unwrap();
            assert_eq!(shown(&*store.remote, "datasets/banking77/sub/test.csv").await.unwrap(), b"22");
        },
    )
    .await;
}
