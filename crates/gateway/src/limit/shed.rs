//! Shedding: when a service is asked for more than it can do, some calls are refused at once, the
//! less important ones first, instead of all of them becoming slow.
//!
//! The measure is the service's own: how long it takes to begin an answer, against how long it takes
//! when nobody waits. Ten times a second the number of calls that may wait for it is corrected: down
//! in proportion as answers take longer than a few times the usual, up a little while they do not.
//! Of that number, calls of low priority may use six tenths, normal ones eight, high ones all.
//!
//! The rule ([`Gradient`]) is pure: times are passed in.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, TryLockError};

pub use crate::config::raw::Priority;

/// Length of a measurement in nanoseconds.
const WINDOW: u64 = 100_000_000;
/// A measurement of fewer answers is made longer.
const ANSWERS: u64 = 10;
/// By how much what is usual rises in a measurement that is above it and is not an overload, so that
/// a service that has become slower for good is not taken for overloaded.
const DRIFT: f64 = 1.005;

/// What is configured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How many times as long as usual an answer may take.
    pub tolerance: f64,
    /// Calls that may always wait.
    pub least: u32,
    /// Calls that may ever wait.
    pub most: u32,
}

/// The rule: how many calls may wait, corrected by each measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gradient {
    limit: f64,
    /// How long an answer takes when nobody waits, in nanoseconds; 0 while unknown.
    usual: f64,
}

/// What was seen of a service for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measurement {
    /// The mean time to an answer, in nanoseconds.
    pub(crate) mean: f64,
    /// The most calls that waited at once.
    pub(crate) peak: u32,
}

impl Gradient {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { limit: f64::from(settings.most), usual: 0.0 }
    }

    /// Corrects by what was seen. Returns how many calls may wait from now on.
    pub(crate) fn correct(&mut self, settings: &Settings, seen: Measurement) -> u32 {
        let (least, most) = (f64::from(settings.least), f64::from(settings.most));
        let is_new = self.usual <= 0.0;
        if is_new || seen.mean < self.usual {
            self.usual = seen.mean;
        }
        let gradient = (self.usual * settings.tolerance / seen.mean.max(1.0)).clamp(0.5, 1.0);
        if gradient < 1.0 {
            if self.limit <= least {
                // So few cannot be in each other's way: it is the service that has become slower.
                self.usual *= DRIFT;
            }
            let used = self.limit.min(f64::from(seen.peak));
            self.limit = (used * gradient + used.sqrt()).min(self.limit);
        } else {
            if f64::from(seen.peak) * 2.0 > self.limit {
                self.limit += self.limit.sqrt();
            } else {
                self.usual = seen.mean.min(self.usual * DRIFT);
            }
        }
        self.limit = self.limit.clamp(least, most.max(least));
        // Between `least` and `most`, which are such numbers.
        #[expect(clippy::cast_possible_truncation, reason = "within the bounds of the settings")]
        let limit = self.limit as u32;
        limit
    }
}

/// How many of `limit` waiting calls those of a priority may be the last of.
pub(crate) const fn share(limit: u32, priority: Priority) -> u32 {
    let tenths = match priority {
        Priority::Low => 6,
        Priority::Normal => 8,
        Priority::High => 10,
    };
    let share = limit / 10 * tenths + limit % 10 * tenths / 10;
    if share == 0 { 1 } else { share }
}

/// A service's calls that wait for an answer, and how many may.
#[derive(Debug)]
pub(crate) struct Shedder {
    waiting: AtomicU32,
    limit: AtomicU32,
    sum: AtomicU64,
    answers: AtomicU64,
    peak: AtomicU32,
    /// When the measurement ends.
    until: AtomicU64,
    rule: Mutex<(Gradient, Settings)>,
}

/// A call that waits for its answer.
#[derive(Debug)]
pub(crate) struct Waiting {
    shedder: Arc<Shedder>,
    since: u64,
}

