//! The endpoints of a service as an immutable snapshot, with what its balancer prepared, and the
//! choice of one. Health is looked at in the choice: only a change of who is there, of weights or of
//! settings makes a new snapshot.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use fastrand::Rng;

use super::endpoint::{Endpoint, EndpointId};
use super::standing::{Rules, Standing};
use super::time::Coarse;
use crate::balance::choose::{self, Load};
use crate::balance::ring::Ring;
use crate::balance::schedule::Schedule;
use crate::config::model::Balance;

/// What a choice depends on besides the endpoints.
#[derive(Debug)]
pub struct PickContext<'a> {
    /// The key of consistent hashing ([`crate::balance::ring::hash`]); at random without one.
    pub hash: Option<u64>,
    /// Endpoints that were tried already: chosen only if nobody else is well.
    pub exclude: &'a [EndpointId],
    /// Source of chance.
    pub rng: &'a mut Rng,
    /// The time.
    pub now: Coarse,
}

/// Endpoints of a service, and how one is chosen.
#[derive(Debug, Default)]
pub(super) struct EndpointSet {
    endpoints: Box<[Arc<Endpoint>]>,
    schedule: Schedule,
    ring: Ring,
    balance: Balance,
    rules: Rules,
    /// The mean weight, by which loads are made comparable.
    mean: f64,
    /// Until when nobody is expected to be ready, in large sets: spares looking at all each time.
    poor_until: AtomicU64,
}

/// How long a large set is believed to have nobody ready.
const POOR: Duration = Duration::from_millis(50);
/// Sets up to this size are always looked at.
const SMALL: usize = 64;
/// An endpoint without calls for so long is given one, whatever it cost last.
const STALE_MS: u64 = 1_000;
/// The worst rank of one that can be chosen at all, see [`EndpointSet::rank`].
const OUT: u8 = u8::MAX;

