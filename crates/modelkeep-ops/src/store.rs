//! The store a command works on: a remote, opened by name or URL, with its layers, its format and its local caches.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use modelkeep_core::manifest::FORMAT;
use modelkeep_core::{Error, Kind, Result, layout};
use modelkeep_remote::folder::FolderOptions;
use modelkeep_remote::layer::{Call, Hook, Layer, Retry, Trace};
use modelkeep_remote::{FolderRemote, Object, PointerKind, Remote};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::colab;
use crate::context::Context;
use crate::drive::{self, OnDrive};
use crate::local::Local;
use crate::report::Spent;
use crate::rule::Rule;

/// `format.json`: what the tree uses, for everybody, whatever a client could do itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// Format version, 1.
    pub format: u32,
    /// This tree's own id, random, made by the first `init`.
    pub remote_id: String,
    /// Its name, for people.
    pub name: String,
    /// Which pointers it has.
    pub pointers: Pointers,
    /// How content is kept: push folders.
    pub content: Content,
    /// Names that differ only by case are one name.
    pub case_folding: bool,
    /// When `init` made it.
    pub created_at: Timestamp,
}

/// Which pointers a tree has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pointers {
    /// Relative symbolic links.
    Symlink,
    /// Drive shortcuts.
    Shortcut,
    /// `NAME.pointer.json`.
    File,
}

impl From<PointerKind> for Pointers {
    fn from(kind: PointerKind) -> Self {
        match kind {
            PointerKind::Symlink => Self::Symlink,
            PointerKind::Shortcut => Self::Shortcut,
            PointerKind::File => Self::File,
        }
    }
}

/// How content is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// One folder for each push, moved whole.
    PushFolders,
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    /// Its configured name, or its URL.
    pub name: String,
    /// The remote behind its layers.
    pub remote: Arc<dyn Remote>,
    /// What the tree uses.
    pub format: Format,
    /// The calls made so far.
    pub trace: Arc<Trace>,
    local: OnceLock<Local>,
    /// What is special when it is on Google Drive.
    drive: Option<OnDrive>,
    /// For tests: a rule that this client breaks.
    broken: Option<Rule>,
}

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder.
    Folder(PathBuf),
    /// The simulation, a folder under the user's data directory.
    Simulation(PathBuf),
    /// A folder on Google Drive.
    Drive(drive::Folder),
}

/// A store named or given, before it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Its configured name, or its URL.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// Where it is.
    pub location: Location,
    /// The id that the settings expect.
    pub expected_id: Option<String>,
    /// On Drive: the account that the settings, or the command line, say.
    pub account: Option<String>,
    /// On Drive: the folder's id that the settings say.
    pub folder: Option<String>,
}

/// A remote that was opened.
#[derive(Debug)]
pub struct Opened {
    /// It, behind its layers.
    pub remote: Arc<dyn Remote>,
    /// The calls made so far.
    pub trace: Arc<Trace>,
    /// What is special when it is on Google Drive.
    pub drive: Option<OnDrive>,
}

/// The name that `init` gives its store.
pub const DEFAULT_NAME: &str = "default";

impl Address {
    /// Whether nothing names a store.
    pub fn is_unset(ctx: &Context) -> bool {
        Self::resolve(ctx).is_err_and(|error| error.kind() == Kind::Auth)
    }

    /// The store that the command line or the settings name.
    pub fn resolve(ctx: &Context) -> Result<Self> {
        if let Some(given) = &ctx.options.remote {
            Self::named_or_url(ctx, given)
        } else {
            let name = ctx.settings.remote.as_deref().unwrap_or(DEFAULT_NAME);
            if name == DEFAULT_NAME && !ctx.settings.remotes.contains_key(name) {
                let place = if colab::is_here(&ctx.env) { "'gdrive:Banking LLM'" } else { "PATH-OR-URL" };
                return Err(Error::new(Kind::Auth, "no store is set")
                    .hint(format!("modelkeep init --remote {place} (or --remote … with this command)")));
            }
            Self::named_or_url(ctx, name)
        }
    }

    /// A configured name first, else a URL or a path.
    pub fn named_or_url(ctx: &Context, given: &str) -> Result<Self> {
        if let Some(setting) = ctx.settings.remotes.get(given) {
            // A path in the settings is seen from the workspace, wherever the command runs.
            let base = ctx.workspace.as_ref().map_or(ctx.env.cwd.as_path(), |workspace| &workspace.root);
            let location = colab::reach(ctx, locate(ctx, &setting.url, base)?);
            return Ok(Self {
                name: given.to_owned(),
                url: setting.url.clone(),
                location,
                expected_id: setting.id.clone(),
                account: setting.account.clone(),
                folder: setting.folder.clone(),
            });
        }
        if !given.contains(['/', '.', ':', '\\']) {
            let known: Vec<&str> = ctx.settings.remotes.keys().map(String::as_str).collect();
            return Err(Error::not_found(format!("there is no remote `{given}`")).hint(if known.is_empty() {
                format!("modelkeep remote add {given} PATH-OR-URL")
            } else {
                format!("modelkeep remote list (there is: {})", known.join(", "))
            }));
        }
        let location = colab::reach(ctx, locate(ctx, given, &ctx.env.cwd)?);
        Ok(Self {
            name: given.to_owned(),
            url: given.to_owned(),
            location,
            expected_id: None,
            account: None,
            folder: None,
        })
    }

