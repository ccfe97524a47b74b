//! Quotas: so many calls a day or a month, counted exactly and kept over restarts.
//!
//! Counts are in memory, in shards under locks of their own that nobody holds for long. Once a second
//! what has changed is handed to the [`QuotaStore`] as totals, so that telling it twice changes
//! nothing; what was granted since is all that a crash can lose. While the store cannot keep anything,
//! counting goes on, and the totals are handed over when it can again.
//!
//! The number of keys is bounded. Those beyond it share one count for each quota, so that they are
//! granted less, never more; counts of periods that are over are dropped.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use posthouse_base::time::Timestamp;

use super::calendar::{Every, Period};

/// Locks, and parts of the counts.
const SHARDS: usize = 64;
/// Under which the keys are counted that found no room of their own.
const OTHERS: &str = "*";

/// How much of a quota a key has used in a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// The quota: the same over restarts and reloads.
    pub limit: Arc<str>,
    /// Whose: `consumer acme`, `address 192.0.2.1`. No secret.
    pub key: Arc<str>,
    /// When.
    pub period: Period,
    /// How much in all so far.
    pub count: u64,
}

/// What was used could not be kept, for this reason; it is handed over again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotKept(pub String);

/// The end of an attempt to keep something.
pub type Keeping<'a> = Pin<Box<dyn Future<Output = Result<(), NotKept>> + Send + 'a>>;

/// Keeps what was used of quotas, so that it survives a restart.
pub trait QuotaStore: Send + Sync + 'static {
    /// What was kept, asked for once, before the first call.
    fn load(&self) -> Vec<Used>;

    /// Keeps these totals, each in place of the one before. Periods that are over at `now` may be
    /// forgotten.
    fn keep(&self, used: Vec<Used>, now: Timestamp) -> Keeping<'_>;
}

/// Keeps nothing: quotas begin anew with each start.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoQuotaStore;

impl QuotaStore for NoQuotaStore {
    fn load(&self) -> Vec<Used> {
        Vec::new()
    }

    fn keep(&self, _: Vec<Used>, _: Timestamp) -> Keeping<'_> {
        Box::pin(async { Ok(()) })
    }
}

/// What a quota says to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may go on; so many more may in this period.
    Granted { left: u64, period: Period },
    /// None may until the period ends.
    Refused { period: Period },
}

/// All counts of all quotas.
pub(crate) struct Counts {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    keys: AtomicUsize,
    most: AtomicUsize,
    swept: Mutex<Option<Period>>,
}

#[derive(Default)]
struct Shard {
    counts: HashMap<u64, Count, foldhash::fast::RandomState>,
    /// The places of those that the store does not know yet.
    changed: Vec<u64>,
}

struct Count {
    limit: Arc<str>,
    key: Arc<str>,
    period: Period,
    used: u64,
    is_listed: bool,
}

