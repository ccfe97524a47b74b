//! The one driver of every pillar's pure state: it lets the state move ahead of the journal, so that
//! many decisions share one fsync, and lets nobody see or feel what is not durable yet.
//!
//! One task owns all writing. It takes commands from a bounded queue, lets the [`Rules`] decide and
//! apply them, and hands what is to be kept to the journal, one batch for all commands that waited,
//! several batches on their way at a time. Only when a batch is durable are its effects carried out
//! ([`Hands`]) and its commands answered, in order. Readers gather what they want at once, and hold
//! it back until it is durable ([`Handle::read`]).
//!
//! When the journal does not confirm a batch, everything ahead of it is given up: whoever waits is
//! told so, and the state is brought back from checkpoint and tail. Meanwhile readers go on seeing
//! what was durable. While the journal cannot write, what need not be kept goes on too.
//!
//! What a command does is kept as one entry in the pillar's stream of facts, from which alone the
//! state is brought back. It may write and remove *work* along with it ([`Keep`]), in streams of the
//! pillar's own, which is too much to be held in memory and is read when its turn comes.
//!
//! In reading order: `rules` (what a pillar brings), `handle` (asking and reading), `task` (the
//! writing), `take` (deciding), `flight` (what is not durable yet), `checkpoint`, `recover`, `error`.
//!
//! What must hold, and is proven by simulation (`tests`): whoever got an answer finds it again after
//! any crash; nobody has seen what is lost; a command is there whole or not at all; what a reader
//! sees never goes back; effects are those of durable commands, in order.

mod checkpoint;
mod error;
mod flight;
mod handle;
mod recover;
mod rules;
mod take;
mod task;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use posthouse_base::task::Tasks;
use tokio::sync::mpsc;

pub use error::{Error, RecoverError};
pub use handle::{Handle, Pending, Stats};
pub use rules::{
    Clock, Decision, Done, Entry, Hands, Item, Keep, Rules, Snapshot, Unreadable, Work,
};

use crate::event::StreamName;
use crate::journal::Journal;
use flight::Flights;
use handle::{Request, Shared};
use recover::{Recovered, recover};
use task::{Ending, Kept, Task};

/// Commands that may follow one because of what it has left ([`Rules::follow_up`]), before others
/// have their turn.
pub const FOLLOW_UPS: usize = 64;

/// What a driver works with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The pillar's stream, which nobody else writes to.
    pub stream: StreamName,
    /// Commands that wait; one more waits for its place.
    pub queue: usize,
    /// Commands that are decided at a time, before anybody may read.
    pub commands: usize,
    /// Batches on their way; until one lands, commands wait.
    pub in_flight: usize,
    /// No command is added to a batch that has this many bytes.
    pub batch_bytes: usize,
    /// The most bytes that the entry of one command may need,
    pub event_bytes: usize,
    /// and together with the work that it writes. What the journal takes as one batch must have room
    /// for it on top of `batch_bytes`.
    pub command_bytes: usize,
    /// A checkpoint is written after so many events,
    pub checkpoint_events: u64,
    /// or so many bytes of them.
    pub checkpoint_bytes: u64,
    /// Events that are kept although a checkpoint has them.
    pub keep: u64,
}

impl Settings {
    /// Those that suit a pillar.
    #[must_use]
    pub const fn new(stream: StreamName) -> Self {
        Self {
            stream,
            queue: 1024,
            commands: 256,
            in_flight: 8,
            batch_bytes: 1 << 20,
            event_bytes: 1 << 20,
            command_bytes: 24 << 20,
            checkpoint_events: 50_000,
            checkpoint_bytes: 32 << 20,
            keep: 1000,
        }
    }
}

/// A state that was brought back, of which nothing is carried out yet.
pub struct Driver<R: Rules> {
    handle: Handle<R>,
    shared: Arc<Shared<R>>,
    settings: Settings,
    clock: Clock,
    queue: mpsc::Receiver<Request<R>>,
    kept: Option<Kept<R>>,
}

impl<R: Rules> Driver<R> {
    /// Brings the state back that the journal tells of, beginning with what `blank` makes. Without a
    /// journal the state lives in memory only, and everything is at once as durable as it can be.
    ///
    /// # Errors
    /// When the state cannot be brought back.
    pub async fn open(
        settings: Settings,
        journal: Option<Arc<dyn Journal>>,
        blank: impl Fn() -> R + Send + Sync + 'static,
        clock: Clock,
    ) -> Result<Self, RecoverError> {
        let (mut state, kept) = match journal {
            None => (blank(), None),
            Some(journal) => {
                let recovered = recover(journal.as_ref(), &settings.stream, &blank).await?;
                let Recovered { state, version, tail } = recovered;
                (state, Some(Kept::new(journal, Box::new(blank), version, tail)))
            }
        };
        state.resume(clock());
        let (commands, queue) = mpsc::channel(settings.queue);
        let shared = Arc::new(Shared::new(state));
        let handle = Handle::new(Arc::clone(&shared), commands);
        Ok(Self { handle, shared, settings, clock, queue, kept })
    }

    /// How others ask and read. Commands wait until this runs.
    #[must_use]
    pub const fn handle(&self) -> &Handle<R> {
        &self.handle
    }

    /// Starts the task that writes, which begins by letting `hands` take over the state.
    pub fn run(self, hands: impl Hands<R>, tasks: &Tasks) {
        let Self { handle: _, shared, settings, clock, queue, kept } = self;
        let _ending = Ending(Arc::clone(&shared));
        let (flights, waiting, due) = (Flights::new(), Vec::new(), None);
        let task =
            Task { shared, settings, hands, clock, queue, kept, flights, waiting, due, _ending };
        tasks.spawn("driver", task.run());
    }
}
