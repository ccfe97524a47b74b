//! The gateway's sections of the configuration file as they are written. The doc comments here are
//! the reference that users read: `posthouse schema` and `docs/reference` are made from them.

pub mod guard;
mod limits;

use std::collections::BTreeMap;

use posthouse_base::config::{Size, Span};
use schemars::JsonSchema;
use serde::Deserialize;

pub use guard::Guard;
pub use limits::{Limit, Plan, Priority, Shedding};

/// The sections that the gateway reads.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// Addresses on which calls arrive.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// Services that are known by the file, by name. A service of the same name in the registry is
    /// hidden by it.
    #[serde(default)]
    pub services: BTreeMap<String, Service>,
    /// Which calls go where. The most specific route wins, whatever the order in the file.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Who may call, where a route does not say otherwise.
    #[serde(default)]
    pub guard: Guard,
    /// What consumers may do, by the name of their plan.
    #[serde(default)]
    pub plans: BTreeMap<String, Plan>,
    /// Settings of the gateway as a whole.
    #[serde(default)]
    pub gateway: Engine,
}

/// An address on which calls arrive.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// `HOST:PORT` to listen on; port 0 takes a free one.
    pub address: String,
    /// Terminates TLS on this address. HTTP/2 is offered by ALPN.
    pub tls: Option<ListenerTls>,
    /// Also forwards `Host: NAME.service.consul` to the service of that name without a route.
    #[serde(default)]
    pub names: bool,
    /// Forwards whole TCP connections to this service (of protocol `tcp`) instead of calls.
    pub service: Option<String>,
}

/// How a listener terminates TLS.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificates, chosen by the name that the client asks for (SNI); the first is the default.
    /// The files are read again when they change.
    pub certificates: Vec<Certificate>,
    /// Asks clients for certificates of their own (mTLS).
    pub client: Option<guard::ClientCertificates>,
}

/// A certificate chain and its private key.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM file with the certificate chain, leaf first.
    pub cert: String,
    /// PEM file with the private key.
    pub key: String,
}

/// A service: instances that do the same work, and how they are called.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// How the instances are spoken to.
    #[serde(default)]
    pub protocol: Protocol,
    /// Where the instances are. Leave it out for a service whose instances come from the registry.
    #[serde(default)]
    pub instances: Vec<Instance>,
    /// How an instance is chosen for a call.
    #[serde(default)]
    pub balance: Balance,
    /// What `hash` balancing hashes.
    pub hash: Option<HashKey>,
    /// Active health checks; none if left out (instances of the registry bring their own).
    pub health: Option<Health>,
    /// How long each step of a call may take.
    #[serde(default)]
    pub timeouts: ServiceTimeouts,
    /// When an instance is left out for a while because its answers fail.
    #[serde(default)]
    pub ejection: Ejection,
    /// Limits beyond which calls are refused with 503 instead of piling up.
    #[serde(default)]
    pub circuit: Circuit,
    /// The time in which a new or returning instance is brought up to its full share
    /// (default 0s: off).
    pub slow_start: Option<Span>,
    /// TLS towards the instances, for the protocols `https`, `h2` and `grpc` (with `tls: {}`).
    pub tls: Option<ServiceTls>,
}

/// How instances are spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
    /// HTTP/2 over TLS.
    H2,
    /// gRPC: HTTP/2, over TLS when `tls` is given; `grpc-status` counts as the result of a call.
    Grpc,
    /// Whole TCP connections, from a listener that names this service.
    Tcp,
}

/// An instance of a service.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// `HOST:PORT`. A host name is resolved again as it changes, each address being an instance.
    pub address: String,
    /// The share of calls relative to the other instances; 0 takes the instance out of rotation.
    pub weight: Option<u32>,
}

