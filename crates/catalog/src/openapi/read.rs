//! From text to a tree: JSON, or YAML by its core schema. Bounded whatever the text says: aliases
//! unfold within a budget, nesting has an end, and merging keys (`<<`, of YAML 1.1) is refused rather
//! than taken for a field.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};

use super::document::{self, Document};
use super::place;
use crate::contract::{Mistake, Unreadable};
use crate::history::escaped;

/// The largest document, in bytes.
const MAX_BYTES: usize = 4 << 20;
/// Values of a document, aliases unfolded.
const MAX_NODES: usize = 500_000;
/// Values within values.
pub(super) const MAX_DEPTH: usize = 100;

/// Reads a document.
///
/// # Errors
/// All mistakes that were found, with their places.
pub fn read(text: &str) -> Result<Document, Unreadable> {
    if text.len() > MAX_BYTES {
        let message = format!("it has {} bytes, and {MAX_BYTES} are the most", text.len());
        return Err(Mistake::at("", message).into());
    }
    let root = tree(text)?;
    document::document(root).map_err(|mistakes| place::located(text, mistakes))
}

/// The tree of a text.
pub(super) fn tree(text: &str) -> Result<Value, Mistake> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        return json(text);
    }
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => builder.take(event, span.start)?,
            Err(error) => {
                let message = format!("this is no YAML: {}", error.info());
                return Err(builder.mistake(*error.marker(), message));
            }
        }
    }
    builder.root.ok_or_else(|| Mistake::at("", "it is empty"))
}

fn json(text: &str) -> Result<Value, Mistake> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let place = (error.line(), error.column());
        let message = format!("this is no JSON: {error}");
        Mistake { pointer: String::new(), place: Some(place), message }
    })?;
    let mut waiting = vec![(&value, 1)];
    let mut nodes = 0_usize;
    while let Some((value, depth)) = waiting.pop() {
        nodes += 1;
        if depth > MAX_DEPTH || nodes > MAX_NODES {
            return Err(too_much(nodes > MAX_NODES));
        }
        match value {
            Value::Array(items) => waiting.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(map) => waiting.extend(map.values().map(|value| (value, depth + 1))),
            _ => {}
        }
    }
    Ok(value)
}

fn too_much(nodes: bool) -> Mistake {
    let message = if nodes {
        format!("it has more than {MAX_NODES} values")
    } else {
        format!("it has values within values beyond {MAX_DEPTH} levels")
    };
    Mistake::at("", message)
}

/// Puts events of YAML together.
#[derive(Default)]
struct Builder {
    frames: Vec<Frame>,
    /// With the number of values in each.
    anchors: HashMap<usize, (Value, usize)>,
    nodes: usize,
    documents: usize,
    root: Option<Value>,
}

struct Frame {
    anchor: usize,
    /// Values when it began.
    nodes: usize,
    kind: Kind,
}

