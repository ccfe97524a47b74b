//! Calls against scripted peers on real sockets: what they say and when is written in each test, to
//! the byte where it matters.

mod h1_bodies;
mod h1_heads;
mod h2_calls;
mod h2_faults;
mod pooling;
mod tls;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use super::{
    BodyKind, Call, ConnectError, Empty, Exchange, ExchangeError, Frame, Head, Lease, Pools,
    Source, SourceError, UpstreamTls,
};
use crate::cluster::{Coarse, Endpoint, InstanceSpec, Service};
use crate::config::model::{self, Balance, Protocol};
use crate::http::head::Fields;
use crate::http1::Limits;

/// Runs a test on a thread as the engine's are. The limit is there to end a test that hangs.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(30), test).await.expect("the test hangs");
    });
}

fn settings(protocol: Protocol) -> model::Service {
    model::Service {
        name: "users".into(),
        protocol,
        instances: Vec::new(),
        balance: Balance::default(),
        hash: Vec::new(),
        health: None,
        connect_timeout: Duration::from_secs(10),
        header_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(300),
        keep_alive: Duration::from_secs(30),
        silence: None,
        ejection: model::Ejection {
            consecutive: 0,
            base: Duration::from_secs(1),
            max: Duration::from_secs(60),
            max_percent: 50,
        },
        circuit: model::Circuit {
            connections: 1024,
            pending: 1024,
            requests: 8192,
            failure_percent: None,
            open: Duration::from_secs(5),
        },
        slow_start: Duration::ZERO,
        tls: None,
    }
}

/// An instance to be scripted, and the gateway's side of it.
struct Stage {
    listener: TcpListener,
    pools: Pools,
    settings: model::Service,
    service: Arc<Service>,
    tls: Arc<UpstreamTls>,
}

impl Stage {
    async fn new(protocol: Protocol) -> Self {
        Self::with(settings(protocol)).await
    }

    async fn with(settings: model::Service) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Service::new(settings.clone());
        let address = listener.local_addr().unwrap();
        service.set_instances(vec![InstanceSpec::new("localhost:1", address, 1)], Coarse(1));
        let tls = Arc::new(UpstreamTls::default());
        let pools = Pools::new(Arc::clone(&tls));
        Self { listener, pools, settings, service, tls }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn endpoint(&self) -> Arc<Endpoint> {
        Arc::clone(&self.service.endpoints()[0])
    }

    async fn lease(&self, ask: &Ask) -> Result<Lease, ConnectError> {
        let endpoint = self.endpoint();
        self.pools.lease(&endpoint, &self.settings, &ask.call(), Limits::default()).await
    }

    /// Begins a call on whatever connection there is.
    async fn send(&self, ask: &Ask) -> Exchange {
        self.lease(ask).await.unwrap().send(&ask.call())
    }

    /// Begins a call on a new connection; the other end of it.
    async fn begin(&self, ask: &Ask) -> (Exchange, Peer) {
        let exchange = self.send(ask).await;
        (exchange, self.accept().await)
    }

    async fn accept(&self) -> Peer {
        Peer(self.listener.accept().await.unwrap().0)
    }

    /// One call that is answered in full, after which its connection is unused.
    async fn warm_up(&self) -> Peer {
        let ask = Ask::get("/warm");
        let (mut exchange, mut peer) = self.begin(&ask).await;
        let (answer, ()) = tokio::join!(answer(&mut exchange, Empty), async {
            peer.request().await;
            peer.say(OK).await;
        });
        assert_eq!(answer.unwrap().text(), "ok");
        peer
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The instance's end of a connection.
struct Peer(TcpStream);

impl Peer {
    /// Reads a request's head.
    async fn request(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("a whole head"));
        }
        String::from_utf8(head).unwrap()
    }

    async fn hear(&mut self, len: usize) -> String {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Everything until the gateway closes the connection, in whatever way.
    async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _reset = self.0.read_to_end(&mut bytes).await;
        bytes
    }

    async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).await.unwrap();
        bytes
    }
}

/// A call in the making.
#[derive(Clone)]
struct Ask {
    method: Method,
    path: String,
    fields: Fields,
    body: BodyKind,
    upgrade: Option<&'static str>,
    te_trailers: bool,
}

impl Ask {
    fn get(path: &str) -> Self {
        let mut fields = Fields::new();
        fields.append(b"Host", b"users");
        Self {
            method: Method::GET,
            path: path.to_owned(),
            fields,
            body: BodyKind::None,
            upgrade: None,
            te_trailers: false,
        }
    }

