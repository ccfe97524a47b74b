//! What the journal's driver asks of the registry's rules, in terms of how they are written down.

use bytes::Bytes;
use posthouse_base::time::Timestamp;
use posthouse_journal::driver::{Decision, Entry, Keep, Rules, Snapshot, Unreadable};
use posthouse_journal::{Format, Recorded};

use super::{FORMAT, KIND};
use crate::state::{Command, Decided, Effect, Event, Index, Refusal, Reply, State};

/// The mark is the index of the last change: every command that is kept takes the next one, or
/// changes nothing that anybody is shown with an index.
impl Rules for State {
    type Command = Command;
    type Event = Event;
    type Effect = Effect;
    type Reply = Result<Reply, Refusal>;

    fn decide(&self, command: Command, now: Timestamp) -> Decision<Self> {
        match Self::decide(self, command, now) {
            Ok(Decided { events, reply }) => Decision { events, reply: Ok(reply) },
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
        Self::replay(self, &events, Index::new(mark));
        Ok(())
    }

    fn mark(&self) -> u64 {
        self.index().get()
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

    fn resume(&mut self, now: Timestamp) {
        Self::resume(self, now);
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        Self::next_deadline(self)
    }

    fn tick() -> Command {
        Command::Tick
    }
}

fn damaged(error: &super::Unreadable) -> Unreadable {
    Unreadable::Damaged(error.to_string())
}
