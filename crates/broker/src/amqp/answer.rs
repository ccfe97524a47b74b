//! What a client is told, from the words of the rules to the methods of the wire.

use super::output::Output;
use super::wire::methods;
use crate::ids::ConsumerTag;
use crate::message::Message;
use crate::state::{Answer, Code, Delivered};

/// Writes the method that tells `answer`. Those that close a channel or the connection are told by
/// the session, which knows what they come to.
pub(super) fn answer(output: &mut Output, channel: u16, answer: &Answer, frame_max: u32) {
    match answer {
        Answer::ChannelOpened => output.method(channel, methods::ChannelOpenOk::default()),
        Answer::ChannelClosed | Answer::ConnectionClosed => {}
        Answer::FlowSet { active } => {
            output.method(channel, methods::ChannelFlowOk { active: *active });
        }
        Answer::ExchangeDeclared => output.method(channel, methods::ExchangeDeclareOk {}),
        Answer::ExchangeDeleted => output.method(channel, methods::ExchangeDeleteOk {}),
        Answer::ExchangeBound => output.method(channel, methods::ExchangeBindOk {}),
        Answer::ExchangeUnbound => output.method(channel, methods::ExchangeUnbindOk {}),
        Answer::QueueDeclared { queue, messages, consumers } => {
            let queue = queue.as_str();
            let (message_count, consumer_count) = (*messages, *consumers);
            let declared = methods::QueueDeclareOk { queue, message_count, consumer_count };
            output.method(channel, declared);
        }
        Answer::QueueBound => output.method(channel, methods::QueueBindOk {}),
        Answer::QueueUnbound => output.method(channel, methods::QueueUnbindOk {}),
        Answer::Purged { messages } => {
            output.method(channel, methods::QueuePurgeOk { message_count: *messages });
        }
        Answer::QueueDeleted { messages } => {
            output.method(channel, methods::QueueDeleteOk { message_count: *messages });
        }
        Answer::QosSet => output.method(channel, methods::BasicQosOk {}),
        Answer::Consuming(tag) => {
            output.method(channel, methods::BasicConsumeOk { consumer_tag: tag.as_str() });
        }
        Answer::Cancelled(tag) => {
            output.method(channel, methods::BasicCancelOk { consumer_tag: tag.as_str() });
        }
        Answer::Got { delivered, remaining } => {
            got(output, channel, delivered, *remaining, frame_max);
        }
        Answer::Empty => output.method(channel, methods::BasicGetEmpty::default()),
        Answer::Recovered => output.method(channel, methods::BasicRecoverOk {}),
        Answer::ConfirmSelected => output.method(channel, methods::ConfirmSelectOk {}),
        Answer::TxSelected => output.method(channel, methods::TxSelectOk {}),
        Answer::TxCommitted => output.method(channel, methods::TxCommitOk {}),
        Answer::TxRolledBack => output.method(channel, methods::TxRollbackOk {}),
    }
}

fn got(output: &mut Output, channel: u16, delivered: &Delivered, remaining: u32, frame_max: u32) {
    let message = &*delivered.message;
    let method = methods::BasicGetOk {
        delivery_tag: delivered.tag.get(),
        redelivered: delivered.redelivered,
        exchange: message.exchange.as_str(),
        routing_key: message.routing_key.as_str(),
        message_count: remaining,
    };
    output.content(channel, method, message, frame_max);
}

/// Writes `basic.deliver` with its content.
pub(super) fn deliver(
    output: &mut Output,
    channel: u16,
    tag: &ConsumerTag,
    delivered: &Delivered,
    frame_max: u32,
) {
    let message = &*delivered.message;
    let method = methods::BasicDeliver {
        consumer_tag: tag.as_str(),
        delivery_tag: delivered.tag.get(),
        redelivered: delivered.redelivered,
        exchange: message.exchange.as_str(),
        routing_key: message.routing_key.as_str(),
    };
    output.content(channel, method, message, frame_max);
}

/// Writes `basic.return` with its content.
pub(super) fn give_back(output: &mut Output, channel: u16, message: &Message, frame_max: u32) {
    let method = methods::BasicReturn {
        reply_code: Code::NoRoute.number(),
        reply_text: Code::NoRoute.name(),
        exchange: message.exchange.as_str(),
        routing_key: message.routing_key.as_str(),
    };
    output.content(channel, method, message, frame_max);
}
