//! Messages themselves: published, looked at and taken, one here and there, as people do it who look
//! after a house. Services speak AMQP.

use std::time::Duration;

use axum::Json;
use axum::extract::State as Shared;
use axum::response::Response;
use posthouse_base::problem::Problem;
use posthouse_broker::Error;
use posthouse_broker::inside::{Happened, Published, Session};
use posthouse_broker::management::{self, properties, properties_from};
use posthouse_broker::state::{Act, Answer, Consume, Delivered, Get, Publish, Qos};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::timeout;
#[cfg(test)]
use utoipa::ToSchema;

use super::{Within, broker, name, refused, session, told, unfit};
use crate::admin::input::{Asked, Named, Sent};
#[cfg(test)]
use crate::admin::wire::ProblemDetails;
use crate::admin::{Refusal, State};

/// The most messages of one answer.
const MAX_COUNT: usize = 1000;
/// Bytes of bodies after which an answer ends.
const MAX_BYTES: usize = 16 << 20;
/// How long a message may be waited for.
const MAX_WAIT_MS: u64 = 20_000;
/// Persistent, as AMQP has it.
const PERSISTENT: u8 = 2;

/// A message to be published.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct NewMessage {
    /// The exchange; without one it goes into the queue whose name is the routing key.
    #[serde(default)]
    exchange: String,
    /// The routing key.
    #[serde(default)]
    routing_key: String,
    /// What is said.
    payload: String,
    /// How `payload` is written: `string` or `base64`.
    #[serde(default = "string")]
    payload_encoding: String,
    /// What is said of it: `content_type`, `headers`, `message_id` … as RabbitMQ writes them. It is
    /// persistent unless `delivery_mode` is 1.
    #[cfg_attr(test, schema(value_type = Object))]
    #[serde(default)]
    properties: Map<String, Value>,
}

fn string() -> String {
    "string".into()
}

/// What became of a message that was published.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct PublishedMessage {
    /// Whether it is in a queue; or else none is bound for it, and it is gone.
    routed: bool,
}

/// How messages are taken.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(default, deny_unknown_fields)]
pub(in crate::admin) struct GetSpec {
    /// How many at most.
    #[cfg_attr(test, schema(minimum = 1, maximum = 1000))]
    count: usize,
    /// Whether they leave the queue, even if the answer does not arrive; or else they are put back
    /// where they were, marked as delivered before.
    take: bool,
    /// How long to wait for the first one when there is none.
    #[cfg_attr(test, schema(minimum = 0, maximum = 20000))]
    wait_ms: u64,
}

impl Default for GetSpec {
    fn default() -> Self {
        Self { count: 1, take: false, wait_ms: 0 }
    }
}

/// Messages of a queue.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct GotMessages {
    /// In their order.
    messages: Vec<GotMessage>,
    /// How many wait behind them.
    remaining: u32,
}

/// A message.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct GotMessage {
    /// The exchange that it was published to.
    exchange: String,
    /// The routing key that it was published with.
    routing_key: String,
    /// Whether it may have been delivered before.
    redelivered: bool,
    /// When it was put into the queue, in milliseconds since 1970.
    queued_at_ms: u64,
    /// What is said of it.
    #[cfg_attr(test, schema(value_type = Object))]
    properties: Value,
    /// What is said.
    payload: String,
    /// How `payload` is written: `string` or `base64`.
    payload_encoding: &'static str,
}

/// Publishes a message, and waits until it is durable if it is to be.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/messages/publish", security(("token" = ["operator"])),
    params(("vhost" = Option<String>, Query, description = "The virtual host")),
    request_body(content = NewMessage),
    responses(
        (status = 200, body = PublishedMessage),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json",
         description = "A queue is full, or the message cannot be so."),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json",
         description = "Publishers are blocked, or nothing can be made durable now."),
    )
))]
pub(in crate::admin) async fn publish(
    Shared(state): Shared<State>,
    Asked(within): Asked<Within>,
    Sent(sent): Sent<NewMessage>,
) -> Result<Response, Refusal> {
    let most = broker(&state)?.config().limits().header.0;
    let mut properties = properties_from(&sent.properties, most).map_err(unfit)?;
    properties.delivery_mode = properties.delivery_mode.or(Some(PERSISTENT));
    let publish = Publish {
        exchange: name("exchange", &sent.exchange)?.into(),
        routing_key: name("routing_key", &sent.routing_key)?.into(),
        body: management::body(&sent.payload, &sent.payload_encoding).map_err(unfit)?,
        properties,
        mandatory: false,
    };
    let mut session = session(&state, within.vhost.as_deref()).await?;
    let published = session.publish(publish).await.map_err(|error| refused(&error))?;
    let routed = match published {
        Published::Taken => true,
        Published::Unroutable => false,
        Published::Rejected => {
            let detail = "a queue that is full has not taken it";
            return Err(Refusal(Problem::new(409, "Conflict").detail(detail)));
        }
    };
    let said = if routed { "published" } else { "published, and no queue is bound for it" };
    let NewMessage { exchange, routing_key, .. } = &sent;
    let outcome = format!("a message to exchange `{exchange}` by `{routing_key}` {said}");
    Ok(told(Json(PublishedMessage { routed }), outcome))
}

