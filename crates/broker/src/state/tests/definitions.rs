//! What is declared, and goes.

use super::house::{House, message};
use super::{bind, consume, declare, declare_with, exchange, publish};
use crate::message::Value;
use crate::state::{
    Act, Answer, Ask, BindExchange, BindQueue, Command, DeclareExchange, DeclareQueue,
    DeleteExchange, DeleteQueue, Output,
};

fn passive(queue: &str) -> Act {
    Act::DeclareQueue(DeclareQueue { queue: queue.into(), passive: true, ..Default::default() })
}

fn there(house: &mut House, id: crate::ids::ChannelId, queue: &str) -> bool {
    let outputs = house.act(id, passive(queue));
    let there = matches!(outputs[..], [Output::Answer(_, Answer::QueueDeclared { .. })]);
    if !there {
        house.command(Command::OpenChannel(id)).expect("open again");
        house.told.clear();
    }
    there
}

#[test]
fn a_queue_is_declared_the_same_way_again() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, declare("q"));
    house.act(id, publish("q", &["a"]));
    let (queue, messages, consumers) = ("q".into(), 1, 0);
    let declared = Output::Answer(id.number, Answer::QueueDeclared { queue, messages, consumers });
    assert_eq!(house.act(id, declare("q")), std::slice::from_ref(&declared));
    assert_eq!(house.act(id, passive("")), [declared]);
    let wrong = |what: &str, told: &str| {
        format!(
            "PRECONDITION_FAILED - inequivalent arg '{what}' for queue 'q' in vhost '/': {told}"
        )
    };
    let transient = DeclareQueue { queue: "q".into(), ..DeclareQueue::default() };
    let told = house.refused(id, Act::DeclareQueue(transient));
    assert_eq!(told, wrong("durable", "received 'false' but current is 'true'"));
    let told = house.refused(id, declare_with("q", &[("x-max-length", Value::I32(1))]));
    let text = "received the value '1' of type 'signedint' but current is none";
    assert_eq!(told, wrong("x-max-length", text));
    let told = house.refused(id, declare("amq.q"));
    let text = "ACCESS_REFUSED - queue name 'amq.q' contains reserved prefix 'amq.*'";
    assert_eq!(told, text);
}

#[test]
fn an_exclusive_queue_is_of_one_connection_and_goes_with_it() {
    let mut house = House::new();
    let (one, two) = (house.connect(1), house.connect(2));
    let own = DeclareQueue { exclusive: true, durable: true, random: 7, ..DeclareQueue::default() };
    let outputs = house.act(one, Act::DeclareQueue(own));
    let [Output::Answer(_, Answer::QueueDeclared { queue, .. })] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert!(queue.as_str().starts_with("amq.gen-"));
    let told = house.refused(two, consume(queue.as_str(), "c"));
    assert!(told.starts_with("RESOURCE_LOCKED - cannot obtain exclusive access"), "{told}");
    house.act(one, publish(queue.as_str(), &["a"]));
    house.command(Command::Close(one.connection)).expect("closed");
    house.told.clear();
    assert!(!there(&mut house, two, queue.as_str()));
    assert_eq!(house.state.memory, 0);
}

#[test]
fn what_deletes_itself_goes_with_the_last_that_uses_it() {
    let mut house = House::new();
    let id = house.connect(1);
    let own = |name: &str| DeclareExchange { auto_delete: true, ..exchange(name, "fanout") };
    house.act(id, Act::DeclareExchange(own("a")));
    house.act(id, Act::DeclareExchange(own("b")));
    let (source, destination) = ("a".into(), "b".into());
    house.act(id, Act::BindExchange(BindExchange { source, destination, ..Default::default() }));
    let queue = DeclareQueue { queue: "q".into(), auto_delete: true, ..DeclareQueue::default() };
    house.act(id, Act::DeclareQueue(queue));
    house.act(id, bind("q", "b", ""));
    house.act(id, consume("q", "c"));
    house.act(id, Act::Cancel { tag: "c".into(), no_wait: false });
    assert!(!there(&mut house, id, "q"));
    for name in ["a", "b"] {
        let told = house.refused(id, Act::Publish(vec![message(name, "", "x")]));
        assert_eq!(told, format!("NOT_FOUND - no exchange '{name}' in vhost '/'"));
    }
    house.restart();
    let id = house.connect(2);
    house.refused(id, Act::Publish(vec![message("a", "", "x")]));
}

