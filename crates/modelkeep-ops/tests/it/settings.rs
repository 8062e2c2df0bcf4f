//! Settings and stores as a process finds them: flags, environment, files, and what is wrong with them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use modelkeep_core::{Kind, Result};
use modelkeep_ops::context::Silent;
use modelkeep_ops::settings::Origin;
use modelkeep_ops::{Context, Env, Options, config, init, list, remotes};
use tempfile::TempDir;

use crate::world::refused;

/// A machine with a workspace, a home and a store.
struct Desk {
    home: TempDir,
    env: Env,
}

impl Desk {
    fn new() -> Self {
        let home = crate::world::scratch();
        let work = home.path().join("work");
        fs::create_dir_all(work.join("deep/er")).unwrap();
        fs::create_dir_all(home.path().join(".config/modelkeep")).unwrap();
        let vars = [("HOME", home.path().display().to_string()), ("USER", "ana".to_owned())];
        let vars = vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { env: Env { cwd: work, vars }, home }
    }

    async fn with_workspace() -> Self {
        let desk = Self::new();
        desk.init("../store").await.unwrap();
        desk
    }

    async fn init(&self, remote: &str) -> Result<init::Report> {
        let request = init::Request { remote: Some(remote.to_owned()), ..Default::default() };
        let observer: Arc<dyn modelkeep_ops::Observer> = Arc::new(Silent);
        init::init(&self.env, &Options::default(), &observer, &request).await
    }

    fn path(&self, below: &str) -> std::path::PathBuf {
        self.home.path().join(below)
    }

    fn toml(&self) -> String {
        fs::read_to_string(self.path("work/modelkeep.toml")).unwrap()
    }

    fn write(&self, below: &str, text: &str) {
        fs::write(self.path(below), text).unwrap();
    }

    fn open(&self) -> Result<Context> {
        Self::open_with(&self.env, Options::default())
    }

    fn open_with(env: &Env, options: Options) -> Result<Context> {
        Context::open(env.clone(), options, Arc::new(Silent))
    }

    fn env(&self, name: &str, value: &str) -> Env {
        let mut env = self.env.clone();
        env.vars.insert(name.to_owned(), value.to_owned());
        env
    }
}

fn value(ctx: &Context, key: &str) -> (String, Origin) {
    let item = config::get(ctx, key).unwrap();
    (item.value, item.origin)
}

#[tokio::test]
async fn the_nearer_source_wins_and_says_where_it_is() {
    let desk = Desk::with_workspace().await;
    assert_eq!(value(&desk.open().unwrap(), "budget.models"), ("2GB".to_owned(), Origin::Default));
    desk.write(".config/modelkeep/config.toml", "evict = \"never\"\n[budget]\nmodels = \"3GB\"\n");
    let user = Origin::User(desk.path(".config/modelkeep/config.toml"));
    assert_eq!(value(&desk.open().unwrap(), "budget.models"), ("3GB".to_owned(), user.clone()));
    desk.write("work/modelkeep.toml", &format!("{}\n[budget]\nmodels = \"4GB\"\n", desk.toml()));
    let workspace = Origin::Workspace(desk.path("work/modelkeep.toml"));
    let ctx = desk.open().unwrap();
    assert_eq!(value(&ctx, "budget.models"), ("4GB".to_owned(), workspace));
    assert_eq!(value(&ctx, "evict"), ("never".to_owned(), user));
    let env = desk.env("MODELKEEP_BUDGET_MODELS", "5GB");
    let ctx = Desk::open_with(&env, Options::default()).unwrap();
    assert_eq!(
        value(&ctx, "budget.models"),
        ("5GB".to_owned(), Origin::Environment("MODELKEEP_BUDGET_MODELS".to_owned()))
    );
    assert_eq!(ctx.settings.budget_models.0, 5_000_000_000);
    // An empty variable is none.
    let env = desk.env("MODELKEEP_BUDGET_MODELS", "");
    assert_eq!(value(&Desk::open_with(&env, Options::default()).unwrap(), "budget.models").0, "4GB");

    // The store: flag, environment, file.
    for name in ["flagged", "named"] {
        remotes::add(&desk.open().unwrap(), name, &format!("../{name}")).await.unwrap();
    }
    let chosen = async |env: &Env, flag: Option<&str>| {
        let options = Options { remote: flag.map(str::to_owned), ..Options::default() };
        let ctx = Desk::open_with(env, options).unwrap();
        ctx.store().await.unwrap().name.clone()
    };
    assert_eq!(chosen(&desk.env, None).await, "default");
    let env = desk.env("MODELKEEP_REMOTE", "named");
    assert_eq!(chosen(&env, None).await, "named");
    assert_eq!(chosen(&env, Some("flagged")).await, "flagged");
    config::set(&desk.open().unwrap(), "remote", "flagged").unwrap();
    assert_eq!(chosen(&desk.env, None).await, "flagged");
    assert_eq!(chosen(&env, None).await, "named");
}

