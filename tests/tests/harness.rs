//! The harness itself, without Posthouse: a test that trusts it must be able to.

use std::process::Command;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use posthouse_tests::backend::{Backend, whole};
use posthouse_tests::client;
use posthouse_tests::house::new_folder;
use posthouse_tests::program::Program;
use posthouse_tests::raw::{self, End, Raw};

#[tokio::test]
async fn a_named_backend_answers_and_remembers() {
    let backend = Backend::named("one").await;
    let request = client::request(Method::POST, "some.host", "/path?q", "body");
    let answer = client::send(backend.address(), request).await.expect("an answer");
    assert_eq!(answer.headers()["x-backend"], "one");
    assert_eq!(answer.body().as_ref(), b"one");
    let [seen] = &backend.seen()[..] else { panic!("one request, not {}", backend.requests()) };
    assert_eq!((seen.header("host"), seen.uri.to_string()), ("some.host", "/path?q".to_owned()));
    assert_eq!(seen.body.as_ref(), b"body");

    let address = backend.address();
    backend.stop().await;
    assert!(client::get(address, "some.host", "/").await.is_err());
}

#[tokio::test]
async fn a_backend_speaks_http2_on_the_same_port() {
    let backend = Backend::streaming(|request| async move {
        let body = request.into_body().collect().await?.to_bytes();
        Ok(http::Response::new(whole(body)))
    })
    .await;
    let stream = tokio::net::TcpStream::connect(backend.address()).await.expect("a connection");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("an h2c connection");
    tokio::spawn(connection);
    let request = Request::post("http://some.host/").body(Full::new(Bytes::from("echo")));
    let answer = sender.send_request(request.expect("a request")).await.expect("an answer");
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
    assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes().as_ref(), b"echo");
}

#[tokio::test]
async fn raw_connections_read_what_is_there_and_how_it_ends() {
    let backend = Backend::raw(|number, mut raw| async move {
        raw.read_head().await;
        raw.send(format!("HTTP/1.1 299 Odd\r\nContent-Length: 1\r\n\r\n{number}rest")).await;
    })
    .await;
    let mut first = Raw::open(backend.address()).await;
    first.send("GET / HTTP/1.1\r\n\r\n").await;
    let (head, body) = first.read_response().await;
    assert_eq!((raw::status_of(head.as_bytes()), body.as_slice()), (Some(299), &b"0"[..]));
    assert_eq!(first.read_to_end().await, (b"rest".to_vec(), End::Closed));
    let (all, _) = raw::exchange(backend.address(), "GET / HTTP/1.1\r\n\r\n").await;
    assert!(all.ends_with(b"1rest"));
}

#[tokio::test]
async fn programs_are_waited_for_and_their_words_kept() {
    let folder = new_folder();
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap 'echo ending; exit 3' TERM; echo ready; while :; do sleep 0.05; done"]);
    let mut program = Program::start("shell", command, folder.path());
    program.says("ready").await;
    assert!(program.ended().is_none());
    assert_eq!(program.stop().await.code(), Some(3));
    assert_eq!(program.log(), "ready\nending\n");
}
