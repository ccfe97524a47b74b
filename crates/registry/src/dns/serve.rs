//! Sockets: UDP and TCP on the same port, within limits.
//!
//! Over UDP there are as many queries under way as there are tasks that read; what comes faster waits
//! in the socket, where the system drops what is too much. Over TCP there is one at a time on each
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

use super::message::{self, Answered, MAX_QUERY, Transport};
use super::metrics::Connected;
use super::zone::Zone;
use crate::error::Error;
use crate::service::Handle;

/// Tasks that answer over UDP, and so how many queries are under way at the same time.
const UDP_TASKS: usize = 2;

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
            tasks.spawn("dns over udp", Arc::clone(&server).packets(Arc::clone(&udp)));
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
    async fn packets(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut rng = Rng::new();
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
            if let Some(answer) = self.answer(&buffer[..length], Transport::Udp, &mut rng)
                && let Err(error) = socket.send_to(&answer, asker).await
            {
                tracing::debug!("an answer to {asker} cannot be sent: {error}");
            }
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
            let Some(answer) = self.answer(&query, Transport::Tcp, &mut rng) else { return Ok(()) };
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            // In one piece: some askers read the length and the answer from the same packet.
            let framed = [&length.to_be_bytes()[..], &answer].concat();
            tokio::time::timeout(patience, stream.write_all(&framed)).await??;
        }
    }

    fn answer(&self, query: &[u8], transport: Transport, rng: &mut Rng) -> Option<Vec<u8>> {
        let began = Instant::now();
        let answered = match message::read(query)? {
            Ok(asking) => {
                let reply = self.zone.look_up(&self.names.state(), &asking.question, rng);
                self.zone.write(&asking, &reply, transport)
            }
            Err(answered) => answered,
        };
        self.names.metrics().dns.answered(&answered, transport, began.elapsed());
        let Answered { bytes, .. } = answered;
        Some(bytes)
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
