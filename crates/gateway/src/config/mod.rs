//! The gateway's part of the configuration: [`raw`] as written, [`model`] as used, and [`check()`],
//! the one way from one to the other, which finds every mistake.

pub(crate) mod check;
pub mod model;
pub mod raw;

pub use check::check;
pub use model::Config;
