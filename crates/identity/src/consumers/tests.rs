//! Consumers as operators and calls see them.
