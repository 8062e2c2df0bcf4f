//! Each rule of the protocol, broken once on purpose: the schedule that needs it ends well with the rule, and is
//! noticed without.

use jiff::SignedDuration;
use modelkeep_core::event::WriterId;
use modelkeep_core::layout;
use modelkeep_core::path::RemotePath;
use modelkeep_ops::rule::Rule;
use modelkeep_remote::layer::Call;
use modelkeep_remote::memory::Profile;
use modelkeep_remote::{Object, Remote};

use super::arena::{Arena, Violation};
use super::cast::Act::{Deploy, Prune, Pull, Push, Remove, Restore};
use super::wrong::Wrong;

const FOLDER: &str = "folder";
const DRIVE: &str = "drive";

/// Listings come at once here, so that a schedule means what it says; `random` has late ones.
fn profile(name: &str) -> Profile {
    let mut profile = if name == FOLDER { Profile::folder() } else { Profile::drive(1) };
    profile.capabilities.late_listings = false;
    profile
}

/// With the rule the schedule ends well; without it something is noticed.
async fn needed(rule: Rule, profiles: &[&str], schedule: impl AsyncFn(&mut Arena) -> Result<(), Violation>) {
    for name in profiles {
        for broken in [None, Some(rule)] {
            let mut arena = Arena::new(profile(name), 4, 1).await.breaking(broken);
            judge(&format!("{rule:?} on {name}"), broken.is_some(), &mut arena, &schedule).await;
        }
    }
}

