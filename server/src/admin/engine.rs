//! Where the registry's names come from.

use axum::Json;
use axum::extract::State as Shared;
use posthouse_registry as registry;
use serde::Serialize;
#[cfg(test)]
use utoipa::ToSchema;

use super::State;

/// Where names come from.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Names {
    /// `registry` when they are kept here, `engine` when they come from one, `none` when there are
    /// only those of the file.
    source: &'static str,
    /// The engine that they come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<EngineStanding>,
}

/// How an engine is.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct EngineStanding {
    /// `HOST:PORT`.
    address: String,
    /// Whether it answered when it was last asked; absent when it was not asked yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    reachable: Option<bool>,
    /// Since when, in milliseconds since 1970.
    since_ms: u64,
    /// What it, or the way to it, last failed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// From when what is known is, in milliseconds since 1970, while all of it was remembered over
    /// a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    remembered_ms: Option<u64>,
}

/// Tells where names come from, and how that is.
#[cfg_attr(test, utoipa::path(get, path = "/api/v1/names",
    security(("token" = ["viewer"])), responses((status = 200, body = Names))))]
pub(super) async fn names(Shared(state): Shared<State>) -> Json<Names> {
    let engine = state.engine.as_ref().map(|engine| EngineStanding::from(engine.view()));
    let source = match (&engine, &state.registry) {
        (Some(_), _) => "engine",
        (None, Some(_)) => "registry",
        (None, None) => "none",
    };
    Json(Names { source, engine })
}

impl From<registry::EngineView> for EngineStanding {
    fn from(view: registry::EngineView) -> Self {
        Self {
            address: view.address,
            reachable: view.reachable,
            since_ms: view.since.as_millis(),
            error: view.error,
            remembered_ms: view.remembered.map(|at| at.as_millis()),
        }
    }
}
