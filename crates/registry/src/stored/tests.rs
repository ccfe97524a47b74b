//! What is written is read back as it was: every kind of event, and a state with everything in it.

use std::time::Duration;

use posthouse_base::time::Timestamp;
use posthouse_probe::{Grpc, Http, Target};

use super::{checkpoint, events, image, record};
use crate::config::Config;
use crate::state::kv::{When, Write};
use crate::state::session::{Ask, Behavior, Session, Ttl};
use crate::state::{
    Cause, CheckDefinition, CheckKind, Command, Event, Index, Instance, InstanceId,
    MEMBERSHIP_CHECK, NewCheck, Node, NodeRef, Probe, Registration, ServiceAddress, State, Status,
    Thresholds, Weights,
};

const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000_000 + seconds * 1000)
}

fn node(name: &str) -> Node {
    let tagged = [("lan".to_owned(), "10.0.0.1".to_owned())];
    Node {
        name: name.into(),
        id: format!("id of {name}"),
        address: "10.0.0.1".into(),
        tagged_addresses: tagged.into(),
        meta: [("rack".to_owned(), "7".to_owned())].into(),
    }
}

fn instance(id: &str) -> Instance {
    let wan = ServiceAddress { address: "1.2.3.4".into(), port: 443 };
    Instance {
        id: id.into(),
        service: "web".into(),
        tags: vec!["v1".into(), "é".into()],
        address: "10.0.0.2".into(),
        port: 8080,
        meta: [("zone".to_owned(), "b".to_owned())].into(),
        weights: Weights { passing: 3, warning: 1 },
        tagged_addresses: [("wan".to_owned(), wan)].into(),
        enable_tag_override: true,
    }
}

fn http() -> Target {
    let mut headers = http::HeaderMap::new();
    headers.append("x-twice", http::HeaderValue::from_static("1"));
    headers.append("x-twice", http::HeaderValue::from_static("2"));
    Target::Http(Http {
        tls: true,
        authority: "10.0.0.2:8443".parse().expect("an authority"),
        path: "/healthz?deep".into(),
        method: http::Method::POST,
        headers,
        body: "ping".into(),
        tls_skip_verify: true,
        redirects: 3,
        healthy: 200..=299,
        degraded: 429..=429,
    })
}

fn checks() -> Vec<NewCheck> {
    let grpc = Grpc {
        authority: "10.0.0.2:9000".parse().expect("an authority"),
        service: "shop.Users".into(),
        tls: false,
        tls_skip_verify: false,
    };
    let probe = |target| {
        let thresholds = Thresholds {
            success_before_passing: 1,
            failures_before_warning: 2,
            failures_before_critical: 3,
        };
        let (interval, timeout) = (MINUTE, Duration::from_millis(1500));
        CheckKind::Probe(Box::new(Probe { target, interval, timeout, thresholds }))
    };
    let kinds = [
        CheckKind::Ttl(MINUTE),
        CheckKind::External("script".into()),
        probe(http()),
        probe(Target::Tcp { address: "10.0.0.2:5432".into() }),
        probe(Target::Grpc(grpc)),
    ];
    let new = kinds.into_iter().enumerate().map(|(number, kind)| NewCheck {
        definition: CheckDefinition {
            id: format!("check {number}").into(),
            name: "name".into(),
            notes: "notes".into(),
            instance: Some("web-1".into()),
            kind,
            deregister_after: Some(MINUTE * 60),
        },
        status: Some(Status::Warning),
        output: "said".into(),
    });
    new.collect()
}

/// Commands that come to every kind of durable event of the catalog, and to volatile ones.
fn commands() -> Vec<Command> {
    let own = || "own".into();
    let register = |node, id: &str, checks| {
        let instance = instance(id);
        let replace_checks = false;
        Command::Register(Box::new(Registration { node, instance, checks, replace_checks }))
    };
    let heartbeat = |status| {
        let (id, output) = ("check 0".into(), String::new());
        Command::Heartbeat { node: own(), id, status, output }
    };
    let gone = |id: &str| Command::Deregister {
        node: "other".into(),
        id: InstanceId::from(id),
        cause: Cause::Asked,
    };
    vec![
        Command::Open { own: node("own"), start: Index::new(1000) },
        register(NodeRef::Known(own()), "web-1", checks()),
        heartbeat(Status::Passing),
        heartbeat(Status::Passing),
        register(NodeRef::Set(node("other")), "web-2", Vec::new()),
        Command::Maintain { node: own(), instance: None, reason: Some("why".into()) },
        Command::DeregisterCheck { node: own(), id: "check 1".into() },
        gone("web-2"),
        register(NodeRef::Known("other".into()), "db", Vec::new()),
        Command::RemoveNode("other".into()),
        heartbeat(Status::Critical),
    ]
}

