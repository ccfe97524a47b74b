//! Finds everything that is written wrongly (unknown and missing keys, wrong kinds of values, words
//! that mean nothing), by the schema, and takes it out of the tree, so that what is left can be
//! read and its meaning checked in the same pass.

use posthouse_base::config::{Path, Size, Span, nearest};
use serde_json::Value as Json;

use super::finding::Findings;
use super::node::{Node, Value};
use super::schema::LATER;

/// Lists of words longer than this are left out of messages.
const MAX_WORDS: usize = 16;

/// Checks `root` and takes out what is wrong. Returns the paths of what was taken out.
pub(super) fn check(root: &mut Node, schema: &Json, findings: &mut Findings) -> Vec<Path> {
    let mut walker = Walker { schema, findings, faulty: Vec::new() };
    if walker.walk(root, schema) == Verdict::Faulty {
        root.value = Value::Mapping(Vec::new());
    }
    walker.faulty
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It can be read, perhaps without some of its parts.
    Sound,
    /// It cannot be read.
    Faulty,
}

struct Walker<'a> {
    schema: &'a Json,
    findings: &'a mut Findings,
    faulty: Vec<Path>,
}

impl<'a> Walker<'a> {
    fn walk(&mut self, node: &mut Node, schema: &'a Json) -> Verdict {
        if matches!(node.value, Value::Unknown) {
            return Verdict::Faulty;
        }
        let schema = self.resolve(schema, node);
        let nullable = allows_null(schema) || schema.get("default").is_some_and(Json::is_null);
        if matches!(node.value, Value::Null) && !is_mapping(schema) && nullable {
            return Verdict::Sound;
        }
        if let Some(words) = words_of(schema) {
            return self.word(node, &words);
        }
        let kind = kind_of(schema);
        match (kind, &node.value) {
            // `registry:` with nothing after it means the same as `registry: {}`.
            ("object", Value::Null) => {
                node.value = Value::Mapping(Vec::new());
                self.mapping(node, schema)
            }
            ("object", Value::Mapping(_)) => self.mapping(node, schema),
            ("array", Value::Sequence(_)) => self.sequence(node, schema),
            ("string", Value::Text(text)) => match refused_by_format(schema, text) {
                None => Verdict::Sound,
                Some(message) => self.refuse(node, message, None),
            },
            ("integer" | "number", Value::Integer(value)) => match out_of_range(schema, *value) {
                None => Verdict::Sound,
                Some(message) => self.refuse(node, message, None),
            },
            ("boolean", Value::Bool(_)) | ("number", Value::Float(_)) | ("any", _) => {
                Verdict::Sound
            }
            _ => self.wrong_kind(node, schema, kind),
        }
    }

