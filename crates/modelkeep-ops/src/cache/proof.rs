//! Whether something can be had again: on the remote, by the log's manifests and then by looking there; at the Hub, by
//! asking it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use modelkeep_core::digest::{RevisionId, Sha256, Txn};
use modelkeep_core::evict::{Again, Keep};
use modelkeep_core::manifest::Manifest;
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::{Kind, Result};
use modelkeep_hub::blob::{BlobId, Check};
use modelkeep_hub::client::{Hub, Place as HubPlace};
use modelkeep_hub::repo::{Commit, RepoId, RepoKind};
use modelkeep_hub::scan::{Blob, Place, Repo, Revision};
use modelkeep_hub::wire::TreeEntry;
use modelkeep_remote::folder::failed;

use crate::context::Context;
use crate::observe::blocking;
use crate::store::Store;
use crate::{log, pins, tree, verify};

/// What the remote and the lock file say of content.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Content on the remote by the log, with its size.
    files: HashMap<Sha256, u64>,
    /// The pushes that hold it.
    pushes: Vec<Holder>,
    store: Option<Arc<Store>>,
    /// Which of them were found to stand there whole.
    whole: HashMap<Txn, bool>,
    sizes: HashSet<u64>,
    /// Content that stays here.
    protected: Vec<Protected>,
    /// Versions of ours: no Hub has them, whatever they are called.
    ours: HashSet<String>,
}

#[derive(Debug)]
struct Holder {
    model: Arc<Model>,
    push: Push,
    manifest: Manifest,
}

#[derive(Debug)]
struct Protected {
    keep: Keep,
    revision: RevisionId,
    files: HashSet<Sha256>,
}

impl Known {
    /// Reads the lock file, and the log when there is a remote that can be read and seen whole.
    pub async fn read(ctx: &Context) -> Result<Self> {
        let mut known = Self::default();
        if let Some(workspace) = &ctx.workspace {
            for (id, pin) in pins::read(workspace)?.models {
                let files = pin.files.iter().map(|file| file.sha256).collect();
                known.protected.push(Protected { keep: Keep::Pinned(id.to_string()), revision: pin.revision, files });
            }
        }
        match known.read_remote(ctx).await {
            Ok(()) => Ok(known),
            Err(error) if error.kind() == Kind::Interrupted => Err(error),
            Err(error) => {
                // No store set is no news; one that does not answer is.
                if ctx.settings.remote.as_deref().is_some_and(|name| ctx.settings.remotes.contains_key(name)) {
                    ctx.warn(format!("the remote could not be asked what it holds: {}", error.full_message()));
                }
                Ok(known)
            }
        }
    }

    async fn read_remote(&mut self, ctx: &Context) -> Result<()> {
        let store = ctx.store().await?;
        let view = log::refresh(ctx, &store).await?;
        let whole = view.complete();
        for model in view.state.models.values() {
            let shared = Arc::new(model.clone());
            for push in &model.pushes {
                self.ours.insert(push.revision.to_string());
                let manifest = match tree::manifest(ctx, &store, model, push).await {
                    Ok(manifest) => manifest,
                    Err(error) if matches!(error.kind(), Kind::Integrity | Kind::NotFound) => continue,
                    Err(error) => return Err(error),
                };
                if let Some(keep) = keeps(&view.state, model, push) {
                    let files = manifest.files().iter().map(|file| file.sha256).collect();
                    self.protected.push(Protected { keep, revision: push.revision, files });
                }
                // What is removed, or on its way through a mount, is no copy to rely on; nor is anything, while a
                // removal may be among the events that are missing.
                if push.removed.is_none() && !view.pending.contains(&push.event) && whole.is_ok() {
                    self.files.extend(manifest.files().iter().map(|file| (file.sha256, file.size)));
                    self.pushes.push(Holder { model: Arc::clone(&shared), push: push.clone(), manifest });
                }
            }
        }
        self.sizes = self.files.values().copied().collect();
        self.store = Some(store);
        whole.or_else(|error| {
            ctx.warn(format!("nothing on the remote counts as a copy: {}", error.full_message()));
            Ok(())
        })
    }

