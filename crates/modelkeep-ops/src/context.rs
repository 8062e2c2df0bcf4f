//! What every operation is given: the workspace, the settings, the local caches, the store, the clock, the observer.
//!
//! The environment is read once, here; everything after works on plain values, so a test can pretend any machine.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use modelkeep_core::digest::Sha256;
use modelkeep_core::event::WriterId;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::Meter;
use modelkeep_remote::drive::auth::Callback;

use crate::rule::Rule;
use crate::settings::Settings;
use crate::store::Store;
use crate::workspace::Workspace;

/// What the process was started with.
#[derive(Debug, Clone, Default)]
pub struct Env {
    /// The current directory.
    pub cwd: PathBuf,
    /// Environment variables.
    pub vars: BTreeMap<String, String>,
}

impl Env {
    /// The real one; variables that are not Unicode are left out.
    pub fn from_process() -> Self {
        let vars = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { cwd: std::env::current_dir().unwrap_or_default(), vars }
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A variable that only counts with `MODELKEEP_TESTING=1`.
    pub fn testing(&self, name: &str) -> Option<&str> {
        if self.get("MODELKEEP_TESTING") == Some("1") { self.get(name) } else { None }
    }

    /// The user's home.
    pub fn home(&self) -> Option<PathBuf> {
        self.get("HOME").or_else(|| self.get("USERPROFILE")).map(PathBuf::from).or_else(|| etcetera::home_dir().ok())
    }

    /// Where the user's settings live: `~/.config/modelkeep`.
    pub fn config_dir(&self) -> Option<PathBuf> {
        let base = self.get("XDG_CONFIG_HOME").map(PathBuf::from);
        base.or_else(|| self.home().map(|home| home.join(".config"))).map(|base| base.join("modelkeep"))
    }

    /// Where caches live when there is no workspace: `~/.cache/modelkeep`.
    pub fn cache_dir(&self) -> Option<PathBuf> {
        let base = self.get("XDG_CACHE_HOME").map(PathBuf::from);
        base.or_else(|| self.home().map(|home| home.join(".cache"))).map(|base| base.join("modelkeep"))
    }

    /// Where the simulation lives: `~/.local/share/modelkeep`.
    pub fn data_dir(&self) -> Option<PathBuf> {
        let base = self.get("XDG_DATA_HOME").map(PathBuf::from);
        base.or_else(|| self.home().map(|home| home.join(".local/share"))).map(|base| base.join("modelkeep"))
    }

    /// `user@host`, for the log.
    pub fn who(&self) -> String {
        let user = ["MODELKEEP_USER", "GITHUB_USER", "USER", "USERNAME", "LOGNAME"]
            .iter()
            .find_map(|name| self.get(name))
            .unwrap_or("someone");
        format!("{user}@{}", self.host_name())
    }

    /// The machine's name.
    pub fn host_name(&self) -> String {
        if let Some(name) = self.get("CODESPACE_NAME") {
            return name.to_owned();
        }
        if self.get("COLAB_RELEASE_TAG").is_some() {
            return "colab".to_owned();
        }
        let named = self.get("HOSTNAME").or_else(|| self.get("COMPUTERNAME")).map(str::to_owned);
        #[cfg(unix)]
        let named = named.or_else(|| rustix::system::uname().nodename().to_str().ok().map(str::to_owned));
        named.unwrap_or_else(|| "localhost".to_owned())
    }
}

/// What time it is, and how much of it has passed.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment; counts while the machine is busy, and while it sleeps.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock, or a fixed wall clock for tests (`MODELKEEP_NOW`).
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    started_at: SystemTime,
    fixed: Option<Timestamp>,
}

impl SystemClock {
    /// The machine's clock; with `fixed` the wall clock stands there.
    pub fn new(fixed: Option<Timestamp>) -> Self {
        Self { started: Instant::now(), started_at: SystemTime::now(), fixed }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.fixed.unwrap_or_else(Timestamp::now)
    }

    /// A laptop that sleeps stops the one clock, and a person may set the other: the longer time counts.
    fn monotonic(&self) -> Duration {
        self.started.elapsed().max(self.started_at.elapsed().unwrap_or_default())
    }
}

