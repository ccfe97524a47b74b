//! Opening a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::{ConnectError, ConnectErrorKind};
use super::stream::Stream;
use super::tls::{Alpn, UpstreamTls};
use crate::cluster::Endpoint;
use crate::config::model;

/// A TCP connection.
pub(super) async fn tcp(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let of_io = |error: io::Error| ConnectError::of_io(address, &error);
    let stream = TcpStream::connect(address).await.map_err(of_io)?;
    stream.set_nodelay(true).map_err(of_io)?;
    Ok(stream)
}

/// A connection that HTTP can be spoken on: `settings` are those of TLS, `None` for plain.
pub(super) async fn open(
    endpoint: &Endpoint,
    settings: Option<&model::ServiceTls>,
    alpn: Alpn,
    tls: &Arc<UpstreamTls>,
) -> Result<Stream, ConnectError> {
    let address = endpoint.address;
    let fault = |detail: String| ConnectError::new(ConnectErrorKind::Tls, address, detail);
    let Some(settings) = settings else { return Ok(Stream::Plain(tcp(address).await?)) };
    let config = tls.config(settings, alpn).await.map_err(|error| fault(error.to_string()))?;
    let name = UpstreamTls::server_name(settings, &endpoint.host, address)
        .map_err(|error| fault(error.to_string()))?;
    let stream = tcp(address).await?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    let stream = connected.map_err(|error| fault(error.to_string()))?;
    if alpn == Alpn::H2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(fault("the instance does not offer HTTP/2 (ALPN)".to_owned()));
    }
    Ok(Stream::Tls(Box::new(stream)))
}

/// Holds `work` to the service's limit for opening a connection.
pub(super) async fn within<T>(
    limit: Duration,
    address: SocketAddr,
    work: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let detail = format!("no connection within {limit:?}");
        Err(ConnectError::new(ConnectErrorKind::Timeout, address, detail))
    })
}
