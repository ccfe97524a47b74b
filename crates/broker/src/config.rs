//! The `messages:` section of the configuration: as written ([`Raw`]), and as checked ([`Config`]).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use posthouse_base::config::{Path, Report, Severity, Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::state::Limits;

/// What the journal takes as one event; a message is one. See `journal.limits.event`.
const JOURNAL_EVENT: u64 = 16 << 20;
/// Room for properties beside a body.
const PROPERTIES: u64 = 256 << 10;

/// Where services send and take messages, over AMQP 0-9-1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Messages")]
pub struct Raw {
    /// The address of AMQP; port 0 takes a free one.
    pub address: String,
    /// AMQP over TLS, on an address of its own.
    pub tls: Option<RawTls>,
    /// The virtual host that is there from the beginning.
    pub vhost: String,
    /// Users who are there from the beginning. Without any there is `guest` with the password `guest`,
    /// who may do everything, and only from this machine.
    pub users: Vec<RawUser>,
    /// How long a connection may be silent before it is given up; `0s` for ever. The client may ask for
    /// less.
    pub heartbeat: Span,
    /// How much the broker takes on.
    pub limits: RawLimits,
}

/// AMQP over TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MessagesTls")]
pub struct RawTls {
    /// The address; port 0 takes a free one.
    #[serde(default = "tls_address")]
    pub address: String,
    /// The certificate with its chain, as PEM.
    pub cert: PathBuf,
    /// The private key, as PEM.
    pub key: PathBuf,
    /// The authorities of clients' certificates, as PEM. Without them no certificate is asked for.
    #[serde(default)]
    pub clients: Option<PathBuf>,
}

fn tls_address() -> String {
    "127.0.0.1:5671".into()
}

/// A user who is there from the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MessagesUser")]
pub struct RawUser {
    /// The name.
    pub name: String,
    /// The password. Better not written here but filled in: `${env:NAME}`.
    pub password: String,
    /// `administrator`, `monitoring` and the like.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Names of what it may declare and delete, as a regular expression.
    #[serde(default = "everything")]
    pub configure: String,
    /// Names of what it may publish to and bind, as a regular expression.
    #[serde(default = "everything")]
    pub write: String,
    /// Names of what it may take messages from, as a regular expression.
    #[serde(default = "everything")]
    pub read: String,
}

fn everything() -> String {
    ".*".into()
}

/// How much the broker takes on, with what happens at each limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "MessagesLimits")]
pub struct RawLimits {
    /// Connections; one more is closed at once.
    pub connections: usize,
    /// Connections that have not been let in yet; one more is closed at once.
    pub handshakes: usize,
    /// How long a client may take to be let in.
    pub handshake: Span,
    /// A frame, as told to clients; a larger one closes the connection (501).
    pub frame: Size,
    /// Channels of a connection, as told to clients; one more closes the connection (530).
    pub channels: u16,
    /// Consumers of a channel; one more closes the connection (506).
    pub consumers: usize,
    /// Deliveries of a channel that wait to be acknowledged; at this many it gets no more until some
    /// are.
    pub unacknowledged: usize,
    /// Queues of all virtual hosts; one more is refused (406).
    pub queues: usize,
    /// Exchanges of all virtual hosts; one more is refused (406).
    pub exchanges: usize,
    /// Bindings of all virtual hosts; one more is refused (406).
    pub bindings: usize,
    /// Virtual hosts; one more is refused.
    pub vhosts: usize,
    /// Users; one more is refused.
    pub users: usize,
    /// A message's body; a larger one closes the channel (406). Persistent ones are an event of the
    /// journal each, so that it cannot be more than `journal.limits.event` but for 256KiB.
    pub message: Size,
    /// A message's header, which is its properties; a larger one closes the connection (501).
    pub header: Size,
    /// Messages that are not in the journal (transient, or in queues that are not durable); above this
    /// all who publish are blocked, until a tenth of it is free again.
    pub memory: Size,
    /// What is to stay free on the journal's disk; `0B` for nothing. With less, all who publish are
    /// blocked, and the rest is for those who consume, since to acknowledge is to write; a tenth more
    /// lets them go on. Up to half of it may be room that the journal has again within its file.
    pub disk_free: Size,
    /// Messages of the journal that are kept at hand for the next deliveries, of one queue,
    pub window: usize,
    /// their bytes, of one queue,
    pub window_bytes: Size,
    /// and of all queues together. What is not at hand is read when its turn comes.
    pub windows_bytes: Size,
    /// Messages that were handed to a connection and are not written to its socket yet; at this many
    /// it gets no more until they are.
    pub outgoing: usize,
    /// Bytes of them.
    pub outgoing_bytes: Size,
    /// Reads of the journal at the same time.
    pub loads: usize,
    /// Commands that wait to be carried out; at this many, further ones wait outside.
    pub queue: usize,
    /// Bytes that a transaction of a channel may hold before it is committed; more closes the channel
    /// (406).
    pub transaction: Size,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:5672".into(),
            tls: None,
            vhost: "/".into(),
            users: Vec::new(),
            heartbeat: Span(Duration::from_secs(60)),
            limits: RawLimits::default(),
        }
    }
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            handshakes: 1000,
            handshake: Span(Duration::from_secs(10)),
            frame: Size(128 << 10),
            channels: 2047,
            consumers: 10_000,
            unacknowledged: 1_000_000,
            queues: 100_000,
            exchanges: 50_000,
            bindings: 500_000,
            vhosts: 1000,
            users: 10_000,
            message: Size(JOURNAL_EVENT - PROPERTIES),
            header: Size(PROPERTIES / 2),
            memory: Size(256 << 20),
            disk_free: Size(64 << 20),
            window: 1024,
            window_bytes: Size(4 << 20),
            windows_bytes: Size(64 << 20),
            outgoing: 1024,
            outgoing_bytes: Size(4 << 20),
            loads: 4,
            queue: 1024,
            transaction: Size(16 << 20),
        }
    }
}

