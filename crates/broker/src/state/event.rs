//! What happens.
//!
//! Which of it is kept is decided here ([`Event::is_kept`]) and nowhere else. [`Fact`] is what is
//! read back of it: messages without what is said in them.

use std::sync::Arc;

use posthouse_base::time::Timestamp;
use posthouse_journal::StreamName;

use super::command::{Loaded, Open, Permissions, Publish, Qos, User};
use super::death::Reason;
use super::effect::Answer;
use super::exchange::{Binding, ExchangeSpec};
use super::lane::Place;
use super::model::{ConsumerId, QueueSpec, Settlement};
use super::refusal::Refusal;
use crate::config::Subscription;
use crate::ids::{
    ChannelId, ConnectionId, ConsumerTag, ExchangeName, LaneId, QueueId, QueueName, UserName,
    VhostName,
};
use crate::message::Message;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The time at which what follows happens.
    At(Timestamp),
    /// What there is has changed.
    Defined(Definition),
    /// Messages are in queues.
    Placed(Vec<Placed>),
    /// Messages that were kept are gone.
    Removed(Removed),
    /// Messages that are kept have died and are to be buried, with what a consumer had of them.
    Died {
        /// Where.
        lane: LaneId,
        /// Which.
        seqs: Vec<u64>,
        /// Why.
        reason: Reason,
    },
    /// Messages have come back, and that is counted.
    Counted {
        /// Where.
        lane: LaneId,
        /// Which.
        seqs: Vec<u64>,
    },
    /// What is below may have been delivered.
    Reached {
        /// Where.
        lane: LaneId,
        /// Below which.
        seq: u64,
    },
    /// Messages that were not kept are gone.
    Dropped {
        /// Where.
        lane: LaneId,
        /// Which.
        places: Vec<Place>,
    },
    /// What was published has been dealt with.
    Published {
        /// On which channel.
        channel: ChannelId,
        /// Each, in order.
        outcomes: Vec<Outcome>,
    },
    /// A message goes straight to who waits for a reply.
    Replied {
        /// To whom.
        to: ConsumerId,
        /// The message.
        message: Arc<Message>,
    },
    /// Deliveries are settled.
    Settled {
        /// On which channel.
        channel: ChannelId,
        /// Which, and how.
        settlement: Settlement,
    },
    /// A transaction holds what was published.
    HeldPublish(ChannelId, Vec<Publish>),
    /// A transaction holds an acknowledgement.
    HeldAck(ChannelId, Settlement),
    /// A transaction holds nothing any more.
    TxEnded(ChannelId),
    /// A connection is open.
    Opened(Open),
    /// A connection is closed: with a refusal by us, or else the client has asked for it.
    Closed(ConnectionId, Option<Refusal>),
    /// A channel is open.
    ChannelOpened(ChannelId),
    /// A channel is closed: with a refusal by us, or else the client has asked for it.
    ChannelClosed(ChannelId, Option<Refusal>),
    /// A prefetch is set.
    QosSet(ChannelId, Qos),
    /// Whether deliveries may come.
    FlowSet(ChannelId, bool),
    /// A queue was declared, or named, on a channel: it is what an empty name means there.
    Named(ChannelId, QueueName),
    /// A queue was used.
    Used(QueueId),
    /// Somebody consumes.
    Consumed(NewConsumer),
    /// Somebody consumes no more.
    Cancelled(ChannelId, ConsumerTag),
    /// Somebody wants one message.
    Wanted {
        /// On which channel.
        channel: ChannelId,
        /// Of which queue.
        queue: QueueId,
        /// Whether it is done when it is delivered.
        no_ack: bool,
    },
    /// A channel confirms from now on.
    ConfirmSelected(ChannelId),
    /// A channel has transactions from now on.
    TxSelected(ChannelId),
    /// A client is told that something is done.
    Answered(ChannelId, Answer),
    /// Deliveries were written.
    Written {
        /// To which connection.
        connection: ConnectionId,
        /// How many.
        deliveries: u32,
        /// Their bytes.
        bytes: u64,
    },
    /// There is, or is no longer, a reason to block publishers that the rules do not know.
    Alarmed(Option<Arc<str>>),
    /// Messages have come.
    Loaded(Loaded),
    /// Messages are missing from the journal.
    Missed {
        /// Where.
        lane: LaneId,
        /// Which.
        seqs: Vec<u64>,
    },
    /// A queue was looked at because something of it was due.
    Looked(QueueId),
}

/// A consumer that begins.
#[derive(Clone, Debug, PartialEq)]
pub struct NewConsumer {
    /// On which channel.
    pub channel: ChannelId,
    /// Its tag.
    pub tag: ConsumerTag,
    /// Of which queue; `None` for direct replies.
    pub queue: Option<QueueId>,
    /// Whether a delivery is done when it is made.
    pub no_ack: bool,
    /// Whether nobody else may consume.
    pub exclusive: bool,
    /// Its priority.
    pub priority: i32,
    /// Whether it is told.
    pub answer: bool,
}

