//! The vectors of RFC 9421, appendix B: each base is ours, each signature verifies, and what the RFC
//! says is altered does not.

use ring::signature;

use super::super::component::Unsigned;
use super::super::key::{Algorithm, Key};
use super::super::message::Found;
use super::super::verify::{Body, Judged, judge};
use super::{Request, SIGNED, Signer, at, consumers, lenient, structures, vectors};

/// Who signed `request`, and whether the signature is of the body `body`.
async fn check(request: &Request, body: &[u8]) -> Result<(String, bool), &'static str> {
    let consumers = consumers().await;
    let request = request.credentials(at(SIGNED + 1));
    match judge(&lenient(), &request, &consumers.shown(), at(0)) {
        Judged::Holds(holding) => Ok((holding.signer.id.to_string(), holding.body.fits(body))),
        Judged::Refused(why) => Err(why),
        Judged::Absent => Err("absent"),
    }
}

fn base(request: &Request) -> String {
    let request = request.credentials(at(SIGNED));
    let Found::All(all) = Found::of(&request) else { panic!("no signature is found") };
    let base = all[0].base(&request, &structures()).expect("a base");
    String::from_utf8(base).expect("a base is text")
}

#[tokio::test]
async fn the_requests_of_the_rfc_verify() {
    for (fields, expected, key) in [
        (vectors::B21, vectors::B21_BASE, "test-key-rsa-pss"),
        (vectors::B22, vectors::B22_BASE, "test-key-rsa-pss"),
        (vectors::B23, vectors::B23_BASE, "test-key-rsa-pss"),
        (vectors::B25, vectors::B25_BASE, "test-shared-secret"),
        (vectors::B26, vectors::B26_BASE, "test-key-ed25519"),
    ] {
        let request = Request::with(fields);
        assert_eq!(base(&request), expected);
        let body = vectors::BODY.as_bytes();
        assert_eq!(check(&request, body).await, Ok((key.to_owned(), true)), "{fields}");
        let covers_body = fields.contains("content-digest");
        let other = check(&request, b"{\"hello\": \"World\"}").await;
        assert_eq!(other, Ok((key.to_owned(), !covers_body)), "{fields}");
    }
}

/// Responses are not verified here; the key and the base are.
#[test]
fn the_response_of_the_rfc_verifies_by_its_base() {
    let request = Request::with(vectors::B24);
    let Found::All(all) = Found::of(&request.credentials(at(SIGNED))) else { panic!("unreadable") };
    assert!(all.is_empty(), "no request has a status");
    let (_, signature) = vectors::B24.rsplit_once("sig-b24=:").expect("a signature");
    let signature = super::bytes(signature.trim_end_matches(':'));
    let key = Key::from_pem(Algorithm::EcdsaP256Sha256, vectors::ECC_PUBLIC).expect("a key");
    assert!(key.verifies(vectors::B24_BASE.as_bytes(), &signature));
    let altered = vectors::B24_BASE.replace("200", "201");
    assert!(!key.verifies(altered.as_bytes(), &signature));
}

#[tokio::test]
async fn the_request_that_a_proxy_signed_verifies() {
    let request = Request::read(vectors::B3);
    assert_eq!(base(&request), vectors::B3_BASE);
    assert_eq!(check(&request, b"").await, Ok(("test-key-ecc-p256".into(), true)));
}

#[tokio::test]
async fn what_may_be_transformed_may_be_and_nothing_else() {
    for request in [vectors::B4, vectors::B4_QUERY, vectors::B4_MERGED, vectors::B4_SHUFFLED] {
        let request = Request::read(request);
        assert_eq!(base(&request), vectors::B4_BASE);
        assert_eq!(check(&request, b"").await, Ok(("test-key-ed25519".into(), true)));
    }
    for altered in [vectors::B4_OTHER, vectors::B4_SWAPPED] {
        assert_eq!(check(&Request::read(altered), b"").await, Err("signature"));
    }
}

/// Of the algorithms without a vector, and those whose signatures differ each time.
#[tokio::test]
async fn what_is_signed_with_the_keys_of_the_rfc_verifies() {
    for (signer, id) in [
        (Signer::rsa(&signature::RSA_PSS_SHA512), "test-key-rsa-pss"),
        (Signer::rsa(&signature::RSA_PKCS1_SHA256), "v1_5"),
        (Signer::acme(), "test-key-ed25519"),
        (Signer::shared(), "test-shared-secret"),
    ] {
        let input = format!("(\"@method\" \"@path\");created={SIGNED};keyid=\"{id}\"");
        let request = Request::with("X-More: 1").sign("sig", &input, &signer);
        assert_eq!(check(&request, b"").await, Ok((id.to_owned(), true)));
    }
}

