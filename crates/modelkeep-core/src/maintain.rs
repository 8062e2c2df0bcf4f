//! Upkeep as data: which tasks there are, when each is due by the log, and which training runs came to nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::digest::RevisionId;
use crate::manifest::ModelKind;
use crate::registry::{Model, Push, State, Status};
use crate::retention::{self, Retention};

/// How often something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// Every day.
    Daily,
    /// Every 7 days.
    Weekly,
    /// Every 30 days.
    Monthly,
    /// Every 91 days.
    Quarterly,
}

/// Where a task does its work, and so who need not do it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// On this machine: done by another one it is still due here.
    Machine,
    /// On the store: done by anybody it is done.
    Store,
}

/// A task of upkeep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Enough room on the disk, else the cache gives some.
    FreeSpace,
    /// HF cache and `models/` within their budget.
    HfCache,
    /// What grew on the store, what is big and unused.
    StoreReview,
    /// Notebooks that nobody touches any more are filed on the store.
    Notebooks,
    /// Caches that grew too large are cleaned.
    Caches,
    /// Retention, and the trash past its grace.
    Versions,
    /// Runs that came to nothing go to the trash.
    FailedRuns,
    /// Registry, pointers and documents are what the log says.
    Registry,
    /// Notebooks are archived on a disk of one's own.
    NotebookBackup,
}

impl Task {
    /// All of them, the most frequent first.
    pub const ALL: [Self; 9] = [
        Self::FreeSpace,
        Self::HfCache,
        Self::StoreReview,
        Self::Notebooks,
        Self::Caches,
        Self::Versions,
        Self::FailedRuns,
        Self::Registry,
        Self::NotebookBackup,
    ];

    /// As in JSON and in the log.
    pub fn id(self) -> &'static str {
        match self {
            Self::FreeSpace => "free_space",
            Self::HfCache => "hf_cache",
            Self::StoreReview => "store_review",
            Self::Notebooks => "notebooks",
            Self::Caches => "caches",
            Self::Versions => "versions",
            Self::FailedRuns => "failed_runs",
            Self::Registry => "registry",
            Self::NotebookBackup => "notebook_backup",
        }
    }

    /// How often.
    pub fn period(self) -> Period {
        match self {
            Self::FreeSpace => Period::Daily,
            Self::HfCache | Self::StoreReview | Self::Notebooks => Period::Weekly,
            Self::Caches | Self::Versions => Period::Monthly,
            Self::FailedRuns | Self::Registry | Self::NotebookBackup => Period::Quarterly,
        }
    }

    /// Where.
    pub fn scope(self) -> Scope {
        match self {
            Self::FreeSpace | Self::HfCache | Self::Notebooks | Self::Caches | Self::NotebookBackup => Scope::Machine,
            Self::StoreReview | Self::Versions | Self::FailedRuns | Self::Registry => Scope::Store,
        }
    }
}

impl Period {
    /// From `daily`, `weekly`…
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Quarterly => "quarterly",
        }
    }

    /// How long after it was done it is due again: a little less than the period, so that what starts at the same hour
    /// every day is not a minute too early.
    fn rest(self) -> SignedDuration {
        let days = match self {
            Self::Daily => 1,
            Self::Weekly => 7,
            Self::Monthly => 30,
            Self::Quarterly => 91,
        };
        SignedDuration::from_hours(24 * days - 2)
    }
}

/// When each task was done last, by task and host.
pub type Done = BTreeMap<String, BTreeMap<String, Timestamp>>;

/// Whether a task is due on `host`, by what the log says was done.
pub fn is_due(task: Task, done: &Done, host: &str, now: Timestamp) -> bool {
    let hosts = done.get(task.id());
    let last = match task.scope() {
        Scope::Machine => hosts.and_then(|hosts| hosts.get(host)),
        Scope::Store => hosts.and_then(|hosts| hosts.values().max()),
    };
    last.is_none_or(|last| now.duration_since(*last) >= task.period().rest())
}

/// Runs so soon after another of the same model took its place were tries.
const TRY: SignedDuration = SignedDuration::from_hours(1);

/// Training runs that came to nothing, with the reason: marked failed, a loss that is no number, no metrics where a later
/// push of the model has some, superseded within the hour. A run that failed itself supersedes nothing. Never what is
/// labelled, deployed, pinned or the best by the metric of the rules, nor the newest push.
pub fn failed_runs<'a>(
    state: &'a State,
    rules: &Retention,
    pinned: &BTreeSet<RevisionId>,
) -> Vec<(&'a Model, &'a Push, String)> {
    let mut failed = Vec::new();
    for model in state.models.values().filter(|model| model.kind == ModelKind::Finetuned) {
        let kept = retention::protected(state, model, pinned);
        let best = retention::best(model, rules);
        let live: Vec<&Push> = model.pushes.iter().filter(|push| push.removed.is_none()).collect();
        let marked = state.status(model) == Status::Failed;
        let measured = |push: &Push| !model.metrics(push).is_empty();
        for (at, push) in live.iter().enumerate() {
            let later = &live[at + 1..];
            // The same content pushed again is needed by whoever needs the other one.
            let again = later.iter().any(|later| later.revision == push.revision);
            if later.is_empty() || again || kept.contains(&push.revision) || best == Some(push.txn) {
                continue;
            }
            let mut sound = later.iter().filter(|later| not_a_number(model, later).is_none());
            let soon =
                |later: &&&Push| later.at.duration_since(push.at).abs() < TRY && (measured(later) || !measured(push));
            let reason = if marked {
                "the model is marked failed".to_owned()
            } else if let Some(name) = not_a_number(model, push) {
                format!("{name} is no number")
            } else if !measured(push) && sound.clone().any(|later| measured(later)) {
                "it has no metrics, a later one has".to_owned()
            } else if let Some(next) = sound.find(soon) {
                format!("superseded by #{} within the hour", next.number)
            } else {
                continue;
            };
            failed.push((model, *push, reason));
        }
    }
    failed
}

