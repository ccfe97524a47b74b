//! `services`: how instances are found, spoken to, balanced and watched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use posthouse_base::config::Path;
use rustls::pki_types::ServerName as TlsName;

use super::{Check, value};
use crate::config::model::{
    Circuit, Ejection, HashKey, Health, HealthKind, Instance, Service, ServiceName, ServiceTls,
};
use crate::config::raw::{self, Balance, Protocol};

/// The largest weight: sums of many stay far within their type.
const LARGEST_WEIGHT: u32 = 65_535;

/// A service that the file does not describe: its instances come from the registry.
pub(crate) fn from_registry(name: ServiceName) -> Service {
    const SECOND: Duration = Duration::from_secs(1);
    Service {
        name,
        protocol: Protocol::Http,
        instances: Vec::new(),
        balance: Balance::RoundRobin,
        hash: Vec::new(),
        health: None,
        connect_timeout: SECOND,
        header_timeout: 30 * SECOND,
        idle_timeout: 300 * SECOND,
        keep_alive: 30 * SECOND,
        silence: Some(Duration::from_millis(300)),
        ejection: Ejection { consecutive: 5, base: SECOND, max: 60 * SECOND, max_percent: 50 },
        circuit: Circuit {
            connections: 1024,
            pending: 1024,
            requests: 8192,
            failure_percent: None,
            open: 5 * SECOND,
        },
        slow_start: Duration::ZERO,
        tls: None,
    }
}

