//! Blocking reads: woken by what they wait for, and by nothing else.

use std::io::Read as _;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use serde_json::json;

use crate::client::{DEADLINE, House, raw_bytes, request};

#[tokio::test]
async fn a_change_wakes_those_who_watch_it_and_nobody_else() {
    let house = House::new().await;
    house.register(r#"{"Name": "web", "Check": {"TTL": "1h", "Status": "passing"}}"#).await;
    house.register(r#"{"Name": "db"}"#).await;
    let mut reads = Vec::new();
    for path in [
        "health/service/db",
        "health/service/web",
        "catalog/service/web",
        "health/checks/web",
        "health/state/any",
        "health/node/posthouse-1",
        "catalog/services",
        "catalog/nodes",
    ] {
        let index = house.get(&format!("/v1/{path}")).await.index();
        let address = house.address();
        let path = format!("/v1/{path}?index={index}");
        reads.push(tokio::spawn(async move {
            let answer = request(address, "GET", &path, "").await;
            assert!(answer.index() > index, "{path}");
        }));
    }
    house.watchers(8).await;
    house.put("/v1/agent/check/fail/service:web", "").await;
    house.watchers(3).await;
    let is_done: Vec<_> = reads.iter().map(tokio::task::JoinHandle::is_finished).collect();
    assert!(!is_done[0] && !is_done[6] && !is_done[7], "{is_done:?}");
    house.put("/v1/agent/service/deregister/db", "").await;
    house.watchers(1).await;
    house.put("/v1/catalog/register", r#"{"Node": "n", "Address": "a"}"#).await;
    for read in reads {
        read.await.expect("the read is answered");
    }
}

#[tokio::test]
async fn a_service_that_comes_and_goes_keeps_its_index() {
    let house = House::new().await;
    let path = "/v1/health/service/ghost";
    let mut last = house.get(path).await.index();
    for _ in 0..3 {
        let address = house.address();
        let blocked = format!("{path}?index={last}&wait=1m");
        let read = tokio::spawn(async move { request(address, "GET", &blocked, "").await });
        house.watchers(1).await;
        house.register(r#"{"Name": "ghost"}"#).await;
        let came = read.await.expect("answered");
        assert_eq!(came.json().as_array().map(Vec::len), Some(1));
        assert!(came.index() > last);
        house.put("/v1/agent/service/deregister/ghost", "").await;
        let gone = house.get(&format!("{path}?index={}", came.index())).await;
        assert_eq!(gone.json(), json!([]));
        assert!(gone.index() > came.index());
        last = gone.index();
    }
    house.register(r#"{"Name": "other"}"#).await;
    assert_eq!(house.get(path).await.index(), last, "another service's change is none of this one");
}

#[tokio::test]
async fn a_wait_ends_unchanged_after_its_time() {
    let house = House::new().await;
    let index = house.get("/v1/catalog/services").await.index();
    let began = Instant::now();
    let answer = house.get(&format!("/v1/catalog/services?index={index}&wait=50ms")).await;
    assert_eq!(answer.index(), index);
    assert!(began.elapsed() >= Duration::from_millis(50));
    let future = house.get(&format!("/v1/catalog/services?index={}", index + 1_000_000)).await;
    assert_eq!(future.index(), index, "an index from another life is answered at once");
    assert_eq!(house.get("/v1/catalog/services?index=x").await.body, "Invalid index");
    assert_eq!(house.get("/v1/catalog/services?index=1&wait=x").await.body, "Invalid wait time");
}

#[tokio::test]
async fn one_instance_is_watched_by_its_hash() {
    let house = House::new().await;
    house.register(r#"{"Name": "web", "Port": 80}"#).await;
    let first = house.get("/v1/agent/service/web").await;
    let hash = first.header("X-Consul-ContentHash").expect("a hash").to_owned();
    let address = house.address();
    let path = format!("/v1/agent/service/web?hash={hash}&wait=1m");
    let read = tokio::spawn(async move { request(address, "GET", &path, "").await });
    house.watchers(1).await;
    // A change of health is none of the registration.
    house.put("/v1/agent/service/maintenance/web?enable=true", "").await;
    house.register(r#"{"Name": "web", "Port": 81}"#).await;
    let second = read.await.expect("answered").json();
    assert_eq!(second["Port"], 81);
    assert_ne!(second["ContentHash"], json!(hash));
}

#[tokio::test]
async fn a_read_whose_client_has_gone_is_forgotten() {
    use tokio::io::AsyncWriteExt;
    let house = House::new().await;
    let index = house.get("/v1/catalog/nodes").await.index();
    let mut stream = tokio::net::TcpStream::connect(house.address()).await.expect("connected");
    let text = format!("GET /v1/catalog/nodes?index={index} HTTP/1.1\r\nhost: r\r\n\r\n");
    stream.write_all(text.as_bytes()).await.expect("sent");
    house.watchers(1).await;
    drop(stream);
    house.watchers(0).await;
}

#[tokio::test]
async fn closing_answers_those_who_wait() {
    let house = House::new().await;
    let index = house.get("/v1/catalog/nodes").await.index();
    let address = house.address();
    let path = format!("/v1/catalog/nodes?index={index}");
    let read = tokio::spawn(async move { request(address, "GET", &path, "").await });
    house.watchers(1).await;
    house.registry.close(DEADLINE).await;
    assert_eq!(read.await.expect("answered").status, 200);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

/// As Consul compresses for who takes it: Go's clients do, and with them most of those that watch.
#[tokio::test]
async fn what_many_are_told_is_compressed_for_who_takes_it() {
    let house = House::new().await;
    for number in 0..8 {
        house.register(&format!(r#"{{"Name": "web", "ID": "web-{number}"}}"#)).await;
    }
    let plain = house.get("/v1/health/service/web").await;
    assert_eq!(plain.header("content-encoding"), None);
    let ask = "GET /v1/health/service/web HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
               accept-encoding: br, gzip\r\n\r\n";
    let answer = raw_bytes(house.address(), ask.as_bytes()).await;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let head = std::str::from_utf8(&answer[..end]).expect("text").to_ascii_lowercase();
    assert!(head.contains("content-encoding: gzip") && head.contains("vary: accept-encoding"));
    let mut body = String::new();
    GzDecoder::new(&answer[end..]).read_to_string(&mut body).expect("gzip");
    assert_eq!(body, plain.body);
    let again = house.get("/v1/health/service/web").await;
    assert_eq!((again.header("content-encoding"), &again.body), (None, &plain.body));
}
