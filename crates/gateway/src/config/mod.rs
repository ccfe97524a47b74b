//! The gateway's part of the configuration: [`raw`] as written, [`model`] as used, and the one way
//! from one to the other, which finds every mistake.

pub mod model;
pub mod raw;

pub use model::Config;
