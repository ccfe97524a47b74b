//! What attackers try with signed requests, each tried and refused. The answer is the same each time;
//! the reason, which operators see, is compared so that each is refused for what it is.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthouse_base::time::Timestamp;
use ring::hmac;

use super::super::Provider;
use super::super::replay::{First, Mark, Seen};
use super::super::settings::Config;
use super::super::verify::{Judged, judge};
use super::{Request, SIGNED, Signer, at, consumers, lenient, strict, vectors};
use crate::credential::{Outcome, Refusal};
use crate::provider::Finding;

/// What is signed unless a test says otherwise: all that must be.
const COVERED: &str = "(\"@method\" \"@target-uri\" \"content-digest\")";

fn input(covered: &str, created: u64) -> String {
    format!("{covered};created={created};keyid=\"test-key-ed25519\"")
}

fn signed(covered: &str, created: u64) -> Request {
    Request::with("X-Tenant: 7").sign("sig", &input(covered, created), &Signer::acme())
}

async fn reason(config: &Config, request: &Request, now: Timestamp) -> &'static str {
    let consumers = consumers().await;
    match judge(config, &request.credentials(now), &consumers.shown(), at(SIGNED - 1000)) {
        Judged::Holds(_) => "it holds",
        Judged::Refused(why) => why,
        Judged::Absent => "absent",
    }
}

/// A provider that has been there for long.
async fn provider(config: Config, capacity: usize) -> Provider {
    let seen = Seen::new(capacity, at(SIGNED - 1000));
    let since = seen.since(config.max_age + config.leeway, at(SIGNED - 1000));
    Provider {
        name: "signed".into(),
        config,
        since,
        consumers: consumers().await,
        seen: Arc::new(seen),
        metrics: Arc::default(),
    }
}

