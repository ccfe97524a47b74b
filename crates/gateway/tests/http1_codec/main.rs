//! The HTTP/1 codec from outside: tables of what it takes and what it refuses, properties over
//! generated messages, and agreement with an independent implementation on well-formed traffic.

mod bodies;
mod corpus;
mod fields;
#[expect(unreachable_pub, reason = "the fuzz targets are another crate that includes this file")]
mod invariants;
#[expect(unreachable_pub, reason = "the fuzz targets are another crate that includes this file")]
mod oracle;
mod peer;
mod property;
mod requests;
mod responses;
