//! Runs the rules on the journal's driver, and keeps ready what others need of them at once: the
//! routes to make, and what compares requests with descriptions.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use posthouse_journal::driver::{self, Clock, Done, Driver, Hands, Settings};
use posthouse_journal::{Journal, StreamName};
use tokio::sync::watch;

use crate::config::{self, Raw};
use crate::contract::{Contract, Kind};
use crate::error::Error;
use crate::history::{self, Comparison};
use crate::metrics::Metrics;
use crate::openapi::{Call, Violation};
use crate::plan::{self, Plan};
use crate::routes::{self, Made};
use crate::state::{
    Applied, Apply, Change, Command, Entry, Key, Limits, Mark, Refusal, Revision, Spec, Specs,
    State,
};

/// The catalog's stream in the journal.
const STREAM: &str = "catalog";
/// Commands that wait.
const QUEUE: usize = 64;
/// The most bytes that one command may need in the journal.
const LARGEST: usize = 15 << 20;
/// A checkpoint is written after so many events: they are few and may be large.
const CHECKPOINT_EVENTS: u64 = 1000;

/// The catalog, as other parts of the house hold it. Clones are the same catalog.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    limits: Limits,
    pub(crate) metrics: Metrics,
    driver: driver::Handle<State>,
    standing: ArcSwap<Standing>,
    /// Of what stands.
    changes: watch::Sender<Mark>,
}

/// What is in force, as of one mark; all of it is durable.
#[derive(Debug)]
pub struct Standing {
    state: State,
    specs: Specs,
    made: Made,
    /// By API and version: where requests are compared with descriptions.
    inspections: BTreeMap<Box<str>, BTreeMap<Box<str>, Inspection>>,
}

/// How requests of a version are compared with its description.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What its paths begin with before those of the document do.
    prefix: Box<str>,
    contract: Contract,
}

/// What changes would come to.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The mark that it holds for: give it as `expected` to get just this.
    pub mark: Mark,
    /// What would be created, changed and removed.
    pub plan: Plan,
    /// What the gateway would have to do.
    pub made: Made,
}

impl Handle {
    /// Brings back what the journal tells, or begins empty. Without a journal everything is
    /// forgotten when it ends.
    ///
    /// # Errors
    /// When what the journal has cannot be brought back.
    pub async fn start(
        limits: Limits,
        journal: Option<Arc<dyn Journal>>,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let settings = Settings {
            queue: QUEUE,
            event_bytes: LARGEST,
            checkpoint_events: CHECKPOINT_EVENTS,
            ..Settings::new(StreamName::internal(STREAM))
        };
        let clock: Clock = Arc::new(Timestamp::now);
        let driver = Driver::open(settings, journal, move || State::blank(limits), clock).await?;
        let state = driver.handle().peek(State::clone);
        // Descriptions are read and compiled in it, which takes its time.
        let standing = tokio::task::spawn_blocking(move || Standing::of(state));
        let standing = standing.await.map_err(|_ended| Error::Stopped)?;
        let changes = watch::Sender::new(standing.mark());
        let state = standing.state.clone();
        let shared = Arc::new(Shared {
            limits,
            metrics: Metrics::default(),
            driver: driver.handle().clone(),
            standing: ArcSwap::from_pointee(standing),
            changes,
        });
        driver.run(Carrier { shared: Arc::downgrade(&shared), state }, tasks);
        Ok(Self { shared })
    }

    /// What the file declares since it was read, with nothing left out: what it declared before and
    /// does not any more is removed.
    ///
    /// # Errors
    /// When it does not go together, and when it cannot be made durable.
    pub async fn declare(&self, specs: Specs) -> Result<Applied, Error> {
        self.command(Command::Declare { specs }).await
    }

    /// Carries out changes: all of them, durable when this resolves, or none.
    ///
    /// # Errors
    /// When one is refused, and when they cannot be made durable.
    pub async fn apply(&self, apply: Apply) -> Result<Applied, Error> {
        self.command(Command::Apply(apply)).await
    }

