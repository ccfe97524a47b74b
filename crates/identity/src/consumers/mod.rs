//! Consumers: those that the file declares, and those that are kept in the journal and changed while
//! the house runs. Together they are looked up on the path of every call.
//!
//! In reading order: `declared` (the `consumers:` section), `shown` (the snapshot that calls look
//! things up in), `view` (what operators are shown), here (the handle).
//!
//! What must hold: what the file declares is changed in the file only; nobody is let in by what is not
//! durable; whoever is told that a key was revoked can rely on it, because calls see it before.

mod check;
mod declared;
mod error;
mod shown;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use posthouse_journal::driver::{self, Clock, Done, Driver, Hands, RecoverError, Settings};
use posthouse_journal::{Journal, StreamName};
use prometheus_client::registry::Registry;

pub use declared::{Declared, Raw, RawConsumer, RawKey, RawSignatureKey, timestamp};
pub use error::Error;
pub use shown::Counts;
pub(crate) use shown::{Shown, Signer};
pub use view::{Issued, KeyView, Origin, Planned, Replaced, Secret, View, Wanted};

pub use crate::state::{
    Actor, Change, Happened, KeyNumber, Limits, Name, PublicKey, Refusal, Revision, Spec, Stamp,
};

use crate::directory::{Consumer, Directory};
use crate::state::{Ask, By, Command, Effect, Event, Hash, NewKey, Reply, State};
use shown::Book;

/// The consumers' stream in the journal.
const STREAM: &str = "consumers";

/// All consumers. Clones are the same.
#[derive(Clone, Debug)]
pub struct Consumers {
    driver: driver::Handle<State>,
    book: Arc<Book>,
}

impl Consumers {
    /// Brings back what the journal tells, puts beside it what the file declares, and starts the
    /// rules on the current tokio runtime. Without a journal all but the file is forgotten at the end.
    ///
    /// # Errors
    /// When what the journal has cannot be brought back.
    pub async fn start(
        declared: Declared,
        journal: Option<Arc<dyn Journal>>,
        limits: Limits,
        tasks: &Tasks,
    ) -> Result<Self, RecoverError> {
        let settings = Settings::new(StreamName::internal(STREAM));
        let clock: Clock = Arc::new(Timestamp::now);
        let driver = Driver::open(settings, journal, move || State::blank(limits), clock).await?;
        let book = Arc::new(Book::new(declared));
        let handle = driver.handle().clone();
        // Before anybody asks, and not when the task gets to it.
        handle.peek(|state| book.take_over(state));
        driver.run(Carrier(Arc::clone(&book)), tasks);
        Ok(Self { driver: handle, book })
    }

    /// Puts what the file declares now in the place of what it declared before.
    pub fn declare(&self, declared: Declared) {
        self.book.declare(declared);
    }

    /// All consumers, by name, as calls see them.
    #[must_use]
    pub fn list(&self) -> Vec<View> {
        self.book.shown().views()
    }

