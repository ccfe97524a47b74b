//! Clients' connections: TLS is ended, the protocol is found out, and calls are read from it.
//!
//! In reading order: [`io`] (bytes), [`h1`] and [`h2`] (calls), [`tcp`] (whole connections),
//! [`tunnel`] (connections that stopped being HTTP).

pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod io;
pub(crate) mod tcp;
pub(crate) mod tunnel;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::config::model::ListenerKind;
use crate::downstream::io::Io;
use crate::listener::Door;
use crate::worker::Worker;

/// How an HTTP/2 connection begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What is read at once from a connection whose protocol is not known yet.
pub(crate) const READ_SIZE: usize = 8 << 10;

/// What the calls of one connection share.
#[derive(Clone)]
pub(crate) struct Session {
    /// The thread that serves it.
    pub(crate) worker: Rc<Worker>,
    /// The listener it came by.
    pub(crate) door: Arc<Door>,
    /// The other end of the connection.
    pub(crate) peer: SocketAddr,
}

impl Session {
    /// `https` when TLS ended here.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.door.tls.is_some() { "https" } else { "http" }
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    door: Arc<Door>,
) {
    let session = Session { worker, door, peer };
    let limit = session.worker.shared.snapshot.load().engine.header_timeout;
    let begun = tokio::time::timeout(limit, handshake(&session, stream)).await;
    let Ok(Some((io, alpn_h2))) = begun else { return };
    match &session.door.config.kind {
        ListenerKind::Tcp { service } => tcp::forward(&session, io, service).await,
        ListenerKind::Http { .. } => serve_http(session, io, alpn_h2).await,
    }
}

/// Ends TLS, if the listener does. `None` when the client did not get through.
async fn handshake(session: &Session, stream: TcpStream) -> Option<(Io, bool)> {
    let Some(tls) = &session.door.tls else { return Some((Io::Plain(stream), false)) };
    match TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream).await {
        Ok(stream) => {
            let alpn_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Some((Io::Tls(Box::new(stream)), alpn_h2))
        }
        Err(error) => {
            session.worker.shared.metrics.tls_failed();
            tracing::debug!(peer = %session.peer, "a TLS handshake failed: {error}");
            None
        }
    }
}

/// Tells HTTP/2 from HTTP/1 by the first bytes: both are spoken on one port.
async fn serve_http(session: Session, mut io: Io, alpn_h2: bool) {
    if alpn_h2 {
        return h2::serve(session, BytesMut::new(), io).await;
    }
    let mut early = BytesMut::new();
    let limit = session.worker.shared.snapshot.load().engine.keep_alive;
    let closing = session.door.closing.clone();
    loop {
        early.reserve(READ_SIZE);
        let read = tokio::select! {
            read = tokio::time::timeout(limit, io.read_buf(&mut early)) => read,
            () = closing.cancelled() => return,
        };
        match read {
            Ok(Ok(1..)) => {}
            _ => return,
        }
        if early.starts_with(PREFACE) {
            return h2::serve(session, early, io).await;
        }
        if !PREFACE.starts_with(&early) {
            return h1::serve(session, early, io).await;
        }
    }
}
