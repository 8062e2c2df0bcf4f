//! What is known of a tree on Drive: objects by id, names in folders, and how far that can be relied on.
//!
//! Knows ids, names and versions. Does not know the network or waiting: time is an argument. What is told twice, late or
//! out of order leaves the newest version standing.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use modelkeep_core::digest::Sha256;
use modelkeep_core::path::RemotePath;
use serde::{Deserialize, Serialize};

use super::node::{Body, Node};
use super::wire::{Change, File};

/// How much of a folder was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Look {
    All(String),
    Name(String, String),
}

/// When something was looked at.
#[derive(Debug, Clone, Copy)]
struct Looked {
    at: Instant,
    /// So long after the changes are followed that no listing can be late any more: it stays right.
    settled: bool,
    /// By an earlier process: what it did not find is looked for again.
    earlier: bool,
}

/// The known part of a tree.
#[derive(Debug)]
pub(super) struct Mirror {
    root: String,
    nodes: HashMap<String, Node>,
    names: HashMap<(String, String), BTreeSet<String>>,
    looked: HashMap<Look, Looked>,
    /// What we changed ourselves, and when: a late listing says nothing against it.
    ours: HashMap<String, Instant>,
    /// What Drive told of an object itself, and when: asked by id, or in answer to a write.
    asked: HashMap<String, Instant>,
    /// What we took away, with its version: a late listing does not bring it back.
    gone: HashMap<String, u64>,
    /// The changes up to here are known, and since when they are followed.
    token: Option<(String, Instant)>,
    synced: Option<Instant>,
    settle: Duration,
    /// Whether the changes tell everything that happens in this tree.
    trusted: bool,
}

/// What is kept for the next process.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    root: String,
    drive: Option<String>,
    token: String,
    /// Since when the changes are followed, in milliseconds since 1970.
    since: u64,
    nodes: Vec<(Node, Option<String>)>,
    /// Each with when it was made, as `since`, and whether it stays right.
    looked: Vec<(Look, u64, bool)>,
}

/// A listing is not late by more than this.
const LATEST: Duration = Duration::from_secs(120);
/// Larger contents are not kept for the next process.
const KEPT: usize = 64 << 10;
/// Larger contents that this process wrote are not kept for itself.
const OWN: usize = 1 << 20;

impl Mirror {
    pub fn new(root: String, trusted: bool, settle: Duration) -> Self {
        Self {
            root,
            nodes: HashMap::new(),
            names: HashMap::new(),
            looked: HashMap::new(),
            ours: HashMap::new(),
            asked: HashMap::new(),
            gone: HashMap::new(),
            token: None,
            synced: None,
            settle,
            trusted,
        }
    }

    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    pub fn get(&self, id: &str) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// What is known of that name in that folder, smallest id first.
    pub fn named(&self, folder: &str, name: &str) -> Vec<Node> {
        let ids = self.names.get(&(folder.to_owned(), name.to_owned())).into_iter().flatten();
        ids.filter_map(|id| self.nodes.get(id)).cloned().collect()
    }

    pub fn children(&self, folder: &str) -> Vec<Node> {
        self.nodes.values().filter(|node| node.parent == folder).cloned().collect()
    }

    /// Where an object stands; `None` if the way up is not known, or leads out of the tree.
    pub fn path(&self, id: &str) -> Option<RemotePath> {
        /// Drive allows a hundred levels.
        const DEEPEST: usize = 200;
        let (mut parts, mut id) = (Vec::new(), id);
        while id != self.root {
            let node = self.nodes.get(id)?;
            parts.push(&*node.name);
            id = &node.parent;
            if parts.len() > DEEPEST {
                return None;
            }
        }
        parts.reverse();
        parts.join("/").parse().ok()
    }

    /// Whether a folder stands in another, or is it.
    pub fn is_within(&self, id: &str, folder: &str) -> bool {
        let mut id = Some(id);
        for _ in 0..200 {
            match id {
                Some(here) if here == folder => return true,
                Some(here) => id = self.nodes.get(here).map(|node| &*node.parent),
                None => return false,
            }
        }
        true
    }

    /// The changes are known as of so short a time ago.
    pub fn is_synced(&self, within: Duration) -> bool {
        self.synced.is_some_and(|at| at.elapsed() <= within)
    }

    pub fn token(&self) -> Option<String> {
        self.token.as_ref().map(|(token, _)| token.clone())
    }

    /// Changes are followed from here on.
    pub fn begin(&mut self, token: String, now: Instant) {
        self.token = Some((token, now));
        self.synced = Some(now);
    }

