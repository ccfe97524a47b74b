//! The `registry:` section of the configuration: as written ([`Raw`]), and as checked ([`Config`]).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use posthouse_base::config::{Path, Report, Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::state;

/// Where services register, and are found, over the Consul HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Registry")]
pub struct Raw {
    /// The address of the Consul HTTP API; port 0 takes a free one.
    pub address: String,
    /// The name of this node, as Consul's clients see it.
    pub node: String,
    /// The name of the datacenter; requests for another one are refused.
    pub datacenter: String,
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
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:8500".into(),
            node: "posthouse-1".into(),
            datacenter: "dc1".into(),
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
            watchers: 20_000,
            connections: 30_000,
            body: Size(512 << 10),
            header_timeout: Span(Duration::from_secs(120)),
            body_timeout: Span(Duration::from_secs(30)),
            queue: 1024,
            probes: 256,
            check_interval: Span(Duration::from_secs(1)),
        }
    }
}

/// The checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) address: SocketAddr,
    pub(crate) node: String,
    pub(crate) datacenter: String,
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
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if name.is_empty() || name.len() > 63 || !name.bytes().all(fits) {
                let message = format!("`{name}` is not a name that DNS can carry");
                let help = "use 1 to 63 letters, digits, `-` and `_`";
                report.error(&path.key(key), message).help(help);
            }
        }
        check_limits(&raw.limits, &path.key("limits"), report);
        let mistaken = report.findings()[before..]
            .iter()
            .any(|finding| finding.severity == posthouse_base::config::Severity::Error);
        let address = address.ok().filter(|_| !mistaken)?;
        Some(Self {
            address,
            node: raw.node.clone(),
            datacenter: raw.datacenter.clone(),
            limits: raw.limits.clone(),
        })
    }

    /// The address to listen on, as configured.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) const fn state_limits(&self) -> state::Limits {
        let RawLimits { nodes, instances, checks, .. } = self.limits;
        state::Limits { nodes, instances, checks }
    }
}

impl Default for Config {
    fn default() -> Self {
        let Raw { node, datacenter, limits, .. } = Raw::default();
        Self { address: (Ipv4Addr::LOCALHOST, 8500).into(), node, datacenter, limits }
    }
}

fn check_limits(limits: &RawLimits, path: &Path, report: &mut Report) {
    let counts = [
        ("nodes", limits.nodes),
        ("instances", limits.instances),
        ("checks", limits.checks),
        ("watchers", limits.watchers),
        ("connections", limits.connections),
        ("queue", limits.queue),
        ("probes", limits.probes),
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
    let spans = [
        ("header_timeout", limits.header_timeout),
        ("body_timeout", limits.body_timeout),
        ("check_interval", limits.check_interval),
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
    fn a_warning_does_not_refuse() {
        let mut raw = Raw::default();
        raw.limits.connections = raw.limits.watchers;
        let (config, paths) = check(&raw);
        assert!(config.is_some());
        assert_eq!(paths, ["registry.limits.watchers"]);
    }
}
