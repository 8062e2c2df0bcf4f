//! A short life of a store while everything goes wrong: nothing is lost, no name is there twice, every pull is equal.

use futures_util::{StreamExt as _, stream};
use modelkeep_core::Kind;
use modelkeep_ops::{deploy, list, remove};

use super::{Cloud, Person, full, settled};
use crate::world::{files, pull};

/// So often is a command typed again before somebody gives up.
const PATIENCE: usize = 40;

/// Large enough to go up in parts.
fn weights(seed: u8) -> Vec<u8> {
    (0..5_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

/// So many lives of a mixture at once.
const AT_ONCE: usize = 8;

/// Runs a command until it works; what stops it may only be the network.
async fn patiently<T>(what: &str, mut work: impl AsyncFnMut() -> modelkeep_core::Result<T>) -> T {
    let mut last = None;
    for _ in 0..PATIENCE {
        match work().await {
            Ok(done) => return done,
            Err(error) => {
                // A listing that is late shows no model to somebody who comes new to it.
                let kinds = [Kind::Unavailable, Kind::Auth, Kind::Quota, Kind::Conflict, Kind::NotFound];
                let expected = kinds.contains(&error.kind());
                assert!(expected, "{what}: {}", error.full_message());
                last = Some(error);
            }
        }
    }
    panic!("{what} never works: {}", last.unwrap().full_message());
}

async fn live(spec: &str) {
    println!("faults: {spec}");
    let (cloud, ana) = Cloud::new().await;
    let mut ben = cloud.machine("ben");
    ben.set("MODELKEEP_GDRIVE_STALL_MS", "300");
    let mut ana = ana;
    ana.set("MODELKEEP_GDRIVE_STALL_MS", "300");
    let small: &[(&str, &[u8])] = &[("config.json", b"{}"), ("tok/a", b"a"), ("tok/b", b"b"), ("model.bin", b"small")];
    let (one, large) = (ana.machine.directory("one", small), weights(1));
    let two = ana.machine.directory("two", &[("config.json", b"{}"), ("tok/a", b"a"), ("model.bin", &large)]);
    cloud.server.fault(spec).unwrap();

    let first = patiently("the first push", async || ana.push(&one, "m-v1").await).await;
    let second = patiently("a push of other content", async || ana.push(&two, "m-v1").await).await;
    patiently("somebody else's push", async || ben.push(&one, "n-v1").await).await;
    patiently("deploying", async || deploy::deploy(&ben.ctx(), "m-v1", false).await).await;
    patiently("removing", async || {
        match remove::remove(&ana.ctx(), "n-v1", false).await {
            // An earlier attempt did it, and its answer was lost.
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            other => other.map(drop),
        }
    })
    .await;
    patiently("restoring", async || match remove::restore(&ana.ctx(), "n-v1", false).await {
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        other => other.map(drop),
    })
    .await;
    let back = ben.machine.home.path().join("back");
    // By its number: while listings are late, what is newest for one is not yet so for the other.
    let wanted = format!("m-v1@{}", second.number);
    patiently("a pull", async || pull(&ben.ctx(), &wanted, &back).await).await;
    assert_eq!(files(&back), files(&two), "{spec}");

    cloud.server.clear_faults();
    for person in [&mut ana, &mut ben] {
        person.set("MODELKEEP_GDRIVE_STALL_MS", "30000");
    }
    all_is_there(&ana, first.number, &one, &two, spec).await;
    settled(&ben).await;
    all_is_there(&cloud.machine("cyd"), first.number, &one, &two, spec).await;
}

async fn all_is_there(person: &Person, first: u64, one: &std::path::Path, two: &std::path::Path, spec: &str) {
    let models = list::list(&person.ctx(), &list::Request::default()).await.unwrap().models;
    let ids: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(ids, ["m-v1", "n-v1"], "{spec}");
    // Other copies on this machine must not stand in for the store's.
    for (what, wanted) in [(format!("m-v1@{first}"), one), ("m-v1".to_owned(), two), ("n-v1".to_owned(), one)] {
        let to = tempfile::tempdir().unwrap();
        pull(&person.ctx(), &what, &to.path().join("here")).await.unwrap();
        assert_eq!(files(&to.path().join("here")), files(wanted), "{what}, {spec}");
    }
}

macro_rules! survives {
    ($($name:ident: $spec:literal;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            live($spec).await;
        }
    )+};
}

survives! {
    too_many_requests: "429:0.1,seed:1";
    limits_as_403: "403rate:0.1,seed:2";
    the_servers_own_trouble: "503:0.1,5xx:0.05,seed:3";
    cut_connections: "cut:0.1,seed:4";
    lost_replies: "lost-reply:0.1,seed:5";
    sessions_that_end: "expire-session:0.3,seed:6";
    tokens_that_end: "expire-token:0.1,seed:7";
    late_checksums: "late-checksum:0.5,seed:8";
    late_listings: "late-list:0.5,seed:9";
    slow_answers: "slow:0.3,seed:10";
    dead_sockets: "stall:0.02,seed:11";
    short_pages: "short-page:0.5,seed:12";
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixtures() {
    // One again: MODELKEEP_SEED=17 cargo test -p modelkeep-ops drive::faults::mixtures
    let asked = std::env::var("MODELKEEP_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = asked.map_or(0..if full() { 200 } else { 4 }, |seed| seed..seed + 1);
    let mixture = |seed| {
        format!(
            "429:0.03,403rate:0.02,503:0.03,cut:0.03,lost-reply:0.04,expire-session:0.05,expire-token:0.02,\
             late-checksum:0.1,late-list:0.2,slow:0.05,stall:0.003,short-page:0.1,seed:{seed}"
        )
    };
    // They wait more than they work, each with a Drive of its own: several at once.
    let lives = stream::iter(seeds).map(|seed| async move { Box::pin(live(&mixture(seed))).await });
    lives.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}
