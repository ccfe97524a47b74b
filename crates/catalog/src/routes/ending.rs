//! What the answers of a version that ends say: `Deprecation` (RFC 9745), `Sunset` (RFC 8594) and
//! `Link` to the version to use instead (RFC 5829) and to what people read; and what is answered when
//! it has ended.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::date;
use crate::state::{Api, Key, Lifecycle, Name, Select, Spec, Specs, Version, sound};

/// The kind of problem that calls of a retired version have.
const GONE: &str = "urn:posthouse:problem:version-retired";

/// The headers of every answer of this version.
pub(super) fn headers(specs: &Specs, api: &Name, version: &Version) -> Map<String, Value> {
    let mut headers = Map::new();
    let Some(ending) = version.lifecycle.ending() else { return headers };
    headers.insert("deprecation".into(), json!(date::structured(ending.deprecated)));
    if let Some(sunset) = ending.sunset {
        headers.insert("sunset".into(), json!(date::http(sunset)));
    }
    let mut links = Vec::new();
    if let Some((_, address)) = successor(specs, api, version) {
        links.push(format!("<{address}>; rel=\"successor-version\""));
    }
    if let Some(page) = &ending.documentation {
        links.push(format!("<{page}>; rel=\"deprecation\"; type=\"text/html\""));
        if ending.sunset.is_some() {
            links.push(format!("<{page}>; rel=\"sunset\"; type=\"text/html\""));
        }
    }
    if !links.is_empty() {
        headers.insert("link".into(), json!(links.join(", ")));
    }
    headers
}

/// The body of the answer to a call for a version that is gone.
pub(super) fn gone(specs: &Specs, api: &Name, name: &Name, version: &Version) -> String {
    let successor = successor(specs, api, version);
    let detail = match &successor {
        Some((successor, address)) => {
            format!("version {name} of {api} is retired: use version {successor}, at {address}")
        }
        None => format!("version {name} of {api} is retired, and nothing takes its place"),
    };
    let mut problem = json!({
        "type": GONE,
        "title": "this version of the API is retired",
        "status": 410,
        "detail": detail,
        "version": format!("{api}@{name}"),
    });
    if let Value::Object(problem) = &mut problem {
        if let Some((successor, address)) = successor {
            problem.insert("successor".into(), json!(format!("{api}@{successor}")));
            problem.insert("successor_address".into(), json!(address));
        }
        if let Some(page) = version.lifecycle.ending().and_then(|it| it.documentation.as_ref()) {
            problem.insert("documentation".into(), json!(page));
        }
    }
    problem.to_string()
}

/// The version to use instead, and where it is: the nearest of its successors that is not retired
/// itself, or the last that there is.
fn successor<'a>(specs: &'a Specs, api: &Name, version: &'a Version) -> Option<(&'a Name, String)> {
    let versions = sound::versions(specs, api);
    let mut name = version.lifecycle.ending()?.successor.as_ref()?;
    let mut seen = HashSet::new();
    loop {
        let (_, found) = versions.iter().find(|(other, _)| *other == name)?;
        let next = match &found.lifecycle {
            Lifecycle::Retired(ending) if seen.insert(name) => ending.successor.as_ref(),
            _ => None,
        };
        match next {
            Some(next) => name = next,
            None => return Some((name, address(specs, api, found))),
        }
    }
}

/// Where a version is, relative to the host that was called unless it has one of its own.
fn address(specs: &Specs, api: &Name, version: &Version) -> String {
    let prefix = super::prefix(specs, api, version);
    let prefix = if prefix.is_empty() { "/".to_owned() } else { prefix };
    let of_api = match specs.get(&Key::Api(api.clone())).map(AsRef::as_ref) {
        Some(Spec::Api(Api { host, .. })) => host.as_deref(),
        _ => None,
    };
    let host = match &version.select {
        Select::Host(host) => Some(host.as_str()),
        _ => of_api,
    };
    match host.filter(|host| !host.starts_with('*')) {
        Some(host) => format!("//{host}{prefix}"),
        None => prefix,
    }
}
