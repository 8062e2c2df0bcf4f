//! Who may see and do what: ownership, permissions inherited from folders, and the scope of a token.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Grantee, Item, State};
use crate::drive::error::{ApiError, Result};

/// What an account may do with a file; each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    Reader,
    Commenter,
    Writer,
    FileOrganizer,
    Organizer,
    Owner,
}

/// Who asks: an account, through an OAuth client, with what it was granted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Caller {
    pub account: String,
    pub client: String,
    pub scopes: Vec<String>,
    /// One login; a refreshed token is still the same one.
    pub login: String,
}

const PREFIX: &str = "https://www.googleapis.com/auth/";

impl Caller {
    fn has(&self, scope: &str) -> bool {
        self.scopes.iter().any(|granted| granted.strip_prefix(PREFIX).unwrap_or(granted) == scope)
    }

    /// Sees everything the account sees, not only what its own client made.
    pub fn sees_all(&self) -> bool {
        ["drive", "drive.readonly", "drive.metadata.readonly"].iter().any(|scope| self.has(scope))
    }

    pub fn may_use_drive(&self) -> bool {
        self.sees_all() || self.has("drive.file")
    }

    pub fn may_read_content(&self) -> bool {
        self.has("drive") || self.has("drive.readonly") || self.has("drive.file")
    }

    pub fn may_write(&self) -> bool {
        self.has("drive") || self.has("drive.file")
    }

    pub fn has_full_drive(&self) -> bool {
        self.has("drive")
    }

    /// Whether the scope lets this file be seen.
    pub fn reaches(&self, item: &Item) -> bool {
        self.sees_all() || item.client == self.client
    }
}

impl State {
    /// The file and the folders above it.
    pub fn chain<'a>(&'a self, item: &'a Item) -> impl Iterator<Item = &'a Item> {
        std::iter::successors(Some(item), |item| self.items.get(item.parent.as_deref()?))
    }

    /// Whether it or a folder above it is in the trash.
    pub fn is_trashed(&self, item: &Item) -> bool {
        self.chain(item).any(|item| item.trashed.is_some())
    }

    /// The most that the account may do with a file.
    pub fn role(&self, item: &Item, account: &str) -> Option<Role> {
        self.role_by(item, |to| match to {
            Grantee::User(email) | Grantee::Group(email) => email == account,
            Grantee::Domain(domain) => account.split_once('@').is_some_and(|(_, own)| own == domain),
            Grantee::Anyone => true,
        })
    }

    /// The same without links for anyone, which do not put a file into somebody's lists.
    pub fn listed_role(&self, item: &Item, account: &str) -> Option<Role> {
        self.role_by(item, |to| matches!(to, Grantee::User(email) | Grantee::Group(email) if email == account))
    }

    fn role_by(&self, item: &Item, is_for: impl Fn(&Grantee) -> bool) -> Option<Role> {
        let granted = self.chain(item).flat_map(|above| {
            let here = above.id == item.id;
            above.permissions.iter().filter(|permission| is_for(&permission.to)).map(move |permission| {
                // Who owns a folder may write in it, and does not own what others put there.
                if here || permission.role != Role::Owner { permission.role } else { Role::Writer }
            })
        });
        granted.max()
    }

    /// Accounts that a file is shown to in lists.
    pub fn audience(&self, item: &Item) -> Vec<String> {
        self.accounts.keys().filter(|account| self.listed_role(item, account).is_some()).cloned().collect()
    }

    /// `root` and `me` aside, what an id stands for.
    pub fn resolve(&self, caller: &Caller, id: &str) -> String {
        match id {
            "root" => self.accounts.get(&caller.account).cloned().unwrap_or_default(),
            id => id.to_owned(),
        }
    }

    /// A file the caller may see. `all_drives` is the client's word that it knows of shared drives.
    pub fn visible(&self, caller: &Caller, id: &str, all_drives: bool) -> Result<&Item> {
        let resolved = self.resolve(caller, id);
        self.items
            .get(&resolved)
            .filter(|item| self.role(item, &caller.account).is_some())
            .filter(|item| item.drive.is_none() || all_drives)
            .filter(|item| caller.reaches(item))
            .ok_or_else(|| ApiError::not_found(id))
    }

    /// A file the caller wants to change.
    pub fn writable(&self, caller: &Caller, id: &str, all_drives: bool, at_least: Role) -> Result<&Item> {
        if !caller.may_write() {
            return Err(ApiError::insufficient_scope());
        }
        let item = match self.visible(caller, id, all_drives) {
            Ok(item) => item,
            Err(error) => return Err(self.out_of_reach(caller, id).unwrap_or(error)),
        };
        if self.role(item, &caller.account) < Some(at_least) {
            return Err(ApiError::insufficient_permissions());
        }
        Ok(item)
    }

    /// Said of a file that the account may write and the app may not.
    fn out_of_reach(&self, caller: &Caller, id: &str) -> Option<ApiError> {
        let item = self.items.get(&self.resolve(caller, id))?;
        let hidden = self.role(item, &caller.account) >= Some(Role::Writer) && !caller.reaches(item);
        hidden.then(|| {
            let message = format!("The user has not granted the app {} write access to the file {id}.", caller.client);
            ApiError::forbidden("appNotAuthorizedToFile", message)
        })
    }

    /// A folder to put something into.
    pub fn parent(&self, caller: &Caller, id: &str, all_drives: bool) -> Result<&Item> {
        let resolved = self.resolve(caller, id);
        let own_root = self.accounts.get(&caller.account) == Some(&resolved);
        // `drive.file` does not show the root, and still puts files there.
        let parent = match self.items.get(&resolved) {
            Some(root) if own_root => root,
            _ => self.visible(caller, id, all_drives)?,
        };
        if !parent.is_folder() {
            return Err(ApiError::forbidden("parentNotAFolder", "The specified parent is not a folder."));
        }
        if self.role(parent, &caller.account) < Some(Role::Writer) {
            return Err(ApiError::insufficient_permissions());
        }
        Ok(parent)
    }

    /// Who may put a file into the trash: its owner; in a shared drive those who organize files.
    pub fn may_trash(&self, item: &Item, account: &str) -> bool {
        let needed = if item.drive.is_some() { Role::FileOrganizer } else { Role::Owner };
        item.parent.is_some() && self.role(item, account) >= Some(needed)
    }

    /// Who may delete a file for good: its owner; in a shared drive its organizers.
    pub fn may_delete(&self, item: &Item, account: &str) -> bool {
        let needed = if item.drive.is_some() { Role::Organizer } else { Role::Owner };
        item.parent.is_some() && self.role(item, account) >= Some(needed)
    }

    /// What a bearer token stands for now.
    pub fn authorized(&mut self, token: &str, now: Timestamp, uses_allowed: Option<u64>) -> Result<Caller> {
        let access = self.tokens.get_mut(token).ok_or_else(ApiError::unauthorized)?;
        access.uses += 1;
        let used_up = uses_allowed.is_some_and(|allowed| access.uses > allowed);
        if used_up || access.until.is_some_and(|until| until <= now) {
            return Err(ApiError::unauthorized());
        }
        Ok(access.caller.clone())
    }
}
