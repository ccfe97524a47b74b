//! `posthouse kv …`: the keys and values of a registry, over Consul's HTTP API; so of Consul as well.

mod client;
mod transfer;
mod watch;

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::{Failure, Output, print};
use client::{Client, Pair};

/// Where a value may not be longer than this, whatever the registry takes.
const MAX_VALUE: u64 = 64 << 20;

#[derive(Debug, Args)]
pub(crate) struct Kv {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the value of a key; fails with 1 when there is none.
    Get {
        /// The key.
        key: String,
        #[command(flatten)]
        at: At,
        /// How it is shown: the bytes of the value, or all that is known of the key.
        #[arg(short, long, value_name = "FORMAT", default_value = "text")]
        output: Output,
    },
    /// Set a key; fails with 1 when `--cas` finds it changed.
    Put {
        /// The key.
        key: String,
        /// The value; `@FILE` takes it from a file, `-` from standard input.
        #[arg(default_value = "", allow_hyphen_values = true)]
        value: String,
        /// Only if the key was last changed at this index; 0 only if there is no such key.
        #[arg(long, value_name = "INDEX")]
        cas: Option<u64>,
        /// A number kept with the value.
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        flags: u64,
        #[command(flatten)]
        at: At,
    },
    /// Delete a key, which need not be there; fails with 1 when `--cas` finds it changed.
    Delete {
        /// The key.
        key: String,
        /// Everything that begins with the key.
        #[arg(long, conflicts_with = "cas")]
        recurse: bool,
        /// Only if the key was last changed at this index.
        #[arg(long, value_name = "INDEX")]
        cas: Option<u64>,
        #[command(flatten)]
        at: At,
    },
    /// List the keys that begin with a prefix.
    List {
        /// The prefix; all keys without one.
        #[arg(default_value = "")]
        prefix: String,
        #[command(flatten)]
        at: At,
        /// How they are shown.
        #[arg(short, long, value_name = "FORMAT", default_value = "text")]
        output: Output,
    },
    /// Print a key, or with `--recurse` all that begin with it, and then each change, until
    /// interrupted.
    Watch {
        /// The key.
        key: String,
        /// Everything that begins with the key.
        #[arg(long)]
        recurse: bool,
        #[command(flatten)]
        at: At,
        /// How changes are shown: as `KEY = VALUE`, or as one line of JSON each.
        #[arg(short, long, value_name = "FORMAT", default_value = "text")]
        output: Output,
    },
    /// Print the keys that begin with a prefix as `consul kv export` does.
    Export {
        /// The prefix; all keys without one.
        #[arg(default_value = "")]
        prefix: String,
        #[command(flatten)]
        at: At,
    },
    /// Set all keys of an export; keys that are not in it stay.
    Import {
        /// The file; `-` for standard input.
        #[arg(default_value = "-")]
        file: String,
        /// What the keys are put under.
        #[arg(long, default_value = "")]
        prefix: String,
        #[command(flatten)]
        at: At,
    },
}

/// The registry that is asked.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// The address of the registry's Consul API.
    #[arg(
        long,
        value_name = "URL",
        env = "POSTHOUSE_REGISTRY",
        default_value = "http://127.0.0.1:8500"
    )]
    pub(crate) registry: String,
    /// The token, when it asks for one; better given by the environment.
    #[arg(long, value_name = "TOKEN", env = "POSTHOUSE_REGISTRY_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
}

impl At {
    /// `HOST:PORT` of the URL.
    pub(crate) fn authority(&self) -> Result<&str, Failure> {
        let url = self.registry.trim_end_matches('/');
        let authority = url.strip_prefix("http://").unwrap_or(url);
        if authority.is_empty() || authority.contains('/') {
            let message = format!("{url} is not like http://127.0.0.1:8500");
            return Err(Failure::setup(anyhow::anyhow!(message)));
        }
        Ok(authority)
    }
}

