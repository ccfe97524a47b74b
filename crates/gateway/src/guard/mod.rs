//! Who may pass. In reading order: [`seam`] (what the gateway asks of others: who calls, and whether a
//! call is as its API says), [`settings`] (a guard as it was checked), [`rules`] (may they, pure),
//! [`facts`] (what conditions see), `telling` (what a service is told of the caller, and nobody else may
//! say), `cors`, `twin` (paths that others would read differently), [`explain`] (each rule and its outcome).
//! The gateway knows neither tokens nor keys; whoever starts it brings an [`Identifier`].
//!
//! What holds: a guard that cannot be evaluated refuses; what a client is told is the same for every
//! credential that does not hold; nothing that tells a service who calls is taken from outside; no
//! other spelling of a path leads around the guard of that path.

pub(crate) mod cors;
pub mod explain;
pub mod facts;
pub(crate) mod metrics;
pub mod rules;
pub mod seam;
pub mod settings;
pub(crate) mod telling;
#[cfg(test)]
mod tests;
pub(crate) mod twin;

pub use facts::{Facts, ROOTS};
pub use rules::Rule;
pub use seam::{
    Answer, Asked, ClientCertificate, Identifier, Identity, Inspector, NoIdentifier, NoInspector,
    Refusal, Verdict, Violation,
};
pub use settings::Guard;
