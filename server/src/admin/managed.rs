//! Everything that this API manages, in one piece and in the form of the file: read whole, and made so
//! as it was written down. APIs, versions and plans change together or not at all, and so do consumers;
//! both are looked at before either is changed.
//!
//! No secret comes here or goes: keys are told by number and name, and are issued elsewhere.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Extension, State as Shared};
use axum::response::{IntoResponse, Response};
use posthouse_base::config::Report;
use posthouse_catalog::config::{Raw, RawApi, RawPlan};
use posthouse_catalog::state::Specs;
use posthouse_catalog::{self as catalog, Change, Key, history};
use posthouse_identity::consumers::{Actor, Origin, Planned, Replaced, Spec, View, Wanted};
use posthouse_journal::sqlite::copy::instant;
use serde::{Deserialize, Serialize};
use serde_json::Value;
#[cfg(test)]
use utoipa::ToSchema;
#[cfg(test)]
use utoipa::openapi::{ObjectBuilder, Ref, Schema};

use super::access::{Caller, Outcome};
use super::catalog::change::{carry_out, first_error};
use super::catalog::wire::{self, EntryChange};
use super::consumers::{ConsumerSpec, SignatureKey, must_know_plan, refused};
use super::input::{Asked, Sent};
#[cfg(test)]
use super::wire::ProblemDetails;
use super::{Refusal, State};

/// The largest body of an `apply`, with the descriptions of all APIs.
pub(super) const MAX_BODY: usize = 32 << 20;

/// What is managed over this API, in the form of the configuration file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(default, deny_unknown_fields)]
pub(super) struct Managed {
    /// APIs by name, with their versions and the descriptions of these.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(test, schema(schema_with = apis))]
    apis: BTreeMap<String, RawApi>,
    /// Plans by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(test, schema(schema_with = plans))]
    plans: BTreeMap<String, RawPlan>,
    /// Consumers by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    consumers: BTreeMap<String, ManagedConsumer>,
}

/// A consumer, in the form of the configuration file but for its keys.
#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(default, deny_unknown_fields)]
struct ManagedConsumer {
    /// Its plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    /// What it is, for permissions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    /// Whatever you want to note.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    /// Names in client certificates that are its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<String>,
    /// Public keys with which it signs requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signature_keys: Vec<SignatureKey>,
    /// Its API keys, to be known: what is said of them changes nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<KeyNote>,
}

/// What is known of an API key. Its secret is not.
#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(default, deny_unknown_fields)]
struct KeyNote {
    /// Its number among those of the consumer.
    number: u64,
    /// What its owners call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// From when on it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

/// What an `apply` has come to, or would come to.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Applied {
    /// Whether nothing was changed: it was only asked what would.
    dry_run: bool,
    /// By entry: `api users`, `version users@v2`, `plan gold`, `consumer acme`.
    changes: Vec<EntryChange>,
    /// What would have to be otherwise, but is declared in the configuration file and stays as it is
    /// there.
    declared: Vec<String>,
}

/// How it is made so.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct How {
    dry_run: bool,
    prune: bool,
    note: String,
}

/// Tells everything that is managed over this API, in the form of the configuration file and without
/// secrets. What the file declares is not in it.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/export", security(("token" = ["viewer"])),
    responses((status = 200, body = Managed))
))]
pub(super) async fn export(Shared(state): Shared<State>) -> Json<Managed> {
    let Raw { apis, plans } = state.catalog().standing().export(true);
    let managed = state.consumers().list().into_iter();
    let managed = managed.filter(|view| view.origin == Origin::Journal);
    let consumers = managed.map(|view| (view.name.to_string(), view.into())).collect();
    Json(Managed { apis, plans, consumers })
}

