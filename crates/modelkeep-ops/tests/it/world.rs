//! A pretended world: stores, clients with their own machines and clocks, and directories to push.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use modelkeep_core::Result;
use modelkeep_ops::context::{Clock, Context, Env, Silent};
use modelkeep_ops::local::Local;
use modelkeep_ops::rule::Rule;
use modelkeep_ops::store::{Format, Store};
use modelkeep_ops::{init, pull, push};
use modelkeep_remote::Remote;
use modelkeep_remote::layer::{Hook, Layer, Trace};
use tempfile::TempDir;

/// A clock that a test owns: the same for every client, or one each.
#[derive(Debug)]
pub struct TestClock(Mutex<(Timestamp, Duration)>);

impl TestClock {
    pub fn at(text: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new((text.parse().unwrap(), Duration::ZERO))))
    }

    pub fn advance(&self, by: SignedDuration) {
        let mut clock = self.0.lock().unwrap();
        clock.0 = clock.0.saturating_add(by).unwrap();
        clock.1 += Duration::try_from(by).unwrap_or_default();
    }

    /// Sets it wrong: no time passes.
    pub fn set_off(&self, by: SignedDuration) {
        let mut clock = self.0.lock().unwrap();
        clock.0 = clock.0.saturating_add(by).unwrap();
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }

    fn monotonic(&self) -> Duration {
        self.0.lock().unwrap().1
    }
}

/// A temporary folder; in memory where there is such a place and room in it, since thousands of runs flush all the
/// time.
pub fn scratch() -> TempDir {
    #[cfg(target_os = "linux")]
    {
        const ROOM: u64 = 4 << 30;
        let memory = Path::new("/dev/shm");
        if rustix::fs::statvfs(memory).is_ok_and(|stat| stat.f_bavail * stat.f_frsize > ROOM) {
            return tempfile::tempdir_in(memory).unwrap();
        }
    }
    tempfile::tempdir().unwrap()
}

/// When every story begins.
const START: &str = "2026-11-23T10:00:00Z";

/// One machine: its state folder, its clock.
#[derive(Debug)]
pub struct Machine {
    pub name: String,
    pub home: TempDir,
    pub clock: Arc<TestClock>,
}

impl Machine {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), home: scratch(), clock: TestClock::at(START) }
    }

    pub fn env(&self) -> Env {
        let vars = [
            ("HOME", self.home.path().display().to_string()),
            ("USER", self.name.clone()),
            ("HOSTNAME", self.name.clone()),
        ];
        Env { cwd: self.home.path().to_owned(), vars: vars.into_iter().map(|(k, v)| (k.to_owned(), v)).collect() }
    }

    /// A context on this machine around a remote, with a hook around every call.
    pub fn context(
        &self,
        remote: &Arc<dyn Remote>,
        format: &Format,
        hook: Option<Arc<dyn Hook>>,
        broken: Option<Rule>,
    ) -> Context {
        let trace = Arc::new(Trace::default());
        let mut remote = Layer::wrap(Arc::clone(remote), Arc::clone(&trace) as Arc<dyn Hook>);
        if let Some(hook) = hook {
            remote = Layer::wrap(remote, hook);
        }
        let state = self.home.path().join("state");
        let local = Local::open(&state).unwrap();
        let store = Store::new("test".to_owned(), remote, trace, format.clone()).with_local(local).breaking(broken);
        Context::around(self.env(), Arc::new(Silent), self.clock.clone(), store).unwrap()
    }

    /// Makes the tree on a remote.
    pub async fn init(&self, remote: &Arc<dyn Remote>) -> Format {
        // Any context will do: making the tree uses only its clock.
        let options = modelkeep_ops::Options::default();
        let ctx = Context::open(self.env(), options, Arc::new(Silent)).unwrap();
        init::make_tree(&ctx, &**remote, Some("test")).await.unwrap()
    }

    /// A directory with these files.
    pub fn directory(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let folder = self.home.path().join("dirs").join(name);
        for (path, content) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }
}

pub async fn push(ctx: &Context, path: &Path, model: &str) -> Result<push::Report> {
    push::push(ctx, push::Request { path: path.to_owned(), model: model.to_owned(), ..Default::default() }).await
}

pub async fn pull(ctx: &Context, model: &str, to: &Path) -> Result<pull::Report> {
    pull::pull(ctx, &pull::Request { to: Some(to.to_owned()), ..Default::default() }, model).await
}

