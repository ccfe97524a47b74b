//! Consul's HTTP API: its paths, its JSON, its manners.
//!
//! In reading order: the router here, then `about`, `agent`, `catalog`, `health`, `kv`, `session`, `txn` and
//! `event` (the requests), `ask`
//! (parameters and blocking reads), `rendered` (answers for many), `input` and `wire` (JSON in and out), `filter`, `server`
//! (connections) and `express` (what thousands wait for). Behaviour and shapes are Consul's as its clients know them; a deviation is said
//! where it is made.

mod about;
mod agent;
mod ask;
mod body;
mod catalog;
mod duration;
mod event;
mod express;
mod filter;
mod health;
mod input;
mod kv;
mod loose;
mod rendered;
mod reply;
mod rights;
mod server;
mod session;
mod txn;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{any, get, put};
use http::StatusCode;
use tokio::sync::watch;

use self::body::{not_served, wrong_method};
use self::rendered::Rendered;
use self::reply::Fault;
use crate::config::Config;
use crate::error::Error;
use crate::service::{Handle, Shared};
use crate::state::{self, Command, Index, Node, NodeName, Reply, Stored, Topic};

pub(crate) use self::server::serve;

/// What every request is served with.
#[derive(Clone, Debug)]
pub(crate) struct App {
    handle: Handle,
    address: SocketAddr,
    closing: watch::Receiver<bool>,
    rendered: Arc<Rendered>,
    /// Whether requests are answered here, and not by an engine.
    is_own: bool,
}

impl App {
    pub(crate) fn new(
        handle: Handle,
        address: SocketAddr,
        closing: watch::Receiver<bool>,
        is_own: bool,
    ) -> Self {
        Self { handle, address, closing, rendered: Arc::new(Rendered::new()), is_own }
    }

    fn config(&self) -> &Config {
        &self.shared().config
    }

    fn shared(&self) -> &Shared {
        self.handle.shared()
    }

    /// What `look` finds in the state as it is, which may yet be lost: not to be told to anybody.
    fn peek<T>(&self, look: impl FnOnce(&state::State) -> T) -> T {
        self.handle.peek(look)
    }

    async fn command(&self, command: Command) -> Result<Reply, Error> {
        self.handle.command(command).await
    }

    /// What `gather` finds, and the index that it gives with it, once that is durable
    /// ([`Handle::read`]).
    async fn read<T>(
        &self,
        gather: impl Fn(&state::State) -> (T, Index),
    ) -> Result<(T, Index), Fault> {
        Ok(self.handle.read(gather).await?)
    }

    /// What `gather` finds and the index of `topic`, which must cover all of it, once that is durable.
    async fn read_topic<T>(
        &self,
        topic: &Topic,
        gather: impl Fn(&state::State) -> T,
    ) -> Result<(T, Index), Fault> {
        self.read(|state| (gather(state), state.index_of(topic))).await
    }

    fn own_name(&self) -> NodeName {
        self.peek(|state| state.own_node().clone())
    }

    fn own_node(&self) -> Arc<Stored<Node>> {
        self.peek(|state| Arc::clone(state.own()))
    }

    fn min_check_interval(&self) -> Duration {
        self.config().limits.check_interval.0
    }

    /// Whether the registry is shutting down. Whoever waits for something is woken then.
    fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Resolves once the registry is shutting down.
    async fn closing(&self) {
        let mut closing = self.closing.clone();
        // An error means that whoever would close is gone, which is the same.
        let _closed = closing.wait_for(|closing| *closing).await;
    }
}

/// Every path.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .merge(agent_routes())
        .merge(catalog_routes())
        .merge(store_routes())
        .merge(refused_routes())
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

fn agent_routes() -> Router<App> {
    Router::new()
        .route("/v1/agent/self", get(about::agent))
        .route("/v1/agent/members", get(about::members))
        .route("/v1/agent/version", get(about::version))
        .route("/v1/agent/metrics", get(about::metrics))
        .route("/v1/agent/monitor", get(about::monitor))
        .route("/v1/agent/token/{kind}", put(about::token))
        .route("/v1/agent/maintenance", put(agent::maintain_node))
        .route("/v1/agent/services", get(agent::services))
        .route("/v1/agent/service/register", put(agent::register))
        .route("/v1/agent/service/deregister/{*id}", put(agent::deregister))
        .route("/v1/agent/service/maintenance/{*id}", put(agent::maintain_service))
        .route("/v1/agent/service/{*id}", get(agent::service))
        .route("/v1/agent/checks", get(agent::checks))
        .route("/v1/agent/check/register", put(agent::register_check))
        .route("/v1/agent/check/deregister/{*id}", put(agent::deregister_check))
        .route("/v1/agent/check/pass/{*id}", put(agent::pass))
        .route("/v1/agent/check/warn/{*id}", put(agent::warn))
        .route("/v1/agent/check/fail/{*id}", put(agent::fail))
        .route("/v1/agent/check/update/{*id}", put(agent::update))
        .route("/v1/agent/health/service/id/{*id}", get(agent::health_by_id))
        .route("/v1/agent/health/service/name/{*name}", get(agent::health_by_name))
}

