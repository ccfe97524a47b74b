//! What is kept of many keys, in bounded memory: a number of 60 bits for each, shared by all threads.
//!
//! A key, already hashed, has a place in a bucket of seven on each *level*; levels are four times as
//! large as the one before and are added when a key finds no place that is free, until the budget
//! that all tables share is used up. Reading and changing what is there takes no lock: a slot is two
//! atomic words, the key and the number with a count of how often the slot has changed hands.
//! Only a key that is new takes one of sixteen locks, so that it gets one place and not two.
//!
//! A slot is free when its number says no more than none at all would (a rate that is whole again,
//! no call under way). When none is free and there is no more memory, a new key takes the place of
//! the one with the smallest number, which is noted as the *floor* of that key's bucket: nobody who
//! comes new to the bucket begins below it. So a key that comes back finds at least what it had, and
//! what is granted to a key never passes its limit, however many keys there are; keys beyond the
//! budget may be granted less, until the time of the floor has passed.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Slots of a bucket: two lines of memory, with its floor.
const WAYS: usize = 7;
/// Buckets of the lowest level, and locks.
const BASE: usize = 16;
/// Levels: the highest has 262,144 buckets.
const LEVELS: usize = 8;
/// Buckets that are allocated together, so that no call waits for more than 128 KiB to be cleared.
const SEGMENT: usize = 1024;
/// Bits of a slot's word that count how often it has changed hands.
const TURN_BITS: u32 = 4;
const TURN: u64 = (1 << TURN_BITS) - 1;
/// The largest number. One more is that of a slot which is changing hands.
pub(crate) const LARGEST: u64 = MOVING - 1;
const MOVING: u64 = u64::MAX >> TURN_BITS;

/// Slots that all tables together may have.
#[derive(Debug)]
pub(crate) struct Budget {
    slots: AtomicUsize,
    most: AtomicUsize,
    /// Keys that took the place of another that was still in use.
    displaced: AtomicU64,
}

impl Budget {
    /// Room for about so many keys in use.
    pub(crate) fn new(keys: usize) -> Arc<Self> {
        let budget = Self {
            slots: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            displaced: AtomicU64::new(0),
        };
        budget.set_keys(keys);
        Arc::new(budget)
    }

    /// Changes how many keys there is room for. What is there stays.
    pub(crate) fn set_keys(&self, keys: usize) {
        // A level fills unevenly, and the levels below it count too.
        self.most.store(keys.saturating_mul(3), Relaxed);
    }

    /// Takes so many, if there are; `needed` ones in any case.
    fn take(&self, slots: usize, needed: bool) -> bool {
        if self.slots.fetch_add(slots, Relaxed) + slots <= self.most.load(Relaxed) || needed {
            return true;
        }
        self.slots.fetch_sub(slots, Relaxed);
        false
    }

    /// Slots that there are.
    pub(crate) fn slots(&self) -> usize {
        self.slots.load(Relaxed)
    }

    /// Keys that took the place of another.
    pub(crate) fn displaced(&self) -> u64 {
        self.displaced.load(Relaxed)
    }
}

/// The hash of a key. Never 0, which stands for no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hashed(u64);

impl Hashed {
    pub(crate) const fn new(hash: u64) -> Self {
        Self(if hash == 0 { 1 } else { hash })
    }
}

/// Every bucket of the key is in use, by keys that must not be displaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Whose place a new key may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Places {
    /// That of a key whose number is at most the one asked with, or else the smallest.
    Any,
    /// Only that of a key whose number is 0.
    Free,
}

/// Numbers by key.
#[derive(Debug)]
pub(crate) struct Table {
    levels: [OnceLock<Level>; LEVELS],
    height: AtomicUsize,
    /// Each holds the latest time at which a slot of its buckets changed hands.
    stripes: [Mutex<u64>; BASE],
    budget: Arc<Budget>,
}

#[derive(Debug)]
struct Level {
    segments: Box<[OnceLock<Box<[Bucket]>>]>,
    buckets: usize,
}

