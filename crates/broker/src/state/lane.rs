//! A part of a queue in which messages keep their order: a stream of work in the journal, of which
//! memory holds ranges of numbers, and at its head a window of messages.
//!
//! Messages that are not kept lie between those that are: behind the last one that was there when they
//! came.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use posthouse_journal::StreamName;

use super::death::Reason;
use super::ranges::RangeSet;
use crate::ids::LaneId;
use crate::message::Message;

/// Where a message stands in its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its sequence number; or, when it is not kept, that of the next one that is.
    seq: u64,
    /// Its number among those that are not kept; above all of them when it is.
    sub: u64,
}

impl Place {
    /// That of a message that is kept.
    #[must_use]
    pub const fn kept(seq: u64) -> Self {
        Self { seq, sub: u64::MAX }
    }

    pub(crate) const fn in_memory(next: u64, number: u64) -> Self {
        Self { seq: next, sub: number }
    }

    /// The sequence number of one that is kept.
    #[must_use]
    pub const fn seq(self) -> Option<u64> {
        if self.sub == u64::MAX { Some(self.seq) } else { None }
    }
}

/// A part of a queue.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) stream: StreamName,
    /// The sequence number that the next message that is kept gets.
    pub(crate) next: u64,
    /// The messages that are kept, waiting or not, and the bytes of their bodies.
    pub(crate) kept: RangeSet,
    pub(crate) kept_bytes: u64,
    /// Those of them that wait, and the bytes of their bodies.
    pub(crate) ready: RangeSet,
    pub(crate) ready_bytes: u64,
    /// Those of them that have died, and are to be buried.
    pub(crate) dying: BTreeMap<u64, Reason>,
    /// Those that had died before the last restart: sizes are not known one by one after it, so that
    /// theirs are in `ready_bytes` until they are buried.
    pub(crate) dead_in_bytes: RangeSet,
    /// How often those have come back that are counted.
    pub(crate) counts: HashMap<u64, u32, RandomState>,
    /// What is below may have been delivered: noted ahead, so that it need not be noted each time.
    pub(crate) reached: u64,
    /// What is below may have been delivered before the last restart.
    pub(crate) doubtful: u64,
    /// Those that came back.
    again: RangeSet,
    /// Messages that are not kept and wait.
    waiting: BTreeMap<Place, Waiting>,
    waiting_bytes: u64,
    next_number: u64,
    /// Those of `ready` that are at hand.
    window: BTreeMap<u64, Arc<Message>>,
    window_bytes: usize,
    /// What was asked for and has not come.
    pub(crate) loading: Option<(u64, u64)>,
    pub(crate) loading_dead: Option<(u64, u64)>,
}

#[derive(Clone, Debug)]
struct Waiting {
    message: Arc<Message>,
    came_back: bool,
}

/// The message that is first.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) place: Place,
    /// Absent when it is to be loaded.
    pub(crate) message: Option<Arc<Message>>,
    pub(crate) redelivered: bool,
}

impl Lane {
    pub(crate) fn new(id: LaneId) -> Self {
        let LaneId { queue, priority } = id;
        let name = match priority {
            0 => format!("queue/{queue}"),
            priority => format!("queue/{queue}/{priority}"),
        };
        Self {
            stream: StreamName::internal(name),
            next: 0,
            kept: RangeSet::default(),
            kept_bytes: 0,
            ready: RangeSet::default(),
            ready_bytes: 0,
            dying: BTreeMap::new(),
            dead_in_bytes: RangeSet::default(),
            counts: HashMap::default(),
            reached: 0,
            doubtful: 0,
            again: RangeSet::default(),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            next_number: 0,
            window: BTreeMap::new(),
            window_bytes: 0,
            loading: None,
            loading_dead: None,
        }
    }

    /// Takes on a message that is kept; `size` is that of its body.
    pub(crate) fn keep(&mut self, seq: u64, size: u64) {
        self.next = self.next.max(seq + 1);
        self.kept.insert(seq);
        self.kept_bytes += size;
    }

    /// Takes on a message that is not kept.
    pub(crate) fn hold(&mut self, message: Arc<Message>) {
        let place = Place::in_memory(self.next, self.next_number);
        self.next_number += 1;
        self.waiting_bytes += size_of(&message);
        self.waiting.insert(place, Waiting { message, came_back: false });
    }

    /// Has a message that is kept wait, at hand if there is room.
    pub(crate) fn wait(&mut self, seq: u64, size: u64, message: Option<Arc<Message>>) {
        // What is at hand are the first ones: those behind a gap would only fill it up.
        let all_at_hand = u64::try_from(self.window.len()) == Ok(self.ready.len());
        self.ready.insert(seq);
        self.ready_bytes += size;
        if let Some(message) = message.filter(|_| all_at_hand) {
            self.put_at_hand(seq, message);
        }
    }

    pub(crate) fn put_at_hand(&mut self, seq: u64, message: Arc<Message>) {
        self.window_bytes += message.weight();
        if let Some(before) = self.window.insert(seq, message) {
            self.window_bytes -= before.weight();
        }
    }

