//! Exchanges, queues and bindings, as clients declare and delete them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::argument::{self, Manner};
use super::command::{
    BindExchange, BindQueue, DeclareExchange, DeclareQueue, DeleteExchange, DeleteQueue, Kind,
};
use super::decide::{Deciding, On, failed, limited};
use super::effect::Answer;
use super::event::{Definition, Event, Removed};
use super::exchange::{Binding, Destination, Exchange, ExchangeSpec};
use super::lane::Place;
use super::model::{Queue, QueueSpec};
use super::permission::Names;
use super::publish::REPLY_TO;
use super::refusal::{Code, Refusal};
use crate::ids::{ExchangeName, LaneId, QueueId, QueueName, RoutingKey, VhostName};
use crate::message::{Table, Value};

impl<'a> On<'a> {
    fn vhost_name(&self) -> &'a VhostName {
        &self.connection.open.vhost
    }

    fn may(&self, names: &Names, how: &str, what: &str, name: &str) -> Result<(), Refusal> {
        if names.contain(name) {
            return Ok(());
        }
        let (vhost, user) = (self.vhost_name(), &self.connection.open.user);
        let name = if name.is_empty() && what == "exchange" { "amq.default" } else { name };
        let detail =
            format!("{how} access to {what} '{name}' in vhost '{vhost}' refused for user '{user}'");
        Err(Refusal::new(Code::AccessRefused, detail))
    }

    fn may_configure(&self, what: &str, name: &str) -> Result<(), Refusal> {
        self.may(&self.connection.allowed.configure, "configure", what, name)
    }

    fn may_write(&self, what: &str, name: &str) -> Result<(), Refusal> {
        self.may(&self.connection.allowed.write, "write", what, name)
    }

    fn may_read(&self, what: &str, name: &str) -> Result<(), Refusal> {
        self.may(&self.connection.allowed.read, "read", what, name)
    }

    pub(super) fn may_write_exchange(&self, name: &ExchangeName) -> Result<(), Refusal> {
        self.may_write("exchange", name.as_str())
    }

    pub(super) fn no_exchange(&self, name: &ExchangeName) -> Refusal {
        let detail = format!("no exchange '{name}' in vhost '{}'", self.vhost_name());
        Refusal::new(Code::NotFound, detail)
    }

    fn exchange(&self, name: &ExchangeName) -> Result<&'a Exchange, Refusal> {
        self.vhost.exchanges.get(name).ok_or_else(|| self.no_exchange(name))
    }
}

impl<'a> Deciding<'a> {
    pub(super) fn declare_exchange(
        &mut self,
        on: On<'a>,
        declare: &DeclareExchange,
    ) -> Result<(), Refusal> {
        let DeclareExchange {
            exchange: name, kind, passive, durable, auto_delete, internal, ..
        } = &declare;
        let vhost = on.vhost_name();
        let done = |deciding: &mut Self| {
            deciding.answer(on, Answer::ExchangeDeclared, declare.no_wait);
            Ok(())
        };
        if *passive {
            if !name.is_empty() {
                on.exchange(name)?;
            }
            return done(self);
        }
        not_default(name)?;
        let kind =
            Kind::named(kind).ok_or_else(|| failed(format!("unknown exchange type '{kind}'")))?;
        on.may_configure("exchange", name.as_str())?;
        if let Some(there) = on.vhost.exchanges.get(name) {
            let spec = ExchangeSpec {
                vhost: vhost.clone(),
                name: name.clone(),
                kind,
                durable: *durable,
                auto_delete: *auto_delete,
                internal: *internal,
                arguments: declare.arguments.clone(),
            };
            same_exchange(&spec, &there.spec)?;
            return done(self);
        }
        not_reserved("exchange", name.as_str())?;
        limited("exchanges", self.state.exchanges(), self.state.limits.exchanges)?;
        if let Some(alternate) = declare.arguments.get("alternate-exchange") {
            let alternate = alternate.as_text().ok_or_else(|| {
                failed(format!(
                    "invalid arg 'alternate-exchange' for exchange '{name}' in vhost '{vhost}'"
                ))
            })?;
            on.may_read("exchange", name.as_str())?;
            on.may_write("exchange", alternate)?;
        }
        let spec = ExchangeSpec {
            vhost: vhost.clone(),
            name: name.clone(),
            kind,
            durable: *durable,
            auto_delete: *auto_delete,
            internal: *internal,
            arguments: declare.arguments.clone(),
        };
        self.define(Definition::ExchangeDeclared(Arc::new(spec)));
        done(self)
    }

