//! Mistakes are found all at once, each where it stands.

use serde_json::{Value, json};

use super::expect;

#[test]
fn one_file_with_many_mistakes() {
    expect(many_mistakes(), MANY_MISTAKES);
}

fn many_mistakes() -> Value {
    json!({
        "listeners": [
            { "address": "127.0.0.1:8080" },
            { "address": "0.0.0.0:8080" },
            { "address": ":8081" },
            { "address": "shop.example:8082", "service": "users", "names": true },
        ],
        "services": {
            "users": {
                "instances": [
                    { "address": "http://127.0.0.1:5001" },
                    { "address": "127.0.0.1:0" },
                    { "address": "10.0.0.1:80" },
                    { "address": "10.0.0.1:80", "weight": 70000 },
                ],
                "health": { "http": "healthz", "tcp": true },
                "timeouts": { "connect": "0s" },
                "tls": {},
            },
            "bad name": { "hash": {} },
        },
        "routes": [
            { "match": { "path": "api/{id}", "methods": ["get"] }, "service": "user" },
            { "match": { "path": "/a/{*rest}/b", "host": "shop.example:80" }, "service": "users",
              "respond": {} },
            { "match": { "path": "~ [a", "headers": { "x y": "1" } } },
            { "match": { "path": "/c/{id}" }, "service": "users",
              "rewrite": { "path": "/d/{ids}", "headers": { "set": { "Host": "x" } } } },
            { "match": { "path": "/e" }, "redirect": { "status": 200, "path": "/f" } },
        ],
        "gateway": {
            "threads": 0,
            "trusted_proxies": ["10.0.0.0/33"],
            "limits": { "fields": 1000, "head": "2MiB" },
        },
    })
}

const MANY_MISTAKES: &[&str] = &[
    "error gateway.limits.fields: 1000 is not between 8 and 256",
    "error gateway.limits.head: 2MiB is not between 1KiB and 1MiB",
    "error gateway.threads: 0 is not between 1 and 256",
    "error gateway.trusted_proxies[0]: `10.0.0.0/33` is no network \
             [write `10.0.0.0/8` or a single address]",
    "error listeners[1].address: 0.0.0.0:8080 cannot be bound beside listeners[0]",
    "error listeners[2].address: `:8081` is no address to listen on \
             [write `127.0.0.1:8080`; port 0 takes a free one]",
    "error listeners[3].address: a listener needs an IP address, not the name \
             `shop.example` [`127.0.0.1:8082` for this machine, `0.0.0.0:8082` for everybody]",
    "error listeners[3].names: a listener with a `service` forwards connections, and sees \
             no names [take away `names` or `service`]",
    "error listeners[3].service: service `users` takes calls, not whole connections \
             [give it `protocol: tcp`, or take `service` away from the listener]",
    "error routes[0].match.methods[0]: methods are written in capitals, not `get` \
             [did you mean `GET`?]",
    "error routes[0].match.path: `api/{id}` does not begin with `/` \
             [did you mean `/api/{id}`?]",
    "error routes[1].match.host: `shop.example:80` is no host \
             [write `shop.example`: a route holds for every port]",
    "error routes[1].match.path: `{*rest}` is the rest, so nothing can follow it",
    "error routes[1]: the route does several things at once: service, respond \
             [keep one of them, and make another route for the other]",
    "error routes[2].match.headers.x y: `x y` is no name of a header",
    "error routes[2].match.path: `[a` is no regular expression: unclosed character class",
    "error routes[2]: the route does not say what is done with its calls \
             [give it `service`, `split`, `redirect` or `respond`]",
    "error routes[3].rewrite.headers.set.Host: `Host` is not changed here \
             [write `rewrite: { host: … }`]",
    "error routes[3].rewrite.path: `{ids}` is not caught by the match [did you mean `id`?]",
    "error routes[4].redirect.status: 200 is no redirect: 301, 302, 303, 307 or 308",
    "error services.bad name.hash: nothing to hash \
             [give `header`, `cookie` or `client_address: true`]",
    "error services.bad name: `bad name` is no name of a service \
             [names are letters, digits, `-`, `_` and `.`, at most 128 of them]",
    "error services.users.health: exactly one of `http`, `tcp` and `grpc` is wanted \
             [for example `{ http: /healthz }` or `{ tcp: true }`]",
    "error services.users.instances[0].address: `http://127.0.0.1:5001` is no address \
             [write it without the scheme; `protocol` says how it is spoken to]",
    "error services.users.instances[1].address: an instance has no port 0",
    "error services.users.instances[3].address: instances[2] has the same address",
    "error services.users.instances[3].weight: 70000 is not between 0 and 65535",
    "error services.users.timeouts.connect: this time must be above 0",
    "error services.users.tls: this protocol speaks without TLS [write `protocol: https`]",
    "warning routes[0].service: service `user` is not in the file \
             [did you mean `users`? Otherwise it is awaited from the registry]",
    "warning services.bad name.hash: `hash` has no effect without `balance: hash` \
             [add `balance: hash`]",
];

