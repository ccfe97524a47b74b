//! The `registry:` section of the configuration: as written ([`Raw`]), and as checked ([`Config`]).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use posthouse_base::config::{Path, Report, Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::{Access, RawTokens};
use crate::engine::{EngineAddress, Scope};
use crate::state;

/// Where the DNS interface is, unless the configuration says otherwise.
const DNS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8600);

/// Where services register over the Consul HTTP API, and are found over it and over DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Registry")]
pub struct Raw {
    /// The address of the Consul HTTP API; port 0 takes a free one.
    pub address: String,
    /// The address of the DNS interface, for UDP and TCP; port 0 takes one that is free for both.
    /// `off` for none. Without it `127.0.0.1:8600`, or a free port when `address` takes one.
    pub dns: Option<String>,
    /// The domain that DNS answers for: `web.service.consul`.
    pub domain: String,
    /// How long askers may keep what DNS answers. Denials are never to be kept.
    pub dns_ttl: Span,
    /// The name of this node, as Consul's clients see it.
    pub node: String,
    /// The name of the datacenter; requests for another one are refused.
    pub datacenter: String,
    /// Where names come from, when they are not our own: `consul://HOST:8500`, another Posthouse or
    /// Consul. `address` then passes requests on to it.
    pub engine: Option<String>,
    /// The token that the engine wants (`X-Consul-Token`). Better not written here but filled in:
    /// `${env:NAME}`.
    pub token: Option<String>,
    /// Who may do what over the Consul HTTP API. Without it everybody may do everything.
    pub tokens: Option<RawTokens>,
    /// How much the registry takes on.
    pub limits: RawLimits,
}

/// How much the registry takes on. At a limit a request is refused, with what is said for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "RegistryLimits")]
pub struct RawLimits {
    /// Nodes; more are refused (429).
    pub nodes: usize,
    /// Instances of all services; more are refused (429).
    pub instances: usize,
    /// Checks of all instances and nodes; more are refused (429).
    pub checks: usize,
    /// Keys; more are refused (429).
    pub kv_keys: usize,
    /// All keys and values together; more are refused (429).
    pub kv_bytes: Size,
    /// A key's value, and a transaction; a longer one is refused (413).
    pub kv_value: Size,
    /// Sessions; more are refused (429).
    pub sessions: usize,
    /// Blocking reads that wait at the same time; more are refused (429).
    pub watchers: usize,
    /// Connections; one more is answered 503 and closed.
    pub connections: usize,
    /// A request's body; a longer one is refused (413).
    pub body: Size,
    /// How long a client may take to send a request's headers, and how long it may keep a
    /// connection without sending a request.
    pub header_timeout: Span,
    /// How long a client may take to send a request's body; then it is refused (408).
    pub body_timeout: Span,
    /// Commands that wait to be carried out; at this many, further requests wait.
    pub queue: usize,
    /// Probes at the same time; further ones wait their turn.
    pub probes: usize,
    /// The shortest interval of a check; a shorter one is raised to it.
    pub check_interval: Span,
    /// Blocking reads of an engine's services at the same time; further ones have short turns.
    /// Consul allows one client 200 connections.
    pub engine_watches: usize,
    /// Records in an answer over DNS; of more instances a random part is told.
    pub dns_answers: usize,
    /// Records in an answer over UDP, where room for fewer may be; when some are left out, the
    /// asker is told to come again over TCP.
    pub dns_udp_answers: usize,
    /// DNS connections over TCP; one more is closed at once.
    pub dns_connections: usize,
    /// How long a DNS connection may take to bring a query, or to take an answer; then it is
    /// closed.
    pub dns_timeout: Span,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:8500".into(),
            dns: None,
            domain: "consul".into(),
            dns_ttl: Span(Duration::ZERO),
            node: "posthouse-1".into(),
            datacenter: "dc1".into(),
            engine: None,
            token: None,
            tokens: None,
            limits: RawLimits::default(),
        }
    }
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            nodes: 10_000,
            instances: 100_000,
            checks: 200_000,
            kv_keys: 100_000,
            kv_bytes: Size(64 << 20),
            kv_value: Size(512 << 10),
            sessions: 50_000,
            watchers: 20_000,
            connections: 30_000,
            body: Size(512 << 10),
            header_timeout: Span(Duration::from_secs(120)),
            body_timeout: Span(Duration::from_secs(30)),
            queue: 1024,
            probes: 256,
            check_interval: Span(Duration::from_secs(1)),
            engine_watches: 150,
            dns_answers: 1000,
            dns_udp_answers: 64,
            dns_connections: 1000,
            dns_timeout: Span(Duration::from_secs(10)),
        }
    }
}

/// The checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) address: SocketAddr,
    pub(crate) dns: Option<SocketAddr>,
    /// In lower case and without a dot at its end.
    pub(crate) domain: String,
    pub(crate) dns_ttl: Duration,
    pub(crate) node: String,
    pub(crate) datacenter: String,
    engine: Option<EngineAddress>,
    /// The file that keeps what was last known of an engine.
    keep: Option<std::path::PathBuf>,
    access: Access,
    pub(crate) limits: RawLimits,
}

