//! A log line a minute: what fails for every call is not told for every call.

use std::sync::atomic::{AtomicU64, Ordering};

use posthouse_base::time::Timestamp;

/// How long nothing more is said, in milliseconds.
const SILENT: u64 = 60_000;

/// Says when it is time to complain again.
#[derive(Debug, Default)]
pub(crate) struct Nag(AtomicU64);

impl Nag {
    /// Whether to complain at `now`; then not again for a minute.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        let next = self.0.load(Ordering::Relaxed);
        let after = now.as_millis().saturating_add(SILENT);
        let order = Ordering::Relaxed;
        now.as_millis() >= next && self.0.compare_exchange(next, after, order, order).is_ok()
    }

    /// It is well again: the next complaint is a new one.
    pub(crate) fn rest(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute() {
        let nag = Nag::default();
        let at = |seconds: u64| Timestamp::from_millis(1_000_000 + seconds * 1000);
        let lines = (0..180).filter(|second| nag.is_due(at(*second))).count();
        assert_eq!(lines, 3);
        nag.rest();
        assert!(nag.is_due(at(180)));
    }
}
