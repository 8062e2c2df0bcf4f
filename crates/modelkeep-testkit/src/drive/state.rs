//! Everything the server remembers but the bytes: accounts, files, shared drives, changes, tokens.
//!
//! Every change is a [`Record`] that is applied here and, with `--state`, appended to a file; starting again is
//! applying them all. Knows nothing of HTTP.

mod access;
mod item;
mod journal;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::access::{Caller, Role};
pub use self::item::{FOLDER, Grantee, Item, Permission, Revision, SHORTCUT, Shortcut};
use self::journal::Journal;
use super::random::Random;

/// One change of the state.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Record {
    Account { email: String, root: String },
    Drive(SharedDrive),
    Item(Box<Item>),
    Gone { id: String },
    Change(Change),
    Reserved { ids: Vec<String>, shortcuts: bool },
    Token { token: String, access: Access },
    Refresh { token: String, access: Access },
    Revoked { token: String },
}

/// A drive that belongs to nobody.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SharedDrive {
    pub id: String,
    pub name: String,
    pub created: Timestamp,
}

/// One line of the log of changes. A file has at most one that says it was touched, its last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Change {
    pub number: u64,
    pub file: String,
    pub time: Timestamp,
    /// Set if the file is gone for some.
    pub gone: Option<Gone>,
}

/// For whom a file is gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Gone {
    pub accounts: Vec<String>,
    pub client: String,
    pub drive: Option<String>,
}

/// What a token stands for, and until when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Access {
    pub caller: Caller,
    pub until: Option<Timestamp>,
    /// Requests made with it.
    #[serde(skip)]
    pub uses: u64,
}

#[derive(Debug)]
pub struct State {
    pub accounts: BTreeMap<String, String>,
    pub drives: BTreeMap<String, SharedDrive>,
    pub items: HashMap<String, Item>,
    children: HashMap<String, BTreeSet<String>>,
    pub changes: BTreeMap<u64, Change>,
    touched: HashMap<String, u64>,
    /// Ids given out and not used yet; true for shortcuts.
    pub reserved: HashMap<String, bool>,
    /// Ids of what was deleted for good.
    used: HashSet<String>,
    pub tokens: HashMap<String, Access>,
    pub refresh: HashMap<String, Access>,
    pub random: Random,
    journal: Option<Journal>,
}

