//! The checked configuration: types that cannot be wrong. Made by [`super::check`] only.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;
use regex::bytes::Regex;

pub use super::raw::{AccessLogFormat, AccessLogMode, Balance, Forwarded, Priority, Protocol};
pub use crate::guard::settings::{Cors, Forward, Guard, Told};
use crate::http1;
pub use crate::limit::Every;
pub use crate::limit::shed::Settings as Shedding;

/// The name of a service, as routes and the registry use it.
pub type ServiceName = Arc<str>;

/// Everything that the gateway is told by the file.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses on which calls arrive; no two the same unless their port is 0.
    pub listeners: Vec<Listener>,
    /// Services by name, with defaults for those that only routes name.
    pub services: BTreeMap<ServiceName, Service>,
    /// Routes in the order of the file.
    pub routes: Vec<Route>,
    /// How services are called that are reached by their name, without a route.
    pub named: Named,
    /// Who may call where a route has no guard of its own.
    pub guard: Option<Arc<Guard>>,
    /// That guard as it is written: routes that are checked apart take from it what they leave out.
    pub defaults: super::raw::Guard,
    /// The limits of each plan.
    pub plans: BTreeMap<Arc<str>, Vec<Limit>>,
    /// Settings of the gateway as a whole.
    pub engine: Engine,
}

impl Config {
    /// The files beside the configuration's own that were read for it: certificates, keys and
    /// authorities.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let certificates = self.listeners.iter().flat_map(|listener| &listener.certificates);
        let clients = self.listeners.iter().filter_map(|listener| listener.client.as_ref());
        let authorities = self.services.values().filter_map(|service| service.tls.as_ref());
        certificates
            .flat_map(|certificate| [&certificate.cert, &certificate.key])
            .chain(authorities.filter_map(|tls| tls.ca.as_ref()))
            .chain(clients.map(|client| &client.ca))
            .map(PathBuf::as_path)
    }
}

/// How services are called without a route: as with one that sets nothing.
#[derive(Clone, Debug)]
pub struct Named {
    /// Total time; `None` is off.
    pub timeout: Option<Duration>,
    /// Retries.
    pub retries: Retries,
}

/// An address on which calls arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where to listen.
    pub address: SocketAddr,
    /// Certificates, the first being the default; empty without TLS.
    pub certificates: Vec<Certificate>,
    /// Which certificates clients show.
    pub client: Option<ClientCertificates>,
    /// What is done with a connection.
    pub kind: ListenerKind,
}

/// Certificates that clients show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The authorities that sign them, as a PEM file.
    pub ca: PathBuf,
    /// Whether there is no connection without one.
    pub required: bool,
}

/// What a listener does with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// Reads calls from it. `names`: also forwards `NAME.service.consul`.
    Http {
        /// Whether services are reached by their name without a route.
        names: bool,
    },
    /// Forwards it whole to this service.
    Tcp {
        /// The service.
        service: ServiceName,
    },
}

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A service and how it is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// How its instances are spoken to. For a service that comes from the registry its instances'
    /// metadata `protocol` may say otherwise.
    pub protocol: Protocol,
    /// Where its instances are, by the file; empty if they come from the registry.
    pub instances: Vec<Instance>,
    /// How an instance is chosen.
    pub balance: Balance,
    /// What `hash` balancing hashes, in order.
    pub hash: Vec<HashKey>,
    /// Active checks.
    pub health: Option<Health>,
    /// Opening a connection.
    pub connect_timeout: Duration,
    /// Request sent to response header.
    pub header_timeout: Duration,
    /// No byte in either direction.
    pub idle_timeout: Duration,
    /// Unused connections.
    pub keep_alive: Duration,
    /// Silence of an instance that owes answers; `None` is off.
    pub silence: Option<Duration>,
    /// Passive health.
    pub ejection: Ejection,
    /// Circuit breaking.
    pub circuit: Circuit,
    /// Bringing up new instances; zero is off.
    pub slow_start: Duration,
    /// TLS towards the instances; `None` speaks plain.
    pub tls: Option<ServiceTls>,
}

/// An instance as the file gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Host name or address.
    pub host: String,
    /// Port, never 0.
    pub port: u16,
    /// Share of calls; 0 is out of rotation.
    pub weight: u32,
}

/// What `hash` balancing hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The value of a header.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(String),
    /// The client's address.
    ClientAddress,
}

/// Active checks of a service's instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// How.
    pub kind: HealthKind,
    /// Time between checks.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// Good checks in a row that bring back; at least 1.
    pub rise: u32,
    /// Bad checks in a row that take out; at least 1.
    pub fall: u32,
}

