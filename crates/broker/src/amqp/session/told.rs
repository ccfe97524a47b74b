//! What the rules tell a client, as frames. Of a channel that was closed meanwhile nothing is told
//! but that; confirms that come together are written as one.

use std::mem;

use super::{Phase, Session};
use crate::amqp::answer;
use crate::amqp::channel::Confirm;
use crate::amqp::output::Output;
use crate::amqp::wire::{Fault, methods};
use crate::ids::DeliveryTag;
use crate::state::{self, Answer, Code, Delivered};

impl Session {
    /// Takes what the client is told.
    pub(in crate::amqp) fn tell(&mut self, told: state::Output) {
        if self.phase == Phase::Over {
            return;
        }
        match told {
            state::Output::CloseConnection(refusal) => {
                let fault = Fault::from(&refusal);
                tracing::info!(client = %self.name, "its connection was closed: {fault}");
                self.end(Some(&fault));
            }
            state::Output::Answer(_, Answer::ConnectionClosed) => self.end(None),
            _ if self.phase == Phase::Closing => {}
            state::Output::Blocked(reason) => {
                self.blocked = Some(reason);
                self.tell_blocked();
            }
            state::Output::Unblocked => {
                self.blocked = None;
                if mem::take(&mut self.told_blocked) {
                    self.output.method(0, methods::ConnectionUnblocked {});
                }
            }
            state::Output::Answer(channel, answer) => self.answer(channel.get(), &answer),
            state::Output::Deliver(channel, tag, delivered) => {
                let (channel, frame_max) = (channel.get(), self.agreed.frame_max);
                if self.listens(channel) {
                    answer::deliver(&mut self.output, channel, &tag, &delivered, frame_max);
                }
                self.delivered(&delivered);
            }
            state::Output::Return(channel, message) => {
                let (channel, frame_max) = (channel.get(), self.agreed.frame_max);
                if self.listens(channel) {
                    self.write_confirm(channel);
                    answer::give_back(&mut self.output, channel, &message, frame_max);
                }
            }
            state::Output::Confirm { channel, tag, multiple, ack } => {
                self.confirm(channel.get(), tag, multiple, ack);
            }
            state::Output::Cancelled(channel, tag) => {
                let consumer_tag = tag.as_str();
                if self.listens(channel.get()) {
                    let cancel = methods::BasicCancel { consumer_tag, no_wait: true };
                    self.output.method(channel.get(), cancel);
                }
            }
            state::Output::CloseChannel(channel, refusal) => self.refuse(channel.get(), &refusal),
        }
    }

    /// There is nobody any more who tells anything.
    pub(in crate::amqp) fn tell_over(&mut self, fault: &Fault) {
        self.end(Some(fault));
    }

    /// The rules are done with the connection: the client is answered if it has asked for it, and
    /// told why otherwise.
    fn end(&mut self, fault: Option<&Fault>) {
        self.write_confirms();
        match (self.phase, fault) {
            (Phase::Leaving, None) => {
                self.output.method(0, methods::ConnectionCloseOk {});
                self.phase = Phase::Over;
            }
            // Not answered: it would say that what was acknowledged is durable.
            (Phase::Leaving, Some(_)) => self.phase = Phase::Over,
            (Phase::Open, Some(fault)) => self.close(fault),
            (Phase::Open, None) => {
                self.close(&Fault::new(Code::ConnectionForced, "the connection is over"));
            }
            (Phase::Closing | Phase::Over, _) => {}
        }
    }

    /// Writes the confirms that waited for others to be joined to them. To be called before what
    /// was told is written.
    pub(in crate::amqp) fn write_confirms(&mut self) {
        for channel in mem::take(&mut self.confirming) {
            self.write_confirm(channel);
        }
    }

