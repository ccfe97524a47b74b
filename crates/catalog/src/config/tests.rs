//! What the sections may say: tables of mistakes, and that what is exported is read back.

use posthouse_base::config::Report;
use serde_json::{Value, json};

use super::raw::Raw;
use super::{check, written};
use crate::state::{Limits, Specs};

fn checked(apis: Value, plans: Value) -> (Specs, Vec<String>) {
    let sections = [("apis".to_owned(), apis), ("plans".to_owned(), plans)];
    let sections = Value::Object(sections.into_iter().collect());
    let raw: Raw = serde_json::from_value(sections).expect("a form");
    let mut report = Report::new();
    let specs = check(&raw, &Limits::default(), &mut report);
    let found = report.findings().iter();
    (specs, found.map(|finding| format!("{}: {}", finding.path, finding.message)).collect())
}

/// One API with one version, which has this beside what it needs.
#[track_caller]
fn mistake(version: Value, expected: &str) {
    let mut whole = json!({ "state": "published", "service": "a", "routes": [{}] });
    let Value::Object(fields) = version else { panic!("{version} is no mapping") };
    for (key, value) in fields {
        whole[key] = value;
    }
    let (_, found) = checked(json!({ "users": { "versions": { "v1": whole } } }), json!({}));
    assert!(found.iter().any(|found| found.contains(expected)), "{expected}: {found:?}");
}

#[test]
fn mistakes_of_versions_are_told_with_their_places() {
    let at = "apis.users.versions.v1";
    for (version, place, message) in [
        (json!({ "select": { "path": "v1" } }), "select.path", "`v1` cannot begin a path"),
        (json!({ "select": { "path": "/v1/" } }), "select.path", "cannot begin a path"),
        (json!({ "select": { "path": "/{v}" } }), "select.path", "cannot begin a path"),
        (json!({ "select": { "path": "/a/../b" } }), "select.path", "cannot begin a path"),
        (json!({ "select": { "path": "/a", "host": "b" } }), "select", "one way only"),
        (json!({ "select": { "header": {} } }), "select.header", "name one header"),
        (json!({ "select": { "header": { "a b": "1" } } }), "select.header.a b", "no name of"),
        (json!({ "select": { "header": { "a": "~1" } } }), "select.header.a", "no one value"),
        (json!({ "select": { "header": { "a": "" } } }), "select.header.a", "no one value"),
        (json!({ "select": { "media_type": "json" } }), "select.media_type", "no media type"),
        (json!({ "select": { "media_type": "a/b;c" } }), "select.media_type", "no media type"),
        (json!({ "select": { "host": "a:80" } }), "select.host", "no host"),
        (json!({ "validate": true }), "validate", "no OpenAPI document"),
        (json!({ "openapi": "a: 1" }), "openapi", "`openapi` is missing"),
        (json!({ "openapi": "a: [" }), "openapi", "line 2, column 1"),
        (json!({ "proto": "x" }), "proto", "line 1, column 1"),
        (json!({ "openapi": "a", "proto": "x" }), "proto", "one description"),
        (json!({ "defaults": { "match": {} } }), "defaults.match", "each route's own"),
        (json!({ "state": "deprecated" }), "", "since when the version is deprecated"),
        (json!({ "ending": { "deprecated": "2026-01-01" } }), "ending", "comes to an end"),
        (json!({ "routes": [] }), "", "no routes"),
    ] {
        let place = if place.is_empty() { at.to_owned() } else { format!("{at}.{place}") };
        mistake(version.clone(), &format!("{place}: "));
        mistake(version, message);
    }
}

#[test]
fn mistakes_of_endings_are_told_with_their_places() {
    for (ending, message) in [
        (json!({ "deprecated": "soon" }), "ending.deprecated: `soon` is no date"),
        (
            json!({ "deprecated": "2026-01-02", "sunset": "2026-01-01" }),
            "ending.sunset: the version `users@v1`: it lies before the deprecation",
        ),
        (
            json!({ "deprecated": "2026-01-02", "successor": "v9" }),
            "ending.successor: the version `users@v1`: there is no version `v9`",
        ),
        (
            json!({ "deprecated": "2026-01-02", "successor": "!" }),
            "ending.successor: `!` is no name",
        ),
        (
            json!({ "deprecated": "2026-01-02", "documentation": "x> y" }),
            "ending.documentation: `x> y` is no address",
        ),
    ] {
        mistake(json!({ "state": "deprecated", "ending": ending }), message);
    }
}

#[test]
fn mistakes_of_apis_are_told_with_their_places() {
    let limits: Vec<Value> = (0..40).map(|_| json!({})).collect();
    for (api, message) in [
        (json!({ "host": "a b" }), "apis.users.host: `a b` is no host"),
        (json!({ "path": "x" }), "apis.users.path: `x` cannot begin a path"),
        (json!({ "default": "v1" }), "apis.users.default: the API `users`: there is no version"),
        (json!({ "limits": limits }), "apis.users.limits: 40 limits are more than 32"),
        (json!({ "versions": { "": {} } }), "apis.users.versions.: `` is no name"),
    ] {
        let (_, found) = checked(json!({ "users": api }), json!({}));
        assert!(found.iter().any(|found| found.starts_with(message)), "{message}: {found:?}");
    }
    let (_, found) = checked(json!({ "-": {} }), json!({ "a b": {} }));
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let (_, found) = checked(
        json!({
            "a": { "host": "!", "versions": { "v1": { "select": { "path": "x" } } } },
            "b": { "path": "y" },
        }),
        json!({ "!": {} }),
    );
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn what_is_exported_is_read_back() {
    let openapi = "openapi: 3.0.3\ninfo: { title: t, version: '1' }\npaths: { /a: { get: {} } }\n";
    let proto = "syntax = \"proto3\"; service A { rpc B(C) returns (C); }";
    let apis = json!({
        "users": {
            "title": "Users", "description": "d", "owner": "o", "host": "h", "path": "/p",
            "default": "v2", "guard": { "scopes": ["a"] }, "limits": [{ "by": "all", "rate": "1/s" }],
            "versions": {
                "v1": {
                    "state": "deprecated", "description": "d", "owner": "o", "service": "s",
                    "ending": { "deprecated": "2026-10-01", "sunset": "2027-01-01T10:00:00Z",
                                "successor": "v2", "documentation": "https://d.example" },
                    "select": { "path": "/v1" }, "strip": true, "openapi": openapi, "validate": true,
                    "routes": [{ "match": { "path": "/x" } }], "defaults": { "timeout": "1s" },
                    "guard": { "roles": ["b"] }, "limits": [{ "by": "key", "rate": "1/s" }],
                },
                "v2": { "state": "published", "select": { "header": { "x": "2" } }, "service": "s",
                        "proto": proto },
                "v3": { "state": "draft", "select": { "media_type": "a/b" } },
                "v4": { "state": "retired", "select": { "host": "x" },
                        "ending": { "deprecated": "2026-10-01" } },
            },
        },
    });
    let plans = json!({ "gold": { "title": "t", "description": "d", "limits": [{}] }, "none": {} });
    let (specs, found) = checked(apis.clone(), plans.clone());
    assert!(found.is_empty(), "{found:?}");
    let exported = serde_json::to_value(written(&specs)).expect("JSON");
    assert_eq!(exported, json!({ "apis": apis, "plans": plans }));
    let again: Raw = serde_json::from_value(exported).expect("the form of the file");
    assert_eq!(check(&again, &Limits::default(), &mut Report::new()), specs);
}