/// Commands that come to every kind of durable event of keys and sessions.
fn store_commands() -> Vec<Command> {
    let set = |key: &str, value: &'static [u8], when| {
        Command::Kv(Write::Set { key: key.into(), value: value.into(), flags: u64::MAX, when })
    };
    let session = |id: &str, behavior| {
        let ttl = Ttl { time: MINUTE.saturating_mul(60), written: "60m".into() };
        Command::Session(Ask::Create(Box::new(Session {
            id: id.into(),
            name: "é".into(),
            node: "own".into(),
            node_checks: vec![MEMBERSHIP_CHECK.into()],
            service_checks: vec!["check 2".into()],
            lock_delay: Duration::from_millis(1500),
            behavior,
            ttl: Some(ttl).filter(|_| behavior == Behavior::Delete),
        })))
    };
    let destroy = |id: &str| Command::Session(Ask::Destroy(id.into()));
    vec![
        session("s-1", Behavior::Release),
        session("s-2", Behavior::Delete),
        session("s-3", Behavior::Release),
        set("a/1", b"\xff\x00 \"", When::Always),
        set("a/2", b"", When::Always),
        set("b", b"1", When::Acquire("s-1".into())),
        set("c", b"1", When::Acquire("s-2".into())),
        set("d", b"1", When::Acquire("s-3".into())),
        destroy("s-1"),
        destroy("s-2"),
        Command::Kv(Write::Delete { key: "a/2".into(), when: None }),
        set("e/1", b"1", When::Always),
        Command::Kv(Write::DeleteTree { prefix: "e/".into() }),
    ]
}

fn blank() -> State {
    State::blank(Config::default().state_limits())
}

/// What comes of the commands: the state, and every record with the index after it.
fn run() -> (State, Vec<(Vec<u8>, Index)>) {
    let mut state = blank();
    let mut records = Vec::new();
    let mut is_written = |state: &State, happened: &[Event]| {
        records.extend(record(happened).map(|record| (record, state.index())));
    };
    for (second, command) in (0..).zip(commands().into_iter().chain(store_commands())) {
        let outcome = state.handle(command, at(second)).expect("no refusals");
        is_written(&state, &outcome.events);
    }
    let expired = state.handle(Command::Tick, at(100)).expect("no refusals");
    assert!(matches!(expired.events[..], [Event::Expired { .. }]), "{:?}", expired.events);
    is_written(&state, &expired.events);
    (state, records)
}

#[test]
fn a_state_is_what_its_records_tell() {
    let (mut state, records) = run();
    let written = commands().len() + store_commands().len();
    assert_eq!(records.len(), written + 1 - 1, "all but one heartbeat");
    assert_eq!((state.kv().count(), state.sessions().count()), (3, 1));
    let mut told = blank();
    for (record, index) in &records {
        told.replay(&events(record).expect("it can be read"), *index);
        assert_eq!(told.index(), *index);
    }
    assert_eq!(state.index(), told.index());
    // What is volatile begins anew.
    state.resume(at(200));
    told.resume(at(200));
    assert_eq!(state, told);
}

#[test]
fn a_state_is_what_its_checkpoint_tells() {
    let (mut state, _) = run();
    let mut told = blank();
    told.bring_back(image(&checkpoint(&state.image())).expect("it can be read"));
    state.resume(at(200));
    told.resume(at(200));
    assert_eq!(state, told);
}

#[test]
fn what_is_damaged_is_no_state() {
    assert!(events(b"[{\"catalog\":{\"unheard_of\":{}}}]").is_err());
    assert!(image(b"{}").is_err());
}
