//! What the proxies are given to do: the cases of the comparison and the tables of services that
//! they need. Every instance is a loopback address of its own on the backend's one port, so ten
//! thousand of them are ten thousand addresses to each proxy, and one process behind them.

use std::path::Path;

use clap::ValueEnum;

/// One kind of work; each is a table in BENCHMARKS.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// HTTP/1.1 keep-alive, a body of 16 bytes, one service of four instances.
    Http1,
    /// The same with a body of 10 KiB.
    Body,
    /// HTTP/2 over TLS to the proxy, HTTP/1.1 behind it.
    H2,
    /// gRPC unary calls, HTTP/2 without TLS on both sides.
    Grpc,
    /// HTTP/1.1 over 10 routes, each to a service of its own with one instance.
    #[value(name = "routes-10")]
    Routes10,
    /// The same with 1,000.
    #[value(name = "routes-1000")]
    Routes1000,
    /// The same with 10,000.
    #[value(name = "routes-10000")]
    Routes10000,
    /// HTTP/1.1, and each call shows a signed token and an API key; nobody asks for them. The cases
    /// below do the same work with more and more asked.
    GuardOpen,
    /// An ES256 token is asked for, and remembered once it was verified.
    GuardToken,
    /// The same, and a limit for each consumer.
    GuardTokenLimit,
    /// The token is verified anew for each call.
    GuardTokenAnew,
    /// An API key is asked for.
    GuardKey,
    /// The same, and a limit for each consumer.
    GuardKeyLimit,
    /// The same, and calls of 100,000 consumers in turn.
    GuardLimit,
}

/// Which load generator a case needs, and with what.
pub(crate) enum Load {
    Http1 {
        path: &'static str,
    },
    Routes {
        routes: usize,
    },
    /// Calls of one consumer, or of all in turn.
    Guarded {
        all: bool,
    },
    Http2,
    Grpc,
}

/// What a proxy asks of each call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Guard {
    /// Calls show credentials, whether they are asked for or not.
    pub(crate) credentials: bool,
    /// A signed token.
    pub(crate) token: bool,
    /// A token that was verified is remembered.
    pub(crate) remembered: bool,
    /// An API key of one of the consumers.
    pub(crate) key: bool,
    /// That its consumer comes no faster than a limit that it does not reach.
    pub(crate) limit: bool,
}

#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) services: Vec<Service>,
    /// Between two active checks of one instance.
    pub(crate) check_interval_ms: usize,
    /// Instances speak gRPC in place of HTTP/1.1.
    pub(crate) grpc: bool,
    /// Clients come over TLS.
    pub(crate) tls: bool,
    pub(crate) guard: Guard,
}

#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) name: String,
    /// Path prefix of its route, with a slash at the end.
    pub(crate) prefix: String,
    pub(crate) instances: Vec<String>,
}

/// Instances of the one service where a case has one.
const INSTANCES: usize = 4;

/// Active checks take the same small part of any table: at most this many a second.
const CHECKS_PER_SECOND: usize = 100;

/// No service is checked more often than this.
const SHORTEST_INTERVAL_MS: usize = 2_000;

