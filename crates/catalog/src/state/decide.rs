//! What a command comes to. Changes are made one after the other on a draft of the catalog, which
//! must be sound as a whole in the end: so an API can be made with its versions, and what one
//! change breaks, the next may mend.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use posthouse_base::time::Timestamp;

use super::command::{Applied, Apply, Change, Command, Event, Mark, Refusal, What};
use super::model::{Key, Lifecycle, Name, Origin, Revision, Spec, Specs};
use super::{Decided, State, moved, sound};

/// Who changes what the file declares.
const FILE: &str = "file";

pub(super) fn decide(state: &State, command: Command, now: Timestamp) -> Result<Decided, Refusal> {
    match command {
        Command::Apply(apply) => wanted(state, apply, now),
        Command::Declare { specs } => declared(state, &specs, now),
        Command::Tick => Ok(Draft::new(state, FILE.into(), "".into(), now).done()),
    }
}

fn wanted(state: &State, apply: Apply, now: Timestamp) -> Result<Decided, Refusal> {
    let Apply { who, note, changes, expected } = apply;
    if expected.is_some_and(|expected| expected != state.mark) {
        return Err(Refusal::Behind);
    }
    let limit = state.limits.changes;
    if changes.len() > limit {
        return Err(Refusal::Full { what: "changes in one command", limit });
    }
    let mut draft = Draft::new(state, who, note, now);
    for change in changes {
        draft.change(change)?;
    }
    draft.check()?;
    Ok(draft.done())
}

/// What the file has is the file's, and what it had and has no more is gone.
fn declared(state: &State, specs: &Specs, now: Timestamp) -> Result<Decided, Refusal> {
    let mut draft = Draft::new(state, FILE.into(), "".into(), now);
    let apis: BTreeSet<&Name> = specs.keys().filter_map(Key::api_name).collect();
    let gone: Vec<Key> = draft
        .specs
        .keys()
        .filter(|key| !specs.contains_key(key))
        // An API belongs to the file with all its versions.
        .filter(|key| {
            draft.is_of_the_file(key) || key.api_name().is_some_and(|api| apis.contains(api))
        })
        .cloned()
        .collect();
    for key in gone {
        draft.remove(key, Origin::File);
    }
    for (key, spec) in specs {
        let is_new = draft.specs.get(key) != Some(spec) || !draft.is_of_the_file(key);
        if is_new {
            draft.put(key.clone(), Arc::clone(spec), Origin::File);
        }
    }
    draft.check()?;
    Ok(draft.done())
}

/// The catalog as it would be.
struct Draft<'a> {
    state: &'a State,
    specs: Specs,
    revisions: BTreeMap<Key, Revision>,
    who: Arc<str>,
    note: Arc<str>,
    now: Timestamp,
    events: Vec<Event>,
}

impl<'a> Draft<'a> {
    fn new(state: &'a State, who: Arc<str>, note: Arc<str>, now: Timestamp) -> Self {
        let (specs, revisions, events) = (state.specs(), BTreeMap::new(), Vec::new());
        Self { state, specs, revisions, who, note, now, events }
    }

    fn change(&mut self, change: Change) -> Result<(), Refusal> {
        let key = change.key();
        self.is_free(&key)?;
        match change {
            Change::Put { key, spec, expected } => self.ask_put(key, spec, expected),
            Change::Move { to, .. } => self.go(key, to),
            Change::RollBack { key, to } => self.roll_back(key, to),
            Change::Remove { key } => self.ask_remove(key),
        }
    }

    fn ask_put(
        &mut self,
        key: Key,
        spec: Arc<Spec>,
        expected: Option<Option<Revision>>,
    ) -> Result<(), Refusal> {
        if !spec.suits(&key) {
            let message = "it is described as something else".to_owned();
            return Err(Refusal::Unsound { key, field: "", message });
        }
        let there = self.specs.get(&key);
        let is = there.and(self.revision(&key));
        if expected.is_some_and(|expected| expected != is) {
            return Err(Refusal::Changed { key, is: is.map_or(0, Revision::get) });
        }
        if there == Some(&spec) {
            return Ok(());
        }
        if let Some((before, after)) = there.and_then(|old| old.as_version()).zip(spec.as_version())
        {
            step(&key, &before.lifecycle, &after.lifecycle)?;
        }
        self.put(key, spec, Origin::Asked);
        Ok(())
    }

    fn go(&mut self, key: Key, to: Lifecycle) -> Result<(), Refusal> {
        let there = self.specs.get(&key).ok_or_else(|| Refusal::Unknown(key.clone()))?;
        let Some(version) = there.as_version() else { return Err(Refusal::Unknown(key)) };
        if version.lifecycle == to {
            return Ok(());
        }
        step(&key, &version.lifecycle, &to)?;
        let spec = moved(there, &to);
        self.happened(key, What::Moved(to), Some(spec), Origin::Asked);
        Ok(())
    }

