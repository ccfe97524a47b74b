//! A table of changes to one document, each with the rules that find it.

use serde_json::{Value, json};

use super::diff;
use crate::openapi::read;

fn base() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": { "title": "t", "version": "1" },
        "servers": [{ "url": "/api" }],
        "security": [{ "oauth": ["read"] }],
        "paths": {
            "/things": {
                "get": {
                    "operationId": "list",
                    "parameters": [
                        { "name": "limit", "in": "query", "schema": { "type": "integer", "minimum": 1, "maximum": 100 } },
                        { "name": "X-Tenant", "in": "header", "required": true, "schema": { "type": "string" } },
                    ],
                    "responses": {
                        "200": {
                            "description": "",
                            "headers": { "X-Total": { "schema": { "type": "integer" } } },
                            "content": { "application/json": { "schema": {
                                "type": "array", "items": { "$ref": "#/components/schemas/Thing" },
                            } } },
                        },
                        "404": { "description": "" },
                    },
                },
                "post": {
                    "requestBody": { "content": {
                        "application/json": { "schema": { "$ref": "#/components/schemas/New" } },
                        "text/csv": {},
                    } },
                    "responses": { "201": { "description": "" } },
                },
            },
            "/things/{id}": {
                "parameters": [{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }],
                "get": { "responses": { "200": { "description": "" } } },
            },
        },
        "components": { "schemas": {
            "Thing": {
                "type": "object", "required": ["id"],
                "properties": {
                    "id": { "type": "string" },
                    "state": { "type": "string", "enum": ["on", "off"] },
                    "size": { "type": ["integer", "null"] },
                },
            },
            "New": {
                "type": "object", "required": ["name"],
                "properties": {
                    "name": { "type": "string", "maxLength": 10 },
                    "state": { "type": "string", "enum": ["on", "off"] },
                    "size": { "type": "integer" },
                    "shape": { "oneOf": [{ "title": "round" }, { "title": "square" }] },
                    "inner": { "allOf": [{ "type": "object" }, { "properties": { "a": {} } }] },
                },
            },
        } },
    })
}

/// Sets the value at a pointer, or takes it away.
fn edited(pointer: &str, value: Option<Value>) -> Value {
    let mut written = base();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let key = key.replace("~1", "/");
    match written.pointer_mut(parent).expect("a parent") {
        Value::Object(map) => match value {
            Some(value) => drop(map.insert(key, value)),
            None => drop(map.remove(&key).expect("it is there")),
        },
        Value::Array(items) => match (value, key.parse::<usize>()) {
            (Some(value), Ok(at)) if at < items.len() => items[at] = value,
            (Some(value), _) => items.push(value),
            (None, at) => drop(items.remove(at.expect("an index"))),
        },
        _ => panic!("{parent} holds nothing"),
    }
    written
}

/// Rules that find the change, `!` before those that break.
fn rules(old: &Value, new: &Value) -> Vec<String> {
    let read = |value: &Value| read(&value.to_string()).unwrap_or_else(|why| panic!("{why}"));
    let changes = diff(&read(old), &read(new));
    changes
        .iter()
        .map(|change| format!("{}{}", if change.breaking { "!" } else { "" }, change.rule))
        .collect()
}

/// What is found when the value at the pointer becomes this one, and when it becomes again what it
/// was.
#[track_caller]
fn check(pointer: &str, value: Option<Value>, there: &[&str], back: &[&str]) {
    let (old, new) = (base(), edited(pointer, value));
    assert_eq!(rules(&old, &new), there, "{pointer}");
    assert_eq!(rules(&new, &old), back, "{pointer}, back");
}

#[test]
fn a_document_does_not_differ_from_itself() {
    assert!(rules(&base(), &base()).is_empty());
    let mut reworded = base();
    reworded["info"] = json!({ "title": "other", "version": "2" });
    reworded["components"]["schemas"]["Thing"]["description"] = json!("words");
    assert!(rules(&base(), &reworded).is_empty());
}

