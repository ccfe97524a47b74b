//! A set of numbers that mostly lie side by side: sequence numbers of messages. It takes memory for
//! each gap, not for each number.

use std::collections::BTreeMap;

/// A set of numbers, as ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    /// Where each range begins, and the number behind its end.
    ranges: BTreeMap<u64, u64>,
    count: u64,
}

impl RangeSet {
    /// How many numbers are in it.
    pub(crate) const fn len(&self) -> u64 {
        self.count
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The lowest.
    pub(crate) fn first(&self) -> Option<u64> {
        self.ranges.first_key_value().map(|(from, _)| *from)
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, end)| number < *end)
    }

    /// The lowest that is not below `from`.
    pub(crate) fn first_from(&self, from: u64) -> Option<u64> {
        if self.contains(from) {
            return Some(from);
        }
        self.ranges.range(from..).next().map(|(from, _)| *from)
    }

    /// Its ranges: the first number and the one behind the last.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.iter().map(|(from, end)| (*from, *end))
    }

    /// Its ranges within `from..end`.
    pub(crate) fn within(&self, from: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
        let before = self.ranges.range(..from).next_back().map(|(from, end)| (*from, *end));
        let rest = self.ranges.range(from..end.max(from)).map(|(from, end)| (*from, *end));
        let cut = move |(a, b): (u64, u64)| (a.max(from), b.min(end));
        before.into_iter().chain(rest).map(cut).filter(|(a, b)| a < b)
    }

    pub(crate) fn insert(&mut self, number: u64) {
        self.insert_range(number, number + 1);
    }

    /// Adds `from..end`.
    pub(crate) fn insert_range(&mut self, from: u64, end: u64) {
        if from >= end {
            return;
        }
        // What mostly happens: it follows the last range.
        if let Some(mut last) = self.ranges.last_entry()
            && *last.get() == from
        {
            *last.get_mut() = end;
            self.count += end - from;
            return;
        }
        let (mut low, mut high) = (from, end);
        if let Some((start, stop)) = self.ranges.range(..=from).next_back()
            && *stop >= from
        {
            (low, high) = (*start, high.max(*stop));
        }
        while let Some((start, stop)) = self.ranges.range(low..=high).next() {
            let (start, stop) = (*start, *stop);
            self.ranges.remove(&start);
            self.count -= stop - start;
            high = high.max(stop);
        }
        self.ranges.insert(low, high);
        self.count += high - low;
    }

    /// Takes a number out; whether it was in it.
    pub(crate) fn remove(&mut self, number: u64) -> bool {
        let was_there = self.contains(number);
        self.remove_range(number, number + 1);
        was_there
    }

    /// Takes `from..end` out.
    pub(crate) fn remove_range(&mut self, from: u64, end: u64) {
        if from >= end {
            return;
        }
        let mut next = self.ranges.range(..=from).next_back();
        if next.is_none_or(|(_, stop)| *stop <= from) {
            next = self.ranges.range(from..end).next();
        }
        while let Some((start, stop)) = next.map(|(start, stop)| (*start, *stop)) {
            if start >= end {
                break;
            }
            self.ranges.remove(&start);
            self.count -= stop - start;
            for (low, high) in [(start, from.min(stop)), (end.max(start), stop)] {
                if low < high {
                    self.ranges.insert(low, high);
                    self.count += high - low;
                }
            }
            next = self.ranges.range(end.min(stop)..end).next();
        }
    }
}

impl FromIterator<(u64, u64)> for RangeSet {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(ranges: I) -> Self {
        let mut set = Self::default();
        for (from, end) in ranges {
            set.insert_range(from, end);
        }
        set
    }
}

/// Numbers as ranges, first and behind the last; in whatever order they come.
pub(crate) fn ranges_of(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut set = RangeSet::default();
    for number in numbers {
        set.insert(number);
    }
    set.ranges().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fastrand::Rng;

    use super::*;

    #[test]
    fn it_is_the_set_that_a_plain_one_would_be() {
        for seed in 0..300 {
            let mut luck = Rng::with_seed(seed);
            let (mut set, mut plain) = (RangeSet::default(), BTreeSet::new());
            for _ in 0..120 {
                let from = luck.u64(..40);
                let end = from + luck.u64(..8);
                if luck.bool() {
                    set.insert_range(from, end);
                    plain.extend(from..end);
                } else {
                    set.remove_range(from, end);
                    plain.retain(|number| !(from..end).contains(number));
                }
                let all: Vec<u64> = set.ranges().flat_map(|(from, end)| from..end).collect();
                assert_eq!(all, plain.iter().copied().collect::<Vec<_>>(), "seed {seed}");
                assert_eq!(set.len(), plain.len() as u64);
                assert_eq!(set.first(), plain.first().copied());
                let at = luck.u64(..50);
                assert_eq!(set.contains(at), plain.contains(&at));
                assert_eq!(set.first_from(at), plain.range(at..).next().copied());
                let to = at + luck.u64(..9);
                let within: Vec<u64> = set.within(at, to).flat_map(|(a, b)| a..b).collect();
                assert_eq!(within, plain.range(at..to).copied().collect::<Vec<_>>());
                // No two ranges touch.
                let ends: Vec<_> = set.ranges().collect();
                assert!(ends.windows(2).all(|pair| pair[0].1 < pair[1].0), "{ends:?}");
            }
        }
    }
}
