//! What is written is read back as it was: every kind of event, and a state with everything in it.

use std::sync::Arc;

use posthouse_base::time::Timestamp;
use serde_json::json;

use super::*;
use crate::contract::Kind;
use crate::state::{
    Api, Apply, Change, Command, Ending, Key, Lifecycle, Limits, Plan, Revision, Select, Spec,
    Specs, State, Version,
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_123);
const OPENAPI: &str = "openapi: 3.1.0\ninfo: { title: é, version: '1' }\npaths: {}\n";
const PROTO: &str = "syntax = \"proto3\";\nservice A { rpc B(C) returns (D); }\n";

fn key(text: &str) -> Key {
    match text.split_once('@') {
        Some((api, version)) => Key::version(api, version).expect("names"),
        None => Key::api(text).expect("a name"),
    }
}

fn object(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    let serde_json::Value::Object(map) = value else { panic!("{value} is no object") };
    map
}

fn ending() -> Ending {
    Ending {
        deprecated: Timestamp::from_millis(1_790_000_000_000),
        sunset: Some(NOW),
        successor: Some("v2".parse().expect("a name")),
        documentation: Some("https://docs.example/v1".into()),
    }
}

fn full(select: Select, contract: Option<Contract>) -> Version {
    Version {
        lifecycle: Lifecycle::Published,
        description: "d".into(),
        owner: Some("o".into()),
        select,
        service: Some("users".into()),
        strip: true,
        routes: vec![object(json!({ "match": { "path": "/x" } }))],
        defaults: object(json!({ "timeout": "5s" })),
        contract,
        validate: true,
        guard: object(json!({ "scopes": ["a"] })),
        limits: vec![json!({ "by": "all", "rate": "1/s" })],
    }
}

fn put(at: &str, version: Version) -> Change {
    let spec = Arc::new(Spec::Version(Box::new(version)));
    Change::Put { key: key(at), spec, expected: None }
}

/// Commands that come to every kind of event, with everything in them.
fn commands() -> Vec<Command> {
    let api = Api {
        title: "t".into(),
        description: "d".into(),
        owner: "o".into(),
        host: Some("h.example".into()),
        path: Some("/p".into()),
        default: None,
        guard: object(json!({ "identity": ["keys"] })),
        limits: vec![json!({ "by": "all", "rate": "1/s" })],
    };
    let plan = Plan {
        title: "t".into(),
        description: "d".into(),
        limits: vec![json!({ "by": "consumer", "quota": "10/day" })],
    };
    let entry = |key: Key, spec| Change::Put { key, spec: Arc::new(spec), expected: None };
    let openapi = || Some(Contract::new(Kind::OpenApi, OPENAPI));
    let header = || Select::Header { name: "x".into(), value: "1".into() };
    let apply = |changes| {
        let (who, note) = ("ann".into(), "é".into());
        Command::Apply(Apply { who, note, changes, expected: None })
    };
    let move_to = |at: &str, to| {
        let Key::Version(api, version) = key(at) else { panic!("{at} is no version") };
        Change::Move { api, version, to }
    };
    let declared: Specs = [(key("file"), Arc::new(Spec::Api(Api::default())))].into();
    let default = Api { default: Some("v3".parse().expect("a name")), ..api.clone() };
    vec![
        apply(vec![
            entry(key("users"), Spec::Api(api)),
            entry(Key::plan("gold").expect("a name"), Spec::Plan(plan)),
            put("users@v1", full(Select::Path("/v1".into()), openapi())),
            put("users@v2", full(Select::Host("h".into()), openapi())),
        ]),
        apply(vec![
            put("users@v3", full(header(), Some(Contract::new(Kind::Proto, PROTO)))),
            put("users@v4", full(Select::MediaType("a/b".into()), None)),
            put("users@v5", full(Select::All, None)),
            entry(key("users"), Spec::Api(default)),
        ]),
        // With the same description.
        apply(vec![put(
            "users@v1",
            Version { description: "new".into(), ..full(Select::Path("/v1".into()), openapi()) },
        )]),
        apply(vec![move_to("users@v1", Lifecycle::Deprecated(ending()))]),
        apply(vec![move_to("users@v1", Lifecycle::Retired(ending()))]),
        apply(vec![put("users@v6", Version { select: Select::All, ..Version::default() })]),
        apply(vec![Change::Remove { key: key("users@v6") }]),
        apply(vec![Change::RollBack { key: key("users@v1"), to: Revision::FIRST }]),
        Command::Declare { specs: declared },
    ]
}

fn run() -> (State, Vec<(Vec<u8>, Mark)>) {
    let mut state = State::blank(Limits::default());
    let mut records = Vec::new();
    for command in commands() {
        let decided = state.decide(command, NOW).expect("no refusals");
        state.apply(&decided.events);
        records.push((record(&decided.events).expect("something happened"), state.mark()));
    }
    (state, records)
}

#[test]
fn a_state_is_what_its_records_tell() {
    let (state, records) = run();
    let mut told = State::blank(Limits::default());
    for (record, mark) in &records {
        told.replay(&events(record).expect("it can be read"), *mark);
        assert_eq!(told.mark(), *mark);
    }
    assert_eq!(state, told);
    assert_eq!(record(&[]), None);
}

#[test]
fn a_state_is_what_its_checkpoint_tells() {
    let (state, _) = run();
    let written = checkpoint(&state.image());
    let mut told = State::blank(Limits::default());
    told.bring_back(image(&written).expect("it can be read"));
    assert_eq!(state, told);
    let text = String::from_utf8(written).expect("JSON");
    assert_eq!(text.matches("title: é").count(), 1, "a description is written once");
}

#[test]
fn a_description_that_stays_is_not_written_again() {
    let (_, records) = run();
    let texts: Vec<usize> = records
        .iter()
        .map(|(record, _)| String::from_utf8_lossy(record).matches("title: é").count())
        .collect();
    assert_eq!(texts, [1, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn what_is_damaged_is_no_state() {
    let event = |what: &str| {
        format!(r#"{{"events":[{{"key":["a"],"revision":1,"who":"w","at":1,"what":{what}}}]}}"#)
    };
    assert!(events(event(r#""removed""#).as_bytes()).is_ok());
    for broken in [
        event(r#""unheard_of""#),
        event(r#"{"put":{"version":{"lifecycle":"draft","contract":"00"}}}"#),
        event(r#""removed""#).replace(r#"["a"]"#, r#"["a","b","c"]"#),
        event(r#""removed""#).replace(r#"["a"]"#, r#"["-"]"#),
        "[]".into(),
    ] {
        assert!(events(broken.as_bytes()).is_err(), "{broken}");
    }
    assert!(image(b"{}").is_err());
}