#[test]
fn paths_and_operations() {
    check("/paths/~1things~1{id}", None, &["!path-removed"], &["path-added"]);
    check("/paths/~1things/post", None, &["!operation-removed"], &["operation-added"]);
    check(
        "/servers/0/url",
        Some(json!("/v2")),
        &["!server-path-changed"],
        &["!server-path-changed"],
    );
    check("/paths/~1things/get/deprecated", Some(json!(true)), &["operation-deprecated"], &[]);
    let id = &["operation-id-changed"];
    check("/paths/~1things/get/operationId", Some(json!("other")), id, id);
    // Parameters of a path may be called otherwise.
    let mut renamed = base();
    let item = json!({
        "parameters": [{ "name": "key", "in": "path", "required": true, "schema": { "type": "string" } }],
        "get": { "responses": { "200": { "description": "" } } },
    });
    let paths = renamed["paths"].as_object_mut().expect("paths");
    paths.remove("/things/{id}");
    paths.insert("/things/{key}".into(), item);
    assert!(rules(&base(), &renamed).is_empty());
}

#[test]
fn parameters() {
    let at = "/paths/~1things/get/parameters";
    check(&format!("{at}/0"), None, &["!parameter-removed"], &["parameter-added-optional"]);
    check(&format!("{at}/1"), None, &["!parameter-removed"], &["!parameter-added-required"]);
    let limit = format!("{at}/0");
    let required = json!({ "name": "limit", "in": "query", "required": true, "schema": { "type": "integer", "minimum": 1, "maximum": 100 } });
    check(&limit, Some(required), &["!parameter-became-required"], &["parameter-became-optional"]);
    let style = json!({ "name": "limit", "in": "query", "style": "pipeDelimited", "explode": false, "schema": { "type": "integer", "minimum": 1, "maximum": 100 } });
    check(&limit, Some(style), &["!parameter-style-changed"], &["!parameter-style-changed"]);
    let schema = format!("{limit}/schema");
    check(
        &format!("{schema}/maximum"),
        Some(json!(50)),
        &["!request-bound-narrowed"],
        &["request-bound-widened"],
    );
    check(
        &format!("{schema}/minimum"),
        Some(json!(0)),
        &["request-bound-widened"],
        &["!request-bound-narrowed"],
    );
    check(
        &format!("{schema}/minimum"),
        None,
        &["request-bound-widened"],
        &["!request-bound-narrowed"],
    );
    check(
        &format!("{schema}/type"),
        Some(json!("number")),
        &["request-type-widened"],
        &["!request-type-narrowed"],
    );
    check(
        &format!("{schema}/type"),
        Some(json!("string")),
        &["!request-type-changed"],
        &["!request-type-changed"],
    );
    check(
        &format!("{schema}/multipleOf"),
        Some(json!(5)),
        &["!request-bound-narrowed"],
        &["request-bound-widened"],
    );
    check(
        &format!("{schema}/enum"),
        Some(json!([1])),
        &["!request-enum-narrowed"],
        &["request-enum-widened"],
    );
    // A header is the same however it is written.
    let header = json!({ "name": "x-tenant", "in": "header", "required": true, "schema": { "type": "string" } });
    check(&format!("{at}/1"), Some(header), &[], &[]);
}

#[test]
fn request_bodies() {
    let at = "/paths/~1things/post/requestBody";
    check(at, None, &["!request-body-removed"], &["request-body-added-optional"]);
    check(
        &format!("{at}/required"),
        Some(json!(true)),
        &["!request-body-became-required"],
        &["request-body-became-optional"],
    );
    check(
        &format!("{at}/content/text~1csv"),
        None,
        &["!request-media-type-removed"],
        &["request-media-type-added"],
    );
    let mut with = base();
    with["paths"]["/things/{id}"]["get"]["requestBody"] =
        json!({ "required": true, "content": {} });
    assert_eq!(rules(&base(), &with), ["!request-body-added-required"]);
}

#[test]
fn fields_that_clients_send() {
    let at = "/components/schemas/New";
    check(
        &format!("{at}/properties/size"),
        None,
        &["!request-field-removed"],
        &["request-field-added-optional"],
    );
    check(
        &format!("{at}/required/1"),
        Some(json!("size")),
        &["!request-field-became-required"],
        &["request-field-became-optional"],
    );
    check(
        &format!("{at}/required/1"),
        Some(json!("other")),
        &["!request-field-became-required"],
        &[],
    );
    check(
        &format!("{at}/properties/name"),
        None,
        &["!request-field-removed"],
        &["!request-field-added-required"],
    );
    check(
        &format!("{at}/properties/state/enum/1"),
        None,
        &["!request-enum-narrowed"],
        &["request-enum-widened"],
    );
    check(
        &format!("{at}/properties/name/maxLength"),
        Some(json!(5)),
        &["!request-bound-narrowed"],
        &["request-bound-widened"],
    );
    check(
        &format!("{at}/properties/name/pattern"),
        Some(json!("^a")),
        &["!request-bound-narrowed"],
        &["request-bound-widened"],
    );
    check(
        &format!("{at}/additionalProperties"),
        Some(json!(false)),
        &["!request-other-fields-forbidden"],
        &["request-other-fields-allowed"],
    );
    check(
        &format!("{at}/properties/shape/oneOf/1"),
        None,
        &["!request-variant-removed"],
        &["request-variant-added"],
    );
    check(
        &format!("{at}/properties/shape/oneOf"),
        None,
        &["request-variant-removed"],
        &["!request-variants-added"],
    );
    check(
        &format!("{at}/properties/inner/allOf/1/properties/a/type"),
        Some(json!("string")),
        &["!request-type-narrowed"],
        &["request-type-widened"],
    );
}

