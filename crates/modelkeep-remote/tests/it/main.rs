//! One binary for all integration tests of modelkeep-remote.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod conformance;
mod drive;
mod folder;
mod layer;
mod memory;

use bytes::Bytes;
use modelkeep_core::path::RemotePath;
use modelkeep_core::{Kind, Result};
use modelkeep_remote::{Mode, NoMeter, Object, Remote, Source, Written};
use std::fmt::Debug;
use std::sync::Arc;

fn path(text: &str) -> RemotePath {
    text.parse().unwrap()
}

fn object(text: &str) -> Object {
    Object::at(path(text))
}

async fn write(remote: &dyn Remote, to: &str, bytes: &[u8], mode: Mode) -> Result<Written> {
    remote.write(&path(to), Source::Bytes(Bytes::copy_from_slice(bytes)), mode, Arc::new(NoMeter)).await
}

async fn read(remote: &dyn Remote, from: &str) -> Bytes {
    remote.read(&object(from), 0..u64::MAX).await.unwrap()
}

#[track_caller]
fn kind<T: Debug>(result: Result<T>) -> Kind {
    result.unwrap_err().kind()
}