    /// What changes would come to, without making them.
    ///
    /// # Errors
    /// As [`Handle::apply`] would refuse them.
    pub fn preview(&self, apply: Apply) -> Result<Preview, Refusal> {
        self.would(Command::Apply(apply))
    }

    /// What it would come to if the file declared this.
    ///
    /// # Errors
    /// As [`Handle::declare`] would refuse it.
    pub fn preview_declared(&self, specs: Specs) -> Result<Preview, Refusal> {
        self.would(Command::Declare { specs })
    }

    /// What is in force: entries, routes. Swapped when something changes.
    #[must_use]
    pub fn standing(&self) -> Arc<Standing> {
        self.shared.standing()
    }

    /// Tells of changes: [`Handle::standing`] is at least as far as the mark that this has.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Mark> {
        self.shared.changes.subscribe()
    }

    /// What the catalog may grow to.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Enters the catalog's metrics.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        crate::metrics::register(&self.shared, registry);
    }

    /// Takes no more commands, carries out what was handed in, writes a checkpoint and ends.
    pub async fn close(&self) {
        self.shared.driver.close().await;
    }

    /// What a command is about is read and compiled beside the task that writes, so that it holds up
    /// nobody there.
    async fn command(&self, command: Command) -> Result<Applied, Error> {
        let standing = self.standing();
        let prepare = move || {
            prepare(&command, &standing.state);
            command
        };
        let command =
            tokio::task::spawn_blocking(prepare).await.map_err(|_ended| Error::Stopped)?;
        let outcome = self.shared.driver.command(command).await?;
        Ok(outcome.inspect_err(|refusal| self.shared.metrics.refused(refusal))?)
    }

    fn would(&self, command: Command) -> Result<Preview, Refusal> {
        // As it is, which may be ahead of what is durable: what comes of it is asked for anew.
        let before = self.shared.driver.peek(State::clone);
        prepare(&command, &before);
        let decided = before.decide(command, Timestamp::now())?;
        let mut after = before.clone();
        after.apply(&decided.events);
        let specs = after.specs();
        let plan = plan::between(&before.specs(), &specs);
        Ok(Preview { mark: before.mark(), plan, made: routes::made(&specs) })
    }
}

impl Shared {
    pub(crate) fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }
}

impl Standing {
    fn of(state: State) -> Self {
        let specs = state.specs();
        let made = routes::made(&specs);
        let mut inspections: BTreeMap<Box<str>, BTreeMap<_, _>> = BTreeMap::new();
        for (key, spec) in &specs {
            let (Key::Version(api, name), Some(version)) = (key, spec.as_version()) else {
                continue;
            };
            // Whoever guards a route may ask for it, whether the version does or not.
            let document = version.contract.as_ref().filter(|it| it.kind() == Kind::OpenApi);
            let Some(contract) = document.filter(|_| version.lifecycle.takes_calls()) else {
                continue;
            };
            if let Err(mistake) = contract.validator() {
                tracing::warn!("requests of {key} cannot be compared with its document: {mistake}");
                continue;
            }
            let prefix = routes::prefix(&specs, api, version).into();
            let inspection = Inspection { prefix, contract: contract.clone() };
            let versions = inspections.entry(api.as_str().into()).or_default();
            versions.insert(name.as_str().into(), inspection);
        }
        Self { state, specs, made, inspections }
    }

