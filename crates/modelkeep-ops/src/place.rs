//! Bring things where they belong: on the store, verified; then out of git, behind a pin or an ignore rule.
//!
//! The order is the safety: nothing leaves git, and nothing here is let go, before the store was seen to have that very
//! content. What only exists here stays here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ignore::gitignore::GitignoreBuilder;
use modelkeep_core::manifest::ModelKind;
use modelkeep_core::placement::{self, Category, Codespaces, Drive};
use modelkeep_core::{Error, Result};
use modelkeep_remote::folder::failed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cache::places::{self, Name};
use crate::context::Context;
use crate::git::Git;
use crate::guard::here;
use crate::local::Stat;
use crate::observe::UNSENT;
use crate::placement::{Seen, look, look_around, slashed, workspace_root};
use crate::pull::destination;
use crate::report::{Step, Wrote};
use crate::{file, gitignore, log, pins, push, tree, verify};

/// What to bring where it belongs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Files and folders; without any, what is in the folders of the workspace that hold such things.
    pub paths: Vec<PathBuf>,
    /// Remove from here what belongs on the store alone, once it is there.
    pub free: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// What was done, or would be.
    pub steps: Vec<Step>,
    /// What was left, and why.
    pub left: Vec<String>,
    /// Whether anything was done.
    pub changed: bool,
    /// Where it went; none when nothing had to go anywhere.
    #[serde(flatten)]
    pub wrote: Option<Wrote>,
}

/// What is to be done with one thing, in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Todo {
    store: bool,
    pin: bool,
    leave_git: bool,
    ignore: bool,
    free: bool,
}

/// Folders whose contents are looked at one by one when no path is given.
const HOLDERS: [&str; 9] =
    ["models", "models/base", "data", "notebooks", "outputs", "output", "results", "configs", "datasets"];
/// Folders that are one thing.
const WHOLE: [&str; 2] = ["mlruns", "wandb"];

/// Brings things where they belong.
pub async fn place(ctx: &Context, request: &Request) -> Result<Report> {
    let (seen, mut left) = if request.paths.is_empty() {
        look_around(ctx, &candidates(ctx)).await?
    } else {
        look(ctx, &request.paths).await?
    };
    let git = Git::find(&ctx.env, &here(ctx))?;
    let plan: Vec<(Seen, Todo)> = seen
        .into_iter()
        .map(|seen| {
            let todo = decide(ctx, &seen, git.as_ref(), request.free);
            (seen, todo)
        })
        .filter(|(_, todo)| *todo != Todo::default())
        .collect();
    let steps: Vec<Step> = plan.iter().flat_map(|(seen, todo)| steps(seen, *todo)).collect();
    let needs_store = plan.iter().any(|(_, todo)| todo.store);
    let mut report = Report { steps, left: Vec::new(), changed: false, wrote: None };
    if needs_store {
        // A store that cannot take it is told before anything is done.
        report.wrote = Some(Wrote::to(&*ctx.store().await?, request.dry_run));
    }
    if request.dry_run || plan.is_empty() {
        report.left = left;
        return Ok(report);
    }
    report.changed = true;
    for (seen, todo) in plan {
        ctx.check_stop()?;
        if let Err(error) = apply(ctx, git.as_ref(), &seen, todo).await {
            // One thing that cannot be placed does not keep the others from it; Ctrl-C does.
            if error.kind() == modelkeep_core::Kind::Interrupted {
                return Err(error);
            }
            left.push(format!("{}: {}", seen.given, error.full_message()));
        }
    }
    report.left = left;
    Ok(report)
}

/// What is in the folders of the workspace that hold such things.
pub(crate) fn candidates(ctx: &Context) -> Vec<PathBuf> {
    let root = workspace_root(ctx);
    let caches = caches(ctx);
    let mut found = BTreeSet::new();
    for holder in HOLDERS {
        let Ok(entries) = fs::read_dir(root.join(holder)) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = slashed(path.strip_prefix(&root).unwrap_or(&path));
            let last = entry.file_name();
            let hidden = last.to_string_lossy().starts_with('.') || last == UNSENT;
            let is_empty = path.is_dir() && fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
            let of_cache = caches.iter().any(|cache| cache.starts_with(&path) || path.starts_with(cache));
            if !hidden && !is_empty && !of_cache && !HOLDERS.contains(&name.as_str()) {
                found.insert(path);
            }
        }
    }
    found.extend(WHOLE.iter().map(|name| root.join(name)).filter(|path| path.is_dir()));
    let cwd = ctx.env.cwd.canonicalize().unwrap_or_else(|_| ctx.env.cwd.clone());
    found.into_iter().map(|path| path.strip_prefix(&cwd).map_or(path.clone(), Path::to_owned)).collect()
}

