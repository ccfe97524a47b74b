//! `posthouse consumers` and `keys`: who calls, and by which keys.

use std::io::{self, Write as _};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::address::{Address, step};
use super::api::{Sent, ask, print_json, send, show, show_times};
use super::{Failure, Look, Output, file, print, yaml};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Consumers {
    #[command(flatten)]
    look: Look,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a consumer with its keys; never their secrets.
    Show {
        /// The consumer's name.
        name: String,
        #[command(flatten)]
        look: Look,
    },
    /// Add a consumer, or say anew all that is said of one; its keys stay.
    Put(Put),
    /// Remove a consumer with its keys, which are refused from then on.
    Delete {
        /// The consumer's name.
        name: String,
        /// Only when this is its revision.
        #[arg(long, value_name = "NUMBER")]
        revision: Option<u64>,
        #[command(flatten)]
        look: Look,
    },
    /// Show the changes of a consumer and its keys, the latest first.
    History {
        /// The consumer's name.
        name: String,
        #[command(flatten)]
        look: Look,
    },
}

#[derive(Debug, Args)]
struct Put {
    /// The consumer's name.
    name: String,
    /// Its plan.
    #[arg(long, value_name = "PLAN")]
    plan: Option<String>,
    /// What it is, for permissions; may be repeated.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Something to note of it; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    metadata: Vec<String>,
    /// A name in client certificates that is its own; may be repeated.
    #[arg(long = "certificate", value_name = "NAME")]
    certificates: Vec<String>,
    /// All that is said of it, from a file (YAML or JSON; `-` for standard input): also
    /// `signature_keys`, as in the configuration file.
    #[arg(long, value_name = "FILE")]
    #[arg(conflicts_with_all = ["plan", "roles", "metadata", "certificates"])]
    file: Option<String>,
    /// Only when this is its revision; 0 when it is new.
    #[arg(long, value_name = "NUMBER")]
    revision: Option<u64>,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Keys {
    /// List the keys of this consumer.
    consumer: Option<String>,
    #[command(flatten)]
    look: Look,
    #[command(subcommand)]
    command: Option<KeyCommand>,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Issue a key, and print its secret: it is told this once and never again.
    Issue {
        /// The consumer's name.
        consumer: String,
        /// What its owners call it.
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
        /// From when on it is refused, like 2027-01-01T00:00:00Z.
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        #[command(flatten)]
        look: Look,
    },
    /// Issue a key in place of another, which goes on for a while, and print the new one's secret.
    Rotate {
        /// The consumer's name.
        consumer: String,
        /// The old key's number.
        number: u64,
        /// For how long the old one goes on, like 30m or 2h [default: 24h].
        #[arg(long, value_name = "TIME")]
        overlap: Option<String>,
        /// From when on the new one is refused, like 2027-01-01T00:00:00Z.
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        #[command(flatten)]
        look: Look,
    },
    /// Revoke a key: calls that begin afterwards are not let in by it.
    Revoke {
        /// The consumer's name.
        consumer: String,
        /// The key's number.
        number: u64,
        #[command(flatten)]
        look: Look,
    },
}

pub(crate) fn run(options: Consumers) -> Result<(), Failure> {
    match options.command {
        None => list(&options.look),
        Some(Command::Show { name, look }) => {
            let consumer = ask(&look, Method::GET, &path(&name))?;
            match look.output {
                Output::Json => print_json(&consumer),
                Output::Text => print(&yaml::text(&consumer)),
            }
        }
        Some(Command::Put(options)) => put(options),
        Some(Command::Delete { name, revision, look }) => {
            let address = Address::new(path(&name)).with_number("revision", revision);
            ask(&look, Method::DELETE, address.as_str())?;
            done(&look, &format!("consumer {name} is removed"))
        }
        Some(Command::History { name, look }) => {
            let answer = ask(&look, Method::GET, &format!("{}/history", path(&name)))?;
            let columns = ["revision", "at", "who", "what"];
            show_times(&look, answer, "changes", &columns)
        }
    }
}

pub(crate) fn keys(options: Keys) -> Result<(), Failure> {
    match options.command {
        None => {
            let Some(consumer) = options.consumer else {
                let message = "name a consumer, like `posthouse keys acme`";
                return Err(Failure::setup(anyhow!(message)));
            };
            let look = options.look;
            let answer = ask(&look, Method::GET, &format!("{}/keys", path(&consumer)))?;
            let columns =
                ["number", "id", "label", "issued_at", "expires_at", "replaced_by", "last_used_at"];
            show_times(&look, answer, "keys", &columns)
        }
        Some(KeyCommand::Issue { consumer, label, expires, look }) => {
            let spec = said([("label", label), ("expires", expires)]);
            issue(&look, &format!("{}/keys", path(&consumer)), spec)
        }
        Some(KeyCommand::Rotate { consumer, number, overlap, expires, look }) => {
            let spec = said([("overlap", overlap), ("expires", expires)]);
            issue(&look, &format!("{}/keys/{number}/rotate", path(&consumer)), spec)
        }
        Some(KeyCommand::Revoke { consumer, number, look }) => {
            ask(&look, Method::DELETE, &format!("{}/keys/{number}", path(&consumer)))?;
            done(&look, &format!("key {consumer}/{number} is revoked"))
        }
    }
}

fn list(look: &Look) -> Result<(), Failure> {
    let mut answer = ask(look, Method::GET, "consumers")?;
    if look.output == Output::Text {
        for consumer in answer["consumers"].as_array_mut().into_iter().flatten() {
            let count = consumer["keys"].as_array().map_or(0, Vec::len);
            consumer["keys"] = json!(count);
        }
    }
    show(look, &answer, "consumers", &["name", "plan", "roles", "keys", "origin", "revision"])
}

fn put(options: Put) -> Result<(), Failure> {
    let Put { name, plan, roles, metadata, certificates, file, revision, look } = options;
    let spec = match file {
        Some(file) => file::document(&file)?,
        None => {
            let metadata = metadata.iter().map(|pair| {
                let (name, value) =
                    pair.split_once('=').context("write `--metadata NAME=VALUE`")?;
                Ok((name.to_owned(), json!(value)))
            });
            let metadata = metadata.collect::<anyhow::Result<Map<_, _>>>();
            let metadata = metadata.map_err(Failure::setup)?;
            json!({
                "plan": plan, "roles": roles, "metadata": metadata, "certificates": certificates,
            })
        }
    };
    let address = Address::new(path(&name)).with_number("revision", revision);
    let consumer = send(&look, Method::PUT, address.as_str(), Sent::Json(spec))?;
    match look.output {
        Output::Json => print_json(&consumer),
        Output::Text => {
            print(&format!("consumer {name} is written down, revision {}\n", consumer["revision"]))
        }
    }
}

/// Has a key issued. For people its secret stands alone on standard output, to be kept by whatever
/// reads that.
fn issue(look: &Look, path: &str, spec: Value) -> Result<(), Failure> {
    let issued = send(look, Method::POST, path, Sent::Json(spec))?;
    if look.output == Output::Json {
        return print_json(&issued);
    }
    let secret = issued["secret"].as_str().context("there is no secret in the answer")?;
    print(&format!("{secret}\n"))?;
    let id = issued["key"]["id"].as_str().unwrap_or("of this consumer");
    // Nobody to tell it to is no reason to fail: the secret has been told.
    let _unheard =
        writeln!(io::stderr(), "This is the secret of key {id}. Keep it: it is not shown again.");
    Ok(())
}

/// Tells that something without an answer is done.
fn done(look: &Look, what: &str) -> Result<(), Failure> {
    match look.output {
        Output::Json => print_json(&Value::Null),
        Output::Text => print(&format!("{what}\n")),
    }
}

/// What was said, without what was not.
fn said<const N: usize>(fields: [(&str, Option<String>); N]) -> Value {
    let said =
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    Value::Object(said.collect())
}

fn path(consumer: &str) -> String {
    format!("consumers/{}", step(consumer))
}
