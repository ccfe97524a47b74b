//! Bodies over HTTP/1, in both directions and at once.

use super::*;
use crate::http1::Refusal;
use crate::upstream::{ErrorKind, Retry, Side};

/// The request that a body makes, as the instance reads it until the gateway closes.
async fn uploaded(ask: &Ask, mut source: impl Source) -> (Option<ExchangeError>, String) {
    let stage = Stage::new(Protocol::Http).await;
    let (mut exchange, mut peer) = stage.begin(ask).await;
    let client = async {
        let error = head(&mut exchange, &mut source).await.err();
        drop(exchange);
        error
    };
    let script = async {
        let mut all = Vec::new();
        let mut buf = [0; 4096];
        loop {
            let read = peer.0.read(&mut buf).await.unwrap_or(0);
            all.extend_from_slice(&buf[..read]);
            if read == 0 {
                return String::from_utf8(all).unwrap();
            }
            if all.ends_with(b"end")
                || all.ends_with(b"0\r\n\r\n")
                || all.ends_with(b"\r\nT: v\r\n\r\n")
            {
                peer.say(OK).await;
            }
        }
    };
    tokio::join!(client, script)
}

#[test]
fn a_body_of_known_length_is_sent_as_it_is() {
    run(async {
        let ask = Ask::post(BodyKind::Length(7)).field("Content-Length", "7");
        let (error, request) = uploaded(&ask, Pieces::of(&["this", "end"])).await;
        assert!(error.is_none());
        let head = "POST / HTTP/1.1\r\nHost: users\r\nContent-Length: 7\r\n\r\n";
        assert_eq!(request, format!("{head}thisend"));
    });
}

#[test]
fn a_length_that_no_field_announces_is_added() {
    run(async {
        let ask = Ask::post(BodyKind::Length(3));
        let (error, request) = uploaded(&ask, Pieces::of(&["end"])).await;
        assert!(error.is_none());
        assert!(request.ends_with("\r\nContent-Length: 3\r\n\r\nend"), "{request}");
    });
}

