//! The gRPC probe: `grpc.health.v1.Health/Check` over HTTP/2.
//!
//! The two messages have one field each, so they are written and read here by hand; a generated
//! client would bring a whole RPC stack into every user of this crate.
//! Source: gRPC Health Checking Protocol; Protocol Buffers encoding guide.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use crate::{Grpc, Healthy, Unhealthy, connect, socket_address, tls};

/// The longest response that is read: a frame header and one small field, with room for unknown ones.
const MAX_RESPONSE: usize = 1024;

pub(crate) async fn probe(target: &Grpc) -> Result<Healthy, Unhealthy> {
    let default_port = if target.tls { 443 } else { 80 };
    let stream = connect(&socket_address(&target.authority, default_port)).await?;
    if target.tls {
        let skip = target.tls_skip_verify;
        call(target, tls::handshake(stream, &target.authority, skip, b"h2").await?).await
    } else {
        call(target, stream).await
    }
}

async fn call<S>(target: &Grpc, stream: S) -> Result<Healthy, Unhealthy>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: &dyn std::fmt::Display| {
        Unhealthy::new(format!("gRPC health of {}: {error}", target.authority))
    };
    let tasks = OwnTasks::default();
    let (mut sender, connection) = http2::handshake(tasks.clone(), TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let answer = async {
        let response = sender.send_request(request(target)?).await.map_err(|e| failed(&e))?;
        let (head, body) = response.into_parts();
        if head.status != http::StatusCode::OK {
            return Err(failed(&format_args!("HTTP status {}", head.status)));
        }
        let body = Limited::new(body, MAX_RESPONSE).collect().await.map_err(|e| failed(&e))?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        status(&head.headers).or_else(|| status(&trailers)).map_or_else(
            || Err(failed(&"no grpc-status in the response")),
            |status| verdict(&status, &body.to_bytes()).map_err(|error| failed(&error)),
        )
    };
    tokio::select! {
        biased;
        result = answer => result,
        ended = connection => Err(match ended {
            Ok(()) => failed(&"the connection was closed"),
            Err(error) => failed(&error),
        }),
    }
}

/// Where hyper's HTTP/2 tasks run: aborted when the probe ends, however it ends.
#[derive(Clone, Default)]
struct OwnTasks(Arc<Mutex<JoinSet<()>>>);

impl<F> Executor<F> for OwnTasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, work: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(async move { drop(work.await) });
    }
}

fn request(target: &Grpc) -> Result<Request<Full<Bytes>>, Unhealthy> {
    let scheme = if target.tls { "https" } else { "http" };
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(target.authority.clone())
        .path_and_query("/grpc.health.v1.Health/Check")
        .build()
        .map_err(|error| Unhealthy::new(format!("{}: {error}", target.authority)))?;
    let mut request = Request::new(Full::new(encode(&target.service)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    Ok(request)
}

/// A length-prefixed `HealthCheckRequest { string service = 1 }`.
fn encode(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a); // field 1, length-delimited
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0); // not compressed
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put(message);
    frame.freeze()
}

fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f).to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.put_u8(value.to_le_bytes()[0]);
}

