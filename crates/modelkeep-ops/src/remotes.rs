//! Stores by name: add, list, show, remove, test.

use std::sync::Arc;

use bytes::Bytes;
use modelkeep_core::path::RemotePath;
use modelkeep_core::{Error, Result};
use modelkeep_remote::{Mode, NoMeter, Object, Source};
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::{Context, Options};
use crate::settings::RemoteSetting;
use crate::store::{Address, DEFAULT_NAME, Format, Opened, Store, read_format};
use crate::{config, init};

/// The configured stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// One a store.
    pub remotes: Vec<Item>,
}

/// One store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// The tree's own id.
    pub id: Option<String>,
    /// On Drive: the account whose access it is used with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// On Drive: the folder's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Whether commands use it when they name none.
    pub default: bool,
}

/// Lists the configured stores.
pub fn list(ctx: &Context) -> Report {
    let default = ctx.settings.remote.as_deref().unwrap_or(DEFAULT_NAME);
    let item = |(name, setting): (&String, &RemoteSetting)| Item {
        name: name.clone(),
        url: setting.url.clone(),
        id: setting.id.clone(),
        account: setting.account.clone(),
        folder: setting.folder.clone(),
        default: name == default,
    };
    Report { remotes: ctx.settings.remotes.iter().map(item).collect() }
}

/// Shows one.
pub fn show(ctx: &Context, name: &str) -> Result<Item> {
    list(ctx)
        .remotes
        .into_iter()
        .find(|item| item.name == name)
        .ok_or_else(|| Error::not_found(format!("there is no remote `{name}`")).hint("modelkeep remote list"))
}

/// Adds a store and makes its tree, as `init` does. One of that name is replaced by the same tree only.
pub async fn add(ctx: &Context, name: &str, url: &str) -> Result<Item> {
    add_for(ctx, name, url, None).await
}

/// The same; on Drive with the access of this account.
pub async fn add_for(ctx: &Context, name: &str, url: &str, account: Option<&str>) -> Result<Item> {
    modelkeep_core::name::nearest_id(name)
        .filter(|id| id.as_str() == name)
        .ok_or_else(|| Error::usage(format!("`{name}` is no name for a remote")).hint("letters, digits, - and _"))?;
    let mut address = Address::named_or_url(ctx, url)?;
    address.account = account.map(str::to_owned).or(address.account);
    let opened = address.open(ctx, true).await?;
    let format = init::make_tree(ctx, &*opened.remote, None).await?;
    if let Some(existing) = ctx.settings.remotes.get(name)
        && existing.id.as_ref().is_some_and(|id| *id != format.remote_id)
    {
        return Err(Error::conflict(format!("remote `{name}` is another tree ({})", existing.url))
            .hint(format!("modelkeep remote remove {name}")));
    }
    let setting = setting_of(ctx, &address, &opened, &format);
    config::edit(ctx, |document| {
        write_remote(document, name, &setting);
        Ok(())
    })?;
    let RemoteSetting { url, id, account, folder } = setting;
    Ok(Item { name: name.to_owned(), url, id, account, folder, default: false })
}

/// What the settings say of a store that was opened.
pub(crate) fn setting_of(ctx: &Context, address: &Address, opened: &Opened, format: &Format) -> RemoteSetting {
    RemoteSetting {
        url: init::settings_url(ctx, address),
        id: Some(format.remote_id.clone()),
        account: opened.drive.as_ref().map(|drive| drive.account.clone()),
        folder: opened.drive.as_ref().map(|drive| drive.folder.clone()),
    }
}

/// Puts a store into a settings document.
pub(crate) fn write_remote(document: &mut toml_edit::DocumentMut, name: &str, setting: &RemoteSetting) {
    let remotes = document["remotes"].or_insert(toml_edit::table());
    if let Some(table) = remotes.as_table_mut() {
        table.set_implicit(true);
    }
    let remote = remotes[name].or_insert(toml_edit::table());
    remote["url"] = toml_edit::value(&setting.url);
    for (key, value) in [("id", &setting.id), ("account", &setting.account), ("folder", &setting.folder)] {
        match (value, remote.as_table_like_mut()) {
            (Some(value), _) => remote[key] = toml_edit::value(value),
            (None, Some(table)) => drop(table.remove(key)),
            (None, None) => {}
        }
    }
}

