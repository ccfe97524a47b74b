//! Tokens of every algorithm are taken, and every attack that is known on them is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthouse_base::time::Timestamp;
use posthouse_identity::Refusal;
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::signer::{Signer, encode};
use crate::world::{World, check, claims, now, section};

const ISSUER: &str = "https://idp.example";

const ALL: [&str; 12] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256",
    "HS384", "HS512",
];

/// Settings that take these algorithms by the keys in a file of `folder`.
fn settings(folder: &TempDir, keys: &[Value], algorithms: &[&str]) -> Value {
    let file = folder.path().join("keys.json");
    std::fs::write(&file, json!({ "keys": keys }).to_string()).expect("a file");
    json!({"issuer": ISSUER, "audience": ["shop"], "keys": file, "algorithms": algorithms})
}

/// A world that knows one signer.
async fn world_of(signer: &Signer) -> (World, TempDir) {
    let folder = TempDir::new().expect("a folder");
    let settings = settings(&folder, &[signer.jwk()], &[signer.algorithm]);
    (World::of("jwt", &settings).await, folder)
}

#[tokio::test]
async fn each_algorithm_is_taken_by_its_own_key_and_no_other() {
    let folder = TempDir::new().expect("a folder");
    let signers: Vec<Signer> = ALL.into_iter().map(|name| Signer::new(name, name)).collect();
    let keys: Vec<Value> = signers.iter().map(Signer::jwk).collect();
    let world = World::of("jwt", &settings(&folder, &keys, &ALL)).await;
    for signer in &signers {
        let token = signer.token(&claims(ISSUER));
        // Twice: verified, then remembered.
        for _ in 0..2 {
            let identity = world.bearer(&token).await.known();
            assert_eq!(&*identity.subject, "alice", "{}", signer.algorithm);
            assert_eq!(identity.scopes, ["users.read".into()]);
        }
        let altered = format!("{}A", &token[..token.len() - 1]);
        let other = format!("{}B", &token[..token.len() - 1]);
        let worst = if altered == token { other } else { altered };
        assert!(world.bearer(&worst).await.is_invalid(), "{}", signer.algorithm);
        // Signed as one algorithm, said to be another.
        for named in ALL.into_iter().filter(|named| *named != signer.algorithm) {
            for key in [signer.algorithm, named] {
                let header = json!({"alg": named, "kid": key}).to_string();
                let lie = signer.sign(&header, &claims(ISSUER).to_string());
                assert!(world.bearer(&lie).await.is_invalid(), "{} as {named}", signer.algorithm);
            }
        }
    }
}

#[tokio::test]
async fn no_signature_is_no_token() {
    let signer = Signer::new("ES256", "k");
    let (world, _folder) = world_of(&signer).await;
    let claims = encode(claims(ISSUER).to_string());
    for algorithm in ["none", "None", "NONE", "nOnE", "", "ES256"] {
        let header = encode(json!({"alg": algorithm, "kid": "k"}).to_string());
        for signature in ["", "AA", "."] {
            let token = format!("{header}.{claims}.{signature}");
            assert!(world.bearer(&token).await.is_invalid(), "{algorithm} {signature}");
        }
        assert!(world.bearer(&format!("{header}.{claims}")).await.is_invalid());
    }
    for header in ["{}", r#"{"alg":null}"#, r#"{"alg":["ES256"]}"#, r#"{"alg":{}}"#] {
        let token = signer.sign(header, &crate::world::claims(ISSUER).to_string());
        assert!(world.bearer(&token).await.is_invalid(), "{header}");
    }
    // Signatures of nothing but zeros, which libraries have taken.
    let token = signer.token(&crate::world::claims(ISSUER));
    let (signed, _) = token.rsplit_once('.').expect("three parts");
    let zeros = format!("{signed}.{}", encode([0; 64]));
    assert!(world.bearer(&zeros).await.is_invalid());
}