    /// One consumer, as calls see it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<View> {
        self.book.shown().consumer(name).map(|known| known.view())
    }

    /// How many there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.book.shown().counts()
    }

    /// Adds a consumer, and shows it as it is then.
    ///
    /// # Errors
    /// When it is refused, and when it is not known to be durable.
    pub async fn create(&self, actor: Actor, name: &str, spec: Spec) -> Result<View, Error> {
        let name = valid(name)?;
        let spec = Arc::new(check::spec(spec)?);
        self.command(actor, &name, Ask::Create { name: name.clone(), spec }).await?;
        self.after(&name)
    }

    /// Says something else of a consumer, in place of all that was said, and shows it as it is then.
    /// `expected` is the revision that whoever asks has seen.
    ///
    /// # Errors
    /// As [`Consumers::create`].
    pub async fn update(
        &self,
        actor: Actor,
        name: &str,
        spec: Spec,
        expected: Option<Revision>,
    ) -> Result<View, Error> {
        let name = valid(name)?;
        let spec = Arc::new(check::spec(spec)?);
        self.command(actor, &name, Ask::Update { name: name.clone(), spec, expected }).await?;
        self.after(&name)
    }

    /// Removes a consumer with its keys.
    ///
    /// # Errors
    /// As [`Consumers::create`].
    pub async fn delete(
        &self,
        actor: Actor,
        name: &str,
        expected: Option<Revision>,
    ) -> Result<(), Error> {
        let name = valid(name)?;
        self.command(actor, &name, Ask::Delete { name: name.clone(), expected }).await?;
        Ok(())
    }

    /// Makes consumers as they are wanted, all or none, and tells what becomes of each; with `dry_run`
    /// only tells. Keys stay as they are. What the file declares stays as the file says.
    ///
    /// # Errors
    /// As [`Consumers::create`].
    pub async fn replace(
        &self,
        actor: Actor,
        wanted: Wanted,
        dry_run: bool,
    ) -> Result<Replaced, Error> {
        let (mut specs, mut declared) = (BTreeMap::new(), Vec::new());
        for (name, spec) in wanted.specs {
            let known = valid(&name)?;
            let spec = Arc::new(check::spec(spec).map_err(|why| of_consumer(&name, why))?);
            if !self.book.declares(&known) {
                specs.insert(known, spec);
            } else if self.get(&name).is_none_or(|view| view.spec != spec) {
                declared.push(known);
            }
        }
        let by = |specs, gone| {
            let actor = actor.clone();
            Command::Do(By { actor, ask: Ask::Replace { specs, gone } })
        };
        let (command, planned) = self.driver.peek(|state| {
            let is_gone = |name: &&Name| wanted.prune && !specs.contains_key(*name);
            let names = state.consumers().map(|consumer| &consumer.name);
            let gone = names.filter(is_gone).filter(|name| !self.book.declares(name));
            let command = by(specs.clone(), gone.cloned().collect());
            let (events, _) = state.decide(command.clone(), Timestamp::now())?;
            Ok::<_, Refusal>((command, events.iter().map(|event| planned(state, event)).collect()))
        })?;
        let mut planned: Vec<Planned> = planned;
        planned.sort_by(|one, other| one.name.cmp(&other.name));
        // Also when nothing changes: what was looked at may not be durable yet.
        if !dry_run {
            self.driver.command(command).await??;
        }
        Ok(Replaced { planned, declared })
    }

    /// Issues a key. Its secret is in the answer and nowhere else: nobody can be shown it again.
    ///
    /// # Errors
    /// As [`Consumers::create`].
    pub async fn issue_key(
        &self,
        actor: Actor,
        consumer: &str,
        label: Option<&str>,
        expires: Option<Timestamp>,
    ) -> Result<Issued, Error> {
        let name = valid(consumer)?;
        let (secret, key) = new_key(label, expires)?;
        let reply = self.command(actor, &name, Ask::Issue { name: name.clone(), key }).await?;
        self.issued(&name, &reply, secret)
    }

    /// Issues a key in place of another, which goes on for `overlap` so that callers can change over.
    /// The new one has the old one's label unless another is given.
    ///
    /// # Errors
    /// As [`Consumers::create`].
    pub async fn rotate_key(
        &self,
        actor: Actor,
        consumer: &str,
        old: KeyNumber,
        overlap: Duration,
        expires: Option<Timestamp>,
    ) -> Result<Issued, Error> {
        let name = valid(consumer)?;
        let (secret, key) = new_key(None, expires)?;
        let ask = Ask::Rotate { name: name.clone(), old, overlap, key };
        let reply = self.command(actor, &name, ask).await?;
        self.issued(&name, &reply, secret)
    }

    /// Makes a key count no more. When this resolves, no call that begins is let in by it.
    ///
    /// # Errors
    /// As [`Consumers::create`].
    pub async fn revoke_key(
        &self,
        actor: Actor,
        consumer: &str,
        key: KeyNumber,
    ) -> Result<(), Error> {
        let name = valid(consumer)?;
        self.command(actor, &name, Ask::Revoke { name: name.clone(), key }).await?;
        Ok(())
    }

    /// The last changes, the latest first, `limit` at most; of one consumer, or of all.
    ///
    /// # Errors
    /// When there are changes that cannot be made durable now, and when the house is shutting down.
    pub async fn history(
        &self,
        consumer: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<Change>>, Error> {
        let concerns = |change: &Change| {
            consumer.is_none_or(|name| change.what.iter().any(|what| what.name().as_str() == name))
        };
        let read = self.driver.read(|state| {
            let changes = state.history().filter(|change| concerns(change)).take(limit);
            (changes.cloned().collect(), state.revision().get())
        });
        Ok(read.await?)
    }

    /// Takes no more commands, carries out what was handed in, writes down the state and ends.
    pub async fn close(&self) {
        self.driver.close().await;
    }

    /// Figures about the writing.
    #[must_use]
    pub fn stats(&self) -> driver::Stats {
        self.driver.stats()
    }

    /// Enters the metrics of consumers.
    pub fn register_metrics(&self, registry: &mut Registry) {
        shown::register(&self.book, registry);
    }

    /// What calls look things up in.
    pub(crate) fn shown(&self) -> arc_swap::Guard<Arc<Shown>> {
        self.book.shown()
    }

    async fn command(&self, actor: Actor, name: &Name, ask: Ask) -> Result<Reply, Error> {
        if self.book.declares(name) {
            return Err(Error::Declared(name.clone()));
        }
        Ok(self.driver.command(Command::Do(By { actor, ask })).await??)
    }

    /// The consumer as it is after a change. It may have gone again, or the file may declare it by now.
    fn after(&self, name: &Name) -> Result<View, Error> {
        let gone = || Error::Refused(Refusal::NoConsumer(name.clone()));
        self.get(name.as_str()).ok_or_else(gone)
    }

    fn issued(&self, name: &Name, reply: &Reply, secret: Secret) -> Result<Issued, Error> {
        let number = match reply {
            Reply::Issued(number) => *number,
            Reply::Done => return Err(Error::Refused(Refusal::NoConsumer(name.clone()))),
        };
        let mut keys = self.after(name)?.keys.into_iter();
        let gone = || Error::Refused(Refusal::NoKey(name.clone(), number));
        let key = keys.find(|key| key.number == number).ok_or_else(gone)?;
        Ok(Issued { key, secret })
    }
}