/// The caches of other programs, which look after themselves: `models/cache` may be Hugging Face's.
fn caches(ctx: &Context) -> Vec<PathBuf> {
    let places = places::find(ctx).unwrap_or_default().into_iter();
    let caches = places.filter(|place| place.name != Name::Models).map(|place| place.path);
    caches.map(|path| path.canonicalize().unwrap_or(path)).collect()
}

fn decide(ctx: &Context, seen: &Seen, git: Option<&Git>, free: bool) -> Todo {
    let (row, standing) = (seen.verdict.row, seen.standing);
    let in_repository = git.and_then(Git::root).filter(|root| seen.path.starts_with(root));
    let belongs_there = row.drive == Drive::Store;
    Todo {
        store: belongs_there && !standing.stored,
        // Only a workspace has a lock file.
        pin: row.codespaces == Codespaces::Link && !standing.pinned && ctx.workspace.is_some(),
        leave_git: standing.tracked,
        ignore: !row.git && in_repository.is_some_and(|root| !is_ignored(&root, &seen.path)),
        free: free && belongs_there && matches!(row.codespaces, Codespaces::Link | Codespaces::No),
    }
}

/// Whether `.gitignore` at the top says so already.
fn is_ignored(root: &Path, path: &Path) -> bool {
    let mut builder = GitignoreBuilder::new(root);
    builder.add(root.join(gitignore::FILE));
    let Ok(rules) = builder.build() else { return false };
    let files = path.is_dir();
    let below = path.strip_prefix(root).unwrap_or(path);
    rules.matched_path_or_any_parents(below, files).is_ignore()
}

fn steps(seen: &Seen, todo: Todo) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut add = |wanted: bool, action: &str, target: String, reason: &str, bytes: u64| {
        if wanted {
            steps.push(Step::new(action, target, reason).bytes(bytes));
        }
    };
    let given = seen.given.clone();
    add(todo.store, "store", format!("{given} as {}", destination(seen)), &seen.verdict.reason, seen.facts.size);
    add(todo.pin, "pin", given.clone(), "modelkeep pull brings exactly this back", 0);
    add(todo.leave_git, "take out of git", given.clone(), "the file stays here", 0);
    add(todo.ignore, "ignore", given.clone(), "so that git does not take it again", 0);
    add(todo.free, "remove here", given, "the store has it", seen.facts.size);
    steps
}

/// Where it goes on the store, as people read it.
fn destination(seen: &Seen) -> String {
    match &seen.verdict.to {
        Some(to) => {
            let name = seen.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            format!("{to}/{name}")
        }
        None => format!("model {}", model_id(seen)),
    }
}

fn model_id(seen: &Seen) -> String {
    placement::model_name(&slashed(&seen.path))
}

async fn apply(ctx: &Context, git: Option<&Git>, seen: &Seen, todo: Todo) -> Result<()> {
    if todo.store {
        store(ctx, seen).await?;
    }
    let leaves = seen.verdict.row.drive == Drive::Store && (todo.leave_git || todo.free);
    let as_stored = if leaves || todo.store { stored_whole(ctx, seen).await? } else { BTreeMap::new() };
    if todo.pin {
        pins::pin(ctx, &seen.given).await?;
    }
    if let (true, Some(git)) = (todo.leave_git, git) {
        git.forget(&seen.tracked)?;
    }
    if let Some(root) = git.and_then(Git::root).filter(|_| todo.ignore) {
        let name = slashed(seen.path.strip_prefix(&root).unwrap_or(&seen.path));
        let name = if seen.path.is_dir() { format!("{name}/") } else { name };
        gitignore::add_placed(&root, &[name])?;
    }
    if todo.free { free(seen, &as_stored) } else { Ok(()) }
}

