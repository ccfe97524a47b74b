//! What the journal's driver asks of the rules, in terms of how they are written down.

use bytes::Bytes;
use posthouse_base::time::Timestamp;
use posthouse_journal::driver::{Decision, Entry, Keep, Rules, Snapshot, Unreadable};
use posthouse_journal::{Format, Recorded};

use super::{FORMAT, KIND};
use crate::state::{Command, Effect, Event, Refusal, Reply, Revision, State};

/// The mark is the revision of the last change. Nothing is volatile: every change is kept.
impl Rules for State {
    type Command = Command;
    type Event = Event;
    type Effect = Effect;
    type Reply = Result<Reply, Refusal>;

    fn decide(&self, command: Command, now: Timestamp) -> Decision<Self> {
        match Self::decide(self, command, now) {
            Ok((events, reply)) => Decision { events, reply: Ok(reply) },
            Err(refusal) => Decision { events: Vec::new(), reply: Err(refusal) },
        }
    }

    fn apply(&mut self, events: &[Event]) -> Vec<Effect> {
        Self::apply(self, events)
    }

    fn encode(events: &[Event]) -> Option<Keep> {
        let data = super::record(events)?.into();
        Some(Entry { kind: KIND.into(), format: Format::Json, data }.into())
    }

    fn replay(&mut self, recorded: &Recorded, mark: u64) -> Result<(), Unreadable> {
        let events = super::events(&recorded.event.data).map_err(|error| damaged(&error))?;
        Self::replay(self, &events, Revision::new(mark));
        Ok(())
    }

    fn mark(&self) -> u64 {
        self.revision().get()
    }

    fn snapshot(&self) -> Snapshot {
        let image = self.image();
        Box::new(move || (FORMAT, Bytes::from(super::checkpoint(&image))))
    }

    fn restore(&mut self, format: u32, data: &[u8]) -> Result<(), Unreadable> {
        if format != FORMAT {
            return Err(Unreadable::Format(format));
        }
        self.bring_back(super::image(data).map_err(|error| damaged(&error))?);
        Ok(())
    }

    /// Nothing depends on time that passes: whether a key has expired is asked when it is shown.
    fn resume(&mut self, _: Timestamp) {}

    fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    fn tick() -> Command {
        Command::Tick
    }
}

fn damaged(error: &super::Unreadable) -> Unreadable {
    Unreadable::Damaged(error.to_string())
}
