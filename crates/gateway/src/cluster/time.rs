//! Time as the rules of this part see it: coarse, monotonic, passed in.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds of a monotonic clock. Real ones are never 0, which stands for "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Coarse(pub u64);

impl Coarse {
    /// The time of an instant that was taken for other purposes as well.
    #[must_use]
    pub fn of(instant: Instant) -> Self {
        Self(millis(instant.saturating_duration_since(*EPOCH)).saturating_add(1))
    }

    /// The clock's time. For the edges.
    #[must_use]
    pub fn now() -> Self {
        // The epoch first: it must not be later than the instant.
        let epoch = *EPOCH;
        Self(millis(epoch.elapsed()).saturating_add(1))
    }

    /// This time moved on by `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The lower half, for spans that are known to be short.
    pub(super) const fn wrapping(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }
}

/// Whole milliseconds of a duration, saturating.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whole microseconds of a duration, saturating.
pub(super) fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
