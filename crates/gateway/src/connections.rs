//! How many connections clients may hold: a limit that follows a reload. What is open beyond a
//! smaller limit stays open, and its places are not given again.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places there are. Listeners share them; each that accepts holds one for whoever comes next.
#[derive(Debug)]
pub(crate) struct Connections {
    places: Arc<Semaphore>,
    limit: Mutex<usize>,
    excess: Arc<AtomicUsize>,
}

/// The right to one connection; counted until it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    place: Option<OwnedSemaphorePermit>,
    /// Places to be taken away that were held when the limit fell.
    excess: Arc<AtomicUsize>,
}

impl Connections {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limit)),
            limit: Mutex::new(limit),
            excess: Arc::default(),
        }
    }

    /// Waits until one more connection is allowed. The semaphore is never closed.
    pub(crate) async fn permit(&self) -> ConnectionPermit {
        loop {
            if let Ok(place) = Arc::clone(&self.places).acquire_owned().await {
                return ConnectionPermit { place: Some(place), excess: Arc::clone(&self.excess) };
            }
        }
    }

    /// Allows so many from now on. Nobody who is connected is sent away.
    pub(crate) fn set_limit(&self, limit: usize) {
        let mut current = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        if limit >= *current {
            let more = limit - *current;
            let before = self
                .excess
                .fetch_update(Relaxed, Relaxed, |excess| Some(excess.saturating_sub(more)));
            let kept = before.unwrap_or_else(|unchanged| unchanged).min(more);
            self.places.add_permits(more - kept);
        } else {
            let fewer = *current - limit;
            // Counted first, so that a place that is given back now is not missed.
            self.excess.fetch_add(fewer, Relaxed);
            let free = self.places.forget_permits(fewer);
            for _ in 0..free {
                // One that was given back meanwhile has paid for this: a place is owed to all.
                if !take_one(&self.excess) {
                    self.places.add_permits(1);
                }
            }
        }
        *current = limit;
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if take_one(&self.excess)
            && let Some(place) = self.place.take()
        {
            place.forget();
        }
    }
}

fn take_one(excess: &AtomicUsize) -> bool {
    excess.fetch_update(Relaxed, Relaxed, |excess| excess.checked_sub(1)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn take(connections: &Connections) -> Option<ConnectionPermit> {
        match pin!(connections.permit()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Some(permit),
            Poll::Pending => None,
        }
    }

    /// Takes all the places that there are.
    fn take_all(connections: &Connections) -> Vec<ConnectionPermit> {
        std::iter::from_fn(|| take(connections)).collect()
    }

    #[test]
    fn the_limit_follows() {
        let connections = Connections::new(3);
        let held = take_all(&connections);
        assert_eq!(held.len(), 3);
        connections.set_limit(5);
        assert_eq!(take_all(&connections).len(), 2);
        drop(held);
        connections.set_limit(2);
        assert_eq!(take_all(&connections).len(), 2);
        connections.set_limit(4);
        assert_eq!(take_all(&connections).len(), 4);
    }

    #[test]
    fn who_is_connected_stays_when_the_limit_falls() {
        let connections = Connections::new(4);
        let mut held = take_all(&connections);
        connections.set_limit(2);
        held.pop();
        held.pop();
        assert!(take(&connections).is_none(), "two are still connected");
        held.pop();
        let one = take(&connections).expect("a place is free");
        assert!(take(&connections).is_none());
        drop((held, one));
        assert_eq!(take_all(&connections).len(), 2);
    }

    #[test]
    fn a_limit_that_falls_and_rises_again_loses_no_place() {
        let connections = Connections::new(4);
        let held = take_all(&connections);
        connections.set_limit(1);
        connections.set_limit(3);
        assert!(take(&connections).is_none());
        drop(held);
        assert_eq!(take_all(&connections).len(), 3);
    }
}
