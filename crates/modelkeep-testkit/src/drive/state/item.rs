//! Files, folders and shortcuts, which Drive all calls files.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Role;
use crate::drive::content::Content;

pub const FOLDER: &str = "application/vnd.google-apps.folder";
pub const SHORTCUT: &str = "application/vnd.google-apps.shortcut";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Item {
    pub id: String,
    pub name: String,
    pub mime_type: String,
    /// Absent for the roots, and for what lost its folder.
    pub parent: Option<String>,
    /// The shared drive it is in.
    pub drive: Option<String>,
    /// An account; absent in shared drives.
    pub owner: Option<String>,
    /// The OAuth client that made it, which is all that `drive.file` looks at.
    pub client: String,
    pub created: Timestamp,
    pub modified: Timestamp,
    pub modified_by: String,
    pub version: u64,
    /// Put into the trash itself, not with its folder; when and by whom.
    pub trashed: Option<(Timestamp, String)>,
    pub starred: bool,
    pub description: Option<String>,
    pub properties: BTreeMap<String, String>,
    /// By OAuth client.
    pub app_properties: BTreeMap<String, BTreeMap<String, String>>,
    pub shortcut: Option<Shortcut>,
    /// Of a file with content, oldest first; never empty then.
    pub revisions: Vec<Revision>,
    /// What was granted here; what is granted above holds here too.
    pub permissions: Vec<Permission>,
    /// How often a look at the newest checksum still finds none (`late-checksum`).
    #[serde(default)]
    pub checksum_late: u32,
    /// How many listings still miss it where it is (`late-list`).
    #[serde(default)]
    pub listing_late: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shortcut {
    pub target: String,
    /// What the target was when the shortcut was made.
    pub target_mime_type: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Revision {
    pub id: String,
    pub content: Arc<Content>,
    pub mime_type: String,
    pub modified: Timestamp,
    pub modified_by: String,
    pub keep_forever: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Permission {
    pub id: String,
    pub to: Grantee,
    pub role: Role,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Grantee {
    User(String),
    Group(String),
    Domain(String),
    Anyone,
}

impl Permission {
    pub fn user(email: &str, role: Role) -> Self {
        Self::new(Grantee::User(email.to_owned()), role)
    }

    /// The id follows from whom it is for, as Drive's does.
    pub fn new(to: Grantee, role: Role) -> Self {
        let id = match &to {
            Grantee::User(name) | Grantee::Group(name) => permission_id(name),
            Grantee::Domain(name) => format!("{}k", permission_id(name)),
            Grantee::Anyone => "anyoneWithLink".into(),
        };
        Self { id, to, role }
    }
}

/// Twenty digits, the same for the same account everywhere.
pub fn permission_id(name: &str) -> String {
    // FNV-1a: stable between runs, unlike the standard library's hashes.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:020}")
}

impl Item {
    pub fn new(id: &str, name: &str, mime_type: &str, now: Timestamp) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            mime_type: mime_type.to_owned(),
            parent: None,
            drive: None,
            owner: None,
            client: String::new(),
            created: now,
            modified: now,
            modified_by: String::new(),
            version: 0,
            trashed: None,
            starred: false,
            description: None,
            properties: BTreeMap::new(),
            app_properties: BTreeMap::new(),
            shortcut: None,
            revisions: Vec::new(),
            permissions: Vec::new(),
            checksum_late: 0,
            listing_late: 0,
        }
    }

    pub fn root(id: &str, name: &str, owner: Option<&str>, now: Timestamp) -> Self {
        let mut root = Self::new(id, name, FOLDER, now);
        root.version = 1;
        if let Some(owner) = owner {
            root.owner = Some(owner.to_owned());
            root.permissions.push(Permission::user(owner, Role::Owner));
        }
        root
    }

    pub fn is_folder(&self) -> bool {
        self.mime_type == FOLDER
    }

    pub fn head(&self) -> Option<&Revision> {
        self.revisions.last()
    }

    /// The newest revision and those kept for ever.
    pub fn quota_bytes(&self) -> u64 {
        let (head, older) = match self.revisions.split_last() {
            Some((head, older)) => (head.content.size, older),
            None => (0, &[][..]),
        };
        head + older.iter().filter(|revision| revision.keep_forever).map(|revision| revision.content.size).sum::<u64>()
    }
}
