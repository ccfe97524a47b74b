//! The one task that writes: takes commands, lets the rules decide them ahead of the journal, and
//! does what follows once the journal has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use posthouse_base::time::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::driver::Settings;
use crate::driver::checkpoint::Saving;
use crate::driver::error::Error;
use crate::driver::flight::{Flight, Flights};
use crate::driver::handle::{Answer, Request, Shared};
use crate::driver::recover::{Recovered, recover};
use crate::driver::rules::{Clock, Hands, Rules};
use crate::error::{Error as JournalError, Outage};
use crate::event::{StreamName, Version};
use crate::journal::{Head, Health, Journal};

/// Between two attempts to bring a lost state back: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

pub(super) type Blank<R> = Box<dyn Fn() -> R + Send + Sync>;

pub(super) struct Task<R: Rules, H> {
    pub(super) shared: Arc<Shared<R>>,
    pub(super) settings: Settings,
    pub(super) hands: H,
    pub(super) clock: Clock,
    pub(super) queue: mpsc::Receiver<Request<R>>,
    pub(super) kept: Option<Kept<R>>,
    pub(super) flights: Flights<R>,
    /// Taken from the queue and not decided yet.
    pub(super) waiting: Vec<Request<R>>,
    pub(super) due: Option<Timestamp>,
    pub(super) _ending: Ending<R>,
}

/// What there is with a journal only.
pub(super) struct Kept<R> {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) blank: Blank<R>,
    head: watch::Receiver<Head>,
    /// The stream's last event once all flights have landed, and as it is durable.
    pub(super) version: Option<Version>,
    durable: Option<Version>,
    /// Events, and bytes of them, since the last checkpoint was taken.
    pub(super) since: (u64, u64),
    saving: Saving,
    /// Set while the journal cannot write.
    outage: Option<Outage>,
    /// What the ids of events begin with: no other writer's do.
    pub(super) tag: u64,
}

/// What the task was woken by.
enum Woken {
    Landed,
    Failed(JournalError),
    Saved(Result<usize, JournalError>),
    Back,
    Asked,
    Due,
    Ending,
}

impl<R: Rules> Kept<R> {
    pub(super) fn new(
        journal: Arc<dyn Journal>,
        blank: Blank<R>,
        version: Option<Version>,
        tail: (u64, u64),
    ) -> Self {
        let head = journal.head();
        let tag = Uuid::new_v4().as_u64_pair().0;
        let (durable, saving, outage) = (version, Saving::Idle, None);
        Self { journal, blank, head, version, durable, since: tail, saving, outage, tag }
    }

    /// Why nothing can be written now.
    pub(super) fn outage(&mut self) -> Option<Outage> {
        match &self.head.borrow().health {
            Health::Out(outage) => self.outage = Some(outage.clone()),
            // Until the task has seen to it, it is not over.
            Health::Serving => {}
        }
        self.outage.clone()
    }

