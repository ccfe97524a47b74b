//! A connection that has been let in, as far as it can be without a socket: frames become requests
//! to the rules, what the rules tell becomes frames. Here is decided what a frame may be when, and
//! what is closed for one that may not (§2.2.4, §4.2, §4.10). The other way is in `told`.

#[cfg(test)]
mod tests;
mod told;

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;

use crate::amqp::channel::Channel;
use crate::amqp::content::{Bounds, Content};
use crate::amqp::output::Output;
use crate::amqp::request::{Asked, asked};
use crate::amqp::wire::{Fault, Frame, Kind, Method, methods};
use crate::ids::ChannelNumber;
use crate::state::{Act, Code, Publish, Scope};

/// Publishes that are handed in at once.
const BATCH: usize = 256;
/// Octets of bodies that are handed in at once.
const BATCH_BYTES: usize = 1 << 20;
/// Requests for single messages that may be unanswered before more is read: what they bring is in
/// no window.
const GETS: usize = 16;

/// What was agreed upon with a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    /// Octets of the largest frame, both ways.
    pub(super) frame_max: u32,
    /// The highest number of a channel.
    pub(super) channel_max: u16,
    /// How much of a message may come.
    pub(super) bounds: Bounds,
    /// Whether the client understands `connection.blocked`.
    pub(super) understands_blocked: bool,
}

/// What is asked of the rules.
#[derive(Debug, PartialEq)]
pub(super) enum Request {
    /// To open a channel.
    Open(ChannelNumber),
    /// Something on a channel.
    Act(ChannelNumber, Act),
    /// To close a channel.
    CloseChannel(ChannelNumber),
    /// To close the connection.
    Close,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The client has closed it, and is answered when the rules have.
    Leaving,
    /// We have closed it, and wait for the client's answer.
    Closing,
    Over,
}

/// The state of a connection.
#[derive(Debug)]
pub(super) struct Session {
    /// What the client is called, for people.
    name: Arc<str>,
    agreed: Agreed,
    phase: Phase,
    channels: HashMap<u16, Channel>,
    requests: Vec<Request>,
    /// Publishes that are to be handed in together.
    batch: Vec<Publish>,
    batch_channel: ChannelNumber,
    batch_bytes: usize,
    /// Octets of bodies that have come in part.
    held: usize,
    /// Answers to `basic.get` that have not come.
    gets: usize,
    publishes: bool,
    /// Why nobody may publish, and whether the client was told.
    blocked: Option<Arc<str>>,
    told_blocked: bool,
    /// Deliveries that are not written yet: where they end in the output, and what they weigh.
    unwritten: VecDeque<(u64, u64)>,
    /// Channels with a confirm that is not written yet.
    confirming: Vec<u16>,
    /// What goes to the client.
    pub(super) output: Output,
}

impl Session {
    /// After `connection.open-ok`.
    pub(super) fn new(name: Arc<str>, agreed: Agreed, output: Output) -> Self {
        Self {
            name,
            agreed,
            phase: Phase::Open,
            channels: HashMap::new(),
            requests: Vec::new(),
            batch: Vec::new(),
            batch_channel: ChannelNumber::default(),
            batch_bytes: 0,
            held: 0,
            gets: 0,
            publishes: false,
            blocked: None,
            told_blocked: false,
            unwritten: VecDeque::new(),
            confirming: Vec::new(),
            output,
        }
    }

    /// Takes a frame. What is wrong with it closes a channel or the connection.
    pub(super) fn frame(&mut self, frame: Frame) {
        let number = frame.channel;
        if let Err(fault) = self.take(frame) {
            tracing::info!(client = %self.name, channel = number, "it made a mistake: {fault}");
            self.close_for(number, &fault);
        }
    }

    /// Closes a channel for `fault`, or the connection, as its code says.
    pub(super) fn close_for(&mut self, number: u16, fault: &Fault) {
        match (fault.code.scope(), number) {
            (Scope::Channel, 1..) => {
                self.request(Request::CloseChannel(ChannelNumber::new(number)));
                self.send_channel_close(number, fault);
                self.channels.entry(number).or_default().outdated += 1;
            }
            _ => self.close(fault),
        }
    }

    /// Closes the connection for `fault`.
    pub(super) fn close(&mut self, fault: &Fault) {
        if matches!(self.phase, Phase::Closing | Phase::Over) {
            return;
        }
        let was_open = mem::replace(&mut self.phase, Phase::Closing) == Phase::Open;
        if was_open {
            self.request(Request::Close);
        }
        let (class_id, method_id) = fault.method;
        let (reply_code, reply_text) = (fault.code.number(), fault.text.as_str());
        let close = methods::ConnectionClose { reply_code, reply_text, class_id, method_id };
        self.output.method(0, close);
        self.channels.clear();
        (self.held, self.gets) = (0, 0);
    }

    /// Whether more may be read: not when others must act first.
    pub(super) fn wants_more(&self) -> bool {
        match self.phase {
            Phase::Open => !(self.blocked.is_some() && self.publishes) && self.gets < GETS,
            Phase::Closing => true,
            Phase::Leaving | Phase::Over => false,
        }
    }

