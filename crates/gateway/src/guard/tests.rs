//! Guards: rules, spellings of paths and headers, CORS and explanations.

#![expect(
    clippy::needless_pass_by_value,
    reason = "configurations are written where they are used"
)]

use std::sync::Arc;

use http::{HeaderName, Method};
use posthouse_base::config::Report;
use serde_json::{Value, json};

use super::explain::{Caller, explain};
use super::rules::{allows_address, missing};
use super::settings::{Cors, Forward, Told};
use super::telling::{Telling, tell};
use super::{Asked, Facts, Guard, Identity, Rule, cors, twin};
use crate::http::head::Fields;

fn guard(written: Value) -> Arc<Guard> {
    let route = json!({ "routes": [{ "service": "a", "guard": written }] });
    let raw = serde_json::from_value(route).expect("a configuration");
    let mut report = Report::new();
    let config = crate::config::check(raw, std::path::Path::new("/nowhere"), &mut report);
    assert!(!report.has_errors(), "{:?}", report.findings());
    Arc::clone(config.routes[0].guard.as_ref().expect("a guard"))
}

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in lines {
        fields.append(name.as_bytes(), value.as_bytes());
    }
    fields
}

fn ann() -> Identity {
    Identity {
        provider: "shop".into(),
        subject: "ann".into(),
        consumer: Some("acme".into()),
        scopes: vec!["read".into(), "write".into()],
        roles: vec!["buyer".into()],
        claims: json!({ "tenant": "t1", "teams": ["a", "b"], "deep": { "x": 1 } })
            .as_object()
            .expect("a map")
            .clone(),
        ..Identity::default()
    }
}

fn asked<'a>(method: &'a Method, fields: &'a Fields) -> Asked<'a> {
    Asked {
        method,
        scheme: "https",
        authority: b"Shop.Example.:8443",
        path_and_query: b"/orders/7?limit=10&q=a%20b",
        fields,
        client: "[::ffff:10.1.2.3]:99".parse().expect("an address"),
        certificate: None,
    }
}

#[track_caller]
fn check(written: Value, identity: Option<&Identity>, expected: Option<Rule>) {
    let fields = fields(&[("X-Tenant", "t1"), ("x-list", "a"), ("x-list", "b")]);
    let facts = Facts { asked: asked(&Method::GET, &fields), identity, time: 1000 };
    assert_eq!(missing(&guard(written.clone()), &facts), expected, "{written}");
}

#[test]
fn permissions_are_what_the_caller_has() {
    let known = ann();
    let ann = Some(&known);
    check(json!({ "identity": ["shop"], "scopes": ["read"] }), ann, None);
    check(json!({ "identity": ["shop"], "scopes": ["read", "admin"] }), ann, Some(Rule::Scopes));
    check(json!({ "identity": ["shop"], "scopes": ["Read"] }), ann, Some(Rule::Scopes));
    check(json!({ "identity": ["shop"], "roles": ["seller", "buyer"] }), ann, None);
    check(json!({ "identity": ["shop"], "roles": ["seller"] }), ann, Some(Rule::Roles));
    check(json!({ "identity": ["shop"], "consumers": ["acme"] }), ann, None);
    check(json!({ "identity": ["shop"], "consumers": ["other"] }), ann, Some(Rule::Consumers));
    for demand in ["scopes", "roles", "consumers"] {
        let nobody = json!({ "identity": ["shop"], "optional": true, demand: ["acme"] });
        let rule = match demand {
            "scopes" => Rule::Scopes,
            "roles" => Rule::Roles,
            _ => Rule::Consumers,
        };
        check(nobody, None, Some(rule));
    }
}

#[test]
fn conditions_see_the_call_and_the_caller() {
    let known = ann();
    for holds in [
        "identity.claims.tenant == request.headers['x-tenant']",
        "request.method == 'GET' && request.scheme == 'https' && request.host == 'shop.example'",
        "request.path == '/orders/7' && request.query.limit == '10' && request.query.q == 'a b'",
        "request.client == '10.1.2.3' && request.client.inNet('10.0.0.0/8')",
        "request.headers['x-list'] == 'a, b' && 'x-tenant' in request.headers",
        "request.time == 1000",
        "identity.known && identity.provider == 'shop' && identity.subject == 'ann'",
        "identity.consumer == 'acme' && identity.plan == null && 'buyer' in identity.roles",
        "identity.claims.teams.exists(t, t == 'b') && identity.claims.deep.x == 1",
    ] {
        check(json!({ "when": holds }), Some(&known), None);
    }
    for refused in [
        "identity.claims.none == 'x'",
        "request.headers['x-none'] == 'x'",
        "identity.subject",
        "request.headers.all(a, request.headers.all(b, request.headers.all(c, a + b + c != '')) && false)",
        "false",
    ] {
        check(json!({ "when": refused }), Some(&known), Some(Rule::When));
    }
    check(json!({ "when": "!identity.known && identity.subject == null" }), None, None);
}

