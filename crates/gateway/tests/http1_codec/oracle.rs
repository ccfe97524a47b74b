//! The same bytes read by the codec and by hyper: an oracle that nobody here wrote. Shared with the
//! fuzz targets.

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
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

/// Values by lower-case name, each name's in order.
type Names = BTreeMap<String, Vec<Vec<u8>>>;

/// A message as one of the two implementations understood it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Method, path and query; or the status.
    start: String,
    fields: Names,
    body: Vec<u8>,
    trailers: Names,
}

/// One more than any message here, so that no writer waits for a reader.
const PIPE: usize = 1 << 20;

/// Any bytes: when both take them for a whole request, they read the same request.
pub fn request_as_hyper(input: &[u8]) {
    let Some((ours, read)) = our_request(input) else { return };
    // hyper leaves "no path" in absolute form as "/", where OPTIONS means "*".
    if ours.start.ends_with(" *") {
        return;
    }
    let Some(theirs) = hyper_request(&input[..read]) else { return };
    let mut theirs = theirs.expect("hyper waits for more of a body that has ended");
    // Fields that have no business in a trailer section are dropped.
    theirs.trailers.retain(|name, _| ours.trailers.contains_key(name));
    assert_eq!(ours, theirs);
}

/// The request that the codec reads at the front of `wire`, and its length; `None` when it is
/// refused or not complete.
pub fn our_request(wire: &[u8]) -> Option<(Message, usize)> {
    let mut buf = BytesMut::from(wire);
    let head = parse_request(&mut buf, &Limits::default()).ok()??;
    let (body, trailers) = our_body(head.framing, &mut buf)?;
    let start = format!("{} {}", head.method, head.target.path_and_query());
    let message = Message { start, fields: of_fields(&head.fields), body, trailers };
    Some((message, wire.len() - buf.len()))
}

/// The response that the codec reads from `wire`, which must be nothing else.
pub fn our_response(wire: &[u8], method: &Method) -> Message {
    let mut buf = BytesMut::from(wire);
    let head = parse_response(&mut buf, &Limits::default(), method).expect("a good head");
    let head = head.expect("a whole head");
    let (body, trailers) = our_body(head.framing, &mut buf).expect("a whole body");
    assert!(buf.is_empty(), "bytes were left over");
    let start = head.status.as_str().to_owned();
    Message { start, fields: of_fields(&head.fields), body, trailers }
}

fn our_body(framing: Framing, buf: &mut BytesMut) -> Option<(Vec<u8>, Names)> {
    let mut decoder = BodyDecoder::new(framing);
    let (mut body, mut trailers) = (Vec::new(), Names::new());
    loop {
        match decoder.decode(buf).ok()? {
            Decoded::Data(data) => body.extend_from_slice(&data),
            Decoded::Trailers(fields) => trailers = of_fields(&fields),
            Decoded::NeedMore => return decoder.on_eof().is_ok().then_some((body, trailers)),
            Decoded::End => return Some((body, trailers)),
        }
    }
}

fn of_fields(fields: &Fields) -> Names {
    let mut names = Names::new();
    for (_, name, value) in fields.iter() {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        names.entry(name).or_default().push(value.to_vec());
    }
    names
}

fn of_map(map: &HeaderMap) -> Names {
    let mut names = Names::new();
    for (name, value) in map {
        names.entry(name.to_string()).or_default().push(value.as_bytes().to_vec());
    }
    names
}

/// The request as hyper's server reads it: `None` when it refuses the head, `Some(None)` when it
/// wants more of the body than `wire` has.
pub fn hyper_request(wire: &[u8]) -> Option<Option<Message>> {
    let seen = Arc::new(Mutex::new(None));
    let note = Arc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let note = Arc::clone(&note);
        async move {
            *note.lock().expect("not poisoned") = Some(None);
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
                let message = Message {
                    start: format!("{} {}{query}", head.method, head.uri.path()),
                    fields: of_map(&head.headers),
                    trailers: body.trailers().map(of_map).unwrap_or_default(),
                    body: body.to_bytes().to_vec(),
                };
                *note.lock().expect("not poisoned") = Some(Some(message));
            }
            let answer = Response::builder().header("connection", "close");
            Ok::<_, Infallible>(answer.body(Empty::<Bytes>::new()).expect("an answer"))
        }
    });
    run(async {
        let (mut client, server) = duplex(PIPE);
        client.write_all(wire).await.expect("the pipe has room");
        let builder = hyper::server::conn::http1::Builder::new();
        let serve = builder.serve_connection(TokioIo::new(server), service);
        // Nothing here waits for the world, so what is not done after this many turns never is.
        let patience = async {
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _refused_or_answered = serve => {}
            () = patience => {}
        }
    });
    seen.lock().expect("not poisoned").take()
}

/// The response as hyper's client reads it.
pub fn hyper_response(wire: &[u8], method: Method) -> Message {
    run(async {
        let (client, mut server) = duplex(PIPE);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(client)).await.expect("a handshake");
        let request = Request::builder().method(method).uri("/").header("host", "a");
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        let answer = async {
            let response = sender.send_request(request).await.expect("hyper takes the head");
            let (head, body) = response.into_parts();
            let body = body.collect().await.expect("hyper reads the body");
            drop(sender);
            Message {
                start: head.status.as_str().to_owned(),
                fields: of_map(&head.headers),
                trailers: body.trailers().map(of_map).unwrap_or_default(),
                body: body.to_bytes().to_vec(),
            }
        };
        let serve = async {
            read_head(&mut server).await;
            server.write_all(wire).await.expect("the pipe has room");
            drop(server);
        };
        // How the connection ends is no part of the message.
        let (message, (), _closed) = tokio::join!(answer, serve, connection);
        message
    })
}

async fn read_head(stream: &mut DuplexStream) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(stream.read_u8().await.expect("a request head"));
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(work)
}
