//! What the house asks an engine, from the words of the rules to the methods of the wire, and what it is
//! told, back again: `request` and `answer`, seen from the other side.

use posthouse_base::time::Timestamp;

use super::output::Output as Out;
use super::wire::{Method, methods};
use crate::ids::{ChannelNumber, DeliveryTag};
use crate::message::Message;
use crate::state::{Act, Answer, Output, Publish};

/// Writes the method that asks for `act`.
pub(super) fn ask(output: &mut Out, channel: u16, act: Act, frame_max: u32) {
    match act {
        Act::Publish(messages) => {
            for Publish { exchange, routing_key, mandatory, properties, body } in messages {
                let queued_at = Timestamp::default();
                let message = Message { exchange, routing_key, properties, body, queued_at };
                let method = methods::BasicPublish {
                    exchange: message.exchange.as_str(),
                    routing_key: message.routing_key.as_str(),
                    mandatory,
                    ..Default::default()
                };
                output.content(channel, method, &message, frame_max);
            }
        }
        Act::DeclareExchange(_)
        | Act::DeleteExchange(_)
        | Act::BindExchange(_)
        | Act::UnbindExchange(_) => exchange(output, channel, act),
        Act::DeclareQueue(_)
        | Act::BindQueue(_)
        | Act::UnbindQueue(_)
        | Act::PurgeQueue { .. }
        | Act::DeleteQueue(_) => queue(output, channel, act),
        Act::SelectConfirm { no_wait } => {
            output.method(channel, methods::ConfirmSelect { no_wait });
        }
        Act::SelectTx => output.method(channel, methods::TxSelect {}),
        Act::CommitTx => output.method(channel, methods::TxCommit {}),
        Act::RollbackTx => output.method(channel, methods::TxRollback {}),
        Act::Flow { active } => output.method(channel, methods::ChannelFlow { active }),
        act => basic(output, channel, act),
    }
}

fn exchange(output: &mut Out, channel: u16, act: Act) {
    match act {
        Act::DeclareExchange(asked) => output.method(
            channel,
            methods::ExchangeDeclare {
                exchange: asked.exchange.as_str(),
                kind: &asked.kind,
                passive: asked.passive,
                durable: asked.durable,
                auto_delete: asked.auto_delete,
                internal: asked.internal,
                no_wait: asked.no_wait,
                arguments: asked.arguments,
                ..Default::default()
            },
        ),
        Act::DeleteExchange(asked) => output.method(
            channel,
            methods::ExchangeDelete {
                exchange: asked.exchange.as_str(),
                if_unused: asked.if_unused,
                no_wait: asked.no_wait,
                ..Default::default()
            },
        ),
        Act::BindExchange(asked) => output.method(
            channel,
            methods::ExchangeBind {
                destination: asked.destination.as_str(),
                source: asked.source.as_str(),
                routing_key: asked.routing_key.as_str(),
                no_wait: asked.no_wait,
                arguments: asked.arguments,
                ..Default::default()
            },
        ),
        Act::UnbindExchange(asked) => output.method(
            channel,
            methods::ExchangeUnbind {
                destination: asked.destination.as_str(),
                source: asked.source.as_str(),
                routing_key: asked.routing_key.as_str(),
                no_wait: asked.no_wait,
                arguments: asked.arguments,
                ..Default::default()
            },
        ),
        _ => {}
    }
}

fn queue(output: &mut Out, channel: u16, act: Act) {
    match act {
        Act::DeclareQueue(asked) => output.method(
            channel,
            methods::QueueDeclare {
                queue: asked.queue.as_str(),
                passive: asked.passive,
                durable: asked.durable,
                exclusive: asked.exclusive,
                auto_delete: asked.auto_delete,
                no_wait: asked.no_wait,
                arguments: asked.arguments,
                ..Default::default()
            },
        ),
        Act::BindQueue(asked) => output.method(
            channel,
            methods::QueueBind {
                queue: asked.queue.as_str(),
                exchange: asked.exchange.as_str(),
                routing_key: asked.routing_key.as_str(),
                no_wait: asked.no_wait,
                arguments: asked.arguments,
                ..Default::default()
            },
        ),
        Act::UnbindQueue(asked) => output.method(
            channel,
            methods::QueueUnbind {
                queue: asked.queue.as_str(),
                exchange: asked.exchange.as_str(),
                routing_key: asked.routing_key.as_str(),
                arguments: asked.arguments,
                ..Default::default()
            },
        ),
        Act::PurgeQueue { queue, no_wait } => {
            let queue = queue.as_str();
            output.method(channel, methods::QueuePurge { queue, no_wait, ..Default::default() });
        }
        Act::DeleteQueue(asked) => output.method(
            channel,
            methods::QueueDelete {
                queue: asked.queue.as_str(),
                if_unused: asked.if_unused,
                if_empty: asked.if_empty,
                no_wait: asked.no_wait,
                ..Default::default()
            },
        ),
        _ => {}
    }
}

