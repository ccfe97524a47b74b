//! The registry over HTTP, as a client sees it.

mod agent;
mod blocking;
mod catalog;
mod checks;
mod client;
mod follow;
mod limits;
mod metrics;
