//! Consumers and their keys: shown, changed, keys issued, rotated and revoked. A key's secret is in the
//! answer to whoever has it issued, and nowhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State as Shared};
use axum::response::{IntoResponse, Response};
use posthouse_base::config::Span;
use posthouse_base::problem::Problem;
use posthouse_base::time::Timestamp;
use posthouse_catalog as catalog;
use posthouse_identity::Algorithm;
use posthouse_identity::consumers::{
    self, Actor, Happened, KeyNumber, KeyView, Origin, PublicKey, Revision, Spec, View, timestamp,
};
use serde::{Deserialize, Serialize};
#[cfg(test)]
use utoipa::ToSchema;

use super::access::{Caller, Outcome};
use super::catalog::wire::DeclaredIn;
use super::input::{Asked, Named, Sent};
#[cfg(test)]
use super::wire::ProblemDetails;
use super::{Refusal, State};

/// Changes that are shown of a consumer.
const HISTORY: usize = 200;

/// For how long an old key goes on, when it is not said.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// The consumers.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Consumers {
    /// By name.
    consumers: Vec<Consumer>,
}

/// Somebody who calls.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Consumer {
    /// Its name.
    name: String,
    /// Where it is declared.
    origin: DeclaredIn,
    /// Its plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    /// What it is, for permissions.
    roles: Vec<String>,
    /// What is noted of it.
    metadata: BTreeMap<String, String>,
    /// Names in client certificates that are its own.
    certificates: Vec<String>,
    /// Keys with which it signs requests.
    signature_keys: Vec<SignatureKey>,
    /// Its API keys.
    keys: Vec<Key>,
    /// The number of its last change; the file's have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// Who changed it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_by: Option<String>,
    /// When, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_at_ms: Option<u64>,
}

/// A public key with which requests are signed.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct SignatureKey {
    /// What a signature calls it (`keyid`).
    #[cfg_attr(test, schema(min_length = 1, max_length = 128))]
    id: String,
    /// `ed25519`, `ecdsa-p256-sha256`, `ecdsa-p384-sha384`, `rsa-pss-sha512` or `rsa-v1_5-sha256`.
    #[cfg_attr(
        test,
        schema(
            pattern = "^(ed25519|ecdsa-p256-sha256|ecdsa-p384-sha384|rsa-pss-sha512|rsa-v1_5-sha256)$"
        )
    )]
    algorithm: String,
    /// The public key as PEM.
    public_key: String,
}

/// An API key, without its secret.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Key {
    /// Its number among those of the consumer.
    number: u64,
    /// Its name in limits and logs: `acme/1`.
    id: String,
    /// What its owners call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// Who had it issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_by: Option<String>,
    /// When, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at_ms: Option<u64>,
    /// From when on it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
    /// The key that takes its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<u64>,
    /// When it was last shown, to the minute, since the house started.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at_ms: Option<u64>,
}

/// The keys of a consumer.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Keys {
    /// In the order in which they were issued.
    keys: Vec<Key>,
}

/// A key that was issued.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct IssuedKey {
    /// The key.
    key: Key,
    /// What callers show. It is never told again.
    secret: String,
}

/// What is said of a consumer.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConsumerSpec {
    /// Its plan.
    pub(super) plan: Option<String>,
    /// What it is, for permissions.
    pub(super) roles: Vec<String>,
    /// Whatever you want to note.
    pub(super) metadata: BTreeMap<String, String>,
    /// Names in client certificates that are its own: a subject, or a SPIFFE id.
    pub(super) certificates: Vec<String>,
    /// Public keys with which it signs requests.
    pub(super) signature_keys: Vec<SignatureKey>,
}

/// What is said of a new key.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(default, deny_unknown_fields)]
pub(super) struct KeySpec {
    /// What its owners call it.
    label: Option<String>,
    /// From when on it is refused: `2027-01-01T00:00:00Z`.
    expires: Option<String>,
}

/// What is said of a key that takes the place of another.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(default, deny_unknown_fields)]
pub(super) struct RotationSpec {
    /// For how long the old one goes on: `24h` if left out.
    overlap: Option<String>,
    /// From when on the new one is refused.
    expires: Option<String>,
}

/// Changes of a consumer.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct ConsumerHistory {
    /// The latest first.
    changes: Vec<ConsumerChange>,
}

/// A change of a consumer.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct ConsumerChange {
    /// Its number.
    revision: u64,
    /// Who.
    who: String,
    /// When, in milliseconds since 1970.
    at_ms: u64,
    /// What.
    what: Vec<String>,
}