/// How an instance is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthKind {
    /// GET of a path.
    Http {
        /// Origin-form path.
        path: String,
        /// Healthy statuses; every 2xx if empty.
        statuses: Vec<StatusCode>,
    },
    /// A connection.
    Tcp,
    /// The gRPC health protocol.
    Grpc {
        /// Name of the gRPC service; empty for the whole server.
        service: String,
    },
}

/// Passive health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row; 0 is off.
    pub consecutive: u32,
    /// First time out.
    pub base: Duration,
    /// Longest time out.
    pub max: Duration,
    /// Largest part out at once, 0 to 100.
    pub max_percent: u32,
}

/// Circuit breaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circuit {
    /// Connections to one instance.
    pub connections: u32,
    /// Calls that wait for a connection.
    pub pending: u32,
    /// Calls under way.
    pub requests: u32,
    /// Failed calls in per cent that open it, 1 to 100.
    pub failure_percent: Option<u32>,
    /// How long it stays open.
    pub open: Duration,
}

/// TLS towards instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTls {
    /// Authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Name that the certificate must carry.
    pub server_name: Option<String>,
    /// Accepts any certificate.
    pub insecure: bool,
}

/// A route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Unique name.
    pub name: Arc<str>,
    /// Which calls.
    pub matching: Match,
    /// What is done with them.
    pub action: Action,
    /// Changes to the response's headers.
    pub response_headers: HeaderEdits,
    /// Total time; `None` is off.
    pub timeout: Option<Duration>,
    /// Whether the total time cuts streams.
    pub timeout_streams: bool,
    /// Retries.
    pub retries: Retries,
    /// Largest request body in bytes.
    pub max_body: Option<u64>,
    /// Who may call; as the file's own guard says if `None`.
    pub guard: Option<Arc<Guard>>,
    /// The version of an API that its calls belong to.
    pub api: Option<Api>,
    /// How fast, and how much.
    pub limits: Vec<Limit>,
    /// What goes first when the service is overloaded.
    pub priority: Priority,
}

/// A version of an API.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Api {
    /// The API.
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
}

/// How fast, or how much.
#[derive(Clone, Debug)]
pub struct Limit {
    /// Its name in headers and metrics: visible ASCII without quotes.
    pub name: Arc<str>,
    /// What counts together and goes on counting over reloads.
    pub id: Arc<str>,
    /// What is counted apart.
    pub by: LimitBy,
    /// How many.
    pub amount: Amount,
}

/// What a limit counts apart.
#[derive(Clone, Debug)]
pub enum LimitBy {
    /// Each consumer.
    Consumer,
    /// Each identity.
    Subject,
    /// Each credential.
    Key,
    /// Each client's address.
    Address,
    /// Each route.
    Route,
    /// Nothing: everything together.
    All,
    /// Each value of an expression.
    Value(Arc<posthouse_expression::Program>),
}

/// How many, of what. None of the numbers is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Calls in a time.
    Calls {
        /// So many.
        amount: u64,
        /// In each.
        period: Duration,
        /// At once.
        burst: u64,
    },
    /// Bytes in a time.
    Bytes {
        /// So many.
        amount: u64,
        /// In each.
        period: Duration,
        /// At once.
        burst: u64,
    },
    /// Calls under way.
    Concurrency(u32),
    /// Calls in a period of the calendar.
    Quota {
        /// So many.
        amount: u64,
        /// In each.
        every: Every,
    },
}

/// Which calls a route means.
#[derive(Clone, Debug, Default)]
pub struct Match {
    /// Host condition.
    pub host: HostPattern,
    /// Path condition.
    pub path: PathPattern,
    /// Methods; all if empty. HEAD is there whenever GET is.
    pub methods: Vec<Method>,
    /// Header conditions.
    pub headers: Vec<(HeaderName, ValuePattern)>,
    /// Query conditions, by decoded parameter name.
    pub query: Vec<(String, ValuePattern)>,
}

/// Host condition; names in lower case without port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Every host.
    #[default]
    Any,
    /// This host.
    Exact(String),
    /// Every name below this one: `.shop.example`, with its leading dot.
    Below(String),
}

/// Path condition.
#[derive(Clone, Debug, Default)]
pub enum PathPattern {
    /// Every path.
    #[default]
    Any,
    /// Segments, of which only the last may be [`Segment::Rest`].
    Template(Vec<Segment>),
    /// A regular expression, searched in the path.
    Regex(Regex),
}

