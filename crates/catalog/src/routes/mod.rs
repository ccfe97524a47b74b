//! From versions to what the gateway is to do: routes in the documented form of the file's `routes`.
//! Pure. What is in them beside path, version and life (guards, limits, rewrites) is passed on as it
//! was written; the gateway checks it, and whoever asks it finds by [`MadeRoute`] where a mistake
//! comes from.
//!
//! What must hold: a draft has no routes; a call reaches the version that it means, whichever paths
//! the others have; what a retired version had is answered with 410 and nothing else.

mod ending;
mod path;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::contract::{Digest, Read};
use crate::state::{Api, Key, Lifecycle, Name, Select, Spec, Specs, Version, sound};

/// The longest name of an API or version that the name of a limit begins with, in bytes.
const LONGEST_HOLDER: usize = 60;

/// What a catalog makes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Made {
    /// Routes, in the order of versions.
    pub routes: Vec<MadeRoute>,
    /// Plans by name, in the form of the file's `plans`.
    pub plans: BTreeMap<String, Value>,
    /// Versions of which no routes could be made, and why. What is checked when it comes in is not
    /// in here, unless an older version of this program took it.
    pub problems: Vec<(Key, String)>,
}

/// A route that comes from a version.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeRoute {
    /// In the form of the file's `routes`.
    pub route: Value,
    /// The version.
    pub key: Key,
    /// Where in the version it comes from, as a JSON pointer: `/routes/3`; of an OpenAPI document
    /// `/openapi#/paths/~1users/get`.
    pub place: String,
}

/// What a version's routes have in common.
struct Frame<'a> {
    key: Key,
    /// `users@v2`.
    label: String,
    api: &'a Api,
    version: &'a Version,
    prefix: &'a str,
    host: Option<&'a str>,
    /// A header that must be so, if any.
    condition: Option<(String, String)>,
    response_headers: Map<String, Value>,
}

/// What the whole catalog makes.
#[must_use]
pub fn made(specs: &Specs) -> Made {
    let mut made = Made::default();
    for (key, spec) in specs {
        match (key, spec.as_ref()) {
            (Key::Api(name), Spec::Api(api)) => of_api(specs, name, api, &mut made),
            (Key::Plan(name), Spec::Plan(plan)) => {
                made.plans.insert(name.to_string(), json!({ "limits": plan.limits }));
            }
            _ => {}
        }
    }
    made
}

fn of_api(specs: &Specs, name: &Name, api: &Api, made: &mut Made) {
    let versions = sound::versions(specs, name);
    for (number, version) in &versions {
        let key = Key::Version(name.clone(), (*number).clone());
        if matches!(version.lifecycle, Lifecycle::Draft) {
            continue;
        }
        let others: Vec<&Version> = versions
            .iter()
            .filter(|(other, version)| {
                other != number && !matches!(version.lifecycle, Lifecycle::Draft)
            })
            .map(|(_, version)| *version)
            .collect();
        let prefix = prefix(specs, name, version);
        let frame = Frame {
            label: format!("{name}@{number}"),
            api,
            version,
            prefix: &prefix,
            host: host(api, version),
            condition: condition(version, api.default.as_ref() == Some(number), &others),
            response_headers: ending::headers(specs, name, version),
            key: key.clone(),
        };
        let before = made.routes.len();
        let outcome = match &version.lifecycle {
            Lifecycle::Retired(_) => frame.gone(specs, name, number, made),
            _ => frame.routes(made),
        };
        if let Err(why) = outcome {
            made.routes.truncate(before);
            made.problems.push((key, why));
        }
    }
}

fn host<'a>(api: &'a Api, version: &'a Version) -> Option<&'a str> {
    match &version.select {
        Select::Host(host) => Some(host),
        _ => api.host.as_deref(),
    }
}

