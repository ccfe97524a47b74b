//! The rules, pure: *(state, command, now) → (events, effects)*. No clock, chance, socket or file.
//!
//! In reading order: `command` (what may be asked), `event` (what happens), `effect` (what clients are
//! told), `refusal` (what went wrong, in AMQP's codes), `model` (what there is), with `lane` (messages
//! in order) and `exchange`; `decide` with `declare`, `publish`, `settle` and `follow`; `apply` with
//! `clients` and `deliver`.
//!
//! Deciding says what is kept: where a message goes, what is acknowledged. Who gets a message is found
//! when that happens, from what is there then, and nothing of it is kept. What follows from it and is
//! kept (a message that was done when it was delivered, one too many in a queue) is decided by a
//! command of its own, which comes before any other ([`Command::FollowUp`]).

mod apply;
mod argument;
mod clients;
mod command;
mod death;
mod decide;
mod declare;
mod deliver;
mod effect;
mod event;
mod exchange;
mod follow;
mod image;
mod lane;
mod model;
mod permission;
mod publish;
mod ranges;
mod refusal;
mod settle;
#[cfg(test)]
mod tests;
mod topic;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use posthouse_base::time::Timestamp;

use crate::config::Subscription;
use crate::ids::{ChannelId, ConnectionId, QueueId, UserName, VhostName};

pub use argument::{Arguments, DeadLetter, Overflow};
pub use command::{
    Act, Ask, BindExchange, BindQueue, Command, Consume, DeclareExchange, DeclareQueue,
    DeleteExchange, DeleteQueue, Get, Kind, Loaded, Open, Permissions, Publish, Purpose, Qos, User,
};
pub use death::Reason;
pub use decide::Decided;
pub use effect::{Answer, Delivered, Effect, Note, Output};
pub use event::{Definition, Event, Fact, NewConsumer, Outcome, Placed, Removed};
pub use exchange::{Binding, Destination, ExchangeSpec};
pub use image::{Image, LaneImage};
pub use lane::Place;
pub use model::{How, Limits, QueueSpec, Settlement};
pub use refusal::{Code, Method, Refusal, Scope};

pub(crate) use view::lane_stream;
pub use view::{BindingView, ConnectionView, ConsumerView, QueueFigures, QueueView};

use model::{Connection, Consumer, ConsumerId, KnownUser, Map, Pending, Queue, Timer, Vhost};

/// Everything that the broker knows.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) limits: Limits,
    now: Timestamp,
    /// Counts the commands of which something was kept.
    mark: u64,
    vhosts: BTreeMap<VhostName, Vhost>,
    users: BTreeMap<UserName, KnownUser>,
    /// By name.
    subscriptions: BTreeMap<Arc<str>, Arc<Subscription>>,
    queues: Map<QueueId, Queue>,
    next_queue: u64,
    next_volatile: u64,
    /// Of all virtual hosts.
    bindings: usize,
    connections: BTreeMap<ConnectionId, Connection>,
    consumers: Map<ConsumerId, Consumer>,
    next_consumer: ConsumerId,
    /// Who waits for direct replies, on each channel.
    replies: BTreeMap<ChannelId, ConsumerId>,
    timers: BTreeSet<(Timestamp, Timer)>,
    pending: Pending,
    /// Queues in which something may be to be handed out.
    touched: Vec<QueueId>,
    /// The weight of messages that are not kept.
    memory: usize,
    is_full: bool,
    /// The weight of messages that are kept and at hand.
    windows_bytes: usize,
    alarm: Option<Arc<str>>,
    /// Why publishers are blocked.
    blocked: Option<Arc<str>>,
}

impl State {
    /// Nothing is there.
    #[must_use]
    pub fn blank(limits: Limits) -> Self {
        Self {
            limits,
            now: Timestamp::default(),
            mark: 0,
            vhosts: BTreeMap::new(),
            users: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            queues: Map::default(),
            next_queue: 1,
            next_volatile: QueueId::FIRST_VOLATILE,
            bindings: 0,
            connections: BTreeMap::new(),
            consumers: Map::default(),
            next_consumer: 1,
            replies: BTreeMap::new(),
            timers: BTreeSet::new(),
            pending: Pending::default(),
            touched: Vec::new(),
            memory: 0,
            is_full: false,
            windows_bytes: 0,
            alarm: None,
            blocked: None,
        }
    }

    /// Grows with every command of which something is kept.
    pub(crate) const fn mark(&self) -> u64 {
        self.mark
    }

    /// What was left by the last command.
    pub(crate) fn follow_up(&self) -> Option<Command> {
        (!self.pending.is_empty()).then_some(Command::FollowUp)
    }

    /// When there is something to do.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        if !self.pending.is_empty() {
            return Some(Timestamp::default());
        }
        self.timers.first().map(|(due, _)| *due)
    }

    /// Goes on after a time in which nothing could be told or kept. Those who were connected are to
    /// come again: what they asked for meanwhile was not done.
    pub(crate) fn resume(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        if !self.connections.is_empty() {
            let why: Arc<str> = "the broker could not write for a while".into();
            let all = self.connections.keys().map(|id| (*id, Arc::clone(&why)));
            self.pending.connections.extend(all);
            // To send on what had been fetched could not be written: it is fetched again.
            for (id, queue) in &mut self.queues {
                for lane in queue.lanes.values_mut().filter(|lane| !lane.dying.is_empty()) {
                    lane.loading_dead = None;
                    self.pending.over.insert(*id);
                }
            }
            return;
        }
        self.pending = Pending::default();
        self.touched.clear();
        let ids: Vec<QueueId> = self.queues.keys().copied().collect();
        for id in ids {
            if let Some(queue) = self.queues.get_mut(&id) {
                queue.lanes.values_mut().for_each(lane::Lane::resume);
            }
            self.used(id);
            // What expires or has died is fetched, once somebody carries out effects: at the next tick.
            self.pending.over.insert(id);
        }
    }

    fn exchanges(&self) -> usize {
        self.vhosts.values().map(|vhost| vhost.exchanges.len()).sum()
    }

    fn next_queue_id(&self, survives: bool) -> QueueId {
        let survives = survives && self.limits.journal;
        QueueId::new(if survives { self.next_queue } else { self.next_volatile })
    }
}