/// How an instance is chosen for a call. All respect weights, and none lets a healthy instance starve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// In turn, smoothly interleaved by weight.
    #[default]
    RoundRobin,
    /// At random, by weight.
    Random,
    /// The one with the fewest calls under way for its weight.
    LeastRequests,
    /// The better of two random ones by recent latency and calls under way.
    PeakEwma,
    /// Always the same one for the same `hash` key, moving as few keys as possible on changes.
    Hash,
}

/// What `hash` balancing hashes; the first that is present in a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HashKey {
    /// The value of this request header.
    pub header: Option<String>,
    /// The value of this cookie.
    pub cookie: Option<String>,
    /// The client's address; used as well when the others are absent.
    #[serde(default)]
    pub client_address: bool,
}

/// Active health checks. Exactly one of `http`, `tcp` and `grpc` is given.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The path to GET; any 2xx answer (or `status`) is healthy.
    pub http: Option<String>,
    /// Only opens a connection.
    pub tcp: Option<bool>,
    /// The service name to ask for by the gRPC health protocol; "" for the server as a whole.
    pub grpc: Option<String>,
    /// The statuses that count as healthy for `http`; every 2xx if left out.
    #[serde(default)]
    pub status: Vec<u16>,
    /// Time between checks of an instance (default 2s).
    pub interval: Option<Span>,
    /// How long a check may take (default 1s).
    pub timeout: Option<Span>,
    /// Good checks in a row that bring an instance back (default 1).
    pub rise: Option<u32>,
    /// Bad checks in a row that take an instance out (default 2).
    pub fall: Option<u32>,
}

/// How long each step of a call to a service may take.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceTimeouts {
    /// Opening a connection, TLS included (default 1s).
    pub connect: Option<Span>,
    /// From the request sent to the response's header (default 30s).
    pub header: Option<Span>,
    /// No byte in either direction while a body or stream is under way (default 5m).
    pub idle: Option<Span>,
    /// How long an unused connection to an instance is kept (default 30s).
    pub keep_alive: Option<Span>,
    /// An instance that owes answers and has been silent for this long, while it is usually quicker,
    /// gets no new calls, and its safe calls are asked of another as well (default 300ms; 0s is off).
    pub silence: Option<Span>,
}

/// When an instance is left out for a while because its answers fail (passive health).
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ejection {
    /// Failures in a row that take an instance out: refused, reset, timed out, 502, 503, 504 or the
    /// gRPC statuses UNAVAILABLE and INTERNAL (default 5; 0 is off). A refused connection counts 5.
    pub consecutive: Option<u32>,
    /// How long it stays out the first time, doubling each time in a row (default 1s).
    pub base: Option<Span>,
    /// The longest it stays out (default 1m).
    pub max: Option<Span>,
    /// The largest part of the instances that may be out at once, in per cent (default 50); beyond
    /// it the failing ones are used again, since something else must be wrong.
    pub max_percent: Option<u32>,
}

/// Limits beyond which calls to a service are refused with 503 (circuit breaking).
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Circuit {
    /// Connections to one instance (default 1024).
    pub connections: Option<u32>,
    /// Calls that wait for a connection (default 1024).
    pub pending: Option<u32>,
    /// Calls under way (default 8192).
    pub requests: Option<u32>,
    /// Failed calls in per cent, over the last 10s and at least 20 calls, that open the circuit;
    /// off if left out.
    pub failure_percent: Option<u32>,
    /// How long an open circuit refuses before it tries again (default 5s).
    pub open: Option<Span>,
}

/// TLS towards the instances of a service.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceTls {
    /// PEM file with the authorities to trust instead of the system's.
    pub ca: Option<String>,
    /// The name that the certificate must carry, when it is not the instance's host name.
    pub server_name: Option<String>,
    /// Accepts any certificate. For trials only.
    #[serde(default)]
    pub insecure: bool,
}

