//! Tokens of our own, verified as a service would: with a provider that knows the published keys.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use posthouse_base::time::Timestamp;
use posthouse_identity::{About, Identity};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{World, check, section};

fn about(identity: &Identity) -> About<'_> {
    About {
        provider: &identity.provider,
        subject: &identity.subject,
        consumer: identity.consumer.as_deref(),
        plan: identity.plan.as_deref(),
        scopes: &identity.scopes,
        roles: &identity.roles,
    }
}

fn alice() -> Arc<Identity> {
    Arc::new(Identity {
        provider: "shop".into(),
        subject: "alice".into(),
        consumer: Some("acme".into()),
        scopes: vec!["a".into(), "b".into()],
        roles: vec!["buyer".into()],
        ..Identity::default()
    })
}

async fn minting(mint: &Value) -> World {
    World::start(&json!({ "mint": mint }), &json!({})).await
}

/// A service that trusts what `minting` publishes.
async fn service(minting: &World) -> (World, TempDir) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("keys.json");
    let keys = minting.handle().published_keys().expect("keys");
    assert!(!keys.contains("\"d\""), "only public halves are published");
    std::fs::write(&file, &*keys).expect("a file");
    let settings =
        json!({"issuer": "posthouse", "audience": ["users"], "keys": file, "roles": "roles"});
    (World::of("jwt", &settings).await, folder)
}

#[tokio::test]
async fn a_service_verifies_what_is_minted_and_only_what_is_for_it() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    for mint in [
        json!({}),
        json!({"algorithm": "EdDSA"}),
        json!({"key": format!("{data}/p256.pem")}),
        json!({"algorithm": "EdDSA", "key": format!("{data}/ed25519.pem")}),
    ] {
        let gate = minting(&mint).await;
        let (service, _folder) = service(&gate).await;
        let (alice, now) = (alice(), Timestamp::now());
        let token = |audience: &str| {
            let token = gate.handle().mint(&about(&alice), &alice, audience, now).expect("a token");
            String::from_utf8(token.to_vec()).expect("text")
        };
        let seen = service.bearer(&token("users")).await.known();
        assert_eq!((&*seen.subject, seen.scopes.len()), ("alice", 2), "{mint}");
        assert_eq!(seen.roles, ["buyer".into()]);
        assert_eq!(seen.claims["consumer"], json!("acme"));
        assert_eq!(seen.claims["provider"], json!("shop"));
        assert!(service.bearer(&token("orders")).await.is_invalid());
    }
}

#[tokio::test]
async fn a_token_is_made_once_and_again_when_half_of_its_life_is_over() {
    let gate = minting(&json!({"lifetime": "60s"})).await;
    let (first, second, now) = (alice(), alice(), Timestamp::now());
    let mint = |who: &Arc<Identity>, after: u64| {
        let at = now.plus(Duration::from_secs(after));
        gate.handle().mint(&about(who), who, "users", at).expect("a token")
    };
    let token = mint(&first, 0);
    assert!(Arc::ptr_eq(&token, &mint(&first, 29)));
    assert!(!Arc::ptr_eq(&token, &mint(&first, 31)));
    // Another identity at another place, and then one that may be at the same place.
    assert!(!Arc::ptr_eq(&token, &mint(&second, 0)));
    for n in 0..1_000_u32 {
        let who = Arc::new(Identity { subject: n.to_string().into(), ..Identity::default() });
        let token = String::from_utf8(mint(&who, 0).to_vec()).expect("text");
        let claims = token.split('.').nth(1).expect("claims");
        let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
        let claims: Value = serde_json::from_slice(&claims).expect("JSON");
        assert_eq!(claims["sub"], json!(n.to_string()));
    }
}

#[tokio::test]
async fn another_key_is_published_beside_the_one_before() {
    let gate = minting(&json!({})).await;
    let (alice, now) = (alice(), Timestamp::now());
    let before = gate.handle().mint(&about(&alice), &alice, "users", now).expect("a token");
    let other = check(&json!({"mint": {"algorithm": "EdDSA"}})).expect("sound");
    gate.handle().configure(&other).expect("taken");
    let after = gate.handle().mint(&about(&alice), &alice, "users", now).expect("a token");
    let (service, _folder) = service(&gate).await;
    for token in [before, after] {
        service.bearer(std::str::from_utf8(&token).expect("text")).await.known();
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    for (mint, place) in [
        (json!({"lifetime": "1s"}), "identity.mint.lifetime"),
        (json!({"issuer": ""}), "identity.mint.issuer"),
        (json!({"key": "/nowhere"}), "identity.mint.key"),
        (json!({"key": format!("{data}/rsa.pem")}), "identity.mint.key"),
        (json!({"algorithm": "EdDSA", "key": format!("{data}/p256.pem")}), "identity.mint.key"),
    ] {
        let said = check(&json!({ "mint": mint })).expect_err(place).join("\n");
        assert!(said.contains(place) && !said.contains("PRIVATE"), "{said}");
    }
    assert!(check(&section("jwt", &json!({}))).is_err());
}
