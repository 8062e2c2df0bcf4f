//! What the history holds that never belonged there, what it costs, and how others take it out. Rewrites nothing.

use std::collections::{BTreeMap, HashSet};

use gix::ObjectId;
use modelkeep_core::Result;
use modelkeep_core::gitrules::Finding;
use schemars::JsonSchema;
use serde::Serialize;

use super::{judge, stood_in};
use crate::context::Context;
use crate::git::Git;

/// Contents smaller than this are not looked at: taking them out would save nothing.
const LEAST: u64 = 100_000;

/// What was found in the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct History {
    /// What is too big, or a model; the largest first.
    pub findings: Vec<Big>,
    /// Commits looked at bring so many files.
    pub checked: u64,
    /// Bytes that the history takes.
    pub repository_bytes: u64,
    /// Whether that is more than a repository should take.
    pub oversized: bool,
    /// About as many bytes would be saved.
    pub saves_bytes: u64,
    /// Whether the clone has only the newest commits.
    pub shallow: bool,
    /// What to type to take it out, in order, with `git filter-repo`.
    pub filter_repo: Vec<String>,
    /// The same with BFG.
    pub bfg: Vec<String>,
}

/// One content that never belonged there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Big {
    /// What and why.
    #[serde(flatten)]
    pub finding: Finding,
    /// The content's id in git.
    pub blob: String,
    /// Bytes that it takes in the repository, packed as it is.
    pub stored_bytes: u64,
    /// Whether the newest commit, or the index, still has it.
    pub in_use: bool,
}

/// Where the ids are written by the commands that are shown.
const IDS_FILE: &str = "too-big.txt";

/// Looks at every commit of every branch and tag.
pub fn history(ctx: &Context) -> Result<History> {
    let git = Git::open(&ctx.env, &stood_in(ctx))?;
    let brought = git.brought(&git.everything()?)?;
    let in_use: HashSet<ObjectId> = git.tracked()?.into_iter().map(|file| file.id).collect();
    let limits = &ctx.settings.guard;
    let mut found: BTreeMap<ObjectId, Finding> = BTreeMap::new();
    for (file, commit) in &brought {
        ctx.check_stop()?;
        if found.contains_key(&file.id) || git.size(&file.id)? < LEAST {
            continue;
        }
        if let Some(mut finding) = judge(&git, limits, file)? {
            finding.commit = Some(commit.to_string());
            found.insert(file.id, finding);
        }
    }
    let ids: Vec<ObjectId> = found.keys().copied().collect();
    let stored = git.stored(&ids)?;
    let mut findings: Vec<Big> = found
        .into_iter()
        .map(|(id, mut finding)| {
            let in_use = in_use.contains(&id);
            if !in_use {
                "modelkeep guard history --ids lists what to take out".clone_into(&mut finding.hint);
            }
            let stored_bytes = stored.get(&id).copied().unwrap_or(0);
            Big { finding, blob: id.to_string(), stored_bytes, in_use }
        })
        .collect();
    findings.sort_by(|a, b| (b.stored_bytes, &a.finding.path).cmp(&(a.stored_bytes, &b.finding.path)));
    let repository_bytes = git.history_bytes()?;
    let (filter_repo, bfg) = if findings.is_empty() { (Vec::new(), Vec::new()) } else { commands() };
    Ok(History {
        checked: brought.len() as u64,
        repository_bytes,
        oversized: repository_bytes > limits.repository.0,
        saves_bytes: findings.iter().map(|big| big.stored_bytes).sum(),
        shallow: git.is_shallow(),
        findings,
        filter_repo,
        bfg,
    })
}

/// Both tools take the ids of contents, so that nothing else of the same name is touched.
/// Sources: `git filter-repo --help`, <https://rtyley.github.io/bfg-repo-cleaner/>.
fn commands() -> (Vec<String>, Vec<String>) {
    let ids = format!("modelkeep guard history --ids > {IDS_FILE}");
    let filter_repo = vec![ids.clone(), format!("git filter-repo --strip-blobs-with-ids {IDS_FILE}")];
    let bfg = vec![
        ids,
        format!("bfg --strip-blobs-with-ids {IDS_FILE}"),
        "git reflog expire --expire=now --all && git gc --prune=now --aggressive".to_owned(),
    ];
    (filter_repo, bfg)
}
