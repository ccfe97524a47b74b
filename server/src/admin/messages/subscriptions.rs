//! Push subscriptions: services that are called for each message of a queue.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use posthouse_base::config::Span;
use posthouse_base::problem::Problem;
use posthouse_broker::state::Ask;
use posthouse_broker::{Handle, RawSubscription, Subscription};
use serde::Serialize;
#[cfg(test)]
use utoipa::ToSchema;

use super::{broker, missing, refused, told};
use crate::admin::catalog::wire::DeclaredIn;
use crate::admin::input::{Named, Sent};
#[cfg(test)]
use crate::admin::wire::ProblemDetails;
use crate::admin::{Refusal, State};

/// The push subscriptions.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct PushSubscriptions {
    /// Those of the file first.
    subscriptions: Vec<PushSubscription>,
}

/// A push subscription.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct PushSubscription {
    /// Its name.
    name: String,
    /// Where it is declared.
    origin: DeclaredIn,
    /// The virtual host.
    vhost: String,
    /// The queue.
    queue: String,
    /// The service that is called.
    service: String,
    /// The path of the calls.
    path: String,
    /// Calls at the same time.
    concurrency: u16,
    /// How long a call may take.
    timeout: String,
    /// Calls for one message.
    attempts: u32,
    /// The first pause between them,
    first_pause: String,
    /// and the longest.
    longest_pause: String,
}

/// Lists the push subscriptions.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/messages/subscriptions", security(("token" = ["viewer"])),
    responses(
        (status = 200, body = PushSubscriptions),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn subscriptions(
    Shared(state): Shared<State>,
) -> Result<Json<PushSubscriptions>, Refusal> {
    let broker = broker(&state)?;
    let kept = kept(broker).await?;
    let filed = broker.config().subscriptions().iter();
    let filed = filed.map(|one| PushSubscription::of(one, DeclaredIn::File));
    let kept = kept.iter().map(|one| PushSubscription::of(one, DeclaredIn::Api));
    Ok(Json(PushSubscriptions { subscriptions: filed.chain(kept).collect() }))
}

/// Has a service called for each message of a queue, or says something else of that.
#[cfg_attr(test, utoipa::path(
    put, path = "/api/v1/messages/subscriptions/{name}", security(("token" = ["operator"])),
    params(("name" = String, Path, description = "The subscription's name")),
    request_body(content = ref("#/components/schemas/MessagesSubscription"), content_type = "application/json"),
    responses(
        (status = 200, body = PushSubscription),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json",
         description = "It is declared in the file, or there are too many."),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn put_subscription(
    Shared(state): Shared<State>,
    Named(name): Named<String>,
    Sent(raw): Sent<RawSubscription>,
) -> Result<Response, Refusal> {
    let broker = broker(&state)?;
    not_of_the_file(broker, &name)?;
    let checked = Subscription::check(&name, &raw, broker.config().vhost());
    let checked = checked.map_err(|(field, detail)| {
        let problem = Problem::new(422, "Unprocessable Content").detail(detail);
        Refusal(if field.is_empty() { problem.field("name") } else { problem.field(field) })
    })?;
    let answer = PushSubscription::of(&checked, DeclaredIn::Api);
    let asked = broker.ask(Ask::PutSubscription(Arc::new(checked))).await;
    asked.map_err(|error| refused(&error))?;
    Ok(told(Json(answer), format!("subscription {name} put")))
}

/// Ends a push subscription; its queue stays.
#[cfg_attr(test, utoipa::path(
    delete, path = "/api/v1/messages/subscriptions/{name}", security(("token" = ["operator"])),
    params(("name" = String, Path, description = "The subscription's name")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json",
         description = "It is declared in the file."),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn delete_subscription(
    Shared(state): Shared<State>,
    Named(name): Named<String>,
) -> Result<Response, Refusal> {
    let broker = broker(&state)?;
    not_of_the_file(broker, &name)?;
    if !kept(broker).await?.iter().any(|one| one.name == name) {
        return Err(missing("subscription", &name));
    }
    let asked = broker.ask(Ask::DeleteSubscription((&*name).into())).await;
    asked.map_err(|error| refused(&error))?;
    Ok(told(StatusCode::NO_CONTENT, format!("subscription {name} removed")))
}

async fn kept(broker: &Handle) -> Result<Vec<Arc<Subscription>>, Refusal> {
    let gathered = broker.look(|state| state.subscriptions().cloned().collect());
    gathered.await.map_err(|error| refused(&error))
}

fn not_of_the_file(broker: &Handle, name: &str) -> Result<(), Refusal> {
    if broker.config().subscriptions().iter().all(|one| one.name != name) {
        return Ok(());
    }
    let detail = format!("`{name}` is declared in the configuration file");
    Err(Refusal(Problem::new(409, "Conflict").detail(detail)))
}

impl PushSubscription {
    fn of(subscription: &Subscription, origin: DeclaredIn) -> Self {
        Self {
            name: subscription.name.clone(),
            origin,
            vhost: subscription.vhost.clone(),
            queue: subscription.queue.clone(),
            service: subscription.service.clone(),
            path: subscription.path.clone(),
            concurrency: subscription.concurrency,
            timeout: Span(subscription.timeout).to_string(),
            attempts: subscription.attempts,
            first_pause: Span(subscription.backoff.first).to_string(),
            longest_pause: Span(subscription.backoff.most).to_string(),
        }
    }
}
