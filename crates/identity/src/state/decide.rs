//! Commands into events.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use posthouse_base::time::Timestamp;

use super::command::{Ask, By, Command, Event, Happened, Refusal, Reply};
use super::model::{ApiKey, Consumer, KeyNumber, Name, NewKey, Revision, Spec, Stamp};
use super::{Owned, State};

/// What is to happen, and what to answer.
type Decided = Result<(Vec<Happened>, Reply), Refusal>;

impl State {
    /// What `command` comes to at the time `now`.
    pub(crate) fn decide(
        &self,
        command: Command,
        now: Timestamp,
    ) -> Result<(Vec<Event>, Reply), Refusal> {
        let Command::Do(By { actor, ask }) = command else { return Ok((Vec::new(), Reply::Done)) };
        let stamp = Stamp { by: actor, at: now };
        let (happened, reply) = self.decide_ask(ask, &stamp)?;
        let events = happened.into_iter().map(|what| Event { stamp: stamp.clone(), what });
        Ok((events.collect(), reply))
    }

    fn decide_ask(&self, ask: Ask, stamp: &Stamp) -> Decided {
        match ask {
            Ask::Create { name, spec } => self.create(name, spec),
            Ask::Update { name, spec, expected } => self.update(&name, spec, expected),
            Ask::Delete { name, expected } => {
                self.expect(&name, expected)?;
                Ok((vec![Happened::Deleted { name }], Reply::Done))
            }
            Ask::Issue { name, key } => self.issue(self.find(&name)?, key, stamp),
            Ask::Rotate { name, old, overlap, key } => {
                self.rotate(self.find(&name)?, old, overlap, key, stamp)
            }
            Ask::Revoke { name, key } => {
                key_of(self.find(&name)?, key)?;
                Ok((vec![Happened::KeyRevoked { name, key }], Reply::Done))
            }
            Ask::Replace { specs, gone } => self.replace(specs, gone, stamp),
        }
    }

    /// On a draft, one after the other. What one consumer gives up another may take, in whichever
    /// order they stand: who finds something taken is asked again after the others.
    fn replace(&self, specs: BTreeMap<Name, Arc<Spec>>, gone: Vec<Name>, stamp: &Stamp) -> Decided {
        let mut draft = Draft { state: self.clone(), stamp, happened: Vec::new() };
        for name in gone.into_iter().filter(|name| self.consumers.contains_key(name)) {
            draft.ask(Ask::Delete { name, expected: None })?;
        }
        let mut waiting: Vec<(Name, Arc<Spec>)> = specs.into_iter().collect();
        while !waiting.is_empty() {
            let (before, mut refused) = (waiting.len(), None);
            for (name, spec) in std::mem::take(&mut waiting) {
                match draft.put(name.clone(), Arc::clone(&spec)) {
                    Ok(()) => {}
                    Err(taken @ Refusal::Taken { .. }) => {
                        refused.get_or_insert(taken);
                        waiting.push((name, spec));
                    }
                    Err(other) => return Err(other),
                }
            }
            if let Some(refused) = refused.filter(|_| waiting.len() == before) {
                return Err(refused);
            }
        }
        Ok((draft.happened, Reply::Done))
    }

    fn create(&self, name: Name, spec: Arc<Spec>) -> Decided {
        if self.consumers.contains_key(&name) {
            return Err(Refusal::Exists(name));
        }
        if self.consumers.len() >= self.limits.consumers {
            return Err(Refusal::Limit { what: "consumers", limit: self.limits.consumers });
        }
        self.allow(&name, &spec)?;
        Ok((vec![Happened::Created { name, spec }], Reply::Done))
    }

    fn update(&self, name: &Name, spec: Arc<Spec>, expected: Option<Revision>) -> Decided {
        let consumer = self.expect(name, expected)?;
        self.allow(name, &spec)?;
        if consumer.spec == spec {
            return Ok((Vec::new(), Reply::Done));
        }
        Ok((vec![Happened::Updated { name: name.clone(), spec }], Reply::Done))
    }

    fn issue(&self, consumer: &Consumer, key: NewKey, stamp: &Stamp) -> Decided {
        if key.expires.is_some_and(|expires| expires <= stamp.at) {
            return Err(Refusal::ExpiresInPast);
        }
        if let Some(owner) = self.owners.get(&Owned::Key(key.hash)) {
            return Err(Refusal::Taken { what: "this key".into(), owner: owner.clone() });
        }
        let (gone, counting): (Vec<_>, Vec<_>) =
            consumer.keys.iter().partition(|key| key.is_expired(stamp.at));
        if counting.len() >= self.limits.keys {
            return Err(Refusal::Limit { what: "keys of a consumer", limit: self.limits.keys });
        }
        let name = &consumer.name;
        // What has expired is shown while there is room for it, the latest longest.
        let most = self.limits.keys - counting.len() - 1;
        let forgotten = gone.iter().take(gone.len().saturating_sub(most));
        let mut happened: Vec<_> = forgotten
            .map(|key| Happened::KeyForgotten { name: name.clone(), key: key.number })
            .collect();
        let number = consumer.next_key;
        let NewKey { name: label, hash, expires } = key;
        let issued = stamp.clone();
        let key = ApiKey { number, name: label, hash, issued, expires, replaced_by: None };
        happened.push(Happened::KeyIssued { name: name.clone(), key });
        Ok((happened, Reply::Issued(number)))
    }

