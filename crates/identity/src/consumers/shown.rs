//! The snapshot in which calls look things up: keys by their hash, certificates and signing keys by
//! their names. It is replaced whole, so that a call sees one state; what did not change is shared
//! between an old one and a new one, so that one change among a million keys costs microseconds.
//!
//! Keys are found by SHA-256: whoever guesses chooses no part of what is compared, so how long a
//! search takes tells nothing of the keys that there are.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasher as _, Hash as StdHash};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use arc_swap::{ArcSwap, Guard};
use posthouse_base::time::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::declared::{self, Declared};
use super::view::{KeyView, Origin, View};
use crate::credential::Identity;
use crate::signature::Key;
use crate::state::{ApiKey, Consumer, Hash, KeyNumber, Name, Spec, State};

/// Parts of each map; a change copies one of them.
const PARTS: usize = 256;

/// What becomes of a minute in milliseconds.
const MINUTE_MS: u64 = 60_000;

/// What writers hold: what is declared and what is kept, and what comes of both.
pub(super) struct Book {
    pages: Mutex<Pages>,
    shown: ArcSwap<Shown>,
}

struct Pages {
    declared: Arc<Declared>,
    kept: BTreeMap<Name, Arc<Consumer>>,
    next: Shown,
}

/// Consumers as calls find them.
#[derive(Clone, Default)]
pub(crate) struct Shown {
    version: u64,
    consumers: Parts<Arc<str>, Arc<Known>>,
    keys: Parts<Hash, Arc<KnownKey>>,
    certificates: Parts<Box<str>, Arc<Owner>>,
    signers: Parts<Box<str>, Arc<Signer>>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Consumers.
    pub consumers: usize,
    /// API keys.
    pub keys: usize,
    /// Names in certificates.
    pub certificates: usize,
    /// Keys with which requests are signed.
    pub signature_keys: usize,
}

/// What permissions and limits ask of a consumer.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) name: Arc<str>,
    pub(crate) plan: Option<Arc<str>>,
    pub(crate) roles: Vec<Box<str>>,
}

/// A consumer with all that leads to it.
pub(crate) struct Known {
    owner: Arc<Owner>,
    source: Source,
    keys: Vec<Arc<KnownKey>>,
    signers: Vec<Arc<Signer>>,
}

enum Source {
    File(Arc<declared::Consumer>),
    Journal(Arc<Consumer>),
}

/// An API key that is known.
pub(crate) struct KnownKey {
    pub(crate) id: Arc<str>,
    pub(crate) owner: Arc<Owner>,
    number: KeyNumber,
    hash: Hash,
    expires: Option<Timestamp>,
    /// The minute in which it was last shown; 0 when it was not.
    used: Arc<AtomicU64>,
    proved: Proved,
}

/// A key with which requests are signed.
pub(crate) struct Signer {
    pub(crate) id: Arc<str>,
    pub(crate) owner: Arc<Owner>,
    pub(crate) key: Key,
    proved: Proved,
}

/// Who is proved by something, made once for the provider that asks first.
#[derive(Default)]
struct Proved(OnceLock<Arc<Identity>>);

impl Book {
    pub(super) fn new(declared: Declared) -> Self {
        let (declared, kept) = (Arc::new(declared), BTreeMap::new());
        let pages = Pages { declared, kept, next: Shown::default() };
        let book = Self { pages: Mutex::new(pages), shown: ArcSwap::default() };
        let mut pages = book.pages();
        pages.rewrite();
        book.publish(&mut pages);
        drop(pages);
        book
    }

    pub(super) fn shown(&self) -> Guard<Arc<Shown>> {
        self.shown.load()
    }

    pub(super) fn declares(&self, name: &Name) -> bool {
        self.pages().declared.consumers.contains_key(name)
    }

    pub(super) fn declare(&self, declared: Declared) {
        let mut pages = self.pages();
        pages.declared = Arc::new(declared);
        pages.rewrite();
        self.publish(&mut pages);
    }

