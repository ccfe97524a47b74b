//! What retries and hedges may cost. Without a bound they turn one slow service into an avalanche:
//! so they are a part of the calls of the last ten seconds, and a few a second that are always free,
//! so that quiet services have them as well.

use std::time::Duration;

use fastrand::Rng;

use super::time::Coarse;
use super::window::Window;

/// A route's budget, as `retries` of the configuration gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Retries in per cent of calls.
    pub percent: u32,
    /// Retries a second that are always allowed.
    pub floor: u32,
}

impl Budget {
    /// Takes one retry out of the budget, if there is one.
    pub(super) fn spend(self, window: &Window, now: Coarse) -> bool {
        // Counted before it is judged: threads that ask at once cannot overdraw together.
        if window.retry(now) <= self.floor {
            return true;
        }
        let sums = window.sums(now);
        if sums.retries * 100 <= sums.calls * u64::from(self.percent) {
            return true;
        }
        window.no_retry(now);
        false
    }
}

/// The pause before retry number `retry` (from 0): none before the first, then anywhere between
/// nothing and `base`·2^(n-1), so that clients that failed together do not return together.
#[must_use]
pub fn backoff(retry: u32, base: Duration, max: Duration, rng: &mut Rng) -> Duration {
    let Some(doublings) = retry.checked_sub(1) else { return Duration::ZERO };
    let longest = base.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(max);
    longest.mul_f64(rng.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_part_of_the_calls_and_a_floor() {
        let window = Window::default();
        let budget = Budget { percent: 20, floor: 3 };
        let now = Coarse(5_000);
        assert_eq!((0..50).filter(|_| budget.spend(&window, now)).count(), 3);
        for _ in 0..100 {
            window.call(now, false);
        }
        assert_eq!((0..50).filter(|_| budget.spend(&window, now)).count(), 17);
        let next = Coarse(6_000);
        assert_eq!((0..50).filter(|_| budget.spend(&window, next)).count(), 3);
        let later = Coarse(30_000);
        assert_eq!((0..50).filter(|_| budget.spend(&window, later)).count(), 3);
    }

    #[test]
    fn nothing_is_allowed_when_nothing_is_budgeted() {
        let window = Window::default();
        window.call(Coarse(1), false);
        assert!(!Budget { percent: 0, floor: 0 }.spend(&window, Coarse(1)));
    }

    #[test]
    fn pauses_have_full_jitter_and_a_ceiling() {
        let mut rng = Rng::with_seed(3);
        let (base, max) = (Duration::from_millis(25), Duration::from_millis(250));
        assert_eq!(backoff(0, base, max, &mut rng), Duration::ZERO);
        for (retry, ceiling) in [(1, 25), (2, 50), (3, 100), (5, 250), (40, 250)] {
            let pauses: Vec<_> = (0..500).map(|_| backoff(retry, base, max, &mut rng)).collect();
            let ceiling = Duration::from_millis(ceiling);
            assert!(pauses.iter().all(|pause| *pause <= ceiling));
            assert!(pauses.iter().any(|pause| *pause > ceiling * 9 / 10));
            assert!(pauses.iter().any(|pause| *pause < ceiling / 10));
        }
    }
}
