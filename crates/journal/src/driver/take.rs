//! Deciding what waits, ahead of the journal, and gathering what it is to keep of that: one batch, in
//! which each command is whole.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use posthouse_base::time::Timestamp;
use uuid::Uuid;

use crate::batch::{Append, Batch, Expected, Removal};
use crate::driver::FOLLOW_UPS;
use crate::driver::error::Error;
use crate::driver::flight::Flight;
use crate::driver::handle::{Answer, Reply, Request};
use crate::driver::rules::{Decision, Done, Entry, Hands, Keep, Rules, Work};
use crate::driver::task::{Task, add};
use crate::error::{Error as JournalError, Outage};
use crate::event::{NewEvent, StreamName, Table, Version};

/// What was decided since the last batch was handed in.
struct Taking<R: Rules> {
    flight: Flight<R>,
    /// Entries of the pillar's stream.
    entries: Vec<NewEvent>,
    work: Vec<Append>,
    /// Where in `work` each stream is.
    places: HashMap<StreamName, usize>,
    removals: Vec<Removal>,
    /// The bytes of the entries, and of everything.
    entry_bytes: usize,
    bytes: usize,
}

impl<R: Rules, H: Hands<R>> Task<R, H> {
    /// Decides what waits, as much of it as one batch may hold, and sends it off.
    pub(super) fn take_in(&mut self) -> bool {
        let now = (self.clock)();
        let outage = self.kept.as_mut().and_then(|kept| kept.outage());
        let outage = outage.as_ref();
        let requests = std::mem::take(&mut self.waiting);
        let mut requests = requests.into_iter();
        let shared = Arc::clone(&self.shared);
        let mut held = shared.state_mut();
        let before = self.kept.as_ref().and_then(|kept| kept.version);
        let mut taking = Taking::new(Flight::new(held.state.mark(), before));
        while taking.bytes < self.settings.batch_bytes
            && let Some(Request { command, reply }) = requests.next()
        {
            let state = &mut held.state;
            if !self.carry_out(command, reply, state, now, outage, &mut taking) {
                continue;
            }
            for _ in 0..FOLLOW_UPS {
                let Some(command) = state.follow_up() else { break };
                if !self.carry_out(command, None, state, now, outage, &mut taking) {
                    break;
                }
            }
        }
        drop(held);
        self.waiting.extend(requests);
        self.send_off(taking, before);
        self.count_flights();
        self.look_at_deadline();
        true
    }

    /// Lets the rules decide a command and makes that have happened, unless it cannot be kept.
    fn carry_out(
        &mut self,
        command: R::Command,
        reply: Option<Reply<R>>,
        state: &mut R,
        now: Timestamp,
        outage: Option<&Outage>,
        taking: &mut Taking<R>,
    ) -> bool {
        let Decision { events: happening, reply: told } = state.decide(command, now);
        let keep = self.kept.as_ref().and_then(|_| R::encode(&happening));
        if let Some(error) = self.refusal(keep.as_ref(), outage) {
            taking.flight.answers.extend(reply.map(|to| Answer { to, told: Err(error) }));
            return false;
        }
        if keep.is_some() && taking.entries.is_empty() && !taking.flight.is_empty() {
            // What came before it need not wait for it.
            let next = Flight::new(taking.flight.mark, taking.flight.version);
            self.flights.push(std::mem::replace(&mut taking.flight, next));
        }
        let effects = state.apply(&happening);
        taking.flight.mark = state.mark();
        if let Some((kept, keep)) = self.kept.as_mut().zip(keep) {
            let version = kept.version.map_or(Version::FIRST, Version::next);
            (kept.version, taking.flight.version) = (Some(version), Some(version));
            taking.keep(keep, version, kept.tag);
        }
        taking.flight.done.push(Done { events: happening, effects });
        taking.flight.answers.extend(reply.map(|to| Answer { to, told: Ok(told) }));
        true
    }

