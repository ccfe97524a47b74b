//! Definitions in RabbitMQ's JSON: out, and in.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as Shared;
use axum::response::Response;
use posthouse_base::problem::Problem;
use posthouse_broker::management::Definitions;
use serde::Serialize;
use serde_json::Value;
#[cfg(test)]
use utoipa::ToSchema;

use super::{Of, Within, broker, refused, told, vhost};
use crate::admin::input::{Asked, Sent};
#[cfg(test)]
use crate::admin::wire::ProblemDetails;
use crate::admin::{Refusal, State};

/// What an import has come to.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct ImportedDefinitions {
    /// How many of each kind are there now as they were wanted.
    taken: BTreeMap<&'static str, usize>,
    /// What was not taken, and why.
    refused: Vec<RefusedDefinition>,
    /// What has no meaning here, like policies, with how many there were.
    ignored: BTreeMap<String, usize>,
}

/// Something that was not taken.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct RefusedDefinition {
    /// What.
    item: String,
    /// Why.
    reason: String,
}

/// Exports what there is in RabbitMQ's JSON: virtual hosts, users with the hashes of their passwords,
/// permissions, exchanges, queues and bindings. Or, of one virtual host, only what is in it.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/messages/definitions", security(("token" = ["admin"])),
    params(("vhost" = Option<String>, Query, description = "Only what is in this virtual host")),
    responses(
        (status = 200, body = serde_json::Value),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn export(
    Shared(state): Shared<State>,
    Asked(Of { vhost }): Asked<Of>,
) -> Result<Json<Definitions>, Refusal> {
    let gathered = broker(&state)?.look(|state| Definitions::of(state, vhost.as_deref()));
    Ok(Json(gathered.await.map_err(|error| refused(&error))?))
}

/// Imports what RabbitMQ, or Posthouse, has exported. What cannot be taken is told, and the rest taken.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/messages/definitions", security(("token" = ["admin"])),
    params(("vhost" = Option<String>, Query,
            description = "The virtual host of what says none: exports of one virtual host do not")),
    request_body(content = serde_json::Value, description = "Definitions in RabbitMQ's JSON"),
    responses(
        (status = 200, body = ImportedDefinitions),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn import(
    Shared(state): Shared<State>,
    Asked(within): Asked<Within>,
    Sent(sent): Sent<Value>,
) -> Result<Response, Refusal> {
    let vhost = vhost(&state, within.vhost)?;
    let wanted: Definitions = serde_json::from_value(sent).map_err(|error| {
        let detail = format!("these are no definitions as RabbitMQ exports them: {error}");
        Refusal(Problem::new(422, "Unprocessable Content").detail(detail))
    })?;
    let imported = broker(&state)?.import(&wanted, &vhost).await;
    let imported = imported.map_err(|error| refused(&error))?;
    let taken: usize = imported.taken.values().sum();
    let refusals = imported.refused.len();
    let refused = imported.refused.into_iter();
    let answer = ImportedDefinitions {
        taken: imported.taken,
        refused: refused
            .map(|mistake| RefusedDefinition { item: mistake.item, reason: mistake.why })
            .collect(),
        ignored: imported.ignored,
    };
    Ok(told(Json(answer), format!("{taken} definitions imported, {refusals} refused")))
}
