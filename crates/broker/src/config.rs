//! The `messages:` section of the configuration: as written ([`Raw`]), and as checked ([`Config`]).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use posthouse_base::config::{Path, Report, Severity, Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::{EMBEDDED, EngineConfig};
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
    /// What keeps messages: `embedded`, the broker in the house; or a RabbitMQ, as
    /// `amqp://USER:PASSWORD@HOST:5672/VHOST` (`amqps://…` over TLS), to which the addresses here then pass
    /// clients through. Better filled in: `${env:NAME}`, for its password.
    pub engine: String,
    /// The authorities of the engine's certificate, as PEM; those of the system if left out.
    pub engine_ca: Option<PathBuf>,
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
    /// Publishing over HTTP, for services that have no client of AMQP; on an address of its own, on which
    /// the broker's users publish with the permissions that they have.
    pub http: Option<RawHttp>,
    /// RabbitMQ's management HTTP API, as far as tools (Celery's Flower, KEDA, `rabbitmqadmin`) read it.
    /// The broker's users look at it, if they have a tag like `monitoring`.
    pub management: Option<RawManagement>,
    /// Services that are called for each message of a queue, by the names of the subscriptions.
    pub subscriptions: BTreeMap<String, RawSubscription>,
    /// How much the broker takes on.
    pub limits: RawLimits,
}

/// Publishing over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "MessagesHttp")]
pub struct RawHttp {
    /// The address; port 0 takes a free one.
    pub address: String,
}

/// RabbitMQ's management HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "MessagesManagement")]
pub struct RawManagement {
    /// The address; port 0 takes a free one.
    pub address: String,
}

impl Default for RawManagement {
    fn default() -> Self {
        Self { address: "127.0.0.1:15672".into() }
    }
}

impl Default for RawHttp {
    fn default() -> Self {
        Self { address: "127.0.0.1:8672".into() }
    }
}

/// A service that is called, by `POST`, for each message of a queue. An answer of 200 to 299 takes the
/// message; after 400, 413, 415 and 422 it is dead, for it would be refused again; after everything else
/// it is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MessagesSubscription")]
pub struct RawSubscription {
    /// The queue. If it is not there it is declared, durable, with a queue `NAME.dead` for messages that
    /// cannot be delivered.
    pub queue: String,
    /// Its virtual host; that of the section if left out.
    #[serde(default)]
    pub vhost: Option<String>,
    /// The service: from `services`, or any name in the registry. Its instances are called over HTTP/1.1.
    pub service: String,
    /// The path of the calls.
    #[serde(default = "root")]
    pub path: String,
    /// Calls at the same time. A message that waits to be tried again counts.
    #[serde(default = "eight")]
    pub concurrency: u16,
    /// How long a call may take.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
    /// Calls for one message, after which it is dead: it goes where the dead of its queue go
    /// (`x-dead-letter-exchange`), if anywhere. They are counted anew after a restart.
    #[serde(default = "ten")]
    pub attempts: u32,
    /// The pauses between the calls for one message.
    #[serde(default)]
    pub backoff: RawBackoff,
}

/// Pauses that grow: each is twice the one before, less a random part of up to a half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "MessagesBackoff")]
pub struct RawBackoff {
    /// The first.
    pub first: Span,
    /// The longest.
    pub most: Span,
}

impl Default for RawBackoff {
    fn default() -> Self {
        Self { first: Span(Duration::from_secs(1)), most: Span(Duration::from_secs(300)) }
    }
}

fn root() -> String {
    "/".into()
}

fn eight() -> u16 {
    8
}

fn ten() -> u32 {
    10
}

fn ten_seconds() -> Span {
    Span(Duration::from_secs(10))
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
    /// Push subscriptions that are declared over the admin API; one more is refused.
    pub subscriptions: usize,
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
    /// Connections to the HTTP door, and as many to the management API; one more is closed at once.
    pub http_connections: usize,
    /// Bytes of messages that are being published over HTTP; beyond them further ones wait, and are told
    /// 503 after ten seconds.
    pub http_bytes: Size,
    /// How long a message may be delayed; a longer delay is refused (422).
    pub delay: Span,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            engine: EMBEDDED.into(),
            engine_ca: None,
            address: "127.0.0.1:5672".into(),
            tls: None,
            vhost: "/".into(),
            users: Vec::new(),
            heartbeat: Span(Duration::from_secs(60)),
            http: None,
            management: None,
            subscriptions: BTreeMap::new(),
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
            subscriptions: 1000,
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
            http_connections: 1000,
            http_bytes: Size(64 << 20),
            delay: Span(Duration::from_secs(365 * 24 * 3600)),
        }
    }
}

/// The checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) engine: Option<EngineConfig>,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Tls>,
    pub(crate) vhost: String,
    pub(crate) users: Vec<RawUser>,
    pub(crate) heartbeat: Duration,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) management: Option<SocketAddr>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) limits: RawLimits,
}

/// A service that is called for each message of a queue, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its name.
    pub name: String,
    /// The virtual host.
    pub vhost: String,
    /// The queue.
    pub queue: String,
    /// The service.
    pub service: String,
    /// The path of the calls.
    pub path: String,
    /// Calls at the same time.
    pub concurrency: u16,
    /// How long a call may take.
    pub timeout: Duration,
    /// Calls for one message.
    pub attempts: u32,
    /// The pauses between them.
    pub backoff: Backoff,
}

