//! Queues and their consumers.

use axum::Json;
use axum::extract::State as Shared;
use axum::response::Response;
use posthouse_broker::management::{table, table_from};
use posthouse_broker::state::{
    Act, Answer, ConsumerView, DeclareQueue, DeleteQueue, QueueView, State as Broker,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
#[cfg(test)]
use utoipa::ToSchema;

use super::exchanges::{Binding, bindings_of};
use super::{Of, RemovedMessages, Within, ask, broker, missing, name, refused, told, unfit, vhost};
use crate::admin::input::{Asked, Named, Sent};
#[cfg(test)]
use crate::admin::wire::ProblemDetails;
use crate::admin::{Refusal, State};

/// What is to be known of quorum queues.
const ONE_REPLICA: &str = "a quorum queue by its rules (delivery limit, everything persistent), with \
                           one replica: this node's";

/// The queues.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct Queues {
    /// By virtual host and name.
    queues: Vec<Queue>,
}

/// A queue.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct Queue {
    /// Its name.
    name: String,
    /// Its virtual host.
    vhost: String,
    /// `classic` or `quorum`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Whether it is there after a restart.
    durable: bool,
    /// Whether it goes with the last of its consumers.
    auto_delete: bool,
    /// Whether only one connection may use it, with which it goes.
    exclusive: bool,
    /// `x-…`, as it was declared.
    #[cfg_attr(test, schema(value_type = Object))]
    arguments: Value,
    /// Messages that wait.
    ready: u64,
    /// Bytes of their bodies.
    ready_bytes: u64,
    /// Deliveries that wait to be acknowledged.
    unacknowledged: u64,
    /// How many consume.
    consumers: u64,
    /// What is to be known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

/// A queue with all that belongs to it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct QueueDetail {
    /// The queue.
    #[serde(flatten)]
    queue: Queue,
    /// What leads into it, but for the default exchange.
    bindings: Vec<Binding>,
    /// Who takes messages from it.
    consuming: Vec<QueueConsumer>,
}

/// Consumers of queues.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct QueueConsumers {
    /// In the order in which they began.
    consumers: Vec<QueueConsumer>,
}

/// Who takes messages from a queue.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct QueueConsumer {
    /// Its connection.
    connection: u64,
    /// Its channel there.
    channel: u16,
    /// Its tag there.
    tag: String,
    /// Its virtual host.
    vhost: String,
    /// Its queue. Who waits for direct replies has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    /// Whether it acknowledges what it gets.
    acknowledges: bool,
    /// Whether nobody else may consume.
    exclusive: bool,
    /// Its priority.
    priority: i32,
    /// How many deliveries it may have unacknowledged; 0 for any number.
    prefetch: u16,
    /// How many it has.
    unacknowledged: u32,
    /// Whether it gets messages: of a queue with a single active consumer only one does.
    active: bool,
}

/// How a queue is to be.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(default, deny_unknown_fields)]
pub(in crate::admin) struct QueueSpec {
    /// Whether it is there after a restart.
    durable: bool,
    /// Whether it goes with the last of its consumers.
    auto_delete: bool,
    /// `x-queue-type`, `x-message-ttl`, `x-dead-letter-exchange` …
    #[cfg_attr(test, schema(value_type = Object))]
    arguments: Map<String, Value>,
}

impl Default for QueueSpec {
    fn default() -> Self {
        Self { durable: true, auto_delete: false, arguments: Map::new() }
    }
}

/// What is removed, and when not.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::admin) struct OnlyIf {
    vhost: Option<String>,
    if_unused: bool,
    if_empty: bool,
}