/// Checks what is found in one route's match.
#[track_caller]
fn expect_match(matching: &Value, expected: &[&str]) {
    expect(json!({ "routes": [{ "match": matching, "service": "a" }] }), expected);
}

#[test]
fn paths_that_no_call_can_have() {
    for segment in ["..", "%2e", "%zz", "%00", "a b", "a\\b"] {
        expect_match(
            &json!({ "path": format!("/x/{segment}") }),
            &[&format!(
                "error routes[0].match.path: no call can have the segment `{segment}` [spaces and \
                 the like are written `%20`; `.`, `..`, `\\` and broken escapes are refused before \
                 routing]"
            )],
        );
    }
    expect_match(
        &json!({ "path": "/x?y=1" }),
        &["error routes[0].match.path: `x?y=1` goes beyond the path [conditions on the query go \
           under `query`]"],
    );
}

#[test]
fn parameters_that_are_not_well_made() {
    expect_match(
        &json!({ "path": "/x/{a}.html" }),
        &["error routes[0].match.path: `{a}.html` is partly a parameter [a parameter is a whole \
           segment: `/{name}/`; for less, use `~ ` and a regular expression]"],
    );
    expect_match(
        &json!({ "path": "/{}" }),
        &["error routes[0].match.path: `{}` has no proper name [names are letters, digits and \
           `_`, like `{id}` or `{*rest}`]"],
    );
    expect_match(
        &json!({ "path": "/{a}/{a}" }),
        &["error routes[0].match.path: `a` is caught twice"],
    );
    expect_match(
        &json!({ "path": "/api/*" }),
        &["warning routes[0].match.path: `*` is taken as it stands [write `{name}` for any \
           segment, `{*name}` for the rest]"],
    );
    let long = "/x".repeat(65);
    expect_match(
        &json!({ "path": long }),
        &["error routes[0].match.path: 65 segments are more than 64"],
    );
}

#[test]
fn hosts_that_are_none() {
    expect_match(
        &json!({ "host": "*" }),
        &["error routes[0].match.host: `*` is every host [leave out `host`]"],
    );
    for host in ["", "a..b", "*.*.b", "a/b", "käse.example", "*.[::1]"] {
        expect_match(
            &json!({ "host": host }),
            &[&format!(
                "error routes[0].match.host: `{host}` is no host [write `shop.example`, or \
                 `*.shop.example` for every name below it; other letters than a to z in their \
                 ASCII form (`xn--…`)]"
            )],
        );
    }
    expect_match(&json!({ "host": "[::1]" }), &[]);
}

