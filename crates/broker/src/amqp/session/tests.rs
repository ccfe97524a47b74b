//! What a client's frames come to, and what it is told, without a socket.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use posthouse_base::time::Timestamp;

use super::{Agreed, Phase, Request, Session};
use crate::amqp::content::Bounds;
use crate::amqp::output::Output;
use crate::amqp::wire::methods::{
    BasicAck, BasicGet, BasicNack, BasicPublish, BasicQos, ChannelClose, ChannelCloseOk,
    ChannelOpen, ConfirmSelect, ConnectionClose, ConnectionCloseOk, ConnectionUpdateSecret,
    TxSelect,
};
use crate::amqp::wire::{Frame, Kind, Method, Splitter, write_header, write_method};
use crate::ids::{ChannelNumber, DeliveryTag};
use crate::message::{Message, Properties};
use crate::state::{self, Act, Answer, Code, Delivered, Refusal};

const FRAME_MAX: u32 = 4096;
const BODY: usize = 10_000;

/// A session with a client whose frames are written by hand.
struct Client {
    session: Session,
}

impl Client {
    fn new() -> Self {
        let bounds = Bounds { body: BODY, header: 1000 };
        let agreed =
            Agreed { frame_max: FRAME_MAX, channel_max: 7, bounds, understands_blocked: true };
        Self { session: Session::new("test".into(), agreed, Output::default()) }
    }

    /// With channel 1 open, and nothing left to be looked at.
    fn with_channel() -> Self {
        let mut client = Self::new();
        client.send(1, ChannelOpen::default());
        client.tell(1, Answer::ChannelOpened);
        assert_eq!(client.session.requests(), [Request::Open(number(1))]);
        assert_eq!(client.told(), ["1 ChannelOpenOk"]);
        client
    }

    fn send<'a>(&mut self, channel: u16, method: impl Into<Method<'a>>) {
        let mut out = BytesMut::new();
        write_method(&mut out, channel, &method.into());
        self.frames(out);
    }

    fn send_header(&mut self, channel: u16, size: u64) {
        let mut out = BytesMut::new();
        let properties = Properties { message_id: Some("m".into()), ..Properties::default() };
        write_header(&mut out, channel, size, &properties);
        self.frames(out);
    }

    fn send_body(&mut self, channel: u16, piece: &[u8]) {
        let payload = Bytes::copy_from_slice(piece);
        self.session.frame(Frame { kind: Kind::Body, channel, payload });
    }

    fn frames(&mut self, mut bytes: BytesMut) {
        let splitter = Splitter::new(u32::MAX);
        while let Some(frame) = splitter.next(&mut bytes).expect("frames") {
            self.session.frame(frame);
        }
    }

    fn tell(&mut self, channel: u16, answer: Answer) {
        self.session.tell(state::Output::Answer(number(channel), answer));
    }

    fn confirm(&mut self, tag: u64, multiple: bool, ack: bool) {
        let (channel, tag) = (number(1), DeliveryTag::new(tag));
        self.session.tell(state::Output::Confirm { channel, tag, multiple, ack });
    }

    /// The frames that the client would read now, in short.
    fn told(&mut self) -> Vec<String> {
        self.session.write_confirms();
        let mut bytes = BytesMut::from(&self.session.output.take_all()[..]);
        let (splitter, mut told) = (Splitter::new(FRAME_MAX), Vec::new());
        while let Some(frame) = splitter.next(&mut bytes).expect("frames") {
            let channel = frame.channel;
            told.push(match frame.kind {
                Kind::Method => {
                    let method = Method::read(&frame.payload).expect("a method");
                    format!("{channel} {}", shown(&method))
                }
                Kind::Header => continue,
                kind => format!("{channel} {kind:?} {}", frame.payload.len()),
            });
        }
        told
    }

    /// What is asked of the rules now.
    fn acts(&mut self) -> Vec<Act> {
        let act = |request| match request {
            Request::Act(_, act) => act,
            other => panic!("not an act: {other:?}"),
        };
        self.session.requests().into_iter().map(act).collect()
    }
}

