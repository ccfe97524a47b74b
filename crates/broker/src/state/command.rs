//! What may be asked of the broker.
//!
//! What a channel asks ([`Act`]) is never answered by the command's reply, but by an
//! [`Output`](super::Output) to its connection, in order with deliveries and with everything else
//! that was asked: so commands may be handed in one after the other without waiting.

use std::sync::Arc;

use bytes::Bytes;

use crate::config::Subscription;
use crate::ids::{
    ChannelId, ConnectionId, ConsumerTag, DeliveryTag, ExchangeName, LaneId, QueueName, RoutingKey,
    UserName, VhostName,
};
use crate::message::{Message, Properties, Table};
use crate::state::refusal::Method;

/// Something asked of the broker.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A client that was recognised opens a virtual host. Refused by the reply.
    Open(Open),
    /// A client closes its connection, or it is gone. Told with
    /// [`Answer::ConnectionClosed`](super::Answer), after which it is told nothing more.
    Close(ConnectionId),
    /// Told with [`Answer::ChannelOpened`](super::Answer).
    OpenChannel(ChannelId),
    /// Told with [`Answer::ChannelClosed`](super::Answer), after which it may be opened anew. All
    /// that was asked on it before is durable then.
    CloseChannel(ChannelId),
    /// Something asked on a channel. Passed over when the channel is not open (any more).
    Channel(ChannelId, Act),
    /// So much of what this connection was told to deliver is written to its socket. Until then it
    /// counts against what a connection may be handed.
    Written {
        /// Which connection.
        connection: ConnectionId,
        /// Deliveries.
        deliveries: u32,
        /// Their weight ([`Message::weight`]).
        bytes: u64,
    },
    /// Whether the house has a reason to block publishers that the rules do not know: a full disk.
    Alarm(Option<Arc<str>>),
    /// What was asked for by [`Effect::Load`](super::Effect).
    Loaded(Loaded),
    /// An operator's wish. Answered by the reply.
    Ask(Ask),
    /// Time has passed.
    Tick,
    /// What the last command left to be done.
    FollowUp,
}

/// A client that was recognised opens a virtual host.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// Its connection.
    pub connection: ConnectionId,
    /// The virtual host.
    pub vhost: VhostName,
    /// Who it is.
    pub user: UserName,
    /// From where to where, or the name that it gave itself: for people.
    pub name: Arc<str>,
    /// Whether it understands `connection.blocked`.
    pub understands_blocked: bool,
    /// Whether it understands that a consumer is cancelled (`consumer_cancel_notify`).
    pub understands_cancel: bool,
    /// Whatever nobody can guess: names for replies begin with it.
    pub secret: u64,
    /// What the client says of itself: for people.
    pub client: Table,
    /// Whether it is a part of the house itself, which may do everything, whatever users there are.
    pub is_house: bool,
}

impl Open {
    /// Whether it is a client of that user.
    pub(crate) fn is_of(&self, user: &UserName) -> bool {
        !self.is_house && self.user == *user
    }
}

/// Something asked on a channel.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// `exchange.declare`
    DeclareExchange(DeclareExchange),
    /// `exchange.delete`
    DeleteExchange(DeleteExchange),
    /// `exchange.bind`
    BindExchange(BindExchange),
    /// `exchange.unbind`
    UnbindExchange(BindExchange),
    /// `queue.declare`
    DeclareQueue(DeclareQueue),
    /// `queue.bind`
    BindQueue(BindQueue),
    /// `queue.unbind`
    UnbindQueue(BindQueue),
    /// `queue.purge`
    PurgeQueue {
        /// The queue; empty for the one that the channel declared last.
        queue: QueueName,
        /// Without an answer.
        no_wait: bool,
    },
    /// `queue.delete`
    DeleteQueue(DeleteQueue),
    /// `basic.qos`
    Qos(Qos),
    /// `channel.flow`
    Flow {
        /// Whether deliveries may come.
        active: bool,
    },
    /// `basic.consume`
    Consume(Consume),
    /// `basic.cancel`
    Cancel {
        /// Which consumer.
        tag: ConsumerTag,
        /// Without an answer.
        no_wait: bool,
    },
    /// `basic.publish`, as many as were read. Better not more than some hundred, and not more
    /// than a mebibyte unless it is one.
    Publish(Vec<Publish>),
    /// `basic.get`
    Get(Get),
    /// `basic.ack`
    Ack {
        /// Which delivery; 0 with `multiple` for all.
        tag: DeliveryTag,
        /// That one and all before it.
        multiple: bool,
    },
    /// `basic.ack` of several deliveries, one after the other, as many as were read.
    AckEach {
        /// The first,
        first: DeliveryTag,
        /// and the last.
        last: DeliveryTag,
    },
    /// `basic.nack`, and `basic.reject` without `multiple`
    Nack {
        /// Which delivery; 0 with `multiple` for all.
        tag: DeliveryTag,
        /// That one and all before it.
        multiple: bool,
        /// Back into the queue, or else away: dead-lettered or dropped.
        requeue: bool,
    },
    /// `basic.recover`, and `basic.recover-async`, which has no answer
    Recover {
        /// Back into the queues; RabbitMQ has nothing else, and nor do we (540).
        requeue: bool,
        /// Without an answer.
        no_wait: bool,
    },
    /// `confirm.select`
    SelectConfirm {
        /// Without an answer.
        no_wait: bool,
    },
    /// `tx.select`
    SelectTx,
    /// `tx.commit`
    CommitTx,
    /// `tx.rollback`
    RollbackTx,
}