/// The call's status with its message, when these headers carry one.
fn status(headers: &HeaderMap) -> Option<(String, String)> {
    let text = |name| {
        headers
            .get(name)
            .map(|value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Some((text("grpc-status")?, text("grpc-message").unwrap_or_default()))
}

fn verdict((code, message): &(String, String), body: &[u8]) -> Result<Healthy, String> {
    if code != "0" {
        return Err(format!("grpc-status {code} {message}"));
    }
    match serving_status(body) {
        Some(1) => Ok(Healthy { degraded: false, output: "SERVING".into() }),
        Some(0) => Err("UNKNOWN".into()),
        Some(2) => Err("NOT_SERVING".into()),
        Some(3) => Err("SERVICE_UNKNOWN".into()),
        Some(other) => Err(format!("serving status {other}")),
        None => Err("the response is not a HealthCheckResponse".into()),
    }
}

/// `HealthCheckResponse { ServingStatus status = 1 }` in a length-prefixed, uncompressed frame.
/// The last occurrence of a field counts, an absent one is 0, and unknown fields are skipped.
fn serving_status(frame: &[u8]) -> Option<u64> {
    let (header, message) = frame.split_at_checked(5)?;
    let length = u32::from_be_bytes(header[1..].try_into().ok()?);
    if header[0] != 0 || usize::try_from(length) != Ok(message.len()) {
        return None;
    }
    let mut rest = message;
    let mut status = 0;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut rest)?,
            (_, 0) => drop(varint(&mut rest)?),
            (_, 1) => rest = rest.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use http::Response;
    use http_body_util::StreamBody;
    use hyper::body::{Frame, Incoming};
    use hyper::service::service_fn;
    use hyper_util::rt::TokioExecutor;

    use super::*;
    use crate::Target;

    /// A health server that answers every service name with the frame and trailers given for it.
    async fn answer(
        request: Request<Incoming>,
    ) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>, Infallible> {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!(request.headers()["content-type"], "application/grpc");
        let asked = request.into_body().collect().await.expect("a body").to_bytes();
        let service = String::from_utf8_lossy(asked.get(7..).unwrap_or_default()).into_owned();
        let (body, code): (&[u8], _) = match service.as_str() {
            "" => (b"\0\0\0\0\x02\x08\x01", "0"),
            "down" => (b"\0\0\0\0\x02\x08\x02", "0"),
            "odd" => (b"\0\0\0\0\x09nonsense", "0"),
            _ => (b"", "5"),
        };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(code));
        let frames = [Frame::data(Bytes::from_static(body)), Frame::trailers(trailers)];
        let stream = FramesOf(frames.into());
        Ok(Response::new(BodyExt::boxed(StreamBody::new(stream))))
    }

    /// The frames of a response, one after the other.
    struct FramesOf(std::collections::VecDeque<Frame<Bytes>>);

    impl futures_core::Stream for FramesOf {
        type Item = Result<Frame<Bytes>, Infallible>;

        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            std::task::Poll::Ready(self.0.pop_front().map(Ok))
        }
    }

    #[tokio::test]
    async fn the_serving_status_decides() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let serve = server.serve_connection(TokioIo::new(stream), service_fn(answer));
                tokio::spawn(async move { drop(serve.await) });
            }
        });
        let check = async |service: &str| {
            let grpc = Grpc {
                authority: address.parse().expect("an authority"),
                service: service.into(),
                tls: false,
                tls_skip_verify: false,
            };
            crate::probe(&Target::Grpc(grpc), Duration::from_secs(5)).await
        };
        assert_eq!(check("").await.expect("serving").output, "SERVING");
        assert!(check("down").await.expect_err("not serving").reason.ends_with("NOT_SERVING"));
        assert!(check("gone").await.expect_err("NOT_FOUND").reason.contains("grpc-status 5"));
        assert!(check("odd").await.is_err());
    }

    #[test]
    fn a_response_is_read_whatever_fields_it_has_and_never_panics() {
        assert_eq!(serving_status(b"\0\0\0\0\0"), Some(0));
        assert_eq!(serving_status(b"\0\0\0\0\x05\x12\x01x\x08\x01"), Some(1));
        for bad in [&b""[..], b"\0\0\0\0\x01", b"\x01\0\0\0\0", b"\0\0\0\0\x01\x08"] {
            assert_eq!(serving_status(bad), None, "{bad:?}");
        }
        let endless = [&b"\0\0\0\0\x0c\x08"[..], &[0xff; 11]].concat();
        assert_eq!(serving_status(&endless), None);
        for byte in 0..=u8::MAX {
            let _any = serving_status(&[0, 0, 0, 0, 3, byte, 0xff, byte]);
        }
    }

    #[test]
    fn a_long_service_name_is_encoded_with_its_length() {
        let frame = encode(&"s".repeat(300));
        assert_eq!(&frame[..8], b"\0\0\0\x01\x2f\x0a\xac\x02");
        assert_eq!(encode("").as_ref(), [0; 5]);
    }
}