fn basic(output: &mut Out, channel: u16, act: Act) {
    match act {
        Act::Qos(asked) => output.method(
            channel,
            methods::BasicQos {
                prefetch_count: asked.prefetch,
                global: asked.global,
                ..Default::default()
            },
        ),
        Act::Consume(asked) => output.method(
            channel,
            methods::BasicConsume {
                queue: asked.queue.as_str(),
                consumer_tag: asked.tag.as_str(),
                no_ack: asked.no_ack,
                exclusive: asked.exclusive,
                no_wait: asked.no_wait,
                arguments: asked.arguments,
                ..Default::default()
            },
        ),
        Act::Cancel { tag, no_wait } => {
            output.method(channel, methods::BasicCancel { consumer_tag: tag.as_str(), no_wait });
        }
        Act::Get(asked) => output.method(
            channel,
            methods::BasicGet {
                queue: asked.queue.as_str(),
                no_ack: asked.no_ack,
                ..Default::default()
            },
        ),
        Act::Ack { tag, multiple } => {
            output.method(channel, methods::BasicAck { delivery_tag: tag.get(), multiple });
        }
        Act::AckEach { first, last } => {
            for delivery_tag in first.get()..=last.get() {
                output.method(channel, methods::BasicAck { delivery_tag, multiple: false });
            }
        }
        Act::Nack { tag, multiple, requeue } => {
            let delivery_tag = tag.get();
            output.method(channel, methods::BasicNack { delivery_tag, multiple, requeue });
        }
        Act::Recover { requeue, no_wait: false } => {
            output.method(channel, methods::BasicRecover { requeue });
        }
        Act::Recover { requeue, no_wait: true } => {
            output.method(channel, methods::BasicRecoverAsync { requeue });
        }
        _ => {}
    }
}

/// What a method tells that has no content.
pub(super) fn told(method: &Method<'_>, channel: ChannelNumber) -> Option<Output> {
    let answer = match method {
        Method::ConnectionBlocked(blocked) => return Some(Output::Blocked(blocked.reason.into())),
        Method::ConnectionUnblocked(_) => return Some(Output::Unblocked),
        Method::BasicAck(acked) => {
            let (tag, multiple) = (DeliveryTag::new(acked.delivery_tag), acked.multiple);
            return Some(Output::Confirm { channel, tag, multiple, ack: true });
        }
        Method::BasicNack(nacked) => {
            let (tag, multiple) = (DeliveryTag::new(nacked.delivery_tag), nacked.multiple);
            return Some(Output::Confirm { channel, tag, multiple, ack: false });
        }
        Method::BasicCancel(cancel) => {
            return Some(Output::Cancelled(channel, cancel.consumer_tag.into()));
        }
        Method::ChannelFlowOk(flow) => Answer::FlowSet { active: flow.active },
        Method::ExchangeDeclareOk(_) => Answer::ExchangeDeclared,
        Method::ExchangeDeleteOk(_) => Answer::ExchangeDeleted,
        Method::ExchangeBindOk(_) => Answer::ExchangeBound,
        Method::ExchangeUnbindOk(_) => Answer::ExchangeUnbound,
        Method::QueueDeclareOk(declared) => Answer::QueueDeclared {
            queue: declared.queue.into(),
            messages: declared.message_count,
            consumers: declared.consumer_count,
        },
        Method::QueueBindOk(_) => Answer::QueueBound,
        Method::QueueUnbindOk(_) => Answer::QueueUnbound,
        Method::QueuePurgeOk(purged) => Answer::Purged { messages: purged.message_count },
        Method::QueueDeleteOk(deleted) => Answer::QueueDeleted { messages: deleted.message_count },
        Method::BasicQosOk(_) => Answer::QosSet,
        Method::BasicConsumeOk(begun) => Answer::Consuming(begun.consumer_tag.into()),
        Method::BasicCancelOk(ended) => Answer::Cancelled(ended.consumer_tag.into()),
        Method::BasicGetEmpty(_) => Answer::Empty,
        Method::BasicRecoverOk(_) => Answer::Recovered,
        Method::ConfirmSelectOk(_) => Answer::ConfirmSelected,
        Method::TxSelectOk(_) => Answer::TxSelected,
        Method::TxCommitOk(_) => Answer::TxCommitted,
        Method::TxRollbackOk(_) => Answer::TxRolledBack,
        _ => return None,
    };
    Some(Output::Answer(channel, answer))
}
