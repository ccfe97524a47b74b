//! The arguments of queues: checked once, when a queue is declared, in RabbitMQ's words.

use std::fmt;
use std::time::Duration;

use super::refusal::{Code, Refusal};
use crate::ids::{ExchangeName, QueueName, RoutingKey, VhostName};
use crate::message::{Table, Value};

/// How often a message of a quorum queue may come back, unless the queue says otherwise.
const DELIVERY_LIMIT: u32 = 20;

/// What its arguments make of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Whether it was declared as a quorum queue: everything is persistent, and returns are counted.
    pub quorum: bool,
    /// How long messages may wait.
    pub message_ttl: Option<Duration>,
    /// How long it may be unused.
    pub expires: Option<Duration>,
    /// Messages that may wait.
    pub max_length: Option<u64>,
    /// Bytes of bodies that may wait.
    pub max_length_bytes: Option<u64>,
    /// What happens beyond them.
    pub overflow: Overflow,
    /// Where messages go that die here.
    pub dead_letter: Option<DeadLetter>,
    /// The highest priority.
    pub max_priority: Option<u8>,
    /// Whether only one consumer gets messages at a time.
    pub single_active: bool,
    /// How often a message may come back before it dies.
    pub delivery_limit: Option<u32>,
}

/// What happens when a queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest messages die.
    #[default]
    DropHead,
    /// New ones are not taken on.
    RejectPublish,
    /// New ones are not taken on, and die.
    RejectPublishDlx,
}

/// Where messages go that die.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// To which exchange; it need not be there.
    pub exchange: ExchangeName,
    /// By which key, in place of their own.
    pub routing_key: Option<RoutingKey>,
}

/// How a queue is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) durable: bool,
    pub(crate) exclusive: bool,
    pub(crate) auto_delete: bool,
}

/// Reads the arguments of a queue.
pub(crate) fn check(
    table: &Table,
    manner: Manner,
    queue: &QueueName,
    vhost: &VhostName,
) -> Result<Arguments, Refusal> {
    let mut found = Arguments::default();
    let wrong = |key: &str, why: &str| {
        let detail = format!("invalid arg '{key}' for queue '{queue}' in vhost '{vhost}': {why}");
        Refusal::new(Code::PreconditionFailed, detail)
    };
    for (key, value) in table.iter() {
        read(&mut found, key, value).map_err(|why| wrong(key, &why))?;
    }
    if found.overflow == Overflow::RejectPublishDlx && found.quorum {
        return Err(wrong("x-overflow", "reject-publish-dlx is not supported by quorum queues"));
    }
    if let Some(key) = table.get("x-dead-letter-routing-key").and_then(Value::as_text) {
        let Some(dead_letter) = &mut found.dead_letter else {
            let why = "routing_key_but_no_dlx_defined";
            return Err(wrong("x-dead-letter-routing-key", why));
        };
        dead_letter.routing_key = Some(key.into());
    }
    if found.quorum {
        let Manner { durable, exclusive, auto_delete } = manner;
        let fits = [("durable", durable), ("exclusive", !exclusive), ("auto-delete", !auto_delete)];
        for (what, fits) in fits {
            if !fits {
                let detail = format!(
                    "invalid property '{what}' for queue '{queue}' in vhost '{vhost}': a quorum \
                     queue is durable, not exclusive and not auto-delete"
                );
                return Err(Refusal::new(Code::PreconditionFailed, detail));
            }
        }
        if found.max_priority.is_some() {
            return Err(wrong("x-max-priority", "not supported by quorum queues"));
        }
        if table.get("x-delivery-limit").is_none() {
            found.delivery_limit = Some(DELIVERY_LIMIT);
        }
    } else {
        found.delivery_limit = None;
    }
    Ok(found)
}

