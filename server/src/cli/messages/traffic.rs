//! `posthouse publish`, `consume` and `purge`: messages themselves.

use std::io::{self, Read as _};

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::{Within, done, fields};
use crate::cli::address::step;
use crate::cli::api::{Sent, add_times, cell, send};
use crate::cli::{Failure, Output, print};

/// How long one question may wait for messages, in milliseconds.
const WAIT_MS: u64 = 15_000;
/// Messages that are asked for at once.
const AT_ONCE: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The routing key: without an exchange the name of the queue.
    key: String,
    /// What is said; `-`, or nothing, for standard input.
    body: Option<String>,
    /// The exchange [default: the default exchange, which leads to every queue by its name].
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    exchange: String,
    /// A header; may be repeated.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// A property: content_type, correlation_id, expiration, message_id, priority, reply_to, type …;
    /// may be repeated.
    #[arg(long = "property", value_name = "NAME=VALUE")]
    properties: Vec<String>,
    /// It need not survive a restart.
    #[arg(long)]
    transient: bool,
    #[command(flatten)]
    within: Within,
}

#[derive(Debug, Args)]
pub(crate) struct Consume {
    /// The queue.
    queue: String,
    /// End after so many messages [default: all that are there].
    #[arg(long, value_name = "NUMBER")]
    count: Option<usize>,
    /// Only look: messages stay in the queue, marked as delivered before.
    #[arg(long, conflicts_with = "follow")]
    peek: bool,
    /// Wait for further messages, until interrupted or until there were as many as `--count`.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    within: Within,
}

#[derive(Debug, Args)]
pub(crate) struct Purge {
    /// The queue.
    queue: String,
    #[command(flatten)]
    within: Within,
}

pub(crate) fn publish(options: Publish) -> Result<(), Failure> {
    let Publish { key, body, exchange, headers, properties, transient, within } = options;
    let body = match body {
        Some(text) if text != "-" => text.into_bytes(),
        _ => {
            let mut read = Vec::new();
            let all = io::stdin().lock().read_to_end(&mut read);
            all.context("standard input cannot be read").map_err(Failure::setup)?;
            read
        }
    };
    let mut said = Map::new();
    for (name, value) in fields("property", &properties)? {
        // Where AMQP has a text, what looks like a number is one all the same.
        let is_number = ["priority", "timestamp", "delivery_mode"].contains(&&*name);
        let value = if is_number { value } else { cell(&value).into() };
        said.insert(name, value);
    }
    if transient {
        said.insert("delivery_mode".into(), json!(1));
    }
    if !headers.is_empty() {
        said.insert("headers".into(), Value::Object(fields("header", &headers)?));
    }
    let (payload, encoding) = match String::from_utf8(body) {
        Ok(text) => (text, "string"),
        Err(error) => (STANDARD.encode(error.as_bytes()), "base64"),
    };
    let message = json!({
        "exchange": exchange,
        "routing_key": key,
        "payload": payload,
        "payload_encoding": encoding,
        "properties": said,
    });
    let address = within.address("publish");
    let answer = send(&within.look, Method::POST, address.as_str(), Sent::Json(message))?;
    if answer["routed"] == json!(true) {
        return done(&within.look, &answer, "published");
    }
    let why = match &*exchange {
        "" => format!("there is no queue `{key}`"),
        exchange => format!("no queue is bound to exchange `{exchange}` for `{key}`"),
    };
    Err(Failure::other(anyhow!("{why}: the message is gone")))
}

pub(crate) fn consume(options: Consume) -> Result<(), Failure> {
    let Consume { queue, count, peek, follow, within } = options;
    let address = within.address(&format!("queues/{}/get", step(&queue)));
    let mut left = count.unwrap_or(usize::MAX);
    while left > 0 {
        let at_once = if peek { 10 * AT_ONCE } else { AT_ONCE };
        let wait_ms = if follow { WAIT_MS } else { 0 };
        let spec = json!({ "count": left.min(at_once), "take": !peek, "wait_ms": wait_ms });
        let answer = send(&within.look, Method::POST, address.as_str(), Sent::Json(spec))?;
        let messages = answer["messages"].as_array().cloned().unwrap_or_default();
        left -= messages.len().min(left);
        let is_last = peek || (messages.is_empty() && !follow);
        for message in messages {
            print(&shown(message, within.look.output))?;
        }
        if is_last {
            break;
        }
    }
    Ok(())
}

/// A line for each message: what is said, or everything as JSON.
fn shown(mut message: Value, output: Output) -> String {
    match output {
        Output::Json => {
            add_times(&mut message);
            format!("{message}\n")
        }
        Output::Text => format!("{}\n", cell(&message["payload"])),
    }
}

pub(crate) fn purge(options: &Purge) -> Result<(), Failure> {
    let Purge { queue, within } = options;
    let address = within.address(&format!("queues/{}/purge", step(queue)));
    let answer = send(&within.look, Method::POST, address.as_str(), Sent::Nothing)?;
    let said = format!("{} messages are removed from queue {queue}", answer["messages"]);
    done(&within.look, &answer, &said)
}
