//! Random schedules: what clients do, when they crash, how long they sleep. A seed says it all, and is kept when it
//! found something.
//!
//! `MODELKEEP_PROTOCOL_RUNS` says how many schedules there are for each kind of store, `MODELKEEP_PROTOCOL_SEED` runs
//! one.

use std::fmt::Write as _;

use fastrand::Rng;
use jiff::SignedDuration;
use modelkeep_remote::memory::Profile;

use super::arena::{Arena, Violation};
use super::cast::{Act, CONTENTS, MODELS};

/// Schedules for each kind of store, when nobody says how many.
const RUNS: u64 = 150;
/// Acts in one schedule.
const ACTS: usize = 12;
/// Clients at work at once.
const AT_ONCE: usize = 4;
const MACHINES: usize = 3;

/// Seeds that found something once.
const KEPT_FOLDER: [u64; 0] = [];
const KEPT_DRIVE: [u64; 1] = [121];

#[tokio::test]
async fn on_a_folder_nothing_is_lost_whatever_happens() {
    explore("folder", |_| Profile::folder(), &KEPT_FOLDER).await;
}

#[tokio::test]
async fn on_a_drive_nothing_is_lost_whatever_happens() {
    explore("drive", Profile::drive, &KEPT_DRIVE).await;
}

async fn explore(name: &str, profile: fn(u64) -> Profile, kept: &[u64]) {
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds: Vec<u64> = match number("MODELKEEP_PROTOCOL_SEED") {
        Some(seed) => vec![seed],
        None => kept.iter().copied().chain(0..number("MODELKEEP_PROTOCOL_RUNS").unwrap_or(RUNS)).collect(),
    };
    for seed in seeds {
        if let Err((violation, _)) = schedule(profile(seed), seed, ACTS).await {
            let mut found = (violation, String::new(), ACTS);
            // The shortest schedule of this seed that still shows it.
            for acts in 1..=ACTS {
                if let Err((violation, story)) = schedule(profile(seed), seed, acts).await {
                    found = (violation, story, acts);
                    break;
                }
            }
            let (violation, story, acts) = found;
            panic!("{name}, seed {seed}, {acts} acts: {violation}\n{story}");
        }
    }
}

async fn schedule(profile: Profile, seed: u64, acts: usize) -> Result<(), (Violation, String)> {
    let mut arena = Arena::new(profile, MACHINES, seed).await;
    let ended = play(&mut arena, &mut Rng::with_seed(seed), acts).await;
    ended.map_err(|violation| {
        let mut story = String::new();
        for line in &arena.story {
            let _ = writeln!(story, "  {line}");
        }
        (violation, story)
    })
}

async fn play(arena: &mut Arena, random: &mut Rng, acts: usize) -> Result<(), Violation> {
    for machine in 0..MACHINES {
        if random.u8(..) < 40 {
            let hours = *random.choice(&[-30, -2, 3, 24 * 40, -24 * 40]).unwrap_or(&0);
            arena.set_off(machine, SignedDuration::from_hours(hours));
        }
    }
    let mut left = acts;
    let mut again = None;
    let mut at = None;
    loop {
        let at_work = arena.at_work();
        if at_work.is_empty() && left == 0 {
            return arena.end().await;
        }
        if left > 0 && (at_work.is_empty() || at_work.len() < AT_ONCE && random.u8(..) < 12) {
            left -= 1;
            let (machine, act) = again.take().unwrap_or_else(|| (random.usize(..MACHINES), act(random)));
            // One machine does not push one directory twice at once: the second would wait for the first.
            if matches!(act, Act::Push(..)) && at_work.iter().any(|other| arena.of(*other) == Some((machine, act))) {
                continue;
            }
            at = Some(arena.begin(machine, act).await?);
            continue;
        }
        // Mostly the same client goes on, so that some of them get somewhere.
        let next = at.filter(|at| at_work.contains(at) && random.u8(..) < 200);
        let client = next.or_else(|| random.choice(&at_work).copied()).unwrap_or_default();
        at = Some(client);
        match random.u16(..2000) {
            0..12 => {
                // Half of those that die are run again.
                again = arena.of(client).filter(|_| random.bool());
                arena.crash(client, random.bool()).await?;
            }
            12..40 => arena.pass(SignedDuration::from_mins(random.i64(1..20))),
            40..52 => arena.pass(SignedDuration::from_hours(random.i64(2..30))),
            52..62 => arena.pass(SignedDuration::from_hours(24 * 8)),
            _ => drop(arena.step(client).await?),
        }
    }
}

fn act(random: &mut Rng) -> Act {
    let model = MODELS[random.usize(..MODELS.len())];
    let first = if model == MODELS[0] { "m-v1@1" } else { "n-v1@1" };
    match random.u8(..100) {
        0..40 => Act::Push(model, random.usize(..CONTENTS.len())),
        40..54 => Act::Pull(if random.bool() { model } else { first }),
        54..60 => Act::Deploy(if random.bool() { model } else { first }),
        60..62 => Act::Rollback,
        62..70 => Act::Remove(if random.bool() { model } else { first }),
        70..78 => Act::Restore(model),
        78..86 => Act::Prune,
        86..92 => Act::PruneTo1,
        _ => Act::Repair,
    }
}