#[test]
fn rewrites_that_cannot_work() {
    let route = |rewrite| {
        json!({ "routes": [{
            "match": { "path": "/api/{id}" }, "service": "a", "rewrite": rewrite,
        }] })
    };
    expect(
        route(json!({ "strip_prefix": "/apis" })),
        &["warning routes[0].rewrite.strip_prefix: no path of this route begins with `/apis`"],
    );
    expect(
        route(json!({ "strip_prefix": "/api", "path": "/x" })),
        &["error routes[0].rewrite.strip_prefix: `strip_prefix` has no effect beside `path` \
           [take one of them away]"],
    );
    expect(
        route(json!({ "path": "/x/../{id}" })),
        &["error routes[0].rewrite.path: this makes no proper path [visible ASCII without `?`, \
           `#`, dot segments and broken escapes; the query of the call is kept]"],
    );
    expect(
        route(
            json!({ "host": "http://x", "headers": { "remove": ["Connection", "content-length"] } }),
        ),
        &[
            "error routes[0].rewrite.host: `http://x` is no host [write `HOST` or `HOST:PORT`, \
             without a scheme]",
            "error routes[0].rewrite.headers.remove[0]: `connection` belongs to the connection and \
             is not to be changed",
            "error routes[0].rewrite.headers.remove[1]: `content-length` belongs to the connection \
             and is not to be changed",
        ],
    );
    expect(route(json!({ "strip_prefix": "/api/7/" })), &[]);
}

#[test]
fn numbers_that_are_out_of_bounds() {
    expect(
        json!({
            "services": { "a": {
                "ejection": { "base": "2m", "max": "1m", "max_percent": 101 },
                "circuit": { "connections": 0, "pending": 0, "failure_percent": 0 },
            } },
            "routes": [{
                "service": "a",
                "retries": {
                    "attempts": 21, "statuses": [200], "grpc_statuses": [17], "per_try": "0s",
                    "buffer": "1GiB", "backoff": "1s", "max_backoff": "10ms",
                },
            }],
        }),
        &[
            "error routes[0].retries.attempts: 21 is not between 0 and 20",
            "error routes[0].retries.buffer: 1GiB is not between 0B and 16MiB",
            "error routes[0].retries.grpc_statuses[0]: 17 is not between 1 and 16",
            "error routes[0].retries.max_backoff: the longest pause is shorter than the first",
            "error routes[0].retries.per_try: this time must be above 0",
            "error routes[0].retries.statuses[0]: 200 is not a status code between 400 and 599",
            "error services.a.circuit.connections: 0 is not between 1 and 4294967295",
            "error services.a.circuit.failure_percent: 0 is not between 1 and 100",
            "error services.a.ejection.max: the longest time out is shorter than the first",
            "error services.a.ejection.max_percent: 101 is not between 0 and 100",
        ],
    );
}

#[test]
fn splits_and_responses_that_cannot_be_meant() {
    expect(
        json!({
            "services": { "db": { "protocol": "tcp" } },
            "routes": [
                { "match": { "path": "/a" }, "split": [
                    { "service": "x", "weight": 0 }, { "service": "x", "weight": 0 },
                ] },
                { "match": { "path": "/b" }, "respond": { "status": 204, "body": "x" },
                  "rewrite": { "host": "x" } },
                { "match": { "path": "/c" }, "redirect": {} },
                { "match": { "path": "/d" }, "service": "db" },
                { "match": { "path": "/e" }, "service": "a b", "name": "one" },
                { "match": { "path": "/f" }, "service": "a", "name": "one" },
            ],
        }),
        &[
            "error routes[0].split: the weights are all 0, so no service takes calls",
            "error routes[0].split[1].service: `x` shares twice",
            "error routes[1].respond.body: a response with status 204 No Content has no body",
            "warning routes[1].rewrite: nothing is forwarded that could be rewritten",
            "error routes[2].redirect: the redirect leads back to where it came from \
             [give `scheme`, `host` or `path`]",
            "error routes[3].service: service `db` has protocol `tcp` and takes no calls \
             [name it as the `service` of a listener of its own]",
            "error routes[4].service: `a b` is no name of a service \
             [names are letters, digits, `-`, `_` and `.`, at most 128 of them]",
            "error routes[5].name: another route is called `one` too",
        ],
    );
}
