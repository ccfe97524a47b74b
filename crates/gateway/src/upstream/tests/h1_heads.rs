//! Heads over HTTP/1, in both directions.

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::upstream::{ErrorKind, Retry, Side};

#[test]
fn a_request_is_written_as_it_is() {
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let ask = Ask::get("/a?b=c").field("X-Thing", "1");
        let (mut exchange, mut peer) = stage.begin(&ask).await;
        let (answer, request) = tokio::join!(answer(&mut exchange, Empty), async {
            let request = peer.request().await;
            peer.say(OK).await;
            request
        });
        assert_eq!(request, "GET /a?b=c HTTP/1.1\r\nHost: users\r\nX-Thing: 1\r\n\r\n");
        let answer = answer.unwrap();
        assert_eq!((answer.status(), answer.text()), (200, "ok"));
        assert_eq!(answer.head.body, BodyKind::Length(2));
    });
}

#[test]
fn a_missing_host_is_the_authority() {
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let ask = Ask { fields: Fields::new(), ..Ask::get("/") };
        let (mut exchange, mut peer) = stage.begin(&ask).await;
        let ((), request) = tokio::join!(
            async {
                let _closed = head(&mut exchange, Empty).await;
            },
            async {
                let request = peer.request().await;
                drop(peer);
                request
            }
        );
        assert_eq!(request, "GET / HTTP/1.1\r\nHost: users\r\n\r\n");
    });
}

#[test]
fn methods_that_usually_have_a_body_say_that_there_is_none() {
    run(async {
        let ask = Ask::post(BodyKind::None);
        let stage = Stage::new(Protocol::Http).await;
        let (mut exchange, mut peer) = stage.begin(&ask).await;
        let (_closed, request) = tokio::join!(head(&mut exchange, Empty), async {
            let request = peer.request().await;
            drop(peer);
            request
        });
        assert!(request.contains("\r\nContent-Length: 0\r\n"), "{request}");
    });
}

/// What is not written, whoever asks for it.
#[test]
fn what_has_two_readings_is_not_written() {
    let length = |body, value: &str| Ask { body, ..Ask::get("/") }.field("Content-Length", value);
    let cases = [
        ("target", Ask::get("/a b")),
        ("target", Ask::get("/a\r\nX: y")),
        ("target", Ask::get("/a\0")),
        ("target", Ask::get("http://users/")),
        ("target", Ask::get("")),
        ("method", Ask { method: Method::CONNECT, ..Ask::get("/") }),
        ("connection-field", Ask::get("/").field("Transfer-Encoding", "chunked")),
        ("connection-field", Ask::get("/").field("Connection", "close")),
        ("host-doubled", Ask::get("/").field("Host", "others")),
        ("upgrade", Ask { upgrade: Some("a\r\nX: y"), ..Ask::get("/") }),
        ("upgrade", Ask { upgrade: Some(""), ..Ask::get("/") }),
        ("content-length", length(BodyKind::Length(3), "4")),
        ("content-length", length(BodyKind::None, "4")),
        ("content-length", length(BodyKind::Unknown, "4")),
        ("content-length", length(BodyKind::Length(4), "+4")),
        ("content-length", length(BodyKind::Length(4), "4").field("Content-Length", "4")),
    ];
    run(async {
        for (reason, ask) in cases {
            let stage = Stage::new(Protocol::Http).await;
            let (mut exchange, mut peer) = stage.begin(&ask).await;
            let error = head(&mut exchange, Never).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unsendable(reason), "{}", ask.path);
            assert_eq!((error.side(), error.retry), (Side::Source, Retry::Never));
            assert!(peer.rest().await.is_empty(), "nothing is written for {reason}");
        }
    });
}

#[test]
fn trailers_are_asked_for() {
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let ask = Ask { te_trailers: true, ..Ask::get("/") };
        let (mut exchange, mut peer) = stage.begin(&ask).await;
        let (_closed, request) = tokio::join!(head(&mut exchange, Empty), async {
            let request = peer.request().await;
            drop(peer);
            request
        });
        assert!(request.ends_with("\r\nConnection: te\r\nTE: trailers\r\n\r\n"), "{request}");
    });
}

#[test]
fn informational_heads_come_before_the_final_one() {
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let (mut exchange, mut peer) = stage.begin(&Ask::get("/")).await;
        let calls = async {
            let mut statuses = Vec::new();
            loop {
                let head = head(&mut exchange, Empty).await.unwrap();
                statuses.push(head.status.as_u16());
                if !head.is_informational() {
                    return (statuses, head);
                }
                if head.status == StatusCode::EARLY_HINTS {
                    assert_eq!(head.fields.get_named(b"link"), Some(&b"</a>"[..]));
                }
            }
        };
        let ((statuses, _), ()) = tokio::join!(calls, async {
            peer.request().await;
            peer.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
                .await;
            peer.say(format!("HTTP/1.1 102 Processing\r\n\r\n{OK}")).await;
        });
        assert_eq!(statuses, [100, 103, 102, 200]);
    });
}

