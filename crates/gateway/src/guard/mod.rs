//! Who may pass. [`seam`] is what the gateway asks of others: who calls, and whether a body is as its
//! API says. The gateway knows neither tokens nor keys; whoever starts it brings an [`Identifier`].
//!
//! What holds: a guard that cannot be evaluated refuses; what a client is told is the same for every
//! credential that does not hold; nothing that tells a service who calls is taken from outside.

pub mod seam;

pub use seam::{
    Answer, Asked, ClientCertificate, Identifier, Identity, Inspector, NoIdentifier, NoInspector,
    Refusal, Verdict, Violation,
};
