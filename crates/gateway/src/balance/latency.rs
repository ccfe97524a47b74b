//! Recent latency as one number, in two tempers. [`Peak`] jumps up with every bad sample and comes
//! down slowly: what a balancer should fear. [`typical`] follows slowly both ways and hardly believes
//! outliers: what is normal, and so what would be silence.

/// Time in which a peak fades to a third, in milliseconds.
const FADE_MS: u32 = 2_000;

/// Peak-sensitive moving average of latencies, with the time of its last change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// Microseconds; 0 when nothing is known.
    pub micros: u32,
    /// When, in milliseconds of a clock that may wrap.
    pub at_ms: u32,
}

impl Peak {
    /// After a sample.
    #[must_use]
    pub fn observe(self, micros: u32, now_ms: u32) -> Self {
        let micros = micros.max(1);
        if self.micros == 0 || micros >= self.micros {
            return Self { micros, at_ms: now_ms };
        }
        let age = now_ms.wrapping_sub(self.at_ms);
        if age == 0 {
            return self;
        }
        // 1 - exp(-age/FADE) to within what balancing can notice, without floating point.
        let (age, fade) = (u64::from(age), u64::from(FADE_MS));
        // Rounded up, else it would stop short.
        let fall = (u64::from(self.micros - micros) * age).div_ceil(age + fade);
        let micros = self.micros - u32::try_from(fall).unwrap_or(u32::MAX).min(self.micros);
        Self { micros: micros.max(1), at_ms: now_ms }
    }

    /// What it is worth now: without samples it is slowly forgotten.
    #[must_use]
    pub fn now(self, now_ms: u32) -> u32 {
        let age = u64::from(now_ms.wrapping_sub(self.at_ms));
        let fade = u64::from(FADE_MS);
        u32::try_from(u64::from(self.micros) * fade / (fade + age)).unwrap_or(u32::MAX)
    }

    /// Both numbers as one, for an atomic.
    #[must_use]
    pub fn pack(self) -> u64 {
        u64::from(self.micros) << 32 | u64::from(self.at_ms)
    }

    /// The inverse of [`Peak::pack`].
    #[must_use]
    pub fn unpack(bits: u64) -> Self {
        Self { micros: (bits >> 32) as u32, at_ms: (bits & 0xffff_ffff) as u32 }
    }
}

/// The typical latency in microseconds after a sample; 0 stands for unknown. A sample beyond
/// `outlier` counts an eighth of an ordinary one.
#[must_use]
pub fn typical(before: u32, micros: u32, outlier: u32) -> u32 {
    let micros = micros.max(1);
    if before == 0 {
        return micros;
    }
    let share = if micros > outlier { 64 } else { 8 };
    if micros > before {
        before + (micros - before).div_ceil(share)
    } else {
        before - (before - micros) / share
    }
    .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_shows_at_once_and_fades() {
        let calm = Peak::default().observe(1_000, 0);
        let peak = calm.observe(50_000, 1);
        assert_eq!(peak.micros, 50_000);
        let mut later = peak;
        for ms in 2..20_000 {
            later = later.observe(1_000, ms);
        }
        assert!(later.micros < 5_000, "{later:?}");
        assert!(peak.now(2_001) < 26_000);
        assert_eq!(Peak::unpack(peak.pack()), peak);
    }

    #[test]
    fn the_typical_latency_hardly_believes_outliers() {
        let mut value = 0;
        for _ in 0..50 {
            value = typical(value, 2_000, 300_000);
        }
        assert_eq!(value, 2_000);
        let shaken = typical(value, 4_000_000, 300_000);
        assert!(shaken < 70_000, "{shaken}");
        let mut value = shaken;
        for _ in 0..50 {
            value = typical(value, 2_000, 300_000);
        }
        assert!(value < 2_200, "{value}");
    }
}
