//! The registry under load, killed at random moments: whatever was confirmed is there afterwards, as
//! it was, and no index goes back.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Response};
use posthouse_tests::client::{self, Connection};
use posthouse_tests::house::House;
use posthouse_tests::wait::{ensure, eventually};
use serde_json::{Value, json};

/// How often it is killed.
const KILLS: usize = 8;

const WRITERS: usize = 4;

const CONFIG: &str = "registry: { address: 127.0.0.1:0, dns: off }\n";

/// What clients were told.
#[derive(Debug, Default)]
struct Told {
    /// Services, in the order of their confirmations.
    services: Vec<String>,
    /// Keys, with their values.
    keys: Vec<(String, String)>,
    /// The highest index.
    index: u64,
}

type Shared = Arc<Mutex<Told>>;

fn told(shared: &Shared) -> std::sync::MutexGuard<'_, Told> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn index_of(answer: &Response<Bytes>) -> u64 {
    let index = answer.headers().get("x-consul-index").expect("an index");
    index.to_str().expect("text").parse().expect("a number")
}

/// Registers services and writes keys, one after the other, until the registry is gone.
async fn write(registry: SocketAddr, name: String, shared: Shared) -> anyhow::Result<()> {
    let host = registry.to_string();
    let mut connection = Connection::open(registry).await?;
    for number in 0.. {
        let id = format!("{name}-{number}");
        let check = json!({ "TTL": "1h", "Status": "passing", "Notes": id });
        let body = json!({ "ID": id, "Name": id, "Port": 80, "Check": check }).to_string();
        let path = "/v1/agent/service/register";
        let answer = connection.send(client::request(Method::PUT, &host, path, body)).await?;
        assert_eq!(answer.status(), 200, "{answer:?}");
        told(&shared).services.push(id.clone());
        let path = format!("/v1/kv/{id}");
        let answer =
            connection.send(client::request(Method::PUT, &host, &path, id.clone())).await?;
        assert_eq!(answer.body(), "true", "{answer:?}");
        told(&shared).keys.push((id.clone(), id));
    }
    Ok(())
}

/// Reads the list of services again and again: whoever sees something must see it ever after.
async fn read(registry: SocketAddr, shared: Shared) -> anyhow::Result<()> {
    let host = registry.to_string();
    let mut connection = Connection::open(registry).await?;
    loop {
        let before = told(&shared).index;
        let path = "/v1/catalog/services";
        let answer = connection.send(client::request(Method::GET, &host, path, "")).await?;
        let index = index_of(&answer);
        assert!(index >= before, "index {index} after {before}");
        let list: Value = serde_json::from_slice(answer.body())?;
        let mut told = told(&shared);
        told.index = told.index.max(index);
        let seen = list.as_object().into_iter().flat_map(|list| list.keys().cloned());
        told.services.extend(seen.filter(|name| name != "consul").collect::<Vec<_>>());
    }
}

/// Everything that was told is there.
async fn compare(registry: SocketAddr, shared: &Shared) {
    let answer = client::get(registry, "registry", "/v1/catalog/services").await.expect("services");
    let index = index_of(&answer);
    let services: Value = serde_json::from_slice(answer.body()).expect("JSON");
    let health = client::get_json(registry, "/v1/health/state/passing").await.expect("health");
    let health = health.as_array().expect("a list").iter();
    let passing: std::collections::HashSet<&str> =
        health.filter_map(|check| check["ServiceName"].as_str()).collect();
    let keys = client::get_json(registry, "/v1/kv/?keys").await;
    let keys = keys.unwrap_or_else(|_none| json!([]));
    let keys: std::collections::HashSet<&str> =
        keys.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let mut told = told(shared);
    assert!(index >= told.index, "index {index}, after {} was told", told.index);
    told.index = index;
    told.services.sort_unstable();
    told.services.dedup();
    for service in &told.services {
        assert!(services.get(service).is_some(), "{service} is lost");
        assert!(passing.contains(service.as_str()), "{service} does not pass any more");
    }
    for (key, _) in &told.keys {
        assert!(keys.contains(key.as_str()), "key {key} is lost");
    }
}

#[tokio::test]
async fn what_was_confirmed_survives_being_killed() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let shared = Shared::default();
    let mut house = House::start(CONFIG).await;
    let about = client::get_json(house.registry(), "/v1/agent/self").await.expect("about");
    let node = about["Config"]["NodeID"].clone();
    for kill in 0..KILLS {
        let registry = house.registry();
        let writers = (0..WRITERS).map(|writer| {
            let name = format!("s{kill}-{writer}");
            tokio::spawn(write(registry, name, Arc::clone(&shared)))
        });
        let writers: Vec<_> = writers.collect();
        let reader = tokio::spawn(read(registry, Arc::clone(&shared)));
        let enough = told(&shared).keys.len() + random.usize(1..200);
        eventually("confirmations", || {
            let reached = told(&shared).keys.len();
            async move { ensure(reached >= enough, || format!("{reached} of {enough}")) }
        })
        .await;
        if random.u8(..4) > 0 {
            house.program().kill().await;
        } else {
            house.stop().await;
        }
        for writer in writers {
            writer.await.expect("it was answered well").expect_err("the registry is gone");
        }
        reader.await.expect("it was answered well").expect_err("the registry is gone");
        house = house.restart().await;
        compare(house.registry(), &shared).await;
        let about = client::get_json(house.registry(), "/v1/agent/self").await.expect("about");
        assert_eq!(about["Config"]["NodeID"], node, "the node is another");
    }
    let values = told(&shared).keys.clone();
    let (key, value) = &values[random.usize(..values.len())];
    let path = format!("/v1/kv/{key}?raw");
    let answer = client::get(house.registry(), "registry", &path).await.expect("a value");
    assert_eq!(answer.body(), value.as_str());
}
