//! What survives when instances, weights, metadata and settings change.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::{pick, service, settings, specs};
use crate::cluster::view::{CircuitView, EndpointState};
use crate::cluster::{Coarse, InstanceSpec, Outcome};
use crate::config::model::{Balance, Protocol};

#[test]
fn an_endpoint_keeps_its_past_when_only_its_description_changes() {
    let service = service(settings(Balance::RoundRobin), &[1, 1]);
    let before = service.endpoints();
    let call = service.begin(&before[0], Coarse(10));
    call.finish(Outcome::Success, Duration::from_millis(7), Coarse(17));
    let mut changed = specs(&[4, 1]);
    changed[0].protocol = Some(Protocol::H2c);
    changed[0].meta.insert("zone".to_owned(), "b".to_owned());
    service.set_instances(changed, Coarse(20));
    let after = service.endpoints();
    assert!(Arc::ptr_eq(&before[0], &after[0]));
    assert_eq!((after[0].weight(), after[0].protocol()), (4, Protocol::H2c));
    assert_eq!(after[0].spec().meta["zone"], "b");
    assert_eq!((after[0].totals(), after[0].latency()), ((1, 0), Some(Duration::from_millis(7))));
    let mut rng = Rng::with_seed(1);
    let first = (0..100).filter(|_| pick(&service, &[], &mut rng, 30).id == after[0].id).count();
    assert_eq!(first, 80);

    let waiting = service.begin(&before[1], Coarse(40));
    assert_eq!(
        service.silent_from(&before[1]),
        Some(Coarse(3_040)),
        "its latency is not known yet"
    );
    let mut reloaded = settings(Balance::Random);
    reloaded.protocol = Protocol::Grpc;
    reloaded.silence = None;
    service.configure(reloaded);
    assert!(Arc::ptr_eq(&before[1], &service.endpoints()[1]));
    assert_eq!(service.silent_from(&before[1]), None, "switched off by the reload");
    drop(waiting);
    assert_eq!(before[0].protocol(), Protocol::H2c, "its own word counts more");
    assert_eq!(before[1].protocol(), Protocol::Grpc);
}

#[test]
fn an_instance_that_is_named_twice_is_one_endpoint() {
    let service = service(settings(Balance::RoundRobin), &[1]);
    let before = service.endpoints();
    let twice: Vec<_> = specs(&[1]).into_iter().chain(specs(&[7])).collect();
    service.set_instances(twice, Coarse(20));
    let after = service.endpoints();
    assert_eq!(after.len(), 1);
    assert!(Arc::ptr_eq(&before[0], &after[0]) && after[0].weight() == 1);
}

#[test]
fn another_address_is_another_endpoint() {
    let service = service(settings(Balance::RoundRobin), &[1]);
    let before = service.endpoints();
    let mut moved = specs(&[1]);
    moved[0].address = super::address(9);
    service.set_instances(moved, Coarse(20));
    assert_ne!(service.endpoints()[0].id, before[0].id);
    assert!(before[0].is_removed());
}

#[test]
fn a_removed_endpoint_finishes_its_calls_and_may_return() {
    let service = service(settings(Balance::RoundRobin), &[1, 1]);
    let gone = service.endpoints()[1].clone();
    let mut call = service.begin(&gone, Coarse(10));
    service.set_instances(specs(&[1]), Coarse(20));
    let mut rng = Rng::with_seed(1);
    assert!((0..20).all(|_| pick(&service, &[], &mut rng, 30).id != gone.id));
    let view = service.view(Coarse(30));
    assert_eq!(view.endpoints.len(), 2);
    assert_eq!(
        (view.endpoints[1].state, view.endpoints[1].in_flight),
        (EndpointState::Draining, 1)
    );

    service.set_instances(specs(&[1, 1]), Coarse(40));
    assert!(Arc::ptr_eq(&gone, &service.endpoints()[1]));
    assert!(!gone.is_removed());
    service.set_instances(specs(&[1]), Coarse(50));
    call.heard(Coarse(60));
    call.finish(Outcome::Success, Duration::from_millis(50), Coarse(60));
    assert_eq!(gone.totals(), (1, 0));
    assert_eq!(service.view(Coarse(60)).endpoints.len(), 1, "nothing holds it any more");
}

#[test]
fn ids_are_never_used_twice_and_live_slots_differ() {
    let service = service(settings(Balance::RoundRobin), &[]);
    let mut ids = BTreeSet::new();
    for round in 0..50 {
        let instances: Vec<_> = (0..10)
            .map(|i| InstanceSpec::new(format!("r{round}i{i}"), super::address(i), 1))
            .collect();
        service.set_instances(instances, Coarse(round));
        let endpoints = service.endpoints();
        let slots: BTreeSet<_> = endpoints.iter().map(|endpoint| endpoint.slot).collect();
        assert_eq!(slots.len(), 10);
        assert!(endpoints.iter().all(|endpoint| ids.insert(endpoint.id)));
    }
}

#[test]
fn the_view_shows_what_is_known() {
    let service = service(settings(Balance::LeastRequests), &[1, 3]);
    let endpoint = service.endpoints()[1].clone();
    let _admission = service.admit(Coarse(5)).expect("room");
    let _connection = endpoint.connection(10).expect("room");
    let _call = service.begin(&endpoint, Coarse(5));
    let view = service.view(Coarse(10));
    assert_eq!((view.name.as_ref(), view.in_flight, view.pending), ("users", 1, 0));
    assert_eq!((view.protocol, view.balance), (Protocol::Http, Balance::LeastRequests));
    assert_eq!(view.circuit, CircuitView::Closed);
    let shown = &view.endpoints[1];
    assert_eq!(
        (shown.id, shown.key.as_str(), shown.address),
        (endpoint.id, "i1", endpoint.address)
    );
    assert_eq!((shown.weight, shown.in_flight, shown.connections), (3, 1, 1));
    assert_eq!((shown.requests, shown.failures, shown.latency), (0, 0, None));
    assert_eq!(shown.state, EndpointState::Healthy);
}

#[test]
fn a_service_without_endpoints_or_weights_has_nobody_to_offer() {
    for balance in [Balance::RoundRobin, Balance::Hash, Balance::LeastRequests, Balance::PeakEwma] {
        for weights in [&[][..], &[0, 0]] {
            let service = service(settings(balance), weights);
            let mut rng = Rng::with_seed(1);
            let mut context =
                super::PickContext { hash: Some(1), exclude: &[], rng: &mut rng, now: Coarse(5) };
            assert!(service.pick(&mut context).is_none(), "{balance:?}");
        }
    }
}
