//! What went wrong, with AMQP's reply codes and in RabbitMQ's words, because clients show them and
//! people search for them.

use std::fmt;

/// A reply code (AMQP 0-9-1 §1.2, and RabbitMQ's own use of them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// 311: more than is taken on.
    ContentTooLarge,
    /// 312: no queue for a mandatory message.
    NoRoute,
    /// 313: nobody takes it; only in replies to `immediate`.
    NoConsumers,
    /// 320: an operator, or an outage, closes the connection.
    ConnectionForced,
    /// 402: the vhost is not there.
    InvalidPath,
    /// 403: not permitted.
    AccessRefused,
    /// 404: not there.
    NotFound,
    /// 405: it belongs to another connection.
    ResourceLocked,
    /// 406: it is otherwise than was said.
    PreconditionFailed,
    /// 501: a frame that cannot be.
    FrameError,
    /// 502: a field that cannot be.
    SyntaxError,
    /// 503: a method at a moment when it cannot be.
    CommandInvalid,
    /// 504: a channel that is not open, or is open already.
    ChannelError,
    /// 505: a frame that was not expected.
    UnexpectedFrame,
    /// 506: a limit of the house.
    ResourceError,
    /// 530: not allowed.
    NotAllowed,
    /// 540: not there, and will not be.
    NotImplemented,
    /// 541: the house failed.
    InternalError,
}

impl Code {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::ContentTooLarge => 311,
            Self::NoRoute => 312,
            Self::NoConsumers => 313,
            Self::ConnectionForced => 320,
            Self::InvalidPath => 402,
            Self::AccessRefused => 403,
            Self::NotFound => 404,
            Self::ResourceLocked => 405,
            Self::PreconditionFailed => 406,
            Self::FrameError => 501,
            Self::SyntaxError => 502,
            Self::CommandInvalid => 503,
            Self::ChannelError => 504,
            Self::UnexpectedFrame => 505,
            Self::ResourceError => 506,
            Self::NotAllowed => 530,
            Self::NotImplemented => 540,
            Self::InternalError => 541,
        }
    }

    /// The one of that number.
    #[must_use]
    pub fn numbered(number: u16) -> Option<Self> {
        let all = [
            Self::ContentTooLarge,
            Self::NoRoute,
            Self::NoConsumers,
            Self::ConnectionForced,
            Self::InvalidPath,
            Self::AccessRefused,
            Self::NotFound,
            Self::ResourceLocked,
            Self::PreconditionFailed,
            Self::FrameError,
            Self::SyntaxError,
            Self::CommandInvalid,
            Self::ChannelError,
            Self::UnexpectedFrame,
            Self::ResourceError,
            Self::NotAllowed,
            Self::NotImplemented,
            Self::InternalError,
        ];
        all.into_iter().find(|code| code.number() == number)
    }

    /// Its name, with which texts begin.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ContentTooLarge => "CONTENT_TOO_LARGE",
            Self::NoRoute => "NO_ROUTE",
            Self::NoConsumers => "NO_CONSUMERS",
            Self::ConnectionForced => "CONNECTION_FORCED",
            Self::InvalidPath => "INVALID_PATH",
            Self::AccessRefused => "ACCESS_REFUSED",
            Self::NotFound => "NOT_FOUND",
            Self::ResourceLocked => "RESOURCE_LOCKED",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::FrameError => "FRAME_ERROR",
            Self::SyntaxError => "SYNTAX_ERROR",
            Self::CommandInvalid => "COMMAND_INVALID",
            Self::ChannelError => "CHANNEL_ERROR",
            Self::UnexpectedFrame => "UNEXPECTED_FRAME",
            Self::ResourceError => "RESOURCE_ERROR",
            Self::NotAllowed => "NOT_ALLOWED",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    /// What it closes (AMQP 0-9-1 §1.2: soft errors close the channel, hard ones the connection).
    #[must_use]
    pub const fn scope(self) -> Scope {
        match self {
            Self::ContentTooLarge
            | Self::NoRoute
            | Self::NoConsumers
            | Self::AccessRefused
            | Self::NotFound
            | Self::ResourceLocked
            | Self::PreconditionFailed => Scope::Channel,
            _ => Scope::Connection,
        }
    }
}

/// What is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The channel.
    Channel,
    /// The connection.
    Connection,
}

/// The method that was refused, as `close` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// None in particular.
    #[default]
    None,
    /// `connection.open`
    ConnectionOpen,
    /// `channel.open`
    ChannelOpen,
    /// `channel.flow`
    ChannelFlow,
    /// `exchange.declare`
    ExchangeDeclare,
    /// `exchange.delete`
    ExchangeDelete,
    /// `exchange.bind`
    ExchangeBind,
    /// `exchange.unbind`
    ExchangeUnbind,
    /// `queue.declare`
    QueueDeclare,
    /// `queue.bind`
    QueueBind,
    /// `queue.unbind`
    QueueUnbind,
    /// `queue.purge`
    QueuePurge,
    /// `queue.delete`
    QueueDelete,
    /// `basic.qos`
    BasicQos,
    /// `basic.consume`
    BasicConsume,
    /// `basic.cancel`
    BasicCancel,
    /// `basic.publish`
    BasicPublish,
    /// `basic.get`
    BasicGet,
    /// `basic.ack`
    BasicAck,
    /// `basic.nack`
    BasicNack,
    /// `basic.reject`
    BasicReject,
    /// `basic.recover`
    BasicRecover,
    /// `confirm.select`
    ConfirmSelect,
    /// `tx.select`
    TxSelect,
    /// `tx.commit`
    TxCommit,
    /// `tx.rollback`
    TxRollback,
}

impl Method {
    /// Its class and its number in it.
    #[must_use]
    pub const fn numbers(self) -> (u16, u16) {
        match self {
            Self::None => (0, 0),
            Self::ConnectionOpen => (10, 40),
            Self::ChannelOpen => (20, 10),
            Self::ChannelFlow => (20, 20),
            Self::ExchangeDeclare => (40, 10),
            Self::ExchangeDelete => (40, 20),
            Self::ExchangeBind => (40, 30),
            Self::ExchangeUnbind => (40, 40),
            Self::QueueDeclare => (50, 10),
            Self::QueueBind => (50, 20),
            Self::QueuePurge => (50, 30),
            Self::QueueDelete => (50, 40),
            Self::QueueUnbind => (50, 50),
            Self::BasicQos => (60, 10),
            Self::BasicConsume => (60, 20),
            Self::BasicCancel => (60, 30),
            Self::BasicPublish => (60, 40),
            Self::BasicGet => (60, 70),
            Self::BasicAck => (60, 80),
            Self::BasicReject => (60, 90),
            Self::BasicRecover => (60, 110),
            Self::BasicNack => (60, 120),
            Self::ConfirmSelect => (85, 10),
            Self::TxSelect => (90, 10),
            Self::TxCommit => (90, 20),
            Self::TxRollback => (90, 30),
        }
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of mistake.
    pub code: Code,
    /// What was wrong, without the code's name.
    pub detail: String,
    /// What was asked.
    pub method: Method,
}

impl Refusal {
    /// A refusal of nothing in particular yet.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), method: Method::None }
    }

    /// What it closes.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        self.code.scope()
    }

    /// The text as clients see it: `NOT_FOUND - no queue 'a' in vhost '/'`. A short string's 255
    /// bytes at most.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.to_string();
        if text.len() > 255 {
            let end = (0..=252).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
            text.push_str("...");
        }
        text
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - {}", self.code.name(), self.detail)
    }
}

impl std::error::Error for Refusal {}
