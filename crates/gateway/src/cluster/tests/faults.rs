//! How a service reacts to endpoints that fail, refuse, fall silent and come back.

use std::time::Duration;

use fastrand::Rng;

use super::sim::{Behaviour, Sim};
use super::{pick, service, settings, specs};
use crate::cluster::view::EndpointState;
use crate::cluster::{
    CheckedHealth, Coarse, Failure, Outcome, PickContext, RegistryHealth, Service,
};
use crate::config::model::{Balance, Health, HealthKind};

const SEEDS: std::ops::Range<u64> = 1..6;
const BY_LOAD: [Balance; 4] =
    [Balance::RoundRobin, Balance::Random, Balance::LeastRequests, Balance::PeakEwma];

#[test]
fn a_failing_endpoint_is_ejected_for_longer_each_time_and_returns() {
    for balance in BY_LOAD {
        for seed in SEEDS {
            let mut sim = Sim::new(service(settings(balance), &[1; 4]), seed);
            sim.run(2.0, 1_000.0);
            sim.behaviours[1] = Behaviour::Fails(1_000);
            // Out after 5 failures (and those under way), then one trial after 1, 2, 4, 8 s.
            let tries = sim.run(16.0, 1_000.0);
            assert!((6..30).contains(&tries[1]), "{balance:?}, seed {seed}: {tries:?}");
            assert_eq!(sim.failed, 0, "{balance:?}, seed {seed}");
            sim.behaviours[1] = Behaviour::Answers(2_000);
            sim.run(20.0, 1_000.0);
            sim.run(5.0, 1_000.0);
            assert!(sim.share(1) > 18.0, "{balance:?}, seed {seed}: {}", sim.share(1));
        }
    }
}

#[test]
fn a_killed_endpoint_costs_nobody_a_call() {
    for balance in BY_LOAD {
        for seed in SEEDS {
            let mut sim = Sim::new(service(settings(balance), &[1; 4]), seed);
            sim.run(2.0, 3_000.0);
            sim.behaviours[3] = Behaviour::Refuses;
            let tries = sim.run(4.0, 3_000.0);
            assert!(tries[3] <= 8, "{balance:?}, seed {seed}: {tries:?}");
            assert_eq!(sim.failed, 0, "{balance:?}, seed {seed}");
            let slow = sim.done.iter().filter(|(_, took)| *took > 20_000).count();
            assert_eq!(slow, 0, "{balance:?}, seed {seed}");
            sim.behaviours[3] = Behaviour::Answers(2_000);
            sim.run(5.0, 3_000.0);
            sim.run(2.0, 3_000.0);
            assert!(sim.share(3) > 18.0, "{balance:?}, seed {seed}: {}", sim.share(3));
        }
    }
}

#[test]
fn a_stopped_endpoint_is_noticed_and_costs_next_to_nothing() {
    for balance in BY_LOAD {
        for seed in SEEDS {
            let mut sim = Sim::new(service(settings(balance), &[1; 4]), seed);
            sim.run(2.0, 3_000.0);
            sim.behaviours[0] = Behaviour::Silent;
            let fault = sim.now() * 1000;
            sim.run(4.0, 3_000.0);
            sim.behaviours[0] = Behaviour::Answers(2_000);
            sim.run(8.0, 3_000.0);
            assert_eq!(sim.failed, 0, "{balance:?}, seed {seed}");
            let late = |from: u64| {
                let slow = |(begun, took): &&(u64, u64)| *begun > from && *took > 50_000;
                sim.done.iter().filter(slow).count()
            };
            // After the first half second only the trials, one by one.
            assert!(
                late(fault + 500_000) <= 4,
                "{balance:?}, seed {seed}: {}",
                late(fault + 500_000)
            );
            let worst = sim.done.iter().map(|(_, took)| *took).max();
            assert!(worst < Some(700_000), "{balance:?}, seed {seed}: {worst:?}");
            sim.run(2.0, 3_000.0);
            assert!(sim.share(0) > 18.0, "{balance:?}, seed {seed}: {}", sim.share(0));
            assert!(sim.open() < 100);
        }
    }
}

#[test]
fn services_that_are_always_slow_are_not_suspected() {
    for balance in BY_LOAD {
        let mut sim = Sim::new(service(settings(balance), &[1; 3]), 1);
        sim.behaviours.fill(Behaviour::Answers(800_000));
        sim.run(30.0, 5.0);
        assert_eq!(sim.failed, 0, "{balance:?}");
        assert_eq!(
            sim.tries.iter().sum::<u64>(),
            (sim.done.len() + sim.open()) as u64,
            "{balance:?}"
        );
    }
}

fn state(service: &Service, who: usize, now: u64) -> EndpointState {
    service.state_of(&service.endpoints()[who], Coarse(now))
}

