//! `posthouse kv export` and `import`: all keys in one file, in the form that Consul's own commands
//! write and read.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::Method;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::client::{Client, decode, encode};
use crate::cli::{Failure, print};

/// Keys that are set at the same time: the registry makes them durable together.
const AT_ONCE: usize = 32;

/// How long an import may take before it says how far it is, and how often it does then.
const TELLING: Duration = Duration::from_secs(1);

/// A key of an export.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Exported {
    key: String,
    #[serde(default)]
    flags: u64,
    /// In base64.
    #[serde(default)]
    value: String,
}

pub(super) async fn export(client: &Client, prefix: &str) -> Result<(), Failure> {
    let (_, pairs) = client.pairs(prefix, &[("recurse", String::new())]).await?;
    let exported: Vec<Exported> = pairs
        .into_iter()
        .map(|pair| Exported { key: pair.key, flags: pair.flags, value: encode(&pair.value) })
        .collect();
    let text = serde_json::to_string_pretty(&exported).context("the keys as JSON")?;
    print(&(text + "\n"))
}

/// Sets every key of an export. Nothing is set when any of it cannot be read.
pub(super) async fn import(client: Client, text: &[u8], prefix: &str) -> Result<(), Failure> {
    let exported: Vec<Exported> = serde_json::from_slice(text)
        .context("this is no export: a list of `{key, flags, value}`")
        .map_err(Failure::setup)?;
    let mut pairs = Vec::with_capacity(exported.len());
    for Exported { key, flags, value } in exported {
        let value = decode(&value).with_context(|| format!("the value of `{key}` is not base64"));
        pairs.push((format!("{prefix}{key}"), flags, value.map_err(Failure::setup)?));
    }
    let all = pairs.len();
    let mut progress = Progress::new(all);
    let mut pairs = pairs.into_iter();
    let mut under_way = JoinSet::new();
    let mut done = 0;
    loop {
        while under_way.len() < AT_ONCE
            && let Some((key, flags, value)) = pairs.next()
        {
            under_way.spawn(set(client.clone(), key, flags, value));
        }
        let Some(ended) = under_way.join_next().await else { break };
        let ended = ended.map_err(|error| Failure::other(error.into()))?;
        if let Err(failure) = ended {
            progress.end(done);
            return Err(failure);
        }
        done += 1;
        progress.tell(done);
    }
    progress.end(done);
    print(&format!("{all} {} set\n", if all == 1 { "key" } else { "keys" }))
}

async fn set(client: Client, key: String, flags: u64, value: Vec<u8>) -> Result<(), Failure> {
    let query = [("flags", flags.to_string())];
    if client.set(Method::PUT, &key, &query, value).await? {
        return Ok(());
    }
    Err(Failure::other(anyhow::anyhow!("`{key}` was not set")))
}

/// Says how far it is, on standard error, to whoever waits.
struct Progress {
    all: usize,
    told: Instant,
    /// A terminal's line is written over; other readers get a line each time.
    is_terminal: bool,
    is_open: bool,
}

impl Progress {
    fn new(all: usize) -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { all, told: Instant::now(), is_terminal, is_open: false }
    }

    fn tell(&mut self, done: usize) {
        if self.told.elapsed() >= TELLING {
            self.told = Instant::now();
            self.write(done);
        }
    }

    fn write(&mut self, done: usize) {
        let (before, after) = if self.is_terminal { ("\r", "") } else { ("", "\n") };
        self.is_open = self.is_terminal;
        // Nobody to tell it to is no reason to stop.
        let _unheard = write!(io::stderr(), "{before}{done} of {} keys{after}", self.all);
    }

    fn end(&mut self, done: usize) {
        if self.is_open {
            self.write(done);
            let _unheard = writeln!(io::stderr());
        }
    }
}