#[test]
fn addresses_are_compared_by_what_they_are() {
    let lists = json!({ "addresses": { "allow": ["10.0.0.0/8", "::1"], "deny": ["10.9.0.0/16"] } });
    let guard = guard(lists);
    for (address, may) in [
        ("10.1.1.1", true),
        ("::ffff:10.1.1.1", true),
        ("::1", true),
        ("10.9.1.1", false),
        ("::ffff:10.9.1.1", false),
        ("11.1.1.1", false),
        ("::2", false),
    ] {
        assert_eq!(allows_address(&guard, address.parse().expect("address")), may, "{address}");
    }
}

#[test]
fn what_tells_of_the_caller_never_comes_from_outside() {
    let forward = json!({ "headers": { "X-User-Id": "subject" }, "jwt": { "header": "x-who", "audience": "a" } });
    let guard = guard(json!({ "identity": ["shop"], "forward": forward }));
    let telling = Telling::new([&*guard].into_iter(), &[HeaderName::from_static("x-group")]);
    let mut sent = fields(&[
        ("x-user-id", "1"),
        ("X-USER-ID", "2"),
        ("x_user_id", "3"),
        ("X-User_Id", "4"),
        ("x.user.id", "5"),
        ("x-who", "6"),
        ("X_Group", "7"),
        ("x-user-idx", "stays"),
        ("authorization", "stays"),
    ]);
    telling.strip(&mut sent);
    let left: Vec<_> = sent.iter().map(|(_, name, _)| name.to_vec()).collect();
    assert_eq!(left, [&b"x-user-idx"[..], b"authorization"]);
}

#[test]
fn a_service_is_told_what_is_configured_and_nothing_where_nobody_is_known() {
    let name = HeaderName::from_static;
    let forward = Forward {
        headers: vec![
            (name("x-user"), Told::Subject),
            (name("x-plan"), Told::Plan),
            (name("x-scopes"), Told::Scopes),
            (name("x-teams"), Told::Claim("teams".into())),
            (name("x-deep"), Told::Claim("deep".into())),
        ],
        jwt: Some((name("authorization"), "users".into())),
        remove: vec![name("x-api-key")],
    };
    let mut sent =
        fields(&[("authorization", "Bearer secret"), ("x-api-key", "k"), ("x-plan", "gold")]);
    tell(&forward, Some(&ann()), Some(b"minted"), &mut sent);
    let get = |fields: &Fields, name: &str| fields.get_named(name.as_bytes()).map(<[u8]>::to_vec);
    assert_eq!(get(&sent, "x-user").as_deref(), Some(&b"ann"[..]));
    assert_eq!(get(&sent, "x-scopes").as_deref(), Some(&b"read write"[..]));
    assert_eq!(get(&sent, "x-teams").as_deref(), Some(&b"a b"[..]));
    assert_eq!(get(&sent, "authorization").as_deref(), Some(&b"minted"[..]));
    for absent in ["x-plan", "x-deep", "x-api-key"] {
        assert_eq!(get(&sent, absent), None, "{absent}");
    }
    let mut nobodys = fields(&[("authorization", "Bearer secret"), ("x-user", "ann")]);
    tell(&forward, None, None, &mut nobodys);
    assert!(nobodys.is_empty());
}

#[test]
fn a_claim_cannot_add_a_line_of_its_own() {
    let forward = Forward {
        headers: vec![(HeaderName::from_static("x-user"), Told::Subject)],
        ..Forward::default()
    };
    let mut sent = Fields::new();
    let evil = Identity { subject: "ann\r\nx-admin: 1".into(), ..ann() };
    tell(&forward, Some(&evil), None, &mut sent);
    let mut written = Vec::new();
    sent.write_http1(&mut written);
    assert_eq!(written, b"x-user: ann  x-admin: 1\r\n");
}

#[test]
fn a_path_is_read_as_the_most_generous_of_services_would() {
    for (path, read) in [
        ("/api/Admin", "/api/admin"),
        ("/api%2Fadmin", "/api/admin"),
        ("/api%2fadmin", "/api/admin"),
        ("/api%5Cadmin", "/api/admin"),
        ("//api///admin", "/api/admin"),
        ("/api/admin/", "/api/admin"),
        ("/api;x=1/admin;y", "/api/admin"),
        ("/api%3Bx/admin", "/api/admin"),
        ("/%61pi/admin", "/api/admin"),
        ("/caf%c3%a9", "/caf%C3%A9"),
    ] {
        assert_eq!(twin::other_reading(path).as_deref(), Some(read.as_bytes()), "{path}");
    }
    for plain in ["/", "/api/admin", "/a-b/c_d.e~f", "/caf%C3%A9", "*"] {
        assert_eq!(twin::other_reading(plain), None, "{plain}");
    }
}

