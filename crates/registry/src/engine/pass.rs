//! Passing requests on to the engine, so that services keep the address that they know. What they
//! bring, their token above all, is passed as it is: ours is not lent to them.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderMap, HeaderName};
use http::{HeaderValue, StatusCode, Version};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::sync::watch;

use super::client::{pool, uri};

/// Fields that concern one connection and not the next (RFC 9110 §7.6.1).
const OF_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

#[derive(Clone)]
struct Passage {
    pool: Pool<HttpConnector, Body>,
    authority: Arc<str>,
    closing: watch::Receiver<bool>,
}

/// Every path leads to the engine.
pub(crate) fn router(authority: &str, closing: watch::Receiver<bool>) -> Router {
    let passage = Passage { pool: pool(), authority: authority.into(), closing };
    Router::new().fallback(pass).with_state(passage)
}

async fn pass(State(passage): State<Passage>, mut request: Request) -> Response {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let Ok(uri) = uri(&passage.authority, target) else {
        return refused(StatusCode::BAD_REQUEST, "a path that cannot be passed on");
    };
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    without_connection(request.headers_mut());
    // The client names the engine itself.
    request.headers_mut().remove(header::HOST);
    let mut closing = passage.closing.clone();
    let answered = tokio::select! {
        answered = passage.pool.request(request) => answered,
        // A blocking read would hold the end up for minutes.
        _ = closing.wait_for(|closing| *closing) => {
            return refused(StatusCode::SERVICE_UNAVAILABLE, "the registry is shutting down");
        }
    };
    match answered {
        Ok(mut answer) => {
            without_connection(answer.headers_mut());
            answer.map(Body::new)
        }
        Err(error) => {
            tracing::debug!("a request cannot be passed on to the engine: {error}");
            let text = format!("The registry's engine at {} does not answer", passage.authority);
            refused(StatusCode::BAD_GATEWAY, &text)
        }
    }
}

fn without_connection(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> = fields
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OF_CONNECTION) {
        fields.remove(name);
    }
}

fn refused(status: StatusCode, text: &str) -> Response {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    (status, [(header::CONTENT_TYPE, kind)], format!("{text}\n")).into_response()
}
