//! Which id stands at a path, and ids for what is not there yet.
//!
//! Knows when what the mirror says will do and when Drive is asked. Where several objects have one path, reading means
//! all of them and writing the one with the smallest id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use modelkeep_core::path::RemotePath;
use modelkeep_core::{Error, Result};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Options;
use super::client::{Client, Metadata};
use super::error::Failure;
use super::mirror::{Look, Mirror};
use super::node::Node;
use super::wire::File;
use crate::remote::Object;

/// Folders on the way to something were looked for so short a time ago that they need no new look.
const WAY: Duration = Duration::from_secs(30);
/// A file that is known by id needs no call of its own while the changes are known as of then.
const KNOWN_FILE: Duration = Duration::from_secs(5);
/// As many ids at once as Drive makes: asked for once by most commands, and everybody who writes waits for it.
const IDS: usize = 1000;
/// So many new things are sent at once, however many tasks ask. Drive takes about three a second in the long run, more
/// for a while; more at once only brings refusals.
const AT_ONCE: usize = 8;

type Name = (String, String);

/// The tree below one folder, with all that is asked about it.
#[derive(Debug)]
pub(super) struct Tree {
    pub client: Client,
    pub root: String,
    /// The shared drive that it is in.
    pub drive: Option<String>,
    /// Whether the changes tell everything; else every look is a listing.
    trusted: bool,
    fresh: Duration,
    mirror: Mutex<Mirror>,
    syncing: tokio::sync::Mutex<()>,
    /// One writer for each name in this process, so that no two tasks give a name twice.
    writing: Mutex<HashMap<Name, Weak<tokio::sync::Mutex<()>>>>,
    ids: tokio::sync::Mutex<Vec<String>>,
    making: Semaphore,
}

/// What a path leads to.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub node: Node,
    pub path: RemotePath,
}

impl Tree {
    /// The tree below `root`, a folder in that shared drive if in any.
    pub fn new(client: Client, root: String, drive: Option<String>, trusted: bool, options: &Options) -> Self {
        let mirror = Mirror::new(root.clone(), trusted, options.settle);
        Self::known(client, root, drive, mirror, options)
    }

    /// The tree that an earlier process knew.
    pub fn known(client: Client, root: String, drive: Option<String>, mirror: Mirror, options: &Options) -> Self {
        Self {
            client,
            drive,
            trusted: mirror.is_trusted(),
            fresh: options.fresh,
            mirror: Mutex::new(mirror),
            syncing: tokio::sync::Mutex::new(()),
            writing: Mutex::default(),
            ids: tokio::sync::Mutex::default(),
            making: Semaphore::new(AT_ONCE),
            root,
        }
    }

    pub fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings what is known up to date, unless it was so short a time ago.
    pub async fn sync(&self, within: Duration) -> Result<()> {
        if !self.trusted || self.mirror().is_synced(within) {
            return Ok(());
        }
        let _one = self.syncing.lock().await;
        if self.mirror().is_synced(within) {
            return Ok(());
        }
        let now = Instant::now();
        let token = self.mirror().token();
        if let Some(token) = token {
            match self.client.changes(&token, self.drive.as_deref()).await {
                Ok((changes, token)) => {
                    self.mirror().apply(changes, token, now);
                    return Ok(());
                }
                // Where we were is no longer known there: begin again.
                Err(failure) if [400, 404, 410].iter().any(|status| failure.is(*status)) => self.mirror().forget(),
                Err(failure) => return Err(failure.into()),
            }
        }
        let token = self.client.start_of_changes(self.drive.as_deref()).await?;
        self.mirror().begin(token, now);
        Ok(())
    }

