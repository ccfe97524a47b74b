//! From the file's text to a tree of values with their places.
//!
//! Events of a parser instead of a reader of values, because a reader stops at its first mistake
//! and forgets the places. Anchors and aliases work; what they may unfold to is limited.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path as FilePath;

use posthouse_base::config::Path;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use super::fill::fill;
use super::finding::Findings;
use super::node::{Node, Position, Value};

/// Values of a file, aliases unfolded.
const MAX_NODES: usize = 2_000_000;

/// Values within values.
const MAX_DEPTH: usize = 64;

/// Stand-ins for the braces of `/users/{id}` and `${env:NAME}` inside of `{ … }`, where YAML would
/// end the value at a brace. No text means these characters (private use area).
const SHIELDS: [(char, char); 2] = [('{', '\u{f8d0}'), ('}', '\u{f8d1}')];

/// Reads the whole text. References are filled in from `base`; without one they are mistakes, and
/// nothing is looked up for them. `None` when the text is no YAML at all; other mistakes are noted
/// and what has them is left out.
pub(super) fn read(text: &str, base: Option<&FilePath>, findings: &mut Findings) -> Option<Node> {
    let text = shield(text);
    let mut parser = Parser::new_from_str(&text);
    let mut builder = Builder {
        base,
        findings,
        frames: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        documents: 0,
        root: None,
    };
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                let at = position(*error.marker());
                builder
                    .findings
                    .error(at, "", format!("this is no YAML: {}", unshield(error.info())))
                    .help = hint(&text, at);
                return None;
            }
        }
    }
    let at = Position { line: 1, column: 1 };
    let empty = || node(Path::root(), at, at, Value::Mapping(Vec::new()));
    Some(builder.root.unwrap_or_else(empty))
}

/// What is often behind a text that cannot be read.
fn hint(text: &str, at: Position) -> Option<String> {
    let line = text.lines().nth(at.line.saturating_sub(1)).unwrap_or_default();
    if line.trim_start_matches(' ').starts_with('\t') {
        return Some("indent with spaces, not with tabs".into());
    }
    Some("text with `: `, ` #`, or brackets and commas inside of brackets needs quotes".into())
}

/// What would be filled in is this machine's, and not for whoever writes a part from elsewhere.
fn for_the_file_only() -> (String, String) {
    ("`${` is for the file only".into(), "write the value itself".into())
}

struct Builder<'a> {
    base: Option<&'a FilePath>,
    findings: &'a mut Findings,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    documents: usize,
    root: Option<Node>,
}

/// A list or mapping whose end has not come.
struct Frame {
    path: Path,
    at: Position,
    key_at: Position,
    anchor: usize,
    kind: Kind,
}

enum Kind {
    Sequence(Vec<Node>),
    /// `keys` has the place of every key: looking for each among `entries` would take the square of
    /// their number.
    Mapping {
        entries: Vec<(String, Node)>,
        keys: HashMap<String, Position>,
        key: Key,
    },
}

/// Where a mapping stands between a key and its value.
enum Key {
    Awaited,
    Given(String, Position),
    /// Noted as a mistake; its value is left out.
    Wrong(Position),
}

