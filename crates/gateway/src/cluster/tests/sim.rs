//! The simulation: calls arrive at a rate, are balanced by the service, answered by endpoints that
//! behave as told, and tried again as the proxy would. Virtual time, one seed, no socket.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::super::{
    Coarse, Endpoint, EndpointId, Failure, InFlight, Outcome, PickContext, Service,
};

/// How an endpoint answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Behaviour {
    /// After about this many microseconds.
    Answers(u64),
    /// With 503, after this many microseconds.
    Fails(u64),
    /// Nobody listens.
    Refuses,
    /// Not at all, like a stopped process.
    Silent,
}

/// Tries after which a call fails.
const MAX_TRIES: usize = 3;

pub(super) struct Sim {
    pub(super) service: Arc<Service>,
    /// By port of the endpoint, less one.
    pub(super) behaviours: Vec<Behaviour>,
    /// Tries that began since they were last taken, by endpoint.
    pub(super) tries: Vec<u64>,
    /// Calls that failed for good.
    pub(super) failed: u64,
    /// Start and duration of the calls that succeeded, in microseconds.
    pub(super) done: Vec<(u64, u64)>,
    rng: Rng,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    calls: BTreeMap<u64, Call>,
    next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The answer to this try of this call.
    Answer { call: u64, tries: usize, failure: u8 },
    /// Time to ask whether the endpoint of this try is silent.
    Look { call: u64, tries: usize },
}

struct Call {
    begun: u64,
    try_begun: u64,
    key: Option<u64>,
    tried: Vec<EndpointId>,
    in_flight: Option<InFlight>,
}

impl Sim {
    pub(super) fn new(service: Arc<Service>, seed: u64) -> Self {
        let count = service.endpoints().len();
        Self {
            service,
            behaviours: vec![Behaviour::Answers(2_000); count],
            tries: vec![0; count],
            failed: 0,
            done: Vec::new(),
            rng: Rng::with_seed(seed),
            now: 1_000_000,
            events: BinaryHeap::new(),
            calls: BTreeMap::new(),
            next: 0,
        }
    }

    /// Time in milliseconds.
    pub(super) fn now(&self) -> u64 {
        self.now / 1000
    }

    /// Goes on for `seconds` at `rate` calls a second, and returns the tries that began by endpoint.
    pub(super) fn run(&mut self, seconds: f64, rate: f64) -> Vec<u64> {
        self.tries.fill(0);
        let end = self.now + micros(seconds);
        let mut arrival = self.now;
        loop {
            // Arrivals are irregular, as they are between many independent clients.
            arrival += micros(-(1.0 - self.rng.f64()).ln() / rate) + 1;
            while let Some(&Reverse((at, _, event))) = self.events.peek()
                && at <= arrival.min(end)
            {
                self.events.pop();
                self.now = at;
                self.happen(event);
            }
            if arrival >= end {
                self.now = end;
                return self.tries.clone();
            }
            self.now = arrival;
            self.arrive(None);
        }
    }

    /// One call with a key, without waiting for it. Returns who got it.
    pub(super) fn arrive(&mut self, key: Option<u64>) -> usize {
        let number = self.next;
        self.next += 1;
        let call =
            Call { begun: self.now, try_begun: self.now, key, tried: Vec::new(), in_flight: None };
        self.calls.insert(number, call);
        self.attempt(number)
    }

    /// Calls that are neither answered nor failed.
    pub(super) fn open(&self) -> usize {
        self.calls.len()
    }

    /// The share of the tries in per cent that went to one endpoint.
    pub(super) fn share(&self, who: usize) -> f64 {
        self.tries[who] as f64 * 100.0 / self.tries.iter().sum::<u64>() as f64
    }

    fn coarse(&self) -> Coarse {
        Coarse(self.now())
    }

    fn attempt(&mut self, number: u64) -> usize {
        let now = self.coarse();
        let call = self.calls.get_mut(&number).expect("an open call");
        let mut context =
            PickContext { hash: call.key, exclude: &call.tried, rng: &mut self.rng, now };
        let endpoint = self.service.pick(&mut context).expect("an endpoint");
        call.tried.push(endpoint.id);
        call.try_begun = self.now;
        call.in_flight = Some(self.service.begin(&endpoint, now));
        let tries = call.tried.len();
        let who = index(&endpoint);
        self.tries[who] += 1;
        let jitter = |rng: &mut Rng, micros: u64| micros * 3 / 4 + rng.u64(..=micros / 2);
        let answer = match self.behaviours[who] {
            Behaviour::Answers(micros) => Some((jitter(&mut self.rng, micros), 0)),
            Behaviour::Fails(micros) => Some((jitter(&mut self.rng, micros), 1)),
            Behaviour::Refuses => Some((100, 2)),
            Behaviour::Silent => None,
        };
        if let Some((after, failure)) = answer {
            self.schedule(self.now + after, Event::Answer { call: number, tries, failure });
        }
        self.look_later(number, tries, &endpoint);
        who
    }

    fn look_later(&mut self, call: u64, tries: usize, endpoint: &Endpoint) {
        if let Some(at) = self.service.silent_from(endpoint) {
            self.schedule(at.0.max(self.now()) * 1000 + 2_000, Event::Look { call, tries });
        }
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.events.push(Reverse((at, self.next, event)));
        self.next += 1;
    }

    fn happen(&mut self, event: Event) {
        let (Event::Answer { call: number, tries, .. } | Event::Look { call: number, tries }) =
            event;
        let now = self.coarse();
        let Some(call) = self.calls.get_mut(&number) else { return };
        if call.tried.len() != tries {
            return;
        }
        let latency = Duration::from_micros(self.now - call.try_begun);
        let endpoint = Arc::clone(call.in_flight.as_ref().expect("a try").endpoint());
        let failure = match event {
            Event::Answer { failure: 0, .. } => None,
            Event::Answer { failure: 1, .. } => Some(Failure::Status),
            Event::Answer { .. } => Some(Failure::Refused),
            Event::Look { .. } if self.service.is_silent(&endpoint, now) => Some(Failure::Timeout),
            Event::Look { .. } => return self.look_later(number, tries, &endpoint),
        };
        let mut in_flight = call.in_flight.take().expect("a try");
        let Some(failure) = failure else {
            in_flight.heard(now);
            in_flight.finish(Outcome::Success, latency, now);
            self.done.push((call.begun, self.now - call.begun));
            self.calls.remove(&number);
            return;
        };
        in_flight.finish(Outcome::Failure(failure), latency, now);
        if tries >= MAX_TRIES {
            self.calls.remove(&number);
            self.failed += 1;
        } else {
            self.attempt(number);
        }
    }
}

fn micros(seconds: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(seconds).as_micros()).expect("a short time")
}

/// Which endpoint of a simulation this is.
pub(super) fn index(endpoint: &Endpoint) -> usize {
    usize::from(endpoint.address.port()) - 1
}
