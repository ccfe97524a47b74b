//! How fast, and how much: rates, bytes, calls under way, quotas, and shedding under overload. In
//! reading order: [`rule`] (what is asked of a call, in which order), `key` (what it is counted by),
//! `rate` (the rule of a rate), `table` (many keys in bounded memory), `quota` and [`calendar`]
//! (days and months, kept over restarts), `share` (what a call gives back when it is over), `tell`
//! (what the client is told), `look` (how a call would stand, uncounted), [`shed`], `book` (what outlives configurations), `metrics`.
//!
//! What holds, with any number of threads and over reloads: nobody is granted more than a limit says;
//! memory is bounded, and beyond its bound keys are granted less, never more; what a call holds is
//! given back whichever way it ends; rules read no clock.

mod book;
pub mod calendar;
mod key;
mod look;
mod metrics;
mod quota;
mod rate;
mod rule;
mod share;
pub mod shed;
mod table;
#[cfg(test)]
mod table_tests;
mod tell;
#[cfg(test)]
mod tests;

pub(crate) use book::{Book, Limits};
pub use calendar::{Every, Period};
pub(crate) use key::Caller;
pub use look::Left;
pub(crate) use look::look;
pub(crate) use metrics::Metrics;
pub use quota::{Keeping, NoQuotaStore, NotKept, QuotaStore, Used};
pub(crate) use rule::{Limited, Now, Policy, admit};
pub(crate) use share::Share;
pub(crate) use shed::Waiting;
