//! Seeded simulations of a service in virtual time, and its rules one by one. A failed assertion of
//! a simulation names its seed.

mod balancers;
mod changes;
mod faults;
mod limits;
mod sim;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::{Coarse, Endpoint, EndpointId, InstanceSpec, PickContext, Service};
use crate::config::model::{self, Balance, Protocol};

/// Settings with the defaults of the configuration reference.
fn settings(balance: Balance) -> model::Service {
    model::Service {
        name: "users".into(),
        protocol: Protocol::Http,
        instances: Vec::new(),
        balance,
        hash: Vec::new(),
        health: None,
        connect_timeout: Duration::from_secs(1),
        header_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(300),
        keep_alive: Duration::from_secs(30),
        silence: Some(Duration::from_millis(300)),
        ejection: model::Ejection {
            consecutive: 5,
            base: Duration::from_secs(1),
            max: Duration::from_secs(60),
            max_percent: 50,
        },
        circuit: model::Circuit {
            connections: 1024,
            pending: 1024,
            requests: 8192,
            failure_percent: None,
            open: Duration::from_secs(5),
        },
        slow_start: Duration::ZERO,
        tls: None,
    }
}

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], u16::try_from(number + 1).expect("a port")))
}

fn specs(weights: &[u32]) -> Vec<InstanceSpec> {
    let spec = |(number, &weight)| InstanceSpec::new(format!("i{number}"), address(number), weight);
    weights.iter().enumerate().map(spec).collect()
}

fn service(settings: model::Service, weights: &[u32]) -> Arc<Service> {
    let service = Service::new(settings);
    service.set_instances(specs(weights), Coarse(1));
    service
}

fn pick(service: &Service, exclude: &[EndpointId], rng: &mut Rng, now: u64) -> Arc<Endpoint> {
    let mut context = PickContext { hash: None, exclude, rng, now: Coarse(now) };
    service.pick(&mut context).expect("an endpoint")
}
