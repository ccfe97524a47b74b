//! Frames of AMQP, and the methods, properties and tables in them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| posthouse_fuzz::amqp_bytes::holds(input));
