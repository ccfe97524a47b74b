//! The rules beside a simple model, under random commands, restarts, lost ends of what was decided,
//! and messages that are brought late. One seed decides everything, and a failure prints the line that
//! replays it.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::house::{Disk, House, LIMITS, channel, connection, message};
use super::model::{Box, Desk, Letter, Model, Reader};
use super::{ack, consume, declare_with, prefetch};
use crate::ids::{ChannelId, DeliveryTag};
use crate::message::Value;
use crate::state::{Act, Answer, Command, Consume, DeclareQueue, Get, Limits, Output};

/// Seeds that are tried.
const SEEDS: u64 = 600;
/// The variable that names one seed to try instead.
const SEED: &str = "POSTHOUSE_SEED";

const STEPS: usize = 120;
/// Where letters go that die: the last one.
const GRAVE: usize = 5;

struct Sim {
    house: House,
    model: Model,
    luck: Rng,
    /// Whether messages are brought late; then there are no queues whose outcome depends on when.
    late: bool,
    next_body: u64,
    next_tag: u64,
    next_connection: u64,
    open: BTreeSet<ChannelId>,
    /// What was, some commands ago.
    past: Vec<(Disk, Model)>,
}

#[test]
fn it_is_the_broker_that_a_simple_one_would_be() {
    let named = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seeds = named.map_or(0..SEEDS, |seed| seed..seed + 1);
    for seed in seeds {
        if let Err(what) = Sim::new(seed).run() {
            panic!(
                "seed {seed}: {what}\nreplay: {SEED}={seed} cargo test -p posthouse-broker \
                 it_is_the_broker"
            );
        }
    }
}