impl Counts {
    /// Counts for at most so many keys, with what was kept.
    pub(crate) fn new(most: usize, kept: Vec<Used>, now: Timestamp) -> Self {
        let counts = Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            keys: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
            swept: Mutex::default(),
        };
        for Used { limit, key, period, count } in kept {
            if !period.is_over(now) {
                let place = counts.place(&limit, &key, period);
                let count = Count { limit, key, period, used: count, is_listed: false };
                counts.keys.fetch_add(1, Relaxed);
                counts.shard(place).counts.insert(place, count);
            }
        }
        counts
    }

    /// Changes how many keys there is room for.
    pub(crate) fn set_most(&self, most: usize) {
        self.most.store(most, Relaxed);
    }

    /// Keys that are counted.
    pub(crate) fn keys(&self) -> usize {
        self.keys.load(Relaxed)
    }

    /// Counts one more of `limit` for `key`, unless that would be more than `most` in the period
    /// of `now`.
    pub(crate) fn take(
        &self,
        limit: &Arc<str>,
        key: &str,
        every: Every,
        most: u64,
        now: Timestamp,
    ) -> Verdict {
        let period = every.at(now);
        let mut place = self.place(limit, key, period);
        let mut shard = self.shard(place);
        if !shard.counts.contains_key(&place) {
            let mut key = key;
            if self.keys.load(Relaxed) >= self.most.load(Relaxed) {
                drop(shard);
                key = OTHERS;
                place = self.place(limit, key, period);
                shard = self.shard(place);
            }
            shard.counts.entry(place).or_insert_with(|| {
                self.keys.fetch_add(1, Relaxed);
                Count {
                    limit: Arc::clone(limit),
                    key: key.into(),
                    period,
                    used: 0,
                    is_listed: false,
                }
            });
        }
        let Shard { counts, changed } = &mut *shard;
        let Some(count) = counts.get_mut(&place).filter(|count| count.used < most) else {
            return Verdict::Refused { period };
        };
        count.used += 1;
        if !std::mem::replace(&mut count.is_listed, true) {
            changed.push(place);
        }
        Verdict::Granted { left: most - count.used, period }
    }

    /// How many were counted of `limit` for `key` in the period of `now`; counts nothing.
    pub(crate) fn used(&self, limit: &str, key: &str, period: Period) -> u64 {
        let of = |key: &str| {
            let place = self.place(limit, key, period);
            self.shard(place).counts.get(&place).map(|count| count.used)
        };
        let is_full = || self.keys.load(Relaxed) >= self.most.load(Relaxed);
        of(key).or_else(|| of(OTHERS).filter(|_| is_full())).unwrap_or(0)
    }

    /// Takes back what was just counted, for a call that another limit refuses.
    pub(crate) fn give_back(&self, limit: &str, key: &str, period: Period) {
        for key in [key, OTHERS] {
            let place = self.place(limit, key, period);
            if let Some(count) = self.shard(place).counts.get_mut(&place) {
                count.used = count.used.saturating_sub(1);
                return;
            }
        }
    }

    /// Hands what has changed to the store.
    ///
    /// # Errors
    /// When it could not be kept. It is handed over next time.
    pub(crate) async fn flush(
        &self,
        store: &dyn QuotaStore,
        now: Timestamp,
    ) -> Result<(), NotKept> {
        let (places, used) = self.changed();
        let kept = if used.is_empty() { Ok(()) } else { store.keep(used, now).await };
        if kept.is_err() {
            for place in places {
                let mut shard = self.shard(place);
                let Shard { counts, changed } = &mut *shard;
                if let Some(count) = counts.get_mut(&place)
                    && !std::mem::replace(&mut count.is_listed, true)
                {
                    changed.push(place);
                }
            }
        }
        self.sweep(now);
        kept
    }

    /// What the store does not know yet, and no longer counts as changed.
    fn changed(&self) -> (Vec<u64>, Vec<Used>) {
        let (mut places, mut all) = (Vec::new(), Vec::new());
        for shard in &self.shards {
            let mut shard = lock(shard);
            let Shard { counts, changed } = &mut *shard;
            for place in changed.drain(..) {
                let Some(count) = counts.get_mut(&place) else { continue };
                count.is_listed = false;
                places.push(place);
                all.push(Used {
                    limit: Arc::clone(&count.limit),
                    key: Arc::clone(&count.key),
                    period: count.period,
                    count: count.used,
                });
            }
        }
        (places, all)
    }

    /// Drops what is over, once a day.
    fn sweep(&self, now: Timestamp) {
        let today = Every::Day.at(now);
        if lock(&self.swept).replace(today) == Some(today) {
            return;
        }
        for shard in &self.shards {
            let mut shard = lock(shard);
            let before = shard.counts.len();
            shard.counts.retain(|_, count| !count.period.is_over(now));
            self.keys.fetch_sub(before - shard.counts.len(), Relaxed);
        }
    }

    fn place(&self, limit: &str, key: &str, period: Period) -> u64 {
        self.hasher.hash_one((limit, key, period.code()))
    }

    fn shard(&self, place: u64) -> MutexGuard<'_, Shard> {
        let shards = self.shards.len() as u64;
        lock(&self.shards[usize::try_from(place % shards).unwrap_or_default()])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(1_795_262_400_000);

    /// Keeps what it is told, unless it is out.
    #[derive(Default)]
    struct Kept {
        used: Mutex<HashMap<(String, String, Period), u64>>,
        is_out: Mutex<bool>,
    }

    impl QuotaStore for Kept {
        fn load(&self) -> Vec<Used> {
            let used = lock(&self.used);
            let read = |((limit, key, period), count): (&(String, String, Period), &u64)| Used {
                limit: limit.as_str().into(),
                key: key.as_str().into(),
                period: *period,
                count: *count,
            };
            used.iter().map(read).collect()
        }

        fn keep(&self, used: Vec<Used>, _: Timestamp) -> Keeping<'_> {
            let is_out = *lock(&self.is_out);
            for used in used.into_iter().filter(|_| !is_out) {
                let place = (used.limit.to_string(), used.key.to_string(), used.period);
                lock(&self.used).insert(place, used.count);
            }
            Box::pin(async move { if is_out { Err(NotKept("out".into())) } else { Ok(()) } })
        }
    }

    fn is_granted(counts: &Counts, key: &str, now: Timestamp) -> bool {
        let verdict = counts.take(&"quota".into(), key, Every::Day, 100, now);
        matches!(verdict, Verdict::Granted { .. })
    }

    #[test]
    fn eight_threads_are_granted_the_quota_to_the_last_call() {
        let counts = Counts::new(1000, Vec::new(), NOON);
        let granted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let count = (0..50).filter(|_| is_granted(&counts, "acme", NOON)).count();
                    granted.fetch_add(count, Relaxed);
                });
            }
        });
        assert_eq!(granted.load(Relaxed), 100);
        let tomorrow = NOON.plus(std::time::Duration::from_secs(86_400));
        assert!(is_granted(&counts, "acme", tomorrow));
    }

    #[tokio::test]
    async fn what_was_kept_counts_after_a_restart() {
        let store = Kept::default();
        let counts = Counts::new(1000, store.load(), NOON);
        assert_eq!((0..30).filter(|_| is_granted(&counts, "acme", NOON)).count(), 30);
        counts.flush(&store, NOON).await.expect("kept");
        *lock(&store.is_out) = true;
        assert_eq!((0..30).filter(|_| is_granted(&counts, "acme", NOON)).count(), 30);
        counts.flush(&store, NOON).await.expect_err("the store is out");
        // A crash now loses what was granted since the store was told.
        let after = Counts::new(1000, store.load(), NOON);
        assert_eq!((0..200).filter(|_| is_granted(&after, "acme", NOON)).count(), 70);
        // Without one nothing is lost.
        *lock(&store.is_out) = false;
        counts.flush(&store, NOON).await.expect("kept");
        let after = Counts::new(1000, store.load(), NOON);
        assert_eq!((0..200).filter(|_| is_granted(&after, "acme", NOON)).count(), 40);
        let tomorrow = NOON.plus(std::time::Duration::from_secs(86_400));
        assert_eq!(Counts::new(1000, store.load(), tomorrow).keys(), 0);
    }

    #[tokio::test]
    async fn keys_beyond_the_budget_share_one_count() {
        let counts = Counts::new(10, Vec::new(), NOON);
        let granted = (0..1000).filter(|key| is_granted(&counts, &key.to_string(), NOON)).count();
        assert_eq!(granted, 10 + 100);
        assert_eq!(counts.keys(), 11);
        let used = |key| counts.used("quota", key, Every::Day.at(NOON));
        assert_eq!((used("3"), used("999")), (1, 100));
        counts.give_back("quota", "999", Every::Day.at(NOON));
        assert!(is_granted(&counts, "998", NOON));
        assert!(is_granted(&counts, "3", NOON), "those that were there have their own");
        let tomorrow = NOON.plus(std::time::Duration::from_secs(86_400));
        counts.flush(&NoQuotaStore, tomorrow).await.expect("kept");
        assert_eq!(counts.keys(), 0, "what is over is dropped");
    }
}