/// Which calls go where. Exactly one of `service`, `split`, `redirect` and `respond` is given.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The name in metrics, logs and the admin API; made from the match if left out.
    pub name: Option<String>,
    /// Which calls are meant; every call if left out.
    #[serde(default, rename = "match")]
    pub matching: Match,
    /// The service that answers: from `services`, or any name in the registry.
    pub service: Option<String>,
    /// Several services that share the calls by weight.
    #[serde(default)]
    pub split: Vec<Split>,
    /// Answers with a redirect.
    pub redirect: Option<Redirect>,
    /// Answers with a fixed response.
    pub respond: Option<Respond>,
    /// What is changed in the call before it is forwarded.
    #[serde(default)]
    pub rewrite: Rewrite,
    /// Changes to the response's headers.
    #[serde(default)]
    pub response_headers: HeaderEdits,
    /// From the request's header to the response's header, over all tries, and to the end of the
    /// response when its length is known (default 60s; 0s is off). Streams are not cut by it.
    pub timeout: Option<Span>,
    /// Lets `timeout` cut streams too: bodies of unknown length, upgraded connections, gRPC streams.
    #[serde(default)]
    pub timeout_streams: bool,
    /// When and how often a failed call is tried again.
    #[serde(default)]
    pub retries: Retries,
    /// The largest request body; larger ones are refused with 413. No limit if left out.
    pub max_body: Option<Size>,
    /// Who may call.
    pub guard: Option<Guard>,
    /// The version of an API that its calls belong to, as `NAME@VERSION`: for metrics, and for what is
    /// known of the API.
    pub api: Option<String>,
    /// How fast, and how much. All of them hold, and those of the consumer's plan beside them.
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// What goes first when the service is overloaded and `gateway.shedding` is on.
    #[serde(default)]
    pub priority: Priority,
}

/// Which calls a route means: all conditions that are given must hold.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Host without port: `shop.example`, or `*.shop.example` for every name below it.
    pub host: Option<String>,
    /// Path: `/a/b` exactly; `{name}` is one segment and `{*name}` the rest (also none);
    /// `~ ^/a/[0-9]+$` is a regular expression that is searched in the path.
    pub path: Option<String>,
    /// Methods; all if left out. GET includes HEAD.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Headers and their values: exactly, `~ …` by regular expression, `*` for any value. With `!`
    /// before it none of the values may be so: `!2`, `!~ ^(1|2)$`; `!` alone for no such header.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Query parameters and their values, written like those of headers.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
}

/// One of several services that share a route's calls.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The service.
    pub service: String,
    /// Its share relative to the others.
    pub weight: u32,
}

/// A redirect. What is left out is taken over from the request.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308 (default 308).
    pub status: Option<u16>,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host, with a port if it is not the scheme's.
    pub host: Option<String>,
    /// Path; `{name}` stands for what the match's template caught.
    pub path: Option<String>,
}

/// A fixed response.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// The status code (default 200).
    pub status: Option<u16>,
    /// The body.
    #[serde(default)]
    pub body: String,
    /// Its media type (default `text/plain; charset=utf-8`).
    pub content_type: Option<String>,
}

/// What is changed in a call before it is forwarded.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// Takes this prefix (whole segments) from the path.
    pub strip_prefix: Option<String>,
    /// Replaces the path; `{name}` stands for what the match's template caught.
    pub path: Option<String>,
    /// Replaces the `Host` header; the client's is kept if left out.
    pub host: Option<String>,
    /// Changes to the request's headers.
    #[serde(default)]
    pub headers: HeaderEdits,
}

