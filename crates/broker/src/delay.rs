//! Messages that are to be published later, and are durable until then.
//!
//! They wait in queues of the house, each with a time after which messages leave it: powers of two. A
//! message waits in the queue of the longest time that is not too long, then in the next, until its
//! time has come; so a few queues do for every delay, and a message moves once for each bit of it. Only
//! what every RabbitMQ has is used. Each step is durable before the one before it is forgotten: a crash
//! may publish a message twice, and loses none.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use posthouse_base::time::Timestamp;
use tokio::time::sleep;

use crate::error::Error;
use crate::ids::VhostName;
use crate::inside::Published;
use crate::message::{Properties, Table, Value};
use crate::posts::{Posts, Sender};
use crate::state::{Act, DeclareQueue, Delivered, Publish};
use crate::work::{Verdict, work};

/// Where messages come to that have waited.
const DUE: &str = "posthouse.delay.due";
/// The header that says what a message is to become.
const HEADER: &str = "x-posthouse-delayed";
/// The shortest time for which a message is put into a queue, in milliseconds.
const SHORTEST: u64 = 128;
/// The longest: RabbitMQ takes less than 2^32.
const LONGEST: u64 = SHORTEST << 24;
/// Messages that are moved on at the same time.
const AT_ONCE: u16 = 256;
/// Before something that did not work is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What publishes later.
#[derive(Clone, Debug)]
pub(crate) struct Delays {
    posts: Posts,
    /// Virtual hosts in which what is due is moved on.
    running: Arc<Mutex<BTreeSet<VhostName>>>,
}