impl Shedder {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            waiting: AtomicU32::new(0),
            limit: AtomicU32::new(settings.most),
            sum: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            peak: AtomicU32::new(0),
            until: AtomicU64::new(0),
            rule: Mutex::new((Gradient::new(&settings), settings)),
        }
    }

    /// Puts other settings in force; what was learnt stays.
    pub(crate) fn set(&self, settings: Settings) {
        if let Ok(mut rule) = self.rule.lock()
            && rule.1 != settings
        {
            rule.1 = settings;
            let limit = self.limit.load(Relaxed).clamp(settings.least, settings.most);
            self.limit.store(limit, Relaxed);
        }
    }

    /// Calls that may wait now.
    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// Lets a call wait, unless too many do.
    pub(crate) fn admit(self: &Arc<Self>, priority: Priority, now: u64) -> Option<Waiting> {
        // Counted before it is judged: threads that ask at once cannot exceed the limit together.
        let before = self.waiting.fetch_add(1, Relaxed);
        if before >= share(self.limit.load(Relaxed), priority) {
            self.waiting.fetch_sub(1, Relaxed);
            return None;
        }
        if before >= self.peak.load(Relaxed) {
            self.peak.fetch_max(before + 1, Relaxed);
        }
        Some(Waiting { shedder: Arc::clone(self), since: now })
    }

    fn learn(&self, took: u64, now: u64) {
        self.sum.fetch_add(took, Relaxed);
        let answers = self.answers.fetch_add(1, Relaxed) + 1;
        let until = self.until.load(Relaxed);
        if now < until || answers < ANSWERS {
            return;
        }
        // One thread corrects; the others go on.
        let mut rule = match self.rule.try_lock() {
            Ok(rule) => rule,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if self.until.load(Relaxed) != until {
            return;
        }
        self.until.store(now.saturating_add(WINDOW), Relaxed);
        let (sum, answers) = (self.sum.swap(0, Relaxed), self.answers.swap(0, Relaxed));
        let peak = self.peak.swap(self.waiting.load(Relaxed), Relaxed);
        if until == 0 || answers == 0 {
            return;
        }
        // Means need no more than the 52 bits that such a number has.
        let mean = sum as f64 / answers as f64;
        let (gradient, settings) = &mut *rule;
        self.limit.store(gradient.correct(settings, Measurement { mean, peak }), Relaxed);
    }
}

