//! From the protocol header to `connection.open-ok` (§2.2.4): who the client is, what is agreed upon,
//! and which virtual host it opens. Until then a client has little to say, little time, and learns
//! little: a wrong password is told after a pause, and nothing else than that it is wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use super::content::Bounds;
use super::input::Input;
use super::login::{Claim, MECHANISMS, MECHANISMS_WITH_CERTIFICATE, Proof};
use super::output::Output;
use super::session::Agreed;
use super::wire::{Fault, Kind, Method, PROTOCOL_HEADER, methods};
use crate::error::Error;
use crate::ids::UserName;
use crate::message::{Table, Value};
use crate::service::{Asking, Entrance, Handle, Told};
use crate::state::Code;

/// The largest frame before another size is agreed upon: room for long passwords, such as tokens.
const FRAME_MAX: u32 = 32 << 10;
/// The smallest that may be agreed upon (§4.2.3).
const FRAME_MIN: u32 = 4096;
/// What follows a login that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the answer to a refusal is waited for.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Who is there, as far as the socket tells.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Where it comes from.
    pub(super) address: SocketAddr,
    /// Where it came to.
    pub(super) local: SocketAddr,
    /// The name in its certificate, if TLS has verified one.
    pub(super) certificate: Option<String>,
}

/// A client that is let in.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) name: Arc<str>,
    pub(super) agreed: Agreed,
    pub(super) heartbeat: Duration,
    pub(super) asking: Asking,
    pub(super) told: Told,
}

/// Why a client was not let in.
#[derive(Debug)]
pub(super) enum Turned {
    /// It said something that is to be answered with `connection.close`.
    Away(Fault),
    /// It has gone, or speaks another protocol; nothing is to be said.
    Silent,
}

impl From<std::io::Error> for Turned {
    fn from(_gone: std::io::Error) -> Self {
        Self::Silent
    }
}

impl From<Fault> for Turned {
    fn from(fault: Fault) -> Self {
        Self::Away(fault)
    }
}

/// What was agreed upon before a virtual host is opened.
#[derive(Clone, Copy, Debug)]
struct Tuned {
    frame_max: u32,
    channel_max: u16,
    heartbeat: u16,
}

/// Both ends of a socket, while a handshake goes on.
#[derive(Debug)]
pub(super) struct Handshake<'a, R, W> {
    pub(super) reader: &'a mut R,
    pub(super) writer: &'a mut W,
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) peer: &'a Peer,
    pub(super) handle: &'a Handle,
}

impl<'a, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Handshake<'a, R, W> {
    pub(super) fn new(
        (reader, writer): (&'a mut R, &'a mut W),
        peer: &'a Peer,
        handle: &'a Handle,
    ) -> Self {
        let (input, output) = (Input::new(FRAME_MAX), Output::default());
        Self { reader, writer, input, output, peer, handle }
    }

    /// Lets a client in, or turns it away, having told it why.
    pub(super) async fn run(mut self) -> Option<(Guest, Input, Output)> {
        match self.all().await {
            Ok(guest) => Some((guest, self.input, self.output)),
            Err(Turned::Silent) => None,
            Err(Turned::Away(fault)) => {
                tracing::info!(peer = %self.peer.address, "a client was not let in: {fault}");
                self.turn_away(&fault).await;
                None
            }
        }
    }

    async fn all(&mut self) -> Result<Guest, Turned> {
        self.greet().await?;
        let (user, client) = self.log_in().await?;
        let tuned = self.tune().await?;
        self.input.agree(tuned.frame_max);
        let vhost = self
            .expect("connection.open", |method| match method {
                Method::ConnectionOpen(open) => Some(open.virtual_host.to_owned()),
                _ => None,
            })
            .await?;
        let Peer { address, local, .. } = self.peer;
        let chosen = text(&client, "connection_name").filter(|name| !name.is_empty());
        let name = chosen.map_or_else(|| format!("{address} -> {local}"), str::to_owned);
        let name: Arc<str> = name.into();
        let understands_blocked = understands(&client, "connection.blocked");
        let entrance = Entrance {
            vhost: vhost.as_str().into(),
            user,
            name: Arc::clone(&name),
            understands_blocked,
            understands_cancel: understands(&client, "consumer_cancel_notify"),
            client,
        };
        let entered = self.handle.enter(entrance).await;
        let (asking, told) = entered.map_err(|error| Turned::Away(not_entered(&error)))?;
        self.output.method(0, methods::ConnectionOpenOk::default());
        let limits = &self.handle.config().limits;
        let bounds = Bounds { body: as_usize(limits.message.0), header: as_usize(limits.header.0) };
        let Tuned { frame_max, channel_max, heartbeat } = tuned;
        let agreed = Agreed { frame_max, channel_max, bounds, understands_blocked };
        let heartbeat = Duration::from_secs(heartbeat.into());
        Ok(Guest { name, agreed, heartbeat, asking, told })
    }

