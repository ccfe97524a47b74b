//! What happens at the limits, and with input that no client should send.

use std::time::Duration;

use posthouse_base::config::{Size, Span};
use posthouse_base::task::Tasks;
use posthouse_registry::{Error, Registry};
use tokio::io::AsyncReadExt;

use crate::client::{DEADLINE, House, raw, request};

#[tokio::test]
async fn a_body_too_large_or_too_slow_is_refused() {
    let house = House::with(|raw| {
        raw.limits.body = Size(1024);
        raw.limits.body_timeout = Span(Duration::from_millis(20));
    })
    .await;
    let large = format!(r#"{{"Name": "{}"}}"#, "x".repeat(2000));
    let answer = house.put("/v1/agent/service/register", &large).await;
    assert_eq!(answer.status, 413);
    assert!(answer.body.contains("1KiB"), "{}", answer.body);
    let slow = b"PUT /v1/agent/service/register HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\
        content-length: 10\r\n\r\n{";
    assert_eq!(raw(house.address(), slow).await.status, 408);
}

#[tokio::test]
async fn counts_are_limited() {
    let house = House::with(|raw| {
        raw.limits.instances = 1;
        raw.limits.checks = 2;
        raw.limits.nodes = 1;
    })
    .await;
    house.register(r#"{"Name": "web", "Check": {"TTL": "1h"}}"#).await;
    house.register(r#"{"Name": "web", "Port": 1, "Check": {"TTL": "1h"}}"#).await;
    let register = async |path: &str, body: &str| {
        let answer = house.put(path, body).await;
        assert_eq!(answer.status, 429, "{body}");
        assert!(answer.body.contains("limit of"), "{}", answer.body);
    };
    register("/v1/agent/service/register", r#"{"Name": "db"}"#).await;
    register("/v1/agent/check/register", r#"{"Name": "x", "TTL": "1h"}"#).await;
    register("/v1/catalog/register", r#"{"Node": "n", "Address": "a"}"#).await;
    // An operator can take something out of service all the same.
    let answer = house.put("/v1/agent/service/maintenance/web?enable=true", "").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn watchers_and_connections_are_limited() {
    let house = House::with(|raw| {
        raw.limits.watchers = 1;
        raw.limits.connections = 2;
    })
    .await;
    let index = house.get("/v1/catalog/nodes").await.index();
    let address = house.address();
    let path = format!("/v1/catalog/nodes?index={index}");
    let read = tokio::spawn({
        let path = path.clone();
        async move { request(address, "GET", &path, "").await }
    });
    house.watchers(1).await;
    assert_eq!(house.get(&format!("{path}&wait=1ms")).await.status, 429);
    let mut second = tokio::net::TcpStream::connect(address).await.expect("connected");
    let full =
        async { while request(address, "GET", "/v1/status/leader", "").await.status != 503 {} };
    tokio::time::timeout(DEADLINE, full).await.expect("both places are taken");
    house.registry.close(DEADLINE).await;
    assert_eq!(read.await.expect("answered").status, 200);
    let mut rest = Vec::new();
    second.read_to_end(&mut rest).await.expect("closed in order");
}

#[tokio::test]
async fn slow_headers_are_not_waited_for() {
    let house =
        House::with(|raw| raw.limits.header_timeout = Span(Duration::from_millis(20))).await;
    let answer = raw(house.address(), b"GET /v1/status/leader HTTP/1.1\r\nhost").await;
    assert_ne!(answer.status, 200);
}

#[tokio::test]
async fn nonsense_ends_its_connection_and_nothing_else() {
    let house = House::new().await;
    for nonsense in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/agent/service/%ff%fe HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n",
        b"GET /v1/health/service/a?filter=%28%28%28&tag=%zz HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n",
        b"PUT /v1/agent/service/register HTTP/1.1\r\nhost: r\r\ncontent-length: x\r\n\r\n",
    ] {
        let answer = raw(house.address(), nonsense).await;
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(house.put("/v1/agent/service/register", &deep).await.status, 400);
    assert_eq!(house.get("/v1/status/leader").await.status, 200);
}

#[tokio::test]
async fn an_address_in_use_is_said() {
    let house = House::new().await;
    let address = house.address().to_string();
    let raw = posthouse_registry::Raw { address, ..Default::default() };
    let mut report = posthouse_base::config::Report::new();
    let path = posthouse_base::config::Path::root();
    let config = posthouse_registry::Config::check(&raw, &path, &mut report).expect("checked");
    let error = Registry::start(config, None, &Tasks::new()).await.expect_err("it is taken");
    assert!(matches!(error, Error::AddressInUse(address) if address == house.address()), "{error}");
}
