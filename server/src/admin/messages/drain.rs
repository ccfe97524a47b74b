//! Moving what is here to an engine, in steps that are short enough for a request each; whoever drives
//! them ([`posthouse drain`](crate::cli::messages)) may stop and go on at any time.

use axum::Json;
use axum::extract::State as Shared;
use axum::response::Response;
use posthouse_base::problem::Problem;
use posthouse_broker::drain::{Declared, Drain, Moved, Plan};
use posthouse_broker::engine::EngineAddress;
use serde::{Deserialize, Serialize};
#[cfg(test)]
use utoipa::ToSchema;

use super::{broker, missing, refused, told, vhost};
use crate::admin::input::Sent;
#[cfg(test)]
use crate::admin::wire::ProblemDetails;
use crate::admin::{Refusal, State};

/// What is to be moved, and where to.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
pub(in crate::admin) struct DrainTarget {
    /// The engine, as `amqp://USER:PASSWORD@HOST:5672/VHOST`; the configured one if left out.
    to: Option<String>,
    /// Only this virtual host.
    vhost: Option<String>,
}

/// What is to be declared at an engine.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(default, deny_unknown_fields)]
pub(in crate::admin) struct DrainDefinitions {
    /// The engine, as `amqp://USER:PASSWORD@HOST:5672/VHOST`; the configured one if left out.
    to: Option<String>,
    /// Only this virtual host.
    vhost: Option<String>,
    /// Where to go on: `next` of the answer before.
    after: Option<String>,
}

/// A queue whose messages are to be moved.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct DrainQueue {
    /// The engine, as `amqp://USER:PASSWORD@HOST:5672/VHOST`; the configured one if left out.
    #[serde(default)]
    to: Option<String>,
    /// Its virtual host.
    #[serde(default)]
    vhost: Option<String>,
    /// Its name.
    queue: String,
}

/// What there is to be moved.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct DrainPlan {
    /// The engine, without its password.
    target: String,
    /// Exchanges, but for those that are everywhere.
    exchanges: usize,
    /// Bindings.
    bindings: usize,
    /// Queues, by virtual host and name.
    queues: Vec<PlannedQueue>,
}

/// A queue that is to be moved.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct PlannedQueue {
    /// Its virtual host.
    vhost: String,
    /// Its name.
    name: String,
    /// Messages that wait.
    ready: u64,
    /// Deliveries that wait to be acknowledged: they stay with their consumers.
    unacknowledged: u64,
    /// What is to be known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
}

/// What declaring has come to so far.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct DrainedDefinitions {
    /// How many are there now as they are here.
    taken: usize,
    /// What the engine has refused.
    refused: Vec<NotDeclared>,
    /// Where to go on, if that was not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Something that the engine has refused.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct NotDeclared {
    /// What.
    item: String,
    /// Why.
    reason: String,
}

/// What moving the messages of a queue has come to so far.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct DrainedQueue {
    /// Messages that this step has moved; ask again until it is 0.
    moved: usize,
    /// Messages that are still here, those that a consumer holds among them.
    left: u64,
    /// Why it does not go on, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// Tells what a drain would move, and logs in to the engine to see that it can. Changes nothing.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/messages/drain/plan", security(("token" = ["admin"])),
    request_body(content = DrainTarget),
    responses(
        (status = 200, body = DrainPlan),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json",
         description = "The engine is not reached, or does not let us in."),
    )
))]
pub(in crate::admin) async fn plan(
    Shared(state): Shared<State>,
    Sent(DrainTarget { to, vhost }): Sent<DrainTarget>,
) -> Result<Response, Refusal> {
    let drain = drain(&state, to.as_deref())?;
    let plan = drain.plan(vhost.as_deref()).await.map_err(|error| refused(&error))?;
    let outcome = format!("a drain of {} queues to {} looked at", plan.queues.len(), plan.target);
    Ok(told(Json(DrainPlan::from(plan)), outcome))
}

/// Declares exchanges, queues and bindings at the engine, for a few seconds; `next` tells where to go
/// on. What is there in the same way already stays.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/messages/drain/definitions", security(("token" = ["admin"])),
    request_body(content = DrainDefinitions),
    responses(
        (status = 200, body = DrainedDefinitions),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json",
         description = "The engine is not reached, or does not let us in."),
    )
))]
pub(in crate::admin) async fn definitions(
    Shared(state): Shared<State>,
    Sent(DrainDefinitions { to, vhost, after }): Sent<DrainDefinitions>,
) -> Result<Response, Refusal> {
    let drain = drain(&state, to.as_deref())?;
    let declared = drain.declare(vhost.as_deref(), after.as_deref()).await;
    let declared = declared.map_err(|error| refused(&error))?;
    let (taken, refusals) = (declared.taken, declared.refused.len());
    let outcome = format!("{taken} definitions declared at the engine, {refusals} refused");
    Ok(told(Json(DrainedDefinitions::from(declared)), outcome))
}

/// Moves messages of a queue to the engine, in their order, for a few seconds or until there are none.
/// A message is acknowledged here once the engine has confirmed it: one may be in both after a crash,
/// and none is lost.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/messages/drain/queue", security(("token" = ["admin"])),
    request_body(content = DrainQueue),
    responses(
        (status = 200, body = DrainedQueue),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json",
         description = "The engine is not reached, or does not let us in, or has broken off."),
    )
))]
pub(in crate::admin) async fn queue(
    Shared(state): Shared<State>,
    Sent(DrainQueue { to, vhost: named, queue }): Sent<DrainQueue>,
) -> Result<Response, Refusal> {
    let vhost = vhost(&state, named)?;
    let drain = drain(&state, to.as_deref())?;
    let moved = drain.queue(&vhost, &queue).await.map_err(|error| refused(&error))?;
    let Moved { moved, left, refused } = moved.ok_or_else(|| missing("queue", &queue))?;
    let outcome = format!("{moved} messages of queue {queue} moved to the engine, {left} left");
    Ok(told(Json(DrainedQueue { moved, left, refused }), outcome))
}

fn drain(state: &State, to: Option<&str>) -> Result<Drain, Refusal> {
    let unfit = |detail: String| {
        Refusal(Problem::new(422, "Unprocessable Content").detail(detail).field("to"))
    };
    let to = to.map(EngineAddress::parse).transpose().map_err(unfit)?;
    let drain = broker(state)?.drain(to).map_err(|error| refused(&error))?;
    let nowhere = || unfit("say where `to`, or configure the engine (messages.engine)".into());
    drain.ok_or_else(nowhere)
}

impl From<Plan> for DrainPlan {
    fn from(plan: Plan) -> Self {
        let Plan { target, exchanges, bindings, queues } = plan;
        let queues = queues.into_iter().map(|queue| PlannedQueue {
            vhost: queue.vhost,
            name: queue.name,
            ready: queue.ready,
            unacknowledged: queue.unacked,
            warning: queue.warning,
        });
        Self { target, exchanges, bindings, queues: queues.collect() }
    }
}

impl From<Declared> for DrainedDefinitions {
    fn from(declared: Declared) -> Self {
        let Declared { taken, refused, next } = declared;
        let refused = refused.into_iter().map(|(item, reason)| NotDeclared { item, reason });
        Self { taken, refused: refused.collect(), next }
    }
}