#[test]
fn silence_is_owed_answers_not_quiet() {
    let service = service(settings(Balance::RoundRobin), &[1, 1]);
    let endpoint = service.endpoints()[0].clone();
    let mut first = service.begin(&endpoint, Coarse(1_000));
    first.heard(Coarse(1_005));
    first.finish(Outcome::Success, Duration::from_millis(5), Coarse(1_005));
    assert!(!service.is_silent(&endpoint, Coarse(60_000)), "it owes nothing");
    assert_eq!(service.silent_from(&endpoint), None);

    let mut long = service.begin(&endpoint, Coarse(60_000));
    assert_eq!(service.silent_from(&endpoint), Some(Coarse(60_300)));
    assert!(!service.is_silent(&endpoint, Coarse(60_300)));
    let other = service.begin(&endpoint, Coarse(60_200));
    other.finish(Outcome::Success, Duration::from_millis(5), Coarse(60_205));
    assert!(!service.is_silent(&endpoint, Coarse(60_400)), "it answered another call");
    assert!(service.is_silent(&endpoint, Coarse(60_506)));
    assert_eq!(state(&service, 0, 60_506), EndpointState::Suspect);
    // While it owes something it gets nothing more, whatever the pause; one answer clears it.
    let mut rng = Rng::with_seed(1);
    assert!((0..50).all(|i| pick(&service, &[], &mut rng, 70_000 + i).id != endpoint.id));
    long.heard(Coarse(71_000));
    assert_eq!(state(&service, 0, 71_000), EndpointState::Healthy);
    drop(long);
}

#[test]
fn a_suspect_is_tried_once_after_each_pause() {
    let service = service(settings(Balance::RoundRobin), &[1, 1]);
    let endpoint = service.endpoints()[0].clone();
    service.mark_suspect(&endpoint, Coarse(1_000));
    let mut rng = Rng::with_seed(1);
    let trials: Vec<u64> = (1_000..20_000)
        .step_by(10)
        .filter(|&now| pick(&service, &[], &mut rng, now).id == endpoint.id)
        .collect();
    assert_eq!(trials.len(), 4, "{trials:?}");
    for (trial, due) in trials.iter().zip([2_000, 4_000, 8_000, 16_000]) {
        assert!((due..due + 200).contains(trial), "{trials:?}");
    }
}

#[test]
fn a_good_check_clears_a_suspect() {
    let mut settings = settings(Balance::RoundRobin);
    settings.health = Some(Health {
        kind: HealthKind::Tcp,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        rise: 1,
        fall: 2,
    });
    let service = service(settings, &[1, 1]);
    let endpoint = service.endpoints()[0].clone();
    service.mark_suspect(&endpoint, Coarse(1_000));
    let mut rng = Rng::with_seed(1);
    assert!((1_000..8_900).step_by(10).all(|t| pick(&service, &[], &mut rng, t).id != endpoint.id));
    service.set_health(&endpoint, CheckedHealth::Healthy, Coarse(8_900));
    assert!((8_900..8_910).any(|t| pick(&service, &[], &mut rng, t).id == endpoint.id));
}

#[test]
fn no_more_than_a_part_is_ejected() {
    for (count, percent, out) in [(4, 50, 2), (3, 50, 1), (1, 50, 0), (4, 100, 4), (4, 0, 0)] {
        let mut settings = settings(Balance::RoundRobin);
        settings.ejection.max_percent = percent;
        let service = service(settings, &vec![1; count]);
        for endpoint in service.endpoints() {
            let call = service.begin(&endpoint, Coarse(1_000));
            call.finish(Outcome::Failure(Failure::Refused), Duration::ZERO, Coarse(1_000));
        }
        let now = Coarse(1_001);
        let ejected = service.endpoints().iter().filter(|e| e.ejected_until(now).is_some()).count();
        assert_eq!(ejected, out, "{count} endpoints, {percent} %");
    }
}

#[test]
fn success_between_failures_and_zero_keep_an_endpoint_in() {
    let fail = |service: &std::sync::Arc<Service>, times: usize| {
        for _ in 0..times {
            let call = service.begin(&service.endpoints()[0], Coarse(1_000));
            call.finish(Outcome::Failure(Failure::Status), Duration::ZERO, Coarse(1_000));
        }
    };
    let one = service(settings(Balance::RoundRobin), &[1, 1]);
    fail(&one, 4);
    let call = one.begin(&one.endpoints()[0], Coarse(1_000));
    call.finish(Outcome::Success, Duration::from_millis(1), Coarse(1_000));
    fail(&one, 4);
    assert_eq!(state(&one, 0, 1_001), EndpointState::Healthy);
    fail(&one, 1);
    assert_eq!(state(&one, 0, 1_001), EndpointState::Ejected(Duration::from_millis(999)));

    let mut off = settings(Balance::RoundRobin);
    off.ejection.consecutive = 0;
    let never = service(off, &[1, 1]);
    fail(&never, 100);
    assert_eq!(state(&never, 0, 1_001), EndpointState::Healthy);
}

