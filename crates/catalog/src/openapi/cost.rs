//! What comparing a value with schemas may cost, before any value has come.
//!
//! Schemas that are applied to the same value (`allOf`, `oneOf`, references) are walked through: in a
//! circle they never end, and in many ways they take long. And where a schema that refers to itself
//! gives one field several schemas, each level of a value is compared several times as often as the
//! one above it: there, values may be nested less deeply.

use std::collections::HashMap;

use serde_json::Value;

/// Schemas that are applied to one value.
const MAX_WAYS: usize = 5000;
/// References and parts within each other, applied to one value.
const MAX_DEPTH: usize = 200;
/// Comparisons that a nested value may take, roughly.
const MAX_COMPARISONS: f64 = 1e6;
/// As deep as any value can be read.
pub(super) const DEEPEST: usize = 128;

/// Why a definition cannot be afforded.
pub(super) struct TooMuch {
    pub(super) definition: usize,
    pub(super) message: String,
}

/// How deep values may be nested that are compared with these definitions, in which references are
/// `#/$defs/NUMBER`. `edges` are the references of each.
pub(super) fn deepest(definitions: &[Value], edges: &[Vec<usize>]) -> Result<usize, TooMuch> {
    let recursive = recursive(edges);
    let mut most = 1;
    for (definition, schema) in definitions.iter().enumerate() {
        let mut waiting = vec![schema];
        while let Some(schema) = waiting.pop() {
            let mut walk = Walk { definitions, ways: 0, fields: HashMap::new(), others: 0 };
            walk.apply(schema, 0).map_err(|message| TooMuch { definition, message })?;
            if recursive[definition] {
                most = most.max(walk.times());
            }
            below(schema, &mut waiting);
        }
    }
    if most == 1 {
        return Ok(DEEPEST);
    }
    let most = f64::from(u32::try_from(most).unwrap_or(u32::MAX));
    let mut depth = 1;
    while depth < DEEPEST && most.powi(i32::try_from(depth).unwrap_or(i32::MAX)) < MAX_COMPARISONS {
        depth += 1;
    }
    Ok(depth)
}

/// Schemas that are applied to one value, and how many each field of it gets from them.
struct Walk<'a> {
    definitions: &'a [Value],
    ways: usize,
    fields: HashMap<&'a str, usize>,
    /// Of those that say something of any field or item.
    others: usize,
}

impl<'a> Walk<'a> {
    fn apply(&mut self, schema: &'a Value, depth: usize) -> Result<(), String> {
        self.ways += 1;
        if self.ways > MAX_WAYS {
            return Err(format!("it applies more than {MAX_WAYS} schemas to one value"));
        }
        if depth > MAX_DEPTH {
            return Err("it applies itself to the same value, or nests without end".into());
        }
        let Some(schema) = schema.as_object() else { return Ok(()) };
        for (word, value) in schema {
            match word.as_str() {
                "$ref" => {
                    let target = value.as_str().and_then(|target| target.rsplit('/').next());
                    let id = target.and_then(|id| id.parse::<usize>().ok());
                    if let Some(definition) = id.and_then(|id| self.definitions.get(id)) {
                        self.apply(definition, depth + 1)?;
                    }
                }
                "not" | "if" | "then" | "else" => self.apply(value, depth + 1)?,
                "allOf" | "anyOf" | "oneOf" => {
                    for part in value.as_array().into_iter().flatten() {
                        self.apply(part, depth + 1)?;
                    }
                }
                "dependentSchemas" => {
                    for part in value.as_object().into_iter().flat_map(|map| map.values()) {
                        self.apply(part, depth + 1)?;
                    }
                }
                "properties" => {
                    for name in value.as_object().into_iter().flat_map(|map| map.keys()) {
                        *self.fields.entry(name).or_default() += 1;
                    }
                }
                "items"
                | "prefixItems"
                | "contains"
                | "additionalProperties"
                | "patternProperties"
                | "unevaluatedItems"
                | "unevaluatedProperties" => {
                    self.others += usize::from(!value.is_boolean());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn times(&self) -> usize {
        self.fields.values().max().copied().unwrap_or_default() + self.others
    }
}

/// The schemas of what is within a value, and parts of the schema itself, which are looked at alone.
fn below<'a>(schema: &'a Value, waiting: &mut Vec<&'a Value>) {
    let Some(schema) = schema.as_object() else { return };
    for (word, value) in schema {
        match word.as_str() {
            "properties" | "patternProperties" | "dependentSchemas" => {
                waiting.extend(value.as_object().into_iter().flat_map(|map| map.values()));
            }
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                waiting.extend(value.as_array().into_iter().flatten());
            }
            "items"
            | "contains"
            | "additionalProperties"
            | "unevaluatedItems"
            | "unevaluatedProperties"
            | "not"
            | "if"
            | "then"
            | "else" => waiting.push(value),
            _ => {}
        }
    }
}

/// Which definitions may come to themselves again: those that are left when all are taken away that
/// lead nowhere, or come from nowhere.
fn recursive(edges: &[Vec<usize>]) -> Vec<bool> {
    let mut reversed = vec![Vec::new(); edges.len()];
    for (from, targets) in edges.iter().enumerate() {
        targets.iter().for_each(|to| reversed[*to].push(from));
    }
    let mut left = vec![true; edges.len()];
    for (forth, back) in [(edges, reversed.as_slice()), (reversed.as_slice(), edges)] {
        let alive = |targets: &Vec<usize>, left: &[bool]| targets.iter().any(|to| left[*to]);
        let mut waiting: Vec<usize> =
            (0..edges.len()).filter(|at| left[*at] && !alive(&forth[*at], &left)).collect();
        while let Some(at) = waiting.pop() {
            if std::mem::replace(&mut left[at], false) {
                let before = back[at].iter().copied();
                waiting.extend(before.filter(|at| left[*at] && !alive(&forth[*at], &left)));
            }
        }
    }
    left
}
