//! Where keys come from: fetched, described, rotated, unreachable, and asked for by liars.

use std::time::Duration;

use posthouse_base::time::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::issuer::Issuer;
use crate::signer::Signer;
use crate::world::{World, claims, until};

fn by_url(issuer: &Issuer) -> Value {
    json!({"issuer": issuer.name(), "audience": ["shop"], "jwks": issuer.url("/jwks"), "refetch": "1s", "timeout": "2s"})
}

#[tokio::test]
async fn many_calls_at_the_start_wait_for_one_fetch() {
    let issuer = Issuer::start().await;
    let signer = Signer::new("ES256", "k");
    let keys = json!({"keys": [signer.jwk()]}).to_string();
    issuer.set_full("/jwks", 200, &[], keys, Duration::from_millis(100));
    let world = World::of("jwt", &by_url(&issuer)).await;
    let token = signer.token(&claims(&issuer.name()));
    let calls = (0..100).map(|_| world.bearer(&token));
    for seen in join_all(calls).await {
        seen.known();
    }
    assert_eq!(issuer.asked("/jwks"), 1);
}

#[tokio::test]
async fn a_rotated_key_is_found_and_the_old_one_is_forgotten_with_what_it_verified() {
    let issuer = Issuer::start().await;
    let (old, new) = (Signer::new("ES256", "old"), Signer::new("RS256", "new"));
    issuer.set_keys(&[old.jwk()]);
    let world = World::of("jwt", &by_url(&issuer)).await;
    let token = old.token(&claims(&issuer.name()));
    world.bearer(&token).await.known();
    issuer.set_keys(&[old.jwk(), new.jwk()]);
    world.bearer(&new.token(&claims(&issuer.name()))).await.known();
    world.bearer(&token).await.known();
    // The old key leaves: the token is remembered, and yet it is refused.
    let newest = Signer::new("EdDSA", "newest");
    issuer.set_keys(&[new.jwk(), newest.jwk()]);
    world.bearer(&newest.token(&claims(&issuer.name()))).await.known();
    assert!(world.bearer(&token).await.is_invalid());
    assert_eq!(issuer.asked("/jwks"), 4);
}

#[tokio::test]
async fn a_flood_of_unknown_names_asks_the_issuer_no_oftener() {
    let issuer = Issuer::start().await;
    let (honest, liar) = (Signer::new("ES256", "k"), Signer::new("ES256", "x"));
    issuer.set_keys(&[honest.jwk()]);
    let mut settings = by_url(&issuer);
    settings["refetch"] = "2s".into();
    let world = World::of("jwt", &settings).await;
    world.bearer(&honest.token(&claims(&issuer.name()))).await.known();
    let began = tokio::time::Instant::now();
    let body = claims(&issuer.name()).to_string();
    let tokens: Vec<String> = (0..3_000)
        .map(|n| liar.sign(&json!({"alg": "ES256", "kid": format!("k{n}")}).to_string(), &body))
        .collect();
    let seen = join_all(tokens.iter().map(|token| world.bearer(token))).await;
    assert!(seen.iter().all(|seen| seen.is_invalid() || seen.is_unavailable()));
    assert!(seen.iter().any(crate::world::Seen::is_unavailable), "the waiting are bounded");
    // Meanwhile whoever has a known key is served.
    world.bearer(&honest.token(&claims(&issuer.name()))).await.known();
    let rounds = began.elapsed().as_secs() / 2 + 2;
    let asked = u64::try_from(issuer.asked("/jwks")).expect("few");
    assert!(asked <= rounds, "{asked} in {:?}", began.elapsed());
    // Tokens that cannot be ours do not even wait.
    let before = issuer.asked("/jwks");
    let foreign = liar.token(&claims("https://evil.example"));
    assert!(world.bearer(&foreign).await.is_invalid());
    assert_eq!(issuer.asked("/jwks"), before);
}

#[tokio::test]
async fn good_keys_outlive_an_outage_for_a_while() {
    let issuer = Issuer::start().await;
    let (known, unknown) = (Signer::new("ES256", "k"), Signer::new("ES256", "u"));
    issuer.set_keys(&[known.jwk()]);
    let mut settings = by_url(&issuer);
    settings["refresh"] = "1s".into();
    settings["stale"] = "4s".into();
    let world = World::of("jwt", &settings).await;
    let token = known.token(&claims(&issuer.name()));
    world.bearer(&token).await.known();
    issuer.set("/jwks", 500, &json!({}));
    let failed = r#"posthouse_identity_key_fetches_total{provider="p",outcome="failed"}"#;
    until("a failed fetch", async || world.metrics().contains(failed)).await;
    world.bearer(&known.token(&claims(&issuer.name()))).await.known();
    // Whether this key is the issuer's cannot be told.
    assert!(world.bearer(&unknown.token(&claims(&issuer.name()))).await.is_unavailable());
    until("keys to be too old", async || world.bearer(&token).await.is_unavailable()).await;
    issuer.set_keys(&[known.jwk()]);
    until("the issuer to be back", async || {
        matches!(world.bearer(&token).await, crate::world::Seen::Known(_))
    })
    .await;
}