    /// What the client is called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the connection may go once everything is written.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether we have closed it.
    pub(super) fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// What is to be asked of the rules, in this order.
    pub(super) fn requests(&mut self) -> Vec<Request> {
        self.hand_in_batch();
        mem::take(&mut self.requests)
    }

    /// How many deliveries, and what weight of them, were written since the last time.
    pub(super) fn written(&mut self) -> (u32, u64) {
        let sent = self.output.sent();
        let (mut count, mut weight) = (0, 0);
        while let Some((_, one)) = self.unwritten.pop_front_if(|(end, _)| *end <= sent) {
            count += 1;
            weight += one;
        }
        (count, weight)
    }

    fn request(&mut self, request: Request) {
        self.hand_in_batch();
        self.requests.push(request);
    }

    /// Acknowledgements that follow each other are asked for as one.
    fn request_act(&mut self, id: ChannelNumber, act: Act) {
        self.hand_in_batch();
        if let Act::Ack { tag, multiple: false } = act
            && let Some(Request::Act(channel, before)) = self.requests.last_mut()
            && *channel == id
        {
            let (first, last) = match before {
                Act::Ack { tag, multiple: false } => (*tag, *tag),
                Act::AckEach { first, last } => (*first, *last),
                _ => return self.requests.push(Request::Act(id, act)),
            };
            if last.get().checked_add(1) == Some(tag.get()) {
                *before = Act::AckEach { first, last: tag };
                return;
            }
        }
        self.requests.push(Request::Act(id, act));
    }

    fn hand_in_batch(&mut self) {
        if !self.batch.is_empty() {
            let batch = mem::take(&mut self.batch);
            self.batch_bytes = 0;
            self.requests.push(Request::Act(self.batch_channel, Act::Publish(batch)));
        }
    }

    fn take(&mut self, frame: Frame) -> Result<(), Fault> {
        let Frame { kind, channel, payload } = frame;
        match (self.phase, kind, channel) {
            (Phase::Over | Phase::Leaving, ..) | (_, Kind::Heartbeat, 0) => Ok(()),
            (Phase::Closing, Kind::Method, 0) => self.last_words(&payload),
            (Phase::Closing, ..) => Ok(()),
            (_, Kind::Heartbeat, _) => {
                Err(Fault::new(Code::FrameError, "a heartbeat frame on a channel other than 0"))
            }
            (_, Kind::Method, 0) => self.connection_method(&payload),
            (_, _, 0) => Err(Fault::new(Code::UnexpectedFrame, "content on channel 0")),
            (_, Kind::Method, number) => self.channel_method(number, &payload),
            (_, Kind::Header, number) => {
                let bounds = self.agreed.bounds;
                self.content(number, |content| content.header(&payload, bounds))
            }
            (_, Kind::Body, number) => self.content(number, |content| content.body(payload)),
        }
    }

    /// After we have closed: nothing counts but the answer, or the client's own close, which is
    /// answered.
    fn last_words(&mut self, payload: &[u8]) -> Result<(), Fault> {
        match Method::read(payload) {
            Ok(Method::ConnectionCloseOk(_)) => self.phase = Phase::Over,
            Ok(Method::ConnectionClose(_)) => {
                self.output.method(0, methods::ConnectionCloseOk {});
                self.phase = Phase::Over;
            }
            _ => {}
        }
        Ok(())
    }

    fn connection_method(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let method = Method::read(payload).map_err(|malformed| malformed.fault())?;
        match method {
            Method::ConnectionClose(_) => {
                self.request(Request::Close);
                self.phase = Phase::Leaving;
                Ok(())
            }
            Method::ConnectionUpdateSecret(_) => {
                // A password does not run out, so that there is nothing to renew.
                self.output.method(0, methods::ConnectionUpdateSecretOk {});
                Ok(())
            }
            Method::ConnectionCloseOk(_) => Ok(()),
            method => {
                let detail = format!("{} has no place on channel 0 now", method.name());
                Err(Fault::new(Code::CommandInvalid, detail).of(method.id()))
            }
        }
    }

    fn channel_method(&mut self, number: u16, payload: &[u8]) -> Result<(), Fault> {
        let refused = self.channels.get(&number).is_some_and(|channel| channel.refused);
        let method = match Method::read(payload) {
            Ok(method) => method,
            // What follows a mistake is passed over, whatever it is.
            Err(_) if refused => return Ok(()),
            Err(malformed) => return Err(malformed.fault().of(named(payload))),
        };
        if refused {
            self.answered(number, &method);
            return Ok(());
        }
        let id = method.id();
        let open = self.is_open(number);
        match &method {
            Method::ChannelOpen(_) if open => {
                Err(Fault::new(Code::ChannelError, "second 'channel.open' seen").of(id))
            }
            Method::ChannelOpen(_) => self.open_channel(number),
            Method::ChannelCloseOk(_) if !open => Ok(()),
            _ if !open => Err(Fault::new(Code::ChannelError, "expected 'channel.open'").of(id)),
            _ if id.0 == 10 => {
                let detail = "methods of the class connection belong on channel 0";
                Err(Fault::new(Code::CommandInvalid, detail).of(id))
            }
            _ if self.channels.get(&number).is_some_and(|channel| channel.content.is_some()) => {
                let detail = "expected content header for class 60, \
                     got non content header frame instead";
                Err(Fault::new(Code::UnexpectedFrame, detail).of(id))
            }
            _ => self.ask(number, method),
        }
    }