impl Config {
    /// Checks `raw`, which stands at `path`, and notes every mistake in `report`. `None` when there
    /// is a mistake for which it must be refused.
    #[must_use]
    pub fn check(raw: &Raw, path: &Path, report: &mut Report) -> Option<Self> {
        let before = report.findings().len();
        let address = raw.address.parse::<SocketAddr>();
        if address.is_err() {
            let message = format!("`{}` is not an IP address with a port", raw.address);
            report
                .error(&path.key("address"), message)
                .help("write it like `127.0.0.1:8500` or `[::1]:8500`");
        }
        for (key, name) in [("node", &raw.node), ("datacenter", &raw.datacenter)] {
            if !is_label(name) {
                let message = format!("`{name}` is not a name that DNS can carry");
                let help = "use 1 to 63 letters, digits, `-` and `_`";
                report.error(&path.key(key), message).help(help);
            }
        }
        let dns = check_dns(raw, address.as_ref().ok(), path, report);
        let domain = check_domain(&raw.domain, &path.key("domain"), report);
        let engine = check_engine(raw, path, report);
        let access = Access::check(raw.tokens.as_ref(), &path.key("tokens"), report);
        check_limits(&raw.limits, &path.key("limits"), report);
        let mistaken = report.findings()[before..]
            .iter()
            .any(|finding| finding.severity == posthouse_base::config::Severity::Error);
        let address = address.ok().filter(|_| !mistaken)?;
        Some(Self {
            address,
            dns,
            domain,
            dns_ttl: raw.dns_ttl.0,
            node: raw.node.clone(),
            datacenter: raw.datacenter.clone(),
            engine,
            keep: None,
            access,
            limits: raw.limits.clone(),
        })
    }

    /// The address to listen on, as configured.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the DNS interface, as configured, if it is on.
    #[must_use]
    pub const fn dns(&self) -> Option<SocketAddr> {
        self.dns
    }

    /// Where names come from, when they are not our own.
    #[must_use]
    pub const fn engine(&self) -> Option<&EngineAddress> {
        self.engine.as_ref()
    }

    /// What is followed of an engine: all of it.
    pub(crate) fn scope(&self) -> Scope {
        let keys = Some(crate::engine::FOLLOWED_KEYS.to_owned());
        Scope { service: None, keys, keep: self.keep.clone() }
    }

    /// The same, with a file for what was last known of an engine in `folder`.
    #[must_use]
    pub fn keeping_in(mut self, folder: &std::path::Path) -> Self {
        self.keep = Some(folder.join("engine-names.json"));
        self
    }

    /// Who may do what.
    pub(crate) const fn access(&self) -> &Access {
        &self.access
    }

    pub(crate) const fn state_limits(&self) -> state::Limits {
        let RawLimits { nodes, instances, checks, kv_keys, kv_bytes, sessions, .. } = self.limits;
        let (keys, key_bytes) = (kv_keys, kv_bytes.0);
        state::Limits { nodes, instances, checks, keys, key_bytes, sessions }
    }
}

impl Default for Config {
    fn default() -> Self {
        let Raw { domain, dns_ttl: Span(dns_ttl), node, datacenter, limits, .. } = Raw::default();
        let address = (Ipv4Addr::LOCALHOST, 8500).into();
        let access = Access::default();
        Self {
            address,
            dns: Some(DNS),
            domain,
            dns_ttl,
            node,
            datacenter,
            engine: None,
            keep: None,
            access,
            limits,
        }
    }
}

/// The address of the DNS interface: as written, or what follows from the other one.
fn check_dns(
    raw: &Raw,
    address: Option<&SocketAddr>,
    path: &Path,
    report: &mut Report,
) -> Option<SocketAddr> {
    let Some(written) = raw.dns.as_deref() else {
        let takes_a_free_port = address.is_some_and(|address| address.port() == 0);
        return Some(if takes_a_free_port { SocketAddr::new(DNS.ip(), 0) } else { DNS });
    };
    if written == "off" {
        return None;
    }
    let address = written.parse::<SocketAddr>();
    if address.is_err() {
        let message = format!("`{written}` is not an IP address with a port");
        let help = "write it like `127.0.0.1:8600` or `[::1]:8600`, or `off`";
        report.error(&path.key("dns"), message).help(help);
    }
    address.ok()
}

/// The engine, if one is named rightly.
fn check_engine(raw: &Raw, path: &Path, report: &mut Report) -> Option<EngineAddress> {
    let Some(written) = raw.engine.as_deref() else {
        if raw.token.is_some() {
            let help = "name the `engine` that wants it, or see `tokens` for clients of this one";
            report.warning(&path.key("token"), "a token for an engine, and no engine").help(help);
        }
        return None;
    };
    if raw.tokens.is_some() {
        let message = "requests are passed on to the engine, which has tokens of its own";
        report.warning(&path.key("tokens"), message);
    }
    let address = EngineAddress::parse(written).inspect_err(|message| {
        let help = "another Posthouse, or Consul; without `engine` names are kept here";
        report.error(&path.key("engine"), message.clone()).help(help);
    });
    let with_token = |address: EngineAddress| match raw.token.as_deref() {
        Some(token) => address.with_token(token).inspect_err(|message| {
            report.error(&path.key("token"), message.clone());
        }),
        None => Ok(address),
    };
    address.and_then(with_token).ok()
}

