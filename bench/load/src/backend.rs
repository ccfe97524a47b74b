//! A service that does next to nothing: what a proxy costs shall be seen, not what is behind it.
//! One thread, HTTP/1.1 or, with `--grpc`, HTTP/2 without TLS where each call gets one message and
//! `grpc-status: 0` in the trailers. With `--name` each answer says which instance gave it.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

/// One uncompressed gRPC message of 16 bytes: flag, length, `field 1: 14 bytes` (a protobuf string).
const GRPC_MESSAGE: &[u8] = b"\x00\x00\x00\x00\x10\x0a\x0eHello, Courier";

const HTTP_BODY: &[u8] = b"Hello, Courier!\n";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to listen; may be given several times.
    #[arg(long, required = true)]
    address: Vec<SocketAddr>,
    /// Answer gRPC over HTTP/2 without TLS in place of HTTP/1.1.
    #[arg(long)]
    grpc: bool,
    /// Sent as `x-instance` with every answer.
    #[arg(long)]
    name: Option<HeaderValue>,
}

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let mut accepting = tokio::task::JoinSet::new();
        for address in options.address {
            let listener =
                TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
            accepting.spawn(accept(listener, options.grpc, options.name.clone()));
        }
        accepting.join_all().await;
        Ok(())
    })
}

async fn accept(listener: TcpListener, grpc: bool, name: Option<HeaderValue>) {
    loop {
        // An accept can fail for lack of descriptors: those pass as connections end.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        tokio::spawn(serve(stream, grpc, name.clone()));
    }
}

/// A connection's error is the client's to notice and count, so it is dropped here.
async fn serve(stream: TcpStream, grpc: bool, name: Option<HeaderValue>) {
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(stream);
    let service = service_fn(move |request| answer(request, grpc, name.clone()));
    if grpc {
        let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
    } else {
        let _ = http1::Builder::new().serve_connection(io, service).await;
    }
}

async fn answer(
    mut request: Request<Incoming>,
    grpc: bool,
    name: Option<HeaderValue>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    while let Some(frame) = request.body_mut().frame().await {
        frame?;
    }
    let mut response = if grpc { grpc_answer() } else { Response::new(full(HTTP_BODY)) };
    if let Some(name) = name {
        response.headers_mut().insert("x-instance", name);
    }
    Ok(response)
}

fn grpc_answer() -> Response<BoxBody<Bytes, Infallible>> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from_static(GRPC_MESSAGE))
        .with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.boxed());
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn full(body: &'static [u8]) -> BoxBody<Bytes, Infallible> {
    Full::new(Bytes::from_static(body)).boxed()
}