    pub(super) fn delete_exchange(
        &mut self,
        on: On<'a>,
        delete: &DeleteExchange,
    ) -> Result<(), Refusal> {
        let name = &delete.exchange;
        not_default(name)?;
        not_reserved("exchange", name.as_str())?;
        on.may_configure("exchange", name.as_str())?;
        if let Some(exchange) = on.vhost.exchanges.get(name) {
            if delete.if_unused && !exchange.bindings().is_empty() {
                let detail = format!("exchange '{name}' in vhost '{}' in use", on.vhost_name());
                return Err(failed(detail));
            }
            self.drop_exchange(exchange);
        }
        self.answer(on, Answer::ExchangeDeleted, delete.no_wait);
        Ok(())
    }

    pub(super) fn drop_exchange(&mut self, exchange: &Exchange) {
        let ExchangeSpec { vhost, name, durable, .. } = &*exchange.spec;
        let (vhost, exchange, durable) = (vhost.clone(), name.clone(), *durable);
        self.define(Definition::ExchangeDeleted { vhost, exchange, durable });
    }

    pub(super) fn bind_exchange(&mut self, on: On<'a>, bind: BindExchange) -> Result<(), Refusal> {
        let no_wait = bind.no_wait;
        let binding = self.exchange_binding(on, bind)?;
        self.bind(on, binding)?;
        self.answer(on, Answer::ExchangeBound, no_wait);
        Ok(())
    }

    pub(super) fn unbind_exchange(
        &mut self,
        on: On<'a>,
        unbind: &BindExchange,
    ) -> Result<(), Refusal> {
        let binding = self.exchange_binding(on, unbind.clone())?;
        self.unbind(on, &binding);
        self.answer(on, Answer::ExchangeUnbound, unbind.no_wait);
        Ok(())
    }

    fn exchange_binding(&self, on: On<'a>, bind: BindExchange) -> Result<Binding, Refusal> {
        let BindExchange { destination, source, routing_key: key, arguments, .. } = bind;
        not_default(&destination)?;
        not_default(&source)?;
        on.may_write("exchange", destination.as_str())?;
        on.may_read("exchange", source.as_str())?;
        let durable = on.exchange(&destination)?.spec.durable && on.exchange(&source)?.spec.durable;
        let destination = Destination::Exchange(destination);
        Ok(Binding { vhost: on.vhost_name().clone(), source, destination, key, arguments, durable })
    }

    fn bind(&mut self, on: On<'a>, binding: Binding) -> Result<(), Refusal> {
        let exchange = on.exchange(&binding.source)?;
        if exchange.binding(&binding.destination, &binding.key, &binding.arguments).is_some() {
            return Ok(());
        }
        if exchange.spec.kind == Kind::Headers {
            check_match(&binding.arguments)?;
        }
        limited("bindings", self.state.bindings, self.state.limits.bindings)?;
        self.define(Definition::Bound(Arc::new(binding)));
        Ok(())
    }

    fn unbind(&mut self, on: On<'a>, binding: &Binding) {
        let exchange = on.vhost.exchanges.get(&binding.source);
        let found = exchange.and_then(|exchange| {
            exchange.binding(&binding.destination, &binding.key, &binding.arguments)
        });
        if let Some(found) = found {
            self.define(Definition::Unbound(Arc::clone(found)));
        }
    }