impl EndpointSet {
    pub(super) fn new(endpoints: Vec<Arc<Endpoint>>, balance: Balance, rules: Rules) -> Self {
        let weights: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.weight()).collect();
        let ring = if balance == Balance::Hash {
            // The address as well: an instance that moved is another one to whoever keeps state.
            let names: Vec<String> =
                endpoints.iter().map(|e| format!("{}@{}", e.key, e.address)).collect();
            Ring::new(names.iter().map(String::as_str).zip(weights.iter().copied()))
        } else {
            Ring::default()
        };
        let sum: f64 = weights.iter().copied().map(f64::from).sum();
        let taking_part = weights.iter().filter(|&&weight| weight > 0).count();
        Self {
            schedule: Schedule::new(&weights),
            ring,
            balance,
            rules,
            mean: if taking_part == 0 { 1.0 } else { sum / taking_part as f64 },
            poor_until: AtomicU64::new(0),
            endpoints: endpoints.into_boxed_slice(),
        }
    }

    pub(super) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Chooses an endpoint; `None` only if none has a weight.
    pub(super) fn pick(
        &self,
        turn: &AtomicUsize,
        context: &mut PickContext<'_>,
    ) -> Option<&Arc<Endpoint>> {
        let poor = context.now.0 < self.poor_until.load(Relaxed);
        let index = if poor { None } else { self.choose(turn, context) };
        let index = index.or_else(|| self.make_do(poor, context))?;
        self.endpoints.get(index)
    }

    /// Chooses by the balancer among those that are well; `None` if it meets none.
    fn choose(&self, turn: &AtomicUsize, context: &mut PickContext<'_>) -> Option<usize> {
        let PickContext { hash, exclude, rng, now } = context;
        let (now, exclude) = (*now, *exclude);
        let accept = |index: usize, rng: &mut Rng| self.accept(index, exclude, now, rng);
        let load = |index: usize| self.load(index, exclude, now);
        match (self.balance, *hash) {
            (Balance::RoundRobin, _) => {
                choose::in_turn(&self.schedule, turn.fetch_add(1, Relaxed), rng, accept)
            }
            (Balance::LeastRequests, _) => {
                let turn = turn.fetch_add(1, Relaxed);
                choose::least(&self.schedule, self.endpoints.len(), turn, rng, accept, load)
            }
            (Balance::PeakEwma, _) => choose::better_of_two(&self.schedule, rng, accept, load),
            (Balance::Hash, Some(key)) => {
                // No slow start here: it would move keys back and forth.
                choose::by_key(&self.ring, key, |index| self.is_well(index, exclude, now))
            }
            (Balance::Random | Balance::Hash, _) => choose::at_random(&self.schedule, rng, accept),
        }
    }

    /// Chooses the best of those that there are: nobody was found to be well.
    fn make_do(&self, poor: bool, context: &mut PickContext<'_>) -> Option<usize> {
        let PickContext { hash, exclude, rng, now } = context;
        let key = hash.filter(|_| self.balance == Balance::Hash);
        if poor {
            let usable = |index: usize| {
                self.rank(index, exclude, *now) != OUT && !self.is_excluded(index, exclude)
            };
            let index = match key {
                Some(key) => choose::by_key(&self.ring, key, usable),
                None => choose::at_random(&self.schedule, rng, |index, _| usable(index)),
            };
            if index.is_some() {
                return index;
            }
        }
        let length = self.schedule.len();
        let start = match key {
            _ if length == 0 => return None,
            // The same key to the same place even now.
            Some(key) => usize::try_from(key % length as u64).unwrap_or(0),
            None => rng.usize(..length),
        };
        let mut best: Option<(u8, usize)> = None;
        for index in (start..start + length).filter_map(|place| self.schedule.turn(place)) {
            let rank = self.rank(index, exclude, *now);
            if rank < best.map_or(OUT, |(rank, _)| rank) {
                best = Some((rank, index));
                if rank == 0 {
                    break;
                }
            }
        }
        let (rank, index) = best?;
        if rank > 0 && exclude.is_empty() && self.endpoints.len() > SMALL {
            self.poor_until.store(now.plus(POOR).0, Relaxed);
        }
        if rank == 0 {
            self.endpoints[index].claim_trial(*now);
        }
        Some(index)
    }

    /// Whether this one takes the call: it is well, and far enough brought up.
    fn accept(&self, index: usize, exclude: &[EndpointId], now: Coarse, rng: &mut Rng) -> bool {
        if !self.is_well(index, exclude, now) {
            return false;
        }
        let ramp = self.endpoints[index].ramp(now, self.rules);
        ramp >= 1.0 || rng.f64() < ramp
    }

    /// Whether this one is well, or this call may find out. Notes silence when it meets it.
    fn is_well(&self, index: usize, exclude: &[EndpointId], now: Coarse) -> bool {
        let endpoint = &self.endpoints[index];
        match endpoint.standing(now, self.rules) {
            Standing::Ready => !exclude.contains(&endpoint.id),
            Standing::Trial => !exclude.contains(&endpoint.id) && endpoint.claim_trial(now),
            Standing::Doubtful => {
                if endpoint.is_silent(now, self.rules) {
                    endpoint.suspect(now, self.rules);
                }
                false
            }
            Standing::Down | Standing::Out => false,
        }
    }

    /// The load of one that may be compared with others.
    fn load(&self, index: usize, exclude: &[EndpointId], now: Coarse) -> Option<Load> {
        let endpoint = &self.endpoints[index];
        let weight = f64::from(endpoint.weight());
        if weight <= 0.0 || exclude.contains(&endpoint.id) {
            return None;
        }
        if endpoint.standing(now, self.rules) != Standing::Ready {
            return None;
        }
        let calls = endpoint.in_flight();
        let stale = calls == 0 && now.0 >= endpoint.begun.load(Relaxed).saturating_add(STALE_MS);
        let share = weight / self.mean * endpoint.ramp(now, self.rules);
        let calls = f64::from(calls);
        let (queue, more) = (calls / share, (calls + 1.0) / share);
        if self.balance == Balance::LeastRequests {
            return Some(Load { now: queue, then: more, stale });
        }
        // A call costs its latency, more often if it has to queue; an idle one has no queue whatever
        // its weight. Half a call makes the idle one win among equals.
        let now_queue = if calls > 0.0 { ((calls + 0.5) / share).max(1.0) } else { 1.0 };
        let micros = match endpoint.peak(now) {
            // Unknown: one call finds out, and no more until it has.
            0 if calls > 0.0 => f64::from(u32::MAX),
            micros => f64::from(micros),
        };
        Some(Load { now: micros * now_queue, then: micros * more.max(1.0), stale })
    }

    /// Whom to take when nobody is well, 0 first: those that may be, then those that failed, then
    /// (panic) those that are known to be down; one that was tried already after its like.
    fn rank(&self, index: usize, exclude: &[EndpointId], now: Coarse) -> u8 {
        let tried = self.is_excluded(index, exclude);
        match (self.endpoints[index].standing(now, self.rules), tried) {
            (Standing::Ready | Standing::Trial, false) => 0,
            (Standing::Doubtful, false) => 1,
            (Standing::Ready | Standing::Trial, true) => 2,
            (Standing::Doubtful, true) => 3,
            (Standing::Down, false) => 4,
            (Standing::Down, true) => 5,
            (Standing::Out, _) => OUT,
        }
    }

    fn is_excluded(&self, index: usize, exclude: &[EndpointId]) -> bool {
        !exclude.is_empty() && exclude.contains(&self.endpoints[index].id)
    }
}
