//! What differs between two states of an entry, field by field, in the words of the file.

use serde_json::Value;

use crate::config::write;
use crate::contract::{Contract, Kind};
use crate::openapi::diff;
use crate::state::{Spec, Version};

/// What differs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Fields, in the form of the file. Of a description, only its digest.
    pub fields: Vec<Difference>,
    /// What differs between the two OpenAPI documents, if there were two.
    pub contract: Option<Vec<diff::Change>>,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// A JSON pointer into the entry.
    pub pointer: String,
    /// What it was; nothing when it is new.
    pub before: Option<Value>,
    /// What it is; nothing when it is gone.
    pub after: Option<Value>,
}

/// What differs between two states of an entry; nothing is an entry that is not there.
#[must_use]
pub fn compare(before: Option<&Spec>, after: Option<&Spec>) -> Comparison {
    let contract = |spec: Option<&Spec>| spec?.as_version()?.contract.clone();
    let contract = match (contract(before), contract(after)) {
        (Some(old), Some(new)) if old != new => {
            let documents = old.openapi().zip(new.openapi());
            documents.map(|(old, new)| diff::diff(old, new))
        }
        _ => None,
    };
    Comparison { fields: differences(before, after), contract }
}

/// The fields that differ.
#[must_use]
pub fn differences(before: Option<&Spec>, after: Option<&Spec>) -> Vec<Difference> {
    let (before, after) = (before.map(shown), after.map(shown));
    between(before.as_ref(), after.as_ref())
}

/// What differs between two values; nothing is one that is not there.
#[must_use]
pub fn between(before: Option<&Value>, after: Option<&Value>) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(String::new(), before, after, &mut found);
    found
}

/// An entry as JSON in the form of the file, with digests in place of descriptions.
#[must_use]
pub fn shown(spec: &Spec) -> Value {
    let shown = match spec {
        Spec::Api(api) => serde_json::to_value(write::api_written(api)),
        Spec::Version(version) => {
            let described = version.contract.as_ref().map(|contract| (contract.kind(), contract));
            let bare = Version { contract: None, ..version.as_ref().clone() };
            let mut raw = write::version_written(&bare);
            match described {
                Some((Kind::OpenApi, contract)) => raw.openapi = Some(digest(contract)),
                Some((Kind::Proto, contract)) => raw.proto = Some(digest(contract)),
                None => {}
            }
            serde_json::to_value(raw)
        }
        Spec::Plan(plan) => serde_json::to_value(write::plan_written(plan)),
    };
    // Such types can always be written.
    shown.unwrap_or_default()
}

fn digest(contract: &Contract) -> String {
    format!("sha256:{} ({} bytes)", contract.digest(), contract.text().len())
}

fn walk(
    pointer: String,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut Vec<Difference>,
) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let gone = old.keys().filter(|key| !new.contains_key(*key));
            for key in gone.chain(new.keys()) {
                let below = format!("{pointer}/{}", escaped(key));
                walk(below, old.get(key), new.get(key), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                walk(format!("{pointer}/{index}"), old.get(index), new.get(index), found);
            }
        }
        (before, after) => {
            found.push(Difference { pointer, before: before.cloned(), after: after.cloned() });
        }
    }
}

/// A key within a JSON pointer (RFC 6901 §3).
#[must_use]
pub fn escaped(key: &str) -> String {
    if key.contains(['~', '/']) { key.replace('~', "~0").replace('/', "~1") } else { key.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(before: &Value, after: &Value, pointers: &[&str]) {
        let mut found = Vec::new();
        walk(String::new(), Some(before), Some(after), &mut found);
        let told: Vec<&str> = found.iter().map(|one| one.pointer.as_str()).collect();
        assert_eq!(told, pointers, "{before} {after}");
    }

    #[test]
    fn fields_that_differ_are_named() {
        check(&json!({ "a": 1 }), &json!({ "a": 1 }), &[]);
        check(&json!({ "a": 1, "b": 2 }), &json!({ "a": 3, "c": 2 }), &["/b", "/a", "/c"]);
        check(
            &json!({ "a": [1, { "b/~": 1 }] }),
            &json!({ "a": [1, { "b/~": 2 }, 3] }),
            &["/a/1/b~1~0", "/a/2"],
        );
        check(&json!({ "a": [1, 2] }), &json!({ "a": {} }), &["/a"]);
    }

    #[test]
    fn an_entry_that_is_not_there_differs_whole() {
        let plan = Spec::Plan(crate::state::Plan::default());
        let found = differences(None, Some(&plan));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].pointer.as_str(), &found[0].before), ("", &None));
        assert!(differences(Some(&plan), Some(&plan)).is_empty());
    }
}
