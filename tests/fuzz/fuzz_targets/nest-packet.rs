//! Any bytes as a packet of a NestJS system.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| souk_links::fuzz::nest_packet(data));