#[tokio::test]
async fn setting_keeps_comments_order_and_everything_else() {
    let desk = Desk::with_workspace().await;
    let text =
        "# ours\nname = \"work\" # short\n\n[retention] # rules\n# why thirty\ngrace_days = 30\n\n[unknown]\nx = 1\n";
    desk.write("work/modelkeep.toml", text);
    let ctx = desk.open().unwrap();
    let item = config::set(&ctx, "retention.grace_days", "14").unwrap();
    assert_eq!((item.value.as_str(), item.origin), ("14", Origin::Workspace(desk.path("work/modelkeep.toml"))));
    config::set(&ctx, "retention.keep_best", "f1").unwrap();
    config::set(&ctx, "retention.higher_is_better", "true").unwrap();
    config::set(&ctx, "budget.models", "1.5GiB").unwrap();
    let now = desk.toml();
    for kept in [
        "# ours\nname = \"work\" # short\n",
        "[retention] # rules\n# why thirty\ngrace_days = 14\n",
        "[unknown]\nx = 1\n",
    ] {
        assert!(now.contains(kept), "{now}");
    }
    let ctx = desk.open().unwrap();
    assert_eq!((value(&ctx, "retention.keep_best").0.as_str(), ctx.settings.retention.grace_days), ("f1", 14));
    assert_eq!(ctx.settings.budget_models.0, 3 << 29);
    // Without a workspace it is the user's own file.
    let alone = Env { cwd: desk.path("elsewhere"), ..desk.env.clone() };
    fs::create_dir_all(&alone.cwd).unwrap();
    let ctx = Desk::open_with(&alone, Options::default()).unwrap();
    config::set(&ctx, "evict", "ask").unwrap();
    assert_eq!(fs::read_to_string(desk.path(".config/modelkeep/config.toml")).unwrap(), "evict = \"ask\"\n");
}

