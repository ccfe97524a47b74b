//! How each balancer spreads calls: by weight, by load, by key, and with nobody left out.

use super::sim::{Behaviour, Sim};
use super::{service, settings, specs};
use crate::cluster::{CheckedHealth, Coarse, PickContext};
use crate::config::model::Balance;

const SEEDS: std::ops::Range<u64> = 1..6;
const ALL: [Balance; 5] = [
    Balance::RoundRobin,
    Balance::Random,
    Balance::LeastRequests,
    Balance::PeakEwma,
    Balance::Hash,
];

fn check_weights(balance: Balance, weights: &[u32], tolerance: f64) {
    let sum: u32 = weights.iter().sum();
    for seed in SEEDS {
        let mut sim = Sim::new(service(settings(balance), weights), seed);
        sim.run(20.0, 1_000.0);
        for (who, &weight) in weights.iter().enumerate() {
            let fair = f64::from(weight) * 100.0 / f64::from(sum);
            let share = sim.share(who);
            assert!(
                (share - fair).abs() <= fair * tolerance + 0.001,
                "{balance:?}, seed {seed}: {share:.2} % of {fair:.2} % for {who}"
            );
        }
        assert_eq!(sim.failed, 0);
    }
}

#[test]
fn all_balancers_respect_weights() {
    for (balance, tolerance) in [
        (Balance::RoundRobin, 0.001),
        (Balance::Random, 0.1),
        (Balance::LeastRequests, 0.25),
        (Balance::PeakEwma, 0.25),
    ] {
        check_weights(balance, &[1, 1, 1, 1], tolerance);
        check_weights(balance, &[1, 2, 3, 4], tolerance);
        check_weights(balance, &[5, 0, 1], tolerance);
    }
}

#[test]
fn weights_hold_among_many() {
    for balance in ALL {
        let weights: Vec<u32> = (0..1_000).map(|i| if i < 500 { 1 } else { 3 }).collect();
        let mut sim = Sim::new(service(settings(balance), &weights), 1);
        sim.run(4.0, 20_000.0);
        let light: f64 = (0..500).map(|who| sim.share(who)).sum();
        assert!((22.0..30.0).contains(&light), "{balance:?}: {light}");
    }
}

/// The share of an endpoint that takes 25 times as long as its three peers.
fn slow_share(balance: Balance, seed: u64) -> f64 {
    let mut sim = Sim::new(service(settings(balance), &[1; 4]), seed);
    sim.behaviours[2] = Behaviour::Answers(50_000);
    sim.run(1.0, 2_000.0);
    sim.run(20.0, 2_000.0);
    assert_eq!(sim.failed, 0);
    sim.share(2)
}

#[test]
fn balancers_by_load_avoid_a_slow_endpoint_but_do_not_starve_it() {
    for seed in SEEDS {
        let turns = slow_share(Balance::RoundRobin, seed);
        assert!((24.9..25.1).contains(&turns), "seed {seed}: {turns}");
        for (balance, most) in [(Balance::PeakEwma, 2.0), (Balance::LeastRequests, 8.0)] {
            let share = slow_share(balance, seed);
            // The floor: one per cent of its fair quarter.
            assert!((0.25..most).contains(&share), "{balance:?}, seed {seed}: {share}");
        }
    }
}

#[test]
fn nobody_is_forgotten_by_quiet_services() {
    for balance in [Balance::PeakEwma, Balance::LeastRequests] {
        for seed in SEEDS {
            let mut sim = Sim::new(service(settings(balance), &[1; 4]), seed);
            sim.behaviours[0] = Behaviour::Answers(200_000);
            sim.run(2.0, 40.0);
            // About one call a second at least, though its share by latency is next to nothing.
            let tries = sim.run(30.0, 40.0);
            assert!(tries[0] >= 20, "{balance:?}, seed {seed}: {tries:?}");
        }
    }
}

#[test]
fn an_endpoint_that_recovers_gets_its_share_back() {
    for seed in SEEDS {
        let mut sim = Sim::new(service(settings(Balance::PeakEwma), &[1; 4]), seed);
        sim.behaviours[1] = Behaviour::Answers(100_000);
        sim.run(10.0, 1_000.0);
        sim.behaviours[1] = Behaviour::Answers(2_000);
        sim.run(15.0, 1_000.0);
        sim.run(10.0, 1_000.0);
        assert!(sim.share(1) > 20.0, "seed {seed}: {}", sim.share(1));
    }
}

