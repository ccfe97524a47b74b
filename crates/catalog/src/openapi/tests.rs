//! Documents that can be read and documents that cannot; requests that fit and requests that do not.

mod documents;
mod requests;
mod texts;

use super::{Document, Validator};

/// A shop for pets' food, as a team would write it. 3.0, with what only 3.0 has.
const SHOP: &str = include_str!("tests/shop.yaml");

fn document(text: &str) -> Document {
    super::read(text).unwrap_or_else(|why| panic!("{why}"))
}

fn validator(text: &str) -> Validator {
    Validator::compile(&document(text)).unwrap_or_else(|why| panic!("{why}"))
}
