//! Any bytes as an event of Stripe: the first line is the header of its signature, the rest is the body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| webhook::fuzz::signature(data));