enum Kind {
    Sequence(Vec<Value>),
    Mapping(Map<String, Value>, Option<String>),
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: Marker) -> Result<(), Mistake> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(self.mistake(at, "a second document begins here"));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                if self.awaits_key() {
                    return self.key(text.into_owned(), at);
                }
                let value = self.scalar(&text, style, tag.as_deref(), at)?;
                self.nodes += 1;
                self.put(value, anchor, 1, at)
            }
            Event::SequenceStart(anchor, _) => self.begin(anchor, Kind::Sequence(Vec::new()), at),
            Event::MappingStart(anchor, _) => {
                self.begin(anchor, Kind::Mapping(Map::new(), None), at)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.frames.pop() else { return Ok(()) };
                let count = self.nodes - frame.nodes;
                let value = match frame.kind {
                    Kind::Sequence(items) => Value::Array(items),
                    Kind::Mapping(map, _) => Value::Object(map),
                };
                self.put(value, frame.anchor, count, at)
            }
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn awaits_key(&self) -> bool {
        matches!(self.frames.last(), Some(Frame { kind: Kind::Mapping(_, None), .. }))
    }

    fn key(&mut self, text: String, at: Marker) -> Result<(), Mistake> {
        if text == "<<" {
            return Err(self.mistake(at, "merging keys (`<<`) is not read: write them out"));
        }
        let is_double = match self.frames.last() {
            Some(Frame { kind: Kind::Mapping(map, _), .. }) => map.contains_key(&text),
            _ => false,
        };
        if is_double {
            return Err(self.mistake(at, format!("`{text}` is given twice")));
        }
        if let Some(Frame { kind: Kind::Mapping(_, key), .. }) = self.frames.last_mut() {
            *key = Some(text);
        }
        Ok(())
    }

    fn begin(&mut self, anchor: usize, kind: Kind, at: Marker) -> Result<(), Mistake> {
        if self.awaits_key() {
            return Err(self.mistake(at, "a key must be text, not a list or mapping"));
        }
        if self.frames.len() >= MAX_DEPTH {
            return Err(self.mistake(at, too_much(false).message));
        }
        self.frames.push(Frame { anchor, nodes: self.nodes, kind });
        self.nodes += 1;
        Ok(())
    }

    fn alias(&mut self, anchor: usize, at: Marker) -> Result<(), Mistake> {
        if self.awaits_key() {
            return Err(self.mistake(at, "a key must be written out, not an alias"));
        }
        let Some((value, count)) = self.anchors.get(&anchor) else {
            return Err(self.mistake(at, "this alias lies within what it names"));
        };
        // Before it is copied.
        if self.nodes.saturating_add(*count) > MAX_NODES {
            return Err(self.mistake(at, too_much(true).message));
        }
        let (value, count) = (value.clone(), *count);
        if self.frames.len() + depth(&value) > MAX_DEPTH {
            return Err(self.mistake(at, too_much(false).message));
        }
        self.nodes += count;
        self.put(value, 0, count, at)
    }

    fn put(
        &mut self,
        value: Value,
        anchor: usize,
        count: usize,
        at: Marker,
    ) -> Result<(), Mistake> {
        if self.nodes > MAX_NODES {
            return Err(self.mistake(at, too_much(true).message));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), count));
        }
        match self.frames.last_mut().map(|frame| &mut frame.kind) {
            None => self.root = Some(value),
            Some(Kind::Sequence(items)) => items.push(value),
            Some(Kind::Mapping(map, key)) => {
                if let Some(key) = key.take() {
                    map.insert(key, value);
                }
            }
        }
        Ok(())
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        at: Marker,
    ) -> Result<Value, Mistake> {
        let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        if style != ScalarStyle::Plain || is_text {
            return Ok(Value::String(text.to_owned()));
        }
        resolve(text).ok_or_else(|| {
            self.mistake(at, format!("the number `{text}` is not one that JSON has"))
        })
    }

    fn mistake(&self, at: Marker, message: impl Into<String>) -> Mistake {
        let mut pointer = String::new();
        for frame in &self.frames {
            pointer.push('/');
            match &frame.kind {
                Kind::Sequence(items) => pointer.push_str(&items.len().to_string()),
                Kind::Mapping(_, Some(key)) => pointer.push_str(&escaped(key)),
                Kind::Mapping(_, None) => {
                    pointer.pop();
                }
            }
        }
        Mistake { pointer, place: Some((at.line(), at.col() + 1)), message: message.into() }
    }
}

fn depth(value: &Value) -> usize {
    let below = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(map) => map.values().map(depth).max(),
        _ => return 0,
    };
    1 + below.unwrap_or_default()
}

/// A plain scalar by YAML's core schema (YAML 1.2.2 §10.3.2). `None` for a number that is none in
/// JSON.
fn resolve(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return None,
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return None;
    }
    let radix = |prefix, radix| {
        let digits = text.strip_prefix(prefix)?;
        u64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'))
    };
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Some(number.into());
    }
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Some(Value::String(text.to_owned()));
    }
    let plain = text.strip_prefix('+').unwrap_or(text);
    if let Ok(number) = plain.parse::<i64>() {
        return Some(number.into());
    }
    if let Ok(number) = plain.parse::<u64>() {
        return Some(number.into());
    }
    let is_number = unsigned.bytes().all(|byte| b"0123456789.eE+-".contains(&byte))
        && unsigned.bytes().any(|byte| byte.is_ascii_digit());
    match plain.parse::<f64>() {
        Ok(number) if is_number => Number::from_f64(number).map(Value::Number),
        _ => Some(Value::String(text.to_owned())),
    }
}
