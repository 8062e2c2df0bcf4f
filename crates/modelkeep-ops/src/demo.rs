//! The four scenarios end to end, on real safetensors made on the spot: what a user would type, and what happens.
//!
//! Everything lies in one folder: workspace, remote, caches and settings. Nothing outside is touched.

mod models;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use modelkeep_core::manifest::ModelKind;
use modelkeep_core::registry::docs::number;
use modelkeep_core::size::ByteSize;
use modelkeep_core::{Error, Result};
use modelkeep_remote::folder::failed;
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::{Context, Env, Observer, Options};
use crate::workspace::SETTINGS_FILE;
use crate::{deploy, diff, init, list, pull, push, verify};

/// Where to run it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The workspace; default `./modelkeep-demo`.
    pub dir: Option<PathBuf>,
    /// Another remote than the folder in it.
    pub remote: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// The workspace.
    #[schemars(with = "String")]
    pub dir: PathBuf,
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// What to look at and type next.
    pub next: Vec<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Step {
    /// What it is about.
    pub title: String,
    /// What a user would type.
    pub command: String,
    /// What came of it.
    pub output: Vec<String>,
}

const DEFAULT_DIR: &str = "modelkeep-demo";
const REMOTE: &str = "./Banking LLM";
/// A folder that plays the other machine.
const ANOTHER: &str = "another-machine";
/// Tells a demo's workspace from anybody's own.
const NAME: &str = "Banking LLM";

struct Demo {
    env: Env,
    options: Options,
    observer: Arc<dyn Observer>,
    root: PathBuf,
    /// The store, as any folder could name it.
    store: String,
    steps: Vec<Step>,
}

/// Runs the demo; run again it goes on from where it is.
pub async fn demo(env: &Env, options: &Options, observer: Arc<dyn Observer>, request: &Request) -> Result<Report> {
    let root = env.cwd.join(request.dir.as_deref().unwrap_or(Path::new(DEFAULT_DIR)));
    refuse_strangers(&root)?;
    fs::create_dir_all(&root).map_err(|error| failed("creating", &root, error))?;
    let root = root.canonicalize().map_err(|error| failed("opening", &root, error))?;
    let options = Options { workspace: Some(root.clone()), remote: None, ..options.clone() };
    let remote = request.remote.as_deref().unwrap_or(REMOTE);
    // A path is seen from the demo's folder; from anywhere else it is an absolute one.
    let store = if remote.starts_with('.') { root.join(remote).display().to_string() } else { remote.to_owned() };
    let mut demo = Demo { env: sealed(env, &root), options, observer, root, store, steps: Vec::new() };
    demo.prepare(remote).await?;
    demo.first_setup().await?;
    demo.train().await?;
    demo.compare_and_deploy().await?;
    demo.use_it().await?;
    demo.look_after().await?;
    let next = demo.next(request.remote.is_some());
    Ok(Report { dir: demo.root, steps: demo.steps, next })
}

/// A folder with something in it that no demo made is left alone.
fn refuse_strangers(root: &Path) -> Result<()> {
    let Ok(mut entries) = fs::read_dir(root) else { return Ok(()) };
    let ours = fs::read_to_string(root.join(SETTINGS_FILE)).is_ok_and(|text| text.contains(NAME));
    if ours || entries.next().is_none() {
        return Ok(());
    }
    Err(Error::conflict(format!("{} holds something that is not a demo", root.display()))
        .hint("modelkeep demo --dir ANOTHER-FOLDER"))
}

/// The environment with everything personal inside the demo's folder.
fn sealed(env: &Env, root: &Path) -> Env {
    let mut sealed = Env { cwd: root.to_owned(), vars: env.vars.clone() };
    sealed.vars.retain(|name, _| {
        !name.starts_with("XDG_") && !name.starts_with("HF_") && !name.starts_with("MODELKEEP_")
            || matches!(name.as_str(), "MODELKEEP_TESTING" | "MODELKEEP_NOW" | "MODELKEEP_USER")
            || name.starts_with("MODELKEEP_GDRIVE_")
    });
    // A Drive is somebody's: the logins stay where they are.
    if let Ok(file) = crate::drive::credentials_file(env) {
        sealed.vars.insert("MODELKEEP_CREDENTIALS".to_owned(), file.display().to_string());
    }
    let inside = |path: &str| root.join(path).display().to_string();
    sealed.vars.insert("HOME".to_owned(), inside(".home"));
    sealed.vars.insert("HF_HOME".to_owned(), inside("models/cache"));
    sealed
}

