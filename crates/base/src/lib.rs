//! What every pillar stands on, and nothing that belongs to one of them.
//!
//! In reading order: [`time`] (instants that are passed in, never fetched by a rule), [`config`]
//! (scalars as people write them, and the report that collects every mistake), [`problem`]
//! (RFC 9457 error bodies), [`task`] (tasks that have an owner and end when told), [`trace`]
//! (W3C trace context). This crate depends on no other crate of the project.

pub mod config;
pub mod problem;
pub mod task;
pub mod time;
pub mod trace;
