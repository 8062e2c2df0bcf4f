//! A Hub, a cache, and a repository with a large and a small file.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use modelkeep_core::Result;
use modelkeep_core::meter::{Meter, NoMeter};
use modelkeep_http::{Retry, Secret};
use modelkeep_hub::access::Access;
use modelkeep_hub::cache::{CacheFile, RepoDir};
use modelkeep_hub::client::{Hub, Place};
use modelkeep_hub::download::PIECE;
use modelkeep_hub::fetch::bring;
use modelkeep_hub::repo::{Commit, RepoId};
use modelkeep_hub::wire::{EntryKind, TreeEntry};
use modelkeep_testkit::hub::{Options, Server};

/// Several ranges, and no round number.
#[allow(clippy::cast_possible_truncation, reason = "a few megabytes")]
pub const LARGE: usize = PIECE as usize * 2 + 12_345;
pub const REPO: &str = "acme/tiny";

pub struct Desk {
    _folder: tempfile::TempDir,
    pub root: PathBuf,
    pub server: Server,
}

/// Bytes that are nowhere the same.
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

impl Desk {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        let repo = root.join("hub").join(REPO);
        fs::create_dir_all(repo.join("sub")).unwrap();
        fs::write(repo.join("config.json"), b"{}").unwrap();
        fs::write(repo.join("sub/model.safetensors"), pattern(LARGE)).unwrap();
        let server = Server::start(Options { root: root.join("hub"), ..options }).unwrap();
        Self { _folder: folder, root, server }
    }

    pub fn access(&self) -> Access {
        Access {
            endpoint: self.server.url().to_owned(),
            token: Some(Secret::new("hf_token")),
            offline: false,
            stall: Duration::from_secs(20),
            retry: Retry { attempts: 8, base: Duration::from_millis(1) },
            first_hand: false,
        }
    }

    pub fn hub(&self) -> Hub {
        Hub::new(self.access()).unwrap()
    }

    pub fn dir(&self) -> RepoDir {
        RepoDir::of_model(&self.root.join("cache"), &repo(), true)
    }

    /// What the Hub lists, looked up without faults.
    pub async fn listed(&self, hub: &Hub) -> Result<(Commit, Vec<TreeEntry>)> {
        let info = hub.info(&repo(), None).await?;
        let tree = hub.tree(&repo(), &info.sha).await?;
        Ok((info.sha, tree))
    }

    /// Brings one file as `fetch` does.
    pub async fn bring(&self, hub: &Hub, path: &str) -> Result<u64> {
        self.bring_with(hub, path, Arc::new(NoMeter)).await
    }

    pub async fn bring_with(&self, hub: &Hub, path: &str, meter: Arc<dyn Meter>) -> Result<u64> {
        let (commit, tree) = self.listed(hub).await?;
        let (place, file) = place(&commit, &tree, path);
        bring(hub, &self.dir(), &place, &file, &meter, &|| Ok(())).await
    }

    /// Whether the cache has this content, and nothing else under a good name.
    pub fn has(&self, content: &[u8]) -> bool {
        let folder = self.dir().root().join("blobs");
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let whole = entries.filter(|entry| !entry.file_name().to_string_lossy().ends_with(".incomplete"));
        let contents: Vec<Vec<u8>> = whole.map(|entry| fs::read(entry.path()).unwrap()).collect();
        assert!(contents.iter().all(|found| found == content || found == b"{}"), "wrong bytes under a good name");
        contents.iter().any(|found| found == content)
    }
}

pub fn repo() -> RepoId {
    REPO.parse().unwrap()
}

pub fn place(commit: &Commit, tree: &[TreeEntry], path: &str) -> (Place, CacheFile) {
    let entry = tree.iter().find(|entry| entry.path == path && entry.kind == EntryKind::File).unwrap();
    let file = CacheFile { path: path.parse().unwrap(), size: entry.content_size(), blob: entry.blob() };
    (Place { repo: repo(), commit: commit.clone(), path: path.to_owned() }, file)
}

/// Counts bytes, and stops at a limit.
pub struct Stopping(pub Mutex<u64>);

impl Meter for Stopping {
    fn advance(&self, bytes: u64) -> std::ops::ControlFlow<()> {
        let mut left = self.0.lock().unwrap();
        *left = left.saturating_sub(bytes);
        if *left == 0 { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    }
}
