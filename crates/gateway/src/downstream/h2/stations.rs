//! Where the calls of a connection are served: tasks that stay, each for one call after the other.
//!
//! The future of a call is several KiB. A task per call would mean to make room for it, and to move
//! it there and out again, each time; a station is made for the most calls that are ever under way
//! at once.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use ::h2::RecvStream;
use ::h2::server::SendResponse;
use bytes::Bytes;
use http::Request;

use super::call;
use crate::downstream::Session;
use crate::timer::Timer;

/// Stations that wait for calls; further ones end with their call.
const MOST_IDLE: usize = 32;

/// A call to be served.
pub(super) struct Job {
    pub(super) session: Rc<Session>,
    pub(super) request: Request<RecvStream>,
    pub(super) respond: SendResponse<Bytes>,
}

/// The stations of one connection. When this is dropped those that have nothing to do end.
#[derive(Default)]
pub(super) struct Stations {
    idle: Rc<Idle>,
}

type Idle = RefCell<Vec<Rc<Station>>>;

/// What a station's task waits at.
#[derive(Default)]
struct Station {
    job: Cell<Option<Job>>,
    is_closed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Stations {
    /// Has a call served, at the station that was used last.
    pub(super) fn serve(&mut self, job: Job) {
        let idle = self.idle.borrow_mut().pop();
        if let Some(station) = idle {
            station.job.set(Some(job));
            return station.wake();
        }
        let station = Rc::new(Station::default());
        station.job.set(Some(job));
        tokio::task::spawn_local(run(station, Rc::downgrade(&self.idle)));
    }

    /// Gives up the stations that wait, but for one.
    pub(super) fn shrink(&mut self) {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.len().min(1);
        for station in idle.drain(kept..) {
            station.close();
        }
    }
}

impl Drop for Stations {
    fn drop(&mut self) {
        for station in self.idle.borrow_mut().drain(..) {
            station.close();
        }
    }
}

impl Station {
    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn close(&self) {
        self.is_closed.set(true);
        self.wake();
    }

    /// The next call, or `None` when none will come.
    fn poll_job(&self, cx: &Context<'_>) -> Poll<Option<Job>> {
        let job = self.job.take();
        if job.is_some() || self.is_closed.get() {
            return Poll::Ready(job);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

async fn run(station: Rc<Station>, idle: Weak<Idle>) {
    // Kept from call to call, because arming a timer costs more than moving one.
    let mut timer = Timer::default();
    while let Some(job) = poll_fn(|cx| station.poll_job(cx)).await {
        call::serve(job, &mut timer).await;
        let Some(idle) = idle.upgrade() else { return };
        let mut idle = idle.borrow_mut();
        if idle.len() >= MOST_IDLE {
            return;
        }
        idle.push(Rc::clone(&station));
    }
}