#[test]
fn fields_that_clients_are_answered() {
    let at = "/components/schemas/Thing";
    check(
        &format!("{at}/properties/size"),
        None,
        &["!response-field-removed"],
        &["response-field-added"],
    );
    check(
        &format!("{at}/required/0"),
        None,
        &["!response-field-became-optional"],
        &["response-field-became-required"],
    );
    check(
        &format!("{at}/properties/state/enum/2"),
        Some(json!("idle")),
        &["!response-enum-widened"],
        &["response-enum-narrowed"],
    );
    check(
        &format!("{at}/properties/size/type"),
        Some(json!("integer")),
        &["response-type-narrowed"],
        &["!response-type-widened"],
    );
    check(
        &format!("{at}/properties/id/format"),
        Some(json!("uuid")),
        &["response-bound-narrowed"],
        &["!response-bound-widened"],
    );
    check(
        &format!("{at}/properties/new"),
        Some(json!({})),
        &["response-field-added"],
        &["!response-field-removed"],
    );
}

#[test]
fn responses() {
    let at = "/paths/~1things/get/responses";
    check(&format!("{at}/404"), None, &["!response-removed"], &["response-added"]);
    check(&format!("{at}/200/headers/X-Total"), None, &["!response-header-removed"], &[]);
    check(
        &format!("{at}/200/content/application~1json"),
        None,
        &["!response-media-type-removed"],
        &["response-media-type-added"],
    );
}

#[test]
fn security() {
    let (removed, added) = (&["security-removed"; 3], &["!security-added"; 3]);
    check("/security", None, removed, added);
    check("/security/0/oauth/1", Some(json!("write")), &["!security-scope-added"; 3], &[]);
    check(
        "/security/1",
        Some(json!({ "key": [] })),
        &["security-alternative-added"; 3],
        &["!security-alternative-removed"; 3],
    );
    check("/security/1", Some(json!({})), removed, &["!security-alternative-removed"; 3]);
    let own = "/paths/~1things/post/security";
    check(own, Some(json!([])), &["security-removed"], &["!security-added"]);
}

#[test]
fn the_old_words_of_3_0_mean_the_same() {
    let mut new = base();
    new["openapi"] = json!("3.0.3");
    new["components"]["schemas"]["Thing"]["properties"]["size"] =
        json!({ "type": "integer", "nullable": true });
    assert!(rules(&base(), &new).is_empty());
}

#[test]
fn each_change_says_where_and_what() {
    let read = |value: &Value| read(&value.to_string()).expect("a document");
    let new = edited("/components/schemas/New/properties/name/maxLength", Some(json!(5)));
    let changes = diff(&read(&base()), &read(&new));
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].operation, "POST /things");
    assert_eq!(changes[0].pointer, "/components/schemas/New/properties/name");
    assert_eq!(
        changes[0].to_string(),
        "breaking [request-bound-narrowed] POST /things: the `maxLength` of the field `name` of \
         the request body was 10 and is 5"
    );
}

/// Schemas that refer to themselves, and those that would be compared in more ways than there is time
/// for.
#[test]
fn recursion_has_an_end() {
    let recursive = |kind: &str| {
        let mut written = base();
        let next = json!({ "$ref": "#/components/schemas/Thing" });
        written["components"]["schemas"]["Thing"]["properties"]["left"] = next.clone();
        written["components"]["schemas"]["Thing"]["properties"]["right"] = next;
        written["components"]["schemas"]["Thing"]["properties"]["id"]["type"] = json!(kind);
        written
    };
    assert_eq!(rules(&recursive("string"), &recursive("integer")), ["!response-type-changed"]);
}
