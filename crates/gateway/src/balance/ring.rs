//! Consistent hashing: a ring of points, each owned by one participant. A key belongs to the first
//! point at or after it. Points depend on their owner's name and weight alone, so that whoever comes
//! or goes moves only the keys that it takes or leaves; hashes are the same in every process and
//! version, so that several gateways agree.

/// Points of a participant of average weight.
const POINTS_EACH: u64 = 128;
/// Most points on a ring; beyond it everyone has fewer, in steps of two.
const MAX_POINTS: u64 = 1 << 18;
/// Points of a participant however light it is.
const MIN_POINTS: u64 = 4;

/// A ring of points.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// Place on the ring (the upper half of a hash) and owner, ascending.
    points: Box<[(u32, u32)]>,
    owners: usize,
}

impl Ring {
    /// A ring of participants with these names and weights; weight 0 owns nothing.
    #[must_use]
    pub fn new<'a>(participants: impl Iterator<Item = (&'a str, u32)> + Clone) -> Self {
        let weights = participants.clone().map(|(_, weight)| u64::from(weight)).filter(|&w| w > 0);
        let count = weights.clone().count() as u64;
        let mean = weights.sum::<u64>().checked_div(count).unwrap_or(1).max(1);
        // Only powers of two scale weights, so that a newcomer seldom changes the others' points.
        let unit = 1_u64 << mean.ilog2();
        let mut each = POINTS_EACH;
        while each > MIN_POINTS && each * count > MAX_POINTS {
            each /= 2;
        }
        let mut points = Vec::new();
        for (owner, (name, weight)) in (0_u32..).zip(participants) {
            if weight == 0 {
                continue;
            }
            let number = (u64::from(weight) * each / unit).clamp(MIN_POINTS, MAX_POINTS);
            let seed = hash(name.as_bytes());
            points.extend((0..number).map(|k| (place(mix(seed.wrapping_add(k))), owner)));
        }
        points.sort_unstable();
        Self {
            points: points.into_boxed_slice(),
            owners: usize::try_from(count).unwrap_or(usize::MAX),
        }
    }

    /// How many own points.
    #[must_use]
    pub fn owners(&self) -> usize {
        self.owners
    }

    /// The owners met from a key onwards, once around; the same owner may come several times.
    pub fn from(&self, key: u64) -> impl Iterator<Item = usize> + '_ {
        let place = place(mix(key));
        let start = self.points.partition_point(|&(point, _)| point < place);
        let (before, after) = self.points.split_at(start);
        after.iter().chain(before).map(|&(_, owner)| owner as usize)
    }
}

/// A hash of bytes that never changes between processes or versions (FNV-1a, then mixed).
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

/// The finaliser of SplitMix64: every input bit reaches every output bit.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn place(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u64 = 20_000;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("10.0.0.{i}:8080")).collect()
    }

    fn owners<'a>(participants: &[(&'a str, u32)]) -> Vec<&'a str> {
        let ring = Ring::new(participants.iter().copied());
        (0..KEYS).map(|key| participants[ring.from(key).next().expect("an owner")].0).collect()
    }

    #[test]
    fn keys_are_spread_by_weight() {
        let names = names(4);
        let weights = [1, 1, 2, 4];
        let participants: Vec<_> = names.iter().map(String::as_str).zip(weights).collect();
        let owners = owners(&participants);
        for (name, weight) in participants {
            let share = owners.iter().filter(|&&owner| owner == name).count() as f64 / KEYS as f64;
            let fair = f64::from(weight) / 8.0;
            assert!((share - fair).abs() < 0.25 * fair, "{name}: {share} of {fair}");
        }
    }

    #[test]
    fn who_leaves_moves_only_its_own_keys() {
        let names = names(10);
        let all: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let (gone, rest) = all.split_first().expect("some");
        for (before, after) in owners(&all).into_iter().zip(owners(rest)) {
            assert!(before == after || before == gone.0, "{before} lost a key to {after}");
        }
    }

    #[test]
    fn who_grows_only_takes() {
        let names = names(5);
        let before: Vec<_> = names.iter().map(|name| (name.as_str(), 10)).collect();
        let mut after = before.clone();
        after[0].1 = 12;
        let mut moved = 0;
        for (old, new) in owners(&before).into_iter().zip(owners(&after)) {
            assert!(old == new || new == after[0].0);
            moved += u64::from(old != new);
        }
        assert!(moved > 0 && moved < KEYS / 10, "{moved}");
    }

    #[test]
    fn hashes_are_fixed_for_ever() {
        assert_eq!(hash(b""), mix(0xcbf2_9ce4_8422_2325));
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn rings_of_many_stay_bounded() {
        let names = names(10_000);
        let ring = Ring::new(names.iter().map(|name| (name.as_str(), 1)));
        assert!(ring.points.len() as u64 <= MAX_POINTS);
        assert!(ring.points.len() >= 10_000);
        assert_eq!(Ring::default().from(3).next(), None);
    }
}
