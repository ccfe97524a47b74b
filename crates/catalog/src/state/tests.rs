//! What commands come to: tables of one change each, and many random ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use posthouse_base::time::Timestamp;

use super::*;
use crate::contract::{Contract, Kind};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn key(text: &str) -> Key {
    match text.split_once('@') {
        Some((api, version)) => Key::version(api, version).expect("names"),
        None => Key::api(text).expect("a name"),
    }
}

fn ending(successor: Option<&str>) -> Ending {
    Ending { successor: successor.map(name), ..Ending::at(NOW) }
}

/// `draft`, `published`, `deprecated`, `deprecated>v2`, `retired>v2`
fn lifecycle(text: &str) -> Lifecycle {
    let (word, successor) =
        text.split_once('>').map_or((text, None), |(word, successor)| (word, Some(successor)));
    match word {
        "draft" => Lifecycle::Draft,
        "published" => Lifecycle::Published,
        "deprecated" => Lifecycle::Deprecated(ending(successor)),
        "retired" => Lifecycle::Retired(ending(successor)),
        other => panic!("{other} is no state"),
    }
}

fn version(at: &str, state: &str) -> Arc<Spec> {
    let version = Version {
        lifecycle: lifecycle(state),
        select: Select::Path(format!("/api/{}", at.rsplit('@').next().unwrap_or_default())),
        ..Version::default()
    };
    Arc::new(Spec::Version(Box::new(version)))
}

fn api() -> Arc<Spec> {
    Arc::new(Spec::Api(Api::default()))
}

fn put(at: &str, spec: Arc<Spec>) -> Change {
    Change::Put { key: key(at), spec, expected: None }
}

/// `users` puts an API, `users@v1 draft` a version, `users@v1 -> published` moves, `-users@v1`
/// removes, `users@v1 = 2` rolls back.
fn change(text: &str) -> Change {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        [at] if at.starts_with('-') => Change::Remove { key: key(&at[1..]) },
        [at] => put(at, api()),
        [at, "->", to] => {
            let Key::Version(api, version) = key(at) else { panic!("{at} is no version") };
            Change::Move { api, version, to: lifecycle(to) }
        }
        [at, "=", to] => {
            Change::RollBack { key: key(at), to: Revision::new(to.parse().expect("a number")) }
        }
        [at, state] => put(at, version(at, state)),
        _ => panic!("{text} is no change"),
    }
}

fn command(changes: &str) -> Command {
    let changes = changes.split(';').filter(|text| !text.trim().is_empty()).map(change);
    let (who, note) = ("ann".into(), "because".into());
    Command::Apply(Apply { who, note, changes: changes.collect(), expected: None })
}

fn carry_out(state: &mut State, command: Command) -> Result<Applied, Refusal> {
    let decided = state.decide(command, NOW)?;
    state.apply(&decided.events);
    assert_eq!(state.mark(), decided.reply.mark);
    Ok(decided.reply)
}

fn after(before: &str) -> State {
    let mut state = State::blank(Limits::default());
    for changes in before.split('|') {
        carry_out(&mut state, command(changes)).unwrap_or_else(|why| panic!("{changes}: {why}"));
    }
    state
}

/// What there is: `users@v1 published 2` with the state and the revision.
fn told(state: &State) -> Vec<String> {
    let entries = state.entries().map(|(key, entry)| {
        let last = entry.last().expect("a revision");
        let spec = match last.spec.as_deref() {
            Some(Spec::Version(version)) => version.lifecycle.word(),
            Some(_) => "there",
            None => "gone",
        };
        let at = match key {
            Key::Api(api) => api.to_string(),
            Key::Version(api, version) => format!("{api}@{version}"),
            Key::Plan(plan) => format!("plan {plan}"),
        };
        format!("{at} {spec} {}", last.revision)
    });
    entries.collect()
}

#[track_caller]
fn works(before: &str, changes: &str, expected: &[&str]) {
    let mut state = after(before);
    carry_out(&mut state, command(changes)).unwrap_or_else(|why| panic!("{changes}: {why}"));
    assert_eq!(told(&state), expected, "{before} | {changes}");
}

#[track_caller]
fn refused(before: &str, changes: &str, part: &str) {
    let mut state = after(before);
    let held = state.clone();
    let why = carry_out(&mut state, command(changes)).expect_err(changes);
    assert!(why.to_string().contains(part), "{changes}: {why}");
    assert_eq!(state, held, "a refused command has changed something");
}

