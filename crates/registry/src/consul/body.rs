//! A request's body, within its limits.

use axum::extract::{FromRequest, Request};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
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
        let limits = &app.config().limits;
        let limit = usize::try_from(limits.body.0).unwrap_or(usize::MAX);
        let whole = Limited::new(request.into_body(), limit).collect();
        match tokio::time::timeout(limits.body_timeout.0, whole).await {
            Ok(Ok(body)) => Ok(Self(body.to_bytes())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                app.shared().metrics.limited("body");
                let text = format!("Request body too large: at most {} are read", limits.body);
                Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, text))
            }
            Ok(Err(error)) => Err(Fault::bad(format!("Request body unreadable: {error}"))),
            Err(_elapsed) => Err(Fault::new(StatusCode::REQUEST_TIMEOUT, "Request body too slow")),
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