    fn rotate(
        &self,
        consumer: &Consumer,
        old: KeyNumber,
        overlap: Duration,
        key: NewKey,
        stamp: &Stamp,
    ) -> Decided {
        let replaced = key_of(consumer, old)?;
        // Otherwise a chain of rotations could keep an old key alive.
        if replaced.is_expired(stamp.at) || replaced.replaced_by.is_some() {
            return Err(Refusal::KeyEnds(consumer.name.clone(), old));
        }
        let until = stamp.at.plus(overlap);
        let until = replaced.expires.map_or(until, |expires| expires.min(until));
        let label = key.name.or_else(|| replaced.name.clone());
        let (mut happened, reply) = self.issue(consumer, NewKey { name: label, ..key }, stamp)?;
        happened.push(Happened::KeyReplaced {
            name: consumer.name.clone(),
            key: old,
            expires: until,
            by: consumer.next_key,
        });
        Ok((happened, reply))
    }

    fn find(&self, name: &Name) -> Result<&Arc<Consumer>, Refusal> {
        self.consumers.get(name).ok_or_else(|| Refusal::NoConsumer(name.clone()))
    }

    fn expect(&self, name: &Name, expected: Option<Revision>) -> Result<&Consumer, Refusal> {
        let consumer = self.find(name)?;
        match expected {
            Some(expected) if expected != consumer.revision => {
                Err(Refusal::Changed { name: name.clone(), actual: consumer.revision })
            }
            _ => Ok(consumer),
        }
    }

    /// Whether `spec` may be said of the consumer `name`.
    fn allow(&self, name: &Name, spec: &Spec) -> Result<(), Refusal> {
        let limit = self.limits.entries;
        for (what, count) in [
            ("roles", spec.roles.len()),
            ("certificates", spec.certificates.len()),
            ("signing keys", spec.signature_keys.len()),
        ] {
            if count > limit {
                return Err(Refusal::Limit { what, limit });
            }
        }
        if spec.bytes() > self.limits.bytes {
            return Err(Refusal::Limit { what: "bytes for a consumer", limit: self.limits.bytes });
        }
        let mut seen = HashSet::new();
        for owned in spec.owned() {
            let what = match &owned {
                Owned::Certificate(of) => format!("the certificate `{of}`"),
                Owned::SigningKey(id) => format!("the signing key `{id}`"),
                Owned::Key(_) => "this key".to_owned(),
            };
            if let Some(owner) = self.owners.get(&owned).filter(|owner| *owner != name) {
                return Err(Refusal::Taken { what, owner: owner.clone() });
            }
            if !seen.insert(owned) {
                return Err(Refusal::Taken { what, owner: name.clone() });
            }
        }
        Ok(())
    }
}

/// Consumers as they would be.
struct Draft<'a> {
    state: State,
    stamp: &'a Stamp,
    happened: Vec<Happened>,
}

impl Draft<'_> {
    fn put(&mut self, name: Name, spec: Arc<Spec>) -> Result<(), Refusal> {
        if self.state.consumers.contains_key(&name) {
            self.ask(Ask::Update { name, spec, expected: None })
        } else {
            self.ask(Ask::Create { name, spec })
        }
    }

    fn ask(&mut self, ask: Ask) -> Result<(), Refusal> {
        let (happened, _) = self.state.decide_ask(ask, self.stamp)?;
        let event = |what: &Happened| Event { stamp: self.stamp.clone(), what: what.clone() };
        let events: Vec<Event> = happened.iter().map(event).collect();
        self.state.apply(&events);
        self.happened.extend(happened);
        Ok(())
    }
}

impl Spec {
    /// What of this may be one consumer's only.
    pub(super) fn owned(&self) -> impl Iterator<Item = Owned> {
        let certificates = self.certificates.iter().cloned().map(Owned::Certificate);
        let keys = self.signature_keys.iter().map(|key| Owned::SigningKey(key.id.clone()));
        certificates.chain(keys)
    }

    /// How much is said.
    fn bytes(&self) -> usize {
        let metadata = self.metadata.iter().map(|(key, value)| key.len() + value.len());
        let keys = self.signature_keys.iter().map(|key| key.id.len() + key.pem.len());
        let texts = self.roles.iter().chain(&self.certificates).map(|text| text.len());
        let plan = self.plan.iter().map(|plan| plan.len());
        metadata.chain(keys).chain(texts).chain(plan).sum()
    }
}

fn key_of(consumer: &Consumer, number: KeyNumber) -> Result<&ApiKey, Refusal> {
    let found = consumer.keys.iter().find(|key| key.number == number);
    found.ok_or_else(|| Refusal::NoKey(consumer.name.clone(), number))
}
