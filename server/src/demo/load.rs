//! Calls without a pause over several connections, each counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use tokio::task::JoinSet;

use super::client::Client;

/// Calls under way.
pub(super) struct Load {
    callers: JoinSet<()>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    tally: Mutex<Tally>,
}

/// What calls came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Good calls by the instance that answered.
    pub(super) by_instance: BTreeMap<String, usize>,
    /// What went wrong with the others.
    pub(super) failures: Vec<String>,
    /// Of all calls, in the order in which they ended.
    times: Vec<Duration>,
}

impl Load {
    pub(super) fn start(gateway: SocketAddr, path: &'static str, connections: usize) -> Self {
        let shared = Arc::<Shared>::default();
        let mut callers = JoinSet::new();
        for _ in 0..connections {
            callers.spawn(call(gateway, path, Arc::clone(&shared)));
        }
        Self { callers, shared }
    }

    pub(super) fn so_far(&self) -> Tally {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets the calls under way end, and makes no more.
    pub(super) async fn finish(mut self) -> Tally {
        self.shared.stop.store(true, Ordering::Relaxed);
        while self.callers.join_next().await.is_some() {}
        self.so_far()
    }
}

async fn call(gateway: SocketAddr, path: &'static str, shared: Arc<Shared>) {
    let mut client = None;
    while !shared.stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let result = async {
            let open = match client.take() {
                Some(open) => open,
                None => Client::connect(gateway).await?,
            };
            client.insert(open).call(Method::GET, path, "").await
        };
        let result = result.await;
        if result.is_err() {
            client = None;
        }
        let mut tally = shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.times.push(begun.elapsed());
        match result {
            Ok(answer) if answer.status.is_success() => {
                *tally.by_instance.entry(answer.instance).or_default() += 1;
            }
            Ok(answer) => {
                let body = String::from_utf8_lossy(&answer.body);
                tally.failures.push(format!("{} {}", answer.status, body.trim()));
            }
            Err(error) => tally.failures.push(format!("{error:#}")),
        }
    }
}

impl Tally {
    /// Good and failed ones.
    pub(super) fn calls(&self) -> usize {
        self.times.len()
    }

    /// What came after `earlier`, which this began as.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let mut by_instance = self.by_instance.clone();
        for (instance, calls) in &mut by_instance {
            *calls -= earlier.by_instance.get(instance).copied().unwrap_or(0);
        }
        Self {
            by_instance,
            failures: self.failures[earlier.failures.len()..].to_vec(),
            times: self.times[earlier.times.len()..].to_vec(),
        }
    }

    /// The time within which this many per cent of the calls ended.
    pub(super) fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut times = self.times.clone();
        times.sort_unstable();
        let index = (times.len() * percent / 100).min(times.len().checked_sub(1)?);
        times.get(index).copied()
    }
}
