//! Tables under many keys and many threads.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;

use super::rate::{Rate, Verdict};
use super::table::{Budget, Full, Hashed, Places, Table};

/// Asks for one at a rate.
fn ask(table: &Table, rate: Rate, key: u64, now: u64) -> bool {
    let change = |arrival, now| match rate.one(arrival, now) {
        Verdict::Granted { next, .. } => (Some(next), true),
        Verdict::Refused { .. } => (None, false),
    };
    table.change(Hashed::new(key), now, Places::Any, change).expect("rates always find a place")
}

#[test]
fn a_key_keeps_its_number() {
    let table = Table::new(&Budget::new(1000));
    let add = |number, _| (Some(number + 1), number);
    let key = Hashed::new(7);
    assert_eq!(table.change(key, 0, Places::Free, add), Ok(0));
    assert_eq!(table.change(key, 0, Places::Free, add), Ok(1));
    assert_eq!(table.get(key), Some(2));
    assert_eq!(table.get(Hashed::new(8)), None);
}

#[test]
fn keys_that_are_as_good_as_new_make_room_first() {
    let budget = Budget::new(100);
    let table = Table::new(&budget);
    let rate = Rate::new(1, Duration::from_secs(1), 1);
    let mut rng = Rng::with_seed(1);
    let busy: Vec<u64> = (0..8).map(|_| rng.u64(..)).collect();
    let mut now = 1;
    for _ in 0..200 {
        // Ten times the table's slots pass by, each whole again before the next comes.
        for _ in 0..8 {
            ask(&table, rate, rng.u64(..), now);
        }
        now += 999_999_999;
        for key in &busy {
            ask(&table, rate, *key, now);
        }
        for key in &busy {
            assert!(!ask(&table, rate, *key, now), "what it took is not forgotten");
        }
        now += 1;
    }
    assert_eq!(budget.displaced(), 0);
}

#[test]
fn memory_is_bounded_however_many_keys_there_are() {
    let budget = Budget::new(1 << 14);
    let table = Table::new(&budget);
    let rate = Rate::new(1, Duration::from_secs(60), 5);
    let mut rng = Rng::with_seed(2);
    for _ in 0..200_000 {
        ask(&table, rate, rng.u64(..), 1);
    }
    assert!(budget.slots() <= 3 << 14, "{}", budget.slots());
    assert!(budget.displaced() > 150_000);
    drop(table);
    assert_eq!(budget.slots(), 0);
}

#[test]
fn as_many_keys_as_were_asked_for_have_a_place_of_their_own() {
    let budget = Budget::new(100_000);
    let table = Table::new(&budget);
    let rate = Rate::new(1, Duration::from_secs(60), 1);
    let keys: Vec<u64> = std::iter::repeat_with({
        let mut rng = Rng::with_seed(3);
        move || rng.u64(..)
    })
    .take(100_000)
    .collect();
    let granted = keys.iter().filter(|key| ask(&table, rate, **key, 1)).count();
    assert!(granted >= 99_000, "{granted}");
    let again = keys.iter().filter(|key| ask(&table, rate, **key, 1)).count();
    assert_eq!(again, 0, "nobody is forgotten");
}

/// However many keys push each other out, no key is granted more than its own limit.
#[test]
fn nobody_gains_by_being_pushed_out() {
    let table = Table::new(&Budget::new(50));
    let rate = Rate::new(10, Duration::from_secs(1), 4);
    let mut rng = Rng::with_seed(4);
    let mut granted: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut now = 1;
    for _ in 0..200_000 {
        now += rng.u64(0..300_000);
        let key = 1 + rng.u64(0..2_000);
        if ask(&table, rate, key.wrapping_mul(0x9e37_79b9_7f4a_7c15), now) {
            granted.entry(key).or_default().push(now);
        }
    }
    for times in granted.values() {
        for (first, from) in times.iter().enumerate() {
            for (last, to) in times.iter().enumerate().skip(first) {
                assert!(((last - first) as u64) < 4 + (to - from) / 100_000_000);
            }
        }
    }
}

