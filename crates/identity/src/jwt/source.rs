//! Where the keys of an issuer come from, and keeping them fresh: a task for each provider reads
//! them again, and is the only one that does, so that however many calls bring a name that nobody
//! knows, the issuer is asked once, and not again before some time.
//!
//! What must hold: keys that were good stay while the issuer cannot be asked, for a while; keys that
//! left the set verify nothing any more; without keys nothing is verified.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use http::Uri;
use posthouse_base::time::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::key::Keys;
use crate::asking::{Asker, Fault, objection};
use crate::json;
use crate::metrics::Metrics;
use crate::nag::Nag;

/// How often a file is looked at.
const FILE_LOOK: Duration = Duration::from_secs(2);

/// The first rest after a failure; it doubles up to [`Pace::refetch`] or this, whichever is longer.
const FIRST_REST: Duration = Duration::from_secs(1);

/// How many calls may wait for keys at the same time; further ones are refused.
const WAITING: usize = 1024;

/// Where keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// They are here, and stay.
    Fixed,
    /// In a file.
    File(PathBuf),
    /// At this URL.
    Url(Uri),
    /// Where the issuer's description says (OpenID Connect Discovery 1.0).
    Discovery {
        /// The issuer, as tokens name it.
        issuer: Box<str>,
        /// Its description.
        at: Uri,
    },
}

/// How often keys are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// When all is well.
    pub(crate) refresh: Duration,
    /// At the soonest, whatever is asked.
    pub(crate) refetch: Duration,
    /// How long keys are good after they were last read.
    pub(crate) stale: Duration,
}

/// The keys of one provider.
pub(crate) struct Source {
    provider: Arc<str>,
    place: Place,
    pace: Pace,
    plain: bool,
    asker: Asker,
    keys: ArcSwap<Keys>,
    rounds: watch::Sender<Round>,
    wanted: Notify,
    waiting: AtomicUsize,
    nag: Nag,
    metrics: Arc<Metrics>,
}

/// How reading went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    count: u64,
    failed: bool,
}

/// What can be said of a key that is not there.
#[derive(Debug)]
pub(crate) enum Hope {
    /// It will not come.
    None,
    /// Nobody can tell: the issuer cannot be asked.
    Unknown,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.load().len();
        f.debug_struct("Source").field("keys", &keys).finish_non_exhaustive()
    }
}

impl Source {
    pub(super) fn new(
        provider: &Arc<str>,
        place: Place,
        pace: Pace,
        plain: bool,
        asker: Asker,
        keys: Keys,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            provider: Arc::clone(provider),
            place,
            pace,
            plain,
            asker,
            keys: ArcSwap::from_pointee(keys),
            rounds: watch::Sender::default(),
            wanted: Notify::new(),
            waiting: AtomicUsize::new(0),
            nag: Nag::default(),
            metrics: Arc::clone(metrics),
        }
    }

    /// The keys that are good now.
    pub(crate) fn keys(&self) -> arc_swap::Guard<Arc<Keys>> {
        self.keys.load()
    }

    /// Waits until keys have been read once more, since one that is not there may have come. Needs no
    /// timer: a round ends in time, and the next one begins within [`Pace::refetch`].
    pub(crate) async fn next_round(&self) -> Result<(), Hope> {
        let remote = matches!(self.place, Place::Url(_) | Place::Discovery { .. });
        if !remote {
            return Err(Hope::None);
        }
        let round = *self.rounds.borrow();
        self.wanted.notify_one();
        if round.failed {
            // It could not be asked a moment ago: no call waits for it.
            return Err(Hope::Unknown);
        }
        let Some(_turn) = Turn::take(&self.waiting) else { return Err(Hope::Unknown) };
        let mut rounds = self.rounds.subscribe();
        let next = rounds.wait_for(|now| now.count > round.count).await;
        match next.map(|next| next.failed) {
            Ok(false) => Ok(()),
            Ok(true) | Err(_) => Err(Hope::Unknown),
        }
    }

    /// Reads keys for ever.
    pub(super) async fn keep(self: Arc<Self>) {
        match &self.place {
            Place::Fixed => {}
            Place::File(file) => self.keep_file(file).await,
            Place::Url(_) | Place::Discovery { .. } => self.keep_remote().await,
        }
    }

    async fn keep_remote(&self) {
        let longest = self.pace.refetch.max(Duration::from_secs(30));
        let (mut rest, mut last) = (FIRST_REST, Instant::now());
        loop {
            let began = Instant::now();
            let outcome = self.fetch().await;
            let failed = outcome.is_err();
            self.metrics.fetched(&self.provider, !failed);
            match outcome {
                Ok(keys) => {
                    self.replace(keys);
                    (rest, last) = (FIRST_REST, Instant::now());
                    self.nag.rest();
                }
                Err(fault) => {
                    self.complain(&fault);
                    if last.elapsed() >= self.pace.stale {
                        self.forget();
                    }
                }
            }
            self.rounds.send_modify(|round| {
                *round = Round { count: round.count.wrapping_add(1), failed };
            });
            let due = if failed { began + rest } else { began + self.pace.refresh };
            if failed {
                rest = (rest * 2).min(longest);
            }
            // Being wanted brings a round forward, but not before its time.
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = self.wanted.notified() => {
                    let soonest = (began + self.pace.refetch).min(due);
                    tokio::time::sleep_until(soonest).await;
                }
            }
        }
    }

    async fn fetch(&self) -> Result<Keys, Fault> {
        let keys = match &self.place {
            Place::Url(uri) => self.asker.read(uri).await?,
            Place::Discovery { issuer, at } => {
                let described = self.asker.read(at).await?;
                let uri = described_keys(&described, issuer, self.plain)?;
                self.asker.read(&uri).await?
            }
            Place::Fixed | Place::File(_) => return Err(Fault::Content("no place to ask".into())),
        };
        Keys::from_jwks(&keys, false).map_err(|error| Fault::Content(error.to_string()))
    }

    async fn keep_file(&self, file: &PathBuf) {
        let mut seen = mark(file).await;
        let mut looks = tokio::time::interval(FILE_LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // What was read at the start may have changed before its mark was taken.
        let mut first = true;
        loop {
            looks.tick().await;
            let now = mark(file).await;
            if now == seen && !first {
                continue;
            }
            (seen, first) = (now, false);
            let keys = match tokio::fs::read(file).await {
                Ok(text) => {
                    Keys::from_file(&text).map_err(|error| Fault::Content(error.to_string()))
                }
                Err(error) => Err(Fault::Content(error.to_string())),
            };
            self.metrics.fetched(&self.provider, keys.is_ok());
            match keys {
                Ok(keys) => self.replace(keys),
                Err(fault) => self.complain(&fault),
            }
        }
    }

    fn replace(&self, keys: Keys) {
        let before = self.keys.load();
        self.keys.store(Arc::new(keys.succeed(&before)));
    }

    /// Keys that were not confirmed for too long are keys no more.
    fn forget(&self) {
        self.keys.swap(Arc::default()).retire();
    }

    fn complain(&self, fault: &Fault) {
        if self.nag.is_due(Timestamp::now()) {
            let (provider, keys) = (&self.provider, self.keys.load().len());
            tracing::warn!(
                provider = &**provider,
                keys,
                "the keys of an issuer cannot be read, those from before stay for a while: {fault}"
            );
        }
    }
}

