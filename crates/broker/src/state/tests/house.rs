//! A broker without a service: the state, and a disk that has what is kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthouse_base::time::Timestamp;
use posthouse_journal::driver::{Keep, Rules as _};
use posthouse_journal::{Format, NewEvent, Position, Recorded, Removal, StreamName, Version};

use crate::ids::{ChannelId, ChannelNumber, ConnectionId};
use crate::message::{Message, Properties, Table, Value};
use crate::state::{
    Act, Ask, Command, Decided, Effect, Limits, Loaded, Note, Open, Output, Permissions, Publish,
    Refusal, State, User, lane_stream,
};
use crate::stored::read_message;

pub(super) const LIMITS: Limits = Limits {
    journal: true,
    consumers: 100,
    unacknowledged: 1000,
    queues: 100,
    exchanges: 100,
    bindings: 100,
    vhosts: 10,
    users: 10,
    subscriptions: 100,
    message: 1 << 20,
    memory: 1 << 20,
    window: 4,
    window_bytes: 1 << 20,
    windows_bytes: 1 << 20,
    outgoing: 1000,
    outgoing_bytes: 1 << 30,
    transaction: 1 << 20,
    command: 4 << 20,
};

/// What is durable.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) entries: Vec<(Bytes, u64)>,
    pub(super) streams: HashMap<StreamName, (u64, BTreeMap<u64, NewEvent>)>,
    pub(super) checkpoint: Option<(usize, u32, Bytes)>,
}

pub(super) struct House {
    pub(super) limits: Limits,
    pub(super) state: State,
    pub(super) disk: Disk,
    pub(super) now: Timestamp,
    /// What was told and not looked at yet.
    pub(super) told: Vec<(ConnectionId, Output)>,
    pub(super) notes: Vec<Note>,
    /// What was asked for and is not brought yet.
    pub(super) loads: Vec<Loaded>,
    /// Whether what is asked for is brought at once.
    pub(super) loads_at_once: bool,
}

pub(super) fn connection(number: u64) -> ConnectionId {
    ConnectionId::new(number)
}

pub(super) fn channel(connection: u64, number: u16) -> ChannelId {
    let number = ChannelNumber::new(number);
    ChannelId { connection: ConnectionId::new(connection), number }
}

pub(super) fn table(fields: &[(&str, Value)]) -> Table {
    fields.iter().map(|(key, value)| (Arc::from(*key), value.clone())).collect()
}

pub(super) fn message(exchange: &str, key: &str, body: &str) -> Publish {
    Publish {
        exchange: exchange.into(),
        routing_key: key.into(),
        properties: Properties { delivery_mode: Some(2), ..Properties::default() },
        body: Bytes::copy_from_slice(body.as_bytes()),
        ..Publish::default()
    }
}

