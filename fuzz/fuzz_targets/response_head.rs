//! Response heads.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| posthouse_fuzz::invariants::response(input));
