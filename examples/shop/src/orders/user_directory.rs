//! Asking `users` about a user: by the service's name, through the gateway. Which instance
//! answers, and what happens when one is gone, is the gateway's work.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::Full;
use serde::Deserialize;

use crate::answer::Failure;
use crate::call::Client;

/// The name under which the gateway knows the service.
const USERS: &str = "users.service.consul";

/// The headers that make this call part of the caller's story.
const PASSED_ON: [&str; 3] = ["traceparent", "tracestate", "x-request-id"];

/// What an order needs to know of its user.
#[derive(Debug, Deserialize)]
pub(crate) struct Buyer {
    pub(super) name: String,
}

/// The users, as the orders see them.
#[derive(Clone, Debug)]
pub(crate) struct UserDirectory {
    client: Client,
    gateway: String,
}

impl UserDirectory {
    pub(crate) fn new(client: Client, gateway: String) -> Self {
        Self { client, gateway }
    }

    /// The user, or `None` when `users` knows no such id.
    pub(super) async fn find(&self, id: i64, caller: &HeaderMap) -> Result<Option<Buyer>, Failure> {
        let mut request = Request::get(format!("http://{}/api/v1/users/{id}", self.gateway))
            .header(header::HOST, USERS);
        for name in PASSED_ON {
            if let Some(value) = caller.get(name) {
                request = request.header(name, value);
            }
        }
        let request = request
            .body(Full::new(Bytes::new()))
            .map_err(|error| Failure::Internal(error.into()))?;
        let unavailable = |cause: String| {
            tracing::warn!("users cannot be asked about user {id}: {cause}");
            Failure::Unavailable("the users cannot be asked at the moment".to_owned())
        };
        let (status, body) =
            self.client.send(request).await.map_err(|error| unavailable(format!("{error:#}")))?;
        // A 404 counts only in the service's own words: the gateway has one for unknown names.
        match status {
            StatusCode::OK => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|error| unavailable(error.to_string())),
            StatusCode::NOT_FOUND if is_not_found(&body) => Ok(None),
            other => Err(unavailable(format!("the answer was {other}"))),
        }
    }
}

fn is_not_found(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        error: String,
    }
    serde_json::from_slice::<Answer>(body).is_ok_and(|answer| answer.error == "not_found")
}
