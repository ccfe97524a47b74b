//! Messages through a broker over AMQP 0-9-1, by a client that nobody here wrote (lapin), so that the
//! same load can be put on whoever stands behind the port.
//!
//! It is a program of its own, not a part of `xtask`: it must be optimised for its figures to be
//! worth anything.

#![expect(clippy::print_stdout, reason = "a command-line tool talks to its user")]

mod consume;
mod publish;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use hdrhistogram::Histogram;
use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use serde::Serialize;

/// The fan-out exchange.
const EXCHANGE: &str = "bench";

#[derive(Clone, Debug, Parser)]
#[command(about = "Publishes persistent messages, and consumes and acknowledges them")]
pub(crate) struct Options {
    /// Where the broker is.
    #[arg(long)]
    uri: String,
    /// Connections that publish.
    #[arg(long, default_value_t = 0)]
    publishers: usize,
    /// Messages that each has published and not confirmed at a time.
    #[arg(long, default_value_t = 256)]
    window: usize,
    /// Connections that consume.
    #[arg(long, default_value_t = 0)]
    consumers: usize,
    /// Messages that each has received and not acknowledged at a time.
    #[arg(long, default_value_t = 256)]
    prefetch: u16,
    /// Queues, over which publishers and consumers are spread.
    #[arg(long, default_value_t = 1)]
    queues: usize,
    /// Every message goes to every queue.
    #[arg(long)]
    fanout: bool,
    /// Octets of a message.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// How long is published, unless a number of messages is given.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How many messages are published by all, or consumed when nobody publishes.
    #[arg(long)]
    messages: Option<u64>,
    /// Leave the queues with what is in them.
    #[arg(long)]
    keep: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    /// Messages that were confirmed.
    published: u64,
    /// Deliveries that were acknowledged.
    delivered: u64,
    seconds: f64,
    /// From before a message was published until its delivery, in microseconds.
    p50_us: u64,
    p99_us: u64,
}

/// What publishers and consumers share.
pub(crate) struct Load {
    pub(crate) options: Options,
    pub(crate) begun: Instant,
    pub(crate) published: AtomicU64,
    pub(crate) delivered: AtomicU64,
    /// How many deliveries there will be, once that is known.
    pub(crate) due: AtomicU64,
}

impl Load {
    /// The queue of the one with this number.
    pub(crate) fn queue(&self, number: usize) -> String {
        format!("bench-{}", number % self.options.queues)
    }

    pub(crate) fn is_time_over(&self) -> bool {
        self.begun.elapsed() >= Duration::from_secs(self.options.seconds)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let control = connect(&options.uri).await?;
    declare(&control, &options).await?;
    let measured = measure(options.clone()).await?;
    if !options.keep {
        delete(&control, &options).await?;
    }
    control.close(200, "".into()).await?;
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

async fn measure(options: Options) -> anyhow::Result<Measured> {
    let known = options.messages.filter(|_| options.publishers == 0);
    let load = Arc::new(Load {
        due: AtomicU64::new(known.unwrap_or(u64::MAX)),
        begun: Instant::now(),
        published: AtomicU64::new(0),
        delivered: AtomicU64::new(0),
        options,
    });
    let Options { publishers, consumers, queues, fanout, .. } = load.options;
    let consuming: Vec<_> = (0..consumers)
        .map(|number| tokio::spawn(consume::run(Arc::clone(&load), number)))
        .collect();
    let publishing: Vec<_> = (0..publishers)
        .map(|number| tokio::spawn(publish::run(Arc::clone(&load), number)))
        .collect();
    for publisher in publishing {
        publisher.await?.context("a publisher")?;
    }
    let published = load.published.load(Ordering::Relaxed);
    if publishers > 0 {
        let copies = if fanout { u64::try_from(queues)? } else { 1 };
        load.due.store(published * copies, Ordering::Relaxed);
    }
    let mut latencies = Histogram::<u64>::new(3)?;
    for consumer in consuming {
        latencies.add(consumer.await?.context("a consumer")?)?;
    }
    Ok(Measured {
        published,
        delivered: load.delivered.load(Ordering::Relaxed),
        seconds: load.begun.elapsed().as_secs_f64(),
        p50_us: latencies.value_at_quantile(0.5),
        p99_us: latencies.value_at_quantile(0.99),
    })
}

pub(crate) async fn connect(uri: &str) -> anyhow::Result<Connection> {
    let connection = Connection::connect(uri, ConnectionProperties::default()).await;
    connection.with_context(|| format!("connect to {uri}"))
}

async fn declare(control: &Connection, options: &Options) -> anyhow::Result<()> {
    let channel = control.create_channel().await?;
    let (durable, nothing) = (ExchangeDeclareOptions::default(), FieldTable::default);
    let durable = ExchangeDeclareOptions { durable: true, ..durable };
    channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Fanout, durable, nothing()).await?;
    for number in 0..options.queues {
        let name = format!("bench-{number}");
        let durable = QueueDeclareOptions::durable();
        channel.queue_declare(name.as_str().into(), durable, nothing()).await?;
        let bind = QueueBindOptions::default();
        channel
            .queue_bind(name.as_str().into(), EXCHANGE.into(), "".into(), bind, nothing())
            .await?;
    }
    channel.close(200, "".into()).await?;
    Ok(())
}

async fn delete(control: &Connection, options: &Options) -> anyhow::Result<()> {
    let channel = control.create_channel().await?;
    for number in 0..options.queues {
        let name = format!("bench-{number}");
        channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await?;
    }
    channel.exchange_delete(EXCHANGE.into(), ExchangeDeleteOptions::default()).await?;
    channel.close(200, "".into()).await?;
    Ok(())
}
