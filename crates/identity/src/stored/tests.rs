//! What is written is read back as it was, and what cannot be read is told.

use std::sync::Arc;
use std::time::Duration;

use super::{checkpoint, events, image, record};
use crate::signature::Algorithm;
use crate::state::tests::{ask, at, blank, create, issue, key, name};
use crate::state::{Ask, KeyNumber, NewKey, PublicKey, Spec};

/// Asks that come to every kind of event, with everything in it.
fn asks() -> Vec<Ask> {
    let public = PublicKey { id: "k".into(), algorithm: Algorithm::Ed25519, pem: "PEM\n".into() };
    let spec = Spec {
        plan: Some("gold".into()),
        roles: vec!["buyer".into(), "é".into()],
        metadata: [("owner".to_owned(), "\"ops\"".to_owned())].into(),
        certificates: vec!["CN=till".into()],
        signature_keys: vec![public],
    };
    let labelled = NewKey { name: Some("till".into()), expires: Some(at(50)), ..key("labelled") };
    let rotate = Ask::Rotate {
        name: name("acme"),
        old: KeyNumber::FIRST,
        overlap: Duration::from_secs(1),
        key: key("new"),
    };
    vec![
        Ask::Create { name: name("acme"), spec: Arc::new(spec) },
        create("other"),
        Ask::Issue { name: name("acme"), key: labelled },
        rotate,
        issue("acme", "third"),
        // One that has expired makes room.
        issue("acme", "fourth"),
        Ask::Update { name: name("other"), spec: Arc::default(), expected: None },
        Ask::Revoke { name: name("acme"), key: KeyNumber::new(2) },
        Ask::Delete { name: name("other"), expected: None },
    ]
}

#[test]
fn a_state_is_what_its_records_and_its_checkpoint_tell() {
    let (mut state, mut told) = (blank(), blank());
    let mut kinds = std::collections::BTreeSet::new();
    for (second, asked) in (0..).zip(asks()) {
        let (happened, ..) = ask(&mut state, asked, at(second * 3)).expect("no refusals");
        let record = record(&happened).expect("everything is kept");
        let events = events(&record).expect("it can be read");
        assert_eq!(events, happened);
        for event in &events {
            kinds.insert(format!("{:?}", event.what).split(' ').next().map(str::to_owned));
        }
        told.replay(&events, state.revision());
    }
    assert_eq!(kinds.len(), 7, "every kind is tried: {kinds:?}");
    assert_eq!(told, state);
    let mut back = blank();
    back.bring_back(image(&checkpoint(&state.image())).expect("it can be read"));
    assert_eq!(back, state);
}

#[test]
fn nothing_is_written_of_nothing() {
    assert_eq!(record(&[]), None);
}

#[test]
fn what_is_damaged_is_no_state() {
    for damaged in [
        "{\"by\":\"x\",\"at\":1,\"what\":[{\"unheard_of\":{}}]}",
        "{\"by\":\"x\",\"at\":1,\"what\":[{\"deleted\":{\"name\":\"a b\"}}]}",
        "[]",
    ] {
        assert!(events(damaged.as_bytes()).is_err(), "{damaged}");
    }
    assert!(image(b"{}").is_err());
    let key = "{\"number\":1,\"sha256\":\"00\",\"issued\":[\"x\",1]}";
    let issued = format!(
        "{{\"by\":\"x\",\"at\":1,\"what\":[{{\"key_issued\":{{\"name\":\"a\",\"key\":{key}}}}}]}}"
    );
    assert!(events(issued.as_bytes()).is_err());
}
