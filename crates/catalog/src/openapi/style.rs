//! From the text of a parameter to a JSON value, by its style (OpenAPI 3.1 §4.8.12.2), guided by what
//! its schema says it may be.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::document::{Document, Style};
use crate::history::escaped;

/// How deep a schema is looked into for what it may be.
const MAX_DEPTH: usize = 12;

/// What a parameter may be, as far as its schema says so. Nothing said allows text only.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shape {
    integer: bool,
    number: bool,
    boolean: bool,
    null: bool,
    text: bool,
    array: bool,
    object: bool,
    /// What its items may be.
    items: Option<Box<Shape>>,
    /// What its properties may be.
    properties: BTreeMap<String, Shape>,
    /// What its other properties may be.
    others: Option<Box<Shape>>,
}

impl Shape {
    /// What the schema at a pointer says.
    pub(super) fn of(document: &Document, pointer: &str) -> Self {
        let mut shape = Self::default();
        shape.gather(document, pointer, MAX_DEPTH);
        shape
    }

    fn gather(&mut self, document: &Document, pointer: &str, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        let Some((pointer, schema)) = document.find(pointer) else { return };
        let Some(schema) = schema.as_object() else { return };
        match schema.get("type") {
            Some(Value::String(kind)) => self.allow(kind),
            Some(Value::Array(kinds)) => {
                kinds.iter().filter_map(Value::as_str).for_each(|kind| self.allow(kind));
            }
            _ => {
                let values = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
                values.chain(schema.get("const")).for_each(|value| self.allow(kind_of(value)));
            }
        }
        self.null |= schema.get("nullable") == Some(&Value::Bool(true));
        for word in ["allOf", "anyOf", "oneOf"] {
            let branches = schema.get(word).and_then(Value::as_array).map_or(0, Vec::len);
            for index in 0..branches.min(50) {
                self.gather(document, &format!("{pointer}/{word}/{index}"), depth);
            }
        }
        if schema.contains_key("items") {
            let items = self.items.get_or_insert_default();
            items.gather(document, &format!("{pointer}/items"), depth);
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        for name in properties.into_iter().flatten().map(|(name, _)| name).take(200) {
            let at = format!("{pointer}/properties/{}", escaped(name));
            self.properties.entry(name.clone()).or_default().gather(document, &at, depth);
        }
        if schema.get("additionalProperties").is_some_and(Value::is_object) {
            let others = self.others.get_or_insert_default();
            others.gather(document, &format!("{pointer}/additionalProperties"), depth);
        }
    }

    fn allow(&mut self, kind: &str) {
        match kind {
            "integer" => self.integer = true,
            "number" => self.number = true,
            "boolean" => self.boolean = true,
            "null" => self.null = true,
            "string" => self.text = true,
            "array" => self.array = true,
            "object" => self.object = true,
            _ => {}
        }
    }

    /// What a text may stand for: of several readings the narrowest that it fits. What fits none is
    /// text, which the schema then refuses.
    fn scalar(&self, text: &str) -> Value {
        if (self.integer || self.number)
            && let Some(number) = number(text)
            && (self.number || number.is_i64() || number.is_u64() || is_whole(&number))
        {
            return number;
        }
        match text {
            "true" if self.boolean => Value::Bool(true),
            "false" if self.boolean => Value::Bool(false),
            "" | "null" if self.null && !self.text => Value::Null,
            _ => Value::String(text.to_owned()),
        }
    }

    fn item(&self, text: &str) -> Value {
        match &self.items {
            Some(items) => items.scalar(text),
            None => Value::String(text.to_owned()),
        }
    }

    fn property(&self, name: &str, text: &str) -> Value {
        match self.properties.get(name).or(self.others.as_deref()) {
            Some(shape) => shape.scalar(text),
            None => Value::String(text.to_owned()),
        }
    }

    fn list<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Value {
        Value::Array(parts.into_iter().map(|part| self.item(part)).collect())
    }

    /// `a,1,b,2`
    fn pairs<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Value {
        let mut parts = parts.into_iter();
        let mut map = Map::new();
        while let Some(name) = parts.next() {
            let text = parts.next().unwrap_or_default();
            map.insert(name.to_owned(), self.property(name, text));
        }
        Value::Object(map)
    }

    /// `a=1,b=2`
    fn fields<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Value {
        let fields = parts.into_iter().map(|part| {
            let (name, text) = part.split_once('=').unwrap_or((part, ""));
            (name.to_owned(), self.property(name, text))
        });
        Value::Object(fields.collect())
    }

    /// Whether a text is one scalar whatever it has in it.
    const fn is_scalar(&self) -> bool {
        !self.array && !self.object
    }

    /// Parts of a text that stand for a list or a mapping, or the text itself.
    fn parted(&self, text: &str, separator: char, explode: bool) -> Value {
        if self.is_scalar() {
            return self.scalar(text);
        }
        let parts = || text.split(separator).filter(|_| !text.is_empty());
        match (self.array, explode) {
            (true, _) => self.list(parts()),
            (false, true) => self.fields(parts()),
            (false, false) => self.pairs(parts()),
        }
    }
}

/// A value of one text: a segment of the path, a header's value. `None` when it is not written in
/// the style.
pub(super) fn of_text(
    shape: &Shape,
    style: Style,
    explode: bool,
    name: &str,
    text: &str,
) -> Option<Value> {
    match style {
        Style::Label => {
            let text = text.strip_prefix('.')?;
            Some(shape.parted(text, if explode { '.' } else { ',' }, explode))
        }
        Style::Matrix => {
            let text = text.strip_prefix(';')?;
            if shape.is_scalar() {
                let value = text.strip_prefix(name)?;
                return Some(shape.scalar(value.strip_prefix('=').unwrap_or(value)));
            }
            if !explode {
                let text = text.strip_prefix(name)?.strip_prefix('=')?;
                return Some(shape.parted(text, ',', false));
            }
            if shape.array {
                let parts = text.split(';').map(|part| part.strip_prefix(name)?.strip_prefix('='));
                return Some(shape.list(parts.collect::<Option<Vec<_>>>()?));
            }
            Some(shape.fields(text.split(';')))
        }
        _ => Some(shape.parted(text, ',', explode)),
    }
}

/// A value of the parameters of a query or of cookies, by decoded names and values; `None` when it is
/// not there. `raw` are the values before they were decoded: what separates is told from what is
/// separated.
pub(super) fn of_fields(
    shape: &Shape,
    style: Style,
    explode: bool,
    name: &str,
    fields: &[Field<'_>],
) -> Option<Value> {
    if style == Style::DeepObject {
        return deep(shape, name, fields);
    }
    if shape.object && !shape.array && explode {
        // Its properties stand for themselves: whatever of them is there.
        let known = fields.iter().filter(|field| shape.properties.contains_key(&field.name));
        let map: Map<String, Value> = known
            .map(|field| (field.name.clone(), shape.property(&field.name, &field.value)))
            .collect();
        return (!map.is_empty()).then_some(Value::Object(map));
    }
    let mut found = fields.iter().filter(|field| field.name == name).peekable();
    let first = *found.peek()?;
    if shape.is_scalar() {
        return Some(shape.scalar(&first.value));
    }
    if shape.array && explode {
        return Some(shape.list(found.map(|field| field.value.as_str())));
    }
    let separators: &[&str] = match style {
        Style::SpaceDelimited => &["%20", "+", " "],
        Style::PipeDelimited => &["|", "%7C", "%7c"],
        _ => &[","],
    };
    let parts = split(first.raw, separators);
    let parts = parts.iter().map(|part| decoded(part)).collect::<Vec<_>>();
    let parts = parts.iter().map(String::as_str);
    Some(if shape.array { shape.list(parts) } else { shape.pairs(parts) })
}

/// A parameter of a query, or a cookie.
pub(super) struct Field<'a> {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) raw: &'a str,
}

/// `name[key]=value`
fn deep(shape: &Shape, name: &str, fields: &[Field<'_>]) -> Option<Value> {
    let mut map = Map::new();
    for field in fields {
        let inner = field.name.strip_prefix(name).and_then(|rest| rest.strip_prefix('['));
        let Some(key) = inner.and_then(|rest| rest.strip_suffix(']')) else { continue };
        let (key, is_list) = key.strip_suffix("][").map_or((key, false), |key| (key, true));
        let shape = shape.properties.get(key).or(shape.others.as_deref());
        let array = shape.filter(|shape| shape.array);
        let scalar = || match shape {
            Some(shape) => shape.scalar(&field.value),
            None => Value::String(field.value.clone()),
        };
        match (array, map.get_mut(key)) {
            (Some(shape), Some(Value::Array(items))) => items.push(shape.item(&field.value)),
            (Some(shape), _) => {
                map.insert(key.to_owned(), Value::Array(vec![shape.item(&field.value)]));
            }
            (None, _) if is_list => {
                map.insert(key.to_owned(), Value::Array(vec![scalar()]));
            }
            (None, _) => {
                map.insert(key.to_owned(), scalar());
            }
        }
    }
    (!map.is_empty()).then_some(Value::Object(map))
}

fn split<'a>(text: &'a str, separators: &[&str]) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut rest = text;
    if text.is_empty() {
        return parts;
    }
    loop {
        let next = separators
            .iter()
            .filter_map(|separator| Some((rest.find(separator)?, separator.len())))
            .min();
        let Some((at, length)) = next else {
            parts.push(rest);
            return parts;
        };
        parts.push(&rest[..at]);
        rest = &rest[at + length..];
    }
}

/// A part of a query decoded: `+` is a space. What is not UTF-8 is replaced, and so fits no pattern
/// that anybody writes.
pub(super) fn decoded(text: &str) -> String {
    let plus = text.replace('+', " ");
    percent_encoding::percent_decode_str(&plus).decode_utf8_lossy().into_owned()
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A number as JSON writes it.
fn number(text: &str) -> Option<Value> {
    let first = text.bytes().next()?;
    if !(first == b'-' || first.is_ascii_digit()) {
        return None;
    }
    let value: Value = serde_json::from_str(text).ok()?;
    value.is_number().then_some(value)
}

fn is_whole(number: &Value) -> bool {
    number.as_f64().is_some_and(|number| number.fract() == 0.0)
}
