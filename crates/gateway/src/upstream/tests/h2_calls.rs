//! Calls over HTTP/2, against the server of the `h2` crate.

use h2::server::{Connection, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::spawn_local;

use super::*;
use crate::upstream::{ConnectErrorKind, ErrorKind, Retry};

type Serving = Connection<TcpStream, Bytes>;
type Asked = (Request<RecvStream>, SendResponse<Bytes>);

async fn serve(stage: &Stage) -> Serving {
    serve_with(stage, &h2::server::Builder::new()).await
}

async fn serve_with(stage: &Stage, builder: &h2::server::Builder) -> Serving {
    builder.handshake(stage.accept().await.0).await.unwrap()
}

/// The next request; the connection goes on being driven.
async fn next(connection: &mut Serving) -> Asked {
    connection.accept().await.expect("a request").unwrap()
}

fn drive(mut connection: Serving) {
    spawn_local(async move { while connection.accept().await.is_some() {} });
}

fn ok() -> Response<()> {
    Response::new(())
}

/// One call, and what the instance does with it.
async fn call<F, Fut>(
    ask: &Ask,
    mut source: impl Source,
    script: F,
) -> Result<Answer, ExchangeError>
where
    F: FnOnce(Request<RecvStream>, SendResponse<Bytes>) -> Fut,
    Fut: Future<Output = ()> + 'static,
{
    let stage = Stage::new(Protocol::H2c).await;
    let client = async {
        let mut exchange = stage.send(ask).await;
        answer(&mut exchange, &mut source).await
    };
    let server = async {
        let mut connection = serve(&stage).await;
        let (request, respond) = next(&mut connection).await;
        let work = script(request, respond);
        drive(connection);
        work.await;
    };
    tokio::join!(client, server).0
}

async fn read(mut body: RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    (bytes, body.trailers().await.unwrap())
}

fn put(stream: &mut SendStream<Bytes>, data: &'static str, ends: bool) {
    stream.send_data(Bytes::from_static(data.as_bytes()), ends).unwrap();
}

#[test]
fn a_call_over_http_2() {
    run(async {
        let ask = Ask { te_trailers: true, ..Ask::get("/a?b=c") }.field("X-Thing", "1");
        let answer = call(&ask, Empty, |request, mut respond| async move {
            assert_eq!(request.uri(), "http://users/a?b=c");
            assert_eq!(request.headers()["x-thing"], "1");
            assert_eq!(request.headers()["te"], "trailers");
            assert!(!request.headers().contains_key("host"));
            assert!(request.body().is_end_stream());
            let response = Response::builder().header("x-answer", "2").body(()).unwrap();
            put(&mut respond.send_response(response, false).unwrap(), "hello", true);
        });
        let answer = answer.await.unwrap();
        assert_eq!((answer.status(), answer.text()), (200, "hello"));
        assert_eq!(answer.field("x-answer"), Some("2"));
    });
}

#[test]
fn bodies_and_trailers_go_both_ways() {
    run(async {
        let ask = Ask::post(BodyKind::Unknown);
        let mut source = Pieces::of(&["one", "two"]).then(Ok(trailers("x-sum", "6")));
        let answer = call(&ask, &mut source, |request, mut respond| async move {
            let (body, trailers) = read(request.into_body()).await;
            assert_eq!(body, b"onetwo");
            assert_eq!(trailers.unwrap()["x-sum"], "6");
            let mut stream = respond.send_response(ok(), false).unwrap();
            put(&mut stream, "three", false);
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            trailers.insert("content-length", "5".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
        });
        let answer = answer.await.unwrap();
        assert_eq!(answer.text(), "three");
        assert_eq!(answer.trailer("grpc-status"), Some("0"));
        assert_eq!(answer.trailer("content-length"), None);
    });
}

#[test]
fn a_known_length_is_announced() {
    run(async {
        let ask = Ask::post(BodyKind::Length(5));
        let answer = call(&ask, Pieces::of(&["hello"]), |request, mut respond| async move {
            assert_eq!(request.headers()["content-length"], "5");
            assert_eq!(read(request.into_body()).await.0, b"hello");
            respond.send_response(ok(), true).unwrap();
        });
        assert_eq!(answer.await.unwrap().head.body, BodyKind::None);
    });
}

#[test]
fn a_body_that_is_too_short_resets_the_stream() {
    run(async {
        let ask = Ask::post(BodyKind::Length(10));
        let answer = call(&ask, Pieces::of(&["short"]), |request, _respond| async move {
            let mut body = request.into_body();
            let failed = loop {
                match body.data().await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => break true,
                    None => break false,
                }
            };
            assert!(failed, "the body must not look whole");
        });
        let error = answer.await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Source(SourceError::Gone));
    });
}