    /// How far the catalog had come.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        self.state.mark()
    }

    /// All that is there and was there: entries with their histories.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// What there is.
    #[must_use]
    pub const fn specs(&self) -> &Specs {
        &self.specs
    }

    /// What the gateway is to do.
    #[must_use]
    pub const fn made(&self) -> &Made {
        &self.made
    }

    /// The revisions of an entry that are kept, oldest first, also of a removed one.
    ///
    /// # Errors
    /// When there was never such an entry.
    pub fn history(&self, key: &Key) -> Result<&Entry, Refusal> {
        self.state.entry(key).ok_or_else(|| Refusal::Unknown(key.clone()))
    }

    /// What differs between two revisions of an entry.
    ///
    /// # Errors
    /// When there are no such revisions.
    pub fn compare(&self, key: &Key, from: Revision, to: Revision) -> Result<Comparison, Refusal> {
        let entry = self.history(key)?;
        let find = |number: Revision| {
            let found = entry.revision(number);
            found.ok_or_else(|| Refusal::UnknownRevision(key.clone(), number))
        };
        let (from, to) = (find(from)?, find(to)?);
        Ok(history::compare(from.spec.as_deref(), to.spec.as_deref()))
    }

    /// The changes that would make the catalog what `wanted` says: the file's form, from an export.
    /// With `prune`, what is not in it is removed; what the file declares is not.
    #[must_use]
    pub fn changes_to(&self, wanted: &Specs, prune: bool) -> Vec<Change> {
        plan::changes_to(&self.state, wanted, prune)
    }

    /// What of `wanted` is otherwise in what the file declares, and changed only there.
    #[must_use]
    pub fn declared_otherwise(&self, wanted: &Specs) -> Vec<Key> {
        plan::declared(&self.state, wanted)
    }

    /// Everything in the form of the file. With `asked_only`, without what the file declares.
    #[must_use]
    pub fn export(&self, asked_only: bool) -> Raw {
        if asked_only {
            config::written(&plan::asked(&self.state))
        } else {
            config::written(&self.specs)
        }
    }

    /// How requests of a version are compared with its description, if they are.
    #[must_use]
    pub fn inspection(&self, api: &str, version: &str) -> Option<&Inspection> {
        self.inspections.get(api)?.get(version)
    }
}

impl Inspection {
    /// Whether the body of such a request is needed to compare it.
    #[must_use]
    pub fn wants_body(&self, call: &Call<'_>) -> bool {
        self.contract.compiled().is_some_and(|validator| validator.wants_body(&self.prefix, call))
    }

    /// Compares a request with the description.
    ///
    /// # Errors
    /// The first difference that was found.
    pub fn check(&self, call: &Call<'_>, body: Option<&[u8]>) -> Result<(), Violation> {
        match self.contract.compiled() {
            Some(validator) => validator.check(&self.prefix, call, body),
            None => Ok(()),
        }
    }
}

/// Reads and compiles what a command brings, or brings back.
fn prepare(command: &Command, state: &State) {
    let read = |spec: &Spec| {
        let Some(version) = spec.as_version() else { return };
        let Some(contract) = &version.contract else { return };
        // What is wrong with it is told when it was checked.
        let _read_once = contract.read();
        if contract.kind() == Kind::OpenApi {
            let _compiled_once = contract.validator();
        }
    };
    let changes = match command {
        Command::Apply(apply) => apply.changes.as_slice(),
        Command::Declare { specs } => return specs.values().for_each(|spec| read(spec)),
        Command::Tick => return,
    };
    for change in changes {
        let entry = state.entry(&change.key());
        let kept = match change {
            Change::Put { spec, .. } => Some(spec),
            Change::Move { .. } => entry.and_then(Entry::spec),
            Change::RollBack { to, .. } => {
                entry.and_then(|entry| entry.revision(*to)?.spec.as_ref())
            }
            Change::Remove { .. } => None,
        };
        if let Some(spec) = kept {
            read(spec);
        }
    }
}

/// Keeps what is in force ready. Holds the catalog weakly: it must not keep itself alive. Its state is
/// what is durable, while the driver's may be ahead.
struct Carrier {
    shared: Weak<Shared>,
    state: State,
}

impl Carrier {
    fn renew(&self) {
        let Some(shared) = self.shared.upgrade() else { return };
        shared.standing.store(Arc::new(Standing::of(self.state.clone())));
        shared.changes.send_replace(self.state.mark());
    }
}

impl Hands<State> for Carrier {
    fn carry_out(&mut self, done: Vec<Done<State>>) {
        let before = self.state.mark();
        for done in &done {
            self.state.apply(&done.events);
            if let Some(shared) = self.shared.upgrade() {
                done.events.iter().for_each(|event| shared.metrics.changed(event));
            }
        }
        if self.state.mark() != before {
            self.renew();
        }
    }

    fn take_over(&mut self, state: &State) {
        self.state = state.clone();
        self.renew();
    }
}