/// Something worth showing while an operation runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A stage begins; `bytes` is its total when known.
    Stage {
        /// What is being done: `sending`, `hashing`, `fetching`.
        name: &'static str,
        /// Bytes to move in all.
        bytes: Option<u64>,
    },
    /// Bytes moved and acknowledged.
    Bytes(u64),
    /// A sentence for the person.
    Note(String),
    /// A sentence that should not be missed.
    Warning(String),
}

/// Told what happens; draws bars, streams, or calls back.
pub trait Observer: Send + Sync + fmt::Debug {
    /// Something happened.
    fn tell(&self, progress: Progress);
}

/// An observer that nobody listens to.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn tell(&self, _: Progress) {}
}

/// Where random ids come from: the system, or for tests a seed.
#[derive(Debug, Default)]
pub struct Chance(Option<AtomicU64>);

impl Chance {
    /// The same ids in the same order for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Some(AtomicU64::new(seed)))
    }

    /// Sixteen bytes that nobody had before.
    pub(crate) fn bytes(&self) -> Result<[u8; 16]> {
        let mut bytes = [0; 16];
        if let Some(next) = &self.0 {
            let next = next.fetch_add(1, Ordering::Relaxed).to_le_bytes();
            bytes.copy_from_slice(&Sha256::of(&next).as_bytes()[..16]);
        } else {
            getrandom::fill(&mut bytes).map_err(|error| Error::internal("no randomness").because(error))?;
        }
        Ok(bytes)
    }
}

/// What to open a context with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--workspace`: where the workspace is; else found upward from the current directory.
    pub workspace: Option<PathBuf>,
    /// `--remote`: a configured name, a URL or a path.
    pub remote: Option<String>,
    /// `--offline`: no network.
    pub offline: bool,
    /// Gives tokens for Drive, over every other way to one: a program that embeds this one.
    pub credentials: Option<Callback>,
    /// Report nothing of this machine to the store, as when a simulation answers that nobody asked for by name.
    pub unreported: bool,
}

/// What every operation is given.
#[derive(Debug)]
pub struct Context {
    /// What the process was started with.
    pub env: Env,
    /// The workspace, when there is one.
    pub workspace: Option<Workspace>,
    /// Settings, resolved.
    pub settings: Settings,
    /// What to tell the person.
    pub observer: Arc<dyn Observer>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// This process as a writer of events.
    pub writer: WriterId,
    /// Where its random ids come from.
    pub chance: Chance,
    /// The options it was opened with.
    pub options: Options,
    /// How many transfers at once.
    pub jobs: usize,
    /// Set to stop.
    pub stop: Arc<AtomicBool>,
    /// Set once a person said yes to evicting for room: what `evict = "ask"` waits for.
    pub agreed: AtomicBool,
    pub(crate) store: tokio::sync::OnceCell<Arc<Store>>,
}

impl Context {
    /// Finds the workspace and reads the settings. Opens no store.
    pub fn open(env: Env, options: Options, observer: Arc<dyn Observer>) -> Result<Self> {
        let workspace = Workspace::find(&env, options.workspace.as_deref())?;
        let settings = Settings::resolve(&env, workspace.as_ref())?;
        let fixed = match env.testing("MODELKEEP_NOW") {
            None => None,
            Some(text) => {
                Some(text.parse().map_err(|error| Error::usage("MODELKEEP_NOW is no RFC 3339 time").because(error))?)
            }
        };
        let jobs = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
        Ok(Self {
            workspace,
            settings,
            observer,
            clock: Arc::new(SystemClock::new(fixed)),
            writer: random_writer()?,
            chance: Chance::default(),
            options,
            jobs,
            stop: Arc::new(AtomicBool::new(false)),
            agreed: AtomicBool::new(false),
            store: tokio::sync::OnceCell::new(),
            env,
        })
    }

    /// A context around a store that is open already, with a clock of the caller's: for embedding, and for tests.
    pub fn around(env: Env, observer: Arc<dyn Observer>, clock: Arc<dyn Clock>, store: Store) -> Result<Self> {
        let settings = Settings::resolve(&env, None)?;
        Ok(Self {
            workspace: None,
            settings,
            observer,
            clock,
            writer: random_writer()?,
            chance: Chance::default(),
            options: Options::default(),
            jobs: 1,
            stop: Arc::new(AtomicBool::new(false)),
            agreed: AtomicBool::new(false),
            store: tokio::sync::OnceCell::new_with(Some(Arc::new(store))),
            env,
        })
    }

