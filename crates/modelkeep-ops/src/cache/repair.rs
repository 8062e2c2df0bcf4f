//! Mend the HF cache: what its own programs warn about, what nothing leads to, what a stopped eviction left.

use modelkeep_core::Result;
use modelkeep_core::evict::Again;
use modelkeep_hub::mend::{self, Mend};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::apply::apply;
use super::shelf::{self, Scope, cannot};
use crate::context::Context;
use crate::report::{Step, Wrote};

/// What to repair.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was repaired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// What was done, or would be.
    pub steps: Vec<Step>,
    /// What cannot be mended here, and why.
    pub left: Vec<String>,
    /// Bytes that came free, or would.
    pub freed_bytes: u64,
    /// Whether anything was done.
    pub changed: bool,
    /// It is about this machine; no store is written.
    #[serde(flatten)]
    pub wrote: Wrote,
}

/// Repairs.
pub async fn repair(ctx: &Context, request: &Request) -> Result<Report> {
    let scope = Scope { include: &[], keep: &[], assume_hub: false };
    let observed = shelf::observe(ctx, scope).await?;
    let root = observed.hf.hub.clone();
    let (mends, left) = mend::plan(&observed.hf);
    let items = observed.shelf.items.iter().enumerate();
    let junk: Vec<usize> = items
        .filter(|(_, item)| item.again == Again::NotNeeded && item.keep.is_none())
        .filter(|(at, _)| !matches!(observed.things[*at], shelf::Thing::Whole(_)))
        .map(|(at, _)| at)
        .collect();
    let of_junk = |item: &usize| {
        let (name, bytes) = (&observed.shelf.items[*item].name, &observed.shelf.items[*item].parts);
        let bytes = bytes.iter().map(|part| observed.shelf.parts[*part]).sum();
        Step::new("remove", name, Again::NotNeeded.as_str()).bytes(bytes)
    };
    let steps: Vec<Step> = mends.iter().map(|mend| step(&observed, mend)).chain(junk.iter().map(of_junk)).collect();
    let mut report = Report {
        freed_bytes: steps.iter().map(|step| step.bytes).sum(),
        steps,
        left,
        changed: false,
        wrote: Wrote { simulated: false, confirmed: !request.dry_run, dry_run: request.dry_run, spent: None },
    };
    if request.dry_run || report.steps.is_empty() {
        return Ok(report);
    }
    for mend in &mends {
        ctx.check_stop()?;
        mend::apply(&root, mend).map_err(cannot("mending", &root))?;
    }
    let dropped: u64 = mends.iter().map(|mend| if let Mend::DropRepo { bytes, .. } = mend { *bytes } else { 0 }).sum();
    report.freed_bytes = dropped + apply(ctx, &observed, &junk, false).await?.freed;
    report.changed = true;
    Ok(report)
}

fn step(observed: &shelf::Observed, mend: &Mend) -> Step {
    match mend {
        Mend::DropRef { folder, name, .. } => {
            Step::new("remove", format!("{folder}/refs/{name}"), "it leads to a commit that is not here")
        }
        Mend::RewriteRef { folder, name, .. } => {
            Step::new("rewrite", format!("{folder}/refs/{name}"), "it holds more than its commit")
        }
        Mend::DropLink { folder, path } => {
            Step::new("remove", format!("{folder}/{path}"), "it leads nowhere; the next load fetches it")
        }
        Mend::SetAside { path, why } => {
            let aside = mend::aside(&observed.hf.hub);
            Step::new("set aside", path.display().to_string(), format!("{why}; it moves to {}", aside.display()))
        }
        Mend::DropRepo { folder, bytes } => {
            Step::new("remove", folder, "it has no snapshot: nothing of it can be loaded").bytes(*bytes)
        }
        Mend::DropLostRepo { folder } => {
            Step::new("remove", folder.display().to_string(), "it leads to a disk that was emptied")
        }
    }
}
