//! Calls as any client makes them: HTTP/1.1 for the shop, HTTP/2 for its gRPC side.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// The header by which the shop's instances say who they are.
const INSTANCE: &str = "x-shop-instance";

/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// One connection.
pub(super) struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The instance that answered, or `-`.
    pub(super) instance: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the sender; what goes wrong is seen there.
        tokio::spawn(connection);
        Ok(Self { sender, host: address.to_string() })
    }

    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: &str,
    ) -> anyhow::Result<Answer> {
        self.call_with(method, path, &[], body).await
    }

    /// Like [`Client::call`], with more headers.
    pub(super) async fn call_with(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(header::HOST, &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let instance = instance(&head.headers);
        Ok(Answer { status: head.status, instance, headers: head.headers, body })
    }
}

/// Calls `path` until each of `instances` has answered.
pub(super) async fn answered_by(
    gateway: SocketAddr,
    path: &str,
    instances: &[&str],
) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    while !instances.iter().all(|instance| seen.contains(*instance)) {
        let mut client = Client::connect(gateway).await?;
        for _ in instances {
            let answer = client.call(Method::GET, path, "").await?;
            if answer.status.is_success() {
                seen.insert(answer.instance);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Asks `shop.v1.UserService` for a user's name over gRPC. Returns the name and who answered.
pub(super) async fn grpc_user_name(
    gateway: SocketAddr,
    id: u8,
) -> anyhow::Result<(String, String)> {
    let stream = TcpStream::connect(gateway).await?;
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    // One message, not compressed, of three bytes less the prefix: field 1, a varint (below 128).
    let message = [0, 0, 0, 0, 2, 0x08, id];
    ensure!(id < 128, "an id of one byte is enough here");
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{gateway}/shop.v1.UserService/GetUser"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(Bytes::copy_from_slice(&message)))?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?;
    let status = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
    let status = status.or(head.headers.get("grpc-status"));
    if status.is_none_or(|status| status != "0") {
        bail!("gRPC was answered with {} and grpc-status {status:?}", head.status);
    }
    let body = body.to_bytes();
    let name = body.get(5..).and_then(|message| text_field(message, 2));
    Ok((name.context("a user without a name")?, instance(&head.headers)))
}

/// A text field of a protobuf message, all of whose lengths and numbers are below 128 or varints.
fn text_field(mut message: &[u8], wanted: u8) -> Option<String> {
    while let [key, rest @ ..] = message {
        message = match key & 7 {
            // Varint: its last byte is the one below 128.
            0 => rest.get(rest.iter().position(|byte| *byte < 128)? + 1..)?,
            // Bytes after their length.
            2 => {
                let (length, rest) = rest.split_first()?;
                let (bytes, rest) = rest.split_at_checked(usize::from(*length))?;
                if key >> 3 == wanted {
                    return String::from_utf8(bytes.into()).ok();
                }
                rest
            }
            _ => return None,
        };
    }
    None
}

fn instance(headers: &HeaderMap) -> String {
    let name = headers.get(INSTANCE).and_then(|name| name.to_str().ok());
    name.unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_field_is_found_behind_others() {
        let message = [0x08, 0x81, 0x01, 0x12, 3, b'B', b'o', b'b', 0x1a, 1, b'x'];
        assert_eq!(text_field(&message, 2).as_deref(), Some("Bob"));
        assert_eq!(text_field(&message, 3).as_deref(), Some("x"));
        assert_eq!(text_field(&message, 4), None);
        assert_eq!(text_field(&message[..5], 2), None);
    }
}
