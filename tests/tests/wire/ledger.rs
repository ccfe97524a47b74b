//! What the access log says of calls that end in another way than most: the gateway's own answers,
//! changes of protocol, and clients that leave.

use std::net::SocketAddr;

use posthouse_tests::backend::Backend;
use posthouse_tests::raw::{Raw, status_of};
use posthouse_tests::wait::ensure;
use posthouse_tests::{House, eventually};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::frames::{ACK, DATA, HEADERS, Link, SETTINGS, data, frame, headers};
use crate::script::Script;

/// A house that writes every call down, with an instance of this protocol behind `/back`.
async fn house(instance: SocketAddr, protocol: &str) -> House {
    House::start(&format!(
        "listeners:\n  - address: 127.0.0.1:0\n\
         services:\n  back:\n    protocol: {protocol}\n    instances: [ {{ address: {instance} }} ]\n\
         routes:\n  - match: {{ path: /back }}\n    service: back\n\
         gateway:\n  access_log: {{ mode: all, format: json, file: access.log }}\n"
    ))
    .await
}

/// The only line of the log, once it is there.
async fn only_call(house: &House) -> Value {
    let file = house.folder().join("access.log");
    eventually("a line of the access log", || {
        let read = std::fs::read_to_string(&file).map_err(|error| error.to_string());
        async {
            let text = read?;
            let lines: Vec<&str> = text.lines().collect();
            ensure(lines.len() == 1 && text.ends_with('\n'), || format!("{} lines", lines.len()))?;
            serde_json::from_str(lines[0]).map_err(|error| error.to_string())
        }
    })
    .await
}

#[tokio::test]
async fn the_gateways_own_answers_are_counted_by_their_bodies() {
    let script = Script::http1().await;
    for (method, is_counted) in [("GET", true), ("HEAD", false)] {
        let house = house(script.address(), "http").await;
        let mut raw = Raw::open(house.gateway()).await;
        let ask =
            format!("{method} /elsewhere HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        raw.send(ask).await;
        let (answer, _) = raw.read_to_end().await;
        assert_eq!(status_of(&answer), Some(404));
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head") + 4;
        let call = only_call(&house).await;
        assert_eq!(call["sent_bytes"], answer.len() - end, "{call}");
        assert_eq!(answer.len() > end, is_counted, "the body of a {method}");
    }
}

#[tokio::test]
async fn a_change_of_protocols_is_logged_by_the_status_that_the_client_got() {
    const ASK: &str = "GET /back HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\n\
                       Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let script = Script::http2().await;
    script.answer_with_frames(|stream| {
        [headers(0, stream, &[(":status", "200")]), data(0, stream, "first")].concat()
    });
    let before_http2 = house(script.address(), "h2c").await;
    let mut raw = Raw::open(before_http2.gateway()).await;
    raw.send(ASK).await;
    assert_eq!(status_of(raw.read_head().await.as_bytes()), Some(101));
    assert_eq!(raw.read_exact(5).await, b"first");
    drop((raw, script));
    assert_eq!(only_call(&before_http2).await["status"], 101);

    let backend = Backend::raw(|_, mut raw| async move {
        let head = raw.read_head().await;
        let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "));
        let accept = crate::streams2::accept_of(key.unwrap_or_default());
        raw.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\nfirst"
        ))
        .await;
    })
    .await;
    let before_http1 = house(backend.address(), "http").await;
    let mut link = Link::begin(before_http1.gateway()).await;
    link.until(SETTINGS, 0).await;
    link.send(&frame(SETTINGS, ACK, 0, &[])).await;
    let ask = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/back"),
        ("sec-websocket-version", "13"),
    ];
    link.send(&headers(0, 1, &ask)).await;
    assert_eq!(link.until(HEADERS, 1).await.status(), Some(200));
    link.until(DATA, 1).await;
    drop(link);
    assert_eq!(only_call(&before_http1).await["status"], 200);
}

/// Its instance is told by the end of the connection, and not after a time-out.
#[tokio::test]
async fn a_client_that_leaves_takes_its_call_along() {
    let (asked, mut is_asked) = mpsc::unbounded_channel::<()>();
    let (left, mut has_left) = mpsc::unbounded_channel::<()>();
    let backend = Backend::raw(move |_, mut raw| {
        let (asked, left) = (asked.clone(), left.clone());
        async move {
            raw.read_head().await;
            let _nobody = asked.send(());
            raw.read_to_end().await;
            let _nobody = left.send(());
        }
    })
    .await;
    let house = house(backend.address(), "http").await;
    let mut raw = Raw::open(house.gateway()).await;
    raw.send("GET /back HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    is_asked.recv().await.expect("the instance is asked");
    // What comes of a pipeline is no end.
    raw.send("GET /back HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    drop(raw);
    has_left.recv().await.expect("the connection to the instance ends");
    let call = only_call(&house).await;
    assert_eq!((&call["status"], &call["fault"]), (&499.into(), &"client-gone".into()), "{call}");
}