fn marked(cors: &Cors, request: &Fields) -> Vec<String> {
    let mut response = fields(&[
        ("Access-Control-Allow-Origin", "*"),
        ("access-control-allow-credentials", "true"),
    ]);
    cors.mark(request, &mut response);
    let line = |(_, name, value): (_, &[u8], &[u8])| {
        format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    };
    response.iter().map(line).collect()
}

#[test]
fn pages_of_other_origins_may_do_what_is_named() {
    let guard = guard(json!({ "cors": {
        "origins": ["https://Shop.example"], "methods": ["GET", "PUT"], "headers": ["x-a", "x-b"],
        "expose": ["x-c"], "credentials": true, "max_age": "1m",
    } }));
    let cors = guard.cors.as_ref().expect("cors");
    let page = |origin| fields(&[("origin", origin), ("access-control-request-method", "PUT")]);
    let mut response = Fields::new();
    cors.answer(&Method::PUT, &page("https://shop.example"), &mut response);
    let get = |fields: &Fields, name: &str| {
        fields.get_named(name.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned())
    };
    for (name, value) in [
        ("access-control-allow-origin", "https://shop.example"),
        ("access-control-allow-methods", "GET, PUT, HEAD"),
        ("access-control-allow-headers", "x-a, x-b"),
        ("access-control-allow-credentials", "true"),
        ("access-control-max-age", "60"),
        ("vary", "Origin"),
    ] {
        assert_eq!(get(&response, name).as_deref(), Some(value), "{name}");
    }
    for (origin, method) in [
        ("https://evil.example", Method::PUT),
        ("https://shop.example.evil.example", Method::PUT),
        ("http://shop.example", Method::PUT),
        ("null", Method::PUT),
        ("https://shop.example", Method::DELETE),
    ] {
        let mut response = Fields::new();
        cors.answer(&method, &page(origin), &mut response);
        assert_eq!(get(&response, "access-control-allow-origin"), None, "{origin} {method}");
    }
    let mut two = page("https://shop.example");
    two.append(b"origin", b"https://evil.example");
    assert_eq!(marked(cors, &two), ["vary: Origin"], "what the service said is taken out");
    assert_eq!(
        marked(cors, &page("https://shop.example")),
        [
            "vary: Origin",
            "access-control-allow-origin: https://shop.example",
            "access-control-allow-credentials: true",
            "access-control-expose-headers: x-c",
        ]
    );
}

#[test]
fn a_preflight_request_is_one_that_asks_for_a_method() {
    let asks = fields(&[("origin", "https://a"), ("access-control-request-method", "DELETE")]);
    assert_eq!(cors::preflight(&Method::OPTIONS, &asks), Some(Method::DELETE));
    assert_eq!(cors::preflight(&Method::GET, &asks), None);
    assert_eq!(cors::preflight(&Method::OPTIONS, &fields(&[("origin", "https://a")])), None);
    let no_origin = fields(&[("access-control-request-method", "GET")]);
    assert_eq!(cors::preflight(&Method::OPTIONS, &no_origin), None);
}

#[test]
fn an_explanation_tells_every_rule_and_the_one_that_decides() {
    let guard = guard(json!({
        "identity": ["shop"], "scopes": ["read"], "roles": ["seller"], "when": "identity.claims.none == 1",
        "addresses": { "allow": ["10.0.0.0/8"] },
    }));
    let (ann, none) = (Arc::new(ann()), Fields::new());
    let facts = Facts { asked: asked(&Method::GET, &none), identity: Some(&ann), time: 0 };
    let (rulings, decides) = explain(&guard, &Caller::Known(Arc::clone(&ann)), &facts);
    let told: Vec<_> =
        rulings.iter().map(|one| format!("{} {}: {}", one.rule, one.passes, one.why)).collect();
    assert_eq!(
        told,
        [
            "addresses true: ::ffff:10.1.2.3 may call",
            "identity true: `shop` knows the caller as `ann`, consumer `acme`",
            "scopes true: wants all of: read; the caller has: read, write",
            "roles false: wants one of: seller; the caller has: buyer",
            "when false: `identity.claims.none == 1` has no value: there is no `none`",
        ]
    );
    assert_eq!(decides, Some(3));
    let facts = Facts { identity: None, ..facts };
    let (rulings, decides) = explain(&guard, &Caller::Nobody, &facts);
    assert_eq!((rulings[1].passes, decides), (false, Some(1)));
}
