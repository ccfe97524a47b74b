//! The service on a journal: what clients are told holds whatever happens to the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use posthouse_base::config::{Path, Report};
use posthouse_base::task::Tasks;
use posthouse_journal::sim::{Faults, SimDisk};
use posthouse_journal::sqlite::{Options, Sqlite};
use posthouse_journal::{Config as JournalConfig, Journal, config};

use crate::ids::{ChannelNumber, DeliveryTag};
use crate::message::{Properties, Table};
use crate::service::{Asking, Entrance, Handle, Told};
use crate::state::{Act, Answer, Consume, DeclareQueue, Output, Publish, Qos};
use crate::{Config, Error};

const CHANNEL: ChannelNumber = ChannelNumber::new(1);

async fn enter(handle: &Handle) -> Result<(Asking, Told), Error> {
    let entrance = Entrance {
        vhost: "/".into(),
        user: "guest".into(),
        name: "test".into(),
        understands_blocked: true,
        understands_cancel: true,
        client: Table::new(),
    };
    let (mut asking, told) = handle.enter(entrance).await?;
    asking.open_channel(CHANNEL).await?;
    let durable = DeclareQueue { queue: "q".into(), durable: true, ..DeclareQueue::default() };
    asking.act(CHANNEL, Act::DeclareQueue(durable)).await?;
    Ok((asking, told))
}

fn publish(body: &str) -> Publish {
    Publish {
        routing_key: "q".into(),
        properties: Properties { delivery_mode: Some(2), ..Properties::default() },
        body: Bytes::copy_from_slice(body.as_bytes()),
        ..Publish::default()
    }
}

/// The next thing that is told of which `find` makes something; `None` when the connection is over.
async fn wait<T>(told: &mut Told, find: impl Fn(&Output) -> Option<T>) -> Option<T> {
    loop {
        let output = told.next().await?;
        if let Some(found) = find(&output) {
            return Some(found);
        }
    }
}