    fn post(body: BodyKind) -> Self {
        Self { method: Method::POST, body, ..Self::get("/") }
    }

    fn head() -> Self {
        Self { method: Method::HEAD, ..Self::get("/") }
    }

    fn websocket() -> Self {
        Self { upgrade: Some("websocket"), ..Self::get("/socket") }
    }

    fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.append(name.as_bytes(), value.as_bytes());
        self
    }

    fn call(&self) -> Call<'_> {
        Call {
            method: &self.method,
            path_and_query: &self.path,
            authority: "users",
            scheme: "http",
            fields: &self.fields,
            body: self.body,
            upgrade: self.upgrade.map(str::as_bytes),
            te_trailers: self.te_trailers,
        }
    }
}

/// A body in pieces that are there at once.
#[derive(Default)]
struct Pieces(VecDeque<Result<Frame, SourceError>>);

impl Pieces {
    fn of(pieces: &[&str]) -> Self {
        let piece = |piece: &&str| Ok(Frame::Data(Bytes::copy_from_slice(piece.as_bytes())));
        Self(pieces.iter().map(piece).collect())
    }

    fn then(mut self, last: Result<Frame, SourceError>) -> Self {
        self.0.push_back(last);
        self
    }
}

impl Source for Pieces {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, SourceError>>> {
        Poll::Ready(self.0.pop_front())
    }

    fn is_end(&self) -> bool {
        self.0.is_empty()
    }
}

/// A body that never comes.
struct Never;

impl Source for Never {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, SourceError>>> {
        Poll::Pending
    }

    fn is_end(&self) -> bool {
        false
    }
}

/// So many zeros, in pieces of 64 KiB.
struct Zeros(usize);

impl Source for Zeros {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, SourceError>>> {
        let len = self.0.min(64 << 10);
        self.0 -= len;
        Poll::Ready((len > 0).then(|| Ok(Frame::Data(Bytes::from(vec![0; len])))))
    }

    fn is_end(&self) -> bool {
        self.0 == 0
    }
}

impl<S: Source> Source for &mut S {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, SourceError>>> {
        (**self).poll_frame(cx)
    }

    fn is_end(&self) -> bool {
        (**self).is_end()
    }
}

fn trailers(name: &str, value: &str) -> Frame {
    let mut fields = Fields::new();
    fields.append(name.as_bytes(), value.as_bytes());
    Frame::Trailers(Box::new(fields))
}

async fn head(exchange: &mut Exchange, mut source: impl Source) -> Result<Head, ExchangeError> {
    poll_fn(|cx| exchange.poll_head(cx, &mut source)).await
}

async fn frame(
    exchange: &mut Exchange,
    mut source: impl Source,
) -> Option<Result<Frame, ExchangeError>> {
    poll_fn(|cx| exchange.poll_frame(cx, &mut source)).await
}

/// A response, whole.
#[derive(Debug)]
struct Answer {
    head: Head,
    body: Vec<u8>,
    trailers: Option<Box<Fields>>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.head.fields.get_named(name.as_bytes()).map(|value| std::str::from_utf8(value).unwrap())
    }

    fn trailer(&self, name: &str) -> Option<&str> {
        let trailers = self.trailers.as_ref()?;
        trailers.get_named(name.as_bytes()).map(|value| std::str::from_utf8(value).unwrap())
    }
}

/// Waits for the final head and all that follows it.
async fn answer(exchange: &mut Exchange, mut source: impl Source) -> Result<Answer, ExchangeError> {
    let head = loop {
        let head = head(exchange, &mut source).await?;
        if !head.is_informational() {
            break head;
        }
    };
    let mut answer = Answer { head, body: Vec::new(), trailers: None };
    while let Some(frame) = frame(exchange, &mut source).await {
        match frame? {
            Frame::Data(data) => answer.body.extend_from_slice(&data),
            Frame::Trailers(trailers) => answer.trailers = Some(trailers),
        }
    }
    assert!(exchange.is_end(), "a response that ended says so");
    Ok(answer)
}

/// What comes of a `GET` that is answered with these bytes, after which the instance closes.
async fn answered_with(response: &str) -> Result<Answer, ExchangeError> {
    answered_to(&Ask::get("/"), response).await
}

async fn answered_to(ask: &Ask, response: &str) -> Result<Answer, ExchangeError> {
    let stage = Stage::new(Protocol::Http).await;
    let (mut exchange, mut peer) = stage.begin(ask).await;
    let script = async {
        peer.request().await;
        peer.say(response).await;
        peer.0.shutdown().await.unwrap();
    };
    tokio::join!(answer(&mut exchange, Empty), script).0
}