#[tokio::test]
async fn a_value_that_cannot_be_used_changes_nothing() {
    let desk = Desk::with_workspace().await;
    let before = desk.toml();
    for (key, value) in [
        ("budget.models", "much"),
        ("budget.total", "-1"),
        ("retention.grace_days", "3"),
        ("retention.grace_days", "soon"),
        ("retention.keep_last", "-2"),
        ("retention.higher_is_better", "maybe"),
        ("evict", "sometimes"),
        ("folder.hard_links", "perhaps"),
    ] {
        refused(config::set(&desk.open().unwrap(), key, value), Kind::Usage, &[key]);
        assert_eq!(desk.toml(), before, "{key} = {value}");
    }
    refused(config::set(&desk.open().unwrap(), "budgets.models", "1GB"), Kind::Usage, &["budgets.models"]);
    refused(config::get(&desk.open().unwrap(), "nothing"), Kind::Usage, &["nothing"]);
    assert_eq!(desk.toml(), before);
    // A file that was not there is not there after.
    let alone = Env { cwd: desk.path("elsewhere"), ..desk.env.clone() };
    fs::create_dir_all(&alone.cwd).unwrap();
    refused(config::set(&Desk::open_with(&alone, Options::default()).unwrap(), "evict", "x"), Kind::Usage, &["evict"]);
    assert!(!desk.path(".config/modelkeep/config.toml").exists());
    // A word where a table should be.
    desk.write("work/modelkeep.toml", "budget = 3\n");
    let set = desk.open().and_then(|ctx| config::set(&ctx, "budget.models", "1GB"));
    refused(set, Kind::Usage, &["modelkeep.toml", "budget"]);
    assert_eq!(desk.toml(), "budget = 3\n");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    let desk = Desk::with_workspace().await;
    let good = desk.toml();
    for (file, wrong) in [
        ("work/modelkeep.toml", "name = \n"),
        ("work/modelkeep.toml", "[remotes]\ndefault = 3\n"),
        ("work/modelkeep.toml", "evict = \"x\"\n"),
        ("work/modelkeep.toml", "[retention]\ngrace_days = 1\n"),
        (".config/modelkeep/config.toml", "]["),
        (".config/modelkeep/config.toml", "[budget]\nmodels = \"lots\"\n"),
    ] {
        desk.write(file, wrong);
        refused(desk.open(), Kind::Usage, &[file]);
        assert_eq!(fs::read_to_string(desk.path(file)).unwrap(), wrong);
        desk.write(if file.starts_with("work") { file } else { "work/x" }, &good);
        if file.starts_with('.') {
            fs::remove_file(desk.path(file)).unwrap();
        }
    }
    let env = desk.env("MODELKEEP_EVICT", "whenever");
    refused(Desk::open_with(&env, Options::default()), Kind::Usage, &["MODELKEEP_EVICT", "whenever"]);
    let mut env = desk.env("MODELKEEP_NOW", "yesterday");
    assert!(Desk::open_with(&env, Options::default()).is_ok(), "it counts in tests only");
    env.vars.insert("MODELKEEP_TESTING".to_owned(), "1".to_owned());
    let error = Desk::open_with(&env, Options::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    // A setting of a newer version is no reason to stop.
    desk.write("work/modelkeep.toml", &format!("{good}\n[telepathy]\nrange = 3\n"));
    desk.open().unwrap();
}

#[tokio::test]
async fn a_store_is_found_by_name_url_or_path() {
    let desk = Desk::with_workspace().await;
    let deep = Env { cwd: desk.path("work/deep/er"), ..desk.env.clone() };
    let opened = async |env: &Env, remote: Option<&str>| {
        let options = Options { remote: remote.map(str::to_owned), ..Options::default() };
        let ctx = Desk::open_with(env, options)?;
        let store = ctx.store().await?;
        Ok::<_, modelkeep_core::Error>((store.name.clone(), store.remote.describe()))
    };
    let store = desk.path("store").canonicalize().unwrap().display().to_string();
    // By name wherever one stands; by path from where one stands; by URL.
    assert_eq!(opened(&deep, None).await.unwrap(), ("default".to_owned(), store.clone()));
    assert_eq!(opened(&deep, Some("default")).await.unwrap().1, store);
    for (env, url) in [
        (&desk.env, "../store"),
        (&deep, "../../../store"),
        (&deep, "folder:../../../store"),
        (&deep, "~/store"),
        (&deep, store.as_str()),
    ] {
        assert_eq!(opened(env, Some(url)).await.unwrap(), (url.to_owned(), store.clone()));
    }
    // A name is a name first, whatever folder is called so.
    fs::create_dir_all(desk.path("work/word")).unwrap();
    refused(opened(&desk.env, Some("word")).await, Kind::NotFound, &["`word`"]);
    refused(opened(&desk.env, Some("./word")).await, Kind::NotFound, &["word", "no modelkeep tree"]);
    refused(opened(&desk.env, Some("./nowhere")).await, Kind::NotFound, &["nowhere"]);
    assert!(!desk.path("work/nowhere").exists(), "looking makes nothing");
    refused(opened(&desk.env, Some("s3://bucket/x")).await, Kind::Usage, &["s3://bucket/x"]);
    refused(opened(&desk.env, Some("sim:../x")).await, Kind::Usage, &["sim:../x"]);
    refused(opened(&desk.env, Some("sim:unmade")).await, Kind::NotFound, &["unmade"]);

    // Without a workspace: flags alone; no store at all says so.
    let alone = Env { cwd: desk.path("elsewhere"), ..desk.env.clone() };
    fs::create_dir_all(&alone.cwd).unwrap();
    assert_eq!(opened(&alone, Some("../store")).await.unwrap().1, store);
    refused(opened(&alone, None).await, Kind::Auth, &["no store"]);
    let ctx = Desk::open_with(&alone, Options { remote: Some("../store".to_owned()), ..Options::default() }).unwrap();
    list::list(&ctx, &list::Request::default()).await.unwrap();
    assert!(desk.path(".cache/modelkeep").join(ctx.store().await.unwrap().id()).join("local.db").exists());
    assert!(fs::read_dir(&alone.cwd).unwrap().next().is_none(), "nothing beside the user's work");

    // A workspace that is named must be one.
    let options = Options { workspace: Some("../elsewhere".into()), ..Options::default() };
    refused(Desk::open_with(&desk.env, options), Kind::NotFound, &["elsewhere", "modelkeep.toml"]);
}

#[tokio::test]
async fn another_tree_in_the_place_of_ours_is_noticed() {
    let desk = Desk::with_workspace().await;
    let id = |ctx: &Context| ctx.settings.remotes["default"].id.clone().unwrap();
    let ours = id(&desk.open().unwrap());
    fs::rename(desk.path("store"), desk.path("away")).unwrap();
    let gone = list::list(&desk.open().unwrap(), &list::Request::default()).await;
    refused(gone, Kind::NotFound, &["store"]);
    // A USB disk with somebody else's tree in the same place.
    let other = Desk::new();
    other.init(desk.path("store").to_str().unwrap()).await.unwrap();
    let theirs = id(&other.open().unwrap());
    let before = crate::world::snapshot(&desk.path("store"));
    let message =
        refused(list::list(&desk.open().unwrap(), &list::Request::default()).await, Kind::Auth, &[&ours, &theirs]);
    assert!(message.contains("store"), "{message}");
    refused(desk.init("../store").await, Kind::Conflict, &[&ours]);
    refused(remotes::add(&desk.open().unwrap(), "default", "../store").await, Kind::Conflict, &["default"]);
    let after = crate::world::snapshot(&desk.path("store"));
    assert!(before == after);
    // Ours again, from where it was moved to: the id says that it is the same.
    assert_eq!(remotes::add(&desk.open().unwrap(), "default", "../away").await.unwrap().id, Some(ours));
    list::list(&desk.open().unwrap(), &list::Request::default()).await.unwrap();
    assert!(Path::new(&desk.toml()).as_os_str().to_string_lossy().contains("away"));
}