    /// Why a revision in the cache stays whatever is needed.
    pub fn keep(&self, repo: &Repo, revision: &Revision) -> Option<Keep> {
        let digests: BTreeSet<Sha256> =
            revision.files.iter().filter_map(|file| repo.blobs[file.blob].sha256()).collect();
        let named = self.protected.iter().find(|protected| revision.commit == protected.revision.to_string());
        named.map(|protected| protected.keep.clone()).or_else(|| self.keep_files(&digests))
    }

    /// Whether a revision's commit is a version of ours.
    pub fn is_ours(&self, revision: &Revision) -> bool {
        self.ours.contains(&revision.commit)
    }

    /// Whether the remote holds a file of this size: the others need not be hashed to know that it does not.
    pub fn may_have(&self, size: u64) -> bool {
        self.sizes.contains(&size)
    }

    /// Why content stays, by all of its digests.
    pub fn keep_files(&self, digests: &BTreeSet<Sha256>) -> Option<Keep> {
        let holds = |protected: &&Protected| digests.iter().all(|digest| protected.files.contains(digest));
        self.protected.iter().filter(|_| !digests.is_empty()).find(holds).map(|protected| protected.keep.clone())
    }

    /// Whether this content is on the remote, by the log.
    pub fn has(&self, sha256: &Sha256) -> bool {
        self.files.contains_key(sha256)
    }

    /// Whether the remote has this content: the log cannot know of a folder that somebody deleted there, so the pushes that
    /// hold it are looked at. Each once.
    pub async fn stands(&mut self, ctx: &Context, content: &BTreeSet<Sha256>) -> Result<bool> {
        let Some(store) = &self.store else { return Ok(false) };
        let mut missing = content.clone();
        for Holder { model, push, manifest } in &self.pushes {
            if missing.is_empty() {
                break;
            }
            if !manifest.files().iter().any(|file| missing.contains(&file.sha256)) {
                continue;
            }
            let whole = match self.whole.get(&push.txn) {
                Some(whole) => *whole,
                None => !verify::examine(ctx, store, model, push, false).await?.any(),
            };
            self.whole.insert(push.txn, whole);
            if whole {
                missing.retain(|sha256| !manifest.files().iter().any(|file| file.sha256 == *sha256));
            }
        }
        Ok(missing.is_empty())
    }

    /// The digests of a revision's files, when the remote has every one by the log.
    pub async fn holds(&self, root: &Path, repo: &Repo, revision: &Revision) -> Result<Option<BTreeSet<Sha256>>> {
        if self.files.is_empty() || revision.files.is_empty() {
            return Ok(None);
        }
        let blobs: BTreeSet<usize> = revision.files.iter().map(|file| file.blob).collect();
        let blobs: Vec<&Blob> = blobs.into_iter().map(|blob| &repo.blobs[blob]).collect();
        // Those whose name says it first: most others need not be read then.
        let (named, others): (Vec<&Blob>, Vec<&Blob>) = blobs.into_iter().partition(|blob| blob.sha256().is_some());
        let here = |blob: &&Blob| blob.sha256().is_some_and(|sha256| self.files.get(&sha256) == Some(&blob.size));
        if !named.iter().all(here) || !others.iter().all(|blob| self.sizes.contains(&blob.size)) {
            return Ok(None);
        }
        let mut digests: BTreeSet<Sha256> = named.iter().filter_map(|blob| blob.sha256()).collect();
        for blob in others {
            let digest = hash(blob.path(root)).await?;
            if !self.has(&digest) {
                return Ok(None);
            }
            digests.insert(digest);
        }
        Ok(Some(digests))
    }
}

