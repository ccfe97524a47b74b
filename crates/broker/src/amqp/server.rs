//! The addresses of AMQP: accepts connections within limits, and ends them when the house does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use posthouse_base::task::Tasks;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::connection::{Connection, part};
use super::handshake::{Handshake, Peer};
use super::pass::pass;
use super::tls::{Terminator, common_name};
use crate::error::Error;
use crate::service::Handle;

/// The pause after an accept that failed for want of file descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// AMQP, as it is listened for. Dropping it closes its addresses; connections run until their tasks
/// stop.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    closing: watch::Sender<bool>,
    connections: Tasks,
}

/// What all connections share.
#[derive(Debug)]
struct Door {
    handle: Handle,
    tasks: Tasks,
    places: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    closing: watch::Receiver<bool>,
}

impl Server {
    /// Listens on the configured addresses, and serves until `tasks` stops.
    ///
    /// # Errors
    /// When an address cannot be listened on, [`Error::AddressInUse`] when it is taken, and when
    /// certificates cannot be used.
    pub async fn start(handle: Handle, tasks: &Tasks) -> Result<Self, Error> {
        let config = handle.config();
        let plain = listen(config.address()).await?;
        let secure = match config.tls() {
            None => None,
            Some(tls) => Some((listen(tls.address).await?, Arc::new(Terminator::new(tls)?))),
        };
        let address = address_of(&plain, config.address())?;
        let tls_address = match &secure {
            None => None,
            Some((listener, _)) => Some(address_of(listener, config.address())?),
        };
        let (closing, is_closing) = watch::channel(false);
        let connections = tasks.child();
        let door = Arc::new(Door {
            places: Arc::new(Semaphore::new(config.limits.connections)),
            handshakes: Arc::new(Semaphore::new(config.limits.handshakes)),
            tasks: connections.clone(),
            handle,
            closing: is_closing,
        });
        tasks.spawn("amqp listener", accept(plain, None, Arc::clone(&door)));
        if let Some((listener, terminator)) = secure {
            tasks.spawn("amqps listener", accept(listener, Some(terminator), door));
        }
        Ok(Self { address, tls_address, closing, connections })
    }

    /// The address that is really listened on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address that is really listened on for TLS, if it is on.
    #[must_use]
    pub const fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// Accepts nothing more, closes connections with 320, and cuts those that are still there after
    /// `deadline`.
    pub async fn close(&self, deadline: Duration) {
        self.closing.send_replace(true);
        // The listeners and every connection hold a receiver until they end.
        if timeout(deadline, self.closing.closed()).await.is_err() {
            tracing::warn!("AMQP connections that did not end in time were cut");
        }
        self.connections.stop();
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::AddressInUse(address),
        _ => Error::Listen { address, source },
    })
}

fn address_of(listener: &TcpListener, wanted: SocketAddr) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(|source| Error::Listen { address: wanted, source })
}

/// Accepts until the house closes.
async fn accept(listener: TcpListener, tls: Option<Arc<Terminator>>, door: Arc<Door>) {
    let mut closing = door.closing.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _closing = closing.wait_for(|closing| *closing) => return,
        };
        match accepted {
            Ok((stream, address)) => door.admit(stream, address, tls.clone()),
            Err(error) => {
                tracing::warn!("AMQP cannot accept a connection: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

impl Door {
    /// Begins a connection, if there is a place for it.
    fn admit(
        self: &Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        tls: Option<Arc<Terminator>>,
    ) {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let handshake = Arc::clone(&self.handshakes).try_acquire_owned();
        let (Ok(place), Ok(handshake)) = (place, handshake) else {
            tracing::warn!(peer = %address, "too many connections: one more was closed");
            return;
        };
        let door = Arc::clone(self);
        self.tasks.spawn("amqp connection", async move {
            door.serve(stream, address, tls, handshake).await;
            drop(place);
        });
    }

    async fn serve(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        tls: Option<Arc<Terminator>>,
        handshake: OwnedSemaphorePermit,
    ) {
        // What is written is gathered already; waiting for more would only delay it.
        let _best_effort = stream.set_nodelay(true);
        let Ok(local) = stream.local_addr() else { return };
        let Some(tls) = tls else {
            if let Some(engine) = self.handle.engine() {
                return pass(stream, engine, handshake, self.closing.clone()).await;
            }
            let peer = Peer { address, local, certificate: None };
            self.let_in(stream.into_split(), peer, handshake).await;
            return;
        };
        let shaken = timeout(self.patience(), tls.acceptor().accept(stream)).await;
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::info!(peer = %address, "TLS was not agreed upon: {error}");
                return;
            }
            Err(_elapsed) => return,
        };
        if let Some(engine) = self.handle.engine() {
            return pass(stream, engine, handshake, self.closing.clone()).await;
        }
        let certificates = stream.get_ref().1.peer_certificates();
        let certificate = certificates.and_then(<[_]>::first).and_then(common_name);
        let peer = Peer { address, local, certificate };
        self.let_in(tokio::io::split(stream), peer, handshake).await;
    }

    async fn let_in<R, W>(
        &self,
        (mut reader, mut writer): (R, W),
        peer: Peer,
        handshake: OwnedSemaphorePermit,
    ) where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let shaken = {
            let shake = Handshake::new((&mut reader, &mut writer), &peer, &self.handle);
            let mut closing = self.closing.clone();
            tokio::select! {
                shaken = timeout(self.patience(), shake.run()) => shaken,
                _closing = closing.wait_for(|closing| *closing) => return,
            }
        };
        drop(handshake);
        match shaken {
            Ok(Some((guest, input, output))) => {
                tracing::debug!(peer = %peer.address, name = %guest.name, "a client was let in");
                let connection = Connection::new(guest, input, output);
                connection.serve((reader, writer), self.closing.clone()).await;
            }
            Ok(None) => part(reader, writer).await,
            Err(_elapsed) => {
                tracing::info!(peer = %peer.address, "a client took too long to log in");
            }
        }
    }

    fn patience(&self) -> Duration {
        self.handle.config().limits.handshake.0
    }
}
