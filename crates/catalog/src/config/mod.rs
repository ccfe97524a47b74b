//! The catalog's sections of the file: as written ([`raw`]), as checked ([`check`]), and back again
//! ([`write`]), which is how the catalog is exported.

pub mod check;
pub mod raw;
#[cfg(test)]
mod tests;
pub mod write;

pub use check::{api, check, plan, version};
pub use raw::{Raw, RawApi, RawEnding, RawPlan, RawSelect, RawState, RawVersion};
pub use write::written;