    /// Tells the client that it is blocked, once it publishes. Others are not told, as at RabbitMQ:
    /// there are clients that then send nothing at all, acknowledgements included.
    pub(super) fn tell_blocked(&mut self) {
        let is_told = self.told_blocked || !self.publishes || !self.agreed.understands_blocked;
        if let Some(reason) = self.blocked.as_deref().filter(|_| !is_told) {
            self.output.method(0, methods::ConnectionBlocked { reason });
            self.told_blocked = true;
        }
    }

    /// Whether a client is to hear what the rules tell of a channel.
    fn listens(&self, number: u16) -> bool {
        let channel = self.channels.get(&number);
        channel.is_some_and(|channel| channel.outdated == 0 && (channel.open || channel.leaving))
    }

    fn answer(&mut self, number: u16, answer: &Answer) {
        let frame_max = self.agreed.frame_max;
        match answer {
            Answer::ChannelClosed => return self.channel_closed(number),
            Answer::Got { .. } | Answer::Empty => self.got(number),
            _ => {}
        }
        if self.listens(number) {
            self.write_confirm(number);
            answer::answer(&mut self.output, number, answer, frame_max);
        }
        if let Answer::Got { delivered, .. } = answer {
            self.delivered(delivered);
        }
    }

    fn got(&mut self, number: u16) {
        let channel = self.channels.get_mut(&number).filter(|channel| channel.outdated == 0);
        if let Some(channel) = channel.filter(|channel| channel.gets > 0) {
            channel.gets -= 1;
            self.gets -= 1;
        }
    }

    fn delivered(&mut self, delivered: &Delivered) {
        let weight = delivered.message.weight() as u64;
        self.unwritten.push_back((self.output.added(), weight));
    }

    fn channel_closed(&mut self, number: u16) {
        self.write_confirm(number);
        let Some(channel) = self.channels.get_mut(&number) else { return };
        if channel.outdated > 0 {
            channel.outdated -= 1;
        } else if channel.leaving {
            channel.leaving = false;
            self.output.method(number, methods::ChannelCloseOk {});
            self.let_go(number);
        }
        self.forget(number);
    }

    /// The rules have closed a channel. The client may have closed it at the same time: then both
    /// are answered, and the rules answer nothing more. So may we have: then nothing is news.
    fn refuse(&mut self, number: u16, refusal: &state::Refusal) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        if channel.outdated > 0 {
            channel.outdated -= 1;
            self.forget(number);
            return;
        }
        let leaving = mem::take(&mut channel.leaving);
        if !leaving && !channel.open {
            return;
        }
        let fault = Fault::from(refusal);
        tracing::info!(client = %self.name, channel = number, "a channel was closed: {fault}");
        self.send_channel_close(number, &fault);
        if leaving {
            self.output.method(number, methods::ChannelCloseOk {});
        }
    }

    fn confirm(&mut self, number: u16, tag: DeliveryTag, multiple: bool, ack: bool) {
        if !self.listens(number) {
            return;
        }
        let Some(channel) = self.channels.get_mut(&number) else { return };
        if ack {
            if channel.confirm.is_none() {
                self.confirming.push(number);
            }
            if let Some(before) = channel.confirm(tag.get(), multiple) {
                write_ack(&mut self.output, number, before);
            }
            return;
        }
        channel.refused_publish(tag.get(), multiple);
        self.write_confirm(number);
        let delivery_tag = tag.get();
        self.output.method(number, methods::BasicNack { delivery_tag, multiple, requeue: false });
    }

    pub(super) fn write_confirm(&mut self, number: u16) {
        let channel = self.channels.get_mut(&number);
        if let Some(confirm) = channel.and_then(|channel| channel.confirm.take()) {
            write_ack(&mut self.output, number, confirm);
        }
    }
}

fn write_ack(output: &mut Output, channel: u16, confirm: Confirm) {
    let Confirm { tag: delivery_tag, multiple } = confirm;
    output.method(channel, methods::BasicAck { delivery_tag, multiple });
}
