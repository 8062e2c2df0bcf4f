//! When a revision in the HF cache was last used: what the disk says, and what we noted ourselves.
//!
//! A file's access time counts where the mount keeps it (Linux' usual `relatime` moves it once a day, which is enough);
//! on one that does not (`noatime`), when the file was written, and when a command of ours used it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use modelkeep_core::Result;
use modelkeep_hub::repo::{Commit, RepoId, RepoKind};
use modelkeep_hub::scan::{Repo, Revision};

use crate::context::Context;
use crate::local::Local;

/// Notes that are of no remote.
const HERE: &str = "here";
/// Begins the key of each of them; the rest is `folder@commit`.
const KEY: &str = "used ";
/// Whoever uses a revision all day long notes it so often.
const AGAIN: Duration = Duration::from_secs(3600);

/// What we noted, by `folder@commit`.
pub(crate) fn noted(ctx: &Context) -> Result<HashMap<String, Timestamp>> {
    let folder = ctx.state_dir(HERE)?;
    if !folder.join("local.db").exists() {
        return Ok(HashMap::new());
    }
    noted_in(&Local::open(&folder)?)
}

/// Notes that a model's revision in the cache is used now: by whatever brings it here or finds it here. What was asked for
/// is done by then, so it is only said when the note cannot be kept.
pub(crate) fn note(ctx: &Context, repo: &RepoId, commit: &Commit) {
    let kept = || Local::open(&ctx.state_dir(HERE)?)?.put(HERE, &key(repo, commit), ctx.now().to_string().as_bytes());
    if let Err(error) = kept() {
        ctx.warn(format!("that {repo} was used is not remembered: {}", error.full_message()));
    }
}

/// Notes of a process that goes on (`serve`): it uses the same revisions again and again, and waits for no note.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<HashMap<String, Duration>>);

impl Notes {
    /// [`note`], unless it was noted within the hour.
    pub fn note(&self, ctx: &Arc<Context>, repo: &RepoId, commit: &Commit) {
        let now = ctx.clock.monotonic();
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(repo, commit);
        if noted.get(&key).is_some_and(|before| now.saturating_sub(*before) < AGAIN) {
            return;
        }
        noted.insert(key, now);
        let (ctx, repo, commit) = (Arc::clone(ctx), repo.clone(), commit.clone());
        tokio::task::spawn_blocking(move || note(&ctx, &repo, &commit));
    }
}

fn key(repo: &RepoId, commit: &Commit) -> String {
    format!("{KEY}{}@{commit}", repo.folder(RepoKind::Model))
}

fn noted_in(local: &Local) -> Result<HashMap<String, Timestamp>> {
    let noted = local.all(HERE, KEY)?.into_iter();
    let time = |bytes: Vec<u8>| std::str::from_utf8(&bytes).ok()?.parse().ok();
    Ok(noted.filter_map(|(key, bytes)| Some((key, time(bytes)?))).collect())
}

/// When a revision was last used, as far as anybody knows.
pub(crate) fn last(
    repo: &Repo,
    revision: &Revision,
    keeps_access: bool,
    noted: &HashMap<String, Timestamp>,
) -> Option<Timestamp> {
    let blobs = revision.files.iter().map(|file| &repo.blobs[file.blob]);
    let on_disk = blobs.map(|blob| if keeps_access { blob.accessed.max(blob.modified) } else { blob.modified }).max();
    let on_disk = Timestamp::from_second(on_disk.unwrap_or(revision.modified)).ok();
    let noted = noted.get(&format!("{}@{}", repo.folder, revision.commit)).copied();
    on_disk.into_iter().chain(noted).max()
}

/// Whether the mount keeps access times.
pub(crate) fn keeps_access(path: &Path) -> bool {
    #[cfg(unix)]
    {
        let there = path.ancestors().find(|path| path.exists());
        let stat = there.and_then(|path| rustix::fs::statvfs(path).ok());
        stat.is_some_and(|stat| !stat.f_flag.contains(rustix::fs::StatVfsMountFlags::NOATIME))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}