    fn is_open(&self, number: u16) -> bool {
        self.channels.get(&number).is_some_and(|channel| channel.open)
    }

    /// The client answers that we have closed a channel, or has closed it at the same time.
    fn answered(&mut self, number: u16, method: &Method<'_>) {
        match method {
            Method::ChannelCloseOk(_) => {
                if let Some(channel) = self.channels.get_mut(&number) {
                    channel.refused = false;
                }
                self.forget(number);
            }
            Method::ChannelClose(_) => self.output.method(number, methods::ChannelCloseOk {}),
            _ => {}
        }
    }

    fn open_channel(&mut self, number: u16) -> Result<(), Fault> {
        let max = self.agreed.channel_max;
        if number > max {
            let detail = format!("channel {number} is beyond the negotiated channel_max ({max})");
            return Err(Fault::new(Code::NotAllowed, detail));
        }
        let channel = self.channels.entry(number).or_default();
        if !channel.is_free() {
            return Err(Fault::new(Code::ChannelError, "the channel is being closed"));
        }
        *channel = Channel { open: true, outdated: channel.outdated, ..Channel::default() };
        self.request(Request::Open(ChannelNumber::new(number)));
        Ok(())
    }

    fn ask(&mut self, number: u16, method: Method<'_>) -> Result<(), Fault> {
        let id = ChannelNumber::new(number);
        match asked(method)? {
            Asked::Nothing => {}
            Asked::Act(act) => {
                if let (Act::Get(_), Some(channel)) = (&act, self.channels.get_mut(&number)) {
                    channel.gets += 1;
                    self.gets += 1;
                }
                self.request_act(id, act);
            }
            Asked::Publish(publish) => {
                self.publishes = true;
                self.tell_blocked();
                if let Some(channel) = self.channels.get_mut(&number) {
                    channel.content = Some(Content::new(publish));
                }
            }
            Asked::Close => {
                self.request(Request::CloseChannel(id));
                if let Some(channel) = self.channels.get_mut(&number) {
                    channel.open = false;
                    channel.leaving = true;
                }
            }
        }
        Ok(())
    }

    /// Takes a header or a piece of a body, and hands the message in once it is whole.
    fn content(
        &mut self,
        number: u16,
        take: impl FnOnce(&mut Content) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let channel = self.channels.get_mut(&number);
        if channel.as_ref().is_some_and(|channel| channel.refused) {
            return Ok(());
        }
        let Some(channel) = channel.filter(|channel| channel.open) else {
            return Err(Fault::new(Code::ChannelError, "expected 'channel.open'"));
        };
        let Some(content) = &mut channel.content else {
            let detail = "expected method frame, got content instead";
            return Err(Fault::new(Code::UnexpectedFrame, detail));
        };
        let before = content.held();
        take(content).map_err(|fault| fault.of((60, 40)))?;
        self.held += content.held() - before;
        if !content.is_whole() {
            let most = self.agreed.bounds.body.saturating_mul(2);
            if self.held > most {
                let detail = format!("more than {most} octets of messages that came in part");
                return Err(Fault::new(Code::ResourceError, detail));
            }
            return Ok(());
        }
        if let Some(content) = channel.content.take() {
            self.held -= content.held();
            self.publish(number, content.into_publish());
        }
        Ok(())
    }

    fn publish(&mut self, number: u16, publish: Publish) {
        let number = ChannelNumber::new(number);
        let full = self.batch.len() >= BATCH || self.batch_bytes >= BATCH_BYTES;
        if full || number != self.batch_channel {
            self.hand_in_batch();
        }
        self.batch_channel = number;
        self.batch_bytes += publish.body.len();
        self.batch.push(publish);
    }

    /// Nothing that was begun on a channel will be ended.
    fn let_go(&mut self, number: u16) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        self.gets -= mem::take(&mut channel.gets);
        self.held -= channel.content.take().map_or(0, |content| content.held());
    }

    fn forget(&mut self, number: u16) {
        let over = |channel: &Channel| !channel.open && channel.is_over();
        if self.channels.get(&number).is_some_and(over) {
            self.channels.remove(&number);
        }
    }

    fn send_channel_close(&mut self, number: u16, fault: &Fault) {
        let (class_id, method_id) = fault.method;
        let (reply_code, reply_text) = (fault.code.number(), fault.text.as_str());
        let close = methods::ChannelClose { reply_code, reply_text, class_id, method_id };
        self.write_confirm(number);
        self.output.method(number, close);
        self.let_go(number);
        let channel = self.channels.entry(number).or_default();
        channel.open = false;
        channel.refused = true;
    }
}

/// The class and method that a payload begins with.
fn named(payload: &[u8]) -> (u16, u16) {
    match payload.first_chunk() {
        Some([a, b, c, d]) => (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])),
        None => (0, 0),
    }
}
