//! The admin address: the API under `/api/v1`, `/metrics`, `/healthz`, `/readyz`, and the keys by which
//! services verify who calls.
//!
//! In reading order: this file (listening, what is asked where, errors), [`access`] (who may ask what),
//! [`described`] (the API's description), [`api`], [`pick`], [`engine`], [`catalog`],
//! [`consumers`], [`managed`], [`messages`], [`explain`], [`audit`] and [`backup`] (the questions and their answers), [`input`]
//! (what comes with a question), [`wire`] (the shapes of the answers, by hand from the pillars' own
//! types).

mod access;
mod api;
mod audit;
mod backup;
mod catalog;
mod consumers;
mod described;
#[cfg(test)]
mod description;
mod engine;
mod explain;
mod input;
mod managed;
mod messages;
mod pick;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use posthouse_base::problem::{self, Problem};
use posthouse_base::task::Tasks;
use posthouse_broker as broker;
use posthouse_identity::consumers::Consumers;
use posthouse_journal::sqlite::Sqlite;
use posthouse_registry as registry;
use prometheus_client::registry::Registry as Metrics;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::control::Control;
use described::Described;

pub(crate) use backup::APPROXIMATE_BYTES;

/// The largest request body: a configuration to check.
const MAX_BODY: usize = 4 << 20;

/// What the API looks at.
#[derive(Clone)]
pub(crate) struct State {
    control: Arc<Control>,
    registry: Option<registry::Handle>,
    engine: Option<registry::Engine>,
    messages: Option<broker::Handle>,
    metrics: Arc<Metrics>,
    turns: Arc<pick::Turns>,
    journal: Arc<Sqlite>,
    audit: Audit,
    description: Arc<Described>,
    /// One backup at a time.
    backups: Arc<Semaphore>,
}

impl State {
    pub(crate) fn new(
        control: Arc<Control>,
        (registry, engine): (Option<registry::Handle>, Option<registry::Engine>),
        messages: Option<broker::Handle>,
        journal: Arc<Sqlite>,
        audit: Audit,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        let backups = Arc::new(Semaphore::new(1));
        let (metrics, turns) = (Arc::new(metrics), Arc::default());
        let description = Described::read(described::TEXT).context("the API's description")?;
        let description = Arc::new(description);
        Ok(Self {
            control,
            registry,
            engine,
            messages,
            metrics,
            turns,
            journal,
            audit,
            description,
            backups,
        })
    }

    fn catalog(&self) -> &posthouse_catalog::Handle {
        &self.control.guard().catalog
    }

    fn consumers(&self) -> &Consumers {
        &self.control.guard().consumers
    }
}

/// The running API.
pub(crate) struct Server {
    address: SocketAddr,
    closing: CancellationToken,
    serving: JoinHandle<()>,
}

impl Server {
    /// Listens and serves.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub(crate) async fn start(
        address: SocketAddr,
        state: State,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await;
        let listener =
            listener.with_context(|| format!("the admin API cannot listen on {address}"))?;
        let address = listener.local_addr().context("the admin API has no address")?;
        let closing = CancellationToken::new();
        let service = router(state).into_make_service_with_connect_info::<SocketAddr>();
        let closed = closing.clone().cancelled_owned();
        let serve = axum::serve(listener, service).with_graceful_shutdown(closed);
        let serving = tasks.spawn("admin API", async move {
            if let Err(error) = serve.await {
                tracing::error!("the admin API has ended: {error}");
            }
        });
        Ok(Self { address, closing, serving })
    }

    /// The address really listened on.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more, and lets requests end for up to `deadline`.
    pub(crate) async fn stop(self, deadline: Duration) {
        self.closing.cancel();
        if tokio::time::timeout(deadline, self.serving).await.is_err() {
            tracing::warn!("the admin API cut requests that did not end in time");
        }
    }
}

fn router(state: State) -> Router {
    let whole = DefaultBodyLimit::max(managed::MAX_BODY);
    let guarded = Router::new()
        .route("/api/v1/routes", get(api::routes))
        .route("/api/v1/services", get(api::services))
        .route("/api/v1/services/{name}", get(api::service))
        .route("/api/v1/services/{name}/pick", get(pick::pick))
        .route("/api/v1/endpoints", get(api::endpoints))
        .route("/api/v1/names", get(engine::names))
        .route("/api/v1/nodes", get(api::nodes))
        .route("/api/v1/configuration", get(api::configuration))
        .route("/api/v1/configuration/check", post(api::check))
        .route("/api/v1/reload", post(api::reload))
        .route("/api/v1/openapi.json", get(api::openapi))
        .route("/api/v1/audit", get(audit::audit))
        .route("/api/v1/guard/explain", post(explain::explain))
        .merge(managed())
        .merge(messages::router(&state))
        .route("/api/v1/export", get(managed::export))
        .route("/api/v1/apply", post(managed::apply).layer(whole))
        .route("/api/v1/backup", get(backup::backup))
        .route("/metrics", get(api::metrics))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(state.clone(), access::guard));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(api::ready))
        .route("/.well-known/jwks.json", get(api::published_keys))
        .merge(guarded)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state)
}

/// APIs and who calls them.
fn managed() -> Router<State> {
    const VERSION: &str = "/api/v1/apis/{api}/versions/{version}";
    let below = |step: &str| format!("{VERSION}/{step}");
    let api = get(catalog::api).put(catalog::put_api).delete(catalog::delete_api);
    let version = get(catalog::version).put(catalog::put_version).delete(catalog::delete_version);
    let plan = get(catalog::plan).put(catalog::put_plan).delete(catalog::delete_plan);
    let consumer = get(consumers::consumer).put(consumers::put_consumer);
    let consumer = consumer.delete(consumers::delete_consumer);
    Router::new()
        .route("/api/v1/apis", get(catalog::apis))
        .route("/api/v1/apis/{api}", api)
        .route("/api/v1/apis/{api}/history", get(catalog::api_history))
        .route(VERSION, version)
        .route(&below("publish"), post(catalog::publish))
        .route(&below("deprecate"), post(catalog::deprecate))
        .route(&below("retire"), post(catalog::retire))
        .route(&below("import"), post(catalog::import))
        .route(&below("document"), get(catalog::document))
        .route(&below("history"), get(catalog::version_history))
        .route(&below("compare"), get(catalog::compare))
        .route(&below("rollback"), post(catalog::roll_back))
        .route("/api/v1/plans", get(catalog::plans))
        .route("/api/v1/plans/{plan}", plan)
        .route("/api/v1/consumers", get(consumers::consumers))
        .route("/api/v1/consumers/{name}", consumer)
        .route("/api/v1/consumers/{name}/history", get(consumers::history))
        .route("/api/v1/consumers/{name}/keys", get(consumers::keys).post(consumers::issue_key))
        .route("/api/v1/consumers/{name}/keys/{number}", delete(consumers::revoke_key))
        .route("/api/v1/consumers/{name}/keys/{number}/rotate", post(consumers::rotate_key))
}

async fn no_such_path(request: Request) -> Refusal {
    let path = request.uri().path();
    Refusal(Problem::new(404, "Not Found").detail(format!("there is nothing at {path}")))
}

async fn no_such_method(request: Request) -> Refusal {
    let detail = format!("{} takes no {}", request.uri().path(), request.method());
    Refusal(Problem::new(405, "Method Not Allowed").detail(detail))
}

/// A problem as a response (RFC 9457).
struct Refusal(Problem);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        problem_response(self.0.status, self.0.to_json())
    }
}

fn problem_response(status: u16, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let media_type = HeaderValue::from_static(problem::MEDIA_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}
