//! What was signed counts once. What was seen is remembered for as long as it could count again, across
//! reloads, and in bounded room: when there is none left, signed requests are refused rather than one
//! of them forgotten.
//!
//! Only what verified is remembered, so strangers fill nothing; and one key may fill half of it only,
//! so that one consumer does not lock out the others. A restart forgets: what was signed before it is
//! refused after it ([`Seen::since`]).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use posthouse_base::time::Timestamp;

/// How many signatures are remembered at a time, of all keys.
pub(crate) const CAPACITY: usize = 1 << 20;

/// What was seen.
pub(crate) struct Seen {
    capacity: usize,
    began: Timestamp,
    /// How long anything is remembered, in milliseconds; only ever longer.
    window: AtomicU64,
    count: AtomicUsize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    known: HashMap<Mark, (), foldhash::fast::RandomState>,
    /// In the order in which they came.
    order: VecDeque<(Timestamp, Mark, Arc<str>)>,
    by_key: HashMap<Arc<str>, usize, foldhash::fast::RandomState>,
}

/// By which something is recognised: the beginning of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark([u8; 16]);

/// Whether something may count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// It was not seen before.
    Yes,
    /// It was.
    No,
    /// There is no room to remember it in.
    Full,
}

impl Mark {
    /// Of a signature by `key`: its nonce, or else all that it signs. Not of the signature itself: of
    /// some algorithms a second one can be made without the key.
    pub(crate) fn of(key: &str, nonce: Option<&str>, base: &[u8]) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        let (kind, rest) = match nonce {
            Some(nonce) => (b"n", nonce.as_bytes()),
            None => (b"b", base),
        };
        context.update(kind);
        context.update(&u64::try_from(key.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(key.as_bytes());
        context.update(rest);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&context.finish().as_ref()[..16]);
        Self(bytes)
    }
}

impl Seen {
    /// Nothing yet, at the time `now`.
    pub(crate) fn new(capacity: usize, now: Timestamp) -> Self {
        let (window, count) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { capacity, began: now, window, count, held: Mutex::default() }
    }

    /// From when on what was signed may count, for somebody for whom it counts for `window`: not what
    /// may have been seen and is not remembered. From now on things are remembered for so long.
    pub(crate) fn since(&self, window: Duration, now: Timestamp) -> Timestamp {
        let wanted = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let before = self.window.fetch_max(wanted, Ordering::AcqRel);
        // Before the first one nothing was seen at all.
        if before == 0 || wanted <= before {
            return self.began;
        }
        let kept = Timestamp::from_millis(now.as_millis().saturating_sub(before));
        kept.max(self.began)
    }

    /// Whether it was seen, without noting it.
    pub(crate) fn knows(&self, mark: &Mark) -> bool {
        self.held().known.contains_key(mark)
    }

    /// Notes that `mark`, of a signature by `key`, was seen at the time `now`.
    pub(crate) fn note(&self, mark: Mark, key: &Arc<str>, now: Timestamp) -> First {
        let until = now.plus(Duration::from_millis(self.window.load(Ordering::Acquire)));
        let mut held = self.held();
        held.forget(now);
        let first = held.note(mark, key, until, self.capacity);
        self.count.store(held.order.len(), Ordering::Relaxed);
        first
    }

    /// How many are remembered, as of the last one.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn note(&mut self, mark: Mark, key: &Arc<str>, until: Timestamp, capacity: usize) -> First {
        if self.known.contains_key(&mark) {
            return First::No;
        }
        let of_key = self.by_key.get(key).copied().unwrap_or_default();
        if self.order.len() >= capacity || of_key >= capacity.div_ceil(2) {
            return First::Full;
        }
        self.known.insert(mark, ());
        *self.by_key.entry(Arc::clone(key)).or_default() += 1;
        self.order.push_back((until, mark, Arc::clone(key)));
        First::Yes
    }

    /// Forgets what could not count any more. In order of arrival: what stands behind something that
    /// counts longer waits for it.
    fn forget(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(until, ..)| *until < now) {
            let Some((_, mark, key)) = self.order.pop_front() else { return };
            self.known.remove(&mark);
            let left = self.by_key.get_mut(&key).map(|count| {
                *count -= 1;
                *count
            });
            if left == Some(0) {
                self.by_key.remove(&key);
            }
        }
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").field("count", &self.count()).finish_non_exhaustive()
    }
}