impl Delays {
    /// Goes on with what waits already.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub(crate) async fn start(posts: Posts) -> Result<Self, Error> {
        let delays = Self { posts, running: Arc::default() };
        let handle = delays.posts.handle();
        let waiting = handle.look(|state| {
            let has = |vhost: &&VhostName| state.queue(vhost.as_str(), DUE).is_some();
            state.vhosts().filter(has).cloned().collect::<Vec<_>>()
        });
        let mut waiting = waiting.await?;
        // What waits at an engine is not known here: some of an earlier run may.
        let meant = VhostName::from(handle.config().vhost());
        if handle.engine().is_some() && handle.config().http.is_some() && !waiting.contains(&meant)
        {
            waiting.push(meant);
        }
        for vhost in waiting {
            delays.run(&vhost);
        }
        Ok(delays)
    }

    /// Publishes a message at `until`; it is durable when this returns.
    ///
    /// # Errors
    /// As [`Posts::publish`].
    pub(crate) async fn publish(
        &self,
        vhost: &VhostName,
        publish: Publish,
        until: Timestamp,
    ) -> Result<Published, Error> {
        let left = left(until);
        let wrapped = wrapped(publish, until);
        self.put(vhost, wrapped, level(left).unwrap_or(SHORTEST)).await
    }

    /// Puts a message into the queue of that time.
    async fn put(
        &self,
        vhost: &VhostName,
        message: Publish,
        level: u64,
    ) -> Result<Published, Error> {
        let name = format!("posthouse.delay.{level}");
        let house = Sender { vhost: vhost.clone(), user: None };
        self.run(vhost);
        let to = Publish { routing_key: (&*name).into(), ..message };
        match self.posts.publish(&house, to.clone()).await? {
            // The first of its level, or somebody has removed the queue.
            Published::Unroutable => {
                self.declare(vhost, &name, level).await?;
                self.posts.publish(&house, to).await
            }
            published => Ok(published),
        }
    }

    async fn declare(&self, vhost: &VhostName, name: &str, level: u64) -> Result<(), Error> {
        let mut session = self.posts.handle().inside(vhost.as_str(), "delays").await?;
        session.ask(Act::DeclareQueue(durable(DUE, Table::new()))).await?;
        let mut arguments = Table::new();
        arguments.push("x-message-ttl", Value::I64(i64::try_from(level).unwrap_or(i64::MAX)));
        arguments.push("x-dead-letter-exchange", Value::text(""));
        arguments.push("x-dead-letter-routing-key", Value::text(DUE));
        session.ask(Act::DeclareQueue(durable(name, arguments))).await?;
        Ok(())
    }

    /// Sees that what is due in a virtual host is moved on.
    fn run(&self, vhost: &VhostName) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.insert(vhost.clone()) {
            return;
        }
        let (delays, vhost) = (self.clone(), vhost.clone());
        let tasks = &self.posts.handle().shared.tasks;
        tasks.spawn("broker delays", async move { delays.move_on(vhost).await });
    }

    async fn move_on(self, vhost: VhostName) {
        loop {
            if let Err(error) = self.clone().work(&vhost).await {
                if matches!(error, Error::Stopped) {
                    return;
                }
                // Of an engine that is said where it is found, and once.
                if !matches!(error, Error::Engine(_)) {
                    tracing::warn!(vhost = vhost.as_str(), "delayed messages wait: {error}");
                }
            }
            sleep(PAUSE).await;
        }
    }

    async fn work(self, vhost: &VhostName) -> Result<(), Error> {
        let mut session = self.posts.handle().inside(vhost.as_str(), "delays").await?;
        session.ask(Act::DeclareQueue(durable(DUE, Table::new()))).await?;
        let each = |delivered| {
            let delays = self.clone();
            async move { delays.pass_on(vhost, delivered).await }
        };
        work(session, DUE, AT_ONCE, each).await
    }

    /// Passes a message on that has left a queue: into the next, or to where it was to go.
    async fn pass_on(&self, vhost: &VhostName, delivered: Delivered) -> Verdict {
        let message = &delivered.message;
        let Some((until, publish)) = unwrapped(&message.properties, message.body.clone()) else {
            tracing::warn!("what is no delayed message was put into {DUE}, and is dropped");
            return Verdict::Dead;
        };
        let house = Sender { vhost: vhost.clone(), user: None };
        loop {
            let passed = match level(left(until)) {
                Some(level) => self.put(vhost, wrapped(publish.clone(), until), level).await,
                None => {
                    sleep(left(until)).await;
                    self.posts.publish(&house, publish.clone()).await
                }
            };
            let exchange = publish.exchange.as_str();
            match passed {
                Ok(Published::Taken) => return Verdict::Done,
                Ok(Published::Unroutable) => {
                    let key = publish.routing_key.as_str();
                    tracing::warn!(exchange, key, "no queue is bound for a delayed message");
                    return Verdict::Dead;
                }
                Err(Error::Refused(refusal)) => {
                    tracing::warn!(exchange, "a delayed message cannot be published: {refusal}");
                    return Verdict::Dead;
                }
                Ok(Published::Rejected) | Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

fn durable(name: &str, arguments: Table) -> DeclareQueue {
    DeclareQueue { queue: name.into(), durable: true, arguments, ..DeclareQueue::default() }
}

/// For how long messages wait in a queue, in milliseconds, if it is one of those.
pub(crate) fn term_of(queue: &str) -> Option<u64> {
    queue.strip_prefix("posthouse.delay.")?.parse().ok()
}

fn left(until: Timestamp) -> Duration {
    Duration::from_millis(until.as_millis().saturating_sub(Timestamp::now().as_millis()))
}

/// The longest of the times that is not longer than what is left; `None` when that is too short for a
/// queue.
fn level(left: Duration) -> Option<u64> {
    let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let fits = |level: &u64| *level <= left;
    let levels = std::iter::successors(Some(SHORTEST), |level| Some(level << 1));
    levels.take_while(|level| *level <= LONGEST && fits(level)).last()
}

/// A message as it waits: what would matter to queues on the way is set aside.
fn wrapped(publish: Publish, until: Timestamp) -> Publish {
    let Publish { exchange, routing_key, mut properties, body, .. } = publish;
    let mut set_aside = Table::new();
    set_aside.push("exchange", Value::text(exchange.as_str()));
    set_aside.push("key", Value::text(routing_key.as_str()));
    set_aside.push("until", Value::Timestamp(until.as_millis()));
    let mode = Value::U8(properties.delivery_mode.unwrap_or(1));
    set_aside.push("mode", mode);
    if let Some(expiration) = properties.expiration.take() {
        set_aside.push("expiration", Value::text(&expiration));
    }
    if let Some(headers) = properties.headers.take() {
        set_aside.push("headers", Value::Table(headers));
    }
    let mut headers = Table::new();
    headers.push(HEADER, Value::Table(set_aside));
    let headers = Some(headers);
    let properties = Properties { headers, delivery_mode: Some(2), ..properties };
    Publish { properties, body, ..Publish::default() }
}

/// What a message is to become, and when.
fn unwrapped(waiting: &Properties, body: bytes::Bytes) -> Option<(Timestamp, Publish)> {
    let mut properties = waiting.clone();
    let mut headers = properties.headers.take()?;
    let Value::Table(mut set_aside) = headers.remove(HEADER)? else { return None };
    let text = |key: &str| set_aside.get(key).and_then(Value::as_text);
    let (exchange, routing_key) = (text("exchange")?.into(), text("key")?.into());
    properties.expiration = text("expiration").map(Into::into);
    let Some(Value::Timestamp(until)) = set_aside.get("until") else { return None };
    let until = Timestamp::from_millis(*until);
    properties.delivery_mode =
        set_aside.get("mode").and_then(Value::as_integer).and_then(|mode| u8::try_from(mode).ok());
    properties.headers = match set_aside.remove("headers") {
        Some(Value::Table(headers)) => Some(headers),
        _ => None,
    };
    Some((until, Publish { exchange, routing_key, properties, body, mandatory: false }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_delay_is_made_of_the_times_of_queues() {
        let level = |ms| level(Duration::from_millis(ms));
        assert_eq!([0, 127].map(level), [None, None]);
        assert_eq!([128, 255, 256, 1000].map(level), [128, 128, 256, 512].map(Some));
        assert_eq!(level(u64::MAX), Some(LONGEST));
        const { assert!(LONGEST < 1 << 32, "RabbitMQ takes it") }
        let mut left = 3_600_000;
        let mut steps = 0;
        while let Some(level) = level(left) {
            (left, steps) = (left - level, steps + 1);
        }
        assert!(left < SHORTEST && steps < 16, "{left} {steps}");
    }

    #[test]
    fn a_message_comes_out_as_it_went_in() {
        let mut headers = Table::new();
        headers.push("CC", Value::Array(vec![Value::text("x")]));
        let properties = Properties {
            headers: Some(headers),
            expiration: Some("5".into()),
            delivery_mode: Some(1),
            message_id: Some("m".into()),
            ..Properties::default()
        };
        let publish = Publish {
            exchange: "orders".into(),
            routing_key: "placed".into(),
            properties,
            body: "hello".into(),
            mandatory: false,
        };
        let until = Timestamp::from_millis(12_345);
        let waiting = wrapped(publish.clone(), until);
        assert!(waiting.properties.is_persistent() && waiting.properties.expiration.is_none());
        assert!(waiting.properties.headers.as_ref().is_some_and(|all| all.get("CC").is_none()));
        let out = unwrapped(&waiting.properties, waiting.body.clone());
        assert_eq!(out, Some((until, publish)));
        assert_eq!(unwrapped(&Properties::default(), waiting.body), None);
    }
}
