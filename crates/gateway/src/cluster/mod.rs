//! Services and their endpoints: who may be called, who is chosen, and what is learnt from the call.
//!
//! In reading order: [`time`], [`instance`] (what is said about an endpoint from outside),
//! [`endpoint`] (one of them, with everything that is known about it), its rules in `standing`,
//! `silence` and `ejection`, [`set`] (the endpoints of a service as an immutable snapshot, and the choice),
//! `window`, [`budget`] and [`breaker`], [`service`] (all of it together), [`guards`] (calls and
//! connections that are under way), [`view`] (live state for people).
//!
//! Invariants: everything here is shared by the engine's threads through relaxed atomics, which may
//! be a call late but are never torn; choosing and counting never lock nor allocate; an endpoint
//! keeps its identity and its past while its key and address stay, whatever else changes; time comes
//! in as [`Coarse`] and is read nowhere; nothing here knows a socket.

pub mod breaker;
pub mod budget;
mod ejection;
pub mod endpoint;
pub mod guards;
pub mod instance;
pub mod service;
pub mod set;
mod silence;
mod standing;
#[cfg(test)]
mod tests;
pub mod time;
pub mod view;
mod window;

pub use endpoint::{Endpoint, EndpointId};
pub use guards::{Admission, Connection, Failure, InFlight, Outcome, Pending};
pub use instance::{CheckedHealth, InstanceSpec, RegistryHealth};
pub use service::{Refused, Service};
pub use set::PickContext;
pub use time::Coarse;