/// Lists the queues.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/messages/queues", security(("token" = ["viewer"])),
    params(("vhost" = Option<String>, Query, description = "Only those of this virtual host")),
    responses(
        (status = 200, body = Queues),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn queues(
    Shared(state): Shared<State>,
    Asked(Of { vhost }): Asked<Of>,
) -> Result<Json<Queues>, Refusal> {
    let all = broker(&state)?.look(Broker::queues).await.map_err(|error| refused(&error))?;
    let is_meant = |view: &&QueueView| vhost.iter().all(|name| view.spec.vhost.as_str() == name);
    Ok(Json(Queues { queues: all.iter().filter(is_meant).map(Queue::from).collect() }))
}

/// Shows a queue with its bindings and consumers.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/messages/queues/{queue}", security(("token" = ["viewer"])),
    params(
        ("queue" = String, Path, description = "The queue's name"),
        ("vhost" = Option<String>, Query, description = "Its virtual host"),
    ),
    responses(
        (status = 200, body = QueueDetail),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn queue(
    Shared(state): Shared<State>,
    Named(queue): Named<String>,
    Asked(within): Asked<Within>,
) -> Result<Json<QueueDetail>, Refusal> {
    Ok(Json(detail(&state, &queue, within.vhost).await?))
}

async fn detail(state: &State, name: &str, named: Option<String>) -> Result<QueueDetail, Refusal> {
    let vhost = vhost(state, named)?;
    let gathered = broker(state)?.look(|broker| {
        let view = broker.queue(&vhost, name)?;
        let consumers = broker.consumers().into_iter();
        let is_its = |one: &ConsumerView| {
            one.vhost.as_str() == vhost && one.queue.as_ref().is_some_and(|of| of.as_str() == name)
        };
        Some((view, consumers.filter(is_its).collect::<Vec<_>>(), broker.binding_views()))
    });
    let found = gathered.await.map_err(|error| refused(&error))?;
    let (view, consumers, bindings) = found.ok_or_else(|| missing("queue", name))?;
    let bindings = bindings_of(&bindings, &vhost, |one| one.to_queue && one.destination == name);
    let consuming = consumers.into_iter().map(QueueConsumer::from).collect();
    Ok(QueueDetail { queue: Queue::from(&view), bindings, consuming })
}

/// Declares a queue; it may be there in just this way.
#[cfg_attr(test, utoipa::path(
    put, path = "/api/v1/messages/queues/{queue}", security(("token" = ["operator"])),
    params(
        ("queue" = String, Path, description = "The queue's name"),
        ("vhost" = Option<String>, Query, description = "Its virtual host"),
    ),
    request_body(content = QueueSpec),
    responses(
        (status = 200, body = QueueDetail),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json",
         description = "It is there in another way, or cannot be so."),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn put_queue(
    Shared(state): Shared<State>,
    Named(queue): Named<String>,
    Asked(within): Asked<Within>,
    Sent(spec): Sent<QueueSpec>,
) -> Result<Response, Refusal> {
    let declare = DeclareQueue {
        queue: name("queue", &queue)?.into(),
        durable: spec.durable,
        auto_delete: spec.auto_delete,
        arguments: table_from("arguments", &spec.arguments).map_err(unfit)?,
        ..DeclareQueue::default()
    };
    ask(&state, within.vhost.as_deref(), Act::DeclareQueue(declare)).await?;
    let detail = detail(&state, &queue, within.vhost).await?;
    Ok(told(Json(detail), format!("queue {queue} declared")))
}

/// Removes a queue with everything in it.
#[cfg_attr(test, utoipa::path(
    delete, path = "/api/v1/messages/queues/{queue}", security(("token" = ["admin"])),
    params(
        ("queue" = String, Path, description = "The queue's name"),
        ("vhost" = Option<String>, Query, description = "Its virtual host"),
        ("if_unused" = Option<bool>, Query, description = "Only when nobody consumes"),
        ("if_empty" = Option<bool>, Query, description = "Only when nothing is in it"),
    ),
    responses(
        (status = 200, body = RemovedMessages),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn delete_queue(
    Shared(state): Shared<State>,
    Named(queue): Named<String>,
    Asked(OnlyIf { vhost, if_unused, if_empty }): Asked<OnlyIf>,
) -> Result<Response, Refusal> {
    // To AMQP, deleting what is not there is done.
    detail(&state, &queue, vhost.clone()).await?;
    let name = name("queue", &queue)?.into();
    let delete = DeleteQueue { queue: name, if_unused, if_empty, no_wait: false };
    let answer = ask(&state, vhost.as_deref(), Act::DeleteQueue(delete)).await?;
    let messages = match answer {
        Answer::QueueDeleted { messages } => messages,
        _ => 0,
    };
    let outcome = format!("queue {queue} removed with {messages} messages");
    Ok(told(Json(RemovedMessages { messages }), outcome))
}

/// Removes the messages that wait in a queue.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/messages/queues/{queue}/purge", security(("token" = ["admin"])),
    params(
        ("queue" = String, Path, description = "The queue's name"),
        ("vhost" = Option<String>, Query, description = "Its virtual host"),
    ),
    responses(
        (status = 200, body = RemovedMessages),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn purge(
    Shared(state): Shared<State>,
    Named(queue): Named<String>,
    Asked(within): Asked<Within>,
) -> Result<Response, Refusal> {
    let purge = Act::PurgeQueue { queue: name("queue", &queue)?.into(), no_wait: false };
    let messages = match ask(&state, within.vhost.as_deref(), purge).await? {
        Answer::Purged { messages } => messages,
        _ => 0,
    };
    let outcome = format!("{messages} messages removed from queue {queue}");
    Ok(told(Json(RemovedMessages { messages }), outcome))
}

/// Lists who takes messages.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/messages/consumers", security(("token" = ["viewer"])),
    params(("vhost" = Option<String>, Query, description = "Only those of this virtual host")),
    responses(
        (status = 200, body = QueueConsumers),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn consumers(
    Shared(state): Shared<State>,
    Asked(Of { vhost }): Asked<Of>,
) -> Result<Json<QueueConsumers>, Refusal> {
    let all = broker(&state)?.look(Broker::consumers).await.map_err(|error| refused(&error))?;
    let is_meant = |view: &ConsumerView| vhost.iter().all(|name| view.vhost.as_str() == name);
    let consumers = all.into_iter().filter(is_meant).map(QueueConsumer::from).collect();
    Ok(Json(QueueConsumers { consumers }))
}

impl From<&QueueView> for Queue {
    fn from(view: &QueueView) -> Self {
        let QueueView { spec, figures } = view;
        Self {
            name: spec.name.to_string(),
            vhost: spec.vhost.to_string(),
            kind: if spec.checked.quorum { "quorum" } else { "classic" },
            durable: spec.durable,
            auto_delete: spec.auto_delete,
            exclusive: spec.owner.is_some(),
            arguments: table(&spec.arguments),
            ready: figures.ready,
            ready_bytes: figures.bytes,
            unacknowledged: figures.unacked,
            consumers: figures.consumers,
            note: spec.checked.quorum.then_some(ONE_REPLICA),
        }
    }
}

impl From<ConsumerView> for QueueConsumer {
    fn from(view: ConsumerView) -> Self {
        Self {
            connection: view.channel.connection.get(),
            channel: view.channel.number.get(),
            tag: view.tag.to_string(),
            vhost: view.vhost.to_string(),
            queue: view.queue.map(|queue| queue.to_string()),
            acknowledges: !view.no_ack,
            exclusive: view.exclusive,
            priority: view.priority,
            prefetch: view.prefetch,
            unacknowledged: view.unacked,
            active: view.is_active,
        }
    }
}
