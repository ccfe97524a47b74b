//! What a right configuration becomes.

use std::path::Path;
use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::config::model::{
    Action, HashKey, HealthKind, HostPattern, ListenerKind, PathPattern, Segment,
};
use crate::config::raw::Protocol;

use super::{checked, findings};

#[test]
fn the_example_of_the_design_is_right() {
    let (config, report) = checked(
        json!({
            "listeners": [{ "address": "127.0.0.1:8080", "names": true }, { "address": "[::1]:0" }],
            "services": { "users": {
                "protocol": "http",
                "instances": [
                    { "address": "127.0.0.1:5001", "weight": 2 },
                    { "address": "users.internal:5002" },
                    { "address": "[::1]:5003" },
                ],
                "balance": "round-robin",
                "health": { "http": "/healthz", "interval": "1s" },
            } },
            "routes": [{
                "match": {
                    "host": "Shop.Example",
                    "path": "/api/v1/users/{id}",
                    "methods": ["GET"],
                    "headers": { "x-beta": "1" },
                },
                "service": "users",
                "timeout": "5s",
            }],
        }),
        Path::new("."),
    );
    assert_eq!(findings(&report), [""; 0]);
    assert_eq!(config.listeners[0].kind, ListenerKind::Http { names: true });
    let users = &config.services["users"];
    assert_eq!(users.instances[0].weight, 2);
    assert_eq!((&*users.instances[1].host, users.instances[1].port), ("users.internal", 5002));
    assert_eq!(users.instances[2].host, "::1");
    let health = users.health.as_ref().unwrap();
    let kind = HealthKind::Http { path: "/healthz".into(), statuses: vec![] };
    assert_eq!((&health.kind, health.interval), (&kind, Duration::from_secs(1)));
    let route = &config.routes[0];
    assert_eq!(&*route.name, "GET Shop.Example/api/v1/users/{id}");
    assert_eq!(route.matching.host, HostPattern::Exact("shop.example".into()));
    assert_eq!(route.matching.methods, [Method::GET, Method::HEAD]);
    assert_eq!(route.timeout, Some(Duration::from_secs(5)));
    let PathPattern::Template(segments) = &route.matching.path else { panic!("{route:?}") };
    assert_eq!(segments[3], Segment::Parameter("id".into()));
}

#[test]
fn an_empty_configuration_is_right() {
    let (config, report) = checked(json!({}), Path::new("."));
    assert_eq!(findings(&report), [""; 0]);
    assert!(config.listeners.is_empty() && config.routes.is_empty());
    assert!(config.engine.threads >= 1);
}

#[test]
fn the_reference_says_the_defaults_that_are_used() {
    let (config, report) = checked(
        json!({
            "services": { "a": { "health": { "tcp": true } } },
            "routes": [{ "service": "a" }],
        }),
        Path::new("."),
    );
    assert_eq!(findings(&report), [""; 0]);
    let service = &config.services["a"];
    let millis = Duration::from_millis;
    assert_eq!(service.connect_timeout, millis(1_000));
    assert_eq!(service.header_timeout, millis(30_000));
    assert_eq!(service.idle_timeout, millis(300_000));
    assert_eq!(service.silence, Some(millis(300)));
    assert_eq!((service.ejection.consecutive, service.ejection.max_percent), (5, 50));
    assert_eq!((service.circuit.connections, service.circuit.requests), (1_024, 8_192));
    assert_eq!(service.circuit.failure_percent, None);
    let health = service.health.as_ref().unwrap();
    let times = (health.interval, health.timeout, health.rise, health.fall);
    assert_eq!(times, (millis(2_000), millis(1_000), 1, 2));
    let route = &config.routes[0];
    assert_eq!(route.timeout, Some(millis(60_000)));
    assert_eq!((route.retries.attempts, route.retries.buffer), (2, 65_536));
    assert_eq!(
        (&route.retries.statuses[..], &route.retries.grpc_statuses[..]),
        (&[503.try_into().unwrap()][..], &[14][..])
    );
    assert_eq!((route.retries.backoff, route.retries.max_backoff), (millis(25), millis(250)));
    assert_eq!(config.engine.limits, crate::http1::Limits::default());
    assert_eq!((config.engine.max_connections, config.engine.max_streams), (16_384, 256));
    assert_eq!(config.engine.drain, millis(20_000));
}

#[test]
fn zero_is_off_where_the_reference_says_so() {
    let (config, report) = checked(
        json!({
            "services": { "a": { "timeouts": { "silence": "0s" } } },
            "routes": [{ "service": "a", "timeout": "0s" }],
        }),
        Path::new("."),
    );
    assert_eq!(findings(&report), [""; 0]);
    assert_eq!(config.services["a"].silence, None);
    assert_eq!(config.routes[0].timeout, None);
}

#[test]
fn services_that_are_only_named_are_made_with_defaults() {
    let (config, report) = checked(
        json!({
            "listeners": [{ "address": "127.0.0.1:0", "service": "database" }],
            "services": { "spread": { "balance": "hash" } },
            "routes": [
                { "match": { "path": "/a" }, "service": "orders" },
                { "match": { "path": "/b" }, "split": [
                    { "service": "spread", "weight": 9 }, { "service": "canary", "weight": 1 },
                ] },
            ],
        }),
        Path::new("."),
    );
    assert_eq!(findings(&report), [""; 0]);
    let names: Vec<&str> = config.services.keys().map(|name| &**name).collect();
    assert_eq!(names, ["canary", "database", "orders", "spread"]);
    assert_eq!(config.services["database"].protocol, Protocol::Tcp);
    assert_eq!(config.services["orders"].protocol, Protocol::Http);
    assert_eq!(config.services["spread"].hash, [HashKey::ClientAddress]);
    let Action::Forward { split, .. } = &config.routes[1].action else { panic!("no split") };
    assert_eq!((&*split[0].0, split[0].1), ("spread", 9));
}

#[test]
fn names_that_are_made_differ() {
    let route = |value: &str| json!({ "match": { "path": "/", "headers": { "x": value } }, "service": "a" });
    let (config, _) =
        checked(json!({ "routes": [route("1"), route("2"), { "service": "a" }] }), Path::new("."));
    let names: Vec<&str> = config.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["/", "/ #2", "/{*}"]);
}
