//! `/v1/session/…`, and the locks that live by sessions.

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::client::{Answer, House, request};

async fn create(house: &House, body: &str) -> String {
    let answer = house.put("/v1/session/create", body).await.json();
    answer["ID"].as_str().expect("an id").to_owned()
}

async fn lock(house: &House, key: &str, session: &str) -> String {
    house.put(&format!("/v1/kv/{key}?acquire={session}"), "held").await.body
}

/// A read that waits for a session to change.
async fn watched(house: &House, id: &str) -> JoinHandle<Answer> {
    let index = house.get(&format!("/v1/session/info/{id}")).await.index();
    let (address, path) = (house.address(), format!("/v1/session/info/{id}?index={index}"));
    let read = tokio::spawn(async move { request(address, "GET", &path, "").await });
    house.watchers(1).await;
    read
}

#[tokio::test]
async fn a_session_is_shown_as_it_was_created() {
    let house = House::new().await;
    let id = create(&house, r#"{"name": "mine", "ttl": "20s", "Behavior": "delete"}"#).await;
    let list = house.get("/v1/session/list").await;
    let index = list.index();
    let expected = json!([{
        "ID": id, "Name": "mine", "Node": "posthouse-1", "LockDelay": 15_000_000_000_u64,
        "Behavior": "delete", "TTL": "20s", "NodeChecks": ["serfHealth"], "ServiceChecks": null,
        "CreateIndex": index, "ModifyIndex": index,
    }]);
    assert_eq!(list.json(), expected);
    assert_eq!(house.json("/v1/session/node/posthouse-1").await, expected);
    assert_eq!(house.json("/v1/session/node/other").await, json!([]));
    assert_eq!(house.json(&format!("/v1/session/info/{id}")).await, expected);
    assert_eq!(house.json("/v1/session/info/unknown").await, json!([]));
    let renewed = house.put(&format!("/v1/session/renew/{id}"), "").await;
    assert_eq!(renewed.json(), expected);
    let unknown = house.put("/v1/session/renew/unknown", "").await;
    assert_eq!((unknown.status, unknown.body.as_str()), (404, "Session id 'unknown' not found"));
    for _ in 0..2 {
        assert_eq!(house.put(&format!("/v1/session/destroy/{id}"), "").await.body, "true");
        assert_eq!(house.json("/v1/session/list").await, json!([]));
    }
    assert!(house.get("/v1/session/list").await.index() > index);
}

#[tokio::test]
async fn a_session_may_say_how_long_its_keys_are_left_alone() {
    let house = House::new().await;
    for (delay, nanos) in [
        ("15", 15_000_000_000_u64),
        ("\"5s\"", 5_000_000_000),
        ("2000000000", 2_000_000_000),
        ("0", 0),
        ("\"1m30s\"", 90_000_000_000),
    ] {
        let id = create(&house, &format!(r#"{{"LockDelay": {delay}}}"#)).await;
        let info = house.json(&format!("/v1/session/info/{id}")).await;
        assert_eq!(info[0]["LockDelay"], nanos, "{delay}");
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_the_reason() {
    let house = House::new().await;
    house.register(r#"{"Name": "web", "Check": {"TTL": "1h"}}"#).await;
    for (body, status, text) in [
        ("[]", 400, "Request decode failed: "),
        (r#"{"Name": 1}"#, 400, "Request decode failed: "),
        (r#"{"LockDelay": "soon"}"#, 400, "Request decode failed: time: invalid duration"),
        (
            r#"{"TTL": "9s"}"#,
            500,
            "Invalid Session TTL '9000000000', must be between [10s=24h0m0s]",
        ),
        (r#"{"TTL": "86401s"}"#, 500, "Invalid Session TTL"),
        (r#"{"TTL": "soon"}"#, 500, "Session TTL 'soon' invalid"),
        (r#"{"Behavior": "keep"}"#, 500, "Invalid Behavior setting 'keep'"),
        (r#"{"Node": "other"}"#, 500, "Missing node registration"),
        (r#"{"Checks": ["no"]}"#, 500, "Missing check 'no' registration"),
        (
            r#"{"ServiceChecks": [{"ID": "service:web"}]}"#,
            500,
            "Check 'service:web' is in critical",
        ),
    ] {
        let answer = house.put("/v1/session/create", body).await;
        assert_eq!(answer.status, status, "{body}");
        assert!(answer.body.starts_with(text), "{body}: {}", answer.body);
    }
    for (method, path, text) in [
        ("GET", "info/", "Missing session"),
        ("PUT", "renew/", "Missing session"),
        ("PUT", "destroy/", "Missing session"),
        ("GET", "node/", "Missing node name"),
    ] {
        let answer = request(house.address(), method, &format!("/v1/session/{path}"), "").await;
        assert_eq!((answer.status, answer.body.as_str()), (400, text));
    }
    let other = house.put("/v1/session/create?dc=dc2", "").await;
    assert_eq!((other.status, other.body.as_str()), (500, "No path to datacenter"));
}

#[tokio::test]
async fn a_lock_has_one_holder() {
    let house = House::new().await;
    let (one, two) = (create(&house, "").await, create(&house, "").await);
    assert_eq!(lock(&house, "leader", &one).await, "true");
    assert_eq!(lock(&house, "leader", &two).await, "false");
    assert_eq!(lock(&house, "leader", &one).await, "true");
    let entry = async || house.json("/v1/kv/leader").await[0].clone();
    assert_eq!((&entry().await["Session"], &entry().await["LockIndex"]), (&json!(one), &json!(1)));
    house.put("/v1/kv/leader", "by anybody").await;
    assert_eq!(entry().await["Session"], json!(one), "a lock keeps nobody from writing");
    let release = async |session: &str| {
        house.put(&format!("/v1/kv/leader?release={session}"), "free").await.body
    };
    assert_eq!(release(&two).await, "false");
    assert_eq!(release(&one).await, "true");
    assert_eq!(entry().await["Session"], Value::Null);
    assert_eq!(lock(&house, "leader", &two).await, "true", "one that let go causes no delay");
    assert_eq!(entry().await["LockIndex"], 2);
}

#[tokio::test]
async fn with_a_session_its_locks_end_and_their_keys_are_left_alone_for_a_time() {
    let house = House::new().await;
    let two = create(&house, "").await;
    for (body, kept, free_at_once) in [
        ("{}", true, false),
        (r#"{"Behavior": "delete"}"#, false, false),
        (r#"{"LockDelay": "0s"}"#, true, true),
    ] {
        let one = create(&house, body).await;
        let key = format!("lock-{kept}-{free_at_once}");
        assert_eq!(lock(&house, &key, &one).await, "true");
        let index = house.get(&format!("/v1/kv/{key}")).await.index();
        let (address, path) = (house.address(), format!("/v1/kv/{key}?index={index}"));
        let read = tokio::spawn(async move { request(address, "GET", &path, "").await });
        house.watchers(1).await;
        house.put(&format!("/v1/session/destroy/{one}"), "").await;
        let woken = read.await.expect("answered");
        assert_eq!(woken.status == 200, kept, "{body}");
        if kept {
            assert_eq!(woken.json()[0]["Session"], Value::Null);
        }
        assert_eq!(lock(&house, &key, &two).await == "true", free_at_once, "{body}");
        assert_eq!(house.put(&format!("/v1/kv/{key}"), "written").await.body, "true");
    }
}

#[tokio::test]
async fn a_session_ends_with_its_checks_and_its_node() {
    let house = House::new().await;
    house.register(r#"{"Name": "web", "Check": {"TTL": "1h", "Status": "passing"}}"#).await;
    house.put("/v1/catalog/register", r#"{"Node": "n", "Address": "a"}"#).await;
    let bound =
        || create(&house, r#"{"NodeChecks": [], "ServiceChecks": [{"ID": "service:web"}]}"#);
    let free = create(&house, r#"{"Checks": []}"#).await;

    let id = bound().await;
    let info = house.json(&format!("/v1/session/info/{id}")).await;
    assert_eq!(info[0]["ServiceChecks"], json!([{ "ID": "service:web", "Namespace": "" }]));
    let read = watched(&house, &id).await;
    house.put("/v1/agent/check/warn/service:web", "").await;
    house.put("/v1/agent/check/fail/service:web", "").await;
    assert_eq!(read.await.expect("answered").json(), json!([]));

    house.put("/v1/agent/check/pass/service:web", "").await;
    let id = bound().await;
    let read = watched(&house, &id).await;
    house.put("/v1/agent/service/deregister/web", "").await;
    assert_eq!(read.await.expect("answered").json(), json!([]));

    let id = create(&house, r#"{"Node": "n", "Checks": []}"#).await;
    let read = watched(&house, &id).await;
    house.put("/v1/catalog/deregister", r#"{"Node": "n"}"#).await;
    assert_eq!(read.await.expect("answered").json(), json!([]));

    let left = house.json("/v1/session/list").await;
    assert_eq!((&left[0]["ID"], left.as_array().map(Vec::len)), (&json!(free), Some(1)));
}

#[tokio::test]
async fn sessions_are_limited() {
    let house = House::with(|raw| raw.limits.sessions = 1).await;
    create(&house, "").await;
    let answer = house.put("/v1/session/create", "").await;
    let text = "the registry's limit of 1 sessions is reached";
    assert_eq!((answer.status, answer.body.as_str()), (429, text));
}
