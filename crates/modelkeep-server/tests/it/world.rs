//! A store with models, a server of them, and a client that says exactly what a test wants said.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use modelkeep_ops::context::{Clock, Context, Env, Silent};
use modelkeep_ops::local::Local;
use modelkeep_ops::store::{Format, Store};
use modelkeep_ops::{SystemClock, init, push};
use modelkeep_remote::layer::{Hook, Layer, Trace};
use modelkeep_remote::{FolderRemote, Remote};
use modelkeep_server::{Message, Options, Server};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A machine with a store.
pub struct World {
    pub folder: TempDir,
    pub remote: Arc<dyn Remote>,
    pub format: Format,
}

/// What a context is on.
#[derive(Clone)]
pub struct Machine {
    pub ctx: Arc<Context>,
    pub trace: Arc<Trace>,
}

impl World {
    /// A store in a folder.
    pub async fn in_folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let remote =
            FolderRemote::open(&folder.path().join("store"), modelkeep_remote::folder::FolderOptions::default());
        Self::around(folder, Arc::new(remote.unwrap())).await
    }

    /// Any store.
    pub async fn on(remote: Arc<dyn Remote>) -> Self {
        Self::around(tempfile::tempdir().unwrap(), remote).await
    }

    async fn around(folder: TempDir, remote: Arc<dyn Remote>) -> Self {
        let ctx = Context::open(env(folder.path()), modelkeep_ops::Options::default(), Arc::new(Silent)).unwrap();
        let format = init::make_tree(&ctx, &*remote, Some("test")).await.unwrap();
        Self { folder, remote, format }
    }

    /// Somebody at work on it, with caches of their own.
    pub fn machine(&self, name: &str) -> Machine {
        self.machine_with(name, &[])
    }

    /// The same with settings from the environment.
    pub fn machine_with(&self, name: &str, vars: &[(&str, &str)]) -> Machine {
        let trace = Arc::new(Trace::default());
        let remote = Layer::wrap(Arc::clone(&self.remote), Arc::clone(&trace) as Arc<dyn Hook>);
        let home = self.folder.path().join(name);
        fs::create_dir_all(&home).unwrap();
        let local = Local::open(&home.join("state")).unwrap();
        let store = Store::new("test".to_owned(), remote, Arc::clone(&trace), self.format.clone()).with_local(local);
        let now = vars.iter().find(|(name, _)| *name == "MODELKEEP_NOW").map(|(_, value)| value.parse().unwrap());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(now));
        let mut env = env(&home);
        env.vars.extend(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let ctx = Arc::new(Context::around(env, Arc::new(Silent), clock, store).unwrap());
        Machine { ctx, trace }
    }

    /// Stores files as a new version.
    pub async fn push(&self, model: &str, files: &[(&str, &[u8])], labels: &[&str]) -> push::Report {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.push_as(files, push::Request { model: model.to_owned(), labels, ..Default::default() }).await
    }

    /// The same as a base model.
    pub async fn push_base(&self, model: &str, files: &[(&str, &[u8])]) -> push::Report {
        let kind = Some(modelkeep_core::manifest::ModelKind::Base);
        self.push_as(files, push::Request { model: model.to_owned(), kind, ..Default::default() }).await
    }

    async fn push_as(&self, files: &[(&str, &[u8])], request: push::Request) -> push::Report {
        self.machine("pusher").push(files, request).await
    }

    /// Where a version's file stands in a store in a folder.
    pub fn shown(&self, model: &str, path: &str) -> PathBuf {
        self.folder.path().join("store/models/finetuned").join(model).join(path)
    }
}

pub fn env(home: &Path) -> Env {
    let vars =
        [("HOME", home.to_string_lossy().into_owned()), ("USER", "ana".to_owned()), ("HOSTNAME", "desk".to_owned())];
    let vars: BTreeMap<String, String> = vars.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Env {
        cwd: home.to_owned(),
        vars: vars.into_iter().chain([("MODELKEEP_NAMESPACE".to_owned(), "banking".to_owned())]).collect(),
    }
}

/// A server that runs.
pub struct Serving {
    pub address: SocketAddr,
    pub trace: Arc<Trace>,
    pub messages: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

pub fn local() -> Options {
    Options { listen: ([127, 0, 0, 1], 0).into(), token: None, allow_hosts: Vec::new(), upstream: None }
}

impl Machine {
    /// Stores files as a new version.
    pub async fn push(&self, files: &[(&str, &[u8])], request: push::Request) -> push::Report {
        let source = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = source.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let request = push::Request { path: source.path().to_owned(), ..request };
        push::push(&self.ctx, request).await.unwrap()
    }

    pub async fn serve(&self) -> Serving {
        self.serve_with(local()).await
    }

    pub async fn serve_with(&self, options: Options) -> Serving {
        let messages = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&messages);
        let told = move |message: &Message| kept.lock().unwrap().push(serde_json::to_string(message).unwrap());
        let server = Server::bind(Arc::clone(&self.ctx), options, Arc::new(told)).await.unwrap();
        let address = server.url().strip_prefix("http://").unwrap().parse().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Serving { address, trace: Arc::clone(&self.trace), messages, stop: Some(stop), task }
    }
}

impl Serving {
    /// Asks it to stop; the task ends when it has.
    pub fn stop(mut self) -> JoinHandle<()> {
        self.stop.take().unwrap().send(()).unwrap();
        self.task
    }

    /// How often a method of the store was called.
    pub fn calls(&self, method: &str) -> usize {
        self.trace.calls().iter().filter(|call| call.method == method).count()
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends these bytes and reads to the end.
    pub async fn say(&self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        Reply::read(&mut stream).await
    }

    /// One request with further header lines.
    pub async fn ask(&self, method: &str, path: &str, headers: &str) -> Reply {
        self.say(request(method, path, &self.address.to_string(), headers, "").as_bytes()).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "").await
    }

    pub async fn json(&self, path: &str) -> serde_json::Value {
        let reply = self.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        serde_json::from_slice(&reply.body).unwrap()
    }
}

pub fn request(method: &str, path: &str, host: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{length}{headers}\r\n{body}")
}

/// An answer, as far as it came; of one that broke off before its head the status is 0.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A connection that breaks is part of an answer.
        let _ = stream.read_to_end(&mut bytes).await;
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Self { status: 0, headers: BTreeMap::new(), body: Vec::new() };
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap()).map(|(k, v)| (k.to_lowercase(), v.to_owned()));
        Self { status, headers: headers.collect(), body: bytes[end + 4..].to_vec() }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether a client could take it for the file it asked for.
    pub fn is_good(&self) -> bool {
        self.status < 300 && self.is_whole()
    }

    /// Whether all came that was announced.
    pub fn is_whole(&self) -> bool {
        self.header("content-length").parse() == Ok(self.body.len())
    }
}

/// Bytes that differ everywhere.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

/// Waits until something is so.
pub async fn until(mut so: impl FnMut() -> bool) {
    while !so() {
        tokio::task::yield_now().await;
    }
}
