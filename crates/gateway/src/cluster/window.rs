//! Counts over the last ten seconds: a ring of one-second slots, each emptied by whoever first needs
//! it again. A count that comes in that very moment may be lost, which no rule here minds.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::time::Coarse;

/// Length of the window in seconds.
const SECONDS: u64 = 10;
/// One more than the window is long, so that the slot being emptied is never one that counts.
const SLOTS: usize = 11;

/// What happened, by second.
#[derive(Debug, Default)]
pub(super) struct Window {
    slots: [Slot; SLOTS],
}

/// Sums over the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Tries that ended.
    pub(super) calls: u64,
    /// Those that failed.
    pub(super) failures: u64,
    /// Tries that were not the first of their call.
    pub(super) retries: u64,
}

#[derive(Debug, Default)]
struct Slot {
    second: AtomicU64,
    calls: AtomicU32,
    failures: AtomicU32,
    retries: AtomicU32,
}

impl Window {
    pub(super) fn call(&self, now: Coarse, failed: bool) {
        let slot = self.slot(now);
        slot.calls.fetch_add(1, Relaxed);
        if failed {
            slot.failures.fetch_add(1, Relaxed);
        }
    }

    /// Counts a retry. Returns how many there are in this second with it.
    pub(super) fn retry(&self, now: Coarse) -> u32 {
        self.slot(now).retries.fetch_add(1, Relaxed).saturating_add(1)
    }

    /// Takes back a retry that was just counted.
    pub(super) fn no_retry(&self, now: Coarse) {
        let retries = &self.slot(now).retries;
        // Never below zero, even if the slot has been emptied in between.
        let result = retries.fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1));
        debug_assert!(result.is_ok() || retries.load(Relaxed) == 0);
    }

    pub(super) fn sums(&self, now: Coarse) -> Sums {
        let second = second(now);
        let mut sums = Sums::default();
        for slot in &self.slots {
            let age = second.checked_sub(slot.second.load(Relaxed));
            if age.is_some_and(|age| age < SECONDS) {
                sums.calls += u64::from(slot.calls.load(Relaxed));
                sums.failures += u64::from(slot.failures.load(Relaxed));
                sums.retries += u64::from(slot.retries.load(Relaxed));
            }
        }
        sums
    }

    /// Forgets calls and failures, but not the retries, which are still paid for.
    pub(super) fn forget_failures(&self) {
        for slot in &self.slots {
            slot.calls.store(0, Relaxed);
            slot.failures.store(0, Relaxed);
        }
    }

    fn slot(&self, now: Coarse) -> &Slot {
        let second = second(now);
        let index = usize::try_from(second % SLOTS as u64).unwrap_or(0);
        let slot = &self.slots[index];
        let of = slot.second.load(Relaxed);
        if of != second && slot.second.compare_exchange(of, second, Relaxed, Relaxed).is_ok() {
            slot.calls.store(0, Relaxed);
            slot.failures.store(0, Relaxed);
            slot.retries.store(0, Relaxed);
        }
        slot
    }
}

/// From 1, as 0 marks slots that were never used.
fn second(now: Coarse) -> u64 {
    now.0 / 1000 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_ten_seconds() {
        let window = Window::default();
        for second in 0..30 {
            window.call(Coarse(second * 1000), second % 2 == 0);
        }
        let sums = window.sums(Coarse(29_500));
        assert_eq!(sums, Sums { calls: 10, failures: 5, retries: 0 });
        assert_eq!(window.sums(Coarse(60_000)), Sums::default());
    }

    #[test]
    fn retries_are_counted_by_second() {
        let window = Window::default();
        assert_eq!(window.retry(Coarse(500)), 1);
        assert_eq!(window.retry(Coarse(700)), 2);
        window.no_retry(Coarse(700));
        assert_eq!(window.retry(Coarse(1500)), 1);
        assert_eq!(window.sums(Coarse(1500)).retries, 2);
        window.forget_failures();
        assert_eq!(window.sums(Coarse(1500)).retries, 2);
    }
}
