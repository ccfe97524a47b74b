//! `posthouse kv watch`: what is there, and then each change, as it comes.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use serde_json::json;

use super::client::{Client, Pair};
use super::whole;
use crate::cli::{Failure, Output};

/// Watches until there is nobody to tell, or nothing more to ask.
pub(super) async fn run(
    client: &Client,
    key: &str,
    recurse: bool,
    output: Output,
) -> Result<(), Failure> {
    let query: Vec<_> = recurse.then(|| ("recurse", String::new())).into_iter().collect();
    let (mut index, pairs) = client.pairs(key, &query).await?;
    let mut known: BTreeMap<String, Pair> = BTreeMap::new();
    let mut told = tell(&mut known, pairs, output);
    while told? {
        let (next, pairs) = client.changed(key, &query, index).await?;
        // An index that goes back is from another life of the registry: begin anew.
        index = if next < index { 0 } else { next };
        told = tell(&mut known, pairs, output);
    }
    Ok(())
}

/// Tells what is different. Returns whether anybody listens.
fn tell(
    known: &mut BTreeMap<String, Pair>,
    pairs: Vec<Pair>,
    output: Output,
) -> Result<bool, Failure> {
    let mut lines = String::new();
    let now: BTreeMap<String, Pair> =
        pairs.into_iter().map(|pair| (pair.key.clone(), pair)).collect();
    for (key, pair) in &now {
        let same = |known: &Pair| known.value == pair.value && known.flags == pair.flags;
        if known.get(key).is_some_and(same) {
            continue;
        }
        lines += &match output {
            Output::Text => format!("{key} = {}\n", String::from_utf8_lossy(&pair.value)),
            Output::Json => format!("{}\n", whole(pair)),
        };
    }
    for key in known.keys().filter(|key| !now.contains_key(*key)) {
        lines += &match output {
            Output::Text => format!("{key} deleted\n"),
            Output::Json => format!("{}\n", json!({ "key": key, "deleted": true })),
        };
    }
    *known = now;
    let mut out = io::stdout().lock();
    match out.write_all(lines.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(anyhow::Error::new(error).context("standard output").into()),
    }
}
