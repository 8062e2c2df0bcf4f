//! A folder on Drive as a remote.
//!
//! Knows what each promise of [`Remote`] takes on a store with ids and equal names. Does not know how requests are made.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use modelkeep_core::path::RemotePath;
use modelkeep_core::{Error, Kind, Result};

use super::Options;
use super::auth::Auth;
use super::client::Metadata;
use super::download::{Download, Room};
use super::error::Failure;
use super::folders::{Drive, account};
use super::gauge::Gauge;
use super::ids::{Found, Tree, shown};
use super::limit::Spent;
use super::node::{Body, Node};
use super::write::{Write, taken};
use crate::remote::{
    Capabilities, Copied, Entry, EntryKind, Inline, Meter, Mode, Object, PointerKind, Remote, Source, Transferred,
    Usage, Written,
};

/// A folder on Google Drive.
///
/// A path means all objects of that path for reading, and the folder with the smallest id for writing. Moving or
/// deleting by path what stands there several times is a `Conflict`: only an id says which.
pub struct DriveRemote {
    tree: Tree,
    options: Options,
    room: Room,
}

impl fmt::Debug for DriveRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriveRemote").field("root", &self.tree.root).finish_non_exhaustive()
    }
}

impl DriveRemote {
    /// Opens the folder with this id.
    pub async fn open(options: Options, auth: Auth, folder: &str) -> Result<Self> {
        Drive::new(options, auth)?.open(folder).await
    }

    /// Makes a folder in the account's own Drive, and opens it.
    pub async fn create(options: Options, auth: Auth, name: &str) -> Result<Self> {
        Drive::new(options, auth)?.create(name).await
    }

    pub(super) fn around(tree: Tree, options: Options) -> Self {
        Self { tree, options, room: Room::default() }
    }

    /// Keeps what is known of the tree in this file from now on.
    pub fn cache_at(&mut self, path: PathBuf) {
        self.options.cache = Some(path);
    }

    /// The root folder's id.
    pub fn id(&self) -> &str {
        &self.tree.root
    }

    /// Whose Drive it is: an e-mail address.
    pub async fn account(&self) -> Result<String> {
        account(&self.tree.client).await
    }

    /// Lets the account with this address use the folder; to write too, or to read only. Saying it again changes nothing.
    pub async fn share(&self, email: &str, write: bool) -> Result<()> {
        let role = if write { "writer" } else { "reader" };
        let doing = format!("sharing the folder with {email}");
        Ok(self.tree.client.share(&self.tree.root, email, role, &doing).await?)
    }

    /// What was asked of Google so far.
    pub fn spent(&self) -> Spent {
        self.tree.client.http.limiter.spent()
    }

    /// Keeps what is known of the tree for the next process. Failing at it costs calls, and is no error.
    pub fn save(&self) {
        let Some(path) = &self.options.cache else { return };
        let Some(bytes) = self.tree.mirror().save(self.tree.drive.as_deref()) else { return };
        let partial = path.with_extension(format!("{}.partial", std::process::id()));
        let written = std::fs::write(&partial, bytes).and_then(|()| std::fs::rename(&partial, path));
        if written.is_err() {
            let _ = std::fs::remove_file(&partial);
        }
    }

    /// The one that an object means, when it is to be moved or deleted.
    async fn only(&self, object: &Object) -> Result<Option<Found>> {
        if object.path.as_str().is_empty() && object.id.as_ref().is_none_or(|id| *id == self.tree.root) {
            return Err(Error::usage("the root of a store can neither move nor go"));
        }
        // Drive itself is asked: what is moved or taken away should be where it is thought to be.
        let mut found = match &object.id {
            Some(id) => {
                let doing = format!("looking at {}", object.path);
                self.tree.by_id_just_now(id, &doing).await?.into_iter().collect()
            }
            None => self.tree.all(object).await?,
        };
        if found.len() > 1 {
            let path = &object.path;
            return Err(Error::conflict(format!("several objects stand at `{path}`: only an id says which is meant"))
                .hint("modelkeep repair"));
        }
        Ok(found.pop())
    }

    /// The file that an object means; of several with one path, that with the smallest id.
    async fn file(&self, object: &Object) -> Result<Found> {
        if object.id.is_none() && object.path.as_str().is_empty() {
            return Err(Error::integrity("the root of a store is not a file"));
        }
        let standing = self.tree.all(object).await?;
        let empty = standing.is_empty();
        let file = standing.into_iter().find(|found| found.node.is_file());
        file.ok_or_else(|| {
            if empty { missing(&object.path) } else { Error::integrity(format!("`{}` is not a file", object.path)) }
        })
    }

