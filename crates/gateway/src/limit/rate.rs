//! The rule of a rate, pure: GCRA, the generic cell rate algorithm. All that is kept of a key is one
//! time, the *theoretical arrival*: when everything granted so far will have been paid for at the rate.
//! Nothing is granted that would move it further ahead of now than the burst is long.
//!
//! Times are nanoseconds of a monotonic clock, passed in. What must hold: in any span of time no more
//! is granted than the burst and what the rate gives in it; costs are rounded up, so that rounding
//! never gives anything away.

use std::time::Duration;

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// So much in a period, and so much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rate {
    amount: u64,
    period: u64,
    burst: u64,
    /// What one costs, for rates of whole calls.
    interval: u64,
    /// How far ahead of now the theoretical arrival may be.
    window: u64,
}

/// What a rate says to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may go on.
    Granted {
        /// The theoretical arrival from now on.
        next: u64,
        /// How many more would be granted now.
        left: u64,
        /// Until the whole burst is there again.
        full_in: u64,
    },
    /// It may not, nor will any before so many nanoseconds have passed.
    Refused {
        /// Nanoseconds.
        wait: u64,
    },
}

impl Rate {
    /// `amount` in each `period`, `burst` at once; neither is 0.
    pub(crate) fn new(amount: u64, period: Duration, burst: u64) -> Self {
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).max(1);
        let (amount, burst) = (amount.max(1), burst.max(1));
        let mut rate = Self { amount, period, burst, interval: 0, window: 0 };
        rate.interval = rate.cost(1);
        rate.window = rate.cost(burst);
        rate
    }

    /// How long the rate needs for so many.
    pub(crate) fn cost(&self, units: u64) -> u64 {
        let exact = u128::from(units) * u128::from(self.period);
        u64::try_from(exact.div_ceil(u128::from(self.amount))).unwrap_or(u64::MAX)
    }

    /// So much a period.
    pub(crate) const fn amount(&self) -> u64 {
        self.amount
    }

    /// The period in whole seconds, at least one.
    pub(crate) const fn period_seconds(&self) -> u64 {
        self.period.div_ceil(SECOND)
    }

    /// The time that one takes at this rate. Whoever has several asks the shortest first.
    pub(crate) const fn interval(&self) -> u64 {
        self.interval
    }

    /// Whether one more is granted to a key whose theoretical arrival is `arrival`.
    pub(crate) fn one(&self, arrival: u64, now: u64) -> Verdict {
        let next = arrival.max(now).saturating_add(self.interval);
        // So that a burst of n is n intervals, whatever rounding made of each.
        let window = self.interval.saturating_mul(self.burst);
        let ahead = next - now;
        if ahead > window {
            return Verdict::Refused { wait: ahead - window };
        }
        Verdict::Granted { next, left: (window - ahead) / self.interval, full_in: ahead }
    }

    /// Whether a call is let through whose cost will be known later ([`Rate::charged`]): while
    /// anything of the burst is left.
    pub(crate) fn any(&self, arrival: u64, now: u64) -> Verdict {
        let ahead = arrival.saturating_sub(now);
        if ahead >= self.window {
            return Verdict::Refused { wait: (ahead - self.window).saturating_add(1) };
        }
        let left = u128::from(self.window - ahead) * u128::from(self.amount);
        let left = u64::try_from(left / u128::from(self.period)).unwrap_or(u64::MAX);
        Verdict::Granted { next: arrival, left, full_in: ahead }
    }

    /// The theoretical arrival after so many were used, whether they were there or not.
    pub(crate) fn charged(&self, arrival: u64, now: u64, units: u64) -> u64 {
        arrival.max(now).saturating_add(self.cost(units))
    }
}

