//! What differs between two schemas. Each is seen as what it allows: kinds, values, fields, bounds,
//! variants; `allOf` as all of its parts at once.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Map, Value};

use crate::history::escaped;
use crate::openapi::document::{Document, Edition};

/// How deep schemas are compared.
const MAX_DEPTH: usize = 24;
/// How many pairs of schemas are compared for one parameter, body or response.
const MAX_PAIRS: usize = 5000;

/// Who sends what the schemas describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Clients: what they may send must stay allowed.
    Request,
    /// The service: what it may answer must stay within what clients know.
    Response,
}

/// A difference between two schemas.
pub(super) struct Found {
    pub(super) rule: &'static str,
    pub(super) breaking: bool,
    /// Where in the new document.
    pub(super) pointer: Option<String>,
    pub(super) message: String,
}

/// Whether the new allows more or less than the old.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Wider,
    Narrower,
    /// Neither holds all of the other.
    Other,
}

/// What a schema allows. Nothing said is everything.
#[derive(Default)]
struct View {
    pointer: String,
    kinds: Option<BTreeSet<String>>,
    values: Option<Vec<Value>>,
    required: BTreeSet<String>,
    /// Where each stands.
    properties: BTreeMap<String, String>,
    /// Whether fields without a description are refused.
    is_closed: bool,
    items: Option<String>,
    others: Option<String>,
    /// Least values, by word.
    low: BTreeMap<&'static str, f64>,
    /// Greatest values, by word.
    high: BTreeMap<&'static str, f64>,
    /// Everything else that narrows, by word.
    words: BTreeMap<&'static str, Value>,
    /// Where the variants stand, by what tells them.
    variants: BTreeMap<String, String>,
}

const LOW: [&str; 5] = ["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"];
const HIGH: [&str; 5] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"];
const WORDS: [&str; 4] = ["pattern", "format", "multipleOf", "uniqueItems"];

type Side<'a> = (&'a Document, Option<&'a str>);

pub(super) fn compare(
    direction: Direction,
    old: Side<'_>,
    new: Side<'_>,
    label: &str,
) -> Vec<Found> {
    let mut comparison =
        Comparison { direction, old: old.0, new: new.0, seen: HashSet::new(), found: Vec::new() };
    comparison.pair(old.1, new.1, label, MAX_DEPTH);
    comparison.found
}

struct Comparison<'a> {
    direction: Direction,
    old: &'a Document,
    new: &'a Document,
    seen: HashSet<(String, String)>,
    found: Vec<Found>,
}

