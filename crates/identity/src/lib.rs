//! Who calls: what a client shows is verified here, and turned into an [`Identity`].
//!
//! A *provider* is one way to prove who one is, with a name that routes refer to. It looks at the
//! [`Credentials`] of a call and says what it found as an [`Outcome`].
//!
//! In reading order: [`Credentials`] and [`Outcome`] (what is asked and answered), [`Identity`],
//! `provider` (the kinds, behind one face), `service` (all providers, replaced together at a
//! reload), `jwt` (signed tokens and their keys), `certificate`, `keys`, `signature`, `directory`
//! (consumers, as providers see them), [`consumers`] (who they are: declared and kept), `state` (the
//! rules about them, pure), `stored` (how they are written down), [`Config`], `metrics`.
//!
//! What must hold: whatever is wrong with a credential, the answer is the same; what cannot be
//! decided is refused; no secret is in a log, a metric or the output of `Debug`; nothing here blocks
//! the thread that asks, and what it must wait for is a future that any runtime may poll.

mod certificate;
mod config;
pub mod consumers;
mod credential;
mod directory;
mod error;
mod jwt;
mod keys;
mod metrics;
mod provider;
mod service;
mod signature;
pub mod state;
mod stored;

pub use config::{Config, Raw, RawProvider};
pub use credential::{Answer, Credentials, Fields, Identity, Outcome, Refusal};
pub use certificate::{Raw as RawCertificate, RawBy, RawStrangers};
pub use error::Error;
pub use keys::Raw as RawApiKey;
pub use signature::{Algorithm, Raw as RawSignature, RawNonce, Structure};
pub use service::{Handle, Identities};
