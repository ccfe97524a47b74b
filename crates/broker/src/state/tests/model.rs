//! A broker that is too simple to be wrong: lists of messages. It follows what the real one tells, and
//! says what of that cannot be.

use std::collections::BTreeMap;

use super::house::body;
use crate::ids::{ChannelId, ConsumerTag};
use crate::state::{Answer, Delivered, Output};

#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) body: String,
    /// Its place among all that were ever put into queues.
    pub(super) number: u64,
    pub(super) priority: u8,
    pub(super) kept: bool,
    /// Whether it was delivered at some time, and whether it came back since the last restart.
    pub(super) delivered: bool,
    pub(super) came_back: bool,
    /// Whether it has been through a restart.
    pub(super) old: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Box {
    pub(super) name: &'static str,
    pub(super) durable: bool,
    pub(super) priorities: bool,
    pub(super) most: Option<usize>,
    pub(super) rejects: bool,
    /// Where letters go that die.
    pub(super) grave: Option<usize>,
    pub(super) letters: Vec<Letter>,
}

#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) channel: ChannelId,
    pub(super) tag: ConsumerTag,
    pub(super) from: usize,
    pub(super) no_ack: bool,
    pub(super) prefetch: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Out {
    pub(super) from: usize,
    pub(super) letter: Letter,
    pub(super) reader: Option<ConsumerTag>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Desk {
    pub(super) next_tag: u64,
    pub(super) confirms: Option<u64>,
    pub(super) out: BTreeMap<u64, Out>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) boxes: Vec<Box>,
    pub(super) readers: Vec<Reader>,
    pub(super) desks: BTreeMap<ChannelId, Desk>,
    pub(super) number: u64,
}

type Wrong = Result<(), String>;

impl Model {
    pub(super) fn put(&mut self, to: usize, mut letter: Letter) {
        self.number += 1;
        let place = &mut self.boxes[to];
        letter.number = self.number;
        letter.kept &= place.durable;
        letter.priority = if place.priorities { letter.priority } else { 0 };
        (letter.delivered, letter.came_back, letter.old) = (false, false, false);
        place.letters.push(letter);
        place.sort();
    }

    /// Whether a letter is taken on.
    pub(super) fn offer(&mut self, to: usize, letter: Letter) -> bool {
        let place = &self.boxes[to];
        let is_full = place.rejects && place.most.is_some_and(|most| place.letters.len() >= most);
        if !is_full {
            self.put(to, letter);
        }
        !is_full
    }

    fn bury(&mut self, from: usize, letter: Letter) {
        if let Some(grave) = self.boxes[from].grave {
            self.put(grave, letter);
        }
    }

    pub(super) fn trim(&mut self) {
        for from in 0..self.boxes.len() {
            while let Some(most) = self.boxes[from].most
                && !self.boxes[from].rejects
                && self.boxes[from].letters.len() > most
            {
                let letter = self.boxes[from].letters.remove(0);
                self.bury(from, letter);
            }
        }
    }

    /// What ends of a desk's letters, in the order of their tags.
    pub(super) fn settle(&mut self, id: ChannelId, tags: &[u64], back: bool, dead: bool) {
        for tag in tags {
            let out = self.desks.get_mut(&id).and_then(|desk| desk.out.remove(tag));
            let Some(Out { from, mut letter, .. }) = out else { continue };
            if back {
                letter.came_back = true;
                self.boxes[from].letters.push(letter);
                self.boxes[from].sort();
            } else if dead {
                self.bury(from, letter);
            }
        }
    }

    pub(super) fn close(&mut self, id: ChannelId) {
        let tags: Vec<u64> =
            self.desks.get(&id).map(|desk| desk.out.keys().copied().collect()).unwrap_or_default();
        self.settle(id, &tags, true, false);
        self.desks.remove(&id);
        self.readers.retain(|reader| reader.channel != id);
    }

    pub(super) fn restart(&mut self) {
        let desks: Vec<ChannelId> = self.desks.keys().copied().collect();
        desks.into_iter().for_each(|id| self.close(id));
        for place in &mut self.boxes {
            let durable = place.durable;
            place.letters.retain(|letter| letter.kept && durable);
            for letter in &mut place.letters {
                (letter.came_back, letter.old) = (false, true);
            }
        }
    }