    /// Forgets all, but what only a listing could have told falsely.
    pub fn forget(&mut self) {
        *self = Self::new(self.root.clone(), self.trusted, self.settle);
    }

    /// Whether a look need not be made again: it stays right by the changes, or was made so short a time ago.
    pub fn knows(&self, look: &Look, within: Duration) -> bool {
        // What was found stays right by the changes. A twin of it may be missing, if the look was too early: it is
        // looked for again once that can be told.
        let (all, found) = match look {
            Look::Name(folder, name) => {
                let found = self.trusted && self.names.contains_key(&(folder.clone(), name.clone()));
                (self.looked.get(&Look::All(folder.clone())), found)
            }
            Look::All(_) => (None, false),
        };
        let good = |looked: &Looked| {
            let age = looked.at.elapsed();
            let known = found && age <= self.settle || !looked.earlier && age <= within;
            (looked.settled && self.trusted) || known
        };
        all.is_some_and(good) || self.looked.get(look).is_some_and(good)
    }

    /// Whether nobody has looked into a folder so far.
    pub fn is_unseen(&self, folder: &str) -> bool {
        !self.looked.keys().any(|look| matches!(look, Look::All(seen) | Look::Name(seen, _) if seen == folder))
    }

    /// A listing that began at `began` found these.
    pub fn listed(&mut self, look: &Look, files: &[File], began: Instant) {
        let found: BTreeSet<&str> = files.iter().map(|file| &*file.id).collect();
        // Where the changes tell what goes away, a listing alone makes nothing missing: it may be late.
        let doubtful = match look {
            _ if self.trusted => Vec::new(),
            Look::All(folder) => self.children(folder),
            Look::Name(folder, name) => self.named(folder, name),
        };
        for node in doubtful {
            let recent = self.ours.get(&node.id).is_some_and(|at| *at + LATEST >= began);
            if !recent && !found.contains(&*node.id) {
                self.remove(&node.id);
            }
        }
        for file in files {
            if !self.gone.contains_key(&file.id) {
                self.put(file);
            }
        }
        let settled = self.token.as_ref().is_some_and(|(_, since)| *since + self.settle <= began);
        self.looked.insert(look.clone(), Looked { at: began, settled, earlier: false });
    }

    /// What an answer about this object itself said, which is never late.
    pub fn told(&mut self, file: &File) {
        if file.trashed {
            self.remove(&file.id);
        } else {
            self.gone.remove(&file.id);
            self.put(file);
        }
    }

    /// What Drive said of an object that it was asked about at `at`.
    pub fn answered(&mut self, file: &File, at: Instant) {
        self.told(file);
        self.asked.insert(file.id.clone(), at);
    }

    /// Whether Drive told of this object itself so short a time ago.
    pub fn is_asked(&self, id: &str, within: Duration) -> bool {
        self.asked.get(id).is_some_and(|at| at.elapsed() <= within)
    }

    /// What our own write made of it.
    pub fn wrote(&mut self, file: &File) {
        let now = Instant::now();
        self.ours.insert(file.id.clone(), now);
        self.asked.insert(file.id.clone(), now);
        self.told(file);
    }

    /// A folder that we made: nothing can be in it that the changes will not tell.
    pub fn made_folder(&mut self, file: &File) {
        self.wrote(file);
        let settled = self.token.is_some();
        self.looked.insert(Look::All(file.id.clone()), Looked { at: Instant::now(), settled, earlier: false });
    }

    /// What our own call took away.
    pub fn took(&mut self, id: &str, version: u64) {
        self.gone.insert(id.to_owned(), version);
        self.remove(id);
    }

    /// Goes on to what changed up to `token`, asked for at `now`.
    pub fn apply(&mut self, changes: Vec<Change>, token: String, now: Instant) {
        for change in changes {
            let Some(id) = change.file_id.or_else(|| change.file.as_ref().map(|file| file.id.clone())) else {
                continue;
            };
            match change.file {
                Some(file) if !change.removed && !file.trashed => self.changed(&file),
                _ => self.remove(&id),
            }
        }
        let since = self.token.as_ref().map_or(now, |(_, since)| *since);
        self.token = Some((token, since));
        self.synced = Some(now);
    }

    fn changed(&mut self, file: &File) {
        if self.gone.get(&file.id).is_some_and(|version| *version >= file.version) {
            return;
        }
        self.gone.remove(&file.id);
        let ours = |id: &String| *id == self.root || self.nodes.contains_key(id);
        // The whole account tells its changes; most are not of this tree.
        if file.parents.iter().any(ours) {
            self.put(file);
        } else {
            self.remove(&file.id);
        }
    }

