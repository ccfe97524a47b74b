//! Following the keys in a folder from within the process, as a part of the house does that is
//! configured by them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::service::Shared;
use crate::state::{Index, State, kv};

/// How long to wait when no more watchers may be, or nothing is certain, before looking again.
const PAUSE: Duration = Duration::from_secs(1);

/// A folder of keys, and how it was when it was last looked at.
#[derive(Debug)]
pub struct Keys {
    shared: Arc<Shared>,
    folder: String,
    seen: Option<Index>,
}

impl Keys {
    pub(crate) fn new(shared: Arc<Shared>, folder: &str) -> Self {
        Self { shared, folder: folder.to_owned(), seen: None }
    }

    /// Everything in the folder, once it has changed since it was last returned; at first at once.
    /// Nothing is lost when the future is dropped before it resolves.
    pub async fn next(&mut self) -> Vec<(String, Bytes)> {
        loop {
            let topic = kv::Store::topic_of(&self.folder);
            let Ok(watch) = self.shared.watchers.watch(topic) else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let mut woken = std::pin::pin!(watch.woken());
            // Before it looks, so that no change comes in between.
            woken.as_mut().enable();
            let folder = self.folder.as_str();
            match self.shared.read(|state| (state.kv().prefix_index(folder), index(state))).await {
                Ok((now, _)) if self.seen == Some(now) => woken.await,
                Ok((now, _)) => {
                    let read = |state: &State| (pairs(state, folder), index(state));
                    if let Ok((pairs, _)) = self.shared.read(read).await {
                        self.seen = Some(now);
                        return pairs;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Err(_not_certain) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// What an answer about keys goes by.
fn index(state: &State) -> Index {
    state.index()
}

fn pairs(state: &State, folder: &str) -> Vec<(String, Bytes)> {
    let stored = state.kv().under(folder);
    stored.map(|stored| (stored.value.key.to_string(), stored.value.value.clone())).collect()
}
