//! One address that answers calls, with everything that is known about it. The object stays while
//! its key and address stay: reloads, changes of weight and metadata and even its removal while
//! calls are under way do not lose what was learnt.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::guards::{Connection, Pending};
use super::instance::{CheckedHealth, InstanceSpec, RegistryHealth};
use super::standing::{Rules, flag};
use super::time::{Coarse, micros};
use crate::balance::latency::{Peak, typical};
use crate::config::model::Protocol;

/// Names an endpoint for the life of the process; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u64);

/// One address of a service.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name in this process.
    pub id: EndpointId,
    /// Where it is reached.
    pub address: SocketAddr,
    /// A small index for tables per thread. Given to another endpoint once this object is gone, so a
    /// table compares [`Endpoint::id`] as well.
    pub slot: usize,
    /// Host name for `Host` and SNI when the call brings none.
    pub host: String,
    /// Name within the service.
    pub key: String,
    pub(super) spec: ArcSwap<InstanceSpec>,
    pub(super) protocol: AtomicU8,
    pub(super) weight: AtomicU32,
    /// Reasons not to be called, see [`flag`].
    pub(super) flags: AtomicU32,
    /// Calls under way in the lower half, those of them that wait for an answer in the upper.
    pub(super) calls: AtomicU64,
    /// When an answer was last heard, and when it last began to owe one.
    pub(super) heard: AtomicU64,
    pub(super) busy: AtomicU64,
    /// When a call was last begun.
    pub(super) begun: AtomicU64,
    pub(super) typical: AtomicU32,
    pub(super) peak: AtomicU64,
    pub(super) suspicion: super::silence::Suspicion,
    pub(super) failing: super::ejection::Failing,
    /// When it began to be brought up to its share; 0 when it is at it.
    pub(super) slow_from: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
    connections: AtomicU32,
    pending: Arc<AtomicU32>,
}

/// One call under way that waits for an answer, in [`Endpoint::calls`].
const WAITING: u64 = 1 << 32;
impl Endpoint {
    pub(super) fn new(spec: InstanceSpec, fallback: Protocol, pending: Arc<AtomicU32>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let endpoint = Self {
            id: EndpointId(NEXT.fetch_add(1, Relaxed)),
            address: spec.address,
            slot: SLOTS.lock().unwrap_or_else(PoisonError::into_inner).take(),
            host: spec.host.clone(),
            key: spec.key.clone(),
            spec: ArcSwap::from_pointee(spec),
            protocol: AtomicU8::new(0),
            weight: AtomicU32::new(0),
            flags: AtomicU32::new(0),
            calls: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            typical: AtomicU32::new(0),
            peak: AtomicU64::new(0),
            suspicion: super::silence::Suspicion::default(),
            failing: super::ejection::Failing::default(),
            slow_from: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            connections: AtomicU32::new(0),
            pending,
        };
        endpoint.apply(fallback);
        endpoint
    }

    /// Takes over what its source says now.
    pub(super) fn describe(&self, spec: InstanceSpec, fallback: Protocol) {
        if **self.spec.load() != spec {
            self.spec.store(Arc::new(spec));
        }
        self.apply(fallback);
    }

    /// Derives what the hot path reads from the description.
    pub(super) fn apply(&self, fallback: Protocol) {
        let spec = self.spec.load();
        self.protocol.store(encode(spec.protocol.unwrap_or(fallback)), Relaxed);
        self.weight.store(spec.effective_weight(), Relaxed);
        let health = match spec.registry_health {
            RegistryHealth::Passing | RegistryHealth::Warning => 0,
            RegistryHealth::Critical => flag::CRITICAL,
            RegistryHealth::Maintenance => flag::MAINTENANCE,
        };
        let cleared = flag::CRITICAL | flag::MAINTENANCE | flag::REMOVED;
        let changed =
            self.flags.fetch_update(Relaxed, Relaxed, |flags| Some(flags & !cleared | health));
        debug_assert!(changed.is_ok(), "an update that always applies");
    }

