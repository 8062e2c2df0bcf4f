//! Everything that goes wrong with a Hub: what may pass is tried again, what may not is told, and never kept.

use std::time::Duration;

use modelkeep_core::Kind;
use modelkeep_hub::access::Access;
use modelkeep_hub::client::Hub;
use modelkeep_testkit::hub::Options;

use crate::desk::{Desk, LARGE, pattern, repo};

const MODEL: &str = "sub/model.safetensors";

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    for fault in [
        "429*3",
        "503*3",
        "503:0.3,seed:5",
        "429*2@info,503*2@tree",
        "cut*4",
        "cut=0*3",
        "cut=70000*3,503*2@resolve,seed:2",
        "moved",
        "moved,cut*3@elsewhere",
        "no-range",
        "no-range,cut*3,seed:3",
    ] {
        let desk = Desk::new();
        desk.server.fault(fault).unwrap();
        let fetched = desk.bring(&desk.hub(), MODEL).await.unwrap_or_else(|error| panic!("{fault}: {error:?}"));
        assert_eq!(fetched, LARGE as u64, "{fault}");
        assert!(desk.has(&pattern(LARGE)), "{fault}");
    }
}

#[tokio::test]
async fn what_may_not_pass_is_told_and_never_kept() {
    for (fault, kind, says) in [
        ("wrong-bytes", Kind::Integrity, "was not kept"),
        ("wrong-bytes,moved", Kind::Integrity, "was not kept"),
        ("short", Kind::Integrity, "the Hub's list says"),
        ("long", Kind::Integrity, "the Hub's list says"),
        ("short,no-range", Kind::Integrity, "the Hub's list says"),
        ("long,no-range", Kind::Integrity, "the Hub's list says"),
        ("gated", Kind::Auth, "gated"),
        ("loop", Kind::Unavailable, "redirects without end"),
        ("503", Kind::Unavailable, "answered 503"),
        ("cut=0", Kind::Unavailable, "the connection"),
    ] {
        let desk = Desk::new();
        let hub = desk.hub();
        let (commit, tree) = desk.listed(&hub).await.unwrap();
        desk.server.fault(fault).unwrap();
        let (place, file) = crate::desk::place(&commit, &tree, MODEL);
        let meter: std::sync::Arc<dyn modelkeep_core::meter::Meter> =
            std::sync::Arc::new(modelkeep_core::meter::NoMeter);
        let failed = modelkeep_hub::fetch::bring(&hub, &desk.dir(), &place, &file, &meter, &|| Ok(())).await;
        let error = failed.expect_err(fault);
        assert_eq!(error.kind(), kind, "{fault}: {error:?}");
        assert!(error.full_message().contains(says), "{fault}: {error:?}");
        assert!(!desk.has(&pattern(LARGE)), "{fault}");
        // The fault over, the same call does it.
        desk.server.clear_faults();
        desk.bring(&hub, MODEL).await.unwrap_or_else(|error| panic!("after {fault}: {error:?}"));
        assert!(desk.has(&pattern(LARGE)), "after {fault}");
    }
}

#[tokio::test]
async fn silence_is_noticed_and_the_rest_comes_over_another_connection() {
    let desk = Desk::new();
    let hub = Hub::new(Access { stall: Duration::from_secs(2), ..desk.access() }).unwrap();
    desk.server.fault("stall=1000000*2@resolve,stall*1@info,stall*1@tree").unwrap();
    assert_eq!(desk.bring(&hub, MODEL).await.unwrap(), LARGE as u64);
    assert!(desk.has(&pattern(LARGE)));
    desk.server.fault("stall@info").unwrap();
    let few = Access { retry: modelkeep_http::Retry { attempts: 2, base: Duration::ZERO }, ..desk.access() };
    let hub = Hub::new(Access { stall: Duration::from_millis(100), ..few }).unwrap();
    let error = hub.info(&repo(), None).await.unwrap_err();
    assert!(error.kind() == Kind::Unavailable && error.full_message().contains("no byte for 0.1 seconds"), "{error:?}");
}

#[tokio::test]
async fn a_token_stays_with_the_hub() {
    let desk = Desk::with(Options { token: Some("hf_token".into()), ..Options::default() });
    desk.server.fault("moved").unwrap();
    desk.bring(&desk.hub(), MODEL).await.unwrap();
    let calls = desk.server.calls();
    assert!(calls.iter().filter(|call| call.name != "elsewhere").all(|call| call.authorized), "{calls:?}");
    let elsewhere: Vec<_> = calls.iter().filter(|call| call.name == "elsewhere").collect();
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|call| !call.authorized), "{elsewhere:?}");
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let desk = Desk::with(Options { token: Some("another".into()), ..Options::default() });
    let of = async |access: Access| Hub::new(access).unwrap().info(&repo(), None).await.unwrap_err();
    let stranger = of(desk.access()).await;
    assert_eq!(stranger.kind(), Kind::NotFound);
    assert!(stranger.hint_text().unwrap().contains("hf auth whoami"), "{stranger:?}");
    let nobody = of(Access { token: None, ..desk.access() }).await;
    assert!(nobody.hint_text().unwrap().contains("hf auth login"), "{nobody:?}");

    let desk = Desk::new();
    let hub = desk.hub();
    let missing = hub.info(&"acme/none".parse().unwrap(), None).await.unwrap_err();
    assert!(missing.kind() == Kind::NotFound && missing.full_message().contains("acme/none"), "{missing:?}");
    let revision = hub.info(&repo(), Some("v9")).await.unwrap_err();
    assert!(revision.kind() == Kind::NotFound && revision.full_message().contains("revision"), "{revision:?}");
    desk.server.fault("gated").unwrap();
    let gated = desk.bring(&hub, MODEL).await.unwrap_err();
    assert!(gated.hint_text().unwrap().contains(&format!("{}/acme/tiny", desk.server.url())), "{gated:?}");
    let away = Access { endpoint: "http://127.0.0.1:9".into(), ..desk.access() };
    let away = of(Access { retry: modelkeep_http::Retry { attempts: 1, base: Duration::ZERO }, ..away }).await;
    assert!(away.kind() == Kind::Unavailable && away.full_message().contains("cannot be reached"), "{away:?}");
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let desk = Desk::with(Options { page: Some(1), ..Options::default() });
    let (_, tree) = desk.listed(&desk.hub()).await.unwrap();
    let paths: Vec<&str> = tree.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["config.json", "sub", MODEL]);
    assert_eq!(desk.server.calls().iter().filter(|call| call.name == "tree").count(), 3);
}
