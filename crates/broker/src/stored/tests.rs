//! What was written is read back as it was.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthouse_base::time::Timestamp;
use posthouse_journal::NewEvent;

use super::{entry, message, read_message};
use crate::config::{Backoff, Subscription};
use crate::ids::{LaneId, QueueId};
use crate::message::{Message, Properties, Table, Value};
use crate::state::{
    Binding, Definition, Destination, Event, ExchangeSpec, Fact, Kind, Permissions, Placed,
    QueueSpec, Reason, Removed, User,
};

fn table() -> Table {
    let inner = Table::from_iter([(Arc::from("deep"), Value::Array(vec![Value::Void]))]);
    let values = [
        Value::Bool(true),
        Value::I8(-1),
        Value::U8(255),
        Value::I16(-300),
        Value::U16(60_000),
        Value::I32(-70_000),
        Value::U32(4_000_000_000),
        Value::I64(i64::MIN),
        Value::F32(1.5),
        Value::F64(-2.25),
        Value::Decimal { scale: 2, value: 314 },
        Value::text("text"),
        Value::Bytes(Bytes::from_static(&[0, 255])),
        Value::Array(vec![Value::I32(1), Value::text("")]),
        Value::Timestamp(u64::MAX),
        Value::Table(inner),
        Value::Void,
    ];
    let fields = values.into_iter().enumerate();
    fields.map(|(number, value)| (Arc::from(format!("k{number}")), value)).collect()
}

fn a_message() -> Message {
    let text = |text: &str| Some(Arc::from(text));
    Message {
        exchange: "orders".into(),
        routing_key: "order.placed".into(),
        properties: Properties {
            content_type: text("application/json"),
            content_encoding: text("gzip"),
            headers: Some(table()),
            delivery_mode: Some(2),
            priority: Some(9),
            correlation_id: text("c"),
            reply_to: text("r"),
            expiration: text("60000"),
            message_id: text("m"),
            timestamp: Some(1_700_000_000),
            kind: text("t"),
            user_id: text("u"),
            app_id: text("a"),
            cluster_id: text("i"),
        },
        body: Bytes::from_static(b"body"),
        queued_at: Timestamp::from_millis(1_700_000_000_123),
    }
}

#[test]
fn messages_are_read_back() {
    let empty = Message {
        exchange: "".into(),
        routing_key: "".into(),
        properties: Properties::default(),
        body: Bytes::new(),
        queued_at: Timestamp::default(),
    };
    for message in [a_message(), empty] {
        let item = message::written(&message, &message::kind());
        let event = NewEvent {
            id: uuid::Uuid::nil(),
            kind: item.kind,
            format: item.format,
            data: item.data,
            metadata: item.metadata,
        };
        assert_eq!(read_message(&event), Ok(message));
        for end in 0..event.metadata.len() {
            let cut = NewEvent { metadata: event.metadata.slice(..end), ..event.clone() };
            assert!(read_message(&cut).is_err(), "cut at {end}");
        }
    }
}

fn definitions() -> Vec<Definition> {
    let binding = |destination| {
        Arc::new(Binding {
            vhost: "/".into(),
            source: "orders".into(),
            destination,
            key: "a.*".into(),
            arguments: table(),
            durable: true,
        })
    };
    let arguments = Table::from_iter([(Arc::from("x-max-length"), Value::I32(5))]);
    let queue = QueueSpec::durable(QueueId::new(7), "/".into(), "q".into(), true, arguments);
    let (user, vhost) = ("joe".into(), "/".into());
    vec![
        Definition::VhostPut("/".into()),
        Definition::VhostDeleted("old".into()),
        Definition::SubscriptionPut(Arc::new(Subscription {
            name: "mails".into(),
            vhost: "/".into(),
            queue: "q".into(),
            service: "mailer".into(),
            path: "/in".into(),
            concurrency: u16::MAX,
            timeout: Duration::from_millis(1500),
            attempts: u32::MAX,
            backoff: Backoff { first: Duration::from_millis(1), most: Duration::from_secs(9) },
        })),
        Definition::SubscriptionDeleted("mails".into()),
        Definition::UserPut(User {
            name: "joe".into(),
            password_hash: "abc".into(),
            tags: vec!["administrator".into()],
            loopback_only: true,
        }),
        Definition::UserDeleted("jack".into()),
        Definition::Permitted { user, vhost, permissions: Some(Permissions::all()) },
        Definition::Permitted { user: "jill".into(), vhost: "/".into(), permissions: None },
        Definition::ExchangeDeclared(Arc::new(ExchangeSpec {
            vhost: "/".into(),
            name: "orders".into(),
            kind: Kind::Topic,
            durable: true,
            auto_delete: true,
            internal: true,
            arguments: table(),
        })),
        Definition::ExchangeDeleted { vhost: "/".into(), exchange: "old".into(), durable: true },
        Definition::QueueDeclared(Arc::new(queue.expect("a queue"))),
        Definition::QueueDeleted { queue: QueueId::new(3), streams: vec![] },
        Definition::Bound(binding(Destination::Queue(QueueId::new(7)))),
        Definition::Unbound(binding(Destination::Exchange("more".into()))),
    ]
}

#[test]
fn facts_are_read_back() {
    let lane = LaneId { queue: QueueId::new(300), priority: 4 };
    let stream = posthouse_journal::StreamName::internal("queue/300/4");
    let placed = |seq| Placed { lane, seq, stream: stream.clone(), message: Arc::new(a_message()) };
    let ranges = vec![(0, 5), (1000, 1001)];
    let mut events: Vec<Event> = definitions().into_iter().map(Event::Defined).collect();
    let mut facts: Vec<Fact> = definitions().into_iter().map(Fact::Defined).collect();
    events.extend([
        Event::At(Timestamp::default()),
        Event::Placed(vec![placed(Some(8)), placed(None), placed(Some(9)), placed(Some(20))]),
        Event::Removed(Removed {
            lane,
            stream: stream.clone(),
            ranges: ranges.clone(),
            bytes: 99,
            waiting_bytes: 5,
        }),
        Event::Died { lane, seqs: vec![1, 5], reason: Reason::MaxLen },
        Event::Counted { lane, seqs: vec![2] },
        Event::Reached { lane, seq: 64 },
    ]);
    facts.extend([
        Fact::Placed { lane, first: 8, sizes: vec![4, 4], expire: true },
        Fact::Placed { lane, first: 20, sizes: vec![4], expire: true },
        Fact::Removed { lane, ranges, bytes: 99 },
        Fact::Died { lane, seqs: vec![1, 5], reason: Reason::MaxLen },
        Fact::Counted { lane, seqs: vec![2] },
        Fact::Reached { lane, seq: 64 },
    ]);
    let keep = entry::keep(&events).expect("it is kept");
    assert_eq!(entry::facts(&keep.entry.data), Ok(facts));
    assert_eq!((keep.work.len(), keep.removals.len()), (2, 2));
    for end in 0..keep.entry.data.len() {
        // Whatever is cut off is an error, or fewer facts, and never a panic.
        let _facts_or_not = entry::facts(&keep.entry.data[..end]);
    }
    assert_eq!(entry::keep(&[Event::Placed(vec![placed(None)])]), None);
}
