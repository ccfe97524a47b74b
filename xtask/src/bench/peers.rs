//! The proxies that are compared, and how each is started on the same work: from its template in
//! `bench/peers/`, with one worker, on one core.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;

use super::house;
use super::install::{self, Source};
use super::machine;
use super::process::{Group, Launch};
use super::template;
use super::work::{Guard, Work};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Proxy {
    Posthouse,
    Nginx,
    Haproxy,
    Traefik,
    Caddy,
}

/// A proxy that answers on the last route of its table.
pub(crate) struct Running {
    pub(crate) group: Group,
    pub(crate) http: SocketAddr,
    pub(crate) tls: SocketAddr,
}

/// Idle connections kept per service: above the load's concurrency where a service may get it all.
const IDLE: usize = 64;
/// In large tables a service never sees more than a few requests at once, and nginx reserves memory
/// for the full number of each.
const IDLE_IN_LARGE_TABLES: usize = 8;
const LARGE_TABLE: usize = 100;

impl Proxy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Posthouse => "Posthouse",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Traefik => "Traefik",
            Self::Caddy => "Caddy",
        }
    }

    /// Finds its program, building or installing it as needed and allowed.
    pub(crate) fn program(self, root: &Path, install: bool) -> anyhow::Result<PathBuf> {
        let debian = |package| install::require(root, package, Source::Debian { package }, install);
        let python = |program| install::require(root, program, Source::Python, install);
        match self {
            Self::Posthouse => install::posthouse(root),
            Self::Nginx => debian("nginx"),
            Self::Haproxy => debian("haproxy"),
            Self::Traefik => python("traefik"),
            Self::Caddy => python("caddy"),
        }
    }

    pub(crate) fn version(self, program: &Path) -> String {
        let argument = match self {
            Self::Posthouse => "--version",
            Self::Nginx | Self::Haproxy => "-v",
            Self::Traefik | Self::Caddy => "version",
        };
        machine::version(program, argument)
    }

    /// Whether it can ask this of calls at all. nginx has no word for tokens, the others have none for
    /// consumers without more parts.
    pub(crate) const fn can(self, guard: Guard) -> bool {
        match self {
            Self::Posthouse | Self::Haproxy => true,
            Self::Nginx => !guard.token,
            Self::Traefik | Self::Caddy => !guard.credentials,
        }
    }

    /// Files of `bench/peers/` that are filled in, the one to start with first.
    fn templates(self) -> &'static [&'static str] {
        match self {
            Self::Posthouse => &["posthouse.yaml"],
            Self::Nginx => &["nginx.conf"],
            Self::Haproxy => &["haproxy.cfg", "haproxy.map"],
            Self::Traefik => &["traefik.yaml", "traefik-routes.yaml"],
            Self::Caddy => &["Caddyfile"],
        }
    }

    fn launch(self, launch: Launch, config: &Path, folder: &Path) -> Launch {
        // The settings with which Go programs stay on one core by design, not by chance.
        let one_thread = ("GOMAXPROCS", "1");
        let launch = launch.env("HOME", "/nonexistent");
        match self {
            Self::Posthouse => house::up(launch, config),
            Self::Nginx => launch.arg("-p").arg(folder).arg("-c").arg(config),
            Self::Haproxy => launch.arg("-db").arg("-f").arg(config),
            Self::Traefik => launch
                .env(one_thread.0, one_thread.1)
                .arg(format!("--configFile={}", config.display())),
            Self::Caddy => launch
                .env(one_thread.0, one_thread.1)
                .args(["run", "--adapter", "caddyfile", "--config"])
                .arg(config),
        }
    }

    /// Starts it in an empty folder that has the certificate, and waits until its last route works.
    /// `wrapper` is put before the program's own name: `valgrind`, for one.
    pub(crate) fn start(
        self,
        program: &Path,
        wrapper: Option<Launch>,
        work: &Work,
        place: &Place<'_>,
    ) -> anyhow::Result<Running> {
        let Place { root, folder, core } = *place;
        let (http, tls) = (free_address()?, free_address()?);
        let values = values(work, folder, http, tls)?;
        for name in self.templates() {
            let path = root.join("bench/peers").join(name);
            let template = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let text = template::expand(&template, work, &values).context(*name)?;
            fs::write(folder.join(name), text)?;
        }
        let _ = fs::remove_dir_all(folder.join("data"));
        let launch = match wrapper {
            None => Launch::new(program),
            // A wrapper cannot follow a worker that gives up being root.
            Some(wrapper) if self == Self::Nginx => {
                wrapper.arg(program).args(["-g", "master_process off;"])
            }
            Some(wrapper) => wrapper.arg(program),
        };
        let config = folder.join(self.templates()[0]);
        let log = folder.join(format!("{}.log", self.name()));
        let mut group = self.launch(launch, &config, folder).spawn(core, &log)?;
        let (http, tls) = match self {
            Self::Posthouse => {
                let found = house::wait_addresses(&mut group, &folder.join("data"))?.listeners;
                let listener = |number: usize| found.get(number).copied().context("listeners");
                (listener(0)?, listener(1)?)
            }
            _ => (http, tls),
        };
        if work.grpc || work.guard.credentials {
            // A plain GET is not answered there; the load itself is checked to be.
            house::wait(&mut group, "listen", || Ok(TcpStream::connect(http).map(drop)?))?;
        } else {
            house::wait_path(&mut group, http, &work.last_path())?;
        }
        Ok(Running { group, http, tls })
    }
}

