//! A Drive before a folder of it is chosen: whose it is, and which folders could be the root of a tree.

use std::path::PathBuf;

use jiff::Timestamp;
use modelkeep_core::{Error, Kind, Result};

use super::auth::Auth;
use super::client::{Client, Metadata, quoted};
use super::ids::Tree;
use super::mirror::Mirror;
use super::{DriveRemote, Options, wire};

/// A Drive that somebody is signed in to.
#[derive(Debug)]
pub struct Drive {
    client: Client,
    options: Options,
}

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

impl Drive {
    /// Asks nothing yet.
    pub fn new(options: Options, auth: Auth) -> Result<Self> {
        Ok(Self { client: Client::new(&options, auth)?, options })
    }

    /// Whose Drive it is: an e-mail address.
    pub async fn account(&self) -> Result<String> {
        account(&self.client).await
    }

    /// All folders of that name that the account can see, smallest id first. Several are for the person to choose from.
    pub async fn folders(&self, name: &str) -> Result<Vec<FolderFound>> {
        let query = format!("name = {} and mimeType = '{}' and trashed = false", quoted(name), wire::FOLDER);
        let files = self.client.search(&query, &format!("looking for a folder {name}")).await?;
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

    /// Keeps what is known of the folder that is opened in this file.
    #[must_use]
    pub fn cached_at(mut self, path: PathBuf) -> Self {
        self.options.cache = Some(path);
        self
    }

    /// Opens the folder with this id.
    pub async fn open(self, folder: &str) -> Result<DriveRemote> {
        let Self { client, options } = self;
        let saved = options.cache.as_ref().and_then(|path| std::fs::read(path).ok());
        let saved = saved.and_then(|bytes| Mirror::load(folder, options.settle, &bytes));
        if let Some((mirror, drive)) = saved {
            let tree = Tree::known(client, folder.to_owned(), drive, mirror, &options);
            return Ok(DriveRemote::around(tree, options));
        }
        let doing = format!("opening the folder {folder}");
        let file = client.get(folder, &doing).await?;
        let file = file.filter(|file| file.is_folder() && !file.trashed).ok_or_else(|| {
            Error::not_found(format!("no folder {folder} can be seen on this Drive"))
                .hint("modelkeep whoami (is it the right account, with the scope that sees it?)")
        })?;
        // Whether the changes tell all that happens in somebody else's folder is unverified: there, every look is a
        // listing.
        let trusted = file.owned_by_me || file.drive_id.is_some();
        let tree = Tree::new(client, file.id, file.drive_id, trusted, &options);
        Ok(DriveRemote::around(tree, options))
    }

    /// Makes a folder in the account's own Drive, and opens it.
    pub async fn create(self, name: &str) -> Result<DriveRemote> {
        let Self { client, options } = self;
        let ids = client.generate_ids(1, "files").await?;
        let id = ids.first().ok_or_else(|| Error::internal("Drive made no ids"))?;
        let doing = format!("creating the folder {name}");
        let tree = Tree::new(client, id.clone(), None, true, &options);
        // Before it is there: what comes into it is told by the changes.
        tree.sync(options.fresh).await?;
        let made = tree.client.create(&Metadata::new(id, name, "root").folder(), &doing).await;
        let file = tree.made(made, id, &doing).await?;
        tree.mirror().made_folder(&file);
        Ok(DriveRemote::around(tree, options))
    }
}

pub(super) async fn account(client: &Client) -> Result<String> {
    let about = client.about("asking whose Drive it is").await?;
    about.user.email_address.ok_or_else(|| Error::new(Kind::Auth, "Drive does not say whose it is"))
}

/// All folders of that name that the account can see, smallest id first.
pub async fn find_folders(options: &Options, auth: Auth, name: &str) -> Result<Vec<FolderFound>> {
    Drive::new(options.clone(), auth)?.folders(name).await
}