    fn put(&mut self, file: &File) {
        // The root stands nowhere in its own tree.
        if file.id == self.root {
            return;
        }
        let Some(mut node) = Node::of(file) else { return self.remove(&file.id) };
        if let Some(known) = self.nodes.get(&node.id) {
            if known.version > node.version {
                return;
            }
            // A move changes no bytes.
            if node.content.is_none() && known.body == node.body {
                node.content.clone_from(&known.content);
            }
            let key = (known.parent.clone(), known.name.clone());
            self.unname(&key, &node.id);
        }
        let key = (node.parent.clone(), node.name.clone());
        self.names.entry(key).or_default().insert(node.id.clone());
        self.nodes.insert(node.id.clone(), node);
    }

    /// Keeps the bytes of a small file that were read.
    pub fn read(&mut self, id: &str, content: &Bytes) {
        self.keep(id, content, KEPT);
    }

    /// Keeps the bytes that this process wrote itself: it reads them again.
    pub fn wrote_content(&mut self, id: &str, content: &Bytes) {
        self.keep(id, content, OWN);
    }

    fn keep(&mut self, id: &str, content: &Bytes, most: usize) {
        if let Some(node) = self.nodes.get_mut(id)
            && content.len() <= most
            && let Body::File { size, sha256: Some(sha256) } = &node.body
            && *size == content.len() as u64
            && *sha256 == Sha256::of(content)
        {
            node.content = Some(content.clone());
        }
    }

    fn unname(&mut self, key: &(String, String), id: &str) {
        if let Some(ids) = self.names.get_mut(key) {
            ids.remove(id);
            if ids.is_empty() {
                self.names.remove(key);
            }
        }
    }

    /// Forgets an object, and with a folder all that is in it.
    pub fn remove(&mut self, id: &str) {
        let mut gone = vec![id.to_owned()];
        while let Some(id) = gone.pop() {
            let Some(node) = self.nodes.remove(&id) else { continue };
            self.unname(&(node.parent, node.name), &id);
            if node.body == Body::Folder {
                self.looked
                    .retain(|look, _| !matches!(look, Look::All(folder) | Look::Name(folder, _) if *folder == id));
                gone.extend(self.nodes.values().filter(|child| child.parent == id).map(|child| child.id.clone()));
            }
        }
    }

    /// For the next process; `None` while there is nothing worth it.
    pub fn save(&self, drive: Option<&str>) -> Option<Vec<u8>> {
        let (token, since) = self.token.as_ref().filter(|_| self.trusted)?;
        let since = since_1970(*since)?;
        let text = |node: &Node| node.content.as_ref().and_then(|content| String::from_utf8(content.to_vec()).ok());
        let nodes = self.nodes.values().map(|node| (node.clone(), text(node))).collect();
        let kept = |(look, looked): (&Look, &Looked)| Some((look.clone(), since_1970(looked.at)?, looked.settled));
        let looked = self.looked.iter().filter_map(kept).collect();
        let (root, token, drive) = (self.root.clone(), token.clone(), drive.map(str::to_owned));
        serde_json::to_vec(&Saved { root, drive, token, since, nodes, looked }).ok()
    }

    /// What an earlier process knew of the same tree, and which shared drive it is in.
    pub fn load(root: &str, settle: Duration, bytes: &[u8]) -> Option<(Self, Option<String>)> {
        let saved: Saved = serde_json::from_slice(bytes).ok()?;
        if saved.root != root {
            return None;
        }
        let mut mirror = Self::new(saved.root, true, settle);
        mirror.token = Some((saved.token, instant(saved.since)));
        for (mut node, content) in saved.nodes {
            node.content = content.map(Bytes::from);
            mirror.names.entry((node.parent.clone(), node.name.clone())).or_default().insert(node.id.clone());
            mirror.nodes.insert(node.id.clone(), node);
        }
        let known = |(look, at, settled)| (look, Looked { at: instant(at), settled, earlier: true });
        mirror.looked = saved.looked.into_iter().map(known).collect();
        Some((mirror, saved.drive))
    }
}

