//! A deadline that costs nothing while it keeps being moved: the runtime's timer is armed once per
//! period, not once per call, and looked at only when there is nothing else to do.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::time::{Instant, Sleep};

/// One timer, shared by all the waits of a connection or stream, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Who is woken when it fires.
    armed: Option<Waker>,
}

impl Timer {
    /// Ready once `deadline` has passed. `None` is never ready. The timer may stay armed for an
    /// earlier deadline that no longer counts: it is moved on when that one passes.
    pub(crate) fn poll_until(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
            self.armed = None;
        }
        let is_armed = self.armed.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if is_armed && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        self.armed = Some(cx.waker().clone());
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_may_move_both_ways() {
        let mut timer = Timer::default();
        let start = Instant::now();
        for seconds in [5, 3, 60, 61] {
            let deadline = start + Duration::from_secs(seconds);
            poll_fn(|cx| timer.poll_until(cx, Some(deadline))).await;
            assert!(Instant::now() >= deadline, "{seconds}");
        }
        assert!(start.elapsed() < Duration::from_secs(62));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_last_is_woken() {
        let mut timer = Timer::default();
        let deadline = Some(Instant::now() + Duration::from_secs(5));
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(timer.poll_until(&mut nobody, deadline).is_pending());
        poll_fn(|cx| timer.poll_until(cx, deadline)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_armed_timer_is_moved_to_a_later_deadline_and_no_earlier_one_fires() {
        let mut timer = Timer::default();
        let start = Instant::now();
        let early = Some(start + Duration::from_secs(1));
        poll_fn(|cx| {
            assert!(timer.poll_until(cx, early).is_pending());
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| timer.poll_until(cx, Some(start + Duration::from_secs(9)))).await;
        assert!(start.elapsed() >= Duration::from_secs(9));
    }
}
