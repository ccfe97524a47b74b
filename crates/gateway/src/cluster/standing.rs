//! Whether an endpoint may be called, and for how much of its share: what every choice asks, and so a
//! few relaxed loads and one branch for an endpoint that is well.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::endpoint::Endpoint;
use super::time::Coarse;

/// Whether an endpoint may be called, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Yes.
    Ready,
    /// One call may find out whether it is well again.
    Trial,
    /// Only if nobody is ready: it failed or was silent lately.
    Doubtful,
    /// Only if all are: it is known to be down.
    Down,
    /// No.
    Out,
}

/// What of a service's settings decides about its endpoints' standing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// Milliseconds of silence that count at least; `None` is off.
    pub(super) silence_ms: Option<u64>,
    /// Milliseconds in which newcomers are brought up; 0 is off.
    pub(super) slow_start_ms: u64,
    /// Whether active checks are made, which tell when a suspect is back.
    pub(super) checked: bool,
}

/// [`Rules`] that a reload may change while calls read them.
#[derive(Debug)]
pub(super) struct SharedRules {
    /// [`u64::MAX`] is off.
    silence_ms: AtomicU64,
    slow_start_ms: AtomicU64,
    checked: AtomicBool,
}

impl SharedRules {
    pub(super) fn new(rules: Rules) -> Self {
        let shared = Self {
            silence_ms: AtomicU64::new(u64::MAX),
            slow_start_ms: AtomicU64::new(0),
            checked: AtomicBool::new(false),
        };
        shared.store(rules);
        shared
    }

    pub(super) fn store(&self, rules: Rules) {
        self.silence_ms.store(rules.silence_ms.unwrap_or(u64::MAX), Relaxed);
        self.slow_start_ms.store(rules.slow_start_ms, Relaxed);
        self.checked.store(rules.checked, Relaxed);
    }

    pub(super) fn load(&self) -> Rules {
        let silence_ms = self.silence_ms.load(Relaxed);
        Rules {
            silence_ms: (silence_ms != u64::MAX).then_some(silence_ms),
            slow_start_ms: self.slow_start_ms.load(Relaxed),
            checked: self.checked.load(Relaxed),
        }
    }
}

/// Reasons not to call an endpoint, as bits that are all clear for one that is well.
pub(super) mod flag {
    /// Its source no longer knows it.
    pub(in crate::cluster) const REMOVED: u32 = 1;
    /// A person took it out.
    pub(in crate::cluster) const MAINTENANCE: u32 = 1 << 1;
    /// The registry's checks fail.
    pub(in crate::cluster) const CRITICAL: u32 = 1 << 2;
    /// Our checks fail.
    pub(in crate::cluster) const UNHEALTHY: u32 = 1 << 3;
    /// Our checks succeed: the one bit that is no reason, see [`REASONS`].
    pub(in crate::cluster) const CHECKED: u32 = 1 << 4;
    /// Its calls failed; out until a time, then on trial.
    pub(in crate::cluster) const EJECTED: u32 = 1 << 5;
    /// It owed answers and was silent.
    pub(in crate::cluster) const SUSPECT: u32 = 1 << 6;
    /// All bits that are reasons.
    pub(in crate::cluster) const REASONS: u32 = !CHECKED;
}

/// The least part of its share that a newcomer gets.
const MIN_RAMP: f64 = 0.1;

impl Endpoint {
    /// Whether it may be called at `now`.
    pub(super) fn standing(&self, now: Coarse, rules: Rules) -> Standing {
        let flags = self.flags.load(Relaxed) & flag::REASONS;
        if flags == 0 {
            let silent = self.waiting() > 0 && self.is_silent(now, rules);
            return if silent { Standing::Doubtful } else { Standing::Ready };
        }
        if flags & (flag::REMOVED | flag::MAINTENANCE) != 0 {
            Standing::Out
        } else if flags & (flag::CRITICAL | flag::UNHEALTHY) != 0 {
            Standing::Down
        } else if flags & flag::EJECTED != 0 && !self.may_return(now)
            || flags & flag::SUSPECT != 0 && !self.may_be_tried(now)
        {
            Standing::Doubtful
        } else {
            Standing::Trial
        }
    }

    /// The part of its share that it gets at `now`, from [`MIN_RAMP`] to 1.
    pub(super) fn ramp(&self, now: Coarse, rules: Rules) -> f64 {
        let from = self.slow_from.load(Relaxed);
        if from == 0 || rules.slow_start_ms == 0 {
            return 1.0;
        }
        let age = now.0.saturating_sub(from);
        if age >= rules.slow_start_ms {
            self.slow_from.store(0, Relaxed);
            return 1.0;
        }
        (age as f64 / rules.slow_start_ms as f64).max(MIN_RAMP)
    }

    /// The same in per cent, for people.
    pub(super) fn ramp_percent(&self, now: Coarse, rules: Rules) -> u32 {
        let ramp = self.ramp(now, rules);
        (1..=100).take_while(|&percent| f64::from(percent) <= ramp * 100.0).last().unwrap_or(0)
    }
}