#[test]
fn what_is_under_way_is_never_pushed_out() {
    let add = |number, _| (Some(number + 1), ());
    let table = Table::new(&Budget::new(0));
    let mut rng = Rng::with_seed(5);
    let placed: Vec<_> = (0..2_000)
        .map(|_| Hashed::new(rng.u64(..)))
        .filter(|key| table.change(*key, 0, Places::Free, add).is_ok())
        .collect();
    assert_eq!(placed.len(), 112, "the smallest table is full");
    assert_eq!(table.change(Hashed::new(1), 0, Places::Free, add), Err(Full));
    assert!(placed.iter().all(|key| table.get(*key) == Some(1)));
}

/// Eight threads, one clock: what they are granted together is the rate within 1 %, never above
/// burst and rate, whether they ask for one key or for many that push each other out.
#[test]
fn eight_threads_are_granted_the_rate_and_never_more() {
    for (keys, budget) in [(1_u64, 1000), (64, 1000), (512, 20)] {
        let table = Table::new(&Budget::new(budget));
        let rate = Rate::new(1000, Duration::from_secs(1), 20);
        let clock = AtomicU64::new(1);
        let granted: Vec<AtomicU64> = (0..keys).map(|_| AtomicU64::new(0)).collect();
        let end = 1 + 2_000_000_000;
        // Each key is asked for about four times as often as it is granted.
        let step = 250_000 / keys;
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (table, clock, granted) = (&table, &clock, &granted);
                scope.spawn(move || {
                    let mut rng = Rng::with_seed(thread);
                    loop {
                        let now = clock.fetch_add(step, Ordering::Relaxed);
                        if now > end {
                            return;
                        }
                        let key = rng.u64(0..keys);
                        if ask(table, rate, (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15), now) {
                            let place = usize::try_from(key).unwrap();
                            granted[place].fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        // The clock passes the end by as much as eight threads are ahead of each other.
        let passed = clock.load(Ordering::Relaxed) - 1;
        let most = 20 + passed / 1_000_000;
        let sums: Vec<u64> = granted.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        assert!(sums.iter().all(|sum| *sum <= most), "{most}: {sums:?}");
        if budget == 1000 {
            assert!(sums.iter().all(|sum| sum * 100 >= most * 98), "{most}: {sums:?}");
            let total: u64 = sums.iter().sum();
            assert!(total * 100 >= keys * most * 99, "{total}");
        }
    }
}

/// Threads that count up and down leave nothing behind, and never pass the limit together.
#[test]
fn eight_threads_never_hold_more_than_the_limit() {
    let table = Arc::new(Table::new(&Budget::new(30)));
    let most = AtomicU64::new(0);
    let held: Vec<AtomicU64> = (0..40).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (table, held, most) = (&table, &held, &most);
            scope.spawn(move || {
                let mut rng = Rng::with_seed(100 + thread);
                for _ in 0..20_000 {
                    let place = rng.usize(0..40);
                    let key = Hashed::new((place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                    let enter = |count, _| match count {
                        0..3 => (Some(count + 1), true),
                        _ => (None, false),
                    };
                    if table.change(key, 0, Places::Free, enter) == Ok(true) {
                        let now = held[place].fetch_add(1, Ordering::AcqRel) + 1;
                        most.fetch_max(now, Ordering::Relaxed);
                        held[place].fetch_sub(1, Ordering::AcqRel);
                        let leave = |count: u64, _| (count.checked_sub(1), ());
                        table.change(key, 0, Places::Free, leave).expect("it has its place");
                    }
                }
            });
        }
    });
    assert!((1..=3).contains(&most.load(Ordering::Relaxed)));
    for place in 0..40_u64 {
        let key = Hashed::new((place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        assert_eq!(table.get(key).unwrap_or_default(), 0);
    }
}