/// Forgets a store. What it holds stays.
pub fn remove(ctx: &Context, name: &str) -> Result<Item> {
    let item = show(ctx, name)?;
    config::edit(ctx, |document| {
        if let Some(remotes) = document.get_mut("remotes").and_then(toml_edit::Item::as_table_like_mut) {
            remotes.remove(name);
        }
        Ok(())
    })?;
    Ok(item)
}

/// What a test found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tested {
    /// The store.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Whether it could be read, written and cleaned up again.
    pub ok: bool,
    /// What it can do.
    pub can: Vec<String>,
    /// What it cannot.
    pub cannot: Vec<String>,
    /// How many calls that took.
    pub calls: usize,
}

/// With whom a store was shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Shared {
    /// The store.
    pub name: String,
    /// Its folder's id on Drive.
    pub folder: String,
    /// Whose it is.
    pub by: String,
    /// Who may use it now.
    pub with: String,
    /// Whether they may write.
    pub writes: bool,
}

/// Lets somebody with an account of their own use a store on Drive.
pub async fn share(ctx: &Context, name: Option<&str>, email: &str, write: bool) -> Result<Shared> {
    if !email.split_once('@').is_some_and(|(user, domain)| !user.is_empty() && domain.contains('.')) {
        return Err(
            Error::usage(format!("`{email}` is no e-mail address")).hint("modelkeep remote share bob@example.com")
        );
    }
    let address = match name.or(ctx.options.remote.as_deref()) {
        Some(given) => Address::named_or_url(ctx, given)?,
        None => Address::resolve(ctx)?,
    };
    let opened = address.open(ctx, false).await?;
    let Some(drive) = opened.drive else {
        return Err(Error::usage(format!("{} is not on Google Drive: who may use it is not ours to say", address.url))
            .hint("give them access to the folder where it is"));
    };
    drive.remote().share(email, write).await?;
    Ok(Shared { name: address.name, folder: drive.folder, by: drive.account, with: email.to_owned(), writes: write })
}

/// Reads, writes and cleans up again, and says what the store can do.
pub async fn test(ctx: &Context, name: Option<&str>) -> Result<Tested> {
    let options =
        Options { remote: name.map(str::to_owned).or_else(|| ctx.options.remote.clone()), ..ctx.options.clone() };
    let address = match &options.remote {
        Some(given) => Address::named_or_url(ctx, given)?,
        None => Address::resolve(ctx)?,
    };
    let Opened { remote, trace, .. } = address.open(ctx, false).await?;
    let format = read_format(&*remote).await?.ok_or_else(|| {
        Error::not_found(format!("{} holds no modelkeep tree", remote.describe()))
            .hint(format!("modelkeep init --remote {}", address.url))
    })?;
    let store = Store::new(address.name, remote, trace, format);
    let name = format!(".modelkeep/staging/test-{:016x}", ctx.writer.0);
    let path: RemotePath = name.parse().map_err(|error| Error::internal("the test's own path").because(error))?;
    let content = Bytes::from_static(b"modelkeep remote test\n");
    store.remote.write(&path, Source::Bytes(content.clone()), Mode::New, Arc::new(NoMeter)).await?;
    let read = store.remote.read(&Object::at(path.clone()), 0..1024).await?;
    store.remote.delete(&Object::at(path)).await?;
    if read != content {
        return Err(Error::integrity(format!("{} gave back other bytes than were written", store.remote.describe()))
            .hint("check the disk or the mount under it"));
    }
    let capabilities = store.remote.capabilities();
    let facts = [
        (capabilities.confirms, "acknowledges writes itself"),
        (!capabilities.late_listings, "lists what was just written"),
        (capabilities.copies, "copies without sending bytes"),
        (capabilities.exchange, "swaps folders in one step"),
        (capabilities.checksums, "gives SHA-256 of files"),
        (store.format.pointers != crate::store::Pointers::File, "has pointers of its own"),
    ];
    let told = |yes: bool| facts.iter().filter(move |(can, _)| *can == yes).map(|(_, what)| (*what).to_owned());
    Ok(Tested {
        name: store.name.clone(),
        url: address.url,
        ok: true,
        can: told(true).collect(),
        cannot: told(false).collect(),
        calls: store.trace.calls().len(),
    })
}
