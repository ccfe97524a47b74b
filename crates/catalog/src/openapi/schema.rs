//! From OpenAPI's schemas to JSON Schema 2020-12, as requests are compared with them.
//!
//! Every schema that is used, and every one that those refer to, becomes a definition of one flat
//! document. What 3.0 says in its own words (`nullable`, exclusive bounds as flags) is said in those of
//! JSON Schema; properties that are only read may be left out of a request.
//!
//! What must hold: what is collected is bounded however schemas refer to each other, and so is what
//! compiling it costs.

use std::collections::HashMap;

use jsonschema::{Draft, PatternOptions, Registry, Validator};
use serde_json::{Map, Value, json};

use super::cost;
use super::document::{Document, Edition};
use crate::contract::Mistake;
use crate::history::escaped;

/// Values of all definitions together.
const MAX_NODES: usize = 400_000;
/// Values that are compiled, those that several roots reach counted again for each.
const MAX_COMPILED: usize = 1_000_000;
/// The memory that a compiled regular expression may take, in bytes.
const REGEX_BYTES: usize = 1 << 20;
/// Where the definitions are, for those who refer to them.
const ADDRESS: &str = "urn:posthouse:contract";

/// Schemas, ready to be compared with values.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) validators: HashMap<Id, Validator>,
    /// How deep a value may be nested.
    pub(super) deepest: usize,
}

/// The number of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(usize);

/// Schemas that are used, and what they refer to.
pub(super) struct Collected<'a> {
    document: &'a Document,
    ids: HashMap<String, Id>,
    /// Where each stands in the document, by number.
    pointers: Vec<String>,
    /// By number; made later than its number is given.
    definitions: Vec<Value>,
    /// What each refers to, and how many values it has.
    edges: Vec<(Vec<Id>, usize)>,
    nodes: usize,
}

impl<'a> Collected<'a> {
    pub(super) fn new(document: &'a Document) -> Self {
        let (ids, pointers, definitions, edges) = Default::default();
        Self { document, ids, pointers, definitions, edges, nodes: 0 }
    }

    /// The definition of the schema at a pointer, with all that it refers to.
    pub(super) fn add(&mut self, pointer: &str) -> Result<Id, Mistake> {
        let first = self.id(pointer)?;
        while let Some(pointer) = self.pointers.get(self.definitions.len()).cloned() {
            let (_, schema) = self
                .document
                .find(&pointer)
                .ok_or_else(|| Mistake::at(&pointer, "there is no schema here"))?;
            let (mut refers, before) = (Vec::new(), self.nodes);
            let definition = self.schema(schema, &pointer, &mut refers)?;
            self.definitions.push(definition);
            self.edges.push((refers, self.nodes - before));
        }
        Ok(first)
    }

    fn id(&mut self, pointer: &str) -> Result<Id, Mistake> {
        let found = self.document.find(pointer);
        let (pointer, _) = found.ok_or_else(|| Mistake::at(pointer, "there is no schema here"))?;
        if let Some(id) = self.ids.get(&pointer) {
            return Ok(*id);
        }
        let id = Id(self.pointers.len());
        self.ids.insert(pointer.clone(), id);
        self.pointers.push(pointer);
        Ok(id)
    }

    fn schema(&mut self, schema: &Value, at: &str, refers: &mut Vec<Id>) -> Result<Value, Mistake> {
        self.count(at)?;
        let Value::Object(map) = schema else { return Ok(schema.clone()) };
        let old = self.document.edition == Edition::V30;
        let mut converted = Map::new();
        if let Some(target) = map.get("$ref").and_then(Value::as_str) {
            let pointer = target.strip_prefix('#').unwrap_or_default();
            let pointer = percent_encoding::percent_decode_str(pointer).decode_utf8_lossy();
            let id = self.id(&pointer)?;
            refers.push(id);
            converted.insert("$ref".into(), json!(format!("#/$defs/{}", id.0)));
            if old {
                // Nothing beside a reference counts in 3.0.
                return Ok(Value::Object(converted));
            }
        }
        for (key, value) in map {
            let below = || format!("{at}/{}", escaped(key));
            let value = match kind(key) {
                Kind::Left => continue,
                Kind::Plain => {
                    self.count_all(value, at)?;
                    value.clone()
                }
                Kind::Schema => self.schema(value, &below(), refers)?,
                Kind::List => self.list(value, &below(), refers)?,
                Kind::Named => self.named(value, &below(), refers)?,
            };
            converted.insert(key.clone(), value);
        }
        self.forget_read_only(map, &mut converted, at);
        if old {
            modernise(map, &mut converted);
        }
        bound(&mut converted);
        Ok(Value::Object(converted))
    }

