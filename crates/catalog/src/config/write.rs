//! From entries back to the form of the file: how the catalog is exported and shown.

use super::raw::{Raw, RawApi, RawEnding, RawPlan, RawSelect, RawState, RawVersion};
use crate::contract::Kind;
use crate::date;
use crate::state::{Api, Ending, Key, Lifecycle, Plan, Select, Spec, Specs, Version};

/// Entries as the file would say them.
#[must_use]
pub fn written(specs: &Specs) -> Raw {
    let mut raw = Raw::default();
    for (key, spec) in specs {
        match (key, spec.as_ref()) {
            (Key::Api(name), Spec::Api(api)) => {
                let written = api_written(api);
                let there = raw.apis.entry(name.to_string()).or_default();
                let versions = std::mem::take(&mut there.versions);
                *there = RawApi { versions, ..written };
            }
            (Key::Version(api, name), Spec::Version(version)) => {
                let api = raw.apis.entry(api.to_string()).or_default();
                api.versions.insert(name.to_string(), version_written(version));
            }
            (Key::Plan(name), Spec::Plan(plan)) => {
                raw.plans.insert(name.to_string(), plan_written(plan));
            }
            _ => {}
        }
    }
    raw
}

/// An API without its versions.
#[must_use]
pub fn api_written(api: &Api) -> RawApi {
    RawApi {
        title: api.title.clone(),
        description: api.description.clone(),
        owner: api.owner.clone(),
        host: api.host.clone(),
        path: api.path.clone(),
        default: api.default.as_ref().map(ToString::to_string),
        guard: api.guard.clone(),
        limits: api.limits.clone(),
        versions: std::collections::BTreeMap::new(),
    }
}

/// A version.
#[must_use]
pub fn version_written(version: &Version) -> RawVersion {
    let text = |kind| {
        let contract = version.contract.as_ref().filter(|contract| contract.kind() == kind);
        contract.map(|contract| contract.text().to_owned())
    };
    RawVersion {
        state: match version.lifecycle {
            Lifecycle::Draft => RawState::Draft,
            Lifecycle::Published => RawState::Published,
            Lifecycle::Deprecated(_) => RawState::Deprecated,
            Lifecycle::Retired(_) => RawState::Retired,
        },
        ending: version.lifecycle.ending().map(ending_written),
        description: version.description.clone(),
        owner: version.owner.clone(),
        select: select_written(&version.select),
        service: version.service.clone(),
        strip: version.strip,
        routes: version.routes.clone(),
        defaults: version.defaults.clone(),
        openapi: text(Kind::OpenApi),
        proto: text(Kind::Proto),
        validate: version.validate,
        guard: version.guard.clone(),
        limits: version.limits.clone(),
    }
}

/// A plan.
#[must_use]
pub fn plan_written(plan: &Plan) -> RawPlan {
    let Plan { title, description, limits } = plan.clone();
    RawPlan { title, description, limits }
}

/// How a version ends.
#[must_use]
pub fn ending_written(ending: &Ending) -> RawEnding {
    RawEnding {
        deprecated: date::written(ending.deprecated),
        sunset: ending.sunset.map(date::written),
        successor: ending.successor.as_ref().map(ToString::to_string),
        documentation: ending.documentation.clone(),
    }
}

fn select_written(select: &Select) -> RawSelect {
    let mut raw = RawSelect::default();
    match select {
        Select::All => {}
        Select::Path(path) => raw.path = Some(path.clone()),
        Select::Header { name, value } => {
            raw.header = Some([(name.clone(), value.clone())].into());
        }
        Select::MediaType(media_type) => raw.media_type = Some(media_type.clone()),
        Select::Host(host) => raw.host = Some(host.clone()),
    }
    raw
}
