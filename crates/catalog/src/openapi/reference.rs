//! References within a document. Nothing else is looked at: a reference to another file or host is a
//! mistake, whatever might be there.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::history::escaped;

/// The most references from one to the next.
const MAX_HOPS: usize = 32;

/// What stands at a pointer, once every reference on the way is followed, and where it really stands.
///
/// # Errors
/// What is wrong with the way.
pub(super) fn follow<'a>(root: &'a Value, pointer: &str) -> Result<(String, &'a Value), String> {
    let mut hops = 0;
    follow_counted(root, pointer, &mut hops)
}

fn follow_counted<'a>(
    root: &'a Value,
    pointer: &str,
    hops: &mut usize,
) -> Result<(String, &'a Value), String> {
    let mut at = String::new();
    let mut value = root;
    let mut tokens = pointer.split('/').skip(1).map(unescaped).collect::<Vec<_>>().into_iter();
    loop {
        if let Some(target) = value.get("$ref").and_then(Value::as_str) {
            *hops += 1;
            if *hops > MAX_HOPS {
                return Err(format!("more than {MAX_HOPS} references from one to the next"));
            }
            (at, value) = follow_counted(root, &local(target)?, hops)?;
        }
        let Some(token) = tokens.next() else { return Ok((at, value)) };
        let below = match value {
            Value::Object(map) => map.get(token.as_ref()),
            Value::Array(items) => token.parse().ok().and_then(|index: usize| items.get(index)),
            _ => None,
        };
        let Some(below) = below else { return Err(format!("there is no `{pointer}`")) };
        at.push('/');
        at.push_str(&escaped(&token));
        value = below;
    }
}

/// The pointer of a reference into the same document.
fn local(reference: &str) -> Result<String, String> {
    match reference.strip_prefix('#') {
        Some(pointer) if pointer.starts_with('/') => {
            let decoded = percent_decode_str(pointer).decode_utf8();
            decoded.map(Cow::into_owned).map_err(|_| format!("`{reference}` is not UTF-8"))
        }
        Some(_) => Err(format!("`{reference}` is no pointer: `#/components/…` is one")),
        None => Err(format!(
            "`{reference}` stands elsewhere, and nothing is fetched: put it into this document"
        )),
    }
}

fn unescaped(token: &str) -> Cow<'_, str> {
    if token.contains('~') {
        Cow::Owned(token.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(token)
    }
}

/// Where references stand that lead nowhere, and why; up to `most` of them. What is data and no part
/// of the description (examples, defaults, constants) is not looked at.
pub(super) fn broken(root: &Value, most: usize) -> Vec<(String, String)> {
    let mut found = Vec::new();
    // The places where keys are names of what is described rather than words of the description.
    let mut waiting = vec![(String::new(), root, false)];
    while let Some((pointer, value, are_names)) = waiting.pop() {
        if found.len() >= most {
            break;
        }
        match value {
            Value::Object(map) => {
                if !are_names && let Some(Value::String(target)) = map.get("$ref") {
                    let led = local(target).and_then(|at| follow(root, &at));
                    if let Err(message) = led {
                        found.push((format!("{pointer}/$ref"), message));
                    }
                }
                for word in ["$id", "$dynamicRef", "$recursiveRef"] {
                    if !are_names && map.get(word).is_some_and(Value::is_string) {
                        let message = format!("`{word}` is not read: use `$ref: '#/…'`");
                        found.push((format!("{pointer}/{word}"), message));
                    }
                }
                for (key, value) in map {
                    if !are_names && is_data(key) {
                        continue;
                    }
                    let below = format!("{pointer}/{}", escaped(key));
                    waiting.push((below, value, !are_names && holds_names(key)));
                }
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                waiting
                    .extend(items.map(|(index, item)| (format!("{pointer}/{index}"), item, false)));
            }
            _ => {}
        }
    }
    found.sort_unstable();
    found
}

fn is_data(key: &str) -> bool {
    key.starts_with("x-") || ["example", "examples", "default", "const", "enum"].contains(&key)
}

fn holds_names(key: &str) -> bool {
    [
        "properties",
        "patternProperties",
        "schemas",
        "responses",
        "parameters",
        "requestBodies",
        "headers",
        "callbacks",
        "pathItems",
        "paths",
        "webhooks",
        "$defs",
        "definitions",
        "dependentSchemas",
        "content",
        "links",
        "securitySchemes",
        "variables",
        "encoding",
        "mapping",
        "scopes",
    ]
    .contains(&key)
}
