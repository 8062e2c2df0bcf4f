//! Where things belong: looks at files and folders, and judges them by the rules.
//!
//! The rules are `core/placement.rs` and `[[placement]]` in the settings. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use modelkeep_core::digest::Sha256;
use modelkeep_core::inspect::JSON_LIMIT;
use modelkeep_core::inspect::content::{self, Content, HEAD};
use modelkeep_core::placement::{self, Category, Codespaces, Drive, Facts, Hub, Rule, Rules, Standing, Verdict};
use modelkeep_core::{Error, Result};
use modelkeep_remote::folder::{copy, failed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::git::Git;
use crate::local::Stat;
use crate::settings::Settings;
use crate::store::Store;
use crate::{log, observe, pins, staging};

/// Where each thing belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// One a path.
    pub items: Vec<Item>,
    /// What a person should know besides.
    pub notes: Vec<String>,
}

/// Where one thing belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Item {
    /// As it was given.
    pub path: String,
    /// The row of the matrix.
    pub category: Category,
    /// On the machine one works on.
    pub codespaces: Codespaces,
    /// On the store.
    pub drive: Drive,
    /// On the Hub.
    pub hub: Hub,
    /// In git.
    pub git: bool,
    /// Why.
    pub reason: String,
    /// What puts it right; empty when it lies right.
    pub command: String,
    /// All of it.
    pub size_bytes: u64,
    /// How many files it has.
    pub files: u64,
    /// Whether the store has this very content.
    pub stored: bool,
    /// Whether git tracks some of it that it should not have.
    pub tracked: bool,
}

/// A thing that was looked at.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// As it was given.
    pub given: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it is judged by.
    pub facts: Facts,
    /// Where it belongs.
    pub verdict: Verdict,
    /// Where it is now.
    pub standing: Standing,
    /// Its files.
    pub files: Vec<PathBuf>,
    /// Those of them that are code, which stays in git and here whatever becomes of the others.
    pub code: BTreeSet<PathBuf>,
    /// Those of them that git tracks and should not, by their paths in the repository.
    pub tracked: Vec<String>,
}

