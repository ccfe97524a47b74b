//! The rules: what single commands come to, and what holds after any run of them.

use std::collections::BTreeSet;
use std::time::Duration;

use posthouse_probe::Target;
use proptest::prelude::*;

use super::*;

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000_000 + seconds * 1000)
}

fn node(name: &str, address: &str) -> Node {
    Node {
        name: name.into(),
        id: String::new(),
        address: address.into(),
        tagged_addresses: BTreeMap::new(),
        meta: BTreeMap::new(),
    }
}

fn instance(id: &str, service: &str, port: u16) -> Instance {
    Instance {
        id: id.into(),
        service: service.into(),
        tags: Vec::new(),
        address: String::new(),
        port,
        meta: BTreeMap::new(),
        weights: Weights::default(),
        tagged_addresses: BTreeMap::new(),
        enable_tag_override: false,
    }
}

pub(super) fn check(id: &str, instance: Option<&str>, kind: CheckKind) -> NewCheck {
    let definition = CheckDefinition {
        id: id.into(),
        name: id.into(),
        notes: String::new(),
        instance: instance.map(InstanceId::from),
        kind,
        deregister_after: instance.map(|_| HOUR),
    };
    NewCheck { definition, status: None, output: String::new() }
}

fn probe() -> CheckKind {
    CheckKind::Probe(Box::new(Probe {
        target: Target::Tcp { address: "127.0.0.1:1".into() },
        interval: MINUTE,
        timeout: MINUTE,
        thresholds: Thresholds::default(),
    }))
}

fn register(instance: Instance, checks: Vec<NewCheck>) -> Command {
    let node = NodeRef::Known("own".into());
    Command::Register(Box::new(Registration { node, instance, checks, replace_checks: false }))
}

pub(super) fn heartbeat(id: &str, status: Status) -> Command {
    Command::Heartbeat { node: "own".into(), id: id.into(), status, output: String::new() }
}

pub(super) fn new_state() -> State {
    let limits = Limits { nodes: 4, instances: 8, checks: 16, keys: 6, key_bytes: 60, sessions: 4 };
    State::new(node("own", "127.0.0.1"), limits, Index::new(1), at(0))
}

/// A state with one instance of `web` that has a TTL check of a minute.
fn with_web() -> State {
    let mut state = new_state();
    let ttl = check("alive", Some("web"), CheckKind::Ttl(MINUTE));
    state.handle(register(instance("web", "web", 80), vec![ttl]), at(0)).expect("registered");
    state
}

fn status_of(state: &State, id: &str) -> Option<Status> {
    state.instance(&"own".into(), &id.into()).map(|view| view.status())
}

#[test]
fn a_ttl_check_expires_unless_it_is_reported() {
    let mut state = with_web();
    assert_eq!(status_of(&state, "web"), Some(Status::Critical));
    state.handle(heartbeat("alive", Status::Passing), at(10)).expect("reported");
    assert_eq!(state.next_deadline(), Some(at(70)));
    assert_eq!(state.handle(Command::Tick, at(69)), Ok(Outcome::default()));
    state.handle(heartbeat("alive", Status::Passing), at(69)).expect("reported");
    assert_eq!(state.handle(Command::Tick, at(70)), Ok(Outcome::default()));
    assert_eq!(status_of(&state, "web"), Some(Status::Passing));
    let expired = state.handle(Command::Tick, at(129)).expect("ticked");
    assert!(expired.effects.contains(&Effect::Wake(Topic::Service("web".into()))));
    assert_eq!(status_of(&state, "web"), Some(Status::Critical));
    assert_eq!(state.next_deadline(), Some(at(129).plus(HOUR)), "what is left is to be reaped");
}

#[test]
fn an_instance_that_is_critical_for_too_long_is_deregistered() {
    let mut state = with_web();
    let due = at(0).plus(HOUR);
    state.handle(Command::Tick, at(100)).expect("ticked");
    state.handle(Command::Tick, at(3599)).expect("ticked");
    assert_eq!(status_of(&state, "web"), Some(Status::Critical));
    let reaped = state.handle(Command::Tick, due).expect("ticked");
    let (node, id) = ("own".into(), "web".into());
    assert!(reaped.events.contains(&Event::InstanceRemoved { node, id, cause: Cause::Critical }));
    assert_eq!((status_of(&state, "web"), state.next_deadline()), (None, None));
}