impl Builder<'_> {
    /// `None` ends the reading.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let at = position(span.start);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "a second document begins here; only one is read";
                    self.findings.error(at, "", message);
                    return None;
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&unshield(&text), style, anchor, tag.as_deref(), at)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(Kind::Sequence(Vec::new()), anchor, tag.as_deref(), at)?;
            }
            Event::MappingStart(anchor, tag) => {
                let (entries, keys) = (Vec::new(), HashMap::new());
                let kind = Kind::Mapping { entries, keys, key: Key::Awaited };
                self.begin(kind, anchor, tag.as_deref(), at)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, at)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Some(())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        at: Position,
    ) -> Option<()> {
        if let Some(Frame { path, kind: Kind::Mapping { keys, key, .. }, .. }) =
            self.frames.last_mut()
            && matches!(key, Key::Awaited)
        {
            *key = match keys.get(text) {
                None => {
                    keys.insert(text.to_owned(), at);
                    Key::Given(text.to_owned(), at)
                }
                Some(first) => {
                    let message = format!("`{text}` is given twice; first in line {}", first.line);
                    self.findings.error(at, path.key(text).as_str(), message);
                    Key::Wrong(at)
                }
            };
            return Some(());
        }
        let (path, key_at) = self.place(at);
        let plain = style == ScalarStyle::Plain && !self.is_text(tag, &path, at);
        let mut new = node(path, at, key_at, Value::Null);
        let value_of =
            |text: &str| if plain { resolve(text) } else { Value::Text(text.to_owned()) };
        let filled = match self.base {
            Some(base) => fill(text, base),
            None => text.contains("${").then(|| Err(for_the_file_only())),
        };
        new.value = match filled {
            None => value_of(text),
            Some(Ok(filled)) => {
                new.source = Some(text.to_owned());
                value_of(&filled)
            }
            Some(Err((message, help))) => {
                self.findings.error(at, new.path.as_str(), message).help = Some(help);
                Value::Unknown
            }
        };
        self.put(new, anchor)
    }

    /// Whether a tag says that a value is text whatever it looks like. Other tags are refused.
    fn is_text(&mut self, tag: Option<&Tag>, path: &Path, at: Position) -> bool {
        let Some(tag) = tag else { return false };
        let text = tag.is_yaml_core_schema() && tag.suffix == "str";
        if !text {
            let message = format!("the tag `{}{}` means nothing here", tag.handle, tag.suffix);
            self.findings.error(at, path.as_str(), message);
        }
        text
    }

    fn begin(&mut self, kind: Kind, anchor: usize, tag: Option<&Tag>, at: Position) -> Option<()> {
        if let Some(Frame { path, kind: Kind::Mapping { key, .. }, .. }) = self.frames.last_mut()
            && matches!(key, Key::Awaited)
        {
            self.findings.error(at, path.as_str(), "a key must be text, not a list or mapping");
            return None;
        }
        let (path, key_at) = self.place(at);
        self.is_text(tag, &path, at);
        if self.frames.len() >= MAX_DEPTH {
            let message = format!("values within values beyond {MAX_DEPTH} levels");
            self.findings.error(at, path.as_str(), message);
            return None;
        }
        self.frames.push(Frame { path, at, key_at, anchor, kind });
        Some(())
    }

    fn end(&mut self) {
        let Some(Frame { path, at, key_at, anchor, kind }) = self.frames.pop() else { return };
        let value = match kind {
            Kind::Sequence(items) => Value::Sequence(items),
            Kind::Mapping { entries, .. } => Value::Mapping(entries),
        };
        // Its parts have been counted one by one; reaching the limit here changes nothing.
        let _counted = self.put(node(path, at, key_at, value), anchor);
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Option<()> {
        if let Some(Frame { path, kind: Kind::Mapping { key, .. }, .. }) = self.frames.last_mut()
            && matches!(key, Key::Awaited)
        {
            self.findings.error(at, path.as_str(), "a key must be written out, not an alias");
            *key = Key::Wrong(at);
            return Some(());
        }
        let (path, key_at) = self.place(at);
        let Some(meant) = self.anchors.get(&anchor) else {
            self.findings.error(at, path.as_str(), "this alias lies within what it names");
            return None;
        };
        let copies = size(meant);
        if self.nodes.saturating_add(copies) > MAX_NODES {
            self.too_many(at);
            return None;
        }
        let mut copy = moved(meant, path);
        (copy.at, copy.key_at) = (at, key_at);
        self.nodes += copies;
        self.put(copy, 0)
    }

    /// The path of the next value, and the place of its key.
    fn place(&self, at: Position) -> (Path, Position) {
        match self.frames.last() {
            None => (Path::root(), at),
            Some(Frame { path, kind: Kind::Sequence(items), .. }) => (path.index(items.len()), at),
            Some(Frame { path, kind: Kind::Mapping { key, .. }, .. }) => match key {
                Key::Given(name, key_at) => (path.key(name), *key_at),
                Key::Wrong(key_at) => (path.clone(), *key_at),
                Key::Awaited => (path.clone(), at),
            },
        }
    }

    fn put(&mut self, new: Node, anchor: usize) -> Option<()> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.too_many(new.at);
            return None;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, new.clone());
        }
        match self.frames.last_mut() {
            None => self.root = Some(new),
            Some(Frame { kind: Kind::Sequence(items), .. }) => items.push(new),
            Some(Frame { kind: Kind::Mapping { entries, key, .. }, .. }) => {
                if let Key::Given(name, _) = std::mem::replace(key, Key::Awaited) {
                    entries.push((name, new));
                }
            }
        }
        Some(())
    }

    fn too_many(&mut self, at: Position) {
        self.findings.error(at, "", format!("more than {MAX_NODES} values in one file"));
    }
}

fn node(path: Path, at: Position, key_at: Position, value: Value) -> Node {
    Node { path, at, key_at, source: None, value }
}

fn position(marker: Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Sequence(items) => items.iter().map(size).sum(),
        Value::Mapping(entries) => entries.iter().map(|(_, value)| size(value)).sum(),
        _ => 0_usize,
    }
}

/// A copy of `meant` at another path.
fn moved(meant: &Node, path: Path) -> Node {
    let value = match &meant.value {
        Value::Sequence(items) => {
            let items = items.iter().enumerate();
            Value::Sequence(items.map(|(index, item)| moved(item, path.index(index))).collect())
        }
        Value::Mapping(entries) => {
            let entries = entries.iter();
            let entries = entries.map(|(key, value)| (key.clone(), moved(value, path.key(key))));
            Value::Mapping(entries.collect())
        }
        other => other.clone(),
    };
    Node { path, value, ..meant.clone() }
}

