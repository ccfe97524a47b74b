//! Opaque tokens: the issuer is asked about each (RFC 7662), and what it said is remembered for a
//! while.
//!
//! What must hold: an answer that cannot be read is no answer; many calls with one token ask once; an
//! issuer that fails is left alone for a moment, and nobody waits for it meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use posthouse_base::config::{Path, Report, Size, Span};
use posthouse_base::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::asking::{Asker, Fault};
use crate::cache::Cache;
use crate::claims::{ClaimPath, Mapping, Rules};
use crate::credential::{Credentials, Identity, Outcome, Refusal, Single};
use crate::flight::{Flights, Landing};
use crate::json;
use crate::jwt::{self, Flaw, check_header, check_readable, check_url};
use crate::nag::Nag;
use crate::provider::{Finding, Parts};
use crate::secret::Secret;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Questions at the same time.
const MAX_QUESTIONS: usize = 1024;

/// How long an issuer that failed is left alone, in milliseconds.
const REST: u64 = 1_000;

/// What need not be escaped in a form.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How the issuer knows who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "IdentityClientAuth")]
pub enum ClientAuth {
    /// By `Authorization: Basic` (`client_secret_basic`).
    #[default]
    Basic,
    /// In the form (`client_secret_post`).
    Form,
    /// By `Authorization: Bearer` with the secret.
    Bearer,
}

/// What is done with a call when nobody can be asked about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "IdentityOnError")]
pub enum OnError {
    /// It is refused (503).
    #[default]
    Refuse,
    /// It passes as an identity with an empty subject, without scopes, roles and consumer.
    Allow,
}

/// Opaque tokens, about which the issuer is asked (OAuth 2.0 Token Introspection, RFC 7662).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "IdentityIntrospection")]
pub struct Raw {
    /// URL of the introspection endpoint.
    pub url: String,
    /// Who asks.
    pub client_id: String,
    /// The secret of whoever asks. Better filled in: `${env:NAME}`.
    pub client_secret: Secret,
    /// How the issuer knows who asks.
    pub auth: ClientAuth,
    /// How long an active token is remembered, at most until it expires.
    pub cache: Span,
    /// How long a token that is not active is remembered.
    pub cache_inactive: Span,
    /// Memory for tokens that were asked about.
    pub cache_size: Size,
    /// What is done when the issuer cannot be asked.
    pub on_error: OnError,
    /// What `iss` must be, if it must be anything.
    pub issuer: Option<String>,
    /// One of these must be in `aud`, if any are given.
    pub audience: Vec<String>,
    /// How far the issuer's clock and ours may differ.
    pub leeway: Span,
    /// Claims that must be there.
    pub required: Vec<String>,
    /// The claim with the subject. Without one it is the client (`client_id`).
    pub subject: String,
    /// The claim with the scopes: a string with spaces, or a list.
    pub scopes: String,
    /// The claim with the roles.
    pub roles: Option<String>,
    /// The claim with the name of the consumer, such as `client_id`.
    pub consumer: Option<String>,
    /// The header with the token, after `Bearer ` in `authorization`, alone in others.
    pub header: String,
    /// The longest token; a longer one is refused.
    pub max_token: Size,
    /// How long the issuer may take to answer.
    pub timeout: Span,
    /// File with the certificates (PEM) of the authorities that the issuer is trusted by, in place of
    /// the system's.
    pub ca: Option<PathBuf>,
    /// Asks over `http` too, where whoever is in between could read secret and tokens.
    pub plain_http: bool,
}

impl Default for Raw {
    fn default() -> Self {
        let token = jwt::Raw::default();
        Self {
            url: String::new(),
            client_id: String::new(),
            client_secret: Secret::default(),
            auth: ClientAuth::Basic,
            cache: Span(Duration::from_secs(60)),
            cache_inactive: Span(Duration::from_secs(5)),
            cache_size: Size(16 << 20),
            on_error: OnError::Refuse,
            issuer: None,
            audience: Vec::new(),
            leeway: token.leeway,
            required: Vec::new(),
            subject: token.subject,
            scopes: token.scopes,
            roles: None,
            consumer: None,
            header: token.header,
            max_token: token.max_token,
            timeout: Span(Duration::from_secs(2)),
            ca: None,
            plain_http: false,
        }
    }
}

/// As checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    uri: Uri,
    client_id: Box<str>,
    client_secret: Secret,
    auth: ClientAuth,
    cache: Duration,
    cache_inactive: Duration,
    cache_size: usize,
    on_error: OnError,
    rules: Rules,
    mapping: Mapping,
    header: Box<str>,
    max_token: usize,
    timeout: Duration,
    ca: Option<PathBuf>,
}

