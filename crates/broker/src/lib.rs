//! Messages: exchanges route them into queues, queues hand them to consumers, and what is persistent
//! survives whatever happens to the house.
//!
//! Services speak AMQP 0-9-1 with the clients that they have.
//!
//! In reading order: [`message`] and [`ids`], [`state`] (the rules, pure), [`service`] (the rules run
//! on the journal's driver), [`amqp`] (the interface), [`Config`], [`Error`].
//!
//! What must hold: only the rules change the state, and only in the driver's task; nobody is told what
//! is not durable; whatever a client can make grow has a limit in [`RawLimits`], with a defined
//! answer.

mod alarm;
pub mod amqp;
pub mod config;
mod error;
mod hands;
pub mod ids;
pub mod message;
mod metrics;
mod password;
pub mod service;
#[cfg(test)]
mod service_tests;
pub mod state;
mod stored;

pub use config::{Config, Raw, RawLimits};
pub use error::Error;
pub use service::{Asking, Entrance, Handle, Told};
