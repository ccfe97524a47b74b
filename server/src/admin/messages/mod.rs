//! Messages: what there is and how it stands, changed as clients of AMQP may change it. Each question
//! is asked of the broker as a client's would be, by a session of its own.
//!
//! In reading order: this file (what is asked where, what goes wrong), [`queues`], [`exchanges`],
//! [`traffic`] (messages themselves), [`clients`] (connections, users, virtual hosts),
//! [`subscriptions`] (services that are called), [`definitions`], [`drain`].
//!
//! With an engine messages are published to it, taken from it and purged there. What only the embedded
//! broker knows is not shown then, so that nobody takes it for what the engine has.

pub(super) mod clients;
pub(super) mod definitions;
pub(super) mod drain;
pub(super) mod exchanges;
pub(super) mod queues;
pub(super) mod subscriptions;
pub(super) mod traffic;

use std::collections::BTreeMap;

use axum::extract::{DefaultBodyLimit, Request, State as Shared};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use posthouse_base::problem::Problem;
use posthouse_broker::inside::Session;
use posthouse_broker::management::{Unfit, short};
use posthouse_broker::state::{Act, Answer, Code, Method};
use posthouse_broker::{Error, Handle};
use serde::{Deserialize, Serialize};
#[cfg(test)]
use utoipa::ToSchema;

use super::access::Outcome;
#[cfg(test)]
use super::wire::ProblemDetails;
use super::{Refusal, State};

/// How much a message may have, in base64 and with what is said of it; and how much definitions.
const MAX_BODY: usize = 24 << 20;

/// What the house's own sessions are called.
const NAME: &str = "admin API";

/// Which virtual host is meant.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Within {
    pub(super) vhost: Option<String>,
}

/// Which of the virtual hosts is looked at; all if none is named.
pub(super) type Of = Within;

/// How messages stand.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct MessagesOverview {
    /// The virtual host that is meant where none is named.
    vhost: String,
    /// Why publishers are blocked, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked: Option<String>,
    /// How many there are of each, by name: `connections`, `queues`, `messages_ready` … of the embedded
    /// broker, also when an engine is in its place: what is queued in it is still to be moved.
    figures: BTreeMap<String, u64>,
    /// The engine, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<MessagesEngine>,
}

/// How the engine of messages is.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct MessagesEngine {
    /// `HOST:PORT`.
    address: String,
    /// Whether it let us in when it was last asked; absent when it was not asked yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    reachable: Option<bool>,
    /// Since when, in milliseconds since 1970.
    since_ms: u64,
    /// What it, or the way to it, last failed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// How many messages went.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct RemovedMessages {
    /// So many.
    messages: u32,
}

/// Messages.
pub(super) fn router(state: &State) -> Router<State> {
    const QUEUE: &str = "/api/v1/messages/queues/{queue}";
    const EXCHANGE: &str = "/api/v1/messages/exchanges/{exchange}";
    const PERMISSION: &str = "/api/v1/messages/users/{user}/permissions/{vhost}";
    let whole = DefaultBodyLimit::max(MAX_BODY);
    let queue = get(queues::queue).put(queues::put_queue).delete(queues::delete_queue);
    let exchange = get(exchanges::exchange).put(exchanges::put_exchange);
    let exchange = exchange.delete(exchanges::delete_exchange);
    let embedded = Router::new()
        .route("/api/v1/messages/queues", get(queues::queues))
        .route(QUEUE, queue)
        .route("/api/v1/messages/consumers", get(queues::consumers))
        .route("/api/v1/messages/exchanges", get(exchanges::exchanges))
        .route(EXCHANGE, exchange)
        .route("/api/v1/messages/bindings", get(exchanges::bindings).post(exchanges::bind))
        .route("/api/v1/messages/bindings/remove", post(exchanges::unbind))
        .route("/api/v1/messages/connections", get(clients::connections))
        .route("/api/v1/messages/connections/{id}", delete(clients::disconnect))
        .route("/api/v1/messages/definitions", post(definitions::import).layer(whole))
        .route_layer(from_fn_with_state(state.clone(), only_embedded));
    Router::new()
        .route("/api/v1/messages", get(overview))
        .route(&format!("{QUEUE}/purge"), post(queues::purge))
        .route(&format!("{QUEUE}/get"), post(traffic::get_messages))
        .route("/api/v1/messages/publish", post(traffic::publish).layer(whole))
        .route("/api/v1/messages/drain/plan", post(drain::plan))
        .route("/api/v1/messages/drain/definitions", post(drain::definitions))
        .route("/api/v1/messages/drain/queue", post(drain::queue))
        .merge(embedded)
        .route("/api/v1/messages/vhosts", get(clients::vhosts))
        .route(
            "/api/v1/messages/vhosts/{vhost}",
            put(clients::put_vhost).delete(clients::delete_vhost),
        )
        .route("/api/v1/messages/users", get(clients::users))
        .route("/api/v1/messages/users/{user}", put(clients::put_user).delete(clients::delete_user))
        .route(PERMISSION, put(clients::permit).delete(clients::forbid))
        .route("/api/v1/messages/subscriptions", get(subscriptions::subscriptions))
        .route(
            "/api/v1/messages/subscriptions/{name}",
            put(subscriptions::put_subscription).delete(subscriptions::delete_subscription),
        )
        .route("/api/v1/messages/definitions", get(definitions::export))
}

