//! When a call is made again, and when not.

use std::time::Duration;

use crate::config::Backoff;

/// Whether an answer says that the message itself is wrong, so that it would be so again.
pub(super) const fn is_final(status: u16) -> bool {
    matches!(status, 400 | 413 | 415 | 422)
}

/// How long to wait after the call of that number (from 1): doubled each time up to the most, less up
/// to half of it by `chance` (0 to 1), so that many who failed at once do not come again at once. No
/// sooner than the service says, within the most.
pub(super) fn pause(
    backoff: &Backoff,
    attempt: u32,
    retry_after: Option<Duration>,
    chance: f64,
) -> Duration {
    let doubled = backoff.first.saturating_mul(1 << attempt.saturating_sub(1).min(30));
    let whole = doubled.min(backoff.most);
    let pause = whole.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
    retry_after.map_or(pause, |wanted| pause.max(wanted.min(backoff.most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_most_and_are_scattered() {
        let second = Duration::from_secs(1);
        let backoff = Backoff { first: second, most: second * 60 };
        let at = |attempt, chance| pause(&backoff, attempt, None, chance);
        assert_eq!([1, 2, 3].map(|n| at(n, 1.0)), [1, 2, 4].map(|n| second * n));
        assert_eq!(at(1, 0.0), second / 2);
        assert_eq!([7, 1000, u32::MAX].map(|n| at(n, 1.0)), [second * 60; 3]);
        let told = |seconds| pause(&backoff, 1, Some(second * seconds), 1.0);
        assert_eq!([0, 5, 1000].map(told), [1, 5, 60].map(|n| second * n));
    }

    #[test]
    fn only_what_is_wrong_with_the_message_is_final() {
        assert!([400, 413, 415, 422].into_iter().all(is_final));
        assert!(![404, 408, 409, 429, 500, 503].into_iter().any(is_final));
    }
}
