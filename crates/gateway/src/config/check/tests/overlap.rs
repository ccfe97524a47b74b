//! Routes that hide each other.

use serde_json::{Value, json};

use super::expect;

/// Checks what is found in routes of these matches, which are called `r0`, `r1` …
#[track_caller]
fn check(matches: &[Value], expected: &[&str]) {
    let routes: Vec<Value> = matches
        .iter()
        .enumerate()
        .map(|(index, matching)| {
            json!({ "name": format!("r{index}"), "match": matching, "service": "a" })
        })
        .collect();
    expect(json!({ "routes": routes }), expected);
}

const SAME: &str = "error routes[1].match: `r1` and routes[0] `r0` mean the same calls \
                    [take one away, or add a condition to one of them]";
const HIDDEN: &str = "warning routes[1].match: `r1` can never be reached: routes[0] `r0` takes \
                      every call of it [see the order of precedence of routes]";

#[test]
fn two_that_mean_the_same_are_an_error() {
    let path = |path: &str| json!({ "path": path });
    check(&[json!({}), json!({})], &[SAME]);
    check(&[json!({}), path("/{*all}")], &[SAME]);
    check(&[path("/a/{id}"), path("/a/{name}")], &[SAME]);
    check(&[path("/a"), path("/%61")], &[SAME]);
    check(&[path("~ ^/a"), path("~^/a")], &[SAME]);
    check(
        &[json!({ "methods": ["GET", "POST"] }), json!({ "methods": ["POST", "HEAD", "GET"] })],
        &[SAME],
    );
    check(
        &[
            json!({ "host": "A.b", "headers": { "x": "1", "Y": "2" } }),
            json!({ "host": "a.b.", "headers": { "X": "1", "y": "2" } }),
        ],
        &[SAME],
    );
}

#[test]
fn one_that_another_hides_is_a_warning() {
    check(&[json!({ "methods": ["GET", "POST"] }), json!({ "methods": ["GET"] })], &[HIDDEN]);
    check(&[json!({ "headers": { "x": "*" } }), json!({ "headers": { "x": "1" } })], &[HIDDEN]);
    check(&[json!({ "query": { "q": "~ ^[0-9]$" } }), json!({ "query": { "q": "7" } })], &[HIDDEN]);
    check(&[json!({ "path": "/a/{*r}" }), json!({ "path": "~ ^/a/b\\.[0-9]+$" })], &[HIDDEN]);
    check(&[json!({ "query": { "q": "!1" } }), json!({ "query": { "q": "!" } })], &[HIDDEN]);
    check(&[json!({ "path": "/a/b/{*r}" }), json!({ "path": "~ ^/a/b/c" })], &[HIDDEN]);
}

#[test]
fn those_that_both_can_be_reached_are_fine() {
    let path = |path: &str| json!({ "path": path });
    check(&[json!({ "methods": ["GET"] }), json!({ "methods": ["GET", "POST"] })], &[]);
    check(&[json!({ "headers": { "x": "1" } }), json!({ "headers": { "x": "*" } })], &[]);
    check(&[json!({ "headers": { "x": "*" } }), json!({ "headers": { "x": "!" } })], &[]);
    check(&[json!({ "headers": { "x": "!~ ^[12]$" } }), json!({ "headers": { "x": "1" } })], &[]);
    check(&[json!({ "headers": { "x": "1" } }), json!({ "query": { "x": "1" } })], &[]);
    check(&[json!({}), json!({ "methods": ["GET"] })], &[]);
    check(&[json!({ "host": "*.b" }), json!({ "host": "a.b" })], &[]);
    check(&[path("/{*all}"), path("/{id}"), path("/a"), path("/a/"), path("~ ^/a")], &[]);
    check(
        &[path("/a/{*r}"), path("~ ^/ab?/"), path("~ ^/a|b"), path("~ /a/"), path("~ ^/[a]/")],
        &[],
    );
    check(&[json!({ "path": "/a/{*r}", "methods": ["GET"] }), path("~ ^/a/b")], &[]);
}

#[test]
fn ten_thousand_routes_on_one_path_are_told_apart() {
    let mut matches: Vec<Value> = (0..10_000)
        .map(|tenant| json!({ "path": "/", "headers": { "x-tenant": tenant.to_string() } }))
        .collect();
    check(&matches, &[]);
    matches.push(json!({ "path": "/", "headers": { "x-tenant": "7" } }));
    check(
        &matches,
        &["error routes[10000].match: `r10000` and routes[7] `r7` mean the same calls \
           [take one away, or add a condition to one of them]"],
    );
}