#[test]
fn an_instance_that_recovers_in_time_stays() {
    let mut state = with_web();
    state.handle(heartbeat("alive", Status::Passing), at(3590)).expect("reported");
    state.handle(heartbeat("alive", Status::Critical), at(3595)).expect("reported");
    state.handle(Command::Tick, at(3600)).expect("ticked");
    assert_eq!(status_of(&state, "web"), Some(Status::Critical));
    state.handle(Command::Tick, at(3595).plus(HOUR)).expect("ticked");
    assert_eq!(status_of(&state, "web"), None);
}

#[test]
fn only_the_probe_of_the_present_registration_is_believed() {
    let mut state = new_state();
    let registration =
        |port| register(instance("web", "web", port), vec![check("up", Some("web"), probe())]);
    let started = |outcome: &Outcome| {
        outcome.effects.iter().find_map(|effect| match effect {
            Effect::StartProbing { run, .. } => Some(*run),
            _ => None,
        })
    };
    let first = state.handle(registration(80), at(0)).expect("registered");
    let first = started(&first).expect("it is probed");
    let probed = |run| Command::Probed {
        node: "own".into(),
        id: "up".into(),
        run,
        status: Some(Status::Passing),
        output: "fine".into(),
    };
    state
        .handle(Command::DeregisterCheck { node: "own".into(), id: "up".into() }, at(1))
        .expect("gone");
    let second = state.handle(registration(81), at(2)).expect("registered");
    let second = started(&second).expect("it is probed again");
    assert_eq!(state.handle(probed(first), at(3)), Ok(Outcome::default()));
    assert_eq!(status_of(&state, "web"), Some(Status::Critical));
    state.handle(probed(second), at(3)).expect("believed");
    assert_eq!(status_of(&state, "web"), Some(Status::Passing));
    // The same check again goes on being probed as it is.
    let third = state.handle(registration(82), at(4)).expect("registered");
    assert_eq!(started(&third), None);
}

#[test]
fn an_output_that_changes_wakes_nobody() {
    let mut state = with_web();
    let report = |output: &str| Command::Heartbeat {
        node: "own".into(),
        id: "alive".into(),
        status: Status::Passing,
        output: output.into(),
    };
    state.handle(report("load 1"), at(1)).expect("reported");
    let index = state.index();
    let outcome = state.handle(report("load 2"), at(2)).expect("reported");
    assert_eq!((outcome.effects, state.index()), (vec![], index));
    let checks: Vec<_> = state.checks_of(&"web".into()).collect();
    assert_eq!(checks[0].check.value.output, "load 2");
}

#[test]
fn a_node_s_check_is_a_check_of_everything_on_it() {
    let mut state = with_web();
    let db = register(instance("db", "db", 1), vec![]);
    state.handle(db, at(0)).expect("registered");
    let disk = NewCheck { status: Some(Status::Warning), ..check("disk", None, probe()) };
    let command = Command::RegisterCheck { node: "own".into(), check: disk };
    let outcome = state.handle(command, at(1)).expect("registered");
    for service in ["web", "db"] {
        assert!(outcome.effects.contains(&Effect::Wake(Topic::Service(service.into()))));
    }
    assert_eq!(status_of(&state, "db"), Some(Status::Warning));
}