impl Comparison<'_> {
    fn pair(&mut self, old: Option<&str>, new: Option<&str>, label: &str, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        let before = old.map(|pointer| View::of(self.old, pointer)).unwrap_or_default();
        let after = new.map(|pointer| View::of(self.new, pointer)).unwrap_or_default();
        let is_new = self.seen.insert((before.pointer.clone(), after.pointer.clone()));
        if !is_new || self.seen.len() > MAX_PAIRS {
            return;
        }
        self.kinds(&before, &after, label);
        self.values(&before, &after, label);
        self.fields(&before, &after, label, depth);
        self.bounds(&before, &after, label);
        self.variants(&before, &after, label, depth);
        if before.items.is_some() || after.items.is_some() {
            let label = format!("an item of {label}");
            self.pair(before.items.as_deref(), after.items.as_deref(), &label, depth);
        }
        if before.others.is_some() && after.others.is_some() {
            let label = format!("any other field of {label}");
            self.pair(before.others.as_deref(), after.others.as_deref(), &label, depth);
        }
    }

    /// Notes a change by the rule of the direction: requests may become wider, responses narrower.
    fn note(
        &mut self,
        rules: (&'static str, &'static str),
        way: Way,
        after: &View,
        message: String,
    ) {
        let (rule, breaking) = match self.direction {
            Direction::Request => (rules.0, way != Way::Wider),
            Direction::Response => (rules.1, way != Way::Narrower),
        };
        let pointer = Some(after.pointer.clone()).filter(|pointer| !pointer.is_empty());
        self.found.push(Found { rule, breaking, pointer, message });
    }

    fn kinds(&mut self, before: &View, after: &View, label: &str) {
        let (old, new) = (before.every_kind(), after.every_kind());
        let way = match (new.is_subset(&old), old.is_subset(&new)) {
            (true, true) => return,
            (true, false) => Way::Narrower,
            (false, true) => Way::Wider,
            (false, false) => Way::Other,
        };
        let shown = |view: &View| match &view.kinds {
            None => "anything".to_owned(),
            Some(kinds) => kinds.iter().cloned().collect::<Vec<_>>().join(" or "),
        };
        let message = format!("{label} was {} and is {}", shown(before), shown(after));
        let rules = match way {
            Way::Narrower => ("request-type-narrowed", "response-type-narrowed"),
            Way::Wider => ("request-type-widened", "response-type-widened"),
            Way::Other => ("request-type-changed", "response-type-changed"),
        };
        self.note(rules, way, after, message);
    }

    fn values(&mut self, before: &View, after: &View, label: &str) {
        let listed = |values: Vec<&Value>| {
            let shown: Vec<String> = values.iter().take(10).map(|it| format!("`{it}`")).collect();
            shown.join(", ")
        };
        let rules = |way| match way {
            Way::Wider => ("request-enum-widened", "response-enum-widened"),
            _ => ("request-enum-narrowed", "response-enum-narrowed"),
        };
        match (&before.values, &after.values) {
            (None, None) => {}
            (None, Some(values)) => {
                let message = format!("{label} is only {}", listed(values.iter().collect()));
                self.note(rules(Way::Narrower), Way::Narrower, after, message);
            }
            (Some(_), None) => {
                let message = format!("{label} is of no list of values any more");
                self.note(rules(Way::Wider), Way::Wider, after, message);
            }
            (Some(old), Some(new)) => {
                let gone: Vec<&Value> = old.iter().filter(|value| !new.contains(value)).collect();
                let come: Vec<&Value> = new.iter().filter(|value| !old.contains(value)).collect();
                if !gone.is_empty() {
                    let message = format!("{label} cannot be {} any more", listed(gone));
                    self.note(rules(Way::Narrower), Way::Narrower, after, message);
                }
                if !come.is_empty() {
                    let message = format!("{label} can be {} as well", listed(come));
                    self.note(rules(Way::Wider), Way::Wider, after, message);
                }
            }
        }
    }

    fn fields(&mut self, before: &View, after: &View, label: &str, depth: usize) {
        for (name, old) in &before.properties {
            let field = format!("the field `{name}` of {label}");
            let Some(new) = after.properties.get(name) else {
                // A request that still has it is refused, or it does nothing: either way a client
                // that sent it had a reason.
                let rules = ("request-field-removed", "response-field-removed");
                self.note(rules, Way::Other, after, format!("{field} is gone"));
                continue;
            };
            let was = before.required.contains(name);
            let is = after.required.contains(name);
            if was != is {
                let (rules, way, what) = if is {
                    let rules = ("request-field-became-required", "response-field-became-required");
                    (rules, Way::Narrower, "required now")
                } else {
                    let rules = ("request-field-became-optional", "response-field-became-optional");
                    (rules, Way::Wider, "optional now")
                };
                self.note(rules, way, after, format!("{field} is {what}"));
            }
            self.pair(Some(old), Some(new), &field, depth);
        }
        for name in after.properties.keys().filter(|name| !before.properties.contains_key(*name)) {
            let field = format!("the field `{name}` of {label}");
            if after.required.contains(name) {
                let rules = ("request-field-added-required", "response-field-added");
                self.note(rules, Way::Narrower, after, format!("{field} is new and required"));
            } else {
                let rules = ("request-field-added-optional", "response-field-added");
                // Neither side minds what it need not send, or does not know.
                let way = match self.direction {
                    Direction::Request => Way::Wider,
                    Direction::Response => Way::Narrower,
                };
                self.note(rules, way, after, format!("{field} is new and optional"));
            }
        }
        let undescribed = |view: &View| {
            let named = view.required.iter().filter(|name| !view.properties.contains_key(*name));
            named.cloned().collect::<BTreeSet<_>>()
        };
        for name in undescribed(after).difference(&before.required) {
            let rules = ("request-field-became-required", "response-field-became-required");
            let message = format!("the field `{name}` of {label} is required now");
            self.note(rules, Way::Narrower, after, message);
        }
        if before.is_closed != after.is_closed {
            let (rules, way, what) = if after.is_closed {
                let rules = ("request-other-fields-forbidden", "response-other-fields-forbidden");
                (rules, Way::Narrower, "has no fields but those described")
            } else {
                let rules = ("request-other-fields-allowed", "response-other-fields-allowed");
                // Clients do not mind what they do not know.
                let way = match self.direction {
                    Direction::Request => Way::Wider,
                    Direction::Response => Way::Narrower,
                };
                (rules, way, "may have fields that are not described")
            };
            self.note(rules, way, after, format!("{label} {what}"));
        }
    }

    fn bounds(&mut self, before: &View, after: &View, label: &str) {
        let rules = |way| match way {
            Way::Narrower => ("request-bound-narrowed", "response-bound-narrowed"),
            Way::Wider => ("request-bound-widened", "response-bound-widened"),
            Way::Other => ("request-bound-changed", "response-bound-changed"),
        };
        let sides = [(LOW, &before.low, &after.low, 1.0), (HIGH, &before.high, &after.high, -1.0)];
        for (words, old, new, sign) in sides {
            for word in words {
                let (old, new) = (old.get(word), new.get(word));
                let way = match (old, new) {
                    (None, None) => continue,
                    (None, Some(_)) => Way::Narrower,
                    (Some(_), None) => Way::Wider,
                    (Some(old), Some(new)) if (new - old) * sign > 0.0 => Way::Narrower,
                    (Some(old), Some(new)) if (new - old) * sign < 0.0 => Way::Wider,
                    _ => continue,
                };
                let shown = |bound: Option<&f64>| bound.map_or("none".into(), f64::to_string);
                let message =
                    format!("the `{word}` of {label} was {} and is {}", shown(old), shown(new));
                self.note(rules(way), way, after, message);
            }
        }
        for word in WORDS {
            let (old, new) = (before.words.get(word), after.words.get(word));
            let way = match (old, new) {
                (old, new) if old == new => continue,
                (None, Some(_)) => Way::Narrower,
                (Some(_), None) => Way::Wider,
                _ => Way::Other,
            };
            let shown = |value: Option<&Value>| value.map_or("none".into(), Value::to_string);
            let message =
                format!("the `{word}` of {label} was {} and is {}", shown(old), shown(new));
            self.note(rules(way), way, after, message);
        }
    }

    fn variants(&mut self, before: &View, after: &View, label: &str, depth: usize) {
        let rules = ("request-variant-removed", "response-variant-removed");
        match (before.variants.is_empty(), after.variants.is_empty()) {
            (true, true) => return,
            (true, false) => {
                let rules = ("request-variants-added", "response-variants-added");
                let message = format!("{label} is one of variants now");
                return self.note(rules, Way::Narrower, after, message);
            }
            (false, true) => {
                let message = format!("{label} is none of variants any more");
                return self.note(rules, Way::Wider, after, message);
            }
            (false, false) => {}
        }
        for (name, old) in &before.variants {
            match after.variants.get(name) {
                Some(new) => {
                    let label = format!("the variant {name} of {label}");
                    self.pair(Some(old), Some(new), &label, depth);
                }
                None => {
                    let message = format!("{label} cannot be the variant {name} any more");
                    self.note(rules, Way::Narrower, after, message);
                }
            }
        }
        for name in after.variants.keys().filter(|name| !before.variants.contains_key(*name)) {
            let rules = ("request-variant-added", "response-variant-added");
            self.note(rules, Way::Wider, after, format!("{label} can be the variant {name}"));
        }
    }
}

