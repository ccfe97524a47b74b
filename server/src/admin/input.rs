//! What comes with a question, read so that whatever is wrong with it is answered as a problem that
//! names the place.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use posthouse_base::problem::Problem;
use serde::de::DeserializeOwned;

use super::Refusal;

/// The parts of the path.
pub(super) struct Named<T>(pub(super) T);

/// The query.
pub(super) struct Asked<T>(pub(super) T);

/// A body of JSON.
pub(super) struct Sent<T>(pub(super) T);

/// A body of any text.
pub(super) struct Text(pub(super) String);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Path(names) =
            Path::from_request_parts(parts, state).await.map_err(|rejection: PathRejection| {
                refused(rejection.status().as_u16(), rejection.body_text(), "path")
            })?;
        Ok(Self(names))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Query(asked) = Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection: QueryRejection| refused(400, rejection.body_text(), "query"))?;
        Ok(Self(asked))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let Json(sent) =
            Json::from_request(request, state).await.map_err(|rejection: JsonRejection| {
                refused(rejection.status().as_u16(), rejection.body_text(), "body")
            })?;
        Ok(Self(sent))
    }
}

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let body =
            Bytes::from_request(request, state).await.map_err(|rejection: BytesRejection| {
                refused(rejection.status().as_u16(), rejection.body_text(), "body")
            })?;
        let text = String::from_utf8(body.into())
            .map_err(|_| refused(400, "the body is no UTF-8 text".into(), "body"))?;
        Ok(Self(text))
    }
}

fn refused(status: u16, detail: String, field: &str) -> Refusal {
    let title = axum::http::StatusCode::from_u16(status).ok();
    let title = title.and_then(|status| status.canonical_reason()).unwrap_or("Bad Request");
    Refusal(Problem::new(status, title).detail(detail).field(field))
}