    fn roll_back(&mut self, key: Key, to: Revision) -> Result<(), Refusal> {
        let entry = self.state.entry(&key).ok_or_else(|| Refusal::Unknown(key.clone()))?;
        let Some(changed) = entry.revision(to) else {
            return Err(Refusal::UnknownRevision(key, to));
        };
        let Some(spec) = &changed.spec else { return Err(Refusal::WasRemoved(key, to)) };
        if self.specs.get(&key) != Some(spec) {
            let spec = Arc::clone(spec);
            // Within this command its revision may be forgotten before it is needed: written out
            // then.
            let kept = u64::try_from(self.state.limits.revisions).unwrap_or(u64::MAX);
            let is_near = self.next(&key).get() - to.get() < kept;
            let what = if is_near {
                What::RolledBack(to)
            } else {
                What::Put { spec: Arc::clone(&spec), keeps_contract: false }
            };
            self.happened(key, what, Some(spec), Origin::Asked);
        }
        Ok(())
    }

    fn ask_remove(&mut self, key: Key) -> Result<(), Refusal> {
        let there = self.specs.get(&key).ok_or_else(|| Refusal::Unknown(key.clone()))?;
        if there.as_version().is_some_and(|version| version.lifecycle.takes_calls()) {
            return Err(Refusal::InUse(key));
        }
        if let Key::Api(api) = &key
            && !sound::versions(&self.specs, api).is_empty()
        {
            return Err(Refusal::HasVersions(key));
        }
        self.remove(key, Origin::Asked);
        Ok(())
    }

    fn put(&mut self, key: Key, spec: Arc<Spec>, origin: Origin) {
        let contract = |spec: &Arc<Spec>| spec.as_version().and_then(|it| it.contract.clone());
        let before = self.specs.get(&key).and_then(contract);
        let keeps_contract = before.is_some() && before == contract(&spec);
        let what = What::Put { spec: Arc::clone(&spec), keeps_contract };
        self.happened(key, what, Some(spec), origin);
    }

    fn remove(&mut self, key: Key, origin: Origin) {
        self.happened(key, What::Removed, None, origin);
    }

    fn happened(&mut self, key: Key, what: What, spec: Option<Arc<Spec>>, origin: Origin) {
        let revision = self.next(&key);
        self.revisions.insert(key.clone(), revision);
        match spec {
            Some(spec) => self.specs.insert(key.clone(), spec),
            None => self.specs.remove(&key),
        };
        let (who, note, at) = (Arc::clone(&self.who), Arc::clone(&self.note), self.now);
        self.events.push(Event { key, revision, who, note, at, origin, what });
    }

    /// Refuses what the file has said otherwise about.
    fn is_free(&self, key: &Key) -> Result<(), Refusal> {
        let api = key.api_name().map(|api| Key::Api(api.clone()));
        match [Some(key), api.as_ref()].into_iter().flatten().find(|key| self.is_of_the_file(key)) {
            Some(theirs) => Err(Refusal::Declared(theirs.clone())),
            None => Ok(()),
        }
    }

    fn is_of_the_file(&self, key: &Key) -> bool {
        let last = self.state.entry(key).and_then(|entry| entry.last());
        last.is_some_and(|last| last.spec.is_some() && last.origin == Origin::File)
    }

    fn revision(&self, key: &Key) -> Option<Revision> {
        let known = || Some(self.state.entry(key)?.last()?.revision);
        self.revisions.get(key).copied().or_else(known)
    }

    fn next(&self, key: &Key) -> Revision {
        self.revision(key).map_or(Revision::FIRST, Revision::next)
    }

    /// Looks at all that was touched, as it would be.
    fn check(&self) -> Result<(), Refusal> {
        let touched = self.events.iter().filter_map(|event| event.key.api_name());
        for api in touched.collect::<BTreeSet<_>>() {
            sound::check(&self.specs, api, &self.state.limits)?;
        }
        let count = |is: fn(&Key) -> bool| self.specs.keys().filter(|key| is(key)).count();
        let limits = &self.state.limits;
        for (what, count, limit) in [
            ("APIs", count(|key| matches!(key, Key::Api(_))), limits.apis),
            ("plans", count(|key| matches!(key, Key::Plan(_))), limits.plans),
        ] {
            if !self.events.is_empty() && count > limit {
                return Err(Refusal::Full { what, limit });
            }
        }
        self.has_room()
    }

    fn has_room(&self) -> Result<(), Refusal> {
        let new = self.events.iter().filter_map(|event| match &event.what {
            What::Put { spec, keeps_contract: false } => spec.as_version()?.contract.as_ref(),
            _ => None,
        });
        let new: usize = new.map(|contract| contract.text().len()).sum();
        let limit = self.state.limits.contract_bytes;
        if new > 0 && self.state.contract_bytes().saturating_add(new) > limit {
            return Err(Refusal::Full { what: "bytes of descriptions", limit });
        }
        Ok(())
    }

    fn done(self) -> Decided {
        let mark = self.state.mark.get();
        let mark = Mark::new(if self.events.is_empty() { mark } else { mark.saturating_add(1) });
        let changed = self.revisions.into_iter().collect();
        Decided { events: self.events, reply: Applied { mark, changed } }
    }
}

fn step(key: &Key, from: &Lifecycle, to: &Lifecycle) -> Result<(), Refusal> {
    if to.may_follow(from) {
        return Ok(());
    }
    let help = match (from, to) {
        (Lifecycle::Draft, _) => "publish it first, or remove it",
        (Lifecycle::Published, Lifecycle::Retired(_)) => {
            "deprecate it first, so that clients are told"
        }
        (Lifecycle::Retired(_), _) => "roll it back to a revision that took calls",
        _ => "clients may use it; make another version",
    };
    Err(Refusal::Step { key: key.clone(), from: from.word(), to: to.word(), help })
}