fn catalog_routes() -> Router<App> {
    Router::new()
        .route("/v1/catalog/datacenters", get(catalog::datacenters))
        .route("/v1/catalog/services", get(catalog::services))
        .route("/v1/catalog/service/{*name}", get(catalog::service))
        .route("/v1/catalog/nodes", get(catalog::nodes))
        .route("/v1/catalog/node/{*name}", get(catalog::node))
        .route("/v1/catalog/node-services/{*name}", get(catalog::node_services))
        .route("/v1/catalog/register", put(catalog::register))
        .route("/v1/catalog/deregister", put(catalog::deregister))
        .route("/v1/health/service/{*name}", get(health::service))
        .route("/v1/health/state/{word}", get(health::state))
        .route("/v1/health/node/{*name}", get(health::node))
        .route("/v1/health/checks/{*name}", get(health::checks))
        .route("/v1/health/connect/{*name}", get(health::mesh))
        .route("/v1/health/ingress/{*name}", get(health::mesh))
        .route("/v1/catalog/connect/{*name}", get(catalog::mesh))
        .route("/v1/status/leader", get(about::leader))
        .route("/v1/status/peers", get(about::peers))
        .route("/v1/coordinate/nodes", get(about::no_coordinates))
        .route("/v1/coordinate/datacenters", get(about::no_coordinates))
        .route("/v1/coordinate/node/{name}", get(about::no_coordinate))
        .route("/", get(about::root))
}

fn store_routes() -> Router<App> {
    let key = || get(kv::get).put(kv::put).delete(kv::delete);
    Router::new()
        .route("/v1/kv", key())
        .route("/v1/kv/", key())
        .route("/v1/kv/{*key}", key())
        .route("/v1/session/create", put(session::create))
        .route("/v1/session/destroy/", put(session::missing_session))
        .route("/v1/session/destroy/{*id}", put(session::destroy))
        .route("/v1/session/renew/", put(session::missing_session))
        .route("/v1/session/renew/{*id}", put(session::renew))
        .route("/v1/session/info/", get(session::missing_session))
        .route("/v1/session/info/{*id}", get(session::info))
        .route("/v1/session/node/", get(session::missing_node))
        .route("/v1/session/node/{*name}", get(session::of_node))
        .route("/v1/session/list", get(session::list))
        .route("/v1/txn", put(txn::transact))
        .route("/v1/event/fire/", put(event::missing_name))
        .route("/v1/event/fire/{*name}", put(event::fire))
        .route("/v1/event/list", get(event::list))
}

/// What is known and not served, so that a client is told so and not that its path is wrong.
fn refused_routes() -> Router<App> {
    const NEVER: &str = "Posthouse does not serve this part of Consul's API";
    const ALONE: &str = "Posthouse does not serve this: its registry is one process and nobody's \
                         member, started and configured with the house";
    const HOST: &str = "Posthouse does not serve figures of the machine that it runs on";
    let mut router = Router::new();
    for (group, text) in [
        ("agent/join", ALONE),
        ("agent/leave", ALONE),
        ("agent/force-leave", ALONE),
        ("agent/reload", ALONE),
        ("agent/host", HOST),
        ("agent/connect", NEVER),
        ("catalog/gateway-services", NEVER),
        ("coordinate/update", NEVER),
        ("internal", NEVER),
        ("snapshot", NEVER),
        ("discovery-chain", NEVER),
        ("exported-services", NEVER),
        ("imported-services", NEVER),
        ("connect", NEVER),
        ("config", NEVER),
        ("acl", NEVER),
        ("operator", NEVER),
        ("peering", NEVER),
        ("peerings", NEVER),
        ("query", NEVER),
    ] {
        let refuse = move || std::future::ready(not_served(text));
        router = router
            .route(&format!("/v1/{group}"), any(refuse))
            .route(&format!("/v1/{group}/"), any(refuse))
            .route(&format!("/v1/{group}/{{*rest}}"), any(refuse));
    }
    router
}

async fn unknown() -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "Invalid URL path: not a recognized HTTP API endpoint")
}
