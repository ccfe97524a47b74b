//! Who gets what, and what becomes of it.

use std::time::Duration;

use super::house::{House, LIMITS, body, channel, connection, message, table};
use super::{ack, consume, declare, declare_with, get, nack, prefetch, publish, transient};
use crate::message::Value;
use crate::state::{Act, Answer, Command, Consume, DeleteQueue, Limits, Output, Qos};

fn got(outputs: &[Output]) -> Option<(String, bool, u32)> {
    outputs.iter().find_map(|output| match output {
        Output::Answer(_, Answer::Got { delivered, remaining }) => {
            Some((body(&delivered.message), delivered.redelivered, *remaining))
        }
        _ => None,
    })
}

#[test]
fn messages_are_delivered_in_order_and_gone_when_acknowledged() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, declare("q"));
    house.act(id, publish("q", &["a", "b"]));
    let outputs = house.act(id, consume("q", "c"));
    assert!(matches!(outputs[0], Output::Answer(_, Answer::Consuming(_))), "first: {outputs:?}");
    assert_eq!(House::delivered(&outputs), [("a".into(), 1, false), ("b".into(), 2, false)]);
    let outputs = house.act(id, publish("q", &["c", "d"]));
    assert_eq!(House::bodies(&outputs), ["c", "d"]);
    assert_eq!(house.disk.count(), 4);
    house.act(id, ack(2, false));
    house.act(id, ack(3, true));
    assert_eq!(house.disk.count(), 1);
    house.restart();
    let id = house.connect(2);
    assert_eq!(House::delivered(&house.act(id, consume("q", "c"))), [("d".into(), 1, true)]);
}

#[test]
fn what_is_not_acknowledged_comes_back_where_it_was() {
    let mut house = House::new();
    let (one, other) = (house.connect(1), house.connect(2));
    house.act(one, declare("q"));
    house.act(
        one,
        Act::Publish(vec![
            message("", "q", "a"),
            transient("q", "b"),
            message("", "q", "c"),
            transient("q", "d"),
        ]),
    );
    house.act(one, prefetch(2));
    assert_eq!(House::bodies(&house.act(one, consume("q", "c"))), ["a", "b"]);
    house.command(Command::Close(one.connection)).expect("closed");
    house.told.clear();
    let outputs = house.act(other, consume("q", "c"));
    let expected = [("a", 1, true), ("b", 2, true), ("c", 3, false), ("d", 4, false)];
    assert_eq!(
        House::delivered(&outputs),
        expected.map(|(body, tag, again)| (body.into(), tag, again))
    );
    house.act(other, nack(3, true));
    house.act(other, Act::Recover { requeue: true, no_wait: false });
    let memory = house.state.memory;
    house.act(other, ack(0, true));
    assert!(house.state.memory < memory);
    assert_eq!((house.state.memory, house.disk.count()), (0, 0));
}

#[test]
fn a_prefetch_bounds_what_is_unacknowledged() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, declare("q"));
    house.act(id, publish("q", &["a", "b", "c", "d", "e", "f"]));
    house.act(id, prefetch(2));
    assert_eq!(House::bodies(&house.act(id, consume("q", "one"))), ["a", "b"]);
    assert_eq!(House::bodies(&house.act(id, consume("q", "two"))), ["c", "d"]);
    assert_eq!(House::bodies(&house.act(id, ack(1, false))), ["e"]);
    house.act(id, Act::Qos(Qos { prefetch: 3, global: true }));
    assert_eq!(House::bodies(&house.act(id, ack(2, false))), Vec::<String>::new());
    assert_eq!(House::bodies(&house.act(id, ack(3, false))), ["f"]);
    let told = house.refused(id, ack(77, false));
    assert_eq!(told, "PRECONDITION_FAILED - unknown delivery tag 77");
}

#[test]
fn what_is_done_on_delivery_is_gone_from_the_disk() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, declare("q"));
    let no_ack = Consume { queue: "q".into(), no_ack: true, ..Consume::default() };
    house.act(id, Act::Consume(no_ack));
    assert_eq!(House::bodies(&house.act(id, publish("q", &["a", "b"]))), ["a", "b"]);
    assert_eq!(house.disk.count(), 0);
    let told = house.refused(id, ack(1, false));
    assert_eq!(told, "PRECONDITION_FAILED - unknown delivery tag 1");
}