    /// Wall-clock time, in whole milliseconds: what the log's clock counts in.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.clock.now().as_millisecond()).unwrap_or_default()
    }

    /// Says something to the person.
    pub fn note(&self, text: impl Into<String>) {
        self.observer.tell(Progress::Note(text.into()));
    }

    /// Warns the person.
    pub fn warn(&self, text: impl Into<String>) {
        self.observer.tell(Progress::Warning(text.into()));
    }

    /// The workspace, or an error that says how to make one.
    pub fn workspace(&self) -> Result<&Workspace> {
        self.workspace.as_ref().ok_or_else(|| {
            Error::not_found(format!("no workspace (modelkeep.toml) in {} or above", self.env.cwd.display()))
                .hint("modelkeep init")
        })
    }

    /// Where `path`, as typed, is.
    pub fn absolute(&self, path: &Path) -> PathBuf {
        self.env.cwd.join(path)
    }

    /// The folder for this machine's own state, given the remote it is about.
    pub(crate) fn state_dir(&self, remote_id: &str) -> Result<PathBuf> {
        if let Some(workspace) = &self.workspace {
            return Ok(workspace.state_dir());
        }
        let cache = self.env.cache_dir().ok_or_else(|| {
            Error::local("there is no home directory to keep caches in").hint("set HOME or XDG_CACHE_HOME")
        })?;
        Ok(cache.join(remote_id))
    }

    /// The store that this command works on: opened at the first call.
    pub async fn store(&self) -> Result<Arc<Store>> {
        self.store.get_or_try_init(|| async { Store::open(self).await.map(Arc::new) }).await.cloned()
    }

    /// The store, if a command opened it.
    pub fn opened(&self) -> Option<&Arc<Store>> {
        self.store.get()
    }

    /// A meter that tells the observer and stops when asked to.
    pub(crate) fn meter(&self) -> Arc<dyn Meter> {
        Arc::new(ObserverMeter { observer: Arc::clone(&self.observer), stop: Arc::clone(&self.stop) })
    }

    /// One that only stops: of bytes that are told of when they are where they are to be.
    pub(crate) fn silent_meter(&self) -> Arc<dyn Meter> {
        Arc::new(ObserverMeter { observer: Arc::new(Silent), stop: Arc::clone(&self.stop) })
    }

    /// Fails when somebody pressed Ctrl-C.
    pub(crate) fn check_stop(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::new(Kind::Interrupted, "interrupted")) } else { Ok(()) }
    }
}

/// The day of a moment, in UTC: the days of the registry.
pub(crate) fn day(at: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(at).date()
}

fn random_writer() -> Result<WriterId> {
    Ok(WriterId(getrandom::u64().map_err(|error| Error::internal("no randomness").because(error))?))
}

struct ObserverMeter {
    observer: Arc<dyn Observer>,
    stop: Arc<AtomicBool>,
}

impl Meter for ObserverMeter {
    fn advance(&self, bytes: u64) -> std::ops::ControlFlow<()> {
        self.observer.tell(Progress::Bytes(bytes));
        if self.stop.load(Ordering::Relaxed) {
            std::ops::ControlFlow::Break(())
        } else {
            std::ops::ControlFlow::Continue(())
        }
    }
}

/// The hour within which look, move and event must lie, far shorter than any grace period.
pub const HOUR: Duration = Duration::from_secs(3600);

/// Counts from a look at the store; what was seen may be relied on for an hour of a clock that cannot be set.
#[derive(Debug, Clone)]
pub struct Look {
    clock: Arc<dyn Clock>,
    at: Duration,
    forever: bool,
}

impl Look {
    /// Begins now.
    pub fn now(ctx: &Context, store: &Store) -> Self {
        let forever = !store.keeps(Rule::OneHour);
        Self { clock: Arc::clone(&ctx.clock), at: ctx.clock.monotonic(), forever }
    }

    /// Whether the hour is not over.
    pub fn is_fresh(&self) -> bool {
        self.forever || self.clock.monotonic().saturating_sub(self.at) < HOUR
    }
}