impl Check<'_> {
    pub(super) fn services(&mut self, written: BTreeMap<String, raw::Service>) {
        let all = Path::root().key("services");
        for (name, raw) in written {
            let path = all.key(&name);
            if !value::is_service_name(&name) {
                self.bad_service_name(&path, &name);
            }
            let name: ServiceName = name.into();
            let service = self.service(&path, Arc::clone(&name), &raw);
            self.from_file.push(Arc::clone(&name));
            self.services.insert(name, service);
        }
    }

    fn service(&mut self, path: &Path, name: ServiceName, raw: &raw::Service) -> Service {
        let default = from_registry(name);
        let timeouts = path.key("timeouts");
        let times = &raw.timeouts;
        Service {
            protocol: raw.protocol,
            instances: self.instances(&path.key("instances"), &raw.instances),
            balance: raw.balance,
            hash: self.hash_keys(path, raw),
            health: raw.health.as_ref().and_then(|raw| self.health(&path.key("health"), raw)),
            connect_timeout: self.time(
                &timeouts.key("connect"),
                times.connect,
                default.connect_timeout,
            ),
            header_timeout: self.time(
                &timeouts.key("header"),
                times.header,
                default.header_timeout,
            ),
            idle_timeout: self.time(&timeouts.key("idle"), times.idle, default.idle_timeout),
            keep_alive: times.keep_alive.map_or(default.keep_alive, |span| span.0),
            silence: Self::time_or_off(times.silence, default.silence.unwrap_or_default()),
            ejection: self.ejection(&path.key("ejection"), &raw.ejection, default.ejection),
            circuit: self.circuit(&path.key("circuit"), &raw.circuit, default.circuit),
            slow_start: raw.slow_start.map_or(Duration::ZERO, |span| span.0),
            tls: self.service_tls(path, raw),
            name: default.name,
        }
    }

    fn instances(&mut self, path: &Path, written: &[raw::Instance]) -> Vec<Instance> {
        let mut instances: Vec<Instance> = Vec::with_capacity(written.len());
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, raw) in written.iter().enumerate() {
            let path = path.index(index);
            let weight = raw.weight;
            let weight = self.number(&path.key("weight"), weight, 1, &(0..=LARGEST_WEIGHT));
            let path = path.key("address");
            let Some((host, port)) = value::host_and_port(&raw.address) else {
                let help = if raw.address.contains("://") {
                    "write it without the scheme; `protocol` says how it is spoken to"
                } else {
                    "write `HOST:PORT`, an IPv6 address in brackets"
                };
                self.error_with_help(&path, format!("`{}` is no address", raw.address), help);
                continue;
            };
            if port == 0 {
                self.error(&path, "an instance has no port 0");
            }
            if let Some(first) = seen.insert(&raw.address, index) {
                self.error(&path, format!("instances[{first}] has the same address"));
            }
            instances.push(Instance { host: host.to_owned(), port, weight });
        }
        if !instances.is_empty() && instances.iter().all(|instance| instance.weight == 0) {
            self.report.warning(path, "every instance has weight 0, so none takes calls");
        }
        instances
    }

    fn hash_keys(&mut self, path: &Path, raw: &raw::Service) -> Vec<HashKey> {
        let path = path.key("hash");
        let Some(hash) = &raw.hash else {
            return match raw.balance {
                Balance::Hash => vec![HashKey::ClientAddress],
                _ => Vec::new(),
            };
        };
        if raw.balance != Balance::Hash {
            self.report
                .warning(&path, "`hash` has no effect without `balance: hash`")
                .help("add `balance: hash`");
        }
        let mut keys = Vec::new();
        if let Some(name) = &hash.header {
            keys.extend(self.header_name(&path.key("header"), name).map(HashKey::Header));
        }
        if let Some(name) = &hash.cookie {
            if crate::http::chars::is_token(name.as_bytes()) {
                keys.push(HashKey::Cookie(name.clone()));
            } else {
                self.error(&path.key("cookie"), format!("`{name}` is no name of a cookie"));
            }
        }
        if hash.client_address {
            keys.push(HashKey::ClientAddress);
        }
        if hash == &raw::HashKey::default() {
            self.error_with_help(
                &path,
                "nothing to hash",
                "give `header`, `cookie` or `client_address: true`",
            );
        }
        keys
    }

    fn health(&mut self, path: &Path, raw: &raw::Health) -> Option<Health> {
        let tcp = raw.tcp.unwrap_or(false);
        let kind = match (&raw.http, tcp, &raw.grpc) {
            (Some(http), false, None) => self.http_health(path, http, &raw.status),
            (None, true, None) => Some(HealthKind::Tcp),
            (None, false, Some(grpc)) => Some(HealthKind::Grpc { service: grpc.clone() }),
            _ => {
                self.error_with_help(
                    path,
                    "exactly one of `http`, `tcp` and `grpc` is wanted",
                    "for example `{ http: /healthz }` or `{ tcp: true }`",
                );
                None
            }
        };
        if raw.http.is_none() && !raw.status.is_empty() {
            self.error(&path.key("status"), "`status` belongs to an `http` check");
        }
        let seconds = Duration::from_secs;
        let interval = self.time(&path.key("interval"), raw.interval, seconds(2));
        let timeout = self.time(&path.key("timeout"), raw.timeout, seconds(1));
        let rise = self.number(&path.key("rise"), raw.rise, 1, &(1..=100));
        let fall = self.number(&path.key("fall"), raw.fall, 2, &(1..=100));
        kind.map(|kind| Health { kind, interval, timeout, rise, fall })
    }

    fn http_health(&mut self, path: &Path, http: &str, statuses: &[u16]) -> Option<HealthKind> {
        let status_path = path.key("status");
        let mut checked = Vec::with_capacity(statuses.len());
        for (index, status) in statuses.iter().enumerate() {
            checked.extend(self.status(&status_path.index(index), *status, &(200..=599)));
        }
        let sound = http.starts_with('/')
            && !http.contains('#')
            && http.bytes().all(|byte| byte.is_ascii_graphic());
        if !sound {
            self.error_with_help(
                &path.key("http"),
                format!("`{http}` is no path"),
                "write a path with a leading slash, like `/healthz`",
            );
            return None;
        }
        Some(HealthKind::Http { path: http.to_owned(), statuses: checked })
    }

    fn ejection(&mut self, path: &Path, raw: &raw::Ejection, default: Ejection) -> Ejection {
        let base = self.time(&path.key("base"), raw.base, default.base);
        let max = self.time(&path.key("max"), raw.max, default.max.max(base));
        if max < base {
            self.error(&path.key("max"), "the longest time out is shorter than the first");
        }
        let percent = path.key("max_percent");
        Ejection {
            consecutive: raw.consecutive.unwrap_or(default.consecutive),
            base,
            max,
            max_percent: self.number(&percent, raw.max_percent, default.max_percent, &(0..=100)),
        }
    }

    fn circuit(&mut self, path: &Path, raw: &raw::Circuit, default: Circuit) -> Circuit {
        let mut limit = |name: &str, written, default, least| {
            self.number(&path.key(name), written, default, &(least..=u32::MAX))
        };
        let connections = limit("connections", raw.connections, default.connections, 1);
        let pending = limit("pending", raw.pending, default.pending, 0);
        let requests = limit("requests", raw.requests, default.requests, 1);
        let percent_path = path.key("failure_percent");
        let failure_percent = raw
            .failure_percent
            .map(|percent| self.number(&percent_path, Some(percent), 50, &(1..=100)));
        let open = self.time(&path.key("open"), raw.open, default.open);
        Circuit { connections, pending, requests, failure_percent, open }
    }

    fn service_tls(&mut self, path: &Path, raw: &raw::Service) -> Option<ServiceTls> {
        let path = path.key("tls");
        let instead = match raw.protocol {
            Protocol::Https | Protocol::H2 | Protocol::Grpc => None,
            Protocol::Http => Some("write `protocol: https`"),
            Protocol::H2c => Some("write `protocol: h2`"),
            Protocol::Tcp => Some("connections are forwarded as they come; take `tls` away"),
        };
        if let (Some(help), true) = (instead, raw.tls.is_some()) {
            self.error_with_help(&path, "this protocol speaks without TLS", help);
        }
        let always = matches!(raw.protocol, Protocol::Https | Protocol::H2);
        let Some(tls) = &raw.tls else { return always.then(ServiceTls::default) };
        if let Some(name) = &tls.server_name
            && TlsName::try_from(name.as_str()).is_err()
        {
            self.error(&path.key("server_name"), format!("`{name}` is no name of a server"));
        }
        if tls.insecure {
            let warning = "any certificate is accepted: whoever is in between can read all";
            self.report.warning(&path.key("insecure"), warning);
        }
        let ca = tls.ca.as_ref().map(|file| self.authorities(&path.key("ca"), file));
        Some(ServiceTls { ca, server_name: tls.server_name.clone(), insecure: tls.insecure })
    }
}