/// What an event of a replacement makes of a consumer.
fn planned(state: &State, event: &Event) -> Planned {
    let name = event.what.name();
    let before = state.consumer(name);
    let after = match &event.what {
        Happened::Created { spec, .. } | Happened::Updated { spec, .. } => Some(Arc::clone(spec)),
        _ => None,
    };
    let before = before.map(|consumer| Arc::clone(&consumer.spec));
    Planned { name: name.clone(), before, after }
}

/// Of which consumer it is said.
fn of_consumer(name: &str, why: Refusal) -> Refusal {
    match why {
        Refusal::Invalid { field, message } => {
            Refusal::Invalid { field, message: format!("of the consumer `{name}`: {message}") }
        }
        other => other,
    }
}

impl Directory for Consumers {
    fn version(&self) -> u64 {
        self.shown().version()
    }

    fn find(&self, name: &str) -> Option<Consumer> {
        let shown = self.shown();
        let owner = shown.consumer(name)?.owner();
        Some(Consumer { plan: owner.plan.clone(), roles: owner.roles.clone() })
    }
}

/// Shows calls what has become durable.
struct Carrier(Arc<Book>);

impl Hands<State> for Carrier {
    fn carry_out(&mut self, done: Vec<Done<State>>) {
        let effects = done.into_iter().flat_map(|done| done.effects);
        self.0.show(effects.map(|Effect::Show { name, consumer }| (name, consumer)));
    }

    fn take_over(&mut self, state: &State) {
        self.0.take_over(state);
    }
}

fn valid(name: &str) -> Result<Name, Error> {
    Name::new(name).ok_or_else(|| {
        let message = "a name is 1 to 128 letters, digits and `-_.~@:`".to_owned();
        Error::Refused(Refusal::Invalid { field: "name", message })
    })
}

fn new_key(label: Option<&str>, expires: Option<Timestamp>) -> Result<(Secret, NewKey), Error> {
    let name = label.map(check::label).transpose()?;
    let secret = Secret::generate().ok_or(Error::NoRandomness)?;
    let hash = Hash::of(secret.reveal().as_bytes());
    Ok((secret, NewKey { name, hash, expires }))
}
