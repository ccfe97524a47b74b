//! The questions that the admin API answers.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use posthouse_base::problem::Problem;
use posthouse_base::time::Timestamp;
use posthouse_gateway::cluster::view::EndpointView;
use posthouse_registry as registry;
use posthouse_telemetry::page;

use super::described;
use super::input::{Named, Text};
use super::wire::{
    CheckResult, Configuration, Endpoint, Endpoints, Node, Nodes, Origin, ProblemDetails,
    RefusedRoute, Reload, Route, Routes, Service, ServiceSummary, Services,
};
use super::{Refusal, State, problem_response};
use crate::calls::names;
use crate::config::check_text;
use crate::control::Cause;

/// Describes this API (OpenAPI).
#[cfg_attr(test, utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    security(("token" = ["viewer"])),
    responses((status = 200, body = serde_json::Value))
))]
pub(super) async fn openapi(Shared(state): Shared<State>) -> Result<Response, Refusal> {
    let with_tokens = !state.control.admin_keys().is_empty();
    let text = described::text(with_tokens).map_err(|error| Refusal(internal(&error)))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// Lists the routes in force, in the order of the file.
#[cfg_attr(test, utoipa::path(get, path = "/api/v1/routes",
    security(("token" = ["viewer"])), responses((status = 200, body = Routes))))]
pub(super) async fn routes(Shared(state): Shared<State>) -> Json<Routes> {
    let view = state.control.calls().map(|calls| calls.view());
    let routes = view.iter().flat_map(|view| &view.routes).map(Route::from);
    let refused = state.control.refused_routes().into_iter().map(|refused| RefusedRoute {
        service: refused.source.service,
        name: refused.source.name,
        reason: refused.reason,
    });
    Json(Routes { routes: routes.collect(), refused: refused.collect() })
}

/// Lists the services, by name.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/api/v1/services",
    security(("token" = ["viewer"])),
    responses(
        (status = 200, body = Services),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn services(Shared(state): Shared<State>) -> Result<Json<Services>, Refusal> {
    let services = all_services(&state).await?.into_iter().map(|s| s.summary).collect();
    Ok(Json(Services { services }))
}

/// Shows a service with the live state of its instances.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/api/v1/services/{name}",
    security(("token" = ["viewer"])),
    params(("name" = String, Path, description = "The service's name")),
    responses(
        (status = 200, body = Service),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn service(
    Shared(state): Shared<State>,
    Named(name): Named<String>,
) -> Result<Json<Service>, Refusal> {
    let mut all = all_services(&state).await?.into_iter();
    let found = all.find(|service| service.summary.name == name);
    let missing = || {
        let detail = format!("there is no service `{name}`");
        Refusal(Problem::new(404, "Not Found").detail(detail).field("name"))
    };
    found.map(Json).ok_or_else(missing)
}

/// Lists the instances of all services.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/api/v1/endpoints",
    security(("token" = ["viewer"])),
    responses(
        (status = 200, body = Endpoints),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn endpoints(Shared(state): Shared<State>) -> Result<Json<Endpoints>, Refusal> {
    let services = all_services(&state).await?.into_iter();
    Ok(Json(Endpoints { endpoints: services.flat_map(|service| service.endpoints).collect() }))
}

/// Lists the nodes in the registry, by name.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/api/v1/nodes",
    security(("token" = ["viewer"])),
    responses(
        (status = 200, body = Nodes),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn nodes(Shared(state): Shared<State>) -> Result<Json<Nodes>, Refusal> {
    let nodes = match &state.registry {
        Some(registry) => registry.nodes().await.map_err(|error| unsure(&error))?,
        None => Vec::new(),
    };
    let node = |node: posthouse_registry::state::Node| Node {
        name: node.name.to_string(),
        address: node.address,
        meta: node.meta,
    };
    Ok(Json(Nodes { nodes: nodes.into_iter().map(node).collect() }))
}

/// Tells which configuration is in force, and how the last reload went.
#[cfg_attr(test, utoipa::path(get, path = "/api/v1/configuration",
    security(("token" = ["viewer"])), responses((status = 200, body = Configuration))))]
pub(super) async fn configuration(Shared(state): Shared<State>) -> Json<Configuration> {
    let standing = state.control.standing();
    Json(Configuration {
        version: standing.version,
        since_ms: standing.since.as_millis(),
        source: state.control.source().name(),
        last_reload: (&standing.last).into(),
    })
}

/// Reads the configuration again and puts it in force unless it has mistakes.
#[cfg_attr(test, utoipa::path(
    post,
    path = "/api/v1/reload",
    security(("token" = ["operator"])),
    responses(
        (status = 200, body = Reload),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json",
         description = "It was refused; the one before is still in force."),
    )
))]
pub(super) async fn reload(Shared(state): Shared<State>) -> Response {
    let outcome = Reload::from(&state.control.reload(Cause::Api).await);
    if outcome.taken {
        return Json(outcome).into_response();
    }
    let first = outcome.findings.iter().find(|finding| finding.severity == "error");
    let problem = ProblemDetails {
        kind: "about:blank".into(),
        title: "Configuration refused".into(),
        status: 422,
        detail: outcome.error.clone().or_else(|| {
            first.map(|f| format!("{}:{}: {}: {}", f.line, f.column, f.path, f.message))
        }),
        field: first.map(|finding| finding.path.clone()),
        reload: Some(outcome),
    };
    match serde_json::to_string(&problem) {
        Ok(body) => problem_response(422, body),
        Err(error) => Refusal(internal(&error)).into_response(),
    }
}

