//! APIs, versions and plans: shown, changed, compared and rolled back. What the file declares is shown
//! here and changed there.
//!
//! Before anything changes, what it would have the gateway do is checked as it would be in the file; so
//! what is in force stays when something is wrong.

pub(super) mod change;
pub(super) mod wire;

use axum::Json;
use axum::extract::{Extension, State as Shared};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use posthouse_base::config::{Path, Report};
use posthouse_base::problem::Problem;
use posthouse_base::time::Timestamp;
use posthouse_catalog::config::{RawApi, RawEnding, RawPlan, RawVersion};
use posthouse_catalog::contract::Kind;
use posthouse_catalog::state::{Ending, Lifecycle, Spec, Version};
use posthouse_catalog::{self as catalog, Change, Key, Revision};
use posthouse_identity::consumers::View;
use serde::Deserialize;
#[cfg(test)]
use utoipa::ToSchema;

use super::access::Caller;
use super::input::{Asked, Named, Sent, Text};
#[cfg(test)]
use super::wire::ProblemDetails;
use super::{Refusal, State};
use change::{change, first_error, refused};
#[cfg(test)]
use wire::Changes;
use wire::{Apis, CatalogEntry, Differences, History, Plans};

/// How a change is made.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    /// Only asks what would change.
    #[serde(default)]
    dry_run: bool,
    /// Why.
    #[serde(default)]
    note: String,
    /// The revision that is changed; 0 for something new.
    revision: Option<u64>,
}

/// How a version is to end.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(default, deny_unknown_fields)]
pub(super) struct EndingSpec {
    /// Since when it is deprecated: `2026-10-01`, or with a time `2026-10-01T12:00:00Z`; now if left
    /// out.
    deprecated: Option<String>,
    /// When it is expected to stop.
    sunset: Option<String>,
    /// The version of the same API to use instead.
    successor: Option<String>,
    /// The address of a page about it.
    documentation: Option<String>,
}

/// To which revision to go back.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Back {
    /// Its number.
    #[cfg_attr(test, schema(minimum = 1))]
    revision: u64,
}

/// Which revisions are compared.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Between {
    from: Option<u64>,
    to: Option<u64>,
}

/// Lists the APIs and their versions.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/apis", security(("token" = ["viewer"])),
    responses((status = 200, body = Apis))
))]
pub(super) async fn apis(Shared(state): Shared<State>) -> Json<Apis> {
    Json(Apis::of(&state.catalog().standing()))
}

