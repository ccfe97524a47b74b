//! What the gateway would say of a call: who calls, each rule of its guard and the one that decides,
//! and how it stands with its limits. Nothing is forwarded, and nothing is counted.
//!
//! Credentials that come with the question are shown to whoever checks them for real calls, and to
//! nobody else: neither the log nor the audit log nor the answer has them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderName, HeaderValue, Method};
use posthouse_base::problem::Problem;
use posthouse_gateway::guard::explain::{self as gateway, Question};
use posthouse_gateway::guard::{ClientCertificate, Identity};
use posthouse_gateway::http::head::Fields;
use posthouse_gateway::http::target::Target;
use posthouse_gateway::limit::Left;
use serde::{Deserialize, Serialize};
#[cfg(test)]
use utoipa::ToSchema;

use super::input::Sent;
#[cfg(test)]
use super::wire::ProblemDetails;
use super::{Refusal, State};

/// The host of a call whose address names none.
const HOST: &str = "localhost";

/// The longest method.
const LONGEST_METHOD: usize = 40;

/// The most headers of a call.
const MOST_HEADERS: usize = 200;

/// A call that is asked about. Not to be shown: it has credentials.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    /// Its method.
    #[cfg_attr(
        test,
        schema(min_length = 1, max_length = 40, pattern = "^[A-Za-z]+$", example = "GET")
    )]
    method: String,
    /// Its address; or its path and query, for the host of the header `host`, or `localhost`.
    #[cfg_attr(test, schema(pattern = "^(/|https?://)", example = "http://api.example/users/1"))]
    url: String,
    /// Its headers: by name, or a list where a name may stand several times.
    #[serde(default)]
    #[cfg_attr(test, schema(schema_with = described::headers))]
    headers: Headers,
    /// The IP address that it comes from: `127.0.0.1` if left out.
    #[serde(default)]
    #[cfg_attr(test, schema(schema_with = described::ip_address))]
    client: Option<String>,
    /// Short for a header `authorization: Bearer …`.
    #[serde(default)]
    #[cfg_attr(test, schema(pattern = "^[!-~]+$"))]
    token: Option<String>,
    /// The client certificate of its connection as PEM, with those that it is signed by. It is taken
    /// for verified.
    #[serde(default)]
    certificate: Option<String>,
}

/// The headers of a call.
#[derive(Deserialize)]
#[serde(untagged)]
enum Headers {
    /// By name.
    Map(BTreeMap<String, String>),
    /// In order.
    List(Vec<Header>),
}

/// A header of a call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// Its name.
    name: String,
    /// Its value.
    value: String,
}

/// What the gateway would say of a call.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Explanation {
    /// Whether the call passes: a service answers it, or the gateway itself with a status below 400.
    passes: bool,
    /// The status with which the gateway answers itself; absent when a service is to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// The route that it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    /// The version of an API that it belongs to: `users@v2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    api: Option<String>,
    /// Who calls, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Known>,
    /// Each rule, in the order in which they are asked.
    rulings: Vec<Ruling>,
    /// The rule that decides: the first that does not let the call pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    decides: Option<String>,
    /// Whether what the rules refuse is let pass and only logged.
    dry_run: bool,
    /// How it stands with its limits, when the rules let it pass. Looking at them uses up nothing.
    limits: Vec<Limit>,
}

/// Who calls.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct Known {
    /// The provider that proved it.
    provider: String,
    /// Who, as the provider says.
    subject: String,
    /// The consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer: Option<String>,
    /// Its plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    /// The credential, by a name that is no secret: `acme/1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// What it was allowed to ask for.
    scopes: Vec<String>,
    /// What it is.
    roles: Vec<String>,
}

/// What one rule says.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct Ruling {
    /// Which: `address`, `deny`, `identity`, `scopes`, `roles`, `consumers` or `when`; before a guard is
    /// asked `path` or `route`.
    rule: String,
    /// Whether it lets the call pass.
    passes: bool,
    /// Why.
    why: String,
}

/// How a call stands with a limit.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct Limit {
    /// Its name.
    limit: String,
    /// `concurrency`, `bytes`, `rate` or `quota`.
    kind: String,
    /// What the call is counted by: `consumer acme`, `address 192.0.2.1`.
    key: String,
    /// How many there may be, in `seconds` if that is said.
    most: u64,
    /// See `most`.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
    /// How many are left now.
    left: u64,
    /// Whether it lets the call pass.
    passes: bool,
    /// After how many seconds it lets one pass again.
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_seconds: Option<u64>,
}