    pub(super) fn declare_queue(
        &mut self,
        on: On<'a>,
        declare: &DeclareQueue,
    ) -> Result<(), Refusal> {
        let DeclareQueue { queue: name, passive, no_wait, .. } = declare;
        let is_reply =
            name.as_str() == REPLY_TO || name.as_str().starts_with("amq.rabbitmq.reply-to.");
        if is_reply {
            let answer = Answer::QueueDeclared { queue: name.clone(), messages: 0, consumers: 1 };
            self.answer(on, answer, *no_wait);
            return Ok(());
        }
        if *passive {
            let name = on.queue_name(name)?;
            let queue = self.queue_here(on, &name)?;
            self.declared(on, queue, *no_wait);
            return Ok(());
        }
        let wanted = Manner {
            durable: declare.durable,
            exclusive: declare.exclusive,
            auto_delete: declare.auto_delete,
        };
        if let Some(id) = on.vhost.queues.get(name)
            && let Some(there) = self.state.queues.get(id)
        {
            on.may_configure("queue", name.as_str())?;
            self.is_ours(on, there)?;
            same_queue(declare, wanted, &there.spec)?;
            self.push(Event::Used(*id));
            self.declared(on, there, *no_wait);
            return Ok(());
        }
        let name = if name.is_empty() {
            let random = URL_SAFE_NO_PAD.encode(declare.random.to_be_bytes());
            QueueName::from(format!("amq.gen-{random}"))
        } else {
            not_reserved("queue", name.as_str())?;
            name.clone()
        };
        self.make_queue(on, name, wanted, declare)
    }

    fn make_queue(
        &mut self,
        on: On<'a>,
        name: QueueName,
        wanted: Manner,
        declare: &DeclareQueue,
    ) -> Result<(), Refusal> {
        on.may_configure("queue", name.as_str())?;
        let vhost = on.vhost_name();
        let checked = argument::check(&declare.arguments, wanted, &name, vhost)?;
        if let Some(dead_letter) = &checked.dead_letter {
            on.may_read("queue", name.as_str())?;
            on.may_write("exchange", dead_letter.exchange.as_str())?;
        }
        limited("queues", self.state.queues.len(), self.state.limits.queues)?;
        // What goes with its connection need not survive a restart.
        let survives = wanted.durable && !wanted.exclusive;
        let spec = QueueSpec {
            id: self.state.next_queue_id(survives),
            vhost: vhost.clone(),
            name: name.clone(),
            durable: wanted.durable,
            owner: wanted.exclusive.then_some(on.id.connection),
            auto_delete: wanted.auto_delete,
            arguments: declare.arguments.clone(),
            checked,
        };
        self.define(Definition::QueueDeclared(Arc::new(spec)));
        self.push(Event::Named(on.id, name.clone()));
        let answer = Answer::QueueDeclared { queue: name, messages: 0, consumers: 0 };
        self.answer(on, answer, declare.no_wait);
        Ok(())
    }

    fn declared(&mut self, on: On<'a>, queue: &Queue, no_wait: bool) {
        let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let answer = Answer::QueueDeclared {
            queue: queue.spec.name.clone(),
            messages: number(queue.count()),
            consumers: u32::try_from(queue.consumers.len()).unwrap_or(u32::MAX),
        };
        self.push(Event::Named(on.id, queue.spec.name.clone()));
        self.answer(on, answer, no_wait);
    }

