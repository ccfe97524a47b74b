//! The rules about consumers and keys: what may happen, and what never does.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use posthouse_base::time::Timestamp;
use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::{
    Actor, Ask, By, Command, Effect, Event, Happened, Hash, Image, KeyNumber, Limits, Name, NewKey,
    PublicKey, Refusal, Reply, Revision, Spec, State,
};
use crate::signature::Algorithm;
use crate::stored;

const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000_000 + seconds * 1000)
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub(crate) fn blank() -> State {
    State::blank(Limits { consumers: 3, keys: 3, entries: 3, bytes: 1000 })
}

pub(crate) fn spec(plan: &str) -> Arc<Spec> {
    Arc::new(Spec { plan: Some(plan.into()), ..Spec::default() })
}

pub(crate) fn key(secret: &str) -> NewKey {
    NewKey { name: None, hash: Hash::of(secret.as_bytes()), expires: None }
}

pub(crate) fn create(text: &str) -> Ask {
    Ask::Create { name: name(text), spec: spec("gold") }
}

pub(crate) fn issue(text: &str, secret: &str) -> Ask {
    Ask::Issue { name: name(text), key: key(secret) }
}

/// Lets `ask` happen, and gives what happened.
pub(crate) fn ask(
    state: &mut State,
    ask: Ask,
    now: Timestamp,
) -> Result<(Vec<Event>, Reply, Vec<Effect>), Refusal> {
    let by = By { actor: Actor::new("root"), ask };
    let (events, reply) = state.decide(Command::Do(by), now)?;
    let effects = state.apply(&events);
    Ok((events, reply, effects))
}

fn refused(state: &State, ask: Ask) -> Refusal {
    let by = By { actor: Actor::new("root"), ask };
    state.decide(Command::Do(by), at(0)).expect_err("it is refused")
}

fn keys_of(state: &State, text: &str) -> Vec<(u64, Option<Timestamp>)> {
    let consumer = state.consumers().find(|consumer| consumer.name.as_str() == text);
    let keys = consumer.expect("it is there").keys.iter();
    keys.map(|key| (key.number.get(), key.expires)).collect()
}

#[test]
fn names_are_plain() {
    for fine in ["acme", "a", "Shop-1_x.y~z@b:c"] {
        assert_eq!(Name::new(fine).map(|name| name.to_string()).as_deref(), Some(fine));
    }
    for wrong in ["", ".", "..", "a b", "a/b", "é", "a\n", &"a".repeat(129)] {
        assert_eq!(Name::new(wrong), None, "{wrong:?}");
    }
}

