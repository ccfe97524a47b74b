//! The registry's DNS interface as dnspython, a library that nobody here wrote, sees it. What is
//! asked and what must be answered is in `tests/python/dns_calls.py`.

use posthouse_tests::program::output_of;
use posthouse_tests::{House, python, workspace};

/// One topic's questions to a registry of its own.
async fn check(topic: &str) {
    let house = House::start("registry: { address: 127.0.0.1:0 }").await;
    let script = workspace().join("tests/python/dns_calls.py");
    let mut command = python::script(&script, house.folder(), house.folder());
    let ports = [house.registry(), house.dns()].map(|address| address.port().to_string());
    command.args(ports).arg(topic);
    assert_eq!(output_of(command).await.trim(), "ok");
}

#[tokio::test]
async fn services_and_nodes_have_records() {
    check("records").await;
}

#[tokio::test]
async fn host_names_are_sent_on_to() {
    check("hosts").await;
}

#[tokio::test]
async fn what_is_not_there_is_denied() {
    check("denials").await;
}

#[tokio::test]
async fn what_does_not_fit_comes_over_tcp() {
    check("sizes").await;
}

#[tokio::test]
async fn the_case_of_names_does_not_matter_and_comes_back() {
    check("case").await;
}

#[tokio::test]
async fn nonsense_is_told_so() {
    check("nonsense").await;
}