/// What the provider says of a request with this body.
fn ask(provider: &Provider, request: &Request, body: &str, now: u64) -> Result<String, Refusal> {
    let outcome = match provider.identify(&request.credentials(at(now))) {
        Finding::Decided(Outcome::WithBody(judge)) => judge(body.as_bytes()),
        Finding::Decided(outcome) => outcome,
        finding => panic!("{finding:?}"),
    };
    match outcome {
        Outcome::Known(identity) => Ok(identity.consumer.as_deref().unwrap_or("?").to_owned()),
        Outcome::Refused(refusal) => Err(refusal),
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn who_signs_as_must_be_is_known() {
    let provider = provider(strict(), 100).await;
    let request = signed(COVERED, SIGNED);
    assert_eq!(ask(&provider, &request, vectors::BODY, SIGNED + 1), Ok("acme".into()));
    assert!(matches!(
        provider.identify(&Request::with("X: y").credentials(at(SIGNED))),
        Finding::Absent
    ));
}

#[tokio::test]
async fn a_signature_counts_once() {
    let provider = provider(strict(), 100).await;
    let request = signed(COVERED, SIGNED);
    assert_eq!(ask(&provider, &request, vectors::BODY, SIGNED + 1), Ok("acme".into()));
    for later in [1, 2, 299] {
        let again = ask(&provider, &request, vectors::BODY, SIGNED + later);
        assert_eq!(again, Err(Refusal::Invalid));
    }
    // The label is not signed, and what is not covered may differ.
    let (_, signature) = request.fields.iter().rfind(|(name, _)| name == "Signature").expect("it");
    let renamed = Request::with("X-Tenant: 8")
        .field("Signature-Input", &format!("other={}", input(COVERED, SIGNED)))
        .field("Signature", &signature.replace("sig=", "other="));
    assert_eq!(reason(&strict(), &renamed, at(SIGNED + 3)).await, "it holds");
    let again = ask(&provider, &renamed, vectors::BODY, SIGNED + 3);
    assert_eq!(again, Err(Refusal::Invalid));
}

/// ECDSA has two signatures for whoever has one; the second is no new message.
#[tokio::test]
async fn another_signature_of_the_same_is_the_same() {
    let provider = provider(lenient(), 100).await;
    let request = Request::read(vectors::B3);
    assert_eq!(ask(&provider, &request, "", SIGNED + 1), Ok("acme".into()));
    let signature = STANDARD
        .decode("xVMHVpawaAC/0SbHrKRs9i8I3eOs5RtTMGCWXm/9nvZzoHsIg6Mce9315T6xoklyy0yzhD9ah4JHRwMLOgmizw==")
        .expect("Base64");
    let (r, s) = signature.split_at(32);
    let mirrored = STANDARD.encode([r, &p256_order_minus(s)].concat());
    let mirrored = request.without("signature").field("Signature", &format!("ttrp=:{mirrored}:"));
    assert_eq!(reason(&lenient(), &mirrored, at(SIGNED + 1)).await, "it holds");
    assert_eq!(ask(&provider, &mirrored, "", SIGNED + 1), Err(Refusal::Invalid));
}

#[tokio::test]
async fn a_nonce_counts_once_whatever_else_is_signed() {
    let provider = provider(lenient(), 100).await;
    let with = |covered: &str, nonce: &str| {
        let input = format!("{};nonce=\"{nonce}\"", input(covered, SIGNED));
        Request::with("X: y").sign("sig", &input, &Signer::acme())
    };
    assert_eq!(ask(&provider, &with("(\"@method\")", "n1"), "", SIGNED), Ok("acme".into()));
    let again = ask(&provider, &with("(\"@path\")", "n1"), "", SIGNED);
    assert_eq!(again, Err(Refusal::Invalid));
    assert_eq!(ask(&provider, &with("(\"@path\")", "n2"), "", SIGNED), Ok("acme".into()));
    let required = Config { nonce: true, ..lenient() };
    assert_eq!(reason(&required, &signed(COVERED, SIGNED), at(SIGNED)).await, "no_nonce");
}

#[tokio::test]
async fn what_is_altered_does_not_hold() {
    let change = |name: &str, value: &str| signed(COVERED, SIGNED).without(name).field(name, value);
    let mut method = signed(COVERED, SIGNED);
    method.method = http::Method::PUT;
    let mut path = signed(COVERED, SIGNED);
    path.target = "/foo/../admin?param=Value&Pet=dog".into();
    let mut query = signed(COVERED, SIGNED);
    query.target.push_str("&admin=1");
    let mut host = signed(COVERED, SIGNED);
    host.authority = "example.org".into();
    let mut scheme = signed(COVERED, SIGNED);
    scheme.scheme = "http";
    let digest = change("content-digest", "sha-512=:AAAA:");
    let added = signed(COVERED, SIGNED).field("content-digest", "sha-256=:AAAA:");
    for request in [method, path, query, host, scheme, digest, added] {
        assert_eq!(reason(&strict(), &request, at(SIGNED)).await, "signature", "{request:?}");
    }
    // Nobody covered the tenant: whoever wants it covered must ask for it.
    assert_eq!(reason(&strict(), &change("x-tenant", "8"), at(SIGNED)).await, "it holds");
}

#[tokio::test]
async fn another_body_does_not_hold() {
    let provider = provider(strict(), 100).await;
    for body in ["{\"hello\": \"World\"}", "", "{\"hello\": \"world\"} "] {
        let refused = ask(&provider, &signed(COVERED, SIGNED), body, SIGNED);
        assert_eq!(refused, Err(Refusal::Invalid), "{body}");
    }
    // An attempt with another body does not use the real one up.
    let fine = ask(&provider, &signed(COVERED, SIGNED), vectors::BODY, SIGNED);
    assert_eq!(fine, Ok("acme".into()));
}

#[tokio::test]
async fn a_body_without_a_digest_does_not_hold() {
    let provider = provider(strict(), 100).await;
    let request = signed("(\"@method\" \"@target-uri\")", SIGNED);
    assert_eq!(ask(&provider, &request, "x", SIGNED), Err(Refusal::Invalid));
    assert_eq!(ask(&provider, &request, "", SIGNED), Ok("acme".into()));
}

#[tokio::test]
async fn a_digest_must_be_one_that_is_known_and_covered() {
    let digest = |value: &str, covered: &str| {
        Request::with("X: y").without("content-digest").field("content-digest", value).sign(
            "sig",
            &input(covered, SIGNED),
            &Signer::acme(),
        )
    };
    let sha256 = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
    for (value, covered, body, says) in [
        (sha256, COVERED, vectors::BODY, Ok("acme".to_owned())),
        // MD5 and whatever else RFC 9530 calls deprecated says nothing.
        ("md5=:AAAA:", COVERED, vectors::BODY, Err(Refusal::Invalid)),
        ("sha-256=AAAA", COVERED, vectors::BODY, Err(Refusal::Invalid)),
        ("sha-256=:AAAA:, sha-512", COVERED, vectors::BODY, Err(Refusal::Invalid)),
        (
            "sha-256=:AAAA:",
            "(\"@method\" \"@target-uri\" \"content-digest\";key=\"sha-256\")",
            "",
            Err(Refusal::Invalid),
        ),
        // Only the member that is covered counts.
        (
            "sha-512=:AAAA:, sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
            "(\"@method\" \"@target-uri\" \"content-digest\";key=\"sha-256\")",
            vectors::BODY,
            Ok("acme".to_owned()),
        ),
        // All that is covered counts.
        (
            "sha-512=:AAAA:, sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
            COVERED,
            vectors::BODY,
            Err(Refusal::Invalid),
        ),
    ] {
        let provider = provider(strict(), 100).await;
        let said = ask(&provider, &digest(value, covered), body, SIGNED);
        assert_eq!(said, says, "{value} by {covered}");
    }
}

#[tokio::test]
async fn what_must_be_covered_cannot_be_left_out() {
    for covered in [
        "()",
        "(\"@method\")",
        "(\"@method\" \"@path\" \"@query\" \"content-digest\")",
        "(\"@method\" \"@authority\" \"@path\" \"content-digest\")",
        "(\"@target-uri\" \"content-digest\")",
    ] {
        let request = signed(covered, SIGNED);
        assert_eq!(reason(&strict(), &request, at(SIGNED)).await, "uncovered", "{covered}");
    }
    for same in [
        "(\"@target-uri\" \"@method\" \"content-digest\" \"date\")",
        "(\"@method\" \"@scheme\" \"@authority\" \"@path\" \"@query\" \"content-digest\")",
        "(\"@method\" \"@scheme\" \"@authority\" \"@request-target\" \"content-digest\";sf)",
    ] {
        let request = signed(same, SIGNED);
        assert_eq!(reason(&strict(), &request, at(SIGNED)).await, "it holds", "{same}");
    }
}

/// Two signatures that cover one half each do not cover the whole.
#[tokio::test]
async fn one_signature_must_cover_all() {
    let request = Request::with("X: y")
        .sign("one", &input("(\"@method\" \"content-digest\")", SIGNED), &Signer::acme())
        .sign("two", &input("(\"@target-uri\")", SIGNED), &Signer::acme());
    assert_eq!(reason(&strict(), &request, at(SIGNED)).await, "uncovered");
    let request = request.sign("all", &input(COVERED, SIGNED), &Signer::acme());
    assert_eq!(reason(&strict(), &request, at(SIGNED)).await, "it holds");
}

#[tokio::test]
async fn a_signature_has_its_time() {
    let request = signed(COVERED, SIGNED);
    for (now, says) in [
        (SIGNED - 6, "from_future"),
        (SIGNED - 5, "it holds"),
        (SIGNED + 300, "it holds"),
        (SIGNED + 301, "expired"),
    ] {
        assert_eq!(reason(&strict(), &request, at(now)).await, says, "{now}");
    }
    let expires = |input: &str| {
        let input = format!("{COVERED};{input};keyid=\"test-key-ed25519\"");
        Request::with("X: y").sign("sig", &input, &Signer::acme())
    };
    for (input, says) in [
        (format!("created={SIGNED};expires={}", SIGNED + 1), "it holds"),
        (format!("created={SIGNED};expires={SIGNED}"), "expired"),
        (format!("expires={}", SIGNED + 1), "no_time"),
        // As old as can be said, and from the other end of time.
        ("created=0".to_owned(), "expired"),
        ("created=999999999999999".to_owned(), "from_future"),
        // From before it could be remembered what was seen.
        (format!("created={}", SIGNED - 1000), "expired"),
    ] {
        assert_eq!(reason(&strict(), &expires(&input), at(SIGNED)).await, says, "{input}");
    }
    for input in ["created=-1", "created=1.5", "created=\"1\"", "created"] {
        let request = Request::with("X: y")
            .field("Signature-Input", &format!("sig={COVERED};{input}"))
            .field("Signature", "sig=:AAAA:");
        assert_eq!(reason(&strict(), &request, at(SIGNED)).await, "unreadable", "{input}");
    }
}

#[tokio::test]
async fn the_algorithm_is_the_keys() {
    let says = |algorithm: &str, signer: &Signer| {
        let input = format!("{};alg=\"{algorithm}\"", input(COVERED, SIGNED));
        Request::with("X: y").sign("sig", &input, signer)
    };
    let fine = says("ed25519", &Signer::acme());
    assert_eq!(reason(&strict(), &fine, at(SIGNED)).await, "it holds");
    // The public key is no secret, so whoever can have it taken for one can sign.
    let public = hmac::Key::new(hmac::HMAC_SHA256, vectors::ED_PUBLIC.as_bytes());
    let confused = says("hmac-sha256", &Signer::Shared(public));
    assert_eq!(reason(&strict(), &confused, at(SIGNED)).await, "algorithm");
    for algorithm in ["none", "", "rsa-v1_5-sha256", "ED25519", "ecdsa-p256-sha256"] {
        let request = says(algorithm, &Signer::acme());
        assert_eq!(reason(&strict(), &request, at(SIGNED)).await, "algorithm", "{algorithm}");
    }
    let raw = super::der(vectors::ED_PUBLIC);
    let silent = Signer::Shared(hmac::Key::new(hmac::HMAC_SHA256, &raw[12..]));
    let silent = Request::with("X: y").sign("sig", &input(COVERED, SIGNED), &silent);
    assert_eq!(reason(&strict(), &silent, at(SIGNED)).await, "signature");
}

#[tokio::test]
async fn whose_key_it_is_decides() {
    let by = |id: &str, signer: &Signer| {
        let input = format!("{COVERED};created={SIGNED};keyid=\"{id}\"");
        Request::with("X: y").sign("sig", &input, signer)
    };
    // Acme's signature under another's name, names that are nearly one, and none.
    assert_eq!(reason(&strict(), &by("other", &Signer::acme()), at(SIGNED)).await, "signature");
    for id in ["", "TEST-KEY-ED25519", "test-key-ed25519 ", "../test-key-ed25519", "acme"] {
        let request = by(id, &Signer::acme());
        assert_eq!(reason(&strict(), &request, at(SIGNED)).await, "unknown_key", "{id}");
    }
    let nobody = format!("{COVERED};created={SIGNED}");
    let nobody = Request::with("X: y").sign("sig", &nobody, &Signer::acme());
    assert_eq!(reason(&strict(), &nobody, at(SIGNED)).await, "unknown_key");
}

#[tokio::test]
async fn what_is_there_twice_is_refused() {
    let request = signed(COVERED, SIGNED);
    let twice = request.clone().sign("sig", &input(COVERED, SIGNED), &Signer::acme());
    assert_eq!(reason(&strict(), &twice, at(SIGNED)).await, "unreadable");
    let one = request.clone().field("Signature", "sig=:AAAA:");
    assert_eq!(reason(&strict(), &one, at(SIGNED)).await, "unreadable");
    for covered in [
        "(\"@method\" \"@method\" \"@target-uri\" \"content-digest\")",
        "(\"date\" \"date\")",
        "(\"date\" \"date\";bs \"date\";bs)",
    ] {
        let request = Request::with("X: y")
            .field("Signature-Input", &format!("sig={}", input(covered, SIGNED)))
            .field("Signature", "sig=:AAAA:");
        assert_eq!(reason(&strict(), &request, at(SIGNED)).await, "unreadable", "{covered}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let many = |count: usize| {
        let inputs = (0..count).map(|number| format!("s{number}={}", input("()", SIGNED)));
        let signatures = (0..count).map(|number| format!("s{number}=:AAAA:"));
        let (inputs, signatures): (Vec<_>, Vec<_>) = (inputs.collect(), signatures.collect());
        (inputs.join(", "), signatures.join(", "))
    };
    let (inputs, signatures) = many(9);
    let wide = format!("sig=({})", "\"date\" ".repeat(4000));
    for (inputs, signature) in [
        ("", ""),
        ("sig=()", ""),
        ("sig=()", "other=:AAAA:"),
        ("sig=(", "sig=:AAAA:"),
        ("sig=1", "sig=:AAAA:"),
        ("sig=()", "sig=AAAA"),
        ("sig=()", "sig=(:AAAA:)"),
        ("sig=(@method)", "sig=:AAAA:"),
        (inputs.as_str(), signatures.as_str()),
        (wide.as_str(), "sig=:AAAA:"),
    ] {
        let request =
            Request::with("X: y").field("Signature-Input", inputs).field("Signature", signature);
        assert_eq!(reason(&strict(), &request, at(SIGNED)).await, "unreadable", "{inputs:.60}");
    }
    for alone in ["Signature-Input", "Signature"] {
        let request = Request::with("X: y").field(alone, "sig=:AAAA:");
        assert_eq!(reason(&strict(), &request, at(SIGNED)).await, "unreadable", "{alone}");
    }
}

/// A value that ends a line could add a component that nobody covered.
#[tokio::test]
async fn a_value_cannot_end_its_line() {
    let forged = "x\n\"@method\": GET";
    for value in [forged, "x\r", "x\0", "é"] {
        let input = input("(\"@method\" \"x-more\")", SIGNED);
        let request = Request::with("X-More: x").sign("sig", &input, &Signer::acme());
        assert_eq!(reason(&lenient(), &request, at(SIGNED)).await, "it holds");
        let gone = request.clone().without("x-more");
        assert_eq!(reason(&lenient(), &gone, at(SIGNED)).await, "component");
        let request = gone.field("X-More", value);
        assert_eq!(reason(&lenient(), &request, at(SIGNED)).await, "component", "{value:?}");
    }
}

#[tokio::test]
async fn a_tag_tells_whom_a_signature_is_for() {
    let config = Config { tag: Some("shop".into()), ..lenient() };
    let tagged = |tag: &str| {
        let input = format!("{};tag=\"{tag}\"", input("(\"@method\")", SIGNED));
        Request::with("X: y").sign("sig", &input, &Signer::acme())
    };
    assert_eq!(reason(&config, &tagged("shop"), at(SIGNED)).await, "it holds");
    assert_eq!(reason(&config, &tagged("bank"), at(SIGNED)).await, "absent");
    assert_eq!(reason(&config, &signed(COVERED, SIGNED), at(SIGNED)).await, "absent");
}

#[tokio::test]
async fn when_nothing_more_can_be_remembered_nothing_more_counts() {
    let provider = provider(lenient(), 4).await;
    let numbered = |number: u32| {
        let input = format!("{};nonce=\"{number}\"", input("(\"@method\")", SIGNED));
        Request::with("X: y").sign("sig", &input, &Signer::acme())
    };
    // One key may fill half.
    assert_eq!(ask(&provider, &numbered(1), "", SIGNED), Ok("acme".into()));
    assert_eq!(ask(&provider, &numbered(2), "", SIGNED), Ok("acme".into()));
    assert_eq!(ask(&provider, &numbered(3), "", SIGNED), Err(Refusal::Unavailable));
    assert_eq!(ask(&provider, &numbered(1), "", SIGNED), Err(Refusal::Invalid));
}

#[test]
fn what_was_seen_is_remembered_for_as_long_as_it_could_count() {
    let seen = Seen::new(100, at(1000));
    let minute = Duration::from_secs(60);
    assert_eq!(seen.since(minute, at(1000)), at(1000));
    let (key, mark) = (Arc::from("key"), |text: &str| Mark::of("key", Some(text), b""));
    assert_eq!(seen.note(mark("a"), &key, at(1000)), First::Yes);
    assert_eq!(seen.note(mark("a"), &key, at(1060)), First::No);
    assert!(seen.knows(&mark("a")));
    assert_eq!(seen.note(mark("b"), &key, at(1061)), First::Yes);
    assert!(!seen.knows(&mark("a")) && seen.knows(&mark("b")));
    assert_eq!(seen.count(), 1);
    // A longer time begins with what may have been forgotten.
    assert_eq!(seen.since(minute * 5, at(2000)), at(1940));
    assert_eq!(seen.since(minute, at(2000)), at(1000), "a shorter time is all remembered");
    assert_eq!(seen.note(mark("c"), &key, at(2000)), First::Yes);
    assert_eq!(seen.note(mark("c"), &key, at(2299)), First::No);
}

/// The order of P-256 less `s`.
fn p256_order_minus(s: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63,
        0x25, 0x51,
    ];
    let mut difference = ORDER.to_vec();
    let mut borrow = false;
    for (digit, less) in difference.iter_mut().zip(s).rev() {
        let (first, one) = digit.overflowing_sub(*less);
        let (second, two) = first.overflowing_sub(u8::from(borrow));
        *digit = second;
        borrow = one || two;
    }
    difference
}