    /// The protocol header, and `connection.start`.
    async fn greet(&mut self) -> Result<(), Turned> {
        loop {
            match self.input.protocol_header() {
                Some(true) => break,
                Some(false) => {
                    let peer = self.peer.address;
                    tracing::info!(%peer, "a client does not speak AMQP 0-9-1");
                    self.output.raw(&PROTOCOL_HEADER);
                    self.flush().await?;
                    return Err(Turned::Silent);
                }
                None => self.fill().await?,
            }
        }
        let mechanisms = match self.peer.certificate {
            Some(_) => MECHANISMS_WITH_CERTIFICATE,
            None => MECHANISMS,
        };
        let start = methods::ConnectionStart {
            version_major: 0,
            version_minor: 9,
            server_properties: server_properties(),
            mechanisms: mechanisms.as_bytes(),
            locales: b"en_US",
        };
        self.output.method(0, start);
        Ok(())
    }

    /// `connection.start-ok`: who the client is, and what it says of itself.
    async fn log_in(&mut self) -> Result<(UserName, Table), Turned> {
        let certificate = self.peer.certificate.clone();
        let (claim, mechanism, client) = self
            .expect("connection.start-ok", |method| match method {
                Method::ConnectionStartOk(ok) => {
                    let claim = Claim::read(ok.mechanism, ok.response, certificate.as_deref());
                    Some((claim, ok.mechanism.to_owned(), ok.client_properties))
                }
                _ => None,
            })
            .await?;
        let peer = self.peer.address;
        let refused = match claim {
            Err(unclear) => unclear.to_string(),
            Ok(claim) => {
                let ip = peer.ip().to_canonical();
                let known = match &claim.proof {
                    Proof::Password(password) => {
                        self.handle.authenticate(&claim.user, password, ip)
                    }
                    Proof::Certificate => self.handle.recognise(&claim.user, ip),
                };
                match known {
                    Some(user) => return Ok((user, client)),
                    None => format!("no such user and password from there: {:?}", claim.user),
                }
            }
        };
        tracing::warn!(%peer, mechanism, "a login failed: {refused}");
        sleep(PAUSE).await;
        if !understands(&client, "authentication_failure_close") {
            return Err(Turned::Silent);
        }
        let detail = format!(
            "Login was refused using authentication mechanism {mechanism}. \
             For details see the broker logfile."
        );
        Err(Turned::Away(Fault::new(Code::AccessRefused, detail)))
    }

    /// `connection.tune` and `tune-ok`: what the client wants, within what we offer.
    async fn tune(&mut self) -> Result<Tuned, Turned> {
        let config = self.handle.config();
        let frame_max = u32::try_from(config.limits.frame.0).unwrap_or(u32::MAX);
        let channel_max = config.limits.channels;
        let heartbeat = u16::try_from(config.heartbeat.as_secs()).unwrap_or(u16::MAX);
        self.output.method(0, methods::ConnectionTune { channel_max, frame_max, heartbeat });
        let wanted = self
            .expect("connection.tune-ok", |method| match method {
                Method::ConnectionTuneOk(ok) => Some(ok),
                _ => None,
            })
            .await?;
        let beyond = |what: &str, wanted: u32, word: &str, bound: u32| {
            let detail = format!("negotiated {what} = {wanted} is {word} allowed value ({bound})");
            Turned::Away(Fault::new(Code::NotAllowed, detail).of((10, 31)))
        };
        let frames = if wanted.frame_max == 0 { frame_max } else { wanted.frame_max };
        let channels = if wanted.channel_max == 0 { channel_max } else { wanted.channel_max };
        if frames < FRAME_MIN {
            return Err(beyond("frame_max", frames, "lower than the minimum", FRAME_MIN));
        }
        if frames > frame_max {
            return Err(beyond("frame_max", frames, "higher than the maximum", frame_max));
        }
        if channels > channel_max {
            let (channels, max) = (channels.into(), channel_max.into());
            return Err(beyond("channel_max", channels, "higher than the maximum", max));
        }
        Ok(Tuned { frame_max: frames, channel_max: channels, heartbeat: wanted.heartbeat })
    }

