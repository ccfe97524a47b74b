//! What the journal's driver asks of the broker's rules, in terms of how they are written down.

use posthouse_base::time::Timestamp;
use posthouse_journal::Recorded;
use posthouse_journal::driver::{self, Decision, Keep, Rules, Snapshot};

use super::{Unreadable, checkpoint, entry};
use crate::state::{Command, Decided, Effect, Event, Refusal, State};

impl Rules for State {
    type Command = Command;
    type Event = Event;
    type Effect = Effect;
    type Reply = Result<(), Refusal>;

    fn decide(&self, command: Command, now: Timestamp) -> Decision<Self> {
        let Decided { events, reply } = Self::decide(self, command, now);
        Decision { events, reply }
    }

    fn apply(&mut self, events: &[Event]) -> Vec<Effect> {
        Self::apply(self, events)
    }

    fn encode(events: &[Event]) -> Option<Keep> {
        entry::keep(events)
    }

    fn replay(&mut self, recorded: &Recorded, mark: u64) -> Result<(), driver::Unreadable> {
        let facts = entry::facts(&recorded.event.data).map_err(damaged)?;
        facts.iter().for_each(|fact| self.recall(fact));
        self.set_mark(mark);
        Ok(())
    }

    fn mark(&self) -> u64 {
        Self::mark(self)
    }

    fn snapshot(&self) -> Snapshot {
        let image = self.image();
        Box::new(move || (checkpoint::FORMAT, checkpoint::written(&image)))
    }

    fn restore(&mut self, format: u32, data: &[u8]) -> Result<(), driver::Unreadable> {
        if format != checkpoint::FORMAT {
            return Err(driver::Unreadable::Format(format));
        }
        let image = checkpoint::read(data).map_err(damaged)?;
        self.bring_back(image);
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

    fn follow_up(&self) -> Option<Command> {
        Self::follow_up(self)
    }
}

fn damaged(why: Unreadable) -> driver::Unreadable {
    driver::Unreadable::Damaged(why.to_string())
}