impl Demo {
    fn context(&self) -> Result<Context> {
        Context::open(self.env.clone(), self.options.clone(), Arc::clone(&self.observer))
    }

    fn tell(&mut self, title: &str, command: impl Into<String>, output: Vec<String>) {
        self.steps.push(Step { title: title.to_owned(), command: command.into(), output });
    }

    async fn prepare(&mut self, remote: &str) -> Result<()> {
        let request = init::Request {
            dir: Some(self.root.clone()),
            remote: Some(remote.to_owned()),
            name: Some(NAME.to_owned()),
            python: false,
            account: None,
        };
        let options = Options { workspace: None, ..self.options.clone() };
        let report = init::init(&self.env, &options, &self.observer, &request).await?;
        let made = match report.created.len() {
            0 => "everything is there already".to_owned(),
            n => format!("{n} files and folders made"),
        };
        let output = vec![made, format!("store: {}", report.remote.unwrap_or_default())];
        self.tell(
            "A workspace, and a store on storage you own",
            format!("modelkeep init --remote \"{remote}\""),
            output,
        );
        Ok(())
    }

    async fn first_setup(&mut self) -> Result<()> {
        let folder = self.root.join("outputs/llama2-7b");
        models::write_base(&folder)?;
        let request = push::Request {
            path: folder,
            model: "llama2-7b".to_owned(),
            kind: Some(ModelKind::Base),
            purpose: Some("base model".to_owned()),
            ..push::Request::default()
        };
        let report = push::push(&self.context()?, request).await?;
        let command = "modelkeep push ./outputs/llama2-7b llama2-7b --kind base --purpose \"base model\"";
        let output = vec![stored(&report), format!("readable without the tool: {}", report.path)];
        self.tell("Scenario 1: the base model, stored once", command, output);
        Ok(())
    }

    async fn train(&mut self) -> Result<()> {
        for (name, run) in &models::RUNS {
            let folder = self.root.join("outputs").join(name);
            models::write_adapter(&folder, run)?;
            let request = push::Request { path: folder, model: (*name).to_owned(), ..push::Request::default() };
            let report = push::push(&self.context()?, request).await?;
            let metrics: Vec<String> =
                report.metrics.iter().map(|(name, value)| format!("{name} {}", number(*value))).collect();
            let output = vec![
                stored(&report),
                format!(
                    "learnt from its files: base model {}, {}",
                    report.base_model.unwrap_or_default(),
                    metrics.join(", ")
                ),
            ];
            self.tell(
                "Scenario 3: a training run becomes a version",
                format!("modelkeep push ./outputs/{name} {name}"),
                output,
            );
        }
        Ok(())
    }

    async fn compare_and_deploy(&mut self) -> Result<()> {
        let ctx = self.context()?;
        let report = diff::diff(&ctx, "banking-v1", "banking-v2").await?;
        let metrics = report.diff.metrics.iter().map(|metric| {
            let change = metric.change.map_or_else(String::new, |change| format!("  ({change:+.3})"));
            (&metric.name, format!("{} → {}{change}", number(metric.before), number(metric.after)))
        });
        let config =
            report.diff.config.iter().map(|field| (&field.name, format!("{} → {}", field.before, field.after)));
        let lines: Vec<_> = metrics.chain(config).collect();
        let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let output = lines.into_iter().map(|(name, change)| format!("{name:width$}  {change}")).collect();
        self.tell("Is it better?", "modelkeep diff banking-v1 banking-v2", output);

        let report = deploy::deploy(&ctx, "banking-v2", false).await?;
        let output = match report.steps.first() {
            Some(step) => vec![format!("{} {}: {}", step.action, step.target, step.reason)],
            None => vec!["it is deployed already".to_owned()],
        };
        self.tell("Put it in use", "modelkeep deploy banking-v2", output);
        Ok(())
    }