/// What the paths of a version begin with: `/api/v2`, or nothing.
#[must_use]
pub fn prefix(specs: &Specs, api: &Name, version: &Version) -> String {
    let of_api = || match specs.get(&Key::Api(api.clone())).map(AsRef::as_ref) {
        Some(Spec::Api(api)) => api.path.clone(),
        _ => None,
    };
    let of_document = || Some(version.contract.as_ref()?.openapi()?.base.clone());
    let written = match &version.select {
        Select::Path(path) => Some(path.clone()),
        _ => of_api().or_else(of_document),
    };
    let written = written.unwrap_or_default();
    written.strip_suffix('/').map(ToOwned::to_owned).unwrap_or(written)
}

/// The header by which calls mean a version, and how its value is matched. The default version is
/// meant by all calls that name none of the others.
fn condition(version: &Version, is_default: bool, others: &[&Version]) -> Option<(String, String)> {
    match &version.select {
        Select::Header { name, value } if !is_default => {
            Some((name.to_ascii_lowercase(), value.clone()))
        }
        Select::MediaType(media_type) if !is_default => {
            Some(("accept".into(), format!("~ {}", accepts(media_type))))
        }
        Select::Header { name, .. } => {
            let named = others.iter().filter_map(|other| match &other.select {
                Select::Header { name: of, value } if of.eq_ignore_ascii_case(name) => {
                    Some(regex::escape(value))
                }
                _ => None,
            });
            let named: Vec<String> = named.collect();
            let pattern = format!("!~ ^(?:{})$", named.join("|"));
            (!named.is_empty()).then(|| (name.to_ascii_lowercase(), pattern))
        }
        Select::MediaType(_) => {
            let named = others.iter().filter_map(|other| match &other.select {
                Select::MediaType(media_type) => Some(accepts(media_type)),
                _ => None,
            });
            let named: Vec<String> = named.collect();
            let pattern = format!("!~ (?:{})", named.join("|"));
            (!named.is_empty()).then(|| ("accept".into(), pattern))
        }
        Select::All | Select::Path(_) | Select::Host(_) => None,
    }
}

/// A regular expression for an `Accept` that names a media type.
fn accepts(media_type: &str) -> String {
    format!("(?i-u)(?:^|,)[ \\t]*{}[ \\t]*(?:;|,|$)", regex::escape(media_type))
}

