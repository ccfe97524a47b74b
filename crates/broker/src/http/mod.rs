//! The HTTP door: publishing for services that have no client of AMQP. A message is a `POST`, of
//! anything or of a CloudEvent; it is answered when the message is durable. Who publishes is a user of
//! the broker, by name and password, with its permissions.
//!
//! In reading order: this file (what is asked where), `serve` (the address), `login` (who asks), `names`
//! (what things are called), `read` (a request as a message).
//!
//! What must hold: of requests under way no more is in memory than `limits.http_bytes`; a wrong
//! password is answered late, and logged.

pub(crate) mod login;
pub(crate) mod names;
mod read;
pub(crate) mod serve;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use posthouse_base::config::Span;
use posthouse_base::problem::{self, Problem};
use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::delay::Delays;
use crate::error::Error;
use crate::ids::{UserName, VhostName};
use crate::inside::Published;
use crate::management::short;
use crate::message::Properties;
use crate::posts::{Posts, Sender};
use crate::service::Handle;
use crate::state::{Code, Method, Publish};
use login::log_in;
use read::Wrong;
use serve::Listening;

/// How long a request waits for room.
const ROOM: Duration = Duration::from_secs(10);
/// How long a client may take to send its body.
const SENDING: Duration = Duration::from_secs(30);
/// What room is counted in.
const UNIT: u64 = 1024;

/// The HTTP door, as it is listened for.
#[derive(Debug)]
pub struct Server(Listening);

/// What all requests share.
#[derive(Clone)]
struct Door {
    handle: Handle,
    posts: Posts,
    delays: Delays,
    /// Room for bodies, in [`UNIT`]s.
    room: Arc<Semaphore>,
}

/// Where a message goes, beside the path.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Where {
    vhost: Option<String>,
    key: Option<String>,
    delay: Option<Span>,
}

/// A problem as an answer.
struct Refused(Problem);