/// Removes from here what the store has. What was written since it was read stays, and so does code.
fn free(seen: &Seen, as_stored: &BTreeMap<&PathBuf, Stat>) -> Result<()> {
    let mut changed = Vec::new();
    for file in seen.files.iter().filter(|file| !seen.code.contains(*file)) {
        let now = fs::metadata(file).map_err(|error| failed("looking at", file, error))?;
        if as_stored.get(file) == Some(&Stat::of(&now)) {
            fs::remove_file(file).map_err(|error| failed("removing", file, error))?;
        } else {
            changed.push(file.display().to_string());
        }
    }
    if seen.path.is_dir() {
        // What came in meanwhile was not looked at, and stays.
        destination::remove_empty_folders(&seen.path);
        let _ = fs::remove_dir(&seen.path);
    }
    if changed.is_empty() {
        return Ok(());
    }
    Err(Error::conflict(format!("{} changed meanwhile, and stays here", changed.join(", ")))
        .hint(format!("when nothing writes there any more: modelkeep place --free {}", placement::quote(&seen.given))))
}

async fn store(ctx: &Context, seen: &Seen) -> Result<()> {
    if let Some(to) = &seen.verdict.to {
        let request = file::push::Request { path: seen.path.clone(), to: Some(to.clone()), ..Default::default() };
        return file::push::push(ctx, request).await.map(drop);
    }
    let kind = (seen.verdict.category == Category::BaseModel).then_some(ModelKind::Base);
    let request = push::Request { path: seen.path.clone(), model: model_id(seen), kind, ..Default::default() };
    push::push(ctx, request).await.map(drop)
}

/// Reads every file here once more, and looks whether the store has that content: what is not there is not let go. How
/// each file was when it was read.
async fn stored_whole<'a>(ctx: &Context, seen: &'a Seen) -> Result<BTreeMap<&'a PathBuf, Stat>> {
    let store = ctx.store().await?;
    let view = log::refresh(ctx, &store).await?;
    let (mut here, mut as_read) = (BTreeSet::new(), BTreeMap::new());
    for path in &seen.files {
        let unreadable = |error| failed("reading", path, error);
        let mut open = fs::File::open(path).map_err(unreadable)?;
        as_read.insert(path, Stat::of(&open.metadata().map_err(unreadable)?));
        let (size, digest) = modelkeep_remote::folder::copy::hash(&mut open, path, &*ctx.meter())?;
        if size > 0 {
            here.insert(digest);
        }
    }
    let wanted = here.len();
    for kept in view.state.kept() {
        for push in kept.pushes.iter().filter(|push| push.removed.is_none()) {
            let Ok(manifest) = tree::manifest(ctx, &store, kept, push).await else { continue };
            let holds = manifest.files().iter().any(|file| here.contains(&file.sha256));
            // That the log says so is not enough: the push stands there, whole.
            if holds && !verify::examine(ctx, &store, kept, push, false).await?.any() {
                here.retain(|digest| !manifest.files().iter().any(|file| file.sha256 == *digest));
            }
        }
    }
    if here.is_empty() {
        return Ok(as_read);
    }
    Err(Error::conflict(format!(
        "{} of {wanted} files are not whole on the store; {} stays as it is",
        here.len(),
        seen.given
    ))
    .hint(format!("modelkeep where {}", placement::quote(&seen.given))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use modelkeep_core::inspect::content::Content;
    use modelkeep_core::placement::{Facts, Rules, Standing};

    use super::*;

    #[test]
    fn what_was_written_since_it_was_read_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results");
        fs::create_dir(&path).unwrap();
        let files = ["done.log", "growing.log", "new.log", "plot.py"].map(|name| path.join(name));
        for file in &files {
            fs::write(file, "one\n").unwrap();
        }
        let facts =
            Facts { path: "results/done.log".to_owned(), size: 12, content: Content::Text, trained: false, outputs: 0 };
        let verdict = Rules::new(&[]).unwrap().judge(&facts);
        let seen = Seen {
            given: "results".to_owned(),
            path,
            facts,
            verdict,
            standing: Standing::default(),
            files: files.to_vec(),
            code: [files[3].clone()].into(),
            tracked: Vec::new(),
        };
        let read = seen.files.iter().filter(|file| !file.ends_with("new.log"));
        let as_read = read.map(|file| (file, Stat::of(&fs::metadata(file).unwrap()))).collect();
        fs::write(&files[1], "one\ntwo\n").unwrap();
        let error = free(&seen, &as_read).unwrap_err();
        assert!(error.full_message().contains("growing.log") && !error.full_message().contains("done.log"));
        assert_eq!(files.map(|file| file.exists()), [false, true, true, true]);
    }
}
