//! What differs between two OpenAPI documents, and whether clients of the old one break: what they
//! send must still be taken, and what they are answered must still be what they were told.
//!
//! Each difference has the name of a rule, which stays the same, and where it is. A request may
//! become wider and a response narrower; the other way round breaks.

mod schema;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::document::{self, Body, Document, In, Operation, Parameter};
use crate::history::escaped;

/// The most differences that are told.
const MAX_CHANGES: usize = 2000;

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The name of the rule that found it: `operation-removed`.
    pub rule: &'static str,
    /// Whether a client of the old document may break.
    pub breaking: bool,
    /// The operation: `GET /users/{id}`; empty for the whole document.
    pub operation: String,
    /// Where in the new document, or in the old one for what was removed, as a JSON pointer.
    pub pointer: String,
    /// What differs.
    pub message: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.breaking { "breaking" } else { "compatible" };
        let Self { rule, operation, message, .. } = self;
        match operation.as_str() {
            "" => write!(f, "{kind} [{rule}] {message}"),
            operation => write!(f, "{kind} [{rule}] {operation}: {message}"),
        }
    }
}

/// All differences, those that break first.
#[must_use]
pub fn diff(old: &Document, new: &Document) -> Vec<Change> {
    let mut diff = Diff { old, new, operation: String::new(), changes: Vec::new() };
    diff.documents();
    let mut changes = diff.changes;
    changes.sort_by(|a, b| {
        let key = |change: &Change| (!change.breaking, change.operation.clone(), change.rule);
        key(a).cmp(&key(b))
    });
    changes
}

struct Diff<'a> {
    old: &'a Document,
    new: &'a Document,
    /// The operation that is looked at.
    operation: String,
    changes: Vec<Change>,
}

const BREAKS: bool = true;
const FITS: bool = false;