#[test]
fn one_is_got_at_a_time() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, declare("q"));
    assert_eq!(house.act(id, get("q")), [Output::Answer(id.number, Answer::Empty)]);
    house.act(id, publish("q", &["a", "b"]));
    assert_eq!(got(&house.act(id, get("q"))), Some(("a".into(), false, 1)));
    assert_eq!(got(&house.act(id, get(""))), Some(("b".into(), false, 0)));
    let told = house.refused(id, get("nowhere"));
    assert_eq!(told, "NOT_FOUND - no queue 'nowhere' in vhost '/'");
}

#[test]
fn a_long_queue_is_read_as_it_is_needed() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, declare("q"));
    let bodies: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    house.act(id, publish("q", &bodies));
    assert!(house.state.windows_bytes < 5 * 200, "{}", house.state.windows_bytes);
    house.restart();
    let id = house.connect(2);
    house.act(id, prefetch(7));
    let mut seen = House::delivered(&house.act(id, consume("q", "c")));
    while seen.len() < 100 {
        let (_, tag, _) = seen[seen.len() - 1];
        let more = House::delivered(&house.act(id, ack(tag, true)));
        assert!(!more.is_empty(), "it stops at {}", seen.len());
        seen.extend(more);
    }
    assert_eq!(seen.iter().map(|(body, ..)| body.as_str()).collect::<Vec<_>>(), bodies);
    assert!(seen.iter().all(|(.., again)| !again), "none was delivered before the restart");
    house.act(id, ack(0, true));
    assert_eq!((house.disk.count(), house.state.windows_bytes), (0, 0));
}

#[test]
fn a_connection_that_does_not_read_gets_no_more() {
    let mut house = House::with(Limits { outgoing: 3, ..LIMITS });
    let id = house.connect(1);
    house.act(id, declare("q"));
    house.act(id, publish("q", &["a", "b", "c", "d", "e"]));
    assert_eq!(House::bodies(&house.act(id, consume("q", "c"))), ["a", "b", "c"]);
    let written = Command::Written { connection: id.connection, deliveries: 2, bytes: 0 };
    house.command(written).expect("it is noted");
    let outputs: Vec<Output> = house.told.drain(..).map(|(_, output)| output).collect();
    assert_eq!(House::bodies(&outputs), ["d", "e"]);
}

#[test]
fn consumers_have_turns_and_priorities() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, declare("q"));
    house.act(id, prefetch(2));
    for (tag, priority) in [("low", -1), ("a", 0), ("b", 0), ("high", 5)] {
        let arguments = table(&[("x-priority", Value::I32(priority))]);
        let (queue, tag) = ("q".into(), tag.into());
        house.act(id, Act::Consume(Consume { queue, tag, arguments, ..Consume::default() }));
    }
    let outputs = house.act(id, publish("q", &["1", "2", "3", "4", "5", "6", "7", "8", "9"]));
    let tags: Vec<&str> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Deliver(_, tag, _) => Some(tag.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(tags, ["high", "high", "a", "b", "a", "b", "low", "low"]);
}

#[test]
fn a_single_active_consumer_is_followed_by_the_next() {
    let mut house = House::new();
    let (one, two) = (house.connect(1), house.connect(2));
    house.act(one, declare_with("q", &[("x-single-active-consumer", Value::Bool(true))]));
    house.act(one, consume("q", "one"));
    house.act(two, consume("q", "two"));
    assert_eq!(House::delivered(&house.act(one, publish("q", &["a", "b"]))).len(), 2);
    house.act(one, ack(1, false));
    let (tag, no_wait) = ("one".into(), false);
    house.act(one, Act::Cancel { tag, no_wait });
    let outputs = house.act(one, publish("q", &["c"]));
    assert!(matches!(&outputs[..], [Output::Deliver(_, tag, _)] if tag.as_str() == "two"));
    house.command(Command::Close(one.connection)).expect("closed");
    let again: Vec<Output> = house.told.drain(..).map(|(_, output)| output).collect();
    assert_eq!(House::delivered(&again), [("b".into(), 2, true)]);
}