/// The rules that count here. A mistake is told with its file, its line and the reason.
pub fn rules(settings: &Settings) -> Result<Rules> {
    #[derive(Deserialize)]
    struct Document {
        placement: Vec<toml::Spanned<Rule>>,
    }
    let mut own = Vec::new();
    let mut lines = Vec::new();
    for (file, text) in &settings.placement {
        let wrong = |why: String| {
            Error::usage(format!("{}: [[placement]]: {why}", file.display()))
                .hint(format!("mend {}; the fields are in the guide, under git", file.display()))
        };
        let document: Document =
            toml::from_str(text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        for rule in document.placement {
            lines.push((file, text[..rule.span().start].matches('\n').count() + 1));
            own.push(rule.into_inner());
        }
    }
    Rules::new(&own).map_err(|(at, error)| match lines.get(at) {
        Some((file, line)) => error.context(format!("{} line {line}, [[placement]]", file.display())),
        None => error,
    })
}

/// Says where each path belongs.
pub async fn locate(ctx: &Context, paths: &[PathBuf]) -> Result<Report> {
    let (seen, notes) = look(ctx, paths).await?;
    let items = seen.iter().map(Item::of).collect();
    Ok(Report { items, notes })
}

impl Item {
    fn of(seen: &Seen) -> Self {
        let row = seen.verdict.row;
        Self {
            path: seen.given.clone(),
            category: seen.verdict.category,
            codespaces: row.codespaces,
            drive: row.drive,
            hub: row.hub,
            git: row.git,
            reason: seen.verdict.reason.clone(),
            command: placement::command(&seen.given, &seen.verdict, seen.standing),
            size_bytes: seen.facts.size,
            files: seen.files.len() as u64,
            stored: seen.standing.stored,
            tracked: seen.standing.tracked,
        }
    }
}

/// Looks at things, and judges them; with what a person should know.
pub(crate) async fn look(ctx: &Context, paths: &[PathBuf]) -> Result<(Vec<Seen>, Vec<String>)> {
    let (rules, git) = (rules(&ctx.settings)?, Tracked::read(ctx)?);
    let mut seen = Vec::new();
    for given in paths {
        ctx.check_stop()?;
        seen.push(observe(ctx, &rules, &git, given)?);
    }
    ask_store(ctx, seen).await
}

/// The same of what happens to be there: a thing that may not be read, or leads nowhere, is named and keeps nobody from
/// the others.
pub(crate) async fn look_around(ctx: &Context, paths: &[PathBuf]) -> Result<(Vec<Seen>, Vec<String>)> {
    let (rules, git) = (rules(&ctx.settings)?, Tracked::read(ctx)?);
    let mut seen = Vec::new();
    for given in paths {
        ctx.check_stop()?;
        match observe(ctx, &rules, &git, given) {
            Ok(one) => seen.push(one),
            Err(error) => ctx.warn(format!("left out: {}", error.full_message())),
        }
    }
    ask_store(ctx, seen).await
}

/// Says of each thing whether the store has it.
async fn ask_store(ctx: &Context, mut seen: Vec<Seen>) -> Result<(Vec<Seen>, Vec<String>)> {
    let mut notes = Vec::new();
    // Whether the store has it can only be known where there is a store to ask.
    if seen.iter().any(|seen| seen.verdict.row.drive == Drive::Store) {
        match held(ctx).await {
            Ok((store, held)) => {
                for seen in &mut seen {
                    seen.standing.stored = is_held(ctx, &store, &held, seen)?;
                }
            }
            Err(error) => notes.push(format!("the store was not asked: {}", error.full_message())),
        }
    }
    Ok((seen, notes))
}

/// Where one thing belongs, by the rules alone; and what it is judged by.
pub(crate) fn judge(ctx: &Context, path: &Path) -> Result<(Verdict, Facts)> {
    let seen = observe(ctx, &rules(&ctx.settings)?, &Tracked::read(ctx)?, path)?;
    Ok((seen.verdict, seen.facts))
}

/// What the store holds: digests with their sizes.
async fn held(ctx: &Context) -> Result<(std::sync::Arc<Store>, BTreeMap<Sha256, u64>)> {
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    let held = staging::held(ctx, &store, &view).await?;
    Ok((store, held))
}

/// Whether the store holds every file of a thing. One whose digest is not known is read, once, if the store holds
/// something of its size.
fn is_held(ctx: &Context, store: &Store, held: &BTreeMap<Sha256, u64>, seen: &Seen) -> Result<bool> {
    if held.is_empty() || seen.files.is_empty() {
        return Ok(false);
    }
    let sizes: BTreeSet<u64> = held.values().copied().collect();
    let local = store.local(ctx)?;
    let root = seen.path.canonicalize().unwrap_or_else(|_| seen.path.clone());
    let known = local.hashes_below(&root)?;
    let mut hashed = Vec::new();
    let mut all = true;
    for path in &seen.files {
        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let stat = Stat::of(&metadata);
        // Empty files are nobody's loss.
        if stat.size == 0 {
            continue;
        }
        let digest = match known.get(&path) {
            Some((before, digest)) if *before == stat => Some(*digest),
            _ if sizes.contains(&stat.size) => {
                let mut open = fs::File::open(&path).map_err(|error| failed("reading", &path, error))?;
                let (_, digest) = copy::hash(&mut open, &path, &*ctx.silent_meter())?;
                hashed.push((path, stat, digest));
                Some(digest)
            }
            _ => None,
        };
        if digest.is_none_or(|digest| !held.contains_key(&digest)) {
            all = false;
            break;
        }
    }
    local.remember_hashes(&hashed)?;
    Ok(all)
}

/// What git tracks, by its path in the repository.
struct Tracked {
    root: Option<PathBuf>,
    paths: BTreeSet<String>,
}

impl Tracked {
    fn read(ctx: &Context) -> Result<Self> {
        let Some(git) = Git::find(&ctx.env, &crate::guard::here(ctx))? else {
            return Ok(Self { root: None, paths: BTreeSet::new() });
        };
        let paths = git.tracked()?.into_iter().map(|file| file.path).collect();
        Ok(Self { root: git.root(), paths })
    }

    /// The path in the repository, if git tracks it.
    fn name(&self, path: &Path) -> Option<String> {
        let below = path.strip_prefix(self.root.as_ref()?).ok()?;
        let name = slashed(below);
        self.paths.contains(&name).then_some(name)
    }
}

/// Looks at one thing.
fn observe(ctx: &Context, rules: &Rules, git: &Tracked, given: &Path) -> Result<Seen> {
    let path = ctx.absolute(given);
    let metadata = fs::metadata(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::not_found(format!("{} is not there", given.display())).hint("check the path")
        }
        _ => failed("looking at", &path, error),
    })?;
    // Links above it are followed, so that it is told alike however it is reached; it itself is what was named.
    let path = std::path::absolute(&path).unwrap_or(path);
    let path = match (path.parent().and_then(|parent| parent.canonicalize().ok()), path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path.canonicalize().unwrap_or(path),
    };
    let files = if metadata.is_dir() { files_below(&path)? } else { vec![path.clone()] };
    let root = workspace_root(ctx);
    let trained = files.iter().any(|file| is_of_training(file)) || beside(&path, &metadata);
    let mut judged = Vec::with_capacity(files.len());
    for file in &files {
        ctx.check_stop()?;
        let facts = facts_of(&root, file, trained)?;
        let verdict = rules.judge(&facts);
        judged.push((facts, verdict));
    }
    let size = judged.iter().map(|(facts, _)| facts.size).sum();
    let mut facts = weightiest(&path, &root, &judged);
    facts.size = size;
    let verdict = rules.judge(&facts);
    let judged = || files.iter().zip(&judged);
    let code: BTreeSet<PathBuf> =
        judged().filter(|(_, (facts, verdict))| is_code(facts, verdict)).map(|(file, _)| file.clone()).collect();
    // Where the whole does not belong in git, nothing of it does but code.
    let unwanted = judged().filter(|(file, (_, own))| !own.row.git || !verdict.row.git && !code.contains(*file));
    let tracked: Vec<String> = unwanted.filter_map(|(file, _)| git.name(file)).collect();
    let standing = Standing {
        stored: false,
        tracked: !tracked.is_empty(),
        pinned: pins::is_pinned_path(ctx, &slashed(path.strip_prefix(&root).unwrap_or(&path)))?,
    };
    Ok(Seen { given: given.display().to_string(), path, facts, verdict, standing, files, code, tracked })
}