impl Config {
    /// Checks `raw`, which stands at `path`, and notes every mistake in `report`.
    pub(crate) fn check(raw: &Raw, path: &Path, report: &mut Report) -> Option<Self> {
        let uri = check_url(&raw.url, raw.plain_http, &path.key("url"), report);
        let header = check_header(&raw.header, &path.key("header"), report);
        if let Some(ca) = &raw.ca {
            check_readable(ca, &path.key("ca"), report);
        }
        if raw.auth != ClientAuth::Bearer && raw.client_id.is_empty() {
            report.error(&path.key("client_id"), "issuers answer only those whom they know");
        }
        if raw.client_secret.reveal().is_empty() {
            report.error(&path.key("client_secret"), "the secret is empty");
        }
        Some(Self {
            uri: uri?,
            client_id: raw.client_id.as_str().into(),
            client_secret: raw.client_secret.clone(),
            auth: raw.auth,
            cache: raw.cache.0,
            cache_inactive: raw.cache_inactive.0.min(raw.cache.0),
            cache_size: jwt::bytes(raw.cache_size),
            on_error: raw.on_error,
            rules: Rules {
                issuer: raw.issuer.as_deref().map(Into::into),
                audience: raw.audience.iter().map(|name| name.as_str().into()).collect(),
                leeway: raw.leeway.0,
                required: raw.required.iter().map(|claim| ClaimPath::new(claim)).collect(),
                max_age: None,
                expires: false,
            },
            mapping: Mapping {
                subject: ClaimPath::new(&raw.subject),
                client: Some(ClaimPath::new("client_id")),
                scopes: ClaimPath::new(&raw.scopes),
                roles: raw.roles.as_deref().map(ClaimPath::new),
                consumer: raw.consumer.as_deref().map(ClaimPath::new),
            },
            header: header?,
            max_token: jwt::bytes(raw.max_token),
            timeout: raw.timeout.0,
            ca: raw.ca.clone(),
        })
    }
}

/// Asks one issuer about tokens.
#[derive(Debug)]
pub(crate) struct Provider(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    config: Config,
    asker: Asker,
    /// What the issuer said: who it is, or that it is nobody.
    cache: Cache<Said>,
    flights: Arc<Flights<Judged>>,
    /// Until when it is left alone, in milliseconds.
    resting: AtomicU64,
    nag: Nag,
    parts: Parts,
}

struct Said {
    identity: Option<Arc<Identity>>,
    directory: u64,
}

/// What became of a question.
#[derive(Clone)]
enum Judged {
    Known(Arc<Identity>),
    Refused(Flaw),
    Unknown,
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
            cache: Cache::new(config.cache_size),
            flights: Flights::new(MAX_QUESTIONS),
            resting: AtomicU64::new(0),
            nag: Nag::default(),
            parts: parts.clone(),
        }))
    }

    pub(crate) fn identify(&self, asked: &Credentials<'_>) -> Finding {
        let inner = &self.0;
        let token = match jwt::bearer(asked, &inner.config.header) {
            Single::Absent => return Finding::Absent,
            Single::Several => return Finding::Decided(inner.refuse(Flaw::Doubled)),
            Single::One(token) => token,
        };
        if token.len() > inner.config.max_token {
            return Finding::Decided(inner.refuse(Flaw::TooLong));
        }
        if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
            return Finding::Decided(inner.refuse(Flaw::Malformed));
        }
        // Asked again when consumers have changed: it is cheap beside being wrong.
        let current = inner.parts.directory.version();
        let said = inner.cache.find(token, asked.now, |said| {
            (said.directory == current).then(|| said.identity.clone())
        });
        Finding::Decided(match said.flatten() {
            Some(Some(identity)) => Outcome::Known(identity),
            Some(None) => inner.refuse(Flaw::Inactive),
            None => inner.ask(token, asked.now),
        })
    }

    /// How many bytes its memory of tokens holds.
    pub(crate) fn remembered(&self) -> usize {
        self.0.cache.bytes()
    }
}

impl Inner {
    fn ask(self: &Arc<Self>, token: &[u8], now: Timestamp) -> Outcome {
        if now.as_millis() < self.resting.load(Ordering::Relaxed) {
            return self.unknown();
        }
        let joined = self.flights.join(token, |landing| self.start(token, now, landing));
        let Some(answer) = joined else { return self.unknown() };
        let inner = Arc::clone(self);
        Outcome::Later(Box::pin(async move {
            match answer.await {
                Some(Judged::Known(identity)) => Outcome::Known(identity),
                Some(Judged::Refused(flaw)) => inner.refuse(flaw),
                Some(Judged::Unknown) | None => inner.unknown(),
            }
        }))
    }

