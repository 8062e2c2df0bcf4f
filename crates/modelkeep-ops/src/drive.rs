//! A folder on Google Drive as a store: by which access, on whose Drive, which folder, and what is remembered of it.
//!
//! Knows addresses (`gdrive:NAME`, `gdrive:id:FOLDERID`), the order in which access is looked for, and that a store is
//! one folder of one account. Does not know Drive's calls.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use modelkeep_core::digest::Sha256;
use modelkeep_core::{Error, Kind, Result, layout};
use modelkeep_remote::DriveRemote;
use modelkeep_remote::drive::auth::{
    Auth, Command, Credentials, Fixed, Keyring, Machine, Refresh, Scope, TokenSource, application_default,
};
use modelkeep_remote::drive::{Drive, Endpoints, FolderFound, Options, Secret};

use crate::colab;
use crate::context::{Context, Env};
use crate::local::{KeptSessions, Local};
use crate::report::Spent;
use crate::store::Address;

/// Which folder of a Drive an address means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Folder {
    /// The one of this name.
    Named(String),
    /// The one with this id.
    Id(String),
}

impl Folder {
    /// Of what comes after `gdrive:`.
    pub fn parse(text: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        match text.strip_prefix("id:") {
            Some(id) if !id.is_empty() && id.chars().all(plain) => Ok(Self::Id(id.to_owned())),
            Some(id) => Err(Error::usage(format!("`{id}` is no id of a folder on Drive"))
                .hint("gdrive:id:FOLDERID: the last part of the folder's address in a browser")),
            None if text.trim().is_empty() => {
                Err(Error::usage("`gdrive:` names no folder").hint("gdrive:NAME or gdrive:id:FOLDERID"))
            }
            None => Ok(Self::Named(text.to_owned())),
        }
    }
}

/// A store that is a folder on Drive, open.
#[derive(Debug, Clone)]
pub struct OnDrive {
    remote: Arc<DriveRemote>,
    /// Whose access it is opened with.
    pub account: String,
    /// The folder's id.
    pub folder: String,
    /// The login sees only what its own OAuth client made.
    pub narrow: bool,
}

impl OnDrive {
    /// What was asked of Google so far.
    pub fn spent(&self) -> Spent {
        let spent = self.remote.spent();
        Spent { calls: spent.calls, units: spent.units }
    }

    /// Keeps what is known of the tree for the next process, which then asks less.
    pub fn save(&self) {
        self.remote.save();
    }
}

/// What a login with the scope `drive.file` cannot see, for whoever finds nothing.
pub const NARROW: &str = "this login sees only what its own OAuth client made (scope drive.file): not what Colab, rclone \
                          or your own hands put there; to see all: modelkeep login gdrive --scope drive";

/// Where Google is, or another server that answers as it does.
pub fn endpoints(env: &Env) -> Endpoints {
    let mut endpoints = env.get("MODELKEEP_GDRIVE_ENDPOINT").map_or_else(Endpoints::default, Endpoints::all_at);
    if let Some(url) = env.get("MODELKEEP_GDRIVE_TOKEN_ENDPOINT") {
        url.clone_into(&mut endpoints.token);
    }
    endpoints
}

/// The logins of this user: secrets in the keyring where there is one (`MODELKEEP_KEYRING=off` says no), or all in the
/// file, as when the person says which.
pub fn credentials(env: &Env) -> Result<Credentials> {
    let off = env.get("MODELKEEP_KEYRING") == Some("off") || env.get("MODELKEEP_CREDENTIALS").is_some();
    let keyring = if off { None } else { Keyring::find(|name| env.get(name)) };
    Ok(Credentials::at(credentials_file(env)?).with_keyring(keyring))
}

/// The file of the logins: `~/.config/modelkeep/credentials.json`, or `MODELKEEP_CREDENTIALS`.
pub fn credentials_file(env: &Env) -> Result<PathBuf> {
    if let Some(file) = env.get("MODELKEEP_CREDENTIALS") {
        return Ok(env.cwd.join(file));
    }
    let folder = env.config_dir().ok_or_else(|| Error::local("there is no home directory to keep logins in"))?;
    Ok(folder.join("credentials.json"))
}

/// A way into a Drive.
#[derive(Debug)]
pub struct Access {
    /// Gives tokens.
    pub auth: Auth,
    /// Whose it is, where that is known without asking.
    pub account: Option<String>,
    /// Where it comes from, for people.
    pub by: &'static str,
    /// It sees only what its own OAuth client made.
    pub narrow: bool,
    /// The digest of a token that never changes: whose it is need be asked once.
    token: Option<Sha256>,
}

impl Access {
    /// What the context was opened with, else what the machine has.
    pub fn of(ctx: &Context, account: Option<&str>) -> Result<Self> {
        let Some(callback) = &ctx.options.credentials else { return Self::find(&ctx.env, account) };
        let auth = Auth::new(callback.clone());
        Ok(Self { auth, account: None, by: "the program that uses modelkeep", narrow: false, token: None })
    }

