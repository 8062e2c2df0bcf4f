//! The seven success criteria: each a function of what was measured, with evidence in numbers and the command that
//! mends it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::cost;
use crate::size::ByteSize;
use crate::words::count;

/// One criterion, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Criterion {
    /// `codespace_budget`, `models_on_remote`…
    pub id: String,
    /// Whether it holds. What could not be looked at does not.
    pub ok: bool,
    /// What was seen.
    pub evidence: String,
    /// What to type to mend it; empty when it holds.
    pub hint: String,
}

/// Everything that was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Bytes on this machine that count.
    pub used: u64,
    /// What they may be.
    pub budget: u64,
    /// What the store holds.
    pub store: Store,
    /// Models of the workspace that the store does not have, by their paths.
    pub loose_models: Vec<String>,
    /// Runs, notebooks and results of the workspace that it does not have.
    pub loose_experiments: Vec<String>,
    /// What the code refers to by pins.
    pub pins: u64,
    /// Pins of content that the store does not have.
    pub lost_pins: Vec<String>,
    /// Git, when the workspace is in a repository.
    pub git: Option<Git>,
    /// What is paid for.
    pub costs: Vec<cost::Item>,
}

/// What the store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// None is set.
    Unset,
    /// It could not be asked, for this reason.
    Silent(String),
    /// It was looked through.
    Seen(Kept),
}

/// What was found on a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Models that are not removed.
    pub models: u64,
    /// Their pushes.
    pub pushes: u64,
    /// Files of those that were looked at.
    pub files: u64,
    /// What is missing or damaged.
    pub damaged: Vec<String>,
    /// What is shown and is not what the log says.
    pub stale: Vec<String>,
    /// Events that came through a mount and were not seen to arrive.
    pub pending: u64,
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Git {
    /// Bytes of its history.
    pub bytes: u64,
    /// What it may have.
    pub limit: u64,
    /// What it should not hold, by path.
    pub findings: Vec<String>,
}

/// A criterion is a function of the facts.
pub type Rule = fn(&Facts) -> Criterion;

/// All of them, in the order in which they are told.
pub const CRITERIA: [Rule; 7] =
    [codespace_budget, models_on_remote, experiments_saved, registry_current, git_clean, any_version, zero_cost];

/// Judges.
pub fn judge(facts: &Facts) -> Vec<Criterion> {
    CRITERIA.iter().map(|rule| rule(facts)).collect()
}

fn told(id: &str, ok: bool, evidence: String, hint: &str) -> Criterion {
    Criterion { id: id.to_owned(), ok, evidence, hint: if ok { String::new() } else { hint.to_owned() } }
}

/// The store that was looked through, or what to say instead.
fn seen<'a>(id: &str, facts: &'a Facts) -> Result<&'a Kept, Criterion> {
    match &facts.store {
        Store::Seen(kept) => Ok(kept),
        Store::Unset => Err(told(id, false, "no store is set".to_owned(), "modelkeep init --remote PATH-OR-URL")),
        Store::Silent(why) => Err(told(id, false, format!("not checked: {why}"), "modelkeep remote test")),
    }
}

/// `3 models: a, b, c`, and how many more there are.
fn some(names: &[String]) -> String {
    const TOLD: usize = 3;
    let more = names.len().saturating_sub(TOLD);
    let told = names.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", ");
    if more == 0 { told } else { format!("{told} and {more} more") }
}

/// A clause that names some, or nothing when there is none.
fn clause(before: &str, names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("{before}{}", some(names)) }
}

fn codespace_budget(facts: &Facts) -> Criterion {
    let (used, budget) = (ByteSize(facts.used), ByteSize(facts.budget));
    let evidence = format!("{used} of {budget} used");
    told("codespace_budget", facts.used <= facts.budget, evidence, "modelkeep cache evict --dry-run")
}

fn models_on_remote(facts: &Facts) -> Criterion {
    const ID: &str = "models_on_remote";
    let kept = match seen(ID, facts) {
        Ok(kept) => kept,
        Err(criterion) => return criterion,
    };
    let ok = facts.loose_models.is_empty() && facts.lost_pins.is_empty();
    let evidence = format!(
        "{} in {} stored, {} pinned{}{}",
        count(kept.models, "model"),
        count(kept.pushes, "version"),
        facts.pins,
        clause("; only here: ", &facts.loose_models),
        clause("; pinned and not on the store: ", &facts.lost_pins)
    );
    told(ID, ok, evidence, if facts.loose_models.is_empty() { "modelkeep use MODEL" } else { "modelkeep place" })
}

fn experiments_saved(facts: &Facts) -> Criterion {
    const ID: &str = "experiments_saved";
    let kept = match seen(ID, facts) {
        Ok(kept) => kept,
        Err(criterion) => return criterion,
    };
    let loose = facts.loose_experiments.len();
    let names = clause(": ", &facts.loose_experiments);
    let what = if loose == 1 { "run or notebook" } else { "runs or notebooks" };
    let unconfirmed = count(kept.pending, "event");
    let evidence = format!("{loose} {what} only here{names}, {unconfirmed} unconfirmed");
    let hint = if loose > 0 { "modelkeep place" } else { "modelkeep repair (where the store can be asked itself)" };
    told(ID, loose == 0 && kept.pending == 0, evidence, hint)
}

