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

mod asking;
mod cache;
mod certificate;
mod claims;
mod config;
pub mod consumers;
mod credential;
mod directory;
mod error;
mod external;
mod flight;
mod introspection;
mod json;
mod jwt;
mod keys;
mod metrics;
mod mint;
mod nag;
mod provider;
mod secret;
mod service;
mod signature;
pub mod state;
mod stored;

pub use certificate::{Raw as RawCertificate, RawBy, RawStrangers};
pub use config::{Config, Raw, RawProvider};
pub use credential::{Answer, Credentials, Fields, Identity, Judge, Outcome, Refusal};
pub use error::Error;
pub use external::Raw as RawExternal;
pub use introspection::{ClientAuth, OnError, Raw as RawIntrospection};
pub use jwt::{Algorithm as TokenAlgorithm, Raw as RawJwt};
pub use keys::Raw as RawApiKey;
pub use mint::{About, Raw as RawMint, Signing};
pub use secret::Secret;
pub use service::{Handle, Identities};
pub use signature::{Algorithm, Raw as RawSignature, RawNonce, Structure};
