//! Trees to documents: what is read of them, and every mistake with its place.

use serde_json::{Value, json};

use super::{SHOP, document};
use crate::openapi::document::{In, Style};
use crate::openapi::{Validator, read};

#[test]
fn a_document_says_what_its_operations_take() {
    let shop = document(SHOP);
    assert_eq!((shop.title.as_str(), shop.base.as_str()), ("Shop for pets", "/api"));
    let told: Vec<String> = shop
        .operations
        .iter()
        .map(|operation| format!("{} {}", operation.method, operation.path))
        .collect();
    assert_eq!(
        told,
        [
            "GET /animals",
            "POST /animals",
            "GET /animals/{id}",
            "PUT /animals/{id}",
            "GET /animals/oldest",
            "GET /photos/{name}.{kind}",
        ]
    );
    let list = &shop.operations[0];
    assert_eq!(list.id.as_deref(), Some("listAnimals"));
    assert_eq!(list.parameters[0].pointer, "/components/parameters/Limit");
    let kind = &list.parameters[1];
    assert_eq!((kind.place, kind.style, kind.explode), (In::Query, Style::Form, false));
    assert_eq!(list.responses["default"], "/components/responses/Problem");
    let put = &shop.operations[3];
    assert_eq!(put.parameters[0].name, "id", "that of its path");
    assert!(!put.body.as_ref().expect("a body").required);
    assert_eq!(shop.operations[1].body.as_ref().expect("a body").content.len(), 3);
}

#[test]
fn the_base_is_the_path_of_the_first_server() {
    for (servers, base) in [
        (json!([]), ""),
        (json!([{ "url": "/" }]), ""),
        (json!([{ "url": "/v1/" }]), "/v1"),
        (json!([{ "url": "https://a.example" }]), ""),
        (json!([{ "url": "https://a.example/x/y?z" }, { "url": "/b" }]), "/x/y"),
        (json!([{ "url": "//a.example/x" }]), "/x"),
        (json!([{ "url": "relative/x" }]), ""),
        (
            json!([{ "url": "https://{h}/{b}", "variables": { "h": { "default": "a" }, "b": { "default": "c" } } }]),
            "/c",
        ),
    ] {
        let written = json!({
            "openapi": "3.1.0", "info": { "title": "t", "version": "1" }, "paths": {}, "servers": servers,
        });
        assert_eq!(document(&written.to_string()).base, base, "{servers}");
    }
}

/// A whole document with this path item under `/a/{id}`.
fn with(item: &Value) -> String {
    format!(
        "openapi: 3.1.0\ninfo: {{ title: t, version: '1' }}\npaths:\n  /a/{{id}}:\n    {}\n",
        // After the key, in flow form on one line.
        item
    )
}

#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    let unreadable = read(text).expect_err(text);
    let told: Vec<String> = unreadable.mistakes().iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.contains(expected), "{expected}: {told:#?}");
    }
}

#[test]
fn what_is_no_document_is_refused() {
    refused("[]", &["is a mapping"]);
    refused("a: 1", &["`openapi` is missing"]);
    refused("swagger: '2.0'", &["line 1, column 1: /swagger: Swagger 2.0 is not read"]);
    refused("openapi: 3.1", &["/openapi: the version is text"]);
    refused("openapi: 3.10.0", &["`3.10.0` is not read"]);
    refused("openapi: 4.0.0", &["`4.0.0` is not read"]);
    refused("openapi: 3.0.0", &["`info` is missing", "`paths` is missing"]);
    let head = "openapi: 3.0.0\ninfo:\n  title: 1\n  version: 1\n";
    refused(
        &format!("{head}paths: {{}}"),
        &[
            "line 3, column 3: /info/title: `title` is no text",
            "line 4, column 3: /info/version: `version` is no text",
        ],
    );
    refused(&" ".repeat(5 << 20), &["are the most"]);
}

