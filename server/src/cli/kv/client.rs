//! The part of Consul's HTTP API that is about keys.

use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::At;
use crate::cli::Failure;

/// How long an answer may take, apart from the time that it was asked to wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a blocking read waits; when it ends, the next one begins.
const WAIT: Duration = Duration::from_secs(60);

/// The largest answer that is read.
const MAX_ANSWER: usize = 1 << 30;

/// What need not be escaped in the path of a key.
const KEY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// Asks one registry. Clones share connections.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    authority: String,
    token: Option<String>,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    pub(super) flags: u64,
    pub(super) create_index: u64,
    pub(super) modify_index: u64,
    pub(super) session: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PairSaid {
    key: String,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    flags: u64,
    create_index: u64,
    modify_index: u64,
    #[serde(default)]
    session: Option<String>,
}

struct Answer {
    status: StatusCode,
    index: u64,
    body: Bytes,
}

impl Client {
    pub(super) fn new(at: &At) -> Result<Self, Failure> {
        let pool = Pool::builder(TokioExecutor::new()).build_http();
        Ok(Self { pool, authority: at.authority()?.to_owned(), token: at.token.clone() })
    }

    /// A key, or with `recurse` all that begin with it, and the index that this goes by.
    pub(super) async fn pairs(
        &self,
        key: &str,
        query: &[(&str, String)],
    ) -> Result<(u64, Vec<Pair>), Failure> {
        let answer = self.ask(Method::GET, key, query, Vec::new(), PATIENCE).await?;
        Self::read_pairs(&answer)
    }

    /// Like [`Client::pairs`], once the index has passed `after`, or a while later.
    pub(super) async fn changed(
        &self,
        key: &str,
        query: &[(&str, String)],
        after: u64,
    ) -> Result<(u64, Vec<Pair>), Failure> {
        let mut query = query.to_vec();
        query.push(("index", after.to_string()));
        query.push(("wait", format!("{}s", WAIT.as_secs())));
        let patience = PATIENCE + WAIT + WAIT / 16;
        let answer = self.ask(Method::GET, key, &query, Vec::new(), patience).await?;
        Self::read_pairs(&answer)
    }

    /// The keys that begin with `prefix`.
    pub(super) async fn keys(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let query = [("keys", String::new())];
        let answer = self.ask(Method::GET, prefix, &query, Vec::new(), PATIENCE).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(Vec::new());
        }
        Ok(serde_json::from_slice(&answer.body).context("the answer is no list of keys")?)
    }

    /// Changes a key. Returns whether it was.
    pub(super) async fn set(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, String)],
        value: Vec<u8>,
    ) -> Result<bool, Failure> {
        let answer = self.ask(method, key, query, value, PATIENCE).await?;
        let said = serde_json::from_slice(&answer.body);
        Ok(said.context("the answer is neither `true` nor `false`")?)
    }

    async fn ask(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, String)],
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let query: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let path = utf8_percent_encode(key, KEY);
        let uri = format!("http://{}/v1/kv/{path}?{}", self.authority, query.join("&"));
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(token) = &self.token {
            request = request.header("x-consul-token", token);
        }
        let request = request.body(Full::from(body));
        let request =
            request.context("a key or token that HTTP cannot carry").map_err(Failure::setup)?;
        let answer = tokio::time::timeout(patience, self.send(request)).await;
        let answer = answer.context("it does not answer in time").flatten();
        let answer = answer.with_context(|| format!("asking {}", self.authority))?;
        if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND {
            return Ok(answer);
        }
        let said = String::from_utf8_lossy(&answer.body);
        Err(Failure::other(anyhow::anyhow!("{}: {}", answer.status, said.trim())))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let answer = self.pool.request(request).await;
        let answer = answer.context("nothing answers there: is `posthouse up` running?")?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
        let index = head.headers.get("x-consul-index");
        let index = index.and_then(|index| index.to_str().ok()?.parse().ok()).unwrap_or(0);
        Ok(Answer { status: head.status, index, body: body.to_bytes() })
    }

    fn read_pairs(answer: &Answer) -> Result<(u64, Vec<Pair>), Failure> {
        if answer.status == StatusCode::NOT_FOUND {
            return Ok((answer.index, Vec::new()));
        }
        let said: Vec<PairSaid> =
            serde_json::from_slice(&answer.body).context("the answer is no list of keys")?;
        let pairs: anyhow::Result<Vec<Pair>> = said.into_iter().map(Pair::try_from).collect();
        Ok((answer.index, pairs?))
    }
}

impl TryFrom<PairSaid> for Pair {
    type Error = anyhow::Error;

    fn try_from(said: PairSaid) -> anyhow::Result<Self> {
        let PairSaid { key, value, flags, create_index, modify_index, session } = said;
        let value = decode(&value.unwrap_or_default())
            .with_context(|| format!("the value of `{key}` is not base64"))?;
        Ok(Self { key, value, flags, create_index, modify_index, session })
    }
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    STANDARD.decode(text)
}