    /// Opens the remote with its layers. `create` makes its folder.
    pub async fn open(&self, ctx: &Context, create: bool) -> Result<Opened> {
        let (folder, simulated) = match &self.location {
            Location::Folder(folder) => (folder, false),
            Location::Simulation(folder) => (folder, true),
            Location::Drive(folder) => {
                let drive = drive::open(ctx, self, folder, create).await?;
                // Drive tries its own requests again.
                let (remote, trace) = traced(drive.remote(), ctx);
                return Ok(Opened { remote, trace, drive: Some(drive) });
            }
        };
        if let Some(url) = colab::better(ctx, folder) {
            ctx.note(format!("what goes through the mount is confirmed later; Drive itself can be asked here: {url}"));
        }
        if !create && !folder.is_dir() {
            return Err(Error::not_found(format!("there is no folder {}", folder.display()))
                .hint(format!("modelkeep init --remote {}", self.url)));
        }
        let now = ctx.env.testing("MODELKEEP_NOW").map(|_| ctx.now());
        let options = FolderOptions {
            now,
            simulated,
            link_copies: ctx.settings.hard_links,
            write_back: ctx.env.testing("MODELKEEP_WRITE_BACK") == Some("1"),
            ..FolderOptions::default()
        };
        let remote: Arc<dyn Remote> = Arc::new(FolderRemote::open(folder, options)?);
        let (remote, trace) = with_layers(remote, ctx);
        Ok(Opened { remote, trace, drive: None })
    }

    /// Its folder, where it is one on this machine.
    pub fn local_folder(&self) -> Option<&Path> {
        match &self.location {
            Location::Folder(folder) | Location::Simulation(folder) => Some(folder),
            Location::Drive(_) => None,
        }
    }
}

fn locate(ctx: &Context, url: &str, base: &Path) -> Result<Location> {
    let path = |text: &str| {
        let expanded = match text.strip_prefix("~/") {
            Some(rest) => ctx.env.home().map(|home| home.join(rest)),
            None => None,
        };
        expanded.unwrap_or_else(|| base.join(text))
    };
    if let Some(rest) = url.strip_prefix("folder:") {
        return Ok(Location::Folder(path(rest)));
    }
    if let Some(name) = url.strip_prefix("sim:") {
        let name = if name.is_empty() { DEFAULT_NAME } else { name };
        if name.contains(['/', '\\', '.']) {
            return Err(Error::usage(format!("`{url}`: a simulation's name has no / or .")).hint("sim: or sim:NAME"));
        }
        let data = ctx.env.data_dir().ok_or_else(|| Error::local("there is no home directory for the simulation"))?;
        return Ok(Location::Simulation(data.join("simulation").join(name)));
    }
    if let Some(rest) = url.strip_prefix("gdrive:") {
        return drive::Folder::parse(rest).map(Location::Drive);
    }
    let scheme = url.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| scheme.len() > 1);
    match scheme {
        Some(scheme) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => Err(Error::usage(format!(
            "`{url}`: this version stores in folders, on Google Drive and in the simulation, not in {scheme}:"
        ))
        .hint("folder:PATH, gdrive:NAME, gdrive:id:FOLDERID or sim:")),
        _ => Ok(Location::Folder(path(url))),
    }
}

/// Retry outside, then trace, so that the trace counts what really went out.
pub fn with_layers(remote: Arc<dyn Remote>, ctx: &Context) -> (Arc<dyn Remote>, Arc<Trace>) {
    let (remote, trace) = traced(remote, ctx);
    let mut retry = Retry::default();
    if let Some(base) = ctx.env.testing("MODELKEEP_RETRY_BASE_MS").and_then(|text| text.parse().ok()) {
        retry.base = Duration::from_millis(base);
    }
    (Layer::wrap(remote, Arc::new(retry)), trace)
}

/// The trace alone.
fn traced(remote: Arc<dyn Remote>, ctx: &Context) -> (Arc<dyn Remote>, Arc<Trace>) {
    let trace = Arc::new(Trace::default());
    let mut remote = Layer::wrap(remote, Arc::clone(&trace) as Arc<dyn Hook>);
    if let Some(kill) = ctx.env.testing("MODELKEEP_KILL_AT").and_then(KillAt::parse) {
        remote = Layer::wrap(remote, Arc::new(kill));
    }
    (remote, trace)
}

/// For tests of the real program: it ends as if by `kill -9`, before (`12`) or after (`12+`) its n-th remote call.
#[derive(Debug)]
struct KillAt {
    at: usize,
    after: bool,
    seen: std::sync::atomic::AtomicUsize,
}

