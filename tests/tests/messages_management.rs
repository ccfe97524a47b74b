//! RabbitMQ's management API, asked as its readers ask: KEDA's scaler (a queue by name, queues by a
//! pattern), Flower (the queues of a virtual host), `rabbitmqadmin` (overview, lists, export).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, header};
use posthouse_tests::{House, client};
use serde_json::{Value, json};

const CONFIG: &str = "
admin: { address: 127.0.0.1:0 }
messages:
  address: 127.0.0.1:0
  management: { address: 127.0.0.1:0 }
  users:
    - { name: root, password: secret, tags: [administrator] }
    - { name: keda, password: secret, tags: [monitoring] }
    - { name: shop, password: secret }
";

async fn ask_as(house: &House, user: &str, method: Method, path: &str) -> Response<Bytes> {
    let mut request = client::request(method, "localhost", path, Bytes::new());
    let credentials = format!("Basic {}", STANDARD.encode(user));
    let value = HeaderValue::from_str(&credentials).expect("a value");
    request.headers_mut().insert(header::AUTHORIZATION, value);
    client::send(house.messages_management(), request).await.expect("an answer")
}

async fn read(house: &House, path: &str) -> Value {
    let answer = ask_as(house, "keda:secret", Method::GET, path).await;
    assert_eq!(answer.status(), 200, "{path}: {answer:?}");
    serde_json::from_slice(answer.body()).expect("JSON")
}

async fn change(house: &House, method: Method, path: &str, body: Value) {
    let path = format!("/api/v1/messages/{path}");
    client::send_json(house.admin(), method, &path, &body).await.expect("it is done");
}

#[tokio::test]
async fn tools_read_what_they_look_for() {
    let house = House::start(CONFIG).await;
    change(&house, Method::PUT, "queues/mails", json!({})).await;
    change(&house, Method::PUT, "queues/other", json!({})).await;
    let message = json!({ "routing_key": "mails", "payload": "x" });
    change(&house, Method::POST, "publish", message).await;
    let queue = read(&house, "/api/queues/%2F/mails").await;
    let counts = ["messages", "messages_ready", "messages_unacknowledged", "consumers"];
    assert_eq!(counts.map(|key| queue[key].as_u64()), [1, 1, 0, 0].map(Some), "{queue}");
    let path = "/api/queues/%2F?page=1&use_regex=true&pagination=false&name=%5Em&page_size=100";
    let page = read(&house, path).await;
    assert_eq!((&page["total_count"], &page["filtered_count"]), (&json!(2), &json!(1)), "{page}");
    assert_eq!(page["items"][0]["name"], "mails", "{page}");
    let all = read(&house, "/api/queues/%2F").await;
    assert_eq!(all.as_array().map(Vec::len), Some(2), "{all}");
    let overview = read(&house, "/api/overview").await;
    assert_eq!(overview["queue_totals"]["messages"], 1, "{overview}");
    assert!(overview["rabbitmq_version"].is_string() && overview["node"].is_string());
    assert_eq!(read(&house, "/api/whoami").await["name"], "keda");
    assert_eq!(read(&house, "/api/nodes").await[0]["running"], true);
    let exchanges = read(&house, "/api/exchanges/%2F").await;
    let exchanges = exchanges.as_array().expect("exchanges");
    assert!(exchanges.iter().any(|one| one["name"] == "") && exchanges.len() > 5, "{exchanges:?}");
    let bindings = read(&house, "/api/queues/%2F/mails/bindings").await;
    assert_eq!(bindings[0]["routing_key"], "mails", "{bindings}");
    assert_eq!(read(&house, "/api/health/checks/alarms").await["status"], "ok");
}

#[tokio::test]
async fn who_may_not_look_does_not_and_nobody_changes() {
    let house = House::start(CONFIG).await;
    for user in ["shop:secret", "keda:wrong", "nobody:x"] {
        assert_eq!(
            ask_as(&house, user, Method::GET, "/api/overview").await.status(),
            401,
            "{user}"
        );
    }
    let denied = ask_as(&house, "keda:secret", Method::GET, "/api/definitions").await;
    assert_eq!(denied.status(), 401, "hashes of passwords are for administrators");
    let allowed = ask_as(&house, "root:secret", Method::GET, "/api/definitions").await;
    let definitions: Value = serde_json::from_slice(allowed.body()).expect("JSON");
    assert_eq!(definitions["users"].as_array().map(Vec::len), Some(3), "{definitions}");
    let refused = ask_as(&house, "root:secret", Method::DELETE, "/api/queues/%2F/mails").await;
    assert_eq!(refused.status(), 405);
    assert_eq!(
        ask_as(&house, "root:secret", Method::GET, "/api/queues/%2F/no").await.status(),
        404
    );
}