impl Diff<'_> {
    fn found(
        &mut self,
        rule: &'static str,
        breaking: bool,
        pointer: &str,
        message: impl Into<String>,
    ) {
        if self.changes.len() < MAX_CHANGES {
            let (operation, pointer) = (self.operation.clone(), pointer.to_owned());
            let message = message.into();
            self.changes.push(Change { rule, breaking, operation, pointer, message });
        }
    }

    fn documents(&mut self) {
        let (old, new) = (self.old, self.new);
        if old.base != new.base {
            let message =
                format!("the path of the server was `{}` and is `{}`", old.base, new.base);
            self.found("server-path-changed", BREAKS, "/servers/0/url", message);
        }
        let by_key = |document: &'_ Document| {
            let operations = document.operations.iter().enumerate();
            let keyed = operations.map(|(index, operation)| (key(operation), index));
            keyed.collect::<BTreeMap<_, _>>()
        };
        let (before, after) = (by_key(old), by_key(new));
        let paths = |keys: &BTreeMap<(String, String), usize>| {
            keys.keys().map(|(path, _)| path.clone()).collect::<BTreeSet<_>>()
        };
        let (old_paths, new_paths) = (paths(&before), paths(&after));
        for (key, index) in &before {
            let operation = &old.operations[*index];
            self.operation = name(operation);
            match after.get(key) {
                Some(index) => self.operations(operation, &new.operations[*index]),
                None if new_paths.contains(&key.0) => {
                    self.found("operation-removed", BREAKS, &operation.pointer, "it is gone");
                }
                None => {
                    let message = format!("the path `{}` is gone", operation.path);
                    self.found("path-removed", BREAKS, &operation.pointer, message);
                }
            }
        }
        for (key, index) in after.iter().filter(|(key, _)| !before.contains_key(key)) {
            let operation = &new.operations[*index];
            self.operation = name(operation);
            let is_new = !old_paths.contains(&key.0);
            let rule = if is_new { "path-added" } else { "operation-added" };
            self.found(rule, FITS, &operation.pointer, "it is new");
        }
    }

    fn operations(&mut self, old: &Operation, new: &Operation) {
        if !old.deprecated && new.deprecated {
            self.found("operation-deprecated", FITS, &new.pointer, "it is deprecated");
        }
        if old.id != new.id {
            let shown = |id: &Option<String>| id.clone().unwrap_or_default();
            let message =
                format!("its `operationId` was `{}` and is `{}`", shown(&old.id), shown(&new.id));
            self.found("operation-id-changed", FITS, &new.pointer, message);
        }
        self.parameters(old, new);
        self.bodies(old, new);
        self.responses(old, new);
        self.security(old, new);
    }

    fn parameters(&mut self, old: &Operation, new: &Operation) {
        // Names of path parameters mean nothing to a client: the places do.
        let order = |operation: &Operation| {
            document::names(&operation.path).map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        let (old_names, new_names) = (order(old), order(new));
        let renamed = |parameter: &Parameter| match parameter.place {
            In::Path => {
                let at = old_names.iter().position(|name| *name == parameter.name);
                at.and_then(|at| new_names.get(at).cloned())
                    .unwrap_or_else(|| parameter.name.clone())
            }
            _ => parameter.name.clone(),
        };
        let is = |one: &Parameter, name: &str, place: In| {
            one.place == place
                && (one.name == name || place == In::Header && one.name.eq_ignore_ascii_case(name))
        };
        let mut known = BTreeSet::new();
        for parameter in &old.parameters {
            let wanted = renamed(parameter);
            let place = parameter.place;
            let found = new.parameters.iter().position(|one| is(one, &wanted, place));
            let label = label(parameter);
            match found {
                Some(index) => {
                    known.insert(index);
                    self.parameter(parameter, &new.parameters[index], &label);
                }
                None => {
                    let message = format!("{label} is gone");
                    self.found("parameter-removed", BREAKS, &parameter.pointer, message);
                }
            }
        }
        for (index, parameter) in new.parameters.iter().enumerate() {
            if known.contains(&index) {
                continue;
            }
            let label = label(parameter);
            let (rule, breaking, what) = if parameter.required {
                ("parameter-added-required", BREAKS, "new and required")
            } else {
                ("parameter-added-optional", FITS, "new and optional")
            };
            self.found(rule, breaking, &parameter.pointer, format!("{label} is {what}"));
        }
    }

    fn parameter(&mut self, old: &Parameter, new: &Parameter, label: &str) {
        match (old.required, new.required) {
            (false, true) => {
                let message = format!("{label} is required now");
                self.found("parameter-became-required", BREAKS, &new.pointer, message);
            }
            (true, false) => {
                let message = format!("{label} is optional now");
                self.found("parameter-became-optional", FITS, &new.pointer, message);
            }
            _ => {}
        }
        let written = |one: &Parameter| (one.style, one.explode, one.is_json);
        if written(old) != written(new) {
            let message = format!("{label} is written in another style");
            self.found("parameter-style-changed", BREAKS, &new.pointer, message);
        }
        self.asked(old.schema.as_deref(), new.schema.as_deref(), label, &new.pointer);
    }

    fn bodies(&mut self, old: &Operation, new: &Operation) {
        match (&old.body, &new.body) {
            (None, None) => {}
            (None, Some(body)) if body.required => {
                let message = "a request body is new and required";
                self.found("request-body-added-required", BREAKS, &body.pointer, message);
            }
            (None, Some(body)) => {
                let message = "a request body is new and optional";
                self.found("request-body-added-optional", FITS, &body.pointer, message);
            }
            (Some(body), None) => {
                let message = "the request body is gone";
                self.found("request-body-removed", BREAKS, &body.pointer, message);
            }
            (Some(old), Some(new)) => self.body(old, new),
        }
    }

    fn body(&mut self, old: &Body, new: &Body) {
        match (old.required, new.required) {
            (false, true) => {
                let message = "the request body is required now";
                self.found("request-body-became-required", BREAKS, &new.pointer, message);
            }
            (true, false) => {
                let message = "the request body is optional now";
                self.found("request-body-became-optional", FITS, &new.pointer, message);
            }
            _ => {}
        }
        for (media_type, schema) in &old.content {
            match new.content.iter().find(|(other, _)| is_same_type(other, media_type)) {
                Some((_, after)) => {
                    let pointer = &new.pointer;
                    self.asked(schema.as_deref(), after.as_deref(), "the request body", pointer);
                }
                None => {
                    let message = format!("a request body of type `{media_type}` is not taken");
                    self.found("request-media-type-removed", BREAKS, &old.pointer, message);
                }
            }
        }
        for (media_type, _) in &new.content {
            if !old.content.iter().any(|(other, _)| is_same_type(other, media_type)) {
                let message = format!("a request body of type `{media_type}` is taken");
                self.found("request-media-type-added", FITS, &new.pointer, message);
            }
        }
    }

    fn responses(&mut self, old: &Operation, new: &Operation) {
        for (status, pointer) in &old.responses {
            match new.responses.get(status) {
                Some(after) => self.response(status, pointer, after),
                None => {
                    let message = format!("the response {status} is gone");
                    self.found("response-removed", BREAKS, pointer, message);
                }
            }
        }
        for (status, pointer) in &new.responses {
            if !old.responses.contains_key(status) {
                let message = format!("the response {status} is new");
                self.found("response-added", FITS, pointer, message);
            }
        }
    }

    fn response(&mut self, status: &str, old: &str, new: &str) {
        let names = |document: &Document, pointer: &str, key: &str| {
            let found = document.find(&format!("{pointer}/{key}"));
            let map = found.and_then(|(_, map)| map.as_object().cloned()).unwrap_or_default();
            map.keys().cloned().collect::<Vec<_>>()
        };
        let before = names(self.old, old, "content");
        let after = names(self.new, new, "content");
        for media_type in &before {
            let Some(same) = after.iter().find(|other| is_same_type(other, media_type)) else {
                let message =
                    format!("the response {status} is not of type `{media_type}` any more");
                self.found("response-media-type-removed", BREAKS, old, message);
                continue;
            };
            let schema = |document: &Document, pointer: &str, media_type: &str| {
                let at = format!("{pointer}/content/{}/schema", escaped(media_type));
                document.find(&at).map(|_| at)
            };
            let before = schema(self.old, old, media_type);
            let after = schema(self.new, new, same);
            let label = format!("the response {status}");
            self.told(before.as_deref(), after.as_deref(), &label, new);
        }
        for media_type in &after {
            if !before.iter().any(|other| is_same_type(other, media_type)) {
                let message = format!("the response {status} may be of type `{media_type}`");
                self.found("response-media-type-added", FITS, new, message);
            }
        }
        let (before, after) = (names(self.old, old, "headers"), names(self.new, new, "headers"));
        for name in &before {
            if !after.iter().any(|other| other.eq_ignore_ascii_case(name)) {
                let message = format!("the response {status} has no header `{name}` any more");
                self.found("response-header-removed", BREAKS, old, message);
            }
        }
    }

    fn security(&mut self, old: &Operation, new: &Operation) {
        let before = alternatives(self.old, old);
        let after = alternatives(self.new, new);
        if before == after {
            return;
        }
        let at = &new.pointer;
        // Whoever satisfied an alternative still satisfies one: the same, or one that asks for less.
        let holds = |asked: &Alternative| {
            after.is_empty() || after.iter().any(|other| asks_no_more(other, asked))
        };
        if before.is_empty() {
            let message = "it was open and asks for credentials";
            self.found("security-added", BREAKS, at, message);
            return;
        }
        if after.is_empty() || after.iter().any(BTreeMap::is_empty) {
            self.found("security-removed", FITS, at, "it asks for no credentials any more");
            return;
        }
        for lost in before.iter().filter(|asked| !holds(asked)) {
            let schemes: Vec<&str> = lost.keys().map(String::as_str).collect();
            let with_more = after.iter().find(|other| other.keys().eq(lost.keys())).map(|other| {
                let more = other.iter().flat_map(|(scheme, scopes)| {
                    scopes.difference(&lost[scheme]).cloned().collect::<Vec<_>>()
                });
                more.collect::<Vec<_>>().join("`, `")
            });
            match with_more {
                Some(scopes) => {
                    let message = format!("it asks for the scopes `{scopes}` as well");
                    self.found("security-scope-added", BREAKS, at, message);
                }
                None => {
                    let message = format!("`{}` is not enough any more", schemes.join("` with `"));
                    self.found("security-alternative-removed", BREAKS, at, message);
                }
            }
        }
        for new in after.iter().filter(|new| !before.iter().any(|old| asks_no_more(new, old))) {
            let schemes: Vec<&str> = new.keys().map(String::as_str).collect();
            let is_known = before.iter().any(|old| old.keys().eq(new.keys()));
            if !is_known {
                let message = format!("`{}` is taken as well", schemes.join("` with `"));
                self.found("security-alternative-added", FITS, at, message);
            }
        }
    }

    /// Compares schemas of what clients send.
    fn asked(&mut self, old: Option<&str>, new: Option<&str>, label: &str, at: &str) {
        self.schemas(schema::Direction::Request, old, new, label, at);
    }

    /// Compares schemas of what clients are answered.
    fn told(&mut self, old: Option<&str>, new: Option<&str>, label: &str, at: &str) {
        self.schemas(schema::Direction::Response, old, new, label, at);
    }

    fn schemas(
        &mut self,
        direction: schema::Direction,
        old: Option<&str>,
        new: Option<&str>,
        label: &str,
        at: &str,
    ) {
        for found in schema::compare(direction, (self.old, old), (self.new, new), label) {
            let pointer = found.pointer.as_deref().unwrap_or(at).to_owned();
            self.found(found.rule, found.breaking, &pointer, found.message);
        }
    }
}

