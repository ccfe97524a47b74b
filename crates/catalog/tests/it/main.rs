//! The catalog from outside: on a journal that fails, and fed with any bytes.

mod kept;
mod openapi;
#[expect(unreachable_pub, reason = "the fuzz target is another crate that includes this file")]
mod openapi_bytes;
