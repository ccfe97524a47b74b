//! Runs the probes of checks: one task a check, a bounded number of probes at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use posthouse_base::task::Tasks;
use posthouse_probe::{MAX_OUTPUT, probe};
use tokio::sync::Semaphore;

use crate::service::Handle;
use crate::state::{Check, CheckId, CheckKind, Command, Index, Judge, NodeName, Probe, Status};

/// First probes begin at random within this time, or within their interval if that is shorter, so
/// that a fleet registered at once is not probed at once.
const FIRST_SPREAD: Duration = Duration::from_millis(250);

/// The checks that are probed for.
#[derive(Debug)]
pub(crate) struct Runners {
    tasks: Tasks,
    slots: Arc<Semaphore>,
    running: HashMap<(NodeName, CheckId), (Index, Tasks)>,
}

impl Runners {
    pub(crate) fn new(tasks: Tasks, probes: usize) -> Self {
        Self { tasks, slots: Arc::new(Semaphore::new(probes)), running: HashMap::new() }
    }

    pub(crate) fn start(
        &mut self,
        (node, id): (NodeName, CheckId),
        run: Index,
        what: Box<Probe>,
        to: Handle,
    ) {
        let own = self.tasks.child();
        let slots = Arc::clone(&self.slots);
        let runner = Runner { node: node.clone(), id: id.clone(), run, probe: what, slots, to };
        own.spawn("registry check", runner.run());
        if let Some((_, earlier)) = self.running.insert((node, id), (run, own)) {
            earlier.stop();
        }
    }

    pub(crate) fn stop(&mut self, key: &(NodeName, CheckId)) {
        if let Some((_, running)) = self.running.remove(key) {
            running.stop();
        }
    }

    /// Probes for these checks and no others. What runs for one of them already goes on.
    pub(crate) fn run_only<'a>(
        &mut self,
        checks: impl Iterator<Item = (&'a NodeName, &'a Check)>,
        to: &Handle,
    ) {
        let mut others = std::mem::take(&mut self.running);
        for (node, check) in checks {
            let CheckKind::Probe(probe) = &check.definition.kind else { continue };
            let key = (node.clone(), check.definition.id.clone());
            match others.remove(&key) {
                Some((run, running)) if run == check.run => {
                    self.running.insert(key, (run, running));
                }
                earlier => {
                    earlier.into_iter().for_each(|(_, running)| running.stop());
                    self.start(key, check.run, probe.clone(), to.clone());
                }
            }
        }
        others.into_values().for_each(|(_, running)| running.stop());
    }
}

struct Runner {
    node: NodeName,
    id: CheckId,
    run: Index,
    probe: Box<Probe>,
    slots: Arc<Semaphore>,
    to: Handle,
}

impl Runner {
    async fn run(self) {
        let Probe { target, interval, timeout, thresholds } = self.probe.as_ref();
        let mut judge = Judge::new(*thresholds);
        let mut pause = interval.min(&FIRST_SPREAD).mul_f64(fastrand::f64());
        let mut last = None;
        loop {
            tokio::time::sleep(pause).await;
            pause = *interval;
            // The semaphore is never closed; if it were, there would be nobody to report to.
            let Ok(slot) = self.slots.acquire().await else { return };
            let result = probe(target, *timeout).await;
            drop(slot);
            let (status, output) = match result {
                Ok(healthy) if healthy.degraded => (Status::Warning, healthy.output),
                Ok(healthy) => (Status::Passing, healthy.output),
                Err(unhealthy) => (Status::Critical, unhealthy.reason),
            };
            self.to.metrics().probed(status);
            let news = (judge.judge(status), cut(output, MAX_OUTPUT));
            // Most results are as the one before: those are not worth the way to the rules. (The
            // rules start out critical, so the first result always is.)
            if last.as_ref() == Some(&news) {
                continue;
            }
            let (status, output) = news.clone();
            let (node, id, run) = (self.node.clone(), self.id.clone(), self.run);
            let result = Command::Probed { node, id, run, status, output };
            if self.to.tell(result).await.is_err() {
                return;
            }
            last = Some(news);
        }
    }
}

/// `text` cut to at most `limit` bytes, at a character's edge.
pub(crate) fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
    }
    text
}
