//! The gateway: how calls are accepted, routed, balanced and forwarded.
//!
//! One thread per core carries calls; connections and pools never leave their thread. In reading
//! order: [`config`] (what the file says), [`service`] (the handle: start, reload, drain),
//! `listener`, `connections` and `worker` (sockets, how many, threads), `downstream` (clients'
//! connections), `proxy` (the life of a call, phase by phase), [`route`] (which service),
//! [`guard`] (who may pass), [`limit`] (how fast, and how much),
//! [`cluster`] and [`balance`] (which instance), [`upstream`] (connections to instances);
//! `directory`, `resolve` and `health` keep the instances up to date. [`http`] and [`http1`] are what
//! both sides stand on.
//!
//! What holds: nothing reaches an instance that was not understood whole; a configuration is in
//! force as a whole or not at all; no thread waits for another; this crate knows no other pillar.

pub mod access;
pub mod balance;
pub mod cluster;
pub mod config;
mod connections;
mod directory;
mod downstream;
mod error;
mod fault;
pub mod guard;
mod health;
pub mod http;
pub mod http1;
pub mod limit;
mod listener;
mod metrics;
mod proxy;
mod resolve;
pub mod route;
mod seams;
mod service;
mod shared;
mod socket;
mod timer;
mod tls;
pub mod upstream;
pub mod view;
mod worker;

pub use error::Error;
pub use seams::Seams;
pub use service::Gateway;
