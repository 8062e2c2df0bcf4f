//! What may go, in what order: by examples, and for any shelf.

use proptest::prelude::*;

use super::*;

const RATE: Rate = Rate { bytes: 25_000_000 };

fn now() -> Timestamp {
    "2026-02-11T10:00:00Z".parse().unwrap()
}

fn item(name: &str, parts: &[usize], days: i64, again: Again) -> Item {
    let last_used = Some(now() - SignedDuration::from_hours(24 * days));
    let back = Back { files: parts.len() as u64, bytes: 0 };
    Item { name: name.to_owned(), parts: parts.to_vec(), back, last_used, again, keep: None }
}

/// Parts have these sizes; what bringing an item back takes follows from them.
fn shelf(mut items: Vec<Item>, parts: &[u64]) -> Shelf {
    for item in &mut items {
        item.back.bytes = item.parts.iter().map(|part| parts[*part]).sum();
    }
    Shelf { items, parts: parts.to_vec() }
}

fn names(shelf: &Shelf, bytes: u64) -> Vec<&str> {
    let plan = plan(shelf, Need::exactly(bytes), now(), RATE);
    plan.chosen.iter().map(|one| shelf.items[one.item].name.as_str()).collect()
}

#[test]
fn what_was_not_used_for_long_goes_first_and_no_more_than_is_needed() {
    let same = 100_000_000;
    let items = vec![
        item("old", &[0], 90, Again::Hub),
        item("newer", &[1], 9, Again::Hub),
        item("newest", &[2], 1, Again::Remote),
    ];
    let shelf = shelf(items, &[same, same, same]);
    assert_eq!(names(&shelf, 1), ["old"]);
    assert_eq!(names(&shelf, same + 1), ["old", "newer"]);
    assert_eq!(names(&shelf, 0), [""; 0]);
}

#[test]
fn many_small_files_are_worth_more_than_their_bytes() {
    // The same bytes and the same last use: a thousand files take minutes to bring back, one takes seconds.
    let mut small = item("small", &[0], 10, Again::Hub);
    small.back.files = 1000;
    let mut shelf = shelf(vec![small, item("large", &[1], 10, Again::Hub)], &[50_000_000, 50_000_000]);
    assert_eq!(names(&shelf, 1), ["large"]);
    // What nothing leads to goes before anything that somebody may ask for.
    shelf.items.push(item("orphan", &[2], 0, Again::NotNeeded));
    shelf.parts.push(1_000_000);
    assert_eq!(names(&shelf, 1), ["orphan"]);
}

#[test]
fn a_shared_file_comes_free_with_the_last_that_needs_it() {
    let items = vec![item("v1", &[0, 1], 30, Again::Hub), item("v2", &[0, 2], 20, Again::Hub)];
    let shelf = shelf(items, &[1_000_000_000, 10, 10]);
    let plan = plan(&shelf, Need::exactly(500), now(), RATE);
    assert_eq!(plan.chosen.iter().map(|one| one.frees).collect::<Vec<_>>(), [10, 1_000_000_010]);
    assert_eq!((plan.frees, plan.short), (1_000_000_020, 0));
}

#[test]
fn a_large_thing_makes_small_ones_before_it_unnecessary() {
    let items = vec![item("small", &[0], 300, Again::Hub), item("large", &[1], 2, Again::Hub)];
    let shelf = shelf(items, &[5_000_000, 900_000_000]);
    assert_eq!(names(&shelf, 800_000_000), ["large"]);
}

#[test]
fn reasons_say_how_long_where_from_and_when_it_is_back() {
    let shelf = shelf(vec![item("a", &[0], 34, Again::Hub)], &[500_000_000]);
    let plan = plan(&shelf, Need::exactly(1), now(), RATE);
    assert_eq!(plan.chosen[0].reason, "not used for 34 days; at the Hub, same commit; back in 20 s");
    for (seconds, text) in [(0.2, "a second"), (40.0, "40 s"), (200.0, "3 min"), (7200.0, "2.0 h")] {
        assert_eq!(duration(seconds), text);
    }
}

