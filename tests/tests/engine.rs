//! A gateway whose names come from a registry in another process: calls go on without it, and what
//! changes is followed when it is back.

use std::net::SocketAddr;

use posthouse_tests::backend::Backend;
use posthouse_tests::client::{self, get, get_json, register};
use posthouse_tests::house::new_folder;
use posthouse_tests::wait::{ensure, eventually};
use posthouse_tests::{House, free_port};
use serde_json::Value;
use tempfile::TempDir;

/// A registry on this port, in a process of its own.
async fn registry(folder: TempDir, port: u16) -> House {
    let config = format!(
        "registry: {{ address: \"127.0.0.1:{port}\", dns: \"127.0.0.1:0\" }}\n\
         listeners: [ {{ address: \"127.0.0.1:0\" }} ]\n"
    );
    House::start_in(folder, &config, &["--only", "registry"]).await
}

/// A gateway by itself, that has its names from there.
async fn gateway(folder: TempDir, port: u16) -> House {
    let config = format!(
        "registry: {{ engine: \"consul://127.0.0.1:{port}\" }}\n\
         listeners: [ {{ address: \"127.0.0.1:0\", names: true }} ]\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n"
    );
    House::start_in(folder, &config, &["--only", "gateway,admin"]).await
}

/// Waits until calls to `web` are answered by these backends, and nobody else.
async fn answered_by(gateway: SocketAddr, wanted: &[&str]) {
    eventually("the calls to be answered as they should", async || {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..8 {
            let answer = get(gateway, "web.service.consul", "/").await;
            let answer = answer.map_err(|error| error.to_string())?;
            ensure(answer.status() == 200, || format!("{answer:?}"))?;
            seen.insert(String::from_utf8_lossy(answer.body()).into_owned());
        }
        ensure(seen.iter().eq(wanted.iter()), || format!("{seen:?}, and not {wanted:?}"))
    })
    .await;
}

async fn engine(admin: SocketAddr) -> Value {
    get_json(admin, "/api/v1/names").await.expect("where names come from")
}

async fn until_reachable(admin: SocketAddr, wanted: bool) {
    eventually("the engine to be found so", async || {
        let names = engine(admin).await;
        ensure(names["engine"]["reachable"] == wanted, || names.to_string())
    })
    .await;
}

#[tokio::test]
async fn calls_outlive_the_registry_and_follow_it_again() {
    let (one, two) = (Backend::named("one").await, Backend::named("two").await);
    let port = free_port();
    let mut names = registry(new_folder(), port).await;
    register(names.registry(), "web", "w1", one.address()).await.expect("registered");
    let mut calls = gateway(new_folder(), port).await;
    assert!(!calls.log().contains("names (Consul API)"), "a gateway by itself listens for none");
    answered_by(calls.gateway(), &["one"]).await;
    register(names.registry(), "web", "w2", two.address()).await.expect("registered");
    answered_by(calls.gateway(), &["one", "two"]).await;
    assert_eq!(engine(calls.admin()).await["source"], "engine");

    names.program().kill().await;
    until_reachable(calls.admin(), false).await;
    answered_by(calls.gateway(), &["one", "two"]).await;
    let metrics = get(calls.admin(), "127.0.0.1", "/metrics").await.expect("metrics");
    let metrics = String::from_utf8_lossy(metrics.body()).into_owned();
    assert!(metrics.contains("posthouse_registry_engine_up 0"), "{metrics}");
    assert!(calls.log().contains("going on with what was last known"), "{}", calls.log());

    // It remembers over its own end.
    eventually("the file of what was last known", async || {
        let file = calls.folder().join("data/engine-names.json");
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
        ensure(text.contains("w1") && text.contains("w2"), || text)
    })
    .await;
    calls = calls.restart_with(&["--only", "gateway,admin"]).await;
    answered_by(calls.gateway(), &["one", "two"]).await;
    assert!(engine(calls.admin()).await["engine"]["remembered_ms"].is_u64());

    // The registry is back, on its journal, and what changes there is followed.
    names = names.restart_with(&["--only", "registry"]).await;
    until_reachable(calls.admin(), true).await;
    answered_by(calls.gateway(), &["one", "two"]).await;
    client::deregister(names.registry(), "w1").await.expect("deregistered");
    answered_by(calls.gateway(), &["two"]).await;
}

#[tokio::test]
async fn services_keep_the_address_that_they_know() {
    let one = Backend::named("one").await;
    let names = House::start("registry: { address: 127.0.0.1:0 }").await;
    let config = format!(
        "registry: {{ address: 127.0.0.1:0, engine: \"consul://{}\" }}\n\
         listeners: [ {{ address: 127.0.0.1:0, names: true }} ]\n",
        names.registry()
    );
    let calls = House::start(&config).await;
    // Registered there, through here.
    register(calls.registry(), "web", "w1", one.address()).await.expect("registered");
    let known = get_json(names.registry(), "/v1/catalog/service/web").await.expect("the service");
    assert_eq!(known[0]["ServiceID"], "w1");
    answered_by(calls.gateway(), &["one"]).await;
    assert_ne!(calls.dns(), names.dns(), "DNS is answered here, too");
}