impl Case {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1 keep-alive, 16-byte body",
            Self::Body => "HTTP/1.1 keep-alive, 10 KiB body",
            Self::H2 => "HTTP/2 over TLS, 16-byte body",
            Self::Grpc => "gRPC unary",
            Self::Routes10 => "10 routes and instances",
            Self::Routes1000 => "1,000 routes and instances",
            Self::Routes10000 => "10,000 routes and instances",
            Self::GuardOpen => "open route, credentials shown and not asked for",
            Self::GuardToken => "ES256 token, verified before",
            Self::GuardTokenLimit => "ES256 token, verified before, and a limit for its consumer",
            Self::GuardTokenAnew => "ES256 token, verified for each call",
            Self::GuardKey => "API key",
            Self::GuardKeyLimit => "API key and a limit for its consumer",
            Self::GuardLimit => "API key and a limit for each of 100,000 consumers",
        }
    }

    /// What a proxy asks of each call of this case.
    pub(crate) fn guard(self) -> Guard {
        let open = Guard { credentials: true, ..Guard::default() };
        match self {
            Self::GuardOpen => open,
            Self::GuardToken => Guard { token: true, remembered: true, ..open },
            Self::GuardTokenLimit => Guard { token: true, remembered: true, limit: true, ..open },
            Self::GuardTokenAnew => Guard { token: true, ..open },
            Self::GuardKey => Guard { key: true, ..open },
            Self::GuardKeyLimit | Self::GuardLimit => Guard { key: true, limit: true, ..open },
            _ => Guard::default(),
        }
    }

    pub(crate) fn load(self) -> Load {
        match self {
            Self::Http1 => Load::Http1 { path: "/hello" },
            Self::Body => Load::Http1 { path: "/10k" },
            Self::H2 => Load::Http2,
            Self::Grpc => Load::Grpc,
            Self::Routes10 => Load::Routes { routes: 10 },
            Self::Routes1000 => Load::Routes { routes: 1_000 },
            Self::Routes10000 => Load::Routes { routes: 10_000 },
            Self::GuardLimit => Load::Guarded { all: true },
            Self::GuardOpen
            | Self::GuardToken
            | Self::GuardTokenLimit
            | Self::GuardTokenAnew
            | Self::GuardKey
            | Self::GuardKeyLimit => Load::Guarded { all: false },
        }
    }

    pub(crate) fn work(self, backend_port: u16) -> Work {
        match self.load() {
            Load::Routes { routes } => Work::routes(routes, backend_port),
            Load::Grpc => Work { grpc: true, ..Work::one_service("/bench.Echo/", backend_port) },
            Load::Http2 => Work { tls: true, ..Work::one_service("/", backend_port) },
            Load::Http1 { .. } => Work::one_service("/", backend_port),
            Load::Guarded { .. } => {
                Work { guard: self.guard(), ..Work::one_service("/", backend_port) }
            }
        }
    }
}

impl Work {
    fn one_service(prefix: &str, port: u16) -> Self {
        let instances = (0..INSTANCES).map(|number| instance_address(number, port)).collect();
        let service = Service { name: "app".to_owned(), prefix: prefix.to_owned(), instances };
        Self::http(vec![service])
    }

    /// `routes` services with one instance each, under `/svc-0/` and so on.
    pub(crate) fn routes(routes: usize, port: u16) -> Self {
        let service = |number| Service {
            name: format!("svc-{number}"),
            prefix: format!("/svc-{number}/"),
            instances: vec![instance_address(number, port)],
        };
        Self::http((0..routes).map(service).collect())
    }

    pub(crate) fn http(services: Vec<Service>) -> Self {
        let guard = Guard::default();
        let mut work = Self { services, check_interval_ms: 0, grpc: false, tls: false, guard };
        work.check_interval_ms =
            SHORTEST_INTERVAL_MS.max(work.instances() * 1_000 / CHECKS_PER_SECOND);
        work
    }

    pub(crate) fn instances(&self) -> usize {
        self.services.iter().map(|service| service.instances.len()).sum()
    }

    /// A path that the last route of the table answers: a proxy that knows it knows them all.
    pub(crate) fn last_path(&self) -> String {
        let prefix = self.services.last().map_or("/", |service| service.prefix.as_str());
        format!("{prefix}hello")
    }
}

/// Loopback is a whole /8, and a process may listen on each of its addresses.
fn instance_address(number: usize, port: u16) -> String {
    format!("127.1.{}.{}:{port}", number / 250, number % 250 + 1)
}

/// Writes the body of the 10 KiB case where the backend serves it from.
pub(crate) fn write_large_body(folder: &Path) -> std::io::Result<()> {
    std::fs::write(folder.join("10k"), vec![b'x'; 10 << 10])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instance_of_a_table_has_its_own_address_and_checks_are_bounded() {
        let work = Work::routes(10_000, 80);
        let addresses: std::collections::HashSet<_> =
            work.services.iter().flat_map(|service| &service.instances).collect();
        assert_eq!(addresses.len(), 10_000);
        assert!(addresses.iter().all(|text| text.parse::<std::net::SocketAddr>().is_ok()));
        assert_eq!(work.check_interval_ms, 100_000);
        assert_eq!(Work::routes(10, 80).check_interval_ms, 2_000);
        assert_eq!(work.last_path(), "/svc-9999/hello");
    }
}
