//! Services in this process, scripted by the test: over HTTP/1.1 and h2c, or as raw bytes.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::raw::Raw;

/// The body of a scripted answer.
pub type Body = BoxBody<Bytes, anyhow::Error>;

/// A request as the backend received it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Its target: a path, or a whole URI over HTTP/2.
    pub uri: Uri,
    /// The protocol it came by.
    pub version: Version,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; empty when the script reads the body itself.
    pub body: Bytes,
}

impl Seen {
    /// A header as text; empty when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A running backend. It ends, with all its connections, when dropped.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
}

impl Shared {
    fn note(&self, seen: Seen) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }
}

impl Backend {
    /// Answers every request with 200 and `name` in the header `x-backend` and the body.
    pub async fn named(name: &'static str) -> Self {
        Self::answering(move |_| {
            let body = Full::from(name);
            Response::builder().header("x-backend", name).body(body).expect("a response")
        })
        .await
    }

    /// Answers by `script` once a request is whole.
    pub async fn answering<F>(script: F) -> Self
    where
        F: Fn(&Seen) -> Response<Full<Bytes>> + Send + Sync + 'static,
    {
        let shared = Arc::<Shared>::default();
        let notes = Arc::clone(&shared);
        let script = Arc::new(script);
        Self::http(shared, move |request: Request<Incoming>| {
            let (notes, script) = (Arc::clone(&notes), Arc::clone(&script));
            async move {
                let (mut seen, body) = split(request);
                seen.body = body.collect().await?.to_bytes();
                let answer = script(&seen);
                notes.note(seen);
                Ok(answer.map(|body| body.map_err(|never| match never {}).boxed()))
            }
        })
        .await
    }

    /// Hands requests to `script` as they stream in. An error ends the connection.
    pub async fn streaming<F, Fut>(script: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<Response<Body>>> + Send + 'static,
    {
        let shared = Arc::<Shared>::default();
        let notes = Arc::clone(&shared);
        Self::http(shared, move |request: Request<Incoming>| {
            let (seen, body) = split(request);
            notes.note(seen.clone());
            let mut request = Request::new(body);
            *request.method_mut() = seen.method;
            *request.uri_mut() = seen.uri;
            *request.version_mut() = seen.version;
            *request.headers_mut() = seen.headers;
            script(request)
        })
        .await
    }

    /// Hands every connection to `script`, with its number from 0.
    pub async fn raw<F, Fut>(script: F) -> Self
    where
        F: Fn(usize, Raw) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let shared = Arc::<Shared>::default();
        Self::accept(shared, move |number, stream| script(number, Raw::accepted(stream))).await
    }

    async fn http<F, Fut>(shared: Arc<Shared>, script: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<Response<Body>>> + Send + 'static,
    {
        let script = Arc::new(script);
        Self::accept(shared, move |_, stream| {
            let script = Arc::clone(&script);
            async move {
                let service = service_fn(move |request| script(request));
                let mut server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                server.http1().half_close(true);
                server.http2().enable_connect_protocol();
                let io = TokioIo::new(stream);
                // The client's side of a broken connection is what the test looks at.
                let _broken = server.serve_connection_with_upgrades(io, service).await;
            }
        })
        .await
    }

    async fn accept<F, Fut>(shared: Arc<Shared>, serve: F) -> Self
    where
        F: Fn(usize, TcpStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let counts = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            // Dropped with this task, which ends the connections with it.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _slower = stream.set_nodelay(true);
                let number = counts.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve(number, stream));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, shared, accepting }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far, in the order of their arrival.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests there were so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How many connections there were so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Stops listening and ends all connections.
    pub async fn stop(mut self) {
        self.accepting.abort();
        let _aborted = (&mut self.accepting).await;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A whole body for a streaming script's answer.
#[must_use]
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

fn split(request: Request<Incoming>) -> (Seen, Incoming) {
    let (head, body) = request.into_parts();
    let seen = Seen {
        method: head.method,
        uri: head.uri,
        version: head.version,
        headers: head.headers,
        body: Bytes::new(),
    };
    (seen, body)
}