#[test]
fn a_body_of_unknown_length_is_sent_in_chunks() {
    run(async {
        let ask = Ask::post(BodyKind::Unknown);
        let mut source = Pieces::of(&["hello", "", "0123456789abcdef"]);
        let (error, request) = uploaded(&ask, &mut source).await;
        assert!(error.is_none());
        let (_, body) = request.split_once("\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        assert_eq!(body, "5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");
    });
}

#[test]
fn trailers_follow_the_chunks() {
    run(async {
        let ask = Ask::post(BodyKind::Unknown);
        let mut source = Pieces::of(&["hello"]).then(Ok(trailers("T", "v")));
        let (error, request) = uploaded(&ask, &mut source).await;
        assert!(error.is_none());
        assert!(request.ends_with("5\r\nhello\r\n0\r\nT: v\r\n\r\n"), "{request}");
    });
}

#[test]
fn trailers_that_mean_something_are_left_out() {
    run(async {
        let ask = Ask::post(BodyKind::Unknown);
        let mut source = Pieces::of(&["hello"]).then(Ok(trailers("Content-Length", "5")));
        let (_, request) = uploaded(&ask, &mut source).await;
        assert!(request.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{request}");
    });
}

#[test]
fn a_body_that_is_too_short_ends_the_connection() {
    run(async {
        let ask = Ask::post(BodyKind::Length(10));
        let (error, request) = uploaded(&ask, Pieces::of(&["short"])).await;
        let error = error.unwrap();
        assert_eq!(error.kind, ErrorKind::Source(SourceError::Gone));
        assert_eq!((error.side(), error.retry), (Side::Source, Retry::Never));
        assert!(!request.ends_with("\r\n\r\n"), "{request}");
    });
}

#[test]
fn a_body_that_is_too_long_ends_the_connection() {
    run(async {
        let ask = Ask::post(BodyKind::Length(3));
        let (error, request) = uploaded(&ask, Pieces::of(&["longer"])).await;
        assert_eq!(error.unwrap().kind, ErrorKind::Unsendable("body-length"));
        assert!(!request.contains("longer"), "{request}");
    });
}

#[test]
fn a_source_that_fails_ends_the_connection_without_ending_the_body() {
    run(async {
        let refusal = Refusal { status: 400, reason: "chunk-size" };
        let broken = Err(SourceError::Broken(refusal));
        let ask = Ask::post(BodyKind::Unknown);
        let (error, request) = uploaded(&ask, Pieces::of(&["hello"]).then(broken)).await;
        let error = error.unwrap();
        assert_eq!(error.kind, ErrorKind::Source(SourceError::Broken(refusal)));
        assert_eq!(error.side(), Side::Source);
        assert!(!request.ends_with("0\r\n\r\n"), "the body must not look whole: {request}");
    });
}

#[test]
fn large_pieces_arrive_whole() {
    const LEN: usize = 3 << 20;
    run(async {
        for chunked in [false, true] {
            let stage = Stage::new(Protocol::Http).await;
            let body = if chunked { BodyKind::Unknown } else { BodyKind::Length(LEN as u64) };
            let (mut exchange, mut peer) = stage.begin(&Ask::post(body)).await;
            let script = async {
                peer.request().await;
                let mut zeros = 0;
                while zeros < LEN {
                    let len = if chunked {
                        let mut line = String::new();
                        while !line.ends_with("\r\n") {
                            line.push(char::from(peer.0.read_u8().await.unwrap()));
                        }
                        usize::from_str_radix(line.trim_end(), 16).unwrap()
                    } else {
                        64 << 10
                    };
                    assert!(peer.bytes(len).await.iter().all(|byte| *byte == 0));
                    zeros += len;
                    if chunked {
                        assert_eq!(peer.hear(2).await, "\r\n");
                    }
                }
                if chunked {
                    assert_eq!(peer.hear(5).await, "0\r\n\r\n");
                }
                peer.say(OK).await;
            };
            let (answer, ()) = tokio::join!(answer(&mut exchange, Zeros(LEN)), script);
            assert_eq!(answer.unwrap().text(), "ok");
            let again = stage.lease(&Ask::get("/")).await.unwrap();
            assert!(again.is_reused(), "both directions ended where they should");
        }
    });
}

#[test]
fn an_early_response_is_seen_while_the_body_is_still_sent() {
    const LEN: usize = 10 << 20;
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let ask = Ask::post(BodyKind::Length(LEN as u64));
        let (mut exchange, mut peer) = stage.begin(&ask).await;
        let response = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig";
        let (answer, ()) = tokio::join!(answer(&mut exchange, Zeros(LEN)), async {
            peer.request().await;
            peer.say(response).await;
        });
        let answer = answer.unwrap();
        assert_eq!((answer.status(), answer.text()), (413, "big"));
        let again = stage.lease(&Ask::get("/")).await.unwrap();
        assert!(!again.is_reused(), "a body that was not sent whole is still owed");
    });
}

#[test]
fn a_response_is_read_although_the_instance_takes_no_more() {
    const LEN: usize = 10 << 20;
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let (mut exchange, mut peer) = stage.begin(&Ask::post(BodyKind::Length(LEN as u64))).await;
        let response = "HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbusy";
        let (answer, ()) = tokio::join!(answer(&mut exchange, Never), async {
            peer.request().await;
            peer.say(response).await;
            peer.0.shutdown().await.unwrap();
        });
        assert_eq!(answer.unwrap().text(), "busy");
    });
}

/// An instance that echoes as it reads, and a client that reads as it sends: neither direction may
/// wait for the other to end.
#[test]
fn both_directions_move_at_once() {
    const LEN: usize = 10 << 20;
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let ask = Ask::post(BodyKind::Length(LEN as u64));
        let (mut exchange, mut peer) = stage.begin(&ask).await;
        let script = async {
            peer.request().await;
            peer.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n\r\n")).await;
            let (mut read, mut write) = peer.0.split();
            let copied = tokio::io::copy(&mut (&mut read).take(LEN as u64), &mut write).await;
            assert_eq!(copied.unwrap(), LEN as u64);
        };
        let (answer, ()) = tokio::join!(answer(&mut exchange, Zeros(LEN)), script);
        assert_eq!(answer.unwrap().body.len(), LEN);
        assert!(exchange.progress() >= 2 * LEN as u64);
    });
}

