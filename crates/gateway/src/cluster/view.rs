//! Live state of services for people: plain values, to be shown by the admin API and metrics.

use std::net::SocketAddr;
use std::time::Duration;

use super::breaker::BreakerState;
use super::endpoint::{Endpoint, EndpointId};
use super::service::Service;
use super::standing::flag;
use super::time::Coarse;
use crate::config::model::{Balance, Protocol, ServiceName};

/// A service as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceView {
    /// Its name.
    pub name: ServiceName,
    /// How its instances are spoken to, unless they say otherwise.
    pub protocol: Protocol,
    /// How one is chosen.
    pub balance: Balance,
    /// Calls under way.
    pub in_flight: u32,
    /// Calls that wait for a connection.
    pub pending: u32,
    /// Whether the circuit lets calls through.
    pub circuit: CircuitView,
    /// Its endpoints, also those that finish their last calls.
    pub endpoints: Vec<EndpointView>,
}

/// A circuit as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitView {
    /// Calls pass.
    Closed,
    /// Calls are refused for this much longer.
    Open(Duration),
    /// One call finds out.
    HalfOpen,
}

/// An endpoint as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointView {
    /// Its name in this process.
    pub id: EndpointId,
    /// Its name within the service.
    pub key: String,
    /// Where it is reached.
    pub address: SocketAddr,
    /// Host name, if the source gave one.
    pub host: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Share of calls.
    pub weight: u32,
    /// Whether it is called.
    pub state: EndpointState,
    /// Calls under way.
    pub in_flight: u32,
    /// Connections open or being opened.
    pub connections: u32,
    /// Typical latency to the header of an answer.
    pub latency: Option<Duration>,
    /// Calls that ended.
    pub requests: u64,
    /// Calls that failed.
    pub failures: u64,
}

/// Whether an endpoint is called, and if not why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// It is.
    Healthy,
    /// It is, with the part of its share in per cent that it has reached.
    Warming(u32),
    /// Checks fail, ours or the registry's.
    Unhealthy,
    /// A person took it out.
    Maintenance,
    /// Calls failed: out for this much longer, on trial when it is zero.
    Ejected(Duration),
    /// Owes answers and is silent.
    Suspect,
    /// Removed, with calls under way.
    Draining,
}

impl Service {
    /// Its live state.
    #[must_use]
    pub fn view(&self, now: Coarse) -> ServiceView {
        let settings = self.settings();
        let endpoints = self.endpoints().into_iter().chain(self.leaving());
        ServiceView {
            name: self.name().clone(),
            protocol: settings.protocol,
            balance: settings.balance,
            in_flight: self.active(),
            pending: self.pending(),
            circuit: match self.breaker(now) {
                BreakerState::Closed => CircuitView::Closed,
                BreakerState::Open(until) => CircuitView::Open(until.since(now)),
                BreakerState::HalfOpen => CircuitView::HalfOpen,
            },
            endpoints: endpoints.map(|endpoint| self.view_of(&endpoint, now)).collect(),
        }
    }

    fn view_of(&self, endpoint: &Endpoint, now: Coarse) -> EndpointView {
        let (requests, failures) = endpoint.totals();
        EndpointView {
            id: endpoint.id,
            key: endpoint.key.clone(),
            address: endpoint.address,
            host: endpoint.host.clone(),
            protocol: endpoint.protocol(),
            weight: endpoint.weight(),
            state: self.state_of(endpoint, now),
            in_flight: endpoint.in_flight(),
            connections: endpoint.connections(),
            latency: endpoint.latency(),
            requests,
            failures,
        }
    }

    /// The one thing to know about an endpoint.
    #[must_use]
    pub fn state_of(&self, endpoint: &Endpoint, now: Coarse) -> EndpointState {
        let rules = self.rules();
        if endpoint.is_removed() {
            EndpointState::Draining
        } else if endpoint.has(flag::MAINTENANCE) {
            EndpointState::Maintenance
        } else if endpoint.has(flag::CRITICAL | flag::UNHEALTHY) {
            EndpointState::Unhealthy
        } else if endpoint.is_ejected() {
            let until = endpoint.ejected_until(now);
            EndpointState::Ejected(until.map_or(Duration::ZERO, |until| until.since(now)))
        } else if endpoint.has(flag::SUSPECT) || endpoint.is_silent(now, rules) {
            EndpointState::Suspect
        } else {
            let percent = endpoint.ramp_percent(now, rules);
            if percent < 100 { EndpointState::Warming(percent) } else { EndpointState::Healthy }
        }
    }
}
