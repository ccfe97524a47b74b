//! Answers that were written last, for the many who wait for the same change: a thousand watchers of
//! one service are answered with the same bytes.
//!
//! An answer is the same as long as what it shows is the very same, and for those who may see the
//! same. The index does not tell: what a check says may change without it. Only answers in which
//! everything is shown come in here.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::ask::Ask;
use crate::state::InstanceView;

/// So many are kept at most, each of at most so many bytes.
const PLACES: usize = 256;
const LARGEST: usize = 64 << 10;

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
    pub(crate) views: Vec<InstanceView>,
    pub(crate) body: Bytes,
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
    pub(crate) fn of(&self, key: &Key, views: &[InstanceView]) -> Option<Bytes> {
        let entry = self.get(key)?;
        let shows = entry.views.len() == views.len()
            && entry.views.iter().zip(views).all(|(shown, view)| shown.is(view));
        shows.then(|| entry.body.clone())
    }

    pub(crate) fn put(&self, key: Key, views: Vec<InstanceView>, body: &Bytes) {
        let place = self.place(&key);
        if body.len() <= LARGEST
            && let Some(place) = self.places().get_mut(place)
        {
            *place = Some(Arc::new(Entry { key, views, body: body.clone() }));
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