    /// Everything that is kept is as `state` says.
    pub(super) fn take_over(&self, state: &State) {
        let mut pages = self.pages();
        let all = state.consumers().map(|consumer| (consumer.name.clone(), Arc::clone(consumer)));
        pages.kept = all.collect();
        pages.rewrite();
        self.publish(&mut pages);
    }

    /// These consumers are so now, or gone.
    pub(super) fn show(&self, changes: impl Iterator<Item = (Name, Option<Arc<Consumer>>)>) {
        let mut pages = self.pages();
        for (name, consumer) in changes {
            pages.change(&name, consumer);
        }
        self.publish(&mut pages);
    }

    fn publish(&self, pages: &mut Pages) {
        pages.next.version += 1;
        self.shown.store(Arc::new(pages.next.clone()));
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// Makes everything anew.
    fn rewrite(&mut self) {
        let before = std::mem::take(&mut self.next);
        self.next.version = before.version;
        let declared = Arc::clone(&self.declared);
        for consumer in declared.consumers.values() {
            self.next.add(Known::declared(consumer, &before));
        }
        for (name, consumer) in &self.kept {
            if !declared.consumers.contains_key(name) {
                self.next.add(Known::kept(consumer, &before));
            }
        }
    }

    fn change(&mut self, name: &Name, consumer: Option<Arc<Consumer>>) {
        match &consumer {
            Some(consumer) => self.kept.insert(name.clone(), Arc::clone(consumer)),
            None => self.kept.remove(name),
        };
        // What the file says of it counts as long as the file says it.
        if self.declared.consumers.contains_key(name) {
            return;
        }
        let new = consumer.map(|consumer| Known::kept(&consumer, &self.next));
        self.next.remove(name.as_str());
        if let Some(new) = new {
            self.next.add(new);
        }
    }
}

impl Shown {
    /// Grows with every change.
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn consumer(&self, name: &str) -> Option<&Arc<Known>> {
        self.consumers.get(name)
    }

    /// The key of this hash, unless it has expired. Notes that it was shown.
    pub(crate) fn key(&self, hash: &Hash, now: Timestamp) -> Option<&Arc<KnownKey>> {
        let key = self.keys.get(hash)?;
        if key.expires.is_some_and(|expires| expires <= now) {
            return None;
        }
        let minute = now.as_millis() / MINUTE_MS;
        // Written once a minute: a line that all threads write to would cost each of them.
        if key.used.load(Ordering::Relaxed) != minute {
            key.used.store(minute, Ordering::Relaxed);
        }
        Some(key)
    }

    /// Whose a name in a certificate is.
    pub(crate) fn certificate(&self, name: &str) -> Option<&Arc<Owner>> {
        self.certificates.get(name)
    }

    /// The signing key of this id.
    pub(crate) fn signer(&self, id: &str) -> Option<&Arc<Signer>> {
        self.signers.get(id)
    }

    pub(super) fn views(&self) -> Vec<View> {
        let mut views: Vec<View> = self.consumers.values().map(|known| known.view()).collect();
        views.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        views
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            consumers: self.consumers.len(),
            keys: self.keys.len(),
            certificates: self.certificates.len(),
            signature_keys: self.signers.len(),
        }
    }

    /// Adds a consumer. What another one has already stays that one's: those of the file come first.
    fn add(&mut self, known: Known) {
        for key in &known.keys {
            self.keys.insert_new(key.hash, || Arc::clone(key));
        }
        for name in &known.spec().certificates {
            self.certificates.insert_new(name.clone(), || Arc::clone(&known.owner));
        }
        for signer in &known.signers {
            self.signers.insert_new(signer.id.as_ref().into(), || Arc::clone(signer));
        }
        let known = Arc::new(known);
        self.consumers.insert_new(Arc::clone(&known.owner.name), || known);
    }

    fn remove(&mut self, name: &str) {
        let Some(known) = self.consumers.remove(name, |_| true) else { return };
        let is_own = |owner: &Arc<Owner>| Arc::ptr_eq(owner, &known.owner);
        for key in &known.keys {
            self.keys.remove(&key.hash, |key| is_own(&key.owner));
        }
        for name in &known.spec().certificates {
            self.certificates.remove(name.as_ref(), is_own);
        }
        for signer in &known.signers {
            self.signers.remove(signer.id.as_ref(), |signer| is_own(&signer.owner));
        }
    }