fn shown(method: &Method<'_>) -> String {
    match method {
        Method::ConnectionClose(close) => format!("ConnectionClose {}", close.reply_code),
        Method::ChannelClose(close) => format!(
            "ChannelClose {} {}.{}: {}",
            close.reply_code, close.class_id, close.method_id, close.reply_text
        ),
        Method::BasicAck(BasicAck { delivery_tag, multiple }) => {
            format!("ack {delivery_tag}{}", if *multiple { "*" } else { "" })
        }
        Method::BasicNack(BasicNack { delivery_tag, .. }) => format!("nack {delivery_tag}"),
        method => method.name().to_owned(),
    }
}

const fn number(channel: u16) -> ChannelNumber {
    ChannelNumber::new(channel)
}

fn delivered(body: usize) -> Delivered {
    let message = Message {
        exchange: "".into(),
        routing_key: "k".into(),
        properties: Properties::default(),
        body: vec![7; body].into(),
        queued_at: Timestamp::default(),
    };
    Delivered { tag: DeliveryTag::new(1), redelivered: false, message: Arc::new(message) }
}

/// What a mistake closes the connection with.
fn check_hard(code: Code, mistake: impl FnOnce(&mut Client)) {
    let mut client = Client::with_channel();
    mistake(&mut client);
    assert_eq!(client.told(), [format!("0 ConnectionClose {}", code.number())]);
    assert_eq!(client.session.requests().last(), Some(&Request::Close));
    client.send(1, ConfirmSelect::default());
    assert_eq!(client.session.requests(), [], "nothing counts after a mistake");
    client.send(0, ConnectionCloseOk {});
    assert!(client.session.is_over());
}

#[test]
fn publishes_of_one_read_are_handed_in_together() {
    let mut client = Client::with_channel();
    for body in [&b"one"[..], b"", b"three"] {
        client.send(1, BasicPublish { routing_key: "k", ..BasicPublish::default() });
        client.send_header(1, body.len() as u64);
        for piece in body.chunks(2) {
            client.send_body(1, piece);
        }
    }
    client.send(1, BasicAck { delivery_tag: 1, multiple: false });
    let acts = client.acts();
    let [Act::Publish(publishes), Act::Ack { .. }] = &acts[..] else { panic!("{acts:?}") };
    let bodies: Vec<_> = publishes.iter().map(|publish| &publish.body[..]).collect();
    assert_eq!(bodies, [&b"one"[..], b"", b"three"]);
    assert_eq!(publishes[0].routing_key.as_str(), "k");
    assert_eq!(publishes[2].properties.message_id.as_deref(), Some("m"));
}

#[test]
fn acknowledgements_that_follow_each_other_are_handed_in_together() {
    let mut client = Client::with_channel();
    for (delivery_tag, multiple) in
        [(3, false), (4, false), (5, false), (7, false), (8, true), (9, false), (10, false)]
    {
        client.send(1, BasicAck { delivery_tag, multiple });
    }
    client.send(1, BasicGet::default());
    client.send(1, BasicAck { delivery_tag: 11, multiple: false });
    let single = |tag, multiple| Act::Ack { tag: DeliveryTag::new(tag), multiple };
    let each =
        |first, last| Act::AckEach { first: DeliveryTag::new(first), last: DeliveryTag::new(last) };
    let mut acts = client.acts();
    assert!(matches!(acts.remove(4), Act::Get(_)));
    let expected = [each(3, 5), single(7, false), single(8, true), each(9, 10), single(11, false)];
    assert_eq!(acts, expected);
}

