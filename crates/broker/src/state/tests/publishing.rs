//! Where messages go, and what their publishers are told.

use super::house::{House, body, message, table};
use super::{bind, consume, declare, declare_with, exchange, get, publish};
use crate::message::Value;
use crate::state::{
    Act, Answer, BindExchange, Consume, DeclareExchange, Note, Output, Permissions, Publish,
};

/// The bodies that a queue has.
fn waiting(house: &mut House, id: crate::ids::ChannelId, queue: &str) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let outputs = house.act(id, get(queue));
        let delivered = outputs.iter().find_map(|output| match output {
            Output::Answer(_, Answer::Got { delivered, .. }) => Some(body(&delivered.message)),
            _ => None,
        });
        match delivered {
            Some(body) => found.push(body),
            None => return found,
        }
    }
}

fn confirm(house: &House, outputs: &[Output]) -> Vec<(u64, bool, bool)> {
    let _of = house;
    let confirms = outputs.iter().filter_map(|output| match output {
        Output::Confirm { tag, multiple, ack, .. } => Some((tag.get(), *multiple, *ack)),
        _ => None,
    });
    confirms.collect()
}

#[test]
fn exchanges_route_by_their_kind() {
    let mut house = House::new();
    let id = house.connect(1);
    for (name, kind) in [("d", "direct"), ("f", "fanout"), ("t", "topic"), ("h", "headers")] {
        house.act(id, Act::DeclareExchange(exchange(name, kind)));
        for queue in ["1", "2"] {
            house.act(id, declare(&format!("{name}{queue}")));
        }
    }
    for (queue, exchange, key) in [
        ("d1", "d", "a"),
        ("d2", "d", "b"),
        ("f1", "f", ""),
        ("f2", "f", "x"),
        ("t1", "t", "a.*"),
        ("t2", "t", "#"),
    ] {
        house.act(id, bind(queue, exchange, key));
        house.act(id, bind(queue, exchange, key));
    }
    let arguments = table(&[("x-match", Value::text("any")), ("k", Value::text("v"))]);
    let (queue, exchange) = ("h1".into(), "h".into());
    house.act(
        id,
        Act::BindQueue(crate::state::BindQueue {
            queue,
            exchange,
            arguments,
            ..Default::default()
        }),
    );
    for exchange in ["d", "f", "t", "h"] {
        let mut publish = message(exchange, "a", exchange);
        publish.properties.headers = Some(table(&[("k", Value::text("v"))]));
        house.act(id, Act::Publish(vec![publish]));
    }
    house.restart();
    let id = house.connect(2);
    for (queue, expected) in
        [("d1", 1), ("d2", 0), ("f1", 1), ("f2", 1), ("t1", 0), ("t2", 1), ("h1", 1), ("h2", 0)]
    {
        assert_eq!(waiting(&mut house, id, queue).len(), expected, "{queue}");
    }
}

#[test]
fn exchanges_lead_on_to_others_and_never_in_circles() {
    let mut house = House::new();
    let id = house.connect(1);
    house.act(id, declare("q"));
    house.act(id, declare("rest"));
    let alternate = table(&[("alternate-exchange", Value::text("b"))]);
    house.act(id, Act::DeclareExchange(exchange("b", "fanout")));
    let a = DeclareExchange { arguments: alternate, ..exchange("a", "direct") };
    house.act(id, Act::DeclareExchange(a));
    house.act(id, Act::DeclareExchange(exchange("c", "fanout")));
    for (source, destination) in [("b", "c"), ("c", "b")] {
        let (source, destination) = (source.into(), destination.into());
        house
            .act(id, Act::BindExchange(BindExchange { source, destination, ..Default::default() }));
    }
    house.act(id, bind("q", "a", "k"));
    house.act(id, bind("rest", "c", ""));
    house.act(id, Act::Publish(vec![message("a", "k", "one"), message("a", "else", "two")]));
    assert_eq!(waiting(&mut house, id, "q"), ["one"]);
    assert_eq!(waiting(&mut house, id, "rest"), ["two"]);
}

#[test]
fn publishers_are_told_what_became_of_it() {
    let mut house = House::new();
    let id = house.connect(1);
    let full = [("x-max-length", Value::I32(1)), ("x-overflow", Value::text("reject-publish"))];
    house.act(id, declare_with("full", &full));
    house.act(id, Act::SelectConfirm { no_wait: false });
    let outputs = house.act(id, publish("full", &["a", "b", "c"]));
    assert_eq!(confirm(&house, &outputs), [(1, false, true), (3, true, false)]);
    let lost = Publish { mandatory: true, ..message("", "nowhere", "x") };
    let outputs = house.act(id, Act::Publish(vec![lost, message("", "nowhere", "y")]));
    assert!(
        matches!(&outputs[..], [Output::Return(_, message), Output::Confirm { .. }]
        if body(message) == "x"),
        "{outputs:?}"
    );
    assert_eq!(confirm(&house, &outputs), [(5, true, true)]);
    let returned = |note: &Note| matches!(note, Note::Unroutable { returned: true, .. });
    assert_eq!(house.notes.iter().filter(|note| returned(note)).count(), 1);
    assert_eq!(house.notes.len(), 2);
}

