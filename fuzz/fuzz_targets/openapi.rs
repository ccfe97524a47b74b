//! OpenAPI documents: reading, compiling and comparing them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| posthouse_fuzz::openapi::holds(input));