#[test]
fn large_bodies_move_in_both_directions_at_once() {
    const LEN: usize = 10 << 20;
    run(async {
        let ask = Ask::post(BodyKind::Unknown);
        let answer = call(&ask, Zeros(LEN), |request, mut respond| async move {
            let mut body = request.into_body();
            let mut stream = respond.send_response(ok(), false).unwrap();
            while let Some(data) = body.data().await {
                let mut data = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                while !data.is_empty() {
                    stream.reserve_capacity(data.len());
                    let room = poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
                    let len = room.min(data.len());
                    stream.send_data(data.split_to(len), false).unwrap();
                }
            }
            stream.send_data(Bytes::new(), true).unwrap();
        });
        assert_eq!(answer.await.unwrap().body.len(), LEN);
    });
}

#[test]
fn an_early_response_ends_the_upload() {
    run(async {
        let ask = Ask::post(BodyKind::Unknown);
        let answer = call(&ask, Zeros(64 << 20), |request, mut respond| async move {
            let response = Response::builder().status(413).body(()).unwrap();
            put(&mut respond.send_response(response, false).unwrap(), "too big", true);
            drop(request);
        });
        let answer = answer.await.unwrap();
        assert_eq!((answer.status(), answer.text()), (413, "too big"));
    });
}

#[test]
fn nobody_is_asked_for_more_than_is_read() {
    run(async {
        let stage = Stage::new(Protocol::H2c).await;
        let sent = std::rc::Rc::new(std::cell::Cell::new(0));
        let counted = std::rc::Rc::clone(&sent);
        let server = async {
            let mut connection = serve(&stage).await;
            let (_, mut respond) = next(&mut connection).await;
            drive(connection);
            let mut stream = respond.send_response(ok(), false).unwrap();
            loop {
                stream.reserve_capacity(16 << 10);
                let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
                stream.send_data(Bytes::from(vec![0; room]), false).unwrap();
                counted.set(counted.get() + room);
            }
        };
        let client = async {
            let ask = Ask::get("/");
            let mut exchange = stage.send(&ask).await;
            head(&mut exchange, Empty).await.unwrap();
            // Other calls go on while nobody reads this one.
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            exchange
        };
        tokio::select! {
            _ = server => panic!("the stream ended"),
            exchange = client => {
                assert!(sent.get() <= 1 << 20, "{} bytes ahead of the reader", sent.get());
                drop(exchange);
            }
        }
    });
}

#[test]
fn informational_heads_over_http_2() {
    run(async {
        let stage = Stage::new(Protocol::H2c).await;
        let client = async {
            let mut exchange = stage.send(&Ask::get("/")).await;
            let hint = head(&mut exchange, Empty).await.unwrap();
            assert_eq!(hint.status, StatusCode::EARLY_HINTS);
            assert!(hint.is_informational());
            head(&mut exchange, Empty).await.unwrap()
        };
        let server = async {
            let mut connection = serve(&stage).await;
            let (_, mut respond) = next(&mut connection).await;
            let hint = Response::builder().status(103).header("link", "</a>").body(()).unwrap();
            respond.send_informational(hint).unwrap();
            respond.send_response(ok(), true).unwrap();
            drive(connection);
        };
        let (head, ()) = tokio::join!(client, server);
        assert_eq!(head.status, StatusCode::OK);
    });
}

#[test]
fn head_has_no_body_over_http_2() {
    run(async {
        let ask = Ask::head();
        let answer = call(&ask, Empty, |request, mut respond| async move {
            assert_eq!(request.method(), "HEAD");
            let response = Response::builder().header("content-length", "1000").body(()).unwrap();
            respond.send_response(response, true).unwrap();
        });
        let answer = answer.await.unwrap();
        assert_eq!(answer.head.body, BodyKind::None);
        assert_eq!(answer.field("content-length"), Some("1000"));
    });
}

#[test]
fn calls_share_a_connection_until_it_is_full() {
    run(async {
        let stage = Stage::new(Protocol::H2c).await;
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(2);
        let ask = Ask::get("/");
        let servers = async {
            let mut first = serve_with(&stage, &builder).await;
            let one = next(&mut first).await;
            let two = next(&mut first).await;
            drive(first);
            let mut second = serve_with(&stage, &builder).await;
            let three = next(&mut second).await;
            drive(second);
            for (_, mut respond) in [one, two, three] {
                respond.send_response(ok(), true).unwrap();
            }
        };
        let one_call = async || {
            let mut exchange = stage.send(&ask).await;
            answer(&mut exchange, Empty).await.unwrap().status()
        };
        let clients = async { tokio::join!(one_call(), one_call(), one_call()) };
        let (statuses, ()) = tokio::join!(clients, servers);
        assert_eq!(statuses, (200, 200, 200));
        assert_eq!(stage.endpoint().connections(), 2);
    });
}

#[test]
fn at_the_limit_a_call_waits_for_a_stream() {
    run(async {
        let mut settings = settings(Protocol::H2c);
        settings.circuit.connections = 1;
        let stage = Stage::with(settings).await;
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(1);
        let ask = Ask::get("/");
        let server = async {
            let mut connection = serve_with(&stage, &builder).await;
            for _ in 0..3 {
                let (_, mut respond) = next(&mut connection).await;
                respond.send_response(ok(), true).unwrap();
            }
            drive(connection);
        };
        let one_call = async || {
            let mut exchange = stage.send(&ask).await;
            answer(&mut exchange, Empty).await.unwrap().status()
        };
        let clients = async { tokio::join!(one_call(), one_call(), one_call()) };
        let (statuses, ()) = tokio::join!(clients, server);
        assert_eq!(statuses, (200, 200, 200));
        assert_eq!(stage.endpoint().connections(), 1);
    });
}