/// Shows an API.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/apis/{api}", security(("token" = ["viewer"])),
    params(("api" = String, Path, description = "The API's name")),
    responses(
        (status = 200, body = CatalogEntry),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn api(
    Shared(state): Shared<State>,
    Named(api): Named<String>,
) -> Result<Json<CatalogEntry>, Refusal> {
    show(&state, &key(Key::api(&api))?)
}

/// Writes an API down, new or anew. Versions that stand in it are written down as well; others stay.
#[cfg_attr(test, utoipa::path(
    put, path = "/api/v1/apis/{api}", security(("token" = ["operator"])),
    params(
        ("api" = String, Path, description = "The API's name"),
        ("dry_run" = Option<bool>, Query, description = "Only says what would change"),
        ("note" = Option<String>, Query, description = "Why, for its history"),
        ("revision" = Option<u64>, Query, minimum = 0,
         description = "Refused when this is not its revision; 0 when it is new"),
    ),
    request_body(content = ref("#/components/schemas/RawApi"), content_type = "application/json"),
    responses(
        (status = 200, body = Changes),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn put_api(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Named(api): Named<String>,
    Asked(how): Asked<How>,
    Sent(raw): Sent<RawApi>,
) -> Result<Response, Refusal> {
    let named = key(Key::api(&api))?;
    let mut report = Report::new();
    let spec = Spec::Api(catalog::config::api(&raw, &Path::root(), &mut report));
    let mut changes = vec![put(named, spec, how.revision)];
    for (name, raw) in &raw.versions {
        let path = Path::root().key("versions").key(name);
        let version = catalog::config::version(raw, &path, &mut report);
        changes.push(put(key(Key::version(&api, name))?, Spec::Version(Box::new(version)), None));
    }
    first_error(&report)?;
    change(&state, &caller, changes, &how).await
}

/// Removes an API that has no versions.
#[cfg_attr(test, utoipa::path(
    delete, path = "/api/v1/apis/{api}", security(("token" = ["admin"])),
    params(
        ("api" = String, Path, description = "The API's name"),
        ("dry_run" = Option<bool>, Query, description = "Only says what would change"),
        ("note" = Option<String>, Query, description = "Why, for its history"),
        ("revision" = Option<u64>, Query, minimum = 0, description = "Ignored: removals are by name"),
    ),
    responses(
        (status = 200, body = Changes),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn delete_api(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Named(api): Named<String>,
    Asked(how): Asked<How>,
) -> Result<Response, Refusal> {
    let key = key(Key::api(&api))?;
    change(&state, &caller, vec![Change::Remove { key }], &how).await
}

/// Shows a version of an API.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/apis/{api}/versions/{version}", security(("token" = ["viewer"])),
    params(
        ("api" = String, Path, description = "The API's name"),
        ("version" = String, Path, description = "The version's name"),
    ),
    responses(
        (status = 200, body = CatalogEntry),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn version(
    Shared(state): Shared<State>,
    Named((api, version)): Named<(String, String)>,
) -> Result<Json<CatalogEntry>, Refusal> {
    show(&state, &key(Key::version(&api, &version))?)
}

/// Writes a version down, new or anew. Its `state` may go one step; a new one may be in any.
#[cfg_attr(test, utoipa::path(
    put, path = "/api/v1/apis/{api}/versions/{version}", security(("token" = ["operator"])),
    params(
        ("api" = String, Path, description = "The API's name"),
        ("version" = String, Path, description = "The version's name"),
        ("dry_run" = Option<bool>, Query, description = "Only says what would change"),
        ("note" = Option<String>, Query, description = "Why, for its history"),
        ("revision" = Option<u64>, Query, minimum = 0,
         description = "Refused when this is not its revision; 0 when it is new"),
    ),
    request_body(content = ref("#/components/schemas/RawVersion"), content_type = "application/json"),
    responses(
        (status = 200, body = Changes),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn put_version(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Named((api, version)): Named<(String, String)>,
    Asked(how): Asked<How>,
    Sent(raw): Sent<RawVersion>,
) -> Result<Response, Refusal> {
    let named = key(Key::version(&api, &version))?;
    let mut report = Report::new();
    let spec = catalog::config::version(&raw, &Path::root(), &mut report);
    first_error(&report)?;
    let changes = vec![put(named, Spec::Version(Box::new(spec)), how.revision)];
    change(&state, &caller, changes, &how).await
}

/// Removes a version that takes no calls.
#[cfg_attr(test, utoipa::path(
    delete, path = "/api/v1/apis/{api}/versions/{version}", security(("token" = ["admin"])),
    params(
        ("api" = String, Path, description = "The API's name"),
        ("version" = String, Path, description = "The version's name"),
        ("dry_run" = Option<bool>, Query, description = "Only says what would change"),
        ("note" = Option<String>, Query, description = "Why, for its history"),
        ("revision" = Option<u64>, Query, minimum = 0, description = "Ignored: removals are by name"),
    ),
    responses(
        (status = 200, body = Changes),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn delete_version(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Named((api, version)): Named<(String, String)>,
    Asked(how): Asked<How>,
) -> Result<Response, Refusal> {
    let key = key(Key::version(&api, &version))?;
    change(&state, &caller, vec![Change::Remove { key }], &how).await
}

/// Publishes a draft, or takes a deprecation back.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/apis/{api}/versions/{version}/publish",
    security(("token" = ["operator"])),
    params(
        ("api" = String, Path, description = "The API's name"),
        ("version" = String, Path, description = "The version's name"),
        ("dry_run" = Option<bool>, Query, description = "Only says what would change"),
        ("note" = Option<String>, Query, description = "Why, for its history"),
        ("revision" = Option<u64>, Query, minimum = 0, description = "Ignored: states go by steps"),
    ),
    responses(
        (status = 200, body = Changes),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn publish(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Named((api, version)): Named<(String, String)>,
    Asked(how): Asked<How>,
) -> Result<Response, Refusal> {
    go(&state, &caller, (&api, &version), Lifecycle::Published, &how).await
}

/// Deprecates a version: its answers say so, and when it is expected to stop.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/apis/{api}/versions/{version}/deprecate",
    security(("token" = ["operator"])),
    params(
        ("api" = String, Path, description = "The API's name"),
        ("version" = String, Path, description = "The version's name"),
        ("dry_run" = Option<bool>, Query, description = "Only says what would change"),
        ("note" = Option<String>, Query, description = "Why, for its history"),
        ("revision" = Option<u64>, Query, minimum = 0, description = "Ignored: states go by steps"),
    ),
    request_body(content = EndingSpec),
    responses(
        (status = 200, body = Changes),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn deprecate(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Named((api, version)): Named<(String, String)>,
    Asked(how): Asked<How>,
    Sent(spec): Sent<EndingSpec>,
) -> Result<Response, Refusal> {
    let ending = spec.checked(current(&state, &api, &version)?.as_ref())?;
    go(&state, &caller, (&api, &version), Lifecycle::Deprecated(ending), &how).await
}

/// Retires a version: its calls are answered with 410, which names the successor.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/apis/{api}/versions/{version}/retire",
    security(("token" = ["operator"])),
    params(
        ("api" = String, Path, description = "The API's name"),
        ("version" = String, Path, description = "The version's name"),
        ("dry_run" = Option<bool>, Query, description = "Only says what would change"),
        ("note" = Option<String>, Query, description = "Why, for its history"),
        ("revision" = Option<u64>, Query, minimum = 0, description = "Ignored: states go by steps"),
    ),
    request_body(content = EndingSpec, description = "What is left out stays as it was deprecated"),
    responses(
        (status = 200, body = Changes),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn retire(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Named((api, version)): Named<(String, String)>,
    Asked(how): Asked<How>,
    Sent(spec): Sent<EndingSpec>,
) -> Result<Response, Refusal> {
    let ending = spec.checked(current(&state, &api, &version)?.as_ref())?;
    go(&state, &caller, (&api, &version), Lifecycle::Retired(ending), &how).await
}

/// Gives a version an OpenAPI document (YAML or JSON), from which come its routes. A version that is
/// not there yet is made, as a draft.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/apis/{api}/versions/{version}/import",
    security(("token" = ["operator"])),
    params(
        ("api" = String, Path, description = "The API's name"),
        ("version" = String, Path, description = "The version's name"),
        ("service" = Option<String>, Query, description = "The service that answers its calls"),
        ("path" = Option<String>, Query,
         description = "What the paths of its calls begin with, where versions are told by paths"),
        ("dry_run" = Option<bool>, Query, description = "Only says what would change"),
        ("note" = Option<String>, Query, description = "Why, for its history"),
    ),
    request_body(content = String, content_type = "application/yaml"),
    responses(
        (status = 200, body = Changes),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn import(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Named((api, version)): Named<(String, String)>,
    Asked(what): Asked<Import>,
    Text(text): Text,
) -> Result<Response, Refusal> {
    let named = key(Key::version(&api, &version))?;
    let there = state.catalog().standing();
    let there = there.specs().get(&named).and_then(|spec| spec.as_version()).cloned();
    let mut raw = catalog::config::write::version_written(&there.unwrap_or_default());
    (raw.openapi, raw.proto) = (Some(text), None);
    raw.service = what.service.or(raw.service);
    if let Some(path) = what.path {
        raw.select = catalog::config::RawSelect { path: Some(path), ..Default::default() };
    }
    let mut report = Report::new();
    let spec = catalog::config::version(&raw, &Path::root(), &mut report);
    first_error(&report)?;
    let how = How { dry_run: what.dry_run, note: what.note, revision: None };
    let mut changes = Vec::new();
    let of_api = key(Key::api(&api))?;
    if !state.catalog().standing().specs().contains_key(&of_api) {
        changes.push(put(of_api, Spec::Api(catalog::state::Api::default()), None));
    }
    changes.push(put(named, Spec::Version(Box::new(spec)), None));
    change(&state, &caller, changes, &how).await
}

/// What is said of an import besides the document.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Import {
    service: Option<String>,
    path: Option<String>,
    dry_run: bool,
    note: String,
}

/// The OpenAPI document or `.proto` file of a version, as it was given.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/apis/{api}/versions/{version}/document",
    security(("token" = ["viewer"])),
    params(
        ("api" = String, Path, description = "The API's name"),
        ("version" = String, Path, description = "The version's name"),
    ),
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn document(
    Shared(state): Shared<State>,
    Named((api, version)): Named<(String, String)>,
) -> Result<Response, Refusal> {
    let found = current(&state, &api, &version)?;
    let Some(contract) = found.as_ref().and_then(|version| version.contract.as_ref()) else {
        let detail = format!("the version `{api}@{version}` has no document");
        return Err(Refusal(Problem::new(404, "Not Found").detail(detail)));
    };
    let kind = match contract.kind() {
        Kind::OpenApi => "openapi",
        Kind::Proto => "proto",
    };
    let headers = [(header::CONTENT_TYPE.as_str(), "text/plain; charset=utf-8"), ("x-kind", kind)];
    Ok((headers, contract.text().to_owned()).into_response())
}

/// Shows the changes of an API, the latest first.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/apis/{api}/history", security(("token" = ["viewer"])),
    params(("api" = String, Path, description = "The API's name")),
    responses(
        (status = 200, body = History),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn api_history(
    Shared(state): Shared<State>,
    Named(api): Named<String>,
) -> Result<Json<History>, Refusal> {
    history(&state, &key(Key::api(&api))?)
}

/// Shows the changes of a version, the latest first.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/apis/{api}/versions/{version}/history",
    security(("token" = ["viewer"])),
    params(
        ("api" = String, Path, description = "The API's name"),
        ("version" = String, Path, description = "The version's name"),
    ),
    responses(
        (status = 200, body = History),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn version_history(
    Shared(state): Shared<State>,
    Named((api, version)): Named<(String, String)>,
) -> Result<Json<History>, Refusal> {
    history(&state, &key(Key::version(&api, &version))?)
}

/// Compares two revisions of a version: by default the last with the one before it.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/apis/{api}/versions/{version}/compare",
    security(("token" = ["viewer"])),
    params(
        ("api" = String, Path, description = "The API's name"),
        ("version" = String, Path, description = "The version's name"),
        ("from" = Option<u64>, Query, minimum = 1, description = "The earlier revision"),
        ("to" = Option<u64>, Query, minimum = 1, description = "The later revision"),
    ),
    responses(
        (status = 200, body = Differences),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn compare(
    Shared(state): Shared<State>,
    Named((api, version)): Named<(String, String)>,
    Asked(between): Asked<Between>,
) -> Result<Json<Differences>, Refusal> {
    let key = key(Key::version(&api, &version))?;
    let standing = state.catalog().standing();
    let entry = standing.history(&key).map_err(|refusal| refused(&refusal))?;
    let last = entry.last().map_or(1, |last| last.revision.get());
    let to = between.to.unwrap_or(last);
    let from = between.from.unwrap_or(to.saturating_sub(1).max(1));
    let (from, to) = (Revision::new(from), Revision::new(to));
    let found = tokio::task::spawn_blocking(move || standing.compare(&key, from, to)).await;
    let found = found.map_err(|error| Refusal(super::api::internal(&error)))?;
    Ok(Json(found.map_err(|refusal| refused(&refusal))?.into()))
}

/// Makes a version what it was in an earlier revision.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/apis/{api}/versions/{version}/rollback",
    security(("token" = ["admin"])),
    params(
        ("api" = String, Path, description = "The API's name"),
        ("version" = String, Path, description = "The version's name"),
        ("dry_run" = Option<bool>, Query, description = "Only says what would change"),
        ("note" = Option<String>, Query, description = "Why, for its history"),
        ("revision" = Option<u64>, Query, minimum = 0, description = "Ignored: see the body"),
    ),
    request_body(content = Back),
    responses(
        (status = 200, body = Changes),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn roll_back(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Named((api, version)): Named<(String, String)>,
    Asked(how): Asked<How>,
    Sent(back): Sent<Back>,
) -> Result<Response, Refusal> {
    let key = key(Key::version(&api, &version))?;
    let changes = vec![Change::RollBack { key, to: Revision::new(back.revision) }];
    change(&state, &caller, changes, &how).await
}

/// Lists the plans.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/plans", security(("token" = ["viewer"])),
    responses((status = 200, body = Plans))
))]
pub(super) async fn plans(Shared(state): Shared<State>) -> Json<Plans> {
    let standing = state.catalog().standing();
    let keys = standing.specs().keys().filter(|key| matches!(key, Key::Plan(_)));
    Json(Plans { plans: keys.filter_map(|key| CatalogEntry::of(&standing, key)).collect() })
}

/// Shows a plan.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/plans/{plan}", security(("token" = ["viewer"])),
    params(("plan" = String, Path, description = "The plan's name")),
    responses(
        (status = 200, body = CatalogEntry),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn plan(
    Shared(state): Shared<State>,
    Named(plan): Named<String>,
) -> Result<Json<CatalogEntry>, Refusal> {
    show(&state, &key(Key::plan(&plan))?)
}

/// Writes a plan down, new or anew.
#[cfg_attr(test, utoipa::path(
    put, path = "/api/v1/plans/{plan}", security(("token" = ["operator"])),
    params(
        ("plan" = String, Path, description = "The plan's name"),
        ("dry_run" = Option<bool>, Query, description = "Only says what would change"),
        ("note" = Option<String>, Query, description = "Why, for its history"),
        ("revision" = Option<u64>, Query, minimum = 0,
         description = "Refused when this is not its revision; 0 when it is new"),
    ),
    request_body(content = ref("#/components/schemas/RawPlan"), content_type = "application/json"),
    responses(
        (status = 200, body = Changes),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn put_plan(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Named(plan): Named<String>,
    Asked(how): Asked<How>,
    Sent(raw): Sent<RawPlan>,
) -> Result<Response, Refusal> {
    let named = key(Key::plan(&plan))?;
    let mut report = Report::new();
    let spec = Spec::Plan(catalog::config::plan(&raw, &Path::root(), &mut report));
    first_error(&report)?;
    change(&state, &caller, vec![put(named, spec, how.revision)], &how).await
}

/// Removes a plan.
#[cfg_attr(test, utoipa::path(
    delete, path = "/api/v1/plans/{plan}", security(("token" = ["admin"])),
    params(
        ("plan" = String, Path, description = "The plan's name"),
        ("dry_run" = Option<bool>, Query, description = "Only says what would change"),
        ("note" = Option<String>, Query, description = "Why, for its history"),
        ("revision" = Option<u64>, Query, minimum = 0, description = "Ignored: removals are by name"),
    ),
    responses(
        (status = 200, body = Changes),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn delete_plan(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Named(plan): Named<String>,
    Asked(how): Asked<How>,
) -> Result<Response, Refusal> {
    let key = key(Key::plan(&plan))?;
    let is_on_it = |view: &&View| view.spec.plan.as_deref() == Some(plan.as_str());
    let consumers = state.consumers().list();
    if let Some(one) = consumers.iter().find(is_on_it) {
        let detail =
            format!("the consumer {} is on the plan {plan}: give it another first", one.name);
        return Err(Refusal(Problem::new(409, "Conflict").detail(detail).field("plan")));
    }
    change(&state, &caller, vec![Change::Remove { key }], &how).await
}

impl EndingSpec {
    /// What is left out is as it was before, if there was an ending.
    fn checked(self, before: Option<&Version>) -> Result<Ending, Refusal> {
        let before = before.and_then(|version| version.lifecycle.ending());
        let mut raw = before.map(catalog::config::write::ending_written).unwrap_or_default();
        if let Some(deprecated) = self.deprecated {
            raw.deprecated = deprecated;
        } else if raw.deprecated.is_empty() {
            raw.deprecated = super::api::instant(Timestamp::now());
        }
        let raw = RawEnding {
            sunset: self.sunset.or(raw.sunset),
            successor: self.successor.or(raw.successor),
            documentation: self.documentation.or(raw.documentation),
            ..raw
        };
        let mut report = Report::new();
        let ending = catalog::config::check::ending(&raw, &Path::root(), &mut report);
        first_error(&report)?;
        Ok(ending)
    }
}

async fn go(
    state: &State,
    caller: &Caller,
    (api, version): (&str, &str),
    to: Lifecycle,
    how: &How,
) -> Result<Response, Refusal> {
    let Key::Version(api, version) = key(Key::version(api, version))? else {
        return Err(Refusal(Problem::new(500, "Internal Server Error")));
    };
    change(state, caller, vec![Change::Move { api, version, to }], how).await
}

fn put(key: Key, spec: Spec, revision: Option<u64>) -> Change {
    let expected = revision.map(|number| (number > 0).then(|| Revision::new(number)));
    Change::Put { key, spec: spec.into(), expected }
}

fn key<E: std::fmt::Display>(key: Result<Key, E>) -> Result<Key, Refusal> {
    key.map_err(|bad| {
        Refusal(Problem::new(400, "Bad Request").detail(bad.to_string()).field("path"))
    })
}

fn show(state: &State, key: &Key) -> Result<Json<CatalogEntry>, Refusal> {
    let found = CatalogEntry::of(&state.catalog().standing(), key);
    found.map(Json).ok_or_else(|| refused(&catalog::Refusal::Unknown(key.clone())))
}

fn history(state: &State, key: &Key) -> Result<Json<History>, Refusal> {
    let standing = state.catalog().standing();
    let entry = standing.history(key).map_err(|refusal| refused(&refusal))?;
    Ok(Json(History::from(entry)))
}

/// A version as it is.
fn current(state: &State, api: &str, version: &str) -> Result<Option<Version>, Refusal> {
    let key = key(Key::version(api, version))?;
    let standing = state.catalog().standing();
    Ok(standing.specs().get(&key).and_then(|spec| spec.as_version()).cloned())
}
