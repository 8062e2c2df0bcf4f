//! What is stopped half-way, happens twice at once, or meets a disk that fails, and must come to a good end.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use jiff::SignedDuration;
use modelkeep_core::{Error, Kind, Result, layout};
use modelkeep_ops::{adopt, deploy, log, prune, pull as pulling, push as pushing, repair, show, verify};
use modelkeep_remote::layer::{Call, Fault, Hook, Strike, Verdict};
use modelkeep_remote::memory::Profile;
use modelkeep_remote::{Inline, MemoryRemote, Object, Remote};

use crate::world::{Ground, Machine, files, pull, push, refused, settled};

const OLD: [(&str, &[u8]); 2] = [("weights.safetensors", b"the old bytes"), ("benchmark.json", br#"{"f1":0.5}"#)];
const NEW: [(&str, &[u8]); 2] = [("weights.safetensors", b"the new bytes"), ("benchmark.json", br#"{"f1":0.7}"#)];

async fn empty(remote: &dyn Remote, folder: &modelkeep_core::path::RemotePath) {
    for entry in remote.list(folder, Inline::No).await.unwrap() {
        remote.delete(&entry.object()).await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_log_makes_nothing_forgotten() {
    for registry_too in [false, true] {
        for pushed_since in [false, true] {
            let store = MemoryRemote::new(Profile::folder());
            store.set_now("2026-11-23T10:00:00Z".parse().unwrap());
            let remote: Arc<dyn Remote> = Arc::new(store.clone());
            let ana = Machine::new("ana");
            let format = ana.init(&remote).await;
            let ctx = ana.context(&remote, &format, None, None);
            for (name, content) in [("old", OLD), ("new", NEW)] {
                push(&ctx, &ana.directory(name, &content), "m-v1").await.unwrap();
            }
            // A machine that never saw the log, forty days after it was lost.
            empty(&*remote, &layout::log()).await;
            if registry_too {
                remote.delete(&Object::at(layout::registry())).await.unwrap();
            }
            let ben = Machine::new("ben");
            store.advance(SignedDuration::from_hours(24 * 40));
            ben.clock.advance(SignedDuration::from_hours(24 * 40));
            let ctx = ben.context(&remote, &format, None, None);
            if pushed_since {
                push(&ctx, &ben.directory("other", &[("a.bin", b"a")]), "other-v1").await.unwrap();
            }
            let pruned = prune::prune(&ctx, &prune::Request::default()).await.unwrap();
            assert!(pruned.steps.is_empty(), "{:#?}", pruned.steps);
            let told = repair::repair(&ctx, &repair::Request { dry_run: true, ..Default::default() }).await.unwrap();
            assert!(told.left.iter().any(|left| left.contains("modelkeep adopt")), "{:#?}", told.left);
            // Taking it in can be stopped anywhere and run again.
            for call in 1.. {
                let fault = Arc::new(Fault::at_call(call, Strike::After));
                let hooked = ben.context(&remote, &format, Some(Arc::clone(&fault) as Arc<dyn Hook>), None);
                let _ = adopt::adopt(&hooked, &adopt::Request { now: true, ..Default::default() }).await;
                if fault.seen() < call {
                    break;
                }
            }
            for (number, content) in [(1, OLD), (2, NEW)] {
                let to = ben.home.path().join(format!("back-{number}"));
                pull(&ctx, &format!("m-v1@{number}"), &to).await.unwrap();
                assert_eq!(files(&to)["weights.safetensors"], content[0].1);
            }
            settled(&ctx).await;
        }
    }
}

#[tokio::test]
async fn a_newest_push_that_is_gone_is_stored_again_by_pushing_it() {
    let ground = Ground::new().await;
    let dir = ground.ana.directory("run", &OLD);
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    fs::remove_dir_all(ground.root.join("models/finetuned/m-v1")).unwrap();
    let again = push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    assert_eq!((again.created, again.number), (false, 1));
    assert!(again.warnings.iter().any(|warning| warning.contains("stored again")), "{:?}", again.warnings);
    settled(&ground.ctx()).await;
    let ben = Machine::new("ben");
    let to = ben.home.path().join("back");
    pull(&ground.of(&ben), "m-v1@1", &to).await.unwrap();
    assert_eq!(files(&to), files(&dir));
}

#[tokio::test]
async fn a_push_that_is_gone_is_built_anew_from_where_its_content_still_is() {
    let ground = Ground::new().await;
    let dir = ground.ana.directory("run", &OLD);
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    push(&ground.ctx(), &dir, "spare-v1").await.unwrap();
    fs::remove_dir_all(ground.root.join("models/finetuned/m-v1")).unwrap();
    let ben = Machine::new("ben");
    settled(&ground.of(&ben)).await;
    assert_eq!(fs::read(ground.root.join("models/finetuned/m-v1/weights.safetensors")).unwrap(), OLD[0].1);
}

#[tokio::test]
async fn a_repair_that_is_stopped_is_finished_by_the_next_and_changes_no_number() {
    for call in 1.. {
        let ground = Ground::new().await;
        push(&ground.ctx(), &ground.ana.directory("old", &OLD), "m-v1").await.unwrap();
        push(&ground.ctx(), &ground.ana.directory("old", &OLD), "spare-v1").await.unwrap();
        push(&ground.ctx(), &ground.ana.directory("new", &NEW), "m-v1").await.unwrap();
        fs::remove_dir_all(ground.ana.home.path().join("dirs")).unwrap();
        let versions = ground.root.join(".modelkeep/versions/m-v1");
        let first = fs::read_dir(&versions).unwrap().next().unwrap().unwrap().path();
        fs::write(first.join("weights.safetensors"), b"not these bytes").unwrap();
        let fault = Arc::new(Fault::at_call(call, Strike::After));
        let hooked = ground.hooked(Arc::clone(&fault) as Arc<dyn Hook>);
        let stopped = repair::repair(&hooked, &repair::Request::default()).await.is_err();
        settled(&ground.ctx()).await;
        let shown = show::show(&ground.ctx(), "m-v1").await.unwrap();
        assert_eq!((shown.item.number, shown.item.revisions), (Some(2), 2), "stopped at call {call}");
        let to = ground.ana.home.path().join("back");
        pull(&ground.ctx(), "m-v1@1", &to).await.unwrap();
        assert_eq!(files(&to)["weights.safetensors"], OLD[0].1, "stopped at call {call}");
        if !stopped && fault.seen() < call {
            break;
        }
    }
}

#[tokio::test]
async fn taking_edited_content_in_can_be_stopped_anywhere() {
    for call in 1.. {
        let ground = Ground::new().await;
        push(&ground.ctx(), &ground.ana.directory("run", &OLD), "m-v1").await.unwrap();
        deploy::deploy(&ground.ctx(), "m-v1", false).await.unwrap();
        fs::write(ground.root.join("models/finetuned/m-v1/weights.safetensors"), "edited in place").unwrap();
        let request = adopt::Request { now: true, edited: true, ..Default::default() };
        let fault = Arc::new(Fault::at_call(call, Strike::After));
        let _ = adopt::adopt(&ground.hooked(Arc::clone(&fault) as Arc<dyn Hook>), &request).await;
        adopt::adopt(&ground.ctx(), &request).await.unwrap();
        settled(&ground.ctx()).await;
        let shown = show::show(&ground.ctx(), "m-v1").await.unwrap();
        assert_eq!((shown.item.number, shown.item.revisions), (Some(2), 1), "stopped at call {call}");
        assert!(shown.item.deployed, "stopped at call {call}");
        if fault.seen() < call {
            break;
        }
    }
}

#[tokio::test]
async fn of_an_event_only_a_part_is_there_the_machine_that_knows_it_writes_it_again() {
    let ground = Ground::new().await;
    push(&ground.ctx(), &ground.ana.directory("run", &OLD), "m-v1").await.unwrap();
    let event = fs::read_dir(ground.root.join(".modelkeep/log")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&event).unwrap();
    fs::write(&event, &whole[..whole.len() / 2]).unwrap();
    let found = verify::verify(&ground.ctx(), None, false).await.unwrap();
    assert!(found.problems.iter().any(|problem| problem.path.contains(".modelkeep/log")), "{:#?}", found.problems);
    settled(&ground.ctx()).await;
    assert_eq!(fs::read(&event).unwrap(), whole);
    settled(&ground.of(&Machine::new("ben"))).await;
}

#[tokio::test]
async fn what_was_mended_before_the_log_was_lost_is_taken_in_like_the_rest() {
    let ground = Ground::new().await;
    push(&ground.ctx(), &ground.ana.directory("old", &OLD), "m-v1").await.unwrap();
    push(&ground.ctx(), &ground.ana.directory("new", &NEW), "m-v1").await.unwrap();
    fs::write(ground.root.join("models/finetuned/m-v1/weights.safetensors"), b"not these bytes").unwrap();
    settled(&ground.ctx()).await;
    fs::remove_dir_all(ground.root.join(".modelkeep/log")).unwrap();
    let ben = Machine::new("ben");
    let ctx = ground.of(&ben);
    adopt::adopt(&ctx, &adopt::Request { now: true, ..Default::default() }).await.unwrap();
    assert!(adopt::adopt(&ctx, &adopt::Request::default()).await.unwrap().steps.is_empty());
    for (number, content) in [(1, OLD), (2, NEW)] {
        let to = ben.home.path().join(format!("back-{number}"));
        pull(&ctx, &format!("m-v1@{number}"), &to).await.unwrap();
        assert_eq!(files(&to)["weights.safetensors"], content[0].1);
    }
    settled(&ctx).await;
}

/// Bytes of one file cannot be read, as on a bad sector.
#[derive(Debug)]
struct BadSector(&'static str);

#[async_trait]
impl Hook for BadSector {
    async fn before(&self, call: &Call) -> Result<()> {
        let reads = matches!(call.method, "read" | "fetch" | "copy");
        if reads && call.path.as_str() == self.0 {
            return Err(Error::local(format!("reading {}: input/output error", call.path)));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_bad_sector_is_damage_and_stops_nothing_else() {
    let bad = "models/finetuned/m-v1/weights.safetensors";
    let ground = Ground::new().await;
    let dir = ground.ana.directory("run", &OLD);
    push(&ground.ctx(), &dir, "m-v1").await.unwrap();
    let ben = Machine::new("ben");
    let on = |machine: &Machine| machine.context(&ground.remote, &ground.format, Some(Arc::new(BadSector(bad))), None);
    let to = ben.home.path().join("back");
    // The only copy: the error names the file and the reason.
    refused_plainly(pull(&on(&ben), "m-v1", &to).await, Kind::Local, bad);
    push(&ground.ctx(), &dir, "spare-v1").await.unwrap();
    let found = verify::verify(&on(&ben), None, true).await.unwrap();
    let damaged: Vec<&str> = found.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(damaged, [bad]);
    pull(&on(&ben), "m-v1", &to).await.unwrap();
    assert_eq!(files(&to), files(&dir));
    repair::repair(&on(&ben), &repair::Request { deep: true, ..Default::default() }).await.unwrap();
    settled(&ground.ctx()).await;
}

#[track_caller]
fn refused_plainly<T: std::fmt::Debug>(result: Result<T>, kind: Kind, names: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{}", error.full_message());
    assert!(error.full_message().contains(names), "{}", error.full_message());
}

/// The answer to the first call of a kind is lost, and the call is made again.
#[derive(Debug)]
struct LostAnswer(&'static str, AtomicBool);

impl Hook for LostAnswer {
    fn after(&self, call: &Call, _: u32, error: Option<&Error>) -> Verdict {
        if call.method == self.0 && error.is_none() && !self.1.swap(true, Ordering::Relaxed) {
            return Verdict::Again(std::time::Duration::ZERO);
        }
        Verdict::Return
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_no_conflict() {
    for method in ["write", "write_many", "create_dir", "rename", "flush"] {
        let ground = Ground::new().await;
        let dir = ground.ana.directory("run", &OLD);
        let hook = Arc::new(LostAnswer(method, AtomicBool::new(false)));
        push(&ground.hooked(Arc::clone(&hook) as Arc<dyn Hook>), &dir, "m-v1").await.unwrap();
        assert!(hook.1.load(Ordering::Relaxed), "{method} was never called");
        settled(&ground.ctx()).await;
    }
}

/// Counts the bytes that are told of in a stage, and keeps what was told ahead.
#[derive(Debug, Default)]
struct Bar(std::sync::Mutex<(Option<u64>, u64)>);

impl modelkeep_ops::Observer for Bar {
    fn tell(&self, progress: modelkeep_ops::Progress) {
        let mut bar = self.0.lock().unwrap();
        match progress {
            modelkeep_ops::Progress::Stage { bytes, .. } => *bar = (bytes, 0),
            modelkeep_ops::Progress::Bytes(bytes) => bar.1 += bytes,
            _ => {}
        }
    }
}

#[tokio::test]
async fn of_each_byte_that_is_stored_the_bar_hears_once() {
    let ground = Ground::new().await;
    let large = vec![7; 3 << 20];
    let content: [(&str, &[u8]); 2] = [("large.bin", &large), ("small.json", b"{}")];
    let total = 2 + large.len() as u64;
    let pushed = async |hook: Option<Arc<dyn Hook>>, model: &str| {
        // Written anew each time, so that it has to be read to know what it is.
        let dir = ground.ana.directory("run", &content);
        let bar = Arc::new(Bar::default());
        let mut ctx = ground.ana.context(&ground.remote, &ground.format, hook, None);
        ctx.observer = Arc::clone(&bar) as Arc<dyn modelkeep_ops::Observer>;
        let result = push(&ctx, &dir, model).await;
        let heard = *bar.0.lock().unwrap();
        (result.is_ok(), heard)
    };
    assert_eq!(pushed(None, "m-v1").await, (true, (Some(total), total)), "sent");
    assert_eq!(pushed(None, "n-v1").await, (true, (Some(total), total)), "copied there");
    let stop = || Some(Arc::new(StopAt("rename", layout::staging())) as Arc<dyn Hook>);
    assert_eq!(pushed(stop(), "o-v1").await, (false, (Some(total), total)), "stopped before it is committed");
    assert_eq!(pushed(None, "o-v1").await, (true, (Some(total), total)), "it had arrived");
}

#[tokio::test]
async fn two_pulls_to_one_place_and_two_pushes_of_one_directory_take_turns() {
    let ground = Ground::new().await;
    let dir = ground.ana.directory("run", &OLD);
    let (one, other) = (ground.ctx(), ground.ctx());
    let (one, other) = tokio::join!(push(&one, &dir, "m-v1"), push(&other, &dir, "m-v1"));
    let mut created = [one.unwrap().created, other.unwrap().created];
    created.sort_unstable();
    assert_eq!(created, [false, true]);
    push(&ground.ctx(), &ground.ana.directory("new", &NEW), "m-v1").await.unwrap();
    let ben = Machine::new("ben");
    let to = ben.home.path().join("back");
    pull(&ground.of(&ben), "m-v1@1", &to).await.unwrap();
    let (one, other) = (ground.of(&ben), ground.of(&ben));
    let (one, other) = tokio::join!(pull(&one, "m-v1", &to), pull(&other, "m-v1", &to));
    assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    assert_eq!(files(&to), files(&ground.ana.home.path().join("dirs/new")));
}

#[tokio::test]
async fn an_older_push_brings_the_base_model_that_it_was_trained_from() {
    let ground = Ground::new().await;
    let ctx = ground.ctx();
    for base in ["base-one", "base-two"] {
        let path = ground.ana.directory(base, &[("model.bin", base.as_bytes())]);
        let kind = Some(modelkeep_core::manifest::ModelKind::Base);
        pushing::push(&ctx, pushing::Request { path, model: base.to_owned(), kind, ..Default::default() })
            .await
            .unwrap();
    }
    for (base, content) in [("base-one", OLD), ("base-two", NEW)] {
        let path = ground.ana.directory(&format!("of-{base}"), &content);
        let base = Some(base.to_owned());
        pushing::push(&ctx, pushing::Request { path, model: "m-v1".to_owned(), base, ..Default::default() })
            .await
            .unwrap();
    }
    for (number, base) in [(1, "base-one"), (2, "base-two")] {
        let to = ground.ana.home.path().join(format!("back-{number}"));
        let request = pulling::Request { to: Some(to), with_base: true, ..Default::default() };
        let report = pulling::pull(&ctx, &request, &format!("m-v1@{number}")).await.unwrap();
        assert_eq!(report.base.unwrap().model.as_str(), base);
    }
}

#[tokio::test]
async fn what_the_registry_cannot_mean_is_said_when_it_is_taken_in() {
    let scratch = crate::world::scratch();
    let root = scratch.path().join("remote");
    fs::create_dir_all(root.join("models/finetuned/m-v1")).unwrap();
    fs::create_dir_all(root.join("docs")).unwrap();
    fs::write(root.join("models/finetuned/m-v1/weights.safetensors"), b"w").unwrap();
    fs::write(root.join("docs/model_registry.json"), br#"{"models":[{"id":"m-v1","metrics":"good"}]}"#).unwrap();
    let ground = Ground::on(scratch, root).await;
    let report = adopt::adopt(&ground.ctx(), &adopt::Request { now: true, ..Default::default() }).await.unwrap();
    let said = report.registry.join("\n");
    assert!(said.contains("`m-v1`: its metrics are no object"), "{said}");
    assert!(ground.entry("m-v1")["metrics"].is_object());
    settled(&ground.ctx()).await;
}

#[tokio::test]
async fn what_is_shown_is_what_was_deployed_when_log_and_registry_are_lost() {
    let ground = Ground::new().await;
    push(&ground.ctx(), &ground.ana.directory("old", &OLD), "m-v1").await.unwrap();
    deploy::deploy(&ground.ctx(), "m-v1", false).await.unwrap();
    let path = ground.ana.directory("new", &NEW);
    let request = pushing::Request { path, model: "m-v1".to_owned(), even_if_deployed: true, ..Default::default() };
    let first = show::show(&ground.ctx(), "m-v1").await.unwrap().item.revision;
    pushing::push(&ground.ctx(), request).await.unwrap();
    fs::remove_dir_all(ground.root.join(".modelkeep/log")).unwrap();
    fs::remove_file(ground.root.join("docs/model_registry.json")).unwrap();
    let ben = Machine::new("ben");
    let ctx = ground.of(&ben);
    adopt::adopt(&ctx, &adopt::Request { now: true, ..Default::default() }).await.unwrap();
    let store = ctx.store().await.unwrap();
    let view = log::refresh(&ctx, &store).await.unwrap();
    assert_eq!(view.state.deployed().map(|deployed| deployed.revision), first);
    settled(&ctx).await;
}

#[tokio::test]
async fn a_push_that_waits_to_be_confirmed_is_confirmed_by_a_client_that_sees_the_store() {
    let ground = Ground::new().await;
    // What a write-back mount leaves: the same event under its pending name.
    push(&ground.ctx(), &ground.ana.directory("run", &OLD), "m-v1").await.unwrap();
    let event = fs::read_dir(ground.root.join(".modelkeep/log")).unwrap().next().unwrap().unwrap().path();
    let pending = event.with_extension("pending.json");
    fs::rename(&event, &pending).unwrap();
    let weights = ground.root.join("models/finetuned/m-v1/weights.safetensors");
    fs::rename(&weights, ground.root.join("not-here-yet")).unwrap();
    let ben = Machine::new("ben");
    let waits = repair::repair(&ground.of(&ben), &repair::Request::default()).await.unwrap();
    assert!(pending.exists() && waits.left.iter().any(|left| left.contains("not arrived whole")), "{waits:#?}");
    fs::rename(ground.root.join("not-here-yet"), &weights).unwrap();
    settled(&ground.of(&ben)).await;
    assert!(event.exists() && !pending.exists());
}

#[tokio::test]
async fn a_push_that_was_never_committed_is_listed_and_committed_when_asked() {
    let ground = Ground::new().await;
    push(&ground.ctx(), &ground.ana.directory("old", &OLD), "m-v1").await.unwrap();
    let dir = ground.ana.directory("new", &NEW);
    let fault = Arc::new(StopAt("write", layout::log()));
    push(&ground.hooked(fault), &dir, "m-v1").await.unwrap_err();
    let told = repair::repair(&ground.ctx(), &repair::Request::default()).await.unwrap();
    let line = told.left.iter().find(|left| left.contains("--commit")).expect("it is listed");
    let txn = line.rsplit(' ').next().unwrap().to_owned();
    let request = repair::Request { commit: Some(txn), ..Default::default() };
    repair::repair(&ground.ctx(), &request).await.unwrap();
    settled(&ground.ctx()).await;
    let to = ground.ana.home.path().join("back");
    pull(&ground.ctx(), "m-v1", &to).await.unwrap();
    assert_eq!(files(&to), files(&dir));
    let unknown = repair::Request { commit: Some("0".repeat(32)), ..Default::default() };
    refused(repair::repair(&ground.ctx(), &unknown).await, Kind::NotFound, &["no aborted push"]);
}

/// Stops before a call of that method below that place.
#[derive(Debug)]
struct StopAt(&'static str, modelkeep_core::path::RemotePath);

#[async_trait]
impl Hook for StopAt {
    async fn before(&self, call: &Call) -> Result<()> {
        if call.method == self.0 && call.path.below(&self.1).is_some() {
            return Err(Error::new(Kind::Interrupted, "stopped"));
        }
        Ok(())
    }
}
