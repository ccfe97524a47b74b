//! Push subscriptions: a service that speaks no AMQP is called for each message of a queue, by the name
//! under which it is registered. A call that fails is made again, after a pause that grows; what cannot
//! be delivered in the end goes where the dead of its queue go.
//!
//! In reading order: this file (the loop), [`backoff`] (the pauses, pure), [`request`] (a message as a
//! call).

mod backoff;
mod request;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use posthouse_base::task::Tasks;
use tokio::time::sleep;

use crate::config::Subscription;
use crate::error::Error;
use crate::inside::Session;
use crate::message::{Message, Table, Value};
use crate::metrics::Pushed;
use crate::service::Handle;
use crate::state::{Act, Code, DeclareQueue, Delivered};
use crate::work::{Verdict, work};

/// Before a subscription whose queue is gone, or whose broker does not answer, begins anew.
const PAUSE: Duration = Duration::from_secs(1);

/// What calls services, by the names under which they are registered.
pub trait Caller: Send + Sync + 'static {
    /// Calls a service, and waits for its answer for as long as `patience`.
    fn call(
        &self,
        service: &str,
        request: http::Request<Bytes>,
        patience: Duration,
    ) -> BoxFuture<'static, Result<Reply, Unreached>>;
}

/// What a service has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Before when it does not want to be called again.
    pub retry_after: Option<Duration>,
}

/// Why a service was not reached, or has not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreached(pub String);

/// Serves the subscriptions of the configuration, and those that are declared while it runs, each by a
/// task of its own.
pub fn start(handle: &Handle, caller: &Arc<dyn Caller>, tasks: &Tasks) {
    let (handle, caller, all) = (handle.clone(), Arc::clone(caller), tasks.child());
    tasks.spawn("broker subscriptions", async move { follow(handle, caller, all).await });
}

/// Starts and ends what serves subscriptions, as they come, change and go.
async fn follow(handle: Handle, caller: Arc<dyn Caller>, tasks: Tasks) {
    let mut running: BTreeMap<String, (Arc<Subscription>, Tasks)> = BTreeMap::new();
    loop {
        let wanted = match wanted(&handle).await {
            Ok(wanted) => wanted,
            Err(Error::Stopped) => return,
            Err(error) => {
                tracing::warn!("subscriptions are not known: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        running.retain(|name, (subscription, serving)| {
            let stays = wanted.get(name) == Some(subscription);
            if !stays {
                serving.stop();
            }
            stays
        });
        for (name, subscription) in wanted {
            running.entry(name).or_insert_with(|| {
                let serving = tasks.child();
                let serve = serve(handle.clone(), Arc::clone(&subscription), Arc::clone(&caller));
                serving.spawn("broker push", serve);
                (subscription, serving)
            });
        }
        handle.shared.subscriptions.notified().await;
    }
}

/// All subscriptions; those of the file come before others of their names.
async fn wanted(handle: &Handle) -> Result<BTreeMap<String, Arc<Subscription>>, Error> {
    let kept = handle.look(|state| state.subscriptions().cloned().collect::<Vec<_>>()).await?;
    let declared = handle.config().subscriptions.iter().cloned().map(Arc::new);
    let named = |subscription: Arc<Subscription>| (subscription.name.clone(), subscription);
    Ok(kept.into_iter().chain(declared).map(named).collect())
}

async fn serve(handle: Handle, subscription: Arc<Subscription>, caller: Arc<dyn Caller>) {
    let name = &*subscription.name;
    loop {
        match begin(&handle, &subscription, &caller).await {
            Err(Error::Stopped) => return,
            // Said once, where it was found.
            Err(Error::Engine(why)) => {
                tracing::debug!(subscription = name, "it waits for the engine: {why}");
            }
            Err(error) => tracing::warn!(subscription = name, "it waits: {error}"),
            Ok(()) => tracing::info!(subscription = name, "its queue was removed"),
        }
        sleep(PAUSE).await;
    }
}

async fn begin(
    handle: &Handle,
    subscription: &Arc<Subscription>,
    caller: &Arc<dyn Caller>,
) -> Result<(), Error> {
    make_queue(handle, subscription).await?;
    let name = format!("push subscription {}", subscription.name);
    let session = handle.inside(&subscription.vhost, &name).await?;
    let each = |delivered: Delivered| {
        let (subscription, caller) = (Arc::clone(subscription), Arc::clone(caller));
        let handle = handle.clone();
        async move { push(&handle, &subscription, &*caller, &delivered).await }
    };
    work(session, &subscription.queue, subscription.concurrency, each).await
}

/// Declares the queue if it is not there, and one for what cannot be delivered beside it.
async fn make_queue(handle: &Handle, subscription: &Subscription) -> Result<(), Error> {
    let queue = &*subscription.queue;
    let passive = DeclareQueue { queue: queue.into(), passive: true, ..DeclareQueue::default() };
    let mut session = handle.inside(&subscription.vhost, "push subscriptions").await?;
    match session.ask(Act::DeclareQueue(passive)).await {
        Err(Error::Refused(refusal)) if refusal.code == Code::NotFound => {}
        asked => return asked.map(drop),
    }
    let mut session: Session = handle.inside(&subscription.vhost, "push subscriptions").await?;
    let dead = format!("{queue}.dead");
    let mut arguments = Table::new();
    arguments.push("x-dead-letter-exchange", Value::text(""));
    arguments.push("x-dead-letter-routing-key", Value::text(&dead));
    for (name, arguments) in [(&*dead, Table::new()), (queue, arguments)] {
        let durable = DeclareQueue {
            queue: name.into(),
            durable: true,
            arguments,
            ..DeclareQueue::default()
        };
        session.ask(Act::DeclareQueue(durable)).await?;
    }
    Ok(())
}

/// Calls the service until it has taken the message, or has been called often enough.
async fn push(
    handle: &Handle,
    subscription: &Subscription,
    caller: &dyn Caller,
    delivered: &Delivered,
) -> Verdict {
    let metrics = &handle.shared.metrics;
    let (message, name): (&Message, _) = (&delivered.message, &*subscription.name);
    for attempt in 1..=subscription.attempts {
        let request = request::request(subscription, message, delivered.redelivered, attempt);
        let called = caller.call(&subscription.service, request, subscription.timeout).await;
        let (why, retry_after) = match called {
            Ok(Reply { status: 200..=299, .. }) => {
                metrics.pushed(name, Pushed::Taken);
                return Verdict::Done;
            }
            Ok(Reply { status, .. }) if backoff::is_final(status) => {
                metrics.pushed(name, Pushed::Dead);
                tracing::warn!(subscription = name, "a message was refused with {status}");
                return Verdict::Dead;
            }
            Ok(Reply { status, retry_after }) => (format!("answered with {status}"), retry_after),
            Err(error) => (error.to_string(), None),
        };
        metrics.pushed(name, Pushed::Failed);
        let service = &*subscription.service;
        tracing::debug!(subscription = name, service, attempt, "a call failed: {why}");
        if attempt == subscription.attempts {
            tracing::warn!(subscription = name, service, attempt, "a message is given up: {why}");
            break;
        }
        let chance = fastrand::f64();
        sleep(backoff::pause(&subscription.backoff, attempt, retry_after, chance)).await;
    }
    metrics.pushed(name, Pushed::Dead);
    Verdict::Dead
}