/// Lets through what the embedded broker is asked, if it is not an engine that serves.
async fn only_embedded(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let engine = state.messages.as_ref().and_then(Handle::engine_view);
    let Some(engine) = engine else { return next.run(request).await };
    let detail = format!(
        "messages are kept by the engine at {}: its own management shows and changes what there is; \
         `posthouse drain --dry-run` shows what is still to be moved there",
        engine.address
    );
    Refusal(Problem::new(409, "Conflict").detail(detail)).into_response()
}

/// Tells how messages stand.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/messages", security(("token" = ["viewer"])),
    responses(
        (status = 200, body = MessagesOverview),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json",
         description = "Messages are off."),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn overview(
    Shared(state): Shared<State>,
) -> Result<Json<MessagesOverview>, Refusal> {
    let broker = broker(&state)?;
    let gathered = broker.look(|state| {
        let queues = state.queues();
        let sum = |of: fn(&posthouse_broker::state::QueueFigures) -> u64| {
            queues.iter().map(|queue| of(&queue.figures)).sum::<u64>()
        };
        let more = [
            ("messages_ready", sum(|queue| queue.ready)),
            ("messages_unacknowledged", sum(|queue| queue.unacked)),
        ];
        let figures = state.figures().into_iter().map(|(name, _, value)| (name, value));
        let all: BTreeMap<String, u64> =
            figures.chain(more).map(|(name, value)| (name.to_owned(), value)).collect();
        (all, state.blocked().map(ToString::to_string))
    });
    let (figures, blocked) = gathered.await.map_err(|error| refused(&error))?;
    let engine = broker.engine_view().map(|view| MessagesEngine {
        address: view.address,
        reachable: view.reachable,
        since_ms: view.since.as_millis(),
        error: view.error,
    });
    let vhost = broker.config().vhost().to_owned();
    Ok(Json(MessagesOverview { vhost, blocked, figures, engine }))
}

/// The broker, if it runs.
fn broker(state: &State) -> Result<&Handle, Refusal> {
    state.messages.as_ref().ok_or_else(|| {
        let detail = "messages are off: the configuration has no `messages` section";
        Refusal(Problem::new(404, "Not Found").detail(detail))
    })
}

/// A session in the virtual host that is meant.
async fn session(state: &State, vhost: Option<&str>) -> Result<Session, Refusal> {
    let broker = broker(state)?;
    let vhost = vhost.unwrap_or_else(|| broker.config().vhost());
    broker.inside(vhost, NAME).await.map_err(|error| refused(&error))
}

/// Asks one thing in the virtual host that is meant.
async fn ask(state: &State, vhost: Option<&str>, act: Act) -> Result<Answer, Refusal> {
    let mut session = session(state, vhost).await?;
    session.ask(act).await.map_err(|error| refused(&error))
}

/// The virtual host that is meant.
fn vhost(state: &State, named: Option<String>) -> Result<String, Refusal> {
    Ok(named.unwrap_or(broker(state)?.config().vhost().to_owned()))
}

/// An answer, with what it was for the audit log.
fn told(answer: impl IntoResponse, outcome: String) -> Response {
    let mut response = answer.into_response();
    response.extensions_mut().insert(Outcome(outcome));
    response
}

/// A name that AMQP can carry.
fn name<'a>(field: &str, written: &'a str) -> Result<&'a str, Refusal> {
    short(field, written).map_err(unfit)
}

fn unfit(unfit: Unfit) -> Refusal {
    let problem = Problem::new(422, "Unprocessable Content").detail(unfit.to_string());
    Refusal(problem.field(unfit.field))
}

fn missing(what: &str, name: &str) -> Refusal {
    let detail = format!("there is no {what} `{name}`");
    Refusal(Problem::new(404, "Not Found").detail(detail))
}

/// Why the broker does not do something, as a problem.
pub(super) fn refused(error: &Error) -> Refusal {
    let (status, title) = match error {
        Error::Refused(refusal) => match (refusal.code, refusal.method) {
            // It is the virtual host that is not there.
            (Code::NotFound, _) | (Code::NotAllowed, Method::ConnectionOpen) => (404, "Not Found"),
            (Code::PreconditionFailed | Code::ResourceLocked, _) => (409, "Conflict"),
            _ => (422, "Unprocessable Content"),
        },
        Error::TooLarge { .. } => (413, "Content Too Large"),
        _ => (503, "Service Unavailable"),
    };
    Refusal(Problem::new(status, title).detail(error.to_string()))
}