#[test]
fn frames_out_of_place_close_the_connection() {
    check_hard(Code::ChannelError, |client| client.send(2, ConfirmSelect::default()));
    check_hard(Code::ChannelError, |client| client.send(1, ChannelOpen::default()));
    check_hard(Code::NotAllowed, |client| client.send(8, ChannelOpen::default()));
    check_hard(Code::CommandInvalid, |client| client.send(0, TxSelect {}));
    check_hard(Code::CommandInvalid, |client| client.send(1, ConnectionCloseOk {}));
    check_hard(Code::UnexpectedFrame, |client| client.send_header(1, 5));
    check_hard(Code::UnexpectedFrame, |client| client.send_header(0, 5));
    check_hard(Code::UnexpectedFrame, |client| {
        client.send(1, BasicPublish::default());
        client.send_body(1, b"a");
    });
    check_hard(Code::UnexpectedFrame, |client| {
        client.send(1, BasicPublish::default());
        client.send(1, ConfirmSelect::default());
    });
    check_hard(Code::FrameError, |client| {
        client.send(1, BasicPublish::default());
        client.send_header(1, 2);
        client.send_body(1, b"abc");
    });
    check_hard(Code::FrameError, |client| {
        let payload = Bytes::new();
        client.session.frame(Frame { kind: Kind::Heartbeat, channel: 1, payload });
    });
    check_hard(Code::NotImplemented, |client| {
        client.send(1, BasicPublish { immediate: true, ..BasicPublish::default() });
    });
    check_hard(Code::NotImplemented, |client| {
        client.send(1, BasicQos { prefetch_size: 1, ..BasicQos::default() });
    });
    check_hard(Code::SyntaxError, |client| {
        let payload = Bytes::from_static(&[0, 20, 0, 40]);
        client.session.frame(Frame { kind: Kind::Method, channel: 1, payload });
    });
}

#[test]
fn a_message_that_is_too_large_closes_the_channel_alone() {
    let mut client = Client::with_channel();
    client.send(1, BasicPublish::default());
    client.send_header(1, 20_000);
    client.send_body(1, b"passed over");
    let close = "1 ChannelClose 406 60.40: PRECONDITION_FAILED - message size 20000 is larger \
         than configured max size 10000";
    assert_eq!(client.told(), [close]);
    assert_eq!(client.session.requests(), [Request::CloseChannel(number(1))]);
    client.confirm(1, false, true);
    assert_eq!(client.told(), [""; 0], "of before");
    client.send(1, ChannelCloseOk {});
    client.send(1, ChannelOpen::default());
    client.tell(1, Answer::ChannelClosed);
    client.tell(1, Answer::ChannelOpened);
    assert_eq!(client.told(), ["1 ChannelOpenOk"], "its number is used anew");
}

#[test]
fn a_channel_that_is_refused_twice_at_once_is_closed_once() {
    let mut client = Client::with_channel();
    client.send(1, BasicPublish::default());
    client.send_header(1, 20_000);
    let refusal = Refusal::new(Code::NotFound, "of a publish before");
    client.session.tell(state::Output::CloseChannel(number(1), refusal));
    assert_eq!(client.told().len(), 1);
    client.send(1, ChannelCloseOk {});
    client.send(1, ChannelOpen::default());
    client.tell(1, Answer::ChannelOpened);
    assert_eq!(client.told(), ["1 ChannelOpenOk"], "nothing of before is waited for");
}

#[test]
fn pieces_of_messages_are_bounded_over_all_channels() {
    let mut client = Client::with_channel();
    for channel in 2..5 {
        client.send(channel, ChannelOpen::default());
        client.send(channel, BasicPublish::default());
        client.send_header(channel, 10_000);
        client.send_body(channel, &[0; 9000]);
    }
    assert_eq!(client.told(), ["0 ConnectionClose 506"]);
}

#[test]
fn a_channel_that_the_rules_refuse_passes_over_what_follows() {
    let mut client = Client::with_channel();
    let refusal = Refusal::new(Code::NotFound, "no exchange 'x' in vhost '/'");
    client.session.tell(state::Output::CloseChannel(number(1), refusal));
    client.send(1, ConfirmSelect::default());
    assert_eq!(client.session.requests(), []);
    assert_eq!(client.told(), ["1 ChannelClose 404 0.0: NOT_FOUND - no exchange 'x' in vhost '/'"]);
    client.send(1, ChannelCloseOk {});
    client.send(1, ChannelOpen::default());
    assert_eq!(client.session.requests(), [Request::Open(number(1))]);
}

#[test]
fn a_channel_that_both_close_at_once_is_answered_on_both_sides() {
    let mut client = Client::with_channel();
    client.send(1, ChannelClose::default());
    let refusal = Refusal::new(Code::NotFound, "gone");
    client.session.tell(state::Output::CloseChannel(number(1), refusal));
    assert_eq!(client.told(), ["1 ChannelClose 404 0.0: NOT_FOUND - gone", "1 ChannelCloseOk"]);
    client.send(1, ChannelCloseOk {});
    client.send(1, ChannelOpen::default());
    let asked = client.session.requests();
    assert_eq!(asked, [Request::CloseChannel(number(1)), Request::Open(number(1))]);
}

