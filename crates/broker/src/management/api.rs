//! RabbitMQ's management HTTP API, as far as tools read it: Celery's Flower, KEDA's scaler and
//! `rabbitmqadmin`. It changes nothing; for that there is the admin API. Who asks is a user of the broker
//! whose tags let it look, as RabbitMQ has it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::{HeaderValue, StatusCode, header};
use posthouse_base::task::Tasks;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Definitions;
use super::json::table;
use crate::error::Error;
use crate::http::login::log_in;
use crate::http::serve::Listening;
use crate::ids::UserName;
use crate::service::Handle;
use crate::state::{BindingView, ConnectionView, ConsumerView, ExchangeSpec, QueueView};

/// The version of RabbitMQ whose API this is: tools look at it to know what to expect.
const VERSION: &str = "3.13.0";
/// The node's name.
const NODE: &str = "rabbit@posthouse";
/// Tags that let a user look; everything is looked at alike.
const TAGS: [&str; 4] = ["administrator", "monitoring", "policymaker", "management"];

/// The management API, as it is listened for.
#[derive(Debug)]
pub struct Server(Listening);

impl Server {
    /// Listens on the configured address, if there is one, and serves until `tasks` stops.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(handle: Handle, tasks: &Tasks) -> Result<Option<Self>, Error> {
        let Some(address) = handle.config().management else { return Ok(None) };
        let connections = handle.config().limits().http_connections;
        let listening = Listening::start(address, router(handle), connections, tasks).await?;
        Ok(Some(Self(listening)))
    }

    /// The address that is really listened on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Accepts nothing more, and lets requests end for up to `deadline`.
    pub async fn close(&self, deadline: Duration) {
        self.0.close(deadline).await;
    }
}

fn router(handle: Handle) -> Router {
    Router::new()
        .route("/api/overview", get(overview))
        .route("/api/whoami", get(whoami))
        .route("/api/nodes", get(nodes))
        .route("/api/vhosts", get(vhosts))
        .route("/api/users", get(users))
        .route("/api/permissions", get(permissions))
        .route("/api/queues", get(queues))
        .route("/api/queues/{vhost}", get(queues_of))
        .route("/api/queues/{vhost}/{queue}", get(queue))
        .route("/api/queues/{vhost}/{queue}/bindings", get(bindings_to))
        .route("/api/exchanges", get(exchanges))
        .route("/api/exchanges/{vhost}", get(exchanges_of))
        .route("/api/bindings", get(bindings))
        .route("/api/bindings/{vhost}", get(bindings_of))
        .route("/api/connections", get(connections))
        .route("/api/consumers", get(consumers))
        .route("/api/definitions", get(definitions))
        .route("/api/definitions/{vhost}", get(definitions_of))
        .route("/api/health/checks/alarms", get(alarms))
        .fallback(nothing)
        .method_not_allowed_fallback(no_change)
        .layer(middleware::from_fn_with_state(handle.clone(), guard))
        .with_state(handle)
}

/// An answer that tools read as a failure.
struct Failed(StatusCode, String);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Self(status, reason) = self;
        let error = status.canonical_reason().unwrap_or("Error");
        let mut response =
            (status, Json(json!({ "error": error, "reason": reason }))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let basic = HeaderValue::from_static("Basic realm=\"RabbitMQ Management\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
        }
        response
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

/// Lets in who may look.
async fn guard(
    State(handle): State<Handle>,
    Extension(peer): Extension<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let refused = |why: &str| Failed(StatusCode::UNAUTHORIZED, why.to_owned()).into_response();
    let user = match log_in(&handle, request.headers(), peer).await {
        Ok(user) => user,
        Err(why) => return refused(why),
    };
    let known = handle.look(|state| {
        let mut users = state.users();
        users.find(|known| known.name == user).map(|known| known.tags.clone())
    });
    let tags = match known.await {
        Ok(tags) => tags.unwrap_or_default(),
        Err(error) => return Failed::from(error).into_response(),
    };
    if !tags.iter().any(|tag| TAGS.contains(&&**tag)) {
        return refused("Not management user");
    }
    let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
    request.extensions_mut().insert(Guest { user, tags });
    next.run(request).await
}

/// Who asks.
#[derive(Clone, Debug)]
struct Guest {
    user: UserName,
    tags: Vec<String>,
}

/// What of a list is asked for (RabbitMQ's pagination and filters).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wanted {
    page: Option<usize>,
    page_size: Option<usize>,
    name: Option<String>,
    use_regex: Option<String>,
}