/// The checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Tls>,
    pub(crate) vhost: String,
    pub(crate) users: Vec<RawUser>,
    pub(crate) heartbeat: Duration,
    pub(crate) limits: RawLimits,
}

/// AMQP over TLS, checked. The files are read when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Where it listens.
    pub address: SocketAddr,
    /// The certificate with its chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The authorities of clients' certificates.
    pub clients: Option<PathBuf>,
}

impl Config {
    /// Checks `raw`, which stands at `path`, and notes every mistake in `report`. `None` when there
    /// is a mistake for which it must be refused.
    #[must_use]
    pub fn check(raw: &Raw, path: &Path, report: &mut Report) -> Option<Self> {
        let before = report.findings().len();
        let address = check_address(&raw.address, &path.key("address"), report);
        let tls = raw.tls.as_ref().and_then(|tls| check_tls(tls, &path.key("tls"), report));
        if raw.vhost.is_empty() || raw.vhost.len() > 255 {
            report.error(&path.key("vhost"), "a virtual host has a name of 1 to 255 bytes");
        }
        for (index, user) in raw.users.iter().enumerate() {
            check_user(user, &path.key("users").index(index), report);
        }
        check_limits(&raw.limits, &path.key("limits"), report);
        let findings = &report.findings()[before..];
        let mistaken = findings.iter().any(|finding| finding.severity == Severity::Error);
        let address = address.filter(|_| !mistaken)?;
        Some(Self {
            address,
            tls,
            vhost: raw.vhost.clone(),
            users: raw.users.clone(),
            heartbeat: raw.heartbeat.0,
            limits: raw.limits.clone(),
        })
    }

    /// The same, with paths that are not absolute starting at `base`.
    #[must_use]
    pub fn relative_to(mut self, base: &FilePath) -> Self {
        if let Some(tls) = &mut self.tls {
            tls.cert = base.join(&tls.cert);
            tls.key = base.join(&tls.key);
            tls.clients = tls.clients.as_ref().map(|clients| base.join(clients));
        }
        self
    }

    /// The address to listen on, as configured.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The limits of the rules, with or without a journal, of which one command may write so many
    /// bytes.
    pub(crate) fn state_limits(&self, journal: bool, command: usize) -> Limits {
        let limits = &self.limits;
        let size = |size: Size| usize::try_from(size.0).unwrap_or(usize::MAX);
        Limits {
            journal,
            consumers: limits.consumers,
            unacknowledged: limits.unacknowledged,
            queues: limits.queues,
            exchanges: limits.exchanges,
            bindings: limits.bindings,
            vhosts: limits.vhosts,
            users: limits.users,
            message: size(limits.message),
            memory: size(limits.memory),
            window: limits.window,
            window_bytes: size(limits.window_bytes),
            windows_bytes: size(limits.windows_bytes),
            outgoing: limits.outgoing,
            outgoing_bytes: limits.outgoing_bytes.0,
            transaction: size(limits.transaction),
            command,
        }
    }

    /// The address of AMQP over TLS, as configured, if it is on.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }
}

