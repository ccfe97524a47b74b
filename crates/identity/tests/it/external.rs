//! Somebody else decides: what it is told, what it may add, and what is done without it.

use std::time::Duration;

use http::StatusCode;
use posthouse_identity::Refusal;
use serde_json::{Value, json};

use crate::issuer::Issuer;
use crate::world::{Seen, World, check, section};

fn settings(issuer: &Issuer) -> Value {
    json!({
        "url": issuer.url("/auth"),
        "timeout": "300ms",
        "request_headers": ["authorization", "x-tenant"],
        "response_headers": ["x-user", "x-group"],
        "subject": "x-user",
        "scopes": "x-scopes",
        "consumer": "x-consumer",
    })
}

#[tokio::test]
async fn it_is_told_what_was_chosen_and_adds_what_was_chosen() {
    let issuer = Issuer::start().await;
    let headers =
        [("x-user", "alice"), ("x-scopes", "a b"), ("x-consumer", "acme"), ("x-other", "no")];
    issuer.set_full("/auth", 200, &headers, "ignored", Duration::ZERO);
    let consumers = json!({"acme": {"plan": "gold"}});
    let world = World::start(&section("external", &settings(&issuer)), &consumers).await;
    let fields = [
        ("Authorization", "Bearer t"),
        ("X-Tenant", "1"),
        ("x-tenant", "2"),
        ("cookie", "secret"),
        ("x-forwarded-uri", "/harmless"),
        ("x-group", "admins"),
    ];
    let identity = world.fields(&fields).await.known();
    assert_eq!((&*identity.subject, identity.plan.as_deref()), ("alice", Some("gold")));
    assert_eq!(identity.scopes, ["a".into(), "b".into()]);
    assert_eq!(identity.claims.get("x-user"), Some(&json!("alice")));
    let fields: Vec<_> =
        identity.fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    // What it did not say is not what the client said.
    assert_eq!(fields, [("x-user", &b"alice"[..]), ("x-group", b"")]);
    let came = &issuer.came("/auth")[0].headers;
    assert_eq!(came["authorization"], "Bearer t");
    assert_eq!(came.get_all("x-tenant").iter().count(), 2);
    assert!(came.get("cookie").is_none() && came.get("x-group").is_none());
    for (name, value) in [
        ("method", "GET"),
        ("proto", "https"),
        ("host", "shop.example"),
        ("uri", "/users?id=1"),
        ("for", "10.1.2.3"),
    ] {
        let said: Vec<_> = came.get_all(format!("x-forwarded-{name}")).iter().collect();
        assert_eq!(said, [value], "{name}");
    }
}

#[tokio::test]
async fn its_no_goes_on_to_the_client() {
    let issuer = Issuer::start().await;
    let world = World::of("external", &settings(&issuer)).await;
    let headers =
        [("www-authenticate", "Bearer"), ("x-internal", "secret"), ("content-type", "text/plain")];
    for status in [401, 403] {
        issuer.set_full("/auth", status, &headers, "no", Duration::ZERO);
        let Seen::Refused(Refusal::Forbidden(Some(answer))) = world.fields(&[]).await else {
            panic!("it was refused in its own words");
        };
        assert_eq!(answer.status, StatusCode::from_u16(status).expect("a status"));
        assert_eq!(&*answer.body, b"no");
        let names: Vec<_> = answer.fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["www-authenticate", "content-type"]);
    }
}

#[tokio::test]
async fn what_is_neither_yes_nor_no_refuses_unless_it_is_said_otherwise() {
    let issuer = Issuer::start().await;
    for (on_error, passes) in [("refuse", false), ("allow", true)] {
        let mut settings = settings(&issuer);
        settings["on_error"] = on_error.into();
        let world = World::of("external", &settings).await;
        for status in [302, 404, 429, 500, 503] {
            issuer.set("/auth", status, &json!({}));
            let seen = world.fields(&[]).await;
            assert_eq!(seen.is_unavailable(), !passes, "{status} {seen:?}");
        }
        issuer.set_full("/auth", 200, &[], "", Duration::from_secs(60));
        assert_eq!(world.fields(&[]).await.is_unavailable(), !passes);
        let failed = r#"posthouse_identity_questions_total{provider="p",outcome="failed"} 6"#;
        assert!(world.metrics().contains(failed), "{}", world.metrics());
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (name, value) in [
        ("url", json!("http://auth.example/")),
        ("timeout", json!("0s")),
        ("request_headers", json!(["x-forwarded-for"])),
        ("request_headers", json!(["host"])),
        ("response_headers", json!(["content-length"])),
        ("response_headers", json!(["a b"])),
        ("subject", json!("")),
    ] {
        let mut settings = json!({"url": "https://auth.example/"});
        settings[name] = value;
        let said = check(&section("external", &settings)).expect_err(name).join("\n");
        assert!(said.contains(&format!("identity.providers.p.external.{name}")), "{said}");
    }
}
