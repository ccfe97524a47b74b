//! Messages: exchanges route them into queues, queues hand them to consumers, and what is persistent
//! survives whatever happens to the house.
//!
//! Services speak AMQP 0-9-1 with the clients that they have.
//!
//! In reading order: [`message`] and [`ids`], [`state`] (the rules, pure), [`service`] (the rules run
//! on the journal's driver), [`amqp`] (the interface), [`engine`] (a RabbitMQ in the rules' place), [`inside`]
//! (clients that are parts of the house), `work` and `posts` (taking and publishing by them), `delay`,
//! [`drain`] (moving to an engine),
//! [`push`] (services that are called), [`http`] (the door for those without AMQP), [`management`]
//! (RabbitMQ's JSON), [`Config`], [`Error`].
//!
//! What must hold: only the rules change the state, and only in the driver's task; nobody is told what
//! is not durable; whatever a client can make grow has a limit in [`RawLimits`], with a defined
//! answer.

mod alarm;
pub mod amqp;
pub mod config;
mod delay;
pub mod drain;
pub mod engine;
mod error;
mod hands;
pub mod http;
pub mod ids;
pub mod inside;
pub mod management;
pub mod message;
mod metrics;
mod password;
mod posts;
pub mod push;
pub mod service;
#[cfg(test)]
mod service_tests;
pub mod state;
mod stored;
mod work;

pub use config::{Config, Raw, RawLimits, RawSubscription, Subscription};
pub use error::Error;
pub use password::hash as hash_password;
pub use service::{Asking, Entrance, Handle, Told};