/// Which revision is meant.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Which {
    revision: Option<u64>,
}

/// Lists the consumers.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/consumers", security(("token" = ["viewer"])),
    responses((status = 200, body = Consumers))
))]
pub(super) async fn consumers(Shared(state): Shared<State>) -> Json<Consumers> {
    let all = state.consumers().list();
    Json(Consumers { consumers: all.into_iter().map(Consumer::from).collect() })
}

/// Shows a consumer.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/consumers/{name}", security(("token" = ["viewer"])),
    params(("name" = String, Path, description = "The consumer's name")),
    responses(
        (status = 200, body = Consumer),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn consumer(
    Shared(state): Shared<State>,
    Named(name): Named<String>,
) -> Result<Json<Consumer>, Refusal> {
    Ok(Json(one(&state, &name)?.into()))
}

/// Adds a consumer, or says something else of it. Its keys stay.
#[cfg_attr(test, utoipa::path(
    put, path = "/api/v1/consumers/{name}", security(("token" = ["operator"])),
    params(
        ("name" = String, Path, description = "The consumer's name"),
        ("revision" = Option<u64>, Query, minimum = 0,
         description = "Refused when this is not its revision; 0 when it is new"),
    ),
    request_body(content = ConsumerSpec),
    responses(
        (status = 200, body = Consumer),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn put_consumer(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Named(name): Named<String>,
    Asked(which): Asked<Which>,
    Sent(sent): Sent<ConsumerSpec>,
) -> Result<Response, Refusal> {
    let spec = sent.checked()?;
    let standing = state.catalog().standing();
    must_know_plan(&spec, |plan| standing.specs().contains_key(plan))?;
    let (consumers, actor) = (state.consumers(), Actor::new(&caller.name));
    let is_new = which.revision.map_or_else(|| consumers.get(&name).is_none(), |is| is == 0);
    let view = if is_new {
        consumers.create(actor, &name, spec).await
    } else {
        consumers.update(actor, &name, spec, which.revision.map(Revision::new)).await
    };
    let view = view.map_err(|error| refused(&error))?;
    let done = if is_new { "created" } else { "changed" };
    Ok(told(Json(Consumer::from(view)), format!("consumer {name} {done}")))
}

/// Removes a consumer with its keys.
#[cfg_attr(test, utoipa::path(
    delete, path = "/api/v1/consumers/{name}", security(("token" = ["admin"])),
    params(
        ("name" = String, Path, description = "The consumer's name"),
        ("revision" = Option<u64>, Query, minimum = 0,
         description = "Refused when this is not its revision"),
    ),
    responses(
        (status = 204, description = "It is gone."),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn delete_consumer(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Named(name): Named<String>,
    Asked(which): Asked<Which>,
) -> Result<Response, Refusal> {
    let expected = which.revision.map(Revision::new);
    let deleted = state.consumers().delete(Actor::new(&caller.name), &name, expected).await;
    deleted.map_err(|error| refused(&error))?;
    Ok(told(axum::http::StatusCode::NO_CONTENT, format!("consumer {name} removed")))
}

/// Shows the changes of a consumer, the latest first.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/consumers/{name}/history", security(("token" = ["viewer"])),
    params(("name" = String, Path, description = "The consumer's name")),
    responses(
        (status = 200, body = ConsumerHistory),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn history(
    Shared(state): Shared<State>,
    Named(name): Named<String>,
) -> Result<Json<ConsumerHistory>, Refusal> {
    let changes = state.consumers().history(Some(&name), HISTORY).await;
    let changes = changes.map_err(|error| refused(&error))?;
    // Many may have been changed together.
    let is_its = |what: &Happened| what.name().as_str() == name;
    let change = |change: &std::sync::Arc<consumers::Change>| ConsumerChange {
        revision: change.revision.get(),
        who: change.stamp.by.as_str().to_owned(),
        at_ms: change.stamp.at.as_millis(),
        what: change.what.iter().filter(|what| is_its(what)).map(happened).collect(),
    };
    Ok(Json(ConsumerHistory { changes: changes.iter().map(change).collect() }))
}

/// Lists the keys of a consumer.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/consumers/{name}/keys", security(("token" = ["viewer"])),
    params(("name" = String, Path, description = "The consumer's name")),
    responses(
        (status = 200, body = Keys),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn keys(
    Shared(state): Shared<State>,
    Named(name): Named<String>,
) -> Result<Json<Keys>, Refusal> {
    let keys = one(&state, &name)?.keys;
    Ok(Json(Keys { keys: keys.into_iter().map(Key::from).collect() }))
}

/// Issues a key to a consumer. Its secret is told in this answer and never again.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/consumers/{name}/keys", security(("token" = ["operator"])),
    params(("name" = String, Path, description = "The consumer's name")),
    request_body(content = KeySpec),
    responses(
        (status = 201, body = IssuedKey),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn issue_key(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Named(name): Named<String>,
    Sent(sent): Sent<KeySpec>,
) -> Result<Response, Refusal> {
    let (actor, expires) = (Actor::new(&caller.name), time(sent.expires.as_deref())?);
    let issue = state.consumers().issue_key(actor, &name, sent.label.as_deref(), expires);
    let issued = issue.await.map_err(|error| refused(&error))?;
    let done = format!("key {} issued", issued.key.id);
    Ok(told((axum::http::StatusCode::CREATED, Json(IssuedKey::from(issued))), done))
}

/// Issues a key in place of another, which goes on for a while.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/consumers/{name}/keys/{number}/rotate",
    security(("token" = ["operator"])),
    params(
        ("name" = String, Path, description = "The consumer's name"),
        ("number" = u64, Path, minimum = 0, description = "The old key's number"),
    ),
    request_body(content = RotationSpec),
    responses(
        (status = 201, body = IssuedKey),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn rotate_key(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Named((name, number)): Named<(String, u64)>,
    Sent(sent): Sent<RotationSpec>,
) -> Result<Response, Refusal> {
    let (actor, expires) = (Actor::new(&caller.name), time(sent.expires.as_deref())?);
    let overlap = match &sent.overlap {
        None => OVERLAP,
        Some(text) => text.parse::<Span>().map_err(|wrong| invalid(wrong, "overlap"))?.0,
    };
    let old = KeyNumber::new(number);
    let rotate = state.consumers().rotate_key(actor, &name, old, overlap, expires);
    let issued = rotate.await.map_err(|error| refused(&error))?;
    let done = format!("key {} issued in place of {name}/{number}", issued.key.id);
    Ok(told((axum::http::StatusCode::CREATED, Json(IssuedKey::from(issued))), done))
}

/// Revokes a key: calls that begin after the answer are not let in by it.
#[cfg_attr(test, utoipa::path(
    delete, path = "/api/v1/consumers/{name}/keys/{number}", security(("token" = ["operator"])),
    params(
        ("name" = String, Path, description = "The consumer's name"),
        ("number" = u64, Path, minimum = 0, description = "The key's number"),
    ),
    responses(
        (status = 204, description = "It is refused from now on."),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn revoke_key(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Named((name, number)): Named<(String, u64)>,
) -> Result<Response, Refusal> {
    let (actor, key) = (Actor::new(&caller.name), KeyNumber::new(number));
    let revoked = state.consumers().revoke_key(actor, &name, key).await;
    revoked.map_err(|error| refused(&error))?;
    Ok(told(axum::http::StatusCode::NO_CONTENT, format!("key {name}/{number} revoked")))
}

impl ConsumerSpec {
    pub(super) fn checked(self) -> Result<Spec, Refusal> {
        let boxed = |texts: Vec<String>| texts.into_iter().map(Into::into).collect();
        let mut signature_keys = Vec::with_capacity(self.signature_keys.len());
        for (index, SignatureKey { id, algorithm, public_key }) in
            self.signature_keys.into_iter().enumerate()
        {
            let Some(known) = Algorithm::named(&algorithm) else {
                let field = format!("signature_keys[{index}].algorithm");
                return Err(invalid(format!("there is no algorithm `{algorithm}`"), field));
            };
            let (id, pem) = (id.into(), public_key.into());
            signature_keys.push(PublicKey { id, algorithm: known, pem });
        }
        Ok(Spec {
            plan: self.plan.map(Into::into),
            roles: boxed(self.roles),
            metadata: self.metadata,
            certificates: boxed(self.certificates),
            signature_keys,
        })
    }
}

impl From<View> for Consumer {
    fn from(view: View) -> Self {
        let texts = |texts: &[Box<str>]| texts.iter().map(ToString::to_string).collect();
        Self {
            name: view.name.to_string(),
            origin: match view.origin {
                Origin::File => DeclaredIn::File,
                Origin::Journal => DeclaredIn::Api,
            },
            plan: view.spec.plan.as_ref().map(ToString::to_string),
            roles: texts(&view.spec.roles),
            metadata: view.spec.metadata.clone(),
            certificates: texts(&view.spec.certificates),
            signature_keys: view.spec.signature_keys.iter().map(SignatureKey::from).collect(),
            keys: view.keys.into_iter().map(Key::from).collect(),
            revision: view.revision.map(Revision::get),
            changed_by: view.changed.as_ref().map(|stamp| stamp.by.as_str().to_owned()),
            changed_at_ms: view.changed.as_ref().map(|stamp| stamp.at.as_millis()),
        }
    }
}

impl From<&PublicKey> for SignatureKey {
    fn from(key: &PublicKey) -> Self {
        Self {
            id: key.id.to_string(),
            algorithm: key.algorithm.name().into(),
            public_key: key.pem.to_string(),
        }
    }
}

impl From<KeyView> for Key {
    fn from(key: KeyView) -> Self {
        Self {
            number: key.number.get(),
            id: key.id.to_string(),
            label: key.label.map(Into::into),
            issued_by: key.issued.as_ref().map(|stamp| stamp.by.as_str().to_owned()),
            issued_at_ms: key.issued.as_ref().map(|stamp| stamp.at.as_millis()),
            expires_at_ms: key.expires.map(Timestamp::as_millis),
            replaced_by: key.replaced_by.map(KeyNumber::get),
            last_used_at_ms: key.last_used.map(Timestamp::as_millis),
        }
    }
}

impl From<consumers::Issued> for IssuedKey {
    fn from(issued: consumers::Issued) -> Self {
        Self { secret: issued.secret.reveal().to_owned(), key: issued.key.into() }
    }
}

fn happened(what: &Happened) -> String {
    match what {
        Happened::Created { .. } => "created".into(),
        Happened::Updated { .. } => "changed".into(),
        Happened::Deleted { .. } => "removed".into(),
        Happened::KeyIssued { key, .. } => format!("key {} issued", key.number),
        Happened::KeyReplaced { key, by, .. } => format!("key {key} replaced by {by}"),
        Happened::KeyRevoked { key, .. } => format!("key {key} revoked"),
        Happened::KeyForgotten { key, .. } => format!("key {key} expired"),
    }
}

fn one(state: &State, name: &str) -> Result<View, Refusal> {
    state.consumers().get(name).ok_or_else(|| {
        let detail = format!("there is no consumer `{name}`");
        Refusal(Problem::new(404, "Not Found").detail(detail).field("name"))
    })
}

fn time(text: Option<&str>) -> Result<Option<Timestamp>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let read = timestamp(text).map(Some);
    let detail = || format!("`{text}` is neither like 2027-01-01 nor like 2027-01-01T12:00:00Z");
    read.ok_or_else(|| invalid(detail(), "expires"))
}

/// Refuses a plan that is not there: its consumer would be held to no limit at all.
pub(super) fn must_know_plan(
    spec: &Spec,
    is_there: impl Fn(&catalog::Key) -> bool,
) -> Result<(), Refusal> {
    let Some(plan) = &spec.plan else { return Ok(()) };
    match catalog::Key::plan(plan) {
        Ok(key) if is_there(&key) => Ok(()),
        _ => Err(invalid(format!("there is no plan `{plan}`"), "plan")),
    }
}

fn invalid(detail: String, field: impl Into<String>) -> Refusal {
    Refusal(Problem::new(422, "Unprocessable Content").detail(detail).field(field))
}

/// An answer that says for the audit log what has changed.
fn told(answer: impl IntoResponse, outcome: String) -> Response {
    let mut response = answer.into_response();
    response.extensions_mut().insert(Outcome(outcome));
    response
}

/// Why consumers refuse something, as a problem.
pub(super) fn refused(error: &consumers::Error) -> Refusal {
    use consumers::Error as Failure;
    use consumers::Refusal as Why;
    let (status, title, field) = match error {
        Failure::Refused(Why::NoConsumer(_) | Why::NoKey(..)) => (404, "Not Found", None),
        Failure::Refused(Why::Invalid { field, .. }) => {
            (422, "Unprocessable Content", Some(*field))
        }
        Failure::Refused(Why::ExpiresInPast) => (422, "Unprocessable Content", Some("expires")),
        Failure::Refused(Why::Limit { .. }) => (422, "Unprocessable Content", None),
        Failure::Refused(_) | Failure::Declared(_) => (409, "Conflict", None),
        Failure::TooLarge { .. } => (413, "Content Too Large", None),
        _ => (503, "Service Unavailable", None),
    };
    let mut problem = Problem::new(status, title).detail(error.to_string());
    problem.field = field.map(Into::into);
    Refusal(problem)
}