impl Act {
    /// The method that asks for it.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::DeclareExchange(_) => Method::ExchangeDeclare,
            Self::DeleteExchange(_) => Method::ExchangeDelete,
            Self::BindExchange(_) => Method::ExchangeBind,
            Self::UnbindExchange(_) => Method::ExchangeUnbind,
            Self::DeclareQueue(_) => Method::QueueDeclare,
            Self::BindQueue(_) => Method::QueueBind,
            Self::UnbindQueue(_) => Method::QueueUnbind,
            Self::PurgeQueue { .. } => Method::QueuePurge,
            Self::DeleteQueue(_) => Method::QueueDelete,
            Self::Qos(_) => Method::BasicQos,
            Self::Flow { .. } => Method::ChannelFlow,
            Self::Consume(_) => Method::BasicConsume,
            Self::Cancel { .. } => Method::BasicCancel,
            Self::Publish(_) => Method::BasicPublish,
            Self::Get(_) => Method::BasicGet,
            Self::Ack { .. } | Self::AckEach { .. } => Method::BasicAck,
            Self::Nack { .. } => Method::BasicNack,
            Self::Recover { .. } => Method::BasicRecover,
            Self::SelectConfirm { .. } => Method::ConfirmSelect,
            Self::SelectTx => Method::TxSelect,
            Self::CommitTx => Method::TxCommit,
            Self::RollbackTx => Method::TxRollback,
        }
    }
}

/// How an exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// By the whole routing key.
    Direct,
    /// To every binding.
    Fanout,
    /// By patterns of words.
    Topic,
    /// By headers.
    Headers,
}

impl Kind {
    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "direct" => Some(Self::Direct),
            "fanout" => Some(Self::Fanout),
            "topic" => Some(Self::Topic),
            "headers" => Some(Self::Headers),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
        }
    }
}

/// `exchange.declare`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeclareExchange {
    /// Which.
    pub exchange: ExchangeName,
    /// Of what kind, as it was written; not looked at when `passive`.
    pub kind: Arc<str>,
    /// Only asks whether it is there.
    pub passive: bool,
    /// Whether it is there after a restart.
    pub durable: bool,
    /// Whether it goes when the last of its bindings does.
    pub auto_delete: bool,
    /// Whether clients may not publish to it.
    pub internal: bool,
    /// `alternate-exchange`, and whatever else.
    pub arguments: Table,
    /// Without an answer.
    pub no_wait: bool,
}

/// `exchange.delete`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteExchange {
    /// Which.
    pub exchange: ExchangeName,
    /// Only when nothing is bound to it.
    pub if_unused: bool,
    /// Without an answer.
    pub no_wait: bool,
}

/// `exchange.bind` and `exchange.unbind`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BindExchange {
    /// Where messages go on to.
    pub destination: ExchangeName,
    /// Where they come from.
    pub source: ExchangeName,
    /// By which key, or pattern.
    pub routing_key: RoutingKey,
    /// By which headers.
    pub arguments: Table,
    /// Without an answer.
    pub no_wait: bool,
}

/// `queue.declare`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeclareQueue {
    /// Which; empty for a name that nobody has.
    pub queue: QueueName,
    /// Only asks whether it is there.
    pub passive: bool,
    /// Whether it is there after a restart.
    pub durable: bool,
    /// Whether only this connection may use it, with which it goes.
    pub exclusive: bool,
    /// Whether it goes with the last of its consumers.
    pub auto_delete: bool,
    /// `x-…`
    pub arguments: Table,
    /// Without an answer.
    pub no_wait: bool,
    /// What makes a name that nobody has.
    pub random: u128,
}