/// Changes to headers, carried out in the order `remove`, `set`, `add`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderEdits {
    /// Replaces all values of a header.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Adds a value beside those that are there.
    #[serde(default)]
    pub add: BTreeMap<String, String>,
    /// Takes headers out.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// When and how often a failed call is tried again, always on another instance if there is one.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retries {
    /// Tries after the first (default 2; 0 is off, except for refused connections).
    pub attempts: Option<u32>,
    /// How long one try may take to the response's header; bounded by the other timeouts only if
    /// left out.
    pub per_try: Option<Span>,
    /// Response statuses that are tried again (default [503]).
    pub statuses: Option<Vec<u16>>,
    /// gRPC statuses (numbers) that are tried again while no message has come back (default [14]).
    pub grpc_statuses: Option<Vec<u16>>,
    /// Declares calls of this route repeatable whatever their method. Otherwise only GET, HEAD,
    /// OPTIONS, TRACE, PUT and DELETE are tried again once an instance may have seen them.
    #[serde(default)]
    pub idempotent: bool,
    /// Retries may add this many per cent to a service's calls (default 20).
    pub budget_percent: Option<u32>,
    /// Retries a second that are always allowed (default 10).
    pub budget_floor: Option<u32>,
    /// The pause before the second retry; doubles for each further one, with jitter (default 25ms).
    /// The first retry is made at once.
    pub backoff: Option<Span>,
    /// The longest pause (default 250ms).
    pub max_backoff: Option<Span>,
    /// Request bodies up to this size are kept so that a retry can send them again (default 64KiB).
    pub buffer: Option<Size>,
}

/// Settings of the gateway as a whole.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// Threads that carry calls; one per core if left out. Takes effect at the next start.
    pub threads: Option<usize>,
    /// Addresses of proxies in front whose `X-Forwarded-*` and `Forwarded` are believed: `10.0.0.0/8`.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    /// Which headers tell the instances about the client.
    #[serde(default)]
    pub forwarded: Forwarded,
    /// Limits on what clients may send.
    #[serde(default)]
    pub limits: EngineLimits,
    /// How long clients may take.
    #[serde(default)]
    pub timeouts: EngineTimeouts,
    /// One line for each call.
    #[serde(default)]
    pub access_log: AccessLog,
    /// Refuses the less important calls when a service is overloaded, so that the others are answered
    /// in time. Off if left out.
    pub shedding: Option<Shedding>,
}

/// Which headers tell the instances about the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Forwarded {
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// Both.
    Both,
    /// Neither; what clients send is taken out.
    Off,
}

/// Limits on what clients may send.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineLimits {
    /// Length of the request target; beyond it 414 (default 8KiB).
    pub uri: Option<Size>,
    /// All header lines of a request or response together; beyond it 431 or 502 (default 32KiB).
    pub head: Option<Size>,
    /// Number of header lines; beyond it 431 or 502 (default 100).
    pub fields: Option<usize>,
    /// Connections from clients; further ones wait in the kernel (default 16384).
    pub connections: Option<usize>,
    /// Calls at once on one HTTP/2 connection (default 256).
    pub streams: Option<u32>,
    /// Keys that limits of routes and plans count apart, before some are counted together: those of
    /// quotas, and those of all others, that have not been whole again since (default 1000000). Each
    /// takes at most 55 bytes, of quotas about 200, and only once it is needed.
    pub keys: Option<usize>,
}

/// How long clients may take.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineTimeouts {
    /// From the first byte of a request to the end of its header, and the TLS handshake (default 10s).
    pub header: Option<Span>,
    /// Between two requests of a connection (default 75s).
    pub keep_alive: Option<Span>,
    /// No byte of a request body, or none taken of a response (default 60s).
    pub idle: Option<Span>,
    /// How long calls may go on after a shutdown began or their listener was removed (default 20s).
    pub drain: Option<Span>,
}

/// One line for each call.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// Which calls are written.
    #[serde(default)]
    pub mode: AccessLogMode,
    /// How they are written.
    #[serde(default)]
    pub format: AccessLogFormat,
    /// Of how many successful calls one is written with `sampled` (default 100).
    pub sample: Option<u32>,
    /// The file to append to; standard output if left out. Opened again on SIGHUP.
    pub file: Option<String>,
}

/// Which calls are written to the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccessLogMode {
    /// None.
    Off,
    /// Every failed call (5xx), and one of `sample` others.
    #[default]
    Sampled,
    /// Every call.
    All,
}

/// How calls are written to the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccessLogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object on a line.
    Json,
}