#[tokio::test]
async fn a_public_key_is_never_a_secret() {
    for honest in [Signer::new("RS256", "k"), Signer::new("ES256", "k"), Signer::new("EdDSA", "k")]
    {
        let folder = TempDir::new().expect("a folder");
        // Even where both kinds are taken.
        let algorithms = [honest.algorithm, "HS256", "HS384", "HS512"];
        let jwk = honest.jwk();
        let world =
            World::of("jwt", &settings(&folder, std::slice::from_ref(&jwk), &algorithms)).await;
        let mut secrets =
            vec![jwk.to_string().into_bytes(), json!({"keys": [jwk.clone()]}).to_string().into()];
        for part in ["n", "x", "y"] {
            if let Some(text) = jwk[part].as_str() {
                secrets.push(text.as_bytes().to_vec());
                secrets.push(
                    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).expect("a part"),
                );
            }
        }
        for secret in secrets {
            for algorithm in ["HS256", "HS384", "HS512"] {
                let liar = Signer::with_secret(algorithm, "k", &secret);
                assert!(world.bearer(&liar.token(&claims(ISSUER))).await.is_invalid());
            }
        }
        world.bearer(&honest.token(&claims(ISSUER))).await.known();
    }
}

#[tokio::test]
async fn keys_are_looked_up_in_the_providers_own_set_and_nowhere_else() {
    let honest = Signer::new("ES256", "k");
    let liar = Signer::new("ES256", "k");
    let (world, folder) = world_of(&honest).await;
    let own = folder.path().join("own.json");
    std::fs::write(&own, json!({"keys": [liar.jwk()]}).to_string()).expect("a file");
    let body = claims(ISSUER).to_string();
    let own = own.display().to_string();
    for kid in [
        "k",
        "",
        "../own.json",
        "own.json",
        &own,
        "file:///etc/passwd",
        "k' OR '1'='1",
        "k\u{0}",
        "${jndi:x}",
        "*",
        "0",
    ] {
        let header = json!({"alg": "ES256", "kid": kid}).to_string();
        assert!(world.bearer(&liar.sign(&header, &body)).await.is_invalid(), "{kid}");
    }
    let certificate = STANDARD.encode([0x30, 0x03, 0x02, 0x01, 0x00]);
    for (name, value) in [
        ("jwk", liar.jwk()),
        ("jku", json!(format!("file://{own}"))),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/chain.pem")),
        ("x5c", json!([certificate])),
    ] {
        for kid in ["k", "other"] {
            let mut header = json!({"alg": "ES256", "kid": kid});
            header[name] = value.clone();
            assert!(
                world.bearer(&liar.sign(&header.to_string(), &body)).await.is_invalid(),
                "{name}"
            );
        }
    }
    // A name that is no string, or a number that looks like one.
    for kid in ["1", "[\"k\"]", "{\"k\":1}", "true"] {
        let header = format!(r#"{{"alg":"ES256","kid":{kid}}}"#);
        assert!(world.bearer(&honest.sign(&header, &body)).await.is_invalid(), "{kid}");
    }
    // What the header says beside is ignored, not followed: the token itself holds.
    let header =
        json!({"alg": "ES256", "kid": "k", "jku": "https://evil.example/jwks", "jwk": liar.jwk()});
    world.bearer(&honest.sign(&header.to_string(), &body)).await.known();
}

#[tokio::test]
async fn claims_must_be_for_us_from_the_issuer_and_in_time() {
    let signer = Signer::new("ES256", "k");
    let (world, _folder) = world_of(&signer).await;
    for (name, value) in [
        ("iss", json!("https://evil.example")),
        ("iss", json!("https://idp.example/")),
        ("iss", json!("https://idp.example.evil")),
        ("iss", json!(["https://idp.example"])),
        ("aud", json!("other")),
        ("aud", json!(["other"])),
        ("aud", json!("shop ")),
        ("exp", json!(now() - 31)),
        ("exp", json!("9999999999")),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("nbf", json!(now() + 60)),
        ("iat", json!(now() + 60)),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", Value::Null),
    ] {
        let mut bad = claims(ISSUER);
        bad[name] = value.clone();
        let seen = world.bearer(&signer.token(&bad)).await;
        // A date beyond all times is one that has not passed.
        assert!(seen.is_invalid() || value == json!(1e300), "{name} {value}");
    }
    for name in ["iss", "aud", "exp", "sub"] {
        let mut bad = claims(ISSUER);
        bad.as_object_mut().expect("an object").remove(name);
        assert!(world.bearer(&signer.token(&bad)).await.is_invalid(), "{name}");
    }
    // A remembered token is not better than another.
    let token = signer.token(&claims(ISSUER));
    world.bearer(&token).await.known();
    let later = Timestamp::from_millis((now() + 331) * 1000);
    let shown = format!("Bearer {token}");
    let seen = world.ask(&[("authorization", &shown)], &["p"], later).await;
    assert!(seen.is_invalid());
}

#[tokio::test]
async fn what_is_critical_or_doubled_or_of_another_kind_is_refused() {
    let signer = Signer::new("ES256", "k");
    let (world, _folder) = world_of(&signer).await;
    let body = claims(ISSUER).to_string();
    for header in [
        r#"{"alg":"ES256","kid":"k","crit":["exp"]}"#,
        r#"{"alg":"ES256","kid":"k","crit":[]}"#,
        r#"{"alg":"ES256","kid":"k","crit":["b64"],"b64":false}"#,
        r#"{"alg":"ES256","kid":"k","b64":false}"#,
        r#"{"alg":"none","alg":"ES256","kid":"k"}"#,
        r#"{"alg":"ES256","kid":"x","kid":"k"}"#,
        r#"{"alg":"ES256","\u0061lg":"none","kid":"k"}"#,
        r#"{"alg":"ES256","kid":"k","typ":"logout+jwt"}"#,
        r#"{"alg":"ES256","kid":"k","typ":"secevent+jwt"}"#,
        r#"{"alg":"ES256","kid":"k","typ":"dpop+jwt"}"#,
        r#"{"alg":"ES256","kid":"k","typ":1}"#,
        r#"{"alg":"ES256","kid":"k"} "#,
        r#"[{"alg":"ES256","kid":"k"}]"#,
    ] {
        // White space after an object is JSON still.
        let fine = header.ends_with(' ');
        let seen = world.bearer(&signer.sign(header, &body)).await;
        assert_eq!(seen.is_invalid(), !fine, "{header}");
    }
    for kind in ["JWT", "jwt", "at+jwt", "application/at+JWT"] {
        let header = json!({"alg": "ES256", "kid": "k", "typ": kind}).to_string();
        world.bearer(&signer.sign(&header, &body)).await.known();
    }
    let doubled = body.replacen('{', r#"{"sub":"root","#, 1);
    let header = r#"{"alg":"ES256","kid":"k"}"#;
    assert!(world.bearer(&signer.sign(header, &doubled)).await.is_invalid());
    let token = signer.sign(header, &body);
    let shown = format!("Bearer {token}");
    let twice = [("authorization", &*shown), ("Authorization", &*shown)];
    assert!(world.fields(&twice).await.is_invalid());
}

#[tokio::test]
async fn the_written_form_is_one_and_has_an_end() {
    let signer = Signer::new("ES256", "k");
    let (world, _folder) = world_of(&signer).await;
    let token = signer.token(&claims(ISSUER));
    let (head, tail) = token.split_once('.').expect("three parts");
    for bad in [
        format!("{token}="),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{head}"),
        format!("{head}=.{tail}"),
        format!("{head}.\t{tail}"),
        token.replace('.', ".."),
        token.replace('_', "/").replace('-', "+") + "+",
        format!("{token} x"),
        format!("{token},{token}"),
        "a".repeat(9_000),
        format!("{head}.{}.{}", encode("x".repeat(9_000)), "AA"),
        "..".into(),
        ".".into(),
    ] {
        assert!(world.bearer(&bad).await.is_invalid(), "{}", &bad[..bad.len().min(80)]);
    }
    // Deep nesting ends in an error, not in the stack.
    let deep = format!("{}{}", "[".repeat(2_000), "]".repeat(2_000));
    assert!(world.bearer(&signer.sign(&deep, &deep)).await.is_invalid());
    let claims = claims(ISSUER).to_string().replacen('{', &format!("{{\"x\":{deep},"), 1);
    let header = r#"{"alg":"ES256","kid":"k"}"#;
    assert!(world.bearer(&signer.sign(header, &claims)).await.is_invalid());
}

#[tokio::test]
async fn nothing_and_other_schemes_are_nobody() {
    let signer = Signer::new("ES256", "k");
    let (world, _folder) = world_of(&signer).await;
    for fields in
        [&[][..], &[("authorization", "Basic YTpi")], &[("authorization", "")], &[("x-token", "y")]]
    {
        let seen = world.fields(fields).await;
        assert!(matches!(seen, crate::world::Seen::Nobody), "{fields:?} {seen:?}");
    }
    let token = signer.token(&claims(ISSUER));
    for scheme in ["Bearer", "bearer", "BEARER"] {
        world.fields(&[("Authorization", &format!("{scheme} {token}"))]).await.known();
    }
    // What was shown and is not understood is not nothing.
    assert!(world.bearer("opaque").await.is_invalid());
    assert!(world.bearer("").await.is_invalid());
}

#[tokio::test]
async fn a_route_takes_tokens_of_several_issuers_and_each_by_its_own_keys() {
    let folders = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let (first, second) = (Signer::new("ES256", "k"), Signer::new("ES256", "k"));
    let mut other = settings(&folders.1, &[second.jwk()], &["ES256"]);
    other["issuer"] = "https://partner.example".into();
    let identity = json!({"providers": {
        "shop": {"jwt": settings(&folders.0, &[first.jwk()], &["ES256"])},
        "partner": {"jwt": other},
    }});
    let world = World::start(&identity, &json!({})).await;
    let ask = async |token: String, providers: &[&str]| {
        let shown = format!("Bearer {token}");
        world.ask(&[("authorization", &shown)], providers, Timestamp::now()).await
    };
    let both = ["shop", "partner"];
    let partner = claims("https://partner.example");
    assert_eq!(&*ask(first.token(&claims(ISSUER)), &both).await.known().provider, "shop");
    assert_eq!(&*ask(second.token(&partner), &both).await.known().provider, "partner");
    // Another issuer's key, though it is one that we trust.
    assert!(ask(second.token(&claims(ISSUER)), &both).await.is_invalid());
    assert!(ask(first.token(&partner), &both).await.is_invalid());
    // Remembered for one provider, it is nothing to the other.
    assert!(ask(second.token(&partner), &["shop"]).await.is_invalid());
    assert!(ask(second.token(&partner), &["nobody"]).await.is_unavailable());
    assert!(ask(second.token(&claims("https://third.example")), &both).await.is_invalid());
}

#[tokio::test]
async fn a_consumer_gives_its_plan_and_roles_and_changes_are_seen_at_once() {
    let signer = Signer::new("ES256", "k");
    let folder = TempDir::new().expect("a folder");
    let mut settings = settings(&folder, &[signer.jwk()], &["ES256"]);
    settings["consumer"] = "azp".into();
    let consumers = json!({"acme": {"plan": "gold", "roles": ["buyer"]}});
    let world = World::start(&section("jwt", &settings), &consumers).await;
    let mut about = claims(ISSUER);
    about["azp"] = "acme".into();
    let token = signer.token(&about);
    let identity = world.bearer(&token).await.known();
    assert_eq!(
        (identity.consumer.as_deref(), identity.plan.as_deref()),
        (Some("acme"), Some("gold"))
    );
    let raw = serde_json::from_value(json!({"acme": {"plan": "silver"}})).expect("consumers");
    let mut report = posthouse_base::config::Report::new();
    let path = posthouse_base::config::Path::root();
    let declared =
        posthouse_identity::consumers::Declared::check(&raw, &path, &mut report).expect("sound");
    world.consumers.declare(declared);
    let identity = world.bearer(&token).await.known();
    assert_eq!((identity.plan.as_deref(), identity.roles.len()), (Some("silver"), 0));
}

#[tokio::test]
async fn keys_come_as_pem_too() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("keys.pem");
    let made = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["idp".into()]).expect("a name");
    let certificate = certificate.self_signed(&made).expect("a certificate");
    let public = std::process::Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/rsa.pem"))
        .output();
    let public = public.expect("openssl").stdout;
    std::fs::write(&file, [public, certificate.pem().into_bytes()].concat()).expect("a file");
    let settings = json!({"issuer": ISSUER, "audience": ["shop"], "keys": file});
    let world = World::of("jwt", &settings).await;
    for algorithm in ["RS256", "PS512"] {
        let signer = Signer::new(algorithm, "whatever");
        world.bearer(&signer.token(&claims(ISSUER))).await.known();
    }
    let stranger = Signer::new("ES384", "whatever");
    assert!(world.bearer(&stranger.token(&claims(ISSUER))).await.is_invalid());
}

