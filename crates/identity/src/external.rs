//! Somebody else decides: each call is described to an HTTP service, which lets it pass by 2xx.
//!
//! What must hold: it is told what the configuration chose and no more; the fields that it may add
//! are the ones that were chosen, and none of them is ever the client's own; what is neither yes nor
//! no is an error.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts as Head;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use posthouse_base::config::{Path, Report, Span};
use posthouse_base::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};

use crate::asking::{Asker, Fault};
use crate::credential::{Answer, Credentials, Identity, Outcome, Refusal};
use crate::introspection::{OnError, unknown};
use crate::jwt::{check_header, check_readable, check_url};
use crate::nag::Nag;
use crate::provider::{Finding, Parts};

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Questions at the same time; further ones are errors.
const MAX_QUESTIONS: usize = 4096;

/// Fields of a refusal that go on to the client, beside those that are chosen.
const PASSED_ON: [HeaderName; 3] =
    [http::header::WWW_AUTHENTICATE, http::header::CONTENT_TYPE, http::header::CACHE_CONTROL];

/// Fields that describe the call. What a client sends under these names is not passed.
const DESCRIBING: [&str; 5] = [
    "x-forwarded-method",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-uri",
    "x-forwarded-for",
];

/// An HTTP service that is asked about each call: 2xx lets it pass, 401 and 403 are passed on to the
/// client, anything else is an error. It is asked by `GET`, with the call in `X-Forwarded-Method`,
/// `-Proto`, `-Host`, `-Uri` and `-For`, and without the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "IdentityExternal")]
pub struct Raw {
    /// Where it is asked.
    pub url: String,
    /// How long it may take.
    pub timeout: Span,
    /// Headers of the call that it is told.
    pub request_headers: Vec<String>,
    /// Headers of its answer that go on to the service, in place of what the client sent, and that
    /// are claims of the identity. One that it does not answer is empty.
    pub response_headers: Vec<String>,
    /// The header of its answer that names the subject.
    pub subject: Option<String>,
    /// The header of its answer that names the consumer.
    pub consumer: Option<String>,
    /// The header of its answer with the scopes, separated by spaces.
    pub scopes: Option<String>,
    /// The header of its answer with the roles, separated by spaces.
    pub roles: Option<String>,
    /// Headers of a refusal that go on to the client, beside `www-authenticate`, `content-type` and
    /// `cache-control`.
    pub refusal_headers: Vec<String>,
    /// What is done when it cannot be asked.
    pub on_error: OnError,
    /// File with the certificates (PEM) of the authorities that it is trusted by, in place of the
    /// system's.
    pub ca: Option<PathBuf>,
    /// Asks over `http` too, where whoever is in between could say yes.
    pub plain_http: bool,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            url: String::new(),
            timeout: Span(Duration::from_millis(500)),
            request_headers: vec!["authorization".into(), "cookie".into()],
            response_headers: Vec::new(),
            subject: None,
            consumer: None,
            scopes: None,
            roles: None,
            refusal_headers: Vec::new(),
            on_error: OnError::Refuse,
            ca: None,
            plain_http: false,
        }
    }
}

/// As checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    uri: Uri,
    timeout: Duration,
    told: Vec<HeaderName>,
    taken: Vec<HeaderName>,
    subject: Option<HeaderName>,
    consumer: Option<HeaderName>,
    scopes: Option<HeaderName>,
    roles: Option<HeaderName>,
    passed_on: Vec<HeaderName>,
    on_error: OnError,
    ca: Option<PathBuf>,
}

