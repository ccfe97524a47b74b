//! Limits, circuit and budget of a service, also when several threads come at once.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::{pick, service, settings};
use crate::cluster::breaker::BreakerState;
use crate::cluster::budget::Budget;
use crate::cluster::{Admission, Coarse, Failure, Outcome, Refused, Service};
use crate::config::model::Balance;

fn circuit(percent: Option<u32>) -> Arc<Service> {
    let mut settings = settings(Balance::RoundRobin);
    settings.circuit.failure_percent = percent;
    service(settings, &[1, 1])
}

fn call(service: &Arc<Service>, now: u64, outcome: Outcome) -> Result<Admission, Refused> {
    let admission = service.admit(Coarse(now))?;
    let try_ = service.begin(&service.endpoints()[0], Coarse(now));
    try_.finish(outcome, Duration::from_millis(1), Coarse(now));
    Ok(admission)
}

const FAILED: Outcome = Outcome::Failure(Failure::Status);

#[test]
fn calls_beyond_the_limit_are_refused() {
    let mut settings = settings(Balance::RoundRobin);
    settings.circuit.requests = 3;
    let service = service(settings.clone(), &[1]);
    let mut admitted: Vec<_> = (0..3).map(|_| service.admit(Coarse(1)).expect("room")).collect();
    assert_eq!(service.admit(Coarse(1)).err(), Some(Refused::TooManyRequests));
    admitted.pop();
    admitted.push(service.admit(Coarse(1)).expect("room again"));
    settings.circuit.requests = 4;
    service.configure(settings);
    admitted.push(service.admit(Coarse(1)).expect("a reload made room"));
    assert_eq!(service.active(), 4);
    drop(admitted);
    assert_eq!(service.active(), 0);
}

#[test]
fn connections_and_waiting_calls_are_limited() {
    let service = service(settings(Balance::RoundRobin), &[1, 1]);
    let endpoints = service.endpoints();
    let held = endpoints[0].connection(1).expect("the first");
    assert!(endpoints[0].connection(1).is_none());
    assert!(endpoints[1].connection(1).is_some(), "each endpoint has its own");
    assert_eq!(endpoints[0].connections(), 1);
    drop(held);
    assert_eq!(endpoints[0].connections(), 0);

    let waiting = endpoints[0].pending(1).expect("the first");
    assert!(endpoints[1].pending(1).is_none(), "they share the service's");
    assert_eq!(service.pending(), 1);
    drop(waiting);
    assert_eq!(service.pending(), 0);
}

#[test]
fn the_circuit_opens_tries_once_and_closes() {
    let service = circuit(Some(50));
    for _ in 0..9 {
        call(&service, 1_000, Outcome::Success).expect("closed");
    }
    for _ in 0..10 {
        call(&service, 2_000, FAILED).expect("closed: fewer than twenty calls");
    }
    call(&service, 2_000, FAILED).expect("the call that opens it");
    assert_eq!(service.breaker(Coarse(2_000)), BreakerState::Open(Coarse(7_000)));
    assert_eq!(service.admit(Coarse(6_999)).err(), Some(Refused::Open));
    assert_eq!(service.active(), 0);

    let trial = service.admit(Coarse(7_000)).expect("the trial");
    assert_eq!(service.breaker(Coarse(7_000)), BreakerState::HalfOpen);
    assert_eq!(service.admit(Coarse(7_000)).err(), Some(Refused::Open));
    drop(trial);
    // It ended without an outcome, so that the next one is the trial; its failure opens again.
    call(&service, 7_001, FAILED).expect("the second trial");
    assert_eq!(service.breaker(Coarse(7_001)), BreakerState::Open(Coarse(12_001)));

    call(&service, 12_001, Outcome::Success).expect("the third trial");
    assert_eq!(service.breaker(Coarse(12_001)), BreakerState::Closed);
    call(&service, 12_001, FAILED).expect("old failures are forgotten");
    assert_eq!(service.breaker(Coarse(12_001)), BreakerState::Closed);
}

#[test]
fn old_failures_do_not_open_the_circuit() {
    let service = circuit(Some(50));
    for _ in 0..19 {
        call(&service, 1_000, FAILED).expect("closed");
    }
    call(&service, 12_000, FAILED).expect("closed");
    assert_eq!(service.breaker(Coarse(12_000)), BreakerState::Closed);
    let never = circuit(None);
    for _ in 0..100 {
        call(&never, 1_000, FAILED).expect("it has no circuit");
    }
}

#[test]
fn a_reload_without_a_circuit_closes_it() {
    let service = circuit(Some(1));
    for _ in 0..20 {
        call(&service, 1_000, FAILED).expect("closed");
    }
    assert_eq!(service.admit(Coarse(1_001)).err(), Some(Refused::Open));
    service.configure(settings(Balance::RoundRobin));
    assert!(service.admit(Coarse(1_001)).is_ok());
}

#[test]
fn cancelled_calls_say_nothing() {
    let service = circuit(Some(1));
    for _ in 0..100 {
        call(&service, 1_000, Outcome::Cancelled).expect("closed");
        drop(service.begin(&service.endpoints()[0], Coarse(1_000)));
    }
    let endpoint = &service.endpoints()[0];
    assert_eq!((endpoint.totals(), endpoint.in_flight(), endpoint.waiting()), ((0, 0), 0, 0));
}

#[test]
fn threads_together_keep_the_limits_and_leave_nothing_behind() {
    const LIMIT: u32 = 5;
    let mut settings = settings(Balance::PeakEwma);
    settings.circuit.requests = LIMIT;
    settings.circuit.failure_percent = Some(100);
    let service = service(settings, &[1, 2, 3]);
    let work = |seed: u64| {
        let mut rng = Rng::with_seed(seed);
        for step in 0..20_000_u64 {
            let now = Coarse(1_000 + step / 10);
            let Ok(_admission) = service.admit(now) else { continue };
            assert!(service.active() <= LIMIT + 4, "others may just be asking");
            let endpoint = pick(&service, &[], &mut rng, now.0);
            let connection = endpoint.connection(2);
            let mut call = service.begin(&endpoint, now);
            if connection.is_some() {
                call.heard(now);
            }
            let outcome = match rng.u8(..10) {
                0 => Outcome::Failure(Failure::Reset),
                1 => Outcome::Cancelled,
                _ => Outcome::Success,
            };
            call.finish(outcome, Duration::from_micros(rng.u64(..5_000)), now);
            let _ = service.retry_allowed(Budget { percent: 20, floor: 1 }, now);
        }
    };
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let work = &work;
            scope.spawn(move || work(seed));
        }
    });
    assert_eq!(service.active(), 0);
    for endpoint in service.endpoints() {
        assert_eq!((endpoint.in_flight(), endpoint.waiting(), endpoint.connections()), (0, 0, 0));
    }
}