#[test]
fn each_algorithm_verifies_its_own_signatures_only() {
    let random = ring::rand::SystemRandom::new();
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
    let fixed = &signature::ECDSA_P384_SHA384_FIXED_SIGNING;
    let pair = signature::EcdsaKeyPair::from_pkcs8(fixed, &p384.serialize_der(), &random);
    let p384_signer = Signer::Ecdsa(Box::new(pair.expect("a key")));
    let p256 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let fixed = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = signature::EcdsaKeyPair::from_pkcs8(fixed, &p256.serialize_der(), &random);
    let p256_signer = Signer::Ecdsa(Box::new(pair.expect("a key")));
    let public = |algorithm, pem: &str| Key::from_pem(algorithm, pem).expect("a key");
    let all = [
        (Signer::acme(), public(Algorithm::Ed25519, vectors::ED_PUBLIC)),
        (p384_signer, public(Algorithm::EcdsaP384Sha384, &p384.public_key_pem())),
        (p256_signer, public(Algorithm::EcdsaP256Sha256, &p256.public_key_pem())),
        (
            Signer::rsa(&signature::RSA_PSS_SHA512),
            public(Algorithm::RsaPssSha512, vectors::RSA_PSS_PUBLIC),
        ),
        (
            Signer::rsa(&signature::RSA_PKCS1_SHA256),
            public(Algorithm::RsaV15Sha256, vectors::RSA_PSS_PUBLIC),
        ),
        (Signer::shared(), Key::shared(&super::bytes(vectors::SHARED))),
    ];
    for (made, (signer, _)) in all.iter().enumerate() {
        let signed = signer.sign(b"a base");
        for (asked, (_, key)) in all.iter().enumerate() {
            assert_eq!(key.verifies(b"a base", &signed), made == asked, "{made} by {key:?}");
            assert!(!key.verifies(b"a bAse", &signed));
        }
    }
}

#[test]
fn a_key_is_taken_only_for_what_it_is() {
    for (algorithm, pem) in [
        (Algorithm::Ed25519, vectors::ECC_PUBLIC),
        (Algorithm::EcdsaP256Sha256, vectors::ED_PUBLIC),
        (Algorithm::EcdsaP384Sha384, vectors::ECC_PUBLIC),
        (Algorithm::RsaPssSha512, vectors::ED_PUBLIC),
        (Algorithm::EcdsaP256Sha256, vectors::RSA_PSS_PUBLIC),
        (Algorithm::HmacSha256, vectors::RSA_PSS_PUBLIC),
        (Algorithm::Ed25519, vectors::ED_PRIVATE),
        (Algorithm::Ed25519, "no PEM"),
    ] {
        let refused = Key::from_pem(algorithm, pem).expect_err("it is no such key");
        assert!(!refused.is_empty() && !refused.contains("MC4C"), "{refused}");
    }
}

/// §2.1 and §2.2: the examples of how components are written.
#[test]
fn components_are_written_as_the_rfc_shows() {
    let fields = "X-Empty-Header:\nCache-Control: max-age=60\nCache-Control:    must-revalidate\n\
                  Example-Dict:  a=1,    b=2;x=1;y=2,   c=(a   b   c), d\n\
                  Example-Header: value, with, lots\nExample-Header: of, commas";
    let mut request = Request::with(fields);
    request.authority = "WWW.Example.com:443".into();
    request.target =
        "/path?param=value&foo=bar&baz=batman&qux=&var=this%20is%20a%20big%0Amultiline\
                      %20value&bar=with+plus+whitespace&fa%C3%A7ade%22%3A%20=something"
            .into();
    for (component, value) in [
        ("\"x-empty-header\"", Ok("")),
        ("\"cache-control\"", Ok("max-age=60, must-revalidate")),
        ("\"example-dict\"", Ok("a=1,    b=2;x=1;y=2,   c=(a   b   c), d")),
        ("\"example-dict\";sf", Ok("a=1, b=2;x=1;y=2, c=(a b c), d")),
        ("\"example-dict\";key=\"a\"", Ok("1")),
        ("\"example-dict\";key=\"d\"", Ok("?1")),
        ("\"example-dict\";key=\"b\"", Ok("2;x=1;y=2")),
        ("\"example-dict\";key=\"c\"", Ok("(a b c)")),
        ("\"example-header\";bs", Ok(":dmFsdWUsIHdpdGgsIGxvdHM=:, :b2YsIGNvbW1hcw==:")),
        ("\"@authority\"", Ok("www.example.com")),
        ("\"@scheme\"", Ok("https")),
        ("\"@path\"", Ok("/path")),
        ("\"@query-param\";name=\"baz\"", Ok("batman")),
        ("\"@query-param\";name=\"qux\"", Ok("")),
        ("\"@query-param\";name=\"var\"", Ok("this%20is%20a%20big%0Amultiline%20value")),
        ("\"@query-param\";name=\"bar\"", Ok("with%20plus%20whitespace")),
        ("\"@query-param\";name=\"fa%C3%A7ade%22%3A%20\"", Ok("something")),
        ("\"example-dict\";key=\"z\"", Err(Unsigned::Missing)),
        ("\"@query-param\";name=\"none\"", Err(Unsigned::Missing)),
        ("\"not-there\"", Err(Unsigned::Missing)),
        ("\"example-header\";sf", Err(Unsigned::Value)),
    ] {
        assert_eq!(super::components::value(&request, component), value.map(str::to_owned));
    }
}

#[test]
fn a_body_that_nobody_asks_for_is_anything() {
    assert!(Body::Any.fits(b"x") && Body::Empty.fits(b"") && !Body::Empty.fits(b"x"));
}
