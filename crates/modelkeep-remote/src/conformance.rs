//! What every backend must do, as a suite that any backend can run, ours or a third party's.
//!
//! Knows the promises of [`Remote`] and what [`Capabilities`](crate::Capabilities) add to them, and checks each
//! capability that is claimed. Does not know which backend it runs on, and calls nothing but the trait. Lateness between
//! clients cannot be seen from one client and is not checked here.

mod content;
mod places;
mod pointers;
mod transfer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use modelkeep_core::path::RemotePath;
use modelkeep_core::{Kind, Result};

use crate::remote::{Entry, EntryKind, Inline, Mode, NoMeter, Object, Remote, Source, Written};

/// Why a check failed: a sentence.
type Outcome<T = ()> = std::result::Result<T, String>;

/// One check: its name and what it does in a folder of its own.
type Check = (&'static str, fn(Bench) -> BoxFuture<'static, Outcome>);

/// Checks by the names of their functions.
macro_rules! checks {
    ($($module:ident :: $check:ident),+ $(,)?) => {
        &[$((stringify!($check), |bench| Box::pin($module::$check(bench)))),+]
    };
}

const CHECKS: &[Check] = checks![
    content::reads_back_what_was_written,
    content::an_empty_file_is_a_file,
    content::new_never_replaces,
    content::replace_is_whole,
    content::one_of_many_writers_wins,
    content::odd_names_come_back_as_they_were,
    content::nothing_is_found_where_nothing_is,
    content::time_is_the_stores_own,
    content::flushes_what_was_written,
    content::checksums_are_right,
    places::folders_are_made_on_the_way,
    places::lists_direct_children_only,
    places::listings_bring_what_is_wanted,
    places::renames_files_and_whole_folders,
    places::rename_never_replaces,
    places::one_of_many_renames_wins,
    places::a_folder_cannot_move_into_itself,
    places::delete_takes_all_of_it,
    places::ids_stay_when_objects_move,
    places::copies_are_files_of_their_own,
    places::exchange_swaps_two_folders,
    pointers::point_where_they_should,
    pointers::stand_in_for_nothing_else,
    transfer::local_files_go_up_whole,
    transfer::fetches_all_of_it,
    transfer::fetches_only_the_rest,
    transfer::refuses_a_longer_local_file,
    transfer::the_meter_sees_every_byte,
    transfer::a_stopped_write_leaves_nothing,
    transfer::a_stopped_fetch_can_go_on,
];

/// Runs every check on a store with an empty root. `scratch` is a local folder for fetched files.
///
/// # Errors
/// One line for each check that failed: its name, and what was not as promised.
pub async fn run(remote: Arc<dyn Remote>, scratch: &Path) -> std::result::Result<(), String> {
    run_below(remote, &RemotePath::root(), scratch).await
}