impl Default for Config {
    fn default() -> Self {
        let Raw { vhost, users, heartbeat, limits, .. } = Raw::default();
        let address = (Ipv4Addr::LOCALHOST, 5672).into();
        Self { address, tls: None, vhost, users, heartbeat: heartbeat.0, limits }
    }
}

fn check_address(written: &str, path: &Path, report: &mut Report) -> Option<SocketAddr> {
    let address = written.parse::<SocketAddr>();
    if address.is_err() {
        let message = format!("`{written}` is not an IP address with a port");
        report.error(path, message).help("write it like `127.0.0.1:5672` or `[::1]:5672`");
    }
    address.ok()
}

fn check_tls(raw: &RawTls, path: &Path, report: &mut Report) -> Option<Tls> {
    let address = check_address(&raw.address, &path.key("address"), report)?;
    let RawTls { cert, key, clients, .. } = raw.clone();
    Some(Tls { address, cert, key, clients })
}

fn check_user(user: &RawUser, path: &Path, report: &mut Report) {
    if user.name.is_empty() || user.name.len() > 255 {
        report.error(&path.key("name"), "a user has a name of 1 to 255 bytes");
    }
    if user.password.is_empty() {
        report
            .error(&path.key("password"), "a user without a password cannot log in")
            .help("fill it in: `${env:NAME}` or `${file:PATH}`");
    }
    let patterns = [("configure", &user.configure), ("write", &user.write), ("read", &user.read)];
    for (key, pattern) in patterns {
        if let Err(error) = regex::Regex::new(pattern) {
            let message = format!("`{pattern}` is not a regular expression: {error}");
            report.error(&path.key(key), message).help("`.*` is everything, and `^$` nothing");
        }
    }
}

fn check_limits(limits: &RawLimits, path: &Path, report: &mut Report) {
    let counts = [
        ("connections", limits.connections),
        ("handshakes", limits.handshakes),
        ("channels", limits.channels.into()),
        ("consumers", limits.consumers),
        ("unacknowledged", limits.unacknowledged),
        ("queues", limits.queues),
        ("exchanges", limits.exchanges),
        ("bindings", limits.bindings),
        ("vhosts", limits.vhosts),
        ("users", limits.users),
        ("window", limits.window),
        ("outgoing", limits.outgoing),
        ("loads", limits.loads),
        ("queue", limits.queue),
    ];
    for (key, _) in counts.iter().filter(|(_, count)| *count == 0) {
        report.error(&path.key(key), "a limit of 0 would refuse everything");
    }
    let sizes = [
        ("message", limits.message),
        ("header", limits.header),
        ("memory", limits.memory),
        ("window_bytes", limits.window_bytes),
        ("windows_bytes", limits.windows_bytes),
        ("outgoing_bytes", limits.outgoing_bytes),
        ("transaction", limits.transaction),
    ];
    for (key, _) in sizes.iter().filter(|(_, size)| size.0 == 0) {
        report.error(&path.key(key), "a limit of 0 would refuse everything");
    }
    if !(4096..=1 << 31).contains(&limits.frame.0) {
        report.error(&path.key("frame"), "a frame has 4KiB at least, and 2GiB at most");
    }
    if limits.message.0 > JOURNAL_EVENT - PROPERTIES {
        report
            .error(&path.key("message"), "the journal takes no event as large as that")
            .help("16128KiB is the most: put larger things elsewhere and send where they are");
    }
    if limits.handshake.0.is_zero() {
        report.error(&path.key("handshake"), "this time cannot be 0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &Raw) -> (Option<Config>, Vec<String>) {
        let mut report = Report::new();
        let config = Config::check(raw, &Path::root().key("messages"), &mut report);
        let paths = report.findings().iter().map(|finding| finding.path.to_string());
        (config, paths.collect())
    }

    #[test]
    fn the_defaults_are_right_and_the_same_in_both_forms() {
        assert_eq!(check(&Raw::default()), (Some(Config::default()), vec![]));
    }

    #[test]
    fn every_mistake_is_found_at_once() {
        let mut raw = Raw { address: "localhost".into(), vhost: String::new(), ..Raw::default() };
        raw.users.push(RawUser {
            name: "a".into(),
            password: String::new(),
            tags: vec![],
            configure: "(".into(),
            write: everything(),
            read: everything(),
        });
        raw.limits.channels = 0;
        raw.limits.message = Size(128 << 20);
        let (config, paths) = check(&raw);
        assert_eq!(config, None);
        let expected = [
            "messages.address",
            "messages.vhost",
            "messages.users[0].password",
            "messages.users[0].configure",
            "messages.limits.channels",
            "messages.limits.message",
        ];
        assert_eq!(paths, expected);
    }
}
