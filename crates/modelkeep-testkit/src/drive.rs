//! A Google Drive (API v3) that runs on this machine.
//!
//! Made from Google's documents and its discovery document, and trusted because Google's own Python client agrees with
//! it (`python/tests/test_fake_drive.py`). It has what modelkeep and its tests need: files with field masks, queries
//! and pages; every kind of upload; ranged downloads; changes, trash, sharing, shared drives, revisions; sign-in with
//! scopes that are enforced; and faults. It does not have: batch, `files.export` and Google's documents, comments,
//! labels, watching, application data folders, service accounts' signed tokens.
//!
//! ```
//! use std::time::Duration;
//! use modelkeep_testkit::drive::{Options, Server};
//!
//! let server = Server::start(Options::default())?;
//! let token = server.token("me@example.com", "my-client", "https://www.googleapis.com/auth/drive", Duration::from_secs(3600));
//! server.fault("429:0.1,lost-reply:0.02")?;
//! println!("{}/drive/v3/files with {token}", server.url());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod about;
mod app;
mod call;
mod changes;
mod clock;
mod content;
mod control;
mod drives;
mod error;
mod fault;
mod fields;
mod files;
mod metadata;
mod oauth;
mod permissions;
mod query;
pub(crate) mod random;
mod resource;
mod revisions;
mod search;
mod serve;
mod state;
mod upload;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use jiff::Timestamp;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use self::app::App;
use self::clock::Clock;
use self::content::Contents;
use self::fault::Faults;
use self::oauth::OAuth;
use self::state::State;

pub use self::call::Call;
pub use self::fault::{BadRule, Fault, Spec};

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where it listens; without, on a free port of this machine alone.
    pub listen: Option<SocketAddr>,
    /// Keep everything here; in memory and a temporary directory otherwise.
    pub state: Option<PathBuf>,
    /// Bytes each account may store.
    pub quota: Option<u64>,
    /// What goes wrong from the start; its seed decides ids and tokens too.
    pub faults: Spec,
    /// Added to each request.
    pub latency: Duration,
    /// What clients reach the server by, if that is not its own address.
    pub url: Option<String>,
    /// Accounts that are there from the start; the first one signs in where nobody is named.
    pub accounts: Vec<String>,
    /// Tokens that are good for ever, of the first account.
    pub tokens: Vec<Token>,
    /// What its clock says at the start, from where it goes on; the machine's time without.
    pub now: Option<Timestamp>,
    /// OAuth clients and their secrets; a client that is not named needs none.
    pub clients: Vec<(String, String)>,
    /// How long a refresh token is good: seven days for an app in "Testing".
    pub refresh_lifetime: Option<Duration>,
}

/// A token that is good for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What is sent.
    pub name: String,
    /// `drive`, `drive.file`, or as Google writes it; several separated by spaces.
    pub scope: String,
    /// The OAuth client that it belongs to.
    pub client: String,
}

