//! Folders that could be the root of a tree, by name.

use jiff::Timestamp;
use modelkeep_core::Result;

use super::auth::Auth;
use super::client::{Client, quoted};
use super::{Options, wire};

/// A folder that could be the root of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderFound {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether the account owns it.
    pub owned: bool,
    /// The shared drive that it is in.
    pub drive: Option<String>,
    /// Its last change.
    pub modified: Timestamp,
}

/// All folders of that name that the account can see, smallest id first. Several are for the person to choose from.
pub async fn find_folders(options: &Options, auth: Auth, name: &str) -> Result<Vec<FolderFound>> {
    let client = Client::new(options, auth)?;
    let query = format!("name = {} and mimeType = '{}' and trashed = false", quoted(name), wire::FOLDER);
    let files = client.search(&query, &format!("looking for a folder {name}")).await?;
    let mut folders: Vec<FolderFound> = files
        .into_iter()
        .filter(|file| file.name == name)
        .map(|file| FolderFound {
            modified: file.changed(),
            id: file.id,
            name: file.name,
            owned: file.owned_by_me,
            drive: file.drive_id,
        })
        .collect();
    folders.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(folders)
}