    /// Follows what was told on one channel.
    pub(super) fn follow(&mut self, id: ChannelId, output: &Output) -> Wrong {
        match output {
            Output::Deliver(_, tag, delivered) => {
                let reader =
                    self.readers.iter().find(|r| r.channel == id && r.tag == *tag).cloned();
                let reader = reader.ok_or_else(|| format!("a delivery to {tag}, who is not"))?;
                if !self.has_room(&reader) {
                    return Err(format!("{tag} got more than {}", reader.prefetch));
                }
                self.hand(id, reader.from, delivered, reader.no_ack, Some(reader.tag))
            }
            Output::CloseChannel(..) => {
                self.close(id);
                Ok(())
            }
            Output::Answer(..) | Output::Confirm { .. } => Ok(()),
            other => Err(format!("unexpected: {other:?}")),
        }
    }

    pub(super) fn hand(
        &mut self,
        id: ChannelId,
        from: usize,
        delivered: &Delivered,
        no_ack: bool,
        reader: Option<ConsumerTag>,
    ) -> Wrong {
        let name = self.boxes[from].name;
        let found = body(&delivered.message);
        // What was too much elsewhere may have come here before it was handed on.
        let is_first = |model: &Self| {
            model.boxes[from].letters.first().is_some_and(|letter| letter.body == found)
        };
        if !is_first(self) {
            self.trim();
        }
        let desk = self.desks.get_mut(&id).ok_or("a delivery on a channel that is closed")?;
        desk.next_tag += 1;
        if delivered.tag.get() != desk.next_tag {
            return Err(format!("tag {} where {} is next", delivered.tag, desk.next_tag));
        }
        let letters = &mut self.boxes[from].letters;
        if letters.is_empty() {
            return Err(format!("{found} of {name}, which is empty"));
        }
        let mut letter = letters.remove(0);
        if letter.body != found {
            return Err(format!("{found} of {name}, where {} is first", letter.body));
        }
        let again = delivered.redelivered;
        let is_right = if letter.old && !letter.came_back {
            again || !letter.delivered
        } else {
            again == letter.came_back
        };
        if !is_right {
            return Err(format!("{found} is said to be again: {again}, of {letter:?}"));
        }
        letter.delivered = true;
        if !no_ack {
            desk.out.insert(desk.next_tag, Out { from, letter, reader });
        }
        Ok(())
    }

    fn has_room(&self, reader: &Reader) -> bool {
        let out = self.desks.get(&reader.channel).map(|desk| &desk.out);
        let own = |out: &&Out| out.reader.as_ref() == Some(&reader.tag);
        let count = out.map_or(0, |out| out.values().filter(own).count());
        reader.no_ack || reader.prefetch == 0 || count < reader.prefetch
    }

    /// Nobody waits for what is there.
    pub(super) fn is_at_rest(&self) -> Wrong {
        for reader in &self.readers {
            let place = &self.boxes[reader.from];
            if self.has_room(reader) && !place.letters.is_empty() {
                let (tag, name, count) = (&reader.tag, place.name, place.letters.len());
                return Err(format!("{tag} waits, and {name} has {count}"));
            }
        }
        Ok(())
    }

    /// How many letters are kept, and whether some are not.
    pub(super) fn kept(&self) -> (usize, bool) {
        let waiting = self.boxes.iter().flat_map(|place| &place.letters);
        let out = self.desks.values().flat_map(|desk| desk.out.values().map(|out| &out.letter));
        let all: Vec<&Letter> = waiting.chain(out).collect();
        let kept = all.iter().filter(|letter| letter.kept).count();
        (kept, kept < all.len())
    }

    /// The answer to a `get`.
    pub(super) fn got(
        &mut self,
        id: ChannelId,
        from: usize,
        answer: &Answer,
        no_ack: bool,
    ) -> Wrong {
        match answer {
            Answer::Got { delivered, remaining } => {
                self.hand(id, from, delivered, no_ack, None)?;
                let left = self.boxes[from].letters.len();
                if usize::try_from(*remaining) != Ok(left) {
                    return Err(format!("{remaining} are said to remain, not {left}"));
                }
                Ok(())
            }
            Answer::Empty if self.boxes[from].letters.is_empty() => Ok(()),
            other => Err(format!("{other:?} of {}", self.boxes[from].name)),
        }
    }
}

impl Box {
    fn sort(&mut self) {
        self.letters.sort_by_key(|letter| (std::cmp::Reverse(letter.priority), letter.number));
    }
}