    /// The first there is of: a token given, a command that prints one, a login, Google's default credentials.
    pub fn find(env: &Env, account: Option<&str>) -> Result<Self> {
        let of = |source: Box<dyn TokenSource>, by| Self {
            auth: Auth::boxed(source),
            account: None,
            by,
            narrow: false,
            token: None,
        };
        if let Some(token) = env.get("MODELKEEP_GDRIVE_TOKEN") {
            let access = of(Box::new(Fixed(Secret::new(token))), "MODELKEEP_GDRIVE_TOKEN");
            return Ok(Self { token: Some(Sha256::of(token.as_bytes())), ..access });
        }
        if let Some(command) = env.get("MODELKEEP_GDRIVE_TOKEN_COMMAND") {
            return Ok(of(Box::new(Command(command.to_owned())), "MODELKEEP_GDRIVE_TOKEN_COMMAND"));
        }
        let endpoints = endpoints(env);
        let credentials = credentials(env)?;
        let known = credentials.accounts()?;
        if account.map_or(!known.is_empty(), |account| known.iter().any(|known| known == account)) {
            let (account, login) = credentials.login(account)?;
            let scopes: Vec<&str> = login.scope.split(' ').collect();
            let narrow = !scopes.contains(&Scope::Drive.url());
            let source = Refresh {
                client: login.client,
                refresh_token: login.refresh_token,
                url: endpoints.token,
                quota_project: None,
            };
            return Ok(Self { auth: Auth::new(source), account: Some(account), by: "login", narrow, token: None });
        }
        let given = env.get("GOOGLE_APPLICATION_CREDENTIALS").map(|file| env.cwd.join(file));
        if let Some(source) = application_default(given.as_deref(), env.home().as_deref(), &endpoints.token)? {
            return Ok(of(Box::new(source), "Application Default Credentials"));
        }
        if let Some(url) = metadata_server(env, &endpoints) {
            let source = Machine { url, scope: Scope::Drive.url().to_owned() };
            return Ok(of(Box::new(source), "the metadata server of this machine"));
        }
        // Says who is logged in, if somebody else is.
        Err(credentials.login(account).err().unwrap_or_else(|| Error::internal("a login came and went")))
    }
}

/// Only where the surroundings say that there is one: elsewhere each command would wait for a name that nobody has.
fn metadata_server(env: &Env, endpoints: &Endpoints) -> Option<String> {
    let usual = || endpoints.metadata.clone();
    if env.get("MODELKEEP_GDRIVE_ENDPOINT").is_some() {
        return env.get("GCE_METADATA_HOST").map(|_| usual());
    }
    match env.get("GCE_METADATA_HOST") {
        Some(host) => Some(usual().replace("metadata.google.internal", host)),
        None => colab::is_here(env).then(usual),
    }
}

/// How Drive is used here, without what depends on the folder.
fn options(ctx: &Context) -> Result<Options> {
    let mut options = Options { endpoints: endpoints(&ctx.env), ..Options::default() };
    options.aside = Some(layout::aside());
    options.permanent_delete = ctx.settings.permanent_delete;
    options.sessions = Arc::new(KeptSessions::at(state_dir(ctx)?));
    let milliseconds = |name: &str| ctx.env.testing(name).and_then(|text| text.parse().ok()).map(Duration::from_millis);
    if let Some(base) = milliseconds("MODELKEEP_RETRY_BASE_MS") {
        options.retry.base = base;
    }
    if let Some(stall) = milliseconds("MODELKEEP_GDRIVE_STALL_MS") {
        options.stall = stall;
    }
    if let Some(settle) = milliseconds("MODELKEEP_GDRIVE_SETTLE_MS") {
        options.settle = settle;
    }
    Ok(options)
}

/// Where this machine keeps what it knows of Drives.
fn state_dir(ctx: &Context) -> Result<PathBuf> {
    ctx.state_dir("gdrive")
}

/// The file of what is known of a folder, by account: two accounts may see different things in it.
fn cache_file(ctx: &Context, account: &str, folder: &str) -> Result<PathBuf> {
    let digest = Sha256::of(format!("{account}\n{folder}").as_bytes()).to_string();
    let state = state_dir(ctx)?;
    std::fs::create_dir_all(&state).map_err(|error| modelkeep_remote::folder::failed("creating", &state, error))?;
    Ok(state.join(format!("gdrive-{}.json", &digest[..16])))
}

