//! A message: properties that its publisher set, a body that nobody looks into, and how it came.

use std::sync::Arc;

use bytes::Bytes;
use posthouse_base::time::Timestamp;

use crate::ids::{ExchangeName, RoutingKey};

/// A value in a table of headers or arguments.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `t`
    Bool(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s`, a signed 16-bit integer as RabbitMQ and its clients have it
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l`
    I64(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `D`: the number without its point, and the digits behind the point
    Decimal {
        /// Digits behind the point.
        scale: u8,
        /// The number without its point.
        value: u32,
    },
    /// `S`, any bytes, mostly text
    Text(Bytes),
    /// `x`, any bytes
    Bytes(Bytes),
    /// `A`
    Array(Vec<Value>),
    /// `T`, seconds since 1970
    Timestamp(u64),
    /// `F`
    Table(Table),
    /// `V`
    Void,
}

impl Value {
    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The whole number, of whatever width, if it is one.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::I8(number) => Some((*number).into()),
            Self::U8(number) => Some((*number).into()),
            Self::I16(number) => Some((*number).into()),
            Self::U16(number) => Some((*number).into()),
            Self::I32(number) => Some((*number).into()),
            Self::U32(number) => Some((*number).into()),
            Self::I64(number) => Some(*number),
            _ => None,
        }
    }
}

/// Headers or arguments, in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table(Vec<(Arc<str>, Value)>);

impl Table {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value of `key`: the first, if it is there more than once.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| &**name == key).map(|(_, value)| value)
    }

    /// Adds a field at the end, whether there is one of that key or not.
    pub fn push(&mut self, key: impl Into<Arc<str>>, value: Value) {
        self.0.push((key.into(), value));
    }

    /// Sets a field, in its place if it is there.
    pub fn set(&mut self, key: &str, value: Value) {
        match self.0.iter_mut().find(|(name, _)| &**name == key) {
            Some((_, there)) => *there = value,
            None => self.0.push((key.into(), value)),
        }
    }

    /// Takes a field out.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let place = self.0.iter().position(|(name, _)| &**name == key)?;
        Some(self.0.remove(place).1)
    }

    /// Its fields.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (&**key, value))
    }

    /// How many fields it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Arc<str>, Value)> for Table {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Value)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

/// What its publisher says of a message (AMQP 0-9-1 §4.2.6, class basic).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    /// MIME type.
    pub content_type: Option<Arc<str>>,
    /// MIME encoding.
    pub content_encoding: Option<Arc<str>>,
    /// Headers.
    pub headers: Option<Table>,
    /// 1 for transient, 2 for persistent.
    pub delivery_mode: Option<u8>,
    /// In queues that have priorities, the higher first.
    pub priority: Option<u8>,
    /// What an answer will name.
    pub correlation_id: Option<Arc<str>>,
    /// Where an answer is to go.
    pub reply_to: Option<Arc<str>>,
    /// How many milliseconds it may wait, in digits.
    pub expiration: Option<Arc<str>>,
    /// Its publisher's name for it.
    pub message_id: Option<Arc<str>>,
    /// Seconds since 1970, as its publisher says.
    pub timestamp: Option<u64>,
    /// What kind of message it is.
    pub kind: Option<Arc<str>>,
    /// Who published it; checked when it is there.
    pub user_id: Option<Arc<str>>,
    /// What published it.
    pub app_id: Option<Arc<str>>,
    /// Not used by anybody, and carried.
    pub cluster_id: Option<Arc<str>>,
}

impl Properties {
    /// Whether it is to survive a restart, in a queue that does.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.delivery_mode == Some(2)
    }
}

/// A message as it is queued and delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The exchange that it was published to, the last time if it was dead-lettered.
    pub exchange: ExchangeName,
    /// The routing key that it was published with.
    pub routing_key: RoutingKey,
    /// What its publisher says of it.
    pub properties: Properties,
    /// What is said.
    pub body: Bytes,
    /// When it was put into its queue.
    pub queued_at: Timestamp,
}

impl Message {
    /// What it takes up in memory and in limits beside its body.
    const OVERHEAD: usize = 128;

    /// What it counts for against limits of memory: more than the body alone, and without looking
    /// into every property.
    #[must_use]
    pub fn weight(&self) -> usize {
        let headers = self.properties.headers.as_ref().map_or(0, |headers| headers.len() * 64);
        Self::OVERHEAD + headers + self.body.len()
    }
}