fn registry_current(facts: &Facts) -> Criterion {
    const ID: &str = "registry_current";
    match seen(ID, facts) {
        Ok(kept) if kept.stale.is_empty() => {
            told(ID, true, format!("registry and pointers show what the log has: {}", count(kept.models, "model")), "")
        }
        Ok(kept) => {
            told(ID, false, format!("{} out of date: {}", kept.stale.len(), some(&kept.stale)), "modelkeep repair")
        }
        Err(criterion) => criterion,
    }
}

fn git_clean(facts: &Facts) -> Criterion {
    const ID: &str = "git_clean";
    let Some(git) = &facts.git else { return told(ID, true, "there is no git repository here".to_owned(), "") };
    let size = format!("{} of {} in git", ByteSize(git.bytes), ByteSize(git.limit));
    if git.findings.is_empty() {
        return told(ID, git.bytes <= git.limit, format!("{size}, no model files"), "modelkeep guard history");
    }
    let found = format!("{size}, {} that do not belong: {}", git.findings.len(), some(&git.findings));
    told(ID, false, found, "modelkeep guard check --all")
}

fn any_version(facts: &Facts) -> Criterion {
    const ID: &str = "any_version";
    match seen(ID, facts) {
        Ok(kept) => {
            let damaged = match kept.damaged.as_slice() {
                [] => "all there".to_owned(),
                damaged => format!("{} missing or damaged: {}", damaged.len(), some(damaged)),
            };
            let evidence =
                format!("{} looked up, {}, {damaged}", count(kept.pushes, "version"), count(kept.files, "file"));
            told(ID, kept.damaged.is_empty(), evidence, "modelkeep repair --dry-run")
        }
        Err(criterion) => criterion,
    }
}

fn zero_cost(facts: &Facts) -> Criterion {
    let one = |item: &cost::Item| {
        format!("{}: {} of {} included", item.name, ByteSize(item.size_bytes), ByteSize(item.included_bytes))
    };
    let evidence = facts.costs.iter().map(one).collect::<Vec<_>>().join(", ");
    told("zero_cost", facts.costs.iter().all(|item| item.included), evidence, "modelkeep cost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Facts {
        Facts {
            used: 2_000_000_000,
            budget: 15_000_000_000,
            store: Store::Seen(Kept { models: 2, pushes: 3, files: 9, ..Kept::default() }),
            loose_models: Vec::new(),
            loose_experiments: Vec::new(),
            pins: 1,
            lost_pins: Vec::new(),
            git: Some(Git { bytes: 2_000_000, limit: 100_000_000, findings: Vec::new() }),
            costs: Vec::new(),
        }
    }

    fn failing(facts: &Facts) -> Vec<String> {
        judge(facts).into_iter().filter(|criterion| !criterion.ok).map(|criterion| criterion.id).collect()
    }

    #[test]
    fn each_criterion_fails_for_its_own_reason_alone_and_says_what_mends_it() {
        assert!(failing(&healthy()).is_empty());
        let kept = |change: fn(&mut Kept)| {
            let mut kept = Kept { models: 2, pushes: 3, files: 9, ..Kept::default() };
            change(&mut kept);
            Facts { store: Store::Seen(kept), ..healthy() }
        };
        let over = cost::Item {
            name: "GitHub Codespaces".to_owned(),
            monthly_usd: 0.7,
            included: false,
            size_bytes: 25,
            included_bytes: 15,
            date: String::new(),
            source: String::new(),
        };
        let git = Git { bytes: 200_000_000, limit: 100_000_000, findings: Vec::new() };
        for (facts, id) in [
            (Facts { used: 15_000_000_001, ..healthy() }, "codespace_budget"),
            (Facts { loose_models: vec!["outputs/run".to_owned()], ..healthy() }, "models_on_remote"),
            (Facts { lost_pins: vec!["banking-v1".to_owned()], ..healthy() }, "models_on_remote"),
            (Facts { loose_experiments: vec!["notebooks/a.ipynb".to_owned()], ..healthy() }, "experiments_saved"),
            (kept(|kept| kept.pending = 1), "experiments_saved"),
            (kept(|kept| kept.stale.push("docs/model_registry.json".to_owned())), "registry_current"),
            (Facts { git: Some(git), ..healthy() }, "git_clean"),
            (kept(|kept| kept.damaged.push("model.safetensors".to_owned())), "any_version"),
            (Facts { costs: vec![over], ..healthy() }, "zero_cost"),
        ] {
            assert_eq!(failing(&facts), [id], "{facts:?}");
            assert!(judge(&facts).iter().all(|criterion| criterion.ok == criterion.hint.is_empty()));
        }
    }

    #[test]
    fn without_a_store_what_needs_one_says_so() {
        for store in [Store::Unset, Store::Silent("it does not answer".to_owned())] {
            let wanting = failing(&Facts { store, ..healthy() });
            assert_eq!(wanting, ["models_on_remote", "experiments_saved", "registry_current", "any_version"]);
        }
    }
}
