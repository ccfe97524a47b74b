//! What the broker is made of.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;
use posthouse_base::time::Timestamp;
use posthouse_journal::StreamName;

use super::argument::Arguments;
use super::command::{Open, Permissions, Publish, User};
use super::exchange::{Destination, Exchange};
use super::lane::{Head, Lane, Place};
use super::permission::Allowed;
use crate::ids::{
    ChannelId, ChannelNumber, ConnectionId, ConsumerTag, DeliveryTag, ExchangeName, LaneId,
    QueueId, QueueName, UserName, VhostName,
};
use crate::message::{Message, Table};

pub(crate) type Map<K, V> = HashMap<K, V, RandomState>;

/// How much the rules take on; see [`RawLimits`](crate::RawLimits).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Whether there is a journal; without one nothing is kept.
    pub journal: bool,
    /// Consumers of a channel.
    pub consumers: usize,
    /// Unacknowledged deliveries of a channel.
    pub unacknowledged: usize,
    /// Queues.
    pub queues: usize,
    /// Exchanges.
    pub exchanges: usize,
    /// Bindings.
    pub bindings: usize,
    /// Virtual hosts.
    pub vhosts: usize,
    /// Users.
    pub users: usize,
    /// Subscriptions that are not declared in the file.
    pub subscriptions: usize,
    /// A message's body.
    pub message: usize,
    /// Bytes of messages that are not in the journal.
    pub memory: usize,
    /// Messages at hand, of one queue,
    pub window: usize,
    /// their bytes,
    pub window_bytes: usize,
    /// and those of all queues.
    pub windows_bytes: usize,
    /// Deliveries of a connection that are not written yet,
    pub outgoing: usize,
    /// and their bytes.
    pub outgoing_bytes: u64,
    /// Bytes of an open transaction.
    pub transaction: usize,
    /// Bytes that one command may write to the journal.
    pub command: usize,
}

/// A virtual host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vhost {
    pub(crate) exchanges: BTreeMap<ExchangeName, Exchange>,
    pub(crate) queues: Map<QueueName, QueueId>,
    /// The exchanges from which something leads there.
    pub(crate) sources: Map<Destination, BTreeSet<ExchangeName>>,
}

/// A queue as it is declared.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueSpec {
    /// Its number.
    pub id: QueueId,
    /// Where.
    pub vhost: VhostName,
    /// Its name.
    pub name: QueueName,
    /// Whether it was declared durable.
    pub durable: bool,
    /// The connection that alone may use it.
    pub owner: Option<ConnectionId>,
    /// Whether it goes with the last of its consumers.
    pub auto_delete: bool,
    /// `x-…`, as they were declared,
    pub arguments: Table,
    /// and as they were read.
    pub checked: Arguments,
}

/// A queue.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) spec: Arc<QueueSpec>,
    /// By priority.
    pub(crate) lanes: BTreeMap<u8, Lane>,
    /// All its consumers.
    pub(crate) consumers: Vec<ConsumerId>,
    /// Those that may get messages, by priority, the next one first.
    pub(crate) turns: BTreeMap<Reverse<i32>, VecDeque<ConsumerId>>,
    /// The one that gets messages, where only one does.
    pub(crate) active: Option<ConsumerId>,
    /// Who asked for a message that is not at hand.
    pub(crate) getters: VecDeque<Getter>,
    /// Deliveries that wait to be acknowledged.
    pub(crate) unacked: u64,
    /// Whether it has messages that may expire.
    pub(crate) expires: bool,
    /// When its first message expires, and when it goes itself.
    pub(crate) head_due: Option<Timestamp>,
    pub(crate) unused_due: Option<Timestamp>,
}

/// A consumer, on whatever channel.
pub(crate) type ConsumerId = u64;