impl Frame<'_> {
    /// Those written down, and those of the description that they do not replace.
    fn routes(&self, made: &mut Made) -> Result<(), String> {
        let mut written = BTreeSet::new();
        for (index, route) in self.version.routes.iter().enumerate() {
            let template = Self::template_of(route);
            let methods = Self::methods_of(route);
            if methods.is_empty() {
                written.insert((template.clone(), None));
            }
            for method in methods {
                written.insert((template.clone(), Some(method)));
            }
            let route = self.route(route.clone(), None)?;
            let place = format!("/routes/{index}");
            made.routes.push(MadeRoute { route, key: self.key.clone(), place });
        }
        for (place, method, template) in self.described()? {
            let steps = path::shape(&template);
            let is_written = |method: Option<String>| written.contains(&(steps.clone(), method));
            if is_written(None) || is_written(Some(method.clone())) {
                continue;
            }
            let route = json!({ "match": { "path": path::of(&template), "methods": [method] } });
            let Value::Object(route) = route else { continue };
            let name = format!("{} {method} {template}", self.label);
            let route = self.route(route, Some(name))?;
            made.routes.push(MadeRoute { route, key: self.key.clone(), place });
        }
        Ok(())
    }

    /// Place, method and path template of what the description describes.
    fn described(&self) -> Result<Vec<(String, String, String)>, String> {
        let Some(contract) = &self.version.contract else { return Ok(Vec::new()) };
        Ok(match contract.read().map_err(ToString::to_string)? {
            Read::OpenApi(document) => {
                let operations = document.operations.iter();
                let described = operations.map(|operation| {
                    let place = format!("/openapi#{}", operation.pointer);
                    (place, operation.method.to_string(), operation.path.clone())
                });
                described.collect()
            }
            Read::Proto(file) => {
                let methods = file.services.iter().flat_map(|service| {
                    service.methods.iter().map(|method| {
                        let template = format!("/{}/{}", service.name, method.name);
                        (format!("/proto#{template}"), "POST".to_owned(), template)
                    })
                });
                methods.collect()
            }
        })
    }

    fn template_of(route: &Map<String, Value>) -> String {
        let path = route.get("match").and_then(|matching| matching.get("path"));
        path::shape(path.and_then(Value::as_str).unwrap_or_default())
    }

    fn methods_of(route: &Map<String, Value>) -> Vec<String> {
        let methods = route.get("match").and_then(|matching| matching.get("methods"));
        let methods = methods.and_then(Value::as_array).into_iter().flatten();
        methods.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
    }

    /// A route of this version.
    fn route(&self, mut route: Map<String, Value>, name: Option<String>) -> Result<Value, String> {
        for (key, value) in &self.version.defaults {
            route.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let answers = ["service", "split", "redirect", "respond"];
        let is_forwarded = !route.contains_key("redirect") && !route.contains_key("respond");
        if !answers.iter().any(|key| route.contains_key(*key)) {
            let service = self.version.service.as_ref().ok_or(
                "it is not said which service answers: give the version or the route a `service`",
            )?;
            route.insert("service".into(), json!(service));
        }
        let path = self.matching(&mut route)?;
        let name = name.or_else(|| {
            let given = route.get("name").and_then(Value::as_str);
            let methods = Self::methods_of(&route).join(",");
            let space = if methods.is_empty() { "" } else { " " };
            Some(match given {
                Some(name) => format!("{} {name}", self.label),
                None => format!("{} {methods}{space}{path}", self.label),
            })
        });
        route.insert("name".into(), json!(name.map(|name| shortened(&name))));
        route.insert("api".into(), json!(self.label));
        self.guard_and_limits(&mut route)?;
        if self.version.strip && is_forwarded && !self.prefix.is_empty() {
            let rewrite = object(&mut route, "rewrite")?;
            if !rewrite.contains_key("path") {
                rewrite.entry("strip_prefix").or_insert_with(|| json!(self.prefix));
            }
        }
        self.tell_its_ending(&mut route)?;
        Ok(Value::Object(route))
    }

    /// Host, path and version. Returns the path as it was written.
    fn matching(&self, route: &mut Map<String, Value>) -> Result<String, String> {
        let matching = object(route, "match")?;
        let written = matching.get("path").and_then(Value::as_str).map(ToOwned::to_owned);
        if let Some(path) = path::below(self.prefix, written.as_deref())? {
            matching.insert("path".into(), json!(path));
        }
        if let Some(host) = self.host {
            matching.entry("host").or_insert_with(|| json!(host));
        }
        if let Some((name, value)) = &self.condition {
            object(matching, "headers")?.insert(name.clone(), json!(value));
        }
        Ok(written.unwrap_or_else(|| "/".into()))
    }

    /// Of guards the nearest says each entry; limits all hold.
    fn guard_and_limits(&self, route: &mut Map<String, Value>) -> Result<(), String> {
        let mut guard = self.api.guard.clone();
        guard.extend(self.version.guard.clone());
        guard.extend(std::mem::take(object(route, "guard")?));
        if self.version.validate {
            guard.entry("validate").or_insert(Value::Bool(true));
        }
        if guard.is_empty() {
            route.remove("guard");
        } else {
            route.insert("guard".into(), Value::Object(guard));
        }
        let own = list(route, "limits")?;
        let (api, version) = (self.label.split_once('@').map_or("", |(api, _)| api), &self.label);
        let limits = [named(&self.api.limits, api), named(&self.version.limits, version), own];
        let limits = limits.concat();
        if !limits.is_empty() {
            route.insert("limits".into(), Value::Array(limits));
        }
        Ok(())
    }

    fn tell_its_ending(&self, route: &mut Map<String, Value>) -> Result<(), String> {
        if self.response_headers.is_empty() {
            return Ok(());
        }
        let edits = object(route, "response_headers")?;
        for (name, value) in &self.response_headers {
            // `Link` is a list that the service may have something in; the others have one value.
            let kind = if name == "link" { "add" } else { "set" };
            object(edits, kind)?.insert(name.clone(), value.clone());
        }
        Ok(())
    }

    /// Everything that the version had, answered with 410.
    fn gone(
        &self,
        specs: &Specs,
        api: &Name,
        version: &Name,
        made: &mut Made,
    ) -> Result<(), String> {
        let body = ending::gone(specs, api, version, self.version);
        let all = || vec![path::rest(self.prefix)];
        let paths = match &self.version.select {
            Select::Path(_) | Select::Host(_) => all(),
            Select::All | Select::Header { .. } | Select::MediaType(_) => self.paths()?,
        };
        for (index, path) in paths.into_iter().enumerate() {
            let mut route = json!({
                "name": shortened(&format!("{} retired #{}", self.label, index + 1)),
                "match": { "path": path },
                "api": self.label,
                "respond": {
                    "status": 410,
                    "content_type": posthouse_base::problem::MEDIA_TYPE,
                    "body": body,
                },
            });
            if let Value::Object(route) = &mut route {
                let matching = object(route, "match")?;
                if let Some(host) = self.host {
                    matching.insert("host".into(), json!(host));
                }
                if let Some((name, value)) = &self.condition {
                    object(matching, "headers")?.insert(name.clone(), json!(value));
                }
                self.tell_its_ending(route)?;
            }
            let place = "/ending".to_owned();
            made.routes.push(MadeRoute { route, key: self.key.clone(), place });
        }
        Ok(())
    }

    /// The paths of all routes, each once.
    fn paths(&self) -> Result<Vec<String>, String> {
        let mut seen = BTreeSet::new();
        let mut paths = Vec::new();
        let written = self.version.routes.iter().map(|route| {
            let path = route.get("match").and_then(|matching| matching.get("path"));
            path::below(self.prefix, path.and_then(Value::as_str))
        });
        let described = self.described()?.into_iter();
        let described =
            described.map(|(_, _, template)| path::below(self.prefix, Some(&path::of(&template))));
        for path in written.chain(described) {
            let path = path?.unwrap_or_else(|| path::rest(""));
            if seen.insert(path::shape(&path)) {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            paths.push(path::rest(self.prefix));
        }
        Ok(paths)
    }
}

/// The object under a key, which is made if there is none.
fn object<'a>(
    map: &'a mut Map<String, Value>,
    key: &str,
) -> Result<&'a mut Map<String, Value>, String> {
    let there = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if there.is_null() {
        *there = Value::Object(Map::new());
    }
    there.as_object_mut().ok_or_else(|| format!("the `{key}` of a route is no mapping"))
}

/// The list under a key, which is taken away.
fn list(map: &mut Map<String, Value>, key: &str) -> Result<Vec<Value>, String> {
    match map.remove(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(format!("the `{key}` of a route is no list")),
    }
}

/// Limits that count together over all routes that have them, unless they say otherwise: limits of
/// one name are one limit to the gateway. Its names are short, and know no `@`.
fn named(limits: &[Value], holder: &str) -> Vec<Value> {
    let named = limits.iter().enumerate().map(|(index, limit)| {
        let mut limit = limit.clone();
        if let Value::Object(limit) = &mut limit {
            limit.entry("name").or_insert_with(|| {
                let holder = holder.replace('@', ".");
                if holder.len() <= LONGEST_HOLDER {
                    return json!(format!("{holder}-{}", index + 1));
                }
                let digest = Digest::of(&holder).to_string();
                json!(format!("api-{}-{}", digest.get(..16).unwrap_or_default(), index + 1))
            });
        }
        limit
    });
    named.collect()
}

/// What a route may be called at most: 200 bytes.
fn shortened(name: &str) -> String {
    let mut name = name.to_owned();
    while name.len() > 200 {
        name.pop();
    }
    name
}