#[test]
fn a_condemned_connection_takes_no_more_calls() {
    run(async {
        let stage = Stage::new(Protocol::H2c).await;
        let ask = Ask::get("/");
        let server = async {
            let mut first = serve(&stage).await;
            let held = next(&mut first).await;
            drive(first);
            let mut second = serve(&stage).await;
            let (_, mut respond) = next(&mut second).await;
            respond.send_response(ok(), true).unwrap();
            drive(second);
            held
        };
        let client = async {
            let slow = stage.send(&ask).await;
            slow.condemn();
            let mut exchange = stage.send(&ask).await;
            let status = answer(&mut exchange, Empty).await.unwrap().status();
            (status, slow)
        };
        let ((status, slow), _held) = tokio::join!(client, server);
        assert_eq!(status, 200);
        drop(slow);
    });
}

#[test]
fn an_upgrade_becomes_an_extended_connect() {
    run(async {
        let stage = Stage::new(Protocol::H2c).await;
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        let server = async {
            let mut connection = serve_with(&stage, &builder).await;
            let (request, mut respond) = next(&mut connection).await;
            drive(connection);
            assert_eq!(request.method(), "CONNECT");
            assert_eq!(request.uri().path(), "/socket");
            let protocol = request.extensions().get::<h2::ext::Protocol>().unwrap();
            assert_eq!(protocol.as_str(), "websocket");
            assert!(!request.headers().contains_key("sec-websocket-key"));
            assert_eq!(request.headers()["sec-websocket-version"], "13");
            let mut stream = respond.send_response(ok(), false).unwrap();
            let (heard, _) = read(request.into_body()).await;
            assert_eq!(heard, b"hello");
            put(&mut stream, "world", true);
        };
        let client = async {
            let ask = Ask::websocket()
                .field("Sec-WebSocket-Key", "AAAA")
                .field("Sec-WebSocket-Version", "13");
            let mut exchange = stage.send(&ask).await;
            let head = head(&mut exchange, Empty).await.unwrap();
            assert!(head.is_switched());
            let mut tunnel = exchange.into_tunnel();
            tunnel.write_all(b"hello").await.unwrap();
            tunnel.shutdown().await.unwrap();
            let mut heard = String::new();
            tunnel.read_to_string(&mut heard).await.unwrap();
            heard
        };
        let (heard, ()) = tokio::join!(client, server);
        assert_eq!(heard, "world");
    });
}

#[test]
fn an_extended_connect_may_be_declined() {
    run(async {
        let stage = Stage::new(Protocol::H2c).await;
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        let server = async {
            let mut connection = serve_with(&stage, &builder).await;
            let (_, mut respond) = next(&mut connection).await;
            drive(connection);
            let response = Response::builder().status(403).body(()).unwrap();
            put(&mut respond.send_response(response, false).unwrap(), "no", true);
        };
        let client = async {
            let mut exchange = stage.send(&Ask::websocket()).await;
            answer(&mut exchange, Empty).await.unwrap()
        };
        let (answer, ()) = tokio::join!(client, server);
        assert!(!answer.head.is_switched());
        assert_eq!((answer.status(), answer.text()), (403, "no"));
    });
}

#[test]
fn an_instance_that_knows_no_extended_connect_is_not_asked() {
    run(async {
        let stage = Stage::new(Protocol::H2c).await;
        let client = async {
            let mut exchange = stage.send(&Ask::websocket()).await;
            head(&mut exchange, Empty).await.unwrap_err()
        };
        let (error, connection) = tokio::join!(client, serve(&stage));
        assert_eq!((error.kind, error.retry), (ErrorKind::NoUpgrade, Retry::Never));
        drop(connection);
    });
}

#[test]
fn what_does_not_speak_http_2_is_told_apart() {
    run(async {
        let stage = Stage::new(Protocol::H2c).await;
        let ask = Ask::get("/");
        let (lease, ()) = tokio::join!(stage.lease(&ask), async {
            let mut peer = stage.accept().await;
            peer.bytes(24).await;
            peer.say("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
            peer.0.shutdown().await.unwrap();
        });
        assert_eq!(lease.unwrap_err().kind, ConnectErrorKind::Protocol);
    });
}

#[test]
fn calls_that_wait_for_one_connection_share_its_failure() {
    run(async {
        let stage = Stage::new(Protocol::H2c).await;
        let ask = Ask::get("/");
        let clients =
            async { tokio::join!(stage.lease(&ask), stage.lease(&ask), stage.lease(&ask)) };
        let (leases, ()) = tokio::join!(clients, async { drop(stage.accept().await) });
        for lease in [leases.0, leases.1, leases.2] {
            assert!(lease.is_err());
        }
        assert_eq!(stage.endpoint().connections(), 0);
    });
}
