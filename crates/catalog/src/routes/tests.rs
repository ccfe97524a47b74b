//! What routes come of versions, and of which calls they take.

use serde_json::{Value, json};

use super::*;
use crate::config;
use crate::state::Limits;
use posthouse_base::config::Report;

const OPENAPI: &str = "
openapi: 3.1.0
info: { title: Users, version: '2' }
servers: [ { url: 'https://api.example/api/{v}/', variables: { v: { default: v2 } } } ]
paths:
  /users:
    get: {}
    post: {}
  /users/{user-id}:
    parameters: [ { name: user-id, in: path, required: true, schema: { type: string } } ]
    get: {}
  /files/{name}.{ext}:
    parameters:
      - { name: name, in: path, required: true, schema: { type: string } }
      - { name: ext, in: path, required: true, schema: { type: string } }
    get: {}
";

/// The entries of sections written in the form of the file.
fn specs(apis: Value) -> Specs {
    let plans = json!({ "gold": {
        "title": "Gold", "limits": [{ "by": "consumer", "quota": "9/day" }],
    } });
    let sections = [("apis".to_owned(), apis), ("plans".to_owned(), plans)];
    let raw = Value::Object(sections.into_iter().collect());
    let raw = serde_json::from_value(raw).expect("the form of the file");
    let mut report = Report::new();
    let specs = config::check(&raw, &Limits::default(), &mut report);
    assert!(!report.has_errors(), "{:?}", report.findings());
    specs
}

/// Routes of one API called `users`.
#[track_caller]
fn routes(api: Value) -> Vec<Value> {
    let apis = [("users".to_owned(), api)];
    let made = made(&specs(Value::Object(apis.into_iter().collect())));
    assert!(made.problems.is_empty(), "{:?}", made.problems);
    made.routes.into_iter().map(|made| made.route).collect()
}

fn by_name(routes: &[Value], name: &str) -> Value {
    let found = routes.iter().find(|route| route["name"] == name);
    let names: Vec<&Value> = routes.iter().map(|route| &route["name"]).collect();
    found.cloned().unwrap_or_else(|| panic!("no {name} in {names:?}"))
}