#[test]
fn a_version_goes_through_its_life() {
    let v1 = "users; users@v1 draft";
    works(v1, "users@v1 -> published", &["users there 1", "users@v1 published 2"]);
    let v1 = "users; users@v1 draft|users@v1 -> published|users@v1 -> deprecated";
    works(v1, "users@v1 -> retired", &["users there 1", "users@v1 retired 4"]);
    works(v1, "users@v1 -> published", &["users there 1", "users@v1 published 4"]);
    works(v1, "users@v1 -> deprecated", &["users there 1", "users@v1 deprecated 3"]);
    works(v1, "users@v1 = 2", &["users there 1", "users@v1 published 4"]);
    works("", "users; users@v1 deprecated", &["users there 1", "users@v1 deprecated 1"]);
}

#[test]
fn no_step_of_its_life_is_left_out() {
    for (from, to, help) in [
        ("draft", "deprecated", "publish it first"),
        ("draft", "retired", "publish it first"),
        ("published", "draft", "make another version"),
        ("published", "retired", "deprecate it first"),
        ("deprecated", "draft", "make another version"),
        ("retired", "draft", "roll it back"),
        ("retired", "published", "roll it back"),
        ("retired", "deprecated", "roll it back"),
    ] {
        let before = format!("users; users@v1 {from}");
        refused(&before, &format!("users@v1 -> {to}"), help);
        refused(&before, &format!("users@v1 {to}"), help);
    }
}

#[test]
fn what_takes_calls_is_not_removed() {
    for state in ["published", "deprecated"] {
        refused(&format!("users; users@v1 {state}"), "-users@v1", "takes calls");
    }
    for state in ["draft", "retired"] {
        let before = format!("users; users@v1 {state}");
        works(&before, "-users@v1", &["users there 1", "users@v1 gone 2"]);
        works(&before, "-users@v1; -users", &["users gone 2", "users@v1 gone 2"]);
        refused(&before, "-users", "has versions");
    }
    let before = "users; users@v1 retired; users@v2 published|users@v1 -> retired>v2";
    let gone = ["users there 1", "users@v1 gone 3", "users@v2 published 1"];
    works(before, "-users@v1", &gone);
    let at_once = "users@v1 -> published; -users@v1";
    refused("users; users@v1 draft", at_once, "takes calls");
}

#[test]
fn what_is_not_there_is_not_changed() {
    refused("users", "-users@v1", "there is no version `users@v1`");
    refused("users", "users@v1 -> published", "there is no version");
    refused("", "users@v1 draft", "there is no API `users`");
    refused("users; users@v1 draft", "users@v1 = 2", "no revision 2");
    refused("users; users@v1 draft|-users@v1", "users@v1 = 2", "nothing to go back to");
    works(
        "users; users@v1 draft|-users@v1",
        "users@v1 = 1",
        &["users there 1", "users@v1 draft 3"],
    );
}

#[test]
fn a_successor_is_there_and_leads_on() {
    let two = "users; users@v1 published; users@v2 published";
    works(
        two,
        "users@v1 -> deprecated>v2",
        &["users there 1", "users@v1 deprecated 2", "users@v2 published 1"],
    );
    refused(two, "users@v1 -> deprecated>v3", "no version `v3`");
    refused(two, "users@v1 -> deprecated>v1", "cannot succeed itself");
    let draft = "users; users@v1 published; users@v2 draft";
    refused(draft, "users@v1 -> deprecated>v2", "is a draft");
    refused(two, "users@v1 -> deprecated>v2; users@v2 -> deprecated>v1", "in a circle");
    let chain = "users; users@v1 published; users@v2 retired|users@v1 -> deprecated>v2";
    refused(chain, "-users@v2", "no version `v2`");
}

#[test]
fn versions_are_told_apart() {
    let spec = |select, state| {
        let version = Version { lifecycle: lifecycle(state), select, ..Version::default() };
        Arc::new(Spec::Version(Box::new(version)))
    };
    let header =
        |name: &str, value: &str| Select::Header { name: name.to_owned(), value: value.to_owned() };
    let check = |one: Select, other: Select, state, is_fine: bool| {
        let mut state = {
            let mut blank = State::blank(Limits::default());
            let changes = vec![
                put("users", api()),
                put("users@v1", spec(one, "published")),
                put("users@v2", spec(other, state)),
            ];
            let (who, note) = ("ann".into(), "".into());
            let apply = Apply { who, note, changes, expected: None };
            carry_out(&mut blank, Command::Apply(apply))
        };
        if is_fine {
            assert!(state.is_ok(), "{state:?}");
        } else {
            let why = state.as_mut().expect_err("the same calls").to_string();
            assert!(why.contains("meant by the same calls"), "{why}");
        }
    };
    let path = |path: &str| Select::Path(path.to_owned());
    check(path("/v1"), path("/v2"), "published", true);
    check(path("/v1"), path("/v1"), "published", false);
    check(path("/v1"), path("/v1"), "retired", false);
    check(path("/v1"), path("/v1"), "draft", true);
    check(header("x", "1"), header("x", "2"), "published", true);
    check(header("x", "1"), header("X", "1"), "published", false);
    check(Select::All, Select::All, "published", false);
    let media = |text: &str| Select::MediaType(text.to_owned());
    check(media("a/b"), media("A/b"), "published", false);
    check(Select::Host("a".into()), Select::Host("b".into()), "published", true);
}

