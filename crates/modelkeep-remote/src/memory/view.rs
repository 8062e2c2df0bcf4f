//! A memory store as one client sees it: paths, lateness, and what each call does to the objects.
//!
//! Knows which of several objects a path means and when a name is taken for this client. Does not know transfers,
//! meters or async code. A method that fails has changed nothing.

use std::collections::BTreeSet;

use modelkeep_core::path::RemotePath;
use modelkeep_core::{Error, Result};

use super::Profile;
use super::store::{Body, ROOT, Store, mix};
use super::stream::Content;
use crate::remote::{Entry, Inline, Mode, Object, Written};

/// The store as one client sees it during one call.
pub(super) struct View<'a> {
    store: &'a mut Store,
    client: u32,
    /// What this call has missed, so that it goes on missing it, and misses it once.
    missed: BTreeSet<u64>,
}

impl<'a> View<'a> {
    pub fn new(store: &'a mut Store, client: u32) -> Self {
        Self { store, client, missed: BTreeSet::new() }
    }

    pub fn list(&mut self, dir: &RemotePath, inline: Inline<'_>) -> Vec<Entry> {
        let mut ids = Vec::new();
        for folder in self.folders(dir) {
            ids.extend(self.store.node(folder).children().map(|&(_, id)| id));
        }
        ids.retain(|&id| self.sees(id));
        ids.into_iter().map(|id| self.entry(id, inline)).collect()
    }

    pub fn find(&mut self, object: &Object) -> Option<Entry> {
        self.all(object).first().map(|&id| self.entry(id, Inline::No))
    }

    /// A file's bytes; of several with one path, those of the smallest id.
    pub fn content(&mut self, object: &Object) -> Result<Content> {
        let standing = self.all(object);
        let file = standing.iter().find_map(|&id| match &self.store.node(id).body {
            Body::File(content) => Some(content.clone()),
            _ => None,
        });
        file.ok_or_else(|| match standing[..] {
            [] => missing(&object.path),
            _ => Error::integrity(format!("`{}` is not a file", object.path)),
        })
    }

    pub fn write(&mut self, path: &RemotePath, content: Content, mode: Mode) -> Result<Written> {
        let standing = self.at(path);
        let file = standing.iter().copied().find(|&id| self.store.node(id).is_file());
        let replaced = file.filter(|_| mode != Mode::New);
        if mode == Mode::Refresh && self.folders(&path.parent()).is_empty() {
            return Err(missing(&path.parent()));
        }
        if replaced.is_none() && !standing.is_empty() {
            return Err(taken(path));
        }
        let (size, sha256) = (content.size, content.sha256);
        self.store.refuse_over_quota(size, replaced.map_or(0, |id| self.store.node(id).size()))?;
        let id = match replaced {
            Some(id) => {
                self.store.change(id, Body::File(content));
                id
            }
            None => self.create(path, Body::File(content))?,
        };
        Ok(Written { id: self.shown_id(id), size, sha256, sent: size })
    }

    pub fn rename(&mut self, from: &Object, to: &RemotePath) -> Result<()> {
        let id = self.only(from)?.ok_or_else(|| missing(&from.path))?;
        if !self.at(to).is_empty() {
            return Err(taken(to));
        }
        let (above, _) = self.reach(&to.parent())?;
        if self.store.is_within(above, id) {
            return Err(Error::conflict(format!("`{}` cannot move into itself", from.path)));
        }
        let parent = self.make_folders(&to.parent())?;
        self.store.place(self.client, id, parent, to.name());
        Ok(())
    }

    pub fn exchange(&mut self, one: &RemotePath, other: &RemotePath) -> Result<()> {
        let mut folder = |path: &RemotePath| {
            let id = self.only(&Object::at(path.clone()))?.ok_or_else(|| missing(path))?;
            if self.store.node(id).is_dir() { Ok(id) } else { Err(Error::conflict(format!("`{path}` is no folder"))) }
        };
        let (first, second) = (folder(one)?, folder(other)?);
        if self.store.is_within(first, second) || self.store.is_within(second, first) {
            return Err(Error::conflict(format!("`{one}` and `{other}` are not two folders side by side")));
        }
        let (first_parent, second_parent) = (self.store.node(first).parent, self.store.node(second).parent);
        self.store.place(self.client, first, second_parent, other.name());
        self.store.place(self.client, second, first_parent, one.name());
        Ok(())
    }

    pub fn create_dir(&mut self, path: &RemotePath) -> Result<Entry> {
        let id = self.make_folders(path)?;
        Ok(self.entry(id, Inline::No))
    }

    pub fn point(&mut self, path: &RemotePath, target: &RemotePath) -> Result<()> {
        let standing = self.at(path);
        let pointer = standing.iter().copied().find(|&id| matches!(self.store.node(id).body, Body::Pointer(_)));
        let body = Body::Pointer(target.clone());
        match pointer {
            Some(id) => self.store.change(id, body),
            None if standing.is_empty() => drop(self.create(path, body)?),
            None => return Err(taken(path)),
        }
        Ok(())
    }

    pub fn delete(&mut self, object: &Object) -> Result<()> {
        if let Some(id) = self.only(object)? {
            self.store.delete(id);
        }
        Ok(())
    }