/// The domain as it is compared.
fn check_domain(written: &str, path: &Path, report: &mut Report) -> String {
    let domain = written.trim_end_matches('.').to_ascii_lowercase();
    // Names of services, tags and datacenters come before it, in 255 bytes.
    if domain.len() > 100 || !domain.split('.').all(is_label) {
        let message = format!("`{written}` is not a domain");
        let help = "use a word such as `consul`, or several with dots between them";
        report.error(path, message).help(help);
    }
    domain
}

/// Whether DNS can carry this as one word of a name.
fn is_label(label: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=63).contains(&label.len()) && label.bytes().all(fits)
}

fn check_limits(limits: &RawLimits, path: &Path, report: &mut Report) {
    let counts = [
        ("nodes", limits.nodes),
        ("instances", limits.instances),
        ("checks", limits.checks),
        ("kv_keys", limits.kv_keys),
        ("sessions", limits.sessions),
        ("watchers", limits.watchers),
        ("connections", limits.connections),
        ("queue", limits.queue),
        ("probes", limits.probes),
        ("engine_watches", limits.engine_watches),
        ("dns_answers", limits.dns_answers),
        ("dns_udp_answers", limits.dns_udp_answers),
        ("dns_connections", limits.dns_connections),
    ];
    for (key, _) in counts.iter().filter(|(_, count)| *count == 0) {
        report.error(&path.key(key), "a limit of 0 would refuse everything");
    }
    if limits.watchers >= limits.connections {
        report
            .warning(&path.key("watchers"), "watchers alone may use up all connections")
            .help("each watcher keeps a connection: let `connections` be larger");
    }
    if limits.body.0 < 1024 {
        report.error(&path.key("body"), "a registration does not fit into less than 1KiB");
    }
    for (key, size) in [("kv_bytes", limits.kv_bytes), ("kv_value", limits.kv_value)] {
        if size.0 == 0 {
            report.error(&path.key(key), "a limit of 0 would refuse everything");
        }
    }
    let spans = [
        ("header_timeout", limits.header_timeout),
        ("body_timeout", limits.body_timeout),
        ("check_interval", limits.check_interval),
        ("dns_timeout", limits.dns_timeout),
    ];
    for (key, _) in spans.iter().filter(|(_, span)| span.0.is_zero()) {
        report.error(&path.key(key), "this time cannot be 0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &Raw) -> (Option<Config>, Vec<String>) {
        let mut report = Report::new();
        let config = Config::check(raw, &Path::root().key("registry"), &mut report);
        let paths = report.findings().iter().map(|finding| finding.path.to_string());
        (config, paths.collect())
    }

    #[test]
    fn the_defaults_are_right_and_the_same_in_both_forms() {
        assert_eq!(check(&Raw::default()), (Some(Config::default()), vec![]));
    }

    #[test]
    fn every_mistake_is_found_at_once() {
        let mut raw = Raw { address: "localhost".into(), node: "a.b".into(), ..Raw::default() };
        raw.limits.body = Size(0);
        raw.limits.probes = 0;
        raw.limits.check_interval = Span(Duration::ZERO);
        let (config, paths) = check(&raw);
        assert_eq!(config, None);
        assert_eq!(
            paths,
            [
                "registry.address",
                "registry.node",
                "registry.limits.probes",
                "registry.limits.body",
                "registry.limits.check_interval"
            ]
        );
    }

    #[test]
    fn dns_goes_where_the_other_interface_goes_unless_told() {
        let dns = |address: &str, dns: Option<&str>| {
            let dns = dns.map(Into::into);
            let raw = Raw { address: address.into(), dns, ..Raw::default() };
            check(&raw).0.expect("no mistakes").dns().map(|address| address.to_string())
        };
        assert_eq!(dns("127.0.0.1:8500", None).as_deref(), Some("127.0.0.1:8600"));
        assert_eq!(dns("127.0.0.1:0", None).as_deref(), Some("127.0.0.1:0"));
        assert_eq!(dns("10.0.0.1:8500", None).as_deref(), Some("127.0.0.1:8600"));
        assert_eq!(dns("127.0.0.1:0", Some("[::1]:53")).as_deref(), Some("[::1]:53"));
        assert_eq!(dns("127.0.0.1:0", Some("off")), None);
        let wrong = Raw { dns: Some("8600".into()), domain: "a..b".into(), ..Raw::default() };
        assert_eq!(check(&wrong).1, ["registry.dns", "registry.domain"]);
        let shouted = Raw { domain: "Svc.Example.".into(), ..Raw::default() };
        assert_eq!(check(&shouted).0.expect("no mistakes").domain, "svc.example");
    }

    #[test]
    fn a_warning_does_not_refuse() {
        let mut raw = Raw::default();
        raw.limits.connections = raw.limits.watchers;
        let (config, paths) = check(&raw);
        assert!(config.is_some());
        assert_eq!(paths, ["registry.limits.watchers"]);
    }
}
