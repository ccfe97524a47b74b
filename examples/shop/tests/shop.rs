//! Both services as a client sees them. The registry is a stand-in that keeps what it is told;
//! the gateway's place is taken by the `users` instance itself.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::Json;
use axum::routing::put;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioExecutor;
use posthouse_shop::{Options, Service};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// A registry that passes on what is registered.
async fn registry() -> (String, mpsc::UnboundedReceiver<Value>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let register = put(move |Json(entry): Json<Value>| async move {
        sender.send(entry).expect("the test is still listening");
    });
    let app = axum::Router::new().route("/v1/agent/service/register", register);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address.to_string(), receiver)
}

/// Starts an instance and returns its address as it registered itself.
async fn start(service: Service, instance: &str, folder: &Path, gateway: &str) -> SocketAddr {
    let (registry, mut registered) = registry().await;
    let options = Options {
        service,
        instance: instance.to_owned(),
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        database: folder.join(format!("{}.db", service.name())),
        registry,
        gateway: gateway.to_owned(),
        messages: None,
        pause: Duration::ZERO,
    };
    tokio::spawn(posthouse_shop::run(options));
    let entry = tokio::time::timeout(Duration::from_secs(20), registered.recv())
        .await
        .expect("it registers itself in time")
        .expect("the registry is up");
    assert_eq!(entry["ID"], instance);
    assert_eq!(entry["Name"], service.name());
    assert_eq!(entry["Check"]["Interval"], "1s");
    let port = entry["Port"].as_u64().expect("a port");
    SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("a port")))
}

async fn call(request: Request<Full<Bytes>>) -> Response<Value> {
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .build_http::<Full<Bytes>>();
    let (head, body) = client.request(request).await.expect("an answer").into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    let value = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
    Response::from_parts(head, value)
}

async fn get(address: SocketAddr, path: &str) -> Response<Value> {
    let request = Request::get(format!("http://{address}{path}"));
    call(request.body(Full::default()).expect("a request")).await
}

async fn post(address: SocketAddr, path: &str, body: &str) -> Response<Value> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{address}{path}"))
        .header("content-type", "application/json")
        .body(Full::from(body.to_owned()));
    call(request.expect("a request")).await
}

