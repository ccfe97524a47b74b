//! The silence detector. An endpoint that owes answers and has given none for much longer than it
//! usually takes is suspect: a stopped process, a dead machine, a cut cable. Its connections still
//! look fine, so nothing else notices before the time-outs. A suspect gets no new calls; any answer
//! clears it, else one call after each of a growing series of pauses finds out.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::standing::{Rules, flag};
use super::time::Coarse;

/// How many times its typical latency an endpoint may be silent.
const TIMES_TYPICAL: u64 = 10;
/// How many times the configured silence one may be silent whose typical latency is not known.
const TIMES_UNKNOWN: u64 = 10;
/// Pause before the first trial of a suspect; it doubles with each in vain.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The first pause where active checks are made, which are to find out at nobody's cost.
const FIRST_PAUSE_CHECKED: Duration = Duration::from_secs(8);
/// Doublings after which the pause stays: 32 s.
const MAX_DOUBLINGS: u64 = 5;

/// Since when an endpoint is suspected, and how often in vain it was tried.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// When the next call may try it.
    next: AtomicU64,
    /// Trials since it became suspect.
    trials: AtomicU64,
}

impl Endpoint {
    /// Whether it owes answers and has been silent for too long.
    pub(super) fn is_silent(&self, now: Coarse, rules: Rules) -> bool {
        self.silent_from(rules).is_some_and(|from| now > from)
    }

    /// After when it is silent unless it is heard before; `None` if it owes nothing.
    pub(super) fn silent_from(&self, rules: Rules) -> Option<Coarse> {
        let silence = rules.silence_ms?;
        if self.waiting() == 0 {
            return None;
        }
        let last = self.heard.load(Relaxed).max(self.busy.load(Relaxed));
        Some(Coarse(last.saturating_add(patience(silence, self.typical.load(Relaxed)))))
    }

    /// The latency in microseconds beyond which a sample is an outlier: it would have been silence.
    pub(super) fn outlier(&self, typical: u32, rules: Rules) -> u32 {
        rules.silence_ms.map_or(u32::MAX, |silence| {
            u32::try_from(patience(silence, typical).saturating_mul(1000)).unwrap_or(u32::MAX)
        })
    }

    /// Makes it suspect. Says whether it was not yet.
    pub(super) fn suspect(&self, now: Coarse, rules: Rules) -> bool {
        if self.has(flag::SUSPECT) {
            return false;
        }
        let pause = if rules.checked { FIRST_PAUSE_CHECKED } else { FIRST_PAUSE };
        self.suspicion.trials.store(0, Relaxed);
        self.suspicion.next.store(now.plus(pause).0, Relaxed);
        self.flags.fetch_or(flag::SUSPECT, Relaxed) & flag::SUSPECT == 0
    }

    /// Notes that it was heard: whatever it said, it is not silent.
    pub(super) fn heard_at(&self, now: Coarse) {
        self.heard.store(now.0, Relaxed);
        self.clear_suspicion();
    }

    /// Clears it of suspicion.
    pub(super) fn clear_suspicion(&self) {
        if self.has(flag::SUSPECT) {
            self.forget_peak();
            self.flags.fetch_and(!flag::SUSPECT, Relaxed);
        }
    }

    /// Whether a call may try a suspect at `now`.
    pub(super) fn may_be_tried(&self, now: Coarse) -> bool {
        self.waiting() == 0 && now.0 >= self.suspicion.next.load(Relaxed)
    }

    /// Takes the one trial that is due. Says whether this caller got it.
    pub(super) fn claim_trial(&self, now: Coarse) -> bool {
        if !self.has(flag::SUSPECT) {
            return true;
        }
        let next = self.suspicion.next.load(Relaxed);
        if now.0 < next {
            return false;
        }
        let doublings = self.suspicion.trials.load(Relaxed).saturating_add(1).min(MAX_DOUBLINGS);
        let after = now.plus(FIRST_PAUSE * (1 << doublings)).0;
        let claimed = self.suspicion.next.compare_exchange(next, after, Relaxed, Relaxed).is_ok();
        if claimed {
            self.suspicion.trials.store(doublings, Relaxed);
        }
        claimed
    }
}

/// Milliseconds for which an endpoint of this typical latency (microseconds) may be silent.
fn patience(silence: u64, typical: u32) -> u64 {
    if typical == 0 {
        return silence.saturating_mul(TIMES_UNKNOWN);
    }
    silence.max(u64::from(typical) * TIMES_TYPICAL / 1000)
}