#[repr(align(128))]
#[derive(Debug, Default)]
struct Bucket {
    slots: [Slot; WAYS],
    /// The largest number of a key that was displaced and whose bucket on its largest level this was.
    floor: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    key: AtomicU64,
    /// The number, above how often the slot has changed hands.
    word: AtomicU64,
}

impl Table {
    /// An empty table, within a budget.
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        Self {
            levels: Default::default(),
            height: AtomicUsize::new(0),
            stripes: Default::default(),
            budget: Arc::clone(budget),
        }
    }

    /// Changes the number of a key, at once or not at all. `change` is given the number and the time
    /// and says what it is to be, `None` to leave it; it may be asked again when another thread was
    /// quicker. Numbers up to `now` are as good as none. The time may be moved on a little, so that
    /// it does not lie before what others did with the key's place.
    pub(crate) fn change<R>(
        &self,
        key: Hashed,
        mut now: u64,
        places: Places,
        mut change: impl FnMut(u64, u64) -> (Option<u64>, R),
    ) -> Result<R, Full> {
        loop {
            let (slot, mut word) = match self.find(key) {
                Some(found) => found,
                None => self.settle(key, &mut now, places)?,
            };
            loop {
                let (next, answer) = change(word >> TURN_BITS, now);
                let Some(next) = next else { return Ok(answer) };
                let next = next.min(LARGEST) << TURN_BITS | word & TURN;
                match slot.word.compare_exchange_weak(word, next, AcqRel, Acquire) {
                    Ok(_) => return Ok(answer),
                    Err(seen) if seen & TURN == word & TURN && !is_moving(seen) => word = seen,
                    // The slot is another key's now.
                    Err(_) => break,
                }
            }
        }
    }

    /// The number with which a key would be asked, without giving it a place.
    pub(crate) fn look(&self, key: Hashed) -> u64 {
        self.find(key).map_or_else(|| self.floor(key, 0), |(_, word)| word >> TURN_BITS)
    }

    /// The number of a key that has a place.
    #[cfg(test)]
    pub(crate) fn get(&self, key: Hashed) -> Option<u64> {
        self.find(key).map(|(_, word)| word >> TURN_BITS)
    }

    /// Where a key has its place. Levels are searched from the largest, where most keys are.
    fn find(&self, key: Hashed) -> Option<(&Slot, u64)> {
        let height = self.height.load(Acquire);
        self.levels[..height].iter().rev().find_map(|level| level.get()?.bucket(key)?.find(key))
    }

    /// Makes room for a key that has no place.
    fn settle(&self, key: Hashed, now: &mut u64, places: Places) -> Result<(&Slot, u64), Full> {
        let stripe = &self.stripes[index(key) % BASE];
        let mut latest = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = self.find(key) {
            return Ok(found);
        }
        // Whoever was displaced as free was so at `latest`: nobody begins before that again.
        *latest = (*latest).max(*now);
        *now = *latest;
        loop {
            if let Some(found) = self.take_free(key, *now) {
                return Ok(found);
            }
            if self.grow() {
                continue;
            }
            if places == Places::Free {
                return Err(Full);
            }
            if let Some(found) = self.displace(key, *now) {
                self.budget.displaced.fetch_add(1, Relaxed);
                return Ok(found);
            }
        }
    }

    /// Takes a slot whose number is at most `spare`, on the largest level that has one.
    fn take_free(&self, key: Hashed, spare: u64) -> Option<(&Slot, u64)> {
        let height = self.height.load(Acquire);
        self.levels[..height].iter().rev().filter_map(OnceLock::get).find_map(|level| {
            level.bucket_or_new(key).slots.iter().find_map(|slot| {
                let word = slot.word.load(Acquire);
                let free = !is_moving(word) && word >> TURN_BITS <= spare;
                free.then(|| slot.hand_over(word, key, self.floor(key, spare)))?
            })
        })
    }

    /// Takes the slot with the smallest number, and notes the number for whoever had it. That key's
    /// buckets are under the same lock, since they share this one.
    fn displace(&self, key: Hashed, spare: u64) -> Option<(&Slot, u64)> {
        let slots = self.buckets(key).flat_map(|bucket| &bucket.slots);
        let words = slots.map(|slot| (slot, slot.word.load(Acquire)));
        let (slot, word) = words
            .filter(|(_, word)| !is_moving(*word))
            .min_by_key(|(_, word)| *word >> TURN_BITS)?;
        let top = self.levels[self.height.load(Acquire).checked_sub(1)?].get()?;
        let before = Hashed(slot.key.load(Acquire));
        top.bucket_or_new(before).floor.fetch_max(word >> TURN_BITS, Relaxed);
        slot.hand_over(word, key, self.floor(key, spare))
    }

    /// The number with which a key begins that has no place.
    fn floor(&self, key: Hashed, spare: u64) -> u64 {
        self.buckets(key).map(|bucket| bucket.floor.load(Relaxed)).fold(spare, u64::max)
    }

    fn buckets(&self, key: Hashed) -> impl Iterator<Item = &Bucket> {
        let height = self.height.load(Acquire);
        self.levels[..height].iter().filter_map(move |level| level.get()?.bucket(key))
    }

    /// Adds a level, if there is one more and the budget has it.
    fn grow(&self) -> bool {
        let height = self.height.load(Acquire);
        if height == LEVELS {
            return false;
        }
        let buckets = BASE << (2 * height);
        // Without the lowest level nobody would have a place at all.
        if !self.budget.take(buckets * WAYS, height == 0) {
            return false;
        }
        let mut is_mine = false;
        self.levels[height].get_or_init(|| {
            is_mine = true;
            Level::new(buckets)
        });
        if is_mine {
            self.height.store(height + 1, Release);
        } else {
            self.budget.slots.fetch_sub(buckets * WAYS, Relaxed);
        }
        true
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let levels = self.levels.iter().filter_map(OnceLock::get);
        let slots: usize = levels.map(|level| level.buckets * WAYS).sum();
        self.budget.slots.fetch_sub(slots, Relaxed);
    }
}