/// A place among those who wait.
struct Turn<'a>(&'a AtomicUsize);

impl<'a> Turn<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let turn = Turn(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING).then_some(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where an issuer's description says that its keys are. The issuer must name itself exactly as it
/// was asked for, or somebody else could speak for it (OpenID Connect Discovery 1.0 §4.3).
fn described_keys(text: &[u8], issuer: &str, plain: bool) -> Result<Uri, Fault> {
    let wrong = |message: &str| Fault::Content(format!("the issuer's description {message}"));
    let description = json::object(text).ok_or_else(|| wrong("is not a JSON object"))?;
    if description.get("issuer").and_then(serde_json::Value::as_str) != Some(issuer) {
        return Err(wrong("names another issuer"));
    }
    let keys = description.get("jwks_uri").and_then(serde_json::Value::as_str);
    let keys: Uri =
        keys.and_then(|keys| keys.parse().ok()).ok_or_else(|| wrong("has no `jwks_uri`"))?;
    match objection(&keys, plain) {
        None => Ok(keys),
        Some(objection) => Err(wrong(&format!("has a `jwks_uri` that {objection}"))),
    }
}

/// What tells a file from what it was: time and size.
async fn mark(file: &PathBuf) -> Option<(SystemTime, u64)> {
    let data = tokio::fs::metadata(file).await.ok()?;
    Some((data.modified().ok()?, data.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_speaks_for_itself_only() {
        let keys = |text: &str| described_keys(text.as_bytes(), "https://idp", false).ok();
        let good = r#"{"issuer":"https://idp","jwks_uri":"https://keys/jwks"}"#;
        assert_eq!(keys(good), Some(Uri::from_static("https://keys/jwks")));
        for bad in [
            r#"{"issuer":"https://idp/","jwks_uri":"https://keys/jwks"}"#,
            r#"{"issuer":"https://IDP","jwks_uri":"https://keys/jwks"}"#,
            r#"{"issuer":"https://idp","issuer":"https://idp","jwks_uri":"https://keys/jwks"}"#,
            r#"{"issuer":"https://idp","jwks_uri":"http://keys/jwks"}"#,
            r#"{"issuer":"https://idp","jwks_uri":"file:///etc/keys"}"#,
            r#"{"issuer":"https://idp"}"#,
            r#"{"jwks_uri":"https://keys/jwks"}"#,
            "[]",
        ] {
            assert_eq!(keys(bad), None, "{bad}");
        }
    }
}
