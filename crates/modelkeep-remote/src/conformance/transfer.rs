//! Checks of transfers from and to local files: whole, resumed, metered, stopped.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use modelkeep_core::digest::Sha256;
use modelkeep_core::{Kind, Result};

use super::{Bench, Doing as _, Outcome, agree, holds, pattern, refused};
use crate::remote::{Far, Meter, Mode, Source, Transferred, Written};

/// Bytes in the file that most checks move: more than any buffer, no round number.
const SIZE: u32 = 1_300_007;

/// Counts, and stops once more than `limit` bytes were moved.
struct Count {
    moved: AtomicU64,
    limit: u64,
}

impl Count {
    fn up_to(limit: u64) -> Arc<Self> {
        Arc::new(Self { moved: AtomicU64::new(0), limit })
    }

    fn moved(&self) -> u64 {
        self.moved.load(Ordering::SeqCst)
    }
}

impl Meter for Count {
    fn advance(&self, bytes: u64) -> ControlFlow<()> {
        let moved = self.moved.fetch_add(bytes, Ordering::SeqCst) + bytes;
        if moved > self.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Bench {
    /// A local file with these bytes.
    fn local(&self, name: &str, bytes: &[u8]) -> Outcome<PathBuf> {
        let path = self.scratch.join(name);
        std::fs::write(&path, bytes).doing("writing a local file")?;
        Ok(path)
    }

    async fn send(&self, source: Source, to: &str, meter: &Arc<Count>) -> Result<Written> {
        let meter: Arc<dyn Meter> = Arc::<Count>::clone(meter);
        self.remote.write(&self.at(to), source, Mode::New, meter).await
    }

    async fn fetch(&self, from: &str, to: &Path, meter: &Arc<Count>) -> Result<Transferred> {
        let meter: Arc<dyn Meter> = Arc::<Count>::clone(meter);
        self.remote.fetch(&self.object(from), to, meter).await
    }
}

/// Content that is on no disk, in pieces of an odd size.
#[derive(Debug)]
struct InPieces(Bytes);

impl Far for InPieces {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_from(&self, offset: u64) -> Box<dyn Iterator<Item = Result<Bytes>> + Send> {
        let all = self.0.slice(usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len())..);
        Box::new((0..all.len()).step_by(70_001).map(move |at| Ok(all.slice(at..all.len().min(at + 70_001)))))
    }
}

fn local_is(path: &Path, bytes: &[u8]) -> Outcome {
    let found = std::fs::read(path).doing("reading a local file")?;
    agree("the local file", &super::shown(&found), &super::shown(bytes))
}

pub(super) async fn local_files_go_up_whole(bench: Bench) -> Outcome {
    let bytes = pattern(SIZE);
    let path = bench.local("source", &bytes)?;
    let written = bench.send(Source::File(path), "new/file", &Count::up_to(u64::MAX)).await.doing("writing a file")?;
    agree("the size written", &written.size, &u64::from(SIZE))?;
    agree("the digest written", &written.sha256, &Sha256::of(&bytes))?;
    bench.holds("new/file", &bytes).await?;
    let empty = bench.local("empty", b"")?;
    bench.send(Source::File(empty), "empty", &Count::up_to(0)).await.doing("writing an empty file")?;
    let far = Source::Far(Arc::new(InPieces(bytes.clone().into())));
    let written = bench.send(far, "from afar", &Count::up_to(u64::MAX)).await.doing("writing what comes from afar")?;
    agree("the digest written", &written.sha256, &Sha256::of(&bytes))?;
    bench.holds("from afar", &bytes).await?;
    bench.holds("empty", b"").await?;
    let missing = Source::File(bench.scratch.join("no such file"));
    let sent = bench.send(missing, "never", &Count::up_to(u64::MAX)).await;
    holds("a local file that is not there was written", sent.is_err())?;
    bench.is_free("never").await
}

pub(super) async fn fetches_all_of_it(bench: Bench) -> Outcome {
    let bytes = pattern(SIZE);
    bench.put("file", &bytes).await?;
    let to = bench.scratch.join("to");
    let fetched = bench.fetch("file", &to, &Count::up_to(u64::MAX)).await.doing("fetching")?;
    let size = u64::from(SIZE);
    agree("what was fetched", &fetched, &Transferred { size, sha256: Sha256::of(&bytes), fetched: size })?;
    local_is(&to, &bytes)?;
    bench.put("empty", b"").await?;
    let to = bench.scratch.join("empty");
    let fetched = bench.fetch("empty", &to, &Count::up_to(0)).await.doing("fetching an empty file")?;
    agree("what was fetched", &fetched, &Transferred { size: 0, sha256: Sha256::of(b""), fetched: 0 })?;
    local_is(&to, b"")
}

pub(super) async fn fetches_only_the_rest(bench: Bench) -> Outcome {
    let bytes = pattern(SIZE);
    let size = u64::from(SIZE);
    bench.put("file", &bytes).await?;
    for have in [1, 500_001, bytes.len()] {
        let to = bench.local("to", &bytes[..have])?;
        let meter = Count::up_to(u64::MAX);
        let fetched = bench.fetch("file", &to, &meter).await.doing(format_args!("fetching what follows {have}"))?;
        let rest = size - have as u64;
        agree("what was fetched", &fetched, &Transferred { size, sha256: Sha256::of(&bytes), fetched: rest })?;
        agree("what the meter saw", &meter.moved(), &rest)?;
        local_is(&to, &bytes)?;
    }
    // Bytes that are there are taken for the beginning, right or wrong; the digest tells.
    let to = bench.local("to", b"wrong beginning")?;
    let fetched = bench.fetch("file", &to, &Count::up_to(u64::MAX)).await.doing("fetching behind wrong bytes")?;
    let found = std::fs::read(&to).doing("reading a local file")?;
    agree("the digest of the whole local file", &fetched.sha256, &Sha256::of(&found))?;
    holds("wrong bytes were taken for right ones", fetched.sha256 != Sha256::of(&bytes))
}

pub(super) async fn refuses_a_longer_local_file(bench: Bench) -> Outcome {
    bench.put("file", b"short").await?;
    let to = bench.local("to", b"longer than that")?;
    let fetched = bench.fetch("file", &to, &Count::up_to(u64::MAX)).await;
    refused("fetching into a longer file", fetched, Kind::Integrity)?;
    local_is(&to, b"longer than that")
}

pub(super) async fn the_meter_sees_every_byte(bench: Bench) -> Outcome {
    let bytes = pattern(SIZE);
    let sources = [Source::Bytes(Bytes::from(bytes.clone())), Source::File(bench.local("source", &bytes)?)];
    for (name, source) in ["from bytes", "from a file"].into_iter().zip(sources) {
        let meter = Count::up_to(u64::MAX);
        bench.send(source, name, &meter).await.doing(format_args!("writing {name}"))?;
        agree(format_args!("what the meter saw {name}"), &meter.moved(), &u64::from(SIZE))?;
    }
    let meter = Count::up_to(u64::MAX);
    bench.fetch("from a file", &bench.scratch.join("to"), &meter).await.doing("fetching")?;
    agree("what the meter saw of a fetch", &meter.moved(), &u64::from(SIZE))
}

pub(super) async fn a_stopped_write_leaves_nothing(bench: Bench) -> Outcome {
    let bytes = pattern(SIZE);
    let sources = [Source::Bytes(Bytes::from(bytes.clone())), Source::File(bench.local("source", &bytes)?)];
    for (name, source) in ["from bytes", "from a file"].into_iter().zip(sources) {
        for limit in [0, 1_000_000] {
            let sent = bench.send(source.clone(), name, &Count::up_to(limit)).await;
            refused(format_args!("a write {name} stopped after {limit} bytes"), sent, Kind::Interrupted)?;
            bench.is_free(name).await?;
            bench.lists("", &[]).await?;
        }
    }
    bench.put("old", b"old").await?;
    let meter: Arc<dyn Meter> = Count::up_to(0);
    let replaced = bench.remote.write(&bench.at("old"), Source::Bytes(bytes.into()), Mode::Replace, meter).await;
    refused("a stopped replacement", replaced, Kind::Interrupted)?;
    bench.holds("old", b"old").await?;
    bench.put("from bytes", b"the name is free").await.map(drop)
}

pub(super) async fn a_stopped_fetch_can_go_on(bench: Bench) -> Outcome {
    let bytes = pattern(SIZE);
    bench.put("file", &bytes).await?;
    let to = bench.scratch.join("to");
    let stopped = bench.fetch("file", &to, &Count::up_to(1000)).await;
    refused("a stopped fetch", stopped, Kind::Interrupted)?;
    let fetched = bench.fetch("file", &to, &Count::up_to(u64::MAX)).await.doing("going on with a fetch")?;
    agree("the digest in the end", &fetched.sha256, &Sha256::of(&bytes))?;
    local_is(&to, &bytes)
}
