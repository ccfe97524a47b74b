//! `posthouse exchanges`.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::{Within, done, fields};
use crate::cli::address::step;
use crate::cli::api::{Sent, ask, print_json, send, show};
use crate::cli::{Failure, Output, print, yaml};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Exchanges {
    /// Show this exchange with its bindings.
    name: Option<String>,
    #[command(flatten)]
    within: Within,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Declare an exchange. It is durable unless said otherwise; it may be there in just this way.
    Declare(Declare),
    /// Remove an exchange with all that is bound to it.
    Delete {
        /// The exchange's name.
        name: String,
        /// Only when nothing is bound to it.
        #[arg(long)]
        if_unused: bool,
        #[command(flatten)]
        within: Within,
    },
    /// Have what comes to an exchange go on to another one.
    Bind(Bind),
    /// Take an exchange off another one: the binding that is just so.
    Unbind(Bind),
}

#[derive(Debug, Args)]
struct Declare {
    /// The exchange's name.
    name: String,
    /// How it routes: direct, fanout, topic or headers.
    #[arg(value_name = "TYPE")]
    kind: String,
    /// It is forgotten at a restart.
    #[arg(long)]
    transient: bool,
    /// It goes with the last of its bindings.
    #[arg(long)]
    auto_delete: bool,
    /// Clients may not publish to it.
    #[arg(long)]
    internal: bool,
    /// An argument, like alternate-exchange=others; may be repeated.
    #[arg(long = "argument", value_name = "NAME=VALUE")]
    arguments: Vec<String>,
    #[command(flatten)]
    within: Within,
}

#[derive(Debug, Args)]
struct Bind {
    /// The exchange that messages come from.
    source: String,
    /// The exchange that they go on to.
    destination: String,
    /// The routing key, or a pattern of a topic exchange.
    #[arg(long, value_name = "KEY", default_value = "")]
    key: String,
    #[command(flatten)]
    within: Within,
}

pub(crate) fn run(options: Exchanges) -> Result<(), Failure> {
    match options.command {
        None => look(options.name.as_deref(), &options.within),
        Some(Command::Declare(options)) => declare(&options),
        Some(Command::Delete { name, if_unused, within }) => {
            let address = within.address(&format!("exchanges/{}", step(&name)));
            let address = address.with_flag("if_unused", if_unused);
            let answer = ask(&within.look, Method::DELETE, address.as_str())?;
            done(&within.look, &answer, &format!("exchange {name} is removed"))
        }
        Some(Command::Bind(options)) => bind(&options, "messages/bindings", "leads on to"),
        Some(Command::Unbind(options)) => {
            bind(&options, "messages/bindings/remove", "leads no more to")
        }
    }
}

fn look(name: Option<&str>, within: &Within) -> Result<(), Failure> {
    let Some(name) = name else {
        let answer = ask(&within.look, Method::GET, within.address("exchanges").as_str())?;
        let columns = ["name", "vhost", "type", "durable", "auto_delete", "internal"];
        return show(&within.look, &answer, "exchanges", &columns);
    };
    let address = within.address(&format!("exchanges/{}", step(name)));
    let exchange = ask(&within.look, Method::GET, address.as_str())?;
    match within.look.output {
        Output::Json => print_json(&exchange),
        Output::Text => print(&yaml::text(&exchange)),
    }
}

fn declare(options: &Declare) -> Result<(), Failure> {
    let Declare { name, kind, transient, auto_delete, internal, arguments, within } = options;
    let spec = json!({
        "type": kind,
        "durable": !transient,
        "auto_delete": auto_delete,
        "internal": internal,
        "arguments": Value::Object(fields("argument", arguments)?),
    });
    let address = within.address(&format!("exchanges/{}", step(name)));
    let answer = send(&within.look, Method::PUT, address.as_str(), Sent::Json(spec))?;
    done(&within.look, &answer, &format!("exchange {name} is declared"))
}

fn bind(options: &Bind, path: &str, what: &str) -> Result<(), Failure> {
    let Bind { source, destination, key, within } = options;
    let mut binding = json!({
        "source": source,
        "destination": destination,
        "destination_type": "exchange",
        "routing_key": key,
    });
    if let Some(vhost) = &within.vhost {
        binding["vhost"] = json!(vhost);
    }
    let answer = send(&within.look, Method::POST, path, Sent::Json(binding))?;
    done(&within.look, &answer, &format!("exchange {source} {what} exchange {destination}"))
}
