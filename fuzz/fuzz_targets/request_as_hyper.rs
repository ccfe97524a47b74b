//! Whole requests, against hyper.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| posthouse_fuzz::oracle::request_as_hyper(input));