/// Every file below a folder, by path.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        let Ok(entries) = fs::read_dir(&at) else { continue };
        for entry in entries.map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(folder).unwrap().display().to_string();
                found.insert(path, fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

/// A folder remote, its root, and a first machine.
pub struct Ground {
    pub scratch: TempDir,
    pub root: PathBuf,
    pub remote: Arc<dyn Remote>,
    pub format: Format,
    pub ana: Machine,
}

impl Ground {
    /// A tree that `init` made in a fresh folder.
    pub async fn new() -> Self {
        let scratch = scratch();
        let root = scratch.path().join("remote");
        Self::on(scratch, root).await
    }

    /// A tree that `init` made in this folder, which may hold something already.
    pub async fn on(scratch: TempDir, root: PathBuf) -> Self {
        use modelkeep_remote::folder::{FolderOptions, FolderRemote};
        // The store's clock is that of the machines: what they do must not depend on the day it is.
        let options = FolderOptions { now: Some(START.parse().unwrap()), ..FolderOptions::default() };
        let remote: Arc<dyn Remote> = Arc::new(FolderRemote::open(&root, options).unwrap());
        let ana = Machine::new("ana");
        let format = ana.init(&remote).await;
        Self { scratch, root, remote, format, ana }
    }

    /// The first machine at work.
    pub fn ctx(&self) -> Context {
        self.of(&self.ana)
    }

    /// Any machine at work.
    pub fn of(&self, machine: &Machine) -> Context {
        machine.context(&self.remote, &self.format, None, None)
    }

    /// The first machine, with a hook around every call.
    pub fn hooked(&self, hook: Arc<dyn Hook>) -> Context {
        self.ana.context(&self.remote, &self.format, Some(hook), None)
    }

    /// Everything on the remote but what is only on its way.
    pub fn seen(&self) -> BTreeMap<String, Vec<u8>> {
        let mut seen = snapshot(&self.root);
        seen.retain(|path, _| !path.starts_with(".modelkeep/staging"));
        seen
    }

    /// The registry on the remote.
    pub fn registry(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.root.join("docs/model_registry.json")).unwrap()).unwrap()
    }

    /// A model's entry in the registry.
    pub fn entry(&self, id: &str) -> serde_json::Value {
        let registry = self.registry();
        let entry = registry["models"].as_array().unwrap().iter().find(|entry| entry["id"] == id);
        entry.unwrap_or_else(|| panic!("no entry {id} in {registry:#}")).clone()
    }
}

/// Everything below a folder by path: bytes of files, targets of links. Folders count only by what is in them.
pub fn snapshot(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        let Ok(entries) = fs::read_dir(&at) else { continue };
        for entry in entries.map(|entry| entry.unwrap()) {
            let kind = entry.file_type().unwrap();
            let path = entry.path().strip_prefix(folder).unwrap().to_string_lossy().into_owned();
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path()).unwrap();
                found.insert(path, format!("-> {}", target.display()).into_bytes());
            } else if kind.is_file() {
                found.insert(path, fs::read(entry.path()).unwrap());
            } else {
                found.insert(path, b"no file".to_vec());
            }
        }
    }
    found
}

/// The failure that was meant: of this kind, naming all of these, and saying what to do.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T>, kind: modelkeep_core::Kind, names: &[&str]) -> String {
    let error = result.unwrap_err();
    let message = error.full_message();
    assert_eq!(error.kind(), kind, "{message}");
    for name in names {
        assert!(message.contains(name), "`{name}` is not named: {message}");
    }
    assert!(error.hint_text().is_some_and(|hint| !hint.is_empty()), "no hint: {message}");
    message
}

/// Keeps what the person was told.
#[derive(Debug, Default)]
pub struct Heard(Mutex<Vec<String>>);

impl Heard {
    /// Listens to what a context says.
    pub fn listen(ctx: &mut Context) -> Arc<Self> {
        let heard = Arc::new(Self::default());
        ctx.observer = Arc::clone(&heard) as Arc<dyn modelkeep_ops::Observer>;
        heard
    }

    /// Notes and warnings so far.
    pub fn all(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

impl modelkeep_ops::Observer for Heard {
    fn tell(&self, progress: modelkeep_ops::Progress) {
        if let modelkeep_ops::Progress::Note(text) | modelkeep_ops::Progress::Warning(text) = progress {
            self.0.lock().unwrap().push(text);
        }
    }
}

/// Does something once, before the first call that `when` wants.
pub struct Once<F: FnMut() + Send> {
    when: fn(&modelkeep_remote::layer::Call) -> bool,
    act: Mutex<Option<F>>,
}

impl<F: FnMut() + Send> Once<F> {
    pub fn before(when: fn(&modelkeep_remote::layer::Call) -> bool, act: F) -> Arc<Self> {
        Arc::new(Self { when, act: Mutex::new(Some(act)) })
    }

    /// Whether it was done.
    pub fn done(&self) -> bool {
        self.act.lock().unwrap().is_none()
    }
}

impl<F: FnMut() + Send> std::fmt::Debug for Once<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Once")
    }
}

#[async_trait::async_trait]
impl<F: FnMut() + Send> Hook for Once<F> {
    async fn before(&self, call: &modelkeep_remote::layer::Call) -> Result<()> {
        if (self.when)(call)
            && let Some(mut act) = self.act.lock().unwrap().take()
        {
            act();
        }
        Ok(())
    }
}

/// A remote that may be read only.
#[derive(Debug)]
pub struct ReadOnly;

#[async_trait::async_trait]
impl Hook for ReadOnly {
    async fn before(&self, call: &modelkeep_remote::layer::Call) -> Result<()> {
        // A folder tells its time by writing.
        if call.writes() || call.method == "now" {
            let error = modelkeep_core::Error::new(modelkeep_core::Kind::Auth, format!("writing {}", call.path));
            return Err(error.hint("check who may write there: ls -ld"));
        }
        Ok(())
    }
}

/// Whatever happened: after one repair nothing is wrong, read to the last byte.
pub async fn settled(ctx: &Context) {
    use modelkeep_ops::{repair, verify};
    repair::repair(ctx, &repair::Request::default()).await.unwrap();
    let report = verify::verify(ctx, None, true).await.unwrap();
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
}

/// Copies a folder with all it holds.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_folder(&entry.path(), &target);
        } else if kind.is_symlink() {
            #[cfg(unix)]
            std::os::unix::fs::symlink(fs::read_link(entry.path()).unwrap(), target).unwrap();
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