#[tokio::test]
async fn without_an_issuer_nobody_passes_and_nobody_waits_long() {
    let issuer = Issuer::start().await;
    let signer = Signer::new("ES256", "k");
    for bad in [
        Value::Null,
        json!([]),
        json!({"keys": []}),
        json!({"keys": {}}),
        json!({"keys": [{"kty": "oct", "kid": "k", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}),
        json!({"keys": [{"kty": "RSA", "kid": "k", "n": "AQAB", "e": "AQAB"}]}),
        json!({"keys": [{"kty": "EC", "crv": "P-521", "kid": "k", "x": "AA", "y": "AA"}]}),
    ] {
        issuer.set("/jwks", 200, &bad);
        let world = World::of("jwt", &by_url(&issuer)).await;
        let token = signer.token(&claims(&issuer.name()));
        assert!(world.bearer(&token).await.is_unavailable(), "{bad}");
    }
    let long = vec![b' '; 2 << 20];
    issuer.set_full("/jwks", 200, &[], long, Duration::ZERO);
    let world = World::of("jwt", &by_url(&issuer)).await;
    assert!(world.bearer(&signer.token(&claims(&issuer.name()))).await.is_unavailable());
    issuer.set_full("/jwks", 200, &[], "{}", Duration::from_secs(60));
    let world = World::of("jwt", &by_url(&issuer)).await;
    assert!(world.bearer(&signer.token(&claims(&issuer.name()))).await.is_unavailable());
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let issuer = Issuer::start().await;
    let signer = Signer::new("ES256", "k");
    issuer.set_keys(&[signer.jwk()]);
    issuer.set_full("/moved", 302, &[("location", &issuer.url("/jwks"))], "", Duration::ZERO);
    let mut settings = by_url(&issuer);
    settings["jwks"] = issuer.url("/moved").into();
    let world = World::of("jwt", &settings).await;
    assert!(world.bearer(&signer.token(&claims(&issuer.name()))).await.is_unavailable());
    assert_eq!(issuer.asked("/moved"), 1);
    assert_eq!(issuer.asked("/jwks"), 0);
}

#[tokio::test]
async fn an_issuer_describes_itself() {
    let issuer = Issuer::start().await;
    let signer = Signer::new("PS256", "k");
    let description = "/.well-known/openid-configuration";
    issuer.set_keys(&[signer.jwk()]);
    let settings = json!({"issuer": issuer.name(), "audience": ["shop"]});
    let describe = |name: &str| {
        issuer.set(description, 200, &json!({"issuer": name, "jwks_uri": issuer.url("/jwks")}));
    };
    describe("https://evil.example");
    let world = World::of("jwt", &settings).await;
    let token = signer.token(&claims(&issuer.name()));
    assert!(world.bearer(&token).await.is_unavailable());
    assert_eq!(issuer.asked("/jwks"), 0);
    describe(&issuer.name());
    let world = World::of("jwt", &settings).await;
    world.bearer(&token).await.known();
}

#[tokio::test]
async fn a_file_of_keys_is_read_again_and_a_broken_one_is_not() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("keys.json");
    let write = |text: String| {
        let new = folder.path().join("new");
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(new, &file).expect("in its place");
    };
    let (old, new) = (Signer::new("ES256", "old"), Signer::new("ES384", "new-name"));
    write(json!({"keys": [old.jwk()]}).to_string());
    let name = "https://idp.example";
    let world =
        World::of("jwt", &json!({"issuer": name, "audience": ["shop"], "keys": file})).await;
    let token = old.token(&claims(name));
    world.bearer(&token).await.known();
    write("{".into());
    let failed = r#"posthouse_identity_key_fetches_total{provider="p",outcome="failed"}"#;
    until("the broken file to be seen", async || world.metrics().contains(failed)).await;
    world.bearer(&token).await.known();
    write(json!({"keys": [new.jwk()]}).to_string());
    let newer = new.token(&claims(name));
    until("the new key", async || {
        matches!(world.bearer(&newer).await, crate::world::Seen::Known(_))
    })
    .await;
    assert!(world.bearer(&token).await.is_invalid());
}

#[tokio::test]
async fn a_reload_keeps_what_did_not_change() {
    let issuer = Issuer::start().await;
    let signer = Signer::new("ES256", "k");
    issuer.set_keys(&[signer.jwk()]);
    let settings = by_url(&issuer);
    let world = World::of("jwt", &settings).await;
    let token = signer.token(&claims(&issuer.name()));
    world.bearer(&token).await.known();
    let same = crate::world::check(&crate::world::section("jwt", &settings)).expect("sound");
    world.handle().configure(&same).expect("taken");
    world.bearer(&token).await.known();
    assert_eq!(issuer.asked("/jwks"), 1);
    let mut other = settings;
    other["audience"] = json!(["elsewhere"]);
    let other = crate::world::check(&crate::world::section("jwt", &other)).expect("sound");
    world.handle().configure(&other).expect("taken");
    assert!(world.bearer(&token).await.is_invalid());
    let shown = format!("Bearer {token}");
    let seen = world.ask(&[("authorization", &shown)], &["gone"], Timestamp::now()).await;
    assert!(seen.is_unavailable());
}

async fn join_all<F: Future>(all: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = all.into_iter().map(|each| Some(Box::pin(each))).collect();
    let mut done: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut left = false;
        for (each, done) in waiting.iter_mut().zip(&mut done) {
            let Some(future) = each else { continue };
            match future.as_mut().poll(context) {
                std::task::Poll::Ready(output) => {
                    (*done, *each) = (Some(output), None);
                }
                std::task::Poll::Pending => left = true,
            }
        }
        if left { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    done.into_iter().flatten().collect()
}