    /// The counter of a key that was known before: its past stays with it.
    fn used(&self, hash: &Hash) -> Arc<AtomicU64> {
        self.keys.get(hash).map(|key| Arc::clone(&key.used)).unwrap_or_default()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shown").field(&self.counts()).finish()
    }
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Book").field(&self.shown()).finish()
    }
}

impl Known {
    fn declared(consumer: &Arc<declared::Consumer>, before: &Shown) -> Self {
        let owner = Owner::of(&consumer.name, &consumer.spec);
        let keys = consumer.keys.iter();
        let signers = consumer.signers.iter();
        let signers = signers.map(|(id, key)| Signer::of(id, key.clone(), &owner));
        Self {
            keys: keys.map(|key| KnownKey::of(key, &owner, before)).collect(),
            signers: signers.collect(),
            source: Source::File(Arc::clone(consumer)),
            owner,
        }
    }

    fn kept(consumer: &Arc<Consumer>, before: &Shown) -> Self {
        let owner = Owner::of(&consumer.name, &consumer.spec);
        let keys = consumer.keys.iter();
        let signers = consumer.spec.signature_keys.iter();
        // They were read before they were kept.
        let signers = signers.filter_map(|known| {
            let key = Key::from_pem(known.algorithm, &known.pem).ok()?;
            Some(Signer::of(&known.id, key, &owner))
        });
        Self {
            keys: keys.map(|key| KnownKey::of(key, &owner, before)).collect(),
            signers: signers.collect(),
            source: Source::Journal(Arc::clone(consumer)),
            owner,
        }
    }

    pub(crate) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    pub(super) fn view(&self) -> View {
        let (origin, held, meta) = match &self.source {
            Source::File(consumer) => (Origin::File, &consumer.keys, None),
            Source::Journal(consumer) => (Origin::Journal, &consumer.keys, Some(consumer)),
        };
        let keys = held.iter().zip(&self.keys).map(|(key, known)| KeyView {
            number: key.number,
            id: Arc::clone(&known.id),
            label: key.name.clone(),
            issued: meta.map(|_| key.issued.clone()),
            expires: key.expires,
            replaced_by: key.replaced_by,
            last_used: known.last_used(),
        });
        View {
            name: Arc::clone(&self.owner.name),
            origin,
            spec: Arc::clone(self.spec()),
            keys: keys.collect(),
            created: meta.map(|consumer| consumer.created.clone()),
            changed: meta.map(|consumer| consumer.changed.clone()),
            revision: meta.map(|consumer| consumer.revision),
        }
    }

    fn spec(&self) -> &Arc<Spec> {
        match &self.source {
            Source::File(consumer) => &consumer.spec,
            Source::Journal(consumer) => &consumer.spec,
        }
    }
}

impl Owner {
    fn of(name: &Name, spec: &Spec) -> Arc<Self> {
        let (plan, roles) = (spec.plan.clone(), spec.roles.clone());
        Arc::new(Self { name: name.to_shared(), plan, roles })
    }

    /// Who is proved by what is this consumer's.
    pub(crate) fn identity(
        &self,
        provider: &Arc<str>,
        subject: Arc<str>,
        key: Option<Arc<str>>,
    ) -> Identity {
        Identity {
            provider: Arc::clone(provider),
            subject,
            consumer: Some(Arc::clone(&self.name)),
            plan: self.plan.clone(),
            key,
            roles: self.roles.clone(),
            ..Identity::default()
        }
    }
}

impl KnownKey {
    fn of(key: &ApiKey, owner: &Arc<Owner>, before: &Shown) -> Arc<Self> {
        Arc::new(Self {
            id: format!("{}/{}", owner.name, key.number).into(),
            owner: Arc::clone(owner),
            number: key.number,
            hash: key.hash,
            expires: key.expires,
            used: before.used(&key.hash),
            proved: Proved::default(),
        })
    }