fn keeps(state: &modelkeep_core::registry::State, model: &Model, push: &Push) -> Option<Keep> {
    let deployed = state.deployment_of(&model.id).is_some_and(|deployment| deployment.revision == push.revision);
    if deployed {
        return Some(Keep::Deployed(model.id.to_string()));
    }
    let label = model.labels.iter().find(|(_, revision)| **revision == push.revision).map(|(label, _)| label);
    label.map(|label| Keep::Labelled(format!("{}@{label}", model.id)))
}

/// The digest of a file, read without leaving a trace in its access time where that is allowed.
pub(crate) async fn hash(path: PathBuf) -> Result<Sha256> {
    blocking(move || {
        let mut file = open_quietly(&path).map_err(|error| failed("reading", &path, error))?;
        Ok(modelkeep_remote::folder::copy::hash(&mut file, &path, &modelkeep_remote::NoMeter)?.1)
    })
    .await
}

fn open_quietly(path: &Path) -> std::io::Result<std::fs::File> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NOATIME.bits().cast_signed();
        if let Ok(file) = std::fs::File::options().read(true).custom_flags(flags).open(path) {
            return Ok(file);
        }
    }
    std::fs::File::open(path)
}

/// Whether a repository's revision may be at the Hub at all: a commit of forty digits, files that the Hub names.
pub(crate) fn may_be_at_hub(ctx: &Context, known: &Known, repo: &Repo, revision: &Revision) -> bool {
    let commit = revision.commit.len() == 40 && revision.commit.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let own = repo.id.split('/').next() == Some(ctx.settings.namespace.as_str());
    let as_fetched = revision.files.iter().all(|file| !matches!(repo.blobs[file.blob].place, Place::Elsewhere(_)));
    commit && !own && !known.is_ours(revision) && as_fetched && !revision.files.is_empty()
}

/// Asks the Hub whether it has these very files at this commit. `None`: it could not be asked.
pub(crate) async fn ask_hub(hub: &Hub, repo: &Repo, revision: &Revision, root: &Path) -> Option<Again> {
    // The Hub's client knows models alone.
    if repo.kind != RepoKind::Model {
        return None;
    }
    let (id, commit): (RepoId, Commit) = (repo.id.parse().ok()?, revision.commit.parse().ok()?);
    let tree = match hub.tree(&id, &commit).await {
        Ok(tree) => tree,
        // No such repository or commit, or one that this token may not see: it could not be had again.
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Auth) => return Some(Again::Nowhere),
        Err(_) => return None,
    };
    let there: HashMap<&str, &TreeEntry> = tree.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    for file in &revision.files {
        let blob = &repo.blobs[file.blob];
        let Some(entry) = there.get(file.path.as_str()).filter(|entry| entry.content_size() == blob.size) else {
            return Some(Again::Nowhere);
        };
        let same = match &blob.place {
            Place::Blobs(name) => *name == entry.blob().to_string(),
            // A cache without links: nothing but its content says what it is.
            _ => is_content(blob.path(root), entry.blob(), blob.size).await,
        };
        if !same {
            return Some(Again::Nowhere);
        }
    }
    // What is listed may be kept back all the same.
    let largest = revision.files.iter().max_by_key(|file| repo.blobs[file.blob].size)?;
    if repo.blobs[largest.blob].size > 0 {
        let place = HubPlace { repo: id, commit, path: largest.path.clone() };
        if !hub.may_read(&place).await.ok()? {
            return Some(Again::Nowhere);
        }
    }
    Some(Again::Hub)
}

async fn is_content(path: PathBuf, id: BlobId, size: u64) -> bool {
    let read = blocking(move || {
        let mut check = Check::new(&id, size);
        let mut file = open_quietly(&path).map_err(|error| failed("reading", &path, error))?;
        let mut buffer = vec![0; 128 << 10];
        loop {
            match file.read(&mut buffer).map_err(|error| failed("reading", &path, error))? {
                0 => return Ok(check.finish() == id),
                n => check.update(&buffer[..n]),
            }
        }
    });
    read.await.unwrap_or(false)
}
