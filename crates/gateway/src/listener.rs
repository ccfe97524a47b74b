//! Addresses on which calls arrive. One plain socket an address: a foreign holder of the port is
//! then found by the kernel, closing it resets no connection that waits on another thread's socket,
//! and connections, long-lived ones above all, are spread evenly over the threads by count.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::sync::CancellationToken;

use crate::config::model::{Listener, ListenerKind};
use crate::connections::ConnectionPermit;
use crate::error::Error;
use crate::shared::Shared;
use crate::tls::ServerTls;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;
/// The pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// What every connection of a listener shares.
#[derive(Debug)]
pub(crate) struct Door {
    /// The listener as configured.
    pub(crate) config: Listener,
    /// The address really bound.
    pub(crate) address: SocketAddr,
    /// TLS, unless the listener is plain.
    pub(crate) tls: Option<ServerTls>,
    /// Cancelled when the listener is removed or the gateway drains.
    pub(crate) closing: CancellationToken,
}

impl Door {
    /// Binds the address. The socket accepts connections from here on; they wait in the kernel.
    pub(crate) fn open(config: &Listener) -> Result<(Arc<Self>, TcpListener), Error> {
        let tls = match config.certificates.as_slice() {
            [] => None,
            files => Some(ServerTls::new(files, config.client.as_ref())?),
        };
        let failed = |source| Error::Listen { address: config.address, source };
        let socket = bind(config.address).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let closing = CancellationToken::new();
        Ok((Arc::new(Self { config: config.clone(), address, tls, closing }), socket))
    }

    /// Whether services are reached by `NAME.service.consul` here.
    pub(crate) fn names(&self) -> bool {
        matches!(self.config.kind, ListenerKind::Http { names: true })
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier process in TIME_WAIT do not keep this one from starting.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until the listener closes, and hands each connection to the least busy thread. What the
/// kernel had queued by then is still taken.
pub(crate) async fn accept(door: Arc<Door>, socket: TcpListener, shared: Arc<Shared>) {
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(address = %door.address, "cannot wait for connections: {error}");
            return;
        }
    };
    let closing = door.closing.clone();
    loop {
        let permit = tokio::select! {
            () = closing.cancelled() => break,
            permit = shared.connections.permit() => permit,
        };
        let accepted = tokio::select! {
            () = closing.cancelled() => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                hand_over(&door, &shared, stream.into_std(), peer, permit).await;
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(address = %door.address, "cannot accept connections: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let Ok(socket) = socket.into_std() else { return };
    while let Ok((stream, peer)) = socket.accept() {
        let permit = shared.connections.permit().await;
        let nonblocking = stream.set_nonblocking(true).map(|()| stream);
        hand_over(&door, &shared, nonblocking, peer, permit).await;
    }
}

async fn hand_over(
    door: &Arc<Door>,
    shared: &Arc<Shared>,
    stream: io::Result<TcpStream>,
    peer: SocketAddr,
    permit: ConnectionPermit,
) {
    let ready = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    let stream = match ready {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%peer, "a connection ended before it was served: {error}");
            return;
        }
    };
    shared.assign(crate::worker::Accepted { stream, peer, door: Arc::clone(door), permit }).await;
}

/// Whether only the connection at the head of the queue is concerned, so that the next may be fine.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
