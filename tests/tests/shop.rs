//! The sample shop as the demo runs it: instances in processes of their own, found through the
//! registry, called through the gateway.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use posthouse_tests::backend::Backend;
use posthouse_tests::program::output_of;
use posthouse_tests::shop::{CONFIG, answered_by, passing, start};
use posthouse_tests::wait::ensure;
use posthouse_tests::{House, client, eventually, python, workspace};
use serde_json::{Value, json};

async fn post(house: &House, path: &str, body: &Value) -> (StatusCode, Value) {
    let mut request = client::request(Method::POST, "shop.example", path, body.to_string());
    let json = http::HeaderValue::from_static("application/json");
    request.headers_mut().insert(http::header::CONTENT_TYPE, json);
    let answer = client::send(house.gateway(), request).await.expect("an answer");
    (answer.status(), serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
}

#[tokio::test]
async fn calls_are_shared_and_an_instance_that_stops_is_left_out() {
    let house = House::start(CONFIG).await;
    let mut first = start(&house, "users", "users-1").await;
    let _second = start(&house, "users", "users-2").await;
    answered_by(&house, "/api/v1/users/1", &["users-1", "users-2"]).await;

    assert!(first.stop().await.success());
    let left = BTreeSet::from(["users-2".to_owned()]);
    assert_eq!(passing(&house, "users").await, Ok(left));
    answered_by(&house, "/api/v1/users/1", &["users-2"]).await;
}

#[tokio::test]
async fn an_order_finds_its_user_by_name_through_the_gateway() {
    let house = House::start(CONFIG).await;
    let _users = start(&house, "users", "users-1").await;
    let _orders = start(&house, "orders", "orders-1").await;
    answered_by(&house, "/api/v1/users/1", &["users-1"]).await;
    answered_by(&house, "/api/v1/orders", &["orders-1"]).await;

    let (status, order) =
        post(&house, "/api/v1/orders", &json!({"user_id": 1, "item": "tea"})).await;
    assert_eq!((status, &order["user_name"]), (StatusCode::CREATED, &json!("Alice")), "{order}");
    let (status, refused) =
        post(&house, "/api/v1/orders", &json!({"user_id": 99, "item": "tea"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused["fields"]["user_id"], "there is no user 99");
}

#[tokio::test]
async fn an_order_and_the_call_it_makes_are_one_trace() {
    let house = House::start(CONFIG).await;
    // In the users' place, so that the call can be looked at.
    let users = Backend::answering(|_| {
        http::Response::new(r#"{"id":1,"name":"Alice","email":"alice@shop.example"}"#.into())
    })
    .await;
    client::register(house.registry(), "users", "users-x", users.address())
        .await
        .expect("a registration");
    let _orders = start(&house, "orders", "orders-1").await;
    answered_by(&house, "/api/v1/orders", &["orders-1"]).await;

    let body = json!({"user_id": 1, "item": "tea"}).to_string();
    let mut request = client::request(Method::POST, "shop.example", "/api/v1/orders", body);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01").parse().expect("a header");
    request.headers_mut().insert("traceparent", parent);
    let json = http::HeaderValue::from_static("application/json");
    request.headers_mut().insert(http::header::CONTENT_TYPE, json);
    let answer = client::send(house.gateway(), request).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::CREATED);
    let [asked] = &users.seen()[..] else { panic!("one call, not {}", users.requests()) };
    assert_eq!(asked.uri.path(), "/api/v1/users/1");
    let begins = format!("00-{trace}-");
    assert!(asked.header("traceparent").starts_with(&begins), "{:?}", asked.headers);
}

#[tokio::test]
async fn users_answer_grpc_on_the_same_port() {
    let house = House::start(CONFIG).await;
    let _users = start(&house, "users", "users-1").await;
    answered_by(&house, "/api/v1/users/1", &["users-1"]).await;
    eventually("its gRPC side to be passing", || async {
        let ids = passing(&house, "users-grpc").await?;
        ensure(ids.contains("users-1-grpc"), || format!("passing: {ids:?}"))
    })
    .await;
    let added = 120;
    for number in 0..added {
        let user = json!({ "name": "More", "email": format!("more-{number}@shop.example") });
        assert_eq!(post(&house, "/api/v1/users", &user).await.0, StatusCode::CREATED);
    }

    let proto = workspace().join("examples/shop/proto/shop/v1/users.proto");
    python::generate_stubs(&proto, house.folder()).await;
    let script = workspace().join("tests/python/shop_calls.py");
    let mut command = python::script(&script, house.folder(), house.folder());
    command.arg(house.gateway().to_string()).arg(added.to_string());
    assert_eq!(output_of(command).await, "ok\n");
}