#[test]
fn mistakes_of_operations_are_told_with_their_places() {
    let id = json!({ "name": "id", "in": "path", "required": true, "schema": {} });
    let with_id = |mut item: Value| {
        item["parameters"] = json!([id]);
        with(&item)
    };
    refused(
        &with(&json!({ "get": {} })),
        &["line 5, column 6: /paths/~1a~1{id}/get: the path's parameter `id` is not"],
    );
    refused(&with_id(json!({ "get": 3 })), &["/get: a mapping is wanted"]);
    for (parameter, message) in [
        (json!({ "in": "query" }), "/0: a parameter has a `name`"),
        (json!({ "name": "x", "in": "body" }), "/0/in: a parameter is `in` one of"),
        (json!({ "name": "x", "in": "path", "required": true }), "has no parameter `x`"),
        (
            json!({ "name": "x", "in": "query", "style": "matrix" }),
            "/0/style: `matrix` is no style",
        ),
        (
            json!({ "name": "x", "in": "query", "required": "yes" }),
            "/0/required: `required` is true",
        ),
        (json!({ "$ref": "#/components/parameters/X" }), "/0/$ref: there is no"),
        (json!({ "$ref": "other.yaml#/X" }), "/0/$ref: `other.yaml#/X` stands elsewhere"),
        (json!({ "$ref": "http://a.example/x" }), "stands elsewhere, and nothing is fetched"),
        (json!({ "$ref": "#X" }), "is no pointer"),
    ] {
        refused(&with_id(json!({ "get": { "parameters": [parameter] } })), &[message]);
    }
    let twice = json!([{ "name": "x", "in": "query" }, { "name": "x", "in": "query" }]);
    refused(&with_id(json!({ "get": { "parameters": twice } })), &["`x` is described twice"]);
    for (body, message) in [
        (json!(1), "a mapping is wanted"),
        (json!({}), "a request body has `content`"),
        (json!({ "content": { "json": {} } }), "`json` is no media type"),
    ] {
        refused(&with_id(json!({ "post": { "requestBody": body } })), &[message]);
    }
    let responses = json!({ "20": { "description": "" }, "2XX": {}, "default": {} });
    refused(&with_id(json!({ "get": { "responses": responses } })), &["`20` is no status"]);
    let same = json!({ "get": { "operationId": "a" }, "put": { "operationId": "a" } });
    refused(&with_id(same), &["another operation is called `a` too"]);
}

#[test]
fn mistakes_of_paths_are_told() {
    for (path, message) in [
        ("a", "does not begin with `/`"),
        ("/a b", "a character that no path has"),
        ("/a?b", "a character that no path has"),
        ("/{a", "without its `}`"),
        ("/a}", "without its `{`"),
        ("/{}", "none of a parameter"),
        ("/{a}{b}", "cannot be told"),
        ("/{a}/{a}", "the parameter `a` twice"),
    ] {
        let written = json!({
            "openapi": "3.1.0", "info": { "title": "t", "version": "1" }, "paths": { path: {} },
        });
        refused(&written.to_string(), &[message]);
    }
    let same = json!({
        "openapi": "3.1.0", "info": { "title": "t", "version": "1" },
        "paths": { "/a/{x}": {}, "/a/{y}": {} },
    });
    refused(&same.to_string(), &["the same paths as `/a/{x}`"]);
}

#[test]
fn references_lead_somewhere_in_few_steps() {
    let circle = "openapi: 3.1.0\ninfo: { title: t, version: '1' }\npaths: {}\ncomponents:\n  parameters:\n    A: { $ref: '#/components/parameters/B' }\n    B: { $ref: '#/components/parameters/A' }\n";
    refused(circle, &["more than 32 references", "more than 32 references"]);
    let data = "openapi: 3.1.0\ninfo: { title: t, version: '1' }\npaths: {}\ncomponents:\n  schemas:\n    A: { example: { $ref: nowhere }, properties: { $ref: { type: string }, default: { type: string } } }\n";
    document(data);
    let id = data.replace("example: { $ref: nowhere }", "$id: 'https://a.example'");
    refused(&id, &["`$id` is not read"]);
}