type Answer = Result<Json<Value>, Failed>;

async fn nothing() -> Failed {
    Failed(StatusCode::NOT_FOUND, "Not Found".into())
}

async fn no_change() -> Failed {
    let reason = "this API only shows: use Posthouse's admin API, or AMQP".to_owned();
    Failed(StatusCode::METHOD_NOT_ALLOWED, reason)
}

async fn whoami(Extension(guest): Extension<Guest>) -> Json<Value> {
    Json(json!({ "name": guest.user.as_str(), "tags": guest.tags, "is_internal_user": true }))
}

async fn overview(State(handle): State<Handle>) -> Answer {
    let gathered = handle.look(|state| {
        let queues = state.queues();
        let ready: u64 = queues.iter().map(|queue| queue.figures.ready).sum();
        let unacked: u64 = queues.iter().map(|queue| queue.figures.unacked).sum();
        let channels: usize = state.connections().map(|connection| connection.channels).sum();
        let totals = json!({
            "connections": state.connections().count(),
            "channels": channels,
            "consumers": state.consumers().len(),
            "exchanges": state.exchanges_of_all().count(),
            "queues": queues.len(),
        });
        (totals, ready, unacked)
    });
    let (totals, ready, unacked) = gathered.await?;
    let kinds = ["direct", "fanout", "headers", "topic"];
    let kinds = kinds.map(|name| json!({ "name": name, "enabled": true }));
    let listeners =
        [("amqp", Some(handle.config().address())), ("http", handle.config().management)];
    let listeners = listeners.into_iter().filter_map(|(protocol, address)| {
        let address = address?;
        let (ip, port) = (address.ip().to_string(), address.port());
        Some(json!({ "node": NODE, "protocol": protocol, "ip_address": ip, "port": port }))
    });
    Ok(Json(json!({
        "management_version": VERSION,
        "rabbitmq_version": VERSION,
        "product_name": "Posthouse",
        "product_version": env!("CARGO_PKG_VERSION"),
        "cluster_name": NODE,
        "node": NODE,
        "rates_mode": "none",
        "exchange_types": kinds,
        "object_totals": totals,
        "queue_totals": {
            "messages": ready + unacked,
            "messages_ready": ready,
            "messages_unacknowledged": unacked,
        },
        "message_stats": {},
        "listeners": listeners.collect::<Vec<_>>(),
        "contexts": [],
    })))
}

async fn nodes(State(handle): State<Handle>) -> Answer {
    let blocked = handle.look(|state| state.blocked().is_some()).await?;
    Ok(Json(json!([{
        "name": NODE,
        "type": "disc",
        "running": true,
        "mem_alarm": blocked,
        "disk_free_alarm": false,
        "partitions": [],
    }])))
}

async fn alarms(State(handle): State<Handle>) -> Result<Response, Failed> {
    let blocked = handle.look(|state| state.blocked().cloned()).await?;
    Ok(match blocked {
        None => Json(json!({ "status": "ok" })).into_response(),
        Some(why) => {
            let said = json!({ "status": "failed", "reason": &*why, "alarms": [&*why] });
            (StatusCode::SERVICE_UNAVAILABLE, Json(said)).into_response()
        }
    })
}

async fn vhosts(State(handle): State<Handle>) -> Answer {
    let gathered = handle.look(|state| {
        let vhost =
            |name: &crate::ids::VhostName| json!({ "name": name.as_str(), "tracing": false });
        state.vhosts().map(vhost).collect::<Vec<_>>()
    });
    Ok(Json(gathered.await?.into()))
}

async fn users(State(handle): State<Handle>) -> Answer {
    let gathered = handle.look(|state| {
        let user = |user: &crate::state::User| {
            let tags: Vec<&str> = user.tags.iter().map(|tag| &**tag).collect();
            json!({ "name": user.name.as_str(), "tags": tags, "limits": {} })
        };
        state.users().map(user).collect::<Vec<_>>()
    });
    Ok(Json(gathered.await?.into()))
}

async fn permissions(State(handle): State<Handle>) -> Answer {
    let gathered = handle.look(|state| {
        let all = state.permissions_of_all().map(|(user, vhost, may)| {
            json!({
                "user": user.as_str(), "vhost": vhost.as_str(),
                "configure": &*may.configure, "write": &*may.write, "read": &*may.read,
            })
        });
        all.collect::<Vec<_>>()
    });
    Ok(Json(gathered.await?.into()))
}