fn read(found: &mut Arguments, key: &str, value: &Value) -> Result<(), String> {
    match key {
        "x-message-ttl" => found.message_ttl = Some(Duration::from_millis(number(value, 0)?)),
        "x-expires" => found.expires = Some(Duration::from_millis(number(value, 1)?)),
        "x-max-length" => found.max_length = Some(number(value, 0)?),
        "x-max-length-bytes" => found.max_length_bytes = Some(number(value, 0)?),
        "x-overflow" => {
            found.overflow = match text(value)? {
                "drop-head" => Overflow::DropHead,
                "reject-publish" => Overflow::RejectPublish,
                "reject-publish-dlx" => Overflow::RejectPublishDlx,
                _ => return Err("invalid_overflow".into()),
            };
        }
        "x-dead-letter-exchange" => {
            let exchange = text(value)?.into();
            found.dead_letter = Some(DeadLetter { exchange, routing_key: None });
        }
        "x-dead-letter-routing-key" => {
            text(value)?;
        }
        "x-dead-letter-strategy" => match text(value)? {
            "at-most-once" | "at-least-once" => {}
            _ => return Err("invalid_dead_letter_strategy".into()),
        },
        "x-max-priority" => {
            let most = number(value, 0)?;
            let most = u8::try_from(most).map_err(|_| format!("{{max_value_exceeded,{most}}}"))?;
            found.max_priority = Some(most).filter(|most| *most > 0);
        }
        "x-single-active-consumer" => match value {
            Value::Bool(single) => found.single_active = *single,
            other => return Err(format!("{{unacceptable_type,{}}}", Kind(other))),
        },
        "x-queue-type" => match text(value)? {
            "classic" => {}
            "quorum" => found.quorum = true,
            "stream" => return Err("queues of type 'stream' are not here: see events".into()),
            other => return Err(format!("unsupported queue type '{other}'")),
        },
        "x-queue-mode" => match text(value)? {
            "default" | "lazy" => {}
            _ => return Err("invalid_queue_mode".into()),
        },
        "x-delivery-limit" => {
            let limit = value.as_integer().ok_or_else(|| unacceptable(value))?;
            found.delivery_limit = u32::try_from(limit).ok();
        }
        // Clients and frameworks set many more, of which RabbitMQ takes no notice either.
        _ => {}
    }
    Ok(())
}

fn number(value: &Value, least: u64) -> Result<u64, String> {
    let number = value.as_integer().ok_or_else(|| unacceptable(value))?;
    let found = u64::try_from(number).map_err(|_| format!("{{value_negative,{number}}}"))?;
    if found < least {
        return Err(format!("{{value_zero,{found}}}"));
    }
    // A timer further away than that is none (RabbitMQ says the same).
    if found > u64::from(u32::MAX) && least > 0 {
        return Err(format!("{{value_too_large,{found}}}"));
    }
    Ok(found)
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_text().ok_or_else(|| unacceptable(value))
}

fn unacceptable(value: &Value) -> String {
    format!("{{unacceptable_type,{}}}", Kind(value))
}

/// Whether a queue that is there is what is declared: of the arguments only those that RabbitMQ
/// compares. Numbers are the same whatever their width.
pub(crate) fn difference(declared: &Table, current: &Table) -> Option<(String, String)> {
    const COMPARED: [&str; 13] = [
        "x-expires",
        "x-message-ttl",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-overflow",
        "x-queue-mode",
        "x-single-active-consumer",
        "x-queue-type",
        "x-delivery-limit",
    ];
    COMPARED.iter().find_map(|key| different(key, declared.get(key), current.get(key)))
}

/// What is different about one argument, for people.
pub(crate) fn different(
    key: &str,
    declared: Option<&Value>,
    current: Option<&Value>,
) -> Option<(String, String)> {
    let is_default = |value: &Value| key == "x-queue-type" && value.as_text() == Some("classic");
    let (declared, current) =
        (declared.filter(|value| !is_default(value)), current.filter(|value| !is_default(value)));
    let same = match (declared, current) {
        (None, None) => true,
        (Some(one), Some(other)) => match (one.as_integer(), other.as_integer()) {
            (Some(one), Some(other)) => one == other,
            _ => one == other,
        },
        _ => false,
    };
    (!same).then(|| {
        (key.to_owned(), format!("received {} but current is {}", Told(declared), Told(current)))
    })
}

/// A value as RabbitMQ tells it.
struct Told<'a>(Option<&'a Value>);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(value) = self.0 else { return f.write_str("none") };
        let shown = match value {
            Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Value::Bool(value) => value.to_string(),
            other => match other.as_integer() {
                Some(number) => number.to_string(),
                None => "...".into(),
            },
        };
        write!(f, "the value '{shown}' of type '{}'", Kind(value))
    }
}