/// A plain scalar by YAML's core schema (YAML 1.2.2 §10.3.2).
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Value::Text(text.to_owned());
    }
    if let Ok(integer) = text.parse() {
        return Value::Integer(integer);
    }
    let looks_like_number =
        digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    match text.parse::<f64>() {
        Ok(float) if looks_like_number && float.is_finite() => Value::Float(float),
        _ => Value::Text(text.to_owned()),
    }
}

/// Puts the stand-ins in place of braces in the middle of a word, as in `/users/{id}` and
/// `${env:NAME}`. One character for one, so that every place stays where it is.
fn shield(text: &str) -> Cow<'_, str> {
    if text.contains(SHIELDS.map(|(_, stand_in)| stand_in)) || !text.contains('{') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    let mut before = ' ';
    while let Some(open) = rest.find('{') {
        let (passed, from) = rest.split_at(open);
        before = passed.chars().next_back().unwrap_or(before);
        out.push_str(passed);
        match word_in_braces(from, before) {
            Some(end) => {
                out.push(SHIELDS[0].1);
                out.push_str(&from[1..end]);
                out.push(SHIELDS[1].1);
                rest = &from[end + 1..];
                before = '}';
            }
            None => {
                out.push('{');
                rest = &from[1..];
                before = '{';
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The index of the closing brace, when `text` begins with braces that belong to a word.
fn word_in_braces(text: &str, before: char) -> Option<usize> {
    if before.is_whitespace() || matches!(before, ',' | '[' | '{' | ':' | '"' | '\'') {
        return None;
    }
    let end = text.find('}')?;
    let inner = &text[1..end];
    let name = inner.strip_prefix('*').unwrap_or(inner);
    let is_name = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let is_reference = before == '$' && !inner.contains(char::is_whitespace);
    (is_name || is_reference).then_some(end)
}

fn unshield(text: &str) -> Cow<'_, str> {
    if !text.contains(SHIELDS.map(|(_, stand_in)| stand_in)) {
        return Cow::Borrowed(text);
    }
    let back = |c| SHIELDS.iter().find(|(_, stand_in)| *stand_in == c).map_or(c, |(c, _)| *c);
    Cow::Owned(text.chars().map(back).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> (Option<serde_json::Value>, String) {
        let mut findings = Findings::new("f");
        let node = read(text, Some(FilePath::new("/")), &mut findings);
        (node.map(|node| node.to_json()), findings.to_text(false))
    }

    #[test]
    fn values_are_what_they_look_like() {
        let text = "{a: 1, b: 1.5, c: yes, d: true, e: , f: \"1\", g: 127.0.0.1:80, h: -3, i: 0s}";
        let (json, said) = read_text(text);
        let wanted = serde_json::json!({
            "a": 1, "b": 1.5, "c": "yes", "d": true, "e": null, "f": "1", "g": "127.0.0.1:80",
            "h": -3, "i": "0s",
        });
        assert_eq!((json, said.as_str()), (Some(wanted), ""));
    }

    #[test]
    fn words_with_braces_may_stand_inside_of_braces() {
        let text = "- { path: /users/{id}/{*rest}, x: [ $${a}, {b: {c: {}}} ] } # {id}\n- ~ ^/{x}$";
        let (json, said) = read_text(text);
        let wanted = serde_json::json!([
            { "path": "/users/{id}/{*rest}", "x": ["${a}", { "b": { "c": {} } }] },
            "~ ^/{x}$",
        ]);
        assert_eq!((json, said.as_str()), (Some(wanted), ""));
    }

    #[test]
    fn aliases_are_unfolded_and_bombs_are_not() {
        let (json, said) = read_text("a: &a [1]\nb: *a\n");
        assert_eq!((json, said.as_str()), (Some(serde_json::json!({"a": [1], "b": [1]})), ""));
        let mut bomb = String::from("a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n");
        for n in 1..9 {
            let inner = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb.push_str(&format!("a{n}: &a{n} [{inner}]\n"));
        }
        let (json, said) = read_text(&bomb);
        assert!(json.is_none() && said.contains("more than 2000000 values"), "{said}");
    }

    #[test]
    fn mistakes_have_their_places() {
        for (text, wanted) in [
            ("a: 1\nb: 2\na: 3\n", "f:3:1: error: a: `a` is given twice; first in line 1\n"),
            ("a: 1\n---\nb: 2\n", "f:2:1: error: a second document begins here"),
            ("a: !x 1\n", "f:1:4: error: a: the tag `!x` means nothing here"),
            ("a: [1\n", "f:"),
            ("? [1]\n: 2\n", "f:1:3: error: a key must be text"),
            ("a:\n\tb: 1\n", "f:2:"),
        ] {
            let (_, said) = read_text(text);
            assert!(said.starts_with(wanted) && !said.is_empty(), "{text:?}: {said}");
        }
        let deep = "[".repeat(70) + &"]".repeat(70);
        assert!(read_text(&deep).1.contains("beyond 64 levels"));
    }
}
