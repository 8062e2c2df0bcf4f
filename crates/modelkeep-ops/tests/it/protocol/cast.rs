//! What clients do, and what they make of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use modelkeep_core::digest::{RevisionId, Sha256};
use modelkeep_core::{Kind, Result};
use modelkeep_ops::{Context, deploy, prune, pull, push, remove, repair};

use crate::world::{Machine, files};

/// One command of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Pushes one of [`CONTENTS`] to a model.
    Push(&'static str, usize),
    /// Pulls what is named.
    Pull(&'static str),
    Deploy(&'static str),
    Rollback,
    Remove(&'static str),
    Restore(&'static str),
    /// Prunes, keeping all pushes.
    Prune,
    /// Prunes, keeping the newest push of each model.
    PruneTo1,
    Repair,
}

/// The models that clients work on.
pub const MODELS: [&str; 2] = ["m-v1", "n-v1"];

type Files = &'static [(&'static str, &'static [u8])];

/// What they push: equal and different files, one content at two paths, a folder inside.
pub const CONTENTS: [Files; 4] = [
    &[("a.safetensors", b"first"), ("tokenizer.json", b"{}")],
    &[("a.safetensors", b"second"), ("tokenizer.json", b"{}"), ("copy.json", b"{}")],
    &[("a.safetensors", b"first"), ("deep/b.bin", b"third!")],
    &[("only.safetensors", b"second")],
];

/// What a pull brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    pub revision: RevisionId,
    pub files: BTreeMap<String, Sha256>,
}

/// How an act ended.
pub type Outcome = Result<Option<Pulled>>;

impl Act {
    /// Makes the directory that it pushes.
    pub fn prepare(self, machine: &Machine) -> PathBuf {
        match self {
            Self::Push(_, content) => {
                let name = format!("content-{content}");
                let there = machine.home.path().join("dirs").join(&name);
                if there.is_dir() { there } else { machine.directory(&name, CONTENTS[content]) }
            }
            _ => machine.home.path().to_owned(),
        }
    }

    /// Does it. `path` is what is pushed, or where to pull to.
    pub async fn run(self, ctx: &Context, path: &Path) -> Outcome {
        match self {
            Self::Push(model, _) => {
                let (path, model) = (path.to_owned(), model.to_owned());
                push::push(ctx, push::Request { path, model, ..Default::default() }).await?;
            }
            Self::Pull(model) => {
                let request = pull::Request { to: Some(path.to_owned()), ..Default::default() };
                let report = pull::pull(ctx, &request, model).await?;
                let files = files(path).into_iter().map(|(path, bytes)| (path, Sha256::of(&bytes))).collect();
                return Ok(Some(Pulled { revision: report.revision, files }));
            }
            Self::Deploy(model) => drop(deploy::deploy(ctx, model, false).await?),
            Self::Rollback => drop(deploy::rollback(ctx, false).await?),
            Self::Remove(model) => drop(remove::remove(ctx, model, false).await?),
            Self::Restore(model) => drop(remove::restore(ctx, model, false).await?),
            Self::Prune => drop(prune::prune(ctx, &prune::Request::default()).await?),
            Self::PruneTo1 => {
                drop(prune::prune(ctx, &prune::Request { keep: Some(1), ..Default::default() }).await?);
            }
            Self::Repair => drop(repair::repair(ctx, &repair::Request::default()).await?),
        }
        Ok(None)
    }

    /// The files that it pushes.
    pub fn content(self) -> Option<(&'static str, BTreeMap<String, Sha256>)> {
        let Self::Push(model, content) = self else { return None };
        let files = CONTENTS[content].iter().map(|(path, bytes)| ((*path).to_owned(), Sha256::of(bytes)));
        Some((model, files.collect()))
    }

    /// Whether it may fail like this where others work at the same time. `slept`: its client slept over an hour.
    pub fn may_fail(self, kind: Kind, slept: bool) -> bool {
        match kind {
            // Its connection died, or a clean-up took its folder while it slept.
            Kind::Unavailable => slept,
            // What it was asked for is gone, or was never there.
            Kind::NotFound => !matches!(self, Self::Push(..) | Self::Prune | Self::PruneTo1 | Self::Repair),
            // The model is deployed; the trash was emptied; the view is incomplete, so nothing is deleted; two pushes
            // took the number that is asked for.
            Kind::Conflict => !matches!(self, Self::Repair),
            Kind::Integrity => matches!(self, Self::Pull(_)),
            _ => false,
        }
    }
}