#[test]
fn schemas_that_are_none_are_told_where_they_stand() {
    let compile = |schema: &str| {
        let text = SHOP.replace("{ type: string, minLength: 1 }", schema);
        Validator::compile(&document(&text)).map(|_| ())
    };
    compile("{ type: string }").expect("a schema");
    let why = compile("{ type: text }").expect_err("no schema").to_string();
    assert!(why.starts_with("/components/schemas/Animal/properties/name/type: "), "{why}");
    let why = compile("{ type: string, pattern: '(' }").expect_err("no schema").to_string();
    assert!(why.contains("pattern") || why.contains("regex"), "{why}");
    // What would have to backtrack, and what would be too large.
    assert!(compile("{ type: string, pattern: '(?=a)b' }").is_err());
    assert!(compile("{ type: string, pattern: '((a{1,900}){1,900}){1,900}' }").is_err());
}

#[test]
fn schemas_within_schemas_have_an_end() {
    let schemas = |count: usize, schema: fn(usize) -> Value| {
        let schemas: serde_json::Map<String, Value> =
            (0..count).map(|at| (format!("S{at}"), schema(at))).collect();
        let written = json!({
            "openapi": "3.1.0", "info": { "title": "t", "version": "1" },
            "paths": { "/a": { "post": { "requestBody": { "content": { "application/json": {
                "schema": { "$ref": "#/components/schemas/S0" },
            } } } } } },
            "components": { "schemas": schemas },
        });
        Validator::compile(&document(&written.to_string()))
            .map(|_| ())
            .map_err(|why| why.to_string())
    };
    // Round and round, always below another field.
    schemas(1, |_| json!({ "properties": { "a": { "$ref": "#/components/schemas/S0" } } }))
        .expect("a tree");
    // The same value compared without end, or more often than anybody waits for.
    let why = schemas(1, |_| json!({ "allOf": [{ "$ref": "#/components/schemas/S0" }] }))
        .expect_err("no end");
    assert!(why.contains("itself"), "{why}");
    let why = schemas(40, |at| {
        let next = json!({ "$ref": format!("#/components/schemas/S{}", (at + 1).min(39)) });
        if at < 39 { json!({ "allOf": [next, next] }) } else { json!({}) }
    })
    .expect_err("too often");
    assert!(why.contains("more than"), "{why}");
}

/// Documents of the size that large teams have.
#[test]
fn large_documents_are_read_and_compiled() {
    let mut paths = serde_json::Map::new();
    let mut schemas = serde_json::Map::new();
    for at in 0..400 {
        let next = format!("#/components/schemas/T{}", (at + 1) % 400);
        let fields: serde_json::Map<String, Value> = (0..20)
            .map(|field| (format!("f{field}"), json!({ "type": "string", "maxLength": field + 1 })))
            .collect();
        let mut schema = json!({ "type": "object", "required": ["f0"], "properties": fields });
        if at % 8 != 7 {
            schema["properties"]["next"] = json!({ "$ref": next });
        }
        schemas.insert(format!("T{at}"), schema);
        let body = json!({ "required": true, "content": { "application/json": {
            "schema": { "$ref": format!("#/components/schemas/T{at}") },
        } } });
        let id = json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "integer" } });
        paths.insert(format!("/things{at}"), json!({ "get": {}, "post": { "requestBody": body } }));
        paths.insert(
            format!("/things{at}/{{id}}"),
            json!({ "parameters": [id], "get": {}, "put": { "requestBody": body }, "delete": {} }),
        );
    }
    let written = json!({
        "openapi": "3.1.0", "info": { "title": "t", "version": "1" }, "paths": paths,
        "components": { "schemas": schemas },
    });
    let text = serde_json::to_string_pretty(&written).expect("JSON");
    let large = document(&text);
    assert_eq!(large.operations.len(), 2000);
    Validator::compile(&large).unwrap_or_else(|why| panic!("{why}"));
}