    /// Looks at folders together, unless it is known what is in them.
    async fn look(&self, looks: Vec<Look>, name: Option<&str>, within: Duration, doing: &str) -> Result<()> {
        let unknown: Vec<Look> = {
            let mirror = self.mirror();
            looks.into_iter().filter(|look| !mirror.knows(look, within)).collect()
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        if let ([Look::Name(folder, _)], Some(_)) = (&*unknown, name)
            && self.mirror().is_unseen(folder)
            && let Some(files) = self.client.list_if_few(folder, doing).await?
        {
            // All of it for the price of one name: the others need not be asked for.
            self.mirror().listed(&Look::All(folder.clone()), &files, began);
            return Ok(());
        }
        let folders: Vec<String> = unknown
            .iter()
            .map(|look| match look {
                Look::All(folder) | Look::Name(folder, _) => folder.clone(),
            })
            .collect();
        let mut files = self.client.list(&folders, name, doing).await?;
        if files.is_empty() && folders.len() > 1 {
            // A query for several folders has been seen to find nothing where it should:
            // https://issuetracker.google.com/149522397
            for folder in &folders {
                files.extend(self.client.list(std::slice::from_ref(folder), name, doing).await?);
            }
        }
        // Drive may fold case in a name; we do not.
        files.retain(|file| name.is_none_or(|name| file.name == name));
        let mut mirror = self.mirror();
        for (look, folder) in unknown.iter().zip(&folders) {
            let inside: Vec<File> = files.iter().filter(|file| file.parents.contains(folder)).cloned().collect();
            mirror.listed(look, &inside, began);
        }
        Ok(())
    }

    /// What stands in these folders under this name, smallest id first.
    async fn named(&self, folders: &[String], name: &str, within: Duration) -> Result<Vec<Node>> {
        let looks = folders.iter().map(|folder| Look::Name(folder.clone(), name.to_owned())).collect();
        self.look(looks, Some(name), within, &format!("looking for {name}")).await?;
        let mirror = self.mirror();
        let mut nodes: Vec<Node> = folders.iter().flat_map(|folder| mirror.named(folder, name)).collect();
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(nodes)
    }

    /// The ids of all folders of that path, smallest first.
    pub async fn folders(&self, path: &RemotePath) -> Result<Vec<String>> {
        let mut folders = vec![self.root.clone()];
        for part in path.parts() {
            let nodes = self.named(&folders, part, WAY).await?;
            folders = nodes.into_iter().filter(Node::is_folder).map(|node| node.id).collect();
            if folders.is_empty() {
                break;
            }
        }
        Ok(folders)
    }

    /// What stands under a name in folders that were just made or found.
    pub async fn standing(&self, folders: &[String], name: &str) -> Result<Vec<Node>> {
        self.named(folders, name, WAY).await
    }

    /// What stands at a path (not the root), smallest id first.
    pub async fn at(&self, path: &RemotePath) -> Result<Vec<Node>> {
        self.sync(self.fresh).await?;
        let folders = self.folders(&path.parent()).await?;
        self.named(&folders, path.name(), self.fresh).await
    }

    /// What stands in all folders of a path.
    pub async fn children(&self, path: &RemotePath) -> Result<Vec<Node>> {
        self.sync(self.fresh).await?;
        let folders = self.folders(path).await?;
        let looks = folders.iter().map(|folder| Look::All(folder.clone())).collect();
        self.look(looks, None, self.fresh, &format!("listing {}", shown(path))).await?;
        let mirror = self.mirror();
        Ok(folders.iter().flat_map(|folder| mirror.children(folder)).collect())
    }

    /// What an object means: one by id, as many as there are by path.
    pub async fn all(&self, object: &Object) -> Result<Vec<Found>> {
        let Some(id) = &object.id else {
            let found = |node| Found { node, path: object.path.clone() };
            return Ok(self.at(&object.path).await?.into_iter().map(found).collect());
        };
        if self.trusted {
            self.sync(KNOWN_FILE).await?;
            let mirror = self.mirror();
            if let Some(node) = mirror.get(id).filter(|node| node.is_file())
                && let Some(path) = mirror.path(id)
            {
                return Ok(vec![Found { node: node.clone(), path }]);
            }
        }
        let doing = format!("looking at {}", shown(&object.path));
        Ok(self.by_id_just_now(id, &doing).await?.into_iter().collect())
    }

    /// An object by id, as Drive told of it a moment ago, or tells now.
    pub async fn by_id_just_now(&self, id: &str, doing: &str) -> Result<Option<Found>> {
        {
            let mirror = self.mirror();
            if mirror.is_asked(id, self.fresh)
                && let (Some(node), Some(path)) = (mirror.get(id).cloned(), mirror.path(id))
            {
                return Ok(Some(Found { node, path }));
            }
        }
        self.by_id(id, doing).await
    }

    /// An object by id, as Drive has it now; `None` when it is nowhere in this tree.
    pub async fn by_id(&self, id: &str, doing: &str) -> Result<Option<Found>> {
        let at = Instant::now();
        let Some(file) = self.client.get(id, doing).await?.filter(|file| !file.trashed) else {
            self.mirror().remove(id);
            return Ok(None);
        };
        self.mirror().answered(&file, at);
        let Some(path) = self.climb(id, doing).await? else { return Ok(None) };
        let node = self.mirror().get(id).cloned();
        Ok(node.map(|node| Found { node, path }))
    }

    /// Where a known object stands, asking for the folders above it that are not known.
    pub async fn climb(&self, id: &str, doing: &str) -> Result<Option<RemotePath>> {
        let mut above = id.to_owned();
        loop {
            if let Some(path) = self.mirror().path(id) {
                return Ok(Some(path));
            }
            // Up to the first that is not known.
            let missing = {
                let mirror = self.mirror();
                while above != self.root
                    && let Some(node) = mirror.get(&above)
                {
                    above.clone_from(&node.parent);
                }
                above.clone()
            };
            if missing == self.root {
                // The way is whole but holds a name that no path can have.
                return Ok(self.mirror().path(id));
            }
            match self.client.get(&missing, doing).await? {
                Some(file) if !file.trashed && !file.parents.is_empty() => {
                    self.mirror().told(&file);
                    if self.mirror().get(&missing).is_none() {
                        return Ok(None);
                    }
                }
                _ => return Ok(None),
            }
        }
    }

    /// Where a shortcut leads to, in this tree.
    pub async fn target(&self, id: &str) -> Result<Option<RemotePath>> {
        if let Some(path) = self.mirror().path(id) {
            return Ok(Some(path));
        }
        Ok(self.by_id(id, "looking at a shortcut's target").await?.map(|found| found.path))
    }

    /// Waits until nobody else in this process writes that name.
    pub async fn lock(&self, folder: &str, name: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            writing.retain(|_, lock| lock.strong_count() > 0);
            let key = (folder.to_owned(), name.to_owned());
            let known = writing.get(&key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::new(tokio::sync::Mutex::new(()));
                writing.insert(key, Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }

    /// An id for a file or folder that nobody had before.
    pub async fn new_id(&self) -> Result<String> {
        let mut ids = self.ids.lock().await;
        if ids.is_empty() {
            *ids = self.client.generate_ids(IDS, "files").await?;
        }
        ids.pop().ok_or_else(|| Error::internal("Drive made no ids"))
    }

    /// The folder to write to at that path, made with those above it where there is none; all folders of the path.
    pub async fn make_folders(&self, path: &RemotePath) -> Result<Vec<String>> {
        self.sync(WAY).await?;
        let mut folders = vec![self.root.clone()];
        for part in path.parts() {
            let standing = self.named(&folders, part, WAY).await?;
            let mut below = only_folders(&standing, part, path)?;
            if below.is_empty() {
                let _one = self.lock(&folders[0], part).await;
                // Another task may have made it meanwhile.
                let standing = self.named(&folders, part, WAY).await?;
                below = only_folders(&standing, part, path)?;
                if below.is_empty() {
                    below.push(self.make_folder(&folders[0], part).await?);
                }
            }
            folders = below;
        }
        Ok(folders)
    }

    /// Waits until something new may be sent.
    pub async fn turn(&self) -> Result<SemaphorePermit<'_>> {
        self.making.acquire().await.map_err(|error| Error::internal("the uploads were closed").because(error))
    }

    async fn make_folder(&self, parent: &str, name: &str) -> Result<String> {
        let _turn = self.turn().await?;
        let id = self.new_id().await?;
        let doing = format!("creating the folder {name}");
        let made = self.client.create(&Metadata::new(&id, name, parent).folder(), &doing).await;
        let file = self.made(made, &id, &doing).await?;
        self.mirror().made_folder(&file);
        Ok(id)
    }

    /// What a call with an id made beforehand has made. A taken id means that an earlier attempt arrived.
    pub async fn made(&self, made: Result<File, Failure>, id: &str, doing: &str) -> Result<File> {
        match made {
            Err(failure) if failure.is(409) => {
                let there = self.client.get(id, doing).await?;
                there.filter(|file| !file.trashed).ok_or_else(|| failure.into())
            }
            other => Ok(other?),
        }
    }
}

/// The folders among what stands under a name; it is an error if only something else does.
fn only_folders(standing: &[Node], part: &str, path: &RemotePath) -> Result<Vec<String>> {
    let folders: Vec<String> = standing.iter().filter(|node| node.is_folder()).map(|node| node.id.clone()).collect();
    if folders.is_empty() && !standing.is_empty() {
        return Err(Error::conflict(format!("`{part}` in `{path}` is no folder")));
    }
    Ok(folders)
}

/// A path for a message.
pub(super) fn shown(path: &RemotePath) -> &str {
    if path.as_str().is_empty() { "the root folder" } else { path.as_str() }
}