    /// How it is spoken to.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        decode(self.protocol.load(Relaxed))
    }

    /// Its share of calls.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// What its source says about it.
    #[must_use]
    pub fn spec(&self) -> Arc<InstanceSpec> {
        self.spec.load_full()
    }

    /// Whether its source no longer knows it: connections to it are not kept.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.has(flag::REMOVED)
    }

    /// What our active checks say.
    #[must_use]
    pub fn checked(&self) -> CheckedHealth {
        let flags = self.flags.load(Relaxed);
        if flags & flag::UNHEALTHY != 0 {
            CheckedHealth::Unhealthy
        } else if flags & flag::CHECKED != 0 {
            CheckedHealth::Healthy
        } else {
            CheckedHealth::Unknown
        }
    }

    /// Calls under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        (self.calls.load(Relaxed) & 0xffff_ffff) as u32
    }

    /// Calls under way that wait for the header of their answer.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        (self.calls.load(Relaxed) >> 32) as u32
    }

    /// Typical latency to the header of an answer; `None` before the first one.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        let micros = self.typical.load(Relaxed);
        (micros > 0).then(|| Duration::from_micros(u64::from(micros)))
    }

    /// Calls that ended, and those of them that failed.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        (self.requests.load(Relaxed), self.failures.load(Relaxed))
    }

    /// Connections that are open or being opened.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.connections.load(Relaxed)
    }

    /// Counts a new connection while the guard lives; `None` at the limit (`circuit.connections`).
    #[must_use]
    pub fn connection(self: &Arc<Self>, limit: u32) -> Option<Connection> {
        super::guards::enter(&self.connections, limit).then(|| Connection::new(Arc::clone(self)))
    }

    /// Counts a call that waits for a connection while the guard lives; `None` at the service's limit
    /// (`circuit.pending`), which all its endpoints share.
    #[must_use]
    pub fn pending(&self, limit: u32) -> Option<Pending> {
        super::guards::enter(&self.pending, limit).then(|| Pending::new(Arc::clone(&self.pending)))
    }

    pub(super) fn disconnected(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    pub(super) fn has(&self, bits: u32) -> bool {
        self.flags.load(Relaxed) & bits != 0
    }

    /// Counts a call that begins.
    pub(super) fn begin(&self, now: Coarse) {
        // Before the count goes up, so that nobody sees a debt with the date of an older one.
        if self.waiting() == 0 {
            self.busy.store(now.0, Relaxed);
        }
        if self.calls.fetch_add(WAITING + 1, Relaxed) < WAITING {
            self.busy.store(now.0, Relaxed);
        }
        self.begun.store(now.0, Relaxed);
    }

    /// Counts a call that no longer waits for an answer.
    pub(super) fn no_longer_waits(&self) {
        self.calls.fetch_sub(WAITING, Relaxed);
    }

    /// Counts a call that ended.
    pub(super) fn end(&self) {
        self.calls.fetch_sub(1, Relaxed);
    }

    /// Counts a result.
    pub(super) fn count(&self, failed: bool) {
        self.requests.fetch_add(1, Relaxed);
        if failed {
            self.failures.fetch_add(1, Relaxed);
        }
    }

    /// Learns from the time that an answer took.
    pub(super) fn took(&self, latency: Duration, now: Coarse, rules: Rules) {
        let sample = micros(latency);
        let before = self.typical.load(Relaxed);
        let after = typical(before, sample, self.outlier(before, rules));
        if after != before {
            self.typical.store(after, Relaxed);
        }
        self.feared(latency, now);
    }

    /// Learns that a call took this long, though it is not how long calls usually take.
    pub(super) fn feared(&self, latency: Duration, now: Coarse) {
        let peak = Peak::unpack(self.peak.load(Relaxed));
        let after = peak.observe(micros(latency), now.wrapping());
        if after != peak {
            self.peak.store(after.pack(), Relaxed);
        }
    }

    /// Forgets what was feared: it comes back, and its past says nothing.
    pub(super) fn forget_peak(&self) {
        self.peak.store(0, Relaxed);
    }

    /// Recent latency in microseconds as a balancer should see it; 0 when unknown.
    pub(super) fn peak(&self, now: Coarse) -> u32 {
        Peak::unpack(self.peak.load(Relaxed)).now(now.wrapping())
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        SLOTS.lock().unwrap_or_else(PoisonError::into_inner).give_back(self.slot);
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// Slots that are free, so that tables per thread stay as small as the most endpoints at a time.
/// Locked only when an endpoint is made or goes.
static SLOTS: Mutex<Slots> = Mutex::new(Slots { free: Vec::new(), next: 0 });

struct Slots {
    free: Vec<usize>,
    next: usize,
}

impl Slots {
    fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    fn give_back(&mut self, slot: usize) {
        self.free.push(slot);
    }
}

fn encode(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Http => 0,
        Protocol::Https => 1,
        Protocol::H2c => 2,
        Protocol::H2 => 3,
        Protocol::Grpc => 4,
        Protocol::Tcp => 5,
    }
}

fn decode(code: u8) -> Protocol {
    match code {
        1 => Protocol::Https,
        2 => Protocol::H2c,
        3 => Protocol::H2,
        4 => Protocol::Grpc,
        5 => Protocol::Tcp,
        _ => Protocol::Http,
    }
}