    /// Whether this client sees the object under its name. Each first look in a call is one look less to miss it.
    fn sees(&mut self, id: u64) -> bool {
        let Profile { capabilities, seed } = self.store.profile;
        let Some(node) = self.store.nodes.get_mut(&id) else { return false };
        let foreign = node.placed.by.is_some_and(|by| by != self.client);
        if !capabilities.late_listings || !foreign {
            return true;
        }
        if self.missed.contains(&id) {
            return false;
        }
        let chance = mix(seed ^ mix(node.placed.number) ^ mix(u64::from(self.client)).rotate_left(32));
        let left = node.placed.late.entry(self.client).or_insert(1 + chance % 3);
        if *left == 0 {
            return true;
        }
        *left -= 1;
        self.missed.insert(id);
        false
    }

    /// What this client sees of that name in these folders, smallest id first.
    fn named(&mut self, folders: &[u64], name: &str) -> Vec<u64> {
        let range = (name.to_owned(), 0)..=(name.to_owned(), u64::MAX);
        let mut ids = Vec::new();
        for &folder in folders {
            if let Body::Dir(children) = &self.store.node(folder).body {
                ids.extend(children.range(range.clone()).map(|&(_, id)| id));
            }
        }
        ids.retain(|&id| self.sees(id));
        ids.sort_unstable();
        ids
    }

    /// All folders of that path, smallest id first.
    fn folders(&mut self, path: &RemotePath) -> Vec<u64> {
        let mut ids = self.at(path);
        ids.retain(|&id| self.store.node(id).is_dir());
        ids
    }

    /// All objects of that path, smallest id first. A pointer on the way is not followed.
    fn at(&mut self, path: &RemotePath) -> Vec<u64> {
        path.parts().fold(vec![ROOT], |folders, part| self.named(&folders, part))
    }

    /// All that an object may mean: one by id, and as many as there are by path.
    fn all(&mut self, object: &Object) -> Vec<u64> {
        match &object.id {
            Some(id) if self.store.profile.capabilities.ids => {
                let id = u64::from_str_radix(id, 16).ok().filter(|id| self.store.nodes.contains_key(id));
                id.into_iter().collect()
            }
            _ => self.at(&object.path),
        }
    }

    /// The one that an object means, when it is to be moved or deleted.
    fn only(&mut self, object: &Object) -> Result<Option<u64>> {
        let path = &object.path;
        match self.all(object)[..] {
            [] => Ok(None),
            [ROOT] => Err(Error::usage("the root of a store can neither move nor go")),
            [id] => Ok(Some(id)),
            _ => Err(Error::conflict(format!("several objects stand at `{path}`: only an id says which is meant"))),
        }
    }

    /// How far down a path folders stand: the last one, and how many parts of the path are missing below it.
    fn reach(&mut self, path: &RemotePath) -> Result<(u64, usize)> {
        let mut folders = vec![ROOT];
        let parts: Vec<_> = path.parts().collect();
        for (depth, part) in parts.iter().enumerate() {
            let standing = self.named(&folders, part);
            let below: Vec<_> = standing.iter().copied().filter(|&id| self.store.node(id).is_dir()).collect();
            if below.is_empty() {
                let free = standing.is_empty();
                return if free { Ok((folders[0], parts.len() - depth)) } else { Err(in_the_way(path, part)) };
            }
            folders = below;
        }
        Ok((folders[0], 0))
    }

    /// The folder to write to at that path; made, with those above it, where none is seen.
    fn make_folders(&mut self, path: &RemotePath) -> Result<u64> {
        let (mut folder, missing) = self.reach(path)?;
        let parts: Vec<_> = path.parts().collect();
        for part in &parts[parts.len() - missing..] {
            folder = self.store.add(self.client, folder, part, Body::Dir(BTreeSet::new()));
        }
        Ok(folder)
    }

    fn create(&mut self, path: &RemotePath, body: Body) -> Result<u64> {
        let parent = self.make_folders(&path.parent())?;
        Ok(self.store.add(self.client, parent, path.name(), body))
    }

    fn shown_id(&self, id: u64) -> Option<String> {
        self.store.profile.capabilities.ids.then(|| format!("{id:016x}"))
    }

    fn entry(&self, id: u64, inline: Inline<'_>) -> Entry {
        let node = self.store.node(id);
        let file = if let Body::File(content) = &node.body { Some(content) } else { None };
        let wanted = file.filter(|content| match inline {
            Inline::No => false,
            Inline::UpTo(limit, wants) => content.size <= limit && wants(&node.name),
        });
        Entry {
            path: self.store.path(id),
            id: self.shown_id(id),
            kind: node.kind(),
            size: node.size(),
            modified: node.modified,
            sha256: file.filter(|_| self.store.profile.capabilities.checksums).map(|content| content.sha256),
            content: wanted.and_then(|content| content.data.clone()),
        }
    }
}

fn taken(path: &RemotePath) -> Error {
    Error::conflict(format!("`{path}` is taken"))
}

fn missing(path: &RemotePath) -> Error {
    Error::not_found(format!("there is nothing at `{path}`"))
}

fn in_the_way(path: &RemotePath, part: &str) -> Error {
    Error::conflict(format!("`{part}` in `{path}` is no folder"))
}