/// The loss of a push that is no number.
fn not_a_number(model: &Model, push: &Push) -> Option<String> {
    let metrics = model.metrics(push);
    metrics.iter().find(|(name, value)| name.contains("loss") && value.is_none()).map(|(name, _)| name.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Body, SetStatus};
    use crate::registry::tests::{event, pushed};

    fn fold(bodies: Vec<(u64, Body)>) -> State {
        let events: Vec<_> = bodies.into_iter().map(|(at, body)| event(at, body)).collect();
        State::fold(events.iter().map(|(name, event)| (name, event)))
    }

    fn with_metrics(mut body: Body, metrics: &[(&str, Option<f64>)]) -> Body {
        if let Body::Pushed(pushed) = &mut body {
            pushed.facts.metrics = metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        }
        body
    }

    const HOUR: u64 = 3600;

    #[test]
    fn runs_fail_for_one_of_four_reasons_and_the_newest_stays() {
        let state = fold(vec![
            (1, with_metrics(pushed("m", 1, 1, b"1"), &[("eval_loss", None)])),
            (2 * HOUR, with_metrics(pushed("m", 2, 2, b"2"), &[])),
            (4 * HOUR, pushed("m", 3, 3, b"3")),
            (4 * HOUR + 60, pushed("m", 4, 4, b"4")),
            (9 * HOUR, with_metrics(pushed("m", 5, 5, b"5"), &[("eval_loss", Some(0.1))])),
            (9 * HOUR + 60, with_metrics(pushed("m", 6, 6, b"6"), &[("eval_loss", None)])),
        ]);
        let found = |rules| -> Vec<_> {
            let failed = failed_runs(&state, &rules, &BTreeSet::new());
            failed.into_iter().map(|(_, push, why)| (push.number, why)).collect()
        };
        let failed = found(Retention::default());
        assert_eq!(
            failed,
            [
                (1, "eval_loss is no number".to_owned()),
                (2, "it has no metrics, a later one has".to_owned()),
                (3, "superseded by #4 within the hour".to_owned()),
            ]
        );
    }

    #[test]
    fn what_is_done_on_the_store_is_done_for_everybody_and_what_is_done_here_only_here() {
        let at = |hours: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
        let mut done = Done::new();
        for task in Task::ALL {
            assert!(is_due(task, &done, "desk", at(0)));
            done.entry(task.id().to_owned()).or_default().insert("desk".to_owned(), at(0));
        }
        for task in Task::ALL {
            assert!(!is_due(task, &done, "desk", at(1)), "{task:?}");
            assert_eq!(is_due(task, &done, "colab", at(1)), task.scope() == Scope::Machine, "{task:?}");
            assert!(is_due(task, &done, "desk", at(24 * 91)), "{task:?}");
        }
        assert!(is_due(Task::FreeSpace, &done, "desk", at(23)) && !is_due(Task::HfCache, &done, "desk", at(24)));
    }

    proptest! {
        #[test]
        fn no_failed_run_is_the_newest_labelled_deployed_or_pinned(
            runs in proptest::collection::vec((0..3_u8, 0..6_u8, 0..3_u8, 0..7200_u64), 1..20),
            labelled in 0..6_u8, deployed in 0..6_u8, pin in 0..6_u8, marked in any::<bool>(),
        ) {
            let (mut at, mut bodies) = (0, Vec::new());
            let name = |model: u8| ["a", "b", "c"][usize::from(model)];
            for (n, (model, content, metrics, gap)) in (1..).zip(&runs) {
                at += gap + 1;
                let metrics: &[(&str, Option<f64>)] = match metrics {
                    0 => &[],
                    1 => &[("eval_loss", None)],
                    _ => &[("eval_loss", Some(0.1))],
                };
                bodies.push((at, with_metrics(pushed(name(*model), n, n.into(), &[*content]), metrics)));
            }
            let revision = |content: u8| match pushed("a", 0, 1, &[content]) {
                Body::Pushed(pushed) => pushed.revision,
                _ => unreachable!(),
            };
            let model: crate::name::ModelId = "a".parse().unwrap();
            bodies.push((at + 1, Body::Labelled { model: model.clone(), label: "best".parse().unwrap(), revision: revision(labelled) }));
            bodies.push((at + 2, Body::Deployed { model: model.clone(), revision: revision(deployed), rollback: false }));
            if marked {
                bodies.push((at + 3, Body::Status { model: "b".parse().unwrap(), status: SetStatus::Failed }));
            }
            let state = fold(bodies);
            let pinned = BTreeSet::from([revision(pin)]);
            let rules = Retention { keep_best: Some("eval_loss".to_owned()), ..Retention::default() };
            let failed = failed_runs(&state, &rules, &pinned);
            for (model, push, _) in &failed {
                prop_assert!(retention::best(model, &rules) != Some(push.txn));
                // What fails has been replaced by something that did not, or says itself that it failed.
                let sound = |other: &Push| not_a_number(model, other).is_none();
                let later = model.pushes.iter().skip_while(|other| other.txn != push.txn).skip(1);
                prop_assert!(state.status(model) == Status::Failed || !sound(push) || later.clone().any(sound));
                prop_assert!(push.removed.is_none() && !pinned.contains(&push.revision));
                prop_assert!(!model.labels.values().any(|named| *named == push.revision));
                prop_assert!(state.deployment_of(&model.id).is_none_or(|it| it.revision != push.revision));
                let latest = model.latest().unwrap();
                prop_assert!(latest.txn != push.txn && latest.revision != push.revision);
            }
        }
    }
}
