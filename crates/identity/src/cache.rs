//! What was verified, remembered by the whole of what was shown: a table of fixed size whose slots
//! are read without a lock, so that threads that carry calls never wait for each other.
//!
//! What must hold: what is found was put in under exactly these bytes (they are compared whole; the
//! hash only says where to look, and is seeded, so that nobody can choose where things fall); what
//! is out of date is not found; all entries together take no more than the limit.

use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use foldhash::quality::RandomState;
use posthouse_base::time::Timestamp;

/// How many slots an entry may be in.
const WAYS: usize = 4;

/// What one entry is expected to take, in bytes: the table has as many slots.
const USUAL: usize = 2048;

/// What an entry takes beside its bytes and its value.
const OVERHEAD: usize = 128;

/// A bounded memory of values by bytes.
pub(crate) struct Cache<V> {
    slots: Box<[ArcSwapOption<Entry<V>>]>,
    seed: RandomState,
    limit: usize,
    held: AtomicUsize,
    hand: AtomicUsize,
}

struct Entry<V> {
    hash: u64,
    shown: Box<[u8]>,
    until: Timestamp,
    weight: usize,
    value: V,
}

impl<V> fmt::Debug for Cache<V> {
    /// Without what was shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl<V> Cache<V> {
    /// Remembers up to `limit` bytes; with 0 nothing.
    pub(crate) fn new(limit: usize) -> Self {
        let slots = (limit / USUAL).next_power_of_two().clamp(WAYS, 1 << 20);
        Self {
            slots: (0..slots).map(|_| ArcSwapOption::empty()).collect(),
            seed: RandomState::default(),
            limit,
            held: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
        }
    }

    /// What `look` makes of what is remembered of `shown`.
    pub(crate) fn find<R>(
        &self,
        shown: &[u8],
        now: Timestamp,
        look: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        let hash = self.seed.hash_one(shown);
        for slot in self.ways(hash) {
            let held = slot.load();
            if let Some(entry) = &*held
                && entry.hash == hash
                && *entry.shown == *shown
            {
                return (entry.until > now).then(|| look(&entry.value));
            }
        }
        None
    }

    /// Remembers `value`, which takes about `weight` bytes, until `until`.
    pub(crate) fn put(
        &self,
        shown: &[u8],
        value: V,
        weight: usize,
        until: Timestamp,
        now: Timestamp,
    ) {
        let weight = weight + shown.len() + OVERHEAD;
        if weight > self.limit / WAYS || until <= now {
            return;
        }
        let hash = self.seed.hash_one(shown);
        let slot = self.choose(hash, shown, now);
        let entry = Entry { hash, shown: shown.into(), until, weight, value };
        self.held.fetch_add(weight, Ordering::Relaxed);
        self.replace(slot, Some(Arc::new(entry)));
        // Whoever is over the limit makes room, slot after slot, and stops when there is.
        for _ in 0..self.slots.len() {
            if self.bytes() <= self.limit {
                break;
            }
            let hand = self.hand.fetch_add(1, Ordering::Relaxed) % self.slots.len();
            let victim = &self.slots[hand];
            if !std::ptr::eq(victim, slot) {
                self.replace(victim, None);
            }
        }
    }

    /// How many bytes are held.
    pub(crate) fn bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn ways(&self, hash: u64) -> impl Iterator<Item = &ArcSwapOption<Entry<V>>> {
        let mask = self.slots.len() - 1;
        let first = usize::try_from(hash >> 32).unwrap_or(0);
        (0..WAYS).filter_map(move |way| self.slots.get((first + way) & mask))
    }

    fn replace(&self, slot: &ArcSwapOption<Entry<V>>, entry: Option<Arc<Entry<V>>>) {
        if let Some(gone) = slot.swap(entry) {
            self.held.fetch_sub(gone.weight, Ordering::Relaxed);
        }
    }

    /// The slot of the same bytes, or an empty one, or one that is out of date, or any.
    fn choose(&self, hash: u64, shown: &[u8], now: Timestamp) -> &ArcSwapOption<Entry<V>> {
        let mut best = None;
        for slot in self.ways(hash) {
            let rank = match &*slot.load() {
                Some(entry) if entry.hash == hash && *entry.shown == *shown => return slot,
                None => 2,
                Some(entry) if entry.until <= now => 1,
                Some(_) => 0,
            };
            if best.is_none_or(|(held, _)| rank > held) {
                best = Some((rank, slot));
            }
        }
        match best {
            Some((rank, slot)) if rank > 0 => slot,
            _ => self.ways(hash).nth(fastrand::usize(..WAYS)).unwrap_or(&self.slots[0]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn later(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn what_is_out_of_date_is_not_found() {
        let cache = Cache::new(1 << 20);
        cache.put(b"token", 7, 0, later(5), NOW);
        assert_eq!(cache.find(b"token", later(4), |value| *value), Some(7));
        assert_eq!(cache.find(b"token", later(5), |value| *value), None);
        assert_eq!(cache.find(b"toker", NOW, |value| *value), None);
        cache.put(b"over", 8, 0, NOW, NOW);
        assert_eq!(cache.find(b"over", NOW, |value| *value), None);
    }

    #[test]
    fn no_flood_takes_more_than_the_limit() {
        let limit = 64 << 10;
        let cache = Cache::new(limit);
        for n in 0..10_000_u32 {
            let shown = [&n.to_be_bytes()[..], &vec![0; fastrand::usize(..4_000)]].concat();
            cache.put(&shown, n, 100, later(60), NOW);
            assert!(cache.bytes() <= limit);
            // What was put last is there: a flood does not keep anybody out.
            assert_eq!(cache.find(&shown, NOW, |value| *value), Some(n));
        }
        cache.put(&vec![0; limit], 0, 0, later(60), NOW);
        assert_eq!(cache.find(&vec![0; limit], NOW, |value| *value), None);
        assert_eq!(Cache::<u8>::new(0).bytes(), 0);
    }

    #[test]
    fn threads_that_write_and_read_at_once_find_only_what_was_put() {
        let cache = Cache::new(32 << 10);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let cache = &cache;
                scope.spawn(move || {
                    for n in 0..20_000_u64 {
                        let key = ((n * 7 + thread) % 97).to_be_bytes();
                        let found = cache.find(&key, NOW, |value: &[u8; 8]| *value);
                        assert!(found.is_none_or(|found| found == key));
                        cache.put(&key, key, 50, later(60), NOW);
                    }
                });
            }
        });
        assert!(cache.bytes() <= 32 << 10);
        let held: usize =
            cache.slots.iter().filter_map(|slot| Some(slot.load().as_ref()?.weight)).sum();
        assert_eq!(cache.bytes(), held);
    }

    proptest! {
        #[test]
        fn it_finds_the_last_that_was_put_or_nothing(
            puts in proptest::collection::vec((0_u8..20, 0_u32..1000, 0_u64..20), 1..300)
        ) {
            let cache = Cache::new(20 << 10);
            let mut model = HashMap::new();
            for (key, value, until) in puts {
                cache.put(&[key], value, 10, later(until), later(5));
                if until > 5 {
                    model.insert(key, (value, until));
                }
                for (key, (value, until)) in &model {
                    let found = cache.find(&[*key], later(10), |value| *value);
                    prop_assert!(found.is_none() || *until > 10);
                    prop_assert_eq!(found.unwrap_or(*value), *value);
                }
            }
        }
    }
}