    /// Resolves when an outage is over.
    async fn back(head: &mut watch::Receiver<Head>, outage: Option<&Outage>) {
        if outage.is_none() || head.wait_for(|head| head.health == Health::Serving).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl<R: Rules, H: Hands<R>> Task<R, H> {
    pub(super) async fn run(mut self) {
        let mut closing = self.shared.closing();
        self.hands.take_over(&self.shared.state().state);
        self.look_at_deadline();
        loop {
            let woken = self.woken(&mut closing).await;
            let is_whole = match woken {
                Woken::Landed => true,
                Woken::Failed(error) => self.rebuild(error, &mut closing).await,
                Woken::Saved(outcome) => self.saved(outcome),
                Woken::Back => self.resume(&mut closing).await,
                Woken::Asked => self.take_in(),
                Woken::Due => {
                    self.waiting.push(Request { command: R::tick(), reply: None });
                    self.take_in()
                }
                Woken::Ending => return self.end().await,
            };
            if !is_whole {
                // Ended before what was lost could be brought back: there is nothing to save.
                return;
            }
            self.save_if_due();
        }
    }

    /// Waits for whatever is next. What is durable goes first: nothing can then hold it up.
    async fn woken(&mut self, closing: &mut watch::Receiver<bool>) -> Woken {
        let has_room = self.flights.len() < self.settings.in_flight && self.flights.are_under_way();
        let has_waiting = !self.waiting.is_empty();
        let now = (self.clock)();
        let Self { flights, kept, queue, waiting, settings, due, .. } = self;
        let mut outage = None;
        let (back, saved) = match kept {
            Some(Kept { journal, head, saving, durable, outage: out, .. }) => {
                outage.clone_from(out);
                let saved = saving.saved(Some(journal), &settings.stream, *durable, settings.keep);
                // What flies is to land or fail first.
                let back = (flights.len() == 0).then(|| Kept::<R>::back(head, outage.as_ref()));
                (back, Some(saved))
            }
            None => (None, None),
        };
        let pause = due.filter(|_| outage.is_none()).map(|due| due.since(now));
        tokio::select! {
            biased;
            landed = flights.landed() => match landed {
                Ok(flight) => {
                    self.settle(flight);
                    Woken::Landed
                }
                Err(error) => Woken::Failed(error),
            },
            saved = or_never(saved) => Woken::Saved(saved),
            () = or_never(back) => Woken::Back,
            () = std::future::ready(()), if has_room && has_waiting => Woken::Asked,
            _ = closing.wait_for(|closing| *closing) => Woken::Ending,
            () = sleep(pause), if has_room => Woken::Due,
            received = queue.recv_many(waiting, settings.commands), if has_room => {
                if received == 0 { Woken::Ending } else { Woken::Asked }
            }
        }
    }

    /// A flight is durable: readers may see it, its effects are carried out, whoever asked is told.
    fn settle(&mut self, flight: Flight<R>) {
        if let Some(kept) = &mut self.kept {
            let before = std::mem::replace(&mut kept.durable, flight.version);
            let number = |version: Option<Version>| version.map_or(0, |v| v.next().get());
            add(&self.shared.counters.events, number(flight.version) - number(before));
        }
        self.shared.landed(flight.mark);
        self.hands.carry_out(flight.done);
        flight.answers.into_iter().for_each(Answer::give);
        self.count_flights();
    }

    /// Something that was decided is not durable: everything ahead of the journal is given up, and
    /// the state is brought back. Returns whether to go on.
    async fn rebuild(&mut self, error: JournalError, closing: &mut watch::Receiver<bool>) -> bool {
        tracing::error!(stream = %self.settings.stream, "not confirmed by the journal: {error}");
        add(&self.shared.counters.failed, u64::try_from(self.flights.len()).unwrap_or(u64::MAX));
        let told = Error::Journal(error);
        let Self { flights, queue, waiting, kept, shared, settings, .. } = self;
        let Some(kept) = kept else { return false };
        kept.saving = Saving::Idle;
        let refuse = |request: Request<R>| {
            add(&shared.counters.refused, 1);
            if let Some(reply) = request.reply {
                let _gone = reply.send(Err(told.clone()));
            }
        };
        waiting.drain(..).for_each(refuse);
        let recovered = {
            let (journal, blank) = (kept.journal.as_ref(), &*kept.blank);
            let lost =
                Lost { flights, told: &told, shared, journal, blank, stream: &settings.stream };
            let mut attempts = std::pin::pin!(lost.bring_back());
            loop {
                tokio::select! {
                    biased;
                    recovered = &mut attempts => break recovered,
                    _ = closing.wait_for(|closing| *closing) => return false,
                    request = queue.recv() => match request {
                        Some(request) => refuse(request),
                        None => return false,
                    },
                }
            }
        };
        self.take_over(recovered);
        true
    }

    fn take_over(&mut self, recovered: Recovered<R>) {
        let Recovered { mut state, version, tail } = recovered;
        state.resume((self.clock)());
        self.shared.replace(state);
        if let Some(kept) = &mut self.kept {
            (kept.version, kept.durable, kept.since) = (version, version, tail);
            kept.outage = None;
            // Seen as it is when it next matters.
            let _still_out = kept.outage();
        }
        add(&self.shared.counters.rebuilt, 1);
        self.hands.take_over(&self.shared.state().state);
        self.count_flights();
        self.look_at_deadline();
        tracing::info!(stream = %self.settings.stream, "the state was brought back");
    }

    /// The journal can write again. What was not confirmed when it failed may have come to be in it
    /// after all.
    async fn resume(&mut self, closing: &mut watch::Receiver<bool>) -> bool {
        let Some(kept) = &mut self.kept else { return true };
        let found = kept.journal.stream(&self.settings.stream).await;
        let is_as_known = found.map(|stream| stream.and_then(|stream| stream.last) == kept.version);
        match is_as_known {
            Ok(true) => {
                kept.outage = None;
                self.shared.state_mut().state.resume((self.clock)());
                self.look_at_deadline();
                true
            }
            Ok(false) => {
                let outage = Outage::Engine("it has more than it confirmed".into());
                self.rebuild(JournalError::Unavailable(outage), closing).await
            }
            Err(error) => self.rebuild(error, closing).await,
        }
    }

    fn save_if_due(&mut self) {
        let Self { kept: Some(kept), settings, shared, .. } = self else { return };
        let (events, bytes) = kept.since;
        let is_due = events >= settings.checkpoint_events || bytes >= settings.checkpoint_bytes;
        if is_due && kept.saving.is_idle() && kept.outage.is_none() {
            Self::save(kept, shared);
        }
    }

    fn save(kept: &mut Kept<R>, shared: &Shared<R>) {
        let Some(version) = kept.version else { return };
        kept.since = (0, 0);
        kept.saving.begin(version, shared.state().state.snapshot());
    }

    fn saved(&self, outcome: Result<usize, JournalError>) -> bool {
        let counters = &self.shared.counters;
        match outcome {
            Ok(size) => {
                add(&counters.checkpoints, 1);
                let size = u64::try_from(size).unwrap_or(u64::MAX);
                counters.checkpoint_bytes.store(size, Ordering::Relaxed);
            }
            Err(error) => {
                add(&counters.checkpoints_failed, 1);
                tracing::warn!(stream = %self.settings.stream, "no checkpoint was written: {error}");
            }
        }
        true
    }

    /// Decides what was handed in, waits for what flies, and writes a last checkpoint.
    async fn end(mut self) {
        self.queue.close();
        while let Ok(request) = self.queue.try_recv() {
            self.waiting.push(request);
        }
        loop {
            if !self.waiting.is_empty() && self.flights.are_under_way() {
                self.take_in();
            }
            if self.flights.len() == 0 {
                break;
            }
            match self.flights.landed().await {
                Ok(flight) => self.settle(flight),
                Err(error) => {
                    let error = Error::Journal(error);
                    for answer in self.flights.give_up().await {
                        answer.give_instead(error.clone());
                    }
                    // Whoever still waits is told by its absence that it is over.
                    return;
                }
            }
        }
        let Some(kept) = &mut self.kept else { return };
        if kept.outage().is_some() {
            return;
        }
        if kept.since != (0, 0) {
            Self::save(kept, &self.shared);
        }
        if kept.saving.is_idle() {
            return;
        }
        let Kept { saving, journal, durable, .. } = kept;
        let settings = &self.settings;
        let saved = saving.saved(Some(journal), &settings.stream, *durable, settings.keep).await;
        self.saved(saved);
    }

    pub(super) fn look_at_deadline(&mut self) {
        self.due = self.shared.state().state.next_deadline();
    }

    pub(super) fn count_flights(&self) {
        let count = u64::try_from(self.flights.len()).unwrap_or(u64::MAX);
        self.shared.counters.in_flight.store(count, Ordering::Relaxed);
    }
}

/// A state of which something was lost.
struct Lost<'a, R: Rules> {
    flights: &'a mut Flights<R>,
    /// What whoever waits is told.
    told: &'a Error,
    shared: &'a Shared<R>,
    journal: &'a dyn Journal,
    blank: &'a (dyn Fn() -> R + Send + Sync),
    stream: &'a StreamName,
}

impl<R: Rules> Lost<'_, R> {
    /// Tries until it has been brought back.
    async fn bring_back(self) -> Recovered<R> {
        let Self { flights, told, shared, journal, blank, stream } = self;
        for answer in flights.give_up().await {
            answer.give_instead(told.clone());
        }
        let mut pause = PAUSES.0;
        loop {
            match recover(journal, stream, blank).await {
                Ok(recovered) => return recovered,
                Err(error) => {
                    tracing::error!(%stream, "the state could not be brought back yet: {error}");
                    shared.trouble(told.clone());
                    tokio::time::sleep(pause).await;
                    pause = PAUSES.1.min(pause * 2);
                }
            }
        }
    }
}

/// Tells whoever waits that it is over, however the task ends.
pub(super) struct Ending<R: Rules>(pub(super) Arc<Shared<R>>);

impl<R: Rules> Drop for Ending<R> {
    fn drop(&mut self) {
        self.0.trouble(Error::Closed);
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

async fn or_never<T>(future: Option<impl Future<Output = T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn sleep(pause: Option<Duration>) {
    match pause.and_then(|pause| Instant::now().checked_add(pause)) {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
