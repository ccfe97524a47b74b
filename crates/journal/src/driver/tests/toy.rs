//! The smallest rules that have everything: keys that are set to the id of the command that set
//! them, several at once; something volatile; a deadline; a piece of work for each command that is
//! kept, of which the last few are not done yet; and commands that have another one follow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthouse_base::time::Timestamp;

use crate::batch::Removal;
use crate::driver::{Decision, Entry, Item, Keep, Rules, Snapshot, Unreadable, Work};
use crate::event::{Format, Recorded, StreamName, Version};

/// How long after it was armed the clock strikes.
const FUSE: Duration = Duration::from_millis(40);

const CHECKPOINT: u32 = 3;

/// How many pieces of work are left to do.
pub(super) const LEFT: u64 = 3;
/// A command that follows another one has an id that is so much higher.
pub(super) const FOLLOWS: u64 = 500_000;

/// Rules as they should be.
pub(super) const SOUND: u8 = 0;
/// On purpose: readers hand in a mark that does not cover all that they see.
pub(super) const UNMARKED: u8 = 1;
/// On purpose: some commands are not kept, though their mark says so.
pub(super) const FORGETS: u8 = 2;
/// On purpose: only a part of what one command did is kept.
pub(super) const HALVES: u8 = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Toy<const FLAW: u8> {
    /// The number of commands so far that are kept.
    pub(super) mark: u64,
    /// The last of them.
    pub(super) last: u64,
    /// Who set each key, and at which mark.
    pub(super) keys: BTreeMap<u8, (u64, u64)>,
    pub(super) touched: u64,
    /// The id of the command that is to follow.
    owed: Option<u64>,
    strikes_at: Option<Timestamp>,
    resumed_at: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) enum Command {
    Put { id: u64, keys: Vec<u8>, arms: bool },
    Touch,
    Refuse,
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Put {
        id: u64,
        key: u8,
        /// How many commands were kept before it.
        before: u64,
    },
    Armed {
        at: Timestamp,
    },
    /// The id of a strike is the time at which it was.
    Struck {
        id: u64,
        before: u64,
    },
    Touched,
}

/// What was carried out, and what that made the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Effect {
    pub(super) id: u64,
    pub(super) mark: u64,
}

/// What the rules saw when they decided: the mark, and who made it so. For a put, its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) mark: u64,
    pub(super) last: u64,
}

impl<const FLAW: u8> Toy<FLAW> {
    pub(super) const fn blank() -> Self {
        Self {
            mark: 0,
            last: 0,
            keys: BTreeMap::new(),
            touched: 0,
            owed: None,
            strikes_at: None,
            resumed_at: None,
        }
    }

    /// The state without what is volatile.
    pub(super) fn kept(&self) -> (u64, u64, &BTreeMap<u8, (u64, u64)>) {
        (self.mark, self.last, &self.keys)
    }

    /// Makes a kept command have happened.
    fn put(&mut self, id: u64, keys: &[u8]) {
        self.mark += 1;
        self.last = id;
        self.keys.extend(keys.iter().map(|key| (*key, (id, self.mark))));
    }
}

impl<const FLAW: u8> Rules for Toy<FLAW> {
    type Command = Command;
    type Event = Event;
    type Effect = Effect;
    type Reply = Reply;

    fn decide(&self, command: Command, now: Timestamp) -> Decision<Self> {
        let mut reply = Reply { mark: self.mark, last: self.last };
        let events = match command {
            Command::Put { id, keys, arms } => {
                reply = Reply { mark: self.mark + 1, last: id };
                let before = self.mark;
                let puts = keys.into_iter().map(|key| Event::Put { id, key, before });
                puts.chain(arms.then(|| Event::Armed { at: now.plus(FUSE) })).collect()
            }
            Command::Touch => vec![Event::Touched],
            Command::Refuse => vec![],
            Command::Tick if self.strikes_at.is_some_and(|at| at <= now) => {
                vec![Event::Struck { id: 1_000_000 + self.mark, before: self.mark }]
            }
            Command::Tick => vec![],
        };
        Decision { events, reply }
    }

