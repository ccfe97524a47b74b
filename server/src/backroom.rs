//! Threads for long work that no call is to feel: reading a configuration, putting it in force,
//! taking the old one apart.
//!
//! Lower niceness is not enough for that: Linux lets a thread that has just begun its slice of time
//! go on with it, and a call that comes in meanwhile waits. A thread of the idle policy is
//! interrupted at once. It is also given next to nothing on a machine that is never idle, where a
//! large configuration would take minutes; so large ones make do with niceness.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::sync::oneshot;

/// From this size on, in bytes, a configuration is large: it takes about 20 ms to read.
const LARGE: u64 = 128 << 10;
/// Niceness of work on large ones: a tenth of what a call's thread gets.
const NICENESS: i32 = 10;
/// Time between two looks at what is left to be tidied, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// See the file's head.
#[derive(Clone)]
pub(crate) struct Backroom {
    tidy: Arc<dyn Fn() -> usize + Send + Sync>,
    /// One at a time is enough.
    tidying: Arc<AtomicBool>,
}

/// How much of a busy machine work may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// What nobody else wants.
    Rest,
    /// A small part.
    Small,
}

impl Share {
    /// For a configuration of so many bytes.
    pub(crate) fn for_size(bytes: u64) -> Self {
        if bytes < LARGE { Self::Rest } else { Self::Small }
    }

    /// Makes do with it from here on, in the current thread.
    fn take(self) {
        let done = match self {
            Self::Rest => set_thread_priority_and_policy(
                thread_native_id(),
                ThreadPriority::Min,
                ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle),
            )
            .map_err(|error| error.to_string()),
            Self::Small => {
                let own = rustix::thread::gettid();
                rustix::process::setpriority_process(Some(own), NICENESS)
                    .map_err(|error| error.to_string())
            }
        };
        if let Err(error) = done {
            tracing::debug!("work on the configuration keeps its priority: {error}");
        }
    }
}

impl Backroom {
    /// After work, `tidy` is called until it says that nothing is left, less and less often.
    pub(crate) fn new(tidy: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        Self { tidy: Arc::new(tidy), tidying: Arc::default() }
    }

    /// Does `work` in a thread of its own, in the current runtime's context, and waits for what it
    /// returns.
    ///
    /// # Errors
    /// When no thread can be started, or the work panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        share: Share,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (done, result) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let this = self.clone();
        std::thread::Builder::new().name("configuration".into()).spawn(move || {
            share.take();
            let _context = runtime.enter();
            // Nobody waits any more when the house is ending.
            drop(done.send(work()));
            this.tidy_up();
        })?;
        result.await.map_err(|_| io::Error::other("it panicked"))
    }

    fn tidy_up(&self) {
        let mut pause = PAUSES.0;
        while (self.tidy)() > 0 {
            if self.tidying.swap(true, Ordering::AcqRel) {
                return;
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(PAUSES.1);
            self.tidying.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test]
    async fn work_is_done_and_tidied_up_after() {
        let left = Arc::new(AtomicUsize::new(0));
        let (tidied, mut all_tidy) = tokio::sync::mpsc::unbounded_channel();
        let heap = Arc::clone(&left);
        let backroom = Backroom::new(move || {
            let left = heap.load(Ordering::SeqCst).saturating_sub(1);
            heap.store(left, Ordering::SeqCst);
            if left == 0 {
                tidied.send(()).expect("the test waits");
            }
            left
        });
        let heap = Arc::clone(&left);
        let done = backroom.run(Share::Rest, move || {
            heap.store(2, Ordering::SeqCst);
            tokio::runtime::Handle::try_current().is_ok()
        });
        assert!(done.await.expect("it works"), "work knows the runtime");
        all_tidy.recv().await.expect("it is tidied up");
        assert_eq!(left.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn work_gives_way_to_calls() {
        let backroom = Backroom::new(|| 0);
        let policy = backroom.run(Share::Rest, thread_priority::thread_schedule_policy).await;
        let policy = policy.expect("it works").expect("a policy");
        assert_eq!(policy, ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle));
        let niceness =
            backroom.run(Share::Small, || rustix::process::getpriority_process(None)).await;
        assert_eq!(niceness.expect("it works").expect("a niceness"), NICENESS);
        assert_eq!(Share::for_size(1 << 20), Share::Small);
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let backroom = Backroom::new(|| 0);
        let failed = backroom.run(Share::Rest, || panic!("on purpose")).await;
        assert!(failed.expect_err("it panicked").to_string().contains("panicked"));
        assert_eq!(backroom.run(Share::Rest, || 7).await.expect("it goes on"), 7);
    }
}
