//! Asking the engine over Consul's HTTP API.

use std::time::Duration;

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::EngineAddress;

/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(3);

/// How long an answer may be late: a blocking read takes longer than it was asked to, by a part at
/// random, and then there is the way.
const LATE: Duration = Duration::from_secs(15);

/// How long a connection is silent before the system finds out whether the other end is there.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The longest answer that is read.
const MAX_ANSWER: usize = 64 << 20;

/// The longest word on an error that is repeated.
const MAX_WORD: usize = 200;

/// The token's header.
const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");

/// The index's header.
const INDEX: HeaderName = HeaderName::from_static("x-consul-index");

/// Where keys are.
const KEYS: &str = "/v1/kv/";

/// What need not be escaped in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Asks one engine. Clones share connections.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    authority: String,
    token: Option<HeaderValue>,
}

/// An answer with the index that it goes by; 0 when it said none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer<T> {
    pub(super) index: u64,
    pub(super) value: T,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Unreachable(String),
    #[error("no answer in time")]
    Late,
    #[error("it answered {0}: {1}")]
    Refused(StatusCode, String),
    #[error("its answer cannot be read: {0}")]
    Malformed(String),
}

impl Client {
    pub(super) fn new(engine: &EngineAddress) -> Self {
        Self { pool: pool(), authority: engine.authority.clone(), token: engine.token.clone() }
    }

    /// Reads `path`. With an index that is not 0, waits for up to `wait` until it has passed.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        index: u64,
        wait: Duration,
    ) -> Result<Answer<T>, Fault> {
        let (query, wait) = match index {
            0 => (String::new(), Duration::ZERO),
            index => (format!("index={index}&wait={}ms", wait.as_millis()), wait),
        };
        let sign = match (path.contains('?'), query.is_empty()) {
            (_, true) => "",
            (true, false) => "&",
            (false, false) => "?",
        };
        let target = format!("{path}{sign}{query}");
        let patience = wait + wait / 16 + LATE;
        tokio::time::timeout(patience, self.fetch(&target)).await.map_err(|_late| Fault::Late)?
    }

    async fn fetch<T: DeserializeOwned>(&self, target: &str) -> Result<Answer<T>, Fault> {
        let uri = uri(&self.authority, target).map_err(|error| malformed(&error))?;
        let mut request = Request::get(uri).body(Full::default()).map_err(|e| malformed(&e))?;
        if let Some(token) = &self.token {
            request.headers_mut().insert(TOKEN, token.clone());
        }
        let answer = self.pool.request(request).await.map_err(|error| unreachable(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| Fault::Malformed(error.to_string()))?.to_bytes();
        let index = head.headers.get(INDEX).and_then(|index| index.to_str().ok()?.parse().ok());
        // That there are no keys is an answer with an index; a wrong address is one without.
        if head.status == StatusCode::NOT_FOUND && target.starts_with(KEYS) && index.is_some() {
            let none = serde_json::from_str("[]").map_err(|error| malformed(&error))?;
            return Ok(Answer { index: index.unwrap_or(0), value: none });
        }
        if head.status != StatusCode::OK {
            let word = String::from_utf8_lossy(&body);
            let word = word.trim();
            let end = word.floor_char_boundary(MAX_WORD);
            return Err(Fault::Refused(head.status, word[..end].to_owned()));
        }
        let value = serde_json::from_slice(&body).map_err(|error| malformed(&error))?;
        Ok(Answer { index: index.unwrap_or(0), value })
    }
}

/// `name` as one segment of a path.
pub(super) fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

/// Connections to an engine.
pub(super) fn pool<B>() -> Pool<HttpConnector, B>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
{
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECTING));
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_nodelay(true);
    Pool::builder(TokioExecutor::new()).build(connector)
}

/// `target` at the engine.
pub(super) fn uri(authority: &str, target: &str) -> Result<Uri, http::Error> {
    let target = PathAndQuery::try_from(target)?;
    Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(target).build()
}

fn malformed(error: &dyn std::fmt::Display) -> Fault {
    Fault::Malformed(error.to_string())
}

/// What went wrong at the bottom: the layers above only say that something did.
fn unreachable(error: &hyper_util::client::legacy::Error) -> Fault {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Fault::Unreachable(cause.to_string())
}