    /// Follows references and chooses among several forms the one that the value comes nearest to.
    fn resolve(&self, schema: &'a Json, node: &Node) -> &'a Json {
        if let Some(target) = schema["$ref"].as_str() {
            let target = target.strip_prefix('#').and_then(|pointer| self.schema.pointer(pointer));
            return target.map_or(schema, |target| self.resolve(target, node));
        }
        let Some(forms) = forms_of(schema) else { return schema };
        if words_of(schema).is_some() {
            return schema;
        }
        let forms: Vec<&Json> = forms
            .iter()
            .filter(|form| form["type"] != "null")
            .map(|f| self.resolve(f, node))
            .collect();
        let wanted = match node.value {
            Value::Null | Value::Unknown | Value::Mapping(_) => "object",
            Value::Sequence(_) => "array",
            Value::Text(_) => "string",
            Value::Bool(_) => "boolean",
            Value::Integer(_) => "integer",
            Value::Float(_) => "number",
        };
        let fitting = forms.iter().find(|form| kind_of(form) == wanted);
        fitting.or(forms.first()).copied().unwrap_or(schema)
    }

    fn mapping(&mut self, node: &mut Node, schema: &'a Json) -> Verdict {
        let Value::Mapping(entries) = std::mem::replace(&mut node.value, Value::Null) else {
            return Verdict::Sound;
        };
        let properties = schema["properties"].as_object();
        let others = &schema["additionalProperties"];
        let present: Vec<String> = entries.iter().map(|(key, _)| key.clone()).collect();
        let mut meant = Vec::new();
        let mut kept = Vec::with_capacity(entries.len());
        for (key, mut value) in entries {
            let known = properties.and_then(|properties| properties.get(&key));
            let rule = known.or_else(|| others.is_object().then_some(others));
            let sound = match rule {
                Some(rule) => self.walk(&mut value, rule) == Verdict::Sound,
                None if *others == Json::Bool(false) => {
                    let known = properties.into_iter().flat_map(|known| known.keys());
                    meant.extend(self.unknown_key(
                        &key,
                        &value,
                        known.map(String::as_str),
                        &present,
                    ));
                    false
                }
                None => true,
            };
            if sound {
                kept.push((key, value));
            } else {
                self.faulty.push(value.path);
            }
        }
        node.value = Value::Mapping(kept);
        let mut verdict = Verdict::Sound;
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            if !present.iter().any(|name| name == key) {
                // A key that was meant to be this one has been reported already.
                if !meant.iter().any(|name| name == key) {
                    let message = format!("`{key}` is missing");
                    let help = properties.and_then(|all| all.get(key)?["description"].as_str());
                    let finding = self.findings.error(node.mark(), node.path.as_str(), message);
                    finding.help = help.map(|help| format!("`{key}`: {help}"));
                }
                verdict = Verdict::Faulty;
            } else if node.get(key).is_none() {
                verdict = Verdict::Faulty;
            }
        }
        verdict
    }

    /// Notes an unknown key. Returns the key that was probably meant.
    fn unknown_key<'k>(
        &mut self,
        key: &str,
        value: &Node,
        known: impl Iterator<Item = &'k str>,
        present: &[String],
    ) -> Option<String> {
        let path = value.path.as_str();
        if path == key && LATER.contains(&key) {
            let message = format!("the section `{key}` is not served by this version");
            self.findings.error(value.key_at, path, message).help = Some(
                "take it out, or update Posthouse when there is a version that serves it".into(),
            );
            return None;
        }
        let known: Vec<&str> = known.collect();
        let missing = known.iter().copied().filter(|name| !present.iter().any(|key| key == name));
        let meant = nearest(&key.to_lowercase().replace('-', "_"), missing);
        let help = match meant {
            Some(meant) => Some(format!("did you mean `{meant}`?")),
            None if known.len() <= MAX_WORDS => Some(format!("known here: {}", quoted(&known))),
            None => None,
        };
        self.findings.error(value.key_at, path, format!("unknown key `{key}`")).help = help;
        meant.map(str::to_owned)
    }

    fn sequence(&mut self, node: &mut Node, schema: &'a Json) -> Verdict {
        let Value::Sequence(items) = &mut node.value else { return Verdict::Sound };
        let rule = &schema["items"];
        let mut kept = Vec::with_capacity(items.len());
        for mut item in items.drain(..) {
            if self.walk(&mut item, rule) == Verdict::Sound {
                kept.push(item);
            } else {
                self.faulty.push(item.path);
            }
        }
        *items = kept;
        Verdict::Sound
    }

    fn word(&mut self, node: &Node, words: &[&str]) -> Verdict {
        let written = match &node.value {
            Value::Text(text) if words.contains(&text.as_str()) => return Verdict::Sound,
            Value::Text(text) => text.as_str(),
            // YAML 1.1's `off` is text to us, but some write `false` for it.
            Value::Bool(false) if words.contains(&"off") => "off",
            _ => "",
        };
        let near = nearest(&written.to_lowercase().replace('_', "-"), words.iter().copied());
        let help = near.map(|near| format!("did you mean `{near}`?"));
        self.refuse(node, format!("{} is none of {}", node.describe(), quoted(words)), help)
    }

    fn wrong_kind(&mut self, node: &Node, schema: &Json, kind: &str) -> Verdict {
        let format = schema["format"].as_str().unwrap_or_default();
        let wanted = match (kind, format) {
            ("string", "span") => "a length of time like `500ms` or `10s`",
            ("string", "size") => "a size like `64KiB` or `10MiB`",
            ("string", _) => "text",
            ("integer", _) => "a whole number",
            ("number", _) => "a number",
            ("boolean", _) => "`true` or `false`",
            ("array", _) => "a list",
            _ => "a mapping",
        };
        let help = match (&node.value, kind, format) {
            (Value::Integer(n), "string", "span") => Some(format!("did you mean `{n}s`?")),
            (Value::Integer(n), "string", "size") => Some(format!("did you mean `{n}B`?")),
            (Value::Integer(_) | Value::Float(_) | Value::Bool(_), "string", _) => {
                Some(format!("put it in quotes: \"{}\"", node.to_json()))
            }
            (Value::Text(text), "integer" | "number" | "boolean", _)
                if text.parse::<f64>().is_ok() || matches!(text.as_str(), "true" | "false") =>
            {
                Some("leave the quotes out".into())
            }
            (Value::Text(text), "boolean", _) => match text.to_lowercase().as_str() {
                "yes" | "on" => Some("did you mean `true`?".into()),
                "no" | "off" => Some("did you mean `false`?".into()),
                _ => None,
            },
            (Value::Text(_) | Value::Mapping(_), "array", _) => {
                Some("begin each element with `- `, or write `[ … ]`".into())
            }
            (Value::Sequence(_), "object", _) => Some("write `key: value`, without `- `".into()),
            _ => None,
        };
        self.refuse(node, format!("expected {wanted}, found {}", node.describe()), help)
    }

    fn refuse(&mut self, node: &Node, message: String, help: Option<String>) -> Verdict {
        self.findings.error(node.mark(), node.path.as_str(), message).help = help;
        Verdict::Faulty
    }
}

