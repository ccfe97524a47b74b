//! Checks that the registry runs itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::client::House;

/// An HTTP server that answers with the status that it is told, and keeps the last request.
async fn scripted() -> (String, Arc<AtomicU16>, tokio::sync::watch::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let status = Arc::new(AtomicU16::new(200));
    let answer = Arc::clone(&status);
    let (last, requests) = tokio::sync::watch::channel(String::new());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            last.send_replace(String::from_utf8_lossy(&request[..read]).into_owned());
            let status = answer.load(Ordering::Relaxed);
            let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 4\r\n\r\nbody");
            let _gone = stream.write_all(text.as_bytes()).await;
        }
    });
    (address, status, requests)
}

fn is(status: &'static str) -> impl Fn(&Value) -> bool {
    move |checks| checks["service:web"]["Status"] == status
}

#[tokio::test]
async fn an_http_check_follows_what_the_instance_answers() {
    let (address, status, requests) = scripted().await;
    let house = House::new().await;
    house
        .register(&format!(
            r#"{{"Name": "web", "Check": {{"HTTP": "http://{address}/up", "Method": "HEAD",
                "Header": {{"X-Who": ["registry"]}}, "Interval": "5ms", "Timeout": "5s"}}}}"#
        ))
        .await;
    house.until("/v1/agent/checks", is("passing")).await;
    let request = requests.borrow().clone();
    assert!(request.starts_with("HEAD /up HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("x-who: registry"), "{request}");
    status.store(429, Ordering::Relaxed);
    house.until("/v1/agent/checks", is("warning")).await;
    status.store(500, Ordering::Relaxed);
    let checks = house.until("/v1/agent/checks", is("critical")).await;
    let check = &checks["service:web"];
    assert!(check["Output"].as_str().expect("text").contains("500"), "{check}");
    assert_eq!((&check["Interval"], &check["Timeout"]), (&json!("5ms"), &json!("5s")));
    status.store(204, Ordering::Relaxed);
    house.until("/v1/agent/checks", is("passing")).await;
}

#[tokio::test]
async fn a_tcp_check_follows_whether_the_instance_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let house = House::new().await;
    house
        .register(&format!(
            r#"{{"Name": "web", "Check": {{"TCP": "{address}", "Interval": "5ms",
                "SuccessBeforePassing": 2, "FailuresBeforeCritical": 2}}}}"#
        ))
        .await;
    house.until("/v1/agent/checks", is("passing")).await;
    drop(listener);
    house.until("/v1/agent/checks", is("critical")).await;
    house.put("/v1/agent/service/deregister/web", "").await;
    assert_eq!(house.json("/v1/agent/checks").await, json!({}));
}

#[tokio::test]
async fn another_registration_replaces_what_is_probed() {
    let (good, _, _) = scripted().await;
    let (bad, status, mut requests) = scripted().await;
    status.store(503, Ordering::Relaxed);
    let house = House::new().await;
    let register = async |address: &str| {
        let body = format!(
            r#"{{"Name": "web", "Check": {{"HTTP": "http://{address}/", "Interval": "2ms"}}}}"#
        );
        house.register(&body).await;
    };
    register(&bad).await;
    requests.changed().await.expect("it is probed");
    register(&good).await;
    house.until("/v1/agent/checks", is("passing")).await;
    // Nothing that the earlier registration's probe still says is believed.
    for _ in 0..20 {
        assert!(is("passing")(&house.json("/v1/agent/checks").await));
    }
}

#[tokio::test]
async fn a_ttl_check_that_is_not_reported_becomes_critical() {
    let house = House::new().await;
    house.register(r#"{"Name": "web", "Check": {"TTL": "20ms", "Status": "passing"}}"#).await;
    let checks = house.until("/v1/agent/checks", is("critical")).await;
    let output = checks["service:web"]["Output"].as_str().expect("text");
    assert!(output.starts_with("TTL expired"), "{output}");
    house.put("/v1/agent/check/pass/service:web?note=back", "").await;
    house.until("/v1/agent/checks", is("critical")).await;
}