/// Pauses that grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first.
    pub first: Duration,
    /// The longest.
    pub most: Duration,
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
        let engine = EngineConfig::check(raw, path, report);
        let address = check_address(&raw.address, &path.key("address"), report);
        let tls = raw.tls.as_ref().and_then(|tls| check_tls(tls, &path.key("tls"), report));
        if raw.vhost.is_empty() || raw.vhost.len() > 255 {
            report.error(&path.key("vhost"), "a virtual host has a name of 1 to 255 bytes");
        }
        for (index, user) in raw.users.iter().enumerate() {
            check_user(user, &path.key("users").index(index), report);
        }
        let http = raw.http.as_ref();
        let http = http.and_then(|http| {
            check_address(&http.address, &path.key("http").key("address"), report)
        });
        let management = raw.management.as_ref().and_then(|management| {
            let path = path.key("management").key("address");
            check_address(&management.address, &path, report)
        });
        let check = |(name, subscription): (&String, &RawSubscription)| {
            let path = path.key("subscriptions").key(name);
            check_subscription(name, subscription, &raw.vhost, &path, report)
        };
        let subscriptions = raw.subscriptions.iter().map(check).collect();
        check_limits(&raw.limits, &path.key("limits"), report);
        let findings = &report.findings()[before..];
        let mistaken = findings.iter().any(|finding| finding.severity == Severity::Error);
        let address = address.filter(|_| !mistaken)?;
        Some(Self {
            engine,
            address,
            tls,
            vhost: raw.vhost.clone(),
            users: raw.users.clone(),
            heartbeat: raw.heartbeat.0,
            http,
            management,
            subscriptions,
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
        if let Some(engine) = &mut self.engine {
            engine.relative_to(base);
        }
        self
    }

    /// The address to listen on, as configured.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The virtual host that is meant where none is named.
    #[must_use]
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// How much the broker takes on.
    #[must_use]
    pub const fn limits(&self) -> &RawLimits {
        &self.limits
    }

    /// The subscriptions that it declares.
    #[must_use]
    pub fn subscriptions(&self) -> &[Subscription] {
        &self.subscriptions
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
            subscriptions: limits.subscriptions,
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
        let (http, management, subscriptions) = (None, None, Vec::new());
        let heartbeat = heartbeat.0;
        Self {
            engine: None,
            address,
            tls: None,
            vhost,
            users,
            heartbeat,
            http,
            management,
            subscriptions,
            limits,
        }
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

impl Subscription {
    /// Checks what is said of a subscription; `vhost` is meant where none is named.
    ///
    /// # Errors
    /// With the first mistake: where it is, and what it is.
    pub fn check(name: &str, raw: &RawSubscription, vhost: &str) -> Result<Self, (String, String)> {
        let mut report = Report::new();
        let checked = check_subscription(name, raw, vhost, &Path::root(), &mut report);
        match report.findings().first() {
            Some(mistake) => Err((mistake.path.to_string(), mistake.message.clone())),
            None => Ok(checked),
        }
    }
}

fn check_subscription(
    name: &str,
    raw: &RawSubscription,
    vhost: &str,
    path: &Path,
    report: &mut Report,
) -> Subscription {
    if name.is_empty() || name.len() > 200 {
        report.error(path, "a subscription has a name of 1 to 200 bytes");
    }
    for (key, text) in [("queue", &raw.queue), ("service", &raw.service)] {
        if text.is_empty() || text.len() > 200 {
            report.error(&path.key(key), "a name has 1 to 200 bytes");
        }
    }
    if !raw.path.starts_with('/') || raw.path.parse::<::http::uri::PathAndQuery>().is_err() {
        let message = format!("`{}` is not a path", raw.path);
        report.error(&path.key("path"), message).help("write it like `/messages`");
    }
    if raw.concurrency == 0 {
        report.error(&path.key("concurrency"), "without any call nothing would be delivered");
    }
    if raw.attempts == 0 {
        report.error(&path.key("attempts"), "without any call nothing would be delivered");
    }
    if raw.timeout.0.is_zero() {
        report.error(&path.key("timeout"), "this time cannot be 0");
    }
    let RawBackoff { first, most } = &raw.backoff;
    if first.0.is_zero() || first.0 > most.0 {
        let message = "the first pause is more than 0, and not longer than `most`";
        report.error(&path.key("backoff").key("first"), message);
    }
    Subscription {
        name: name.to_owned(),
        vhost: raw.vhost.clone().unwrap_or_else(|| vhost.to_owned()),
        queue: raw.queue.clone(),
        service: raw.service.clone(),
        path: raw.path.clone(),
        concurrency: raw.concurrency,
        timeout: raw.timeout.0,
        attempts: raw.attempts,
        backoff: Backoff { first: first.0, most: most.0 },
    }
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
        ("subscriptions", limits.subscriptions),
        ("window", limits.window),
        ("outgoing", limits.outgoing),
        ("loads", limits.loads),
        ("queue", limits.queue),
        ("http_connections", limits.http_connections),
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
        ("http_bytes", limits.http_bytes),
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
