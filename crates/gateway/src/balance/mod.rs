//! How one of many is chosen: rules without endpoints, clocks or sockets.
//!
//! In reading order: [`schedule`] (weights as a fixed cyclic order, from which turns are taken and
//! samples drawn), [`ring`] (the same key to the same place), [`latency`] (recent latency as one
//! number), [`choose`] (the algorithms, over indices). None of them allocates or locks in a choice,
//! and none but [`choose::least`] over a few looks at all of them.

pub mod choose;
pub mod latency;
pub mod ring;
pub mod schedule;
