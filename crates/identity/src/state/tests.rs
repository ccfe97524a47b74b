//! The rules about consumers and keys: what may happen, and what never does.
