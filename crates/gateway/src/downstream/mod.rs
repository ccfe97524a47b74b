//! Clients' connections: TLS is ended, the protocol is found out, and calls are read from it.
//!
//! In reading order: [`io`] (bytes), [`closing`] (the listener's end), [`h1`] and [`h2`] (calls), [`tcp`] (whole connections),
//! [`tunnel`] (connections that stopped being HTTP).

pub(crate) mod closing;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod io;
pub(crate) mod tcp;
pub(crate) mod tunnel;

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::config::model::ListenerKind;
use crate::downstream::io::Io;
use crate::guard::ClientCertificate;
use crate::listener::Door;
use crate::worker::Worker;

/// How an HTTP/2 connection begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What is read at once from a connection whose protocol is not known yet.
pub(crate) const READ_SIZE: usize = 8 << 10;

/// What the calls of one connection share: one counter of this thread, whatever is in it.
#[derive(Clone)]
pub(crate) struct Session(Rc<Served>);

/// What a [`Session`] is.
pub(crate) struct Served {
    /// The thread that serves it.
    pub(crate) worker: Rc<Worker>,
    /// The listener it came by.
    pub(crate) door: Arc<Door>,
    /// The other end of the connection.
    pub(crate) peer: SocketAddr,
    /// Its address without the port, as instances are told it.
    pub(crate) address: Box<str>,
    certificate: OnceCell<Arc<ClientCertificate>>,
}

impl Deref for Session {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.0
    }
}

impl Session {
    fn new(worker: Rc<Worker>, door: Arc<Door>, peer: SocketAddr) -> Self {
        let address = peer.ip().to_string().into();
        let certificate = OnceCell::new();
        Self(Rc::new(Served { worker, door, peer, address, certificate }))
    }

    /// `https` when TLS ended here.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.door.tls.is_some() { "https" } else { "http" }
    }

    /// The certificate that the client showed, verified.
    pub(crate) fn certificate(&self) -> Option<&Arc<ClientCertificate>> {
        self.certificate.get()
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    door: Arc<Door>,
) {
    let session = Session::new(worker, door, peer);
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
    match TlsAcceptor::from(tls.config()).accept(stream).await {
        Ok(stream) => {
            let (_, tls) = stream.get_ref();
            let alpn_h2 = tls.alpn_protocol() == Some(b"h2");
            if let Some(chain) = tls.peer_certificates() {
                let chain = chain.iter().map(|der| Box::from(der.as_ref())).collect();
                let _first = session.certificate.set(Arc::new(ClientCertificate { chain }));
            }
            Some((Io::Tls(Box::new(stream)), alpn_h2))
        }
        Err(error) => {
            session.worker.shared.metrics.tls_failed();
            tracing::debug!(peer = %session.peer, "a TLS handshake failed: {error}");
            None
        }
    }
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sniffed {
    Http1,
    Http2,
    /// The preface of HTTP/2 without the `SETTINGS` that belong to it.
    Broken,
    NeedMore,
}

/// Looks at the first bytes as far as it takes: the preface goes on with `SETTINGS` of the client's
/// own (RFC 9113 §3.4), which the frame's header shows. The library would wait for them without end.
fn sniff(early: &[u8]) -> Sniffed {
    const SETTINGS: u8 = 4;
    const ACK: u8 = 1;
    let Some(rest) = early.strip_prefix(PREFACE) else {
        return if PREFACE.starts_with(early) { Sniffed::NeedMore } else { Sniffed::Http1 };
    };
    let [high, middle, low, kind, flags, stream @ ..] = rest else { return Sniffed::NeedMore };
    let Some(&[first, others @ ..]) = stream.first_chunk::<4>() else { return Sniffed::NeedMore };
    let length = u32::from_be_bytes([0, *high, *middle, *low]);
    // The first bit of the stream's number means nothing.
    let is_connection = first & 0x7f == 0 && others == [0; 3];
    let is_whole = length.is_multiple_of(6);
    if *kind == SETTINGS && flags & ACK == 0 && is_connection && is_whole {
        Sniffed::Http2
    } else {
        Sniffed::Broken
    }
}

/// Tells HTTP/2 from HTTP/1 by the first bytes: both are spoken on one port. A client that chose
/// HTTP/2 in the TLS handshake is held to it.
async fn serve_http(session: Session, mut io: Io, alpn_h2: bool) {
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
        match sniff(&early) {
            Sniffed::Http1 if alpn_h2 => return,
            Sniffed::Http1 => return h1::serve(session, early, io).await,
            Sniffed::Http2 => return h2::serve(session, early, io).await,
            Sniffed::Broken => return,
            Sniffed::NeedMore => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_preface(header: [u8; 9]) -> Sniffed {
        let bytes = [PREFACE, &header].concat();
        for cut in 0..bytes.len() {
            assert_eq!(sniff(&bytes[..cut]), Sniffed::NeedMore, "{cut} bytes");
        }
        sniff(&bytes)
    }

    #[test]
    fn a_preface_goes_on_with_settings() {
        assert_eq!(after_preface([0, 0, 0, 4, 0, 0, 0, 0, 0]), Sniffed::Http2);
        assert_eq!(after_preface([0, 0, 18, 4, 0, 0x80, 0, 0, 0]), Sniffed::Http2);
        for (what, header) in [
            ("an acknowledgement", [0, 0, 0, 4, 1, 0, 0, 0, 0]),
            ("HEADERS", [0, 0, 0, 1, 5, 0, 0, 0, 1]),
            ("SETTINGS of a stream", [0, 0, 0, 4, 0, 0, 0, 0, 1]),
            ("SETTINGS of half a setting", [0, 0, 3, 4, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(after_preface(header), Sniffed::Broken, "{what}");
        }
    }

    #[test]
    fn anything_else_is_read_as_http1() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"PRI * HTTP/1.1\r\n", b"pri", b"\x16\x03\x01"] {
            assert_eq!(sniff(bytes), Sniffed::Http1, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
