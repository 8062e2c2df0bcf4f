//! The fold's promises: order and duplication of events do not matter; each rule of statuses, numbers and edits.

use proptest::prelude::*;

use super::*;
use crate::event::{Clock, WriterId};
use crate::manifest::{FileEntry, Manifest};

pub(crate) fn event(at: u64, body: Body) -> (EventName, Event) {
    let event = Event {
        format: 1,
        at: Timestamp::from_second(1_780_000_000 + at.cast_signed()).unwrap(),
        by: "ana@colab".to_owned(),
        parents: BTreeSet::new(),
        body,
    };
    let name = EventName::new(Clock(at << 16), WriterId(at % 3), &event.to_bytes());
    (name, event)
}

pub(crate) fn pushed(model: &str, txn: u8, number: u64, content: &[u8]) -> Body {
    let files = Manifest::new(vec![FileEntry {
        path: "adapter_model.safetensors".parse().unwrap(),
        size: content.len() as u64,
        sha256: Sha256::of(content),
    }])
    .unwrap();
    Body::Pushed(Box::new(Pushed {
        txn: Txn::from_bytes([txn; 16]),
        model: model.parse().unwrap(),
        model_kind: ModelKind::Finetuned,
        revision: files.revision(),
        number,
        files: 1,
        size_bytes: content.len() as u64,
        facts: Facts { metrics: [("eval_loss".to_owned(), Some(0.1))].into(), ..Facts::default() },
        manifest: Some(files),
        labels: BTreeSet::new(),
        set: BTreeMap::new(),
        replaces: None,
        ids: None,
        adopted: false,
        folder: None,
        filed: None,
    }))
}

fn fold(bodies: &[Body]) -> State {
    let events: Vec<_> = bodies.iter().zip(1..).map(|(body, at)| event(at, body.clone())).collect();
    State::fold(events.iter().map(|(name, event)| (name, event)))
}

fn revision(content: &[u8]) -> RevisionId {
    match pushed("x", 0, 1, content) {
        Body::Pushed(pushed) => pushed.revision,
        _ => unreachable!(),
    }
}

fn id(text: &str) -> ModelId {
    text.parse().unwrap()
}

fn deployed(model: &str, content: &[u8], rollback: bool) -> Body {
    Body::Deployed { model: id(model), revision: revision(content), rollback }
}

#[test]
fn deployed_is_shown_whatever_the_order_of_push_and_deploy() {
    let state = fold(&[pushed("m", 1, 1, b"a"), deployed("m", b"a", false), pushed("m", 2, 2, b"b")]);
    let model = &state.models[&id("m")];
    assert_eq!(state.shown(model).unwrap().number, 1);
    assert_eq!(model.latest().unwrap().number, 2);
    assert_eq!(state.status(model), Status::Deployed);
}

#[test]
fn rollback_takes_deployments_off_the_stack() {
    let base = [
        pushed("m-v1", 1, 1, b"a"),
        pushed("m-v2", 2, 1, b"b"),
        pushed("m-v3", 3, 1, b"c"),
        deployed("m-v1", b"a", false),
        deployed("m-v2", b"b", false),
        deployed("m-v3", b"c", false),
    ];
    let state = fold(&base);
    assert_eq!(state.before_current().unwrap().model, id("m-v2"));
    let state = fold(&[&base[..], &[deployed("m-v2", b"b", true)]].concat());
    assert_eq!(state.deployed().unwrap().model, id("m-v2"));
    assert_eq!(state.before_current().unwrap().model, id("m-v1"));
    assert_eq!(state.status(&state.models[&id("m-v3")]), Status::Active);
    let state = fold(&[&base[..], &[deployed("m-v2", b"b", true), deployed("m-v1", b"a", true)]].concat());
    assert!(state.before_current().is_none());
}

#[test]
fn numbers_never_shift_and_a_number_claimed_twice_is_ambiguous() {
    let state = fold(&[pushed("m", 1, 1, b"a"), pushed("m", 2, 1, b"b"), pushed("m", 3, 2, b"a")]);
    let conflict = state.resolve(&"m@1".parse().unwrap()).unwrap_err();
    assert_eq!(conflict.kind(), crate::Kind::Conflict);
    assert!(conflict.to_string().contains(&revision(b"a").short()));
    assert_eq!(state.resolve(&"m@2".parse().unwrap()).unwrap().1.revision, revision(b"a"));
    assert_eq!(state.resolve(&"m".parse().unwrap()).unwrap().1.number, 2);
    let prefix = format!("m@{}", &revision(b"b").to_string()[..9]);
    assert_eq!(state.resolve(&prefix.parse().unwrap()).unwrap().1.txn, Txn::from_bytes([2; 16]));
}