impl Level {
    fn new(buckets: usize) -> Self {
        let segments = (0..buckets.div_ceil(SEGMENT)).map(|_| OnceLock::new()).collect();
        Self { segments, buckets }
    }

    fn bucket(&self, key: Hashed) -> Option<&Bucket> {
        let place = index(key) & (self.buckets - 1);
        Some(&self.segments[place / SEGMENT].get()?[place % SEGMENT])
    }

    fn bucket_or_new(&self, key: Hashed) -> &Bucket {
        let place = index(key) & (self.buckets - 1);
        let segment = self.segments[place / SEGMENT]
            .get_or_init(|| (0..self.buckets.min(SEGMENT)).map(|_| Bucket::default()).collect());
        &segment[place % SEGMENT]
    }
}

impl Bucket {
    fn find(&self, key: Hashed) -> Option<(&Slot, u64)> {
        self.slots.iter().find_map(|slot| {
            // The key again after the word: in between the slot may have changed hands. What
            // changes hands later is noticed when the word is replaced.
            let is_mine = || slot.key.load(Acquire) == key.0;
            let word = is_mine().then(|| slot.word.load(Acquire))?;
            (!is_moving(word) && is_mine()).then_some((slot, word))
        })
    }
}

impl Slot {
    /// Gives a slot whose word is still `word` to a key, with this number.
    fn hand_over(&self, word: u64, key: Hashed, number: u64) -> Option<(&Self, u64)> {
        let turn = (word & TURN).wrapping_add(1) & TURN;
        let moving = MOVING << TURN_BITS | turn;
        self.word.compare_exchange(word, moving, AcqRel, Acquire).ok()?;
        self.key.store(key.0, Release);
        let word = number.min(LARGEST) << TURN_BITS | turn;
        self.word.store(word, Release);
        Some((self, word))
    }
}

const fn is_moving(word: u64) -> bool {
    word >> TURN_BITS == MOVING
}

/// The part of a hash that says where: its low bits, also those of the lower levels and of the lock.
fn index(key: Hashed) -> usize {
    usize::try_from(key.0 & 0xffff_ffff).unwrap_or_default()
}