#[test]
fn every_change_says_who_made_it_and_when() {
    let mut state = blank();
    ask(&mut state, create("acme"), at(1)).expect("it happens");
    let (events, reply, effects) = ask(&mut state, issue("acme", "s"), at(2)).expect("it happens");
    assert_eq!(reply, Reply::Issued(KeyNumber::FIRST));
    assert!(
        events.iter().all(|event| event.stamp.by.as_str() == "root" && event.stamp.at == at(2))
    );
    let [Effect::Show { consumer: Some(shown), .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((shown.created.at, shown.changed.at), (at(1), at(2)));
    assert_eq!((shown.revision, state.revision()), (Revision::new(2), Revision::new(2)));
    let history: Vec<_> = state.history().map(|change| change.revision.get()).collect();
    assert_eq!(history, [2, 1]);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut state = blank();
    for consumer in ["acme", "other", "third"] {
        ask(&mut state, create(consumer), at(0)).expect("it happens");
    }
    ask(&mut state, issue("acme", "s"), at(0)).expect("it happens");
    let before = state.clone();
    let gone = || name("nobody");
    let (old, later) = (Some(Revision::new(9)), Some(at(0)));
    let update = |name, expected| Ask::Update { name, spec: spec("x"), expected };
    for (ask, why) in [
        (create("acme"), Refusal::Exists(name("acme"))),
        (create("fourth"), Refusal::Limit { what: "consumers", limit: 3 }),
        (update(gone(), None), Refusal::NoConsumer(gone())),
        (
            update(name("acme"), old),
            Refusal::Changed { name: name("acme"), actual: Revision::new(4) },
        ),
        (
            Ask::Delete { name: name("other"), expected: old },
            Refusal::Changed { name: name("other"), actual: Revision::new(2) },
        ),
        (issue("nobody", "t"), Refusal::NoConsumer(gone())),
        (issue("other", "s"), Refusal::Taken { what: "this key".into(), owner: name("acme") }),
        (
            Ask::Issue { name: name("acme"), key: NewKey { expires: later, ..key("t") } },
            Refusal::ExpiresInPast,
        ),
        (
            Ask::Revoke { name: name("acme"), key: KeyNumber::new(2) },
            Refusal::NoKey(name("acme"), KeyNumber::new(2)),
        ),
    ] {
        assert_eq!(refused(&state, ask), why);
    }
    assert_eq!(state, before);
}

#[test]
fn what_is_one_consumers_only_is_no_others() {
    let mut state = blank();
    let spec = |certificate: &str, key: &str| {
        let key = PublicKey { id: key.into(), algorithm: Algorithm::Ed25519, pem: "pem".into() };
        let (certificates, signature_keys) = (vec![certificate.into()], vec![key]);
        Arc::new(Spec { certificates, signature_keys, ..Spec::default() })
    };
    let create = |text, spec| Ask::Create { name: name(text), spec };
    ask(&mut state, create("acme", spec("CN=a", "k")), at(0)).expect("it happens");
    for (certificate, key, what) in
        [("CN=a", "x", "the certificate `CN=a`"), ("CN=x", "k", "the signing key `k`")]
    {
        let taken = Refusal::Taken { what: what.into(), owner: name("acme") };
        assert_eq!(refused(&state, create("other", spec(certificate, key))), taken);
    }
    let twice = Spec { certificates: vec!["CN=b".into(), "CN=b".into()], ..Spec::default() };
    let refusal = refused(&state, create("other", twice.into()));
    assert!(matches!(refusal, Refusal::Taken { .. }), "{refusal}");
    // Its own may be said again, and are free once it is gone.
    let again = Ask::Update { name: name("acme"), spec: spec("CN=a", "k2"), expected: None };
    ask(&mut state, again, at(0)).expect("it happens");
    ask(&mut state, create("other", spec("CN=b", "k")), at(0)).expect("it is free");
    ask(&mut state, Ask::Delete { name: name("acme"), expected: None }, at(0)).expect("it goes");
    ask(&mut state, create("third", spec("CN=a", "k2")), at(0)).expect("it is free");
}

#[test]
fn many_are_replaced_together_or_not_at_all() {
    let mut state = blank();
    let spec = |certificate: &str| {
        Arc::new(Spec { certificates: vec![certificate.into()], ..Spec::default() })
    };
    let create = |text, spec| Ask::Create { name: name(text), spec };
    for (consumer, certificate) in [("a", "CN=a"), ("b", "CN=b"), ("c", "CN=c")] {
        ask(&mut state, create(consumer, spec(certificate)), at(0)).expect("it happens");
    }
    ask(&mut state, issue("b", "s"), at(0)).expect("it happens");
    let replace = |specs: &[(&str, &str)], gone: &[&str]| Ask::Replace {
        specs: specs.iter().map(|(text, of)| (name(text), spec(of))).collect(),
        gone: gone.iter().map(|text| name(text)).collect(),
    };
    // `a` takes what `b` gives up, which stands after it; `d` what `c` had.
    let asked = replace(&[("a", "CN=b"), ("b", "CN=x"), ("d", "CN=c")], &["c", "nobody"]);
    let (events, _, effects) = ask(&mut state, asked.clone(), at(1)).expect("it happens");
    assert_eq!((events.len(), effects.len()), (4, 4));
    let names: Vec<_> = state.consumers().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["a", "b", "d"]);
    assert_eq!(keys_of(&state, "b").len(), 1, "keys stay");
    let (events, ..) = ask(&mut state, asked, at(2)).expect("it is so");
    assert_eq!(events, []);
    let before = state.clone();
    let swapped = replace(&[("new", "CN=n"), ("a", "CN=x"), ("b", "CN=b")], &["d"]);
    assert!(matches!(refused(&state, swapped), Refusal::Taken { .. }));
    let many = replace(&[("e", "CN=e"), ("f", "CN=f")], &[]);
    assert!(matches!(refused(&state, many), Refusal::Limit { .. }));
    assert_eq!(state, before);
}

#[test]
fn what_is_said_already_is_no_change() {
    let mut state = blank();
    ask(&mut state, create("acme"), at(0)).expect("it happens");
    let same = Ask::Update { name: name("acme"), spec: spec("gold"), expected: None };
    let (events, ..) = ask(&mut state, same, at(1)).expect("it is so");
    assert_eq!((events, state.revision()), (Vec::new(), Revision::new(1)));
}

#[test]
fn limits_hold() {
    let mut state = blank();
    let create = |spec: Spec| Ask::Create { name: name("acme"), spec: spec.into() };
    let words = |count: usize| (0..count).map(|number| number.to_string().into()).collect();
    for (spec, what) in [
        (Spec { roles: words(4), ..Spec::default() }, "roles"),
        (Spec { certificates: words(4), ..Spec::default() }, "certificates"),
        (
            Spec { metadata: [("a".into(), "b".repeat(1000))].into(), ..Spec::default() },
            "bytes for a consumer",
        ),
    ] {
        let refusal = refused(&state, create(spec));
        assert!(matches!(&refusal, Refusal::Limit { what: of, .. } if *of == what), "{refusal}");
    }
    ask(&mut state, create(Spec::default()), at(0)).expect("it happens");
    for secret in ["a", "b", "c"] {
        ask(&mut state, issue("acme", secret), at(0)).expect("it happens");
    }
    let full = Refusal::Limit { what: "keys of a consumer", limit: 3 };
    assert_eq!(refused(&state, issue("acme", "d")), full);
}

#[test]
fn a_key_is_rotated_with_overlap() {
    let mut state = blank();
    ask(&mut state, create("acme"), at(0)).expect("it happens");
    let labelled = NewKey { name: Some("till".into()), ..key("a") };
    ask(&mut state, Ask::Issue { name: name("acme"), key: labelled }, at(0)).expect("it happens");
    let rotate = |old, secret, overlap| Ask::Rotate {
        name: name("acme"),
        old: KeyNumber::new(old),
        overlap,
        key: key(secret),
    };
    let (_, reply, _) = ask(&mut state, rotate(1, "b", MINUTE), at(10)).expect("it happens");
    assert_eq!(reply, Reply::Issued(KeyNumber::new(2)));
    assert_eq!(keys_of(&state, "acme"), [(1, Some(at(70))), (2, None)]);
    let consumer = state.consumers().next().expect("it is there");
    assert_eq!(consumer.keys[0].replaced_by, Some(KeyNumber::new(2)));
    assert_eq!(consumer.keys[1].name.as_deref(), Some("till"));
    assert!(!consumer.keys[0].is_expired(at(69)) && consumer.keys[0].is_expired(at(70)));
    // Rotating an old key again would keep it alive.
    let ends = Refusal::KeyEnds(name("acme"), KeyNumber::new(1));
    assert_eq!(refused(&state, rotate(1, "c", MINUTE)), ends);
    // An overlap never makes a key live longer than it would have.
    let soon = NewKey { expires: Some(at(100)), ..key("soon") };
    ask(&mut state, Ask::Issue { name: name("acme"), key: soon }, at(10)).expect("it happens");
    ask(&mut state, rotate(3, "d", MINUTE * 60), at(80)).expect("the first key has expired");
    assert_eq!(keys_of(&state, "acme"), [(2, None), (3, Some(at(100))), (4, None)]);
    // Without overlap the old one ends at once.
    ask(&mut state, rotate(2, "e", Duration::ZERO), at(200)).expect("it happens");
    assert_eq!(keys_of(&state, "acme"), [(2, Some(at(200))), (4, None), (5, None)]);
}

#[test]
fn no_secret_is_in_the_state() {
    let mut state = blank();
    ask(&mut state, create("acme"), at(0)).expect("it happens");
    let (events, ..) =
        ask(&mut state, issue("acme", "phk_very-secret"), at(0)).expect("it happens");
    let written = String::from_utf8(stored::record(&events).expect("it is kept")).expect("JSON");
    let checkpoint = String::from_utf8(stored::checkpoint(&state.image())).expect("JSON");
    let hash = Hash::of(b"phk_very-secret");
    for text in [&written, &checkpoint] {
        assert!(!text.contains("very-secret") && text.contains(&hash.to_hex()), "{text}");
    }
    for shown in [format!("{state:?}"), format!("{events:?}"), format!("{hash:?}")] {
        assert!(!shown.contains("very-secret") && !shown.contains(&hash.to_hex()), "{shown}");
    }
}

fn asks() -> impl Strategy<Value = Ask> {
    let names = || prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(name);
    let secrets = || any::<u8>().prop_map(|secret| key(&secret.to_string()));
    let numbers = || (1_u64..6).prop_map(KeyNumber::new);
    let specs = || {
        (0_u8..3, prop::sample::subsequence(vec!["CN=a", "CN=b", "CN=c"], 0..3)).prop_map(
            |(plan, certificates)| {
                let certificates = certificates.into_iter().map(Into::into).collect();
                let plan = Some(plan.to_string().into());
                Arc::new(Spec { plan, certificates, ..Spec::default() })
            },
        )
    };
    let overlaps = || (0_u64..5).prop_map(Duration::from_secs);
    prop_oneof![
        (names(), specs()).prop_map(|(name, spec)| Ask::Create { name, spec }),
        (names(), specs()).prop_map(|(name, spec)| Ask::Update { name, spec, expected: None }),
        (names(), Just(())).prop_map(|(name, ())| Ask::Delete { name, expected: None }),
        (prop::collection::btree_map(names(), specs(), 0..3), prop::collection::vec(names(), 0..2))
            .prop_map(|(specs, gone)| Ask::Replace { specs, gone }),
        (names(), secrets()).prop_map(|(name, key)| Ask::Issue { name, key }),
        (names(), secrets()).prop_map(|(name, key)| Ask::Issue { name, key }),
        (names(), numbers(), overlaps(), secrets())
            .prop_map(|(name, old, overlap, key)| Ask::Rotate { name, old, overlap, key }),
        (names(), numbers()).prop_map(|(name, key)| Ask::Revoke { name, key }),
    ]
}

proptest! {
    #[test]
    fn whatever_is_asked_it_stays_sound(asked in prop::collection::vec(asks(), 1..80)) {
        let mut state = blank();
        let mut told = blank();
        let mut shown = HashMap::new();
        let mut revoked = HashSet::new();
        for (second, wanted) in (0..).zip(asked) {
            let before = state.clone();
            let Ok((events, _, effects)) = ask(&mut state, wanted, at(second)) else {
                prop_assert_eq!(&state, &before);
                continue;
            };
            // What is written tells the same.
            if let Some(record) = stored::record(&events) {
                let events = stored::events(&record).expect("it can be read");
                told.replay(&events, state.revision());
            }
            prop_assert_eq!(&told, &state);
            for Effect::Show { name, consumer } in effects {
                match consumer {
                    Some(consumer) => shown.insert(name, consumer),
                    None => shown.remove(&name),
                };
            }
            for event in &events {
                match &event.what {
                    Happened::KeyRevoked { name, key } => {
                        let was = before.consumers[name].created.clone();
                        revoked.insert((name.to_string(), was.at, *key));
                    }
                    Happened::KeyIssued { name, key } => {
                        let born = state.consumers[name].created.at;
                        prop_assert!(!revoked.contains(&(name.to_string(), born, key.number)));
                    }
                    _ => {}
                }
            }
        }
        // Effects show what is; a checkpoint tells it; and what is one's only is so.
        let all: HashMap<_, _> =
            state.consumers.iter().map(|(name, held)| (name.clone(), held.clone())).collect();
        prop_assert_eq!(&shown, &all);
        let image: Image = stored::image(&stored::checkpoint(&state.image())).expect("it is read");
        let mut back = blank();
        back.bring_back(image);
        prop_assert_eq!(&back, &state);
        let keys = state.consumers().map(|consumer| consumer.keys.len()).sum::<usize>();
        let names = state.consumers().map(|consumer| consumer.spec.certificates.len()).sum::<usize>();
        prop_assert_eq!(state.owners.len(), keys + names);
        prop_assert!(state.consumers().all(|consumer| consumer.keys.len() <= 3));
    }
}
