//! The codec of AMQP, by what must hold for any bytes at all.

#[expect(unreachable_pub, reason = "the fuzz target is another crate that includes this file")]
mod amqp_bytes;
mod amqp_corpus;
