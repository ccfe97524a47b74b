//! The rules, as their users meet them.

mod definitions;
mod delivering;
mod dying;
mod house;
mod model;
mod publishing;
mod sim;

use crate::ids::DeliveryTag;
use crate::message::{Table, Value};
use crate::state::{Act, BindQueue, Consume, DeclareExchange, DeclareQueue, Get, Publish, Qos};

fn declare(queue: &str) -> Act {
    declare_with(queue, &[])
}

fn declare_with(queue: &str, arguments: &[(&str, Value)]) -> Act {
    let arguments: Table = house::table(arguments);
    Act::DeclareQueue(DeclareQueue {
        queue: queue.into(),
        durable: true,
        arguments,
        ..DeclareQueue::default()
    })
}

fn exchange(name: &str, kind: &str) -> DeclareExchange {
    let (exchange, kind) = (name.into(), kind.into());
    DeclareExchange { exchange, kind, durable: true, ..DeclareExchange::default() }
}

fn bind(queue: &str, exchange: &str, key: &str) -> Act {
    let (queue, exchange, routing_key) = (queue.into(), exchange.into(), key.into());
    Act::BindQueue(BindQueue { queue, exchange, routing_key, ..BindQueue::default() })
}

fn consume(queue: &str, tag: &str) -> Act {
    Act::Consume(Consume { queue: queue.into(), tag: tag.into(), ..Consume::default() })
}

fn publish(key: &str, bodies: &[&str]) -> Act {
    Act::Publish(bodies.iter().map(|body| house::message("", key, body)).collect())
}

fn transient(key: &str, body: &str) -> Publish {
    let mut publish = house::message("", key, body);
    publish.properties.delivery_mode = None;
    publish
}

fn prefetch(prefetch: u16) -> Act {
    Act::Qos(Qos { prefetch, global: false })
}

fn get(queue: &str) -> Act {
    Act::Get(Get { queue: queue.into(), no_ack: true })
}

fn ack(tag: u64, multiple: bool) -> Act {
    Act::Ack { tag: DeliveryTag::new(tag), multiple }
}

fn nack(tag: u64, requeue: bool) -> Act {
    Act::Nack { tag: DeliveryTag::new(tag), multiple: false, requeue }
}
