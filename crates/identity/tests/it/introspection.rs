//! Opaque tokens: asked about once, remembered, and refused while nobody can be asked.

use std::time::Duration;

use serde_json::{Value, json};

use crate::issuer::Issuer;
use crate::world::{World, check, now, section};

fn settings(issuer: &Issuer) -> Value {
    json!({"url": issuer.url("/introspect"), "client_id": "gate:way", "client_secret": "s%cret", "timeout": "300ms"})
}

fn active() -> Value {
    json!({"active": true, "sub": "alice", "scope": "a b", "exp": now() + 300, "client_id": "acme"})
}

#[tokio::test]
async fn an_active_token_is_asked_about_once_in_the_form_of_the_rfc() {
    let issuer = Issuer::start().await;
    issuer.set("/introspect", 200, &active());
    let mut settings = settings(&issuer);
    settings["consumer"] = "client_id".into();
    let consumers = json!({"acme": {"plan": "gold"}});
    let world = World::start(&section("introspection", &settings), &consumers).await;
    for _ in 0..3 {
        let identity = world.bearer("t0ken+/=").await.known();
        assert_eq!((&*identity.subject, identity.plan.as_deref()), ("alice", Some("gold")));
        assert_eq!(identity.scopes, ["a".into(), "b".into()]);
    }
    let came = issuer.came("/introspect");
    assert_eq!(came.len(), 1);
    assert_eq!(came[0].body, "token=t0ken%2B%2F%3D&token_type_hint=access_token");
    // `gate%3Away:s%25cret`
    assert_eq!(came[0].headers["authorization"], "Basic Z2F0ZSUzQXdheTpzJTI1Y3JldA==");
    assert_eq!(came[0].headers["content-type"], "application/x-www-form-urlencoded");
}

#[tokio::test]
async fn what_is_not_active_or_not_for_us_is_refused_and_remembered_for_less_long() {
    let issuer = Issuer::start().await;
    let mut settings = settings(&issuer);
    settings["audience"] = json!(["shop"]);
    settings["cache_inactive"] = "1h".into();
    let world = World::of("introspection", &settings).await;
    let mut other = active();
    other["aud"] = "other".into();
    let mut old = active();
    old["exp"] = json!(now() - 31);
    let mut nameless = active();
    nameless["sub"] = Value::Null;
    nameless["client_id"] = "acme".into();
    for (token, answer) in [
        ("a", json!({"active": false})),
        ("b", other),
        ("c", old),
        ("d", active()),
        ("e", nameless),
    ] {
        issuer.set("/introspect", 200, &answer);
        for _ in 0..2 {
            assert!(world.bearer(token).await.is_invalid(), "{answer}");
        }
    }
    assert_eq!(issuer.asked("/introspect"), 5);
}

#[tokio::test]
async fn a_client_that_acts_for_itself_is_its_own_subject() {
    let issuer = Issuer::start().await;
    issuer.set("/introspect", 200, &json!({"active": true, "client_id": "acme"}));
    let world = World::of("introspection", &settings(&issuer)).await;
    assert_eq!(&*world.bearer("t").await.known().subject, "acme");
}

#[tokio::test]
async fn many_calls_with_one_token_are_one_question() {
    let issuer = Issuer::start().await;
    let answer = active().to_string();
    issuer.set_full("/introspect", 200, &[], answer, Duration::from_millis(100));
    let world = World::of("introspection", &settings(&issuer)).await;
    let (a, b, c) = tokio::join!(world.bearer("t"), world.bearer("t"), world.bearer("t"));
    for seen in [a, b, c] {
        seen.known();
    }
    assert_eq!(issuer.asked("/introspect"), 1);
}

#[tokio::test]
async fn an_issuer_that_fails_refuses_unless_it_is_said_otherwise() {
    for (status, answer) in [
        (200, "{}".to_owned()),
        (200, r#"{"active":"true","sub":"a"}"#.to_owned()),
        (200, r#"{"active":true,"active":false,"sub":"a"}"#.to_owned()),
        (200, r#"[{"active":true}]"#.to_owned()),
        (200, format!(r#"{{"active":true,"sub":"{}"}}"#, "a".repeat(70_000))),
        (401, active().to_string()),
        (500, active().to_string()),
        (302, active().to_string()),
    ] {
        let issuer = Issuer::start().await;
        issuer.set_full("/introspect", status, &[], answer.clone(), Duration::ZERO);
        let world = World::of("introspection", &settings(&issuer)).await;
        assert!(world.bearer("t").await.is_unavailable(), "{status} {:.80}", answer);
        // It is left alone for a moment, and nobody waits.
        assert!(world.bearer("u").await.is_unavailable());
        assert_eq!(issuer.asked("/introspect"), 1, "{status}");
    }
    let issuer = Issuer::start().await;
    let late = Duration::from_secs(60);
    issuer.set_full("/introspect", 200, &[], active().to_string(), late);
    let mut settings = settings(&issuer);
    settings["on_error"] = "allow".into();
    let world = World::of("introspection", &settings).await;
    let identity = world.bearer("t").await.known();
    assert!(
        identity.subject.is_empty() && identity.scopes.is_empty() && identity.consumer.is_none()
    );
    let counted = r#"posthouse_identity_questions_total{provider="p",outcome="allowed_unasked"} 1"#;
    assert!(world.metrics().contains(counted), "{}", world.metrics());
}

#[test]
fn secrets_travel_encrypted() {
    let with = |url: &str, plain: bool| json!({"url": url, "client_id": "a", "client_secret": "b", "plain_http": plain});
    let said = check(&section("introspection", &with("http://idp/x", false))).expect_err("plain");
    assert!(said[0].contains("not encrypted"), "{said:?}");
    assert!(check(&section("introspection", &with("http://idp/x", true))).is_ok());
    assert!(check(&section("introspection", &with("https://idp/x", false))).is_ok());
}