    /// A second workspace with a home of its own: nothing that the first one holds helps it.
    async fn another_machine(&self) -> Result<Context> {
        let root = self.root.join(ANOTHER);
        let env = sealed(&Env { cwd: root.clone(), vars: self.env.vars.clone() }, &root);
        let request = init::Request {
            dir: Some(root.clone()),
            remote: Some(self.store.clone()),
            name: Some(NAME.to_owned()),
            python: false,
            account: None,
        };
        let options = Options { workspace: None, ..self.options.clone() };
        init::init(&env, &options, &self.observer, &request).await?;
        Context::open(env, Options { workspace: Some(root), ..options }, Arc::clone(&self.observer))
    }

    async fn use_it(&mut self) -> Result<()> {
        let there = self.another_machine().await?;
        let request = pull::Request::default();
        let report = pull::pull(&there, &request, "banking-v2").await?;
        let place = report.path.strip_prefix(self.root.join(ANOTHER)).unwrap_or(&report.path).display().to_string();
        let output = vec![fetched(&report), format!("PeftModel.from_pretrained(base, './{place}') loads it")];
        let command = format!("cd {ANOTHER} && modelkeep pull banking-v2");
        self.tell("Scenario 4: on another machine, byte for byte", command, output);

        let again = pull::pull(&there, &request, "banking-v2").await?;
        fs::remove_dir_all(&report.path).map_err(|error| failed("removing", &report.path, error))?;
        let cleared = pull::pull(&there, &request, "banking-v2").await?;
        let output = vec![
            format!("the next use: {}", fetched(&again)),
            format!("cleared, it comes back: {}", fetched(&cleared)),
        ];
        self.tell("Scenario 2: instant from here, and back when cleared", "modelkeep pull banking-v2", output);
        Ok(())
    }

    async fn look_after(&mut self) -> Result<()> {
        let ctx = self.context()?;
        let report = list::list(&ctx, &list::Request::default()).await?;
        let line = |item: &crate::report::ModelItem| {
            let loss = item.metrics.get("eval_loss").copied().flatten();
            let loss = loss.map_or_else(String::new, |loss| format!("eval_loss {}", number(Some(loss))));
            format!(
                "{:<12} {:<13} {:<9} {:>7}  {loss}",
                item.id,
                item.model_type.clone().unwrap_or_default(),
                item.status.as_str(),
                ByteSize(item.size_bytes).to_string()
            )
        };
        self.tell(
            "Everything, in a registry that is always right",
            "modelkeep list",
            report.models.iter().map(line).collect(),
        );
        let report = verify::verify(&ctx, None, true).await?;
        let output = vec![format!(
            "{} files, {}, {}",
            report.checked,
            ByteSize(report.bytes),
            if report.problems.is_empty() {
                "all as they should be".to_owned()
            } else {
                format!("{} problems", report.problems.len())
            }
        )];
        self.tell("Nothing is damaged", "modelkeep verify --deep", output);
        Ok(())
    }

    fn next(&self, own_remote: bool) -> Vec<String> {
        let dir = self.root.strip_prefix(self.root.parent().unwrap_or(&self.root)).unwrap_or(&self.root).display();
        let mut next = vec![format!("cd {dir}")];
        if !own_remote {
            next.push("ls \"Banking LLM/models/finetuned\"          # plain folders, no tool needed".to_owned());
            next.push("cat \"Banking LLM/docs/model_registry.json\"  # the registry".to_owned());
        }
        next.push("modelkeep show banking-v2".to_owned());
        next.push("modelkeep rollback --dry-run".to_owned());
        next.push(
            "modelkeep push ./outputs/banking-v2 banking-v3   # your own: modelkeep push DIRECTORY NAME".to_owned(),
        );
        next
    }
}

fn stored(report: &push::Report) -> String {
    let size = ByteSize(report.size_bytes);
    if !report.created {
        return format!("#{} {}: {size} stored already, nothing sent", report.number, report.revision.short());
    }
    let skipped = match report.skipped_bytes {
        0 => String::new(),
        bytes => format!(", {} of it there already", ByteSize(bytes)),
    };
    format!("#{} {}: {size} in {} files{skipped}", report.number, report.revision.short(), report.files)
}

fn fetched(report: &pull::Report) -> String {
    match report.fetched_bytes {
        0 => format!("{} here already, nothing fetched", ByteSize(report.reused_bytes)),
        bytes => format!("{} fetched", ByteSize(bytes)),
    }
}