    fn list(&mut self, list: &Value, at: &str, refers: &mut Vec<Id>) -> Result<Value, Mistake> {
        let Value::Array(items) = list else { return self.schema(list, at, refers) };
        let items = items.iter().enumerate();
        let items = items.map(|(index, item)| self.schema(item, &format!("{at}/{index}"), refers));
        Ok(Value::Array(items.collect::<Result<_, _>>()?))
    }

    fn named(&mut self, named: &Value, at: &str, refers: &mut Vec<Id>) -> Result<Value, Mistake> {
        let Value::Object(map) = named else { return Ok(named.clone()) };
        let schemas = map.iter().map(|(name, schema)| {
            let schema = self.schema(schema, &format!("{at}/{}", escaped(name)), refers)?;
            Ok((name.clone(), schema))
        });
        Ok(Value::Object(schemas.collect::<Result<_, Mistake>>()?))
    }

    /// A request need not have what is only read.
    fn forget_read_only(
        &self,
        map: &Map<String, Value>,
        converted: &mut Map<String, Value>,
        at: &str,
    ) {
        let Some(Value::Array(required)) = converted.get_mut("required") else { return };
        let Some(Value::Object(properties)) = map.get("properties") else { return };
        let is_read_only = |name: &Value| {
            let Some(name) = name.as_str().filter(|name| properties.contains_key(*name)) else {
                return false;
            };
            let found = self.document.find(&format!("{at}/properties/{}", escaped(name)));
            found.is_some_and(|(_, schema)| schema.get("readOnly") == Some(&Value::Bool(true)))
        };
        required.retain(|name| !is_read_only(name));
    }

    fn count(&mut self, at: &str) -> Result<(), Mistake> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("with this its schemas have more than {MAX_NODES} values");
            return Err(Mistake::at(at, message));
        }
        Ok(())
    }

    fn count_all(&mut self, value: &Value, at: &str) -> Result<(), Mistake> {
        self.count(at)?;
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.count_all(item, at)),
            Value::Object(map) => map.values().try_for_each(|value| self.count_all(value, at)),
            _ => Ok(()),
        }
    }

    /// What compares values with each of these definitions, and how deep those may be nested.
    pub(super) fn compile(self, roots: &[Id]) -> Result<Compiled, Mistake> {
        let mut distinct: Vec<Id> = roots.to_vec();
        distinct.sort_unstable_by_key(|id| id.0);
        distinct.dedup();
        self.is_affordable(&distinct)?;
        let edges = self.edges.iter();
        let edges: Vec<Vec<usize>> =
            edges.map(|(refers, _)| refers.iter().map(|id| id.0).collect()).collect();
        let deepest = cost::deepest(&self.definitions, &edges).map_err(|why| {
            Mistake::at(self.pointers.get(why.definition).cloned().unwrap_or_default(), why.message)
        })?;
        let definitions = self.definitions.iter().enumerate();
        let definitions: Map<String, Value> =
            definitions.map(|(id, schema)| (id.to_string(), schema.clone())).collect();
        let root = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$defs": definitions,
        });
        if let Err(error) = jsonschema::draft202012::meta::validate(&root) {
            let (id, rest) = self.origin(error.instance_path().as_str());
            let message = format!("this is no schema: {error}");
            return Err(Mistake::at(format!("{id}{rest}"), message));
        }
        let prepared = Registry::new().add(ADDRESS, &root).and_then(|builder| builder.prepare());
        let registry = prepared.map_err(|error| Mistake::at("/components", error.to_string()))?;
        let mut compiled = HashMap::with_capacity(distinct.len());
        for id in distinct {
            let validator = jsonschema::options()
                .with_draft(Draft::Draft202012)
                .offline()
                .with_registry(&registry)
                .with_pattern_options(
                    PatternOptions::regex().size_limit(REGEX_BYTES).dfa_size_limit(REGEX_BYTES),
                )
                .should_validate_formats(true)
                .build(&json!({ "$ref": format!("{ADDRESS}#/$defs/{}", id.0) }));
            let validator = validator.map_err(|error| {
                let pointer = self.pointers.get(id.0).cloned().unwrap_or_default();
                Mistake::at(pointer, format!("it cannot be compiled: {error}"))
            })?;
            compiled.insert(id, validator);
        }
        Ok(Compiled { validators: compiled, deepest })
    }

    /// Compiling takes as much as each root reaches.
    fn is_affordable(&self, roots: &[Id]) -> Result<(), Mistake> {
        let mut total = 0_usize;
        let mut seen = vec![usize::MAX; self.edges.len()];
        for (turn, root) in roots.iter().enumerate() {
            let mut waiting = vec![*root];
            while let Some(id) = waiting.pop() {
                if std::mem::replace(&mut seen[id.0], turn) == turn {
                    continue;
                }
                let (refers, nodes) = &self.edges[id.0];
                total = total.saturating_add(*nodes);
                waiting.extend(refers);
            }
            if total > MAX_COMPILED {
                let message = format!(
                    "comparing requests with it takes more than {MAX_COMPILED} values, those that \
                     several schemas share counted for each"
                );
                return Err(Mistake::at("/components/schemas", message));
            }
        }
        Ok(())
    }

    /// The place in the document of one in the definitions.
    fn origin<'b>(&self, path: &'b str) -> (String, &'b str) {
        let below = path.strip_prefix("/$defs/").unwrap_or_default();
        let (number, rest) = below.find('/').map_or((below, ""), |at| below.split_at(at));
        let pointer = number.parse().ok().and_then(|id: usize| self.pointers.get(id));
        (pointer.cloned().unwrap_or_default(), rest)
    }
}