impl KillAt {
    fn parse(text: &str) -> Option<Self> {
        let at = text.trim_end_matches('+').parse().ok()?;
        Some(Self { at, after: text.ends_with('+'), seen: std::sync::atomic::AtomicUsize::new(0) })
    }
}

#[async_trait::async_trait]
impl Hook for KillAt {
    async fn before(&self, _call: &Call) -> Result<()> {
        let seen = self.seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        if seen == self.at && !self.after {
            std::process::abort();
        }
        Ok(())
    }

    fn after(&self, _: &Call, _: u32, _: Option<&Error>) -> modelkeep_remote::layer::Verdict {
        if self.after && self.seen.load(std::sync::atomic::Ordering::SeqCst) >= self.at {
            std::process::abort();
        }
        modelkeep_remote::layer::Verdict::Return
    }
}

/// Reads `format.json`; `None` when the remote holds no tree of ours.
pub async fn read_format(remote: &dyn Remote) -> Result<Option<Format>> {
    let bytes = match remote.read(&Object::at(layout::format()), 0..1 << 20).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == Kind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let format: Format = serde_json::from_slice(&bytes).map_err(|error| {
        Error::integrity(format!("{}/{} cannot be read", remote.describe(), layout::format())).because(error)
    })?;
    if format.format > FORMAT {
        return Err(Error::usage(format!(
            "{} uses format {}, newer than this program",
            remote.describe(),
            format.format
        ))
        .hint("update modelkeep"));
    }
    Ok(Some(format))
}

impl Store {
    /// Opens the store that the command line or the settings name.
    pub async fn open(ctx: &Context) -> Result<Self> {
        let address = Address::resolve(ctx)?;
        let Opened { remote, trace, drive } = address.open(ctx, false).await?;
        let format = read_format(&*remote).await?.ok_or_else(|| {
            Error::not_found(format!("{} holds no modelkeep tree", remote.describe()))
                .hint(format!("modelkeep init --remote {}", address.url))
        })?;
        if let Some(expected) = &address.expected_id
            && *expected != format.remote_id
        {
            return Err(Error::new(
                Kind::Auth,
                format!(
                    "{} holds tree {}, but this workspace belongs to tree {expected}",
                    remote.describe(),
                    format.remote_id
                ),
            )
            .hint("modelkeep remote add ANOTHER-NAME URL, then modelkeep config set remote ANOTHER-NAME"));
        }
        Ok(Self { drive, ..Self::new(address.name, remote, trace, format) })
    }

    /// A store around a remote that is open.
    pub fn new(name: String, remote: Arc<dyn Remote>, trace: Arc<Trace>, format: Format) -> Self {
        Self { name, remote, format, trace, local: OnceLock::new(), drive: None, broken: None }
    }

    /// This machine's caches for it.
    pub fn local(&self, ctx: &Context) -> Result<&Local> {
        if let Some(local) = self.local.get() {
            return Ok(local);
        }
        let opened = Local::open(&ctx.state_dir(&self.format.remote_id)?)?;
        Ok(self.local.get_or_init(|| opened))
    }

    /// Uses these caches rather than those on disk; for tests.
    #[must_use]
    pub fn with_local(self, local: Local) -> Self {
        let _ = self.local.set(local);
        self
    }

    /// Breaks a rule of the protocol, so that a test can show that it would notice.
    #[must_use]
    pub fn breaking(self, rule: Option<Rule>) -> Self {
        Self { broken: rule, ..self }
    }

    /// Whether this client keeps a rule: always, but in that test.
    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }

    /// So many things at once: where a store is far away, each waits for answers more than it works.
    pub(crate) fn at_once(&self, ctx: &Context) -> usize {
        const AWAY: usize = 8;
        let away = ctx.jobs > 1 && !self.remote.capabilities().cheap_reads;
        if away { ctx.jobs.max(AWAY) } else { ctx.jobs }
    }

    /// The tree's id.
    pub fn id(&self) -> &str {
        &self.format.remote_id
    }

    /// What was asked of Google so far, when it is on a Drive.
    pub fn spent(&self) -> Option<Spent> {
        self.drive.as_ref().map(OnDrive::spent)
    }

    /// What is special when it is on Google Drive.
    pub fn on_drive(&self) -> Option<&OnDrive> {
        self.drive.as_ref()
    }

    /// Where nothing was found: says it when something may be there that this login cannot see.
    pub(crate) fn explain_nothing(&self, ctx: &Context) {
        if self.drive.as_ref().is_some_and(|drive| drive.narrow) {
            ctx.warn(drive::NARROW);
        }
    }

    /// Whether it is the simulation.
    pub fn simulated(&self) -> bool {
        self.remote.capabilities().simulated
    }

    /// Whether a write that returned is in the store itself.
    pub fn confirms(&self) -> bool {
        self.remote.capabilities().confirms
    }
}