/// A change of what there is. Kept when it concerns what is durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Definition {
    /// A virtual host is there.
    VhostPut(VhostName),
    /// A virtual host is gone. Whatever was in it has gone before.
    VhostDeleted(VhostName),
    /// A user is there, or is different.
    UserPut(User),
    /// A user is gone.
    UserDeleted(UserName),
    /// What a user may do has changed.
    Permitted {
        /// Who.
        user: UserName,
        /// Where.
        vhost: VhostName,
        /// What.
        permissions: Option<Permissions>,
    },
    /// A service is called for each message of a queue.
    SubscriptionPut(Arc<Subscription>),
    /// It is called no more.
    SubscriptionDeleted(Arc<str>),
    /// An exchange is there.
    ExchangeDeclared(Arc<ExchangeSpec>),
    /// An exchange is gone, with all bindings from and to it.
    ExchangeDeleted {
        /// Where.
        vhost: VhostName,
        /// Which.
        exchange: ExchangeName,
        /// Whether it was durable.
        durable: bool,
    },
    /// A queue is there.
    QueueDeclared(Arc<QueueSpec>),
    /// A queue is gone, with all bindings to it and everything in it.
    QueueDeleted {
        /// Which.
        queue: QueueId,
        /// Its streams, and the number of messages that each ever had.
        streams: Vec<(StreamName, u64)>,
    },
    /// A binding is there.
    Bound(Arc<Binding>),
    /// A binding is gone.
    Unbound(Arc<Binding>),
}

impl Definition {
    /// Whether it is there after a restart.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        match self {
            Self::VhostPut(_)
            | Self::VhostDeleted(_)
            | Self::UserPut(_)
            | Self::UserDeleted(_)
            | Self::SubscriptionPut(_)
            | Self::SubscriptionDeleted(_)
            | Self::Permitted { .. } => true,
            Self::ExchangeDeclared(exchange) => exchange.durable,
            Self::ExchangeDeleted { durable, .. } => *durable,
            Self::QueueDeclared(queue) => queue.id.is_durable(),
            Self::QueueDeleted { queue, .. } => queue.is_durable(),
            Self::Bound(binding) | Self::Unbound(binding) => binding.durable,
        }
    }
}

/// A message in a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Where.
    pub lane: LaneId,
    /// Its sequence number, if it is kept.
    pub seq: Option<u64>,
    /// The lane's stream.
    pub stream: StreamName,
    /// The message.
    pub message: Arc<Message>,
}

/// Messages that were kept and are gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Removed {
    /// Where.
    pub lane: LaneId,
    /// The lane's stream.
    pub stream: StreamName,
    /// Which: the first, and the one behind the last.
    pub ranges: Vec<(u64, u64)>,
    /// The bytes of their bodies.
    pub bytes: u64,
    /// Those of them that had waited: bytes of their bodies.
    pub waiting_bytes: u64,
}

/// What became of a message that was published.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was taken on.
    Taken,
    /// No queue was bound for it.
    Unroutable {
        /// The message.
        message: Arc<Message>,
        /// Whether it goes back.
        returned: bool,
    },
    /// A queue was full.
    Rejected,
}

impl Event {
    /// Whether something of it is kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        match self {
            Self::Defined(definition) => definition.is_kept(),
            Self::Placed(placed) => placed.iter().any(|placed| placed.seq.is_some()),
            Self::Removed(_) | Self::Died { .. } | Self::Counted { .. } | Self::Reached { .. } => {
                true
            }
            _ => false,
        }
    }
}

/// What is read back of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// What there is has changed.
    Defined(Definition),
    /// Messages are in a lane, one behind the other.
    Placed {
        /// Where.
        lane: LaneId,
        /// The first one's sequence number.
        first: u64,
        /// The sizes of their bodies.
        sizes: Vec<u64>,
        /// Whether some of them may expire.
        expire: bool,
    },
    /// Messages are gone.
    Removed {
        /// Where.
        lane: LaneId,
        /// Which.
        ranges: Vec<(u64, u64)>,
        /// The bytes of their bodies.
        bytes: u64,
    },
    /// Messages have died.
    Died {
        /// Where.
        lane: LaneId,
        /// Which.
        seqs: Vec<u64>,
        /// Why.
        reason: Reason,
    },
    /// Messages have come back.
    Counted {
        /// Where.
        lane: LaneId,
        /// Which.
        seqs: Vec<u64>,
    },
    /// What is below may have been delivered.
    Reached {
        /// Where.
        lane: LaneId,
        /// Below which.
        seq: u64,
    },
}