/// A moment for another process, in milliseconds since 1970.
fn since_1970(at: Instant) -> Option<u64> {
    let wall = SystemTime::now().checked_sub(at.elapsed())?;
    u64::try_from(wall.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// That moment here; one from the future is now.
fn instant(since_1970: u64) -> Instant {
    let now = Instant::now();
    let ago = (UNIX_EPOCH + Duration::from_millis(since_1970)).elapsed().unwrap_or_default();
    now.checked_sub(ago).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(id: &str, name: &str, parent: &str, version: u64) -> File {
        let kind = if name.contains('.') { "application/octet-stream" } else { super::super::wire::FOLDER };
        let json = serde_json::json!({
            "id": id, "name": name, "mimeType": kind, "parents": [parent], "size": "3", "version": version.to_string(),
        });
        serde_json::from_value(json).unwrap()
    }

    fn mirror() -> Mirror {
        let mut mirror = Mirror::new("root".into(), true, Duration::ZERO);
        mirror.begin("1".into(), Instant::now());
        mirror
    }

    fn all(folder: &str) -> Look {
        Look::All(folder.into())
    }

    fn path(mirror: &Mirror, id: &str) -> Option<String> {
        mirror.path(id).map(String::from)
    }

    #[test]
    fn older_news_does_not_undo_newer() {
        let mut mirror = mirror();
        mirror.listed(&all("root"), &[file("d", "dir", "root", 1)], Instant::now());
        mirror.wrote(&file("f", "new.txt", "d", 5));
        mirror.listed(&all("d"), &[file("f", "old.txt", "root", 4)], Instant::now());
        assert_eq!(path(&mirror, "f").as_deref(), Some("dir/new.txt"));
        mirror.listed(&all("d"), &[], Instant::now());
        assert_eq!(path(&mirror, "f").as_deref(), Some("dir/new.txt"), "a late listing says nothing against our own");
        mirror.took("f", 6);
        mirror.listed(&all("d"), &[file("f", "new.txt", "d", 5)], Instant::now());
        assert_eq!(path(&mirror, "f"), None, "nor brings back what we took away");
        mirror.told(&file("f", "new.txt", "d", 7));
        assert!(path(&mirror, "f").is_some(), "but it may be restored");
    }

    #[test]
    fn changes_move_take_and_leave_alone_what_is_not_ours() {
        let mut mirror = mirror();
        let change = |file: File| Change { file_id: Some(file.id.clone()), removed: false, file: Some(file) };
        mirror.listed(&all("root"), &[file("a", "a", "root", 1), file("b", "b", "root", 1)], Instant::now());
        mirror.listed(&all("a"), &[file("f", "f.x", "a", 1)], Instant::now());
        let news = vec![change(file("a", "c", "b", 2)), change(file("z", "z.x", "elsewhere", 1))];
        mirror.apply(news, "2".into(), Instant::now());
        assert_eq!(path(&mirror, "f").as_deref(), Some("b/c/f.x"));
        assert!(mirror.get("z").is_none());
        assert_eq!(mirror.token().as_deref(), Some("2"));
        let gone = Change { file_id: Some("b".into()), removed: true, file: None };
        mirror.apply(vec![gone], "3".into(), Instant::now());
        assert!(["a", "b", "f"].iter().all(|id| mirror.get(id).is_none()));
        assert!(mirror.knows(&all("root"), Duration::ZERO));
        assert!(!mirror.knows(&all("a"), Duration::ZERO));
    }

    #[test]
    fn a_young_listing_is_not_relied_on() {
        let mut mirror = Mirror::new("root".into(), true, Duration::from_secs(60));
        mirror.begin("1".into(), Instant::now());
        let long_ago = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        mirror.listed(&all("root"), &[file("d", "dir", "root", 1)], long_ago);
        assert!(mirror.knows(&all("root"), Duration::from_secs(5)));
        assert!(!mirror.knows(&all("root"), Duration::ZERO));
        mirror.made_folder(&file("d", "dir", "root", 2));
        assert!(mirror.knows(&Look::Name("d".into(), "x".into()), Duration::ZERO), "a folder of ours");
    }

    #[test]
    fn what_is_saved_comes_back_for_the_same_root() {
        let mut mirror = mirror();
        mirror.listed(&all("root"), &[file("d", "dir", "root", 1)], Instant::now());
        let saved = mirror.save(None).unwrap();
        let (again, _) = Mirror::load("root", Duration::from_secs(60), &saved).unwrap();
        assert_eq!(path(&again, "d").as_deref(), Some("dir"));
        assert!(again.knows(&all("root"), Duration::ZERO) && !again.is_synced(Duration::from_secs(9)));
        assert!(Mirror::load("another", Duration::ZERO, &saved).is_none());
    }
}
