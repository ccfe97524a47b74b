//! The driver under simulated crashes, failing commits, commits that fail and are written all the
//! same, late and reordered confirmations. One seed decides everything, and a failure prints the
//! line that replays it.
//!
//! Clients write and read, each one thing after the other; what they were told is compared with what
//! the disk holds in the end. That the comparison finds what it is there for is shown by rules and
//! a journal that are broken on purpose.

mod singly;
mod toy;
mod world;

use std::time::Duration;

use crate::driver::{Settings, Stats};
use crate::event::StreamName;
use crate::sim::Faults;
use toy::{FORGETS, HALVES, SOUND, UNMARKED};

/// Seeds that are tried for each.
const SEEDS: u64 = 1500;

/// The variable that names one seed to try instead.
const SEED: &str = "POSTHOUSE_SEED";

fn settings() -> Settings {
    let stream = StreamName::internal("toy");
    // Small, so that everything happens often.
    Settings {
        queue: 8,
        commands: 4,
        in_flight: 3,
        batch_bytes: 40,
        event_bytes: 100,
        checkpoint_events: 7,
        keep: 2,
        ..Settings::new(stream)
    }
}

fn faults(seed: u64) -> Faults {
    let millis = Duration::from_millis;
    Faults {
        delay: millis(1 + seed % 9),
        fail: if seed.is_multiple_of(3) { 0.0 } else { 0.06 },
        uncertain: if seed.is_multiple_of(2) { 0.0 } else { 0.06 },
        outage: millis(seed % 60),
        unreadable: if seed.is_multiple_of(5) { 0.7 } else { 0.0 },
        lies: false,
    }
}

/// What became of the runs of many seeds: figures about all, or the first failure.
fn run<const FLAW: u8>(lies: bool) -> Result<Stats, String> {
    let named = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seeds = named.map_or(0..SEEDS, |seed| seed..seed + 1);
    let mut total = Stats::default();
    for seed in seeds {
        let outcome = world::run::<FLAW>(seed, Faults { lies, ..faults(seed) });
        let stats = outcome.map_err(|what| {
            format!(
                "seed {seed}: {what}\nreplay: {SEED}={seed} cargo test -p posthouse-journal driver"
            )
        })?;
        total = world::sum(total, stats);
    }
    Ok(total)
}

#[test]
fn whatever_fails_nobody_was_told_anything_that_is_lost() {
    let stats = run::<SOUND>(false).unwrap_or_else(|what| panic!("{what}"));
    // It all really happened.
    for (what, count) in [
        ("events", stats.events),
        ("batches that failed", stats.failed),
        ("states brought back", stats.rebuilt),
        ("refusals in an outage", stats.refused),
        ("checkpoints", stats.checkpoints),
        ("checkpoints that failed", stats.checkpoints_failed),
    ] {
        assert!(count >= SEEDS / 20 || std::env::var(SEED).is_ok(), "only {count} {what}");
    }
}

fn is_found_out<const FLAW: u8>(lies: bool, by: &str) {
    let what = run::<FLAW>(lies).expect_err("it is broken on purpose");
    assert!(what.contains(by), "{what}");
}

#[test]
fn answers_that_come_before_the_disk_has_them_are_found_out() {
    is_found_out::<SOUND>(true, "where the disk has None");
}

#[test]
fn a_read_that_waits_for_too_little_is_found_out() {
    is_found_out::<UNMARKED>(false, "read ");
}

#[test]
fn a_command_that_is_not_kept_is_found_out() {
    is_found_out::<FORGETS>(false, "where the disk has");
}

#[test]
fn a_command_that_is_kept_by_half_is_found_out() {
    is_found_out::<HALVES>(false, "read ");
}
