//! Which pushes may go: the retention rules.
//!
//! Keeps the last N of each model, the best by a metric, and for ever whatever a label, a deployment or a lock file
//! names. `latest` protects nothing beyond being among the last N; a model's only push always stays.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::digest::{RevisionId, Txn};
use crate::inspect::checkpoint;
use crate::name::Label;
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
    let best = best(model, rules);
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

/// What stays of a model's checkpoints.
#[derive(Debug, Clone, Default)]
pub struct Keep {
    /// So many of the newest; none means all.
    pub last: Option<u64>,
    /// The best one, too.
    pub best: Option<Label>,
}

/// A checkpoint that may go.
#[derive(Debug)]
pub struct LetGo<'a> {
    /// Its push.
    pub push: &'a Push,
    /// The labels that it loses.
    pub labels: Vec<Label>,
    /// Why.
    pub reason: String,
}

/// Checkpoints of a model that may go, oldest first. What carries any label that is no step's, is deployed or pinned is
/// no checkpoint that may go; nor is a push without a label, such as the final model.
pub fn checkpoints<'a>(state: &State, model: &'a Model, keep: &Keep, pinned: &BTreeSet<RevisionId>) -> Vec<LetGo<'a>> {
    let Some(last) = keep.last else { return Vec::new() };
    let last = last.max(1);
    let mut stored: Vec<(&Push, Vec<Label>)> = Vec::new();
    for push in model.pushes.iter().filter(|push| push.removed.is_none() && push.replaced_by.is_none()) {
        let labels = model.labels_of(&push.revision);
        if !labels.is_empty() && labels.iter().all(|label| checkpoint::step(label.as_str()).is_some()) {
            stored.push((push, labels));
        }
    }
    let old = stored.len().saturating_sub(usize::try_from(last).unwrap_or(usize::MAX));
    let deployed = state.deployment_of(&model.id).map(|deployment| deployment.revision);
    let kept = |push: &Push, labels: &[Label]| {
        keep.best.as_ref().is_some_and(|best| labels.contains(best))
            || deployed == Some(push.revision)
            || pinned.contains(&push.revision)
    };
    let doomed = stored.into_iter().take(old).filter(|(push, labels)| !kept(push, labels));
    let older =
        if last == 1 { "older than the last checkpoint".to_owned() } else { format!("older than the last {last}") };
    let reason = match &keep.best {
        Some(best) => format!("{older}; the best is {best}"),
        None => older,
    };
    doomed.map(|(push, labels)| LetGo { push, labels, reason: reason.clone() }).collect()
}

/// The best push of a model by the metric of the rules.
pub fn best(model: &Model, rules: &Retention) -> Option<Txn> {
    let metric = rules.keep_best.as_deref()?;
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
    use proptest::prelude::*;
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

    #[test]
    fn the_last_the_best_and_whatever_else_counts_stay() {
        let mut bodies: Vec<Body> = (1..=6).map(|n| pushed("m", n, n.into(), &[n])).collect();
        let revision = |body: &Body| match body {
            Body::Pushed(pushed) => pushed.revision,
            _ => panic!("no push"),
        };
        let revisions: Vec<RevisionId> = bodies.iter().map(revision).collect();
        // The sixth is the final model: no label.
        for (n, revision) in (1..=5).zip(&revisions) {
            let label = format!("checkpoint-{n}00").parse().unwrap();
            bodies.push(Body::Labelled { model: "m".parse().unwrap(), label, revision: *revision });
        }
        let prod = "prod".parse().unwrap();
        bodies.push(Body::Labelled { model: "m".parse().unwrap(), label: prod, revision: revisions[1] });
        let events: Vec<_> = bodies.into_iter().zip(1..).map(|(body, at)| event(at, body)).collect();
        let state = State::fold(events.iter().map(|(name, event)| (name, event)));
        let gone = |last, best: Option<&str>, pinned: &[RevisionId]| {
            let keep = Keep { last, best: best.map(|best| best.parse().unwrap()) };
            let doomed = checkpoints(&state, &state.models["m"], &keep, &pinned.iter().copied().collect());
            doomed.iter().map(|doomed| doomed.push.number).collect::<Vec<_>>()
        };
        assert_eq!(gone(None, None, &[]), [0; 0]);
        assert_eq!(gone(Some(2), None, &[]), [1, 3]);
        assert_eq!(gone(Some(0), Some("checkpoint-300"), &[]), [1, 4]);
        assert_eq!(gone(Some(1), None, &[revisions[0]]), [3, 4]);
    }
    proptest! {
        #[test]
        fn what_the_rules_keep_stays_and_nothing_else(
            contents in proptest::collection::vec(0..6_u8, 1..16),
            losses in proptest::collection::vec(0..9_u8, 16),
            removed in proptest::collection::vec(any::<bool>(), 16),
            (labelled, deployed, pin) in (0..8_u8, 0..8_u8, 0..8_u8),
            (keep, by_loss) in (0..5_u64, any::<bool>()),
        ) {
            let mut bodies = Vec::new();
            for ((n, content), loss) in (1..).zip(&contents).zip(&losses) {
                let mut body = pushed("m", n, n.into(), &[*content]);
                if let Body::Pushed(pushed) = &mut body {
                    pushed.facts.metrics = [("eval_loss".to_owned(), Some(f64::from(*loss)))].into();
                }
                bodies.push(body);
            }
            let revision = |content: u8| match pushed("m", 0, 1, &[content]) {
                Body::Pushed(pushed) => pushed.revision,
                _ => unreachable!(),
            };
            let model: crate::name::ModelId = "m".parse().unwrap();
            let label = "best".parse().unwrap();
            bodies.push(Body::Labelled { model: model.clone(), label, revision: revision(labelled) });
            bodies.push(Body::Deployed { model, revision: revision(deployed), rollback: false });
            let events: Vec<_> = bodies.into_iter().zip(1..).map(|(body, at)| event(at, body)).collect();
            let mut state = State::fold(events.iter().map(|(name, event)| (name, event)));
            let model = state.models.get_mut("m").unwrap();
            for (push, removed) in model.pushes.iter_mut().zip(&removed) {
                push.removed = removed.then_some(push.at);
            }
            let model = &state.models["m"];
            let rules = Retention {
                keep_last: Some(keep),
                keep_best: by_loss.then(|| "eval_loss".to_owned()),
                ..Retention::default()
            };
            let pinned = BTreeSet::from([revision(pin)]);
            let gone: BTreeSet<Txn> =
                expendable(&state, model, &rules, &pinned).iter().map(|(push, _)| push.txn).collect();
            let live: Vec<&Push> = model.pushes.iter().filter(|push| push.removed.is_none()).collect();
            let last: Vec<Txn> = live.iter().rev().take(usize::try_from(keep.max(1)).unwrap()).map(|push| push.txn).collect();
            let least = live.iter().map(|push| push.facts.metrics["eval_loss"].unwrap()).fold(f64::INFINITY, f64::min);
            let best = live.iter().rev().find(|push| push.facts.metrics["eval_loss"] == Some(least)).map(|push| push.txn);
            for push in &model.pushes {
                let named = [labelled, deployed, pin].iter().any(|content| revision(*content) == push.revision);
                let stays = named || last.contains(&push.txn) || by_loss && best == Some(push.txn);
                prop_assert_eq!(gone.contains(&push.txn), push.removed.is_none() && !stays, "#{}", push.number);
            }
        }
    }
}
