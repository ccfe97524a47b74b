//! Signed requests (RFC 9421) by `http-message-signatures` and client certificates by Python's own
//! TLS, through the shipped binary: keys and certificates are made in Python, too. And what becomes of
//! a key in a query.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use posthouse_tests::backend::{Backend, Seen};
use posthouse_tests::house::new_folder;
use posthouse_tests::program::output_of;
use posthouse_tests::{House, client, python, workspace};
use tempfile::TempDir;

/// Runs the script in the folder of the keys.
async fn run(keys: &TempDir, arguments: &[&str]) {
    let script = workspace().join("tests/python/signed_calls.py");
    let mut command = python::script(&script, keys.path(), keys.path());
    command.args(arguments);
    let said = output_of(command).await;
    assert!(said.trim_end().ends_with("ok"), "{said}");
}

async fn made() -> TempDir {
    let keys = new_folder();
    run(&keys, &["keys"]).await;
    keys
}

/// Says who called, as the gateway tells it.
async fn service() -> Backend {
    let told =
        |seen: &Seen| format!("{} as {}", seen.header("x-consumer"), seen.header("x-subject"));
    Backend::answering(move |seen| Response::new(Full::new(Bytes::from(told(seen))))).await
}

fn services(backend: SocketAddr) -> String {
    format!("services: {{ orders: {{ instances: [ {{ address: \"{backend}\" }} ] }} }}\n")
}

/// A route that only acme may call.
fn guarded(path: &str, provider: &str) -> String {
    format!(
        "  - match: {{ path: {path} }}
    service: orders
    guard:
      identity: [ {provider} ]
      consumers: [ acme ]
      forward: {{ headers: {{ x-consumer: consumer, x-subject: subject }} }}
"
    )
}

#[tokio::test]
async fn what_others_sign_is_verified_and_what_they_alter_is_refused() {
    let keys = made().await;
    let backend = service().await;
    let at = keys.path().display();
    let mut signers = String::new();
    for algorithm in
        ["rsa-pss-sha512", "rsa-v1_5-sha256", "ecdsa-p256-sha256", "ecdsa-p384-sha384", "ed25519"]
    {
        signers.push_str(&format!(
            "      - {{ id: {algorithm}, algorithm: {algorithm}, \
             public_key: \"${{file:{at}/{algorithm}.pem}}\" }}\n"
        ));
    }
    let config = format!(
        "listeners: [ {{ address: 127.0.0.1:0 }} ]
{services}identity: {{ providers: {{ signed: {{ signature: {{}} }} }} }}
consumers:
  acme:
    signature_keys:
{signers}      - {{ id: hmac-sha256, algorithm: hmac-sha256, secret: \"${{file:{at}/hmac-sha256.secret}}\" }}
routes:
{routes}",
        services = services(backend.address()),
        routes = guarded("/orders", "signed"),
    );
    let house = House::start(&config).await;
    let port = house.gateway().port().to_string();
    run(&keys, &["signed", &port]).await;
    // Each of six algorithms twice, and at least what else is fine.
    let seen = backend.seen();
    assert!(seen.len() >= 12 + 4, "{}", seen.len());
    assert!(seen.iter().all(|seen| seen.header("x-consumer") == "acme"));
    assert!(!house.log().contains("BEGIN"), "no key is in the log");
}

#[tokio::test]
async fn client_certificates_say_who_calls_by_subject_and_by_spiffe_id() {
    let keys = made().await;
    let backend = service().await;
    let at = keys.path().display();
    let config = format!(
        "listeners:
  - address: 127.0.0.1:0
    tls:
      certificates: [ {{ cert: \"{at}/server.crt\", key: \"{at}/server.key\" }} ]
      client: {{ ca: \"{at}/ca.crt\" }}
{services}identity:
  providers:
    subject: {{ certificate: {{ by: subject }} }}
    spiffe: {{ certificate: {{ by: spiffe, trust_domains: [ example.org ] }} }}
consumers:
  acme: {{ certificates: [ \"CN=till,O=Acme\", \"spiffe://example.org/till\" ] }}
routes:
{subject}{spiffe}",
        services = services(backend.address()),
        subject = guarded("/subject", "subject"),
        spiffe = guarded("/spiffe", "spiffe"),
    );
    let house = House::start(&config).await;
    run(&keys, &["mtls", &house.gateway().port().to_string()]).await;
    assert_eq!(backend.requests(), 2, "what is refused reaches nobody");
}

#[tokio::test]
async fn a_key_in_the_query_goes_no_further_than_the_gateway() {
    let backend = service().await;
    let config = format!(
        "listeners: [ {{ address: 127.0.0.1:0 }} ]
{services}identity: {{ providers: {{ keys: {{ api_key: {{ query: api_key }} }} }} }}
consumers: {{ acme: {{ keys: [ {{ secret: a-key-of-acme-itself }} ] }} }}
routes:
{routes}",
        services = services(backend.address()),
        routes = guarded("/orders", "keys"),
    );
    let house = House::start(&config).await;
    for (query, left) in [
        ("?api_key=a-key-of-acme-itself", "/orders"),
        ("?a=1&%61pi_key=a-key%2Dof-acme-itself&b=%20", "/orders?a=1&b=%20"),
    ] {
        let answer = client::get(house.gateway(), "shop", &format!("/orders{query}")).await;
        assert_eq!(answer.expect("an answer").body(), "acme as acme");
        let seen = backend.seen();
        assert_eq!(seen.last().map(|seen| seen.uri.to_string()).as_deref(), Some(left));
    }
    let refused = client::get(house.gateway(), "shop", "/orders?api_key=a-key-of-somebody").await;
    assert_eq!(refused.expect("an answer").status(), 401);
    assert_eq!(backend.requests(), 2);
    assert!(!house.log().contains("a-key"), "{}", house.log());
}