impl PathPattern {
    /// Whether it is written in a way in which case matters to whoever wrote it.
    pub(crate) fn tells_case(&self) -> bool {
        let has_capital = |segment: &Segment| matches!(segment, Segment::Literal(text) if text.bytes().any(|byte| byte.is_ascii_uppercase()));
        matches!(self, Self::Template(segments) if segments.iter().any(has_capital))
    }
}

/// A segment of a path template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This text.
    Literal(String),
    /// One segment, caught by name.
    Parameter(String),
    /// The rest, also none, caught by name.
    Rest(String),
}

/// Condition on a value.
#[derive(Clone, Debug)]
pub enum ValuePattern {
    /// Any value.
    Present,
    /// This value.
    Exact(String),
    /// A regular expression found in it.
    Regex(Regex),
    /// None of the values is so; there need not be any.
    Not(Box<Self>),
}

/// What is done with a call.
#[derive(Clone, Debug)]
pub enum Action {
    /// Forward to one of these services by weight; one or more, total weight above 0.
    Forward {
        /// Services and weights.
        split: Vec<(ServiceName, u32)>,
        /// What is changed before.
        rewrite: Rewrite,
    },
    /// Answer with a redirect.
    Redirect(Redirect),
    /// Answer with a fixed response.
    Respond(Respond),
}

/// What is changed in a call before it is forwarded.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// Prefix to take off, without a trailing slash.
    pub strip_prefix: Option<String>,
    /// Path to put in place, in pieces.
    pub path: Option<PathRecipe>,
    /// Host to put in place.
    pub host: Option<String>,
    /// Request headers.
    pub headers: HeaderEdits,
}

/// A path with holes that are filled by what a template caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRecipe(pub Vec<RecipePart>);

/// A part of a [`PathRecipe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipePart {
    /// Text.
    Text(String),
    /// What was caught under this name, which the route's template has.
    Caught(String),
}

/// Changes to headers, in this order: remove, set, add.
#[derive(Clone, Debug, Default)]
pub struct HeaderEdits {
    /// Names to take out.
    pub remove: Vec<HeaderName>,
    /// Names whose values are replaced.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Values to add.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

/// A redirect.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// `http` or `https`; the request's if `None`.
    pub scheme: Option<&'static str>,
    /// Host and perhaps port; the request's if `None`.
    pub host: Option<String>,
    /// Path; the request's if `None`.
    pub path: Option<PathRecipe>,
}

/// A fixed response.
#[derive(Clone, Debug)]
pub struct Respond {
    /// Status.
    pub status: StatusCode,
    /// Body.
    pub body: String,
    /// Media type.
    pub content_type: HeaderValue,
}

/// Retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Tries after the first.
    pub attempts: u32,
    /// Time for one try to the response's header.
    pub per_try: Option<Duration>,
    /// Statuses that are tried again.
    pub statuses: Vec<StatusCode>,
    /// gRPC statuses that are tried again.
    pub grpc_statuses: Vec<u16>,
    /// Whether every method may be repeated.
    pub idempotent: bool,
    /// Retries in per cent of calls.
    pub budget_percent: u32,
    /// Retries a second that are always allowed.
    pub budget_floor: u32,
    /// Pause before the second retry.
    pub backoff: Duration,
    /// Longest pause.
    pub max_backoff: Duration,
    /// Largest body that is kept for a retry, in bytes.
    pub buffer: usize,
}

/// Settings of the gateway as a whole.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Threads; at least 1.
    pub threads: usize,
    /// Proxies that are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Which headers tell about the client.
    pub forwarded: Forwarded,
    /// Limits of the HTTP/1 parser, used for HTTP/2 header lists too.
    pub limits: http1::Limits,
    /// Connections from clients, over all threads.
    pub max_connections: usize,
    /// Calls at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// Header of a request, TLS handshake.
    pub header_timeout: Duration,
    /// Between two requests of a connection.
    pub keep_alive: Duration,
    /// No byte from or to a client within a call.
    pub idle_timeout: Duration,
    /// Calls going on after a shutdown began.
    pub drain: Duration,
    /// Access log.
    pub access_log: AccessLog,
    /// Keys that limits count apart.
    pub limit_keys: usize,
    /// Shedding; `None` is off.
    pub shedding: Option<Shedding>,
}

/// Access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Which calls.
    pub mode: AccessLogMode,
    /// How.
    pub format: AccessLogFormat,
    /// Of how many successful calls one is written; at least 1.
    pub sample: u32,
    /// File; standard output if `None`.
    pub file: Option<PathBuf>,
}
