//! OpenAPI 3.0 and 3.1: reading documents, comparing requests with them, comparing two of them.
//!
//! In reading order: `read` (text to a tree), `reference` (what stands where), [`document`] (the tree to operations), `schema` (what
//! JSON Schema makes of OpenAPI's schemas), `cost`, [`validate`] and `style` (requests), [`diff`].
//!
//! What must hold: a document that cannot be read is refused with every place named; nothing is
//! fetched from elsewhere; what reading and compiling may cost is bounded, whatever the document.

mod cost;
pub mod diff;
pub mod document;
mod place;
mod read;
mod reference;
mod schema;
mod style;
#[cfg(test)]
mod tests;
pub mod validate;

pub use document::{Document, Operation};
pub use read::read;
pub use validate::{Call, Headers, Validator, Violation};