/// A client that reads nothing before it has sent everything.
#[test]
fn the_upload_moves_while_the_response_is_left_alone() {
    const LEN: usize = 10 << 20;
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let (mut exchange, mut peer) = stage.begin(&Ask::post(BodyKind::Length(LEN as u64))).await;
        let mut source = Zeros(LEN);
        let client = async {
            let head = head(&mut exchange, &mut source).await.unwrap();
            assert_eq!(head.status.as_u16(), 200);
            poll_fn(|cx| exchange.poll_upload(cx, &mut source)).await.unwrap();
            assert!(source.is_end());
            frame(&mut exchange, &mut source).await.unwrap().unwrap();
            assert!(exchange.is_end());
        };
        tokio::join!(client, async {
            peer.request().await;
            peer.say(OK).await;
            peer.bytes(LEN).await;
        });
    });
}

#[test]
fn nothing_is_buffered_beyond_what_is_polled() {
    const LEN: usize = 64 << 20;
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let (mut exchange, mut peer) = stage.begin(&Ask::get("/")).await;
        let flood = tokio::task::spawn_local(async move {
            peer.request().await;
            peer.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n\r\n")).await;
            peer.say(vec![0; LEN]).await;
        });
        head(&mut exchange, Empty).await.unwrap();
        let mut most = 0;
        for _ in 0..100 {
            let Some(Ok(Frame::Data(data))) = frame(&mut exchange, Empty).await else {
                panic!("the body ended")
            };
            most = most.max(data.len());
            // Let the sender fill whatever it can.
            tokio::task::yield_now().await;
        }
        assert!(most <= 256 << 10, "{most} bytes in one piece");
        assert!(!flood.is_finished(), "who does not read holds the sender back");
    });
}

#[test]
fn chunks_and_trailers_are_read() {
    run(async {
        let response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                        5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Sum: 9\r\nVary: x\r\n\r\n";
        let answer = answered_with(response).await.unwrap();
        assert_eq!(answer.head.body, BodyKind::Unknown);
        assert_eq!(answer.text(), "hello world");
        assert_eq!(answer.trailer("x-sum"), Some("9"));
        assert_eq!(answer.trailer("vary"), None);
        assert_eq!(answer.field("transfer-encoding"), None);
    });
}

#[test]
fn http_1_0_ends_with_the_connection() {
    run(async {
        let answer = answered_with("HTTP/1.0 200 OK\r\n\r\nall of it").await.unwrap();
        assert_eq!(answer.head.body, BodyKind::Unknown);
        assert_eq!(answer.text(), "all of it");
    });
}

/// Bodies that are not whole, however they are framed.
#[test]
fn a_truncated_body_is_an_error() {
    let cases = [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n",
    ];
    run(async {
        for response in cases {
            let error = answered_with(response).await.expect_err(response);
            assert_eq!(error.kind, ErrorKind::Closed, "{response}");
            assert_eq!(error.retry, Retry::Never, "{response}");
        }
    });
}

#[test]
fn a_malformed_body_is_an_error() {
    let cases = [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n",
    ];
    run(async {
        for response in cases {
            let error = answered_with(response).await.expect_err(response);
            let ErrorKind::Malformed(refusal) = error.kind else { panic!("{error}: {response}") };
            assert_eq!(refusal.status, 502);
        }
    });
}

#[test]
fn some_responses_have_no_body_whatever_they_say() {
    let cases = [
        (Ask::head(), "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        (Ask::head(), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (Ask::get("/"), "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"),
        (Ask::get("/"), "HTTP/1.1 204 No Content\r\n\r\n"),
        (Ask::get("/"), "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        (Ask::get("/"), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ];
    run(async {
        for (ask, response) in cases {
            let stage = Stage::new(Protocol::Http).await;
            let (mut exchange, mut peer) = stage.begin(&ask).await;
            let (head, ()) = tokio::join!(head(&mut exchange, Empty), async {
                peer.request().await;
                peer.say(response).await;
            });
            assert_eq!(head.unwrap().body, BodyKind::None, "{response}");
            assert!(exchange.is_end(), "{response}");
            assert!(stage.lease(&ask).await.unwrap().is_reused(), "{response}");
        }
    });
}

#[test]
fn the_length_of_a_body_that_is_not_sent_is_passed_on() {
    run(async {
        let response = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
        let answer = answered_to(&Ask::head(), response).await.unwrap();
        assert_eq!(answer.field("content-length"), Some("1000"));
    });
}
