//! A connection that consumes and acknowledges each message by itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt as _;
use hdrhistogram::Histogram;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::time::timeout;

use crate::{Load, connect};

/// After so long without a message it is looked at whether there will be another one.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) async fn run(load: Arc<Load>, number: usize) -> anyhow::Result<Histogram<u64>> {
    let connection = connect(&load.options.uri).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(load.options.prefetch, BasicQosOptions::default()).await?;
    let queue = load.queue(number);
    let (options, nothing) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer =
        channel.basic_consume(queue.as_str().into(), "".into(), options, nothing).await?;
    let mut latencies = Histogram::new(3)?;
    while load.delivered.load(Ordering::Relaxed) < load.due.load(Ordering::Relaxed) {
        let Ok(delivery) = timeout(LOOK, consumer.next()).await else { continue };
        let delivery = delivery.context("the consumer was ended")??;
        let now = u64::try_from(load.begun.elapsed().as_micros())?;
        let sent = delivery.data.first_chunk().map_or(now, |sent| u64::from_be_bytes(*sent));
        latencies.record(now.saturating_sub(sent))?;
        delivery.ack(BasicAckOptions::default()).await?;
        load.delivered.fetch_add(1, Ordering::Relaxed);
    }
    // All acknowledgements are then on the disk.
    channel.close(200, "".into()).await?;
    connection.close(200, "".into()).await?;
    Ok(latencies)
}