#[test]
fn a_new_endpoint_is_brought_up_slowly() {
    for balance in [Balance::RoundRobin, Balance::Random, Balance::LeastRequests, Balance::PeakEwma]
    {
        for seed in SEEDS {
            let mut settings = settings(balance);
            settings.slow_start = std::time::Duration::from_secs(10);
            let mut sim = Sim::new(service(settings, &[1; 4]), seed);
            // The first endpoints of a service have nobody to spare them: all at once.
            sim.run(1.0, 1_000.0);
            assert!(sim.share(0) > 20.0, "{balance:?}, seed {seed}");
            sim.behaviours.push(Behaviour::Answers(2_000));
            sim.tries.push(0);
            sim.service.set_instances(specs(&[1; 5]), Coarse(sim.now()));
            let mut shares = Vec::new();
            for _ in 0..6 {
                sim.run(2.0, 1_000.0);
                shares.push(sim.share(4));
            }
            assert!(shares[0] < 7.0, "{balance:?}, seed {seed}: {shares:?}");
            assert!(shares[1] < shares[3], "{balance:?}, seed {seed}: {shares:?}");
            assert!((15.0..25.0).contains(&shares[5]), "{balance:?}, seed {seed}: {shares:?}");
        }
    }
}

#[test]
fn a_new_endpoint_of_unknown_latency_is_not_stampeded() {
    for seed in SEEDS {
        let mut sim = Sim::new(service(settings(Balance::PeakEwma), &[1; 4]), seed);
        sim.run(5.0, 1_000.0);
        sim.behaviours.push(Behaviour::Answers(100_000));
        sim.tries.push(0);
        sim.service.set_instances(specs(&[1; 5]), Coarse(sim.now()));
        // Before its first answer nobody knows that it is slow.
        let tries = sim.run(0.075, 1_000.0);
        assert!(tries[4] <= 4, "seed {seed}: {tries:?}");
    }
}

#[test]
fn the_same_key_goes_to_the_same_endpoint() {
    let mut sim = Sim::new(service(settings(Balance::Hash), &[1; 5]), 1);
    let before: Vec<_> = (0..2_000).map(|key| sim.arrive(Some(key))).collect();
    let again: Vec<_> = (0..2_000).map(|key| sim.arrive(Some(key))).collect();
    assert_eq!(before, again);
    sim.service.set_instances(specs(&[1; 4]), Coarse(sim.now()));
    for (key, &owner) in before.iter().enumerate() {
        let now = sim.arrive(Some(key as u64));
        assert!(now == owner || owner == 4, "key {key} moved from {owner} to {now}");
    }
}

#[test]
fn keys_of_a_failing_endpoint_move_and_return() {
    let mut sim = Sim::new(service(settings(Balance::Hash), &[1; 5]), 1);
    let owners: Vec<_> = (0..500).map(|key| sim.arrive(Some(key))).collect();
    sim.run(0.2, 10.0);
    sim.behaviours[3] = Behaviour::Refuses;
    let lost = owners.iter().position(|&owner| owner == 3).expect("a key") as u64;
    sim.arrive(Some(lost));
    sim.run(0.1, 10.0);
    for (key, &owner) in owners.iter().enumerate() {
        let now = sim.arrive(Some(key as u64));
        assert!((now == owner) != (owner == 3), "key {key} of {owner} went to {now}");
    }
    sim.behaviours[3] = Behaviour::Answers(2_000);
    sim.run(5.0, 100.0);
    let returned: Vec<_> = (0..500).map(|key| sim.arrive(Some(key))).collect();
    assert_eq!(returned, owners);
}

#[test]
fn keys_stay_together_even_when_all_are_down() {
    for count in [3, 200] {
        let service = service(settings(Balance::Hash), &vec![1; count]);
        for endpoint in service.endpoints() {
            service.set_health(&endpoint, CheckedHealth::Unhealthy, Coarse(1_000));
        }
        let mut rng = fastrand::Rng::with_seed(1);
        let mut owner = |key: u64| {
            let mut context =
                PickContext { hash: Some(key), exclude: &[], rng: &mut rng, now: Coarse(1_010) };
            service.pick(&mut context).expect("an endpoint").id
        };
        owner(0);
        let owners: Vec<_> = (0..300).map(&mut owner).collect();
        let again: Vec<_> = (0..300).map(&mut owner).collect();
        assert_eq!(owners, again, "{count} endpoints");
        let different: std::collections::BTreeSet<_> = owners.into_iter().collect();
        assert!(different.len() > count / 3, "{count} endpoints: {}", different.len());
    }
}
