//! A thread of the engine: a current-thread runtime whose connections, upstream pools and timers
//! never leave it. Nothing on it waits for another thread.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;

use crate::connections::ConnectionPermit;
use crate::downstream;
use crate::listener::{self, Door};
use crate::metrics::Book;
use crate::shared::{Open, Shared};
use crate::upstream::{Pools, UpstreamTls};

/// Connections that may wait for a thread that is busy; further ones wait in the kernel.
pub(crate) const JOBS: usize = 1024;

/// What a thread is given to do.
pub(crate) enum Job {
    /// Accept connections from this socket.
    Accept(Arc<Door>, TcpListener),
    /// Serve this connection.
    Serve(Accepted, Open),
}

/// A connection that was accepted and not yet read.
pub(crate) struct Accepted {
    /// The socket, non-blocking.
    pub(crate) stream: TcpStream,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The listener it came by.
    pub(crate) door: Arc<Door>,
    /// Its share of the connection limit.
    pub(crate) permit: ConnectionPermit,
}

/// What the tasks of one thread share.
pub(crate) struct Worker {
    /// What all threads share.
    pub(crate) shared: Arc<Shared>,
    /// Connections to instances.
    pub(crate) pools: Pools,
    /// Randomness for choices that need not be secret.
    pub(crate) rng: RefCell<fastrand::Rng>,
    /// Counters of this thread's calls.
    pub(crate) book: Book,
}

/// Starts a thread. It ends when the gateway aborts, or when all senders of `jobs` are gone.
pub(crate) fn start(
    number: usize,
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
    tls: Arc<UpstreamTls>,
) -> io::Result<JoinHandle<()>> {
    let (started, ready) = std::sync::mpsc::sync_channel(1);
    let thread =
        std::thread::Builder::new().name(format!("gateway-{number}")).spawn(move || {
            let built =
                Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            let runtime = match built {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            drop(started.send(Ok(())));
            runtime.block_on(async {
                let worker = Rc::new(Worker {
                    shared,
                    pools: Pools::new(tls),
                    rng: RefCell::new(fastrand::Rng::new()),
                    book: Book::default(),
                });
                run(worker, jobs).await;
            });
        })?;
    ready.recv().map_err(io::Error::other)??;
    Ok(thread)
}

async fn run(worker: Rc<Worker>, mut jobs: mpsc::Receiver<Job>) {
    let aborting = worker.shared.aborting.clone();
    loop {
        let job = tokio::select! {
            () = aborting.cancelled() => return,
            job = jobs.recv() => job,
        };
        match job {
            None => return,
            Some(Job::Accept(door, socket)) => {
                let shared = Arc::clone(&worker.shared);
                tokio::task::spawn_local(listener::accept(door, socket, shared));
            }
            Some(Job::Serve(accepted, open)) => {
                tokio::task::spawn_local(serve(Rc::clone(&worker), accepted, open));
            }
        }
    }
}

async fn serve(worker: Rc<Worker>, accepted: Accepted, open: Open) {
    let Accepted { stream, peer, door, permit } = accepted;
    match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => downstream::serve(worker, stream, peer, door).await,
        Err(error) => tracing::warn!(%peer, "a connection cannot be watched: {error}"),
    }
    drop((open, permit));
}
