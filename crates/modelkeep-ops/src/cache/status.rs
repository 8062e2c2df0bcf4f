//! How much each cache of this machine holds.

use std::path::PathBuf;

use modelkeep_core::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::places::{self, Cleaner, Name};
use super::scan_hf;
use crate::context::Context;
use crate::observe::blocking;

/// The caches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// One a cache that is there.
    pub caches: Vec<Item>,
    /// HF cache (its xet chunks too) and `models/` together.
    pub models_bytes: u64,
    /// What they may take.
    pub models_budget_bytes: u64,
    /// What the HF cache holds that its own programs would warn about; `cache repair` mends it.
    pub warnings: Vec<String>,
}

/// One cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Item {
    /// `huggingface`, `pip`…
    pub name: String,
    /// Where it is.
    #[schemars(with = "String")]
    pub path: PathBuf,
    /// Bytes; for `huggingface` what `huggingface_hub.scan_cache_dir()` counts.
    pub size_bytes: u64,
    /// Bytes that nobody would miss: for `huggingface` what no revision leads to and unfinished downloads; for what its
    /// own program makes or fetches anew, all of it.
    pub reclaimable_bytes: u64,
    /// Repositories, for `huggingface`; else files.
    pub entries: u64,
    /// Revisions, for `huggingface`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revisions: Option<u64>,
    /// What to type to make it smaller; empty when nobody but you may.
    pub clean: String,
}

/// Looks at the caches.
pub async fn status(ctx: &Context) -> Result<Report> {
    let hf = scan_hf(ctx).await?;
    let places = places::find(ctx)?;
    let sizes = blocking(move || {
        let others = places.into_iter().filter(|place| place.name != Name::HuggingFace);
        Ok(others.map(|place| (place.size(), place)).collect::<Vec<_>>())
    })
    .await?;
    let mut caches = vec![Item {
        name: Name::HuggingFace.as_str().to_owned(),
        path: hf.hub.clone(),
        size_bytes: hf.size(),
        reclaimable_bytes: hf.loose_size(),
        entries: hf.repos.len() as u64,
        revisions: Some(hf.repos.iter().map(|repo| repo.revisions.len() as u64).sum()),
        clean: "modelkeep cache evict --to SIZE".to_owned(),
    }];
    let mut models_bytes = hf.takes();
    for (sum, place) in sizes {
        if matches!(place.name, Name::Xet | Name::Models) {
            models_bytes += sum.bytes;
        }
        if sum.files == 0 {
            continue;
        }
        let anew = place.name == Name::Xet || matches!(place.name.cleaner(), Cleaner::Program { .. });
        let clean = match place.name.cleaner() {
            _ if place.name == Name::Xet => "modelkeep cache clear".to_owned(),
            Cleaner::Nobody => String::new(),
            _ => format!("modelkeep cache evict --include {} --to SIZE", place.name.as_str()),
        };
        caches.push(Item {
            name: place.name.as_str().to_owned(),
            path: place.path,
            size_bytes: sum.bytes,
            reclaimable_bytes: if anew { sum.bytes } else { 0 },
            entries: sum.files,
            revisions: None,
            clean,
        });
    }
    Ok(Report { caches, models_bytes, models_budget_bytes: ctx.settings.budget_models.0, warnings: hf.warnings() })
}