    /// An error of a call on an object, which may show that the object is gone.
    fn failed(&self, failure: Failure, id: &str, path: &RemotePath) -> Error {
        if failure.is(404) {
            self.tree.mirror().remove(id);
            return missing(path);
        }
        failure.into()
    }

    async fn entry(&self, found: Found, content: bool) -> Result<Entry> {
        let Found { node, path } = found;
        let (kind, size, sha256) = match node.body {
            Body::Folder => (EntryKind::Dir, 0, None),
            Body::File { size, sha256 } => (EntryKind::File, size, sha256),
            Body::Shortcut { target: None } => (EntryKind::Pointer(None), 0, None),
            Body::Shortcut { target: Some(id) } => (EntryKind::Pointer(self.tree.target(&id).await?), 0, None),
            Body::Other => (EntryKind::Other, 0, None),
        };
        let content = node.content.filter(|_| content);
        Ok(Entry { path, id: Some(node.id), kind, size, modified: node.modified, sha256, content })
    }

    fn download<'a>(&'a self, found: &'a Found) -> Download<'a> {
        Download {
            client: &self.tree.client,
            room: &self.room,
            id: &found.node.id,
            doing: format!("reading {}", found.path),
        }
    }

    /// To Drive's trash, or for good.
    async fn take_away(&self, node: &Node, for_good: bool, doing: &str) -> Result<()> {
        let client = &self.tree.client;
        if for_good {
            match client.delete(&node.id, doing).await {
                // Only its owner may delete a file; others may trash it.
                Err(Failure::Refused(refusal)) if refusal.error().kind() == Kind::Auth => {}
                Err(failure) => return Err(failure.into()),
                Ok(()) => {
                    self.tree.mirror().took(&node.id, u64::MAX);
                    return Ok(());
                }
            }
        }
        match client.update(&node.id, &Metadata::default().with("trashed", true), None, doing).await {
            Ok(file) => self.tree.mirror().took(&node.id, file.version),
            Err(failure) if failure.is(404) => self.tree.mirror().remove(&node.id),
            // In a folder that people share only its owner may delete a file; whoever writes may move it.
            Err(Failure::Refused(refusal)) if refusal.says("insufficientFilePermissions") => {
                return self.put_aside(node, doing, refusal.error()).await;
            }
            Err(failure) => return Err(failure.into()),
        }
        Ok(())
    }

    /// Moves what is somebody else's out of the way, under a name that nothing else has.
    async fn put_aside(&self, node: &Node, doing: &str, refused: Error) -> Result<()> {
        let Some(aside) = &self.options.aside else { return Err(refused) };
        let folders = self.tree.make_folders(aside).await?;
        let to = aside.join(&format!("{}.{}", node.name, node.id));
        self.move_to(node, &folders[0], &to, doing).await.map(drop)
    }

    /// Moves an object into the folder that is written to, where several stand at the path of its folder.
    async fn bring_home(&self, found: &Found) -> Result<()> {
        let Found { node, path } = found;
        let folders = self.tree.make_folders(&path.parent()).await?;
        let _one = self.tree.lock(&folders[0], path.name()).await;
        let standing = self.tree.standing(&folders[..1], path.name()).await?;
        if node.parent == folders[0] || !standing.is_empty() {
            return Err(taken(path));
        }
        let doing = format!("moving {path} beside the others");
        if self.move_to(node, &folders[0], path, &doing).await? { Ok(()) } else { Err(taken(path)) }
    }

    /// Moves an object whose folder is known; `false` when it stands elsewhere by now.
    async fn move_to(&self, node: &Node, folder: &str, to: &RemotePath, doing: &str) -> Result<bool> {
        let from_to = (node.parent != folder).then_some((&*node.parent, folder));
        let metadata = Metadata::default().with("name", to.name());
        match self.tree.client.update(&node.id, &metadata, from_to, doing).await {
            Ok(file) => {
                let there = file.parents.iter().any(|parent| parent == folder);
                self.tree.mirror().wrote(&file);
                Ok(there)
            }
            Err(failure) if failure.is(404) => Err(self.failed(failure, &node.id, to)),
            Err(failure) if failure.is(403) && from_to.is_some() => {
                let now = self.tree.client.get(&node.id, doing).await?;
                if now.is_some_and(|file| file.parents.contains(&node.parent)) {
                    Err(failure.into())
                } else {
                    Ok(false)
                }
            }
            Err(failure) => Err(failure.into()),
        }
    }
}