/// Explains who may make a call: each rule that it is judged by, and the one that decides. The call is
/// not made. Its credentials are checked as for a real one.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/guard/explain", security(("token" = ["viewer"])),
    request_body(content = Call),
    responses(
        (status = 200, body = Explanation),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json",
         description = "There is no gateway here."),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn explain(
    Shared(state): Shared<State>,
    Sent(call): Sent<Call>,
) -> Result<Json<Explanation>, Refusal> {
    let Some(calls) = state.control.calls() else {
        let problem = Problem::new(404, "Not Found").detail("there is no gateway here");
        return Err(Refusal(problem));
    };
    // Who checks credentials may be another program, which is not to learn how this house is ruled.
    let keys = state.control.admin_keys();
    if call.token.as_ref().is_some_and(|token| keys.iter().any(|key| key.token.is(token))) {
        return Err(wrong("token", "this is an admin token: no call is to bring one"));
    }
    Ok(Json(calls.explain(call.question()?).await.into()))
}

impl Call {
    fn question(self) -> Result<Question, Refusal> {
        let method = Method::from_bytes(self.method.to_ascii_uppercase().as_bytes());
        let is_plain = |_: &Method| {
            self.method.len() <= LONGEST_METHOD
                && self.method.bytes().all(|byte| byte.is_ascii_alphabetic())
        };
        let method = method.ok().filter(is_plain);
        let method = method.ok_or_else(|| wrong("method", "this is no method like `GET`"))?;
        let mut fields = self.headers.fields()?;
        if let Some(token) = &self.token {
            if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong("token", "this is no token: no header can carry it"));
            }
            fields.set(b"authorization", format!("Bearer {token}").as_bytes());
        }
        let (mut scheme, authority, path) = parts(&self.url)
            .ok_or_else(|| wrong("url", "write `/users/1`, or `http://api.example/users/1`"))?;
        let authority = match authority {
            Some(authority) => authority.to_owned(),
            None => text(fields.get_named(b"host")).unwrap_or_else(|| HOST.into()),
        };
        fields.set(b"host", authority.as_bytes());
        let target = Target::new(authority.as_bytes(), path.as_bytes());
        let target = target.map_err(|rule| wrong("url", format!("no call has it: {rule}")))?;
        let certificate = match &self.certificate {
            Some(pem) => {
                let certificate = ClientCertificate::from_pem(pem);
                let no_pem = || wrong("certificate", "it is no certificate as PEM");
                scheme = "https";
                Some(Arc::new(certificate.ok_or_else(no_pem)?))
            }
            None => None,
        };
        let client = address(self.client.as_deref())?;
        Ok(Question { method, scheme, target, fields, client, certificate })
    }
}

impl Headers {
    fn fields(self) -> Result<Fields, Refusal> {
        let list: Vec<(String, String)> = match self {
            Self::Map(map) => map.into_iter().collect(),
            Self::List(list) => list.into_iter().map(|one| (one.name, one.value)).collect(),
        };
        if list.len() > MOST_HEADERS {
            return Err(wrong("headers", format!("more than {MOST_HEADERS} headers")));
        }
        let mut fields = Fields::new();
        for (name, value) in list {
            let known = HeaderName::from_bytes(name.as_bytes());
            let known = known.map_err(|_| wrong("headers", "a name that no header has"))?;
            // The value may be a secret, and is not repeated.
            let no_value = |_| wrong("headers", format!("`{known}`: no header has such a value"));
            let value = HeaderValue::from_str(&value).map_err(no_value)?;
            fields.append(known.as_str().as_bytes(), value.as_bytes());
        }
        Ok(fields)
    }
}

