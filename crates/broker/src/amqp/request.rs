//! What a client asks on a channel, from the methods of the wire to the words of the rules. What the
//! specification has and RabbitMQ does not is refused here, as RabbitMQ refuses it (540).

use uuid::Uuid;

use super::wire::{Fault, Method, methods};
use crate::ids::DeliveryTag;
use crate::state::{
    Act, BindExchange, BindQueue, Code, Consume, DeclareExchange, DeclareQueue, DeleteExchange,
    DeleteQueue, Get, Publish, Qos,
};

/// What a method asks for on a channel that is open.
#[derive(Debug)]
pub(super) enum Asked {
    /// Something that the rules decide.
    Act(Act),
    /// `basic.publish`: properties and body come in the next frames.
    Publish(Publish),
    /// `channel.close`
    Close,
    /// An answer to nothing, or to what is over.
    Nothing,
}

/// What `method` asks for.
pub(super) fn asked(method: Method<'_>) -> Result<Asked, Fault> {
    let id = method.id();
    let act = match method {
        Method::ExchangeDeclare(_)
        | Method::ExchangeDelete(_)
        | Method::ExchangeBind(_)
        | Method::ExchangeUnbind(_) => exchange(method),
        Method::QueueDeclare(_)
        | Method::QueueBind(_)
        | Method::QueueUnbind(_)
        | Method::QueuePurge(_)
        | Method::QueueDelete(_) => queue(method),
        Method::BasicPublish(publish) => return published(&publish).map_err(|fault| fault.of(id)),
        Method::BasicQos(qos) => Some(prefetch(&qos).map_err(|fault| fault.of(id))?),
        Method::ChannelFlow(flow) => Some(Act::Flow { active: flow.active }),
        Method::ChannelFlowOk(_) | Method::ChannelCloseOk(_) => return Ok(Asked::Nothing),
        Method::ChannelClose(_) => return Ok(Asked::Close),
        Method::ConfirmSelect(select) => Some(Act::SelectConfirm { no_wait: select.no_wait }),
        Method::TxSelect(_) => Some(Act::SelectTx),
        Method::TxCommit(_) => Some(Act::CommitTx),
        Method::TxRollback(_) => Some(Act::RollbackTx),
        method => basic(method),
    };
    let misplaced = || Fault::new(Code::CommandInvalid, "a method that has no place on a channel");
    act.map(Asked::Act).ok_or_else(|| misplaced().of(id))
}

fn exchange(method: Method<'_>) -> Option<Act> {
    Some(match method {
        Method::ExchangeDeclare(asked) => Act::DeclareExchange(DeclareExchange {
            exchange: asked.exchange.into(),
            kind: asked.kind.into(),
            passive: asked.passive,
            durable: asked.durable,
            auto_delete: asked.auto_delete,
            internal: asked.internal,
            arguments: asked.arguments,
            no_wait: asked.no_wait,
        }),
        Method::ExchangeDelete(asked) => Act::DeleteExchange(DeleteExchange {
            exchange: asked.exchange.into(),
            if_unused: asked.if_unused,
            no_wait: asked.no_wait,
        }),
        Method::ExchangeBind(asked) => Act::BindExchange(BindExchange {
            destination: asked.destination.into(),
            source: asked.source.into(),
            routing_key: asked.routing_key.into(),
            arguments: asked.arguments,
            no_wait: asked.no_wait,
        }),
        Method::ExchangeUnbind(asked) => Act::UnbindExchange(BindExchange {
            destination: asked.destination.into(),
            source: asked.source.into(),
            routing_key: asked.routing_key.into(),
            arguments: asked.arguments,
            no_wait: asked.no_wait,
        }),
        _ => return None,
    })
}

fn queue(method: Method<'_>) -> Option<Act> {
    Some(match method {
        Method::QueueDeclare(asked) => Act::DeclareQueue(DeclareQueue {
            queue: asked.queue.into(),
            passive: asked.passive,
            durable: asked.durable,
            exclusive: asked.exclusive,
            auto_delete: asked.auto_delete,
            arguments: asked.arguments,
            no_wait: asked.no_wait,
            random: random(),
        }),
        Method::QueueBind(asked) => Act::BindQueue(BindQueue {
            queue: asked.queue.into(),
            exchange: asked.exchange.into(),
            routing_key: asked.routing_key.into(),
            arguments: asked.arguments,
            no_wait: asked.no_wait,
        }),
        Method::QueueUnbind(asked) => Act::UnbindQueue(BindQueue {
            queue: asked.queue.into(),
            exchange: asked.exchange.into(),
            routing_key: asked.routing_key.into(),
            arguments: asked.arguments,
            no_wait: false,
        }),
        Method::QueuePurge(asked) => {
            Act::PurgeQueue { queue: asked.queue.into(), no_wait: asked.no_wait }
        }
        Method::QueueDelete(asked) => Act::DeleteQueue(DeleteQueue {
            queue: asked.queue.into(),
            if_unused: asked.if_unused,
            if_empty: asked.if_empty,
            no_wait: asked.no_wait,
        }),
        _ => return None,
    })
}

fn basic(method: Method<'_>) -> Option<Act> {
    Some(match method {
        Method::BasicConsume(asked) => Act::Consume(Consume {
            queue: asked.queue.into(),
            tag: asked.consumer_tag.into(),
            no_ack: asked.no_ack,
            exclusive: asked.exclusive,
            arguments: asked.arguments,
            no_wait: asked.no_wait,
            random: random(),
        }),
        Method::BasicCancel(asked) => {
            Act::Cancel { tag: asked.consumer_tag.into(), no_wait: asked.no_wait }
        }
        Method::BasicGet(asked) => {
            Act::Get(Get { queue: asked.queue.into(), no_ack: asked.no_ack })
        }
        Method::BasicAck(asked) => {
            Act::Ack { tag: DeliveryTag::new(asked.delivery_tag), multiple: asked.multiple }
        }
        Method::BasicNack(asked) => Act::Nack {
            tag: DeliveryTag::new(asked.delivery_tag),
            multiple: asked.multiple,
            requeue: asked.requeue,
        },
        Method::BasicReject(asked) => Act::Nack {
            tag: DeliveryTag::new(asked.delivery_tag),
            multiple: false,
            requeue: asked.requeue,
        },
        Method::BasicRecover(asked) => Act::Recover { requeue: asked.requeue, no_wait: false },
        Method::BasicRecoverAsync(asked) => Act::Recover { requeue: asked.requeue, no_wait: true },
        _ => return None,
    })
}

fn published(publish: &methods::BasicPublish<'_>) -> Result<Asked, Fault> {
    if publish.immediate {
        return Err(Fault::new(Code::NotImplemented, "immediate=true"));
    }
    Ok(Asked::Publish(Publish {
        exchange: publish.exchange.into(),
        routing_key: publish.routing_key.into(),
        mandatory: publish.mandatory,
        ..Publish::default()
    }))
}

fn prefetch(qos: &methods::BasicQos) -> Result<Act, Fault> {
    if qos.prefetch_size != 0 {
        let detail = format!("prefetch_size!=0 ({})", qos.prefetch_size);
        return Err(Fault::new(Code::NotImplemented, detail));
    }
    Ok(Act::Qos(Qos { prefetch: qos.prefetch_count, global: qos.global }))
}

/// What nobody can guess: names of queues and consumers are made of it.
fn random() -> u128 {
    Uuid::new_v4().as_u128()
}
