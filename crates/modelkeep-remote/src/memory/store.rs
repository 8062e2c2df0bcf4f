//! The objects of a memory store and how they stand in each other, whoever sees them.
//!
//! Knows ids, folders, the quota, the clock. Does not know who sees what (that is `view`), transfers or async code.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use modelkeep_core::path::RemotePath;
use modelkeep_core::{Error, Kind, Result};

use super::stream::Content;
use super::{Profile, Snapshot};
use crate::remote::EntryKind;

/// Where the clock of a new store stands: 2025-01-01T00:00:00Z.
const BEGINNING: Timestamp = Timestamp::constant(1_735_689_600, 0);

/// The root folder.
pub(super) const ROOT: u64 = 0;

/// The store itself.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub profile: Profile,
    pub now: Timestamp,
    pub quota: Option<u64>,
    pub discard: bool,
    pub nodes: BTreeMap<u64, Node>,
    /// Ids drawn so far.
    drawn: u64,
    /// Objects created or moved so far.
    placed: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub parent: u64,
    pub name: String,
    pub body: Body,
    pub modified: Timestamp,
    pub placed: Placed,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    File(Content),
    /// Names and ids of what is in it.
    Dir(BTreeSet<(String, u64)>),
    Pointer(RemotePath),
}

/// How an object came to stand where it stands.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    /// Who put it there; `None` when nobody is late with it any more.
    pub by: Option<u32>,
    /// The how-manieth placement of the store it was.
    pub number: u64,
    /// How many looks of each other client that has looked will still miss it.
    pub late: BTreeMap<u32, u64>,
}

impl Node {
    pub fn is_dir(&self) -> bool {
        matches!(self.body, Body::Dir(_))
    }

    pub fn is_file(&self) -> bool {
        matches!(self.body, Body::File(_))
    }

    pub fn size(&self) -> u64 {
        if let Body::File(content) = &self.body { content.size } else { 0 }
    }

    pub fn kind(&self) -> EntryKind {
        match &self.body {
            Body::File(_) => EntryKind::File,
            Body::Dir(_) => EntryKind::Dir,
            Body::Pointer(target) => EntryKind::Pointer(Some(target.clone())),
        }
    }

    pub fn children(&self) -> impl Iterator<Item = &(String, u64)> {
        let children = if let Body::Dir(children) = &self.body { Some(children) } else { None };
        children.into_iter().flatten()
    }
}

impl Store {
    pub fn new(profile: Profile) -> Self {
        let placed = Placed { by: None, number: 0, late: BTreeMap::new() };
        let root =
            Node { parent: ROOT, name: String::new(), body: Body::Dir(BTreeSet::new()), modified: BEGINNING, placed };
        let nodes = BTreeMap::from([(ROOT, root)]);
        Self { profile, now: BEGINNING, quota: None, discard: false, nodes, drawn: 0, placed: 0 }
    }

    /// Bytes in all files.
    pub fn used(&self) -> u64 {
        self.nodes.values().map(Node::size).sum()
    }

    /// Lets every client see everything.
    pub fn settle(&mut self) {
        self.nodes.values_mut().for_each(|node| node.placed.by = None);
    }

    pub fn snapshot(&self) -> Snapshot {
        let mut all = Snapshot::new();
        for (&id, node) in self.nodes.iter().filter(|&(&id, _)| id != ROOT) {
            let sha256 = if let Body::File(content) = &node.body { Some(content.sha256) } else { None };
            all.entry(self.path(id).to_string()).or_default().push((node.kind(), sha256));
        }
        all
    }

    /// A new object.
    pub fn add(&mut self, client: u32, parent: u64, name: &str, body: Body) -> u64 {
        let id = self.draw_id();
        let placed = Placed { by: None, number: 0, late: BTreeMap::new() };
        let node = Node { parent, name: name.to_owned(), body, modified: self.now, placed };
        self.nodes.insert(id, node);
        self.place(client, id, parent, name);
        id
    }

    /// Gives an object another body where it stands.
    pub fn change(&mut self, id: u64, body: Body) {
        let modified = self.now;
        if let Some(node) = self.nodes.get_mut(&id) {
            (node.body, node.modified) = (body, modified);
        }
    }

    /// Puts an object under a name, from where it is.
    pub fn place(&mut self, client: u32, id: u64, parent: u64, name: &str) {
        self.unplace(id);
        self.placed += 1;
        let placed = Placed { by: Some(client), number: self.placed, late: BTreeMap::new() };
        if let Some(node) = self.nodes.get_mut(&id) {
            (node.parent, node.name, node.placed) = (parent, name.to_owned(), placed);
        }
        if let Some(Body::Dir(children)) = self.nodes.get_mut(&parent).map(|folder| &mut folder.body) {
            children.insert((name.to_owned(), id));
        }
    }

    fn unplace(&mut self, id: u64) {
        let node = self.node(id);
        let (parent, name) = (node.parent, node.name.clone());
        if let Some(Body::Dir(children)) = self.nodes.get_mut(&parent).map(|folder| &mut folder.body) {
            children.remove(&(name, id));
        }
    }

    /// Takes an object, and all that is in it, out of the store.
    pub fn delete(&mut self, id: u64) {
        self.unplace(id);
        self.forget(id);
    }

    fn forget(&mut self, id: u64) {
        if let Some(node) = self.nodes.remove(&id) {
            node.children().for_each(|&(_, child)| self.forget(child));
        }
    }

    pub fn node(&self, id: u64) -> &Node {
        &self.nodes[&id]
    }

    pub fn path(&self, id: u64) -> RemotePath {
        if id == ROOT {
            return RemotePath::root();
        }
        let node = self.node(id);
        self.path(node.parent).join(&node.name)
    }

    /// Whether `id` is `folder` or stands somewhere below it.
    pub fn is_within(&self, mut id: u64, folder: u64) -> bool {
        while id != folder && id != ROOT {
            id = self.node(id).parent;
        }
        id == folder
    }

    /// An id that looks like chance but is the seed's, and comes once.
    fn draw_id(&mut self) -> u64 {
        loop {
            self.drawn += 1;
            let id = mix(self.profile.seed.wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            if id != ROOT {
                return id;
            }
        }
    }

    pub fn refuse_over_quota(&self, more: u64, less: u64) -> Result<()> {
        match self.quota {
            Some(quota) if self.used() - less + more > quota => {
                Err(Error::new(Kind::Quota, format!("no room for {more} bytes: the store holds {quota}")))
            }
            _ => Ok(()),
        }
    }
}

/// The finalizer of `SplitMix64` (Steele and others, 2014): one to one, and no two neighbours look alike.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