#[test]
fn informational_heads_are_limited() {
    run(async {
        let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(100);
        let error = answered_with(&endless).await.unwrap_err();
        assert_eq!(error.kind.label(), "too-many-informational");
        assert_eq!(error.retry, Retry::Never);
    });
}

#[test]
fn connection_fields_end_here() {
    run(async {
        let response = "HTTP/1.1 200 OK\r\nConnection: close, x-private\r\nX-Private: 1\r\n\
                        Keep-Alive: timeout=5\r\nX-Public: 2\r\nContent-Length: 0\r\n\r\n";
        let answer = answered_with(response).await.unwrap();
        assert_eq!(answer.field("connection"), None);
        assert_eq!(answer.field("keep-alive"), None);
        assert_eq!(answer.field("x-private"), None);
        assert_eq!(answer.field("x-public"), Some("2"));
    });
}

/// Responses that have two readings, or none.
#[test]
fn an_ambiguous_response_is_refused() {
    let cases = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ];
    run(async {
        for response in cases {
            let error = answered_with(response).await.expect_err(response);
            let ErrorKind::Malformed(refusal) = error.kind else { panic!("{error}: {response}") };
            assert_eq!(refusal.status, 502, "{response}");
            assert_eq!((error.side(), error.retry), (Side::Upstream, Retry::Never));
        }
    });
}

#[test]
fn a_head_has_limits() {
    run(async {
        let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(40 << 10));
        let error = answered_with(&long).await.unwrap_err();
        assert_eq!(error.kind.label(), "head-too-large");
    });
}

#[test]
fn a_head_may_come_byte_by_byte() {
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let (mut exchange, mut peer) = stage.begin(&Ask::get("/")).await;
        peer.0.set_nodelay(true).unwrap();
        let (answer, ()) = tokio::join!(answer(&mut exchange, Empty), async {
            peer.request().await;
            for byte in OK.bytes() {
                peer.say([byte]).await;
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(answer.unwrap().text(), "ok");
    });
}

#[test]
fn a_head_that_is_cut_is_no_head() {
    run(async {
        let error = answered_with("HTTP/1.1 200 OK\r\nContent-Le").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Closed);
        assert_eq!(error.retry, Retry::IfIdempotent);
    });
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let (mut exchange, mut peer) = stage.begin(&Ask::websocket()).await;
        let script = async {
            let request = peer.request().await;
            assert!(request.ends_with("\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"));
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                        Upgrade: WebSocket\r\nSec-WebSocket-Accept: x\r\n\r\nearly";
            peer.say(head).await;
            assert_eq!(peer.hear(5).await, "hello");
            peer.say(" world").await;
            peer.0.shutdown().await.unwrap();
            assert!(peer.rest().await.is_empty());
        };
        let client = async {
            let head = head(&mut exchange, Empty).await.unwrap();
            assert!(head.is_switched() && !head.is_informational());
            assert_eq!(head.fields.get_named(b"upgrade"), Some(&b"WebSocket"[..]));
            let mut tunnel = exchange.into_tunnel();
            tunnel.write_all(b"hello").await.unwrap();
            let mut heard = String::new();
            tunnel.read_to_string(&mut heard).await.unwrap();
            tunnel.shutdown().await.unwrap();
            heard
        };
        let (heard, ()) = tokio::join!(client, script);
        assert_eq!(heard, "early world");
    });
}

#[test]
fn an_upgrade_to_something_else_is_refused() {
    run(async {
        let response = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                        Upgrade: other\r\n\r\n";
        let error = answered_to(&Ask::websocket(), response).await.unwrap_err();
        assert_eq!(error.kind.label(), "unexpected-upgrade");
    });
}

#[test]
fn an_upgrade_may_be_declined() {
    run(async {
        let answer = answered_to(&Ask::websocket(), OK).await.unwrap();
        assert!(!answer.head.is_switched());
        assert_eq!(answer.text(), "ok");
    });
}

#[test]
fn what_is_no_tunnel_is_closed() {
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let (exchange, _peer) = stage.begin(&Ask::get("/")).await;
        let mut tunnel = exchange.into_tunnel();
        assert_eq!(tunnel.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(tunnel.write_all(b"x").await.is_err());
    });
}
