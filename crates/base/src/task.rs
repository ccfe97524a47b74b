//! Tasks with an owner: each has a name, ends when its owner shuts down, and is waited for.
//!
//! A task that panics is logged and, when it was spawned as vital, ends the whole house in an
//! orderly way; nothing a client sends may end the process otherwise.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The owner of a group of tasks. Clones share the group.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// A new group without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A group that stops when this one does, and can stop by itself.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { tracker: self.tracker.clone(), stop: self.stop.child_token() }
    }

    /// Starts `work` on the current tokio runtime. It is dropped at its next await once the group
    /// stops. A panic in it is logged under `name` and does not spread.
    pub fn spawn<F>(&self, name: &'static str, work: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        let work = self.tracker.track_future(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
        let inner = tokio::spawn(work);
        tokio::spawn(async move {
            if let Err(error) = inner.await
                && error.is_panic()
            {
                tracing::error!(task = name, "a task panicked; the rest goes on: {error}");
            }
        })
    }

    /// Resolves once the group has been told to stop.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the group has been told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Tells every task of the group (and of its children) to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Stops the group and waits up to `deadline` for its tasks. Returns how many were still
    /// running when the deadline passed.
    pub async fn finish(&self, deadline: Duration) -> usize {
        self.stop();
        self.tracker.close();
        let _in_time = tokio::time::timeout(deadline, self.tracker.wait()).await;
        self.tracker.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stopped_group_ends_its_tasks() {
        let tasks = Tasks::new();
        let child = tasks.child();
        child.spawn("forever", std::future::pending());
        assert_eq!(tasks.finish(Duration::from_secs(5)).await, 0);
        assert!(child.is_stopping());
    }

    #[tokio::test]
    async fn a_panicking_task_does_not_spread() {
        let tasks = Tasks::new();
        let watcher = tasks.spawn("panics", async { panic!("on purpose") });
        watcher.await.expect("the watcher itself must not panic");
        assert_eq!(tasks.finish(Duration::from_secs(5)).await, 0);
    }
}
