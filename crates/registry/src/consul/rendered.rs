//! Answers that were written last, for the many who wait for the same change: a thousand watchers of
//! one service are answered with the same bytes.
//!
//! An answer is the same as long as what it shows is the very same, and for those who may see the
//! same. The index does not tell: what a check says may change without it. Only answers in which
//! everything is shown come in here.

use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::ask::Ask;
use crate::state::{InstanceView, ServiceName, State as Registry};

/// So many are kept at most, each of at most so many bytes.
const PLACES: usize = 256;
const LARGEST: usize = 64 << 10;

/// No state has this revision.
const NEVER: u64 = u64::MAX;

/// Shorter answers fit into a packet as they are; Consul's bound as well.
const WORTH_COMPRESSING: usize = 1400;

/// Parameters that do not change what the answer's body is.
const WITHOUT_EFFECT: [&str; 6] = ["index", "wait", "stale", "consistent", "cached", "dc"];

/// The answers about services. Each has one place, where another may take over.
#[derive(Debug)]
pub(crate) struct Rendered {
    places: Mutex<Vec<Option<Arc<Entry>>>>,
    hasher: RandomState,
}

/// An answer, and what it shows.
#[derive(Debug)]
pub(crate) struct Entry {
    key: Key,
    views: Vec<InstanceView>,
    pub(crate) body: Written,
    /// A revision of the state as which it was found to be right.
    right_at: AtomicU64,
}

impl Entry {
    /// Whether it shows a service as it is in `state`, of which this is the revision. That is looked at
    /// once for all that ask before anything changes.
    pub(crate) fn shows(&self, service: &ServiceName, state: &Registry, revision: u64) -> bool {
        if self.right_at.load(Ordering::Relaxed) == revision {
            return true;
        }
        let shows = state.are_instances(service, &self.views);
        if shows {
            self.right_at.store(revision, Ordering::Relaxed);
        }
        shows
    }
}

/// A body that is sent to many, and compressed once for all that take it so. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    plain: Bytes,
    gzipped: Arc<OnceLock<Option<Bytes>>>,
}

impl Written {
    pub(crate) fn new(plain: Bytes) -> Self {
        Self { plain, gzipped: Arc::default() }
    }

    pub(crate) fn plain(&self) -> Bytes {
        self.plain.clone()
    }

    /// `None` where it is not worth it.
    pub(crate) fn gzipped(&self) -> Option<Bytes> {
        if self.plain.len() < WORTH_COMPRESSING {
            return None;
        }
        self.gzipped.get_or_init(|| gzipped(&self.plain)).clone()
    }
}

/// `None` if it failed, which writing into memory does not: it would then be sent as it is.
fn gzipped(plain: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Who asks for what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    service: String,
    only_passing: bool,
    /// By where it is: those who may do the same share one.
    grant: usize,
}

impl Key {
    /// `None` when the request has parameters that make its answer one of its own.
    pub(crate) fn new(service: &str, ask: &Ask) -> Option<Self> {
        let plain =
            |name: &str| WITHOUT_EFFECT.contains(&name) || matches!(name, "passing" | "token");
        let plain = ask.names().all(plain);
        plain.then(|| Self {
            service: service.to_owned(),
            only_passing: ask.flag("passing"),
            grant: std::ptr::from_ref(ask.grant()).addr(),
        })
    }
}

impl Rendered {
    pub(crate) fn new() -> Self {
        let places = std::iter::repeat_with(|| None).take(PLACES).collect();
        Self { places: Mutex::new(places), hasher: RandomState::new() }
    }

    /// The last answer. It is right as long as its views are those of the state.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        let places = self.places();
        let entry = places.get(self.place(key))?.as_ref()?;
        (entry.key == *key).then(|| Arc::clone(entry))
    }

    /// The last answer, if it shows `views`.
    pub(crate) fn of(&self, key: &Key, views: &[InstanceView]) -> Option<Written> {
        let entry = self.get(key)?;
        let shows = entry.views.len() == views.len()
            && entry.views.iter().zip(views).all(|(shown, view)| shown.is(view));
        shows.then(|| entry.body.clone())
    }

    pub(crate) fn put(&self, key: Key, views: Vec<InstanceView>, body: Bytes) {
        let place = self.place(&key);
        if body.len() <= LARGEST
            && let Some(place) = self.places().get_mut(place)
        {
            let (body, right_at) = (Written::new(body), AtomicU64::new(NEVER));
            *place = Some(Arc::new(Entry { key, views, body, right_at }));
        }
    }

    fn place(&self, key: &Key) -> usize {
        // The remainder is less than a small number.
        usize::try_from(self.hasher.hash_one(key) % PLACES as u64).unwrap_or(0)
    }

    fn places(&self) -> MutexGuard<'_, Vec<Option<Arc<Entry>>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