#[derive(Clone, Debug)]
pub(crate) struct Getter {
    pub(crate) channel: ChannelId,
    pub(crate) no_ack: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    pub(crate) channel: ChannelId,
    pub(crate) tag: ConsumerTag,
    /// `None` for one that waits for direct replies.
    pub(crate) queue: Option<QueueId>,
    pub(crate) no_ack: bool,
    pub(crate) exclusive: bool,
    pub(crate) priority: i32,
    /// 0 for any number.
    pub(crate) prefetch: u16,
    pub(crate) unacked: u32,
    /// Whether it has its turn in the queue, or waits on its channel for room.
    pub(crate) in_turn: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) open: Open,
    pub(crate) allowed: Arc<Allowed>,
    pub(crate) channels: BTreeMap<ChannelNumber, Channel>,
    /// The queues that it alone may use.
    pub(crate) queues: BTreeSet<QueueId>,
    /// Deliveries that are not written yet, and their bytes.
    pub(crate) outgoing: (usize, u64),
    /// Consumers that wait until some are.
    pub(crate) blocked: Vec<ConsumerId>,
}

/// What a channel does with what is published.
#[derive(Clone, Debug, Default)]
pub(crate) enum Mode {
    #[default]
    Plain,
    /// It confirms; so many were published.
    Confirm(u64),
    /// It holds them until they are committed.
    Tx(Tx),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Tx {
    pub(crate) publishes: Vec<Publish>,
    pub(crate) acks: Vec<Settlement>,
    pub(crate) bytes: usize,
}

/// What becomes of deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Which.
    pub tags: Vec<DeliveryTag>,
    /// What.
    pub how: How,
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is done.
    Acked,
    /// Back into the queue.
    Requeued,
    /// Away.
    Rejected,
}

#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) mode: Mode,
    /// For consumers that begin from now on, and for all of it; 0 for any number.
    pub(crate) prefetch: u16,
    pub(crate) global_prefetch: u16,
    pub(crate) active: bool,
    pub(crate) next_tag: u64,
    pub(crate) unacked: BTreeMap<DeliveryTag, Unacked>,
    pub(crate) consumers: BTreeMap<ConsumerTag, ConsumerId>,
    /// Consumers that wait for room.
    pub(crate) blocked: Vec<ConsumerId>,
    pub(crate) last_queue: Option<QueueName>,
    /// Queues of which it wants a message that is not at hand.
    pub(crate) getting: BTreeSet<QueueId>,
    /// Deliveries to consumers that wait to be acknowledged: those count for `global_prefetch`.
    pub(crate) to_consumers: u32,
}

impl Default for Channel {
    fn default() -> Self {
        Self {
            mode: Mode::Plain,
            prefetch: 0,
            global_prefetch: 0,
            active: true,
            next_tag: 1,
            unacked: BTreeMap::new(),
            consumers: BTreeMap::new(),
            blocked: Vec::new(),
            last_queue: None,
            getting: BTreeSet::new(),
            to_consumers: 0,
        }
    }
}

/// A delivery that waits to be acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Unacked {
    pub(crate) lane: LaneId,
    pub(crate) place: Place,
    pub(crate) consumer: Option<ConsumerId>,
    /// The size of its body.
    pub(crate) size: u64,
    /// When it is not kept.
    pub(crate) message: Option<Arc<Message>>,
}

#[derive(Clone, Debug)]
pub(crate) struct KnownUser {
    pub(crate) user: User,
    pub(crate) allowed: BTreeMap<VhostName, (Permissions, Arc<Allowed>)>,
}

/// What the last command left to be done: see [`Command::FollowUp`](super::Command).
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    /// Messages that were done when they were delivered, with the sizes of their bodies.
    pub(crate) spent: BTreeMap<LaneId, (Vec<u64>, u64)>,
    /// Lanes of which more may have been delivered than is noted.
    pub(crate) reached: BTreeSet<LaneId>,
    /// Queues that may be too full, or have messages that have expired.
    pub(crate) over: BTreeSet<QueueId>,
    /// Queues and exchanges that go.
    pub(crate) queues: BTreeSet<QueueId>,
    pub(crate) exchanges: BTreeSet<(VhostName, ExchangeName)>,
    /// Connections that go, and why.
    pub(crate) connections: BTreeMap<ConnectionId, Arc<str>>,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.spent.is_empty()
            && self.reached.is_empty()
            && self.over.is_empty()
            && self.queues.is_empty()
            && self.exchanges.is_empty()
            && self.connections.is_empty()
    }
}