impl From<&str> for Token {
    /// `NAME`, which may see everything, or `NAME=SCOPE:CLIENT`.
    fn from(text: &str) -> Self {
        let (name, of) = text.split_once('=').unwrap_or((text, "drive:test-client"));
        let (scope, client) = of.rsplit_once(':').unwrap_or((of, "test-client"));
        Self { name: name.to_owned(), scope: scope.to_owned(), client: client.to_owned() }
    }
}

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    address: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts it, on a thread of its own, so that a test may be of any kind.
    pub fn start(options: Options) -> io::Result<Self> {
        let listen = options.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = format!("http://{}", listener.local_addr()?);
        let app = Arc::new(open(options, &address)?);
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("fake-drive").enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&app);
        let thread = std::thread::Builder::new()
            .name("fake-drive".into())
            .spawn(move || run(runtime, listener, serving, stopped))?;
        Ok(Self { app, address, stop: Some(stop), thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`, where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What clients reach it by: its address, unless the options say otherwise.
    pub fn url(&self) -> &str {
        &self.app.url
    }

    /// Where it keeps the bytes of large files.
    pub fn folder(&self) -> &Path {
        self.app.contents.folder()
    }

    /// Breaks all connections and ends.
    pub fn stop(self) {
        drop(self);
    }

    /// An access token for an account, which is made if it is not there: scopes separated by spaces.
    pub fn token(&self, account: &str, client: &str, scope: &str, lifetime: Duration) -> String {
        // Only a state on a full disk can fail, and then the test is over.
        self.app.mint(account, client, scope, lifetime).unwrap_or_default()
    }

    /// A shared drive; what comes back is its id.
    pub fn shared_drive(&self, name: &str, organizer: &str) -> io::Result<String> {
        let now = self.app.now();
        let mut state = self.app.state();
        state.account(organizer, now)?;
        state.shared_drive(name, organizer, now)
    }

    /// More of what goes wrong: see `fake-drive --help`.
    pub fn fault(&self, rule: &str) -> Result<(), BadRule> {
        self.app.faults.add(rule.parse()?);
        Ok(())
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        self.app.faults.clear();
    }

    /// Every request that is over, in the order in which they ended.
    pub fn calls(&self) -> Vec<Call> {
        self.app.log.all()
    }

    /// Quota units of all of them.
    pub fn units(&self) -> u64 {
        self.calls().iter().map(|call| u64::from(call.units)).sum()
    }

    /// The most requests that were under way at the same time.
    pub fn at_once(&self) -> usize {
        self.app.log.at_once()
    }

    /// Forgets the requests so far, and their units.
    pub fn clear_calls(&self) {
        self.app.log.clear();
    }

    /// The server's time goes on: tokens expire, sessions end.
    pub fn advance(&self, by: Duration) {
        self.app.clock.advance(by);
    }

    /// Added to each request from now on.
    pub fn set_latency(&self, latency: Duration) {
        self.app.latency_ms.store(milliseconds(latency), Ordering::Relaxed);
    }

    /// What the person at the sign-in page does next: who signs in, which of the asked scopes are granted (all without).
    pub fn consent(&self, account: Option<&str>, scopes: Option<&[&str]>) {
        let owned = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let mut oauth = self.app.oauth();
        oauth.consent.account = account.map(str::to_owned);
        oauth.consent.scopes = scopes.map(owned);
        oauth.consent.denied = false;
    }

    /// The person says no.
    pub fn deny(&self) {
        self.app.oauth().consent.denied = true;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.app.contents.close();
    }
}

fn milliseconds(latency: Duration) -> u64 {
    u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)
}

fn open(options: Options, address: &str) -> io::Result<App> {
    let clock = options.now.map_or_else(Clock::default, Clock::from);
    let Spec { rules, seed } = options.faults;
    let seed = seed.unwrap_or_default();
    let (mut state, contents) = match &options.state {
        None => (State::open(seed, None)?, Contents::temporary()?),
        Some(folder) => {
            let contents = Contents::lasting(&folder.join("content"))?;
            let state = State::open(seed, Some(&folder.join("state.jsonl")))?;
            let revisions = state.items.values().flat_map(|item| &item.revisions);
            contents.keep_only(revisions.map(|revision| &*revision.content))?;
            (state, contents)
        }
    };
    for account in &options.accounts {
        state.account(account, clock.now())?;
    }
    let mut oauth = OAuth::default();
    oauth.first_account = options.accounts.into_iter().next();
    oauth.secrets = options.clients.into_iter().collect();
    oauth.refresh_lifetime = options.refresh_lifetime;
    let app = App {
        url: options.url.unwrap_or_else(|| address.to_owned()),
        quota: options.quota,
        latency_ms: AtomicU64::new(milliseconds(options.latency)),
        state: Mutex::new(state),
        contents: Arc::new(contents),
        sessions: upload::Sessions::default(),
        pages: files::Pages::default(),
        oauth: Mutex::new(oauth),
        clock,
        faults: Faults::new(rules, seed),
        log: call::Log::default(),
    };
    for token in &options.tokens {
        app.accept(token)?;
    }
    Ok(app)
}

fn run(runtime: Runtime, listener: TcpListener, app: Arc<App>, stopped: oneshot::Receiver<()>) {
    runtime.block_on(async move {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        tokio::select! {
            () = serve::serve(listener, Arc::clone(&app), router(app)) => {}
            // Also when the server's handle is gone.
            _ = stopped => {}
        }
    });
    // Nothing is waited for: a stalled request never ends.
    runtime.shutdown_background();
}

fn router(app: Arc<App>) -> Router {
    let api = Router::new()
        .merge(files::routes())
        .merge(permissions::routes())
        .merge(revisions::routes())
        .merge(changes::routes())
        .merge(drives::routes())
        .merge(about::routes());
    Router::new()
        .nest("/drive/v3", api)
        .nest("/upload/drive/v3", upload::routes())
        .nest("/resumable/upload/drive/v3", upload::routes())
        .nest("/_fake", control::routes())
        .merge(oauth::routes())
        .layer(DefaultBodyLimit::disable())
        .with_state(app)
}
