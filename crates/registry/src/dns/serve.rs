//! Sockets: UDP and TCP on the same port, within limits.
//!
//! Over UDP there are as many queries under way as there are tasks that read; what comes faster waits
//! in the socket, where the system drops what is too much. An answer by something that is not durable
//! yet is put aside until it is; so many of them, then the socket waits. Over TCP there is one at a time on each
//! of a limited number of connections, so that an asker who does not read its answers waits for
//! itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use posthouse_base::task::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::message::{self, Answered, Asking, MAX_QUERY, Transport};
use super::metrics::Connected;
use super::zone::{Reply, Zone};
use crate::error::Error;
use crate::service::Handle;
use crate::state::{Index, State};

/// Tasks that answer over UDP, and so how many queries are under way at the same time.
const UDP_TASKS: usize = 2;

/// UDP queries that wait for something to become durable.
const MAX_WAITING: usize = 1024;

/// How often a free port is looked for that is free for UDP as well as for TCP.
const ATTEMPTS: usize = 16;

/// How long to let be after the system refused to give a connection (out of file descriptors).
const PAUSE: Duration = Duration::from_millis(50);

/// Both sockets, not yet served.
#[derive(Debug)]
pub(crate) struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
    address: SocketAddr,
}

impl Sockets {
    /// Takes the address for UDP and TCP. Port 0 takes one that is free for both.
    ///
    /// # Errors
    /// When it cannot be listened on; [`Error::AddressInUse`] when it is taken.
    pub(crate) async fn bind(wanted: SocketAddr) -> Result<Self, Error> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..ATTEMPTS {
            let tcp = TcpListener::bind(wanted).await.map_err(|error| refused(wanted, error))?;
            let address = tcp.local_addr().map_err(|error| refused(wanted, error))?;
            match UdpSocket::bind(address).await {
                Ok(udp) => return Ok(Self { udp, tcp, address }),
                // The port that the system chose for one may be taken for the other.
                Err(error) if wanted.port() == 0 => last = error,
                Err(error) => return Err(refused(wanted, error)),
            }
        }
        Err(refused(wanted, last))
    }

    /// The address really listened on.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from `names` until `tasks` stops.
    pub(crate) fn serve(self, names: Handle, tasks: &Tasks) {
        let zone = Zone::new(&names.shared().config);
        let server = Arc::new(Server { zone, names });
        let udp = Arc::new(self.udp);
        for _ in 0..UDP_TASKS {
            let packets = Arc::clone(&server).packets(Arc::clone(&udp), tasks.clone());
            tasks.spawn("dns over udp", packets);
        }
        tasks.spawn("dns over tcp", server.connections(self.tcp, tasks.clone()));
    }
}

fn refused(address: SocketAddr, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::AddrInUse => Error::AddressInUse(address),
        _ => Error::Listen { address, source },
    }
}

/// What every query is served with.
struct Server {
    zone: Zone,
    names: Handle,
}

impl Server {
    async fn packets(self: Arc<Self>, socket: Arc<UdpSocket>, tasks: Tasks) {
        let mut rng = Rng::new();
        let waiting = Arc::new(Semaphore::new(MAX_WAITING));
        // One byte more than may be, to see that there was more.
        let mut buffer = vec![0; MAX_QUERY + 1];
        loop {
            let (length, asker) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    // An asker that is gone is told of by the next receive; that is nobody's fault.
                    tracing::debug!("dns over udp: {error}");
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let (began, seed) = (Instant::now(), rng.u64(..));
            let answered = match message::read(&buffer[..length]) {
                None => continue,
                Some(Err(answered)) => answered,
                Some(Ok(asking)) => {
                    let shared = self.names.shared();
                    match shared.try_read(|state| self.look_up(state, &asking, seed)) {
                        Some(reply) => self.zone.write(&asking, &reply, Transport::Udp),
                        None => {
                            // The semaphore is never closed.
                            let Ok(place) = Arc::clone(&waiting).acquire_owned().await else {
                                return;
                            };
                            let (server, socket) = (Arc::clone(&self), Arc::clone(&socket));
                            tasks.spawn("dns query", async move {
                                let answered = server.ask(&asking, Transport::Udp, seed).await;
                                server.send(&socket, asker, answered, began).await;
                                drop(place);
                            });
                            continue;
                        }
                    }
                }
            };
            self.send(&socket, asker, answered, began).await;
        }
    }

    async fn send(
        &self,
        socket: &UdpSocket,
        asker: SocketAddr,
        answered: Answered,
        began: Instant,
    ) {
        self.names.metrics().dns.answered(&answered, Transport::Udp, began.elapsed());
        if let Err(error) = socket.send_to(&answered.bytes, asker).await {
            tracing::debug!("an answer to {asker} cannot be sent: {error}");
        }
    }

    async fn connections(self: Arc<Self>, listener: TcpListener, tasks: Tasks) {
        loop {
            match listener.accept().await {
                Ok((stream, asker)) => {
                    let limits = &self.names.shared().config.limits;
                    let metrics = self.names.metrics();
                    let Some(connected) = metrics.dns.connect(limits.dns_connections) else {
                        // It is closed, which a resolver takes as "ask elsewhere, or later".
                        metrics.limited("dns_connections");
                        continue;
                    };
                    let server = Arc::clone(&self);
                    tasks.spawn("dns connection", server.connection(stream, asker, connected));
                }
                Err(error) => {
                    tracing::debug!("dns over tcp cannot accept a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, asker: SocketAddr, open: Connected) {
        if let Err(error) = self.converse(stream).await {
            tracing::debug!("dns over tcp with {asker} ended: {error}");
        }
        drop(open);
    }

    /// Answers query after query, each within its time, until the asker ends it.
    async fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        let patience = self.names.shared().config.limits.dns_timeout.0;
        let mut rng = Rng::new();
        stream.set_nodelay(true)?;
        loop {
            let read = tokio::time::timeout(patience, read_message(&mut stream)).await??;
            let Some(query) = read else { return Ok(()) };
            let began = Instant::now();
            let answered = match message::read(&query) {
                None => return Ok(()),
                Some(Ok(asking)) => self.ask(&asking, Transport::Tcp, rng.u64(..)).await,
                Some(Err(answered)) => answered,
            };
            self.names.metrics().dns.answered(&answered, Transport::Tcp, began.elapsed());
            let answer = answered.bytes;
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            // In one piece: some askers read the length and the answer from the same packet.
            let framed = [&length.to_be_bytes()[..], &answer].concat();
            tokio::time::timeout(patience, stream.write_all(&framed)).await??;
        }
    }

    /// Answers by what is durable, once it is.
    async fn ask(&self, asking: &Asking, transport: Transport, seed: u64) -> Answered {
        let read = self.names.read(|state| self.look_up(state, asking, seed)).await;
        let reply = read.map_or_else(|_not_now| Reply::failed(), |(reply, _)| reply);
        self.zone.write(asking, &reply, transport)
    }

    fn look_up(&self, state: &State, asking: &Asking, seed: u64) -> (Reply, Index) {
        self.zone.look_up(state, &asking.question, &mut Rng::with_seed(seed))
    }
}

/// Reads a message with its length before it (RFC 1035 §4.2.2); nothing at the end.
async fn read_message(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    match stream.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    let length = u64::from(u16::from_be_bytes(length));
    let mut message = Vec::new();
    // Room is made as bytes come, not as they are announced.
    let read = stream.take(length).read_to_end(&mut message).await?;
    if u64::try_from(read).is_ok_and(|read| read < length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(message))
}