/// What stands under a word of a schema.
enum Kind {
    /// It says nothing of what is valid.
    Left,
    Plain,
    Schema,
    List,
    Named,
}

fn kind(word: &str) -> Kind {
    match word {
        "type" | "enum" | "const" | "multipleOf" | "maximum" | "exclusiveMaximum" | "minimum"
        | "exclusiveMinimum" | "maxLength" | "minLength" | "pattern" | "maxItems" | "minItems"
        | "uniqueItems" | "maxContains" | "minContains" | "maxProperties" | "minProperties"
        | "required" | "dependentRequired" | "format" => Kind::Plain,
        "items"
        | "contains"
        | "additionalProperties"
        | "propertyNames"
        | "not"
        | "if"
        | "then"
        | "else"
        | "unevaluatedItems"
        | "unevaluatedProperties" => Kind::Schema,
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => Kind::List,
        "properties" | "patternProperties" | "dependentSchemas" => Kind::Named,
        _ => Kind::Left,
    }
}

/// What 3.0 says in its own words.
fn modernise(written: &Map<String, Value>, converted: &mut Map<String, Value>) {
    for (flag, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        match written.get(flag) {
            Some(Value::Bool(true)) => {
                converted.remove(flag);
                if let Some(value) = converted.remove(bound) {
                    converted.insert(flag.into(), value);
                }
            }
            Some(Value::Bool(false)) => {
                converted.remove(flag);
            }
            _ => {}
        }
    }
    if written.get("nullable") == Some(&Value::Bool(true)) {
        if let Some(kind) = converted.get("type").and_then(Value::as_str) {
            converted.insert("type".into(), json!([kind, "null"]));
        }
        if let Some(Value::Array(options)) = converted.get_mut("enum")
            && !options.contains(&Value::Null)
        {
            options.push(Value::Null);
        }
    }
}

/// The formats of numbers, which are bounds.
fn bound(schema: &mut Map<String, Value>) {
    let (low, high) = match schema.get("format").and_then(Value::as_str) {
        Some("int32") => (json!(i32::MIN), json!(i32::MAX)),
        Some("int64") => (json!(i64::MIN), json!(i64::MAX)),
        _ => return,
    };
    let mut bounded = |word: &str, exclusive: &str, value: Value| {
        if !schema.contains_key(word) && !schema.contains_key(exclusive) {
            schema.insert(word.into(), value);
        }
    };
    bounded("minimum", "exclusiveMinimum", low);
    bounded("maximum", "exclusiveMaximum", high);
}
