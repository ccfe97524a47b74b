//! `/v1/txn`.

use serde_json::{Value, json};

use crate::client::{Answer, House};

async fn transact(house: &House, ops: &Value) -> Answer {
    house.put("/v1/txn", &ops.to_string()).await
}

#[tokio::test]
async fn all_operations_happen_or_none() {
    let house = House::new().await;
    let ops = json!([
        { "KV": { "Verb": "check-not-exists", "Key": "a" } },
        { "KV": { "Verb": "set", "Key": "a", "Value": "MQ==", "Flags": 3 } },
        { "KV": { "Verb": "set", "Key": "b" } },
        { "KV": { "Verb": "get", "Key": "a" } },
        { "KV": { "Verb": "get-tree", "Key": "" } },
        { "KV": { "Verb": "get-or-empty", "Key": "none" } },
    ]);
    let answer = transact(&house, &ops).await.json();
    assert_eq!(answer["Errors"], Value::Null);
    let results = answer["Results"].as_array().expect("a list");
    let shown: Vec<_> = results.iter().map(|r| (&r["KV"]["Key"], &r["KV"]["Value"])).collect();
    let (a, b, one, none) = (json!("a"), json!("b"), json!("MQ=="), Value::Null);
    let nowhere = json!("none");
    assert_eq!(
        shown,
        [(&a, &none), (&b, &none), (&a, &one), (&a, &one), (&b, &none), (&nowhere, &none)]
    );
    let index = house.get("/v1/kv/a").await.index();
    assert_eq!(house.get("/v1/kv/b").await.index(), index, "they share an index");

    let refused = transact(&house, &ops).await;
    assert_eq!(refused.status, 409);
    let ops = json!([
        { "KV": { "Verb": "set", "Key": "c", "Value": "MQ==" } },
        { "KV": { "Verb": "delete", "Key": "a" } },
        { "KV": { "Verb": "cas", "Key": "b", "Index": 1 } },
        { "KV": { "Verb": "check-index", "Key": "b", "Index": 1 } },
        { "KV": { "Verb": "get", "Key": "a" } },
        { "KV": { "Verb": "lock", "Key": "b", "Session": "no" } },
        { "KV": { "Verb": "jump", "Key": "b" } },
        {},
    ]);
    let refused = transact(&house, &ops).await;
    assert_eq!(refused.status, 409);
    assert_eq!(
        serde_json::from_str::<Value>(&refused.body).expect("JSON"),
        json!({ "Results": null, "Errors": [
            { "OpIndex": 2, "What": "failed to set key \"b\", index is stale" },
            {
                "OpIndex": 3,
                "What": format!("failed index check for key \"b\", current modify index {index} != 1"),
            },
            { "OpIndex": 4, "What": "key \"a\" doesn't exist" },
            { "OpIndex": 5, "What": "invalid session \"no\"" },
            { "OpIndex": 6, "What": "unknown KV verb \"jump\"" },
            { "OpIndex": 7, "What": "no operation specified" },
        ] })
    );
    assert_eq!(house.json("/v1/kv/?keys").await, json!(["a", "b"]), "none has happened");
}

