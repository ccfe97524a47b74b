//! `cargo xtask docs`: the configuration reference, written from what the binary itself says
//! (`posthouse schema`), so that the two cannot differ.
//!
//! Two files in `docs/`: the JSON Schema for editors, as it is, and a page for readers with one
//! table for each kind of section. `--check` writes nothing and fails when either is out of date.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde_json::{Map, Value};

use crate::workspace;

/// The schema and the page, in `docs/`.
const SCHEMA: &str = "docs/configuration.schema.json";
const PAGE: &str = "docs/configuration.md";

/// Asks `binary` for the schema and writes both files, or only compares them.
pub(crate) fn run(binary: &Path, check: bool) -> anyhow::Result<()> {
    let said = Command::new(binary)
        .arg("schema")
        .output()
        .with_context(|| format!("{} does not start", binary.display()))?;
    anyhow::ensure!(said.status.success(), "{} schema: {}", binary.display(), said.status);
    let schema: Value = serde_json::from_slice(&said.stdout).context("the schema is no JSON")?;
    let text = format!("{}\n", serde_json::to_string_pretty(&schema)?);
    let mut stale = Vec::new();
    for (path, new) in [(SCHEMA, text), (PAGE, page(&schema))] {
        let file = workspace().join(path);
        if std::fs::read_to_string(&file).is_ok_and(|old| old == new) {
            continue;
        }
        if check {
            stale.push(path);
        } else {
            std::fs::write(&file, new)?;
            println!("wrote {path}");
        }
    }
    anyhow::ensure!(stale.is_empty(), "out of date: {}; run `cargo xtask docs`", stale.join(", "));
    Ok(())
}

/// The page: the whole file first, then every kind of section in the order of the schema.
fn page(schema: &Value) -> String {
    let mut out = String::from(
        "# Configuration reference\n\n\
         *Written by `cargo xtask docs` from `posthouse schema`; change the sources, not this \
         page. For editors there is [a JSON Schema](configuration.schema.json).*\n",
    );
    section(&mut out, "The file", schema);
    for (name, kind) in schema["$defs"].as_object().into_iter().flatten() {
        section(&mut out, name, kind);
    }
    out
}

fn section(out: &mut String, title: &str, kind: &Value) {
    let _infallible = write!(out, "\n## {title}\n");
    if let Some(text) = kind["description"].as_str() {
        let _infallible = write!(out, "\n{text}\n");
    }
    if let Some(properties) = kind["properties"].as_object() {
        table(out, properties, kind);
    } else if let Some(kinds) = alternatives(kind) {
        for one in kinds {
            alternative(out, one);
        }
    } else {
        let _infallible = write!(out, "\n{}\n", type_of(kind));
    }
}

/// One of several forms that a section may have: a word, or a table of its own.
fn alternative(out: &mut String, kind: &Value) {
    match kind["properties"].as_object() {
        Some(properties) => {
            if let Some(text) = kind["description"].as_str() {
                let _infallible = write!(out, "\n{text}\n");
            }
            table(out, properties, kind);
        }
        None => {
            let meaning = one_line(kind["description"].as_str().unwrap_or_default());
            let _infallible = write!(out, "\n- {}", type_of(kind));
            if !meaning.is_empty() {
                let _infallible = write!(out, ": {meaning}");
            }
            out.push('\n');
        }
    }
}

fn table(out: &mut String, properties: &Map<String, Value>, kind: &Value) {
    let required: Vec<&Value> = kind["required"].as_array().into_iter().flatten().collect();
    out.push_str("\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
    for (key, property) in properties {
        let default = match property.get("default") {
            Some(Value::Null) | None if required.iter().any(|name| *name == key) => {
                "*required*".to_owned()
            }
            // What a whole section or list is by default, its own table shows.
            Some(Value::Null | Value::Object(_) | Value::Array(_)) | None => String::new(),
            Some(value) => format!("`{}`", plain(value)),
        };
        let meaning = one_line(property["description"].as_str().unwrap_or_default());
        let value = type_of(property);
        let _infallible = writeln!(out, "| `{key}` | {value} | {default} | {meaning} |");
    }
}

/// What may stand there, in words.
fn type_of(kind: &Value) -> String {
    if let Some(name) = kind["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(value) = kind.get("const") {
        return format!("`{}`", plain(value));
    }
    if let Some(values) = kind["enum"].as_array() {
        let words: Vec<_> = values.iter().map(|value| format!("`{}`", plain(value))).collect();
        return words.join(", ");
    }
    if let Some(kinds) = alternatives(kind) {
        let mut words: Vec<_> = kinds.map(type_of).collect();
        words.dedup();
        return words.join(" or ");
    }
    let name = match &kind["type"] {
        Value::String(name) => name.as_str(),
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or("any")
        }
        _ => "any",
    };
    match name {
        "array" => format!("list of {}", type_of(&kind["items"])),
        "object" if kind["additionalProperties"].is_object() => {
            format!("map of {}", type_of(&kind["additionalProperties"]))
        }
        "string" => "text".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        other => other.to_owned(),
    }
}

/// The forms of a kind that has several, without "nothing at all".
fn alternatives(kind: &Value) -> Option<impl Iterator<Item = &Value>> {
    let kinds = kind["oneOf"].as_array().or_else(|| kind["anyOf"].as_array())?;
    Some(kinds.iter().filter(|one| one["type"] != "null"))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// As it may stand in a cell of a table.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_shows_keys_kinds_defaults_and_meanings() {
        let page = page(&json!({
            "description": "All of it.",
            "properties": {
                "data": { "type": "string", "default": "./data", "description": "Where\n it is." },
                "routes": { "type": "array", "items": { "$ref": "#/$defs/Route" } },
                "listeners": { "type": "array", "items": { "type": "string" }, "default": [] },
                "admin": { "anyOf": [ { "$ref": "#/$defs/Admin" }, { "type": "null" } ] },
            },
            "required": [ "routes" ],
            "$defs": {
                "Route": { "properties": { "path": { "type": ["string", "null"] } } },
                "Admin": { "oneOf": [
                    { "const": "off", "description": "None." },
                    { "properties": { "port": { "type": "integer" } } },
                ] },
            },
        }));
        for line in [
            "## The file\n\nAll of it.\n",
            "| `data` | text | `./data` | Where it is. |\n",
            "| `routes` | list of [Route](#route) | *required* |  |\n",
            "| `listeners` | list of text |  |  |\n",
            "| `admin` | [Admin](#admin) |  |  |\n",
            "## Route\n\n| key |",
            "| `path` | text |  |  |\n",
            "\n- `off`: None.\n",
            "| `port` | integer |  |  |\n",
        ] {
            assert!(page.contains(line), "{line:?} is not in:\n{page}");
        }
    }
}