impl Drop for DriveRemote {
    fn drop(&mut self) {
        self.save();
    }
}

#[async_trait]
impl Remote for DriveRemote {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            ids: true,
            unique_names: false,
            late_listings: true,
            pointers: PointerKind::Shortcut,
            checksums: true,
            copies: true,
            exchange: false,
            confirms: true,
            cheap_reads: false,
            simulated: false,
        }
    }

    fn describe(&self) -> String {
        format!("gdrive:{}", self.tree.root)
    }

    async fn now(&self) -> Result<Timestamp> {
        let http = &self.tree.client.http;
        if let Some(now) = http.time() {
            return Ok(now);
        }
        self.tree.client.about("asking Drive for the time").await?;
        http.time().ok_or_else(|| Error::new(Kind::Unavailable, "Drive does not tell the time"))
    }

    async fn list(&self, dir: &RemotePath, inline: Inline<'_>) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for node in self.tree.children(dir).await? {
            let wanted = match inline {
                Inline::No => false,
                Inline::UpTo(limit, wants) => {
                    matches!(node.body, Body::File { size, .. } if size <= limit) && wants(&node.name)
                }
            };
            let path = dir.join(&node.name);
            entries.push(self.entry(Found { node, path }, wanted).await?);
        }
        Ok(entries)
    }

    async fn find(&self, object: &Object) -> Result<Option<Entry>> {
        if object.path.as_str().is_empty() && object.id.as_ref().is_none_or(|id| *id == self.tree.root) {
            let file = self.tree.client.get(&self.tree.root, "looking at the root folder").await?;
            return Ok(file.filter(|file| !file.trashed).map(|file| Entry {
                modified: file.changed(),
                id: Some(file.id),
                kind: EntryKind::Dir,
                ..Entry::named(RemotePath::root())
            }));
        }
        match self.tree.all(object).await?.into_iter().next() {
            Some(found) => self.entry(found, false).await.map(Some),
            None => Ok(None),
        }
    }

    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes> {
        let found = self.file(object).await?;
        if let Some(content) = &found.node.content
            && self.tree.mirror().is_synced(self.options.fresh)
        {
            let length = content.len() as u64;
            let (start, end) = (range.start.min(length), range.end.min(length));
            // Both are within a length that is in memory.
            let narrow = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            return Ok(content.slice(narrow(start)..narrow(end.max(start))));
        }
        let read = self.download(&found).read(range.clone()).await;
        let bytes = read.map_err(|failure| self.failed(failure, &found.node.id, &found.path))?;
        if range.start == 0 {
            self.tree.mirror().read(&found.node.id, &bytes);
        }
        Ok(bytes)
    }

    async fn fetch(&self, object: &Object, to: &Path, meter: Arc<dyn Meter>) -> Result<Transferred> {
        let found = self.file(object).await?;
        let size = if let Body::File { size, .. } = found.node.body { size } else { 0 };
        self.download(&found).fetch(to, size, self.options.piece, Gauge::new(meter)).await
    }

    async fn write(&self, path: &RemotePath, source: Source, mode: Mode, meter: Arc<dyn Meter>) -> Result<Written> {
        Write { tree: &self.tree, options: &self.options, path, meter }.run(source, mode).await
    }

    async fn write_many(&self, files: Vec<(RemotePath, PathBuf)>, meter: Arc<dyn Meter>) -> Result<Vec<Written>> {
        let writes = files.into_iter().map(|(path, from)| {
            let meter = Arc::clone(&meter);
            async move { self.write(&path, Source::File(from), Mode::New, meter).await }
        });
        // Folders are made ahead of their files; how many files go up at once is for each to wait.
        let at_once = writes.len().max(1);
        stream::iter(writes).buffered(at_once).try_collect().await
    }

    async fn copy(&self, from: &Object, to: &RemotePath, meter: Arc<dyn Meter>) -> Result<Copied> {
        let found = self.file(from).await?;
        let folders = self.tree.make_folders(&to.parent()).await?;
        let _one = self.tree.lock(&folders[0], to.name()).await;
        if to.as_str().is_empty() || !self.tree.standing(&folders, to.name()).await?.is_empty() {
            return Err(taken(to));
        }
        let id = self.tree.new_id().await?;
        let doing = format!("copying {} to {to}", found.path);
        // What rides along is true of the copy too; Drive would keep it anyway.
        let metadata = Metadata::new(&id, to.name(), &folders[0]);
        let copied = match self.tree.client.copy(&found.node.id, &metadata, &doing).await {
            Err(failure) if failure.is(404) => return Err(self.failed(failure, &found.node.id, &found.path)),
            other => self.tree.made(other, &id, &doing).await?,
        };
        self.tree.mirror().wrote(&copied);
        Gauge::new(meter).reach(copied.size)?;
        Ok(Copied { id: Some(id), size: copied.size })
    }

    async fn rename(&self, from: &Object, to: &RemotePath) -> Result<()> {
        let found = self.only(from).await?.ok_or_else(|| missing(&from.path))?;
        if to.as_str().is_empty() {
            return Err(taken(to));
        }
        if *to == found.path {
            return self.bring_home(&found).await;
        }
        let inside = || Error::conflict(format!("`{}` cannot move into itself", found.path));
        if to.below(&found.path).is_some() && found.node.is_folder() {
            return Err(inside());
        }
        if !self.tree.at(to).await?.is_empty() {
            return Err(taken(to));
        }
        let folders = self.tree.make_folders(&to.parent()).await?;
        if self.tree.mirror().is_within(&folders[0], &found.node.id) {
            return Err(inside());
        }
        let _one = self.tree.lock(&folders[0], to.name()).await;
        if !self.tree.standing(&folders, to.name()).await?.is_empty() {
            return Err(taken(to));
        }
        let doing = format!("moving {} to {to}", found.path);
        if self.move_to(&found.node, &folders[0], to, &doing).await? {
            return Ok(());
        }
        Err(Error::conflict(format!("{doing}: somebody else moved it")).hint("run it again"))
    }

    async fn exchange(&self, _: &RemotePath, _: &RemotePath) -> Result<()> {
        Err(Error::usage("Drive cannot swap folders"))
    }

    async fn create_dir(&self, path: &RemotePath) -> Result<Entry> {
        let folders = self.tree.make_folders(path).await?;
        let node = self.tree.mirror().get(&folders[0]).cloned();
        match node {
            Some(node) => self.entry(Found { node, path: path.clone() }, false).await,
            None => self.find(&Object::from(path)).await?.ok_or_else(|| missing(path)),
        }
    }

    async fn point(&self, path: &RemotePath, target: &RemotePath) -> Result<()> {
        if path.as_str().is_empty() {
            return Err(taken(path));
        }
        let doing = format!("pointing {path} to {target}");
        let to = match target.as_str() {
            "" => self.tree.root.clone(),
            _ => self.tree.at(target).await?.into_iter().next().ok_or_else(|| missing(target))?.id,
        };
        let folders = self.tree.make_folders(&path.parent()).await?;
        let _one = self.tree.lock(&folders[0], path.name()).await;
        let mut standing = self.tree.at(path).await?;
        let targets = |node: &Node| matches!(&node.body, Body::Shortcut { target } if target.as_ref() == Some(&to));
        if standing.iter().any(|node| !matches!(node.body, Body::Shortcut { .. })) {
            return Err(taken(path));
        }
        // Where a shortcut leads cannot be changed: the new one first, so that there always is one.
        if let Some(right) = standing.iter().position(targets) {
            standing.remove(right);
        } else {
            let ids = self.tree.client.generate_ids(1, "shortcuts").await?;
            let id = ids.first().ok_or_else(|| Error::internal("Drive made no ids"))?;
            let metadata = Metadata::new(id, path.name(), &folders[0]).shortcut(&to);
            let made = self.tree.client.create(&metadata, &doing).await;
            let file = self.tree.made(made, id, &doing).await?;
            self.tree.mirror().wrote(&file);
        }
        for old in standing {
            self.take_away(&old, true, &doing).await?;
        }
        Ok(())
    }

    async fn delete(&self, object: &Object) -> Result<()> {
        let Some(found) = self.only(object).await? else { return Ok(()) };
        // A shortcut holds nothing that anybody could want back.
        let for_good = self.options.permanent_delete || matches!(found.node.body, Body::Shortcut { .. });
        self.take_away(&found.node, for_good, &format!("deleting {}", shown(&found.path))).await
    }

    async fn flush(&self, _: &[RemotePath]) -> Result<()> {
        // An answered write is on Google's disks.
        Ok(())
    }

    async fn usage(&self) -> Result<Usage> {
        let quota = self.tree.client.about("asking how full Drive is").await?.storage_quota;
        Ok(Usage { quota: quota.limit, used: quota.usage, trashed: quota.usage_in_drive_trash })
    }
}

fn missing(path: &RemotePath) -> Error {
    Error::not_found(format!("there is nothing at `{path}`"))
}