#[test]
fn an_openapi_document_makes_a_route_of_each_operation() {
    let made = made(&specs(json!({ "users": { "versions": { "v2": {
        "state": "published", "service": "users", "openapi": OPENAPI,
        "defaults": { "timeout": "5s" },
    } } } })));
    let told: Vec<(String, String)> = made
        .routes
        .iter()
        .map(|made| {
            let matching = &made.route["match"];
            (format!("{} {}", matching["methods"][0], matching["path"]), made.place.clone())
        })
        .collect();
    let at = |path: &str, method: &str| format!("/openapi#/paths/{path}/{method}");
    assert_eq!(
        told,
        [
            (r#""GET" "/api/v2/users""#.to_owned(), at("~1users", "get")),
            (r#""POST" "/api/v2/users""#.to_owned(), at("~1users", "post")),
            (r#""GET" "/api/v2/users/{p1}""#.to_owned(), at("~1users~1{user-id}", "get")),
            (
                r#""GET" "~ ^/api/v2/files/[^/]+\\.[^/]+$""#.to_owned(),
                at("~1files~1{name}.{ext}", "get")
            ),
        ]
    );
    for made in &made.routes {
        let route = &made.route;
        assert_eq!((&route["service"], &route["timeout"]), (&json!("users"), &json!("5s")));
        assert_eq!(route["api"], "users@v2");
    }
    assert_eq!(made.routes[2].route["name"], "users@v2 GET /users/{user-id}");
    assert_eq!(made.plans["gold"], json!({ "limits": [{ "by": "consumer", "quota": "9/day" }] }));
}

#[test]
fn written_routes_go_before_those_of_the_document() {
    let routes = routes(json!({ "versions": { "v2": {
        "state": "published", "service": "users", "openapi": OPENAPI, "select": { "path": "/two" },
        "routes": [
            { "match": { "path": "/users/{id}", "methods": ["GET"] }, "timeout": "1s" },
            { "name": "all users", "match": { "path": "/users" }, "service": "list" },
            { "match": { "path": "~ ^/x[0-9]" }, "redirect": { "path": "/y" } },
        ],
    } } }));
    let names: Vec<&str> = routes.iter().filter_map(|route| route["name"].as_str()).collect();
    assert_eq!(
        names,
        [
            "users@v2 GET /users/{id}",
            "users@v2 all users",
            "users@v2 ~ ^/x[0-9]",
            "users@v2 GET /files/{name}.{ext}",
        ]
    );
    assert_eq!(routes[0]["match"]["path"], "/two/users/{id}");
    assert_eq!(routes[1]["service"], "list");
    assert_eq!(routes[2]["match"]["path"], "~ ^/two/x[0-9]");
    assert_eq!(routes[2].get("service"), None);
}

#[test]
fn a_proto_file_makes_a_route_of_each_method() {
    let proto = "syntax = \"proto3\"; package shop; service Users { rpc Get(A) returns (A); \
                 rpc Watch(A) returns (stream A); } message A {}";
    let routes = routes(json!({ "versions": { "v1": {
        "state": "published", "service": "users", "proto": proto,
    } } }));
    assert_eq!(routes.len(), 2);
    let matching = json!({ "path": "/shop.Users/Watch", "methods": ["POST"] });
    assert_eq!(routes[1]["match"], matching);
}

#[test]
fn drafts_have_no_routes() {
    assert!(
        routes(json!({ "versions": { "v2": { "service": "a", "openapi": OPENAPI } } })).is_empty()
    );
}

#[test]
fn guards_are_the_nearest_and_limits_all() {
    let routes = routes(json!({
        "guard": { "identity": ["keys"], "scopes": ["a"] },
        "limits": [{ "by": "all", "rate": "1/s" }],
        "versions": { "v1": {
            "state": "published", "service": "users", "openapi": OPENAPI, "validate": true,
            "guard": { "scopes": ["b"], "roles": ["c"] },
            "limits": [{ "by": "consumer", "rate": "2/s" }, { "name": "own", "by": "key", "rate": "1/s" }],
            "routes": [{
                "match": { "path": "/x" },
                "guard": { "roles": ["d"], "validate": false },
                "limits": [{ "by": "route", "rate": "3/s" }],
            }],
        } },
    }));
    assert_eq!(
        routes[0]["guard"],
        json!({
            "identity": ["keys"], "scopes": ["b"], "roles": ["d"], "validate": false,
        })
    );
    assert_eq!(
        routes[0]["limits"],
        json!([
            { "by": "all", "rate": "1/s", "name": "users-1" },
            { "by": "consumer", "rate": "2/s", "name": "users.v1-1" },
            { "name": "own", "by": "key", "rate": "1/s" },
            { "by": "route", "rate": "3/s" },
        ])
    );
    let guard = json!({ "identity": ["keys"], "scopes": ["b"], "roles": ["c"], "validate": true });
    assert_eq!(routes[1]["guard"], guard);
    assert_eq!(routes[1]["limits"].as_array().map(Vec::len), Some(3));
}

#[test]
fn what_versions_are_told_by_becomes_conditions() {
    let version = |state: &str, select: Value| {
        json!({ "state": state, "service": "users", "select": select,
                "routes": [{ "match": { "path": "/x" } }] })
    };
    let routes = routes(json!({
        "host": "api.example", "path": "/users", "default": "v2",
        "versions": {
            "v1": version("published", json!({ "header": { "X-Version": "1.0" } })),
            "v2": version("published", json!({ "header": { "X-Version": "2" } })),
            "v3": version("draft", json!({ "header": { "X-Version": "3" } })),
            "v4": version("published", json!({ "host": "new.example" })),
            "v5": version("published", json!({ "media_type": "application/vnd.a+json" })),
            "v6": version("published", json!({ "path": "/six" })),
        },
    }));
    let matching =
        |version: &str| by_name(&routes, &format!("users@{version} /x"))["match"].clone();
    let own =
        json!({ "path": "/users/x", "host": "api.example", "headers": { "x-version": "1.0" } });
    assert_eq!(matching("v1"), own);
    assert_eq!(matching("v2")["headers"], json!({ "x-version": "!~ ^(?:1\\.0)$" }));
    assert_eq!(matching("v4"), json!({ "path": "/users/x", "host": "new.example" }));
    let accept = "~ (?i-u)(?:^|,)[ \\t]*application/vnd\\.a\\+json[ \\t]*(?:;|,|$)";
    assert_eq!(matching("v5")["headers"], json!({ "accept": accept }));
    assert_eq!(matching("v6"), json!({ "path": "/six/x", "host": "api.example" }));
    assert_eq!(routes.len(), 5, "the draft has none");
}

#[test]
fn accepts_finds_the_media_type_and_no_other() {
    let regex = regex::bytes::Regex::new(&accepts("application/vnd.a+json")).expect("a regex");
    for (value, is) in [
        ("application/vnd.a+json", true),
        ("text/html, APPLICATION/vnd.a+JSON;q=0.5", true),
        ("application/vnd.a+json , */*", true),
        ("application/vnd.ab+json", false),
        ("application/vnd.a+jsonx", false),
        ("x-application/vnd.a+json", false),
        ("application/vndxa+json", false),
    ] {
        assert_eq!(regex.is_match(value.as_bytes()), is, "{value}");
    }
}

#[test]
fn the_path_is_stripped_where_it_is_asked() {
    let routes = routes(json!({ "versions": { "v1": {
        "state": "published", "service": "users", "select": { "path": "/api/v1" }, "strip": true,
        "routes": [
            { "match": { "path": "/a" } },
            { "match": { "path": "/b" }, "rewrite": { "path": "/c" } },
            { "match": { "path": "/d" }, "respond": { "status": 204 } },
            {},
        ],
    } } }));
    assert_eq!(routes[0]["rewrite"], json!({ "strip_prefix": "/api/v1" }));
    assert_eq!(routes[1]["rewrite"], json!({ "path": "/c" }));
    assert_eq!(routes[2].get("rewrite"), None);
    assert_eq!(routes[3]["match"], json!({ "path": "/api/v1/{*rest}" }));
}

#[test]
fn a_deprecated_version_says_so() {
    let routes = routes(json!({ "host": "api.example", "versions": {
        "v1": {
            "state": "deprecated", "service": "users", "select": { "path": "/api/v1" },
            "ending": {
                "deprecated": "2026-10-01", "sunset": "2027-03-01T12:00:00Z", "successor": "v2",
                "documentation": "https://docs.example/v1",
            },
            "routes": [{ "match": { "path": "/a" }, "response_headers": { "set": { "x": "1" } } }],
        },
        "v2": {
            "state": "published", "service": "users", "select": { "path": "/api/v2" },
            "routes": [{ "match": { "path": "/a" } }],
        },
    } }));
    assert_eq!(
        routes[0]["response_headers"],
        json!({
            "set": {
                "x": "1",
                "deprecation": "@1790812800",
                "sunset": "Mon, 01 Mar 2027 12:00:00 GMT",
            },
            "add": {
                "link": "<//api.example/api/v2>; rel=\"successor-version\", \
                         <https://docs.example/v1>; rel=\"deprecation\"; type=\"text/html\", \
                         <https://docs.example/v1>; rel=\"sunset\"; type=\"text/html\"",
            },
        })
    );
    assert_eq!(routes[1].get("response_headers"), None);
}

#[test]
fn a_retired_version_names_the_one_that_lives() {
    let retired = |path: &str, successor: &str| {
        json!({ "state": "retired", "select": { "path": path },
                "ending": { "deprecated": "2026-10-01", "successor": successor } })
    };
    let routes = routes(json!({ "versions": {
        "v1": retired("/api/v1", "v2"),
        "v2": retired("/api/v2", "v3"),
        "v3": { "state": "published", "service": "users", "select": { "path": "/api/v3" },
                "routes": [{}] },
    } }));
    let route = by_name(&routes, "users@v1 retired #1");
    assert_eq!(route["match"], json!({ "path": "/api/v1/{*rest}" }));
    assert_eq!(route["respond"]["status"], 410);
    assert_eq!(route["respond"]["content_type"], "application/problem+json");
    assert_eq!(route["response_headers"]["add"]["link"], "</api/v3>; rel=\"successor-version\"");
    let body = route["respond"]["body"].as_str().expect("a body");
    let problem: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(problem["type"], "urn:posthouse:problem:version-retired");
    assert_eq!(problem["status"], 410);
    assert_eq!(problem["successor"], "users@v3");
    assert_eq!(problem["successor_address"], "/api/v3");
    let detail = "version v1 of users is retired: use version v3, at /api/v3";
    assert_eq!(problem["detail"], detail);
    assert_eq!(route["api"], "users@v1");
}

#[test]
fn a_version_told_by_a_header_is_gone_where_it_was() {
    let routes = routes(json!({ "path": "/users", "versions": {
        "v1": {
            "state": "retired", "select": { "header": { "x-version": "1" } },
            "ending": { "deprecated": "2026-10-01" }, "openapi": OPENAPI,
            "routes": [{ "match": { "path": "/old", "methods": ["GET"] } }],
        },
    } }));
    let paths: Vec<&Value> = routes.iter().map(|route| &route["match"]["path"]).collect();
    assert_eq!(
        paths,
        ["/users/old", "/users/users", "/users/users/{p1}", "~ ^/users/files/[^/]+\\.[^/]+$",]
    );
    for route in &routes {
        assert_eq!(route["match"]["headers"], json!({ "x-version": "1" }));
        assert_eq!(route["match"].get("methods"), None);
        let detail = "and nothing takes its place";
        assert!(route["respond"]["body"].as_str().expect("a body").contains(detail));
    }
}

#[test]
fn what_makes_no_routes_is_told_and_the_rest_stands() {
    let raw = json!({ "users": {
        "versions": {
            "v1": { "state": "published", "select": { "path": "/v1" }, "routes": [{}] },
            "v2": { "state": "published", "service": "a", "select": { "path": "/v2" },
                    "routes": [{}, { "match": { "path": "~ x" } }] },
            "v3": { "state": "published", "service": "a", "select": { "path": "/v3" },
                    "routes": [{ "match": [] }] },
            "v4": { "state": "published", "service": "a", "select": { "path": "/v4" },
                    "routes": [{ "limits": 1 }] },
            "v5": { "state": "published", "service": "a", "select": { "path": "/v5" },
                    "routes": [{ "match": { "path": "a" } }] },
            "v6": { "state": "published", "service": "a", "select": { "path": "/v6" },
                    "routes": [{}] },
        },
    } });
    let made = made(&specs(raw));
    assert_eq!(made.routes.len(), 1);
    let problems: Vec<String> =
        made.problems.iter().map(|(key, why)| format!("{key}: {why}")).collect();
    for (index, part) in [
        "which service answers",
        "must begin with `^/`",
        "`match` of a route is no mapping",
        "`limits` of a route is no list",
        "does not begin with `/`",
    ]
    .iter()
    .enumerate()
    {
        assert!(problems[index].contains(part), "{}", problems[index]);
    }
}

#[test]
fn a_long_name_still_names_its_limits() {
    let limits = [json!({ "by": "all", "rate": "1/s" }), json!(3)];
    let long = named(&limits, &format!("{}@v1", "x".repeat(63)));
    let name = long[0]["name"].as_str().expect("a name");
    assert!(name.starts_with("api-") && name.len() < 64, "{name}");
    assert_eq!(long[1], 3, "what is no limit, the gateway says");
}
