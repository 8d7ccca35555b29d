//! Any bytes as a message of another host.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| souk_links::fuzz::remote_message(data));
