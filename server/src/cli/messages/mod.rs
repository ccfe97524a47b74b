//! `posthouse queues|exchanges|connections|definitions|drain`, and `publish`, `consume` and `purge`
//! ([`traffic`]): messages of a running house, by its admin API.

mod definitions;
mod drain;
mod exchanges;
mod queues;
mod traffic;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value};

use super::address::Address;
use super::api::{ask, print_json, show};
use super::{Failure, Look, Output, print};

pub(crate) use definitions::{Definitions, run as definitions};
pub(crate) use drain::{Drain, run as drain};
pub(crate) use exchanges::{Exchanges, run as exchanges};
pub(crate) use queues::{Queues, run as queues};
pub(crate) use traffic::{Consume, Publish, Purge, consume, publish, purge};

/// Where a question is asked, and in which virtual host.
#[derive(Clone, Debug, Args)]
pub(crate) struct Within {
    /// The virtual host [default: the one of the configuration, which is `/` unless it says otherwise].
    #[arg(long, value_name = "NAME")]
    vhost: Option<String>,
    #[command(flatten)]
    look: Look,
}

impl Within {
    /// A question below `messages/`.
    fn address(&self, path: &str) -> Address {
        Address::new(format!("messages/{path}")).with("vhost", self.vhost.as_deref())
    }
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Connections {
    #[command(flatten)]
    within: Within,
    #[command(subcommand)]
    command: Option<ConnectionCommand>,
}

#[derive(Debug, Subcommand)]
enum ConnectionCommand {
    /// Close a connection. Its client is told why, and may come again.
    Close {
        /// The connection's number.
        id: u64,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        look: Look,
    },
}

pub(crate) fn connections(options: Connections) -> Result<(), Failure> {
    match options.command {
        None => {
            let within = options.within;
            let answer = ask(&within.look, Method::GET, within.address("connections").as_str())?;
            let columns =
                ["id", "name", "user", "vhost", "channels", "consumers", "unacknowledged"];
            show(&within.look, &answer, "connections", &columns)
        }
        Some(ConnectionCommand::Close { id, reason, look }) => {
            let address = Address::new(format!("messages/connections/{id}"));
            let address = address.with("reason", reason.as_deref());
            ask(&look, Method::DELETE, address.as_str())?;
            done(&look, &Value::Null, &format!("connection {id} is closed"))
        }
    }
}

/// Tells that something is done: programs get the answer.
fn done(look: &Look, answer: &Value, what: &str) -> Result<(), Failure> {
    match look.output {
        Output::Json => print_json(answer),
        Output::Text => print(&format!("{what}\n")),
    }
}

/// `NAME=VALUE` pairs. A value is JSON if it reads as a number, a truth or a list, and else a text.
fn fields(option: &str, pairs: &[String]) -> Result<Map<String, Value>, Failure> {
    let field = |pair: &String| {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Failure::setup(anyhow!("write `--{option} NAME=VALUE`, not `{pair}`")));
        };
        Ok((name.to_owned(), scalar(value)))
    };
    pairs.iter().map(field).collect()
}

fn scalar(written: &str) -> Value {
    match serde_json::from_str(written) {
        Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_))) => {
            value
        }
        _ => written.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_what_they_look_like() {
        let pairs = ["x-max-length=10", "x-queue-type=quorum", "a=true", "b=null", "c=1=2"];
        let found = fields("argument", &pairs.map(String::from)).expect("fields");
        let wanted = json!({ "x-max-length": 10, "x-queue-type": "quorum", "a": true,
                             "b": "null", "c": "1=2" });
        assert_eq!(Value::Object(found), wanted);
        assert!(fields("argument", &["x".into()]).is_err());
    }
}
