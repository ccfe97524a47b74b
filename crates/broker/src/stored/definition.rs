//! What there is, as it is written.

use std::sync::Arc;
use std::time::Duration;

use super::Unreadable;
use super::bytes::{Reader, Writer};
use crate::config::{Backoff, Subscription};
use crate::ids::QueueId;
use crate::state::{
    Binding, Definition, Destination, ExchangeSpec, Kind, Permissions, QueueSpec, User,
};

const VHOST_PUT: u8 = 1;
const VHOST_DELETED: u8 = 2;
const USER_PUT: u8 = 3;
const USER_DELETED: u8 = 4;
const PERMITTED: u8 = 5;
const EXCHANGE_DECLARED: u8 = 6;
const EXCHANGE_DELETED: u8 = 7;
const QUEUE_DECLARED: u8 = 8;
const QUEUE_DELETED: u8 = 9;
const BOUND: u8 = 10;
const UNBOUND: u8 = 11;
const SUBSCRIPTION_PUT: u8 = 12;
const SUBSCRIPTION_DELETED: u8 = 13;

pub(super) fn write(writer: &mut Writer, definition: &Definition) {
    match definition {
        Definition::VhostPut(name) => {
            writer.byte(VHOST_PUT);
            writer.text(name);
        }
        Definition::VhostDeleted(name) => {
            writer.byte(VHOST_DELETED);
            writer.text(name);
        }
        Definition::UserPut(user) => write_user(writer, user),
        Definition::UserDeleted(name) => {
            writer.byte(USER_DELETED);
            writer.text(name);
        }
        Definition::Permitted { user, vhost, permissions } => {
            writer.byte(PERMITTED);
            writer.text(user);
            writer.text(vhost);
            writer.flag(permissions.is_some());
            if let Some(Permissions { configure, write, read }) = permissions {
                [configure, write, read].into_iter().for_each(|pattern| writer.text(pattern));
            }
        }
        Definition::SubscriptionPut(subscription) => write_subscription(writer, subscription),
        Definition::SubscriptionDeleted(name) => {
            writer.byte(SUBSCRIPTION_DELETED);
            writer.text(name);
        }
        Definition::ExchangeDeclared(exchange) => write_exchange(writer, exchange),
        Definition::ExchangeDeleted { vhost, exchange, .. } => {
            writer.byte(EXCHANGE_DELETED);
            writer.text(vhost);
            writer.text(exchange);
        }
        Definition::QueueDeclared(queue) => {
            writer.byte(QUEUE_DECLARED);
            writer.number(queue.id.get());
            writer.text(&queue.vhost);
            writer.text(&queue.name);
            writer.flag(queue.auto_delete);
            writer.table(&queue.arguments);
        }
        Definition::QueueDeleted { queue, .. } => {
            writer.byte(QUEUE_DELETED);
            writer.number(queue.get());
        }
        Definition::Bound(binding) => {
            writer.byte(BOUND);
            write_binding(writer, binding);
        }
        Definition::Unbound(binding) => {
            writer.byte(UNBOUND);
            write_binding(writer, binding);
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Definition, Unreadable> {
    Ok(match reader.byte()? {
        VHOST_PUT => Definition::VhostPut(reader.text()?.into()),
        VHOST_DELETED => Definition::VhostDeleted(reader.text()?.into()),
        USER_PUT => Definition::UserPut(User {
            name: reader.text()?.into(),
            password_hash: reader.text()?.into(),
            loopback_only: reader.flag()?,
            tags: reader.list(|reader| Ok(Arc::from(reader.text()?)))?,
        }),
        USER_DELETED => Definition::UserDeleted(reader.text()?.into()),
        PERMITTED => {
            let (user, vhost) = (reader.text()?.into(), reader.text()?.into());
            let permissions = if reader.flag()? {
                let (configure, write) = (reader.text()?.into(), reader.text()?.into());
                Some(Permissions { configure, write, read: reader.text()?.into() })
            } else {
                None
            };
            Definition::Permitted { user, vhost, permissions }
        }
        SUBSCRIPTION_PUT => Definition::SubscriptionPut(Arc::new(read_subscription(reader)?)),
        SUBSCRIPTION_DELETED => Definition::SubscriptionDeleted(reader.text()?.into()),
        EXCHANGE_DECLARED => Definition::ExchangeDeclared(Arc::new(read_exchange(reader)?)),
        EXCHANGE_DELETED => Definition::ExchangeDeleted {
            vhost: reader.text()?.into(),
            exchange: reader.text()?.into(),
            durable: true,
        },
        QUEUE_DECLARED => Definition::QueueDeclared(Arc::new(read_queue(reader)?)),
        QUEUE_DELETED => {
            Definition::QueueDeleted { queue: QueueId::new(reader.number()?), streams: Vec::new() }
        }
        BOUND => Definition::Bound(Arc::new(read_binding(reader)?)),
        UNBOUND => Definition::Unbound(Arc::new(read_binding(reader)?)),
        _ => return Err(Unreadable("a later version wrote it")),
    })
}

fn write_user(writer: &mut Writer, user: &User) {
    let User { name, password_hash, tags, loopback_only } = user;
    writer.byte(USER_PUT);
    writer.text(name);
    writer.text(password_hash);
    writer.flag(*loopback_only);
    writer.count(tags.len());
    tags.iter().for_each(|tag| writer.text(tag));
}

fn write_subscription(writer: &mut Writer, subscription: &Subscription) {
    let Subscription { name, vhost, queue, service, path, .. } = subscription;
    writer.byte(SUBSCRIPTION_PUT);
    [name, vhost, queue, service, path].into_iter().for_each(|text| writer.text(text));
    let Subscription { concurrency, timeout, attempts, backoff, .. } = subscription;
    writer.number((*concurrency).into());
    writer.number((*attempts).into());
    for time in [timeout, &backoff.first, &backoff.most] {
        writer.number(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }
}

fn read_subscription(reader: &mut Reader<'_>) -> Result<Subscription, Unreadable> {
    let large = |_| Unreadable("a number of a subscription is too large");
    let (name, vhost, queue) =
        (reader.text()?.into(), reader.text()?.into(), reader.text()?.into());
    let (service, path) = (reader.text()?.into(), reader.text()?.into());
    let concurrency = u16::try_from(reader.number()?).map_err(large)?;
    let attempts = u32::try_from(reader.number()?).map_err(large)?;
    let mut time = || Ok(Duration::from_millis(reader.number()?));
    let (timeout, backoff) = (time()?, Backoff { first: time()?, most: time()? });
    Ok(Subscription { name, vhost, queue, service, path, concurrency, timeout, attempts, backoff })
}

fn write_exchange(writer: &mut Writer, exchange: &ExchangeSpec) {
    writer.byte(EXCHANGE_DECLARED);
    writer.text(&exchange.vhost);
    writer.text(&exchange.name);
    writer.text(exchange.kind.as_str());
    writer.flag(exchange.auto_delete);
    writer.flag(exchange.internal);
    writer.table(&exchange.arguments);
}

fn read_exchange(reader: &mut Reader<'_>) -> Result<ExchangeSpec, Unreadable> {
    Ok(ExchangeSpec {
        vhost: reader.text()?.into(),
        name: reader.text()?.into(),
        kind: Kind::named(reader.text()?).ok_or(Unreadable("a later version wrote it"))?,
        durable: true,
        auto_delete: reader.flag()?,
        internal: reader.flag()?,
        arguments: reader.table()?,
    })
}

fn read_queue(reader: &mut Reader<'_>) -> Result<QueueSpec, Unreadable> {
    let id = QueueId::new(reader.number()?);
    let (vhost, name) = (reader.text()?.into(), reader.text()?.into());
    let auto_delete = reader.flag()?;
    let arguments = reader.table()?;
    QueueSpec::durable(id, vhost, name, auto_delete, arguments)
        .map_err(|_| Unreadable("the arguments of a queue are not understood"))
}

fn write_binding(writer: &mut Writer, binding: &Binding) {
    writer.text(&binding.vhost);
    writer.text(&binding.source);
    match &binding.destination {
        Destination::Queue(queue) => {
            writer.byte(0);
            writer.number(queue.get());
        }
        Destination::Exchange(name) => {
            writer.byte(1);
            writer.text(name);
        }
    }
    writer.text(&binding.key);
    writer.table(&binding.arguments);
}

fn read_binding(reader: &mut Reader<'_>) -> Result<Binding, Unreadable> {
    Ok(Binding {
        vhost: reader.text()?.into(),
        source: reader.text()?.into(),
        destination: match reader.byte()? {
            0 => Destination::Queue(QueueId::new(reader.number()?)),
            _ => Destination::Exchange(reader.text()?.into()),
        },
        key: reader.text()?.into(),
        arguments: reader.table()?,
        durable: true,
    })
}
