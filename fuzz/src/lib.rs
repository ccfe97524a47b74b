//! The fuzz targets: `cargo fuzz run request_head` (or `response_head`, `chunked_body`,
//! `request_as_hyper`, `dns_query`, `openapi`, `token`, `amqp`) with nightly, or with
//! `RUSTC_BOOTSTRAP=1` and `--sanitizer none`.
//!
//! What they check stands with the tests of the codecs, the registry, the catalog and identity, which
//! replay `corpus/` in every run. A found input goes into the corpus of its target, and what it
//! showed into those tests.

#[path = "../../crates/broker/tests/wire/amqp_bytes.rs"]
pub mod amqp_bytes;
#[path = "../../crates/registry/tests/it/dns_bytes.rs"]
pub mod dns_bytes;
#[path = "../../crates/gateway/tests/http1_codec/invariants.rs"]
pub mod invariants;
#[path = "../../crates/gateway/tests/http1_codec/oracle.rs"]
pub mod oracle;
#[path = "../../crates/catalog/tests/it/openapi_bytes.rs"]
pub mod openapi;
#[path = "../../crates/identity/tests/it/token_bytes.rs"]
pub mod token_bytes;
