//! The HTTP door and push subscriptions, as services see them that have no client of AMQP: published by
//! HTTP, called by HTTP, and nothing lost when Posthouse is killed in between.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use posthouse_tests::backend::{Backend, Seen};
use posthouse_tests::wait::{ensure, eventually};
use posthouse_tests::{House, client};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CONFIG: &str = "
admin: { address: 127.0.0.1:0 }
registry: { address: 127.0.0.1:0 }
messages:
  address: 127.0.0.1:0
  http: { address: 127.0.0.1:0 }
  users:
    - { name: shop, password: secret }
    - { name: reader, password: secret, write: ^$ }
";

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn subscribed(more: &str) -> String {
    format!(
        "{CONFIG}  subscriptions:
    mails: {{ queue: mails, service: mailer, path: /in, backoff: {{ first: 20ms, most: 100ms }}{more} }}
"
    )
}

async fn post_as(
    house: &House,
    user: &str,
    path: &str,
    headers: &[(&'static str, &str)],
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    let mut request = client::request(Method::POST, "localhost", path, body);
    let credentials = format!("Basic {}", STANDARD.encode(user));
    let value = HeaderValue::from_str(&credentials).expect("a value");
    request.headers_mut().insert(header::AUTHORIZATION, value);
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_str(value).expect("a value"));
    }
    client::send(house.messages_http(), request).await.expect("an answer")
}