#[test]
fn whoever_is_late_is_told() {
    let mut state = after("users; users@v1 draft|users@v1 -> published");
    let mark = state.mark();
    let apply = |expected, changes: &str| {
        let Command::Apply(apply) = command(changes) else { panic!("no changes") };
        Command::Apply(Apply { expected, ..apply })
    };
    let late = state.decide(apply(Some(Mark::new(mark.get() - 1)), "users@v1 -> deprecated"), NOW);
    assert_eq!(late.expect_err("late"), Refusal::Behind);
    let expect = |expected| {
        let spec = version("users@v1", "deprecated");
        let changes = vec![Change::Put { key: key("users@v1"), spec, expected: Some(expected) }];
        let (who, note) = ("ann".into(), "".into());
        Command::Apply(Apply { who, note, changes, expected: None })
    };
    let late = state.decide(expect(Some(Revision::FIRST)), NOW).expect_err("late");
    assert_eq!(late, Refusal::Changed { key: key("users@v1"), is: 2 });
    assert!(state.decide(expect(None), NOW).is_err(), "it is there");
    carry_out(&mut state, expect(Some(Revision::new(2)))).expect("in time");
    let now = state.mark();
    carry_out(&mut state, apply(Some(now), "users@v1 -> retired")).expect("in time");
}

#[test]
fn what_stays_the_same_is_no_change() {
    let mut state = after("users; users@v1 published");
    let mark = state.mark();
    let applied = carry_out(&mut state, command("users; users@v1 published")).expect("it is fine");
    assert_eq!((applied.mark, applied.changed.len(), state.mark()), (mark, 0, mark));
}

#[test]
fn each_change_says_who_when_and_why() {
    let state = after("users|users@v1 draft|users@v1 -> published");
    let entry = state.entry(&key("users@v1")).expect("it is there");
    let causes: Vec<Cause> = entry.revisions().map(|changed| changed.cause).collect();
    assert_eq!(causes, [Cause::Put, Cause::Moved]);
    for changed in entry.revisions() {
        assert_eq!((changed.who.as_ref(), changed.note.as_ref()), ("ann", "because"));
        assert_eq!((changed.at, changed.origin), (NOW, Origin::Asked));
    }
}

#[test]
fn what_the_file_declares_is_changed_there_only() {
    let mut state = after("orders; orders@v1 published|users; users@v1 published; users@v9 draft");
    let declared: Specs =
        [(key("users"), api()), (key("users@v2"), version("users@v2", "published"))].into();
    let declare = |specs: &Specs| Command::Declare { specs: specs.clone() };
    carry_out(&mut state, declare(&declared)).expect("it goes together");
    assert_eq!(
        told(&state),
        [
            "orders there 1",
            "users there 2",
            "orders@v1 published 1",
            "users@v1 gone 2",
            "users@v2 published 1",
            "users@v9 gone 2",
        ]
    );
    let mark = state.mark();
    carry_out(&mut state, declare(&declared)).expect("again");
    assert_eq!(state.mark(), mark, "nothing has changed");
    for refused in
        ["users@v2 -> deprecated", "users@v3 draft", "-users@v2", "users", "users@v1 = 1"]
    {
        let why = carry_out(&mut state, command(refused)).expect_err(refused);
        assert!(why.to_string().contains("declared in the file"), "{refused}: {why}");
    }
    carry_out(&mut state, command("orders@v1 -> deprecated")).expect("it is not the file's");
    carry_out(&mut state, declare(&Specs::new())).expect("nothing is declared");
    assert_eq!(told(&state)[1], "users gone 3");
    carry_out(&mut state, command("users; users@v1 = 1")).expect("it is nobody's");
    let last = state.entry(&key("users")).and_then(|entry| entry.last().cloned());
    assert_eq!(last.expect("a revision").origin, Origin::Asked);
}