#[test]
fn tombstones_are_bounded_and_indexes_still_do_not_go_back() {
    let mut state = new_state();
    let ghost = Topic::Service("ghost".into());
    let (node, id) = (NodeName::from("own"), InstanceId::from("x"));
    let pass_by = |state: &mut State, name: &str| {
        state.handle(register(instance("x", name, 1), vec![]), at(0)).expect("registered");
        let (node, id) = (node.clone(), id.clone());
        let gone = Command::Deregister { node, id, cause: Cause::Asked };
        state.handle(gone, at(0)).expect("deregistered");
    };
    pass_by(&mut state, "ghost");
    let before = state.index_of(&ghost);
    for number in 0..=MAX_TOMBSTONES {
        pass_by(&mut state, &format!("s{number}"));
    }
    assert!(state.tombstones.len() <= MAX_TOMBSTONES);
    assert!(state.index_of(&ghost) >= before);
}

fn any_command() -> impl Strategy<Value = Command> {
    let services = prop_oneof![Just("a"), Just("b"), Just("c")];
    let ids = prop_oneof![Just("i"), Just("j"), Just("k")];
    let nodes = prop_oneof![Just("own"), Just("n"), Just("unknown")];
    let checks = prop_oneof![Just("x"), Just("y"), Just("z"), Just(MEMBERSHIP_CHECK)];
    let statuses =
        prop_oneof![Just(Status::Passing), Just(Status::Warning), Just(Status::Critical)];
    let kinds = prop_oneof![
        Just(CheckKind::Ttl(MINUTE)),
        Just(probe()),
        Just(CheckKind::External(String::new()))
    ];
    let whole = (services, ids, nodes, checks, statuses, kinds, 0_u16..2, any::<bool>(), 0..9);
    whole.prop_map(|(service, id, place, check_id, status, kind, port, flag, which)| {
        let node_name = NodeName::from(place);
        let about = flag.then_some(id);
        let checks = vec![check(check_id, Some(id), kind.clone())];
        let (id, check_id) = (InstanceId::from(id), CheckId::from(check_id));
        match which {
            0 => Command::SetNode(node(place, if flag { "1.1.1.1" } else { "2.2.2.2" })),
            1 => Command::RemoveNode(node_name),
            2 | 3 => Command::Register(Box::new(Registration {
                node: if flag { NodeRef::Set(node(place, "3")) } else { NodeRef::Known(node_name) },
                instance: instance(id.as_str(), service, port),
                checks: if port == 0 { checks } else { vec![] },
                replace_checks: flag,
            })),
            4 => Command::Deregister { node: node_name, id, cause: Cause::Asked },
            5 => {
                let check = check(check_id.as_str(), about, kind);
                Command::RegisterCheck { node: node_name, check }
            }
            6 => Command::DeregisterCheck { node: node_name, id: check_id },
            7 => {
                let output = port.to_string();
                Command::Heartbeat { node: node_name, id: check_id, status, output }
            }
            _ => Command::Maintain {
                node: node_name,
                instance: about.map(InstanceId::from),
                reason: (port == 0).then(|| "why".into()),
            },
        }
    })
}

/// What a watcher of a service sees.
fn seen(state: &State, service: &ServiceName) -> String {
    let views = state.instances(service).map(|mut view| {
        // Outputs may change without waking anyone.
        let checks = view.checks.drain(..).map(|check| {
            (check.value.definition.clone(), check.value.status, check.created, check.modified)
        });
        let checks: Vec<_> = checks.collect();
        format!("{:?} {:?} {checks:?}", view.node, view.instance)
    });
    views.collect()
}

