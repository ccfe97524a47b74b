//! `guard`: what a route takes over from the file, what is a mistake, and where.

#![expect(
    clippy::needless_pass_by_value,
    reason = "configurations are written where they are used"
)]

use std::path::Path;

use serde_json::{Value, json};

use super::{checked, expect};
use crate::config::Config;

fn valid(written: Value) -> Config {
    let (config, report) = checked(written, Path::new("/nowhere"));
    assert!(!report.has_errors(), "{:?}", super::findings(&report));
    config
}

fn routes(default: Value, own: Value) -> Config {
    valid(json!({ "guard": default, "routes": [{ "service": "a", "guard": own }] }))
}

#[test]
fn a_route_takes_over_what_it_leaves_out() {
    let default =
        json!({ "identity": ["shop"], "roles": ["buyer"], "addresses": { "deny": ["10.1.1.1"] } });
    let config = routes(default.clone(), json!({ "roles": ["seller"] }));
    let guard = config.routes[0].guard.as_ref().expect("a guard");
    assert_eq!(guard.providers, ["shop".into()]);
    assert_eq!(guard.roles, ["seller".into()]);
    assert_eq!(guard.deny.len(), 1);
    let config = routes(default.clone(), json!({ "open": true }));
    let guard = config.routes[0].guard.as_ref().expect("a guard");
    assert!(!guard.demands(), "{guard:?}");
    let config = valid(json!({ "guard": default, "routes": [{ "service": "a" }] }));
    assert!(config.routes[0].guard.is_none() && config.guard.is_some(), "the file's own holds");
    let config = valid(json!({ "routes": [{ "service": "a" }] }));
    assert!(config.guard.is_none(), "nothing is guarded");
}

#[test]
fn where_asked_what_demands_nothing_is_closed() {
    for (own, closed) in [
        (json!({}), true),
        (json!({ "open": true }), false),
        (json!({ "identity": ["shop"] }), false),
        (json!({ "identity": ["shop"], "optional": true }), true),
        (json!({ "when": "true" }), false),
        (json!({ "addresses": { "allow": ["::1"] } }), false),
        (json!({ "addresses": { "deny": ["::1"] } }), true),
        (json!({ "deny": false }), false),
    ] {
        let config = routes(json!({ "deny": true }), own.clone());
        assert_eq!(config.routes[0].guard.as_ref().expect("a guard").denied, closed, "{own}");
    }
    let config = valid(json!({ "guard": { "deny": true }, "routes": [{ "service": "a" }] }));
    assert!(config.guard.expect("a guard").denied);
}

#[test]
fn mistakes_are_told_with_their_place() {
    let guard = |guard: Value| json!({ "routes": [{ "service": "a", "guard": guard }] });
    expect(
        guard(json!({ "scopes": ["read"] })),
        &[
            "error routes[0].guard: nobody is asked who they are, so nobody has scopes, roles or is a \
         consumer [name the providers that prove it: `identity: [NAME]`]",
        ],
    );
    expect(
        guard(json!({ "when": "identity.scope == 1" })),
        &[
            "error routes[0].guard.when: the expression cannot be used: line 1, column 9: `identity` has \
         no `scope`: known, provider, subject, consumer, plan, key, scopes, roles, claims",
        ],
    );
    expect(
        guard(json!({ "addresses": { "allow": ["10.0.0.0/99"] } })),
        &[
            "error routes[0].guard.addresses.allow[0]: `10.0.0.0/99` is neither an address nor a net \
         [write `10.0.0.0/8`, `2001:db8::/32` or a single address]",
        ],
    );
    expect(
        guard(json!({ "cors": { "origins": ["*"], "credentials": true } })),
        &[
            "error routes[0].guard.cors.credentials: credentials are not sent to every origin [name the \
         origins that may send them]",
        ],
    );
    expect(
        guard(json!({ "cors": { "origins": ["shop.example"] } })),
        &["error routes[0].guard.cors.origins[0]: `shop.example` is no origin [write \
         `https://shop.example`, with a port if it is not the scheme's, and no path]"],
    );
    expect(
        guard(json!({ "identity": ["a"], "open": true })),
        &["error routes[0].guard.identity: `identity` has no place beside `open: true`"],
    );
    expect(
        guard(json!({ "headers": { "frame": "ALLOW" } })),
        &["error routes[0].guard.headers.frame: `ALLOW` is not `DENY` or `SAMEORIGIN`"],
    );
    expect(
        guard(json!({ "forward": { "headers": { "x-user": "name", "cookie": "subject" } } })),
        &[
            "error routes[0].guard.forward.headers.cookie: `cookie` means something else already [choose \
         a name of its own, such as `x-user`]",
            "error routes[0].guard.forward.headers.x-user: nothing of a caller is called `name` \
         [`subject`, `provider`, `consumer`, `plan`, `scopes`, `roles` or `claims.NAME`]",
        ],
    );
    expect(
        json!({ "routes": [{ "service": "a", "api": "users" }] }),
        &[
            "error routes[0].api: `users` names no version of an API [write `NAME@VERSION`, such as \
         `users@v2`]",
        ],
    );
    expect(
        json!({ "guard": { "open": true } }),
        &["error guard.open: what nobody guards is open as it is"],
    );
}