    /// Why a command that would be kept so is not carried out. It has not happened then.
    fn refusal(&self, keep: Option<&Keep>, outage: Option<&Outage>) -> Option<Error> {
        let keep = keep?;
        let (entry, all) = (keep.entry.data.len(), size(keep));
        let limits = &self.settings;
        for (actual, limit) in [(entry, limits.event_bytes), (all, limits.command_bytes)] {
            if actual > limit {
                return Some(Error::TooLarge { actual, limit });
            }
        }
        let outage = outage?.clone();
        add(&self.shared.counters.refused, 1);
        Some(Error::Journal(JournalError::Unavailable(outage)))
    }

    fn send_off(&mut self, taking: Taking<R>, before: Option<Version>) {
        let Taking { mut flight, entries, work, removals, entry_bytes, .. } = taking;
        if let Some(kept) = self.kept.as_mut().filter(|_| !entries.is_empty()) {
            kept.since.0 += u64::try_from(entries.len()).unwrap_or(u64::MAX);
            kept.since.1 += u64::try_from(entry_bytes).unwrap_or(u64::MAX);
            let facts = Append {
                stream: self.settings.stream.clone(),
                table: Table::Facts,
                expected: after(before),
                events: entries,
            };
            let appends = std::iter::once(facts).chain(work).collect();
            let batch = Batch { appends, removals, ..Batch::default() };
            flight.write(Arc::clone(&kept.journal), batch);
        }
        if !flight.is_empty() {
            self.flights.push(flight);
        }
    }
}

impl<R: Rules> Taking<R> {
    fn new(flight: Flight<R>) -> Self {
        Self {
            flight,
            entries: Vec::new(),
            work: Vec::new(),
            places: HashMap::new(),
            removals: Vec::new(),
            entry_bytes: 0,
            bytes: 0,
        }
    }

    /// Adds what is kept of one command, whose entry gets `version`.
    fn keep(&mut self, keep: Keep, version: Version, tag: u64) {
        self.bytes += size(&keep);
        let Keep { entry: Entry { kind, format, data }, work, removals } = keep;
        self.entry_bytes += data.len();
        let metadata = Bytes::from(self.flight.mark.to_string());
        let id = Uuid::from_u64_pair(tag, version.get());
        self.entries.push(NewEvent { id, kind, format, data, metadata });
        for Work { stream, first, items } in work {
            let numbers = first.get()..;
            let events = numbers.zip(items).map(|(number, item)| NewEvent {
                id: Uuid::from_u64_pair(tag, number),
                kind: item.kind,
                format: item.format,
                data: item.data,
                metadata: item.metadata,
            });
            let Self { places, work, .. } = self;
            let place = *places.entry(stream.clone()).or_insert_with(|| {
                let expected = after(first.get().checked_sub(1).map(Version::new));
                work.push(Append { stream, table: Table::Work, expected, events: Vec::new() });
                work.len() - 1
            });
            work[place].events.extend(events);
        }
        for removal in removals {
            self.remove(removal);
        }
    }

    /// Work is mostly done with in order: what follows on the last removal extends it.
    fn remove(&mut self, removal: Removal) {
        if let Removal::Versions { stream, versions } = &removal
            && let Some(Removal::Versions { stream: last, versions: done }) =
                self.removals.last_mut()
            && last == stream
            && done.end().next() == *versions.start()
        {
            *done = *done.start()..=*versions.end();
            return;
        }
        self.removals.push(removal);
    }
}

fn after(version: Option<Version>) -> Expected {
    version.map_or(Expected::NoStream, Expected::Exactly)
}

/// What the journal counts for it, or a little less.
fn size(keep: &Keep) -> usize {
    let items = keep.work.iter().flat_map(|work| &work.items);
    let work: usize = items.map(|item| item.data.len() + item.metadata.len() + 64).sum();
    keep.entry.data.len() + work
}
