//! The configuration as a tree that remembers where each value stands in the file.

use posthouse_base::config::Path;
use serde_json::Value as Json;

/// A place in the file, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Where it stands in the file as written; stays so when its neighbours are taken out.
    pub(crate) path: Path,
    /// Where its text begins.
    pub(crate) at: Position,
    /// Where its key begins; the same as `at` when it has none.
    pub(crate) key_at: Position,
    /// What was written when the value was filled in from elsewhere: messages show this instead.
    pub(crate) source: Option<String>,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    /// What was to be filled in is not there; that has been reported.
    Unknown,
    Sequence(Vec<Node>),
    /// In the order of the file, each key once.
    Mapping(Vec<(String, Node)>),
}

impl Node {
    /// The place to show for a finding about this value: a single value itself, for larger ones
    /// the key above them.
    pub(crate) fn mark(&self) -> Position {
        match self.value {
            Value::Sequence(_) | Value::Mapping(_) => self.key_at,
            _ => self.at,
        }
    }

    /// The value in a few words, for messages.
    pub(crate) fn describe(&self) -> String {
        if let Some(source) = &self.source {
            return format!("`{source}`");
        }
        match &self.value {
            Value::Null | Value::Unknown => "nothing".into(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Integer(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text(value) => format!("`{value}`"),
            Value::Sequence(_) => "a list".into(),
            Value::Mapping(_) => "a mapping".into(),
        }
    }

    /// The value as a reader of JSON sees it.
    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null | Value::Unknown => Json::Null,
            Value::Bool(value) => (*value).into(),
            Value::Integer(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Text(value) => value.clone().into(),
            Value::Sequence(items) => items.iter().map(Self::to_json).collect(),
            Value::Mapping(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.clone(), value.to_json()));
                Json::Object(entries.collect())
            }
        }
    }

    /// What was written where a value was filled in from elsewhere, here or in any part.
    pub(crate) fn sources(&self) -> Vec<&str> {
        let mut found = Vec::new();
        let mut open = vec![self];
        while let Some(node) = open.pop() {
            found.extend(node.source.as_deref());
            match &node.value {
                Value::Sequence(items) => open.extend(items),
                Value::Mapping(entries) => open.extend(entries.iter().map(|(_, value)| value)),
                _ => {}
            }
        }
        found
    }

    /// The value of a key, if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Mapping(entries) = &self.value else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Where `path`, counted in this tree, stands in the file: the place of the value or of the
    /// nearest one around it, and the path as the file counts it.
    pub(crate) fn locate(&self, path: &str) -> (Position, String) {
        if path.is_empty() {
            return (self.mark(), self.path.as_str().to_owned());
        }
        match self.step(path) {
            Some((child, rest)) => child.locate(rest),
            None => {
                let path = path.strip_prefix('.').unwrap_or(path);
                let here = self.path.as_str();
                let dot = if here.is_empty() || path.starts_with('[') { "" } else { "." };
                (self.mark(), format!("{here}{dot}{path}"))
            }
        }
    }

    /// The child that `path` leads to first, and the rest of the path. Names may contain dots, so
    /// the longest key that fits is taken.
    fn step<'a>(&self, path: &'a str) -> Option<(&Self, &'a str)> {
        match &self.value {
            Value::Mapping(entries) => {
                let path = path.strip_prefix('.').unwrap_or(path);
                let fitting = entries.iter().filter_map(|(key, child)| {
                    let rest = path.strip_prefix(key.as_str())?;
                    let ends = rest.is_empty() || rest.starts_with(['.', '[']);
                    ends.then_some((key.len(), child, rest))
                });
                fitting.max_by_key(|(length, ..)| *length).map(|(_, child, rest)| (child, rest))
            }
            Value::Sequence(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                Some((items.get(index.parse::<usize>().ok()?)?, rest))
            }
            _ => None,
        }
    }
}