    /// Asks, on the runtime that is for it.
    fn start(self: &Arc<Self>, token: &[u8], now: Timestamp, landing: Landing<Judged>) {
        let (inner, token): (_, Box<[u8]>) = (Arc::clone(self), token.into());
        let _on_our_runtime = self.parts.runtime.enter();
        self.parts.tasks.spawn("introspection", async move {
            let answer = inner.question(&token).await;
            inner.parts.metrics.asked(&inner.name, answer.is_ok());
            let judged = match answer {
                Ok(claims) => {
                    inner.nag.rest();
                    inner.judge(&token, claims, now)
                }
                Err(fault) => {
                    inner.failed(&fault);
                    Judged::Unknown
                }
            };
            landing.answer(judged);
        });
    }

    async fn question(&self, token: &[u8]) -> Result<Map<String, Value>, Fault> {
        let escaped = |text: &str| utf8_percent_encode(text, FORM).to_string();
        let token = percent_encoding::percent_encode(token, FORM);
        let mut form = format!("token={token}&token_type_hint=access_token");
        let (id, secret) = (&self.config.client_id, self.config.client_secret.reveal());
        let authorization = match self.config.auth {
            // Both are escaped before they are joined (RFC 6749 §2.3.1).
            ClientAuth::Basic => {
                let joined = format!("{}:{}", escaped(id), escaped(secret));
                Some(format!("Basic {}", STANDARD.encode(joined)))
            }
            ClientAuth::Bearer => Some(format!("Bearer {secret}")),
            ClientAuth::Form => {
                form.push_str(&format!(
                    "&client_id={}&client_secret={}",
                    escaped(id),
                    escaped(secret)
                ));
                None
            }
        };
        let mut request = Request::post(&self.config.uri)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(Full::new(Bytes::from(form)))
            .map_err(|error| Fault::Content(error.to_string()))?;
        if let Some(authorization) = authorization {
            let mut value = HeaderValue::try_from(authorization)
                .map_err(|_| Fault::Content("the secret cannot be sent in a header".into()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let (head, body) = self.asker.ask(request).await?;
        if head.status != StatusCode::OK {
            return Err(Fault::Status(head.status.as_u16()));
        }
        let claims = json::object(&body);
        let claims = claims.filter(|claims| claims.get("active").is_some_and(Value::is_boolean));
        claims.ok_or_else(|| Fault::Content("its answer is no introspection response".into()))
    }

    /// What an answer means, which is then remembered.
    fn judge(&self, token: &[u8], claims: Map<String, Value>, now: Timestamp) -> Judged {
        let weight = 2 * claims.len() * 64 + 256;
        let directory = self.parts.directory.version();
        let found = self.hold(claims, now);
        let (said, until) = match &found {
            Ok((identity, until)) => (Some(Arc::clone(identity)), *until),
            Err(_) => (None, now.plus(self.config.cache_inactive)),
        };
        self.cache.put(token, Said { identity: said, directory }, weight, until, now);
        match found {
            Ok((identity, _)) => Judged::Known(identity),
            Err(flaw) => Judged::Refused(flaw),
        }
    }

    fn hold(
        &self,
        claims: Map<String, Value>,
        now: Timestamp,
    ) -> Result<(Arc<Identity>, Timestamp), Flaw> {
        if claims.get("active") != Some(&Value::Bool(true)) {
            return Err(Flaw::Inactive);
        }
        let until = self.config.rules.check(&claims, now)?.min(now.plus(self.config.cache));
        let directory = &*self.parts.directory;
        let identity = self.config.mapping.identity(&self.name, claims, directory)?;
        Ok((Arc::new(identity), until))
    }

    fn failed(&self, fault: &Fault) {
        let now = Timestamp::now();
        self.resting.store(now.as_millis().saturating_add(REST), Ordering::Relaxed);
        if self.nag.is_due(now) {
            tracing::warn!(
                provider = &*self.name,
                "an issuer cannot be asked about tokens: {fault}"
            );
        }
    }

    fn refuse(&self, flaw: Flaw) -> Outcome {
        self.parts.metrics.refused(&self.name, flaw.as_str());
        Outcome::Refused(Refusal::Invalid)
    }

    fn unknown(&self) -> Outcome {
        unknown(self.config.on_error, &self.name, &self.parts)
    }
}

/// What becomes of a call about which nobody can be asked.
pub(crate) fn unknown(on_error: OnError, provider: &Arc<str>, parts: &Parts) -> Outcome {
    match on_error {
        OnError::Refuse => {
            parts.metrics.refused(provider, "unavailable");
            Outcome::Refused(Refusal::Unavailable)
        }
        OnError::Allow => {
            parts.metrics.allowed_unasked(provider);
            let identity = Identity { provider: Arc::clone(provider), ..Identity::default() };
            Outcome::Known(Arc::new(identity))
        }
    }
}