#[tokio::test]
async fn locks_are_taken_and_checked_within_a_transaction() {
    let house = House::new().await;
    let session = house.put("/v1/session/create", "{}").await.json()["ID"].clone();
    let ops = json!([
        { "KV": { "Verb": "lock", "Key": "l", "Session": session, "Value": "MQ==" } },
        { "KV": { "Verb": "check-session", "Key": "l", "Session": session } },
    ]);
    let answer = transact(&house, &ops).await.json();
    assert_eq!(answer["Results"][1]["KV"]["Session"], session);
    let stolen = json!([{ "KV": { "Verb": "check-session", "Key": "l", "Session": "x" } }]);
    assert_eq!(transact(&house, &stolen).await.status, 409);
    let ops = json!([
        { "KV": { "Verb": "unlock", "Key": "l", "Session": session } },
        { "KV": { "Verb": "check-session", "Key": "l", "Session": "" } },
        { "KV": { "Verb": "delete-cas", "Key": "l", "Index": 1 } },
    ]);
    assert_eq!(transact(&house, &ops).await.status, 409);
    assert_eq!(house.json("/v1/kv/l").await[0]["Session"], session);
    // The node's check fails, and with it the session, and so the lock: all in one transaction.
    let ops = json!([
        { "Check": { "Verb": "set", "Check": {
            "Node": "posthouse-1", "CheckID": "disk", "Name": "Disk", "Status": "passing" } } },
    ]);
    assert_eq!(transact(&house, &ops).await.status, 200);
    let body = r#"{"NodeChecks": ["disk"], "LockDelay": "0s"}"#;
    let session = house.put("/v1/session/create", body).await.json()["ID"].clone();
    let ops = json!([
        { "KV": { "Verb": "lock", "Key": "m", "Session": session } },
        { "Check": { "Verb": "set", "Check": {
            "Node": "posthouse-1", "CheckID": "disk", "Name": "Disk", "Status": "critical" } } },
        { "KV": { "Verb": "check-session", "Key": "m", "Session": "" } },
    ]);
    let answer = transact(&house, &ops).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn nodes_services_and_checks_are_written_too() {
    let house = House::new().await;
    let node = json!({ "Node": "n", "Address": "10.0.0.9", "Meta": { "rack": "1" } });
    let service = json!({ "ID": "web-1", "Service": "web", "Port": 80 });
    let check = json!({
        "Node": "n", "CheckID": "up", "Name": "Up", "Status": "passing", "ServiceID": "web-1",
    });
    let ops = json!([
        { "Node": { "Verb": "cas", "Node": node } },
        { "Service": { "Verb": "set", "Node": "n", "Service": service } },
        { "Check": { "Verb": "set", "Check": check } },
        { "Check": { "Verb": "get", "Check": { "Node": "n", "CheckID": "up" } } },
    ]);
    let answer = transact(&house, &ops).await.json();
    let results = &answer["Results"];
    assert_eq!(results[0]["Node"]["Meta"]["rack"], "1");
    assert_eq!(results[1]["Service"]["Port"], 80);
    assert_eq!(results[3]["Check"]["ServiceName"], "web");
    let health = house.json("/v1/health/service/web?passing").await;
    assert_eq!(health[0]["Node"]["Address"], "10.0.0.9");

    let index = results[1]["Service"]["ModifyIndex"].clone();
    let stale = json!({ "ID": "web-1", "Service": "web", "Port": 81, "ModifyIndex": 1 });
    let ops = json!([
        { "Service": { "Verb": "cas", "Node": "n", "Service": stale } },
        { "Service": { "Verb": "get", "Node": "n", "Service": { "ID": "web-2" } } },
        { "Service": { "Verb": "set", "Node": "m", "Service": { "ID": "x", "Service": "x" } } },
        { "Check": { "Verb": "delete-cas", "Check": { "Node": "n", "CheckID": "no" } } },
        { "Node": { "Verb": "get", "Node": { "Node": "m" } } },
    ]);
    let refused = transact(&house, &ops).await;
    assert_eq!(refused.status, 409);
    let errors: Value = serde_json::from_str(&refused.body).expect("JSON");
    let what: Vec<_> =
        errors["Errors"].as_array().expect("a list").iter().map(|e| &e["What"]).collect();
    assert_eq!(
        what,
        [
            "failed to set service \"web-1\" on node \"n\", index is stale",
            "service \"web-2\" on node \"n\" doesn't exist",
            "Missing node registration",
            "failed to delete check \"no\" on node \"n\", index is stale",
            "node \"m\" doesn't exist",
        ]
    );
    let ops = json!([
        { "Service": { "Verb": "delete-cas", "Node": "n", "Service":
            { "ID": "web-1", "ModifyIndex": index } } },
        { "Service": { "Verb": "delete", "Node": "n", "Service": { "ID": "web-1" } } },
        { "Node": { "Verb": "delete", "Node": { "Node": "n" } } },
    ]);
    assert_eq!(transact(&house, &ops).await.status, 200);
    assert_eq!(house.json("/v1/health/service/web").await, json!([]));
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_whole() {
    let house = House::with(|raw| raw.limits.kv_value = posthouse_base::config::Size(4096)).await;
    let many = Value::from(vec![json!({ "KV": { "Verb": "get", "Key": "k" } }); 65]);
    let large = json!([{ "KV": { "Verb": "set", "Key": "k", "Value": "A".repeat(5000) } }]);
    for (body, status, text) in [
        (many.to_string(), 413, "Transaction contains too many operations (65 > 64)"),
        (large.to_string(), 413, "Request body("),
        ("{}".into(), 400, "Failed to parse body: "),
        (String::new(), 400, "Failed to parse body: "),
        (
            r#"[{"KV": {"Verb": "set", "Key": "k", "Value": "%"}}]"#.into(),
            400,
            "Failed to parse body: failed to decode value of \"k\"",
        ),
        (r#"[{"KV": {"Verb": 7}}]"#.into(), 400, "Failed to parse body: "),
    ] {
        let answer = house.put("/v1/txn", &body).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(answer.body.starts_with(text), "{}", answer.body);
    }
    assert_eq!(house.put("/v1/txn", "[]").await.json(), json!({ "Results": [], "Errors": null }));
}