fn boxes() -> Vec<Box> {
    let named = |name, durable| Box { name, durable, ..Box::default() };
    vec![
        named("plain", true),
        Box { priorities: true, ..named("priorities", true) },
        named("volatile", false),
        Box { most: Some(5), grave: Some(GRAVE), ..named("bounded", true) },
        Box { most: Some(4), rejects: true, ..named("rejecting", true) },
        named("grave", true),
    ]
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut luck = Rng::with_seed(seed);
        let late = luck.bool();
        let outgoing = if luck.bool() { 1000 } else { 3 };
        let mut house = House::with(Limits { window: luck.usize(1..6), outgoing, ..LIMITS });
        house.loads_at_once = !late;
        let model = Model { boxes: boxes(), ..Model::default() };
        let mut sim = Self {
            house,
            model,
            luck,
            late,
            next_body: 0,
            next_tag: 0,
            next_connection: 1,
            open: BTreeSet::new(),
            past: Vec::new(),
        };
        sim.begin();
        sim
    }

    /// Declares what is to be there, and connects.
    fn begin(&mut self) {
        let id = self.house.connect(self.next_connection);
        for place in &self.model.boxes {
            let mut arguments = Vec::new();
            if place.priorities {
                arguments.push(("x-max-priority", Value::I32(3)));
            }
            if let Some(most) = place.most {
                arguments.push(("x-max-length", Value::I64(i64::try_from(most).unwrap_or(0))));
            }
            if place.rejects {
                arguments.push(("x-overflow", Value::text("reject-publish")));
            }
            if place.grave.is_some() {
                arguments.push(("x-dead-letter-exchange", Value::text("")));
                arguments.push(("x-dead-letter-routing-key", Value::text("grave")));
            }
            let Act::DeclareQueue(declare) = declare_with(place.name, &arguments) else { continue };
            let declare = DeclareQueue { durable: place.durable, ..declare };
            self.house.act(id, Act::DeclareQueue(declare));
        }
        self.model.desks.insert(id, Desk::default());
        self.open.insert(id);
        self.next_connection += 1;
    }

    fn run(mut self) -> Result<(), String> {
        for step in 0..STEPS {
            let told = |what: String| format!("step {step}: {what}");
            self.step().map_err(told)?;
            self.check().map_err(told)?;
        }
        self.house.bring();
        self.follow(None).and_then(|()| self.check()).map_err(|what| format!("in the end: {what}"))
    }

    fn check(&self) -> Result<(), String> {
        let (kept, others) = self.model.kept();
        let (found, memory) = (self.house.disk.count(), self.house.state.memory);
        if self.house.loads.is_empty() {
            if self.house.limits.outgoing > 100 {
                self.model.is_at_rest()?;
            }
            if found != kept {
                return Err(format!("the disk has {found}, of {kept}"));
            }
        }
        if (memory > 0) != others {
            return Err(format!("{memory} bytes are in memory, and something is there: {others}"));
        }
        Ok(())
    }

    /// Lets the model follow everything that was told; `get` says who asked for one of which queue.
    fn follow(&mut self, get: Option<(ChannelId, usize, bool)>) -> Result<(), String> {
        for (to, output) in std::mem::take(&mut self.house.told) {
            let number = match &output {
                Output::Answer(number, _)
                | Output::Deliver(number, ..)
                | Output::CloseChannel(number, _)
                | Output::Confirm { channel: number, .. } => number.get(),
                _ => 0,
            };
            let id = channel(to.get(), number);
            match (&output, get) {
                (Output::Answer(_, answer @ (Answer::Got { .. } | Answer::Empty)), Some(get)) => {
                    self.model.got(get.0, get.1, answer, get.2)?;
                }
                _ => self.model.follow(id, &output)?,
            }
            if matches!(output, Output::CloseChannel(..)) {
                self.house.command(Command::OpenChannel(id)).map_err(|refusal| refusal.text())?;
                self.model.desks.insert(id, Desk::default());
            }
        }
        self.model.trim();
        Ok(())
    }

    fn some_channel(&mut self) -> ChannelId {
        let all: Vec<ChannelId> = self.open.iter().copied().collect();
        all[self.luck.usize(..all.len())]
    }

    fn some_box(&mut self) -> usize {
        if self.late { self.luck.usize(..3) } else { self.luck.usize(..6) }
    }

    fn act(&mut self, id: ChannelId, act: Act) -> Result<(), String> {
        self.past.push((self.house.disk.clone(), self.model.clone()));
        self.house.command(Command::Channel(id, act)).map_err(|refusal| refusal.text())
    }

    fn step(&mut self) -> Result<(), String> {
        let id = self.some_channel();
        match self.luck.u8(..40) {
            0..=9 => return self.publish(id),
            10..=12 => return self.consume(id),
            13..=20 => return self.settle(id),
            21..=23 => {
                let (from, no_ack) = (self.some_box(), self.luck.bool());
                if !self.late {
                    let queue = self.model.boxes[from].name.into();
                    self.act(id, Act::Get(Get { queue, no_ack }))?;
                    return self.follow(Some((id, from, no_ack)));
                }
            }
            24 => {
                let readers = self.model.readers.iter();
                let own = readers.filter(|reader| reader.channel == id).map(|r| r.tag.clone());
                let own: Vec<_> = own.collect();
                if let Some(tag) = self.luck.choice(own) {
                    self.act(id, Act::Cancel { tag: tag.clone(), no_wait: false })?;
                    self.model.readers.retain(|r| r.channel != id || r.tag != tag);
                }
            }
            25 => {
                let from = self.some_box();
                let queue = self.model.boxes[from].name.into();
                self.act(id, Act::PurgeQueue { queue, no_wait: false })?;
                self.model.boxes[from].letters.clear();
            }
            26 => {
                self.act(id, Act::Recover { requeue: true, no_wait: false })?;
                let tags: Vec<u64> = self.tags(id);
                self.model.settle(id, &tags, true, false);
            }
            27 => self.reopen(id)?,
            28 => self.leave(id)?,
            29 | 30 => self.come()?,
            31 => self.restart(0)?,
            32 => {
                let lost = self.luck.usize(..4);
                self.restart(lost)?;
            }
            33 => {
                use posthouse_journal::driver::Rules as _;
                let (format, data) = self.house.state.snapshot()();
                let count = self.house.disk.entries.len();
                self.house.disk.checkpoint = Some((count, format, data));
            }
            34..=36 => {
                let command =
                    Command::Written { connection: id.connection, deliveries: 2, bytes: 1 << 20 };
                self.house.command(command).map_err(|refusal| refusal.text())?;
            }
            _ => {
                if !self.house.loads.is_empty() {
                    let which = self.luck.usize(..self.house.loads.len());
                    let loaded = self.house.loads.remove(which);
                    self.house.bring_one(loaded);
                }
            }
        }
        self.follow(None)
    }

    fn tags(&self, id: ChannelId) -> Vec<u64> {
        self.model.desks.get(&id).map(|desk| desk.out.keys().copied().collect()).unwrap_or_default()
    }

    fn publish(&mut self, id: ChannelId) -> Result<(), String> {
        let mut publishes = Vec::new();
        let mut letters = Vec::new();
        for _ in 0..self.luck.usize(1..7) {
            let to = self.some_box();
            self.next_body += 1;
            let body = format!("m{}", self.next_body);
            let mut publish = message("", self.model.boxes[to].name, &body);
            let (kept, priority) = (self.luck.u8(..3) > 0, self.luck.u8(..5));
            publish.properties.delivery_mode = kept.then_some(2);
            publish.properties.priority = Some(priority);
            publishes.push(publish);
            let priority = priority.min(3);
            let letter = Letter {
                body,
                number: 0,
                priority,
                kept,
                delivered: false,
                came_back: false,
                old: false,
            };
            letters.push((to, letter));
        }
        self.act(id, Act::Publish(publishes))?;
        let expected: Vec<bool> =
            letters.into_iter().map(|(to, letter)| self.model.offer(to, letter)).collect();
        self.confirmed(id, &expected)?;
        self.follow(None)
    }

    /// What was published is confirmed, each once and rightly, if the channel confirms.
    fn confirmed(&mut self, id: ChannelId, expected: &[bool]) -> Result<(), String> {
        let Some(first) = self.model.desks.get(&id).and_then(|desk| desk.confirms) else {
            return Ok(());
        };
        let mut next = first + 1;
        let mut found = Vec::new();
        for (_, output) in &self.house.told {
            if let Output::Confirm { tag, multiple, ack, .. } = output {
                let from = if *multiple { next } else { tag.get() };
                if from != next || tag.get() < from {
                    return Err(format!("{tag} is confirmed where {next} is next"));
                }
                found.extend((from..=tag.get()).map(|_| *ack));
                next = tag.get() + 1;
            }
        }
        if let Some(desk) = self.model.desks.get_mut(&id) {
            desk.confirms = Some(next - 1);
        }
        if found == expected {
            Ok(())
        } else {
            Err(format!("confirmed {found:?}, not {expected:?}"))
        }
    }

    fn consume(&mut self, id: ChannelId) -> Result<(), String> {
        let (from, count, no_ack) = (self.some_box(), self.luck.u16(..4), self.luck.u8(..4) == 0);
        self.act(id, prefetch(count))?;
        self.next_tag += 1;
        let tag = format!("c{}", self.next_tag);
        let Act::Consume(consume) = consume(self.model.boxes[from].name, &tag) else {
            return Ok(());
        };
        let (tag, prefetch) = (tag.into(), count.into());
        self.model.readers.push(Reader { channel: id, tag, from, no_ack, prefetch });
        self.act(id, Act::Consume(Consume { no_ack, ..consume }))?;
        self.follow(None)
    }

    fn settle(&mut self, id: ChannelId) -> Result<(), String> {
        let tags = self.tags(id);
        let Some(tag) = self.luck.choice(tags.iter().copied()) else {
            if self.luck.u8(..8) == 0 {
                self.act(id, ack(1_000_000, false))?;
            }
            return self.follow(None);
        };
        let multiple = self.luck.u8(..4) == 0;
        let ended: Vec<u64> =
            if multiple { tags.into_iter().filter(|t| *t <= tag).collect() } else { vec![tag] };
        match self.luck.u8(..4) {
            0 => {
                let tag = DeliveryTag::new(tag);
                self.act(id, Act::Nack { tag, multiple, requeue: true })?;
                self.model.settle(id, &ended, true, false);
            }
            // One at a time: what is kept is sent on when it has been fetched, others at once.
            1 if !multiple => {
                let tag = DeliveryTag::new(tag);
                self.act(id, Act::Nack { tag, multiple, requeue: false })?;
                self.model.settle(id, &ended, false, true);
            }
            2 if !multiple => {
                // As far as those are known that follow; the first that is not closes the channel.
                let (first, last) =
                    (DeliveryTag::new(tag), DeliveryTag::new(tag + self.luck.u64(..3)));
                let tags = self.tags(id);
                let known = (tag..=last.get()).take_while(|tag| tags.contains(tag));
                let known: Vec<u64> = known.collect();
                self.act(id, Act::AckEach { first, last })?;
                self.model.settle(id, &known, false, false);
            }
            _ => {
                self.act(id, ack(tag, multiple))?;
                self.model.settle(id, &ended, false, false);
            }
        }
        self.follow(None)
    }

    fn reopen(&mut self, id: ChannelId) -> Result<(), String> {
        self.past.push((self.house.disk.clone(), self.model.clone()));
        self.house.command(Command::CloseChannel(id)).map_err(|refusal| refusal.text())?;
        self.model.close(id);
        self.follow(None)?;
        self.house.command(Command::OpenChannel(id)).map_err(|refusal| refusal.text())?;
        let mut desk = Desk::default();
        if self.luck.bool() {
            self.act(id, Act::SelectConfirm { no_wait: false })?;
            desk.confirms = Some(0);
        }
        self.model.desks.insert(id, desk);
        Ok(())
    }

    fn leave(&mut self, id: ChannelId) -> Result<(), String> {
        if self.open.iter().all(|other| other.connection == id.connection) {
            return Ok(());
        }
        self.past.push((self.house.disk.clone(), self.model.clone()));
        self.house.command(Command::Close(id.connection)).map_err(|refusal| refusal.text())?;
        let gone = |other: &ChannelId| other.connection == id.connection;
        let channels: Vec<ChannelId> = self.open.iter().copied().filter(gone).collect();
        channels.into_iter().for_each(|id| self.model.close(id));
        self.open.retain(|other| !gone(other));
        // The last that is told is that it is closed.
        self.follow(None)
    }

    fn come(&mut self) -> Result<(), String> {
        if self.open.len() > 5 {
            return Ok(());
        }
        let before = std::mem::take(&mut self.house.told);
        let id = self.house.connect(self.next_connection);
        self.house.told = before;
        let second = ChannelId { number: channel(1, 2).number, ..id };
        self.house.command(Command::OpenChannel(second)).map_err(|refusal| refusal.text())?;
        for id in [id, second] {
            self.model.desks.insert(id, Desk::default());
            self.open.insert(id);
        }
        self.next_connection += 1;
        Ok(())
    }

    /// The power goes: the last commands were not durable, and nobody was told what came of them.
    fn restart(&mut self, lost: usize) -> Result<(), String> {
        let lost = lost.min(self.past.len());
        if let Some((disk, model)) = self.past.drain(self.past.len() - lost..).next() {
            (self.house.disk, self.model) = (disk, model);
        }
        self.past.clear();
        self.model.restart();
        self.open.clear();
        self.house.restart();
        self.begin();
        self.house.told.retain(|(to, _)| *to == connection(self.next_connection - 1));
        self.house.told.clear();
        Ok(())
    }
}