/// Checks a configuration (YAML) that is sent, without putting it in force.
#[cfg_attr(test, utoipa::path(
    post,
    path = "/api/v1/configuration/check",
    security(("token" = ["viewer"])),
    request_body(content = String, content_type = "application/yaml"),
    responses(
        (status = 200, body = CheckResult),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(super) async fn check(Text(text): Text) -> Result<Response, Refusal> {
    let check = move || check_text(&text, "(sent)", std::path::Path::new("")).findings;
    let findings = tokio::task::spawn_blocking(check).await;
    let findings = findings.map_err(|error| Refusal(internal(&error)))?;
    let result = CheckResult { ok: !findings.has_errors(), findings: (&findings).into() };
    Ok(Json(result).into_response())
}

/// The page of metrics.
pub(super) async fn metrics(Shared(state): Shared<State>) -> Result<Response, Refusal> {
    let page = page::render(&state.metrics).map_err(|error| Refusal(internal(&error)))?;
    Ok(([(header::CONTENT_TYPE, page::MEDIA_TYPE)], page).into_response())
}

/// The keys by which services verify the tokens that tell them who calls. They are no secret: whoever
/// reaches this address may read them.
pub(super) async fn published_keys(Shared(state): Shared<State>) -> Result<Response, Refusal> {
    let Some(keys) = state.control.guard().published_keys() else {
        let detail = "no tokens are made for services: there is no `identity.mint`";
        return Err(Refusal(Problem::new(404, "Not Found").detail(detail)));
    };
    let fields = [(header::CONTENT_TYPE, "application/jwk-set+json")];
    Ok((fields, keys.to_string()).into_response())
}

/// Whether to send calls here: not any more once the house is ending.
pub(super) async fn ready(Shared(state): Shared<State>) -> (StatusCode, &'static str) {
    if state.control.is_ending() {
        (StatusCode::SERVICE_UNAVAILABLE, "ending\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

/// Every service with its instances, by name: what the gateway sees, joined with what the registry
/// knows.
pub(super) async fn all_services(state: &State) -> Result<Vec<Service>, Refusal> {
    let view = state.control.calls().map(|calls| calls.view());
    let mut services = BTreeMap::new();
    for seen in view.into_iter().flat_map(|view| view.services) {
        services.insert(seen.name.to_string(), seen.endpoints);
    }
    let Some(registry) = &state.registry else {
        return Ok(services.iter().map(|(name, seen)| joined(name, seen, &[])).collect());
    };
    for name in registry.services().await.map_err(|error| unsure(&error))? {
        services.entry(name.to_string()).or_default();
    }
    let mut all = Vec::with_capacity(services.len());
    for (name, seen) in services {
        let registered = registry.instances(&name).await.map_err(|error| unsure(&error))?;
        all.push(joined(&name, &seen, &registered));
    }
    Ok(all)
}

/// One service with its instances.
pub(super) async fn one_service(state: &State, name: &str) -> Result<Service, Refusal> {
    let seen = state.control.calls().and_then(|calls| calls.service(name));
    let registered = match &state.registry {
        Some(registry) => registry.instances(name).await.map_err(|error| unsure(&error))?,
        None => Vec::new(),
    };
    if seen.is_none() && registered.is_empty() {
        let detail = format!("there is no service `{name}`");
        return Err(Refusal(Problem::new(404, "Not Found").detail(detail).field("name")));
    }
    let seen = seen.map(|seen| seen.endpoints).unwrap_or_default();
    Ok(joined(name, &seen, &registered))
}

fn joined(name: &str, seen: &[EndpointView], registered: &[registry::Endpoint]) -> Service {
    let keys: Vec<String> = registered.iter().map(|one| names::key(one, registered)).collect();
    let mut origin = if seen.is_empty() { Origin::Registry } else { Origin::File };
    let mut endpoints = Vec::new();
    for view in seen {
        let known = keys.iter().position(|key| *key == view.key).and_then(|at| registered.get(at));
        let known = known.and_then(|known| Endpoint::registered(name, known).registration);
        if known.is_some() {
            origin = Origin::Registry;
        }
        endpoints.push(Endpoint::seen(name, view, known));
    }
    // Those that the gateway does not see: there is none here, or a name is not resolved yet.
    if origin == Origin::Registry {
        for (one, key) in registered.iter().zip(&keys) {
            if !seen.iter().any(|view| view.key == *key) {
                endpoints.push(Endpoint::registered(name, one));
            }
        }
    }
    Service::new(name, origin, endpoints)
}

impl Service {
    fn new(name: &str, origin: Origin, endpoints: Vec<Endpoint>) -> Self {
        let healthy = endpoints.iter().filter(|endpoint| endpoint.healthy).count();
        let instances = endpoints.len();
        Self {
            summary: ServiceSummary { name: name.into(), origin, instances, healthy },
            endpoints,
        }
    }
}

pub(super) fn internal(error: &dyn std::fmt::Display) -> Problem {
    tracing::error!("the admin API failed: {error}");
    Problem::new(500, "Internal Server Error").detail("see the log")
}

/// A time as people write it.
pub(super) fn instant(at: Timestamp) -> String {
    posthouse_journal::sqlite::copy::instant::show(at)
}

/// The registry cannot say for certain what it knows.
fn unsure(error: &registry::Error) -> Refusal {
    Refusal(Problem::new(503, "Service Unavailable").detail(error.to_string()))
}