/// Where a program under measurement runs.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) root: &'a Path,
    pub(crate) folder: &'a Path,
    /// The one that it is pinned to, if it is.
    pub(crate) core: Option<usize>,
}

fn values(
    work: &Work,
    folder: &Path,
    http: SocketAddr,
    tls: SocketAddr,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let consumers = match work.guard.key {
        true => fs::read_to_string(folder.join("consumers.yaml")).context("the consumers")?,
        false => String::new(),
    };
    let instances = work.instances();
    let idle = if instances > LARGE_TABLE { IDLE_IN_LARGE_TABLES } else { IDLE };
    Ok(vec![
        ("consumers", consumers),
        ("token_cache", if work.guard.remembered { "32MiB" } else { "0B" }.to_owned()),
        ("dir", folder.display().to_string()),
        ("http", http.to_string()),
        ("tls", tls.to_string()),
        ("http_port", http.port().to_string()),
        ("tls_port", tls.port().to_string()),
        ("idle", idle.to_string()),
        ("interval_ms", work.check_interval_ms.to_string()),
        // Both sides of the load, and one idle connection to each instance.
        ("connections", (1_024 + 2 * instances).to_string()),
        ("descriptors", (2_048 + instances + instances / 2).to_string()),
        // Listening sockets count too, and may come with several connections each.
        ("backend_connections", (2_048 + 3 * instances).to_string()),
    ])
}

/// Instances of one backend process. Each is a listening socket and one or more connections, and a
/// process of an ordinary user has 20,000 descriptors at most on many machines.
const INSTANCES_PER_PROCESS: usize = 2_500;

/// Starts what the proxies forward to.
pub(crate) fn start_backends(
    work: &Work,
    nginx: &Path,
    bench_load: &Path,
    place: &Place<'_>,
) -> anyhow::Result<Vec<Group>> {
    if work.grpc {
        return Ok(vec![start_grpc_backend(work, bench_load, place)?]);
    }
    super::work::write_large_body(place.folder)?;
    let template = fs::read_to_string(place.root.join("bench/backend.conf"))?;
    let mut groups = Vec::new();
    // Services of large tables have one instance each.
    for (number, services) in work.services.chunks(INSTANCES_PER_PROCESS).enumerate() {
        let part = Work { services: services.to_vec(), ..work.clone() };
        let first = first_address(&part)?;
        let mut values = values(&part, place.folder, first, first)?;
        values.push(("number", number.to_string()));
        let text = template::expand(&template, &part, &values)?;
        let config = place.folder.join(format!("backend-{number}.conf"));
        fs::write(&config, text)?;
        let log = place.folder.join(format!("backend-{number}.log"));
        let launch = Launch::new(nginx).arg("-p").arg(place.folder).arg("-c").arg(config);
        groups.push(wait_listening(launch.spawn(place.core, &log)?, first)?);
    }
    Ok(groups)
}

fn start_grpc_backend(work: &Work, bench_load: &Path, place: &Place<'_>) -> anyhow::Result<Group> {
    let mut launch = Launch::new(bench_load).args(["backend", "--grpc"]);
    for address in work.services.iter().flat_map(|service| &service.instances) {
        launch = launch.arg("--address").arg(address);
    }
    let log = place.folder.join("backend.log");
    wait_listening(launch.spawn(place.core, &log)?, first_address(work)?)
}

fn first_address(work: &Work) -> anyhow::Result<SocketAddr> {
    let mut addresses = work.services.iter().flat_map(|service| &service.instances);
    Ok(addresses.next().context("a service has an instance")?.parse()?)
}

fn wait_listening(mut group: Group, address: SocketAddr) -> anyhow::Result<Group> {
    house::wait(&mut group, "listen", || Ok(TcpStream::connect(address).map(drop)?))?;
    Ok(group)
}

/// A loopback address that was free a moment ago, for programs that cannot choose one themselves.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}