#[tokio::test]
async fn users_are_seeded_added_and_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let users = start(Service::Users, "users-1", folder.path(), "127.0.0.1:1").await;

    let seeded = get(users, "/api/v1/users").await;
    assert_eq!(seeded.headers()["x-shop-instance"], "users-1");
    assert_eq!(seeded.body()[0]["name"], "Alice");

    let added = post(users, "/api/v1/users", r#"{"name":"Dora","email":"dora@x.example"}"#).await;
    assert_eq!(added.status(), StatusCode::CREATED);
    let place = added.headers()["location"].to_str().expect("a path").to_owned();
    let found = get(users, &place).await;
    assert_eq!(found.body(), added.body());
    assert_eq!(found.body()["name"], "Dora");
    assert_eq!(get(users, "/healthz").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_second_version_says_where_the_next_page_begins() {
    let folder = tempfile::tempdir().expect("a folder");
    let users = start(Service::Users, "users-1", folder.path(), "127.0.0.1:1").await;
    let page = get(users, "/api/v2/users?limit=2").await;
    assert_eq!(page.body()["users"][1]["name"], "Bob");
    assert_eq!(page.body()["next"], 2);
    let last = get(users, "/api/v2/users?limit=2&after=2").await;
    assert_eq!(last.body()["users"][0]["name"], "Chen");
    assert_eq!(last.body()["next"], Value::Null);

    let added = post(users, "/api/v2/users", r#"{"name":"Dora","email":"dora@x.example"}"#).await;
    assert_eq!(added.headers()["location"], "/api/v2/users/4");
    assert_eq!(get(users, "/api/v2/users/4").await.body()["name"], "Dora");
}

#[tokio::test]
async fn two_instances_share_one_database() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = tokio::join!(
        start(Service::Users, "users-1", folder.path(), "127.0.0.1:1"),
        start(Service::Users, "users-2", folder.path(), "127.0.0.1:1"),
    );
    assert_eq!(get(first, "/api/v1/users").await.body().as_array().map(Vec::len), Some(3));
    let added = post(first, "/api/v1/users", r#"{"name":"Eve","email":"eve@x.example"}"#).await;
    let id = added.body()["id"].as_i64().expect("an id");
    let found = get(second, &format!("/api/v1/users/{id}")).await;
    assert_eq!(found.headers()["x-shop-instance"], "users-2");
    assert_eq!(found.body()["name"], "Eve");
}

#[tokio::test]
async fn what_is_wrong_is_said_in_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let users = start(Service::Users, "users-1", folder.path(), "127.0.0.1:1").await;
    let check = async |answer: Response<Value>, status: StatusCode, pointer: &str, text: &str| {
        assert_eq!(answer.status(), status, "{}", answer.body());
        let said = answer.body().pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        assert!(said.contains(text), "{pointer} of {} lacks {text:?}", answer.body());
    };
    let path = "/api/v1/users";
    check(get(users, "/api/v1/users/999").await, StatusCode::NOT_FOUND, "/message", "user 999")
        .await;
    check(get(users, "/api/v1/users/x").await, StatusCode::BAD_REQUEST, "/error", "unreadable")
        .await;
    check(get(users, "/nowhere").await, StatusCode::NOT_FOUND, "/message", "/nowhere").await;
    check(post(users, path, "{").await, StatusCode::BAD_REQUEST, "/error", "unreadable").await;
    let both = post(users, path, r#"{"name":"  ","email":"nobody"}"#).await;
    assert_eq!(both.body()["fields"]["name"], "must not be empty");
    check(both, StatusCode::UNPROCESSABLE_ENTITY, "/fields/email", "alice@shop.example").await;
    let taken = post(users, path, r#"{"name":"A","email":"alice@shop.example"}"#).await;
    check(taken, StatusCode::CONFLICT, "/message", "alice@shop.example").await;
}

#[tokio::test]
async fn the_greeting_has_a_default() {
    let folder = tempfile::tempdir().expect("a folder");
    let users = start(Service::Users, "users-1", folder.path(), "127.0.0.1:1").await;
    let check = async |path: &str, message: &str| {
        assert_eq!(get(users, path).await.body(), &json!({ "message": message }));
    };
    check("/api/greet", "Hello, World!").await;
    check("/api/greet?name=Alice", "Hello, Alice!").await;
    check("/api/greet?name=", "Hello, World!").await;
}

#[tokio::test]
async fn an_order_asks_for_its_user() {
    let folder = tempfile::tempdir().expect("a folder");
    let users = start(Service::Users, "users-1", folder.path(), "127.0.0.1:1").await;
    let orders = start(Service::Orders, "orders-1", folder.path(), &users.to_string()).await;
    let path = "/api/v1/orders";

    let placed = post(orders, path, r#"{"user_id":2,"item":"tea","quantity":3}"#).await;
    assert_eq!(placed.status(), StatusCode::CREATED, "{}", placed.body());
    assert_eq!(placed.body()["user_name"], "Bob");
    assert_eq!(get(orders, path).await.body()[0]["item"], "tea");

    let nobody = post(orders, path, r#"{"user_id":77,"item":"tea"}"#).await;
    assert_eq!(nobody.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(nobody.body()["fields"]["user_id"], "there is no user 77");
    let empty = post(orders, path, r#"{"quantity":0}"#).await;
    assert_eq!(empty.body()["fields"].as_object().map(serde_json::Map::len), Some(3));
}

#[tokio::test]
async fn an_order_without_a_gateway_is_put_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let orders = start(Service::Orders, "orders-1", folder.path(), "127.0.0.1:1").await;
    let answer = post(orders, "/api/v1/orders", r#"{"user_id":1,"item":"tea"}"#).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(get(orders, "/api/v1/orders").await.body(), &json!([]));
}
