//! Keep models out of git: look at what is staged, at a range of commits, or at everything that git ever had.
//!
//! Reads git and decides nothing: the rules are `core/gitrules.rs`. Rewrites no history.

mod history;
mod hooks;

use std::path::{Path, PathBuf};

use modelkeep_core::gitrules::{self, Blob, Finding, Limits};
use modelkeep_core::inspect::JSON_LIMIT;
use modelkeep_core::inspect::content::{self, Content, HEAD};
use modelkeep_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::history::{Big, History, history};
pub use self::hooks::{Install, Installed, Manager, install};
use crate::context::Context;
use crate::git::{self, Git};

/// What to look at. Without anything: what is staged.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Only these files and folders.
    pub paths: Vec<PathBuf>,
    /// Everything that git tracks.
    pub all: bool,
    /// What the commits `FROM..TO` brought.
    pub range: Option<String>,
    /// What a push sends: the lines that git gives to a pre-push hook.
    pub pushed: Option<String>,
    /// The remote that it is sent to.
    pub remote: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// What does not belong in git.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub scope: Scope,
    /// How many files were looked at.
    pub checked: u64,
    /// Bytes that the history takes.
    pub repository_bytes: u64,
    /// What a person should know besides; no reason to stop a commit.
    pub notes: Vec<String>,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// What is staged.
    Staged,
    /// Everything that git tracks.
    All,
    /// What commits brought.
    Range,
}

/// Looks, and judges.
pub fn check(ctx: &Context, request: &Request) -> Result<Report> {
    check_at(ctx, &stood_in(ctx), request)
}

/// The same of the repository that a folder is in.
pub(crate) fn check_at(ctx: &Context, folder: &Path, request: &Request) -> Result<Report> {
    let git = Git::open(&ctx.env, folder)?;
    let (scope, files) = match (&request.range, &request.pushed) {
        (Some(_), Some(_)) => return Err(Error::usage("a range of commits and a push at once")),
        (Some(range), None) => (Scope::Range, with_commit(git.brought(&git.range(range)?)?)),
        (None, Some(lines)) => {
            (Scope::Range, with_commit(git.brought(&git.pushed(request.remote.as_deref(), lines)?)?))
        }
        (None, None) if request.all || git.root().is_none() => (Scope::All, without_commit(git.tracked()?)),
        (None, None) => (Scope::Staged, without_commit(git.staged()?)),
    };
    let wanted = wanted(ctx, &git, &request.paths);
    let limits = &ctx.settings.guard;
    let (mut findings, mut checked, mut notes) = (Vec::new(), 0, Vec::new());
    for (file, commit) in files.iter().filter(|(file, _)| wanted(&file.path)) {
        ctx.check_stop()?;
        checked += 1;
        if let Some(mut finding) = judge(&git, limits, file)? {
            finding.commit = commit.map(|commit| commit.to_string());
            findings.push(finding);
        }
    }
    let repository_bytes = git.history_bytes()?;
    if request.paths.is_empty() {
        let sizes = files.iter().filter(|_| scope == Scope::All).map(|(file, _)| git.size(&file.id));
        let finding = gitrules::judge_whole(limits, repository_bytes, sizes.sum::<Result<u64>>()?);
        match finding {
            Some(finding) if scope == Scope::All => findings.push(finding),
            // What one commits does not make it smaller: that must not be in the way of mending it.
            Some(finding) => notes.push(format!("{}: {}", finding.reason, finding.hint)),
            None => {}
        }
    }
    Ok(Report { findings, scope, checked, repository_bytes, notes })
}

/// The repository that the guard looks at: the one that one stands in, which may be one within the workspace; seen from
/// outside (`--workspace`), that of the workspace.
fn stood_in(ctx: &Context) -> PathBuf {
    let cwd = &ctx.env.cwd;
    let inside = |root: &PathBuf| match (cwd.canonicalize(), root.canonicalize()) {
        (Ok(cwd), Ok(root)) => cwd.starts_with(root),
        _ => cwd.starts_with(root),
    };
    let workspace = ctx.workspace.as_ref().map(|workspace| &workspace.root);
    workspace.filter(|root| !inside(root)).unwrap_or(cwd).clone()
}

/// Where git is looked for: the workspace, else the current folder.
pub(crate) fn here(ctx: &Context) -> PathBuf {
    ctx.workspace.as_ref().map_or_else(|| ctx.env.cwd.clone(), |workspace| workspace.root.clone())
}

type Files = Vec<(git::File, Option<gix::ObjectId>)>;

fn with_commit(files: Vec<(git::File, gix::ObjectId)>) -> Files {
    files.into_iter().map(|(file, commit)| (file, Some(commit))).collect()
}

fn without_commit(files: Vec<git::File>) -> Files {
    files.into_iter().map(|file| (file, None)).collect()
}

/// Whether a path of the repository is asked for.
fn wanted<'a>(ctx: &Context, git: &Git, paths: &[PathBuf]) -> impl Fn(&str) -> bool + use<'a> {
    let root = git.root().unwrap_or_default();
    let below: Vec<String> = paths
        .iter()
        .map(|path| {
            let path = ctx.absolute(path);
            let path = path.canonicalize().unwrap_or(path);
            path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().replace('\\', "/")
        })
        .collect();
    move |path| {
        below.is_empty()
            || below.iter().any(|wanted| {
                path.strip_prefix(wanted.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || wanted.is_empty())
            })
    }
}

/// Judges one file by its content.
pub(crate) fn judge(git: &Git, limits: &Limits, file: &git::File) -> Result<Option<Finding>> {
    if limits.allows(&file.path) {
        return Ok(None);
    }
    let (size, head) = git.beginning(&file.id, HEAD)?;
    let content = content::sniff(&file.path, &head, size);
    // Only as many outputs as the whole file has bytes can be in it.
    let worth_counting = content == Content::Notebook && size > limits.notebook_outputs.0 && size <= JSON_LIMIT;
    let outputs = if worth_counting {
        // What is no notebook after all has no outputs.
        content::outputs(&git.whole(&file.id)?).unwrap_or(0)
    } else {
        0
    };
    Ok(gitrules::judge(limits, &Blob { path: file.path.clone(), size, content, outputs }))
}
