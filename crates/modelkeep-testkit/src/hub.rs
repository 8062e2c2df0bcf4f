//! A Hugging Face Hub that runs on this machine: the read side, with faults on demand.
//!
//! `ROOT/<namespace>/<name>/…` is a repository, its files are its `main`; `ROOT/<namespace>/<name>@<revision>/…` is
//! another revision of it. Large files and weights are LFS files, the rest is git's, as on the Hub. Trusted because
//! `huggingface_hub` agrees with it (`python/tests/test_fake_hub.py`). It does not have: Xet, uploads, data sets.

mod answer;
mod fault;
mod repos;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use axum::Router;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use self::fault::Faults;
use self::repos::Repos;
use crate::rule::{BadRule, Spec};

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where it listens; without, on a free port of this machine alone.
    pub listen: Option<SocketAddr>,
    /// The folder of its repositories.
    pub root: PathBuf,
    /// What goes wrong from the start.
    pub faults: Spec,
    /// Entries of a tree on one page; without, all of them.
    pub page: Option<usize>,
    /// With a token, everything but the right one is refused.
    pub token: Option<String>,
}

/// One request that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `info`, `tree`, `resolve`, `elsewhere` (content after a redirect) and the like.
    pub name: String,
    /// `GET`…
    pub method: String,
    /// Of the URL, with its query.
    pub path: String,
    /// `Range`.
    pub range: Option<String>,
    /// Whether a token came along.
    pub authorized: bool,
    /// 0 if no answer went out.
    pub status: u16,
}

/// What a running server knows.
#[derive(Debug)]
struct App {
    repos: Repos,
    faults: Faults,
    calls: Mutex<Vec<Call>>,
    /// The second origin, which content is redirected to.
    elsewhere: String,
    page: usize,
    token: Option<String>,
}

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts it, on a thread of its own, so that a test may be of any kind.
    pub fn start(options: Options) -> io::Result<Self> {
        let bind = |address: SocketAddr| {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let url = format!("http://{}", listener.local_addr()?);
            io::Result::Ok((listener, url))
        };
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (listener, url) = bind(options.listen.unwrap_or(local))?;
        let (second, elsewhere) = bind(local)?;
        let app = Arc::new(App {
            repos: Repos::new(options.root),
            faults: Faults::new(options.faults).map_err(io::Error::other)?,
            calls: Mutex::default(),
            elsewhere,
            page: options.page.unwrap_or(usize::MAX),
            token: options.token,
        });
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("fake-hub").enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&app);
        let thread = std::thread::Builder::new()
            .name("fake-hub".into())
            .spawn(move || run(runtime, listener, second, serving, stopped))?;
        Ok(Self { app, url, stop: Some(stop), thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// More of what goes wrong: see `fake-hub --help`.
    pub fn fault(&self, spec: &str) -> Result<(), BadRule> {
        self.app.faults.add(spec.parse()?)
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        self.app.faults.clear();
    }

    /// Every request so far, in the order in which they were answered.
    pub fn calls(&self) -> Vec<Call> {
        self.app.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Breaks all connections and ends.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(runtime: Runtime, listener: TcpListener, second: TcpListener, app: Arc<App>, stopped: oneshot::Receiver<()>) {
    runtime.block_on(async move {
        let sockets = (tokio::net::TcpListener::from_std(listener), tokio::net::TcpListener::from_std(second));
        let (Ok(listener), Ok(second)) = sockets else { return };
        let hub = Router::new().fallback(answer::hub).with_state(Arc::clone(&app));
        let content = Router::new().fallback(answer::elsewhere).with_state(app);
        tokio::select! {
            _ = axum::serve(listener, hub) => {}
            _ = axum::serve(second, content) => {}
            _ = stopped => {}
        }
    });
    // Nothing is waited for: a stalled request never ends.
    runtime.shutdown_background();
}
