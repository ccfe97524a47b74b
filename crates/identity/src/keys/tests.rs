//! Keys in fields and queries, through the provider.

use std::net::SocketAddr;

use http::Method;
use posthouse_base::config::{Path, Report};
use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

use super::{Config, Provider, Raw, without};
use crate::consumers::{Actor, Consumers, Declared, Limits, Spec};
use crate::credential::{Credentials, Fields, Outcome, Refusal};
use crate::provider::Finding;
use crate::state::Hash;

struct Lines(Vec<(&'static str, String)>);

impl Fields for Lines {
    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s [u8], &'s [u8])) {
        self.0.iter().for_each(|(name, value)| see(name.as_bytes(), value.as_bytes()));
    }
}

fn config(raw: &Raw) -> Option<Config> {
    Config::check(raw, &Path::root(), &mut Report::new())
}

/// Acme's provider, and a key of acme's.
async fn provider(query: Option<&str>) -> (Provider, String) {
    let raw = Raw { header: "X-Api-Key".into(), query: query.map(Into::into) };
    let tasks = Tasks::new();
    let consumers = Consumers::start(Declared::default(), None, Limits::default(), &tasks);
    let consumers = consumers.await.expect("a start");
    let root = Actor::new("root");
    let spec = Spec { plan: Some("gold".into()), roles: vec!["buyer".into()], ..Spec::default() };
    consumers.create(root.clone(), "acme", spec).await.expect("it is made");
    let issued = consumers.issue_key(root, "acme", None, None).await.expect("a key");
    let provider = Provider {
        name: "keys".into(),
        config: config(&raw).expect("no mistakes"),
        consumers,
        metrics: Default::default(),
    };
    (provider, issued.secret.reveal().to_owned())
}

/// Who shows that: `Ok(None)` for nobody.
fn ask(provider: &Provider, keys: &[&str], target: &str) -> Result<Option<String>, Refusal> {
    let fields = Lines(keys.iter().map(|key| ("x-API-key", (*key).to_owned())).collect());
    let asked = Credentials {
        method: &Method::GET,
        scheme: "https",
        authority: b"example.org",
        path_and_query: target.as_bytes(),
        fields: &fields,
        client: SocketAddr::from(([127, 0, 0, 1], 1)),
        chain: &[],
        now: Timestamp::now(),
    };
    match provider.identify(&asked) {
        Finding::Absent => Ok(None),
        Finding::Decided(Outcome::Known(identity)) => {
            assert_eq!(identity.provider.as_ref(), "keys");
            assert_eq!(identity.plan.as_deref(), Some("gold"));
            assert_eq!(identity.roles, ["buyer".into()]);
            assert_eq!(identity.key.as_deref(), Some("acme/1"));
            Ok(Some(identity.subject.to_string()))
        }
        Finding::Decided(Outcome::Refused(refusal)) => Err(refusal),
        finding => panic!("{finding:?}"),
    }
}

#[tokio::test]
async fn unknown_and_wrong_keys_look_alike() {
    let (provider, key) = provider(None).await;
    assert_eq!(ask(&provider, &[], "/"), Ok(None));
    assert_eq!(ask(&provider, &[&key], "/"), Ok(Some("acme".into())));
    let (short, long) = (&key[..key.len() - 1], "a".repeat(1000));
    for wrong in ["", "x", short, &format!("{key}x"), &key.replace("phk_", ""), &long] {
        assert_eq!(ask(&provider, &[wrong], "/"), Err(Refusal::Invalid), "{wrong}");
    }
    assert_eq!(ask(&provider, &[&key, &key], "/"), Err(Refusal::Invalid));
    // The query only where that is asked for.
    assert_eq!(ask(&provider, &[], &format!("/?api_key={key}")), Ok(None));
}

/// Keys are looked for by their digests. How long that takes may tell how much of a digest agrees, but
/// that says nothing of the key: a guess that is right but for its last letter has a digest as far off
/// as one that is wrong from the first, so that no key can be found out letter by letter.
#[tokio::test]
async fn how_long_a_comparison_takes_says_nothing_of_a_key() {
    let (provider, key) = provider(None).await;
    let right = Hash::of(key.as_bytes()).to_hex();
    let agreeing = |guess: &str| {
        let digits = Hash::of(guess.as_bytes()).to_hex();
        right.bytes().zip(digits.bytes()).take_while(|(right, guess)| right == guess).count()
    };
    assert_eq!(agreeing(&key), 64);
    for at in 4..key.len() {
        for letter in ('a'..='z').filter(|letter| !key[at..].starts_with(*letter)) {
            let guess = format!("{}{letter}{}", &key[..at], &key[at + 1..]);
            assert_eq!(ask(&provider, &[&guess], "/"), Err(Refusal::Invalid), "{guess}");
            // Of some thousand digests the nearest agrees by chance in three digits, or four.
            assert!(agreeing(&guess) < 8, "{guess}");
        }
    }
}

#[tokio::test]
async fn a_key_may_be_in_the_query_where_that_is_asked_for() {
    let (provider, key) = provider(Some("api_key")).await;
    let acme = || Ok(Some("acme".to_owned()));
    for target in [
        format!("/?api_key={key}"),
        format!("/a?x=1&api_key={key}&y"),
        format!("/?%61pi_key={}", key.replace("phk", "%70hk")),
    ] {
        assert_eq!(ask(&provider, &[], &target), acme(), "{target}");
        let left = provider.config.hide(target.as_bytes()).expect("it is taken out");
        let left = String::from_utf8(left).expect("text");
        assert!(!left.contains("key") && !left.contains("hk_"), "{left}");
    }
    for wrong in ["/?api_key=", "/?api_key", &format!("/?api_key={key}&api_key={key}")] {
        assert_eq!(ask(&provider, &[], wrong), Err(Refusal::Invalid), "{wrong}");
    }
    // Two readers could take one of two.
    let both = ask(&provider, &[&key], &format!("/?api_key={key}"));
    assert_eq!(both, Err(Refusal::Invalid));
    for other in ["/?API_KEY=x", "/api_key=x", "/?xapi_key=x", "/?x=api_key"] {
        assert_eq!(ask(&provider, &[], other), Ok(None), "{other}");
    }
}

#[test]
fn what_cannot_be_named_is_refused() {
    for (header, query) in [("", None), ("x y", None), ("x", Some("")), ("x", Some("a&b"))] {
        let raw = Raw { header: header.into(), query: query.map(Into::into) };
        assert_eq!(config(&raw), None, "{header} {query:?}");
    }
}

#[test]
fn the_rest_of_a_query_stays_as_it_is() {
    for (target, left) in [
        ("/", None),
        ("/?", None),
        ("/?a=1", None),
        ("/k=1", None),
        ("/?k=1", Some("/")),
        ("/?k", Some("/")),
        ("/?k=1&a=%20&&b", Some("/?a=%20&&b")),
        ("/?a&k=1&k=2", Some("/?a")),
        ("/?%6B=1&a", Some("/?a")),
        ("/?a=?k=1&k=?", Some("/?a=?k=1")),
    ] {
        let found = without(target.as_bytes(), "k");
        let found = found.map(|left| String::from_utf8(left).expect("text"));
        assert_eq!(found.as_deref(), left, "{target}");
    }
}

proptest! {
    #[test]
    fn nothing_of_a_key_is_left(target in "/[a-c&=?%6Bk1]{0,40}") {
        match without(target.as_bytes(), "k") {
            None => prop_assert!(super::value_of(target.as_bytes(), "k").is_none()),
            Some(left) => prop_assert_eq!(without(&left, "k"), None),
        }
    }

    #[test]
    fn other_parameters_stay(pairs in prop::collection::vec("[a-j]=[a-z]{0,3}", 1..6)) {
        let query = pairs.join("&");
        let with = format!("/x?{query}&k=secret");
        prop_assert_eq!(without(with.as_bytes(), "k"), Some(format!("/x?{query}").into_bytes()));
    }
}