impl Waiting {
    /// The answer has begun.
    pub(crate) fn answered(self, now: u64) {
        self.shedder.learn(now.saturating_sub(self.since), now);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shedder.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::{BinaryHeap, HashMap, VecDeque};
    use std::time::Duration;

    use fastrand::Rng;

    use super::*;

    const SETTINGS: Settings = Settings { tolerance: 2.0, least: 16, most: 8192 };
    const MS: u64 = 1_000_000;
    const SECOND: u64 = 1000 * MS;

    /// What became of the calls of one priority.
    #[derive(Clone, Copy, Debug, Default)]
    struct Tally {
        asked: u64,
        granted: u64,
        /// Sum and maximum of the times to an answer.
        took: u64,
        longest: u64,
    }

    /// A service of ten workers that need about 20 ms for an answer, 500 a second in all, asked
    /// `per_second` times in random moments from second `from` to second `to`.
    fn simulate(seed: u64, load: impl Fn(u64) -> f64, seconds: u64, counted: u64) -> [Tally; 3] {
        let shedder = Arc::new(Shedder::new(SETTINGS));
        let mut rng = Rng::with_seed(seed);
        let mut queue: VecDeque<(Waiting, usize, u64)> = VecDeque::new();
        let mut busy: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
        let mut under_way = HashMap::new();
        let mut tallies = [Tally::default(); 3];
        let (mut now, mut number) = (1_u64, 0);
        while now < seconds * SECOND {
            let gap = -(1.0 - rng.f64()).ln() / load(now / SECOND);
            now += u64::try_from(Duration::from_secs_f64(gap).as_nanos()).unwrap() + 1;
            while let Some(Reverse((end, call))) = busy.peek().copied()
                && end <= now
            {
                busy.pop();
                let (waiting, place, since): (Waiting, usize, u64) =
                    under_way.remove(&call).expect("it is under way");
                waiting.answered(end);
                if since >= counted * SECOND {
                    tallies[place].took += end - since;
                    tallies[place].longest = tallies[place].longest.max(end - since);
                }
                start(&mut queue, &mut busy, &mut under_way, &mut number, end, &mut rng);
            }
            let place = [0, 1, 1, 1, 1, 1, 1, 2, 2, 2][rng.usize(0..10)];
            let priority = [Priority::High, Priority::Normal, Priority::Low][place];
            let is_counted = now >= counted * SECOND;
            tallies[place].asked += u64::from(is_counted);
            if let Some(waiting) = shedder.admit(priority, now) {
                tallies[place].granted += u64::from(is_counted);
                queue.push_back((waiting, place, now));
                start(&mut queue, &mut busy, &mut under_way, &mut number, now, &mut rng);
            }
        }
        tallies
    }

    fn start(
        queue: &mut VecDeque<(Waiting, usize, u64)>,
        busy: &mut BinaryHeap<Reverse<(u64, u64)>>,
        under_way: &mut HashMap<u64, (Waiting, usize, u64)>,
        number: &mut u64,
        now: u64,
        rng: &mut Rng,
    ) {
        while busy.len() < 10
            && let Some(call) = queue.pop_front()
        {
            *number += 1;
            busy.push(Reverse((now + rng.u64(15 * MS..25 * MS), *number)));
            under_way.insert(*number, call);
        }
    }

    #[test]
    fn under_three_times_the_load_important_calls_get_through_and_quickly() {
        for seed in 0..10 {
            // Five easy seconds, then three times what it can do.
            let load = |second| if second < 5 { 200.0 } else { 1500.0 };
            let [high, normal, low] = simulate(seed, load, 35, 10);
            let part = |tally: Tally| tally.granted as f64 / tally.asked as f64;
            assert!(part(high) > 0.99, "seed {seed}: {high:?}");
            assert!(part(low) < 0.1, "seed {seed}: {low:?}");
            let granted = high.granted + normal.granted + low.granted;
            assert!(
                granted > 25 * 500 * 9 / 10,
                "seed {seed}: the service is kept busy: {granted}"
            );
            let mean = high.took / high.granted / MS;
            assert!(mean < 80, "seed {seed}: {mean} ms");
            assert!(high.longest < 250 * MS, "seed {seed}: {high:?}");
        }
    }

    #[test]
    fn a_service_that_keeps_up_refuses_nobody() {
        for seed in 0..10 {
            let tallies = simulate(seed, |_| 350.0, 40, 0);
            for Tally { asked, granted, .. } in tallies {
                assert!(granted * 1000 >= asked * 995, "seed {seed}: {granted} of {asked}");
            }
        }
    }

    #[test]
    fn after_an_overload_all_are_taken_again() {
        for seed in 0..10 {
            let load = |second| if (5..15).contains(&second) { 1500.0 } else { 200.0 };
            let tallies = simulate(seed, load, 40, 20);
            for Tally { asked, granted, .. } in tallies {
                assert!(granted * 1000 >= asked * 995, "seed {seed}: {granted} of {asked}");
            }
        }
    }

    #[test]
    fn a_service_that_has_become_slower_for_good_is_believed_in_the_end() {
        let mut gradient = Gradient::new(&SETTINGS);
        for _ in 0..100 {
            gradient.correct(&SETTINGS, Measurement { mean: 1e6, peak: 40 });
        }
        let before = gradient.correct(&SETTINGS, Measurement { mean: 1e6, peak: 40 });
        assert!(before > 40);
        let mut limit = 0;
        for _ in 0..1000 {
            limit = gradient.correct(&SETTINGS, Measurement { mean: 10e6, peak: limit.min(40) });
        }
        assert!(limit > 20, "{limit}");
    }

    #[test]
    fn every_priority_has_a_share_of_any_limit() {
        for limit in [1, 2, 9, 10, 16, 8192, u32::MAX] {
            let [low, normal, high] =
                [Priority::Low, Priority::Normal, Priority::High].map(|one| share(limit, one));
            assert!(1 <= low && low <= normal && normal <= high && high == limit);
        }
        assert_eq!(share(25, Priority::Low), 15);
    }
}
