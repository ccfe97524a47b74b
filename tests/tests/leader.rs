//! Leader election by keys and sessions, as Consul's clients do it, while Posthouse is killed and
//! started again: there is never more than one leader, and a restart deposes nobody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use posthouse_tests::client;
use posthouse_tests::house::House;
use posthouse_tests::wait::{ensure, eventually};
use serde_json::{Value, json};
use tokio::sync::watch;

const CONFIG: &str = "registry: { address: 127.0.0.1:0, dns: off }\n";

/// How often it is killed while candidates compete.
const KILLS: usize = 5;

const CANDIDATES: usize = 4;

async fn put(registry: SocketAddr, path: &str, body: &str) -> anyhow::Result<Value> {
    let host = registry.to_string();
    let request = client::request(Method::PUT, &host, path, body.to_owned());
    let answer = client::send(registry, request).await?;
    let text = String::from_utf8_lossy(answer.body());
    anyhow::ensure!(matches!(answer.status().as_u16(), 200 | 409), "{path}: {text}");
    Ok(serde_json::from_str(&text)?)
}

async fn create(registry: SocketAddr, body: &Value) -> anyhow::Result<String> {
    let answer = put(registry, "/v1/session/create", &body.to_string()).await?;
    Ok(answer["ID"].as_str().unwrap_or_default().to_owned())
}

async fn acquire(registry: SocketAddr, key: &str, session: &str) -> anyhow::Result<bool> {
    Ok(put(registry, &format!("/v1/kv/{key}?acquire={session}"), session).await? == json!(true))
}

#[tokio::test]
async fn a_restart_deposes_nobody_and_frees_nothing_too_early() {
    let mut house = House::start(CONFIG).await;
    let registry = house.registry();
    let session = |delay: &str| json!({ "TTL": "10s", "LockDelay": delay });
    let one = create(registry, &session("0s")).await.expect("a session");
    let two = create(registry, &session("15s")).await.expect("a session");
    assert!(acquire(registry, "leader", &one).await.expect("answered"));
    assert!(acquire(registry, "delayed", &two).await.expect("answered"));
    let three = create(registry, &session("0s")).await.expect("a session");
    put(registry, &format!("/v1/session/destroy/{two}"), "").await.expect("destroyed");
    let before = client::get_json(registry, "/v1/kv/leader").await.expect("a key");
    let sessions = client::get_json(registry, "/v1/session/list").await.expect("sessions");

    house.program().kill().await;
    house = house.restart().await;
    let registry = house.registry();
    let after = client::get_json(registry, "/v1/kv/leader").await.expect("a key");
    assert_eq!((&after, &after[0]["Session"]), (&before, &json!(one)));
    let kept = client::get_json(registry, "/v1/session/list").await.expect("sessions");
    assert_eq!(kept, sessions);
    assert!(!acquire(registry, "leader", &three).await.expect("answered"), "it has a leader");
    assert!(!acquire(registry, "delayed", &three).await.expect("answered"), "it is left alone");
    let renewed = put(registry, &format!("/v1/session/renew/{one}"), "").await.expect("renewed");
    assert_eq!(renewed[0]["ID"], json!(one));

    let index = after[0]["ModifyIndex"].as_u64().expect("an index");
    let path = format!("/v1/kv/leader?index={index}&wait=1m");
    let watch = tokio::spawn(async move { client::get_json(registry, &path).await });
    put(registry, &format!("/v1/session/destroy/{one}"), "").await.expect("destroyed");
    let freed = watch.await.expect("it ran").expect("it was told");
    assert_eq!(freed[0]["Session"], Value::Null);
    assert!(acquire(registry, "leader", &three).await.expect("answered"));
    let leader = client::get_json(registry, "/v1/kv/leader").await.expect("a key");
    assert_eq!(leader[0]["LockIndex"], 2);
}

/// What candidates count while each leads.
#[derive(Debug, Default)]
struct Counted {
    confirmed: AtomicU64,
    /// Sent, and neither confirmed nor refused.
    unknown: AtomicU64,
}

/// Leads, adds one to a counter that nobody else may touch meanwhile, and lets another lead.
async fn lead(registry: SocketAddr, session: &str, counted: &Counted) -> anyhow::Result<()> {
    if !acquire(registry, "leader", session).await? {
        return Ok(());
    }
    let count = client::get_json(registry, "/v1/kv/?recurse").await?;
    let entries = count.as_array().into_iter().flatten();
    let mut entries = entries.filter(|entry| entry["Key"] == "count");
    // The flags count: a number that needs no encoding.
    let count = entries.next().and_then(|entry| entry["Flags"].as_u64()).unwrap_or(0);
    let ops = json!([
        { "KV": { "Verb": "check-session", "Key": "leader", "Session": session } },
        { "KV": { "Verb": "set", "Key": "count", "Flags": count + 1 } },
        { "KV": { "Verb": "unlock", "Key": "leader", "Session": session } },
    ]);
    let answer = put(registry, "/v1/txn", &ops.to_string()).await;
    let answer = answer.inspect_err(|_lost| {
        counted.unknown.fetch_add(1, Ordering::Relaxed);
    })?;
    anyhow::ensure!(answer["Errors"].is_null(), "a leader was deposed: {answer}");
    counted.confirmed.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// One that wants to lead again and again, wherever the registry is.
async fn compete(session: String, mut place: watch::Receiver<SocketAddr>, counted: Arc<Counted>) {
    loop {
        let registry = *place.borrow_and_update();
        if let Err(error) = lead(registry, &session, &counted).await {
            assert!(!error.to_string().contains("deposed"), "{error}");
            // It was killed: it is somewhere else then, or this is over.
            if place.changed().await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn those_who_lead_in_turn_count_without_a_gap_through_any_number_of_kills() {
    let mut house = House::start(CONFIG).await;
    let registry = house.registry();
    let (moved, place) = watch::channel(registry);
    let counted = Arc::new(Counted::default());
    let mut candidates = Vec::new();
    for _ in 0..CANDIDATES {
        let session = create(registry, &json!({ "TTL": "1h" })).await.expect("a session");
        let task = compete(session, place.clone(), Arc::clone(&counted));
        candidates.push(tokio::spawn(task));
    }
    let confirmed = || counted.confirmed.load(Ordering::Relaxed);
    for _ in 0..KILLS {
        let enough = confirmed() + fastrand::u64(20..60);
        eventually("leaders to count", || {
            let reached = confirmed();
            async move { ensure(reached >= enough, || format!("{reached} of {enough}")) }
        })
        .await;
        house.program().kill().await;
        house = house.restart().await;
        moved.send_replace(house.registry());
    }
    house.program().kill().await;
    drop(moved);
    for candidate in candidates {
        candidate.await.expect("nobody was deposed");
    }
    house = house.restart().await;
    let count = client::get_json(house.registry(), "/v1/kv/count").await.expect("a key");
    let count = count[0]["Flags"].as_u64().expect("a number");
    let (least, unknown) = (confirmed(), counted.unknown.load(Ordering::Relaxed));
    assert!((least..=least + unknown).contains(&count), "{count}: {least} and {unknown} perhaps");
}
