//! Sight: what the house says about itself.
//!
//! In reading order: [`logs`] (diagnostics on standard error), [`lines`] (many short lines, such as
//! an access log, written by a thread of its own), [`process`] (memory, processor time and files of
//! the process), [`page`] (the page of metrics).
//!
//! What must hold: nothing here ever makes a caller wait; what cannot be written in time is
//! dropped and counted. The crate knows no pillar: whoever has something to say brings bytes.

mod error;
pub mod lines;
pub mod logs;
pub mod page;
pub mod process;

pub use error::Error;