async fn judge(
    what: &str,
    broken: bool,
    arena: &mut Arena,
    schedule: &impl AsyncFn(&mut Arena) -> Result<(), Violation>,
) {
    let mut noticed = schedule(arena).await;
    if noticed.is_ok() {
        noticed = arena.end().await;
    }
    let story = arena.story.join("\n");
    match (broken, noticed) {
        (false, Err(violation)) => panic!("{what}: kept, and yet {violation}\n{story}"),
        (true, Ok(())) => panic!("{what}: broken, and nobody noticed\n{story}"),
        _ => {}
    }
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

fn is(method: &'static str, place: &RemotePath) -> impl Fn(&Call) -> bool + use<> {
    let place = place.clone();
    move |call| call.method == method && (call.path == place || call.path.below(&place).is_some())
}

/// The renaming of a push folder to a place.
fn moving_to(place: RemotePath) -> impl Fn(&Call) -> bool {
    move |call| call.method == "rename" && call.to.as_ref().is_some_and(|to| to.below(&place).is_some())
}

const M: &str = "m-v1";

#[tokio::test]
async fn content_stands_where_readers_look_before_its_event() {
    needed(Rule::FindableBeforeEvent, &[FOLDER, DRIVE], async |arena| {
        let push = arena.begin(0, Push(M, 0)).await?;
        arena.until(push, moving_to(layout::versions())).await?;
        arena.crash(push, false).await
    })
    .await;
}

#[tokio::test]
async fn a_push_looks_where_its_folder_is_before_it_moves_it() {
    needed(Rule::LookBeforeMove, &[DRIVE], async |arena| {
        let push = arena.begin(0, Push(M, 0)).await?;
        arena.until(push, is("find", &layout::staging())).await?;
        arena.pass(days(8));
        arena.run(1, Prune).await?;
        arena.pass(days(8));
        let prune = arena.begin(1, Prune).await?;
        arena.until(prune, is("delete", &layout::trash())).await?;
        arena.finish(push).await?;
        arena.finish(prune).await
    })
    .await;
}

#[tokio::test]
async fn what_was_moved_is_read_back_before_its_event() {
    needed(Rule::ReadBack, &[FOLDER, DRIVE], async |arena| {
        let push = arena.begin(0, Push(M, 0)).await?;
        arena.until(push, moving_to(layout::versions())).await?;
        // The store loses a file that it had acknowledged, as a mount's cache may.
        let above = arena.store().client(99);
        let lost = above.snapshot().into_keys().find(|path| path.ends_with("tokenizer.json")).unwrap();
        above.settle();
        above.delete(&Object::at(lost.parse().unwrap())).await.unwrap();
        arena.finish(push).await
    })
    .await;
}

#[tokio::test]
async fn from_look_to_event_is_an_hour_at_most() {
    needed(Rule::OneHour, &[FOLDER, DRIVE], async |arena| {
        // The log has begun: what is older than a log is nobody's to forget.
        arena.succeed(1, Push("n-v1", 1)).await?;
        let push = arena.begin(0, Push(M, 0)).await?;
        arena.until(push, moving_to(layout::versions())).await?;
        arena.step(push).await?;
        // The last call before the event.
        arena.until(push, |call| call.method == "now").await?;
        arena.pass(days(8));
        arena.run(1, Prune).await?;
        arena.pass(days(8));
        arena.run(1, Prune).await?;
        arena.finish(push).await
    })
    .await;
}

#[tokio::test]
async fn a_restore_keeps_the_hour_too() {
    needed(Rule::OneHour, &[FOLDER, DRIVE], async |arena| {
        arena.succeed(0, Push(M, 0)).await?;
        arena.succeed(0, Remove(M)).await?;
        let restore = arena.begin(0, Restore(M)).await?;
        arena.until(restore, moving_to(layout::versions())).await?;
        arena.step(restore).await?;
        arena.until(restore, |call| call.method == "now").await?;
        arena.pass(days(1));
        arena.run(1, Prune).await?;
        arena.pass(days(8));
        arena.run(1, Prune).await?;
        arena.finish(restore).await
    })
    .await;
}

#[tokio::test]
async fn a_rename_never_replaces() {
    for wrong in [None, Some(Wrong::RenameReplaces)] {
        let mut arena = Arena::new(Profile::folder(), 4, 1).await.on_wrong(wrong);
        judge("a rename never replaces", wrong.is_some(), &mut arena, &async |arena: &mut Arena| {
            let one = arena.begin(0, Push(M, 0)).await?;
            arena.until(one, moving_to(layout::models(modelkeep_core::manifest::ModelKind::Finetuned))).await?;
            arena.succeed(1, Push(M, 1)).await?;
            arena.finish(one).await
        })
        .await;
    }
}

#[tokio::test]
async fn projection_moves_and_never_trashes() {
    needed(Rule::ProjectionOnlyMoves, &[FOLDER, DRIVE], async |arena| {
        arena.succeed(0, Push(M, 0)).await?;
        arena.succeed(0, Push(M, 1)).await?;
        arena.trash_holds_only_what_was_removed()
    })
    .await;
}

#[tokio::test]
async fn each_push_has_a_transaction_of_its_own() {
    needed(Rule::OwnTransaction, &[FOLDER, DRIVE], async |arena| {
        arena.succeed(0, Push(M, 0)).await?;
        // Somebody is about to sweep it while somebody else pushes the same again.
        let remove = arena.begin(1, Remove(M)).await?;
        arena.until(remove, moving_to(layout::trash())).await?;
        arena.run(2, Push(M, 0)).await?;
        arena.finish(remove).await?;
        arena.pass(days(8));
        arena.run(3, Prune).await?;
        arena.pass(days(8));
        arena.run(3, Prune).await
    })
    .await;
}

#[tokio::test]
async fn a_pull_that_misses_something_looks_again() {
    needed(Rule::PullGoesRound, &[FOLDER], async |arena| {
        arena.succeed(0, Push(M, 0)).await?;
        arena.succeed(0, Push(M, 1)).await?;
        // What is pulled becomes what is shown just when the pull has looked there.
        let pull = arena.begin(1, Pull("m-v1@1")).await?;
        arena.until(pull, |call| call.method == "fetch").await?;
        arena.succeed(2, Deploy("m-v1@1")).await?;
        arena.finish_well(pull).await
    })
    .await;
}

#[tokio::test]
async fn a_pull_looks_in_the_trash_too() {
    needed(Rule::PullLooksInTrash, &[FOLDER, DRIVE], async |arena| {
        arena.succeed(0, Push(M, 0)).await?;
        arena.succeed(0, Push(M, 1)).await?;
        let remove = arena.begin(1, Remove("m-v1@1")).await?;
        arena.until(remove, moving_to(layout::trash())).await?;
        arena.succeed(2, Restore("m-v1@1")).await?;
        arena.finish(remove).await?;
        arena.succeed(3, Pull("m-v1@1")).await
    })
    .await;
}

#[tokio::test]
async fn removed_content_waits_for_the_grace_period() {
    needed(Rule::Grace, &[FOLDER, DRIVE], async |arena| {
        arena.succeed(0, Push(M, 0)).await?;
        arena.succeed(0, Remove(M)).await?;
        arena.pass(days(5));
        arena.run(1, Prune).await?;
        arena.succeed(0, Restore(M)).await
    })
    .await;
}

#[tokio::test]
async fn removed_content_waits_in_our_own_trash() {
    needed(Rule::OwnTrash, &[FOLDER, DRIVE], async |arena| {
        arena.succeed(0, Push(M, 0)).await?;
        arena.succeed(0, Remove(M)).await?;
        arena.pass(days(5));
        arena.succeed(0, Restore(M)).await
    })
    .await;
}

#[tokio::test]
async fn the_grace_counts_from_the_arrival_of_each_item() {
    needed(Rule::AgeOfItem, &[FOLDER, DRIVE], async |arena| {
        arena.succeed(0, Push(M, 0)).await?;
        arena.succeed(0, Push("n-v1", 1)).await?;
        arena.succeed(1, Remove("n-v1")).await?;
        // Moves to a day that is long over by then.
        let remove = arena.begin(1, Remove(M)).await?;
        arena.until(remove, moving_to(layout::trash())).await?;
        arena.pass(days(8));
        arena.finish(remove).await?;
        arena.run(2, Prune).await?;
        arena.succeed(3, Restore(M)).await
    })
    .await;
}

#[tokio::test]
async fn the_trash_is_listed_before_the_log_is_read() {
    needed(Rule::TrashThenLog, &[FOLDER, DRIVE], async |arena| {
        arena.succeed(0, Push(M, 0)).await?;
        arena.succeed(0, Push(M, 1)).await?;
        let remove = arena.begin(1, Remove("m-v1@1")).await?;
        arena.until(remove, moving_to(layout::trash())).await?;
        // Somebody else is about to do the same, and is late with it.
        let late = arena.begin(2, Prune).await?;
        arena.until(late, moving_to(layout::trash())).await?;
        arena.finish(remove).await?;
        // The wrong order has read the log by now, the right one has not begun.
        let prune = arena.begin(3, Prune).await?;
        arena.until(prune, |call| call.method == "list" && call.path == layout::trash()).await?;
        arena.succeed(0, Restore("m-v1@1")).await?;
        arena.finish(late).await?;
        arena.pass(days(8));
        arena.finish(prune).await
    })
    .await;
}

#[tokio::test]
async fn nothing_goes_without_an_event_that_names_it() {
    needed(Rule::PositiveEvidence, &[FOLDER, DRIVE], async |arena| {
        arena.succeed(0, Push(M, 0)).await?;
        arena.succeed(0, Push(M, 1)).await?;
        arena.pass(days(8));
        arena.run(1, Prune).await?;
        arena.trash_holds_only_what_was_removed()
    })
    .await;
}

#[tokio::test]
async fn events_of_one_writer_and_moment_are_two_by_their_digest() {
    for wrong in [None, Some(Wrong::NamesWithoutDigest)] {
        let mut arena = Arena::new(Profile::folder(), 4, 1).await.on_wrong(wrong);
        judge("names hold a digest", wrong.is_some(), &mut arena, &async |arena: &mut Arena| {
            // Two processes of one identity, as after a copied state folder, at the same millisecond.
            let one = arena.begin_as(0, Push(M, 0), WriterId(7)).await?;
            let other = arena.begin_as(1, Push("n-v1", 1), WriterId(7)).await?;
            let writing = is("write", &layout::log());
            arena.until(one, &writing).await?;
            arena.until(other, &writing).await?;
            arena.finish(one).await?;
            arena.finish(other).await?;
            arena.succeed(2, Pull(M)).await?;
            arena.succeed(2, Pull("n-v1")).await
        })
        .await;
    }
}