    /// Who shows this key to `provider`.
    pub(crate) fn identity(&self, provider: &Arc<str>) -> Arc<Identity> {
        self.proved.by(provider, || {
            let subject = Arc::clone(&self.owner.name);
            self.owner.identity(provider, subject, Some(Arc::clone(&self.id)))
        })
    }

    fn last_used(&self) -> Option<Timestamp> {
        let minute = self.used.load(Ordering::Relaxed);
        (minute > 0).then(|| Timestamp::from_millis(minute * MINUTE_MS))
    }
}

impl fmt::Debug for KnownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownKey").field("id", &self.id).field("number", &self.number).finish()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("id", &self.id).field("key", &self.key).finish()
    }
}

impl Signer {
    fn of(id: &str, key: Key, owner: &Arc<Owner>) -> Arc<Self> {
        let (id, owner, proved) = (id.into(), Arc::clone(owner), Proved::default());
        Arc::new(Self { id, owner, key, proved })
    }

    /// Who signs for `provider` with this key.
    pub(crate) fn identity(&self, provider: &Arc<str>) -> Arc<Identity> {
        self.proved.by(provider, || {
            let (subject, key) = (Arc::clone(&self.owner.name), Some(Arc::clone(&self.id)));
            self.owner.identity(provider, subject, key)
        })
    }
}

impl Proved {
    fn by(&self, provider: &Arc<str>, make: impl Fn() -> Identity) -> Arc<Identity> {
        let first = self.0.get_or_init(|| Arc::new(make()));
        if first.provider == *provider { Arc::clone(first) } else { Arc::new(make()) }
    }
}

/// Enters what there is to count.
pub(super) fn register(book: &Arc<Book>, registry: &mut Registry) {
    let all = registry.sub_registry_with_prefix("posthouse_identity");
    all.register_collector(Box::new(Census(Arc::downgrade(book))));
}

/// Counts when it is asked.
#[derive(Debug)]
struct Census(Weak<Book>);

impl Collector for Census {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(book) = self.0.upgrade() else { return Ok(()) };
        let Counts { consumers, keys, certificates, signature_keys } = book.shown().counts();
        for (name, help, count) in [
            ("consumers", "Consumers", consumers),
            ("api_keys", "API keys of all consumers", keys),
            ("certificates", "Names in certificates that are a consumer's", certificates),
            ("signature_keys", "Keys with which consumers sign requests", signature_keys),
        ] {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            let family = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(family)?;
        }
        Ok(())
    }
}

/// A map in parts, of which a clone shares all until one of them changes.
#[derive(Clone)]
struct Parts<K, V> {
    hasher: foldhash::fast::RandomState,
    parts: Vec<Arc<Part<K, V>>>,
}

type Part<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

impl<K, V> Default for Parts<K, V> {
    fn default() -> Self {
        let parts = (0..PARTS).map(|_| Arc::default()).collect();
        Self { hasher: foldhash::fast::RandomState::default(), parts }
    }
}

impl<K: Clone + Eq + StdHash, V: Clone> Parts<K, V> {
    fn get<Q: Eq + StdHash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.parts[self.part(key)].get(key)
    }

    /// Adds `value` unless there is something under `key`.
    fn insert_new(&mut self, key: K, value: impl FnOnce() -> V) {
        let part = self.part(&key);
        Arc::make_mut(&mut self.parts[part]).entry(key).or_insert_with(value);
    }

    fn remove<Q: Eq + StdHash + ?Sized>(
        &mut self,
        key: &Q,
        is_meant: impl Fn(&V) -> bool,
    ) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let part = self.part(key);
        self.parts[part].get(key).filter(|value| is_meant(value))?;
        Arc::make_mut(&mut self.parts[part]).remove(key)
    }

    fn values(&self) -> impl Iterator<Item = &V> {
        self.parts.iter().flat_map(|part| part.values())
    }

    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    fn part<Q: StdHash + ?Sized>(&self, key: &Q) -> usize {
        // Of the 64 bits those that the maps themselves use least.
        usize::from(self.hasher.hash_one(key).to_be_bytes()[2])
    }
}
