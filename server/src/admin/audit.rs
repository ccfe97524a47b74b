//! The audit log, read.

use axum::Json;
use axum::extract::State as Shared;
use posthouse_base::problem::Problem;
use serde::{Deserialize, Serialize};
#[cfg(test)]
use utoipa::ToSchema;

use super::input::Asked;
#[cfg(test)]
use super::wire::ProblemDetails;
use super::{Refusal, State};
use crate::audit::{MAX_PAGE, Written};

/// Entries that are shown when it is not said how many.
const PAGE: usize = 100;

/// Which entries are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    limit: Option<usize>,
    before: Option<u64>,
}

/// Entries of the audit log.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct AuditLog {
    /// The latest first.
    entries: Vec<AuditEntry>,
}

/// Something that was done, or tried by somebody who may not.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct AuditEntry {
    /// Its number.
    number: u64,
    /// When, in milliseconds since 1970.
    at_ms: u64,
    /// Whose token it was, or what else: `loopback`, `file`, `signal`.
    who: String,
    /// Their role.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    /// The address that they came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// What they asked for.
    action: String,
    /// The status that was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// What it came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
}

/// Shows who changed what, and when; the latest first.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/api/v1/audit",
    security(("token" = ["admin"])),
    params(
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 1000,
         description = "How many entries; 100 if not said"),
        ("before" = Option<u64>, Query, minimum = 0,
         description = "Only those before the entry of this number"),
    ),
    responses(
        (status = 200, body = AuditLog),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json",
         description = "The journal cannot be read now."),
    )
))]
pub(super) async fn audit(
    Shared(state): Shared<State>,
    Asked(which): Asked<Which>,
) -> Result<Json<AuditLog>, Refusal> {
    let limit = which.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        let detail = format!("`limit` is 1 to {MAX_PAGE}");
        return Err(Refusal(Problem::new(400, "Bad Request").detail(detail).field("limit")));
    }
    let written = state.audit.latest(limit, which.before).await;
    let written = written.map_err(|error| {
        Refusal(Problem::new(503, "Service Unavailable").detail(error.to_string()))
    })?;
    Ok(Json(AuditLog { entries: written.into_iter().map(AuditEntry::from).collect() }))
}

impl From<Written> for AuditEntry {
    fn from(Written { number, at_ms, entry }: Written) -> Self {
        let crate::audit::Entry { who, role, from, action, status, outcome } = entry;
        Self { number, at_ms, who, role, from, action, status, outcome }
    }
}