impl Config {
    /// Checks `raw`, which stands at `path`, and notes every mistake in `report`.
    pub(crate) fn check(raw: &Raw, path: &Path, report: &mut Report) -> Option<Self> {
        let uri = check_url(&raw.url, raw.plain_http, &path.key("url"), report);
        if raw.timeout.0.is_zero() {
            report.error(&path.key("timeout"), "nobody answers in no time");
        }
        if let Some(ca) = &raw.ca {
            check_readable(ca, &path.key("ca"), report);
        }
        let mut passed_on = PASSED_ON.to_vec();
        passed_on.extend(names(&raw.refusal_headers, &path.key("refusal_headers"), report));
        let mut one = |name: &Option<String>, key: &str| {
            name.as_ref().and_then(|name| header(name, &path.key(key), report))
        };
        let (subject, consumer) = (one(&raw.subject, "subject"), one(&raw.consumer, "consumer"));
        let (scopes, roles) = (one(&raw.scopes, "scopes"), one(&raw.roles, "roles"));
        let told = names(&raw.request_headers, &path.key("request_headers"), report);
        for name in &told {
            if DESCRIBING.contains(&name.as_str()) || is_framing(name) {
                let message = format!("`{name}` is not the client's to say");
                report.error(&path.key("request_headers"), message);
            }
        }
        let taken = names(&raw.response_headers, &path.key("response_headers"), report);
        if let Some(name) = taken.iter().find(|name| is_framing(name)) {
            let message = format!("`{name}` says how a message is framed");
            report.error(&path.key("response_headers"), message);
        }
        Some(Self {
            uri: uri?,
            timeout: raw.timeout.0,
            told,
            taken,
            subject,
            consumer,
            scopes,
            roles,
            passed_on,
            on_error: raw.on_error,
            ca: raw.ca.clone(),
        })
    }

    /// The headers that identities add to calls.
    pub(crate) fn added(&self) -> &[HeaderName] {
        &self.taken
    }
}

fn header(name: &str, path: &Path, report: &mut Report) -> Option<HeaderName> {
    check_header(name, path, report).and_then(|name| HeaderName::try_from(&*name).ok())
}

fn names(names: &[String], path: &Path, report: &mut Report) -> Vec<HeaderName> {
    let each = names.iter().enumerate();
    each.filter_map(|(at, name)| header(name, &path.index(at), report)).collect()
}

/// What belongs to a message and its connection, and so to nobody else.
fn is_framing(name: &HeaderName) -> bool {
    let names = [
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "proxy-connection",
        "expect",
    ];
    names.contains(&name.as_str())
}

