//! Any bytes as the JSON of a function's values.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| souk_codec::fuzz::decode(data));