/// Nanoseconds as whole seconds, rounded up: who waits that long has waited long enough.
pub(crate) const fn seconds(nanos: u64) -> u64 {
    nanos.div_ceil(SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    const MS: u64 = 1_000_000;

    fn granted(rate: Rate, arrival: &mut u64, now: u64) -> bool {
        match rate.one(*arrival, now) {
            Verdict::Granted { next, .. } => {
                *arrival = next;
                true
            }
            Verdict::Refused { .. } => false,
        }
    }

    #[test]
    fn a_burst_is_granted_at_once_and_then_the_rate() {
        let rate = Rate::new(10, Duration::from_secs(1), 3);
        let mut arrival = 0;
        assert_eq!((0..10).filter(|_| granted(rate, &mut arrival, 1)).count(), 3);
        assert_eq!(rate.one(arrival, 1), Verdict::Refused { wait: 100 * MS });
        assert!(!granted(rate, &mut arrival, 100 * MS));
        assert!(granted(rate, &mut arrival, 100 * MS + 1));
        assert!(!granted(rate, &mut arrival, 100 * MS + 1));
        let later = 100 * MS * 1000;
        assert_eq!((0..10).filter(|_| granted(rate, &mut arrival, later)).count(), 3);
    }

    #[test]
    fn what_is_left_is_told() {
        let rate = Rate::new(2, Duration::from_secs(1), 4);
        let told = rate.one(0, 1);
        assert_eq!(told, Verdict::Granted { next: 500 * MS + 1, left: 3, full_in: 500 * MS });
    }

    #[test]
    fn bytes_are_charged_when_they_are_known() {
        let rate = Rate::new(1 << 20, Duration::from_secs(1), 1 << 20);
        assert!(matches!(rate.any(0, 5), Verdict::Granted { left: 1_048_576, .. }));
        let arrival = rate.charged(0, 5, 3 << 20);
        assert_eq!(arrival, 3 * SECOND + 5);
        assert_eq!(rate.any(arrival, 5), Verdict::Refused { wait: 2 * SECOND + 1 });
        let free = 2 * SECOND + 6;
        assert!(matches!(rate.any(arrival, free), Verdict::Granted { left: 0, .. }));
    }

    #[test]
    fn the_largest_numbers_overflow_nowhere() {
        let rate = Rate::new(1, Duration::from_secs(86_400 * 366), u64::MAX);
        assert!(matches!(rate.one(u64::MAX, 1), Verdict::Granted { .. } | Verdict::Refused { .. }));
        assert_eq!(rate.charged(u64::MAX, 1, u64::MAX), u64::MAX);
    }

    proptest! {
        /// Of any calls at any times, those granted in any span never pass burst and rate.
        #[test]
        fn no_span_of_time_has_more_than_burst_and_rate(
            amount in 1_u64..2_000,
            burst in 1_u64..50,
            steps in proptest::collection::vec(0_u64..40_000_000, 1..300),
        ) {
            let rate = Rate::new(amount, Duration::from_secs(1), burst);
            let (mut now, mut arrival, mut times) = (1, 0, Vec::new());
            for step in steps {
                now += step;
                if granted(rate, &mut arrival, now) {
                    times.push(now);
                }
            }
            for (first, from) in times.iter().enumerate() {
                for (last, to) in times.iter().enumerate().skip(first) {
                    let most = burst + (to - from) * amount / SECOND;
                    let count = (last - first + 1) as u64;
                    prop_assert!(count <= most, "{count} of {most} in {}", to - from);
                }
            }
        }

        /// What is refused would have been too much: whoever waits as told is granted.
        #[test]
        fn who_waits_as_told_is_granted(
            amount in 1_u64..5_000, burst in 1_u64..20, ahead in 0_u64..100_000_000_000,
        ) {
            let rate = Rate::new(amount, Duration::from_secs(1), burst);
            let now = 7;
            if let Verdict::Refused { wait } = rate.one(now + ahead, now) {
                let granted = matches!(rate.one(now + ahead, now + wait), Verdict::Granted { .. });
                prop_assert!(granted);
                let early = rate.one(now + ahead, now + wait - 1);
                let refused = matches!(early, Verdict::Refused { .. });
                prop_assert!(refused);
            }
        }
    }
}
