//! A connection that publishes persistent messages, with as many on their way as its window says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, PublisherConfirm};

use crate::{EXCHANGE, Load, connect};

const PERSISTENT: u8 = 2;

/// How many messages publishers have begun to send, all together.
static BEGUN: AtomicU64 = AtomicU64::new(0);

pub(crate) async fn run(load: Arc<Load>, number: usize) -> anyhow::Result<()> {
    let connection = connect(&load.options.uri).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let queue = load.queue(number);
    let (exchange, key) = if load.options.fanout { (EXCHANGE, "") } else { ("", queue.as_str()) };
    let mut body = vec![b'.'; load.options.size.max(8)];
    let mut open = VecDeque::new();
    while is_next(&load) {
        if open.len() >= load.options.window {
            confirm(open.pop_front(), &load).await?;
        }
        let now = u64::try_from(load.begun.elapsed().as_micros())?;
        body[..8].copy_from_slice(&now.to_be_bytes());
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish(exchange.into(), key.into(), options, &body, properties);
        open.push_back(sent.await?);
    }
    while !open.is_empty() {
        confirm(open.pop_front(), &load).await?;
    }
    connection.close(200, "".into()).await?;
    Ok(())
}

/// Whether one more is to be published.
fn is_next(load: &Load) -> bool {
    match load.options.messages {
        Some(messages) => BEGUN.fetch_add(1, Ordering::Relaxed) < messages,
        None => !load.is_time_over(),
    }
}

async fn confirm(first: Option<PublisherConfirm>, load: &Load) -> anyhow::Result<()> {
    let Some(first) = first else { return Ok(()) };
    ensure!(first.await?.is_ack(), "a message was not taken on");
    load.published.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