    /// The queue of that name, which this connection may use.
    pub(super) fn queue_here(&self, on: On<'a>, name: &QueueName) -> Result<&'a Queue, Refusal> {
        let found = on.vhost.queues.get(name).and_then(|id| self.state.queues.get(id));
        let queue = found.ok_or_else(|| {
            let detail = format!("no queue '{name}' in vhost '{}'", on.vhost_name());
            Refusal::new(Code::NotFound, detail)
        })?;
        self.is_ours(on, queue)?;
        Ok(queue)
    }

    /// The queue of that name, or the one that was named last, of which this user may read.
    pub(super) fn queue_to_read(&self, on: On<'a>, name: &QueueName) -> Result<&'a Queue, Refusal> {
        let name = on.queue_name(name)?;
        on.may_read("queue", name.as_str())?;
        self.queue_here(on, &name)
    }

    fn is_ours(&self, on: On<'_>, queue: &Queue) -> Result<(), Refusal> {
        if queue.spec.owner.is_none_or(|owner| owner == on.id.connection) {
            return Ok(());
        }
        let (name, vhost) = (&queue.spec.name, on.vhost_name());
        let detail = format!(
            "cannot obtain exclusive access to locked queue '{name}' in vhost '{vhost}'. It could be \
             originally declared on another connection or the exclusive property value does not \
             match that of the original declaration."
        );
        Err(Refusal::new(Code::ResourceLocked, detail))
    }

    pub(super) fn bind_queue(&mut self, on: On<'a>, bind: BindQueue) -> Result<(), Refusal> {
        let no_wait = bind.no_wait;
        let binding = self.queue_binding(on, bind)?;
        self.bind(on, binding)?;
        self.answer(on, Answer::QueueBound, no_wait);
        Ok(())
    }

    pub(super) fn unbind_queue(&mut self, on: On<'a>, unbind: &BindQueue) -> Result<(), Refusal> {
        let binding = self.queue_binding(on, unbind.clone())?;
        self.unbind(on, &binding);
        self.answer(on, Answer::QueueUnbound, unbind.no_wait);
        Ok(())
    }

    fn queue_binding(&self, on: On<'a>, bind: BindQueue) -> Result<Binding, Refusal> {
        let BindQueue { queue, exchange, routing_key, arguments, .. } = bind;
        let name = on.queue_name(&queue)?;
        not_default(&exchange)?;
        on.may_write("queue", name.as_str())?;
        on.may_read("exchange", exchange.as_str())?;
        let found = self.queue_here(on, &name)?;
        let source = on.exchange(&exchange)?;
        let durable = found.spec.id.is_durable() && source.spec.durable;
        // An empty key beside an empty name means the queue's name (AMQP 0-9-1, queue.bind).
        let key = if queue.is_empty() && routing_key.is_empty() {
            RoutingKey::from(name.as_str())
        } else {
            routing_key
        };
        let destination = Destination::Queue(found.spec.id);
        let vhost = on.vhost_name().clone();
        Ok(Binding { vhost, source: exchange, destination, key, arguments, durable })
    }

    pub(super) fn purge(
        &mut self,
        on: On<'a>,
        name: &QueueName,
        no_wait: bool,
    ) -> Result<(), Refusal> {
        let queue = self.queue_to_read(on, name)?;
        let messages = u32::try_from(queue.count()).unwrap_or(u32::MAX);
        for (priority, lane) in &queue.lanes {
            let id = LaneId { queue: queue.spec.id, priority: *priority };
            if !lane.ready.is_empty() {
                self.push(Event::Removed(Removed {
                    lane: id,
                    stream: lane.stream.clone(),
                    ranges: lane.ready.ranges().collect(),
                    bytes: lane.ready_bytes,
                    waiting_bytes: lane.ready_bytes,
                }));
            }
            let places: Vec<Place> = lane.memory_places().map(|(place, _)| place).collect();
            if !places.is_empty() {
                self.push(Event::Dropped { lane: id, places });
            }
        }
        self.answer(on, Answer::Purged { messages }, no_wait);
        Ok(())
    }

    pub(super) fn delete_queue_asked(
        &mut self,
        on: On<'a>,
        delete: &DeleteQueue,
    ) -> Result<(), Refusal> {
        let name = on.queue_name(&delete.queue)?;
        on.may_configure("queue", name.as_str())?;
        let mut messages = 0;
        if on.vhost.queues.contains_key(&name) {
            let queue = self.queue_here(on, &name)?;
            let vhost = on.vhost_name();
            if delete.if_unused && !queue.consumers.is_empty() {
                return Err(failed(format!("queue '{name}' in vhost '{vhost}' in use")));
            }
            if delete.if_empty && queue.count() > 0 {
                return Err(failed(format!("queue '{name}' in vhost '{vhost}' is not empty")));
            }
            messages = u32::try_from(queue.count()).unwrap_or(u32::MAX);
            self.drop_queue(queue);
        }
        self.answer(on, Answer::QueueDeleted { messages }, delete.no_wait);
        Ok(())
    }

    pub(super) fn drop_queue(&mut self, queue: &Queue) {
        let lanes = queue.lanes.values().filter(|lane| lane.next > 0);
        let streams = lanes.map(|lane| (lane.stream.clone(), lane.next)).collect();
        self.define(Definition::QueueDeleted { queue: queue.spec.id, streams });
    }

    pub(super) fn delete_vhost(&mut self, name: &VhostName) {
        let state = self.state;
        let Some(vhost) = state.vhosts.get(name) else { return };
        let inside = state.connections.iter().filter(|(_, found)| found.open.vhost == *name);
        for (id, _) in inside {
            let detail = format!("vhost '{name}' is deleted");
            self.close(*id, Some(Refusal::new(Code::ConnectionForced, detail)));
        }
        let mut queues: Vec<&QueueId> = vhost.queues.values().collect();
        queues.sort_unstable();
        queues
            .into_iter()
            .filter_map(|id| state.queues.get(id))
            .for_each(|queue| self.drop_queue(queue));
        vhost.exchanges.values().for_each(|exchange| self.drop_exchange(exchange));
        self.define(Definition::VhostDeleted(name.clone()));
    }
}

fn not_default(name: &ExchangeName) -> Result<(), Refusal> {
    if name.is_empty() {
        let detail = "operation not permitted on the default exchange";
        return Err(Refusal::new(Code::AccessRefused, detail));
    }
    Ok(())
}

fn not_reserved(what: &str, name: &str) -> Result<(), Refusal> {
    if name.starts_with("amq.") {
        let detail = format!("{what} name '{name}' contains reserved prefix 'amq.*'");
        return Err(Refusal::new(Code::AccessRefused, detail));
    }
    Ok(())
}

fn check_match(arguments: &Table) -> Result<(), Refusal> {
    match arguments.get("x-match").map(Value::as_text) {
        None | Some(Some("all" | "any" | "all-with-x" | "any-with-x")) => Ok(()),
        Some(other) => {
            let other = other.unwrap_or("of another type");
            let detail = format!(
                "Invalid x-match field value {other}; expected all, any, all-with-x, or any-with-x"
            );
            Err(failed(detail))
        }
    }
}

fn same_exchange(declared: &ExchangeSpec, there: &ExchangeSpec) -> Result<(), Refusal> {
    let ExchangeSpec { vhost, name, .. } = there;
    let wrong = |what: &str, told: String| {
        Err(failed(format!(
            "inequivalent arg '{what}' for exchange '{name}' in vhost '{vhost}': {told}"
        )))
    };
    let words =
        |received: &str, current: &str| format!("received '{received}' but current is '{current}'");
    if declared.kind != there.kind {
        return wrong("type", words(declared.kind.as_str(), there.kind.as_str()));
    }
    let flags = [
        ("durable", declared.durable, there.durable),
        ("auto_delete", declared.auto_delete, there.auto_delete),
        ("internal", declared.internal, there.internal),
    ];
    for (what, received, current) in flags {
        if received != current {
            return wrong(what, words(&received.to_string(), &current.to_string()));
        }
    }
    let key = "alternate-exchange";
    let (one, other) = (declared.arguments.get(key), there.arguments.get(key));
    match argument::different(key, one, other) {
        Some((what, told)) => wrong(&what, told),
        None => Ok(()),
    }
}

fn same_queue(declare: &DeclareQueue, wanted: Manner, there: &QueueSpec) -> Result<(), Refusal> {
    let QueueSpec { vhost, name, .. } = there;
    let wrong = |what: &str, told: String| {
        Err(failed(format!(
            "inequivalent arg '{what}' for queue '{name}' in vhost '{vhost}': {told}"
        )))
    };
    let flags = [
        ("durable", wanted.durable, there.durable),
        ("exclusive", wanted.exclusive, there.owner.is_some()),
        ("auto_delete", wanted.auto_delete, there.auto_delete),
    ];
    for (what, received, current) in flags {
        if received != current {
            return wrong(what, format!("received '{received}' but current is '{current}'"));
        }
    }
    match argument::difference(&declare.arguments, &there.arguments) {
        Some((what, told)) => wrong(&what, told),
        None => Ok(()),
    }
}
