//! The registry over HTTP, as a client sees it.

mod agent;
mod blocking;
mod catalog;
mod checks;
mod client;
mod dns;
#[expect(unreachable_pub, reason = "the fuzz target is another crate that includes this file")]
mod dns_bytes;
mod dns_corpus;
mod engine;
mod event;
mod express;
mod follow;
mod kept;
mod kv;
mod limits;
mod metrics;
mod session;
mod tokens;
mod txn;