pub(crate) fn run(options: Kv) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("no runtime to be had")?;
    runtime.block_on(async {
        match options.command {
            Command::Get { key, at, output } => get(&Client::new(&at)?, &key, output).await,
            Command::Put { key, value, cas, flags, at } => {
                let value = value_of(&value).map_err(Failure::setup)?;
                put(&Client::new(&at)?, &key, value, cas, flags).await
            }
            Command::Delete { key, recurse, cas, at } => {
                delete(&Client::new(&at)?, &key, recurse, cas).await
            }
            Command::List { prefix, at, output } => list(&Client::new(&at)?, &prefix, output).await,
            Command::Watch { key, recurse, at, output } => {
                watch::run(&Client::new(&at)?, &key, recurse, output).await
            }
            Command::Export { prefix, at } => transfer::export(&Client::new(&at)?, &prefix).await,
            Command::Import { file, prefix, at } => {
                let text = read(&file).map_err(Failure::setup)?;
                transfer::import(Client::new(&at)?, &text, &prefix).await
            }
        }
    })
}

async fn get(client: &Client, key: &str, output: Output) -> Result<(), Failure> {
    let (_, found) = client.pairs(key, &[]).await?;
    let Some(pair) = found.into_iter().next() else {
        return Err(Failure::other(anyhow::anyhow!("there is no key `{key}`")));
    };
    match output {
        Output::Json => print(&format!("{:#}\n", whole(&pair))),
        Output::Text => {
            let mut out = io::stdout().lock();
            let end: &[u8] = if out.is_terminal() { b"\n" } else { b"" };
            match out.write_all(&pair.value).and_then(|()| out.write_all(end)) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Err(anyhow::Error::new(error).context("standard output").into())
                }
                _ => Ok(()),
            }
        }
    }
}

async fn put(
    client: &Client,
    key: &str,
    value: Vec<u8>,
    cas: Option<u64>,
    flags: u64,
) -> Result<(), Failure> {
    let mut query = vec![("flags", flags.to_string())];
    query.extend(cas.map(|index| ("cas", index.to_string())));
    if client.set(Method::PUT, key, &query, value).await? {
        return Ok(());
    }
    Err(Failure::other(match cas {
        Some(index) => anyhow::anyhow!("`{key}` is not as it was at index {index}"),
        None => anyhow::anyhow!("`{key}` was not set"),
    }))
}

async fn delete(
    client: &Client,
    key: &str,
    recurse: bool,
    cas: Option<u64>,
) -> Result<(), Failure> {
    let mut query: Vec<(&str, String)> = Vec::new();
    query.extend(recurse.then(|| ("recurse", String::new())));
    query.extend(cas.map(|index| ("cas", index.to_string())));
    if client.set(Method::DELETE, key, &query, Vec::new()).await? {
        return Ok(());
    }
    Err(Failure::other(match cas {
        Some(index) => anyhow::anyhow!("`{key}` is not as it was at index {index}"),
        None => anyhow::anyhow!("`{key}` was not deleted"),
    }))
}

async fn list(client: &Client, prefix: &str, output: Output) -> Result<(), Failure> {
    let keys = client.keys(prefix).await?;
    match output {
        Output::Json => print(&format!("{:#}\n", json!(keys))),
        Output::Text => print(&keys.into_iter().map(|key| key + "\n").collect::<String>()),
    }
}

/// All that is known of a key. The value is text where it can be.
fn whole(pair: &Pair) -> Value {
    let mut whole = json!({
        "key": pair.key,
        "flags": pair.flags,
        "create_index": pair.create_index,
        "modify_index": pair.modify_index,
    });
    match std::str::from_utf8(&pair.value) {
        Ok(text) => whole["value"] = json!(text),
        Err(_binary) => whole["value_base64"] = json!(client::encode(&pair.value)),
    }
    if let Some(session) = &pair.session {
        whole["session"] = json!(session);
    }
    whole
}

/// The value that an argument means.
fn value_of(argument: &str) -> anyhow::Result<Vec<u8>> {
    match argument.strip_prefix('@') {
        Some(file) => read(file),
        None if argument == "-" => read("-"),
        None => Ok(argument.as_bytes().to_vec()),
    }
}

/// A file, or standard input.
fn read(file: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (source, name): (Box<dyn io::Read>, _) = if file == "-" {
        (Box::new(io::stdin().lock()), "standard input")
    } else {
        let opened = std::fs::File::open(file);
        (Box::new(opened.with_context(|| format!("{file} cannot be read"))?), file)
    };
    let read = source.take(MAX_VALUE + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("{name} cannot be read"))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_VALUE) {
        bail!("{name} has more than {} MiB", MAX_VALUE >> 20);
    }
    Ok(bytes)
}
