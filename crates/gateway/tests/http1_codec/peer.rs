//! Agreement with hyper on well-formed messages: what it reads from the same bytes is what the
//! codec reads. An oracle nobody here wrote; where the codec is stricter, the tables say so.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use posthouse_gateway::http::head::Fields;
use posthouse_gateway::http1::{
    BodyDecoder, Decoded, Framing, Limits, parse_request, parse_response,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

/// Values by lower-case name, each name's in order.
type Names = BTreeMap<String, Vec<Vec<u8>>>;

/// A message as one of the two implementations understood it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    /// Method, path and query; or the status.
    start: String,
    fields: Names,
    body: Vec<u8>,
    trailers: Names,
}

fn of_map(map: &HeaderMap) -> Names {
    let mut names = Names::new();
    for (name, value) in map {
        names.entry(name.to_string()).or_default().push(value.as_bytes().to_vec());
    }
    names
}

fn of_fields(fields: &Fields) -> Names {
    let mut names = Names::new();
    for (_, name, value) in fields.iter() {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        names.entry(name).or_default().push(value.to_vec());
    }
    names
}

async fn of_body(body: Incoming) -> (Vec<u8>, Names) {
    let body = body.collect().await.expect("hyper reads the body");
    let trailers = body.trailers().map(of_map).unwrap_or_default();
    (body.to_bytes().to_vec(), trailers)
}

/// The body and trailers by the codec; all of `buf` must belong to them.
fn our_body(framing: Framing, buf: &mut BytesMut) -> (Vec<u8>, Names) {
    let mut decoder = BodyDecoder::new(framing);
    let (mut body, mut trailers) = (Vec::new(), Names::new());
    loop {
        match decoder.decode(buf).expect("a good body") {
            Decoded::Data(data) => body.extend_from_slice(&data),
            Decoded::Trailers(fields) => trailers = of_fields(&fields),
            Decoded::NeedMore => {
                decoder.on_eof().expect("a whole body");
                break;
            }
            Decoded::End => break,
        }
    }
    assert!(buf.is_empty(), "bytes were left over");
    (body, trailers)
}

fn our_request(wire: &[u8]) -> Message {
    let mut buf = BytesMut::from(wire);
    let head = parse_request(&mut buf, &Limits::default()).expect("a good head");
    let head = head.expect("a whole head");
    let (body, trailers) = our_body(head.framing, &mut buf);
    let start = format!("{} {}", head.method, head.target.path_and_query());
    Message { start, fields: of_fields(&head.fields), body, trailers }
}

fn our_response(wire: &[u8], method: &Method) -> Message {
    let mut buf = BytesMut::from(wire);
    let head = parse_response(&mut buf, &Limits::default(), method).expect("a good head");
    let head = head.expect("a whole head");
    let (body, trailers) = our_body(head.framing, &mut buf);
    let start = head.status.as_str().to_owned();
    Message { start, fields: of_fields(&head.fields), body, trailers }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(work)
}

/// One more than any generated message, so that no writer waits for a reader.
const PIPE: usize = 1 << 20;

async fn hyper_request(wire: &[u8]) -> Message {
    let (mut client, server) = duplex(PIPE);
    client.write_all(wire).await.expect("the pipe has room");
    let seen = Arc::new(Mutex::new(None));
    let note = Arc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let note = Arc::clone(&note);
        async move {
            let (head, body) = request.into_parts();
            let (body, trailers) = of_body(body).await;
            let path = head.uri.path_and_query().map_or("", |path| path.as_str());
            let start = format!("{} {path}", head.method);
            let message = Message { start, fields: of_map(&head.headers), body, trailers };
            *note.lock().expect("not poisoned") = Some(message);
            let answer = Response::builder().header("connection", "close");
            Ok::<_, Infallible>(answer.body(Empty::<Bytes>::new()).expect("an answer"))
        }
    });
    let builder = hyper::server::conn::http1::Builder::new();
    builder.serve_connection(TokioIo::new(server), service).await.expect("hyper serves");
    let seen = seen.lock().expect("not poisoned").take();
    seen.expect("hyper saw a request")
}