impl Server {
    /// Listens on `address`, and serves until `tasks` stops. Without an address only delayed messages
    /// that wait already are gone on with.
    ///
    /// # Errors
    /// When the address cannot be listened on, and when the broker does not answer.
    pub async fn start(handle: Handle, tasks: &Tasks) -> Result<Option<Self>, Error> {
        let posts = Posts::new(handle.clone());
        let delays = Delays::start(posts.clone()).await?;
        let Some(address) = handle.config().http else { return Ok(None) };
        let limits = handle.config().limits();
        let room = usize::try_from(limits.http_bytes.0 / UNIT).unwrap_or(Semaphore::MAX_PERMITS);
        let room = Arc::new(Semaphore::new(room.clamp(1, Semaphore::MAX_PERMITS)));
        let connections = limits.http_connections;
        let router = Router::new()
            .route("/api/v1/queues/{queue}/messages", post(to_queue))
            .route("/api/v1/exchanges/{exchange}/messages", post(to_exchange))
            .fallback(nothing)
            .with_state(Door { handle, posts, delays, room });
        Ok(Some(Self(Listening::start(address, router, connections, tasks).await?)))
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

async fn nothing(request: Request) -> Refused {
    let (method, path) = (request.method(), request.uri().path());
    let detail = format!(
        "there is no {method} {path}: publish by POST /api/v1/queues/NAME/messages or \
         /api/v1/exchanges/NAME/messages?key=KEY"
    );
    Refused(Problem::new(404, "Not Found").detail(detail))
}

async fn to_queue(
    State(door): State<Door>,
    axum::Extension(peer): axum::Extension<SocketAddr>,
    Path(queue): Path<String>,
    query: Result<Query<Where>, QueryRejection>,
    request: Request,
) -> Result<Response, Refused> {
    let to = asked(query)?;
    if to.key.is_some() {
        return Err(wrong("key", "a queue is published to by its own name"));
    }
    let known = door.enter(request.headers(), peer).await?;
    let user = known.clone();
    let routed = door.publish(known, ("", &queue), &to, request).await?;
    if !routed.routed {
        let detail = format!("there is no queue `{queue}`: the message is gone");
        tracing::debug!(user = user.as_str(), queue, "a message was dropped: no such queue");
        return Err(Refused(Problem::new(404, "Not Found").detail(detail).field("queue")));
    }
    Ok(routed.into_response())
}

async fn to_exchange(
    State(door): State<Door>,
    axum::Extension(peer): axum::Extension<SocketAddr>,
    Path(exchange): Path<String>,
    query: Result<Query<Where>, QueryRejection>,
    request: Request,
) -> Result<Response, Refused> {
    let to = asked(query)?;
    let user = door.enter(request.headers(), peer).await?;
    let key = to.key.clone().unwrap_or_default();
    let routed = door.publish(user, (&exchange, &key), &to, request).await?;
    Ok(routed.into_response())
}

fn asked(query: Result<Query<Where>, QueryRejection>) -> Result<Where, Refused> {
    query.map(|Query(to)| to).map_err(|rejection| {
        let problem = Problem::new(400, "Bad Request").detail(rejection.body_text());
        Refused(problem.field("query"))
    })
}

/// What became of a message.
struct Routed {
    routed: bool,
    trace: Option<String>,
    until: Option<Timestamp>,
}

impl IntoResponse for Routed {
    fn into_response(self) -> Response {
        let mut said = json!({ "routed": self.routed });
        if let Some(until) = self.until {
            said["until_ms"] = json!(until.as_millis());
        }
        let mut response = (StatusCode::ACCEPTED, Json(said)).into_response();
        if let Some(trace) = self.trace.and_then(|trace| HeaderValue::from_str(&trace).ok()) {
            response.headers_mut().insert(names::TRACE_PARENT, trace);
        }
        response
    }
}

impl Door {
    /// Who this is, by the name and password that it brings.
    async fn enter(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<UserName, Refused> {
        let entered = log_in(&self.handle, headers, peer).await;
        entered.map_err(|why| {
            let problem = Problem::new(401, "Unauthorized").detail(why);
            Refused(problem.field("Authorization"))
        })
    }

    async fn publish(
        &self,
        user: UserName,
        (exchange, key): (&str, &str),
        to: &Where,
        request: Request,
    ) -> Result<Routed, Refused> {
        let config = self.handle.config();
        let delay = to.delay.map(|Span(delay)| delay).unwrap_or_default();
        if delay > config.limits().delay.0 {
            return Err(wrong("delay", "is longer than `messages.limits.delay`"));
        }
        let (exchange, key) = (name("exchange", exchange)?, name("key", key)?);
        let vhost = VhostName::from(to.vhost.as_deref().unwrap_or_else(|| config.vhost()));
        let (parts, body) = request.into_parts();
        let (body, _room) = self.body(&parts.headers, body).await?;
        let properties = read::properties(&parts.headers, &body).map_err(mistaken)?;
        crate::management::fits(&properties, config.limits().header.0)
            .map_err(|unfit| mistaken(unfit.into()))?;
        let trace = trace_of(&properties);
        let publish = Publish {
            exchange: exchange.into(),
            routing_key: key.into(),
            properties,
            body,
            mandatory: true,
        };
        let until = (!delay.is_zero()).then(|| Timestamp::now().plus(delay));
        let published = match until {
            None => {
                let sender = Sender { vhost, user: Some(user) };
                self.posts.publish(&sender, publish).await
            }
            Some(until) => {
                // It is published by the house then: now is when permission is asked for.
                let name = publish.exchange.clone();
                let may = self.handle.may_publish(&user, &vhost, &name).await;
                may.map_err(|error| refused(&error))?;
                self.delays.publish(&vhost, publish, until).await
            }
        };
        match published.map_err(|error| refused(&error))? {
            Published::Rejected => {
                let detail = "a queue that is full has not taken it";
                Err(Refused(Problem::new(503, "Service Unavailable").detail(detail)))
            }
            published => Ok(Routed { routed: published == Published::Taken, trace, until }),
        }
    }

    /// The body, with the room that it takes.
    async fn body(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Bytes, OwnedSemaphorePermit), Refused> {
        let limits = self.handle.config().limits();
        let most = limits.message.0;
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let length = length.and_then(|text| text.parse::<u64>().ok()).unwrap_or(most);
        let too_large = || {
            let detail = format!("a message has {most} bytes at most (messages.limits.message)");
            Refused(Problem::new(413, "Content Too Large").detail(detail))
        };
        if length > most {
            return Err(too_large());
        }
        let all = (limits.http_bytes.0 / UNIT).max(1);
        let units = u32::try_from((length / UNIT + 1).min(all)).unwrap_or(u32::MAX);
        let acquire = Arc::clone(&self.room).acquire_many_owned(units);
        let Ok(Ok(room)) = timeout(ROOM, acquire).await else {
            let detail = "too much is being published at the moment (messages.limits.http_bytes)";
            return Err(Refused(Problem::new(503, "Service Unavailable").detail(detail)));
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let collected = timeout(SENDING, Limited::new(body, most).collect()).await;
        match collected {
            Ok(Ok(collected)) => Ok((collected.to_bytes(), room)),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(wrong("body", "broke off")),
            Err(_elapsed) => {
                let problem = Problem::new(408, "Request Timeout");
                Err(Refused(problem.detail("the body did not come in time")))
            }
        }
    }
}

fn trace_of(properties: &Properties) -> Option<String> {
    let value = properties.headers.as_ref()?.get(names::TRACE_PARENT)?;
    value.as_text().map(Into::into)
}

fn name<'a>(field: &str, written: &'a str) -> Result<&'a str, Refused> {
    short(field, written).map_err(|unfit| mistaken(unfit.into()))
}

fn wrong(field: &str, detail: &str) -> Refused {
    Refused(Problem::new(422, "Unprocessable Content").detail(detail).field(field))
}

fn mistaken(wrong: Wrong) -> Refused {
    match wrong {
        Wrong::Field(unfit) => {
            let problem = Problem::new(422, "Unprocessable Content").detail(unfit.to_string());
            Refused(problem.field(unfit.field))
        }
        Wrong::Media(why) => Refused(Problem::new(415, "Unsupported Media Type").detail(why)),
    }
}

/// Why the broker does not take a message.
fn refused(error: &Error) -> Refused {
    let (status, title) = match error {
        Error::Refused(refusal) => match (refusal.code, refusal.method) {
            (Code::AccessRefused, _) | (Code::NotAllowed, Method::ConnectionOpen) => {
                (403, "Forbidden")
            }
            (Code::NotFound, _) => (404, "Not Found"),
            _ => (422, "Unprocessable Content"),
        },
        Error::TooLarge { .. } => (413, "Content Too Large"),
        _ => (503, "Service Unavailable"),
    };
    Refused(Problem::new(status, title).detail(error.to_string()))
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let status = StatusCode::from_u16(problem.status);
        let mut response = Response::new(Body::from(problem.to_json()));
        *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
        match problem.status {
            401 => {
                let basic = HeaderValue::from_static("Basic realm=\"posthouse messages\"");
                headers.insert(header::WWW_AUTHENTICATE, basic);
            }
            503 => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
