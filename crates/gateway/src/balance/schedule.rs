//! Weights laid out as a cyclic order in which everyone appears by weight and evenly spread. Taking
//! the entries in turn is smooth weighted round robin with one counter as its only state; drawing an
//! entry at random is a weighted sample. Both cost the same for ten as for ten thousand.

/// The longest order, unless there are so many that each could not have [`ENTRIES_EACH`].
const MAX_ENTRIES: usize = 4096;
/// Entries per participant that are granted whatever their number.
const ENTRIES_EACH: usize = 4;
/// The golden ratio's fraction in 64 bits: phases that never pile up, however many there are.
const PHASE_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A cyclic order of indices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    order: Box<[u32]>,
}

impl Schedule {
    /// An order in which index `i` appears in proportion to `weights[i]`; never, if that is 0.
    ///
    /// Exact while the weights' sum over their greatest common divisor fits 4,096 entries (or four
    /// for each index); beyond that rounded, but never to nothing.
    #[must_use]
    pub fn new(weights: &[u32]) -> Self {
        let counts = counts(weights);
        let mut entries: Vec<(u64, u32)> = Vec::with_capacity(counts.iter().sum());
        let mut phase = 0_u64;
        for (index, &count) in (0_u32..).zip(&counts) {
            phase = phase.wrapping_add(PHASE_STEP);
            // Entry k of c stands at (k + phase) / c of the cycle, in 64-bit fixed point.
            let Some(step) = u64::MAX.checked_div(count as u64) else { continue };
            let offset = (phase >> 32).wrapping_mul(step >> 32);
            entries.extend(
                (0..count as u64).map(|k| (k.wrapping_mul(step).saturating_add(offset), index)),
            );
        }
        entries.sort_unstable();
        Self { order: entries.into_iter().map(|(_, index)| index).collect() }
    }

    /// Whether nobody takes part.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The length of the cycle.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whose turn number `turn` is; `None` if nobody takes part.
    #[must_use]
    pub fn turn(&self, turn: usize) -> Option<usize> {
        let place = turn.checked_rem(self.order.len())?;
        self.order.get(place).map(|&index| index as usize)
    }

    /// Someone by weight; `None` if nobody takes part.
    pub fn sample(&self, rng: &mut fastrand::Rng) -> Option<usize> {
        if self.order.is_empty() {
            return None;
        }
        self.order.get(rng.usize(..self.order.len())).map(|&index| index as usize)
    }
}

/// How often each index appears.
fn counts(weights: &[u32]) -> Vec<usize> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let sum: u64 = weights.iter().map(|&weight| u64::from(weight / divisor)).sum();
    let limit = MAX_ENTRIES.max(weights.len().saturating_mul(ENTRIES_EACH)) as u64;
    let scaled = |weight: u32| {
        let weight = u64::from(weight / divisor);
        if sum <= limit || weight == 0 {
            return weight;
        }
        ((weight * limit + sum / 2) / sum).max(1)
    };
    weights.iter().map(|&weight| usize::try_from(scaled(weight)).unwrap_or(usize::MAX)).collect()
}

fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(weights: &[u32], expected: &[usize]) {
        let schedule = Schedule::new(weights);
        let mut seen = vec![0; weights.len()];
        for turn in 0..schedule.len() {
            seen[schedule.turn(turn).expect("someone")] += 1;
        }
        assert_eq!(seen, expected, "{weights:?}");
    }

    #[test]
    fn everyone_appears_by_weight() {
        check(&[], &[]);
        check(&[0, 0], &[0, 0]);
        check(&[1, 1, 1], &[1, 1, 1]);
        check(&[5, 1, 1], &[5, 1, 1]);
        check(&[100, 200, 0, 300], &[1, 2, 0, 3]);
        check(&vec![7; 10_000], &vec![1; 10_000]);
    }

    #[test]
    fn turns_are_spread_evenly() {
        let weights = [5, 3, 1, 1];
        let schedule = Schedule::new(&weights);
        let total: u32 = weights.iter().sum();
        // In every stretch of n turns, everyone has its share of them give or take one and a half.
        for start in 0..schedule.len() {
            let mut seen = [0_u32; 4];
            for length in 1..=schedule.len() {
                seen[schedule.turn(start + length - 1).expect("someone")] += 1;
                for (count, weight) in seen.iter().zip(weights) {
                    let share = length as f64 * f64::from(weight) / f64::from(total);
                    assert!((f64::from(*count) - share).abs() <= 1.5, "{seen:?} of {length}");
                }
            }
        }
    }

    #[test]
    fn huge_weights_are_bounded_and_nobody_is_rounded_away() {
        let weights = [u32::MAX, u32::MAX - 1, 1, 0];
        let schedule = Schedule::new(&weights);
        assert!(schedule.len() <= MAX_ENTRIES + weights.len());
        let seen =
            |who| (0..schedule.len()).filter(|&turn| schedule.turn(turn) == Some(who)).count();
        assert_eq!(seen(2), 1);
        assert_eq!(seen(3), 0);
        assert!(seen(0).abs_diff(seen(1)) <= 1);
    }

    #[test]
    fn samples_follow_the_weights() {
        let schedule = Schedule::new(&[3, 1]);
        let mut rng = fastrand::Rng::with_seed(7);
        let first = (0..10_000).filter(|_| schedule.sample(&mut rng) == Some(0)).count();
        assert!((7_300..7_700).contains(&first), "{first}");
    }
}
