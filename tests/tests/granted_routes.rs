//! Routes that services bring by keys and tags: taken where the file grants them, refused where not.

use http::Method;
use posthouse_tests::House;
use posthouse_tests::backend::Backend;
use posthouse_tests::client::{get, get_json, register, request, send, send_json};
use posthouse_tests::wait::{ensure, eventually};
use serde_json::json;

const GRANT: &str =
    "grants: [ { service: users, hosts: [ shop.example ], paths: [ /api/users ] } ]\n";

const FILE: &str = "\
registry: { address: 127.0.0.1:0 }
admin: { address: 127.0.0.1:0 }
listeners: [ { address: 127.0.0.1:0 } ]
routes:
  - { name: me, match: { host: shop.example, path: /api/users/me }, respond: { status: 418 } }
";

async fn put(house: &House, name: &str, route: &str) {
    let path = format!("/v1/kv/posthouse/routes/users/{name}");
    let text = route.to_owned();
    let answer = send(house.registry(), request(Method::PUT, "registry", &path, text)).await;
    assert_eq!(answer.expect("an answer").body(), "true");
}

/// Waits until a call is answered with this status.
async fn answered(house: &House, path: &str, status: u16) {
    let what = format!("{path} to be answered {status}");
    eventually(&what, async || {
        let answer = get(house.gateway(), "shop.example", path).await;
        let answer = answer.map_err(|error| error.to_string())?;
        ensure(answer.status() == status, || format!("{answer:?}"))
    })
    .await;
}

async fn refused(house: &House, name: &str, part: &str) {
    eventually("the route to be refused", async || {
        let routes = get_json(house.admin(), "/api/v1/routes").await;
        let routes = routes.map_err(|error| error.to_string())?;
        let list = routes["refused"].as_array().into_iter().flatten();
        let reason = list.filter(|one| one["name"] == name).find_map(|one| one["reason"].as_str());
        ensure(reason.is_some_and(|reason| reason.contains(part)), || routes.to_string())
    })
    .await;
    assert!(house.log().contains("a route that a service brings is refused"), "{}", house.log());
}

#[tokio::test]
async fn services_bring_routes_where_the_file_lets_them() {
    let backend = Backend::named("users").await;
    let house = House::start(&format!("{FILE}{GRANT}")).await;
    register(house.registry(), "users", "u1", backend.address()).await.expect("registered");
    answered(&house, "/api/users/7", 404).await;
    put(
        &house,
        "one",
        "{ match: { host: shop.example, path: '/api/users/{id}' }, service: users }",
    )
    .await;
    answered(&house, "/api/users/7", 200).await;
    // The file's own is more specific, and stays.
    answered(&house, "/api/users/me", 418).await;
    put(&house, "me", "{ match: { host: shop.example, path: /api/users/me }, service: users }")
        .await;
    refused(&house, "me", "the file's own route `me`").await;
    put(&house, "far", "{ match: { host: shop.example, path: /admin }, service: users }").await;
    refused(&house, "far", "does not grant").await;
    put(&house, "odd", "{ match: [").await;
    refused(&house, "odd", "no YAML").await;
    answered(&house, "/api/users/me", 418).await;
    answered(&house, "/admin", 404).await;

    let path = "/v1/kv/posthouse/routes/users/one";
    let gone = send(house.registry(), request(Method::DELETE, "registry", path, "")).await;
    assert_eq!(gone.expect("an answer").status(), 200);
    answered(&house, "/api/users/7", 404).await;

    let entry = json!({
        "ID": "u1", "Name": "users", "Port": backend.address().port(), "Address": "127.0.0.1",
        "Tags": ["posthouse.route=shop.example/api/users/tagged/{*rest}"],
    });
    let path = "/v1/agent/service/register";
    send_json(house.registry(), Method::PUT, path, &entry).await.expect("registered");
    answered(&house, "/api/users/tagged/x", 200).await;
}

#[tokio::test]
async fn a_grant_comes_and_goes_with_the_file() {
    let backend = Backend::named("users").await;
    let house = House::start(FILE).await;
    register(house.registry(), "users", "u1", backend.address()).await.expect("registered");
    put(
        &house,
        "one",
        "{ match: { host: shop.example, path: '/api/users/{id}' }, service: users }",
    )
    .await;
    refused(&house, "one", "grants `users` no routes").await;
    let reload = async |text: &str| {
        house.write_config(text);
        let path = "/api/v1/reload";
        send_json(house.admin(), Method::POST, path, &json!({})).await.expect("taken");
    };
    reload(&format!("{FILE}{GRANT}")).await;
    answered(&house, "/api/users/7", 200).await;
    reload(FILE).await;
    answered(&house, "/api/users/7", 404).await;
}

#[tokio::test]
async fn routes_come_from_an_engine_too() {
    let backend = Backend::named("users").await;
    let names = House::start("registry: { address: 127.0.0.1:0 }").await;
    register(names.registry(), "users", "u1", backend.address()).await.expect("registered");
    let engine =
        format!("registry: {{ address: 127.0.0.1:0, engine: \"consul://{}\" }}", names.registry());
    let file = FILE.replace("registry: { address: 127.0.0.1:0 }", &engine);
    let house = House::start(&format!("{file}{GRANT}")).await;
    let route = "{ match: { host: shop.example, path: '/api/users/{id}' }, service: users }";
    put(&names, "one", route).await;
    answered(&house, "/api/users/7", 200).await;
    let path = "/v1/kv/posthouse/routes/users/one";
    let gone = send(names.registry(), request(Method::DELETE, "registry", path, "")).await;
    assert_eq!(gone.expect("an answer").status(), 200);
    answered(&house, "/api/users/7", 404).await;
}
