//! Whole HTTP/1.1 calls in one line, and a connection that can be kept.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// One HTTP/1.1 connection.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Sends a request and returns the answer once its head is there; the body streams.
    ///
    /// # Errors
    /// When the connection fails or the answer takes too long.
    pub async fn begin(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<Response<Incoming>> {
        let answer = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        Ok(tokio::time::timeout(DEADLINE, answer).await??)
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the connection fails or the answer takes too long.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Bytes>> {
        let (head, body) = self.begin(request).await?.into_parts();
        let body = tokio::time::timeout(DEADLINE, body.collect()).await??;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

/// Sends a request over a connection of its own and reads the whole answer.
///
/// # Errors
/// When nobody listens, the connection fails or the answer takes too long.
pub async fn send(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Response<Bytes>> {
    Connection::open(address).await?.send(request).await
}

/// `GET path` for `host`.
///
/// # Errors
/// As [`send`].
pub async fn get(address: SocketAddr, host: &str, path: &str) -> anyhow::Result<Response<Bytes>> {
    send(address, request(Method::GET, host, path, Bytes::new())).await
}

/// `GET path` of an own API, which must answer 2xx with JSON.
///
/// # Errors
/// As [`send`], and when the status or the body is another.
pub async fn get_json(address: SocketAddr, path: &str) -> anyhow::Result<Value> {
    let answer = get(address, &address.to_string(), path).await?;
    let text = String::from_utf8_lossy(answer.body());
    anyhow::ensure!(answer.status().is_success(), "{path}: {}: {text}", answer.status());
    Ok(serde_json::from_slice(answer.body())?)
}

/// Sends a JSON body to an own API, which must answer 2xx.
///
/// # Errors
/// As [`send`], and when the status is another.
pub async fn send_json(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: &Value,
) -> anyhow::Result<Response<Bytes>> {
    let body = Bytes::from(body.to_string());
    let mut request = request(method, &address.to_string(), path, body);
    let json = http::HeaderValue::from_static("application/json");
    request.headers_mut().insert(http::header::CONTENT_TYPE, json);
    let answer = send(address, request).await?;
    let text = String::from_utf8_lossy(answer.body());
    anyhow::ensure!(answer.status().is_success(), "{path}: {}: {text}", answer.status());
    Ok(answer)
}

/// Registers an instance over the Consul API. It has a check that passes for longer than any test
/// lasts: watchers of Consul learn of an instance by its check.
///
/// # Errors
/// When the registry cannot be reached or refuses it.
pub async fn register(
    registry: SocketAddr,
    service: &str,
    id: &str,
    instance: SocketAddr,
) -> anyhow::Result<()> {
    let entry = serde_json::json!({
        "ID": id, "Name": service,
        "Address": instance.ip().to_string(), "Port": instance.port(),
        "Check": { "TTL": "1h", "Status": "passing" },
    });
    send_json(registry, Method::PUT, "/v1/agent/service/register", &entry).await.map(|_| ())
}

/// Takes an instance out over the Consul API.
///
/// # Errors
/// When the registry cannot be reached or refuses it.
pub async fn deregister(registry: SocketAddr, id: &str) -> anyhow::Result<()> {
    let path = format!("/v1/agent/service/deregister/{id}");
    send_json(registry, Method::PUT, &path, &Value::Null).await.map(|_| ())
}

/// A request with a Host and a whole body.
#[must_use]
pub fn request(
    method: Method,
    host: &str,
    path: &str,
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, host)
        .body(Full::new(body.into()))
        .expect("a request that can be written")
}