fn sqlite(folder: &std::path::Path) -> Arc<dyn Journal> {
    let config = JournalConfig::check(&config::Raw::default(), &Path::root(), &mut Report::new());
    let journal = Sqlite::open(folder, &config.expect("it is right"), Options::default());
    Arc::new(journal.expect("it opens"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_survives_a_restart_and_is_read_in_order() {
    const COUNT: usize = 5000;
    let folder = tempfile::tempdir().expect("a folder");
    {
        let tasks = Tasks::new();
        let handle = Handle::start(Config::default(), Some(sqlite(folder.path())), &tasks).await;
        let handle = handle.expect("it starts");
        let loopback = std::net::Ipv4Addr::LOCALHOST.into();
        assert_eq!(handle.authenticate("guest", b"guest", loopback), Some("guest".into()));
        assert_eq!(handle.authenticate("guest", b"wrong", loopback), None);
        assert_eq!(handle.authenticate("guest", b"guest", [10, 0, 0, 1].into()), None);
        assert_eq!(handle.authenticate("nobody", b"guest", loopback), None);
        let (mut asking, mut told) = enter(&handle).await.expect("let in");
        asking.act(CHANNEL, Act::SelectConfirm { no_wait: false }).await.expect("asked");
        for first in (0..COUNT).step_by(100) {
            let batch = (first..first + 100).map(|number| publish(&number.to_string()));
            asking.act(CHANNEL, Act::Publish(batch.collect())).await.expect("asked");
        }
        let last = u64::try_from(COUNT).expect("a number");
        let confirmed = wait(&mut told, |output| match output {
            Output::Confirm { tag, ack: true, .. } if tag.get() == last => Some(()),
            _ => None,
        });
        assert_eq!(confirmed.await, Some(()));
        asking.close().await.expect("closed");
        handle.close().await;
        tasks.finish(Duration::from_secs(10)).await;
    }
    let tasks = Tasks::new();
    let handle = Handle::start(Config::default(), Some(sqlite(folder.path())), &tasks).await;
    let handle = handle.expect("it starts again");
    let (mut asking, mut told) = enter(&handle).await.expect("let in");
    let queue = wait(&mut told, |output| match output {
        Output::Answer(_, Answer::QueueDeclared { messages, .. }) => Some(*messages),
        _ => None,
    });
    assert_eq!(queue.await, u32::try_from(COUNT).ok());
    asking.act(CHANNEL, Act::Qos(Qos { prefetch: 300, global: false })).await.expect("asked");
    let consume = Consume { queue: "q".into(), ..Consume::default() };
    asking.act(CHANNEL, Act::Consume(consume)).await.expect("asked");
    for number in 0..COUNT {
        let delivered = wait(&mut told, |output| match output {
            Output::Deliver(_, _, delivered) => Some(delivered.clone()),
            _ => None,
        });
        let delivered = delivered.await.expect("a delivery");
        assert_eq!(delivered.message.body, number.to_string());
        let weight = u64::try_from(delivered.message.weight()).expect("a number");
        asking.written(1, weight).await.expect("noted");
        if number % 100 == 99 {
            let ack = Act::Ack { tag: delivered.tag, multiple: true };
            asking.act(CHANNEL, ack).await.expect("asked");
        }
    }
    asking.close_channel(CHANNEL).await.expect("asked");
    let closed = wait(&mut told, |output| {
        matches!(output, Output::Answer(_, Answer::ChannelClosed)).then_some(())
    });
    assert_eq!(closed.await, Some(()));
    let queues = handle.look(crate::state::State::queues).await.expect("it is durable");
    let figures = &queues[0].figures;
    assert_eq!((figures.ready, figures.unacked, figures.bytes), (0, 0, 0));
    handle.close().await;
    tasks.stop();
}

/// What was seen over all restarts.
#[derive(Default)]
struct Seen {
    /// Of each publisher, the numbers that were confirmed, and that were delivered first, in order.
    confirmed: BTreeSet<(u64, u64)>,
    delivered: BTreeMap<u64, Vec<u64>>,
    /// Acknowledged, and known to be durable.
    done: BTreeSet<(u64, u64)>,
    wrong: Option<String>,
}

type Shared = Arc<Mutex<Seen>>;

fn seen(shared: &Shared) -> std::sync::MutexGuard<'_, Seen> {
    shared.lock().expect("nobody panics with it")
}

/// Publishes numbers, a few at a time, and notes which were confirmed; until it is told to end.
async fn publisher(handle: Handle, who: u64, from: u64, shared: Shared) -> Result<u64, Error> {
    let mut number = from;
    let (mut asking, mut told) = enter(&handle).await?;
    asking.act(CHANNEL, Act::SelectConfirm { no_wait: true }).await?;
    let mut sent = Vec::new();
    let mut confirmed = 0;
    for round in 0..8 {
        let count = 1 + (number + round) % 4;
        let batch = (number..number + count).map(|number| publish(&format!("{who}:{number}")));
        asking.act(CHANNEL, Act::Publish(batch.collect())).await?;
        sent.extend(number..number + count);
        number += count;
        while let Some(output) = told.try_next() {
            confirmed = note(&output, who, &sent, confirmed, &shared);
        }
    }
    let all = tokio::time::timeout(Duration::from_secs(5), async {
        while confirmed < sent.len() {
            let Some(output) = told.next().await else { break };
            confirmed = note(&output, who, &sent, confirmed, &shared);
        }
    });
    let _over_or_not = all.await;
    Ok(number)
}

fn note(output: &Output, who: u64, sent: &[u64], before: usize, shared: &Shared) -> usize {
    let Output::Confirm { tag, ack: true, .. } = output else { return before };
    let now = usize::try_from(tag.get()).unwrap_or(usize::MAX);
    let fresh = sent[before..now].iter().map(|number| (who, *number));
    seen(shared).confirmed.extend(fresh);
    now
}

/// Takes messages, acknowledges them, and notes which acknowledgements are durable; ends when nothing
/// comes for a while.
async fn consumer(handle: Handle, shared: Shared) -> Result<(), Error> {
    let (mut asking, mut told) = enter(&handle).await?;
    asking.act(CHANNEL, Act::Qos(Qos { prefetch: 5, global: false })).await?;
    let consume = Consume { queue: "q".into(), ..Consume::default() };
    asking.act(CHANNEL, Act::Consume(consume)).await?;
    let mut acked = Vec::new();
    while let Ok(Some(output)) = tokio::time::timeout(Duration::from_secs(2), told.next()).await {
        let Output::Deliver(_, _, delivered) = output else { continue };
        let text = String::from_utf8_lossy(&delivered.message.body).into_owned();
        let (who, number) = text.split_once(':').expect("a body");
        let letter = (who.parse().expect("a number"), number.parse().expect("a number"));
        {
            let mut seen = seen(&shared);
            if seen.done.contains(&letter) {
                seen.wrong.get_or_insert(format!("{text} came after its acknowledgement"));
            }
            let first = seen.delivered.entry(letter.0).or_default();
            if !first.contains(&letter.1) {
                let is_late = first.last().is_some_and(|last| *last > letter.1);
                first.push(letter.1);
                if is_late {
                    seen.wrong.get_or_insert(format!("{text} came after later ones"));
                }
            } else if !delivered.redelivered {
                seen.wrong.get_or_insert(format!("{text} came again and does not say so"));
            }
        }
        asking.act(CHANNEL, Act::Ack { tag: delivered.tag, multiple: false }).await?;
        acked.push(letter);
        if acked.len() > 20 {
            break;
        }
    }
    asking.close_channel(CHANNEL).await?;
    let closed = wait(&mut told, |output| {
        matches!(output, Output::Answer(_, Answer::ChannelClosed)).then_some(())
    });
    if let Ok(Some(())) = tokio::time::timeout(Duration::from_secs(5), closed).await {
        seen(&shared).done.extend(acked);
    }
    Ok(())
}

async fn live(seed: u64) -> Result<(), String> {
    let (disk, shared) = (SimDisk::default(), Shared::default());
    let mut luck = fastrand::Rng::with_seed(seed);
    let mut next = [0, 0];
    for life in 0..8 {
        let millis = Duration::from_millis;
        let faults = Faults {
            delay: millis(1 + seed % 7),
            fail: if life < 7 { 0.04 } else { 0.0 },
            uncertain: if life < 7 { 0.04 } else { 0.0 },
            outage: millis(seed % 50),
            ..Faults::default()
        };
        let tasks = Tasks::new();
        let journal = disk.open(faults, luck.u64(..), &tasks);
        let Ok(handle) = Handle::start(Config::default(), Some(journal.clone()), &tasks).await
        else {
            tasks.finish(Duration::from_secs(60)).await;
            continue;
        };
        let one = publisher(handle.clone(), 0, next[0], Arc::clone(&shared));
        let other = publisher(handle.clone(), 1, next[1], Arc::clone(&shared));
        // Whatever was sent and not confirmed may be there or not; numbers are not used again.
        next = next.map(|number| number + 100);
        let work = async {
            let _each = tokio::join!(one, other, consumer(handle.clone(), Arc::clone(&shared)));
            if life == 7 {
                while consumed(&handle) > 0 {
                    let _again = consumer(handle.clone(), Arc::clone(&shared)).await;
                }
            }
        };
        let most = if life < 7 && luck.bool() { millis(luck.u64(5..400)) } else { millis(600_000) };
        let _ended = tokio::time::timeout(most, work).await;
        if luck.bool() {
            journal.crash();
        } else {
            handle.close().await;
        }
        tasks.finish(Duration::from_secs(60)).await;
    }
    let seen = seen(&shared);
    if let Some(wrong) = &seen.wrong {
        return Err(wrong.clone());
    }
    for (who, number) in &seen.confirmed {
        if !seen.delivered.get(who).is_some_and(|all| all.contains(number)) {
            return Err(format!("{who}:{number} was confirmed and never came"));
        }
    }
    if seen.confirmed.len() < 20 || seen.done.len() < 20 {
        return Err(format!("only {} confirmed, {} done", seen.confirmed.len(), seen.done.len()));
    }
    Ok(())
}

fn consumed(handle: &Handle) -> u64 {
    handle.shared.driver.peek(|state| state.queue_figures(1).iter().map(|q| q.ready).sum())
}

#[test]
fn whatever_the_journal_does_no_confirmed_message_is_lost() {
    const SEED: &str = "POSTHOUSE_SEED";
    let named = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seeds = named.map_or(0..40, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
        let outcome = runtime.block_on(live(seed));
        if let Err(what) = outcome {
            panic!(
                "seed {seed}: {what}\nreplay: {SEED}={seed} cargo test -p posthouse-broker whatever"
            );
        }
    }
}

#[tokio::test]
async fn without_a_journal_everything_lives_in_memory() {
    let tasks = Tasks::new();
    let handle = Handle::start(Config::default(), None, &tasks).await.expect("it starts");
    let (mut asking, mut told) = enter(&handle).await.expect("let in");
    asking.act(CHANNEL, Act::Publish(vec![publish("a")])).await.expect("asked");
    let consume = Consume { queue: "q".into(), ..Consume::default() };
    asking.act(CHANNEL, Act::Consume(consume)).await.expect("asked");
    let delivered = wait(&mut told, |output| match output {
        Output::Deliver(_, _, delivered) => Some(delivered.tag),
        _ => None,
    });
    assert_eq!(delivered.await, Some(DeliveryTag::new(1)));
    drop(asking);
    let closed = wait(&mut told, |output| {
        matches!(output, Output::Answer(_, Answer::ConnectionClosed)).then_some(())
    });
    assert_eq!(closed.await, Some(()));
    assert_eq!(told.next().await, None);
    tasks.stop();
}
