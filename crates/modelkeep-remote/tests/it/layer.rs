//! What the layers do to calls, on a memory store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::layer::{Call, Fault, Hook, Layer, Retry, Strike, Trace};
use modelkeep_remote::memory::{MemoryRemote, Profile};
use modelkeep_remote::{Mode, Remote};

use crate::{kind, object, path, read, write};

/// Fails the first calls, with one kind of error.
#[derive(Debug)]
struct FailFirst {
    left: AtomicU32,
    kind: Kind,
}

#[async_trait]
impl Hook for FailFirst {
    async fn before(&self, _call: &Call) -> Result<()> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() { Err(Error::new(self.kind, "not now")) } else { Ok(()) }
    }
}

/// A store that fails so often with that kind, under a trace, under retries that do not wait.
fn retried(failures: u32, kind: Kind, attempts: u32) -> (Arc<dyn Remote>, Arc<Trace>) {
    let trace = Arc::new(Trace::default());
    let memory = Arc::new(MemoryRemote::new(Profile::folder()));
    let failing = Layer::wrap(memory, Arc::new(FailFirst { left: AtomicU32::new(failures), kind }));
    let traced = Layer::wrap(failing, Arc::<Trace>::clone(&trace));
    (Layer::wrap(traced, Arc::new(Retry { attempts, base: Duration::ZERO })), trace)
}

#[tokio::test]
async fn retry_tries_again_while_the_store_does_not_answer() {
    let (remote, trace) = retried(3, Kind::Unavailable, 4);
    write(&*remote, "file", b"x", Mode::New).await.unwrap();
    assert_eq!(trace.calls().len(), 4);
    assert_eq!(read(&*remote, "file").await, "x");
}

#[tokio::test]
async fn retry_gives_up_after_its_attempts() {
    let (remote, trace) = retried(4, Kind::Unavailable, 4);
    assert_eq!(kind(remote.now().await), Kind::Unavailable);
    assert_eq!(trace.calls().len(), 4);
    remote.now().await.unwrap();
}

#[tokio::test]
async fn retry_does_not_repeat_what_trying_again_cannot_mend() {
    let kinds = [Kind::Usage, Kind::NotFound, Kind::Conflict, Kind::Integrity, Kind::Auth, Kind::Quota, Kind::Local];
    for failure in kinds.into_iter().chain([Kind::CheckFailed, Kind::Interrupted, Kind::Internal]) {
        let (remote, trace) = retried(1, failure, 4);
        assert_eq!(kind(remote.find(&object("file")).await), failure);
        assert_eq!(trace.calls().len(), 1, "{failure:?}");
    }
}

#[test]
fn retry_waits_longer_each_time_but_never_longer_than_it_says() {
    let retry = Retry { attempts: u32::MAX, base: Duration::from_millis(100) };
    let call = Call { method: "now", path: path(""), to: None };
    let error = Error::new(Kind::Unavailable, "not now");
    for attempt in 1..40 {
        let longest = Duration::from_millis(100) * (1 << (attempt - 1).min(10));
        let verdict = retry.after(&call, attempt, Some(&error));
        let modelkeep_remote::layer::Verdict::Again(wait) = verdict else { panic!("{verdict:?}") };
        assert!(wait <= longest, "{wait:?} after attempt {attempt}");
    }
}

#[tokio::test]
async fn a_fault_before_a_call_keeps_it_from_being_made() {
    let (memory, remote, fault) = faulty(2, Strike::Before);
    write(&*remote, "one", b"1", Mode::New).await.unwrap();
    assert_eq!(kind(write(&*remote, "two", b"2", Mode::New).await), Kind::Interrupted);
    assert_eq!(kind(write(&*remote, "three", b"3", Mode::New).await), Kind::Interrupted);
    assert_eq!(memory.snapshot().into_keys().collect::<Vec<_>>(), ["one"]);
    assert_eq!(fault.seen(), 3);
}

#[tokio::test]
async fn a_fault_after_a_call_loses_its_answer_only() {
    let (memory, remote, _) = faulty(2, Strike::After);
    write(&*remote, "one", b"1", Mode::New).await.unwrap();
    assert_eq!(kind(write(&*remote, "two", b"2", Mode::New).await), Kind::Interrupted);
    assert_eq!(kind(remote.delete(&object("one")).await), Kind::Interrupted);
    assert_eq!(memory.snapshot().into_keys().collect::<Vec<_>>(), ["one", "two"]);
}

#[tokio::test]
async fn a_fault_beyond_the_last_call_does_nothing() {
    let (_, remote, fault) = faulty(3, Strike::Before);
    remote.now().await.unwrap();
    remote.usage().await.unwrap();
    assert_eq!(fault.seen(), 2);
}

fn faulty(at: u64, strike: Strike) -> (MemoryRemote, Arc<dyn Remote>, Arc<Fault>) {
    let memory = MemoryRemote::new(Profile::folder());
    let fault = Arc::new(Fault::at_call(at, strike));
    let remote = Layer::wrap(Arc::new(memory.clone()), Arc::<Fault>::clone(&fault));
    (memory, remote, fault)
}

#[tokio::test]
async fn a_trace_keeps_every_call_in_order() {
    let trace = Arc::new(Trace::default());
    let memory = Arc::new(MemoryRemote::new(Profile::folder()));
    let remote = Layer::wrap(memory, Arc::<Trace>::clone(&trace));
    write(&*remote, "a/file", b"x", Mode::New).await.unwrap();
    remote.rename(&object("a/file"), &path("b")).await.unwrap();
    remote.find(&object("missing")).await.unwrap();
    assert_eq!(kind(remote.rename(&object("missing"), &path("c")).await), Kind::NotFound);
    let calls = trace.calls();
    let told: Vec<_> = calls.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["write a/file", "rename a/file -> b", "find missing", "rename missing -> c"]);
    let writes: Vec<_> = calls.iter().map(Call::writes).collect();
    assert_eq!(writes, [true, true, false, true]);
}

#[tokio::test]
async fn a_layer_speaks_for_what_is_under_it() {
    let memory = MemoryRemote::new(Profile::drive(1));
    let remote = Layer::wrap(Arc::new(memory.clone()), Arc::new(Trace::default()));
    assert_eq!(remote.capabilities(), memory.capabilities());
    assert_eq!(remote.describe(), memory.describe());
}