/// `queue.bind` and `queue.unbind`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BindQueue {
    /// The queue; empty for the one that the channel declared last.
    pub queue: QueueName,
    /// Where messages come from.
    pub exchange: ExchangeName,
    /// By which key, or pattern.
    pub routing_key: RoutingKey,
    /// By which headers.
    pub arguments: Table,
    /// Without an answer. `queue.unbind` always has one.
    pub no_wait: bool,
}

/// `queue.delete`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteQueue {
    /// The queue; empty for the one that the channel declared last.
    pub queue: QueueName,
    /// Only when nobody consumes.
    pub if_unused: bool,
    /// Only when nothing is in it.
    pub if_empty: bool,
    /// Without an answer.
    pub no_wait: bool,
}

/// `basic.qos`. The size in bytes is refused by the interface (540), as RabbitMQ does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Qos {
    /// Deliveries that may be unacknowledged; 0 for any number.
    pub prefetch: u16,
    /// For the whole channel, or else for each consumer that begins from now on.
    pub global: bool,
}

/// `basic.consume`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Consume {
    /// The queue; empty for the one that the channel declared last.
    pub queue: QueueName,
    /// The consumer; empty for a tag that the channel does not have.
    pub tag: ConsumerTag,
    /// Whether a delivery is done when it is made.
    pub no_ack: bool,
    /// Whether nobody else may consume.
    pub exclusive: bool,
    /// `x-priority`
    pub arguments: Table,
    /// Without an answer.
    pub no_wait: bool,
    /// What makes a tag.
    pub random: u128,
}

/// `basic.get`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Get {
    /// The queue; empty for the one that the channel declared last.
    pub queue: QueueName,
    /// Whether it is done when it is delivered.
    pub no_ack: bool,
}

/// `basic.publish`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Publish {
    /// Where to.
    pub exchange: ExchangeName,
    /// By which key.
    pub routing_key: RoutingKey,
    /// Whether it comes back when it reaches no queue.
    pub mandatory: bool,
    /// What is said of it.
    pub properties: Properties,
    /// What is said.
    pub body: Bytes,
}

/// What messages are fetched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// They wait, and are to be at hand.
    Delivery,
    /// They have died, and are to be sent on.
    Burial,
}

/// Messages that were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Where they are.
    pub lane: LaneId,
    /// What for.
    pub purpose: Purpose,
    /// The first sequence number that was asked for.
    pub from: u64,
    /// Everything up to here and without it was looked for.
    pub end: u64,
    /// What was found, in order.
    pub messages: Vec<(u64, Arc<Message>)>,
}

/// An operator's wish.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Makes a virtual host; it may be there.
    PutVhost(VhostName),
    /// Takes a virtual host away with everything in it, and closes its connections.
    DeleteVhost(VhostName),
    /// Makes a user, or changes it.
    PutUser(User),
    /// Takes a user away, and closes its connections.
    DeleteUser(UserName),
    /// What a user may do in a virtual host.
    Permit {
        /// Who.
        user: UserName,
        /// Where.
        vhost: VhostName,
        /// What; `None` for nothing, not even opening it.
        permissions: Option<Permissions>,
    },
    /// Has a service called for each message of a queue, or says something else of that.
    PutSubscription(Arc<Subscription>),
    /// Has it called no more.
    DeleteSubscription(Arc<str>),
    /// Closes a connection with this reason.
    Disconnect {
        /// Which.
        connection: ConnectionId,
        /// Why, for the client.
        reason: Arc<str>,
    },
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: UserName,
    /// Its password as RabbitMQ's definitions have it: base64 of four bytes of salt and the SHA-256
    /// of salt and password. Empty when it has none and cannot log in.
    pub password_hash: Arc<str>,
    /// `administrator`, `monitoring`, …
    pub tags: Vec<Arc<str>>,
    /// Whether it may only come from this machine, as `guest`.
    pub loopback_only: bool,
}

/// Regular expressions over names, each found anywhere in one; the empty one is only in the empty
/// name. The default exchange is `amq.default` to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// What may be declared and deleted.
    pub configure: Arc<str>,
    /// What may be published to and bound.
    pub write: Arc<str>,
    /// What may be read and bound to.
    pub read: Arc<str>,
}

impl Permissions {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        let all: Arc<str> = Arc::from(".*");
        Self { configure: Arc::clone(&all), write: Arc::clone(&all), read: all }
    }
}
