#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| webhook::fuzz::signature(data));