#[test]
fn removed_pushes_are_not_found_and_come_back() {
    let remove = Body::Removed { model: id("m"), txns: [Txn::from_bytes([1; 16])].into() };
    let restore = Body::Restored { model: id("m"), txns: [Txn::from_bytes([1; 16])].into() };
    let state = fold(&[pushed("m", 1, 1, b"a"), remove.clone()]);
    assert_eq!(state.status(&state.models[&id("m")]), Status::Removed);
    let error = state.resolve(&"m".parse().unwrap()).unwrap_err();
    assert_eq!(error.hint_text(), Some("modelkeep restore m"));
    let state = fold(&[pushed("m", 1, 1, b"a"), remove, restore]);
    assert_eq!(state.status(&state.models[&id("m")]), Status::Active);
}

#[test]
fn a_push_told_twice_counts_once_and_archived_wakes_up() {
    let archive = Body::Status { model: id("m"), status: SetStatus::Archived };
    let state = fold(&[pushed("m", 1, 1, b"a"), pushed("m", 1, 2, b"a"), archive.clone()]);
    assert_eq!(state.models[&id("m")].pushes.len(), 1);
    assert_eq!(state.status(&state.models[&id("m")]), Status::Archived);
    let state = fold(&[pushed("m", 1, 1, b"a"), archive, pushed("m", 2, 2, b"b")]);
    assert_eq!(state.status(&state.models[&id("m")]), Status::Active);
}

#[test]
fn an_edit_counts_once_and_only_for_fields_nobody_changed_since() {
    let fields = |value: &str| BTreeMap::from([("purpose".to_owned(), Value::from(value))]);
    let set = |value: &str| Body::Fields { model: id("m"), set: fields(value) };
    let seen = event(1, pushed("m", 1, 1, b"a")).0;
    let edit = |value: &str| Body::RegistryEdited {
        base: Sha256::of(b"base"),
        found: Sha256::of(b"found"),
        seen: Some(seen),
        changes: BTreeMap::from([("m".to_owned(), fields(value))]),
    };
    let purpose = |state: &State| state.models[&id("m")].fields.get("purpose").cloned();
    let state = fold(&[pushed("m", 1, 1, b"a"), edit("by hand")]);
    assert_eq!(purpose(&state), Some("by hand".into()));
    let state = fold(&[pushed("m", 1, 1, b"a"), set("newer"), edit("by hand")]);
    assert_eq!(purpose(&state), Some("newer".into()));
    let state = fold(&[pushed("m", 1, 1, b"a"), edit("by hand"), set("newer"), edit("by hand")]);
    assert_eq!(purpose(&state), Some("newer".into()));
}

#[test]
fn a_newer_push_says_its_own_metrics() {
    let set = Body::Fields { model: id("m"), set: [("metrics.eval_loss".to_owned(), Value::from(9.0))].into() };
    let state = fold(&[pushed("m", 1, 1, b"a"), set.clone()]);
    let model = &state.models[&id("m")];
    assert_eq!(model.metrics(model.latest().unwrap())["eval_loss"], Some(9.0));
    let state = fold(&[pushed("m", 1, 1, b"a"), set, pushed("m", 2, 2, b"b")]);
    let model = &state.models[&id("m")];
    assert_eq!(model.metrics(model.latest().unwrap())["eval_loss"], Some(0.1));
}

#[test]
fn a_metric_set_to_null_shows_what_was_learnt_again() {
    let set = |value: Value| Body::Fields { model: id("m"), set: [("metrics.eval_loss".to_owned(), value)].into() };
    let state = fold(&[pushed("m", 1, 1, b"a"), set(Value::from(9.0)), set(Value::Null)]);
    let model = &state.models[&id("m")];
    assert_eq!(model.metrics(model.latest().unwrap())["eval_loss"], Some(0.1));
    assert!(model.fields.is_empty());
    let state = fold(&[pushed("m", 1, 1, b"a"), set(Value::Null)]);
    let model = &state.models[&id("m")];
    assert_eq!(model.metrics(model.latest().unwrap())["eval_loss"], Some(0.1), "nothing was set");
}

#[test]
fn what_people_set_is_about_the_newest_push() {
    let set: BTreeMap<String, Value> =
        [("type", "merged"), ("base_model", "b"), ("training_date", "2026-01-01"), ("source", "hub/x")]
            .map(|(field, value)| (field.to_owned(), Value::from(value)))
            .into();
    let set = Body::Fields { model: id("m"), set };
    let remove = Body::Removed { model: id("m"), txns: [1, 2].map(|txn| Txn::from_bytes([txn; 16])).into() };
    let state = fold(&[pushed("m", 1, 1, b"a"), pushed("m", 2, 2, b"b"), set, remove]);
    let model = &state.models[&id("m")];
    let [older, newest] = &model.pushes[..] else { panic!("two pushes") };
    let said = model.describe(newest);
    assert_eq!((said.model_type.as_deref(), said.base_model.as_deref()), (Some("merged"), Some("b")));
    assert_eq!((said.training_date.as_deref(), said.source.as_deref()), (Some("2026-01-01"), Some("hub/x")));
    let source = Some("hub/x".to_owned());
    let metrics = older.facts.metrics.clone();
    assert_eq!(model.describe(older), Description { source, metrics, ..Description::default() });
}

