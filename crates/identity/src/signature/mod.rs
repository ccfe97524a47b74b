//! Signed requests: HTTP Message Signatures (RFC 9421), with the body by its digest (RFC 9530).
//!
//! In reading order: `settings` (what is configured), `key` (keys and algorithms), `component` (what
//! can be signed of a request), `message` (the fields, and the base that is signed), `digest` (the
//! body), `verify` (whether a request is signed as it must be), `replay` (what was seen), here (the
//! provider).
//!
//! What must hold: what must be covered is covered by the one signature that counts; the algorithm is
//! the key's; a signature counts once, within its time; what a message says twice counts never.

mod component;
mod digest;
mod key;
mod message;
mod replay;
mod settings;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use posthouse_base::time::Timestamp;

pub use key::Algorithm;
pub(crate) use key::Key;
pub(crate) use replay::{CAPACITY, Seen};
pub(crate) use settings::Config;
pub use settings::{Raw, RawNonce, Structure};

use crate::consumers::Consumers;
use crate::credential::{Credentials, Outcome, Refusal};
use crate::metrics::Metrics;
use crate::provider::{Finding, Parts};
use replay::First;
use verify::{Body, Holding, Judged, judge};

/// Recognises signed requests.
#[derive(Debug)]
pub(crate) struct Provider {
    name: Arc<str>,
    config: Config,
    since: Timestamp,
    consumers: Consumers,
    seen: Arc<Seen>,
    metrics: Arc<Metrics>,
}

impl Provider {
    pub(crate) fn new(name: &Arc<str>, config: &Config, parts: &Parts) -> Self {
        // Until it is too old, and as much longer as it may have been early.
        let window = config.max_age + config.leeway + Duration::from_secs(1);
        Self {
            name: Arc::clone(name),
            config: config.clone(),
            since: parts.seen.since(window, Timestamp::now()),
            consumers: parts.consumers.clone(),
            seen: Arc::clone(&parts.seen),
            metrics: Arc::clone(&parts.metrics),
        }
    }

    pub(crate) fn identify(&self, asked: &Credentials<'_>) -> Finding {
        let holding = match judge(&self.config, asked, &self.consumers.shown(), self.since) {
            Judged::Absent => return Finding::Absent,
            Judged::Refused(why) => return Finding::Decided(self.refuse(why)),
            Judged::Holds(holding) => holding,
        };
        let last = Last {
            name: Arc::clone(&self.name),
            seen: Arc::clone(&self.seen),
            metrics: Arc::clone(&self.metrics),
            now: asked.now,
            holding,
        };
        if matches!(last.holding.body, Body::Any) {
            return Finding::Decided(last.decide());
        }
        // Not worth taking a body for.
        if self.seen.knows(&last.holding.mark) {
            return Finding::Decided(self.refuse("replayed"));
        }
        Finding::Decided(Outcome::WithBody(Box::new(move |body| last.decide_with(body))))
    }

    fn refuse(&self, why: &'static str) -> Outcome {
        self.metrics.refused(&self.name, why);
        Outcome::Refused(Refusal::Invalid)
    }
}

/// The last step: a signature that holds counts, if its body fits and it is the first.
struct Last {
    name: Arc<str>,
    seen: Arc<Seen>,
    metrics: Arc<Metrics>,
    now: Timestamp,
    holding: Holding,
}

impl Last {
    fn decide_with(&self, body: &[u8]) -> Outcome {
        if self.holding.body.fits(body) {
            return self.decide();
        }
        self.metrics.refused(&self.name, "digest");
        Outcome::Refused(Refusal::Invalid)
    }

    fn decide(&self) -> Outcome {
        let Holding { signer, mark, .. } = &self.holding;
        match self.seen.note(*mark, &signer.id, self.now) {
            First::Yes => Outcome::Known(signer.identity(&self.name)),
            First::No => {
                self.metrics.refused(&self.name, "replayed");
                Outcome::Refused(Refusal::Invalid)
            }
            First::Full => {
                self.metrics.refused(&self.name, "no_room_to_remember");
                Outcome::Refused(Refusal::Unavailable)
            }
        }
    }
}
