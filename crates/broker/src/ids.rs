//! What things are called: names that clients give, and numbers that the house gives.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name of that text.
            #[must_use]
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// Its text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether it is empty.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self(Arc::from(""))
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// A virtual host: exchanges, queues and permissions of one do not meet those of another.
    VhostName,
    /// A user.
    UserName,
    /// An exchange. The default exchange is the empty name.
    ExchangeName,
    /// A queue.
    QueueName,
    /// What a message is routed by, or a binding binds by.
    RoutingKey,
    /// A consumer, on its channel.
    ConsumerTag,
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident($number:ty),)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($number);

        impl $name {
            /// The one of that number.
            #[must_use]
            pub const fn new(number: $number) -> Self {
                Self(number)
            }

            /// Its number.
            #[must_use]
            pub const fn get(self) -> $number {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

numbers! {
    /// A client's connection; given by the service, and not given again while it runs.
    ConnectionId(u64),
    /// A channel of a connection, as the client numbers it. Never 0.
    ChannelNumber(u16),
    /// A delivery or a publish that is to be acknowledged, on its channel. Begins at 1.
    DeliveryTag(u64),
    /// A queue. Another queue of the same name later has another one.
    QueueId(u64),
}

impl QueueId {
    /// Queues that are not durable have numbers from here on, so that those of durable ones do not
    /// depend on what is forgotten.
    pub(crate) const FIRST_VOLATILE: u64 = 1 << 62;

    /// Whether the queue is there after a restart.
    #[must_use]
    pub const fn is_durable(self) -> bool {
        self.0 < Self::FIRST_VOLATILE
    }
}

/// A channel of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId {
    /// The connection.
    pub connection: ConnectionId,
    /// Its number there.
    pub number: ChannelNumber,
}

/// A part of a queue in which messages keep their order: one for each priority. It is a stream of
/// work in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId {
    /// The queue.
    pub queue: QueueId,
    /// The priority; 0 when the queue has none.
    pub priority: u8,
}
