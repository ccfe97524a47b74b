//! Whether a listener closes, as its connections ask between any two calls: registered once, so that
//! asking costs one load, and takes no lock that all threads share.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Tells a connection that its listener closes.
pub(crate) struct Closing {
    token: CancellationToken,
    watch: Option<Watch>,
}

struct Watch {
    signal: Arc<Signal>,
    /// Registered for as long as it lives.
    _registered: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Notes that the listener closes, and wakes the connection.
struct Signal {
    has_come: AtomicBool,
    task: Waker,
}

impl Closing {
    /// Watches this token from the first wait on.
    pub(crate) const fn of(token: CancellationToken) -> Self {
        Self { token, watch: None }
    }

    /// Whether it closes.
    pub(crate) fn has_come(&self) -> bool {
        match &self.watch {
            Some(watch) => watch.signal.has_come.load(Ordering::Acquire),
            None => self.token.is_cancelled(),
        }
    }

    /// Ready once it closes.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let is_watched =
            self.watch.as_ref().is_some_and(|watch| watch.signal.task.will_wake(cx.waker()));
        if !is_watched {
            self.watch = Some(Watch::begin(&self.token, cx.waker()));
        }
        if self.has_come() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Watch {
    fn begin(token: &CancellationToken, task: &Waker) -> Self {
        let signal = Arc::new(Signal { has_come: AtomicBool::new(false), task: task.clone() });
        let waker = Waker::from(Arc::clone(&signal));
        let mut registered = Box::pin(token.clone().cancelled_owned());
        if registered.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            signal.has_come.store(true, Ordering::Release);
        }
        Self { signal, _registered: registered }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.has_come.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_waits_is_woken() {
        let token = CancellationToken::new();
        let mut closing = Closing::of(token.clone());
        let nobody = Context::from_waker(Waker::noop());
        assert!(closing.poll(&nobody).is_pending(), "not yet, and it is another that is woken");
        let waiting = tokio::spawn(async move {
            poll_fn(|cx| closing.poll(cx)).await;
            closing.has_come()
        });
        assert!(!token.is_cancelled());
        token.cancel();
        assert!(waiting.await.expect("a task that ends"));
    }

    #[test]
    fn what_has_come_is_known_at_once() {
        let token = CancellationToken::new();
        token.cancel();
        let mut closing = Closing::of(token);
        assert!(closing.has_come());
        assert!(closing.poll(&Context::from_waker(Waker::noop())).is_ready());
    }
}
