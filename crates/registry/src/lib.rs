//! Names: which services there are, where their instances run, and which of them are healthy.
//!
//! Services register over Consul's HTTP API, with checks that the registry runs or that they report
//! themselves. Whoever calls services reads them there, by blocking reads, or asks for them over
//! DNS, or follows them from within the process, as the gateway does.
//!
//! In reading order: [`state`] (the rules, pure), `stored` (how events and state are written down),
//! `service` (the rules run on the journal's driver),
//! `follow` and `keys` (pushing changes to other parts of the house), `engine` (names that come from elsewhere), `watch` (waking blocking reads), `runner` (probing),
//! `consul` and [`dns`] (the interfaces), `metrics`, [`Config`].
//!
//! What must hold: only the rules change the state, and only in the driver's task; nobody is told what
//! is not durable, and no index goes back, whatever fails; no lock is held across a wait; a change wakes those who wait for it and nobody else; whatever a client
//! can make grow has a limit in [`RawLimits`].

mod access;
mod config;
mod consul;
pub mod dns;
mod engine;
mod error;
mod follow;
mod keys;
mod metrics;
mod runner;
mod service;
pub mod state;
mod stored;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use posthouse_base::task::Tasks;
use posthouse_journal::Journal;
use tokio::net::TcpListener;

pub use access::{Level, RawDefault, RawRules, RawToken, RawTokens};
pub use config::{Config, Raw, RawLimits};
pub use engine::{Engine, EngineAddress, EngineView, Scope};
pub use error::Error;
pub use follow::{Change, Endpoint, Follower};
pub use keys::Keys;
pub use service::Handle;
pub use state::Status;

/// A running registry. Dropping it closes the Consul HTTP API; the rules run until their tasks stop.
#[derive(Debug)]
pub struct Registry {
    handle: Handle,
    engine: Option<Engine>,
    address: SocketAddr,
    dns_address: Option<SocketAddr>,
    closing: tokio::sync::watch::Sender<bool>,
    connections: Tasks,
}

impl Registry {
    /// Listens on the configured addresses, brings back what the journal tells, and serves until
    /// `tasks` stops. Without a journal everything is forgotten when it ends. With an engine, names come
    /// from there, and requests are passed on to it.
    ///
    /// # Errors
    /// When an address cannot be listened on, [`Error::AddressInUse`] when it is taken; and when what
    /// the journal has cannot be brought back, or it cannot write.
    pub async fn start(
        config: Config,
        journal: Option<Arc<dyn Journal>>,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let wanted = config.address();
        let listener = TcpListener::bind(wanted).await.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => Error::AddressInUse(wanted),
            _ => Error::Listen { address: wanted, source },
        })?;
        let address = listener.local_addr();
        let address = address.map_err(|source| Error::Listen { address: wanted, source })?;
        let dns = match config.dns() {
            Some(wanted) => Some(dns::Sockets::bind(wanted).await?),
            None => None,
        };
        let (engine, handle) = match Engine::of(&config, tasks).await? {
            Some(engine) => (Some(engine.clone()), engine.handle().clone()),
            None => (None, Handle::start(config, journal, tasks).await?),
        };
        let (closing, is_closing) = tokio::sync::watch::channel(false);
        let is_own = engine.is_none();
        let app = consul::App::new(handle.clone(), address, is_closing.clone(), is_own);
        let connections = tasks.child();
        let router = match &engine {
            Some(engine) => engine::router(engine.authority(), is_closing),
            None => consul::router(app.clone()),
        };
        let serve = consul::serve(listener, router, app, connections.clone());
        tasks.spawn("registry listener", serve);
        let dns_address = dns.as_ref().map(dns::Sockets::address);
        if let Some(dns) = dns {
            dns.serve(handle.clone(), &connections);
        }
        Ok(Self { handle, engine, address, dns_address, closing, connections })
    }

    /// The address at which DNS is really answered, over UDP and TCP, if it is.
    #[must_use]
    pub const fn dns_address(&self) -> Option<SocketAddr> {
        self.dns_address
    }

    /// The address that the Consul HTTP API really listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The registry itself, for other parts of the house.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where names come from, when they are not our own.
    #[must_use]
    pub const fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// Enters the metrics of the registry, and of its engine.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        match &self.engine {
            Some(engine) => engine.register_metrics(registry),
            None => self.handle.register_metrics(registry),
        }
    }

    /// Closes the interfaces: accepts nothing more, answers blocking reads at once, lets requests
    /// end for up to `deadline`, then cuts what is left. The rules and followers go on, until
    /// [`Handle::close`].
    pub async fn close(&self, deadline: Duration) {
        self.closing.send_replace(true);
        // Those who wait look whether it is over when they are woken.
        self.handle.shared().watchers.wake_all();
        // The listener and every connection hold a receiver until they end.
        let ended = self.closing.closed();
        if tokio::time::timeout(deadline, ended).await.is_err() {
            tracing::warn!("the registry cut connections that did not end in time");
        }
        self.connections.stop();
    }
}
