//! More than one account, more than one folder of a name, and a Drive that is full.

use modelkeep_core::Kind;
use modelkeep_ops::{list, remotes, repair};
use modelkeep_remote::DriveRemote;
use modelkeep_remote::drive::auth::{Auth, Fixed};
use modelkeep_remote::drive::{Endpoints, Options, Secret};
use modelkeep_testkit::drive::Options as Fake;

use super::{Cloud, DAY, DRIVE, ME, Person, settled, tree};
use crate::world::{files, pull, refused};

const BOB: &str = "bob@example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_accounts_use_one_shared_folder() {
    let (cloud, ana) = Cloud::new().await;
    let one = ana.machine.directory("one", &[("model.bin", b"of ana"), ("tok/t", b"t")]);
    ana.push(&one, "m-v1").await.unwrap();
    let bob = Person::new(&cloud.server, BOB, "bob");
    let folder = remotes::share(&ana.ctx(), None, BOB, true).await.unwrap().folder;
    let url = format!("gdrive:id:{folder}");
    let joined = bob.init(&url).await.unwrap();
    assert_eq!((joined.account.as_deref(), joined.folder.as_deref()), (Some(BOB), Some(&*folder)));

    // Each sees what the other does, and each other's files count as anybody's.
    let two = bob.machine.directory("two", &[("model.bin", b"of bob"), ("tok/t", b"t")]);
    let pushed = bob.push(&two, "m-v1").await.unwrap();
    assert_eq!((pushed.number, pushed.wrote.confirmed), (2, true));
    ana.push(&ana.machine.directory("three", &[("model.bin", b"of ana again")]), "m-v1").await.unwrap();
    bob.push(&one_of(&bob), "n-v1").await.unwrap();
    for person in [&ana, &bob] {
        let models = list::list(&person.ctx(), &list::Request::default()).await.unwrap().models;
        assert_eq!(models.iter().map(|model| model.revisions).collect::<Vec<_>>(), [3, 1]);
        for (what, wanted) in [("m-v1@1", &one), ("m-v1@2", &two)] {
            let to = tempfile::tempdir().unwrap();
            pull(&person.ctx(), what, &to.path().join("here")).await.unwrap();
            assert_eq!(files(&to.path().join("here")), files(wanted));
        }
    }
    settled(&bob).await;
    settled(&ana).await;

    // Settings that say one account, and the access of another: both are named.
    let stranger = Person::new(&cloud.server, "eve@example.com", "eve");
    std::fs::copy(ana.settings_file(), stranger.settings_file()).unwrap();
    let listed = list::list(&stranger.ctx(), &list::Request::default()).await;
    refused(listed, Kind::Auth, &[ME, "eve@example.com"]);
    std::fs::remove_file(stranger.settings_file()).unwrap();
    refused(stranger.init(&url).await, Kind::NotFound, &[&folder]);
}

fn one_of(bob: &Person) -> std::path::PathBuf {
    bob.machine.directory("n", &[("model.bin", b"another")])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_folders_of_one_name_none_is_chosen() {
    let (cloud, ana) = Cloud::new().await;
    let remote = ana.remote().await;
    let mut ids = vec![remote.describe().trim_start_matches("gdrive:").to_owned()];
    // Two more, as somebody makes them in a browser.
    for _ in 0..2 {
        let options = Options { endpoints: Endpoints::all_at(cloud.server.url()), ..Options::default() };
        let auth = Auth::new(Fixed(Secret::new(cloud.server.token(ME, "browser", DRIVE, DAY))));
        ids.push(DriveRemote::create(options, auth, "Banking LLM").await.unwrap().id().to_owned());
    }
    let dan = cloud.machine("dan");
    std::fs::remove_file(dan.settings_file()).unwrap();
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    refused(dan.init("gdrive:Banking LLM").await, Kind::Conflict, &names);
    // Whoever has the folder's id is not disturbed.
    ana.push(&one_of(&ana), "n-v1").await.unwrap();
    settled(&ana).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_drive_stops_a_push_and_shows_nothing_of_it() {
    let (cloud, ana) = Cloud::with(Fake { quota: Some(3_000_000), ..Fake::default() }).await;
    ana.push(&one_of(&ana), "n-v1").await.unwrap();
    let before = tree(&*ana.remote().await).await;
    for size in [2_000_000, 6_000_000] {
        let files: [(&str, &[u8]); 2] = [("a.bin", &vec![1; size]), ("b.bin", &vec![2; size])];
        let dir = ana.machine.directory(&format!("large-{size}"), &files);
        let said = refused(ana.push(&dir, "m-v1").await, Kind::Quota, &["MB"]);
        assert!(said.contains("needs") && said.contains("free"), "{said}");
    }
    let after = tree(&*ana.remote().await).await;
    let seen = |all: &[String]| -> Vec<String> {
        all.iter().filter(|path| !path.starts_with(".modelkeep/staging")).cloned().collect()
    };
    assert_eq!(seen(&after), seen(&before), "nothing half-made is shown");
    assert_eq!(list::list(&ana.ctx(), &list::Request::default()).await.unwrap().models.len(), 1);
    let report = repair::repair(&ana.ctx(), &repair::Request::default()).await.unwrap();
    assert!(!report.changed, "{report:#?}");
    drop(cloud);
}
