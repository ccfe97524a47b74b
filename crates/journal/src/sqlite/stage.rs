//! A large checkpoint is written in parts before its batch, so that nobody waits while megabytes go
//! by: each part is a small order among those of others, and the batch then names the parts.
//!
//! Parts that no checkpoint names (it was replaced or refused, or the house fell) are deleted by the
//! scavenger. It leaves those alone whose batch is still to come: they hold a [`Ticket`].

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// A checkpoint up to this size is written with its batch.
pub(super) const PART: usize = 1 << 20;

/// A part of a checkpoint that is to be written.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) generation: i64,
    pub(super) number: i64,
    pub(super) data: Bytes,
}

/// Parts that were handed in, for the batch that names them.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) ticket: Ticket,
    pub(super) parts: i64,
}

/// Keeps the parts of one generation from being deleted.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) generation: i64,
    stage: Stage,
}

/// Which generations of parts are on their way.
#[derive(Clone, Debug)]
pub(super) struct Stage(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    last: i64,
    open: BTreeSet<i64>,
}

/// The generations that may have parts which no checkpoint names yet, as of one moment.
#[derive(Debug)]
pub(super) struct Open {
    last: i64,
    open: BTreeSet<i64>,
}

impl Stage {
    /// Nothing is on its way; generations up to `last` were used.
    pub(super) fn new(last: i64) -> Self {
        Self(Arc::new(Mutex::new(Inner { last, open: BTreeSet::new() })))
    }

    /// A generation that was never used.
    pub(super) fn begin(&self) -> Ticket {
        let mut inner = self.lock();
        inner.last += 1;
        let generation = inner.last;
        inner.open.insert(generation);
        Ticket { generation, stage: self.clone() }
    }

    /// To be asked before the database is read for parts that nobody names.
    pub(super) fn open(&self) -> Open {
        let inner = self.lock();
        Open { last: inner.last, open: inner.open.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// The data in parts of this generation.
    pub(super) fn parts(&self, mut data: Bytes) -> Vec<Part> {
        let generation = self.generation;
        let mut parts = Vec::new();
        for number in 0.. {
            if data.is_empty() {
                break;
            }
            let data = data.split_to(data.len().min(PART));
            parts.push(Part { generation, number, data });
        }
        parts
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.stage.lock().open.remove(&self.generation);
    }
}

impl Open {
    /// Whether parts of this generation may still be named.
    pub(super) fn contains(&self, generation: i64) -> bool {
        generation > self.last || self.open.contains(&generation)
    }
}
