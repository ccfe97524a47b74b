//! What a pillar brings: its rules, and the hands that carry out what they tell.

use std::sync::Arc;

use bytes::Bytes;
use posthouse_base::time::Timestamp;

use crate::batch::Removal;
use crate::event::{Format, Recorded, StreamName, Version};

/// The time, as the driver is told it. The rules never look at a clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Encodes what was taken from a state, on whatever thread there is time for it. Returns the format
/// and the data of a checkpoint.
pub type Snapshot = Box<dyn FnOnce() -> (u32, Bytes) + Send>;

/// A pillar's pure state: *(state, command, now) → (events, effects)*.
///
/// What must hold: the same events applied to the same state make the same state; events that are
/// not encoded ([`Rules::encode`]) move no mark, and losing them hurts nobody.
pub trait Rules: Send + Sync + Sized + 'static {
    /// Something asked of the pillar.
    type Command: Send + 'static;
    /// Something that happened.
    type Event: Send + 'static;
    /// Something that must be done because of what happened.
    type Effect: Send + 'static;
    /// What whoever asked is told: that and how it was done, or why not.
    type Reply: Send + 'static;

    /// What `command` comes to at the time `now`. A refusal is a reply with no events.
    fn decide(&self, command: Self::Command, now: Timestamp) -> Decision<Self>;

    /// Makes the events of one command have happened. Returns what must be done about them.
    fn apply(&mut self, events: &[Self::Event]) -> Vec<Self::Effect>;

    /// The events of one command as they are kept, all in one entry, with the work that is written and
    /// removed along; `None` when none of them is to be kept. What is left out is volatile: seen at
    /// once, and gone after a restart.
    fn encode(events: &[Self::Event]) -> Option<Keep>;

    /// Makes an entry have happened again, after which the mark was `mark`.
    ///
    /// # Errors
    /// When it cannot be read.
    fn replay(&mut self, recorded: &Recorded, mark: u64) -> Result<(), Unreadable>;

    /// Grows with every change that is kept, and by nothing else. Readers hand in the mark of what
    /// they read, which may be that of a part of the state.
    fn mark(&self) -> u64;

    /// Takes what a checkpoint needs, quickly: the state is held meanwhile.
    fn snapshot(&self) -> Snapshot;

    /// Turns a blank state into the one that a checkpoint was taken of.
    ///
    /// # Errors
    /// When the format is unknown, and when it cannot be read; the state is then of no use.
    fn restore(&mut self, format: u32, data: &[u8]) -> Result<(), Unreadable>;

    /// Goes on at the time `now` after a time in which nothing could be told or kept: after a
    /// restart, a rebuild, an outage. Changes what is volatile only.
    fn resume(&mut self, now: Timestamp);

    /// When [`Rules::tick`] next has something to do.
    fn next_deadline(&self) -> Option<Timestamp>;

    /// The command that says that time has passed.
    fn tick() -> Self::Command;

    /// A command that is to be carried out before any other one, because of what the last one has
    /// left; it is kept with that one, or neither is. After [`FOLLOW_UPS`](super::FOLLOW_UPS) of them
    /// others have their turn, and after an outage nobody has asked: [`Rules::next_deadline`] must
    /// say that there is still something to do.
    fn follow_up(&self) -> Option<Self::Command> {
        None
    }
}

/// What a command comes to, before it has happened.
pub struct Decision<R: Rules> {
    /// What is to happen, in order; all of it or nothing.
    pub events: Vec<R::Event>,
    /// What whoever asked is told once it has.
    pub reply: R::Reply,
}

/// What is kept of a command: all of it, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Its events, from which the state is brought back.
    pub entry: Entry,
    /// Work that it writes, to streams that nobody else writes to. The state is brought back without
    /// reading it.
    pub work: Vec<Work>,
    /// Work that is done with.
    pub removals: Vec<Removal>,
}

impl From<Entry> for Keep {
    fn from(entry: Entry) -> Self {
        Self { entry, work: Vec::new(), removals: Vec::new() }
    }
}

/// Work for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The stream.
    pub stream: StreamName,
    /// The version that its first item gets. The rules know it, since only they write to it.
    pub first: Version,
    /// The items, in order.
    pub items: Vec<Item>,
}

/// A piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What kind of work.
    pub kind: Arc<str>,
    /// How `data` is to be read.
    pub format: Format,
    /// What it is.
    pub data: Bytes,
    /// What is said about it.
    pub metadata: Bytes,
}

/// A command's events as they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What kind of thing happened.
    pub kind: Arc<str>,
    /// How `data` is to be read.
    pub format: Format,
    /// What happened.
    pub data: Bytes,
}

/// Why something that was kept cannot be taken up again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A later version wrote it.
    #[error("its format {0} is not known to this version")]
    Format(u32),
    /// It is not what was written, or a later version wrote it.
    #[error("{0}")]
    Damaged(String),
}

/// What does a pillar's work outside its state.
pub trait Hands<R: Rules>: Send + 'static {
    /// Carries out the effects of commands, in the order in which those were decided. Called for what
    /// is durable only, before whoever asked is answered.
    fn carry_out(&mut self, done: Vec<Done<R>>);

    /// A state was brought back: at the start, and when what had been decided was lost. Whatever
    /// effects have brought about must now be made to fit it, and whoever waits for changes must
    /// look again.
    fn take_over(&mut self, state: &R);
}

/// A command that was carried out, with what must be done about it.
pub struct Done<R: Rules> {
    /// What happened.
    pub events: Vec<R::Event>,
    /// What must be done.
    pub effects: Vec<R::Effect>,
}
