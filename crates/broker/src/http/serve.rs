//! Addresses on which HTTP/1.1 is spoken: connections are accepted within a limit, and end when the
//! house does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use posthouse_base::task::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::error::Error;

/// After an accept that failed.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a client may take to send its headers.
const SENDING: Duration = Duration::from_secs(30);

/// An address that is listened on.
#[derive(Debug)]
pub(crate) struct Listening {
    address: SocketAddr,
    closing: watch::Sender<bool>,
}

impl Listening {
    /// Listens on `address`, and serves `router` until `tasks` stops, to so many connections at a time.
    /// Handlers know the address of the client by an extension.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub(crate) async fn start(
        address: SocketAddr,
        router: Router,
        connections: usize,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => Error::AddressInUse(address),
            _ => Error::Listen { address, source },
        })?;
        let address = listener.local_addr().map_err(|source| Error::Listen { address, source })?;
        let (closing, is_closing) = watch::channel(false);
        let places = Arc::new(Semaphore::new(connections));
        let accepting = accept(listener, router, places, is_closing, tasks.child());
        tasks.spawn("broker HTTP", accepting);
        Ok(Self { address, closing })
    }

    /// The address that is really listened on.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more, and lets requests end for up to `deadline`.
    pub(crate) async fn close(&self, deadline: Duration) {
        self.closing.send_replace(true);
        // Whoever serves holds a receiver until it ends.
        if timeout(deadline, self.closing.closed()).await.is_err() {
            let address = self.address;
            tracing::warn!(%address, "requests that did not end in time were cut");
        }
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    places: Arc<Semaphore>,
    mut closing: watch::Receiver<bool>,
    tasks: Tasks,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _closing = closing.wait_for(|closing| *closing) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    tracing::warn!(%peer, "too many connections over HTTP: one was closed");
                    continue;
                };
                let serving = serve(stream, peer, router.clone(), closing.clone());
                tasks.spawn("broker HTTP connection", async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("a connection over HTTP cannot be accepted: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    mut closing: watch::Receiver<bool>,
) {
    // Answers are small and written at once; waiting for more would only make them late.
    let _best_effort = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router.layer(Extension(peer)));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(SENDING);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, "a connection over HTTP ended: {error}");
    }
}

/// Waits until it is told to close, or whoever would tell is gone.
async fn told(closing: &mut watch::Receiver<bool>) {
    let _gone_or_told = closing.wait_for(|closing| *closing).await;
}