/// What identifies an operation: names of path parameters do not.
fn key(operation: &Operation) -> (String, String) {
    (document::shape(&operation.path), operation.method.to_string())
}

fn name(operation: &Operation) -> String {
    format!("{} {}", operation.method, operation.path)
}

fn label(parameter: &Parameter) -> String {
    format!("the {} parameter `{}`", parameter.place.word(), parameter.name)
}

fn is_same_type(one: &str, other: &str) -> bool {
    let bare = |text: &str| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    bare(one) == bare(other)
}

/// Scopes by scheme: all of them are asked for.
type Alternative = BTreeMap<String, BTreeSet<String>>;

/// Of which one is enough; none when no credentials are asked for.
fn alternatives(document: &Document, operation: &Operation) -> Vec<Alternative> {
    let own = document.find(&format!("{}/security", operation.pointer));
    let asked = own.or_else(|| document.find("/security"));
    let Some(list) = asked.and_then(|(_, asked)| asked.as_array().cloned()) else {
        return Vec::new();
    };
    let alternatives = list.iter().filter_map(Value::as_object).map(|schemes| {
        let scopes = |scopes: &Value| {
            let scopes = scopes.as_array().into_iter().flatten();
            scopes.filter_map(|scope| scope.as_str().map(ToOwned::to_owned)).collect()
        };
        schemes.iter().map(|(scheme, asked)| (scheme.clone(), scopes(asked))).collect()
    });
    let mut alternatives: Vec<Alternative> = alternatives.collect();
    alternatives.sort_unstable();
    alternatives
}

/// Whether whoever satisfies `given` satisfies `asked` too.
fn asks_no_more(asked: &Alternative, given: &Alternative) -> bool {
    asked.iter().all(|(scheme, scopes)| given.get(scheme).is_some_and(|had| scopes.is_subset(had)))
}