/// The same in a folder of a store that holds other things too. The folder should be empty or missing; what a check
/// made there is deleted again when it passed.
///
/// # Errors
/// As [`run`].
pub async fn run_below(remote: Arc<dyn Remote>, root: &RemotePath, scratch: &Path) -> std::result::Result<(), String> {
    let mut failures = Vec::new();
    for (name, check) in CHECKS {
        let bench = Bench { remote: Arc::clone(&remote), dir: root.join(name), scratch: scratch.join(name) };
        std::fs::create_dir_all(&bench.scratch).map_err(|error| format!("{}: {error}", bench.scratch.display()))?;
        let outcome = match check(bench.clone()).await {
            Ok(()) => bench.remote.delete(&Object::at(bench.dir)).await.doing("cleaning up"),
            failed => failed,
        };
        if let Err(why) = outcome {
            failures.push(format!("{name}: {why}"));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// The names of all checks, in the order they run.
pub fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name)
}

/// Where a check works: a store, a folder in it that is the check's own, and a local folder likewise.
#[derive(Clone)]
struct Bench {
    remote: Arc<dyn Remote>,
    dir: RemotePath,
    scratch: PathBuf,
}

impl Bench {
    /// A path in the check's folder; empty is the folder itself.
    fn at(&self, below: &str) -> RemotePath {
        below.split('/').filter(|part| !part.is_empty()).fold(self.dir.clone(), |path, part| path.join(part))
    }

    /// The same as an object known by path only.
    fn object(&self, below: &str) -> Object {
        Object::at(self.at(below))
    }

    async fn write(&self, below: &str, bytes: &[u8], mode: Mode) -> Result<Written> {
        let source = Source::Bytes(Bytes::copy_from_slice(bytes));
        self.remote.write(&self.at(below), source, mode, Arc::new(NoMeter)).await
    }

    async fn put(&self, below: &str, bytes: &[u8]) -> Outcome<Written> {
        self.write(below, bytes, Mode::New).await.doing(format_args!("writing a new `{below}`"))
    }

    async fn read_all(&self, object: &Object) -> Result<Bytes> {
        self.remote.read(object, 0..u64::MAX).await
    }

    /// Fails unless the file there has just these bytes.
    async fn holds(&self, below: &str, bytes: &[u8]) -> Outcome {
        let found = self.read_all(&self.object(below)).await.doing(format_args!("reading `{below}`"))?;
        agree(format_args!("the bytes of `{below}`"), &shown(&found), &shown(bytes))
    }

    async fn find(&self, below: &str) -> Outcome<Option<Entry>> {
        self.remote.find(&self.object(below)).await.doing(format_args!("looking for `{below}`"))
    }

    /// What stands there, which is an error when nothing does.
    async fn entry(&self, below: &str) -> Outcome<Entry> {
        self.find(below).await?.ok_or_else(|| format!("`{below}` was not found"))
    }

    async fn is_free(&self, below: &str) -> Outcome {
        match self.find(below).await? {
            None => Ok(()),
            Some(entry) => Err(format!("`{below}` should be free, but {:?} stands there", entry.kind)),
        }
    }

    /// A folder's entries in the order of their names, without writes that never ended.
    async fn list(&self, below: &str) -> Outcome<Vec<Entry>> {
        let listing = self.remote.list(&self.at(below), Inline::No).await;
        let mut entries = listing.doing(format_args!("listing `{below}`"))?;
        entries.retain(|entry| !entry.is_partial());
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// Fails unless a folder lists just these names, given in order.
    async fn lists(&self, below: &str, names: &[&str]) -> Outcome {
        let entries = self.list(below).await?;
        let found: Vec<_> = entries.iter().map(Entry::name).collect();
        agree(format_args!("the names in `{below}`"), &found[..], names)
    }

    async fn is_kind(&self, below: &str, kind: EntryKind) -> Outcome {
        let found = self.entry(below).await?.kind;
        agree(format_args!("the kind of `{below}`"), &found, &kind)
    }
}

/// Says what was being done when something failed that should not have.
trait Doing<T> {
    fn doing(self, what: impl fmt::Display) -> Outcome<T>;
}

impl<T> Doing<T> for Result<T> {
    fn doing(self, what: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| format!("{what} failed ({}): {}", error.kind().as_str(), error.full_message()))
    }
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing(self, what: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| format!("{what} failed: {error}"))
    }
}

/// Fails unless both are equal.
fn agree<T: PartialEq + fmt::Debug + ?Sized>(what: impl fmt::Display, found: &T, expected: &T) -> Outcome {
    if found == expected { Ok(()) } else { Err(format!("{what}: expected {expected:?}, found {found:?}")) }
}

/// Fails unless it holds.
fn holds(what: impl fmt::Display, truth: bool) -> Outcome {
    if truth { Ok(()) } else { Err(what.to_string()) }
}

/// Fails unless the call was refused for this kind of reason.
fn refused<T: fmt::Debug>(what: impl fmt::Display, result: Result<T>, kind: Kind) -> Outcome {
    match result {
        Ok(done) => Err(format!("{what} should fail ({}), but did {done:?}", kind.as_str())),
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => {
            let (found, kind) = (error.kind().as_str(), kind.as_str());
            Err(format!("{what} should fail with {kind}, but failed with {found}: {}", error.full_message()))
        }
    }
}

/// Bytes for a message: short ones as text, long ones by length and digest.
fn shown(bytes: &[u8]) -> String {
    if bytes.len() <= 64 {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    format!("{} bytes, sha256 {}", bytes.len(), modelkeep_core::digest::Sha256::of(bytes))
}

/// Bytes that repeat nowhere nearby, so that a shifted or cut piece shows.
fn pattern(size: u32) -> Vec<u8> {
    (0..size).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}
