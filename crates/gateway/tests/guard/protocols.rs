//! The same guard over HTTP/2, for gRPC and for WebSocket; whole TCP connections have none.

use bytes::Bytes;
use http::{HeaderMap, Request};
use serde_json::json;
use tokio::net::TcpStream;

use crate::stage::{Stage, exchange, header, status};

/// A call over HTTP/2, with what came back before and after the body.
async fn over_http2(stage: &Stage, request: Request<()>) -> (u16, HeaderMap, HeaderMap) {
    let stream = TcpStream::connect(stage.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let (response, mut body) = client.send_request(request, false).unwrap();
    body.send_data(Bytes::new(), true).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    let trailers = body.trailers().await.unwrap().unwrap_or_default();
    (head.status.as_u16(), head.headers, trailers)
}

fn guarded() -> serde_json::Value {
    json!({ "routes": [{
        "service": "a", "guard": {
            "identity": ["names"], "scopes": ["read"], "forward": { "headers": { "x-user": "subject" } },
        },
    }] })
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_it_is_the_same_guard() {
    let stage = Stage::new(guarded()).await;
    let request = |who: &str| {
        let request = Request::get("http://a/x").header("x-user", "root").header("x_user", "root");
        let request = if who.is_empty() { request } else { request.header("authorization", who) };
        request.body(()).unwrap()
    };
    for (who, expected) in
        [("", 401), ("Bearer bad", 401), ("Bearer bob", 403), ("Bearer down", 503)]
    {
        let (status, head, _) = over_http2(&stage, request(who)).await;
        assert_eq!(status, expected, "{who}");
        assert_eq!(head["content-type"], "application/problem+json");
    }
    assert!(stage.seen().is_empty());
    assert_eq!(over_http2(&stage, request("Bearer ann")).await.0, 200);
    let seen = stage.seen().remove(0);
    assert_eq!(header(&seen, "x-user"), Some("ann"));
    assert!(!seen.contains("root"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_callers_get_the_status_of_their_protocol() {
    let stage = Stage::new(guarded()).await;
    for (who, expected) in [
        ("", "16"),
        ("Bearer bad", "16"),
        ("Bearer bob", "7"),
        ("Bearer no", "7"),
        ("Bearer words", "7"),
        ("Bearer down", "14"),
    ] {
        let request =
            Request::post("http://a/shop.Users/Get").header("content-type", "application/grpc");
        let request = if who.is_empty() { request } else { request.header("authorization", who) };
        let (status, head, trailers) = over_http2(&stage, request.body(()).unwrap()).await;
        let told = trailers.get("grpc-status").or(head.get("grpc-status"));
        assert_eq!((status, told.unwrap().to_str().unwrap()), (200, expected), "{who}");
    }
    assert!(stage.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_opened_for_those_who_may() {
    let stage = Stage::new(guarded()).await;
    let open = |who: &str| {
        format!(
            "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{who}\r\n"
        )
    };
    for (who, expected) in [("", 401), ("Authorization: Bearer bob\r\n", 403)] {
        let request =
            format!("{}GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", open(who));
        assert_eq!(status(&stage.ask(&request).await), expected);
    }
    assert!(stage.seen().is_empty());
    assert_eq!(status(&stage.ask(&open("Authorization: Bearer ann\r\n")).await), 101);
    assert_eq!(header(&stage.seen().remove(0), "x-user"), Some("ann"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_connections_are_not_calls() {
    let stage = Stage::new(json!({
        "listeners": [{ "address": "127.0.0.1:0", "service": "t" }],
        "services": { "t": { "protocol": "tcp", "instances": [{ "address": "INSTANCE" }] } },
        "guard": { "identity": ["names"], "deny": true },
    }))
    .await;
    let stream = TcpStream::connect(stage.address).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(status(&exchange(stream, request).await), 101);
    assert_eq!(stage.seen().len(), 1);
}
