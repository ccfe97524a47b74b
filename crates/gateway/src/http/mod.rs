//! HTTP semantics that both versions share: field names that matter, header sections, targets.
//!
//! In reading order: [`known`] (names as one byte), [`head`] (a header section in flat form),
//! [`target`] (where a request goes, checked).

pub(crate) mod chars;
pub mod head;
pub mod known;
pub mod target;