fn forms_of(schema: &Json) -> Option<&Vec<Json>> {
    schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array())
}

/// The words that a value must be one of, if the schema lists them.
fn words_of(schema: &Json) -> Option<Vec<&str>> {
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().filter(|word| !word.is_null()).map(Json::as_str).collect();
    }
    if let Some(word) = schema.get("const") {
        return Some(vec![word.as_str()?]);
    }
    let forms = forms_of(schema)?.iter().filter(|form| form["type"] != "null");
    let words: Option<Vec<Vec<&str>>> = forms.map(words_of).collect();
    words.map(|words| words.concat())
}

fn allows_null(schema: &Json) -> bool {
    let is_null = |kind: &Json| kind == "null";
    is_null(&schema["type"])
        || schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(is_null))
        || forms_of(schema).is_some_and(|forms| forms.iter().any(allows_null))
}

fn is_mapping(schema: &Json) -> bool {
    kind_of(schema) == "object"
}

/// The kind of value that is wanted, "nothing" left aside.
fn kind_of(schema: &Json) -> &str {
    let kinds = match &schema["type"] {
        Json::String(kind) => return kind,
        Json::Array(kinds) => kinds,
        _ => return "any",
    };
    kinds.iter().filter_map(Json::as_str).find(|kind| *kind != "null").unwrap_or("any")
}

fn refused_by_format(schema: &Json, text: &str) -> Option<String> {
    match schema["format"].as_str() {
        Some("span") => text.parse::<Span>().err(),
        Some("size") => text.parse::<Size>().err(),
        _ => None,
    }
}

fn out_of_range(schema: &Json, value: i64) -> Option<String> {
    let by_format = match schema["format"].as_str().unwrap_or_default() {
        "uint8" => (0, i64::from(u8::MAX)),
        "uint16" => (0, i64::from(u16::MAX)),
        "uint32" => (0, i64::from(u32::MAX)),
        "uint" | "uint64" => (0, i64::MAX),
        _ => (i64::MIN, i64::MAX),
    };
    let least = schema["minimum"].as_i64().unwrap_or(by_format.0);
    let most = schema["maximum"].as_i64().unwrap_or(by_format.1);
    if value < least {
        Some(format!("{value} is below {least}, the least that is allowed"))
    } else if value > most {
        Some(format!("{value} is above {most}, the most that is allowed"))
    } else {
        None
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
