//! `guard` as it is written: who may call, and what the service is told of them.

use std::collections::BTreeMap;

use posthouse_base::config::{Size, Span};
use schemars::JsonSchema;
use serde::Deserialize;

/// Who may call. What a route leaves out is taken from the file's own `guard`, which holds for every
/// route, for services that are called by their name, and for routes that services bring.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// Providers of `identity`, in order: the first that finds a credential of its kind decides. A
    /// call without any is refused with 401.
    pub identity: Option<Vec<String>>,
    /// Lets calls without any credential through as nobody; a wrong one is refused all the same.
    pub optional: Option<bool>,
    /// Scopes, all of which the caller must have.
    pub scopes: Option<Vec<String>>,
    /// Roles, of which the caller must have one.
    pub roles: Option<Vec<String>>,
    /// Consumers, of which the caller must be one.
    pub consumers: Option<Vec<String>>,
    /// A condition in the Common Expression Language over `request` (`method`, `scheme`, `host`,
    /// `path`, `query`, `headers`, `client`, `time`) and `identity` (`known`, `provider`, `subject`,
    /// `consumer`, `plan`, `key`, `scopes`, `roles`, `claims`):
    /// `identity.claims.tenant == request.headers["x-tenant"]`. Names of headers are in lower case. Beside
    /// what the language has there are `TEXT.inNet("10.0.0.0/8")`, `lowerAscii()`, `upperAscii()` and
    /// `split()`; there are no timestamps and durations. What cannot be evaluated is refused.
    pub when: Option<String>,
    /// From where calls may come: by the address of the client, as trusted proxies tell it.
    pub addresses: Option<Addresses>,
    /// Refuses every call to routes that demand nothing of the caller: neither an identity, nor an
    /// address, nor a condition. A route that everybody may call then says `open: true`.
    pub deny: Option<bool>,
    /// Everybody may call: no identity, permission, condition or address is taken from the file's own
    /// `guard`.
    pub open: Option<bool>,
    /// Refusals are only logged and counted, and the call goes on. What limits size and number still
    /// refuses.
    pub dry_run: Option<bool>,
    /// What pages of other origins may do (CORS). Preflight requests are answered by the gateway.
    pub cors: Option<Cors>,
    /// Headers of every response, for browsers; those that the service sends itself stay.
    pub headers: Option<SecurityHeaders>,
    /// What the service is told of the caller. Headers of these names from outside never reach a
    /// service, on any route (but `Authorization`, which is replaced where the service is told).
    pub forward: Option<Forward>,
    /// Compares calls with the OpenAPI document of the route's `api`; others are refused with 400.
    pub validate: Option<bool>,
    /// The largest body that is taken in whole, where a signature or `validate` needs that; larger ones
    /// are refused with 413 (default 1MiB).
    pub body: Option<Size>,
    /// The challenge in `WWW-Authenticate` of a 401 (default `Bearer`).
    pub challenge: Option<String>,
}

/// From where calls may come. `deny` wins.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// Addresses and nets, `10.0.0.0/8`, from which calls may come; from everywhere if left out.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Addresses and nets from which none may come.
    #[serde(default)]
    pub deny: Vec<String>,
}

/// What pages of other origins may do (the Fetch standard's CORS protocol).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// Origins, `https://shop.example`, or `*` for all.
    pub origins: Vec<String>,
    /// Methods; all that the route takes if left out.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Request headers beyond the simple ones.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Response headers that pages may read beyond the simple ones.
    #[serde(default)]
    pub expose: Vec<String>,
    /// Whether calls may carry cookies and credentials; not together with the origin `*`.
    #[serde(default)]
    pub credentials: bool,
    /// How long a browser may remember the answer (default 10m).
    pub max_age: Option<Span>,
}

/// Headers of responses, for browsers. What is left out is not sent.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecurityHeaders {
    /// `Strict-Transport-Security` for this long, over TLS only.
    pub hsts: Option<Span>,
    /// `X-Content-Type-Options: nosniff`.
    #[serde(default)]
    pub nosniff: bool,
    /// `X-Frame-Options`: `DENY` or `SAMEORIGIN`.
    pub frame: Option<String>,
    /// `Content-Security-Policy`.
    pub csp: Option<String>,
    /// `Referrer-Policy`.
    pub referrer: Option<String>,
    /// `Permissions-Policy`.
    pub permissions: Option<String>,
}

/// What the service is told of the caller.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// Headers, and what they hold: `subject`, `provider`, `consumer`, `plan`, `scopes`, `roles` or
    /// `claims.NAME`. Lists are separated by spaces; what the caller does not have is not sent.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A short-lived JWT, signed by this gateway.
    pub jwt: Option<ForwardJwt>,
    /// Takes these headers out of the call, such as the credential itself: `authorization`, `x-api-key`.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// A JWT that tells the service who calls.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardJwt {
    /// The header that it is put in.
    pub header: String,
    /// Its audience: the service checks that it is meant.
    pub audience: String,
}

/// Certificates that clients show (mTLS).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificates {
    /// PEM file with the authorities that sign them. Read again when it changes.
    pub ca: String,
    /// Whether a client without one is turned away in the handshake; otherwise the routes decide.
    #[serde(default)]
    pub required: bool,
}