#[test]
fn what_may_not_be_published_closes_the_channel() {
    let mut house = House::new();
    let id = house.connect(1);
    let internal = DeclareExchange { internal: true, ..exchange("i", "fanout") };
    house.act(id, Act::DeclareExchange(internal));
    let mut told = |publish: Publish| house.refused(id, Act::Publish(vec![publish]));
    assert_eq!(told(message("no", "k", "x")), "NOT_FOUND - no exchange 'no' in vhost '/'");
    let text = "ACCESS_REFUSED - cannot publish to internal exchange 'i' in vhost '/'";
    assert_eq!(told(message("i", "k", "x")), text);
    let mut foreign = message("", "k", "x");
    foreign.properties.user_id = Some("joe".into());
    let text =
        "PRECONDITION_FAILED - user_id property set to 'joe' but authenticated user was 'guest'";
    assert_eq!(told(foreign), text);
    let mut odd = message("", "k", "x");
    odd.properties.expiration = Some("soon".into());
    assert_eq!(told(odd), "PRECONDITION_FAILED - invalid expiration 'soon'");
    let reply = |mut publish: Publish| {
        publish.properties.reply_to = Some("amq.rabbitmq.reply-to".into());
        publish
    };
    let text = "PRECONDITION_FAILED - fast reply consumer does not exist";
    assert_eq!(told(reply(message("", "k", "x"))), text);
    let large = "x".repeat(2 << 20);
    assert!(told(message("", "k", &large)).starts_with("PRECONDITION_FAILED - message size"));
}

#[test]
fn permissions_are_kept() {
    let mut house = House::new();
    let guest = house.connect(1);
    house.act(guest, declare("mine"));
    house.act(guest, declare("yours"));
    let only = |pattern: &str| pattern.into();
    let permissions = Permissions {
        configure: only("^mine"),
        write: only("default$|^mine"),
        read: only("^mine"),
    };
    house.put_user("joe", permissions);
    let joe = house.connect_as(2, "joe").expect("let in");
    house.act(joe, declare("mine2"));
    house.act(joe, publish("yours", &["x"]));
    let told = house.refused(joe, declare("other"));
    let text =
        "ACCESS_REFUSED - configure access to queue 'other' in vhost '/' refused for user 'joe'";
    assert_eq!(told, text);
    let told = house.refused(joe, consume("yours", "c"));
    let text = "ACCESS_REFUSED - read access to queue 'yours' in vhost '/' refused for user 'joe'";
    assert_eq!(told, text);
    let told = house.refused(joe, Act::Publish(vec![message("amq.topic", "k", "x")]));
    let text =
        "ACCESS_REFUSED - write access to exchange 'amq.topic' in vhost '/' refused for user 'joe'";
    assert_eq!(told, text);
    assert!(house.connect_as(3, "jack").is_err());
    house.restart();
    let joe = house.connect_as(4, "joe").expect("let in");
    house.refused(joe, declare("other"));
}

#[test]
fn replies_go_straight_to_who_waits() {
    let mut house = House::new();
    let (client, server) = (house.connect(1), house.connect(2));
    house.act(server, declare("rpc"));
    house.act(server, consume("rpc", "s"));
    let replies =
        Consume { queue: "amq.rabbitmq.reply-to".into(), no_ack: true, ..Consume::default() };
    house.act(client, Act::Consume(replies));
    let mut request = message("", "rpc", "ping");
    request.properties.reply_to = Some("amq.rabbitmq.reply-to".into());
    let outputs = house.act(client, Act::Publish(vec![request]));
    let Some(Output::Deliver(_, _, delivered)) = outputs.first() else { panic!("{outputs:?}") };
    let name = delivered.message.properties.reply_to.clone().expect("a name");
    let outputs = house.act(server, Act::Publish(vec![message("", &name, "pong")]));
    assert_eq!(House::bodies(&outputs), ["pong"]);
    let forged = name.replace(|digit: char| digit.is_ascii_digit(), "0");
    assert_eq!(
        House::bodies(&house.act(server, Act::Publish(vec![message("", &forged, "x")]))),
        Vec::<String>::new()
    );
}

#[test]
fn copies_go_to_more_queues_and_blind_ones_are_not_seen() {
    let mut house = House::new();
    let id = house.connect(1);
    for queue in ["a", "b", "c"] {
        house.act(id, declare(queue));
    }
    let mut publish = message("", "a", "x");
    let list = |key: &str| Value::Array(vec![Value::text(key)]);
    publish.properties.headers = Some(table(&[("CC", list("b")), ("BCC", list("c"))]));
    house.act(id, Act::Publish(vec![publish]));
    let outputs = house.act(id, get("c"));
    let Some(Output::Answer(_, Answer::Got { delivered, .. })) = outputs.first() else { panic!() };
    let headers = delivered.message.properties.headers.as_ref().expect("headers");
    assert!(headers.get("CC").is_some() && headers.get("BCC").is_none());
    assert_eq!(waiting(&mut house, id, "b"), ["x"]);
}