fn any_again() -> impl Strategy<Value = Again> {
    prop::sample::select(vec![
        Again::NotNeeded,
        Again::Remote,
        Again::Hub,
        Again::AssumedHub,
        Again::Program,
        Again::Named,
        Again::Unknown,
        Again::Nowhere,
    ])
}

fn any_keep() -> impl Strategy<Value = Option<Keep>> {
    prop::sample::select(vec![
        None,
        None,
        None,
        Some(Keep::InUse("somebody".to_owned())),
        Some(Keep::Wanted),
        Some(Keep::Pinned("m".to_owned())),
        Some(Keep::Labelled("prod".to_owned())),
        Some(Keep::Deployed("m".to_owned())),
        Some(Keep::Elsewhere),
        Some(Keep::Broken("x".to_owned())),
        Some(Keep::NoProgram("pip".to_owned())),
    ])
}

fn any_shelf() -> impl Strategy<Value = Shelf> {
    let parts = prop::collection::vec(0_u64..1_000_000_000, 1..12);
    parts.prop_flat_map(|parts| {
        let count = parts.len();
        let one = (prop::collection::btree_set(0..count, 0..count), 0_i64..400, any_again(), any_keep());
        prop::collection::vec(one, 0..12).prop_map(move |items| {
            let items = items.into_iter().enumerate().map(|(n, (own, days, again, keep))| Item {
                keep,
                ..item(&format!("item-{n}"), &own.into_iter().collect::<Vec<_>>(), days, again)
            });
            shelf(items.collect(), &parts)
        })
    })
}

proptest! {
    /// The only copy, and what is in use, pinned, labelled, deployed or wanted, never goes; nor does a file that
    /// something that stays needs count as freed.
    #[test]
    fn nothing_goes_that_must_stay(shelf in any_shelf(), must in 0_u64..3_000_000_000, more in 0_u64..1_000_000_000) {
        let plan = plan(&shelf, Need { must, goal: must + more }, now(), RATE);
        for one in &plan.chosen {
            let item = &shelf.items[one.item];
            prop_assert!(item.again.is_proven() && item.keep.is_none(), "{} went", item.name);
        }
        let gone: Vec<usize> = plan.chosen.iter().map(|one| one.item).collect();
        let needed: std::collections::BTreeSet<usize> = (0..shelf.items.len())
            .filter(|item| !gone.contains(item))
            .flat_map(|item| shelf.items[item].parts.clone())
            .collect();
        let free: std::collections::BTreeSet<usize> =
            gone.iter().flat_map(|item| shelf.items[*item].parts.clone()).filter(|part| !needed.contains(part)).collect();
        prop_assert_eq!(plan.frees, free.iter().map(|part| shelf.parts[*part]).sum::<u64>());
    }

    /// The goal is met whenever it can be, and then nothing that goes could stay.
    #[test]
    fn no_more_goes_than_is_needed(shelf in any_shelf(), bytes in 1_u64..3_000_000_000) {
        let plan = plan(&shelf, Need::exactly(bytes), now(), RATE);
        let chosen: Vec<usize> = plan.chosen.iter().map(|one| one.item).collect();
        let all: Vec<usize> = (0..shelf.items.len()).filter(|item| stays(&shelf.items[*item]).is_none()).collect();
        prop_assert_eq!(plan.short > 0, freed_by(&shelf, &all) < bytes);
        if plan.short == 0 {
            prop_assert!(plan.frees >= bytes);
        }
        for left_out in 0..chosen.len() {
            let fewer: Vec<usize> = chosen.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, item)| *item).collect();
            prop_assert!(freed_by(&shelf, &fewer) < bytes.min(plan.frees), "{} need not go", shelf.items[chosen[left_out]].name);
        }
    }
}
