//! Whatever comes in, it is refused or it is what was signed.

use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

use super::super::message::Found;
use super::super::replay::{First, Mark, Seen};
use super::super::verify::{Judged, judge};
use super::{Request, SIGNED, Signer, at, consumers, lenient};

fn value() -> impl Strategy<Value = String> {
    prop::string::string_regex("[ -~]{0,40}").expect("an expression")
}

proptest! {
    #[test]
    fn nothing_that_is_sent_makes_it_fall_over(
        input in ".{0,200}",
        signature in ".{0,200}",
        target in "/.{0,80}",
        value in ".{0,80}",
    ) {
        let mut request = Request::with("X: y")
            .field("Signature-Input", &input)
            .field("Signature", &signature)
            .field("X-More", &value);
        request.target = target;
        let _whatever = Found::of(&request.credentials(at(SIGNED)));
        let input = format!(
            "s=(\"x-more\" \"x-more\";bs \"x-more\";sf \"@query-param\";name=\"a\" \"@path\")\
             ;created={SIGNED}"
        );
        let request = request
            .without("signature-input")
            .without("signature")
            .field("Signature-Input", &input)
            .field("Signature", "s=:AAAA:");
        let found = Found::of(&request.credentials(at(SIGNED)));
        let Found::All(all) = found else { panic!("it can be read") };
        let _whatever = all[0].base(&request.credentials(at(SIGNED)), &super::structures());
    }

    /// What is covered cannot change, in whatever way it is cut into lines.
    #[test]
    fn a_base_says_one_thing(one in value(), other in value()) {
        let base = |value: &str| {
            let request = Request::with("X: y")
                .field("X-More", value)
                .field("Signature-Input", "s=(\"x-more\" \"@method\");created=1")
                .field("Signature", "s=:AAAA:");
            let request = request.credentials(at(0));
            let Found::All(all) = Found::of(&request) else { panic!("it can be read") };
            all[0].base(&request, &super::structures()).expect("it can be written")
        };
        let same = one.trim() == other.trim();
        prop_assert_eq!(base(&one) == base(&other), same);
    }

    /// One of a kind, however many ask.
    #[test]
    fn each_mark_is_first_once(marks in prop::collection::vec(any::<u8>(), 1..200)) {
        let seen = Seen::new(10_000, at(0));
        seen.since(std::time::Duration::from_secs(60), at(0));
        let key = std::sync::Arc::from("key");
        let mut known = std::collections::HashSet::new();
        for (now, mark) in (1..).zip(marks) {
            let first = seen.note(Mark::of("key", None, &[mark]), &key, at(now / 10));
            prop_assert_eq!(first == First::Yes, known.insert(mark));
        }
        prop_assert!(seen.count() == known.len());
    }
}

/// Any bit of a signature, and any bit of what it covers.
#[tokio::test]
async fn no_bit_can_be_turned() {
    let consumers = consumers().await;
    let input =
        format!("(\"@method\" \"@path\" \"date\");created={SIGNED};keyid=\"test-key-ed25519\"");
    let request = Request::with("X: y").sign("sig", &input, &Signer::acme());
    let holds = |request: &Request| {
        let request = request.credentials(at(SIGNED));
        matches!(judge(&lenient(), &request, &consumers.shown(), at(0)), Judged::Holds(_))
    };
    assert!(holds(&request));
    for (at, (name, value)) in request.fields.iter().enumerate() {
        let covered = ["Date", "Signature", "Signature-Input"].contains(&name.as_str());
        for byte in 0..value.len() {
            // Bit 0 keeps what is printable printable.
            let mut turned = value.clone().into_bytes();
            turned[byte] ^= 1;
            let Ok(turned) = String::from_utf8(turned) else { continue };
            // Unused bits at the end of Base64, and the label, which is not signed.
            let mut changed = request.clone();
            changed.fields[at].1 = turned;
            assert!(!(covered && holds(&changed)), "{name}: byte {byte} of {value}");
        }
    }
}
