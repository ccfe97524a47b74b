//! Tokens, unsigned as they come, or signed here.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| posthouse_fuzz::token_bytes::holds(input));