#[test]
fn confirms_that_come_together_are_one() {
    let mut client = Client::with_channel();
    for tag in 1..=3 {
        client.confirm(tag, false, true);
    }
    client.confirm(4, false, false);
    client.confirm(5, false, true);
    client.confirm(6, false, true);
    client.tell(1, Answer::QosSet);
    client.confirm(7, false, true);
    let told = ["1 ack 3*", "1 nack 4", "1 ack 6*", "1 BasicQosOk", "1 ack 7"];
    assert_eq!(client.told(), told);
}

#[test]
fn deliveries_count_until_they_are_written() {
    let mut client = Client::with_channel();
    let delivery = delivered(5000);
    let weight = delivery.message.weight() as u64;
    let tell = |delivery| state::Output::Deliver(number(1), "tag".into(), delivery);
    client.session.tell(tell(delivery.clone()));
    assert_eq!(client.session.written(), (0, 0));
    assert_eq!(client.told(), ["1 BasicDeliver", "1 Body 4088", "1 Body 912"]);
    assert_eq!(client.session.written(), (1, weight));
    client.send(1, ChannelClose::default());
    client.tell(1, Answer::ChannelClosed);
    assert_eq!(client.told(), ["1 ChannelCloseOk"]);
    client.session.tell(tell(delivery));
    assert_eq!(client.told(), [""; 0], "nobody is there for it");
    assert_eq!(client.session.written(), (1, weight), "but it is out of the way");
}

#[test]
fn a_close_is_answered_only_when_what_came_before_it_is_durable() {
    let mut client = Client::with_channel();
    client.send(0, ConnectionClose { reply_code: 200, ..ConnectionClose::default() });
    let lost = Refusal::new(Code::ConnectionForced, "it could not be written");
    client.session.tell(state::Output::CloseConnection(lost));
    assert_eq!(client.told(), Vec::<String>::new());
    assert_eq!(client.session.phase, Phase::Over);
}

#[test]
fn nothing_more_is_read_while_others_must_act() {
    let mut client = Client::with_channel();
    for _ in 0..16 {
        assert!(client.session.wants_more());
        client.send(1, BasicGet::default());
    }
    assert!(!client.session.wants_more(), "messages are wanted that have not come");
    client.tell(1, Answer::Empty);
    assert!(client.session.wants_more());
    client.session.tell(state::Output::Blocked("low on disk".into()));
    assert!(client.session.wants_more(), "it does not publish");
    client.session.tell(state::Output::Unblocked);
    client.session.tell(state::Output::Blocked("low on disk".into()));
    assert_eq!(client.told(), ["1 BasicGetEmpty"], "who does not publish is not told");
    client.send(1, BasicPublish::default());
    assert!(!client.session.wants_more());
    client.session.tell(state::Output::Blocked("cannot write".into()));
    assert_eq!(client.told(), ["0 ConnectionBlocked"], "once");
    client.session.tell(state::Output::Unblocked);
    assert!(client.session.wants_more());
    assert_eq!(client.told(), ["0 ConnectionUnblocked"]);
    let refusal = Refusal::new(Code::NotFound, "gone");
    client.session.tell(state::Output::CloseChannel(number(1), refusal));
    assert_eq!(client.session.gets, 0, "what was asked for will not come");
}

#[test]
fn a_connection_is_closed_when_the_rules_are_done_with_it() {
    let mut client = Client::with_channel();
    client.send(0, ConnectionUpdateSecret::default());
    client.send(0, ConnectionClose::default());
    client.send(1, ConfirmSelect::default());
    assert_eq!(client.session.requests(), [Request::Close]);
    assert_eq!(client.told(), ["0 ConnectionUpdateSecretOk"]);
    client.tell(1, Answer::ConnectionClosed);
    assert_eq!(client.told(), ["0 ConnectionCloseOk"]);
    assert!(client.session.is_over());
}
