//! `/v1/event/…`.

use serde_json::{Value, json};

use crate::client::{House, request};

async fn fire(house: &House, path: &str, payload: &str) -> Value {
    house.put(&format!("/v1/event/fire/{path}"), payload).await.json()
}

/// The index of an event, from its id.
fn index_of(event: &Value) -> u64 {
    let digits = event["ID"].as_str().expect("an id").replace('-', "");
    let half = |text: &str| u64::from_str_radix(text, 16).expect("hexadecimal");
    half(&digits[..16]) ^ half(&digits[16..])
}

#[tokio::test]
async fn events_are_listed_in_order_and_waited_for() {
    let house = House::new().await;
    let nothing = house.get("/v1/event/list").await;
    assert_eq!((nothing.json(), nothing.index()), (json!([]), 1));
    let fired = fire(&house, "deploy", "v1").await;
    assert_eq!(
        (&fired["Name"], &fired["Payload"], &fired["Version"], &fired["LTime"]),
        (&json!("deploy"), &json!("djE="), &json!(1), &json!(0))
    );
    let other = fire(&house, "other", "").await;
    let list = house.get("/v1/event/list").await;
    assert_eq!(list.json()[0]["ID"], fired["ID"]);
    assert_eq!((&list.json()[1]["Payload"], &list.json()[1]["LTime"]), (&Value::Null, &json!(2)));
    assert_eq!(list.index(), index_of(&other));
    let named = house.get("/v1/event/list?name=deploy").await;
    assert_eq!((named.json().as_array().map(Vec::len), named.index()), (Some(1), index_of(&fired)));

    let address = house.address();
    let path = format!("/v1/event/list?name=deploy&index={}", named.index());
    let read = tokio::spawn(async move { request(address, "GET", &path, "").await });
    house.watchers(1).await;
    fire(&house, "other", "").await;
    let next = fire(&house, "deploy", "v2").await;
    let woken = read.await.expect("answered");
    assert_eq!((woken.index(), &woken.json()[1]["ID"]), (index_of(&next), &next["ID"]));
}

#[tokio::test]
async fn events_for_others_do_not_happen_here() {
    let house = House::new().await;
    house.register(r#"{"Name": "web", "Tags": ["v1"]}"#).await;
    for (query, is_for_us) in [
        ("node=posthouse", true),
        ("node=%5Eother", false),
        ("service=web", true),
        ("service=db", false),
        ("service=web&tag=v%5Cd", true),
        ("service=web&tag=v2", false),
    ] {
        let before = house.json("/v1/event/list").await.as_array().map(Vec::len);
        fire(&house, &format!("e?{query}"), "").await;
        let after = house.json("/v1/event/list").await.as_array().map(Vec::len);
        assert_eq!(before != after, is_for_us, "{query}");
    }
    for (path, payload, status, text) in [
        ("", "", 400, "Missing name"),
        ("e?tag=x", "", 500, "Cannot provide tag filter without service filter"),
        ("e?node=(", "", 500, "Invalid node filter: "),
        ("e?service=(", "", 500, "Invalid service filter: "),
        ("e", &"x".repeat(600), 500, "user event exceeds configured limit of 512 bytes"),
    ] {
        let answer = house.put(&format!("/v1/event/fire/{path}"), payload).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.body.starts_with(text), "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn the_newest_256_are_remembered() {
    let house = House::new().await;
    let mut last = Value::Null;
    for number in 0..260 {
        last = fire(&house, "e", &number.to_string()).await;
    }
    let list = house.json("/v1/event/list").await;
    let list = list.as_array().expect("a list");
    assert_eq!(list.len(), 256);
    assert_eq!((&list[0]["LTime"], &list[255]["ID"]), (&json!(5), &last["ID"]));
}