#[tokio::test]
async fn secrets_are_shown_nowhere_and_reasons_only_to_operators() {
    let secret = "a secret of more than thirty-two bytes";
    let settings = json!({"issuer": ISSUER, "audience": ["shop"], "secret": secret});
    let signer = Signer::with_secret("HS256", "k", secret.as_bytes());
    let world = World::of("jwt", &settings).await;
    let token = signer.token(&claims(ISSUER));
    let identity = world.bearer(&token).await.known();
    let mut other = claims(ISSUER);
    other["aud"] = "other".into();
    let wrong = signer.token(&other);
    assert!(matches!(world.bearer(&wrong).await, crate::world::Seen::Refused(Refusal::Invalid)));
    let metrics = world.metrics();
    let counted = r#"posthouse_identity_refused_total{provider="p",reason="audience"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("posthouse_identity_remembered_bytes{provider=\"p\"}"), "{metrics}");
    let config = check(&section("jwt", &settings)).expect("sound");
    let raw: posthouse_identity::Raw =
        serde_json::from_value(section("jwt", &settings)).expect("raw");
    let written = serde_json::to_string(&raw).expect("JSON");
    for shown in [
        metrics,
        format!("{config:?} {raw:?} {written}"),
        format!("{:?} {identity:?}", world.identities),
    ] {
        assert!(!shown.contains(secret) && !shown.contains(&token), "{shown}");
    }
}

