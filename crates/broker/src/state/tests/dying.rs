//! Messages that expire, are rejected, or are too many, and where they go.

use std::time::Duration;

use super::house::{House, body, message};
use super::{consume, declare, declare_with, exchange, get, nack, prefetch, publish, transient};
use crate::ids::ChannelId;
use crate::message::Value;
use crate::state::{Act, Answer, BindQueue, Command, Output};

/// The body, and from `x-death` the count and reason, of the next message of a queue.
fn dead(house: &mut House, id: ChannelId, queue: &str) -> Option<(String, i64, String)> {
    let outputs = house.act(id, get(queue));
    let Some(Output::Answer(_, Answer::Got { delivered, .. })) = outputs.first() else {
        return None;
    };
    let headers = delivered.message.properties.headers.as_ref()?;
    let Some(Value::Array(deaths)) = headers.get("x-death") else { return None };
    let Some(Value::Table(death)) = deaths.first() else { return None };
    let count = death.get("count").and_then(Value::as_integer)?;
    let reason = death.get("reason").and_then(Value::as_text)?.to_owned();
    Some((body(&delivered.message), count, reason))
}

fn with_graveyard(arguments: &[(&str, Value)]) -> (House, ChannelId) {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, Act::DeclareExchange(exchange("dlx", "fanout")));
    house.act(id, declare("grave"));
    let (queue, exchange) = ("grave".into(), "dlx".into());
    house.act(id, Act::BindQueue(BindQueue { queue, exchange, ..BindQueue::default() }));
    let to = [("x-dead-letter-exchange", Value::text("dlx"))];
    let arguments: Vec<_> = arguments.iter().cloned().chain(to).collect();
    house.act(id, declare_with("q", &arguments));
    (house, id)
}

#[test]
fn rejected_messages_are_sent_on() {
    let (mut house, id) = with_graveyard(&[]);
    house.act(id, Act::Publish(vec![message("", "q", "a"), transient("q", "b")]));
    house.act(id, consume("q", "c"));
    house.act(id, nack(1, false));
    house.act(id, nack(2, false));
    assert_eq!(dead(&mut house, id, "grave"), Some(("a".into(), 1, "rejected".into())));
    assert_eq!(dead(&mut house, id, "grave"), Some(("b".into(), 1, "rejected".into())));
    assert_eq!((house.disk.count(), house.state.memory), (0, 0));
}

#[test]
fn a_rejection_survives_though_it_is_not_sent_on_yet() {
    let (mut house, id) = with_graveyard(&[]);
    house.act(id, publish("q", &["a", "b", "c"]));
    house.act(id, consume("q", "c"));
    house.loads_at_once = false;
    house.act(id, nack(1, false));
    house.act(id, nack(3, false));
    house.restart();
    house.loads_at_once = true;
    let id = house.connect(2);
    house.pass(Duration::from_secs(1));
    house.bring();
    assert_eq!(dead(&mut house, id, "grave"), Some(("a".into(), 1, "rejected".into())));
    assert_eq!(dead(&mut house, id, "grave"), Some(("c".into(), 1, "rejected".into())));
    assert_eq!(House::delivered(&house.act(id, consume("q", "c"))), [("b".into(), 3, true)]);
}

#[test]
fn what_has_died_is_buried_whatever_else_is_fetched_meanwhile() {
    let (mut house, id) = with_graveyard(&[]);
    house.act(id, publish("q", &["a", "b", "c"]));
    house.act(id, consume("q", "c"));
    house.loads_at_once = false;
    house.act(id, nack(1, true));
    house.act(id, nack(2, false));
    // What waits is fetched across what has died.
    assert_eq!(house.loads.len(), 2);
    house.bring();
    house.act(id, nack(3, false));
    house.bring();
    for body in ["b", "c"] {
        assert_eq!(dead(&mut house, id, "grave"), Some((body.into(), 1, "rejected".into())));
    }
}

#[test]
fn what_had_died_before_a_restart_does_not_count_as_waiting_after_it() {
    let (mut house, id) = with_graveyard(&[]);
    house.act(id, publish("q", &["aaa", "b"]));
    house.act(id, consume("q", "c"));
    house.loads_at_once = false;
    house.act(id, nack(1, false));
    house.restart();
    house.loads_at_once = true;
    house.connect(2);
    house.pass(Duration::from_secs(1));
    house.bring();
    let bytes = |house: &House| -> Vec<u64> {
        house.state.queues.values().map(|queue| queue.bytes()).collect()
    };
    let (mut found, expected) = (bytes(&house), [1, 3]);
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn messages_expire_at_the_head() {
    let (mut house, id) = with_graveyard(&[("x-message-ttl", Value::I32(1000))]);
    let short = |mut publish: crate::state::Publish, ms: &str| {
        publish.properties.expiration = Some(ms.into());
        publish
    };
    house.act(
        id,
        Act::Publish(vec![
            short(message("", "q", "a"), "100"),
            message("", "q", "b"),
            short(message("", "q", "c"), "100"),
        ]),
    );
    house.pass(Duration::from_millis(100));
    assert_eq!(dead(&mut house, id, "grave"), Some(("a".into(), 1, "expired".into())));
    assert_eq!(dead(&mut house, id, "grave"), None, "what is behind waits for its turn");
    house.restart();
    house.pass(Duration::from_millis(900));
    house.bring();
    let id = house.connect(2);
    assert_eq!(dead(&mut house, id, "grave"), Some(("b".into(), 1, "expired".into())));
    assert_eq!(dead(&mut house, id, "grave"), Some(("c".into(), 1, "expired".into())));
    assert_eq!(house.state.next_deadline(), None);
}

#[test]
fn an_expired_message_is_not_delivered() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, declare_with("q", &[("x-message-ttl", Value::I32(0))]));
    house.act(id, publish("q", &["a"]));
    assert_eq!(house.act(id, get("q")), [Output::Answer(id.number, Answer::Empty)]);
    assert_eq!(house.disk.count(), 0);
}

