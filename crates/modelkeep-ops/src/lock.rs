//! One at a time on one machine: two runs of one command would take each other's half-done work for their own.
//!
//! A lock ends with its process, however that ends. Between machines nothing is ever locked.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::time::Duration;

use modelkeep_core::Result;
use modelkeep_core::digest::Sha256;
use modelkeep_remote::folder::failed;

use crate::context::Context;

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "closing the file ends the lock")] Option<File>);

/// So often is a lock asked for that somebody else has.
const AGAIN: Duration = Duration::from_millis(200);

/// Waits for the lock called `name` in `folder`; `who` says what has it while somebody waits.
pub async fn hold(ctx: &Context, folder: &Path, name: &str, who: &str) -> Result<Held> {
    let folder = folder.join("locks");
    fs::create_dir_all(&folder).map_err(|error| failed("creating", &folder, error))?;
    let path = folder.join(Sha256::of(name.as_bytes()).to_string());
    let file = File::options().create(true).append(true).open(&path);
    let file = file.map_err(|error| failed("opening", &path, error))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Held(Some(file))),
            Err(TryLockError::WouldBlock) => {
                ctx.check_stop()?;
                if !told {
                    ctx.note(format!("waiting: {who}"));
                    told = true;
                }
                tokio::time::sleep(AGAIN).await;
            }
            // A file system that knows no locks.
            Err(TryLockError::Error(_)) => return Ok(Held(None)),
        }
    }
}
