//! Keys in fields and queries.