async fn hyper_response(wire: &[u8], method: Method) -> Message {
    let (client, mut server) = duplex(PIPE);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(client)).await.expect("a handshake");
    let request = Request::builder().method(method).uri("/").header("host", "a");
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    let answer = async {
        let response = sender.send_request(request).await.expect("hyper takes the head");
        let (head, body) = response.into_parts();
        let (body, trailers) = of_body(body).await;
        let start = head.status.as_str().to_owned();
        drop(sender);
        Message { start, fields: of_map(&head.headers), body, trailers }
    };
    let serve = async {
        read_head(&mut server).await;
        server.write_all(wire).await.expect("the pipe has room");
        drop(server);
    };
    // How the connection ends is no part of the message.
    let (message, (), _closed) = tokio::join!(answer, serve, connection);
    message
}

async fn read_head(stream: &mut DuplexStream) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(stream.read_u8().await.expect("a request head"));
    }
}

/// Lines of fields that say nothing about framing, with all white space that the grammar allows.
fn plain_fields() -> impl Strategy<Value = String> {
    let name = "[xX]-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}";
    let line = (name, "[ \t]{0,2}", "([!-~]([ -~\t]{0,40}[!-~])?)?", "[ \t]{0,2}");
    vec(
        line.prop_map(|(name, before, value, after)| format!("{name}:{before}{value}{after}\r\n")),
        0..12,
    )
    .prop_map(|lines| lines.concat())
}

/// The field that declares the framing, and the bytes that follow the head.
fn framed_body() -> impl Strategy<Value = (String, Vec<u8>)> {
    let sized = vec(any::<u8>(), 0..2000)
        .prop_map(|body| (format!("Content-Length: {}\r\n", body.len()), body));
    let chunk = (vec(any::<u8>(), 1..500), "(;[a-z]{1,8}(=[a-z0-9]{1,8})?)?");
    let trailers = vec("(x-[a-z]{1,9}): ?([!-~]{1,20})\r\n", 0..3);
    let chunked = (vec(chunk, 0..6), trailers).prop_map(|(chunks, trailers)| {
        let mut body = Vec::new();
        for (data, extension) in chunks {
            body.extend_from_slice(format!("{:X}{extension}\r\n", data.len()).as_bytes());
            body.extend_from_slice(&data);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n");
        body.extend_from_slice(trailers.concat().as_bytes());
        body.extend_from_slice(b"\r\n");
        ("Transfer-Encoding: chunked\r\n".to_owned(), body)
    });
    prop_oneof![sized, chunked]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn requests(
        method in prop_oneof![Just("GET"), Just("POST"), Just("PUT"), Just("DELETE"), Just("X-OWN")],
        path in "(/[A-Za-z0-9_~!$&'()*+,;=:@-]{1,12}){1,4}/?",
        query in option::of("[A-Za-z0-9/?=&%.+-]{0,30}"),
        fields in plain_fields(),
        body in option::of(framed_body()),
    ) {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let (framing, body) = body.unwrap_or_default();
        let mut wire = format!(
            "{method} {path}{query} HTTP/1.1\r\nHost: shop.example:8080\r\n{fields}{framing}\r\n"
        )
        .into_bytes();
        wire.extend_from_slice(&body);
        assert_eq!(our_request(&wire), run(hyper_request(&wire)));
    }

    #[test]
    fn responses(
        status in prop_oneof![200_u16..204, 205_u16..600],
        reason in "[ -~]{0,20}",
        fields in plain_fields(),
        body in option::of(framed_body()),
        head_only in any::<bool>(),
    ) {
        let method = if head_only { Method::HEAD } else { Method::GET };
        let (framing, body) = body.unwrap_or_default();
        let mut wire = format!("HTTP/1.1 {status} {reason}\r\n{fields}{framing}\r\n").into_bytes();
        if !head_only && status != 304 {
            wire.extend_from_slice(&body);
        }
        assert_eq!(our_response(&wire, &method), run(hyper_response(&wire, method)));
    }
}