#[test]
fn mistakes_of_the_configuration_are_named_with_their_place() {
    let said =
        |settings: Value| check(&section("jwt", &settings)).expect_err("a mistake").join("\n");
    let good = json!({"issuer": ISSUER, "audience": ["a"], "jwks": "https://idp/jwks"});
    assert!(check(&section("jwt", &good)).is_ok());
    for (name, value, place) in [
        ("issuer", json!(""), "identity.providers.p.jwt.issuer"),
        ("audience", json!([]), "identity.providers.p.jwt.audience"),
        ("jwks", json!("http://idp/jwks"), "identity.providers.p.jwt.jwks"),
        ("jwks", json!("https://me:pass@idp/jwks"), "identity.providers.p.jwt.jwks"),
        ("algorithms", json!(["ES256", "HS256"]), "identity.providers.p.jwt.algorithms"),
        ("algorithms", json!(["none"]), "none"),
        ("secret", json!("x"), "identity.providers.p.jwt: keys come from one"),
        ("ca", json!("/nowhere.pem"), "identity.providers.p.jwt.ca"),
        ("header", json!("a b"), "identity.providers.p.jwt.header"),
        ("refetch", json!("10ms"), "identity.providers.p.jwt.refetch"),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        let said = said(bad);
        assert!(said.contains(place), "{name}: {said}");
        assert!(!said.contains("pass@"), "{said}");
    }
    let short = said(json!({"issuer": ISSUER, "audience": ["a"], "secret": "short"}));
    assert!(short.contains("jwt.secret") && !short.contains("short\""), "{short}");
    let none = check(&json!({"providers": {"p": {}}})).expect_err("a mistake");
    assert!(none[0].starts_with("identity.providers.p:"), "{none:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_change_of_a_token_passes(at in any::<proptest::sample::Index>(), to in any::<u8>()) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let signer = Signer::new("ES256", "k");
            let (world, _folder) = world_of(&signer).await;
            let token = signer.token(&claims(ISSUER)).into_bytes();
            let mut altered = token.clone();
            let at = at.index(altered.len());
            altered[at] = to % 94 + 33;
            if altered != token {
                let altered = String::from_utf8(altered).expect("graphic");
                let seen = world.bearer(&altered).await;
                prop_assert!(seen.is_invalid(), "{altered}: {seen:?}");
            }
            Ok(())
        })?;
    }
}