    /// Messages at hand, and their weight.
    pub(crate) fn at_hand(&self) -> (usize, usize) {
        (self.window.len(), self.window_bytes)
    }

    /// The first that is at hand behind `seq`.
    pub(crate) fn next_at_hand(&self, seq: u64) -> Option<u64> {
        self.window.range(seq + 1..).next().map(|(seq, _)| *seq)
    }

    pub(crate) fn is_at_hand(&self, seq: u64) -> bool {
        self.window.contains_key(&seq)
    }

    /// Those that wait.
    pub(crate) fn count(&self) -> u64 {
        self.ready.len() + u64::try_from(self.waiting.len()).unwrap_or(u64::MAX)
    }

    /// The bytes of their bodies.
    pub(crate) const fn bytes(&self) -> u64 {
        self.ready_bytes + self.waiting_bytes
    }

    /// The first that waits.
    pub(crate) fn head(&self) -> Option<Head> {
        self.head_after(None)
    }

    /// The first that waits behind `after`.
    pub(crate) fn head_after(&self, after: Option<Place>) -> Option<Head> {
        let (kept, memory) = match after {
            None => (self.ready.first(), self.waiting.first_key_value()),
            Some(after) => {
                let seq = if after.sub == u64::MAX { after.seq + 1 } else { after.seq };
                let behind = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
                (self.ready.first_from(seq), self.waiting.range(behind).next())
            }
        };
        if let Some((place, Waiting { message, came_back })) = memory
            && kept.is_none_or(|seq| *place < Place::kept(seq))
        {
            let message = Some(Arc::clone(message));
            return Some(Head { place: *place, message, redelivered: *came_back });
        }
        let seq = kept?;
        Some(Head {
            place: Place::kept(seq),
            message: self.window.get(&seq).cloned(),
            redelivered: seq < self.doubtful || self.again.contains(seq),
        })
    }

    /// Takes a message from those that wait: it is delivered, or goes.
    pub(crate) fn take(&mut self, place: Place) -> Option<Arc<Message>> {
        match place.seq() {
            Some(seq) => {
                self.ready.remove(seq);
                let message = self.window.remove(&seq)?;
                self.window_bytes -= message.weight();
                self.ready_bytes = self.ready_bytes.saturating_sub(size_of(&message));
                Some(message)
            }
            None => {
                let Waiting { message, .. } = self.waiting.remove(&place)?;
                self.waiting_bytes -= size_of(&message);
                Some(message)
            }
        }
    }

    /// Puts a message back where it was.
    pub(crate) fn put_back(&mut self, place: Place, size: u64, message: Option<Arc<Message>>) {
        match (place.seq(), message) {
            (Some(seq), _) => {
                self.ready.insert(seq);
                self.ready_bytes += size;
                self.again.insert(seq);
            }
            (None, Some(message)) => {
                self.waiting_bytes += size;
                self.waiting.insert(place, Waiting { message, came_back: true });
            }
            // What is not kept is always held by whoever it was delivered to.
            (None, None) => {}
        }
    }

    /// Forgets messages that were kept, with the bytes of their bodies, and those of them that wait.
    pub(crate) fn forget(&mut self, ranges: &[(u64, u64)], bytes: u64, waiting_bytes: u64) {
        for (from, end) in ranges {
            self.kept.remove_range(*from, *end);
            self.ready.remove_range(*from, *end);
            self.again.remove_range(*from, *end);
            self.dead_in_bytes.remove_range(*from, *end);
            while let Some((seq, message)) = self.window.range(*from..*end).next() {
                let (seq, weight) = (*seq, message.weight());
                self.window.remove(&seq);
                self.window_bytes -= weight;
            }
            while let Some(seq) = self.dying.range(*from..*end).next().map(|(seq, _)| *seq) {
                self.dying.remove(&seq);
            }
            if !self.counts.is_empty() {
                self.counts.retain(|seq, _| !(*from..*end).contains(seq));
            }
        }
        self.kept_bytes = self.kept_bytes.saturating_sub(bytes);
        self.ready_bytes = self.ready_bytes.saturating_sub(waiting_bytes);
    }

    /// What waits and is not kept.
    pub(crate) fn memory_places(&self) -> impl Iterator<Item = (Place, &Arc<Message>)> {
        self.waiting.iter().map(|(place, waiting)| (*place, &waiting.message))
    }

    /// Goes on after a restart: everything waits that is kept and is not dying.
    pub(crate) fn resume(&mut self) {
        self.ready = self.kept.clone();
        self.ready_bytes = self.kept_bytes;
        self.dead_in_bytes = RangeSet::default();
        for seq in self.dying.keys() {
            self.ready.remove(*seq);
            self.dead_in_bytes.insert(*seq);
        }
        self.doubtful = self.reached;
    }
}

pub(crate) fn size_of(message: &Message) -> u64 {
    u64::try_from(message.body.len()).unwrap_or(u64::MAX)
}