impl State {
    /// Nothing yet; with a `file`, what was there before.
    pub fn open(seed: u64, file: Option<&Path>) -> io::Result<Self> {
        let mut state = Self {
            accounts: BTreeMap::new(),
            drives: BTreeMap::new(),
            items: HashMap::new(),
            children: HashMap::new(),
            changes: BTreeMap::new(),
            touched: HashMap::new(),
            reserved: HashMap::new(),
            used: HashSet::new(),
            tokens: HashMap::new(),
            refresh: HashMap::new(),
            random: Random::new(seed),
            journal: None,
        };
        if let Some(file) = file {
            let records = journal::read(file)?;
            // Ids must not come a second time.
            state.random = Random::new(seed ^ (records.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for record in records {
                state.apply(record);
            }
            state.journal = Some(Journal::append_to(file)?);
        }
        Ok(state)
    }

    /// Writes a change down and makes it.
    pub fn record(&mut self, record: Record) -> io::Result<()> {
        if let Some(journal) = &mut self.journal {
            journal.write(&record)?;
        }
        self.apply(record);
        Ok(())
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Account { email, root } => {
                self.accounts.insert(email, root);
            }
            Record::Drive(drive) => {
                self.drives.insert(drive.id.clone(), drive);
            }
            Record::Item(item) => {
                self.reserved.remove(&item.id);
                let before = self.items.get(&item.id).and_then(|before| before.parent.clone());
                if before != item.parent {
                    self.unlink(before.as_deref(), &item.id);
                    if let Some(parent) = &item.parent {
                        self.children.entry(parent.clone()).or_default().insert(item.id.clone());
                    }
                }
                self.items.insert(item.id.clone(), *item);
            }
            Record::Gone { id } => {
                if let Some(item) = self.items.remove(&id) {
                    self.unlink(item.parent.as_deref(), &id);
                }
                if let Some(number) = self.touched.remove(&id) {
                    self.changes.remove(&number);
                }
                self.used.insert(id);
            }
            Record::Change(change) => {
                if change.gone.is_none()
                    && let Some(before) = self.touched.insert(change.file.clone(), change.number)
                {
                    self.changes.remove(&before);
                }
                self.changes.insert(change.number, change);
            }
            Record::Reserved { ids, shortcuts } => self.reserved.extend(ids.into_iter().map(|id| (id, shortcuts))),
            Record::Token { token, access } => {
                self.tokens.insert(token, access);
            }
            Record::Refresh { token, access } => {
                self.refresh.insert(token, access);
            }
            Record::Revoked { token } => {
                self.tokens.remove(&token);
                self.refresh.remove(&token);
            }
        }
    }

    fn unlink(&mut self, parent: Option<&str>, id: &str) {
        if let Some(siblings) = parent.and_then(|parent| self.children.get_mut(parent)) {
            siblings.remove(id);
        }
    }

    /// An account, made with its My Drive if it is new. What comes back is its root's id.
    pub fn account(&mut self, email: &str, now: Timestamp) -> io::Result<String> {
        if let Some(root) = self.accounts.get(email) {
            return Ok(root.clone());
        }
        // Roots of My Drive end in "ROOT" in base64.
        let root = format!("0A{}Uk9PVA", self.random.word(11));
        self.record(Record::Account { email: email.to_owned(), root: root.clone() })?;
        let item = Item::root(&root, "My Drive", Some(email), now);
        self.record(Record::Item(Box::new(item)))?;
        Ok(root)
    }

    /// A shared drive with one organizer. Its id is that of its root folder.
    pub fn shared_drive(&mut self, name: &str, organizer: &str, now: Timestamp) -> io::Result<String> {
        let id = format!("0A{}Uk9PVA", self.random.word(11));
        self.record(Record::Drive(SharedDrive { id: id.clone(), name: name.to_owned(), created: now }))?;
        let mut item = Item::root(&id, name, None, now);
        item.drive = Some(id.clone());
        item.permissions.push(Permission::user(organizer, Role::Organizer));
        self.record(Record::Item(Box::new(item)))?;
        Ok(id)
    }

    /// An id that nothing has or had.
    pub fn new_id(&mut self) -> String {
        loop {
            let id = format!("1{}", self.random.word(32));
            if !self.items.contains_key(&id) && !self.used.contains(&id) && !self.reserved.contains_key(&id) {
                return id;
            }
        }
    }

    /// Whether something has this id, or had it until it was deleted.
    pub fn is_used(&self, id: &str) -> bool {
        self.items.contains_key(id) || self.used.contains(id)
    }

    pub fn children(&self, id: &str) -> impl Iterator<Item = &Item> {
        self.children.get(id).into_iter().flatten().filter_map(|child| self.items.get(child))
    }

    /// A file is there or was changed: what it is now, and a line in the log of changes.
    pub fn put(&mut self, mut item: Item, now: Timestamp) -> io::Result<()> {
        item.version += 1;
        let id = item.id.clone();
        self.record(Record::Item(Box::new(item)))?;
        self.log(id, None, now)
    }

    /// Takes a file and everything below it away for good. Descendants of other owners lose their folder only.
    pub fn delete(&mut self, id: &str, now: Timestamp) -> io::Result<()> {
        let Some(item) = self.items.get(id).cloned() else { return Ok(()) };
        let below: Vec<Item> = self.children(id).cloned().collect();
        for mut child in below {
            if child.owner == item.owner {
                self.delete(&child.id, now)?;
            } else {
                child.parent = None;
                self.put(child, now)?;
            }
        }
        let accounts = self.audience(&item);
        self.record(Record::Gone { id: id.to_owned() })?;
        self.log(id.to_owned(), Some(Gone { accounts, client: item.client, drive: item.drive }), now)
    }

    pub fn log(&mut self, file: String, gone: Option<Gone>, now: Timestamp) -> io::Result<()> {
        let number = self.next_change();
        self.record(Record::Change(Change { number, file, time: now, gone }))
    }

    /// The number that the next change will have.
    pub fn next_change(&self) -> u64 {
        self.changes.last_key_value().map_or(1, |(last, _)| last + 1)
    }

    /// Bytes that count against an account: all, and of them those in the trash.
    pub fn usage(&self, account: &str) -> (u64, u64) {
        let owned = self.items.values().filter(|item| item.owner.as_deref() == Some(account));
        owned.fold((0, 0), |(all, trash), item| {
            let bytes = item.quota_bytes();
            (all + bytes, trash + if bytes > 0 && self.is_trashed(item) { bytes } else { 0 })
        })
    }
}