pub(super) fn body(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

impl Disk {
    pub(super) fn keep(&mut self, keep: Keep, mark: u64) {
        self.entries.push((keep.entry.data, mark));
        for work in keep.work {
            let (next, events) = self.streams.entry(work.stream).or_default();
            assert_eq!(*next, work.first.get(), "the rules know the next version");
            for item in work.items {
                let event = NewEvent {
                    id: uuid::Uuid::nil(),
                    kind: item.kind,
                    format: item.format,
                    data: item.data,
                    metadata: item.metadata,
                };
                events.insert(*next, event);
                *next += 1;
            }
        }
        for removal in keep.removals {
            let Removal::Versions { stream, versions } = removal else { panic!("{removal:?}") };
            let range = versions.start().get()..=versions.end().get();
            if let Some((_, events)) = self.streams.get_mut(&stream) {
                events.retain(|version, _| !range.contains(version));
            }
        }
    }

    /// How many messages it has.
    pub(super) fn count(&self) -> usize {
        self.streams.values().map(|(_, events)| events.len()).sum()
    }

    /// The state that it tells of.
    pub(super) fn state(&self, limits: Limits, now: Timestamp) -> State {
        let mut state = State::blank(limits);
        let mut from = 0;
        if let Some((count, format, data)) = &self.checkpoint {
            state.restore(*format, data).expect("it is read");
            from = *count;
        }
        for (data, mark) in &self.entries[from..] {
            let event = NewEvent {
                id: uuid::Uuid::nil(),
                kind: Arc::from(""),
                format: Format::Binary,
                data: data.clone(),
                metadata: Bytes::new(),
            };
            let recorded = Recorded {
                position: Position::START,
                stream: StreamName::internal("messages"),
                version: Version::FIRST,
                time: now,
                event,
            };
            state.replay(&recorded, *mark).expect("it is read");
        }
        state.resume(now);
        state
    }
}

impl House {
    /// One with the virtual host `/` and the user `guest`, who may do everything.
    pub(super) fn new() -> Self {
        Self::with(LIMITS)
    }

    pub(super) fn with(limits: Limits) -> Self {
        let mut house = Self {
            limits,
            state: State::blank(limits),
            disk: Disk::default(),
            now: Timestamp::from_millis(1_000_000),
            told: Vec::new(),
            notes: Vec::new(),
            loads: Vec::new(),
            loads_at_once: true,
        };
        house.ask(Ask::PutVhost("/".into())).expect("a vhost");
        house.put_user("guest", Permissions::all());
        house
    }

    pub(super) fn put_user(&mut self, name: &str, permissions: Permissions) {
        self.ask(Ask::PutUser(User {
            name: name.into(),
            password_hash: "".into(),
            tags: vec![],
            loopback_only: false,
        }))
        .expect("a user");
        let (user, vhost) = (name.into(), "/".into());
        self.ask(Ask::Permit { user, vhost, permissions: Some(permissions) }).expect("permitted");
    }

    pub(super) fn ask(&mut self, ask: Ask) -> Result<(), Refusal> {
        self.command(Command::Ask(ask))
    }

    /// Carries out a command, as the driver does, with what follows it.
    pub(super) fn command(&mut self, command: Command) -> Result<(), Refusal> {
        let reply = self.one(command);
        let mut follow_ups = 0;
        while let Some(command) = self.state.follow_up() {
            follow_ups += 1;
            assert!(follow_ups < 60, "it never ends: {:?}", self.state);
            self.one(command).expect("it is not refused");
        }
        if self.loads_at_once {
            self.bring();
        }
        if self.loads.is_empty() {
            self.nothing_waits_for_ever();
        }
        reply
    }

    /// Nothing is on its way: then nobody waits for it, and what has died is buried.
    fn nothing_waits_for_ever(&self) {
        let lanes = self.state.queues.values().flat_map(|queue| queue.lanes.values());
        for lane in lanes {
            assert_eq!((lane.loading, lane.loading_dead), (None, None), "{}", lane.stream);
            assert!(lane.dying.is_empty(), "{} of {}", lane.dying.len(), lane.stream);
        }
    }

    /// Brings what was asked for.
    pub(super) fn bring(&mut self) {
        let mut rounds = 0;
        while !self.loads.is_empty() {
            rounds += 1;
            assert!(rounds < 10_000, "it is asked for for ever: {:?}", self.loads);
            let loaded = self.loads.remove(0);
            self.bring_one(loaded);
        }
    }

    pub(super) fn bring_one(&mut self, loaded: Loaded) {
        let before = std::mem::replace(&mut self.loads_at_once, false);
        self.command(Command::Loaded(loaded)).expect("it is not refused");
        self.loads_at_once = before;
    }

    fn one(&mut self, command: Command) -> Result<(), Refusal> {
        let Decided { events, reply } = self.state.decide(command, self.now);
        let keep = State::encode(&events);
        let mark = self.state.mark();
        let effects = self.state.apply(&events);
        assert_eq!(self.state.mark(), mark + u64::from(keep.is_some()));
        if let Some(keep) = keep {
            self.disk.keep(keep, self.state.mark());
        }
        self.deliveries_are_noted();
        for effect in effects {
            match effect {
                Effect::Tell(connection, output) => self.told.push((connection, output)),
                Effect::Note(note) => self.notes.push(note),
                Effect::Load { lane, purpose, from, end, count, .. } => {
                    // Read now and brought at some time: what was removed meanwhile is brought, too.
                    let stream = self.disk.streams.get(&lane_stream(lane));
                    let found = stream.into_iter().flat_map(|(_, events)| events.range(from..));
                    let mut messages = Vec::new();
                    let mut looked = end;
                    for (seq, event) in found.take(count.max(1)) {
                        if *seq >= end {
                            break;
                        }
                        let message = read_message(event).expect("it is read");
                        messages.push((*seq, Arc::new(message)));
                        if messages.len() == count.max(1) {
                            looked = seq + 1;
                        }
                    }
                    self.loads.push(Loaded { lane, purpose, from, end: looked, messages });
                }
            }
        }
        reply
    }

    /// What is about to be handed out is told without waiting for what follows: it must be durable
    /// already that it may have been, or it would come again as if it were new.
    fn deliveries_are_noted(&self) {
        let State { connections, queues, pending, .. } = &self.state;
        let channels = connections.values().flat_map(|connection| connection.channels.values());
        let unacked = channels.flat_map(|channel| channel.unacked.values());
        let held = unacked.filter_map(|unacked| Some((unacked.lane, unacked.place.seq()?)));
        let spent = pending.spent.iter();
        let spent = spent.flat_map(|(lane, (seqs, _))| seqs.iter().map(|seq| (*lane, *seq)));
        for (id, seq) in held.chain(spent) {
            let lane = queues.get(&id.queue).and_then(|queue| queue.lanes.get(&id.priority));
            let reached = lane.map_or(u64::MAX, |lane| lane.reached);
            assert!(seq < reached, "{seq} of {id:?} is handed out, and {reached} is noted");
        }
    }

    /// Opens a connection with one channel.
    pub(super) fn connect(&mut self, number: u64) -> ChannelId {
        self.connect_as(number, "guest").expect("let in")
    }

    pub(super) fn connect_as(&mut self, number: u64, user: &str) -> Result<ChannelId, Refusal> {
        self.command(Command::Open(Open {
            connection: connection(number),
            vhost: "/".into(),
            user: user.into(),
            name: "test".into(),
            understands_blocked: true,
            understands_cancel: true,
            secret: number * 7919,
            client: Table::new(),
            is_house: false,
        }))?;
        let id = channel(number, 1);
        self.command(Command::OpenChannel(id))?;
        self.told.clear();
        Ok(id)
    }

    /// Carries out what a channel asks, and returns everything that was told since.
    pub(super) fn act(&mut self, id: ChannelId, act: Act) -> Vec<Output> {
        self.command(Command::Channel(id, act)).expect("it is told otherwise");
        self.told.drain(..).map(|(_, output)| output).collect()
    }

    /// The same, of which the text with which the channel or connection is closed is wanted.
    pub(super) fn refused(&mut self, id: ChannelId, act: Act) -> String {
        let outputs = self.act(id, act);
        for output in &outputs {
            if let Output::CloseChannel(_, refusal) | Output::CloseConnection(refusal) = output {
                let closes_channel = matches!(output, Output::CloseChannel(..));
                if closes_channel {
                    self.command(Command::OpenChannel(id)).expect("it is open again");
                    self.told.clear();
                }
                return refusal.text();
            }
        }
        panic!("it was not refused: {outputs:?}");
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        self.command(Command::Tick).expect("it is not refused");
    }

    /// The power goes, and comes back.
    pub(super) fn restart(&mut self) {
        self.state = self.disk.state(self.limits, self.now);
        self.loads.clear();
        self.told.clear();
        self.command(Command::Tick).expect("it is not refused");
    }

    /// What was told to be delivered: bodies, tags, and whether again.
    pub(super) fn delivered(outputs: &[Output]) -> Vec<(String, u64, bool)> {
        let deliveries = outputs.iter().filter_map(|output| match output {
            Output::Deliver(_, _, delivered) => {
                Some((body(&delivered.message), delivered.tag.get(), delivered.redelivered))
            }
            _ => None,
        });
        deliveries.collect()
    }

    pub(super) fn bodies(outputs: &[Output]) -> Vec<String> {
        Self::delivered(outputs).into_iter().map(|(body, ..)| body).collect()
    }
}
