//! The rules of keys, locks and sessions against a model that is too simple to be wrong, and of
//! transactions against carrying out their operations on the whole state.

use std::time::Duration;

use proptest::prelude::*;

use super::kv::{Entry, Version, When, Write};
use super::session::{Ask, Behavior, Session, Ttl};
use super::tests::{HOUR, at, check, heartbeat, new_state};
use super::txn::{Op, Verb};
use super::*;

const KEYS: [&str; 6] = ["a", "a/", "a/b", "a/b/c", "a/c", "b"];
const PREFIXES: [&str; 6] = ["", "a", "a/", "a/b", "a/b/", "x"];
const SESSIONS: [&str; 3] = ["s0", "s1", "s2"];

/// What may be asked, before it is known what it is asked of.
#[derive(Clone, Debug)]
enum Step {
    Set { key: &'static str, value: u8, flags: u64 },
    Cas { key: &'static str, value: u8, is_current: bool },
    Acquire { key: &'static str, value: u8, session: &'static str },
    Release { key: &'static str, value: u8, session: &'static str },
    Delete { key: &'static str },
    DeleteCas { key: &'static str, is_current: bool },
    DeleteTree { prefix: &'static str },
    Create { session: &'static str, ttl: Option<u64>, delay: u64, deletes: bool, is_bound: bool },
    Destroy { session: &'static str },
    Renew { session: &'static str },
    Health { status: Status },
    Wait { seconds: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    let key = || prop::sample::select(&KEYS[..]);
    let session = || prop::sample::select(&SESSIONS[..]);
    let value = || 0_u8..3;
    prop_oneof![
        2 => (key(), value(), 0_u64..2).prop_map(|(key, value, flags)| Step::Set { key, value, flags }),
        2 => (key(), value(), any::<bool>())
            .prop_map(|(key, value, is_current)| Step::Cas { key, value, is_current }),
        4 => (key(), value(), session())
            .prop_map(|(key, value, session)| Step::Acquire { key, value, session }),
        2 => (key(), value(), session())
            .prop_map(|(key, value, session)| Step::Release { key, value, session }),
        1 => key().prop_map(|key| Step::Delete { key }),
        1 => (key(), any::<bool>()).prop_map(|(key, is_current)| Step::DeleteCas { key, is_current }),
        1 => prop::sample::select(&PREFIXES[..]).prop_map(|prefix| Step::DeleteTree { prefix }),
        3 => (session(), prop::option::of(10_u64..15), 0_u64..70, any::<bool>(), any::<bool>())
            .prop_map(|(session, ttl, delay, deletes, is_bound)| {
                Step::Create { session, ttl, delay, deletes, is_bound }
            }),
        1 => session().prop_map(|session| Step::Destroy { session }),
        2 => session().prop_map(|session| Step::Renew { session }),
        2 => prop_oneof![Just(Status::Passing), Just(Status::Warning), Just(Status::Critical)]
            .prop_map(|status| Step::Health { status }),
        2 => (0_u64..30).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// Keys, locks and sessions as one would explain them.
#[derive(Default)]
struct Model {
    keys: BTreeMap<&'static str, (u8, u64, Option<&'static str>, u64)>,
    sessions: BTreeMap<&'static str, Life>,
    delays: BTreeMap<&'static str, u64>,
    is_critical: bool,
}

#[derive(Clone, Copy)]
struct Life {
    ttl: Option<u64>,
    since: u64,
    delay: u64,
    deletes: bool,
    is_bound: bool,
}

impl Model {
    fn end(&mut self, session: &'static str, now: u64) {
        let Some(life) = self.sessions.remove(session) else { return };
        let held =
            |(_, _, holder, _): &(u8, u64, Option<&'static str>, u64)| *holder == Some(session);
        let keys: Vec<_> =
            self.keys.iter().filter(|(_, entry)| held(entry)).map(|(k, _)| *k).collect();
        for key in keys {
            if life.deletes {
                self.keys.remove(key);
            } else if let Some((_, _, holder, _)) = self.keys.get_mut(key) {
                *holder = None;
            }
            if life.delay > 0 {
                self.delays.insert(key, now + life.delay.min(60));
            }
        }
    }

    fn pass_time(&mut self, now: u64) {
        let is_over = |life: &Life| life.ttl.is_some_and(|ttl| life.since + 2 * ttl <= now);
        let over: Vec<_> =
            self.sessions.iter().filter(|(_, life)| is_over(life)).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.end(id, now));
    }

    /// Whether the step is carried out.
    fn take(&mut self, step: &Step, now: u64) -> bool {
        let known = |key: &str| self.keys.get(key).copied();
        match *step {
            Step::Set { key, value, flags } => {
                let (_, _, holder, locks) = known(key).unwrap_or_default();
                self.keys.insert(key, (value, flags, holder, locks));
            }
            Step::Cas { is_current: false, .. } => return false,
            Step::Cas { key, value, .. } => {
                let (_, _, holder, locks) = known(key).unwrap_or_default();
                self.keys.insert(key, (value, 0, holder, locks));
            }
            Step::Acquire { key, value, session } => {
                let (_, _, holder, locks) = known(key).unwrap_or_default();
                let is_delayed = self.delays.get(key).is_some_and(|until| *until > now);
                let is_other_s = holder.is_some_and(|holder| holder != session);
                if is_delayed || is_other_s || !self.sessions.contains_key(session) {
                    return false;
                }
                let locks = if holder.is_none() { locks + 1 } else { locks };
                self.keys.insert(key, (value, 0, Some(session), locks));
            }
            Step::Release { key, value, session } => match known(key) {
                Some((_, _, Some(holder), locks)) if holder == session => {
                    self.keys.insert(key, (value, 0, None, locks));
                }
                _ => return false,
            },
            Step::Delete { key } => drop(self.keys.remove(key)),
            Step::DeleteCas { key, is_current } => {
                if known(key).is_some() && !is_current {
                    return false;
                }
                self.keys.remove(key);
            }
            Step::DeleteTree { prefix } => self.keys.retain(|key, _| !key.starts_with(prefix)),
            Step::Create { session, .. } if self.sessions.contains_key(session) => {}
            Step::Create { is_bound: true, .. } if self.is_critical => return false,
            Step::Create { session, ttl, delay, deletes, is_bound } => {
                self.sessions.insert(session, Life { ttl, since: now, delay, deletes, is_bound });
            }
            Step::Destroy { session } => self.end(session, now),
            Step::Renew { session } => match self.sessions.get_mut(session) {
                Some(life) => life.since = now,
                None => return false,
            },
            Step::Health { status } => {
                self.is_critical = status == Status::Critical;
                if self.is_critical {
                    let bound = self.sessions.iter().filter(|(_, life)| life.is_bound);
                    let bound: Vec<_> = bound.map(|(id, _)| *id).collect();
                    bound.into_iter().for_each(|id| self.end(id, now));
                }
            }
            Step::Wait { .. } => {}
        }
        true
    }
}

fn value(value: u8) -> bytes::Bytes {
    vec![b'v'; value.into()].into()
}

/// The command for a step, in this state.
fn command(step: &Step, state: &State) -> Command {
    let version = |key: &str, is_current: bool| match state.kv().get(&key.into()) {
        Some(stored) if is_current => Version::At(stored.modified),
        None if is_current => Version::Absent,
        _ => Version::At(Index::new(1_000_000)),
    };
    let set = |key: &str, wanted: u8, flags, when| {
        Command::Kv(Write::Set { key: key.into(), value: value(wanted), flags, when })
    };
    match *step {
        Step::Set { key, value, flags } => set(key, value, flags, When::Always),
        Step::Cas { key, value, is_current } => {
            set(key, value, 0, When::Unchanged(version(key, is_current)))
        }
        Step::Acquire { key, value, session } => set(key, value, 0, When::Acquire(session.into())),
        Step::Release { key, value, session } => set(key, value, 0, When::Release(session.into())),
        Step::Delete { key } => Command::Kv(Write::Delete { key: key.into(), when: None }),
        Step::DeleteCas { key, is_current } => {
            let when = Some(version(key, is_current));
            Command::Kv(Write::Delete { key: key.into(), when })
        }
        Step::DeleteTree { prefix } => Command::Kv(Write::DeleteTree { prefix: prefix.into() }),
        Step::Create { session, .. } if state.session(&session.into()).is_some() => Command::Tick,
        Step::Create { session, ttl, delay, deletes, is_bound } => {
            let seconds = |seconds| Ttl {
                time: Duration::from_secs(seconds),
                written: format!("{seconds}s"),
            };
            Command::Session(Ask::Create(Box::new(Session {
                id: session.into(),
                name: String::new(),
                node: "own".into(),
                node_checks: is_bound.then(|| "disk".into()).into_iter().collect(),
                service_checks: Vec::new(),
                lock_delay: Duration::from_secs(delay),
                behavior: if deletes { Behavior::Delete } else { Behavior::Release },
                ttl: ttl.map(seconds),
            })))
        }
        Step::Destroy { session } => Command::Session(Ask::Destroy(session.into())),
        Step::Renew { session } => Command::Session(Ask::Renew(session.into())),
        Step::Health { status } => heartbeat("disk", status),
        Step::Wait { .. } => Command::Tick,
    }
}

/// A state whose node has a check that sessions may be bound to.
fn with_disk() -> State {
    let mut state = new_state();
    let disk = NewCheck {
        status: Some(Status::Passing),
        ..check("disk", None, CheckKind::Ttl(HOUR.saturating_mul(100)))
    };
    let register = Command::RegisterCheck { node: "own".into(), check: disk };
    state.handle(register, at(0)).expect("registered");
    state
}

fn shown(state: &State) -> Vec<(String, usize, u64, Option<String>, u64)> {
    let entries = state.kv().under("").map(|stored| {
        let Entry { key, value, flags, session, locks } = &stored.value;
        let session = session.as_ref().map(ToString::to_string);
        (key.to_string(), value.len(), *flags, session, *locks)
    });
    entries.collect()
}

fn watched() -> Vec<Topic> {
    let keys = KEYS.iter().map(|key| Topic::Key((*key).into()));
    let folders = ["", "a/", "a/b/"].iter().map(|folder| Topic::Folder((*folder).into()));
    let sessions = SESSIONS.iter().map(|id| Topic::Session((*id).into()));
    let others = [Topic::Sessions, Topic::SessionsOf("own".into())];
    keys.chain(folders).chain(sessions).chain(others).collect()
}

/// What a watcher of `topic` sees.
fn seen(state: &State, topic: &Topic) -> String {
    match topic {
        Topic::Key(key) => format!("{:?}", state.kv().get(key)),
        Topic::Folder(folder) => {
            format!("{:?}", state.kv().under(folder.as_str()).collect::<Vec<_>>())
        }
        Topic::Session(id) => format!("{:?}", state.session(id)),
        _ => format!("{:?}", state.sessions().collect::<Vec<_>>()),
    }
}

/// What must hold in every state.
fn consistent(state: &State) -> Result<(), TestCaseError> {
    let store = state.kv();
    prop_assert_eq!(store.count(), store.under("").count());
    let size =
        store.under("").map(|stored| stored.value.key.as_str().len() + stored.value.value.len());
    prop_assert_eq!(store.size(), u64::try_from(size.sum::<usize>()).expect("small"));
    let holders = store.under("").filter_map(|stored| {
        stored.value.session.clone().map(|session| (session, stored.value.key.clone()))
    });
    let mut held: BTreeMap<SessionId, BTreeSet<Key>> = BTreeMap::new();
    for (session, key) in holders {
        prop_assert!(state.session(&session).is_some(), "{} is locked by nobody", key);
        held.entry(session).or_default().insert(key);
    }
    prop_assert_eq!(&store.held, &held);
    let image = state.image();
    let back = State::from_image(image.clone(), state.limits);
    prop_assert_eq!(format!("{:?}", back.image()), format!("{image:?}"));
    prop_assert_eq!(&back.kv, &state.kv);
    prop_assert_eq!(&back.sessions.by_check, &state.sessions.by_check);
    Ok(())
}

proptest! {
    #[test]
    fn keys_locks_and_sessions_are_as_one_would_explain_them(
        steps in proptest::collection::vec(any_step(), 1..80)
    ) {
        let (mut state, mut model) = (with_disk(), Model::default());
        let mut replayed = state.clone();
        let mut now = 0;
        for step in &steps {
            if let Step::Wait { seconds } = step {
                now += seconds;
            }
            let before = state.clone();
            let ticked = state.handle(Command::Tick, at(now)).expect("ticked");
            let outcome = state.handle(command(step, &state), at(now));
            model.pass_time(now);
            let is_taken = model.take(step, now);
            prop_assert_eq!(outcome.is_ok(), is_taken, "{:?} came to {:?}", step, outcome);
            let outcome = outcome.unwrap_or_default();
            let expected: Vec<_> = model.keys.iter().map(|(key, (value, flags, holder, locks))| {
                ((*key).to_owned(), usize::from(*value), *flags, holder.map(str::to_owned), *locks)
            }).collect();
            prop_assert_eq!(shown(&state), expected, "after {:?}", step);
            let sessions: Vec<_> = state.sessions().map(|s| s.value.id.to_string()).collect();
            prop_assert_eq!(sessions, model.sessions.keys().copied().collect::<Vec<_>>());
            for topic in watched() {
                let (old, new) = (before.index_of(&topic), state.index_of(&topic));
                let wake = Effect::Wake(topic.clone());
                let woken = ticked.effects.contains(&wake) || outcome.effects.contains(&wake);
                prop_assert!(new >= old, "{:?} went back", topic);
                prop_assert!(!woken || new > old, "{:?} did not move", topic);
                prop_assert_eq!(seen(&before, &topic) != seen(&state, &topic), woken, "{:?}", topic);
            }
            replayed.apply(&ticked.events);
            replayed.apply(&outcome.events);
            consistent(&state)?;
        }
        prop_assert!(state == replayed, "events are the whole truth");
    }

    #[test]
    fn a_transaction_is_what_its_operations_are_one_after_the_other(
        steps in proptest::collection::vec(any_step(), 0..30),
        ops in proptest::collection::vec((any_step(), 0_usize..14), 1..8),
    ) {
        let mut state = with_disk();
        for step in &steps {
            let _refused = state.handle(command(step, &state), at(1));
        }
        let ops: Vec<_> = ops.into_iter().map(|(step, which)| op(&step, which, &state)).collect();
        let whole = state.clone().try_all(ops.clone(), at(2));
        prop_assert_eq!(&state.decide_txn(ops.clone(), at(2)), &whole);
        let before = state.clone();
        match state.handle(Command::Transact(ops), at(2)) {
            Ok(outcome) => {
                let mut replayed = before.clone();
                replayed.apply(&outcome.events);
                prop_assert!(replayed == state);
                prop_assert!(state.index() <= before.index().next(), "it takes one index");
            }
            Err(_) => prop_assert!(state == before, "a refused transaction changes nothing"),
        }
        consistent(&state)?;
    }
}

/// An operation: of keys by a step, or else one of the others.
fn op(step: &Step, which: usize, state: &State) -> Op {
    let key = || Key::from(KEYS[which % KEYS.len()]);
    let version = || {
        let stored = state.kv().get(&key());
        stored.map_or(Version::Absent, |stored| Version::At(stored.modified))
    };
    let disk = |status| {
        let kind = CheckKind::External(String::new());
        Box::new(NewCheck { status: Some(status), ..check("disk", None, kind) })
    };
    let node = || Node {
        name: "other".into(),
        id: "1".into(),
        address: which.to_string(),
        tagged_addresses: BTreeMap::new(),
        meta: BTreeMap::new(),
    };
    match (which, command(step, state)) {
        (0 | 1, _) => Op::Check(Verb::Set, "own".into(), disk(Status::Critical)),
        (2, _) => Op::Check(Verb::Delete, "own".into(), disk(Status::Passing)),
        (3, _) => Op::Node(Verb::Set, node()),
        (4, _) => Op::Node(Verb::Delete, node()),
        (_, Command::Kv(write)) => Op::Write(write),
        (5, _) => Op::GetTree("a".into()),
        (6, _) => Op::CheckIndex(key(), version()),
        (7, _) => Op::CheckNotExists(key()),
        (8, _) => Op::CheckSession(key(), Some("s0".into())),
        (9, _) => Op::Get(key()),
        _ => Op::GetOrEmpty(key()),
    }
}

#[test]
fn a_tombstone_too_many_takes_no_index_back() {
    let mut state = with_disk();
    state.limits.keys = 10;
    let write =
        |state: &mut State, write| state.handle(Command::Kv(write), at(1)).expect("written");
    let set =
        |key: &str| Write::Set { key: key.into(), value: value(1), flags: 0, when: When::Always };
    let delete = |key: &str| Write::Delete { key: key.into(), when: None };
    write(&mut state, set("a/b"));
    write(&mut state, set("a/gone"));
    write(&mut state, delete("a/gone"));
    let (key, prefix) = (state.kv().key_index(&"a/gone".into()), state.kv().prefix_index("a/"));
    for number in 0..=MAX_TOMBSTONES {
        write(&mut state, set(&format!("t{number}")));
        write(&mut state, delete(&format!("t{number}")));
    }
    assert!(state.kv().tombstones.len() <= MAX_TOMBSTONES);
    assert!(state.kv().key_index(&"a/gone".into()) >= key);
    assert!(state.kv().prefix_index("a/") >= prefix);
}

#[test]
fn a_session_begins_its_time_anew_after_a_restart() {
    let mut state = with_disk();
    let create =
        Step::Create { session: "s0", ttl: Some(10), delay: 0, deletes: false, is_bound: false };
    state.handle(command(&create, &state), at(0)).expect("created");
    let mut back = State::from_image(state.image(), state.limits);
    assert_eq!(back.handle(Command::Tick, at(100)).expect("ticked").events, []);
    back.resume(at(100));
    let left = |state: &mut State, seconds| {
        state.handle(Command::Tick, at(seconds)).expect("ticked");
        state.sessions().count()
    };
    assert_eq!((left(&mut back, 119), left(&mut back, 120)), (1, 0));
    assert_eq!((left(&mut state, 19), left(&mut state, 20)), (1, 0));
}