#[test]
fn exchanges_are_checked() {
    let mut house = House::new();
    let id = house.connect(1);
    let mut told = |declare: DeclareExchange| house.refused(id, Act::DeclareExchange(declare));
    let text = "PRECONDITION_FAILED - unknown exchange type 'magic'";
    assert_eq!(told(exchange("x", "magic")), text);
    let text = "ACCESS_REFUSED - exchange name 'amq.x' contains reserved prefix 'amq.*'";
    assert_eq!(told(exchange("amq.x", "direct")), text);
    let text = "ACCESS_REFUSED - operation not permitted on the default exchange";
    assert_eq!(told(exchange("", "direct")), text);
    let text = "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.topic' in vhost '/': \
                received 'fanout' but current is 'topic'";
    assert_eq!(told(exchange("amq.topic", "fanout")), text);
    let missing = DeclareExchange { passive: true, ..exchange("x", "") };
    assert_eq!(told(missing), "NOT_FOUND - no exchange 'x' in vhost '/'");
    house.act(id, Act::DeclareExchange(exchange("x", "direct")));
    house.act(id, declare("q"));
    house.act(id, bind("q", "x", "k"));
    let unused =
        DeleteExchange { exchange: "x".into(), if_unused: true, ..DeleteExchange::default() };
    let told = house.refused(id, Act::DeleteExchange(unused));
    assert_eq!(told, "PRECONDITION_FAILED - exchange 'x' in vhost '/' in use");
    let (queue, exchange, routing_key) = ("q".into(), "x".into(), "k".into());
    let unbind = BindQueue { queue, exchange, routing_key, ..BindQueue::default() };
    house.act(id, Act::UnbindQueue(unbind.clone()));
    assert_eq!(
        house.act(id, Act::UnbindQueue(unbind)),
        [Output::Answer(id.number, Answer::QueueUnbound)]
    );
    let gone = DeleteExchange { exchange: "x".into(), ..DeleteExchange::default() };
    house.act(id, Act::DeleteExchange(gone.clone()));
    let outputs = house.act(id, Act::DeleteExchange(gone));
    assert_eq!(outputs, [Output::Answer(id.number, Answer::ExchangeDeleted)]);
}

#[test]
fn a_queue_is_deleted_only_as_was_said() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, declare("q"));
    house.act(id, publish("q", &["a", "b"]));
    let delete = |if_unused, if_empty| {
        Act::DeleteQueue(DeleteQueue { queue: "q".into(), if_unused, if_empty, no_wait: false })
    };
    let told = house.refused(id, delete(false, true));
    assert_eq!(told, "PRECONDITION_FAILED - queue 'q' in vhost '/' is not empty");
    let outputs = house.act(id, Act::PurgeQueue { queue: "q".into(), no_wait: false });
    assert_eq!(outputs, [Output::Answer(id.number, Answer::Purged { messages: 2 })]);
    assert_eq!(house.disk.count(), 0);
    house.act(id, consume("q", "c"));
    let told = house.refused(id, delete(true, false));
    assert_eq!(told, "PRECONDITION_FAILED - queue 'q' in vhost '/' in use");
    house.act(id, publish("q", &["a"]));
    let outputs = house.act(id, delete(false, false));
    assert!(outputs.contains(&Output::Answer(id.number, Answer::QueueDeleted { messages: 1 })));
    let outputs = house.act(id, delete(false, false));
    assert_eq!(outputs, [Output::Answer(id.number, Answer::QueueDeleted { messages: 0 })]);
    house.act(id, declare("q"));
    house.act(id, publish("q", &["new"]));
    house.restart();
    let id = house.connect(2);
    assert_eq!(House::bodies(&house.act(id, consume("q", "c"))), ["new"]);
}

#[test]
fn a_virtual_host_goes_with_everything_in_it() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, declare("q"));
    house.act(id, bind("q", "amq.topic", "#"));
    house.act(id, publish("q", &["a"]));
    house.ask(Ask::DeleteVhost("/".into())).expect("it goes");
    assert!(house.told.iter().any(|(_, output)| matches!(output, Output::CloseConnection(_))));
    assert_eq!((house.disk.count(), house.state.bindings), (0, 0));
    house.restart();
    assert!(house.connect_as(2, "guest").is_err());
}

#[test]
fn a_checkpoint_is_the_state() {
    use posthouse_journal::driver::Rules as _;
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, Act::DeclareExchange(exchange("x", "topic")));
    house.act(id, declare_with("q", &[("x-message-ttl", Value::I32(100_000))]));
    house.act(id, declare("r"));
    house.act(id, bind("q", "x", "a.#"));
    house.act(id, bind("r", "amq.fanout", ""));
    house.act(id, Act::Publish((0..20).map(|n| message("x", "a", &n.to_string())).collect()));
    house.act(id, consume("q", "c"));
    house.act(id, super::ack(7, false));
    let before = house.state.image();
    let (format, data) = house.state.snapshot()();
    house.disk.checkpoint = Some((house.disk.entries.len(), format, data));
    house.act(id, super::ack(8, false));
    let after = house.state.image();
    assert_ne!(before, after);
    house.restart();
    assert_eq!(house.state.image(), after);
    house.disk.checkpoint = None;
    house.restart();
    assert_eq!(house.state.image(), after);
}