impl Default for Headers {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

/// Scheme, host and perhaps port, path and query of an address; what follows `#` no client sends.
fn parts(url: &str) -> Option<(&'static str, Option<&str>, &str)> {
    let url = url.split('#').next().unwrap_or_default();
    if url.starts_with('/') {
        return Some(("http", None, url));
    }
    let (scheme, rest) = match url.strip_prefix("http://") {
        Some(rest) => ("http", rest),
        None => ("https", url.strip_prefix("https://")?),
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = if path.is_empty() { "/" } else { path };
    (!authority.is_empty()).then_some((scheme, Some(authority), path))
}

/// The port that it has is nobody's matter.
fn address(text: Option<&str>) -> Result<SocketAddr, Refusal> {
    let Some(text) = text else { return Ok((Ipv4Addr::LOCALHOST, 0).into()) };
    let ip = text.parse::<IpAddr>();
    let ip = ip.map_err(|_| wrong("client", "this is no IP address like `192.0.2.1`"))?;
    Ok(SocketAddr::new(ip, 0))
}

fn text(value: Option<&[u8]>) -> Option<String> {
    std::str::from_utf8(value?).ok().map(ToOwned::to_owned)
}

fn wrong(field: &str, detail: impl Into<String>) -> Refusal {
    Refusal(Problem::new(422, "Unprocessable Content").detail(detail).field(field))
}

impl From<gateway::Explanation> for Explanation {
    fn from(told: gateway::Explanation) -> Self {
        let decides = told.decides.and_then(|index| told.rulings.get(index));
        let ruling = |one: &gateway::Ruling| Ruling {
            rule: one.rule.into(),
            passes: one.passes,
            why: one.why.clone(),
        };
        Self {
            passes: told.status.is_none_or(|status| status < 400),
            status: told.status,
            route: told.route.as_ref().map(ToString::to_string),
            api: told.api.clone(),
            identity: told.identity.as_deref().map(Known::from),
            decides: decides.map(|ruling| ruling.rule.into()),
            rulings: told.rulings.iter().map(ruling).collect(),
            dry_run: told.dry_run,
            limits: told.limits.into_iter().map(Limit::from).collect(),
        }
    }
}

impl From<&Identity> for Known {
    fn from(identity: &Identity) -> Self {
        let list = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect();
        let maybe = |text: &Option<Arc<str>>| text.as_ref().map(ToString::to_string);
        Self {
            provider: identity.provider.to_string(),
            subject: identity.subject.to_string(),
            consumer: maybe(&identity.consumer),
            plan: maybe(&identity.plan),
            key: maybe(&identity.key),
            scopes: list(&identity.scopes),
            roles: list(&identity.roles),
        }
    }
}

impl From<Left> for Limit {
    fn from(left: Left) -> Self {
        Self {
            limit: left.limit.to_string(),
            kind: left.kind.into(),
            key: left.key,
            most: left.most,
            seconds: left.seconds,
            left: left.left,
            passes: left.passes,
            wait_seconds: left.wait_seconds,
        }
    }
}

/// What of a call is described by hand: exactly what is taken.
#[cfg(test)]
mod described {
    use serde_json::{Value, json};
    use utoipa::openapi::Schema;

    const NAME: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";
    const VALUE: &str = r"^[^\u0000-\u0008\u000a-\u001f\u007f]*$";

    pub(super) fn ip_address() -> Schema {
        schema(json!({
            "description": "The IP address that it comes from: `127.0.0.1` if left out.",
            "anyOf": [
                { "type": "string", "format": "ipv4", "example": "192.0.2.1" },
                { "type": "string", "format": "ipv6" },
                { "type": "null" },
            ],
        }))
    }

    pub(super) fn headers() -> Schema {
        let value = json!({ "type": "string", "pattern": VALUE });
        let name = json!({ "type": "string", "pattern": NAME });
        schema(json!({
            "description": "Its headers: by name, or a list where a name may stand several times.",
            "anyOf": [
                { "type": "object", "maxProperties": super::MOST_HEADERS, "propertyNames": name,
                  "additionalProperties": value },
                { "type": "array", "maxItems": super::MOST_HEADERS, "items": {
                    "type": "object", "properties": { "name": name, "value": value },
                    "required": ["name", "value"], "additionalProperties": false,
                } },
            ],
        }))
    }

    fn schema(described: Value) -> Schema {
        serde_json::from_value(described).expect("a schema")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_as_a_client_would_send_it() {
        assert_eq!(parts("/a?b#c"), Some(("http", None, "/a?b")));
        assert_eq!(parts("https://a.b:8443/c?d"), Some(("https", Some("a.b:8443"), "/c?d")));
        assert_eq!(parts("http://a"), Some(("http", Some("a"), "/")));
        for wrong in ["", "a/b", "ftp://a/", "http:///a", "#/a"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
        // A path that is missing before a query is no target, as in the gateway.
        let call = r#"{ "method": "get", "url": "http://a?b" }"#;
        assert!(serde_json::from_str::<Call>(call).unwrap().question().is_err());
    }

    #[test]
    fn what_is_wrong_is_told_without_what_may_be_a_secret() {
        for (call, field) in [
            (r#"{ "method": "G T", "url": "/" }"#, "method"),
            (r#"{ "method": "GET", "url": "/a b" }"#, "url"),
            (r#"{ "method": "GET", "url": "/", "headers": { "x-key": "s3\ncret" } }"#, "headers"),
            (r#"{ "method": "GET", "url": "/", "token": "s3\ncret" }"#, "token"),
            (r#"{ "method": "GET", "url": "/", "client": "s3cret" }"#, "client"),
            (r#"{ "method": "GET", "url": "/", "certificate": "s3cret" }"#, "certificate"),
        ] {
            let call: Call = serde_json::from_str(call).unwrap();
            let Err(Refusal(problem)) = call.question() else { panic!("{field}") };
            assert_eq!((problem.status, problem.field.as_deref()), (422, Some(field)));
            assert!(!problem.to_json().contains("cret"), "{}", problem.to_json());
        }
    }

    #[test]
    fn a_token_is_the_bearer_and_the_host_is_the_addresss() {
        let call = r#"{ "method": "get", "url": "http://api.example/x", "token": "t",
                        "headers": [{ "name": "Host", "value": "other" }], "client": "::1" }"#;
        let call: Call = serde_json::from_str(call).unwrap();
        let Ok(question) = call.question() else { panic!("it is a call") };
        assert_eq!((question.method, question.scheme), (Method::GET, "http"));
        assert_eq!(question.fields.get_named(b"host"), Some(&b"api.example"[..]));
        assert_eq!(question.fields.get_named(b"authorization"), Some(&b"Bearer t"[..]));
        assert_eq!(question.client, "[::1]:0".parse().unwrap());
    }
}