async fn post(
    house: &House,
    path: &str,
    headers: &[(&'static str, &str)],
    body: &'static str,
) -> Response<Bytes> {
    post_as(house, "shop:secret", path, headers, body).await
}

async fn declare(house: &House, queue: &str) {
    let path = format!("/api/v1/messages/queues/{queue}");
    let answer = client::send_json(house.admin(), Method::PUT, &path, &json!({})).await;
    assert_eq!(answer.expect("an answer").status(), 200);
}

async fn take(house: &House, queue: &str) -> Vec<Value> {
    let path = format!("/api/v1/messages/queues/{queue}/get");
    let asked = json!({ "count": 100, "take": true });
    let answer = client::send_json(house.admin(), Method::POST, &path, &asked).await;
    let answer: Value = serde_json::from_slice(answer.expect("an answer").body()).expect("JSON");
    answer["messages"].as_array().expect("messages").clone()
}

fn problem(answer: &Response<Bytes>) -> (u16, String) {
    let body: Value = serde_json::from_slice(answer.body()).expect("a problem");
    (answer.status().as_u16(), body["detail"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn what_is_posted_is_in_the_queue_with_all_that_is_said_of_it() {
    let house = House::start(CONFIG).await;
    declare(&house, "mails").await;
    let event = [
        ("ce-specversion", "1.0"),
        ("ce-id", "7"),
        ("ce-type", "order.placed"),
        ("ce-source", "/orders"),
        ("content-type", "application/json"),
        ("traceparent", TRACE),
        ("amqp-header-tenant", "acme"),
    ];
    let answer = post(&house, "/api/v1/queues/mails/messages", &event, "{}").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED, "{answer:?}");
    assert_eq!(answer.headers()["traceparent"], TRACE);
    let plain = post(&house, "/api/v1/queues/mails/messages", &[], "plain").await;
    assert_eq!(plain.status(), StatusCode::ACCEPTED);
    let messages = take(&house, "mails").await;
    let headers = &messages[0]["properties"]["headers"];
    assert_eq!(messages[0]["properties"]["message_id"], "7", "{messages:?}");
    assert_eq!(headers["cloudEvents:type"], "order.placed", "{messages:?}");
    assert_eq!((&headers["traceparent"], &headers["tenant"]), (&json!(TRACE), &json!("acme")));
    let begun = &messages[1]["properties"]["headers"]["traceparent"];
    let told = plain.headers()["traceparent"].to_str().expect("a text");
    assert_eq!(begun, told, "a trace begins here");
}

/// What is told whoever announces so large a body, and sends it only when it is wanted.
async fn refused_before_its_body(house: &House, path: &str, length: usize) -> String {
    let mut stream = TcpStream::connect(house.messages_http()).await.expect("a connection");
    let credentials = STANDARD.encode("shop:secret");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\
         Content-Length: {length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn who_may_not_is_refused_and_told_why() {
    let house = House::start(CONFIG).await;
    declare(&house, "mails").await;
    let path = "/api/v1/queues/mails/messages";
    let refused = post_as(&house, "shop:wrong", path, &[], "x").await;
    assert_eq!(refused.status(), 401);
    assert!(refused.headers().contains_key("www-authenticate"));
    let refused = post_as(&house, "reader:secret", path, &[], "x").await;
    assert!(problem(&refused).0 == 403, "{refused:?}");
    for (path, status, why) in [
        ("/api/v1/queues/none/messages", 404, "there is no queue `none`"),
        ("/api/v1/exchanges/none/messages?key=a", 404, "no exchange 'none'"),
        ("/api/v1/queues/mails/messages?delay=2000d", 422, "messages.limits.delay"),
        ("/api/v1/queues/mails/messages?delay=soon", 400, ""),
        ("/elsewhere", 404, "publish by POST"),
    ] {
        let (found, detail) = problem(&post(&house, path, &[], "x").await);
        assert!(found == status && detail.contains(why), "{path}: {found} {detail}");
    }
    let half = post(&house, path, &[("ce-id", "7")], "x").await;
    assert_eq!(problem(&half).0, 422, "{half:?}");
    let large = refused_before_its_body(&house, path, 17 << 20).await;
    assert!(large.starts_with("HTTP/1.1 413 "), "{large}");
    assert_eq!(take(&house, "mails").await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_delayed_message_survives_a_kill_and_comes_in_its_time() {
    let mut house = House::start(CONFIG).await;
    declare(&house, "mails").await;
    let path = "/api/v1/queues/mails/messages";
    let answer = post(&house, &format!("{path}?delay=3s"), &[("amqp-type", "late")], "late").await;
    let said: Value = serde_json::from_slice(answer.body()).expect("JSON");
    let until = said["until_ms"].as_u64().expect("a time");
    house.program().kill().await;
    let house = house.restart().await;
    post(&house, path, &[], "at once").await;
    let first = take(&house, "mails").await;
    assert_eq!(first[0]["payload"], "at once", "{first:?}");
    let late = eventually("the delayed message", || async {
        let messages = take(&house, "mails").await;
        ensure(!messages.is_empty(), || "nothing yet".to_owned()).map(|()| messages)
    })
    .await;
    assert_eq!(late.len(), 1, "{late:?}");
    let message = &late[0];
    assert_eq!(
        (&message["payload"], &message["properties"]["type"]),
        (&json!("late"), &json!("late"))
    );
    assert!(message["queued_at_ms"].as_u64().expect("a time") >= until, "{message} {until}");
    let headers = message["properties"]["headers"].as_object().expect("headers");
    assert_eq!(headers.keys().collect::<Vec<_>>(), ["traceparent"], "no trace of its way");
}

/// A service that answers with these statuses in turn, and then with the last.
async fn service(house: &House, statuses: &'static [u16]) -> Backend {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let backend = Backend::answering(move |_: &Seen| {
        let turn = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let status = statuses[turn.min(statuses.len() - 1)];
        Response::builder().status(status).body(Full::default()).expect("a response")
    })
    .await;
    client::register(house.registry(), "mailer", "mailer-1", backend.address())
        .await
        .expect("it is");
    backend
}

#[tokio::test]
async fn a_service_is_called_until_it_takes_the_message() {
    let house = House::start(&subscribed("")).await;
    let answer = eventually("the queue of the subscription", || async {
        let headers = [("content-type", "text/plain"), ("traceparent", TRACE)];
        let answer = post(&house, "/api/v1/queues/mails/messages", &headers, "hello").await;
        ensure(answer.status() == 202, || format!("{answer:?}"))
    });
    answer.await;
    // Nobody is there yet; then somebody who fails at first.
    let backend = service(&house, &[500, 503, 204]).await;
    let seen = eventually("three calls", || async {
        let seen = backend.seen();
        ensure(seen.len() == 3, || format!("{} calls", seen.len())).map(|()| seen)
    })
    .await;
    assert_eq!((&seen[2].method, seen[2].uri.path()), (&Method::POST, "/in"));
    assert_eq!(seen[2].header("content-type"), "text/plain");
    assert_eq!(seen[2].header("amqp-routing-key"), "mails");
    let attempts: Vec<u32> =
        seen.iter().map(|one| one.header("amqp-attempt").parse().expect("a number")).collect();
    assert!(attempts[0] + 1 == attempts[1] && attempts[1] + 1 == attempts[2], "{attempts:?}");
    let trace = seen[2].header("traceparent");
    assert!(trace[..36] == TRACE[..36] && trace != TRACE, "{trace}");
    eventually("the queue to be empty", || async {
        let queue = client::get_json(house.admin(), "/api/v1/messages/queues/mails").await;
        let queue = queue.map_err(|error| error.to_string())?;
        ensure(queue["unacknowledged"] == 0 && queue["ready"] == 0, || queue.to_string())
    })
    .await;
    let metrics = client::get(house.admin(), "localhost", "/metrics").await.expect("metrics");
    let metrics = String::from_utf8_lossy(metrics.body()).into_owned();
    let line = r#"posthouse_messages_pushed_total{subscription="mails",outcome="taken"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn what_cannot_be_delivered_is_dead_and_kept() {
    let house = House::start(&subscribed(", attempts: 3")).await;
    let refusing = service(&house, &[422, 500]).await;
    for body in ["wrong", "unlucky"] {
        eventually("the queue of the subscription", || async {
            let answer = post(&house, "/api/v1/queues/mails/messages", &[], body).await;
            ensure(answer.status() == 202, || format!("{answer:?}"))
        })
        .await;
        eventually("the call", || async {
            ensure(!refusing.seen().is_empty(), || "no call yet".to_owned())
        })
        .await;
    }
    let mut dead = Vec::new();
    eventually("two dead messages", || {
        let taken = take(&house, "mails.dead");
        async { Ok::<_, String>(taken.await) }
    })
    .await
    .into_iter()
    .for_each(|message| dead.push(message));
    while dead.len() < 2 {
        dead.extend(
            eventually("another dead message", || async {
                let taken = take(&house, "mails.dead").await;
                ensure(!taken.is_empty(), || "not yet".to_owned()).map(|()| taken)
            })
            .await,
        );
    }
    let bodies: Vec<&Value> = dead.iter().map(|message| &message["payload"]).collect();
    assert_eq!(bodies, [&json!("wrong"), &json!("unlucky")]);
    let reason = &dead[0]["properties"]["headers"]["x-death"][0]["reason"];
    assert_eq!(reason, "rejected", "{:?}", dead[0]);
    assert_eq!(refusing.seen().len(), 4, "once what is wrong, three times what failed");
}

#[tokio::test]
async fn what_a_killed_house_had_not_delivered_is_delivered_later() {
    let mut house = House::start(&subscribed("")).await;
    let failing = service(&house, &[503]).await;
    eventually("the queue of the subscription", || async {
        let answer = post(&house, "/api/v1/queues/mails/messages", &[], "hello").await;
        ensure(answer.status() == 202, || format!("{answer:?}"))
    })
    .await;
    eventually("a call", || async {
        ensure(!failing.seen().is_empty(), || "no call yet".to_owned())
    })
    .await;
    house.program().kill().await;
    let house = house.restart().await;
    let taking = service(&house, &[200]).await;
    eventually("the message", || async {
        ensure(!taking.seen().is_empty(), || "no call yet".to_owned())
    })
    .await;
    assert_eq!(taking.seen()[0].header("amqp-redelivered"), "true");
}

#[tokio::test]
async fn a_subscription_by_the_admin_api_is_kept_until_it_is_removed() {
    let mut house = House::start(CONFIG).await;
    let path = "/api/v1/messages/subscriptions/mails";
    let wanted = json!({ "queue": "mails", "service": "mailer", "backoff": { "first": "20ms" } });
    let answer = client::send_json(house.admin(), Method::PUT, path, &wanted).await;
    assert_eq!(answer.expect("an answer").status(), 200);
    let wrong = json!({ "queue": "mails", "service": "mailer", "path": "messages" });
    let refused = client::send_json(house.admin(), Method::PUT, path, &wrong).await;
    let refused = refused.expect_err("it is refused").to_string();
    assert!(refused.contains("422") && refused.contains("is not a path"), "{refused}");
    let taking = service(&house, &[204]).await;
    eventually("the queue of the subscription", || async {
        let answer = post(&house, "/api/v1/queues/mails/messages", &[], "first").await;
        ensure(answer.status() == 202, || format!("{answer:?}"))
    })
    .await;
    let calls = |count: usize| {
        let seen = taking.seen().len();
        async move { ensure(seen == count, || format!("{seen} calls")) }
    };
    eventually("a call", || calls(1)).await;
    house.program().kill().await;
    let house = house.restart().await;
    let post = |body| post(&house, "/api/v1/queues/mails/messages", &[], body);
    assert_eq!(post("second").await.status(), 202);
    eventually("another call", || calls(2)).await;
    let all = client::get_json(house.admin(), "/api/v1/messages/subscriptions").await;
    let all = all.expect("subscriptions");
    assert_eq!(all["subscriptions"][0]["origin"], "api", "{all}");
    let removed = client::send_json(house.admin(), Method::DELETE, path, &Value::Null).await;
    assert_eq!(removed.expect("an answer").status(), 204);
    eventually("nobody to consume", || async {
        let queue = client::get_json(house.admin(), "/api/v1/messages/queues/mails").await;
        let queue = queue.map_err(|error| error.to_string())?;
        ensure(queue["consumers"] == 0, || queue.to_string())
    })
    .await;
    assert_eq!(post("third").await.status(), 202);
    assert_eq!(take(&house, "mails").await.len(), 1);
}