#[test]
fn an_exclusive_consumer_is_alone() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, declare("q"));
    let consume = |exclusive, tag: &str| {
        let (queue, tag) = ("q".into(), tag.into());
        Act::Consume(Consume { queue, tag, exclusive, ..Consume::default() })
    };
    house.act(id, consume(true, "a"));
    let told = house.refused(id, consume(false, "b"));
    assert_eq!(told, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use");
    house.act(id, consume(false, "b"));
    let told = house.refused(id, consume(true, "c"));
    assert_eq!(told, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use");
    house.act(id, consume(false, "b"));
    let told = house.refused(id, consume(false, "b"));
    assert_eq!(told, "NOT_ALLOWED - attempt to reuse consumer tag 'b'");
}

#[test]
fn a_consumer_is_told_that_its_queue_is_gone() {
    let mut house = House::new();
    let (one, two) = (house.connect(1), house.connect(2));
    house.act(one, declare("q"));
    house.act(one, publish("q", &["a"]));
    house.act(two, consume("q", "c"));
    let delete = DeleteQueue { queue: "q".into(), ..DeleteQueue::default() };
    let outputs = house.act(one, Act::DeleteQueue(delete));
    assert!(outputs.contains(&Output::Cancelled(two.number, "c".into())), "{outputs:?}");
    house.act(two, ack(1, false));
    assert_eq!(house.disk.count(), 0);
}

#[test]
fn a_channel_that_flows_not_gets_nothing() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, declare("q"));
    house.act(id, consume("q", "c"));
    house.act(id, Act::Flow { active: false });
    assert_eq!(House::bodies(&house.act(id, publish("q", &["a"]))), Vec::<String>::new());
    assert_eq!(House::bodies(&house.act(id, Act::Flow { active: true })), ["a"]);
}

#[test]
fn higher_priorities_go_first() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, declare_with("q", &[("x-max-priority", Value::I32(5))]));
    let publishes = [("a", 0), ("b", 3), ("c", 9), ("d", 3)].map(|(body, priority)| {
        let mut publish = message("", "q", body);
        publish.properties.priority = Some(priority);
        publish
    });
    house.act(id, Act::Publish(publishes.into()));
    house.restart();
    let id = house.connect(2);
    assert_eq!(House::bodies(&house.act(id, consume("q", "c"))), ["c", "b", "d", "a"]);
}

#[test]
fn publishers_are_blocked_while_memory_is_full() {
    let mut house = House::with(Limits { memory: 1000, ..LIMITS });
    let id = house.connect(1);
    house.act(id, declare("q"));
    let many: Vec<_> = (0..9).map(|_| transient("q", "x")).collect();
    let outputs = house.act(id, Act::Publish(many));
    assert!(matches!(outputs[..], [Output::Blocked(_)]), "{outputs:?}");
    house.connect(2);
    house.act(id, get("q"));
    let outputs = house.act(id, get("q"));
    assert!(!outputs.contains(&Output::Unblocked));
    let outputs = house.act(id, get("q"));
    assert_eq!(outputs.iter().filter(|output| **output == Output::Unblocked).count(), 2);
    let alarm = Some("no room".into());
    house.command(Command::Alarm(alarm)).expect("noted");
    assert!(house.told.iter().any(|(to, _)| *to == connection(2)));
}

#[test]
fn a_transaction_is_done_whole_or_not_at_all() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, declare("q"));
    house.act(id, publish("q", &["a", "b"]));
    house.act(id, prefetch(1));
    house.act(id, Act::SelectTx);
    house.act(id, consume("q", "c"));
    house.act(id, publish("q", &["c"]));
    house.act(id, ack(1, false));
    assert_eq!(house.disk.count(), 2);
    let told = house.refused(id, ack(1, false));
    assert_eq!(told, "PRECONDITION_FAILED - unknown delivery tag 1");
    house.act(id, Act::SelectTx);
    house.act(id, prefetch(1));
    house.act(id, consume("q", "c"));
    house.act(id, publish("q", &["c"]));
    house.act(id, Act::RollbackTx);
    house.act(id, publish("q", &["d"]));
    house.act(id, ack(1, false));
    let outputs = house.act(id, Act::CommitTx);
    assert!(outputs.contains(&Output::Answer(id.number, Answer::TxCommitted)));
    assert_eq!(House::bodies(&outputs), ["b"]);
    assert_eq!(house.disk.count(), 2);
    let told = house.refused(id, Act::SelectConfirm { no_wait: false });
    assert_eq!(told, "PRECONDITION_FAILED - cannot switch from tx to confirm mode");
    let told = house.refused(id, Act::CommitTx);
    assert_eq!(told, "PRECONDITION_FAILED - channel is not transactional");
}

#[test]
fn what_was_asked_on_a_closed_channel_is_passed_over() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, get("nowhere"));
    assert_eq!(house.act(id, declare("q")), []);
    assert_eq!(house.act(channel(9, 9), declare("q")), []);
    house.pass(Duration::from_secs(1));
}
