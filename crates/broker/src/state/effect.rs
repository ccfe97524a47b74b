//! What must be done because of what happened: telling clients, and fetching messages.

use std::sync::Arc;

use crate::ids::{ChannelNumber, ConnectionId, ConsumerTag, DeliveryTag, LaneId, QueueName};
use crate::message::Message;
use crate::state::command::Purpose;
use crate::state::refusal::Refusal;

/// Something that must be done because of what happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A client is told this. What one client is told is in order.
    Tell(ConnectionId, Output),
    /// Messages are wanted: as many as `count` from `from` on, and come back by
    /// [`Command::Loaded`](super::Command).
    Load {
        /// Where they are.
        lane: LaneId,
        /// What for.
        purpose: Purpose,
        /// The first sequence number.
        from: u64,
        /// The one behind the last that is wanted.
        end: u64,
        /// How many at most,
        count: usize,
        /// and how many bytes of them.
        bytes: usize,
    },
    /// A message reached no queue, or left one without being delivered: for the log and the metrics.
    Note(Note),
}

/// Why a message went nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// No queue was bound for it.
    Unroutable {
        /// Where it was published.
        exchange: crate::ids::ExchangeName,
        /// By which key.
        routing_key: crate::ids::RoutingKey,
        /// Whether its publisher was told.
        returned: bool,
    },
    /// The journal does not have a message that it should have.
    Missing {
        /// Where.
        lane: LaneId,
        /// Which.
        seq: u64,
    },
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// What it asked for is done.
    Answer(ChannelNumber, Answer),
    /// `basic.deliver`. Counts against the connection's window until it is reported as written.
    Deliver(ChannelNumber, ConsumerTag, Delivered),
    /// `basic.return` with 312: a mandatory message reached no queue. Comes before its confirm.
    Return(ChannelNumber, Arc<Message>),
    /// `basic.ack` or `basic.nack` of what was published.
    Confirm {
        /// On which channel.
        channel: ChannelNumber,
        /// Which.
        tag: DeliveryTag,
        /// That one and all before it.
        multiple: bool,
        /// Whether it was taken on.
        ack: bool,
    },
    /// `basic.cancel`: a queue is gone, and its consumers with it. Only for clients that understand
    /// it.
    Cancelled(ChannelNumber, ConsumerTag),
    /// `channel.close`: nothing that was asked on it after this is done, until it is opened anew.
    CloseChannel(ChannelNumber, Refusal),
    /// `connection.close`: nothing more comes for it.
    CloseConnection(Refusal),
    /// `connection.blocked` with this reason, for whoever publishes: do not read from it. Told to every
    /// connection, of which those that publish and understand it pass it on.
    Blocked(Arc<str>),
    /// `connection.unblocked`
    Unblocked,
}

/// What was asked for is done: a method's `-ok`.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// `channel.open-ok`
    ChannelOpened,
    /// `channel.close-ok`
    ChannelClosed,
    /// `connection.close-ok`, on whatever channel
    ConnectionClosed,
    /// `channel.flow-ok`
    FlowSet {
        /// Whether deliveries come.
        active: bool,
    },
    /// `exchange.declare-ok`
    ExchangeDeclared,
    /// `exchange.delete-ok`
    ExchangeDeleted,
    /// `exchange.bind-ok`
    ExchangeBound,
    /// `exchange.unbind-ok`
    ExchangeUnbound,
    /// `queue.declare-ok`
    QueueDeclared {
        /// Its name.
        queue: QueueName,
        /// Messages that wait in it.
        messages: u32,
        /// Its consumers.
        consumers: u32,
    },
    /// `queue.bind-ok`
    QueueBound,
    /// `queue.unbind-ok`
    QueueUnbound,
    /// `queue.purge-ok`
    Purged {
        /// Messages that went.
        messages: u32,
    },
    /// `queue.delete-ok`
    QueueDeleted {
        /// Messages that went with it.
        messages: u32,
    },
    /// `basic.qos-ok`
    QosSet,
    /// `basic.consume-ok`
    Consuming(ConsumerTag),
    /// `basic.cancel-ok`
    Cancelled(ConsumerTag),
    /// `basic.get-ok`. Counts as a delivery in [`Command::Written`](super::Command).
    Got {
        /// The message.
        delivered: Delivered,
        /// Messages that wait behind it.
        remaining: u32,
    },
    /// `basic.get-empty`
    Empty,
    /// `basic.recover-ok`
    Recovered,
    /// `confirm.select-ok`
    ConfirmSelected,
    /// `tx.select-ok`
    TxSelected,
    /// `tx.commit-ok`
    TxCommitted,
    /// `tx.rollback-ok`
    TxRolledBack,
}

/// A message that is delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered {
    /// What it is acknowledged by.
    pub tag: DeliveryTag,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    /// The message.
    pub message: Arc<Message>,
}
