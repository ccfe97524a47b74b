//! Passive health: an endpoint whose calls fail several times in a row is out for a while, longer
//! each time in a row, and comes back on trial, with one call at a time until one succeeds.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::endpoint::Endpoint;
use super::guards::Failure;
use super::standing::flag;
use super::time::{Coarse, millis};
use crate::config::model::Ejection;

/// What a refused connection counts: nobody listens, so the next call will not fare better.
const REFUSED_COUNTS: u32 = 5;
/// Doublings beyond which a time out certainly has reached its maximum.
const MAX_DOUBLINGS: u32 = 20;

/// How an endpoint has been failing.
#[derive(Debug, Default)]
pub(super) struct Failing {
    /// Failures since the last success.
    consecutive: AtomicU32,
    /// Times out in a row.
    times: AtomicU32,
    /// Until when it is or was out.
    until: AtomicU64,
    /// How long the last time out was, in milliseconds.
    length: AtomicU64,
}

impl Endpoint {
    /// Until when it is out; `None` when it is not.
    #[must_use]
    pub fn ejected_until(&self, now: Coarse) -> Option<Coarse> {
        let until = Coarse(self.failing.until.load(Relaxed));
        (self.has(flag::EJECTED) && now < until).then_some(until)
    }

    /// Whether it is out or on trial.
    pub(super) fn is_ejected(&self) -> bool {
        self.has(flag::EJECTED)
    }

    /// Whether an ejected one may be tried: its time is over and nobody else is trying it.
    pub(super) fn may_return(&self, now: Coarse) -> bool {
        now.0 >= self.failing.until.load(Relaxed) && self.waiting() == 0
    }

    /// Learns from a success.
    pub(super) fn succeeded(&self, now: Coarse) {
        if self.failing.consecutive.load(Relaxed) != 0 {
            self.failing.consecutive.store(0, Relaxed);
        }
        // A call from before the ejection says nothing about afterwards.
        if self.is_ejected() && now.0 >= self.failing.until.load(Relaxed) {
            self.reinstate(now);
        }
    }

    /// Lets it take part again, from a small share upwards.
    pub(super) fn reinstate(&self, now: Coarse) {
        self.failing.consecutive.store(0, Relaxed);
        self.slow_from.store(now.0, Relaxed);
        self.forget_peak();
        self.flags.fetch_and(!flag::EJECTED, Relaxed);
    }

    /// Learns from a failure. Says whether it should be out now; the caller asks whether it may.
    pub(super) fn failed(&self, failure: Failure, settings: Ejection, now: Coarse) -> bool {
        let weight = if failure == Failure::Refused { REFUSED_COUNTS } else { 1 };
        let failures = self.failing.consecutive.fetch_add(weight, Relaxed).saturating_add(weight);
        if settings.consecutive == 0 {
            return false;
        }
        let on_trial = self.is_ejected() && now.0 >= self.failing.until.load(Relaxed);
        on_trial || !self.is_ejected() && failures >= settings.consecutive
    }

    /// Takes it out.
    pub(super) fn eject(&self, settings: Ejection, now: Coarse) {
        let until = self.failing.until.load(Relaxed);
        // In a row: it was back for less time than it was out before.
        let in_a_row =
            until > 0 && now.0.saturating_sub(until) <= self.failing.length.load(Relaxed);
        let times = if in_a_row { self.failing.times.load(Relaxed) + 1 } else { 0 };
        let times = times.min(MAX_DOUBLINGS);
        let length = millis(settings.base).saturating_mul(1 << times).min(millis(settings.max));
        self.failing.times.store(times, Relaxed);
        self.failing.length.store(length, Relaxed);
        self.failing.until.store(now.0.saturating_add(length), Relaxed);
        self.flags.fetch_or(flag::EJECTED, Relaxed);
    }
}