#[test]
fn when_all_are_down_all_are_used() {
    for balance in [Balance::RoundRobin, Balance::Hash, Balance::PeakEwma] {
        for count in [3, 200] {
            let service = service(settings(balance), &vec![1; count]);
            for endpoint in service.endpoints() {
                service.set_health(&endpoint, CheckedHealth::Unhealthy, Coarse(1_000));
            }
            let mut rng = Rng::with_seed(1);
            let mut seen = std::collections::BTreeSet::new();
            for now in 0..4_000 {
                seen.insert(pick(&service, &[], &mut rng, 1_000 + now / 10).id);
            }
            assert_eq!(seen.len(), count, "{balance:?}");
            let back = service.endpoints()[1].clone();
            service.set_health(&back, CheckedHealth::Healthy, Coarse(2_000));
            assert!((0..50).all(|_| pick(&service, &[], &mut rng, 3_000).id == back.id));
        }
    }
}

#[test]
fn the_registrys_health_decides_who_is_called() {
    let service = Service::new(settings(Balance::RoundRobin));
    let mut specs = specs(&[1, 1, 1, 1]);
    specs[0].registry_health = RegistryHealth::Critical;
    specs[1].registry_health = RegistryHealth::Warning;
    specs[1].warning_weight = 3;
    specs[2].registry_health = RegistryHealth::Maintenance;
    service.set_instances(specs.clone(), Coarse(1));
    let mut rng = Rng::with_seed(1);
    let mut seen = [0; 4];
    for _ in 0..4_000 {
        seen[super::sim::index(&pick(&service, &[], &mut rng, 10))] += 1;
    }
    assert_eq!((seen[0], seen[2]), (0, 0));
    assert!((2_800..3_200).contains(&seen[1]), "{seen:?}");
    // Nobody is called during maintenance, even if nobody else is well.
    for spec in &mut specs {
        spec.registry_health = RegistryHealth::Maintenance;
    }
    service.set_instances(specs, Coarse(20));
    let mut context = PickContext { hash: None, exclude: &[], rng: &mut rng, now: Coarse(30) };
    assert!(service.pick(&mut context).is_none());
}

#[test]
fn a_tried_endpoint_is_tried_again_only_if_no_other_is_well() {
    for balance in [Balance::RoundRobin, Balance::Hash, Balance::LeastRequests, Balance::PeakEwma] {
        let service = service(settings(balance), &[1, 1, 1]);
        let ids: Vec<_> = service.endpoints().iter().map(|endpoint| endpoint.id).collect();
        let mut rng = Rng::with_seed(1);
        assert!((0..100).all(|_| pick(&service, &ids[..2], &mut rng, 10).id == ids[2]));
        service.set_health(&service.endpoints()[2], CheckedHealth::Unhealthy, Coarse(10));
        assert!((0..100).all(|_| pick(&service, &ids[..2], &mut rng, 10).id != ids[2]));
        let one = pick(&service, &ids, &mut rng, 10);
        assert!(ids.contains(&one.id));
    }
}

#[test]
fn a_choice_notices_silence_by_itself() {
    for balance in BY_LOAD {
        let service = service(settings(balance), &[1, 1]);
        let endpoint = service.endpoints()[0].clone();
        let known = service.begin(&endpoint, Coarse(1_000));
        known.finish(Outcome::Success, Duration::from_millis(5), Coarse(1_005));
        let _owed = service.begin(&endpoint, Coarse(1_010));
        let mut rng = Rng::with_seed(1);
        let mut gets = |now: u64| {
            (0..200).filter(|_| pick(&service, &[], &mut rng, now).id == endpoint.id).count()
        };
        assert!(gets(1_310) > 0, "{balance:?}: it may still answer");
        assert_eq!(gets(1_311), 0, "{balance:?}");
        assert_eq!(state(&service, 0, 1_311), EndpointState::Suspect);
    }
}

#[test]
fn times_out_double_in_a_row_up_to_the_longest() {
    let mut settings = settings(Balance::RoundRobin);
    settings.ejection.max = Duration::from_secs(6);
    let service = service(settings, &[1, 1]);
    let endpoint = service.endpoints()[0].clone();
    let mut now = 1_000;
    let mut fail = |wait: u64| {
        now += wait;
        let call = service.begin(&endpoint, Coarse(now));
        call.finish(Outcome::Failure(Failure::Refused), Duration::ZERO, Coarse(now));
        let length = endpoint.ejected_until(Coarse(now)).expect("out").since(Coarse(now));
        now += u64::try_from(length.as_millis()).expect("short");
        length.as_secs()
    };
    // One failure as soon as it is back, each time.
    assert_eq!([fail(0), fail(0), fail(10), fail(0), fail(0)], [1, 2, 4, 6, 6]);
    // It was back for longer than it had been out: that is another story.
    assert_eq!([fail(6_001), fail(0)], [1, 2]);
}