    /// Writes what there is to say, and waits for the one method that may come now.
    async fn expect<T>(
        &mut self,
        name: &str,
        take: impl Fn(Method<'_>) -> Option<T>,
    ) -> Result<T, Turned> {
        self.flush().await?;
        loop {
            let Some(frame) = self.input.next()? else {
                self.fill().await?;
                continue;
            };
            let method = match (frame.kind, frame.channel) {
                (Kind::Heartbeat, 0) => continue,
                (Kind::Method, 0) => {
                    Method::read(&frame.payload).map_err(|malformed| malformed.fault())?
                }
                _ => {
                    let detail = format!("{name} was expected on channel 0");
                    return Err(Fault::new(Code::UnexpectedFrame, detail).into());
                }
            };
            let (id, got) = (method.id(), method.name());
            if let Method::ConnectionClose(_) = method {
                self.output.method(0, methods::ConnectionCloseOk {});
                self.flush().await?;
                return Err(Turned::Silent);
            }
            let unexpected = || {
                let detail = format!("{name} was expected, got {got}");
                Fault::new(Code::CommandInvalid, detail).of(id)
            };
            return take(method).ok_or_else(|| unexpected().into());
        }
    }

    async fn fill(&mut self) -> Result<(), Turned> {
        match self.input.fill(self.reader).await? {
            0 => Err(Turned::Silent),
            _ => Ok(()),
        }
    }

    async fn flush(&mut self) -> Result<(), Turned> {
        while !self.output.is_empty() {
            self.output.write(self.writer).await?;
        }
        Ok(())
    }

    /// Says why, and waits a little for the client to have read it.
    async fn turn_away(&mut self, fault: &Fault) {
        let (class_id, method_id) = fault.method;
        let (reply_code, reply_text) = (fault.code.number(), fault.text.as_str());
        let close = methods::ConnectionClose { reply_code, reply_text, class_id, method_id };
        self.output.method(0, close);
        let said = async {
            self.flush().await?;
            self.writer.flush().await?;
            while self.input.fill(self.reader).await? > 0 {
                self.input.forget();
            }
            Ok::<(), Turned>(())
        };
        let _said_or_gone = timeout(LAST_WORD, said).await;
    }
}

/// Why a virtual host was not opened, as the client is told.
fn not_entered(error: &Error) -> Fault {
    match error {
        Error::Refused(refusal) => Fault::from(refusal).of((10, 40)),
        error => Fault::new(Code::InternalError, error.to_string()).of((10, 40)),
    }
}

/// What we say of ourselves. Clients go by the capabilities.
fn server_properties() -> Table {
    let capabilities = [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ];
    let capabilities = capabilities.into_iter().map(|name| (name.into(), Value::Bool(true)));
    let mut properties = Table::new();
    properties.push("capabilities", Value::Table(capabilities.collect()));
    properties.push("product", Value::text("Posthouse"));
    properties.push("version", Value::text(env!("CARGO_PKG_VERSION")));
    properties.push("platform", Value::text("Rust"));
    properties.push("information", Value::text("Licensed under the Apache License 2.0"));
    properties
}

fn text<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.get(key)?.as_text()
}

/// Whether the client has said that it is capable of this.
fn understands(client: &Table, capability: &str) -> bool {
    let Some(Value::Table(capabilities)) = client.get("capabilities") else { return false };
    capabilities.get(capability) == Some(&Value::Bool(true))
}

fn as_usize(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
