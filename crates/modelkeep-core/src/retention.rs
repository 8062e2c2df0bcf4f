//! Which pushes may go: the retention rules.
//!
//! Keeps the last N of each model, the best by a metric, and for ever whatever a label, a deployment or a lock file
//! names. `latest` protects nothing beyond being among the last N; a model's only push always stays.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::digest::{RevisionId, Txn};
use crate::registry::{Model, Push, State};

/// The rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// How many of the newest pushes of each model stay; none means all stay.
    pub keep_last: Option<u64>,
    /// The metric by which the best push of each model stays too.
    pub keep_best: Option<String>,
    /// Whether a larger value of that metric is better; by default losses and perplexities are better when small.
    pub higher_is_better: Option<bool>,
    /// Days that removed content stays in our trash; at least 7.
    pub grace_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep_last: None, keep_best: None, higher_is_better: None, grace_days: 30 }
    }
}

/// Fewer days than this are not accepted as a grace period.
pub const MIN_GRACE_DAYS: u32 = 7;

/// Pushes of one model that the rules let go, with the reason.
pub fn expendable<'a>(
    state: &State,
    model: &'a Model,
    rules: &Retention,
    pinned: &BTreeSet<RevisionId>,
) -> Vec<(&'a Push, String)> {
    let Some(keep) = rules.keep_last else { return Vec::new() };
    let kept_anyway = protected(state, model, pinned);
    let best = rules.keep_best.as_deref().and_then(|metric| best_by(model, metric, rules));
    let live: Vec<&Push> = model.pushes.iter().filter(|push| push.removed.is_none()).collect();
    let newest = live.len().saturating_sub(usize::try_from(keep.max(1)).unwrap_or(usize::MAX));
    live[..newest]
        .iter()
        .filter(|push| !kept_anyway.contains(&push.revision) && Some(push.txn) != best)
        .map(|push| (*push, format!("older than the last {keep}, no label, not deployed, not pinned")))
        .collect()
}

/// Content that nothing may remove: labelled, deployed or pinned.
pub fn protected(state: &State, model: &Model, pinned: &BTreeSet<RevisionId>) -> BTreeSet<RevisionId> {
    let mut kept: BTreeSet<RevisionId> = model.labels.values().copied().collect();
    kept.extend(state.deployment_of(&model.id).map(|deployment| deployment.revision));
    kept.extend(pinned);
    kept
}

fn best_by(model: &Model, metric: &str, rules: &Retention) -> Option<Txn> {
    let higher = rules.higher_is_better.unwrap_or_else(|| !(metric.contains("loss") || metric.contains("perplexity")));
    let scored = model
        .pushes
        .iter()
        .filter(|push| push.removed.is_none())
        .filter_map(|push| model.metrics(push).get(metric).copied().flatten().map(|value| (value, push.txn)));
    let best = scored.max_by(|(a, _), (b, _)| if higher { a.total_cmp(b) } else { b.total_cmp(a) });
    best.map(|(_, txn)| txn)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::event::Body;
    use crate::registry::tests::{event, pushed};

    #[test]
    fn the_best_is_by_the_metrics_that_are_shown() {
        let set = |value: f64| Body::Fields {
            model: "m".parse().unwrap(),
            set: [("metrics.eval_loss".to_owned(), Value::from(value))].into(),
        };
        // All learnt the same; of equals the newest is the best.
        let gone = |set: Option<Body>| {
            let bodies = (1..=4).map(|n| pushed("m", n, n.into(), &[n])).chain(set);
            let events: Vec<_> = bodies.zip(1..).map(|(body, at)| event(at, body)).collect();
            let state = State::fold(events.iter().map(|(name, event)| (name, event)));
            let rules =
                Retention { keep_last: Some(1), keep_best: Some("eval_loss".to_owned()), ..Retention::default() };
            let gone = expendable(&state, &state.models["m"], &rules, &BTreeSet::new());
            gone.iter().map(|(push, _)| push.number).collect::<Vec<_>>()
        };
        assert_eq!(gone(None), [1, 2, 3]);
        assert_eq!(gone(Some(set(9.0))), [1, 2]);
    }
}
