//! `/v1/kv/…`.

use serde_json::json;

use crate::client::{House, request};

#[tokio::test]
async fn a_key_is_set_read_and_deleted() {
    let house = House::new().await;
    let absent = house.get("/v1/kv/app/name").await;
    assert_eq!((absent.status, absent.body.as_str()), (404, ""));
    assert!(absent.index() > 0, "there is something to wait from");
    assert_eq!(house.put("/v1/kv/app/name?flags=7", "web").await.body, "true");
    let answer = house.get("/v1/kv/app/name").await;
    let entry = &answer.json()[0];
    assert_eq!(
        *entry,
        json!({
            "LockIndex": 0, "Key": "app/name", "Flags": 7, "Value": "d2Vi",
            "CreateIndex": answer.index(), "ModifyIndex": answer.index(),
        })
    );
    let raw = house.get("/v1/kv/app/name?raw").await;
    assert_eq!((raw.status, raw.body.as_str()), (200, "web"));
    assert_eq!(raw.header("content-type"), Some("text/plain"));
    assert_eq!(raw.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(raw.index(), answer.index());

    assert_eq!(house.put("/v1/kv/app/name?flags=7", "web").await.body, "true");
    assert_eq!(house.get("/v1/kv/app/name").await.index(), answer.index(), "nothing has changed");
    house.put("/v1/kv/app/name", "").await;
    assert_eq!(house.json("/v1/kv/app/name").await[0]["Value"], json!(null));
    assert_eq!(house.delete("/v1/kv/app/name").await.body, "true");
    assert_eq!(house.delete("/v1/kv/app/name").await.body, "true");
    let gone = house.get("/v1/kv/app/name").await;
    assert_eq!(gone.status, 404);
    assert!(gone.index() > answer.index());
}

#[tokio::test]
async fn keys_may_hold_what_paths_escape() {
    let house = House::new().await;
    house.put("/v1/kv/a%20b%2Fc%3F", "1").await;
    assert_eq!(house.json("/v1/kv/?keys").await, json!(["a b/c?"]));
    assert_eq!(house.get("/v1/kv/a%20b/c%3F?raw").await.body, "1");
    assert_eq!(house.get("/v1/kv/%ff").await.status, 400);
}

#[tokio::test]
async fn prefixes_are_listed_and_deleted_whole() {
    let house = House::new().await;
    assert_eq!(house.json("/v1/kv/?keys").await, json!([]), "the root is never missing");
    assert_eq!(house.get("/v1/kv/?recurse").await.status, 404);
    for key in ["a/", "a/1", "a/b/1", "a/b/2", "a/c", "b"] {
        house.put(&format!("/v1/kv/{key}"), key).await;
    }
    let list = house.json("/v1/kv/a/?recurse").await;
    let keys: Vec<_> = list.as_array().expect("a list").iter().map(|e| &e["Key"]).collect();
    assert_eq!(keys, ["a/", "a/1", "a/b/1", "a/b/2", "a/c"]);
    let keys = async |query: &str| house.json(&format!("/v1/kv/{query}")).await;
    assert_eq!(keys("a/?keys&separator=/").await, json!(["a/", "a/1", "a/b/", "a/c"]));
    assert_eq!(keys("?keys&seperator=/").await, json!(["a/", "b"]));
    assert_eq!(keys("a/b?keys").await, json!(["a/b/1", "a/b/2"]));
    assert_eq!(house.get("/v1/kv/nothing?keys").await.status, 404);
    assert_eq!(house.delete("/v1/kv/a/b?recurse").await.body, "true");
    assert_eq!(keys("?keys").await, json!(["a/", "a/1", "a/c", "b"]));
    assert_eq!(house.delete("/v1/kv/?recurse").await.body, "true");
    assert_eq!(keys("?keys").await, json!([]));
}

#[tokio::test]
async fn a_key_is_set_only_if_it_is_as_it_was() {
    let house = House::new().await;
    let put = async |cas: u64| house.put(&format!("/v1/kv/k?cas={cas}"), "x").await.body;
    assert_eq!(put(50).await, "false");
    assert_eq!(put(0).await, "true");
    assert_eq!(put(0).await, "false");
    let index = house.get("/v1/kv/k").await.index();
    assert_eq!(put(index - 1).await, "false");
    assert_eq!(put(index).await, "true");
    house.put("/v1/kv/k", "y").await;
    let delete = async |cas: u64| house.delete(&format!("/v1/kv/k?cas={cas}")).await.body;
    assert_eq!(delete(index).await, "false");
    assert_eq!(delete(0).await, "false");
    assert_eq!(delete(house.get("/v1/kv/k").await.index()).await, "true");
    assert_eq!(delete(index).await, "true", "what is not there is deleted");
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_the_reason() {
    let house = House::with(|raw| {
        raw.limits.kv_value = posthouse_base::config::Size(2048);
        raw.limits.kv_keys = 2;
        raw.limits.kv_bytes = posthouse_base::config::Size(3000);
    })
    .await;
    for (method, path, status, text) in [
        ("GET", "/v1/kv/", 400, "Missing key name"),
        ("PUT", "/v1/kv/", 400, "Missing key name"),
        ("DELETE", "/v1/kv/", 400, "Missing key name"),
        ("PUT", "/v1/kv/k?cas=1&acquire=x", 400, "Conflicting flags"),
        ("DELETE", "/v1/kv/k?cas=1&recurse", 400, "Conflicting flags"),
        ("PUT", "/v1/kv/k?flags=x", 500, "Invalid flags"),
        ("PUT", "/v1/kv/k?flags=18446744073709551616", 500, "Invalid flags"),
        ("PUT", "/v1/kv/k?cas=-1", 500, "Invalid cas"),
        ("DELETE", "/v1/kv/k?cas=", 500, "Invalid cas"),
        ("PUT", "/v1/kv/k?acquire=x", 500, "invalid session \"x\""),
        ("PUT", "/v1/kv/k?acquire=", 500, "missing session"),
        ("PUT", "/v1/kv/k?dc=dc2", 500, "No path to datacenter"),
        ("POST", "/v1/kv/k", 405, "method POST not allowed"),
    ] {
        let answer = request(house.address(), method, path, "v").await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.body.starts_with(text), "{method} {path}: {}", answer.body);
    }
    assert_eq!(house.put("/v1/kv/k?release=x", "v").await.body, "false");
    let long = house.put("/v1/kv/k", &"v".repeat(2049)).await;
    assert_eq!(long.status, 413);
    let text = "Request body(2049 bytes) too large, max size: 2048 bytes.";
    assert!(long.body.starts_with(text), "{}", long.body);
    let key = "k".repeat(2049);
    assert_eq!(house.put(&format!("/v1/kv/{key}"), "").await.status, 400);
    assert_eq!(house.json("/v1/kv/?keys").await, json!([]), "nothing of it was done");

    assert_eq!(house.put("/v1/kv/a", &"v".repeat(2000)).await.body, "true");
    let full = house.put("/v1/kv/b", &"v".repeat(2000)).await;
    assert_eq!(
        (full.status, full.body.as_str()),
        (429, "the registry's limit of 3000 kv_bytes is reached")
    );
    assert_eq!(house.put("/v1/kv/a", "v").await.body, "true", "less is always taken");
    assert_eq!(house.put("/v1/kv/b", "").await.body, "true");
    let full = house.put("/v1/kv/c", "").await;
    assert_eq!(
        (full.status, full.body.as_str()),
        (429, "the registry's limit of 2 kv_keys is reached")
    );
}

#[tokio::test]
async fn a_change_wakes_those_who_watch_the_key_or_what_it_is_in() {
    let house = House::new().await;
    house.put("/v1/kv/app/web/port", "80").await;
    house.put("/v1/kv/app/db", "1").await;
    let mut reads = Vec::new();
    for query in [
        "app/web/port?",
        "app/web/?recurse",
        "app/web?recurse",
        "app/?keys&separator=/",
        "?keys",
        "app/web/por?recurse",
        "app/db?",
        "app/d?recurse",
        "app/web/none?",
    ] {
        let index = house.get(&format!("/v1/kv/{query}")).await.index();
        let (address, path) = (house.address(), format!("/v1/kv/{query}&index={index}"));
        reads.push(tokio::spawn(async move {
            let answer = request(address, "GET", &path, "").await;
            assert!(answer.index() > index, "{path}");
        }));
    }
    house.watchers(9).await;
    house.put("/v1/kv/app/web/port", "81").await;
    house.watchers(3).await;
    let is_done: Vec<_> = reads.iter().map(tokio::task::JoinHandle::is_finished).collect();
    assert!(!is_done[6] && !is_done[7] && !is_done[8], "{is_done:?}");
    house.delete("/v1/kv/app/d?recurse").await;
    house.watchers(1).await;
    house.put("/v1/kv/app/web/none", "").await;
    for read in reads {
        read.await.expect("the read is answered");
    }
}

#[tokio::test]
async fn what_is_deleted_does_not_take_the_index_back() {
    let house = House::new().await;
    house.put("/v1/kv/a/1", "x").await;
    house.put("/v1/kv/a/2", "x").await;
    let before = house.get("/v1/kv/a/?recurse").await.index();
    house.delete("/v1/kv/a/2").await;
    let after = house.get("/v1/kv/a/?recurse").await.index();
    assert!(after > before);
    assert_eq!(house.get("/v1/kv/a/2").await.index(), after);
    assert!(house.get("/v1/kv/a/1").await.index() < before);
    house.put("/v1/kv/b", "x").await;
    assert_eq!(
        house.get("/v1/kv/a/?recurse").await.index(),
        after,
        "what is beside it is another's"
    );
}