/// What must hold in every state.
fn consistent(state: &State) -> Result<(), TestCaseError> {
    let mut members = BTreeSet::new();
    let (mut instances, mut checks, mut deadlines) = (0, 0, BTreeSet::new());
    for (name, node) in &state.nodes {
        for (id, entry) in &node.instances {
            instances += 1;
            members.insert((entry.instance.value.service.clone(), name.clone(), id.clone()));
            for check in &entry.checks {
                let owner = node.checks.get(check).map(|c| c.value.definition.instance.clone());
                prop_assert_eq!(owner, Some(Some(id.clone())));
            }
        }
        for (id, check) in &node.checks {
            checks += 1;
            let check = &check.value;
            let listed = match &check.definition.instance {
                None => node.node_checks.contains(id),
                Some(instance) => {
                    node.instances.get(instance).is_some_and(|entry| entry.checks.contains(id))
                }
            };
            prop_assert!(listed, "{} is not listed with what it is about", id);
            prop_assert_eq!(check.critical_since.is_some(), check.status == Status::Critical);
            let own = |what| move |at| Deadline { at, node: name.clone(), check: id.clone(), what };
            deadlines.extend(check.expires.map(own(Due::Expire)));
            let after = check.definition.instance.as_ref().and(check.definition.deregister_after);
            let reap = check.critical_since.zip(after).map(|(since, after)| since.plus(after));
            deadlines.extend(reap.map(own(Due::Reap)));
        }
    }
    let listed = state.services.iter().flat_map(|(service, entry)| {
        entry.instances.iter().map(|(node, id)| (service.clone(), node.clone(), id.clone()))
    });
    prop_assert_eq!(listed.collect::<BTreeSet<_>>(), members);
    prop_assert!(state.services.values().all(|entry| !entry.instances.is_empty()));
    prop_assert_eq!((state.instance_count, state.check_count), (instances, checks));
    prop_assert_eq!(&state.deadlines, &deadlines);
    prop_assert_eq!(state.instances_by_status().iter().sum::<usize>(), instances);
    Ok(())
}

proptest! {
    #[test]
    fn any_run_of_commands_keeps_what_must_hold(
        commands in proptest::collection::vec((any_command(), 0_u64..40), 1..60)
    ) {
        let mut state = new_state();
        let mut replayed = new_state();
        let topics: Vec<_> = ["a", "b", "c"].map(|name| Topic::Service(name.into())).into_iter()
            .chain(["own", "n"].map(|name| Topic::Node(name.into())))
            .chain([Topic::Services, Topic::Nodes, Topic::Checks])
            .collect();
        let mut now = 0;
        for (command, pause) in commands {
            now += pause;
            for command in [command, Command::Tick] {
                let before = state.clone();
                let outcome = state.handle(command, at(now)).unwrap_or_default();
                for topic in &topics {
                    let (old, new) = (before.index_of(topic), state.index_of(topic));
                    let woken = outcome.effects.contains(&Effect::Wake(topic.clone()));
                    prop_assert!(new >= old, "{:?} went back", topic);
                    prop_assert!(!woken || new > old, "{:?} did not move", topic);
                    // A node that is not there has the index of the list of nodes.
                    let is_there = !matches!(topic, Topic::Node(name) if state.node(name).is_none());
                    prop_assert!(woken || new == old || !is_there, "{:?} moved silently", topic);
                    if let Topic::Service(name) = topic {
                        let is_changed = seen(&before, name) != seen(&state, name);
                        prop_assert!(!is_changed || woken, "{:?} changed unnoticed", topic);
                    }
                }
                replayed.apply(&outcome.events);
                consistent(&state)?;
            }
        }
prop_assert!(state == replayed, "events are the whole truth");
    }

    #[test]
    fn a_change_to_one_service_wakes_no_watcher_of_another(
        commands in proptest::collection::vec((any_command(), 0_u64..40), 0..40),
        port in 10_u16..20,
    ) {
        let mut state = new_state();
        for (command, pause) in commands {
            let _refused = state.handle(command, at(pause));
        }
        let (mine, other) = (Topic::Service("mine".into()), Topic::Service("a".into()));
        let before = state.index_of(&other);
        let ttl = check("mine", Some("mine"), CheckKind::Ttl(MINUTE));
        let all = [
            register(instance("mine", "mine", port), vec![ttl]),
            heartbeat("mine", Status::Passing),
            register(instance("mine", "mine", port + 1), vec![]),
            Command::Deregister { node: "own".into(), id: "mine".into(), cause: Cause::Asked },
        ];
        for command in all {
            let Ok(outcome) = state.handle(command, at(50)) else { continue };
            prop_assert!(outcome.effects.contains(&Effect::Wake(mine.clone())));
            prop_assert!(!outcome.effects.contains(&Effect::Wake(other.clone())));
        }
        prop_assert_eq!(state.index_of(&other), before);
    }
}
