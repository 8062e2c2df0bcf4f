//! The operations on Google Drive, against the fake one, each as a process of its own would run it.

mod calls;
mod crowd;
mod faults;
mod people;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use modelkeep_core::path::RemotePath;
use modelkeep_ops::context::{Context, Env, Options, Silent};
use modelkeep_ops::{init, push};
use modelkeep_remote::{EntryKind, Inline, Remote};
use modelkeep_testkit::drive::{Options as Fake, Server};

use crate::world::Machine;

pub const ME: &str = "ana@example.com";
pub const DRIVE: &str = "https://www.googleapis.com/auth/drive";
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// Whether the long tests run too (`cargo xtask test --full`).
pub fn full() -> bool {
    std::env::var_os("MODELKEEP_TEST_FULL").is_some()
}

/// A Drive with a tree that `init` made, in the folder "Banking LLM".
pub struct Cloud {
    pub server: Server,
    settings: String,
}

/// Somebody at a machine, with access to the Drive.
pub struct Person {
    pub machine: Machine,
    env: Env,
}

impl Person {
    pub fn new(server: &Server, account: &str, name: &str) -> Self {
        let machine = Machine::new(name);
        let work = machine.home.path().join("work");
        fs::create_dir_all(&work).unwrap();
        let token = server.token(account, "client", DRIVE, DAY);
        let mut env = Env { cwd: work, ..machine.env() };
        for (name, value) in [
            ("MODELKEEP_GDRIVE_ENDPOINT", server.url()),
            ("MODELKEEP_GDRIVE_TOKEN", &token),
            ("MODELKEEP_TESTING", "1"),
            ("MODELKEEP_RETRY_BASE_MS", "1"),
        ] {
            env.vars.insert(name.to_owned(), value.to_owned());
        }
        Self { machine, env }
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.env.vars.insert(name.to_owned(), value.to_owned());
    }

    /// As a command begins: nothing is known but what is on this machine.
    pub fn ctx(&self) -> Context {
        Context::open(self.env.clone(), Options::default(), Arc::new(Silent)).unwrap()
    }

    pub fn settings_file(&self) -> PathBuf {
        self.env.cwd.join("modelkeep.toml")
    }

    pub async fn init(&self, url: &str) -> modelkeep_core::Result<init::Report> {
        let request = init::Request { remote: Some(url.to_owned()), ..init::Request::default() };
        let observer: Arc<dyn modelkeep_ops::Observer> = Arc::new(Silent);
        init::init(&self.env, &Options::default(), &observer, &request).await
    }

    /// The store of a new context, with everything that it takes to look at it.
    pub async fn remote(&self) -> Arc<dyn Remote> {
        Arc::clone(&self.ctx().store().await.unwrap().remote)
    }

    pub async fn push(&self, dir: &std::path::Path, model: &str) -> modelkeep_core::Result<push::Report> {
        crate::world::push(&self.ctx(), dir, model).await
    }
}

/// Everything in the tree by path; what stands there twice is listed twice.
pub async fn tree(remote: &dyn Remote) -> Vec<String> {
    let (mut open, mut found, mut seen) = (vec![RemotePath::root()], Vec::new(), BTreeSet::new());
    while let Some(folder) = open.pop() {
        // What stands in two folders of one path is listed together.
        if !seen.insert(folder.clone()) {
            continue;
        }
        for entry in remote.list(&folder, Inline::No).await.unwrap() {
            found.push(entry.path.to_string());
            if entry.kind == EntryKind::Dir {
                open.push(entry.path);
            }
        }
    }
    found.sort();
    found
}

/// Whatever happened: after one repair nothing is wrong, and no two things have one name.
pub async fn settled(person: &Person) {
    // Listings are late for at most three looks.
    for _ in 0..3 {
        tree(&*person.remote().await).await;
    }
    crate::world::settled(&person.ctx()).await;
    no_two_of_one_name(&tree(&*person.remote().await).await, "after a repair");
}

/// That nothing in a [`tree`] is listed twice.
pub fn no_two_of_one_name(all: &[String], what: &str) {
    let twice: Vec<_> = all.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| &pair[0]).collect();
    assert!(twice.is_empty(), "{what}: two of one name: {twice:?}");
}

impl Cloud {
    pub async fn new() -> (Self, Person) {
        Self::with(Fake::default()).await
    }

    pub async fn with(options: Fake) -> (Self, Person) {
        let server = Server::start(Fake { accounts: vec![ME.to_owned()], ..options }).unwrap();
        let ana = Person::new(&server, ME, "ana");
        ana.init("gdrive:Banking LLM").await.unwrap();
        let settings = fs::read_to_string(ana.settings_file()).unwrap();
        (Self { server, settings }, ana)
    }

    /// The same account at another machine, which has the settings alone.
    pub fn machine(&self, name: &str) -> Person {
        let person = Person::new(&self.server, ME, name);
        fs::write(person.settings_file(), &self.settings).unwrap();
        person
    }

    /// Names of the calls of the API since the last time.
    pub fn calls(&self) -> Vec<String> {
        let calls = self.server.calls().into_iter().map(|call| call.name);
        let names = calls.filter(|name| !name.starts_with("oauth")).collect();
        self.server.clear_calls();
        names
    }
}
