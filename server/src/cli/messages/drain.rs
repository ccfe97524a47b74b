//! `posthouse drain`: moves definitions and queued messages to an engine, step by step.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::anyhow;
use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use crate::cli::api::{Sent, cell, print_json, send};
use crate::cli::progress::Progress;
use crate::cli::table::table;
use crate::cli::{Failure, Look, Output, print};

#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// The RabbitMQ, as amqp://USER:PASSWORD@HOST:5672/VHOST, or amqps://; better given by the
    /// environment [default: the engine of the configuration].
    #[arg(long, value_name = "URL", env = "POSTHOUSE_DRAIN_TO", hide_env_values = true)]
    to: Option<String>,
    /// Only this virtual host.
    #[arg(long, value_name = "NAME")]
    vhost: Option<String>,
    /// Move the messages of these queues only; definitions are declared all the same.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    queues: Vec<String>,
    /// Only show what there is to be moved.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    look: Look,
}

/// What has become of a queue.
struct Row {
    vhost: String,
    queue: String,
    moved: u64,
    left: u64,
    refused: Option<String>,
}

pub(crate) fn run(options: &Drain) -> Result<(), Failure> {
    let plan = ask(options, "plan", json!({ "vhost": options.vhost }))?;
    let queues = wanted(options, &plan)?;
    for queue in &queues {
        if let Some(warning) = queue["warning"].as_str() {
            eprintln!("queue {}: {warning}", cell(&queue["name"]));
        }
    }
    if options.dry_run {
        return planned(options, &plan, &queues);
    }
    let refused = declare(options)?;
    let total = queues.iter().filter_map(|queue| queue["ready"].as_u64()).sum();
    let mut progress = Progress::of("moving", "messages");
    let (mut rows, mut done, mut broken) = (Vec::new(), 0, None);
    for queue in &queues {
        let mut row = Row {
            vhost: cell(&queue["vhost"]),
            queue: cell(&queue["name"]),
            moved: 0,
            left: queue["ready"].as_u64().unwrap_or_default(),
            refused: None,
        };
        if broken.is_none() {
            broken = drain(options, &mut row, &mut |moved| {
                done += moved;
                progress.show(done, total);
            })
            .err();
        }
        rows.push(row);
    }
    drop(progress);
    tell(options, &rows, &refused)?;
    if let Some(failure) = broken {
        return Err(failure.context("it broke off: run it again, nothing is lost"));
    }
    let refusals = refused.len() + rows.iter().filter(|row| row.refused.is_some()).count();
    match (refusals, rows.iter().map(|row| row.left).sum::<u64>()) {
        (0, 0) => Ok(()),
        (0, left) => Err(Failure::other(anyhow!(
            "{left} messages are left: consumers hold them, or publishers go on here; run it again"
        ))),
        (refusals, _) => Err(Failure::other(anyhow!("{refusals} things were refused"))),
    }
}

/// Asks for a step.
fn ask(options: &Drain, step: &str, mut spec: Value) -> Result<Value, Failure> {
    let fields: Option<&mut Map<String, Value>> = spec.as_object_mut();
    if let (Some(fields), Some(to)) = (fields, &options.to) {
        fields.insert("to".into(), json!(to));
    }
    send(&options.look, Method::POST, &format!("messages/drain/{step}"), Sent::Json(spec))
}

/// The queues that are meant.
fn wanted(options: &Drain, plan: &Value) -> Result<Vec<Value>, Failure> {
    let all = plan["queues"].as_array().cloned().unwrap_or_default();
    if options.queues.is_empty() {
        return Ok(all);
    }
    let names: BTreeSet<&str> = options.queues.iter().map(String::as_str).collect();
    let known: BTreeSet<&str> = all.iter().filter_map(|queue| queue["name"].as_str()).collect();
    if let Some(missing) = names.difference(&known).next() {
        return Err(Failure::setup(anyhow!("there is no queue `{missing}`")));
    }
    let is_meant = |queue: &Value| queue["name"].as_str().is_some_and(|name| names.contains(name));
    Ok(all.iter().filter(|queue| is_meant(queue)).cloned().collect())
}

/// Declares everything; returns what was refused.
fn declare(options: &Drain) -> Result<Vec<Value>, Failure> {
    let (mut refused, mut after) = (Vec::new(), Value::Null);
    let (mut progress, mut taken) = (Progress::of("declaring", "definitions"), 0);
    loop {
        let spec = json!({ "vhost": options.vhost, "after": after });
        let answer = ask(options, "definitions", spec)?;
        refused.extend(answer["refused"].as_array().cloned().unwrap_or_default());
        taken += answer["taken"].as_u64().unwrap_or_default();
        progress.show(taken, 0);
        after = answer["next"].clone();
        if after.is_null() {
            return Ok(refused);
        }
    }
}

/// Moves the messages of one queue, until none are left that can be moved.
fn drain(options: &Drain, row: &mut Row, moved: &mut dyn FnMut(u64)) -> Result<(), Failure> {
    loop {
        let spec = json!({ "vhost": row.vhost, "queue": row.queue });
        let answer = ask(options, "queue", spec)?;
        let count = answer["moved"].as_u64().unwrap_or_default();
        row.moved += count;
        row.left = answer["left"].as_u64().unwrap_or_default();
        row.refused = answer["refused"].as_str().map(str::to_owned);
        moved(count);
        if count == 0 || row.left == 0 || row.refused.is_some() {
            return Ok(());
        }
    }
}

fn planned(options: &Drain, plan: &Value, queues: &[Value]) -> Result<(), Failure> {
    if options.look.output == Output::Json {
        return print_json(plan);
    }
    let titles = ["VHOST", "QUEUE", "READY", "UNACKNOWLEDGED"].map(String::from);
    let row =
        |queue: &Value| ["vhost", "name", "ready", "unacknowledged"].map(|key| cell(&queue[key]));
    let rows: Vec<Vec<String>> = queues.iter().map(|queue| row(queue).to_vec()).collect();
    print(&format!(
        "{}would go to {}, with {} exchanges and {} bindings; users and permissions would not\n",
        table(&titles, &rows),
        cell(&plan["target"]),
        cell(&plan["exchanges"]),
        cell(&plan["bindings"]),
    ))
}

fn tell(options: &Drain, rows: &[Row], refused: &[Value]) -> Result<(), Failure> {
    if options.look.output == Output::Json {
        let queues: Vec<Value> = rows
            .iter()
            .map(|row| {
                json!({ "vhost": row.vhost, "queue": row.queue, "moved": row.moved,
                        "left": row.left, "refused": row.refused })
            })
            .collect();
        return print_json(&json!({ "queues": queues, "refused": refused }));
    }
    let titles = ["VHOST", "QUEUE", "MOVED", "LEFT", "REFUSED"].map(String::from);
    let shown = |row: &Row| {
        let refused = row.refused.clone().unwrap_or_else(|| "-".into());
        let (moved, left) = (row.moved.to_string(), row.left.to_string());
        vec![row.vhost.clone(), row.queue.clone(), moved, left, refused]
    };
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    let mut text = table(&titles, &rows);
    for one in refused {
        // Writing to a text does not fail.
        let _written = writeln!(text, "refused: {}: {}", cell(&one["item"]), cell(&one["reason"]));
    }
    text += "users and permissions are not moved: \
             posthouse definitions export | rabbitmqctl import_definitions -\n";
    print(&text)
}