#[test]
fn there_is_a_limit_to_everything() {
    let limits = Limits {
        apis: 2,
        versions: 2,
        plans: 1,
        changes: 4,
        revisions: 3,
        removed: 1,
        contract_bytes: 10,
    };
    let mut state = State::blank(limits);
    carry_out(&mut state, command("a; b; a@v1 draft; a@v2 draft")).expect("it fits");
    for (changes, what) in
        [("c", "APIs"), ("a@v3 draft", "versions"), ("a; a; a; a; a", "changes in one command")]
    {
        let why = carry_out(&mut state, command(changes)).expect_err(changes).to_string();
        assert!(why.contains(what), "{changes}: {why}");
    }
    let contract = |text: &str| {
        let contract = Some(Contract::new(Kind::OpenApi, text));
        let version = Version { contract, ..Version::default() };
        let changes = vec![put("a@v1", Arc::new(Spec::Version(Box::new(version))))];
        let (who, note) = ("ann".into(), "".into());
        Command::Apply(Apply { who, note, changes, expected: None })
    };
    carry_out(&mut state, contract("0123456789")).expect("it fits");
    let why = carry_out(&mut state, contract("x")).expect_err("one more").to_string();
    assert!(why.contains("bytes of descriptions"), "{why}");
    carry_out(&mut state, command("a@v2 -> published")).expect("it fits");
    carry_out(&mut state, command("a@v2 -> deprecated")).expect("it fits");
    carry_out(&mut state, command("a@v2 -> retired")).expect("it fits");
    let entry = state.entry(&key("a@v2")).expect("it is there");
    let kept: Vec<u64> = entry.revisions().map(|changed| changed.revision.get()).collect();
    assert_eq!(kept, [2, 3, 4], "the first is forgotten");
    assert!(carry_out(&mut state, command("a@v2 = 1")).is_err());
    carry_out(&mut state, command("-a@v2")).expect("it is retired");
    carry_out(&mut state, command("-b")).expect("it is empty");
    assert_eq!(told(&state).len(), 3, "one of the two removed is forgotten: {:?}", told(&state));
}

/// A random command, which is often refused.
fn any(luck: &mut Rng, state: &State) -> Command {
    let apis = ["a", "b"];
    let versions = ["v1", "v2", "v3"];
    let some_version =
        |luck: &mut Rng| format!("{}@{}", apis[luck.usize(..2)], versions[luck.usize(..3)]);
    let some_state = |luck: &mut Rng| {
        let successor = versions[luck.usize(..3)];
        match luck.u8(..6) {
            0 => "draft".to_owned(),
            1 => "published".into(),
            2 => "deprecated".into(),
            3 => format!("deprecated>{successor}"),
            4 => "retired".into(),
            _ => format!("retired>{successor}"),
        }
    };
    if luck.u8(..12) == 0 {
        let mut specs = Specs::new();
        if luck.bool() {
            let at = apis[luck.usize(..2)];
            specs.insert(key(at), api());
            let at = format!("{at}@v{}", luck.u8(1..4));
            specs.insert(key(&at), version(&at, "published"));
        }
        return Command::Declare { specs };
    }
    let changes = (0..luck.usize(1..4)).map(|_| match luck.u8(..8) {
        0 => change(apis[luck.usize(..2)]),
        1 => change(&format!("-{}", apis[luck.usize(..2)])),
        2 => change(&format!("-{}", some_version(luck))),
        3 | 4 => change(&format!("{} -> {}", some_version(luck), some_state(luck))),
        5 => change(&format!("{} = {}", some_version(luck), luck.u8(1..9))),
        _ => change(&format!("{} {}", some_version(luck), some_state(luck))),
    });
    let changes = changes.collect();
    let expected = (luck.u8(..10) == 0).then(|| Mark::new(luck.u64(..state.mark().get() + 2)));
    Command::Apply(Apply { who: "ann".into(), note: "".into(), changes, expected })
}

/// Whatever is asked: what is refused changes nothing, what is done is sound, told by its events
/// alone, and each entry's revisions are counted without a gap.
#[test]
fn random_commands_leave_it_sound() {
    let mut done = 0;
    for seed in 0..60 {
        let mut luck = Rng::with_seed(seed);
        let limits = Limits { revisions: 4, removed: 3, ..Limits::default() };
        let (mut state, mut told) = (State::blank(limits), State::blank(limits));
        let mut last: BTreeMap<Key, Revision> = BTreeMap::new();
        for _ in 0..200 {
            let command = any(&mut luck, &state);
            let before = state.clone();
            let Ok(decided) = state.decide(command, NOW) else {
                assert_eq!(state, before, "seed {seed}");
                continue;
            };
            done += 1;
            state.apply(&decided.events);
            told.replay(&decided.events, state.mark());
            assert_eq!(state, told, "seed {seed}");
            let specs = state.specs();
            for api in ["a", "b"] {
                let sound = sound::check(&specs, &name(api), &limits);
                assert_eq!(sound, Ok(()), "seed {seed}");
            }
            for event in &decided.events {
                let before = last.insert(event.key.clone(), event.revision);
                let follows = event.revision == before.map_or(Revision::FIRST, Revision::next);
                // Forgotten ones begin anew.
                assert!(follows || event.revision == Revision::FIRST, "seed {seed}: {event:?}");
            }
        }
    }
    assert!(done > 1000, "most was refused: {done}");
}
