//! What is under way, as guards that count for as long as they live: a call admitted to a service, a
//! try at an endpoint, a connection, a wait for one. A guard that is dropped unfinished counts as
//! cancelled, so that no way out of the proxy can leave a count behind.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::service::Service;
use super::time::Coarse;

/// A call within its service's limits, over all its tries.
#[derive(Debug)]
pub struct Admission {
    service: Arc<Service>,
    trial: bool,
}

impl Admission {
    pub(super) fn new(service: Arc<Service>, trial: bool) -> Self {
        Self { service, trial }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.service.leave(self.trial);
    }
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, with whatever is not a [`Failure`].
    Success,
    /// The endpoint failed.
    Failure(Failure),
    /// It was given up for reasons that say nothing about the endpoint: the client went, another
    /// try was quicker.
    Cancelled,
}

/// How an endpoint failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens.
    Refused,
    /// The connection could not be made for another reason: unreachable, timed out, TLS.
    Connect,
    /// The connection broke before the end of the answer.
    Reset,
    /// No answer in time.
    Timeout,
    /// The answer was not HTTP, or ambiguous.
    Malformed,
    /// The answer was 502, 503 or 504, or gRPC's UNAVAILABLE or INTERNAL.
    Status,
}

impl Failure {
    /// Whether the endpoint was heard at all, and so is not silent.
    fn is_sound(self) -> bool {
        !matches!(self, Self::Timeout | Self::Connect)
    }
}

/// A try at an endpoint that is under way.
#[derive(Debug)]
pub struct InFlight {
    service: Arc<Service>,
    endpoint: Arc<Endpoint>,
    waits: bool,
}

impl InFlight {
    pub(super) fn new(service: Arc<Service>, endpoint: Arc<Endpoint>) -> Self {
        Self { service, endpoint, waits: true }
    }

    /// The endpoint that is tried.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The endpoint has answered: call it with the header of the response (interim ones as well),
    /// or when a tunnel stands. From then on this try owes no answer; further calls are welcome.
    pub fn heard(&mut self, now: Coarse) {
        self.settle();
        self.endpoint.heard_at(now);
    }

    /// The try ended. `latency` is the time to the header of the answer, or to the failure.
    pub fn finish(mut self, outcome: Outcome, latency: Duration, now: Coarse) {
        match outcome {
            Outcome::Success => {
                if self.waits {
                    self.heard(now);
                }
                self.service.learn_success(&self.endpoint, latency, now);
            }
            Outcome::Failure(failure) => {
                if failure.is_sound() {
                    self.heard(now);
                }
                self.settle();
                self.service.learn_failure(&self.endpoint, failure, latency, now);
            }
            Outcome::Cancelled => {}
        }
    }

    fn settle(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.endpoint.no_longer_waits();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.settle();
        self.endpoint.end();
    }
}

/// A connection to an endpoint, from before it is opened until it is closed.
#[derive(Debug)]
pub struct Connection {
    endpoint: Arc<Endpoint>,
}

impl Connection {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint }
    }

    /// Where it leads.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.endpoint.disconnected();
    }
}

/// A call that waits for a connection.
#[derive(Debug)]
pub struct Pending {
    count: Arc<AtomicU32>,
}

impl Pending {
    pub(super) fn new(count: Arc<AtomicU32>) -> Self {
        Self { count }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Relaxed);
    }
}

/// Counts one more unless that exceeds the limit.
pub(super) fn enter(count: &AtomicU32, limit: u32) -> bool {
    // Counted before it is judged: threads that ask at once cannot exceed the limit together.
    if count.fetch_add(1, Relaxed) < limit {
        return true;
    }
    count.fetch_sub(1, Relaxed);
    false
}