#[test]
fn a_mistyped_model_gets_the_nearest_names() {
    let state = fold(&[pushed("banking-v1", 1, 1, b"a"), pushed("banking-v2", 2, 1, b"b")]);
    let error = state.resolve(&"bankin-v2".parse().unwrap()).unwrap_err();
    assert_eq!(error.hint_text(), Some("did you mean `banking-v2` or `banking-v1`?"));
    assert_eq!(state.family_latest("banking").unwrap().id, id("banking-v2"));
}

#[test]
fn a_whole_push_takes_the_place_of_a_damaged_one() {
    let heal = |txn: u8, damaged: u8| match pushed("m", txn, 1, b"a") {
        Body::Pushed(mut push) => {
            push.replaces = Some(Txn::from_bytes([damaged; 16]));
            Body::Pushed(push)
        }
        _ => unreachable!(),
    };
    let txn = |n: u8| Txn::from_bytes([n; 16]);
    let state = fold(&[pushed("m", 1, 1, b"a"), pushed("m", 2, 2, b"b"), heal(3, 1), heal(4, 1)]);
    let model = &state.models[&id("m")];
    assert_eq!(model.latest().unwrap().txn, txn(2), "an older content mended does not become the newest");
    assert_eq!(state.resolve(&"m@1".parse().unwrap()).unwrap().1.txn, txn(3));
    let live: Vec<Txn> = model.pushes.iter().filter(|push| push.removed.is_none()).map(|push| push.txn).collect();
    assert_eq!(live, [txn(3), txn(2)]);
    let remove = Body::Removed { model: id("m"), txns: [txn(1)].into() };
    let state = fold(&[pushed("m", 1, 1, b"a"), heal(3, 1), remove]);
    assert!(state.models[&id("m")].latest().is_none(), "what is said of the damaged one is meant for the whole one");
}

fn any_body() -> impl Strategy<Value = Body> {
    let model = prop_oneof![Just("m-v1"), Just("m-v2"), Just("other")];
    let txn = 0u8..6;
    prop_oneof![
        4 => (model.clone(), txn.clone(), 1u64..4).prop_map(|(m, t, n)| pushed(m, t, n, &[t % 3])),
        1 => (model.clone(), txn.clone()).prop_map(|(m, t)| Body::Removed { model: id(m), txns: [Txn::from_bytes([t; 16])].into() }),
        1 => (model.clone(), txn.clone()).prop_map(|(m, t)| Body::Restored { model: id(m), txns: [Txn::from_bytes([t; 16])].into() }),
        1 => (model.clone(), 0u8..3, any::<bool>()).prop_map(|(m, c, r)| deployed(m, &[c], r)),
        1 => (model.clone(), 0u8..3).prop_map(|(m, c)| Body::Labelled { model: id(m), label: "prod".parse().unwrap(), revision: revision(&[c]) }),
        1 => model.clone().prop_map(|m| Body::Status { model: id(m), status: SetStatus::Archived }),
        1 => (model, 0i64..4).prop_map(|(m, v)| Body::Fields { model: id(m), set: [("purpose".to_owned(), Value::from(v))].into() }),
        1 => Just(Body::Maintained { host: "desk".to_owned(), tasks: BTreeSet::from(["caches".to_owned()]) }),
        1 => Just(Body::Unknown),
    ]
}

proptest! {
    #[test]
    fn any_order_and_any_duplication_fold_to_the_same_state(
        bodies in proptest::collection::vec(any_body(), 0..24),
        order in proptest::collection::vec(any::<proptest::sample::Index>(), 0..60),
    ) {
        let events: Vec<_> = bodies.iter().zip(1..).map(|(body, at)| event(at, body.clone())).collect();
        let straight = State::fold(events.iter().map(|(name, event)| (name, event)));
        let mut shuffled: Vec<_> = events.iter().rev().collect();
        if !events.is_empty() {
            shuffled.extend(order.iter().map(|index| index.get(&events)));
        }
        let folded = State::fold(shuffled.into_iter().map(|(name, event)| (name, event)));
        prop_assert_eq!(&folded, &straight);
        // The cache keeps states as JSON.
        let text = serde_json::to_string(&straight).unwrap();
        prop_assert_eq!(serde_json::from_str::<State>(&text).unwrap(), straight.clone());
        for model in straight.models.values() {
            prop_assert_eq!(straight.shown(model).is_none(), straight.status(model) == Status::Removed);
        }
    }
}
