//! Queries over DNS.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| posthouse_fuzz::dns_bytes::holds(input));
