//! Writing a file under a name: new or in place of another content, small or large, checked at the end.
//!
//! Knows when a name is taken and how an upload that may have arrived is told from one that did not. Does not know how
//! parts of an upload are sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use modelkeep_core::digest::Sha256;
use modelkeep_core::path::RemotePath;
use modelkeep_core::{Error, Result};

use super::client::Metadata;
use super::error::Failure;
use super::gauge::Gauge;
use super::ids::Tree;
use super::node::Node;
use super::session::{Kept, SessionKey};
use super::source::{Feed, Origin};
use super::upload::{Upload, agrees};
use super::wire::File;
use super::{Options, Secret};
use crate::remote::{Meter, Mode, Source, Written};

/// A description holds so many bytes; a listing brings them along.
const INLINE: usize = 4096;
/// So often Drive is asked for a checksum that it has not computed yet, after growing waits.
const LOOKS: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Where a file goes.
enum Place {
    New { folder: String, name: String },
    Instead { id: String },
}

/// One write.
pub(super) struct Write<'a> {
    pub tree: &'a Tree,
    pub options: &'a Options,
    pub path: &'a RemotePath,
    pub meter: Arc<dyn Meter>,
}

impl Write<'_> {
    pub async fn run(&self, source: Source, mode: Mode) -> Result<Written> {
        if self.path.as_str().is_empty() {
            return Err(Error::conflict("the root of a store is a folder"));
        }
        let origin = Origin::of(&source).await?;
        let folders = self.folders(mode).await?;
        let name = self.path.name();
        let _one = self.tree.lock(&folders[0], name).await;
        let standing =
            if mode == Mode::New { self.tree.standing(&folders, name).await? } else { self.tree.at(self.path).await? };
        let place = self.place(&folders[0], &standing, mode)?;
        self.send(origin, place, matches!(source, Source::Bytes(_))).await
    }

    async fn folders(&self, mode: Mode) -> Result<Vec<String>> {
        let parent = self.path.parent();
        if mode != Mode::Refresh {
            return self.tree.make_folders(&parent).await;
        }
        self.tree.sync(self.options.fresh).await?;
        let folders = self.tree.folders(&parent).await?;
        if folders.is_empty() {
            return Err(Error::not_found(format!("there is nothing at `{parent}`")));
        }
        Ok(folders)
    }

    fn place(&self, folder: &str, standing: &[Node], mode: Mode) -> Result<Place> {
        let file = standing.iter().find(|node| node.is_file()).filter(|_| mode != Mode::New);
        match file {
            Some(file) => Ok(Place::Instead { id: file.id.clone() }),
            None if standing.is_empty() => {
                Ok(Place::New { folder: folder.to_owned(), name: self.path.name().to_owned() })
            }
            None => Err(taken(self.path)),
        }
    }

    async fn send(&self, origin: Origin, place: Place, from_memory: bool) -> Result<Written> {
        let gauge = Gauge::new(Arc::clone(&self.meter));
        let size = origin.size();
        if size < self.options.resumable_from || size == 0 {
            let _turn = self.tree.turn().await?;
            let content = origin.bytes().await?;
            // What the program itself writes as JSON rides in the description, so that a listing brings it.
            let rides = from_memory && is_json(self.path) && size <= INLINE as u64;
            let text = if rides { std::str::from_utf8(&content).unwrap_or_default() } else { "" };
            let file = self.send_whole(&content, &place, text, gauge).await?;
            let written = self.check(file, size, Sha256::of(&content), &place).await?;
            if let (Some(id), true) = (&written.id, from_memory) {
                self.tree.mirror().wrote_content(id, &content);
            }
            return Ok(written);
        }
        let feed = Feed::new(origin.clone());
        let file = self.send_in_parts(&origin, &feed, &place, Arc::clone(&gauge)).await?;
        let sha256 = feed.digest().await?;
        let written = self.check(file, size, sha256, &place).await?;
        Ok(Written { sent: size - gauge.skipped(), ..written })
    }

    async fn send_whole(&self, content: &Bytes, place: &Place, text: &str, gauge: Arc<Gauge>) -> Result<File> {
        let id = self.id(place).await?;
        let metadata = metadata(place, &id, text);
        let upload = self.upload(place, &id, &metadata, gauge);
        let sent = upload.whole(content.clone()).await;
        self.sent(sent, place, &id).await
    }

    async fn send_in_parts(&self, origin: &Origin, feed: &Feed, place: &Place, gauge: Arc<Gauge>) -> Result<File> {
        let key = session_key(origin, place);
        let kept = key.as_ref().and_then(|key| self.options.sessions.find(key));
        let id = match &kept {
            Some(kept) => kept.id.clone(),
            None => self.id(place).await?,
        };
        let metadata = metadata(place, &id, "");
        let upload = self.upload(place, &id, &metadata, gauge);
        let keep = |uri: &Secret| {
            if let Some(key) = &key {
                self.options.sessions.keep(key, &Kept { uri: uri.clone(), id: id.clone() });
            }
        };
        let known = kept.is_some();
        let session = match kept {
            Some(kept) => Ok(kept.uri),
            None => upload.begin(feed.size()).await.inspect(&keep),
        };
        let sent = match session {
            Ok(session) => upload.in_parts(session, known, feed, &keep).await,
            Err(failure) => Err(failure),
        };
        let file = self.sent(sent, place, &id).await?;
        if let Some(key) = &key {
            self.options.sessions.forget(key);
        }
        Ok(file)
    }

    async fn id(&self, place: &Place) -> Result<String> {
        match place {
            Place::New { .. } => self.tree.new_id().await,
            Place::Instead { id } => Ok(id.clone()),
        }
    }

    fn upload<'a>(&'a self, place: &Place, id: &'a str, metadata: &'a Metadata, gauge: Arc<Gauge>) -> Upload<'a> {
        Upload {
            client: &self.tree.client,
            replaces: matches!(place, Place::Instead { .. }).then_some(id),
            metadata,
            kind: if is_json(self.path) { "application/json" } else { "application/octet-stream" },
            gauge,
            doing: format!("writing {}", self.path),
        }
    }

    /// What an upload made; one whose answer was lost may have made it earlier.
    async fn sent(&self, sent: Result<File, Failure>, place: &Place, id: &str) -> Result<File> {
        match place {
            Place::New { .. } => self.tree.made(sent, id, &format!("writing {}", self.path)).await,
            Place::Instead { .. } => Ok(sent?),
        }
    }

    /// Compares what Drive has with what was sent; a new file that is not that is taken away again.
    async fn check(&self, mut file: File, size: u64, sha256: Sha256, place: &Place) -> Result<Written> {
        let mut wait = FIRST_WAIT;
        let mut agreed = agrees(&file, size, &sha256);
        for _ in 0..LOOKS {
            if agreed.is_some() {
                break;
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
            let looked = self.tree.client.get(&file.id, &format!("checking {}", self.path)).await?;
            file = looked.ok_or_else(|| Error::not_found(format!("{} went away while it was written", self.path)))?;
            agreed = agrees(&file, size, &sha256);
        }
        if agreed == Some(false) {
            if let Place::New { .. } = place {
                self.tree.client.delete(&file.id, &format!("taking away {}", self.path)).await?;
            }
            return Err(
                Error::integrity(format!("{} arrived with other bytes than were sent", self.path)).hint("run it again")
            );
        }
        self.tree.mirror().wrote(&file);
        Ok(Written { id: Some(file.id), size, sha256, sent: size })
    }
}

fn metadata(place: &Place, id: &str, text: &str) -> Metadata {
    match place {
        Place::New { folder, name } if text.is_empty() => Metadata::new(id, name, folder),
        Place::New { folder, name } => Metadata::new(id, name, folder).with("description", text),
        // Also an empty one: what an earlier content said of itself is not true of this one.
        Place::Instead { .. } => Metadata::default().with("description", text),
    }
}

/// Bytes in memory cannot be sent by another process.
fn session_key(origin: &Origin, place: &Place) -> Option<SessionKey> {
    match (origin, place) {
        (Origin::File { path, size, modified }, Place::New { folder, name }) => Some(SessionKey {
            folder: folder.clone(),
            name: name.clone(),
            from: path.clone(),
            size: *size,
            modified: *modified,
        }),
        _ => None,
    }
}

fn is_json(path: &RemotePath) -> bool {
    std::path::Path::new(path.name()).extension().is_some_and(|extension| extension == "json")
}

pub(super) fn taken(path: &RemotePath) -> Error {
    Error::conflict(format!("`{path}` is taken"))
}
