//! The circuit breaker of a service as a whole, by its failure rate: closed, open for a while, then
//! half open, when one call finds out whether it may close.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::time::Coarse;

/// Fewer calls than this in the window say nothing.
pub(super) const MIN_CALLS: u64 = 20;
/// The bit that says that a call is finding out.
const TRYING: u64 = 1;

/// Whether calls are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// All are.
    Closed,
    /// None are until this time.
    Open(Coarse),
    /// One is, or may be, to find out.
    HalfOpen,
}

/// What becomes of a call that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// It passes.
    Free,
    /// It passes, and its outcome decides.
    Trial,
    /// It is refused.
    Shut,
}

/// A breaker in one word: 0 is closed, else the time until which it is open, shifted left by one,
/// with [`TRYING`] in the lowest bit.
#[derive(Debug, Default)]
pub(super) struct Breaker(AtomicU64);

impl Breaker {
    /// Asks for passage.
    pub(super) fn pass(&self, now: Coarse) -> Passage {
        let state = self.0.load(Relaxed);
        if state == 0 {
            return Passage::Free;
        }
        if state & TRYING != 0 || now.0 < state >> 1 {
            return Passage::Shut;
        }
        match self.0.compare_exchange(state, state | TRYING, Relaxed, Relaxed) {
            Ok(_) => Passage::Trial,
            Err(0) => Passage::Free,
            Err(_) => Passage::Shut,
        }
    }

    /// The trial ended without an outcome: the next call is the trial.
    pub(super) fn trial_dropped(&self) {
        let state = self.0.load(Relaxed);
        if state & TRYING != 0 {
            // If this fails the outcome came in just now, and that is as well.
            let undone = self.0.compare_exchange(state, state & !TRYING, Relaxed, Relaxed);
            debug_assert!(undone.is_ok() || undone != Err(state));
        }
    }

    /// A call succeeded. Says whether that closed it.
    pub(super) fn succeeded(&self) -> bool {
        let state = self.0.load(Relaxed);
        state & TRYING != 0 && self.0.compare_exchange(state, 0, Relaxed, Relaxed).is_ok()
    }

    /// A call failed; `too_many` says whether the rate is too high. Says whether that opened it.
    pub(super) fn failed(&self, until: Coarse, too_many: impl FnOnce() -> bool) -> bool {
        let state = self.0.load(Relaxed);
        let open = if state == 0 { too_many() } else { state & TRYING != 0 };
        open && self.0.compare_exchange(state, until.0 << 1, Relaxed, Relaxed).is_ok()
    }

    /// Closes it, whatever it knows.
    pub(super) fn close(&self) {
        self.0.store(0, Relaxed);
    }

    pub(super) fn state(&self, now: Coarse) -> BreakerState {
        match self.0.load(Relaxed) {
            0 => BreakerState::Closed,
            state if state & TRYING == 0 && now.0 < state >> 1 => {
                BreakerState::Open(Coarse(state >> 1))
            }
            _ => BreakerState::HalfOpen,
        }
    }
}
