//! HTTP/2 beyond one request and one answer: WebSocket (RFC 8441), events as they happen,
//! interim responses and trailers.

use std::sync::Arc;

use base64::Engine as _;
use posthouse_tests::backend::Backend;
use posthouse_tests::raw::Raw;
use sha1::Digest as _;
use tokio::sync::{Mutex, mpsc};

use crate::frame_rows::{GET, POST};
use crate::frames::{
    ACK, DATA, END_STREAM, HEADERS, Link, SETTINGS, carries, data, frame, headers,
};
use crate::script::Script;
use crate::table::house;

#[tokio::test]
async fn websocket_over_http2_becomes_an_upgrade_over_http1() {
    let backend = Backend::raw(|_, mut raw| async move {
        let written = raw.read_head().await;
        let head = written.to_lowercase();
        assert!(head.starts_with("get /chat http/1.1\r\n"), "{head}");
        assert!(
            head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n")
        );
        // RFC 8441 §5: the key belongs to HTTP/1 only, so the gateway makes one.
        assert!(head.contains("sec-websocket-key: "), "{head}");
        let key = header(&written, "sec-websocket-key");
        let accept = accept_of(&key);
        raw.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ))
        .await;
        let asked = raw.read_exact(4).await;
        raw.send([b"re: ", &asked[..]].concat()).await;
        raw.read_to_end().await;
    })
    .await;
    let house = house(backend.address(), "http").await;
    let mut link = Link::begin(house.gateway()).await;
    let settings = link.until(SETTINGS, 0).await;
    // RFC 8441 §3: the server says that it allows it.
    let allowed = settings.payload.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]);
    assert!(allowed, "{settings:?}");
    link.send(&frame(SETTINGS, ACK, 0, &[])).await;
    let ask = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/chat"),
        ("sec-websocket-version", "13"),
    ];
    link.send(&headers(0, 1, &ask)).await;
    assert_eq!(link.until(HEADERS, 1).await.status(), Some(200));
    link.send(&data(0, 1, "ping")).await;
    let answer = link.until(DATA, 1).await;
    assert_eq!(String::from_utf8_lossy(&answer.payload), "re: ping");
}

/// Nobody else could notice: the client over HTTP/2 never sees the key or the proof.
#[tokio::test]
async fn an_instance_that_has_not_read_the_key_gets_no_websocket() {
    let script = Script::http1().await;
    let house = house(script.address(), "http").await;
    let ask = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/chat"),
        ("sec-websocket-version", "13"),
    ];
    for proof in ["", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"] {
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\n{proof}\r\nEVIL"
        );
        script.answer_with(head.as_bytes(), false);
        let mut link = Link::begin(house.gateway()).await;
        link.until(SETTINGS, 0).await;
        link.send(&frame(SETTINGS, ACK, 0, &[])).await;
        link.send(&headers(0, 1, &ask)).await;
        assert_eq!(link.until(HEADERS, 1).await.status(), Some(502), "{proof:?}");
    }
}

#[tokio::test]
async fn websocket_over_http1_becomes_an_extended_connect() {
    let script = Script::http2().await;
    let house = house(script.address(), "h2c").await;
    script.answer_with_frames(|stream| {
        [headers(0, stream, &[(":status", "200")]), data(0, stream, "first")].concat()
    });
    let mut raw = Raw::open(house.gateway()).await;
    raw.send(
        "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    let head = raw.read_head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // The example of RFC 6455 §1.3.
    assert_eq!(header(&head, "sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(raw.read_exact(5).await, b"first");
}

fn header(head: &str, name: &str) -> String {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(field, _)| field.eq_ignore_ascii_case(name));
    found.expect("it is there").1.to_owned()
}

/// What proves that the instance has read the key (RFC 6455 §4.2.2).
pub(crate) fn accept_of(key: &str) -> String {
    let salted = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64::engine::general_purpose::STANDARD.encode(sha1::Sha1::digest(salted))
}

#[tokio::test]
async fn an_event_is_seen_before_the_next_one_is_sent() {
    let (next, events) = mpsc::unbounded_channel::<&'static str>();
    let events = Arc::new(Mutex::new(events));
    let backend = Backend::raw(move |_, mut raw| {
        let events = Arc::clone(&events);
        async move {
            raw.read_head().await;
            raw.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            while let Some(event) = events.lock().await.recv().await {
                raw.send(format!("{:x}\r\n{event}\r\n", event.len())).await;
            }
            raw.send("0\r\n\r\n").await;
        }
    })
    .await;
    let house = house(backend.address(), "http").await;
    let mut link = Link::begin(house.gateway()).await;
    link.send(&headers(END_STREAM, 1, GET)).await;
    assert_eq!(link.until(HEADERS, 1).await.status(), Some(200));
    for event in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
        next.send(event).expect("the instance waits");
        let seen = link.until(DATA, 1).await;
        assert!(carries(&seen, event), "{seen:?}");
    }
    drop(next);
    let last = link.until(DATA, 1).await;
    assert_eq!((last.flags & END_STREAM, last.payload.len()), (END_STREAM, 0), "{last:?}");
}

#[tokio::test]
async fn interim_responses_and_trailers_reach_the_client() {
    let backend = Backend::raw(|_, mut raw| async move {
        raw.read_head().await;
        raw.read_until(b"\r\n0\r\n").await;
        let trailers = raw.read_until(b"\r\n\r\n").await;
        let trailers = String::from_utf8_lossy(&trailers).to_lowercase();
        assert!(trailers.contains("x-sum: 5\r\n"), "{trailers}");
        raw.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Back\r\n\r\n\
             3\r\nabc\r\n0\r\nX-Back: 6\r\n\r\n",
        )
        .await;
        raw.read_to_end().await;
    })
    .await;
    let house = house(backend.address(), "http").await;
    let mut link = Link::begin(house.gateway()).await;
    let ask = [POST, &[("te", "trailers")]].concat();
    link.send(&headers(0, 1, &ask)).await;
    link.send(&data(0, 1, "hi")).await;
    link.send(&headers(END_STREAM, 1, &[("x-sum", "5")])).await;
    assert_eq!(link.until(HEADERS, 1).await.status(), Some(200));
    assert!(carries(&link.until(DATA, 1).await, "abc"));
    let trailers = link.until(HEADERS, 1).await;
    assert_eq!(trailers.flags & END_STREAM, END_STREAM, "{trailers:?}");
}