/// What is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// The first message of a queue expires.
    Head(QueueId),
    /// A queue was unused for too long.
    Unused(QueueId),
}

impl Queue {
    pub(crate) fn new(spec: Arc<QueueSpec>) -> Self {
        let expires = spec.checked.message_ttl.is_some();
        Self {
            spec,
            lanes: BTreeMap::new(),
            consumers: Vec::new(),
            turns: BTreeMap::new(),
            active: None,
            getters: VecDeque::new(),
            unacked: 0,
            expires,
            head_due: None,
            unused_due: None,
        }
    }

    /// The lane of that priority.
    pub(crate) fn lane_mut(&mut self, priority: u8) -> &mut Lane {
        let id = LaneId { queue: self.spec.id, priority };
        self.lanes.entry(priority).or_insert_with(|| Lane::new(id))
    }

    /// The stream of that priority's lane, and the number that its next message gets.
    pub(crate) fn next(&self, priority: u8) -> (StreamName, u64) {
        match self.lanes.get(&priority) {
            Some(lane) => (lane.stream.clone(), lane.next),
            None => (Lane::new(LaneId { queue: self.spec.id, priority }).stream, 0),
        }
    }

    /// The priority at which a message waits here.
    pub(crate) fn priority_of(&self, priority: Option<u8>) -> u8 {
        self.spec.checked.max_priority.map_or(0, |most| priority.unwrap_or(0).min(most))
    }

    /// Messages that wait.
    pub(crate) fn count(&self) -> u64 {
        self.lanes.values().map(Lane::count).sum()
    }

    /// The bytes of their bodies.
    pub(crate) fn bytes(&self) -> u64 {
        self.lanes.values().map(Lane::bytes).sum()
    }

    /// Whether more wait than may, of which the first are to go.
    pub(crate) fn is_over(&self) -> bool {
        let Arguments { max_length, max_length_bytes, overflow, .. } = &self.spec.checked;
        *overflow == super::argument::Overflow::DropHead
            && (max_length.is_some_and(|most| self.count() > most)
                || max_length_bytes.is_some_and(|most| self.bytes() > most))
    }

    /// The message that is next.
    pub(crate) fn head(&self) -> Option<(u8, Head)> {
        let of = |(priority, lane): (&u8, &Lane)| lane.head().map(|head| (*priority, head));
        self.lanes.iter().rev().find_map(of)
    }

    /// Whether a message that is persistent is kept here.
    pub(crate) fn keeps(&self, is_persistent: bool) -> bool {
        self.spec.id.is_durable() && (is_persistent || self.spec.checked.quorum)
    }

    /// When this message expires here.
    pub(crate) fn expiry(&self, message: &Message) -> Option<Timestamp> {
        let own = message.properties.expiration.as_deref().and_then(|text| text.parse().ok());
        let own = own.map(std::time::Duration::from_millis);
        let ttl = match (own, self.spec.checked.message_ttl) {
            (Some(own), Some(all)) => Some(own.min(all)),
            (own, all) => own.or(all),
        };
        ttl.map(|ttl| message.queued_at.plus(ttl))
    }
}

/// A publish's headers that name more queues.
pub(crate) fn carbon_copies(table: Option<&Table>) -> impl Iterator<Item = &Bytes> {
    use crate::message::Value;
    let lists = ["CC", "BCC"].into_iter().filter_map(move |key| table?.get(key));
    let items = lists.flat_map(|list| match list {
        Value::Array(items) => items.as_slice(),
        _ => &[],
    });
    items.filter_map(|item| match item {
        Value::Text(key) => Some(key),
        _ => None,
    })
}

impl KnownUser {
    pub(crate) fn name(&self) -> &UserName {
        &self.user.name
    }
}