/// Makes what is managed over this API as it is written down. Nothing changes when any of it is wrong.
/// Keys of consumers stay as they are.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/apply", security(("token" = ["admin"])),
    params(
        ("dry_run" = Option<bool>, Query, description = "Only says what would change"),
        ("prune" = Option<bool>, Query, description = "Removes what is not written down"),
        ("note" = Option<String>, Query, description = "Why, for the history of APIs and plans"),
    ),
    request_body(content = Managed),
    responses(
        (status = 200, body = Applied),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn apply(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Asked(how): Asked<How>,
    Sent(wanted): Sent<Managed>,
) -> Result<Response, Refusal> {
    let Managed { apis, plans, consumers } = wanted;
    let mut specs = checked(&state, Raw { apis, plans }).await?;
    let consumers = consumers.into_iter().map(|(name, consumer)| {
        let spec = consumer.checked().map_err(|refusal| within(&name, refusal))?;
        Ok((name, spec))
    });
    let consumers = consumers.collect::<Result<BTreeMap<String, Spec>, Refusal>>()?;
    let wanted = Wanted { specs: consumers, prune: how.prune };
    let standing = state.catalog().standing();
    let mut declared = Vec::new();
    for key in standing.declared_otherwise(&specs) {
        declared.push(wire::entry(&key));
        specs.remove(&key);
    }
    let changes = standing.changes_to(&specs, how.prune);
    let is_removed = |key: &Key| {
        changes.iter().any(|change| matches!(change, Change::Remove { key: gone } if gone == key))
    };
    let stays = |key: &Key| {
        specs.contains_key(key) || (standing.specs().contains_key(key) && !is_removed(key))
    };
    for (name, spec) in &wanted.specs {
        must_know_plan(spec, stays).map_err(|refusal| within(name, refusal))?;
    }
    let replace = async |dry_run| {
        let actor = Actor::new(&caller.name);
        let replaced = state.consumers().replace(actor, wanted.clone(), dry_run).await;
        replaced.map_err(|error| refused(&error))
    };
    let mut changed = carry_out(&state, &caller, changes.clone(), (&how.note, true)).await?;
    let mut replaced = replace(true).await?;
    if !how.dry_run {
        changed = carry_out(&state, &caller, changes, (&how.note, false)).await?;
        replaced = replace(false).await?;
    }
    let Replaced { planned, declared: of_file } = replaced;
    declared.extend(of_file.iter().map(|name| format!("consumer {name}")));
    changed.changes.extend(planned.into_iter().map(EntryChange::from));
    let mut outcome = changed.in_a_line();
    if how.dry_run {
        outcome = format!("only asked: {outcome}");
    }
    let applied = Applied { dry_run: how.dry_run, changes: changed.changes, declared };
    let mut response = Json(applied).into_response();
    response.extensions_mut().insert(Outcome(outcome));
    Ok(response)
}

/// Entries of the catalog as they are written down. Descriptions are read in it, which takes its time.
async fn checked(state: &State, raw: Raw) -> Result<Specs, Refusal> {
    let catalog = state.catalog().clone();
    let check = move || {
        let mut report = Report::new();
        let specs = catalog::config::check(&raw, catalog.limits(), &mut report);
        first_error(&report).map(|()| specs)
    };
    let checked = tokio::task::spawn_blocking(check).await;
    checked.map_err(|error| Refusal(super::api::internal(&error)))?
}

/// Something is wrong with a consumer: where, from the beginning of what was sent.
fn within(name: &str, Refusal(mut problem): Refusal) -> Refusal {
    let field = problem.field.map(|field| format!(".{field}")).unwrap_or_default();
    problem.field = Some(format!("consumers.{name}{field}"));
    Refusal(problem)
}

#[cfg(test)]
fn apis() -> Schema {
    by_name("RawApi")
}

#[cfg(test)]
fn plans() -> Schema {
    by_name("RawPlan")
}

#[cfg(test)]
/// Values by name, of a schema of the file.
fn by_name(schema: &str) -> Schema {
    ObjectBuilder::new().additional_properties(Some(Ref::from_schema_name(schema))).into()
}

impl ManagedConsumer {
    fn checked(self) -> Result<Spec, Refusal> {
        let Self { plan, roles, metadata, certificates, signature_keys, keys: _ } = self;
        ConsumerSpec { plan, roles, metadata, certificates, signature_keys }.checked()
    }
}

impl From<View> for ManagedConsumer {
    fn from(view: View) -> Self {
        let keys = view.keys.into_iter().map(|key| KeyNote {
            number: key.number.get(),
            name: key.label.map(Into::into),
            expires: key.expires.map(instant::show),
        });
        Self { keys: keys.collect(), ..(&*view.spec).into() }
    }
}

impl From<&Spec> for ManagedConsumer {
    fn from(spec: &Spec) -> Self {
        let texts = |texts: &[Box<str>]| texts.iter().map(ToString::to_string).collect();
        Self {
            plan: spec.plan.as_ref().map(ToString::to_string),
            roles: texts(&spec.roles),
            metadata: spec.metadata.clone(),
            certificates: texts(&spec.certificates),
            signature_keys: spec.signature_keys.iter().map(SignatureKey::from).collect(),
            keys: Vec::new(),
        }
    }
}

impl From<Planned> for EntryChange {
    fn from(planned: Planned) -> Self {
        let shown = |spec: &Option<std::sync::Arc<Spec>>| -> Option<Value> {
            // Such a type can always be written.
            serde_json::to_value(ManagedConsumer::from(spec.as_deref()?)).ok()
        };
        let (before, after) = (shown(&planned.before), shown(&planned.after));
        let kind = match (&before, &after) {
            (None, _) => "created",
            (_, None) => "removed",
            _ => "changed",
        };
        Self {
            entry: format!("consumer {}", planned.name),
            kind: kind.into(),
            fields: wire::fields(history::between(before.as_ref(), after.as_ref())),
            contract: Vec::new(),
        }
    }
}