async fn queues(State(handle): State<Handle>, Query(wanted): Query<Wanted>) -> Answer {
    let all = handle.look(crate::state::State::queues).await?;
    page(all.iter().map(queue_json).collect(), &wanted)
}

async fn queues_of(
    State(handle): State<Handle>,
    Path(vhost): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Answer {
    let all = handle.look(crate::state::State::queues).await?;
    let its = all.iter().filter(|queue| queue.spec.vhost.as_str() == vhost);
    page(its.map(queue_json).collect(), &wanted)
}

async fn queue(
    State(handle): State<Handle>,
    Path((vhost, queue)): Path<(String, String)>,
) -> Answer {
    let gathered = handle.look(|state| {
        let view = state.queue(&vhost, &queue)?;
        let is_its = |one: &ConsumerView| {
            one.vhost.as_str() == vhost && one.queue.as_ref().is_some_and(|of| of.as_str() == queue)
        };
        Some((view, state.consumers().into_iter().filter(is_its).collect::<Vec<_>>()))
    });
    let found = gathered.await?;
    let missing = || Failed(StatusCode::NOT_FOUND, "Not Found".into());
    let (view, consumers) = found.ok_or_else(missing)?;
    let mut shown = queue_json(&view);
    shown["consumer_details"] = consumers.iter().map(consumer_json).collect::<Vec<_>>().into();
    Ok(Json(shown))
}

async fn bindings_to(
    State(handle): State<Handle>,
    Path((vhost, queue)): Path<(String, String)>,
) -> Answer {
    let all = handle.look(crate::state::State::binding_views).await?;
    let is_its = |view: &&BindingView| {
        view.vhost.as_str() == vhost && view.to_queue && view.destination == queue
    };
    let default = json!({
        "source": "", "vhost": vhost, "destination": queue, "destination_type": "queue",
        "routing_key": queue, "arguments": {}, "properties_key": queue,
    });
    let others = all.iter().filter(is_its).map(binding_json);
    Ok(Json(std::iter::once(default).chain(others).collect::<Vec<_>>().into()))
}

async fn exchanges(State(handle): State<Handle>, Query(wanted): Query<Wanted>) -> Answer {
    page(all_exchanges(&handle, None).await?, &wanted)
}

async fn exchanges_of(
    State(handle): State<Handle>,
    Path(vhost): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Answer {
    page(all_exchanges(&handle, Some(&vhost)).await?, &wanted)
}

async fn all_exchanges(handle: &Handle, vhost: Option<&str>) -> Result<Vec<Value>, Failed> {
    let gathered = handle.look(|state| {
        let is_meant = |name: &str| vhost.is_none_or(|wanted| wanted == name);
        // The default exchange is in every virtual host, and in no list of ours.
        let defaults = state.vhosts().filter(|name| is_meant(name.as_str())).map(|name| {
            json!({
                "name": "", "vhost": name.as_str(), "type": "direct", "durable": true,
                "auto_delete": false, "internal": false, "arguments": {},
            })
        });
        let declared = state.exchanges_of_all().filter(|spec| is_meant(spec.vhost.as_str()));
        defaults.chain(declared.map(|spec| exchange_json(spec))).collect::<Vec<_>>()
    });
    Ok(gathered.await?)
}

async fn bindings(State(handle): State<Handle>) -> Answer {
    let all = handle.look(crate::state::State::binding_views).await?;
    Ok(Json(all.iter().map(binding_json).collect::<Vec<_>>().into()))
}

async fn bindings_of(State(handle): State<Handle>, Path(vhost): Path<String>) -> Answer {
    let all = handle.look(crate::state::State::binding_views).await?;
    let its = all.iter().filter(|view| view.vhost.as_str() == vhost);
    Ok(Json(its.map(binding_json).collect::<Vec<_>>().into()))
}

async fn connections(State(handle): State<Handle>, Query(wanted): Query<Wanted>) -> Answer {
    let all = handle.look(|state| state.connections().collect::<Vec<ConnectionView>>()).await?;
    let clients = all.iter().filter(|view| !view.is_house);
    let shown = clients.map(|view| {
        json!({
            "name": format!("{} ({})", view.name, view.id),
            "user": view.user.as_str(),
            "vhost": view.vhost.as_str(),
            "node": NODE,
            "state": "running",
            "protocol": "AMQP 0-9-1",
            "channels": view.channels,
            "client_properties": table(&view.client),
        })
    });
    page(shown.collect(), &wanted)
}

async fn consumers(State(handle): State<Handle>) -> Answer {
    let all = handle.look(crate::state::State::consumers).await?;
    Ok(Json(all.iter().map(consumer_json).collect::<Vec<_>>().into()))
}

async fn definitions(
    State(handle): State<Handle>,
    Extension(guest): Extension<Guest>,
) -> Result<Json<Definitions>, Failed> {
    // Hashes of passwords are in it.
    if !guest.tags.iter().any(|tag| tag == "administrator") {
        return Err(Failed(StatusCode::UNAUTHORIZED, "Not administrator user".into()));
    }
    Ok(Json(handle.look(|state| Definitions::of(state, None)).await?))
}

async fn definitions_of(
    State(handle): State<Handle>,
    Path(vhost): Path<String>,
) -> Result<Json<Definitions>, Failed> {
    Ok(Json(handle.look(|state| Definitions::of(state, Some(&vhost))).await?))
}

/// A list, or the part of it that is asked for in RabbitMQ's way.
fn page(mut list: Vec<Value>, wanted: &Wanted) -> Answer {
    let total = list.len();
    if let Some(name) = wanted.name.as_deref().filter(|name| !name.is_empty()) {
        let wants_pattern = wanted.use_regex.as_deref() == Some("true");
        let pattern = if wants_pattern { name.to_owned() } else { regex::escape(name) };
        let pattern = regex::Regex::new(&pattern)
            .map_err(|error| Failed(StatusCode::BAD_REQUEST, error.to_string()))?;
        list.retain(|item| item["name"].as_str().is_some_and(|name| pattern.is_match(name)));
    }
    let Some(page) = wanted.page else { return Ok(Json(list.into())) };
    let size = wanted.page_size.unwrap_or(100).clamp(1, 500);
    let filtered = list.len();
    let items: Vec<Value> =
        list.into_iter().skip(page.saturating_sub(1).saturating_mul(size)).take(size).collect();
    Ok(Json(json!({
        "page": page,
        "page_count": filtered.div_ceil(size),
        "page_size": size,
        "total_count": total,
        "filtered_count": filtered,
        "item_count": items.len(),
        "items": items,
    })))
}

fn queue_json(view: &QueueView) -> Value {
    let QueueView { spec, figures } = view;
    json!({
        "name": spec.name.as_str(),
        "vhost": spec.vhost.as_str(),
        "type": if spec.checked.quorum { "quorum" } else { "classic" },
        "durable": spec.durable,
        "auto_delete": spec.auto_delete,
        "exclusive": spec.owner.is_some(),
        "arguments": table(&spec.arguments),
        "node": NODE,
        "state": "running",
        "messages": figures.ready + figures.unacked,
        "messages_ready": figures.ready,
        "messages_unacknowledged": figures.unacked,
        "message_bytes_ready": figures.bytes,
        "consumers": figures.consumers,
    })
}

fn exchange_json(spec: &ExchangeSpec) -> Value {
    json!({
        "name": spec.name.as_str(),
        "vhost": spec.vhost.as_str(),
        "type": spec.kind.as_str(),
        "durable": spec.durable,
        "auto_delete": spec.auto_delete,
        "internal": spec.internal,
        "arguments": table(&spec.arguments),
    })
}

fn binding_json(view: &BindingView) -> Value {
    json!({
        "source": view.source.as_str(),
        "vhost": view.vhost.as_str(),
        "destination": view.destination,
        "destination_type": if view.to_queue { "queue" } else { "exchange" },
        "routing_key": view.key.as_str(),
        "arguments": table(&view.arguments),
        "properties_key": if view.key.is_empty() { "~" } else { view.key.as_str() },
    })
}

fn consumer_json(view: &ConsumerView) -> Value {
    let queue = view
        .queue
        .as_ref()
        .map(|queue| json!({ "name": queue.as_str(), "vhost": view.vhost.as_str() }));
    json!({
        "consumer_tag": view.tag.as_str(),
        "ack_required": !view.no_ack,
        "exclusive": view.exclusive,
        "prefetch_count": view.prefetch,
        "active": view.is_active,
        "queue": queue,
        "channel_details": {
            "connection_name": view.channel.connection.get().to_string(),
            "number": view.channel.number.get(),
            "node": NODE,
        },
    })
}
