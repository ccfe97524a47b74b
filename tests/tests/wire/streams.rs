//! HTTP/1 beyond one request and one answer: interim responses, `Expect`, HEAD, trailers,
//! WebSocket, events as they happen, and clients that are slow.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::BodyExt as _;
use posthouse_tests::backend::{Backend, whole};
use posthouse_tests::raw::{Raw, status_of};
use posthouse_tests::{House, eventually, free_port};
use tokio::sync::mpsc;

use crate::table::{house, one_exchange};

/// A house before an instance that gets a whole head and then runs `script`.
async fn before<F, Fut>(script: F) -> (Backend, House)
where
    F: Fn(String, Raw) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let backend = Backend::raw(move |_, mut raw| {
        let script = script.clone();
        async move {
            let head = raw.read_head().await;
            script(head, raw).await;
        }
    })
    .await;
    let house = house(backend.address(), "http").await;
    (backend, house)
}

#[tokio::test]
async fn interim_responses_reach_the_client_before_the_final_one() {
    let (release, wait) = mpsc::unbounded_channel::<()>();
    let wait = std::sync::Arc::new(tokio::sync::Mutex::new(wait));
    let (_backend, house) = before(move |_, mut raw| {
        let wait = std::sync::Arc::clone(&wait);
        async move {
            raw.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n").await;
            wait.lock().await.recv().await;
            raw.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let mut raw = Raw::open(house.gateway()).await;
    raw.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let hints = raw.read_head().await;
    assert!(hints.starts_with("HTTP/1.1 103 "), "{hints}");
    assert!(hints.to_lowercase().contains("link: </a.css>; rel=preload\r\n"), "{hints}");
    release.send(()).expect("the instance waits");
    let (head, body) = raw.read_response().await;
    assert_eq!((status_of(head.as_bytes()), &body[..]), (Some(200), &b"ok"[..]));

    // RFC 9110 §15.2: a client of HTTP/1.0 must not get one.
    release.send(()).expect("the instance waits");
    let (status, head, _) = one_exchange(&house, b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(status, 200, "{head}");
}

#[tokio::test]
async fn a_client_that_expects_100_waits_for_it() {
    let (_backend, house) = before(|head, mut raw| async move {
        let asks = head.to_lowercase().contains("expect: 100-continue\r\n");
        if asks {
            raw.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        let body = raw.read_exact(5).await;
        assert_eq!(body, b"hello");
        raw.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        raw.read_to_end().await;
    })
    .await;
    let mut raw = Raw::open(house.gateway()).await;
    raw.send(
        "POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    )
    .await;
    let head = raw.read_head().await;
    assert!(head.starts_with("HTTP/1.1 100 "), "{head}");
    raw.send("hello").await;
    let (head, body) = raw.read_response().await;
    assert_eq!((status_of(head.as_bytes()), &body[..]), (Some(200), &b"ok"[..]), "{head}");
}

#[tokio::test]
async fn head_is_answered_without_a_body() {
    let backend = Backend::named("four").await;
    let house = house(backend.address(), "http").await;
    let mut raw = Raw::open(house.gateway()).await;
    raw.send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let head = raw.read_head().await;
    assert_eq!(status_of(head.as_bytes()), Some(200), "{head}");
    assert!(head.to_lowercase().contains("content-length: 4\r\n"), "{head}");
    // Were there a body, the next response would begin with it.
    let (head, body) = raw.read_response().await;
    assert_eq!((status_of(head.as_bytes()), &body[..]), (Some(200), &b"four"[..]), "{head}");
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let (_backend, house) = before(|_, mut raw| async move {
        let body = raw.read_until(b"\r\n\r\n").await;
        let body = String::from_utf8_lossy(&body).to_lowercase();
        assert!(body.contains("hi") && body.contains("x-sum: 5\r\n"), "{body}");
        raw.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Back\r\n\r\n\
             3\r\nabc\r\n0\r\nX-Back: 6\r\n\r\n",
        )
        .await;
        raw.read_to_end().await;
    })
    .await;
    let mut raw = Raw::open(house.gateway()).await;
    raw.send(
        "POST / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 5\r\n\r\n",
    )
    .await;
    let head = raw.read_head().await;
    assert_eq!(status_of(head.as_bytes()), Some(200), "{head}");
    let body = String::from_utf8_lossy(&raw.read_until(b"\r\n\r\n").await).to_lowercase();
    assert!(body.contains("abc") && body.ends_with("0\r\nx-back: 6\r\n\r\n"), "{body}");
}

#[tokio::test]
async fn a_response_until_the_end_of_the_connection_becomes_whole() {
    let (_backend, house) = before(|_, mut raw| async move {
        raw.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it").await;
    })
    .await;
    let mut raw = Raw::open(house.gateway()).await;
    raw.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let head = raw.read_head().await.to_lowercase();
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    let body = raw.read_until(b"0\r\n\r\n").await;
    assert!(body.ends_with(b"all of it\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&body));
    let (_, head, body) = one_exchange(&house, b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    assert_eq!(body, b"all of it");
}

#[tokio::test]
async fn websocket_passes_bytes_both_ways() {
    let (_backend, house) = before(|head, mut raw| async move {
        let head = head.to_lowercase();
        assert!(
            head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n")
        );
        assert!(head.contains("sec-websocket-key: dghlihnhbxbszsbub25jzq==\r\n"), "{head}");
        // The first bytes may come with the response.
        raw.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nfirst",
        )
        .await;
        loop {
            let asked = raw.read_exact(4).await;
            raw.send(&asked).await;
            if asked == b"last" {
                break;
            }
        }
    })
    .await;
    let mut raw = Raw::open(house.gateway()).await;
    raw.send(
        "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    let head = raw.read_head().await;
    assert_eq!(status_of(head.as_bytes()), Some(101), "{head}");
    assert!(head.to_lowercase().contains("upgrade: websocket\r\n"), "{head}");
    assert_eq!(raw.read_exact(5).await, b"first");
    for part in ["ping", "GET ", "\0\r\n\r", "last"] {
        raw.send(part).await;
        assert_eq!(raw.read_exact(4).await, part.as_bytes());
    }
    assert_eq!(raw.read_to_end().await.0, b"");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_response() {
    let (_backend, house) = before(|_, mut raw| async move {
        raw.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
        raw.read_to_end().await;
    })
    .await;
    let mut raw = Raw::open(house.gateway()).await;
    raw.send(
        "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    let (head, body) = raw.read_response().await;
    assert_eq!((status_of(head.as_bytes()), &body[..]), (Some(403), &b"no"[..]), "{head}");
}

#[tokio::test]
async fn an_event_is_seen_before_the_next_one_is_sent() {
    let (next, events) = mpsc::unbounded_channel::<&'static str>();
    let events = std::sync::Arc::new(tokio::sync::Mutex::new(events));
    let (_backend, house) = before(move |_, mut raw| {
        let events = std::sync::Arc::clone(&events);
        async move {
            raw.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            while let Some(event) = events.lock().await.recv().await {
                raw.send(format!("{:x}\r\n{event}\r\n", event.len())).await;
            }
            raw.send("0\r\n\r\n").await;
        }
    })
    .await;
    let mut raw = Raw::open(house.gateway()).await;
    raw.send("GET /events HTTP/1.1\r\nHost: a.test\r\nAccept: text/event-stream\r\n\r\n").await;
    // The header comes before there is any event.
    let head = raw.read_head().await;
    assert_eq!(status_of(head.as_bytes()), Some(200), "{head}");
    for event in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
        next.send(event).expect("the instance waits");
        raw.read_until(event.as_bytes()).await;
    }
    drop(next);
    raw.read_until(b"0\r\n\r\n").await;
}

#[tokio::test]
async fn an_upload_is_seen_by_the_instance_as_it_comes() {
    let backend = Backend::streaming(|request| async move {
        let mut body = request.into_body();
        let first = body.frame().await.expect("a first part")?.into_data().expect("data");
        assert_eq!(first.as_ref(), b"first");
        // Answers while the request is still open.
        Ok(http::Response::new(whole("early")))
    })
    .await;
    let house = house(backend.address(), "http").await;
    let mut raw = Raw::open(house.gateway()).await;
    raw.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        .await;
    let (head, body) = raw.read_response().await;
    assert_eq!((status_of(head.as_bytes()), &body[..]), (Some(200), &b"early"[..]), "{head}");
}

#[tokio::test]
async fn a_client_that_never_ends_its_header_is_told_or_cut_off() {
    let backend = Backend::named("one").await;
    let house = house(backend.address(), "http").await;
    for start in ["G", "GET / HTTP/1.1\r\nHost: a.t", "GET / HTTP/1.1\r\nHost: a.test\r\n"] {
        let mut raw = Raw::open(house.gateway()).await;
        raw.send(start).await;
        let (answer, _) = raw.read_to_end().await;
        assert!(answer.is_empty() || status_of(&answer) == Some(408), "{answer:?}");
    }
    // A field now and then does not help.
    let mut raw = Raw::open(house.gateway()).await;
    raw.send("GET / HTTP/1.1\r\nHost: a.test\r\n").await;
    let mut fields = 0;
    while raw.is_silent_for(Duration::from_millis(100)).await {
        raw.send("X-A: b\r\n").await;
        fields += 1;
        assert!(fields < 95, "the header goes on for ever");
    }
    let (answer, _) = raw.read_to_end().await;
    assert!(answer.is_empty() || status_of(&answer) == Some(408), "{answer:?}");
    assert_eq!(backend.requests(), 0);
}

/// Where there is no other instance, the same one refuses again: a burst of tries helps nobody.
#[tokio::test]
async fn a_lone_instance_that_refuses_is_tried_once() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let house = house(nobody, "http").await;
    let mut raw = Raw::open(house.gateway()).await;
    raw.send("GET /alone HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let (head, _) = raw.read_response().await;
    assert_eq!(status_of(head.as_bytes()), Some(502), "{head}");
    let line = eventually("the call to be logged", || async {
        let log = house.log();
        let line = log.lines().find(|line| line.contains("/alone")).map(str::to_owned);
        line.ok_or(log)
    })
    .await;
    assert!(line.contains(" tries=1 "), "{line}");
}
