//! What is in the HF cache, revision by revision, and in the caches that are cleaned file by file.

use jiff::Timestamp;
use modelkeep_core::Result;
use modelkeep_core::evict::{self, Again};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::places::Name;
use super::shelf::{self, Scope, Thing};
use crate::context::Context;

/// What to list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Other caches too: `torch`, `models`, `pip`…
    pub include: Vec<String>,
    /// Take for granted that the Hub has what was fetched from it.
    pub assume_hub: bool,
}

/// The entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// One a thing that goes or stays as a whole, the largest first.
    pub entries: Vec<Entry>,
    /// What the HF cache holds that its own programs would warn about.
    pub warnings: Vec<String>,
}

/// One thing in a cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Entry {
    /// What it is called: `model/google/bert@1a2b3c`.
    pub name: String,
    /// The commit, for a revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Names that lead to it, for a revision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<String>,
    /// Bytes of it, whether it shares them or not.
    pub size_bytes: u64,
    /// How many files.
    pub files: u64,
    /// When it was last used, as far as anybody knows.
    #[schemars(with = "Option<String>")]
    pub last_used: Option<Timestamp>,
    /// Where it can be had again.
    pub again: Again,
    /// Why it stays; null when it may go.
    pub keep: Option<String>,
}

/// Lists.
pub async fn list(ctx: &Context, request: &Request) -> Result<Report> {
    let include: Vec<Name> = request.include.iter().map(|name| Name::parse(name)).collect::<Result<_>>()?;
    let scope = Scope { include: &include, keep: &[], assume_hub: request.assume_hub };
    let mut observed = shelf::observe(ctx, scope).await?;
    observed.ask_all(ctx).await;
    let one = |(item, thing): (&evict::Item, &Thing)| {
        let revision = match thing {
            Thing::Revision { folder, commit } => observed
                .hf
                .repos
                .iter()
                .find(|repo| repo.folder == *folder)
                .and_then(|repo| repo.revisions.iter().find(|revision| revision.commit == *commit)),
            _ => None,
        };
        let own: u64 = item.parts.iter().map(|part| observed.shelf.parts[*part]).sum();
        Entry {
            name: item.name.clone(),
            commit: revision.map(|revision| revision.commit.clone()),
            refs: revision.map(|revision| revision.refs.clone()).unwrap_or_default(),
            size_bytes: if revision.is_some() { item.back.bytes } else { own },
            files: item.back.files,
            last_used: item.last_used,
            again: item.again,
            keep: evict::stays(item),
        }
    };
    let mut entries: Vec<Entry> = observed.shelf.items.iter().zip(&observed.things).map(one).collect();
    entries.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then_with(|| a.name.cmp(&b.name)));
    Ok(Report { entries, warnings: observed.hf.warnings() })
}