/// Asks one service about calls.
#[derive(Debug)]
pub(crate) struct Provider(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    config: Config,
    asker: Asker,
    asking: Arc<Semaphore>,
    nag: Nag,
    parts: Parts,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Provider {
    pub(crate) fn new(name: &Arc<str>, config: &Config, parts: &Parts) -> Self {
        Self(Arc::new(Inner {
            name: Arc::clone(name),
            config: config.clone(),
            asker: Asker::new(config.ca.as_deref(), config.timeout, MAX_ANSWER),
            asking: Arc::new(Semaphore::new(MAX_QUESTIONS)),
            nag: Nag::default(),
            parts: parts.clone(),
        }))
    }

    /// It decides about every call: there is nothing that a call must show.
    pub(crate) fn identify(&self, asked: &Credentials<'_>) -> Finding {
        let inner = Arc::clone(&self.0);
        let Some(question) = inner.question(asked) else {
            inner.parts.metrics.refused(&inner.name, "malformed");
            return Finding::Decided(Outcome::Refused(Refusal::Invalid));
        };
        let Ok(turn) = Arc::clone(&inner.asking).try_acquire_owned() else {
            return Finding::Decided(unknown(inner.config.on_error, &inner.name, &inner.parts));
        };
        let (answer, answered) = oneshot::channel();
        let _on_our_runtime = self.0.parts.runtime.enter();
        let asking = Arc::clone(&inner);
        self.0.parts.tasks.spawn("external authoriser", async move {
            let _turn = turn;
            // A client that has gone is asked for no more.
            let mut answer = answer;
            tokio::select! {
                outcome = asking.ask(question) => drop(answer.send(outcome)),
                () = answer.closed() => {}
            }
        });
        Finding::Decided(Outcome::Later(Box::pin(async move {
            let outcome = answered.await.ok();
            outcome.unwrap_or_else(|| unknown(inner.config.on_error, &inner.name, &inner.parts))
        })))
    }
}

impl Inner {
    /// The call, described. `None` when it has what no header may have.
    fn question(&self, asked: &Credentials<'_>) -> Option<Request<Full<Bytes>>> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.config.uri.clone();
        let headers = request.headers_mut();
        for name in &self.config.told {
            let mut sound = true;
            asked.fields.named(name.as_str(), &mut |value| match HeaderValue::from_bytes(value) {
                Ok(value) => drop(headers.append(name, value)),
                Err(_) => sound = false,
            });
            if !sound {
                return None;
            }
        }
        let client = asked.client.ip().to_string();
        let described: [&[u8]; 5] = [
            asked.method.as_str().as_bytes(),
            asked.scheme.as_bytes(),
            asked.authority,
            asked.path_and_query,
            client.as_bytes(),
        ];
        for (name, value) in DESCRIBING.into_iter().zip(described) {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?);
        }
        Some(request)
    }

    async fn ask(&self, question: Request<Full<Bytes>>) -> Outcome {
        let answer = self.asker.ask(question).await;
        let judged = answer.and_then(|(head, body)| self.judge(&head, body));
        self.parts.metrics.asked(&self.name, judged.is_ok());
        match judged {
            Ok(outcome) => {
                self.nag.rest();
                outcome
            }
            Err(fault) => {
                if self.nag.is_due(Timestamp::now()) {
                    let provider = &*self.name;
                    tracing::warn!(provider, "an external authoriser gives no answer: {fault}");
                }
                unknown(self.config.on_error, &self.name, &self.parts)
            }
        }
    }

    fn judge(&self, head: &Head, body: Bytes) -> Result<Outcome, Fault> {
        match head.status {
            status if status.is_success() => Ok(Outcome::Known(Arc::new(self.identity(head)))),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.parts.metrics.refused(&self.name, "forbidden");
                let fields = self.config.passed_on.iter().flat_map(|name| {
                    head.headers.get_all(name).iter().map(|value| (name.clone(), value.clone()))
                });
                let fields = fields.filter(|(name, _)| !is_framing(name)).collect();
                let answer = Answer { status: head.status, fields, body };
                Ok(Outcome::Refused(Refusal::Forbidden(Some(Box::new(answer)))))
            }
            status => Err(Fault::Status(status.as_u16())),
        }
    }

    fn identity(&self, head: &Head) -> Identity {
        let text = |name: &Option<HeaderName>| {
            head.headers.get(name.as_ref()?).and_then(|value| value.to_str().ok())
        };
        let words = |name: &Option<HeaderName>| -> Vec<Box<str>> {
            text(name).unwrap_or_default().split_ascii_whitespace().map(Box::from).collect()
        };
        let mut identity = Identity {
            provider: Arc::clone(&self.name),
            subject: text(&self.config.subject).unwrap_or_default().into(),
            scopes: words(&self.config.scopes),
            roles: words(&self.config.roles),
            ..Identity::default()
        };
        if let Some(name) = text(&self.config.consumer)
            && let Some(consumer) = self.parts.directory.find(name)
        {
            identity.consumer = Some(name.into());
            identity.plan = consumer.plan;
            identity.roles.extend(consumer.roles);
        }
        for name in &self.config.taken {
            // An empty one stands in place of what the client may have sent under this name.
            let value = head.headers.get(name).cloned();
            if let Some(Ok(text)) = value.as_ref().map(HeaderValue::to_str) {
                identity.claims.insert(name.as_str().to_owned(), Value::String(text.to_owned()));
            }
            let value = value.unwrap_or_else(|| HeaderValue::from_static(""));
            identity.fields.push((name.clone(), value));
        }
        identity
    }
}
