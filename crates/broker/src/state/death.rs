//! What is written on a message that died in a queue and goes on to a dead-letter exchange: the
//! `x-death` header, as RabbitMQ has it.

use std::sync::Arc;

use bytes::Bytes;
use posthouse_base::time::Timestamp;

use super::argument::DeadLetter;
use crate::ids::QueueName;
use crate::message::{Message, Table, Value};

/// Why a message died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It was rejected without being put back.
    Rejected,
    /// It had waited for too long.
    Expired,
    /// The queue was full.
    MaxLen,
    /// It had come back too often.
    DeliveryLimit,
}

impl Reason {
    /// As the header names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLen => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

/// The message as it goes on, having died in `queue`.
pub(crate) fn buried(
    message: &Message,
    queue: &QueueName,
    to: &DeadLetter,
    reason: Reason,
    now: Timestamp,
) -> Message {
    let mut buried = message.clone();
    let keys = routing_keys(message);
    buried.exchange = to.exchange.clone();
    buried.queued_at = now;
    let expiration = buried.properties.expiration.take();
    let headers = buried.properties.headers.get_or_insert_with(Table::new);
    let mut deaths = deaths(headers);
    let same = |death: &Table| {
        is_in(death, queue) && death.get("reason").and_then(Value::as_text) == Some(reason.as_str())
    };
    let death = match deaths.iter().position(same) {
        Some(place) => {
            let mut death = deaths.remove(place);
            let count = death.get("count").and_then(Value::as_integer).unwrap_or(0);
            death.set("count", Value::I64(count.saturating_add(1)));
            death
        }
        None => {
            let mut death = Table::new();
            death.push("count", Value::I64(1));
            death.push("reason", Value::text(reason.as_str()));
            death.push("queue", Value::text(queue.as_str()));
            death.push("time", Value::Timestamp(now.as_millis() / 1000));
            death.push("exchange", Value::text(message.exchange.as_str()));
            let keys = keys.iter().map(|key| Value::Text(key.clone())).collect();
            death.push("routing-keys", Value::Array(keys));
            if let Some(expiration) = expiration {
                death.push("original-expiration", Value::text(&expiration));
            }
            death
        }
    };
    deaths.insert(0, death);
    headers.set("x-death", Value::Array(deaths.into_iter().map(Value::Table).collect()));
    for (which, always) in [("first", false), ("last", true)] {
        let fields = [
            ("exchange", message.exchange.as_str()),
            ("queue", queue.as_str()),
            ("reason", reason.as_str()),
        ];
        for (field, value) in fields {
            let key = format!("x-{which}-death-{field}");
            if always || headers.get(&key).is_none() {
                headers.set(&key, Value::text(value));
            }
        }
    }
    if let Some(key) = &to.routing_key {
        buried.routing_key = key.clone();
        headers.remove("CC");
    }
    buried
}

/// Whether a message that died for `reason` would go round for ever if it came to `queue` (again):
/// it has died there, and nobody has rejected it since.
pub(crate) fn is_cycle(message: &Message, queue: &QueueName) -> bool {
    let Some(headers) = &message.properties.headers else { return false };
    let deaths = deaths(headers);
    let Some(place) = deaths.iter().position(|death| is_in(death, queue)) else { return false };
    deaths[..=place]
        .iter()
        .all(|death| death.get("reason").and_then(Value::as_text) != Some("rejected"))
}

/// Its routing key, and those that it names beside.
pub(crate) fn routing_keys(message: &Message) -> Vec<Bytes> {
    let mut keys = vec![Bytes::copy_from_slice(message.routing_key.as_str().as_bytes())];
    let headers = message.properties.headers.as_ref();
    if let Some(Value::Array(more)) = headers.and_then(|headers| headers.get("CC")) {
        keys.extend(more.iter().filter_map(|key| match key {
            Value::Text(key) => Some(key.clone()),
            _ => None,
        }));
    }
    keys
}

fn deaths(headers: &Table) -> Vec<Table> {
    let Some(Value::Array(deaths)) = headers.get("x-death") else { return Vec::new() };
    let tables = deaths.iter().filter_map(|death| match death {
        Value::Table(death) => Some(death.clone()),
        _ => None,
    });
    tables.collect()
}

fn is_in(death: &Table, queue: &QueueName) -> bool {
    death.get("queue").and_then(Value::as_text) == Some(queue.as_str())
}

/// The message as a quorum queue delivers it again: with how often it has come back.
pub(crate) fn counted(message: &Arc<Message>, count: u32) -> Arc<Message> {
    if count == 0 {
        return Arc::clone(message);
    }
    let mut counted = Message::clone(message);
    let headers = counted.properties.headers.get_or_insert_with(Table::new);
    headers.set("x-delivery-count", Value::I64(count.into()));
    Arc::new(counted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Properties;

    fn message() -> Message {
        Message {
            exchange: "orders".into(),
            routing_key: "placed".into(),
            properties: Properties { expiration: Some("10".into()), ..Properties::default() },
            body: Bytes::from_static(b"x"),
            queued_at: Timestamp::from_millis(1000),
        }
    }

    fn dead_letter(key: Option<&str>) -> DeadLetter {
        DeadLetter { exchange: "dead".into(), routing_key: key.map(Into::into) }
    }

    #[test]
    fn each_death_is_counted_by_queue_and_reason() {
        let now = Timestamp::from_millis(5000);
        let first = buried(&message(), &"q".into(), &dead_letter(None), Reason::Expired, now);
        assert_eq!((first.exchange.as_str(), first.routing_key.as_str()), ("dead", "placed"));
        assert_eq!(first.properties.expiration, None);
        let again = buried(&first, &"r".into(), &dead_letter(Some("k")), Reason::Rejected, now);
        let third = buried(&again, &"q".into(), &dead_letter(None), Reason::Expired, now);
        let headers = third.properties.headers.as_ref().expect("headers");
        let deaths = deaths(headers);
        assert_eq!(deaths.len(), 2);
        assert_eq!(deaths[0].get("count"), Some(&Value::I64(2)));
        assert_eq!(deaths[0].get("original-expiration"), Some(&Value::text("10")));
        assert_eq!(deaths[0].get("exchange"), Some(&Value::text("orders")));
        assert_eq!(deaths[1].get("reason"), Some(&Value::text("rejected")));
        assert_eq!(headers.get("x-first-death-queue"), Some(&Value::text("q")));
        assert_eq!(third.routing_key.as_str(), "k");
    }

    #[test]
    fn a_circle_without_a_rejection_ends() {
        let now = Timestamp::from_millis(5000);
        let first = buried(&message(), &"q".into(), &dead_letter(None), Reason::Expired, now);
        assert!(is_cycle(&first, &"q".into()));
        assert!(!is_cycle(&first, &"r".into()));
        let again = buried(&first, &"r".into(), &dead_letter(None), Reason::Rejected, now);
        assert!(!is_cycle(&again, &"q".into()));
        assert!(!is_cycle(&again, &"r".into()));
    }
}