/// Shows the first messages of a queue, or takes them.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/messages/queues/{queue}/get", security(("token" = ["operator"])),
    params(
        ("queue" = String, Path, description = "The queue's name"),
        ("vhost" = Option<String>, Query, description = "Its virtual host"),
    ),
    request_body(content = GetSpec),
    responses(
        (status = 200, body = GotMessages),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn get_messages(
    Shared(state): Shared<State>,
    Named(queue): Named<String>,
    Asked(within): Asked<Within>,
    Sent(spec): Sent<GetSpec>,
) -> Result<Response, Refusal> {
    let bounds = [("count", spec.count, 1..=MAX_COUNT)];
    for (field, value, range) in bounds {
        if !range.contains(&value) {
            return Err(out_of_bounds(field, &format!("{} to {}", range.start(), range.end())));
        }
    }
    if spec.wait_ms > MAX_WAIT_MS {
        return Err(out_of_bounds("wait_ms", &format!("0 to {MAX_WAIT_MS}")));
    }
    let queue = name("queue", &queue)?;
    let mut session = session(&state, within.vhost.as_deref()).await?;
    let got = got(&mut session, queue, &spec).await.map_err(|error| refused(&error))?;
    let close = match spec.take {
        true => session.finish().await,
        // What is given back is there again before it is answered that it is.
        false => session.close().await,
    };
    close.map_err(|error| refused(&error))?;
    let (count, done) = (got.messages.len(), if spec.take { "taken from" } else { "shown of" });
    Ok(told(Json(got), format!("{count} messages {done} queue {queue}")))
}

fn out_of_bounds(field: &str, bounds: &str) -> Refusal {
    let detail = format!("`{field}` is {bounds}");
    Refusal(Problem::new(422, "Unprocessable Content").detail(detail).field(field))
}

async fn got(session: &mut Session, queue: &str, spec: &GetSpec) -> Result<GotMessages, Error> {
    let (mut messages, mut remaining, mut bytes) = (Vec::new(), 0, 0);
    while messages.len() < spec.count && bytes < MAX_BYTES {
        let get = Act::Get(Get { queue: queue.into(), no_ack: false });
        let delivered = match session.ask(get).await? {
            Answer::Got { delivered, remaining: behind } => {
                remaining = behind;
                delivered
            }
            _ if messages.is_empty() && spec.wait_ms > 0 => {
                let wait = Duration::from_millis(spec.wait_ms);
                match first(session, queue, wait).await? {
                    Some(delivered) => delivered,
                    None => break,
                }
            }
            _ => break,
        };
        session.took(&delivered.message).await?;
        bytes += delivered.message.body.len();
        messages.push(GotMessage::from(delivered));
    }
    Ok(GotMessages { messages, remaining })
}

/// Waits for one message.
async fn first(
    session: &mut Session,
    queue: &str,
    wait: Duration,
) -> Result<Option<Delivered>, Error> {
    session.ask(Act::Qos(Qos { prefetch: 1, global: false })).await?;
    let tag = "wait";
    let consume = Consume { queue: queue.into(), tag: tag.into(), ..Consume::default() };
    session.ask(Act::Consume(consume)).await?;
    let delivered = match timeout(wait, session.next()).await {
        Ok(Ok(Happened::Delivered(_, delivered))) => Some(delivered),
        // The queue is gone, and its consumer with it.
        Ok(Ok(Happened::Cancelled(_))) | Err(_) => None,
        Ok(Err(error)) => return Err(error),
    };
    session.ask(Act::Cancel { tag: tag.into(), no_wait: false }).await?;
    // It may have come at the last moment.
    let late = if delivered.is_none() { session.happened() } else { None };
    Ok(delivered.or(match late {
        Some(Happened::Delivered(_, delivered)) => Some(delivered),
        _ => None,
    }))
}

impl From<Delivered> for GotMessage {
    fn from(delivered: Delivered) -> Self {
        let Delivered { message, redelivered, .. } = delivered;
        let (payload, payload_encoding) = management::payload(&message.body);
        Self {
            exchange: message.exchange.to_string(),
            routing_key: message.routing_key.to_string(),
            redelivered,
            queued_at_ms: message.queued_at.as_millis(),
            properties: properties(&message.properties),
            payload,
            payload_encoding,
        }
    }
}