impl View {
    fn of(document: &Document, pointer: &str) -> Self {
        let mut view = Self::default();
        view.gather(document, pointer, MAX_DEPTH);
        view
    }

    fn gather(&mut self, document: &Document, pointer: &str, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        let Some((pointer, schema)) = document.find(pointer) else { return };
        if self.pointer.is_empty() {
            self.pointer.clone_from(&pointer);
        }
        let Some(schema) = schema.as_object() else {
            if *schema == Value::Bool(false) {
                self.kinds = Some(BTreeSet::new());
            }
            return;
        };
        self.kinds_of(schema, document.edition);
        let constant = schema.get("const").map(|value| vec![value.clone()]);
        let values = schema.get("enum").and_then(Value::as_array).cloned().or(constant);
        self.values = match (self.values.take(), values) {
            (Some(held), Some(new)) => {
                Some(held.into_iter().filter(|value| new.contains(value)).collect())
            }
            (held, new) => held.or(new),
        };
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        self.required.extend(required.filter_map(Value::as_str).map(ToOwned::to_owned));
        let properties = schema.get("properties").and_then(Value::as_object);
        for name in properties.into_iter().flat_map(Map::keys) {
            let at = format!("{pointer}/properties/{}", escaped(name));
            self.properties.entry(name.clone()).or_insert(at);
        }
        match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => self.is_closed = true,
            Some(Value::Object(_)) => self.others = Some(format!("{pointer}/additionalProperties")),
            _ => {}
        }
        if schema.get("unevaluatedProperties") == Some(&Value::Bool(false)) {
            self.is_closed = true;
        }
        if schema.contains_key("items") {
            self.items.get_or_insert_with(|| format!("{pointer}/items"));
        }
        self.bounds_of(schema);
        for word in ["oneOf", "anyOf"] {
            let branches = schema.get(word).and_then(Value::as_array).into_iter().flatten();
            for (index, branch) in branches.enumerate() {
                let at = format!("{pointer}/{word}/{index}");
                self.variants.insert(variant(branch, index), at);
            }
        }
        let parts = schema.get("allOf").and_then(Value::as_array).map_or(0, Vec::len);
        for index in 0..parts.min(100) {
            self.gather(document, &format!("{pointer}/allOf/{index}"), depth);
        }
    }

    fn kinds_of(&mut self, schema: &Map<String, Value>, edition: Edition) {
        let mut kinds: BTreeSet<String> = match schema.get("type") {
            Some(Value::String(kind)) => [kind.clone()].into(),
            Some(Value::Array(kinds)) => {
                kinds.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
            }
            _ => return,
        };
        if edition == Edition::V30 && schema.get("nullable") == Some(&Value::Bool(true)) {
            kinds.insert("null".into());
        }
        self.kinds = Some(match self.kinds.take() {
            Some(held) => held.intersection(&kinds).cloned().collect(),
            None => kinds,
        });
    }

    fn bounds_of(&mut self, schema: &Map<String, Value>) {
        for word in LOW {
            if let Some(bound) = schema.get(word).and_then(Value::as_f64) {
                let held = self.low.entry(word).or_insert(bound);
                *held = held.max(bound);
            }
        }
        for word in HIGH {
            if let Some(bound) = schema.get(word).and_then(Value::as_f64) {
                let held = self.high.entry(word).or_insert(bound);
                *held = held.min(bound);
            }
        }
        for (flag, from, bounds) in [
            ("exclusiveMinimum", "minimum", &mut self.low),
            ("exclusiveMaximum", "maximum", &mut self.high),
        ] {
            // As 3.0 says it.
            if schema.get(flag) == Some(&Value::Bool(true))
                && let Some(bound) = bounds.remove(from)
            {
                bounds.insert(flag, bound);
            }
        }
        for word in WORDS {
            let value = schema.get(word).filter(|value| **value != Value::Bool(false));
            if let Some(value) = value {
                self.words.entry(word).or_insert_with(|| value.clone());
            }
        }
    }

    /// The kinds that are allowed, written out: a number is an integer too.
    fn every_kind(&self) -> BTreeSet<&str> {
        let all = ["array", "boolean", "integer", "null", "number", "object", "string"];
        match &self.kinds {
            None => all.into(),
            Some(kinds) => {
                let mut kinds: BTreeSet<&str> = kinds.iter().map(String::as_str).collect();
                if kinds.contains("number") {
                    kinds.insert("integer");
                }
                kinds
            }
        }
    }
}

/// What a variant is known by: where it refers to, its title, its kind, or else its place.
fn variant(schema: &Value, index: usize) -> String {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    if let Some(target) = text("$ref") {
        return format!("`{}`", target.rsplit('/').next().unwrap_or(target));
    }
    let told = text("title").or_else(|| text("type")).map(|told| format!("`{told}`"));
    told.unwrap_or_else(|| format!("{}", index + 1))
}