#[test]
fn a_full_queue_drops_its_head() {
    let (mut house, id) = with_graveyard(&[("x-max-length", Value::I32(2))]);
    house.act(id, publish("q", &["a", "b", "c"]));
    house.act(id, Act::Publish(vec![transient("q", "d")]));
    assert_eq!(dead(&mut house, id, "grave"), Some(("a".into(), 1, "maxlen".into())));
    assert_eq!(dead(&mut house, id, "grave"), Some(("b".into(), 1, "maxlen".into())));
    assert_eq!(House::bodies(&house.act(id, consume("q", "c"))), ["c", "d"]);
    house.act(id, declare_with("bytes", &[("x-max-length-bytes", Value::I32(3))]));
    house.act(id, publish("bytes", &["aa", "b", "cc"]));
    assert_eq!(House::bodies(&house.act(id, consume("bytes", "d"))), ["b", "cc"]);
}

#[test]
fn a_full_queue_that_rejects_lets_the_message_die() {
    let arguments =
        [("x-max-length", Value::I32(1)), ("x-overflow", Value::text("reject-publish-dlx"))];
    let (mut house, id) = with_graveyard(&arguments);
    house.act(id, publish("q", &["a", "b"]));
    assert_eq!(dead(&mut house, id, "grave"), Some(("b".into(), 1, "maxlen".into())));
}

#[test]
fn a_circle_of_deaths_ends() {
    let mut house = House::new();
    let id = house.connect(1);
    let arguments =
        [("x-message-ttl", Value::I32(10)), ("x-dead-letter-exchange", Value::text(""))];
    house.act(id, declare_with("q", &arguments));
    house.act(id, publish("q", &["a"]));
    house.pass(Duration::from_millis(10));
    assert_eq!(house.disk.count(), 0);
}

#[test]
fn what_comes_back_too_often_dies_in_a_quorum_queue() {
    let arguments = [("x-queue-type", Value::text("quorum")), ("x-delivery-limit", Value::I32(2))];
    let (mut house, id) = with_graveyard(&arguments);
    house.act(id, Act::Publish(vec![transient("q", "a")]));
    assert_eq!(house.disk.count(), 1, "everything is kept");
    let mut counts = Vec::new();
    let mut outputs = house.act(id, consume("q", "c"));
    for tag in 1..=3 {
        let Some(Output::Deliver(_, _, delivered)) = outputs.last() else { panic!("{outputs:?}") };
        let headers = delivered.message.properties.headers.as_ref();
        let count = headers.and_then(|headers| headers.get("x-delivery-count"));
        counts.push(count.and_then(Value::as_integer));
        if tag == 2 {
            house.restart();
            let id = house.connect(2);
            house.act(id, prefetch(1));
            outputs = house.act(id, consume("q", "c"));
            house.command(Command::Close(id.connection)).expect("closed");
            house.told.clear();
            continue;
        }
        outputs = house.act(id, nack(tag, true));
    }
    assert_eq!(counts, [None, Some(1), Some(1)]);
    let id = house.connect(3);
    let outputs = house.act(id, consume("q", "c"));
    assert_eq!(House::bodies(&outputs), ["a"]);
    house.act(id, nack(1, true));
    assert_eq!(dead(&mut house, id, "grave"), Some(("a".into(), 1, "delivery_limit".into())));
}

#[test]
fn an_unused_queue_goes_in_time() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, declare_with("q", &[("x-expires", Value::I32(1000))]));
    house.act(id, publish("q", &["a"]));
    house.pass(Duration::from_millis(900));
    house.act(id, get("q"));
    house.pass(Duration::from_millis(900));
    house.act(id, consume("q", "c"));
    house.pass(Duration::from_secs(10));
    house.act(id, Act::Cancel { tag: "c".into(), no_wait: false });
    house.restart();
    house.pass(Duration::from_millis(999));
    let id = house.connect(2);
    house.pass(Duration::from_millis(1));
    let told = house.refused(id, get("q"));
    assert_eq!(told, "NOT_FOUND - no queue 'q' in vhost '/'");
}
