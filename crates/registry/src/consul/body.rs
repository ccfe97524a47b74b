//! A request's body, within its limits.

use axum::extract::{FromRequest, Request};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use posthouse_base::config::Size;
use serde::de::DeserializeOwned;

use super::App;
use super::loose;
use super::reply::Fault;

/// The whole body of a request.
#[derive(Debug)]
pub(crate) struct Body(Bytes);

impl Body {
    /// The body as `T`; an empty body is an empty object.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let body: &[u8] = if self.0.is_empty() { b"{}" } else { &self.0 };
        loose::from_slice(body)
            .map_err(|error| Fault::bad(format!("Request decode failed: {error}")))
    }
}

impl FromRequest<App> for Body {
    type Rejection = Fault;

    async fn from_request(request: Request, app: &App) -> Result<Self, Fault> {
        let limit = app.config().limits.body;
        read(request, app, limit).await.map(Self).map_err(|failure| match failure {
            Failure::TooLarge(_) => {
                app.shared().metrics.limited("body");
                let text = format!("Request body too large: at most {limit} are read");
                Fault::new(StatusCode::PAYLOAD_TOO_LARGE, text)
            }
            Failure::Other(fault) => fault,
        })
    }
}

/// The whole body of a request that is or carries values: its limit is `kv_value`.
#[derive(Debug)]
pub(crate) struct Value(pub(crate) Bytes);

impl Value {
    /// The body as `T`.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        loose::from_slice(&self.0)
            .map_err(|error| Fault::bad(format!("Failed to parse body: {error}")))
    }
}

impl FromRequest<App> for Value {
    type Rejection = Fault;

    async fn from_request(request: Request, app: &App) -> Result<Self, Fault> {
        let limit = app.config().limits.kv_value;
        read(request, app, limit).await.map(Self).map_err(|failure| match failure {
            Failure::TooLarge(length) => {
                app.shared().metrics.limited("kv_value");
                let length = length.map(|length| format!("({length} bytes)")).unwrap_or_default();
                let text = format!(
                    "Request body{length} too large, max size: {} bytes. \
                     See registry.limits.kv_value.",
                    limit.0
                );
                Fault::new(StatusCode::PAYLOAD_TOO_LARGE, text)
            }
            Failure::Other(fault) => fault,
        })
    }
}

enum Failure {
    /// Longer than the limit; how long, if it was said.
    TooLarge(Option<u64>),
    Other(Fault),
}

async fn read(request: Request, app: &App, limit: Size) -> Result<Bytes, Failure> {
    let announced = request.body().size_hint().exact();
    if announced.is_some_and(|length| length > limit.0) {
        return Err(Failure::TooLarge(announced));
    }
    let most = usize::try_from(limit.0).unwrap_or(usize::MAX);
    let whole = Limited::new(request.into_body(), most).collect();
    match tokio::time::timeout(app.config().limits.body_timeout.0, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Failure::TooLarge(None)),
        Ok(Err(error)) => {
            Err(Failure::Other(Fault::bad(format!("Request body unreadable: {error}"))))
        }
        Err(_elapsed) => {
            Err(Failure::Other(Fault::new(StatusCode::REQUEST_TIMEOUT, "Request body too slow")))
        }
    }
}

/// Refuses a method, as Consul phrases it. (The router adds which ones are allowed.)
pub(crate) async fn wrong_method(request: Request) -> Fault {
    let text = format!("method {} not allowed", request.method());
    Fault::new(StatusCode::METHOD_NOT_ALLOWED, text)
}

/// Refuses what a path's owner has to bring, with its reason.
pub(crate) fn not_served(text: &'static str) -> Response {
    super::reply::text(StatusCode::NOT_IMPLEMENTED, text)
}