    fn apply(&mut self, events: &[Event]) -> Vec<Effect> {
        let mut kept = None;
        let mut keys = Vec::new();
        for event in events {
            match event {
                Event::Put { id, key, .. } => {
                    kept = Some(*id);
                    keys.push(*key);
                    self.owed = is_followed(*id).then_some(id + FOLLOWS);
                }
                Event::Struck { id, .. } => {
                    kept = Some(*id);
                    self.strikes_at = None;
                }
                Event::Armed { at } => self.strikes_at = Some(*at),
                Event::Touched => self.touched += 1,
            }
        }
        let Some(id) = kept else { return vec![] };
        self.put(id, &keys);
        vec![Effect { id, mark: self.mark }]
    }

    fn encode(events: &[Event]) -> Option<Keep> {
        let mut kept = None;
        let mut keys = Vec::new();
        for event in events {
            match event {
                Event::Put { id, key, before } => {
                    kept = Some((*id, *before));
                    keys.push(*key);
                }
                Event::Struck { id, before } => kept = Some((*id, *before)),
                Event::Armed { .. } | Event::Touched => {}
            }
        }
        if FLAW == HALVES && keys.len() > 1 {
            keys.pop();
        }
        let (id, before) = kept.filter(|(id, _)| FLAW != FORGETS || id % 5 > 0)?;
        let data = id.to_le_bytes().into_iter().chain(keys).collect();
        let entry = Entry { kind: Arc::from("toy"), format: Format::Binary, data };
        Some(Keep { work: vec![work(id, before)], removals: done(before), entry })
    }

    fn replay(&mut self, recorded: &Recorded, mark: u64) -> Result<(), Unreadable> {
        let (id, keys) = read(recorded);
        self.put(id, &keys);
        if self.mark == mark {
            Ok(())
        } else {
            Err(Unreadable::Damaged(format!("mark {mark} where {} is", self.mark)))
        }
    }

    fn mark(&self) -> u64 {
        self.mark
    }

    fn snapshot(&self) -> Snapshot {
        let state = self.clone();
        Box::new(move || {
            let numbers = [state.mark, state.last].into_iter();
            let keys = state.keys.iter().flat_map(|(key, (id, mark))| [(*key).into(), *id, *mark]);
            let data: Vec<u8> = numbers.chain(keys).flat_map(u64::to_le_bytes).collect();
            (CHECKPOINT, Bytes::from(data))
        })
    }

    fn restore(&mut self, format: u32, data: &[u8]) -> Result<(), Unreadable> {
        if format != CHECKPOINT {
            return Err(Unreadable::Format(format));
        }
        let mut numbers = data.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let mut next = || numbers.next();
        self.mark = next().unwrap_or_default();
        self.last = next().unwrap_or_default();
        while let (Some(key), Some(id), Some(mark)) = (next(), next(), next()) {
            let key = u8::try_from(key).map_err(|error| Unreadable::Damaged(error.to_string()))?;
            self.keys.insert(key, (id, mark));
        }
        Ok(())
    }

    fn resume(&mut self, now: Timestamp) {
        self.resumed_at = Some(now);
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        if self.owed.is_some() { Some(Timestamp::default()) } else { self.strikes_at }
    }

    fn follow_up(&self) -> Option<Command> {
        self.owed.map(|id| Command::Put { id, keys: vec![0], arms: false })
    }

    fn tick() -> Command {
        Command::Tick
    }
}

/// Whether the command of that id has another one follow: some that clients put.
pub(super) fn is_followed(id: u64) -> bool {
    (1000..FOLLOWS).contains(&id) && id.is_multiple_of(7)
}

/// The stream of work.
pub(super) fn tasks() -> StreamName {
    StreamName::internal("toy/work")
}

/// The piece of work of the command before which so many were kept.
fn work(id: u64, before: u64) -> Work {
    let data = Bytes::copy_from_slice(&id.to_le_bytes());
    let (kind, metadata) = (Arc::from("work"), Bytes::new());
    let items = vec![Item { kind, format: Format::Binary, data, metadata }];
    Work { stream: tasks(), first: Version::new(before), items }
}

fn done(before: u64) -> Vec<Removal> {
    let version = before.checked_sub(LEFT).map(Version::new);
    let removal = |version| Removal::Versions { stream: tasks(), versions: version..=version };
    version.map(removal).into_iter().collect()
}

/// What is kept of a command: its id and the keys that it set.
pub(super) fn read(recorded: &Recorded) -> (u64, Vec<u8>) {
    let (id, keys) = recorded.event.data.split_at(8);
    (u64::from_le_bytes(id.try_into().unwrap_or_default()), keys.to_vec())
}
