//! What goes wrong, as JSON: `{"error": code, "message": text}`, with `fields` when input is at
//! fault. Causes that are nobody's business outside are logged, not told.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, Uri, header};
use serde_json::json;

/// A refused or failed call.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The input's fields and what is wrong with each.
    Invalid(BTreeMap<&'static str, String>),
    /// The input could not be read at all.
    Unreadable(StatusCode, String),
    /// Nothing has this id.
    NotFound { what: &'static str, id: i64 },
    /// It would break a rule of what is stored already.
    Conflict(String),
    /// Another service that is needed does not answer.
    Unavailable(String),
    /// The fault is ours.
    Internal(anyhow::Error),
}

impl Failure {
    /// One field is wrong.
    pub(crate) fn invalid(field: &'static str, message: String) -> Self {
        Self::Invalid(BTreeMap::from([(field, message)]))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid(fields) => {
                let message = "the input is not valid; see `fields`";
                let body = json!({ "error": "invalid", "message": message, "fields": fields });
                (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
            }
            Self::Unreadable(status, message) => error(status, "unreadable", &message),
            Self::NotFound { what, id } => {
                error(StatusCode::NOT_FOUND, "not_found", &format!("there is no {what} {id}"))
            }
            Self::Conflict(message) => error(StatusCode::CONFLICT, "conflict", &message),
            Self::Unavailable(message) => {
                let mut response = error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &message);
                let soon = http::HeaderValue::from_static("1");
                response.headers_mut().insert(header::RETRY_AFTER, soon);
                response
            }
            Self::Internal(cause) => {
                tracing::error!("a call failed: {cause:#}");
                let message = "the service could not do this; see its log";
                error(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
            }
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(cause: anyhow::Error) -> Self {
        Self::Internal(cause)
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self::Unreadable(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Self {
        Self::Unreadable(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::Unreadable(rejection.status(), rejection.body_text())
    }
}

/// Gathers every mistake in an input before it is refused.
#[derive(Default)]
pub(crate) struct Mistakes(BTreeMap<&'static str, String>);

impl Mistakes {
    /// The text without surrounding blanks; a mistake when it is missing, empty or too long.
    pub(crate) fn text(&mut self, field: &'static str, value: Option<&str>, max: usize) -> String {
        let value = value.unwrap_or_default().trim();
        if value.is_empty() {
            self.add(field, "must not be empty");
        } else if value.chars().count() > max {
            self.add(field, format!("must be at most {max} characters long"));
        }
        value.to_owned()
    }

    /// Notes a mistake; the first one of a field is kept.
    pub(crate) fn add(&mut self, field: &'static str, message: impl Into<String>) {
        self.0.entry(field).or_insert_with(|| message.into());
    }

    /// The value, if nothing was wrong.
    pub(crate) fn or<T>(self, value: T) -> Result<T, Failure> {
        if self.0.is_empty() { Ok(value) } else { Err(Failure::Invalid(self.0)) }
    }
}

/// The answer for paths that nobody serves.
pub(crate) async fn no_such_path(uri: Uri) -> Response {
    error(StatusCode::NOT_FOUND, "not_found", &format!("there is nothing at {}", uri.path()))
}

/// The answer for methods that a path does not have.
pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Response {
    let message = format!("{} does not answer to {method}", uri.path());
    error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message)
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "error": code, "message": message }))).into_response()
}
