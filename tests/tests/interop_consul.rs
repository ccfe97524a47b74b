//! The registry as py-consul, a client of Consul that nobody here wrote, sees it. The calls and
//! what they must answer are in `tests/python/consul_calls.py`.

use posthouse_tests::program::output_of;
use posthouse_tests::{House, python, workspace};

/// One topic's calls on a registry of its own.
async fn check(topic: &str) {
    let house = House::start("registry: { address: 127.0.0.1:0 }").await;
    let script = workspace().join("tests/python/consul_calls.py");
    let mut command = python::script(&script, house.folder(), house.folder());
    command.arg(house.registry().port().to_string()).arg(topic);
    assert_eq!(output_of(command).await.trim(), "ok");
}

#[tokio::test]
async fn services_are_registered_read_and_deregistered() {
    check("agent").await;
}

#[tokio::test]
async fn checks_rule_what_is_passing() {
    check("checks").await;
}

#[tokio::test]
async fn a_ttl_runs_out() {
    check("ttl").await;
}

#[tokio::test]
async fn maintenance_takes_a_service_and_a_node_out() {
    check("maintenance").await;
}

#[tokio::test]
async fn the_catalog_takes_nodes_from_outside() {
    check("catalog").await;
}

#[tokio::test]
async fn tags_and_filters_choose() {
    check("filters").await;
}

#[tokio::test]
async fn blocking_reads_wake_for_their_service_only() {
    check("blocking").await;
}
