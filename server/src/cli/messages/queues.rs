//! `posthouse queues`.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::{Within, done, fields};
use crate::cli::address::step;
use crate::cli::api::{Sent, ask, print_json, send, show};
use crate::cli::{Failure, Output, print, yaml};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Queues {
    /// Show this queue with its bindings and consumers.
    name: Option<String>,
    #[command(flatten)]
    within: Within,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Declare a queue. It is durable unless said otherwise; it may be there in just this way.
    Declare(Declare),
    /// Remove a queue with everything in it.
    Delete {
        /// The queue's name.
        name: String,
        /// Only when nobody consumes.
        #[arg(long)]
        if_unused: bool,
        /// Only when nothing is in it.
        #[arg(long)]
        if_empty: bool,
        #[command(flatten)]
        within: Within,
    },
    /// Bind a queue to an exchange.
    Bind(Bind),
    /// Take a queue off an exchange: the binding that is just so.
    Unbind(Bind),
}

#[derive(Debug, Args)]
struct Declare {
    /// The queue's name.
    name: String,
    /// It is forgotten at a restart, with everything in it.
    #[arg(long)]
    transient: bool,
    /// It goes with the last of its consumers.
    #[arg(long)]
    auto_delete: bool,
    /// An argument, like x-queue-type=quorum, x-message-ttl=60000 or x-dead-letter-exchange=dead; may
    /// be repeated.
    #[arg(long = "argument", value_name = "NAME=VALUE")]
    arguments: Vec<String>,
    #[command(flatten)]
    within: Within,
}

#[derive(Debug, Args)]
struct Bind {
    /// The queue's name.
    queue: String,
    /// The exchange's name.
    exchange: String,
    /// The routing key, or a pattern of a topic exchange.
    #[arg(long, value_name = "KEY", default_value = "")]
    key: String,
    /// An argument, as headers exchanges have them; may be repeated.
    #[arg(long = "argument", value_name = "NAME=VALUE")]
    arguments: Vec<String>,
    #[command(flatten)]
    within: Within,
}

pub(crate) fn run(options: Queues) -> Result<(), Failure> {
    match options.command {
        None => look(options.name.as_deref(), &options.within),
        Some(Command::Declare(options)) => declare(&options),
        Some(Command::Delete { name, if_unused, if_empty, within }) => {
            let address = within.address(&format!("queues/{}", step(&name)));
            let address = address.with_flag("if_unused", if_unused).with_flag("if_empty", if_empty);
            let answer = ask(&within.look, Method::DELETE, address.as_str())?;
            let said = format!("queue {name} is removed with {} messages", answer["messages"]);
            done(&within.look, &answer, &said)
        }
        Some(Command::Bind(options)) => bind(&options, "messages/bindings", "is bound to"),
        Some(Command::Unbind(options)) => {
            bind(&options, "messages/bindings/remove", "is taken off")
        }
    }
}

fn look(name: Option<&str>, within: &Within) -> Result<(), Failure> {
    let Some(name) = name else {
        let answer = ask(&within.look, Method::GET, within.address("queues").as_str())?;
        let columns = ["name", "vhost", "type", "durable", "ready", "unacknowledged", "consumers"];
        return show(&within.look, &answer, "queues", &columns);
    };
    let address = within.address(&format!("queues/{}", step(name)));
    let queue = ask(&within.look, Method::GET, address.as_str())?;
    match within.look.output {
        Output::Json => print_json(&queue),
        Output::Text => print(&yaml::text(&queue)),
    }
}

fn declare(options: &Declare) -> Result<(), Failure> {
    let Declare { name, transient, auto_delete, arguments, within } = options;
    let spec = json!({
        "durable": !transient,
        "auto_delete": auto_delete,
        "arguments": Value::Object(fields("argument", arguments)?),
    });
    let address = within.address(&format!("queues/{}", step(name)));
    let answer = send(&within.look, Method::PUT, address.as_str(), Sent::Json(spec))?;
    let note = answer["note"].as_str().map(|note| format!("\nnote: {note}")).unwrap_or_default();
    done(&within.look, &answer, &format!("queue {name} is declared{note}"))
}

fn bind(options: &Bind, path: &str, what: &str) -> Result<(), Failure> {
    let Bind { queue, exchange, key, arguments, within } = options;
    let mut binding = json!({
        "source": exchange,
        "destination": queue,
        "routing_key": key,
        "arguments": Value::Object(fields("argument", arguments)?),
    });
    if let Some(vhost) = &within.vhost {
        binding["vhost"] = json!(vhost);
    }
    let answer = send(&within.look, Method::POST, path, Sent::Json(binding))?;
    done(&within.look, &answer, &format!("queue {queue} {what} exchange {exchange}"))
}