/// A value's type as RabbitMQ calls it.
struct Kind<'a>(&'a Value);

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Value::Bool(_) => "bool",
            Value::I8(_) => "byte",
            Value::U8(_) => "unsignedbyte",
            Value::I16(_) => "short",
            Value::U16(_) => "unsignedshort",
            Value::I32(_) => "signedint",
            Value::U32(_) => "unsignedint",
            Value::I64(_) => "long",
            Value::F32(_) => "float",
            Value::F64(_) => "double",
            Value::Decimal { .. } => "decimal",
            Value::Text(_) => "longstr",
            Value::Bytes(_) => "binary",
            Value::Array(_) => "array",
            Value::Timestamp(_) => "timestamp",
            Value::Table(_) => "table",
            Value::Void => "void",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const DURABLE: Manner = Manner { durable: true, exclusive: false, auto_delete: false };

    fn checked(fields: &[(&str, Value)], manner: Manner) -> Result<Arguments, String> {
        let fields = fields.iter().map(|(key, value)| (Arc::from(*key), value.clone()));
        let found = check(&fields.collect(), manner, &"q".into(), &"/".into());
        found.map_err(|refusal| refusal.text())
    }

    #[test]
    fn arguments_are_read() {
        let read = checked(
            &[
                ("x-message-ttl", Value::I32(1000)),
                ("x-expires", Value::U16(500)),
                ("x-max-length", Value::I64(3)),
                ("x-overflow", Value::text("reject-publish")),
                ("x-dead-letter-exchange", Value::text("dead")),
                ("x-dead-letter-routing-key", Value::text("k")),
                ("x-max-priority", Value::U8(10)),
                ("x-queue-type", Value::text("classic")),
                ("x-whatever", Value::Void),
            ],
            DURABLE,
        );
        let dead_letter =
            Some(DeadLetter { exchange: "dead".into(), routing_key: Some("k".into()) });
        let expected = Arguments {
            message_ttl: Some(Duration::from_secs(1)),
            expires: Some(Duration::from_millis(500)),
            max_length: Some(3),
            overflow: Overflow::RejectPublish,
            dead_letter,
            max_priority: Some(10),
            ..Arguments::default()
        };
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn mistakes_are_told_as_rabbitmq_does() {
        let wrong = |key: &str, value: Value, why: &str| {
            let expected = format!(
                "PRECONDITION_FAILED - invalid arg '{key}' for queue 'q' in vhost '/': {why}"
            );
            assert_eq!(checked(&[(key, value)], DURABLE), Err(expected));
        };
        wrong("x-message-ttl", Value::I32(-1), "{value_negative,-1}");
        wrong("x-message-ttl", Value::text("60000"), "{unacceptable_type,longstr}");
        wrong("x-expires", Value::I32(0), "{value_zero,0}");
        wrong("x-max-priority", Value::I32(256), "{max_value_exceeded,256}");
        wrong("x-overflow", Value::text("explode"), "invalid_overflow");
        wrong("x-dead-letter-routing-key", Value::text("k"), "routing_key_but_no_dlx_defined");
        let stream = checked(&[("x-queue-type", Value::text("stream"))], DURABLE);
        assert!(stream.is_err_and(|text| text.starts_with("PRECONDITION_FAILED")));
        let quorum = &[("x-queue-type", Value::text("quorum"))];
        assert_eq!(checked(quorum, DURABLE).map(|found| found.delivery_limit), Ok(Some(20)));
        assert!(checked(quorum, Manner { durable: false, ..DURABLE }).is_err());
        assert!(checked(quorum, Manner { exclusive: true, ..DURABLE }).is_err());
    }

    #[test]
    fn what_differs_is_told() {
        let table = |fields: &[(&str, Value)]| -> Table {
            fields.iter().map(|(key, value)| (Arc::from(*key), value.clone())).collect()
        };
        let ttl = |value| table(&[("x-message-ttl", value)]);
        assert_eq!(difference(&ttl(Value::I32(5)), &ttl(Value::I64(5))), None);
        let told = difference(&ttl(Value::I32(5)), &Table::new()).map(|(_, told)| told);
        let expected = "received the value '5' of type 'signedint' but current is none";
        assert_eq!(told.as_deref(), Some(expected));
        let classic = table(&[("x-queue-type", Value::text("classic"))]);
        assert_eq!(difference(&classic, &Table::new()), None);
    }
}