/// Opens the folder that an address means. `create` makes one that is only named and is not there.
pub async fn open(ctx: &Context, address: &Address, folder: &Folder, create: bool) -> Result<OnDrive> {
    if ctx.options.offline {
        return Err(Error::new(Kind::Unavailable, format!("{} needs the network", address.url))
            .hint("leave --offline out, or use another store with --remote"));
    }
    let wanted = address.account.as_deref();
    let access = Access::of(ctx, wanted.or_else(|| ctx.env.get("MODELKEEP_GDRIVE_ACCOUNT")))?;
    let (by, narrow) = (access.by, access.narrow);
    let drive = Drive::new(options(ctx)?, access.auth)?;
    let account = match access.account {
        Some(account) => account,
        None => account_of(ctx, &drive, access.token).await?,
    };
    if let Some(wanted) = wanted.filter(|wanted| !wanted.eq_ignore_ascii_case(&account)) {
        return Err(Error::new(
            Kind::Auth,
            format!("{} is a folder on the Drive of {wanted}, and the access here ({by}) is that of {account}", address.url),
        )
        .hint(format!(
            "modelkeep login gdrive --account {wanted}; or, if the folder is shared with {account}: modelkeep remote add \
             ANOTHER-NAME gdrive:id:FOLDERID --account {account}"
        )));
    }
    let found = match (&address.folder, folder) {
        (Some(recorded), Folder::Id(id)) if recorded != id => {
            return Err(Error::new(
                Kind::Auth,
                format!("{} is folder {id} of Drive, but this workspace belongs to folder {recorded}", address.url),
            )
            .hint("modelkeep remote add ANOTHER-NAME URL, then modelkeep config set remote ANOTHER-NAME"));
        }
        (Some(id), _) | (None, Folder::Id(id)) => Some(id.clone()),
        (None, Folder::Named(name)) => only(&drive.folders(name).await?, name)?,
    };
    let remote = match (found, folder) {
        (Some(id), _) => drive.cached_at(cache_file(ctx, &account, &id)?).open(&id).await,
        (None, Folder::Named(name)) if create => {
            let made = drive.create(name).await;
            if made.is_ok() && narrow {
                ctx.warn(format!("no folder {name} was seen, so a new one was made; {NARROW}"));
            }
            made
        }
        _ => {
            let unseen = if narrow { format!(" ({NARROW})") } else { String::new() };
            return Err(Error::not_found(format!("{account} has no folder for {} on Drive{unseen}", address.url))
                .hint(format!("modelkeep init --remote '{}'", address.url)));
        }
    };
    let mut remote = remote.map_err(|error| error.context(format!("the Drive of {account}")))?;
    let id = remote.id().to_owned();
    remote.cache_at(cache_file(ctx, &account, &id)?);
    Ok(OnDrive { remote: Arc::new(remote), account, folder: id, narrow })
}

/// Whose Drive it is; of a token that was seen before without asking.
async fn account_of(ctx: &Context, drive: &Drive, token: Option<Sha256>) -> Result<String> {
    let Some(token) = token else { return drive.account().await };
    let (local, key) = (Local::open(&state_dir(ctx)?)?, format!("account of {token}"));
    let known = local.get("gdrive", &key)?.and_then(|known| String::from_utf8(known).ok());
    if let Some(account) = known {
        return Ok(account);
    }
    let account = drive.account().await?;
    local.put("gdrive", &key, account.as_bytes())?;
    Ok(account)
}

/// The id of the only folder there is; of several nobody may choose but the person.
fn only(found: &[FolderFound], name: &str) -> Result<Option<String>> {
    if let [] | [_] = found {
        return Ok(found.first().map(|folder| folder.id.clone()));
    }
    let one = |folder: &FolderFound| {
        let whose = match (&folder.drive, folder.owned) {
            (Some(drive), _) => format!("in the shared drive {drive}"),
            (None, true) => "yours".to_owned(),
            (None, false) => "shared with you".to_owned(),
        };
        format!("{} ({whose}, changed {})", folder.id, folder.modified)
    };
    let all: Vec<String> = found.iter().map(one).collect();
    Err(Error::conflict(format!("there are {} folders `{name}` on this Drive: {}", found.len(), all.join(", ")))
        .hint(format!("say which: gdrive:id:{} or another of these ids, instead of gdrive:{name}", found[0].id)))
}

impl OnDrive {
    /// The remote, to put layers around.
    pub fn remote(&self) -> Arc<DriveRemote> {
        Arc::clone(&self.remote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_meant_by_name_or_by_id() {
        assert_eq!(Folder::parse("Banking LLM").unwrap(), Folder::Named("Banking LLM".into()));
        assert_eq!(Folder::parse("id:1aB-_9").unwrap(), Folder::Id("1aB-_9".into()));
        for bad in ["", " ", "id:", "id:a/b", "id:a b"] {
            let error = Folder::parse(bad).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{bad}");
            assert!(error.hint_text().is_some(), "{bad}");
        }
    }

    #[test]
    fn another_server_may_stand_for_google() {
        let mut env = Env::default();
        assert_eq!(endpoints(&env), Endpoints::default());
        env.vars.insert("MODELKEEP_GDRIVE_ENDPOINT".into(), "http://127.0.0.1:1".into());
        let at = endpoints(&env);
        assert_eq!((&*at.api, &*at.token), ("http://127.0.0.1:1/drive/v3", "http://127.0.0.1:1/token"));
        env.vars.insert("MODELKEEP_GDRIVE_TOKEN_ENDPOINT".into(), "http://127.0.0.1:2/t".into());
        assert_eq!(endpoints(&env).token, "http://127.0.0.1:2/t");
    }
}