/// Text that the project is made of, among data or results.
fn is_code(facts: &Facts, verdict: &Verdict) -> bool {
    let is_text = matches!(facts.content, Content::Text | Content::Notebook);
    let of_code = matches!(verdict.category, Category::SourceCode | Category::Requirements | Category::Notebooks);
    is_text && of_code && verdict.row.git
}

pub(crate) fn workspace_root(ctx: &Context) -> PathBuf {
    let root = ctx.workspace.as_ref().map_or(ctx.env.cwd.as_path(), |workspace| workspace.root.as_path());
    root.canonicalize().unwrap_or_else(|_| root.to_owned())
}

/// A path as rules see it.
pub(crate) fn slashed(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

/// Every file below a folder that a push would take. What git or a tool keeps for itself is not looked into.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let walk = ignore::WalkBuilder::new(folder)
        .standard_filters(false)
        .add_custom_ignore_filename(observe::IGNORE_FILE)
        .filter_entry(|entry| !matches!(entry.file_name().to_str(), Some(".git" | ".modelkeep" | "__pycache__")))
        .build();
    for entry in walk {
        let entry = entry
            .map_err(|error| Error::local(format!("{} cannot be looked into", folder.display())).because(error))?;
        if entry.path().is_file() {
            found.push(entry.into_path());
        }
    }
    found.sort();
    Ok(found)
}

/// Files that only a training leaves beside weights.
const OF_TRAINING: [&str; 7] = [
    "adapter_config.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "lora_config.json",
    "trainer_state.json",
    "training_args.bin",
    "optimizer.pt",
];

fn is_of_training(file: &Path) -> bool {
    file.file_name().and_then(|name| name.to_str()).is_some_and(|name| OF_TRAINING.contains(&name))
}

/// Whether a file stands beside what a training left.
fn beside(path: &Path, metadata: &fs::Metadata) -> bool {
    let folder = if metadata.is_dir() { None } else { path.parent() };
    folder.is_some_and(|folder| OF_TRAINING.iter().any(|name| folder.join(name).is_file()))
}

fn facts_of(root: &Path, file: &Path, trained: bool) -> Result<Facts> {
    let unreadable = |error| failed("reading", file, error);
    let mut open = fs::File::open(file).map_err(unreadable)?;
    let size = open.metadata().map_err(unreadable)?.len();
    let mut head = Vec::with_capacity(HEAD);
    (&mut open).take(HEAD as u64).read_to_end(&mut head).map_err(unreadable)?;
    let path = slashed(file.strip_prefix(root).unwrap_or(file));
    let mut content = content::sniff(&path, &head, size);
    if is_of_run(file) {
        content = Content::Run;
    }
    let mut outputs = 0;
    if content == Content::Notebook && size <= JSON_LIMIT {
        let mut bytes = head;
        open.read_to_end(&mut bytes).map_err(unreadable)?;
        outputs = content::outputs(&bytes).unwrap_or(0);
    }
    Ok(Facts { path, size, content, trained, outputs })
}

/// Whether a file belongs to a run of MLflow: its folder has `meta.yaml` beside `metrics` and `params`
/// (<https://mlflow.org/docs/latest/ml/tracking/backend-stores>).
fn is_of_run(file: &Path) -> bool {
    file.ancestors().skip(1).take(3).any(|folder| {
        folder.join("meta.yaml").is_file() && (folder.join("metrics").is_dir() || folder.join("params").is_dir())
    })
}

/// What a folder is judged by: a model in it says most, else the row that most of its bytes belong to.
fn weightiest(path: &Path, root: &Path, judged: &[(Facts, Verdict)]) -> Facts {
    let mut bytes: BTreeMap<Category, u64> = BTreeMap::new();
    for (facts, verdict) in judged {
        *bytes.entry(verdict.category).or_default() += facts.size;
    }
    let models = bytes.keys().copied().find(|category| matches!(category, Category::BaseModel | Category::Finetuned));
    let category = models.or_else(|| bytes.iter().max_by_key(|(_, bytes)| **bytes).map(|(category, _)| *category));
    let of_it = judged.iter().filter(|(_, verdict)| Some(verdict.category) == category);
    let outputs = judged.iter().map(|(facts, _)| facts.outputs).sum();
    match of_it.max_by_key(|(facts, _)| facts.size) {
        Some((facts, _)) => Facts { outputs, ..facts.clone() },
        None => Facts {
            path: slashed(path.strip_prefix(root).unwrap_or(path)),
            size: 0,
            content: Content::Empty,
            trained: false,
            outputs: 0,
        },
    }
}
